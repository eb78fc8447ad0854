/*
 * tables_only.c
 *	  An executor's place and status without shared memory of ours.
 *
 * For tests, and for a server that has no memory to spare: the tables hold the
 * truth, so everything works on them alone, only slower.  That nobody else runs a task, and the limits of queues
 * and pool, are locks of the server.  What a process does is written into the
 * progress values of its own entry in the server's table of backends, where it
 * is seen at once and ends with the process; whatever is decided by it is a hint.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <signal.h>
#include <unistd.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker_internals.h"
#include "storage/lock.h"
#include "utils/backend_progress.h"
#include "utils/backend_status.h"
#include "utils/timestamp.h"

#include "tables_only.h"

/* The progress values of a backend that runs tasks. */
enum
{
	STATUS_TASK,
	STATUS_STARTED_AT,
	STATUS_SINCE,
	STATUS_QUEUE_AND_DONE,
	STATUS_STATE_AND_PROGRESS,
	STATUS_NOTE,
	STATUS_LENGTH = STATUS_NOTE + DBOS_NOTE_LENGTH / sizeof(int64)
};

StaticAssertDecl(STATUS_LENGTH <= PGSTAT_NUM_PROGRESS_PARAM, "the status of a worker fits");

static DbosWorker self;
static int	my_place = DBOS_NOBODY;
static int	my_queue_place = DBOS_NOBODY;
static int	my_partition_place = DBOS_NOBODY;

DbosWorker *
dbos_tables_self(void)
{
	return &self;
}

/* ---- places ---- */

/* One in four places is a scheduler's, at least one, as far as there are any. */
int
dbos_tables_scheduler_places(void)
{
	int			places = dbos_worker_process_limit();

	if (dbos_max_workers >= 0)
		places = Min(places, dbos_max_workers + 1);
	return Max(places / 4, 1);
}

int
dbos_tables_executor_places(void)
{
	int			places = dbos_worker_process_limit() - dbos_tables_scheduler_places();

	if (dbos_max_workers >= 0)
		places = Min(places, dbos_max_workers);
	return dbos_max_workers == 0 ? 0 : Max(places, 1);
}

static bool
take_place(void)
{
	int			places = dbos_tables_executor_places();

	for (int i = 0; i < places; i++)
		if (dbos_only_try(DBOS_ONLY_PLACE, i, 0))
		{
			my_place = i;
			return true;
		}
	return false;
}

int
dbos_tables_free_places(void)
{
	int			places = dbos_tables_executor_places();
	int			unused = 0;

	for (int i = 0; i < places; i++)
		if (i != my_place && !dbos_only_taken(DBOS_ONLY_PLACE, i, 0))
			unused++;
	return unused;
}

/*
 * The process becomes one of ours: false when all places are taken, or its
 * database is blocked.  Then dbos_my_worker numbers it.
 */
bool
dbos_tables_attach(const DbosWorkerAddress *address, bool is_scheduler)
{
	/* Who waits inside a task has a process and no place, so there are more of them. */
	int			processes = Max(dbos_worker_process_limit(), 2);

	if (dbos_only_taken(DBOS_ONLY_BLOCKER, MyDatabaseId, 0))
		return false;
	if (is_scheduler ? !dbos_only_try(DBOS_ONLY_SCHEDULER, MyDatabaseId, 0) : !take_place())
		return false;
	for (int i = 0; i < processes && dbos_my_worker == DBOS_NOBODY; i++)
		if (!dbos_worker_note_is_open(i) && dbos_only_try(DBOS_ONLY_PROCESS, i, 0))
			dbos_my_worker = i;
	if (dbos_my_worker == DBOS_NOBODY)
		return false;
	self.state = DBOS_WORKER_IDLE;
	self.is_scheduler = is_scheduler;
	self.database = MyDatabaseId;
	self.session_role = address->session_role;
	self.pid = MyProcPid;
	self.queue_slot = DBOS_NOBODY;
	self.progress = -1;
	self.since = GetCurrentTimestamp();
	self.serving_since = self.since;
	dbos_tables_publish();
	return true;
}

