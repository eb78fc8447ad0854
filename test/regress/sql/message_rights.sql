-- The rights on a mailbox are those on its table: who has none gains none, by no function, forged column, container or object of a hostile owner.
-- SPDX-License-Identifier: PostgreSQL
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_mr_owner LOGIN IN ROLE dbos_user;
CREATE ROLE regress_mr_sender LOGIN;
CREATE ROLE regress_mr_receiver LOGIN IN ROLE dbos_user;
CREATE ROLE regress_mr_eve LOGIN IN ROLE dbos_user;
CREATE ROLE regress_mr_group;
CREATE ROLE regress_mr_member LOGIN IN ROLE dbos_user, regress_mr_group;
CREATE ROLE regress_mr_monitor LOGIN IN ROLE dbos_monitor;
CREATE ROLE regress_mr_admin LOGIN IN ROLE dbos_admin;
CREATE SCHEMA regress_mr;
GRANT ALL ON SCHEMA regress_mr TO PUBLIC;
ALTER ROLE regress_mr_owner SET search_path = regress_mr;
ALTER ROLE regress_mr_sender SET search_path = regress_mr;
ALTER ROLE regress_mr_receiver SET search_path = regress_mr;
ALTER ROLE regress_mr_eve SET search_path = regress_mr;
ALTER ROLE regress_mr_member SET search_path = regress_mr;

\c - regress_mr_owner
SELECT dbos.create_mailbox('box');
GRANT INSERT ON box TO regress_mr_sender;
GRANT DELETE ON box TO regress_mr_receiver;
GRANT INSERT, DELETE ON box TO regress_mr_group;
SELECT dbos.send('box', '"of its owner"');
-- As granted; PostgreSQL 17 gives owners MAINTAIN as well.
SELECT grantee::regrole, string_agg(privilege_type, ' ' ORDER BY privilege_type) AS privileges, bool_or(is_grantable) AS grantable FROM pg_class, aclexplode(relacl)
WHERE oid = 'box'::regclass AND privilege_type <> 'MAINTAIN' GROUP BY grantee ORDER BY grantee::regrole::text;

-- ---- who has INSERT alone, and is no dbos_user ----
\c - regress_mr_sender
INSERT INTO box (body) VALUES ('"of the sender"') RETURNING 1;
INSERT INTO box (body) VALUES ('"of the sender"');
COPY box (body) FROM stdin;
"copied"
\.
SELECT dbos.send('box', '1');
SELECT count(*) FROM box;
DELETE FROM box;
-- Forged.
INSERT INTO box (sender, body) VALUES ('regress_mr_owner', '1');
INSERT INTO box (id, body) VALUES (1, '1');
INSERT INTO box (id, body) VALUES (1000, '1');
INSERT INTO box (deliveries, body) VALUES (7, '1');
INSERT INTO box (deliveries, body) VALUES (-7, '1');
INSERT INTO box (container_id, body) VALUES (1, '1');
INSERT INTO box (task_id, body) VALUES (1, '1');
INSERT INTO box (sent_at, body) VALUES ('1970-01-01', '1');
INSERT INTO box (segment, body) VALUES (0, '1');
-- What is so may be said.
INSERT INTO box (sender, container_id, deliveries, body) VALUES ('regress_mr_sender', 0, 0, '"said"');
-- ---- who has DELETE alone ----
\c - regress_mr_receiver
SELECT dbos.send('box', '1');
INSERT INTO box (body) VALUES ('1');
SELECT * FROM box;
SELECT sender, body FROM dbos.receive('box', 2);
SELECT sender, body FROM dbos.lease('box', 1, '1 hour') \gset leased_
SELECT :'leased_sender' AS sender, :'leased_body' AS body;
SELECT mailbox, depth, in_flight FROM dbos.mailboxes;
-- ---- who has nothing ----
\c - regress_mr_eve
SELECT dbos.send('box', '1');
SELECT * FROM dbos.send_many('box', ARRAY['1']::jsonb[]);
SELECT dbos.receive('box');
SELECT dbos.lease('box', 1, '1 s');
SELECT dbos.acknowledge('box', ARRAY[1, 2, 3, 4, 5]);
SELECT dbos.release('box', ARRAY[1, 2, 3, 4, 5]);
SELECT dbos.extend_lease('box', ARRAY[1, 2, 3, 4, 5], '1 s');
SELECT dbos.purge_mailbox('box');
SELECT dbos.pause_mailbox('box');
SELECT dbos.resume_mailbox('box');
SELECT dbos.alter_mailbox('box', NULL, NULL);
SELECT dbos.drop_mailbox('box');
SELECT dbos.message_id('box');
SELECT dbos.message_segment('box');
SELECT count(*) FROM dbos.mailboxes;
SELECT * FROM dbos.mailbox_state('box');
SELECT count(*) FROM dbos_message.box_1;
SELECT nextval('box_id_seq');
SELECT count(*) FROM dbos.mailbox;
SELECT count(*) FROM dbos.message_key;
UPDATE dbos.mailbox SET paused = true;
SELECT dbos.create_mailbox('dbos.box');
SELECT dbos.create_mailbox('dbos_message.box');
DROP TABLE dbos_message.box;
SELECT dbos.create_mailbox('eves', max_deliveries => 1, dead_letter => 'box');
SELECT dbos.create_mailbox('eves');
SELECT dbos.alter_mailbox('eves', 1, 'box');
SELECT dbos.requeue('eves', 'box');
SELECT dbos.requeue('box', 'eves');
-- The trigger of a mailbox on a table of hers.
CREATE TABLE mine (id bigint, body jsonb);
CREATE TRIGGER dbos_message BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION dbos.message_sent();
INSERT INTO mine VALUES (-1, '1');
DROP TABLE mine;
-- ---- others may pause and the like only as owners ----
\c - regress_mr_member
SELECT dbos.send('box', '"of a member"') > 0 AS sent;
SELECT dbos.pause_mailbox('box');
SELECT dbos.drop_mailbox('box');
SELECT dbos.alter_mailbox('box', NULL, NULL);
-- An id that was taken is for one message.
DO $$
DECLARE
	taken bigint := dbos.message_id('box');
