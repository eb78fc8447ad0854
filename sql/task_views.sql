-- task_views.sql: what people read of tasks, queues and workers.
-- SPDX-License-Identifier: PostgreSQL

-- What is known of processes beside the tables; the views below decide who sees what of it.
CREATE FUNCTION dbos.running_tasks(OUT id bigint, OUT pid integer, OUT started_at timestamptz, OUT progress real, OUT note text)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 8 AS 'MODULE_PATHNAME', 'dbos_running_tasks';
COMMENT ON FUNCTION dbos.running_tasks() IS 'tasks of this database that run now; read dbos.tasks';
REVOKE ALL ON FUNCTION dbos.running_tasks() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.running_tasks() TO dbos_user, dbos_monitor;

CREATE FUNCTION dbos.list_workers(OUT pid integer, OUT kind text, OUT database oid, OUT role oid, OUT state text,
								  OUT since timestamptz, OUT task_id bigint, OUT tasks_done bigint)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 8 AS 'MODULE_PATHNAME', 'dbos_list_workers';
COMMENT ON FUNCTION dbos.list_workers() IS 'worker processes; read dbos.workers';
REVOKE ALL ON FUNCTION dbos.list_workers() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.list_workers() TO dbos_monitor;

CREATE FUNCTION dbos.queue_running(queue_id integer) RETURNS integer
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_queue_running';
COMMENT ON FUNCTION dbos.queue_running(integer) IS 'tasks of a queue that run now; read dbos.queues';
REVOKE ALL ON FUNCTION dbos.queue_running(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.queue_running(integer) TO dbos_user, dbos_monitor;

CREATE FUNCTION dbos.workers_can_run() RETURNS boolean
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_can_run';
COMMENT ON FUNCTION dbos.workers_can_run() IS 'whether anybody runs tasks of this database; see dbos.health()';
REVOKE ALL ON FUNCTION dbos.workers_can_run() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.workers_can_run() TO dbos_user, dbos_monitor;

-- Arguments, results, errors and idempotency keys are content: of the task's own role and of
-- dbos_admin.  dbos_monitor sees that a task is there and how it goes.
CREATE VIEW dbos.tasks WITH (security_barrier) AS
	SELECT t.id,
		CASE WHEN r.id IS NOT NULL THEN 'running'
			WHEN w.reason IS NOT NULL THEN 'waiting'
			ELSE 'ready' END AS state,
		CASE WHEN t.kind OPERATOR(pg_catalog.=) 's' THEN 'SQL' ELSE t.function END AS function,
		pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) t.submitted_at AS age,
		w.reason AS wait_reason,
		q.name AS queue,
		t.priority,
		CASE WHEN NOT own.content THEN NULL
			WHEN t.kind OPERATOR(pg_catalog.=) 's' THEN pg_catalog.to_jsonb(t.function) ELSE t.args END AS args,
		t.role,
		t.container_id AS container,
		t.parent_id,
		CASE WHEN own.content THEN t.idempotency_key END AS idempotency_key,
		t.partition_key,
		t.submitted_at,
		t.run_at,
		r.started_at,
		NULL::timestamptz AS finished_at,
		t.attempt OPERATOR(pg_catalog.+) CASE WHEN r.id IS NULL THEN 0 ELSE 1 END AS attempt,
		t.max_attempts,
		t.crashes,
		t.timeout,
		t.deadline,
		r.pid AS worker_pid,
		r.progress,
		CASE WHEN own.content THEN r.note END AS progress_note,
		NULL::jsonb AS result,
		NULL::jsonb AS error,
		CASE WHEN own.content THEN t.attributes END AS attributes
	FROM dbos.task t
		JOIN dbos.queue q ON q.id OPERATOR(pg_catalog.=) t.queue_id
		LEFT JOIN dbos.running_tasks() r ON r.id OPERATOR(pg_catalog.=) t.id
		CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(t.role::pg_catalog.oid, 'USAGE')
							OR pg_catalog.pg_has_role('dbos_admin', 'USAGE') AS content) own
		CROSS JOIN LATERAL (SELECT CASE WHEN r.id IS NOT NULL THEN NULL
			WHEN t.unmet OPERATOR(pg_catalog.>) 0 THEN 'dependency'
			WHEN t.held THEN 'time'
			WHEN q.paused THEN 'paused'
			WHEN NOT dbos.workers_can_run() THEN 'no worker'
			WHEN dbos.queue_running(q.id) OPERATOR(pg_catalog.>=) q.concurrency THEN 'limit' END AS reason) w
	WHERE t.shard OPERATOR(pg_catalog.=) ANY ('{0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}'::smallint[])
		AND dbos.in_container(t.container_id)
		AND (own.content OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE'))
	UNION ALL
	SELECT h.id,
		h.state,
		CASE WHEN h.kind OPERATOR(pg_catalog.=) 's' THEN 'SQL' ELSE h.function END,
		pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) h.submitted_at,
		NULL,
		COALESCE(q.name, '(dropped)'),
		h.priority,
		CASE WHEN NOT own.content THEN NULL
			WHEN h.kind OPERATOR(pg_catalog.=) 's' THEN pg_catalog.to_jsonb(h.function) ELSE h.args END,
		h.role,
		h.container_id,
		h.parent_id,
		CASE WHEN own.content THEN h.idempotency_key END,
		h.partition_key,
		h.submitted_at,
		h.run_at,
		h.started_at,
		h.finished_at,
		h.attempt,
		h.max_attempts,
		h.crashes,
		h.timeout,
		h.deadline,
		h.worker_pid,
		NULL,
		NULL,
		CASE WHEN own.content THEN h.result END,
		CASE WHEN own.content THEN h.error END,
		CASE WHEN own.content THEN h.attributes END
	FROM dbos.task_history h
		LEFT JOIN dbos.queue q ON q.id OPERATOR(pg_catalog.=) h.queue_id
		CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(h.role::pg_catalog.oid, 'USAGE')
							OR pg_catalog.pg_has_role('dbos_admin', 'USAGE') AS content) own
	WHERE dbos.in_container(h.container_id)
		AND (own.content OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE'));
COMMENT ON VIEW dbos.tasks IS 'tasks that you may see, waiting, running and ended. Example: SELECT id, state, function, wait_reason FROM dbos.tasks ORDER BY id DESC LIMIT 10;';
GRANT SELECT ON dbos.tasks TO dbos_user, dbos_monitor;

CREATE VIEW dbos.attempts WITH (security_barrier) AS
	SELECT a.task_id, a.attempt, a.outcome, a.started_at, a.finished_at,
		a.finished_at OPERATOR(pg_catalog.-) a.started_at AS duration,
		a.worker_pid, a.cpu_seconds, a.rows, a.buffers_hit, a.buffers_read, a.memory_bytes,
		CASE WHEN t.args IS NOT NULL THEN a.error END AS error
	FROM dbos.task_attempt a JOIN dbos.tasks t ON t.id OPERATOR(pg_catalog.=) a.task_id
	UNION ALL
	SELECT h.id, h.attempt OPERATOR(pg_catalog.+) h.crashes, h.state, h.started_at, h.finished_at,
		h.finished_at OPERATOR(pg_catalog.-) h.started_at,
		h.worker_pid, h.cpu_seconds, h.rows, h.buffers_hit, h.buffers_read, h.memory_bytes,
		CASE WHEN own.content THEN h.error END
	FROM dbos.task_history h
		CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(h.role::pg_catalog.oid, 'USAGE')
							OR pg_catalog.pg_has_role('dbos_admin', 'USAGE') AS content) own
	WHERE h.started_at IS NOT NULL AND dbos.in_container(h.container_id)
		AND (own.content OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE'));
COMMENT ON VIEW dbos.attempts IS 'each attempt to run a task: how it ended and what it cost. Example: SELECT task_id, attempt, outcome, duration FROM dbos.attempts ORDER BY finished_at DESC LIMIT 10;';
GRANT SELECT ON dbos.attempts TO dbos_user, dbos_monitor;

CREATE VIEW dbos.queues WITH (security_barrier) AS
	SELECT q.name, q.owner, q.container_id AS container, q.concurrency, q.paused,
		dbos.queue_running(q.id) AS running,
		(SELECT pg_catalog.count(*) FROM dbos.task t WHERE t.queue_id OPERATOR(pg_catalog.=) q.id) AS depth,
		(SELECT pg_catalog.min(t.submitted_at) FROM dbos.task t WHERE t.queue_id OPERATOR(pg_catalog.=) q.id) AS oldest,
		q.created_at
	FROM dbos.queue q WHERE dbos.in_container(q.container_id);
COMMENT ON VIEW dbos.queues IS 'queues with their limits and what is in them. Example: SELECT name, running, depth, paused FROM dbos.queues;';
GRANT SELECT ON dbos.queues TO dbos_user, dbos_monitor;

CREATE VIEW dbos.workers WITH (security_barrier) AS
	SELECT w.pid, w.kind, d.datname AS database, w.role::regrole AS role, w.state, w.since, w.task_id, w.tasks_done
	FROM dbos.list_workers() w LEFT JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) w.database
	WHERE dbos.in_container(0) OR w.pid OPERATOR(pg_catalog.=) ANY (SELECT r.pid FROM dbos.running_tasks() r);
