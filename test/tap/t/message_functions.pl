# Each message has its effects once, whoever is killed while loops and tasks work; who listens is told the highest id, and senders never wait for that.
# SPDX-License-Identifier: PostgreSQL
#
# Clients send tokens, each beside a row of their own in the same transaction: that row says
# which were sent.  Loops and tasks enter tokens into a ledger.
use strict;
use warnings;
use IO::Handle;
use IPC::Open3;
use IPC::Run;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RandomKills;
use Test::More;
use Time::HiRes qw(usleep);

my $test = $$;
my $kills = $ENV{DBOS_TORTURE} ? 500 : 40;
my $seed = $ENV{DBOS_SEED} || 42;
my $folder = PostgreSQL::Test::Utils::tempdir;

my $node = PostgreSQL::Test::Cluster->new('functions');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'dbos'
restart_after_crash = on
fsync = on
dbos.task_crash_limit = 100000
max_connections = 50
log_min_messages = error
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = error;
CREATE EXTENSION dbos;
CREATE TABLE sent (token text NOT NULL);
CREATE TABLE ledger (token text NOT NULL, how text NOT NULL);
CREATE SEQUENCE luck;
CREATE FUNCTION enter(token text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.ledger VALUES (token, CASE WHEN dbos.current_task() IS NULL THEN 'loop' ELSE 'task' END);
	IF dbos.current_message() ->> 'id' IS NULL THEN
		RAISE EXCEPTION 'called for no message';
	END IF;
	IF nextval('public.luck') % 20 = 0 THEN
		RAISE EXCEPTION 'no luck';
	END IF;
END $$;
SELECT dbos.create_mailbox('looped'), dbos.create_mailbox('made_tasks'), dbos.create_mailbox('told', notify => true), dbos.create_topic('news', notify => true);
SELECT dbos.on_message('made_tasks', 'public.enter', max_attempts => 1000, retry_delay => '1 ms');
});

my $killed = RandomKills->new($node, $folder);
sub ask { return $killed->ask(@_) }

# ---- what is sent, and who works on it ----

# Runs psql again and again until it is told to stop; whatever kills it, or its server.
sub again_and_again
{
	my ($name, $command) = @_;
	for (my $count = 1; !-e "$folder/$name"; $count++)
	{
		POSIX::_exit(1) if getppid() != $test;
		my $sql = $command->($count);
		open(my $null, '>', '/dev/null');
		my $psql = open3(my $in, '>&' . fileno($null), '>&' . fileno($null), 'psql', '-X', '-q', '-d',
			$node->connstr('postgres') . " application_name=$name", '-c', $sql);
		close($in);
		waitpid($psql, 0);
		usleep(20_000) if $? != 0;
	}
}

sub send_tokens
{
	my ($number, $count) = @_;
	my $tokens = "SELECT 's$number.$count.' || i || '.' || pg_backend_pid() AS t FROM generate_series(1, 20) i";
	my $delay = $count % 5 == 0 ? ", delay => '50 ms'" : '';
	return "WITH t AS MATERIALIZED ($tokens), s AS (INSERT INTO sent SELECT t FROM t RETURNING token)
		SELECT dbos.send(CASE WHEN hashtext(token) % 2 = 0 THEN 'looped' ELSE 'made_tasks' END, jsonb_build_array(token)$delay) FROM s";
}

my @sending = map { my $number = $_; $killed->begin(\&again_and_again, 'senders', sub { send_tokens($number, @_) }) } 1 .. 2;
my @loops = map { $killed->begin(\&again_and_again, 'loops', sub { "CALL dbos.receive_loop('looped', 'public.enter')" }) } 1 .. 2;

sub until_true
{
	my ($sql, $what) = @_;
	foreach my $try (1 .. 3600)
	{
		return pass($what) if ask($sql) eq 't';
		usleep(50_000);
	}
	return fail($what);
}

# ---- the kills ----

$killed->run(kills => $kills, seed => $seed, pause => 200_000, whom => [ map { [ 1, $_->[0], 'KILL', $_->[1] ], [ 1, $_->[0], 'TERM', $_->[1] ] } (
	[ 'loop', "application_name = 'loops'" ],
	[ 'sender', "application_name = 'senders'" ],
	[ 'scheduler', "backend_type = 'dbos scheduler'" ],
	[ 'executor', "backend_type = 'dbos executor'" ]) ]);

append_to_file("$folder/senders", '');
$killed->reap(@sending);
until_true("SELECT (SELECT count(*) FROM looped) + (SELECT count(*) FROM made_tasks) + (SELECT count(*) FROM dbos.task) = 0",
	'every message is received, and every task ends')
  or diag(ask('SELECT (SELECT count(*) FROM looped), (SELECT count(*) FROM made_tasks), (SELECT count(*) FROM dbos.task)'));
