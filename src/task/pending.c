/*
 * pending.c
 *	  What a transaction tells shared memory at its end.
 *
 * Rows of a transaction are seen by others only once it has committed, so what
 * is said of them waits until then too.  SQL functions append to a list, which
 * may fail; the callbacks at the end of the transaction only read it, take the
 * task room's lock and set latches: they neither allocate nor raise.
 *
 * Entries belong to the subtransaction that appended them and go away with it.
 * The exception is "touch": who locked a task's row and then left it alone may
 * have made an executor skip it, whatever becomes of the transaction, and so
 * the task is pushed at commit and at abort.  Pushing it twice is harmless.
 *
 * Nest levels never decrease along the list, because a deeper level has ended,
 * and was lowered or dropped, before an outer one appends again; so the end of
 * a subtransaction looks only at its own entries.
 *
 * The functions that lead here are parallel unsafe: no parallel worker has a
 * list.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "task.h"

/* Entries told while the lock is held once. */
#define BATCH_SIZE 256
/* Distinct tracks of a batch that are woken once; further ones are woken for each push. */
#define MAX_WAKES 16
#define INITIAL_CAPACITY 16

typedef enum PendingKind
{
	PENDING_PUSH,
	PENDING_TOUCH,
	PENDING_DUE,
	PENDING_EVENT,
	PENDING_CANCEL,
	PENDING_QUEUE,
	PENDING_SCHEDULER
} PendingKind;

typedef struct Pending
{
	PendingKind kind;
	int			nest_level;
	DbosTicket	ticket;			/* push, touch */
	int64		task;			/* event, cancel */
	Oid			session_role;	/* push, touch */
	char		event;			/* as in DbosEvent */
	int			queue;			/* push, touch, queue: number in facts */
	TimestampTz at;				/* due */
} Pending;

/* The logins that a batch gives something to do. */
typedef struct WakeList
{
	int			count;
	struct
	{
		Oid			session_role;
		int32		queue_id;
	}			tracks[MAX_WAKES];
} WakeList;

static Pending *list = NULL;	/* in TopTransactionContext */
static Size nlist = 0;
static Size capacity = 0;
/* The queues that the list names: mostly one for many tasks. */
static DbosQueueFacts *facts = NULL;
static int	nfacts = 0;
static int	facts_capacity = 0;

static Pending *append(PendingKind kind);
static void append_task(PendingKind kind, const DbosTicket *ticket, Oid session_role,
						const DbosQueueFacts *queue);
static int	facts_number(const DbosQueueFacts *queue);
static Pending *last_of_kind(PendingKind kind);
static void xact_callback(XactEvent event, void *arg);
static void subxact_callback(SubXactEvent event, SubTransactionId mySubid,
							 SubTransactionId parentSubid, void *arg);
static void tell_all(bool committed);
static void tell_batch(const Pending *batch, const DbosQueueFacts *queues, Size count, bool committed);
static void tell(const Pending *pending, const DbosQueueFacts *queues, DbosDatabase *database, WakeList *wakes);
static void tell_push(const Pending *pending, const DbosQueueFacts *queue, DbosDatabase *database, WakeList *wakes);
static void tell_due(TimestampTz at, DbosDatabase *database);
static void tell_event(char event, int64 task, DbosDatabase *database);
static bool tell_cancel(int64 task);
static void database_exists(DbosDatabase *database);
static void wake_track(Oid session_role, int32 queue_id);

/* ---- appending: any of these may raise out of memory ---- */

/* At commit: the task is ready. */
void
dbos_pending_push(const DbosTicket *ticket, Oid session_role, const DbosQueueFacts *queue)
{
	append_task(PENDING_PUSH, ticket, session_role, queue);
}

/* At the end of the transaction, however it ends: the task may be ready. */
void
dbos_pending_touch(const DbosTicket *ticket, Oid session_role, const DbosQueueFacts *queue)
{
	append_task(PENDING_TOUCH, ticket, session_role, queue);
}

