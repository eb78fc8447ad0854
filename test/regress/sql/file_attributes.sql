-- Mode, owner and times of a file are changed by who may, as POSIX and PostgreSQL have it, and the counters of owners follow.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_fa_owner LOGIN IN ROLE dbos_user;
CREATE ROLE regress_fa_member LOGIN IN ROLE dbos_user, regress_fa_owner;
CREATE ROLE regress_fa_group;
CREATE ROLE regress_fa_grouped LOGIN IN ROLE dbos_user, regress_fa_group;
CREATE ROLE regress_fa_other LOGIN IN ROLE dbos_user;
CREATE ROLE regress_fa_admin LOGIN IN ROLE dbos_admin;
CREATE FUNCTION pg_temp.owned(role regrole, OUT names bigint, OUT directories bigint, OUT bytes bigint, OUT files bigint, OUT file_bytes bigint) LANGUAGE sql AS
	'SELECT coalesce(sum(names), 0), coalesce(sum(directories), 0), coalesce(sum(bytes), 0), coalesce(sum(files), 0), coalesce(sum(file_bytes), 0)
	 FROM (SELECT * FROM dbos.directory_usage UNION ALL SELECT * FROM dbos.directory_change) u WHERE owner = $1';
CREATE FUNCTION pg_temp.octal(path text) RETURNS text LANGUAGE sql AS
	$$SELECT string_agg((mode >> s & 7)::text, '' ORDER BY s DESC) FROM dbos.stat($1), unnest(ARRAY[9, 6, 3, 0]) s$$;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pg_temp TO PUBLIC;
SELECT dbos.mkdir('/regress_fa');
SELECT dbos.chmod('/regress_fa', '1777');
SET SESSION AUTHORIZATION regress_fa_owner;
SELECT dbos.write_text('/regress_fa/file', '12345');
SELECT dbos.mkdir('/regress_fa/directory');

-- ---- modes ----
SELECT pg_temp.octal('/regress_fa/file'), pg_temp.octal('/regress_fa/directory');
SELECT step, dbos.chmod('/regress_fa/file', step)::text || pg_temp.octal('/regress_fa/file') AS mode
FROM unnest(ARRAY['0', '7777', '0644', 'u+x', 'go-w,u-x', 'a=r', 'u=rw,g=u,o=', 'u+s', 'g+s', '+t', '-t', 'ug-s', '+w', '=', '+rwx', 'o=g-x+w', 'a-x+X', 'u+x,a+X', 'a=rX,u+w', 'u+t']) WITH ORDINALITY AS s (step, n);
SELECT step, dbos.chmod('/regress_fa/directory', step)::text || pg_temp.octal('/regress_fa/directory') AS mode
FROM unnest(ARRAY['2755', 'a=rX', 'u=rwx,go=', 'g-s', '+X', '1700', '700']) WITH ORDINALITY AS s (step, n);
SELECT dbos.chmod('/regress_fa/file', 420);
SELECT pg_temp.octal('/regress_fa/file');
SELECT dbos.chmod('/regress_fa/file', 4096);
SELECT dbos.chmod('/regress_fa/file', -1);
SELECT dbos.chmod('/regress_fa/file', '10000');
SELECT dbos.chmod('/regress_fa/file', '088');
SELECT dbos.chmod('/regress_fa/file', '');
SELECT dbos.chmod('/regress_fa/file', 'u');
SELECT dbos.chmod('/regress_fa/file', 'u+z');
SELECT dbos.chmod('/regress_fa/file', 'u+x,');
SELECT dbos.chmod('/regress_fa/file', 'b+x');
SELECT dbos.chmod('/regress_fa/file', '77777777777777777777');
SELECT dbos.chmod('/regress_fa/none', '0644');
SELECT dbos.chmod(NULL, '0644') IS NULL, dbos.chmod('/regress_fa/file', NULL::text) IS NULL;
-- Through a symbolic link it is what that leads to.
SELECT dbos.symlink('file', '/regress_fa/link');
SELECT dbos.chmod('/regress_fa/link', '0600');
SELECT pg_temp.octal('/regress_fa/file'), pg_temp.octal('/regress_fa/link');
-- Twice in one statement, and with what it has done itself.
SELECT dbos.chmod('/regress_fa/file', '0640'), dbos.chmod('/regress_fa/file', 'g-r'), dbos.write_text('/regress_fa/file', '123', true);
SELECT pg_temp.octal('/regress_fa/file'), dbos.read_text('/regress_fa/file');
-- It is changed now, and modified as it was.
SELECT modified AS modified, changed AS changed FROM dbos.file_times('/regress_fa/file') \gset before_
SELECT dbos.chmod('/regress_fa/file', '0644');
SELECT modified = :before_modified AS modified_then, changed > :before_changed AS changed_now FROM dbos.file_times('/regress_fa/file');

