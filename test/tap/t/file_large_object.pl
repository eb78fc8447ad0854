# Files that are large objects are what they were after a dump and a restore, vacuumlo leaves them, a race for one has a winner, and one that was removed without the library is an input/output error.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('large_object');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\n");
$node->start;
my @to = ('-h', $node->host, '-p', $node->port);
$node->safe_psql('postgres', 'CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; CREATE DATABASE original');
$node->safe_psql('original', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
GRANT dbos_user TO ann, bob;
SET SESSION AUTHORIZATION ann;
SELECT dbos.mkdir('/lo', storage => 'large_object');
SELECT dbos.write_text('/lo/own', 'of its own'), dbos.write_text('/lo/private', 'private'), dbos.write_text('/lo/empty', '');
SELECT dbos.write_at('/lo/own', 3000000, 'end');
SELECT dbos.adopt_large_object(lo_from_bytea(70001, 'adopted'), '/lo/adopted');
GRANT SELECT, UPDATE ON LARGE OBJECT 70001 TO bob;
SELECT lo_put(70001, 7, ', and changed');
SELECT lo_from_bytea(70002, 'of no file');
SELECT dbos.chmod('/lo/private', '0600');
RESET SESSION AUTHORIZATION;
SELECT dbos.chmod('/', '0755');
});
my $objects = 'SELECT count(*) FROM pg_largeobject_metadata';
is($node->safe_psql('original', $objects), '5', 'three of their own, one adopted, one of no file');

# ---- vacuumlo ----

my $vacuumlo = `"$ENV{DBOS_PG_CONFIG}" --bindir`;
chomp $vacuumlo;
$vacuumlo .= '/vacuumlo';
SKIP:
{
	skip 'there is no vacuumlo', 3 unless -x $vacuumlo;
	$node->command_ok([ $vacuumlo, @to, 'original' ], 'vacuumlo runs');
	is($node->safe_psql('original', $objects), '4', 'and takes one');
	is($node->safe_psql('original', 'SELECT count(*) FROM pg_largeobject_metadata WHERE oid = 70002'), '0', 'that of no file');
	$node->safe_psql('original', q{SET SESSION AUTHORIZATION ann; SELECT lo_from_bytea(70002, 'of no file')});
}

# ---- dump and restore ----

my $contents = q{
SELECT string_agg(concat_ws(',', p, s.owner, s.mode, s.size, s.storage, md5(dbos.read_file(p)), i.large_object, i.storage,
	md5(lo_get(i.large_object)), m.lomowner::regrole, m.lomacl), E'\n' ORDER BY p)
FROM unnest('{/lo/own,/lo/private,/lo/empty,/lo/adopted}'::text[]) p, dbos.stat(p) s, dbos.inode i, pg_largeobject_metadata m
WHERE i.inode = s.inode AND i.died = 2147483647 AND m.oid = i.large_object};
my $before = $node->safe_psql('original', $contents);
note($before);
is(scalar(split(/\n/, $before)), 4, 'there are four files');
my $folder = PostgreSQL::Test::Utils::tempdir();
$node->command_ok([ 'pg_dump', @to, '-Fc', '-b', '-f', "$folder/dump", 'original' ], 'pg_dump succeeds');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', @to, '--exit-on-error', '-d', 'restored', "$folder/dump" ], 'pg_restore succeeds');
$node->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE original');
for my $database (qw(restored copied))
{
	is($node->safe_psql($database, $contents), $before, "$database: files, objects, owners and privileges are the same");
	is($node->safe_psql($database, q{SELECT mode, owner FROM dbos.stat('/')}), '493|dbos_owner', "$database: and the root");
	my ($code, $output, $errors) = $node->psql($database, 'SELECT lo_unlink(70001)');
	like($errors, qr/cannot drop large object 70001 because it is the content of a file.*The file is "\/lo\/adopted"/s, "$database: an adopted object cannot be dropped");
	($code, $output, $errors) = $node->psql($database, q{SET SESSION AUTHORIZATION bob; SELECT dbos.read_text('/lo/private')});
	like($errors, qr/permission denied/, "$database: what was private is");
	is($node->safe_psql($database, q{SET SESSION AUTHORIZATION bob; SELECT dbos.read_text('/lo/adopted')}), 'adopted, and changed', "$database: what was granted is");
	$node->safe_psql($database, q{SET SESSION AUTHORIZATION ann; SELECT dbos.unlink('/lo/own'), dbos.unlink('/lo/adopted'), lo_unlink(70001)});
	is($node->safe_psql($database, $objects), '3', "$database: a file's own object goes with it, an adopted one by lo_unlink()");
}

# ---- an adopted object in a dump by another way round: the files first ----

$node->command_ok([ 'pg_dump', @to, '-f', "$folder/dump.sql", 'original' ], 'pg_dump as text succeeds');
$node->safe_psql('postgres', 'CREATE DATABASE as_text');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', @to, '-d', 'as_text', '-f', "$folder/dump.sql" ], 'which restores');
is($node->safe_psql('as_text', $contents), $before, 'to the same');

