# Whatever is done to a tree at random, in transactions and savepoints that may be rolled back, the tree and every snapshot of it are what a model in memory says, to the byte.
# SPDX-License-Identifier: PostgreSQL
#
# The model knows which operation can be done, so none fails.  A script of them is run by one session, which now and then
# lists the tree and all snapshots, also in the middle of transactions.
use strict;
use warnings;
use Digest::MD5 qw(md5_hex);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{DBOS_SEED} || time;
note("seed $seed, for DBOS_SEED");
srand($seed);
my $scripts = 4;
my $operations = $ENV{DBOS_TORTURE} ? 10000 : 500;

my $node = PostgreSQL::Test::Cluster->new('file_snapshot');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'dbos'
fsync = off
});
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = warning;
CREATE EXTENSION dbos;
-- The same bytes as in the model: those of even seeds compress.
CREATE FUNCTION bytes(seed integer, count integer) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
	SELECT convert_to(substr(CASE WHEN seed % 2 = 0 THEN repeat(md5(seed::text), count / 32 + 1)
		ELSE (SELECT string_agg(md5(seed || ' ' || n), '' ORDER BY n) FROM generate_series(0, count / 32) n) END, 1, count), 'UTF8')
$$;
CREATE FUNCTION tree_now(root text) RETURNS SETOF text LANGUAGE sql AS $$
	WITH RECURSIVE tree AS (
		SELECT root AS path, s.kind, s.mode, s.link_count, s.size FROM dbos.stat(root) s
		UNION ALL
		SELECT t.path || '/' || l.name, s.kind, s.mode, s.link_count, s.size
		FROM tree t, LATERAL dbos.ls(CASE t.kind WHEN 'directory' THEN t.path END) l, LATERAL dbos.stat(t.path || '/' || l.name) s)
	SELECT concat_ws('|', path, kind, mode, link_count, size, CASE kind WHEN 'file' THEN md5(dbos.read_file(path)) WHEN 'symlink' THEN dbos.read_link(path) END)
	FROM tree ORDER BY path COLLATE "C"
$$;
CREATE FUNCTION tree_then(name text, root text) RETURNS SETOF text LANGUAGE sql AS $$
	WITH RECURSIVE tree AS (
		SELECT root AS path, s.kind, s.mode, s.link_count, s.size FROM dbos.snapshot_stat(name, root) s
		UNION ALL
		SELECT t.path || '/' || l.name, s.kind, s.mode, s.link_count, s.size
		FROM tree t, LATERAL dbos.snapshot_ls(CASE t.kind WHEN 'directory' THEN tree_then.name END, t.path) l,
			LATERAL dbos.snapshot_stat(tree_then.name, t.path || '/' || l.name) s)
	SELECT concat_ws('|', path, kind, mode, link_count, size,
		CASE kind WHEN 'file' THEN md5(dbos.read_snapshot(name, path)) WHEN 'symlink' THEN dbos.snapshot_read_link(name, path) END)
	FROM tree ORDER BY path COLLATE "C"
$$;
CREATE FUNCTION left_over(OUT versions bigint, OUT noted bigint, OUT unnamed_chunks bigint, OUT missing_chunks bigint) LANGUAGE sql AS $$
	SELECT (SELECT count(*) FROM dbos.inode WHERE died <> 2147483647) + (SELECT count(*) FROM dbos.directory_entry WHERE died <> 2147483647)
			+ (SELECT count(*) FROM dbos.extent WHERE died <> 2147483647),
		(SELECT count(*) FROM dbos.freed_extent),
		(SELECT count(*) FROM dbos.chunk c WHERE NOT EXISTS (SELECT FROM dbos.extent e WHERE c.chunk >= e.chunk AND c.chunk < e.chunk + e.count)),
		(SELECT count(*) FROM dbos.extent e, LATERAL generate_series(e.chunk, e.chunk + e.count - 1) n WHERE NOT EXISTS (SELECT FROM dbos.chunk c WHERE c.chunk = n))
$$;
});

# ---- the model ----

my $files;			# {inode => {number => {kind, mode, links, content, names}}, root => number}
my $snapshots;		# {name => files}
my @outer;			# [files, snapshots] at BEGIN and at each savepoint
my $number = 0;
my $taken = 0;
my ($script, @expected);

sub some { return $_[ int(rand(@_)) ] }

