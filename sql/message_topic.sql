-- message_topic.sql: topics, and the subscriptions by which they are read.
-- SPDX-License-Identifier: PostgreSQL

CREATE TABLE dbos.topic
(
	relation regclass NOT NULL PRIMARY KEY,
	retention interval,
	max_bytes bigint
);
COMMENT ON TABLE dbos.topic IS 'how long a topic keeps messages; read dbos.topics';
SELECT pg_catalog.pg_extension_config_dump('dbos.topic', '');

CREATE SEQUENCE dbos.subscription_id AS integer;
COMMENT ON SEQUENCE dbos.subscription_id IS 'ids of subscriptions';
SELECT pg_catalog.pg_extension_config_dump('dbos.subscription_id', '');

CREATE TABLE dbos.subscription
(
	id integer PRIMARY KEY DEFAULT pg_catalog.nextval('dbos.subscription_id'),
	relation regclass NOT NULL,
	name text NOT NULL,
	kind "char" NOT NULL CHECK (kind OPERATOR(pg_catalog.=) ANY (ARRAY['c', 'm', 'f']::"char"[])),
	role regrole NOT NULL,
	container_id integer NOT NULL,
	start_position bigint NOT NULL,
	filter jsonb,
	target regclass,
	function text,
	session_role regrole,
	queue_id integer REFERENCES dbos.queue (id),
	priority integer,
	max_attempts integer,
	retry_delay interval,
	timeout interval,
	lost bigint NOT NULL DEFAULT 0,
	error text,
	created_at timestamptz NOT NULL,
	UNIQUE (relation, name)
);
COMMENT ON TABLE dbos.subscription IS 'who reads a topic, and what is done with its messages; read dbos.subscriptions';
COMMENT ON COLUMN dbos.subscription.kind IS 'c: read by dbos.read_topic(), m: sent into a mailbox, f: submitted as tasks';
SELECT pg_catalog.pg_extension_config_dump('dbos.subscription', '');

-- Used in turn: one is emptied while the other is written to.
CREATE TABLE dbos.subscription_position_0
(
	subscription_id integer NOT NULL,
	position bigint NOT NULL
) WITH (autovacuum_enabled = off);
CREATE INDEX subscription_position_0_newest ON dbos.subscription_position_0 (subscription_id, position);
COMMENT ON TABLE dbos.subscription_position_0 IS 'how far subscriptions have come: of each the highest of both tables';
SELECT pg_catalog.pg_extension_config_dump('dbos.subscription_position_0', '');

CREATE TABLE dbos.subscription_position_1
(
	subscription_id integer NOT NULL,
	position bigint NOT NULL
) WITH (autovacuum_enabled = off);
CREATE INDEX subscription_position_1_newest ON dbos.subscription_position_1 (subscription_id, position);
COMMENT ON TABLE dbos.subscription_position_1 IS 'how far subscriptions have come: of each the highest of both tables';
SELECT pg_catalog.pg_extension_config_dump('dbos.subscription_position_1', '');

CREATE FUNCTION dbos.create_topic(relation text, retention interval DEFAULT NULL, max_bytes bigint DEFAULT NULL, notify boolean DEFAULT false) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_create_topic';
COMMENT ON FUNCTION dbos.create_topic(text, interval, bigint, boolean) IS
	'makes a topic: a table of the current role, where INSERT is the right to publish and SELECT the right to read; messages are kept until all subscriptions have read them, or for the retention, and the oldest go above max_bytes; with notify, LISTEN "dbos.<its name>" is told the highest id. Example: SELECT dbos.create_topic(''prices'', retention => ''7 days'');';

