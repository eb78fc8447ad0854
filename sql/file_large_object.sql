-- file_large_object.sql: files whose content is a large object.
-- SPDX-License-Identifier: PostgreSQL

CREATE FUNCTION dbos.adopt_large_object(large_object oid, path text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_adopt_large_object';
COMMENT ON FUNCTION dbos.adopt_large_object(oid, text) IS
	'makes a file whose content is that large object, which the caller owns; lo_* functions go on, and its privileges decide; unlinking the file leaves it. Example: SELECT dbos.adopt_large_object(16432, ''/scan'');';
CREATE FUNCTION dbos.large_object_size(inode bigint) RETURNS bigint
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'dbos_large_object_size';
COMMENT ON FUNCTION dbos.large_object_size(bigint) IS
	'size of a file that is a large object, as that has it now; NULL for a file that the current user would not come upon. Example: SELECT dbos.large_object_size(inode) FROM dbos.stat(''/scan'');';

REVOKE ALL ON FUNCTION dbos.adopt_large_object(oid, text), dbos.large_object_size(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.adopt_large_object(oid, text) TO dbos_user, dbos_admin;
GRANT EXECUTE ON FUNCTION dbos.large_object_size(bigint) TO dbos_user, dbos_monitor, dbos_admin;