# What a dump without files is restored to has a root once something is made.
$node->safe_psql('postgres', 'CREATE DATABASE without_files');
$node->safe_psql('without_files', 'SET row_security = off; SET client_min_messages = warning; CREATE EXTENSION dbos');
is($node->safe_psql('without_files', "SELECT count(*) FROM dbos.ls('/')"), '0', 'a database that was restored without files has an empty root');
$node->safe_psql('without_files', "BEGIN; SELECT dbos.write_text('/a', ''), dbos.write_text('/b', ''); ROLLBACK; SELECT dbos.mkdir('/c'); SELECT dbos.write_text('/c/d', 'x')");
is($node->safe_psql('without_files', "SELECT inode, mode, owner, (SELECT string_agg(name, ' ') FROM dbos.ls('/')) FROM dbos.stat('/')"), '1|1021|dbos_owner|c', 'and gets it with its first file');

# ---- who comes second to an object ----

my $first = $node->background_psql('original', on_error_die => 1);
my $second = $node->background_psql('original', on_error_stop => 0);
# The second session begins a statement, and waits for the first.
sub waits
{
	my ($sql) = @_;
	$second->query_until(qr/begins/, "\\echo begins\n$sql\n");
	$node->poll_query_until('original', q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted}) or die 'nobody waits';
	return;
}
# Adopted while it is dropped: whoever is first.
$first->query_safe(q{BEGIN; SELECT dbos.adopt_large_object(70002, '/lo/race')});
waits("SELECT lo_unlink(70002);");
$first->query_safe('COMMIT');
$second->query('SELECT 1');
like($second->{stderr}, qr/cannot drop large object 70002/, 'who drops an object that is being adopted waits, and is refused');
$second->{stderr} = '';
$first->query_safe(q{SELECT dbos.unlink('/lo/race')});
$first->query_safe('BEGIN; SELECT lo_unlink(70002)');
waits("SELECT dbos.adopt_large_object(70002, '/lo/race');");
$first->query_safe('COMMIT');
$second->query('SELECT 1');
like($second->{stderr}, qr/large object 70002 does not exist/, 'who adopts an object that is being dropped waits, and there is none');
$second->{stderr} = '';
# Adopted twice.
$first->query_safe(q{SELECT lo_from_bytea(70002, 'of no file')});
$first->query_safe(q{BEGIN; SELECT dbos.adopt_large_object(70002, '/lo/race')});
waits("SELECT dbos.adopt_large_object(70002, '/lo/other');");
$first->query_safe('ROLLBACK');
$second->query('SELECT 1');
is($second->{stderr}, '', 'who adopts an object that somebody else has adopted and rolled back has it');
is($node->safe_psql('original', q{SELECT dbos.read_text('/lo/other')}), 'of no file', 'with its content');
# Two that append.
$first->query_safe(q{BEGIN; SELECT dbos.write_text('/lo/other', ', first', true)});
waits("SELECT dbos.write_text('/lo/other', ', second', true);");
$first->query_safe('COMMIT');
$second->query('SELECT 1');
is($second->{stderr}, '', 'who appends while another does waits');
is($node->safe_psql('original', q{SELECT convert_from(lo_get(70002), 'UTF8')}), 'of no file, first, second', 'and none is lost');
# One of the two by lo_put: it does not know of our lock.
$first->query_safe(q{BEGIN; SELECT lo_put(70002, 0, 'OF')});
waits("SELECT dbos.write_text('/lo/other', '!', true);");
$first->query_safe('COMMIT');
$second->query('SELECT 1');
like($second->{stderr}, qr/tuple concurrently updated/, 'who comes second to a page that lo_put() writes fails, as with two of these');
is($node->safe_psql('original', q{SELECT dbos.read_text('/lo/other')}), 'OF no file, first, second', 'and has changed nothing');
is($node->safe_psql('original', q{SELECT dbos.write_text('/lo/other', '!', true)}), '26', 'the next time it works');
# What a transaction saw it goes on seeing.
$first->query_safe(q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1});
$node->safe_psql('original', q{SELECT dbos.write_text('/lo/other', 'new')});
is($first->query_safe(q{SELECT dbos.read_text('/lo/other') || size FROM dbos.stat('/lo/other')}), 'OF no file, first, second!26', 'in REPEATABLE READ a file is as it was');
$first->query_safe('COMMIT');
$first->quit;
$second->quit;

# ---- a standby ----

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->safe_psql('original', q{SELECT lo_put(70001, 0, 'ADOPTED')});
$node->wait_for_catchup($standby);
is($standby->safe_psql('original', $contents), $node->safe_psql('original', $contents), 'a standby has the same files');
is($standby->safe_psql('original', q{SET SESSION AUTHORIZATION bob; SELECT dbos.read_text('/lo/adopted'), size FROM dbos.files WHERE path = '/lo/adopted'}), 'ADOPTED, and changed|20', 'for whom may read them');
my ($standby_code, $standby_output, $standby_errors) = $standby->psql('original', q{SELECT dbos.write_text('/lo/adopted', 'x')});
like($standby_errors, qr/cannot execute dbos.write_file\(\) in a read-only transaction/, 'and writes none');
$standby->stop;