/* At commit: a scheduler is wanted at this time. */
void
dbos_pending_due(TimestampTz at)
{
	Pending    *pending = last_of_kind(PENDING_DUE);

	/* Of many delayed tasks submitted in a row the first one matters. */
	if (pending != NULL)
		pending->at = Min(pending->at, at);
	else if ((pending = append(PENDING_DUE)) != NULL)
		pending->at = at;
}

/* At commit: tells those who wait for the task, and what depends on it. */
void
dbos_pending_event(char kind, int64 task)
{
	Pending    *pending = append(PENDING_EVENT);

	if (pending == NULL)
		return;
	pending->event = kind;
	pending->task = task;
}

/* At commit: interrupts the worker that runs the task, or else tells the scheduler. */
void
dbos_pending_cancel(int64 task)
{
	Pending    *pending = append(PENDING_CANCEL);

	if (pending != NULL)
		pending->task = task;
}

/* At commit: the limits of the queue hold. */
void
dbos_pending_queue(const DbosQueueFacts *queue)
{
	Pending    *pending = append(PENDING_QUEUE);

	if (pending != NULL)
		pending->queue = facts_number(queue);
}

/* At commit: a scheduler looks at this database, also if it was stopped or unknown. */
void
dbos_pending_want_scheduler(void)
{
	if (last_of_kind(PENDING_SCHEDULER) == NULL)
		(void) append(PENDING_SCHEDULER);
}

/* At the end of a transaction of another room: the process of this database looks at its duties. */
static void
want_scheduler_now(void)
{
	DbosDatabase *database;

	if (!dbos_shared_attached() || dbos_task_shared == NULL)
		return;
	DBOS_TASK_LOCK();
	database = dbos_database_find(MyDatabaseId, true);
	if (database != NULL)
	{
		database_exists(database);
		dbos_scheduler_want(database);
	}
	DBOS_TASK_UNLOCK();
}

/* Registers the callbacks; once in each process, from _PG_init. */
void
dbos_pending_install(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
	dbos_duty_set_wanter(want_scheduler_now);
}

static void
append_task(PendingKind kind, const DbosTicket *ticket, Oid session_role,
			const DbosQueueFacts *queue)
{
	Pending    *pending = append(kind);

	if (pending == NULL)
		return;
	pending->ticket = *ticket;
	pending->session_role = session_role;
	pending->queue = facts_number(queue);
}

/* A new entry, zeroed. */
static Pending *
append(PendingKind kind)
{
	Pending    *pending;

	/* At commit it is too late to look for it. */
	(void) dbos_shared_attach();
	if (list == NULL)
	{
		list = MemoryContextAlloc(TopTransactionContext, INITIAL_CAPACITY * sizeof(Pending));
		capacity = INITIAL_CAPACITY;
		nlist = 0;
	}
	else if (nlist == capacity)
	{
		/* One transaction may submit more tasks than fit into an ordinary allocation. */
		list = repalloc_huge(list, 2 * capacity * sizeof(Pending));
		capacity *= 2;
	}
	pending = &list[nlist++];
	memset(pending, 0, sizeof(*pending));
	pending->kind = kind;
	pending->nest_level = GetCurrentTransactionNestLevel();
	return pending;
}

/* To the run queue, which has nothing to do with the keys of a policy. */
static bool
says_the_same(const DbosQueueFacts *a, const DbosQueueFacts *b)
{
	return a->queue_id == b->queue_id && a->concurrency == b->concurrency &&
		a->partition_concurrency == b->partition_concurrency && a->rate_limit == b->rate_limit &&
		a->partition_rate_limit == b->partition_rate_limit && a->paused == b->paused &&
		a->policy_changed == b->policy_changed && a->policy.share_at == b->policy.share_at;
}

