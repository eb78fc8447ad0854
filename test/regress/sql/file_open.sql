-- An open file is read, written and locked by its handle, whatever becomes of its names, and is gone with its last name and its last handle.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
-- Handles are told in errors.
ALTER SEQUENCE dbos.file_handle RESTART;
CREATE ROLE regress_fo_owner LOGIN IN ROLE dbos_user;
CREATE ROLE regress_fo_member LOGIN IN ROLE dbos_user, regress_fo_owner;
CREATE ROLE regress_fo_other LOGIN IN ROLE dbos_user;
CREATE ROLE regress_fo_monitor LOGIN IN ROLE dbos_monitor;
CREATE FUNCTION pg_temp.owned(role regrole, OUT names bigint, OUT bytes bigint, OUT files bigint, OUT file_bytes bigint) LANGUAGE sql AS
	'SELECT coalesce(sum(names), 0), coalesce(sum(bytes), 0), coalesce(sum(files), 0), coalesce(sum(file_bytes), 0)
	 FROM (SELECT * FROM dbos.directory_usage UNION ALL SELECT * FROM dbos.directory_change) u WHERE owner = $1';
SELECT dbos.mkdir('/regress_fo'), dbos.chmod('/regress_fo', '0777');
SET SESSION AUTHORIZATION regress_fo_owner;
-- ---- modes, as of fopen(3) ----
SELECT dbos.write_text('/regress_fo/file', 'content');
SELECT dbos.open_file('/regress_fo/file') AS r \gset
SELECT dbos.open_file('/regress_fo/file', 'r+') AS rw \gset
SELECT dbos.open_file('/regress_fo/file', 'a') AS a \gset
SELECT path, mode, unlinked, size, role, process_id = pg_backend_pid() AS here, opened_at <= clock_timestamp() AS opened FROM dbos.open_files ORDER BY handle;
SELECT convert_from(dbos.read_open_file(:r), 'UTF8'), convert_from(dbos.read_open_file(:rw, 3, 2), 'UTF8'), dbos.read_open_file(:r, 7), dbos.read_open_file(:r, 100, 5);
SELECT dbos.write_open_file(:rw, 0, 'CON');
SELECT dbos.write_open_file(:rw, 9, '.');
SELECT dbos.write_open_file(:a, 0, 'end');
SELECT encode(dbos.read_file('/regress_fo/file'), 'escape');
SELECT dbos.truncate_open_file(:rw, 3);
SELECT dbos.write_open_file(:a, 0, '!');
SELECT dbos.read_text('/regress_fo/file');
SELECT dbos.write_open_file(:r, 0, 'x');
SELECT dbos.truncate_open_file(:r, 0);
SELECT dbos.read_open_file(:a);
SELECT dbos.read_open_file(:r, -1);
SELECT dbos.read_open_file(:r, 0, -1);
SELECT dbos.write_open_file(:rw, -1, 'x');
SELECT dbos.write_open_file(:rw, 9223372036854775807, 'x');
SELECT dbos.truncate_open_file(:rw, -1);
SELECT dbos.read_open_file(NULL) IS NULL, dbos.open_file(NULL) IS NULL, dbos.write_open_file(:rw, NULL, 'x') IS NULL, dbos.close_file(NULL) IS NULL;
SELECT dbos.open_file('/regress_fo/file', 'x');
SELECT dbos.open_file('/regress_fo/none');
SELECT dbos.open_file('/regress_fo/none', 'r+');
SELECT dbos.open_file('/regress_fo');
SELECT dbos.open_file('/regress_fo/file', 'wx');
SELECT dbos.open_file('/regress_fo/new', 'wx') AS new \gset
SELECT dbos.write_open_file(:new, 5, 'new');
SELECT dbos.open_file('/regress_fo/new', 'w+') AS emptied \gset
SELECT size, kind, mode, storage FROM dbos.stat_open_file(:new);
SELECT dbos.close_file(:new), dbos.close_file(:emptied);
SELECT dbos.close_file(:new);
SELECT dbos.read_open_file(:new);
SELECT dbos.stat_open_file(:new);
-- Through a symbolic link.
SELECT dbos.symlink('file', '/regress_fo/link');
SELECT dbos.open_file('/regress_fo/link') AS link \gset
SELECT path FROM dbos.open_files WHERE handle = :link;
SELECT dbos.close_file(:link);
-- ---- rights: asked for when it is opened, and never again ----
SET SESSION AUTHORIZATION regress_fo_other;
SELECT dbos.open_file('/regress_fo/file', 'r+');
SELECT dbos.open_file('/regress_fo/file', 'a');
SELECT dbos.open_file('/regress_fo/file') AS other \gset
SET SESSION AUTHORIZATION regress_fo_owner;
SELECT dbos.chmod('/regress_fo/file', '0000');
SELECT dbos.write_open_file(:rw, 0, 'c');
SELECT dbos.open_file('/regress_fo/file');
SET SESSION AUTHORIZATION regress_fo_other;
SELECT convert_from(dbos.read_open_file(:other), 'UTF8');
SELECT dbos.open_file('/regress_fo/file');
-- A handle is for its role, and for who has that.
SELECT dbos.read_open_file(:r);
SELECT dbos.write_open_file(:rw, 0, 'x');
SELECT dbos.close_file(:rw);
SELECT count(*) FROM dbos.open_files WHERE role <> 'regress_fo_other'::regrole;
SET SESSION AUTHORIZATION regress_fo_member;
SELECT convert_from(dbos.read_open_file(:r), 'UTF8');
SELECT dbos.read_open_file(:other);
SELECT count(DISTINCT role) FROM dbos.open_files;
SET SESSION AUTHORIZATION regress_fo_monitor;
SELECT role, count(*) FROM dbos.open_files WHERE path LIKE '/regress_fo/%' GROUP BY role ORDER BY role::text;
SELECT dbos.open_file('/regress_fo/file');
SELECT dbos.sweep_open_files();
RESET SESSION AUTHORIZATION;
-- What a function of another opens is the other's.
CREATE FUNCTION pg_temp.open_as_owner(path text) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'SELECT dbos.open_file(path)';
GRANT USAGE ON SCHEMA dbos TO regress_fo_owner;
ALTER FUNCTION pg_temp.open_as_owner(text) OWNER TO regress_fo_owner;
GRANT EXECUTE ON FUNCTION pg_temp.open_as_owner(text) TO PUBLIC;
SELECT dbos.write_text('/regress_fo/secret', 'secret'), dbos.chown('/regress_fo/secret', 'regress_fo_owner'), dbos.chmod('/regress_fo/secret', '0600');
SET SESSION AUTHORIZATION regress_fo_other;
SELECT dbos.open_file('/regress_fo/secret');
SELECT pg_temp.open_as_owner('/regress_fo/secret') AS secret \gset
SELECT dbos.read_open_file(:secret);
RESET SESSION AUTHORIZATION;
DROP FUNCTION pg_temp.open_as_owner(text);
REVOKE USAGE ON SCHEMA dbos FROM regress_fo_owner;
SELECT dbos.close_file(:secret), dbos.unlink('/regress_fo/secret');
-- A container has none of it.
BEGIN;
SELECT dbos.create_container('regress_fo');
SELECT dbos.enter_container('regress_fo');
SELECT count(*) FROM dbos.open_files;
SELECT dbos.read_open_file(:r);
ROLLBACK;
SET SESSION AUTHORIZATION regress_fo_owner;
-- ---- without a name ----
SELECT dbos.chmod('/regress_fo/file', '0644');
SELECT dbos.set_xattr('/regress_fo/file', 'user.a', 'attribute');
SELECT inode AS inode FROM dbos.stat('/regress_fo/file') \gset
RESET SESSION AUTHORIZATION;
SELECT * FROM pg_temp.owned('regress_fo_owner');
SET SESSION AUTHORIZATION regress_fo_owner;
SELECT dbos.link('/regress_fo/file', '/regress_fo/same');
SELECT dbos.unlink('/regress_fo/file');
SELECT DISTINCT path, unlinked FROM dbos.open_files;
BEGIN;
SELECT dbos.unlink('/regress_fo/same');
SELECT DISTINCT path, unlinked, size FROM dbos.open_files WHERE unlinked;
ROLLBACK;
SELECT DISTINCT path, unlinked FROM dbos.open_files;
-- By a rename over it.
SELECT dbos.write_text('/regress_fo/over', 'over'), dbos.rename('/regress_fo/over', '/regress_fo/same');
SELECT DISTINCT path, unlinked, inode = :inode AS same FROM dbos.open_files;
SELECT link_count, size FROM dbos.stat_open_file(:r);
SELECT dbos.write_open_file(:rw, 0, convert_to(repeat('large ', 4000), 'UTF8'));
SELECT dbos.write_open_file(:a, 0, 'end'), size, storage FROM dbos.stat_open_file(:r);
SELECT size FROM dbos.stat_open_file(:r);
SELECT convert_from(dbos.read_open_file(:r, 23990), 'UTF8');
RESET SESSION AUTHORIZATION;
-- It is its owner's still, and no directory's.
SELECT * FROM pg_temp.owned('regress_fo_owner');
SELECT (SELECT count(*) FROM dbos.unlinked_file WHERE inode = :inode), (SELECT count(*) FROM dbos.xattr WHERE inode = :inode), (SELECT count(*) > 0 FROM dbos.extent WHERE inode = :inode);
SET SESSION AUTHORIZATION regress_fo_owner;
-- Closed and rolled back; closed for good.
BEGIN;
SELECT dbos.close_file(:r), dbos.close_file(:rw), dbos.close_file(:a);
ROLLBACK;
SELECT dbos.close_file(:r), dbos.close_file(:rw), dbos.close_file(:a);
SET SESSION AUTHORIZATION regress_fo_other;
SELECT length(dbos.read_open_file(:other));
SELECT dbos.close_file(:other);
RESET SESSION AUTHORIZATION;
SELECT (SELECT count(*) FROM dbos.inode WHERE inode = :inode), (SELECT count(*) FROM dbos.unlinked_file WHERE inode = :inode), (SELECT count(*) FROM dbos.xattr WHERE inode = :inode),
	(SELECT count(*) FROM dbos.extent WHERE inode = :inode);
