# Processes of a server are killed at random, and clients whose sessions are lost by that go on.
# SPDX-License-Identifier: PostgreSQL
package RandomKills;
use strict;
use warnings;
use CrashedServer;
use IO::Handle;
use IPC::Open3;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $test = $$;
my @children;

# node: the server; folder: where clients write.
sub new
{
	my ($class, $node, $folder) = @_;
	return bless { node => $node, folder => $folder }, $class;
}

# The answer of the server, whatever is killed.
sub ask
{
	my ($self, $sql) = @_;
	return answer_of($self->{node}, 'postgres', $sql);
}

# ---- clients ----

# A process that does that; returns its pid.
sub begin
{
	my ($self, $what, @arguments) = @_;
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		eval { $what->(@arguments); 1 } or do { print STDERR $@; POSIX::_exit(1) };
		POSIX::_exit(0);
	}
	push @children, $pid;
	return $pid;
}

# Waits for their end, for which there must be a reason; returns how many ended well.
sub reap
{
	my ($self, @pids) = @_;
	my $well = 0;
	foreach my $pid (@pids)
	{
		waitpid($pid, 0);
		$well++ if $? == 0;
		@children = grep { $_ != $pid } @children;
	}
	return $well;
}

# Whatever ends the test ends its clients.
END { my $code = $?; kill 'KILL', @children if @children && $$ == $test; $? = $code; }

# In a client: a session of psql that is lost now and then, and what its server says against it, in a file.  Returns what sends commands, which answers whether all
# was answered, and the lines that came; and what connects again, after one that was not.
sub session
{
	my ($self, $name, @options) = @_;
	my ($in, $out, $psql);
	my $count = 0;
	open(my $errors, '>', "$self->{folder}/errors_$name") or die $!;
	$SIG{PIPE} = 'IGNORE';
	my $send = sub {
		my ($sql) = @_;
		my @lines;
		$count++;
		# A session that is terminated may say so as its answer, and go only then: it does not come to the second query.
		print $in "$sql\nSELECT 'done $count';\n\\echo end $count\n" or return (0);
		$in->flush or return (0);
		while (my $line = <$out>)
		{
			chomp $line;
			if ($line eq "end $count") { return (@lines && $lines[-1] eq "done $count" ? 1 : 0, @lines[ 0 .. $#lines - 1 ]); }
			push @lines, $line;
		}
		return (0, @lines);
	};
	my $connect = sub {
		while (1)
		{
			# A test that was killed has no END.
			POSIX::_exit(1) if getppid() != $test;
			if ($psql) { close($in); close($out); waitpid($psql, 0); }
			$psql = open3($in, $out, '>&' . fileno($errors), 'psql', '-X', '-A', '-t', @options, '-d', $self->{node}->connstr('postgres') . " application_name=$name");
			my ($all, @lines) = $send->('SELECT 1;');
			return if $all && "@lines" eq '1';
			usleep(50_000);
		}
	};
	return ($send, $connect);
}

# What the server refused to that session.
sub refused
{
	my ($self, $name) = @_;
	return join("\n", grep { /ERROR/ } split /\n/, slurp_file("$self->{folder}/errors_$name"));
}

# ---- kills ----

sub children_of
{
	my ($parent) = @_;
	my @found;
	foreach my $file (glob('/proc/[0-9]*/stat'))
	{
		open(my $stat, '<', $file) or next;
		my $line = <$stat> // next;
		push @found, $1 if $line =~ /^(\d+) \(.*\) \S $parent /;
	}
	return @found;
}

# The postmaster alone dies; a new one can start when the last of its children is gone.
sub kill_postmaster
{
	my ($self) = @_;
	my $pid = (split /\n/, slurp_file($self->{node}->data_dir . '/postmaster.pid'))[0];
	# Stopped first, so that it makes no child after they were counted.
	kill 'STOP', $pid;
	my @orphans = ($pid, children_of($pid));
	$self->{node}->kill9;
	foreach my $try (1 .. 1200)
	{
		@orphans = grep { -e "/proc/$_" } @orphans;
		last unless @orphans;
		# One of the server's own may wait for a latch of who was killed the moment before, for ever: the postmaster would have ended it.
		kill 'QUIT', grep { (eval { slurp_file("/proc/$_/cmdline") } // 'dbos') !~ /dbos/ } @orphans if $try == 400;
		usleep(50_000);
	}
	die "processes outlive their postmaster: @orphans" if @orphans;
	$self->{node}->start;
	return 1;
}

sub restart
{
	my ($self, $mode) = @_;
	# A postmaster that is told to stop while it recovers from a crash may wait for ever.
	$self->ask('SELECT 1');
	$self->{node}->stop($mode);
	$self->{node}->start;
	return 1;
}

# False: there was none.
sub kill_process
{
	my ($self, $signal, $condition) = @_;
	my $pid = $self->ask("SELECT pid FROM pg_stat_activity WHERE $condition ORDER BY random() LIMIT 1");
	return 0 unless $pid && kill $signal, $pid;
	# Gone once the postmaster has taken notice.
	foreach my $try (1 .. 2000)
	{
		last unless -e "/proc/$pid";
		usleep(5_000);
	}
	return 1;
}

# Kills so many times, after a pause that is random too.  whom: with what weight which of 'postmaster', 'stop fast', 'stop immediate' and, with a signal, those in pg_stat_activity to which a condition
# applies.  after: called with the number of the kill and whom it met; it ends the kills when it returns false.
sub run
{
	my ($self, %how) = @_;
	my $sum = 0;
	my $begun = time();
	my %done;
	$sum += $_->[0] foreach @{ $how{whom} };
	srand($how{seed});
	for (my $number = 0; $number < $how{kills};)
	{
		usleep(int(rand($how{pause} // 150_000)));
		my $dice = rand() * $sum;
		my $one;
		foreach my $each (@{ $how{whom} })
		{
			$one = $each;
			last if ($dice -= $one->[0]) < 0;
		}
		my ($weight, $name, $signal, $condition) = @$one;
		my $met = $name eq 'postmaster' ? $self->kill_postmaster() : $name =~ /^stop (\w+)$/ ? $self->restart($1) : $self->kill_process($signal, $condition);
		next unless $met;
		$number++;
		$done{ $signal ? "$name $signal" : $name }++;
		last if $how{after} && !$how{after}->($number, $name);
	}
	note(sprintf('%d kills in %.0f s: ', $how{kills}, time() - $begun) . join(', ', map { "$_ $done{$_}" } sort keys %done));
	return;
}

1;
