/*
 * queue_slot.c
 *	  What the run queue knows of queues: their limits, and how many of their tasks run.
 *
 * Every function here is called with DbosTaskShared.lock held exclusively.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "task.h"

/* A queue without limits and by the policy that is the default needs no slot. */
static bool
says_nothing(const DbosQueueFacts *facts)
{
	return facts->concurrency < 0 && facts->partition_concurrency < 0 && facts->rate_limit < 0 &&
		facts->partition_rate_limit < 0 && !facts->paused &&
		facts->policy.share_at == DBOS_DEFAULT_SHARE_AT;
}

static bool
slot_says_nothing(const DbosQueueSlot *slot)
{
	return slot->concurrency < 0 && slot->partition_concurrency < 0 && !slot->rated && !slot->paused &&
		slot->share_at == DBOS_DEFAULT_SHARE_AT;
}

DbosQueueSlot *
dbos_queue_slot_find(Oid database, int32 queue_id)
{
	for (int i = 0; i < dbos_task_shared->nqueues; i++)
	{
		DbosQueueSlot *slot = &dbos_task_shared->queues[i];

		if (slot->queue_id == queue_id && slot->database == database)
			return slot;
	}
	return NULL;
}

static bool
slot_is_needed(const DbosQueueSlot *slot)
{
	if (slot->running > 0)
		return true;
	for (int i = 0; i < dbos_task_shared->ntracks; i++)
	{
		const DbosTrack *track = &dbos_task_shared->tracks[i];

		/* A refill has told the limits before it adds the first entry. */
		if (track->database == slot->database && track->queue_id == slot->queue_id &&
			(track->count > 0 || track->refills > 0))
			return true;
	}
	return false;
}

static DbosQueueSlot *
unused_slot(void)
{
	DbosQueueSlot *silent = NULL;

	for (int i = 0; i < dbos_task_shared->nqueues; i++)
	{
		DbosQueueSlot *slot = &dbos_task_shared->queues[i];

		if (slot->database == InvalidOid)
			return slot;
		if (silent == NULL && slot->running == 0 && slot_says_nothing(slot))
			silent = slot;
	}
	if (dbos_task_shared->nqueues < DBOS_MAX_QUEUES)
		return &dbos_task_shared->queues[dbos_task_shared->nqueues++];
	if (silent != NULL)
		return silent;
	for (int i = 0; i < DBOS_MAX_QUEUES; i++)
		if (!slot_is_needed(&dbos_task_shared->queues[i]))
			return &dbos_task_shared->queues[i];
	return NULL;
}

/*
 * The slot of a queue, made without limits when there was none.  When the table
 * is full, slots that say nothing go first, then those whose queue has no task
 * in memory: their limits come again with the next push or refill.  NULL when
 * all are needed.
 */
DbosQueueSlot *
dbos_queue_slot_claim(Oid database, int32 queue_id)
{
	DbosQueueSlot *slot = dbos_queue_slot_find(database, queue_id);

	if (slot != NULL)
		return slot;
	slot = unused_slot();
	if (slot == NULL)
		return NULL;
	memset(slot, 0, sizeof(*slot));
	slot->database = database;
	slot->queue_id = queue_id;
	slot->concurrency = -1;
	slot->partition_concurrency = -1;
	slot->share_at = DBOS_DEFAULT_SHARE_AT;
	return slot;
}

void
dbos_queue_slot_set(DbosQueueSlot *slot, const DbosQueueFacts *facts)
{
	slot->concurrency = facts->concurrency;
	slot->partition_concurrency = facts->partition_concurrency;
	slot->partition_rated = facts->partition_rate_limit >= 0;
	slot->rated = facts->rate_limit >= 0 || slot->partition_rated;
	slot->paused = facts->paused;
	slot->share_at = facts->policy.share_at;
}

/* Whether the queue lets a task start. */
bool
dbos_queue_slot_open(const DbosQueueSlot *slot)
{
	return !slot->paused && slot->rests_until == 0 &&
		(slot->concurrency < 0 || slot->running < slot->concurrency);
}

/*
 * Makes the limits of a queue known where they are not: before a push or a
 * refill of one of its lanes.  A slot that exists is left as it is, because the
 * facts may come from a cache that is older than the last change.  False when
 * the limits could not be kept: nothing of the queue may then enter a heap.
 */
bool
dbos_run_queue_know(Oid database, const DbosQueueFacts *facts)
{
	DbosQueueSlot *slot;

	if (says_nothing(facts) || dbos_queue_slot_find(database, facts->queue_id) != NULL)
		return true;
	slot = dbos_queue_slot_claim(database, facts->queue_id);
	if (slot == NULL)
		return false;
	dbos_queue_slot_set(slot, facts);
	return true;
}

int
dbos_run_queue_running(Oid database, int32 queue_id)
{
	const DbosQueueSlot *slot = dbos_queue_slot_find(database, queue_id);

	return slot == NULL ? 0 : slot->running;
}

/* How many workers run tasks of a partition, whoever submitted them. */
int
dbos_partition_running(Oid database, int32 queue_id, uint64 partition)
{
	int			running = 0;

	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		const DbosWorker *worker = dbos_worker_slot(i);

		if (worker->state == DBOS_WORKER_RUNNING && worker->partition == partition &&
			worker->queue_id == queue_id && worker->database == database && worker->task != 0)
			running++;
	}
	return running;
}

/* The database, or its extension, is gone. */
void
dbos_queue_slots_forget(Oid database)
{
	for (int i = 0; i < dbos_task_shared->nqueues; i++)
	{
		DbosQueueSlot *slot = &dbos_task_shared->queues[i];
		int32		running = slot->running;
		int32		queue_id = slot->queue_id;

		if (slot->database != database)
			continue;
		memset(slot, 0, sizeof(*slot));
		/* A worker that still runs holds the slot's number. */
		if (running == 0)
			continue;
		slot->database = database;
		slot->queue_id = queue_id;
		slot->running = running;
		slot->concurrency = slot->partition_concurrency = -1;
		slot->share_at = DBOS_DEFAULT_SHARE_AT;
	}
}
