# Without shared_preload_libraries everything works after dbos.start().
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('no_preload');
$node->init;
$node->start;
my ($code, $output, $errors) = $node->psql('postgres', 'CREATE EXTENSION dbos');
is($code, 0, 'the extension can be made');
like($errors, qr/without shared_preload_libraries/, 'and says how it is');
($code, $output, $errors) = $node->psql('postgres', q{SELECT dbos.submit('pg_catalog.upper', '["x"]')});
like($errors, qr/WARNING.*dbos\.start\(\)/s, 'a submit that nobody runs warns, and says what to do');
my $task = $output;
is($node->safe_psql('postgres', "SELECT state, wait_reason FROM dbos.tasks WHERE id = $task"), 'waiting|no worker', 'the task says why it waits');
$node->safe_psql('postgres', 'SELECT dbos.start()');
is($node->safe_psql('postgres', "SELECT dbos.wait($task)"), '"X"', 'it runs after dbos.start()');
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT dbos.submit_many('pg_catalog.upper', array_fill('["y"]'::jsonb, ARRAY[2000]))) s}),
	'2000', 'more than the small run queue holds');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2001 FROM dbos.tasks WHERE state = 'succeeded'}), 'all of them run');
$node->safe_psql('postgres', 'SELECT dbos.stop()');
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('dbos executor', 'dbos scheduler')}), '0', 'dbos.stop() has the workers leave');
$node->safe_psql('postgres', 'SELECT dbos.start()');
is($node->safe_psql('postgres', q{CALL dbos.run('pg_catalog.upper', '["z"]')}), '"Z"', 'and dbos.start() has them back');
$node->stop;
done_testing();
