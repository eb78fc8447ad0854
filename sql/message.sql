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
	current_segment integer NOT NULL
);
COMMENT ON TABLE dbos.mailbox IS 'what is to be known of a mailbox or topic beside its table; read dbos.mailboxes and dbos.topics';
COMMENT ON COLUMN dbos.mailbox.kind IS 'm: mailbox, t: topic';
SELECT pg_catalog.pg_extension_config_dump('dbos.mailbox', '');

CREATE FUNCTION dbos.message_id(mailbox regclass) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_message_id';
COMMENT ON FUNCTION dbos.message_id(regclass) IS 'the default of the id of a message';

CREATE FUNCTION dbos.message_segment(mailbox regclass) RETURNS integer
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_message_segment';
COMMENT ON FUNCTION dbos.message_segment(regclass) IS 'the default of the segment of a message: where new ones go';

CREATE FUNCTION dbos.message_sent() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_message_sent';
COMMENT ON FUNCTION dbos.message_sent() IS 'the trigger by which an INSERT into a mailbox is a send';

CREATE FUNCTION dbos.create_mailbox(relation text) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_create_mailbox';
COMMENT ON FUNCTION dbos.create_mailbox(text) IS
	'makes a mailbox: a table of the current role, where INSERT is the right to send and DELETE the right to receive. Example: SELECT dbos.create_mailbox(''orders'');';

CREATE FUNCTION dbos.drop_mailbox(mailbox text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_drop_mailbox';
COMMENT ON FUNCTION dbos.drop_mailbox(text) IS
	'drops a mailbox with its messages, as DROP TABLE does. Example: SELECT dbos.drop_mailbox(''orders'');';

CREATE FUNCTION dbos.send(mailbox text, body jsonb, partition_key text DEFAULT NULL, headers jsonb DEFAULT '{}') RETURNS bigint
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_send';
COMMENT ON FUNCTION dbos.send(text, jsonb, text, jsonb) IS
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

REVOKE ALL ON FUNCTION dbos.create_mailbox(text), dbos.drop_mailbox(text), dbos.send(text, jsonb, text, jsonb),
	dbos.send_many(text, jsonb[]), dbos.receive(text, integer, interval), dbos.message_sent() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.create_mailbox(text), dbos.drop_mailbox(text), dbos.send(text, jsonb, text, jsonb),
	dbos.send_many(text, jsonb[]), dbos.receive(text, integer, interval), dbos.message_sent() TO dbos_user, dbos_admin;