/* What identifies this process is taken again after a task has let go of all advisory locks. */
void
dbos_tables_hold(void)
{
	(void) dbos_only_try(DBOS_ONLY_PROCESS, dbos_my_worker, 0);
	if (my_place != DBOS_NOBODY && !dbos_only_try(DBOS_ONLY_PLACE, my_place, 0) && !take_place())
		self.leave = true;
}

bool
dbos_tables_told_to_leave(void)
{
	return self.leave || dbos_only_taken(DBOS_ONLY_BLOCKER, MyDatabaseId, 0);
}

/* ---- the task that it has ---- */

static int
take_place_among(DbosOnlyOne kind, uint32 high, int32 places)
{
	for (int i = 0; i < places; i++)
	{
		if (dbos_only_try(kind, high, i))
			return i;
		/* More than all processes that there can be would find one. */
		if (i > max_worker_processes)
			break;
	}
	return DBOS_NOBODY;
}

/* Names a partition of a queue in a lock; two that fall together have one limit between them. */
static uint32
partition_lock(int32 queue_id, uint64 partition)
{
	return (uint32) hash_combine64(partition, queue_id);
}

static void
release_places(void)
{
	if (my_queue_place != DBOS_NOBODY)
		dbos_only_release(DBOS_ONLY_QUEUE_PLACE, self.queue_id, my_queue_place);
	if (my_partition_place != DBOS_NOBODY)
		dbos_only_release(DBOS_ONLY_PARTITION_PLACE, partition_lock(self.queue_id, self.partition), my_partition_place);
	my_queue_place = my_partition_place = DBOS_NOBODY;
}

/* False when another process has it, or had it when it ended and that is not counted yet. */
static bool
take_task(int64 task)
{
	if (!dbos_only_try(DBOS_ONLY_TASK, (uint32) (task >> 32), (uint32) task))
		return false;
	if (!dbos_worker_note_names(task))
		return true;
	dbos_only_release(DBOS_ONLY_TASK, (uint32) (task >> 32), (uint32) task);
	return false;
}

/*
 * Takes a task, if nobody else has it and the limits on what runs at once let it run;
 * *full says that they do not: 'q' for its queue, 'p' for its partition.
 */
bool
dbos_tables_take(const DbosTicket *ticket, const DbosQueueFacts *queue, char *full)
{
	*full = 0;
	self.queue_id = queue->queue_id;
	self.partition = ticket->partition;
	/*
	 * Places first: who had a task while he looks for a place that he does not get would
	 * make the one who gets it pass the task by, and one after the other would not be in order.
	 */
	if (queue->concurrency >= 0 &&
		(my_queue_place = take_place_among(DBOS_ONLY_QUEUE_PLACE, queue->queue_id, queue->concurrency)) == DBOS_NOBODY)
		*full = 'q';
	else if (queue->partition_concurrency >= 0 && ticket->partition != 0 &&
			 (my_partition_place = take_place_among(DBOS_ONLY_PARTITION_PLACE,
													partition_lock(queue->queue_id, ticket->partition),
													queue->partition_concurrency)) == DBOS_NOBODY)
		*full = 'p';
	if (*full != 0 || !take_task(ticket->key.id))
	{
		release_places();
		return false;
	}
	self.task = ticket->key.id;
	self.priority = ticket->key.priority;
	self.state = DBOS_WORKER_RUNNING;
	self.since = self.started_at = GetCurrentTimestamp();
	self.progress = -1;
	self.note[0] = '\0';
	dbos_tables_publish();
	return true;
}

static bool
sees_free_place(DbosOnlyOne kind, uint32 high, int32 places)
{
	for (int i = 0; i < places && i <= max_worker_processes; i++)
		if (!dbos_only_seen(kind, high, i))
			return true;
	return false;
}

