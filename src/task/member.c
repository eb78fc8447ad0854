/*
 * member.c
 *	  One task in a transaction that it may share with others: claim, run, end.
 *
 * Claim, effects, result and completion of a function are in the one transaction of
 * its batch.  SQL text that needs transactions of its own runs between two of ours,
 * so that alone may happen twice when the server dies between.
 *
 * Bookkeeping is done as dbos_owner around the user's code and never on top of it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "company.h"
#include "function_habit.h"
#include "member.h"
#include "session.h"
#include "speculation.h"

/* A body that swallows its cancel is told again this often, and ended at last. */
#define STOP_REPEAT_MS 500
#define STOP_REPEATS 4

static TimeoutId stop_timeout;
static volatile sig_atomic_t stops_told = 0;
static struct rusage last_usage;	/* when the last member ended, or the first began */
static TimestampTz last_looked;

/* ---- stopping a task ---- */

/* Fires when the time of a task is up; again and harder while it goes on. */
static void
stop_task(void)
{
	stops_told++;
	if (stops_told > STOP_REPEATS)
		ProcDiePending = true;
	else
		QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

void
dbos_member_install(void)
{
	stop_timeout = RegisterTimeout(USER_TIMEOUT, stop_task);
}

static void
arm_stop(const DbosMember *member)
{
	TimestampTz now = member->attempt.started_at;
	TimestampTz end = 0;

	if (member->timeout_ms > 0)
		end = TimestampTzPlusMilliseconds(now, member->timeout_ms);
	if (member->deadline != 0 && (end == 0 || member->deadline < end))
		end = member->deadline;
	if (end != 0)
		enable_timeout_every(stop_timeout, Max(end, GetCurrentTimestamp() + 1000), STOP_REPEAT_MS);
}

void
dbos_member_disarm(void)
{
	if (get_timeout_active(stop_timeout))
		disable_timeout(stop_timeout, false);
}

/* ---- claim ---- */

/* An interval in milliseconds, as its epoch is defined. */
static int64
milliseconds_of(Datum interval)
{
	return (int64) (DatumGetFloat8(DirectFunctionCall2(interval_part, CStringGetTextDatum("epoch"), interval)) * 1000);
}

/* A process of ours has one thread, and asking for that costs less than half. */
static void
look_at_usage(void)
{
	getrusage(RUSAGE_THREAD, &last_usage);
	last_looked = GetCurrentTimestamp();
}

void
dbos_member_start(DbosMember *member, int64 id, bool follows)
{
	/* The last one's, whose time was that of its transaction as long as nobody followed. */
	dbos_member_disarm();
	memset(member, 0, sizeof(*member));
	stops_told = 0;
	member->id = id;
	member->attempt.task = id;
	member->attempt.pid = MyProcPid;
	/* Between two members of a batch there is nothing to speak of. */
	if (!follows)
		look_at_usage();
	member->attempt.started_at = last_looked;
	member->usage_before = last_usage;
	member->buffers_before = pgBufferUsage;
	member->traffic_before = dbos_file_traffic;
}

/* Reads what its row says; false when the task is not there for this login to run. */
static bool
read_task(DbosMember *member)
{
	Datum	   *values = member->row.slot->tts_values;
	bool	   *nulls = member->row.slot->tts_isnull;

	member->role = DatumGetObjectId(values[TASK_ROLE]);
	member->queue_id = DatumGetInt32(values[TASK_QUEUE_ID]);
	member->container = DatumGetInt32(values[TASK_CONTAINER_ID]);
	member->kind = DatumGetChar(values[TASK_KIND]);
	member->function = TextDatumGetCString(values[TASK_FUNCTION]);
	member->args = DatumGetJsonbPCopy(values[TASK_ARGS]);
	if (!nulls[TASK_TIMEOUT])
		member->timeout_ms = Max(milliseconds_of(values[TASK_TIMEOUT]), 1);
	member->deadline = nulls[TASK_DEADLINE] ? 0 : DatumGetTimestampTz(values[TASK_DEADLINE]);
	member->submitted_at = DatumGetTimestampTz(values[TASK_SUBMITTED_AT]);
	return !DatumGetBool(values[TASK_HELD]) &&
		DatumGetObjectId(values[TASK_SESSION_ROLE]) == GetSessionUserId();
}

bool
dbos_member_claim(DbosMember *member)
{
	if (!dbos_task_row_lock(member->id, LockWaitSkip, &member->row))
	{
		member->busy = member->row.busy;
		return false;
	}
	if (!read_task(member))
	{
		dbos_task_row_close(&member->row);
		return false;
	}
	member->cancelled = dbos_task_row_cancelled(member->id);
	return true;
}

void
dbos_member_starts_now(DbosMember *member)
{
	look_at_usage();
	member->attempt.started_at = last_looked;
	member->usage_before = last_usage;
	member->kind = 'f';
	member->gang = true;
}

bool
dbos_member_copy(DbosMember *member)
{
	bool		runs;

	if (!dbos_task_row_read(member->id, &member->row))
		return false;
	member->copy = true;
	member->attempts_before = DatumGetInt32(member->row.slot->tts_values[TASK_ATTEMPT]);
	member->crashes_before = DatumGetInt32(member->row.slot->tts_values[TASK_CRASHES]);
	runs = read_task(member) && member->kind == 'f';
	dbos_task_row_close(&member->row);
	member->row.relation = NULL;
	return runs;
}

Jsonb *
dbos_member_obstacle(const DbosMember *member, bool first, const char **state)
{
	Jsonb	   *obstacle = NULL;

	*state = DBOS_FAILED;
	if (member->cancelled)
	{
		*state = DBOS_CANCELLED;
		return dbos_error_make(ERRCODE_DBOS_TASK_CANCELLED, "task was cancelled", NULL, NULL);
	}
	if (member->deadline != 0 && member->deadline <= dbos_now())
		return dbos_error_make(ERRCODE_DBOS_DEADLINE, "task was not started before its deadline",
							   NULL, NULL);
	/* LOGIN and CONNECT as they are now: this process may be older than their end. */
	if (first)
		obstacle = dbos_login_obstacle(GetSessionUserId());
	if (obstacle != NULL)
		dbos_worker_slot(dbos_my_worker)->leave = true;
	return obstacle;
}

void
dbos_member_resolve(DbosMember *member)
{
	member->call = dbos_function_call_recheck(member->function, member->args, GetUserId());
	member->function_oid = member->call->function;
}

bool
dbos_member_commits_itself(const DbosMember *member)
{
	return member->kind == 's' && !dbos_command_is_transactional(member->function);
}

/* ---- run ---- */

static double
seconds_between(struct timeval start, struct timeval end)
{
	return (end.tv_sec - start.tv_sec) + (end.tv_usec - start.tv_usec) / 1000000.0;
}

static void
note_usage(DbosMember *member)
{
	DbosAttempt *attempt = &member->attempt;

	look_at_usage();
	attempt->cpu_seconds = seconds_between(member->usage_before.ru_utime, last_usage.ru_utime)
		+ seconds_between(member->usage_before.ru_stime, last_usage.ru_stime);
	attempt->buffers_hit = pgBufferUsage.shared_blks_hit - member->buffers_before.shared_blks_hit;
	attempt->buffers_read = pgBufferUsage.shared_blks_read - member->buffers_before.shared_blks_read;
	attempt->file_bytes_read = dbos_file_traffic.bytes_read - member->traffic_before.bytes_read;
	attempt->file_bytes_written = dbos_file_traffic.bytes_written - member->traffic_before.bytes_written;
	attempt->memory_bytes = (int64) last_usage.ru_maxrss * 1024;
	attempt->finished_at = last_looked;
}

static void
record_decision(const DbosMember *member, const DbosSample *sample)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.decision (decided_at, queue_id, chosen, context, alternatives, propensity, reward)"
		" VALUES ($1, $2, $3, pg_catalog.jsonb_build_object('policy', 'priority, fifo', 'function', $4::pg_catalog.text), $5, 1, $6)",
		.nargs = 6,
		.argtypes = {TIMESTAMPTZOID, INT4OID, INT8OID, TEXTOID, INT8ARRAYOID, FLOAT4OID},
	};
	Datum		ids[DBOS_MAX_ALTERNATIVES];
	Datum		values[6];
	DbosOwnerScope scope;

	for (int i = 0; i < sample->count; i++)
		ids[i] = Int64GetDatum(sample->alternatives[i]);
	values[0] = TimestampTzGetDatum(member->attempt.started_at);
	values[1] = Int32GetDatum(member->queue_id);
	values[2] = Int64GetDatum(member->id);
	/* The text of an SQL task is content. */
	values[3] = CStringGetTextDatum(member->kind == 's' ? "SQL" : member->function);
	values[4] = PointerGetDatum(construct_array(ids, sample->count, INT8OID,
												sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	/* The cost that a policy shall learn to lower: seconds from submit to end. */
	values[5] = Float4GetDatum(-(float4) ((member->attempt.finished_at - member->submitted_at) / 1000000.0));
	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
	dbos_owner_end(&scope);
}

/* Runs SQL text that commits by itself, or must not be in a transaction block. */
static Jsonb *
run_own_transactions(DbosMember *member)
{
	Jsonb	   *result;

	dbos_task_row_close(&member->row);
	member->row.relation = NULL;
	dbos_session_commit();
	pgstat_report_activity(STATE_RUNNING, "SQL task");
	result = dbos_command_execute(member->function, true, &member->attempt.rows);
	dbos_stop_point("command done");
	note_usage(member);
	dbos_session_begin();
	return result;
}

/* Runs what fits into our transaction. */
static Jsonb *
run_inside(DbosMember *member, bool others_wait)
{
	Jsonb	   *result;

	dbos_company_enter(others_wait, dbos_habit_vouched_for(member->function_oid), member->attempt.started_at);
	if (member->kind == 's')
	{
		pgstat_report_activity(STATE_RUNNING, "SQL task");
		result = dbos_command_execute(member->function, false, &member->attempt.rows);
	}
	else
		result = dbos_function_call_execute(member->call, member->args, &member->attempt.rows);
	dbos_company_leave();
	dbos_stop_point("task effects done");
	note_usage(member);
	return result;
}

void
dbos_member_run(DbosMember *member, bool others_wait, const DbosSample *sample)
{
	Jsonb	   *result;

	arm_stop(member);
	if (dbos_member_commits_itself(member))
		result = run_own_transactions(member);
	else
		result = run_inside(member, others_wait);
	/* A body may have made the transaction read only; that binds its own statements. */
	XactReadOnly = false;
	if (member->copy)
		dbos_copy_overtake(member);
	dbos_member_end(member, DBOS_SUCCEEDED, result, NULL);
	if (sample->taken)
		record_decision(member, sample);
}

void
dbos_member_end(DbosMember *member, const char *state, Jsonb *result, Jsonb *error)
{
	if (member->attempt.finished_at == 0)
		note_usage(member);
	if (member->row.relation == NULL)
		(void) dbos_task_settle(member->id, state, result, error, &member->attempt);
	else
	{
		dbos_task_settle_row(&member->row, member->id, state, result, error, &member->attempt);
		dbos_task_row_close(&member->row);
	}
}

/* ---- failure ---- */

DbosFailure *
dbos_member_failure(DbosMember *member, ErrorData *error)
{
	DbosFailure *failure = palloc0(sizeof(DbosFailure));

	note_usage(member);
	failure->attempt = member->attempt;
	failure->interrupted = error->sqlerrcode == ERRCODE_QUERY_CANCELED;
	if (failure->interrupted && stops_told > 0)
	{
		failure->at_deadline = member->deadline != 0 && GetCurrentTimestamp() >= member->deadline;
		error->message = psprintf("canceling task due to its time-out of %g s",
								  member->timeout_ms / 1000.0);
		error->hint = pstrdup("Give the task a longer timeout, or make it do less.");
	}
	failure->error = failure->at_deadline ?
		dbos_error_make(ERRCODE_DBOS_DEADLINE, "task was stopped at its deadline", NULL, NULL) :
		dbos_error_json(error);
	return failure;
}

void
dbos_member_write_failure(int64 id, DbosFailure *failure)
{
	dbos_stop_point("task failed");
	if (failure->interrupted && dbos_task_row_cancelled(id))
		(void) dbos_task_settle(id, DBOS_CANCELLED, NULL,
								dbos_error_make(ERRCODE_DBOS_TASK_CANCELLED, "task was cancelled", NULL, NULL),
								&failure->attempt);
	else if (failure->at_deadline)
		(void) dbos_task_settle(id, DBOS_FAILED, NULL, failure->error, &failure->attempt);
	else
		(void) dbos_task_attempt_failed(id, failure->error, &failure->attempt);
}
