-- file.sql: files in tables.
-- SPDX-License-Identifier: PostgreSQL

CREATE SEQUENCE dbos.file_epoch AS integer MAXVALUE 2147483646;
COMMENT ON SEQUENCE dbos.file_epoch IS 'its last value is the epoch of files; a snapshot ends one';
SELECT pg_catalog.pg_extension_config_dump('dbos.file_epoch', '');
CREATE SEQUENCE dbos.inode_number CACHE 32 START 2;
COMMENT ON SEQUENCE dbos.inode_number IS 'numbers of inodes, never used twice; 1 is the root';
SELECT pg_catalog.pg_extension_config_dump('dbos.inode_number', '');
CREATE SEQUENCE dbos.chunk_block;
COMMENT ON SEQUENCE dbos.chunk_block IS 'blocks of 1,024 ids of chunks, never used twice';
SELECT pg_catalog.pg_extension_config_dump('dbos.chunk_block', '');

CREATE TABLE dbos.file_system
(
	container_id integer NOT NULL PRIMARY KEY,
	root bigint NOT NULL
);
COMMENT ON TABLE dbos.file_system IS 'the root directory of each container that has files; that of the root container is inode 1';
SELECT pg_catalog.pg_extension_config_dump('dbos.file_system', '');

CREATE TABLE dbos.inode
(
	inode bigint NOT NULL,
	died integer NOT NULL,
	born integer NOT NULL,
	file_system integer NOT NULL,
	mode integer NOT NULL,
	owner regrole NOT NULL,
	group_role regrole NOT NULL,
	link_count integer NOT NULL,
	size bigint NOT NULL,
	created bigint NOT NULL,
	modified bigint NOT NULL,
	changed bigint NOT NULL,
	accessed bigint NOT NULL,
	storage "char" NOT NULL,
	size_class smallint NOT NULL,
	large_object oid,
	checksum integer,
	content bytea,
	PRIMARY KEY (inode, died)
);
ALTER TABLE dbos.inode ALTER COLUMN content SET STORAGE PLAIN;
CREATE INDEX inode_size_class_idx ON dbos.inode (size_class) WHERE size_class OPERATOR(pg_catalog.>) 0;
CREATE INDEX inode_ended_idx ON dbos.inode (died, born) WHERE died OPERATOR(pg_catalog.<>) 2147483647;
CREATE UNIQUE INDEX inode_large_object_idx ON dbos.inode (large_object, died) WHERE large_object IS NOT NULL;
COMMENT ON TABLE dbos.inode IS 'files, directories and symbolic links; read dbos.files';
SELECT pg_catalog.pg_extension_config_dump('dbos.inode', '');

CREATE TABLE dbos.directory_entry
(
	parent bigint NOT NULL,
	child bigint NOT NULL,
	died integer NOT NULL,
	born integer NOT NULL,
	kind integer NOT NULL,
	name bytea NOT NULL,
	PRIMARY KEY (parent, name, died)
);
ALTER TABLE dbos.directory_entry ALTER COLUMN name SET STORAGE PLAIN;
CREATE INDEX directory_entry_child_idx ON dbos.directory_entry (child);
CREATE INDEX directory_entry_directory_idx ON dbos.directory_entry (parent, name) WHERE kind OPERATOR(pg_catalog.=) 4;
CREATE INDEX directory_entry_ended_idx ON dbos.directory_entry (died, born) WHERE died OPERATOR(pg_catalog.<>) 2147483647;
COMMENT ON TABLE dbos.directory_entry IS 'names in directories';
SELECT pg_catalog.pg_extension_config_dump('dbos.directory_entry', '');

CREATE TABLE dbos.extent
(
	inode bigint NOT NULL,
	died integer NOT NULL,
	born integer NOT NULL,
	start bigint NOT NULL,
	chunk bigint NOT NULL,
	count integer NOT NULL,
	written integer NOT NULL,
	shared boolean NOT NULL,
	PRIMARY KEY (inode, died, start)
);
CREATE INDEX extent_chunk_idx ON dbos.extent (chunk);
CREATE INDEX extent_ended_idx ON dbos.extent (died, born) WHERE died OPERATOR(pg_catalog.<>) 2147483647;
COMMENT ON TABLE dbos.extent IS 'which chunks a file has';
SELECT pg_catalog.pg_extension_config_dump('dbos.extent', '');

CREATE TABLE dbos.chunk
(
	chunk bigint NOT NULL PRIMARY KEY,
	length integer NOT NULL,
	checksum integer NOT NULL,
	format "char" NOT NULL,
	data bytea NOT NULL
);
ALTER TABLE dbos.chunk ALTER COLUMN data SET STORAGE PLAIN;
COMMENT ON TABLE dbos.chunk IS 'content of files, 8,192 bytes a row, without the last 112 of a full one';
SELECT pg_catalog.pg_extension_config_dump('dbos.chunk', '');

