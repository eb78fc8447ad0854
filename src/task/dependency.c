/*
 * dependency.c
 *	  What the end of a task means for those that wait for it: duties of a scheduler.
 *
 * A task is ready when all that it waits for have succeeded; it fails when one of them
 * failed, was cancelled, or is not known any more, unless a schedule only has it come
 * after the one before; a map is asked itself (map.c).  The state of all its
 * dependencies is read anew each time, and the row says how many are left; what is
 * noted in shared memory says only where to look, and when notes were lost every
 * dependent of a task that ended is looked at.
 *
 * Whoever ends a task tells the scheduler at his commit, and so does whoever submits a
 * task that waits: of two transactions that do not see each other the later one makes
 * it look, with a snapshot that has both.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "map.h"
#include "schedule.h"
#include "scheduler.h"
#include "task.h"

/* Dependent tasks that could not be looked at now are looked at with the others, a little later. */
void
dbos_check_all_again(void)
{
	dbos_look_again();
	if (dbos_task_shared == NULL)
		return;
	DBOS_TASK_LOCK();
	dbos_database_find(MyDatabaseId, true)->check_all = true;
	DBOS_TASK_UNLOCK();
}

/* Ends of the dependencies of one task, and what follows for it. */
static void
check_dependencies(void *argument)
{
	static DbosPlan lock = {
		.sql = "SELECT t.unmet, t.kind,"
		" EXISTS (SELECT FROM dbos.task_cancellation c WHERE c.task_id OPERATOR(pg_catalog.=) t.id)"
		" FROM dbos.task t WHERE t.shard OPERATOR(pg_catalog.=) $1"
		" AND t.id OPERATOR(pg_catalog.=) $2 AND t.unmet OPERATOR(pg_catalog.>) 0 FOR UPDATE SKIP LOCKED",
		.nargs = 2,
		.argtypes = {INT2OID, INT8OID},
	};
	static DbosPlan there = {
		.sql = "SELECT 1 FROM dbos.task t WHERE t.shard OPERATOR(pg_catalog.=) $1"
		" AND t.id OPERATOR(pg_catalog.=) $2 AND t.unmet OPERATOR(pg_catalog.>) 0",
		.nargs = 2,
		.argtypes = {INT2OID, INT8OID},
	};
	static DbosPlan state = {
		.sql = "SELECT d.depends_on, h.state, w.id IS NOT NULL FROM dbos.task_dependency d"
		" LEFT JOIN dbos.task_history h ON h.id OPERATOR(pg_catalog.=) d.depends_on"
		" LEFT JOIN dbos.task w ON w.id OPERATOR(pg_catalog.=) d.depends_on"
		" AND w.shard OPERATOR(pg_catalog.=) (d.depends_on OPERATOR(pg_catalog.&) 15)::pg_catalog.int2"
		" WHERE d.task_id OPERATOR(pg_catalog.=) $1 ORDER BY d.depends_on",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	static DbosPlan forget = {
		.sql = "DELETE FROM dbos.task_dependency WHERE task_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	static DbosPlan count_unmet = {
		.sql = "UPDATE dbos.task t SET unmet = $3,"
		" held = ($3 OPERATOR(pg_catalog.>) 0 OR COALESCE(run_at OPERATOR(pg_catalog.>) $4, false))"
		" WHERE shard OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2"
		" RETURNING t.queue_id, t.session_role::pg_catalog.oid, " DBOS_READY_COLUMNS ", t.held",
		.nargs = 4,
		.argtypes = {INT2OID, INT8OID, INT4OID, TIMESTAMPTZOID},
	};
	int64		task = *(int64 *) argument;
	Datum		values[4] = {Int16GetDatum(DBOS_SHARD(task)), Int64GetDatum(task), 0,
	TimestampTzGetDatum(dbos_now())};
	DbosOwnerScope scope;
	int			unmet = 0;
	int64		failed = 0;
	char	   *failed_state = NULL;
	bool		null;
	int32		before;

	dbos_owner_begin(&scope);
	if (dbos_plan_execute(&lock, values, NULL, false, 1) == 0)
	{
		/* Whoever cancels it and does not commit must not stop everybody's scheduler. */
		if (dbos_plan_execute(&there, values, NULL, true, 1) > 0)
			dbos_check_all_again();
		dbos_owner_end(&scope);
		return;
	}
	/* What it waits for may have been cancelled with it: that is no failure of its. */
	if (DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &null)))
	{
		dbos_owner_end(&scope);
		(void) dbos_cancel_locked(task);
		return;
	}
	before = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	if (DatumGetChar(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null)) == DBOS_KIND_MAP)
	{
		dbos_owner_end(&scope);
		dbos_map_check(task);
		return;
	}
	(void) dbos_plan_execute(&state, &values[1], NULL, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *ended = SPI_getvalue(row, desc, 2);

		if (ended == NULL && DatumGetBool(SPI_getbinval(row, desc, 3, &null)))
			unmet++;
		else if (ended == NULL || strcmp(ended, DBOS_SUCCEEDED) != 0)
		{
			failed = DatumGetInt64(SPI_getbinval(row, desc, 1, &null));
			failed_state = ended ? MemoryContextStrdup(dbos_round_context, ended) : NULL;
		}
	}
	if (failed != 0 && !dbos_schedule_queued(task))
	{
		dbos_owner_end(&scope);
		(void) dbos_task_settle(task, DBOS_FAILED, NULL,
								dbos_error_make(ERRCODE_DBOS_DEPENDENCY_FAILED,
												psprintf("task " INT64_FORMAT ", which this task waited for, %s", failed,
														 failed_state == NULL ? "is not known any more" :
														 strcmp(failed_state, DBOS_CANCELLED) == 0 ? "was cancelled" : "failed"),
												NULL,
												"Retry that task first, then this one."),
								NULL);
		return;
	}
	if (unmet == 0)
		(void) dbos_plan_execute(&forget, &values[1], NULL, false, 0);
	if (unmet != before)
	{
		HeapTuple	row;
		TupleDesc	desc;

		values[2] = Int32GetDatum(unmet);
		(void) dbos_plan_execute(&count_unmet, values, NULL, false, 0);
		row = SPI_tuptable->vals[0];
		desc = SPI_tuptable->tupdesc;
		if (!DatumGetBool(SPI_getbinval(row, desc, 3 + DBOS_READY_NCOLUMNS, &null)))
			dbos_push_returned(1);
		else if (unmet == 0)
			dbos_pending_due(DatumGetTimestampTz(SPI_getbinval(row, desc, 3 + DBOS_READY_RUN_AT, &null)));
	}
	dbos_owner_end(&scope);
}

