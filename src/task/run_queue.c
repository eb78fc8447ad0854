/*
 * run_queue.c
 *	  Which waiting task runs next: lanes, their heaps and the queues' limits.
 *
 * Every function here is called with DbosTaskShared.lock held exclusively, in
 * any process, also from commit and abort callbacks: nothing allocates, raises
 * or waits.  All of it is a hint.  An entry may be stale or there twice: who
 * pops it looks at the row.  What must not happen is that a ready row is known
 * to nobody, so each place that gives an entry up says in the lane (spilled,
 * complete) that the table knows more than the heap.
 *
 * A lane's entries form a pairing heap of indices into one pool that all lanes
 * share.  The last eighth of the pool is left to lanes that hold little, so
 * that a flood in one lane does not keep the others in the table.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <limits.h>

#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "task.h"

/* A spilled lane with fewer entries than this is read from the table again. */
#define LOW_WATER 256
/* The part of the pool that is left to lanes below the low water mark. */
#define RESERVE_DIVISOR 8
/* How deep the search for an entry that gives way goes. */
#define MAX_EVICT_DEPTH 64

static const DbosTaskKey key_infinite = {INT_MAX, PG_INT64_MAX};
static const DbosTaskKey key_none = {INT_MIN, 0};

static int	low_water(void);
static bool lane_has_room(const DbosLane *lane);
static void lane_spill(DbosLane *lane, DbosTaskKey key);
static void lane_clear(DbosLane *lane);
static DbosLane *lane_claim(void);
static bool lane_evict(DbosLane *lane, DbosTaskKey key);
static void lane_want_refill(const DbosLane *lane);
static void room_regained(void);
static DbosQueueSlot *queue_find(Oid database, int32 queue_id);
static DbosQueueSlot *queue_claim(Oid database, int32 queue_id);
static bool queue_is_needed(const DbosQueueSlot *queue);
static DbosLane *first_lane(Oid database, Oid session_role);
static DbosWorker *runner_of(Oid database, int64 task);
static void put_back_own(DbosWorker *worker, const DbosQueueSlot *queue);
static int32 heap_meld(int32 a, int32 b);
static void heap_insert(DbosLane *lane, DbosTaskKey key);
static DbosTaskKey heap_pop(DbosLane *lane);
static void entry_free(int32 entry);

/* ---- lanes ---- */

/*
 * The lane of a login role in a queue; NULL when there is none, or, with
 * create, when the table of lanes is full.  A new lane knows all ready rows
 * only if somebody has looked for all lanes of the database before.
 */
DbosLane *
dbos_lane_find(Oid database, Oid session_role, int32 queue_id, bool create)
{
	DbosLane   *lane;
	DbosDatabase *entry;

	for (int i = 0; i < dbos_task_shared->nlanes; i++)
	{
		lane = &dbos_task_shared->lanes[i];
		if (lane->database == database && lane->session_role == session_role &&
			lane->queue_id == queue_id)
			return lane;
	}
	if (!create || (lane = lane_claim()) == NULL)
		return NULL;
	entry = dbos_database_find(database, false);
	lane->database = database;
	lane->session_role = session_role;
	lane->queue_id = queue_id;
	lane->root = DBOS_NOBODY;
	lane->count = 0;
	lane->refilling = false;
	lane->missed = false;
	lane->spilled = entry == NULL || !entry->opened || entry->lanes_missing;
	lane->complete = lane->spilled ? key_none : key_infinite;
	return lane;
}

/* Whether a task of the lane could start now, as far as its queue is concerned. */
bool
dbos_lane_runnable(const DbosLane *lane)
{
	const DbosQueueSlot *queue;

	if (lane->database == InvalidOid || lane->count == 0)
		return false;
	queue = queue_find(lane->database, lane->queue_id);
	return queue == NULL ||
		(!queue->paused && (queue->concurrency < 0 || queue->running < queue->concurrency));
}

