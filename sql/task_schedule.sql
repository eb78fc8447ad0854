-- SPDX-License-Identifier: PostgreSQL
-- Schedules: when one fires.

CREATE FUNCTION dbos.schedule_preview(cron text, timezone text DEFAULT 'UTC', starts_after timestamptz DEFAULT pg_catalog.now(), count integer DEFAULT 10)
	RETURNS SETOF timestamptz LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 10
	AS 'MODULE_PATHNAME', 'dbos_schedule_preview';
COMMENT ON FUNCTION dbos.schedule_preview(text, text, timestamptz, integer) IS
	'the next times after starts_after at which a schedule of that cron text in that time zone fires, soonest first. Example: SELECT dbos.schedule_preview(''0 9 * * mon-fri'', ''Europe/Berlin'');';

REVOKE ALL ON FUNCTION dbos.schedule_preview(text, text, timestamptz, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.schedule_preview(text, text, timestamptz, integer) TO dbos_user, dbos_monitor, dbos_admin;

-- The submits that time makes.  The roles are those of the session that made the schedule, as with a task.
CREATE SEQUENCE dbos.schedule_id AS bigint;
COMMENT ON SEQUENCE dbos.schedule_id IS 'ids of schedules';
SELECT pg_catalog.pg_extension_config_dump('dbos.schedule_id', '');

CREATE TABLE dbos.schedule
(
	id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('dbos.schedule_id'),
	name text NOT NULL,
	container_id integer NOT NULL,
	session_role regrole NOT NULL,
	role regrole NOT NULL,
	cron text NOT NULL,
	timezone text NOT NULL,
	kind "char" NOT NULL,
	function text NOT NULL,
	args jsonb NOT NULL,
	queue_id integer NOT NULL REFERENCES dbos.queue (id),
	priority integer NOT NULL,
	partition_key text,
	max_attempts integer NOT NULL,
	retry_delay interval NOT NULL,
	retry_backoff real NOT NULL,
	timeout interval,
	attributes jsonb NOT NULL,
	overlap text NOT NULL CHECK (overlap OPERATOR(pg_catalog.=) ANY (ARRAY['skip', 'allow', 'queue'])),
	catch_up boolean NOT NULL,
	paused boolean NOT NULL DEFAULT false,
	next_at timestamptz,
	last_task bigint,
	created_at timestamptz NOT NULL,
	UNIQUE (container_id, role, name)
);
CREATE INDEX schedule_due ON dbos.schedule (next_at) WHERE NOT paused;
COMMENT ON TABLE dbos.schedule IS 'schedules; read dbos.schedules';
SELECT pg_catalog.pg_extension_config_dump('dbos.schedule', '');

CREATE TABLE dbos.schedule_run
(
	schedule_id bigint NOT NULL,
	planned_at timestamptz NOT NULL,
	fired_at timestamptz NOT NULL,
	outcome text NOT NULL,
	task_id bigint,
	error jsonb
);
CREATE INDEX schedule_run_planned ON dbos.schedule_run (schedule_id, planned_at);
CREATE INDEX schedule_run_task ON dbos.schedule_run (task_id) WHERE outcome OPERATOR(pg_catalog.=) 'queued';
COMMENT ON TABLE dbos.schedule_run IS 'what became of each time at which a schedule was to fire; read dbos.schedule_runs';
SELECT pg_catalog.pg_extension_config_dump('dbos.schedule_run', '');

CREATE FUNCTION dbos.schedule(
	name text,
	cron text,
	function text,
	args jsonb DEFAULT '{}',
	timezone text DEFAULT 'UTC',
	queue text DEFAULT 'default',
	overlap text DEFAULT 'skip',
	catch_up boolean DEFAULT false,
	priority integer DEFAULT 0,
	partition_key text DEFAULT NULL,
	max_attempts integer DEFAULT 1,
	retry_delay interval DEFAULT '1 second',
	retry_backoff real DEFAULT 2,
	timeout interval DEFAULT NULL,
	attributes jsonb DEFAULT '{}') RETURNS bigint
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_schedule';
COMMENT ON FUNCTION dbos.schedule(text, text, text, jsonb, text, text, text, boolean, integer, text, integer, interval, real, interval, jsonb) IS
	'submits a task at the times of a cron text, or changes your schedule of that name; overlap says what is done while the last task goes on: skip, allow or queue; with catch_up, times that were missed are made up for. Example: SELECT dbos.schedule(''report'', ''0 9 * * mon-fri'', ''pg_catalog.now'', timezone => ''Europe/Berlin'');';

CREATE FUNCTION dbos.schedule_sql(
	name text,
	cron text,
	command text,
	timezone text DEFAULT 'UTC',
	queue text DEFAULT 'default',
	overlap text DEFAULT 'skip',
	catch_up boolean DEFAULT false,
	priority integer DEFAULT 0,
	partition_key text DEFAULT NULL,
	max_attempts integer DEFAULT 1,
	retry_delay interval DEFAULT '1 second',
	retry_backoff real DEFAULT 2,
	timeout interval DEFAULT NULL,
	attributes jsonb DEFAULT '{}') RETURNS bigint
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_schedule_sql';
COMMENT ON FUNCTION dbos.schedule_sql(text, text, text, text, text, text, boolean, integer, text, integer, interval, real, interval, jsonb) IS
	'as dbos.schedule(), for SQL text, VACUUM included. Example: SELECT dbos.schedule_sql(''nightly vacuum'', ''0 3 * * *'', ''VACUUM (ANALYZE)'');';

CREATE FUNCTION dbos.unschedule(name text) RETURNS boolean
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_unschedule';
COMMENT ON FUNCTION dbos.unschedule(text) IS
	'forgets a schedule, and the history of its runs; tasks that it has submitted go on; false when there was none. Example: SELECT dbos.unschedule(''report'');';

CREATE FUNCTION dbos.run_schedule(name text) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_run_schedule';
COMMENT ON FUNCTION dbos.run_schedule(text) IS
	'submits the task of a schedule now, as its owner, whether or not it is paused; when it fires next stays as it is. Example: SELECT dbos.run_schedule(''report'');';

CREATE FUNCTION dbos.pause_schedule(name text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_pause_schedule';
COMMENT ON FUNCTION dbos.pause_schedule(text) IS
	'lets a schedule fire no more until it is resumed. Example: SELECT dbos.pause_schedule(''report'');';

CREATE FUNCTION dbos.resume_schedule(name text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_resume_schedule';
COMMENT ON FUNCTION dbos.resume_schedule(text) IS
	'lets a paused schedule fire again, from its next time on. Example: SELECT dbos.resume_schedule(''report'');';

REVOKE ALL ON FUNCTION
	dbos.schedule(text, text, text, jsonb, text, text, text, boolean, integer, text, integer, interval, real, interval, jsonb),
	dbos.schedule_sql(text, text, text, text, text, text, boolean, integer, text, integer, interval, real, interval, jsonb),
	dbos.unschedule(text), dbos.run_schedule(text), dbos.pause_schedule(text), dbos.resume_schedule(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	dbos.schedule(text, text, text, jsonb, text, text, text, boolean, integer, text, integer, interval, real, interval, jsonb),
	dbos.schedule_sql(text, text, text, text, text, text, boolean, integer, text, integer, interval, real, interval, jsonb),
	dbos.unschedule(text), dbos.run_schedule(text), dbos.pause_schedule(text), dbos.resume_schedule(text) TO dbos_user;

CREATE VIEW dbos.schedules WITH (security_barrier) AS
	SELECT s.id, s.name, s.cron, s.timezone,
		CASE WHEN s.kind OPERATOR(pg_catalog.=) 's' THEN 'SQL' ELSE s.function END AS function,
		CASE WHEN NOT own.content THEN NULL
			WHEN s.kind OPERATOR(pg_catalog.=) 's' THEN pg_catalog.to_jsonb(s.function) ELSE s.args END AS args,
		q.name AS queue, s.priority, s.overlap, s.catch_up, s.paused,
		CASE WHEN NOT s.paused THEN s.next_at END AS next_at,
		r.planned_at AS last_planned_at, r.outcome AS last_outcome, s.last_task,
		s.role, s.container_id AS container, s.partition_key, s.max_attempts, s.timeout, s.created_at
	FROM dbos.schedule s
		JOIN dbos.queue q ON q.id OPERATOR(pg_catalog.=) s.queue_id
		LEFT JOIN LATERAL (SELECT l.planned_at, l.outcome FROM dbos.schedule_run l
			WHERE l.schedule_id OPERATOR(pg_catalog.=) s.id ORDER BY l.planned_at DESC LIMIT 1) r ON true
		CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(s.role::pg_catalog.oid, 'USAGE')
							OR pg_catalog.pg_has_role('dbos_admin', 'USAGE') AS content) own
	WHERE dbos.in_container(s.container_id)
		AND (own.content OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE'));
COMMENT ON VIEW dbos.schedules IS 'schedules that you may see, and when they fire next. Example: SELECT name, cron, timezone, next_at, last_outcome FROM dbos.schedules;';
GRANT SELECT ON dbos.schedules TO dbos_user, dbos_monitor;

CREATE VIEW dbos.schedule_runs WITH (security_barrier) AS
	SELECT s.name AS schedule, r.planned_at, r.fired_at, r.outcome, r.task_id, r.error
	FROM dbos.schedule_run r JOIN dbos.schedules s ON s.id OPERATOR(pg_catalog.=) r.schedule_id;
COMMENT ON VIEW dbos.schedule_runs IS 'what became of each time at which a schedule was to fire: submitted, queued, skipped, missed or failed. Example: SELECT schedule, planned_at, outcome, task_id FROM dbos.schedule_runs ORDER BY planned_at DESC LIMIT 10;';
GRANT SELECT ON dbos.schedule_runs TO dbos_user, dbos_monitor;
