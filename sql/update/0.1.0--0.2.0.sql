-- 0.1.0--0.2.0.sql: what 0.2.0 changed in objects that 0.1.0 had.  What it added
-- stands in the areas that 0.1.0--0.2.0.order names.
-- SPDX-License-Identifier: PostgreSQL

-- Limits and policies of queues; the functions are made again in task_policy.sql.
ALTER TABLE dbos.queue ADD COLUMN partition_concurrency integer CHECK (partition_concurrency >= 0),
	ADD COLUMN rate_limit integer CHECK (rate_limit >= 0),
	ADD COLUMN partition_rate_limit integer CHECK (partition_rate_limit >= 0),
	ADD COLUMN rate_period interval NOT NULL DEFAULT '1 second',
	ADD COLUMN policy text NOT NULL DEFAULT 'fair';
ALTER TABLE dbos.queue ALTER COLUMN id SET START WITH 2;
DROP FUNCTION dbos.create_queue(text, integer), dbos.alter_queue(text, integer);

-- What an attempt has read from files and written to them.
ALTER TABLE dbos.task_history ADD COLUMN file_bytes_read bigint, ADD COLUMN file_bytes_written bigint;
ALTER TABLE dbos.task_attempt ADD COLUMN file_bytes_read bigint, ADD COLUMN file_bytes_written bigint;

-- Of tasks that wait or run: few rows, and submits wait for as long as these take.
DROP INDEX dbos.task_ready;
CREATE INDEX task_ready ON dbos.task (queue_id, session_role, priority, id) WHERE NOT held AND partition_key IS NULL;
CREATE INDEX task_partition ON dbos.task (queue_id, session_role,
	(pg_catalog.hashtextextended(partition_key COLLATE pg_catalog."C", 0) OPERATOR(pg_catalog.|) 1), priority, id)
	WHERE NOT held AND partition_key IS NOT NULL;
COMMENT ON COLUMN dbos.task.kind IS 'f: function, s: SQL text, m: waits for the tasks of a map, g: function that starts with its gang';

-- There is one room more to speak of; made again in help.sql.
DROP FUNCTION dbos.help(text);
DROP VIEW dbos.help_entries;
