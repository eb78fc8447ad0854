/*
 * execute.c
 *	  One round of an executor: take a task, run it, settle it, forget it.
 *
 * Claim, effects, result and completion of a function are one transaction.  SQL
 * text that needs transactions of its own runs between two of ours, so that
 * alone may happen twice when the server dies between.  An attempt that fails is
 * rolled back and counted in a transaction of its own.
 *
 * The process is logged in as the task's session role; the role is set as a
 * local setting, bookkeeping is done as dbos_owner around the user's code and
 * never on top of it, and what a task may leave in the session is cleared before
 * the next one.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <sys/resource.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "common/pg_prng.h"
#include "executor/instrument.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "function_call.h"
#include "tables_only.h"
#include "task.h"
#include "task_row.h"

/* An executor without work leaves after this. */
#define IDLE_PATIENCE_MS 10000
/* A body that swallows its cancel is told again this often, and ended at last. */
#define STOP_REPEAT_MS 500
#define STOP_REPEATS 4
/* Without shared memory: it looks this often, is gone after this without work, and after this with others waiting. */
#define TABLES_LOOK_MS 20
#define TABLES_IDLE_MS 300
#define TABLES_SLICE_MS 500
/* Tasks whose rows others have locked are tried again after this. */
#define ASIDE_MS 20
#define MAX_ASIDE 256
/* Other tasks that could have been chosen, as recorded in a sampled decision. */
#define MAX_ALTERNATIVES 8

typedef struct ClaimedTask
{
	int64		id;
	Oid			role;
	int32		queue_id;
	int32		container;
	char		kind;
	char	   *function;
	Jsonb	   *args;
	int64		timeout_ms;		/* 0: none */
	TimestampTz deadline;		/* 0: none */
	TimestampTz submitted_at;
	bool		cancelled;
	bool		busy;			/* not claimed: another transaction has its row */
} ClaimedTask;

typedef struct SampledDecision
{
	bool		taken;
	int			count;
	int64		alternatives[MAX_ALTERNATIVES];
} SampledDecision;

static MemoryContext round_context = NULL;
static TimeoutId stop_timeout;
static volatile sig_atomic_t stops_told = 0;
static TimestampTz idle_since = 0;

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

static void
arm_stop(const ClaimedTask *task)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz end = 0;

	stops_told = 0;
	if (task->timeout_ms > 0)
		end = TimestampTzPlusMilliseconds(now, task->timeout_ms);
	if (task->deadline != 0 && (end == 0 || task->deadline < end))
		end = task->deadline;
	if (end != 0)
		enable_timeout_every(stop_timeout, Max(end, now + 1000), STOP_REPEAT_MS);
}

/* ---- claim ---- */

static void
begin_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	/* A task's transaction is a plain one whatever ALTER ROLE or ALTER DATABASE say. */
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	XactDeferrable = false;
	/* As a client's statement has one around the functions that it calls. */
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit_transaction(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* An interval in milliseconds, as its epoch is defined. */
static int64
milliseconds_of(Datum interval)
{
	return (int64) (DatumGetFloat8(DirectFunctionCall2(interval_part, CStringGetTextDatum("epoch"), interval)) * 1000);
}

/* Locks the task's row; false when it is not there, not ready, or, busy, another's. */
static bool
claim_task(int64 id, ClaimedTask *task)
{
	DbosTaskRow row;
	Datum	   *values;
	bool	   *nulls;
	MemoryContext old;
	bool		ready;

	memset(task, 0, sizeof(*task));
	if (!dbos_task_row_lock(id, LockWaitSkip, &row))
	{
		task->busy = row.busy;
		return false;
	}
	values = row.slot->tts_values;
	nulls = row.slot->tts_isnull;
	old = MemoryContextSwitchTo(round_context);
	task->id = id;
	task->role = DatumGetObjectId(values[TASK_ROLE]);
	task->queue_id = DatumGetInt32(values[TASK_QUEUE_ID]);
	task->container = DatumGetInt32(values[TASK_CONTAINER_ID]);
	task->kind = DatumGetChar(values[TASK_KIND]);
	task->function = TextDatumGetCString(values[TASK_FUNCTION]);
	task->args = DatumGetJsonbPCopy(values[TASK_ARGS]);
	if (!nulls[TASK_TIMEOUT])
		task->timeout_ms = Max(milliseconds_of(values[TASK_TIMEOUT]), 1);
	task->deadline = nulls[TASK_DEADLINE] ? 0 : DatumGetTimestampTz(values[TASK_DEADLINE]);
	task->submitted_at = DatumGetTimestampTz(values[TASK_SUBMITTED_AT]);
	ready = !DatumGetBool(values[TASK_HELD]) &&
		DatumGetObjectId(values[TASK_SESSION_ROLE]) == GetSessionUserId();
	MemoryContextSwitchTo(old);
	dbos_task_row_close(&row);
	task->cancelled = ready && dbos_task_row_cancelled(id);
	return ready;
}

/* Sets the task's role as SET LOCAL ROLE would, after the server's own checks. */
static void
assume_role(const ClaimedTask *task, bool local)
{
	char	   *name;

	/* The task's rights are its submitter's as they are now. */
	name = GetUserNameFromId(task->role, true);
	if (name == NULL)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("role of the task does not exist any more"));
	if (!dbos_may_set_role(GetSessionUserId(), task->role))
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied to set role \"%s\"", name),
				errdetail("The role that submitted the task is no member of the role that it was to run as any more."));
	/* Not the session's role as it is: ALTER ROLE ... SET role may have set another one. */
	if (task->role != GetUserId())
		(void) set_config_option("role", task->role == GetSessionUserId() ? "none" : name,
								 superuser() ? PGC_SUSET : PGC_USERSET, PGC_S_SESSION,
								 local ? GUC_ACTION_LOCAL : GUC_ACTION_SET, true, 0, false);
}

