/*
 * run_queue.c
 *	  Which waiting task runs next, and who is woken for it.
 *
 * Every function here is called with DbosTaskShared.lock held exclusively, in
 * any process, also from commit and abort callbacks: nothing allocates, raises
 * or waits.
 *
 * A login's queues take turns, by the time that their tasks are expected to take: so
 * however much waits in one of them, another does not starve.  In a queue the order is
 * its policy's (lane.c).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "task.h"

static DbosTrack *first_track(Oid database, Oid session_role);
static void want_refill(const DbosLane *lane);
static void want_refills(void);

/* ---- tasks in ---- */

/* More rows of a lane are in the table than in its heap, and it comes to its end. */
static void
want_refill(const DbosLane *lane)
{
	DbosDatabase *database;

	if (!dbos_lane_wants_refill(lane))
		return;
	database = dbos_database_find(dbos_task_shared->tracks[lane->track].database, false);
	if (database != NULL)
		dbos_scheduler_want(database);
}

/* The pool was empty and is not any more: lanes that got nothing are looked at again. */
static void
want_refills(void)
{
	for (int i = 0; i < dbos_task_shared->nlanes; i++)
		want_refill(dbos_lane_at(i));
}

/* A task that is beyond what the lane knows, and better than all that it has, is not left to the table. */
static bool
comes_first(const DbosLane *lane, const DbosTicket *ticket)
{
	DbosTicket	first;

	return dbos_lane_first(lane, &first) && dbos_ticket_before(ticket, &first);
}

/*
 * A task is ready.  It enters its lane's heap, or stays in the table, which the
 * lane then knows.  Wakes a scheduler where one is needed, but no executor:
 * callers wake once for many pushes.
 */
void
dbos_run_queue_push(Oid database, Oid session_role, const DbosQueueFacts *queue, const DbosTicket *ticket)
{
	DbosDatabase *entry = dbos_database_find(database, true);
	DbosLane   *lane = NULL;

	/* More databases than we keep: its tasks wait in the table. */
	if (entry == NULL)
		return;
	if (dbos_run_queue_know(database, queue))
		lane = dbos_lane_find(database, session_role, queue->queue_id, ticket->partition, true);
	if (lane == NULL)
	{
		entry->lanes_missing = true;
		/* A lane that is there learns that it does not know this row. */
		lane = dbos_lane_find(database, session_role, queue->queue_id, ticket->partition, false);
		if (lane != NULL)
			dbos_lane_spill(lane, ticket->key);
		dbos_scheduler_want(entry);
		return;
	}
	if (lane->spilled && !lane->refilling && dbos_task_key_compare(ticket->key, lane->complete) > 0 &&
		!comes_first(lane, ticket))
	{
		want_refill(lane);
		return;
	}
	if (!dbos_lane_add_or_evict(lane, ticket))
	{
		dbos_lane_spill(lane, ticket->key);
		want_refill(lane);
	}
}

/* ---- tasks out ---- */

/* The runnable track of a login whose turn it is. */
static DbosTrack *
first_track(Oid database, Oid session_role)
{
	DbosTrack  *first = NULL;

	for (int i = 0; i < dbos_task_shared->ntracks; i++)
	{
		DbosTrack  *track = &dbos_task_shared->tracks[i];

		if (track->session_role != session_role || track->database != database ||
			(first != NULL && track->turn >= first->turn) || !dbos_track_runnable(track))
			continue;
		first = track;
	}
	return first;
}

/* How many of the tasks that wait one worker should take of `limit`: those who may run others shall have theirs. */
static int
fair_hand(const DbosTrack *track, const DbosQueueSlot *slot, int limit)
{
	int			workers = 0;

	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		DbosWorker *worker = dbos_worker_slot(i);

		if (!worker->is_scheduler && worker->database == track->database &&
			worker->session_role == track->session_role &&
			(worker->state == DBOS_WORKER_IDLE || worker->state == DBOS_WORKER_RUNNING))
			workers++;
	}
	if (slot != NULL && slot->concurrency >= 0)
		workers = Min(workers, slot->concurrency - slot->running);
	workers = Max(workers, 1);
	return Max(Min(limit, (track->count + workers - 1) / workers), 1);
}

