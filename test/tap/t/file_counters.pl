# Whatever several clients do at once, what the views say of directories and owners is the full count, in every snapshot, and what they show of files is what a walk through the tree finds.
# SPDX-License-Identifier: PostgreSQL
#
# Clients do random things to one tree, in transactions with savepoints, some of which are rolled back, and compare
# inside their transactions; another one compares all the time, and a third one adds differences up meanwhile.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{DBOS_SEED} || 42;
my $clients = 4;
my $transactions = $ENV{DBOS_TORTURE} ? 10000 : 500;
my $folder = PostgreSQL::Test::Utils::tempdir;

my $node = PostgreSQL::Test::Cluster->new('file_counters');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'dbos'
log_min_messages = fatal
deadlock_timeout = 100ms
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE ROLE one IN ROLE dbos_user;
CREATE ROLE two IN ROLE dbos_user;
CREATE ROLE three IN ROLE dbos_user;

-- What is not as it should be, all by one snapshot.
CREATE VIEW counted AS
	SELECT e.parent, COALESCE(sum(i.size) FILTER (WHERE e.kind <> 4), 0) AS own_bytes, count(*) FILTER (WHERE e.kind <> 4) AS files,
		count(*) FILTER (WHERE e.kind = 4) AS directories
	FROM dbos.directory_entry e JOIN dbos.inode i ON i.inode = e.child AND i.died = 2147483647 WHERE e.died = 2147483647 GROUP BY e.parent;
CREATE VIEW above AS
	WITH RECURSIVE up AS
	(
		SELECT inode AS directory, inode AS above FROM dbos.inode WHERE died = 2147483647 AND mode & 61440 = 16384
		UNION ALL
		SELECT up.directory, e.parent FROM up JOIN dbos.directory_entry e ON e.child = up.above AND e.died = 2147483647
	)
	SELECT * FROM up;
CREATE VIEW totals AS
	SELECT a.above, sum(c.own_bytes) AS bytes, sum(c.files) AS files, sum(c.directories) AS directories
	FROM above a JOIN counted c ON c.parent = a.directory GROUP BY a.above;
CREATE VIEW wrong AS
	SELECT format('directory %s has %s and not %s', COALESCE(d.path, c.parent::text), (d.own_bytes, d.files, d.directories), (c.own_bytes, c.files, c.directories)) AS what
	FROM dbos.directories d FULL JOIN counted c ON c.parent = d.inode
	WHERE d.inode IS NULL OR (d.own_bytes, d.files, d.directories) IS DISTINCT FROM (COALESCE(c.own_bytes, 0), COALESCE(c.files, 0), COALESCE(c.directories, 0))
	UNION ALL
	SELECT format('total of %s is %s and not %s', d.path, (d.total_bytes, d.total_files, d.total_directories), (t.bytes, t.files, t.directories)) FROM dbos.directories d LEFT JOIN totals t ON t.above = d.inode
	WHERE (d.total_bytes, d.total_files, d.total_directories) IS DISTINCT FROM (COALESCE(t.bytes, 0), COALESCE(t.files, 0), COALESCE(t.directories, 0))
	UNION ALL
	SELECT 'du' FROM dbos.du('/') d, totals t WHERE t.above = 1 AND (d.bytes, d.files, d.directories) IS DISTINCT FROM (t.bytes, t.files, t.directories)
	UNION ALL
	SELECT 'largest of ' || r FROM unnest(ARRAY['one', 'two', 'postgres']) r
	WHERE (SELECT array_agg(l.path || ' ' || l.total_bytes ORDER BY l.total_bytes DESC, l.path) FROM dbos.largest_directories(r, 5) l) IS DISTINCT FROM
		(SELECT array_agg(x.path || ' ' || x.bytes ORDER BY x.bytes DESC, x.path)
		 FROM (SELECT dbos.directory_path(i.inode) AS path, COALESCE(t.bytes, 0) AS bytes FROM dbos.inode i LEFT JOIN totals t ON t.above = i.inode
			WHERE i.died = 2147483647 AND i.mode & 61440 = 16384 AND i.owner = r::regrole ORDER BY 2 DESC, string_to_array(dbos.directory_path(i.inode), '/') LIMIT 5) x)
	UNION ALL
	SELECT format('owner %s has %s and not %s', COALESCE(o.role, c.owner), (o.files, o.bytes), (c.files, c.bytes)) FROM dbos.file_owners o
		FULL JOIN (SELECT owner, count(*) AS files, sum(size) AS bytes FROM dbos.inode WHERE died = 2147483647 AND mode & 61440 <> 16384 GROUP BY owner) c ON c.owner = o.role
	WHERE (o.files, o.bytes) IS DISTINCT FROM (c.files, c.bytes)
	UNION ALL
	SELECT 'df' FROM dbos.df() f, dbos.du('/') u, (SELECT count(*) AS files, COALESCE(sum(size), 0) AS bytes FROM dbos.inode WHERE died = 2147483647 AND mode & 61440 <> 16384) c
	WHERE (f.files, f.bytes, f.directories) IS DISTINCT FROM (c.files, c.bytes, u.directories)
	UNION ALL
	SELECT 'path ' || COALESCE(f.path, t.path) FROM dbos.files f FULL JOIN (SELECT path, inode, kind, size FROM dbos.tree('/') WHERE depth > 0) t ON t.path = f.path
	WHERE (f.inode, f.kind, f.size) IS DISTINCT FROM (t.inode, t.kind, t.size)
	UNION ALL
	SELECT 'lookup ' || t.path FROM dbos.tree('/') t LEFT JOIN dbos.files f ON f.path = t.path WHERE t.depth > 0 AND f.inode IS DISTINCT FROM t.inode
	UNION ALL
	SELECT 'large ' || i.inode FROM dbos.inode i WHERE i.died = 2147483647 AND i.size >= 1048576
		AND NOT EXISTS (SELECT FROM dbos.inode l WHERE l.size_class > 0 AND l.inode = i.inode AND l.died = i.died);
