-- task_function.sql: what dbos is told of functions that run as tasks.
-- SPDX-License-Identifier: PostgreSQL

CREATE TABLE dbos.function_option
(
	function text PRIMARY KEY,
	batch boolean,
	idempotent boolean
);
COMMENT ON TABLE dbos.function_option IS 'what dbos was told of functions; see dbos.alter_function()';
COMMENT ON COLUMN dbos.function_option.function IS 'schema.name(argument types), as it stands in tasks';
SELECT pg_catalog.pg_extension_config_dump('dbos.function_option', '');

CREATE FUNCTION dbos.alter_function(function text, batch boolean DEFAULT NULL, idempotent boolean DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_alter_function';
COMMENT ON FUNCTION dbos.alter_function(text, boolean, boolean) IS
	'says of a function of yours whether its tasks may share a transaction, and whether it is idempotent, so that one that straggles may be run by a second executor too. What is not said stays; when nothing is, all is forgotten. Example: SELECT dbos.alter_function(''public.charge(bigint)'', batch => false);';
REVOKE ALL ON FUNCTION dbos.alter_function(text, boolean, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.alter_function(text, boolean, boolean) TO dbos_user;