/* The calling worker runs something of this queue from now on. */
static void
begin_to_run(DbosWorker *me, const DbosTrack *track, const DbosTicket *ticket)
{
	DbosQueueSlot *slot = dbos_queue_slot_claim(track->database, track->queue_id);
	TimestampTz now = GetCurrentTimestamp();

	me->queue_slot = DBOS_NOBODY;
	if (slot != NULL)
	{
		slot->running++;
		me->queue_slot = slot - dbos_task_shared->queues;
	}
	me->task = ticket->key.id;
	me->queue_id = track->queue_id;
	me->partition = ticket->partition;
	me->priority = ticket->key.priority;
	me->state = DBOS_WORKER_RUNNING;
	me->since = now;
	me->started_at = now;
	if (me->serving_since == 0)
		me->serving_since = now;
	me->progress = -1;
	me->note[0] = '\0';
	me->cancel = false;
}

/* The worker that has it; NULL when none has. */
DbosWorker *
dbos_run_queue_runner(Oid database, int64 task)
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
 * The lane of the track whose turn it is, after those whose partition may run no
 * more were set to rest; NULL when there is none left.
 */
static DbosLane *
first_lane(const DbosTrack *track, const DbosQueueSlot *slot)
{
	while (track->root != DBOS_NOBODY)
	{
		DbosLane   *lane = dbos_lane_at(track->root);

		if (slot == NULL || slot->partition_concurrency < 0 || lane->partition == 0 ||
			dbos_partition_running(track->database, track->queue_id, lane->partition) < slot->partition_concurrency)
			return lane;
		dbos_lane_rest(lane, PG_INT64_MAX);
	}
	return NULL;
}

/*
 * Takes up to `limit` tasks of a track that nobody runs.  Where partitions have limits
 * of their own they are all of one, and take one place of it together.
 *
 * An entry of a task that runs already is dropped.  Its runner may be about to give the
 * task up without having run it, or have asked for another attempt: it is told by
 * `woken`, which means nothing else while a worker runs, and puts the entry back at
 * its end.
 */
static int
take(DbosTrack *track, const DbosQueueSlot *slot, int limit, DbosTicket *tickets)
{
	bool		one_lane = slot != NULL && (slot->partition_concurrency >= 0 || slot->partition_rated);
	DbosLane   *lane = first_lane(track, slot);
	int			most;
	int			count = 0;

	if (lane == NULL)
		return 0;
	most = fair_hand(track, slot, limit);
	if (one_lane)
		most = Min(most, lane->count);
	while (count < most)
	{
		DbosWorker *runner;

		dbos_lane_pop(lane, &tickets[count]);
		runner = dbos_run_queue_runner(track->database, tickets[count].key.id);
		if (runner == NULL)
			count++;
		else
			runner->woken = true;
		want_refill(lane);
		if (one_lane && lane->count > 0)
			continue;
		dbos_lane_tidy(lane);
		/* With its last lane the track goes too. */
		if (one_lane || track->database == InvalidOid || track->root == DBOS_NOBODY)
			return count;
		lane = dbos_lane_at(track->root);
	}
	return count;
}

/*
 * Gives the calling worker the next tasks of its login, all of one queue, in which they
 * take one place together since their worker runs them one after the other, and
 * enters the first into the worker's slot.  When there is none the worker is idle.
 */
void
dbos_run_queue_pop(Oid database, Oid session_role, int limit, DbosTicket *tickets, DbosGrant *grant)
{
	DbosWorker *me = dbos_worker_slot(dbos_my_worker);
	bool		pool_was_full = dbos_lane_room() == 0;
	DbosTrack  *track;

	memset(grant, 0, sizeof(*grant));
	me->woken = false;			/* we look now: a later push wakes us again */
	while (grant->count == 0 && (track = first_track(database, session_role)) != NULL)
	{
		const DbosQueueSlot *slot = dbos_queue_slot_find(database, track->queue_id);
		DbosTrack	taken = *track;

		grant->count = take(track, slot, limit, tickets);
		if (grant->count == 0)
			continue;
		grant->queue_id = taken.queue_id;
		grant->rated = slot != NULL && slot->rated;
		begin_to_run(me, &taken, &tickets[0]);
		grant->left = first_track(database, session_role) != NULL;
	}
	if (pool_was_full && dbos_lane_room() > 0)
		want_refills();
	/* Idle before the lock is let go, or a push in between would wake nobody. */
	if (grant->count == 0 && me->state == DBOS_WORKER_RUNNING && me->task == 0)
	{
		me->state = DBOS_WORKER_IDLE;
		me->since = GetCurrentTimestamp();
	}
}