CREATE TABLE seen (wrong text[], files bigint);
-- Of a role that may not read all, and owns nothing: what a walk finds is what is shown.
CREATE VIEW wrong_for_role AS
	SELECT 'path ' || COALESCE(f.path, t.path) AS what FROM dbos.files f FULL JOIN (SELECT path, inode, kind, size FROM dbos.tree('/') WHERE depth > 0) t ON t.path = f.path
	WHERE (f.inode, f.kind, f.size) IS DISTINCT FROM (t.inode, t.kind, t.size)
	UNION ALL
	SELECT 'inode ' || COALESCE(f.inode, i.inode) FROM (SELECT DISTINCT inode FROM dbos.files) f FULL JOIN dbos.inode i ON i.inode = f.inode
	WHERE (f.inode IS NULL OR i.inode IS NULL) AND i.inode IS DISTINCT FROM 1
	UNION ALL
	SELECT 'glob ' || COALESCE(g.path, f.path) FROM dbos.glob('/**') g FULL JOIN dbos.files f ON f.path = g.path WHERE g.path IS NULL OR f.path IS NULL
	UNION ALL
	SELECT 'hidden ' || e.parent FROM dbos.directory_entry e JOIN dbos.inode i ON i.inode = e.parent AND NOT pg_has_role(i.owner, 'USAGE')
	WHERE i.mode & CASE WHEN pg_has_role(i.group_role, 'USAGE') THEN 32 ELSE 4 END = 0;
ALTER VIEW wrong_for_role SET (security_invoker);
GRANT SELECT ON wrong_for_role TO PUBLIC;
CREATE TABLE seen_by_role (wrong text[], files bigint);
GRANT INSERT ON seen_by_role TO PUBLIC;

CREATE FUNCTION dice(n int) RETURNS int LANGUAGE sql AS 'SELECT floor(random() * n)::int';
CREATE FUNCTION some_directory() RETURNS text LANGUAGE sql AS $$
	SELECT (ARRAY['/q', '/p', '/q/d1'])[1 + dice(3)] || CASE dice(3) WHEN 0 THEN '' WHEN 1 THEN '/d' || dice(3) ELSE '/d' || dice(3) || '/d' || dice(3) END
