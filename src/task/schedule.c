/*
 * schedule.c
 *	  Schedules as their users see them: made, changed, paused, run now.
 *
 * A schedule keeps what a submit of its task would say, checked when it is made; the
 * scheduler submits it at its times (schedule_fire.c).  Its names are those of the role
 * that made it, in its container.
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "dbos/container.h"

#include "schedule.h"

#define MAX_PREVIEW		100000

PG_FUNCTION_INFO_V1(dbos_schedule_preview);
PG_FUNCTION_INFO_V1(dbos_schedule);
PG_FUNCTION_INFO_V1(dbos_schedule_sql);
PG_FUNCTION_INFO_V1(dbos_unschedule);
PG_FUNCTION_INFO_V1(dbos_run_schedule);
PG_FUNCTION_INFO_V1(dbos_pause_schedule);
PG_FUNCTION_INFO_V1(dbos_resume_schedule);

/* Places of the options in dbos.schedule(); dbos.schedule_sql() has no args. */
enum
{
	AT_NAME,
	AT_CRON,
	AT_FUNCTION,
	AT_ARGS,
	AT_TIMEZONE,
	AT_QUEUE,
	AT_OVERLAP,
	AT_CATCH_UP,
	AT_PRIORITY,
	AT_PARTITION_KEY,
	AT_MAX_ATTEMPTS,
	AT_RETRY_DELAY,
	AT_RETRY_BACKOFF,
	AT_TIMEOUT,
	AT_ATTRIBUTES
};

/* The next times at which a schedule fires, soonest first. */
Datum
dbos_schedule_preview(PG_FUNCTION_ARGS)
{
	DbosCron	cron;
	pg_tz	   *zone;
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(2);
	int32		count = PG_GETARG_INT32(3);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	dbos_cron_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), &cron);
	zone = dbos_cron_zone(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (count < 0 || count > MAX_PREVIEW)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("count of a preview must be between 0 and %d: %d", MAX_PREVIEW, count));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (int i = 0; i < count && dbos_cron_next(&cron, zone, at, &at); i++)
	{
		Datum		value = TimestampTzGetDatum(at);
		bool		isnull = false;

		CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}

/* ---- a row ---- */

static Jsonb *
read_jsonb(HeapTuple row, TupleDesc desc, int column)
{
	bool		null;

	return DatumGetJsonbPCopy(SPI_getbinval(row, desc, column, &null));
}

void
dbos_schedule_read(HeapTuple row, TupleDesc desc, DbosSchedule *schedule)
{
	DbosSubmission *submission = &schedule->submission;
	bool		null;
	Datum		value;

	memset(schedule, 0, sizeof(*schedule));
	schedule->id = DatumGetInt64(SPI_getbinval(row, desc, 1, &null));
	schedule->name = SPI_getvalue(row, desc, 2);
	submission->container = DatumGetInt32(SPI_getbinval(row, desc, 3, &null));
	submission->session_role = DatumGetObjectId(SPI_getbinval(row, desc, 4, &null));
	submission->role = DatumGetObjectId(SPI_getbinval(row, desc, 5, &null));
	schedule->cron_text = SPI_getvalue(row, desc, 6);
	schedule->zone_name = SPI_getvalue(row, desc, 7);
	schedule->kind = DatumGetChar(SPI_getbinval(row, desc, 8, &null));
	schedule->function = SPI_getvalue(row, desc, 9);
	schedule->args = read_jsonb(row, desc, 10);
	schedule->queue_id = DatumGetInt32(SPI_getbinval(row, desc, 11, &null));
	submission->priority = DatumGetInt32(SPI_getbinval(row, desc, 12, &null));
	value = SPI_getbinval(row, desc, 13, &null);
	if (!null)
	{
		submission->partition_key = DatumGetTextPCopy(value);
		submission->partition = dbos_partition_hash(VARDATA_ANY(submission->partition_key),
													VARSIZE_ANY_EXHDR(submission->partition_key));
	}
	submission->max_attempts = DatumGetInt32(SPI_getbinval(row, desc, 14, &null));
	submission->retry_delay = palloc(sizeof(Interval));
	*submission->retry_delay = *DatumGetIntervalP(SPI_getbinval(row, desc, 15, &null));
	submission->retry_backoff = DatumGetFloat4(SPI_getbinval(row, desc, 16, &null));
	value = SPI_getbinval(row, desc, 17, &null);
	if (!null)
	{
		submission->timeout = palloc(sizeof(Interval));
		*submission->timeout = *DatumGetIntervalP(value);
	}
	submission->attributes = read_jsonb(row, desc, 18);
	schedule->overlap = SPI_getvalue(row, desc, 19);
	schedule->catch_up = DatumGetBool(SPI_getbinval(row, desc, 20, &null));
	value = SPI_getbinval(row, desc, 21, &null);
	schedule->next_at = null ? 0 : DatumGetTimestampTz(value);
	value = SPI_getbinval(row, desc, 22, &null);
	schedule->last_task = null ? 0 : DatumGetInt64(value);
}

