/*
 * shared.c
 *	  Layout of the task room's shared memory.
 *
 * Sizes follow from the server: workers from max_worker_processes, waiters from
 * the number of backends, entries from dbos.task_queue_entries when preloaded
 * and a small fixed pool in the slack of a running server.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/twophase.h"
#include "miscadmin.h"
#include "postmaster/autovacuum.h"
#include "replication/walsender.h"
#include "storage/proc.h"

#include "tables_only.h"
#include "task.h"

DbosTaskShared *dbos_task_shared = NULL;

static DbosWorker *workers;
static DbosWaiter *waiters;
static DbosLane *lanes;
static int32 *buckets;
static DbosRunEntry *entries;

/* Entries and lanes that fit beside the rest into the server's slack without preload. */
#define ENTRIES_WITHOUT_PRELOAD 512
#define LANES_WITHOUT_PRELOAD 64
/* Where there is room for many tasks, there is for many partitions. */
#define ENTRIES_PER_LANE 4

static int
entry_count(bool preloaded)
{
	return preloaded ? dbos_task_queue_entries : ENTRIES_WITHOUT_PRELOAD;
}

static int
lane_count(bool preloaded)
{
	return preloaded ? Max(dbos_task_queue_entries / ENTRIES_PER_LANE, LANES_WITHOUT_PRELOAD) : LANES_WITHOUT_PRELOAD;
}

static int
waiter_count(void)
{
	/* As InitProcGlobal counts: backends, auxiliary processes, prepared transactions. */
	return MaxBackends + NUM_AUXILIARY_PROCS + max_prepared_xacts;
}

static Size
shared_size(bool preloaded)
{
	Size		size = MAXALIGN(sizeof(DbosTaskShared));

	/* MaxBackends is not known yet when preloaded libraries ask for memory on every version. */
	if (MaxBackends == 0)
		size = add_size(size, mul_size(MaxConnections + autovacuum_max_workers + 1 +
									   max_worker_processes + max_wal_senders +
									   NUM_AUXILIARY_PROCS + max_prepared_xacts,
									   sizeof(DbosWaiter)));
	else
		size = add_size(size, mul_size(waiter_count(), sizeof(DbosWaiter)));
	size = add_size(size, mul_size(max_worker_processes, sizeof(DbosWorker)));
	size = add_size(size, mul_size(lane_count(preloaded), sizeof(DbosLane) + sizeof(int32)));
	size = add_size(size, mul_size(entry_count(preloaded), sizeof(DbosRunEntry)));
	return add_size(size, 5 * MAXIMUM_ALIGNOF);
}

static void
shared_locate(DbosTaskShared *shared)
{
	char	   *at = (char *) shared + MAXALIGN(sizeof(DbosTaskShared));

	workers = (DbosWorker *) at;
	at += MAXALIGN(shared->nworkers * sizeof(DbosWorker));
	waiters = (DbosWaiter *) at;
	at += MAXALIGN(shared->nwaiters * sizeof(DbosWaiter));
	lanes = (DbosLane *) at;
	at += MAXALIGN(shared->nlanes * sizeof(DbosLane));
	buckets = (int32 *) at;
	at += MAXALIGN(shared->nlanes * sizeof(int32));
	entries = (DbosRunEntry *) at;
}

static void
shared_init(void *slot, bool preloaded)
{
	DbosTaskShared *shared = slot;

	dbos_lwlock_initialize(&shared->lock);
	pg_atomic_init_u64(&shared->cancels, 0);
	shared->launcher_proc = DBOS_NOBODY;
	shared->nworkers = max_worker_processes;
	shared->nwaiters = waiter_count();
	shared->nlanes = lane_count(preloaded);
	shared->nentries = entry_count(preloaded);
	shared_locate(shared);
	for (int i = 0; i < shared->nentries; i++)
		entries[i].link.sibling = i + 1 < shared->nentries ? i + 1 : DBOS_NOBODY;
	for (int i = 0; i < shared->nlanes; i++)
	{
		lanes[i].track = DBOS_NOBODY;
		lanes[i].next = i + 1 < shared->nlanes ? i + 1 : DBOS_NOBODY;
		buckets[i] = DBOS_NOBODY;
	}
	shared->free_entry = shared->free_lane = 0;
	for (int i = 0; i < DBOS_FORECASTS; i++)
		pg_atomic_init_u64(&shared->forecasts[i], 0);
	for (int i = 0; i < shared->nworkers; i++)
		workers[i].proc_number = DBOS_NOBODY;
}

