-- owners.sql: what was made above is given to dbos_owner, and to nobody else's use than the grants above say.
-- Part of the install script and of every update script.
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
			-- What an INSERT into a mailbox calls; these ask for the right to it.
			AND NOT (g.grantee OPERATOR(pg_catalog.=) 0
					 AND p.proname OPERATOR(pg_catalog.=) ANY (ARRAY['message_id', 'message_segment']::pg_catalog.name[]))
	LOOP
		EXECUTE command;
	END LOOP;
END
$$;
