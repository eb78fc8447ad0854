# Whatever is killed, each submit that a client saw committed leaves its effects once, one rolled back none, and none twice.
# SPDX-License-Identifier: PostgreSQL
#
# Clients submit without a pause and write down, outside of the server, what the
# server told them; meanwhile processes are killed.  A submit whose answer was
# lost may have been committed or not; where the transaction left a mark of its
# own beside the submit, the mark says which.
use strict;
use warnings;
use IO::Handle;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RandomKills;
use Test::More;
use Time::HiRes qw(usleep);

my $kills = $ENV{DBOS_TORTURE} ? 1000 : 100;
my $clients = 3;
my $seed = $ENV{DBOS_SEED} || 42;
my $folder = PostgreSQL::Test::Utils::tempdir;

my $node = PostgreSQL::Test::Cluster->new('ledger');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'dbos'
restart_after_crash = on
fsync = on
autovacuum_naptime = 5
dbos.task_crash_limit = 100000
log_min_messages = error
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE ledger (task bigint NOT NULL, token text NOT NULL);
CREATE TABLE mark (token text NOT NULL, filler text);
CREATE SEQUENCE luck;
CREATE FUNCTION enter(token text) RETURNS text LANGUAGE sql AS
	'INSERT INTO public.ledger VALUES (dbos.current_task(), token) RETURNING token';
CREATE FUNCTION follow(token text, first bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM public.ledger l WHERE l.task = first) THEN
		RAISE EXCEPTION 'task % has not run', first;
	END IF;
	RETURN public.enter(token);