/* ---- the member that runs ---- */

typedef struct UsageStart
{
	struct rusage usage;
	BufferUsage buffers;
} UsageStart;

static void
usage_start(UsageStart *start)
{
	getrusage(RUSAGE_SELF, &start->usage);
	start->buffers = pgBufferUsage;
}

static double
seconds_of(struct timeval a)
{
	return a.tv_sec + a.tv_usec / 1000000.0;
}

static void
usage_end(const UsageStart *start, DbosAttempt *attempt)
{
	struct rusage end;

	getrusage(RUSAGE_SELF, &end);
	attempt->cpu_seconds = seconds_of(end.ru_utime) + seconds_of(end.ru_stime)
		- seconds_of(start->usage.ru_utime) - seconds_of(start->usage.ru_stime);
	attempt->buffers_hit = pgBufferUsage.shared_blks_hit - start->buffers.shared_blks_hit;
	attempt->buffers_read = pgBufferUsage.shared_blks_read - start->buffers.shared_blks_read;
	attempt->memory_bytes = (int64) end.ru_maxrss * 1024;
	attempt->finished_at = GetCurrentTimestamp();
}

/* Calls the function in the current transaction; its value, in the round's context. */
static Jsonb *
call_function(const ClaimedTask *task, int64 *rows)
{
	const DbosFunctionCall *call;
	Jsonb	   *result = NULL;
	Datum		value;
	bool		null;
	SPIPlanPtr	plan;
	int			rc;

	PushActiveSnapshot(GetTransactionSnapshot());
	call = dbos_function_call_recheck(task->function, task->args, GetUserId());
	PopActiveSnapshot();
	pgstat_report_activity(STATE_RUNNING, call->display);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	plan = dbos_function_call_plan(call);
	value = PointerGetDatum(NULL);
	if (call->takes_args)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		value = PointerGetDatum(dbos_function_call_arguments(call, task->args));
		PopActiveSnapshot();
	}
	rc = SPI_execute_plan(plan, &value, value == 0 ? "n" : NULL, false, 0);
	if (rc < 0)
		elog(ERROR, "could not execute task: %s", SPI_result_code_string(rc));
	*rows = SPI_processed;
	if (rc == SPI_OK_SELECT && SPI_processed > 0 && SPI_tuptable->tupdesc->natts > 0)
	{
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
		if (!null)
		{
			MemoryContext old = MemoryContextSwitchTo(round_context);

			result = DatumGetJsonbPCopy(value);
			MemoryContextSwitchTo(old);
		}
	}
	SPI_finish();
	return result;
}

