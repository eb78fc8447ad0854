-- Attacks by a role that may submit tasks and owns a schema: each with its name, and none gains anything.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE rights_ann LOGIN IN ROLE dbos_user;
CREATE ROLE rights_eve LOGIN IN ROLE dbos_user;
CREATE ROLE rights_carl LOGIN NOINHERIT IN ROLE dbos_user, rights_ann;
CREATE SCHEMA rights;
CREATE SCHEMA rights_ann AUTHORIZATION rights_ann;
CREATE SCHEMA rights_eve AUTHORIZATION rights_eve;
GRANT USAGE ON SCHEMA rights, rights_ann, rights_eve TO PUBLIC;
-- What only ann and the superuser may write to: a row is a right gained.
CREATE TABLE rights.canary (number int, who name DEFAULT current_user);
GRANT INSERT ON rights.canary TO rights_ann;
-- As whom attacking code ran where the attacker did not call it.
CREATE TABLE rights.ran_as (number int, who name DEFAULT current_user, session_who name DEFAULT session_user);
CREATE TABLE rights.outcome (number int, attack text, outcome text);
GRANT INSERT, SELECT ON rights.ran_as, rights.outcome TO PUBLIC;

-- An attack as a statement of the session; what it returns, or how it is refused, is its outcome.
CREATE FUNCTION rights.try(number int, attack text, command text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	BEGIN
		EXECUTE command INTO result;
		result := 'returned ' || coalesce(result, 'nothing');
	EXCEPTION WHEN OTHERS THEN
		result := 'refused ' || SQLSTATE;
	END;
	INSERT INTO rights.outcome VALUES (number, attack, result);
END $$;
-- An attack as the body of a task.
CREATE PROCEDURE rights.in_task(number int, attack text, body text) LANGUAGE plpgsql AS $$
DECLARE
	task bigint;
	ended text;
BEGIN
	EXECUTE format('CREATE FUNCTION rights_eve.attack_%s() RETURNS text LANGUAGE plpgsql AS %L', number,
		'DECLARE n int := ' || number || '; BEGIN BEGIN ' || body || '; EXCEPTION WHEN OTHERS THEN RETURN ''refused '' || SQLSTATE; END; RETURN ''went through''; END');
	task := dbos.submit('rights_eve.attack_' || number);
	COMMIT;
	LOOP
		SELECT state || ': ' || coalesce(result #>> '{}', error->>'sqlstate', '') INTO ended
		FROM dbos.tasks WHERE id = task AND finished_at IS NOT NULL;
		EXIT WHEN ended IS NOT NULL;
		COMMIT;
		PERFORM pg_sleep(0.005);
	END LOOP;
	INSERT INTO rights.outcome VALUES (number, attack, ended);
END $$;

-- What ann has: a secret, a task that waits, one that failed, a queue, a container.
\c - rights_ann
SET client_min_messages = warning;
CREATE FUNCTION rights_ann.keep(s text) RETURNS text LANGUAGE sql AS 'SELECT s';
CREATE FUNCTION rights_ann.fail(s text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no: %', s; END$$;
REVOKE ALL ON FUNCTION rights_ann.keep(text) FROM PUBLIC;
CREATE FUNCTION rights_ann.trusted(what text) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT dbos.submit(what)';
CREATE FUNCTION rights_ann.write_canary() RETURNS void LANGUAGE sql AS 'INSERT INTO rights.canary VALUES (-1)';
SELECT dbos.create_container('rights_ann_box');
SELECT dbos.submit('rights_ann.keep', '["secret of ann"]') AS done, dbos.submit('rights_ann.fail', '["secret of ann"]') AS failed \gset
SELECT dbos.wait(:done) IS NOT NULL AS done;
DO $$ BEGIN PERFORM dbos.wait(max(id)) FROM dbos.tasks; EXCEPTION WHEN OTHERS THEN NULL; END $$;
SELECT dbos.submit('rights_ann.keep', '["secret of ann"]', delay => '1 hour', idempotency_key => 'the key') AS waits \gset
\c - postgres
SET client_min_messages = warning;
SELECT dbos.create_queue('rights_queue');
CREATE TABLE rights.of_ann AS SELECT :done::bigint AS done, :failed::bigint AS failed, :waits::bigint AS waits;
GRANT SELECT ON rights.of_ann TO PUBLIC;
CREATE TABLE rights.processes AS SELECT pid FROM pg_stat_activity WHERE backend_type IN ('dbos launcher', 'checkpointer');
GRANT SELECT ON rights.processes TO PUBLIC;

\c - rights_eve
SET client_min_messages = warning;
-- ---- to be somebody else ----
CALL rights.in_task(1, 'RESET ROLE', 'RESET ROLE; INSERT INTO rights.canary VALUES (n)');
CALL rights.in_task(2, 'SET ROLE to the superuser', 'SET ROLE postgres; INSERT INTO rights.canary VALUES (n)');
CALL rights.in_task(3, 'SET ROLE to the owner of dbos', 'SET ROLE dbos_owner; DELETE FROM dbos.task; INSERT INTO rights.canary VALUES (n)');
CALL rights.in_task(4, 'SET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION postgres; INSERT INTO rights.canary VALUES (n)');
CALL rights.in_task(5, 'SET SESSION AUTHORIZATION DEFAULT', 'SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; INSERT INTO rights.canary VALUES (n)');
CALL rights.in_task(6, 'set_config of role', 'PERFORM set_config(''role'', ''postgres'', false); INSERT INTO rights.canary VALUES (n)');
CALL rights.in_task(7, 'set_config of session_authorization', 'PERFORM set_config(''session_authorization'', ''postgres'', false); INSERT INTO rights.canary VALUES (n)');
CALL rights.in_task(8, 'DISCARD ALL', 'DISCARD ALL; INSERT INTO rights.canary VALUES (n)');
SELECT rights.try(9, 'submit by a SECURITY DEFINER function of another', $$SELECT rights_ann.trusted('rights_eve.attack_1')$$);
CALL rights.in_task(10, 'the same inside a task', 'PERFORM rights_ann.trusted(''rights_eve.attack_1'')');
SELECT rights.try(11, 'submit a function that another may run', $$SELECT dbos.submit('rights_ann.keep', '["x"]')$$);
CALL rights.in_task(12, 'call a function that writes as its caller', 'PERFORM rights_ann.write_canary()');
-- ---- code that runs where dbos acts ----
CREATE TABLE rights_eve.deferred (n int);
CREATE FUNCTION rights_eve.at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO rights.ran_as VALUES (NEW.n);
	RESET ROLE;
	INSERT INTO rights.ran_as VALUES (NEW.n);
	BEGIN INSERT INTO rights.canary VALUES (NEW.n); EXCEPTION WHEN insufficient_privilege THEN NULL; END;
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON rights_eve.deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION rights_eve.at_commit();
CALL rights.in_task(13, 'a deferred trigger at the commit of the task', 'INSERT INTO rights_eve.deferred VALUES (n)');
CREATE FUNCTION rights_eve.spy(n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO rights.ran_as VALUES (n);
	BEGIN INSERT INTO rights.canary VALUES (n); EXCEPTION WHEN insufficient_privilege THEN NULL; END;
	RETURN n;
END $$;
CREATE DOMAIN rights_eve.checked AS int CHECK (rights_eve.spy(14) = 14);
CREATE FUNCTION rights_eve.takes_domain(d rights_eve.checked) RETURNS int LANGUAGE sql AS 'SELECT d';
SELECT rights.try(14, 'a domain whose check spies, as an argument', $$SELECT dbos.submit('rights_eve.takes_domain', '[1]') > 0$$);
CREATE FUNCTION rights_eve.has_default(d int DEFAULT rights_eve.spy(15)) RETURNS int LANGUAGE sql AS 'SELECT d';
SELECT rights.try(15, 'a default that spies', $$SELECT dbos.submit('rights_eve.has_default') > 0$$);
CREATE FUNCTION rights_eve.spy_equal(int8, int8) RETURNS boolean LANGUAGE sql AS 'SELECT rights_eve.spy(16) = 16';
CREATE OPERATOR rights_eve.= (LEFTARG = int8, RIGHTARG = int8, FUNCTION = rights_eve.spy_equal);
CREATE FUNCTION rights_eve.in_container(int) RETURNS boolean LANGUAGE sql AS 'SELECT rights_eve.spy(16) = 16';
CREATE FUNCTION rights_eve.pg_has_role(oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT rights_eve.spy(16) = 16';
SET search_path = rights_eve, pg_catalog;
SELECT rights.try(16, 'operators and functions of the same names, first in search_path', $$SELECT count(*) FROM dbos.tasks WHERE queue = 'nowhere'$$);
SELECT rights.try(17, 'the same, with cancel', $$SELECT dbos.cancel(dbos.submit('pg_catalog.now', delay => '1 hour'))$$);
RESET search_path;
CALL rights.in_task(18, 'search_path of the role', 'ALTER ROLE rights_eve SET search_path = rights_eve, pg_catalog');
CALL rights.in_task(19, 'a temporary function of our names', 'CREATE FUNCTION pg_temp.in_container(int) RETURNS boolean LANGUAGE sql AS ''SELECT rights_eve.spy(19) = 19''; PERFORM count(*) FROM dbos.tasks');
CALL rights.in_task(20, 'temporary tables of our names', 'CREATE TEMP TABLE task (id bigint); CREATE TEMP TABLE task_history (id bigint); CREATE TEMP TABLE task_pkey (id bigint)');
CALL rights.in_task(21, 'an event trigger', 'EXECUTE ''CREATE FUNCTION rights_eve.fired() RETURNS event_trigger LANGUAGE plpgsql AS $f$BEGIN END$f$''; CREATE EVENT TRIGGER rights_fired ON ddl_command_end EXECUTE FUNCTION rights_eve.fired()');
CREATE TABLE rights_eve.indexed (n int);
CREATE FUNCTION rights_eve.spy_immutable(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN rights_eve.spy(n); END$$;
CREATE INDEX ON rights_eve.indexed (rights_eve.spy_immutable(n));
CALL rights.in_task(22, 'an index expression', 'INSERT INTO rights_eve.indexed VALUES (n)');
SELECT rights.try(23, 'SQL text with a view that spies', $$SELECT dbos.submit_sql('CREATE VIEW rights_eve.v AS SELECT rights_eve.spy(23) AS n; SELECT * FROM rights_eve.v') > 0$$);
-- ---- settings, files, processes ----
CALL rights.in_task(24, 'session_replication_role', 'SET session_replication_role = replica');
CALL rights.in_task(25, 'settings of dbos', 'SET dbos.max_workers = 1000');
CALL rights.in_task(26, 'a forged task', 'PERFORM set_config(''dbos.current_task'', ''1'', false)');
CALL rights.in_task(27, 'a forged container', 'PERFORM set_config(''dbos.container'', ''/'', false)');
CALL rights.in_task(28, 'hide from the log', 'SET log_statement = none');
CALL rights.in_task(29, 'ALTER SYSTEM', 'EXECUTE ''ALTER SYSTEM SET work_mem = 64''');
CALL rights.in_task(30, 'COPY to a program', 'COPY (SELECT 1) TO PROGRAM ''true''');
CALL rights.in_task(31, 'read a file of the server', 'PERFORM pg_read_file(''postgresql.conf'')');
CALL rights.in_task(32, 'LOAD a library', 'LOAD ''$libdir/dblink''');
CALL rights.in_task(33, 'a C function', 'CREATE FUNCTION rights_eve.c() RETURNS int LANGUAGE c AS ''dbos'', ''dbos_start''');
CALL rights.in_task(34, 'end the launcher', 'PERFORM pg_terminate_backend(pid) FROM rights.processes');
CALL rights.in_task(35, 'lock our tables', 'LOCK TABLE dbos.task');
CALL rights.in_task(36, 'end the task''s transaction', 'COMMIT');
SELECT rights.try(37, 'SQL text that ends its transaction', $$SELECT dbos.submit_sql('DELETE FROM rights.canary; COMMIT; RESET ROLE')$$);
-- ---- our tables and functions ----
SELECT rights.try(38, 'read or change any table of ours', $$SELECT string_agg(c.relname, ', ' ORDER BY 1) FROM pg_class c WHERE relnamespace = 'dbos'::regnamespace AND relkind IN ('r', 'p')
	AND has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')$$);
SELECT rights.try(39, 'change a view of ours', $$SELECT string_agg(c.relname, ', ' ORDER BY 1) FROM pg_class c WHERE relnamespace = 'dbos'::regnamespace AND relkind = 'v'
	AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRIGGER')$$);
SELECT rights.try(40, 'use a sequence of ours', $$SELECT string_agg(c.relname, ', ' ORDER BY 1) FROM pg_class c WHERE relnamespace = 'dbos'::regnamespace AND relkind = 'S'
	AND CASE WHEN relkind = 'S' THEN has_sequence_privilege(c.oid, 'USAGE, SELECT, UPDATE') END$$);
-- But the defaults of a mailbox's columns, which ask for the right to INSERT.
SELECT rights.try(41, 'a function of ours that everybody may call', $$SELECT count(*) FROM pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner))) a WHERE pronamespace = 'dbos'::regnamespace AND a.grantee = 0 AND proname NOT IN ('message_id', 'message_segment')$$);
SELECT rights.try(42, 'INSERT a task', $$INSERT INTO dbos.task SELECT * FROM dbos.task LIMIT 0$$);
SELECT rights.try(43, 'make objects in our schema', $$CREATE TABLE dbos.mine (x int)$$);
SELECT rights.try(44, 'replace a function of ours', $$CREATE OR REPLACE FUNCTION dbos.version() RETURNS text LANGUAGE sql AS 'SELECT 1::text'$$);
SELECT rights.try(45, 'become the owner', $$GRANT dbos_owner TO rights_eve$$);
SELECT rights.try(46, 'drop the extension', $$DROP EXTENSION dbos CASCADE$$);
SELECT rights.try(47, 'take dbos.task into an extension of one''s own', $$ALTER EXTENSION dbos DROP TABLE dbos.task$$);
SELECT rights.try(48, 'start', 'SELECT dbos.start()');
SELECT rights.try(49, 'stop', 'SELECT dbos.stop()');
SELECT rights.try(50, 'play the script of the extension', 'SELECT dbos.extension_created()');
-- ---- what is others' ----
SELECT rights.try(51, 'see tasks', $$SELECT count(*) FROM dbos.tasks WHERE role::text = 'rights_ann'$$);
SELECT rights.try(52, 'see attempts', $$SELECT count(*) FROM dbos.attempts a, rights.of_ann o WHERE a.task_id IN (o.done, o.failed, o.waits)$$);
SELECT rights.try(53, 'see statistics of functions', $$SELECT count(*) FROM dbos.function_stats WHERE function LIKE 'rights\_ann%'$$);
SELECT rights.try(54, 'see decisions', 'SELECT count(*) FROM dbos.decisions');
SELECT rights.try(55, 'see workers', 'SELECT count(*) FROM dbos.workers');
CREATE FUNCTION rights_eve.leak(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
	$$BEGIN IF t LIKE '%secret of ann%' THEN INSERT INTO rights.ran_as VALUES (56); END IF; RETURN true; END$$;
SELECT rights.try(56, 'a leaky function on the views', $$SELECT count(*) FROM (SELECT FROM dbos.tasks WHERE rights_eve.leak(args::text) AND rights_eve.leak(result::text) AND rights_eve.leak(error::text) AND role::text = 'rights_ann'
	UNION ALL SELECT FROM dbos.attempts WHERE rights_eve.leak(error::text) AND task_id = -1) x$$);
SELECT rights.try(57, 'statistics of our tables', $$SELECT count(*) FROM pg_stats WHERE schemaname = 'dbos'$$);
SELECT rights.try(58, 'statements of other processes', $$SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%secret of ann%' AND pid <> pg_backend_pid()$$);
SELECT rights.try(59, 'result', 'SELECT dbos.result(done) FROM rights.of_ann');
SELECT rights.try(60, 'wait', 'SELECT dbos.wait(failed) FROM rights.of_ann');
SELECT rights.try(61, 'cancel', 'SELECT dbos.cancel(waits) FROM rights.of_ann');
SELECT rights.try(62, 'retry', 'SELECT dbos.retry(failed) FROM rights.of_ann');
SELECT rights.try(63, 'learn by a dependency how it ended', $$SELECT dbos.submit('pg_catalog.now', after => ARRAY[failed]) FROM rights.of_ann$$);
SELECT rights.try(64, 'or whether it is there', $$SELECT dbos.submit('pg_catalog.now', after => ARRAY[9223372036854775807])$$);
SELECT rights.try(65, 'take an idempotency key', $$SELECT dbos.submit('pg_catalog.now', idempotency_key => 'the key', delay => '1 hour') = waits FROM rights.of_ann$$);
SELECT rights.try(66, 'pause a queue', $$SELECT dbos.pause_queue('default')$$);
SELECT rights.try(67, 'alter a queue of another', $$SELECT dbos.alter_queue('rights_queue', 0)$$);
SELECT rights.try(68, 'drop a queue of another', $$SELECT dbos.drop_queue('rights_queue')$$);
SELECT rights.try(69, 'enter a container', $$SELECT dbos.enter_container('rights_ann_box')$$);
SELECT rights.try(70, 'drop a container', $$SELECT dbos.drop_container('rights_ann_box')$$);
CALL rights.in_task(71, 'cancel a task from a task', 'PERFORM dbos.cancel(waits) FROM rights.of_ann');
CALL rights.in_task(72, 'interrupt the launcher', 'PERFORM pg_cancel_backend(pid) FROM rights.processes');
-- ---- at the door ----
SELECT rights.try(73, 'arguments without end', $$SELECT dbos.submit('pg_catalog.length(text)', to_jsonb(ARRAY[repeat('x', 20000000)])) IS NULL$$);
SELECT rights.try(74, 'a document a hundred thousand deep', $$SELECT dbos.submit('pg_catalog.now', (repeat('[', 100000) || repeat(']', 100000))::jsonb)$$);
SELECT rights.try(75, 'more attempts than there are', $$SELECT dbos.submit('pg_catalog.now', max_attempts => 2147483647, delay => '1 hour') > 0$$);
SELECT rights.try(76, 'a negative delay', $$SELECT dbos.submit('pg_catalog.now', delay => '-1 year')$$);
SELECT rights.try(77, 'a time-out of a million years', $$SELECT dbos.submit('pg_catalog.now', timeout => '1000000 years')$$);
SELECT rights.try(78, 'the end of time', $$SELECT dbos.submit('pg_catalog.now', run_at => 'infinity')$$);
SELECT rights.try(79, 'before its beginning', $$SELECT dbos.submit('pg_catalog.now', deadline => '-infinity')$$);
SELECT rights.try(80, 'a name of four kilobytes', $$SELECT dbos.submit(repeat('x', 4096))$$);
SELECT rights.try(81, 'a queue of four kilobytes', $$SELECT dbos.submit('pg_catalog.now', queue => repeat('x', 4096))$$);
SELECT rights.try(82, 'a function name with SQL in it', $$SELECT dbos.submit('pg_catalog.now(); INSERT INTO rights.canary VALUES (82); --')$$);
SELECT rights.try(83, 'SQL in the types of the arguments', $$SELECT dbos.submit('pg_catalog.now(int); DROP TABLE rights.canary')$$);
SELECT rights.try(84, 'not a number', $$SELECT dbos.submit('pg_catalog.now', max_attempts => 2, retry_backoff => 'NaN')$$);

-- ---- rights that change between submit and run ----
\c - postgres
SET client_min_messages = warning;
SELECT dbos.pause_queue('rights_queue');
CREATE FUNCTION rights_ann.shared() RETURNS text LANGUAGE sql AS 'SELECT current_user::text';
CREATE ROLE rights_gone LOGIN IN ROLE dbos_user;
GRANT rights_ann TO rights_eve;
\c - rights_gone
SELECT dbos.submit('pg_catalog.now', queue => 'rights_queue') > 0 AS pending;
\c - rights_eve
SELECT dbos.submit('rights_ann.shared', queue => 'rights_queue') > 0 AS pending;
SET ROLE rights_ann;
SELECT dbos.submit('rights_ann.write_canary', queue => 'rights_queue') > 0 AS pending;
\c - postgres
SET client_min_messages = warning;
REVOKE rights_ann FROM rights_eve;
REVOKE USAGE ON SCHEMA rights_ann FROM PUBLIC;
DROP ROLE rights_gone;
CREATE ROLE rights_gone LOGIN IN ROLE dbos_user;
SELECT dbos.resume_queue('rights_queue');
DO $$
BEGIN
	FOR i IN 1 .. 1000 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM dbos.tasks WHERE queue = 'rights_queue' AND finished_at IS NULL);
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
INSERT INTO rights.outcome
	SELECT 84 + row_number() OVER (ORDER BY id), (ARRAY['a role of the same name as one that was dropped', 'a schema that was closed', 'a membership that was revoked'])[row_number() OVER (ORDER BY id)],
		state || ': ' || (error->>'sqlstate')
	FROM dbos.tasks WHERE queue = 'rights_queue';
-- A member that does not inherit has to take the role first.
\c - rights_carl
SET client_min_messages = warning;
SELECT rights.try(88, 'a member without INHERIT', 'SELECT dbos.cancel(waits) FROM rights.of_ann');
SELECT rights.try(89, 'and what he sees', $$SELECT count(*) FROM dbos.tasks WHERE role::text = 'rights_ann'$$);
-- Rights of dbos_monitor are to look, and not at content; dbos_admin is no superuser.
\c - postgres
SET client_min_messages = warning;
CREATE ROLE rights_monitor LOGIN IN ROLE dbos_monitor;
CREATE ROLE rights_admin LOGIN IN ROLE dbos_admin;
\c - rights_monitor
SET client_min_messages = warning;
SELECT rights.try(90, 'a monitor looks at content', $$SELECT count(args) + count(result) + count(error) + count(attributes) FROM dbos.tasks WHERE role::text = 'rights_ann'$$);
SELECT rights.try(91, 'a monitor cancels', 'SELECT dbos.cancel(waits) FROM rights.of_ann');
SELECT rights.try(92, 'a monitor submits', $$SELECT dbos.submit('pg_catalog.now')$$);
\c - rights_admin
SET client_min_messages = warning;
SELECT rights.try(93, 'an admin becomes the owner', 'SET ROLE dbos_owner');
SELECT rights.try(94, 'an admin changes our tables', $$UPDATE dbos.task SET session_role = 'postgres', role = 'postgres'$$);
SELECT rights.try(95, 'an admin submits what only another may run', $$SELECT dbos.submit('rights_ann.keep', '["x"]')$$);

\c - postgres
SET client_min_messages = warning;
DO $$
BEGIN
	FOR i IN 1 .. 1000 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM dbos.tasks WHERE role::text = 'rights_eve' AND finished_at IS NULL AND wait_reason IS DISTINCT FROM 'time');
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT number, attack, outcome FROM rights.outcome ORDER BY number;
-- Rights that were gained: none.  Code of the attacker ran as the attacker alone, and saw no secret.
SELECT count(*) AS gained FROM rights.canary;
SELECT DISTINCT number, who, session_who FROM rights.ran_as ORDER BY 1, 2, 3;
SELECT o.waits = t.id AS waits_on, t.state, t.wait_reason FROM rights.of_ann o JOIN dbos.tasks t ON t.id = o.waits;

ALTER ROLE rights_eve RESET search_path;
SELECT count(*) > 0 AS cancelled FROM (SELECT dbos.cancel(id) FROM dbos.tasks WHERE role::text LIKE 'rights%' AND finished_at IS NULL) c;
SELECT dbos.drop_queue('rights_queue');
SELECT dbos.drop_container('rights_ann_box');
DROP SCHEMA rights, rights_ann, rights_eve CASCADE;
DROP ROLE rights_ann, rights_eve, rights_carl, rights_gone, rights_monitor, rights_admin;
