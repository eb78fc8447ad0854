-- Topics: published to and read by anybody who may, each subscription by its own position; what is refused, and whose they are.  What holds readers back is shown in test/isolation, retention and deliveries in test/tap.
-- SPDX-License-Identifier: PostgreSQL
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS dbos;
DROP ROLE IF EXISTS regress_topic_owner, regress_topic_reader, regress_topic_other, regress_topic_monitor;
CREATE ROLE regress_topic_owner LOGIN IN ROLE dbos_user;
CREATE ROLE regress_topic_reader LOGIN IN ROLE dbos_user;
CREATE ROLE regress_topic_other LOGIN IN ROLE dbos_user;
CREATE ROLE regress_topic_monitor LOGIN IN ROLE dbos_monitor;
RESET client_min_messages;
CREATE SCHEMA AUTHORIZATION regress_topic_owner;
GRANT USAGE ON SCHEMA regress_topic_owner TO PUBLIC;
SET SESSION AUTHORIZATION regress_topic_owner;
SET search_path = regress_topic_owner;

-- What is refused.
SELECT dbos.create_topic(NULL);
SELECT dbos.create_topic('pg_temp.news');
SELECT dbos.create_topic('news', retention => '0');
SELECT dbos.create_topic('news', retention => '-1 hour');
SELECT dbos.create_topic('news', max_bytes => 1000);
SELECT dbos.drop_topic('news');
SELECT dbos.publish('news', '1');
SELECT dbos.subscribe('news', 'a');
SELECT * FROM dbos.read_topic('news', 'a');
BEGIN READ ONLY;
SELECT dbos.create_topic('news');
ROLLBACK;
SELECT dbos.create_topic('news');
SELECT dbos.create_topic('news');
SELECT dbos.create_mailbox('inbox');
SELECT dbos.send('news', '1');
SELECT * FROM dbos.receive('news');
SELECT dbos.publish('inbox', '1');
SELECT dbos.publish('new', '1');
SELECT dbos.publish(NULL, '1');
SELECT dbos.publish('news', '1', headers => '[]');
SELECT dbos.subscribe('inbox', 'a');
SELECT dbos.subscribe(NULL, 'a');
SELECT dbos.subscribe('news', NULL);
SELECT dbos.subscribe('news', '');
SELECT dbos.subscribe('news', repeat('x', 64));
SELECT dbos.subscribe('news', 'a', start_at => NULL);
SELECT dbos.subscribe('news', 'a', start_at => 'sometime');
SELECT dbos.subscribe('news', 'a', mailbox => 'nowhere');
SELECT dbos.subscribe('news', 'a', mailbox => 'news');
SELECT dbos.subscribe('news', 'a', function => 'nobody_knows');
SELECT dbos.subscribe('news', 'a', mailbox => 'inbox', function => 'pg_catalog.version');
SELECT dbos.subscribe('news', 'a', function => 'pg_catalog.version', queue => 'nowhere');
SELECT * FROM dbos.read_topic('news', 'a');
SELECT dbos.unsubscribe('news', 'a');

-- Published in three ways, read in the order of ids, each message once.
SELECT dbos.subscribe('news', 'all', start_at => 'beginning');
SELECT dbos.subscribe('news', 'all');
SELECT dbos.publish('news', '{"n": 1}', 'key', '{"h": true}'), dbos.publish('news', NULL, headers => NULL);
INSERT INTO news (partition_key, body) VALUES ('key', '{"n": 3}');
SELECT * FROM dbos.publish_many('news', ARRAY['{"n": 4}', NULL, '{"n": 6, "odd": false}']::jsonb[]);
SELECT * FROM dbos.publish_many('news', '{}');
SELECT * FROM dbos.publish_many('news', NULL);
COPY news (body) FROM STDIN;
{"n": 7}
{"n": 8}
\.
SELECT id, sender, sent_at > now() - interval '1 hour' AS recent, partition_key, headers, body FROM dbos.read_topic('news', 'all', 3);
SELECT id, body FROM dbos.read_topic('news', 'all');
SELECT id, body FROM dbos.read_topic('news', 'all');
SELECT id, body FROM dbos.read_topic('news', 'all', timeout => '10 ms');
SELECT id, body FROM dbos.read_topic('news', 'all', NULL);
SELECT id, body FROM dbos.read_topic('news', 'all', 0);
SELECT id, body FROM dbos.read_topic('news', 'all', 1000001);
SELECT id, body FROM dbos.read_topic('news', 'all', timeout => '-1 s');
SELECT id, body FROM dbos.read_topic('news', 'al');
BEGIN READ ONLY;
SELECT * FROM dbos.read_topic('news', 'all');
ROLLBACK;
BEGIN;
SELECT dbos.publish('news', '1') > 0 AS published;
PREPARE TRANSACTION 'regress_topic';
-- An id is given out by the topic.
INSERT INTO news (id, body) VALUES (1, '1');
INSERT INTO news (id, body) VALUES (1000, '1');
INSERT INTO news (visible_at, body) VALUES (now(), '1');
-- Anybody who may looks at all of it.
SELECT id, body FROM news ORDER BY id;