# A loop that is told to end ends at once, wherever it waits.
append_to_file("$folder/loops", '');
ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'loops'");
$killed->reap(@loops);

note(ask("SELECT how || ' ' || count(*) FROM ledger GROUP BY how ORDER BY how"));
is(ask('SELECT count(*) FROM (SELECT token FROM sent EXCEPT ALL SELECT token FROM ledger) t'), '0', 'no message is lost');
is(ask('SELECT count(*) FROM (SELECT token FROM ledger EXCEPT ALL SELECT token FROM sent) t'), '0', 'none has its effects twice');
is(ask("SELECT count(DISTINCT how) FROM ledger"), '2', 'loops and tasks have worked');
cmp_ok(ask("SELECT count(*) FROM dbos.attempts WHERE outcome = 'failed'"), '>', 0, 'some failed, and were made again');

# ---- a loop that waits ----

my $loop = IPC::Run::start([ 'psql', '-X', '-q', '-d', $node->connstr('postgres') . ' application_name=waits',
		'-c', "CALL dbos.receive_loop('looped', 'public.enter')" ], '>', \my $loop_out, '2>', \my $loop_error);
# A transaction of its own that holds a snapshot shows what another one sees.
until_true(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'waits' AND wait_event = 'Extension' AND backend_xmin IS NULL AND backend_xid IS NULL},
	'a loop that waits has no snapshot');
is(ask(q{SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE application_name = 'waits' AND l.relation IS NOT NULL}),
	'0', 'and no lock on any table');
ask(q{SELECT dbos.send('looped', '["once more"]')});
until_true(q{SELECT count(*) = 1 FROM ledger WHERE token = 'once more'}, 'it is woken by a message');
ask(q{SELECT dbos.drop_mailbox('looped')});
$loop->finish;
like($loop_error, qr/mailbox "looped" does not exist/, 'it ends when its mailbox is dropped');

# ---- who listens ----

# A session of psql; says what it was told, up to now.
package Listener
{
	sub new
	{
		my ($class, $name) = @_;
		my $self = bless { told => [], count => 0, name => $name }, $class;
		$self->{pid} = IPC::Open3::open3($self->{in}, $self->{out}, undef, 'psql', '-X', '-A', '-t', '-q', '-d', $node->connstr('postgres'));
		$self->run("LISTEN \"dbos.$name\"");
		return $self;
	}

	sub run
	{
		my ($self, $sql) = @_;
		my $count = ++$self->{count};
		print { $self->{in} } "$sql;\nSELECT 'end $count';\n";
		$self->{in}->flush;
		while (my $line = readline($self->{out}))
		{
			push @{ $self->{told} }, $1 if $line =~ /^Asynchronous notification "dbos.$self->{name}" with payload "(\d+)"/;
			return if $line =~ /^end $count$/;
		}
		die 'the listener is gone';
	}

	# Until it was told this last; or for three minutes.
	sub last_told
	{
		my ($self, $payload) = @_;
		foreach my $try (1 .. 3600)
		{
			$self->run('SELECT WHERE false');
			last if @{ $self->{told} } && $self->{told}[-1] eq $payload;
			Time::HiRes::usleep(50_000);
		}
		return $self->{told}[-1] // 'nothing';
	}

	sub leave
	{
		my ($self) = @_;
		close($self->{in});
		close($self->{out});
		waitpid($self->{pid}, 0);
	}
}

# Holds a stop point until it is let go.
sub hold
{
	my ($point) = @_;
	my $key = "hashtext('dbos stop point'), hashtext('$point')";
	my $session = IPC::Run::start([ 'psql', '-X', '-q', '-d', $node->connstr('postgres'), '-c', "SELECT pg_advisory_lock($key)", '-c', 'SELECT pg_sleep(600)' ],
		'>', \my $out, '2>', \my $error);
	until_true(q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2}, "$point is held");
	return $session;
}

sub let_go
{
	my ($session) = @_;
	ask(q{SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2});
	$session->finish;
}
my $is_held = q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objsubid = 2};

my $shared = ask('SHOW dbos.shared_memory') eq 'on';
my $listener = Listener->new('told');
my $id = ask(q{SELECT dbos.send('told', '1')});
is($listener->last_told($id), $id, 'who listens is told the id');
ask(q{BEGIN; SELECT dbos.send('told', '2'); ROLLBACK});
$id = (split /\n/, ask(q{SELECT dbos.send('told', '3')}))[-1];
is($listener->last_told($id), $id, 'and the next one');
is(scalar(grep { $_ == $id - 1 } @{ $listener->{told} }), 0, 'what was rolled back is told of to nobody');