-- ---- who may ----
SET SESSION AUTHORIZATION regress_fa_other;
SELECT dbos.chmod('/regress_fa/file', '0666');
SELECT dbos.chown('/regress_fa/file', 'regress_fa_other');
SELECT dbos.touch('/regress_fa/file', '2001-01-01');
SELECT dbos.set_times('/regress_fa/file', 1, 1);
SELECT dbos.touch('/regress_fa/file');
SET SESSION AUTHORIZATION regress_fa_member;
SELECT dbos.chmod('/regress_fa/file', '0666');
SET SESSION AUTHORIZATION regress_fa_other;
SELECT dbos.touch('/regress_fa/file');
SELECT dbos.touch('/regress_fa/file', '2001-01-01');
SET SESSION AUTHORIZATION regress_fa_admin;
SELECT dbos.touch('/regress_fa/file', '2001-01-01');
SELECT dbos.chmod('/regress_fa/file', '4755');
-- What others write is no more run as its owner.
SELECT dbos.write_text('/regress_fa/file', '4', true);
SELECT pg_temp.octal('/regress_fa/file');
SET SESSION AUTHORIZATION regress_fa_owner;
SELECT dbos.chmod('/regress_fa/file', '4777');
SELECT dbos.write_text('/regress_fa/file', '5', true);
SELECT pg_temp.octal('/regress_fa/file');
SET SESSION AUTHORIZATION regress_fa_other;
SELECT dbos.write_text('/regress_fa/file', '6', true);
SELECT pg_temp.octal('/regress_fa/file');
SET SESSION AUTHORIZATION regress_fa_owner;
SELECT dbos.chmod('/regress_fa/file', '6777');
SET SESSION AUTHORIZATION regress_fa_other;
SELECT dbos.truncate_file('/regress_fa/file', 5);
SELECT pg_temp.octal('/regress_fa/file');
RESET SESSION AUTHORIZATION;

-- ---- owners ----
SELECT * FROM pg_temp.owned('regress_fa_owner');
SET SESSION AUTHORIZATION regress_fa_owner;
-- Only to whom one could be, and to a group that one is in.
SELECT dbos.chown('/regress_fa/file', 'regress_fa_other');
SELECT dbos.chown('/regress_fa/file', 'regress_fa_member');
SELECT dbos.chown('/regress_fa/file', NULL, 'regress_fa_group');
SELECT dbos.chown('/regress_fa/file', 'regress_fa_owner', 'regress_fa_owner');
SELECT dbos.chown('/regress_fa/file', '4294967295');
SELECT dbos.chown('/regress_fa/none', 'regress_fa_owner');
SELECT dbos.chown(NULL, 'regress_fa_owner') IS NULL;
RESET SESSION AUTHORIZATION;
GRANT regress_fa_group TO regress_fa_owner;
SET SESSION AUTHORIZATION regress_fa_owner;
SELECT dbos.chmod('/regress_fa/file', '6777');
SELECT dbos.chown('/regress_fa/file', NULL, 'regress_fa_group');
SELECT owner, "group", pg_temp.octal('/regress_fa/file') FROM dbos.stat('/regress_fa/file');
SELECT dbos.chown('/regress_fa/file', 'regress_fa_group');
SELECT owner FROM dbos.stat('/regress_fa/file');
-- A member of the group that owns it may take it.
SET SESSION AUTHORIZATION regress_fa_grouped;
SELECT dbos.chown('/regress_fa/file', 'regress_fa_grouped');
SELECT owner FROM dbos.stat('/regress_fa/file');
SET SESSION AUTHORIZATION regress_fa_owner;
SELECT dbos.chown('/regress_fa/file', 'regress_fa_owner');
-- An admin gives it to anybody.
SET SESSION AUTHORIZATION regress_fa_admin;
SELECT dbos.chown('/regress_fa/file', 'regress_fa_owner', 'regress_fa_group');
SELECT dbos.link('/regress_fa/file', '/regress_fa/directory/file');
SELECT dbos.chown('/regress_fa/directory/file', 'regress_fa_other');
SELECT dbos.chown('/regress_fa/directory', 'regress_fa_other');
SELECT dbos.chown('/regress_fa/link', 'regress_fa_other');
RESET SESSION AUTHORIZATION;
-- Both names of the file are the other's now, and the file is once his.
SELECT * FROM pg_temp.owned('regress_fa_owner');
SELECT * FROM pg_temp.owned('regress_fa_other');
-- The bit that runs programs as a group is for who is in that group.
SET SESSION AUTHORIZATION regress_fa_other;
SELECT dbos.chmod('/regress_fa/file', '2755');
SELECT pg_temp.octal('/regress_fa/file');
RESET SESSION AUTHORIZATION;
-- A directory with that bit gives its group to what is made in it, and the bit to directories.
SELECT dbos.chown('/regress_fa/directory', 'regress_fa_owner', 'regress_fa_group');
SELECT dbos.chmod('/regress_fa/directory', '2777');
SET SESSION AUTHORIZATION regress_fa_other;
SELECT dbos.write_text('/regress_fa/directory/new', '');
SELECT dbos.mkdir('/regress_fa/directory/sub');
SELECT name, owner, "group", pg_temp.octal('/regress_fa/directory/' || name) FROM dbos.ls('/regress_fa/directory');
RESET SESSION AUTHORIZATION;
-- Rolled back, also from a savepoint.
BEGIN;
SAVEPOINT s;
SELECT dbos.chown('/regress_fa/file', 'regress_fa_owner');
ROLLBACK TO s;
COMMIT;
SELECT owner FROM dbos.stat('/regress_fa/file');
SELECT * FROM pg_temp.owned('regress_fa_other');

