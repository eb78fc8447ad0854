# Many sessions that do random things to few files at once: each operation succeeds or fails as POSIX has it, none waits for ever, and what is in the tables always fits together.
# SPDX-License-Identifier: PostgreSQL
#
# Which of them comes first nobody knows; what must not be is another error, a name without a file, a wrong count, a lost chunk.
use strict;
use warnings;
use FileTables;
use IPC::Open3;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $clients = 6;
my $transactions = $ENV{DBOS_TORTURE} ? 50_000 : 3_000;
my $seed = $ENV{DBOS_SEED} || time =~ s/\..*//r;
note("seed $seed, for DBOS_SEED; what it repeats is what is asked for, not who comes first");
my $folder = PostgreSQL::Test::Utils::tempdir;

my $node = PostgreSQL::Test::Cluster->new('file_race');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'dbos'
restart_after_crash = off
fsync = off
deadlock_timeout = 10ms
autovacuum_naptime = 1s
log_min_messages = panic
log_statement = none
log_min_error_statement = panic
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
SELECT dbos.mkdir('/a'), dbos.mkdir('/b'), dbos.mkdir('/a/c');
CREATE FUNCTION one(VARIADIC text[]) RETURNS text LANGUAGE sql AS 'SELECT $1[1 + floor(random() * array_length($1, 1))::int]';
CREATE FUNCTION path() RETURNS text LANGUAGE sql AS $$
	SELECT public.one('', '', '/a', '/b', '/a/c', '/a/d', '/b/d', '/a/c/d') || public.one('/a', '/b', '/c', '/d', '/e') || CASE WHEN random() < 0.02 THEN '/' ELSE '' END $$;
CREATE FUNCTION bytes() RETURNS bytea LANGUAGE sql AS $$
	SELECT substr(decode(repeat(md5(random()::text), 1 + n / 16), 'hex'), 1, n) FROM (SELECT (ARRAY[0, 10, 1000, 4096, 5000, 8192, 20000, 50000])[1 + floor(random() * 8)::int] AS n) s $$;
-- Does something; returns what, with the code of the error.
CREATE FUNCTION act() RETURNS text LANGUAGE plpgsql AS $$
<<act>>
DECLARE
	what text := public.one('write', 'write', 'append', 'at', 'truncate', 'read', 'copy', 'mkdir', 'mkdir', 'rmdir', 'unlink', 'unlink', 'link', 'symlink', 'rename', 'rename', 'rename', 'remove', 'ls', 'stat', 'chmod', 'xattr', 'files', 'restore', 'touch', 'usage',
		'open', 'open', 'close', 'read open', 'write open', 'truncate open', 'lock', 'unlock');
	path text := public.path();
	other text := public.path();
	n bigint;
	h bigint;
BEGIN
	IF what ~ 'close|open$|lock' THEN
		SELECT handle INTO h FROM dbos.open_files WHERE process_id = pg_backend_pid() ORDER BY random() LIMIT 1;
	END IF;
	CASE what
	WHEN 'write' THEN PERFORM dbos.write_file(path, public.bytes());
	WHEN 'append' THEN PERFORM dbos.write_file(path, public.bytes(), true);
	WHEN 'at' THEN PERFORM dbos.write_at(path, floor(random() * 30000)::bigint, public.bytes());
	WHEN 'truncate' THEN PERFORM dbos.truncate_file(path, floor(random() * 30000)::bigint);
	WHEN 'read' THEN PERFORM dbos.read_file(path);
	WHEN 'copy' THEN PERFORM dbos.copy(path, other);
	WHEN 'mkdir' THEN PERFORM dbos.mkdir(path, random() < 0.2);
	WHEN 'rmdir' THEN PERFORM dbos.rmdir(path);
	WHEN 'unlink' THEN PERFORM dbos.unlink(path);
	WHEN 'link' THEN PERFORM dbos.link(path, other);
	WHEN 'symlink' THEN PERFORM dbos.symlink(other, path);
	WHEN 'rename' THEN PERFORM dbos.rename(path, other);
	WHEN 'remove' THEN PERFORM dbos.remove(path, random() < 0.5);
	WHEN 'ls' THEN PERFORM count(*) FROM dbos.ls(path);
	WHEN 'stat' THEN PERFORM dbos.stat(path);
	WHEN 'chmod' THEN PERFORM dbos.chmod(path, 493);
	WHEN 'xattr' THEN PERFORM dbos.set_xattr(path, 'user.x', public.bytes());
	WHEN 'touch' THEN PERFORM dbos.touch(path);
	WHEN 'restore' THEN PERFORM dbos.restore_file(s.name, act.path, other) FROM (SELECT name FROM dbos.snapshots ORDER BY random() LIMIT 1) s;
	WHEN 'open' THEN PERFORM dbos.open_file(path, public.one('r', 'r+', 'r+', 'w', 'a', 'a+'));
	WHEN 'close' THEN PERFORM dbos.close_file(h);
	WHEN 'read open' THEN PERFORM dbos.read_open_file(h);
	WHEN 'write open' THEN PERFORM dbos.write_open_file(h, floor(random() * 30000)::bigint, public.bytes());
	WHEN 'truncate open' THEN PERFORM dbos.truncate_open_file(h, floor(random() * 30000)::bigint);
	WHEN 'lock' THEN PERFORM dbos.lock_file(h, random() < 0.5, floor(random() * 100)::bigint, 10, wait => random() < 0.5);
	WHEN 'unlock' THEN PERFORM dbos.unlock_file(h);
	-- Each file can be read as it is listed.
	WHEN 'files' THEN SELECT count(*) INTO n FROM dbos.files f WHERE kind = 'file' AND length(dbos.read_file(f.path)) <> size; IF n > 0 THEN RAISE 'read is not what is listed'; END IF;
	WHEN 'usage' THEN PERFORM count(*) FROM dbos.directories;
	END CASE;
	RETURN what;
