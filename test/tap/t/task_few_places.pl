# More databases than there are places for their processes: each comes to its turn after every start of the server, whoever has to make place for whom.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $starts = $ENV{DBOS_TORTURE} ? 50 : 5;
my @databases = map { "d$_" } 1 .. 7;

my $node = PostgreSQL::Test::Cluster->new('few');
$node->init;
# Of these one is the launcher of this extension and one that of logical replication.
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'dbos'
fsync = off
max_worker_processes = 4
});
$node->start;
foreach my $database (@databases)
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'SET client_min_messages = warning; CREATE EXTENSION dbos; CREATE TABLE done (start int)');
}
my %missing;
foreach my $start (1 .. $starts)
{
	# Nobody but the clock says afterwards that there is something to do.
	$node->safe_psql($_, "SELECT dbos.submit_sql('INSERT INTO done VALUES ($start)', delay => '1.5 seconds')") foreach @databases;
	$node->stop('immediate');
	$node->start;
	foreach my $database (@databases)
	{
		$missing{"$database, start $start"} = 1
		  if !$node->poll_query_until($database, "SELECT count(*) = 1 FROM done WHERE start = $start");
		last if %missing;
	}
	last if %missing;
}
is(join('; ', sort keys %missing), '', "the tasks of all databases were run after each of $starts starts");

# Without shared memory the tables are looked at every now and then.
if ($node->safe_psql('postgres', 'SHOW dbos.shared_memory') eq 'on')
{
	# Where nothing is to be done no process comes again and again to see that. Once a minute one looks for what is to be alerted.
	my $processes = q{SELECT datname || ' ' || backend_start FROM pg_stat_activity WHERE backend_type = 'dbos scheduler'};
	ok($node->poll_query_until('postgres', "SELECT NOT EXISTS ($processes)"), 'then all processes go');
	my %seen;
	foreach (1 .. 24)
	{
		$seen{$_} = 1 foreach split /\n/, $node->safe_psql('postgres', $processes);
		usleep(500_000);
	}
	my %comes;
	$comes{(split / /)[0]}++ foreach keys %seen;
	is(join(', ', grep { $comes{$_} > 1 } sort keys %comes), '', 'and come no more than once in some seconds');
}
$node->stop;
done_testing();
