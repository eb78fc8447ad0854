-- What a role tries to gain by tasks, or by what others do with its objects, comes to nothing: the last query counts what was gained.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;

-- The victims, the attacker, and the canaries: tables that the attacker cannot write.
CREATE ROLE regress_rights_group NOLOGIN IN ROLE dbos_user;
CREATE ROLE regress_rights_ann LOGIN IN ROLE dbos_user;
CREATE ROLE regress_rights_eve LOGIN IN ROLE dbos_user, regress_rights_group;
CREATE ROLE regress_rights_bob LOGIN IN ROLE dbos_user, regress_rights_group;
CREATE ROLE regress_rights_noinherit LOGIN NOINHERIT IN ROLE dbos_user, regress_rights_group;
CREATE ROLE regress_rights_nobody LOGIN;
CREATE ROLE regress_rights_monitor LOGIN IN ROLE dbos_monitor;
CREATE ROLE regress_rights_admin LOGIN IN ROLE dbos_admin;
CREATE ROLE regress_rights_writer LOGIN IN ROLE dbos_user, pg_write_all_data, pg_read_all_data;
CREATE SCHEMA rights;
GRANT USAGE ON SCHEMA rights TO PUBLIC;
CREATE SCHEMA eve AUTHORIZATION regress_rights_eve;
GRANT USAGE ON SCHEMA eve TO PUBLIC;
CREATE SCHEMA ann AUTHORIZATION regress_rights_ann;
CREATE TABLE rights.canary (attack int, session_who name, who name);
GRANT INSERT ON rights.canary TO regress_rights_ann, regress_rights_bob, regress_rights_admin, regress_rights_monitor, dbos_owner, dbos_admin, dbos_monitor;
CREATE TABLE rights.log (attack int, session_who name, who name);
GRANT INSERT ON rights.log TO PUBLIC;
CREATE TABLE rights.go (attack int);
GRANT SELECT, INSERT ON rights.go TO PUBLIC;
CREATE TABLE rights.parent (id int PRIMARY KEY);
GRANT SELECT, REFERENCES ON rights.parent TO regress_rights_eve;
-- What every hostile body calls: that it ran is noted, and the canary is written if it can be.
CREATE FUNCTION rights.try(attack int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO rights.log VALUES (attack, session_user, current_user);
	BEGIN
		INSERT INTO rights.canary VALUES (attack, session_user, current_user);
	EXCEPTION WHEN insufficient_privilege THEN
		RETURN true;
	END;
	RETURN true;
END $$;
-- How a statement ends for the caller: its SQLSTATE, or 'done'.
CREATE FUNCTION rights.attempt(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
CREATE FUNCTION rights.message(command text, id bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text; hint text;
BEGIN
	EXECUTE command;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws('/', SQLSTATE, replace(SQLERRM, 'task ' || id, 'task N'), detail, hint);
END $$;
-- Waits for a task; how it ended.
CREATE FUNCTION rights.ended(task bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dbos.wait(task);
	RETURN 'succeeded';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;

\c - regress_rights_ann
CREATE FUNCTION ann.secret(s text) RETURNS text LANGUAGE sql AS 'SELECT s || '' as well''';
CREATE FUNCTION ann.fails(s text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'failed with %', s; END$$;
CREATE FUNCTION ann.slow(s text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dbos.progress(0.5, s);
	WHILE NOT EXISTS (SELECT FROM rights.go WHERE attack = 0) LOOP PERFORM pg_sleep(0.01); END LOOP;
END $$;
SELECT dbos.create_queue('ann queue');
SELECT dbos.create_container('ann box');
SELECT dbos.submit('ann.secret', '["secret of ann"]', idempotency_key => 'key of ann', attributes => '{"note": "secret of ann"}') AS secret \gset
SELECT dbos.submit('ann.fails', '["secret of ann"]') AS fails \gset
SELECT dbos.submit('ann.slow', '["secret of ann"]') AS slow \gset
SELECT dbos.submit('ann.secret', '["secret of ann"]', delay => '1 hour') AS later \gset
SELECT dbos.submit_sql('SELECT ''secret of ann''') AS sql \gset
SELECT rights.ended(:secret), rights.ended(:fails), rights.ended(:sql);
DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM dbos.tasks WHERE progress_note IS NOT NULL) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT state, progress_note FROM dbos.tasks WHERE id = :slow;
SELECT worker_pid AS ann_worker FROM dbos.tasks WHERE id = :slow \gset
\c - postgres
SELECT pid AS launcher FROM pg_stat_activity WHERE backend_type = 'dbos launcher' \gset
-- The canary is one: who may write it is seen.
SET SESSION AUTHORIZATION regress_rights_ann;
SELECT rights.try(0);
RESET SESSION AUTHORIZATION;
DELETE FROM rights.log WHERE attack = 0;
DELETE FROM rights.canary RETURNING attack, who;

\c - regress_rights_eve
SET search_path = eve;
CREATE TABLE caught (what text);
GRANT INSERT ON caught TO PUBLIC;
CREATE FUNCTION leak(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
	$$BEGIN IF t ~ 'secret of ann|ann\.' THEN INSERT INTO eve.caught VALUES (t); END IF; RETURN true; END$$;

\echo -- attack 01: RESET ROLE in a task
CREATE FUNCTION a01() RETURNS void LANGUAGE plpgsql AS $$BEGIN RESET ROLE; PERFORM rights.try(1); END$$;
CALL dbos.run('eve.a01') \gset
\echo -- attack 02: SET ROLE NONE in a task
CREATE FUNCTION a02() RETURNS void LANGUAGE plpgsql AS $$BEGIN SET ROLE NONE; PERFORM rights.try(2); END$$;
CALL dbos.run('eve.a02') \gset
\echo -- attack 03: SET ROLE to every role that there is, in a task
CREATE FUNCTION a03() RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	who name; had text[];
BEGIN
	FOR who IN SELECT rolname FROM pg_roles ORDER BY 1 LOOP
		IF rights.attempt(format('SET ROLE %I', who)) = 'done' THEN
			had := had || who::text;
			PERFORM rights.try(3);
		END IF;
	END LOOP;
	RETURN had;
END $$;
CALL dbos.run('eve.a03');
\echo -- attack 04: SET SESSION AUTHORIZATION in a task
CREATE FUNCTION a04() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	SET SESSION AUTHORIZATION DEFAULT; PERFORM rights.try(4);
	RESET SESSION AUTHORIZATION; PERFORM rights.try(4);
	PERFORM rights.attempt('SET SESSION AUTHORIZATION postgres'); PERFORM rights.try(4);
	PERFORM rights.attempt('SET SESSION AUTHORIZATION regress_rights_ann'); PERFORM rights.try(4);
END $$;
CALL dbos.run('eve.a04') \gset
\echo -- attack 05: set_config of role and session_authorization in a task
CREATE FUNCTION a05() RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('role', 'none', false); PERFORM rights.try(5);
	RETURN ARRAY[rights.attempt($a$SELECT set_config('role', 'postgres', false)$a$), rights.attempt($a$SELECT set_config('session_authorization', 'postgres', false)$a$),
		rights.attempt($a$SELECT set_config('is_superuser', 'on', false)$a$), rights.attempt($a$SELECT set_config('role', 'dbos_owner', true)$a$)];
END $$;
CALL dbos.run('eve.a05');
\echo -- attack 06: RESET ROLE in a task that was submitted with SET ROLE finds the submitter, no more
CREATE FUNCTION a06() RETURNS text LANGUAGE plpgsql AS $$DECLARE before name := current_user; BEGIN RESET ROLE; PERFORM rights.try(6); RETURN before || ' then ' || current_user; END$$;
SET ROLE regress_rights_group;
CALL dbos.run('eve.a06');
RESET ROLE;
\echo -- attack 07: a deferred constraint trigger runs at commit, after the bookkeeping
CREATE TABLE deferred (x int);
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM rights.try(7); RESET ROLE; PERFORM rights.try(7);
	PERFORM dbos.cancel(dbos.current_task());
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit();
CREATE FUNCTION a07() RETURNS void LANGUAGE sql AS 'INSERT INTO eve.deferred VALUES (1)';
SELECT dbos.submit('a07') AS task \gset
SELECT rights.ended(:task);
SELECT state FROM dbos.tasks WHERE id = :task;
\echo -- attack 08: a trigger on a temporary table that ends with the commit
CREATE FUNCTION a08() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CREATE TEMP TABLE t (x int) ON COMMIT DELETE ROWS;
	EXECUTE 'CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RESET ROLE; PERFORM rights.try(8); RETURN NULL; END''';
	EXECUTE 'CREATE CONSTRAINT TRIGGER c AFTER INSERT OR DELETE ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pg_temp.f()';
	INSERT INTO t VALUES (1);
END $$;
CALL dbos.run('eve.a08') \gset
\echo -- attack 09: rules and views among the effects of a task
CREATE TABLE ruled (x int);
CREATE RULE also AS ON INSERT TO ruled DO ALSO SELECT rights.try(9);
CREATE VIEW viewed AS SELECT rights.try(9) AS x;
SELECT dbos.submit_sql('INSERT INTO eve.ruled VALUES (1); SELECT x FROM eve.viewed') AS task \gset
SELECT rights.ended(:task);
\echo -- attack 10: an event trigger around the bookkeeping
CREATE FUNCTION fires() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN PERFORM rights.try(10); END$$;
CREATE EVENT TRIGGER eve ON ddl_command_start EXECUTE FUNCTION fires();

\echo -- attack 11: index expressions run when a superuser analyzes the table
CREATE TABLE indexed (x int);
CREATE FUNCTION a11(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	PERFORM rights.try(11);
	PERFORM rights.attempt('RESET ROLE'); PERFORM rights.try(11);
	PERFORM rights.attempt($a$SELECT dbos.submit('eve.a01')$a$);
	PERFORM rights.attempt($a$SELECT dbos.submit_sql('SELECT rights.try(11)')$a$);
	RETURN x;
END $$;
INSERT INTO indexed VALUES (1), (2);
CREATE INDEX ON indexed (a11(x));
\echo -- attack 12: a materialized view that a superuser refreshes
CREATE FUNCTION a12() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM rights.try(12); PERFORM rights.attempt('RESET ROLE'); PERFORM rights.try(12);
	RETURN rights.attempt($a$SELECT dbos.submit('eve.a01')$a$);
END $$;
CREATE MATERIALIZED VIEW stored AS SELECT a12() AS submitted WITH NO DATA;
\echo -- attack 13: a SECURITY DEFINER trigger, fired by a superuser, submits a task that resets the role
CREATE FUNCTION a13() RETURNS void LANGUAGE plpgsql AS $$BEGIN RESET ROLE; PERFORM rights.try(13); END$$;
CREATE TABLE bait (x int, submitted text);
CREATE FUNCTION bite() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	NEW.submitted := concat_ws(' ', rights.attempt($a$SELECT dbos.submit('eve.a13')$a$), rights.attempt($a$SELECT dbos.submit_sql('RESET ROLE; SELECT rights.try(13)')$a$),
		rights.attempt($a$SELECT dbos.submit_many('eve.a13', ARRAY['{}']::jsonb[])$a$));
	RETURN NEW;
END $$;
CREATE TRIGGER bite BEFORE INSERT ON bait FOR EACH ROW EXECUTE FUNCTION bite();
\echo -- attack 14: a trigger on a cascade, which runs as the owner of the table
CREATE TABLE child (id int REFERENCES rights.parent ON DELETE CASCADE);
CREATE TABLE child_seen (submitted text);
GRANT INSERT ON child TO PUBLIC;
CREATE FUNCTION cascade() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO eve.child_seen SELECT current_user || ' ' || rights.attempt($a$SELECT dbos.submit('eve.a13')$a$);
	RETURN OLD;
END $$;
CREATE TRIGGER cascade BEFORE DELETE ON child FOR EACH ROW EXECUTE FUNCTION cascade();
\echo -- attack 15: a SECURITY DEFINER function that a superuser calls
CREATE FUNCTION a15() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$SELECT dbos.submit('eve.a13')$$;
\echo -- attack 16: a SECURITY DEFINER function of a role, called by one of its members
SET ROLE regress_rights_group;
RESET ROLE;
GRANT CREATE ON SCHEMA eve TO regress_rights_group;
SET ROLE regress_rights_group;
CREATE FUNCTION eve.a16() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$SELECT dbos.submit('eve.a13')$$;
RESET ROLE;
\c - postgres
ANALYZE eve.indexed;
REFRESH MATERIALIZED VIEW eve.stored;
SELECT submitted FROM eve.stored;
INSERT INTO eve.bait VALUES (1) RETURNING submitted;
INSERT INTO rights.parent VALUES (1);
INSERT INTO eve.child VALUES (1);
DELETE FROM rights.parent;
SELECT submitted FROM eve.child_seen;
SELECT eve.a15();
SET ROLE regress_rights_eve;
SELECT eve.a15() IS NOT NULL AS submitted_with_set_role;
RESET ROLE;
\c - regress_rights_bob
SELECT eve.a16();
\c - postgres
SELECT count(*) FROM dbos.tasks WHERE function LIKE 'eve.a13%';

\c - regress_rights_eve
SET search_path = eve;
\echo -- attack 17: operators, functions, types and casts found before ours, by a search_path of the role
CREATE FUNCTION eve.equal(int8, int8) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM rights.try(17); RETURN true; END$$;
CREATE FUNCTION eve.equal(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM rights.try(17); RETURN true; END$$;
CREATE FUNCTION eve.equal(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM rights.try(17); RETURN true; END$$;
CREATE OPERATOR eve.= (LEFTARG = int8, RIGHTARG = int8, FUNCTION = eve.equal);
CREATE OPERATOR eve.= (LEFTARG = text, RIGHTARG = text, FUNCTION = eve.equal);
CREATE OPERATOR eve.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = eve.equal);
CREATE FUNCTION eve.now() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN PERFORM rights.try(17); RETURN clock_timestamp(); END$$;
CREATE FUNCTION eve.to_jsonb(int) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN PERFORM rights.try(17); RETURN '0'; END$$;
CREATE FUNCTION eve.jsonb_to_record(jsonb) RETURNS record LANGUAGE plpgsql AS $$BEGIN PERFORM rights.try(17); RETURN ROW(1); END$$;
CREATE FUNCTION eve.in_container(int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM rights.try(17); RETURN true; END$$;
CREATE DOMAIN eve.int4 AS pg_catalog.int4 CHECK (rights.try(17));
CREATE DOMAIN eve.jsonb AS pg_catalog.jsonb CHECK (rights.try(17));
CREATE FUNCTION eve.a17(a pg_catalog.int4) RETURNS pg_catalog.int4 LANGUAGE sql AS 'SELECT $1 OPERATOR(pg_catalog.+) 1';
ALTER ROLE regress_rights_eve SET search_path = eve, pg_catalog;
\c - regress_rights_eve
SHOW search_path;
-- In a worker that logs in with it.
SELECT bool_and(pg_terminate_backend(pid, 60000)) IS NOT FALSE AS ended FROM pg_stat_activity WHERE usename OPERATOR(pg_catalog.=) 'regress_rights_eve' AND backend_type OPERATOR(pg_catalog.=) 'dbos executor';
SELECT dbos.submit('a17', '[41]', idempotency_key => 'k', max_attempts => 2, deadline => now() + '1 hour') AS task \gset
SELECT dbos.wait(:task);
SELECT dbos.submit('a17', '[41]', delay => '1 hour') AS task \gset
SELECT dbos.cancel(:task);
SELECT dbos.retry(:task);
SELECT dbos.wait(:task);
SELECT count(*) > 0 AS some FROM dbos.tasks t WHERE t.id OPERATOR(pg_catalog.=) :task;
ALTER ROLE regress_rights_eve RESET search_path;
SELECT bool_and(pg_terminate_backend(pid, 60000)) IS NOT FALSE AS ended FROM pg_stat_activity WHERE usename OPERATOR(pg_catalog.=) 'regress_rights_eve' AND backend_type OPERATOR(pg_catalog.=) 'dbos executor';
DROP OPERATOR eve.= (pg_catalog.int8, pg_catalog.int8), eve.= (pg_catalog.text, pg_catalog.text), eve.= (pg_catalog.oid, pg_catalog.oid);
DROP FUNCTION eve.equal(int8, int8), eve.equal(text, text), eve.equal(oid, oid), eve.now(), eve.to_jsonb(pg_catalog.int4), eve.jsonb_to_record(pg_catalog.jsonb);
DROP DOMAIN eve.int4, eve.jsonb;
\c - regress_rights_eve
SET search_path = eve;
\echo -- attack 18: tables, functions and types of our names in pg_temp
CREATE FUNCTION a18() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	CREATE TEMP TABLE task (id bigint, shard smallint); CREATE TEMP TABLE task_history (id bigint); CREATE TEMP TABLE queue (id int);
	CREATE DOMAIN pg_temp.regrole AS pg_catalog.oid CHECK (rights.try(18));
	CREATE FUNCTION pg_temp.in_container(int) RETURNS boolean LANGUAGE sql AS 'SELECT rights.try(18)';
	CREATE FUNCTION pg_temp.date_part(text, interval) RETURNS float8 LANGUAGE sql AS 'SELECT 0.0::float8 WHERE rights.try(18)';
	RETURN dbos.submit('pg_catalog.pi');
END $$;
CALL dbos.run('eve.a18') \gset
SELECT dbos.wait(:result);
CREATE TEMP TABLE task (id bigint);
CREATE FUNCTION pg_temp.pi() RETURNS float8 LANGUAGE sql AS 'SELECT 0.0::float8 WHERE rights.try(18)';
SELECT rights.attempt('SELECT dbos.submit(''pg_temp.pi'')');
SELECT dbos.submit('pi') AS task \gset
SELECT dbos.wait(:task);
\echo -- attack 19: a function of our name in the own schema, asked for with ours
CREATE FUNCTION eve.submit(text) RETURNS bigint LANGUAGE sql AS 'SELECT -1::bigint';
CREATE FUNCTION a19() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN SET LOCAL search_path = eve, pg_catalog, dbos; RETURN dbos.submit('pi'); END$$;
SELECT a19() > 0 AS ours;
DROP FUNCTION eve.submit(text);

\echo -- attack 20: a hostile cast from jsonb to the type of an argument
CREATE TYPE pair AS (a int, b int);
CREATE FUNCTION to_pair(pg_catalog.jsonb) RETURNS eve.pair LANGUAGE plpgsql AS $$BEGIN PERFORM rights.try(20); RETURN ROW(1, 2); END$$;
CREATE CAST (pg_catalog.jsonb AS eve.pair) WITH FUNCTION eve.to_pair(pg_catalog.jsonb) AS IMPLICIT;
CREATE FUNCTION a20(p eve.pair) RETURNS pg_catalog.int4 LANGUAGE sql AS 'SELECT (p).a';
CALL dbos.run('eve.a20', '[{"a": 7, "b": 8}]');
\echo -- attack 21: a domain whose CHECK is a function, as the type of an argument
CREATE DOMAIN checked AS pg_catalog.int4 CHECK (rights.try(21));
CREATE FUNCTION a21(c eve.checked) RETURNS eve.checked LANGUAGE sql AS 'SELECT c';
CALL dbos.run('eve.a21', '[7]');
\echo -- attack 22: a domain whose CHECK changes the role while the submit looks at it
CREATE FUNCTION change_role() RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM rights.attempt('SET ROLE regress_rights_group'); RETURN rights.try(22); END$$;
CREATE DOMAIN changing AS pg_catalog.int4 CHECK (eve.change_role());
CREATE FUNCTION a22(c eve.changing) RETURNS pg_catalog.text LANGUAGE sql AS 'SELECT session_user || '' '' || current_user';
SELECT dbos.submit('a22', '[7]') AS task \gset
RESET ROLE;
SELECT role FROM dbos.tasks WHERE id = :task;
SELECT rights.ended(:task);
\echo -- attack 23: a DEFAULT expression that is a function
CREATE FUNCTION a23(a pg_catalog.bool DEFAULT rights.try(23)) RETURNS pg_catalog.bool LANGUAGE sql AS 'SELECT a';
CALL dbos.run('eve.a23');
\echo -- attack 24: variadic, polymorphic and OUT arguments
CREATE FUNCTION a24v(VARIADIC v pg_catalog.int4[]) RETURNS pg_catalog.int4 LANGUAGE sql AS 'SELECT v[2] WHERE rights.try(24)';
CREATE FUNCTION a24p(a anyelement) RETURNS anyelement LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION a24o(a pg_catalog.int4, OUT r pg_catalog.int4, OUT c pg_catalog.text) LANGUAGE sql AS 'SELECT a, ''x'' WHERE rights.try(24)';
CALL dbos.run('eve.a24v', '[[1, 2]]');
SELECT dbos.submit('eve.a24p', '[1]');
CALL dbos.run('eve.a24o', '{"a": 3}');
\echo -- attack 25: names of arguments that are SQL
CREATE FUNCTION a25("r) ; INSERT INTO rights.canary VALUES (25); --" pg_catalog.int4, "$1" pg_catalog.int4, "x"" y" pg_catalog.int4, r pg_catalog.int4) RETURNS pg_catalog.int4 LANGUAGE sql AS 'SELECT $1 OPERATOR(pg_catalog.+) $4 WHERE rights.try(25)';
CALL dbos.run('eve.a25', '{"r) ; INSERT INTO rights.canary VALUES (25); --": 1, "$1": 2, "x\" y": 3, "r": 4}');
CALL dbos.run('eve.a25', '[1, 2, 3, 4]');
\echo -- attack 26: names of functions, types and schemas that are SQL
CREATE FUNCTION eve."f(); DROP TABLE rights.canary; --""" (a pg_catalog.int4) RETURNS pg_catalog.int4 LANGUAGE sql AS 'SELECT a WHERE rights.try(26)';
CREATE DOMAIN eve."int4); SELECT rights.try(26); --" AS pg_catalog.int4;
CREATE FUNCTION a26(a eve."int4); SELECT rights.try(26); --") RETURNS pg_catalog.int4 LANGUAGE sql AS 'SELECT a::pg_catalog.int4';
CALL dbos.run('eve."f(); DROP TABLE rights.canary; --"""', '[26]');
CALL dbos.run('eve.a26', '[26]');
SELECT dbos.submit('pg_catalog.pi(); DROP TABLE rights.canary');
SELECT dbos.submit('pi(), rights.try(26)');
SELECT dbos.submit('pi', '{"x) FROM dbos.task; --": 1}');
\echo -- attack 27: the arguments of a task are SQL
CREATE FUNCTION a27(s text) RETURNS text LANGUAGE sql AS 'SELECT s';
CALL dbos.run('eve.a27', '["''); INSERT INTO rights.canary VALUES (27); --"]');
\echo -- attack 28: several statements, with the role changed between them
SELECT dbos.submit_sql('RESET ROLE; SELECT rights.try(28); SET ROLE NONE; SELECT rights.try(28)') AS task \gset
SELECT rights.ended(:task);
SELECT dbos.submit_sql('SELECT 1; COMMIT; SELECT rights.try(28)');
SELECT dbos.submit_sql('ROLLBACK');
SELECT dbos.submit_sql('PREPARE TRANSACTION ''x''');
\echo -- attack 29: a block that commits, and goes on in transactions of its own
SELECT dbos.submit_sql($q$DO $a$BEGIN RESET ROLE; PERFORM rights.try(29); COMMIT; SET ROLE NONE; PERFORM rights.try(29); COMMIT; PERFORM rights.try(29); END$a$ $q$) AS task \gset
SELECT rights.ended(:task);
\echo -- attack 30: a procedure that commits after SET ROLE
CREATE PROCEDURE a30() LANGUAGE plpgsql AS $$BEGIN COMMIT; RESET ROLE; PERFORM rights.try(30); COMMIT; RESET SESSION AUTHORIZATION; PERFORM rights.try(30); END$$;
SET ROLE regress_rights_group;
SELECT dbos.submit_sql('CALL eve.a30()') AS task \gset
SELECT rights.ended(:task);
RESET ROLE;
\echo -- attack 31: maintenance commands, which run in no block, on what others own
SELECT dbos.submit_sql('VACUUM dbos.task') AS vacuum, dbos.submit_sql('REINDEX TABLE dbos.task') AS reindex, dbos.submit_sql('CREATE DATABASE regress_rights') AS database, dbos.submit_sql('ALTER SYSTEM SET work_mem = ''64kB''') AS system \gset
-- The words are the server's, and not the same in every version.
SELECT left(rights.ended(:vacuum), 9) AS vacuum, left(rights.ended(:reindex), 5) AS reindex, left(rights.ended(:database), 5) AS database, left(rights.ended(:system), 5) AS system;
\echo -- attack 32: what a task leaves in its session, found by a task of another role in the same session
CREATE FUNCTION a32() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CREATE TEMP TABLE left_behind (x int);
	GRANT ALL ON left_behind TO PUBLIC;
	EXECUTE 'CREATE FUNCTION pg_temp.left_function() RETURNS boolean LANGUAGE sql AS ''SELECT rights.try(32)''';
	PERFORM pg_advisory_lock(4711);
	PERFORM set_config('role', 'regress_rights_group', false);
	PERFORM set_config('my.secret', 'left', false);
	PERFORM set_config('search_path', 'pg_temp, eve', false);
	PERFORM set_config('check_function_bodies', 'off', false);
	EXECUTE 'PREPARE left_plan AS SELECT 1';
	EXECUTE 'DECLARE left_cursor CURSOR WITH HOLD FOR SELECT 1';
END $$;
CREATE FUNCTION found() RETURNS text[] LANGUAGE sql AS $$
	SELECT ARRAY[session_user::text, current_user::text, (SELECT count(*)::text FROM pg_class WHERE relname = 'left_behind' AND relnamespace = pg_my_temp_schema()),
		(SELECT count(*)::text FROM pg_proc WHERE proname = 'left_function' AND pg_function_is_visible(oid)),
		(SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND pid = pg_backend_pid()),
		COALESCE(current_setting('my.secret', true), ''), current_setting('search_path'), current_setting('check_function_bodies'),
		(SELECT count(*)::text FROM pg_prepared_statements), (SELECT count(*)::text FROM pg_cursors)]
$$;
CALL dbos.run('eve.a32') \gset
SET ROLE regress_rights_group;
CALL dbos.run('eve.found');
RESET ROLE;
CALL dbos.run('eve.found');
\echo -- attack 33: settings that the role may not change, from a task
CREATE FUNCTION a33() RETURNS text[] LANGUAGE sql AS $$
	SELECT array_agg(setting || ' ' || rights.attempt(format('SET %s = %s', setting, value))) FROM (VALUES
		('session_replication_role', 'replica'), ('log_statement', '''none'''), ('log_min_messages', 'debug5'), ('dbos.max_workers', '1000'), ('dbos.task_crash_limit', '1'),
		('dbos.task_history_days', '1'), ('dbos.shared_memory', 'off'), ('dbos.clock_offset', '100000'), ('dbos.current_task', '1'), ('dbos.container', '0'),
		('dynamic_library_path', '''/tmp'''), ('session_preload_libraries', '''x'''), ('allow_system_table_mods', 'on'), ('zero_damaged_pages', 'on')) v(setting, value)
$$;
CALL dbos.run('eve.a33');
\echo -- attack 34: the same where a role has settings of its own
ALTER ROLE regress_rights_eve SET session_preload_libraries = 'x';
ALTER ROLE regress_rights_eve SET dbos.task_crash_limit = 1;
\echo -- attack 35: settings of the role that must not change how its task runs
ALTER ROLE regress_rights_eve SET role = regress_rights_group;
ALTER ROLE regress_rights_eve SET default_transaction_read_only = on;
ALTER ROLE regress_rights_eve SET default_transaction_isolation = 'serializable';
ALTER ROLE regress_rights_eve SET row_security = off;
ALTER ROLE regress_rights_eve SET quote_all_identifiers = on;
ALTER ROLE regress_rights_eve SET transform_null_equals = on;
ALTER ROLE regress_rights_eve SET array_nulls = off;
ALTER ROLE regress_rights_eve SET standard_conforming_strings = off;
\c - regress_rights_eve
SET role = none;
SET default_transaction_read_only = off;
CREATE FUNCTION eve.a35() RETURNS text LANGUAGE plpgsql AS $$BEGIN PERFORM rights.try(35); RETURN session_user || ' ' || current_user || ' ' || current_setting('transaction_read_only') || ' ' || current_setting('transaction_isolation'); END$$;
-- In a worker that has just logged in with them.
SELECT bool_and(pg_terminate_backend(pid, 60000)) IS NOT FALSE AS ended FROM pg_stat_activity WHERE usename OPERATOR(pg_catalog.=) 'regress_rights_eve' AND backend_type OPERATOR(pg_catalog.=) 'dbos executor';
CALL dbos.run('eve.a35');
CALL dbos.run('eve.a35');
ALTER ROLE regress_rights_eve RESET ALL;
\c - regress_rights_eve
SET search_path = eve;

\echo -- attack 36: functions that everybody may call, but the defaults of columns of mailboxes, which ask for the right to INSERT
SELECT count(*) FROM pg_proc p, aclexplode(COALESCE(p.proacl, acldefault('f', p.proowner))) g
	WHERE p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'dbos') AND g.grantee = 0 AND p.proname NOT IN ('message_id', 'message_segment');
SELECT count(*) FROM pg_class c, aclexplode(c.relacl) g WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'dbos') AND g.grantee = 0;
\echo -- attack 37: functions and tables beyond those that are for a dbos_user, a dbos_monitor, a dbos_admin
SELECT r.rolname, string_agg(p.proname, ' ' ORDER BY p.proname COLLATE "C") FROM pg_proc p, pg_roles r
	WHERE p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'dbos') AND r.rolname IN ('dbos_user', 'dbos_monitor', 'dbos_admin')
		AND p.proname NOT LIKE 'host\_%' AND EXISTS (SELECT FROM aclexplode(p.proacl) g WHERE g.grantee = r.oid)
	GROUP BY r.rolname ORDER BY r.rolname COLLATE "C";
SELECT r.rolname, c.relkind, string_agg(DISTINCT g.privilege_type, ' ') AS privileges, string_agg(DISTINCT c.relname, ' ' ORDER BY c.relname) FROM pg_class c, aclexplode(c.relacl) g, pg_roles r
	WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'dbos') AND r.oid = g.grantee AND r.rolname <> 'dbos_owner' AND c.relname NOT LIKE 'host\_%'
	GROUP BY r.rolname, c.relkind ORDER BY r.rolname COLLATE "C", c.relkind;
\echo -- attack 38: calling every function of ours that is not granted
CREATE FUNCTION call_all(granted boolean) RETURNS TABLE (sqlstate text, functions bigint) LANGUAGE sql AS $$
	SELECT s.state, count(*) FROM (
		SELECT rights.attempt(format('%s dbos.%I(%s)', CASE p.prokind WHEN 'p' THEN 'CALL' ELSE 'SELECT' END, p.proname,
			(SELECT string_agg(format('NULL::%s', t), ', ') FROM unnest(p.proargtypes::pg_catalog.oid[]::regtype[]) t))) AS state
		FROM pg_proc p WHERE p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'dbos') AND p.prorettype <> 'trigger'::regtype
			-- What takes internal has no SQL that would call it.
			AND NOT 'internal'::regtype = ANY (p.proargtypes::pg_catalog.oid[]) AND has_function_privilege(p.oid, 'EXECUTE') = granted) s GROUP BY s.state ORDER BY s.state COLLATE "C" $$;
SELECT sqlstate FROM call_all(false);
\echo -- attack 39: calling every function that is granted with nothing but NULL: errors, no crash
SELECT bool_and(sqlstate !~ '^(57P|58|XX)') AS sane FROM call_all(true);
\echo -- attack 40: drawing, setting and reading the sequences of ids
SELECT c.relname, rights.attempt(format('SELECT nextval(''dbos.%I'')', c.relname)) AS next, rights.attempt(format('SELECT setval(''dbos.%I'', 1)', c.relname)) AS set, rights.attempt(format('ALTER SEQUENCE dbos.%I RESTART', c.relname)) AS restart
	FROM pg_class c WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'dbos') AND c.relkind = 'S' ORDER BY c.relname::text COLLATE "C";
\echo -- attack 41: making objects in schema dbos, or taking the schema or the extension over
SELECT command, rights.attempt(command) FROM (VALUES ('CREATE TABLE dbos.x (a int)'), ('CREATE FUNCTION dbos.x() RETURNS int LANGUAGE sql AS ''SELECT 1'''), ('CREATE TYPE dbos.x AS (a int)'),
	('ALTER SCHEMA dbos RENAME TO x'), ('ALTER SCHEMA dbos OWNER TO regress_rights_eve'), ('DROP SCHEMA dbos CASCADE'), ('DROP EXTENSION dbos'), ('ALTER EXTENSION dbos UPDATE'), ('ALTER EXTENSION dbos SET SCHEMA eve'),
	('ALTER EXTENSION dbos ADD FUNCTION eve.a01()'), ('ALTER FUNCTION dbos.submit RENAME TO x'), ('CREATE OR REPLACE FUNCTION dbos.version() RETURNS text LANGUAGE sql AS ''SELECT ''''x'''''''),
	('CREATE FUNCTION eve.c() RETURNS void LANGUAGE c AS ''dbos'', ''dbos_start'''), ('LOAD ''dbos''')) v(command);
\echo -- attack 42: becoming dbos_owner
SELECT command, rights.attempt(command) FROM (VALUES ('SET ROLE dbos_owner'), ('GRANT dbos_owner TO regress_rights_eve'), ('GRANT dbos_admin TO regress_rights_eve'), ('ALTER ROLE dbos_owner LOGIN'), ('ALTER ROLE dbos_owner RENAME TO x'), ('ALTER SCHEMA eve OWNER TO dbos_owner'), ('CREATE SCHEMA x AUTHORIZATION dbos_owner')) v(command);

\echo -- attack 43: what a cheap function sees before the filters of the views do their work
SELECT count(*) FROM dbos.tasks WHERE leak(concat_ws(' ', args, result, error, progress_note, attributes, function, idempotency_key, queue)) AND args::text LIKE '%secret%';
SELECT count(*) FROM dbos.attempts WHERE leak(error::text) AND outcome = 'nothing';
SELECT count(*) FROM dbos.function_stats WHERE leak(function) AND count < 0;
SELECT count(*) FROM dbos.containers WHERE leak('ann.' || name) AND name = 'nothing';
SELECT count(*) FROM dbos.tasks t WHERE t.id IN (:secret, :fails, :slow, :later, :sql);
\echo -- attack 44: the functions behind the views
SELECT count(*) FROM dbos.running_tasks() WHERE id = :slow OR note LIKE '%secret%';
SELECT * FROM dbos.list_workers();
SELECT * FROM dbos.workers;
SELECT * FROM dbos.decisions;
\echo -- attack 45: result, wait, cancel and retry of tasks of others, which do not exist for the attacker
SELECT c.name, bool_and(rights.message(format('SELECT dbos.%s(%s)', c.name, t.id), t.id) = rights.message(format('SELECT dbos.%s(-5)', c.name), -5)) AS as_if_absent
	FROM (VALUES ('result'), ('wait'), ('cancel'), ('retry')) c(name), (VALUES (:secret::bigint), (:fails), (:slow), (:later), (:sql)) t(id) GROUP BY 1 ORDER BY 1;
SELECT rights.message('SELECT dbos.result(-5)', -5);
\echo -- attack 46: learning of tasks of others by waiting for them
SELECT bool_and(rights.message(format('SELECT dbos.submit(''pi'', after => ARRAY[%s])', t.id), t.id) = rights.message('SELECT dbos.submit(''pi'', after => ARRAY[-5])', -5)) AS as_if_absent
	FROM (VALUES (:secret::bigint), (:fails), (:slow), (:later)) t(id);
\echo -- attack 47: the idempotency key of another
SELECT dbos.submit('pi', idempotency_key => 'key of ann') <> :secret AS own;
\echo -- attack 48: progress outside of a task
SELECT dbos.progress(1, 'x');
SELECT dbos.current_task();
\echo -- attack 49: queues of others
SELECT rights.attempt(format('SELECT dbos.%s', c)) FROM (VALUES ('pause_queue(''ann queue'')'), ('resume_queue(''ann queue'')'), ('alter_queue(''ann queue'', 0)'), ('drop_queue(''ann queue'')'), ('create_queue(''ann queue'')'),
	('pause_queue(''default'')'), ('alter_queue(''default'', 0)'), ('drop_queue(''default'')')) v(c);
\echo -- attack 50: containers of others
SELECT rights.attempt(format('SELECT dbos.%s', c)) FROM (VALUES ('enter_container(''ann box'')'), ('enter_container(''/ann box'')'), ('drop_container(''ann box'')'), ('create_container(''x'', ''ann box'')'), ('create_container(''ann box'')')) v(c);
\echo -- attack 51: the way out of a container
SELECT dbos.create_container('eve box');
SELECT dbos.create_queue('outside');
SELECT dbos.submit('pi') AS outside \gset
BEGIN;
SELECT dbos.enter_container('eve box');
SELECT rights.attempt(format('SELECT dbos.enter_container(%L)', c)) FROM (VALUES ('/'), ('..'), ('../'), ('/eve box'), ('.'), (''), ('eve box'), ('/ann box')) v(c);
SELECT count(*) FROM dbos.tasks;
SELECT count(*) FROM dbos.queues WHERE leak('ann.' || name) AND name <> '';
SELECT rights.message(format('SELECT dbos.%s(%s)', c, :outside), :outside) LIKE '42704%' AS absent FROM (VALUES ('result'), ('cancel'), ('retry'), ('wait')) v(c);
SELECT count(*) FROM generate_series(0, 20) a, generate_series(1, 20) b WHERE a > 0 AND dbos.container_contains(a, b) AND NOT dbos.in_container(b);
SELECT count(*) FROM generate_series(0, 20) a WHERE dbos.container_path(a) NOT LIKE '/eve box%';
ROLLBACK;
SELECT dbos.current_container();
\echo -- attack 52: statistics about our tables
SELECT count(*) FROM pg_stats WHERE schemaname = 'dbos';
SELECT rights.attempt('SELECT FROM pg_statistic'), rights.attempt('SELECT FROM pg_statistic_ext_data');
\echo -- attack 53: what workers of others do, as the server shows it
SELECT count(*) FROM pg_stat_activity WHERE pid = :ann_worker AND query <> '<insufficient privilege>';
CREATE FUNCTION a55() RETURNS text[] LANGUAGE sql AS $$SELECT ARRAY[(SELECT count(*)::text FROM pg_prepared_statements), (SELECT count(*)::text FROM pg_cursors), (SELECT replace(query, '"', '') FROM pg_stat_activity WHERE pid = pg_backend_pid())]$$;
CALL dbos.run('eve.a55');
SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%secret of ann%' AND pid <> pg_backend_pid();
\echo -- attack 54: ending and cancelling workers of others, and processes of the system
CREATE FUNCTION a56(pid int) RETURNS text[] LANGUAGE sql AS $$SELECT ARRAY[rights.attempt(format('SELECT pg_terminate_backend(%s)', pid)), rights.attempt(format('SELECT pg_cancel_backend(%s)', pid))]$$;
SELECT a56(:ann_worker);
SELECT dbos.submit('a56', jsonb_build_array(:ann_worker::int)) AS task \gset
SELECT dbos.wait(:task);
SELECT a56(:launcher);
\echo -- attack 55: files, programs, libraries and large objects, from a task as from a session
CREATE FUNCTION a57() RETURNS text[] LANGUAGE sql AS $$SELECT array_agg(rights.attempt(c)) FROM (VALUES ('COPY eve.caught TO PROGRAM ''cat'''), ('COPY eve.caught FROM ''/etc/passwd'''), ('SELECT pg_read_file(''PG_VERSION'')'), ('SELECT lo_import(''/etc/passwd'')'), ('LOAD ''/tmp/x.so'''), ('SELECT pg_reload_conf()'), ('ALTER SYSTEM SET work_mem = 1'), ('CREATE ROLE x'), ('SELECT FROM pg_authid')) v(c)$$;
CALL dbos.run('eve.a57');
\echo -- attack 56: advisory locks on every key that the system could use
SELECT bool_and(pg_try_advisory_lock(i) AND pg_try_advisory_lock(i, j)) AS mine FROM generate_series(0, 200) i, generate_series(0, 2) j;
SELECT dbos.submit('pi', delay => '10 ms') AS task \gset
SELECT dbos.wait(:task);
SELECT pg_advisory_unlock_all();
\echo -- attack 57: locks on rows and tables of the system
SELECT rights.attempt('SELECT FROM dbos.tasks FOR UPDATE'), rights.attempt('SELECT FROM dbos.tasks FOR KEY SHARE'), rights.attempt('SELECT FROM dbos.task FOR KEY SHARE'), rights.attempt('LOCK TABLE dbos.task IN ACCESS SHARE MODE');
\echo -- attack 58: starting and stopping the system, and taking a database over
SELECT rights.attempt(format('SELECT dbos.%s()', c)) FROM (VALUES ('start'), ('stop'), ('extension_created'), ('guard_task')) v(c);
\echo -- attack 59: values at and beyond the limits
SELECT rights.attempt(format('SELECT dbos.submit(''pi'', %s)', o)) AS state, o FROM (VALUES ('max_attempts => 2147483647'), ('max_attempts => -2147483648'), ('priority => 2147483647'), ('priority => -2147483648'), ('delay => ''10000 years'''), ('run_at => ''infinity'''), ('run_at => ''-infinity'''),
	('deadline => ''infinity'''), ('deadline => ''-infinity'''), ('timeout => ''100000 years'''), ('timeout => ''-1 s'''), ('retry_delay => ''-1 s'''), ('retry_backoff => ''NaN'''), ('retry_backoff => ''Infinity'''), ('retry_backoff => ''-Infinity'''), ('retry_backoff => 0'),
	('idempotency_key => repeat(''k'', 1025)'), ('partition_key => repeat(''k'', 100000)'), ('idempotency_key => '''''), ('queue => repeat(''q'', 64)'), ('queue => repeat(''q'', 1000000)'), ('attributes => ''[]'''), ('after => ARRAY[[1], [2]]::bigint[]'), ('after => ARRAY[NULL]::bigint[]')) v(o);
\echo -- attack 60: names and documents that are too long, too deep or no text
SELECT rights.attempt('SELECT dbos.submit(repeat(''f'', 64))'), rights.attempt('SELECT dbos.submit(repeat(''f'', 10000000))'), rights.attempt('SELECT dbos.submit(repeat(''f.'', 10000))'), rights.attempt('SELECT dbos.submit(repeat(''"'', 101))'), rights.attempt('SELECT dbos.submit(''f('')');
SELECT rights.attempt('SELECT dbos.submit(''eve.a27'', (repeat(''['', 100000) || repeat('']'', 100000))::pg_catalog.jsonb)');
SELECT rights.attempt('SELECT dbos.submit(''eve.a27'', ''["\u0000"]'')'), rights.attempt('SELECT dbos.submit(''eve.a27'', jsonb_build_array(NULL))'), rights.attempt('SELECT dbos.submit(''eve.a27'', ''"x"'')');
SELECT rights.attempt('SELECT dbos.submit_sql(repeat(''('', 1000000))'), rights.attempt('SELECT dbos.submit_sql('''')'), rights.attempt('SELECT dbos.submit_sql('';;'')');
CALL dbos.run('eve.a27', jsonb_build_array(repeat('x', 10000000))) \gset
SELECT length(:'result');
SELECT rights.attempt('SELECT dbos.name_distance(repeat(''x'', 1000000), ''y'')'), rights.attempt('SELECT dbos.help(repeat(''x'', 1000000))'), rights.attempt('SELECT dbos.help(''(((['')');
SELECT rights.attempt('SELECT dbos.create_queue(repeat(''q'', 64))'), rights.attempt('SELECT dbos.create_queue('''')'), rights.attempt('SELECT dbos.create_queue(E''a\nb'')'), rights.attempt('SELECT dbos.create_container(repeat(''q'', 64))'), rights.attempt('SELECT dbos.create_container(''a/b'')');

\echo -- attack 61: a role without any of ours
\c - regress_rights_nobody
SELECT count(*) FROM (SELECT rights.attempt(format('SELECT dbos.%I(%s)', p.proname, (SELECT string_agg(format('NULL::%s', t), ', ') FROM unnest(p.proargtypes::pg_catalog.oid[]::regtype[]) t))) AS state
	FROM pg_proc p WHERE p.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'dbos') AND NOT 'internal'::regtype = ANY (p.proargtypes::pg_catalog.oid[])
	UNION ALL SELECT rights.attempt(format('SELECT FROM dbos.%I', c.relname)) FROM pg_class c WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'dbos') AND c.relkind IN ('r', 'p', 'v', 'S')) s WHERE state <> '42501';
\echo -- attack 62: a dbos_monitor and the content of tasks
\c - regress_rights_monitor
SELECT state, function LIKE 'ann.%' AS function, args, result, error, progress_note, attributes FROM dbos.tasks WHERE id IN (:secret, :fails, :slow, :sql) ORDER BY id;
SELECT count(*), count(error) FROM dbos.attempts WHERE task_id IN (:secret, :fails);
SELECT count(*), count(note) FROM dbos.running_tasks() WHERE id = :slow;
SELECT count(*) FROM dbos.decisions WHERE context::text LIKE '%secret of%';
SELECT rights.attempt(format('SELECT dbos.%s(%s)', c, :later)) FROM (VALUES ('result'), ('cancel'), ('retry'), ('wait'), ('submit')) v(c);
SELECT rights.attempt('SELECT dbos.start()'), rights.attempt('SELECT dbos.pause_queue(''default'')'), rights.attempt('SELECT FROM dbos.task');
\echo -- attack 63: a dbos_admin, who manages everything, and runs nothing as others
\c - regress_rights_admin
SELECT rights.attempt(c) FROM (VALUES ('SET ROLE regress_rights_ann'), ('SET ROLE dbos_owner'), ('SELECT FROM dbos.task'), ('INSERT INTO dbos.task_cancellation VALUES (1, now(), ''postgres'')'), ('CREATE TABLE dbos.x (a int)'), ('GRANT dbos_owner TO regress_rights_admin')) v(c);
SELECT args, result FROM dbos.tasks WHERE id = :secret;
CREATE TABLE pg_temp.mine AS SELECT dbos.submit_sql('RESET ROLE; SET ROLE NONE; SELECT session_user') AS id;
SELECT rights.ended(id) FROM pg_temp.mine;
\echo -- attack 64: who may write all data, and so a task in the name of a superuser
\c - regress_rights_writer
SELECT rights.message($q$INSERT INTO dbos.task SELECT 0, 16, 1, 'postgres', 'postgres', 0, 0, false, 0, NULL, now(), 0, 1, 0, '1 s', 2, NULL, NULL, 's', 'SELECT rights.try(64)', '{}', NULL, NULL, NULL, '{}'$q$, 0);
SELECT rights.message($q$UPDATE dbos.task SET session_role = 'postgres', role = 'postgres'$q$, 0);
\set VERBOSITY sqlstate
COPY dbos.task FROM '/dev/null';
\set VERBOSITY terse
\echo -- attack 65: a forged past, to be retried as a superuser
SELECT inhrelid::regclass AS part FROM pg_inherits WHERE inhparent = 'dbos.task_history'::regclass ORDER BY inhrelid LIMIT 1 \gset
SELECT relname AS part FROM pg_class WHERE oid = :'part'::regclass \gset
INSERT INTO dbos.task_history (id, state, queue_id, session_role, role, container_id, priority, submitted_at, finished_at, attempt, max_attempts, crashes, kind, function, args, attributes, retry_delay, retry_backoff, xid)
	SELECT -65, 'failed', 1, 'postgres', 'regress_rights_writer', 0, 0, to_timestamp(0), (right(:'part', 8) || ' 12:00+00')::timestamptz, 1, 1, 0, 's', 'RESET ROLE; SELECT rights.try(65)', '{}', '{}', '1 s', 2, '3';
SELECT dbos.retry(-65);
DELETE FROM dbos.task_history WHERE id = -65;
\echo -- attack 66: retrying with a new body what another ran as the role
\c - regress_rights_eve
SET ROLE regress_rights_group;
CREATE FUNCTION eve.a68() RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not this time'; END$$;
\c - regress_rights_bob
SET ROLE regress_rights_group;
SELECT dbos.submit('eve.a68') AS task \gset
SELECT rights.ended(:task);
\c - regress_rights_eve
SET ROLE regress_rights_group;
CREATE OR REPLACE FUNCTION eve.a68() RETURNS void LANGUAGE plpgsql AS $$BEGIN RESET ROLE; PERFORM rights.try(66); END$$;
SELECT rights.attempt(format('SELECT dbos.retry(%s)', :task));
\echo -- attack 67: a member that does not inherit sees the tasks of a role only when it sets that role
\c - regress_rights_noinherit
SET ROLE dbos_user;
SELECT count(*) FROM dbos.tasks;
SET ROLE regress_rights_group;
SELECT count(*) > 0 AS some FROM dbos.tasks;

-- What changes between submit and run.
\c - postgres
SELECT dbos.create_queue('rights held');
SELECT dbos.pause_queue('rights held');
CREATE ROLE regress_rights_brief LOGIN IN ROLE dbos_user, regress_rights_group;
CREATE ROLE regress_rights_renamed LOGIN IN ROLE dbos_user;
\c - regress_rights_brief
SELECT dbos.submit('pg_catalog.pi', queue => 'rights held') AS dropped \gset
SELECT dbos.submit('pg_catalog.version') AS brief_done \gset
SELECT rights.ended(:brief_done);
\c - regress_rights_renamed
SELECT dbos.submit('pg_catalog.pi', queue => 'rights held') AS renamed \gset
\c - regress_rights_bob
SET ROLE regress_rights_group;
SELECT dbos.submit('eve.a13', queue => 'rights held') AS revoked_role \gset
\c - regress_rights_eve
SELECT dbos.submit('rights.try', '[71]', queue => 'rights held') AS revoked_schema \gset
SELECT dbos.submit('pg_catalog.pi', queue => 'rights held') AS replaced \gset
\c - postgres
\echo -- attack 68: a new role with the name of one that was dropped with tasks
REASSIGN OWNED BY regress_rights_brief TO regress_rights_bob;
DROP ROLE regress_rights_brief;
CREATE ROLE regress_rights_brief LOGIN IN ROLE dbos_user;
\echo -- attack 69: a role that was renamed keeps its tasks, and its old name has none
ALTER ROLE regress_rights_renamed RENAME TO regress_rights_other;
CREATE ROLE regress_rights_renamed LOGIN IN ROLE dbos_user;
\echo -- attack 70: a membership that was revoked
REVOKE regress_rights_group FROM regress_rights_bob;
\echo -- attack 71: USAGE of the schema that was revoked
REVOKE USAGE ON SCHEMA rights FROM PUBLIC;
SELECT dbos.resume_queue('rights held');
SELECT rights.ended(:dropped) AS dropped;
SELECT rights.ended(:renamed) AS renamed;
SELECT rights.ended(:revoked_role) AS revoked_role;
SELECT rights.ended(:revoked_schema) AS revoked_schema;
GRANT USAGE ON SCHEMA rights TO PUBLIC;
\c - regress_rights_brief
SELECT count(*) FROM dbos.tasks;
SELECT rights.attempt(format('SELECT dbos.%s(%s)', c, t)) FROM (VALUES ('result'), ('cancel'), ('retry')) v(c), (VALUES (:dropped), (:brief_done)) w(t);
\c - regress_rights_renamed
SELECT count(*) FROM dbos.tasks;
\c - regress_rights_other
SELECT count(*) FROM dbos.tasks;
\c - regress_rights_bob
SELECT count(*) FROM dbos.tasks WHERE id IN (:dropped, :brief_done);
\echo -- attack 72: REASSIGN OWNED and DROP OWNED of a role with tasks
\c - regress_rights_eve
SELECT rights.attempt('REASSIGN OWNED BY regress_rights_ann TO regress_rights_eve'), rights.attempt('DROP OWNED BY regress_rights_ann'), rights.attempt('REASSIGN OWNED BY dbos_owner TO regress_rights_eve');

-- These wait for locks before they look at rights, so the tasks that run end first.
\c - postgres
INSERT INTO rights.go VALUES (0);
SELECT rights.ended(:slow);
\c - regress_rights_eve
SET search_path = eve;
\echo -- attack 73: reading and writing every table, sequence and view of ours
CREATE FUNCTION touch_all() RETURNS TABLE (relkind "char", done text) LANGUAGE sql AS $$
	SELECT c.relkind, string_agg(DISTINCT k.what, ' ') FILTER (WHERE rights.attempt(format(k.command, c.relname)) = 'done')
	FROM pg_class c, (VALUES ('select', 'SELECT FROM dbos.%I'), ('insert', 'INSERT INTO dbos.%I DEFAULT VALUES'), ('update', 'UPDATE dbos.%I SET ctid = NULL'), ('delete', 'DELETE FROM dbos.%I'),
		('truncate', 'TRUNCATE dbos.%I'), ('copy', 'COPY dbos.%I TO ''/dev/null'''), ('lock', 'LOCK TABLE dbos.%I IN ROW SHARE MODE'), ('exclusive', 'LOCK TABLE dbos.%I IN ACCESS EXCLUSIVE MODE'),
		('trigger', 'CREATE TRIGGER t BEFORE INSERT ON dbos.%I FOR EACH STATEMENT EXECUTE FUNCTION eve.bite()'), ('rule', 'CREATE RULE r AS ON INSERT TO dbos.%I DO ALSO SELECT rights.try(73)'),
		('policy', 'CREATE POLICY p ON dbos.%I USING (true)'), ('inherit', 'CREATE TABLE eve.heir () INHERITS (dbos.%I)'), ('reference', 'CREATE TABLE eve.ref (id bigint REFERENCES dbos.%I)'),
		('index', 'CREATE INDEX ON dbos.%I ((rights.try(73)))'), ('statistics', 'CREATE STATISTICS eve.s ON id, shard FROM dbos.%I'), ('comment', 'COMMENT ON TABLE dbos.%I IS ''x'''),
		('owner', 'ALTER TABLE dbos.%I OWNER TO regress_rights_eve'), ('grant', 'GRANT ALL ON dbos.%I TO regress_rights_eve'), ('drop', 'DROP TABLE dbos.%I'), ('drop view', 'DROP VIEW dbos.%I'), ('rls', 'ALTER TABLE dbos.%I DISABLE TRIGGER ALL'),
		('publish', 'CREATE PUBLICATION p FOR TABLE dbos.%I'), ('replace', 'CREATE OR REPLACE VIEW dbos.%I AS SELECT 1')) k(what, command)
	WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'dbos') AND c.relkind IN ('r', 'p', 'S', 'v') AND NOT has_table_privilege(c.oid, 'SELECT')
	GROUP BY c.relkind ORDER BY 1 $$;
