# History goes by age and by size, a partition at a time, and takes along what hangs on it; what waits stays.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('retention');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\ndbos.task_decision_sampling = 1");
$node->start;
$node->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION dbos');
if ($node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'dbos.clock_offset'}) ne '1')
{
	$node->stop;
	plan skip_all => 'the clock cannot be driven: the library was not built with -DDBOS_TESTING';
}
$node->safe_psql('postgres', q{
CREATE FUNCTION fail_once() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM dbos.attempts WHERE task_id = dbos.current_task()) THEN
		RAISE EXCEPTION 'not yet';
	END IF;
END $$;
});

sub submit { my ($options) = @_; return $node->safe_psql('postgres', "SELECT dbos.submit($options)"); }
sub drained { return $node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.tasks WHERE finished_at IS NULL AND wait_reason IS DISTINCT FROM 'time'}); }
sub partitions
{
	return $node->safe_psql('postgres', q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'dbos.task_history'::regclass
		AND right(inhrelid::regclass::text, 8) <= to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')});
}
# The scheduler looks at its history when it comes.
sub three_days_later
{
	my ($settings) = @_;
	$node->append_conf('postgresql.conf', "dbos.clock_offset = 259200\n$settings");
	$node->restart;
}
sub today
{
	$node->append_conf('postgresql.conf', 'dbos.clock_offset = 0');
	$node->restart;
}

my $old = submit(q{'pg_catalog.now', idempotency_key => 'old'});
my $failed = submit(q{'fail_once', max_attempts => 3, retry_delay => '10 ms'});
my $waits = submit(q{'pg_catalog.now', idempotency_key => 'waits', delay => '30 days'});
ok(drained(), 'tasks have run');
is($node->safe_psql('postgres', "SELECT count(*) FROM dbos.attempts WHERE task_id = $failed"), '2', 'with attempts');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM dbos.decisions'), '>', 0, 'and decisions');
is(submit(q{'pg_catalog.now', idempotency_key => 'old'}), $old, 'a key holds while its task is known');

# Ten days are kept: three days later all is there.
three_days_later('dbos.task_history_days = 10');
is($node->safe_psql('postgres', q{CALL dbos.run('pg_catalog.upper', '["later"]')}), '"LATER"', 'three days later tasks run');
is($node->safe_psql('postgres', "SELECT count(*) FROM dbos.tasks WHERE id IN ($old, $failed)"), '2', 'what is younger than the limit stays');

# One day is kept.
three_days_later('dbos.task_history_days = 1');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM dbos.tasks WHERE id IN ($old, $failed)"), 'what is older than the limit goes');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM dbos.task_attempt"), 'its attempts too');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM dbos.decision"), 'and the decisions');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM dbos.task_key WHERE key = 'old'"), 'and its key');
is($node->safe_psql('postgres', "SELECT state FROM dbos.tasks WHERE id = $waits"), 'waiting', 'a task that waits stays');
is(submit(q{'pg_catalog.now', idempotency_key => 'waits'}), $waits, 'and so does its key');
isnt(submit(q{'pg_catalog.now', idempotency_key => 'old', delay => '30 days'}), $old, 'the old key is free again');
my ($code, undef, $errors) = $node->psql('postgres', "SELECT dbos.result($old)");
like($errors, qr/task $old does not exist/, 'and its result is no more');

# Back today: a partition is made again for what ends now, and one that is too big goes when it is not among the newest two.
today();
$node->append_conf('postgresql.conf', 'dbos.task_history_days = 1000');
$node->reload;
$node->safe_psql('postgres', q{SELECT count(dbos.submit('pg_catalog.length(text)', jsonb_build_array((SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 100 + i - i))))) FROM generate_series(1, 1000) i});
ok(drained(), 'a thousand tasks with three kilobytes each have run');
cmp_ok(partitions(), '>', 0, 'their partition is there');
three_days_later("dbos.task_history_days = 1000\ndbos.task_history_size = 1000MB");
is($node->safe_psql('postgres', q{CALL dbos.run('pg_catalog.upper', '["big"]')}), '"BIG"', 'three days later tasks run');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.tasks WHERE function LIKE '%length%'}), '==', 1000, 'below the limit of size all stay');
three_days_later('dbos.task_history_size = 1MB');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM dbos.tasks WHERE function LIKE '%length%'}), 'beyond it the oldest go');
is($node->safe_psql('postgres', q{CALL dbos.run('pg_catalog.upper', '["on"]')}), '"ON"', 'and tasks run on');
$node->stop;
done_testing();
