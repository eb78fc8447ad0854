# A snapshot taken while others write has of each transaction all or nothing, stays the same through crashes and the deletion of what nobody needs, and waits for prepared transactions.
# SPDX-License-Identifier: PostgreSQL
#
# A transaction writes one token to all that is in a group: a small file, a large one, a place in a large one, and the name of
# a file.  Some do it twice, and take back one of them; some take back all.  A snapshot in which the four differ has half of one.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $seed = $ENV{DBOS_SEED} || 42;
my $rounds = $ENV{DBOS_TORTURE} ? 30 : 2;
my $folder = PostgreSQL::Test::Utils::tempdir;

my $node = PostgreSQL::Test::Cluster->new('file_snapshots');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'dbos'
max_prepared_transactions = 2
deadlock_timeout = 100ms
log_min_messages = fatal
restart_after_crash = on
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE FUNCTION change_group(number integer, token text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	folder text := '/groups/' || number;
BEGIN
	PERFORM dbos.write_text(folder || '/small', token);
	PERFORM dbos.write_at(folder || '/part', 20000, convert_to(token, 'UTF8'));
	PERFORM dbos.rename(folder || '/names/' || name, folder || '/names/' || token) FROM dbos.ls(folder || '/names');
	PERFORM dbos.write_text(folder || '/large', repeat(token, 1000));
END
$$;
-- What is in the groups of a snapshot; the four tokens of each.
CREATE FUNCTION groups_of(snapshot text) RETURNS TABLE (number text, small text, large text, part text, name text) LANGUAGE sql STABLE AS $$
	SELECT g.name, convert_from(dbos.read_snapshot(snapshot, '/groups/' || g.name || '/small'), 'UTF8'),
		convert_from(dbos.read_snapshot(snapshot, '/groups/' || g.name || '/large'), 'UTF8'),
		convert_from(dbos.read_snapshot(snapshot, '/groups/' || g.name || '/part', 20000, 12), 'UTF8'),
		(SELECT string_agg(n.name, ' ') FROM dbos.snapshot_ls(snapshot, '/groups/' || g.name || '/names') n)
	FROM dbos.snapshot_ls(snapshot, '/groups') g
$$;
CREATE TABLE taken (name text, groups bigint, torn bigint, digest text);
CREATE FUNCTION look(snapshot text) RETURNS taken LANGUAGE sql STABLE AS $$
	SELECT snapshot, count(*), count(*) FILTER (WHERE large <> repeat(small, 1000) OR part <> small OR name <> small), md5(string_agg(g::text, ',' ORDER BY number))
	FROM groups_of(snapshot) g
$$;
-- Somebody else may drop the same one.
CREATE FUNCTION drop_one() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	one text := (SELECT name FROM taken ORDER BY random() LIMIT 1);
BEGIN
	PERFORM dbos.drop_snapshot(one);
	DELETE FROM taken WHERE name = one;
EXCEPTION WHEN undefined_object THEN
END
$$;
CREATE FUNCTION restore_from_one(path text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dbos.restore_file((SELECT name FROM taken ORDER BY random() LIMIT 1), '/groups/1/large', path);
EXCEPTION WHEN undefined_object THEN
END
$$;
CREATE FUNCTION left_over(OUT versions bigint, OUT noted bigint, OUT unnamed_chunks bigint, OUT missing_chunks bigint) LANGUAGE sql AS $$
	SELECT (SELECT count(*) FROM dbos.inode WHERE died <> 2147483647) + (SELECT count(*) FROM dbos.directory_entry WHERE died <> 2147483647)
			+ (SELECT count(*) FROM dbos.extent WHERE died <> 2147483647),
		(SELECT count(*) FROM dbos.freed_extent),
		(SELECT count(*) FROM dbos.chunk c WHERE NOT EXISTS (SELECT FROM dbos.extent e WHERE c.chunk >= e.chunk AND c.chunk < e.chunk + e.count)),
		(SELECT count(*) FROM dbos.extent e, LATERAL generate_series(e.chunk, e.chunk + e.count - 1) n WHERE NOT EXISTS (SELECT FROM dbos.chunk c WHERE c.chunk = n))
$$;
SELECT dbos.mkdir('/groups');
SELECT dbos.mkdir('/groups/' || n || '/names', true), dbos.write_text('/groups/' || n || '/small', 'begin0000000'), dbos.write_text('/groups/' || n || '/large', repeat('begin0000000', 1000)),
	dbos.write_text('/groups/' || n || '/part', repeat('-', 50000)), dbos.write_text('/groups/' || n || '/names/begin0000000', '') FROM generate_series(1, 6) n;
SELECT dbos.write_at('/groups/' || n || '/part', 20000, 'begin0000000') FROM generate_series(1, 6) n;
});

