-- Functions are called for messages: by a loop in a session, and as tasks; what fails is delivered again, and nobody gets a right by it.
-- SPDX-License-Identifier: PostgreSQL
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS dbos;
DROP ROLE IF EXISTS regress_message_owner, regress_message_worker, regress_message_other, regress_message_nologin;
CREATE ROLE regress_message_owner LOGIN IN ROLE dbos_user;
CREATE ROLE regress_message_worker LOGIN IN ROLE dbos_user;
CREATE ROLE regress_message_other LOGIN IN ROLE dbos_user;
CREATE ROLE regress_message_nologin IN ROLE dbos_user;
RESET client_min_messages;
CREATE SCHEMA regress_message AUTHORIZATION regress_message_owner;
GRANT USAGE ON SCHEMA regress_message TO PUBLIC;
SET search_path = regress_message;
\set VERBOSITY default

SET SESSION AUTHORIZATION regress_message_owner;
SELECT dbos.create_mailbox('orders');
SELECT dbos.create_mailbox('closed');
GRANT INSERT, DELETE ON orders TO regress_message_worker, regress_message_nologin;
GRANT INSERT ON orders TO regress_message_other;
CREATE TABLE ledger (item integer, role text DEFAULT current_user, message jsonb);
GRANT INSERT, SELECT ON ledger TO PUBLIC;
CREATE FUNCTION handle(item integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO regress_message.ledger (item, message) VALUES (item, dbos.current_message());
	IF item < 0 THEN
		RAISE EXCEPTION 'no order of %', item USING DETAIL = 'It is negative.', HINT = 'Order more.';
	END IF;
	RETURN item;
END $$;
CREATE FUNCTION handle_all(document jsonb) RETURNS void LANGUAGE sql AS $$
	INSERT INTO regress_message.ledger (item, message) VALUES ((document ->> 'item')::integer, document) $$;
CREATE FUNCTION overloaded(a integer) RETURNS void LANGUAGE sql AS $$ INSERT INTO regress_message.ledger VALUES (a, 'integer') $$;
CREATE FUNCTION overloaded(a text) RETURNS void LANGUAGE sql AS $$ INSERT INTO regress_message.ledger VALUES (0, a) $$;
CREATE FUNCTION private() RETURNS void LANGUAGE sql AS '';
REVOKE ALL ON FUNCTION private() FROM PUBLIC;

-- A loop: what it refuses.
BEGIN;
CALL dbos.receive_loop('orders', 'handle');
ROLLBACK;
CALL dbos.receive_loop(NULL, 'handle');
CALL dbos.receive_loop('orders', NULL);
CALL dbos.receive_loop('order', 'handle', 1);
CALL dbos.receive_loop('ledger', 'handle', 1);
CALL dbos.receive_loop('orders', 'handel', 1);
CALL dbos.receive_loop('orders', 'handle', 0);
CALL dbos.receive_loop('orders', 'handle', idle_timeout => '-1 s');
SET default_transaction_read_only = on;
CALL dbos.receive_loop('orders', 'handle', 1);
RESET default_transaction_read_only;

-- One call for each message, as whoever loops, in the order of the ids; what is known of the message beside its body.
SET SESSION AUTHORIZATION regress_message_other;
SELECT dbos.send('orders', '{"item": 1}'), dbos.send('orders', '[2]', partition_key => 'p', headers => '{"h": [true]}');
SET SESSION AUTHORIZATION regress_message_worker;
CALL dbos.receive_loop('orders', 'handle', idle_timeout => '0');
CALL dbos.receive_loop('orders', 'handle', idle_timeout => '10 ms');
SELECT item, role, message - 'sent_at' AS message, (message ->> 'sent_at')::timestamptz <= now() AS sent FROM ledger ORDER BY item;
SELECT dbos.current_message() IS NULL AS outside;
RESET SESSION AUTHORIZATION;
TRUNCATE regress_message.ledger;

-- The body as a document, by position and by name; no body is an empty one; overloads are told apart by the arguments.
SET SESSION AUTHORIZATION regress_message_worker;
SELECT count(dbos.send('orders', body)) FROM unnest(ARRAY['{"item": 3}', '{"item": "4", "more": null}', '[5]', NULL]::jsonb[]) body;
CALL dbos.receive_loop('orders', 'handle_all', 4);
SELECT item, message FROM ledger ORDER BY item;
SELECT count(dbos.send('orders', body)) FROM unnest(ARRAY['[6]', '["six"]']::jsonb[]) body;
CALL dbos.receive_loop('orders', 'regress_message.overloaded', 2);
SELECT item, role AS type FROM ledger WHERE item IN (0, 6) ORDER BY item;

-- A function that fails: its effects are undone, the message comes again later, the loop goes on with the next one.
SELECT dbos.send('orders', '[-1]'), dbos.send('orders', '[7]'), dbos.send('orders', '"text"'), dbos.send('orders', '{"itm": 1}');
CALL dbos.receive_loop('orders', 'handle', 4);
SELECT count(*) FILTER (WHERE item = -1) AS undone, count(*) FILTER (WHERE item = 7) AS done FROM ledger;
SET SESSION AUTHORIZATION regress_message_owner;
SELECT body, deliveries, visible_at > now() AS later FROM orders ORDER BY id;
SELECT dbos.purge_mailbox('orders');

-- What was delivered too often goes to the dead letters.
SELECT dbos.create_mailbox('dead'), dbos.create_mailbox('twice', max_deliveries => 2, dead_letter => 'dead');
SELECT dbos.send('twice', '[-2]');
CALL dbos.receive_loop('twice', 'handle', 2);
SELECT count(*) FROM dbos.receive('twice');
SELECT body, headers FROM dbos.receive('dead');

-- What the function leaves for the commit belongs to the message too.
CREATE TABLE checked (n integer PRIMARY KEY, parent integer REFERENCES checked DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION enter(n integer, parent integer) RETURNS void LANGUAGE sql AS 'INSERT INTO regress_message.checked VALUES (n, parent)';
SELECT count(dbos.send('orders', body)) FROM unnest(ARRAY['[1, 99]', '[2, 2]']::jsonb[]) body;
CALL dbos.receive_loop('orders', 'enter', 2);
TABLE checked;
SELECT body, deliveries FROM orders;
SELECT dbos.purge_mailbox('orders');

-- Rights: those of whoever loops, at every message.
SET SESSION AUTHORIZATION regress_message_other;
CALL dbos.receive_loop('orders', 'handle', 1);
CALL dbos.receive_loop('closed', 'handle', 1);
SET SESSION AUTHORIZATION regress_message_worker;
CALL dbos.receive_loop('orders', 'private', 1);
SET SESSION AUTHORIZATION regress_message_owner;
CREATE PROCEDURE loops(mailbox text, INOUT n bigint) LANGUAGE plpgsql AS $$ BEGIN CALL dbos.receive_loop(mailbox, 'handle', 1, NULL, n); END $$;
SELECT dbos.send('orders', '[8]');
-- A procedure may loop as well.
CALL loops('orders', NULL);

-- A task for each message: what is refused.
SELECT dbos.on_message(NULL, 'handle');
SELECT dbos.on_message('order', 'handle');
SELECT dbos.on_message('orders', 'handel');
SELECT dbos.on_message('orders', 'overloaded');
SELECT dbos.on_message('orders', 'handle', queue => 'nowhere');
SELECT dbos.on_message('orders', 'handle', max_attempts => 0);
SELECT dbos.on_message('orders', 'loops');
BEGIN READ ONLY;
SELECT dbos.on_message('orders', 'handle');
ROLLBACK;
SET SESSION AUTHORIZATION regress_message_other;
SELECT dbos.on_message('orders', 'handle');
SELECT dbos.on_message('orders', NULL);
SET SESSION AUTHORIZATION regress_message_worker;
SELECT dbos.on_message('orders', 'private');
SET SESSION AUTHORIZATION regress_message_nologin;
SELECT dbos.on_message('orders', 'handle');
SET SESSION AUTHORIZATION regress_message_owner;
CREATE FUNCTION look_on() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
CREATE TRIGGER look_on BEFORE DELETE ON closed FOR EACH ROW EXECUTE FUNCTION look_on();
SELECT dbos.on_message('closed', 'handle');
DROP TRIGGER look_on ON closed;

-- The tasks are those of whoever said so, and know their message; what was there already becomes tasks as well.
RESET SESSION AUTHORIZATION;
CREATE PROCEDURE regress_message.until(question text) LANGUAGE plpgsql AS $$
DECLARE
	yes boolean;
BEGIN
	FOR i IN 1 .. 3000 LOOP
		EXECUTE question INTO yes;
		IF yes THEN
			RETURN;
		END IF;
		COMMIT;
		PERFORM pg_sleep(0.02);
	END LOOP;
	RAISE EXCEPTION 'not within a minute: %', question;
END $$;
TRUNCATE regress_message.ledger;
SET SESSION AUTHORIZATION regress_message_other;
SELECT dbos.send('orders', '[10]', partition_key => 'p');
SET SESSION AUTHORIZATION regress_message_worker;
SELECT dbos.on_message('orders', 'handle', priority => 3, max_attempts => 2, retry_delay => '1 ms', timeout => '1 minute');
SELECT mailbox, function, queue, priority, max_attempts, timeout, role, error FROM dbos.mailbox_functions;
SELECT dbos.send('orders', '[11]'), dbos.send('orders', '[12]', delay => '100 ms');
INSERT INTO orders (body) VALUES ('[13]');
CALL regress_message.until('SELECT count(*) = 4 FROM regress_message.ledger');
SELECT item, role, message ->> 'sender' AS sender, message ->> 'mailbox' AS mailbox FROM ledger ORDER BY item;
SELECT function, args, role, priority, max_attempts, partition_key, attributes #> '{message,deliveries}' AS deliveries, state
	FROM dbos.tasks WHERE args <@ '[10, 11, 12, 13]' ORDER BY args;
-- A message is gone when its task is there; that the task fails is the task's.
SELECT dbos.send('orders', '[-10]');
CALL regress_message.until($$SELECT state = 'failed' FROM dbos.tasks WHERE args = '[-10]'$$);
SELECT attempt, error ->> 'message' AS message FROM dbos.tasks WHERE args = '[-10]';
-- One that cannot become a task is delivered again; the others are not kept from it.
SELECT dbos.send('orders', '{"itm": 1}'), dbos.send('orders', '[14]');
CALL regress_message.until('SELECT count(*) = 1 FROM regress_message.ledger WHERE item = 14');
CALL regress_message.until('SELECT error IS NOT NULL FROM dbos.mailbox_functions');
SELECT error ->> 'message' AS message, again_at FROM dbos.mailbox_functions;
SET SESSION AUTHORIZATION regress_message_owner;
SELECT body, deliveries > 0 AS counted, visible_at IS NOT NULL AS aside FROM orders;
SELECT dbos.purge_mailbox('orders');
SET SESSION AUTHORIZATION regress_message_other;
SELECT count(*) FROM dbos.mailbox_functions;
RESET SESSION AUTHORIZATION;

-- What keeps all of them from it leaves them alone, until it has passed; it shows in dbos.health().
REVOKE DELETE ON regress_message.orders FROM regress_message_worker;
SET SESSION AUTHORIZATION regress_message_worker;
SELECT dbos.send('orders', '[20]');
CALL regress_message.until($$SELECT error ->> 'sqlstate' = '42501' FROM dbos.mailbox_functions$$);
SELECT error ->> 'message' AS message, again_at IS NOT NULL AS later FROM dbos.mailbox_functions;
SELECT ok, detail, hint FROM dbos.health() WHERE component = 'mailbox functions';
RESET SESSION AUTHORIZATION;
SELECT body, deliveries FROM regress_message.orders;
SELECT ok, detail FROM dbos.health() WHERE component = 'mailbox functions';
GRANT DELETE ON regress_message.orders TO regress_message_worker;
CALL regress_message.until('SELECT count(*) = 1 FROM regress_message.ledger WHERE item = 20');
CALL regress_message.until('SELECT error IS NULL FROM dbos.mailbox_functions');

-- A queue that messages go to stays; who says something else becomes the role that it runs as; NULL ends it.
SET client_min_messages = warning;
SELECT dbos.create_queue('regress_message');
SET SESSION AUTHORIZATION regress_message_owner;
SELECT dbos.on_message('orders', 'handle_all', queue => 'regress_message');
RESET SESSION AUTHORIZATION;
SELECT dbos.drop_queue('regress_message');
SELECT function, queue, role FROM dbos.mailbox_functions;
SELECT dbos.send('regress_message.orders', '{"item": 30}');
CALL regress_message.until('SELECT count(*) = 1 FROM regress_message.ledger WHERE item = 30');
SELECT role, message FROM regress_message.ledger WHERE item = 30;
SET SESSION AUTHORIZATION regress_message_owner;
SELECT dbos.on_message('orders', NULL), dbos.on_message('orders', NULL);
SELECT count(*) FROM dbos.mailbox_functions;

-- The channel by which listeners are told has the name that the mailbox was created by.
SELECT dbos.create_mailbox('told', notify => true), dbos.create_mailbox('regress_message.qualified', notify => true);
SELECT dbos.create_mailbox(repeat('x', 59), notify => true);
RESET SESSION AUTHORIZATION;
SELECT relation, channel FROM dbos.mailbox WHERE channel IS NOT NULL ORDER BY 1;

CALL regress_message.until($$SELECT count(*) = 0 FROM dbos.tasks WHERE queue = 'regress_message' AND finished_at IS NULL$$);
DROP SCHEMA regress_message CASCADE;
SELECT dbos.drop_queue('regress_message');
DROP ROLE regress_message_owner, regress_message_worker, regress_message_other, regress_message_nologin;