BEGIN
	INSERT INTO box (id, body) VALUES (taken, '"taken"');
	BEGIN
		INSERT INTO box (id, body) VALUES (taken, '"taken twice"');
	EXCEPTION WHEN insufficient_privilege THEN
		RAISE WARNING '%', SQLERRM;
	END;
END $$;
SELECT sender, body FROM dbos.receive('box', 3);
\c - regress_mr_monitor
SELECT mailbox, depth, in_flight FROM dbos.mailboxes WHERE owner = 'regress_mr_owner';
SELECT body FROM regress_mr.box;
\c - regress_mr_admin
SELECT dbos.receive('regress_mr.box');
SELECT dbos.pause_mailbox('regress_mr.box');
SELECT dbos.purge_mailbox('regress_mr.box');
-- ---- definer functions: the sender is who the function is of ----
\c - regress_mr_owner
CREATE FUNCTION put(body jsonb) RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = regress_mr, pg_temp AS 'SELECT dbos.send(''box'', body) > 0';
CREATE FUNCTION get() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = regress_mr, pg_temp AS 'SELECT sender || '' '' || body FROM dbos.receive(''box'')';
SELECT dbos.purge_mailbox('box');
\c - regress_mr_eve
SELECT put('"by a function"');
SELECT get();
-- ---- PUBLIC ----
\c - regress_mr_owner
GRANT INSERT, DELETE ON box TO PUBLIC;
\c - regress_mr_eve
SELECT dbos.send('box', '"of everybody"') > 0 AS sent;
SELECT sender, body FROM dbos.receive('box');
\c - regress_mr_owner
REVOKE INSERT, DELETE ON box FROM PUBLIC;
\c - regress_mr_eve
SELECT dbos.receive('box');
-- ---- columns ----
\c - regress_mr_owner
GRANT INSERT (body) ON box TO regress_mr_eve;
\c - regress_mr_eve
INSERT INTO box (body) VALUES ('"one column"');
INSERT INTO box (body, visible_at) VALUES ('1', now());
SELECT dbos.send('box', '1');
\c - regress_mr_owner
REVOKE INSERT (body) ON box FROM regress_mr_eve;
SELECT sender, body FROM dbos.receive('box');
-- ---- row-level security: a receiver gets what its policies show ----
ALTER TABLE box ENABLE ROW LEVEL SECURITY;
CREATE POLICY to_receiver ON box FOR ALL TO regress_mr_receiver USING (partition_key = 'receiver');
CREATE POLICY to_member ON box FOR ALL TO regress_mr_member USING (partition_key = 'member') WITH CHECK (partition_key <> 'secret');
CREATE POLICY of_sender ON box FOR INSERT TO regress_mr_sender WITH CHECK (partition_key = 'receiver');
GRANT SELECT ON box TO regress_mr_receiver, regress_mr_member;
SELECT count(*) FROM dbos.send_many('box', ARRAY['"nobody"', '"nobody"']::jsonb[]);
\c - regress_mr_sender
INSERT INTO box (body, partition_key) VALUES ('"to the receiver"', 'receiver');
INSERT INTO box (body, partition_key) VALUES ('"to the member"', 'member');
\c - regress_mr_member
SELECT dbos.send('box', '1', 'secret');
SELECT dbos.send('box', '"to itself"', 'member') > 0 AS sent, dbos.send('box', '"to the receiver"', 'receiver') > 0 AS sent,
	dbos.send('box', '"later"', 'member', delay => '1 hour') > 0 AS sent;
