# Tasks of a gang start together or not at all, whoever else runs and whatever is killed.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $kills = $ENV{DBOS_TORTURE} ? 100 : 10;
my $seed = $ENV{DBOS_SEED} || time;
note("seed $seed, for DBOS_SEED");
srand($seed);
my $node = PostgreSQL::Test::Cluster->new('gangs');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'dbos'
max_worker_processes = 16
dbos.max_workers = 6
dbos.task_crash_limit = 1000
restart_after_crash = on
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE SEQUENCE begun;
CREATE TABLE done (gang int, member int);
-- Waits until all members of its gang run, or have run: each holds a lock that the others look for.
CREATE FUNCTION meet(gang int, member int, size int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	until timestamptz := clock_timestamp() + '60 s';
BEGIN
	PERFORM nextval('public.begun');
	INSERT INTO public.done VALUES (gang, member);
	PERFORM pg_advisory_lock_shared(gang, member);
	LOOP
		EXIT WHEN size <= (SELECT count(*) FROM (SELECT objid FROM pg_locks
			WHERE locktype = 'advisory' AND objsubid = 2 AND classid = meet.gang::oid AND granted
			UNION SELECT d.member::oid FROM public.done d WHERE d.gang = meet.gang) here);
		IF clock_timestamp() > until THEN
			RAISE EXCEPTION 'member % of gang % runs without the others', member, gang;
		END IF;
		PERFORM pg_sleep(0.005);
	END LOOP;
	-- Until everybody has seen everybody.
	PERFORM pg_sleep(0.1);
	RETURN member;
END
$$;
CREATE FUNCTION work(seconds float8) RETURNS void LANGUAGE sql AS 'SELECT pg_catalog.pg_sleep(seconds)';
CREATE FUNCTION fail_once(member int) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	IF member = 2 AND nextval('public.begun') <= 3 THEN
		RAISE EXCEPTION 'the first time';
	END IF;
	RETURN member;
END
$$;
SELECT dbos.create_queue('narrow', concurrency => 2), dbos.create_queue('tenants', partition_concurrency => 2, partition_rate_limit => 1);
});

sub submit
{
	my ($gang, $size, $options) = @_;
	$options = $options ? ", $options" : '';
	return $node->safe_psql('postgres', qq{SELECT string_agg(g::text, ',') FROM dbos.submit_gang('meet',
		(SELECT array_agg(jsonb_build_array($gang, n, $size)) FROM generate_series(1, $size) n)$options) g});
}

sub all_end
{
	my ($name) = @_;
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.task}), $name)
	  or diag($node->safe_psql('postgres', q{SELECT id, state, wait_reason, attempt, crashes, worker_pid FROM dbos.tasks WHERE state IN ('ready', 'waiting', 'running') ORDER BY id LIMIT 9}));
}

# ---- what can never start ----

my ($ret, $out, $err) = $node->psql('postgres', q{SELECT dbos.submit_gang('work', array_fill('[1]'::jsonb, ARRAY[7]))});
like($err, qr/a gang of 7 tasks can never start.*at most 6 workers/s, 'more than there are workers');
($ret, $out, $err) = $node->psql('postgres', q{SELECT dbos.submit_gang('work', array_fill('[1]'::jsonb, ARRAY[3]), queue => 'narrow')});
like($err, qr/a gang of 3 tasks can never start.*the concurrency of the queue is 2/s, 'more than the queue allows');
($ret, $out, $err) = $node->psql('postgres', q{SELECT dbos.submit_gang('work', array_fill('[1]'::jsonb, ARRAY[2]), queue => 'tenants', partition_key => 'a')});
like($err, qr/the rate limit of its partitions is 1/, 'more than a partition allows');
is($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.submit_gang('work', '{}')}), '0', 'a gang of nobody');
is($node->safe_psql('postgres', 'SELECT count(*) FROM dbos.task_gang'), '0', 'nothing is left of them');

# ---- all or none ----

submit(1, 6);
all_end('as many as there are workers');
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT result) FROM dbos.tasks WHERE state = 'succeeded' AND function LIKE '%meet%'}), '6|6', 'meet');

$node->safe_psql('postgres', q{ALTER SEQUENCE begun RESTART; SELECT count(dbos.submit('work', '[4]')) FROM generate_series(1, 2)});
$node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM dbos.tasks WHERE state = 'running'});
my $members = submit(2, 5);
usleep(2_500_000);
is($node->safe_psql('postgres', 'SELECT is_called FROM begun'), 'f', 'none begins where there is no place for all');
is($node->safe_psql('postgres', qq{SELECT count(*) FROM dbos.tasks WHERE id IN ($members) AND state IN ('ready', 'running')}), '5', 'they wait');
all_end('they start when there is');

# A member that is cancelled is not waited for, nor is one whose attempt failed.
$node->safe_psql('postgres', q{SELECT count(dbos.submit('work', '[3]')) FROM generate_series(1, 2)});
$node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM dbos.tasks WHERE state = 'running'});
$members = $node->safe_psql('postgres', q{SELECT string_agg(g::text, ',') FROM dbos.submit_gang('meet',
	(SELECT array_agg(jsonb_build_array(3, n, 4)) FROM generate_series(1, 5) n)) g});
my ($first) = split /,/, $members;
$node->safe_psql('postgres', "SELECT dbos.cancel($first)");
all_end('a gang goes on without a member that was cancelled');
is($node->safe_psql('postgres', qq{SELECT string_agg(state, ' ' ORDER BY id) FROM dbos.tasks WHERE id IN ($members)}), 'cancelled succeeded succeeded succeeded succeeded', 'with all others');
$node->safe_psql('postgres', q{ALTER SEQUENCE begun RESTART;
SELECT dbos.submit_gang('fail_once', ARRAY['[1]', '[2]', '[3]']::jsonb[], max_attempts => 4, retry_delay => '10 ms')});
all_end('a failed member is tried again alone');
is($node->safe_psql('postgres', q{SELECT string_agg(state || ' ' || attempt, ', ' ORDER BY id) FROM dbos.tasks WHERE function LIKE '%fail_once%'}),
	'succeeded 1, succeeded 4, succeeded 1', 'and only it');

# ---- among others, and killed ----

my $gang = 100;
my $members_sent = 0;
for my $kill (1 .. $kills)
{
	for (1 .. 3)
	{
		my $size = 2 + int(rand(5));
		submit($gang++, $size);
		$members_sent += $size;
		$node->safe_psql('postgres', q{SELECT count(dbos.submit('work', jsonb_build_array(random() * 0.1))) FROM generate_series(1, 5)});
	}
	usleep(1000 * rand(1500));
	my $choice = rand();
	if ($choice < 0.5)
	{
		$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM dbos.workers WHERE kind = 'executor' ORDER BY state = 'running' DESC, random() LIMIT 1});
	}
	elsif ($choice < 0.75)
	{
		my $pid = $node->safe_psql('postgres', q{SELECT pid FROM dbos.workers WHERE kind = 'executor' ORDER BY random() LIMIT 1});
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
all_end('all gangs end');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT (gang, member)) FROM done WHERE gang >= 100'), "$members_sent|$members_sent", 'each member has run once, with all others');
is($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.tasks WHERE state = 'failed'}), '0', 'and none without them');
note($gang - 100, " gangs of $members_sent members, $kills kills");
$node->stop;
done_testing();
