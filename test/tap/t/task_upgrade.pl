# Every released version updates to the objects of a fresh install, and objects of another version than the library's stand still.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('upgrade');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'");
$node->start;

# Every object of the extension with what it is made of.
my $objects = q{
SELECT pg_describe_object(d.classid, d.objid, 0) || ' '
	|| COALESCE(pg_get_functiondef(p.oid), pg_get_viewdef(c.oid), '')
	|| COALESCE(p.proacl::text, c.relacl::text, '') || COALESCE(obj_description(d.objid, d.classid::regclass::name), '')
	|| COALESCE((SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull, ', ' ORDER BY a.attname)
		FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '')
	|| COALESCE((SELECT string_agg(pg_get_indexdef(i.indexrelid), ', ' ORDER BY i.indexrelid::regclass::text) FROM pg_index i WHERE i.indrelid = c.oid), '')
	|| COALESCE((SELECT string_agg(pg_get_constraintdef(k.oid), ', ' ORDER BY k.conname) FROM pg_constraint k WHERE k.conrelid = c.oid), '')
FROM pg_depend d
LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid AND p.prokind IN ('f', 'p')
LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'dbos') AND d.deptype = 'e'
ORDER BY 1};

my $current = $node->safe_psql('postgres', q{SELECT default_version FROM pg_available_extensions WHERE name = 'dbos'});
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE ledger (task bigint NOT NULL);
CREATE FUNCTION enter() RETURNS bigint LANGUAGE sql AS
	'INSERT INTO public.ledger VALUES (dbos.current_task()) RETURNING task';
});
is($node->safe_psql('postgres', 'SELECT dbos.version()'), $current, "library and objects are version $current");
my $fresh = $node->safe_psql('postgres', $objects);
like($fresh, qr/function dbos\.submit/, 'the objects of the extension are found');

# Versions that were released before this one.
my @released = split /\n/, $node->safe_psql('postgres',
	"SELECT version FROM pg_available_extension_versions WHERE name = 'dbos' AND version <> '$current' ORDER BY version");
note(@released . ' versions were released before ' . $current);
foreach my $version (@released)
{
	(my $database = "from_$version") =~ s/\W/_/g;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, "SET client_min_messages = warning; CREATE EXTENSION dbos VERSION '$version'; ALTER EXTENSION dbos UPDATE");
	is($node->safe_psql($database, $objects), $fresh, "$version updates to the objects of $current");
}

# The update to what is there already, and to what nobody released.
my ($code, $output, $errors) = $node->psql('postgres', 'ALTER EXTENSION dbos UPDATE');
is($code, 0, 'an update to the same version succeeds');
like($errors, qr/version "\Q$current\E" of extension "dbos" is already installed/, 'and says that there was nothing to do');
is($node->safe_psql('postgres', $objects), $fresh, 'and changes nothing');
($code, $output, $errors) = $node->psql('postgres', q{ALTER EXTENSION dbos UPDATE TO '999'});
isnt($code, 0, 'an update to an unknown version is refused');
like($errors, qr/no update path from version "\Q$current\E" to version "999"/, 'and says why');

# A library that was replaced before its objects: tasks wait until they are of one version.
$node->safe_psql('postgres', q{SELECT dbos.submit('enter', delay => '1 second')});
$node->safe_psql('postgres', q{UPDATE pg_extension SET extversion = '0.0.0' WHERE extname = 'dbos'});
$node->restart;
($code, $output, $errors) = $node->psql('postgres', q{SELECT dbos.submit('enter')});
isnt($code, 0, 'objects of another version take no task');
like($errors, qr/ALTER EXTENSION dbos UPDATE/, 'and the error says what to do');
is($node->safe_psql('postgres', q{SELECT ok, hint FROM dbos.health() WHERE component = 'version'}),
	'f|ALTER EXTENSION dbos UPDATE;', 'so does health');
# Another database runs what was submitted after ours was due: ours had its chance.
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'SET client_min_messages = warning; CREATE EXTENSION dbos');
my $other = $node->safe_psql('other', q{SELECT dbos.submit('pg_catalog.version', delay => '2 seconds')});
ok($node->poll_query_until('other', "SELECT state = 'succeeded' FROM dbos.tasks WHERE id = $other"), 'another database works meanwhile');
is($node->safe_psql('postgres', 'SELECT count(*) FROM ledger'), '0', 'the workers idle where the versions differ');
$node->safe_psql('postgres', "UPDATE pg_extension SET extversion = '$current' WHERE extname = 'dbos'");
$node->safe_psql('postgres', 'SELECT dbos.start()');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM ledger'), 'and run what waited once they are one');
$node->stop;
done_testing();
