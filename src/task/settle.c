/*
 * settle.c
 *	  How a task's row changes when an attempt ends, and where it goes.
 *
 * A task that ends leaves dbos.task for the history in one statement of the
 * caller's transaction; one that is tried again is held back until its time.
 * Callers: an executor (its own task, in its transaction or in the one after a
 * failure), a scheduler (overdue, refused, crashed tasks), a session that
 * cancels a waiting task.  Whoever calls holds, or gets here, the row's lock.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "task.h"
#include "task_row.h"

/* A retry is never put off for longer than this. */
#define RETRY_DELAY_MAX_US (USECS_PER_DAY)
#define NUMBER_OF_USAGE 10

/* ---- errors as documents ---- */

static void
add_member(JsonbParseState **state, const char *name, const char *value)
{
	JsonbValue	item;

	item.type = jbvString;
	item.val.string.val = pstrdup(name);
	item.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &item);
	if (value == NULL)
		item.type = jbvNull;
	else
	{
		item.type = jbvString;
		item.val.string.val = pstrdup(value);
		item.val.string.len = strlen(value);
	}
	pushJsonbValue(state, WJB_VALUE, &item);
}

static Jsonb *
error_document(int sqlerrcode, const char *message, const char *detail, const char *hint,
			   const char *context)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	add_member(&state, "sqlstate", unpack_sql_state(sqlerrcode));
	add_member(&state, "message", message);
	add_member(&state, "detail", detail);
	add_member(&state, "hint", hint);
	add_member(&state, "context", context);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* An error that the server raised: {sqlstate, message, detail, hint, context}, in the current context. */
Jsonb *
dbos_error_json(const ErrorData *error)
{
	return error_document(error->sqlerrcode, error->message ? error->message : "missing error text",
						  error->detail, error->hint, error->context);
}

Jsonb *
dbos_error_make(int sqlerrcode, const char *message, const char *detail, const char *hint)
{
	return error_document(sqlerrcode, message, detail, hint, NULL);
}

/* ---- partitions of the history ---- */

/* Makes a partition and attaches it; the parent stays open to readers and writers meanwhile. */
static void
make_partition(const char *name, int year, int month, int mday)
{
	DbosOwnerScope scope;
	char	   *command;

	dbos_owner_begin(&scope);
	/* It is everybody's: not where the settings of the session that happens to make it would put it. */
	(void) set_config_option("default_tablespace", "", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("default_table_access_method", "heap", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	command = psprintf("CREATE TABLE dbos.%s (LIKE dbos.task_history INCLUDING DEFAULTS INCLUDING CONSTRAINTS)", name);
	if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not make partition \"%s\"", name);
	/* The second one for who asks what failed: a few rows of many. */
	command = psprintf("CREATE INDEX ON dbos.%s (id); CREATE INDEX ON dbos.%s (id) WHERE state OPERATOR(pg_catalog.=) 'failed'", name, name);
	if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not make the indexes of partition \"%s\"", name);
	command = psprintf("ALTER TABLE dbos.task_history ATTACH PARTITION dbos.%s"
					   " FOR VALUES FROM ('%04d-%02d-%02d 00:00:00+00') TO (('%04d-%02d-%02d 00:00:00+00'::pg_catalog.timestamptz"
					   " OPERATOR(pg_catalog.+) '24 hours'::pg_catalog.interval))",
					   name, year, month, mday, year, month, mday);
	if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not attach partition \"%s\"", name);
	dbos_owner_end(&scope);
}

typedef struct HistoryDay
{
	char		name[NAMEDATALEN];	/* of its partition */
	int			year;
	int			month;
	int			mday;
} HistoryDay;

/* The UTC day of a moment. */
static HistoryDay
history_day(TimestampTz at)
{
	HistoryDay	day;

	j2date((int) floor((double) at / USECS_PER_DAY) + POSTGRES_EPOCH_JDATE, &day.year, &day.month, &day.mday);
	snprintf(day.name, sizeof(day.name), "task_history_%04d%02d%02d", day.year, day.month, day.mday);
	return day;
}