static const DbosSharedSlot task_slot = {
	.room = "task",
	.size = shared_size,
	.init = shared_init,
	.slot = (void **) &dbos_task_shared,
};

void
dbos_task_shared_register(void)
{
	dbos_shared_register(&task_slot);
}

DbosWorker *
dbos_worker_slot(int slot)
{
	if (dbos_task_shared == NULL)
		return dbos_tables_self();
	if (workers == NULL)
		shared_locate(dbos_task_shared);
	return &workers[slot];
}

DbosWaiter *
dbos_waiter_slot(int proc_number)
{
	if (workers == NULL)
		shared_locate(dbos_task_shared);
	return &waiters[proc_number];
}

DbosRunEntry *
dbos_run_entries(void)
{
	if (workers == NULL)
		shared_locate(dbos_task_shared);
	return entries;
}

DbosLane *
dbos_lane_at(int32 lane)
{
	if (workers == NULL)
		shared_locate(dbos_task_shared);
	return &lanes[lane];
}

int32 *
dbos_lane_buckets(void)
{
	if (workers == NULL)
		shared_locate(dbos_task_shared);
	return buckets;
}

DbosDatabase *
dbos_database_find(Oid database, bool create)
{
	DbosDatabase *unused = NULL;

	for (int i = 0; i < DBOS_MAX_DATABASES; i++)
	{
		DbosDatabase *entry = &dbos_task_shared->databases[i];

		if (entry->database == database)
			return entry;
		/* A database without the extension is forgotten first when the table is full. */
		if (unused == NULL && (entry->database == InvalidOid ||
							   (entry->state == DBOS_DATABASE_ABSENT && entry->scheduler == DBOS_NOBODY)))
			unused = entry;
	}
	if (!create || unused == NULL)
		return NULL;
	memset(unused, 0, sizeof(DbosDatabase));
	unused->database = database;
	unused->scheduler = DBOS_NOBODY;
	return unused;
}

void
dbos_wake_launcher(void)
{
	if (dbos_task_shared->launcher_proc != DBOS_NOBODY)
		dbos_wake_now(dbos_task_shared->launcher_proc, dbos_task_shared->launcher_pid);
}

/* The database has work that a scheduler decides: wake it, or have it started. */
void
dbos_scheduler_want(DbosDatabase *database)
{
	database->work = true;
	if (database->scheduler != DBOS_NOBODY)
	{
		DbosWorker *worker = dbos_worker_slot(database->scheduler);

		if (worker->state != DBOS_WORKER_STARTING)
		{
			dbos_wake_now(worker->proc_number, worker->pid);
			return;
		}
	}
	dbos_wake_launcher();
}

void
dbos_database_event(DbosDatabase *database, char kind, int64 task)
{
	if (dbos_task_shared->nevents == DBOS_MAX_EVENTS)
		database->check_all = true;
	else
	{
		DbosEvent  *event = &dbos_task_shared->events[dbos_task_shared->nevents++];

		event->database = database->database;
		event->kind = kind;
		event->task = task;
	}
	dbos_scheduler_want(database);
}

/*
 * A scheduler is wanted at this time.  One that is there looks again even if the time is
 * not earlier than what it knows: it may be about to write down what it read before
 * our commit.  Where there is none, the launcher arms its timer and starts one in time.
 */
void
dbos_database_due(DbosDatabase *database, TimestampTz at)
{
	bool		earlier = database->next_due == 0 || at < database->next_due;

	if (earlier)
		database->next_due = at;
	if (database->scheduler != DBOS_NOBODY)
		dbos_scheduler_want(database);
	else if (earlier)
		dbos_wake_launcher();
}