/* Whether a scheduler should read rows of the lane from the table. */
bool
dbos_lane_wants_refill(const DbosLane *lane)
{
	return lane->database != InvalidOid && lane->spilled && !lane->refilling &&
		lane->count < low_water();
}

/* Free entries of the pool. */
int
dbos_lane_room(void)
{
	return dbos_task_shared->nentries - dbos_task_shared->entries_used;
}

/*
 * How many rows a refill of the lane should read: as many as it would keep.  In
 * a nearly full pool that is what lifts it to the low water mark, and no window.
 */
int
dbos_lane_refill_rows(const DbosLane *lane, int window)
{
	int			spare = dbos_lane_room() - dbos_task_shared->nentries / RESERVE_DIVISOR;

	return Max(Min(window, Max(spare, low_water() - lane->count)), 1);
}

/*
 * Adds a row that a scheduler read to the lane that it refills; false when the
 * lane gets no entry, and the window that was read ends before this key.
 */
bool
dbos_lane_add(DbosLane *lane, DbosTaskKey key)
{
	if (!lane_has_room(lane))
		return false;
	heap_insert(lane, key);
	return true;
}

static int
low_water(void)
{
	return Min(LOW_WATER, dbos_task_shared->nentries / 8);
}

static bool
lane_has_room(const DbosLane *lane)
{
	int			room = dbos_lane_room();

	return room > 0 &&
		(lane->count < low_water() || room > dbos_task_shared->nentries / RESERVE_DIVISOR);
}

/* The row of this key is in the table alone from now on. */
static void
lane_spill(DbosLane *lane, DbosTaskKey key)
{
	key.id--;
	lane->spilled = true;
	if (dbos_task_key_compare(key, lane->complete) < 0)
		lane->complete = key;
	/* The scheduler's read may have begun before the row was there. */
	if (lane->refilling)
		lane->missed = true;
}

/* Frees the entries of a lane in any order. */
static void
lane_clear(DbosLane *lane)
{
	DbosRunEntry *entries = dbos_run_entries();
	int32		todo = lane->root;

	/* The list of what is to be freed grows by the children of its head. */
	while (todo != DBOS_NOBODY)
	{
		int32		entry = todo;
		int32		child = entries[entry].child;

		todo = entries[entry].sibling;
		while (child != DBOS_NOBODY)
		{
			int32		next = entries[child].sibling;

			entries[child].sibling = todo;
			todo = child;
			child = next;
		}
		entry_free(entry);
	}
	lane->root = DBOS_NOBODY;
	lane->count = 0;
}

/* A lane that nobody uses, or one that is empty and knows that the table has no more. */
static DbosLane *
lane_claim(void)
{
	DbosTaskShared *shared = dbos_task_shared;

	for (int i = 0; i < shared->nlanes; i++)
		if (shared->lanes[i].database == InvalidOid)
			return &shared->lanes[i];
	if (shared->nlanes < DBOS_MAX_LANES)
		return &shared->lanes[shared->nlanes++];
	for (int i = 0; i < shared->nlanes; i++)
	{
		DbosLane   *lane = &shared->lanes[i];

		if (lane->count == 0 && !lane->spilled && !lane->refilling)
			return lane;
	}
	return NULL;
}

/*
 * A more urgent task comes and the lane gets no entry: a later one of the lane
 * gives way and is read from the table in its turn.  Without this an urgent
 * task would wait until all that is in the heap has run.  Tasks that came in
 * order are direct children of the root, latest first, so the first leaf found
 * is nearly always a late one.
 */