-- Where a subscription starts, and what it lets through.
SELECT dbos.subscribe('news', 'now');
SELECT dbos.subscribe('news', 'hour', start_at => (now() - interval '1 hour')::text);
SELECT dbos.subscribe('news', 'tomorrow', start_at => 'tomorrow');
SELECT dbos.subscribe('news', 'filtered', filter => '{"odd": false}', start_at => 'Beginning');
SELECT dbos.publish('news', '{"n": 9}') > 0 AS published;
SELECT body FROM dbos.read_topic('news', 'now');
SELECT count(*) FROM dbos.read_topic('news', 'hour');
SELECT body FROM dbos.read_topic('news', 'tomorrow');
SELECT body FROM dbos.read_topic('news', 'filtered');
SELECT name, role, kind, target, filter, lag, lag_time IS NULL AS no_lag, lost, error FROM dbos.subscriptions ORDER BY name COLLATE "C";
SELECT name, owner, messages_at_most, bytes > 0 AS bytes, retention, max_bytes, subscriptions FROM dbos.topics;
SELECT dbos.unsubscribe('news', 'tomorrow'), dbos.unsubscribe('news', 'tomorrow');

-- A transaction reads on from where it is, and what it published itself when it has committed.
BEGIN;
SELECT body FROM dbos.read_topic('news', 'all');
SELECT dbos.publish('news', '{"n": 10}') > 0 AS published;
SELECT body FROM dbos.read_topic('news', 'all');
SAVEPOINT a;
SELECT dbos.publish('news', '{"n": 11}') > 0 AS published;
ROLLBACK TO a;
COMMIT;
SELECT body FROM dbos.read_topic('news', 'all');
BEGIN;
SELECT count(*) FROM dbos.read_topic('news', 'now', 1);
SAVEPOINT a;
SELECT dbos.publish('news', '{"n": 12}') > 0 AS published;
SELECT count(*) FROM dbos.read_topic('news', 'hour', 1);
ROLLBACK TO a;
COMMIT;
SELECT body FROM dbos.read_topic('news', 'hour');
-- A sequence that hands out ids in advance does not bring one that readers are past.
ALTER SEQUENCE news_id_seq CACHE 10;
SELECT dbos.publish('news', '{"n": 13}') > 0 AS published;
\c -
SET SESSION AUTHORIZATION regress_topic_owner;
SET search_path = regress_topic_owner;
SELECT dbos.publish('news', '{"n": 14}') > 0 AS published;
SELECT body FROM dbos.read_topic('news', 'all');
SELECT dbos.publish('news', '{"n": 15}') > 0 AS published;
SELECT body FROM dbos.read_topic('news', 'all');

