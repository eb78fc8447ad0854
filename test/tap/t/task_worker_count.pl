# Tasks that compute are run by about as many workers as there are CPUs, tasks that wait by as many as there may be.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

chomp(my $cpus = `nproc`);
my $most = 3 * $cpus + 6;
my $node = PostgreSQL::Test::Cluster->new('worker_count');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\nmax_worker_processes = " . ($most + 8) . "\ndbos.max_workers = $most");
$node->start;
if ($node->safe_psql('postgres', 'SHOW dbos.shared_memory') ne 'on')
{
	$node->stop;
	plan skip_all => 'without shared memory nobody knows what workers do';
}
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE FUNCTION compute(seconds float8) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	until timestamptz := clock_timestamp() + make_interval(secs => seconds);
	turns bigint := 0;
BEGIN
	WHILE clock_timestamp() < until LOOP turns := turns + 1; END LOOP;
	RETURN turns;
END
$$;
});

# How much of the CPUs others use, of 1; our server has nothing to do.
sub others_use
{
	my @times = map { open(my $file, '<', '/proc/stat') or die; my $line = <$file>; sleep(0.5); [ (split ' ', $line)[1 .. 8] ] } 1 .. 2;
	my @used = map { $times[1][$_] - $times[0][$_] } 0 .. 7;
	my $all = 0;
	$all += $_ foreach @used;
	return 1 - ($used[3] + $used[4]) / $all;
}

# The most that ran at once, and for how many seconds they did.
sub run
{
	my ($function, $count) = @_;
	$node->safe_psql('postgres', qq{
SELECT dbos.pause_queue('default');
SELECT count(dbos.submit('$function', '[0.2]')) FROM generate_series(1, $count);
SELECT dbos.resume_queue('default');
});
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.task}), "all of $function run");
	return split /\|/, $node->safe_psql('postgres', qq{
WITH ran AS (SELECT started_at, finished_at FROM dbos.tasks WHERE function LIKE '%$function(%')
SELECT (SELECT max(n) FROM (SELECT sum(change) OVER (ORDER BY at, change ROWS UNBOUNDED PRECEDING) AS n FROM (
	SELECT started_at AS at, 1 AS change FROM ran UNION ALL SELECT finished_at, -1 FROM ran) edges) sums),
	extract(epoch FROM max(finished_at) - min(started_at)) FROM ran});
}
my $others = others_use();
my ($at_once, $seconds) = run('compute', 10 * $cpus);
$others = $others > 0.2 ? $others : others_use();
note("$cpus CPUs, of which others used $others: $at_once that computed at once, for $seconds s");
SKIP:
{
	# Who does not get the CPU that he would use looks like one who waits.
	skip 'others use the CPUs too', 1 if $others > 0.2;
	# One more comes for each second that somebody waits, since that may be for a task that does not end.
	cmp_ok($at_once, '<=', 2 * $cpus + 4 + $seconds, 'workers that compute leave the CPUs to each other');
}
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM dbos.workers WHERE kind = 'executor'});
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.workers WHERE kind = 'executor'});
($at_once, $seconds) = run('pg_catalog.pg_sleep', 5 * $most);
note("$cpus CPUs: $at_once that waited at once, for $seconds s");
is($at_once, $most, 'those that wait are as many as there may be');
$node->stop;
done_testing();
