# A policy that a library brings, contrib/policy_example, orders a queue; without the library nothing stands still.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $example = ($ENV{DBOS_SOURCE} // '.') . '/contrib/policy_example';
my $build = PostgreSQL::Test::Utils::tempdir();
my $log = `make -f '$example/Makefile' -C '$build' srcdir='$example' VPATH='$example' PG_CONFIG='$ENV{DBOS_PG_CONFIG}' 2>&1`;
is($?, 0, 'the example is built') or diag($log);

my $node = PostgreSQL::Test::Cluster->new('policy');
$node->init;
# Named before dbos: the order does not matter.
$node->append_conf('postgresql.conf', "shared_preload_libraries = '$build/policy_example, dbos'\ndbos.max_workers = 1");
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE FUNCTION note(t text) RETURNS text LANGUAGE sql AS $$ SELECT t $$;
SELECT dbos.create_policy('slack', 'library least_slack');
SELECT dbos.create_queue('urgent', policy => 'slack');
});
my $late = q{
SELECT dbos.pause_queue('urgent');
SELECT dbos.submit('note', '["none"]', queue => 'urgent');
SELECT dbos.submit('note', '["minutes"]', queue => 'urgent', deadline => now() + interval '5 minutes');
SELECT dbos.submit('note', '["days"]', queue => 'urgent', deadline => now() + interval '5 days');
SELECT dbos.submit('note', '["seconds"]', queue => 'urgent', deadline => now() + interval '50 seconds');
};

# They run in this order, which is asked for in batches of this many.
sub order_of_last
{
	ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.task'), 'they run');
	return $node->safe_psql('postgres', q{SELECT string_agg(result->>0, ' ' ORDER BY started_at) FROM
		(SELECT * FROM dbos.tasks ORDER BY id DESC LIMIT 4) t});
}
$node->safe_psql('postgres', $late);
$node->safe_psql('postgres', q{SELECT dbos.resume_queue('urgent')});
is(order_of_last(), 'seconds minutes none days', 'by the slack that each has');
my ($code, undef, $error) = $node->psql('postgres', q{SELECT dbos.create_policy('bad', 'library most_slack')});
like($error, qr/No library has registered "most_slack"/, 'an unknown one is refused');

# The library is taken away while tasks wait.
$node->safe_psql('postgres', $late);
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'");
$node->start;
is($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.tasks WHERE state = 'waiting'}), '4', 'without it they are there');
$node->safe_psql('postgres', q{SELECT dbos.resume_queue('urgent')});
is(order_of_last(), 'none minutes days seconds', 'and run in the order of their submits');
$node->stop;
done_testing();
