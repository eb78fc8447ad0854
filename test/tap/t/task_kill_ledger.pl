# Whatever is killed, every acknowledged task leaves its effects exactly once.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $kills = $ENV{DBOS_TORTURE} ? 1000 : 100;
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
CREATE TABLE ledger (task bigint NOT NULL);
CREATE TABLE acknowledged (task bigint NOT NULL);
CREATE FUNCTION enter() RETURNS bigint LANGUAGE sql AS
	'INSERT INTO public.ledger VALUES (dbos.current_task()) RETURNING task';
});

# The server as it answers again after a crash; the postmaster restarts its processes.
sub ask
{
	my ($sql) = @_;
	for my $try (1 .. 600)
	{
		# psql may be gone before it has read what to do.
		local $SIG{PIPE} = 'IGNORE';
		my ($code, $output) = eval { $node->psql('postgres', $sql) };
		return $output if defined $code && $code == 0;
		usleep(50_000);
	}
	die "no answer to: $sql";
}

srand($ENV{DBOS_SEED} // 42);
my %done = (executor => 0, launcher => 0, scheduler => 0, server => 0, terminated => 0);
for my $number (1 .. $kills)
{
	# Acknowledged: the client has the commit's answer.
	ask('INSERT INTO acknowledged SELECT dbos.submit_many(\'public.enter\', array_fill(\'{}\'::jsonb, ARRAY[200]))')
	  if $number % 2 == 1;
	usleep(int(rand(60_000)));
	my $dice = rand();
	if ($dice < 0.04)
	{
		$node->stop('immediate');
		$node->start;
		$done{server}++;
		next;
	}
	my ($kind, $signal) =
		$dice < 0.45 ? ('executor', 'KILL')
	  : $dice < 0.75 ? ('executor', 'TERM')
	  : $dice < 0.88 ? ('scheduler', 'KILL')
	  :                ('launcher', 'KILL');
	my $pid = ask("SELECT pid FROM pg_stat_activity WHERE backend_type = 'dbos $kind' ORDER BY random() LIMIT 1");
	next unless $pid;
	kill $signal, $pid;
	$done{ $signal eq 'TERM' ? 'terminated' : $kind }++;
}
note(join(', ', map { "$_ $done{$_}" } sort keys %done));
ask('SELECT 1');
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.task')
  or diag(ask('SELECT state, wait_reason, count(*) FROM dbos.tasks GROUP BY 1, 2'));

my $acknowledged = ask('SELECT count(*) FROM acknowledged');
cmp_ok($acknowledged, '>', 0, "$acknowledged tasks were acknowledged");
is(ask('SELECT count(*) FROM acknowledged a WHERE NOT EXISTS (SELECT FROM ledger l WHERE l.task = a.task)'),
	'0', 'no acknowledged task is lost');
is(ask('SELECT count(*) - count(DISTINCT task) FROM ledger'), '0', 'no task has its effects twice');
is(ask(q{SELECT count(*) FROM ledger l LEFT JOIN dbos.tasks t ON t.id = l.task WHERE t.state IS DISTINCT FROM 'succeeded'}),
	'0', 'whoever left effects has succeeded');
is(ask(q{SELECT count(*) FROM dbos.tasks WHERE state = 'succeeded' AND (result)::bigint <> id}),
	'0', 'every result is of its own task');
cmp_ok(ask('SELECT count(*) FROM dbos.attempts WHERE outcome = \'crashed\''), '>', 0, 'crashes were counted');
$node->stop;
done_testing();
