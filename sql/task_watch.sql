-- task_watch.sql: what is wrong, alerts, and figures for a monitoring system.
-- SPDX-License-Identifier: PostgreSQL

-- Sessions' transactions are others' business, but whose they are is to be named.
DO $$
BEGIN
	IF NOT pg_catalog.pg_has_role('dbos_owner', 'pg_read_all_stats', 'MEMBER') THEN
		GRANT pg_read_all_stats TO dbos_owner;
	END IF;
END
$$;

-- Evaluated as dbos_owner, by dbos.health() and the scheduler.
CREATE VIEW dbos.trouble AS
	WITH patience AS (SELECT pg_catalog.current_setting('dbos.alert_after')::interval AS it)
	SELECT 'task queues' AS component,
		q.name OPERATOR(pg_catalog.||) CASE WHEN q.container_id OPERATOR(pg_catalog.<>) 0 THEN pg_catalog.format(' (container %s)', q.container_id) ELSE '' END AS subject, r.since,
		pg_catalog.format('Tasks of queue "%s" are ready since %s, and none of it runs.', q.name, pg_catalog.date_trunc('second', r.since)) AS detail,
		CASE WHEN q.concurrency OPERATOR(pg_catalog.=) 0 OR q.partition_concurrency OPERATOR(pg_catalog.=) 0
				OR q.rate_limit OPERATOR(pg_catalog.=) 0 OR q.partition_rate_limit OPERATOR(pg_catalog.=) 0
				THEN 'A limit of the queue is 0; see dbos.alter_queue().'
			WHEN NOT dbos.workers_can_run() THEN 'Nobody runs tasks of this database: SELECT dbos.start();'
			ELSE 'See who runs in dbos.workers; raise max_worker_processes or dbos.max_workers if all are busy.' END AS hint
	FROM patience, dbos.queue q
		CROSS JOIN LATERAL (SELECT pg_catalog.min(f.ready) AS since FROM (
			(SELECT GREATEST(t.submitted_at, t.run_at) AS ready FROM dbos.task t
				WHERE t.queue_id OPERATOR(pg_catalog.=) q.id AND NOT t.held AND t.partition_key IS NULL LIMIT 100)
			UNION ALL
			(SELECT GREATEST(t.submitted_at, t.run_at) FROM dbos.task t
				WHERE t.queue_id OPERATOR(pg_catalog.=) q.id AND NOT t.held AND t.partition_key IS NOT NULL LIMIT 100)) f) r
	WHERE NOT q.paused AND dbos.queue_running(q.id) OPERATOR(pg_catalog.=) 0
		AND r.since OPERATOR(pg_catalog.<) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) patience.it)
		AND (q.rate_limit OPERATOR(pg_catalog.=) 0 OR q.partition_rate_limit OPERATOR(pg_catalog.=) 0
			 OR NOT EXISTS (SELECT FROM dbos.partition_at_limit l WHERE l.queue_id OPERATOR(pg_catalog.=) q.id))
	UNION ALL
	SELECT 'task snapshots', 'session ' OPERATOR(pg_catalog.||) a.pid::text, a.xact_start,
		pg_catalog.format('Session %s of %s%s has a transaction open since %s: what was deleted since then cannot be cleaned up.', a.pid,
						  COALESCE(a.usename, 'the server'), COALESCE(' (' OPERATOR(pg_catalog.||) NULLIF(a.application_name, '') OPERATOR(pg_catalog.||) ')', ''),
						  pg_catalog.date_trunc('second', a.xact_start)),
		pg_catalog.format('End the transaction, or SELECT pg_terminate_backend(%s); idle_in_transaction_session_timeout ends those that are forgotten.', a.pid)
	FROM patience, pg_catalog.pg_stat_activity a
	WHERE (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL) AND a.datid OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
		AND a.backend_type OPERATOR(pg_catalog.<>) 'autovacuum worker'
		AND a.xact_start OPERATOR(pg_catalog.<) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) (patience.it OPERATOR(pg_catalog.*) 5))
	UNION ALL
	SELECT 'task snapshots', 'prepared transaction ' OPERATOR(pg_catalog.||) p.gid, p.prepared,
		pg_catalog.format('Transaction "%s" of %s is prepared since %s: what was deleted since then cannot be cleaned up.', p.gid, p.owner, pg_catalog.date_trunc('second', p.prepared)),
		pg_catalog.format('COMMIT PREPARED or ROLLBACK PREPARED %L;', p.gid)
	FROM patience, pg_catalog.pg_prepared_xacts p
	WHERE p.database OPERATOR(pg_catalog.=) pg_catalog.current_database()
		AND p.prepared OPERATOR(pg_catalog.<) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) (patience.it OPERATOR(pg_catalog.*) 5))
	UNION ALL
	SELECT 'task snapshots', 'replication slot ' OPERATOR(pg_catalog.||) s.slot_name::text, NULL,
		pg_catalog.format('Nobody uses replication slot "%s", and it keeps what was deleted in the last %s transactions.', s.slot_name, pg_catalog.age(s.xmin)),
		pg_catalog.format('Start its standby, or SELECT pg_drop_replication_slot(%L);', s.slot_name)
	FROM pg_catalog.pg_replication_slots s
	WHERE NOT s.active AND pg_catalog.age(s.xmin) OPERATOR(pg_catalog.>) 100000
	UNION ALL
	SELECT 'task bloat', c.relname::text, b.since,
		pg_catalog.format('Table dbos.%s has %s dead rows beside %s live ones, and was not vacuumed since %s.', c.relname, b.dead, b.live, pg_catalog.date_trunc('second', b.since)),
		pg_catalog.format('VACUUM dbos.%s; and see that autovacuum is on and no old snapshot holds it up.', c.relname)
	FROM patience, pg_catalog.pg_class c
		CROSS JOIN LATERAL (SELECT pg_catalog.pg_stat_get_dead_tuples(c.oid) AS dead, pg_catalog.pg_stat_get_live_tuples(c.oid) AS live,
			COALESCE(GREATEST(pg_catalog.pg_stat_get_last_vacuum_time(c.oid), pg_catalog.pg_stat_get_last_autovacuum_time(c.oid)),
					 pg_catalog.pg_postmaster_start_time()) AS since) b
	WHERE c.relnamespace OPERATOR(pg_catalog.=) 'dbos'::pg_catalog.regnamespace AND c.relkind OPERATOR(pg_catalog.=) 'r'
		AND c.relname OPERATOR(pg_catalog.!~) '^task_history_[0-9]{8}$'
		AND b.dead OPERATOR(pg_catalog.>) 100000 AND b.dead OPERATOR(pg_catalog.>) (10 OPERATOR(pg_catalog.*) b.live)
		AND b.since OPERATOR(pg_catalog.<) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) (patience.it OPERATOR(pg_catalog.*) 10))
	UNION ALL
	SELECT 'task failures', p.function, NULL,
		pg_catalog.format('%s of %s attempts of %s failed today (UTC).', p.failed, p.count, p.function),
		'SELECT id, error FROM dbos.tasks WHERE state = ''failed'' ORDER BY id DESC LIMIT 10;'
	FROM (SELECT f.function, pg_catalog.sum(f.count) AS count, pg_catalog.sum(f.failed) AS failed
		  FROM dbos.function_profile f WHERE f.day OPERATOR(pg_catalog.=) (pg_catalog.clock_timestamp() AT TIME ZONE 'UTC')::date GROUP BY f.function) p
	WHERE p.count OPERATOR(pg_catalog.>=) 20 AND (p.failed OPERATOR(pg_catalog.*) 2) OPERATOR(pg_catalog.>) p.count
	UNION ALL
	SELECT 'schedules', s.name, r.planned_at,
		pg_catalog.format('Schedule "%s" could not submit its task of %s.', s.name, r.planned_at),
		pg_catalog.format('SELECT planned_at, outcome, error FROM dbos.schedule_runs WHERE schedule = %L ORDER BY planned_at DESC LIMIT 5;', s.name)
	FROM dbos.schedule s
		CROSS JOIN LATERAL (SELECT l.planned_at, l.outcome FROM dbos.schedule_run l
			WHERE l.schedule_id OPERATOR(pg_catalog.=) s.id ORDER BY l.planned_at DESC LIMIT 1) r
	WHERE NOT s.paused AND r.outcome OPERATOR(pg_catalog.=) 'failed';
