# A task's function gets the values, and gives the result, that the same call written in SQL gets and gives.
# SPDX-License-Identifier: PostgreSQL
#
# Functions of random signatures are called with random values twice: by a task,
# the values as a document, and by SQL's own notation, the values as literals.
# The second one is the oracle: what it takes the task returns alike, what it
# refuses is refused at submit with the same SQLSTATE.
use strict;
use warnings;
use utf8;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $functions = $ENV{DBOS_TORTURE} ? 2000 : 200;
my $calls = 6;
my $seed = $ENV{DBOS_SEED} || 20261123;
srand($seed);

my $node = PostgreSQL::Test::Cluster->new('calls');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\nfsync = off");
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TYPE pair AS (a int, b text);
CREATE TYPE nest AS (p pair, n int[]);
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN positives AS positive[] CHECK (cardinality(VALUE) < 4);
CREATE TABLE tried (number int, task bigint, sqlstate text, message text);
CREATE TABLE expected (number int, result jsonb, sqlstate text);
CREATE PROCEDURE try(number int, function text, document text) LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO tried VALUES (number, dbos.submit(function, document::jsonb), '00000', NULL);
EXCEPTION WHEN OTHERS THEN
	INSERT INTO tried VALUES (number, NULL, SQLSTATE, SQLERRM);
END $$;
CREATE PROCEDURE expect(number int, query text) LANGUAGE plpgsql AS $$
DECLARE
	answer jsonb;
BEGIN
	EXECUTE query INTO answer;
	INSERT INTO expected VALUES (number, answer, '00000');
EXCEPTION WHEN OTHERS THEN
	INSERT INTO expected VALUES (number, NULL, SQLSTATE);
END $$;
});

