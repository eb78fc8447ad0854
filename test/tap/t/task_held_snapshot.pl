# A snapshot held open keeps every finished task's row dead in the table; a task costs no more for that.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $batch = 1000;
my $batches = $ENV{DBOS_TORTURE} ? 100 : 20;

my $node = PostgreSQL::Test::Cluster->new('snapshot');
$node->init;
# The worst case: vacuum could remove nothing, and does not even try.
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'dbos'
fsync = on
autovacuum = off
dbos.task_queue_entries = 256
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE ledger (task bigint NOT NULL);
CREATE FUNCTION enter() RETURNS void LANGUAGE sql AS 'INSERT INTO public.ledger VALUES (dbos.current_task())';
});
# Without shared memory every choice is made by the policy's query, which goes past the dead rows.
my $shared = $node->safe_psql('postgres', 'SHOW dbos.shared_memory') eq 'on';
$batches = 3 unless $shared;

# One holds a snapshot, the other a transaction that has written.
my @holders;
foreach my $sql ('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ledger;', 'BEGIN; SELECT pg_current_xact_id();')
{
	my ($in, $out) = ("$sql\n", '');
	push @holders, IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr('postgres') . ' application_name=holder' ],
		'<', \$in, '>', \$out, IPC::Run::timeout(1000));
	# Its input stays open, and so does its transaction.
	$holders[-1]->pump until $out =~ /\d/;
}

my $done = 0;

# Runs a batch; tasks a second.
sub run_batch
{
	my $begun = time();
	$node->safe_psql('postgres', "SELECT count(*) FROM dbos.submit_many('public.enter', array_fill('{}'::jsonb, ARRAY[$batch]))");
	$done += $batch;
	$node->poll_query_until('postgres', "SELECT count(*) = $done FROM ledger") or die 'tasks do not end';
	return $batch / (time() - $begun);
}

# Buffers of the task table and its indexes that anybody has touched so far.
sub buffers
{
	# What a process counted is seen at the latest when it has left.
	$node->safe_psql('postgres', q{SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE backend_type LIKE 'dbos executor'});
	$node->poll_query_until('postgres', "SELECT coalesce(n_tup_del, 0) = $done FROM pg_stat_all_tables WHERE relid = 'dbos.task'::regclass")
	  or die 'the counters do not come';
	return $node->safe_psql('postgres', q{
SELECT heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read FROM pg_statio_all_tables WHERE relid = 'dbos.task'::regclass});
}

# A batch that is counted.
sub count_batch
{
	my $before = buffers();
	my $rate = run_batch();
	return ($rate, (buffers() - $before) / $batch);
}

run_batch();
my ($first_rate, $first) = count_batch();
my @rates = map { run_batch() } 4 .. $batches;
my ($last_rate, $last) = count_batch();
note(sprintf('rate of the second thousand %.0f/s, of the last of %d %.0f/s', $first_rate, $done, $last_rate));
note('of each: ' . join(' ', map { sprintf('%.0f', $_) } @rates)) if @rates <= 20;
note(sprintf('buffers of dbos.task a task: %.1f, at the end %.1f', $first, $last));

is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holder' AND state = 'idle in transaction'}),
	'2', 'both transactions were open all the time');
cmp_ok($node->safe_psql('postgres', q{SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = 'dbos.task'::regclass}), '>=', $done * 0.9,
	'the dead rows are there');
cmp_ok($first, '>', 1, 'buffers were counted');
SKIP:
{
	skip 'there is no shared memory', 1 unless $shared;
	cmp_ok($last, '<=', 3 * $first, 'a task touches no more of them for the dead rows');
}
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.tasks WHERE state = 'succeeded'}), '==', $done, 'every task has succeeded');
foreach my $holder (@holders) { $holder->kill_kill; }
$node->stop;
done_testing();
