# No wake-up is lost: whatever stands between a receiver's look and its sleep, and whoever of those who wait is cancelled or terminated, each message is received though nobody polls.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $rounds = $ENV{DBOS_TORTURE} ? 3000 : 300;
my $waiters = 6;
my $seed = $ENV{DBOS_SEED} || 42;

my $node = PostgreSQL::Test::Cluster->new('wake_up');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\nfsync = off\n");
$node->start;
# Stop points and the clock that tests drive are compiled in together.
if ($node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'dbos.clock_offset'}) ne '1')
{
	$node->stop;
	plan skip_all => 'the library has no stop points: it was not built with -DDBOS_TESTING';
}
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
SELECT dbos.create_mailbox('box');
CREATE TABLE got (body jsonb, late boolean);
});
my $shared = $node->safe_psql('postgres', 'SHOW dbos.shared_memory') eq 'on';

my $key = q{hashtext('dbos stop point'), hashtext('%s')};
my $standing = q{
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objsubid = 2
AND (classid::bigint, objid::bigint) = (hashtext('dbos stop point')::bigint & 4294967295, hashtext('%s')::bigint & 4294967295)};

# A session that goes on: what it is told, and what it says.
sub session
{
	my ($name) = @_;
	my $session = { in => '', out => '', err => '', done => 0 };
	$session->{run} = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr('postgres') . " application_name=$name" ],
		'<', \$session->{in}, '>', \$session->{out}, '2>', \$session->{err});
	# Each minute a receiver looks without having been woken: what comes by that alone does not come in time.
	$session->{in} = "SET statement_timeout = '40 s';\n";
	return $session;
}

sub say_to
{
	my ($session, $sql) = @_;
	$session->{out} = '';
	$session->{done}++;
	$session->{in} .= "$sql\n\\echo done $session->{done}\n";
	# Until it has been told all of it, or has gone.
	foreach my $try (1 .. 1000)
	{
		last unless length $session->{in} && eval { $session->{run}->pump_nb; 1 };
		usleep(1000) if length $session->{in};
	}
}

# Its answer, once it has come.
sub answer
{
	my ($session) = @_;
	my $end = "done $session->{done}\n";
	my $timeout = IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default);
	$timeout->start;
	until ($session->{out} =~ /^\Q$end\E/m)
	{
		die "no answer: $session->{out} $session->{err}" if $timeout->is_expired;
		$session->{run}->pump_nb;
		usleep(1000);
	}
	(my $out = $session->{out}) =~ s/\Q$end\E//;
	chomp $out;
	return $out;
}

sub hold { say_to($_[0], sprintf("SELECT pg_advisory_lock($key);", $_[1])); answer($_[0]); }
sub let_go { say_to($_[0], sprintf("SELECT pg_advisory_unlock($key);", $_[1])); answer($_[0]); }
sub until_stands
{
	my ($point, $many) = @_;
	$node->poll_query_until('postgres', sprintf($standing, $point) . '', $many // 1) or die "nobody stands at $point";
}

my $receive = q{SELECT body FROM dbos.receive('box', 1, '10 minutes');};
my $waiting = q{SELECT receivers FROM dbos.mailbox_state('box')};
my $holder = session('holder');
my $one = session('one');
my $two = session('two');

# ---- one receiver, held ----

foreach my $point ('message wait look', 'message wait sleep')
{
	# The message comes while the receiver has entered the list and not looked, or has looked and not slept.
	hold($holder, $point);
	say_to($one, $receive);
	until_stands($point);
	$node->safe_psql('postgres', q{SELECT dbos.send('box', '"while it is held"')});
	let_go($holder, $point);
	is(answer($one), '"while it is held"', "$point: what was sent meanwhile is received");

	# The sender's transaction is open while the receiver looks.
	say_to($two, q{BEGIN; SELECT dbos.send('box', '"uncommitted"') > 0;});
	answer($two);
	hold($holder, $point);
	say_to($one, $receive);
	until_stands($point);
	let_go($holder, $point);
	hold($holder, 'message wait sleep');
	say_to($two, 'COMMIT;');
	answer($two);
	let_go($holder, 'message wait sleep');
	is(answer($one), '"uncommitted"', "$point: what is committed later is received");

	# What another gives back.
	$node->safe_psql('postgres', q{SELECT dbos.send('box', '"given back"')});
	say_to($two, q{BEGIN; SELECT body FROM dbos.receive('box');});
	is(answer($two), '"given back"', 'another has it');
	hold($holder, $point);
	say_to($one, $receive);
	until_stands($point);
	say_to($two, 'ROLLBACK;');
	answer($two);
	let_go($holder, $point);
	is(answer($one), '"given back"', "$point: what another gave back meanwhile is received");

	# It is cancelled there: the message is for the next one.
	hold($holder, $point);
	say_to($one, $receive);
	until_stands($point);
	$node->safe_psql('postgres', q{SELECT dbos.send('box', '"for the next"')});
	$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'one'});
	answer($one);
	like($one->{err}, qr/canceling statement/, "$point: it is cancelled");
	$one->{err} = '';
	let_go($holder, $point);
	say_to($two, $receive);
	is(answer($two), '"for the next"', "$point: another one gets it");

	# Delayed ones, and a resumed mailbox.
	hold($holder, $point);
	say_to($one, $receive);
	until_stands($point);
	$node->safe_psql('postgres', q{SELECT dbos.send('box', '"delayed"', delay => '100 ms')});
	let_go($holder, $point);
	is(answer($one), '"delayed"', "$point: what was delayed is received");
	$node->safe_psql('postgres', q{SELECT dbos.pause_mailbox('box'), dbos.send('box', '"paused"')});
	hold($holder, $point);
	say_to($one, $receive);
	until_stands($point);
	$node->safe_psql('postgres', q{SELECT dbos.resume_mailbox('box')});
	let_go($holder, $point);
	is(answer($one), '"paused"', "$point: what waited for the resumption is received");
}

