-- A task gains no rights by its session, and leaves none of it to the next task.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
CREATE ROLE regress_session_ann LOGIN IN ROLE dbos_user;
CREATE ROLE regress_session_eve LOGIN IN ROLE dbos_user;
CREATE SCHEMA regress_session;
GRANT ALL ON SCHEMA regress_session TO PUBLIC;
CREATE TABLE regress_session.seen (attack text, session_who name, who name, note text);
GRANT ALL ON regress_session.seen TO PUBLIC;
CREATE FUNCTION regress_session.see(attack text, note text DEFAULT NULL) RETURNS void LANGUAGE sql AS
	'INSERT INTO regress_session.seen VALUES (attack, session_user, current_user, note)';

\c - regress_session_eve
SET search_path = regress_session;
-- RESET ROLE, SET ROLE and SET SESSION AUTHORIZATION inside a task.
CREATE FUNCTION reset_role() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	RESET ROLE; PERFORM regress_session.see('reset role');
	BEGIN SET ROLE postgres; PERFORM regress_session.see('set role'); EXCEPTION WHEN OTHERS THEN PERFORM regress_session.see('set role', SQLSTATE); END;
	BEGIN SET ROLE dbos_owner; PERFORM regress_session.see('set role to owner'); EXCEPTION WHEN OTHERS THEN PERFORM regress_session.see('set role to owner', SQLSTATE); END;
	BEGIN SET SESSION AUTHORIZATION postgres; PERFORM regress_session.see('session authorization'); EXCEPTION WHEN OTHERS THEN PERFORM regress_session.see('session authorization', SQLSTATE); END;
END $$;
CALL dbos.run('reset_role');
-- A deferred trigger runs at the task's commit, after our bookkeeping.
CREATE TABLE deferred (x int);
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM regress_session.see('deferred trigger');
	RESET ROLE;
	PERFORM regress_session.see('deferred trigger after reset');
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit();
CREATE FUNCTION defer_it() RETURNS void LANGUAGE sql AS 'INSERT INTO regress_session.deferred VALUES (1)';
CALL dbos.run('defer_it');
-- Operators and functions of ours, found first by a hostile search_path.
CREATE FUNCTION equal(int8, int8) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM regress_session.see('operator'); RETURN true; END$$;
CREATE OPERATOR = (LEFTARG = int8, RIGHTARG = int8, FUNCTION = equal);
CREATE FUNCTION now() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN PERFORM regress_session.see('now'); RETURN clock_timestamp(); END$$;
CREATE FUNCTION hostile_path() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	SET search_path = regress_session, pg_catalog;
	PERFORM pg_catalog.set_config('row_security', 'off', false);
	SET transaction_read_only = on;
END $$;
CALL dbos.run('hostile_path');
SET search_path = regress_session, pg_catalog;
SELECT dbos.submit('hostile_path') AS task \gset
SELECT dbos.wait(:task);
SELECT dbos.cancel(:task);
SET search_path = regress_session;
-- A table of ours in pg_temp of the task's session.
CREATE FUNCTION temp_tables() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	CREATE TEMP TABLE task (id bigint); CREATE TEMP TABLE task_history (id bigint);
	CREATE FUNCTION pg_temp.in_container(int) RETURNS boolean LANGUAGE sql AS 'SELECT regress_session.see(''pg_temp'') IS NULL';
	RETURN dbos.submit('pg_catalog.now');
END $$;
CALL dbos.run('regress_session.temp_tables') \gset
SELECT dbos.wait(:result) IS NOT NULL AS ran;
-- What a task leaves in its session.
CREATE FUNCTION leave() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CREATE TEMP TABLE left_behind (x int);
	PERFORM pg_advisory_lock(4711);
	SET work_mem = '64kB';
	SET search_path = nowhere;
	EXECUTE 'PREPARE left_plan AS SELECT 1';
	EXECUTE 'DECLARE left_cursor CURSOR WITH HOLD FOR SELECT 1';