void
dbos_schedule_parse(DbosSchedule *schedule)
{
	dbos_cron_parse(schedule->cron_text, &schedule->cron);
	schedule->zone = dbos_cron_zone(schedule->zone_name);
}

TimestampTz
dbos_schedule_next(const DbosSchedule *schedule, TimestampTz after)
{
	TimestampTz next;

	return dbos_cron_next(&schedule->cron, schedule->zone, after, &next) ? next : 0;
}

int64
dbos_schedule_submit(DbosSchedule *schedule, int64 after)
{
	DbosSubmission *submission = &schedule->submission;

	submission->now = dbos_now();
	submission->queue = dbos_queue_by_id(schedule->queue_id);
	dbos_container_hold(submission->container);
	submission->sequence = dbos_relation_oid("task_id");
	submission->nafter = after != 0 ? 1 : 0;
	submission->after = &after;
	submission->held = after != 0;
	return dbos_submission_one(submission, schedule->kind, schedule->function, schedule->args);
}

/* ---- making one ---- */

/* An argument that has no place in dbos.schedule_sql(). */
static int
place(int at, bool sql)
{
	return sql && at > AT_ARGS ? at - 1 : at;
}

static char *
required_text(FunctionCallInfo fcinfo, int at, const char *what)
{
	if (PG_ARGISNULL(at))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("%s of a schedule must not be null", what));
	return text_to_cstring(PG_GETARG_TEXT_PP(at));
}

/* Reads the options that a submit has too, as it does. */
static void
read_submission(DbosSubmission *submission, FunctionCallInfo fcinfo, bool sql)
{
	LOCAL_FCINFO(call, 15);
	/* Of each option of dbos.submit(), from the third argument on, the one of dbos.schedule(); 0: none. */
	static const int from[] = {AT_QUEUE, AT_PRIORITY, 0, 0, 0, 0, AT_PARTITION_KEY, AT_MAX_ATTEMPTS,
	AT_RETRY_DELAY, AT_RETRY_BACKOFF, AT_TIMEOUT, 0, AT_ATTRIBUTES};

	InitFunctionCallInfoData(*call, fcinfo->flinfo, 15, InvalidOid, NULL, NULL);
	for (int i = 0; i < lengthof(from); i++)
	{
		int			at = place(from[i], sql);

		call->args[2 + i].isnull = from[i] == 0 || PG_ARGISNULL(at);
		call->args[2 + i].value = from[i] == 0 ? (Datum) 0 : PG_GETARG_DATUM(at);
	}
	dbos_submission_read(submission, call, 2, DBOS_WITH_KEY);
}

static char *
read_name(FunctionCallInfo fcinfo)
{
	char	   *name = required_text(fcinfo, AT_NAME, "name");

	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_NAME),
				errmsg("invalid name of a schedule: \"%s\"", name),
				errdetail("A name has 1 to %d bytes.", NAMEDATALEN - 1));
	return name;
}

