-- What dbos is told of functions: dbos.alter_function().
-- SPDX-License-Identifier: PostgreSQL
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS dbos;
DROP ROLE IF EXISTS regress_function_owner, regress_function_other, regress_function_admin;
CREATE ROLE regress_function_owner LOGIN IN ROLE dbos_user;
CREATE ROLE regress_function_other LOGIN IN ROLE dbos_user;
CREATE ROLE regress_function_admin LOGIN IN ROLE dbos_user, dbos_admin;
RESET client_min_messages;
CREATE SCHEMA AUTHORIZATION regress_function_owner;
SET ROLE regress_function_owner;
SET search_path = regress_function_owner;
CREATE FUNCTION note(n integer) RETURNS integer LANGUAGE sql AS 'SELECT n';
CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE sql AS 'SELECT 2 * n';
CREATE FUNCTION twice(n text) RETURNS text LANGUAGE sql AS 'SELECT n || n';
RESET ROLE;
CREATE FUNCTION lowered(t text) RETURNS text LANGUAGE internal IMMUTABLE STRICT AS 'lower';
ALTER FUNCTION lowered(text) OWNER TO regress_function_owner;
SET ROLE regress_function_owner;

-- What is refused.
SELECT dbos.alter_function(NULL, batch => true);
SELECT dbos.alter_function('nobody_knows', batch => true);
SELECT dbos.alter_function('note(text)', batch => true);
SELECT dbos.alter_function('twice', batch => true);
SELECT dbos.alter_function('pg_catalog.now', batch => true);
SELECT dbos.alter_function('', batch => true);
SELECT function, batch FROM dbos.function_option;
BEGIN READ ONLY;
SELECT dbos.alter_function('note', batch => true);
ROLLBACK;

-- A function is its owner's, or an administrator's, to speak of.
SET ROLE regress_function_other;
SELECT dbos.alter_function('regress_function_owner.note', batch => false);
RESET ROLE;
GRANT USAGE ON SCHEMA regress_function_owner TO regress_function_other, regress_function_admin;
SET ROLE regress_function_other;
SELECT dbos.alter_function('regress_function_owner.note', batch => false);
SET ROLE regress_function_admin;
SELECT dbos.alter_function('regress_function_owner.note(integer)', batch => false);
SET ROLE regress_function_owner;
SELECT dbos.alter_function('twice(text)', batch => true);
RESET ROLE;
SELECT function, batch FROM dbos.function_option ORDER BY 1;

-- What is kept out runs in a transaction of its own; what is let in does the same, otherwise.
SET SESSION AUTHORIZATION regress_function_owner;
SET search_path = regress_function_owner;
SELECT dbos.create_queue('functions');
CREATE TEMP TABLE mine (name text, task bigint);
SELECT dbos.pause_queue('functions');
INSERT INTO mine SELECT 'note', dbos.submit_many('note', (SELECT array_agg(jsonb_build_array(n)) FROM generate_series(1, 40) n), queue => 'functions');
INSERT INTO mine SELECT 'twice', dbos.submit_many('twice(text)', (SELECT array_agg(jsonb_build_array(n::text)) FROM generate_series(1, 40) n), queue => 'functions');
SELECT dbos.alter_function('lowered', batch => true);
INSERT INTO mine SELECT 'lowered', dbos.submit_many('lowered', (SELECT array_agg(jsonb_build_array('A' || n)) FROM generate_series(1, 40) n), queue => 'functions');
SELECT dbos.resume_queue('functions');
SELECT name, count(dbos.wait(task)), min(dbos.wait(task)::text COLLATE "C") FROM mine GROUP BY 1 ORDER BY 1;
SELECT dbos.drop_queue('functions');
RESET SESSION AUTHORIZATION;
SELECT count(*), count(DISTINCT h.xid) FROM dbos.task_history h JOIN mine m ON m.task = h.id WHERE m.name = 'note';

-- NULL takes it back; so does a rollback.
BEGIN;
SELECT dbos.alter_function('regress_function_owner.note', batch => NULL);
SELECT function, batch FROM dbos.function_option ORDER BY 1;
ROLLBACK;
SELECT function, batch FROM dbos.function_option ORDER BY 1;
SELECT dbos.alter_function('regress_function_owner.note');
SELECT dbos.alter_function('regress_function_owner.note');
SELECT dbos.alter_function('regress_function_owner.twice(text)', batch => NULL);
SELECT dbos.alter_function('regress_function_owner.lowered', batch => NULL);
SELECT count(*) FROM dbos.function_option;
-- What is not said stays.
SELECT dbos.alter_function('regress_function_owner.note', idempotent => true);
SELECT dbos.alter_function('regress_function_owner.note', batch => false);
SELECT * FROM dbos.function_option ORDER BY 1;
SELECT dbos.alter_function('regress_function_owner.note', idempotent => false);
SELECT * FROM dbos.function_option ORDER BY 1;
SELECT dbos.alter_function('regress_function_owner.note');
SELECT * FROM dbos.function_option ORDER BY 1;
SET client_min_messages = warning;
DROP SCHEMA regress_function_owner CASCADE;
DROP TABLE mine;
DROP ROLE regress_function_owner, regress_function_other, regress_function_admin;
