# Whatever is written, renamed and removed at once, no directory and no role comes to have more than its quota, and what a quota says is used is the full count.
# SPDX-License-Identifier: PostgreSQL
#
# Clients do random things in transactions with savepoints, some of which are rolled back, in a tree with nested
# quotas whose directories are moved about, while others count from the names and inodes in one snapshot.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{DBOS_SEED} || 42;
my $clients = 4;
my $transactions = $ENV{DBOS_TORTURE} ? 20000 : 400;
my $folder = PostgreSQL::Test::Utils::tempdir;

my $node = PostgreSQL::Test::Cluster->new('file_quota');
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

-- What is below a directory, and what a role has, by names and inodes alone.
CREATE FUNCTION below(root bigint, OUT bytes bigint, OUT files bigint) LANGUAGE sql STABLE AS $$
	WITH RECURSIVE d AS
	(
		SELECT root AS n
		UNION ALL
		SELECT e.child FROM d JOIN dbos.directory_entry e ON e.parent = d.n AND e.kind = 4 AND e.died = 2147483647
	)
	SELECT coalesce(sum(i.size), 0), count(*)
	FROM d JOIN dbos.directory_entry e ON e.parent = d.n AND e.died = 2147483647
		JOIN dbos.inode i ON i.inode = e.child AND i.died = 2147483647
$$;
CREATE FUNCTION owned(role regrole, OUT bytes bigint, OUT files bigint) LANGUAGE sql STABLE AS $$
	SELECT coalesce(sum(i.size), 0), count(*) FROM dbos.inode i
	WHERE i.owner = owned.role AND i.died = 2147483647 AND i.inode <> 1
$$;
CREATE VIEW counted AS
	SELECT q.directory, q.role, q.max_bytes, q.max_files, q.bytes, q.files, c.bytes AS true_bytes, c.files AS true_files,
		q.max_bytes IN (30000, 25000) AS lifted
	FROM dbos.file_quota q, LATERAL (SELECT * FROM below(q.directory) WHERE q.directory <> 0
		UNION ALL SELECT * FROM owned(q.role) WHERE q.directory = 0) c;
CREATE TABLE seen (exceeded bigint, differed bigint, filled bigint);

CREATE FUNCTION dice(n int) RETURNS int LANGUAGE sql AS 'SELECT floor(random() * n)::int';
CREATE FUNCTION some_directory() RETURNS text LANGUAGE sql AS $$
	SELECT (ARRAY['/q', '/q/inner', '/p', '/free'])[1 + dice(4)] || CASE dice(3) WHEN 0 THEN '' WHEN 1 THEN '/d' || dice(2) ELSE '/d' || dice(2) || '/d' || dice(2) END
$$;
CREATE FUNCTION some_file() RETURNS text LANGUAGE sql AS $$SELECT some_directory() || '/f' || dice(4)$$;
CREATE FUNCTION some_bytes() RETURNS bytea LANGUAGE sql AS $$SELECT convert_to(repeat('x', CASE dice(3) WHEN 0 THEN dice(20000) ELSE dice(2000) END), 'UTF8')$$;
CREATE FUNCTION some_operation() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CASE dice(15)
		WHEN 0, 1 THEN PERFORM dbos.mkdir(some_directory());
		WHEN 2, 3, 4 THEN PERFORM dbos.write_file(some_file(), some_bytes(), dice(3) = 0);
		WHEN 5 THEN PERFORM dbos.write_at(some_file(), dice(5000), some_bytes());
		WHEN 6 THEN PERFORM dbos.truncate_file(some_file(), dice(9000));
		WHEN 7 THEN PERFORM dbos.unlink(some_file());
		WHEN 8 THEN PERFORM dbos.rmdir(some_directory());
		WHEN 9 THEN PERFORM dbos.rename(some_file(), some_file());
		WHEN 10 THEN PERFORM dbos.rename(some_directory(), some_directory());
		WHEN 11 THEN PERFORM dbos.link(some_file(), some_file());
		WHEN 12 THEN PERFORM dbos.remove(some_directory() || '/d' || dice(2), recursive => true);
		WHEN 13 THEN PERFORM dbos.copy(some_file(), some_file());
		ELSE PERFORM dbos.chown(CASE WHEN dice(3) = 0 THEN some_directory() ELSE some_file() END, (ARRAY['one', 'two'])[1 + dice(2)]::regrole);
	END CASE;
	IF dice(10) = 0 THEN
		RAISE EXCEPTION 'rolled back';
	END IF;
