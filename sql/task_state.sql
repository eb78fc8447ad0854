-- task_state.sql: tasks, attempts and queues as people see them.  Part of the install script and of the update to it.
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

-- A set of a few, made once for a query: whoever looks at a hundred thousand tasks asks it for each.
CREATE VIEW dbos.partition_at_limit AS
	SELECT s.queue_id, s.partition
	FROM dbos.queue_start s JOIN dbos.queue q ON q.id OPERATOR(pg_catalog.=) s.queue_id
		CROSS JOIN LATERAL (SELECT pg_catalog.sum(b.count) AS count
			FROM ROWS FROM (pg_catalog.unnest(s.started_before), pg_catalog.unnest(s.starts)) b(at, count)
			WHERE b.at OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) q.rate_period)) recent
	WHERE recent.count OPERATOR(pg_catalog.>=) CASE s.partition WHEN 0 THEN q.rate_limit ELSE q.partition_rate_limit END
	UNION ALL
	SELECT t.queue_id, pg_catalog.hashtextextended(t.partition_key COLLATE pg_catalog."C", 0) OPERATOR(pg_catalog.|) 1
	FROM dbos.running_tasks() r
		JOIN dbos.task t ON t.shard OPERATOR(pg_catalog.=) (r.id OPERATOR(pg_catalog.&) 15)::smallint AND t.id OPERATOR(pg_catalog.=) r.id
		JOIN dbos.queue q ON q.id OPERATOR(pg_catalog.=) t.queue_id
	WHERE q.partition_concurrency IS NOT NULL AND t.partition_key IS NOT NULL
	GROUP BY 1, 2 HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>=) pg_catalog.min(q.partition_concurrency);
COMMENT ON VIEW dbos.partition_at_limit IS 'partitions, and queues as partition 0, of which no more may run or start now; read dbos.tasks';

-- Arguments, results, errors and idempotency keys are content: of the task's own role and of
-- dbos_admin.  dbos_monitor sees that a task is there and how it goes.
CREATE VIEW dbos.unfinished_task WITH (security_barrier) AS
	SELECT t.id,
		CASE WHEN t.pid IS NOT NULL THEN 'running'
			WHEN t.wait_reason IS NOT NULL THEN 'waiting'
			ELSE 'ready' END AS state,
		CASE WHEN t.kind OPERATOR(pg_catalog.=) 's' THEN 'SQL' ELSE t.function END AS function,
		pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) t.submitted_at AS age,
		t.wait_reason,
		t.queue_id,
		t.priority,
		CASE WHEN NOT t.content THEN NULL
			WHEN t.kind OPERATOR(pg_catalog.=) 's' THEN pg_catalog.to_jsonb(t.function) ELSE t.args END AS args,
		t.role,
		t.container_id AS container,
		t.parent_id,
		CASE WHEN t.content THEN t.idempotency_key END AS idempotency_key,
		t.partition_key,
		t.submitted_at,
		t.run_at,
		t.started_at,
		NULL::timestamptz AS finished_at,
		t.attempt OPERATOR(pg_catalog.+) CASE WHEN t.pid IS NULL THEN 0 ELSE 1 END AS attempt,
		t.max_attempts,
		t.crashes,
		t.timeout,
		t.deadline,
		t.pid AS worker_pid,
		t.progress,
		CASE WHEN t.content THEN t.note END AS progress_note,
		NULL::jsonb AS result,
		NULL::jsonb AS error,
		CASE WHEN t.content THEN t.attributes END AS attributes
	FROM (
		SELECT t.*, r.pid, r.started_at, r.progress, r.note,
			pg_catalog.pg_has_role(t.role::pg_catalog.oid, 'USAGE') OR pg_catalog.pg_has_role('dbos_admin', 'USAGE') AS content,
			CASE WHEN r.id IS NOT NULL THEN NULL
			WHEN t.unmet OPERATOR(pg_catalog.>) 0 THEN 'dependency'
			WHEN t.held THEN 'time'
			WHEN q.paused THEN 'paused'
			WHEN NOT dbos.workers_can_run() THEN 'no worker'
			WHEN dbos.queue_running(q.id) OPERATOR(pg_catalog.>=) q.concurrency THEN 'limit'
			WHEN q.rate_limit OPERATOR(pg_catalog.=) 0 THEN 'limit'
			WHEN t.partition_key IS NOT NULL
				AND (q.partition_concurrency OPERATOR(pg_catalog.=) 0 OR q.partition_rate_limit OPERATOR(pg_catalog.=) 0) THEN 'limit'
			WHEN q.rate_limit IS NOT NULL
				AND q.id OPERATOR(pg_catalog.=) ANY (SELECT f.queue_id FROM dbos.partition_at_limit f WHERE f.partition OPERATOR(pg_catalog.=) 0) THEN 'limit'
			WHEN t.partition_key IS NOT NULL AND (q.partition_concurrency IS NOT NULL OR q.partition_rate_limit IS NOT NULL)
				AND (q.id, pg_catalog.hashtextextended(t.partition_key COLLATE pg_catalog."C", 0) OPERATOR(pg_catalog.|) 1)
					OPERATOR(pg_catalog.=) ANY (SELECT f.queue_id, f.partition FROM dbos.partition_at_limit f) THEN 'limit' END AS wait_reason
		FROM dbos.task t
			JOIN dbos.queue q ON q.id OPERATOR(pg_catalog.=) t.queue_id
			LEFT JOIN dbos.running_tasks() r ON r.id OPERATOR(pg_catalog.=) t.id
		WHERE t.shard OPERATOR(pg_catalog.=) ANY ('{0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}'::smallint[])
			AND dbos.in_container(t.container_id)) t
	WHERE t.content OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE');
