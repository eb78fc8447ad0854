-- file_attributes.sql: modes, owners, times, extended attributes, removal of trees, open files and locks.
-- SPDX-License-Identifier: PostgreSQL

CREATE TABLE dbos.xattr
(
	inode bigint NOT NULL,
	died integer NOT NULL,
	born integer NOT NULL,
	name bytea NOT NULL,
	value bytea NOT NULL,
	PRIMARY KEY (inode, name, died)
);
ALTER TABLE dbos.xattr ALTER COLUMN name SET STORAGE PLAIN;
CREATE INDEX xattr_ended_idx ON dbos.xattr (died, born) WHERE died OPERATOR(pg_catalog.<>) 2147483647;
COMMENT ON TABLE dbos.xattr IS 'extended attributes of files and directories';
SELECT pg_catalog.pg_extension_config_dump('dbos.xattr', '');

CREATE SEQUENCE dbos.file_handle;
COMMENT ON SEQUENCE dbos.file_handle IS 'handles of open files, never used twice';

CREATE UNLOGGED TABLE dbos.open_file
(
	handle bigint NOT NULL PRIMARY KEY,
	inode bigint NOT NULL,
	flags integer NOT NULL,
	role regrole NOT NULL,
	container_id integer NOT NULL,
	process_id integer NOT NULL,
	process_started timestamptz NOT NULL,
	opened_at timestamptz NOT NULL
);
CREATE INDEX open_file_inode_idx ON dbos.open_file (inode);
COMMENT ON TABLE dbos.open_file IS 'open files and their sessions, which no crash outlives; read dbos.open_files';

CREATE TABLE dbos.unlinked_file
(
	inode bigint NOT NULL PRIMARY KEY
);
COMMENT ON TABLE dbos.unlinked_file IS 'files that were open when their last name went, and are there until they are closed';
SELECT pg_catalog.pg_extension_config_dump('dbos.unlinked_file', '');

CREATE UNLOGGED TABLE dbos.file_lock
(
	inode bigint NOT NULL,
	handle bigint NOT NULL,
	owner bigint NOT NULL,
	exclusive boolean NOT NULL,
	start bigint NOT NULL,
	finish bigint NOT NULL
);
CREATE INDEX file_lock_inode_idx ON dbos.file_lock (inode);
COMMENT ON TABLE dbos.file_lock IS 'locks of parts of open files; read dbos.file_locks';

CREATE FUNCTION dbos.chmod(path text, mode integer) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_chmod_sql';
COMMENT ON FUNCTION dbos.chmod(text, integer) IS
	'who may do what with a file, as the number itself: 384 is what ''0600'' is as text. Example: SELECT dbos.chmod(''/note'', 384);';
