# A process killed between a task's effects and its commit leaves nothing, one killed after it leaves all, once.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use IPC::Run;
use CrashedServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('stop_points');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'dbos'
restart_after_crash = on
dbos.task_queue_entries = 256
});
$node->start;

# Stop points and the clock that tests drive are compiled in together.
if ($node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'dbos.clock_offset'}) ne '1')
{
	$node->stop;
	plan skip_all => 'the library has no stop points: it was not built with -DDBOS_TESTING';
}
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE ledger (task bigint NOT NULL);
CREATE FUNCTION enter() RETURNS bigint LANGUAGE sql AS
	'INSERT INTO public.ledger VALUES (dbos.current_task()) RETURNING task';
SELECT dbos.create_queue('held');
});

my $key = q{hashtext('dbos stop point'), hashtext('%s')};
my $waiting = q{
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objsubid = 2
AND (classid::bigint, objid::bigint) = (hashtext('dbos stop point') & 4294967295, hashtext('%s')::bigint & 4294967295)};
$waiting =~ s/hashtext\('dbos stop point'\) &/hashtext('dbos stop point')::bigint &/;

# A session that holds the point until it, or the server, ends.
sub arm
{
	my ($point) = @_;
	my ($in, $out) = ('', '');
	my $holder = IPC::Run::start(
		[ 'psql', '-X', '-q', '-h', $node->host, '-p', $node->port, '-d', 'postgres',
			'-c', sprintf("SELECT pg_advisory_lock($key)", $point), '-c', 'SELECT pg_sleep(600)' ],
		'<', \$in, '>', \$out, '2>', \$out);
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2})
	  or die "could not arm $point";
	return $holder;
}

# Kills whoever stands at the point; the postmaster restarts all processes, the holder's with them.
sub kill_at
{
	my ($point, $holder) = @_;
	$node->poll_query_until('postgres', 'SELECT EXISTS (' . sprintf($waiting, $point) . ')')
	  or die "nobody came to $point";
	my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM ledger');
	my $pid = $node->safe_psql('postgres', sprintf($waiting, $point) . ' LIMIT 1');
	kill_process($pid);
	$holder->finish;
	answer_of($node, 'postgres', 'SELECT true');
	return $before;
}

foreach my $case ([ 'task effects done', 0, 1 ], [ 'task before commit', 0, 1 ], [ 'task after commit', 1, 0 ])
{
	my ($point, $effects, $crashes) = @$case;
	$node->safe_psql('postgres', 'TRUNCATE ledger');
	my $holder = arm($point);
	my $task = $node->safe_psql('postgres', q{SELECT dbos.submit('enter')});
	is(kill_at($point, $holder), $effects, "$point: $effects effects were to be seen when the process was killed");
	ok($node->poll_query_until('postgres', "SELECT state = 'succeeded' FROM dbos.tasks WHERE id = $task"),
		"$point: the task succeeds");
	# A later task that runs shows that whoever goes through the crashed ones has done so.
	$node->safe_psql('postgres', q{CALL dbos.run('pg_catalog.version')});
	ok($node->poll_query_until('postgres', q{SELECT ok FROM dbos.health() WHERE component = 'task crashes'}),
		"$point: the crash was seen to");
	is($node->safe_psql('postgres', 'SELECT string_agg(task::text, $$,$$) FROM ledger'), $task, "$point: its effects are there once");
	is($node->safe_psql('postgres', "SELECT crashes, (SELECT count(*) FROM dbos.attempts WHERE task_id = $task AND outcome = 'crashed') FROM dbos.tasks WHERE id = $task"),
		"$crashes|$crashes", "$point: $crashes crashes are charged");
}

# A rebuild of the run queue that does not come to its end; without shared memory there is none.
if ($node->safe_psql('postgres', 'SHOW dbos.shared_memory') eq 'off')
{
	$node->stop;
	done_testing();
	exit;
}
$node->safe_psql('postgres', q{
TRUNCATE ledger;
SELECT dbos.pause_queue('held');
SELECT count(*) FROM dbos.submit_many('enter', array_fill('{}'::jsonb, ARRAY[3000]), queue => 'held');
});
my $holder = arm('lane refilling');
$node->safe_psql('postgres', q{SELECT dbos.resume_queue('held')});
kill_at('lane refilling', $holder);
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.task'), 'lane refilling: all tasks end')
  or diag($node->safe_psql('postgres', 'SELECT state, wait_reason, count(*) FROM dbos.tasks GROUP BY 1, 2'));
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT task) FROM ledger'), '3000|3000', 'lane refilling: each ran once');

# A scheduler that is terminated with something in hand that it alone was told.
$node->safe_psql('postgres', q{
CREATE SEQUENCE turn;
CREATE FUNCTION ends_its_worker() RETURNS bigint LANGUAGE plpgsql AS
	$$BEGIN IF nextval('public.turn') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); END IF; RETURN 1; END$$;
});
foreach my $case ([ 'dependents looked for', q{SELECT dbos.submit('enter', after => ARRAY[dbos.submit('enter')])} ], [ 'crash counted', q{SELECT dbos.submit('ends_its_worker')} ])
{
	my ($point, $submit) = @$case;
	my $holder = arm($point);
	my $task = $node->safe_psql('postgres', $submit);
	$node->poll_query_until('postgres', 'SELECT EXISTS (' . sprintf($waiting, $point) . ')') or die "nobody came to $point";
	my $pid = $node->safe_psql('postgres', sprintf($waiting, $point) . ' LIMIT 1');
	kill 'TERM', $pid;
	ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)"), "$point: the scheduler ends");
	$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%'});
	$holder->finish;
	ok($node->poll_query_until('postgres', "SELECT state = 'succeeded' FROM dbos.tasks WHERE id = $task"), "$point: the next one knows");
}

# Who looks whether tasks run here, and has not seen the start that commits meanwhile.
$node->safe_psql('postgres', 'SELECT dbos.stop()');
my $stopped = $node->safe_psql('postgres', q{SET client_min_messages = error; SELECT dbos.submit('enter')});
$holder = arm('database looked at');
$node->safe_psql('postgres', 'BEGIN; SELECT dbos.stop(); ROLLBACK');
$node->poll_query_until('postgres', 'SELECT EXISTS (' . sprintf($waiting, 'database looked at') . ')') or die 'nobody looks';
$node->safe_psql('postgres', 'SELECT dbos.start()');
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%'});
$holder->finish;
ok($node->poll_query_until('postgres', "SELECT state = 'succeeded' FROM dbos.tasks WHERE id = $stopped"), 'database looked at: a start that commits meanwhile counts');
$node->stop;
done_testing();
