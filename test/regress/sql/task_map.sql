-- dbos.map(): a task for each row of a query, and one that waits for all of them.
-- SPDX-License-Identifier: PostgreSQL
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS dbos;
DROP ROLE IF EXISTS regress_map_user, regress_map_other;
CREATE ROLE regress_map_user LOGIN IN ROLE dbos_user;
CREATE ROLE regress_map_other LOGIN IN ROLE dbos_user;
RESET client_min_messages;
CREATE SCHEMA AUTHORIZATION regress_map_user;
SET SESSION AUTHORIZATION regress_map_user;
SET search_path = regress_map_user;
CREATE FUNCTION square(n integer) RETURNS integer LANGUAGE sql AS 'SELECT n * n';
CREATE FUNCTION pair(n integer, t text DEFAULT 'none') RETURNS text LANGUAGE sql AS 'SELECT n || t';
CREATE FUNCTION nothing(n integer) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION not_three(n integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
	IF n = 3 THEN
		RAISE EXCEPTION 'three' USING ERRCODE = 'P0003';
	END IF;
	RETURN n;
END
$$;

-- What is refused.
SELECT dbos.map(NULL, 'SELECT 1');
SELECT dbos.map('square', NULL);
SELECT dbos.map('square', '');
SELECT dbos.map('square', 'SELEC 1');
SELECT dbos.map('square', 'SELECT 1; SELECT 2');
SELECT dbos.map('square', 'CREATE TABLE t (n integer)');
SELECT dbos.map('square', 'SELECT n FROM nowhere');
SELECT dbos.map('nobody_knows', 'SELECT 1 AS n');
SELECT dbos.map('square', 'SELECT 1 AS m');
SELECT dbos.map('square', 'SELECT NULL::jsonb');
SELECT dbos.map('square', 'SELECT 1 AS n', concurrency => 0);
SELECT dbos.map('square', 'SELECT 1 AS n', queue => 'nowhere');
SELECT dbos.map('square', 'SELECT 1 AS n', max_attempts => 0);
SELECT dbos.map('square', 'SELECT 1 / 0 AS n');
BEGIN READ ONLY;
SELECT dbos.map('square', 'SELECT 1 AS n');
ROLLBACK;
SELECT count(*) FROM dbos.tasks WHERE function ~ 'regress_map';

-- Rows become arguments by their names; a document is taken as it is.  Results stand in the order of the rows.
SELECT dbos.map('square', 'SELECT n FROM generate_series(5, 1, -1) n') AS map \gset
SELECT dbos.wait(:map);
SELECT dbos.map('pair', $$SELECT n, 'x' AS t FROM generate_series(1, 3) n$$) AS map \gset
SELECT dbos.wait(:map);
SELECT dbos.map('pair', $$SELECT jsonb_build_array(n) FROM generate_series(1, 3) n$$) AS map \gset
SELECT dbos.wait(:map);
SELECT dbos.map('nothing', 'VALUES (1), (2)') AS map \gset
SELECT dbos.map('nothing', 'SELECT 1 AS n WHERE false') AS none \gset
SELECT dbos.wait(:none);
SELECT dbos.map('nothing', 'SELECT n FROM generate_series(1, 2) n;') AS map \gset
SELECT dbos.wait(:map);
SELECT dbos.map('square', 'SELECT n FROM generate_series(1, 7) n', concurrency => 2) AS map \gset
SELECT dbos.wait(:map);
SELECT state, function, args, result, max_attempts FROM dbos.tasks WHERE id = :map;
SELECT count(*), min(function) FROM dbos.tasks WHERE parent_id = :map;

-- It is one transaction with whatever else the caller does.
BEGIN;
SELECT dbos.map('square', 'SELECT n FROM generate_series(1, 7) n') > 0 AS made;
ROLLBACK;
SELECT count(*) FROM dbos.tasks WHERE state IN ('waiting', 'ready', 'running');

-- The same key, the same map.
SELECT dbos.map('square', 'SELECT 2 AS n', idempotency_key => 'two') AS map \gset
SELECT dbos.map('square', 'SELECT 3 AS n', idempotency_key => 'two') = :map AS same;
SELECT dbos.wait(:map);

-- One that fails lets the others go on, and is told; what failed can be tried again.
SELECT dbos.map('not_three', 'SELECT n FROM generate_series(1, 5) n') AS map \gset
\set VERBOSITY terse
SELECT dbos.wait(:map);
\set VERBOSITY default
\set VERBOSITY terse
SELECT dbos.result(:map);
\set VERBOSITY default
SELECT state, count(*) FROM dbos.tasks WHERE parent_id = :map GROUP BY 1 ORDER BY 1;
CREATE OR REPLACE FUNCTION not_three(n integer) RETURNS integer LANGUAGE sql AS 'SELECT -n';
SELECT dbos.retry(:map);
SELECT dbos.wait(:map);
\set VERBOSITY sqlstate
SELECT dbos.retry(:map);
\set VERBOSITY default

-- Cancelled, it takes with it what has not ended.
SELECT dbos.create_queue('maps');
SELECT dbos.pause_queue('maps');
SELECT dbos.map('square', 'SELECT n FROM generate_series(1, 5) n', queue => 'maps', concurrency => 2) AS map \gset
SELECT state, wait_reason, count(*) FROM dbos.tasks WHERE parent_id = :map OR id = :map GROUP BY 1, 2 ORDER BY 1, 2;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_map_other;
\set VERBOSITY sqlstate
SELECT dbos.cancel(:map);
SELECT dbos.wait(:map, '1 second');
\set VERBOSITY default
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_map_user;
SET search_path = regress_map_user;
SELECT dbos.cancel(:map);
SELECT state, count(*) FROM dbos.tasks WHERE parent_id = :map OR id = :map GROUP BY 1;
-- Those that were held back can go one by one, and the map goes on past them.
SELECT dbos.map('square', 'SELECT n FROM generate_series(1, 5) n', queue => 'maps', concurrency => 1) AS map \gset
SELECT count(dbos.cancel(id)) FROM dbos.tasks WHERE parent_id = :map AND args->>'n' IN ('2', '3');
SELECT dbos.resume_queue('maps');
\set VERBOSITY terse
SELECT dbos.wait(:map);
\set VERBOSITY default
SELECT state, count(*) FROM dbos.tasks WHERE parent_id = :map GROUP BY 1 ORDER BY 1;
SELECT dbos.drop_queue('maps');
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA regress_map_user CASCADE;
DROP ROLE regress_map_user, regress_map_other;
