# Whatever is killed, each subscription gets each message that was committed once and in order; what a topic keeps is bounded; dumps and standbys keep where subscriptions are.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use POSIX ();
use CrashedServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $kills = $ENV{DBOS_TORTURE} ? 150 : 12;
my $seed = $ENV{DBOS_SEED} || 42;
srand($seed);
note "DBOS_SEED=$seed";

my $node = PostgreSQL::Test::Cluster->new('topics');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'dbos'
restart_after_crash = on
fsync = off
dbos.task_crash_limit = 100000
log_min_messages = error
});
$node->start;
my $testing = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'dbos.clock_offset'});
$node->append_conf('postgresql.conf', 'dbos.segment_pages = 8') if $testing;
$node->reload;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE mark (token text NOT NULL);
CREATE TABLE seen (n bigserial, id bigint NOT NULL, token text NOT NULL);
CREATE TABLE ran (token text NOT NULL, id bigint NOT NULL);
CREATE FUNCTION enter(token text) RETURNS void LANGUAGE sql AS
	$$INSERT INTO public.ran VALUES (token, (dbos.current_message() ->> 'id')::bigint)$$;
SELECT dbos.create_topic('log');
SELECT dbos.create_mailbox('box');
SELECT dbos.subscribe('log', 'cursor');
SELECT dbos.subscribe('log', 'box', mailbox => 'box');
SELECT dbos.subscribe('log', 'tasks', function => 'enter');

-- What a transaction that has published leaves is its mark, in the same transaction.
CREATE PROCEDURE publish_loop(client text, rounds integer) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. rounds LOOP
		FOR j IN 1 .. 1 + floor(random() * 3) LOOP
			BEGIN
				INSERT INTO public.mark VALUES (client || '.' || i || '.' || j);
				IF random() < 0.5 THEN
					PERFORM dbos.publish('public.log', jsonb_build_object('token', client || '.' || i || '.' || j));
				ELSE
					INSERT INTO public.log (body) VALUES (jsonb_build_object('token', client || '.' || i || '.' || j));
				END IF;
				IF random() < 0.1 THEN
					RAISE EXCEPTION 'not this one';
				END IF;
			EXCEPTION WHEN raise_exception THEN
			END;
		END LOOP;
		IF random() < 0.1 THEN
			PERFORM pg_sleep(random() * 0.05);
		END IF;
		IF random() < 0.1 THEN ROLLBACK; ELSE COMMIT; END IF;
	END LOOP;
END $$;
CREATE PROCEDURE read_loop(rounds integer) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. rounds LOOP
		INSERT INTO public.seen (id, token)
			SELECT id, body ->> 'token' FROM dbos.read_topic('public.log', 'cursor', 1 + floor(random() * 40)::integer, '20 ms') ORDER BY id;
		IF random() < 0.2 THEN ROLLBACK; ELSE COMMIT; END IF;
	END LOOP;
END $$;
});

# Runs statements over and over, each time until the server or they end, until the test says so.
sub client
{
	my ($name, $statement) = @_;
	my $child = fork();
	return $child if $child;
	$SIG{TERM} = sub { POSIX::_exit(0) };
	for (my $life = 1;; $life++)
	{
		(my $text = $statement) =~ s/LIFE/$name-$life/;
		my ($out, $err) = ('', '');
		IPC::Run::run([ 'psql', '-X', '-q', '-h', $node->host, '-p', $node->port, '-d', 'postgres', '-c', $text ],
			'<', \undef, '>', \$out, '2>', \$err);
		usleep(50_000);
	}
}

my @clients = (
	(map { client("p$_", q{CALL publish_loop('LIFE', 1000000)}) } 1 .. 3),
	(map { client("r$_", 'CALL read_loop(1000000)') } 1 .. 2));
for my $kill (1 .. $kills)
{
	usleep(200_000 + int(rand(400_000)));
	my ($rc, $pid) = $node->psql('postgres', q{SELECT pid FROM pg_stat_activity
		WHERE datname = 'postgres' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1});
	next if $rc != 0;
	next if $pid eq '';
	kill_process($pid);
	answer_of($node, 'postgres', 'SELECT true');
}
kill 'TERM', @clients;
waitpid($_, 0) foreach @clients;
$node->poll_query_until('postgres', q{SELECT count(pg_terminate_backend(pid)) = 0 FROM pg_stat_activity
	WHERE query LIKE 'CALL %\_loop%' AND pid <> pg_backend_pid()});