CREATE FUNCTION dbos.chmod(path text, mode text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_chmod_text_sql';
COMMENT ON FUNCTION dbos.chmod(text, text) IS
	'who may do what with a file, octal or as what changes; its owner says. Example: SELECT dbos.chmod(''/note'', ''u+x,go-w'');';
CREATE FUNCTION dbos.chown(path text, owner regrole, "group" regrole DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_chown_sql';
COMMENT ON FUNCTION dbos.chown(text, regrole, regrole) IS
	'gives a file to a role that its owner may act as, or to a group that he is in; NULL leaves what is. Example: SELECT dbos.chown(''/note'', ''staff'');';
CREATE FUNCTION dbos.touch(path text, at timestamptz DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_touch_sql';
COMMENT ON FUNCTION dbos.touch(text, timestamptz) IS
	'sets when a file was modified and accessed, to now or to a time; makes one that is missing. Example: SELECT dbos.touch(''/note'');';
CREATE FUNCTION dbos.set_times(path text, accessed bigint DEFAULT NULL, modified bigint DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_set_times_sql';
COMMENT ON FUNCTION dbos.set_times(text, bigint, bigint) IS
	'sets the times of a file exactly, in nanoseconds since 1970; NULL leaves what is. Example: SELECT dbos.set_times(''/note'', modified => 1000000001);';
CREATE FUNCTION dbos.file_times(path text, OUT created bigint, OUT modified bigint, OUT changed bigint, OUT accessed bigint) RETURNS record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_file_times_sql';
COMMENT ON FUNCTION dbos.file_times(text) IS
	'the times of a file exactly, in nanoseconds since 1970. Example: SELECT modified FROM dbos.file_times(''/note'');';

CREATE FUNCTION dbos.set_xattr(path text, name text, value bytea) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_set_xattr_sql';
COMMENT ON FUNCTION dbos.set_xattr(text, text, bytea) IS
	'gives a file or directory an extended attribute, whose name begins with "user." and whose value has up to 64 kB. Example: SELECT dbos.set_xattr(''/note'', ''user.language'', ''en'');';
CREATE FUNCTION dbos.get_xattr(path text, name text) RETURNS bytea
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_get_xattr_sql';
COMMENT ON FUNCTION dbos.get_xattr(text, text) IS
	'an extended attribute of a file, or NULL. Example: SELECT dbos.get_xattr(''/note'', ''user.language'');';
CREATE FUNCTION dbos.list_xattr(path text, OUT name text, OUT size integer) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_list_xattr_sql';
COMMENT ON FUNCTION dbos.list_xattr(text) IS
	'which extended attributes a file has, and how long their values are. Example: SELECT name FROM dbos.list_xattr(''/note'');';
CREATE FUNCTION dbos.remove_xattr(path text, name text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_remove_xattr_sql';
COMMENT ON FUNCTION dbos.remove_xattr(text, text) IS
	'takes an extended attribute from a file. Example: SELECT dbos.remove_xattr(''/note'', ''user.language'');';

CREATE FUNCTION dbos.remove(path text, recursive boolean DEFAULT false) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_remove_sql';
COMMENT ON FUNCTION dbos.remove(text, boolean) IS
	'removes a file or an empty directory; with recursive also all that is in it, or, with an error, nothing. Example: SELECT dbos.remove(''/data/2026'', recursive => true);';

CREATE FUNCTION dbos.open_file(path text, mode text DEFAULT 'r') RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_open_file_sql';
COMMENT ON FUNCTION dbos.open_file(text, text) IS
	'opens a file, in a mode of fopen(3), and returns a handle by which it is read and written whatever becomes of its names; closed when the session ends. Example: SELECT dbos.open_file(''/note'', ''r+'');';
CREATE FUNCTION dbos.close_file(handle bigint) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_close_file_sql';
COMMENT ON FUNCTION dbos.close_file(bigint) IS
	'closes a file; one that has no name any more is gone with its last handle. Example: SELECT dbos.close_file(handle) FROM dbos.open_files WHERE unlinked;';
CREATE FUNCTION dbos.read_open_file(handle bigint, start bigint DEFAULT 0, length bigint DEFAULT NULL) RETURNS bytea
	LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_read_open_file_sql';
COMMENT ON FUNCTION dbos.read_open_file(bigint, bigint, bigint) IS
	'content of an open file, from byte start on, counted from 0, and no more than length. Example: SELECT dbos.read_open_file(handle, 0, 100) FROM dbos.open_files;';
CREATE FUNCTION dbos.write_open_file(handle bigint, start bigint, data bytea) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_write_open_file_sql';
COMMENT ON FUNCTION dbos.write_open_file(bigint, bigint, bytea) IS
	'writes into an open file from byte start on, or, when it was opened to append, at its end; returns the size. Example: SELECT dbos.write_open_file(handle, 0, ''abc'') FROM dbos.open_files WHERE path = ''/note'';';
CREATE FUNCTION dbos.truncate_open_file(handle bigint, size bigint) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_truncate_open_file_sql';
COMMENT ON FUNCTION dbos.truncate_open_file(bigint, bigint) IS
	'gives an open file that many bytes. Example: SELECT dbos.truncate_open_file(handle, 0) FROM dbos.open_files WHERE path = ''/note'';';
CREATE FUNCTION dbos.file_map(path text, OUT start bigint, OUT length bigint, OUT kind text) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_file_map';
COMMENT ON FUNCTION dbos.file_map(text) IS
	'which bytes of a file are stored, and where holes are, which read as zeros and take no space: parts from start on, data or hole, one after the other. Example: SELECT start, length FROM dbos.file_map(''/note'') WHERE kind = ''hole'';';
CREATE FUNCTION dbos.punch_hole(path text, start bigint, length bigint) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_punch_hole';
COMMENT ON FUNCTION dbos.punch_hole(text, bigint, bigint) IS
	'makes zeros of bytes of a file, and gives back their space where they fill chunks of 8,192; the size stays. Example: SELECT dbos.punch_hole(''/note'', 8192, 81920);';
CREATE FUNCTION dbos.stat_open_file(handle bigint, OUT inode bigint, OUT kind text, OUT mode integer, OUT owner regrole, OUT "group" regrole,
	OUT size bigint, OUT link_count integer, OUT created_at timestamptz, OUT modified_at timestamptz, OUT changed_at timestamptz,
	OUT accessed_at timestamptz, OUT storage text, OUT checksum text) RETURNS record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_stat_open_file_sql';
COMMENT ON FUNCTION dbos.stat_open_file(bigint) IS
	'what dbos.stat() tells, of an open file. Example: SELECT size FROM dbos.open_files o, dbos.stat_open_file(o.handle);';
CREATE FUNCTION dbos.list_open_files(OUT handle bigint, OUT path text, OUT inode bigint, OUT mode text, OUT unlinked boolean, OUT size bigint,
	OUT role regrole, OUT process_id integer, OUT opened_at timestamptz) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_list_open_files_sql';
COMMENT ON FUNCTION dbos.list_open_files() IS 'what dbos.open_files shows';
CREATE FUNCTION dbos.sweep_open_files() RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_sweep_open_files_sql';
COMMENT ON FUNCTION dbos.sweep_open_files() IS
	'closes what sessions that are gone have left open, as the background does by itself, and returns how many handles that were. Example: SELECT dbos.sweep_open_files();';
CREATE VIEW dbos.open_files WITH (security_barrier) AS
	SELECT handle, path, inode, mode, unlinked, size, role, process_id, opened_at FROM dbos.list_open_files();
COMMENT ON VIEW dbos.open_files IS
	'open files of the roles that one has, and of all for dbos_monitor; what is unlinked has no name any more and is there until it is closed. Example: SELECT inode, size, process_id FROM dbos.open_files WHERE unlinked;';

CREATE FUNCTION dbos.lock_file(handle bigint, exclusive boolean DEFAULT true, start bigint DEFAULT 0, length bigint DEFAULT NULL,
	wait boolean DEFAULT true, owner bigint DEFAULT NULL) RETURNS boolean
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_lock_file_sql';
COMMENT ON FUNCTION dbos.lock_file(bigint, boolean, bigint, bigint, boolean, bigint) IS
	'locks a part of an open file against others who ask for a lock; false: another has one there, and wait is false. Example: SELECT dbos.lock_file(handle, exclusive => true, wait => false) FROM dbos.open_files WHERE path = ''/note'';';
CREATE FUNCTION dbos.unlock_file(handle bigint, start bigint DEFAULT 0, length bigint DEFAULT NULL, owner bigint DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_unlock_file_sql';
COMMENT ON FUNCTION dbos.unlock_file(bigint, bigint, bigint, bigint) IS
	'gives up what of a part of an open file was locked by this handle. Example: SELECT dbos.unlock_file(handle) FROM dbos.open_files WHERE path = ''/note'';';
CREATE FUNCTION dbos.lock_conflict(handle bigint, exclusive boolean DEFAULT true, start bigint DEFAULT 0, length bigint DEFAULT NULL,
	owner bigint DEFAULT NULL, OUT kind text, OUT locked_from bigint, OUT locked_length bigint, OUT process_id integer) RETURNS record
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_lock_conflict_sql';
COMMENT ON FUNCTION dbos.lock_conflict(bigint, boolean, bigint, bigint, bigint) IS
	'a lock of another that would be in the way, or NULL. Example: SELECT c.process_id FROM dbos.open_files o, dbos.lock_conflict(o.handle) c;';
CREATE FUNCTION dbos.list_file_locks(OUT path text, OUT inode bigint, OUT handle bigint, OUT owner bigint, OUT kind text, OUT start bigint,
	OUT length bigint, OUT role regrole, OUT process_id integer) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_list_file_locks_sql';
COMMENT ON FUNCTION dbos.list_file_locks() IS 'what dbos.file_locks shows';
CREATE VIEW dbos.file_locks WITH (security_barrier) AS
	SELECT path, inode, handle, owner, kind, start, length, role, process_id FROM dbos.list_file_locks();
COMMENT ON VIEW dbos.file_locks IS
	'locks of parts of open files, of the roles that one has, and of all for dbos_monitor; length NULL is without end. Example: SELECT path, kind, start, length, process_id FROM dbos.file_locks;';

REVOKE ALL ON FUNCTION dbos.chmod(text, integer), dbos.chmod(text, text), dbos.chown(text, regrole, regrole), dbos.touch(text, timestamptz),
	dbos.set_times(text, bigint, bigint), dbos.file_times(text), dbos.set_xattr(text, text, bytea), dbos.get_xattr(text, text),
	dbos.list_xattr(text), dbos.remove_xattr(text, text), dbos.remove(text, boolean),
	dbos.open_file(text, text), dbos.close_file(bigint), dbos.read_open_file(bigint, bigint, bigint), dbos.write_open_file(bigint, bigint, bytea),
	dbos.truncate_open_file(bigint, bigint), dbos.file_map(text), dbos.punch_hole(text, bigint, bigint), dbos.stat_open_file(bigint),
	dbos.list_open_files(), dbos.sweep_open_files(),
	dbos.lock_file(bigint, boolean, bigint, bigint, boolean, bigint), dbos.unlock_file(bigint, bigint, bigint, bigint),
	dbos.lock_conflict(bigint, boolean, bigint, bigint, bigint), dbos.list_file_locks() FROM PUBLIC;
REVOKE ALL ON dbos.open_files, dbos.file_locks FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.chmod(text, integer), dbos.chmod(text, text), dbos.chown(text, regrole, regrole), dbos.touch(text, timestamptz),
	dbos.set_times(text, bigint, bigint), dbos.set_xattr(text, text, bytea), dbos.remove_xattr(text, text),
	dbos.remove(text, boolean), dbos.open_file(text, text), dbos.close_file(bigint), dbos.read_open_file(bigint, bigint, bigint),
	dbos.write_open_file(bigint, bigint, bytea), dbos.truncate_open_file(bigint, bigint), dbos.punch_hole(text, bigint, bigint), dbos.stat_open_file(bigint),
	dbos.lock_file(bigint, boolean, bigint, bigint, boolean, bigint), dbos.unlock_file(bigint, bigint, bigint, bigint),
	dbos.lock_conflict(bigint, boolean, bigint, bigint, bigint) TO dbos_user, dbos_admin;
GRANT EXECUTE ON FUNCTION dbos.sweep_open_files() TO dbos_admin;
GRANT SELECT ON dbos.open_files, dbos.file_locks TO dbos_user, dbos_monitor, dbos_admin;
GRANT EXECUTE ON FUNCTION dbos.file_times(text), dbos.file_map(text), dbos.get_xattr(text, text), dbos.list_xattr(text),
	dbos.list_open_files(), dbos.list_file_locks() TO dbos_user, dbos_monitor, dbos_admin;
