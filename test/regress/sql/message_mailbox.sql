-- A mailbox is a table: whatever its name, whatever hangs on it, what goes in comes out once, in order, or the call says why not.
-- SPDX-License-Identifier: PostgreSQL
SET client_min_messages = warning;
CREATE SCHEMA regress_mailbox;
SET search_path = regress_mailbox;
\set VERBOSITY default

-- ---- made, filled, emptied ----
SELECT dbos.create_mailbox('orders');
SELECT dbos.send('orders', '{"item": 1}'), dbos.send('orders', '[2]', partition_key => 'k', headers => '{"trace": "abc"}');
SELECT * FROM dbos.send_many('orders', ARRAY['3', NULL, '"5"']::jsonb[]);
SELECT id, sender, sent_at BETWEEN now() - interval '1 minute' AND clock_timestamp() AS sent, visible_at, task_id, segment, container_id, deliveries, partition_key, headers, body
FROM orders ORDER BY id;
SELECT id, sender, partition_key, deliveries, headers, body FROM dbos.receive('orders');
SELECT id, body FROM dbos.receive('orders', 2);
SELECT id, body FROM dbos.receive('orders', max_messages => 100);
SELECT id, body FROM dbos.receive('orders', 100);
SELECT id, body FROM dbos.receive('orders', 100, '1 ms');
SELECT mailbox, owner, container, depth, delayed, in_flight, oldest, receivers, paused, max_deliveries, dead_letter, idempotency_window FROM dbos.mailboxes WHERE mailbox = 'orders'::regclass;

-- ---- arguments that are refused ----
SELECT dbos.create_mailbox(NULL);
SELECT dbos.create_mailbox('');
SELECT dbos.create_mailbox('a b');
SELECT dbos.create_mailbox('nowhere.orders');
SELECT dbos.create_mailbox('other_database.regress_mailbox.orders');
SELECT dbos.create_mailbox('pg_temp.orders');
\set VERBOSITY terse
SELECT dbos.create_mailbox('pg_catalog.orders');
SELECT dbos.create_mailbox('orders');
\set VERBOSITY default
SELECT dbos.create_mailbox('half', max_deliveries => 3);
SELECT dbos.create_mailbox('half', dead_letter => 'orders');
SELECT dbos.create_mailbox('half', max_deliveries => 0, dead_letter => 'orders');
SELECT dbos.create_mailbox('half', max_deliveries => 3, dead_letter => 'half');
SELECT dbos.create_mailbox('half', max_deliveries => 3, dead_letter => 'nothing_of_the_kind');
SELECT to_regclass('half') IS NULL AS none_was_made;
SELECT dbos.send(NULL, '1');
SELECT dbos.send('order', '1');
SELECT dbos.send('nothing_of_the_kind', '1');
CREATE TABLE plain_table (body jsonb);
CREATE VIEW orders_view AS SELECT * FROM orders;
SELECT dbos.send('plain_table', '1');
SELECT dbos.send('orders_view', '1');
SELECT dbos.send('orders_id_seq', '1');
SELECT dbos.send('dbos_message.' || quote_ident(relname), '1') FROM pg_class WHERE oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'orders'::regclass) ORDER BY relname LIMIT 1;
SELECT dbos.send('orders', '1', headers => '[]');
SELECT dbos.send('orders', '1', headers => '"a"');
SELECT dbos.send('orders', '1', delay => '1 s', run_at => now());
SELECT dbos.send('orders', '1', run_at => 'infinity');
SELECT dbos.send('orders', '1', partition_key => repeat('x', 1025));
SELECT dbos.send('orders', '1', idempotency_key => repeat('x', 1025));
SELECT dbos.receive(NULL);
SELECT dbos.receive('orders', NULL);
SELECT dbos.receive('orders', 0);
SELECT dbos.receive('orders', -1);
SELECT dbos.receive('orders', 1000001);
SELECT dbos.receive('orders', 1, '-1 s');
SELECT dbos.receive('order');
SELECT dbos.receive('plain_table');
SELECT dbos.message_id('plain_table');
SELECT dbos.message_segment('plain_table');
SELECT dbos.message_sent();
BEGIN READ ONLY;
SELECT dbos.send('orders', '1');
ROLLBACK;
BEGIN READ ONLY;
SELECT dbos.receive('orders');
ROLLBACK;
BEGIN READ ONLY;
SELECT dbos.create_mailbox('new_one');
ROLLBACK;
SELECT count(*) FROM orders;