SELECT sender, body FROM dbos.receive('box', 10);
SELECT sender, body FROM dbos.receive('box', 10, '1 ms');
SELECT dbos.purge_mailbox('box');
\c - regress_mr_receiver
BEGIN;
SELECT sender, body FROM dbos.receive('box', 10);
ROLLBACK;
SELECT sender, body, deliveries > 1 AS again FROM dbos.receive('box', 1);
SELECT id AS leased FROM dbos.lease('box', 10, '1 hour') \gset
SELECT sender, body FROM dbos.receive('box', 10);
\c - regress_mr_member
SELECT dbos.acknowledge('box', ARRAY[:leased]), dbos.release('box', ARRAY[:leased]);
\c - regress_mr_receiver
SELECT dbos.acknowledge('box', ARRAY[:leased]);
\c - regress_mr_owner
SELECT body FROM box;
ALTER TABLE box DISABLE ROW LEVEL SECURITY;
SELECT body FROM dbos.receive('box', 10);
DROP POLICY to_receiver ON box;
DROP POLICY to_member ON box;
DROP POLICY of_sender ON box;

-- ---- containers: from outside only by a grant ----
SELECT dbos.create_container('regress_mr_box');
SELECT dbos.enter_container('regress_mr_box');
SELECT dbos.create_mailbox('inner_box');
SELECT mailbox, container FROM dbos.mailboxes ORDER BY mailbox::text;
SELECT dbos.send('inner_box', '"from inside"') > 0 AS sent;
-- The owner of both, in another container than "box" is.
SELECT dbos.send('box', '1');
INSERT INTO box (body) VALUES ('1');
SELECT dbos.receive('box');
SELECT dbos.purge_mailbox('box');
SELECT dbos.pause_mailbox('box');
SELECT dbos.drop_mailbox('box');
SELECT dbos.create_mailbox('inner_dead', max_deliveries => 1, dead_letter => 'box');
SELECT * FROM dbos.mailbox_state('box');
-- By a grant.
\c - regress_mr_member
SELECT dbos.create_container('regress_mr_other');
SELECT dbos.enter_container('regress_mr_other');
SELECT dbos.send('box', '"from the other container"') > 0 AS sent;
INSERT INTO box (body) VALUES ('"inserted from there"');
SELECT sender, body FROM dbos.receive('box');
SELECT dbos.send('inner_box', '1');
\c - regress_mr_owner
-- From the outer one inward all is as without containers.
SELECT body, container_id <> 0 AS of_a_container FROM inner_box;
SELECT body FROM dbos.receive('inner_box');
SELECT m.body, c.path FROM box m JOIN dbos.containers c ON c.id = m.container_id;
SELECT dbos.purge_mailbox('box');
SELECT dbos.drop_container('regress_mr_box');
SELECT dbos.drop_mailbox('inner_box');
SELECT dbos.drop_container('regress_mr_box');
\c - regress_mr_member
SELECT dbos.drop_container('regress_mr_other');

