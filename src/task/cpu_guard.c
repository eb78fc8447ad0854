/*
 * cpu_guard.c
 *	  Whether one executor more would find a CPU.
 *
 * Tasks that compute are done soonest by as many processes as there are CPUs;
 * tasks that wait, for a flush or for somebody else, by many more.  So the launcher
 * looks how much CPU the executors that run something have used lately, and
 * starts another only when that leaves room.  One that was not looked at for long
 * enough counts as a whole CPU.  It only delays: whoever waits for a busy loop of a
 * task gets an executor after a while all the same.
 *
 * Called in the launcher alone, with the task room's lock held.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <time.h>
#include <unistd.h>

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "task.h"

/* A process is looked at for so long before its use is known. */
#define LOOK_MS 10
/* Nobody is delayed for longer. */
#define PATIENCE_MS 1000
/* CPUs that must be free: other processes of the server have their part in what tasks cost. */
#define ROOM(cpus) Min((cpus) / 2.0, 1.0)

typedef struct Use
{
	int			pid;
	TimestampTz since;
	int64		cpu_ns;			/* used until then */
	double		share;			/* of a CPU, in the look before */
} Use;

static Use *uses = NULL;		/* by worker slot */
static TimestampTz refused_since = 0;

/* Nanoseconds of CPU that a process has used; 0 when it is gone. */
static int64
cpu_used(int pid)
{
	clockid_t	clock;
	struct timespec used;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
		return 0;
	return used.tv_sec * INT64CONST(1000000000) + used.tv_nsec;
}

static double
share_of(Use *use, int pid, TimestampTz now)
{
	int64		used;

	/* What it did long ago says nothing. */
	if (use->pid != pid || TimestampDifferenceExceeds(use->since, now, 10 * LOOK_MS))
	{
		use->pid = pid;
		use->since = now;
		use->cpu_ns = cpu_used(pid);
		use->share = 1;
	}
	else if (TimestampDifferenceExceeds(use->since, now, LOOK_MS))
	{
		used = cpu_used(pid);
		use->share = Min((used - use->cpu_ns) / 1000.0 / (now - use->since), 1.0);
		use->since = now;
		use->cpu_ns = used;
	}
	return use->share;
}

/* CPUs that executors take at the moment. */
static double
cpus_taken(TimestampTz now)
{
	double		taken = 0;

	if (uses == NULL)
		uses = MemoryContextAllocZero(TopMemoryContext, sizeof(Use) * dbos_task_shared->nworkers);
	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		const DbosWorker *worker = dbos_worker_slot(i);

		if (worker->is_scheduler)
			continue;
		if (worker->state == DBOS_WORKER_STARTING)
			taken += 1;
		else if (worker->state == DBOS_WORKER_RUNNING && worker->pid != 0)
			taken += share_of(&uses[i], worker->pid, now);
	}
	return taken;
}

bool
dbos_cpu_has_room(TimestampTz now)
{
	static long cpus = 0;

	if (cpus == 0)
		cpus = Max(sysconf(_SC_NPROCESSORS_ONLN), 1);
	if (cpus_taken(now) + ROOM(cpus) <= cpus)
	{
		refused_since = 0;
		return true;
	}
	if (refused_since == 0)
		refused_since = now;
	if (!TimestampDifferenceExceeds(refused_since, now, PATIENCE_MS))
		return false;
	refused_since = now;
	return true;
}
