# What a task was given, and what it answered, reaches nobody by the log, by pg_stat_activity or by an error's context.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('rights');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\ndbos.task_decision_sampling = 1");
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE ROLE ann LOGIN IN ROLE dbos_user;
CREATE ROLE eve LOGIN IN ROLE dbos_user;
CREATE ROLE watcher LOGIN IN ROLE dbos_monitor, pg_read_all_stats;
CREATE SCHEMA ann AUTHORIZATION ann;
CREATE FUNCTION ann.keep(s text) RETURNS text LANGUAGE sql AS 'SELECT s';
CREATE FUNCTION ann.fail(s text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no: %', s; END$$;
CREATE FUNCTION ann.hold(s text) RETURNS text LANGUAGE plpgsql AS $$BEGIN PERFORM pg_advisory_lock_shared(4711); RETURN s; END$$;
GRANT USAGE ON SCHEMA ann TO ann, eve;
});
# Made by the server, so that no statement has it in its text.
my $secret = $node->safe_psql('postgres', q{SELECT md5('a secret')});

sub has_run
{
	$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM dbos.tasks WHERE finished_at IS NULL') or die;
}

foreach my $settings ('', "log_min_duration_statement = 0\nlog_parameter_max_length = -1\nlog_parameter_max_length_on_error = -1\nlog_min_messages = debug2\nlog_error_verbosity = verbose\nlog_statement = all\n")
{
	$node->append_conf('postgresql.conf', $settings);
	$node->restart;
	my $from = -s $node->logfile;
	$node->safe_psql('postgres', qq{
SET SESSION AUTHORIZATION ann;
SELECT dbos.submit('ann.keep', jsonb_build_array(md5('a secret')));
SELECT dbos.submit('ann.fail', jsonb_build_array(md5('a secret')), max_attempts => 2, retry_delay => '10 ms');
SELECT dbos.submit('ann.keep', jsonb_build_array(md5('a secret')), timeout => '1 hour', deadline => now() + interval '1 hour', idempotency_key => md5('a secret') || clock_timestamp());
SELECT dbos.submit_sql(format('SELECT ann.fail(%L)', md5('a secret')));
SELECT count(*) FROM dbos.submit_many('ann.keep', array_fill(jsonb_build_array(md5('a secret')), ARRAY[20]));
SELECT dbos.cancel(dbos.submit('ann.keep', jsonb_build_array(md5('a secret')), delay => '1 hour'));
});
	has_run();
	my $log = slurp_file($node->logfile, $from);
	cmp_ok(length($log), '>', 0, 'there is a log of ' . length($log) . ' bytes');
	# The SQL text of a task is a statement of its submitter, logged like any other where statements are.
	my @lines = grep { /$secret/ && !/SELECT ann\.fail/ } split /\n/, $log;
	is(scalar(@lines), 0, 'the secret is not in the log' . ($settings ? ' of everything' : '')) or diag(join("\n", @lines[0 .. ($#lines < 5 ? $#lines : 5)]));
}

# While it runs.
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(4711)');
my $task = $node->safe_psql('postgres', q{SET SESSION AUTHORIZATION ann; SELECT dbos.submit('ann.hold', jsonb_build_array(md5('a secret')))});
ok($node->poll_query_until('postgres', "SELECT state = 'running' FROM dbos.tasks WHERE id = $task"), 'a task runs');
foreach my $role ('eve', 'watcher', 'postgres')
{
	is($node->safe_psql('postgres', qq{SET SESSION AUTHORIZATION $role; SELECT count(*) FROM pg_stat_activity a WHERE a::text LIKE '%$secret%' AND pid <> pg_backend_pid()}),
		'0', "$role does not find the secret in pg_stat_activity");
}
foreach my $role ('eve', 'watcher')
{
	is($node->safe_psql('postgres', qq{SET SESSION AUTHORIZATION $role; SELECT count(*) FROM dbos.tasks t WHERE t::text LIKE '%$secret%'}),
		'0', "$role does not find it in dbos.tasks");
	is($node->safe_psql('postgres', qq{SET SESSION AUTHORIZATION $role; SELECT count(*) FROM dbos.attempts t WHERE t::text LIKE '%$secret%'}),
		'0', "$role does not find it in dbos.attempts");
}
is($node->safe_psql('postgres', qq{SET SESSION AUTHORIZATION watcher; SELECT count(*) > 0, count(*) FILTER (WHERE d::text LIKE '%$secret%') FROM dbos.decisions d}),
	't|0', 'nor watcher in the decisions that were recorded');
# A failed dependency names the other task and not what it said.
$holder->query_safe('SELECT pg_advisory_unlock(4711)');
$holder->quit;
has_run();
$node->safe_psql('postgres', q{
GRANT ann TO eve;
SET SESSION AUTHORIZATION ann;
SELECT dbos.submit('pg_catalog.now', after => ARRAY[dbos.submit('ann.fail', jsonb_build_array(md5('a secret')))]);
});
has_run();
is($node->safe_psql('postgres', qq{SELECT error->>'sqlstate', error::text LIKE '%$secret%' FROM dbos.tasks ORDER BY id DESC LIMIT 1}),
	'DB004|f', 'the error of a dependant does not carry that of what it waited for');
$node->stop;
done_testing();
