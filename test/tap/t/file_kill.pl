# Whatever is killed while files are written, renamed, copied, cut, imported, kept in snapshots and removed: what a client saw committed is there, byte by byte, and nothing of what was rolled back.
# SPDX-License-Identifier: PostgreSQL
#
# Each client keeps a ledger outside of the server: what its files contain, which nobody else writes.  Where the answer to a commit was
# lost, all of that transaction is there, or nothing of it.
use strict;
use warnings;
use Digest::MD5 qw(md5 md5_hex);
use FileTables;
use IO::Handle;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RandomKills;
use Test::More;

my $kills = $ENV{DBOS_TORTURE} ? 1000 : 100;
my $clients = 4;
my $seed = $ENV{DBOS_SEED} || 42;
my $folder = PostgreSQL::Test::Utils::tempdir;

my $node = PostgreSQL::Test::Cluster->new('file_kill');
$node->init;
# Processes are killed, not the machine: what was written is in the files, flushed or not.
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'dbos'
restart_after_crash = on
fsync = off
autovacuum_naptime = 1s
log_min_messages = error
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
SELECT dbos.mkdir('/shared/0', true), dbos.mkdir('/shared/1', true);
-- What tells by itself whose it is: so long, and compressible or not.
CREATE FUNCTION bytes(tag text, length int) RETURNS bytea LANGUAGE sql AS $$
	SELECT CASE WHEN length > 40000 THEN convert_to(left(repeat(tag || ' ', length / length(tag) + 1), length), 'UTF8')
		ELSE substr((SELECT coalesce(string_agg(decode(md5(tag || n), 'hex'), '' ORDER BY n), '') FROM generate_series(1, length / 16 + 1) n), 1, length) END $$;
