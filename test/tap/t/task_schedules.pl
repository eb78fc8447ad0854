# Every planned time of a schedule has one outcome, whatever is killed, in each database, and on a promoted standby.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $kills = $ENV{DBOS_TORTURE} ? 100 : 8;
my $seed = $ENV{DBOS_SEED} || time;
note("seed $seed, for DBOS_SEED");
srand($seed);
my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\ndbos.task_crash_limit = 1000\nrestart_after_crash = on");
$node->start;
my $drivable = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'dbos.clock_offset'});
my $set_up = q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE fired (schedule text, task bigint);
CREATE FUNCTION note(schedule text) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.fired VALUES (schedule, dbos.current_task()) $$;
};
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql($_, $set_up) for 'postgres', 'other';

# In two databases, a time each second; all of them are to be made up for.
$node->safe_psql($_, q{
SELECT dbos.schedule('each second', '* * * * * *', 'note', '["each second"]', overlap => 'allow', catch_up => true);
SELECT dbos.schedule('every', '@every 1s', 'note', '["every"]', overlap => 'queue', catch_up => true);
SELECT dbos.schedule_sql('clean', '*/2 * * * * *', 'VACUUM fired');
}) for 'postgres', 'other';

# Of a database: times with other than one outcome, or gaps, or tasks that did not run once.
sub check
{
	my ($server, $database, $name) = @_;
	$server->safe_psql($database, q{SELECT dbos.pause_schedule(s) FROM unnest(ARRAY['each second', 'every', 'clean']) s});
	ok($server->poll_query_until($database, 'SELECT count(*) = 0 FROM dbos.task'), "$name: all run");
	is($server->safe_psql($database, q{SELECT count(*) FROM (SELECT schedule, planned_at FROM dbos.schedule_runs GROUP BY 1, 2 HAVING count(*) <> 1) d}),
		'0', "$name: one outcome for each time");
	is($server->safe_psql($database, q{SELECT count(*) FROM (SELECT planned_at - lag(planned_at) OVER (PARTITION BY schedule ORDER BY planned_at) AS gap
		FROM dbos.schedule_runs WHERE schedule IN ('each second', 'every')) g WHERE gap <> '1 second'}), '0', "$name: no time is left out");
	is($server->safe_psql($database, q{SELECT count(*) FROM dbos.schedule_runs WHERE schedule <> 'clean' AND outcome NOT IN ('submitted', 'queued')}),
		'0', "$name: all were made up for");
	is($server->safe_psql($database, q{SELECT count(*) FROM
		(SELECT r.schedule, r.task_id FROM dbos.schedule_runs r WHERE r.schedule <> 'clean') r
		FULL JOIN (SELECT schedule, task, count(*) FROM fired GROUP BY 1, 2) f ON f.task = r.task_id
		WHERE f.schedule IS DISTINCT FROM r.schedule OR f.count <> 1}), '0', "$name: each ran once");
	cmp_ok($server->safe_psql($database, q{SELECT count(*) FROM dbos.tasks WHERE function = 'SQL' AND state = 'succeeded'}), '>', 0, "$name: so does VACUUM");
	$server->safe_psql($database, q{SELECT dbos.resume_schedule(s) FROM unnest(ARRAY['each second', 'every', 'clean']) s});
}

for my $round (1 .. $kills)
{
	usleep(1000 * (200 + rand(1500)));
	my $choice = rand();
	if ($choice < 0.6)
	{
		my $pid = $node->safe_psql('postgres', q{SELECT pid FROM dbos.workers ORDER BY kind = 'scheduler' DESC, random() LIMIT 1});
		my $log = -s $node->logfile;
		# Until the next start, not while the server still answers.
		$node->wait_for_log(qr/database system is ready to accept connections/, $log) if $pid =~ /^\d+$/ && kill('KILL', $pid);
	}
	else
	{
		$node->stop($choice < 0.8 ? 'immediate' : 'fast');
		$node->start;
	}
}
check($node, 'postgres', 'after kills');
check($node, 'other', 'after kills, in another database');

