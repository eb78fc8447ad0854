/*
 * wait.c
 *	  Waiting for a task's end without polling: result, wait, await.
 *
 * A waiter enters its backend in the waiter table, then looks, then sleeps on
 * its latch; the commit that ends the task sets it.  What is looked at is the
 * latest state whatever the isolation level: a waiter that could not see what it
 * waited for would wait for ever.
 *
 * Inside a task the waiter gives up its place in the pool and in its queue, so
 * that what it waits for can run.  Where that cannot help (no place is left for
 * anybody who could go on, or the awaited task waits for a lock of ours) the
 * wait fails as a deadlock does.  Without shared memory the table is looked at
 * ten times a second.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "tables_only.h"
#include "task.h"

PG_FUNCTION_INFO_V1(dbos_result);
PG_FUNCTION_INFO_V1(dbos_wait);
PG_FUNCTION_INFO_V1(dbos_await);

/* Deadlocks are looked for this often, as the server's deadlock_timeout does by default. */
#define DEADLOCK_CHECK_MS 1000
#define POLL_WITHOUT_SHARED_MEMORY_MS 20

/* ---- how a task ended ---- */

/* Raises the error that a task ended with, as it was raised in the task. */
static void
raise_task_error(int64 task, Jsonb *error)
{
	char	   *sqlstate = error ? dbos_json_text_member(error, "sqlstate") : NULL;
	char	   *message = error ? dbos_json_text_member(error, "message") : NULL;
	char	   *detail = error ? dbos_json_text_member(error, "detail") : NULL;
	char	   *hint = error ? dbos_json_text_member(error, "hint") : NULL;
	char	   *context = error ? dbos_json_text_member(error, "context") : NULL;
	int			code = ERRCODE_INTERNAL_ERROR;

	if (sqlstate != NULL && strlen(sqlstate) == 5)
		code = MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]);
	ereport(ERROR,
			errcode(code),
			errmsg_internal("%s", message ? message : "task failed"),
			detail ? errdetail_internal("%s", detail) : 0,
			hint ? errhint("%s", hint) : 0,
			context ? errcontext("%s", context) : 0,
			errcontext("task " INT64_FORMAT, task));
}

/* The value of an ended task, or its error, raised. */
static Datum
outcome(int64 task, const DbosTaskView *view, bool *null)
{
	if (strcmp(view->state, DBOS_SUCCEEDED) != 0)
		raise_task_error(task, view->error);
	*null = view->result == NULL;
	return *null ? (Datum) 0 : JsonbPGetDatum(view->result);
}

Datum
dbos_result(PG_FUNCTION_ARGS)
{
	int64		task = PG_GETARG_INT64(0);
	DbosTaskView view;
	Datum		value;
	bool		null;

	dbos_task_look(task, &view);
	if (!view.ended)
		ereport(ERROR,
				errcode(ERRCODE_DBOS_TASK_NOT_FINISHED),
				errmsg("task " INT64_FORMAT " has not finished", task),
				errhint("Use dbos.wait() to wait for its end."));
	value = outcome(task, &view, &null);
	if (null)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(value);
}

/* ---- the waiter table ---- */

static void
waiter_enter(int64 task)
{
	DbosWaiter *waiter;

	if (dbos_task_shared == NULL)
		return;
	waiter = dbos_waiter_slot(dbos_my_proc_number());
	DBOS_TASK_LOCK();
	if (waiter->task == 0)
		dbos_task_shared->waiting++;
	waiter->database = MyDatabaseId;
	waiter->task = task;
	DBOS_TASK_UNLOCK();
}

/* A task that waits lets others have its place. */
static void
give_up_place(void)
{
	DbosWorker *worker;

	if (dbos_my_worker == DBOS_NOBODY || dbos_worker_task() == 0)
		return;
	if (dbos_task_shared == NULL)
	{
		dbos_tables_suspend();
		return;
	}
	worker = dbos_worker_slot(dbos_my_worker);
	DBOS_TASK_LOCK();
	worker->state = DBOS_WORKER_WAITING;
	worker->queue_id = dbos_run_queue_suspend(worker);
	worker->queue_slot = DBOS_NOBODY;
	dbos_wake_launcher();
	DBOS_TASK_UNLOCK();
}