sub copied
{
	my ($from) = @_;
	my %inode;
	for my $key (keys %{ $from->{inode} })
	{
		my $inode = $from->{inode}{$key};
		$inode{$key} = {%$inode, ($inode->{names} ? (names => { %{ $inode->{names} } }) : ())};
	}
	return {inode => \%inode, root => $from->{root}};
}

sub bytes
{
	my ($seed, $count) = @_;
	return substr($seed % 2 == 0 ? md5_hex($seed) x ($count / 32 + 1) : join('', map { md5_hex("$seed $_") } 0 .. $count / 32), 0, $count);
}

# [path, parent, name, inode] of all names.
sub names
{
	my ($in, $number, $path, $list) = @_;
	$number = $in->{root} unless defined $number;
	$path = $in->{path} || '/o' unless defined $path;
	$list ||= [];
	my $names = $in->{inode}{$number}{names};
	for my $name (sort keys %$names)
	{
		my $inode = $in->{inode}{ $names->{$name} };
		push @$list, {path => "$path/$name", parent => $number, name => $name, number => $names->{$name}, inode => $inode};
		names($in, $names->{$name}, "$path/$name", $list) if $inode->{kind} eq 'directory';
	}
	return $list;
}

sub listing
{
	my ($in) = @_;
	my @lines;
	for my $entry ({path => '/o', inode => $in->{inode}{ $in->{root} }}, @{ names($in) })
	{
		my $inode = $entry->{inode};
		my $links = $inode->{kind} eq 'directory' ? 2 + grep { $in->{inode}{$_}{kind} eq 'directory' } values %{ $inode->{names} } : $inode->{links};
		push @lines, [ $entry->{path}, join('|', $entry->{path}, $inode->{kind}, $inode->{mode}, $links,
				$inode->{kind} eq 'directory' ? 0 : length($inode->{content}),
				$inode->{kind} eq 'file' ? md5_hex($inode->{content}) : $inode->{kind} eq 'symlink' ? $inode->{content} : ()) ];
	}
	return join("\n", map { $_->[1] } sort { $a->[0] cmp $b->[0] } @lines);
}

sub directories { return ({path => '/o', number => $files->{root}, inode => $files->{inode}{ $files->{root} }}, grep { $_->{inode}{kind} eq 'directory' } @{ names($files) }) }
sub of_kind { my ($kind) = @_; return grep { $_->{inode}{kind} eq $kind } @{ names($files) } }
sub sql { $script .= "SELECT $_[0];\n"; return 1 }

sub unlinked
{
	my ($entry) = @_;
	delete $files->{inode}{ $entry->{parent} }{names}{ $entry->{name} };
	delete $files->{inode}{ $entry->{number} } if --$entry->{inode}{links} == 0;
}

sub made
{
	my ($directory, $name, %inode) = @_;
	my $new = ++$number;
	$files->{inode}{$new} = {links => 1, %inode};
	$directory->{inode}{names}{$name} = $new;
	return $files->{inode}{$new};
}

# A file for what is written, which may be there: the inode, made with that mode if it is not.
sub target
{
	my ($mode) = @_;
	my $directory = some(directories());
	my $name = 'f' . int(rand(5));
	my $there = $directory->{inode}{names}{$name};
	my $inode = $there ? $files->{inode}{$there} : made($directory, $name, kind => 'file', mode => $mode, content => '');
	return ($inode, "$directory->{path}/$name", $there);
}

my @sizes = (0, 1, 50, 4095, 4096, 4097, 8191, 8192, 8193, 16384, 20000, 70000);

