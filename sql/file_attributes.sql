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

REVOKE ALL ON FUNCTION dbos.chmod(text, integer), dbos.chmod(text, text), dbos.chown(text, regrole, regrole), dbos.touch(text, timestamptz),
	dbos.set_times(text, bigint, bigint), dbos.file_times(text), dbos.set_xattr(text, text, bytea), dbos.get_xattr(text, text),
	dbos.list_xattr(text), dbos.remove_xattr(text, text), dbos.remove(text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.chmod(text, integer), dbos.chmod(text, text), dbos.chown(text, regrole, regrole), dbos.touch(text, timestamptz),
	dbos.set_times(text, bigint, bigint), dbos.set_xattr(text, text, bytea), dbos.remove_xattr(text, text),
	dbos.remove(text, boolean) TO dbos_user, dbos_admin;
GRANT EXECUTE ON FUNCTION dbos.file_times(text), dbos.get_xattr(text, text), dbos.list_xattr(text) TO dbos_user, dbos_monitor, dbos_admin;