static bool
lane_evict(DbosLane *lane, DbosTaskKey key)
{
	DbosRunEntry *entries = dbos_run_entries();
	int32		parent = lane->root;
	int32		leaf;

	if (parent == DBOS_NOBODY || entries[parent].child == DBOS_NOBODY)
		return false;
	leaf = entries[parent].child;
	for (int depth = 0; entries[leaf].child != DBOS_NOBODY; depth++)
	{
		if (depth == MAX_EVICT_DEPTH)
			return false;
		parent = leaf;
		leaf = entries[leaf].child;
	}
	if (dbos_task_key_compare(entries[leaf].key, key) <= 0)
		return false;
	lane_spill(lane, entries[leaf].key);
	entries[parent].child = entries[leaf].sibling;
	entry_free(leaf);
	lane->count--;
	return true;
}

static void
lane_want_refill(const DbosLane *lane)
{
	DbosDatabase *database;

	if (!dbos_lane_wants_refill(lane))
		return;
	database = dbos_database_find(lane->database, false);
	if (database != NULL)
		dbos_scheduler_want(database);
}

/* The pool was empty and is not any more: lanes that got nothing are looked at again. */
static void
room_regained(void)
{
	for (int i = 0; i < dbos_task_shared->nlanes; i++)
		lane_want_refill(&dbos_task_shared->lanes[i]);
}

/* ---- queues ---- */

static DbosQueueSlot *
queue_find(Oid database, int32 queue_id)
{
	for (int i = 0; i < DBOS_MAX_QUEUES; i++)
	{
		DbosQueueSlot *queue = &dbos_task_shared->queues[i];

		if (queue->queue_id == queue_id && queue->database == database)
			return queue;
	}
	return NULL;
}

/*
 * The slot of a queue, made without limits when there was none.  When the table
 * is full, slots that say nothing go first, then those whose queue has no task
 * in memory: their limits come again with the next push or refill.  NULL when
 * all are needed.
 */
static DbosQueueSlot *
queue_claim(Oid database, int32 queue_id)
{
	DbosQueueSlot *unused = NULL;
	DbosQueueSlot *silent = NULL;
	DbosQueueSlot *found = queue_find(database, queue_id);

	if (found != NULL)
		return found;
	for (int i = 0; i < DBOS_MAX_QUEUES && unused == NULL; i++)
	{
		DbosQueueSlot *queue = &dbos_task_shared->queues[i];

		if (queue->database == InvalidOid)
			unused = queue;
		else if (silent == NULL && queue->running == 0 && queue->concurrency < 0 && !queue->paused)
			silent = queue;
	}
	if (unused == NULL)
		unused = silent;
	for (int i = 0; i < DBOS_MAX_QUEUES && unused == NULL; i++)
		if (!queue_is_needed(&dbos_task_shared->queues[i]))
			unused = &dbos_task_shared->queues[i];
	if (unused == NULL)
		return NULL;
	unused->database = database;
	unused->queue_id = queue_id;
	unused->concurrency = -1;
	unused->running = 0;
	unused->paused = false;
	return unused;
}

static bool
queue_is_needed(const DbosQueueSlot *queue)
{
	if (queue->running > 0)
		return true;
	for (int i = 0; i < dbos_task_shared->nlanes; i++)
	{
		DbosLane   *lane = &dbos_task_shared->lanes[i];

		/* A refill has told the limits before it adds the first entry. */
		if (lane->database == queue->database && lane->queue_id == queue->queue_id &&
			(lane->count > 0 || lane->refilling))
			return true;
	}
	return false;
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
	DbosQueueSlot *queue;

	if ((facts->concurrency < 0 && !facts->paused) ||
		queue_find(database, facts->queue_id) != NULL)
		return true;
	queue = queue_claim(database, facts->queue_id);
	if (queue == NULL)
		return false;
	queue->concurrency = facts->concurrency;
	queue->paused = facts->paused;
	return true;
}

/*
 * The queue was made or changed, and that is committed: its limits hold from
 * now on, and who may run because of it is woken.
 */
