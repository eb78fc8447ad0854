-- task_state.sql: tasks and queues as people see them.  Part of the install script and of the update to it.
-- SPDX-License-Identifier: PostgreSQL

-- What is known of processes beside the tables; the views below decide who sees what of it.
CREATE OR REPLACE FUNCTION dbos.running_tasks(OUT id bigint, OUT pid integer, OUT started_at timestamptz, OUT progress real, OUT note text)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 8 AS 'MODULE_PATHNAME', 'dbos_running_tasks';
COMMENT ON FUNCTION dbos.running_tasks() IS 'tasks of this database that run now; read dbos.tasks';
REVOKE ALL ON FUNCTION dbos.running_tasks() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.running_tasks() TO dbos_user, dbos_monitor;

CREATE OR REPLACE FUNCTION dbos.list_workers(OUT pid integer, OUT kind text, OUT database oid, OUT role oid, OUT state text,
								  OUT since timestamptz, OUT task_id bigint, OUT tasks_done bigint)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 8 AS 'MODULE_PATHNAME', 'dbos_list_workers';
COMMENT ON FUNCTION dbos.list_workers() IS 'worker processes; read dbos.workers';
REVOKE ALL ON FUNCTION dbos.list_workers() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.list_workers() TO dbos_monitor;

CREATE OR REPLACE FUNCTION dbos.queue_running(queue_id integer) RETURNS integer
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_queue_running';
COMMENT ON FUNCTION dbos.queue_running(integer) IS 'tasks of a queue that run now; read dbos.queues';
REVOKE ALL ON FUNCTION dbos.queue_running(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.queue_running(integer) TO dbos_user, dbos_monitor;

CREATE OR REPLACE FUNCTION dbos.workers_can_run() RETURNS boolean
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_can_run';
COMMENT ON FUNCTION dbos.workers_can_run() IS 'whether anybody runs tasks of this database; see dbos.health()';
REVOKE ALL ON FUNCTION dbos.workers_can_run() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.workers_can_run() TO dbos_user, dbos_monitor;

-- Arguments, results, errors and idempotency keys are content: of the task's own role and of
-- dbos_admin.  dbos_monitor sees that a task is there and how it goes.
CREATE OR REPLACE VIEW dbos.tasks WITH (security_barrier) AS
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
			WHEN dbos.queue_running(q.id) OPERATOR(pg_catalog.>=) q.concurrency THEN 'limit'
			WHEN q.partition_concurrency IS NOT NULL AND t.partition_key IS NOT NULL
				AND (SELECT pg_catalog.count(*) FROM dbos.running_tasks() o JOIN dbos.task other
						ON other.id OPERATOR(pg_catalog.=) o.id AND other.shard OPERATOR(pg_catalog.=) (o.id OPERATOR(pg_catalog.&) 15)::smallint
					WHERE other.queue_id OPERATOR(pg_catalog.=) q.id AND other.partition_key OPERATOR(pg_catalog.=) t.partition_key)
				OPERATOR(pg_catalog.>=) q.partition_concurrency THEN 'limit'
			WHEN (q.rate_limit IS NOT NULL OR q.partition_rate_limit IS NOT NULL)
				AND EXISTS (SELECT FROM dbos.queue_start s
					CROSS JOIN LATERAL (SELECT pg_catalog.sum(b.count) AS count
						FROM ROWS FROM (pg_catalog.unnest(s.started_before), pg_catalog.unnest(s.starts)) b(at, count)
						WHERE b.at OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) q.rate_period)) recent
					WHERE s.queue_id OPERATOR(pg_catalog.=) q.id
						AND recent.count OPERATOR(pg_catalog.>=) CASE WHEN s.partition OPERATOR(pg_catalog.=) 0 THEN q.rate_limit
							WHEN s.partition OPERATOR(pg_catalog.=) (pg_catalog.hashtextextended(t.partition_key COLLATE pg_catalog."C", 0) OPERATOR(pg_catalog.|) 1)
							THEN q.partition_rate_limit END) THEN 'limit' END AS reason) w
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

CREATE OR REPLACE VIEW dbos.queues WITH (security_barrier) AS
	SELECT q.name, q.owner, q.container_id AS container, q.concurrency, q.paused,
		dbos.queue_running(q.id) AS running,
		(SELECT pg_catalog.count(*) FROM dbos.task t WHERE t.queue_id OPERATOR(pg_catalog.=) q.id) AS depth,
		(SELECT pg_catalog.min(t.submitted_at) FROM dbos.task t WHERE t.queue_id OPERATOR(pg_catalog.=) q.id) AS oldest,
		q.created_at, q.partition_concurrency, q.rate_limit, q.partition_rate_limit, q.rate_period, q.policy
	FROM dbos.queue q WHERE dbos.in_container(q.container_id);
COMMENT ON VIEW dbos.queues IS 'queues with their limits and what is in them. Example: SELECT name, running, depth, paused FROM dbos.queues;';
GRANT SELECT ON dbos.queues TO dbos_user, dbos_monitor;

