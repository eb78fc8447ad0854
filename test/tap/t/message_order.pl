# In an ordered mailbox the messages of a key are received in the order in which they were sent, by
# one receiver at a time, whatever is rolled back, leased, terminated or killed.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use IPC::Run qw(start finish);
use CrashedServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $torture = $ENV{DBOS_TORTURE};
my $messages = $torture ? 80000 : 8000;    # of all keys
my $keys = 40;
my $kills = $torture ? 200 : 20;
my $receivers = 6;

my $node = PostgreSQL::Test::Cluster->new('order');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\nrestart_after_crash = on\ndbos.segment_pages = 20\n");
$node->start;
$node->safe_psql('postgres', <<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION dbos;
SELECT dbos.create_mailbox('o', ordered => true);
CREATE TABLE progress (key text PRIMARY KEY, last int NOT NULL);
CREATE TABLE violation (key text, expected int, seen int, how text);
-- What was received of a key is the next one: else it is written down.
CREATE FUNCTION note(k text, n int, how text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	before int;
BEGIN
	SELECT last INTO before FROM progress WHERE key = k;
	IF before <> n - 1 THEN
		INSERT INTO violation VALUES (k, before + 1, n, how);
	END IF;
	UPDATE progress SET last = n WHERE key = k;
END $$;
CREATE PROCEDURE receive_all() LANGUAGE plpgsql AS $$
DECLARE
	m record;
	got int;
	idle int := 0;
BEGIN
	WHILE idle < 3 LOOP
		got := 0;
		IF random() < 0.3 THEN
			-- Leased, worked on in a transaction of its own, and acknowledged with that.
			SELECT id, partition_key, (body)::int AS n INTO m FROM dbos.lease('o', 1, '5 seconds');
			COMMIT;
			IF m.id IS NULL THEN
				CONTINUE;
			ELSIF random() < 0.2 THEN
				PERFORM dbos.release('o', ARRAY[m.id]);
			ELSE
				PERFORM note(m.partition_key, m.n, 'lease');
				PERFORM dbos.acknowledge('o', ARRAY[m.id]);
			END IF;
			COMMIT;
			CONTINUE;
		END IF;
		FOR m IN SELECT * FROM dbos.receive('o', 1 + floor(random() * 5)::int, '100 ms') LOOP
			got := got + 1;
			PERFORM note(m.partition_key, (m.body)::int, 'receive');
		END LOOP;
		idle := CASE WHEN got = 0 THEN idle + 1 ELSE 0 END;
		IF random() < 0.15 THEN
			ROLLBACK;
		ELSE
			COMMIT;
		END IF;
	END LOOP;
END $$;
SQL
$node->safe_psql('postgres', "INSERT INTO progress SELECT 'key ' || k, 0 FROM generate_series(1, $keys) k");

sub query { return answer_of($node, 'postgres', @_) }

sub session
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');
	return start(['psql', '-X', '-q', '-d', $node->connstr('postgres'), '-c', $sql], '>', \$out, '2>', \$err);
}

is($node->safe_psql('postgres', "SELECT dbos.send('o', '1', 'led') > 0"), 't', 'a message is sent');
is($node->safe_psql('postgres', "SELECT count(*) FROM dbos.send_many('o', '{}')"), '0', 'none is');
$node->safe_psql('postgres', "SELECT dbos.send('o', '2', 'led')");
is($node->safe_psql('postgres', "SELECT string_agg(body::text, ' ' ORDER BY id) FROM dbos.receive('o', 10000) WHERE partition_key = 'led'"),
	'1 2', 'what has one key comes in order');
is($node->safe_psql('postgres', 'SELECT count(*) FROM o'), '0', 'all were received at once');

my $each = $messages / $keys;
my @senders = map {
	my $k = $_;
	session("DO \$\$ BEGIN FOR n IN 1..$each LOOP PERFORM dbos.send('o', to_jsonb(n), 'key $k'); COMMIT; END LOOP; END \$\$;")
} 1 .. $keys;
finish($_) for @senders;
my $sent = query('SELECT count(*) FROM o');
is($sent, $messages, 'all were sent');

my @receivers = map { session('CALL receive_all();') } 1 .. $receivers;
my $killed = 0;
for (1 .. $kills)
{
	sleep(0.01);
	my $victim = query("SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL receive_all%' ORDER BY random() LIMIT 1");
	if ($victim)
	{
		# One in ten takes all processes with it.
		$killed += kill($_ % 10 == 0 ? 'KILL' : 'TERM', $victim);
	}
	for my $i (0 .. $#receivers)
	{
		# What has ended is noticed by this.
		eval { $receivers[$i]->pump_nb };
		next if $receivers[$i]->pumpable;
		eval { finish($receivers[$i]) };
		$receivers[$i] = session('CALL receive_all();');
	}
}
eval { finish($_) } for @receivers;
# What is left, without kills.
query('CALL receive_all()') while query('SELECT count(*) FROM o') > 0;
cmp_ok($killed, '>', 0, 'somebody was killed');
is(query('SELECT count(*) FROM violation'), '0', "nothing came out of order, with $killed kills")
  or diag(query('SELECT * FROM violation LIMIT 20'));
is(query("SELECT count(*) FROM progress WHERE key LIKE 'key %' AND last <> $each"), '0', 'and everything came');

$node->stop;
done_testing();