$$;
CREATE FUNCTION some_file() RETURNS text LANGUAGE sql AS $$SELECT some_directory() || '/f' || dice(4)$$;
CREATE FUNCTION some_bytes() RETURNS bytea LANGUAGE sql AS $$SELECT convert_to(repeat('x', CASE dice(5) WHEN 0 THEN dice(20000) ELSE dice(100) END), 'UTF8')$$;
CREATE FUNCTION some_operation() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CASE dice(18)
		WHEN 0, 1 THEN PERFORM dbos.mkdir(some_directory());
		WHEN 2, 3, 4 THEN PERFORM dbos.write_file(some_file(), some_bytes(), dice(3) = 0);
		WHEN 5 THEN PERFORM dbos.write_at(some_file(), dice(5000), some_bytes());
		WHEN 6 THEN PERFORM dbos.truncate_file(some_file(), (2 ^ dice(32))::bigint);
		WHEN 7, 8 THEN PERFORM dbos.unlink(some_file());
		WHEN 9 THEN PERFORM dbos.rmdir(some_directory());
		WHEN 10, 11 THEN PERFORM dbos.rename(some_file(), some_file());
		WHEN 12 THEN PERFORM dbos.rename(some_directory(), some_directory());
		WHEN 13, 14 THEN PERFORM dbos.link(some_file(), some_file());
		WHEN 15 THEN PERFORM dbos.remove(some_directory() || '/d' || dice(3), recursive => true);
		WHEN 16 THEN PERFORM dbos.chmod(some_directory(), (ARRAY['755', '700', '711', '744', '750', '777'])[1 + dice(6)]);
		ELSE PERFORM dbos.chown(CASE WHEN dice(3) = 0 THEN some_directory() ELSE some_file() END, (ARRAY['one', 'two'])[1 + dice(2)]::regrole);
	END CASE;
	IF dice(10) = 0 THEN
		RAISE EXCEPTION 'rolled back';
	END IF;
EXCEPTION
	WHEN deadlock_detected OR serialization_failure OR query_canceled THEN RAISE;
	WHEN OTHERS THEN NULL;
END $$;
-- Raises what a client does not expect.
CREATE FUNCTION check_now() RETURNS void LANGUAGE plpgsql STABLE AS $$
DECLARE
	found text := (SELECT string_agg(what, ', ') FROM wrong);
BEGIN
	IF found IS NOT NULL THEN
		RAISE EXCEPTION 'wrong: %', found;
	END IF;
END $$;
SELECT dbos.chmod('/', 1023), dbos.mkdir('/q'), dbos.mkdir('/p'), dbos.mkdir('/q/d1'), dbos.chown('/q/d1', 'one');
});

sub background
{
	my ($name, $script) = @_;
	my $file = "$folder/$name.sql";
	append_to_file($file, $script);
	my $child = fork();
	die "fork: $!" unless defined $child;
	if ($child == 0)
	{
		open(STDOUT, '>', "$folder/$name.out");
		open(STDERR, '>', "$folder/$name.err");
		exec('psql', '-X', '-q', '-A', '-t', '-d', $node->connstr('postgres'), '-f', $file);
	}
	return $child;
}

