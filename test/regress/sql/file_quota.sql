-- No directory and no role comes to have more than an administrator allows.
-- SPDX-License-Identifier: PostgreSQL
CREATE ROLE quota_ann LOGIN IN ROLE dbos_user;
CREATE ROLE quota_bob LOGIN IN ROLE dbos_user;
CREATE ROLE quota_admin LOGIN IN ROLE dbos_admin;
CREATE ROLE quota_monitor LOGIN IN ROLE dbos_monitor;
\set SHOW_CONTEXT never
SELECT dbos.mkdir('/quota'), dbos.chmod('/quota', 1023);

-- ---- who sets them, and on what ----
SET ROLE quota_ann;
SELECT dbos.mkdir('/quota/own');
SELECT dbos.set_quota('/quota/own', 10);
SELECT dbos.set_role_quota('quota_ann', 10);
SET ROLE quota_admin;
SELECT dbos.set_quota('/quota/missing', 10);
SELECT dbos.set_quota(NULL, 10);
SELECT dbos.set_quota('/quota/own', -1);
SELECT dbos.set_role_quota(NULL, 10);
SELECT dbos.set_role_quota('nobody_of_that_name', 10);
SELECT dbos.set_role_quota(4294967295::oid::regrole, 10);
SELECT dbos.write_file('/quota/file', 'abc');
SELECT dbos.set_quota('/quota/file', 10);
SELECT dbos.unlink('/quota/file');

-- ---- of a directory ----
SELECT dbos.set_quota('/quota/own', 20, 4);
SET ROLE quota_ann;
SELECT dbos.write_file('/quota/own/a', '1234567890');
DO $$
BEGIN
	PERFORM dbos.write_file('/quota/own/b', '12345678901');
EXCEPTION WHEN disk_full THEN
	RAISE NOTICE '%: %', SQLSTATE, SQLERRM;
END $$;
SELECT dbos.write_file('/quota/own/b', '12345678901');
SELECT dbos.write_file('/quota/own/b', '1234567890');
SELECT dbos.write_file('/quota/own/a', 'x', append => true);
SELECT dbos.write_at('/quota/own/a', 10, 'x');
SELECT dbos.truncate_file('/quota/own/a', 11);
SELECT dbos.link('/quota/own/a', '/quota/own/c');
SELECT dbos.copy('/quota/own/a', '/quota/own/c');
SELECT path, role, container, bytes, max_bytes, files, max_files FROM dbos.file_quotas;
-- What is taken away first is there to be used.
BEGIN;
SELECT dbos.unlink('/quota/own/b');
SELECT dbos.write_file('/quota/own/c', '123456789');
SELECT bytes, files FROM dbos.file_quotas;
SAVEPOINT s;
SELECT dbos.write_file('/quota/own/d', '1');
SELECT bytes, files FROM dbos.file_quotas;
ROLLBACK TO s;
SELECT bytes, files FROM dbos.file_quotas;
SELECT dbos.write_file('/quota/own/d', '1');
COMMIT;
-- Below it too, and the number of files.
SELECT dbos.mkdir('/quota/own/below');
SELECT dbos.symlink('/x', '/quota/own/s');
SELECT dbos.truncate_file('/quota/own/c', 0);
SELECT dbos.write_file('/quota/own/below/a', '');
SELECT dbos.rename('/quota/own/d', '/quota/own/below/d');
SELECT bytes, files FROM dbos.file_quotas;

-- ---- files and directories that come and go by their names ----
SELECT dbos.mkdir('/quota/heap'), dbos.mkdir('/quota/heap/deep');
SELECT dbos.write_file('/quota/heap/deep/x', '1234567890'), dbos.write_file('/quota/heap/y', '1');
SELECT dbos.unlink('/quota/own/below/d'), dbos.unlink('/quota/own/c');
SELECT bytes, files FROM dbos.file_quotas;
SELECT dbos.rename('/quota/heap', '/quota/own/heap');
SELECT dbos.unlink('/quota/heap/y');
SELECT dbos.rmdir('/quota/own/below');
SELECT dbos.rename('/quota/heap', '/quota/own/heap');
SELECT bytes, files FROM dbos.file_quotas;
SELECT dbos.write_file('/quota/own/heap/deep/x', '1', append => true);
-- From one place to another inside it nothing changes; out of it all of it goes.
SELECT dbos.rename('/quota/own/heap/deep', '/quota/own/deep');
SELECT bytes, files FROM dbos.file_quotas;
SELECT dbos.rename('/quota/own/deep', '/quota/deep');
SELECT bytes, files FROM dbos.file_quotas;
-- Moved, emptied and removed in one transaction.
BEGIN;
SELECT dbos.rename('/quota/deep', '/quota/own/deep');
SELECT dbos.unlink('/quota/own/deep/x');
SELECT dbos.rmdir('/quota/own/deep');
SELECT dbos.rename('/quota/own/heap', '/quota/heap');
SELECT dbos.write_file('/quota/heap/z', '123');
SELECT dbos.rename('/quota/heap', '/quota/own/heap');
SELECT bytes, files FROM dbos.file_quotas;
COMMIT;
SELECT bytes, files FROM dbos.file_quotas;

