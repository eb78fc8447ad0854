# Files are the same in a dump, a copy of the database and on a standby, with names, modes, attributes and counters; numbers go on and are used once, also after a promotion.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use FileTables;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('file_copies');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\nrestart_after_crash = on\nmax_prepared_transactions = 2\n");
$node->start;
$node->safe_psql('postgres', q{
CREATE ROLE ann LOGIN;
CREATE ROLE bob LOGIN;
CREATE ROLE other_admin SUPERUSER LOGIN;
CREATE DATABASE original;
});
$node->safe_psql('original', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
GRANT dbos_user TO ann, bob;
CREATE FUNCTION bytes(tag text, length int) RETURNS bytea LANGUAGE sql AS $$
	SELECT substr(decode(repeat((SELECT string_agg(md5(tag || n), '' ORDER BY n) FROM generate_series(1, 600) n), length / 9600 + 1), 'hex'), 1, length) $$;
SET SESSION AUTHORIZATION ann;
SELECT dbos.mkdir('/tree/a/b/c', parents => true), dbos.mkdir('/tree/private');
SELECT dbos.write_file('/tree/f' || n, bytes('f' || n, n)) FROM unnest(ARRAY[0, 1, 4096, 4097, 8096, 8192, 8193, 100000, 1000000]) n;
SELECT dbos.write_file('/tree/sparse', 'begin'), dbos.write_at('/tree/sparse', 1099511627776, bytes('sparse', 10000));
SELECT dbos.copy('/tree/f100000', '/tree/copy'), dbos.write_at('/tree/copy', 50000, 'changed in the copy'), dbos.link('/tree/f8193', '/tree/a/link'), dbos.symlink('../f1', '/tree/a/symlink'), dbos.symlink('/nowhere', '/tree/a/dangling');
-- Names of bytes that are no characters, and of characters that quote.
SELECT dbos.write_text('/tree/a/' || n, n) FROM unnest(ARRAY['\377\376', '\134200', E'tab\there', E'line\nbreak', 'qu"o''te', 'back\slash', 'ünïcödé', '日本', ' ']) n;
SELECT dbos.write_text('/tree/private/secret', 'secret'), dbos.chmod('/tree/private', 448), dbos.chmod('/tree/f1', 292), dbos.set_xattr('/tree/f0', 'user.language', 'en'), dbos.set_times('/tree/f0', 1, 1000000001);
SELECT dbos.snapshot('/tree', 'as it was');
SELECT dbos.write_file('/tree/f100000', 'new'), dbos.unlink('/tree/f8192'), dbos.rename('/tree/f4097', '/tree/a/b/moved'), dbos.write_at('/tree/f1000000', 500000, 'overwritten');
SET SESSION AUTHORIZATION bob;
SELECT dbos.mkdir('/bob'), dbos.write_text('/bob/note', repeat('bob ', 5000)), dbos.chmod('/bob/note', 384);
});
make_file_problems($node, 'original');

my $contents = q{
SELECT concat_ws(' ', path, kind, mode, owner, "group", size, link_count, modified_at, created_at, storage, checksum,
	CASE kind WHEN 'file' THEN CASE WHEN size < 2000000 THEN md5(dbos.read_file(path)) ELSE md5(dbos.read_file(path, size - 20000)) END WHEN 'symlink' THEN dbos.read_link(path) END,
	(SELECT string_agg(x.name || encode(dbos.get_xattr(path, x.name), 'escape'), ' ') FROM dbos.list_xattr(path) x WHERE kind <> 'symlink'))
FROM dbos.files ORDER BY path COLLATE "C"};
# The counters, in snapshots as well.
my $sums = q{
SELECT concat_ws(' ', 'directory', path, own_bytes, total_bytes, files) FROM dbos.directories UNION ALL
SELECT concat_ws(' ', 'role', role, files, bytes) FROM dbos.file_owners WHERE files > 0 UNION ALL
SELECT concat_ws(' ', 'snapshot', name, path, owner) FROM dbos.snapshots UNION ALL
SELECT concat_ws(' ', 'in snapshot', l.name, l.size, CASE l.kind WHEN 'file' THEN CASE WHEN l.size < 2000000 THEN md5(dbos.read_snapshot('as it was', '/tree/' || l.name)) END END) FROM dbos.snapshot_ls('as it was', '/tree') l ORDER BY 1};
my $before = $node->safe_psql('original', $contents);
my $sums_before = $node->safe_psql('original', $sums);
note($before, "\n", $sums_before);
my %numbers = map { split / /, $_, 2 } split /\n/, $node->safe_psql('original', q{
SELECT 'inode ' || max(inode) FROM dbos.inode UNION ALL SELECT 'chunk ' || max(chunk) FROM dbos.chunk UNION ALL SELECT 'epoch ' || max(born) FROM dbos.inode});

