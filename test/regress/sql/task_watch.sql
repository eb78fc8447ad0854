-- Who sees what is wrong: dbos.alerts, dbos.worker_load, dbos.prometheus().
-- SPDX-License-Identifier: PostgreSQL
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS dbos;
DROP ROLE IF EXISTS regress_watch_user, regress_watch_monitor;
CREATE ROLE regress_watch_user LOGIN IN ROLE dbos_user;
CREATE ROLE regress_watch_monitor LOGIN IN ROLE dbos_monitor, dbos_user;
RESET client_min_messages;

SET SESSION AUTHORIZATION regress_watch_user;
SELECT * FROM dbos.alerts;
SELECT * FROM dbos.alert;
SELECT * FROM dbos.trouble;
SELECT * FROM dbos.worker_load;
SELECT * FROM dbos.list_worker_load();
SELECT dbos.prometheus();
SELECT dbos.metric_label('a');
SELECT component FROM dbos.health() WHERE component LIKE 'task%' OR component = 'schedules';

SET SESSION AUTHORIZATION regress_watch_monitor;
SELECT count(*) >= 0 AS seen FROM dbos.alerts;
SELECT count(*) >= 0 AS seen FROM dbos.worker_load WHERE NOT busy BETWEEN 0 AND 1;
SELECT * FROM dbos.trouble;
DELETE FROM dbos.alerts;
SELECT dbos.prometheus() ~ '^# HELP dbos_info [^\n]*\n# TYPE dbos_info gauge\ndbos_info\{version="[0-9.]*"\} 1\n' AS begins,
	dbos.prometheus() ~ '\n$' AS ends;
SELECT dbos.metric_label(v), v IS NULL AS null FROM (VALUES (''), (E'a "b" \\ c\nd'), (NULL)) v(v);

-- In a container there is nothing of the server to be seen.
RESET SESSION AUTHORIZATION;
SELECT dbos.create_container('regress_watch');
SELECT dbos.enter_container('regress_watch');
SELECT count(*) FROM dbos.worker_load;
SELECT count(*) FROM dbos.alerts;
SELECT component FROM dbos.health() WHERE component IN ('task queues', 'task snapshots', 'task bloat', 'task failures', 'schedules');
\c -
SELECT dbos.drop_container('regress_watch');
SET client_min_messages = warning;
DROP ROLE regress_watch_user, regress_watch_monitor;
