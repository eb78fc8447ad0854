-- file_snapshot.sql: snapshots of directories and files, and the reclaiming of what no snapshot and no file needs.
-- SPDX-License-Identifier: PostgreSQL

CREATE FUNCTION dbos.snapshot(path text, name text) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_snapshot_sql';
COMMENT ON FUNCTION dbos.snapshot(text, text) IS
	'keeps a directory with all that is in it, or a file, as it is now, under a name that no other snapshot of the container has; waits for transactions that have begun to write files, which are in it, and nobody waits for it; returns its epoch. Example: SELECT dbos.snapshot(''/data'', ''monday'');';
CREATE FUNCTION dbos.drop_snapshot(name text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_drop_snapshot';
COMMENT ON FUNCTION dbos.drop_snapshot(text) IS
	'forgets a snapshot, which its owner may; what it alone has kept is deleted in the background. Example: SELECT dbos.drop_snapshot(''monday'');';
CREATE FUNCTION dbos.read_snapshot(name text, path text, start bigint DEFAULT 0, length bigint DEFAULT NULL) RETURNS bytea
	LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_read_snapshot';
COMMENT ON FUNCTION dbos.read_snapshot(text, text, bigint, bigint) IS
	'content that a file had when the snapshot was taken, as dbos.read_file() has that of now; the path is that of then, from the root on, and so are the modes that say who may read it. Example: SELECT dbos.read_snapshot(''monday'', ''/data/note'');';
CREATE FUNCTION dbos.snapshot_ls(snapshot text, path text DEFAULT NULL, OUT name text, OUT kind text, OUT mode integer, OUT owner regrole,
	OUT "group" regrole, OUT size bigint, OUT modified_at timestamptz, OUT inode bigint) RETURNS SETOF record
	LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_snapshot_ls';
COMMENT ON FUNCTION dbos.snapshot_ls(text, text) IS
	'what was in a directory when the snapshot was taken, by name; without a path, in the one that the snapshot is of. Example: SELECT * FROM dbos.snapshot_ls(''monday'', ''/data'');';
CREATE FUNCTION dbos.snapshot_stat(name text, path text, OUT inode bigint, OUT kind text, OUT mode integer, OUT owner regrole, OUT "group" regrole,
	OUT size bigint, OUT link_count integer, OUT created_at timestamptz, OUT modified_at timestamptz, OUT changed_at timestamptz,
	OUT accessed_at timestamptz, OUT storage text, OUT checksum text) RETURNS record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_snapshot_stat';
COMMENT ON FUNCTION dbos.snapshot_stat(text, text) IS
	'what was known of a file when the snapshot was taken; of a directory without the times at which names came and went, which are known for now alone. Example: SELECT size, modified_at FROM dbos.snapshot_stat(''monday'', ''/data/note'');';
CREATE FUNCTION dbos.snapshot_read_link(name text, path text) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_snapshot_read_link';
COMMENT ON FUNCTION dbos.snapshot_read_link(text, text) IS
	'target that a symbolic link had when the snapshot was taken. Example: SELECT dbos.snapshot_read_link(''monday'', ''/data/latest'');';
CREATE FUNCTION dbos.restore_file(name text, path text, new_path text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_restore_file';
COMMENT ON FUNCTION dbos.restore_file(text, text, text) IS
	'makes a file, or replaces one, with the content that a file had when the snapshot was taken; as with dbos.copy() that is not copied before one of the two changes. Example: SELECT dbos.restore_file(''monday'', ''/data/note'', ''/data/note'');';

CREATE FUNCTION dbos.snapshot_visible(container_id integer, epoch integer, root bigint, owner oid) RETURNS boolean
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_snapshot_visible';
COMMENT ON FUNCTION dbos.snapshot_visible(integer, integer, bigint, oid) IS
	'whether the current role sees a snapshot: who owns it or could reach what it is of, and monitors. Example: SELECT dbos.snapshot_visible(0, 1, 1, ''postgres''::regrole);';
CREATE VIEW dbos.snapshots WITH (security_barrier) AS
	SELECT s.name, s.path, s.owner, s.created_at, s.epoch, dbos.container_path(s.container_id) AS container
	FROM dbos.snapshot s
	WHERE dbos.in_container(s.container_id) AND dbos.snapshot_visible(s.container_id, s.epoch, s.root, s.owner::pg_catalog.oid);
COMMENT ON VIEW dbos.snapshots IS 'snapshots of directories and files. Example: SELECT name, path, created_at FROM dbos.snapshots;';

CREATE FUNCTION dbos.reclaim_files(OUT versions bigint, OUT chunks bigint) RETURNS record
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_reclaim_files';
COMMENT ON FUNCTION dbos.reclaim_files() IS
	'deletes at once what the background deletes in parts: versions that no snapshot shows any more, and chunks of 8 kB that no file has any more; returns how many. Example: SELECT * FROM dbos.reclaim_files();';

REVOKE ALL ON FUNCTION dbos.snapshot(text, text), dbos.drop_snapshot(text), dbos.read_snapshot(text, text, bigint, bigint),
	dbos.snapshot_ls(text, text), dbos.snapshot_stat(text, text), dbos.snapshot_read_link(text, text),
	dbos.restore_file(text, text, text),
	dbos.snapshot_visible(integer, integer, bigint, oid), dbos.reclaim_files() FROM PUBLIC;
REVOKE ALL ON dbos.snapshots FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.snapshot(text, text), dbos.drop_snapshot(text), dbos.restore_file(text, text, text) TO dbos_user, dbos_admin;
GRANT EXECUTE ON FUNCTION dbos.read_snapshot(text, text, bigint, bigint), dbos.snapshot_ls(text, text), dbos.snapshot_stat(text, text),
	dbos.snapshot_read_link(text, text), dbos.snapshot_visible(integer, integer, bigint, oid) TO dbos_user, dbos_monitor, dbos_admin;
GRANT EXECUTE ON FUNCTION dbos.reclaim_files() TO dbos_admin;
GRANT SELECT ON dbos.snapshots TO dbos_user, dbos_monitor, dbos_admin;