void
dbos_run_queue_alter(Oid database, const DbosQueueFacts *facts)
{
	DbosQueueSlot *queue = queue_claim(database, facts->queue_id);

	/* All slots are needed by others; the next push tells the limits again. */
	if (queue == NULL)
		return;
	queue->concurrency = facts->concurrency;
	queue->paused = facts->paused;
	for (int i = 0; i < dbos_task_shared->nlanes; i++)
	{
		DbosLane   *lane = &dbos_task_shared->lanes[i];

		if (lane->database == database && lane->queue_id == facts->queue_id &&
			dbos_lane_runnable(lane))
			dbos_run_queue_wake(database, lane->session_role);
	}
}

/* ---- tasks in, tasks out ---- */

/*
 * A task is ready.  It enters its lane's heap, or stays in the table, which the
 * lane then knows.  Wakes a scheduler where one is needed, but no executor:
 * callers wake once for many pushes.
 */
void
dbos_run_queue_push(Oid database, Oid session_role, const DbosQueueFacts *queue, DbosTaskKey key)
{
	DbosDatabase *entry = dbos_database_find(database, true);
	DbosLane   *lane = NULL;

	/* More databases than we keep: its tasks wait in the table. */
	if (entry == NULL)
		return;
	if (dbos_run_queue_know(database, queue))
		lane = dbos_lane_find(database, session_role, queue->queue_id, true);
	if (lane == NULL)
	{
		entry->lanes_missing = true;
		/* A lane that is there learns that it does not know this row. */
		lane = dbos_lane_find(database, session_role, queue->queue_id, false);
		if (lane != NULL)
			lane_spill(lane, key);
		dbos_scheduler_want(entry);
		return;
	}
	if (lane->spilled && !lane->refilling && dbos_task_key_compare(key, lane->complete) > 0)
	{
		if (dbos_lane_wants_refill(lane))
			dbos_scheduler_want(entry);
		return;
	}
	if (lane_has_room(lane) || lane_evict(lane, key))
		heap_insert(lane, key);
	else
	{
		lane_spill(lane, key);
		if (dbos_lane_wants_refill(lane))
			dbos_scheduler_want(entry);
	}
}

/* How many of the lane's tasks one worker should take of `limit`: those who may run others shall have theirs. */
static int
fair_hand(const DbosLane *lane, int limit)
{
	const DbosQueueSlot *queue = queue_find(lane->database, lane->queue_id);
	int			workers = 0;

	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		DbosWorker *worker = dbos_worker_slot(i);

		if (!worker->is_scheduler && worker->database == lane->database &&
			worker->session_role == lane->session_role &&
			(worker->state == DBOS_WORKER_IDLE || worker->state == DBOS_WORKER_RUNNING))
			workers++;
	}
	if (queue != NULL && queue->concurrency >= 0)
		workers = Min(workers, queue->concurrency - queue->running);
	workers = Max(workers, 1);
	return Max(Min(limit, (lane->count + workers - 1) / workers), 1);
}

/* The calling worker runs something of this lane from now on. */
static void
begin_to_run(DbosWorker *me, const DbosLane *lane, DbosTaskKey key)
{
	DbosQueueSlot *queue = queue_claim(lane->database, lane->queue_id);
	TimestampTz now = GetCurrentTimestamp();

	me->queue_slot = DBOS_NOBODY;
	if (queue != NULL)
	{
		queue->running++;
		me->queue_slot = queue - dbos_task_shared->queues;
	}
	me->task = key.id;
	me->queue_id = lane->queue_id;
	me->priority = key.priority;
	me->state = DBOS_WORKER_RUNNING;
	me->since = now;
	me->started_at = now;
	if (me->serving_since == 0)
		me->serving_since = now;
	me->progress = -1;
	me->note[0] = '\0';
	me->cancel = false;
}

/* Takes the first task of a lane that nobody runs; false when there is none. */
static bool
take_first(DbosLane *lane, DbosTaskKey *key)
{
	while (lane->count > 0)
	{
		DbosWorker *runner;

		*key = heap_pop(lane);
		runner = runner_of(lane->database, key->id);
		if (runner == NULL)
			return true;
		runner->woken = true;
	}
	return false;
}