# While the background cannot tell, many commits become one notification.
my $stop = hold('message tell');
ask(q{SELECT dbos.send('told', '4')});
until_true($is_held, 'the background is about to tell');
@{ $listener->{told} } = ();
ask("SELECT dbos.send('told', '$_')") foreach 1 .. 29;
$id = ask(q{SELECT dbos.send('told', '30')});
let_go($stop);
is($listener->last_told($id), $id, 'of many commits the highest id is told');
$listener->run('SELECT 1') foreach 1 .. 3;
# Without shared memory the background looks, and tells of what it sees, as often as it does.
cmp_ok(scalar @{ $listener->{told} }, '<=', $shared ? 2 : 29, 'by one notification, and one for what came meanwhile');

# A message that is delayed is told of when its time has come.
$id = ask(q{SELECT dbos.send('told', '"late"', delay => '100 ms')});
is($listener->last_told($id), $id, 'a delayed message is told of');

# A topic is read without gaps: what was published before, and is rolled back, held back what came later.
# Without shared memory whoever publishes waits for whoever did before.
my $reader = Listener->new('news');
my $publisher = Listener->new('other');
ask(q{SELECT dbos.subscribe('news', 'r')});
$publisher->run(q{BEGIN; SELECT dbos.publish('news', '1')});
$publisher->run('ROLLBACK') unless ask('SHOW dbos.shared_memory') eq 'on';
$id = ask(q{SELECT dbos.publish('news', '2')});
is($reader->last_told($id), $id, 'who listens to a topic is told');
if (ask('SHOW dbos.shared_memory') eq 'on')
{
	is(ask(q{SELECT count(*) FROM dbos.read_topic('news', 'r')}), '0', 'but cannot read past who may still commit');
	@{ $reader->{told} } = ();
	$publisher->run('ROLLBACK');
	is($reader->last_told($id), $id, 'and is told again when that one has rolled back');
}
is(ask(q{SELECT string_agg(body #>> '{}', ',') FROM dbos.read_topic('news', 'r')}), '2', 'what came later can be read then');
$_->leave foreach $reader, $publisher;

# Who commits while somebody holds the lock of NOTIFY: that one waits for a standby that never comes.
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$node->reload;
$ENV{PGOPTIONS} = '-c synchronous_commit=local';
# The setting reaches the process that keeps it some time later: until then commits do not wait.
append_to_file("$folder/hold.sql", "SET synchronous_commit = on;\n" . "BEGIN;\nINSERT INTO sent VALUES ('nothing');\nNOTIFY other;\nCOMMIT;\n" x 20000);
my $holder = IPC::Run::start([ 'psql', '-X', '-q', '-d', $node->connstr('postgres') . ' application_name=holder', '-f', "$folder/hold.sql" ],
	'>', \my $holder_out, '2>', \my $holder_error);
my $notify_lock = q{locktype = 'object' AND database = 0 AND classid = 'pg_database'::regclass AND objid = 0};
until_true("SELECT count(*) = 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE $notify_lock AND l.granted AND a.wait_event = 'SyncRep'",
	'somebody holds the lock of NOTIFY');
append_to_file("$folder/send.sql", q{SELECT dbos.send('told', '{"n": 1}');});
command_ok([ 'pgbench', '-n', '-c', '16', '-t', '50', '-f', "$folder/send.sql", $node->connstr('postgres') ], '16 senders commit all the same');
is(ask("SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE $notify_lock AND l.granted AND a.wait_event = 'SyncRep'"), '1', 'while it was held');
is(ask("SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE $notify_lock AND a.backend_type = 'client backend' AND NOT l.granted"),
	'0', 'and none of them waits for it');
$id = ask('SELECT max(id) FROM told');
is($id - ask('SELECT min(id) FROM told') + 1 >= 800, 1, 'all were sent');
delete $ENV{PGOPTIONS};
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$node->reload;
ask(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holder'});
$holder->finish;
is($listener->last_told($id), $id, 'what could not be told before is told');

# What was committed and not told before a crash is told after it.
$listener->leave;
$stop = hold('message tell');
$id = ask(q{SELECT dbos.send('told', '"before the crash"')});
until_true($is_held, 'the background is about to tell');
$node->stop('immediate');
$stop->finish;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
$listener = Listener->new('told');
ask('SELECT dbos.start()');
is($listener->last_told($id), $id, 'what a crash came before is told afterwards');
$listener->leave;
$node->stop;
done_testing();
