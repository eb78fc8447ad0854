-- file_views.sql: files as rows: who sees which, dbos.files, and what is in directories.
-- SPDX-License-Identifier: PostgreSQL

-- Asks for nothing: that the planner calls it brings our library, and with that its paths into the plan (plan.c).
CREATE FUNCTION dbos.file_planner(internal) RETURNS internal
	LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dbos_file_planner';
COMMENT ON FUNCTION dbos.file_planner(internal) IS 'called by the planner for queries over files';

CREATE FUNCTION dbos.entry_visible(parent bigint) RETURNS boolean
	LANGUAGE c STABLE STRICT LEAKPROOF PARALLEL RESTRICTED COST 5 SUPPORT dbos.file_planner AS 'MODULE_PATHNAME', 'dbos_entry_visible';
COMMENT ON FUNCTION dbos.entry_visible(bigint) IS
	'whether the names in a directory are shown to the current user: it may be read, and a listing from the root would come upon it';
CREATE FUNCTION dbos.directory_listed(directory bigint) RETURNS boolean
	LANGUAGE c STABLE STRICT LEAKPROOF PARALLEL RESTRICTED COST 5 SUPPORT dbos.file_planner AS 'MODULE_PATHNAME', 'dbos_directory_listed';
COMMENT ON FUNCTION dbos.directory_listed(bigint) IS
	'the same, and the directory may be searched too: then what is in it is in dbos.files';
CREATE FUNCTION dbos.inode_visible(inode bigint) RETURNS boolean
	LANGUAGE c STABLE STRICT LEAKPROOF PARALLEL RESTRICTED COST 50 SUPPORT dbos.file_planner AS 'MODULE_PATHNAME', 'dbos_inode_visible';
COMMENT ON FUNCTION dbos.inode_visible(bigint) IS
	'whether an inode is shown to the current user: one of its names is, in a directory that may be searched';
CREATE FUNCTION dbos.entry_path(parent bigint, name bytea) RETURNS text
	LANGUAGE c STABLE STRICT LEAKPROOF PARALLEL RESTRICTED COST 100 SUPPORT dbos.file_planner AS 'MODULE_PATHNAME', 'dbos_entry_path';
COMMENT ON FUNCTION dbos.entry_path(bigint, bytea) IS 'path of a name in a directory; NULL when the current user would not come upon that directory';
CREATE FUNCTION dbos.directory_path(directory bigint) RETURNS text
	LANGUAGE c STABLE STRICT LEAKPROOF PARALLEL RESTRICTED COST 100 SUPPORT dbos.file_planner AS 'MODULE_PATHNAME', 'dbos_directory_path_sql';
COMMENT ON FUNCTION dbos.directory_path(bigint) IS 'path of a directory by its inode; NULL when the current user would not come upon it';
CREATE FUNCTION dbos.entry_name(name bytea) RETURNS text
	LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'dbos_entry_name';
COMMENT ON FUNCTION dbos.entry_name(bytea) IS 'a name of a file as text. Example: SELECT dbos.entry_name(''\xff'');';
CREATE FUNCTION dbos.file_time(nanoseconds bigint) RETURNS timestamptz
	LANGUAGE c IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'dbos_file_time';
COMMENT ON FUNCTION dbos.file_time(bigint) IS 'a time that is stored in nanoseconds since 1970. Example: SELECT dbos.file_time(0);';
CREATE FUNCTION dbos.directory_links(directory bigint) RETURNS integer
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'dbos_directory_links';
COMMENT ON FUNCTION dbos.directory_links(bigint) IS 'link count of a directory: two and the directories in it';
CREATE FUNCTION dbos.directory_modified(directory bigint) RETURNS timestamptz
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'dbos_directory_modified';
COMMENT ON FUNCTION dbos.directory_modified(bigint) IS 'when names in a directory were last changed';
CREATE FUNCTION dbos.directory_changed(directory bigint) RETURNS timestamptz
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'dbos_directory_changed';
COMMENT ON FUNCTION dbos.directory_changed(bigint) IS 'when a directory was last changed, or the names in it';

