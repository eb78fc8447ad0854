# However often a file is written over, its tables are as large as what is in it again soon afterwards; and who writes or reads what is moved for that meanwhile notices nothing.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

my $megabytes = 16;
my $node = PostgreSQL::Test::Cluster->new('file_space');
$node->init;
# Autovacuum is not what does it; and who waits for the process that does it sends it away only after this time.
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'dbos'
autovacuum = off
deadlock_timeout = 2min
fsync = off
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
-- Bytes that do not become fewer, the same for the same number.
CREATE FUNCTION noise(bytes int, number int) RETURNS bytea LANGUAGE sql IMMUTABLE AS
	$$SELECT string_agg(sha512(convert_to(number || '/' || i, 'UTF8')), '') FROM generate_series(1, bytes / 64) i$$;
CREATE FUNCTION used() RETURNS bigint LANGUAGE sql AS
	$$SELECT sum(pg_total_relation_size('dbos.' || t))::bigint FROM unnest(ARRAY['chunk', 'chunk_tail', 'inode', 'extent', 'freed_extent', 'directory_change', 'directory_usage']) t$$;
CREATE FUNCTION whole(number int) RETURNS text LANGUAGE sql AS
	$$SELECT md5(string_agg(noise(1048576, number + i), '' ORDER BY i)) FROM generate_series(0, 15) i$$;
});
my $before = $node->safe_psql('postgres', 'SELECT used()');

sub write_pieces
{
	my ($first) = @_;
	$node->safe_psql('postgres', qq{DO \$\$ BEGIN FOR i IN 0..15 LOOP PERFORM dbos.write_at('/file', i * 1048576::bigint, noise(1048576, $first + i)); COMMIT; END LOOP; END \$\$});
}

# How many times the size of the file its tables take, once they do not become smaller.
sub settled
{
	my ($limit) = @_;
	my $ratio;
	foreach (1 .. 900)
	{
		$ratio = ($node->safe_psql('postgres', 'SELECT used()') - $before) / ($megabytes * 1048576);
		last if $ratio < $limit;
		Time::HiRes::usleep(100_000);
	}
	return $ratio;
}

$node->safe_psql('postgres', q{SELECT dbos.write_file('/file', noise(1048576, i), append => true) FROM generate_series(0, 15) i});
cmp_ok(($node->safe_psql('postgres', 'SELECT used()') - $before) / ($megabytes * 1048576), '<', 1.1, 'a new file');

# ---- in pieces, each with its own commit ----
write_pieces(100 * $_) foreach 1 .. 10;
cmp_ok(($node->safe_psql('postgres', 'SELECT used()') - $before) / ($megabytes * 1048576), '<', 3, 'pages are used again while it is written over');
cmp_ok(settled(1.2), '<', 1.2, 'written over in pieces of a megabyte');
is($node->safe_psql('postgres', q{SELECT md5(dbos.read_file('/file'))}), $node->safe_psql('postgres', 'SELECT whole(1000)'), 'with what was written last');

# ---- as a whole ----
foreach my $round (1 .. 10)
{
	$node->safe_psql('postgres', qq{SELECT dbos.write_file('/file', (SELECT string_agg(noise(1048576, $round + i), '' ORDER BY i) FROM generate_series(0, 15) i))});
}
cmp_ok(settled(1.2), '<', 1.2, 'replaced as a whole');
is($node->safe_psql('postgres', q{SELECT md5(dbos.read_file('/file'))}), $node->safe_psql('postgres', 'SELECT whole(10)'), 'with what was written last');

# ---- at random ----
$node->safe_psql('postgres', q{
DO $$
BEGIN
	FOR i IN 1 .. 10000 LOOP
		PERFORM dbos.write_at('/file', (i * 7919 % 4096) * 4096::bigint, noise(4096, i));
		IF i % 16 = 0 THEN COMMIT; END IF;
	END LOOP;
END $$});
cmp_ok(settled(1.2), '<', 1.2, 'written over at random, 4 kB at a time');

# ---- small files, in rows of inodes ----
$node->safe_psql('postgres', q{SELECT dbos.mkdir('/small')});
my $small = 0;
foreach my $round (1 .. 10)
{
	$node->safe_psql('postgres', qq{DO \$\$ BEGIN FOR i IN 1..1000 LOOP PERFORM dbos.write_file('/small/' || i, noise(3968, $round)); COMMIT; END LOOP; END \$\$});
	$small = $node->safe_psql('postgres', q{SELECT pg_total_relation_size('dbos.inode')}) if $round == 1;
}
ok($node->poll_query_until('postgres', "SELECT pg_total_relation_size('dbos.inode') < 1.3 * $small"), 'small files that were written over');

# ---- somebody who writes and reads while rows are being moved ----

sub arm
{
	my ($out, $in) = ('', "SELECT pg_advisory_lock(hashtext('dbos stop point'), hashtext('rows of chunk moved'));\n\\echo armed\n");
	my $holder = IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, IPC::Run::timeout(180));
	IPC::Run::pump($holder) until $out =~ /armed/;
	return $holder;
}

