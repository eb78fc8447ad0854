-- file_import.sql: files of the host come in and go out, lines of text, and the check of all files.
-- SPDX-License-Identifier: PostgreSQL

CREATE FUNCTION dbos.import_file(host_path text, path text) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_import_file';
COMMENT ON FUNCTION dbos.import_file(text, text) IS
	'makes a file with the content, mode and times of one of the server''s host, or replaces the content of one that is there; returns the size. Needs pg_read_server_files. Example: SELECT dbos.import_file(''/etc/hostname'', ''/hostname'');';
CREATE FUNCTION dbos.import_tree(host_path text, path text, replace boolean DEFAULT false) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_import_tree';
COMMENT ON FUNCTION dbos.import_tree(text, text, boolean) IS
	'has all that is below a directory of the server''s host below a directory here, all of it or nothing; returns how many files and symbolic links were made. What is there already is left when it looks the same, and otherwise an error, or with replace replaced. Needs pg_read_server_files. Example: SELECT dbos.import_tree(''/etc/default'', ''/defaults'');';
CREATE FUNCTION dbos.import_plan(host_path text, path text, replace boolean DEFAULT false) RETURNS SETOF jsonb
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_import_plan';
COMMENT ON FUNCTION dbos.import_plan(text, text, boolean) IS
	'makes the directories of an import, and returns arguments of dbos.import_batch() for what is in them, each of which a task can run. Example: SELECT dbos.import_plan(''/etc/default'', ''/defaults'');';
CREATE FUNCTION dbos.import_batch(host_path text, path text, files jsonb, replace boolean DEFAULT false) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_import_batch';
COMMENT ON FUNCTION dbos.import_batch(text, text, jsonb, boolean) IS
	'imports the files of a batch, as dbos.import_tree() does; returns how many were made. Example: SELECT dbos.import_batch(''/etc'', ''/'', ''[["", false, "hostname"]]'');';

REVOKE ALL ON FUNCTION dbos.import_file(text, text), dbos.import_tree(text, text, boolean), dbos.import_plan(text, text, boolean),
	dbos.import_batch(text, text, jsonb, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.import_file(text, text), dbos.import_tree(text, text, boolean), dbos.import_plan(text, text, boolean),
	dbos.import_batch(text, text, jsonb, boolean) TO dbos_user, dbos_admin;