my %script = (
	write => q{
\set group random(1, 6)
\set token random(100000000000, 999999999999)
SELECT change_group(:group, :token::text);
},
	# A file of a group is written before others have begun, and the rest after that.
	write_in_parts => q{
\set group random(1, 6)
\set token random(100000000000, 999999999999)
\set pause random(1, 5000)
BEGIN;
SELECT dbos.write_text('/groups/' || :group || '/small', :token::text);
\sleep :pause us
SELECT change_group(:group, :token::text);
\sleep :pause us
COMMIT;
},
	two_groups => q{
\set group random(1, 5)
\set token random(100000000000, 999999999999)
BEGIN;
SELECT change_group(:group, :token::text);
SAVEPOINT a;
SELECT change_group(:group + 1, 'nothing00000');
ROLLBACK TO a;
SELECT change_group(:group + 1, :token::text);
COMMIT;
},
	take_back => q{
\set group random(1, 6)
\set token random(100000000000, 999999999999)
BEGIN;
SELECT change_group(:group, :token::text);
ROLLBACK;
},
	take => q{
\set name random(1, 1000000000)
SELECT dbos.snapshot('/groups', 'n' || :name);
INSERT INTO taken SELECT * FROM look('n' || :name);
},
	take_and_write => q{
\set name random(1, 1000000000)
\set group random(1, 6)
\set token random(100000000000, 999999999999)
BEGIN;
SELECT change_group(:group, :token::text);
SELECT dbos.snapshot('/groups', 'n' || :name);
SELECT change_group(:group, :token::text);
COMMIT;
INSERT INTO taken SELECT * FROM look('n' || :name);
},
	drop => q{
SELECT drop_one();
},
	copy => q{
\set group random(1, 6)
\set name random(1, 100)
SELECT dbos.copy('/groups/' || :group || '/large', '/copy' || :name);
},
	restore => q{
\set name random(1, 100)
SELECT restore_from_one('/copy' || :name);
});
append_to_file("$folder/$_.sql", $script{$_}) for keys %script;
my %weight = (write => 6, write_in_parts => 6, two_groups => 4, take_back => 2, take => 2, take_and_write => 1, drop => 2, copy => 2, restore => 2);

sub run_clients
{
	my ($seconds, $kill) = @_;
	my ($out, $err) = ('', '');
	my @command = ($node->installed_command('pgbench'), '-n', '-c', 6, '-j', 2, '-T', $seconds, '--max-tries=100', "--random-seed=$seed",
		(map { ('-f', "$folder/$_.sql\@$weight{$_}") } sort keys %weight), '-h', $node->host, '-p', $node->port, 'postgres');
	$seed++;
	my $handle = IPC::Run::start(\@command, '>', \$out, '2>', \$err);
	if ($kill)
	{
		sleep($seconds / 2);
		$node->stop('immediate');
	}
	$handle->finish;
	my ($done) = $out =~ /number of transactions actually processed: (\d+)/;
	return ($done // 0, $err);
}

sub snapshots_are_right
{
	my ($what) = @_;
	is($node->safe_psql('postgres', 'SELECT count(*) FROM taken WHERE groups <> 6 OR torn > 0'), '0', "$what: no snapshot has half of a transaction");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM taken t, LATERAL look(t.name) l WHERE (t.groups, t.torn, t.digest) IS DISTINCT FROM (l.groups, l.torn, l.digest)'),
		'0', "$what: each is what it was when it was taken");
	is($node->safe_psql('postgres', 'SELECT missing_chunks FROM left_over()'), '0', "$what: no chunk is missing");
}

