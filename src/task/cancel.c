/*
 * cancel.c
 *	  A task is told not to run, or to stop.
 *
 * A waiting task is ended in the caller's transaction, under its row's lock.  Where another
 * transaction has the row, the cancel is written down (it survives a crash of who has
 * the row) and told at commit, for two cases: the task runs, and its executor
 * is interrupted; or the row was locked for a moment by somebody else, as the scheduler or another cancel
 * does, and the scheduler ends the task as soon as it gets the lock.
 *
 * A map is cancelled with its tasks: by the caller, since the scheduler must not wait for others who cancel those.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "tcop/utility.h"
#include "utils/timestamp.h"

#include "map.h"
#include "scheduler.h"
#include "tables_only.h"
#include "task.h"

PG_FUNCTION_INFO_V1(dbos_cancel);

/* Written cancels whose tasks were locked are looked at again after this. */
#define CANCEL_REPEAT_MS 500

/* Locks the row of a waiting task; false when another transaction has it. */
static bool
lock_waiting(int64 task)
{
	static DbosPlan lock = {
		.sql = "SELECT t.queue_id, t.session_role::pg_catalog.oid, t.held, " DBOS_READY_COLUMNS
		" FROM dbos.task t WHERE shard OPERATOR(pg_catalog.=) $2 AND id OPERATOR(pg_catalog.=) $1"
		" AND dbos.in_container(container_id) FOR UPDATE SKIP LOCKED",
		.nargs = 2,
		.argtypes = {INT8OID, INT2OID},
	};
	Datum		values[2] = {Int64GetDatum(task), Int16GetDatum(DBOS_SHARD(task))};
	DbosOwnerScope scope;
	bool		locked;

	/* Its row is locked by this very transaction, and nobody would be kept from it. */
	if (task == dbos_context_task())
		return false;
	dbos_owner_begin(&scope);
	locked = dbos_plan_execute(&lock, values, NULL, false, 1) == 1;
	if (locked)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		null;
		Oid			session_role = DatumGetObjectId(SPI_getbinval(row, desc, 2, &null));
		bool		held = DatumGetBool(SPI_getbinval(row, desc, 3, &null));
		DbosTicket	ticket;
		DbosQueueFacts facts = dbos_queue_by_id(DatumGetInt32(SPI_getbinval(row, desc, 1, &null)));

		dbos_ready_read(row, desc, 4, &facts.policy, &ticket);
		/* An executor may have passed the row by while we had it locked. */
		if (!held)
			dbos_pending_touch(&ticket, session_role, &facts);
	}
	dbos_owner_end(&scope);
	return locked;
}

static void
write_cancellation(int64 task)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.task_cancellation (task_id, requested_at, requested_by)"
		" VALUES ($1, $2, $3::pg_catalog.regrole) ON CONFLICT DO NOTHING",
		.nargs = 3,
		.argtypes = {INT8OID, TIMESTAMPTZOID, OIDOID},
	};
	Datum		values[3] = {Int64GetDatum(task), TimestampTzGetDatum(dbos_now()), 0};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	values[2] = ObjectIdGetDatum(scope.user);
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
	dbos_owner_end(&scope);
}

bool
dbos_cancel_locked(int64 task)
{
	Jsonb	   *error = dbos_error_make(ERRCODE_DBOS_TASK_CANCELLED, "task was cancelled", NULL, NULL);

	return dbos_task_settle(task, DBOS_CANCELLED, NULL, error, NULL);
}

/* Cancels a task: true when it was told to, false when it had ended. */
Datum
dbos_cancel(PG_FUNCTION_ARGS)
{
	int64		task = PG_GETARG_INT64(0);
	DbosTaskView view;

	PreventCommandIfReadOnly("dbos.cancel()");
	dbos_task_look(task, &view);
	if (view.ended)
		PG_RETURN_BOOL(false);
	if (lock_waiting(task) && dbos_cancel_locked(task))
	{
		dbos_map_cancel(task);
		PG_RETURN_BOOL(true);
	}
	dbos_task_look(task, &view);
	if (view.ended)
		PG_RETURN_BOOL(strcmp(view.state, DBOS_CANCELLED) == 0);
	write_cancellation(task);
	dbos_pending_cancel(task);
	dbos_map_cancel(task);
	PG_RETURN_BOOL(true);
}

