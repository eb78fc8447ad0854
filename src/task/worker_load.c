/*
 * worker_load.c
 *	  How busy each worker was during the last minute.
 *
 * A worker adds up, in its slot, the time for which it has had tasks in hand.  A mark
 * is made of the sums every MARK_US, and the one before it is kept: what has come
 * since then is the load of the last MARK_US to twice that.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "task.h"
#include "worker_load.h"

PG_FUNCTION_INFO_V1(dbos_list_worker_load);

#define MARK_US (30 * USECS_PER_SEC)

/* The owner's tasks of this hand have ended; the lock is held, and `since` is their beginning. */
void
dbos_worker_load_add(DbosWorker *worker, int tasks, TimestampTz now)
{
	DbosLoad	sum = worker->load;

	sum.at = now;
	sum.busy_us += Max(now - worker->since, 0);
	sum.tasks += tasks;
	worker->load = sum;
	/* Of its first hand on, it was not there before. */
	if (worker->load_before.at == 0)
	{
		worker->load_before.at = worker->since;
		worker->load_mark = worker->load_before;
	}
	if (now - worker->load_mark.at < MARK_US)
		return;
	worker->load_before = worker->load_mark;
	worker->load_mark = sum;
}

/* (pid, database, role, task, since, busy, tasks_per_second) of the executors of the server. */
Datum
dbos_list_worker_load(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz now = GetCurrentTimestamp();
	int			count;
	DbosWorker *workers;

	InitMaterializedSRF(fcinfo, 0);
	workers = dbos_workers_copy(&count);
	for (int i = 0; i < count; i++)
	{
		const DbosWorker *worker = &workers[i];
		TimestampTz begun = worker->load_before.at != 0 ? worker->load_before.at : worker->since;
		int64		busy_us = worker->load.busy_us - worker->load_before.busy_us;
		double		seconds = Max(now - begun, 1) / (double) USECS_PER_SEC;
		int64		task = worker->copy_of != 0 ? worker->copy_of : worker->task;
		Datum		values[7];
		bool		nulls[7] = {false};

		if (worker->state == DBOS_WORKER_FREE || worker->is_scheduler || worker->pid == 0)
			continue;
		if (worker->state == DBOS_WORKER_RUNNING || worker->state == DBOS_WORKER_WAITING)
			busy_us += Max(now - worker->since, 0);
		values[0] = Int32GetDatum(worker->pid);
		values[1] = ObjectIdGetDatum(worker->database);
		values[2] = ObjectIdGetDatum(worker->session_role);
		values[3] = Int64GetDatum(task);
		/* Ids of tasks mean something in their own database alone. */
		nulls[3] = task == 0 || worker->database != MyDatabaseId;
		values[4] = TimestampTzGetDatum(begun);
		values[5] = Float8GetDatum(Min(busy_us / (seconds * USECS_PER_SEC), 1.0));
		values[6] = Float8GetDatum((worker->load.tasks - worker->load_before.tasks) / seconds);
		/* Without shared memory nobody knows of another process's sums. */
		nulls[5] = nulls[6] = dbos_task_shared == NULL;
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
