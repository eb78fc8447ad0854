-- task_policy.sql: in which order the ready tasks of a queue are chosen, and how many of them may start.
-- SPDX-License-Identifier: PostgreSQL

CREATE TABLE dbos.policy
(
	name text PRIMARY KEY,
	order_by text NOT NULL,
	built_in boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE dbos.policy IS 'orders in which the ready tasks of a queue are chosen; read dbos.policies';
INSERT INTO dbos.policy (name, order_by, built_in) VALUES
	('fair', 'priority, partition_share, expected_runtime ageing 10', true),
	('fifo', 'submitted_at', true),
	('priority', 'priority ageing 60', true),
	('share', 'priority, partition_share, submitted_at', true),
	('shortest', 'expected_runtime ageing 60', true),
	('deadline', 'deadline, priority', true);
SELECT pg_catalog.pg_extension_config_dump('dbos.policy', 'WHERE NOT built_in');
ALTER TABLE dbos.queue ADD FOREIGN KEY (policy) REFERENCES dbos.policy (name);

-- Groups of starts, the latest last; a start counts for a whole rate_period after the time of its group.
CREATE TABLE dbos.queue_start
(
	queue_id integer NOT NULL,
	partition bigint NOT NULL,
	started_before timestamptz[] NOT NULL DEFAULT '{}',
	starts bigint[] NOT NULL DEFAULT '{}',
	PRIMARY KEY (queue_id, partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE dbos.queue_start IS 'when tasks of queues with a rate have started';
COMMENT ON COLUMN dbos.queue_start.partition IS 'hash of the partition key; 0: the queue as a whole';

CREATE VIEW dbos.policies WITH (security_barrier) AS SELECT p.name, p.order_by FROM dbos.policy p;
COMMENT ON VIEW dbos.policies IS 'orders in which the ready tasks of a queue are chosen. Example: SELECT name, order_by FROM dbos.policies;';
GRANT SELECT ON dbos.policies TO dbos_user, dbos_monitor;

CREATE FUNCTION dbos.create_policy(name text, order_by text) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_create_policy';
COMMENT ON FUNCTION dbos.create_policy(text, text) IS
	'makes a policy: up to two of priority, submitted_at, run_at, deadline, expected_runtime and attempt, and partition_share, in the order in which they decide, each with asc, desc and ageing (seconds of waiting that make up for one level, attempt or second); or library and a name. Example: SELECT dbos.create_policy(''patient'', ''priority ageing 300, submitted_at'');';

CREATE FUNCTION dbos.alter_policy(name text, order_by text) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_alter_policy';
COMMENT ON FUNCTION dbos.alter_policy(text, text) IS
	'changes a policy; what waits in its queues is ordered anew at once. Example: SELECT dbos.alter_policy(''patient'', ''priority ageing 600, submitted_at'');';

CREATE FUNCTION dbos.drop_policy(name text) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_drop_policy';
COMMENT ON FUNCTION dbos.drop_policy(text) IS
	'drops a policy that no queue has. Example: SELECT dbos.drop_policy(''patient'');';

REVOKE ALL ON FUNCTION dbos.create_policy(text, text), dbos.alter_policy(text, text), dbos.drop_policy(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.create_policy(text, text), dbos.alter_policy(text, text), dbos.drop_policy(text) TO dbos_admin;

CREATE FUNCTION dbos.create_queue(name text, concurrency integer DEFAULT NULL, partition_concurrency integer DEFAULT NULL,
								  rate_limit integer DEFAULT NULL, partition_rate_limit integer DEFAULT NULL,
								  rate_period interval DEFAULT '1 second', policy text DEFAULT 'fair') RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_create_queue';
COMMENT ON FUNCTION dbos.create_queue(text, integer, integer, integer, integer, interval, text) IS
	'makes a queue in the current container; at most concurrency of its tasks run at once, and partition_concurrency with the same partition_key; at most rate_limit start in any rate_period, and partition_rate_limit with the same partition_key; NULL for no limit. Example: SELECT dbos.create_queue(''mail'', concurrency => 2, partition_rate_limit => 100);';

CREATE FUNCTION dbos.alter_queue(name text, concurrency integer DEFAULT -1, partition_concurrency integer DEFAULT -1,
								 rate_limit integer DEFAULT -1, partition_rate_limit integer DEFAULT -1,
								 rate_period interval DEFAULT NULL, policy text DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_alter_queue';
COMMENT ON FUNCTION dbos.alter_queue(text, integer, integer, integer, integer, interval, text) IS
	'changes the limits and the policy of a queue; what is left out stays, a limit of NULL is lifted. Example: SELECT dbos.alter_queue(''mail'', concurrency => 4, policy => ''fifo'');';

REVOKE ALL ON FUNCTION dbos.create_queue(text, integer, integer, integer, integer, interval, text),
	dbos.alter_queue(text, integer, integer, integer, integer, interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.create_queue(text, integer, integer, integer, integer, interval, text),
	dbos.alter_queue(text, integer, integer, integer, integer, interval, text) TO dbos_user;
