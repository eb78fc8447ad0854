# Maps end once, with every result, whatever is killed meanwhile; what runs at once stays within their bound.
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
my $node = PostgreSQL::Test::Cluster->new('maps');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\ndbos.max_workers = 4\ndbos.task_crash_limit = 1000\nrestart_after_crash = on");
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE ran (n int);
CREATE FUNCTION double(n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.ran VALUES (n);
	PERFORM pg_catalog.pg_sleep(0.002);
	RETURN 2 * n;
END
$$;
CREATE FUNCTION map_of_maps(n int) RETURNS bigint LANGUAGE sql AS $$
	SELECT dbos.map('double', format('SELECT n + %s AS n FROM generate_series(1, 10) n', n)) $$;
CREATE TABLE made (id bigint, first int, rows int, bound int);
});

# One map after the other, some with a bound, while processes are killed; the server too.
my $n = 0;
for my $round (1 .. $kills)
{
	my $rows = 1 + int(rand(300));
	my $bound = rand() < 0.5 ? 1 + int(rand(5)) : 0;
	my $option = $bound ? ", concurrency => $bound" : '';
	$node->safe_psql('postgres', qq{INSERT INTO made SELECT dbos.map('double', 'SELECT n FROM generate_series($n + 1, $n + $rows) n'$option), $n, $rows, $bound});
	$n += $rows;
	usleep(1000 * rand(300));
	my $choice = rand();
	if ($choice < 0.5)
	{
		my $pid = $node->safe_psql('postgres', q{SELECT pid FROM dbos.workers ORDER BY random() LIMIT 1});
		my $log = -s $node->logfile;
		# Until the next start, not while the server still answers.
		$node->wait_for_log(qr/database system is ready to accept connections/, $log) if $pid =~ /^\d+$/ && kill('KILL', $pid);
	}
	elsif ($choice < 0.8)
	{
		$node->stop('immediate');
		$node->start;
	}
	else
	{
		$node->safe_psql('postgres', q{SELECT count(pg_terminate_backend(pid)) FROM dbos.workers});
		ok(1, 'terminated');
	}
}
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.task}), 'all maps end')
  or diag($node->safe_psql('postgres', q{SELECT id, kind, held, unmet, parent_id FROM dbos.task ORDER BY id LIMIT 10}));
is($node->safe_psql('postgres', q{SELECT count(*) FROM made m JOIN dbos.tasks t ON t.id = m.id WHERE t.state <> 'succeeded'
	OR t.result <> (SELECT jsonb_agg(2 * n ORDER BY n) FROM generate_series(m.first + 1, m.first + m.rows) n)}), '0', 'with all results, in order');
is($node->safe_psql('postgres', q{SELECT count(*) || ' ' || count(DISTINCT n) FROM ran}), "$n $n", 'every row ran once');
is($node->safe_psql('postgres', q{
SELECT count(*) FROM (SELECT sum(change) OVER (PARTITION BY parent_id ORDER BY at, change ROWS UNBOUNDED PRECEDING) AS n, parent_id FROM (
	SELECT parent_id, started_at AS at, 1 AS change FROM dbos.tasks UNION ALL SELECT parent_id, finished_at, -1 FROM dbos.tasks) edges) sums
	JOIN made ON made.id = parent_id AND bound > 0 WHERE n > bound}), '0', 'never more at once than the bound');
is($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.task_dependency}), '0', 'nothing is left behind');

# A map in a map, and one that waits for a time-out of its tasks.
my $nested = $node->safe_psql('postgres', q{SELECT dbos.map('map_of_maps', 'SELECT 100000 * n AS n FROM generate_series(1, 5) n')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.task}), 'maps in a map end');
is($node->safe_psql('postgres', qq{SELECT count(*) FROM dbos.tasks t, jsonb_array_elements_text(t.result) m(id) JOIN dbos.tasks i ON i.id = m.id::bigint
	WHERE t.id = $nested AND i.result->9 IS NOT NULL AND i.result->10 IS NULL}), '5', 'each with its own results');
my $late = $node->safe_psql('postgres', q{SELECT dbos.map('pg_sleep', 'SELECT jsonb_build_array(n * 20) FROM generate_series(0, 1) n', timeout => '100 milliseconds')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.task}), 'a time-out ends its task and so the map');
is($node->safe_psql('postgres', qq{SELECT state || ' ' || (error->>'sqlstate') FROM dbos.tasks WHERE id = $late}), 'failed DB004', 'which has not succeeded');

# A map with a bound that is tried again keeps it.
$node->safe_psql('postgres', q{
CREATE SEQUENCE tries;
CREATE FUNCTION second_time(n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	IF nextval('public.tries') <= 12 THEN RAISE EXCEPTION 'not yet'; END IF;
	PERFORM pg_catalog.pg_sleep(0.05);
	RETURN n;
END
$$;
});
my $again = $node->safe_psql('postgres', q{SELECT dbos.map('second_time', 'SELECT n FROM generate_series(1, 20) n', concurrency => 2)});
ok($node->poll_query_until('postgres', "SELECT state = 'failed' FROM dbos.tasks WHERE id = $again"), 'a map with a bound fails');
$node->safe_psql('postgres', "SELECT dbos.retry($again)");
ok($node->poll_query_until('postgres', "SELECT state = 'succeeded' FROM dbos.tasks WHERE id = $again"), 'and ends well when it is tried again')
  or diag($node->safe_psql('postgres', q{SELECT id, kind, held, unmet, parent_id FROM dbos.task ORDER BY id LIMIT 10}));
is($node->safe_psql('postgres', qq{
SELECT max(n) FROM (SELECT sum(change) OVER (ORDER BY at, change ROWS UNBOUNDED PRECEDING) AS n FROM (
	SELECT started_at AS at, 1 AS change FROM dbos.tasks WHERE parent_id = $again UNION ALL SELECT finished_at, -1 FROM dbos.tasks WHERE parent_id = $again) edges) sums}), '2', 'with as many at once');

# Many at once.
my $wide = $node->safe_psql('postgres', q{SELECT dbos.map('double', 'SELECT n FROM generate_series(1000001, 1003000) n')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.task}), 'a wide map ends');
is($node->safe_psql('postgres', qq{SELECT jsonb_array_length(result) FROM dbos.tasks WHERE id = $wide}), '3000', 'with all of its results');
$node->stop;
done_testing();
