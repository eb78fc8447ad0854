-- task_views.sql: what people read of workers and decisions.
-- SPDX-License-Identifier: PostgreSQL

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
