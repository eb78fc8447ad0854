# Whatever is killed, each message that a client saw sent is received once by a transaction that commits, one rolled back never, and none twice.
# SPDX-License-Identifier: PostgreSQL
#
# Senders write down, outside of the server, what it told them; receivers enter what they received into a ledger that has no
# unique index, in the transaction that received it.  Where the answer to a send was lost, a mark that was written beside it
# says whether it was committed.
use strict;
use warnings;
use IO::Handle;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RandomKills;
use Test::More;
use Time::HiRes qw(usleep);

my $kills = $ENV{DBOS_TORTURE} ? 1000 : 100;
my ($senders, $receivers) = (2, 3);
my $seed = $ENV{DBOS_SEED} || 42;
my $folder = PostgreSQL::Test::Utils::tempdir;

my $node = PostgreSQL::Test::Cluster->new('message_ledger');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'dbos'
restart_after_crash = on
fsync = on
dbos.segment_pages = 8
log_min_messages = error
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
SELECT dbos.create_mailbox('plain'), dbos.create_mailbox('dead'), dbos.create_mailbox('counted', max_deliveries => 1000000, dead_letter => 'dead');
CREATE TABLE ledger (mailbox text, id bigint NOT NULL, token text NOT NULL, how text);
CREATE TABLE mark (token text NOT NULL);
CREATE FUNCTION enter(mailbox text, id bigint, body jsonb, how text) RETURNS bigint LANGUAGE sql AS
	$$INSERT INTO public.ledger VALUES (mailbox, id, body #>> '{}', how) RETURNING id$$;
-- In a subtransaction that fails now and then, which gives the message back.
CREATE FUNCTION try_to_enter(mailbox text, fails boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM enter(mailbox, id, body, 'tried') FROM dbos.receive(mailbox, 2);
	IF fails THEN RAISE EXCEPTION 'fails'; END IF;
EXCEPTION WHEN raise_exception THEN
	NULL;
END $$;
});

my $killed = RandomKills->new($node, $folder);
sub ask { return $killed->ask(@_) }

# ---- the clients ----