/* Keeps what is said of a queue, once for entries in a row. */
static int
facts_number(const DbosQueueFacts *queue)
{
	if (nfacts > 0 && says_the_same(&facts[nfacts - 1], queue))
		return nfacts - 1;
	if (facts == NULL)
	{
		facts_capacity = INITIAL_CAPACITY;
		facts = MemoryContextAlloc(TopTransactionContext, facts_capacity * sizeof(DbosQueueFacts));
	}
	else if (nfacts == facts_capacity)
	{
		facts_capacity *= 2;
		facts = repalloc_huge(facts, facts_capacity * sizeof(DbosQueueFacts));
	}
	facts[nfacts] = *queue;
	return nfacts++;
}

/* The last entry, when it is of this kind and of the current subtransaction. */
static Pending *
last_of_kind(PendingKind kind)
{
	if (nlist == 0 || list[nlist - 1].kind != kind ||
		list[nlist - 1].nest_level != GetCurrentTransactionNestLevel())
		return NULL;
	return &list[nlist - 1];
}

/* ---- the end of a transaction ---- */

/* Its memory goes with the transaction. */
static void
forget_list(void)
{
	list = NULL;
	facts = NULL;
	nlist = capacity = 0;
	nfacts = facts_capacity = 0;
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (nlist == 0 && list == NULL)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (nlist > 0)
				ereport(ERROR,
						errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot PREPARE a transaction that has submitted or changed tasks"),
						errhint("Use COMMIT, or submit the tasks in a transaction of their own."));
			break;
		case XACT_EVENT_COMMIT:
			tell_all(true);
			break;
		case XACT_EVENT_ABORT:
			tell_all(false);
			break;
		case XACT_EVENT_PREPARE:
			/* Everything was dropped by subtransactions; the memory goes with the transaction. */
			forget_list();
			break;
		default:
			break;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mySubid,
				 SubTransactionId parentSubid, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();
	Size		first = nlist;
	Size		kept;

	if (nlist == 0 ||
		(event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB))
		return;
	while (first > 0 && list[first - 1].nest_level >= level)
		first--;
	kept = first;
	for (Size i = first; i < nlist; i++)
	{
		if (event == SUBXACT_EVENT_ABORT_SUB && list[i].kind != PENDING_TOUCH)
			continue;
		list[kept] = list[i];
		list[kept++].nest_level = level - 1;
	}
	nlist = kept;
}

/* Tells the whole list and forgets it. */
static void
tell_all(bool committed)
{
	const Pending *todo = list;
	const DbosQueueFacts *queues = facts;
	Size		count = nlist;

	forget_list();
	/* Without shared memory there is nobody to tell: the tables are looked at. */
	if (dbos_task_shared == NULL)
		return;
	for (Size done = 0; done < count; done += BATCH_SIZE)
		tell_batch(&todo[done], queues, Min(count - done, BATCH_SIZE), committed);
}

static void
tell_batch(const Pending *batch, const DbosQueueFacts *queues, Size count, bool committed)
{
	WakeList	wakes = {0};
	DbosDatabase *database;
	bool		locked = false;

	for (Size i = 0; i < count; i++)
	{
		if (!committed && batch[i].kind != PENDING_TOUCH)
			continue;
		/* An abort with nothing to tell does not compete for the lock. */
		if (!locked)
		{
			DBOS_TASK_LOCK();
			locked = true;
			database = dbos_database_find(MyDatabaseId, true);
		}
		tell(&batch[i], queues, database, &wakes);
	}
	if (!locked)
		return;
	/* After all pushes, so that who is woken finds all of them. */
	for (int i = 0; i < wakes.count; i++)
		wake_track(wakes.tracks[i].session_role, wakes.tracks[i].queue_id);
	DBOS_TASK_UNLOCK();
}