/* What is wrong with the task before it runs: NULL, or the error it ends with. */
static Jsonb *
refuse_before_run(const ClaimedTask *task, const char **state)
{
	Jsonb	   *obstacle;

	*state = DBOS_FAILED;
	if (task->cancelled)
	{
		*state = DBOS_CANCELLED;
		return dbos_error_make(ERRCODE_DBOS_TASK_CANCELLED, "task was cancelled", NULL, NULL);
	}
	if (task->deadline != 0 && task->deadline <= dbos_now())
		return dbos_error_make(ERRCODE_DBOS_DEADLINE, "task was not started before its deadline",
							   NULL, NULL);
	/* LOGIN and CONNECT as they are now: this process may be older than their end. */
	obstacle = dbos_login_obstacle(GetSessionUserId());
	if (obstacle != NULL)
		dbos_worker_slot(dbos_my_worker)->leave = true;
	return obstacle;
}

static void
record_decision(const ClaimedTask *task, const SampledDecision *sample, const DbosAttempt *attempt)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.decision (decided_at, queue_id, chosen, context, alternatives, propensity, reward)"
		" VALUES ($1, $2, $3, pg_catalog.jsonb_build_object('policy', 'priority, fifo', 'function', $4::pg_catalog.text), $5, 1, $6)",
		.nargs = 6,
		.argtypes = {TIMESTAMPTZOID, INT4OID, INT8OID, TEXTOID, INT8ARRAYOID, FLOAT4OID},
	};
	Datum		ids[MAX_ALTERNATIVES];
	Datum		values[6];
	DbosOwnerScope scope;

	for (int i = 0; i < sample->count; i++)
		ids[i] = Int64GetDatum(sample->alternatives[i]);
	values[0] = TimestampTzGetDatum(attempt->started_at);
	values[1] = Int32GetDatum(task->queue_id);
	values[2] = Int64GetDatum(task->id);
	/* The text of an SQL task is content. */
	values[3] = CStringGetTextDatum(task->kind == 's' ? "SQL" : task->function);
	values[4] = PointerGetDatum(construct_array(ids, sample->count, INT8OID,
												sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	/* The cost that a policy shall learn to lower: seconds from submit to end. */
	values[5] = Float4GetDatum(-(float4) ((attempt->finished_at - task->submitted_at) / 1000000.0));
	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
	dbos_owner_end(&scope);
}

/* Runs a claimed function, or SQL text that fits into our transaction, to its commit. */
static void
run_in_transaction(const ClaimedTask *task, const SampledDecision *sample, DbosAttempt *attempt,
				   UsageStart *usage)
{
	Jsonb	   *result;

	assume_role(task, true);
	if (task->kind == 's')
	{
		MemoryContext old = MemoryContextSwitchTo(round_context);

		pgstat_report_activity(STATE_RUNNING, "SQL task");
		result = dbos_command_execute(task->function, false, &attempt->rows);
		MemoryContextSwitchTo(old);
	}
	else
		result = call_function(task, &attempt->rows);
	dbos_stop_point("task effects done");
	usage_end(usage, attempt);
	/* A body may have made the transaction read only; that binds its own statements. */
	XactReadOnly = false;
	(void) dbos_task_settle(task->id, DBOS_SUCCEEDED, result, NULL, attempt);
	if (sample->taken)
		record_decision(task, sample, attempt);
	dbos_stop_point("task before commit");
	commit_transaction();
	dbos_stop_point("task after commit");
}

/* Runs SQL text that commits by itself, or must not be in a transaction block. */
static void
run_own_transactions(const ClaimedTask *task, DbosAttempt *attempt, UsageStart *usage)
{
	MemoryContext old;
	Jsonb	   *result;

	assume_role(task, false);
	commit_transaction();
	pgstat_report_activity(STATE_RUNNING, "SQL task");
	old = MemoryContextSwitchTo(round_context);
	result = dbos_command_execute(task->function, true, &attempt->rows);
	MemoryContextSwitchTo(old);
	dbos_stop_point("command done");
	usage_end(usage, attempt);
	begin_transaction();
	(void) dbos_task_settle(task->id, DBOS_SUCCEEDED, result, NULL, attempt);
	commit_transaction();
}

/* Counts the attempt that just failed, in a transaction of its own. */
static void
settle_failure(const ClaimedTask *task, ErrorData *error, DbosAttempt *attempt)
{
	Jsonb	   *json;

	begin_transaction();
	dbos_stop_point("task failed");
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && dbos_task_row_cancelled(task->id))
	{
		json = dbos_error_make(ERRCODE_DBOS_TASK_CANCELLED, "task was cancelled", NULL, NULL);
		(void) dbos_task_settle(task->id, DBOS_CANCELLED, NULL, json, attempt);
	}
	else if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && stops_told > 0 &&
			 task->deadline != 0 && GetCurrentTimestamp() >= task->deadline)
	{
		json = dbos_error_make(ERRCODE_DBOS_DEADLINE, "task was stopped at its deadline", NULL, NULL);
		(void) dbos_task_settle(task->id, DBOS_FAILED, NULL, json, attempt);
	}
	else
	{
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED && stops_told > 0)
		{
			error->message = psprintf("canceling task due to its time-out of %g s",
									  task->timeout_ms / 1000.0);
			error->hint = pstrdup("Give the task a longer timeout, or make it do less.");
		}
		json = dbos_error_json(error);
		(void) dbos_task_attempt_failed(task->id, json, attempt);
	}
	commit_transaction();
}

