# Whatever is killed, every acknowledged task leaves its effects exactly once.
#
# Clients submit all the time and keep, in files of their own, what the server
# acknowledged; a killer takes down workers, backends and the server at random.
# At the end what the clients know is held against what the tasks have written.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

my $rounds = $ENV{DBOS_TORTURE} ? 1000 : 100;
my $clients = 3;
my $node = PostgreSQL::Test::Cluster->new('ledger');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'dbos'
restart_after_crash = on
fsync = on
autovacuum_naptime = 5
dbos.task_crash_limit = 100000
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE ledger (task bigint NOT NULL, key text);
CREATE FUNCTION enter(key text DEFAULT NULL) RETURNS bigint LANGUAGE sql AS
	'INSERT INTO public.ledger VALUES (dbos.current_task(), key) RETURNING task';
-- Only ever submitted by what rolls back.  Told by this and not by its id: a sequence gives the ids
-- of a transaction that did not commit again after a crash.
CREATE FUNCTION never() RETURNS bigint LANGUAGE sql AS
	'INSERT INTO public.ledger VALUES (dbos.current_task(), ''never'') RETURNING task';
-- Fails every other time, after its effect.
CREATE FUNCTION enter_at_last() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.ledger VALUES (dbos.current_task());
	IF random() < 0.5 THEN
		RAISE EXCEPTION 'not yet';
	END IF;
	RETURN dbos.current_task();
END $$;
});

# ---- clients ----