/* Up to `limit` tasks that a worker of this login could be given now. */
int
dbos_run_queue_peek(Oid database, Oid session_role, int64 *tasks, int limit)
{
	int			count = 0;

	for (int i = 0; i < dbos_task_shared->ntracks && count < limit; i++)
	{
		const DbosTrack *track = &dbos_task_shared->tracks[i];
		int32		lane;

		if (track->database != database || track->session_role != session_role ||
			!dbos_track_runnable(track))
			continue;
		count += dbos_lane_peek(dbos_lane_at(track->root), &tasks[count], limit - count);
		for (lane = dbos_lane_at(track->root)->link.child; lane != DBOS_NOBODY && count < limit;
			 lane = dbos_lane_at(lane)->link.sibling)
			count += dbos_lane_peek(dbos_lane_at(lane), &tasks[count], 1);
	}
	return count;
}

/* ---- places given back ---- */

/*
 * Somebody dropped an entry of our task because we had it.  At worst it is
 * stale, and costs its next owner one look at the row.  A process that exits
 * leaves the task to the crash list instead.
 */
static void
put_back_own(DbosWorker *worker)
{
	DbosQueueFacts facts = DBOS_NO_FACTS(worker->queue_id);
	DbosTicket	ticket = {.key = {worker->priority, worker->task},.partition = worker->partition};

	if (!worker->woken || worker->task == 0 || proc_exit_inprogress)
		return;
	worker->woken = false;
	dbos_run_queue_push(worker->database, worker->session_role, &facts, &ticket);
}

/* Lanes of the partition, whoever's they are, may run again. */
static void
end_partition_rests(Oid database, int32 queue_id, uint64 partition)
{
	for (int i = 0; i < dbos_task_shared->ntracks; i++)
	{
		const DbosTrack *track = &dbos_task_shared->tracks[i];
		DbosLane   *lane;
		Oid			session_role = track->session_role;

		if (track->queue_id != queue_id || track->database != database)
			continue;
		lane = dbos_lane_find(database, session_role, queue_id, partition, false);
		if (lane == NULL || lane->rests_until != PG_INT64_MAX)
			continue;
		dbos_lane_end_rest(lane);
		dbos_run_queue_wake(database, session_role);
	}
}

/* The login that has the first task of a queue is woken. */
static void
wake_next_of(Oid database, int32 queue_id)
{
	const DbosTrack *next = NULL;
	DbosTicket	first;

	for (int i = 0; i < dbos_task_shared->ntracks; i++)
	{
		const DbosTrack *track = &dbos_task_shared->tracks[i];
		DbosTicket	ticket;

		if (track->queue_id != queue_id || track->database != database || !dbos_track_runnable(track) ||
			!dbos_lane_first(dbos_lane_at(track->root), &ticket))
			continue;
		if (next != NULL && !dbos_ticket_before(&ticket, &first))
			continue;
		next = track;
		first = ticket;
	}
	if (next != NULL)
		dbos_run_queue_wake(database, next->session_role);
}

/*
 * A worker gives its place in the queue back: its tasks ended, or wait inside
 * dbos.wait().  Called while the worker's slot still names the task, so that an entry
 * that was dropped meanwhile is put back.  When the queue or the partition goes below
 * its limit by this, the login that is next is woken.
 */
void
dbos_run_queue_done(DbosWorker *worker)
{
	DbosQueueSlot *slot;

	if (worker->queue_slot < 0 || worker->queue_slot >= DBOS_MAX_QUEUES)
		return;
	slot = &dbos_task_shared->queues[worker->queue_slot];
	if (slot->running > 0)
		slot->running--;
	if (dbos_my_worker != DBOS_NOBODY && worker == dbos_worker_slot(dbos_my_worker))
		put_back_own(worker);
	if (slot->partition_concurrency >= 0 && worker->partition != 0 && dbos_task_shared->nresting > 0)
		end_partition_rests(worker->database, slot->queue_id, worker->partition);
	if (slot->concurrency >= 0 && slot->running == slot->concurrency - 1)
		wake_next_of(slot->database, slot->queue_id);
}

/*
 * The running task waits inside dbos.wait(): its place in the queue is another's
 * until it goes on.  Returns the queue, 0 when no slot knew it.
 */
int32
dbos_run_queue_suspend(DbosWorker *worker)
{
	int32		queue_id;

	if (worker->queue_slot < 0 || worker->queue_slot >= DBOS_MAX_QUEUES)
		return 0;
	queue_id = dbos_task_shared->queues[worker->queue_slot].queue_id;
	dbos_run_queue_done(worker);
	return queue_id;
}

/* It goes on, beyond the limit for a moment if its place was taken: it cannot be undone. */
int32
dbos_run_queue_resume(Oid database, int32 queue_id)
{
	DbosQueueSlot *slot = queue_id == 0 ? NULL : dbos_queue_slot_claim(database, queue_id);

	if (slot == NULL)
		return DBOS_NOBODY;
	slot->running++;
	return slot - dbos_task_shared->queues;
}