END $$;
CREATE FUNCTION slowly(token text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM public.enter(token);
	PERFORM pg_sleep(random() * 0.1);
	RETURN token;
END $$;
CREATE FUNCTION seldom(token text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM public.enter(token);
	IF nextval('public.luck') % 100 = 0 THEN
		RAISE EXCEPTION 'seldom luck';
	END IF;
	RETURN token;
END $$;
CREATE FUNCTION unlucky(token text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM public.enter(token);
	IF nextval('public.luck') % 3 <> 0 THEN
		RAISE EXCEPTION 'no luck';
	END IF;
	RETURN token;
END $$;
});

my $killed = RandomKills->new($node, $folder);
sub ask { return $killed->ask(@_) }

# ---- a client ----

# Submits until it is told to stop.  Its file gets a line for each token:
# "committed TOKEN ID", "rolled TOKEN" or "unknown TOKEN"; a key whose answer was
# lost is submitted again until there is one.
sub client
{
	my ($number) = @_;
	my ($send, $connect) = $killed->session("client$number", '-F', ' ');
	open(my $log, '>', "$folder/client$number") or die $!;
	$log->autoflush(1);
	srand($seed * 100 + $number);

	$connect->();
	for (my $step = 1; !-e "$folder/stop"; $step++)
	{
		my $token = "c$number.$step";
		my $dice = rand();
		my ($sql, @tokens, $key, $block, $rollback);

		if ($step % 20 == 0)
		{
			# Not more than can be worked off: the kills shall meet tasks that run.
			my ($all, $waiting) = $send->('SELECT count(*) FROM dbos.task;');
			$all ? usleep($waiting > 2000 ? 200_000 : 0) : $connect->();
		}
		if ($dice < 0.3)
		{
			my $function = $dice < 0.1 ? 'slowly' : 'enter';
			$sql = "SELECT dbos.submit('public.$function', '[\"$token\"]');";
			@tokens = ($token);
		}
		elsif ($dice < 0.4)
		{
			$sql = "SELECT dbos.submit('public.unlucky', '[\"$token\"]', max_attempts => 1000, retry_delay => '1 ms', retry_backoff => 1);";
			@tokens = ($token);
		}
		elsif ($dice < 0.5)
		{
			@tokens = map { "$token.$_" } 1 .. 30;
			# As many as share transactions, with errors among them.
			my $documents = 'ARRAY[' . join(',', map { "'[\"$_\"]'" } @tokens) . ']::jsonb[]';
			$sql = $dice < 0.45 ? "SELECT dbos.submit_many('public.enter', $documents);"
			  : "SELECT dbos.submit_many('public.seldom', $documents, max_attempts => 1000, retry_delay => '1 ms', retry_backoff => 1);";
		}
		elsif ($dice < 0.53)
		{
			# Cancelled while they wait, run, or have run in a transaction that is not committed yet.
			my @cancelled = map { "$token.x$_" } 1 .. 20;
			print $log join('', map { "cancelled $_\n" } @cancelled);
			my ($submitted, @ids) = $send->('SELECT dbos.submit_many(\'public.enter\', ARRAY[' . join(',', map { "'[\"$_\"]'" } @cancelled) . ']::jsonb[]);');
			($submitted) = $send->("SELECT dbos.cancel($_);") foreach grep { /^[0-9]+$/ } @ids[ 0 .. 4 ], @ids[ -5 .. -1 ];
			$connect->() unless $submitted;
			next;
		}
		elsif ($dice < 0.7)
		{
			$key = 1;
			@tokens = ($token);
			$sql = "SELECT dbos.submit('public.enter', '[\"$token\"]', idempotency_key => '$token');";
		}
		elsif ($dice < 0.85)
		{
			@tokens = ("$token.1", "$token.2");
			$block = 1;
			$sql = "\\set first 0\nSELECT dbos.submit('public.enter', '[\"$token.1\"]') AS first \\gset\nSELECT :first;\n"
			  . "SELECT dbos.submit('public.follow', jsonb_build_array('$token.2', :first), after => ARRAY[:first]::bigint[]);";
		}
		else
		{
			@tokens = map { "$token.m$_" } 1 .. 3;
			$block = 1;
			$rollback = rand() < 0.3;
			$sql = "INSERT INTO mark SELECT 'filler', repeat('x', 100) FROM generate_series(1, 500);\n"
			  . join("\n", map { "INSERT INTO mark VALUES ('$_');\nSELECT dbos.submit('public.enter', '[\"$_\"]');" } @tokens);
			# What a savepoint takes back is rolled back whatever becomes of the rest.
			$sql .= "\nSAVEPOINT s;\nSELECT 'taken back', dbos.submit('public.enter', '[\"$token.back\"]');\nROLLBACK TO s;";
			print $log "rolled $token.back\n";
		}
		# What a block prints before its COMMIT is no promise.
		$sql = "BEGIN;\n$sql\n" . ($rollback ? 'ROLLBACK;' : 'COMMIT;') if $block;

		my ($all, @lines) = $send->($sql);
		while ($key && !$all)
		{
			$connect->();
			($all, @lines) = $send->($sql);
		}
		my @ids = grep { /^[0-9]+$/ } @lines;
		my $end = $block ? $lines[-1] // '' : '';
		if ($all && @ids == @tokens && !$rollback && (!$block || $end eq 'COMMIT'))
		{
			print $log join('', map { "committed $tokens[$_] $ids[$_]\n" } 0 .. $#tokens);
			if ($key && rand() < 0.3)
			{
				my ($again, $id) = $send->($sql);
				print $log "committed $token $id\n" if $again && defined $id;
				$connect->() unless $again;
			}
		}
		else
		{
			# Without a COMMIT sent there is none, whatever became of the connection; and
			# ids are no proof, since a crash makes the sequence give them out again.
			print $log join('', map { ($rollback ? 'rolled' : 'unknown') . " $_\n" } @tokens);
		}
		$connect->() unless $all;
	}
}

my @clients = map { $killed->begin(\&client, $_) } 1 .. $clients;
$killed->run(kills => $kills, seed => $seed, whom => [
	[ 4,  'postmaster' ],
	[ 4,  'stop immediate' ],
	[ 2,  'stop fast' ],
	[ 28, 'executor', 'KILL', "backend_type = 'dbos executor'" ],
	[ 22, 'executor', 'TERM', "backend_type = 'dbos executor'" ],
	[ 10, 'scheduler', 'KILL', "backend_type = 'dbos scheduler'" ],
	[ 10, 'scheduler', 'TERM', "backend_type = 'dbos scheduler'" ],
	[ 8,  'launcher', 'KILL', "backend_type = 'dbos launcher'" ],
	[ 12, 'client', 'KILL', "application_name LIKE 'client%'" ] ]);

# ---- the sum ----

append_to_file("$folder/stop", '');
is($killed->reap(@clients), $clients, 'every client came to its end');
ask('SELECT 1');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.task'), 'every task ends')
  or diag(ask('SELECT state, wait_reason, count(*) FROM dbos.tasks GROUP BY 1, 2'));

my (%committed, %rolled, %unknown, %cancelled, @changed);
foreach my $number (1 .. $clients)
{
	foreach my $line (split /\n/, slurp_file("$folder/client$number"))
	{
		my ($what, $token, $id) = split / /, $line;
		if ($what eq 'committed')
		{
			push @changed, $token if defined $committed{$token} && $committed{$token} ne $id;
			$committed{$token} = $id;
		}
		elsif ($what eq 'rolled') { $rolled{$token} = 1; }
		elsif ($what eq 'cancelled') { $cancelled{$token} = 1; }
		else { $unknown{$token} = 1; }
	}
	# A client may be cut off; nothing that it asks for is refused.
	is($killed->refused("client$number"), '', "client $number was refused nothing");
}
my (%task_of, %token_of, @twice);
foreach my $line (split /\n/, ask('SELECT token, task FROM ledger'))
{
	my ($token, $task) = split /\|/, $line;
	push @twice, $token if exists $task_of{$token} || exists $token_of{$task};
	$task_of{$token} = $task;
	$token_of{$task} = $token;
}
my %mark = map { $_ => 1 } split /\n/, ask(q{SELECT token FROM mark WHERE token <> 'filler'});

sub some { return join(' ', grep { defined } @_[ 0 .. 9 ]) }

note(sprintf('%d submits committed, %d rolled back, %d whose answer was lost, of which %d were committed; %d in the ledger',
	scalar keys %committed, scalar keys %rolled, scalar keys %unknown, scalar(grep { $task_of{$_} } keys %unknown),
	scalar keys %task_of));
cmp_ok(scalar keys %committed, '>', $kills, 'clients saw submits committed');
cmp_ok(scalar keys %rolled, '>', 0, 'clients rolled submits back');
is(some(grep { !exists $task_of{$_} } keys %committed), '', 'no committed submit is lost');
is(some(grep { $task_of{$_} != $committed{$_} } grep { exists $task_of{$_} } keys %committed),
	'', 'each ran as the task that the client was told of');
is(some(@changed), '', 'a key has one task however often it is submitted');
is(some(@twice), '', 'none has its effects twice');
is(some(grep { exists $task_of{$_} } keys %rolled), '', 'none that was rolled back ran');
is(some(grep { !exists $committed{$_} && !exists $unknown{$_} && !exists $cancelled{$_} } keys %task_of), '', 'none ran that no client submitted');
is(some(grep { !exists $task_of{$_} } keys %mark), '', 'where the transaction of a submit left its mark, the task ran');
is(some(grep { /m/ && !exists $mark{$_} } keys %task_of), '', 'where it left none, the task did not');
my (%submitted, %ran);
foreach my $token (keys %committed, keys %unknown)
{
	my ($step) = $token =~ /^(c\d+\.\d+)/;
	$submitted{$step}++;
	$ran{$step}++ if exists $task_of{$token};
}
is(some(grep { $ran{$_} != $submitted{$_} } keys %ran), '', 'what was submitted together ran, all or none');
is(ask(q{SELECT count(*) FROM ledger l LEFT JOIN dbos.tasks t ON t.id = l.task WHERE t.state IS DISTINCT FROM 'succeeded'}),
	'0', 'whoever left effects has succeeded');
is(ask(q{SELECT count(*) FROM dbos.tasks t LEFT JOIN ledger l ON l.task = t.id WHERE t.state <> 'cancelled' AND (t.state <> 'succeeded' OR t.result #>> '{}' IS DISTINCT FROM l.token)}),
	'0', 'whoever has ended and was not cancelled has succeeded, with its own result')
  or diag(ask(q{SELECT id, state, function, attempt, crashes, error FROM dbos.tasks WHERE state NOT IN ('succeeded', 'cancelled') LIMIT 5}));
is(some(map { (split /\|/)[0] } grep { my ($token) = split /\|/; !exists $cancelled{$token} }
		split /\n/, ask(q{SELECT args->>0 FROM dbos.tasks WHERE state = 'cancelled'})), '', 'none was cancelled that nobody cancelled');
note(scalar(keys %cancelled) . ' that were to be cancelled, of which ' . ask(q{SELECT count(*) FROM dbos.tasks WHERE state = 'cancelled'}) . ' were in time');
cmp_ok(ask(q{SELECT count(*) FROM dbos.attempts WHERE outcome = 'crashed'}), '>', 0, 'crashes were counted');
cmp_ok(ask(q{SELECT count(*) FROM dbos.attempts WHERE outcome = 'failed'}), '>', 0, 'attempts failed, and were made again');
is(ask(q{SELECT count(*) FROM dbos.tasks t WHERE t.crashes <>
	(SELECT count(*) FROM dbos.attempts a WHERE a.task_id = t.id AND a.outcome = 'crashed')}),
	'0', 'each crash that is charged is an attempt');
note(ask(q{SELECT count(*) || ' tasks that succeeded, in ' || count(DISTINCT xid) || ' transactions' FROM dbos.task_history WHERE state = 'succeeded'}));
note('attempts: ' . join(', ', split /\n/, ask('SELECT outcome || \' \' || count(*) FROM dbos.attempts GROUP BY outcome ORDER BY 1')));
$node->stop;
done_testing();
