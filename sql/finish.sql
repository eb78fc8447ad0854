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

SELECT dbos.extension_created();
