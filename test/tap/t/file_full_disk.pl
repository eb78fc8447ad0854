# A full disk refuses what is written, and loses nothing: each file is what it was, and goes on when there is room again.
# SPDX-License-Identifier: PostgreSQL
#
# The database lies in a tablespace on a small file system in memory, which is mounted in a namespace of its own where that is
# allowed; the log of the server is elsewhere.
use strict;
use warnings;
use FileTables;
use CrashedServer;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $mount = PostgreSQL::Test::Utils::tempdir;
my $user = "$>";
my ($group) = split / /, $);
# Root of the inner namespace mounts; the server, which must not be root, is itself again.
sub in_namespace { return "unshare -r -m sh -c 'mount -t tmpfs -o size=56m tmpfs $mount && mkdir $mount/space && exec unshare -U --map-user=$user --map-group=$group $_[0]' 2>&1" }
my $tried = `${\in_namespace('true')}`;
plan skip_all => "no file system can be mounted in a namespace: $tried" if $?;

my $node = PostgreSQL::Test::Cluster->new('full_disk');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'dbos'
restart_after_crash = on
fsync = off
autovacuum = off
log_min_messages = error
});
my $data = $node->data_dir;
my $log = $node->logfile;
my $started = system(in_namespace("pg_ctl -D $data -l $log -w -s start"));
is($started, 0, 'a server starts on a small disk');
$node->_update_pid(1);
# What is taken away when there is to be room again.  A program that does not read its input may be gone before that comes: an error.
$node->safe_psql('postgres', qq{
COPY (SELECT) TO PROGRAM 'cat >/dev/null; dd if=/dev/zero of=$mount/ballast bs=1M count=8 2>/dev/null';
COPY (SELECT) TO PROGRAM 'cat >/dev/null; dd if=/dev/zero of=$mount/more_ballast bs=1M count=3 2>/dev/null';
});
$node->safe_psql('postgres', qq{CREATE TABLESPACE small LOCATION '$mount/space'});
$node->safe_psql('postgres', q{
CREATE DATABASE files TABLESPACE small;
ALTER DATABASE files SET temp_tablespaces = pg_default;
});
$node->safe_psql('files', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
-- Who checks files may write temporary files elsewhere.
GRANT CREATE ON TABLESPACE pg_default TO dbos_owner;
SELECT dbos.mkdir('/d'), dbos.mkdir('/empty');
CREATE FUNCTION bytes(tag text, length int) RETURNS bytea LANGUAGE sql AS $$
	SELECT substr(decode(repeat((SELECT string_agg(md5(tag || n), '' ORDER BY n) FROM generate_series(1, 600) n), length / 9600 + 1), 'hex'), 1, length) $$;
SELECT dbos.write_file('/overwritten', bytes('overwritten', 100000)), dbos.write_file('/appended', bytes('appended', 50000)), dbos.write_text('/small', 'small');
SELECT dbos.copy('/overwritten', '/copied');
SELECT dbos.snapshot('/', 'before');
});
make_file_problems($node, 'files');

# The code of the error; none when there is no error.
sub code_of
{
	my ($sql) = @_;
	my ($code, $out, $errors) = $node->psql('files', "\\set VERBOSITY sqlstate\n$sql", on_error_stop => 1);
	return $errors =~ /ERROR:\s+(\w{5})/ ? $1 : $code == 0 ? '' : "$code $errors";
}

# Until nothing more fits, also nothing small.
my %written;
sub fill
{
	my ($round) = @_;
	my $number = 0;
	foreach my $size (300_000, 20_000, 3000)
	{
		for (my $refused = 0; $refused < 3;)
		{
			my $path = "/d/$round." . $number++;
			my $code = code_of("SELECT dbos.write_file('$path', bytes('$path', $size));");
			if ($code eq '') { $written{$path} = $size; next; }
			return $code if $code ne '53100';
			$refused++;
		}
	}
	return '53100';
}

sub check
{
	my ($when) = @_;
	my %found = map { split /\|/ } split /\n/, $node->safe_psql('files', q{SELECT '/d/' || name, CASE WHEN dbos.read_file('/d/' || name) = bytes('/d/' || name, size::int) THEN size ELSE -1 END FROM dbos.ls('/d')});
	is_deeply(\%found, \%written, "$when: each file that was written is there, and no other");
	is($node->safe_psql('files', q{SELECT dbos.read_file('/overwritten') = bytes('overwritten', 100000) AND dbos.read_file('/copied') = bytes('overwritten', 100000)
		AND dbos.read_file('/appended') = bytes('appended', 50000) AND dbos.read_text('/small') = 'small' AND dbos.read_snapshot('before', '/appended') = bytes('appended', 50000)}), 't', "$when: the others are what they were");
	is($node->safe_psql('files', q{SELECT string_agg(name, ' ') FROM dbos.ls('/')}), 'appended copied d empty overwritten small', "$when: and so is the root");
	is($node->safe_psql('files', 'SELECT * FROM file_problems'), '', "$when: what is in the tables fits together");
}

