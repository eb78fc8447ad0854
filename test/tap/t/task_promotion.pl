# A promoted standby goes on with what was replicated, each task once.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'");
$primary->start;
$primary->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE ledger (task bigint);
CREATE FUNCTION enter() RETURNS void LANGUAGE sql AS 'INSERT INTO public.ledger VALUES (dbos.current_task())';
});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres', q{SELECT count(*) FROM (SELECT dbos.submit_many('enter', array_fill('{}'::jsonb, ARRAY[5000]))) s});
my $last = $primary->safe_psql('postgres', 'SELECT max(id) FROM dbos.tasks');
$primary->wait_for_catchup($standby);

my ($code, $output, $errors) = $standby->psql('postgres', "SELECT dbos.wait($last)");
isnt($code, 0, 'a standby does not wait') if $errors;
like($errors, qr/cannot wait for a task on a standby|^$/, 'and says why');
($code, $output, $errors) = $standby->psql('postgres', q{SELECT dbos.submit('enter')});
like($errors, qr/read-only transaction|recovery/, 'a standby takes no task');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'dbos %'}), '0', 'nothing of ours runs on a standby');

$primary->stop('immediate');
$standby->promote;
ok($standby->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.task'), 'the promoted server goes on');
is($standby->safe_psql('postgres', 'SELECT count(*), count(DISTINCT task) FROM ledger'), '5000|5000', 'each task ran once');
is($standby->safe_psql('postgres', 'SELECT sum(crashes) FROM dbos.tasks'), '0', 'a promotion is no crash');
is($standby->safe_psql('postgres', q{CALL dbos.run('pg_catalog.upper', '["new"]')}), '"NEW"', 'and new ones run');
$standby->stop;
done_testing();
