-- file_import.sql: files of the host come in and go out; lines of text as rows.
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


-- Nothing in the body is looked up by search_path.
CREATE FUNCTION dbos.submit_import(host_path text, path text, replace boolean DEFAULT false, queue text DEFAULT 'default',
	priority integer DEFAULT 0, concurrency integer DEFAULT NULL) RETURNS bigint
	LANGUAGE sql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS $$
	SELECT dbos.map('dbos.import_batch',
					pg_catalog.format('SELECT * FROM dbos.import_plan(%L, %L, %L)', submit_import.host_path, submit_import.path, submit_import.replace),
					submit_import.queue, submit_import.priority, max_attempts => 3, concurrency => submit_import.concurrency)
	WHERE NOT (submit_import.host_path IS NULL OR submit_import.path IS NULL OR submit_import.replace IS NULL) $$;
COMMENT ON FUNCTION dbos.submit_import(text, text, boolean, text, integer, integer) IS
	'imports a tree as dbos.import_tree() does, by tasks of some thousand files each, which commit one by one; returns the task that succeeds when all have, with the array of how many files each has made. The directories are made at once. One that failed is tried again by dbos.retry(), or the whole import is submitted again. Example: SELECT dbos.submit_import(''/etc/default'', ''/defaults'');';

CREATE FUNCTION dbos.export_file(path text, host_path text) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_export_file';
COMMENT ON FUNCTION dbos.export_file(text, text) IS
	'writes a file to the server''s host, in place of one that is there; returns its size. Needs pg_write_server_files. Example: SELECT dbos.export_file(''/hostname'', ''/tmp/hostname'');';
CREATE FUNCTION dbos.export_tree(path text, host_path text) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_export_tree';
COMMENT ON FUNCTION dbos.export_tree(text, text) IS
	'writes all that is below a directory to one of the server''s host that is empty or not there; returns how many files and symbolic links it wrote. Needs pg_write_server_files. Example: SELECT dbos.export_tree(''/defaults'', ''/tmp/defaults'');';

CREATE FUNCTION dbos.lines(path text, OUT number bigint, OUT line text) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 10000 AS 'MODULE_PATHNAME', 'dbos_lines';
COMMENT ON FUNCTION dbos.lines(text) IS
	'lines of a file that is text, numbered from 1, without the line feeds at their ends, or carriage returns and line feeds. Example: SELECT number, line FROM dbos.lines(''/note'') WHERE line LIKE ''a%'';';

REVOKE ALL ON FUNCTION dbos.import_file(text, text), dbos.import_tree(text, text, boolean), dbos.import_plan(text, text, boolean),
	dbos.import_batch(text, text, jsonb, boolean), dbos.submit_import(text, text, boolean, text, integer, integer),
	dbos.export_file(text, text), dbos.export_tree(text, text), dbos.lines(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.import_file(text, text), dbos.import_tree(text, text, boolean), dbos.import_plan(text, text, boolean),
	dbos.import_batch(text, text, jsonb, boolean), dbos.export_file(text, text), dbos.export_tree(text, text) TO dbos_user, dbos_admin;
GRANT EXECUTE ON FUNCTION dbos.lines(text) TO dbos_user, dbos_monitor, dbos_admin;
-- As other submits.
GRANT EXECUTE ON FUNCTION dbos.submit_import(text, text, boolean, text, integer, integer) TO dbos_user;
