/*
 * schedule_fire.c
 *	  Schedules that are due: the scheduler submits their tasks.
 *
 * One transaction locks the schedule's row, submits, writes what became of that time,
 * and moves the schedule on to the next one.  So each time has one outcome, whatever
 * is killed, and however many schedulers there were; after a failover the new
 * primary goes on where the last commit that reached it has left off.
 *
 * Times that have passed while nobody fired them, by more than GRACE, were missed.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "schedule.h"
#include "scheduler.h"

/* As late as this is on time: a server starts, a lock is waited for. */
#define GRACE_US		(60 * USECS_PER_SEC)
/* Missed times that are made up for; of more, the oldest are not. */
#define MAX_CAUGHT_UP	1000
/* One that cannot be read is tried again after this. */
#define UNREADABLE_AGAIN_US	(60 * 60 * USECS_PER_SEC)

static const char *const SUBMITTED = "submitted";
static const char *const QUEUED = "queued";
static const char *const SKIPPED = "skipped";
static const char *const MISSED = "missed";
static const char *const FAILED = "failed";

static void
write_run(const DbosSchedule *schedule, TimestampTz planned_at, const char *outcome, int64 task, Jsonb *error)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.schedule_run (schedule_id, planned_at, fired_at, outcome, task_id, error)"
		" VALUES ($1, $2, $3, $4, $5, $6)",
		.nargs = 6,
		.argtypes = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, INT8OID, JSONBOID},
	};
	Datum		values[6] = {Int64GetDatum(schedule->id), TimestampTzGetDatum(planned_at),
		TimestampTzGetDatum(dbos_now()), CStringGetTextDatum(outcome), Int64GetDatum(task),
	error == NULL ? (Datum) 0 : JsonbPGetDatum(error)};
	char		nulls[7] = "      ";

	if (task == 0)
		nulls[4] = 'n';
	if (error == NULL)
		nulls[5] = 'n';
	(void) dbos_plan_execute(&plan, values, nulls, false, 0);
}

/* Moves the schedule on; task: that it has submitted last, or 0. */
static void
move_on(const DbosSchedule *schedule, TimestampTz next_at, int64 task)
{
	static DbosPlan plan = {
		.sql = "UPDATE dbos.schedule SET next_at = $2, last_task = COALESCE($3, last_task)"
		" WHERE id OPERATOR(pg_catalog.=) $1",
		.nargs = 3,
		.argtypes = {INT8OID, TIMESTAMPTZOID, INT8OID},
	};
	Datum		values[3] = {Int64GetDatum(schedule->id), TimestampTzGetDatum(next_at), Int64GetDatum(task)};
	char		nulls[4] = "   ";

	if (next_at == 0)
		nulls[1] = 'n';
	if (task == 0)
		nulls[2] = 'n';
	(void) dbos_plan_execute(&plan, values, nulls, false, 0);
}

static bool
has_not_ended(int64 task)
{
	static DbosPlan plan = {
		.sql = "SELECT FROM dbos.task WHERE shard OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT2OID, INT8OID},
	};
	Datum		values[2] = {Int16GetDatum(DBOS_SHARD(task)), Int64GetDatum(task)};

	return task != 0 && dbos_plan_execute(&plan, values, NULL, true, 1) > 0;
}

/* ---- one time ---- */

/* Submits, unless that overlaps; an error is the outcome, and no other schedule's. */
static int64
fire(DbosSchedule *schedule, TimestampTz planned_at)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	bool		overlaps = has_not_ended(schedule->last_task);
	volatile int64 task = 0;

	if (overlaps && strcmp(schedule->overlap, "skip") == 0)
	{
		write_run(schedule, planned_at, SKIPPED, 0, NULL);
		return 0;
	}
	overlaps = overlaps && strcmp(schedule->overlap, "queue") == 0;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		task = dbos_schedule_submit(schedule, overlaps ? schedule->last_task : 0);
		write_run(schedule, planned_at, overlaps ? QUEUED : SUBMITTED, task, NULL);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		task = 0;
		write_run(schedule, planned_at, FAILED, 0, dbos_error_json(error));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return task;
}

/* The first of its times from next_at on that is not before a moment; 0: there is none.  Those between are not looked at. */
static TimestampTz
first_from(const DbosSchedule *schedule, TimestampTz from)
{
	int64		step = schedule->cron.every * USECS_PER_SEC;

	if (schedule->next_at >= from)
		return schedule->next_at;
	if (step > 0)
		return schedule->next_at + (from - schedule->next_at + step - 1) / step * step;
	return dbos_schedule_next(schedule, from - 1);
}

/*
 * Of the times that are due, that from which on they are made up for: of the last ones, looked for
 * further and further back until there are enough of them, or no more.
 */
