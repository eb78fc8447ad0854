/*
 * execute.c
 *	  One round of an executor: take tasks, run them, forget them.
 *
 * What is taken from the run queue in one go is a hand, of one queue; batch.c runs
 * it.  What could not be run goes back.  What cannot be handled ends the process,
 * and the exit callback hands everything back.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "batch.h"
#include "company.h"
#include "function_habit.h"
#include "session.h"
#include "tables_only.h"
#include "task.h"

/* An executor without work leaves after this. */
#define IDLE_PATIENCE_MS 10000
/* Without shared memory: it looks this often, is gone after this without work, and after this with others waiting. */
#define TABLES_LOOK_MS 20
#define TABLES_IDLE_MS 300
#define TABLES_SLICE_MS 500
/* Tasks whose rows others have locked are tried again after this. */
#define ASIDE_MS 20
#define MAX_ASIDE 256

static MemoryContext round_context = NULL;
static DbosHand hand;

/* ---- the turns of a hand, as others see them ---- */

/* What is told to a process is not meant for the task that comes next. */
static void
deliver_cancel(bool told)
{
	/* It was signalled under the lock, so the signal is pending by now: any system call has it delivered. */
	if (told)
		(void) kill(MyProcPid, 0);
}

/* The turn begins: it is the task that this worker runs. */
void
dbos_turn_begins(DbosHand *hand, int turn)
{
	DbosWorker *worker = dbos_worker_slot(dbos_my_worker);
	DbosTaskKey key = hand->turns[turn].key;
	bool		told;

	if (worker->task != key.id)
	{
		if (dbos_task_shared != NULL)
			DBOS_TASK_LOCK();
		if (worker->woken && turn > 0)
			hand->turns[turn - 1].wanted = true;
		worker->woken = false;
		told = worker->cancel;
		worker->cancel = false;
		worker->task = key.id;
		worker->priority = key.priority;
		worker->started_at = GetCurrentTimestamp();
		worker->progress = -1;
		worker->note[0] = '\0';
		if (dbos_task_shared != NULL)
			DBOS_TASK_UNLOCK();
		deliver_cancel(told);
		if (told)
			QueryCancelPending = false;
	}
	dbos_worker_note(key.id);
}

/* ---- tasks whose rows others have locked ---- */

typedef struct SetAside
{
	DbosTaskKey key;
	int32		queue_id;
} SetAside;

/* Taken from the run queue, and known to nobody else: they go back, also when the process ends. */
static SetAside aside[MAX_ASIDE];
static int	naside = 0;
static TimestampTz aside_since = 0;

/* The lock is held.  The slot of a queue that is known keeps the limits that it has. */
static void
put_back(int32 queue_id, DbosTaskKey key)
{
	DbosQueueFacts facts = {.queue_id = queue_id,.concurrency = -1};

	dbos_run_queue_push(MyDatabaseId, GetSessionUserId(), &facts, key);
}

/* The lock is held. */
static void
put_back_aside(void)
{
	while (naside > 0)
	{
		naside--;
		put_back(aside[naside].queue_id, aside[naside].key);
	}
}

/* The lock is held: what follows this turn is anybody's again. */
static void
put_back_turns(int from)
{
	int32		queue_id = dbos_worker_slot(dbos_my_worker)->queue_id;

	for (int i = from; i < hand.count; i++)
		put_back(queue_id, hand.turns[i].key);
	hand.count = Min(hand.count, from);
}

/* The process ends: what it has taken and not committed goes back, but for the task that it ran. */
static void
put_back_at_exit(int code, Datum arg)
{
	DbosWorker *worker = dbos_worker_slot(dbos_my_worker);

	if (naside == 0 && hand.next >= hand.count)
		return;
	DBOS_TASK_LOCK();
	put_back_aside();
	for (int i = hand.next; i < hand.count; i++)
		if (hand.turns[i].key.id != worker->task)
			put_back(worker->queue_id, hand.turns[i].key);
	hand.count = 0;
	dbos_wake_launcher();
	DBOS_TASK_UNLOCK();
}

/* This process is about to be busy for who knows how long: others shall have the rest. */
void
dbos_turn_runs_alone(int turn)
{
	if (dbos_task_shared == NULL || (naside == 0 && hand.count == turn + 1))
		return;
	DBOS_TASK_LOCK();
	put_back_aside();
	put_back_turns(turn + 1);
	dbos_run_queue_wake(MyDatabaseId, GetSessionUserId());
	DBOS_TASK_UNLOCK();
}