/* ---- limits ---- */

/*
 * The queue was made or changed, and that is committed: its limits and its policy hold
 * from now on, and who may run because of it is woken.
 */
void
dbos_run_queue_alter(Oid database, const DbosQueueFacts *facts)
{
	DbosQueueSlot *slot = dbos_queue_slot_claim(database, facts->queue_id);

	/* All slots are needed by others; the next push tells the limits again. */
	if (slot == NULL)
		return;
	dbos_queue_slot_set(slot, facts);
	/* Another limit may let it start at once; if not, the next start finds that out again. */
	slot->rests_until = 0;
	for (int i = 0; i < dbos_task_shared->nlanes; i++)
	{
		DbosLane   *lane = dbos_lane_at(i);
		DbosTrack  *track;

		if (lane->track == DBOS_NOBODY)
			continue;
		track = &dbos_task_shared->tracks[lane->track];
		if (track->queue_id != facts->queue_id || track->database != database)
			continue;
		track->share_at = slot->share_at;
		if (facts->policy_changed)
			dbos_lane_forget(lane);
		want_refill(lane);
		dbos_lane_end_rest(lane);
	}
	for (int i = 0; i < dbos_task_shared->ntracks; i++)
	{
		DbosTrack  *track = &dbos_task_shared->tracks[i];

		if (track->queue_id == facts->queue_id && track->database == database && dbos_track_runnable(track))
			dbos_run_queue_wake(database, track->session_role);
	}
}

/* The rate of the queue (partition 0) or of a partition lets nothing start before this time. */
void
dbos_run_queue_rest(Oid database, Oid session_role, int32 queue_id, uint64 partition, TimestampTz until)
{
	DbosQueueSlot *slot = dbos_queue_slot_find(database, queue_id);
	DbosLane   *lane;

	if (slot == NULL || !slot->rated)
		return;
	if (partition == 0)
		slot->rests_until = until;
	else if ((lane = dbos_lane_find(database, session_role, queue_id, partition, false)) != NULL)
		dbos_lane_rest(lane, until);
}

/* Ends the rests that are over, and wakes for it; returns when the next one will be, 0: there is none. */
TimestampTz
dbos_run_queue_end_rests(Oid database, TimestampTz now)
{
	TimestampTz next = PG_INT64_MAX;

	for (int i = 0; i < dbos_task_shared->nlanes && dbos_task_shared->nresting > 0; i++)
	{
		DbosLane   *lane = dbos_lane_at(i);
		const DbosTrack *track;

		if (lane->track == DBOS_NOBODY || lane->rests_until == 0)
			continue;
		track = &dbos_task_shared->tracks[lane->track];
		if (track->database != database)
			continue;
		if (lane->rests_until > now)
			next = Min(next, lane->rests_until);
		else
		{
			Oid			session_role = track->session_role;

			dbos_lane_end_rest(lane);
			dbos_run_queue_wake(database, session_role);
		}
	}
	for (int i = 0; i < dbos_task_shared->nqueues; i++)
	{
		DbosQueueSlot *slot = &dbos_task_shared->queues[i];

		if (slot->database != database || slot->rests_until == 0)
			continue;
		if (slot->rests_until > now)
			next = Min(next, slot->rests_until);
		else
		{
			slot->rests_until = 0;
			wake_next_of(database, slot->queue_id);
		}
	}
	return next == PG_INT64_MAX ? 0 : next;
}

/* ---- databases and logins that go ---- */

/*
 * A login was refused for good and its ready tasks have ended: nothing of it is
 * kept.  A row that came meanwhile is found by the refill that the lanes now want.
 */
void
dbos_run_queue_forget_login(Oid database, Oid session_role)
{
	for (int i = 0; i < dbos_task_shared->nlanes; i++)
	{
		DbosLane   *lane = dbos_lane_at(i);

		if (lane->track != DBOS_NOBODY &&
			dbos_task_shared->tracks[lane->track].database == database &&
			dbos_task_shared->tracks[lane->track].session_role == session_role)
			dbos_lane_forget(lane);
	}
}

/* The database, or its extension, is gone: nothing of it waits any more. */
void
dbos_run_queue_forget(Oid database)
{
	for (int i = 0; i < dbos_task_shared->nlanes; i++)
	{
		DbosLane   *lane = dbos_lane_at(i);

		if (lane->track != DBOS_NOBODY && dbos_task_shared->tracks[lane->track].database == database)
			dbos_lane_free(lane);
	}
	dbos_queue_slots_forget(database);
}

/* ---- waking ---- */

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
