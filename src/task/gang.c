/*
 * gang.c
 *	  Tasks that start together or not at all.
 *
 * A member is a task like any other until an executor has claimed it.  Before its function
 * is called the executor waits at a barrier, with the row locked and nothing done, until
 * as many have come as the gang has members that have not begun.  Who has waited for
 * PATIENCE_MS gives its member back, so that a gang that does not find enough
 * workers keeps them from others for no longer than that; it is then tried again.
 * One gang of the server gathers at a time, or two could wait for each other's workers.
 *
 * Nothing of this outlives a crash: members that had not ended gather again.  One
 * whose attempt failed, or whose worker alone was lost while the others ran, starts alone.
 *
 * Without shared memory the barrier is made of locks (DbosOnlyOne): one that says that a member
 * has come, and one that the first to see all of them takes for `go`.  That one is
 * released when all have let go of theirs, by which they say that they know.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "gang.h"
#include "tables_only.h"

#define PATIENCE_MS		1000
/* How often a member looks that nobody tells, and how long one waits that finds another gang gathering. */
#define LOOK_MS			20

/* A gang as it is when one of its members has been claimed. */
typedef struct Gang
{
	int64		id;				/* its first member */
	int			count;			/* of those that have not failed nor ended */
	int64	   *members;
} Gang;

/* ---- submit ---- */

static void
require_room(int members, int room, const char *what)
{
	if (room >= 0 && members > room)
		ereport(ERROR,
				errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				errmsg("a gang of %d tasks can never start", members),
				errdetail("They all run at once, and %s %d.", what, room));
}

void
dbos_gang_check(const DbosQueueFacts *queue, bool partitioned, int members)
{
	int			workers = dbos_worker_process_limit() - 1;

	if (dbos_max_workers >= 0)
		workers = Min(workers, dbos_max_workers);
	if (members > workers)
		ereport(ERROR,
				errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				errmsg("a gang of %d tasks can never start", members),
				errdetail("They all run at once, and there are at most %d workers.", workers),
				errhint("Raise max_worker_processes or dbos.max_workers, or use dbos.submit_many()."));
	require_room(members, queue->concurrency, "the concurrency of the queue is");
	require_room(members, queue->rate_limit, "the rate limit of the queue is");
	if (!partitioned)
		return;
	require_room(members, queue->partition_concurrency, "the concurrency of its partitions is");
	require_room(members, queue->partition_rate_limit, "the rate limit of its partitions is");
}

void
dbos_gang_write(const int64 *members, int count)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.task_gang (task_id, gang_id) SELECT m, $1 FROM pg_catalog.unnest($2) m",
		.nargs = 2,
		.argtypes = {INT8OID, INT8ARRAYOID},
	};
	Datum	   *ids = palloc(sizeof(Datum) * count);
	Datum		values[2];
	DbosOwnerScope scope;

	for (int i = 0; i < count; i++)
		ids[i] = Int64GetDatum(members[i]);
	values[0] = ids[0];
	values[1] = PointerGetDatum(construct_array(ids, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
	dbos_owner_end(&scope);
}

void
dbos_gangs_forget(void)
{
	static DbosPlan plan = {
		.sql = "DELETE FROM dbos.task_gang g WHERE NOT EXISTS (SELECT FROM dbos.task t"
		" WHERE t.shard OPERATOR(pg_catalog.=) (g.task_id OPERATOR(pg_catalog.&) 15)::pg_catalog.int2"
		" AND t.id OPERATOR(pg_catalog.=) g.task_id)",
	};

	(void) dbos_plan_execute(&plan, NULL, NULL, false, 0);
}

/* ---- who belongs to it ---- */

/* False when the task starts alone: its attempt has failed before, or its gang is forgotten. */
static bool
find_gang(int64 task, Gang *gang)
{
	static DbosPlan plan = {
		.sql = "SELECT g.gang_id, pg_catalog.array_agg(o.task_id) FROM dbos.task_gang g"
		" JOIN dbos.task_gang o ON o.gang_id OPERATOR(pg_catalog.=) g.gang_id"
		" JOIN dbos.task t ON t.shard OPERATOR(pg_catalog.=) (o.task_id OPERATOR(pg_catalog.&) 15)::pg_catalog.int2"
		" AND t.id OPERATOR(pg_catalog.=) o.task_id"
		" WHERE g.task_id OPERATOR(pg_catalog.=) $1 AND t.attempt OPERATOR(pg_catalog.=) 0 GROUP BY g.gang_id"
		" HAVING pg_catalog.bool_or(o.task_id OPERATOR(pg_catalog.=) $1)",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	Datum		value = Int64GetDatum(task);
	MemoryContext caller = CurrentMemoryContext;
	DbosOwnerScope scope;
	bool		found;

	dbos_owner_begin(&scope);
	found = dbos_plan_execute(&plan, &value, NULL, false, 1) > 0;
	if (found)
	{
		Datum	   *ids;
		bool		null;

		gang->id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
		deconstruct_array(DatumGetArrayTypeP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null)),
						  INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &ids, NULL, &gang->count);
		gang->members = MemoryContextAlloc(caller, sizeof(int64) * gang->count);
		for (int i = 0; i < gang->count; i++)
			gang->members[i] = DatumGetInt64(ids[i]);
	}
	dbos_owner_end(&scope);
	return found;
}