is(fill(1), '53100', 'writing ends when the disk is full');
cmp_ok(scalar keys %written, '>', 10, 'after ' . keys(%written) . ' files');
check('full');

my %tried = (
	'a large file' => q{SELECT dbos.write_file('/large', bytes('large', 20000000));},
	'over the whole of a file' => q{SELECT dbos.write_file('/overwritten', bytes('x', 2000000));},
	'over what a snapshot shows' => q{SELECT dbos.write_at('/overwritten', 0, bytes('x', 100000)), dbos.write_at('/copied', 0, bytes('x', 100000)), dbos.write_file('/appended', bytes('x', 3000000), true);},
	'at the end' => q{SELECT dbos.write_file('/appended', bytes('x', 5000000), true);},
	'a small file that grows' => q{SELECT dbos.write_file('/small', bytes('x', 5000000), true);},
	'many names' => q{SELECT count(dbos.mkdir('/empty/' || repeat('n', 200) || n)) FROM generate_series(1, 100000) n;},
	'one transaction of many' => q{BEGIN; SELECT dbos.unlink('/small'), dbos.rename('/appended', '/empty/appended'), dbos.truncate_file('/overwritten', 10); SAVEPOINT a; SELECT dbos.write_file('/large', bytes('large', 20000000)); COMMIT;});
foreach my $what (sort keys %tried)
{
	is(code_of($tried{$what}), '53100', "$what is refused");
}
check('after all that');
# Of a transaction what comes before a savepoint stays.
my ($code, $out, $errors) = $node->psql('files', q{
BEGIN;
SELECT dbos.unlink('/d/1.0');
SAVEPOINT a;
SELECT dbos.write_file('/large', bytes('large', 20000000));
ROLLBACK TO a;
COMMIT;
SELECT dbos.read_text('/small');}, on_error_stop => 0);
like($errors, qr/No space left/, 'a savepoint fails');
is((split /\n/, $out)[-1], 'small', 'its transaction does not');
delete $written{'/d/1.0'};
check('after a savepoint');

# Room again.
$node->safe_psql('files', qq{COPY (SELECT) TO PROGRAM 'cat >/dev/null; rm $mount/ballast'});
is(code_of(q{SELECT dbos.write_file('/d/room', bytes('/d/room', 300000));}), '', 'with room there is writing');
$written{'/d/room'} = 300_000;
is(code_of(q{SELECT dbos.drop_snapshot('before'), dbos.unlink('/copied'), dbos.write_at('/overwritten', 0, bytes('overwritten', 100000));}), '', 'and overwriting');
is(code_of(q{SELECT dbos.copy('/overwritten', '/copied'), dbos.snapshot('/', 'before');}), '', 'and copying');
check('with room');

# The server crashes.
my $session = $node->background_psql('files');
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query_safe(q{BEGIN; SELECT dbos.unlink('/d/1.1'), dbos.unlink('/overwritten')});
kill_process($pid);
eval { $session->quit };
is(answer_of($node, 'files', 'SELECT true'), 't', 'the server recovers from a crash');
check('after a crash');

is(fill(2), '53100', 'until it is full again');
check('full again');
# What is removed makes room, and needs none unless a snapshot shows it.
is(code_of(q{SELECT count(dbos.unlink('/d/' || name)) FROM dbos.ls('/d') WHERE name LIKE '2.%';}), '', 'files are removed from a full disk');
%written = map { split /\|/ } split /\n/, $node->safe_psql('files', q{SELECT '/d/' || name, size FROM dbos.ls('/d')});
$node->safe_psql('files', 'SELECT dbos.drop_snapshot(name) FROM dbos.snapshots');
$node->safe_psql('files', 'SELECT dbos.reclaim_files()');
# Of what vacuum does some needs a little room itself.
$node->safe_psql('files', qq{COPY (SELECT) TO PROGRAM 'cat >/dev/null; rm $mount/more_ballast'});
$node->safe_psql('files', 'VACUUM');
is(code_of(q{SELECT dbos.write_file('/d/last', bytes('/d/last', 3000000));}), '', 'which makes room for others');
$written{'/d/last'} = 3_000_000;
is(code_of(q{SELECT dbos.snapshot('/', 'before');}), '', 'and for a snapshot');
check('at the end');
$node->stop;
done_testing();
