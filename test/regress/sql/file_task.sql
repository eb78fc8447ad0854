-- Tasks and messages beside files: one transaction for all, and each attempt says what it read and wrote.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_ft_ann LOGIN IN ROLE dbos_user;
CREATE SCHEMA regress_ft AUTHORIZATION regress_ft_ann;
RESET client_min_messages;
\c - regress_ft_ann
\set VERBOSITY terse
SET search_path = regress_ft;
SELECT dbos.mkdir('/ft'), dbos.create_mailbox('regress_ft.parcels');
SELECT dbos.write_file('/ft/in', '12345');

-- ---- a task writes files in its one commit ----
CREATE FUNCTION copy_twice(path text) RETURNS bigint LANGUAGE sql AS $$
	SELECT dbos.write_file(path || '.1', dbos.read_file(path)) + dbos.write_file(path || '.2', dbos.read_file(path) || convert_to(repeat('x', 10000), 'UTF8'))
$$;
CREATE FUNCTION write_and_fail(path text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dbos.write_file(path, '1234567');
	PERFORM dbos.read_file(path);
	RAISE EXCEPTION 'after it has written';
END $$;
-- Fails the first time; what it wrote then is rolled back.
CREATE FUNCTION write_at_last(path text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dbos.write_file(path, '123');
	IF (SELECT attempt FROM dbos.tasks WHERE id = dbos.current_task()) < 2 THEN RAISE EXCEPTION 'not yet'; END IF;
	RETURN dbos.write_file(path, '4567', append => true);
END $$;
SELECT dbos.submit('copy_twice', '{"path": "/ft/in"}') AS task \gset
SELECT dbos.wait(:task);
SELECT name, size FROM dbos.ls('/ft');
SELECT outcome, file_bytes_read, file_bytes_written FROM dbos.attempts WHERE task_id = :task;
SELECT dbos.submit('write_and_fail', '{"path": "/ft/lost"}') AS task \gset
SELECT dbos.wait(:task);
SELECT outcome, file_bytes_read, file_bytes_written FROM dbos.attempts WHERE task_id = :task;
SELECT dbos.submit('write_at_last', '{"path": "/ft/late"}', max_attempts => 2, retry_delay => '1 ms') AS task \gset
SELECT dbos.wait(:task);
SELECT attempt, outcome, file_bytes_read, file_bytes_written FROM dbos.attempts WHERE task_id = :task ORDER BY attempt;
SELECT name, size FROM dbos.ls('/ft');
SELECT dbos.submit('pg_catalog.upper', '["no file"]') AS task \gset
SELECT dbos.wait(:task);
SELECT outcome, file_bytes_read, file_bytes_written FROM dbos.attempts WHERE task_id = :task;
-- Retried by hand: the attempt before keeps its numbers.
SELECT dbos.submit('write_and_fail', '{"path": "/ft/lost"}') AS task \gset
SELECT dbos.wait(:task);
SELECT dbos.retry(:task);
SELECT dbos.wait(:task);
SELECT outcome, file_bytes_read, file_bytes_written FROM dbos.attempts WHERE task_id = :task;
-- SQL text, one that commits by itself among it.
SELECT dbos.submit_sql('DO $$ BEGIN PERFORM dbos.write_file(''/ft/by_sql'', ''12''); COMMIT; PERFORM dbos.read_file(''/ft/by_sql''); END $$') AS task \gset
SELECT dbos.wait(:task) IS NOT NULL AS done;
SELECT outcome, file_bytes_read, file_bytes_written FROM dbos.attempts WHERE task_id = :task;

-- ---- one transaction over a task, a message with a path, and a file ----
SELECT dbos.pause_queue('ft') FROM dbos.create_queue('ft', 1);
CREATE VIEW rooms AS
	SELECT (SELECT count(*) FROM dbos.tasks WHERE function LIKE 'regress_ft.copy%' AND args ->> 'path' = '/ft/parcel') AS tasks,
		(SELECT count(*) FROM parcels WHERE body ->> 'path' = '/ft/parcel') AS messages,
		(SELECT count(*) FROM dbos.ls('/ft') WHERE name = 'parcel') AS files;
BEGIN;
SELECT dbos.write_file('/ft/parcel', 'a parcel');
SELECT dbos.send('parcels', '{"path": "/ft/parcel"}') IS NOT NULL AS sent;
SELECT dbos.submit('copy_twice', '{"path": "/ft/parcel"}', queue => 'ft') IS NOT NULL AS submitted;
SELECT * FROM rooms;
ROLLBACK;
SELECT * FROM rooms;
BEGIN;
SELECT dbos.write_file('/ft/parcel', 'a parcel');
SAVEPOINT s;
SELECT dbos.send('parcels', '{"path": "/ft/parcel"}') IS NOT NULL AS sent;
SELECT dbos.submit('copy_twice', '{"path": "/ft/parcel"}', queue => 'ft') IS NOT NULL AS submitted;
SELECT dbos.write_file('/ft/parcel', ' of two parts', append => true);
ROLLBACK TO s;
SELECT * FROM rooms;
SELECT dbos.send('parcels', '{"path": "/ft/parcel"}') IS NOT NULL AS sent;
SELECT dbos.submit('copy_twice', '{"path": "/ft/parcel"}', queue => 'ft') IS NOT NULL AS submitted;
COMMIT;
SELECT * FROM rooms;

-- What messages speak of, who owns it, and which task of theirs is to work on it, in this container.
SELECT m.body ->> 'path' AS path, f.size, f.owner, t.function, t.state, t.container
FROM parcels m JOIN dbos.files f ON f.path = m.body ->> 'path'
	LEFT JOIN dbos.tasks t ON t.role = f.owner AND t.args ->> 'path' = f.path
ORDER BY m.id;

-- Who receives the message works on the file, in one transaction: rolled back, the message is there again.
BEGIN;
SELECT dbos.read_text(body ->> 'path') AS content FROM dbos.receive('parcels') \gset
SELECT dbos.write_file('/ft/received', convert_to(:'content', 'UTF8'));
ROLLBACK;
SELECT * FROM rooms;
SELECT count(*) FROM dbos.ls('/ft') WHERE name = 'received';
BEGIN;
SELECT dbos.read_text(body ->> 'path') AS content FROM dbos.receive('parcels') \gset
SELECT dbos.write_file('/ft/received', convert_to(:'content', 'UTF8'));
COMMIT;
SELECT * FROM rooms;
SELECT dbos.read_text('/ft/received');

-- ---- in a container, a task has the files of that ----
SELECT dbos.create_container('ft');
BEGIN;
SELECT dbos.enter_container('ft');
SELECT dbos.mkdir('/ft');
SELECT dbos.write_file('/ft/in', 'inside');
SELECT dbos.submit('regress_ft.copy_twice', '{"path": "/ft/in"}') AS task \gset
COMMIT;
SELECT dbos.wait(:task);
SELECT dbos.read_text('/ft/in.1');
\c - regress_ft_ann
SELECT dbos.read_text('/ft/in.1');

-- ---- all gone ----
SELECT dbos.remove('/ft', recursive => true);
BEGIN;
SELECT dbos.enter_container('ft');
SELECT dbos.remove('/ft', recursive => true);
COMMIT;
\c - regress_ft_ann
DROP VIEW regress_ft.rooms;
SELECT dbos.drop_mailbox('regress_ft.parcels');
SELECT dbos.cancel(id) FROM dbos.tasks WHERE queue = 'ft' AND state = 'waiting';
SELECT dbos.drop_queue('ft');
\c - postgres
SET client_min_messages = warning;
DROP SCHEMA regress_ft CASCADE;