/* ---- the barrier, in shared memory ---- */

static bool
is_of(const DbosWorker *worker, const Gang *gang)
{
	return worker->gang == gang->id && worker->database == MyDatabaseId;
}

/* How many have not begun. */
static int
members_to_come(const Gang *gang)
{
	int			count = gang->count;

	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		const DbosWorker *worker = dbos_worker_slot(i);

		if (!is_of(worker, gang) || worker->gang_waits)
			continue;
		for (int j = 0; j < gang->count; j++)
			if (gang->members[j] == worker->task)
				count--;
	}
	return count;
}

static int
members_here(const Gang *gang)
{
	int			count = 0;

	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		const DbosWorker *worker = dbos_worker_slot(i);

		if (is_of(worker, gang) && worker->gang_waits)
			count++;
	}
	return count;
}

static void
start_all(const Gang *gang)
{
	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		DbosWorker *worker = dbos_worker_slot(i);

		if (!is_of(worker, gang) || !worker->gang_waits)
			continue;
		worker->gang_waits = false;
		dbos_wake_now(worker->proc_number, worker->pid);
	}
}

static bool
another_gathers(const Gang *gang)
{
	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		const DbosWorker *worker = dbos_worker_slot(i);

		if (worker->gang_waits && !is_of(worker, gang))
			return true;
	}
	return false;
}

/* Comes to the barrier; false when another gang is at it. */
static bool
arrive(const Gang *gang)
{
	DbosWorker *me = dbos_worker_slot(dbos_my_worker);
	bool		may;

	DBOS_TASK_LOCK();
	may = !another_gathers(gang);
	if (may)
	{
		me->gang = gang->id;
		me->gang_waits = true;
		if (members_here(gang) >= members_to_come(gang))
			start_all(gang);
		else
		{
			dbos_run_queue_wake(MyDatabaseId, GetSessionUserId());
			dbos_wake_launcher();
		}
	}
	DBOS_TASK_UNLOCK();
	return may;
}

/* Goes away from it; true when all were told to start before. */
static bool
leave(void)
{
	DbosWorker *me = dbos_worker_slot(dbos_my_worker);
	bool		starts;

	DBOS_TASK_LOCK();
	starts = !me->gang_waits;
	if (!starts)
		dbos_gang_leave(me);
	DBOS_TASK_UNLOCK();
	return starts;
}

static void
nap(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static bool
start_in_shared_memory(const Gang *gang)
{
	const volatile DbosWorker *me = dbos_worker_slot(dbos_my_worker);
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PATIENCE_MS);

	if (!arrive(gang))
	{
		nap(LOOK_MS);
		return false;
	}
	PG_TRY();
	{
		while (me->gang_waits && GetCurrentTimestamp() < until)
			nap(PATIENCE_MS);
	}
	PG_CATCH();
	{
		(void) leave();
		PG_RE_THROW();
	}
	PG_END_TRY();
	return leave();
}

