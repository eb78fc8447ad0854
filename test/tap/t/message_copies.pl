# A dump, a copy, a standby and an upgrade keep each message that was not delivered, with rights, leases and delays; a mailbox that is altered or dropped goes on, or is gone.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('copies');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\nrestart_after_crash = on\n");
$node->start;
$node->safe_psql('postgres', q{
CREATE ROLE ann LOGIN IN ROLE pg_monitor;
CREATE ROLE bob LOGIN;
CREATE ROLE other_admin SUPERUSER LOGIN;
CREATE DATABASE original;
});
$node->safe_psql('original', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
GRANT dbos_user TO ann, bob;
CREATE SCHEMA shop AUTHORIZATION ann;
GRANT USAGE ON SCHEMA shop TO bob;
SET SESSION AUTHORIZATION ann;
SELECT dbos.create_mailbox('shop.dead'), dbos.create_mailbox('shop.box', max_deliveries => 2, dead_letter => 'shop.dead'), dbos.create_mailbox('shop."Odd; name"'),
	dbos.create_mailbox('shop.in_order', ordered => true);
GRANT INSERT, DELETE ON shop.box TO bob;
GRANT SELECT, DELETE ON shop."Odd; name" TO bob;
ALTER TABLE shop."Odd; name" ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_bob ON shop."Odd; name" TO bob USING (partition_key = 'bob');
SELECT dbos.send('shop."Odd; name"', '"for bob"', 'bob'), dbos.send('shop."Odd; name"', '"for ann"', 'ann');
SELECT dbos.send('shop.in_order', '1', 'k'), dbos.send('shop.in_order', '2', 'k');
-- What is received leaves ids behind.
SELECT count(*) FROM dbos.send_many('shop.box', array_fill('0'::jsonb, ARRAY[20]));
SELECT count(*) FROM dbos.receive('shop.box', 20);
});
# One is dead, one leased, one delayed, two wait.
$node->safe_psql('original', q{
SET SESSION AUTHORIZATION bob;
SELECT dbos.send('shop.box', '"dead"');
BEGIN;
SELECT * FROM dbos.receive('shop.box');
ROLLBACK;
BEGIN;
SELECT * FROM dbos.receive('shop.box', timeout => '1 minute');
ROLLBACK;
});
$node->poll_query_until('original', 'SELECT count(*) = 1 FROM shop.dead') or die 'no dead letter';
$node->safe_psql('original', q{
SET SESSION AUTHORIZATION bob;
SELECT dbos.send('shop.box', '"leased"');
SELECT * FROM dbos.lease('shop.box', 1, '1 hour');
SELECT dbos.send('shop.box', '"delayed"', delay => '1 hour'), dbos.send('shop.box', '"one"', idempotency_key => 'k', headers => '{"h": 1}'), dbos.send('shop.box', '"two"');
});
my $contents = q{
SELECT string_agg(r.name || ': ' || r.rows, E'\n' ORDER BY r.name) FROM (
SELECT 'box' AS name, (SELECT string_agg(concat_ws(',', id, sender, sent_at, visible_at, deliveries, headers, body), ' ' ORDER BY id) FROM shop.box) AS rows
UNION ALL SELECT 'dead', (SELECT string_agg(concat_ws(',', id, sender, sent_at, deliveries, headers, body), ' ' ORDER BY id) FROM shop.dead)
UNION ALL SELECT 'odd', (SELECT string_agg(concat_ws(',', id, sender, partition_key, body), ' ' ORDER BY id) FROM shop."Odd; name")
UNION ALL SELECT 'acl', (SELECT string_agg(relname || ' ' || relacl::text, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relkind = 'p')
UNION ALL SELECT 'mailboxes', (SELECT string_agg(concat_ws(',', mailbox, owner, depth, delayed, in_flight, max_deliveries, dead_letter), ' ' ORDER BY mailbox::text) FROM dbos.mailboxes)) r};
my $before = $node->safe_psql('original', $contents);
note($before);

# ---- a dump, restored by another superuser, and a copy ----

my $folder = PostgreSQL::Test::Utils::tempdir();
my @to = ('-h', $node->host, '-p', $node->port);
$node->command_ok([ 'pg_dump', @to, '-Fc', '-f', "$folder/dump", 'original' ], 'pg_dump succeeds');
$node->safe_psql('postgres', 'CREATE DATABASE restored OWNER other_admin');
$node->command_ok([ 'pg_restore', @to, '-U', 'other_admin', '--exit-on-error', '-d', 'restored', "$folder/dump" ], 'another superuser restores it');
$node->command_ok([ 'pg_dump', @to, '-f', "$folder/dump.sql", '--load-via-partition-root', 'original' ], 'pg_dump by the root succeeds');
$node->safe_psql('postgres', 'CREATE DATABASE by_root');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', @to, '-d', 'by_root', '-f', "$folder/dump.sql" ], 'which restores, too');
$node->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE original');

# What goes through each of them, and comes out in the end.
sub use_it
{
	my ($server, $database) = @_;
	is($server->safe_psql($database, $contents), $before, "$database: messages, rights and options are those of the original");
	is($server->safe_psql($database, q{SET SESSION AUTHORIZATION bob; SET client_min_messages = error; SELECT dbos.send('shop.box', '"two again"', idempotency_key => 'k') = (SELECT id FROM dbos.receive('shop.box') WHERE body = '"one"')}),
		't', "$database: a key is that of its message, which is received");
	is($server->safe_psql($database, q{SET SESSION AUTHORIZATION bob; SELECT body, sender FROM dbos.receive('shop.box', 10)}), '"two"|bob', "$database: what was delayed or leased is so");
	my $last = $server->safe_psql($database, 'SELECT max(id) FROM shop.box');
	cmp_ok($server->safe_psql($database, q{SET client_min_messages = error; SELECT dbos.send('shop.box', '"new"')}), '>', $last, "$database: ids go on");
	is($server->safe_psql($database, q{SELECT dbos.release('shop.box', array_agg(id)) FROM shop.box WHERE body = '"leased"'}), '1', "$database: a lease can be ended");
	is($server->safe_psql($database, q{SELECT string_agg(body::text || ' ' || deliveries, ' ' ORDER BY id) FROM dbos.receive('shop.box', 10)}), '"leased" 2 "new" 1', "$database: and what was leased is received");
	is($server->safe_psql($database, q{SELECT body FROM dbos.receive('shop.in_order', 10)}), "1\n2", "$database: what is in order is");
	is($server->safe_psql($database, q{SET SESSION AUTHORIZATION bob; SELECT body FROM dbos.receive('shop."Odd; name"', 10)}), '"for bob"', "$database: row-level security holds");
	is($server->safe_psql($database, q{SELECT dbos.requeue('shop.dead', 'shop.box')}), '1', "$database: a dead letter goes back");
	is($server->safe_psql($database, q{SELECT body FROM dbos.receive('shop.box', 10)}), '"dead"', "$database: and is received");
	# Failed deliveries are counted there as well, once a process does it.
	$server->safe_psql($database, q{SET client_min_messages = error; SELECT dbos.start(); SELECT dbos.send('shop.box', '"mortal"')});
	foreach my $time (1, 2)
	{
		is($server->safe_psql($database, q{BEGIN; SELECT deliveries FROM dbos.receive('shop.box', timeout => '1 minute'); ROLLBACK;}), $time, "$database: delivery $time fails");
	}
	ok($server->poll_query_until($database, q{SELECT count(*) = 1 FROM shop.dead WHERE body = '"mortal"'}), "$database: and the message is a dead letter");
}
use_it($node, $_) foreach 'restored', 'by_root', 'copied';
is($node->safe_psql('original', $contents), $before, 'the original has nothing of that');

# ---- a standby ----

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
# A receive that is in progress at the primary, and rows that were received.
my ($in, $out) = (q{BEGIN; SELECT 'got ' || count(*) FROM dbos.receive('shop.box', 1); SELECT pg_switch_wal() IS NULL;} . "\n", '');
my $open = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr('original') ], '<', \$in, '>', \$out, IPC::Run::timeout(100));
$open->pump until $out =~ /got 1/;
$node->wait_for_catchup($standby);
my ($code, $output, $errors) = $standby->psql('original', q{SELECT dbos.receive('shop.box')});
like($errors, qr/read-only transaction|recovery/, 'a standby receives nothing');
($code, $output, $errors) = $standby->psql('original', q{SELECT dbos.send('shop.box', '1')});
like($errors, qr/read-only transaction|recovery/, 'and sends nothing');
is($standby->safe_psql('original', $contents), $before, 'but shows what is there');
$node->stop('immediate');
eval { $open->finish };
$standby->promote;
$standby->poll_query_until('original', 'SELECT NOT pg_is_in_recovery()');
# The receive that was under way has failed, and is counted.
ok($standby->poll_query_until('original', q{
SELECT (SELECT count(*) FROM shop.box) = 4 AND (SELECT bool_and(deliveries = 1) FROM shop.box WHERE body = '"one"')}), 'the delivery that the end of the primary cut off is counted')
  or diag($standby->safe_psql('original', 'SELECT * FROM shop.box'));
