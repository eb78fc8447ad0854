# Random operations on files, in transactions, savepoints and rollbacks of several sessions, do what a model in memory does, which is POSIX.
# SPDX-License-Identifier: PostgreSQL
#
# One session acts at a time, but their transactions interleave: each has a directory of its own, and one that they share is
# worked in by who comes first, until the end of his transaction.  So the model is exact: it is told what each operation
# is to return, or which error, and keeps an undo list for each session.
use strict;
use warnings;
use Digest::MD5 qw(md5_hex);
use FileTables;
use IPC::Open3;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $operations = $ENV{DBOS_OPERATIONS} || ($ENV{DBOS_TORTURE} ? 100_000 : 10_000);
my $seed = $ENV{DBOS_SEED} || time =~ s/\..*//r;
my $nsessions = 4;
my $folder = PostgreSQL::Test::Utils::tempdir;
note("seed $seed, for DBOS_SEED; $operations operations");
srand($seed);

my $BLOCK = 1 << 16;
my $INLINE = 4096;
my $CHUNK = 8192;
my $TB = 1 << 40;

# ---- the model ----

# A node: kind (d, f, l), mode, links, entries and parent of a directory, content of a file, target of a link.
# Content is never changed but replaced: size, and what is in it by blocks, without those that were never written.
my $root = { kind => 'd', mode => 01775, entries => {}, foreign => 1 };
my %snapshots;  # by name: the lines of the tree as it was, and its files
my $session;    # the one that acts
my %token;      # by what it is of: the session that has it

sub fail_with { die { code => $_[0] } }

sub undo_with { push @{ $session->{undo} }, $_[0] if $session; return }

sub back_to
{
	my ($mark) = @_;
	my $undo = $session->{undo};
	while (@$undo > $mark) { (pop @$undo)->(); }
}

# The operation cannot be done now without waiting for another session.
sub give_up { die { given_up => 1 } }

sub take_token
{
	my ($of) = @_;
	give_up() if $token{$of} && $token{$of} != $session;
	# With an older snapshot what others did meanwhile is not seen.
	give_up() if !$token{$of} && $session->{repeatable};
	$token{$of} = $session;
}

sub content { return { size => 0, blocks => {} } }

sub content_read
{
	my ($content, $start, $length) = @_;
	return '' if $start >= $content->{size};
	$length = $content->{size} - $start if $start + $length > $content->{size};
	my $result = '';
	while ($length > 0)
	{
		my $number = $start >> 16;
		my $at = $start - $number * $BLOCK;
		my $part = $BLOCK - $at < $length ? $BLOCK - $at : $length;
		my $block = $content->{blocks}{$number};
		my $piece = defined $block && length($block) > $at ? substr($block, $at, $part) : '';
		$result .= $piece . "\0" x ($part - length($piece));
		$start += $part;
		$length -= $part;
	}
	return $result;
}

sub content_write
{
	my ($content, $start, $bytes) = @_;
	my $new = { size => $content->{size}, blocks => { %{ $content->{blocks} } } };
	my $length = length($bytes);
	$new->{size} = $start + $length if $length > 0 && $start + $length > $new->{size};
	my $done = 0;
	while ($done < $length)
	{
		my $number = ($start + $done) >> 16;
		my $at = $start + $done - $number * $BLOCK;
		my $part = $BLOCK - $at < $length - $done ? $BLOCK - $at : $length - $done;
		my $block = $new->{blocks}{$number} // '';
		$block .= "\0" x ($at - length($block)) if length($block) < $at;
		substr($block, $at, $part) = substr($bytes, $done, $part);
		$new->{blocks}{$number} = $block;
		$done += $part;
	}
	return $new;
}

sub content_truncate
{
	my ($content, $size) = @_;
	my $new = { size => $size, blocks => { %{ $content->{blocks} } } };
	foreach my $number (keys %{ $new->{blocks} })
	{
		my $kept = $size - $number * $BLOCK;
		if ($kept <= 0) { delete $new->{blocks}{$number}; }
		elsif ($kept < length($new->{blocks}{$number})) { $new->{blocks}{$number} = substr($new->{blocks}{$number}, 0, $kept); }
	}
	return $new;
}

# Zeros, as far as the content goes.
sub content_punch
{
	my ($content, $start, $length) = @_;
	my $new = { size => $content->{size}, blocks => { %{ $content->{blocks} } } };
	foreach my $number (keys %{ $new->{blocks} })
	{
		my $block = $new->{blocks}{$number};
		my $from = $start - $number * $BLOCK;
		my $to = $from + $length;
		$from = 0 if $from < 0;
		$to = length($block) if $to > length($block);
		next if $from >= $to;
		substr($block, $from, $to - $from) = "\0" x ($to - $from);
		$new->{blocks}{$number} = $block;
	}
	return $new;
}

# A file may have names in directories of two sessions: who changes it has it until the end of his transaction.
my $clock = 0;

