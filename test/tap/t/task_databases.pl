# Each database works on whatever becomes of another, and a full worker table is told and outlasted.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = PostgreSQL::Test::Cluster->new('databases');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'dbos'
max_worker_processes = 8
});
$node->start;
foreach my $database ('one', 'two', 'three')
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE ledger (task bigint NOT NULL);
CREATE FUNCTION enter() RETURNS bigint LANGUAGE sql AS
	'INSERT INTO public.ledger VALUES (dbos.current_task()) RETURNING task';
CREATE FUNCTION slow() RETURNS void LANGUAGE plpgsql AS
	$$BEGIN PERFORM public.enter(); PERFORM pg_sleep(2); END$$;
});
}

sub submit_many
{
	my ($database, $count) = @_;
	return $node->safe_psql($database,
		"SELECT count(*) FROM dbos.submit_many('enter', array_fill('{}'::jsonb, ARRAY[$count]))");
}

sub all_ran
{
	my ($database, $count, $what) = @_;
	ok($node->poll_query_until($database, 'SELECT count(*) = 0 FROM dbos.task'), "$what: all tasks of $database end")
	  or diag($node->safe_psql($database, 'SELECT state, wait_reason, count(*) FROM dbos.tasks GROUP BY 1, 2'));
	is($node->safe_psql($database, 'SELECT count(*), count(DISTINCT task) FROM ledger'), "$count|$count", "$what: each ran once");
}

# A third one is busy when it is renamed, copied from and dropped; its task ends first.
foreach my $change ('ALTER DATABASE three RENAME TO third', 'CREATE DATABASE fourth TEMPLATE third', 'DROP DATABASE third')
{
	my $name = $change =~ /three/ ? 'three' : 'third';
	my $slow = $node->safe_psql($name, q{SELECT dbos.submit('slow')});
	ok($node->poll_query_until($name, "SELECT state = 'running' FROM dbos.tasks WHERE id = $slow"),
		"$name works before $change");
	submit_many($_, 500) foreach 'one', 'two';
	my ($code, $output, $errors) = $node->psql('postgres', $change, timeout => 60);
	is($code, 0, "$change finds no worker in its way") or diag($errors);
}
all_ran($_, 1500, 'beside a third') foreach 'one', 'two';
# One that is dropped by force does not wait for its task.
$node->safe_psql('postgres', 'CREATE DATABASE forced');
$node->safe_psql('forced', q{SET client_min_messages = warning; CREATE EXTENSION dbos});
my $endless = $node->safe_psql('forced', q{SELECT dbos.submit('pg_catalog.pg_sleep', '[3600]')});
ok($node->poll_query_until('forced', "SELECT state = 'running' FROM dbos.tasks WHERE id = $endless"), 'an endless task runs');
my ($forced, undef, $refusal) = $node->psql('postgres', 'DROP DATABASE forced WITH (FORCE)', timeout => 60);
is($forced, 0, 'DROP DATABASE ... WITH (FORCE) ends it') or diag($refusal);
is($node->safe_psql('one', q{SELECT count(*) FROM dbos.workers WHERE database IS NULL AND kind <> 'launcher'}),
	'0', 'no worker of a dropped database is left');
is($node->safe_psql('fourth', q{SELECT ok FROM dbos.health() WHERE component = 'identity'}), 'f', 'the copy of a busy database is paused');
is($node->safe_psql('fourth', q{SELECT count(*), count(*) FILTER (WHERE t.state = 'succeeded') FROM ledger l LEFT JOIN dbos.tasks t ON t.id = l.task}),
	'2|2', 'and holds the effects of tasks that had ended');

# Others take every slot: the launcher of dbos and that of logical replication leave six.
$node->safe_psql('postgres', q{
CREATE TABLE wide AS SELECT n FROM generate_series(1, 10000) n;
ALTER TABLE wide SET (parallel_workers = 6);
ANALYZE wide;
});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('dbos executor', 'dbos scheduler')}),
	'databases with nothing to do hold no worker');
my ($in, $out) = ('', '');
my $others;
my $cancel = q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%never%' AND backend_type = 'client backend' AND pid <> pg_backend_pid()};
my $parallel = 0;
# Without shared memory some worker is looking after its database at any time, and has the last slot.
my $wanted = $node->safe_psql('postgres', 'SHOW dbos.shared_memory') eq 'off' ? 5 : 6;
# A worker that is about to leave at that moment keeps the statement from having all six: it is begun anew.
for my $try (1 .. 100)
{
	$others = IPC::Run::start(
		[ 'psql', '-X', '-q', '-h', $node->host, '-p', $node->port, '-d', 'postgres',
			'-c', q{SET max_parallel_workers_per_gather = 6; SET max_parallel_workers = 8; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0},
			'-c', q{SELECT count(*) FROM wide WHERE pg_sleep(0.5)::text = 'never'} ],
		'<', \$in, '>', \$out, '2>', \$out);
	for my $look (1 .. 20)
	{
		$parallel = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'});
		last if $parallel >= $wanted;
		usleep(50_000);
	}
	last if $parallel >= $wanted;
	$node->safe_psql('postgres', $cancel);
	$others->finish;
}
cmp_ok($parallel, '>=', $wanted, 'others have all slots');
submit_many('one', 100);
ok($node->poll_query_until('one', q{SELECT NOT ok AND hint LIKE '%max_worker_processes%' FROM dbos.health() WHERE component = 'task worker slots'}),
	'health says that there is no slot, and what to do');
is($node->safe_psql('one', 'SELECT count(*) FROM dbos.task'), '100', 'the tasks wait');
$node->safe_psql('postgres', $cancel);
$others->finish;
all_ran('one', 1600, 'once slots are free');
is($node->safe_psql('one', q{SELECT ok FROM dbos.health() WHERE component = 'task worker slots'}), 't', 'health is well again');
$node->stop;
done_testing();