# Values of each type: as an SQL literal that is cast to it, and as JSON.
my %values = (
	'int4' => [ [ '42', '42' ], [ '-1', '-1' ], [ '2147483647', '"2147483647"' ], [ '2147483648', '2147483648' ], [ '7.0', '7.0' ], [ 'x', '"x"' ], [ '', '""' ], [ 'true', 'true' ] ],
	'int8' => [ [ '9223372036854775807', '9223372036854775807' ], [ '-9223372036854775809', '-9223372036854775809' ], [ ' 5 ', '" 5 "' ] ],
	'int2' => [ [ '32767', '32767' ], [ '32768', '32768' ] ],
	'numeric' => [ [ '1.50', '1.50' ], [ '1e30', '1e30' ], [ 'NaN', '"NaN"' ], [ '0.' . '0' x 40 . '1', '0.' . '0' x 40 . '1' ] ],
	'float8' => [ [ '0.1', '0.1' ], [ '1e400', '1e400' ], [ '-Infinity', '"-Infinity"' ] ],
	'bool' => [ [ 'true', 'true' ], [ 'false', 'false' ], [ 'yes', '"yes"' ], [ '1', '1' ], [ 'maybe', '"maybe"' ] ],
	'text' => [ [ q{it''s}, q{"it's"} ], [ '', '""' ], [ 'a"b\\c', '"a\\"b\\\\c"' ], [ '1.50', '1.50' ], [ 'true', 'true' ], [ "\n", '"\\n"' ], [ 'é', '"\\u00e9"' ], [ '{"k": [1, null]}', '{"k":[1,null]}' ], [ '[1, 2]', '[1,2]' ], [ '$1 %s', '"$1 %s"' ], [ 'null', '"null"' ] ],
	'bpchar' => [ [ 'ab  ', '"ab  "' ] ],
	'varchar' => [ [ 'x' x 300, '"' . 'x' x 300 . '"' ] ],
	'name' => [ [ 'public', '"public"' ] ],
	'bytea' => [ [ '\\x00ff', '"\\\\x00ff"' ], [ '\\x0', '"\\\\x0"' ] ],
	'date' => [ [ '2026-02-28', '"2026-02-28"' ], [ '2026-02-30', '"2026-02-30"' ], [ 'infinity', '"infinity"' ], [ '20260228', '20260228' ] ],
	'timestamptz' => [ [ '2026-03-01 12:00:00+02', '"2026-03-01T12:00:00+02:00"' ], [ 'never', '"never"' ] ],
	'interval' => [ [ '1 day 2 hours', '"1 day 2 hours"' ], [ 'P1DT2H', '"P1DT2H"' ], [ '1 dy x', '"1 dy x"' ] ],
	'uuid' => [ [ 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"' ], [ 'a0', '"a0"' ] ],
	'int4range' => [ [ '[1,5)', '"[1,4]"' ], [ 'empty', '"(3,3)"' ], [ '[5,1)', '"[5,1)"' ] ],
	'int4[]' => [ [ '{1,2,NULL}', '[1,2,null]' ], [ '{}', '[]' ], [ '{{1,2},{3,4}}', '[[1,2],[3,4]]' ], [ '{1,x}', '[1,"x"]' ] ],
	'text[]' => [ [ '{"a b",NULL,"NULL","\\"q\\"",""}', '["a b",null,"NULL","\\"q\\"",""]' ], [ '{1,t,"{\\"k\\": 2}"}', '[1,"t",{"k":2}]' ] ],
	'positive' => [ [ '5', '5' ], [ '-5', '-5' ], [ 'x', '"x"' ] ],
	'positives' => [ [ '{1,2}', '[1,2]' ], [ '{1,0}', '[1,0]' ], [ '{1,2,3,4}', '[1,2,3,4]' ] ],
	'mood' => [ [ 'sad', '"sad"' ], [ 'happy', '"happy"' ], [ 'angry', '"angry"' ] ],
	'pair' => [ [ '(1,x)', '{"a":1,"b":"x"}' ], [ '(,"y z")', '{"b":"y z"}' ], [ '(1,)', '{"a":1,"surplus":[1]}' ], [ '(1,x)', '"(1,x)"' ], [ '(x,1)', '{"a":"x","b":1}' ], [ '(,)', '{}' ] ],
	'pair[]' => [ [ '{"(1,x)",NULL,"(,)"}', '[{"a":1,"b":"x"},null,{}]' ], [ '{}', '[]' ] ],
	'nest' => [ [ '("(1,x)","{1,2}")', '{"p":{"a":1,"b":"x"},"n":[1,2]}' ], [ '(,)', '{"p":null}' ], [ '(,"{1,y}")', '{"n":[1,"y"]}' ] ],
	'jsonb' => [ [ '{"k": [1, null]}', '{"k":[1,null]}' ], [ '"s"', '"s"' ], [ '3', '3' ], [ '[]', '[]' ] ],
	'json' => [ [ '{"k": [1, null]}', '{"k":[1,null]}' ], [ 'true', 'true' ] ]);
my @types = sort keys %values;
my @names = ('a', 'b', 'select', 'Odd Name', 'x"y', 'ü', 'p1', 'user', 'r', 'c', 'v');

sub pick { return $_[ int(rand(@_)) ] }
sub identifier { my $name = $_[0]; $name =~ s/"/""/g; return "\"$name\""; }
sub key { my $name = $_[0]; $name =~ s/"/\\"/g; return "\"$name\""; }
sub literal { my ($type, $text) = @_; $text =~ s/(?<!')'(?!')/''/g; return "'$text'::$type"; }

# A value that the type takes, for a default.
my %good = map { $_ => $values{$_}[0] } @types;

my $sql = '';
my $number = 0;
my %shown;
foreach my $f (1 .. $functions)
{
	my @pool = sort { rand() <=> 0.5 } @names;
	my @parameters = map { { type => pick(@types), name => $pool[$_] } } 0 .. int(rand(6));
	# A function of one document takes the arguments whole, which is another thing.
	$parameters[0]{type} = 'int4' if @parameters == 1 && $parameters[0]{type} =~ /json/;
	my $named = rand() < 0.85;
	my $defaults = rand() < 0.5 ? int(rand(@parameters + 1)) : 0;
	$parameters[$_]{default} = 1 foreach @parameters - $defaults .. $#parameters;
	my $variadic = rand() < 0.25 ? pick('int4[]', 'text[]', 'pair[]') : undef;
	if ($variadic)
	{
		$parameters[-1]{type} = $variadic;
		$parameters[-1]{variadic} = 1;
	}
	my $kind = pick('text', 'out', 'inout', 'set', 'table', 'jsonb', 'same', 'void');
	my @in = map {
		my $parameter = $parameters[$_];
		($parameter->{variadic} ? 'VARIADIC ' : $kind eq 'inout' && $_ == 0 && @parameters > 1 ? 'INOUT ' : '')
		  . ($named ? identifier($parameter->{name}) . ' ' : '') . $parameter->{type}
		  . ($parameter->{default} ? ' DEFAULT ' . literal($parameter->{type}, $good{ $parameter->{type} }[0]) : '')
	} 0 .. $#parameters;
	my $told = 'concat_ws(\'|\', ' . join(', ', map { "coalesce(quote_literal(\$$_\::text), 'null')" } 1 .. @parameters) . ')';
	my ($returns, $body, $set) = ('RETURNS text', "SELECT $told", 0);
	my @out;
	if ($kind eq 'out') { @out = ('OUT told text'); $returns = ''; }
	elsif ($kind eq 'inout' && @parameters > 1 && !$parameters[0]{variadic}) { @out = ('OUT told text'); $returns = ''; $body = "SELECT \$1, $told"; }
	elsif ($kind eq 'set') { $returns = 'RETURNS SETOF text'; $body = "SELECT $told UNION ALL SELECT NULL"; $set = 1; }
	elsif ($kind eq 'table') { $returns = 'RETURNS TABLE (told text, n int)'; $body = "SELECT $told, 1 WHERE random() >= 0"; $set = 1; }
	elsif ($kind eq 'jsonb') { $returns = 'RETURNS jsonb'; $body = "SELECT jsonb_build_array($told)"; }
	elsif ($kind eq 'same') { $returns = "RETURNS $parameters[0]{type}"; $body = 'SELECT $1'; }
	# VARIADIC comes last among the inputs, and outputs may stand before it.
	my $list = join(', ', @out && $parameters[-1]{variadic} ? (@in[ 0 .. $#in - 1 ], @out, $in[-1]) : (@in, @out));
	# With a setting of its own the planner calls it, and looks at every argument.
	$sql .= "CREATE FUNCTION f$f($list) $returns LANGUAGE sql SET search_path = public AS \$body\$ $body \$body\$;\n";
	# Another of the name, which none of the calls can mean.
	$sql .= "CREATE FUNCTION f$f(" . join(', ', map { "zz$_ int" } 1 .. 9) . ") RETURNS int LANGUAGE sql AS 'SELECT 1';\n" if rand() < 0.3;

	foreach my $call (1 .. $calls)
	{
		my $by_name = $named && rand() < 0.6;
		# Without a gap SQL needs no names, and may have them where there is no VARIADIC.
		my ($with_names, $gap) = ($by_name && !$variadic && rand() < 0.5, 0);
		# One odd value a call: of two bad ones it is anybody's choice which is complained of.
		my $odd = int(rand(@parameters + 1));
		my (@json, @literals);
		foreach my $at (0 .. $#parameters)
		{
			my $parameter = $parameters[$at];
			if ($parameter->{default} && rand() < 0.4)
			{
				last unless $by_name;
				$gap = 1;
				next;
			}
			my ($text, $json) = $at != $odd ? @{ $good{ $parameter->{type} } } : @{ pick(@{ $values{ $parameter->{type} } }) };
			my $value = literal($parameter->{type}, $text);
			if ($parameter->{type} !~ /json/ && rand() < 0.1)
			{
				($value, $json) = ("NULL::$parameter->{type}", 'null');
			}
			push @json, ($by_name ? key($parameter->{name}) . ':' : '') . $json;
			push @literals, ($parameter->{variadic} ? 'VARIADIC ' : '') . ($with_names || $gap ? identifier($parameter->{name}) . ' => ' : '') . $value;
		}
		my $document = $by_name ? '{' . join(',', sort { rand() <=> 0.5 } @json) . '}' : '[' . join(',', @json) . ']';
		my $query = "public.f$f(" . join(', ', @literals) . ')';
		$query = $set ? "SELECT coalesce(jsonb_agg(to_jsonb(v)), '[]') FROM (SELECT $query AS v) s" : "SELECT to_jsonb($query)";
		$number++;
		$shown{$number} = "$list $returns: $document <> $query";
		$sql .= "CALL expect($number, \$query\$$query\$query\$);\nCALL try($number, 'public.f$f', \$query\$$document\$query\$);\n";
	}
}
# Types that only a call can tell are refused, whatever the values.
my @refused = ('poly(x anyelement)', 'polys(a anyelement, b anyarray)', 'polyv(VARIADIC x anyarray)');
$sql .= "CREATE FUNCTION $_ RETURNS int LANGUAGE sql AS 'SELECT 1';\n" foreach @refused;
utf8::encode($sql);
my ($code, $output, $errors) = $node->psql('postgres', $sql, on_error_stop => 1, timeout => 250);
is($code, 0, "the server took $functions functions and $number calls (seed $seed)") or diag(substr($errors, 0, 3000));
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.task'), 'all that were taken end');

sub show
{
	my ($rows) = @_;
	return join("\n", map { my ($n, $rest) = split /\|/, $_, 2; my $text = $shown{$n}; utf8::encode($text); "$text: $rest" } split /\n/, $rows);
}
is(show($node->safe_psql('postgres', q{
SELECT number, e.sqlstate, t.sqlstate, t.message FROM expected e JOIN tried t USING (number)
WHERE e.sqlstate <> t.sqlstate
	-- Whether a function can be called so is asked of the literals first by the one, of the call by the other.
	AND NOT (e.sqlstate <> '00000' AND t.sqlstate = '42883') ORDER BY 1 LIMIT 5})),
	'', 'the same calls are taken and refused, with the same SQLSTATE');
is(show($node->safe_psql('postgres', q{
SELECT number, d.error->>'message' FROM tried t JOIN dbos.tasks d ON d.id = t.task WHERE d.state <> 'succeeded' ORDER BY 1 LIMIT 5})),
	'', 'what was taken succeeds');
is(show($node->safe_psql('postgres', q{
SELECT number, e.result, d.result FROM expected e JOIN tried t USING (number) JOIN dbos.tasks d ON d.id = t.task
WHERE e.sqlstate = '00000' AND d.result IS DISTINCT FROM e.result ORDER BY 1 LIMIT 5})),
	'', 'the results are the same');
my ($taken, $denied) = split /\|/, $node->safe_psql('postgres', q{
SELECT count(*) FILTER (WHERE sqlstate = '00000'), count(*) FILTER (WHERE sqlstate <> '00000') FROM expected});
note("$taken calls taken, $denied refused: " . $node->safe_psql('postgres',
	q{SELECT string_agg(sqlstate || ' ' || count, ', ') FROM (SELECT sqlstate, count(*) FROM tried WHERE sqlstate <> '00000' GROUP BY 1 ORDER BY 1) s}));
cmp_ok($taken, '>', $number / 4, 'many were taken');
cmp_ok($denied, '>', $number / 50, 'some were refused');
foreach my $signature (@refused)
{
	my ($name) = $signature =~ /^(\w+)/;
	my ($failed, $answer, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT dbos.submit('public.$name', '[[1], [1]]')");
	like($error, qr/ERROR:  (?!XX)[0-9A-Z]{5}:/, "$signature is refused");
}
$node->stop;
done_testing();
