-- Names the objects of the extension that have no comment; none is the aim.
-- The sequence behind an identity column is a part of its table, and so are the row
-- and array types, which PostgreSQL 17 lists as members and 15 does not.
-- SPDX-License-Identifier: PostgreSQL
SELECT pg_catalog.pg_describe_object(member.classid, member.objid, 0)
FROM pg_catalog.pg_depend AS member
	JOIN pg_catalog.pg_extension AS extension ON extension.oid = member.refobjid
		AND member.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
WHERE extension.extname = 'dbos' AND member.deptype = 'e'
	AND pg_catalog.obj_description(member.objid, member.classid::pg_catalog.regclass::pg_catalog.name) IS NULL
	AND NOT EXISTS (
		SELECT FROM pg_catalog.pg_type AS made
			LEFT JOIN pg_catalog.pg_class AS relation ON relation.oid = made.typrelid
		WHERE member.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND made.oid = member.objid
			AND (relation.relkind <> 'c' OR made.typcategory = 'A'))
	AND NOT EXISTS (
		SELECT FROM pg_catalog.pg_depend AS part
		WHERE part.classid = member.classid AND part.objid = member.objid
			AND part.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND part.refobjsubid > 0 AND part.deptype IN ('i', 'a'))
ORDER BY 1;
