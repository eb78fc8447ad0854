-- A leased, delayed or failed message is delivered when its time has come and not before, as often as it may be, and once for each idempotency key.
-- SPDX-License-Identifier: PostgreSQL
SET client_min_messages = warning;
CREATE SCHEMA regress_lease;
SET search_path = regress_lease;
\set VERBOSITY terse
-- What is counted in the background is there a moment later.
CREATE PROCEDURE until(condition text) LANGUAGE plpgsql AS $$
DECLARE
	holds boolean := false;
BEGIN
	FOR i IN 1 .. 3000 LOOP
		EXECUTE 'SELECT ' || condition INTO holds;
		EXIT WHEN holds;
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
	IF holds IS NOT TRUE THEN RAISE WARNING 'never: %', condition; END IF;
END $$;

-- ---- delay and run_at ----
SELECT dbos.create_mailbox('box');
SELECT dbos.send('box', '"in an hour"', delay => '1 hour') AS hour, dbos.send('box', '"in 2000 years"', run_at => '4000-01-01') AS far,
	dbos.send('box', '"past"', run_at => '2000-01-01') AS past, dbos.send('box', '"soon"', delay => '20 ms') AS soon \gset
SELECT mailbox, depth, delayed, in_flight FROM dbos.mailboxes WHERE mailbox = 'box'::regclass;
SELECT body FROM dbos.receive('box', 10) WHERE body <> '"soon"';
CALL until($$(SELECT count(*) FROM regress_lease.box) = 2 OR EXISTS (SELECT FROM dbos.receive('regress_lease.box', 1))$$);
SELECT body FROM dbos.receive('box', 10);
-- A wait ends when the delay does.
SELECT dbos.send('box', '"waited for"', delay => '50 ms') > 0 AS sent;
SELECT body FROM dbos.receive('box', 10, '1 minute');
SELECT body, deliveries FROM box ORDER BY visible_at;
SELECT dbos.purge_mailbox('box');

