# Limits on what runs and starts hold for every moment, with many workers and over crashes; nobody starves.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $scale = $ENV{DBOS_TORTURE} ? 10 : 1;
my $node = PostgreSQL::Test::Cluster->new('limits');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'dbos'
max_worker_processes = 32
dbos.max_workers = 16
dbos.task_queue_entries = 8192
restart_after_crash = on
});
$node->start;
my $shared = $node->safe_psql('postgres', 'SHOW dbos.shared_memory') eq 'on';
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE FUNCTION work(seconds float8) RETURNS void LANGUAGE sql AS $$ SELECT pg_catalog.pg_sleep(seconds) $$;
CREATE FUNCTION noop(n int) RETURNS int LANGUAGE sql AS $$ SELECT n $$;
});

sub all_end
{
	my ($name) = @_;
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.task}), $name)
	  or diag($node->safe_psql('postgres', q{SELECT id, state, wait_reason, queue, partition_key FROM dbos.tasks WHERE state IN ('ready', 'waiting', 'running') ORDER BY id LIMIT 5}));
}

# The most that ran at once, by the beginnings and ends in the history, of what a condition selects; per group.
sub most_at_once
{
	my ($condition, $group) = @_;
	return $node->safe_psql('postgres', qq{
SELECT max(n) FROM (SELECT sum(change) OVER (PARTITION BY $group ORDER BY at, change ROWS UNBOUNDED PRECEDING) AS n FROM (
	SELECT $group, started_at AS at, 1 AS change FROM dbos.tasks WHERE $condition
	UNION ALL SELECT $group, finished_at, -1 FROM dbos.tasks WHERE $condition) edges) sums});
}

# Starts that came earlier than one period after the one that is `limit` before them.
sub too_early
{
	my ($queue, $group, $limit, $period) = @_;
	return $node->safe_psql('postgres', qq{
SELECT count(*) FROM (SELECT started_at - lag(started_at, $limit) OVER (PARTITION BY $group ORDER BY started_at) AS gap
	FROM dbos.tasks WHERE queue = '$queue') gaps WHERE gap < '$period'});
}

# ---- what runs at once ----

$node->safe_psql('postgres', qq{
SELECT dbos.create_queue('narrow', concurrency => 5, partition_concurrency => 2);
SELECT count(dbos.submit('work', jsonb_build_array(0.001 + 0.01 * random()), queue => 'narrow', partition_key => 'p' || n % 7))
FROM generate_series(1, 300 * $scale) n;
SELECT count(dbos.submit('work', jsonb_build_array(0.001 + 0.01 * random()), queue => 'narrow')) FROM generate_series(1, 50 * $scale);
});
all_end('all of a queue with limits run');
is(most_at_once("queue = 'narrow'", 'queue'), '5', 'as many at once as the queue allows, and no more');
is(most_at_once("queue = 'narrow' AND partition_key IS NOT NULL", 'partition_key'), '2', 'and as a partition allows');

# A limit that changes while tasks wait.
$node->safe_psql('postgres', qq{
SELECT dbos.alter_queue('narrow', concurrency => 0);
SELECT count(dbos.submit('work', '[0.02]', queue => 'narrow', partition_key => 'q')) FROM generate_series(1, 20);
});
is($node->safe_psql('postgres', q{SELECT DISTINCT wait_reason FROM dbos.tasks WHERE queue = 'narrow' AND state = 'waiting'}), 'limit', 'it is told why they wait');
$node->safe_psql('postgres', q{SELECT dbos.alter_queue('narrow', concurrency => NULL, partition_concurrency => 1)});
all_end('a limit is lifted, and they run');
is(most_at_once("partition_key = 'q'", 'queue'), '1', 'one at a time, as the partition is limited now');

# ---- what starts in a period ----