/*
 * Gives the calling worker the first tasks of its login, in policy order over
 * all its queues that may run something, and enters the first into the worker's
 * slot.  They are of one queue, and take one place in it together, since their
 * worker runs them one after the other.  Returns how many; when there is none the
 * worker is idle.  *left says that another worker of this login would find
 * something too.
 *
 * An entry of a task that runs already is dropped.  Its runner may be about to
 * give the task up without having run it, or have asked for another attempt:
 * it is told by `woken`, which means nothing else while a worker runs, and puts
 * the entry back at its end.
 */
int
dbos_run_queue_pop(Oid database, Oid session_role, int limit, DbosTaskKey *keys, bool *left)
{
	DbosWorker *me = dbos_worker_slot(dbos_my_worker);
	bool		pool_was_full = dbos_lane_room() == 0;
	DbosLane   *lane;
	int			count = 0;

	*left = false;
	me->woken = false;			/* we look now: a later push wakes us again */
	while (count == 0 && (lane = first_lane(database, session_role)) != NULL)
	{
		int			most = fair_hand(lane, limit);

		/* As long as another lane's first task would not come before the next one. */
		while (count < most && (count == 0 || first_lane(database, session_role) == lane) &&
			   take_first(lane, &keys[count]))
			count++;
		lane_want_refill(lane);
	}
	if (count > 0)
	{
		begin_to_run(me, lane, keys[0]);
		*left = first_lane(database, session_role) != NULL;
	}
	if (pool_was_full && dbos_lane_room() > 0)
		room_regained();
	/* Idle before the lock is let go, or a push in between would wake nobody. */
	if (count == 0 && me->state == DBOS_WORKER_RUNNING && me->task == 0)
	{
		me->state = DBOS_WORKER_IDLE;
		me->since = GetCurrentTimestamp();
	}
	return count;
}

/*
 * A task gave its place in the queue back: it ended, or waits inside dbos.wait().
 * Called while the worker's slot still names the task, so that an entry that was
 * dropped meanwhile is put back.  When the queue goes below its limit by this,
 * the login that is next is woken.
 */
void
dbos_run_queue_done(int32 queue_slot)
{
	DbosQueueSlot *queue;
	DbosLane   *next = NULL;

	if (queue_slot < 0 || queue_slot >= DBOS_MAX_QUEUES)
		return;
	queue = &dbos_task_shared->queues[queue_slot];
	if (queue->running > 0)
		queue->running--;
	if (dbos_my_worker != DBOS_NOBODY)
		put_back_own(dbos_worker_slot(dbos_my_worker), queue);
	if (queue->concurrency < 0 || queue->running != queue->concurrency - 1)
		return;
	for (int i = 0; i < dbos_task_shared->nlanes; i++)
	{
		DbosRunEntry *entries = dbos_run_entries();
		DbosLane   *lane = &dbos_task_shared->lanes[i];

		if (lane->database == queue->database && lane->queue_id == queue->queue_id &&
			dbos_lane_runnable(lane) &&
			(next == NULL || dbos_task_key_compare(entries[lane->root].key,
												   entries[next->root].key) < 0))
			next = lane;
	}
	if (next != NULL)
		dbos_run_queue_wake(next->database, next->session_role);
}

/*
 * The running task waits inside dbos.wait(): its place in the queue is another's
 * until it goes on.  Returns the queue, 0 when no slot knew it.
 */
int32
dbos_run_queue_suspend(int32 queue_slot)
{
	int32		queue_id;

	if (queue_slot < 0 || queue_slot >= DBOS_MAX_QUEUES)
		return 0;
	queue_id = dbos_task_shared->queues[queue_slot].queue_id;
	dbos_run_queue_done(queue_slot);
	return queue_id;
}

