-- task.sql: the tables of the task room.  Functions and views: task_api.sql, task_state.sql, task_views.sql.
-- SPDX-License-Identifier: PostgreSQL

CREATE TABLE dbos.queue
(
	id integer GENERATED ALWAYS AS IDENTITY (START WITH 2) PRIMARY KEY,
	name text NOT NULL,
	container_id integer NOT NULL DEFAULT 0,
	owner regrole NOT NULL,
	concurrency integer CHECK (concurrency >= 0),
	paused boolean NOT NULL DEFAULT false,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	partition_concurrency integer CHECK (partition_concurrency >= 0),
	rate_limit integer CHECK (rate_limit >= 0),
	partition_rate_limit integer CHECK (partition_rate_limit >= 0),
	rate_period interval NOT NULL DEFAULT '1 second',
	policy text NOT NULL DEFAULT 'fair',
	UNIQUE (container_id, name)
);
COMMENT ON TABLE dbos.queue IS 'queues: a name under which tasks wait, with its limits';
-- Its id is not the sequence's: with wal_level = minimal, what is taken of a sequence after the
-- transaction that made it and took from it is forgotten by a crash.
INSERT INTO dbos.queue (id, name, owner) OVERRIDING SYSTEM VALUE VALUES (1, 'default', 'dbos_owner');
SELECT pg_catalog.pg_extension_config_dump('dbos.queue', 'WHERE name OPERATOR(pg_catalog.<>) ''default'' OR container_id OPERATOR(pg_catalog.<>) 0');

CREATE SEQUENCE dbos.task_id AS bigint CACHE 32;
COMMENT ON SEQUENCE dbos.task_id IS 'ids of tasks; the low four bits are the shard';
SELECT pg_catalog.pg_extension_config_dump('dbos.task_id', '');

