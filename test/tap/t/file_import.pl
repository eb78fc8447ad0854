# Trees of the host come in and go out again as they were, whatever they are like; what is cut off leaves nothing or is finished.
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings;
use Fcntl qw(:DEFAULT :seek);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX qw(mkfifo);
use Socket;
use Test::More;

my $full = $ENV{DBOS_TORTURE};
my $node = PostgreSQL::Test::Cluster->new('import');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dbos'\ndbos.max_workers = 4\nrestart_after_crash = on");
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE ROLE ann LOGIN IN ROLE dbos_user, pg_read_server_files, pg_write_server_files;
CREATE ROLE bob LOGIN IN ROLE dbos_user;
});
my $testing = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'dbos.clock_offset'});
my $base = $node->basedir . '/trees';
mkdir $base or die;

# ---- helpers ----

sub content
{
	my ($path, $bytes) = @_;
	sysopen(my $file, $path, O_WRONLY | O_CREAT | O_TRUNC) or die "$path: $!";
	binmode $file;
	my $done = 0;
	while ($done < length $bytes) { $done += syswrite($file, $bytes, length($bytes) - $done, $done) // die $! }
	close $file;
}

sub noise { my ($length) = @_; return substr(join('', map { pack 'N', int(rand(2**32)) } 0 .. $length / 4), 0, $length) }

# Data at these places, holes elsewhere.
sub sparse
{
	my ($path, $size, @places) = @_;
	sysopen(my $file, $path, O_WRONLY | O_CREAT) or die "$path: $!";
	for my $place (@places)
	{
		sysseek($file, $place, SEEK_SET);
		syswrite($file, noise(5000));
	}
	truncate($file, $size) or die;
	close $file;
}

# What tar makes of a tree: names, kinds, modes, times to the nanosecond, links and every byte.
sub image
{
	my ($path) = @_;
	my $sum = `cd '$path' && tar --sort=name --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime --owner=0 --group=0 --numeric-owner -cf - . 2>&1 | sha256sum`;
	chomp $sum;
	return $sum;
}

# The same as a list, to be read when the image differs.
sub listing
{
	my ($path) = @_;
	my $list = `cd '$path' && find . -type d -printf '%P|%y|%m|%n|%T\@\\0' -o -printf '%P|%y|%m|%n|%s|%T\@|%l\\0' | LC_ALL=C sort -z`;
	return $list;
}

sub same
{
	my ($left, $right, $name) = @_;
	my ($a, $b) = (listing($left), listing($right));
	my @differences;
	if ($a ne $b)
	{
		my %there = map { $_ => 1 } split /\0/, $b;
		@differences = grep { !$there{$_} } split /\0/, $a;
		%there = map { $_ => 1 } split /\0/, $a;
		push @differences, map { "> $_" } grep { !$there{$_} } split /\0/, $b;
	}
	is(join("\n", @differences[0 .. ($#differences > 19 ? 19 : $#differences)]), '', "$name: as find has it");
	is(image($left), image($right), "$name: as tar has it");
}

sub whole
{
	my ($name) = @_;
	is($node->safe_psql('postgres', 'SELECT * FROM dbos.check_files()'), '', "$name: files are whole");
}

sub fails
{
	my ($role, $sql, $error, $name) = @_;
	my ($code, $out, $err) = $node->psql('postgres', "SET ROLE $role; $sql");
	isnt($code, 0, $name);
	like($err, $error, "$name: so it says");
}

# ---- a tree of all that there is ----

my $odd = "$base/odd";
mkdir $odd or die;
mkdir "$odd/bytes" or die;
for my $byte (1 .. 255)
{
	next if $byte == ord '/';
	content("$odd/bytes/a" . chr($byte) . 'z', "byte $byte");
	content("$odd/bytes/" . chr($byte), $byte) unless $byte == ord '.';
}
content("$odd/bytes/\\303\\277", 'a backslash and digits');
content("$odd/bytes/" . ('n' x 255), 'long');
content("$odd/bytes/" . ("\xff" x 255), 'long and no text');
mkdir "$odd/bytes/" . ("\xc3" x 255);
content("$odd/bytes/" . ("\xc3" x 255) . '/f', 'below');

mkdir "$odd/sizes" or die;
content("$odd/sizes/$_", noise($_)) for (5, 100, 4096, 4097, 8192, 8193, 1048576, 1048577, 5000000);
content("$odd/sizes/0", '');
content("$odd/sizes/text", 'a line of text that lz4 makes smaller' x 10000);
sparse("$odd/sizes/sparse", 300_000_000, 0, 100_000_000, 100_012_345);
sparse("$odd/sizes/hole", 5_000_000);
sparse("$odd/sizes/small_hole", 3000);
sparse("$odd/sizes/end", 50_000_000, 49_999_000 - 4000);

mkdir "$odd/links" or die;
symlink 'missing', "$odd/links/dangling";
symlink '../sizes/100', "$odd/links/relative";
symlink '/etc', "$odd/links/absolute";
symlink '..', "$odd/links/up";
symlink "\x01\xff\\", "$odd/links/bytes";
symlink 'x' x 4000, "$odd/links/long";
content("$odd/links/one", noise(10000));
link "$odd/links/one", "$odd/links/two" or die;
link "$odd/links/one", "$odd/sizes/three" or die;
content("$odd/links/in_row", 'small');
link "$odd/links/in_row", "$odd/bytes/in_row" or die;
link "$odd/links/dangling", "$odd/links/dangling_too" or die;

mkdir "$odd/modes" or die;
for my $mode (0400, 0440, 0444, 0600, 0644, 0755, 0777, 01644)
{
	content("$odd/modes/$mode", $mode);
	chmod $mode, "$odd/modes/$mode";
}
mkdir "$odd/modes/sticky";
chmod 01777, "$odd/modes/sticky";
mkdir "$odd/modes/empty";
system_or_bail('touch', '-h', '-d', '2001-02-03 04:05:06.123456789 UTC', "$odd/links/relative", "$odd/modes/420");
system_or_bail('touch', '-d', '1969-12-31 23:59:59.000000001 UTC', "$odd/modes/493");
system_or_bail('touch', '-d', '1950-01-01 00:00:00.5 UTC', "$odd/modes/empty");
system_or_bail('touch', '-d', '2100-01-01 UTC', "$odd/modes/511");
mkdir "$odd/modes/closed";
content("$odd/modes/closed/f", 'in a directory that nobody writes');
chmod 0555, "$odd/modes/closed";

# A thousand levels, with paths longer than the kernel takes.
sub make_deep
{
	my ($path, $levels) = @_;
	my $child = fork() // die;
	if (!$child)
	{
		mkdir $path and chdir $path or POSIX::_exit(1);
		for my $level (1 .. $levels)
		{
			my $name = 'a level with a long name ' . $level;
			mkdir $name and chdir $name or POSIX::_exit(1);
			content('f', "level $level") if $level % 100 == 0;
		}
		link 'f', '../same' or POSIX::_exit(1);
		POSIX::_exit(0);
	}
	waitpid $child, 0;
	die 'no deep tree' if $?;
}
make_deep("$odd/deep", 1000);

my $many = $full ? 100_000 : 10_000;
mkdir "$odd/many" or die;
content("$odd/many/file$_", "content of $_") for 1 .. $many;

# What is no file is passed over.
mkfifo("$odd/modes/fifo", 0600) or die;
socket(my $socket, PF_UNIX, SOCK_STREAM, 0);
chdir "$odd/modes";
bind($socket, sockaddr_un('socket')) or die "$!";
chdir '/';

my ($code, $out, $err) = $node->psql('postgres', "SELECT dbos.import_tree('$odd', '/odd')");
is($code, 0, 'a tree is imported') or diag($err);
like($err, qr/2 sockets, devices and pipes were skipped/, 'but what is no file');
my $files = `find '$odd' \\( -type f -o -type l \\) -printf x | wc -c` + 0;
is($out, $files, 'as many files as there are');
whole('import');
unlink "$odd/modes/fifo", "$odd/modes/socket";
# Their names were in it.
system_or_bail('touch', '-d', '2020-01-01 00:00:00.25 UTC', "$odd/modes");
$node->safe_psql('postgres', q{SELECT dbos.set_times('/odd/modes', NULL, 1577836800250000000)});
is($node->safe_psql('postgres', "SELECT dbos.export_tree('/odd', '$base/out')"), $files, 'and exported');
same($odd, "$base/out", 'round trip');

is($node->safe_psql('postgres', q{
SELECT encode(dbos.read_file('/odd/bytes/a\377z'), 'escape'), dbos.read_text('/odd/bytes/\134303\134277'), dbos.read_text('/odd/bytes/' || repeat('\303', 255) || '/f')}),
	'byte 255|a backslash and digits|below', 'names that are no text are read by their bytes');
is($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.extent x JOIN dbos.stat('/odd/sizes/sparse') s ON s.inode = x.inode WHERE x.died = 2147483647 HAVING sum(x.count) < 20}) > 0 ? 1 : 0, 1,
	'a hole has no chunks');
cmp_ok((stat "$base/out/sizes/sparse")[12] * 512, '<', 1_000_000, 'nor blocks on the host');
is($node->safe_psql('postgres', q{SELECT count(DISTINCT inode), min(link_count) FROM (VALUES ('/odd/links/one'), ('/odd/links/two'), ('/odd/sizes/three')) v (path), dbos.stat(v.path)}), '1|3', 'hard links are names of one file');
is($node->safe_psql('postgres', q{SELECT checksum IS NOT NULL FROM dbos.stat('/odd/sizes/5000000')}), 't', 'the checksum of a file without holes is known');

# Once more: nothing is to be done, and then what has changed.
is($node->safe_psql('postgres', "SELECT dbos.import_tree('$odd', '/odd')"), 0, 'an import that is done again finds all there');
content("$odd/sizes/100", 'changed');
content("$odd/sizes/new", 'new');
fails('postgres', "SELECT dbos.import_tree('$odd', '/odd')", qr{file "/odd/sizes/100" already exists}, 'what has changed is not replaced unasked');
is($node->safe_psql('postgres', "SELECT dbos.import_tree('$odd', '/odd', replace => true)"), 2, 'but when asked for');
is($node->safe_psql('postgres', q{SELECT dbos.read_text('/odd/sizes/100'), dbos.read_text('/odd/sizes/new')}), 'changed|new', 'with its new content');
mkdir "$base/clash";
mkdir "$base/clash/sizes";
content("$base/clash/bytes", 'is a directory there');
fails('postgres', "SELECT dbos.import_tree('$base/clash', '/odd', true)", qr{"/odd/bytes" is a directory}, 'a directory is not replaced by a file');
unlink "$base/clash/bytes";
rmdir "$base/clash/sizes";
content("$base/clash/in", 'x');
mkdir "$base/clash/sizes";
mkdir "$base/clash/sizes/100";
fails('postgres', "SELECT dbos.import_tree('$base/clash', '/odd', true)", qr{not a directory: "/odd/sizes/100"}, 'nor a file by a directory');
is($node->safe_psql('postgres', q{SELECT count(*) FROM dbos.files WHERE path = '/odd/in'}), 0, 'and nothing of such an import is left');
whole('again');

# ---- by tasks ----

my $task = $node->safe_psql('postgres', "SELECT dbos.submit_import('$odd', '/tasks')");
ok($node->poll_query_until('postgres', "SELECT state = 'succeeded' FROM dbos.tasks WHERE id = $task"), 'tasks import a tree')
  or diag($node->safe_psql('postgres', 'SELECT id, state, error FROM dbos.tasks'));
is($node->safe_psql('postgres', "SELECT sum(n::int) FROM dbos.tasks, jsonb_array_elements_text(result) n WHERE id = $task"), $files + 1, 'all of it');
$node->safe_psql('postgres', "SELECT dbos.export_tree('/tasks', '$base/out_tasks')");
same($odd, "$base/out_tasks", 'round trip of tasks');
$task = $node->safe_psql('postgres', "SELECT dbos.submit_import('$odd', '/tasks')");
$node->poll_query_until('postgres', "SELECT state = 'succeeded' FROM dbos.tasks WHERE id = $task");
is($node->safe_psql('postgres', "SELECT sum(n::int) FROM dbos.tasks, jsonb_array_elements_text(result) n WHERE id = $task"), 0, 'done again they do nothing');
whole('tasks');

is($node->safe_psql('postgres', "SELECT dbos.submit_import(NULL, '/x') IS NULL, dbos.import_tree('$odd', NULL) IS NULL"), 't|t', 'nothing is imported from nowhere, or to nowhere');

# ---- single files ----

is($node->safe_psql('postgres', "SELECT dbos.import_file('$odd/sizes/5000000', '/single'); SELECT dbos.export_file('/single', '$base/single')"), "5000000\n5000000", 'a file goes in and out');
is(`cmp '$odd/sizes/5000000' '$base/single' 2>&1`, '', 'byte for byte');
is((stat "$base/single")[2] & 07777, (stat "$odd/sizes/5000000")[2] & 07777, 'with its mode');
is($node->safe_psql('postgres', "SELECT dbos.link('/single', '/second'); SELECT dbos.import_file('$odd/sizes/sparse', '/single'); SELECT size FROM dbos.stat('/second')"), "\n300000000\n300000000", 'the content of a file that is there is replaced, by whatever name');
$node->safe_psql('postgres', "SELECT dbos.export_file('/single', '$base/single')");
is(`cmp '$odd/sizes/sparse' '$base/single' 2>&1`, '', 'a file of the host is replaced');
is($node->safe_psql('postgres', "SELECT dbos.import_file('$odd/sizes/5', '/single'); SELECT storage FROM dbos.stat('/single')"), "5\ninline", 'a small one comes into the row');
cmp_ok($node->safe_psql('postgres', q{SELECT dbos.import_file('/proc/self/status', '/status')}), '>', 100, 'what has no size beforehand is read to its end');
like($node->safe_psql('postgres', q{SELECT dbos.read_text('/status')}), qr/^Name:/, 'all of it');
mkfifo("$base/fifo", 0600) or die;
fails('postgres', "SELECT dbos.import_file('$base/fifo', '/fifo')", qr/fifo" of the host is not a regular file/, 'nobody waits for a pipe');
fails('postgres', "SELECT dbos.import_file('$odd', '/dir')", qr/is not a regular file.*import_tree/s, 'a directory is no file');
fails('postgres', "SELECT dbos.import_file('$odd/missing', '/missing')", qr{could not open file "\Q$odd\E/missing" of the host: No such file}, 'what is missing is named');
fails('postgres', "SELECT dbos.import_file('relative', '/x')", qr/does not begin with a slash/, 'there is no current directory');
fails('postgres', "SELECT dbos.import_file('$odd/sizes/5', '/odd')", qr{"/odd" is a directory}, 'a file does not replace a directory');
fails('postgres', "SELECT dbos.import_tree('$odd/sizes/5', '/x')", qr/Not a directory/, 'a file is no tree');
fails('postgres', "SELECT dbos.export_file('/odd', '$base/x')", qr{"/odd" is a directory}, 'nor is a directory exported as a file');
fails('postgres', "SELECT dbos.export_file('/single', '$base/missing/x')", qr{could not open directory "\Q$base\E/missing"}, 'the directory must be there');
fails('postgres', "SELECT dbos.export_file('/single', '$odd')", qr{Is a directory|File exists}, 'a directory of the host is not replaced');
fails('postgres', "SELECT dbos.export_tree('/odd', '$base/out')", qr/is not empty/, 'nothing of the host is mixed with a tree');
is(join(' ', grep { /dbos-export/ } glob "$base/.* $base/*"), '', 'no temporary file is left');

# ---- rights ----

$node->safe_psql('postgres', q{SELECT dbos.mkdir('/ann'), dbos.chown('/ann', 'ann'), dbos.mkdir('/closed'), dbos.chmod('/closed', '0700')});
for my $call ("import_file('$odd/sizes/5', '/bob')", "import_tree('$odd', '/bob')", "submit_import('$odd', '/bob')", "import_plan('$odd', '/bob')",
	"import_batch('$odd', '/odd', '[]')", "export_file('/single', '$base/bob')", "export_tree('/odd', '$base/bob')")
{
	fails('bob', "SELECT dbos.$call", qr/permission denied to (read|write) files of the server's host/, "bob may not $call");
}
fails('ann', "SELECT dbos.import_tree('$odd', '/closed/in')", qr{permission denied for file "/closed/in"}, 'rights here are asked too');
fails('ann', "SELECT dbos.import_tree('$odd/sizes', '/odd/sizes2')", qr{permission denied for file "/odd/sizes2"}, 'and where a tree is to be');
fails('ann', "SELECT dbos.import_file('$odd/sizes/5', '/single')", qr{permission denied for file "/single"}, 'and of a file');
$node->safe_psql('postgres', q{SELECT dbos.write_text('/ann/secret', 'x'), dbos.chmod('/ann/secret', '0600'), dbos.chown('/ann/secret', 'bob')});
fails('ann', "SELECT dbos.export_tree('/ann', '$base/ann')", qr{permission denied for file "/ann/secret"}, 'what may not be read is not exported');
fails('ann', "SELECT dbos.export_file('/ann/secret', '$base/ann')", qr{permission denied for file "/ann/secret"}, 'by no way');
$node->safe_psql('postgres', q{SELECT dbos.unlink('/ann/secret')});
mkdir "$base/set_id" or die;
content("$base/set_id/program", 'x');
chmod 06755, "$base/set_id/program";
mkdir "$base/set_id/directory";
chmod 02755, "$base/set_id/directory";
$node->safe_psql('postgres', "SET ROLE ann; SELECT dbos.import_tree('$base/set_id', '/ann/set_id'), dbos.import_tree('$odd/modes', '/ann/modes')");
is($node->safe_psql('postgres', q{SELECT s.mode, s.owner FROM dbos.stat('/ann/set_id/program') s}), oct('755') . '|ann', 'set-id bits are dropped, and who imports is the owner');
is($node->safe_psql('postgres', q{SELECT mode FROM dbos.stat('/ann/set_id/directory')}), oct('755'), 'of directories too');
is($node->safe_psql('postgres', q{SELECT mode, dbos.read_text('/ann/modes/closed/f') FROM dbos.stat('/ann/modes/closed')}), oct('555') . '|in a directory that nobody writes', 'a directory that its owner may not write is filled');
$node->safe_psql('postgres', "SELECT dbos.import_tree('$base/set_id', '/set_id'); SELECT dbos.export_tree('/set_id', '$base/set_id_out')");
is($node->safe_psql('postgres', q{SELECT mode FROM dbos.stat('/set_id/program')}), oct('6755'), 'an administrator keeps them');
is((stat "$base/set_id_out/program")[2] & 07777, 0755, 'on the host they are not set');
my $plan = $node->safe_psql('postgres', "SET ROLE ann; SELECT dbos.submit_import('$odd/modes', '/ann/by_task')");
ok($node->poll_query_until('postgres', "SELECT state = 'succeeded' FROM dbos.tasks WHERE id = $plan"), 'tasks run as who submitted them');
is($node->safe_psql('postgres', q{SELECT s.owner, dbos.read_text('/ann/by_task/closed/f') FROM dbos.stat('/ann/by_task/closed/f') s}), 'ann|in a directory that nobody writes', 'and fill what only their owner could');
for my $batch ('{}', '1', '[1]', '[["a"]]', '[["", 1]]', '[["", true, 1]]', '[["", true, ""]]', '[["", true, ".."]]', '[["", true, "sizes/5"]]', '[[["x"]]]')
{
	fails('postgres', "SELECT dbos.import_batch('$odd', '/odd', '$batch')", qr/files of a batch must be lists/, "$batch is no batch");
}
fails('ann', "SELECT dbos.import_batch('$odd', '/closed', '[[\"\", true, \"x\"]]')", qr{permission denied}, 'a batch says nothing of rights');

# ---- other places ----

$node->safe_psql('postgres', "SELECT dbos.mkdir('/objects', storage => 'large_object'); SELECT dbos.import_tree('$odd/sizes', '/objects/sizes'); SELECT dbos.export_tree('/objects/sizes', '$base/out_objects')");
is(image("$odd/sizes"), image("$base/out_objects"), 'round trip of large objects');
$node->safe_psql('postgres', q{SELECT dbos.create_container('inner')});
$node->safe_psql('postgres', "SELECT dbos.enter_container('inner'); SELECT dbos.import_tree('$odd/links', '/'); SELECT dbos.export_tree('/', '$base/out_inner')");
is($node->safe_psql('postgres', q{SELECT dbos.enter_container('inner'); SELECT count(*) > 5 FROM dbos.ls('/')}), "\nt", 'a container has its own');
is(`diff -r --no-dereference '$odd/links' '$base/out_inner' 2>&1`, '', 'and gives it back');
whole('places');

# ---- cut off ----

mkdir "$base/held" or die;
mkdir "$base/held/$_" or die for 1 .. 20;
for my $n (1 .. 20) { content("$base/held/$n/f$_", "content $_") for 1 .. 100 }
content("$base/held/7/held", 'where the test holds it');

# Which files of the trees a process has open.
sub open_files
{
	my ($pid) = @_;
	return join ' ', grep { index($_, $base) == 0 } map { readlink $_ // '' } glob "/proc/$pid/fd/*";
}

SKIP:
{
	skip 'the library has no stop points: it was not built with -DDBOS_TESTING', 1 unless $testing;
	my $key = q{hashtext('dbos stop point'), hashtext('held')};
	my $waits = q{SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objsubid = 2 LIMIT 1};
	my $nobody_sees = q{SELECT count(*) FROM dbos.files WHERE path LIKE '/held%'};
	my $holder = $node->background_psql('postgres');
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $backend = $session->query('SELECT pg_backend_pid()');
	# The session begins to import, and comes to the file that is held.
	my $begin = sub {
		$holder->query_safe("SELECT pg_advisory_lock($key)");
		$session->{stderr} = '';
		$session->query_until(qr/begins/, "\\echo begins\nSELECT dbos.import_tree('$base/held', '/held');\n");
		ok($node->poll_query_until('postgres', "SELECT EXISTS ($waits)"), 'an import is in the middle');
	};

	$begin->();
	like(open_files($backend), qr{/held}, 'with a directory open');
	is($node->safe_psql('postgres', $nobody_sees), 0, 'nobody sees it yet');
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($backend)");
	is($session->query('SELECT 1'), '1', 'a cancelled import leaves the session as it was');
	like($session->{stderr}, qr/canceling statement due to user request/, 'and says so');
	is(open_files($backend), '', 'with nothing open');
	$holder->query_safe("SELECT pg_advisory_unlock($key)");
	is($node->safe_psql('postgres', $nobody_sees), 0, 'and leaves nothing');
	whole('cancelled');

	$begin->();
	rename "$base/held/7", "$base/moved" or die;
	$holder->query_safe("SELECT pg_advisory_unlock($key)");
	is($session->query('SELECT 2'), '2', 'a directory that is moved while it is read ends the import');
	like($session->{stderr}, qr/was moved meanwhile/, 'so it says');
	rename "$base/moved", "$base/held/7" or die;
	is($node->safe_psql('postgres', $nobody_sees), 0, 'without a trace');

	# A file that is gone, and one that has become a pipe, since their names were read.
	$begin->();
	unlink "$base/held/7/held";
	mkfifo("$base/held/7/held", 0600) or die;
	$holder->query_safe("SELECT pg_advisory_unlock($key)");
	is($session->query('SELECT 3'), "2000\n3", 'what has become a pipe is waited for by nobody');
	unlink "$base/held/7/held";
	content("$base/held/7/held", 'a file again');
	$node->safe_psql('postgres', q{SELECT dbos.remove('/held', recursive => true)});

	# A task is killed, and with it the server.
	$holder->query_safe("SELECT pg_advisory_lock($key)");
	my $id = $node->safe_psql('postgres', "SELECT dbos.submit_import('$base/held', '/held')");
	ok($node->poll_query_until('postgres', "SELECT EXISTS ($waits)"), 'a task of an import is in the middle');
	my $pid = $node->safe_psql('postgres', $waits);
	my $log = -s $node->logfile;
	kill 'KILL', $pid;
	$node->wait_for_log(qr/database system is ready to accept connections/, $log);
	ok($node->poll_query_until('postgres', "SELECT state = 'succeeded' FROM dbos.tasks WHERE id = $id"), 'and is finished by another try')
	  or diag($node->safe_psql('postgres', 'SELECT id, state, error FROM dbos.tasks ORDER BY id DESC LIMIT 5'));
	$node->safe_psql('postgres', "SELECT dbos.export_tree('/held', '$base/out_held')");
	same("$base/held", "$base/out_held", 'round trip of what was killed');
	whole('killed');
	# Their server is another one.
	$_->{run}->kill_kill for $holder, $session;
}

$node->stop;
# What the test module removes by whole paths it would not find.
system('chmod', '-R', 'u+rwx', $base);
system('rm', '-rf', $base);
done_testing();