/* It goes on, beyond the limit for a moment if its place was taken: it cannot be undone. */
int32
dbos_run_queue_resume(Oid database, int32 queue_id)
{
	DbosQueueSlot *queue = queue_id == 0 ? NULL : queue_claim(database, queue_id);

	if (queue == NULL)
		return DBOS_NOBODY;
	queue->running++;
	return queue - dbos_task_shared->queues;
}

int
dbos_run_queue_running(Oid database, int32 queue_id)
{
	DbosQueueSlot *queue = queue_find(database, queue_id);

	return queue == NULL ? 0 : queue->running;
}

/*
 * A login was refused for good and its ready tasks have ended: nothing of it is
 * kept.  A row that came meanwhile is found by the refill that the lanes now want.
 */
void
dbos_run_queue_forget_login(Oid database, Oid session_role)
{
	for (int i = 0; i < dbos_task_shared->nlanes; i++)
	{
		DbosLane   *lane = &dbos_task_shared->lanes[i];

		if (lane->database != database || lane->session_role != session_role)
			continue;
		while (lane->count > 0)
			(void) heap_pop(lane);
		lane->spilled = true;
		lane->complete = key_none;
		lane->missed = lane->refilling;
	}
}

/* The database, or its extension, is gone: nothing of it waits any more. */
void
dbos_run_queue_forget(Oid database)
{
	DbosTaskShared *shared = dbos_task_shared;

	for (int i = 0; i < shared->nlanes; i++)
	{
		DbosLane   *lane = &shared->lanes[i];

		if (lane->database != database)
			continue;
		lane_clear(lane);
		memset(lane, 0, sizeof(*lane));
		lane->root = DBOS_NOBODY;
	}
	while (shared->nlanes > 0 && shared->lanes[shared->nlanes - 1].database == InvalidOid)
		shared->nlanes--;
	for (int i = 0; i < DBOS_MAX_QUEUES; i++)
	{
		DbosQueueSlot *queue = &shared->queues[i];

		if (queue->database != database)
			continue;
		queue->concurrency = -1;
		queue->paused = false;
		/* A worker that still runs holds the slot's number. */
		if (queue->running == 0)
			memset(queue, 0, sizeof(*queue));
	}
}

/*
 * Something can run for this login: wakes one idle worker of it, or the
 * launcher.  A worker that comes already, woken or starting, wakes the next one
 * itself when it finds more than it takes.
 */
void
dbos_run_queue_wake(Oid database, Oid session_role)
{
	bool		one_comes = false;

	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		DbosWorker *worker = dbos_worker_slot(i);

		if (worker->is_scheduler || worker->leave ||
			worker->database != database || worker->session_role != session_role)
			continue;
		if (worker->state == DBOS_WORKER_STARTING)
			one_comes = true;
		if (worker->state != DBOS_WORKER_IDLE)
			continue;
		if (worker->woken)
		{
			one_comes = true;
			continue;
		}
		worker->woken = true;
		dbos_wake_now(worker->proc_number, worker->pid);
		return;
	}
	if (one_comes)
		return;
	if (dbos_task_shared->launcher_rest != 0 &&
		dbos_task_shared->launcher_rest > GetCurrentTimestamp())
		return;
	dbos_wake_launcher();
}

/* The runnable lane of a login whose first task is the first of all. */
static DbosLane *
first_lane(Oid database, Oid session_role)
{
	DbosRunEntry *entries = dbos_run_entries();
	DbosLane   *first = NULL;

	for (int i = 0; i < dbos_task_shared->nlanes; i++)
	{
		DbosLane   *lane = &dbos_task_shared->lanes[i];

		if (lane->database != database || lane->session_role != session_role ||
			lane->count == 0)
			continue;
		if (first != NULL && dbos_task_key_compare(entries[lane->root].key,
												   entries[first->root].key) >= 0)
			continue;
		if (dbos_lane_runnable(lane))
			first = lane;
	}
	return first;
}

