-- message.sql: mailboxes.
-- SPDX-License-Identifier: PostgreSQL

-- The segments of mailboxes, which belong to the mailboxes' owners.
CREATE SCHEMA dbos_message AUTHORIZATION dbos_owner;
GRANT USAGE, CREATE ON SCHEMA dbos_message TO dbos_user, dbos_admin;
COMMENT ON SCHEMA dbos_message IS 'partitions of mailboxes, made and dropped with them';

CREATE TABLE dbos.mailbox
(
	relation regclass NOT NULL PRIMARY KEY,
	kind "char" NOT NULL DEFAULT 'm' CHECK (kind OPERATOR(pg_catalog.=) ANY (ARRAY['m', 't']::"char"[])),
	container_id integer NOT NULL,
	paused boolean NOT NULL DEFAULT false,
	max_deliveries integer CHECK (max_deliveries OPERATOR(pg_catalog.>) 0),
	dead_letter regclass,
	ordered boolean NOT NULL DEFAULT false,
	unlogged boolean NOT NULL DEFAULT false,
	idempotency_window interval NOT NULL DEFAULT '1 day',
	current_segment integer NOT NULL,
	channel text
);
COMMENT ON TABLE dbos.mailbox IS 'what is to be known of a mailbox or topic beside its table; read dbos.mailboxes and dbos.topics';
COMMENT ON COLUMN dbos.mailbox.kind IS 'm: mailbox, t: topic';
COMMENT ON COLUMN dbos.mailbox.channel IS 'where LISTEN is told the highest id; null: nowhere';
SELECT pg_catalog.pg_extension_config_dump('dbos.mailbox', '');

-- Of sends with an idempotency key; the row may outlive the message.
CREATE TABLE dbos.message_key
(
	relation regclass NOT NULL,
	sender regrole NOT NULL,
	key text NOT NULL,
	message_id bigint NOT NULL,
	created_at timestamptz NOT NULL,
	PRIMARY KEY (relation, sender, key)
);
COMMENT ON TABLE dbos.message_key IS 'idempotency keys of messages, within the window of their mailbox';
SELECT pg_catalog.pg_extension_config_dump('dbos.message_key', '');

CREATE FUNCTION dbos.message_id(mailbox regclass) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_message_id';
COMMENT ON FUNCTION dbos.message_id(regclass) IS 'the default of the id of a message';

CREATE FUNCTION dbos.message_segment(mailbox regclass) RETURNS integer
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_message_segment';
COMMENT ON FUNCTION dbos.message_segment(regclass) IS 'the default of the segment of a message: where new ones go';

CREATE FUNCTION dbos.message_sent() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_message_sent';
COMMENT ON FUNCTION dbos.message_sent() IS 'the trigger by which an INSERT into a mailbox is a send';

CREATE FUNCTION dbos.create_mailbox(
	relation text,
	notify boolean DEFAULT false,
	max_deliveries integer DEFAULT NULL,
	dead_letter text DEFAULT NULL,
	ordered boolean DEFAULT false,
	unlogged boolean DEFAULT false,
	idempotency_window interval DEFAULT NULL
) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_create_mailbox';
COMMENT ON FUNCTION dbos.create_mailbox(text, boolean, integer, text, boolean, boolean, interval) IS
	'makes a mailbox: a table of the current role, where INSERT is the right to send and DELETE the right to receive; with notify, LISTEN "dbos.<its name>" is told the highest id. Example: SELECT dbos.create_mailbox(''orders'');';

CREATE FUNCTION dbos.alter_mailbox(
	mailbox text,
	max_deliveries integer DEFAULT -1,
	dead_letter text DEFAULT NULL,
	notify boolean DEFAULT NULL,
	idempotency_window interval DEFAULT NULL
) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_alter_mailbox';
COMMENT ON FUNCTION dbos.alter_mailbox(text, integer, text, boolean, interval) IS
	'says how often a message is delivered before it goes to a dead-letter mailbox, whether LISTEN is told, and for how long idempotency keys hold; what is left out stays, a max_deliveries of NULL is lifted. Example: SELECT dbos.alter_mailbox(''orders'', max_deliveries => 5, dead_letter => ''dead_orders'');';