is($standby->safe_psql('original', q{SELECT string_agg(body::text || ' ' || deliveries, ' ' ORDER BY id) FROM dbos.receive('shop.box', 10, '1 minute')}), '"one" 2 "two" 1', 'what waited is received by the promoted server, each once');
cmp_ok($standby->safe_psql('original', q{SELECT dbos.send('shop.box', '"new"')}), '>', 25, 'its ids go on');
$standby->stop;
$node->start;

# ---- altered while it is in use ----

# A receiver and a sender that go on for ever, by the oid of the mailbox: whatever it is called.
$node->safe_psql('original', q{
CREATE TABLE public.ledger (n int);
CREATE TABLE public.flow AS SELECT 'shop.box'::regclass AS box, false AS stop;
CREATE PROCEDURE public.send_on() LANGUAGE plpgsql AS $$
DECLARE n int := 0;
BEGIN
	WHILE NOT (SELECT stop FROM public.flow) LOOP
		-- Its name may change between the look at it and the call.
		BEGIN
			PERFORM dbos.send((SELECT box::text FROM public.flow), to_jsonb(n + 1));
			n := n + 1;
		EXCEPTION WHEN undefined_table THEN
			NULL;
		END;
		COMMIT;
	END LOOP;
END $$;
CREATE PROCEDURE public.receive_on() LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		BEGIN
			INSERT INTO public.ledger SELECT body::int FROM dbos.receive((SELECT box::text FROM public.flow), 10) WHERE jsonb_typeof(body) = 'number';
		EXCEPTION WHEN undefined_table THEN
			NULL;
		END;
		COMMIT;
		EXIT WHEN (SELECT stop FROM public.flow) AND (SELECT depth - delayed - in_flight FROM dbos.mailbox_state((SELECT box FROM public.flow))) = 0;
	END LOOP;
END $$;
});
my @flow = map { IPC::Run::start([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('original'), '-c', "CALL public.$_()" ], '>', \my $o, '2>', \my $e) } 'send_on', 'receive_on';
my $grown = sub {
	my ($why) = @_;
	my $now = $node->safe_psql('original', 'SELECT count(*) FROM ledger');
	ok($node->poll_query_until('original', "SELECT count(*) > $now + 20 FROM ledger"), "messages go on $why");
};
$grown->('at first');
$node->safe_psql('original', 'ALTER TABLE shop.box RENAME TO renamed');
$grown->('after a rename');
$node->safe_psql('original', 'ALTER TABLE shop.renamed SET SCHEMA public');
$grown->('in another schema');
$node->safe_psql('original', 'ALTER TABLE public.renamed ADD COLUMN mine text');
$grown->('with one more column');
$node->safe_psql('original', 'ALTER TABLE public.renamed OWNER TO bob');
$grown->('with another owner');
$node->safe_psql('original', 'UPDATE public.flow SET stop = true');
ok($_->finish, 'who sends and receives meets no error') foreach @flow;
is($node->safe_psql('original', 'SELECT count(*) = max(n), count(DISTINCT n) = max(n) FROM ledger'), 't|t', 'each was received once');
# The segments follow, once the background looks: who had it reads no more.
$node->safe_psql('original', 'SELECT dbos.stop(); SELECT dbos.start()');
ok($node->poll_query_until('original', q{SELECT bool_and(pg_get_userbyid(relowner) = 'bob') FROM pg_class WHERE oid IN (SELECT relid FROM pg_partition_tree('public.renamed'))}),
	'its segments belong to its new owner');
