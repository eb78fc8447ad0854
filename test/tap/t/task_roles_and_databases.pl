# A hundred roles and twenty databases all progress on the worker processes that a stock server has.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('many');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\nmax_worker_processes = 8");
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE ledger (who name, session_who name);
GRANT INSERT ON ledger TO PUBLIC;
CREATE FUNCTION enter() RETURNS void LANGUAGE sql AS 'INSERT INTO public.ledger VALUES (current_user, session_user)';
SELECT dbos.create_queue('all');
SELECT dbos.pause_queue('all');
DO $$
BEGIN
	FOR i IN 1 .. 100 LOOP
		EXECUTE format('CREATE ROLE many_%s LOGIN IN ROLE dbos_user', i);
	END LOOP;
END $$;
});
my $script = join('', map {
	"SET SESSION AUTHORIZATION many_$_; SELECT dbos.submit_many('enter', array_fill('{}'::jsonb, ARRAY[20]), queue => 'all'); RESET SESSION AUTHORIZATION;\n"
} 1 .. 100);
$node->safe_psql('postgres', $script);
$node->safe_psql('postgres', q{SELECT dbos.resume_queue('all')});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.task'), 'every task of a hundred roles runs');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT who), bool_and(who = session_who) FROM ledger'),
	'2000|100|t', 'each as its own role');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'dbos %'}), '<=', 5,
	'two worker slots, and the launcher of the server, are left to others');

# Twenty databases, with work in each.
foreach my $number (1 .. 20)
{
	$node->safe_psql('postgres', "CREATE DATABASE d$number");
	$node->safe_psql("d$number", q{SET client_min_messages = warning; CREATE EXTENSION dbos});
	$node->safe_psql("d$number", q{SELECT dbos.submit_many('pg_catalog.now', array_fill('{}'::jsonb, ARRAY[10]))});
}
foreach my $number (1 .. 20)
{
	ok($node->poll_query_until("d$number", q{SELECT count(*) = 10 FROM dbos.tasks WHERE state = 'succeeded'}), "database $number works");
}
# Who has nothing to do leaves.
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('dbos executor', 'dbos scheduler')}),
	'databases with nothing to do hold no worker');
# A role that is dropped with tasks pending.
$node->safe_psql('postgres', q{SELECT dbos.pause_queue('all')});
$node->safe_psql('postgres', q{SET SESSION AUTHORIZATION many_1; SELECT dbos.submit('enter', queue => 'all')});
$node->safe_psql('postgres', q{SET SESSION AUTHORIZATION many_2; SELECT dbos.submit('enter', queue => 'all')});
$node->safe_psql('postgres', q{DROP ROLE many_1; ALTER ROLE many_2 RENAME TO renamed; SELECT dbos.resume_queue('all')});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.task'), 'tasks of dropped and renamed roles end');
is($node->safe_psql('postgres', q{SELECT state, error->>'sqlstate' FROM dbos.tasks ORDER BY id DESC LIMIT 2}),
	"succeeded|\nfailed|42704", 'the one renamed ran, the one dropped failed');
$node->stop;
done_testing();