static DbosWorker *
runner_of(Oid database, int64 task)
{
	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		DbosWorker *worker = dbos_worker_slot(i);

		if (worker->task == task && worker->database == database &&
			(worker->state == DBOS_WORKER_RUNNING || worker->state == DBOS_WORKER_WAITING))
			return worker;
	}
	return NULL;
}

/*
 * Somebody dropped an entry of our task because we had it.  At worst it is
 * stale, and costs its next owner one look at the row.  A process that exits
 * leaves the task to the crash list instead.
 */
static void
put_back_own(DbosWorker *worker, const DbosQueueSlot *queue)
{
	DbosQueueFacts facts;
	DbosTaskKey key;

	if (!worker->woken || worker->task == 0 || proc_exit_inprogress)
		return;
	worker->woken = false;
	facts.queue_id = queue->queue_id;
	facts.concurrency = queue->concurrency;
	facts.paused = queue->paused;
	key.priority = worker->priority;
	key.id = worker->task;
	dbos_run_queue_push(worker->database, worker->session_role, &facts, key);
}

/* ---- the pairing heap (Fredman, Sedgewick, Sleator and Tarjan, 1986) ---- */

/* The later root becomes the first child of the earlier; siblings of both are ignored. */
static int32
heap_meld(int32 a, int32 b)
{
	DbosRunEntry *entries = dbos_run_entries();

	if (dbos_task_key_compare(entries[b].key, entries[a].key) < 0)
	{
		int32		swap = a;

		a = b;
		b = swap;
	}
	entries[b].sibling = entries[a].child;
	entries[a].child = b;
	entries[a].sibling = DBOS_NOBODY;
	return a;
}

/* The caller has seen that there is a free entry. */
static void
heap_insert(DbosLane *lane, DbosTaskKey key)
{
	DbosRunEntry *entries = dbos_run_entries();
	int32		entry = dbos_task_shared->free_entry;

	Assert(entry != DBOS_NOBODY);
	dbos_task_shared->free_entry = entries[entry].sibling;
	dbos_task_shared->entries_used++;
	entries[entry].key = key;
	entries[entry].child = DBOS_NOBODY;
	entries[entry].sibling = DBOS_NOBODY;
	lane->root = lane->root == DBOS_NOBODY ? entry : heap_meld(lane->root, entry);
	lane->count++;
}

/*
 * Removes the first task of a lane that is not empty.  Its children are melded
 * in pairs, and the pairs one after the other from the last to the first: by
 * loops over the sibling links, since a heap can be as wide as the pool.
 */
static DbosTaskKey
heap_pop(DbosLane *lane)
{
	DbosRunEntry *entries = dbos_run_entries();
	int32		old = lane->root;
	DbosTaskKey key = entries[old].key;
	int32		child = entries[old].child;
	int32		pairs = DBOS_NOBODY;	/* melded pairs, the last one first */
	int32		root = DBOS_NOBODY;

	while (child != DBOS_NOBODY)
	{
		int32		pair = child;
		int32		second = entries[child].sibling;

		child = DBOS_NOBODY;
		if (second != DBOS_NOBODY)
		{
			child = entries[second].sibling;
			pair = heap_meld(pair, second);
		}
		entries[pair].sibling = pairs;
		pairs = pair;
	}
	while (pairs != DBOS_NOBODY)
	{
		int32		next = entries[pairs].sibling;

		entries[pairs].sibling = DBOS_NOBODY;
		root = root == DBOS_NOBODY ? pairs : heap_meld(root, pairs);
		pairs = next;
	}
	lane->root = root;
	lane->count--;
	entry_free(old);
	return key;
}

static void
entry_free(int32 entry)
{
	dbos_run_entries()[entry].sibling = dbos_task_shared->free_entry;
	dbos_task_shared->free_entry = entry;
	dbos_task_shared->entries_used--;
}