# Promoted standbys go on with the times, one after the other of a chain.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$standby->backup('second');
my $second = PostgreSQL::Test::Cluster->new('second');
$second->init_from_backup($standby, 'second', has_streaming => 1);
$second->start;
my $runs = $node->safe_psql('postgres', q{SELECT count(*) FROM dbos.schedule_runs});
ok($node->poll_query_until('postgres', "SELECT count(*) > $runs + 4 FROM dbos.schedule_runs"), 'the primary fires');
$node->stop('fast');
$runs = $standby->safe_psql('postgres', q{SELECT count(*) FROM dbos.schedule_runs});
$standby->promote;
ok($standby->poll_query_until('postgres', "SELECT count(*) > $runs + 4 FROM dbos.schedule_runs"), 'the promoted one goes on');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM (SELECT schedule, planned_at FROM dbos.schedule_runs GROUP BY 1, 2 HAVING count(*) <> 1) d}),
	'0', 'with one outcome for each time');
$standby->wait_for_catchup($second, 'replay', $standby->lsn('insert'));
$standby->stop('fast');
$runs = $second->safe_psql('postgres', q{SELECT count(*) FROM dbos.schedule_runs});
$second->promote;
ok($second->poll_query_until('postgres', "SELECT count(*) > $runs + 4 FROM dbos.schedule_runs"), 'so does the second of a chain');
is($second->safe_psql('postgres', q{SELECT count(*) FROM (SELECT schedule, planned_at FROM dbos.schedule_runs GROUP BY 1, 2 HAVING count(*) <> 1) d}),
	'0', 'with one outcome for each time too');
$standby = $second;

# What may happen to a schedule.
$standby->safe_psql('postgres', q{
SELECT dbos.unschedule(s) FROM unnest(ARRAY['each second', 'every', 'clean']) s;
CREATE ROLE writer LOGIN IN ROLE dbos_user;
GRANT ALL ON SCHEMA public TO writer;
GRANT INSERT ON fired TO writer;
});
$standby->safe_psql('postgres', q{
CREATE FUNCTION writers() RETURNS void LANGUAGE sql AS $$ INSERT INTO public.fired VALUES ('writers', dbos.current_task()) $$;
CREATE FUNCTION slowly() RETURNS void LANGUAGE sql AS $$ SELECT pg_catalog.pg_sleep(1.2) $$;
SELECT dbos.schedule('writers', '* * * * * *', 'writers');
SELECT dbos.schedule('skips', '* * * * * *', 'slowly');
SELECT dbos.schedule('queues', '* * * * * *', 'slowly', overlap => 'queue', timeout => '300 milliseconds');
SELECT dbos.schedule('allows', '* * * * * *', 'slowly', overlap => 'allow');
}, extra_params => [ '-U', 'writer' ]);
ok($standby->poll_query_until('postgres', q{SELECT count(*) > 2 FROM dbos.schedule_runs WHERE schedule = 'writers' AND outcome = 'submitted'}), 'another role fires');
$standby->safe_psql('postgres', 'REVOKE EXECUTE ON FUNCTION writers() FROM PUBLIC, writer');
ok($standby->poll_query_until('postgres', q{SELECT count(*) > 0 FROM dbos.tasks WHERE function = 'public.writers()' AND error->>'sqlstate' = '42501'}),
	'without the right to the function its task fails, and says why');
ok($standby->poll_query_until('postgres', q{SELECT count(*) > 1 FROM dbos.schedule_runs WHERE schedule = 'skips' AND outcome = 'skipped'}), 'one that goes on is not overtaken');
ok($standby->poll_query_until('postgres', q{SELECT count(*) > 1 FROM dbos.tasks WHERE state = 'failed' AND timeout IS NOT NULL AND function = 'public.slowly()'}),
	'one that is queued runs after one that failed');