/*
 * Whether an executor could take the task now, as far as can be seen; *full as above.
 * It takes nothing for that: an executor that came upon the lock of who only looks
 * would pass the task by, and run a later one first.
 */
bool
dbos_tables_could_take(const DbosTicket *ticket, const DbosQueueFacts *queue, char *full)
{
	*full = 0;
	if (dbos_only_seen(DBOS_ONLY_TASK, (uint32) (ticket->key.id >> 32), (uint32) ticket->key.id) ||
		dbos_worker_note_names(ticket->key.id))
		return false;
	if (queue->concurrency >= 0 && !sees_free_place(DBOS_ONLY_QUEUE_PLACE, queue->queue_id, queue->concurrency))
		*full = 'q';
	else if (queue->partition_concurrency >= 0 && ticket->partition != 0 &&
			 !sees_free_place(DBOS_ONLY_PARTITION_PLACE, partition_lock(queue->queue_id, ticket->partition),
						 queue->partition_concurrency))
		*full = 'p';
	return *full == 0;
}

/*
 * The task is not ours any more.  Who has seen that it was, and is about to
 * signal us because of it, has done so when this returns.
 */
void
dbos_tables_put_back(void)
{
	int64		task = self.task;

	release_places();
	dbos_only_release(DBOS_ONLY_TASK, (uint32) (task >> 32), (uint32) task);
	self.task = 0;
	self.state = DBOS_WORKER_IDLE;
	dbos_tables_publish();
	dbos_only_wait(DBOS_ONLY_SIGNAL, MyProcPid, 0);
	dbos_only_release(DBOS_ONLY_SIGNAL, MyProcPid, 0);
}

/* ---- waiting inside a task ---- */

/* Place and queue place are others' until the task goes on. */
void
dbos_tables_suspend(void)
{
	release_places();
	if (my_place != DBOS_NOBODY)
		dbos_only_release(DBOS_ONLY_PLACE, my_place, 0);
	my_place = DBOS_NOBODY;
	self.state = DBOS_WORKER_WAITING;
	dbos_tables_publish();
}

/* It goes on, beyond the limits for a moment if its places were taken: it cannot be undone. */
void
dbos_tables_resume(void)
{
	if (!take_place())
		self.leave = true;
	self.state = DBOS_WORKER_RUNNING;
	dbos_tables_publish();
}

/* ---- status ---- */

/* Shows what self says to everybody. */
void
dbos_tables_publish(void)
{
	int			index[STATUS_LENGTH];
	int64		value[STATUS_LENGTH] = {0};
	uint32		progress;

	for (int i = 0; i < STATUS_LENGTH; i++)
		index[i] = i;
	memcpy(&progress, &self.progress, sizeof(progress));
	value[STATUS_TASK] = self.task;
	value[STATUS_STARTED_AT] = self.started_at;
	value[STATUS_SINCE] = self.since;
	value[STATUS_QUEUE_AND_DONE] = ((int64) self.queue_id << 32) | (uint32) self.tasks_done;
	value[STATUS_STATE_AND_PROGRESS] = ((int64) self.state << 32) | progress;
	memcpy(&value[STATUS_NOTE], self.note, DBOS_NOTE_LENGTH);
	pgstat_progress_update_multi_param(STATUS_LENGTH, index, value);
}