CREATE TABLE dbos.chunk_tail
(
	chunk bigint NOT NULL PRIMARY KEY,
	data bytea NOT NULL
);
ALTER TABLE dbos.chunk_tail ALTER COLUMN data SET STORAGE PLAIN;
COMMENT ON TABLE dbos.chunk_tail IS 'the last 112 bytes of full chunks';
SELECT pg_catalog.pg_extension_config_dump('dbos.chunk_tail', '');

CREATE TABLE dbos.freed_extent
(
	chunk bigint NOT NULL,
	count integer NOT NULL
);
COMMENT ON TABLE dbos.freed_extent IS 'chunks that some file has no more, to be deleted when no other has them';
SELECT pg_catalog.pg_extension_config_dump('dbos.freed_extent', '');
SELECT pg_catalog.pg_extension_config_dump('dbos.freed_extent', '');

CREATE TABLE dbos.snapshot
(
	name text NOT NULL,
	epoch integer NOT NULL,
	root bigint NOT NULL,
	container_id integer NOT NULL,
	owner regrole NOT NULL,
	created_at timestamptz NOT NULL,
	path text NOT NULL,
	PRIMARY KEY (container_id, name)
);
CREATE INDEX snapshot_epoch_idx ON dbos.snapshot (epoch);
COMMENT ON TABLE dbos.snapshot IS 'snapshots of directories and files; each shows the rows that were valid in its epoch; read dbos.snapshots';
SELECT pg_catalog.pg_extension_config_dump('dbos.snapshot', '');

CREATE TABLE dbos.directory_change
(
	directory bigint NOT NULL,
	owner regrole NOT NULL,
	names bigint NOT NULL,
	directories bigint NOT NULL,
	bytes bigint NOT NULL,
	files bigint NOT NULL,
	file_bytes bigint NOT NULL,
	modified bigint NOT NULL
);
CREATE INDEX directory_change_idx ON dbos.directory_change (directory);
COMMENT ON TABLE dbos.directory_change IS 'what transactions have changed in directories and is not added to dbos.directory_usage yet';
SELECT pg_catalog.pg_extension_config_dump('dbos.directory_change', '');

CREATE TABLE dbos.directory_usage
(
	directory bigint NOT NULL,
	owner regrole NOT NULL,
	names bigint NOT NULL,
	directories bigint NOT NULL,
	bytes bigint NOT NULL,
	files bigint NOT NULL,
	file_bytes bigint NOT NULL,
	modified bigint NOT NULL,
	PRIMARY KEY (directory, owner)
);
COMMENT ON TABLE dbos.directory_usage IS 'what is in directories, and whose it is, as far as it was added up';
SELECT pg_catalog.pg_extension_config_dump('dbos.directory_usage', '');

-- A restore, which has row_security off, brings the root that was dumped.
INSERT INTO dbos.inode (inode, died, born, file_system, mode, owner, group_role, link_count, size, created, modified, changed, accessed, storage, size_class)
SELECT 1, 2147483647, 1, 0, 16384 + 1021, 'dbos_owner', 'dbos_user', 2, 0, t.now, t.now, t.now, t.now, 'c', 0
FROM (SELECT pg_catalog.int8(EXTRACT(epoch FROM pg_catalog.now()) OPERATOR(pg_catalog.*) 1000000000) AS now) t
WHERE pg_catalog.current_setting('row_security') OPERATOR(pg_catalog.=) 'on';

CREATE FUNCTION dbos.write_file(path text, data bytea, append boolean DEFAULT false) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_write_file';
COMMENT ON FUNCTION dbos.write_file(text, bytea, boolean) IS
	'makes a file with this content, or replaces that of one that is there, or adds to its end; returns the size. Example: SELECT dbos.write_file(''/note'', ''abc'');';
CREATE FUNCTION dbos.write_text(path text, content text, append boolean DEFAULT false) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_write_file';
COMMENT ON FUNCTION dbos.write_text(text, text, boolean) IS
	'the same with text, in the server''s encoding. Example: SELECT dbos.write_text(''/note'', ''abc'');';
CREATE FUNCTION dbos.write_at(path text, start bigint, data bytea) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_write_at';
COMMENT ON FUNCTION dbos.write_at(text, bigint, bytea) IS
	'writes into a file from byte start on, counted from 0; what lies between its end and there reads as zeros; returns the size. Example: SELECT dbos.write_at(''/note'', 1, ''b'');';
CREATE FUNCTION dbos.truncate_file(path text, size bigint) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_truncate_file';
COMMENT ON FUNCTION dbos.truncate_file(text, bigint) IS
	'gives a file that many bytes: what is beyond is gone, what is added reads as zeros. Example: SELECT dbos.truncate_file(''/note'', 0);';
CREATE FUNCTION dbos.read_file(path text, start bigint DEFAULT 0, length bigint DEFAULT NULL) RETURNS bytea
	LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_read_file';