/* The partition of a moment's UTC day; InvalidOid when it is not there. */
Oid
dbos_history_partition_if_any(TimestampTz at)
{
	HistoryDay	day = history_day(at);

	return get_relname_relid(day.name, dbos_schema_oid(false));
}

/*
 * The partition of a moment's UTC day, made if it is not there.  It is no member
 * of the extension, so that a dump carries it like a user's table.  It is looked
 * for in the catalog's cache each time: a note of our own would outlive the
 * extension, and a query would not see, in a transaction of one snapshot, what
 * another session has made since.
 */
Oid
dbos_history_partition(TimestampTz at)
{
	HistoryDay	day = history_day(at);
	Oid			partition = get_relname_relid(day.name, dbos_schema_oid(false));

	if (OidIsValid(partition))
		return partition;
	/* Taking the lock also takes in what its former holder made. */
	LockRelationOid(dbos_relation_oid("task_history"), ShareUpdateExclusiveLock);
	partition = get_relname_relid(day.name, dbos_schema_oid(false));
	if (OidIsValid(partition))
		return partition;
	make_partition(day.name, day.year, day.month, day.mday);
	return get_relname_relid(day.name, dbos_schema_oid(false));
}

/* ---- moving ---- */

static void
usage_values(const DbosAttempt *attempt, TimestampTz now, Datum *values, char *nulls)
{
	memset(nulls, ' ', NUMBER_OF_USAGE);
	if (attempt == NULL)
	{
		memset(nulls, 'n', NUMBER_OF_USAGE);
		values[1] = TimestampTzGetDatum(now);
		nulls[1] = ' ';
		return;
	}
	values[0] = TimestampTzGetDatum(attempt->started_at);
	values[1] = TimestampTzGetDatum(attempt->finished_at);
	values[2] = Int32GetDatum(attempt->pid);
	values[3] = Float4GetDatum((float4) attempt->cpu_seconds);
	values[4] = Int64GetDatum(attempt->rows);
	values[5] = Int64GetDatum(attempt->buffers_hit);
	values[6] = Int64GetDatum(attempt->buffers_read);
	values[7] = Int64GetDatum(attempt->memory_bytes);
	values[8] = Int64GetDatum(attempt->file_bytes_read);
	values[9] = Int64GetDatum(attempt->file_bytes_written);
}

/* Moves a row that this transaction has locked, and what belongs to it, out of the live tables. */
void
dbos_task_settle_row(DbosTaskRow *row, int64 task, const char *state, Jsonb *result, Jsonb *error,
					 const DbosAttempt *attempt)
{
	static DbosPlan forget = {
		.sql = "DELETE FROM dbos.task_cancellation WHERE task_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	static DbosPlan release = {
		.sql = "DELETE FROM dbos.task_dependency WHERE task_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	/* Nothing of the history may be dated into a day whose partition was dropped or not made. */
	TimestampTz now = attempt ? attempt->finished_at : GetCurrentTimestamp();
	Datum		value = Int64GetDatum(task);
	bool		cancelled;

	dbos_task_row_move(row, state, result, error, attempt, now);
	cancelled = dbos_task_row_cancelled(task);
	if (cancelled || strcmp(state, DBOS_SUCCEEDED) != 0)
	{
		DbosOwnerScope scope;

		dbos_owner_begin(&scope);
		if (strcmp(state, DBOS_SUCCEEDED) != 0)
			(void) dbos_plan_execute(&release, &value, NULL, false, 0);
		if (cancelled)
			(void) dbos_plan_execute(&forget, &value, NULL, false, 0);
		dbos_owner_end(&scope);
	}
	dbos_pending_event('f', task);
}

bool
dbos_task_settle(int64 task, const char *state, Jsonb *result, Jsonb *error,
				 const DbosAttempt *attempt)
{
	DbosTaskRow row;

	if (!dbos_task_row_lock(task, LockWaitBlock, &row))
		return false;
	dbos_task_settle_row(&row, task, state, result, error, attempt);
	dbos_task_row_close(&row);
	return true;
}

/* ---- attempts that do not end the task ---- */

static void
keep_attempt(int64 task, int32 number, const char *outcome, Jsonb *error, const DbosAttempt *attempt)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.task_attempt (task_id, attempt, outcome, error, started_at, finished_at, worker_pid,"
		" cpu_seconds, rows, buffers_hit, buffers_read, memory_bytes, file_bytes_read, file_bytes_written)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
		.nargs = 14,
		.argtypes = {INT8OID, INT4OID, TEXTOID, JSONBOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID,
		FLOAT4OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID},
	};
	Datum		values[4 + NUMBER_OF_USAGE];
	char		nulls[4 + NUMBER_OF_USAGE + 1];

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int64GetDatum(task);
	values[1] = Int32GetDatum(number);
	values[2] = CStringGetTextDatum(outcome);
	values[3] = PointerGetDatum(error);
	nulls[3] = error ? ' ' : 'n';
	usage_values(attempt, GetCurrentTimestamp(), &values[4], &nulls[4]);
	nulls[4 + NUMBER_OF_USAGE] = '\0';
	(void) dbos_plan_execute(&plan, values, nulls, false, 0);
}

