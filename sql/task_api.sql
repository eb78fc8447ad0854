-- task_api.sql: the functions of the task room.
-- SPDX-License-Identifier: PostgreSQL

-- ---- submit ----

CREATE FUNCTION dbos.submit(
	function text,
	args jsonb DEFAULT '{}',
	queue text DEFAULT 'default',
	priority integer DEFAULT 0,
	run_at timestamptz DEFAULT NULL,
	delay interval DEFAULT NULL,
	after bigint[] DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	partition_key text DEFAULT NULL,
	max_attempts integer DEFAULT 1,
	retry_delay interval DEFAULT '1 second',
	retry_backoff real DEFAULT 2,
	timeout interval DEFAULT NULL,
	deadline timestamptz DEFAULT NULL,
	attributes jsonb DEFAULT '{}'
) RETURNS bigint
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_submit';
COMMENT ON FUNCTION dbos.submit(text, jsonb, text, integer, timestamptz, interval, bigint[], text, text, integer, interval, real, interval, timestamptz, jsonb) IS
	'has a function run as a task, once this transaction commits; returns the task''s id. Example: SELECT dbos.submit(''pg_catalog.upper'', ''["hello"]'');';

CREATE FUNCTION dbos.submit_many(
	function text,
	args jsonb[],
	queue text DEFAULT 'default',
	priority integer DEFAULT 0,
	run_at timestamptz DEFAULT NULL,
	delay interval DEFAULT NULL,
	after bigint[] DEFAULT NULL,
	partition_key text DEFAULT NULL,
	max_attempts integer DEFAULT 1,
	retry_delay interval DEFAULT '1 second',
	retry_backoff real DEFAULT 2,
	timeout interval DEFAULT NULL,
	deadline timestamptz DEFAULT NULL,
	attributes jsonb DEFAULT '{}'
) RETURNS SETOF bigint
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_submit_many';
COMMENT ON FUNCTION dbos.submit_many(text, jsonb[], text, integer, timestamptz, interval, bigint[], text, integer, interval, real, interval, timestamptz, jsonb) IS
	'submits one task for each document of args; returns their ids in the same order. Example: SELECT dbos.submit_many(''pg_catalog.upper'', ARRAY[''["a"]'', ''["b"]'']::jsonb[]);';

CREATE FUNCTION dbos.submit_sql(
	command text,
	queue text DEFAULT 'default',
	priority integer DEFAULT 0,
	run_at timestamptz DEFAULT NULL,
	delay interval DEFAULT NULL,
	after bigint[] DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	partition_key text DEFAULT NULL,
	max_attempts integer DEFAULT 1,
	retry_delay interval DEFAULT '1 second',
	retry_backoff real DEFAULT 2,
	timeout interval DEFAULT NULL,
	deadline timestamptz DEFAULT NULL,
	attributes jsonb DEFAULT '{}'
) RETURNS bigint
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_submit_sql';
COMMENT ON FUNCTION dbos.submit_sql(text, text, integer, timestamptz, interval, bigint[], text, text, integer, interval, real, interval, timestamptz, jsonb) IS
	'has SQL text run as a task, VACUUM and procedures that commit included; returns the task''s id. Example: SELECT dbos.submit_sql(''VACUUM pg_catalog.pg_class'');';

REVOKE ALL ON FUNCTION
	dbos.submit(text, jsonb, text, integer, timestamptz, interval, bigint[], text, text, integer, interval, real, interval, timestamptz, jsonb),
	dbos.submit_many(text, jsonb[], text, integer, timestamptz, interval, bigint[], text, integer, interval, real, interval, timestamptz, jsonb),
	dbos.submit_sql(text, text, integer, timestamptz, interval, bigint[], text, text, integer, interval, real, interval, timestamptz, jsonb)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	dbos.submit(text, jsonb, text, integer, timestamptz, interval, bigint[], text, text, integer, interval, real, interval, timestamptz, jsonb),
	dbos.submit_many(text, jsonb[], text, integer, timestamptz, interval, bigint[], text, integer, interval, real, interval, timestamptz, jsonb),
	dbos.submit_sql(text, text, integer, timestamptz, interval, bigint[], text, text, integer, interval, real, interval, timestamptz, jsonb)
	TO dbos_user;

-- ---- queues ----

CREATE FUNCTION dbos.pause_queue(name text) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_pause_queue';
COMMENT ON FUNCTION dbos.pause_queue(text) IS
	'starts no more tasks of a queue; those that run go on. Example: SELECT dbos.pause_queue(''mail'');';

CREATE FUNCTION dbos.resume_queue(name text) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_resume_queue';
COMMENT ON FUNCTION dbos.resume_queue(text) IS
	'starts tasks of a paused queue again. Example: SELECT dbos.resume_queue(''mail'');';

CREATE FUNCTION dbos.drop_queue(name text) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_drop_queue';
COMMENT ON FUNCTION dbos.drop_queue(text) IS
	'drops a queue in which no task waits or runs. Example: SELECT dbos.drop_queue(''mail'');';

REVOKE ALL ON FUNCTION dbos.pause_queue(text), dbos.resume_queue(text), dbos.drop_queue(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.pause_queue(text), dbos.resume_queue(text), dbos.drop_queue(text) TO dbos_user;