-- ---- one in another; set where more is used already; set for what this transaction has made ----
SET ROLE quota_admin;
SELECT dbos.set_quota('/quota', 1000);
SELECT dbos.set_quota('/quota/own/heap', 2);
SELECT path, bytes, max_bytes, files FROM dbos.file_quotas ORDER BY path;
SET ROLE quota_ann;
SELECT dbos.write_file('/quota/own/heap/z', '123');
SELECT dbos.write_file('/quota/own/heap/z', '1234');
SELECT dbos.write_file('/quota/own/heap/z', '1');
SELECT dbos.write_file('/quota/own/heap/z', '123');
SET ROLE quota_admin;
BEGIN;
SELECT dbos.mkdir('/quota/new'), dbos.write_file('/quota/new/a', '123');
SELECT dbos.set_quota('/quota/new', 5);
SELECT dbos.write_file('/quota/new/b', '12');
SAVEPOINT s;
SELECT dbos.write_file('/quota/new/c', '1');
ROLLBACK TO s;
COMMIT;
SELECT path, bytes, max_bytes, files FROM dbos.file_quotas ORDER BY path;
-- With the directory the quota goes; a transaction that is rolled back keeps it.
BEGIN;
SELECT dbos.unlink('/quota/new/a'), dbos.unlink('/quota/new/b'), dbos.rmdir('/quota/new');
ROLLBACK;
SELECT path, bytes FROM dbos.file_quotas WHERE path = '/quota/new';
SELECT dbos.unlink('/quota/new/a'), dbos.unlink('/quota/new/b'), dbos.rmdir('/quota/new');
SELECT path, bytes FROM dbos.file_quotas ORDER BY path;
-- Lifted.
SELECT dbos.set_quota('/quota/own/heap', NULL), dbos.set_quota('/quota', NULL, NULL), dbos.set_quota('/quota/own', NULL, NULL);
SELECT dbos.set_quota('/quota/own', NULL);
SELECT count(*) FROM dbos.file_quotas;

-- ---- of a role ----
SELECT dbos.set_role_quota('quota_ann', 30, 8);
SELECT role, bytes, max_bytes, files, max_files FROM dbos.file_quotas;
SET ROLE quota_ann;
SELECT dbos.write_file('/quota/own/e', '123456789012345678901');
SET ROLE quota_bob;
SELECT dbos.write_file('/quota/bob', '123456789012345678901');
SELECT count(*) FROM dbos.file_quotas;
-- Two names of a file are one of its owner; a file that is given away is the new owner's.
SET ROLE quota_ann;
SELECT dbos.link('/quota/own/a', '/quota/own/f');
RESET ROLE;
SELECT dbos.chown('/quota/bob', 'quota_ann');
SELECT dbos.chown('/quota/own/a', 'quota_bob');
SELECT dbos.chown('/quota/bob', 'quota_ann');
SELECT role, bytes, files FROM dbos.file_quotas;
SET ROLE quota_ann;
SELECT dbos.mkdir('/quota/own/n' || n) FROM generate_series(1, 5) n;
SELECT dbos.mkdir('/quota/own/n' || n) FROM generate_series(1, 4) n;
SELECT role, bytes, files FROM dbos.file_quotas;
-- A monitor sees them all, and nobody else what is not theirs.
SET ROLE quota_monitor;
SELECT role, bytes, files FROM dbos.file_quotas;
SELECT dbos.set_role_quota('quota_ann', NULL);
SET ROLE quota_ann;
SELECT * FROM dbos.file_quota;
RESET ROLE;
SELECT dbos.set_role_quota('quota_ann', NULL);

-- ---- a directory that may not be reached is not told of ----
SELECT dbos.mkdir('/quota/secret'), dbos.chmod('/quota/secret', 448), dbos.mkdir('/quota/secret/in');
SELECT dbos.set_quota('/quota/secret/in', 1);
SET ROLE quota_ann;
SELECT count(*) FROM dbos.file_quotas;
SET ROLE quota_monitor;
SELECT path FROM dbos.file_quotas;
RESET ROLE;

-- ---- a prepared transaction ----
SELECT dbos.mkdir('/quota/two'), dbos.set_quota('/quota/two', 5);
BEGIN;
SELECT dbos.write_file('/quota/two/a', '123');
PREPARE TRANSACTION 'quota';
SELECT bytes FROM dbos.file_quotas WHERE path = '/quota/two';
COMMIT PREPARED 'quota';
SELECT bytes FROM dbos.file_quotas WHERE path = '/quota/two';
SELECT dbos.write_file('/quota/two/b', '123');

-- ---- all gone ----
DO $$
DECLARE
	at text;
BEGIN
	FOR at IN WITH RECURSIVE t(path, kind, depth) AS (SELECT '/quota', 'directory', 0 UNION ALL
			SELECT t.path || '/' || l.name, l.kind, depth + 1 FROM t, LATERAL dbos.ls(t.path) l WHERE t.kind = 'directory')
		SELECT path FROM t ORDER BY depth DESC
	LOOP
		IF (SELECT kind FROM dbos.stat(at)) = 'directory' THEN PERFORM dbos.rmdir(at); ELSE PERFORM dbos.unlink(at); END IF;
	END LOOP;
END $$;
SELECT count(*) FROM dbos.file_quota;
DROP ROLE quota_ann, quota_bob, quota_admin, quota_monitor;
