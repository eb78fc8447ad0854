/*
 * manage.c
 *	  What a user does with a task after its submit: look, retry, and
 *	  from inside it, tell progress.  (To cancel it: cancel.c.)
 *
 * Who has the rights of the task's role, or is dbos_admin, and is in a container
 * around the task's, may; for anybody else the task does not exist.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "dbos/container.h"

#include "tables_only.h"
#include "map.h"
#include "task.h"
#include "task_row.h"

PG_FUNCTION_INFO_V1(dbos_retry);
PG_FUNCTION_INFO_V1(dbos_progress);

static void
no_such_task(int64 task)
{
	ereport(ERROR,
			errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("task " INT64_FORMAT " does not exist", task),
			errhint("SELECT id, state, function FROM dbos.tasks; shows the tasks that you can see."));
}

/* Whether the caller may know and change a task of this role. */
static bool
may_manage(Oid caller, Oid role)
{
	return has_privs_of_role(caller, role) || dbos_is_admin(caller);
}

static Jsonb *
column_jsonb(MemoryContext context, int column)
{
	bool		null;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &null);
	Jsonb	   *copy = NULL;

	if (!null)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		copy = DatumGetJsonbPCopy(value);
		MemoryContextSwitchTo(old);
	}
	return copy;
}

static Datum
column(int number, bool *null)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number, null);
}

/*
 * What became of a task, by the latest snapshot.  Results are allocated in the
 * caller's memory context.  Raises 42704 for a task that the caller may not know.
 */