# The same, and what is done there goes on where that ended.
sub use_it
{
	my ($server, $database) = @_;
	is($server->safe_psql($database, $contents), $before, "$database: files are those of the original");
	is($server->safe_psql($database, $sums), $sums_before, "$database: and so are sums and snapshots");
	is($server->safe_psql($database, 'SELECT * FROM file_problems'), '', "$database: what is in the tables fits together");
	is($server->safe_psql($database, q{SET SESSION AUTHORIZATION ann; SELECT dbos.read_text('/tree/private/secret'), (SELECT count(*) FROM dbos.files WHERE path LIKE '/bob/%')}), 'secret|1', "$database: roles see what they saw");
	my ($code, $out, $errors) = $server->psql($database, q{SET SESSION AUTHORIZATION ann; SELECT dbos.read_file('/bob/note')});
	like($errors, qr/permission denied for file/, "$database: and no more");
	$server->safe_psql($database, q{
SET SESSION AUTHORIZATION ann;
SELECT dbos.write_file('/tree/new', bytes('new', 100000)), dbos.write_at('/tree/f1000000', 100, 'again'), dbos.write_file('/tree/copy', 'more', true), dbos.unlink('/tree/f8193'), dbos.mkdir('/tree/new directory');
SELECT dbos.snapshot('/tree', 'later');
SELECT dbos.write_at('/tree/new', 0, 'after');
});
	is($server->safe_psql($database, q{
SELECT min(i.inode) > } . $numbers{inode} . q{, min(e.chunk) > } . $numbers{chunk} . q{, min(i.born) >= } . $numbers{epoch} . q{
FROM dbos.stat('/tree/new') s JOIN dbos.inode i USING (inode) JOIN dbos.extent e USING (inode)}), 't|t|t', "$database: numbers of inodes, chunks and epochs go on");
	is($server->safe_psql($database, q{SELECT md5(dbos.read_snapshot('later', '/tree/new')) = md5(bytes('new', 100000)), left(encode(dbos.read_file('/tree/new', 0, 5), 'escape'), 5), (SELECT link_count FROM dbos.stat('/tree/a/link')),
		md5(dbos.read_snapshot('as it was', '/tree/f1000000')) = md5(bytes('f1000000', 1000000))}), 't|after|1|t', "$database: snapshots, old and new, stay what they are");
	is($server->safe_psql($database, 'SELECT * FROM file_problems'), '', "$database: and all of it fits together");
	$server->safe_psql($database, q{SELECT dbos.drop_snapshot(name) FROM dbos.snapshots; SELECT dbos.reclaim_files(); SELECT dbos.remove('/tree', true), dbos.remove('/bob', true); SELECT dbos.reclaim_files()});
	is($server->safe_psql($database, q{SELECT (SELECT count(*) FROM dbos.inode), (SELECT count(*) FROM dbos.directory_entry), (SELECT count(*) FROM dbos.extent), (SELECT count(*) FROM dbos.chunk), (SELECT count(*) FROM dbos.chunk_tail), (SELECT count(*) FROM dbos.file_owners WHERE files <> 0 OR bytes <> 0)}),
		'1|0|0|0|0|0', "$database: and all of it is removed");
}

# ---- a dump, restored by another superuser, and a copy ----

my $folder = PostgreSQL::Test::Utils::tempdir;
my @to = ('-h', $node->host, '-p', $node->port);
$node->command_ok([ 'pg_dump', @to, '-Fc', '-f', "$folder/dump", 'original' ], 'pg_dump succeeds');
$node->safe_psql('postgres', 'CREATE DATABASE restored OWNER other_admin');
$node->command_ok([ 'pg_restore', @to, '-U', 'other_admin', '--exit-on-error', '-d', 'restored', "$folder/dump" ], 'another superuser restores it');
$node->command_ok([ 'pg_dump', @to, '-f', "$folder/dump.sql", '--inserts', 'original' ], 'pg_dump succeeds with inserts');
$node->safe_psql('postgres', 'CREATE DATABASE inserted');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', @to, '-d', 'inserted', '-f', "$folder/dump.sql" ], 'which are restored, too');
$node->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE original');
use_it($node, $_) foreach 'restored', 'inserted', 'copied';
is($node->safe_psql('original', $contents), $before, 'the original has nothing of that');

