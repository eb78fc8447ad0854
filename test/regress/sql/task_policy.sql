-- Policies: made, changed and dropped by dbos_admin, and the order that they give.
-- SPDX-License-Identifier: PostgreSQL
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS dbos;
DROP ROLE IF EXISTS regress_policy_user, regress_policy_admin;
CREATE ROLE regress_policy_user LOGIN IN ROLE dbos_user;
CREATE ROLE regress_policy_admin LOGIN IN ROLE dbos_user, dbos_admin;
RESET client_min_messages;
CREATE SCHEMA AUTHORIZATION regress_policy_user;
SELECT name, order_by FROM dbos.policies ORDER BY name;

-- What is refused of a text.
SELECT dbos.create_policy('bad', t) FROM unnest(ARRAY[NULL]) t;
SELECT dbos.create_policy('bad', '');
SELECT dbos.create_policy('bad', 'id');
SELECT dbos.create_policy('bad', 'priority,');
SELECT dbos.create_policy('bad', ', priority');
SELECT dbos.create_policy('bad', 'priority priority');
SELECT dbos.create_policy('bad', 'priority, priority');
SELECT dbos.create_policy('bad', 'partition_share, partition_share');
SELECT dbos.create_policy('bad', 'partition_share desc');
SELECT dbos.create_policy('bad', 'priority, deadline, attempt');
SELECT dbos.create_policy('bad', 'priority ageing');
SELECT dbos.create_policy('bad', 'priority ageing 0');
SELECT dbos.create_policy('bad', 'priority ageing -1');
SELECT dbos.create_policy('bad', 'priority ageing nan');
SELECT dbos.create_policy('bad', 'priority ageing inf');
SELECT dbos.create_policy('bad', 'priority ageing 1e400');
SELECT dbos.create_policy('bad', 'priority ageing 0x10');
SELECT dbos.create_policy('bad', 'priority; DROP TABLE dbos.task');
SELECT dbos.create_policy('bad', 'pg_sleep(10)');
SELECT dbos.create_policy('bad', 'library');
SELECT dbos.create_policy('bad', 'library nobody');
SELECT dbos.create_policy('bad', repeat('priority, ', 200));
SELECT dbos.create_policy('', 'priority');
SELECT dbos.create_policy(repeat('x', 64), 'priority');
SELECT dbos.create_policy(NULL, 'priority');
SELECT dbos.create_policy('fair', 'priority');
SELECT dbos.alter_policy('nobody', 'priority');
SELECT dbos.alter_policy('fifo', 'priority');
SELECT dbos.drop_policy('fifo');
SELECT dbos.drop_policy('nobody');
SELECT dbos.drop_policy('fair');
BEGIN READ ONLY;
SELECT dbos.create_policy('bad', 'priority');
ROLLBACK;

-- Who may.
SET ROLE regress_policy_user;
SELECT dbos.create_policy('mine', 'priority');
SELECT dbos.alter_policy('fair', 'priority');
SELECT dbos.drop_policy('fifo');
UPDATE dbos.policies SET order_by = 'priority';
SELECT count(*) FROM dbos.policies;
SET ROLE regress_policy_admin;
SELECT dbos.create_policy('mine', '  Priority   DESC Ageing 2.5 , PARTITION_SHARE,deadline ');
SELECT order_by FROM dbos.policies WHERE name = 'mine';
SELECT dbos.alter_policy('mine', 'attempt desc, run_at asc');
RESET ROLE;

-- Queues have one.
SET ROLE regress_policy_user;
SET search_path = regress_policy_user;
SELECT dbos.create_queue('ordered', concurrency => 1, policy => 'nobody');
SELECT dbos.create_queue('ordered', concurrency => -1);
SELECT dbos.create_queue('ordered', rate_limit => -1);
SELECT dbos.create_queue('ordered', rate_period => '1 millisecond');
SELECT dbos.create_queue('ordered', rate_period => '400 days');
SELECT dbos.create_queue('ordered', rate_period => '-1 second');
SELECT dbos.create_queue('ordered', concurrency => 1, partition_concurrency => 1, rate_limit => 100000, partition_rate_limit => 90000, rate_period => NULL, policy => NULL);
SELECT concurrency, partition_concurrency, rate_limit, partition_rate_limit, rate_period, policy FROM dbos.queues WHERE name = 'ordered';
SELECT dbos.alter_queue('ordered', policy => 'mine');
SELECT dbos.alter_queue('ordered', partition_concurrency => NULL, rate_limit => NULL, partition_rate_limit => NULL, rate_period => '2 seconds');
SELECT concurrency, partition_concurrency, rate_limit, partition_rate_limit, rate_period, policy FROM dbos.queues WHERE name = 'ordered';
SELECT dbos.alter_queue('ordered', concurrency => -2);
SELECT dbos.alter_queue('ordered', policy => 'nobody');
RESET ROLE;
SELECT dbos.drop_policy('mine');