/* database is NULL when more databases use dbos than we keep: only waiters are told then. */
static void
tell(const Pending *pending, const DbosQueueFacts *queues, DbosDatabase *database, WakeList *wakes)
{
	switch (pending->kind)
	{
		case PENDING_PUSH:
		case PENDING_TOUCH:
			if (database != NULL)
				tell_push(pending, &queues[pending->queue], database, wakes);
			break;
		case PENDING_DUE:
			if (database != NULL)
				tell_due(pending->at, database);
			break;
		case PENDING_EVENT:
			tell_event(pending->event, pending->task, database);
			break;
		case PENDING_CANCEL:
			if (!tell_cancel(pending->task) && database != NULL)
				tell_event('x', pending->task, database);
			break;
		case PENDING_QUEUE:
			dbos_run_queue_alter(MyDatabaseId, &queues[pending->queue]);
			break;
		case PENDING_SCHEDULER:
			if (database == NULL)
				break;
			if (database->state == DBOS_DATABASE_ABSENT || database->state == DBOS_DATABASE_PAUSED)
				database->state = DBOS_DATABASE_UNKNOWN;
			/* Who looks at the moment may not see yet what we have committed. */
			database->said++;
			if (database->state == DBOS_DATABASE_UNKNOWN)
				database->probe_after = 0;
			dbos_scheduler_want(database);
			break;
	}
}

static void
tell_push(const Pending *pending, const DbosQueueFacts *queue, DbosDatabase *database, WakeList *wakes)
{
	database_exists(database);
	dbos_run_queue_push(MyDatabaseId, pending->session_role, queue, &pending->ticket);
	for (int i = 0; i < wakes->count; i++)
		if (wakes->tracks[i].session_role == pending->session_role &&
			wakes->tracks[i].queue_id == queue->queue_id)
			return;
	if (wakes->count == MAX_WAKES)
	{
		wake_track(pending->session_role, queue->queue_id);
		return;
	}
	wakes->tracks[wakes->count].session_role = pending->session_role;
	wakes->tracks[wakes->count].queue_id = queue->queue_id;
	wakes->count++;
}

static void
tell_due(TimestampTz at, DbosDatabase *database)
{
	database_exists(database);
	dbos_database_due(database, at);
}

static void
tell_event(char event, int64 task, DbosDatabase *database)
{
	if (event == 'f' && dbos_task_shared->waiting > 0)
	{
		for (int i = 0; i < dbos_task_shared->nwaiters; i++)
		{
			DbosWaiter *waiter = dbos_waiter_slot(i);

			if (waiter->task == task && waiter->database == MyDatabaseId)
				dbos_wake_now(i, 0);
		}
	}
	if (database == NULL)
		return;
	if (event == 'c')
		database->blocked_tasks = true;
	if (event != 'f' || database->blocked_tasks)
	{
		database_exists(database);
		dbos_database_event(database, event, task);
	}
}

/* Whether somebody runs it.  A worker that exits clears its slot under the lock that we hold: the pid is its own. */
static bool
tell_cancel(int64 task)
{
	bool		told = false;

	pg_atomic_fetch_add_u64(&dbos_task_shared->cancels, 1);
	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		DbosWorker *worker = dbos_worker_slot(i);

		if ((worker->task != task && worker->copy_of != task) || worker->database != MyDatabaseId || worker->pid == 0 ||
			(worker->state != DBOS_WORKER_RUNNING && worker->state != DBOS_WORKER_WAITING))
			continue;
		worker->cancel = true;
		(void) kill(worker->pid, SIGINT);
		told = true;
	}
	return told;
}

/* A backend uses the extension here, so who found none before looks again. */
static void
database_exists(DbosDatabase *database)
{
	if (database->state == DBOS_DATABASE_ABSENT)
	{
		database->state = DBOS_DATABASE_UNKNOWN;
		database->probe_after = 0;
	}
	if (database->state == DBOS_DATABASE_UNKNOWN)
		dbos_wake_launcher();
}

static void
wake_track(Oid session_role, int32 queue_id)
{
	const DbosTrack *track = dbos_track_find(MyDatabaseId, session_role, queue_id);

	if (track != NULL && dbos_track_runnable(track))
		dbos_run_queue_wake(MyDatabaseId, session_role);
}
