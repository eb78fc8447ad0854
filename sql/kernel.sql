-- kernel.sql: schema, roles, identity, and the functions that speak of dbos itself.
-- SPDX-License-Identifier: PostgreSQL
\echo Use "CREATE EXTENSION dbos" to load this file. \quit

-- Roles are of the whole server: they may be there from another database.  One
-- of our names with rights of its own would be a way in, so it is refused.
DO $$
DECLARE
	name text;
	found record;
BEGIN
	FOREACH name IN ARRAY ARRAY['dbos_owner', 'dbos_user', 'dbos_monitor', 'dbos_admin'] LOOP
		SELECT * INTO found FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) name;
		IF NOT FOUND THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN NOINHERIT', name);
			EXECUTE pg_catalog.format('ALTER ROLE %I INHERIT', name);
		ELSIF found.rolsuper OR found.rolbypassrls OR found.rolcanlogin THEN
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
CREATE TABLE dbos.identity
(
	only_row boolean NOT NULL DEFAULT true PRIMARY KEY CHECK (only_row),
	system_identifier text NOT NULL,
	database oid NOT NULL
);
COMMENT ON TABLE dbos.identity IS 'the server and database whose tasks these are; not dumped, so that a copy does not act';

CREATE FUNCTION dbos.version() RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dbos_version';
COMMENT ON FUNCTION dbos.version() IS 'version of the loaded library';