-- The order of each, with one place to run in.
SET SESSION AUTHORIZATION regress_policy_user;
SET search_path = regress_policy_user;
CREATE FUNCTION note(t text) RETURNS text LANGUAGE sql AS 'SELECT t';
CREATE FUNCTION slow(t text) RETURNS text LANGUAGE sql AS $$ SELECT pg_sleep(0.05); SELECT t $$;
CREATE PROCEDURE submit_some() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dbos.pause_queue('ordered');
	PERFORM dbos.submit('note', '["a 5 late"]', queue => 'ordered', priority => 5, partition_key => 'a', deadline => now() + interval '3 hours');
	COMMIT;
	PERFORM dbos.submit('slow', '["a 0 slow"]', queue => 'ordered', partition_key => 'a');
	COMMIT;
	PERFORM dbos.submit('note', '["a 0"]', queue => 'ordered', partition_key => 'a');
	COMMIT;
	PERFORM dbos.submit('note', '["a -5"]', queue => 'ordered', priority => -5, partition_key => 'a');
	COMMIT;
	PERFORM dbos.submit('note', '["b 5 soon"]', queue => 'ordered', priority => 5, partition_key => 'b', deadline => now() + interval '1 hour');
	COMMIT;
	PERFORM dbos.submit('note', '["b 0"]', queue => 'ordered', partition_key => 'b');
	COMMIT;
	PERFORM dbos.submit('note', '["c 0"]', queue => 'ordered', partition_key => 'c');
	COMMIT;
END
$$;
CREATE FUNCTION order_of(after bigint) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(args->>0, ', ' ORDER BY started_at) FROM dbos.tasks WHERE queue = 'ordered' AND id > after $$;
-- Forecasts are learned.
SELECT count(dbos.submit(f, '["before"]', queue => 'ordered')) FROM generate_series(1, 4), unnest(ARRAY['note', 'slow']) f;
SELECT dbos.wait(max(id)) FROM dbos.tasks WHERE queue = 'ordered';
CREATE PROCEDURE try(policy text) LANGUAGE plpgsql AS $$
DECLARE
	before bigint;
	last bigint;
BEGIN
	SELECT max(id) INTO before FROM dbos.tasks WHERE queue = 'ordered';
	PERFORM dbos.alter_queue('ordered', policy => policy);
	COMMIT;
	CALL submit_some();
	PERFORM dbos.resume_queue('ordered');
	COMMIT;
	FOR last IN SELECT id FROM dbos.tasks WHERE queue = 'ordered' AND id > before LOOP
		PERFORM dbos.wait(last);
	END LOOP;
	RAISE NOTICE '%: %', policy, order_of(before);
END
$$;
CALL try('fifo');
CALL try('priority');
CALL try('deadline');
-- Without shared memory a process knows only what it has seen itself.
SELECT current_setting('dbos.shared_memory') = 'on' AS known \gset
\if :known
CALL try('share');
CALL try('shortest');
CALL try('fair');
\endif
RESET SESSION AUTHORIZATION;

-- What waits is ordered anew when its queue gets another policy, and when its policy changes.
SET SESSION AUTHORIZATION regress_policy_user;
SET search_path = regress_policy_user;
SELECT max(id) AS before FROM dbos.tasks WHERE queue = 'ordered' \gset
SELECT dbos.alter_queue('ordered', policy => 'fifo'), dbos.pause_queue('ordered');
SELECT count(dbos.submit('note', jsonb_build_array(p), queue => 'ordered', priority => p)) FROM unnest(ARRAY[3, 1, 2]) p;
SELECT dbos.alter_queue('ordered', policy => 'mine');
RESET SESSION AUTHORIZATION;
SET ROLE regress_policy_admin;
SELECT dbos.alter_policy('mine', 'priority desc');
RESET ROLE;
SET SESSION AUTHORIZATION regress_policy_user;
SET search_path = regress_policy_user;
SELECT dbos.resume_queue('ordered');
SELECT count(dbos.wait(id)) FROM dbos.tasks WHERE queue = 'ordered' AND id > :before;
SELECT order_of(:before);
\pset format unaligned
SELECT line FROM dbos.explain_policy('ordered') line WHERE line !~ 'cost=|Filter|Cond|Sort|Scan';
\pset format aligned
SELECT dbos.drop_queue('ordered');
RESET SESSION AUTHORIZATION;
SELECT dbos.drop_policy('mine');
SET client_min_messages = warning;
DROP SCHEMA regress_policy_user CASCADE;
DROP OWNED BY regress_policy_user, regress_policy_admin;
DROP ROLE regress_policy_user, regress_policy_admin;
