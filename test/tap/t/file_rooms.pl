# One transaction over tasks, messages and files that is killed, with its session, its server or the worker that runs it, leaves nothing in any room; run again it is done once.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use FileTables;
use CrashedServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{DBOS_TORTURE} ? 20 : 4;
my $node = PostgreSQL::Test::Cluster->new('file_rooms');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'dbos'
restart_after_crash = on
fsync = off
dbos.max_workers = 2
log_min_messages = error
});
$node->start;

sub query { return answer_of($node, 'postgres', @_) }

$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
SELECT dbos.create_mailbox('box'), dbos.create_mailbox('replies');
SELECT dbos.mkdir('/room/full', true), dbos.mkdir('/room/empty'), dbos.write_text('/room/small', 'small'), dbos.write_text('/room/log', ''), dbos.write_text('/room/large', repeat('large ', 20000));
SELECT dbos.write_text('/room/full/' || n, n::text) FROM generate_series(1, 20) n;
SELECT dbos.send('box', '"request"');
CREATE TABLE ledger (path text);
CREATE FUNCTION idle() RETURNS int LANGUAGE sql AS 'SELECT 1';
-- Whatever can be done to files, with a task and a reply.
CREATE FUNCTION handle(tag text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	m record;
BEGIN
	FOR m IN SELECT * FROM dbos.receive('box') LOOP
		PERFORM dbos.send('replies', jsonb_build_object('path', '/room/' || tag));
	END LOOP;
	PERFORM dbos.submit('idle', priority => -10);
	PERFORM dbos.write_text('/room/log', tag || E'\n', append => true), dbos.write_text('/room/' || tag, repeat(tag, 30000)), dbos.mkdir('/room/d/' || tag, parents => true);
	PERFORM dbos.rename('/room/small', '/room/d/small'), dbos.copy('/room/large', '/room/d/copy'), dbos.write_at('/room/large', 50000, convert_to(tag, 'UTF8')), dbos.truncate_file('/room/large', 100000);
	PERFORM dbos.remove('/room/full', true), dbos.rmdir('/room/empty'), dbos.link('/room/large', '/room/d/link'), dbos.snapshot('/room', 'snapshot ' || tag), dbos.write_text('/room/large', 'after it');
	INSERT INTO ledger VALUES ('/room/' || tag);
END $$;
-- The same by a worker, which waits at its end as long as somebody holds a lock.
CREATE FUNCTION work(tag text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM handle(tag);
	PERFORM pg_advisory_xact_lock(7);
	RETURN tag;
END $$;
});
make_file_problems($node, 'postgres');
my $rooms = q{
SELECT 'orders and replies', (SELECT count(*) FROM box) || ' ' || (SELECT count(*) FROM replies) UNION ALL SELECT 'ledger', count(*)::text FROM ledger UNION ALL SELECT 'snapshots', count(*)::text FROM dbos.snapshots
UNION ALL SELECT 'tasks', count(*)::text FROM dbos.tasks WHERE function = 'idle'
UNION ALL SELECT path, concat_ws(' ', kind, size, link_count, CASE kind WHEN 'file' THEN md5(dbos.read_file(path)) END) FROM dbos.files WHERE path LIKE '/room/%' ORDER BY 1};
my $before = query($rooms);
like($before, qr{^/room/full/20\|file 2 1}m, 'files are there');

for my $round (1 .. $rounds)
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_safe("BEGIN; SELECT handle('t$round')");
	is($session->query_safe("SELECT length(dbos.read_file('/room/t$round')), (SELECT count(*) FROM ledger)"), length("t$round") * 30000 . '|1', "round $round: its session sees what it has done");
	kill 'KILL', $pid;
	eval { $session->quit };
	is(query($rooms), $before, "round $round: killed, nothing of it is in any room");

	$session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe("BEGIN; SELECT handle('t$round')");
	$node->stop('immediate');
	eval { $session->quit };
	$node->start;
	is(query($rooms), $before, "round $round: nor after the server was stopped");
	is(query('SELECT * FROM file_problems'), '', "round $round: what is in the tables fits together");
}

# A worker is killed in the middle of its task; the task is tried again, and done once.
my $holder = $node->background_psql('postgres', on_error_stop => 0);
$holder->query_safe('SELECT pg_advisory_lock(7)');
my $task = query(q{SELECT dbos.submit('work', '["task"]', max_attempts => 10)});
for my $round (1 .. $rounds)
{
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted}), "round $round: a worker has done all of its task");
	my $pid = query(q{SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted});
	kill 'KILL', $pid;
	eval { $holder->quit };
	# The lock is gone with the crash; it is taken again before the next attempt comes to its end, or that is the last.
	is(query(q{SELECT count(*) FROM ledger}) + 0 <= 1, 1, "round $round: killed, it is done at most once");
	$holder = $node->background_psql('postgres', on_error_stop => 0);
	$holder->query_safe('SELECT pg_advisory_lock(7)');
	last if query("SELECT state FROM dbos.tasks WHERE id = $task") eq 'succeeded';
}
$holder->query_safe('SELECT pg_advisory_unlock(7)');
$holder->quit;
is(query("SELECT dbos.wait($task)"), '"task"', 'the task is done');
is(query(q{SELECT dbos.read_text('/room/log'), (SELECT count(*) FROM ledger), (SELECT string_agg(body ->> 'path', ' ') FROM replies), (SELECT count(*) FROM box), (SELECT string_agg(name, ' ') FROM dbos.snapshots)}),
	"task\n|1|/room/task|0|snapshot task", 'once, in each room');
is(query(q{SELECT string_agg(path, ' ' ORDER BY path COLLATE "C") FROM dbos.files WHERE path LIKE '/room/%'}), '/room/d /room/d/copy /room/d/link /room/d/small /room/d/task /room/large /room/log /room/task', 'with all that it did to files');
is(query(q{SELECT length(dbos.read_snapshot('snapshot task', '/room/large')), dbos.read_text('/room/large'), length(dbos.read_file('/room/d/copy'))}), '100000|after it|120000', 'before and after its snapshot');
is(query('SELECT * FROM file_problems'), '', 'and what is in the tables fits together');
$node->stop;
done_testing();