for my $round (1 .. $rounds)
{
	my ($done, $err) = run_clients(5);
	cmp_ok($done, '>', 100, "round $round: $done transactions");
	unlike($err, qr/aborted/, "round $round: no client failed for good");
	cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM taken'), '>', 1, "round $round: snapshots were taken");
	snapshots_are_right("round $round");

	# ---- a crash in the middle of it ----
	run_clients(4, 1);
	$node->start;
	# One may be taken whose look was not committed.
	$node->safe_psql('postgres', 'SELECT dbos.drop_snapshot(name) FROM dbos.snapshots s WHERE NOT EXISTS (SELECT FROM taken t WHERE t.name = s.name)');
	snapshots_are_right("round $round, after a crash");
}

# ---- the background deletes what is not needed ----

my $left = q{SELECT noted, unnamed_chunks, missing_chunks FROM left_over()};
ok($node->poll_query_until('postgres', $left, '0|0|0'), 'the background deletes chunks that nobody has');
$node->safe_psql('postgres', 'SELECT dbos.drop_snapshot(name) FROM dbos.snapshots; TRUNCATE taken');
ok($node->poll_query_until('postgres', 'SELECT * FROM left_over()', '0|0|0|0'), 'and the versions of snapshots that were dropped');
is($node->safe_psql('postgres', q{SELECT count(*) FROM generate_series(1, 6) n WHERE dbos.read_text('/groups/' || n || '/large') <> repeat(dbos.read_text('/groups/' || n || '/small'), 1000)}),
	'0', 'the files are whole');

# What it has not done before a crash it does after.
$node->safe_psql('postgres', q{
SELECT dbos.write_text('/many' || n, repeat('many', 5000)) FROM generate_series(1, 3000) n;
SELECT dbos.snapshot('/', 'many');
SELECT dbos.unlink('/many' || n) FROM generate_series(1, 3000) n;
});
cmp_ok($node->safe_psql('postgres', 'SELECT versions FROM left_over()'), '>=', 9000, 'versions are kept for a snapshot');
$node->safe_psql('postgres', q{SELECT dbos.drop_snapshot('many')});
sleep(0.2);
$node->stop('immediate');
$node->start;
ok($node->poll_query_until('postgres', 'SELECT * FROM left_over()', '0|0|0|0'), 'and deleted after a crash');

# ---- in a dump, on a standby ----

$node->safe_psql('postgres', q{
SELECT dbos.snapshot('/groups', 'dumped');
SELECT change_group(n, 'afterthedump') FROM generate_series(1, 6) n;
SELECT dbos.copy('/groups/1/large', '/copied'), dbos.write_text('/groups/1/large', repeat('afterthecopy', 1000)), dbos.unlink('/copied');
INSERT INTO taken SELECT * FROM look('dumped');
CREATE DATABASE restored;
});
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$folder/dump", 'postgres' ], 'files and snapshots are dumped');
$node->command_ok([ 'pg_restore', '-d', 'restored', "$folder/dump" ], 'and restored');
is($node->safe_psql('restored', q{SELECT (look('dumped')).digest = digest, (look('dumped')).torn FROM taken WHERE name = 'dumped'}), 't|0', 'a snapshot is restored as it was');
$node->safe_psql('restored', q{SELECT change_group(n, 'inthecopy000') FROM generate_series(1, 6) n; SELECT dbos.snapshot('/groups', 'of the copy')});
is($node->safe_psql('restored', q{SELECT (look('dumped')).digest = digest, (look('of the copy')).torn FROM taken WHERE name = 'dumped'}), 't|0', 'and stays so when its files are changed');
$node->safe_psql('restored', 'SELECT dbos.drop_snapshot(name) FROM dbos.snapshots; SELECT dbos.reclaim_files()');
is($node->safe_psql('restored', 'SELECT * FROM left_over()'), '0|0|0|0', 'nothing is left over in the restored database');
$node->safe_psql('postgres', 'DROP DATABASE restored');

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('file_snapshots_standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', q{SELECT change_group(n, 'replayed0000') FROM generate_series(1, 6) n; SELECT dbos.snapshot('/groups', 'replayed'); SELECT change_group(1, 'afterthat000')});
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($standby->safe_psql('postgres', q{SELECT (look('dumped')).digest = digest, (look('replayed')).torn, (SELECT count(*) FROM groups_of('replayed') WHERE small = 'replayed0000') FROM taken WHERE name = 'dumped'}),
	't|0|6', 'a standby reads snapshots');