is($node->safe_psql('original', q{SET SESSION AUTHORIZATION bob; SELECT dbos.send('public.renamed', '"of bob"') > 0; SELECT dbos.pause_mailbox('public.renamed'), dbos.resume_mailbox('public.renamed'); SELECT count(*) > 0 FROM dbos.receive('public.renamed', 10);}),
	"t\n|\nt", 'who does with it as he likes');

# ---- dropped ----

$node->safe_psql('original', q{SET client_min_messages = warning; CREATE TABLE public.kept (x int); DROP TABLE public.renamed; DROP SCHEMA shop CASCADE});
is($node->safe_psql('original', q{SELECT count(*) FROM pg_class WHERE relnamespace = 'dbos_message'::regnamespace}), '0', 'no segment outlives its mailbox');
$node->safe_psql('original', 'SELECT dbos.stop(); SELECT dbos.start()');
ok($node->poll_query_until('original', 'SELECT (SELECT count(*) FROM dbos.mailbox) + (SELECT count(*) FROM dbos.message_key) = 0'), 'and nothing else of them is left')
  or diag($node->safe_psql('original', 'SELECT relation, key FROM dbos.message_key UNION ALL SELECT relation, NULL FROM dbos.mailbox'));
($code, $output, $errors) = $node->psql('restored', 'DROP EXTENSION dbos');
like($errors, qr/other objects depend on it/, 'DROP EXTENSION does not take mailboxes along unasked');
$node->safe_psql('restored', q{SET client_min_messages = warning; DROP EXTENSION dbos CASCADE});
is($node->safe_psql('restored', q{SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'dbos%'}), '0', 'CASCADE does, and leaves nothing of dbos');
$node->safe_psql('restored', q{SET client_min_messages = warning; CREATE EXTENSION dbos; SELECT dbos.create_mailbox('anew'), dbos.send('anew', '1')});
is($node->safe_psql('restored', q{SELECT body FROM dbos.receive('anew')}), '1', 'and it can be made anew');
$node->stop;
done_testing();
