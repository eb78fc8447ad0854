-- message_function.sql: functions that are called for messages.
-- SPDX-License-Identifier: PostgreSQL

CREATE PROCEDURE dbos.receive_loop(
	mailbox text,
	function text,
	max_messages bigint DEFAULT NULL,
	idle_timeout interval DEFAULT NULL,
	INOUT received bigint DEFAULT NULL)
	LANGUAGE c AS 'MODULE_PATHNAME', 'dbos_receive_loop';
COMMENT ON PROCEDURE dbos.receive_loop(text, text, bigint, interval, bigint) IS
	'calls a function for each message of a mailbox, one transaction each, and waits for more without a snapshot; ends after max_messages, or idle_timeout without one. Example: CALL dbos.receive_loop(''orders'', ''handle_order'', idle_timeout => ''10 s'');';

CREATE FUNCTION dbos.current_message() RETURNS jsonb
	LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_current_message';
COMMENT ON FUNCTION dbos.current_message() IS
	'id, mailbox, sender, sent_at, partition_key, deliveries and headers of the message that the function is called for; NULL outside. Example: SELECT dbos.current_message() ->> ''sender'';';

-- Whose function is called for the messages of a mailbox.  The roles are those of the session that said so, as with a task.
CREATE TABLE dbos.mailbox_function
(
	relation regclass NOT NULL PRIMARY KEY REFERENCES dbos.mailbox (relation) ON DELETE CASCADE,
	session_role regrole NOT NULL,
	role regrole NOT NULL,
	container_id integer NOT NULL,
	function text NOT NULL,
	queue_id integer NOT NULL REFERENCES dbos.queue (id),
	priority integer NOT NULL,
	max_attempts integer NOT NULL,
	retry_delay interval NOT NULL,
	timeout interval NOT NULL,
	error jsonb,
	failed_at timestamptz,
	failures integer NOT NULL DEFAULT 0,
	again_at timestamptz
);
COMMENT ON TABLE dbos.mailbox_function IS 'functions that are called for messages; read dbos.mailbox_functions';
COMMENT ON COLUMN dbos.mailbox_function.timeout IS 'zero: none';
COMMENT ON COLUMN dbos.mailbox_function.failures IS 'in a row, of what keeps all messages from becoming tasks';
SELECT pg_catalog.pg_extension_config_dump('dbos.mailbox_function', '');

CREATE FUNCTION dbos.on_message(
	mailbox text,
	function text,
	queue text DEFAULT 'default',
	priority integer DEFAULT 0,
	max_attempts integer DEFAULT 1,
	retry_delay interval DEFAULT '1 second',
	timeout interval DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_on_message';
COMMENT ON FUNCTION dbos.on_message(text, text, text, integer, integer, interval, interval) IS
	'from its commit on each message of the mailbox becomes a task, with the body as its arguments; NULL as the function ends that. Example: SELECT dbos.on_message(''orders'', ''handle_order'');';

CREATE VIEW dbos.mailbox_functions WITH (security_barrier) AS
	SELECT f.relation AS mailbox, f.function, q.name AS queue, f.priority, f.max_attempts, f.retry_delay,
		NULLIF(f.timeout, '0'::interval) AS timeout, f.role, f.container_id AS container, f.error, f.failed_at, f.again_at
	FROM dbos.mailbox_function f JOIN dbos.queue q ON q.id OPERATOR(pg_catalog.=) f.queue_id
	WHERE dbos.in_container(f.container_id)
		AND (pg_catalog.pg_has_role(f.role::pg_catalog.oid, 'USAGE') OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE')
			OR pg_catalog.pg_has_role('dbos_admin', 'USAGE')
			OR pg_catalog.has_table_privilege(f.relation::pg_catalog.oid, 'DELETE'));
COMMENT ON VIEW dbos.mailbox_functions IS 'functions that are called for messages, and what keeps them from it. Example: SELECT mailbox, function, error ->> ''message'' AS error FROM dbos.mailbox_functions;';
GRANT SELECT ON dbos.mailbox_functions TO dbos_user, dbos_monitor, dbos_admin;

REVOKE ALL ON FUNCTION dbos.on_message(text, text, text, integer, integer, interval, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.on_message(text, text, text, integer, integer, interval, interval) TO dbos_user, dbos_admin;
REVOKE ALL ON PROCEDURE dbos.receive_loop(text, text, bigint, interval, bigint) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE dbos.receive_loop(text, text, bigint, interval, bigint) TO dbos_user, dbos_admin;
REVOKE ALL ON FUNCTION dbos.current_message() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.current_message() TO dbos_user, dbos_admin;