static char *
read_overlap(FunctionCallInfo fcinfo, int at)
{
	char	   *overlap = required_text(fcinfo, at, "overlap");

	if (strcmp(overlap, "skip") != 0 && strcmp(overlap, "allow") != 0 && strcmp(overlap, "queue") != 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("overlap of a schedule must be \"skip\", \"allow\" or \"queue\": \"%s\"", overlap));
	return overlap;
}

/* Writes the schedule, or changes that of the same name; its history and its id stay. */
static int64
write_schedule(FunctionCallInfo fcinfo, DbosSchedule *schedule, bool sql)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.schedule AS s (name, container_id, session_role, role, cron, timezone, kind, function, args, queue_id,"
		" priority, partition_key, max_attempts, retry_delay, retry_backoff, timeout, attributes, overlap, catch_up,"
		" next_at, created_at)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)"
		" ON CONFLICT (container_id, role, name) DO UPDATE SET session_role = EXCLUDED.session_role, cron = EXCLUDED.cron,"
		" timezone = EXCLUDED.timezone, kind = EXCLUDED.kind, function = EXCLUDED.function, args = EXCLUDED.args,"
		" queue_id = EXCLUDED.queue_id, priority = EXCLUDED.priority, partition_key = EXCLUDED.partition_key,"
		" max_attempts = EXCLUDED.max_attempts, retry_delay = EXCLUDED.retry_delay, retry_backoff = EXCLUDED.retry_backoff,"
		" timeout = EXCLUDED.timeout, attributes = EXCLUDED.attributes, overlap = EXCLUDED.overlap,"
		" catch_up = EXCLUDED.catch_up, next_at = CASE"
		/* Whoever says the same again, as a deployment does, must not put its next time off. */
		" WHEN s.cron OPERATOR(pg_catalog.=) EXCLUDED.cron AND s.timezone OPERATOR(pg_catalog.=) EXCLUDED.timezone"
		" THEN LEAST(s.next_at, EXCLUDED.next_at) ELSE EXCLUDED.next_at END RETURNING s.id",
		.nargs = 21,
		.argtypes = {TEXTOID, INT4OID, REGROLEOID, REGROLEOID, TEXTOID, TEXTOID, CHAROID, TEXTOID, JSONBOID, INT4OID,
			INT4OID, TEXTOID, INT4OID, INTERVALOID, FLOAT4OID, INTERVALOID, JSONBOID, TEXTOID, BOOLOID,
		TIMESTAMPTZOID, TIMESTAMPTZOID},
	};
	const DbosSubmission *submission = &schedule->submission;
	Datum		values[21] = {CStringGetTextDatum(schedule->name), Int32GetDatum(submission->container),
		ObjectIdGetDatum(submission->session_role), ObjectIdGetDatum(submission->role),
		PG_GETARG_DATUM(AT_CRON), PG_GETARG_DATUM(place(AT_TIMEZONE, sql)), CharGetDatum(schedule->kind),
		CStringGetTextDatum(schedule->function), JsonbPGetDatum(schedule->args), Int32GetDatum(submission->queue.queue_id),
		Int32GetDatum(submission->priority), PointerGetDatum(submission->partition_key),
		Int32GetDatum(submission->max_attempts), IntervalPGetDatum(submission->retry_delay),
		Float4GetDatum(submission->retry_backoff), PointerGetDatum(submission->timeout),
		JsonbPGetDatum(submission->attributes), CStringGetTextDatum(schedule->overlap),
		BoolGetDatum(schedule->catch_up), TimestampTzGetDatum(schedule->next_at),
	TimestampTzGetDatum(submission->now)};
	char		nulls[22] = "                     ";
	DbosOwnerScope scope;
	int64		id;
	bool		null;

	nulls[11] = submission->partition_key == NULL ? 'n' : ' ';
	nulls[15] = submission->timeout == NULL ? 'n' : ' ';
	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, nulls, false, 0);
	id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	dbos_owner_end(&scope);
	return id;
}