void
dbos_gang_leave(DbosWorker *worker)
{
	worker->gang = 0;
	worker->gang_waits = false;
}

bool
dbos_gang_waits(Oid database, Oid session_role)
{
	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		const DbosWorker *worker = dbos_worker_slot(i);

		if (worker->gang_waits && worker->database == database && worker->session_role == session_role)
			return true;
	}
	return false;
}

/* ---- the barrier, by locks ---- */

#define LOCK_OF(id) (uint32) ((id) >> 32), (uint32) (id)

/* The member that this process runs, as its lock says; 0: none. */
static int64 runs = 0;

/* Whether nobody has to be waited for: the others are here, or have begun. */
static bool
all_are_here(const Gang *gang, int64 me)
{
	for (int i = 0; i < gang->count; i++)
		if (gang->members[i] != me && !dbos_only_taken(DBOS_ONLY_GANG_MEMBER, LOCK_OF(gang->members[i])) &&
			!dbos_only_taken(DBOS_ONLY_GANG_RUNS, LOCK_OF(gang->members[i])))
			return false;
	return true;
}

/* All are told to start, and have heard it when this returns. */
static void
tell_all(const Gang *gang, int64 me)
{
	HOLD_INTERRUPTS();
	(void) dbos_only_try(DBOS_ONLY_GANG_STARTS, LOCK_OF(gang->id));
	dbos_only_release(DBOS_ONLY_GANG_DOOR, LOCK_OF(gang->id));
	for (int i = 0; i < gang->count; i++)
		while (gang->members[i] != me && dbos_only_taken(DBOS_ONLY_GANG_MEMBER, LOCK_OF(gang->members[i])))
			pg_usleep(1000);
	dbos_only_release(DBOS_ONLY_GANG_STARTS, LOCK_OF(gang->id));
	RESUME_INTERRUPTS();
}

/* Looks whether it starts, behind the door, so that nobody comes or goes meanwhile. */
static bool
look(const Gang *gang, int64 me, bool last)
{
	bool		starts;

	dbos_only_wait(DBOS_ONLY_GANG_DOOR, LOCK_OF(gang->id));
	starts = dbos_only_taken(DBOS_ONLY_GANG_STARTS, LOCK_OF(gang->id));
	if (!starts && all_are_here(gang, me))
	{
		tell_all(gang, me);
		starts = true;
	}
	if (starts)
	{
		(void) dbos_only_try(DBOS_ONLY_GANG_RUNS, LOCK_OF(me));
		runs = me;
	}
	if (starts || last)
		dbos_only_release(DBOS_ONLY_GANG_MEMBER, LOCK_OF(me));
	dbos_only_release(DBOS_ONLY_GANG_DOOR, LOCK_OF(gang->id));
	return starts;
}

static bool
start_by_locks(const Gang *gang, int64 me)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PATIENCE_MS);
	volatile bool starts = false;

	(void) dbos_only_try(DBOS_ONLY_GANG_MEMBER, LOCK_OF(me));
	PG_TRY();
	{
		bool		last = false;

		while (!(starts = look(gang, me, last)) && !last)
		{
			nap(LOOK_MS);
			last = GetCurrentTimestamp() >= until;
		}
	}
	PG_CATCH();
	{
		dbos_only_release(DBOS_ONLY_GANG_MEMBER, LOCK_OF(me));
		dbos_only_release(DBOS_ONLY_GANG_DOOR, LOCK_OF(gang->id));
		PG_RE_THROW();
	}
	PG_END_TRY();
	return starts;
}

void
dbos_gang_ended_by_locks(void)
{
	if (runs != 0)
		dbos_only_release(DBOS_ONLY_GANG_RUNS, LOCK_OF(runs));
	runs = 0;
}

/* ---- start ---- */

bool
dbos_gang_start(int64 task)
{
	Gang		gang;

	if (!find_gang(task, &gang))
		return true;
	return dbos_task_shared != NULL ? start_in_shared_memory(&gang) : start_by_locks(&gang, task);
}