static TimestampTz
caught_up_from(const DbosSchedule *schedule, TimestampTz now)
{
	TimestampTz *last = palloc(sizeof(TimestampTz) * MAX_CAUGHT_UP);
	int64		window = MAX_CAUGHT_UP * USECS_PER_SEC;
	int64		count;

	for (;;)
	{
		TimestampTz from = Max(schedule->next_at, now - window);

		count = 0;
		for (TimestampTz at = first_from(schedule, from); at != 0 && at <= now; at = dbos_schedule_next(schedule, at))
		{
			CHECK_FOR_INTERRUPTS();
			last[count++ % MAX_CAUGHT_UP] = at;
		}
		if (count > MAX_CAUGHT_UP)
			return last[count % MAX_CAUGHT_UP];
		if (from == schedule->next_at)
			return from;
		window *= 8;
	}
}

/* The last of the times that are due, if it is not too late for it; 0: it is. */
static TimestampTz
last_on_time(const DbosSchedule *schedule, TimestampTz now)
{
	TimestampTz at = first_from(schedule, now - GRACE_US);
	TimestampTz next;

	if (at == 0 || at > now)
		return 0;
	while ((next = dbos_schedule_next(schedule, at)) != 0 && next <= now)
		at = next;
	return at;
}

/* Fires one that is due, and moves it on.  What was missed is written down once, for the first of these times. */
static void
fire_due(DbosSchedule *schedule, TimestampTz now)
{
	TimestampTz at = schedule->catch_up ? caught_up_from(schedule, now) : last_on_time(schedule, now);
	int64		task = 0;

	if (at != schedule->next_at)
		write_run(schedule, schedule->next_at, MISSED, 0, NULL);
	if (at != 0)
		task = fire(schedule, at);
	move_on(schedule, at != 0 ? dbos_schedule_next(schedule, at) : first_from(schedule, now + 1), task);
}

/* What keeps a schedule from being read at all is its outcome, and it is looked at again later. */
static void
fire_row(HeapTuple row, TupleDesc desc, TimestampTz now)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	DbosSchedule schedule = {0};
	bool		null;

	schedule.id = DatumGetInt64(SPI_getbinval(row, desc, 1, &null));
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		dbos_schedule_read(row, desc, &schedule);
		dbos_schedule_parse(&schedule);
		fire_due(&schedule, now);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(caller);
		write_run(&schedule, now, FAILED, 0, dbos_error_json(error));
		move_on(&schedule, now + UNREADABLE_AGAIN_US, 0);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
}

void
dbos_schedule_fire(void *argument)
{
	static DbosPlan plan = {
		.sql = "SELECT " DBOS_SCHEDULE_COLUMNS " FROM dbos.schedule s"
		" WHERE NOT s.paused AND s.next_at OPERATOR(pg_catalog.<=) $1"
		" ORDER BY s.next_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED",
		.nargs = 1,
		.argtypes = {TIMESTAMPTZOID},
	};
	bool	   *more = argument;
	TimestampTz now = dbos_now();
	Datum		value = TimestampTzGetDatum(now);
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	*more = dbos_plan_execute(&plan, &value, NULL, false, 1) > 0;
	if (*more)
		fire_row(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, now);
	dbos_owner_end(&scope);
}

/* ---- for the scheduler ---- */

TimestampTz
dbos_schedules_due(void)
{
	static DbosPlan plan = {
		.sql = "SELECT next_at FROM dbos.schedule WHERE NOT paused AND next_at IS NOT NULL ORDER BY next_at LIMIT 1",
	};
	bool		null;

	if (dbos_plan_execute(&plan, NULL, NULL, false, 1) == 0)
		return 0;
	return DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
}

bool
dbos_schedule_queued(int64 task)
{
	static DbosPlan plan = {
		.sql = "SELECT FROM dbos.schedule_run WHERE task_id OPERATOR(pg_catalog.=) $1 AND outcome OPERATOR(pg_catalog.=) 'queued'",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	Datum		value = Int64GetDatum(task);

	return dbos_plan_execute(&plan, &value, NULL, true, 1) > 0;
}

void
dbos_schedule_runs_forget(TimestampTz before)
{
	static DbosPlan plan = {
		.sql = "DELETE FROM dbos.schedule_run r WHERE fired_at OPERATOR(pg_catalog.<) $1 AND " DBOS_SCHEDULE_RUN_OVER,
		.nargs = 1,
		.argtypes = {TIMESTAMPTZOID},
	};
	Datum		value = TimestampTzGetDatum(before);

	(void) dbos_plan_execute(&plan, &value, NULL, false, 0);
}