CREATE FUNCTION state_of(path text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	s record;
	e text;
BEGIN
	SELECT * INTO s FROM dbos.stat(path);
	IF s.kind = 'file' THEN
		RETURN NEXT concat_ws(' ', path, s.size, s.link_count, md5(dbos.read_file(path)));
		RETURN;
	END IF;
	RETURN NEXT path;
	FOR e IN SELECT name FROM dbos.ls(path) LOOP
		RETURN QUERY SELECT public.state_of(path || '/' || e);
	END LOOP;
END $$;
CREATE FUNCTION state(client text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT public.state_of('/' || client) UNION ALL
	SELECT public.state_of(d || '/' || l.name) FROM unnest(ARRAY['/shared/0', '/shared/1']) d, dbos.ls(d) l WHERE l.name LIKE client || '.%' $$;
CREATE FUNCTION state_in(snapshot text, path text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	s record;
	e text;
BEGIN
	SELECT * INTO s FROM dbos.snapshot_stat(snapshot, path);
	IF s.kind = 'file' THEN
		RETURN NEXT concat_ws(' ', path, s.size, s.link_count, md5(dbos.read_snapshot(snapshot, path)));
		RETURN;
	END IF;
	RETURN NEXT path;
	FOR e IN SELECT name FROM dbos.snapshot_ls(snapshot, path) LOOP
		RETURN QUERY SELECT public.state_in(snapshot, path || '/' || e);
	END LOOP;
END $$;
});
make_file_problems($node, 'postgres');

sub bytes
{
	my ($tag, $length) = @_;
	return substr("$tag " x (int($length / length($tag)) + 1), 0, $length) if $length > 40_000;
	return substr(join('', map { md5("$tag$_") } 1 .. int($length / 16) + 1), 0, $length);
}

# A tree of the host, which is imported now and then.
my %host;
mkdir "$folder/host" or die $!;
foreach my $directory ('', 'x/', 'x/y/')
{
	mkdir "$folder/host/$directory" if $directory;
	foreach my $number (1 .. 12)
	{
		my $name = "$directory$number";
		$host{$name} = bytes("host $name", (0, 10, 4096, 4097, 20_000, 50_000)[ $number % 6 ] + $number % 3);
		append_to_file("$folder/host/$name", $host{$name});
	}
}

my $killed = RandomKills->new($node, $folder);
sub ask { return $killed->ask(@_) }

# ---- the ledger of a client: paths, with what is there; two names of a file share it ----

sub state_lines
{
	my ($paths, $below) = @_;
	my %links;
	$links{$_}++ foreach grep { $_ } values %$paths;
	my @lines;
	foreach my $path (grep { !defined $below || $_ eq $below || index($_, "$below/") == 0 } keys %$paths)
	{
		my $file = $paths->{$path};
		push @lines, $file ? join(' ', $path, length($file->{content}), $links{$file}, md5_hex($file->{content})) : $path;
	}
	return join("\n", sort @lines);
}

# What is written to a file that may have two names: the one of before stays with the ledger of before.
sub new_content
{
	my ($paths, $old, $content) = @_;
	my $new = { content => $content };
	foreach my $path (keys %$paths) { $paths->{$path} = $new if $old && $paths->{$path} && $paths->{$path} == $old; }
	return $new;
}

sub one_of { return $_[ int(rand(@_)) ] }

# Does something to the paths; returns the SQL that does it to the files.
sub operation
{
	my ($client, $step, $paths, $done) = @_;
	my @directories = grep { !$paths->{$_} } sort keys %$paths;
	my @files = grep { $paths->{$_} } sort keys %$paths;
	my $new_name = sub {
		return "/shared/" . int(rand(2)) . "/$client." . int(rand(5)) if rand() < 0.3;
		return one_of(@directories) . '/f' . int(rand(4));
	};
	my $file = @files ? one_of(@files) : undef;
	my $tag = "$client.$step";
	my $size = one_of(int(rand(100)), int(rand(4000)), 4096, 4097, 8192, 8193, 20_000, 30_000, 100_000);
	my $dice = rand();
	if ($dice < 0.2 || !$file)
	{
		my $path = $new_name->();
		$paths->{$path} = new_content($paths, $paths->{$path}, bytes($tag, $size));
		$done->{write}++;
		return "SELECT dbos.write_file('$path', bytes('$tag', $size)) IS NULL;";
	}
	my $old = $paths->{$file};
	if ($dice < 0.35)
	{
		return 'SELECT;' if length($old->{content}) > 300_000;
		$paths->{$file} = new_content($paths, $old, $old->{content} . bytes($tag, $size));
		$done->{append}++;
		return "SELECT dbos.write_file('$file', bytes('$tag', $size), true) IS NULL;";
	}
	if ($dice < 0.45)
	{
		my $start = int(rand(length($old->{content}) + 3000));
		my $content = $old->{content};
		$size = 30_000 if $size > 30_000;
		$size++;
		$content .= "\0" x ($start - length($content)) if $start > length($content);
		substr($content, $start, $size) = bytes($tag, $size);
		$paths->{$file} = new_content($paths, $old, $content);
		$done->{overwrite}++;
		return "SELECT dbos.write_at('$file', $start, bytes('$tag', $size)) IS NULL;";
	}
	if ($dice < 0.52)
	{
		my $length = int(rand(1.2 * length($old->{content})));
		my $content = substr($old->{content}, 0, $length);
		$paths->{$file} = new_content($paths, $old, $content . "\0" x ($length - length($content)));
		$done->{truncate}++;
		return "SELECT dbos.truncate_file('$file', $length) IS NULL;";
	}
	if ($dice < 0.6)
	{
		my $path = $new_name->();
		my $there = $paths->{$path};
		return 'SELECT;' if $there && $there == $old;
		$paths->{$path} = new_content($paths, $there, $old->{content});
		$done->{copy}++;
		return "SELECT dbos.copy('$file', '$path') IS NULL;";
	}
	if ($dice < 0.72)
	{
		my $path = $new_name->();
		return 'SELECT;' if $paths->{$path} && $paths->{$path} == $old;
		$done->{ $paths->{$path} ? 'rename over' : 'rename' }++;
		delete $paths->{$file};
		$paths->{$path} = $old;
		return "SELECT dbos.rename('$file', '$path') IS NULL;";
	}
	if ($dice < 0.76)
	{
		my $path = $new_name->();
		return 'SELECT;' if $paths->{$path};
		$paths->{$path} = $old;
		$done->{link}++;
		return "SELECT dbos.link('$file', '$path') IS NULL;";
	}
	if ($dice < 0.83)
	{
		delete $paths->{$file};
		$done->{unlink}++;
		return "SELECT dbos.unlink('$file') IS NULL;";
	}
	my @inner = grep { $_ ne "/$client" } @directories;
	if ($dice < 0.9 || !@inner)
	{
		my $path = one_of(@directories) . '/d' . int(rand(3));
		return 'SELECT;' if exists $paths->{$path} || @directories > 12;
		$paths->{$path} = undef;
		$done->{mkdir}++;
		return "SELECT dbos.mkdir('$path') IS NULL;";
	}
	my $directory = one_of(@inner);
	if ($dice < 0.95)
	{
		my $into = one_of(grep { index("$_/", "$directory/") != 0 } @directories);
		my $path = "$into/d" . int(rand(3));
		return 'SELECT;' if exists $paths->{$path};
		foreach my $one (grep { index("$_/", "$directory/") == 0 } keys %$paths) { $paths->{ $path . substr($one, length($directory)) } = delete $paths->{$one}; }
		$done->{'rename directory'}++;
		return "SELECT dbos.rename('$directory', '$path') IS NULL;";
	}
	if ($dice < 0.98)
	{
		delete $paths->{$_} foreach grep { index("$_/", "$directory/") == 0 } keys %$paths;
		$done->{remove}++;
		return "SELECT dbos.remove('$directory', true) IS NULL;";
	}
	my $path = "$directory/d3";
	return 'SELECT;' if exists $paths->{$path};
	$paths->{$path} = undef;
	foreach my $name (keys %host)
	{
		my $at = $path;
		foreach my $part (split m{/}, $name =~ s{[^/]*$}{}r) { $at .= "/$part"; $paths->{$at} = undef; }
		$paths->{"$path/$name"} = { content => $host{$name} };
	}
	$done->{import}++;
	return "SELECT dbos.import_tree('$folder/host', '$path') IS NULL;";
}

sub client
{
	my ($number) = @_;
	my $client = "c$number";
	my ($send, $connect) = $killed->session($client, '-q');
	open(my $log, '>', "$folder/$client") or die $!;
	$log->autoflush(1);
	srand($seed * 100 + $number);
	my (%done, %snapshots);
	my $paths = {};

	# The state as it is in the server, however often it takes to ask.
	my $ask = sub {
		my ($sql) = @_;
		while (1)
		{
			my ($all, @lines) = $send->($sql);
			return join("\n", sort @lines) if $all;
			$connect->();
		}
	};
	my $same = sub {
		my ($what, $got, @expected) = @_;
		foreach my $one (0 .. $#expected) { return $one if $got eq $expected[$one]; }
		foreach my $one (@expected)
		{
			my %got = map { $_ => 1 } split /\n/, $got;
			my %wanted = map { $_ => 1 } split /\n/, $one;
			print $log "wrong $what: there is [" . join(', ', grep { !$wanted{$_} } sort keys %got) . '], there should be [' . join(', ', grep { !$got{$_} } sort keys %wanted) . "]\n";
		}
		POSIX::_exit(1);
	};
	my $check_snapshots = sub {
		foreach my $name (sort keys %snapshots)
		{
			$same->("snapshot $name", $ask->("SELECT state_in('$name', '/$client');"), $snapshots{$name});
			$done{'snapshot compared'}++;
		}
	};
	$connect->();
	$ask->("SELECT dbos.mkdir('/$client', true) IS NULL;");
	$paths->{"/$client"} = undef;
	for (my $step = 1; !-e "$folder/stop"; $step++)
	{
		if (rand() < 0.04)
		{
			my $name = "$client.$step";
			my ($all) = $send->("SELECT dbos.snapshot('/$client', '$name') IS NULL;");
			$connect->() unless $all;
			if ($all || $ask->("SELECT 'there' FROM dbos.snapshots WHERE name = '$name';") eq 'there')
			{
				$snapshots{$name} = state_lines($paths, "/$client");
				$done{$all ? 'snapshot' : 'snapshot whose answer was lost'}++;
			}
			next;
		}
		if (keys %snapshots > 3)
		{
			$check_snapshots->();
			my $name = one_of(sort keys %snapshots);
			$ask->("SELECT dbos.drop_snapshot(name) IS NULL FROM dbos.snapshots WHERE name = '$name';");
			delete $snapshots{$name};
			next;
		}
		my $new = {%$paths};
		my $way = rand();
		my %doing;
		my $sql = '';
		if ($way < 0.4) { $sql = operation($client, $step, $new, \%doing); }
		else
		{
			$sql = join("\n", 'BEGIN;', map { operation($client, "$step.$_", $new, \%doing) } 1 .. 1 + int(rand(4)));
			if (rand() < 0.3)
			{
				my $back = {%$new};
				$sql .= "\nSAVEPOINT s;\n" . join("\n", map { operation($client, "$step.back.$_", $back, {}) } 1 .. 3) . "\nROLLBACK TO s;";
			}
			if ($way > 0.9) { $sql .= "\nROLLBACK;"; $new = $paths; $done{'rolled back'}++; }
			else { $sql .= "\nCOMMIT;"; }
		}
		my ($all) = $send->($sql);
		if ($all)
		{
			$done{$_} += $doing{$_} foreach keys %doing;
			$done{committed}++;
			$paths = $new;
		}
		else { $connect->(); }
		next if $all && rand() < 0.9;
		# Some of it may have been cut off in the session alone: what is there tells.
		my $which = $same->("step $step, " . ($all ? '' : 'whose answer was lost, ') . "of: $sql", $ask->("SELECT state('$client');"), state_lines($new), state_lines($paths));
		$done{ $which ? 'lost' : 'there, though its answer was lost' }++ unless $all;
		$paths = $new unless $which;
	}
	$same->('the end', $ask->("SELECT state('$client');"), state_lines($paths));
	$check_snapshots->();
	print $log join(', ', map { "$_ $done{$_}" } sort keys %done), "\n";
}

my @clients = map { $killed->begin(\&client, $_) } 1 .. $clients;
my $checks = 0;
my $problems = '';
sub check_tables
{
	$checks++;
	$problems ||= ask('SELECT * FROM file_problems');
}

$killed->run(kills => $kills, seed => $seed, whom => [
	[ 4,  'postmaster' ],
	[ 4,  'stop immediate' ],
	[ 2,  'stop fast' ],
	[ 40, 'client', 'KILL', "application_name ~ '^c[0-9]'" ],
	[ 40, 'client', 'TERM', "application_name ~ '^c[0-9]'" ],
	[ 6,  'background', 'KILL', "backend_type ~ '^dbos|autovacuum worker'" ],
	[ 4,  'background', 'TERM', "backend_type ~ '^dbos|autovacuum worker'" ] ],
	after => sub {
		my ($number, $whom) = @_;
		check_tables() if $number % 5 == 0 || $whom =~ /^(postmaster|stop)/;
		return $problems eq '';
	});

# ---- the sum ----

append_to_file("$folder/stop", '');
is($killed->reap(@clients), $clients, 'every client came to its end');
my %all;
foreach my $number (1 .. $clients)
{
	# A client may be cut off; nothing that it asks for is refused.
	is($killed->refused("c$number"), '', "client $number was refused nothing");
	my $log = slurp_file("$folder/c$number");
	is(join("\n", grep { /^wrong/ } split /\n/, $log), '', "client $number found what it had committed, and nothing else");
	while ($log =~ /([a-z][a-z, ]*?) (\d+)(?:, |$)/mg) { $all{$1} += $2; }
}
note(join(', ', map { "$_ $all{$_}" } sort keys %all));
foreach my $what ('write', 'append', 'overwrite', 'truncate', 'copy', 'rename', 'rename over', 'rename directory', 'link', 'unlink', 'mkdir', 'remove',
	'import', 'snapshot compared', 'rolled back', 'lost')
{
	cmp_ok($all{$what} // 0, '>', 0, "clients did: $what");
}
check_tables();
is($problems, '', "what is in the tables fits together, $checks times");
ask('SELECT dbos.reclaim_files()');
is(ask('SELECT * FROM file_problems'), '', 'and also when what nobody needs is deleted');
$node->stop;
done_testing();
