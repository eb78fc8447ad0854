-- A tree is removed wholly or not at all, as the rights in each of its directories say, however deep and wide it is.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_fd_owner LOGIN IN ROLE dbos_user;
CREATE ROLE regress_fd_other LOGIN IN ROLE dbos_user;
CREATE FUNCTION pg_temp.owned(role regrole, OUT names bigint, OUT directories bigint, OUT bytes bigint, OUT files bigint, OUT file_bytes bigint) LANGUAGE sql AS
	'SELECT coalesce(sum(names), 0), coalesce(sum(directories), 0), coalesce(sum(bytes), 0), coalesce(sum(files), 0), coalesce(sum(file_bytes), 0)
	 FROM (SELECT * FROM dbos.directory_usage UNION ALL SELECT * FROM dbos.directory_change) u WHERE owner = $1';
SELECT dbos.mkdir('/regress_fd'), dbos.chmod('/regress_fd', '0777');
SET SESSION AUTHORIZATION regress_fd_owner;
-- One file, one link, one empty directory.
SELECT dbos.write_text('/regress_fd/file', 'content'), dbos.symlink('file', '/regress_fd/link'), dbos.mkdir('/regress_fd/empty');
SELECT dbos.remove('/regress_fd/link');
SELECT dbos.read_text('/regress_fd/file');
SELECT dbos.remove('/regress_fd/empty/');
SELECT dbos.remove('/regress_fd/file/');
SELECT dbos.remove('/regress_fd/file', true);
SELECT dbos.remove('/regress_fd/file');
SELECT dbos.remove('/regress_fd/none/file');
SELECT dbos.remove('/');
SELECT dbos.remove('/', true);
SELECT dbos.remove('/regress_fd/.', true);
SELECT dbos.remove(NULL) IS NULL, dbos.remove('/regress_fd', NULL) IS NULL;
-- A tree with all there is.
CREATE PROCEDURE pg_temp.tree() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dbos.mkdir('/regress_fd/outside'), dbos.write_text('/regress_fd/outside/file', 'outside');
	PERFORM dbos.mkdir('/regress_fd/tree/a/b/c', parents => true), dbos.mkdir('/regress_fd/tree/d');
	PERFORM dbos.write_text('/regress_fd/tree/file', 'one'), dbos.write_file('/regress_fd/tree/a/b/large', decode(repeat('78', 100000), 'hex'));
	PERFORM dbos.copy('/regress_fd/tree/a/b/large', '/regress_fd/tree/a/copy');
	PERFORM dbos.link('/regress_fd/tree/file', '/regress_fd/tree/a/same'), dbos.link('/regress_fd/tree/file', '/regress_fd/tree/a/b/same');
	PERFORM dbos.link('/regress_fd/outside/file', '/regress_fd/tree/d/outside');
	PERFORM dbos.symlink('/regress_fd/outside', '/regress_fd/tree/d/link'), dbos.symlink('.', '/regress_fd/tree/loop');
	PERFORM dbos.set_xattr('/regress_fd/tree/a', 'user.a', 'directory'), dbos.set_xattr('/regress_fd/tree/a/copy', 'user.a', 'file');
	PERFORM dbos.write_text('/regress_fd/tree/\377', 'bytes'), dbos.write_text('/regress_fd/tree/' || repeat('n', 255), 'long');
	PERFORM dbos.rename('/regress_fd/tree/a/b/large', '/regress_fd/tree/d/large');
END $$;
CALL pg_temp.tree();
RESET SESSION AUTHORIZATION;
SELECT * FROM pg_temp.owned('regress_fd_owner');
SET SESSION AUTHORIZATION regress_fd_owner;
SELECT dbos.remove('/regress_fd/tree');
SELECT dbos.remove('/regress_fd/tree/loop/', true);
BEGIN;
SELECT dbos.remove('/regress_fd/tree', true);
SELECT name FROM dbos.ls('/regress_fd');
ROLLBACK;
SELECT count(*) FROM dbos.ls('/regress_fd/tree');
BEGIN;
SAVEPOINT s;
SELECT dbos.remove('/regress_fd/tree', true);
ROLLBACK TO s;
SELECT dbos.remove('/regress_fd/tree/a', true);
COMMIT;
SELECT left(name, 8) AS name, kind FROM dbos.ls('/regress_fd/tree');
SELECT dbos.remove('/regress_fd/tree', true);
SELECT name FROM dbos.ls('/regress_fd');
SELECT dbos.read_text('/regress_fd/outside/file'), link_count FROM dbos.stat('/regress_fd/outside/file');
-- It can be made again in the same transaction, and removed again.
BEGIN;
SELECT dbos.remove('/regress_fd/outside', true);
CALL pg_temp.tree();
SELECT dbos.remove('/regress_fd/outside', true);
SELECT dbos.remove('/regress_fd/tree', true);
COMMIT;
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM dbos.ls('/regress_fd');
SELECT * FROM pg_temp.owned('regress_fd_owner');
-- Nothing of it is left in any table; what copies may have shared is noted to be freed.
SELECT (SELECT count(*) FROM dbos.inode i WHERE i.owner = 'regress_fd_owner'::regrole) AS inodes,
	(SELECT count(*) FROM dbos.directory_entry e WHERE NOT EXISTS (SELECT FROM dbos.inode i WHERE i.inode = e.child)) AS entries,
	(SELECT count(*) FROM dbos.xattr x WHERE NOT EXISTS (SELECT FROM dbos.inode i WHERE i.inode = x.inode)) AS attributes,
	(SELECT count(*) FROM dbos.extent x WHERE NOT EXISTS (SELECT FROM dbos.inode i WHERE i.inode = x.inode)) AS extents;
