# A mailbox stays small whatever went through it and whatever snapshot is held open; a crash loses no
# message that was committed, and a delivery that it cut off is counted.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use CrashedServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $torture = $ENV{DBOS_TORTURE};

my $node = PostgreSQL::Test::Cluster->new('storage');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'dbos'
restart_after_crash = on
dbos.segment_pages = 16
autovacuum = off
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
SELECT dbos.create_mailbox('box');
});
my $size = q{SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('box')};

sub query { return answer_of($node, 'postgres', @_) }

# ---- rotation, with a snapshot that is held ----

my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current()');
my $rounds = $torture ? 300 : 30;
my $sum = 0;
my $largest = 0;
for my $round (1 .. $rounds)
{
	$node->safe_psql('postgres', "SELECT count(*) FROM dbos.send_many('box', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 5000) n))");
	$sum += $node->safe_psql('postgres', "SELECT sum((body)::int) FROM dbos.receive('box', 100000)");
	# What is emptied is emptied by the background, whose time it takes.
	$node->poll_query_until('postgres', "SELECT ($size) < 4000000") or die 'the mailbox does not become small';
	my $now = $node->safe_psql('postgres', $size);
	$largest = $now if $now > $largest;
}
is($sum, $rounds * 5000 * 5001 / 2, 'every message came once');
cmp_ok($largest, '<', 4000000, "with a snapshot held, $rounds times 5,000 messages leave the mailbox small");
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM pg_partition_tree('box')"), '<', 20, 'segments are used again');
ok($node->poll_query_until('postgres', "SELECT ($size) < 1500000"), 'and all but the current one become empty');
$holder->quit;

# Who has looked at the mailbox keeps its segments, and no message is lost by that.
$holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; SELECT count(*) FROM box');
$node->safe_psql('postgres', "SELECT count(*) FROM dbos.send_many('box', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 5000) n))") for 1 .. 4;
is($node->safe_psql('postgres', "SELECT count(*) FROM dbos.receive('box', 100000)"), '20000', 'a reader of the table does not keep messages from receivers');
$holder->query_safe('COMMIT');
ok($node->poll_query_until('postgres', "SELECT ($size) < 1500000"), 'when it has gone, segments become empty');
$holder->quit;

# ---- crashes in the middle of it ----

# The background is held with a segment truncated and not committed.
$node->safe_psql('postgres', "SELECT dbos.send('box', '\"stays\"')");
# None is left that could be: it would keep what follows from becoming current.
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_partition_tree('box') WHERE isleaf AND pg_relation_size(relid) > 0})
  or die 'segments do not become empty';
my $stop = $node->background_psql('postgres');
$stop->query_safe("SELECT pg_advisory_lock(hashtext('dbos stop point'), hashtext('segment truncated'))");
for (1 .. 4)
{
	my $current = $node->safe_psql('postgres', q{SELECT current_segment FROM dbos.mailbox WHERE relation = 'box'::regclass});
	$node->safe_psql('postgres', "SELECT count(*) FROM dbos.send_many('box', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 5000) n))");
	$node->poll_query_until('postgres', "SELECT current_segment <> $current FROM dbos.mailbox WHERE relation = 'box'::regclass")
	  or die 'the next segment is not taken';
}
$node->safe_psql('postgres', "SELECT count(*) FROM dbos.receive('box', 10000)");
# It waits no longer than a second, and comes again.
my $held = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'dbos scheduler' AND wait_event_type = 'Lock' AND datname = 'postgres' LIMIT 1};
my $pid = '';
for (1 .. 1200)
{
	$pid = $node->safe_psql('postgres', $held);
	last if $pid ne '';
	sleep(0.05);
}
isnt($pid, '', 'the background is held in a truncation');
kill 'KILL', $pid if $pid ne '';
eval { $stop->quit };
is(query("SELECT count(*) FROM dbos.receive('box', 100000)"), '10001', 'after a kill in that moment every message is there');
ok($node->poll_query_until('postgres', "SELECT ($size) < 1500000"), 'and the segments become empty in the end');

