-- When a file was read is noted once after it was written and once in a day, at the commit of who read it, and never where that would cost somebody something.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT dbos.mkdir('/regress_fc');
SELECT dbos.write_text('/regress_fc/file', 'content'), dbos.write_text('/regress_fc/other', 'content');
-- By the clock a file is as old as is said here; seconds since then it was read.
CREATE FUNCTION pg_temp.aged(path text, written interval, read interval) RETURNS void LANGUAGE sql AS
	'UPDATE dbos.inode SET modified = n - m, changed = n - m, accessed = n - r
	 FROM (SELECT (extract(epoch FROM now()) * 1000000)::bigint * 1000 AS n, (extract(epoch FROM $2) * 1000000000)::bigint AS m, (extract(epoch FROM $3) * 1000000000)::bigint AS r) t
	 WHERE inode = (SELECT inode FROM dbos.stat($1)) AND died = 2147483647';
CREATE FUNCTION pg_temp.just_read(path text) RETURNS boolean LANGUAGE sql AS
	'SELECT accessed_at > now() - interval ''1 minute'' FROM dbos.stat($1)';
-- Read since it was written, but not for a day; read after that; not yet read.
SELECT written, read, pg_temp.aged('/regress_fc/file', written, read), dbos.read_text('/regress_fc/file')
FROM (VALUES (interval '3 days', interval '25 hours')) v (written, read);
SELECT pg_temp.just_read('/regress_fc/file');
SELECT pg_temp.aged('/regress_fc/file', '3 days', '23 hours');
SELECT dbos.read_text('/regress_fc/file');
SELECT pg_temp.just_read('/regress_fc/file');
SELECT pg_temp.aged('/regress_fc/file', '1 hour', '2 hours');
SELECT dbos.read_file('/regress_fc/file', 2, 3);
SELECT pg_temp.just_read('/regress_fc/file');
-- The row is not written again.
SELECT ctid AS ctid FROM dbos.inode WHERE inode = (SELECT inode FROM dbos.stat('/regress_fc/file')) \gset
SELECT dbos.read_text('/regress_fc/file');
SELECT ctid = :'ctid' AS same FROM dbos.inode WHERE inode = (SELECT inode FROM dbos.stat('/regress_fc/file'));
-- What it says else stays as it was.
SELECT modified < accessed AND changed < accessed AS other_times_stay FROM dbos.file_times('/regress_fc/file');
SELECT dbos.read_text('/regress_fc/file'), size, link_count, mode FROM dbos.stat('/regress_fc/file');
-- In the transaction it is not to be seen yet; with a rollback to a savepoint it was read all the same.
SELECT pg_temp.aged('/regress_fc/file', '1 hour', '2 hours');
BEGIN;
SAVEPOINT s;
SELECT dbos.read_text('/regress_fc/file');
ROLLBACK TO s;
SELECT pg_temp.just_read('/regress_fc/file');
COMMIT;
SELECT pg_temp.just_read('/regress_fc/file');
-- After a whole rollback nobody knows of it.
SELECT pg_temp.aged('/regress_fc/file', '1 hour', '2 hours');
BEGIN;
SELECT dbos.read_text('/regress_fc/file');
ROLLBACK;
SELECT pg_temp.just_read('/regress_fc/file');
-- Read and then written, removed, renamed by the same transaction.
BEGIN;
SELECT dbos.read_text('/regress_fc/file');
SELECT dbos.write_text('/regress_fc/file', ', and more', true);
SELECT dbos.rename('/regress_fc/file', '/regress_fc/renamed');
SELECT dbos.read_text('/regress_fc/other');
SELECT dbos.unlink('/regress_fc/other');
COMMIT;
SELECT dbos.read_text('/regress_fc/renamed'), pg_temp.just_read('/regress_fc/renamed');
SELECT dbos.rename('/regress_fc/renamed', '/regress_fc/file');
-- ---- where nothing is noted ----
SELECT pg_temp.aged('/regress_fc/file', '1 hour', '2 hours');
SET dbos.file_access_times = off;
SELECT dbos.read_text('/regress_fc/file');
RESET dbos.file_access_times;
SELECT pg_temp.just_read('/regress_fc/file');
BEGIN READ ONLY;
SELECT dbos.read_text('/regress_fc/file');
COMMIT;
BEGIN;
SELECT dbos.read_text('/regress_fc/file');
SET TRANSACTION READ ONLY;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT dbos.read_text('/regress_fc/file');
COMMIT;
BEGIN;
SELECT dbos.read_text('/regress_fc/file');
PREPARE TRANSACTION 'regress_fc';
COMMIT PREPARED 'regress_fc';
SELECT pg_temp.just_read('/regress_fc/file');
-- In REPEATABLE READ it is.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT dbos.read_text('/regress_fc/file');
COMMIT;
SELECT pg_temp.just_read('/regress_fc/file');
-- By a role that may read and not write it, and in a parallel query.
CREATE ROLE regress_fc_reader LOGIN IN ROLE dbos_user;
SELECT pg_temp.aged('/regress_fc/file', '1 hour', '2 hours');
SET SESSION AUTHORIZATION regress_fc_reader;
SELECT dbos.read_text('/regress_fc/file');
RESET SESSION AUTHORIZATION;
SELECT pg_temp.just_read('/regress_fc/file');
SELECT pg_temp.aged('/regress_fc/file', '1 hour', '2 hours');
CREATE TABLE regress_fc AS SELECT '/regress_fc/file' AS path FROM generate_series(1, 1000);
ANALYZE regress_fc;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(DISTINCT dbos.read_text(path)) FROM regress_fc;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
SELECT pg_temp.just_read('/regress_fc/file');
-- A snapshot has no version of it.
SELECT pg_temp.aged('/regress_fc/file', '1 hour', '2 hours');
SELECT dbos.snapshot('/regress_fc', 'regress_fc') > 0 AS taken;
SELECT dbos.read_text('/regress_fc/file');
SELECT count(*), pg_temp.just_read('/regress_fc/file') FROM dbos.inode WHERE inode = (SELECT inode FROM dbos.stat('/regress_fc/file'));
SELECT dbos.drop_snapshot('regress_fc');
-- More files than are noted in one transaction: 10,000.
SELECT dbos.mkdir('/regress_fc/many');
SELECT count(dbos.write_text('/regress_fc/many/' || i, '')) FROM generate_series(1, 10010) i;
UPDATE dbos.inode SET accessed = 0 WHERE inode IN (SELECT inode FROM dbos.ls('/regress_fc/many'));
SELECT count(dbos.read_text('/regress_fc/many/' || i)) FROM generate_series(1, 10010) i;
SELECT count(*) FROM dbos.inode WHERE inode IN (SELECT inode FROM dbos.ls('/regress_fc/many')) AND accessed > 0;
SELECT count(dbos.read_text('/regress_fc/many/' || i)) FROM generate_series(1, 10010) i;
SELECT count(*) FROM dbos.inode WHERE inode IN (SELECT inode FROM dbos.ls('/regress_fc/many')) AND accessed > 0;
DROP TABLE regress_fc;
DROP ROLE regress_fc_reader;
SELECT dbos.remove('/regress_fc', true);