SELECT * FROM pg_temp.owned('regress_fo_owner');
-- Opened, unlinked and closed in one transaction; made, unlinked and left open by one that rolls back.
SET SESSION AUTHORIZATION regress_fo_owner;
BEGIN;
SELECT dbos.open_file('/regress_fo/brief', 'w+') AS brief \gset
SELECT dbos.unlink('/regress_fo/brief'), dbos.write_open_file(:brief, 0, 'brief');
SELECT dbos.read_open_file(:brief), link_count FROM dbos.stat_open_file(:brief);
SAVEPOINT s;
SELECT dbos.close_file(:brief);
ROLLBACK TO s;
SELECT dbos.close_file(:brief);
COMMIT;
BEGIN;
SELECT dbos.open_file('/regress_fo/brief', 'w+') AS brief \gset
SELECT dbos.unlink('/regress_fo/brief');
ROLLBACK;
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM dbos.open_file;
SELECT count(*) FROM dbos.unlinked_file;
SELECT * FROM pg_temp.owned('regress_fo_owner');
-- A snapshot that shows it keeps the version that had a name; what is written without one it does not show.
SET SESSION AUTHORIZATION regress_fo_owner;
SELECT dbos.write_text('/regress_fo/shown', 'shown');
SELECT dbos.open_file('/regress_fo/shown', 'r+') AS shown \gset
RESET SESSION AUTHORIZATION;
SELECT dbos.snapshot('/regress_fo', 'regress_fo') > 0 AS taken;
SELECT dbos.unlink('/regress_fo/shown');
SET SESSION AUTHORIZATION regress_fo_owner;
SELECT dbos.write_open_file(:shown, 0, 'other');
RESET SESSION AUTHORIZATION;
SELECT encode(dbos.read_snapshot('regress_fo', '/regress_fo/shown'), 'escape');
SET SESSION AUTHORIZATION regress_fo_owner;
SELECT dbos.close_file(:shown);
RESET SESSION AUTHORIZATION;
SELECT encode(dbos.read_snapshot('regress_fo', '/regress_fo/shown'), 'escape');
SELECT dbos.drop_snapshot('regress_fo');
-- With a whole tree.
SET SESSION AUTHORIZATION regress_fo_owner;
SELECT dbos.mkdir('/regress_fo/tree/sub', parents => true), dbos.write_text('/regress_fo/tree/sub/file', 'in a tree');
SELECT dbos.open_file('/regress_fo/tree/sub/file') AS treed \gset
SELECT dbos.remove('/regress_fo/tree', true);
SELECT convert_from(dbos.read_open_file(:treed), 'UTF8');
SELECT dbos.close_file(:treed);
RESET SESSION AUTHORIZATION;
SELECT * FROM pg_temp.owned('regress_fo_owner');
-- ---- a session that is gone ----
\c - regress_fo_owner
SELECT dbos.write_text('/regress_fo/left', 'left'), dbos.write_text('/regress_fo/named', 'named');
SELECT inode AS inode FROM dbos.stat('/regress_fo/left') \gset
SELECT dbos.open_file('/regress_fo/left', 'r+') AS gone \gset
SELECT dbos.open_file('/regress_fo/named') AS gone_too \gset
SELECT dbos.unlink('/regress_fo/left');
SELECT dbos.lock_file(:gone);
SELECT pg_backend_pid() AS pid \gset
\c - postgres
SET client_min_messages = warning;
-- Until it is swept away it is there; the background does so too.
DO $$
BEGIN
	FOR i IN 1 .. 1000 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'regress_fo_owner');
		PERFORM pg_stat_clear_snapshot(), pg_sleep(0.01);
	END LOOP;
