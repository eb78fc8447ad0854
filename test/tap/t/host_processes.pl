# Processes of any name, that come and go, are rows and never an error, in databases of any encoding.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ':sys_wait_h';

my $node = PostgreSQL::Test::Cluster->new('host');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'");
$node->start;
$node->safe_psql('postgres', "CREATE DATABASE $_ ENCODING '$_' TEMPLATE template0") foreach 'sql_ascii', 'latin1';
$node->safe_psql($_, 'SET client_min_messages = warning; CREATE EXTENSION dbos') foreach 'postgres', 'sql_ascii', 'latin1';

sub start_named
{
	my ($name) = @_;
	my $pid = fork();
	die unless defined $pid;
	if ($pid == 0)
	{
		# prctl(PR_SET_NAME) by way of Perl's own $0; at most 15 bytes of it are the name.
		$0 = $name;
		sleep 600;
		POSIX::_exit(0);
	}
	return $pid;
}

my %name = (
	'parentheses' => 'a) R 1 (b',
	'a line' => "two\nlines",
	'no utf8' => "x\xff\xfe\x80y",
	'cut utf8' => "12345678901234\xc3\xa9",
	'utf8' => "caf\xc3\xa9",
	'quotes' => q{'"\\;--},
	'tab' => "a\tb",
);
my %shown = (
	'parentheses' => 'a) R 1 (b',
	'a line' => 'two\x0alines',
	'no utf8' => 'x\xff\xfe\x80y',
	'cut utf8' => '12345678901234\xc3',
	'utf8' => "caf\xc3\xa9",
	'quotes' => q{'"\\;--},
	'tab' => 'a\x09b',
);
my %pid = map { $_ => start_named($name{$_}) } keys %name;
foreach my $kind (sort keys %name)
{
	my $path = "/proc/$pid{$kind}/comm";
	for (1 .. 200)
	{
		open(my $file, '<:raw', $path) or last;
		my $comm = do { local $/; <$file> };
		last if $comm eq substr($name{$kind}, 0, 15) . "\n";
		select(undef, undef, undef, 0.02);
	}
	my $got = $node->safe_psql('postgres', "SET client_encoding = utf8; SELECT name FROM dbos.host_processes WHERE pid = $pid{$kind} AND state IN ('S', 'R')");
	utf8::encode($got) if utf8::is_utf8($got);
	is($got, $shown{$kind}, "name with $kind");
}
is($node->safe_psql('postgres', "SELECT parent FROM dbos.host_processes WHERE pid = $pid{parentheses}"), $$, 'what follows the name is not mistaken');
# LATIN1 knows every byte; SQL_ASCII takes each as it is.
foreach my $database ('latin1', 'sql_ascii')
{
	is($node->safe_psql($database, 'SELECT count(*) > 5 FROM (SELECT * FROM dbos.host_processes) p WHERE p.pid > 0'), 't', "every column in $database");
	is($node->safe_psql($database, "SELECT encode(convert_to(name, '$database'), 'hex') FROM dbos.host_processes WHERE pid = $pid{'no utf8'}"),
		'78fffe8079', "bytes beyond ASCII in $database");
}

# One that has ended and was not waited for has no memory and no files; when it is waited for, no row.
my $zombie = start_named('zombie');
kill 'KILL', $zombie;
my $seen = $node->poll_query_until('postgres', "SELECT state = 'Z' AND resident_size = 0 AND path IS NULL FROM dbos.host_processes WHERE pid = $zombie");
ok($seen, 'a zombie is a row with NULLs');
waitpid($zombie, 0);
is($node->safe_psql('postgres', "SELECT count(*) FROM dbos.host_processes WHERE pid = $zombie"), '0', 'one that is gone is no row');

# What ps says of one that does nothing.
my $ps = `ps -o ppid=,pgid=,nlwp=,ni= -p $pid{quotes}`;
$ps =~ s/^\s+|\s+$//g;
SKIP:
{
	skip 'no ps here', 1 if $ps eq '';
	is($node->safe_psql('postgres', "SELECT concat_ws(' ', parent, pgroup, threads, nice) FROM dbos.host_processes WHERE pid = $pid{quotes}"),
		join(' ', split /\s+/, $ps), 'parent, group, threads and nice value are those of ps');
}

# The kernel prints the name of a UNIX socket as it is, line ends and all, so anybody can write a line
# into its table.  That changes nothing of an IP socket, and gives no name to a socket of another.
my $folder = PostgreSQL::Test::Utils::tempdir();
chdir $folder or die;
my $internet = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0) or die;
my $unix = IO::Socket::UNIX->new(Listen => 1, Local => 'true') or die;
my $line = '0: 00000002 00000000 00010000 0001 01';
my @forged = map { IO::Socket::UNIX->new(Listen => 1, Local => "f\n$line " . (stat $_)[1] . ' forged') or die "$!" } $internet, $unix;
is($node->safe_psql('postgres', "SELECT family, protocol, local_address, local_port, path, state FROM dbos.host_sockets WHERE pid = $$ AND fd = " . fileno($internet)),
	'2|6|127.0.0.1|' . $internet->sockport . '||LISTEN', 'a forged line says nothing of an IP socket');
is($node->safe_psql('postgres', "SELECT family, path IS NULL OR path = 'true' FROM dbos.host_sockets WHERE pid = $$ AND fd = " . fileno($unix)),
	'1|t', 'a forged line names no UNIX socket of another');
close $_ foreach @forged, $internet, $unix;
chdir '/';

# Processes come and go while all columns of all of them are read, again and again.
my $storm = fork();
if ($storm == 0)
{
	for (;;)
	{
		my $child = fork();
		POSIX::_exit(0) if defined $child && $child == 0;
		waitpid($child, 0) if defined $child;
	}
}
my ($code, $output, $errors) = $node->psql('postgres', q{
DO $$
BEGIN
	FOR i IN 1 .. 200 LOOP
		PERFORM * FROM dbos.host_processes;
		PERFORM * FROM dbos.host_threads;
		PERFORM * FROM dbos.host_sockets;
	END LOOP;
END $$;
SELECT count(*) FROM pg_ls_dir('/proc/self/fd');
});
kill 'KILL', $storm;
waitpid($storm, 0);
is($code, 0, 'no error while processes come and go') or diag($errors);
cmp_ok($output, '<', 100, 'and no descriptor is left open');
# A statement that is cancelled in the middle closes its folder.
is($node->safe_psql('postgres', q{
DO $$
BEGIN
	FOR i IN 1 .. 100 LOOP
		BEGIN
			PERFORM 1 / (pid - pid) FROM dbos.host_processes;
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP;
END $$;
SELECT count(*) < 100 FROM pg_ls_dir('/proc/self/fd')}), 't', 'an error leaves none open either');

kill 'KILL', values %pid;
waitpid($_, 0) foreach values %pid;
$node->stop;
done_testing();