void
dbos_task_look(int64 task, DbosTaskView *view)
{
	static DbosPlan ended = {
		.sql = "SELECT role::pg_catalog.oid, state, result, error FROM dbos.task_history"
		" WHERE id OPERATOR(pg_catalog.=) $1 AND dbos.in_container(container_id)",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	Datum		value = Int64GetDatum(task);
	MemoryContext caller = CurrentMemoryContext;
	DbosTaskGlance glance;
	bool		known = false;

	memset(view, 0, sizeof(*view));
	/* What this transaction itself has just done counts too. */
	if (!IsInParallelMode())
		CommandCounterIncrement();
	/* One snapshot for all: a task is in exactly one of the two tables. */
	PushActiveSnapshot(GetLatestSnapshot());
	if (dbos_task_row_glance(task, GetActiveSnapshot(), &glance))
	{
		known = may_manage(GetUserId(), glance.role) &&
			dbos_container_contains(dbos_context_container(), glance.container);
		view->mine_uncommitted = !glance.ended && TransactionIdIsCurrentTransactionId(glance.xmin);
		view->ended = glance.ended;
		view->state = glance.state;
		view->result = glance.result;
		view->error = glance.error;
	}
	else
	{
		DbosOwnerScope scope;
		bool		null;

		dbos_owner_begin(&scope);
		if (dbos_plan_execute(&ended, &value, NULL, true, 1) == 1)
		{
			known = may_manage(scope.user, DatumGetObjectId(column(1, &null)));
			view->ended = true;
			view->state = MemoryContextStrdup(caller, TextDatumGetCString(column(2, &null)));
			view->result = column_jsonb(caller, 3);
			view->error = column_jsonb(caller, 4);
		}
		dbos_owner_end(&scope);
	}
	PopActiveSnapshot();
	if (!known)
		no_such_task(task);
}

/* ---- retry ---- */

/*
 * A task runs in a session of whoever was logged in, and its body may have been
 * replaced since by the role that it runs as: to have it run again takes the
 * rights of both, or those of dbos_admin.
 */
static void
require_session_role(Oid caller, int64 task, Oid session_role)
{
	if (may_manage(caller, session_role))
		return;
	ereport(ERROR,
			errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("permission denied to retry task " INT64_FORMAT, task),
			errdetail("It was submitted in a session of another role, and would run in one again."),
			errhint("Whoever submitted it, or a member of dbos_admin, can retry it."));
}

/* Puts a failed or cancelled task back among those that wait, as it was submitted. */
Datum
dbos_retry(PG_FUNCTION_ARGS)
{
	static DbosPlan lock = {
		.sql = "SELECT state, session_role::pg_catalog.oid FROM dbos.task_history WHERE id OPERATOR(pg_catalog.=) $1 FOR UPDATE",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	static DbosPlan keep = {
		.sql = "INSERT INTO dbos.task_attempt (task_id, attempt, outcome, started_at, finished_at, worker_pid, error,"
		" cpu_seconds, rows, buffers_hit, buffers_read, memory_bytes, file_bytes_read, file_bytes_written)"
		" SELECT id, attempt, state, started_at, finished_at, worker_pid, error, cpu_seconds, rows, buffers_hit,"
		" buffers_read, memory_bytes, file_bytes_read, file_bytes_written FROM dbos.task_history"
		" WHERE id OPERATOR(pg_catalog.=) $1 AND started_at IS NOT NULL",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	static DbosPlan forget = {
		.sql = "DELETE FROM dbos.task_cancellation WHERE task_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	static DbosPlan move = {
		.sql = "WITH gone AS (DELETE FROM dbos.task_history WHERE id OPERATOR(pg_catalog.=) $1 RETURNING *)"
		" INSERT INTO dbos.task AS t (shard, id, queue_id, session_role, role, container_id, priority, held, unmet, run_at,"
		" submitted_at, attempt, max_attempts, crashes, retry_delay, retry_backoff, timeout, deadline, kind, function,"
		" args, parent_id, idempotency_key, partition_key, attributes)"
		" SELECT (id OPERATOR(pg_catalog.&) 15)::pg_catalog.int2, id, queue_id, session_role, role, container_id, priority,"
		" false, 0, NULL, submitted_at, 0, max_attempts, 0, retry_delay, retry_backoff, timeout,"
		" CASE WHEN deadline OPERATOR(pg_catalog.>) $2 THEN deadline END,"
		/* Alone: the others of its gang are not tried again. */
		" CASE kind WHEN 'g' THEN 'f' ELSE kind END, function, args, parent_id,"
		" idempotency_key, partition_key, attributes FROM gone"
		" RETURNING t.queue_id, t.session_role::pg_catalog.oid, " DBOS_READY_COLUMNS ", t.kind",
		.nargs = 2,
		.argtypes = {INT8OID, TIMESTAMPTZOID},
	};
	int64		task = PG_GETARG_INT64(0);
	Datum		values[2] = {Int64GetDatum(task), TimestampTzGetDatum(dbos_now())};
	DbosTaskView view;
	DbosOwnerScope scope;
	DbosQueueFacts facts;
	DbosTicket	ticket;
	bool		is_map;
	const char *state = "waiting or running";
	bool		null;

	PreventCommandIfReadOnly("dbos.retry()");
	dbos_task_look(task, &view);
	dbos_owner_begin(&scope);
	/* A twin may have been quicker: the row is looked at again under its lock. */
	if (view.ended && dbos_plan_execute(&lock, values, NULL, false, 1) == 1)
	{
		state = TextDatumGetCString(column(1, &null));
		require_session_role(scope.user, task, DatumGetObjectId(column(2, &null)));
	}
	if (strcmp(state, DBOS_FAILED) != 0 && strcmp(state, DBOS_CANCELLED) != 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot retry task " INT64_FORMAT, task),
				errdetail("The task is %s.", state),
				errhint("Only a failed or cancelled task can be retried."));
	(void) dbos_plan_execute(&keep, values, NULL, false, 0);
	(void) dbos_plan_execute(&forget, values, NULL, false, 0);
	(void) dbos_plan_execute(&move, values, NULL, false, 0);
	is_map = DatumGetChar(column(3 + DBOS_READY_NCOLUMNS, &null)) == DBOS_KIND_MAP;
	if (!is_map)
	{
		facts = dbos_queue_by_id(DatumGetInt32(column(1, &null)));
		dbos_ready_read(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &facts.policy, &ticket);
		dbos_pending_push(&ticket, DatumGetObjectId(column(2, &null)), &facts);
	}
	dbos_owner_end(&scope);
	if (is_map)
		dbos_map_retry(task);
	PG_RETURN_BOOL(true);
}

/* ---- progress ---- */

bool
dbos_task_tell(float4 fraction, const char *note)
{
	DbosWorker *worker;

	if (dbos_context_task() == 0)
		return false;
	if (dbos_my_worker == DBOS_NOBODY)
		return true;
	worker = dbos_worker_slot(dbos_my_worker);
	if (dbos_task_shared != NULL)
		DBOS_TASK_LOCK();
	worker->progress = fraction;
	if (note != NULL)
	{
		int			length = pg_mbcliplen(note, strlen(note), DBOS_NOTE_LENGTH - 1);

		memcpy(worker->note, note, length);
		worker->note[length] = '\0';
	}
	if (dbos_task_shared != NULL)
		DBOS_TASK_UNLOCK();
	else
		dbos_tables_publish();
	return true;
}

/* Tells how far the current task is; seen at once by everybody who sees the task. */
Datum
dbos_progress(PG_FUNCTION_ARGS)
{
	float4		fraction;

	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("fraction must not be null"));
	fraction = PG_GETARG_FLOAT4(0);
	if (isnan(fraction) || fraction < 0 || fraction > 1)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("fraction must be between 0 and 1"));
	if (!dbos_task_tell(fraction, PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1))))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("dbos.progress() was called outside of a task"));
	PG_RETURN_VOID();
}
