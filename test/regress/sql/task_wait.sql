-- Waiting: inside a task it gives up the place, a deadlock is seen, a time-out leaves the task alone.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
CREATE SCHEMA regress_wait;
SET search_path = regress_wait;
CREATE FUNCTION wait_for(task bigint) RETURNS jsonb LANGUAGE sql AS 'SELECT dbos.wait(task)';
SELECT dbos.create_queue('regress_wait', concurrency => 1);
SELECT dbos.pause_queue('regress_wait');
SELECT dbos.submit('pg_catalog.upper', '["awaited"]', queue => 'regress_wait') AS awaited \gset
-- Two tasks wait for one that is behind the same limit of one: they give up their places in the queue too.
SELECT dbos.submit('wait_for', jsonb_build_array(:awaited), queue => 'regress_wait', priority => -1) AS first \gset
SELECT dbos.submit('wait_for', jsonb_build_array(:awaited)) AS second \gset
SELECT dbos.resume_queue('regress_wait');
SELECT dbos.wait(:first), dbos.wait(:second);
SELECT id = :awaited AS awaited, state FROM dbos.tasks WHERE id IN (:awaited, :first, :second) ORDER BY id;

-- A wait that is not answered in time ends; the task goes on.
SELECT dbos.pause_queue('regress_wait');
SELECT dbos.submit('pg_catalog.upper', '["late"]', queue => 'regress_wait') AS late \gset
\set VERBOSITY sqlstate
SELECT dbos.wait(:late, '50 ms');
SELECT dbos.result(:late);
SELECT dbos.wait(:late, '-1 second');
\set VERBOSITY terse
SELECT state, wait_reason FROM dbos.tasks WHERE id = :late;
SELECT dbos.resume_queue('regress_wait');
SELECT dbos.wait(:late);
SELECT dbos.wait(NULL), dbos.result(NULL);
SELECT dbos.wait(0);

-- The latest state is seen at every isolation level.
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) >= 0 AS snapshot FROM dbos.queues;
SELECT dbos.result(:late);
COMMIT;
SELECT dbos.pause_queue('regress_wait');
SELECT dbos.submit('pg_catalog.upper', '["seen"]', queue => 'regress_wait') AS seen \gset
SELECT dbos.submit_sql('SELECT dbos.resume_queue(''regress_wait'')', delay => '100 ms') AS resumer \gset
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT dbos.wait(:seen);
COMMIT;

-- A task that waits for a lock of ours cannot be waited for.
CREATE TABLE locked ();
CREATE FUNCTION need_lock() RETURNS void LANGUAGE sql AS 'LOCK TABLE regress_wait.locked';
SELECT dbos.submit('need_lock') AS needs \gset
SELECT dbos.wait(:needs);
BEGIN;
LOCK TABLE locked;
SELECT dbos.submit('need_lock') AS needs \gset
COMMIT;
SELECT dbos.wait(:needs);
SELECT dbos.submit('need_lock', queue => 'regress_wait', delay => '200 ms') AS needs \gset
BEGIN;
LOCK TABLE locked;
\set VERBOSITY sqlstate
SELECT dbos.wait(:needs);
\set VERBOSITY terse
ROLLBACK;
SELECT dbos.wait(:needs);

-- await: not in a transaction block, and without a snapshot.
BEGIN;
CALL dbos.await(:late);
ROLLBACK;
CALL dbos.await(:late);
CALL dbos.await(NULL);
-- A task is not started by a SELECT that waits for it in the same transaction, and cannot wait for itself.
CREATE FUNCTION wait_for_self() RETURNS jsonb LANGUAGE sql AS 'SELECT dbos.wait(dbos.current_task())';
SELECT dbos.submit('wait_for_self') AS self \gset
\set VERBOSITY sqlstate
SELECT dbos.wait(:self);
\set VERBOSITY terse
-- Progress is seen before the commit, and the task's own context by itself.
CREATE FUNCTION show_progress() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dbos.progress(0.25, 'a quarter');
	RETURN (SELECT state || ' ' || progress || ' ' || progress_note FROM dbos.tasks WHERE id = dbos.current_task());
END $$;
CALL dbos.run('show_progress');
SELECT dbos.drop_queue('regress_wait');
SET client_min_messages = warning;
DROP SCHEMA regress_wait CASCADE;