sub client
{
	my ($out, $err) = ('', '');
	return { err => \$err, run => IPC::Run::start([ 'psql', '-X', '-q', '-A', '-t', '-d', $node->connstr('postgres'), map { ('-c', $_) } @_ ], '>', \$out, '2>', \$err, IPC::Run::timeout(180)) };
}

# Nothing else is to be moved.
$node->safe_psql('postgres', 'VACUUM FULL dbos.chunk');
$node->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'dbos upkeep')});
my $holder = arm();
# What is written last is at the end of the table; then there is room in front.
$node->safe_psql('postgres', q{
SELECT dbos.write_file('/front', (SELECT string_agg(noise(1048576, i), '') FROM generate_series(1, 16) i)),
	dbos.write_file('/kept', (SELECT string_agg(noise(1048576, i), '' ORDER BY i) FROM generate_series(0, 7) i)),
	dbos.write_file('/gone', noise(524288, 1)), dbos.write_file('/old', noise(524288, 2))});
$node->safe_psql('postgres', q{SELECT dbos.unlink('/front')});
ok($node->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
	WHERE NOT l.granted AND l.locktype = 'advisory' AND a.backend_type = 'dbos upkeep')}), 'rows are being moved');
is($node->safe_psql('postgres', q{SELECT md5(dbos.read_file('/kept')) = (SELECT md5(string_agg(noise(1048576, i), '' ORDER BY i)) FROM generate_series(0, 7) i)}),
	't', 'who reads sees them where they were');
# Who writes waits for the move, and finds the rows in their new places, also with a snapshot that is older.
my @clients = (
	client(q{SELECT dbos.write_at('/kept', 7 * 1048576, noise(1048576, 77));}),
	client(q{SELECT dbos.unlink('/gone');}),
	client('BEGIN ISOLATION LEVEL REPEATABLE READ', q{SELECT dbos.write_at('/old', 100000, noise(65536, 78))}, 'COMMIT'));
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND backend_type = 'client backend'}),
	'who writes one waits');
$holder->kill_kill;
IPC::Run::finish($_->{run}) foreach @clients;
is(join('', map { ${ $_->{err} } } @clients), '', 'and goes on');
is($node->safe_psql('postgres', q{SELECT md5(dbos.read_file('/kept', 7 * 1048576)) = md5(noise(1048576, 77)),
	md5(dbos.read_file('/kept', 0, 7 * 1048576)) = (SELECT md5(string_agg(noise(1048576, i), '' ORDER BY i)) FROM generate_series(0, 6) i),
	md5(dbos.read_file('/old')) = md5(overlay(noise(524288, 2) PLACING noise(65536, 78) FROM 100001))}), 't|t|t', 'with all that was written');
is($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.chunk c WHERE NOT EXISTS (SELECT FROM dbos.extent e WHERE e.chunk BETWEEN c.chunk - 1023 AND c.chunk AND c.chunk < e.chunk + e.count)}),
	0, 'and nothing left of what was removed');
$megabytes += 9;
cmp_ok(settled(1.5), '<', 1.5, 'and in the end the tables are small again');

# ---- others go first: who waits for it sends it away, as one of autovacuum ----
$holder = arm();
$node->append_conf('postgresql.conf', 'deadlock_timeout = 100ms');
$node->reload;
$node->safe_psql('postgres', q{SELECT dbos.write_file('/file', (SELECT string_agg(noise(1048576, i), '' ORDER BY i) FROM generate_series(0, 15) i))}) foreach 1 .. 3;
$node->safe_psql('postgres', q{SELECT dbos.write_file('/front', (SELECT string_agg(noise(1048576, i), '') FROM generate_series(1, 16) i)),
	dbos.write_file('/old', noise(524288, 3))});
$node->safe_psql('postgres', q{SELECT dbos.unlink('/front')});
ok($node->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
	WHERE NOT l.granted AND l.locktype = 'advisory' AND a.backend_type = 'dbos upkeep')}), 'rows are being moved again');
my $mover = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'dbos upkeep' AND datname = 'postgres'});
# Whatever lay at the end of the table: what was free in front of it by then is not known.
$node->safe_psql('postgres', q{SELECT dbos.write_at('/old', 0, noise(65536, 4)), dbos.write_at('/old', 65536, noise(458752, 5)),
	dbos.write_at('/kept', 0, (SELECT string_agg(noise(1048576, i), '') FROM generate_series(1, 8) i)),
	dbos.write_at('/file', 0, (SELECT string_agg(noise(1048576, i), '') FROM generate_series(1, 16) i))});
is($node->safe_psql('postgres', q{SELECT md5(dbos.read_file('/old')) = md5(noise(65536, 4) || noise(458752, 5))}), 't',
	'who writes waits no longer than that');
# Its successor may have come by now.
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $mover)"), 'and the process is gone');
$holder->kill_kill;

$node->stop;
done_testing();