-- ---- times ----
SET SESSION AUTHORIZATION regress_fa_owner;
SELECT dbos.touch('/regress_fa/touched');
SELECT kind, size, pg_temp.octal('/regress_fa/touched'), storage FROM dbos.stat('/regress_fa/touched');
SELECT dbos.touch('/regress_fa/touched', '2001-02-03 04:05:06.789 UTC');
SELECT modified, accessed, created > modified AS created_later, changed > modified AS changed_later FROM dbos.file_times('/regress_fa/touched');
SELECT dbos.touch('/regress_fa/made_then', '1969-12-31 23:59:59.999999 UTC');
SELECT modified, modified_at AT TIME ZONE 'UTC' AS modified_at FROM dbos.file_times('/regress_fa/made_then'), dbos.stat('/regress_fa/made_then') s (a, b, c, d, e, f, g, h, modified_at);
SELECT dbos.set_times('/regress_fa/touched', 1, -1);
SELECT accessed, modified FROM dbos.file_times('/regress_fa/touched');
SELECT dbos.set_times('/regress_fa/touched', modified => 1234567890123456789);
SELECT accessed, modified FROM dbos.file_times('/regress_fa/touched');
SELECT dbos.touch('/regress_fa/touched', 'infinity');
SELECT dbos.touch('/regress_fa/touched', '294276-12-31 UTC');
SELECT dbos.touch('/regress_fa/touched', '4000-01-01 BC');
SELECT dbos.touch('/regress_fa/none/touched');
SELECT dbos.touch(NULL) IS NULL, dbos.set_times(NULL, 1) IS NULL;
-- Of a directory too; what comes into it afterwards is newer.
SELECT dbos.touch('/regress_fa/directory', '2001-01-01 UTC');
SELECT modified_at = '2001-01-01 UTC' AS set FROM dbos.stat('/regress_fa/directory');
SELECT dbos.chmod('/regress_fa/directory', '0755');
SELECT modified_at = '2001-01-01 UTC' AS set FROM dbos.stat('/regress_fa/directory');
SELECT dbos.write_text('/regress_fa/directory/newer', '');
SELECT modified_at > '2001-01-01 UTC' AS newer FROM dbos.stat('/regress_fa/directory');

-- ---- where nothing can be written ----
BEGIN READ ONLY;
SELECT dbos.chmod('/regress_fa/file', '0644');
ROLLBACK;
BEGIN READ ONLY;
SELECT dbos.chown('/regress_fa/file', 'regress_fa_owner');
ROLLBACK;
BEGIN READ ONLY;
SELECT dbos.touch('/regress_fa/file');
ROLLBACK;
RESET SESSION AUTHORIZATION;
SELECT dbos.remove('/regress_fa', true);
DROP ROLE regress_fa_owner, regress_fa_member, regress_fa_group, regress_fa_grouped, regress_fa_other, regress_fa_admin;
