-- Extended attributes belong to the file, whatever its names, as its rights and snapshots say, and go with it.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_fx_owner LOGIN IN ROLE dbos_user;
CREATE ROLE regress_fx_other LOGIN IN ROLE dbos_user;
CREATE ROLE regress_fx_admin LOGIN IN ROLE dbos_admin;
SELECT dbos.mkdir('/regress_fx');
SELECT dbos.chmod('/regress_fx', '1777');
SET SESSION AUTHORIZATION regress_fx_owner;
SELECT dbos.write_text('/regress_fx/file', 'content');
SELECT dbos.get_xattr('/regress_fx/file', 'user.a'), (SELECT count(*) FROM dbos.list_xattr('/regress_fx/file'));
SELECT changed AS changed, modified AS modified FROM dbos.file_times('/regress_fx/file') \gset before_
SELECT dbos.set_xattr('/regress_fx/file', 'user.a', 'first');
SELECT changed > :before_changed AS changed_now, modified = :before_modified AS modified_then FROM dbos.file_times('/regress_fx/file');
SELECT dbos.set_xattr('/regress_fx/file', 'user.b', ''), dbos.set_xattr('/regress_fx/file', 'user.a', 'second');
SELECT dbos.get_xattr('/regress_fx/file', 'user.a')::text, dbos.get_xattr('/regress_fx/file', 'user.b'), dbos.get_xattr('/regress_fx/file', 'user.c');
SELECT * FROM dbos.list_xattr('/regress_fx/file');
-- The content is there too, and the mode is what it was.
SELECT dbos.read_text('/regress_fx/file'), mode, kind FROM dbos.stat('/regress_fx/file');
-- Of another name it is the same, and after a move; a copy has none.
SELECT dbos.link('/regress_fx/file', '/regress_fx/same'), dbos.symlink('same', '/regress_fx/link'), dbos.copy('/regress_fx/file', '/regress_fx/copy');
SELECT dbos.get_xattr('/regress_fx/same', 'user.a') = 'second', dbos.get_xattr('/regress_fx/link', 'user.a') = 'second', dbos.get_xattr('/regress_fx/copy', 'user.a');
SELECT dbos.rename('/regress_fx/file', '/regress_fx/moved');
SELECT dbos.get_xattr('/regress_fx/moved', 'user.a') = 'second';
SELECT dbos.remove_xattr('/regress_fx/moved', 'user.b');
SELECT dbos.remove_xattr('/regress_fx/moved', 'user.b');
SELECT dbos.remove_xattr('/regress_fx/copy', 'user.b');
SELECT * FROM dbos.list_xattr('/regress_fx/same');
-- Of a directory.
SELECT dbos.mkdir('/regress_fx/directory'), dbos.set_xattr('/regress_fx/directory', 'user.a', '\x00ff');
SELECT dbos.get_xattr('/regress_fx/directory/.', 'user.a');
-- ---- names and sizes ----
SELECT dbos.set_xattr('/regress_fx/copy', 'user.' || repeat('n', 250), decode(repeat('78', 65536), 'hex'));
SELECT length(dbos.get_xattr('/regress_fx/copy', 'user.' || repeat('n', 250))), (SELECT size FROM dbos.list_xattr('/regress_fx/copy'));
SELECT dbos.set_xattr('/regress_fx/copy', 'user.' || repeat('n', 251), '');
SELECT dbos.set_xattr('/regress_fx/copy', 'user.long', decode(repeat('78', 65537), 'hex'));
SELECT dbos.set_xattr('/regress_fx/copy', 'user.', '');
SELECT dbos.set_xattr('/regress_fx/copy', 'language', '');
SELECT dbos.get_xattr('/regress_fx/copy', '');
SELECT dbos.set_xattr('/regress_fx/copy', 'user.\377/', 'bytes');
SELECT dbos.get_xattr('/regress_fx/copy', 'user.\377/');
SELECT left(name, 12) FROM dbos.list_xattr('/regress_fx/copy');
SELECT dbos.set_xattr('/regress_fx/none', 'user.a', '');
SELECT dbos.set_xattr(NULL, 'user.a', '') IS NULL, dbos.get_xattr('/regress_fx/copy', NULL) IS NULL;
-- ---- rights ----
SET SESSION AUTHORIZATION regress_fx_other;
SELECT dbos.get_xattr('/regress_fx/moved', 'user.a') = 'second';
SELECT dbos.set_xattr('/regress_fx/moved', 'user.a', 'mine');
SELECT dbos.remove_xattr('/regress_fx/moved', 'user.a');
SELECT dbos.set_xattr('/regress_fx', 'user.a', 'mine');
SET SESSION AUTHORIZATION regress_fx_owner;
SELECT dbos.chmod('/regress_fx/moved', '0602');
SELECT dbos.set_xattr('/regress_fx/moved', 'trusted.a', ''), dbos.set_xattr('/regress_fx/moved', 'security.a', ''), dbos.set_xattr('/regress_fx/moved', 'system.a', '');
SET SESSION AUTHORIZATION regress_fx_other;
SELECT dbos.get_xattr('/regress_fx/moved', 'user.a');
SELECT dbos.set_xattr('/regress_fx/moved', 'user.a', 'mine');
SET SESSION AUTHORIZATION regress_fx_admin;
SELECT dbos.set_xattr('/regress_fx/moved', 'trusted.a', 't'), dbos.set_xattr('/regress_fx/moved', 'security.a', 's'), dbos.set_xattr('/regress_fx/moved', 'system.a', '');
SELECT name FROM dbos.list_xattr('/regress_fx/moved');
SET SESSION AUTHORIZATION regress_fx_other;
SELECT name FROM dbos.list_xattr('/regress_fx/moved');
SELECT dbos.get_xattr('/regress_fx/moved', 'trusted.a'), dbos.get_xattr('/regress_fx/moved', 'security.a') = 's';
BEGIN READ ONLY;
SELECT dbos.set_xattr('/regress_fx/moved', 'user.a', 'mine');
ROLLBACK;
RESET SESSION AUTHORIZATION;
-- ---- rolled back ----
BEGIN;
SAVEPOINT s;
SELECT dbos.set_xattr('/regress_fx/moved', 'user.a', 'other'), dbos.remove_xattr('/regress_fx/moved', 'trusted.a');
ROLLBACK TO s;
SELECT dbos.get_xattr('/regress_fx/moved', 'user.a') = 'mine', dbos.get_xattr('/regress_fx/moved', 'trusted.a') = 't';
COMMIT;
-- ---- what a snapshot shows stays ----
SELECT inode AS inode FROM dbos.stat('/regress_fx/moved') \gset
SELECT inode AS directory FROM dbos.stat('/regress_fx/directory') \gset
CREATE FUNCTION pg_temp.versions(bigint) RETURNS TABLE (name text, value text, ended boolean) LANGUAGE sql AS
	'SELECT encode(name, ''escape''), encode(value, ''escape''), died < 2147483647 FROM dbos.xattr WHERE inode = $1 ORDER BY xattr.name, died';