# What a client's psql prints when all of its statements succeeded; undef when one failed or its answer was lost.
sub client_ask
{
	my (@statements) = @_;
	my @command = ('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), map { ('-c', $_) } @statements);
	open(my $null, '>', '/dev/null') or die;
	my ($in, $out, $err) = ('', '', '');
	my $ok = eval { IPC::Run::run(\@command, '<', \$in, '>', \$out, '2>', \$err) };
	return $ok ? [ $out =~ /(\d+)/g ] : undef;
}

sub client
{
	my ($number, $file, $stop) = @_;
	open(my $notes, '>', $file) or die;
	$notes->autoflush(1);
	srand(1000 + $number);
	my $keys = 0;
	until (-e $stop)
	{
		my $dice = rand();
		if ($dice < 0.3)
		{
			my $ids = client_ask(q{SELECT dbos.submit('public.enter')});
			print $notes "acknowledged $_\n" foreach @{ $ids // [] };
		}
		elsif ($dice < 0.5)
		{
			my $ids = client_ask(q{SELECT dbos.submit_many('public.enter', array_fill('{}'::jsonb, ARRAY[50]))});
			print $notes "acknowledged $_\n" foreach @{ $ids // [] };
		}
		elsif ($dice < 0.6)
		{
			my $ids = client_ask('BEGIN', q{SELECT dbos.submit_many('public.never', array_fill('{}'::jsonb, ARRAY[5]))}, 'ROLLBACK');
			print $notes "rolled_back $_\n" foreach @{ $ids // [] };
		}
		elsif ($dice < 0.7)
		{
			my $ids = client_ask('BEGIN', q{SELECT dbos.submit('public.enter')}, 'SAVEPOINT s',
				q{SELECT dbos.submit('public.never')}, 'ROLLBACK TO s', 'COMMIT');
			print $notes "acknowledged $ids->[0]\nrolled_back $ids->[1]\n" if $ids;
		}
		elsif ($dice < 0.8)
		{
			my $ids = client_ask(q{SELECT dbos.submit('public.enter', after => ARRAY[a.id]), a.id FROM (SELECT dbos.submit('public.enter') AS id OFFSET 0) a});
			print $notes "acknowledged $ids->[0]\nacknowledged $ids->[1]\nafter $ids->[0] $ids->[1]\n" if $ids;
		}
		elsif ($dice < 0.9)
		{
			my $ids = client_ask(q{SELECT dbos.submit('public.enter_at_last', max_attempts => 1000, retry_delay => '10 ms', retry_backoff => 1)});
			print $notes "acknowledged $_\n" foreach @{ $ids // [] };
		}
		else
		{
			# The answer may be lost and the task be there: the same key is sent until there is an answer.
			my $key = "client $number key " . ++$keys;
			my $ids;
			until ($ids || -e $stop)
			{
				$ids = client_ask("SELECT dbos.submit('public.enter', jsonb_build_object('key', '$key'), idempotency_key => '$key')");
			}
			print $notes "acknowledged $ids->[0]\nkey $ids->[0] $key\n" if $ids;
		}
	}
	close $notes;
}

my $folder = PostgreSQL::Test::Utils::tempdir();
my @pids;
foreach my $number (1 .. $clients)
{
	my $pid = fork();
	die unless defined $pid;
	if ($pid == 0)
	{
		eval { client($number, "$folder/client_$number", "$folder/stop") };
		POSIX::_exit(0);
	}
	push @pids, $pid;
}

# ---- the killer ----

# The server as it answers again after a crash.
sub ask
{
	my ($sql) = @_;
	for my $try (1 .. 1200)
	{
		# psql may be gone before it has read what to do.
		local $SIG{PIPE} = 'IGNORE';
		my ($code, $output) = eval { $node->psql('postgres', $sql) };
		return $output if defined $code && $code == 0;
		usleep(50_000);
	}
	die "no answer to: $sql";
}

# A new server is refused until the processes of the killed one have noticed.
sub start_again
{
	for my $try (1 .. 200)
	{
		# A start that failed may have read the pid file of the server before.
		$node->{_pid} = undef;
		return if $node->start(fail_ok => 1);
		usleep(100_000);
	}
	die 'the server does not start again';
}

srand($ENV{DBOS_SEED} // 42);
my %done;
for my $number (1 .. $rounds)
{
	usleep(int(rand(120_000)));
	my $dice = rand();
	if ($dice < 0.03)
	{
		$node->stop('immediate', fail_ok => 1);
		start_again();
		$done{'immediate shutdown'}++;
		next;
	}
	if ($dice < 0.06)
	{
		$node->kill9;
		start_again();
		$done{'postmaster'}++;
		next;
	}
	my ($kind, $signal) =
		$dice < 0.40 ? ('dbos executor', 'KILL')
	  : $dice < 0.70 ? ('dbos executor', 'TERM')
	  : $dice < 0.82 ? ('dbos scheduler', 'KILL')
	  : $dice < 0.92 ? ('dbos launcher', 'KILL')
	  :                ('client backend', 'KILL');
	my $pid = ask("SELECT pid FROM pg_stat_activity WHERE backend_type = '$kind' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1");
	next unless $pid;
	kill $signal, $pid;
	$done{"$kind $signal"}++;
}
my $kills = 0;
$kills += $_ foreach values %done;
note("$kills kills that found somebody: " . join(', ', map { "$done{$_} $_" } sort keys %done));

# ---- the account ----

open(my $stop, '>', "$folder/stop") or die;
close $stop;
waitpid($_, 0) foreach @pids;
ask('SELECT 1');
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.task')
  or diag(ask('SELECT state, wait_reason, count(*) FROM dbos.tasks GROUP BY 1, 2'));

my (%seen, %count);
my $load = "CREATE TABLE known (what text, task bigint, first bigint, key text);\nCOPY known FROM stdin;\n";
foreach my $number (1 .. $clients)
{
	open(my $notes, '<', "$folder/client_$number") or die;
	while (my $line = <$notes>)
	{
		chomp $line;
		my ($what, $task, $rest) = split / /, $line, 3;
		$count{$what}++;
		$load .= join("\t", $what, $task, $what eq 'after' ? $rest : '\N', $what eq 'key' ? $rest : '\N') . "\n";
	}
}
$node->safe_psql('postgres', "$load\\.\nCREATE INDEX ON known (task); CREATE INDEX ON ledger (task); ANALYZE known, ledger;");
cmp_ok($count{$_} // 0, '>', 0, ($count{$_} // 0) . " $_") foreach 'acknowledged', 'rolled_back', 'after', 'key';
is(ask(q{SELECT count(*) FROM known k WHERE what = 'acknowledged' AND NOT EXISTS (SELECT FROM ledger l WHERE l.task = k.task)}),
	'0', 'no acknowledged task is lost');
is(ask('SELECT count(*) - count(DISTINCT task) FROM ledger'), '0', 'no task has its effects twice');
is(ask(q{SELECT (SELECT count(*) FROM ledger WHERE key = 'never') + (SELECT count(*) FROM dbos.tasks WHERE function LIKE '%never%')}),
	'0', 'nothing that was rolled back ran, or is there');
is(ask('SELECT count(*) FROM (SELECT key FROM ledger WHERE key IS NOT NULL GROUP BY key HAVING count(*) > 1) k'), '0', 'no key has effects twice');
is(ask(q{SELECT count(*) FROM known k WHERE what = 'key' AND NOT EXISTS (SELECT FROM ledger l WHERE l.task = k.task AND l.key = k.key)}),
	'0', 'the effect of every key is of the task that was acknowledged');
is(ask(q{SELECT count(*) FROM known k JOIN dbos.tasks a ON a.id = k.task JOIN dbos.tasks b ON b.id = k.first
	WHERE what = 'after' AND NOT a.started_at >= b.finished_at}), '0', 'no task began before the one that it waits for had ended');
is(ask(q{SELECT count(*) FROM ledger l LEFT JOIN dbos.tasks t ON t.id = l.task WHERE t.state IS DISTINCT FROM 'succeeded'}),
	'0', 'whoever left effects has succeeded');
is(ask(q{SELECT count(*) FROM dbos.tasks WHERE state = 'succeeded' AND (result)::bigint <> id}),
	'0', 'every result is of its own task');
cmp_ok(ask('SELECT count(*) FROM dbos.attempts WHERE outcome = \'crashed\''), '>', 0, 'crashes were counted');
$node->stop;
done_testing();
