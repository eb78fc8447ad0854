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

-- What help() speaks of: every commented function and view that the asking role may use.
CREATE VIEW dbos.help_entries AS
	SELECT CASE WHEN e.name OPERATOR(pg_catalog.~) '^host_' THEN 'host'
				WHEN e.name OPERATOR(pg_catalog.~) 'container' THEN 'container'
				WHEN e.name OPERATOR(pg_catalog.=) ANY (ARRAY['help', 'version', 'health', 'capabilities', 'start', 'stop',
					'current_task', 'list_capabilities', 'name_distance', 'help_entries']) THEN 'system'
				ELSE 'task' END AS room,
		e.name, e.kind, e.signature,
		pg_catalog.regexp_replace(e.comment, '\s*Example: .*$', '') AS about,
		pg_catalog.substring(e.comment, 'Example: (.*)$') AS example
	FROM (SELECT p.proname::pg_catalog.text AS name, CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END AS kind,
			CASE p.prokind WHEN 'p' THEN 'CALL ' ELSE '' END OPERATOR(pg_catalog.||) 'dbos.' OPERATOR(pg_catalog.||) p.proname
				OPERATOR(pg_catalog.||) '(' OPERATOR(pg_catalog.||) pg_catalog.pg_get_function_arguments(p.oid) OPERATOR(pg_catalog.||) ')'
				OPERATOR(pg_catalog.||) coalesce(' -> ' OPERATOR(pg_catalog.||) pg_catalog.pg_get_function_result(p.oid), '') AS signature,
			pg_catalog.obj_description(p.oid, 'pg_proc') AS comment
		FROM pg_catalog.pg_proc p
		WHERE p.pronamespace OPERATOR(pg_catalog.=) (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) 'dbos')
			AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
		UNION ALL
		SELECT c.relname::pg_catalog.text, 'view', 'dbos.' OPERATOR(pg_catalog.||) c.relname, pg_catalog.obj_description(c.oid, 'pg_class')
		FROM pg_catalog.pg_class c
		WHERE c.relnamespace OPERATOR(pg_catalog.=) (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) 'dbos')
			AND c.relkind OPERATOR(pg_catalog.=) 'v' AND pg_catalog.has_table_privilege(c.oid, 'SELECT')) e
	WHERE e.comment IS NOT NULL AND e.comment OPERATOR(pg_catalog.~) 'Example: ';
COMMENT ON VIEW dbos.help_entries IS 'what dbos.help() speaks of, as rows. Example: SELECT name, example FROM dbos.help_entries;';

CREATE FUNCTION dbos.help(topic text DEFAULT NULL) RETURNS SETOF text
	LANGUAGE sql STABLE PARALLEL RESTRICTED AS $$
	WITH room (name, place, about) AS (VALUES
		('system', 1, 'what dbos is here, whether it works, and how to start it'),
		('task', 2, 'functions run in the background, exactly once'),
		('container', 3, 'namespaces: what a session sees'),
		('host', 4, 'the machine as tables')),
	wanted AS (SELECT pg_catalog.lower(pg_catalog.regexp_replace(pg_catalog.btrim(topic), '^dbos\.|\(.*$', '', 'g')) AS name),
	answer (place, name, step, line) AS (
		SELECT 0, '', 0, 'dbos ' OPERATOR(pg_catalog.||) dbos.version() OPERATOR(pg_catalog.||) ': the operating system of the applications on this server'
		WHERE topic IS NULL
		UNION ALL
		SELECT r.place, '', 1, pg_catalog.format('%s: %s', r.name, r.about)
		FROM room r, wanted w
		WHERE (w.name IS NULL OR r.name OPERATOR(pg_catalog.=) w.name)
			AND EXISTS (SELECT FROM dbos.help_entries e WHERE e.room OPERATOR(pg_catalog.=) r.name)
		UNION ALL
		SELECT r.place, '', 2, '    ' OPERATOR(pg_catalog.||) (SELECT pg_catalog.string_agg(DISTINCT e.name, ', ') FROM dbos.help_entries e WHERE e.room OPERATOR(pg_catalog.=) r.name)
		FROM room r
		WHERE topic IS NULL AND EXISTS (SELECT FROM dbos.help_entries e WHERE e.room OPERATOR(pg_catalog.=) r.name)
		UNION ALL
		SELECT 99, '', 3, 'More: SELECT * FROM dbos.help(''task''); or the name of any function or view.'
		WHERE topic IS NULL
		UNION ALL
		SELECT r.place, e.name OPERATOR(pg_catalog.||) e.signature, 4 OPERATOR(pg_catalog.+) s.step, s.line
		FROM dbos.help_entries e JOIN room r ON r.name OPERATOR(pg_catalog.=) e.room, wanted w,
			LATERAL (VALUES (1, e.signature), (2, '    ' OPERATOR(pg_catalog.||) e.about), (3, '    ' OPERATOR(pg_catalog.||) e.example)) s (step, line)
		WHERE e.room OPERATOR(pg_catalog.=) w.name OR e.name OPERATOR(pg_catalog.=) w.name),
	nearest AS (
		SELECT c.name FROM (SELECT e.name FROM dbos.help_entries e UNION SELECT r.name FROM room r) c, wanted w
		ORDER BY dbos.name_distance(c.name, pg_catalog.left(w.name, 63)) USING OPERATOR(pg_catalog.<), c.name USING OPERATOR(pg_catalog.<) LIMIT 1)
	(SELECT a.line FROM answer a ORDER BY a.place USING OPERATOR(pg_catalog.<), a.name USING OPERATOR(pg_catalog.<), a.step USING OPERATOR(pg_catalog.<))
	UNION ALL
	SELECT pg_catalog.format('There is nothing called "%s". The nearest is: SELECT * FROM dbos.help(%L);', topic, n.name)
	FROM nearest n WHERE topic IS NOT NULL AND NOT EXISTS (SELECT FROM answer)
	$$;
COMMENT ON FUNCTION dbos.help(text) IS 'rooms, functions and views, each with an example to paste. Example: SELECT * FROM dbos.help(''task'');';

REVOKE ALL ON FUNCTION dbos.version(), dbos.current_task(), dbos.health(), dbos.list_capabilities(), dbos.extension_created(),
	dbos.name_distance(text, text), dbos.help(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.version(), dbos.current_task(), dbos.health(), dbos.list_capabilities(),
	dbos.name_distance(text, text), dbos.help(text) TO dbos_user, dbos_monitor, dbos_admin;
REVOKE ALL ON dbos.capabilities, dbos.help_entries FROM PUBLIC;
GRANT SELECT ON dbos.capabilities, dbos.help_entries TO dbos_user, dbos_monitor, dbos_admin;
