# What a server answers that may be in the middle of a crash; the postmaster restarts its processes.
# SPDX-License-Identifier: PostgreSQL
package CrashedServer;
use strict;
use warnings;
use Exporter 'import';
use Time::HiRes qw(usleep);
our @EXPORT = qw(answer_of kill_process);

# Kills a process of a server, which has noticed when this returns, and lets nobody in until all is started anew.
sub kill_process
{
	my ($pid) = @_;
	kill 'KILL', $pid;
	usleep(10_000) while kill 0, $pid;
	return;
}

# The answer to that command, which is sent until there is one.
sub answer_of
{
	my ($node, $database, $sql) = @_;
	foreach my $try (1 .. 1200)
	{
		# psql may be gone before it has read what to do, which is an exception.
		local $SIG{PIPE} = 'IGNORE';
		my ($code, $output) = eval { $node->psql($database, $sql) };
		return $output if defined $code && $code == 0;
		usleep(50_000);
	}
	die "no answer to: $sql";
}

1;
