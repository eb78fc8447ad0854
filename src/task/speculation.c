/*
 * speculation.c
 *	  Second runs of tasks that take far longer than others of their function.
 *
 * Only of functions that dbos.alter_function() calls idempotent, in queues without
 * limits, and by an executor of the same login that has nothing else to do.  Two
 * transactions then run the same task, and the first one to be ready commits:
 *
 * - The original has the task's row locked from its claim on, as ever.  A copy reads
 *	 the row, runs the function, and only then locks it.
 * - A copy that finds it locked tells the original to give way: it is cancelled, rolls back, and
 *	 charges nobody.  The copy waits for its lock; one that finds the row gone,
 *	 or changed by a failure, has lost and rolls back.
 *
 * So what a task did is committed together with the removal of its row, by one of the
 * two, and never twice.  What it did outside of the database may be done twice, which is
 * what idempotent says.  A copy that fails tells nobody: the original may yet succeed.
 * Whoever fails to commit as a copy puts the task's entry back into the run queue,
 * since the original may have given way for it.
 *
 * The method is that of backup tasks (Dean and Ghemawat, MapReduce, OSDI 2004); what a
 * straggler is, is what the view dbos.stragglers says.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <math.h>
#include <signal.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "quantile_sketch.h"
#include "session.h"
#include "speculation.h"

/* What runs for less is not worth it. */
#define LEAST_RUN_US	(100 * 1000)
/* A task that is no straggler, or of which too little is known, is looked at again after this. */
#define LOOK_AGAIN_US	(1000 * 1000)
/* Its own time beside the p99 of so many others, as in dbos.stragglers. */
#define STRAGGLER_FACTOR 2
#define LEAST_OTHERS	20

/* ---- the original ---- */

void
dbos_copies_allow(void)
{
	DbosWorker *worker = dbos_worker_slot(dbos_my_worker);

	if (dbos_task_shared == NULL || worker->copyable)
		return;
	DBOS_TASK_LOCK();
	worker->copyable = true;
	worker->copy_look_at = worker->started_at + LEAST_RUN_US;
	DBOS_TASK_UNLOCK();
}

/* Its run is of no use any more. */
static void
tell_copy_off(const DbosWorker *original)
{
	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		DbosWorker *worker = dbos_worker_slot(i);

		if (worker->copy_of != original->task || worker->database != original->database || worker->pid == 0)
			continue;
		worker->cancel = true;
		(void) kill(worker->pid, SIGINT);
	}
}

void
dbos_copies_forget(DbosWorker *worker)
{
	if (worker->copied && !worker->gives_way)
		tell_copy_off(worker);
	worker->copyable = false;
	worker->copied = false;
	worker->gives_way = false;
}

bool
dbos_copy_told_to_give_way(int64 task)
{
	const DbosWorker *worker = dbos_worker_slot(dbos_my_worker);

	return dbos_task_shared != NULL && worker->gives_way && worker->task == task;
}

/* ---- who is to be copied ---- */

static bool
has_limits(Oid database, int32 queue_id)
{
	const DbosQueueSlot *slot = dbos_queue_slot_find(database, queue_id);

	return slot != NULL && (slot->concurrency >= 0 || slot->partition_concurrency >= 0 ||
							slot->rated || slot->partition_rated);
}

/* Of the login's tasks the one that runs longest, of those whose time for a look has come; the lock is held. */
static DbosWorker *
longest_running(TimestampTz now)
{
	DbosWorker *found = NULL;

	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		DbosWorker *worker = dbos_worker_slot(i);

		if (worker->copyable && !worker->copied && worker->database == MyDatabaseId &&
			worker->session_role == GetSessionUserId() && worker->state == DBOS_WORKER_RUNNING &&
			worker->copy_look_at <= now && !has_limits(MyDatabaseId, worker->queue_id) &&
			(found == NULL || worker->started_at < found->started_at))
			found = worker;
	}
	return found;
}

/* The p99 of the run times of a function with arguments of this size, in microseconds; 0 when too few are known. */
static int64
usual_time(const char *function, int32 size_class)
{
	static DbosPlan plan = {
		.sql = "SELECT pg_catalog.min(b.bucket) FILTER (WHERE b.upto OPERATOR(pg_catalog.>=) (0.99 OPERATOR(pg_catalog.*) b.total)), pg_catalog.min(b.total)::pg_catalog.int8"
		" FROM (SELECT u.bucket, pg_catalog.sum(pg_catalog.sum(u.count)) OVER (ORDER BY u.bucket) AS upto, pg_catalog.sum(pg_catalog.sum(u.count)) OVER () AS total"
		" FROM dbos.function_profile p CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(p.buckets), pg_catalog.unnest(p.counts)) u(bucket, count)"
		" WHERE p.function OPERATOR(pg_catalog.=) $1 AND p.size_class OPERATOR(pg_catalog.=) $2 GROUP BY u.bucket) b",
		.nargs = 2,
		.argtypes = {TEXTOID, INT4OID},
	};
	Datum		values[2] = {CStringGetTextDatum(function), Int32GetDatum(size_class)};
	bool		null_bucket = true;
	bool		null_total = true;
	int32		bucket = 0;
	int64		total = 0;

	if (dbos_plan_execute(&plan, values, NULL, true, 1) > 0)
	{
		bucket = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null_bucket));
		total = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null_total));
	}
	if (null_bucket || null_total || total < LEAST_OTHERS)
		return 0;
	return (int64) pow(DBOS_SKETCH_GROWTH, bucket);
}