SELECT * FROM touch_all();
\echo -- attack 74: writing and locking through the views that are granted
SELECT DISTINCT string_agg(DISTINCT k.what, ' ') FILTER (WHERE rights.attempt(format(k.command, c.relname)) = 'done')
	FROM pg_class c, (VALUES ('insert', 'INSERT INTO dbos.%I DEFAULT VALUES'), ('delete', 'DELETE FROM dbos.%I'), ('share', 'LOCK TABLE dbos.%I IN SHARE MODE'), ('exclusive', 'LOCK TABLE dbos.%I IN ACCESS EXCLUSIVE MODE'),
		('rule', 'CREATE RULE r AS ON INSERT TO dbos.%I DO INSTEAD SELECT rights.try(74)'), ('trigger', 'CREATE TRIGGER t INSTEAD OF INSERT ON dbos.%I FOR EACH ROW EXECUTE FUNCTION eve.bite()')) k(what, command)
	WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'dbos') AND c.relkind = 'v' AND has_table_privilege(c.oid, 'SELECT');

-- What was gained: who the hostile code ran as, and what it wrote.
\c - postgres
SELECT session_who, who, string_agg(DISTINCT to_char(attack, 'FM00'), ' ' ORDER BY to_char(attack, 'FM00')) AS attacks FROM rights.log GROUP BY 1, 2 ORDER BY session_who, who;
SELECT (SELECT count(*) FROM rights.canary) AS canaries_touched, (SELECT count(*) FROM eve.caught) AS secrets_caught;

SET client_min_messages = error;
SELECT dbos.cancel(:later);
SELECT count(dbos.cancel(id)) > 0 AS cancelled FROM dbos.tasks WHERE role::text LIKE 'regress\_rights%' AND finished_at IS NULL;
SELECT dbos.drop_queue('rights held'), dbos.drop_queue('ann queue'), dbos.drop_queue('outside');
SELECT dbos.drop_container('ann box'), dbos.drop_container('eve box');
DROP SCHEMA rights, eve, ann CASCADE;
DROP OWNED BY regress_rights_group, regress_rights_eve;
DROP ROLE regress_rights_ann, regress_rights_eve, regress_rights_bob, regress_rights_noinherit, regress_rights_nobody, regress_rights_monitor, regress_rights_admin, regress_rights_writer, regress_rights_brief, regress_rights_renamed, regress_rights_other, regress_rights_group;