my %operation = (
	write => sub {
		my ($seed, $size) = (int(rand(1000000)), some(@sizes));
		my ($inode, $path) = target(0644);
		$inode->{content} = bytes($seed, $size);
		return sql("dbos.write_file('$path', bytes($seed, $size))");
	},
	append => sub {
		my $file = some(of_kind('file')) or return 0;
		my ($seed, $size) = (int(rand(1000000)), some(@sizes));
		$file->{inode}{content} .= bytes($seed, $size);
		return sql("dbos.write_file('$file->{path}', bytes($seed, $size), true)");
	},
	write_at => sub {
		my $file = some(of_kind('file')) or return 0;
		my ($seed, $size) = (int(rand(1000000)), 1 + some(@sizes));
		my $start = int(rand(length($file->{inode}{content}) + some(1, 10000)));
		my $content = $file->{inode}{content};
		return 0 if length($content) > 500000;
		$content .= "\0" x ($start - length($content)) if length($content) < $start;
		substr($content, $start, $size) = bytes($seed, $size);
		$file->{inode}{content} = $content;
		return sql("dbos.write_at('$file->{path}', $start, bytes($seed, $size))");
	},
	truncate => sub {
		my $file = some(of_kind('file')) or return 0;
		my $size = int(rand(length($file->{inode}{content}) + some(1, 10000)));
		my $content = substr($file->{inode}{content}, 0, $size);
		$file->{inode}{content} = $content . "\0" x ($size - length($content));
		return sql("dbos.truncate_file('$file->{path}', $size)");
	},
	unlink => sub {
		my $entry = some(of_kind('file'), of_kind('symlink')) or return 0;
		unlinked($entry);
		return sql("dbos.unlink('$entry->{path}')");
	},
	mkdir => sub {
		my $directory = some(directories());
		my $name = 'd' . int(rand(3));
		return 0 if $directory->{inode}{names}{$name} || ($directory->{path} =~ tr|/||) > 4;
		made($directory, $name, kind => 'directory', mode => 0755, names => {});
		return sql("dbos.mkdir('$directory->{path}/$name')");
	},
	rmdir => sub {
		my $entry = some(grep { !%{ $_->{inode}{names} } } of_kind('directory')) or return 0;
		unlinked($entry);
		return sql("dbos.rmdir('$entry->{path}')");
	},
	symlink => sub {
		my $directory = some(directories());
		my $name = 's' . int(rand(2));
		my $content = 'to ' . int(rand(1000));
		return 0 if $directory->{inode}{names}{$name};
		made($directory, $name, kind => 'symlink', mode => 0777, content => $content);
		return sql("dbos.symlink('$content', '$directory->{path}/$name')");
	},
	rename => sub {
		my $entry = some(@{ names($files) }) or return 0;
		my $directory = some(directories());
		my $name = substr($entry->{name}, 0, 1) . int(rand(4));
		my $path = "$directory->{path}/$name";
		return 0 if "$directory->{path}/" =~ /^\Q$entry->{path}\E\//;
		my $there = $directory->{inode}{names}{$name};
		return 0 if $there && $entry->{inode}{kind} eq 'directory' && ($there == $entry->{number} || %{ $files->{inode}{$there}{names} });
		unless ($there && $there == $entry->{number})
		{
			unlinked({parent => $directory->{number}, name => $name, number => $there, inode => $files->{inode}{$there}}) if $there;
			delete $files->{inode}{ $entry->{parent} }{names}{ $entry->{name} };
			$directory->{inode}{names}{$name} = $entry->{number};
		}
		return sql("dbos.rename('$entry->{path}', '$path')");
	},
	link => sub {
		my $file = some(of_kind('file')) or return 0;
		my $directory = some(directories());
		my $name = 'f' . int(rand(5));
		return 0 if $directory->{inode}{names}{$name};
		$directory->{inode}{names}{$name} = $file->{number};
		$file->{inode}{links}++;
		return sql("dbos.link('$file->{path}', '$directory->{path}/$name')");
	},
	copy => sub {
		my $file = some(of_kind('file')) or return 0;
		my ($inode, $path, $there) = target($file->{inode}{mode} & 0644);
		return 0 if $there && $there == $file->{number};
		$inode->{content} = $file->{inode}{content};
		return sql("dbos.copy('$file->{path}', '$path')");
	},
	restore => sub {
		my $name = some(sort keys %$snapshots) or return 0;
		my $file = some(grep { $_->{inode}{kind} eq 'file' } @{ names($snapshots->{$name}) }) or return 0;
		my ($inode, $path) = target($file->{inode}{mode} & 0644);
		$inode->{content} = $file->{inode}{content};
		return sql("dbos.restore_file('$name', '$file->{path}', '$path')");
	},
	chmod => sub {
		my $entry = some(of_kind('file'), of_kind('directory')) or return 0;
		$entry->{inode}{mode} = some(0644, 0600, 0755, 0700, 0444);
		return sql("dbos.chmod('$entry->{path}', $entry->{inode}{mode})");
	},
	snapshot => sub {
		my $name = 'n' . ++$taken;
		$snapshots = {%$snapshots, $name => copied($files)};
		return sql("dbos.snapshot('/o', '$name')");
	},
	drop => sub {
		my $name = some(sort keys %$snapshots);
		return 0 if !defined $name || keys %$snapshots < 5;
		$snapshots = {%$snapshots};
		delete $snapshots->{$name};
		return sql("dbos.drop_snapshot('$name')");
	},
	reclaim => sub { return sql('dbos.reclaim_files()') },
	begin => sub {
		return 0 if @outer >= 3;
		$script .= @outer ? 'SAVEPOINT s' . @outer . ";\n" : "BEGIN;\n";
		push @outer, [ copied($files), $snapshots ];
		return 1;
	},
	back => sub {
		return 0 unless @outer;
		# The names before it are there again; those made since are none of them.
		($files, $snapshots) = @{ pop @outer };
		$script .= @outer ? 'ROLLBACK TO s' . @outer . '; RELEASE s' . @outer . ";\n" : "ROLLBACK;\n";
		return 1;
	},
	end => sub {
		return 0 unless @outer;
		pop @outer;
		$script .= @outer ? 'RELEASE s' . @outer . ";\n" : "COMMIT;\n";
		return 1;
	},
	look => sub {
		for my $name ('', sort keys %$snapshots)
		{
			$script .= "\\o\n\\echo LOOK\nSELECT * FROM " . ($name eq '' ? "tree_now('/o')" : "tree_then('$name', '/o')") . ";\n\\o /dev/null\n";
			push @expected, [ $name, listing($name eq '' ? $files : $snapshots->{$name}) ];
		}
		return 1;
	});
