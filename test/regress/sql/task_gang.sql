-- Tasks that start together: dbos.submit_gang().
-- SPDX-License-Identifier: PostgreSQL
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS dbos;
DROP ROLE IF EXISTS regress_gang_user, regress_gang_nobody;
CREATE ROLE regress_gang_user LOGIN IN ROLE dbos_user;
CREATE ROLE regress_gang_nobody LOGIN;
RESET client_min_messages;

-- What is refused.
SELECT dbos.submit_gang(NULL, ARRAY['[1]']::jsonb[]);
SELECT dbos.submit_gang('pg_catalog.int4abs', NULL);
SELECT dbos.submit_gang('pg_catalog.int4abs', ARRAY['[1]', NULL]::jsonb[]);
SELECT dbos.submit_gang('nobody_knows', ARRAY['[1]']::jsonb[]);
SELECT dbos.submit_gang('pg_catalog.int4abs', ARRAY['["a"]']::jsonb[]);
BEGIN READ ONLY;
SELECT dbos.submit_gang('pg_catalog.int4abs', ARRAY['[1]']::jsonb[]);
ROLLBACK;
\set VERBOSITY terse
SELECT dbos.submit_gang('pg_catalog.int4abs', array_fill('[1]'::jsonb, ARRAY[10000]));
\set VERBOSITY default
SET SESSION AUTHORIZATION regress_gang_nobody;
SELECT dbos.submit_gang('pg_catalog.int4abs', ARRAY['[1]']::jsonb[]);
SET SESSION AUTHORIZATION regress_gang_user;
SELECT * FROM dbos.task_gang;

-- They run, with what they are given, in the order of their documents.
CREATE TEMP TABLE mine AS SELECT * FROM dbos.submit_gang('pg_catalog.int4mi(integer,integer)', ARRAY['[7, 2]', '[7, 3]']::jsonb[]) WITH ORDINALITY g(task, n);
SELECT n, dbos.wait(task) FROM mine ORDER BY n;
SELECT t.state, t.function, t.attempt FROM dbos.tasks t JOIN mine m ON m.task = t.id ORDER BY m.n;

-- What is rolled back leaves nothing.
RESET SESSION AUTHORIZATION;
SELECT count(*) AS before FROM dbos.task_gang \gset
BEGIN;
SELECT count(*) FROM dbos.submit_gang('pg_catalog.int4abs', ARRAY['[1]', '[2]']::jsonb[]);
SELECT count(*) - :before AS more FROM dbos.task_gang;
ROLLBACK;
SELECT count(*) - :before AS more FROM dbos.task_gang;
SET client_min_messages = warning;
DROP TABLE mine;
DROP ROLE regress_gang_user, regress_gang_nobody;
