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

REVOKE ALL ON PROCEDURE dbos.receive_loop(text, text, bigint, interval, bigint) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE dbos.receive_loop(text, text, bigint, interval, bigint) TO dbos_user, dbos_admin;
REVOKE ALL ON FUNCTION dbos.current_message() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.current_message() TO dbos_user, dbos_admin;