END $$;
SELECT dbos.sweep_open_files() >= 0 AS swept;
SELECT count(*) FROM dbos.open_files;
SELECT count(*) FROM dbos.file_lock;
SELECT (SELECT count(*) FROM dbos.inode WHERE inode = :inode), (SELECT count(*) FROM dbos.unlinked_file);
SELECT dbos.read_text('/regress_fo/named');
SELECT dbos.read_open_file(:gone);
-- ---- nothing on the way ----
BEGIN READ ONLY;
SELECT dbos.open_file('/regress_fo/named');
ROLLBACK;
BEGIN READ ONLY;
SELECT dbos.close_file(1);
ROLLBACK;
-- ---- locks ----
SELECT dbos.open_file('/regress_fo/named', 'r+') AS one \gset
SELECT dbos.open_file('/regress_fo/named', 'r+') AS two \gset
SELECT dbos.open_file('/regress_fo/named') AS reader \gset
SELECT dbos.lock_file(:one, true, 10, 10, wait => false);
SELECT dbos.lock_file(:two, true, 10, 1, wait => false), dbos.lock_file(:two, false, 19, 1, wait => false), dbos.lock_file(:two, true, 0, 10, wait => false), dbos.lock_file(:two, true, 20, NULL, wait => false);
SELECT path, kind, start, length, handle = :one AS one, owner, role FROM dbos.file_locks ORDER BY start;
SELECT kind, locked_from, locked_length, process_id = pg_backend_pid() AS here FROM dbos.lock_conflict(:two, false);
SELECT kind FROM dbos.lock_conflict(:two, true, 0, 10);
SELECT kind, locked_from, locked_length FROM dbos.lock_conflict(:one, false, 1000);
-- Shared by many, and taken by one who had it shared only when he is alone with it.
SELECT dbos.unlock_file(:one), dbos.unlock_file(:two);
SELECT dbos.lock_file(:one, false, wait => false), dbos.lock_file(:two, false, 5, 5, wait => false), dbos.lock_file(:reader, false, wait => false);
SELECT dbos.lock_file(:one, true, wait => false);
SELECT dbos.lock_file(:reader, true, wait => false);
SELECT dbos.unlock_file(:reader), dbos.unlock_file(:two);
SELECT dbos.lock_file(:one, true, wait => false);
SELECT kind, start, length FROM dbos.file_locks;
-- In the middle it is given up, and shared; what lies around stays.
SELECT dbos.unlock_file(:one, 10, 10), dbos.lock_file(:one, false, 30, 10, wait => false);
SELECT kind, start, length FROM dbos.file_locks ORDER BY start;
SELECT dbos.lock_file(:two, true, 12, 3, wait => false), dbos.lock_file(:two, false, 35, 2, wait => false), dbos.lock_file(:two, true, 35, 2, wait => false);
SELECT dbos.unlock_file(:one, 0, 25), dbos.unlock_file(:one, 33, 1);
SELECT kind, start, length FROM dbos.file_locks WHERE handle = :one ORDER BY start;
-- A rollback gives back what was taken and what was given up.
BEGIN;
SELECT dbos.unlock_file(:one), dbos.lock_file(:two, true, 1000, 10, wait => false);
ROLLBACK;
SELECT count(*) FILTER (WHERE handle = :one) AS one, count(*) FILTER (WHERE handle = :two) AS two FROM dbos.file_locks;
-- With an owner of one's own it is his by whichever handle, and others' not even by the same.
SELECT dbos.unlock_file(:one), dbos.unlock_file(:two);
SELECT dbos.lock_file(:one, true, 0, 10, wait => false, owner => 7), dbos.lock_file(:two, true, 5, 10, wait => false, owner => 7), dbos.lock_file(:one, true, 14, 1, wait => false, owner => 8);
SELECT dbos.lock_file(:one, true, 0, 1, wait => false);
SELECT owner, kind, start, length FROM dbos.file_locks ORDER BY start;
SELECT dbos.unlock_file(:two, owner => 7);
SELECT count(*) FROM dbos.file_locks;
-- Gone with the handle.
SELECT dbos.lock_file(:one, wait => false);
SELECT dbos.close_file(:one);
SELECT count(*) FROM dbos.file_lock;
SELECT dbos.lock_file(:two, wait => false);
SELECT dbos.lock_file(:two, true, -1, 1), 1;
SELECT dbos.lock_file(:two, true, 0, 0), 1;
SELECT dbos.lock_file(:two, true, 1, 9223372036854775807), 1;
SELECT dbos.lock_file(:one);
SELECT dbos.unlock_file(:one);
SELECT dbos.lock_conflict(:one);
SELECT dbos.lock_file(NULL) IS NULL, dbos.unlock_file(NULL) IS NULL, dbos.lock_conflict(NULL) IS NULL;
-- Who waits for long may say for how long.
SET lock_timeout = '20 ms';
SELECT dbos.lock_file(:reader, false);
RESET lock_timeout;
SET statement_timeout = '20 ms';
SELECT dbos.lock_file(:reader, false);
RESET statement_timeout;
SELECT dbos.close_file(handle) FROM dbos.open_files;
SELECT dbos.remove('/regress_fo', true);
SELECT * FROM dbos.open_files;
DROP ROLE regress_fo_owner, regress_fo_member, regress_fo_other, regress_fo_monitor;
