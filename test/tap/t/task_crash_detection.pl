# A task whose worker ends is ready again at once, without a time-out, and only who ran is charged, up to a limit.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use CrashedServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

# Its paths stand in the lock file, which says in another line whether the server is stopping.
my $node = PostgreSQL::Test::Cluster->new('stopping');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'dbos'
restart_after_crash = on
log_line_prefix = '%n [%p] '
dbos.task_crash_limit = 2
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE ledger (name text);
CREATE TABLE luck (good boolean);
CREATE FUNCTION note(name text) RETURNS void LANGUAGE sql AS 'INSERT INTO public.ledger VALUES (name)';
CREATE FUNCTION slow(name text) RETURNS void LANGUAGE plpgsql AS
	$$BEGIN INSERT INTO public.ledger VALUES (name); WHILE NOT EXISTS (SELECT FROM public.luck) LOOP PERFORM pg_sleep(0.01); END LOOP; END$$;
CREATE FUNCTION end_worker() RETURNS void LANGUAGE plpgsql AS
	$$BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); END$$;
CREATE FUNCTION kill_worker() RETURNS void LANGUAGE plpgsql AS
	$$BEGIN COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'; PERFORM pg_sleep(60); END$$;
SELECT dbos.create_queue('one', concurrency => 1), dbos.create_queue('shut');
SELECT dbos.pause_queue('shut');
});

sub ask { return answer_of($node, 'postgres', @_) }

sub until_true
{
	my ($sql) = @_;
	foreach my $try (1 .. 3000)
	{
		return 1 if ask($sql) eq 't';
		usleep(10_000);
	}
	return 0;
}

sub submit { return ask("SELECT dbos.submit($_[0])") }

# Who runs the task, once that is not $before, and since when, in seconds.
sub runner
{
	my ($task, $before) = @_;
	until_true("SELECT EXISTS (SELECT FROM dbos.tasks WHERE id = $task AND worker_pid <> $before)") or die "nobody runs task $task";
	return split /\|/, ask("SELECT worker_pid, extract(epoch FROM started_at) FROM dbos.tasks WHERE id = $task");
}

# When the last line like this was logged, in seconds.
sub logged
{
	my ($pattern, $from) = @_;
	foreach my $try (1 .. 500)
	{
		my @times = substr(slurp_file($node->logfile), $from) =~ /^([0-9.]+) \[[0-9]+\] .*$pattern/mg;
		return $times[-1] if @times;
		usleep(10_000);
	}
	die "not logged: $pattern";
}

# ---- a worker that is terminated ----

# A warm worker beside shows what detection costs, a cold one what a start adds.
foreach my $way ('no other worker of the role', 'another worker of the role is idle')
{
	ask('TRUNCATE luck');
	my $task = submit(q{'slow', '["terminated"]'});
	my ($pid) = runner($task, 0);
	ask('CALL dbos.run(\'pg_catalog.version\')') if $way =~ /another/;
	my $from = -s $node->logfile;
	kill 'TERM', $pid;
	my ($next, $started) = runner($task, $pid);
	my $noticed = logged("background worker \"dbos executor\" \\(PID $pid\\) exited", $from);
	note(sprintf('terminated, %s: runs again %.1f ms after the postmaster noticed', $way, ($started - $noticed) * 1000));
	cmp_ok($started - $noticed, '<', 10, "$way: the task of a terminated worker runs again");
	ask('INSERT INTO luck VALUES (true)');
	ok(until_true("SELECT state = 'succeeded' AND crashes = 1 FROM dbos.tasks WHERE id = $task"), "$way: it succeeds, one crash is charged");
}

# ---- a worker that is killed takes the server's processes along ----

ask('TRUNCATE luck');
my $task = submit(q{'slow', '["killed"]', queue => 'one'});
my ($pid) = runner($task, 0);
my $queued = submit(q{'note', '["queued"]', queue => 'one'});
my $paused = submit(q{'note', '["paused"]', queue => 'shut'});
my $delayed = submit(q{'note', '["delayed"]', delay => '1 hour'});
my $dependent = submit(qq{'note', '["dependent"]', after => ARRAY[$task]});
my $from = -s $node->logfile;
kill 'KILL', $pid;
my ($next, $started) = runner($task, $pid);
my $ready = logged('database system is ready to accept connections', $from);
note(sprintf('killed: runs again %.1f ms after the server was ready', ($started - $ready) * 1000));
cmp_ok($started - $ready, '<', 20, 'the task of a killed worker runs again');
ok(until_true("SELECT crashes = 1 FROM dbos.tasks WHERE id = $task"), 'it is charged');
is(ask("SELECT sum(crashes), count(*) FROM dbos.tasks WHERE id IN ($queued, $paused, $delayed, $dependent)"), '0|4', 'who waited is not');
is(ask("SELECT outcome, error->>'sqlstate' FROM dbos.attempts WHERE task_id = $task"), 'crashed|DB002', 'the attempt tells of the crash');

# ---- what is no crash ----

my ($runs) = runner($task, 0);
$node->stop('fast');
$node->start;
($runs) = runner($task, $runs);
is(ask("SELECT crashes FROM dbos.tasks WHERE id = $task"), '1', 'a shutdown is no crash');
ask("SELECT dbos.cancel($task)");
ok(until_true("SELECT state = 'cancelled' AND crashes = 1 FROM dbos.tasks WHERE id = $task"), 'a cancel is no crash');
ask('INSERT INTO luck VALUES (true)');
ok(until_true("SELECT state = 'succeeded' FROM dbos.tasks WHERE id = $queued"), 'who waited runs');
ok(until_true("SELECT state = 'failed' FROM dbos.tasks WHERE id = $dependent"), 'and who depended on it does not');
ask("SELECT dbos.cancel($delayed), dbos.cancel($paused)");

# ---- the limit ----

foreach my $case ([ 'end_worker', 1, 2 ], [ 'end_worker', 4, 4 ], [ 'kill_worker', 1, 2 ])
{
	my ($function, $attempts, $bound) = @$case;
	my $neighbour = submit(q{'note', '["neighbour"]', delay => '1 hour'});
	my $poison = submit("'$function', max_attempts => $attempts");
	ok(until_true("SELECT state = 'failed' FROM dbos.tasks WHERE id = $poison"), "$function: fails in the end with max_attempts => $attempts");
	is(ask("SELECT crashes, error->>'sqlstate', error->>'message' FROM dbos.tasks WHERE id = $poison"),
		"$bound|DB002|task ended its worker $bound times", "$function: after $bound crashes, with a clear error");
	is(ask("SELECT error->>'hint' FROM dbos.tasks WHERE id = $poison"),
		'Find out why from the server\'s log, then retry the task.', "$function: and a hint");
	is(ask("SELECT state, crashes FROM dbos.tasks WHERE id = $neighbour"), 'waiting|0', "$function: others are not charged");
	my ($code, $output, $error) = $node->psql('postgres', "SELECT dbos.wait($poison)");
	like($error, qr/task ended its worker $bound times/, "$function: who waits is told");
	ask("SELECT dbos.cancel($neighbour)");
}

ok(until_true('SELECT count(*) = 0 FROM dbos.task'), 'nothing is left waiting');
is(ask('SELECT string_agg(name, \' \' ORDER BY name) FROM ledger'), 'queued terminated terminated', 'effects are there once');
ok(until_true(q{SELECT ok FROM dbos.health() WHERE component = 'task crashes'}), 'every crash was seen to');
$node->stop;
done_testing();