/* ---- in the scheduler ---- */

static bool cancels_are_left = false;

/* Ends the task of a written cancel, unless it runs, or somebody still has its row: then it is looked at again. */
static void
end_cancelled(void *argument)
{
	static DbosPlan lock = {
		.sql = "SELECT 1 FROM dbos.task t WHERE shard OPERATOR(pg_catalog.=) $2 AND id OPERATOR(pg_catalog.=) $1"
		" AND EXISTS (SELECT FROM dbos.task_cancellation c WHERE c.task_id OPERATOR(pg_catalog.=) $1) FOR UPDATE SKIP LOCKED",
		.nargs = 2,
		.argtypes = {INT8OID, INT2OID},
	};
	static DbosPlan there = {
		.sql = "SELECT 1 FROM dbos.task t WHERE shard OPERATOR(pg_catalog.=) $2 AND id OPERATOR(pg_catalog.=) $1"
		" AND EXISTS (SELECT FROM dbos.task_cancellation c WHERE c.task_id OPERATOR(pg_catalog.=) $1)",
		.nargs = 2,
		.argtypes = {INT8OID, INT2OID},
	};
	int64		task = *(int64 *) argument;
	Datum		values[2] = {Int64GetDatum(task), Int16GetDatum(DBOS_SHARD(task))};
	DbosOwnerScope scope;
	bool		locked;

	/* Between two transactions of who runs it nobody has its row. */
	if (dbos_task_has_worker(task))
	{
		cancels_are_left = true;
		return;
	}
	dbos_owner_begin(&scope);
	locked = dbos_plan_execute(&lock, values, NULL, false, 1) == 1;
	cancels_are_left |= !locked && dbos_plan_execute(&there, values, NULL, true, 1) == 1;
	dbos_owner_end(&scope);
	if (locked)
		(void) dbos_cancel_locked(task);
}

typedef struct Cancels
{
	uint64		count;
	int64	   *tasks;
} Cancels;

static void
find_cancels(void *argument)
{
	static DbosPlan plan = {
		.sql = "SELECT task_id FROM dbos.task_cancellation ORDER BY task_id LIMIT 1000",
	};
	Cancels    *cancels = argument;
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	cancels->count = dbos_plan_execute(&plan, NULL, NULL, true, 0);
	cancels->tasks = dbos_ids_returned(cancels->count);
	dbos_owner_end(&scope);
}

void
dbos_end_cancelled(int64 task)
{
	dbos_do_duty("end cancelled tasks", end_cancelled, &task);
}

void
dbos_look_at_cancels(void)
{
	cancels_are_left = true;
}

TimestampTz
dbos_handle_cancels(void)
{
	static TimestampTz last = 0;
	Cancels		cancels = {0};
	TimestampTz now = GetCurrentTimestamp();

	if (!cancels_are_left)
		return 0;
	if (!TimestampDifferenceExceeds(last, now, CANCEL_REPEAT_MS))
		return TimestampTzPlusMilliseconds(last, CANCEL_REPEAT_MS);
	cancels_are_left = false;
	dbos_do_duty("find cancelled tasks", find_cancels, &cancels);
	if (cancels.count > 0)
		last = now;
	for (uint64 i = 0; i < cancels.count; i++)
	{
		dbos_end_cancelled(cancels.tasks[i]);
		/* Nobody has told who runs it. */
		if (dbos_task_shared == NULL)
			dbos_tables_cancel(cancels.tasks[i]);
	}
	return cancels_are_left ? TimestampTzPlusMilliseconds(now, CANCEL_REPEAT_MS) : 0;
}