my %weight = (
	write => 8, append => 4, write_at => 8, truncate => 5, unlink => 6, mkdir => 3, rmdir => 2, symlink => 1, rename => 8, link => 3, copy => 5,
	restore => 4, chmod => 3, snapshot => 4, drop => 4, reclaim => 2, begin => 4, back => 2, end => 4, look => 2);
my @choices = map { ($_) x $weight{$_} } sort keys %weight;

# ---- the runs ----

for my $run (1 .. $scripts)
{
	$script = "SELECT dbos.mkdir('/o');\n\\o /dev/null\n";
	@expected = @outer = ();
	$files = {root => ++$number, inode => {$number => {kind => 'directory', mode => 0755, names => {}}}};
	$snapshots = {};
	for (my $done = 0; $done < $operations;)
	{
		$done += $operation{ some(@choices) }->();
	}
	1 while $operation{end}->();
	$operation{look}->();
	my ($out, $err) = ('', '');
	my $code = $node->psql('postgres', $script, stdout => \$out, stderr => \$err, on_error_stop => 1);
	is("$code $err", '0 ', "script $run: every operation is done");
	my @looks = split /^LOOK\n/m, $out;
	shift @looks;
	is(scalar @looks, scalar @expected, "script $run: looked at as often as meant");
	my $different = 0;
	for my $i (0 .. $#expected)
	{
		chomp(my $seen = $looks[$i] // '');
		my ($name, $meant) = @{ $expected[$i] };
		next if $seen eq $meant;
		diag("look $i, " . ($name eq '' ? 'the tree' : "snapshot $name") . ", seen:\n$seen\nmeant:\n$meant\n") if $different++ == 0;
	}
	is($different, 0, "script $run: in " . @looks . ' looks at the tree and its snapshots all is as it was');

	# With the snapshots all goes that they alone have shown.
	is($node->safe_psql('postgres', q{SELECT dbos.reclaim_files(); SELECT noted, unnamed_chunks, missing_chunks FROM left_over()}) =~ s/.*\n//r, '0|0|0',
		"script $run: every chunk is one that a file or a snapshot has");
	$node->safe_psql('postgres', 'SELECT dbos.drop_snapshot(name) FROM dbos.snapshots; SELECT dbos.reclaim_files()');
	is($node->safe_psql('postgres', 'SELECT * FROM left_over()'), '0|0|0|0', "script $run: without snapshots nothing is left over");
	is($node->safe_psql('postgres', "SELECT * FROM tree_now('/o')"), listing($files), "script $run: and the tree is as it was");
	my $names = names($files);
	$node->safe_psql('postgres', join('', map { 'SELECT dbos.' . ($_->{inode}{kind} eq 'directory' ? 'rmdir' : 'unlink') . "('$_->{path}');" } reverse @$names)
		  . "SELECT dbos.rmdir('/o'); SELECT dbos.reclaim_files()");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM dbos.chunk'), '0', "script $run: without files no chunk is");
}
$node->stop;
done_testing();
