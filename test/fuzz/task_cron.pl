# Random texts as times of a schedule: refused, or firing at exactly the times that an independent reading of the text says.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX qw(mktime);
use Test::More;

my $texts = $ENV{DBOS_TORTURE} ? 20_000 : 2_000;
my $seed = $ENV{DBOS_SEED} || time;
note("seed $seed, for DBOS_SEED");
srand($seed);
$ENV{TZ} = 'UTC';
POSIX::tzset();

my @limits = ([ 0, 59 ], [ 0, 59 ], [ 0, 23 ], [ 1, 31 ], [ 1, 12 ], [ 0, 7 ]);
my @months = qw(jan feb mar apr may jun jul aug sep oct nov dec);
my @days = qw(sun mon tue wed thu fri sat);

# ---- making texts ----

sub value
{
	my ($field) = @_;
	my ($low, $high) = @{ $limits[$field] };
	return $high + 1 + int(rand(3)) if rand() < 0.01;
	my $value = $low + int(rand($high - $low + 1));
	return $months[ $value - 1 ] if $field == 4 && rand() < 0.3;
	return (rand() < 0.5 ? $days[ $value % 7 ] : uc $days[ $value % 7 ]) if $field == 5 && rand() < 0.3;
	return $value;
}

sub item
{
	my ($field) = @_;
	my $choice = rand();
	my $step = rand() < 0.02 ? 0 : 1 + int(rand(20));
	return '*' if $choice < 0.1;
	return "*/$step" if $choice < 0.25;
	return value($field) . '-' . value($field) . (rand() < 0.3 ? "/$step" : '') if $choice < 0.45;
	return value($field) . "/$step" if $choice < 0.5;
	return rand() < 0.5 ? 'L' : '$' if $field == 3 && $choice < 0.6;
	return ('x', '', '-', '1-', '*-3', '1,,2', '*/', '99')[ rand 8 ] if $choice > 0.995;
	return value($field);
}

sub field
{
	my ($field) = @_;
	return '*' if rand() < 0.4;
	return join(',', map { item($field) } 1 .. 1 + int(rand() < 0.3 ? rand(4) : 0));
}

# ---- reading them ----

sub number
{
	my ($field, $text) = @_;
	if ($field == 4)
	{
		for my $i (0 .. 11) { return $i + 1 if lc $text eq $months[$i]; }
	}
	if ($field == 5)
	{
		for my $i (0 .. 6) { return $i if lc $text eq $days[$i]; }
	}
	return undef unless $text =~ /^\d{1,9}$/;
	my ($low, $high) = @{ $limits[$field] };
	return $text >= $low && $text <= $high ? $text + 0 : undef;
}

# A set of values, with 'L' for the last day; undef: refused.
sub read_field
{
	my ($field, $text) = @_;
	my %set;
	my ($low, $high) = @{ $limits[$field] };
	return undef if $text eq '';
	foreach my $item (split /,/, $text, -1)
	{
		if ($field == 3 && $item =~ /^[lL\$]$/) { $set{L} = 1; next; }
		return undef unless $item =~ m{^(\*|([a-zA-Z0-9]+)(?:-([a-zA-Z0-9]+))?)(?:/(\d{1,9}))?$};
		my ($star, $from, $to, $step) = ($1 eq '*', $2, $3, $4);
		my $stepped = defined $step;
		$step = 1 unless $stepped;
		return undef if $step < 1 || $step > $high;
		if ($star) { ($from, $to) = ($low, $field == 5 ? 6 : $high); }
		else
		{
			$from = number($field, $from);
			return undef unless defined $from;
			if (defined $to)
			{
				$to = number($field, $to);
				return undef unless defined $to;
			}
			else { $to = $stepped ? $high : $from; }
			return undef if $to < $from;
		}
		for (my $v = $from; $v <= $to; $v += $step) { $set{ $field == 5 ? $v % 7 : $v } = 1; }
	}
	return \%set;
}

sub read_text
{
	my ($text) = @_;
	my @fields = split ' ', $text;
	unshift @fields, '0' if @fields == 5;
	return undef unless @fields == 6;
	my @sets = map { read_field($_, $fields[$_]) } 0 .. 5;
	return undef if grep { !defined } @sets;
	return { sets => \@sets, any_day => ($fields[3] =~ /^\*/ ? 1 : 0), any_weekday => ($fields[5] =~ /^\*/ ? 1 : 0) };
}

