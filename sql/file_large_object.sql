-- file_large_object.sql: files whose content is a large object.
-- SPDX-License-Identifier: PostgreSQL

CREATE FUNCTION dbos.adopt_large_object(large_object oid, path text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_adopt_large_object';
COMMENT ON FUNCTION dbos.adopt_large_object(oid, text) IS
	'makes a file whose content is that large object, which the caller owns; lo_* functions go on, and its privileges decide; unlinking the file leaves it. Example: SELECT dbos.adopt_large_object(16432, ''/scan'');';

REVOKE EXECUTE ON FUNCTION dbos.adopt_large_object(oid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.adopt_large_object(oid, text) TO dbos_user, dbos_admin;