srand($seed);
my @children;
foreach my $client (1 .. $clients)
{
	my $script = "SELECT setseed(" . ($client / 10 + $seed % 7 / 100) . ");\n";
	foreach (1 .. $transactions)
	{
		my $operations = sub { "SELECT some_operation() FROM generate_series(1, " . (1 + int(rand(4))) . ");\n" };
		$script .= rand() < 0.2 ? "BEGIN ISOLATION LEVEL REPEATABLE READ;\n" : "BEGIN;\n";
		$script .= $operations->();
		if (rand() < 0.3)
		{
			$script .= "SAVEPOINT a;\n" . $operations->();
			$script .= "SELECT check_now();\n" if rand() < 0.5;
			$script .= rand() < 0.5 ? "ROLLBACK TO a;\n" : "RELEASE a;\n";
			$script .= $operations->() if rand() < 0.5;
		}
		$script .= "SELECT check_now();\n" if rand() < 0.1;
		$script .= rand() < 0.1 ? "ROLLBACK;\n" : "COMMIT;\n";
	}
	push @children, background("client$client", $script);
}
# One whose snapshots are older than what the others do.
push @children, background('old', "SELECT setseed(" . (0.9 + $seed % 7 / 100) . ");\n" . q{
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT check_now();
SELECT pg_sleep(0.05);
SELECT some_operation();
SELECT check_now();
COMMIT;
} x ($transactions / 2));
my @endless = (
	background('counter', q{
INSERT INTO seen SELECT (SELECT array_agg(what) FROM wrong), (SELECT count(*) FROM dbos.files);
} x 100000),
	background('role', q{
SET ROLE three;
INSERT INTO seen_by_role SELECT (SELECT array_agg(what) FROM wrong_for_role), (SELECT count(*) FROM dbos.files);
SELECT pg_sleep(0.02);
} x 100000),
	background('fold', q{
SELECT dbos.fold_usage();
SELECT pg_sleep(0.05);
} x 100000));
my $failed = 0;
foreach my $child (@children)
{
	waitpid($child, 0);
	$failed++ if $? != 0;
}
# No less than hundreds.
$node->poll_query_until('postgres', 'SELECT count(*) >= 300 FROM seen') or diag('few comparisons');
foreach my $child (@endless)
{
	kill 'TERM', $child;
	waitpid($child, 0);
}

is($failed, 0, 'every client went through');
my $errors = join '', map { slurp_file("$folder/$_.err") } (map { "client$_" } 1 .. $clients), 'old', 'counter', 'role', 'fold';
my %other = map { $_ => 1 } grep { !/could not serialize|deadlock detected|current transaction is aborted|savepoint "a" does not exist/ } $errors =~ /(?:ERROR|FATAL|PANIC):  (.*)/g;
is(join("\n", sort keys %other), '', 'no comparison inside a transaction found a difference, and none failed but for another one');
my ($looks, $differed, $files) = split /\|/, $node->safe_psql('postgres', 'SELECT count(*), count(wrong), count(DISTINCT files) FROM seen');
cmp_ok($looks, '>=', 300, 'it was compared meanwhile');
cmp_ok($files, '>', 20, 'while much changed');
is($differed, 0, 'and never was a difference') or diag($node->safe_psql('postgres', 'SELECT DISTINCT unnest(wrong) FROM seen LIMIT 20'));
($looks, $differed, $files) = split /\|/, $node->safe_psql('postgres', 'SELECT count(*), count(wrong), count(DISTINCT files) FROM seen_by_role');
cmp_ok($looks, '>', 20, 'a role that may not read all looked too');
is($differed, 0, 'and saw what it may see') or diag($node->safe_psql('postgres', 'SELECT DISTINCT unnest(wrong) FROM seen_by_role LIMIT 20'));
is($node->safe_psql('postgres', 'SELECT * FROM wrong'), '', 'nothing differs at the end');
# At the end few may be left, by chance.
is($node->safe_psql('postgres', q{SELECT max(files) > 10 FROM seen}), 't', 'where there were files');
# ---- without preloading ----

# The first query of a session brings the library, and has the paths of it in its plan.
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->safe_psql('postgres', q{
SELECT dbos.mkdir('/large');
SELECT count(dbos.write_file('/large/' || n, 'x')) FROM generate_series(1, 3000) n;
SELECT dbos.truncate_file('/large/1', 2000000000);
ANALYZE dbos.inode, dbos.directory_entry;
});
$node->restart;
like($node->safe_psql('postgres', q{EXPLAIN SELECT path FROM dbos.files WHERE size > 1e9}), qr/inode_size_class_idx/, 'large files are found by their index without preloading');
like($node->safe_psql('postgres', q{EXPLAIN SELECT size FROM dbos.files WHERE path = '/large/7'}), qr/directory_entry_pkey/, 'and paths by names');
is($node->safe_psql('postgres', q{SET ROLE three; SELECT path FROM dbos.files WHERE path LIKE '/large/%' AND size > 1e9}), '/large/1', 'also for a role with policies');

diag("$looks and " . $node->safe_psql('postgres', 'SELECT count(*) FROM seen') . " comparisons");

$node->stop;
done_testing();