-- ---- leases ----
SELECT dbos.lease(NULL, 1, '1 s');
SELECT dbos.lease('box', NULL, '1 s');
SELECT dbos.lease('box', 1, NULL);
SELECT dbos.lease('box', 1, '0');
SELECT dbos.lease('box', 1, '-1 s');
SELECT dbos.lease('box', 0, '1 s');
SELECT dbos.extend_lease('box', ARRAY[1], '0');
SELECT dbos.extend_lease('box', ARRAY[1], NULL) IS NULL AS strict;
SELECT dbos.acknowledge('box', NULL) IS NULL AS strict;
SELECT dbos.acknowledge('box', '{}'), dbos.release('box', '{}'), dbos.extend_lease('box', '{}', '1 s');
SELECT dbos.acknowledge('box', ARRAY[NULL, -1, 0, 9223372036854775807]::bigint[]);
SELECT dbos.acknowledge('nothing_of_the_kind', ARRAY[1]);
SELECT dbos.send('box', '1', 'key', headers => '{"h": 1}') AS one, dbos.send('box', '2') AS two, dbos.send('box', '3') AS three, dbos.send('box', '4') AS four \gset
SELECT dbos.acknowledge('box', ARRAY[:one]) AS not_leased;
SELECT sender, partition_key, deliveries, headers, body FROM dbos.lease('box', 3, '1 hour');
SELECT body FROM dbos.lease('box', 10, '1 hour');
SELECT body FROM dbos.receive('box', 10, '1 ms');
SELECT mailbox, depth, delayed, in_flight FROM dbos.mailboxes WHERE mailbox = 'box'::regclass;
SELECT dbos.acknowledge('box', ARRAY[:one, :one, -1]);
SELECT dbos.acknowledge('box', ARRAY[:one]);
SELECT dbos.release('box', ARRAY[:two, :two]);
SELECT body, deliveries FROM dbos.lease('box', 10, '1 hour');
SELECT dbos.extend_lease('box', ARRAY[:two, :three], '2 hours');
SELECT count(*) FROM box WHERE visible_at > now() + interval '90 minutes';
BEGIN;
SELECT dbos.acknowledge('box', ARRAY[:two]);
SAVEPOINT a;
SELECT dbos.release('box', ARRAY[:three]);
ROLLBACK TO a;
ROLLBACK;
SELECT body FROM dbos.receive('box', 10);
SELECT dbos.acknowledge('box', ARRAY[:two]), dbos.release('box', ARRAY[:three, :four]);
SELECT body, deliveries FROM dbos.receive('box', 10);
-- Leased and acknowledged in one transaction, and taken back.
SELECT dbos.send('box', '5') AS five \gset
BEGIN;
SELECT body FROM dbos.lease('box', 1, '1 hour');
SELECT dbos.acknowledge('box', ARRAY[:five]);
COMMIT;
SELECT count(*) FROM box;
SELECT dbos.send('box', '6') > 0 AS sent;
BEGIN;
SELECT body FROM dbos.lease('box', 1, '1 hour');
ROLLBACK;
SELECT body, deliveries > 1 AS again FROM dbos.lease('box', 1, '10 ms');
-- It ends by itself; who waits gets it then, and a late acknowledgement finds nothing.
SELECT id AS six, body FROM dbos.receive('box', 1, '1 minute') \gset
SELECT :'body' AS body, dbos.acknowledge('box', ARRAY[:six]) AS late;
-- A large one is leased and received whole.
SELECT dbos.send('box', to_jsonb(string_agg(md5(i::text), ''))) > 0 AS sent FROM generate_series(1, 10000) i;
SELECT id AS large, length(body #>> '{}') AS length FROM dbos.lease('box', 1, '1 hour') \gset
SELECT :length AS length, dbos.release('box', ARRAY[:large]);
SELECT length(body #>> '{}'), md5(body #>> '{}') = (SELECT md5(string_agg(md5(i::text), '')) FROM generate_series(1, 10000) i) AS same FROM dbos.receive('box');
-- A very long lease.
SELECT dbos.send('box', '7') > 0 AS sent;
SELECT body FROM dbos.lease('box', 1, '200000 years');
SELECT body FROM dbos.receive('box', 1);
SELECT visible_at > now() + interval '1 year' AS far FROM box;
SELECT dbos.purge_mailbox('box');

-- ---- failed deliveries and dead letters ----
SELECT dbos.create_mailbox('dead'), dbos.create_mailbox('mortal', max_deliveries => 3, dead_letter => 'dead');
SELECT mailbox, max_deliveries, dead_letter FROM dbos.mailboxes WHERE mailbox = 'mortal'::regclass;
SELECT dbos.send('mortal', '"bad"', 'k', headers => '{"trace": 1}') AS bad \gset
BEGIN;
SELECT body, deliveries FROM dbos.receive('mortal');
ROLLBACK;
BEGIN;
SELECT body, deliveries FROM dbos.receive('mortal', timeout => '1 minute');
ROLLBACK;
BEGIN;
SELECT body, deliveries FROM dbos.receive('mortal', timeout => '1 minute');
ROLLBACK;
SELECT dbos.send('mortal', '"good"') > 0 AS sent;
CALL until('(SELECT count(*) FROM regress_lease.dead) = 1');
SELECT body, deliveries FROM dbos.receive('mortal', 10, timeout => '1 minute');
SELECT sender, partition_key, deliveries, headers, body FROM dead;
-- Back, counted from zero; what did not come from there stays.
SELECT dbos.send('dead', '"of its own"') > 0 AS sent;
SELECT dbos.requeue('dead', 'box');
SELECT dbos.requeue('dead', 'nothing_of_the_kind');
BEGIN;
SELECT dbos.requeue('dead', 'mortal');
ROLLBACK;
SELECT body FROM dbos.receive('mortal');
SELECT dbos.requeue('dead', 'mortal');
SELECT dbos.requeue('dead', 'mortal') AS no_more;
SELECT partition_key, deliveries, headers, body FROM dbos.receive('mortal');
SELECT body FROM dbos.receive('dead', 10);
-- Each lease counts; what is leased, delayed or leased by others is not touched by another's failure.
SELECT dbos.send('mortal', '"leased"') AS leased \gset
SELECT deliveries, body FROM dbos.lease('mortal', 1, '1 hour');
SELECT dbos.send('mortal', '"fails"') > 0 AS sent, dbos.send('mortal', '"delayed"', delay => '1 hour') > 0 AS sent;
BEGIN;
SELECT body, deliveries FROM dbos.receive('mortal', 10);
ROLLBACK;
BEGIN;
SELECT body, deliveries FROM dbos.receive('mortal', 10, '1 minute');
ROLLBACK;
SELECT body, deliveries FROM dbos.receive('mortal', 10, '1 minute');
SELECT body, deliveries FROM dbos.receive('mortal', 10, '1 ms');
SELECT dbos.release('mortal', ARRAY[:leased]);
SELECT deliveries, body FROM dbos.lease('mortal', 1, '1 hour');
SELECT dbos.release('mortal', ARRAY[:leased]);
SELECT deliveries, body FROM dbos.lease('mortal', 1, '1 hour');
SELECT dbos.release('mortal', ARRAY[:leased]);
SELECT deliveries, body FROM dbos.lease('mortal', 1, '1 hour');
SELECT body, headers #>> '{dead_letter,deliveries}' AS deliveries FROM dead;
SELECT mailbox, depth, delayed, in_flight FROM dbos.mailboxes WHERE mailbox IN ('mortal'::regclass, 'dead'::regclass) ORDER BY 1;
-- A savepoint that is rolled back is a failed delivery, too.
SELECT dbos.purge_mailbox('mortal'), dbos.purge_mailbox('dead');
SELECT dbos.send('mortal', '"in a savepoint"') > 0 AS sent;
BEGIN;
SAVEPOINT a;
SELECT body, deliveries FROM dbos.receive('mortal', 10);
ROLLBACK TO a;
COMMIT;
SELECT body, deliveries FROM dbos.receive('mortal', 10, '1 minute');
-- Without a limit again.
SELECT dbos.alter_mailbox('mortal', NULL, NULL);
SELECT dbos.send('mortal', '"immortal"') > 0 AS sent;
BEGIN;
SELECT body FROM dbos.receive('mortal', 10);
ROLLBACK;
BEGIN;
SELECT body FROM dbos.receive('mortal', 10);
ROLLBACK;
SELECT body, deliveries > 1 AS again FROM dbos.receive('mortal', 10);
-- Its dead-letter mailbox is dropped: health says so, others are delivered, and another one mends it.
SELECT dbos.alter_mailbox('mortal', 1, 'dead');
DROP TABLE dead;
SELECT dbos.send('mortal', '"last"') > 0 AS sent;
SELECT body FROM dbos.lease('mortal', 1, '1 ms');
CALL until($$(SELECT visible_at < clock_timestamp() FROM regress_lease.mortal)$$);
SELECT dbos.send('mortal', '"next"') > 0 AS sent;
SELECT body FROM dbos.receive('mortal', 10);
SELECT ok, detail FROM dbos.health() WHERE component = 'mailbox dead letters';
SELECT dbos.create_mailbox('dead_too');
SELECT dbos.alter_mailbox('mortal', 1, 'dead_too');
SELECT body FROM dbos.receive('mortal', 1);
SELECT body FROM dbos.receive('dead_too', 1, '1 minute');

-- ---- idempotency keys ----
SELECT dbos.send('box', '"first"', idempotency_key => 'k') AS first \gset
SELECT dbos.send('box', '"second"', idempotency_key => 'k') = :first AS same, dbos.send('box', '"other"', idempotency_key => 'K') = :first AS same;
SELECT body FROM dbos.receive('box', 10);
-- Also after it was received.
SELECT dbos.send('box', '"third"', idempotency_key => 'k') = :first AS same;
SELECT body FROM dbos.receive('box', 10);
BEGIN;
SELECT dbos.send('box', '"rolled back"', idempotency_key => 'r') AS rolled_back \gset
SELECT dbos.send('box', '"again"', idempotency_key => 'r') = :rolled_back AS same;
ROLLBACK;
SELECT dbos.send('box', '"anew"', idempotency_key => 'r') = :rolled_back AS same;
SELECT body FROM dbos.receive('box', 10);
BEGIN;
SAVEPOINT a;
SELECT dbos.send('box', '"taken back"', idempotency_key => 's') AS taken_back \gset
ROLLBACK TO a;
SELECT dbos.send('box', '"kept"', idempotency_key => 's') = :taken_back AS same;
COMMIT;
SELECT body FROM dbos.receive('box', 10);
-- Of a mailbox, and of a sender.
SELECT dbos.send('dead_too', '"another mailbox"', idempotency_key => 'k') = :first AS same;
CREATE ROLE regress_lease_sender IN ROLE dbos_user;
GRANT USAGE ON SCHEMA regress_lease TO regress_lease_sender;
GRANT INSERT ON box TO regress_lease_sender;
SET ROLE regress_lease_sender;
SELECT dbos.send('box', '"another sender"', idempotency_key => 'k') = :first AS same;
RESET ROLE;
SELECT sender, body FROM dbos.receive('box', 10);
SELECT dbos.send('box', '"delayed"', delay => '1 hour', idempotency_key => 'd') = dbos.send('box', '"at once"', idempotency_key => 'd') AS same;
SELECT body FROM dbos.receive('box', 10);
SELECT dbos.send('box', '"empty"', idempotency_key => '') = dbos.send('box', '"empty"', idempotency_key => '') AS same;
-- Beyond the window a key is free.
SELECT idempotency_window FROM dbos.mailboxes WHERE mailbox = 'box'::regclass;
UPDATE dbos.message_key SET created_at = created_at - interval '25 hours' WHERE relation = 'box'::regclass AND key = 'k' AND sender = 'postgres'::regrole;
SELECT dbos.send('box', '"beyond the window"', idempotency_key => 'k') = :first AS same;
SELECT body FROM dbos.receive('box', 10);
-- One that is kept away by a trigger of the owner's.
CREATE FUNCTION keep_away() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER keep_away BEFORE INSERT ON box FOR EACH ROW EXECUTE FUNCTION keep_away();
SELECT dbos.send('box', '"kept away"', idempotency_key => 'a') IS NULL AS kept_away;
DROP TRIGGER keep_away ON box;

DROP SCHEMA regress_lease CASCADE;
DROP ROLE regress_lease_sender;
