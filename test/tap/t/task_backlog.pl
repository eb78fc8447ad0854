# Millions of waiting tasks need no more memory than one, run in their order, and let an urgent one pass.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $count = $ENV{DBOS_TORTURE} ? 5_000_000 : 500_000;
my $batch = 100_000;
my $run = 20_000;
# All else as shipped: 128 MB of shared buffers, a run queue of 65536 entries.
my $node = PostgreSQL::Test::Cluster->new('backlog');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\nmax_wal_size = 4GB\nshared_buffers = 128MB\ndbos.max_workers = 1");
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE ran (n bigint GENERATED ALWAYS AS IDENTITY, task bigint);
CREATE FUNCTION enter() RETURNS void LANGUAGE sql AS 'INSERT INTO public.ran (task) VALUES (dbos.current_task())';
SELECT dbos.create_queue('backlog');
SELECT dbos.pause_queue('backlog');
});
my $memory = 'SELECT sum(allocated_size) FROM pg_shmem_allocations';
my $before = $node->safe_psql('postgres', $memory);
$node->safe_psql('postgres', "SELECT count(*) FROM dbos.submit_many('enter', array_fill('{}'::jsonb, ARRAY[$batch]), queue => 'backlog')")
  foreach 1 .. $count / $batch;
is($node->safe_psql('postgres', 'SELECT count(*) FROM dbos.task'), $count, "$count tasks wait");
is($node->safe_psql('postgres', $memory), $before, 'in the shared memory that the server began with');
$node->safe_psql('postgres', 'VACUUM ANALYZE dbos.task');

# Other queues are not held up by it.
is($node->safe_psql('postgres', q{CALL dbos.run('pg_catalog.upper', '["past it"]')}), '"PAST IT"', 'another queue works at once');
# One that is urgent is the first to run, though it came last.
my $urgent = $node->safe_psql('postgres', q{SELECT dbos.submit('enter', queue => 'backlog', priority => -1)});
$node->safe_psql('postgres', q{SELECT dbos.resume_queue('backlog')});
ok($node->poll_query_until('postgres', "SELECT count(*) >= $run FROM ran"), "$run of them run");
$node->safe_psql('postgres', q{SELECT dbos.pause_queue('backlog')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.tasks WHERE state = 'running'}), 'and no more when the queue is paused');
is($node->safe_psql('postgres', 'SELECT task FROM ran ORDER BY n LIMIT 1'), $urgent, 'the urgent one first');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT task, lag(task) OVER (ORDER BY n) AS before FROM ran WHERE n > 1) r WHERE task < before'),
	'0', 'all others in the order of their submission');
is($node->safe_psql('postgres', 'SELECT (SELECT count(*) FROM dbos.task) + (SELECT count(*) FROM ran)'), $count + 1, 'none is lost');

# A crash forgets the run queue; the order goes on where it was.
my $last = $node->safe_psql('postgres', 'SELECT max(task) FROM ran WHERE n > 1');
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', q{SELECT dbos.resume_queue('backlog')});
ok($node->poll_query_until('postgres', "SELECT count(*) >= 2 * $run FROM ran"), 'after a crash they go on');
is($node->safe_psql('postgres', "SELECT min(task) FROM ran WHERE task > $last"),
	$node->safe_psql('postgres', "SELECT min(id) FROM dbos.tasks WHERE id > $last AND queue = 'backlog'"), 'with the next one');
is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT task) FROM ran'), '0', 'and none runs twice');
$node->stop;
done_testing();
