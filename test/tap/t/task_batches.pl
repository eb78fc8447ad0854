# What tasks leave behind is the same whether they share transactions or not; company is seen by nobody, and ended by who cannot bear it.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $programs = $ENV{DBOS_TORTURE} ? 20_000 : 2_000;
my $seed = $ENV{DBOS_SEED} || time;
note("seed $seed, for DBOS_SEED");
my $node = PostgreSQL::Test::Cluster->new('batches');
$node->init;
# One worker: the order is that of the submits.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\nautovacuum = off\ndbos.max_workers = 1");
$node->start;

# A program is a list of words; what it finds and what it changes is written down.
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE ROLE helper;
CREATE TABLE seen (mode text, n int, step int, word text, what text, task bigint);
CREATE TABLE counter (mode text PRIMARY KEY, n int);
INSERT INTO counter VALUES ('alone', 0), ('together', 0);
CREATE TABLE parent (id text PRIMARY KEY);
CREATE TABLE child (id text, parent text REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CREATE SEQUENCE s;
CREATE TABLE ids (mode text, n int, task bigint);
CREATE FUNCTION grow(mode text, n int) RETURNS void LANGUAGE sql AS
	$$ INSERT INTO public.seen VALUES (mode, n, 0, 'grown', NULL, NULL) $$;
CREATE FUNCTION play(mode text, n int, words text[]) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	word text;
	what text;
	step int := 0;
	c refcursor;
BEGIN
	FOREACH word IN ARRAY words LOOP
		step := step + 1;
		what := NULL;
		CASE word
		WHEN 'count' THEN
			UPDATE public.counter r SET n = r.n + 1 WHERE r.mode = play.mode RETURNING r.n INTO what;
		WHEN 'fail' THEN
			RAISE EXCEPTION 'program % fails', n USING ERRCODE = 'P0042', DETAIL = 'on purpose';
		WHEN 'divide' THEN
			what := 1 / (n - n);
		WHEN 'caught' THEN
			BEGIN
				INSERT INTO public.seen VALUES (mode, n, step, 'undone');
				RAISE EXCEPTION 'caught';
			EXCEPTION WHEN OTHERS THEN
				what := SQLERRM;
			END;
		WHEN 'deferred' THEN
			INSERT INTO public.child VALUES (mode || n, mode || n || step);
			INSERT INTO public.parent VALUES (mode || n || step);
		WHEN 'orphan' THEN
			INSERT INTO public.child VALUES (mode || n, 'nobody');
		WHEN 'temporary' THEN
			CREATE TEMP TABLE scratch (x int);
			INSERT INTO scratch VALUES (n);
			SELECT count(*) INTO what FROM scratch;
			DROP TABLE IF EXISTS other_scratch;
		WHEN 'leave' THEN
			what := to_regclass('left_over')::text;
			CREATE TEMP TABLE left_over (x int);
		WHEN 'setting' THEN
			what := COALESCE(NULLIF(current_setting('play.x', true), ''), 'none') || current_setting('work_mem');
			PERFORM set_config('play.x', n::text, false), set_config('work_mem', '1MB', false);
		WHEN 'local' THEN
			what := current_setting('work_mem');
			SET LOCAL work_mem = '2MB';
		WHEN 'role' THEN
			what := current_user;
			SET ROLE helper;
			RESET ROLE;
			PERFORM set_config('role', 'helper', false);
			PERFORM set_config('role', 'none', step % 2 = 0);
		WHEN 'lock' THEN
			SELECT count(*) INTO what FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND objsubid < 3;
			PERFORM pg_advisory_xact_lock(1);
		WHEN 'keep' THEN
			SELECT count(*) INTO what FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND objsubid < 3;
			PERFORM pg_advisory_lock(2);
		WHEN 'next' THEN
			PERFORM nextval('public.s');
			what := currval('public.s') = lastval();
		WHEN 'current' THEN
			BEGIN
				PERFORM currval('public.s');
				what := 'known';
			EXCEPTION WHEN object_not_in_prerequisite_state THEN
				what := 'not known';
			END;
		WHEN 'notify' THEN
			PERFORM pg_notify(mode, 'the same');
		WHEN 'command' THEN
			EXECUTE format('NOTIFY %I, ''the same''', mode);
		WHEN 'stubborn' THEN
			BEGIN
				PERFORM pg_notify(mode, 'the same');
			EXCEPTION WHEN query_canceled THEN
				what := 'stopped';
			END;
		WHEN 'submit' THEN
			PERFORM dbos.submit('public.grow', jsonb_build_array(mode, n), priority => 1);
		WHEN 'cursor' THEN
			SELECT count(*) INTO what FROM pg_cursors WHERE name LIKE '<unnamed%';
			OPEN c FOR SELECT 1;
		WHEN 'prepare' THEN
			EXECUTE 'PREPARE prepared AS SELECT 1';
		WHEN 'read' THEN
			PERFORM set_config('transaction_read_only', 'on', true);
		WHEN 'immediate' THEN
			SET CONSTRAINTS ALL IMMEDIATE;
		WHEN 'time' THEN
			what := now() = transaction_timestamp() AND now() <= clock_timestamp() AND now() <= statement_timestamp();
		WHEN 'state' THEN
			SELECT string_agg(DISTINCT state, ' ') INTO what FROM dbos.tasks WHERE id = dbos.current_task();
		WHEN 'neighbour' THEN
			/* Those before are over, whether or not that is committed. */
			SELECT count(*) INTO what FROM public.ids i JOIN dbos.task t ON t.id = i.task
				WHERE i.mode = play.mode AND i.n < play.n;
		ELSE
			NULL;
		END CASE;
		INSERT INTO public.seen VALUES (mode, n, step, word, what, dbos.current_task());
	END LOOP;
	RETURN step;
END
$$;
CREATE FUNCTION play_alone(n int, words text[]) RETURNS int LANGUAGE sql AS $$ SELECT public.play('alone', n, words) $$;
CREATE FUNCTION play_together(n int, words text[]) RETURNS int LANGUAGE sql AS $$ SELECT public.play('together', n, words) $$;
SELECT dbos.alter_function('play_alone', batch => false);
SELECT dbos.alter_function('play_together', batch => true);
});
# Seldom what ends a batch, so that there are batches.
my $words = q{ARRAY['count', 'count', 'count', 'caught', 'deferred', 'setting', 'local', 'role', 'next', 'current', 'current', 'submit', 'time',
	'state', 'neighbour'] };