CREATE FUNCTION dbos.alter_topic(topic text, retention interval DEFAULT NULL, max_bytes bigint DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_alter_topic';
COMMENT ON FUNCTION dbos.alter_topic(text, interval, bigint) IS
	'says anew how long a topic keeps messages; what is left out has no limit. Example: SELECT dbos.alter_topic(''prices'', retention => ''1 day'', max_bytes => 1000000000);';

CREATE FUNCTION dbos.drop_topic(topic text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_drop_topic';
COMMENT ON FUNCTION dbos.drop_topic(text) IS
	'drops a topic with its messages and subscriptions, as DROP TABLE does. Example: SELECT dbos.drop_topic(''prices'');';

CREATE FUNCTION dbos.publish(topic text, body jsonb, partition_key text DEFAULT NULL, headers jsonb DEFAULT '{}') RETURNS bigint
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_publish';
COMMENT ON FUNCTION dbos.publish(text, jsonb, text, jsonb) IS
	'adds a message to a topic, once this transaction commits; returns its id. Example: SELECT dbos.publish(''prices'', ''{"item": 1, "price": 9.5}'');';

CREATE FUNCTION dbos.publish_many(topic text, bodies jsonb[]) RETURNS SETOF bigint
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_publish_many';
COMMENT ON FUNCTION dbos.publish_many(text, jsonb[]) IS
	'publishes one message for each body; returns their ids in the same order. Example: SELECT dbos.publish_many(''prices'', ARRAY[''{"item": 1}'', ''{"item": 2}'']::jsonb[]);';

CREATE FUNCTION dbos.subscribe(
	topic text,
	name text,
	mailbox text DEFAULT NULL,
	function text DEFAULT NULL,
	filter jsonb DEFAULT NULL,
	start_at text DEFAULT 'now',
	queue text DEFAULT 'default',
	priority integer DEFAULT 0,
	max_attempts integer DEFAULT 1,
	retry_delay interval DEFAULT '1 second',
	timeout interval DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_subscribe';
COMMENT ON FUNCTION dbos.subscribe(text, text, text, text, jsonb, text, text, integer, integer, interval, interval) IS
	'subscribes to a topic: to read it by dbos.read_topic(), to have its messages sent into a mailbox, or a task submitted for each; only those that contain the filter; start_at is beginning, now or a time. Example: SELECT dbos.subscribe(''prices'', ''audit'', start_at => ''beginning'');';

CREATE FUNCTION dbos.unsubscribe(topic text, name text) RETURNS boolean
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_unsubscribe';
COMMENT ON FUNCTION dbos.unsubscribe(text, text) IS
	'forgets a subscription, yours or one of a topic of yours; false when there was none. Example: SELECT dbos.unsubscribe(''prices'', ''audit'');';

CREATE FUNCTION dbos.read_topic(topic text, subscription text, max_messages integer DEFAULT 100, timeout interval DEFAULT '0',
	OUT id bigint, OUT sender regrole, OUT sent_at timestamptz, OUT partition_key text, OUT headers jsonb, OUT body jsonb) RETURNS SETOF record
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_read_topic';
COMMENT ON FUNCTION dbos.read_topic(text, text, integer, interval) IS
	'the next messages of a subscription, oldest first; it has moved past them when this transaction commits. Example: SELECT id, body FROM dbos.read_topic(''prices'', ''audit'', max_messages => 1000);';

CREATE FUNCTION dbos.topic_state(topic regclass, OUT oldest_id bigint, OUT oldest_at timestamptz, OUT newest_id bigint, OUT bytes bigint)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_topic_state';
COMMENT ON FUNCTION dbos.topic_state(regclass) IS 'what dbos.topics shows of the messages of a topic';

CREATE FUNCTION dbos.subscription_state(id integer, topic regclass, start_position bigint,
	OUT last_id bigint, OUT lag bigint, OUT lag_time interval, OUT reader_pid integer)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_subscription_state';
COMMENT ON FUNCTION dbos.subscription_state(integer, regclass, bigint) IS 'how far a subscription has come, as dbos.subscriptions shows it';

REVOKE ALL ON FUNCTION dbos.create_topic(text, interval, bigint, boolean), dbos.alter_topic(text, interval, bigint), dbos.drop_topic(text),
	dbos.publish(text, jsonb, text, jsonb), dbos.publish_many(text, jsonb[]), dbos.subscribe(text, text, text, text, jsonb, text, text, integer, integer, interval, interval),
	dbos.unsubscribe(text, text), dbos.read_topic(text, text, integer, interval),
	dbos.topic_state(regclass), dbos.subscription_state(integer, regclass, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.create_topic(text, interval, bigint, boolean), dbos.alter_topic(text, interval, bigint), dbos.drop_topic(text),
	dbos.publish(text, jsonb, text, jsonb), dbos.publish_many(text, jsonb[]), dbos.subscribe(text, text, text, text, jsonb, text, text, integer, integer, interval, interval),
	dbos.unsubscribe(text, text), dbos.read_topic(text, text, integer, interval) TO dbos_user, dbos_admin;
GRANT EXECUTE ON FUNCTION dbos.topic_state(regclass), dbos.subscription_state(integer, regclass, bigint) TO dbos_user, dbos_monitor, dbos_admin;

CREATE VIEW dbos.topics WITH (security_barrier) AS
	SELECT t.relation AS name, c.relowner::pg_catalog.regrole AS owner, m.container_id AS container,
		s.oldest_id, s.newest_id, s.oldest_at,
		CASE WHEN s.newest_id IS NULL THEN 0 ELSE s.newest_id OPERATOR(pg_catalog.-) s.oldest_id OPERATOR(pg_catalog.+) 1 END AS messages_at_most,
		s.bytes, t.retention, t.max_bytes,
		(SELECT pg_catalog.count(*) FROM dbos.subscription n WHERE n.relation OPERATOR(pg_catalog.=) t.relation) AS subscriptions
	FROM dbos.topic t
		JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.relation
		JOIN dbos.mailbox m ON m.relation OPERATOR(pg_catalog.=) t.relation
		CROSS JOIN LATERAL dbos.topic_state(t.relation) s
	WHERE dbos.in_container(m.container_id) AND m.kind OPERATOR(pg_catalog.=) 't'
		AND (pg_catalog.has_table_privilege(t.relation, 'SELECT, INSERT') OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE'));
COMMENT ON VIEW dbos.topics IS 'topics that you may see, and what they keep. Example: SELECT name, messages_at_most, bytes, subscriptions FROM dbos.topics;';
GRANT SELECT ON dbos.topics TO dbos_user, dbos_monitor;

CREATE VIEW dbos.subscriptions WITH (security_barrier) AS
	SELECT n.relation AS topic, n.name, n.role, n.container_id AS container,
		CASE n.kind WHEN 'c' THEN 'cursor' WHEN 'm' THEN 'mailbox' ELSE 'function' END AS kind,
		CASE WHEN n.kind OPERATOR(pg_catalog.=) 'f' THEN n.function ELSE n.target::pg_catalog.text END AS target,
		CASE WHEN own.content THEN n.filter END AS filter,
		s.last_id, s.lag, s.lag_time, n.lost, s.reader_pid, n.error, n.created_at
	FROM dbos.subscription n
		JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) n.relation
		CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(n.role::pg_catalog.oid, 'USAGE')
							OR pg_catalog.pg_has_role(c.relowner, 'USAGE') OR pg_catalog.pg_has_role('dbos_admin', 'USAGE') AS content) own
		CROSS JOIN LATERAL dbos.subscription_state(n.id, n.relation, n.start_position) s
	WHERE dbos.in_container(n.container_id)
		AND (own.content OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE'));
COMMENT ON VIEW dbos.subscriptions IS 'subscriptions of yours and of your topics, how far each has come and how many messages it is behind, at most. Example: SELECT topic, name, lag, lag_time, lost, error FROM dbos.subscriptions;';
GRANT SELECT ON dbos.subscriptions TO dbos_user, dbos_monitor;