$node->safe_psql('postgres', qq{
SELECT dbos.create_queue('rated', rate_limit => 40, rate_period => '400 milliseconds');
SELECT count(dbos.submit('noop', jsonb_build_array(n), queue => 'rated')) FROM generate_series(1, 200 * $scale) n;
SELECT dbos.create_queue('rated_parts', partition_rate_limit => 5, rate_period => '300 milliseconds');
SELECT count(dbos.submit('noop', jsonb_build_array(n), queue => 'rated_parts', partition_key => 'p' || n % 8)) FROM generate_series(1, 160 * $scale) n;
});
all_end('all of a queue with a rate run');
is(too_early('rated', 'queue', 40, '400 milliseconds'), '0', 'in no period do more start than the queue allows');
is(too_early('rated_parts', 'partition_key', 5, '300 milliseconds'), '0', 'nor than a partition allows');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT started_at - lag(started_at, 6) OVER (ORDER BY started_at) AS gap
	FROM dbos.tasks WHERE queue = 'rated_parts') g WHERE gap < '300 milliseconds'}), '>', 0, 'a partition does not hold up the others');

# Over crashes: a few starts of a long period, and the server killed in the midst of them.
$node->safe_psql('postgres', q{
SELECT dbos.create_queue('slow', rate_limit => 10, rate_period => '4 seconds');
SELECT count(dbos.submit('noop', jsonb_build_array(n), queue => 'slow')) FROM generate_series(1, 30) n;
});
for my $round (1 .. 2)
{
	ok($node->poll_query_until('postgres', "SELECT count(*) >= 5 * $round FROM dbos.tasks WHERE queue = 'slow' AND state = 'succeeded'"), 'some ran');
	$node->stop('immediate');
	$node->start;
}
all_end('all run after crashes of the server');
is(too_early('slow', 'queue', 10, '4 seconds'), '0', 'and the rate holds over them');

# ---- nobody starves ----

$node->append_conf('postgresql.conf', 'dbos.max_workers = 1');
$node->restart;
my $flood = $shared ? 10_000 * $scale : 500;
# Noticed by how many of the flood ran before: a batch or two, whatever waits.
my $few = $shared ? 2_000 : 100;
$node->safe_psql('postgres', qq{
SELECT dbos.pause_queue('default');
SELECT dbos.create_queue('flood'), dbos.create_queue('quiet');
SELECT count(*) FROM dbos.submit_many('noop', array_fill('[1]'::jsonb, ARRAY[$flood]), queue => 'flood');
SELECT count(*) FROM dbos.submit_many('noop', array_fill('[1]'::jsonb, ARRAY[$flood]), partition_key => 'flood');
});
my $late = $node->safe_psql('postgres', q{SELECT dbos.submit('noop', '[2]', queue => 'quiet', priority => 10)});
$node->safe_psql('postgres', "SELECT dbos.submit('noop', jsonb_build_array(n), partition_key => 'quiet $_') FROM generate_series(1, 10) n") for 1 .. 3;
$node->safe_psql('postgres', q{SELECT dbos.resume_queue('default')});
all_end('a flood runs');
my $before = q{SELECT count(*) FROM dbos.tasks WHERE finished_at < (SELECT max(started_at) FROM dbos.tasks WHERE QUIET) AND FLOOD};
sub before
{
	my ($quiet, $of) = @_;
	(my $query = $before) =~ s/QUIET/$quiet/;
	$query =~ s/FLOOD/$of/;
	return $node->safe_psql('postgres', $query);
}
# The queue was there before the flood of the other one ended; that it came later does not count.
cmp_ok(before("id = $late", "queue = 'flood' AND submitted_at > now() - interval '1 hour' AND finished_at > (SELECT submitted_at FROM dbos.tasks WHERE id = $late)"),
	'<', $few, 'a queue does not wait for the flood in another');
cmp_ok(before("partition_key LIKE 'quiet%'", "partition_key = 'flood'"), '<', $few, 'nor does a partition for that in another');

# More partitions than there are lanes, more tasks than there are entries: each runs once.
my $many = $shared ? 12_000 : 300;
$node->append_conf('postgresql.conf', "dbos.max_workers = 4\ndbos.task_queue_entries = 1024");
$node->restart;
$node->safe_psql('postgres', qq{
CREATE TABLE ran (n int);
CREATE FUNCTION note(n int) RETURNS void LANGUAGE sql AS \$\$ INSERT INTO public.ran VALUES (n) \$\$;
SELECT count(dbos.submit('note', jsonb_build_array(n), partition_key => 'many ' || n % ($many / 2))) FROM generate_series(1, $many) n;
});
all_end('more partitions than there is room for run');
is($node->safe_psql('postgres', q{SELECT count(*) || ' ' || count(DISTINCT n) FROM ran}), "$many $many", 'each task once');
$node->stop;
done_testing();