/* dbos.schedule() and dbos.schedule_sql(), once what is to run is known. */
static Datum
make_schedule(FunctionCallInfo fcinfo, DbosSchedule *schedule, bool sql)
{
	int64		id;

	schedule->name = read_name(fcinfo);
	schedule->cron_text = required_text(fcinfo, AT_CRON, "times");
	schedule->zone_name = required_text(fcinfo, place(AT_TIMEZONE, sql), "time zone");
	dbos_schedule_parse(schedule);
	schedule->overlap = read_overlap(fcinfo, place(AT_OVERLAP, sql));
	schedule->catch_up = !PG_ARGISNULL(place(AT_CATCH_UP, sql)) && PG_GETARG_BOOL(place(AT_CATCH_UP, sql));
	schedule->next_at = dbos_schedule_next(schedule, schedule->submission.now);
	id = write_schedule(fcinfo, schedule, sql);
	if (schedule->next_at != 0)
		dbos_pending_due(schedule->next_at);
	dbos_warn_without_workers(schedule->submission.now);
	PG_RETURN_INT64(id);
}

Datum
dbos_schedule(PG_FUNCTION_ARGS)
{
	DbosSchedule schedule = {.kind = 'f'};

	dbos_submit_allowed("dbos.schedule()");
	if (PG_ARGISNULL(AT_ARGS))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("the arguments of a task must not be null"),
				errhint("Leave them out, or give '{}', for a function without arguments."));
	schedule.args = PG_GETARG_JSONB_P(AT_ARGS);
	read_submission(&schedule.submission, fcinfo, false);
	schedule.function = pstrdup(dbos_submit_resolve(required_text(fcinfo, AT_FUNCTION, "function"), schedule.args,
													schedule.submission.role)->identity);
	return make_schedule(fcinfo, &schedule, false);
}

Datum
dbos_schedule_sql(PG_FUNCTION_ARGS)
{
	DbosSchedule schedule = {.kind = 's'};

	dbos_submit_allowed("dbos.schedule_sql()");
	schedule.function = required_text(fcinfo, AT_FUNCTION, "command");
	dbos_submit_check_command(schedule.function);
	schedule.args = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	read_submission(&schedule.submission, fcinfo, true);
	return make_schedule(fcinfo, &schedule, true);
}

/* ---- what is done with one ---- */

/*
 * Locks the schedule of a name in the current container: the caller's own, or else, for
 * dbos_admin, the only one of that name.  False when there is none.  Inside an owner scope.
 */
static bool
find_schedule(const char *name, Oid caller, DbosSchedule *schedule)
{
	static DbosPlan plan = {
		.sql = "SELECT " DBOS_SCHEDULE_COLUMNS " FROM dbos.schedule s"
		" WHERE s.container_id OPERATOR(pg_catalog.=) $1 AND s.name OPERATOR(pg_catalog.=) $2"
		" ORDER BY s.role::pg_catalog.oid OPERATOR(pg_catalog.<>) $3, s.role FOR UPDATE",
		.nargs = 3,
		.argtypes = {INT4OID, TEXTOID, OIDOID},
	};
	Datum		values[3] = {Int32GetDatum(dbos_context_container()), CStringGetTextDatum(name), ObjectIdGetDatum(caller)};
	uint64		count = dbos_plan_execute(&plan, values, NULL, false, 0);
	uint64		allowed = 0;
	int			first = -1;

	for (uint64 i = 0; i < count; i++)
	{
		bool		null;
		Oid			role = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 5, &null));

		if (role != caller && !has_privs_of_role(caller, role) && !dbos_is_admin(caller))
			continue;
		if (first < 0)
			first = i;
		allowed++;
		if (role == caller)
			break;
	}
	if (allowed == 0)
		return false;
	dbos_schedule_read(SPI_tuptable->vals[first], SPI_tuptable->tupdesc, schedule);
	if (allowed > 1 && schedule->submission.role != caller)
		ereport(ERROR,
				errcode(ERRCODE_AMBIGUOUS_PARAMETER),
				errmsg("schedule \"%s\" is that of more than one role", name),
				errhint("SET ROLE to the one that is meant."));
	return true;
}

static void
schedule_unknown(const char *name)
{
	ereport(ERROR,
			errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("schedule \"%s\" does not exist", name),
			errhint("SELECT name FROM dbos.schedules; shows those that you can see."));
}