COMMENT ON FUNCTION dbos.read_file(text, bigint, bigint) IS
	'content of a file, from byte start on, counted from 0, and no more than length. Example: SELECT dbos.read_file(''/note'');';
CREATE FUNCTION dbos.read_text(path text) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_read_text';
COMMENT ON FUNCTION dbos.read_text(text) IS 'content of a file that is text. Example: SELECT dbos.read_text(''/note'');';
CREATE FUNCTION dbos.copy(path text, new_path text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_copy_file';
COMMENT ON FUNCTION dbos.copy(text, text) IS
	'makes a file with the content of another, which is not copied before one of the two changes. Example: SELECT dbos.copy(''/note'', ''/note.old'');';

CREATE FUNCTION dbos.mkdir(path text, parents boolean DEFAULT false, storage text DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_mkdir_sql';
COMMENT ON FUNCTION dbos.mkdir(text, boolean, text) IS
	'makes a directory; with parents also those on the way to it, and none need be new; storage, chunk or large_object, is that of files made in it, otherwise as in the directory above. Example: SELECT dbos.mkdir(''/data/2026'', parents => true);';
CREATE FUNCTION dbos.rmdir(path text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_rmdir_sql';
COMMENT ON FUNCTION dbos.rmdir(text) IS 'removes an empty directory. Example: SELECT dbos.rmdir(''/data/2026'');';
CREATE FUNCTION dbos.unlink(path text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_unlink_sql';
COMMENT ON FUNCTION dbos.unlink(text) IS 'removes a name of a file, and with the last one the file. Example: SELECT dbos.unlink(''/note'');';
CREATE FUNCTION dbos.rename(path text, new_path text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_rename_sql';
COMMENT ON FUNCTION dbos.rename(text, text) IS
	'gives a file or directory another name, in place of what has that: a file, or an empty directory. Example: SELECT dbos.rename(''/note'', ''/data/note'');';
CREATE FUNCTION dbos.link(path text, new_path text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_link_sql';
COMMENT ON FUNCTION dbos.link(text, text) IS 'gives a file one more name. Example: SELECT dbos.link(''/note'', ''/same'');';
CREATE FUNCTION dbos.symlink(target text, path text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dbos_symlink_sql';
COMMENT ON FUNCTION dbos.symlink(text, text) IS 'makes a symbolic link to target, which need not be there. Example: SELECT dbos.symlink(''/note'', ''/latest'');';
CREATE FUNCTION dbos.read_link(path text) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_read_link';
COMMENT ON FUNCTION dbos.read_link(text) IS 'target of a symbolic link. Example: SELECT dbos.read_link(''/latest'');';
CREATE FUNCTION dbos.stat(path text, OUT inode bigint, OUT kind text, OUT mode integer, OUT owner regrole, OUT "group" regrole,
	OUT size bigint, OUT link_count integer, OUT created_at timestamptz, OUT modified_at timestamptz, OUT changed_at timestamptz,
	OUT accessed_at timestamptz, OUT storage text, OUT checksum text) RETURNS record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_stat';
COMMENT ON FUNCTION dbos.stat(text) IS
	'what is known of a file, or of a symbolic link itself; checksum is the CRC-32C of the content, where that is known. Example: SELECT size, modified_at FROM dbos.stat(''/note'');';
CREATE FUNCTION dbos.ls(path text DEFAULT '/', OUT name text, OUT kind text, OUT mode integer, OUT owner regrole, OUT "group" regrole,
	OUT size bigint, OUT modified_at timestamptz, OUT inode bigint) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dbos_ls';
COMMENT ON FUNCTION dbos.ls(text) IS 'what is in a directory, by name. Example: SELECT name, kind, size FROM dbos.ls(''/'');';

REVOKE ALL ON FUNCTION dbos.write_file(text, bytea, boolean), dbos.write_text(text, text, boolean), dbos.write_at(text, bigint, bytea),
	dbos.truncate_file(text, bigint), dbos.read_file(text, bigint, bigint), dbos.read_text(text), dbos.copy(text, text),
	dbos.mkdir(text, boolean, text), dbos.rmdir(text), dbos.unlink(text), dbos.rename(text, text), dbos.link(text, text),
	dbos.symlink(text, text), dbos.read_link(text), dbos.stat(text), dbos.ls(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbos.write_file(text, bytea, boolean), dbos.write_text(text, text, boolean), dbos.write_at(text, bigint, bytea),
	dbos.truncate_file(text, bigint), dbos.copy(text, text), dbos.mkdir(text, boolean, text), dbos.rmdir(text), dbos.unlink(text),
	dbos.rename(text, text), dbos.link(text, text), dbos.symlink(text, text) TO dbos_user, dbos_admin;
GRANT EXECUTE ON FUNCTION dbos.read_file(text, bigint, bigint), dbos.read_text(text), dbos.read_link(text), dbos.stat(text), dbos.ls(text)
	TO dbos_user, dbos_monitor, dbos_admin;
