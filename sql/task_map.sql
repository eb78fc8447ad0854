-- task_map.sql: a task for each row of a query, and one that is done when all of them are.
-- SPDX-License-Identifier: PostgreSQL

CREATE TABLE dbos.task_map
(
	parent_id bigint PRIMARY KEY,
	children bigint[] NOT NULL,
	concurrency integer,
	place integer NOT NULL
);
COMMENT ON TABLE dbos.task_map IS 'which tasks a map waits for; see dbos.map()';
COMMENT ON COLUMN dbos.task_map.place IS 'with concurrency: so many of children were let go; without: all behind this place have ended';
SELECT pg_catalog.pg_extension_config_dump('dbos.task_map', '');

CREATE FUNCTION dbos.map(
	function text,
	query text,
	queue text DEFAULT 'default',
	priority integer DEFAULT 0,
	idempotency_key text DEFAULT NULL,
	partition_key text DEFAULT NULL,
	max_attempts integer DEFAULT 1,
	retry_delay interval DEFAULT '1 second',
	retry_backoff real DEFAULT 2,
	timeout interval DEFAULT NULL,
	deadline timestamptz DEFAULT NULL,
	attributes jsonb DEFAULT '{}',
	concurrency integer DEFAULT NULL) RETURNS bigint
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_map';
COMMENT ON FUNCTION dbos.map(text, text, text, integer, text, text, integer, interval, real, interval, timestamptz, jsonb, integer) IS
	'submits a task for each row of a query, with the row as its arguments (a single column of jsonb is the document itself), and one that succeeds when all have, with the array of their results in the order of the rows; at most concurrency of them run at once, NULL for no limit. Example: SELECT dbos.map(''pg_catalog.abs(integer)'', ''SELECT jsonb_build_array(n) FROM generate_series(-3, 3) n'');';
REVOKE ALL ON FUNCTION dbos.map(text, text, text, integer, text, text, integer, interval, real, interval, timestamptz, jsonb, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.map(text, text, text, integer, text, text, integer, interval, real, interval, timestamptz, jsonb, integer) TO dbos_user;