SELECT * FROM pg_temp.versions(:inode);
INSERT INTO dbos.snapshot (name, epoch, root, container_id, owner, created_at, path) SELECT 'regress_fx', last_value, 1, 0, 'regress_fx_owner', now(), '/' FROM dbos.file_epoch;
SELECT count(nextval('dbos.file_epoch')) FROM generate_series(1, 2);
SELECT dbos.set_xattr('/regress_fx/moved', 'user.a', 'after'), dbos.set_xattr('/regress_fx/moved', 'user.a', 'after that'),
	dbos.set_xattr('/regress_fx/moved', 'user.new', 'new'), dbos.remove_xattr('/regress_fx/moved', 'trusted.a');
SELECT * FROM pg_temp.versions(:inode);
SELECT dbos.unlink('/regress_fx/moved');
SELECT * FROM pg_temp.versions(:inode);
SELECT dbos.unlink('/regress_fx/same'), dbos.rmdir('/regress_fx/directory');
SELECT * FROM pg_temp.versions(:inode);
SELECT ended FROM pg_temp.versions(:directory);
DELETE FROM dbos.snapshot WHERE name = 'regress_fx';
DELETE FROM dbos.xattr WHERE inode IN (:inode, :directory);
DELETE FROM dbos.inode WHERE inode IN (:inode, :directory);
DELETE FROM dbos.directory_entry WHERE child IN (:inode, :directory);
-- And without one it goes with the file.
SELECT inode AS inode FROM dbos.stat('/regress_fx/copy') \gset
SELECT dbos.unlink('/regress_fx/copy');
SELECT * FROM pg_temp.versions(:inode);
-- In a container that has no files its root has attributes too.
BEGIN;
SELECT dbos.create_container('regress_fx');
SELECT dbos.enter_container('regress_fx');
SELECT dbos.set_xattr('/', 'user.a', 'root'), dbos.chmod('/', '0700');
SELECT dbos.get_xattr('/', 'user.a') = 'root', mode FROM dbos.stat('/');
ROLLBACK;
RESET SESSION AUTHORIZATION;
SELECT dbos.remove('/regress_fx', true);
DROP ROLE regress_fx_owner, regress_fx_other, regress_fx_admin;