static char *
command_argument(FunctionCallInfo fcinfo, const char *command)
{
	PreventCommandDuringRecovery(command);
	PreventCommandIfReadOnly(command);
	dbos_require_same_version();
	return text_to_cstring(PG_GETARG_TEXT_PP(0));
}

/* dbos.unschedule(name): whether there was one. */
Datum
dbos_unschedule(PG_FUNCTION_ARGS)
{
	static DbosPlan drop = {
		.sql = "DELETE FROM dbos.schedule WHERE id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	static DbosPlan forget = {
		.sql = "DELETE FROM dbos.schedule_run r WHERE schedule_id OPERATOR(pg_catalog.=) $1 AND " DBOS_SCHEDULE_RUN_OVER,
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	char	   *name = command_argument(fcinfo, "dbos.unschedule()");
	DbosOwnerScope scope;
	DbosSchedule schedule;
	bool		found;

	dbos_owner_begin(&scope);
	found = find_schedule(name, scope.user, &schedule);
	if (found)
	{
		Datum		id = Int64GetDatum(schedule.id);

		(void) dbos_plan_execute(&forget, &id, NULL, false, 0);
		(void) dbos_plan_execute(&drop, &id, NULL, false, 0);
	}
	dbos_owner_end(&scope);
	PG_RETURN_BOOL(found);
}

/* dbos.run_schedule(name): the id of the task.  Raises 42501 for a session that is not that of the schedule, as dbos.retry(). */
Datum
dbos_run_schedule(PG_FUNCTION_ARGS)
{
	char	   *name = command_argument(fcinfo, "dbos.run_schedule()");
	DbosOwnerScope scope;
	DbosSchedule schedule;
	int64		task;

	dbos_owner_begin(&scope);
	if (!find_schedule(name, scope.user, &schedule))
		schedule_unknown(name);
	if (!has_privs_of_role(scope.user, schedule.submission.session_role) && !dbos_is_admin(scope.user))
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied to run schedule \"%s\"", name),
				errdetail("It was made in a session of another role, and would run in one again."));
	task = dbos_schedule_submit(&schedule, 0);
	dbos_owner_end(&scope);
	PG_RETURN_INT64(task);
}

static void
set_paused(const char *name, bool paused)
{
	static DbosPlan plan = {
		.sql = "UPDATE dbos.schedule SET paused = $2, next_at = $3"
		/* One that goes on keeps its times, those that are due included. */
		" WHERE id OPERATOR(pg_catalog.=) $1 AND paused OPERATOR(pg_catalog.<>) $2",
		.nargs = 3,
		.argtypes = {INT8OID, BOOLOID, TIMESTAMPTZOID},
	};
	DbosOwnerScope scope;
	DbosSchedule schedule;
	TimestampTz next_at;

	dbos_owner_begin(&scope);
	if (!find_schedule(name, scope.user, &schedule))
		schedule_unknown(name);
	dbos_schedule_parse(&schedule);
	next_at = dbos_schedule_next(&schedule, dbos_now());
	{
		Datum		values[3] = {Int64GetDatum(schedule.id), BoolGetDatum(paused), TimestampTzGetDatum(next_at)};

		(void) dbos_plan_execute(&plan, values, next_at == 0 ? "  n" : NULL, false, 0);
	}
	dbos_owner_end(&scope);
	if (!paused && next_at != 0)
		dbos_pending_due(next_at);
}

/* dbos.pause_schedule(name): void. */
Datum
dbos_pause_schedule(PG_FUNCTION_ARGS)
{
	set_paused(command_argument(fcinfo, "dbos.pause_schedule()"), true);
	PG_RETURN_VOID();
}

/* dbos.resume_schedule(name): void.  Times that passed meanwhile were not missed. */
Datum
dbos_resume_schedule(PG_FUNCTION_ARGS)
{
	set_paused(command_argument(fcinfo, "dbos.resume_schedule()"), false);
	PG_RETURN_VOID();
}
