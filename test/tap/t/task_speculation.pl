# A straggler of an idempotent function is run a second time, and one of the two runs counts, whatever is killed.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $kills = $ENV{DBOS_TORTURE} ? 300 : 30;
my $each = 5;
my $seed = $ENV{DBOS_SEED} || int(time);
note("seed $seed, for DBOS_SEED");
srand($seed);
my $node = PostgreSQL::Test::Cluster->new('speculation');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'dbos'
max_worker_processes = 16
dbos.max_workers = 8
dbos.task_crash_limit = 1000
restart_after_crash = on
});
$node->start;
my $shared = $node->safe_psql('postgres', 'SHOW dbos.shared_memory') eq 'on';
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE SEQUENCE runs;
CREATE TABLE done (name text);
CREATE TABLE told (name text);
-- Its first run takes as long as it is told to, and later ones too; what it does comes before.  A first
-- run of less than no time waits until it is told to end.
CREATE FUNCTION work(name text, first float8, later float8) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	run bigint := 0;
BEGIN
	IF name <> 'usual' THEN
		run := nextval('public.runs');
		INSERT INTO public.done VALUES (name);
	END IF;
	IF later < 0 AND run > 1 THEN
		RAISE EXCEPTION 'a later run';
	END IF;
	IF run = 1 AND first < 0 THEN
		WHILE NOT EXISTS (SELECT FROM public.told t WHERE t.name = work.name) LOOP PERFORM pg_catalog.pg_sleep(0.01); END LOOP;
	ELSE
		PERFORM pg_catalog.pg_sleep(CASE WHEN run > 1 THEN later ELSE first END);
	END IF;
	RETURN run;
END
$$;
CREATE FUNCTION uncertain(name text, first float8, later float8) RETURNS bigint LANGUAGE sql AS 'SELECT public.work(name, first, later)';
SELECT dbos.alter_function('work', idempotent => true);
SELECT dbos.create_queue('narrow', concurrency => 5);
});

sub usual
{
	my ($function) = @_;
	$node->safe_psql('postgres', qq{SELECT count(dbos.submit('$function', '["usual", 0.001, 0.001]')) FROM generate_series(1, 30)});
	$node->poll_query_until('postgres', qq{SELECT coalesce(sum(count), 0) >= 30 FROM dbos.function_stats WHERE function LIKE '%.$function(%'}) or die 'no profile';
}

sub submit
{
	my ($function, $args, $options) = @_;
	$node->safe_psql('postgres', 'ALTER SEQUENCE runs RESTART');
	return $node->safe_psql('postgres', qq{SELECT dbos.submit('$function', '$args'} . ($options ? ", $options" : '') . ')');
}

sub copies
{
	return $node->safe_psql('postgres', q{SELECT count(*) FROM dbos.workers WHERE state = 'copying'});
}

usual('work');
if ($shared)
{
	my $task = submit('work', '["straggler", 600, 0.01]');
	is($node->safe_psql('postgres', "SELECT dbos.wait($task, '60 s')"), '2', 'the second run of a straggler is the result');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM done WHERE name = 'straggler'}), '1', 'what one run did is there');
	is($node->safe_psql('postgres', "SELECT state, attempt, (SELECT count(*) FROM dbos.attempts WHERE task_id = id) FROM dbos.tasks WHERE id = $task"),
		'succeeded|1|1', 'the other one is no attempt');
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.workers WHERE kind = 'executor' AND state <> 'idle'}), 'and it has stopped');

	$task = submit('work', '["first", -1, 600]');
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM dbos.workers WHERE state = 'copying'}), 'it is told that a worker copies');
	is($node->safe_psql('postgres', qq{SELECT task_id FROM dbos.workers WHERE state = 'copying'}), $task, 'and what');
	is($node->safe_psql('postgres', "SELECT count(*), max(state) FROM dbos.tasks WHERE id = $task"), '1|running', 'it is one task that runs');
	$node->safe_psql('postgres', q{INSERT INTO told VALUES ('first')});
	is($node->safe_psql('postgres', "SELECT dbos.wait($task, '60 s')"), '1', 'an original that is first is the result');
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.workers WHERE state = 'copying'}), 'and its copy is told off');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM done WHERE name = 'first'}), '1', 'whose effects are gone');

	$task = submit('work', '["copy fails", -1, -1]');
	ok($node->poll_query_until('postgres', q{SELECT (SELECT last_value > 1 FROM runs) AND NOT EXISTS (SELECT FROM dbos.workers WHERE state = 'copying')}), 'a copy fails');
	# As long as one that is tried again would take to be.
	usleep(2_000_000);
	$node->safe_psql('postgres', q{INSERT INTO told VALUES ('copy fails')});
	is($node->safe_psql('postgres', "SELECT dbos.wait($task, '60 s')"), '1', 'a copy that fails harms nobody');
	is($node->safe_psql('postgres', "SELECT last_value FROM runs"), '2', 'and is not tried again');
	is($node->safe_psql('postgres', "SELECT attempt FROM dbos.tasks WHERE id = $task"), '1', 'nor charged');

	$task = submit('work', '["cancelled", 600, 600]');
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM dbos.workers WHERE state = 'copying'});
	$node->safe_psql('postgres', "SELECT dbos.cancel($task)");
	ok($node->poll_query_until('postgres', "SELECT state = 'cancelled' FROM dbos.tasks WHERE id = $task"), 'a cancel ends it');
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.workers WHERE kind = 'executor' AND state <> 'idle'}), 'with its copy');

	$task = submit('work', '["timed out", 600, 600]', "timeout => '2 s'");
	ok($node->poll_query_until('postgres', "SELECT state = 'failed' FROM dbos.tasks WHERE id = $task"), 'so does its time-out');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM done WHERE name IN ('cancelled', 'timed out', 'copy fails')}), '1', 'and nothing is left of them');

	usual('uncertain');
	my $uncertain = submit('uncertain', '["uncertain", 2, 0.01]');
	my $narrow = submit('work', '["narrow", 2, 0.01]', "queue => 'narrow'");
	my $copied = 0;
	while ($node->safe_psql('postgres', "SELECT count(*) FROM dbos.tasks WHERE id IN ($uncertain, $narrow) AND state = 'running'") > 0)
	{
		$copied += copies();
	}
	is($copied, 0, 'what is not called idempotent is not copied, nor what is in a queue with limits');
}

