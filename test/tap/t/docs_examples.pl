# Every SQL example of README.md and docs/ works when it is pasted.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = $ENV{DBOS_SOURCE} // '.';
my $node = PostgreSQL::Test::Cluster->new('docs');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'");
$node->start;

my @pages = ("$source/README.md", sort glob("$source/docs/*.md"));
my $examples = 0;
my $page_number = 0;
foreach my $page (@pages)
{
	open(my $file, '<', $page) or die "could not open $page: $!";
	my $text = do { local $/; <$file> };
	close($file);
	my @blocks = $text =~ /^```sql\n(.*?)^```/msg;
	next unless @blocks;

	# A page is read from its top: its examples are one session.
	my $database = 'docs' . $page_number++;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'SET client_min_messages = warning; CREATE EXTENSION dbos');
	my ($code, $output, $errors) =
	  $node->psql($database, join("\n", @blocks), on_error_stop => 1, timeout => 120);
	(my $name = $page) =~ s/.*\///;
	is($code, 0, "$name: " . scalar(@blocks) . ' examples work') or diag($errors);
	$examples += @blocks;
}
cmp_ok($examples, '>', 5, 'examples were found');
$node->stop;
done_testing();
