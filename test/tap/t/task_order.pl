# Of a queue that runs one task at a time, the order is that of the submits, whoever looks at its tasks meanwhile.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('order');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\ndbos.max_workers = 1");
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE began (at serial, name text, task bigint);
CREATE FUNCTION begin_as(name text, waits boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.began (name, task) VALUES (name, dbos.current_task());
	IF waits THEN
		PERFORM pg_advisory_xact_lock(7);
	END IF;
END
$$;
SELECT dbos.create_queue('serial', concurrency => 1);
});

# Several workers that want the one place of the queue.
$node->append_conf('postgresql.conf', 'dbos.max_workers = 4');
$node->reload;
$node->safe_psql('postgres', q{SELECT count(*) FROM dbos.submit_many('begin_as', array_fill('["serial", false]'::jsonb, ARRAY[500]), queue => 'serial')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.task}), 'the tasks of a queue with one place end');
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT at, task, lead(task) OVER (ORDER BY at) AS next FROM began) b WHERE next < task}), '0',
	'in the order of their submits, whichever worker they had');

# A worker by itself, without shared memory, while the scheduler looks whether more are to be started.
SKIP:
{
	skip 'with shared memory nobody looks', 2 if $node->safe_psql('postgres', 'SHOW dbos.shared_memory') eq 'on';
	skip 'the library has no stop points: it was not built with -DDBOS_TESTING', 2
	  if $node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'dbos.clock_offset'}) ne '1';
	# It stays only where there is another place; nobody is started for that one while the scheduler is held.
	$node->append_conf('postgresql.conf', 'dbos.max_workers = 2');
	$node->restart;
	$node->safe_psql('postgres', 'TRUNCATE began');
	my $gate = $node->background_psql('postgres');
	$gate->query_safe('SELECT pg_advisory_lock(7)');
	$node->safe_psql('postgres', q{SELECT dbos.submit('begin_as', '["first", true]')});
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted}) or die 'it does not run';
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'dbos executor'}) or die 'others do not leave';
	my $point = $node->background_psql('postgres');
	$point->query_safe(q{SELECT pg_advisory_lock(hashtext('dbos stop point'), hashtext('login looked at'))});
	$node->safe_psql('postgres', q{SELECT dbos.submit('begin_as', '["second", false]'), dbos.submit('begin_as', '["third", false]')});
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND NOT granted}),
		'the scheduler has found the second');
	$gate->quit;
	$node->poll_query_until('postgres', q{SELECT count(*) >= 2 FROM began}) or die 'none of them runs';
	$point->quit;
	$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.task}) or die 'they do not end';
	is($node->safe_psql('postgres', q{SELECT string_agg(name, ', ' ORDER BY at) FROM began}), 'first, second, third', 'which the worker takes before the third');
}
$node->stop;
done_testing();