my $rare = q{ARRAY['fail', 'divide', 'orphan', 'temporary', 'leave', 'lock', 'keep', 'notify', 'command', 'stubborn', 'cursor', 'prepare', 'immediate', 'read'] };
$node->safe_psql('postgres', qq{
SELECT setseed(((($seed) % 1000) / 1000.0)::float8);
CREATE TABLE program AS SELECT n, array_agg(word ORDER BY k) AS words
FROM (SELECT n, k, CASE WHEN random() < 0.03 THEN ($rare)[1 + floor(random() * 14)::int]
		ELSE ($words)[1 + floor(random() * 15)::int] END AS word
	FROM generate_series(1, $programs) n, generate_series(1, 5) k WHERE k = 1 OR random() < 0.5) w
GROUP BY n});

my $listener = $node->background_psql('postgres', on_error_stop => 0);
$listener->query_safe('LISTEN alone; LISTEN together;');
foreach my $mode ('alone', 'together')
{
	$node->safe_psql('postgres', qq{
SELECT dbos.pause_queue('default');
WITH submitted AS (SELECT row_number() OVER () AS n, id FROM dbos.submit_many('play_$mode',
	(SELECT array_agg(jsonb_build_array(n, words) ORDER BY n) FROM program), timeout => '1 minute') id)
INSERT INTO ids SELECT '$mode', n, id FROM submitted;
SELECT dbos.resume_queue('default');
});
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.task}), "all run $mode");
}

# What is different from one mode to the other, in whatever the programs left.
sub different
{
	my ($query) = @_;
	(my $alone = $query) =~ s/MODE/alone/g;
	(my $together = $query) =~ s/MODE/together/g;
	return $node->safe_psql('postgres', "(($alone) EXCEPT ALL ($together)) UNION ALL (($together) EXCEPT ALL ($alone)) LIMIT 5");
}
is(different(q{SELECT n, step, word, what FROM seen WHERE mode = 'MODE'}), '', 'they saw and wrote the same');
# A session numbers its cursors.
is(different(q{SELECT i.n, t.state, t.attempt, t.result, regexp_replace(replace((t.error - 'context')::text, 'MODE', ''), '<unnamed portal \d+>', '<unnamed portal>') FROM ids i JOIN dbos.tasks t ON t.id = i.task WHERE i.mode = 'MODE'}),
	'', 'they ended the same way, with the same errors and attempts');
