-- help.sql: dbos.help(), from the comments of functions and views.
-- SPDX-License-Identifier: PostgreSQL

-- What help() speaks of: every commented function and view that the asking role may use.
CREATE VIEW dbos.help_entries AS
	SELECT CASE WHEN e.name OPERATOR(pg_catalog.~) '^host_' THEN 'host'
				WHEN e.name OPERATOR(pg_catalog.~) 'container' THEN 'container'
				WHEN e.name OPERATOR(pg_catalog.=) ANY (ARRAY['help', 'version', 'health', 'capabilities', 'start', 'stop',
					'current_task', 'list_capabilities', 'name_distance', 'help_entries']) THEN 'system'
				WHEN e.name OPERATOR(pg_catalog.~) 'mailbox|message|topic|subscri|publish|^(send|receive|lease|extend_lease|release|acknowledge|requeue)'
					THEN 'message'
				WHEN e.name OPERATOR(pg_catalog.~) ('(^|_)files?($|_)|director|inode|entry_|^path_|xattr|quota|snapshot|large_object|^(import|export)_'
					'|^(chmod|chown|copy|df|du|fold_usage|glob|lines|link|ls|mkdir|read_link|read_text|remove|rename|rmdir|set_times|stat|symlink|touch|tree|unlink|write_at|write_text)$')
					THEN 'file'
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
		('message', 3, 'mailboxes and topics, exactly once'),
		('file', 4, 'files in tables, each operation a part of your transaction'),
		('container', 5, 'namespaces: what a session sees'),
		('host', 6, 'the machine as tables')),
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

REVOKE ALL ON FUNCTION dbos.help(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.help(text) TO dbos_user, dbos_monitor, dbos_admin;
REVOKE ALL ON dbos.help_entries FROM PUBLIC;
GRANT SELECT ON dbos.help_entries TO dbos_user, dbos_monitor, dbos_admin;