# ---- two receivers, one message ----

SKIP:
{
	skip 'without shared memory all of them look', 2 unless $shared;
	# There is nothing that it could give back.
	is($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.receive('box', 10)}), '0', 'the mailbox is empty');
	say_to($one, $receive);
	$node->poll_query_until('postgres', $waiting, 1) or die 'one does not wait';
	say_to($two, $receive);
	$node->poll_query_until('postgres', $waiting, 2) or die 'two do not wait';
	# The first is woken and held; while it goes away, the second learns of it.
	hold($holder, 'message wait look');
	$node->safe_psql('postgres', q{SELECT dbos.send('box', '"passed on"')});
	until_stands('message wait look');
	$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'one'});
	$node->poll_query_until('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'one'}, 0) or die 'it does not go';
	# The second comes to look in its turn.
	until_stands('message wait look');
	let_go($holder, 'message wait look');
	is(answer($two), '"passed on"', 'who is terminated before it looks passes the message on');
	eval { $one->{run}->finish };
	$one = session('one');
}

# ---- many receivers, one message at a time ----

# Each takes one message in a transaction of its own and waits again; some take it in vain.
my $loop = q{SET statement_timeout = 0;
DO $$
DECLARE
	m record;
BEGIN
	LOOP
		FOR m IN SELECT body, sent_at FROM dbos.receive('box', 1, '10 minutes') LOOP
			INSERT INTO got VALUES (m.body, clock_timestamp() - m.sent_at > interval '40 s');
		END LOOP;
		IF random() < 0.1 THEN ROLLBACK; ELSE COMMIT; END IF;
	END LOOP;
END $$;};
my @sessions = map { session("waiter$_") } 1 .. $waiters;
say_to($_, $loop) foreach @sessions;
srand($seed);
my ($cancelled, $terminated) = (0, 0);
say_to($one, 'SELECT 1;');
answer($one);
foreach my $round (1 .. $rounds)
{
	say_to($two, "SELECT dbos.send('box', '$round') > 0;");
	answer($two);
	my $dice = rand();
	my $number = 1 + int(rand($waiters));
	my $way = $dice < 0.1 ? 'cancel' : $dice < 0.2 ? 'terminate' : undef;
	if ($way)
	{
		say_to($one, "SELECT pg_${way}_backend(pid) FROM pg_stat_activity WHERE application_name = 'waiter$number' AND state = 'active';");
		answer($one);
		$way eq 'cancel' ? $cancelled++ : $terminated++;
	}
	# One that has gone comes again.
	foreach my $i (0 .. $#sessions)
	{
		my $session = $sessions[$i];
		$session->{run}->pump_nb if $session->{run}->pumpable;
		next unless $session->{err} =~ /(canceling|terminating|closed the connection|connection to server was lost)/ || !$session->{run}->pumpable;
		eval { $session->{run}->kill_kill };
		$sessions[$i] = session('waiter' . ($i + 1));
		say_to($sessions[$i], $loop);
	}
	# Mostly all of them sleep when the next one comes.
	if ($round % 10 == 0)
	{
		ok($node->poll_query_until('postgres', "SELECT count(DISTINCT body) = $round FROM got"), "all of $round were received")
		  or diag($node->safe_psql('postgres', q{SELECT 'left', count(*) FROM box UNION ALL SELECT application_name || ' ' || state, 1 FROM pg_stat_activity WHERE backend_type = 'client backend'}));
	}
}
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT body) FROM got'), "$rounds|$rounds", 'each was received once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM box'), '0', 'and none is left');
is($node->safe_psql('postgres', 'SELECT count(*) FROM got WHERE late'), '0', 'nor was any found by the look of each minute');
note("$cancelled were cancelled, $terminated terminated");
SKIP:
{
	skip 'without shared memory nobody is counted', 1 unless $shared;
	ok($node->poll_query_until('postgres', "$waiting", $waiters), 'all wait again');
}
eval { $_->{run}->kill_kill } foreach @sessions, $one, $two, $holder;
ok($node->poll_query_until('postgres', q{SELECT count(pg_terminate_backend(pid)) = 0 FROM pg_stat_activity WHERE application_name LIKE 'waiter%'}), 'they end');
is($node->safe_psql('postgres', $waiting), '0', 'and nobody is said to wait any more');
$node->stop;
done_testing();
