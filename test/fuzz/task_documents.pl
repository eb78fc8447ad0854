# Whatever document comes as arguments is taken as its values or refused as the user's error, never the server's.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $count = $ENV{DBOS_TORTURE} ? 20_000 : 2_000;
my $seed = $ENV{DBOS_SEED} || 20261123;
srand($seed);

my $node = PostgreSQL::Test::Cluster->new('fuzz');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\nfsync = off");
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE FUNCTION echo(a int, b text, c jsonb DEFAULT '[]') RETURNS jsonb LANGUAGE sql AS
	'SELECT jsonb_build_array(a, b, c)';
CREATE FUNCTION overloaded(a int) RETURNS text LANGUAGE sql AS 'SELECT ''int''';
CREATE FUNCTION overloaded(a text) RETURNS text LANGUAGE sql AS 'SELECT ''text''';
CREATE FUNCTION overloaded(a int, b int) RETURNS text LANGUAGE sql AS 'SELECT ''two''';
CREATE FUNCTION whole(document jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT document';
CREATE FUNCTION many(VARIADIC x int[]) RETURNS int LANGUAGE sql AS 'SELECT cardinality(x)';
CREATE FUNCTION typed("Odd Name" date, i interval, n numeric, r int4range, ids uuid[]) RETURNS text LANGUAGE sql AS 'SELECT n::text';
CREATE FUNCTION any_thing(x anyelement) RETURNS text LANGUAGE sql AS 'SELECT pg_typeof(x)::text';
CREATE TABLE tried (number int, function text, document text, task bigint, sqlstate text, message text);
CREATE PROCEDURE try(number int, function text, document text) LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO tried VALUES (number, function, document, dbos.submit(function, document::jsonb), '00000', NULL);
EXCEPTION WHEN OTHERS THEN
	INSERT INTO tried VALUES (number, function, document, NULL, SQLSTATE, SQLERRM);
END $$;
});

my @strings = ('', 'x', '1', '-0', '1e400', "''", '\\"', '\\\\', '\\n', '$1', '%s', 'null', 'NaN', '2026-02-30', '[1,5)', '{}', 'a' x 3000, "\x{e9}", '\\u0001', '1 day');
my @numbers = ('0', '1', '-1', '2147483648', '1.5', '1e3', '9' x 200, '-9223372036854775808', '0.' . '0' x 50 . '1');
my @names = ('a', 'b', 'c', 'x', 'A', 'Odd Name', 'i', 'n', 'r', 'ids', 'document', '', '$1', 'a"b', '1');

sub pick { return $_[ int(rand(@_)) ] }

sub value
{
	my ($depth) = @_;
	my $kind = int(rand($depth > 3 ? 5 : 8));
	return '"' . pick(@strings) . '"' if $kind <= 1;
	return pick(@numbers) if $kind <= 3;
	return pick('null', 'true', 'false') if $kind == 4;
	return '[' . join(',', map { value($depth + 1) } 1 .. int(rand(5))) . ']' if $kind <= 6;
	return object($depth + 1);
}

sub object
{
	my ($depth) = @_;
	return '{' . join(',', map { my $name = pick(@names); $name =~ s/"/\\"/g; "\"$name\":" . value($depth) } 1 .. int(rand(5))) . '}';
}

my @functions = ('echo', 'overloaded', 'whole', 'many', 'typed', 'any_thing', 'public.echo(int, text, jsonb)', 'overloaded(text)', 'overloaded(no_type)',
	'"', 'public.', '.echo', 'a.b.c.d', 'echo(', 'echo()', '', "echo'; DROP TABLE tried; --", 'f' x 200);
my $sql = '';
foreach my $number (1 .. $count)
{
	my $document = rand() < 0.8 ? (rand() < 0.5 ? object(0) : '[' . join(',', map { value(1) } 1 .. int(rand(5))) . ']') : value(0);
	my $function = rand() < 0.7 ? pick(@functions[ 0 .. 5 ]) : pick(@functions);
	$function =~ s/'/''/g;
	$document =~ s/'/''/g;
	utf8::encode($document);
	$sql .= "CALL try($number, '$function', '$document');\n";
}
my ($code, $output, $errors) = $node->psql('postgres', $sql, timeout => 250);
is($code, 0, "the server took $count documents (seed $seed)") or diag(substr($errors, 0, 2000));
is($node->safe_psql('postgres', 'SELECT count(*) FROM tried'), $count, 'each was tried');
is($node->safe_psql('postgres', q{SELECT string_agg(format('%s %s: %s %s', function, left(document, 200), sqlstate, message), E'\n') FROM (SELECT * FROM tried WHERE sqlstate LIKE 'XX%' LIMIT 5) t}),
	'', 'none was the server\'s error');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM tried WHERE sqlstate = '00000'}), '>', $count / 50, 'some were good');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.task'), 'all that were taken end');
is($node->safe_psql('postgres', q{
SELECT string_agg(format('%s %s: %s', t.function, left(t.document, 200), d.error->>'message'), E'\n')
FROM tried t JOIN dbos.tasks d ON d.id = t.task WHERE d.state <> 'succeeded'}),
	'', 'nothing that was taken failed for its arguments');
# The values arrive as they were written.
is($node->safe_psql('postgres', q{
SELECT count(*) FROM tried t JOIN dbos.tasks d ON d.id = t.task
WHERE t.function = 'echo' AND jsonb_typeof(t.document::jsonb) = 'object'
	AND d.result IS DISTINCT FROM jsonb_build_array((t.document::jsonb->>'a')::int, t.document::jsonb->>'b', coalesce(t.document::jsonb->'c', '[]'))}),
	'0', 'named values arrive as written');
is($node->safe_psql('postgres', q{
SELECT count(*) FROM tried t JOIN dbos.tasks d ON d.id = t.task
WHERE t.function = 'whole' AND d.result IS DISTINCT FROM t.document::jsonb AND NOT (t.document::jsonb ? 'document') AND jsonb_typeof(t.document::jsonb) = 'object'}),
	'0', 'a document arrives whole');
$node->stop;
done_testing();