static void
take_place_back(void)
{
	DbosWorker *worker;

	if (dbos_my_worker == DBOS_NOBODY || dbos_worker_slot(dbos_my_worker)->state != DBOS_WORKER_WAITING)
		return;
	if (dbos_task_shared == NULL)
	{
		/* A process that exits needs no place any more. */
		if (!proc_exit_inprogress)
			dbos_tables_resume();
		return;
	}
	worker = dbos_worker_slot(dbos_my_worker);
	DBOS_TASK_LOCK();
	worker->state = DBOS_WORKER_RUNNING;
	worker->queue_slot = dbos_run_queue_resume(MyDatabaseId, worker->queue_id);
	DBOS_TASK_UNLOCK();
}

/* Once in each process, from _PG_init: for the waits of other rooms. */
void
dbos_wait_install(void)
{
	dbos_idle_set_hooks(give_up_place, take_place_back);
}

/* Also called when the process ends. */
static void
waiter_leave(int code, Datum arg)
{
	DbosWaiter *waiter;

	if (dbos_task_shared != NULL)
	{
		waiter = dbos_waiter_slot(dbos_my_proc_number());
		DBOS_TASK_LOCK();
		if (waiter->task != 0)
			dbos_task_shared->waiting--;
		waiter->task = 0;
		DBOS_TASK_UNLOCK();
	}
	take_place_back();
}

/* ---- deadlocks ---- */

/* Whether some worker can still go on, or one more can be started. */
static bool
place_is_left(const DbosWorker *workers, int count)
{
	int			taken = 0;

	for (int i = 0; i < count; i++)
	{
		if (workers[i].state == DBOS_WORKER_FREE)
			continue;
		taken++;
		if (!workers[i].is_scheduler && workers[i].state != DBOS_WORKER_WAITING)
			return true;
	}
	return taken < dbos_worker_process_limit();
}

/* Process that runs the task now, or 0. */
static int
process_of(int64 task, const DbosWorker *workers, int count)
{
	for (int i = 0; i < count; i++)
		if (workers[i].task == task && workers[i].database == MyDatabaseId)
			return workers[i].pid;
	return 0;
}

static bool
waits_for_us(int pid)
{
	Datum		blockers = DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(pid));
	ArrayType  *array = DatumGetArrayTypeP(blockers);
	int			count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	int32	   *pids = (int32 *) ARR_DATA_PTR(array);

	for (int i = 0; i < count; i++)
		if (pids[i] == MyProcPid)
			return true;
	return false;
}

static void
refuse_deadlock(int64 task)
{
	int			count;
	DbosWorker *workers = dbos_workers_copy(&count);
	int			pid = process_of(task, workers, count);
	bool		left = place_is_left(workers, count);

	pfree(workers);
	if (pid == MyProcPid)
		ereport(ERROR,
				errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
				errmsg("task " INT64_FORMAT " cannot wait for itself", task));
	if (pid != 0 && waits_for_us(pid))
		ereport(ERROR,
				errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
				errmsg("deadlock detected"),
				errdetail("Task " INT64_FORMAT " waits for a lock of the transaction that waits for it.", task),
				errhint("Commit before waiting, or lock less."));
	if (dbos_my_worker != DBOS_NOBODY && dbos_worker_task() != 0 && !left)
		ereport(ERROR,
				errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
				errmsg("no worker is left to run task " INT64_FORMAT, task),
				errdetail("Every place in the pool is taken by a task that waits for another one."),
				errhint("Submit with \"after\" instead of waiting, or raise max_worker_processes."));
}

/* ---- waiting ---- */

/* Looks with the latest snapshot; nothing of it stays. */
static bool
look(int64 task, DbosTaskView *view)
{
	dbos_task_look(task, view);
	return view->ended;
}

