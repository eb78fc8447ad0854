# Random texts as policies: each is refused, or is what an independent reading of it says; and no queue stands still.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $texts = $ENV{DBOS_TORTURE} ? 100_000 : 10_000;
my $seed = $ENV{DBOS_SEED} || time;
note("seed $seed, for DBOS_SEED");
srand($seed);

my @keys = qw(priority submitted_at run_at deadline expected_runtime attempt);
my @pieces = (@keys, 'partition_share', qw(asc desc ageing library id , , , , 0 1 60 2.5 1e9 -1 nan .5 5. 1000000001 .), 'PRIORITY', "\t", "\n", ';', "'", '(', "\x{e4}", '');

sub random_text
{
	return join(rand() < 0.9 ? ' ' : '', map { $pieces[rand @pieces] } 1 .. 1 + rand 8);
}

# What the documentation says a policy is.
sub is_policy
{
	my ($text) = @_;
	my %seen;
	return 0 if $text eq '';
	my $item = qr/^[ \t\n]*(\w+)((?:[ \t\n]+(?:asc|desc|ageing[ \t\n]+[0-9.]+))*)[ \t\n]*$/i;
	foreach my $part (split /,/, $text, -1)
	{
		return 0 unless $part =~ $item;
		my ($key, $rest) = (lc $1, $2);
		return 0 if $seen{$key}++;
		return 0 if $key eq 'partition_share' ? $rest ne '' : !grep { $_ eq $key } @keys;
		while ($rest =~ /ageing[ \t\n]+([0-9.]+)/ig)
		{
			my $number = $1;
			return 0 unless $number =~ /^(\d+\.?\d*|\.\d+)$/ && $number > 0 && $number <= 1e9;
		}
	}
	delete $seen{partition_share};
	return keys %seen <= 2;
}

my $node = PostgreSQL::Test::Cluster->new('fuzz');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\nlog_min_messages = fatal");
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE candidate (n int, text text, expected boolean, taken boolean);
CREATE FUNCTION noop(n int) RETURNS int LANGUAGE sql AS $$ SELECT n $$;
SELECT dbos.create_policy('fuzzed', 'priority'), dbos.create_queue('fuzzed', policy => 'fuzzed');
});
my @rows;
for my $n (1 .. $texts)
{
	my $text = random_text();
	my $expected = is_policy($text) ? 't' : 'f';
	utf8::encode($text);
	(my $quoted = $text) =~ s/'/''/g;
	push @rows, "($n, '$quoted', '$expected')";
}
my $sql = '';
while (my @some = splice(@rows, 0, 1000))
{
	$sql .= 'INSERT INTO candidate (n, text, expected) VALUES ' . join(', ', @some) . ";\n";
}
$node->safe_psql('postgres', $sql);
$node->safe_psql('postgres', q{
DO $$
DECLARE
	c record;
BEGIN
	FOR c IN SELECT * FROM candidate LOOP
		BEGIN
			PERFORM dbos.alter_policy('fuzzed', c.text);
			UPDATE candidate SET taken = true WHERE n = c.n;
		EXCEPTION WHEN invalid_parameter_value THEN
			UPDATE candidate SET taken = false WHERE n = c.n;
		END;
	END LOOP;
END
$$;
});
is($node->safe_psql('postgres', q{SELECT count(*) FROM candidate WHERE taken IS DISTINCT FROM expected}), '0', "$texts texts are taken or refused as they should be")
  or diag($node->safe_psql('postgres', q{SELECT text, taken, expected FROM candidate WHERE taken IS DISTINCT FROM expected LIMIT 10}));
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM candidate WHERE taken}), '>', $texts / 100, 'some were taken');

# With extreme values, under one policy after the other, every task runs.
my $taken = $node->safe_psql('postgres', q{SELECT string_agg(quote_literal(text), E'\x01') FROM (SELECT DISTINCT text FROM candidate WHERE taken ORDER BY 1 LIMIT 40) t});
foreach my $text (split /\x01/, $taken)
{
	$node->safe_psql('postgres', qq{
SELECT dbos.alter_policy('fuzzed', $text);
SELECT count(dbos.submit('noop', '[1]', queue => 'fuzzed', priority => p, deadline => d, partition_key => k))
FROM unnest(ARRAY[-2147483648, 0, 2147483647]) p, unnest(ARRAY[NULL, now() + interval '10 minutes', '290000-01-01'::timestamptz]) d,
	unnest(ARRAY[NULL, 'a', 'b']) k;
});
}
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.task'), 'every task runs, whatever the policy');
is($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.tasks WHERE state <> 'succeeded'}), '0', 'and none fails');
$node->stop;
done_testing();