# ---- a new segment, and who knows it not yet ----

# A sender's statement begins, and asks for the segment when there are more than it has seen.
is(query(q{SELECT count(*) FROM dbos.receive('box', 100000)}), '0', 'the mailbox is empty');
query(q{SELECT dbos.create_mailbox('fresh')});
my $count = q{SELECT count(*) FROM pg_partition_tree('fresh') WHERE isleaf};
my $current = q{SELECT current_segment FROM dbos.mailbox WHERE relation = 'fresh'::regclass};
my $highest = query($count) - 1;
$stop = $node->background_psql('postgres');
$stop->query_safe("SELECT pg_advisory_lock(hashtext('dbos stop point'), hashtext('message defaults'))");
my $sender = $node->background_psql('postgres', on_error_stop => 0);
$sender->query_until(qr/begun/, qq{\\echo begun\nINSERT INTO fresh (body) SELECT to_jsonb(n) FROM generate_series(1, 3) n;\n});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'INSERT INTO fresh%' AND wait_event = 'advisory'}),
	'a sender stands before the defaults of its row');
# dbos.send() needs none of them: what it fills goes on.
for (1 .. 600)
{
	last if query($count) > $highest + 1;
	query(q{SELECT count(*) FROM dbos.send_many('fresh', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 2000) n))});
}
cmp_ok(query($count), '>', $highest + 1, 'a segment is made that the sender does not know');
for (1 .. 20)
{
	query(q{SELECT count(*) FROM dbos.send_many('fresh', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 100) n))});
	sleep(0.1);
}
cmp_ok(query($current), '<=', $highest, 'it is not current while the sender stands there');
$stop->quit;
$sender->query_until(qr/over/, "\\echo over\n");
is($sender->{stderr}, '', 'the sender is not refused');
$sender->quit;
query(q{SELECT count(*) FROM dbos.send_many('fresh', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 100) n))});
ok($node->poll_query_until('postgres', qq{SELECT ($current) > $highest}), 'and then the segment becomes current');
# Who holds a message, or has sent one by function, delays none of that.
$holder = $node->background_psql('postgres');
$holder->query_safe(q{BEGIN; SELECT id FROM dbos.receive('fresh'); SELECT dbos.send('fresh', '1')});
my $before_more = query($current);
for (1 .. 600)
{
	last if query($current) > $before_more;
	query(q{SELECT count(*) FROM dbos.send_many('fresh', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 2000) n))});
}
cmp_ok(query($current), '>', $before_more, 'a long transaction with dbos.receive() and dbos.send() keeps no segment from becoming current');
$holder->quit;
query(q{SELECT dbos.drop_mailbox('fresh')});

# ---- a crash counts as a delivery ----

query(q{SELECT dbos.create_mailbox('dead')});
query(q{SELECT dbos.create_mailbox('poison', max_deliveries => 2, dead_letter => 'dead')});
query(q{SELECT dbos.send('poison', '"kills"')});
for my $crash (1 .. 2)
{
	my $victim = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $victim->query_safe('SELECT pg_backend_pid()');
	$victim->query_safe('BEGIN');
	my $taken = '';
	for (1 .. 600)
	{
		$taken = $victim->query_safe("SELECT deliveries FROM dbos.receive('poison')");
		last if $taken ne '';
		sleep(0.05);
	}
	is($taken, $crash, "delivery $crash");
	# At once: nobody has flushed anything since.
	kill 'KILL', $pid;
	eval { $victim->quit };
	ok(query('SELECT 1'), 'the server is back');
}
for (1 .. 600)
{
	last if query('SELECT count(*) FROM dead') eq '1';
	sleep(0.05);
}
is(query(q{SELECT body, headers->'dead_letter'->'deliveries' FROM dead}), '"kills"|2', 'what killed its receivers twice is a dead letter');
is(query('SELECT count(*) FROM poison'), '0', 'and is not delivered again');