static void
sleep_until_told(int64 task, TimestampTz end, DbosTaskView *view)
{
	TimestampTz next_check = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), DEADLOCK_CHECK_MS);

	for (;;)
	{
		TimestampTz now;
		long		patience = dbos_task_shared == NULL ? POLL_WITHOUT_SHARED_MEMORY_MS : DEADLOCK_CHECK_MS;

		ResetLatch(MyLatch);
		if (look(task, view))
			return;
		now = GetCurrentTimestamp();
		if (end != 0 && now >= end)
			ereport(ERROR,
					errcode(ERRCODE_DBOS_WAIT_TIMEOUT),
					errmsg("task " INT64_FORMAT " did not finish within the time-out of the wait", task),
					errhint("The task goes on; wait again, or give a longer timeout."));
		if (now >= next_check)
		{
			refuse_deadlock(task);
			next_check = TimestampTzPlusMilliseconds(now, DEADLOCK_CHECK_MS);
		}
		if (end != 0)
			patience = Min(patience, TimestampDifferenceMilliseconds(now, end) + 1);
		/* Nothing of ours shall hold back vacuum; a SELECT's own snapshot still does. */
		InvalidateCatalogSnapshotConditionally();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 patience, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
wait_for_end(int64 task, TimestampTz end, DbosTaskView *view)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot wait for a task on a standby"),
				errhint("Wait on the primary; dbos.result() works here too."));
	if (look(task, view))
		return;
	if (view->mine_uncommitted)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot wait for task " INT64_FORMAT " in the transaction that submitted it", task),
				errdetail("The task starts when the transaction commits."),
				errhint("Commit first, or use CALL dbos.run(...)."));
	(void) dbos_shared_attach();
	if (dbos_worker_task() == task)
		refuse_deadlock(task);
	PG_ENSURE_ERROR_CLEANUP(waiter_leave, (Datum) 0);
	{
		waiter_enter(task);
		give_up_place();
		sleep_until_told(task, end, view);
	}
	PG_END_ENSURE_ERROR_CLEANUP(waiter_leave, (Datum) 0);
	waiter_leave(0, (Datum) 0);
}

/* Milliseconds of an interval that must not be negative. */
static int64
milliseconds(Interval *interval)
{
	int64		us = interval->time +
		((int64) interval->day + (int64) interval->month * DAYS_PER_MONTH) * USECS_PER_DAY;

	if (us < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("timeout must not be negative"));
	return us / 1000;
}

Datum
dbos_wait(PG_FUNCTION_ARGS)
{
	int64		task;
	int64		timeout = PG_ARGISNULL(1) ? dbos_task_wait_timeout : milliseconds(PG_GETARG_INTERVAL_P(1));
	DbosTaskView view;
	Datum		value;
	bool		null;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	task = PG_GETARG_INT64(0);
	wait_for_end(task, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout), &view);
	value = outcome(task, &view, &null);
	if (null)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(value);
}

Datum
dbos_await(PG_FUNCTION_ARGS)
{
	bool		atomic = !(fcinfo->context && IsA(fcinfo->context, CallContext) &&
						   !castNode(CallContext, fcinfo->context)->atomic);
	TimestampTz end = 0;
	MemoryContext caller = CurrentMemoryContext;
	TupleDesc	desc;
	DbosTaskView view;
	Datum		value;
	bool		null;

	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("task must not be null"));
	if (atomic)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				errmsg("dbos.await() cannot be called in a transaction block"),
				errhint("Use SELECT dbos.wait(...) there."));
	if (!PG_ARGISNULL(1))
		end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds(PG_GETARG_INTERVAL_P(1)));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);

	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	/* Ends the transaction, and with it the snapshot that would hold back vacuum. */
	SPI_commit();
	MemoryContextSwitchTo(caller);
	wait_for_end(PG_GETARG_INT64(0), end, &view);
	value = outcome(PG_GETARG_INT64(0), &view, &null);
	SPI_finish();
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, &value, &null)));
}
