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
#include "function_profile.h"
#include "gang.h"
#include "session.h"
#include "speculation.h"
#include "tables_only.h"
#include "task.h"
#include "worker_load.h"

/* An executor without work leaves after this. */
#define IDLE_PATIENCE_MS 10000
/* And looks this often for a task to run a second time. */
#define COPY_LOOK_MS 500
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
	DbosTaskKey key = hand->turns[turn].ticket.key;
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
		dbos_copies_forget(worker);
		dbos_gang_leave(worker);
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
	DbosTicket	ticket;
	int32		queue_id;
} SetAside;

/* Taken from the run queue, and known to nobody else: they go back, also when the process ends. */
static SetAside aside[MAX_ASIDE];
static int	naside = 0;
static TimestampTz aside_since = 0;

/* The lock is held.  The slot of a queue that is known keeps the limits that it has. */
static void
put_back(int32 queue_id, const DbosTicket *ticket)
{
	DbosQueueFacts facts = DBOS_NO_FACTS(queue_id);

	dbos_run_queue_push(MyDatabaseId, GetSessionUserId(), &facts, ticket);
}

/* The lock is held. */
static void
put_back_aside(void)
{
	while (naside > 0)
	{
		naside--;
		put_back(aside[naside].queue_id, &aside[naside].ticket);
	}
}

/* The lock is held: what follows this turn is anybody's again. */
static void
put_back_turns(int from)
{
	int32		queue_id = dbos_worker_slot(dbos_my_worker)->queue_id;

	for (int i = from; i < hand.count; i++)
		put_back(queue_id, &hand.turns[i].ticket);
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
		if (hand.turns[i].ticket.key.id != worker->task)
			put_back(worker->queue_id, &hand.turns[i].ticket);
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
			put_back(queue_id, &hand.turns[i].ticket);
			continue;
		}
		if (naside == 0)
			aside_since = GetCurrentTimestamp();
		aside[naside].ticket = hand.turns[i].ticket;
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
			put_back(worker->queue_id, &hand.turns[i].ticket);
	put_back_turns(hand.next);
}