# ---- a standby ----

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('original', $contents), $before, 'the standby has the same files');
is($standby->safe_psql('original', $sums), $sums_before, 'sums and snapshots');
is($standby->safe_psql('original', q{SELECT string_agg(name, ' ') FROM dbos.ls('/tree/a/b')}), 'c moved', 'and lists them');
my %refused = (
	write_file => q{('/x', 'x')}, write_text => q{('/x', 'x')}, write_at => q{('/tree/f1', 0, 'x')}, truncate_file => q{('/tree/f1', 0)}, copy => q{('/tree/f1', '/x')}, mkdir => q{('/x')}, rmdir => q{('/tree/a/b/c')},
	unlink => q{('/tree/f1')}, rename => q{('/tree/f1', '/x')}, link => q{('/tree/f1', '/x')}, symlink => q{('x', '/x')}, remove => q{('/tree/f1')}, chmod => q{('/tree/f1', 0)}, touch => q{('/tree/f1')}, set_xattr => q{('/tree/f1', 'user.x', 'x')},
	snapshot => q{('/', 'x')}, drop_snapshot => q{('as it was')}, restore_file => q{('as it was', '/tree/f1', '/x')}, import_file => q{('/etc/passwd', '/x')});
foreach my $function (sort keys %refused)
{
	my ($code, $out, $errors) = $standby->psql('original', "\\set VERBOSITY sqlstate\nSELECT dbos.$function$refused{$function};");
	like($errors, qr/ERROR:\s+25006/, "the standby refuses $function()");
}
# What is not committed there yet is not seen, and what is replayed is.
my ($in, $stdout) = (q{BEGIN; SELECT dbos.write_text('/tree/a/open', 'never committed'), dbos.unlink('/tree/f0'); SELECT pg_switch_wal() IS NULL, 'open';} . "\n", '');
my $open = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr('original') ], '<', \$in, '>', \$stdout, IPC::Run::timeout(100));
$open->pump until $stdout =~ /open/;
$node->safe_psql('original', q{BEGIN; SELECT dbos.write_text('/tree/a/prepared', 'p'); PREPARE TRANSACTION 'files'});
# A reader on the standby sees one state as long as its snapshot lasts.
my $reader = $standby->background_psql('original');
is($reader->query_safe(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT length(dbos.read_file('/tree/f100000'))}), '3', 'a reader begins');
$node->safe_psql('original', q{SELECT dbos.write_file('/tree/f100000', bytes('again', 300000)), dbos.rename('/tree/copy', '/tree/renamed')});
$node->wait_for_catchup($standby);
is($reader->query_safe(q{SELECT length(dbos.read_file('/tree/f100000')), length(dbos.read_file('/tree/copy'))}), '3|100000', 'and sees what there was');
$reader->quit;
is($standby->safe_psql('original', q{SELECT md5(dbos.read_file('/tree/f100000')) = md5(bytes('again', 300000)), length(dbos.read_file('/tree/renamed')), (SELECT size FROM dbos.stat('/tree/f0'))}), 't|100000|0', 'another sees what was replayed');
$node->stop('immediate');
eval { $open->finish };
$standby->promote;
$standby->poll_query_until('original', 'SELECT NOT pg_is_in_recovery()');
is($standby->safe_psql('original', q{COMMIT PREPARED 'files'; SELECT dbos.read_text('/tree/a/prepared')}), 'p', 'promoted, it commits what was prepared');
$standby->safe_psql('original', q{SELECT dbos.unlink('/tree/a/prepared'), dbos.write_file('/tree/f100000', 'new'), dbos.rename('/tree/renamed', '/tree/copy')});
is($standby->safe_psql('original', $sums), $sums_before, 'and has the sums of all that was committed');
is($standby->safe_psql('original', q{SELECT (SELECT count(*) FROM dbos.ls('/tree/a') WHERE name = 'open'), (SELECT count(*) FROM dbos.ls('/tree') WHERE name = 'f0')}), '0|1', 'but nothing of what was not');
$before = $standby->safe_psql('original', $contents);
%numbers = map { split / /, $_, 2 } split /\n/, $standby->safe_psql('original', q{
SELECT 'inode ' || max(inode) FROM dbos.inode UNION ALL SELECT 'chunk ' || max(chunk) FROM dbos.chunk UNION ALL SELECT 'epoch ' || max(born) FROM dbos.inode});
use_it($standby, 'original');
$standby->stop;
done_testing();
