# What a server says of the length of its clients' statements and transactions ends no task and no worker.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('limits');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'dbos'
statement_timeout = 700
idle_in_transaction_session_timeout = 700
idle_session_timeout = 0
});
$node->start;
# Those who run tasks are meant, not the test: CREATE EXTENSION takes longer than that on a busy machine.
$ENV{PGOPTIONS} = '-c statement_timeout=0';
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE ROLE hasty LOGIN SUPERUSER;
});
my $whole = $node->safe_psql('postgres', q{SELECT current_setting('server_version_num')::int >= 170000}) eq 't';
if ($whole)
{
	$node->append_conf('postgresql.conf', 'transaction_timeout = 700');
	$node->restart;
	$ENV{PGOPTIONS} .= ' -c transaction_timeout=0';
	$node->safe_psql('postgres', q{ALTER ROLE hasty SET transaction_timeout = 600});
}
$node->safe_psql('postgres', q{ALTER ROLE hasty SET statement_timeout = 600});

# Longer than each of them, in the executors of two roles, and a schedule of the future for who waits.
my %task;
my $begun = -s $node->logfile;
foreach my $role ('postgres', 'hasty')
{
	$task{$role} = $node->safe_psql('postgres', q{SELECT dbos.submit('pg_catalog.pg_sleep', '[2]')}, extra_params => [ '-U', $role ]);
}
my $late = $node->safe_psql('postgres', q{SELECT dbos.submit('pg_catalog.upper', '["x"]', delay => '2 seconds')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM dbos.tasks WHERE state IN ('succeeded', 'failed')}), 'all of them end');
foreach my $role ('postgres', 'hasty')
{
	is($node->safe_psql('postgres', "SELECT state, attempt, crashes FROM dbos.tasks WHERE id = $task{$role}"), 'succeeded|1|0',
		"the task of $role has run to its end, at once");
}
is($node->safe_psql('postgres', "SELECT state FROM dbos.tasks WHERE id = $late"), 'succeeded', 'the scheduler has released what was delayed');
unlike(slurp_file($node->logfile, $begun), qr/FATAL:.*timeout/, 'no process was ended for its time');

# A limit that the task itself sets is its own.
SKIP:
{
	skip 'there is no transaction_timeout before PostgreSQL 17', 2 unless $whole;
	my $own = $node->safe_psql('postgres', q{SELECT dbos.submit_sql($$SET transaction_timeout = 300; SELECT pg_sleep(20)$$, max_attempts => 1)});
	ok($node->poll_query_until('postgres', "SELECT state = 'failed' FROM dbos.tasks WHERE id = $own"), 'a task that sets one is ended by it');
	is($node->safe_psql('postgres', q{CALL dbos.run('pg_catalog.upper', '["y"]')}), '"Y"', 'and others go on');
	note($node->safe_psql('postgres', "SELECT to_jsonb(t) FROM dbos.tasks t WHERE id = $own"));
}
$node->stop;
done_testing();