END $$;
CREATE FUNCTION find() RETURNS text[] LANGUAGE sql AS $$
	SELECT ARRAY[coalesce(to_regclass('pg_temp.left_behind')::text, 'no table'),
		(SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND pid = pg_backend_pid()),
		(current_setting('work_mem') = '64kB')::text, current_setting('search_path'),
		(SELECT count(*)::text FROM pg_prepared_statements WHERE name = 'left_plan'),
		(SELECT count(*)::text FROM pg_cursors WHERE name = 'left_cursor')]
$$;
CALL dbos.run('regress_session.leave');
CALL dbos.run('regress_session.find');

SELECT * FROM regress_session.seen ORDER BY attack, note;

-- A submit from a foreign SECURITY DEFINER function would run as its owner, by whoever may call it.
\c - regress_session_ann
CREATE FUNCTION regress_session.trusted(what text) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT dbos.submit(what)';
\c - regress_session_eve
SELECT regress_session.trusted('regress_session.reset_role');

-- Content of others.
\c - regress_session_ann
CREATE FUNCTION regress_session.secret(s text) RETURNS text LANGUAGE sql AS 'SELECT s';
CALL dbos.run('regress_session.secret', '["the secret of ann"]');
\c - regress_session_eve
CREATE FUNCTION regress_session.leak(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
	$$BEGIN RAISE NOTICE 'leaked: %', t; RETURN true; END$$;
SELECT count(*) FROM dbos.tasks WHERE regress_session.leak(args::text) AND function LIKE '%secret%';
SELECT count(*) FROM dbos.attempts WHERE regress_session.leak(error::text) AND outcome = 'nothing';
SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%secret of ann%' AND pid <> pg_backend_pid();
SELECT count(*) FROM dbos.workers;
SELECT count(*) FROM dbos.decisions;
SELECT dbos.start();
SELECT dbos.stop();
SELECT dbos.extension_created();
SELECT * FROM dbos.list_workers();
INSERT INTO dbos.task_cancellation VALUES (1, now(), 'postgres');
SELECT nextval('dbos.task_id') > 0 AS ids;
SELECT dbos.pause_queue('default');
SELECT dbos.drop_queue('default');
SELECT dbos.alter_queue('default', 0);

-- What changes between submit and run is checked again.
\c - postgres
SELECT dbos.create_queue('regress_session');
SELECT dbos.pause_queue('regress_session');
\c - regress_session_eve
SELECT dbos.submit('regress_session.secret', '["x"]', queue => 'regress_session') AS revoked \gset
SELECT dbos.submit('regress_session.leave', queue => 'regress_session') AS dropped \gset
\c - postgres
REVOKE EXECUTE ON FUNCTION regress_session.secret(text) FROM PUBLIC;
DROP FUNCTION regress_session.leave();
SELECT dbos.resume_queue('regress_session');
DO $$
DECLARE
	id bigint;
BEGIN
	FOR id IN SELECT t.id FROM dbos.tasks t WHERE t.queue = 'regress_session' ORDER BY t.id LOOP
		BEGIN PERFORM dbos.wait(id); EXCEPTION WHEN OTHERS THEN RAISE NOTICE '% %', SQLSTATE, SQLERRM; END;
	END LOOP;
END $$;
-- A role that cannot log in any more: its tasks fail, also where a worker of it is there still.
SELECT dbos.pause_queue('regress_session');
\c - regress_session_eve
SELECT dbos.submit('pg_catalog.now', queue => 'regress_session') AS nologin \gset
\c - postgres
ALTER ROLE regress_session_eve NOLOGIN;
SELECT dbos.resume_queue('regress_session');
DO $$ BEGIN PERFORM dbos.wait((SELECT max(id) FROM dbos.tasks WHERE queue = 'regress_session')); EXCEPTION WHEN OTHERS THEN RAISE NOTICE '% %', SQLSTATE, SQLERRM; END $$;
SELECT dbos.drop_queue('regress_session');
SET client_min_messages = warning;
DROP SCHEMA regress_session CASCADE;
DROP ROLE regress_session_ann, regress_session_eve;