-- INSERT is the right to publish, SELECT the right to read; a subscription is its role's.
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_topic_reader;
SET search_path = regress_topic_owner;
SELECT dbos.publish('news', '1');
SELECT dbos.subscribe('news', 'reader');
SELECT * FROM dbos.read_topic('news', 'all');
SELECT dbos.alter_topic('news');
SELECT dbos.drop_topic('news');
SELECT count(*) FROM dbos.topics;
SELECT count(*) FROM dbos.subscriptions;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_topic_owner;
GRANT INSERT ON news TO regress_topic_other;
GRANT SELECT ON news TO regress_topic_reader;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_topic_other;
SELECT dbos.publish('news', '{"n": 16}') > 0 AS published;
INSERT INTO news (body) VALUES ('{"n": 17}');
INSERT INTO news (sender, body) VALUES ('regress_topic_owner', '1');
SELECT * FROM dbos.read_topic('news', 'all');
SELECT name, oldest_id, messages_at_most FROM dbos.topics;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_topic_reader;
SELECT dbos.publish('news', '1');
SELECT * FROM dbos.read_topic('news', 'all');
SELECT dbos.unsubscribe('news', 'all');
SELECT dbos.subscribe('news', 'reader', start_at => 'beginning');
SELECT dbos.subscribe('news', 'boxed', mailbox => 'inbox');
SELECT sender, body FROM dbos.read_topic('news', 'reader') ORDER BY id DESC LIMIT 2;
SELECT name, role FROM dbos.subscriptions;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_topic_monitor;
SELECT name, role, filter FROM dbos.subscriptions WHERE topic = 'news'::regclass ORDER BY name COLLATE "C";
SELECT name FROM dbos.topics WHERE owner = 'regress_topic_owner'::regrole;
SELECT * FROM dbos.read_topic('news', 'reader');
RESET SESSION AUTHORIZATION;

-- Row-level security holds for who reads; the position moves past what is not to be seen.
SET SESSION AUTHORIZATION regress_topic_owner;
CREATE POLICY even ON news TO regress_topic_reader USING ((body ->> 'n')::integer % 2 = 0);
CREATE POLICY all_rows ON news FOR INSERT WITH CHECK (true);
ALTER TABLE news ENABLE ROW LEVEL SECURITY;
SELECT count(*) FROM dbos.publish_many('news', ARRAY['{"n": 20}', '{"n": 21}', '{"n": 22}', '{"n": 23}']::jsonb[]);
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_topic_reader;
SELECT body FROM dbos.read_topic('news', 'reader', 1);
SELECT body FROM dbos.read_topic('news', 'reader');
SELECT body FROM dbos.read_topic('news', 'reader');
SELECT lag FROM dbos.subscriptions WHERE name = 'reader';
SELECT dbos.subscribe('news', 'tasks', function => 'pg_catalog.version');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION regress_topic_owner;
ALTER TABLE news DISABLE ROW LEVEL SECURITY;
-- So is a table that others act on read as before.
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER looks BEFORE INSERT ON news FOR EACH ROW EXECUTE FUNCTION look();
SELECT dbos.publish('news', '{"n": 24, "odd": false}') > 0 AS published;
SELECT body FROM dbos.read_topic('news', 'all', 2);
SELECT body FROM dbos.read_topic('news', 'all') ORDER BY id DESC LIMIT 1;
SELECT body FROM dbos.read_topic('news', 'filtered');
SELECT dbos.subscribe('news', 'tasks', function => 'pg_catalog.version');
DROP TRIGGER looks ON news;

-- How long messages are kept is said anew as a whole.
SELECT dbos.alter_topic('news', '1 day', 1000000);
SELECT retention, max_bytes FROM dbos.topics;
SELECT dbos.alter_topic('news', max_bytes => 2000000);
SELECT retention, max_bytes FROM dbos.topics;
SELECT dbos.alter_topic('news', max_bytes => 2);
-- The owner of a topic has the last word on who holds it up.
SELECT dbos.unsubscribe('news', 'reader');

-- A subscription is seen in its container and around it.
SELECT dbos.create_container('topics');
BEGIN;
SELECT dbos.enter_container('topics');
SELECT * FROM dbos.read_topic('news', 'all');
ROLLBACK;

-- Dropped as any table.
SET SESSION AUTHORIZATION regress_topic_owner;
SET search_path = regress_topic_owner;
DROP TABLE news;
SELECT count(*) FROM dbos.subscriptions;
SELECT count(*) FROM dbos.topics;
SELECT dbos.create_topic('news', '1 hour');
SELECT count(*) FROM dbos.subscriptions;
SELECT dbos.publish('news', '1');
SELECT dbos.drop_topic('news');
SELECT count(*) FROM dbos.topics;
SELECT dbos.drop_container('topics');
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA regress_topic_owner CASCADE;
DROP ROLE regress_topic_owner, regress_topic_reader, regress_topic_other, regress_topic_monitor;
