# A restored or copied database has every row and runs nothing until dbos.start().
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('copies');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE original');
$node->safe_psql('original', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE TABLE ledger (name text);
CREATE FUNCTION note(name text) RETURNS void LANGUAGE sql AS 'INSERT INTO public.ledger VALUES (name)';
CREATE FUNCTION fail() RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'bad'; END$$;
SELECT dbos.create_queue('held', concurrency => 3);
SELECT dbos.pause_queue('held');
});
$node->safe_psql('original', q{
SELECT dbos.submit('note', '["ended"]');
SELECT dbos.submit('fail', max_attempts => 2, retry_delay => '1 ms');
});
$node->poll_query_until('original', q{SELECT count(*) = 0 FROM dbos.task});
# One schedule is far off, one would fire each second.
$node->safe_psql('original', q{SELECT dbos.schedule('far', '0 0 1 1 *', 'note', '["far"]'), dbos.schedule('often', '* * * * * *', 'note', '["often"]'), dbos.pause_schedule('often')});
# What ran is profiled a moment later.
$node->poll_query_until('original', q{SELECT count(*) = 2 FROM dbos.function_stats});
my $first = $node->safe_psql('original', q{SELECT dbos.submit('note', '["held"]', queue => 'held', idempotency_key => 'k')});
$node->safe_psql('original', qq{SELECT dbos.submit('note', '["after"]', after => ARRAY[$first]); SELECT dbos.submit('note', '["later"]', delay => '1 hour')});

my $counts = q{
SELECT string_agg(c.relname || '=' || (xpath('/row/n/text()', query_to_xml('SELECT count(*) AS n FROM dbos.' || quote_ident(c.relname), false, true, '')))[1]::text, ' ' ORDER BY c.relname)
FROM pg_class c WHERE c.relnamespace = 'dbos'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname NOT IN ('identity', 'decision')};
my $before = $node->safe_psql('original', $counts);
note($before);

my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '-h', $node->host, '-p', $node->port, '-f', $dump, 'original' ], 'pg_dump succeeds');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $node->host, '-p', $node->port, '-d', 'restored', '-f', $dump ], 'the dump restores');
$node->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE original');

# The original goes on while the copies lie still.
$node->safe_psql('original', q{SELECT dbos.resume_queue('held')});
ok($node->poll_query_until('original', q{SELECT count(*) = 3 FROM ledger}), 'the original goes on');

foreach my $copy ('restored', 'copied')
{
	is($node->safe_psql($copy, $counts), $before, "$copy: every row of every table is there");
	is($node->safe_psql($copy, q{SELECT ok FROM dbos.health() WHERE component = 'identity'}), 'f', "$copy: health says that it is a copy");
	is($node->safe_psql($copy, q{SELECT name, next_at, paused FROM dbos.schedules WHERE name = 'far'}),
		$node->safe_psql('original', q{SELECT name, next_at, paused FROM dbos.schedules WHERE name = 'far'}), "$copy: a schedule fires when it did");
	$node->safe_psql($copy, q{SELECT dbos.resume_queue('held'); SELECT dbos.resume_schedule('often')});
	my $new = $node->safe_psql($copy, q{SET client_min_messages = error; SELECT dbos.submit('note', '["new"]')});
	ok($new > $first, "$copy: ids go on where the original's were");
	# Whoever wanted to run it had the time that the original needs for the same.
	my $twin = $node->safe_psql('original', q{SELECT dbos.submit('note', '["twin"]')});
	$node->safe_psql('original', "SELECT dbos.wait($twin)");
	is($node->safe_psql($copy, q{SELECT count(*) FROM ledger}), '1', "$copy: nothing runs");
	is($node->safe_psql($copy, q{SELECT count(*) FROM dbos.schedule_runs}), '0', "$copy: nothing fires");
	$node->safe_psql($copy, q{SELECT dbos.unschedule('often')});
	is($node->safe_psql($copy, qq{SELECT state, wait_reason FROM dbos.tasks WHERE id = $new}), 'waiting|no worker', "$copy: and the task says why");
	$node->safe_psql($copy, 'SELECT dbos.start()');
	ok($node->poll_query_until($copy, q{SELECT count(*) = 4 FROM ledger}), "$copy: runs after dbos.start()")
	  or diag($node->safe_psql($copy, 'SELECT id, state, wait_reason FROM dbos.tasks'));
}

# DROP, RENAME and TEMPLATE find no worker in their way.
$node->safe_psql('copied', q{SELECT dbos.submit('note', '["busy"]')});
$node->safe_psql('postgres', 'ALTER DATABASE copied RENAME TO renamed');
$node->safe_psql('renamed', q{SELECT dbos.submit('note', '["renamed"]')});
ok($node->poll_query_until('renamed', q{SELECT count(*) = 1 FROM ledger WHERE name = 'renamed'}), 'a renamed database goes on');
$node->safe_psql('postgres', 'DROP DATABASE renamed');
$node->safe_psql('original', q{SELECT dbos.submit('note', '["others"]')});
ok($node->poll_query_until('original', q{SELECT count(*) = 1 FROM ledger WHERE name = 'others'}), 'others go on after a DROP DATABASE');

# DROP EXTENSION without CASCADE leaves nothing but the roles.
$node->safe_psql('restored', 'DROP EXTENSION dbos');
is($node->safe_psql('restored', q{SELECT count(*) FROM pg_namespace WHERE nspname = 'dbos'}), '0', 'nothing is left of a dropped extension');
$node->safe_psql('restored', 'SET client_min_messages = warning; CREATE EXTENSION dbos');
$node->safe_psql('restored', q{SELECT dbos.submit('note', '["anew"]')});
ok($node->poll_query_until('restored', q{SELECT count(*) = 1 FROM ledger WHERE name = 'anew'}), 'and it can be made anew');
$node->stop;
done_testing();
