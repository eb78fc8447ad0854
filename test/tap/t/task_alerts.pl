# What is wrong is named by health, told as an alert once, and cleared when it is over.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('alerts');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'dbos'
dbos.alert_after = '1s'
max_worker_processes = 16
max_prepared_transactions = 2
autovacuum = off
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE FUNCTION fail(n int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no %', n; END $$;
CREATE FUNCTION noop(n int) RETURNS int LANGUAGE sql AS 'SELECT n';
CREATE ROLE watcher LOGIN IN ROLE dbos_monitor;
CREATE ROLE somebody LOGIN IN ROLE dbos_user;
});

# A session that stays, to be ended by finish().
sub session
{
	my ($out, @commands) = @_;
	return IPC::Run::start([ 'psql', '-X', '-q', '-h', $node->host, '-p', $node->port, '-d', 'postgres', map { ('-c', $_) } @commands ],
		'<', \'', '>', $out, '2>', $out);
}

# Health and an alert say so, and the alert is one.
sub begins
{
	my ($component, $subject, $detail) = @_;
	ok($node->poll_query_until('postgres', qq{SELECT EXISTS (SELECT FROM dbos.alerts WHERE component = '$component' AND subject ~ '$subject' AND cleared_at IS NULL)}), "$component: an alert")
	  or diag($node->safe_psql('postgres', 'SELECT * FROM dbos.trouble'));
	like($node->safe_psql('postgres', qq{SELECT ok, detail FROM dbos.health() WHERE component = '$component'}), qr/^f\|.*$detail/s, "$component: health says so");
}

sub ends
{
	my ($component, $subject) = @_;
	ok($node->poll_query_until('postgres', qq{SELECT NOT EXISTS (SELECT FROM dbos.alerts WHERE component = '$component' AND subject ~ '$subject' AND cleared_at IS NULL)}), "$component: cleared");
	is($node->safe_psql('postgres', qq{SELECT count(*) FROM dbos.alerts WHERE component = '$component' AND subject ~ '$subject'}), '1', "$component: it was told once");
}
is($node->safe_psql('postgres', q{SELECT string_agg(component, ', ') FROM dbos.health() WHERE NOT ok AND component <> 'shared memory'}), '', 'all is well');

# ---- a queue that stands still; who listens hears of it ----

my $heard = '';
# It stays until it is told to go; what it hears comes to its client then.
$node->safe_psql('postgres', 'CREATE TABLE told ()');
my @listen = ('LISTEN dbos_alerts', 'DO $$BEGIN WHILE NOT EXISTS (SELECT FROM told) LOOP PERFORM pg_sleep(0.05); END LOOP; END$$', 'SELECT 1');
my $listener = session(\$heard, @listen);
$node->safe_psql('postgres', q{SELECT dbos.create_queue('zero', concurrency => 0); SELECT dbos.submit('noop', '[1]', queue => 'zero');
SELECT dbos.create_queue('off'); SELECT dbos.pause_queue('off'); SELECT dbos.submit('noop', '[1]', queue => 'off')});
begins('task queues', '^zero$', 'Tasks of queue "zero" are ready since');
like($node->safe_psql('postgres', q{SELECT hint FROM dbos.health() WHERE component = 'task queues'}), qr/limit of the queue is 0/, 'and why');
is($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.alerts WHERE subject = 'off'}), '0', 'one that is paused is meant to stand');
is($node->safe_psql('postgres', q{SELECT ok, detail, hint FROM dbos.health() WHERE component = 'task queues'}, connstr => $node->connstr('postgres') . ' user=somebody'),
	'f||A member of dbos_monitor sees what it is.', 'what it is, not everybody is told');
like($node->safe_psql('postgres', q{SELECT detail FROM dbos.alerts}, connstr => $node->connstr('postgres') . ' user=watcher'), qr/zero/, 'a monitor is');
# Over a crash it is the same one.
$node->stop('immediate');
$listener->finish;
$node->start;
$listener = session(\$heard, @listen);
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%FROM told%' AND pid <> pg_backend_pid()});
$node->safe_psql('postgres', q{SELECT dbos.alter_queue('zero', concurrency => 1)});
ends('task queues', '^zero$');
$node->safe_psql('postgres', 'INSERT INTO told DEFAULT VALUES');
$listener->finish;
like($heard, qr/Asynchronous notification "dbos_alerts" with payload ".*"subject" : "zero".*"cleared_at" : "20/, 'who listens hears that it is over');