COMMENT ON VIEW dbos.workers IS 'worker processes of the whole server; in a container, those that run its tasks. Example: SELECT pid, kind, database, role, state FROM dbos.workers;';
GRANT SELECT ON dbos.workers TO dbos_monitor;

CREATE VIEW dbos.decisions WITH (security_barrier) AS
	SELECT d.decided_at, q.name AS queue, d.chosen, d.alternatives, d.propensity, d.reward, d.context
	FROM dbos.decision d LEFT JOIN dbos.queue q ON q.id OPERATOR(pg_catalog.=) d.queue_id
	WHERE dbos.in_container(COALESCE(q.container_id, 0));
COMMENT ON VIEW dbos.decisions IS 'sampled choices of the next task, what else could have been chosen, and the reward (minus the seconds from submit to end). Example: SELECT queue, chosen, alternatives, reward FROM dbos.decisions ORDER BY decided_at DESC LIMIT 5;';
GRANT SELECT ON dbos.decisions TO dbos_monitor;

CREATE VIEW dbos.function_stats AS
	SELECT t.function, pg_catalog.count(*) AS count,
		pg_catalog.avg(CASE WHEN t.state OPERATOR(pg_catalog.=) 'failed' THEN 1.0 ELSE 0.0 END)::double precision AS error_rate,
		pg_catalog.percentile_cont(0.5) WITHIN GROUP (ORDER BY t.finished_at OPERATOR(pg_catalog.-) t.started_at) AS p50,
		pg_catalog.percentile_cont(0.95) WITHIN GROUP (ORDER BY t.finished_at OPERATOR(pg_catalog.-) t.started_at) AS p95,
		pg_catalog.percentile_cont(0.99) WITHIN GROUP (ORDER BY t.finished_at OPERATOR(pg_catalog.-) t.started_at) AS p99
	FROM dbos.tasks t WHERE t.started_at IS NOT NULL AND t.finished_at IS NOT NULL
	GROUP BY t.function;
COMMENT ON VIEW dbos.function_stats IS 'how often each function ran as a task, failed, and how long it took. Example: SELECT function, count, error_rate, p95 FROM dbos.function_stats ORDER BY count DESC;';
GRANT SELECT ON dbos.function_stats TO dbos_user, dbos_monitor;