my $marks = $node->safe_psql('postgres', 'SELECT count(*) FROM mark');
cmp_ok($marks, '>', 0, "$marks messages were published while $kills processes were killed");
# Two reads in a row with nothing: all of it is read.
$node->poll_query_until('postgres', q{
WITH r AS (INSERT INTO seen (id, token) SELECT id, body ->> 'token' FROM dbos.read_topic('log', 'cursor', 10000) ORDER BY id RETURNING 1)
SELECT count(*) = 0 FROM r});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.subscriptions WHERE lag > 0}), 'all subscriptions come to the end')
  or diag($node->safe_psql('postgres', 'SELECT name, last_id, lag, error FROM dbos.subscriptions'));
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.tasks WHERE finished_at IS NULL'), 'all tasks end');
my $differences = q{SELECT count(*) FROM ((TABLE mark EXCEPT ALL SELECT token FROM %1$s) UNION ALL (SELECT token FROM %1$s EXCEPT ALL TABLE mark)) d};
is($node->safe_psql('postgres', sprintf($differences, 'seen')), '0', 'each message was read once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT id, lag(id) OVER (ORDER BY n) AS before FROM seen) s WHERE id <= before'),
	'0', 'they were read in the order of their ids');
is($node->safe_psql('postgres', sprintf($differences, 'ran')), '0', 'each message became a task that ran once');
$node->safe_psql('postgres', q{CREATE TABLE boxed AS SELECT body ->> 'token' AS token, (headers ->> 'topic_id')::bigint AS id FROM dbos.receive('box', 1000000)});
is($node->safe_psql('postgres', sprintf($differences, 'boxed')), '0', 'each message came into the mailbox once');
is($node->safe_psql('postgres', q{SELECT count(*) FROM seen JOIN boxed USING (token, id) JOIN ran USING (token, id)}), $marks, 'under its id in the topic');

# A subscription that cannot be delivered says why, keeps its place, and does not hold up others.
$node->safe_psql('postgres', q{
CREATE TABLE kept_grants AS SELECT 1;
CREATE ROLE courier LOGIN IN ROLE dbos_user;
GRANT SELECT ON log TO courier;
GRANT INSERT ON box TO courier;
SET SESSION AUTHORIZATION courier;
SELECT dbos.subscribe('log', 'courier', mailbox => 'box', filter => '{"for": "courier"}');
RESET SESSION AUTHORIZATION;
REVOKE INSERT ON box FROM courier;
SELECT dbos.publish('log', '{"token": "x", "for": "courier"}');
});
ok($node->poll_query_until('postgres', q{SELECT error LIKE 'permission denied%' FROM dbos.subscriptions WHERE name = 'courier'}),
	'who has lost the right to send is told');
ok($node->poll_query_until('postgres', q{SELECT lag = 0 FROM dbos.subscriptions WHERE name = 'box'}), 'others go on');
is($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.receive('box', 100)}), '1', 'with what is theirs');
$node->safe_psql('postgres', 'GRANT INSERT ON box TO courier');
ok($node->poll_query_until('postgres', q{SELECT lag = 0 AND error IS NULL FROM dbos.subscriptions WHERE name = 'courier'}),
	'who has it again gets what was published meanwhile');
is($node->safe_psql('postgres', q{SELECT sender, body FROM dbos.receive('box', 100)}),
	$node->safe_psql('postgres', 'SELECT current_user') . '|{"for": "courier", "token": "x"}', 'from whom it was');

# Where subscriptions are is kept in few pages, whatever reads there are, while somebody holds a snapshot and after.
$node->safe_psql('postgres', q{
SELECT dbos.create_topic('counted');
SELECT dbos.subscribe('counted', 'one by one');
SELECT count(*) FROM dbos.publish_many('counted', (SELECT array_agg(to_jsonb(i)) FROM generate_series(1, 30000) i));
CREATE PROCEDURE one_by_one(rounds integer) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. rounds LOOP
		IF (SELECT (body)::integer FROM dbos.read_topic('counted', 'one by one', 1)) <> i THEN
			RAISE EXCEPTION 'message % is not the next one', i;
		END IF;
		COMMIT;
	END LOOP;
END $$;
CALL one_by_one(30000);
});
ok($node->poll_query_until('postgres', q{
SELECT pg_relation_size('dbos.subscription_position_0') + pg_relation_size('dbos.subscription_position_1') < 100 * 8192
FROM dbos.publish('log', '{"token": "y"}')}), 'old positions go');
is($node->safe_psql('postgres', q{SELECT lag FROM dbos.subscriptions WHERE name = 'one by one'}), '0', 'the newest ones stay');

# A dump keeps messages and where subscriptions are.
$node->safe_psql('postgres', q{SELECT dbos.publish('counted', '30001')});
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-h', $node->host, '-p', $node->port, 'postgres' ], 'a dump is made');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-d', 'restored', '-h', $node->host, '-p', $node->port, $dump ], 'and restored');
is($node->safe_psql('restored', q{SELECT body FROM dbos.read_topic('counted', 'one by one')}), '30001', 'a subscription goes on there where it was');
is($node->safe_psql('restored', q{SELECT dbos.publish('counted', '30002') > 30001}), 't', 'ids go on');
is($node->safe_psql('restored', q{SELECT body FROM dbos.read_topic('counted', 'one by one')}), '30002', 'and are read');
is($node->safe_psql('restored', q{SELECT error IS NULL FROM dbos.subscriptions WHERE name = 'box'}), 't', 'what a topic delivers is known');