EXCEPTION
	WHEN deadlock_detected OR serialization_failure OR query_canceled THEN RAISE;
	WHEN OTHERS THEN NULL;
END $$;

SELECT dbos.mkdir('/q'), dbos.mkdir('/p'), dbos.mkdir('/free'), dbos.chmod('/', 1023), dbos.mkdir('/q/inner');
SELECT dbos.set_quota('/q', 60000, 25), dbos.set_quota('/p', 30000), dbos.set_quota('/q/inner', NULL, 8), dbos.set_quota('/', 150000);
SELECT dbos.set_role_quota('one', 25000), dbos.set_role_quota('two', NULL, 20);
});

# ---- the clients ----

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
		$script .= rand() < 0.2 ? "BEGIN ISOLATION LEVEL REPEATABLE READ;\n" : "BEGIN;\n";
		$script .= "SELECT some_operation() FROM generate_series(1, " . (1 + int(rand(5))) . ");\n";
		$script .= rand() < 0.1 ? "ROLLBACK;\n" : "COMMIT;\n";
	}
	push @children, background("client$client", $script);
}
# Two quotas are lifted and made again meanwhile: more may be used then than they allow.
push @children, background('quotas', q{
SELECT dbos.set_quota('/p', NULL);
SELECT dbos.set_quota('/p', 30000);
SELECT dbos.set_role_quota('one', NULL);
SELECT dbos.set_role_quota('one', 25000);
SELECT pg_sleep(0.1);
} x ($transactions / 20));
my $counter = background('counter', q{
INSERT INTO seen SELECT count(*) FILTER (WHERE (true_bytes > max_bytes OR true_files > max_files) AND NOT lifted),
	count(*) FILTER (WHERE true_bytes <> bytes OR true_files <> files), count(*) FILTER (WHERE bytes > 0) FROM counted;
SELECT pg_sleep(0.02);
} x 100000);
my $failed = 0;
foreach my $child (@children)
{
	waitpid($child, 0);
	$failed++ if $? != 0;
}
kill 'TERM', $counter;
waitpid($counter, 0);

is($failed, 0, 'every client went through');
my $errors = join '', map { slurp_file("$folder/client$_.err") } 1 .. $clients;
my %other = map { $_ => 1 } grep { !/quota of|could not serialize|deadlock detected|current transaction is aborted/ } $errors =~ /ERROR:  (.*)/g;
is(join("\n", sort keys %other), '', 'no transaction failed but for a quota or for another one');
my ($looks, $exceeded, $differed, $filled) = split /\|/, $node->safe_psql('postgres', 'SELECT count(*), sum(exceeded), sum(differed), max(filled) FROM seen');
cmp_ok($looks, '>', 5, 'it was counted meanwhile');
is($exceeded, 0, 'nothing had more than its quota at any time');
is($differed, 0, 'at any time what is used was what a full count finds');
is($node->safe_psql('postgres', 'SELECT directory, role, bytes, true_bytes, files, true_files FROM counted WHERE true_bytes <> bytes OR true_files <> files OR NOT lifted AND (true_bytes > max_bytes OR true_files > max_files)'),
	'', 'and so at the end');
cmp_ok($filled, '>=', 3, 'with something in the quotas');

# ---- two that fit alone ----

$node->safe_psql('postgres', q{
SELECT dbos.mkdir('/both'), dbos.chown('/both', 'dbos_owner');
SELECT dbos.set_quota('/', NULL), dbos.set_quota('/both', 100000);
SELECT dbos.write_file('/both/f' || n, '') FROM generate_series(1, 4) n;
});
@children = map { background("both$_", "SELECT dbos.write_file('/both/f$_', convert_to(repeat('x', 7), 'UTF8'), true);\n" x ($transactions * 10)) } 1 .. 4;
waitpid($_, 0) foreach @children;
my $fit = $node->safe_psql('postgres', q{SELECT sum(size) FROM dbos.ls('/both')});
is($fit, $transactions * 280 < 100000 ? $transactions * 280 : 99995, 'as much was written as there is room for');
is($node->safe_psql('postgres', q{SELECT bytes FROM dbos.file_quotas WHERE path = '/both'}), $fit, 'and counted');

$node->stop;
done_testing();
