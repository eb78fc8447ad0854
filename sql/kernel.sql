-- kernel.sql: schema, roles, identity, and the functions that speak of dbos itself.
-- SPDX-License-Identifier: PostgreSQL
\echo Use "CREATE EXTENSION dbos" to load this file. \quit

-- Roles are of the whole server: they may be there from another database.  One
-- of our names with rights of its own would be a way in, so it is refused.
DO $$
DECLARE
	name text;
	existing record;
BEGIN
	FOREACH name IN ARRAY ARRAY['dbos_owner', 'dbos_user', 'dbos_monitor', 'dbos_admin'] LOOP
		SELECT * INTO existing FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) name;
		IF NOT FOUND THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN NOINHERIT', name);
			EXECUTE pg_catalog.format('ALTER ROLE %I INHERIT', name);
		ELSIF existing.rolsuper OR existing.rolbypassrls OR existing.rolcanlogin THEN
			RAISE EXCEPTION USING
				ERRCODE = 'invalid_role_specification',
				MESSAGE = pg_catalog.format('role "%s" exists with rights that it must not have', name),
				DETAIL = 'The roles of dbos have neither SUPERUSER, BYPASSRLS nor LOGIN.',
				HINT = pg_catalog.format('Use ALTER ROLE %I NOSUPERUSER NOBYPASSRLS NOLOGIN, or DROP ROLE.', name);
		END IF;
	END LOOP;
	IF EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) m.roleid
			   WHERE r.rolname OPERATOR(pg_catalog.=) 'dbos_owner') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_role_specification',
			MESSAGE = 'role "dbos_owner" has members',
			HINT = 'Revoke the membership of every role in dbos_owner.';
	END IF;
	IF NOT pg_catalog.pg_has_role('dbos_admin', 'dbos_monitor', 'MEMBER') THEN
		GRANT dbos_monitor TO dbos_admin;
	END IF;
	IF NOT pg_catalog.pg_has_role('dbos_admin', 'dbos_user', 'MEMBER') THEN
		GRANT dbos_user TO dbos_admin;
	END IF;
	IF EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) 'dbos') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'duplicate_schema',
			MESSAGE = 'schema "dbos" already exists',
			DETAIL = 'The extension needs a schema of that name of its own; DBOS Transact keeps its system tables in one too.',
			HINT = 'Rename it (ALTER SCHEMA dbos RENAME TO ...), or create the extension in another database.';
	END IF;
END
$$;

CREATE SCHEMA dbos AUTHORIZATION dbos_owner;
GRANT USAGE ON SCHEMA dbos TO dbos_user, dbos_monitor, dbos_admin;
COMMENT ON SCHEMA dbos IS 'the operating system of the applications on this server';

-- Everything below is created by the installing superuser and given to
-- dbos_owner at the end of the script (finish.sql).
-- No key: a dump restored over its own database brings the row that is there already.
CREATE TABLE dbos.identity
(
	system_identifier text NOT NULL,
	database oid NOT NULL
);
COMMENT ON TABLE dbos.identity IS 'the server and database whose tasks these are; dumped, so that a copy knows that it is one';
SELECT pg_catalog.pg_extension_config_dump('dbos.identity', '');

CREATE FUNCTION dbos.version() RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dbos_version';
COMMENT ON FUNCTION dbos.version() IS 'version of the loaded library. Example: SELECT dbos.version();';

CREATE FUNCTION dbos.current_task() RETURNS bigint
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_current_task';
COMMENT ON FUNCTION dbos.current_task() IS 'id of the task that this session runs; NULL outside of tasks. Example: SELECT dbos.current_task();';

CREATE FUNCTION dbos.health(OUT component text, OUT ok boolean, OUT detail text, OUT hint text) RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_health';
COMMENT ON FUNCTION dbos.health() IS 'whether every part works, and what to do where one does not. Example: SELECT * FROM dbos.health() WHERE NOT ok;';

CREATE FUNCTION dbos.list_capabilities(OUT capability text, OUT available boolean, OUT reason text, OUT remedy text) RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_list_capabilities';
COMMENT ON FUNCTION dbos.list_capabilities() IS 'the rows of dbos.capabilities. Example: SELECT * FROM dbos.list_capabilities();';

CREATE VIEW dbos.capabilities AS
	SELECT capability, available, reason, remedy FROM dbos.list_capabilities();
COMMENT ON VIEW dbos.capabilities IS 'what is on and off here, why, and what turns it on. Example: SELECT * FROM dbos.capabilities;';

CREATE FUNCTION dbos.extension_created() RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_extension_created';
COMMENT ON FUNCTION dbos.extension_created() IS 'ends CREATE EXTENSION: takes the database over and says what to type next';

CREATE FUNCTION dbos.name_distance(name text, other text) RETURNS integer
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dbos_name_distance';
COMMENT ON FUNCTION dbos.name_distance(text, text) IS 'how many letters differ between two names. Example: SELECT dbos.name_distance(''submit'', ''sumbit'');';

REVOKE ALL ON FUNCTION dbos.version(), dbos.current_task(), dbos.health(), dbos.list_capabilities(), dbos.extension_created(),
	dbos.name_distance(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.version(), dbos.current_task(), dbos.health(), dbos.list_capabilities(),
	dbos.name_distance(text, text) TO dbos_user, dbos_monitor, dbos_admin;
REVOKE ALL ON dbos.capabilities FROM PUBLIC;
GRANT SELECT ON dbos.capabilities TO dbos_user, dbos_monitor, dbos_admin;