ok($standby->poll_query_until('postgres', q{SELECT count(*) > 2 FROM dbos.schedule_runs WHERE schedule = 'allows' AND outcome = 'submitted'}), 'or side by side');
$standby->safe_psql('postgres', q{
DROP OWNED BY writer;
UPDATE dbos.schedule SET timezone = 'Nowhere/Land' WHERE name = 'allows';
});
$standby->safe_psql('postgres', 'DROP FUNCTION IF EXISTS writers(), slowly()');
ok($standby->poll_query_until('postgres', q{SELECT count(*) > 0 FROM dbos.schedule_runs WHERE schedule = 'allows' AND outcome = 'failed' AND error->>'message' LIKE '%Nowhere%'}),
	'a time zone that is gone is told');
ok($standby->poll_query_until('postgres', q{SELECT count(*) > 0 FROM dbos.tasks WHERE function = 'public.writers()' AND error->>'sqlstate' = '42883'}), 'and so is a function');
$standby->safe_psql('postgres', q{SELECT dbos.schedule('of one', '* * * * * *', 'pg_catalog.now')});
ok($standby->poll_query_until('postgres', q{SELECT count(*) > 1 FROM dbos.schedule_runs WHERE schedule = 'of one' AND outcome = 'submitted'}), 'no other schedule stops for that');
is($standby->safe_psql('postgres', q{SELECT count(dbos.unschedule(name)) FROM dbos.schedules}), '5', 'an administrator ends them all');

# Those that were queued wait for an end, not for a success, also once their schedule is gone.
$standby->safe_psql('postgres', q{
CREATE FUNCTION slowly_in_vain() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_catalog.pg_sleep(2.2); RAISE 'in vain'; END $$;
SELECT dbos.schedule('in vain', '* * * * * *', 'slowly_in_vain', overlap => 'queue');
});
ok($standby->poll_query_until('postgres', q{SELECT count(*) > 1 FROM dbos.schedule_runs WHERE schedule = 'in vain' AND outcome = 'queued'}), 'two are queued');
$standby->safe_psql('postgres', q{SELECT dbos.unschedule('in vain')});
ok($standby->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.task WHERE function = 'public.slowly_in_vain()'}), 'they end without their schedule');
is($standby->safe_psql('postgres', q{SELECT count(*) > 2, bool_and(state = 'failed' AND error->>'message' = 'in vain') FROM dbos.tasks WHERE function = 'public.slowly_in_vain()'}),
	't|t', 'each by itself, whatever became of the one before');

# Times that passed while nobody was there.
if ($drivable)
{
	$standby->safe_psql('postgres', q{
SELECT dbos.schedule('forgets', '0 * * * *', 'pg_catalog.now');
SELECT dbos.schedule('makes up', '0 * * * *', 'pg_catalog.now', catch_up => true, overlap => 'allow');
SELECT dbos.schedule('makes up for some', '* * * * *', 'pg_catalog.now', catch_up => true, overlap => 'allow');
});
	$standby->stop;
	$standby->append_conf('postgresql.conf', 'dbos.clock_offset = ' . (2 * 86400 + 1800));
	$standby->start;
	ok($standby->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.schedules WHERE next_at < now() + interval '2 days'}), 'two days later');
	my $outcomes = $standby->safe_psql('postgres', q{SELECT schedule, outcome, count(*) FROM dbos.schedule_runs GROUP BY 1, 2 ORDER BY 1, 2});
	like($outcomes, qr/^forgets\|missed\|1$/m, 'missed times are told');
	like($outcomes, qr/^makes up\|submitted\|4[89]$/m, 'or made up for');
	like($outcomes, qr/^makes up for some\|missed\|1\nmakes up for some\|submitted\|100\d$/m, 'within bounds');
}
$standby->stop;
done_testing();
