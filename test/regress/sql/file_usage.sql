-- What directories have is the sum of what transactions changed; adding it up in between alters nothing.
-- SPDX-License-Identifier: PostgreSQL
CREATE ROLE usage_ann LOGIN IN ROLE dbos_user;
CREATE ROLE usage_bob LOGIN IN ROLE dbos_user;
SET client_min_messages = warning;
SELECT dbos.mkdir('/usage'), dbos.chmod('/usage', 1023);
CREATE FUNCTION number_of(path text) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT inode FROM dbos.stat(path)';
CREATE VIEW sums AS
	SELECT directory, owner, sum(names) AS names, sum(directories) AS directories, sum(bytes) AS bytes, sum(files) AS files, sum(file_bytes) AS file_bytes
	FROM (SELECT * FROM dbos.directory_usage UNION ALL SELECT * FROM dbos.directory_change) u
	GROUP BY directory, owner;
CREATE FUNCTION in_directory(path text, OUT owner regrole, OUT names numeric, OUT directories numeric, OUT bytes numeric, OUT files numeric,
	OUT file_bytes numeric) RETURNS SETOF record LANGUAGE sql STABLE AS
	'SELECT owner, names, directories, bytes, files, file_bytes FROM sums WHERE directory = number_of(path) ORDER BY owner::text';

SET ROLE usage_ann;
SELECT dbos.write_file('/usage/a', '12345'), dbos.mkdir('/usage/d');
SET ROLE usage_bob;
SELECT dbos.write_file('/usage/b', '123');
RESET ROLE;
SELECT * FROM in_directory('/usage');
SELECT dbos.fold_usage() >= 0 AS folded;
SELECT * FROM in_directory('/usage');
SELECT count(*) FROM dbos.directory_change WHERE directory = number_of('/usage');
SELECT count(*) FROM dbos.directory_usage WHERE directory = number_of('/usage');

-- When a directory was changed is the latest of all.
SELECT modified_at AS before FROM dbos.stat('/usage') \gset
SELECT dbos.fold_usage() >= 0 AS folded, (SELECT modified_at FROM dbos.stat('/usage')) = :'before' AS same;

-- Nothing is folded that is not committed, and a rollback takes it back.
BEGIN;
SELECT dbos.write_file('/usage/c', '1');
SELECT dbos.fold_usage() >= 0 AS folded;
SELECT link_count FROM dbos.stat('/usage');
SELECT * FROM in_directory('/usage');
ROLLBACK;
BEGIN;
SELECT dbos.unlink('/usage/a'), dbos.rmdir('/usage/d');
SAVEPOINT s;
SELECT dbos.fold_usage() >= 0 AS folded;
ROLLBACK TO s;
SELECT dbos.fold_usage() >= 0 AS folded;
ROLLBACK;
SELECT * FROM in_directory('/usage');

-- An inode is counted where it was made; when that directory goes, its parent has the count, so that those of owners stay right.
SELECT owner, sum(files) AS files, sum(file_bytes) AS bytes FROM sums WHERE owner::text LIKE 'usage%' GROUP BY owner ORDER BY owner::text;
SET ROLE usage_ann;
SELECT dbos.write_file('/usage/d/x', '1234567');
SELECT dbos.rename('/usage/d/x', '/usage/x');
RESET ROLE;
SELECT * FROM in_directory('/usage/d');
SELECT number_of('/usage/d') AS gone \gset
SET ROLE usage_ann;
SELECT dbos.rmdir('/usage/d');
RESET ROLE;
SELECT dbos.fold_usage() >= 0 AS folded;
SELECT count(*) FROM sums WHERE directory = :gone;
SELECT * FROM in_directory('/usage');
SELECT owner, sum(files) AS files, sum(file_bytes) AS bytes FROM sums WHERE owner::text LIKE 'usage%' GROUP BY owner ORDER BY owner::text;

-- The same within one transaction, and rolled back to a savepoint.
BEGIN;
SELECT dbos.mkdir('/usage/e');
SAVEPOINT s;
SELECT dbos.write_file('/usage/e/y', '12'), dbos.rename('/usage/e/y', '/usage/y');
SELECT dbos.rmdir('/usage/e');
ROLLBACK TO s;
SELECT dbos.write_file('/usage/e/y', '12'), dbos.rename('/usage/e/y', '/usage/z');
SELECT dbos.rmdir('/usage/e');
COMMIT;
SELECT owner, names, bytes, files, file_bytes FROM in_directory('/usage') WHERE owner::text = 'postgres';

-- It is for administrators.
SET ROLE usage_ann;
SELECT dbos.fold_usage();
SELECT count(*) FROM dbos.directory_usage;
RESET ROLE;

SELECT dbos.unlink('/usage/' || name) FROM dbos.ls('/usage');
SELECT dbos.rmdir('/usage');
SELECT dbos.fold_usage() >= 0 AS folded;
SELECT count(*) FROM sums s WHERE s.owner::text LIKE 'usage%' AND (s.files <> 0 OR s.file_bytes <> 0);
DROP VIEW sums CASCADE;
DROP FUNCTION number_of(text);
DROP ROLE usage_ann, usage_bob;