/* The worker is idle again; its tasks are none of shared memory's business any more. */
static void
release_hand(void)
{
	DbosWorker *worker = dbos_worker_slot(dbos_my_worker);
	TimestampTz now = GetCurrentTimestamp();
	bool		told;

	if (dbos_task_shared == NULL)
	{
		worker->since = now;
		worker->tasks_done++;
		dbos_worker_note(0);
		dbos_tables_put_back();
		dbos_gang_ended_by_locks();
		(void) kill(MyProcPid, 0);
		return;
	}
	DBOS_TASK_LOCK();
	told = worker->cancel;
	/* While the slot still names the task: what others dropped because of us is put back. */
	worker->state = DBOS_WORKER_IDLE;
	dbos_run_queue_done(worker);
	dbos_copies_forget(worker);
	dbos_gang_leave(worker);
	worker->task = 0;
	worker->copy_of = 0;
	worker->queue_slot = DBOS_NOBODY;
	worker->cancel = false;
	dbos_worker_load_add(worker, hand.next, now);
	worker->since = now;
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

/* A hand of these, not begun. */
static void
take_hand(const DbosTicket *tickets, int count)
{
	hand.count = count;
	hand.next = 0;
	hand.suspects = 0;
	hand.replays = false;
	hand.late = false;
	hand.start_before = 0;
	memset(hand.turns, 0, sizeof(DbosTurn) * count);
	for (int i = 0; i < count; i++)
		hand.turns[i].ticket = tickets[i];
}

/* Runs a second time what another worker runs, if that straggles; false when there is nothing of that kind. */
static bool
run_copy(void)
{
	static const DbosSample none = {0};
	DbosTicket	ticket;

	if (!dbos_copy_take(&ticket))
		return false;
	take_hand(&ticket, 1);
	hand.turns[0].copy = true;
	run_hand(&none);
	return true;
}

/* ---- rates ---- */

/*
 * Asks how many of the hand may start, of a queue that counts starts.  What may not
 * goes back, and the queue, or the partition, rests until the next one may.
 */
static void
admit_hand(const DbosGrant *grant, DbosStarts *starts)
{
	DbosOwnerScope scope;

	HOLD_CANCEL_INTERRUPTS();
	dbos_session_begin();
	dbos_owner_begin(&scope);
	dbos_starts_reserve(grant->queue_id, hand.turns[0].ticket.partition, grant->count, starts);
	dbos_owner_end(&scope);
	dbos_session_commit_unflushed();
	QueryCancelPending = false;
	RESUME_CANCEL_INTERRUPTS();
	hand.start_before = starts->before;
	if (starts->granted == grant->count)
		return;
	DBOS_TASK_LOCK();
	put_back_turns(starts->granted);
	if (starts->until != 0)
	{
		DbosDatabase *database = dbos_database_find(MyDatabaseId, false);

		dbos_run_queue_rest(MyDatabaseId, GetSessionUserId(), grant->queue_id, starts->rests, starts->until);
		if (database != NULL && starts->until != PG_INT64_MAX)
			dbos_database_due(database, starts->until);
	}
	DBOS_TASK_UNLOCK();
}

/* What was granted and did not begin is another's. */
static void
return_starts(const DbosStarts *starts)
{
	DbosOwnerScope scope;
	int			unused = starts->granted;

	for (int i = 0; i < starts->granted; i++)
		if (hand.turns[i].began)
			unused--;
	if (unused <= 0 || starts->before == 0)
		return;
	HOLD_CANCEL_INTERRUPTS();
	dbos_session_begin();
	dbos_owner_begin(&scope);
	dbos_starts_return(starts, unused);
	dbos_owner_end(&scope);
	dbos_session_commit_unflushed();
	QueryCancelPending = false;
	RESUME_CANCEL_INTERRUPTS();
}

/* ---- rounds ---- */

/* Between tasks, and before it leaves. */
static void
write_profile(void)
{
	MemoryContext old = MemoryContextSwitchTo(round_context);

	dbos_profile_write();
	MemoryContextSwitchTo(old);
}

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
	dbos_no_transaction_timeout();
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
	sample->count = dbos_run_queue_peek(MyDatabaseId, GetSessionUserId(), sample->alternatives,
										DBOS_MAX_ALTERNATIVES);
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
	DbosTicket	ticket;
	DbosStarts	starts;
	DbosSample sample;
	int			alternatives;
	bool		got;

	if (dbos_tables_told_to_leave() ||
		(TimestampDifferenceExceeds(worker->serving_since, now, TABLES_SLICE_MS) &&
		 dbos_tables_free_places() == 0))
	{
		write_profile();
		return false;
	}
	sample_decision(&sample);
	old = MemoryContextSwitchTo(round_context);
	dbos_session_begin();
	got = dbos_tables_pop(GetSessionUserId(), &ticket, &starts, sample.alternatives, &alternatives,
						  sample.taken ? DBOS_MAX_ALTERNATIVES : 0);
	dbos_session_commit();
	MemoryContextSwitchTo(round_context);
	sample.count = alternatives;
	if (got)
	{
		take_hand(&ticket, 1);
		hand.start_before = starts.before;
		run_hand(&sample);
		return_starts(&starts);
		if (hand.turns[0].state == DBOS_TURN_BUSY || hand.turns[0].state == DBOS_TURN_GONE)
			dbos_tables_pass_by(ticket.key.id);
		MemoryContextSwitchTo(old);
		return true;
	}
	MemoryContextSwitchTo(old);
	dbos_tables_forgive();
	if (dbos_profile_due(now, true) == 0)
		write_profile();
	if (TimestampDifferenceExceeds(worker->since, now, TABLES_IDLE_MS))
	{
		write_profile();
		return false;
	}
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
pop_hand(DbosGrant *grant)
{
	static DbosTicket tickets[DBOS_MAX_HAND];

	dbos_run_queue_pop(MyDatabaseId, GetSessionUserId(), dbos_batch_size(), tickets, grant);
	take_hand(tickets, grant->count);
	return grant->count > 0;
}

bool
dbos_executor_round(void)
{
	DbosWorker *worker = dbos_worker_slot(dbos_my_worker);
	DbosGrant	grant;
	bool		got = false;
	bool		leave;
	long		patience;
	long		due;
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
		got = naside < MAX_ASIDE && pop_hand(&grant);
		if (!got && naside > 0 &&
			TimestampDifferenceExceeds(aside_since, GetCurrentTimestamp(), ASIDE_MS))
		{
			put_back_aside();
			got = pop_hand(&grant);
		}
		if (got && grant.left)
			dbos_run_queue_wake(MyDatabaseId, GetSessionUserId());
		if (!got && naside == 0 && TimestampDifferenceExceeds(worker->since, GetCurrentTimestamp(), IDLE_PATIENCE_MS) &&
			!dbos_copy_may_come(MyDatabaseId, GetSessionUserId()))
			leave = worker->leave = true;
	}
	DBOS_TASK_UNLOCK();
	if (leave)
	{
		write_profile();
		return false;
	}
	if (got)
	{
		MemoryContext old = MemoryContextSwitchTo(round_context);
		DbosStarts	starts = {0};

		if (grant.rated)
			admit_hand(&grant, &starts);
		run_hand(&sample);
		if (grant.rated)
			return_starts(&starts);
		MemoryContextSwitchTo(old);
		if (dbos_profile_due(GetCurrentTimestamp(), false) == 0)
			write_profile();
		return true;
	}
	if (naside == 0 && run_copy())
		return true;
	dbos_company_rest();
	due = dbos_profile_due(GetCurrentTimestamp(), true);
	if (due == 0)
		write_profile();
	patience = naside > 0 ? ASIDE_MS : COPY_LOOK_MS;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 due > 0 ? Min(due, patience) : patience, PG_WAIT_EXTENSION);
	return true;
}
