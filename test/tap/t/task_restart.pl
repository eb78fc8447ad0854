# After a restart, orderly or not, tasks in every state go on by themselves.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('restart');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'");
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE ledger (name text);
CREATE TABLE luck (good boolean);
CREATE FUNCTION note(name text) RETURNS void LANGUAGE sql AS 'INSERT INTO public.ledger VALUES (name)';
CREATE FUNCTION slow(name text) RETURNS void LANGUAGE plpgsql AS
	$$BEGIN INSERT INTO public.ledger VALUES (name); WHILE NOT EXISTS (SELECT FROM public.luck) LOOP PERFORM pg_sleep(0.02); END LOOP; END$$;
CREATE FUNCTION lucky(name text) RETURNS void LANGUAGE plpgsql AS
	$$BEGIN IF NOT EXISTS (SELECT FROM public.luck) THEN RAISE EXCEPTION 'no luck'; END IF; INSERT INTO public.ledger VALUES (name); END$$;
});

sub submit { return $node->safe_psql('postgres', "SELECT dbos.submit($_[0])"); }

foreach my $way ('fast', 'immediate')
{
	my $tag = $way;
	$node->safe_psql('postgres', 'TRUNCATE luck');
	$node->safe_psql('postgres', "SELECT dbos.create_queue('q_$tag'); SELECT dbos.pause_queue('q_$tag')");
	my $ended = submit("'note', '[\"ended $tag\"]'");
	$node->safe_psql('postgres', "SELECT dbos.wait($ended)");
	my $running = submit("'slow', '[\"running $tag\"]'");
	$node->poll_query_until('postgres', "SELECT state = 'running' FROM dbos.tasks WHERE id = $running");
	my $paused = submit("'note', '[\"paused $tag\"]', queue => 'q_$tag'");
	my $later = submit("'note', '[\"later $tag\"]', delay => '1 hour'");
	my $soon = submit("'note', '[\"soon $tag\"]', delay => '1 second'");
	my $after = submit("'note', '[\"after $tag\"]', after => ARRAY[$running]");
	my $again = submit("'lucky', '[\"again $tag\"]', max_attempts => 1000, retry_delay => '100 ms', retry_backoff => 1");
	$node->poll_query_until('postgres', "SELECT attempt > 1 FROM dbos.tasks WHERE id = $again");

	$node->stop($way);
	$node->start;
	$node->safe_psql('postgres', 'INSERT INTO luck VALUES (true)');
	foreach my $id ($running, $soon, $after, $again)
	{
		ok($node->poll_query_until('postgres', "SELECT state = 'succeeded' FROM dbos.tasks WHERE id = $id"),
			"task $id goes on after a restart ($way)")
		  or diag($node->safe_psql('postgres', "SELECT * FROM dbos.tasks WHERE id = $id"));
	}
	is($node->safe_psql('postgres', "SELECT state, wait_reason FROM dbos.tasks WHERE id = $paused"),
		'waiting|paused', 'a paused queue is paused after a restart');
	is($node->safe_psql('postgres', "SELECT state, wait_reason FROM dbos.tasks WHERE id = $later"),
		'waiting|time', 'a delayed task waits on');
	is($node->safe_psql('postgres', "SELECT crashes FROM dbos.tasks WHERE id = $running"),
		'0', 'a shutdown is no crash') if $way eq 'fast';
	$node->safe_psql('postgres', "SELECT dbos.resume_queue('q_$tag')");
	ok($node->poll_query_until('postgres', "SELECT state = 'succeeded' FROM dbos.tasks WHERE id = $paused"),
		'a resumed queue runs');
	is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT name) FROM ledger WHERE name LIKE '%$tag'"),
		'6|6', 'each left its effects once');
}
# Stopped is stopped, also over a restart.
$node->safe_psql('postgres', 'SELECT dbos.stop()');
$node->restart;
my $still = $node->safe_psql('postgres', q{SET client_min_messages = error; SELECT dbos.submit('pg_catalog.now')});
$node->safe_psql('postgres', 'SELECT pg_sleep(1)');
is($node->safe_psql('postgres', "SELECT state, wait_reason FROM dbos.tasks WHERE id = $still"), 'waiting|no worker', 'nothing runs after dbos.stop() and a restart');
# A stop that is rolled back never was.
$node->safe_psql('postgres', 'BEGIN; SELECT dbos.start(); SAVEPOINT s; SELECT dbos.stop(); ROLLBACK TO s; COMMIT');
ok($node->poll_query_until('postgres', "SELECT state = 'succeeded' FROM dbos.tasks WHERE id = $still"), 'dbos.start() has it run, and a stop that was rolled back does not count');
$node->safe_psql('postgres', 'BEGIN; SELECT dbos.stop(); ROLLBACK');
is($node->safe_psql('postgres', q{CALL dbos.run('pg_catalog.upper', '["on"]')}), '"ON"', 'nor one of a whole transaction');
$node->stop;
done_testing();