-- ---- NULLs and sizes ----
SELECT count(*) FROM dbos.send_many('orders', NULL);
SELECT count(*) FROM dbos.send_many('orders', '{}');
SELECT dbos.send('orders', NULL, headers => NULL) > 0 AS sent;
SELECT dbos.send('orders', 'null', partition_key => '') > 0 AS sent;
SELECT dbos.send('orders', '""', partition_key => repeat('x', 1024)) > 0 AS sent;
SELECT dbos.send('orders', '{}', delay => '-1 hour') > 0 AS sent;
SELECT body, body IS NULL AS no_body, length(partition_key) AS key_length, headers FROM dbos.receive('orders', 10);
-- What lies in a toast table goes with the row, and is there for who received it.
SELECT dbos.send('orders', to_jsonb(string_agg(md5(i::text), '')), headers => jsonb_build_object('h', repeat('h', 100000))) > 0 AS sent FROM generate_series(1, 100000) i;
SELECT length(body #>> '{}') AS body, md5(body #>> '{}') = (SELECT md5(string_agg(md5(i::text), '')) FROM generate_series(1, 100000) i) AS same, length(headers->>'h') AS header FROM dbos.receive('orders');
SELECT dbos.send('orders', to_jsonb(repeat('x', 20000000))) > 0 AS sent;
SELECT length(body #>> '{}') FROM dbos.receive('orders');
-- More than jsonb can hold, as 1 GB is.
\set VERBOSITY terse
SELECT dbos.send('orders', to_jsonb(repeat('x', 268435456)));
\set VERBOSITY default
SELECT count(*) FROM orders;

-- ---- names ----
SELECT dbos.create_mailbox('"Or''ders; DROP TABLE x; --"');
SELECT dbos.create_mailbox('"a ""quoted"" name"');
SELECT dbos.create_mailbox('"with.dot"');
SELECT dbos.create_mailbox('"$1"');
SELECT dbos.create_mailbox('"größe 信箱"');
SELECT dbos.create_mailbox('sixty_three_bytes_long_0123456789_0123456789_0123456789_0123456');
SELECT dbos.create_mailbox('regress_mailbox.Folded');
CREATE SCHEMA "Regress schema; --";
SELECT dbos.create_mailbox('"Regress schema; --"."select"');
CREATE TABLE dbos_message.later_1 (x int);
SELECT dbos.create_mailbox('later');
SELECT name, dbos.send(name, to_jsonb(name)) AS id
FROM unnest(ARRAY['"Or''ders; DROP TABLE x; --"', '"a ""quoted"" name"', '"with.dot"', '"$1"', '"größe 信箱"',
	'sixty_three_bytes_long_0123456789_0123456789_0123456789_0123456', 'FOLDED', '"Regress schema; --"."select"', 'later']) name;
SELECT name, (SELECT array_agg(body #>> '{}') = ARRAY[name] FROM dbos.receive(name, 10)) AS came, dbos.drop_mailbox(name)
FROM unnest(ARRAY['"Or''ders; DROP TABLE x; --"', '"a ""quoted"" name"', '"with.dot"', '"$1"', '"größe 信箱"',
	'sixty_three_bytes_long_0123456789_0123456789_0123456789_0123456', 'FOLDED', '"Regress schema; --"."select"', 'later']) name;
DROP TABLE dbos_message.later_1;
DROP SCHEMA "Regress schema; --";
CREATE TABLE taken (x int);
CREATE VIEW taken_view AS SELECT 1 AS x;
CREATE TYPE taken_type AS (x int);
CREATE SEQUENCE taken_sequence;
\set VERBOSITY terse
SELECT dbos.create_mailbox('taken');
SELECT dbos.create_mailbox('taken_view');
SELECT dbos.create_mailbox('taken_type');
SELECT dbos.create_mailbox('taken_sequence');
\set VERBOSITY default
-- The name of its sequence is taken.
CREATE TABLE clash_id_seq (x int);
SELECT dbos.create_mailbox('clash');
SELECT dbos.send('clash', '1');
SELECT dbos.drop_mailbox('clash');

-- ---- a plain INSERT, COPY or trigger is a send ----
INSERT INTO orders DEFAULT VALUES;
INSERT INTO orders (body) VALUES ('1'), ('2') RETURNING id > 0 AS has_id, sender, deliveries, segment > 0 AS has_segment;
INSERT INTO orders (body, partition_key, headers) SELECT to_jsonb(i), 'i', '{"from": "select"}' FROM generate_series(3, 5) i;
COPY orders (body, partition_key) FROM stdin;
{"copied": 6}	c
7	\N
\.
INSERT INTO orders (body, visible_at) VALUES ('"in an hour"', now() + interval '1 hour'), ('"an hour ago"', now() - interval '1 hour');
CREATE FUNCTION forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO orders (body) VALUES (to_jsonb(NEW.x));
	RETURN NULL;
END $$;
CREATE TRIGGER forward AFTER INSERT ON taken FOR EACH ROW EXECUTE FUNCTION forward();
INSERT INTO taken VALUES (8), (9);
-- Through a view of one who may insert into both.
INSERT INTO orders_view (body) VALUES ('10');
SELECT sender, partition_key, deliveries, headers, body FROM dbos.receive('orders', 100);
SELECT body FROM dbos.receive('orders', 100);
SELECT body FROM orders;
\set VERBOSITY terse
INSERT INTO orders (segment, body) VALUES (0, '1');
INSERT INTO orders (segment, body) VALUES (-1, '1');
INSERT INTO orders (segment, body) VALUES (99, '1');
INSERT INTO orders (id, body) VALUES (0, '1');
INSERT INTO orders (id, body) VALUES (NULL, '1');
INSERT INTO orders (headers) VALUES (NULL);
\set VERBOSITY default
-- Into another segment than the current one: nobody forbids it.
INSERT INTO orders (segment, body) VALUES (2, '"second segment"');
SELECT body FROM dbos.receive('orders', 10);
-- SELECT, DELETE and UPDATE are the table's own.
SELECT count(*) FROM dbos.send_many('orders', ARRAY['1', '2', '3']::jsonb[]);
DELETE FROM orders WHERE body = '2';
UPDATE orders SET body = '33' WHERE body = '3';
SELECT body FROM dbos.receive('orders', 10) ORDER BY id;
TRUNCATE orders;

-- ---- transactions ----
BEGIN;
SELECT dbos.send('orders', '"rolled back"') > 0 AS sent;
ROLLBACK;
SELECT body FROM dbos.receive('orders');
BEGIN;
SELECT dbos.send('orders', '"one"') > 0 AS sent;
SAVEPOINT a;
SELECT dbos.send('orders', '"taken back"') > 0 AS sent;
SAVEPOINT b;
SELECT dbos.send('orders', '"taken back too"') > 0 AS sent;
RELEASE b;
ROLLBACK TO a;
SELECT dbos.send('orders', '"two"') > 0 AS sent;
RELEASE a;
COMMIT;
BEGIN;
SELECT body, deliveries FROM dbos.receive('orders');
SAVEPOINT a;
SELECT body, deliveries FROM dbos.receive('orders', 10);
SELECT body, deliveries FROM dbos.receive('orders', 10);
ROLLBACK TO a;
SELECT body FROM dbos.receive('orders', 10);
ROLLBACK TO a;
COMMIT;
SELECT body FROM dbos.receive('orders', 10);
SELECT count(*) FROM dbos.send_many('orders', ARRAY['1', '2', '3']::jsonb[]);
BEGIN;
SELECT body, deliveries FROM dbos.receive('orders', 2);
ROLLBACK;
DO $$
DECLARE
	got int := 0;
BEGIN
	FOR i IN 1 .. 3 LOOP
		BEGIN
			PERFORM FROM dbos.receive('orders', 3);
			RAISE EXCEPTION 'fails';
		EXCEPTION WHEN raise_exception THEN
			got := got + 1;
		END;
	END LOOP;
	RAISE WARNING '% failures', got;
END $$;
SELECT body, deliveries > 1 AS again FROM dbos.receive('orders', 10);
-- In other isolation levels it sees what is committed now.
SELECT dbos.send('orders', '1') > 0 AS sent;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT body FROM dbos.receive('orders', 10);
COMMIT;
SELECT dbos.send('orders', '2') > 0 AS sent;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT body FROM dbos.receive('orders', 10);
SELECT dbos.send('orders', '3') > 0 AS sent;
COMMIT;
SELECT body FROM dbos.receive('orders', 10);
-- Two-phase commit is refused once messages have been sent or received, and nothing remains of it.
BEGIN;
SELECT dbos.send('orders', '1') > 0 AS sent;
PREPARE TRANSACTION 'regress_mailbox';
SELECT body FROM dbos.receive('orders', 10);
SELECT dbos.send('orders', '4') > 0 AS sent;
BEGIN;
SELECT body FROM dbos.receive('orders', 10);
PREPARE TRANSACTION 'regress_mailbox';
BEGIN;
INSERT INTO orders (body) VALUES ('5');
PREPARE TRANSACTION 'regress_mailbox';
BEGIN;
SAVEPOINT a;
SELECT dbos.send('orders', '6') > 0 AS sent;
ROLLBACK TO a;
PREPARE TRANSACTION 'regress_mailbox';
COMMIT PREPARED 'regress_mailbox';
SELECT body FROM dbos.receive('orders', 10);

-- ---- what its owner hangs on it ----
SELECT dbos.create_mailbox('hung');
ALTER TABLE hung ADD COLUMN extra text DEFAULT 'mine', ADD COLUMN line bigserial;
SELECT dbos.send('hung', '1'), dbos.send('hung', '2', delay => '1 hour');
INSERT INTO hung (body, extra) VALUES ('3', 'yours');
SELECT id, body, extra, line FROM hung ORDER BY id;
SELECT id, body FROM dbos.receive('hung', 10);
SELECT id, deliveries FROM dbos.lease('hung', 10, '1 hour');
SELECT dbos.purge_mailbox('hung');
ALTER TABLE hung DROP COLUMN line;
CREATE TABLE trail (what text, body jsonb);
CREATE FUNCTION trail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'INSERT' THEN
		IF NEW.body = '"kept away"' THEN RETURN NULL; END IF;
		-- It sends on the way.
		PERFORM dbos.send('orders', NEW.body);
		INSERT INTO trail VALUES (TG_OP, NEW.body);
		RETURN NEW;
	END IF;
	IF OLD.body = '"stays"' THEN RETURN NULL; END IF;
	INSERT INTO trail VALUES (TG_OP, OLD.body);
	RETURN OLD;
END $$;
CREATE TRIGGER audit BEFORE INSERT OR DELETE ON hung FOR EACH ROW EXECUTE FUNCTION trail();
SELECT dbos.send('hung', '1') > 0 AS sent, dbos.send('hung', '"kept away"') AS kept_away;
SELECT id IS NULL AS kept_away FROM dbos.send_many('hung', ARRAY['2', '"kept away"', '"stays"']::jsonb[]) AS id;
INSERT INTO hung (body) VALUES ('3'), ('"kept away"');
SELECT body FROM dbos.receive('hung', 10);
SELECT body FROM hung;
SELECT * FROM trail;
SELECT body FROM dbos.receive('orders', 10);
DROP TRIGGER audit ON hung;
SELECT dbos.purge_mailbox('hung');
-- Constraints hold for every way in.
\set VERBOSITY terse
ALTER TABLE hung ALTER body SET NOT NULL;
SELECT dbos.send('hung', NULL);
ALTER TABLE hung ALTER body DROP NOT NULL, ADD CHECK (body <> '"bad"');
SELECT dbos.send('hung', '"bad"');
SELECT count(*) FROM dbos.send_many('hung', ARRAY['1', '"bad"']::jsonb[]);
\set VERBOSITY default
SELECT count(*) FROM hung;
CREATE INDEX ON hung (id DESC);
CREATE INDEX ON hung ((length(partition_key)), id);
SELECT count(*) FROM dbos.send_many('hung', ARRAY['1', '2', '3', '4']::jsonb[]);
SELECT id > 0 AS got, body FROM dbos.receive('hung', 2);
SELECT id > 0 AS got, body FROM dbos.receive('hung', 10);
CREATE RULE no_delete AS ON DELETE TO hung DO INSTEAD NOTHING;
CREATE RULE elsewhere AS ON INSERT TO hung WHERE NEW.body = '"elsewhere"' DO INSTEAD INSERT INTO trail VALUES ('rule', NEW.body);
SELECT dbos.send('hung', '5') > 0 AS sent;
SELECT dbos.send('hung', '"elsewhere"') AS sent_elsewhere;
SELECT body FROM dbos.receive('hung', 10);
SELECT body FROM hung;
SELECT body FROM trail WHERE what = 'rule';
DROP RULE no_delete ON hung;
DROP RULE elsewhere ON hung;
SELECT dbos.purge_mailbox('hung');
-- Its columns are changed: an error, and no more.
\set VERBOSITY sqlstate
SELECT dbos.send('hung', '{"a": 1}') > 0 AS sent;
ALTER TABLE hung DROP CONSTRAINT hung_body_check, ALTER body TYPE text;
SELECT dbos.receive('hung');
SELECT dbos.send('hung', '1');
SELECT dbos.lease('hung', 1, '1 s');
SELECT mailbox, depth FROM dbos.mailboxes WHERE mailbox = 'hung'::regclass;
ALTER TABLE hung ALTER body TYPE jsonb USING body::jsonb;
SELECT body FROM dbos.receive('hung', 10);
SELECT dbos.send('hung', '{"a": 2}') > 0 AS sent;
ALTER TABLE hung ALTER headers DROP NOT NULL;
SELECT dbos.receive('hung');
ALTER TABLE hung ALTER headers SET NOT NULL;
SELECT body FROM dbos.receive('hung', 10);
SELECT dbos.drop_mailbox('hung');
\set VERBOSITY default
-- A segment of another shape, or of none.
SELECT dbos.create_mailbox('odd');
CREATE TABLE odd_segment (body jsonb, headers jsonb NOT NULL, partition_key text, deliveries integer NOT NULL, container_id integer NOT NULL,
	segment integer NOT NULL, sender regrole NOT NULL, task_id bigint, visible_at timestamptz, sent_at timestamptz NOT NULL, id bigint NOT NULL);
CREATE INDEX ON odd_segment (id);
ALTER TABLE odd ATTACH PARTITION odd_segment FOR VALUES IN (7);
INSERT INTO odd (segment, body) VALUES (7, '1');
INSERT INTO odd_segment (id, segment, body) VALUES (1, 7, '1');
SELECT dbos.receive('odd');
SELECT mailbox, depth FROM dbos.mailboxes WHERE mailbox = 'odd'::regclass;
ALTER TABLE odd DETACH PARTITION odd_segment;
CREATE TABLE odd_parts (LIKE odd) PARTITION BY LIST (segment);
CREATE INDEX ON odd_parts (id);
ALTER TABLE odd ATTACH PARTITION odd_parts FOR VALUES IN (7);
SELECT dbos.receive('odd');
ALTER TABLE odd DETACH PARTITION odd_parts;
SELECT dbos.send('odd', '1');
SELECT body FROM dbos.receive('odd');
SELECT dbos.drop_mailbox('odd');

-- ---- paused, purged, renamed, dropped ----
SELECT count(*) FROM dbos.send_many('orders', ARRAY['1', '2']::jsonb[]);
SELECT dbos.pause_mailbox('orders');
SELECT dbos.pause_mailbox('orders');
SELECT body FROM dbos.receive('orders', 10, '1 ms');
SELECT body FROM dbos.lease('orders', 10, '1 minute');
SELECT dbos.send('orders', '3') > 0 AS sent;
SELECT mailbox, depth, paused FROM dbos.mailboxes WHERE mailbox = 'orders'::regclass;
BEGIN;
SELECT dbos.resume_mailbox('orders');
ROLLBACK;
SELECT body FROM dbos.receive('orders', 10);
SELECT dbos.resume_mailbox('orders');
SELECT body FROM dbos.receive('orders', 1);
SELECT dbos.send('orders', '4', delay => '1 hour') > 0 AS sent;
BEGIN;
SELECT dbos.purge_mailbox('orders');
ROLLBACK;
SELECT body FROM dbos.receive('orders', 1);
SELECT dbos.purge_mailbox('orders');
SELECT count(*) FROM orders;
SELECT dbos.pause_mailbox('nothing_of_the_kind');
SELECT dbos.purge_mailbox('plain_table');
SELECT dbos.drop_mailbox('plain_table');
SELECT dbos.alter_mailbox(NULL, 1, 'orders');
SELECT dbos.alter_mailbox('orders', 1, 'orders');
SELECT dbos.alter_mailbox('orders', 1, NULL);
SELECT dbos.pause_mailbox(NULL) IS NULL AS strict;
SELECT dbos.send('orders', '"before the rename"') > 0 AS sent;
CREATE SCHEMA regress_mailbox_other;
ALTER TABLE orders RENAME TO renamed;
ALTER TABLE renamed SET SCHEMA regress_mailbox_other;
SELECT dbos.send('orders', '1');
SELECT dbos.send('regress_mailbox_other.renamed', '"after it"') > 0 AS sent;
INSERT INTO regress_mailbox_other.renamed (body) VALUES ('"inserted"');
SELECT body FROM dbos.receive('regress_mailbox_other.renamed', 10);
SELECT dbos.drop_mailbox('regress_mailbox_other.renamed');
DROP VIEW orders_view;
SELECT dbos.drop_mailbox('regress_mailbox_other.renamed');
SELECT dbos.create_mailbox('dropped');
SELECT dbos.send('dropped', '1', idempotency_key => 'k');
DROP TABLE dropped;
SELECT dbos.send('dropped', '1');
SELECT dbos.create_mailbox('dropped');
SELECT body FROM dbos.receive('dropped', 10);
SELECT dbos.send('dropped', '2', idempotency_key => 'k');
BEGIN;
SELECT dbos.drop_mailbox('dropped');
ROLLBACK;
SELECT body FROM dbos.receive('dropped', 10);
SELECT dbos.drop_mailbox('dropped');
-- Made and used in a transaction that is rolled back.
BEGIN;
SELECT dbos.create_mailbox('fleeting');
SELECT dbos.send('fleeting', '1');
ROLLBACK;
SELECT to_regclass('fleeting') IS NULL AS gone;
SELECT count(*) FROM pg_class WHERE relnamespace = 'dbos_message'::regnamespace AND relname LIKE ANY (ARRAY['orders%', 'hung%', 'odd%', 'dropped%', 'fleeting%', 'clash%']);

DROP SCHEMA regress_mailbox, regress_mailbox_other CASCADE;