$standby->stop;
$node->safe_psql('postgres', 'SELECT dbos.drop_snapshot(name) FROM dbos.snapshots; TRUNCATE taken');

# ---- prepared transactions ----

$node->safe_psql('postgres', q{BEGIN; SELECT change_group(1, 'prepared0000'); PREPARE TRANSACTION 'p'});
my $taker = $node->background_psql('postgres');
$taker->query_until(qr/begun/, "\\echo begun\nSELECT dbos.snapshot('/groups', 'waits');\n\\echo taken\n");
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND locktype = 'object' AND mode = 'ShareLock'}), 'a snapshot waits for a prepared transaction');
$node->safe_psql('postgres', q{SELECT change_group(2, 'notwaitedfor')});
$node->stop('immediate');
eval { $taker->quit };
$node->start;
$taker = $node->background_psql('postgres');
$taker->query_until(qr/begun/, "\\echo begun\nSELECT dbos.snapshot('/groups', 'waits');\n\\echo taken\n");
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND locktype = 'object' AND mode = 'ShareLock'}), 'also for one from before a crash');
$node->safe_psql('postgres', q{SELECT change_group(3, 'notwaitedfor')});
$node->safe_psql('postgres', q{COMMIT PREPARED 'p'});
$taker->query_until(qr/taken/, '');
eval { $taker->quit };
is($node->safe_psql('postgres', q{SELECT number, small, (look('waits')).torn FROM groups_of('waits') WHERE number < '4' ORDER BY number}) =~ s/\n/ /gr,
	'1|prepared0000|0 2|notwaitedfor|0 3|replayed0000|0', 'it has what was prepared, and nothing that began after it');

# A snapshot may be prepared itself, and so may its drop.
$node->safe_psql('postgres', q{BEGIN; SELECT change_group(4, 'before000000'); SELECT dbos.snapshot('/groups', 'prepared'); SELECT change_group(4, 'after0000000'); PREPARE TRANSACTION 's'});
$node->safe_psql('postgres', q{SELECT change_group(5, 'meanwhile000')});
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', q{COMMIT PREPARED 's'});
is($node->safe_psql('postgres', q{SELECT (look('prepared')).torn, count(*) FILTER (WHERE small = 'before000000'), count(*) FILTER (WHERE small IN ('after0000000', 'meanwhile000')) FROM groups_of('prepared')}),
	'0|1|0', 'a snapshot that was prepared shows what was before it');
$node->safe_psql('postgres', q{BEGIN; SELECT dbos.drop_snapshot('prepared'), dbos.drop_snapshot('waits'); PREPARE TRANSACTION 'd'});
$node->safe_psql('postgres', q{SELECT change_group(6, 'dropped00000'); SELECT dbos.reclaim_files()});
is($node->safe_psql('postgres', q{SELECT (look('prepared')).torn}), '0', 'a snapshot whose drop is prepared is there');
$node->safe_psql('postgres', q{COMMIT PREPARED 'd'; SELECT dbos.reclaim_files()});
is($node->safe_psql('postgres', 'SELECT * FROM left_over()'), '0|0|0|0', 'and then it is gone with all that it had');
$node->stop;
done_testing();