# ---- files of the host ----

$node->safe_psql('original', qq{
SELECT lo_export(large_object, '$folder/exported') FROM dbos.inode WHERE inode = (dbos.stat('/lo/own')).inode;
SELECT dbos.import_tree('$folder', '/lo/tree');
SELECT dbos.import_file('$folder/exported', '/lo/imported'),
	dbos.import_file('$folder/exported', '/lo/other'), dbos.write_text('/lo/empty', 'not any more')});
is($node->safe_psql('original', q{SELECT bool_and(s.storage = 'large_object' AND s.size = 3000003 AND dbos.read_file(p) = dbos.read_file('/lo/own'))
	FROM unnest('{/lo/imported,/lo/other,/lo/tree/exported}'::text[]) p, dbos.stat(p) s}), 't', 'imported, and imported into an adopted one, it has the same bytes');
is($node->safe_psql('original', q{SELECT length(lo_get(70002)) = 3000003 AND lo_get(70002) = dbos.read_file('/lo/own')}), 't', 'which are the adopted object\'s');

# ---- removed by a session that has not loaded the library ----

$node->safe_psql('original', q{SET SESSION AUTHORIZATION ann; SELECT dbos.write_text('/lo/lost', 'lost'), dbos.adopt_large_object(lo_from_bytea(70003, 'lost'), '/lo/lost_too')});
my $lost = $node->safe_psql('original', q{SELECT large_object FROM dbos.inode WHERE inode = (dbos.stat('/lo/lost')).inode});
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;
my ($code, $output, $errors) = $node->psql('original', "SELECT dbos.read_text('/lo/lost'); SELECT lo_unlink($lost)");
like($errors, qr/cannot drop large object $lost/, 'a session that has used dbos has loaded it');
$node->safe_psql('original', "SELECT lo_unlink($lost), lo_unlink(70003)");
# Others have the numbers now.
$node->safe_psql('original', "SET SESSION AUTHORIZATION bob; SELECT lo_from_bytea(70003, 'of bob')");
sub fails_to
{
	my ($what, $sql, $expected) = @_;
	my ($code, $output, $errors) = $node->psql('original', "\\set VERBOSITY verbose\nSET SESSION AUTHORIZATION ann; $sql");
	like($errors, $expected, $what);
}
fails_to('a file whose object is gone cannot be read', q{SELECT dbos.read_text('/lo/lost')}, qr/58030: .*large object $lost does not exist.*removed by a session/s);
fails_to('nor no byte of it', q{SELECT dbos.read_file('/lo/lost', 100)}, qr/58030/);
fails_to('nor written', q{SELECT dbos.write_text('/lo/lost', 'x', true)}, qr/58030/);
fails_to('nor replaced', q{SELECT dbos.write_text('/lo/lost', 'x')}, qr/58030/);
fails_to('nor cut', q{SELECT dbos.truncate_file('/lo/lost', 0)}, qr/58030/);
fails_to('nor copied', q{SELECT dbos.copy('/lo/lost', '/lo/found')}, qr/58030/);
is($node->safe_psql('original', q{SELECT size FROM dbos.stat('/lo/lost')}), '4', 'its size is what it was');
fails_to('an object of somebody else with the number of one that is gone is not his', q{SELECT dbos.read_text('/lo/lost_too')}, qr/42501/);
$node->safe_psql('original', "SET SESSION AUTHORIZATION bob; SELECT lo_from_bytea($lost, 'of bob')");
fails_to('also not with the number of a file\'s own', q{SELECT dbos.read_text('/lo/lost')}, qr/42501/);
$node->safe_psql('original', q{SET SESSION AUTHORIZATION ann; SELECT dbos.unlink('/lo/lost'), dbos.unlink('/lo/lost_too')});
is($node->safe_psql('original', "SELECT convert_from(lo_get($lost), 'UTF8') || convert_from(lo_get(70003), 'UTF8')"), 'of bobof bob', 'the files can be unlinked, and the objects stay their owner\'s');

# ---- without the extension ----

$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'dbos'");
$node->restart;
is($node->safe_psql('postgres', "SELECT lo_unlink(lo_from_bytea(0, 'x'))"), '1', 'in a database without the extension a large object is as ever');
$node->safe_psql('original', 'SET client_min_messages = warning; DROP EXTENSION dbos');
is($node->safe_psql('original', 'SELECT lo_unlink(70001), count(*) > 8 FROM pg_largeobject_metadata'), '1|t', 'when it is dropped the objects remain, and nobody refuses to drop them');
$node->stop;
done_testing();
