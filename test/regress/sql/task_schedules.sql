-- Schedules: made, changed, paused, run now and forgotten; what is refused, and whose they are.  That they fire is shown in test/tap.
-- SPDX-License-Identifier: PostgreSQL
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS dbos;
DROP ROLE IF EXISTS regress_schedule_user, regress_schedule_other, regress_schedule_admin, regress_schedule_monitor;
CREATE ROLE regress_schedule_user LOGIN IN ROLE dbos_user;
CREATE ROLE regress_schedule_other LOGIN IN ROLE dbos_user;
CREATE ROLE regress_schedule_admin LOGIN IN ROLE dbos_user, dbos_admin;
CREATE ROLE regress_schedule_monitor LOGIN IN ROLE dbos_monitor;
RESET client_min_messages;
CREATE SCHEMA AUTHORIZATION regress_schedule_user;
SET SESSION AUTHORIZATION regress_schedule_user;
SET search_path = regress_schedule_user;
SET timezone = 'UTC';
CREATE FUNCTION square(n integer) RETURNS integer LANGUAGE sql AS 'SELECT n * n';

-- What is refused.
SELECT dbos.schedule(NULL, '0 0 1 1 *', 'square', '[1]');
SELECT dbos.schedule('', '0 0 1 1 *', 'square', '[1]');
SELECT dbos.schedule(repeat('x', 64), '0 0 1 1 *', 'square', '[1]');
SELECT dbos.schedule('a', NULL, 'square', '[1]');
SELECT dbos.schedule('a', '0 0 1 1', 'square', '[1]');
SELECT dbos.schedule('a', '0 0 31 4 *', 'square', '[1]');
SELECT dbos.schedule('a', '0 0 1 1 *', NULL, '[1]');
SELECT dbos.schedule('a', '0 0 1 1 *', 'nobody_knows', '[1]');
SELECT dbos.schedule('a', '0 0 1 1 *', 'square', '["x"]');
SELECT dbos.schedule('a', '0 0 1 1 *', 'square', NULL);
SELECT dbos.schedule('a', '0 0 1 1 *', 'square', '[1]', timezone => 'Nowhere/Land');
SELECT dbos.schedule('a', '0 0 1 1 *', 'square', '[1]', timezone => NULL);
SELECT dbos.schedule('a', '0 0 1 1 *', 'square', '[1]', queue => 'nowhere');
SELECT dbos.schedule('a', '0 0 1 1 *', 'square', '[1]', overlap => 'sometimes');
SELECT dbos.schedule('a', '0 0 1 1 *', 'square', '[1]', overlap => NULL);
SELECT dbos.schedule('a', '0 0 1 1 *', 'square', '[1]', max_attempts => 0);
SELECT dbos.schedule('a', '0 0 1 1 *', 'square', '[1]', timeout => '0');
SELECT dbos.schedule_sql('a', '0 0 1 1 *', NULL);
SELECT dbos.schedule_sql('a', '0 0 1 1 *', '');
SELECT dbos.schedule_sql('a', '0 0 1 1 *', 'SELEC 1');
BEGIN READ ONLY;
SELECT dbos.schedule('a', '0 0 1 1 *', 'square', '[1]');
SELECT dbos.unschedule('a');
ROLLBACK;
SELECT dbos.run_schedule('a');
SELECT dbos.pause_schedule('a');
SELECT dbos.resume_schedule('a');
SELECT dbos.unschedule('a'), dbos.unschedule(NULL);
SELECT count(*) FROM dbos.schedules;

-- Made, with all that a submit may say; changed under its id.
SELECT dbos.schedule('new year', '0 0 1 1 *', 'square', '[12]', timezone => 'Europe/Berlin', overlap => 'queue', catch_up => true, priority => 3,
	partition_key => 'p', max_attempts => 2, retry_delay => '3 seconds', retry_backoff => 1, timeout => '1 minute', attributes => '{"a": 1}') AS id \gset
SELECT name, cron, timezone, function, args, queue, priority, overlap, catch_up, paused, last_outcome, role, partition_key, max_attempts, timeout
	FROM dbos.schedules;
SELECT s.next_at = p AS as_previewed FROM dbos.schedules s, dbos.schedule_preview(s.cron, s.timezone, s.created_at, 1) p;
SELECT dbos.schedule('new year', '0 12 1 1 *', 'square', '[13]') = :id AS same;
SELECT name, cron, timezone, args, priority, overlap, catch_up, partition_key, max_attempts, timeout FROM dbos.schedules;
SELECT dbos.schedule_sql('new year', '@yearly', 'SELECT 14') = :id AS same;
SELECT function, args FROM dbos.schedules;