/*
 * Somebody has the row of a ready task locked: others that are ready go first,
 * and it is tried again soon, since who only looked at it tells nobody that he
 * has done.  The lock is held.
 */
static void
set_busy_aside(int32 queue_id)
{
	for (int i = 0; i < hand.next; i++)
	{
		if (hand.turns[i].state != DBOS_TURN_BUSY)
			continue;
		if (naside == MAX_ASIDE)
		{
			put_back(queue_id, hand.turns[i].key);
			continue;
		}
		if (naside == 0)
			aside_since = GetCurrentTimestamp();
		aside[naside].key = hand.turns[i].key;
		aside[naside++].queue_id = queue_id;
	}
}

/* ---- a hand ---- */

/* What is to be told of the turns that others asked for, or that are left. */
static void
settle_hand(const DbosWorker *worker)
{
	set_busy_aside(worker->queue_id);
	/* At worst an entry is stale, and costs its next owner one look at the row. */
	for (int i = 0; i < hand.next; i++)
		if (hand.turns[i].wanted && hand.turns[i].state != DBOS_TURN_BUSY)
			put_back(worker->queue_id, hand.turns[i].key);
	put_back_turns(hand.next);
}

/* The worker is idle again; its tasks are none of shared memory's business any more. */
static void
release_hand(void)
{
	DbosWorker *worker = dbos_worker_slot(dbos_my_worker);
	int32		queue_slot;
	bool		told;

	if (dbos_task_shared == NULL)
	{
		worker->since = GetCurrentTimestamp();
		worker->tasks_done++;
		dbos_worker_note(0);
		dbos_tables_put_back();
		(void) kill(MyProcPid, 0);
		return;
	}
	DBOS_TASK_LOCK();
	queue_slot = worker->queue_slot;
	told = worker->cancel;
	/* While the slot still names the task: what others dropped because of us is put back. */
	worker->state = DBOS_WORKER_IDLE;
	dbos_run_queue_done(queue_slot);
	worker->task = 0;
	worker->queue_slot = DBOS_NOBODY;
	worker->cancel = false;
	worker->since = GetCurrentTimestamp();
	worker->tasks_done += hand.next;
	settle_hand(worker);
	DBOS_TASK_UNLOCK();
	/* Before the caller forgets it. */
	deliver_cancel(told);
	dbos_worker_note(0);
}

/* Runs the hand; what could not be run goes back. */
static void
run_hand(const DbosSample *sample)
{
	while (hand.next < hand.count &&
		   dbos_batch_run(&hand, round_context, sample))
		;
	HOLD_CANCEL_INTERRUPTS();
	release_hand();
	QueryCancelPending = false;
	RESUME_CANCEL_INTERRUPTS();
	pgstat_report_activity(STATE_IDLE, NULL);
	pgstat_report_stat(false);
}

/* A hand of these keys, not begun. */
static void
take_hand(const DbosTaskKey *keys, int count)
{
	hand.count = count;
	hand.next = 0;
	hand.suspects = 0;
	hand.replays = false;
	memset(hand.turns, 0, sizeof(DbosTurn) * count);
	for (int i = 0; i < count; i++)
		hand.turns[i].key = keys[i];
}

/* ---- rounds ---- */

void
dbos_executor_begin(const DbosWorkerAddress *address)
{
	process_session_preload_libraries();
	round_context = AllocSetContextCreate(TopMemoryContext, "dbos executor round",
										  ALLOCSET_DEFAULT_SIZES);
	dbos_member_install();
	dbos_company_install();
	dbos_habit_install();
	/* What commits here was promised to the submitter, whatever the role's own choice. */
	SetConfigOption("synchronous_commit", "on", PGC_SUSET, PGC_S_OVERRIDE);
	debug_query_string = NULL;
	if (!dbos_worker_attach(address))
		proc_exit(0);
	if (dbos_task_shared != NULL)
		on_shmem_exit(put_back_at_exit, (Datum) 0);
}