COMMENT ON VIEW dbos.unfinished_task IS 'tasks that wait or run, of those that you may see; read dbos.tasks';

-- In the order of its index, that the newest of a million can be had at once: what is above a
-- security barrier does not ask for an order below it.
CREATE VIEW dbos.finished_task WITH (security_barrier) AS
	SELECT h.id,
		h.state,
		CASE WHEN h.kind OPERATOR(pg_catalog.=) 's' THEN 'SQL' ELSE h.function END AS function,
		pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) h.submitted_at AS age,
		NULL::text AS wait_reason,
		h.queue_id,
		h.priority,
		CASE WHEN NOT own.content THEN NULL
			WHEN h.kind OPERATOR(pg_catalog.=) 's' THEN pg_catalog.to_jsonb(h.function) ELSE h.args END AS args,
		h.role,
		h.container_id AS container,
		h.parent_id,
		CASE WHEN own.content THEN h.idempotency_key END AS idempotency_key,
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
		NULL::real AS progress,
		NULL::text AS progress_note,
		CASE WHEN own.content THEN h.result END AS result,
		CASE WHEN own.content THEN h.error END AS error,
		CASE WHEN own.content THEN h.attributes END AS attributes
	FROM dbos.task_history h
		CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(h.role::pg_catalog.oid, 'USAGE')
							OR pg_catalog.pg_has_role('dbos_admin', 'USAGE') AS content) own
	WHERE dbos.in_container(h.container_id)
		AND (own.content OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE'))
	ORDER BY h.id DESC;
COMMENT ON VIEW dbos.finished_task IS 'tasks that have ended, of those that you may see; read dbos.tasks';

-- The barriers are in the two views: an order and a limit must reach them.
CREATE OR REPLACE VIEW dbos.tasks WITH (security_barrier = off) AS
	SELECT u.id, u.state, u.function, u.age, u.wait_reason,
		COALESCE(q.name, '(dropped)') AS queue, u.priority, u.args, u.role, u.container, u.parent_id, u.idempotency_key, u.partition_key, u.submitted_at,
		u.run_at, u.started_at, u.finished_at, u.attempt, u.max_attempts, u.crashes, u.timeout,
		u.deadline, u.worker_pid, u.progress, u.progress_note, u.result, u.error, u.attributes
	FROM (SELECT * FROM dbos.unfinished_task UNION ALL SELECT * FROM dbos.finished_task) u
		LEFT JOIN dbos.queue q ON q.id OPERATOR(pg_catalog.=) u.queue_id;
COMMENT ON VIEW dbos.tasks IS 'tasks that you may see, waiting, running and ended. Example: SELECT id, state, function, wait_reason FROM dbos.tasks ORDER BY id DESC LIMIT 10;';
GRANT SELECT ON dbos.tasks TO dbos_user, dbos_monitor;

-- Attempts that another one followed, of tasks of any state.
CREATE VIEW dbos.earlier_attempt WITH (security_barrier) AS
	SELECT a.task_id, a.attempt, a.outcome, a.started_at, a.finished_at,
		a.finished_at OPERATOR(pg_catalog.-) a.started_at AS duration,
		a.worker_pid, a.cpu_seconds, a.rows, a.buffers_hit, a.buffers_read, a.memory_bytes,
		CASE WHEN own.content THEN a.error END AS error,
		a.file_bytes_read, a.file_bytes_written
	FROM dbos.task_attempt a
		CROSS JOIN LATERAL (SELECT t.role, t.container_id FROM dbos.task t
							WHERE t.shard OPERATOR(pg_catalog.=) (a.task_id OPERATOR(pg_catalog.&) 15)::smallint AND t.id OPERATOR(pg_catalog.=) a.task_id
							UNION ALL SELECT h.role, h.container_id FROM dbos.task_history h WHERE h.id OPERATOR(pg_catalog.=) a.task_id) t
		CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(t.role::pg_catalog.oid, 'USAGE')
							OR pg_catalog.pg_has_role('dbos_admin', 'USAGE') AS content) own
	WHERE dbos.in_container(t.container_id)
		AND (own.content OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE'));
COMMENT ON VIEW dbos.earlier_attempt IS 'attempts that another one followed, of tasks that you may see; read dbos.attempts';

CREATE VIEW dbos.last_attempt WITH (security_barrier) AS
	SELECT h.id AS task_id, h.attempt OPERATOR(pg_catalog.+) h.crashes AS attempt, h.state AS outcome, h.started_at, h.finished_at,
		h.finished_at OPERATOR(pg_catalog.-) h.started_at AS duration,
		h.worker_pid, h.cpu_seconds, h.rows, h.buffers_hit, h.buffers_read, h.memory_bytes,
		CASE WHEN own.content THEN h.error END AS error,
		h.file_bytes_read, h.file_bytes_written
	FROM dbos.task_history h
		CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(h.role::pg_catalog.oid, 'USAGE')
							OR pg_catalog.pg_has_role('dbos_admin', 'USAGE') AS content) own
	WHERE h.started_at IS NOT NULL AND dbos.in_container(h.container_id)
		AND (own.content OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE'))
	ORDER BY h.id DESC;
COMMENT ON VIEW dbos.last_attempt IS 'the attempts that tasks ended with, of tasks that you may see; read dbos.attempts';

CREATE OR REPLACE VIEW dbos.attempts WITH (security_barrier = off) AS
	SELECT * FROM dbos.earlier_attempt UNION ALL SELECT * FROM dbos.last_attempt;
COMMENT ON VIEW dbos.attempts IS 'each attempt to run a task: how it ended and what it cost. Example: SELECT task_id, attempt, outcome, duration FROM dbos.attempts ORDER BY task_id DESC LIMIT 10;';
GRANT SELECT ON dbos.attempts TO dbos_user, dbos_monitor;

CREATE OR REPLACE VIEW dbos.queues WITH (security_barrier) AS
	SELECT q.name, q.owner, q.container_id AS container, q.concurrency, q.paused,
		dbos.queue_running(q.id) AS running,
		COALESCE(w.depth, 0) AS depth, w.oldest,
		q.created_at, q.partition_concurrency, q.rate_limit, q.partition_rate_limit, q.rate_period, q.policy
	FROM dbos.queue q
		LEFT JOIN (SELECT t.queue_id, pg_catalog.count(*) AS depth, pg_catalog.min(t.submitted_at) AS oldest
				   FROM dbos.task t GROUP BY t.queue_id) w ON w.queue_id OPERATOR(pg_catalog.=) q.id
	WHERE dbos.in_container(q.container_id);
COMMENT ON VIEW dbos.queues IS 'queues with their limits and what is in them. Example: SELECT name, running, depth, paused FROM dbos.queues;';
GRANT SELECT ON dbos.queues TO dbos_user, dbos_monitor;

