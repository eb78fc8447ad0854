-- task_profile.sql: how often each function ran as a task, failed, and how long it took.
-- SPDX-License-Identifier: PostgreSQL

CREATE TABLE dbos.function_profile
(
	function text NOT NULL,
	role regrole NOT NULL,
	container_id integer NOT NULL,
	size_class integer NOT NULL,
	day date NOT NULL,
	count bigint NOT NULL,
	failed bigint NOT NULL,
	buckets integer[] NOT NULL,
	counts bigint[] NOT NULL,
	PRIMARY KEY (function, role, container_id, size_class, day)
);
COMMENT ON TABLE dbos.function_profile IS 'run times of attempts by function; read dbos.function_stats';
COMMENT ON COLUMN dbos.function_profile.size_class IS 'binary logarithm of the bytes of the arguments';
COMMENT ON COLUMN dbos.function_profile.buckets IS 'bucket n counts times up to (1.01 / 0.99) ^ n microseconds; see src/task/quantile_sketch.h';
SELECT pg_catalog.pg_extension_config_dump('dbos.function_profile', '');

-- A bucket's time, in the middle of its bounds as a relative error goes.
CREATE VIEW dbos.function_bucket WITH (security_barrier) AS
	SELECT p.function, p.size_class, b.bucket, pg_catalog.sum(b.count) AS count,
		pg_catalog.make_interval(secs => 2 OPERATOR(pg_catalog.*) pg_catalog.power((1.01 / 0.99)::double precision, b.bucket::double precision)
								OPERATOR(pg_catalog./) (1.01 / 0.99 + 1)::double precision OPERATOR(pg_catalog./) 1000000) AS run_time
	FROM dbos.function_profile p
		CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(p.buckets), pg_catalog.unnest(p.counts)) b(bucket, count)
	WHERE dbos.in_container(p.container_id)
		AND (pg_catalog.pg_has_role(p.role::pg_catalog.oid, 'USAGE') OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE')
			 OR pg_catalog.pg_has_role('dbos_admin', 'USAGE'))
	GROUP BY p.function, p.size_class, b.bucket;
COMMENT ON VIEW dbos.function_bucket IS 'how many attempts took how long, by function and size of the arguments; read dbos.function_stats';

CREATE OR REPLACE VIEW dbos.function_stats AS
	WITH bucket AS (
		SELECT b.function, b.run_time, b.count,
			pg_catalog.sum(b.count) OVER (PARTITION BY b.function ORDER BY b.run_time) AS upto,
			pg_catalog.sum(b.count) OVER (PARTITION BY b.function) AS total
		FROM (SELECT f.function, f.run_time, pg_catalog.sum(f.count) AS count FROM dbos.function_bucket f GROUP BY f.function, f.run_time) b
	)
	SELECT t.function, t.count, t.failed OPERATOR(pg_catalog./) t.count::double precision AS error_rate,
		(SELECT pg_catalog.min(b.run_time) FROM bucket b WHERE b.function OPERATOR(pg_catalog.=) t.function
			AND b.upto OPERATOR(pg_catalog.>=) (0.5 OPERATOR(pg_catalog.*) b.total)) AS p50,
		(SELECT pg_catalog.min(b.run_time) FROM bucket b WHERE b.function OPERATOR(pg_catalog.=) t.function
			AND b.upto OPERATOR(pg_catalog.>=) (0.95 OPERATOR(pg_catalog.*) b.total)) AS p95,
		(SELECT pg_catalog.min(b.run_time) FROM bucket b WHERE b.function OPERATOR(pg_catalog.=) t.function
			AND b.upto OPERATOR(pg_catalog.>=) (0.99 OPERATOR(pg_catalog.*) b.total)) AS p99
	FROM (SELECT p.function, pg_catalog.sum(p.count)::bigint AS count, pg_catalog.sum(p.failed)::double precision AS failed
		FROM dbos.function_profile p
		WHERE dbos.in_container(p.container_id)
			AND (pg_catalog.pg_has_role(p.role::pg_catalog.oid, 'USAGE') OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE')
				 OR pg_catalog.pg_has_role('dbos_admin', 'USAGE'))
		GROUP BY p.function) t;
COMMENT ON VIEW dbos.function_stats IS 'how many attempts each function had as a task, which share of them failed, and how long they took, to one per cent; a few seconds behind. Example: SELECT function, count, error_rate, p95 FROM dbos.function_stats ORDER BY count DESC;';
GRANT SELECT ON dbos.function_stats TO dbos_user, dbos_monitor;

-- Beside others of the same function with arguments of the same size, of which some are known.
CREATE VIEW dbos.stragglers WITH (security_barrier) AS
	SELECT t.id AS task, t.function, r.running_for, e.p50, e.p99,
		pg_catalog.round((pg_catalog.date_part('epoch', r.running_for) OPERATOR(pg_catalog./) pg_catalog.date_part('epoch', e.p99))::numeric, 1) AS ratio,
		r.pid AS worker_pid, t.role, t.container_id AS container
	FROM (SELECT o.id, o.pid, pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) o.started_at AS running_for FROM dbos.running_tasks() o) r
		JOIN dbos.task t ON t.id OPERATOR(pg_catalog.=) r.id AND t.shard OPERATOR(pg_catalog.=) (r.id OPERATOR(pg_catalog.&) 15)::smallint
		CROSS JOIN LATERAL (
			SELECT pg_catalog.min(b.run_time) FILTER (WHERE b.upto OPERATOR(pg_catalog.>=) (0.5 OPERATOR(pg_catalog.*) b.total)) AS p50,
				pg_catalog.min(b.run_time) FILTER (WHERE b.upto OPERATOR(pg_catalog.>=) (0.99 OPERATOR(pg_catalog.*) b.total)) AS p99,
				pg_catalog.min(b.total) AS total
			FROM (SELECT f.run_time, pg_catalog.sum(f.count) OVER (ORDER BY f.bucket) AS upto, pg_catalog.sum(f.count) OVER () AS total
				FROM dbos.function_bucket f WHERE f.function OPERATOR(pg_catalog.=) t.function
					AND f.size_class OPERATOR(pg_catalog.=) pg_catalog.floor(pg_catalog.log(2, GREATEST(pg_catalog.pg_column_size(t.args::text::jsonb) OPERATOR(pg_catalog.-) 4, 1)))::integer) b) e
	WHERE t.kind OPERATOR(pg_catalog.=) 'f' AND e.total OPERATOR(pg_catalog.>=) 20
		AND r.running_for OPERATOR(pg_catalog.>) (e.p99 OPERATOR(pg_catalog.*) 2)
		AND dbos.in_container(t.container_id)
		AND (pg_catalog.pg_has_role(t.role::pg_catalog.oid, 'USAGE') OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE')
			 OR pg_catalog.pg_has_role('dbos_admin', 'USAGE'));
COMMENT ON VIEW dbos.stragglers IS 'tasks that have been running for more than twice the p99 of at least 20 others of their function with arguments of their size. Example: SELECT task, function, running_for, p99, ratio FROM dbos.stragglers ORDER BY ratio DESC;';
GRANT SELECT ON dbos.stragglers TO dbos_user, dbos_monitor;
