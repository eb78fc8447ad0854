-- task_manage.sql: what is done with tasks after their submit, and with the workers.
-- SPDX-License-Identifier: PostgreSQL

CREATE FUNCTION dbos.result(task bigint) RETURNS jsonb
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_result';
COMMENT ON FUNCTION dbos.result(bigint) IS 'the value of a task that succeeded; raises the task''s own error when it failed, DB001 when it has not finished. Example: SELECT dbos.result(42);';
REVOKE ALL ON FUNCTION dbos.result(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.result(bigint) TO dbos_user;

CREATE FUNCTION dbos.wait(task bigint, timeout interval DEFAULT NULL) RETURNS jsonb
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_wait';
COMMENT ON FUNCTION dbos.wait(bigint, interval) IS 'waits for the end of a task without polling, then as dbos.result(); NULL waits for dbos.wait_timeout; DB005 when the time is up. Example: SELECT dbos.wait(42, ''10 seconds'');';
REVOKE ALL ON FUNCTION dbos.wait(bigint, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.wait(bigint, interval) TO dbos_user;

CREATE PROCEDURE dbos.await(task bigint, timeout interval DEFAULT NULL, INOUT result jsonb DEFAULT NULL)
	LANGUAGE c AS 'MODULE_PATHNAME', 'dbos_await';
COMMENT ON PROCEDURE dbos.await(bigint, interval, jsonb) IS 'as dbos.wait(), outside a transaction block, holding no snapshot meanwhile; NULL waits for ever. Example: CALL dbos.await(42);';
REVOKE ALL ON PROCEDURE dbos.await(bigint, interval, jsonb) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE dbos.await(bigint, interval, jsonb) TO dbos_user;

-- No SET search_path here: a procedure with one could not commit.  Nothing in
-- the body is looked up by search_path.
CREATE PROCEDURE dbos.run(function text, args jsonb DEFAULT '{}', INOUT result jsonb DEFAULT NULL)
	LANGUAGE plpgsql AS $$
DECLARE
	task pg_catalog.int8;
BEGIN
	task := dbos.submit(run.function, run.args);
	COMMIT;
	CALL dbos.await(task, NULL, result);
END
$$;
COMMENT ON PROCEDURE dbos.run(text, jsonb, jsonb) IS 'submits a task, commits, and waits for its value. Example: CALL dbos.run(''pg_catalog.version'');';
REVOKE ALL ON PROCEDURE dbos.run(text, jsonb, jsonb) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE dbos.run(text, jsonb, jsonb) TO dbos_user;

CREATE FUNCTION dbos.cancel(task bigint) RETURNS boolean
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_cancel';
COMMENT ON FUNCTION dbos.cancel(bigint) IS 'cancels a waiting task at once and stops a running one at commit; false when it had ended. Example: SELECT dbos.cancel(42);';
REVOKE ALL ON FUNCTION dbos.cancel(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.cancel(bigint) TO dbos_user;

CREATE FUNCTION dbos.retry(task bigint) RETURNS boolean
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_retry';
COMMENT ON FUNCTION dbos.retry(bigint) IS 'puts a failed or cancelled task back among those that wait, under its id. Example: SELECT dbos.retry(42);';
REVOKE ALL ON FUNCTION dbos.retry(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.retry(bigint) TO dbos_user;

CREATE FUNCTION dbos.progress(fraction real, note text DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_progress';
COMMENT ON FUNCTION dbos.progress(real, text) IS 'tells from inside a task how far it is (0 to 1), seen at once in dbos.tasks. Example: SELECT dbos.progress(0.5, ''half of it'');';
REVOKE ALL ON FUNCTION dbos.progress(real, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.progress(real, text) TO dbos_user;

CREATE FUNCTION dbos.explain_policy(queue text DEFAULT 'default') RETURNS SETOF text
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_explain_policy';
COMMENT ON FUNCTION dbos.explain_policy(text) IS 'the query that the choice of the next task of a queue is, and its plan. Example: SELECT * FROM dbos.explain_policy(''default'');';
REVOKE ALL ON FUNCTION dbos.explain_policy(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.explain_policy(text) TO dbos_user, dbos_monitor;

CREATE FUNCTION dbos.start() RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_start';
COMMENT ON FUNCTION dbos.start() IS 'has the tasks of this database run: needed without shared_preload_libraries, after dbos.stop(), and after a restore or copy of the database. Example: SELECT dbos.start();';
REVOKE ALL ON FUNCTION dbos.start() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.start() TO dbos_admin;

CREATE FUNCTION dbos.stop() RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_stop';
COMMENT ON FUNCTION dbos.stop() IS 'has the workers of this database end their tasks and leave, until dbos.start(), also over a restart. Example: SELECT dbos.stop();';
REVOKE ALL ON FUNCTION dbos.stop() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.stop() TO dbos_admin;