is(different(q{SELECT replace(id, 'MODE', ''), replace(parent, 'MODE', '') FROM child WHERE id LIKE 'MODE%'}), '', 'deferred constraints let the same pass');
is(different(q{SELECT n FROM counter WHERE mode = 'MODE'}), '', 'a counter counted the same');
is($node->safe_psql('postgres', q{SELECT count(*) FROM seen JOIN ids USING (mode, n) WHERE seen.task <> ids.task}), '0', 'each knew which task it was');
is($node->safe_psql('postgres', q{SELECT count(*) FROM seen WHERE what = 'stopped'}), '0', 'who caught the stop was rolled back all the same');
my $heard = $listener->query('SELECT 1');
my %heard = (alone => scalar(() = $heard =~ /"alone"/g), together => scalar(() = $heard =~ /"together"/g));
is($heard{together}, $heard{alone}, "as many notifications were heard: $heard{alone}");
$listener->quit;
my $outcome = $node->safe_psql('postgres', q{SELECT string_agg(state || ' ' || count, ', ' ORDER BY state) FROM
	(SELECT t.state, count(*) FROM ids i JOIN dbos.tasks t ON t.id = i.task WHERE i.mode = 'alone' GROUP BY 1) c});
note("outcome: $outcome");
like($outcome, qr/failed \d+, succeeded \d+/, 'some failed and some succeeded');

my $transactions = q{SELECT count(DISTINCT h.xid) FROM dbos.task_history h JOIN ids i ON i.task = h.id AND i.mode = 'MODE' WHERE h.state = 'succeeded'};
(my $alone = $transactions) =~ s/MODE/alone/;
(my $together = $transactions) =~ s/MODE/together/;
my $tasks = $node->safe_psql('postgres', q{SELECT count(*) FROM dbos.task_history h JOIN ids i ON i.task = h.id AND i.mode = 'alone' WHERE h.state = 'succeeded'});
is($node->safe_psql('postgres', $alone), $tasks, 'a transaction each, where that was asked for');
if ($node->safe_psql('postgres', 'SHOW dbos.shared_memory') eq 'on')
{
	cmp_ok($node->safe_psql('postgres', $together), '<', $tasks * 0.9, 'and fewer transactions than tasks where it was not');
}

# Two workers: one that is taken into hand with others, as its function has always been quick, waits for the third of them.
$node->append_conf('postgresql.conf', 'dbos.max_workers = 2');
$node->reload;
$node->safe_psql('postgres', q{
CREATE FUNCTION may_wait(n int) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	IF n = 1 THEN
		RETURN dbos.wait((SELECT i.task FROM public.ids i WHERE i.mode = 'waits' AND i.n = 3), '1 minute')::bigint;
	END IF;
	RETURN n;
END
$$;
SELECT count(*) FROM dbos.submit_many('may_wait', (SELECT array_agg(jsonb_build_array(0)) FROM generate_series(1, 100))) id;
});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.task}), 'a function makes itself known as quick');
$node->safe_psql('postgres', q{
SELECT dbos.pause_queue('default');
INSERT INTO ids SELECT 'waits', row_number() OVER (), id FROM dbos.submit_many('may_wait',
	(SELECT array_agg(jsonb_build_array(n) ORDER BY n) FROM generate_series(1, 100) n)) id;
SELECT dbos.resume_queue('default');
});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.task}), 'nobody waits for the turn of one that waits for him');
is($node->safe_psql('postgres', q{SELECT result FROM dbos.tasks WHERE id = (SELECT task FROM ids WHERE mode = 'waits' AND n = 1)}), '3',
	'and it had its answer');

# Rows that were changed while they waited, as delayed ones are: the way to them leads past dead entries of the index.
$node->safe_psql('postgres', q{
SELECT dbos.pause_queue('default');
SELECT count(*) FROM generate_series(1, 20) p, LATERAL dbos.submit_many('may_wait', array_fill('[2]'::jsonb, ARRAY[200]),
	partition_key => 'p' || p, priority => p % 3, delay => '1 millisecond');
});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.task WHERE held}), 'delayed tasks are released');
$node->safe_psql('postgres', q{SELECT dbos.resume_queue('default')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.task}), 'and run');
is($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.attempts WHERE outcome NOT IN ('succeeded', 'failed')}), '0', 'without a crash');
$node->stop;
done_testing();