-- ---- a hostile owner: what hangs on a mailbox runs as its owner, or as who used it, never as the background or a superuser who looks ----
\c - postgres
SET client_min_messages = warning;
CREATE TABLE regress_mr.ran_as (who name DEFAULT current_user, what text);
CREATE TABLE regress_mr.canary (who name DEFAULT current_user);
GRANT INSERT ON regress_mr.ran_as TO PUBLIC;
GRANT INSERT ON regress_mr.canary TO regress_mr_owner, dbos_owner;
\c - regress_mr_eve
CREATE FUNCTION spy(n bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO regress_mr.ran_as (what) VALUES ('spy');
	BEGIN RESET ROLE; EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN SET SESSION AUTHORIZATION postgres; EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN INSERT INTO regress_mr.canary DEFAULT VALUES; EXCEPTION WHEN insufficient_privilege THEN NULL; END;
	RETURN n;
END $$;
CREATE FUNCTION spy_immutable(n bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN regress_mr.spy(n); END$$;
SELECT dbos.create_mailbox('trap'), dbos.create_mailbox('trap_dead');
SELECT dbos.alter_mailbox('trap', 2, 'trap_dead');
CREATE INDEX ON trap (spy_immutable(id));
CREATE INDEX ON trap_dead (spy_immutable(id));
GRANT INSERT, DELETE, SELECT ON trap, trap_dead TO regress_mr_receiver;
SELECT dbos.send('trap', '1') > 0 AS sent;
-- Names of ours, first in everybody's path.
CREATE FUNCTION in_container(int) RETURNS boolean LANGUAGE sql AS 'SELECT regress_mr.spy(1) = 1';
CREATE FUNCTION mailbox_state(regclass) RETURNS record LANGUAGE sql AS 'SELECT regress_mr.spy(1)';
CREATE FUNCTION int8eq_spy(int8, int8) RETURNS boolean LANGUAGE sql AS 'SELECT regress_mr.spy(1) = 1';
CREATE OPERATOR regress_mr.= (LEFTARG = int8, RIGHTARG = int8, FUNCTION = regress_mr.int8eq_spy);
CREATE FUNCTION pg_get_userbyid(oid) RETURNS name LANGUAGE sql AS 'SELECT ''x''::name FROM regress_mr.spy(1)';
CREATE VIEW mailboxes AS SELECT regress_mr.spy(1);
CREATE FUNCTION hostile_list() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM regress_mr.spy(1); RETURN NULL; END$$;
CREATE TRIGGER on_truncate AFTER TRUNCATE ON trap FOR EACH STATEMENT EXECUTE FUNCTION hostile_list();
-- Another's receive fails twice; the background counts, and moves the dead.
\c - regress_mr_receiver
BEGIN;
SELECT body, deliveries FROM dbos.receive('trap');
ROLLBACK;
SELECT body, deliveries FROM dbos.receive('trap', timeout => '1 minute');
SELECT dbos.send('trap', '2') > 0 AS sent;
\c - regress_mr_receiver
BEGIN;
SELECT body, deliveries FROM dbos.receive('trap');
ROLLBACK;
BEGIN;
SELECT body, deliveries FROM dbos.receive('trap', timeout => '1 minute');
ROLLBACK;
SELECT body, headers #>> '{dead_letter,mailbox}' AS came_from, sender FROM dbos.receive('trap_dead', timeout => '1 minute');
\c - postgres
SET search_path = regress_mr, pg_catalog;
SELECT count(*) AS seen FROM dbos.mailboxes WHERE mailbox::text LIKE '%trap%';
SELECT count(*) FROM dbos.health() WHERE component = 'mailbox segments';
RESET search_path;
SELECT who, count(*) > 0 AS ran FROM regress_mr.ran_as GROUP BY who ORDER BY who;
SELECT count(*) AS gained FROM regress_mr.canary;

SET client_min_messages = warning;
DROP OWNED BY regress_mr_eve CASCADE;
DROP SCHEMA regress_mr CASCADE;
DROP OWNED BY regress_mr_owner, regress_mr_sender, regress_mr_receiver, regress_mr_group, regress_mr_member;
DROP ROLE regress_mr_owner, regress_mr_sender, regress_mr_receiver, regress_mr_eve, regress_mr_group, regress_mr_member, regress_mr_monitor, regress_mr_admin;
