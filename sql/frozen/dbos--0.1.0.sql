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
-- container.sql: the tree of containers, and the functions that move in it.
-- SPDX-License-Identifier: PostgreSQL

CREATE SEQUENCE dbos.container_id AS integer;
COMMENT ON SEQUENCE dbos.container_id IS 'ids of containers, never used twice';
SELECT pg_catalog.pg_extension_config_dump('dbos.container_id', '');

-- The root is 0 and has no row.  Id and parent of a row never change: caches rely on it.
CREATE TABLE dbos.container
(
	container_id integer NOT NULL DEFAULT pg_catalog.nextval('dbos.container_id') PRIMARY KEY CHECK (container_id OPERATOR(pg_catalog.>) 0),
	parent_id integer NOT NULL,
	name text NOT NULL CHECK (name OPERATOR(pg_catalog.<>) ''),
	owner regrole NOT NULL,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	UNIQUE (parent_id, name)
);
COMMENT ON TABLE dbos.container IS 'containers and what they are inside of; read dbos.containers';
SELECT pg_catalog.pg_extension_config_dump('dbos.container', '');

CREATE FUNCTION dbos.create_container(name text, parent text DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_create_container';
COMMENT ON FUNCTION dbos.create_container(text, text) IS
	'makes a container inside the current one, or inside parent; members of the current role may enter it. Example: SELECT dbos.create_container(''shop'');';

CREATE FUNCTION dbos.enter_container(name text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_enter_container';
COMMENT ON FUNCTION dbos.enter_container(text) IS
	'moves the session into a container inside the current one, for good; a rollback undoes it. Example: SELECT dbos.enter_container(''shop'');';

CREATE FUNCTION dbos.drop_container(name text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_drop_container';
COMMENT ON FUNCTION dbos.drop_container(text) IS
	'drops an empty container. Example: SELECT dbos.drop_container(''shop'');';

CREATE FUNCTION dbos.current_container() RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_current_container';
COMMENT ON FUNCTION dbos.current_container() IS
	'path of the container that the session is in; / is the root. Example: SELECT dbos.current_container();';

CREATE FUNCTION dbos.container_path(container_id integer) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_container_path';
COMMENT ON FUNCTION dbos.container_path(integer) IS
	'path of a container that the session sees, else NULL. Example: SELECT dbos.container_path(0);';

CREATE FUNCTION dbos.in_container(container_id integer) RETURNS boolean
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_in_container';
COMMENT ON FUNCTION dbos.in_container(integer) IS
	'whether that container is the session''s current one or inside it. Example: SELECT dbos.in_container(0);';

CREATE FUNCTION dbos.container_contains(outer_id integer, inner_id integer) RETURNS boolean
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_container_contains_sql';
COMMENT ON FUNCTION dbos.container_contains(integer, integer) IS
	'whether the first container is the second or around it. Example: SELECT dbos.container_contains(0, 0);';

CREATE VIEW dbos.containers WITH (security_barrier) AS
	SELECT c.container_id AS id, c.name, dbos.container_path(c.container_id) AS path, c.parent_id, c.owner, c.created_at
	FROM dbos.container c
	WHERE dbos.in_container(c.container_id)
		AND (pg_catalog.pg_has_role(c.owner, 'MEMBER') OR pg_catalog.pg_has_role('dbos_monitor', 'MEMBER'));
COMMENT ON VIEW dbos.containers IS
	'the current container and those inside it, as far as the current role may enter them. Example: SELECT path, owner FROM dbos.containers;';

REVOKE ALL ON FUNCTION dbos.create_container(text, text), dbos.enter_container(text), dbos.drop_container(text),
	dbos.current_container(), dbos.container_path(integer), dbos.in_container(integer), dbos.container_contains(integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.create_container(text, text), dbos.enter_container(text), dbos.drop_container(text)
	TO dbos_user, dbos_admin;
GRANT EXECUTE ON FUNCTION dbos.current_container(), dbos.container_path(integer), dbos.in_container(integer), dbos.container_contains(integer, integer)
	TO dbos_user, dbos_monitor, dbos_admin;
REVOKE ALL ON dbos.containers FROM PUBLIC;
GRANT SELECT ON dbos.containers TO dbos_user, dbos_monitor, dbos_admin;
-- host.sql: the machine below the server, live, with osquery's names.
-- SPDX-License-Identifier: PostgreSQL

-- One process: what a query that does not ask for it should not pay for. STABLE, or the planner
-- would have to call them for every row of the view all the same.
CREATE FUNCTION dbos.host_process_link(pid integer, start bigint, link text) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'dbos_host_process_link';
COMMENT ON FUNCTION dbos.host_process_link(integer, bigint, text) IS 'where exe, cwd or root of a process points to, for dbos_monitor; read dbos.host_processes';
CREATE FUNCTION dbos.host_process_cmdline(pid integer, start bigint) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'dbos_host_process_cmdline';
COMMENT ON FUNCTION dbos.host_process_cmdline(integer, bigint) IS 'arguments of a process, for dbos_monitor; read dbos.host_processes';
CREATE FUNCTION dbos.host_process_id(pid integer, start bigint, is_user boolean, which integer) RETURNS bigint
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'dbos_host_process_id';
COMMENT ON FUNCTION dbos.host_process_id(integer, bigint, boolean, integer) IS 'user or group of a process: 0 real, 1 effective, 2 saved; read dbos.host_processes';
CREATE FUNCTION dbos.host_process_io(pid integer, start bigint, written boolean) RETURNS bigint
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'dbos_host_process_io';
COMMENT ON FUNCTION dbos.host_process_io(integer, bigint, boolean) IS 'bytes that a process read from disk or wrote to it, for dbos_monitor; read dbos.host_processes';

CREATE FUNCTION dbos.host_list_processes(OUT pid integer,
		OUT name text,
		OUT state text,
		OUT resident_size bigint,
		OUT total_size bigint,
		OUT user_time bigint,
		OUT system_time bigint,
		OUT start_time bigint,
		OUT start bigint,
		OUT parent integer,
		OUT pgroup integer,
		OUT threads integer,
		OUT nice integer)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1300 ROWS 130 AS 'MODULE_PATHNAME', 'dbos_host_list_processes';
COMMENT ON FUNCTION dbos.host_list_processes() IS 'read dbos.host_processes';
CREATE VIEW dbos.host_processes AS
	SELECT p.pid, p.name, dbos.host_process_link(p.pid, p.start, 'exe') AS path, dbos.host_process_cmdline(p.pid, p.start) AS cmdline, p.state, dbos.host_process_link(p.pid, p.start, 'cwd') AS cwd, dbos.host_process_link(p.pid, p.start, 'root') AS root, dbos.host_process_id(p.pid, p.start, true, 0) AS uid, dbos.host_process_id(p.pid, p.start, false, 0) AS gid, dbos.host_process_id(p.pid, p.start, true, 1) AS euid, dbos.host_process_id(p.pid, p.start, false, 1) AS egid, dbos.host_process_id(p.pid, p.start, true, 2) AS suid, dbos.host_process_id(p.pid, p.start, false, 2) AS sgid, p.resident_size, p.total_size, p.user_time, p.system_time, dbos.host_process_io(p.pid, p.start, false) AS disk_bytes_read, dbos.host_process_io(p.pid, p.start, true) AS disk_bytes_written, p.start_time, p.start, p.parent, p.pgroup, p.threads, p.nice
	FROM dbos.host_list_processes() p;
COMMENT ON VIEW dbos.host_processes IS 'a row of each process that the machine runs; in a container, of the session''s own. Example: SELECT pid, name, resident_size FROM dbos.host_processes ORDER BY resident_size DESC LIMIT 5;';
COMMENT ON COLUMN dbos.host_processes.pid IS 'process id';
COMMENT ON COLUMN dbos.host_processes.name IS 'name of the program, as the process gives it; bytes that are no text are shown as \xHH';
COMMENT ON COLUMN dbos.host_processes.path IS 'the program''s file; NULL for who is not in dbos_monitor';
COMMENT ON COLUMN dbos.host_processes.cmdline IS 'arguments, the first 4 kB; NULL for who is not in dbos_monitor';
COMMENT ON COLUMN dbos.host_processes.state IS 'R running, S sleeping, D waiting for a device, T stopped, Z ended and not waited for, I idle';
COMMENT ON COLUMN dbos.host_processes.cwd IS 'working directory; NULL for who is not in dbos_monitor';
COMMENT ON COLUMN dbos.host_processes.root IS 'root directory; NULL for who is not in dbos_monitor';
COMMENT ON COLUMN dbos.host_processes.uid IS 'user';
COMMENT ON COLUMN dbos.host_processes.gid IS 'group';
COMMENT ON COLUMN dbos.host_processes.euid IS 'effective user';
COMMENT ON COLUMN dbos.host_processes.egid IS 'effective group';
COMMENT ON COLUMN dbos.host_processes.suid IS 'saved user';
COMMENT ON COLUMN dbos.host_processes.sgid IS 'saved group';
COMMENT ON COLUMN dbos.host_processes.resident_size IS 'bytes of memory in use, shared ones too';
COMMENT ON COLUMN dbos.host_processes.total_size IS 'bytes of address space';
COMMENT ON COLUMN dbos.host_processes.user_time IS 'CPU time in the program, in milliseconds';
COMMENT ON COLUMN dbos.host_processes.system_time IS 'CPU time in the kernel, in milliseconds';
COMMENT ON COLUMN dbos.host_processes.disk_bytes_read IS 'bytes that came from a disk; NULL for who is not in dbos_monitor';
COMMENT ON COLUMN dbos.host_processes.disk_bytes_written IS 'bytes that went to a disk; NULL for who is not in dbos_monitor';
COMMENT ON COLUMN dbos.host_processes.start_time IS 'when it started, in seconds since 1970';
COMMENT ON COLUMN dbos.host_processes.start IS 'when it started, in clock ticks since boot: with pid it names a process for good';
COMMENT ON COLUMN dbos.host_processes.parent IS 'process id of the parent';
COMMENT ON COLUMN dbos.host_processes.pgroup IS 'process group';
COMMENT ON COLUMN dbos.host_processes.threads IS 'number of threads';
COMMENT ON COLUMN dbos.host_processes.nice IS 'nice value';

CREATE FUNCTION dbos.host_list_threads(OUT pid integer,
		OUT tid integer,
		OUT name text,
		OUT state text,
		OUT user_time bigint,
		OUT system_time bigint,
		OUT start_time bigint,
		OUT nice integer,
		OUT processor integer)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 3000 ROWS 300 AS 'MODULE_PATHNAME', 'dbos_host_list_threads';
COMMENT ON FUNCTION dbos.host_list_threads() IS 'read dbos.host_threads';
CREATE VIEW dbos.host_threads AS
	SELECT p.pid, p.tid, p.name, p.state, p.user_time, p.system_time, p.start_time, p.nice, p.processor
	FROM dbos.host_list_threads() p;
COMMENT ON VIEW dbos.host_threads IS 'a row of each thread of each process; in a container, of the session''s own process. Example: SELECT pid, count(*) AS threads FROM dbos.host_threads GROUP BY pid ORDER BY threads DESC LIMIT 5;';
COMMENT ON COLUMN dbos.host_threads.pid IS 'process id';
COMMENT ON COLUMN dbos.host_threads.tid IS 'thread id';
COMMENT ON COLUMN dbos.host_threads.name IS 'name of the thread';
COMMENT ON COLUMN dbos.host_threads.state IS 'as in dbos.host_processes';
COMMENT ON COLUMN dbos.host_threads.user_time IS 'CPU time in the program, in milliseconds';
COMMENT ON COLUMN dbos.host_threads.system_time IS 'CPU time in the kernel, in milliseconds';
COMMENT ON COLUMN dbos.host_threads.start_time IS 'when it started, in seconds since 1970';
COMMENT ON COLUMN dbos.host_threads.nice IS 'nice value';
COMMENT ON COLUMN dbos.host_threads.processor IS 'CPU that it ran on last';

CREATE FUNCTION dbos.host_list_sockets(OUT pid integer,
		OUT fd integer,
		OUT socket bigint,
		OUT family integer,
		OUT protocol integer,
		OUT local_address text,
		OUT remote_address text,
		OUT local_port integer,
		OUT remote_port integer,
		OUT path text,
		OUT state text)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1000 ROWS 100 AS 'MODULE_PATHNAME', 'dbos_host_list_sockets';
COMMENT ON FUNCTION dbos.host_list_sockets() IS 'read dbos.host_sockets';
CREATE VIEW dbos.host_sockets AS
	SELECT p.pid, p.fd, p.socket, p.family, p.protocol, p.local_address, p.remote_address, p.local_port, p.remote_port, p.path, p.state
	FROM dbos.host_list_sockets() p;
COMMENT ON VIEW dbos.host_sockets IS 'a row of each open socket and who has it; of the session''s own process for who is not in dbos_monitor, and in a container. Example: SELECT pid, local_address, local_port FROM dbos.host_sockets WHERE state = ''LISTEN'';';
COMMENT ON COLUMN dbos.host_sockets.pid IS 'process id; NULL where the server may not look';
COMMENT ON COLUMN dbos.host_sockets.fd IS 'file descriptor there';
COMMENT ON COLUMN dbos.host_sockets.socket IS 'inode';
COMMENT ON COLUMN dbos.host_sockets.family IS '1 UNIX, 2 IPv4, 10 IPv6';
COMMENT ON COLUMN dbos.host_sockets.protocol IS '6 TCP, 17 UDP, 0 UNIX';
COMMENT ON COLUMN dbos.host_sockets.local_address IS 'own address';
COMMENT ON COLUMN dbos.host_sockets.remote_address IS 'address of the other end';
COMMENT ON COLUMN dbos.host_sockets.local_port IS 'own port';
COMMENT ON COLUMN dbos.host_sockets.remote_port IS 'port of the other end';
COMMENT ON COLUMN dbos.host_sockets.path IS 'file of a UNIX socket';
COMMENT ON COLUMN dbos.host_sockets.state IS 'of TCP: LISTEN, ESTABLISHED and so on';

CREATE FUNCTION dbos.host_list_mounts(OUT device text,
		OUT path text,
		OUT type text,
		OUT flags text,
		OUT blocks_size bigint,
		OUT blocks bigint,
		OUT blocks_free bigint,
		OUT blocks_available bigint,
		OUT inodes bigint,
		OUT inodes_free bigint)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 200 ROWS 20 AS 'MODULE_PATHNAME', 'dbos_host_list_mounts';
COMMENT ON FUNCTION dbos.host_list_mounts() IS 'read dbos.host_mounts';
CREATE VIEW dbos.host_mounts AS
	SELECT p.device, p.path, p.type, p.flags, p.blocks_size, p.blocks, p.blocks_free, p.blocks_available, p.inodes, p.inodes_free
	FROM dbos.host_list_mounts() p;
COMMENT ON VIEW dbos.host_mounts IS 'a row of each mounted file system; none in a container. Example: SELECT path, blocks_available * blocks_size AS bytes_left FROM dbos.host_mounts ORDER BY 2;';
COMMENT ON COLUMN dbos.host_mounts.device IS 'what is mounted';
COMMENT ON COLUMN dbos.host_mounts.path IS 'where';
COMMENT ON COLUMN dbos.host_mounts.type IS 'kind of file system';
COMMENT ON COLUMN dbos.host_mounts.flags IS 'options';
COMMENT ON COLUMN dbos.host_mounts.blocks_size IS 'bytes of a block; NULL, as the sizes below, where another machine or program would have to be asked, or a later mount hides this one';
COMMENT ON COLUMN dbos.host_mounts.blocks IS 'blocks in all';
COMMENT ON COLUMN dbos.host_mounts.blocks_free IS 'blocks that are free';
COMMENT ON COLUMN dbos.host_mounts.blocks_available IS 'blocks that an ordinary user can have';
COMMENT ON COLUMN dbos.host_mounts.inodes IS 'inodes in all';
COMMENT ON COLUMN dbos.host_mounts.inodes_free IS 'inodes that are free';

CREATE FUNCTION dbos.host_list_cpus(OUT core integer,
		OUT model text,
		OUT mhz real,
		OUT "user" bigint,
		OUT nice bigint,
		OUT system bigint,
		OUT idle bigint,
		OUT iowait bigint,
		OUT irq bigint,
		OUT softirq bigint,
		OUT steal bigint,
		OUT guest bigint,
		OUT guest_nice bigint)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 80 ROWS 8 AS 'MODULE_PATHNAME', 'dbos_host_list_cpus';
COMMENT ON FUNCTION dbos.host_list_cpus() IS 'read dbos.host_cpus';
CREATE VIEW dbos.host_cpus AS
	SELECT p.core, p.model, p.mhz, p."user", p.nice, p.system, p.idle, p.iowait, p.irq, p.softirq, p.steal, p.guest, p.guest_nice
	FROM dbos.host_list_cpus() p;
COMMENT ON VIEW dbos.host_cpus IS 'a row of each logical CPU, with its time since boot in milliseconds. Example: SELECT core, idle FROM dbos.host_cpus;';
COMMENT ON COLUMN dbos.host_cpus.core IS 'number of the CPU';
COMMENT ON COLUMN dbos.host_cpus.model IS 'what it is';
COMMENT ON COLUMN dbos.host_cpus.mhz IS 'clock rate now';
COMMENT ON COLUMN dbos.host_cpus."user" IS 'in programs';
COMMENT ON COLUMN dbos.host_cpus.nice IS 'in programs of low priority';
COMMENT ON COLUMN dbos.host_cpus.system IS 'in the kernel';
COMMENT ON COLUMN dbos.host_cpus.idle IS 'without work';
COMMENT ON COLUMN dbos.host_cpus.iowait IS 'without work while a disk was waited for';
COMMENT ON COLUMN dbos.host_cpus.irq IS 'in interrupts';
COMMENT ON COLUMN dbos.host_cpus.softirq IS 'in deferred interrupts';
COMMENT ON COLUMN dbos.host_cpus.steal IS 'taken by other virtual machines';
COMMENT ON COLUMN dbos.host_cpus.guest IS 'in virtual machines';
COMMENT ON COLUMN dbos.host_cpus.guest_nice IS 'in virtual machines of low priority';

CREATE FUNCTION dbos.host_list_memory(OUT memory_total bigint,
		OUT memory_free bigint,
		OUT memory_available bigint,
		OUT buffers bigint,
		OUT cached bigint,
		OUT swap_cached bigint,
		OUT active bigint,
		OUT inactive bigint,
		OUT swap_total bigint,
		OUT swap_free bigint)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 10 ROWS 1 AS 'MODULE_PATHNAME', 'dbos_host_list_memory';
COMMENT ON FUNCTION dbos.host_list_memory() IS 'read dbos.host_memory';
CREATE VIEW dbos.host_memory AS
	SELECT p.memory_total, p.memory_free, p.memory_available, p.buffers, p.cached, p.swap_cached, p.active, p.inactive, p.swap_total, p.swap_free
	FROM dbos.host_list_memory() p;
COMMENT ON VIEW dbos.host_memory IS 'a row of the machine''s memory: one row, in bytes. Example: SELECT memory_available FROM dbos.host_memory;';
COMMENT ON COLUMN dbos.host_memory.memory_total IS 'all of it';
COMMENT ON COLUMN dbos.host_memory.memory_free IS 'used for nothing';
COMMENT ON COLUMN dbos.host_memory.memory_available IS 'that programs can have without swapping';
COMMENT ON COLUMN dbos.host_memory.buffers IS 'of file system structures';
COMMENT ON COLUMN dbos.host_memory.cached IS 'of files';
COMMENT ON COLUMN dbos.host_memory.swap_cached IS 'swapped out and still here';
COMMENT ON COLUMN dbos.host_memory.active IS 'used lately';
COMMENT ON COLUMN dbos.host_memory.inactive IS 'not used lately';
COMMENT ON COLUMN dbos.host_memory.swap_total IS 'swap space';
COMMENT ON COLUMN dbos.host_memory.swap_free IS 'swap space left';

CREATE FUNCTION dbos.host_list_disks(OUT name text,
		OUT model text,
		OUT size bigint,
		OUT block_size bigint,
		OUT reads bigint,
		OUT bytes_read bigint,
		OUT read_time bigint,
		OUT writes bigint,
		OUT bytes_written bigint,
		OUT write_time bigint,
		OUT in_flight bigint,
		OUT busy_time bigint)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 80 ROWS 8 AS 'MODULE_PATHNAME', 'dbos_host_list_disks';
COMMENT ON FUNCTION dbos.host_list_disks() IS 'read dbos.host_disks';
CREATE VIEW dbos.host_disks AS
	SELECT p.name, p.model, p.size, p.block_size, p.reads, p.bytes_read, p.read_time, p.writes, p.bytes_written, p.write_time, p.in_flight, p.busy_time
	FROM dbos.host_list_disks() p;
COMMENT ON VIEW dbos.host_disks IS 'a row of each block device and partition, with what went through it since boot. Example: SELECT name, bytes_written FROM dbos.host_disks ORDER BY bytes_written DESC;';
COMMENT ON COLUMN dbos.host_disks.name IS 'name of the device';
COMMENT ON COLUMN dbos.host_disks.model IS 'what it is';
COMMENT ON COLUMN dbos.host_disks.size IS 'bytes (in osquery: blocks of 512)';
COMMENT ON COLUMN dbos.host_disks.block_size IS 'bytes of a block; of whole devices';
COMMENT ON COLUMN dbos.host_disks.reads IS 'reads completed';
COMMENT ON COLUMN dbos.host_disks.bytes_read IS 'bytes read';
COMMENT ON COLUMN dbos.host_disks.read_time IS 'milliseconds of reading';
COMMENT ON COLUMN dbos.host_disks.writes IS 'writes completed';
COMMENT ON COLUMN dbos.host_disks.bytes_written IS 'bytes written';
COMMENT ON COLUMN dbos.host_disks.write_time IS 'milliseconds of writing';
COMMENT ON COLUMN dbos.host_disks.in_flight IS 'requests under way';
COMMENT ON COLUMN dbos.host_disks.busy_time IS 'milliseconds with requests under way';

CREATE FUNCTION dbos.host_list_interfaces(OUT interface text,
		OUT mac text,
		OUT type integer,
		OUT mtu integer,
		OUT flags integer,
		OUT link_speed integer,
		OUT addresses text[],
		OUT ipackets bigint,
		OUT opackets bigint,
		OUT ibytes bigint,
		OUT obytes bigint,
		OUT ierrors bigint,
		OUT oerrors bigint,
		OUT idrops bigint,
		OUT odrops bigint,
		OUT collisions bigint)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 40 ROWS 4 AS 'MODULE_PATHNAME', 'dbos_host_list_interfaces';
COMMENT ON FUNCTION dbos.host_list_interfaces() IS 'read dbos.host_interfaces';
CREATE VIEW dbos.host_interfaces AS
	SELECT p.interface, p.mac, p.type, p.mtu, p.flags, p.link_speed, p.addresses, p.ipackets, p.opackets, p.ibytes, p.obytes, p.ierrors, p.oerrors, p.idrops, p.odrops, p.collisions
	FROM dbos.host_list_interfaces() p;
COMMENT ON VIEW dbos.host_interfaces IS 'a row of each network interface, with its counters; none in a container. Example: SELECT interface, addresses, ibytes, obytes FROM dbos.host_interfaces;';
COMMENT ON COLUMN dbos.host_interfaces.interface IS 'name';
COMMENT ON COLUMN dbos.host_interfaces.mac IS 'hardware address';
COMMENT ON COLUMN dbos.host_interfaces.type IS 'kind, as in the kernel''s if_arp.h';
COMMENT ON COLUMN dbos.host_interfaces.mtu IS 'largest packet';
COMMENT ON COLUMN dbos.host_interfaces.flags IS 'as in the kernel''s if.h';
COMMENT ON COLUMN dbos.host_interfaces.link_speed IS 'Mbit/s; NULL or -1 where there is none';
COMMENT ON COLUMN dbos.host_interfaces.addresses IS 'IP addresses';
COMMENT ON COLUMN dbos.host_interfaces.ipackets IS 'packets in';
COMMENT ON COLUMN dbos.host_interfaces.opackets IS 'packets out';
COMMENT ON COLUMN dbos.host_interfaces.ibytes IS 'bytes in';
COMMENT ON COLUMN dbos.host_interfaces.obytes IS 'bytes out';
COMMENT ON COLUMN dbos.host_interfaces.ierrors IS 'errors in';
COMMENT ON COLUMN dbos.host_interfaces.oerrors IS 'errors out';
COMMENT ON COLUMN dbos.host_interfaces.idrops IS 'dropped on the way in';
COMMENT ON COLUMN dbos.host_interfaces.odrops IS 'dropped on the way out';
COMMENT ON COLUMN dbos.host_interfaces.collisions IS 'collisions';

REVOKE ALL ON FUNCTION dbos.host_process_link(integer, bigint, text),
	dbos.host_process_cmdline(integer, bigint),
	dbos.host_process_id(integer, bigint, boolean, integer),
	dbos.host_process_io(integer, bigint, boolean),
	dbos.host_list_processes(),
	dbos.host_list_threads(),
	dbos.host_list_sockets(),
	dbos.host_list_mounts(),
	dbos.host_list_cpus(),
	dbos.host_list_memory(),
	dbos.host_list_disks(),
	dbos.host_list_interfaces() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.host_process_link(integer, bigint, text),
	dbos.host_process_cmdline(integer, bigint),
	dbos.host_process_id(integer, bigint, boolean, integer),
	dbos.host_process_io(integer, bigint, boolean),
	dbos.host_list_processes(),
	dbos.host_list_threads(),
	dbos.host_list_sockets(),
	dbos.host_list_mounts(),
	dbos.host_list_cpus(),
	dbos.host_list_memory(),
	dbos.host_list_disks(),
	dbos.host_list_interfaces()
	TO dbos_user, dbos_monitor, dbos_admin;
REVOKE ALL ON dbos.host_processes, dbos.host_threads, dbos.host_sockets, dbos.host_mounts, dbos.host_cpus, dbos.host_memory, dbos.host_disks, dbos.host_interfaces FROM PUBLIC;
GRANT SELECT ON dbos.host_processes, dbos.host_threads, dbos.host_sockets, dbos.host_mounts, dbos.host_cpus, dbos.host_memory, dbos.host_disks, dbos.host_interfaces
	TO dbos_user, dbos_monitor, dbos_admin;
-- task.sql: the tables of the task room.  Functions and views: task_api.sql, task_views.sql.
-- SPDX-License-Identifier: PostgreSQL

CREATE TABLE dbos.queue
(
	id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name text NOT NULL,
	container_id integer NOT NULL DEFAULT 0,
	owner regrole NOT NULL,
	concurrency integer CHECK (concurrency >= 0),
	paused boolean NOT NULL DEFAULT false,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	UNIQUE (container_id, name)
);
COMMENT ON TABLE dbos.queue IS 'queues: a name under which tasks wait, with its limits';
INSERT INTO dbos.queue (name, owner) VALUES ('default', 'dbos_owner');
SELECT pg_catalog.pg_extension_config_dump('dbos.queue', 'WHERE name OPERATOR(pg_catalog.<>) ''default'' OR container_id OPERATOR(pg_catalog.<>) 0');

CREATE SEQUENCE dbos.task_id AS bigint CACHE 32;
COMMENT ON SEQUENCE dbos.task_id IS 'ids of tasks; the low four bits are the shard';
SELECT pg_catalog.pg_extension_config_dump('dbos.task_id', '');

-- A waiting or running task.  Its row changes once for each attempt, when it
-- ends; that it runs is known from shared memory.  Rows are inserted by C alone
-- (src/task/submit.c), which knows the order of these columns.
CREATE TABLE dbos.task
(
	shard smallint NOT NULL,
	id bigint NOT NULL,
	queue_id integer NOT NULL,
	session_role regrole NOT NULL,
	role regrole NOT NULL,
	container_id integer NOT NULL,
	priority integer NOT NULL,
	held boolean NOT NULL,
	unmet integer NOT NULL,
	run_at timestamptz,
	submitted_at timestamptz NOT NULL,
	attempt integer NOT NULL,
	max_attempts integer NOT NULL,
	crashes integer NOT NULL,
	retry_delay interval NOT NULL,
	retry_backoff real NOT NULL,
	timeout interval,
	deadline timestamptz,
	kind "char" NOT NULL,
	function text NOT NULL,
	args jsonb NOT NULL,
	parent_id bigint,
	idempotency_key text,
	partition_key text,
	attributes jsonb NOT NULL,
	PRIMARY KEY (shard, id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE dbos.task IS 'tasks that have not ended; read dbos.tasks';
COMMENT ON COLUMN dbos.task.held IS 'not in the ready order: delayed until run_at, or waiting for other tasks';
COMMENT ON COLUMN dbos.task.unmet IS 'dependencies that have not succeeded yet';
COMMENT ON COLUMN dbos.task.kind IS 'f: function, s: SQL text';
-- The policy order, read in windows by the scheduler.  No column of it changes when a task runs.
CREATE INDEX task_ready ON dbos.task (queue_id, session_role, priority, id) WHERE NOT held;
CREATE INDEX task_due ON dbos.task (run_at, id) WHERE held AND unmet OPERATOR(pg_catalog.=) 0;
CREATE INDEX task_deadline ON dbos.task (deadline) WHERE deadline IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('dbos.task', '');

-- A row of dbos.task is the right to act as its roles.  Who may write every table
-- (pg_write_all_data) must not make one; a superuser may, as a restore does.
CREATE FUNCTION dbos.guard_task() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_guard_task';
COMMENT ON FUNCTION dbos.guard_task() IS 'keeps all but dbos_owner and superusers from writing tasks by hand';
REVOKE ALL ON FUNCTION dbos.guard_task() FROM PUBLIC;
CREATE TRIGGER guard_task BEFORE INSERT OR UPDATE ON dbos.task
	FOR EACH STATEMENT EXECUTE FUNCTION dbos.guard_task();
COMMENT ON TRIGGER guard_task ON dbos.task IS 'keeps all but dbos_owner and superusers from writing tasks by hand';

CREATE TABLE dbos.task_dependency
(
	task_id bigint NOT NULL,
	depends_on bigint NOT NULL,
	PRIMARY KEY (task_id, depends_on)
);
CREATE INDEX task_dependency_reverse ON dbos.task_dependency (depends_on, task_id);
COMMENT ON TABLE dbos.task_dependency IS 'which waiting task waits for which other';
SELECT pg_catalog.pg_extension_config_dump('dbos.task_dependency', '');

CREATE TABLE dbos.task_key
(
	shard smallint NOT NULL,
	queue_id integer NOT NULL,
	role regrole NOT NULL,
	key text NOT NULL,
	task_id bigint NOT NULL,
	created_at timestamptz NOT NULL,
	PRIMARY KEY (shard, queue_id, role, key)
);
COMMENT ON TABLE dbos.task_key IS 'idempotency keys, which outlive their tasks';
SELECT pg_catalog.pg_extension_config_dump('dbos.task_key', '');

CREATE TABLE dbos.task_cancellation
(
	task_id bigint PRIMARY KEY,
	requested_at timestamptz NOT NULL,
	requested_by regrole NOT NULL
);
COMMENT ON TABLE dbos.task_cancellation IS 'running tasks that were told to stop; survives the crash of the worker';
SELECT pg_catalog.pg_extension_config_dump('dbos.task_cancellation', '');

-- Tasks that ended, appended in the commit that ended them.  Its partitions are
-- made at run time, one a day, each with an index of its own on id (one on the
-- parent would collide with theirs when a dump is restored), and dropped by age and size.
CREATE TABLE dbos.task_history
(
	id bigint NOT NULL,
	state text NOT NULL CHECK (state OPERATOR(pg_catalog.=) ANY (ARRAY['succeeded', 'failed', 'cancelled'])),
	queue_id integer NOT NULL,
	session_role regrole NOT NULL,
	role regrole NOT NULL,
	container_id integer NOT NULL,
	priority integer NOT NULL,
	run_at timestamptz,
	submitted_at timestamptz NOT NULL,
	started_at timestamptz,
	finished_at timestamptz NOT NULL,
	attempt integer NOT NULL,
	max_attempts integer NOT NULL,
	crashes integer NOT NULL,
	timeout interval,
	deadline timestamptz,
	kind "char" NOT NULL,
	function text NOT NULL,
	args jsonb NOT NULL,
	parent_id bigint,
	idempotency_key text,
	partition_key text,
	attributes jsonb NOT NULL,
	retry_delay interval NOT NULL,
	retry_backoff real NOT NULL,
	worker_pid integer,
	result jsonb,
	error jsonb,
	cpu_seconds real,
	rows bigint,
	buffers_hit bigint,
	buffers_read bigint,
	memory_bytes bigint,
	xid xid8 NOT NULL
) PARTITION BY RANGE (finished_at);
COMMENT ON TABLE dbos.task_history IS 'tasks that ended; read dbos.tasks';

-- Attempts that were followed by another one; the last one stands in the task's own row.
CREATE TABLE dbos.task_attempt
(
	task_id bigint NOT NULL,
	attempt integer NOT NULL,
	outcome text NOT NULL,
	started_at timestamptz,
	finished_at timestamptz NOT NULL,
	worker_pid integer,
	error jsonb,
	cpu_seconds real,
	rows bigint,
	buffers_hit bigint,
	buffers_read bigint,
	memory_bytes bigint
);
CREATE INDEX task_attempt_task ON dbos.task_attempt (task_id);
COMMENT ON TABLE dbos.task_attempt IS 'attempts that were followed by another one; read dbos.attempts';
SELECT pg_catalog.pg_extension_config_dump('dbos.task_attempt', '');

CREATE TABLE dbos.decision
(
	decided_at timestamptz NOT NULL,
	queue_id integer NOT NULL,
	chosen bigint NOT NULL,
	context jsonb NOT NULL,
	alternatives bigint[] NOT NULL,
	propensity real NOT NULL,
	reward real
);
CREATE INDEX decision_time ON dbos.decision (decided_at);
COMMENT ON TABLE dbos.decision IS 'sampled scheduling choices; read dbos.decisions';
-- task_api.sql: the functions of the task room.
-- SPDX-License-Identifier: PostgreSQL

-- ---- submit ----

CREATE FUNCTION dbos.submit(
	function text,
	args jsonb DEFAULT '{}',
	queue text DEFAULT 'default',
	priority integer DEFAULT 0,
	run_at timestamptz DEFAULT NULL,
	delay interval DEFAULT NULL,
	after bigint[] DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	partition_key text DEFAULT NULL,
	max_attempts integer DEFAULT 1,
	retry_delay interval DEFAULT '1 second',
	retry_backoff real DEFAULT 2,
	timeout interval DEFAULT NULL,
	deadline timestamptz DEFAULT NULL,
	attributes jsonb DEFAULT '{}'
) RETURNS bigint
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_submit';
COMMENT ON FUNCTION dbos.submit(text, jsonb, text, integer, timestamptz, interval, bigint[], text, text, integer, interval, real, interval, timestamptz, jsonb) IS
	'has a function run as a task, once this transaction commits; returns the task''s id. Example: SELECT dbos.submit(''pg_catalog.upper'', ''["hello"]'');';

CREATE FUNCTION dbos.submit_many(
	function text,
	args jsonb[],
	queue text DEFAULT 'default',
	priority integer DEFAULT 0,
	run_at timestamptz DEFAULT NULL,
	delay interval DEFAULT NULL,
	after bigint[] DEFAULT NULL,
	partition_key text DEFAULT NULL,
	max_attempts integer DEFAULT 1,
	retry_delay interval DEFAULT '1 second',
	retry_backoff real DEFAULT 2,
	timeout interval DEFAULT NULL,
	deadline timestamptz DEFAULT NULL,
	attributes jsonb DEFAULT '{}'
) RETURNS SETOF bigint
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_submit_many';
COMMENT ON FUNCTION dbos.submit_many(text, jsonb[], text, integer, timestamptz, interval, bigint[], text, integer, interval, real, interval, timestamptz, jsonb) IS
	'submits one task for each document of args; returns their ids in the same order. Example: SELECT dbos.submit_many(''pg_catalog.upper'', ARRAY[''["a"]'', ''["b"]'']::jsonb[]);';

CREATE FUNCTION dbos.submit_sql(
	command text,
	queue text DEFAULT 'default',
	priority integer DEFAULT 0,
	run_at timestamptz DEFAULT NULL,
	delay interval DEFAULT NULL,
	after bigint[] DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	partition_key text DEFAULT NULL,
	max_attempts integer DEFAULT 1,
	retry_delay interval DEFAULT '1 second',
	retry_backoff real DEFAULT 2,
	timeout interval DEFAULT NULL,
	deadline timestamptz DEFAULT NULL,
	attributes jsonb DEFAULT '{}'
) RETURNS bigint
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_submit_sql';
COMMENT ON FUNCTION dbos.submit_sql(text, text, integer, timestamptz, interval, bigint[], text, text, integer, interval, real, interval, timestamptz, jsonb) IS
	'has SQL text run as a task, VACUUM and procedures that commit included; returns the task''s id. Example: SELECT dbos.submit_sql(''VACUUM pg_catalog.pg_class'');';

REVOKE ALL ON FUNCTION
	dbos.submit(text, jsonb, text, integer, timestamptz, interval, bigint[], text, text, integer, interval, real, interval, timestamptz, jsonb),
	dbos.submit_many(text, jsonb[], text, integer, timestamptz, interval, bigint[], text, integer, interval, real, interval, timestamptz, jsonb),
	dbos.submit_sql(text, text, integer, timestamptz, interval, bigint[], text, text, integer, interval, real, interval, timestamptz, jsonb)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	dbos.submit(text, jsonb, text, integer, timestamptz, interval, bigint[], text, text, integer, interval, real, interval, timestamptz, jsonb),
	dbos.submit_many(text, jsonb[], text, integer, timestamptz, interval, bigint[], text, integer, interval, real, interval, timestamptz, jsonb),
	dbos.submit_sql(text, text, integer, timestamptz, interval, bigint[], text, text, integer, interval, real, interval, timestamptz, jsonb)
	TO dbos_user;

-- ---- queues ----

CREATE FUNCTION dbos.create_queue(name text, concurrency integer DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_create_queue';
COMMENT ON FUNCTION dbos.create_queue(text, integer) IS
	'makes a queue in the current container; at most concurrency of its tasks run at once, NULL for no limit. Example: SELECT dbos.create_queue(''mail'', concurrency => 2);';

CREATE FUNCTION dbos.alter_queue(name text, concurrency integer) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_alter_queue';
COMMENT ON FUNCTION dbos.alter_queue(text, integer) IS
	'changes how many tasks of a queue run at once; NULL lifts the limit. Example: SELECT dbos.alter_queue(''mail'', concurrency => 4);';

CREATE FUNCTION dbos.pause_queue(name text) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_pause_queue';
COMMENT ON FUNCTION dbos.pause_queue(text) IS
	'starts no more tasks of a queue; those that run go on. Example: SELECT dbos.pause_queue(''mail'');';

CREATE FUNCTION dbos.resume_queue(name text) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_resume_queue';
COMMENT ON FUNCTION dbos.resume_queue(text) IS
	'starts tasks of a paused queue again. Example: SELECT dbos.resume_queue(''mail'');';

CREATE FUNCTION dbos.drop_queue(name text) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_drop_queue';
COMMENT ON FUNCTION dbos.drop_queue(text) IS
	'drops a queue in which no task waits or runs. Example: SELECT dbos.drop_queue(''mail'');';

REVOKE ALL ON FUNCTION dbos.create_queue(text, integer), dbos.alter_queue(text, integer),
	dbos.pause_queue(text), dbos.resume_queue(text), dbos.drop_queue(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.create_queue(text, integer), dbos.alter_queue(text, integer),
	dbos.pause_queue(text), dbos.resume_queue(text), dbos.drop_queue(text) TO dbos_user;
-- task_manage.sql: what is done with tasks after their submit, and with the workers.
-- SPDX-License-Identifier: PostgreSQL

CREATE FUNCTION dbos.result(task bigint) RETURNS jsonb
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_result';
COMMENT ON FUNCTION dbos.result(bigint) IS 'the value of a task that succeeded; raises the task''s own error when it failed, DB001 when it has not finished. Example: SELECT dbos.result(42);';
REVOKE ALL ON FUNCTION dbos.result(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.result(bigint) TO dbos_user;

CREATE FUNCTION dbos.wait(task bigint, timeout interval DEFAULT NULL) RETURNS jsonb
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_wait';
COMMENT ON FUNCTION dbos.wait(bigint, interval) IS 'waits for the end of a task without polling, then as dbos.result(); NULL waits for dbos.wait_timeout; DB005 when the time is up. Example: SELECT dbos.wait(42, ''10 seconds'');';
REVOKE ALL ON FUNCTION dbos.wait(bigint, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.wait(bigint, interval) TO dbos_user;

CREATE PROCEDURE dbos.await(task bigint, timeout interval DEFAULT NULL, INOUT result jsonb DEFAULT NULL)
	LANGUAGE c AS 'MODULE_PATHNAME', 'dbos_await';
COMMENT ON PROCEDURE dbos.await(bigint, interval, jsonb) IS 'as dbos.wait(), outside a transaction block, holding no snapshot meanwhile; NULL waits for ever. Example: CALL dbos.await(42);';
REVOKE ALL ON PROCEDURE dbos.await(bigint, interval, jsonb) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE dbos.await(bigint, interval, jsonb) TO dbos_user;

-- No SET search_path here: a procedure with one could not commit.  Nothing in
-- the body is looked up by search_path.
CREATE PROCEDURE dbos.run(function text, args jsonb DEFAULT '{}', INOUT result jsonb DEFAULT NULL)
	LANGUAGE plpgsql AS $$
DECLARE
	task pg_catalog.int8;
BEGIN
	task := dbos.submit(run.function, run.args);
	COMMIT;
	CALL dbos.await(task, NULL, result);
END
$$;
COMMENT ON PROCEDURE dbos.run(text, jsonb, jsonb) IS 'submits a task, commits, and waits for its value. Example: CALL dbos.run(''pg_catalog.version'');';
REVOKE ALL ON PROCEDURE dbos.run(text, jsonb, jsonb) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE dbos.run(text, jsonb, jsonb) TO dbos_user;

CREATE FUNCTION dbos.cancel(task bigint) RETURNS boolean
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_cancel';
COMMENT ON FUNCTION dbos.cancel(bigint) IS 'cancels a waiting task at once and stops a running one at commit; false when it had ended. Example: SELECT dbos.cancel(42);';
REVOKE ALL ON FUNCTION dbos.cancel(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.cancel(bigint) TO dbos_user;

CREATE FUNCTION dbos.retry(task bigint) RETURNS boolean
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_retry';
COMMENT ON FUNCTION dbos.retry(bigint) IS 'puts a failed or cancelled task back among those that wait, under its id. Example: SELECT dbos.retry(42);';
REVOKE ALL ON FUNCTION dbos.retry(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.retry(bigint) TO dbos_user;

CREATE FUNCTION dbos.progress(fraction real, note text DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_progress';
COMMENT ON FUNCTION dbos.progress(real, text) IS 'tells from inside a task how far it is (0 to 1), seen at once in dbos.tasks. Example: SELECT dbos.progress(0.5, ''half of it'');';
REVOKE ALL ON FUNCTION dbos.progress(real, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.progress(real, text) TO dbos_user;

CREATE FUNCTION dbos.explain_policy(queue text DEFAULT 'default') RETURNS SETOF text
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_explain_policy';
COMMENT ON FUNCTION dbos.explain_policy(text) IS 'the query that the choice of the next task of a queue is, and its plan. Example: SELECT * FROM dbos.explain_policy(''default'');';
REVOKE ALL ON FUNCTION dbos.explain_policy(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.explain_policy(text) TO dbos_user, dbos_monitor;

CREATE FUNCTION dbos.start() RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_start';
COMMENT ON FUNCTION dbos.start() IS 'has the tasks of this database run: needed without shared_preload_libraries, after dbos.stop(), and after a restore or copy of the database. Example: SELECT dbos.start();';
REVOKE ALL ON FUNCTION dbos.start() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.start() TO dbos_admin;

CREATE FUNCTION dbos.stop() RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_stop';
COMMENT ON FUNCTION dbos.stop() IS 'has the workers of this database end their tasks and leave, until dbos.start(), also over a restart. Example: SELECT dbos.stop();';
REVOKE ALL ON FUNCTION dbos.stop() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.stop() TO dbos_admin;
-- task_views.sql: what people read of tasks, queues and workers.
-- SPDX-License-Identifier: PostgreSQL

-- What is known of processes beside the tables; the views below decide who sees what of it.
CREATE FUNCTION dbos.running_tasks(OUT id bigint, OUT pid integer, OUT started_at timestamptz, OUT progress real, OUT note text)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 8 AS 'MODULE_PATHNAME', 'dbos_running_tasks';
COMMENT ON FUNCTION dbos.running_tasks() IS 'tasks of this database that run now; read dbos.tasks';
REVOKE ALL ON FUNCTION dbos.running_tasks() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.running_tasks() TO dbos_user, dbos_monitor;

CREATE FUNCTION dbos.list_workers(OUT pid integer, OUT kind text, OUT database oid, OUT role oid, OUT state text,
								  OUT since timestamptz, OUT task_id bigint, OUT tasks_done bigint)
	RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 8 AS 'MODULE_PATHNAME', 'dbos_list_workers';
COMMENT ON FUNCTION dbos.list_workers() IS 'worker processes; read dbos.workers';
REVOKE ALL ON FUNCTION dbos.list_workers() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.list_workers() TO dbos_monitor;

CREATE FUNCTION dbos.queue_running(queue_id integer) RETURNS integer
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_queue_running';
COMMENT ON FUNCTION dbos.queue_running(integer) IS 'tasks of a queue that run now; read dbos.queues';
REVOKE ALL ON FUNCTION dbos.queue_running(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.queue_running(integer) TO dbos_user, dbos_monitor;

CREATE FUNCTION dbos.workers_can_run() RETURNS boolean
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_can_run';
COMMENT ON FUNCTION dbos.workers_can_run() IS 'whether anybody runs tasks of this database; see dbos.health()';
REVOKE ALL ON FUNCTION dbos.workers_can_run() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.workers_can_run() TO dbos_user, dbos_monitor;

-- Arguments, results, errors and idempotency keys are content: of the task's own role and of
-- dbos_admin.  dbos_monitor sees that a task is there and how it goes.
CREATE VIEW dbos.tasks WITH (security_barrier) AS
	SELECT t.id,
		CASE WHEN r.id IS NOT NULL THEN 'running'
			WHEN w.reason IS NOT NULL THEN 'waiting'
			ELSE 'ready' END AS state,
		CASE WHEN t.kind OPERATOR(pg_catalog.=) 's' THEN 'SQL' ELSE t.function END AS function,
		pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) t.submitted_at AS age,
		w.reason AS wait_reason,
		q.name AS queue,
		t.priority,
		CASE WHEN NOT own.content THEN NULL
			WHEN t.kind OPERATOR(pg_catalog.=) 's' THEN pg_catalog.to_jsonb(t.function) ELSE t.args END AS args,
		t.role,
		t.container_id AS container,
		t.parent_id,
		CASE WHEN own.content THEN t.idempotency_key END AS idempotency_key,
		t.partition_key,
		t.submitted_at,
		t.run_at,
		r.started_at,
		NULL::timestamptz AS finished_at,
		t.attempt OPERATOR(pg_catalog.+) CASE WHEN r.id IS NULL THEN 0 ELSE 1 END AS attempt,
		t.max_attempts,
		t.crashes,
		t.timeout,
		t.deadline,
		r.pid AS worker_pid,
		r.progress,
		CASE WHEN own.content THEN r.note END AS progress_note,
		NULL::jsonb AS result,
		NULL::jsonb AS error,
		CASE WHEN own.content THEN t.attributes END AS attributes
	FROM dbos.task t
		JOIN dbos.queue q ON q.id OPERATOR(pg_catalog.=) t.queue_id
		LEFT JOIN dbos.running_tasks() r ON r.id OPERATOR(pg_catalog.=) t.id
		CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(t.role::pg_catalog.oid, 'USAGE')
							OR pg_catalog.pg_has_role('dbos_admin', 'USAGE') AS content) own
		CROSS JOIN LATERAL (SELECT CASE WHEN r.id IS NOT NULL THEN NULL
			WHEN t.unmet OPERATOR(pg_catalog.>) 0 THEN 'dependency'
			WHEN t.held THEN 'time'
			WHEN q.paused THEN 'paused'
			WHEN NOT dbos.workers_can_run() THEN 'no worker'
			WHEN dbos.queue_running(q.id) OPERATOR(pg_catalog.>=) q.concurrency THEN 'limit' END AS reason) w
	WHERE t.shard OPERATOR(pg_catalog.=) ANY ('{0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}'::smallint[])
		AND dbos.in_container(t.container_id)
		AND (own.content OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE'))
	UNION ALL
	SELECT h.id,
		h.state,
		CASE WHEN h.kind OPERATOR(pg_catalog.=) 's' THEN 'SQL' ELSE h.function END,
		pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) h.submitted_at,
		NULL,
		COALESCE(q.name, '(dropped)'),
		h.priority,
		CASE WHEN NOT own.content THEN NULL
			WHEN h.kind OPERATOR(pg_catalog.=) 's' THEN pg_catalog.to_jsonb(h.function) ELSE h.args END,
		h.role,
		h.container_id,
		h.parent_id,
		CASE WHEN own.content THEN h.idempotency_key END,
		h.partition_key,
		h.submitted_at,
		h.run_at,
		h.started_at,
		h.finished_at,
		h.attempt,
		h.max_attempts,
		h.crashes,
		h.timeout,
		h.deadline,
		h.worker_pid,
		NULL,
		NULL,
		CASE WHEN own.content THEN h.result END,
		CASE WHEN own.content THEN h.error END,
		CASE WHEN own.content THEN h.attributes END
	FROM dbos.task_history h
		LEFT JOIN dbos.queue q ON q.id OPERATOR(pg_catalog.=) h.queue_id
		CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(h.role::pg_catalog.oid, 'USAGE')
							OR pg_catalog.pg_has_role('dbos_admin', 'USAGE') AS content) own
	WHERE dbos.in_container(h.container_id)
		AND (own.content OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE'));
COMMENT ON VIEW dbos.tasks IS 'tasks that you may see, waiting, running and ended. Example: SELECT id, state, function, wait_reason FROM dbos.tasks ORDER BY id DESC LIMIT 10;';
GRANT SELECT ON dbos.tasks TO dbos_user, dbos_monitor;

CREATE VIEW dbos.attempts WITH (security_barrier) AS
	SELECT a.task_id, a.attempt, a.outcome, a.started_at, a.finished_at,
		a.finished_at OPERATOR(pg_catalog.-) a.started_at AS duration,
		a.worker_pid, a.cpu_seconds, a.rows, a.buffers_hit, a.buffers_read, a.memory_bytes,
		CASE WHEN t.args IS NOT NULL THEN a.error END AS error
	FROM dbos.task_attempt a JOIN dbos.tasks t ON t.id OPERATOR(pg_catalog.=) a.task_id
	UNION ALL
	SELECT h.id, h.attempt OPERATOR(pg_catalog.+) h.crashes, h.state, h.started_at, h.finished_at,
		h.finished_at OPERATOR(pg_catalog.-) h.started_at,
		h.worker_pid, h.cpu_seconds, h.rows, h.buffers_hit, h.buffers_read, h.memory_bytes,
		CASE WHEN own.content THEN h.error END
	FROM dbos.task_history h
		CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role(h.role::pg_catalog.oid, 'USAGE')
							OR pg_catalog.pg_has_role('dbos_admin', 'USAGE') AS content) own
	WHERE h.started_at IS NOT NULL AND dbos.in_container(h.container_id)
		AND (own.content OR pg_catalog.pg_has_role('dbos_monitor', 'USAGE'));
COMMENT ON VIEW dbos.attempts IS 'each attempt to run a task: how it ended and what it cost. Example: SELECT task_id, attempt, outcome, duration FROM dbos.attempts ORDER BY finished_at DESC LIMIT 10;';
GRANT SELECT ON dbos.attempts TO dbos_user, dbos_monitor;

CREATE VIEW dbos.queues WITH (security_barrier) AS
	SELECT q.name, q.owner, q.container_id AS container, q.concurrency, q.paused,
		dbos.queue_running(q.id) AS running,
		(SELECT pg_catalog.count(*) FROM dbos.task t WHERE t.queue_id OPERATOR(pg_catalog.=) q.id) AS depth,
		(SELECT pg_catalog.min(t.submitted_at) FROM dbos.task t WHERE t.queue_id OPERATOR(pg_catalog.=) q.id) AS oldest,
		q.created_at
	FROM dbos.queue q WHERE dbos.in_container(q.container_id);
COMMENT ON VIEW dbos.queues IS 'queues with their limits and what is in them. Example: SELECT name, running, depth, paused FROM dbos.queues;';
GRANT SELECT ON dbos.queues TO dbos_user, dbos_monitor;

CREATE VIEW dbos.workers WITH (security_barrier) AS
	SELECT w.pid, w.kind, d.datname AS database, w.role::regrole AS role, w.state, w.since, w.task_id, w.tasks_done
	FROM dbos.list_workers() w LEFT JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) w.database
	WHERE dbos.in_container(0) OR w.pid OPERATOR(pg_catalog.=) ANY (SELECT r.pid FROM dbos.running_tasks() r);
COMMENT ON VIEW dbos.workers IS 'worker processes of the whole server; in a container, those that run its tasks. Example: SELECT pid, kind, database, role, state FROM dbos.workers;';
GRANT SELECT ON dbos.workers TO dbos_monitor;

CREATE VIEW dbos.decisions WITH (security_barrier) AS
	SELECT d.decided_at, q.name AS queue, d.chosen, d.alternatives, d.propensity, d.reward, d.context
	FROM dbos.decision d LEFT JOIN dbos.queue q ON q.id OPERATOR(pg_catalog.=) d.queue_id
	WHERE dbos.in_container(COALESCE(q.container_id, 0));
COMMENT ON VIEW dbos.decisions IS 'sampled choices of the next task, what else could have been chosen, and the reward (minus the seconds from submit to end). Example: SELECT queue, chosen, alternatives, reward FROM dbos.decisions ORDER BY decided_at DESC LIMIT 5;';
GRANT SELECT ON dbos.decisions TO dbos_monitor;

CREATE VIEW dbos.function_stats AS
	SELECT t.function, pg_catalog.count(*) AS count,
		pg_catalog.avg(CASE WHEN t.state OPERATOR(pg_catalog.=) 'failed' THEN 1.0 ELSE 0.0 END)::double precision AS error_rate,
		pg_catalog.percentile_cont(0.5) WITHIN GROUP (ORDER BY t.finished_at OPERATOR(pg_catalog.-) t.started_at) AS p50,
		pg_catalog.percentile_cont(0.95) WITHIN GROUP (ORDER BY t.finished_at OPERATOR(pg_catalog.-) t.started_at) AS p95,
		pg_catalog.percentile_cont(0.99) WITHIN GROUP (ORDER BY t.finished_at OPERATOR(pg_catalog.-) t.started_at) AS p99
	FROM dbos.tasks t WHERE t.started_at IS NOT NULL AND t.finished_at IS NOT NULL
	GROUP BY t.function;
COMMENT ON VIEW dbos.function_stats IS 'how often each function ran as a task, failed, and how long it took. Example: SELECT function, count, error_rate, p95 FROM dbos.function_stats ORDER BY count DESC;';
GRANT SELECT ON dbos.function_stats TO dbos_user, dbos_monitor;
-- finish.sql: the last part of the script: everything made above is given to dbos_owner.
-- SPDX-License-Identifier: PostgreSQL
DO $$
DECLARE
	command text;
BEGIN
	FOR command IN
		SELECT pg_catalog.format('ALTER %s dbos.%I OWNER TO dbos_owner',
								 CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.relname)
		FROM pg_catalog.pg_class c
		WHERE c.relnamespace OPERATOR(pg_catalog.=) 'dbos'::pg_catalog.regnamespace
			AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'v', 'S']::"char"[])
			AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
							WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
								AND d.objid OPERATOR(pg_catalog.=) c.oid AND d.objsubid OPERATOR(pg_catalog.=) 0 AND d.deptype OPERATOR(pg_catalog.=) ANY (ARRAY['i', 'a']::"char"[]))
		UNION ALL
		SELECT pg_catalog.format('ALTER ROUTINE %s OWNER TO dbos_owner', p.oid::pg_catalog.regprocedure)
		FROM pg_catalog.pg_proc p
		WHERE p.pronamespace OPERATOR(pg_catalog.=) 'dbos'::pg_catalog.regnamespace
	LOOP
		EXECUTE command;
	END LOOP;
END
$$;

-- ALTER DEFAULT PRIVILEGES of the installing role may have given what was made
-- above to others, who could then write a task in anybody's name.
DO $$
DECLARE
	command text;
BEGIN
	FOR command IN
		SELECT pg_catalog.format('REVOKE ALL ON SCHEMA dbos FROM %s',
								 CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(g.grantee)) END)
		FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) g
		WHERE n.nspname OPERATOR(pg_catalog.=) 'dbos'
			AND (g.grantee OPERATOR(pg_catalog.=) 0
				 OR pg_catalog.pg_get_userbyid(g.grantee) OPERATOR(pg_catalog.<>) ALL (ARRAY['dbos_owner', 'dbos_user', 'dbos_monitor', 'dbos_admin']))
		UNION
		SELECT pg_catalog.format('REVOKE ALL ON %s dbos.%I FROM %s', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.relname,
								 CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(g.grantee)) END)
		FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) g
		WHERE c.relnamespace OPERATOR(pg_catalog.=) 'dbos'::pg_catalog.regnamespace
			AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'v', 'S']::"char"[])
			AND g.grantee OPERATOR(pg_catalog.<>) c.relowner
			AND NOT (c.relkind OPERATOR(pg_catalog.=) 'v' AND g.privilege_type OPERATOR(pg_catalog.=) 'SELECT' AND g.grantee OPERATOR(pg_catalog.<>) 0
					 AND pg_catalog.pg_get_userbyid(g.grantee) OPERATOR(pg_catalog.=) ANY (ARRAY['dbos_user', 'dbos_monitor', 'dbos_admin']))
		UNION
		SELECT pg_catalog.format('REVOKE ALL ON ROUTINE %s FROM %s', p.oid::pg_catalog.regprocedure,
								 CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(g.grantee)) END)
		FROM pg_catalog.pg_proc p, pg_catalog.aclexplode(COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner))) g
		WHERE p.pronamespace OPERATOR(pg_catalog.=) 'dbos'::pg_catalog.regnamespace
			AND (g.grantee OPERATOR(pg_catalog.=) 0
				 OR pg_catalog.pg_get_userbyid(g.grantee) OPERATOR(pg_catalog.<>) ALL (ARRAY['dbos_owner', 'dbos_user', 'dbos_monitor', 'dbos_admin']))
	LOOP
		EXECUTE command;
	END LOOP;
END
$$;

SELECT dbos.extension_created();