static Datum
column(int number, bool *null)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number, null);
}

typedef struct FoundTask
{
	int32		attempt;
	int32		max_attempts;
	int32		crashes;
	int64		delay_us;
	double		backoff;
	TimestampTz deadline;		/* 0: none */
	bool		cancelled;
	bool		held;
} FoundTask;

/* Locks the row and reads what decides its fate; false when it is gone. */
static bool
find_task(int64 task, FoundTask *found)
{
	static DbosPlan plan = {
		.sql = "SELECT attempt, max_attempts, crashes,"
		" LEAST(pg_catalog.date_part('epoch', retry_delay), 86400.0)::pg_catalog.float8, retry_backoff::pg_catalog.float8,"
		" deadline, EXISTS (SELECT FROM dbos.task_cancellation c WHERE c.task_id OPERATOR(pg_catalog.=) t.id), held"
		" FROM dbos.task t WHERE shard OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2 FOR UPDATE OF t",
		.nargs = 2,
		.argtypes = {INT2OID, INT8OID},
	};
	Datum		values[2] = {Int16GetDatum(DBOS_SHARD(task)), Int64GetDatum(task)};
	Datum		value;
	bool		null;

	if (dbos_plan_execute(&plan, values, NULL, false, 1) == 0)
		return false;
	found->attempt = DatumGetInt32(column(1, &null));
	found->max_attempts = DatumGetInt32(column(2, &null));
	found->crashes = DatumGetInt32(column(3, &null));
	found->delay_us = (int64) (DatumGetFloat8(column(4, &null)) * USECS_PER_SEC);
	found->backoff = DatumGetFloat8(column(5, &null));
	value = column(6, &null);
	found->deadline = null ? 0 : DatumGetTimestampTz(value);
	found->cancelled = DatumGetBool(column(7, &null));
	found->held = DatumGetBool(column(8, &null));
	return true;
}

/* Exponential, with up to a fifth more or less, so that what failed together is not tried together. */
static TimestampTz
next_try(const FoundTask *found)
{
	double		delay = found->delay_us * pow(found->backoff, found->attempt);

	delay *= 0.8 + 0.4 * pg_prng_double(&pg_global_prng_state);
	return dbos_now() + (int64) Min(delay, (double) RETRY_DELAY_MAX_US);
}