EXCEPTION WHEN OTHERS THEN
	RETURN what || ' ' || SQLSTATE || CASE WHEN SQLSTATE IN ('58P01', '58P02', 'DB009', 'DB010', 'DB011', 'DB012', '22023', '40001', '40P01', '42809', '42704', '55000') THEN '' ELSE ': ' || SQLERRM END;
END $$;
});
make_file_problems($node, 'postgres');

# ---- the clients ----

# Each says on its file what came of what it did.
sub client
{
	my ($number) = @_;
	srand($seed * 100 + $number);
	my ($in, $out);
	open(my $errors, '>', "$folder/errors$number") or die $!;
	my $psql = open3($in, $out, '>&' . fileno($errors), 'psql', '-X', '-A', '-t', '-q', '-d', $node->connstr('postgres') . " application_name=client$number");
	open(my $log, '>', "$folder/client$number") or die $!;
	my $ask = sub {
		print $in "$_[0]\n\\echo end\n";
		$in->flush;
		my @lines;
		while (my $line = <$out>)
		{
			chomp $line;
			return @lines if $line eq 'end';
			push @lines, $line;
		}
		print $log "lost\n";
		POSIX::_exit(1);
	};
	$ask->("SELECT setseed(0.$seed) IS NULL;");
	for my $step (1 .. $transactions)
	{
		my $dice = rand();
		my @lines;
		if ($dice < 0.02)
		{
			@lines = $ask->("SELECT 'snapshot', dbos.snapshot('/', 'of $number.$step') IS NULL;");
			$ask->("SELECT dbos.drop_snapshot(name) IS NULL FROM (SELECT name FROM dbos.snapshots WHERE name LIKE 'of $number.%' ORDER BY created_at DESC OFFSET 1) s;");
		}
		elsif ($dice < 0.03) { $ask->('SELECT dbos.reclaim_files() IS NULL;'); }
		elsif ($dice < 0.5) { @lines = $ask->('SELECT act();'); }
		else
		{
			my $level = $dice < 0.8 ? 'READ COMMITTED' : $dice < 0.95 ? 'REPEATABLE READ' : 'SERIALIZABLE';
			my $sql = "BEGIN ISOLATION LEVEL $level;\n" . 'SELECT act();' x (1 + int(rand(4)));
			$sql .= "\nSAVEPOINT s;\nSELECT act();SELECT act();\nROLLBACK TO s;\nSELECT act();" if rand() < 0.3;
			@lines = $ask->($sql . (rand() < 0.7 ? "\nCOMMIT;" : "\nROLLBACK;"));
		}
		print $log "$_\n" foreach grep { $_ ne '' } @lines;
	}
	close($in);
	waitpid($psql, 0);
}

my @children;
foreach my $number (1 .. $clients)
{
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		eval { client($number); 1 } or do { print STDERR $@; POSIX::_exit(1) };
		POSIX::_exit(0);
	}
	push @children, $pid;
}
END { my $code = $?; kill 'KILL', @children if @children; $? = $code; }

my $begun = time;
my ($checks, $problems, $well, @left) = (0, '', 0, @children);
while (@left && $problems eq '')
{
	usleep(300_000);
	$problems = $node->safe_psql('postgres', 'SELECT * FROM file_problems');
	$checks++;
	@left = grep { my $done = waitpid($_, POSIX::WNOHANG()) == $_; $well++ if $done && $? == 0; !$done } @left;
	@children = @left;
}
is($problems, '', "what is in the tables fits together, $checks times");
is($well, $clients, 'every client came to its end');
my (%came, %errors);
foreach my $number (1 .. $clients)
{
	$came{$_}++ foreach split /\n/, slurp_file("$folder/client$number");
	$errors{$_}++ foreach grep { /ERROR|FATAL|PANIC/ } split /\n/, slurp_file("$folder/errors$number");
}
note(sprintf('%d transactions in %.0f s: ', $clients * $transactions, time - $begun) . join(', ', map { "$_ $came{$_}" } sort keys %came));
is(join("\n", grep { /:/ } sort keys %came), '', 'no operation failed with an error that it should not have');
# A transaction may fail at its commit, or as a whole.
is(join("\n", grep { !/could not serialize|deadlock detected|current transaction is aborted/ } sort keys %errors), '', 'nor any transaction');
cmp_ok($came{$_} // 0, '>', 0, "some did: $_") foreach 'open', 'close', 'read open', 'write open', 'truncate open', 'lock', 'unlock',
	qw(write append at truncate read copy mkdir rmdir unlink link symlink rename remove ls stat chmod xattr files touch);
$node->safe_psql('postgres', 'SELECT dbos.drop_snapshot(name) FROM dbos.snapshots; SELECT dbos.reclaim_files()');
is($node->safe_psql('postgres', 'SELECT * FROM file_problems'), '', 'and when what nobody needs is deleted');
$node->safe_psql('postgres', q{SELECT dbos.remove('/' || name, true) FROM dbos.ls('/'); SELECT dbos.sweep_open_files(); SELECT dbos.reclaim_files()});
is($node->safe_psql('postgres', q{SELECT (SELECT count(*) FROM dbos.inode), (SELECT count(*) FROM dbos.directory_entry), (SELECT count(*) FROM dbos.extent), (SELECT count(*) FROM dbos.chunk), (SELECT count(*) FROM dbos.chunk_tail), (SELECT count(*) FROM dbos.xattr)}),
	'1|0|0|0|0|0', 'all of it can be removed');
$node->stop;
done_testing();
