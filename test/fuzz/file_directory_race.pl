# Directories that are made, changed, filled, emptied and removed by many sessions at once, each step in a subtransaction of its own: no file is lost in one that is gone.
# SPDX-License-Identifier: PostgreSQL
#
# There are only two, so that most steps meet somebody else's.
use strict;
use warnings;
use FileTables;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 8;
my $transactions = $ENV{DBOS_TORTURE} ? 100_000 : 10_000;
my $folder = PostgreSQL::Test::Utils::tempdir;

my $node = PostgreSQL::Test::Cluster->new('file_directory_race');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'dbos'
fsync = off
deadlock_timeout = 10ms
log_min_messages = fatal
log_min_error_statement = panic
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE done (what text NOT NULL);
SELECT dbos.mkdir('/race');
CREATE FUNCTION dice(n integer) RETURNS integer LANGUAGE sql AS 'SELECT floor(random() * n)::integer';
CREATE FUNCTION act() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	one text := '/race/d' || dice(2);
	other text := '/race/d' || dice(2);
	what text := (ARRAY['mkdir', 'mkdir', 'chmod', 'chown', 'rmdir', 'write', 'unlink', 'rename', 'remove', 'move'])[1 + dice(10)];
BEGIN
	CASE what
		WHEN 'mkdir' THEN PERFORM dbos.mkdir(one);
		WHEN 'chmod' THEN PERFORM dbos.chmod(one, 448 + dice(64));
		WHEN 'chown' THEN PERFORM dbos.chown(one, (ARRAY['postgres', 'pg_monitor'])[1 + dice(2)]::regrole);
		WHEN 'rmdir' THEN PERFORM dbos.rmdir(one);
		WHEN 'write' THEN PERFORM dbos.write_file(one || '/f' || dice(2), 'x');
		WHEN 'unlink' THEN PERFORM dbos.unlink(one || '/f' || dice(2));
		WHEN 'rename' THEN PERFORM dbos.rename(one || '/f' || dice(2), other || '/f' || dice(2));
		WHEN 'remove' THEN PERFORM dbos.remove(one, recursive => true);
		WHEN 'move' THEN PERFORM dbos.rename(one, other || '/moved');
	END CASE;
	IF dice(6) = 0 THEN
		RAISE EXCEPTION 'taken back' USING ERRCODE = 'DB999';
	END IF;
	INSERT INTO public.done VALUES (what);
EXCEPTION
	WHEN deadlock_detected OR serialization_failure THEN RAISE;
	WHEN SQLSTATE '58P01' OR SQLSTATE '58P02' OR SQLSTATE 'DB011' OR SQLSTATE '22023' OR SQLSTATE 'DB010' OR SQLSTATE 'DB009' OR SQLSTATE 'DB999' THEN NULL;
END $$;
});
make_file_problems($node, 'postgres');
append_to_file("$folder/committed", "BEGIN;\n" . "SELECT act();\n" x 4 . "COMMIT;\n");
append_to_file("$folder/repeatable", "BEGIN ISOLATION LEVEL REPEATABLE READ;\n" . "SELECT act();\n" x 2 . "COMMIT;\n");
my ($out, $error);
my $well = IPC::Run::run([ 'pgbench', '-n', '-d', $node->connstr('postgres'), '-c', $clients, '-j', 2, '-t', $transactions / $clients,
		'-f', "$folder/committed\@3", '-f', "$folder/repeatable\@1" ], '>', \$out, '2>', \$error);
ok($well, 'nobody failed otherwise than a transaction may') or diag($error);
note(join(', ', grep { /^number of .*transactions/ } split /\n/, $out));
is($node->safe_psql('postgres', 'SELECT * FROM file_problems'), '', 'what is in the tables fits together');
my %done = map { split /\|/ } split /\n/, $node->safe_psql('postgres', 'SELECT what, count(*) FROM done GROUP BY what');
note(join(', ', map { "$_ $done{$_}" } sort keys %done));
cmp_ok($done{$_} // 0, '>', 0, "some did: $_") foreach qw(mkdir chmod chown rmdir write unlink rename remove);
$node->safe_psql('postgres', q{SELECT dbos.remove('/race', true)});
is($node->safe_psql('postgres', 'SELECT count(*) FROM dbos.inode'), '1', 'all of it can be removed');
$node->stop;
done_testing();