# ---- unlogged ----

query(q{SELECT dbos.create_mailbox('fleeting', unlogged => true)});
query(q{SELECT dbos.send('fleeting', '1')});
is(query(q{SELECT count(*) FROM pg_class WHERE oid IN (SELECT relid FROM pg_partition_tree('fleeting') WHERE isleaf) AND relpersistence = 'u'}),
	query(q{SELECT count(*) FROM pg_partition_tree('fleeting') WHERE isleaf}), 'segments of an unlogged mailbox are unlogged');
query(q{SELECT dbos.send('box', '"logged"')});
$node->stop('immediate');
$node->start;
is(query('SELECT count(*) FROM fleeting'), '0', 'it is empty after a crash');
is(query("SELECT body FROM dbos.receive('box')"), '"logged"', 'another one is not');
query(q{SELECT dbos.send('fleeting', '2')});
is(query("SELECT body FROM dbos.receive('fleeting')"), '2', 'and it goes on');

# ---- one transaction over all rooms, killed ----

query(q{SELECT dbos.create_mailbox('replies')});
query(q{SELECT dbos.create_topic('events')});
query(q{SELECT dbos.subscribe('events', 'reader')});
query(q{CREATE FUNCTION work() RETURNS int LANGUAGE sql AS 'SELECT 1'});
query(q{SELECT dbos.send('box', '"request"')});
my $rooms = q{SELECT (SELECT count(*) FROM dbos.tasks), (SELECT count(*) FROM box), (SELECT count(*) FROM replies),
	(SELECT count(*) FROM events), (SELECT last_id FROM dbos.subscriptions)};
my $before = query($rooms);
for my $round (1 .. 5)
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	is($session->query_safe(q{
BEGIN;
SELECT count(dbos.submit('work')) + count(dbos.send('replies', body)) + count(dbos.publish('events', body)) FROM dbos.receive('box')}),
		'3', "round $round: a task, a reply and an event for a request");
	kill 'KILL', $pid;
	eval { $session->quit };
	is(query($rooms), $before, 'after a kill nothing of it is in any room');
}
is(query(q{SELECT count(*) FROM dbos.read_topic('events', 'reader')}), '0', 'nor for who reads');
is(query(q{SELECT body FROM dbos.receive('box', 1)}), '"request"', 'and the request is there');

# ---- a backlog of any length ----

my $backlog = $torture ? 5_000_000 : 100_000;
$node->safe_psql('postgres', 'ALTER SYSTEM SET dbos.segment_pages = 1024');
$node->restart;
for (1 .. 10)
{
	my $part = $backlog / 10;
	$node->safe_psql('postgres', "SELECT count(*) FROM dbos.send_many('box', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, $part) n))");
}
is($node->safe_psql('postgres', "SELECT depth FROM dbos.mailboxes WHERE mailbox = 'box'::regclass"), $backlog, 'a backlog is there');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', q{
DO $$
DECLARE
	last bigint := 0;
	n int := 1;
	total bigint := 0;
	least bigint;
	most bigint;
BEGIN
	WHILE n > 0 LOOP
		SELECT count(*), min(id), max(id) INTO n, least, most FROM dbos.receive('box', 10000);
		IF n > 0 AND least <= last THEN
			RAISE EXCEPTION 'id % after %', least, last;
		END IF;
		last := coalesce(most, last);
		total := total + n;
		COMMIT;
	END LOOP;
	CREATE TABLE outcome AS SELECT total;
END $$;
SELECT * FROM outcome}), $backlog, 'after a crash it is received in the order in which it was sent, all of it');
ok($node->poll_query_until('postgres', "SELECT ($size) < 70000000"), 'and its room is given back');

$node->stop;
done_testing();