-- By which the planner finds names by their paths.
CREATE FUNCTION dbos.path_directory(path text) RETURNS bigint
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'dbos_path_directory';
COMMENT ON FUNCTION dbos.path_directory(text) IS
	'inode of the directory that a path of dbos.files is in; NULL when the current user would not come upon it. Example: SELECT dbos.path_directory(''/data/x'');';
CREATE FUNCTION dbos.path_directory(paths text[]) RETURNS bigint[]
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'dbos_path_directory_array';
COMMENT ON FUNCTION dbos.path_directory(text[]) IS 'the same for those of an array that have one';
CREATE FUNCTION dbos.path_name(path text) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dbos_path_name';
COMMENT ON FUNCTION dbos.path_name(text) IS 'the name at the end of a path. Example: SELECT dbos.path_name(''/data/x'');';
CREATE FUNCTION dbos.path_name(paths text[]) RETURNS bytea[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10 AS 'MODULE_PATHNAME', 'dbos_path_name_array';
COMMENT ON FUNCTION dbos.path_name(text[]) IS 'the same for an array, without those that are null';
CREATE FUNCTION dbos.path_inode(path text) RETURNS bigint
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100 AS 'MODULE_PATHNAME', 'dbos_path_inode';
COMMENT ON FUNCTION dbos.path_inode(text) IS 'inode of the directory with that path; NULL when the current user would not come upon it. Example: SELECT dbos.path_inode(''/data'');';
CREATE FUNCTION dbos.path_directories(prefix text) RETURNS bigint[]
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 10000 AS 'MODULE_PATHNAME', 'dbos_path_directories';
COMMENT ON FUNCTION dbos.path_directories(text) IS
	'inodes of the directories with names whose paths may begin so, as far as the current user would come upon them. Example: SELECT dbos.path_directories(''/data/'');';

-- ALTER DEFAULT PRIVILEGES may have given something already; what is said here is all that there is.
REVOKE ALL ON dbos.inode, dbos.directory_entry FROM dbos_user, dbos_monitor, dbos_admin;
GRANT SELECT (inode, died, born, file_system, mode, owner, group_role, link_count, size, created, modified, changed, accessed,
	storage, size_class, large_object, checksum) ON dbos.inode TO dbos_user, dbos_monitor, dbos_admin;
GRANT SELECT (parent, child, died, born, kind, name) ON dbos.directory_entry TO dbos_user, dbos_monitor, dbos_admin;
ALTER TABLE dbos.inode ENABLE ROW LEVEL SECURITY;
ALTER TABLE dbos.directory_entry ENABLE ROW LEVEL SECURITY;
CREATE POLICY listed ON dbos.inode FOR SELECT
	USING (died OPERATOR(pg_catalog.=) 2147483647 AND dbos.inode_visible(inode));
COMMENT ON POLICY listed ON dbos.inode IS 'as it is now, and what a listing from the root would come upon';
CREATE POLICY administered ON dbos.inode FOR SELECT TO dbos_admin USING (dbos.in_container(file_system));
COMMENT ON POLICY administered ON dbos.inode IS 'all, also what only snapshots show';
CREATE POLICY listed ON dbos.directory_entry FOR SELECT
	USING (died OPERATOR(pg_catalog.=) 2147483647 AND dbos.entry_visible(parent));
COMMENT ON POLICY listed ON dbos.directory_entry IS 'as it is now, and what a listing from the root would come upon';
CREATE POLICY administered ON dbos.directory_entry FOR SELECT TO dbos_admin USING (dbos.in_container(0));
COMMENT ON POLICY administered ON dbos.directory_entry IS 'all, also what only snapshots show; in a container what is listed';

CREATE VIEW dbos.files WITH (security_invoker) AS
	SELECT dbos.entry_path(e.parent, e.name) AS path, i.inode,
		CASE e.kind WHEN 4 THEN 'directory' WHEN 10 THEN 'symlink' ELSE 'file' END AS kind,
		i.mode OPERATOR(pg_catalog.&) 4095 AS mode, i.owner, CASE WHEN i.large_object IS NULL THEN i.size ELSE dbos.large_object_size(i.inode) END AS size,
		dbos.file_time(i.created) AS created_at,
		CASE e.kind WHEN 4 THEN dbos.directory_modified(i.inode) ELSE dbos.file_time(i.modified) END AS modified_at,
		dbos.file_time(i.accessed) AS accessed_at,
		CASE e.kind WHEN 4 THEN dbos.directory_links(i.inode) ELSE i.link_count END AS link_count,
		CASE e.kind WHEN 8 THEN pg_catalog.lpad(pg_catalog.to_hex(i.checksum), 8, '0') END AS checksum,
		CASE WHEN e.kind OPERATOR(pg_catalog.=) 8 OR (e.kind OPERATOR(pg_catalog.=) 4 AND i.storage OPERATOR(pg_catalog.=) 'l') THEN
			CASE i.storage WHEN 'i' THEN 'inline' WHEN 'c' THEN 'chunk' ELSE 'large_object' END END AS storage,
		i.group_role AS "group",
		CASE e.kind WHEN 4 THEN dbos.directory_changed(i.inode) ELSE dbos.file_time(i.changed) END AS changed_at,
		dbos.directory_path(e.parent) AS directory, dbos.entry_name(e.name) AS name, i.large_object
	FROM dbos.directory_entry e JOIN dbos.inode i ON i.inode OPERATOR(pg_catalog.=) e.child
	WHERE e.died OPERATOR(pg_catalog.=) 2147483647 AND i.died OPERATOR(pg_catalog.=) 2147483647 AND dbos.directory_listed(e.parent);
COMMENT ON VIEW dbos.files IS
	'a row for each name of a file, directory or symbolic link that a listing of all directories would come upon. Example: SELECT path FROM dbos.files WHERE path LIKE ''/data/%'' AND accessed_at > now() - interval ''24 hours'' AND size > 1e9;';

CREATE FUNCTION dbos.tree(path text DEFAULT '/', OUT path text, OUT depth integer, OUT name text, OUT kind text, OUT mode integer, OUT owner regrole,
	OUT "group" regrole, OUT size bigint, OUT modified_at timestamptz, OUT inode bigint) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'dbos_tree';
COMMENT ON FUNCTION dbos.tree(text) IS
	'what is at a path and below it, each directory before what is in it; without what is in those that you may not read and search. Example: SELECT path, kind, size FROM dbos.tree(''/data'') WHERE name ~ ''^a.*z$'';';
CREATE FUNCTION dbos.glob(pattern text, OUT path text, OUT name text, OUT kind text, OUT mode integer, OUT owner regrole, OUT "group" regrole,
	OUT size bigint, OUT modified_at timestamptz, OUT inode bigint) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'dbos_glob';
COMMENT ON FUNCTION dbos.glob(text) IS
	'paths that match a pattern of the shell: * and ? and [a-z] within a name, ** for any number of directories. Example: SELECT path, size FROM dbos.glob(''/data/**/*.csv'');';

-- What directories and roles have, from the counters.
CREATE FUNCTION dbos.directory_tree(path text DEFAULT '/', OUT path text, OUT inode bigint, OUT owner regrole, OUT own_bytes bigint,
	OUT total_bytes bigint, OUT files bigint, OUT directories bigint, OUT total_files bigint, OUT total_directories bigint,
	OUT "group" regrole, OUT mode integer, OUT modified_at timestamptz) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'dbos_directory_tree';
COMMENT ON FUNCTION dbos.directory_tree(text) IS
	'a directory and those below it, with what is in each itself, and in total; null for those that you may not read and search. Example: SELECT path, total_bytes FROM dbos.directory_tree(''/data'');';
CREATE VIEW dbos.directories AS
	SELECT path, inode, owner, own_bytes, total_bytes, files, directories, total_files, total_directories, "group", mode, modified_at
	FROM dbos.directory_tree('/');
COMMENT ON VIEW dbos.directories IS
	'all directories that a listing would come upon, with what is in each itself, and in total; a file with two names is in the directories of both. Example: SELECT path, own_bytes, total_bytes, files FROM dbos.directories ORDER BY total_bytes DESC NULLS LAST LIMIT 10;';
CREATE FUNCTION dbos.du(path text, OUT bytes bigint, OUT files bigint, OUT directories bigint) RETURNS record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'dbos_du';
COMMENT ON FUNCTION dbos.du(text) IS
	'how many bytes, files and directories are below a path, as far as you may read and search what is there. Example: SELECT bytes, files FROM dbos.du(''/data'');';
CREATE FUNCTION dbos.largest_directories(role_name text, n integer DEFAULT 10, OUT path text, OUT total_bytes bigint, OUT own_bytes bigint,
	OUT files bigint, OUT total_files bigint) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000 ROWS 10 AS 'MODULE_PATHNAME', 'dbos_largest_directories';
COMMENT ON FUNCTION dbos.largest_directories(text, integer) IS
	'of the directories that a role owns those with the most bytes in and below them. Example: SELECT path, total_bytes FROM dbos.largest_directories(''postgres'', 3);';
CREATE FUNCTION dbos.count_file_owners(OUT role regrole, OUT files bigint, OUT bytes bigint) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000 ROWS 10 AS 'MODULE_PATHNAME', 'dbos_count_file_owners';
COMMENT ON FUNCTION dbos.count_file_owners() IS 'the rows of dbos.file_owners';
CREATE VIEW dbos.file_owners AS SELECT role, files, bytes FROM dbos.count_file_owners();
COMMENT ON VIEW dbos.file_owners IS
	'how many files each role owns, each counted once however many names it has, and how many bytes; who is no monitor sees their own roles. Example: SELECT role, files, bytes FROM dbos.file_owners ORDER BY bytes DESC;';
CREATE FUNCTION dbos.df(OUT files bigint, OUT directories bigint, OUT bytes bigint, OUT table_bytes bigint, OUT index_bytes bigint,
	OUT reusable_bytes bigint, OUT available_bytes bigint) RETURNS record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'dbos_df';
COMMENT ON FUNCTION dbos.df() IS
	'what all files have together, how large the tables of files are, what in them is free for new content, and what the disk has beside, which monitors are told. Example: SELECT bytes, table_bytes, available_bytes FROM dbos.df();';

REVOKE ALL ON FUNCTION dbos.file_planner(internal), dbos.entry_visible(bigint), dbos.directory_listed(bigint), dbos.inode_visible(bigint), dbos.entry_path(bigint, bytea),
	dbos.directory_path(bigint), dbos.entry_name(bytea), dbos.file_time(bigint), dbos.directory_links(bigint),
	dbos.directory_modified(bigint), dbos.directory_changed(bigint), dbos.path_directory(text), dbos.path_directory(text[]),
	dbos.path_name(text), dbos.path_name(text[]), dbos.path_inode(text), dbos.path_directories(text),
	dbos.tree(text), dbos.glob(text), dbos.directory_tree(text), dbos.du(text),
	dbos.largest_directories(text, integer), dbos.count_file_owners(), dbos.df() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.entry_visible(bigint), dbos.directory_listed(bigint), dbos.inode_visible(bigint), dbos.entry_path(bigint, bytea),
	dbos.directory_path(bigint), dbos.entry_name(bytea), dbos.file_time(bigint), dbos.directory_links(bigint),
	dbos.directory_modified(bigint), dbos.directory_changed(bigint), dbos.path_directory(text), dbos.path_directory(text[]),
	dbos.path_name(text), dbos.path_name(text[]), dbos.path_inode(text), dbos.path_directories(text),
	dbos.tree(text), dbos.glob(text), dbos.directory_tree(text), dbos.du(text),
	dbos.largest_directories(text, integer), dbos.count_file_owners(), dbos.df() TO dbos_user, dbos_monitor, dbos_admin;
GRANT SELECT ON dbos.files, dbos.directories, dbos.file_owners TO dbos_user, dbos_monitor, dbos_admin;