-- Run now, by its own rights and options; when it fires next does not change.
SELECT dbos.schedule('new year', '0 12 1 1 *', 'square', '[13]', priority => 4, attributes => '{"a": 1}') = :id AS same;
SELECT next_at FROM dbos.schedules \gset
SELECT dbos.run_schedule('new year') AS task \gset
SELECT dbos.wait(:task);
SELECT function, args, priority, attributes, role, parent_id FROM dbos.tasks WHERE id = :task;
SELECT next_at = :'next_at' AS the_same FROM dbos.schedules;
SELECT dbos.pause_schedule('new year');
SELECT paused, next_at FROM dbos.schedules;
SELECT dbos.run_schedule('new year') > 0 AS also_then;
SELECT dbos.resume_schedule('new year');
SELECT paused, next_at = :'next_at' AS the_same FROM dbos.schedules;
-- Who says the same again, or resumes one that goes on, does not put its next time off.
SELECT dbos.schedule('hourly', '@every 1h', 'square', '[1]') AS hourly \gset
SELECT next_at AS hourly_at FROM dbos.schedules WHERE name = 'hourly' \gset
SELECT dbos.schedule('hourly', '@every 1h', 'square', '[2]', priority => 1) = :hourly AS same;
SELECT dbos.resume_schedule('hourly');
SELECT args, next_at = :'hourly_at' AS the_same FROM dbos.schedules WHERE name = 'hourly';
SELECT dbos.schedule('hourly', '@every 2h', 'square', '[2]') = :hourly AS same;
SELECT next_at > :'hourly_at' AS later FROM dbos.schedules WHERE name = 'hourly';
SELECT dbos.unschedule('hourly');
-- It is the caller's transaction.
BEGIN;
SELECT dbos.unschedule('new year');
ROLLBACK;
SELECT count(*) FROM dbos.schedules;

-- A queue that a schedule submits to stays.
SELECT dbos.create_queue('scheduled');
SELECT dbos.schedule('queued', '0 12 1 1 *', 'square', '[1]', queue => 'scheduled') > 0 AS made;
SELECT dbos.drop_queue('scheduled');
SELECT dbos.unschedule('queued');
SELECT dbos.drop_queue('scheduled');
RESET SESSION AUTHORIZATION;

-- Names are each role's own; others see none of it, dbos_monitor that it is there.
SET SESSION AUTHORIZATION regress_schedule_other;
SELECT count(*) FROM dbos.schedules;
SELECT dbos.run_schedule('new year');
SELECT dbos.unschedule('new year');
SELECT dbos.schedule('new year', '0 0 1 1 *', 'pg_catalog.now') <> :id AS another;
SELECT name, function FROM dbos.schedules;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_schedule_monitor;
SELECT name, role, function, args FROM dbos.schedules ORDER BY role::text COLLATE "C";
SELECT dbos.unschedule('new year');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_schedule_admin;
SELECT dbos.pause_schedule('new year');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_schedule_other;
SELECT dbos.unschedule('new year');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_schedule_admin;
SELECT dbos.pause_schedule('new year');
SELECT name, role, args, paused FROM dbos.schedules;
SELECT dbos.unschedule('new year');
SELECT dbos.create_container('schedules');
SELECT dbos.enter_container('schedules');
SELECT dbos.schedule('inside', '@yearly', 'pg_catalog.now') > 0 AS made;
SELECT name, container > 0 AS inside FROM dbos.schedules;
SELECT dbos.run_schedule('inside') AS task \gset
SELECT dbos.wait(:task) IS NOT NULL AS ran;
\c -
SET SESSION AUTHORIZATION regress_schedule_admin;
SELECT name, container > 0 AS inside FROM dbos.schedules;
SELECT dbos.unschedule('inside');
SELECT dbos.drop_container('schedules');
SELECT dbos.enter_container('schedules');
SELECT dbos.unschedule('inside');
\c -
SET SESSION AUTHORIZATION regress_schedule_admin;
SELECT dbos.drop_container('schedules');
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA regress_schedule_user CASCADE;
DROP ROLE regress_schedule_user, regress_schedule_other, regress_schedule_admin, regress_schedule_monitor;