CREATE FUNCTION dbos.drop_mailbox(mailbox text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_drop_mailbox';
COMMENT ON FUNCTION dbos.drop_mailbox(text) IS
	'drops a mailbox with its messages, as DROP TABLE does. Example: SELECT dbos.drop_mailbox(''orders'');';

CREATE FUNCTION dbos.pause_mailbox(mailbox text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_pause_mailbox';
COMMENT ON FUNCTION dbos.pause_mailbox(text) IS
	'from its commit on nothing is received from the mailbox. Example: SELECT dbos.pause_mailbox(''orders'');';

CREATE FUNCTION dbos.resume_mailbox(mailbox text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_resume_mailbox';
COMMENT ON FUNCTION dbos.resume_mailbox(text) IS
	'messages of the mailbox are received again. Example: SELECT dbos.resume_mailbox(''orders'');';

CREATE FUNCTION dbos.purge_mailbox(mailbox text) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_purge_mailbox';
COMMENT ON FUNCTION dbos.purge_mailbox(text) IS
	'deletes the messages that are in the mailbox; returns how many. Example: SELECT dbos.purge_mailbox(''orders'');';

CREATE FUNCTION dbos.send(
	mailbox text,
	body jsonb,
	partition_key text DEFAULT NULL,
	delay interval DEFAULT NULL,
	run_at timestamptz DEFAULT NULL,
	headers jsonb DEFAULT '{}',
	idempotency_key text DEFAULT NULL
) RETURNS bigint
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_send';
COMMENT ON FUNCTION dbos.send(text, jsonb, text, interval, timestamptz, jsonb, text) IS
	'puts a message into a mailbox, once this transaction commits; returns its id. Example: SELECT dbos.send(''orders'', ''{"item": 1}'');';

CREATE FUNCTION dbos.send_many(mailbox text, bodies jsonb[]) RETURNS SETOF bigint
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_send_many';
COMMENT ON FUNCTION dbos.send_many(text, jsonb[]) IS
	'sends one message for each body; returns their ids in the same order. Example: SELECT dbos.send_many(''orders'', ARRAY[''{"item": 1}'', ''{"item": 2}'']::jsonb[]);';

CREATE FUNCTION dbos.receive(mailbox text, max_messages integer DEFAULT 1, timeout interval DEFAULT '0',
	OUT id bigint, OUT sender regrole, OUT sent_at timestamptz, OUT partition_key text, OUT deliveries integer,
	OUT headers jsonb, OUT body jsonb) RETURNS SETOF record
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_receive';
COMMENT ON FUNCTION dbos.receive(text, integer, interval) IS
	'takes messages out of a mailbox, oldest first; they are gone when this transaction commits. Example: SELECT id, body FROM dbos.receive(''orders'', max_messages => 10);';

CREATE FUNCTION dbos.lease(mailbox text, max_messages integer, visibility interval,
	OUT id bigint, OUT sender regrole, OUT sent_at timestamptz, OUT partition_key text, OUT deliveries integer,
	OUT headers jsonb, OUT body jsonb) RETURNS SETOF record
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_lease';
COMMENT ON FUNCTION dbos.lease(text, integer, interval) IS
	'messages that nobody else sees for that long; who has done with one acknowledges it. Example: SELECT id, body FROM dbos.lease(''orders'', 10, ''30 seconds'');';

CREATE FUNCTION dbos.acknowledge(mailbox text, ids bigint[]) RETURNS integer
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_acknowledge';
COMMENT ON FUNCTION dbos.acknowledge(text, bigint[]) IS
	'takes leased messages away for good; returns how many there were. Example: SELECT dbos.acknowledge(''orders'', ARRAY[1, 2]);';

CREATE FUNCTION dbos.release(mailbox text, ids bigint[]) RETURNS integer
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_release';
COMMENT ON FUNCTION dbos.release(text, bigint[]) IS
	'ends the lease of messages, which are delivered again; returns how many there were. Example: SELECT dbos.release(''orders'', ARRAY[1, 2]);';

CREATE FUNCTION dbos.extend_lease(mailbox text, ids bigint[], visibility interval) RETURNS integer
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_extend_lease';
COMMENT ON FUNCTION dbos.extend_lease(text, bigint[], interval) IS
	'leased messages stay so for that long from now; returns how many there were. Example: SELECT dbos.extend_lease(''orders'', ARRAY[1, 2], ''30 seconds'');';

CREATE FUNCTION dbos.requeue(dead_letter text, mailbox text) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_requeue';
COMMENT ON FUNCTION dbos.requeue(text, text) IS
	'sends dead letters that came from the mailbox back into it; returns how many. Example: SELECT dbos.requeue(''dead_orders'', ''orders'');';

-- ---- what is there ----

CREATE FUNCTION dbos.mailbox_state(mailbox regclass, OUT depth bigint, OUT delayed bigint, OUT in_flight bigint,
	OUT oldest timestamptz, OUT receivers integer) RETURNS record
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_mailbox_state';
COMMENT ON FUNCTION dbos.mailbox_state(regclass) IS
	'messages of a mailbox, counted; of these delayed and leased; when the oldest was sent; sessions that wait for one. Example: SELECT * FROM dbos.mailbox_state(''orders'');';

CREATE VIEW dbos.mailboxes WITH (security_barrier) AS
	SELECT m.relation AS mailbox, pg_catalog.pg_get_userbyid(c.relowner) AS owner, dbos.container_path(m.container_id) AS container,
		s.depth, s.delayed, s.in_flight, s.oldest, s.receivers, m.paused, m.ordered, m.unlogged, m.max_deliveries, m.dead_letter, m.idempotency_window,
		(SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(t.relid)) FROM pg_catalog.pg_partition_tree(m.relation) t)::bigint AS bytes
	FROM dbos.mailbox m JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) m.relation, LATERAL dbos.mailbox_state(m.relation) s
	WHERE m.kind OPERATOR(pg_catalog.=) 'm' AND dbos.in_container(m.container_id)
		AND (pg_catalog.has_table_privilege(m.relation, 'SELECT, INSERT, DELETE') OR pg_catalog.pg_has_role('dbos_monitor', 'MEMBER'));
COMMENT ON VIEW dbos.mailboxes IS
	'the mailboxes that the current role may use, with what is in them. Example: SELECT mailbox, depth, oldest, in_flight FROM dbos.mailboxes;';

REVOKE ALL ON FUNCTION dbos.mailbox_state(regclass) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.mailbox_state(regclass) TO dbos_user, dbos_monitor, dbos_admin;
REVOKE ALL ON dbos.mailboxes FROM PUBLIC;
GRANT SELECT ON dbos.mailboxes TO dbos_user, dbos_monitor, dbos_admin;

REVOKE ALL ON FUNCTION dbos.create_mailbox(text, boolean, integer, text, boolean, boolean, interval), dbos.alter_mailbox(text, integer, text, boolean, interval), dbos.drop_mailbox(text),
	dbos.pause_mailbox(text), dbos.resume_mailbox(text), dbos.purge_mailbox(text),
	dbos.send(text, jsonb, text, interval, timestamptz, jsonb, text), dbos.send_many(text, jsonb[]), dbos.receive(text, integer, interval),
	dbos.lease(text, integer, interval), dbos.acknowledge(text, bigint[]), dbos.release(text, bigint[]),
	dbos.extend_lease(text, bigint[], interval), dbos.requeue(text, text), dbos.message_sent() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.create_mailbox(text, boolean, integer, text, boolean, boolean, interval), dbos.alter_mailbox(text, integer, text, boolean, interval), dbos.drop_mailbox(text),
	dbos.pause_mailbox(text), dbos.resume_mailbox(text), dbos.purge_mailbox(text),
	dbos.send(text, jsonb, text, interval, timestamptz, jsonb, text), dbos.send_many(text, jsonb[]), dbos.receive(text, integer, interval),
	dbos.lease(text, integer, interval), dbos.acknowledge(text, bigint[]), dbos.release(text, bigint[]),
	dbos.extend_lease(text, bigint[], interval), dbos.requeue(text, text), dbos.message_sent() TO dbos_user, dbos_admin;
-- A sender who may do no more than INSERT needs these; they ask for that right.
GRANT EXECUTE ON FUNCTION dbos.message_id(regclass), dbos.message_segment(regclass) TO PUBLIC;
