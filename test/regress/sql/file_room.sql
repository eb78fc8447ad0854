-- Tasks, messages, files and rows of one transaction are there together or not at all.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_file_room_ann LOGIN IN ROLE dbos_user;
CREATE SCHEMA regress_file_room AUTHORIZATION regress_file_room_ann;
\c - regress_file_room_ann
SET search_path = regress_file_room;
SELECT dbos.create_mailbox('orders'), dbos.create_mailbox('replies'), dbos.mkdir('/room');
SELECT dbos.write_text('/room/old', 'as it was'), dbos.write_text('/room/log', ''), dbos.mkdir('/room/empty'), dbos.write_text('/room/large', repeat('x', 100000));
CREATE TABLE ledger (item int);
-- A task that files what a message brought, and tells where.
CREATE FUNCTION work(item int) RETURNS bigint LANGUAGE sql AS $$
	INSERT INTO regress_file_room.ledger VALUES (item);
	SELECT dbos.write_text('/room/log', 'worked on ' || item || E'\n', append => true);
	SELECT dbos.write_text('/room/done.' || item, repeat('done ', 4000));
	SELECT dbos.send('regress_file_room.replies', jsonb_build_object('path', '/room/done.' || item));
$$;
-- Takes an order, submits a task, replies, and does to files whatever can be done.
CREATE FUNCTION handle() RETURNS text LANGUAGE plpgsql SET search_path = regress_file_room AS $$
DECLARE
	m record;
BEGIN
	SELECT * INTO m FROM dbos.receive('orders');
	PERFORM dbos.submit('regress_file_room.work', jsonb_build_array(m.body -> 'item'));
	PERFORM dbos.send('replies', jsonb_build_object('path', '/room/new'));
	PERFORM dbos.write_text('/room/new', repeat('new ', 5000)), dbos.write_text('/room/old', 'changed'), dbos.mkdir('/room/d/e', parents => true);
	PERFORM dbos.rename('/room/old', '/room/d/e/old'), dbos.link('/room/new', '/room/d/new'), dbos.symlink('new', '/room/d/s'), dbos.copy('/room/large', '/room/d/large');
	PERFORM dbos.truncate_file('/room/large', 10), dbos.rmdir('/room/empty'), dbos.chmod('/room/d', 448), dbos.set_xattr('/room/new', 'user.item', 'x'), dbos.snapshot('/room', 'regress_room');
	PERFORM dbos.write_at('/room/large', 5, 'after the snapshot');
	INSERT INTO ledger VALUES (-(m.body ->> 'item')::int);
	RETURN m.body ->> 'item';
END $$;
SELECT count(*) FROM dbos.send_many('orders', ARRAY['{"item": 1}', '{"item": 2}', '{"item": 3}']::jsonb[]);
CREATE VIEW rooms AS
SELECT (SELECT count(*) FROM orders) AS orders, (SELECT count(*) FROM replies) AS replies, (SELECT count(*) FROM ledger) AS ledger,
	(SELECT count(*) FROM dbos.tasks WHERE role::text = 'regress_file_room_ann') AS tasks, (SELECT count(*) FROM dbos.snapshots WHERE name = 'regress_room') AS snapshots;
CREATE VIEW contents AS
SELECT path, kind, mode, size, link_count, CASE kind WHEN 'file' THEN left(md5(dbos.read_file(path)), 8) END AS md5 FROM dbos.files WHERE path LIKE '/room/%' ORDER BY path COLLATE "C";
SELECT * FROM contents;
-- Rolled back: nothing in any room.
BEGIN;
SELECT handle();
ROLLBACK;
SELECT * FROM rooms;
SELECT * FROM contents;
BEGIN;
SAVEPOINT a;
SELECT handle();
ROLLBACK TO a;
COMMIT;
SELECT * FROM rooms;
SELECT * FROM contents;
-- Its session ends before the commit.
SELECT pg_backend_pid() AS pid \gset
BEGIN;
SELECT handle();
\c - postgres
CREATE TEMP TABLE ended AS SELECT :pid AS pid;
DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_stat_activity JOIN ended USING (pid)) LOOP PERFORM pg_sleep(0.01); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$;
\c - regress_file_room_ann
SET search_path = regress_file_room;
SELECT * FROM rooms;
DO $$
BEGIN
	PERFORM handle();
	RAISE EXCEPTION 'fails at the end';
END $$;
SELECT * FROM rooms;
SELECT * FROM contents;
-- Files alone can be prepared: then nobody sees them until they are committed.
BEGIN;
SELECT dbos.write_text('/room/prepared', repeat('p', 10000)), dbos.rename('/room/old', '/room/prepared.old'), dbos.copy('/room/large', '/room/prepared.copy'), dbos.write_text('/room/log', 'prepared', append => true);
PREPARE TRANSACTION 'regress_file_room';
SELECT * FROM contents;
ROLLBACK PREPARED 'regress_file_room';
SELECT * FROM contents;
BEGIN;
SELECT dbos.write_text('/room/prepared', repeat('p', 10000)), dbos.rename('/room/old', '/room/prepared.old'), dbos.copy('/room/large', '/room/prepared.copy'), dbos.write_text('/room/log', 'prepared', append => true);
PREPARE TRANSACTION 'regress_file_room';
\c - regress_file_room_ann
SET search_path = regress_file_room;
SELECT path FROM contents;
COMMIT PREPARED 'regress_file_room';
SELECT * FROM contents;
SELECT dbos.unlink('/room/prepared'), dbos.rename('/room/prepared.old', '/room/old'), dbos.unlink('/room/prepared.copy'), dbos.truncate_file('/room/log', 0);
-- Committed: all of it.
BEGIN;
SELECT handle();
COMMIT;
SELECT dbos.wait(max(id)) IS NOT NULL AS ran FROM dbos.tasks WHERE role::text = 'regress_file_room_ann';
SELECT * FROM rooms;
SELECT * FROM contents;
SELECT dbos.read_text('/room/log'), length(dbos.read_snapshot('regress_room', '/room/large')) AS in_snapshot;
SELECT body ->> 'path' AS path, size FROM dbos.receive('replies', 10), dbos.stat(body ->> 'path') ORDER BY 1;
-- A task that writes files and fails leaves none.
CREATE FUNCTION fail() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dbos.write_text('/room/failed', 'x'), dbos.write_text('/room/log', 'failed', append => true);
	RAISE EXCEPTION 'no';
END $$;
SELECT dbos.submit('regress_file_room.fail') AS failing \gset
SELECT dbos.wait(:failing);
SELECT dbos.read_text('/room/log'), (SELECT count(*) FROM contents WHERE path = '/room/failed') AS failed;
\c - postgres
SET client_min_messages = warning;
SELECT dbos.drop_snapshot('regress_room'), dbos.remove('/room', recursive => true);
DROP SCHEMA regress_file_room CASCADE;
DROP OWNED BY regress_file_room_ann;
DROP ROLE regress_file_room_ann;