COMMENT ON VIEW dbos.trouble IS 'what is wrong at the moment; read dbos.health() and dbos.alerts';

CREATE TABLE dbos.alert
(
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	component text NOT NULL,
	subject text NOT NULL,
	raised_at timestamptz NOT NULL,
	cleared_at timestamptz,
	detail text NOT NULL,
	hint text
);
CREATE UNIQUE INDEX alert_open ON dbos.alert (component, subject) WHERE cleared_at IS NULL;
COMMENT ON TABLE dbos.alert IS 'troubles that began, and ended or not; read dbos.alerts';
SELECT pg_catalog.pg_extension_config_dump('dbos.alert', '');

CREATE VIEW dbos.alerts WITH (security_barrier) AS
	SELECT a.id, a.raised_at, a.cleared_at, a.component, a.subject, a.detail, a.hint FROM dbos.alert a WHERE dbos.in_container(0);
COMMENT ON VIEW dbos.alerts IS 'troubles that began, and when they ended; each is also told on the channel dbos_alerts. Example: SELECT raised_at, component, detail, hint FROM dbos.alerts WHERE cleared_at IS NULL;';
GRANT SELECT ON dbos.alerts TO dbos_monitor;

-- A label's value, as the exposition format has it.
CREATE FUNCTION dbos.metric_label(value text) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS $$ SELECT '"' || replace(replace(replace(value, '\', '\\'), '"', '\"'), E'\n', '\n') || '"' $$;
COMMENT ON FUNCTION dbos.metric_label(text) IS 'a value of a label, quoted for dbos.prometheus()';
REVOKE ALL ON FUNCTION dbos.metric_label(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.metric_label(text) TO dbos_monitor;

GRANT SELECT ON dbos.function_bucket TO dbos_monitor;

CREATE FUNCTION dbos.prometheus() RETURNS text
	LANGUAGE sql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
	WITH queue AS MATERIALIZED (
		SELECT format('queue=%s,container="%s"', dbos.metric_label(name), container) AS label, * FROM dbos.queues
	), run_time AS (
		SELECT function, sum(count) AS count, sum(count * date_part('epoch', run_time)) AS sum FROM dbos.function_bucket GROUP BY function
	), sample(family, place, line) AS (
		SELECT 'dbos_info', 0, format('dbos_info{version=%s} 1', dbos.metric_label(dbos.version()))
		UNION ALL
		SELECT 'dbos_healthy', 0, format('dbos_healthy{component=%s} %s', dbos.metric_label(component), ok::integer) FROM dbos.health()
		UNION ALL
		SELECT 'dbos_alerts', 0, format('dbos_alerts %s', count(*)) FROM dbos.alerts WHERE cleared_at IS NULL
		UNION ALL
		SELECT 'dbos_queue_paused', 0, format('dbos_queue_paused{%s} %s', label, paused::integer) FROM queue
		UNION ALL
		SELECT 'dbos_queue_tasks', 0, format('dbos_queue_tasks{%s} %s', label, depth) FROM queue
		UNION ALL
		SELECT 'dbos_queue_running', 0, format('dbos_queue_running{%s} %s', label, running) FROM queue
		UNION ALL
		SELECT 'dbos_queue_oldest_seconds', 0, format('dbos_queue_oldest_seconds{%s} %s', label, coalesce(extract(epoch FROM clock_timestamp() - oldest), 0)) FROM queue
		UNION ALL
		SELECT 'dbos_workers', 0, format('dbos_workers{kind=%s,state=%s} %s', dbos.metric_label(kind), dbos.metric_label(state), count(*)) FROM dbos.workers GROUP BY kind, state
		UNION ALL
		SELECT 'dbos_attempts_total', 0, format('dbos_attempts_total{function=%s,outcome=%s} %s', dbos.metric_label(f.function), dbos.metric_label(o.outcome),
			CASE o.outcome WHEN 'failed' THEN round(f.count * f.error_rate) ELSE f.count - round(f.count * f.error_rate) END)
		FROM dbos.function_stats f CROSS JOIN (VALUES ('failed'), ('succeeded')) o(outcome)
		UNION ALL
		SELECT 'dbos_run_seconds', 0, format('dbos_run_seconds{function=%s,quantile="%s"} %s', dbos.metric_label(f.function), v.quantile, extract(epoch FROM v.run_time))
		FROM dbos.function_stats f CROSS JOIN LATERAL (VALUES ('0.5', f.p50), ('0.95', f.p95), ('0.99', f.p99)) v(quantile, run_time)
		UNION ALL
		SELECT 'dbos_run_seconds', 1, format('dbos_run_seconds_sum{function=%s} %s', dbos.metric_label(function), sum) FROM run_time
		UNION ALL
		SELECT 'dbos_run_seconds', 2, format('dbos_run_seconds_count{function=%s} %s', dbos.metric_label(function), count) FROM run_time
	), family(name, place, type, help) AS (VALUES
		('dbos_info', 1, 'gauge', 'The version of dbos, as a label.'),
		('dbos_healthy', 2, 'gauge', 'Whether a component of dbos.health() is well.'),
		('dbos_alerts', 3, 'gauge', 'Alerts that are not cleared.'),
		('dbos_queue_paused', 4, 'gauge', 'Whether a queue is paused.'),
		('dbos_queue_tasks', 5, 'gauge', 'Tasks that have not ended.'),
		('dbos_queue_running', 6, 'gauge', 'Tasks that run.'),
		('dbos_queue_oldest_seconds', 7, 'gauge', 'Age of the oldest task that has not ended.'),
		('dbos_workers', 8, 'gauge', 'Processes that run and schedule tasks.'),
		('dbos_attempts_total', 9, 'counter', 'Attempts that have ended, for as long as history is kept.'),
		('dbos_run_seconds', 10, 'summary', 'Run times of attempts, to one per cent.')
	)
	SELECT string_agg(format(E'# HELP %s %s\n# TYPE %s %s\n%s', f.name, f.help, f.name, f.type, s.lines), '' ORDER BY f.place)
	FROM family f JOIN (SELECT family, string_agg(line || E'\n', '' ORDER BY place, line) AS lines FROM sample GROUP BY family) s ON s.family = f.name
$$;
COMMENT ON FUNCTION dbos.prometheus() IS 'the state of tasks, queues, workers and functions in the text format that Prometheus reads. Example: SELECT dbos.prometheus();';
REVOKE ALL ON FUNCTION dbos.prometheus() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.prometheus() TO dbos_monitor;

CREATE FUNCTION dbos.list_worker_load(OUT pid integer, OUT database oid, OUT role oid, OUT task_id bigint, OUT since timestamptz,
									  OUT busy double precision, OUT tasks_per_second double precision)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 8 AS 'MODULE_PATHNAME', 'dbos_list_worker_load';
COMMENT ON FUNCTION dbos.list_worker_load() IS 'what executors did of late; read dbos.worker_load';
REVOKE ALL ON FUNCTION dbos.list_worker_load() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.list_worker_load() TO dbos_monitor;

CREATE VIEW dbos.worker_load WITH (security_barrier) AS
	SELECT w.pid, d.datname AS database, w.role::regrole AS role, w.since, pg_catalog.round(w.busy::numeric, 3) AS busy,
		pg_catalog.round(w.tasks_per_second::numeric, 1) AS tasks_per_second, w.task_id,
		CASE WHEN t.kind OPERATOR(pg_catalog.=) 's' THEN 'SQL' ELSE t.function END AS function
	FROM dbos.list_worker_load() w
		LEFT JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) w.database
		LEFT JOIN dbos.task t ON t.id OPERATOR(pg_catalog.=) w.task_id
			AND t.shard OPERATOR(pg_catalog.=) (w.task_id OPERATOR(pg_catalog.&) 15)::smallint
	WHERE dbos.in_container(0);
COMMENT ON VIEW dbos.worker_load IS 'which part of about the last minute each executor had tasks in hand, how many a second, and what it runs. Example: SELECT pid, role, busy, tasks_per_second, function FROM dbos.worker_load ORDER BY busy DESC;';
GRANT SELECT ON dbos.worker_load TO dbos_monitor;