sub others
{
	my ($node) = @_;
	return ($node->{by} && $node->{by} != $session) || ($session->{repeatable} && ($node->{at} // 0) > $session->{began});
}

sub hold
{
	my ($node) = @_;
	give_up() if others($node);
	return if !$session || $node->{by};
	$node->{by} = $session;
	push @{ $session->{held} }, $node;
}

sub set
{
	my ($node, $field, $value) = @_;
	hold($node) unless $node->{kind} eq 'd';
	my $old = $node->{$field};
	undo_with(sub { $node->{$field} = $old });
	$node->{$field} = $value;
}

sub set_entry
{
	my ($directory, $name, $node) = @_;
	my $old = $directory->{entries}{$name};
	undo_with(sub { $old ? ($directory->{entries}{$name} = $old) : delete $directory->{entries}{$name} });
	if ($node) { $directory->{entries}{$name} = $node; }
	else { delete $directory->{entries}{$name}; }
}

# Who asks owns everything that is there.
sub demand
{
	my ($node, $want) = @_;
	fail_with('42501') unless (($node->{mode} >> 6) & $want) == $want;
}

# The bytes of a name, which is given as text.
sub bytes_of { return $_[0] =~ s/\\(134|[23][0-7][0-7])/chr(oct($1))/ger }

sub resolve
{
	my ($path, $follow) = @_;
	my $at = $path;
	my $current = $root;
	my $links = 0;
	my %found = (name => '', path => $path, must => 0);
	fail_with('42602') unless $path =~ m{^/};
	while (1)
	{
		$at =~ s{^/+}{};
		if ($at eq '')
		{
			give_up() if $current == $root;
			return { %found, found => 1, node => $current, name => '', must => 1 };
		}
		$at =~ s{^([^/]+)}{};
		my $name = $1;
		fail_with('42622') if length(bytes_of($name)) > 255;
		fail_with('DB009') unless $current->{kind} eq 'd';
		demand($current, 1) unless $current == $root;
		my $last = $at !~ m{[^/]};
		@found{qw(directory name must)} = ($current, $name, $at =~ m{^/} ? 1 : 0);
		if ($name eq '.' || $name eq '..')
		{
			$found{name} = '';
			$current = $current->{parent} if $name eq '..' && $current != $root;
			next;
		}
		if ($current == $root)
		{
			if ($name eq 'shared') { take_token('shared'); }
			else { give_up() unless $name eq $session->{top}; }
		}
		my $node = $current->{entries}{$name};
		if (!$node)
		{
			fail_with('58P01') unless $last;
			return { %found, found => 0 };
		}
		if ($node->{kind} eq 'l' && (!$last || $follow || $found{must}))
		{
			fail_with('DB012') if ++$links > 40;
			$at = $node->{target} . $at;
			$current = $root if $at =~ m{^/};
			next;
		}
		if ($last)
		{
			give_up() if others($node);
			fail_with('DB009') if $found{must} && $node->{kind} ne 'd';
			return { %found, found => 1, node => $node };
		}
		$current = $node;
	}
}

sub require_found
{
	my $found = resolve(@_);
	fail_with('58P01') unless $found->{found};
	return $found;
}

sub require_file
{
	my ($found) = @_;
	fail_with('DB010') if $found->{node}{kind} eq 'd';
}

sub may_change
{
	my ($directory) = @_;
	demand($directory, 3) unless $directory == $root;
}

sub make_node
{
	my ($found, %node) = @_;
	fail_with('58P02') if $found->{name} eq '';
	fail_with('58P01') if $found->{must} && $node{kind} ne 'd';
	may_change($found->{directory});
	my $node = { links => 1, %node };
	if ($node{kind} eq 'd') { $node->{entries} = {}; $node->{parent} = $found->{directory}; }
	set_entry($found->{directory}, $found->{name}, $node);
	return $node;
}

sub check_size
{
	my ($size) = @_;
	fail_with('22023') if $size < 0;
	fail_with('54000') if $size > 1 << 60;
}

sub lies_in
{
	my ($directory, $other) = @_;
	for (; $directory; $directory = $directory->{parent}) { return 1 if $directory == $other; }
	return 0;
}

sub drop_name
{
	my ($node) = @_;
	set($node, 'links', $node->{links} - 1) unless $node->{kind} eq 'd';
}

sub empty_directory
{
	my ($directory) = @_;
	my $entries = $directory->{entries};
	return unless %$entries;
	demand($directory, 7);
	foreach my $name (keys %$entries)
	{
		my $node = $entries->{$name};
		if ($node->{kind} eq 'd') { empty_directory($node); }
		else { drop_name($node); }
		set_entry($directory, $name, undef);
	}
}

sub told
{
	my ($content, $start, $length) = @_;
	my $bytes = content_read($content, $start, $length);
	return length($bytes) . ' ' . md5_hex($bytes);
}

my %kind = (d => 'directory', f => 'file', l => 'symlink');
sub size_of { my ($node) = @_; return $node->{kind} eq 'f' ? $node->{content}{size} : $node->{kind} eq 'l' ? length(bytes_of($node->{target})) : 0 }
sub links_of { my ($node) = @_; return $node->{kind} eq 'd' ? 2 + grep { $_->{kind} eq 'd' } values %{ $node->{entries} } : $node->{links} }

# What each operation does; it returns what is told.
my %model = (
	write => sub {
		my ($path, $bytes, $append) = @_;
		my $found = resolve($path, 1);
		if (!$found->{found})
		{
			make_node($found, kind => 'f', mode => 0644, content => content_write(content(), 0, $bytes));
			return length($bytes);
		}
		require_file($found);
		demand($found->{node}, 2);
		my $old = $append ? $found->{node}{content} : content();
		check_size($old->{size} + length($bytes));
		set($found->{node}, 'content', content_write($old, $old->{size}, $bytes));
		return $found->{node}{content}{size};
	},
	write_at => sub {
		my ($path, $start, $bytes) = @_;
		my $found = require_found($path, 1);
		require_file($found);
		demand($found->{node}, 2);
		check_size($start);
		check_size($start + length($bytes));
		set($found->{node}, 'content', content_write($found->{node}{content}, $start, $bytes));
		return $found->{node}{content}{size};
	},
	truncate => sub {
		my ($path, $size) = @_;
		my $found = require_found($path, 1);
		require_file($found);
		demand($found->{node}, 2);
		check_size($size);
		set($found->{node}, 'content', content_truncate($found->{node}{content}, $size));
		return '';
	},
	punch => sub {
		my ($path, $start, $length) = @_;
		fail_with('22023') if $start < 0 || $length <= 0;
		my $found = require_found($path, 1);
		require_file($found);
		demand($found->{node}, 2);
		set($found->{node}, 'content', content_punch($found->{node}{content}, $start, $length)) if $start < $found->{node}{content}{size};
		return '';
	},
	read => sub {
		my ($path, $start, $length) = @_;
		my $found = require_found($path, 1);
		fail_with('22023') if $start < 0 || $length < 0;
		require_file($found);
		demand($found->{node}, 4);
		push @{ $session->{read} }, $found->{node};
		return told($found->{node}{content}, $start, $length);
	},
	copy => sub {
		my ($path, $new_path) = @_;
		my $from = require_found($path, 1);
		require_file($from);
		demand($from->{node}, 4);
		hold($from->{node});
		my $to = resolve($new_path, 1);
		if (!$to->{found})
		{
			make_node($to, kind => 'f', mode => $from->{node}{mode} & 0644, content => $from->{node}{content});
			return '';
		}
		require_file($to);
		fail_with('22023') if $to->{node} == $from->{node};
		demand($to->{node}, 2);
		set($to->{node}, 'content', $from->{node}{content});
		return '';
	},
	restore => sub {
		my ($name, $path, $new_path) = @_;
		my $snapshot = $snapshots{$name};
		my $from = $snapshot->{files}{$path};
		give_up() if others($from->{node});
		hold($from->{node});
		my $to = resolve($new_path, 1);
		if (!$to->{found})
		{
			make_node($to, kind => 'f', mode => $from->{mode} & 0644, content => $from->{content});
			return '';
		}
		require_file($to);
		demand($to->{node}, 2);
		set($to->{node}, 'content', $from->{content});
		return '';
	},
	mkdir => sub {
		my ($path, $parents) = @_;
		my @paths = ($path);
		if ($parents)
		{
			for (my $i = length($path) - 1; $i >= 1; $i--) { unshift @paths, substr($path, 0, $i) if substr($path, $i, 1) eq '/' && substr($path, $i - 1, 1) ne '/'; }
		}
		foreach my $one (@paths)
		{
			# The root need not be made.
			my $found = resolve($one, $parents);
			fail_with('58P02') if $found->{found} && (!$parents || $found->{node}{kind} ne 'd');
			make_node($found, kind => 'd', mode => 0755) unless $found->{found};
		}
		return '';
	},
	rmdir => sub {
		my ($path) = @_;
		my $found = require_found($path, 0);
		fail_with('DB009') unless $found->{node}{kind} eq 'd';
		fail_with('22023') if $found->{name} eq '';
		may_change($found->{directory});
		fail_with('DB011') if %{ $found->{node}{entries} };
		set_entry($found->{directory}, $found->{name}, undef);
		return '';
	},
	remove => sub {
		my ($path, $recursive) = @_;
		my $found = require_found($path =~ s{(.)/+$}{$1}r, 0);
		if ($found->{node}{kind} ne 'd')
		{
			fail_with('DB009') if $path =~ m{/$};
			may_change($found->{directory});
			drop_name($found->{node});
		}
		else
		{
			fail_with('22023') if $found->{name} eq '';
			may_change($found->{directory});
			fail_with('DB011') if !$recursive && %{ $found->{node}{entries} };
			empty_directory($found->{node});
		}
		set_entry($found->{directory}, $found->{name}, undef);
		return '';
	},
	set_xattr => sub {
		my ($path, $name, $value) = @_;
		my $found = require_found($path, 1);
		demand($found->{node}, 2);
		set($found->{node}, 'xattrs', { %{ $found->{node}{xattrs} // {} }, $name => $value });
		return '';
	},
	get_xattr => sub {
		my ($path, $name) = @_;
		my $found = require_found($path, 1);
		demand($found->{node}, 4);
		return $found->{node}{xattrs}{$name} // '';
	},
	remove_xattr => sub {
		my ($path, $name) = @_;
		my $found = require_found($path, 1);
		demand($found->{node}, 2);
		my %xattrs = %{ $found->{node}{xattrs} // {} };
		fail_with('42704') unless defined delete $xattrs{$name};
		set($found->{node}, 'xattrs', \%xattrs);
		return '';
	},
	unlink => sub {
		my ($path) = @_;
		my $found = require_found($path, 0);
		fail_with('DB010') if $found->{node}{kind} eq 'd';
		may_change($found->{directory});
		set_entry($found->{directory}, $found->{name}, undef);
		drop_name($found->{node});
		return '';
	},
	link => sub {
		my ($path, $new_path) = @_;
		my $from = require_found($path, 0);
		my $to = resolve($new_path, 0);
		fail_with('DB010') if $from->{node}{kind} eq 'd';
		fail_with('58P02') if $to->{found} || $to->{name} eq '';
		fail_with('58P01') if $to->{must};
		may_change($to->{directory});
		set_entry($to->{directory}, $to->{name}, $from->{node});
		set($from->{node}, 'links', $from->{node}{links} + 1);
		return '';
	},
	symlink => sub {
		my ($target, $path) = @_;
		fail_with('22023') if $target eq '' || length($target) > 4095;
		my $found = resolve($path, 0);
		fail_with('58P02') if $found->{found};
		make_node($found, kind => 'l', mode => 0777, target => $target);
		return '';
	},
	read_link => sub {
		my ($path) = @_;
		my $found = require_found($path, 0);
		fail_with('42809') unless $found->{node}{kind} eq 'l';
		return $found->{node}{target};
	},
	rename => sub {
		my ($path, $new_path) = @_;
		my $from = require_found($path, 0);
		my $to = resolve($new_path, 0);
		my $moves = !$from->{directory} || !$to->{directory} || $from->{directory} != $to->{directory};
		my $directory = $from->{node}{kind} eq 'd';
		# Directories are moved by one transaction after the other.
		take_token('tree') if $directory && $moves && $from->{name} ne '';
		return '' if $to->{found} && $to->{node} == $from->{node} && $from->{name} ne '' && $to->{name} ne '';
		fail_with('22023') if $from->{name} eq '' || $to->{name} eq '';
		may_change($from->{directory});
		may_change($to->{directory});
		fail_with('DB009') if $to->{must} && !$directory;
		if ($directory && $moves)
		{
			demand($from->{node}, 2);
			fail_with('22023') if lies_in($to->{directory}, $from->{node});
		}
		if ($to->{found})
		{
			my $over = $to->{node}{kind} eq 'd';
			fail_with('DB010') if $over && !$directory;
			fail_with('DB009') if !$over && $directory;
			fail_with('DB011') if $over && %{ $to->{node}{entries} };
			drop_name($to->{node});
		}
		hold($from->{node}) if $moves && !$directory;
		set_entry($from->{directory}, $from->{name}, undef);
		set_entry($to->{directory}, $to->{name}, $from->{node});
		set($from->{node}, 'parent', $to->{directory}) if $directory;
		return '';
	},
	chmod => sub {
		my ($path, $mode) = @_;
		my $found = require_found($path, 1);
		set($found->{node}, 'mode', $mode);
		return '';
	},
	stat => sub {
		my ($path) = @_;
		my $node = require_found($path, 0)->{node};
		return join(' ', $kind{ $node->{kind} }, $node->{mode}, size_of($node), links_of($node));
	},
	ls => sub {
		my ($path) = @_;
		my $found = require_found($path, 1);
		my $node = $found->{node};
		fail_with('DB009') unless $node->{kind} eq 'd';
		demand($node, 4);
		my %entries = %{ $node->{entries} };
		others($_) and give_up() foreach values %entries;
		# Who may not reach what is there is told no more of it.
		my $reached = ($node->{mode} & 0100) != 0;
		return join('|', map { join(' ', $_, $kind{ $entries{$_}{kind} }, $reached ? ($entries{$_}{mode}, size_of($entries{$_})) : ()) } sort { bytes_of($a) cmp bytes_of($b) } keys %entries);
	});

# What an operation is to tell, with what it changes; undef when it is not to be done now.
sub expect
{
	my ($name, @args) = @_;
	my $mark = @{ $session->{undo} };
	my $result = eval { 'ok ' . $model{$name}->(@args) };
	return $result if defined $result;
	my $error = $@;
	die $error unless ref $error;
	back_to($mark);
	return undef if $error->{given_up};
	return $error->{code};
}

# Each file and directory below, with what is to be seen of it.
sub tree_lines
{
	my ($node, $path, $lines) = @_;
	my $end = '';
	give_up() if $session && others($node);
	if ($node->{kind} eq 'f')
	{
		my $content = $node->{content};
		push @{ $session->{read} }, $node if $session;
		$content->{told} //= $content->{size} <= 1 << 21 ? told($content, 0, $content->{size})
			: told($content, 0, 65536) . ' ' . told($content, $content->{size} - 65536, 65536);
		$end = $content->{told};
	}
	elsif ($node->{kind} eq 'l') { $end = $node->{target}; }
	push @$lines, join(' ', $path, $kind{ $node->{kind} }, $node->{mode}, size_of($node), links_of($node), $end);
	if ($node->{kind} eq 'd') { tree_lines($node->{entries}{$_}, "$path/$_", $lines) foreach keys %{ $node->{entries} }; }
}

sub tree_of_model
{
	my ($top) = @_;
	my @lines;
	tree_lines($root->{entries}{$top}, "/$top", \@lines) if $root->{entries}{$top};
	return join("\n", sort @lines);
}

# What a snapshot has; files that who asks could read.
sub keep_files
{
	my ($node, $path, $files) = @_;
	if ($node->{kind} eq 'f' && ($node->{mode} & 0400)) { $files->{$path} = { node => $node, mode => $node->{mode}, content => $node->{content} }; }
	elsif ($node->{kind} eq 'd' && ($node->{mode} & 0100)) { keep_files($node->{entries}{$_}, "$path/$_", $files) foreach keys %{ $node->{entries} }; }
}

# ---- the server ----

my $node = PostgreSQL::Test::Cluster->new('file_oracle');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'dbos'
max_prepared_transactions = 10
fsync = off
max_wal_size = 4GB
log_min_messages = error
autovacuum_naptime = 1s
});
$node->start;
# Bytes of files are pieces of one of these, again and again: some that can be compressed, some that cannot.
my @pattern = map { my $n = $_; $n % 3 == 0 ? "pattern $n, " x 700 : substr(join('', map { pack 'H*', md5_hex("$seed $n $_") } 1 .. 600), 0, 9001 + $n) } 0 .. 11;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
CREATE ROLE oracle LOGIN;
GRANT dbos_user TO oracle;
CREATE TABLE pattern (id int, bytes bytea);
GRANT SELECT ON pattern TO oracle;
CREATE FUNCTION bytes(pattern int, length int) RETURNS bytea LANGUAGE sql STABLE AS $$
	SELECT CASE WHEN $2 = 0 THEN '' ELSE substr(decode(repeat(encode(p.bytes, 'hex'), $2 / length(p.bytes) + 1), 'hex'), 1, $2) END FROM public.pattern p WHERE p.id = $1 $$;
CREATE FUNCTION told(bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT length($1) || ' ' || md5($1) $$;
CREATE FUNCTION act(f text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r text;
BEGIN
	CASE f[1]
	WHEN 'write' THEN r := dbos.write_file(f[2], public.bytes(f[3]::int, f[4]::int), f[5]::boolean);
	WHEN 'write_at' THEN r := dbos.write_at(f[2], f[5]::bigint, public.bytes(f[3]::int, f[4]::int));
	WHEN 'truncate' THEN PERFORM dbos.truncate_file(f[2], f[3]::bigint);
	WHEN 'punch' THEN PERFORM dbos.punch_hole(f[2], f[3]::bigint, f[4]::bigint);
	WHEN 'read' THEN r := public.told(dbos.read_file(f[2], f[3]::bigint, f[4]::bigint));
	WHEN 'copy' THEN PERFORM dbos.copy(f[2], f[3]);
	WHEN 'restore' THEN PERFORM dbos.restore_file(f[2], f[3], f[4]);
	WHEN 'mkdir' THEN PERFORM dbos.mkdir(f[2], f[3]::boolean);
	WHEN 'rmdir' THEN PERFORM dbos.rmdir(f[2]);
	WHEN 'remove' THEN PERFORM dbos.remove(f[2], f[3]::boolean);
	WHEN 'set_xattr' THEN PERFORM dbos.set_xattr(f[2], f[3], convert_to(f[4], 'UTF8'));
	WHEN 'get_xattr' THEN r := convert_from(dbos.get_xattr(f[2], f[3]), 'UTF8');
	WHEN 'remove_xattr' THEN PERFORM dbos.remove_xattr(f[2], f[3]);
	WHEN 'unlink' THEN PERFORM dbos.unlink(f[2]);
	WHEN 'link' THEN PERFORM dbos.link(f[2], f[3]);
	WHEN 'symlink' THEN PERFORM dbos.symlink(f[2], f[3]);
	WHEN 'read_link' THEN r := dbos.read_link(f[2]);
	WHEN 'rename' THEN PERFORM dbos.rename(f[2], f[3]);
	WHEN 'chmod' THEN PERFORM dbos.chmod(f[2], f[3]::int);
	WHEN 'stat' THEN SELECT concat_ws(' ', kind, mode, size, link_count) INTO STRICT r FROM dbos.stat(f[2]);
	WHEN 'ls' THEN SELECT string_agg(concat_ws(' ', name, kind, mode, size), '|') INTO STRICT r FROM dbos.ls(f[2]);
	END CASE;
	RETURN 'ok ' || coalesce(r, '');
END $$;
CREATE FUNCTION try(f text[]) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN public.act(f);
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
-- One to a line, with tabs between its fields; the first says whether it may fail.
CREATE FUNCTION act_all(batch text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	f text[];
BEGIN
	FOREACH line IN ARRAY string_to_array(batch, E'\n') LOOP
		f := string_to_array(line, E'\t');
		RETURN NEXT CASE WHEN f[1] = 'try' THEN public.try(f[2:]) ELSE public.act(f[2:]) END;
	END LOOP;
END $$;
-- By a superuser, whom no mode keeps out.
CREATE FUNCTION tree(path text) RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
	s record;
	e text;
BEGIN
	SELECT * INTO s FROM dbos.stat(path);
	RETURN NEXT concat_ws(' ', path, s.kind, s.mode, s.size, s.link_count, '') || CASE s.kind
		WHEN 'file' THEN CASE WHEN s.size <= 2097152 THEN public.told(dbos.read_file(path))
			ELSE public.told(dbos.read_file(path, 0, 65536)) || ' ' || public.told(dbos.read_file(path, s.size - 65536)) END
		WHEN 'symlink' THEN dbos.read_link(path) ELSE '' END;
	IF s.kind = 'directory' THEN
		FOR e IN SELECT name FROM dbos.ls(path) LOOP
			RETURN QUERY SELECT public.tree(path || '/' || e);
		END LOOP;
	END IF;
END $$;
CREATE FUNCTION tree_in(snapshot text, path text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	s record;
	e text;
BEGIN
	SELECT * INTO s FROM dbos.snapshot_stat(snapshot, path);
	RETURN NEXT concat_ws(' ', path, s.kind, s.mode, s.size, s.link_count, '') || CASE s.kind
		WHEN 'file' THEN CASE WHEN s.size <= 2097152 THEN public.told(dbos.read_snapshot(snapshot, path))
			ELSE public.told(dbos.read_snapshot(snapshot, path, 0, 65536)) || ' ' || public.told(dbos.read_snapshot(snapshot, path, s.size - 65536)) END
		ELSE '' END;
	IF s.kind = 'directory' THEN
		FOR e IN SELECT name FROM dbos.snapshot_ls(snapshot, path) LOOP
			RETURN QUERY SELECT public.tree_in(snapshot, path || '/' || e);
		END LOOP;
	END IF;
END $$;
CREATE FUNCTION tree_if(path text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT public.tree(path);
EXCEPTION WHEN undefined_file THEN
	RETURN;
END $$;
});
make_file_problems($node, 'postgres');
$node->safe_psql('postgres', "INSERT INTO pattern VALUES " . join(',', map { "($_, '\\x" . unpack('H*', $pattern[$_]) . "')" } 0 .. $#pattern));

# A session by psql; what it is told it answers line by line, and what is wrong with it dies.
sub connect_session
{
	my ($number, $user) = @_;
	my $log = "$folder/errors$number";
	open(my $errors, '>', $log) or die $!;
	my ($in, $out);
	my $pid = open3($in, $out, '>&' . fileno($errors), 'psql', '-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', '-U', $user, '-d', $node->connstr('postgres'));
	return { number => $number, top => "s$number", in => $in, out => $out, pid => $pid, errors => $log, count => 0, undo => [], savepoints => [], planned => [] };
}

sub ask
{
	my ($to, $sql) = @_;
	my $end = 'end ' . ++$to->{count};
	my $in = $to->{in};
	my $out = $to->{out};
	my @lines;
	print $in "$sql\n\\echo $end\n";
	$in->flush;
	while (my $line = <$out>)
	{
		chomp $line;
		return @lines if $line eq $end;
		push @lines, $line;
	}
	die { errors => slurp_file($to->{errors}) };
}

local $SIG{PIPE} = 'IGNORE';
my $observer = connect_session(0, $ENV{PGUSER} || getpwuid($<));
my @sessions = map { connect_session($_, 'oracle') } 1 .. $nsessions;

# ---- what is done ----

sub one_of { return $_[ int(rand(@_)) ] }

# \134 is a backslash that would begin the three digits of a byte.
my @names = ('a', 'b', 'c', 'd', 'e', "\xc3\xa4", 'x y', '\\377', '\\134200', '.h', '...');
my @sizes = (0, 1, 10, 100, 1000, 4095, 4096, 4097, 5000, 8095, 8096, 8097, 8191, 8192, 8193, 12288, 16383, 16384, 16385, 65536);
my @offsets = (0, 1, 100, 4095, 4096, 4097, 8095, 8096, 8191, 8192, 8193, 16384, 20000, 65535, 65536, 100_000);

sub random_name
{
	my $dice = rand();
	return 'n' x 255 if $dice < 0.005;
	return 'n' x 256 if $dice < 0.007;
	return $names[ int(rand() ** 2 * @names) ];
}

# Often one of something of these kinds.
sub random_path
{
	my (@kinds) = @_;
	return any_path() if !@kinds || rand() < 0.3;
	my $path;
	for (1 .. 8)
	{
		$path = any_path();
		my $at = $root;
		foreach my $name (grep { $_ ne '' } split m{/}, $path) { $at = $at && $at->{entries} ? $at->{entries}{$name} : undef; }
		last if $at && grep { $_ eq $at->{kind} || ($_ eq 'empty' && $at->{entries} && !%{ $at->{entries} }) } @kinds;
	}
	return $path;
}

# Mostly one that is there, or would be.
sub any_path
{
	my $top = $session->{top};
	$top = 'shared' if rand() < 0.2 && (!$token{shared} ? !$session->{repeatable} : $token{shared} == $session);
	my $path = "/$top";
	my $at = $root->{entries}{$top};
	my $depth = 1 + int(rand(5));
	for my $level (1 .. $depth)
	{
		my $name;
		if ($at && $at->{kind} eq 'd' && %{ $at->{entries} } && rand() < 0.7) { $name = one_of(sort keys %{ $at->{entries} }); }
		else { $name = random_name(); }
		$at = $at && $at->{kind} eq 'd' ? $at->{entries}{$name} : undef;
		$path .= (rand() < 0.02 ? one_of('//', '/./', '/../' . $top . '/') : '/') . $name;
		last if !$at && rand() < 0.9;
		last if $at && $at->{kind} ne 'd' && rand() < 0.9;
	}
	my $dice = rand();
	$path .= one_of('/', '/.', '/..', '//') if $dice < 0.03;
	$path = substr($path, 1) if $dice > 0.999;
	return $path;
}

sub random_target
{
	my $dice = rand();
	return '' if $dice < 0.01;
	return random_path() if $dice < 0.5;
	return one_of('', '../', './', '../../') . random_name() . one_of('', '', '/', '/' . random_name());
}

sub random_size { return rand() < 0.01 ? one_of(1 << 20, 300_000, (1 << 20) + 1) : rand() < 0.5 ? int(rand(5000)) : one_of(@sizes) }

sub random_place
{
	my ($path) = @_;
	my $dice = rand();
	return one_of(@offsets) if $dice < 0.5;
	return int(rand(20_000)) if $dice < 0.8;
	return one_of(-1, (1 << 60) - 5, 1 << 60, (1 << 60) + 1) if $dice < 0.81;
	return $TB + one_of(-1, 0, 1, 5000) if $dice < 0.85;
	return int(rand(300_000));
}

# What this session has of its own that is wanted: pairs of a path and a node.
sub own
{
	my ($wanted) = @_;
	my @found;
	my @queue = ([ "/$session->{top}", $root->{entries}{ $session->{top} } ]);
	while (my $next = shift @queue)
	{
		my ($path, $at) = @$next;
		push @found, $next if $wanted->($at, $path);
		push @queue, map { [ "$path/$_", $at->{entries}{$_} ] } sort keys %{ $at->{entries} // {} };
	}
	return @found;
}

# Of a file or directory: mostly one that is there.
sub random_attribute
{
	my @known = rand() < 0.7 ? own(sub { %{ $_[0]{xattrs} // {} } }) : ();
	return (random_path('f', 'd'), 'user.' . one_of('a', 'b', 'c')) if !@known;
	my ($path, $node) = @{ one_of(@known) };
	return ($path, one_of(sort keys %{ $node->{xattrs} }));
}

# Operations that end in an error which random ones come upon so seldom that a run could miss it.
sub rare_operations
{
	my $top = "/$session->{top}";
	my $error = one_of('42501', '42602', '42622', '54000', 'DB012');
	my $asks = one_of('stat', 'ls', 'rmdir', 'unlink', 'read_link');
	return [ $asks, substr(any_path(), 1) ] if $error eq '42602';
	return [ $asks, "$top/" . 'n' x 256 ] if $error eq '42622';
	if ($error eq 'DB012')
	{
		my $name = one_of(@names);
		return ([ 'symlink', $name, "$top/$name" ], [ $asks, "$top/$name/" . random_name() ]);
	}
	my @known = own($error eq '54000' ? sub { $_[0]{kind} eq 'f' } : sub { $_[0]{kind} ne 'l' });
	my $path = @known ? one_of(@known)->[0] : $top;
	return [ 'truncate', $path, (1 << 60) + 1 ] if $error eq '54000';
	return ([ 'chmod', $path, 0 ], [ 'stat', "$path/a" ], [ 'truncate', $path, 0 ], [ 'read', $path, 0, 100 ], [ 'ls', $path ]);
}

# Name and arguments for the model, and the line for the server.
sub random_operation
{
	push @{ $session->{planned} }, rare_operations() if rand() < 0.01;
	my $planned = shift @{ $session->{planned} };
	return ($planned, $planned) if $planned;
	my $dice = rand();
	if ($dice < 0.28)
	{
		my ($path, $pattern, $size) = (rand() < 0.5 ? random_path() : random_path('f', 'l'), int(rand(@pattern)), random_size());
		my $bytes = $size == 0 ? '' : substr($pattern[$pattern] x (int($size / length($pattern[$pattern])) + 1), 0, $size);
		if ($dice < 0.16)
		{
			my $append = rand() < 0.4 ? 1 : 0;
			return (['write', $path, $bytes, $append], ['write', $path, $pattern, $size, $append]);
		}
		my $place = random_place();
		return (['write_at', $path, $place, $bytes], ['write_at', $path, $pattern, $size, $place]);
	}
	# In REPEATABLE READ nothing is restored from one's own, and others must be older.
	my @known = grep { $_->{by} ? $_->{by} == $session && !$session->{repeatable} : !$session->{repeatable} || $_->{at} <= $session->{began} }
		map { $snapshots{$_} } sort keys %snapshots;
	if (@known && rand() < 0.03)
	{
		my $snapshot = one_of(@known);
		my @files = sort keys %{ $snapshot->{files} };
		my @operation = ('restore', $snapshot->{name}, one_of(@files), rand() < 0.5 ? random_path() : random_path('f'));
		return (\@operation, \@operation) if @files;
	}
	if (rand() < 0.05)
	{
		my $dice = rand();
		my @operation =
			$dice < 0.2 ? ('remove', random_path('f', 'd'), rand() < 0.3 ? 1 : 0)
		  : $dice < 0.5 ? ('set_xattr', random_path('f', 'd'), 'user.' . one_of('a', 'b', 'c'), 'value ' . int(rand(1000)))
		  : $dice < 0.8 ? ('get_xattr', random_attribute())
		  :               ('remove_xattr', random_attribute());
		return (\@operation, \@operation);
	}
	my @operation =
		$dice < 0.30 ? ('punch', random_path('f'), random_place(), rand() < 0.5 ? one_of(@sizes) : random_place())
	  : $dice < 0.36 ? ('truncate', random_path('f'), rand() < 0.5 ? one_of(@sizes) : random_place())
	  : $dice < 0.43 ? ('read', random_path('f', 'l'), random_place(), rand() < 0.01 ? -1 : rand() < 0.5 ? one_of(@sizes) : 100_000)
	  : $dice < 0.49 ? ('copy', random_path('f', 'l'), random_path())
	  : $dice < 0.57 ? ('mkdir', random_path(), rand() < 0.3 ? 1 : 0)
	  : $dice < 0.61 ? ('rmdir', random_path('empty'))
	  : $dice < 0.67 ? ('unlink', random_path('f', 'l'))
	  : $dice < 0.72 ? ('link', random_path('f'), random_path())
	  : $dice < 0.76 ? ('symlink', random_target(), random_path())
	  : $dice < 0.78 ? ('read_link', random_path('l'))
	  : $dice < 0.88 ? ('rename', random_path('f', 'd', 'l'), rand() < 0.3 ? random_path('empty', 'f') : random_path())
	  : $dice < 0.89 ? ('chmod', random_path(), one_of(0755, 0755, 0755, 0755, 0700, 0700, 0644, 0444, 0555, 0300, 0))
	  : $dice < 0.95 ? ('stat', random_path('f', 'd', 'l'))
	  :                ('ls', random_path('d'));
	return (\@operation, \@operation);
}

my %seen;
my $done = 0;
my @history;
my $mismatch;

sub wrong
{
	my ($what) = @_;
	$mismatch = $what;
	diag("seed $seed, operation $done: $what");
	diag("what was done is in $folder/history; the end of it:");
	append_to_file("$folder/history", join('', map { "$_\n" } @history));
	diag(join("\n", @history > 40 ? @history[ -40 .. -1 ] : @history));
	die { stop => 1 };
}

sub remember { push @history, 's' . ($session ? $session->{number} : 0) . " $_[0]" }

sub answers
{
	my ($to, $sql) = @_;
	my @lines = eval { ask($to, $sql) };
	wrong("session $to->{number} failed: $@->{errors}") if ref $@;
	die $@ if $@;
	return @lines;
}

sub sql
{
	my ($sql) = @_;
	remember($sql) unless $sql =~ /^SELECT/;
	return answers($session, $sql);
}

# What is wanted of restricted modes has been seen: the tree is to go on.
sub open_modes
{
	my ($node) = @_;
	my @paths;
	my @queue = ([$node, "/$session->{top}"]);
	while (my $next = shift @queue)
	{
		my ($at, $path) = @$next;
		next unless $at->{kind} eq 'd';
		push @paths, $path if ($at->{mode} & 0700) != 0700;
		push @queue, [ $at->{entries}{$_}, "$path/$_" ] foreach sort keys %{ $at->{entries} };
	}
	return @paths;
}

sub batch
{
	my ($count) = @_;
	my (@lines, @expected);
	for (my $tries = 0; @lines < $count && $tries < 10 * $count; $tries++)
	{
		my ($operation, $line);
		my @closed = rand() < 0.2 && $root->{entries}{ $session->{top} } ? open_modes($root->{entries}{ $session->{top} }) : ();
		if (!$root->{entries}{ $session->{top} }) { $operation = $line = [ 'mkdir', "/$session->{top}", 0 ]; }
		elsif (@closed) { $operation = $line = [ 'chmod', $closed[0], 0755 ]; }
		else { ($operation, $line) = random_operation(); }
		my $expected = expect(@$operation);
		next unless defined $expected;
		# A savepoint is made for what fails, and for some that do not.
		push @lines, join("\t", $expected =~ /^ok/ && rand() < 0.5 ? 'act' : 'try', @$line);
		push @expected, $expected;
		$seen{ $operation->[0] . ($expected =~ /^ok/ ? '' : " $expected") }++;
	}
	return unless @lines;
	remember($_) foreach map { "$lines[$_] => $expected[$_]" } 0 .. $#lines;
	my @got = sql('SELECT act_all($batch$' . join("\n", @lines) . '$batch$);');
	foreach my $i (0 .. $#lines)
	{
		$done++;
		next if defined $got[$i] && $got[$i] eq $expected[$i];
		wrong("$lines[$i]: " . ($got[$i] // 'nothing') . " instead of $expected[$i]");
	}
}

sub compare
{
	my ($by, $top) = @_;
	my $expected = eval { tree_of_model($top) };
	return if ref $@;
	die $@ if $@;
	differ("the tree /$top", join("\n", sort(answers($by, "SELECT tree_if('/$top');"))), $expected);
}

sub differ
{
	my ($what, $got, $expected) = @_;
	return if $got eq $expected;
	my %got = map { $_ => 1 } split /\n/, $got;
	my %expected = map { $_ => 1 } split /\n/, $expected;
	wrong("$what differs\nonly there:\n" . join("\n", grep { !$expected{$_} } sort keys %got)
		  . "\nonly in the model:\n" . join("\n", grep { !$got{$_} } sort keys %expected));
}

sub ended
{
	my ($committed) = @_;
	back_to(0) unless $committed;
	$session->{undo} = [];
	$session->{savepoints} = [];
	$session->{in_transaction} = $session->{repeatable} = 0;
	$clock++;
	foreach my $snapshot (grep { $_->{by} && $_->{by} == $session } values %snapshots) { delete $snapshot->{by}; $snapshot->{at} = $clock; }
	foreach my $node (@{ $session->{held} }) { delete $node->{by}; $node->{at} = $clock; }
	# What was read has a note of that, which is a change to who has an older snapshot.
	$_->{at} = $clock foreach @{ $session->{read} };
	$session->{held} = [];
	$session->{read} = [];
	delete $token{$_} foreach grep { $token{$_} == $session } keys %token;
}

my %transactions;
my $taken = 0;

sub end_transactions
{
	foreach my $one (@_)
	{
		$session = $one;
		next unless $session->{in_transaction};
		my $committed = rand() < 0.7;
		sql($committed ? 'COMMIT;' : 'ROLLBACK;');
		ended($committed);
	}
}

# When nobody else has begun to write: a snapshot waits for who has.
sub take_snapshot
{
	return if keys %snapshots >= 6;
	my $taker = $session;
	end_transactions(grep { $_ != $taker } @sessions);
	$session = $taker;
	my $top = rand() < 0.3 ? 'shared' : $session->{top};
	if ($top eq 'shared')
	{
		return if $session->{repeatable} && !$token{shared};
		$token{shared} = $session;
	}
	my $node = $root->{entries}{$top};
	return unless $node && ($node->{mode} & 0700) == 0700;
	my $tree = eval { tree_of_model($top) };
	return unless defined $tree;
	my $name = 'snapshot ' . ++$taken;
	# A link is not read there.
	$tree =~ s/^(\S.* symlink \d+ \d+ \d+ ).*$/$1/gm;
	my %snapshot = (name => $name, top => $top, tree => $tree, files => {}, by => $session);
	keep_files($node, "/$top", $snapshot{files});
	sql("DO \$\$ BEGIN PERFORM dbos.snapshot('/$top', '$name'); END \$\$;");
	$snapshots{$name} = \%snapshot;
	undo_with(sub { delete $snapshots{$name} });
	$transactions{'snapshots taken'}++;
	ended(1) unless $session->{in_transaction};
}

sub compare_snapshot
{
	my ($by, $name) = @_;
	differ("snapshot \"$name\" of /$snapshots{$name}{top}", join("\n", sort(answers($by, "SELECT tree_in('$name', '/$snapshots{$name}{top}');"))), join("\n", sort split /\n/, $snapshots{$name}{tree}));
}

sub step
{
	$session = one_of(@sessions);
	my $dice = rand();
	if (!$session->{in_transaction})
	{
		if ($dice < 0.04) { take_snapshot(); return; }
		if ($dice < 0.4)
		{
			batch(1 + int(rand(30)));
			ended(1);
			return;
		}
		my $level = $dice < 0.8 ? 'READ COMMITTED' : 'REPEATABLE READ';
		$session->{in_transaction} = 1;
		take_token('shared') if $level ne 'READ COMMITTED' && !$token{shared} && rand() < 0.5;
		take_token('tree') if $level ne 'READ COMMITTED' && !$token{tree} && rand() < 0.5;
		sql("BEGIN ISOLATION LEVEL $level;");
		sql('SELECT FROM pattern LIMIT 1;');
		$session->{repeatable} = $level ne 'READ COMMITTED';
		$session->{began} = $clock;
		$transactions{$level}++;
		return;
	}
	my $savepoints = $session->{savepoints};
	if ($dice < 0.5) { batch(1 + int(rand(25))); }
	elsif ($dice < 0.65)
	{
		sql('SAVEPOINT s' . @$savepoints . ';');
		push @$savepoints, scalar @{ $session->{undo} };
	}
	elsif ($dice < 0.8 && @$savepoints)
	{
		my $at = int(rand(@$savepoints));
		if (rand() < 0.6)
		{
			sql("ROLLBACK TO s$at;");
			back_to($savepoints->[$at]);
			splice(@$savepoints, $at + 1);
			$transactions{'rolled back to a savepoint'}++;
		}
		else
		{
			sql("RELEASE s$at;");
			splice(@$savepoints, $at);
		}
	}
	elsif ($dice < 0.81) { take_snapshot(); }
	elsif ($dice < 0.83)
	{
		compare($session, $session->{top});
		compare($session, 'shared') if $token{shared} && $token{shared} == $session;
	}
	elsif ($dice < 0.92)
	{
		my $end = rand();
		if ($end < 0.6) { sql('COMMIT;'); $transactions{committed}++; ended(1); }
		elsif ($end < 0.8) { sql('ROLLBACK;'); $transactions{'rolled back'}++; ended(0); }
		else
		{
			my $committed = rand() < 0.5;
			sql("PREPARE TRANSACTION 'p$session->{number}';");
			sql(($committed ? 'COMMIT' : 'ROLLBACK') . " PREPARED 'p$session->{number}';");
			$transactions{prepared}++;
			ended($committed);
		}
	}
}

sub check
{
	end_transactions(@sessions);
	$session = undef;
	compare($observer, $_) foreach 'shared', map { $_->{top} } @sessions;
	foreach my $name (sort keys %snapshots)
	{
		compare_snapshot($observer, $name);
		next if rand() < 0.7;
		answers($observer, "SELECT dbos.drop_snapshot('$name');");
		delete $snapshots{$name};
	}
	answers($observer, 'SELECT dbos.reclaim_files(), dbos.fold_usage();') if rand() < 0.5;
	my @problems = answers($observer, 'SELECT object, problem FROM file_problems;');
	wrong("what is in the tables does not fit together:\n" . join("\n", @problems)) if @problems;
}

my $begun = time;
my $checks = 0;
eval {
	$session = $sessions[0];
	sql(q{SELECT dbos.mkdir('/shared');});
	expect('mkdir', '/shared', 0);
	ended(1);
	for (my $next = 1000; $done < $operations;)
	{
		step();
		if ($done >= $next)
		{
			check();
			$checks++;
			$next += 1000;
		}
	}
	check();
	1;
} or do { my $error = $@; die ref $error ? join(' ', %$error) : $error unless ref $error && $error->{stop}; };
is($mismatch, undef, 'every operation did what the model does, and the trees are those of the model');
note(sprintf('%d operations in %.0f s, %d checks; ', $done, time - $begun, $checks) . join(', ', map { "$_ $transactions{$_}" } sort keys %transactions));
note(join(', ', map { "$_ $seen{$_}" } sort keys %seen));
if (!defined $mismatch)
{
	cmp_ok(scalar(grep { /^[a-z_]+$/ } keys %seen), '==', scalar keys %model, 'of each operation some succeeded');
	my @errors = qw(22023 42501 42602 42622 42704 42809 54000 58P01 58P02 DB009 DB010 DB011 DB012);
	is(join(' ', grep { my $code = $_; !grep { /$code/ } keys %seen } @errors), '', 'and each error was seen');
	cmp_ok($transactions{$_} // 0, '>', 0, "transactions: $_") foreach 'committed', 'snapshots taken', 'rolled back', 'prepared', 'REPEATABLE READ', 'rolled back to a savepoint';
}
foreach my $one (@sessions, $observer)
{
	close($one->{in});
	waitpid($one->{pid}, 0);
}
$node->stop;
done_testing();
