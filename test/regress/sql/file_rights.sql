-- Who may do what with a file is what POSIX says of owner, group and others, for every role, function and container, over a table of modes: no difference.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_fr_owner LOGIN IN ROLE dbos_user;
CREATE ROLE regress_fr_member LOGIN IN ROLE dbos_user, regress_fr_owner;
CREATE ROLE regress_fr_group IN ROLE dbos_user;
CREATE ROLE regress_fr_grouped LOGIN IN ROLE dbos_user, regress_fr_group;
CREATE ROLE regress_fr_other LOGIN IN ROLE dbos_user;
CREATE ROLE regress_fr_nobody LOGIN;
CREATE ROLE regress_fr_monitor LOGIN IN ROLE dbos_monitor;
CREATE ROLE regress_fr_admin LOGIN IN ROLE dbos_admin;
CREATE SCHEMA regress_fr;
GRANT USAGE ON SCHEMA regress_fr TO PUBLIC;

-- ---- who acts: as which role, by whose function, where; and what POSIX makes of him ----
CREATE TABLE regress_fr.actor (place int, actor text, role text, function text, container boolean, owns boolean, grouped boolean, superuser boolean, reads boolean, writes boolean);
INSERT INTO regress_fr.actor VALUES
	(1, 'owner', 'regress_fr_owner', NULL, false, true, false, false, true, true),
	(2, 'member', 'regress_fr_member', NULL, false, true, false, false, true, true),
	(3, 'group', 'regress_fr_group', NULL, false, false, true, false, true, true),
	(4, 'grouped', 'regress_fr_grouped', NULL, false, false, true, false, true, true),
	(5, 'other', 'regress_fr_other', NULL, false, false, false, false, true, true),
	(6, 'nobody', 'regress_fr_nobody', NULL, false, false, false, false, false, false),
	(7, 'monitor', 'regress_fr_monitor', NULL, false, false, false, false, true, false),
	(8, 'admin', 'regress_fr_admin', NULL, false, false, false, true, true, true),
	(9, 'by_owner', 'regress_fr_other', 'as_owner', false, true, false, false, true, true),
	(10, 'by_other', 'regress_fr_owner', 'as_other', false, false, false, false, true, true),
	(11, 'contained', 'regress_fr_owner', NULL, true, true, false, false, false, false);
