/*
 * introspect.c
 *	  What shared memory knows, as rows: running tasks, workers, queues; the
 *	  policy as a query; starting and stopping the workers of a database.
 *
 * The views of sql/task_state.sql and task_views.sql join these rows with the tables.  A function in
 * a view is called with the rights of whoever reads the view, who can call it
 * alone too: what is not for everybody is decided here.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "dbos/container.h"

#include "scheduler.h"
#include "task.h"

PG_FUNCTION_INFO_V1(dbos_running_tasks);
PG_FUNCTION_INFO_V1(dbos_list_workers);
PG_FUNCTION_INFO_V1(dbos_queue_running);
PG_FUNCTION_INFO_V1(dbos_can_run);
PG_FUNCTION_INFO_V1(dbos_start);
PG_FUNCTION_INFO_V1(dbos_stop);

typedef enum Sight
{
	SEES_NOTHING,
	SEES_THAT_IT_RUNS,
	SEES_CONTENT
} Sight;

/* What the caller may know of the tasks that the workers run; those that have ended are not seen. */
static Sight *
sight_of_running(const DbosWorker *workers, int count)
{
	static DbosPlan plan = {
		.sql = "SELECT r.place::pg_catalog.int4, t.role::pg_catalog.oid, t.container_id"
		" FROM ROWS FROM (pg_catalog.unnest($1)) WITH ORDINALITY r(id, place)"
		" JOIN dbos.task t ON t.shard OPERATOR(pg_catalog.=) ((r.id OPERATOR(pg_catalog.&) 15)::pg_catalog.int2)"
		" AND t.id OPERATOR(pg_catalog.=) r.id",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID},
	};
	Sight	   *sight = palloc0(Max(count, 1) * sizeof(Sight));
	Datum	   *ids = palloc(Max(count, 1) * sizeof(Datum));
	Oid			user = GetUserId();
	bool		admin = dbos_is_admin(user);
	bool		monitor = dbos_is_monitor(user);
	Datum		value;
	uint64		found;
	DbosOwnerScope scope;

	for (int i = 0; i < count; i++)
		ids[i] = Int64GetDatum(workers[i].database == MyDatabaseId ? workers[i].task : 0);
	value = PointerGetDatum(construct_array(ids, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	dbos_owner_begin(&scope);
	found = dbos_plan_execute(&plan, &value, NULL, true, 0);
	for (uint64 i = 0; i < found; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		null;
		int			place = DatumGetInt32(SPI_getbinval(row, desc, 1, &null)) - 1;
		Oid			role = DatumGetObjectId(SPI_getbinval(row, desc, 2, &null));

		if (!dbos_container_contains(dbos_context_container(),
									 DatumGetInt32(SPI_getbinval(row, desc, 3, &null))))
			continue;
		if (admin || has_privs_of_role(user, role))
			sight[place] = SEES_CONTENT;
		else if (monitor)
			sight[place] = SEES_THAT_IT_RUNS;
	}
	dbos_owner_end(&scope);
	return sight;
}

/*
 * (id, pid, started_at, progress, note) of the tasks that run in this database.
 * Whoever reads dbos.tasks may call it, so it decides itself who sees what.
 */
Datum
dbos_running_tasks(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int			count;
	DbosWorker *workers;
	Sight	   *sight;

	InitMaterializedSRF(fcinfo, 0);
	workers = dbos_workers_copy(&count);
	sight = sight_of_running(workers, count);
	for (int i = 0; i < count; i++)
	{
		DbosWorker *worker = &workers[i];
		Datum		values[5];
		bool		nulls[5] = {false};

		if (worker->task == 0 || worker->database != MyDatabaseId || worker->is_scheduler ||
			sight[i] == SEES_NOTHING)
			continue;
		values[0] = Int64GetDatum(worker->task);
		values[1] = Int32GetDatum(worker->pid);
		values[2] = TimestampTzGetDatum(worker->started_at);
		values[3] = Float4GetDatum(worker->progress);
		nulls[3] = worker->progress < 0;
		values[4] = CStringGetTextDatum(worker->note);
		nulls[4] = worker->note[0] == '\0' || sight[i] != SEES_CONTENT;
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static const char *
worker_state_name(const DbosWorker *worker)
{
	switch (worker->state)
	{
		case DBOS_WORKER_FREE:
			return "free";
		case DBOS_WORKER_STARTING:
			return "starting";
		case DBOS_WORKER_IDLE:
			return "idle";
		case DBOS_WORKER_RUNNING:
			return worker->copy_of != 0 ? "copying" : "running";
		case DBOS_WORKER_WAITING:
			return "waiting";
	}
	return "unknown";
}

/* (pid, kind, database, role, state, since, task, tasks_done) of every worker of the server. */
Datum
dbos_list_workers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int			count;
	DbosWorker *workers;

	InitMaterializedSRF(fcinfo, 0);
	workers = dbos_workers_copy(&count);
	for (int i = 0; i < count; i++)
	{
		DbosWorker *worker = &workers[i];
		Datum		values[8];
		bool		nulls[8] = {false};

		if (worker->state == DBOS_WORKER_FREE)
			continue;
		values[0] = Int32GetDatum(worker->pid);
		nulls[0] = worker->pid == 0;
		values[1] = CStringGetTextDatum(worker->is_scheduler ? "scheduler" : "executor");
		values[2] = ObjectIdGetDatum(worker->database);
		values[3] = ObjectIdGetDatum(worker->session_role);
		nulls[3] = worker->session_role == InvalidOid;
		values[4] = CStringGetTextDatum(worker_state_name(worker));
		values[5] = TimestampTzGetDatum(worker->since);
		values[6] = Int64GetDatum(worker->copy_of != 0 ? worker->copy_of : worker->task);
		/* Ids of tasks mean something in their own database alone. */
		nulls[6] = (worker->task == 0 && worker->copy_of == 0) || worker->database != MyDatabaseId;
		values[7] = Int64GetDatum(worker->tasks_done);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* Tasks of a queue that run now. */
Datum
dbos_queue_running(PG_FUNCTION_ARGS)
{
	int			running = 0;

	if (DBOS_TABLES_ONLY())
	{
		int			count;
		DbosWorker *workers = dbos_workers_copy(&count);

		for (int i = 0; i < count; i++)
			if (workers[i].database == MyDatabaseId && workers[i].task != 0 &&
				workers[i].state == DBOS_WORKER_RUNNING && workers[i].queue_id == PG_GETARG_INT32(0))
				running++;
	}
	else
	{
		DBOS_TASK_LOCK();
		running = dbos_run_queue_running(MyDatabaseId, PG_GETARG_INT32(0));
		DBOS_TASK_UNLOCK();
	}
	PG_RETURN_INT32(running);
}

Datum
dbos_can_run(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(dbos_workers_can_run());
}

static void
require_admin(const char *function)
{
	if (!dbos_is_admin(GetUserId()))
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied for function %s", function),
				errhint("Members of dbos_admin may call it."));
}

/*
 * Makes this database the one that its tasks belong to, and has them run from
 * the commit on.  Starts the launcher where the library was not preloaded.
 */
Datum
dbos_start(PG_FUNCTION_ARGS)
{
	require_admin("start");
	dbos_require_same_version();
	dbos_identity_take();
	dbos_pending_want_scheduler();
	if (!dbos_launcher_runs() && !dbos_launcher_start(true))
		ereport(ERROR,
				errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				errmsg("could not start the launcher"),
				errdetail("All of max_worker_processes are in use."),
				errhint("Raise max_worker_processes and restart the server."));
	PG_RETURN_VOID();
}

/* Has the workers of this database end the tasks that they run, and leave, until dbos.start(). */
Datum
dbos_stop(PG_FUNCTION_ARGS)
{
	require_admin("stop");
	if (dbos_my_worker != DBOS_NOBODY)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("a task cannot stop the workers"));
	dbos_workers_stop();
	PG_RETURN_VOID();
}