static void
read_status(const PgBackendStatus *entry, DbosWorker *worker)
{
	const int64 *value = entry->st_progress_param;
	uint32		progress = (uint32) value[STATUS_STATE_AND_PROGRESS];

	worker->database = entry->st_databaseid;
	worker->session_role = worker->is_scheduler ? InvalidOid : entry->st_userid;
	worker->pid = entry->st_procpid;
	worker->since = value[STATUS_SINCE];
	worker->started_at = value[STATUS_STARTED_AT];
	worker->queue_id = (int32) (value[STATUS_QUEUE_AND_DONE] >> 32);
	worker->tasks_done = (uint32) value[STATUS_QUEUE_AND_DONE];
	worker->state = (DbosWorkerState) (value[STATUS_STATE_AND_PROGRESS] >> 32);
	memcpy(&worker->progress, &progress, sizeof(progress));
	memcpy(worker->note, &value[STATUS_NOTE], DBOS_NOTE_LENGTH);
	worker->note[DBOS_NOTE_LENGTH - 1] = '\0';
	/* A command with a progress of its own, as VACUUM, has written over ours. */
	if (entry->st_progress_command != PROGRESS_COMMAND_INVALID)
	{
		worker->state = DBOS_WORKER_RUNNING;
		worker->started_at = worker->since = entry->st_activity_start_timestamp;
		worker->queue_id = 0;
		worker->tasks_done = 0;
		worker->progress = -1;
		worker->note[0] = '\0';
	}
	else if (worker->state == DBOS_WORKER_FREE)
	{
		worker->state = DBOS_WORKER_STARTING;
		worker->since = entry->st_proc_start_timestamp;
		worker->progress = -1;
		worker->note[0] = '\0';
	}
}

/* All processes of ours, palloc'd; which task each has is said by the locks. */
DbosWorker *
dbos_tables_workers(int *count)
{
	int			entries;
	DbosWorker *workers;
	LockData   *locks;

	pgstat_clear_backend_activity_snapshot();
	entries = pgstat_fetch_stat_numbackends();
	workers = palloc0(sizeof(DbosWorker) * Max(entries, 1));
	*count = 0;
	for (int i = 1; i <= entries; i++)
	{
		PgBackendStatus *entry = &dbos_backend_status(i)->backendStatus;
		const char *type;
		DbosWorker *worker = &workers[*count];

		if (entry->st_backendType != B_BG_WORKER)
			continue;
		type = GetBackgroundWorkerTypeByPid(entry->st_procpid);
		if (type == NULL)
			continue;
		worker->is_scheduler = strcmp(type, "dbos scheduler") == 0;
		if (!worker->is_scheduler && strcmp(type, "dbos executor") != 0)
			continue;
		read_status(entry, worker);
		(*count)++;
	}
	locks = GetLockStatusData();
	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];

		if (lock->locktag.locktag_type != LOCKTAG_ADVISORY ||
			lock->locktag.locktag_field4 != DBOS_ONLY_TASK ||
			(lock->holdMask & LOCKBIT_ON(ExclusiveLock)) == 0)
			continue;
		for (int n = 0; n < *count; n++)
			if (workers[n].pid == lock->pid && !workers[n].is_scheduler)
				workers[n].task = (int64) (((uint64) lock->locktag.locktag_field2 << 32) |
										   lock->locktag.locktag_field3);
	}
	return workers;
}

/* Whether every slot for background workers of the server is in use. */
bool
dbos_tables_slots_in_use(void)
{
	int			entries;
	int			used = 0;

	pgstat_clear_backend_activity_snapshot();
	entries = pgstat_fetch_stat_numbackends();
	for (int i = 1; i <= entries; i++)
		if (dbos_backend_status(i)->backendStatus.st_backendType == B_BG_WORKER)
			used++;
	return used >= max_worker_processes;
}

/* Interrupts the process that runs a task, and not one that has gone on to another. */
void
dbos_tables_cancel(int64 task)
{
	int			count;
	DbosWorker *workers = dbos_tables_workers(&count);

	for (int i = 0; i < count; i++)
	{
		if (workers[i].task != task || workers[i].database != MyDatabaseId)
			continue;
		dbos_only_wait(DBOS_ONLY_SIGNAL, workers[i].pid, 0);
		if (dbos_only_taken(DBOS_ONLY_TASK, (uint32) (task >> 32), (uint32) task))
			(void) kill(workers[i].pid, SIGINT);
		dbos_only_release(DBOS_ONLY_SIGNAL, workers[i].pid, 0);
	}
	pfree(workers);
}