-- ---- rights on each level; nothing is gone when something stays ----
SET SESSION AUTHORIZATION regress_fd_owner;
SELECT dbos.mkdir('/regress_fd/mine/sub', parents => true), dbos.mkdir('/regress_fd/mine/shared'), dbos.chmod('/regress_fd/mine/shared', '0777');
SELECT dbos.write_text('/regress_fd/mine/sub/file', '1');
SET SESSION AUTHORIZATION regress_fd_other;
SELECT dbos.remove('/regress_fd/mine', true);
SELECT dbos.mkdir('/regress_fd/mine/shared/others'), dbos.write_text('/regress_fd/mine/shared/others/file', '2');
SET SESSION AUTHORIZATION regress_fd_owner;
SELECT dbos.remove('/regress_fd/mine', true);
-- An empty directory of another's goes; the sticky bit keeps it; and one that nobody may read.
SET SESSION AUTHORIZATION regress_fd_other;
SELECT dbos.remove('/regress_fd/mine/shared/others/file');
SET SESSION AUTHORIZATION regress_fd_owner;
BEGIN;
SELECT dbos.remove('/regress_fd/mine', true);
ROLLBACK;
SELECT dbos.chmod('/regress_fd/mine/sub', '0333');
SELECT dbos.remove('/regress_fd/mine', true);
SELECT dbos.chmod('/regress_fd/mine/sub', '0700');
SELECT dbos.chmod('/regress_fd/mine/shared', '1777');
SET SESSION AUTHORIZATION regress_fd_other;
SELECT dbos.remove('/regress_fd/mine/shared', true);
RESET SESSION AUTHORIZATION;
SELECT dbos.chown('/regress_fd/mine/shared', 'postgres');
SET SESSION AUTHORIZATION regress_fd_owner;
SELECT dbos.remove('/regress_fd/mine/shared', true);
SELECT dbos.remove('/regress_fd/mine', true);
SELECT name FROM dbos.ls('/regress_fd/mine');
BEGIN READ ONLY;
SELECT dbos.remove('/regress_fd/mine', true);
ROLLBACK;
RESET SESSION AUTHORIZATION;
SELECT dbos.remove('/regress_fd/mine', true);
-- ---- 1,000 levels, and 5,000 names with 500 directories among them ----
SET SESSION AUTHORIZATION regress_fd_owner;
DO $$
DECLARE
	path text := '/regress_fd/deep';
BEGIN
	FOR level IN 1 .. 1000 LOOP
		PERFORM dbos.mkdir(path), dbos.write_text(path || '/file', level::text);
		path := path || '/d';
	END LOOP;
END $$;
SELECT dbos.mkdir('/regress_fd/deep/wide');
SELECT count(CASE WHEN i % 10 = 0 THEN dbos.mkdir('/regress_fd/deep/wide/' || i)::text ELSE dbos.write_text('/regress_fd/deep/wide/' || i, '')::text END)
FROM generate_series(1, 5000) i;
-- The path of what is in the way is told.
RESET SESSION AUTHORIZATION;
SELECT dbos.chown('/regress_fd/deep/d/d/d', 'postgres');
SET SESSION AUTHORIZATION regress_fd_owner;
SELECT dbos.remove('/regress_fd/deep', true);
SELECT count(*) FROM dbos.ls('/regress_fd/deep/wide');
RESET SESSION AUTHORIZATION;
SELECT dbos.chown('/regress_fd/deep/d/d/d', 'regress_fd_owner');
SET SESSION AUTHORIZATION regress_fd_owner;
SELECT dbos.remove('/regress_fd/deep', true);
RESET SESSION AUTHORIZATION;
SELECT * FROM pg_temp.owned('regress_fd_owner');
-- ---- for a snapshot it stays ----
CALL pg_temp.tree();
SELECT inode AS directory FROM dbos.stat('/regress_fd/tree/a') \gset
SELECT inode AS file FROM dbos.stat('/regress_fd/tree/a/copy') \gset
INSERT INTO dbos.snapshot (name, epoch, root, container_id, owner, created_at, path) SELECT 'regress_fd', last_value, 1, 0, 'regress_fd_owner', now(), '/' FROM dbos.file_epoch;
SELECT count(nextval('dbos.file_epoch')) FROM generate_series(1, 2);
SELECT dbos.remove('/regress_fd', true);
SELECT (SELECT count(*) FROM dbos.inode WHERE inode = :directory) AS directory, (SELECT count(*) FROM dbos.inode WHERE inode = :file) AS file,
	(SELECT count(*) FROM dbos.directory_entry WHERE parent = :directory) AS entries, (SELECT count(*) FROM dbos.xattr WHERE inode = :file) AS attributes,
	(SELECT count(*) > 0 FROM dbos.extent WHERE inode = :file) AS content;
DELETE FROM dbos.snapshot WHERE name = 'regress_fd';
SELECT count(*) FROM dbos.reclaim_files();
DROP PROCEDURE pg_temp.tree;
DROP ROLE regress_fd_owner, regress_fd_other;