sub fires
{
	my ($cron, $time) = @_;
	my ($s, $m, $h, $day, $month, $year, $weekday) = gmtime($time);
	my @sets = @{ $cron->{sets} };
	return 0 unless $sets[0]{$s} && $sets[1]{$m} && $sets[2]{$h} && $sets[4]{ $month + 1 };
	my $last = (gmtime($time + 86400))[3] == 1;
	my $by_day = $sets[3]{$day} || ($last && $sets[3]{L});
	my $by_weekday = $sets[5]{$weekday};
	return ($by_day && $by_weekday) if $cron->{any_day} || $cron->{any_weekday};
	return ($by_day || $by_weekday);
}

# ---- the comparison ----

my $node = PostgreSQL::Test::Cluster->new('fuzz');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\nlog_min_messages = fatal\ntimezone = 'UTC'");
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE candidate (n int, text text, taken boolean, times bigint[]);
});
my @text = map { join(' ', map { field($_) } (rand() < 0.4 ? 0 : 1) .. 5) } 1 .. $texts;
my $sql = '';
for my $n (0 .. $#text)
{
	(my $quoted = $text[$n]) =~ s/'/''/g;
	$sql .= "INSERT INTO candidate VALUES ($n, '$quoted');\n";
}
$node->safe_psql('postgres', "BEGIN;\n${sql}COMMIT;");
$node->safe_psql('postgres', q{
DO $$
DECLARE
	c record;
BEGIN
	FOR c IN SELECT * FROM candidate LOOP
		BEGIN
			UPDATE candidate SET taken = true, times = (SELECT array_agg(extract(epoch FROM t)::bigint ORDER BY t)
				FROM dbos.schedule_preview(c.text, 'UTC', '2027-02-26 12:34:56+00', 5) t) WHERE n = c.n;
		EXCEPTION WHEN invalid_parameter_value OR invalid_text_representation OR datetime_field_overflow THEN
			UPDATE candidate SET taken = false WHERE n = c.n;
		END;
	END LOOP;
END
$$;
});
my $start = 1803645296;    # 2027-02-26 12:34:56
my ($taken, @wrong) = (0);
foreach my $line (split /\n/, $node->safe_psql('postgres', q{SELECT n, COALESCE(taken, false), array_to_string(times, ',') FROM candidate ORDER BY n}))
{
	my ($n, $was_taken, $times) = split /\|/, $line;
	my $cron = read_text($text[$n]);
	my @times = split /,/, $times // '';
	# What names only days that no month of it has is refused, which the oracle does not know.
	if ($was_taken eq 'f')
	{
		next unless defined $cron;
		my $ever = 0;
		for (my $day = 0; $day < 366 * 8 + 2 && !$ever; $day++)
		{
			my ($s) = sort { $a <=> $b } keys %{ $cron->{sets}[0] };
			my ($m) = sort { $a <=> $b } keys %{ $cron->{sets}[1] };
			my ($h) = sort { $a <=> $b } keys %{ $cron->{sets}[2] };
			$ever = 1 if fires($cron, 1798761600 + $day * 86400 + $h * 3600 + $m * 60 + $s);
		}
		push @wrong, "refused: $text[$n]" if $ever;
		next;
	}
	$taken++;
	if (!defined $cron) { push @wrong, "taken: $text[$n]"; next; }
	my %at = map { $_ => 1 } @times;
	push @wrong, "fires at a wrong time: $text[$n]" if grep { !fires($cron, $_) } @times;
	# Times that it should not have left out: near those that it named, and anywhere between.
	my $end = @times ? $times[-1] : $start;
	my @probes = map { $start + 1 + int(rand($end - $start)) } 1 .. 100;
	foreach my $time (@times) { push @probes, map { $time + $_ } (-86400, -3600, -60, -1); }
	foreach my $probe (@probes)
	{
		next if $probe <= $start || $probe > $end || $at{$probe} || !fires($cron, $probe);
		push @wrong, "leaves out $probe: $text[$n]";
		last;
	}
}
is(scalar(@wrong), 0, "$texts texts are read as they should be") or diag(join("\n", @wrong[ 0 .. ($#wrong < 9 ? $#wrong : 9) ]));
cmp_ok($taken, '>', $texts / 4, 'many were taken');
$node->stop;
done_testing();