/* ---- the session between tasks ---- */

/* What DISCARD ALL would do, but keeping plans: the next task finds a session as after login. */
static void
clean_session(void)
{
	begin_transaction();
	PortalHashTableDeleteAll();
	SetPGVariable("session_authorization", NIL, false);
	(void) set_config_option("role", "none", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
	ResetAllOptions();
	DropAllPreparedStatements();
	Async_UnlistenAll();
	LockReleaseAll(USER_LOCKMETHOD, true);
	if (dbos_task_shared == NULL)
		dbos_tables_hold();
	ResetTempTableNamespace();
	ResetSequenceCaches();
	commit_transaction();
}

/* The worker is idle again; its task is none of shared memory's business any more. */
static void
release_task(void)
{
	DbosWorker *worker = dbos_worker_slot(dbos_my_worker);
	int32		queue_slot;
	bool		told;

	if (dbos_task_shared == NULL)
	{
		worker->since = GetCurrentTimestamp();
		worker->tasks_done++;
		dbos_worker_note(0);
		dbos_tables_put_back();
		(void) kill(MyProcPid, 0);
		return;
	}
	DBOS_TASK_LOCK();
	queue_slot = worker->queue_slot;
	told = worker->cancel;
	/* While the slot still names the task: what others dropped because of us is put back. */
	worker->state = DBOS_WORKER_IDLE;
	dbos_run_queue_done(queue_slot);
	worker->task = 0;
	worker->queue_slot = DBOS_NOBODY;
	worker->cancel = false;
	worker->since = GetCurrentTimestamp();
	worker->tasks_done++;
	DBOS_TASK_UNLOCK();
	/*
	 * A cancel was signalled under the lock, so its signal is pending by now; any
	 * system call has it delivered, before the caller forgets it.
	 */
	if (told)
		(void) kill(MyProcPid, 0);
	dbos_worker_note(0);
}

/* ---- tasks whose rows others have locked ---- */

typedef struct SetAside
{
	DbosTaskKey key;
	int32		queue_id;
} SetAside;

/* Taken from the run queue, and known to nobody else: they go back, also when the process ends. */
static SetAside aside[MAX_ASIDE];
static int	naside = 0;
static TimestampTz aside_since = 0;

/* The lock is held. */
static void
put_back_aside(void)
{
	while (naside > 0)
	{
		/* A slot of the queue that is known keeps the limits that it has. */
		DbosQueueFacts facts = {.queue_id = aside[--naside].queue_id,.concurrency = -1};

		dbos_run_queue_push(MyDatabaseId, GetSessionUserId(), &facts, aside[naside].key);
	}
}

static void
put_back_aside_at_exit(int code, Datum arg)
{
	if (naside == 0)
		return;
	DBOS_TASK_LOCK();
	put_back_aside();
	dbos_wake_launcher();
	DBOS_TASK_UNLOCK();
}

/* This process is about to be busy for who knows how long: another one shall try them. */
static void
hand_aside_over(void)
{
	if (naside == 0)
		return;
	DBOS_TASK_LOCK();
	put_back_aside();
	dbos_run_queue_wake(MyDatabaseId, GetSessionUserId());
	DBOS_TASK_UNLOCK();
}

/*
 * Somebody has the row of a ready task locked: others that are ready go first,
 * and it is tried again soon, since who only looked at it tells nobody that he
 * has done.
 */
static void
set_aside(DbosTaskKey key)
{
	if (naside == 0)
		aside_since = GetCurrentTimestamp();
	DBOS_TASK_LOCK();
	aside[naside].key = key;
	aside[naside++].queue_id = dbos_worker_slot(dbos_my_worker)->queue_id;
	DBOS_TASK_UNLOCK();
}

/*
 * Runs one task that was popped.  Returns normally also when it failed; what
 * cannot be handled ends the process, and the exit callback hands the task back.
 * False when the task could not be had.
 */
static bool
run_task(DbosTaskKey key, const SampledDecision *sample)
{
	ClaimedTask task;
	DbosAttempt attempt;
	UsageStart	usage;
	ErrorData  *volatile error = NULL;
	volatile bool claimed = false;
	volatile bool busy = false;
	volatile bool ran = false;

	memset(&task, 0, sizeof(task));
	memset(&attempt, 0, sizeof(attempt));
	attempt.task = key.id;
	attempt.started_at = GetCurrentTimestamp();
	attempt.pid = MyProcPid;
	usage_start(&usage);
	dbos_worker_note(key.id);

	PG_TRY();
	{
		begin_transaction();
		claimed = claim_task(key.id, &task);
		busy = task.busy;
		if (!claimed)
			commit_transaction();
		else
		{
			const char *state;
			Jsonb	   *refusal = refuse_before_run(&task, &state);

			dbos_stop_point("task claimed");
			if (refusal != NULL)
			{
				usage_end(&usage, &attempt);
				(void) dbos_task_settle(task.id, state, NULL, refusal, &attempt);
				commit_transaction();
			}
			else
			{
				ran = true;
				hand_aside_over();
				dbos_context_begin_task(task.id, task.container);
				arm_stop(&task);
				if (task.kind == 's' && !dbos_command_is_transactional(task.function))
					run_own_transactions(&task, &attempt, &usage);
				else
					run_in_transaction(&task, sample, &attempt, &usage);
			}
		}
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(round_context);
		/* An error in what follows ends the process: no handling of errors in handling errors. */
		error = CopyErrorData();
		FlushErrorState();
		disable_timeout(stop_timeout, false);
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	if (get_timeout_active(stop_timeout))
		disable_timeout(stop_timeout, false);
	dbos_context_end_task();

	/* A stop that came too late for its task must not hit the bookkeeping. */
	HOLD_CANCEL_INTERRUPTS();
	QueryCancelPending = false;
	if (error != NULL)
	{
		if (!claimed)
			ReThrowError(error);
		usage_end(&usage, &attempt);
		MemoryContextSwitchTo(round_context);
		settle_failure(&task, error, &attempt);
	}
	if (ran)
		clean_session();
	if (!claimed && busy && dbos_task_shared != NULL)
		set_aside(key);
	release_task();
	QueryCancelPending = false;
	RESUME_CANCEL_INTERRUPTS();
	pgstat_report_activity(STATE_IDLE, NULL);
	pgstat_report_stat(false);
	return claimed;
}

/* ---- rounds ---- */

void
dbos_executor_begin(const DbosWorkerAddress *address)
{
	process_session_preload_libraries();
	round_context = AllocSetContextCreate(TopMemoryContext, "dbos executor round",
										  ALLOCSET_DEFAULT_SIZES);
	stop_timeout = RegisterTimeout(USER_TIMEOUT, stop_task);
	/* What commits here was promised to the submitter, whatever the role's own choice. */
	SetConfigOption("synchronous_commit", "on", PGC_SUSET, PGC_S_OVERRIDE);
	debug_query_string = NULL;
	if (!dbos_worker_attach(address))
		proc_exit(0);
	on_shmem_exit(put_back_aside_at_exit, (Datum) 0);
	idle_since = GetCurrentTimestamp();
}

/* Draws whether this choice is recorded, and what else could have been chosen; lock held. */
static void
sample_decision(SampledDecision *sample)
{
	sample->taken = dbos_task_decision_sampling > 0 &&
		pg_prng_double(&pg_global_prng_state) < dbos_task_decision_sampling;
	sample->count = 0;
	if (!sample->taken || dbos_task_shared == NULL)
		return;
	for (int i = 0; i < dbos_task_shared->nlanes && sample->count < MAX_ALTERNATIVES; i++)
	{
		DbosLane   *lane = &dbos_task_shared->lanes[i];
		int32		entry;

		if (lane->database != MyDatabaseId || lane->session_role != GetSessionUserId() ||
			!dbos_lane_runnable(lane))
			continue;
		sample->alternatives[sample->count++] = dbos_run_entries()[lane->root].key.id;
		entry = dbos_run_entries()[lane->root].child;
		while (entry != DBOS_NOBODY && sample->count < MAX_ALTERNATIVES)
		{
			sample->alternatives[sample->count++] = dbos_run_entries()[entry].key.id;
			entry = dbos_run_entries()[entry].sibling;
		}
	}
}

/*
 * A round of an executor that nobody wakes: it looks, takes, and leaves when it
 * has found nothing for a while, or has been here long and others want its place.
 */
static bool
round_by_tables(void)
{
	DbosWorker *worker = dbos_tables_self();
	TimestampTz now = GetCurrentTimestamp();
	MemoryContext old;
	DbosTaskKey key;
	SampledDecision sample;
	int			alternatives;
	bool		got;

	if (dbos_tables_told_to_leave() ||
		(TimestampDifferenceExceeds(worker->serving_since, now, TABLES_SLICE_MS) &&
		 dbos_tables_free_places() == 0))
		return false;
	sample_decision(&sample);
	old = MemoryContextSwitchTo(round_context);
	begin_transaction();
	got = dbos_tables_pop(GetSessionUserId(), &key, sample.alternatives, &alternatives,
						  sample.taken ? MAX_ALTERNATIVES : 0);
	commit_transaction();
	MemoryContextSwitchTo(round_context);
	sample.count = alternatives;
	if (got)
	{
		if (!run_task(key, &sample))
			dbos_tables_pass_by(key.id);
		MemoryContextSwitchTo(old);
		return true;
	}
	MemoryContextSwitchTo(old);
	dbos_tables_forgive();
	if (TimestampDifferenceExceeds(worker->since, now, TABLES_IDLE_MS))
		return false;
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 TABLES_LOOK_MS, PG_WAIT_EXTENSION);
	return true;
}

/* The database's workers are to be gone, or this one is to make place. */
static bool
told_to_leave(const DbosWorker *worker)
{
	DbosDatabase *database = dbos_database_find(MyDatabaseId, false);

	return worker->leave || database == NULL || database->state != DBOS_DATABASE_ACTIVE;
}

bool
dbos_executor_round(void)
{
	DbosWorker *worker = dbos_worker_slot(dbos_my_worker);
	DbosTaskKey key;
	int32		queue_slot;
	bool		left = false;
	bool		got = false;
	bool		leave;
	SampledDecision sample;

	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	MemoryContextReset(round_context);
	if (dbos_task_shared == NULL)
		return round_by_tables();

	DBOS_TASK_LOCK();
	leave = told_to_leave(worker);
	if (!leave)
	{
		worker->woken = false;
		sample_decision(&sample);
		/* Locked ones come back when there is nothing else, or one would go round them without a pause. */
		got = naside < MAX_ASIDE &&
			dbos_run_queue_pop(MyDatabaseId, GetSessionUserId(), &key, &queue_slot, &left);
		if (!got && naside > 0 &&
			TimestampDifferenceExceeds(aside_since, GetCurrentTimestamp(), ASIDE_MS))
		{
			put_back_aside();
			got = dbos_run_queue_pop(MyDatabaseId, GetSessionUserId(), &key, &queue_slot, &left);
		}
		if (got && left)
			dbos_run_queue_wake(MyDatabaseId, GetSessionUserId());
		if (!got && naside == 0 && TimestampDifferenceExceeds(worker->since, GetCurrentTimestamp(), IDLE_PATIENCE_MS))
			leave = worker->leave = true;
	}
	DBOS_TASK_UNLOCK();
	if (leave)
		return false;
	if (got)
	{
		MemoryContext old = MemoryContextSwitchTo(round_context);

		(void) run_task(key, &sample);
		MemoryContextSwitchTo(old);
		return true;
	}
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 naside > 0 ? ASIDE_MS : IDLE_PATIENCE_MS, PG_WAIT_EXTENSION);
	return true;
}
