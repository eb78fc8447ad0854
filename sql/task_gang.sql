-- task_gang.sql: tasks that start together or not at all.
-- SPDX-License-Identifier: PostgreSQL

CREATE TABLE dbos.task_gang
(
	task_id bigint PRIMARY KEY,
	gang_id bigint NOT NULL
);
CREATE INDEX task_gang_gang ON dbos.task_gang (gang_id);
COMMENT ON TABLE dbos.task_gang IS 'which tasks start together; kept for as long as they have not ended';
COMMENT ON COLUMN dbos.task_gang.gang_id IS 'its first task';
SELECT pg_catalog.pg_extension_config_dump('dbos.task_gang', '');

CREATE FUNCTION dbos.submit_gang(
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
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_submit_gang';
COMMENT ON FUNCTION dbos.submit_gang(text, jsonb[], text, integer, timestamptz, interval, bigint[], text, integer, interval, real, interval, timestamptz, jsonb) IS
	'submits one task for each document of args, all of which start at the same moment, each in a worker of its own, or none does; returns their ids in the same order. Example: SELECT dbos.submit_gang(''pg_catalog.upper'', ARRAY[''["a"]'', ''["b"]'']::jsonb[]);';
REVOKE ALL ON FUNCTION dbos.submit_gang(text, jsonb[], text, integer, timestamptz, interval, bigint[], text, integer, interval, real, interval, timestamptz, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.submit_gang(text, jsonb[], text, integer, timestamptz, interval, bigint[], text, integer, interval, real, interval, timestamptz, jsonb) TO dbos_user;
