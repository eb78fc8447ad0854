-- Each container has files of its own, and no path, link or number leads from one to another.
-- SPDX-License-Identifier: PostgreSQL
CREATE ROLE file_container_ann LOGIN IN ROLE dbos_user;
SET ROLE file_container_ann;
SELECT dbos.create_container('files'), dbos.create_container('other'), dbos.create_container('inner', parent => 'files');
SELECT dbos.write_file('/outside', 'of the root'), dbos.mkdir('/shared'), dbos.write_file('/shared/x', 'of the root too');
RESET ROLE;

-- ---- a container that has no files yet ----
\c - file_container_ann
SELECT dbos.enter_container('files');
SELECT kind, mode, size, link_count FROM dbos.stat('/');
SELECT count(*) FROM dbos.ls('/');
SELECT dbos.read_file('/outside');
SELECT dbos.unlink('/outside');
-- A root that is rolled back was never there.
BEGIN;
SELECT dbos.write_file('/a', '1');
ROLLBACK;
SELECT count(*) FROM dbos.ls('/');
SELECT dbos.write_file('/a', 'of files'), dbos.mkdir('/d');
SELECT name, kind FROM dbos.ls('/');
-- A root that a function reads and another one makes in the same transaction.
SELECT link_count FROM dbos.stat('/');

-- ---- nothing leads out ----
SELECT dbos.read_text('/../outside'), dbos.read_text('/d/../../a');
SELECT dbos.read_text('/d/../../a');
SELECT dbos.symlink('/../../outside', '/d/up'), dbos.symlink('../../../shared', '/d/far'), dbos.symlink('../../../a', '/d/a');
SELECT dbos.read_text('/d/up');
SELECT dbos.ls('/d/far');
SELECT dbos.read_text('/d/a');
SELECT dbos.link('/d/up', '/e');
SELECT dbos.link('/../outside', '/f');
SELECT dbos.rename('/../shared', '/f');
SELECT dbos.rename('/a', '/../shared/a');
SELECT dbos.copy('/../shared/x', '/x');
SELECT dbos.unlink('/e');

-- ---- from another, and from inside ----
\c - file_container_ann
SELECT dbos.enter_container('other');
SELECT count(*) FROM dbos.ls('/');
SELECT dbos.read_text('/a');
SELECT dbos.write_file('/a', 'of other');
\c - file_container_ann
SELECT dbos.enter_container('files/inner');
SELECT dbos.write_file('/a', 'of inner');
SELECT dbos.read_text('/a'), dbos.read_text('/../a'), dbos.read_text('/../../a');
\c - file_container_ann
SELECT dbos.read_text('/a');
SELECT name FROM dbos.ls('/') WHERE name IN ('a', 'd', 'outside', 'shared') ORDER BY name;
-- What was found before is not what is found after: in one session, from one container into another.
SELECT dbos.read_text('/shared/x');
BEGIN;
SELECT dbos.enter_container('files');
SELECT dbos.read_text('/a');
SELECT dbos.read_text('/shared/x');
ROLLBACK;
SELECT dbos.read_text('/shared/x');

-- ---- counted and bounded ----
\c - postgres
SELECT dbos.fold_usage() >= 0 AS folded;
SELECT dbos.container_path(f.container_id) AS container, sum(u.names) AS names, sum(u.bytes) AS bytes
	FROM dbos.file_system f JOIN dbos.inode i ON i.file_system = f.container_id AND i.died = 2147483647 JOIN dbos.directory_usage u ON u.directory = i.inode
	GROUP BY 1 ORDER BY 1;
BEGIN;
SELECT dbos.enter_container('files');
SELECT dbos.set_quota('/', 100);
SELECT path, container, bytes, files FROM dbos.file_quotas;
SELECT dbos.set_role_quota('file_container_ann', 100);
ROLLBACK;
BEGIN;
SELECT dbos.enter_container('files');
SELECT dbos.set_quota('/', 100), dbos.set_quota('/d', 70);
COMMIT;
\c - postgres
SELECT path, container, bytes, files FROM dbos.file_quotas ORDER BY path;
SET ROLE file_container_ann;
SELECT dbos.enter_container('other');
SELECT count(*) FROM dbos.file_quotas;
SELECT dbos.write_file('/b', convert_to(repeat('x', 200), 'UTF8'));
\c - file_container_ann
SELECT dbos.enter_container('files');
SELECT path, container, bytes, files FROM dbos.file_quotas ORDER BY path;
SELECT dbos.write_file('/b', convert_to(repeat('x', 200), 'UTF8'));

-- ---- dropped when nothing is in it ----
\c - file_container_ann
SELECT dbos.drop_container('other');
BEGIN;
SELECT dbos.enter_container('other');
SELECT dbos.unlink('/a'), dbos.unlink('/b');
COMMIT;
\c - file_container_ann
BEGIN;
SELECT dbos.drop_container('other');
ROLLBACK;
BEGIN;
SELECT dbos.enter_container('other');
SELECT dbos.mkdir('/again');
SELECT dbos.rmdir('/again');
COMMIT;
\c - file_container_ann
SELECT dbos.drop_container('other');
SELECT dbos.drop_container('files/inner');
BEGIN;
SELECT dbos.enter_container('files/inner');
SELECT dbos.unlink('/a');
COMMIT;
\c - file_container_ann
SELECT dbos.drop_container('files/inner');
SELECT dbos.drop_container('files');
BEGIN;
SELECT dbos.enter_container('files');
SELECT dbos.unlink('/d/' || name) FROM dbos.ls('/d');
SELECT dbos.rmdir('/d'), dbos.unlink('/a');
COMMIT;
\c - file_container_ann
SELECT dbos.drop_container('files');
SELECT dbos.unlink('/outside'), dbos.unlink('/shared/x'), dbos.rmdir('/shared');
\c - postgres
SELECT count(*) FROM dbos.file_system f WHERE NOT EXISTS (SELECT FROM dbos.container c WHERE c.container_id = f.container_id);
SELECT count(*) FROM dbos.inode i WHERE file_system <> 0 AND NOT EXISTS (SELECT FROM dbos.container c WHERE c.container_id = i.file_system);
SELECT count(*) FROM dbos.file_quota;
SELECT dbos.fold_usage() >= 0 AS folded;
SELECT count(*) FROM dbos.directory_usage u WHERE NOT EXISTS (SELECT FROM dbos.inode i WHERE i.inode = u.directory);
DROP ROLE file_container_ann;