typedef struct TaskList
{
	int64		after;			/* a task that ended, or 0: every one that ended */
	uint64		count;
	int64	   *tasks;
} TaskList;

static void
find_dependents(void *argument)
{
	static DbosPlan of_one = {
		.sql = "SELECT DISTINCT task_id FROM dbos.task_dependency"
		" WHERE depends_on OPERATOR(pg_catalog.=) $1 ORDER BY task_id",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	static DbosPlan of_all = {
		.sql = "SELECT DISTINCT d.task_id FROM dbos.task_dependency d WHERE NOT EXISTS (SELECT FROM dbos.task w"
		" WHERE w.shard OPERATOR(pg_catalog.=) (d.depends_on OPERATOR(pg_catalog.&) 15)::pg_catalog.int2"
		" AND w.id OPERATOR(pg_catalog.=) d.depends_on) ORDER BY d.task_id",
	};
	TaskList   *list = argument;
	Datum		value = Int64GetDatum(list->after);
	DbosOwnerScope scope;

	dbos_stop_point("dependents looked for");
	dbos_owner_begin(&scope);
	list->count = dbos_plan_execute(list->after == 0 ? &of_all : &of_one, &value, NULL, false, 0);
	list->tasks = dbos_ids_returned(list->count);
	dbos_owner_end(&scope);
}

/* What becomes of the tasks that wait for one that ended; for 0, for any that ended. */
void
dbos_check_dependents_of(int64 ended)
{
	TaskList	list = {.after = ended};

	dbos_do_duty("find dependent tasks", find_dependents, &list);
	for (uint64 i = 0; i < list.count; i++)
		dbos_do_duty("check dependencies", check_dependencies, &list.tasks[i]);
}

/* Takes the events of this database out of the ring and acts on each. */
bool
dbos_handle_events(void)
{
	DbosTaskShared *shared = dbos_task_shared;
	DbosEvent  *events = MemoryContextAlloc(dbos_round_context, sizeof(shared->events));
	int			count = 0;
	int			kept = 0;
	DbosDatabase *database;
	bool		all;

	DBOS_TASK_LOCK();
	for (int i = 0; i < shared->nevents; i++)
	{
		if (shared->events[i].database == MyDatabaseId)
			events[count++] = shared->events[i];
		else
			shared->events[kept++] = shared->events[i];
	}
	shared->nevents = kept;
	database = dbos_database_find(MyDatabaseId, true);
	all = database->check_all;
	database->check_all = false;
	DBOS_TASK_UNLOCK();
	if (all)
	{
		dbos_look_at_cancels();
		dbos_check_dependents_of(0);
	}
	else
		for (int i = 0; i < count; i++)
		{
			if (events[i].kind == 'c')
				dbos_do_duty("check dependencies", check_dependencies, &events[i].task);
			else if (events[i].kind == 'x')
				dbos_end_cancelled(events[i].task);
			else
				dbos_check_dependents_of(events[i].task);
		}
	return all || count > 0;
}
