/*
 * decisions.c
 *	  The choice of the next task alone: the run queue's own files, without a server.
 *
 * Usage: decisions WAITING PARTITIONS DECISIONS HAND
 * WAITING tasks in PARTITIONS partitions of a queue with the default policy, of which
 * HAND are taken at a time by one of 16 workers; each one taken is followed by a new one,
 * so that as many wait at the end.  Prints "name metric value unit", with the time that the
 * new ones take and without it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <stdio.h>
#include <time.h>

#undef printf

#include "../../src/task/task.h"

#define WORKERS 16
#define MAX_HAND 512

static DbosTaskShared shared;
static DbosWorker workers[WORKERS];
static DbosLane *lanes;
static int32 *buckets;
static DbosRunEntry *entries;
static DbosDatabase database = {.database = 1,.state = DBOS_DATABASE_ACTIVE,.opened = true};

DbosTaskShared *dbos_task_shared = &shared;
int			dbos_my_worker = 0;
bool		proc_exit_inprogress = false;

DbosWorker *dbos_worker_slot(int slot) { return &workers[slot]; }
DbosLane   *dbos_lane_at(int32 lane) { return &lanes[lane]; }
int32	   *dbos_lane_buckets(void) { return buckets; }
DbosRunEntry *dbos_run_entries(void) { return entries; }
DbosDatabase *dbos_database_find(Oid oid, bool create) { return &database; }
void		dbos_wake_now(int proc_number, int pid) { }
void		dbos_wake_launcher(void) { }
void		dbos_scheduler_want(DbosDatabase *wanted) { }
TimestampTz GetCurrentTimestamp(void) { return 1; }
void		ExceptionalCondition(const char *condition, const char *type, const char *file, int line) { abort(); }

#include "../../src/task/lane.c"
#include "../../src/task/queue_slot.c"
#include "../../src/task/run_queue.c"

static double
seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void
prepare(int waiting)
{
	shared.nworkers = WORKERS;
	shared.nlanes = waiting / 4 + 64;
	shared.nentries = waiting * 2;
	lanes = calloc(shared.nlanes, sizeof(DbosLane));
	buckets = calloc(shared.nlanes, sizeof(int32));
	entries = calloc(shared.nentries, sizeof(DbosRunEntry));
	for (int i = 0; i < shared.nlanes; i++)
	{
		lanes[i].track = DBOS_NOBODY;
		lanes[i].next = i + 1 < shared.nlanes ? i + 1 : DBOS_NOBODY;
		buckets[i] = DBOS_NOBODY;
	}
	for (int i = 0; i < shared.nentries; i++)
		entries[i].link.sibling = i + 1 < shared.nentries ? i + 1 : DBOS_NOBODY;
	for (int i = 0; i < WORKERS; i++)
	{
		workers[i].database = database.database;
		workers[i].session_role = 10;
		workers[i].state = i == 0 ? DBOS_WORKER_IDLE : DBOS_WORKER_RUNNING;
		workers[i].task = i == 0 ? 0 : -i;
		workers[i].queue_slot = DBOS_NOBODY;
	}
}

/* A task as a submit makes it, of a partition, priority and expected time that vary. */
static void
push(int64 id, int partitions)
{
	const DbosQueueFacts facts = DBOS_NO_FACTS(1);
	DbosTicket	ticket = {.key = {.priority = 0,.id = id}};
	uint64		mixed = (uint64) id * UINT64CONST(0x9E3779B97F4A7C15);

	ticket.partition = ((mixed >> 32) % partitions) * 2 + 1;
	ticket.cost = 1 << (10 + (mixed >> 20) % 4);
	ticket.rank[1] = id + 10 * (int64) ticket.cost;
	dbos_run_queue_push(database.database, 10, &facts, &ticket);
}

int
main(int argc, char **argv)
{
	int			waiting = argc > 1 ? atoi(argv[1]) : 100000;
	int			partitions = argc > 2 ? atoi(argv[2]) : 100;
	int			decisions = argc > 3 ? atoi(argv[3]) : 2000000;
	int			hand = argc > 4 ? Min(atoi(argv[4]), MAX_HAND) : 1;
	static DbosTicket tickets[MAX_HAND];
	DbosGrant	grant;
	int64		id = 0;
	int			done = 0;
	double		chosen = 0;
	double		begun;

	prepare(waiting);
	while (id < waiting)
		push(++id, partitions);
	begun = seconds();
	while (done < decisions)
	{
		double		at = seconds();

		dbos_run_queue_pop(database.database, 10, hand, tickets, &grant);
		workers[0].state = DBOS_WORKER_IDLE;
		dbos_run_queue_done(&workers[0]);
		workers[0].task = 0;
		workers[0].queue_slot = DBOS_NOBODY;
		chosen += seconds() - at;
		if (grant.count == 0)
			return 1;
		for (int i = 0; i < grant.count; i++)
			push(++id, partitions);
		done += grant.count;
	}
	printf("dbos decisions_%d_waiting_%d_partitions_by_%d %.0f decisions/s\n", waiting, partitions, hand, done / chosen);
	printf("dbos decisions_and_pushes_%d_waiting_%d_partitions_by_%d %.0f decisions/s\n", waiting, partitions, hand,
		   done / (seconds() - begun));
	return 0;
}