-- A waiting or running task.  Its row changes once for each attempt, when it
-- ends; that it runs is known from shared memory.  Rows are inserted by C alone
-- (src/task/submit.c), which knows the order of these columns.
CREATE TABLE dbos.task
(
	shard smallint NOT NULL,
	id bigint NOT NULL,
	queue_id integer NOT NULL,
	session_role regrole NOT NULL,
	role regrole NOT NULL,
	container_id integer NOT NULL,
	priority integer NOT NULL,
	held boolean NOT NULL,
	unmet integer NOT NULL,
	run_at timestamptz,
	submitted_at timestamptz NOT NULL,
	attempt integer NOT NULL,
	max_attempts integer NOT NULL,
	crashes integer NOT NULL,
	retry_delay interval NOT NULL,
	retry_backoff real NOT NULL,
	timeout interval,
	deadline timestamptz,
	kind "char" NOT NULL,
	function text NOT NULL,
	args jsonb NOT NULL,
	parent_id bigint,
	idempotency_key text,
	partition_key text,
	attributes jsonb NOT NULL,
	PRIMARY KEY (shard, id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE dbos.task IS 'tasks that have not ended; read dbos.tasks';
COMMENT ON COLUMN dbos.task.held IS 'not in the ready order: delayed until run_at, or waiting for other tasks';
COMMENT ON COLUMN dbos.task.unmet IS 'dependencies that have not succeeded yet';
COMMENT ON COLUMN dbos.task.kind IS 'f: function, s: SQL text, m: waits for the tasks of a map, g: function that starts with its gang';
-- Ready tasks, read in windows by the scheduler.  No column of these changes when a task runs.
CREATE INDEX task_ready ON dbos.task (queue_id, session_role, priority, id) WHERE NOT held AND partition_key IS NULL;
CREATE INDEX task_partition ON dbos.task (queue_id, session_role,
	(pg_catalog.hashtextextended(partition_key COLLATE pg_catalog."C", 0) OPERATOR(pg_catalog.|) 1), priority, id)
	WHERE NOT held AND partition_key IS NOT NULL;
CREATE INDEX task_due ON dbos.task (run_at, id) WHERE held AND unmet OPERATOR(pg_catalog.=) 0;
CREATE INDEX task_deadline ON dbos.task (deadline) WHERE deadline IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('dbos.task', '');

-- A row of dbos.task is the right to act as its roles.  Who may write every table
-- (pg_write_all_data) must not make one; a superuser may, as a restore does.
CREATE FUNCTION dbos.guard_task() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_guard_task';
COMMENT ON FUNCTION dbos.guard_task() IS 'keeps all but dbos_owner and superusers from writing tasks by hand';
REVOKE ALL ON FUNCTION dbos.guard_task() FROM PUBLIC;
CREATE TRIGGER guard_task BEFORE INSERT OR UPDATE ON dbos.task
	FOR EACH STATEMENT EXECUTE FUNCTION dbos.guard_task();
COMMENT ON TRIGGER guard_task ON dbos.task IS 'keeps all but dbos_owner and superusers from writing tasks by hand';

CREATE TABLE dbos.task_dependency
(
	task_id bigint NOT NULL,
	depends_on bigint NOT NULL,
	PRIMARY KEY (task_id, depends_on)
);
CREATE INDEX task_dependency_reverse ON dbos.task_dependency (depends_on, task_id);
COMMENT ON TABLE dbos.task_dependency IS 'which waiting task waits for which other';
SELECT pg_catalog.pg_extension_config_dump('dbos.task_dependency', '');

CREATE TABLE dbos.task_key
(
	shard smallint NOT NULL,
	queue_id integer NOT NULL,
	role regrole NOT NULL,
	key text NOT NULL,
	task_id bigint NOT NULL,
	created_at timestamptz NOT NULL,
	PRIMARY KEY (shard, queue_id, role, key)
);
COMMENT ON TABLE dbos.task_key IS 'idempotency keys, which outlive their tasks';
SELECT pg_catalog.pg_extension_config_dump('dbos.task_key', '');

CREATE TABLE dbos.task_cancellation
(
	task_id bigint PRIMARY KEY,
	requested_at timestamptz NOT NULL,
	requested_by regrole NOT NULL
);
COMMENT ON TABLE dbos.task_cancellation IS 'running tasks that were told to stop; survives the crash of the worker';
SELECT pg_catalog.pg_extension_config_dump('dbos.task_cancellation', '');

-- Tasks that ended, appended in the commit that ended them.  Its partitions are
-- made at run time, one a day, each with an index of its own on id (one on the
-- parent would collide with theirs when a dump is restored), and dropped by age and size.
CREATE TABLE dbos.task_history
(
	id bigint NOT NULL,
	state text NOT NULL CHECK (state OPERATOR(pg_catalog.=) ANY (ARRAY['succeeded', 'failed', 'cancelled'])),
	queue_id integer NOT NULL,
	session_role regrole NOT NULL,
	role regrole NOT NULL,
	container_id integer NOT NULL,
	priority integer NOT NULL,
	run_at timestamptz,
	submitted_at timestamptz NOT NULL,
	started_at timestamptz,
	finished_at timestamptz NOT NULL,
	attempt integer NOT NULL,
	max_attempts integer NOT NULL,
	crashes integer NOT NULL,
	timeout interval,
	deadline timestamptz,
	kind "char" NOT NULL,
	function text NOT NULL,
	args jsonb NOT NULL,
	parent_id bigint,
	idempotency_key text,
	partition_key text,
	attributes jsonb NOT NULL,
	retry_delay interval NOT NULL,
	retry_backoff real NOT NULL,
	worker_pid integer,
	result jsonb,
	error jsonb,
	cpu_seconds real,
	rows bigint,
	buffers_hit bigint,
	buffers_read bigint,
	memory_bytes bigint,
	xid xid8 NOT NULL,
	file_bytes_read bigint,
	file_bytes_written bigint
) PARTITION BY RANGE (finished_at);
COMMENT ON TABLE dbos.task_history IS 'tasks that ended; read dbos.tasks';

-- Attempts that were followed by another one; the last one stands in the task's own row.
CREATE TABLE dbos.task_attempt
(
	task_id bigint NOT NULL,
	attempt integer NOT NULL,
	outcome text NOT NULL,
	started_at timestamptz,
	finished_at timestamptz NOT NULL,
	worker_pid integer,
	error jsonb,
	cpu_seconds real,
	rows bigint,
	buffers_hit bigint,
	buffers_read bigint,
	memory_bytes bigint,
	file_bytes_read bigint,
	file_bytes_written bigint
);
CREATE INDEX task_attempt_task ON dbos.task_attempt (task_id);
COMMENT ON TABLE dbos.task_attempt IS 'attempts that were followed by another one; read dbos.attempts';
SELECT pg_catalog.pg_extension_config_dump('dbos.task_attempt', '');

CREATE TABLE dbos.decision
(
	decided_at timestamptz NOT NULL,
	queue_id integer NOT NULL,
	chosen bigint NOT NULL,
	context jsonb NOT NULL,
	alternatives bigint[] NOT NULL,
	propensity real NOT NULL,
	reward real
);
CREATE INDEX decision_time ON dbos.decision (decided_at);
COMMENT ON TABLE dbos.decision IS 'sampled scheduling choices; read dbos.decisions';