# A standby shows it; its successor goes on.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('topics_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', q{SELECT lag FROM dbos.subscriptions WHERE name = 'one by one'}), '1', 'a standby shows how far subscriptions have come');
is($standby->safe_psql('postgres', q{SELECT newest_id > 30000 FROM dbos.topics WHERE name = 'counted'::regclass}), 't', 'and what topics have');
my ($rc, $out, $err) = $standby->psql('postgres', q{SELECT * FROM dbos.read_topic('counted', 'one by one')});
like($err, qr/cannot execute dbos.read_topic\(\) in a read-only transaction/, 'but reading is for the primary');
$node->safe_psql('postgres', q{SELECT dbos.publish('counted', '30002')});
$node->wait_for_catchup($standby);

# What was not read is kept for who reads, and no longer.
my $slow = q{SELECT count(*) FROM dbos.publish_many('%s', (SELECT array_agg(jsonb_build_object('n', i, 'text', repeat('x', 100))) FROM generate_series(1, 5000) i))};
$node->safe_psql('postgres', q{
SELECT dbos.create_topic('bounded', max_bytes => 1000000);
SELECT dbos.subscribe('bounded', 'slow');
SELECT dbos.create_topic('kept');
SELECT dbos.subscribe('kept', 'slow');
});
for (1 .. 10)
{
	$node->safe_psql('postgres', sprintf($slow, $_)) foreach ('bounded', 'kept');
}
# The newest segment stays, whatever went into it before the next one was begun: something newer comes each time.
ok($node->poll_query_until('postgres', q{SELECT t.bytes < 2000000 FROM (SELECT dbos.publish('bounded', '{}')) p, dbos.topics t WHERE t.name = 'bounded'::regclass}),
	'the size of a topic is bounded')
  or diag($node->safe_psql('postgres', 'SELECT name, bytes, max_bytes FROM dbos.topics'));
my $rest = $node->safe_psql('postgres', q{SELECT count(*) FROM dbos.read_topic('bounded', 'slow', 1000000)});
my $lost = $node->safe_psql('postgres', q{SELECT lost FROM dbos.subscriptions WHERE topic = 'bounded'::regclass});
cmp_ok($rest, '>', 0, 'what is newest can be read');
cmp_ok($lost, '>', 0, 'what a subscription lost is counted');
is($lost + $rest, $node->safe_psql('postgres', q{SELECT newest_id FROM dbos.topics WHERE name = 'bounded'::regclass}), 'it reads the rest');
is($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.read_topic('kept', 'slow', 1000000)}), 50000, 'without a bound nothing is lost');

# One transaction may publish more than a topic may have: that is all that there is, until something newer comes.
my $current = q{SELECT current_segment FROM dbos.mailbox WHERE relation = 'bounded'::regclass};
my $filled = $node->safe_psql('postgres', $current);
$node->safe_psql('postgres', sprintf($slow, 'bounded'));
ok($node->poll_query_until('postgres', "SELECT ($current) <> $filled"), 'more than the bound by one transaction fills a segment');
# Each of these asks for a look at what is to go.
for (1 .. 10)
{
	$node->safe_psql('postgres', q{SELECT dbos.alter_topic('bounded', max_bytes => 1000000)});
	usleep(100_000);
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.read_topic('bounded', 'slow', 1000000)}), 5000, 'and it can be read');
if ($testing)
{
	ok($node->poll_query_until('postgres', q{SELECT bytes < 2000000 FROM dbos.topics WHERE name = 'kept'::regclass}), 'what all have read goes')
	  or diag($node->safe_psql('postgres', 'SELECT name, bytes, max_bytes FROM dbos.topics'));
	$node->safe_psql('postgres', q{SELECT dbos.create_topic('aged', retention => '1 hour')});
	$node->safe_psql('postgres', sprintf($slow, 'aged'));
	$node->append_conf('postgresql.conf', 'dbos.clock_offset = 7200');
	$node->reload;
	# One look ends the turn of the segment, a later one drops it.
	ok($node->poll_query_until('postgres', q{
SELECT t.messages_at_most = 0 FROM (SELECT dbos.alter_topic('aged', retention => '1 hour')) a, dbos.topics t WHERE t.name = 'aged'::regclass}), 'what is old goes');
}

$node->stop;
$standby->promote;
is($standby->safe_psql('postgres', q{SELECT string_agg(body::text, ',') FROM dbos.read_topic('counted', 'one by one')}), '30001,30002', 'a standby that is promoted goes on where the primary was');
$standby->stop;
done_testing();