# Its file gets a line for each token: "committed TOKEN ID", "rolled TOKEN" or "unknown TOKEN".
sub sender
{
	my ($number) = @_;
	my ($send, $connect) = $killed->session("sender$number", '-q', '-F', ' ');
	open(my $log, '>', "$folder/sender$number") or die $!;
	$log->autoflush(1);
	srand($seed * 100 + $number);
	$connect->();
	for (my $step = 1; !-e "$folder/stop_sending"; $step++)
	{
		my $token = "s$number.$step";
		my $dice = rand();
		my $mailbox = rand() < 0.5 ? 'plain' : 'counted';
		my ($sql, @tokens, $block, $rollback, $key);
		if ($step % 20 == 0)
		{
			# Not more than can be received.
			my ($all, $waiting) = $send->('SELECT (SELECT count(*) FROM plain) + (SELECT count(*) FROM counted);');
			$all ? usleep($waiting > 1000 ? 200_000 : 0) : $connect->();
		}
		if ($dice < 0.3)
		{
			@tokens = ($token);
			$sql = "SELECT dbos.send('$mailbox', '\"$token\"');";
		}
		elsif ($dice < 0.4)
		{
			@tokens = ($token);
			$sql = "SELECT dbos.send('$mailbox', '\"$token\"', delay => '100 ms');";
		}
		elsif ($dice < 0.5)
		{
			@tokens = map { "$token.$_" } 1 .. 40;
			$sql = "SELECT dbos.send_many('$mailbox', ARRAY[" . join(',', map { "'\"$_\"'" } @tokens) . ']::jsonb[]);';
		}
		elsif ($dice < 0.65)
		{
			@tokens = ("$token.key");
			$key = 1;
			$sql = "SELECT dbos.send('$mailbox', '\"$token.key\"', idempotency_key => '$token');";
		}
		elsif ($dice < 0.75)
		{
			@tokens = map { "$token.i$_" } 1 .. 5;
			$sql = "INSERT INTO $mailbox (body) VALUES " . join(',', map { "('\"$_\"')" } @tokens) . ' RETURNING id;';
		}
		else
		{
			@tokens = map { "$token.m$_" } 1 .. 3;
			$block = 1;
			$rollback = rand() < 0.3;
			$sql = join("\n", map { "INSERT INTO mark VALUES ('$_');\nSELECT dbos.send('$mailbox', '\"$_\"');" } @tokens)
			  . "\nSAVEPOINT s;\nSELECT 'back', dbos.send('$mailbox', '\"$token.back\"');\nROLLBACK TO s;";
			print $log "rolled $token.back\n";
			$sql = "BEGIN;\n$sql\n" . ($rollback ? 'ROLLBACK;' : 'COMMIT;');
		}
		my ($all, @lines) = $send->($sql);
		while ($key && !$all)
		{
			$connect->();
			($all, @lines) = $send->($sql);
		}
		my @ids = grep { /^[0-9]+$/ } @lines;
		if ($all && @ids == @tokens && !$rollback)
		{
			print $log join('', map { "committed $tokens[$_] $ids[$_]\n" } 0 .. $#tokens);
		}
		else
		{
			print $log join('', map { ($rollback ? 'rolled' : 'unknown') . " $_\n" } @tokens);
		}
		$connect->() unless $all;
	}
}

sub receiver
{
	my ($number) = @_;
	my ($send, $connect) = $killed->session("receiver$number", '-q', '-F', ' ');
	srand($seed * 1000 + $number);
	$connect->();
	while (!-e "$folder/stop_receiving")
	{
		my $dice = rand();
		my $mailbox = rand() < 0.5 ? 'plain' : 'counted';
		my $end = rand() < 0.2 ? 'ROLLBACK' : 'COMMIT';
		my $many = 1 + int(rand(20));
		my ($all, @lines);
		if ($dice < 0.5)
		{
			($all) = $send->("BEGIN; SELECT enter('$mailbox', id, body, 'received') FROM dbos.receive('$mailbox', $many, '100 ms'); $end;");
		}
		elsif ($dice < 0.6)
		{
			# Its effects and the end of its transaction lie apart.
			($all) = $send->("BEGIN; SELECT enter('$mailbox', id, body, 'slowly') FROM dbos.receive('$mailbox', $many); SELECT pg_sleep(0.05); $end;");
		}
		elsif ($dice < 0.7)
		{
			($all) = $send->("BEGIN; SELECT try_to_enter('$mailbox', random() < 0.5); SELECT try_to_enter('$mailbox', random() < 0.5); $end;");
		}
		elsif ($dice < 0.8)
		{
			# In one transaction it goes on to the other mailbox, and from there into the ledger.
			my $other = $mailbox eq 'plain' ? 'counted' : 'plain';
			($all) = $send->("BEGIN; SELECT dbos.send('$other', body) FROM dbos.receive('$mailbox', 3); $end;");
		}
		else
		{
			# Leased; what was acknowledged in its time is entered with that.
			($all, @lines) = $send->("SELECT id, body FROM dbos.lease('$mailbox', 5, '2 seconds');");
			foreach my $line ($all ? @lines : ())
			{
				my ($id, $body) = split / /, $line;
				next if rand() < 0.1;
				if (rand() < 0.1)
				{
					($all) = $send->("SELECT dbos.release('$mailbox', ARRAY[$id]);");
				}
				else
				{
					($all) = $send->("BEGIN; SELECT enter('$mailbox', $id, '$body', 'leased') WHERE dbos.acknowledge('$mailbox', ARRAY[$id]) = 1; $end;");
				}
				last unless $all;
			}
		}
		$connect->() unless $all;
	}
}

my @sending = map { $killed->begin(\&sender, $_) } 1 .. $senders;
my @receiving = map { $killed->begin(\&receiver, $_) } 1 .. $receivers;
$killed->run(kills => $kills, seed => $seed, whom => [
	[ 4,  'postmaster' ],
	[ 4,  'stop immediate' ],
	[ 2,  'stop fast' ],
	[ 20, 'receiver', 'KILL', "application_name LIKE 'receiver%'" ],
	[ 30, 'receiver', 'TERM', "application_name LIKE 'receiver%'" ],
	[ 10, 'sender', 'KILL', "application_name LIKE 'sender%'" ],
	[ 15, 'sender', 'TERM', "application_name LIKE 'sender%'" ],
	[ 5,  'scheduler', 'KILL', "backend_type = 'dbos scheduler'" ],
	[ 10, 'scheduler', 'TERM', "backend_type = 'dbos scheduler'" ] ]);

# ---- the sum ----

append_to_file("$folder/stop_sending", '');
my $well = $killed->reap(@sending);
ask('SELECT 1');
# The receivers do it, and nobody else: what they would never be given stays.
ok($node->poll_query_until('postgres', 'SELECT (SELECT count(*) FROM plain) + (SELECT count(*) FROM counted) = 0'), 'every message is received')
  or diag(ask(q{SELECT 'plain', * FROM dbos.mailbox_state('plain') UNION ALL SELECT 'counted', * FROM dbos.mailbox_state('counted')}));
append_to_file("$folder/stop_receiving", '');
$well += $killed->reap(@receiving);
is($well, $senders + $receivers, 'every client came to its end');

my (%committed, %rolled, %unknown);
foreach my $number (1 .. $senders)
{
	foreach my $line (split /\n/, slurp_file("$folder/sender$number"))
	{
		my ($what, $token, $id) = split / /, $line;
		if ($what eq 'committed') { $committed{$token} = $id; }
		elsif ($what eq 'rolled') { $rolled{$token} = 1; }
		else { $unknown{$token} = 1; }
	}
}
foreach my $name ((map { "sender$_" } 1 .. $senders), (map { "receiver$_" } 1 .. $receivers))
{
	# A client may be cut off; nothing that it asks for is refused.
	is($killed->refused($name), '', "$name was refused nothing");
}
my (%times, %how);
foreach my $line (split /\n/, ask('SELECT token, how FROM ledger'))
{
	my ($token, $how) = split /\|/, $line;
	$times{$token}++;
	$how{$how}++;
}
my %mark = map { $_ => 1 } split /\n/, ask('SELECT token FROM mark');

sub some { return join(' ', grep { defined } @_[ 0 .. 9 ]) }

note(sprintf('%d sends committed, %d rolled back, %d whose answer was lost, of which %d were committed; ',
	scalar keys %committed, scalar keys %rolled, scalar keys %unknown, scalar(grep { $times{$_} } keys %unknown))
	  . join(', ', map { "$_ $how{$_}" } sort keys %how));
cmp_ok(scalar keys %committed, '>', $kills, 'clients saw messages sent');
cmp_ok(scalar keys %rolled, '>', 0, 'and rolled some back');
is(scalar keys %how, 4, 'they were received in every way');
is(some(grep { !$times{$_} } keys %committed), '', 'none that was sent is lost');
is(some(grep { $times{$_} > 1 } keys %times), '', 'none is received twice');
is(some(grep { $times{$_} } keys %rolled), '', 'none that was rolled back is received');
is(some(grep { !exists $committed{$_} && !exists $unknown{$_} } keys %times), '', 'none is received that nobody sent');
is(some(grep { !$times{$_} } keys %mark), '', 'where the transaction of a send left its mark, the message came');
is(some(grep { /m/ && !$mark{$_} } keys %times), '', 'where it left none, it did not');
my (%sent, %came);
foreach my $token (keys %committed, keys %unknown)
{
	my ($step) = $token =~ /^(s\d+\.\d+)/;
	$sent{$step}++;
	$came{$step}++ if $times{$token};
}
is(some(grep { $came{$_} != $sent{$_} } keys %came), '', 'what was sent together came, all or none');
is(ask('SELECT count(*) FROM dead'), '0', 'nothing was given up');
is(ask(q{SELECT count(*) FROM dbos.health() WHERE component = 'mailbox segments' AND NOT ok}), '0', 'segments are in good health');
$node->stop;
done_testing();
