# What was open when a session, the server or a dump ended leaves nothing behind; among many who open, unlink, write and close the same names no file is lost and none stays; a lock keeps all others off.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use CrashedServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('open_file');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\nrestart_after_crash = on\n");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE files');
$node->safe_psql('files', 'SET client_min_messages = warning; CREATE EXTENSION dbos');

sub left_open { return $node->safe_psql('files', 'SELECT (SELECT count(*) FROM dbos.open_file), (SELECT count(*) FROM dbos.unlinked_file), (SELECT count(*) FROM dbos.inode WHERE link_count = 0), (SELECT count(*) FROM dbos.file_lock)'); }
sub nothing_left
{
	my $what = shift;
	ok($node->poll_query_until('files', 'SELECT NOT EXISTS (SELECT FROM dbos.open_file) AND NOT EXISTS (SELECT FROM dbos.unlinked_file) AND NOT EXISTS (SELECT FROM dbos.inode WHERE link_count = 0) AND NOT EXISTS (SELECT FROM dbos.file_lock)'), $what)
	  or diag(left_open());
}

# A session that has a file open without a name, one with a name, and a lock.
sub session_with_open_files
{
	my $session = $node->background_psql('files', on_error_stop => 0);
	$session->query_safe(q{SELECT dbos.write_text('/nameless', repeat('nameless ', 10000)), dbos.write_text('/named', 'named')});
	$session->query_safe(q{SELECT dbos.lock_file(dbos.open_file('/nameless', 'r+')), dbos.open_file('/named')});
	$session->query_safe(q{SELECT dbos.unlink('/nameless')});
	is(left_open(), '2|1|1|1', 'two are open, one of them without a name, and locked');
	return $session;
}

# ---- the session ends; is killed; the server is stopped, and stopped at once ----
my $session = session_with_open_files();
$session->quit;
nothing_left('the background closes what a session has left open when it ended');
$session = session_with_open_files();
my $pid = $node->safe_psql('files', 'SELECT DISTINCT process_id FROM dbos.open_file');
$node->safe_psql('files', "SELECT pg_terminate_backend($pid)");
$session->{run}->finish;
nothing_left('and when it was terminated');
$session = session_with_open_files();
$pid = $node->safe_psql('files', 'SELECT DISTINCT process_id FROM dbos.open_file');
kill_process($pid);
eval { $session->{run}->finish };
is(answer_of($node, 'postgres', 'SELECT true'), 't', 'the server comes back after a session was killed');
nothing_left('and what it had open is gone');
$session = session_with_open_files();
$node->stop('fast');
eval { $session->{run}->finish };
$node->start;
nothing_left('after a restart too');
$session = session_with_open_files();
$node->stop('immediate');
eval { $session->{run}->finish };
$node->start;
nothing_left('and after a stop at once');
is($node->safe_psql('files', q{SELECT dbos.read_text('/named')}), 'named', 'what has a name is there');

# ---- a dump ----
$session = session_with_open_files();
my $folder = PostgreSQL::Test::Utils::tempdir();
my @to = ('-h', $node->host, '-p', $node->port);
$node->command_ok([ 'pg_dump', @to, '-Fc', '-f', "$folder/dump", 'files' ], 'pg_dump of files that are open');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', @to, '-d', 'restored', "$folder/dump" ], 'pg_restore');
ok($node->poll_query_until('restored', q{SELECT dbos.sweep_open_files() = 0 AND NOT EXISTS (SELECT FROM dbos.unlinked_file) AND NOT EXISTS (SELECT FROM dbos.inode WHERE link_count = 0)}), 'the copy has no file without a name');
is($node->safe_psql('restored', q{SELECT dbos.read_text('/named'), count(*) FROM dbos.extent}), 'named|0', 'and no content of it');
$session->quit;
nothing_left('nor has the original, later');

# ---- one counts, under a lock, among many ----

my $clients = 6;
my $rounds = 40;
$node->safe_psql('files', q{SELECT dbos.write_text('/counter', '0')});
my $script = PostgreSQL::Test::Utils::tempdir() . '/count.sql';
append_to_file($script, q{
SELECT dbos.open_file('/counter', 'r+') AS h \gset
SELECT dbos.lock_file(:h);
SELECT convert_from(dbos.read_open_file(:h), 'UTF8')::int + 1 AS n \gset
SELECT dbos.write_open_file(:h, 0, convert_to(:n::text, 'UTF8'));
SELECT dbos.unlock_file(:h);
SELECT dbos.close_file(:h);
});
$node->command_ok([ 'pgbench', '-h', $node->host, '-p', $node->port, '-n', '-c', $clients, '-j', 2, '-t', $rounds, '-f', $script, 'files' ], 'clients count');
is($node->safe_psql('files', q{SELECT dbos.read_text('/counter')}), $clients * $rounds, 'each has counted');

# ---- many open, write, unlink, replace and close a few names at once ----

append_to_file("$script.race", q{
\set name random(1, 4)
\set other random(1, 4)
\set what random(1, 3)
SELECT dbos.open_file('/race' || :name, 'w+') AS h \gset
SELECT dbos.write_open_file(:h, 0, convert_to(repeat('x', 1 + :what * 3000), 'UTF8'));
DO $$ BEGIN PERFORM dbos.unlink('/race' || (1 + floor(random() * 4))::int); EXCEPTION WHEN undefined_file THEN NULL; END $$;
DO $$ BEGIN PERFORM dbos.rename('/race' || (1 + floor(random() * 4))::int, '/race' || (1 + floor(random() * 4))::int); EXCEPTION WHEN undefined_file OR deadlock_detected OR serialization_failure THEN NULL; END $$;
SELECT length(dbos.read_open_file(:h));
SELECT dbos.close_file(:h);
});
$node->command_ok([ 'pgbench', '-h', $node->host, '-p', $node->port, '-n', '-c', 8, '-j', 2, '-t', 60, '-f', "$script.race", 'files' ], 'clients race');
nothing_left('nothing is left of the race');
is($node->safe_psql('files', q{
SELECT (SELECT count(*) FROM dbos.inode i WHERE i.died = 2147483647 AND i.inode > 1 AND i.link_count <> (SELECT count(*) FROM dbos.directory_entry e WHERE e.child = i.inode AND e.died = 2147483647)),
	(SELECT count(*) FROM dbos.directory_entry e WHERE e.died = 2147483647 AND NOT EXISTS (SELECT FROM dbos.inode i WHERE i.inode = e.child)),
	(SELECT count(*) FROM dbos.extent x WHERE x.died = 2147483647 AND NOT EXISTS (SELECT FROM dbos.inode i WHERE i.inode = x.inode)),
	(SELECT sum(files) FROM (SELECT files FROM dbos.directory_usage UNION ALL SELECT files FROM dbos.directory_change) u) - (SELECT count(*) FROM dbos.inode WHERE inode > 1),
	(SELECT sum(file_bytes) FROM (SELECT file_bytes FROM dbos.directory_usage UNION ALL SELECT file_bytes FROM dbos.directory_change) u) - (SELECT sum(size) FROM dbos.inode WHERE inode > 1)}),
	'0|0|0|0|0', 'link counts, names, content and counters are right');
$node->stop;
done_testing();
