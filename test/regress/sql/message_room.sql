-- Tasks, messages and rows of one transaction are there together or not at all, and one query says what came of which.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_room_ann LOGIN IN ROLE dbos_user;
CREATE SCHEMA regress_room AUTHORIZATION regress_room_ann;
\c - regress_room_ann
SET search_path = regress_room;
SELECT dbos.create_mailbox('orders'), dbos.create_mailbox('replies'), dbos.create_topic('events');
SELECT dbos.subscribe('events', 'all', start_at => 'beginning');
CREATE TABLE ledger (item int);
CREATE FUNCTION work(item int) RETURNS bigint LANGUAGE sql AS $$
	INSERT INTO regress_room.ledger VALUES (item);
	SELECT dbos.send('regress_room.replies', jsonb_build_object('done', item));
$$;
-- Takes an order, submits a task, replies, publishes, delays and leases.
CREATE FUNCTION handle() RETURNS text LANGUAGE plpgsql SET search_path = regress_room AS $$
DECLARE
	m record;
BEGIN
	SELECT * INTO m FROM dbos.receive('orders');
	PERFORM dbos.submit('regress_room.work', jsonb_build_array(m.body -> 'item'));
	PERFORM dbos.send('replies', jsonb_build_object('taken', m.body -> 'item'));
	PERFORM dbos.send('replies', '"later"', delay => '1 hour', idempotency_key => 'later');
	PERFORM dbos.publish('events', jsonb_build_object('taken', m.body -> 'item'));
	PERFORM dbos.lease('orders', 1, '1 hour');
	INSERT INTO ledger VALUES (-(m.body ->> 'item')::int);
	RETURN m.body ->> 'item';
END $$;
SELECT count(*) FROM dbos.send_many('orders', ARRAY['{"item": 1}', '{"item": 2}', '{"item": 3}']::jsonb[]);

CREATE VIEW rooms AS
SELECT (SELECT count(*) FROM orders) AS orders, (SELECT count(*) FROM orders WHERE visible_at IS NOT NULL) AS leased, (SELECT count(*) FROM replies) AS replies,
	(SELECT count(*) FROM events) AS events, (SELECT count(*) FROM ledger) AS ledger, (SELECT count(*) FROM dbos.tasks WHERE role::text = 'regress_room_ann') AS tasks;
-- Rolled back: nothing in any room.
BEGIN;
SELECT handle();
ROLLBACK;
SELECT * FROM rooms;
BEGIN;
SAVEPOINT a;
SELECT handle();
ROLLBACK TO a;
COMMIT;
SELECT * FROM rooms;
-- Its session ends before the commit.
SELECT pg_backend_pid() AS pid \gset
BEGIN;
SELECT handle();
\c - postgres
CREATE TEMP TABLE ended AS SELECT :pid AS pid;
DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_stat_activity JOIN ended USING (pid)) LOOP PERFORM pg_sleep(0.01); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$;
\c - regress_room_ann
SET search_path = regress_room;
SELECT * FROM rooms;
DO $$
BEGIN
	PERFORM handle();
	RAISE EXCEPTION 'fails at the end';
END $$;
SELECT * FROM rooms;
SELECT count(*) FROM dbos.read_topic('events', 'all');
-- Committed: all of it.
BEGIN;
SELECT handle();
COMMIT;
SELECT dbos.wait(max(id)) IS NOT NULL AS ran FROM dbos.tasks WHERE role::text = 'regress_room_ann';
SELECT * FROM rooms;
SELECT body FROM dbos.read_topic('events', 'all');
SELECT item FROM ledger ORDER BY item;
-- One query joins messages with the tasks that sent them, their roles and containers.
SELECT m.body, m.sender, t.function, t.state, t.args, t.role, coalesce(c.path, '/') AS container
FROM replies m LEFT JOIN dbos.tasks t ON t.id = m.task_id LEFT JOIN dbos.containers c ON c.id = m.container_id ORDER BY m.id;
-- A task that sends and fails leaves no message, and its order is there again.
CREATE FUNCTION fail() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM regress_room.handle();
	RAISE EXCEPTION 'no';
END $$;
SELECT dbos.submit('regress_room.fail') AS failing \gset
SELECT dbos.wait(:failing);
SELECT body FROM orders WHERE visible_at IS NULL;
SELECT count(*) FROM replies;

\c - postgres
SET client_min_messages = warning;
DROP SCHEMA regress_room CASCADE;
DROP OWNED BY regress_room_ann;
DROP ROLE regress_room_ann;