# Runs of random length, executors and the server killed at random: every task counts once.
$node->safe_psql('postgres', q{
CREATE TABLE counted (n int);
CREATE FUNCTION lottery(n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF random() < 0.5 THEN
		INSERT INTO public.counted VALUES (n);
		PERFORM pg_catalog.pg_sleep(CASE WHEN random() < 0.5 THEN random() * 3 ELSE random() * 0.01 END);
	ELSE
		PERFORM pg_catalog.pg_sleep(CASE WHEN random() < 0.5 THEN random() * 3 ELSE random() * 0.01 END);
		INSERT INTO public.counted VALUES (n);
	END IF;
END
$$;
SELECT dbos.alter_function('lottery', idempotent => true, batch => false);
INSERT INTO dbos.function_profile SELECT 'public.lottery(integer)', CURRENT_USER::regrole, 0, s, current_date, 100, 0, ARRAY[400], ARRAY[100] FROM generate_series(0, 8) s;
});
my ($n, $copied) = (0, 0);
for my $kill (1 .. $kills)
{
	$node->safe_psql('postgres', qq{SELECT count(dbos.submit('lottery', jsonb_build_array($n + n), max_attempts => 1000)) FROM generate_series(1, $each) n});
	$n += $each;
	for (my $until = time + rand(1); time < $until; usleep(20_000))
	{
		$copied += copies();
	}
	my $choice = rand();
	if ($choice < 0.8)
	{
		my $which = rand() < 0.5 ? 'DESC' : 'ASC';
		$node->safe_psql('postgres', qq{SELECT pg_terminate_backend(pid) FROM dbos.workers WHERE kind = 'executor' ORDER BY state = 'copying' $which, state DESC, random() LIMIT 1});
	}
	elsif ($choice < 0.9)
	{
		my $pid = $node->safe_psql('postgres', q{SELECT pid FROM dbos.workers WHERE kind = 'executor' ORDER BY state, random() LIMIT 1});
		my $log = -s $node->logfile;
		# Until the next start, not while the server still answers.
		$node->wait_for_log(qr/database system is ready to accept connections/, $log) if $pid =~ /^\d+$/ && kill('KILL', $pid);
	}
	else
	{
		$node->stop('immediate');
		$node->start;
	}
}
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.task'), 'all end')
  or diag($node->safe_psql('postgres', 'SELECT id, state, wait_reason, attempt FROM dbos.tasks ORDER BY id LIMIT 5'));
note("$n tasks, $kills kills; looks that saw a copy: $copied");
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT n) FROM counted'), "$n|$n", 'each has run once, to the end');
is($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.tasks WHERE function LIKE '%lottery%' AND state = 'succeeded'}), $n, 'and says so');
cmp_ok($copied, '>', 0, 'some were copied') if $shared;
$node->stop;
done_testing();