CREATE FUNCTION regress_fr.as_owner(command text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'BEGIN EXECUTE command; END';
CREATE FUNCTION regress_fr.as_other(command text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'BEGIN EXECUTE command; END';
GRANT CREATE ON SCHEMA regress_fr TO regress_fr_owner, regress_fr_other;
ALTER FUNCTION regress_fr.as_owner(text) OWNER TO regress_fr_owner;
ALTER FUNCTION regress_fr.as_other(text) OWNER TO regress_fr_other;

-- ---- what is done; whether it only reads ----
CREATE TABLE regress_fr.operation (place int, operation text, reads boolean, command text);
INSERT INTO regress_fr.operation VALUES
	(1, 'stat', true, $$SELECT dbos.stat('/regress_fr/d/f')$$),
	(2, 'list', true, $$SELECT dbos.ls('/regress_fr/d')$$),
	(3, 'read', true, $$SELECT dbos.read_file('/regress_fr/d/f')$$),
	(4, 'follow', true, $$SELECT dbos.read_file('/regress_fr/e/link')$$),
	(5, 'get_xattr', true, $$SELECT dbos.get_xattr('/regress_fr/d/f', 'user.a')$$),
	(6, 'replace', false, $$SELECT dbos.write_file('/regress_fr/d/f', 'x')$$),
	(7, 'append', false, $$SELECT dbos.write_file('/regress_fr/d/f', 'x', append => true)$$),
	(8, 'write_at', false, $$SELECT dbos.write_at('/regress_fr/d/f', 1, 'x')$$),
	(9, 'truncate', false, $$SELECT dbos.truncate_file('/regress_fr/d/f', 1)$$),
	(10, 'open r', false, $$SELECT dbos.open_file('/regress_fr/d/f', 'r')$$),
	(11, 'open r+', false, $$SELECT dbos.open_file('/regress_fr/d/f', 'r+')$$),
	(12, 'open a', false, $$SELECT dbos.open_file('/regress_fr/d/f', 'a')$$),
	(13, 'copy', false, $$SELECT dbos.copy('/regress_fr/d/f', '/regress_fr/e/copy')$$),
	(14, 'set_xattr', false, $$SELECT dbos.set_xattr('/regress_fr/d/f', 'user.a', 'x')$$),
	(15, 'touch', false, $$SELECT dbos.touch('/regress_fr/d/f')$$),
	(16, 'set_times', false, $$SELECT dbos.set_times('/regress_fr/d/f', 1, 1)$$),
	(17, 'chmod', false, $$SELECT dbos.chmod('/regress_fr/d/f', '0600')$$),
	(18, 'chgrp', false, $$SELECT dbos.chown('/regress_fr/d/f', NULL, 'regress_fr_owner')$$),
	(19, 'give', false, $$SELECT dbos.chown('/regress_fr/d/f', 'regress_fr_other')$$),
	(20, 'chmod dir', false, $$SELECT dbos.chmod('/regress_fr/d', '0600')$$),
	(21, 'create', false, $$SELECT dbos.write_file('/regress_fr/d/new', 'x')$$),
	(22, 'mkdir', false, $$SELECT dbos.mkdir('/regress_fr/d/new')$$),
	(23, 'symlink', false, $$SELECT dbos.symlink('f', '/regress_fr/d/new')$$),
	(24, 'link in', false, $$SELECT dbos.link('/regress_fr/e/own', '/regress_fr/d/new')$$),
	(25, 'link out', false, $$SELECT dbos.link('/regress_fr/d/f', '/regress_fr/e/new')$$),
	(26, 'rename', false, $$SELECT dbos.rename('/regress_fr/d/f', '/regress_fr/d/g')$$),
	(27, 'rename in', false, $$SELECT dbos.rename('/regress_fr/e/own', '/regress_fr/d/new')$$),
	(28, 'rename out', false, $$SELECT dbos.rename('/regress_fr/d/f', '/regress_fr/e/new')$$),
	(29, 'rename over', false, $$SELECT dbos.rename('/regress_fr/e/own', '/regress_fr/d/f')$$),
	(30, 'unlink', false, $$SELECT dbos.unlink('/regress_fr/d/f')$$),
	(31, 'remove tree', false, $$SELECT dbos.remove('/regress_fr/d', true)$$),
	(32, 'move dir', false, $$SELECT dbos.rename('/regress_fr/d', '/regress_fr/e/d')$$);

-- ---- what POSIX says ----
CREATE FUNCTION regress_fr.permitted(mode int, owns boolean, grouped boolean, superuser boolean) RETURNS int LANGUAGE sql IMMUTABLE AS
	'SELECT CASE WHEN superuser THEN 7 WHEN owns THEN mode >> 6 & 7 WHEN grouped THEN mode >> 3 & 7 ELSE mode & 7 END';
CREATE FUNCTION regress_fr.expected(operation text, a regress_fr.actor, directory_mode int, directory_owned boolean, file_mode int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	d int := regress_fr.permitted(directory_mode, a.owns AND directory_owned, a.grouped, a.superuser);
	f int := regress_fr.permitted(file_mode, a.owns, a.grouped, a.superuser);
	search boolean := d & 1 = 1;
	change boolean := d & 3 = 3;
	-- The sticky bit asks for the owner of the file or of the directory.
	take boolean := change AND (directory_mode & 512 = 0 OR a.owns OR a.superuser);
	own boolean := search AND (a.owns OR a.superuser);
BEGIN
	IF NOT (SELECT CASE WHEN o.reads THEN a.reads ELSE a.writes END FROM regress_fr.operation o WHERE o.operation = expected.operation) THEN
		RETURN false;
	END IF;
	RETURN CASE operation
		WHEN 'stat' THEN search
		WHEN 'list' THEN d & 4 = 4
		WHEN 'read' THEN search AND f & 4 = 4
		WHEN 'follow' THEN search AND f & 4 = 4
		WHEN 'get_xattr' THEN search AND f & 4 = 4
		WHEN 'replace' THEN search AND f & 2 = 2
		WHEN 'append' THEN search AND f & 2 = 2
		WHEN 'write_at' THEN search AND f & 2 = 2
		WHEN 'truncate' THEN search AND f & 2 = 2
		WHEN 'open r' THEN search AND f & 4 = 4
		WHEN 'open r+' THEN search AND f & 6 = 6
		WHEN 'open a' THEN search AND f & 2 = 2
		WHEN 'copy' THEN search AND f & 4 = 4
		WHEN 'set_xattr' THEN search AND f & 2 = 2
		WHEN 'touch' THEN own OR search AND f & 2 = 2
		WHEN 'set_times' THEN own
		WHEN 'chmod' THEN own
		WHEN 'chgrp' THEN own
		WHEN 'give' THEN search AND a.superuser
		WHEN 'chmod dir' THEN a.superuser OR a.owns AND directory_owned
		WHEN 'create' THEN change
		WHEN 'mkdir' THEN change
		WHEN 'symlink' THEN change
		WHEN 'link in' THEN change
		WHEN 'link out' THEN search
		WHEN 'rename' THEN take
		WHEN 'rename in' THEN change
		WHEN 'rename out' THEN take
		WHEN 'rename over' THEN take
		WHEN 'unlink' THEN take
		WHEN 'remove tree' THEN take AND d & 4 = 4
		-- What .. is in it changes.
		WHEN 'move dir' THEN d & 2 = 2
	END;
END $$;

-- ---- what is so ----
CREATE TABLE regress_fr.outcome (directory_mode int, directory_owned boolean, file_mode int, actor text, operation text, allowed boolean, error text);
GRANT SELECT ON regress_fr.actor, regress_fr.operation TO PUBLIC;
-- Tried, and undone in any case.
CREATE PROCEDURE regress_fr.try(a regress_fr.actor, command text, INOUT allowed boolean, INOUT error text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('role', a.role, true);
	IF a.container THEN
		PERFORM dbos.enter_container('regress_fr');
	END IF;
	IF a.function IS NOT NULL THEN
		EXECUTE format('SELECT regress_fr.%I(%L)', a.function, command);
	ELSE
		EXECUTE command;
	END IF;
	RAISE SQLSTATE 'ZZ000';
EXCEPTION WHEN OTHERS THEN
	allowed := SQLSTATE = 'ZZ000';
	error := CASE WHEN allowed THEN NULL ELSE SQLSTATE END;
END $$;
CREATE PROCEDURE regress_fr.try_all(directory_mode int, directory_owned boolean, file_mode int) LANGUAGE plpgsql AS $$
DECLARE
	a regress_fr.actor;
	o regress_fr.operation;
	allowed boolean;
	error text;
BEGIN
	PERFORM dbos.chown('/regress_fr/d', CASE WHEN directory_owned THEN 'regress_fr_owner'::regrole ELSE 'regress_fr_admin'::regrole END);
	PERFORM dbos.chmod('/regress_fr/d', directory_mode), dbos.chmod('/regress_fr/d/f', file_mode);
	-- As others will find it, and not as this transaction does.
	COMMIT;
	FOR a IN SELECT * FROM regress_fr.actor ORDER BY place LOOP
		FOR o IN SELECT * FROM regress_fr.operation ORDER BY place LOOP
			CALL regress_fr.try(a, o.command, allowed, error);
			INSERT INTO regress_fr.outcome VALUES (directory_mode, directory_owned, file_mode, a.actor, o.operation, allowed, error);
		END LOOP;
	END LOOP;
	COMMIT;
END $$;
SELECT dbos.mkdir('/regress_fr'), dbos.mkdir('/regress_fr/d'), dbos.mkdir('/regress_fr/e');
SELECT dbos.chmod('/regress_fr', '0777'), dbos.chmod('/regress_fr/e', '0777');
SELECT dbos.write_text('/regress_fr/d/f', 'content'), dbos.write_text('/regress_fr/e/own', 'own'), dbos.symlink('/regress_fr/d/f', '/regress_fr/e/link');
SELECT dbos.set_xattr('/regress_fr/d/f', 'user.a', 'value');
SELECT dbos.chown('/regress_fr/d', 'regress_fr_owner', 'regress_fr_group'), dbos.chown('/regress_fr/d/f', 'regress_fr_owner', 'regress_fr_group');
SET ROLE regress_fr_owner;
SELECT dbos.create_container('regress_fr');
RESET ROLE;
CREATE FUNCTION regress_fr.octal(digits text) RETURNS int LANGUAGE sql IMMUTABLE AS
	$$SELECT sum(substr(lpad(digits, 4, '0'), i, 1)::int << 3 * (4 - i))::int FROM generate_series(1, 4) i$$;
-- Each mode of the file in a directory that all may search; each mode of the directory, which is the owner's or another's.
CREATE PROCEDURE regress_fr.try_modes() LANGUAGE plpgsql AS $$
DECLARE
	mode text;
BEGIN
	FOREACH mode IN ARRAY ARRAY['000', '007', '070', '700', '077', '707', '770', '777', '444', '222', '111', '400', '040', '004', '200', '020', '002', '640', '604', '046', '755'] LOOP
		CALL regress_fr.try_all(493, true, regress_fr.octal(mode));
	END LOOP;
	FOREACH mode IN ARRAY ARRAY['000', '007', '070', '700', '077', '707', '770', '777', '444', '222', '111', '333', '555', '666', '300', '030', '003', '500', '050', '005', '1777', '1770', '1707', '1077', '2775', '3777'] LOOP
		CALL regress_fr.try_all(regress_fr.octal(mode), true, 420);
		CALL regress_fr.try_all(regress_fr.octal(mode), false, 420);
	END LOOP;
END $$;
CALL regress_fr.try_modes();
-- As many as were to be tried, and no difference.
SELECT count(*) AS tried, count(DISTINCT (directory_mode, directory_owned, file_mode)) AS modes FROM regress_fr.outcome;
SELECT o.*, e.expected
FROM regress_fr.outcome o JOIN regress_fr.actor a USING (actor), regress_fr.expected(o.operation, a, directory_mode, directory_owned, file_mode) AS e (expected)
WHERE o.allowed IS DISTINCT FROM e.expected ORDER BY 1, 2, 3, 4, 5 LIMIT 20;
-- Who is denied is told so; in a container there is no such file.
SELECT error, actor = 'contained' AS contained, count(*) FROM regress_fr.outcome WHERE NOT allowed GROUP BY 1, 2 ORDER BY 1, 2;
-- In how many of the modes who may do what.
SELECT operation, count(*) FILTER (WHERE actor = 'owner') AS owner, count(*) FILTER (WHERE actor = 'member') AS member, count(*) FILTER (WHERE actor = 'group') AS "group",
	count(*) FILTER (WHERE actor = 'grouped') AS grouped, count(*) FILTER (WHERE actor = 'other') AS other, count(*) FILTER (WHERE actor = 'nobody') AS nobody,
	count(*) FILTER (WHERE actor = 'monitor') AS monitor, count(*) FILTER (WHERE actor = 'admin') AS admin, count(*) FILTER (WHERE actor = 'by_owner') AS by_owner,
	count(*) FILTER (WHERE actor = 'by_other') AS by_other, count(*) FILTER (WHERE actor = 'contained') AS contained
FROM regress_fr.operation o LEFT JOIN (SELECT * FROM regress_fr.outcome WHERE allowed) t USING (operation) GROUP BY operation, o.place ORDER BY o.place;
-- An owner whom the mode denies what it allows to others.
SELECT actor, allowed FROM regress_fr.outcome WHERE operation = 'read' AND directory_mode = 493 AND directory_owned AND file_mode = regress_fr.octal('007') ORDER BY actor;
-- The tables are nobody's to read or write.
SET ROLE regress_fr_other;
SELECT count(*) FROM dbos.xattr;
SELECT count(*) FROM dbos.open_file;
SELECT count(*) FROM dbos.unlinked_file;
SELECT count(*) FROM dbos.file_lock;
SELECT nextval('dbos.file_handle');
UPDATE dbos.inode SET mode = 511;
RESET ROLE;
-- A container has a root of its own, and no way out of it.
SET ROLE regress_fr_owner;
BEGIN;
SELECT dbos.enter_container('regress_fr');
SELECT dbos.write_text('/mine', 'in the container'), dbos.symlink('/regress_fr/d/f', '/link'), dbos.symlink('../../regress_fr/d/f', '/up');
SELECT name FROM dbos.ls('/..');
SAVEPOINT s;
SELECT dbos.read_text('/link');
ROLLBACK TO s;
SELECT dbos.read_text('/up');
ROLLBACK TO s;
SELECT dbos.read_text('/../../mine');
ROLLBACK;
RESET ROLE;
SELECT dbos.remove('/regress_fr', true);
SELECT dbos.drop_container('regress_fr');
DROP SCHEMA regress_fr CASCADE;
DROP ROLE regress_fr_owner, regress_fr_member, regress_fr_group, regress_fr_grouped, regress_fr_other, regress_fr_nobody, regress_fr_monitor, regress_fr_admin;