# ---- what keeps rows from being cleaned up ----

my $out = '';
my $holder = session(\$out, 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1', 'SELECT pg_sleep(600)');
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()});
my $pid = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()});
begins('task snapshots', "^session $pid\$", "Session $pid of");
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$holder->finish;
ends('task snapshots', "^session $pid\$");
$node->safe_psql('postgres', q{BEGIN; CREATE TABLE kept (); PREPARE TRANSACTION 'it''s'});
begins('task snapshots', q{^prepared transaction it''s$}, q{Transaction "it's" of});
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'it''s'});
ends('task snapshots', q{^prepared transaction it''s$});

# A standby that is gone, and whose slot keeps what it saw.
$node->safe_psql('postgres', q{SELECT pg_create_physical_replication_slot('lost')});
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->append_conf('postgresql.conf', "primary_slot_name = 'lost'\nhot_standby_feedback = on\nwal_receiver_status_interval = 1");
$standby->start;
ok($node->poll_query_until('postgres', q{SELECT xmin IS NOT NULL FROM pg_replication_slots}), 'a standby sends what it sees');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM dbos.health() WHERE component = 'task queues'}), '1', 'health works on a standby');
$standby->stop;
$node->safe_psql('postgres', q{SET synchronous_commit = off; DO $$ BEGIN FOR i IN 1 .. 100100 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$});
begins('task snapshots', '^replication slot lost$', 'Nobody uses replication slot "lost"');
$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('lost')});
ends('task snapshots', '^replication slot lost$');

# ---- dead rows ----

$node->safe_psql('postgres', q{SELECT count(*) FROM dbos.submit_many('noop', array_fill('[1]'::jsonb, ARRAY[120000]), queue => 'off')});
$node->safe_psql('postgres', q{DELETE FROM dbos.task});
begins('task bloat', '^task$', 'Table dbos.task has 12\d+ dead rows');
$node->safe_psql('postgres', 'VACUUM dbos.task');
ends('task bloat', '^task$');

# ---- functions that fail, schedules that cannot ----

$node->safe_psql('postgres', q{SELECT count(dbos.submit('fail', '[1]')) FROM generate_series(1, 30)});
begins('task failures', '^public.fail', '30 of 30 attempts of public.fail');
$node->safe_psql('postgres', q{SELECT count(dbos.submit('fail', '[1]')) FROM generate_series(1, 5); SELECT dbos.schedule('broken', '* * * * * *', 'pg_catalog.now');
UPDATE dbos.schedule SET timezone = 'Nowhere' WHERE name = 'broken'});
begins('schedules', '^broken$', 'Schedule "broken" could not submit');
$node->safe_psql('postgres', q{SELECT dbos.unschedule('broken')});
ends('schedules', '^broken$');

# ---- for a monitoring system ----

my $metrics = $node->safe_psql('postgres', 'SELECT dbos.prometheus()', connstr => $node->connstr('postgres') . ' user=watcher');
my $name = qr/[a-zA-Z_:][a-zA-Z0-9_:]*/;
my $label = qr/[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"/;
my @odd = grep { !/^# (?:HELP $name .*|TYPE $name (?:gauge|counter|summary))$/ && !/^$name(?:\{$label(?:,$label)*\})? -?[0-9.e+-]+$/ } split /\n/, $metrics;
is_deeply(\@odd, [], 'every line is as the format has it');
my %seen;
is_deeply([ grep { !/^#/ && $seen{ s/ [^ ]*$//r }++ } split /\n/, $metrics ], [], 'no series comes twice');
like($metrics, qr/^dbos_attempts_total\{function="public.fail\(integer\)",outcome="failed"\} 3[0-9]$/m, 'attempts are counted');
like($metrics, qr/^dbos_healthy\{component="task failures"\} 0$/m, 'what is wrong is 0');
$node->safe_psql('postgres', q{SELECT dbos.create_queue('a "b" \ c'), dbos.submit('noop', '[1]', queue => 'a "b" \ c')});
like($node->safe_psql('postgres', 'SELECT dbos.prometheus()'), qr/^dbos_queue_tasks\{queue="a \\"b\\" \\\\ c",container="0"\} /m, 'values are quoted');
my $load = $node->safe_psql('postgres', q{SELECT count(*) FROM dbos.worker_load WHERE busy NOT BETWEEN 0 AND 1 OR tasks_per_second < 0});
is($load, '0', 'loads are parts of one');
$node->stop;
done_testing();
