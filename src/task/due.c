/*
 * due.c
 *	  What the clock makes ready, or ends: duties of a scheduler.
 *
 * A delayed task enters the ready order when its time has come; one that waits past
 * its deadline fails; a schedule that is due is fired (schedule_fire.c).  The time is
 * that of kernel/clock, which tests drive.  Each statement takes a chunk of rows and
 * leaves out those that others have locked, so that nobody's open transaction holds
 * up the rest; what was left out is still due in the next round.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/timestamp.h"

#include "schedule.h"
#include "scheduler.h"
#include "task.h"

/* When the clock was looked at last: what was due then, and still is, was locked. */
static TimestampTz looked_at = 0;

/* Delayed tasks whose time has come enter the ready order. */
static void
release_due(void *argument)
{
	static DbosPlan plan = {
		.sql = "WITH due AS (SELECT shard, id FROM dbos.task"
		" WHERE held AND unmet OPERATOR(pg_catalog.=) 0 AND run_at OPERATOR(pg_catalog.<=) $1"
		" ORDER BY run_at, id LIMIT 1000 FOR UPDATE SKIP LOCKED)"
		" UPDATE dbos.task t SET held = false FROM due"
		" WHERE t.shard OPERATOR(pg_catalog.=) due.shard AND t.id OPERATOR(pg_catalog.=) due.id"
		" RETURNING t.queue_id, t.session_role::pg_catalog.oid, " DBOS_READY_COLUMNS,
		.nargs = 1,
		.argtypes = {TIMESTAMPTZOID},
	};
	bool	   *more = argument;
	Datum		now = TimestampTzGetDatum(dbos_now());
	DbosOwnerScope scope;
	uint64		count;

	dbos_owner_begin(&scope);
	count = dbos_plan_execute(&plan, &now, NULL, false, 0);
	dbos_push_returned(count);
	dbos_owner_end(&scope);
	*more = count == DBOS_CHUNK;
}

/* Waiting tasks whose deadline has passed fail; running ones are stopped by their own timer. */
static void
fail_overdue(void *argument)
{
	static DbosPlan plan = {
		.sql = "SELECT id FROM dbos.task WHERE deadline OPERATOR(pg_catalog.<=) $1"
		" ORDER BY deadline LIMIT 1000 FOR UPDATE SKIP LOCKED",
		.nargs = 1,
		.argtypes = {TIMESTAMPTZOID},
	};
	bool	   *more = argument;
	Datum		now = TimestampTzGetDatum(dbos_now());
	DbosOwnerScope scope;
	uint64		count;
	int64	   *ids;

	dbos_owner_begin(&scope);
	count = dbos_plan_execute(&plan, &now, NULL, false, 0);
	ids = dbos_ids_returned(count);
	dbos_owner_end(&scope);
	for (uint64 i = 0; i < count; i++)
		(void) dbos_task_settle(ids[i], DBOS_FAILED, NULL,
								dbos_error_make(ERRCODE_DBOS_DEADLINE,
												"task was not started before its deadline", NULL, NULL),
								NULL);
	*more = count == DBOS_CHUNK;
}

/* What the clock has made ready or ended; true when a full chunk was released, or a schedule fired. */
bool
dbos_handle_clock(void)
{
	bool		did = false;
	bool		more;

	looked_at = dbos_now();
	do
	{
		more = false;
		dbos_do_duty("release due tasks", release_due, &more);
		did |= more;
	} while (more);
	do
	{
		more = false;
		dbos_do_duty("fail overdue tasks", fail_overdue, &more);
	} while (more);
	do
	{
		more = false;
		dbos_do_duty("fire schedules", dbos_schedule_fire, &more);
		did |= more;
	} while (more);
	return did;
}

/* The wall clock's time of what is due then by the clock that tests drive, since we sleep by the former. */
static TimestampTz
wake_at(TimestampTz due, TimestampTz now)
{
	int64		patience = due > looked_at ? Max(due - now, 0) : DBOS_LOOK_AGAIN_MS * INT64CONST(1000);

	return GetCurrentTimestamp() + patience;
}

/* When the clock makes the next task ready or ends it. */
void
dbos_find_next_due(void *argument)
{
	static DbosPlan plan = {
		.sql = "SELECT LEAST((SELECT run_at FROM dbos.task WHERE held AND unmet OPERATOR(pg_catalog.=) 0"
		" ORDER BY run_at, id LIMIT 1),"
		" (SELECT deadline FROM dbos.task WHERE deadline OPERATOR(pg_catalog.>) $1 ORDER BY deadline LIMIT 1))",
		.nargs = 1,
		.argtypes = {TIMESTAMPTZOID},
	};
	TimestampTz *due = argument;
	TimestampTz now = dbos_now();
	TimestampTz scheduled;
	Datum		value = TimestampTzGetDatum(looked_at);
	DbosOwnerScope scope;
	bool		null;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, &value, NULL, false, 1);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
	*due = null ? 0 : wake_at(DatumGetTimestampTz(value), now);
	scheduled = dbos_schedules_due();
	if (scheduled != 0)
		scheduled = wake_at(scheduled, now);
	if (scheduled != 0 && (*due == 0 || scheduled < *due))
		*due = scheduled;
	dbos_owner_end(&scope);
}
