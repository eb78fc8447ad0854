-- task_views.sql: what people read of tasks, queues and workers.
-- SPDX-License-Identifier: PostgreSQL

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