bool
dbos_task_attempt_failed(int64 task, Jsonb *error, const DbosAttempt *attempt)
{
	static DbosPlan again = {
		.sql = "UPDATE dbos.task SET attempt = attempt OPERATOR(pg_catalog.+) 1, held = true, run_at = $3"
		" WHERE shard OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2",
		.nargs = 3,
		.argtypes = {INT2OID, INT8OID, TIMESTAMPTZOID},
	};
	Datum		values[3] = {Int16GetDatum(DBOS_SHARD(task)), Int64GetDatum(task)};
	DbosOwnerScope scope;
	FoundTask	found;
	TimestampTz run_at;

	dbos_owner_begin(&scope);
	if (!find_task(task, &found))
	{
		dbos_owner_end(&scope);
		return false;
	}
	run_at = next_try(&found);
	if (found.cancelled || found.attempt + 1 >= found.max_attempts ||
		(found.deadline != 0 && run_at >= found.deadline))
	{
		dbos_owner_end(&scope);
		(void) dbos_task_settle(task, found.cancelled ? DBOS_CANCELLED : DBOS_FAILED, NULL,
								found.cancelled ? dbos_error_make(ERRCODE_DBOS_TASK_CANCELLED, "task was cancelled", NULL, NULL) : error,
								attempt);
		return false;
	}
	keep_attempt(task, found.attempt + found.crashes + 1, DBOS_FAILED, error, attempt);
	values[2] = TimestampTzGetDatum(run_at);
	(void) dbos_plan_execute(&again, values, NULL, false, 0);
	dbos_pending_due(run_at);
	dbos_owner_end(&scope);
	return true;
}

/* At commit the task, which is not held, is known to be ready.  Inside an owner scope. */
static void
push_again(int64 task)
{
	static DbosPlan plan = {
		.sql = "SELECT t.queue_id, t.session_role::pg_catalog.oid, " DBOS_READY_COLUMNS
		" FROM dbos.task t WHERE t.shard OPERATOR(pg_catalog.=) $1 AND t.id OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT2OID, INT8OID},
	};
	Datum		values[2] = {Int16GetDatum(DBOS_SHARD(task)), Int64GetDatum(task)};
	DbosQueueFacts facts;
	DbosTicket	ticket;
	bool		null;

	if (dbos_plan_execute(&plan, values, NULL, false, 1) == 0 ||
		!dbos_queue_by_id_if_any(DatumGetInt32(column(1, &null)), &facts))
		return;
	dbos_ready_read(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &facts.policy, &ticket);
	dbos_pending_push(&ticket, DatumGetObjectId(column(2, &null)), &facts);
}

/* The worker of a task ended while it ran it: counts that, and has the task tried again or ended. */
bool
dbos_task_crash_counted(int64 task)
{
	static DbosPlan count = {
		.sql = "UPDATE dbos.task SET crashes = crashes OPERATOR(pg_catalog.+) 1"
		" WHERE shard OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT2OID, INT8OID},
	};
	Datum		values[2] = {Int16GetDatum(DBOS_SHARD(task)), Int64GetDatum(task)};
	DbosOwnerScope scope;
	FoundTask	found;
	int			limit;
	DbosTaskRow row;

	/* Who has run it again meanwhile holds its row until that run has ended. */
	if (!dbos_task_row_lock(task, LockWaitSkip, &row))
		return !row.busy;
	dbos_task_row_close(&row);
	dbos_owner_begin(&scope);
	if (!find_task(task, &found))
	{
		dbos_owner_end(&scope);
		return true;
	}
	limit = Max(found.max_attempts, dbos_task_crash_limit);
	(void) dbos_plan_execute(&count, values, NULL, false, 0);
	keep_attempt(task, found.attempt + found.crashes + 1, "crashed",
				 dbos_error_make(ERRCODE_DBOS_TASK_CRASHED, "worker ended while it ran the task", NULL, NULL), NULL);
	if (!found.held && !found.cancelled && found.crashes + 1 < limit)
		push_again(task);
	dbos_owner_end(&scope);
	if (found.cancelled)
		(void) dbos_task_settle(task, DBOS_CANCELLED, NULL,
								dbos_error_make(ERRCODE_DBOS_TASK_CANCELLED, "task was cancelled", NULL, NULL), NULL);
	else if (found.crashes + 1 >= limit)
		(void) dbos_task_settle(task, DBOS_FAILED, NULL,
								dbos_error_make(ERRCODE_DBOS_TASK_CRASHED,
												psprintf("task ended its worker %d times", found.crashes + 1),
												"A worker exited or was killed each time that it ran this task.",
												"Find out why from the server's log, then retry the task."), NULL);
	return true;
}