/* When a running task is a straggler by its function's profile; a time to look again at when that is not known. */
static TimestampTz
straggles_from(int64 task, TimestampTz started_at, TimestampTz now, bool *known)
{
	static DbosPlan plan = {
		.sql = "SELECT function, pg_catalog.pg_column_size(args::pg_catalog.text::pg_catalog.jsonb) FROM dbos.task"
		" WHERE shard OPERATOR(pg_catalog.=) (($1 OPERATOR(pg_catalog.&) 15)::pg_catalog.int2) AND id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	Datum		value = Int64GetDatum(task);
	DbosOwnerScope scope;
	int64		usual = 0;

	dbos_session_begin();
	dbos_owner_begin(&scope);
	if (dbos_plan_execute(&plan, &value, NULL, true, 1) > 0)
	{
		bool		null;
		char	   *function = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		int32		bytes = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null));

		usual = usual_time(function, (int32) log2((double) Max(bytes - VARHDRSZ, 1)));
	}
	dbos_owner_end(&scope);
	dbos_session_commit();
	*known = usual > 0;
	return *known ? started_at + Max(STRAGGLER_FACTOR * usual, LEAST_RUN_US) : now + LOOK_AGAIN_US;
}

/* Enters the task as what this worker copies, if it still runs; the lock is held. */
static void
begin_copy(DbosWorker *original, DbosTicket *ticket)
{
	DbosWorker *me = dbos_worker_slot(dbos_my_worker);

	memset(ticket, 0, sizeof(*ticket));
	ticket->key.id = original->task;
	ticket->key.priority = original->priority;
	ticket->partition = original->partition;
	original->copied = true;
	me->copy_of = original->task;
	me->queue_id = original->queue_id;
	me->queue_slot = DBOS_NOBODY;
	me->partition = original->partition;
	me->state = DBOS_WORKER_RUNNING;
	me->since = GetCurrentTimestamp();
	me->cancel = false;
}

bool
dbos_copy_take(DbosTicket *ticket)
{
	TimestampTz now = GetCurrentTimestamp();
	DbosWorker *original;
	int64		task = 0;
	TimestampTz started_at = 0;
	TimestampTz from;
	bool		known;
	bool		taken = false;

	if (dbos_task_shared == NULL)
		return false;
	DBOS_TASK_LOCK();
	original = longest_running(now);
	if (original != NULL)
	{
		task = original->task;
		started_at = original->started_at;
	}
	DBOS_TASK_UNLOCK();
	if (original == NULL)
		return false;
	from = straggles_from(task, started_at, now, &known);
	DBOS_TASK_LOCK();
	if (original->task == task && original->copyable && !original->copied &&
		original->state == DBOS_WORKER_RUNNING)
	{
		taken = known && from <= now && dbos_worker_slot(dbos_my_worker)->state == DBOS_WORKER_IDLE;
		if (taken)
			begin_copy(original, ticket);
		else
			original->copy_look_at = from;
	}
	DBOS_TASK_UNLOCK();
	return taken;
}

bool
dbos_copy_may_come(Oid database, Oid session_role)
{
	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		const DbosWorker *worker = dbos_worker_slot(i);

		if (worker->copyable && !worker->copied && worker->database == database &&
			worker->session_role == session_role && worker->state == DBOS_WORKER_RUNNING &&
			!has_limits(database, worker->queue_id))
			return true;
	}
	return false;
}

/* ---- the end of a copy ---- */

/* A worker that exits clears its slot under the lock that is held: the pid is its own. */
static void
tell_to_give_way(int64 task)
{
	DBOS_TASK_LOCK();
	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		DbosWorker *worker = dbos_worker_slot(i);

		if (worker->task != task || worker->database != MyDatabaseId || worker->pid == 0 ||
			(worker->state != DBOS_WORKER_RUNNING && worker->state != DBOS_WORKER_WAITING))
			continue;
		worker->gives_way = true;
		worker->cancel = true;
		(void) kill(worker->pid, SIGINT);
	}
	DBOS_TASK_UNLOCK();
}

void
dbos_copy_overtake(DbosMember *member)
{
	int32		attempt = member->attempts_before;
	int32		crashes = member->crashes_before;
	bool		locked = dbos_task_row_lock(member->id, LockWaitSkip, &member->row);

	if (!locked && member->row.busy)
	{
		dbos_stop_point("copy ready");
		tell_to_give_way(member->id);
		locked = dbos_task_row_lock(member->id, LockWaitBlock, &member->row);
	}
	if (!locked)
		member->row.relation = NULL;
	if (!locked || DatumGetBool(member->row.slot->tts_values[TASK_HELD]) ||
		DatumGetInt32(member->row.slot->tts_values[TASK_ATTEMPT]) != attempt ||
		DatumGetInt32(member->row.slot->tts_values[TASK_CRASHES]) != crashes ||
		dbos_task_row_cancelled(member->id))
		ereport(ERROR,
				errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg("another run of the task ended first"));
}

/* ---- the launcher ---- */

bool
dbos_copy_wants_worker(TimestampTz now, bool (*worker_comes) (Oid, Oid), Oid *database, Oid *session_role)
{
	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		const DbosWorker *worker = dbos_worker_slot(i);

		if (!worker->copyable || worker->copied || worker->state != DBOS_WORKER_RUNNING ||
			worker->started_at + LOOK_AGAIN_US > now || has_limits(worker->database, worker->queue_id) ||
			worker_comes(worker->database, worker->session_role))
			continue;
		*database = worker->database;
		*session_role = worker->session_role;
		return true;
	}
	return false;
}
