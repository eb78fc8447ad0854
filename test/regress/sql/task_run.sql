-- A task runs once, as its submitter, and its value, error and end are seen by all doors.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
-- Ids that do not depend on the tests before.
ALTER SEQUENCE dbos.task_id RESTART 1000001;
CREATE ROLE regress_task_ann LOGIN IN ROLE dbos_user;
CREATE ROLE regress_task_bob LOGIN IN ROLE dbos_user;
CREATE SCHEMA regress_task AUTHORIZATION regress_task_ann;
GRANT USAGE ON SCHEMA regress_task TO PUBLIC;
RESET client_min_messages;

\c - regress_task_ann
SET search_path = regress_task;
CREATE TABLE ledger (task bigint, who text, session_who text);
CREATE FUNCTION add(a int, b int) RETURNS int LANGUAGE sql AS 'SELECT a + b';
CREATE FUNCTION note() RETURNS text LANGUAGE sql AS
	'INSERT INTO regress_task.ledger VALUES (dbos.current_task(), current_user, session_user) RETURNING who';
CREATE FUNCTION fail(message text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO regress_task.ledger VALUES (-1, 'must', 'not stay');
	RAISE EXCEPTION '%', message USING ERRCODE = 'P7777', DETAIL = 'the detail', HINT = 'the hint';
END $$;

-- The value of a function is the result of its task.
CALL dbos.run('regress_task.add', '{"a": 1, "b": 2}');
CALL dbos.run('regress_task.add', '[20, 22]');
SELECT dbos.submit('add', '{"a": 40, "b": 2}') AS task \gset
SELECT dbos.wait(:task);
SELECT dbos.result(:task);
SELECT state, function, args, result, attempt, crashes, error FROM dbos.tasks WHERE id = :task;
SELECT worker_pid IS NOT NULL AS worker, finished_at >= started_at AS ended, started_at >= submitted_at AS started
	FROM dbos.tasks WHERE id = :task;

-- It ran as the submitter.
SELECT dbos.submit('note') AS task \gset
SELECT dbos.wait(:task);
SELECT task = :task AS this_task, who, session_who FROM ledger;

-- A task that fails leaves nothing but its error, which wait raises as it was.
SELECT dbos.submit('fail', '{"message": "no luck"}') AS task \gset
DO $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	PERFORM dbos.wait((SELECT max(id) FROM dbos.tasks));
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RAISE INFO '% % % %', state, message, detail, hint;
END $$;
SELECT state, error->>'sqlstate' AS sqlstate, error->>'message' AS message, error->>'context' LIKE '%function regress_task.fail%' AS context
	FROM dbos.tasks WHERE id = :task;
SELECT count(*) FROM ledger WHERE task = -1;

-- A submit that is rolled back was never there.
BEGIN;
SELECT dbos.submit('note') AS task \gset
ROLLBACK;
SELECT dbos.result(:task);
BEGIN;
SAVEPOINT s;
SELECT dbos.submit('note') AS gone \gset
ROLLBACK TO s;
SELECT dbos.submit('note') AS task \gset
COMMIT;
SELECT dbos.wait(:task);
SELECT count(*) FROM dbos.tasks WHERE id = :gone;

-- Waiting in the transaction that submitted cannot end, and says so at once.
BEGIN;
SELECT dbos.wait(dbos.submit('note'));
ROLLBACK;

-- SQL text, with what does not run in a transaction block.
SELECT dbos.submit_sql('INSERT INTO regress_task.ledger VALUES (0, ''sql'', ''text''); SELECT 1') AS task \gset
SELECT dbos.wait(:task) IS NOT NULL AS value;
SELECT count(*) FROM ledger WHERE who = 'sql';
SELECT dbos.submit_sql('VACUUM regress_task.ledger') AS task \gset
SELECT dbos.wait(:task) IS NOT NULL AS value;

SELECT dbos.submit_sql('SELEKT 1');
SELECT dbos.submit_sql('BEGIN; SELECT 1; COMMIT');
SELECT dbos.submit_sql('COPY ledger FROM STDIN');

-- Bad input is refused at submit.
SELECT dbos.submit('nothing_of_that_name');
SELECT dbos.submit('add', '[1]');
SELECT dbos.submit('add', '{"a": 1, "c": 2}');
SELECT dbos.submit('add', '["x", 1]');
SELECT dbos.submit('add', '7');
SELECT dbos.submit(NULL);
SELECT dbos.submit('add', NULL);
SELECT dbos.submit('add', '[1, 2]', queue => 'no such queue');
SELECT dbos.submit('add', '[1, 2]', delay => '-1 second');
SELECT dbos.submit('add', '[1, 2]', delay => '1 second', run_at => now());
SELECT dbos.submit('add', '[1, 2]', max_attempts => 0);
SELECT dbos.submit('add', '[1, 2]', timeout => '0');
SELECT dbos.submit('add', '[1, 2]', deadline => '2001-01-01 00:00:00+00');
SELECT dbos.submit('add', '[1, 2]', after => ARRAY[9223372036854775807]);
SELECT dbos.submit_many('add', ARRAY['[1, 2]', NULL]::jsonb[]);

-- Retries: max_attempts counts the function's errors.
SELECT dbos.submit('fail', '["again"]', max_attempts => 3, retry_delay => '1 ms') AS task \gset
SELECT dbos.wait(:task);
SELECT attempt, outcome FROM dbos.attempts WHERE task_id = :task ORDER BY attempt;

-- A failed task can be retried by hand; a succeeded one cannot.
SELECT dbos.retry(:task);
SELECT dbos.wait(:task);
SELECT dbos.submit('add', '[1, 1]') AS done \gset
SELECT dbos.wait(:done);
SELECT dbos.retry(:done);
-- One that failed for what it waited for does not wait for that again.
SELECT dbos.submit('add', '[1, 2]', after => ARRAY[:task]) AS late \gset
\set VERBOSITY sqlstate
SELECT dbos.wait(:late);
\set VERBOSITY terse
SELECT dbos.retry(:late);
SELECT dbos.wait(:late);

-- Dependencies, delay, priority, idempotency key, many.
SELECT dbos.submit('add', '[1, 2]', after => ARRAY[:done]) AS second \gset
SELECT dbos.wait(:second);
SELECT dbos.submit('add', '[1, 2]', after => ARRAY[:task]) AS unlucky \gset
SELECT dbos.wait(:unlucky);
SELECT dbos.submit('add', '[3, 4]', delay => '50 ms') AS later \gset
SELECT dbos.wait(:later);
SELECT dbos.submit('add', '[1, 2]', idempotency_key => 'k') = dbos.submit('add', '[1, 2]', idempotency_key => 'k') AS same;
SELECT count(*), bool_and(x > 0) FROM dbos.submit_many('add', ARRAY['[1, 2]', '[3, 4]']::jsonb[]) x;

-- Time-out and cancel stop the statement.
SELECT dbos.submit('pg_catalog.pg_sleep', '[600]', timeout => '100 ms') AS slow \gset
SELECT dbos.wait(:slow);
SELECT dbos.submit('pg_catalog.pg_sleep', '[600]') AS slow \gset
SELECT pg_sleep(0.2);
SELECT dbos.cancel(:slow);
SELECT dbos.wait(:slow);
SELECT state FROM dbos.tasks WHERE id = :slow;
SELECT dbos.cancel(:slow);

-- Another role sees and manages its own tasks alone.
\c - regress_task_bob
SELECT count(*) FROM dbos.tasks;
SELECT dbos.result(:done);
SELECT dbos.wait(:done);
SELECT dbos.cancel(:done);
SELECT dbos.retry(:task);
SELECT * FROM dbos.task;
SELECT dbos.progress(0.5);
SELECT dbos.progress(2);

-- What has no right has none.
\c - postgres
DROP SCHEMA regress_task CASCADE;
DROP ROLE regress_task_ann;
DROP ROLE regress_task_bob;