/* Draws whether this choice is recorded, and what else could have been chosen; lock held. */
static void
sample_decision(DbosSample *sample)
{
	sample->taken = dbos_task_decision_sampling > 0 &&
		pg_prng_double(&pg_global_prng_state) < dbos_task_decision_sampling;
	sample->count = 0;
	if (!sample->taken || dbos_task_shared == NULL)
		return;
	for (int i = 0; i < dbos_task_shared->nlanes && sample->count < DBOS_MAX_ALTERNATIVES; i++)
	{
		DbosLane   *lane = &dbos_task_shared->lanes[i];
		int32		entry;

		if (lane->database != MyDatabaseId || lane->session_role != GetSessionUserId() ||
			!dbos_lane_runnable(lane))
			continue;
		sample->alternatives[sample->count++] = dbos_run_entries()[lane->root].key.id;
		entry = dbos_run_entries()[lane->root].child;
		while (entry != DBOS_NOBODY && sample->count < DBOS_MAX_ALTERNATIVES)
		{
			sample->alternatives[sample->count++] = dbos_run_entries()[entry].key.id;
			entry = dbos_run_entries()[entry].sibling;
		}
	}
}

/*
 * A round of an executor that nobody wakes: it looks, takes, and leaves when it
 * has found nothing for a while, or has been here long and others want its place.
 */
static bool
round_by_tables(void)
{
	DbosWorker *worker = dbos_tables_self();
	TimestampTz now = GetCurrentTimestamp();
	MemoryContext old;
	DbosTaskKey key;
	DbosSample sample;
	int			alternatives;
	bool		got;

	if (dbos_tables_told_to_leave() ||
		(TimestampDifferenceExceeds(worker->serving_since, now, TABLES_SLICE_MS) &&
		 dbos_tables_free_places() == 0))
		return false;
	sample_decision(&sample);
	old = MemoryContextSwitchTo(round_context);
	dbos_session_begin();
	got = dbos_tables_pop(GetSessionUserId(), &key, sample.alternatives, &alternatives,
						  sample.taken ? DBOS_MAX_ALTERNATIVES : 0);
	dbos_session_commit();
	MemoryContextSwitchTo(round_context);
	sample.count = alternatives;
	if (got)
	{
		take_hand(&key, 1);
		run_hand(&sample);
		if (hand.turns[0].state == DBOS_TURN_BUSY || hand.turns[0].state == DBOS_TURN_GONE)
			dbos_tables_pass_by(key.id);
		MemoryContextSwitchTo(old);
		return true;
	}
	MemoryContextSwitchTo(old);
	dbos_tables_forgive();
	if (TimestampDifferenceExceeds(worker->since, now, TABLES_IDLE_MS))
		return false;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 TABLES_LOOK_MS, PG_WAIT_EXTENSION);
	return true;
}

/* The database's workers are to be gone, or this one is to make place. */
static bool
told_to_leave(const DbosWorker *worker)
{
	DbosDatabase *database = dbos_database_find(MyDatabaseId, false);

	return worker->leave || database == NULL || database->state != DBOS_DATABASE_ACTIVE;
}

/* Takes what is next for this login; false when there is nothing.  The lock is held. */
static bool
pop_hand(bool *left)
{
	DbosTaskKey keys[DBOS_MAX_HAND];
	int			count = dbos_run_queue_pop(MyDatabaseId, GetSessionUserId(), dbos_batch_size(), keys, left);

	take_hand(keys, count);
	return count > 0;
}

bool
dbos_executor_round(void)
{
	DbosWorker *worker = dbos_worker_slot(dbos_my_worker);
	bool		left = false;
	bool		got = false;
	bool		leave;
	DbosSample sample;

	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	MemoryContextReset(round_context);
	if (dbos_task_shared == NULL)
		return round_by_tables();

	DBOS_TASK_LOCK();
	leave = told_to_leave(worker);
	if (!leave)
	{
		worker->woken = false;
		sample_decision(&sample);
		/* Locked ones come back when there is nothing else, or one would go round them without a pause. */
		got = naside < MAX_ASIDE && pop_hand(&left);
		if (!got && naside > 0 &&
			TimestampDifferenceExceeds(aside_since, GetCurrentTimestamp(), ASIDE_MS))
		{
			put_back_aside();
			got = pop_hand(&left);
		}
		if (got && left)
			dbos_run_queue_wake(MyDatabaseId, GetSessionUserId());
		if (!got && naside == 0 && TimestampDifferenceExceeds(worker->since, GetCurrentTimestamp(), IDLE_PATIENCE_MS))
			leave = worker->leave = true;
	}
	DBOS_TASK_UNLOCK();
	if (leave)
		return false;
	if (got)
	{
		MemoryContext old = MemoryContextSwitchTo(round_context);

		run_hand(&sample);
		MemoryContextSwitchTo(old);
		return true;
	}
	dbos_company_rest();
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 naside > 0 ? ASIDE_MS : IDLE_PATIENCE_MS, PG_WAIT_EXTENSION);
	return true;
}
