/*
 * submission.c
 *	  Who may submit, what options mean, and the rows of dbos.task that come of it.
 *
 * What can be known to be wrong is refused here, with the server's own SQLSTATE
 * and a hint, never left to a task that fails later.  The checks run as the
 * submitter; the row itself is written by heap and index calls, since a submit
 * shall cost what an INSERT of one row costs.
 *
 * A ready task is told to shared memory at commit (pending.c); one that is held
 * back, to the scheduler.  Whether what it waits for has succeeded already is
 * the scheduler's to say: the row and its dependencies are written as if
 * nothing had, so that a task which finishes at the same time is not missed.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "catalog/pg_authid.h"
#include "commands/sequence.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "dbos/container.h"

#include "submission.h"
#include "task_row.h"

/* Rows of submit_many that are written together. */
#define ROWS_AT_ONCE 128
/* Idempotency and partition keys are bookkeeping, and indexed: no documents. */
#define MAX_KEY_BYTES	1024
/* Beyond this an interval is a mistake, or infinite. */
#define MAX_YEARS		100
/* How often a session that may submit without workers looks whether there are any. */
#define WORKERS_LOOK_MS	1000

/* The pair of roles that was last found able to run tasks. */
static Oid	checked_session_role = InvalidOid;
static Oid	checked_role = InvalidOid;
static bool callbacks_registered = false;
static bool warned = false;
static TimestampTz next_look = 0;

/* ---- who may submit, and where ---- */

static void
forget_checked(Datum arg, int cacheid, uint32 hashvalue)
{
	checked_session_role = InvalidOid;
}

/*
 * A worker logs in as the session's role and sets the current one: raises what
 * it would meet.  Found good once, a pair is not checked again until a role, a
 * membership or a database changes.
 */
void
dbos_submit_check_roles(Oid session_role, Oid role)
{
	HeapTuple	tuple;
	bool		can_login;

	if (session_role == checked_session_role && role == checked_role)
		return;
	if (!callbacks_registered)
	{
		CacheRegisterSyscacheCallback(AUTHOID, forget_checked, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget_checked, (Datum) 0);
		CacheRegisterSyscacheCallback(DATABASEOID, forget_checked, (Datum) 0);
		callbacks_registered = true;
	}

	if (!dbos_may_set_role(session_role, role))
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("role \"%s\" cannot run a task as \"%s\"",
					   GetUserNameFromId(session_role, false), GetUserNameFromId(role, false)),
				errdetail("A task runs in a session of the role that is logged in, which may not set the current one."),
				errhint("Submit as a role that SET ROLE would allow."));
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(session_role));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("the role of this session was dropped"));
	can_login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	if (!can_login)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				errmsg("role \"%s\" is not permitted to log in", GetUserNameFromId(session_role, false)),
				errdetail("A task runs in a session of its own, logged in as the role of the session that submits it."),
				errhint("Use SET ROLE in a session of a role that can log in, instead of SET SESSION AUTHORIZATION."));
	if (dbos_database_acl_check(MyDatabaseId, session_role, ACL_CONNECT) != ACLCHECK_OK)
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("role \"%s\" may not connect to this database", GetUserNameFromId(session_role, false)),
				errdetail("A task runs in a session of its own, logged in as the role of the session that submits it."),
				errhint("GRANT CONNECT ON DATABASE ... TO %s;",
						quote_identifier(GetUserNameFromId(session_role, false))));
	checked_session_role = session_role;
	checked_role = role;
}

/*
 * Inside a function of another owner's that is SECURITY DEFINER, or a trigger of
 * a foreign key, the server forbids to change the role: whoever wrote it must not
 * get at the session that called it.  The task would be free of that and could
 * RESET ROLE, so that whose trigger a superuser fires would become one.
 */
static void
refuse_borrowed_session(void)
{
	Oid			session_role = GetSessionUserId();
	Oid			role = GetUserId();

	if (!InLocalUserIdChange() || role == session_role)
		return;
	ereport(ERROR,
			errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("role \"%s\" cannot run a task as \"%s\"",
				   GetUserNameFromId(session_role, false), GetUserNameFromId(role, false)),
			errdetail("A task runs in a session of the role that is logged in, which a SECURITY DEFINER function of another owner must not reach."),
			errhint("Submit outside of that function, or make it SECURITY INVOKER."));
}

void
dbos_submit_allowed(const char *command)
{
	PreventCommandDuringRecovery(command);
	PreventCommandIfReadOnly(command);
	PreventCommandIfParallelMode(command);
	dbos_require_same_version();
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("cannot submit a task within a security-restricted operation"),
				errdetail("That is the maintenance of an index or a materialized view, and the like."));
	refuse_borrowed_session();
	dbos_submit_check_roles(GetSessionUserId(), GetUserId());
}

/* Once in a session that submits where nobody runs tasks. */
void
dbos_warn_without_workers(TimestampTz now)
{
	bool		preloaded = dbos_preloaded();

	if (warned || now < next_look)
		return;
	next_look = TimestampTzPlusMilliseconds(now, WORKERS_LOOK_MS);
	if (dbos_workers_can_run())
		return;
	warned = true;
	ereport(WARNING,
			errmsg("submitted tasks do not run yet"),
			preloaded ? errdetail("The workers of this database do not run.")
			: errdetail("The library is not in shared_preload_libraries, and its workers were not started."),
			errhint("SELECT dbos.start();"));
}

/* ---- options ---- */

static void
require(FunctionCallInfo fcinfo, int at, const char *option)
{
	if (PG_ARGISNULL(at))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("%s of a task must not be null", option),
				errhint("Leave it out for the default."));
}

/* -1, 0 or 1. */
static int
interval_sign_of(const Interval *interval)
{
	Interval	zero = {0};

	return DatumGetInt32(DirectFunctionCall2(interval_cmp, IntervalPGetDatum(interval),
											 IntervalPGetDatum(&zero)));
}

static Interval *
read_interval(FunctionCallInfo fcinfo, int at, const char *option)
{
	Interval   *interval = PG_GETARG_INTERVAL_P(at);
	Interval	most = {.month = MAX_YEARS * MONTHS_PER_YEAR};

	if (interval_sign_of(interval) < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s of a task must not be negative", option));
	if (DatumGetInt32(DirectFunctionCall2(interval_cmp, IntervalPGetDatum(interval),
										  IntervalPGetDatum(&most))) > 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s of a task must be at most %d years", option, MAX_YEARS));
	return interval;
}

static TimestampTz
read_time(FunctionCallInfo fcinfo, int at, const char *option)
{
	TimestampTz time = PG_GETARG_TIMESTAMPTZ(at);

	if (TIMESTAMP_NOT_FINITE(time))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s of a task must be finite", option));
	return time;
}

void
dbos_submit_check_key(const text *key, const char *option)
{
	if (key != NULL && VARSIZE_ANY_EXHDR(key) > MAX_KEY_BYTES)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s of a task must be at most %d bytes", option, MAX_KEY_BYTES),
				errdetail("It has %zu bytes.", (size_t) VARSIZE_ANY_EXHDR(key)),
				errhint("Use a hash of it, as md5() makes."));
}

static text *
read_key(FunctionCallInfo fcinfo, int at, const char *option)
{
	text	   *key = PG_ARGISNULL(at) ? NULL : PG_GETARG_TEXT_PP(at);

	dbos_submit_check_key(key, option);
	return key;
}

static void
read_run_at(DbosSubmission *submission, FunctionCallInfo fcinfo, int run_at, int delay)
{
	if (!PG_ARGISNULL(run_at) && !PG_ARGISNULL(delay))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("run_at and delay of a task cannot be given together"),
				errhint("Give the time as run_at, or how long from now as delay."));
	if (!PG_ARGISNULL(run_at))
		submission->run_at = read_time(fcinfo, run_at, "run_at");
	else if (!PG_ARGISNULL(delay))
	{
		Interval   *interval = read_interval(fcinfo, delay, "delay");

		submission->run_at =
			DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													TimestampTzGetDatum(submission->now),
													IntervalPGetDatum(interval)));
	}
}

static int
compare_ids(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/* The ids of `after`, ascending, each once. */
static void
read_after(DbosSubmission *submission, FunctionCallInfo fcinfo, int at)
{
	ArrayType  *array;
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	int			distinct = 0;

	if (PG_ARGISNULL(at))
		return;
	array = PG_GETARG_ARRAYTYPE_P(at);
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("after must be a one-dimensional array"));
	deconstruct_array(array, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &elements, &nulls, &count);
	if (count == 0)
		return;
	submission->after = palloc(sizeof(int64) * count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("after must not hold nulls"),
					errdetail("Element %d of the array is null.", i + 1));
		submission->after[i] = DatumGetInt64(elements[i]);
	}
	qsort(submission->after, count, sizeof(int64), compare_ids);
	for (int i = 0; i < count; i++)
		if (i == 0 || submission->after[i] != submission->after[distinct - 1])
			submission->after[distinct++] = submission->after[i];
	submission->nafter = distinct;
}

static ArrayType *
id_array(const int64 *ids, int count)
{
	Datum	   *values = palloc(sizeof(Datum) * count);
	ArrayType  *array;

	for (int i = 0; i < count; i++)
		values[i] = Int64GetDatum(ids[i]);
	array = construct_array(values, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
	pfree(values);
	return array;
}

/*
 * Raises unless each of `after` is a task that the submitter sees.  By the
 * latest snapshot: a task moves to the history in one commit, so that one
 * snapshot sees it in one place; and a task of others' is as good as none.
 */
static void
check_after(DbosSubmission *submission)
{
	static DbosPlan plan = {
		.sql = "SELECT a.id, t.role, t.container_id FROM pg_catalog.unnest($1) a(id)"
		" LEFT JOIN LATERAL ("
		" SELECT w.role, w.container_id FROM dbos.task w"
		" WHERE w.shard OPERATOR(pg_catalog.=) ((a.id OPERATOR(pg_catalog.&) $2)::smallint) AND w.id OPERATOR(pg_catalog.=) a.id"
		" UNION ALL"
		" SELECT h.role, h.container_id FROM dbos.task_history h"
		" WHERE h.id OPERATOR(pg_catalog.=) a.id"
		" LIMIT 1) t ON true",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, INT8OID},
	};
	Datum		values[2];
	DbosOwnerScope scope;
	bool		all = dbos_is_admin(submission->role);
	uint64		found;
	SPITupleTable *rows;

	if (submission->nafter == 0)
		return;
	values[0] = PointerGetDatum(id_array(submission->after, submission->nafter));
	values[1] = Int64GetDatum((1 << DBOS_SHARD_BITS) - 1);
	dbos_owner_begin(&scope);
	CommandCounterIncrement();	/* a task that this very statement submitted counts */
	PushActiveSnapshot(GetLatestSnapshot());
	found = dbos_plan_execute(&plan, values, NULL, true, 0);
	PopActiveSnapshot();
	rows = SPI_tuptable;
	for (uint64 i = 0; i < found; i++)
	{
		bool		isnull;
		bool		missing;
		int64		id = DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull));
		Oid			role = DatumGetObjectId(SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &missing));
		int32		container = DatumGetInt32(SPI_getbinval(rows->vals[i], rows->tupdesc, 3, &isnull));

		if (missing || !(all || is_member_of_role(submission->role, role)) ||
			!dbos_container_contains(submission->container, container))
			ereport(ERROR,
					errcode(ERRCODE_UNDEFINED_OBJECT),
					errmsg("task " INT64_FORMAT " does not exist", id),
					errdetail("A task can wait for tasks of the same role that are in dbos.tasks."),
					errhint("Submit the task that is waited for, and commit, before the one that waits; the history forgets old ones."));
	}
	dbos_owner_end(&scope);
}

/* Reads and checks the options, which stand from argument `at` on in the order of dbos.submit(). */
void
dbos_submission_read(DbosSubmission *submission, FunctionCallInfo fcinfo, int at, DbosKeyUse use)
{
	int			queue = at++;
	int			priority = at++;
	int			run_at = at++;
	int			delay = at++;
	int			after = at++;
	int			key = use == DBOS_WITH_KEY ? at++ : -1;
	int			partition = at++;
	int			max_attempts = at++;
	int			retry_delay = at++;
	int			retry_backoff = at++;
	int			timeout = at++;
	int			deadline = at++;
	int			attributes = at++;

	memset(submission, 0, sizeof(*submission));
	submission->session_role = GetSessionUserId();
	submission->role = GetUserId();
	submission->container = dbos_context_container();
	submission->parent = dbos_context_task();
	submission->now = dbos_now();

	require(fcinfo, priority, "priority");
	submission->priority = PG_GETARG_INT32(priority);
	read_run_at(submission, fcinfo, run_at, delay);
	if (key >= 0)
		submission->idempotency_key = read_key(fcinfo, key, "idempotency_key");
	submission->partition_key = read_key(fcinfo, partition, "partition_key");
	if (submission->partition_key != NULL)
		submission->partition = dbos_partition_hash(VARDATA_ANY(submission->partition_key),
													VARSIZE_ANY_EXHDR(submission->partition_key));

	require(fcinfo, max_attempts, "max_attempts");
	submission->max_attempts = PG_GETARG_INT32(max_attempts);
	if (submission->max_attempts < 1)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("max_attempts of a task must be at least 1: %d", submission->max_attempts));
	require(fcinfo, retry_delay, "retry_delay");
	submission->retry_delay = read_interval(fcinfo, retry_delay, "retry_delay");
	require(fcinfo, retry_backoff, "retry_backoff");
	submission->retry_backoff = PG_GETARG_FLOAT4(retry_backoff);
	/* Written so that not-a-number is refused too. */
	if (!(submission->retry_backoff >= 1) || isinf(submission->retry_backoff))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("retry_backoff of a task must be a finite number of at least 1: %g",
					   submission->retry_backoff),
				errhint("1 keeps the delay as it is; 2 doubles it after each attempt."));

	if (!PG_ARGISNULL(timeout))
	{
		submission->timeout = read_interval(fcinfo, timeout, "timeout");
		if (interval_sign_of(submission->timeout) == 0)
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("timeout of a task must be greater than zero"),
					errhint("NULL stands for none."));
	}
	if (!PG_ARGISNULL(deadline))
	{
		submission->deadline = read_time(fcinfo, deadline, "deadline");
		if (submission->deadline <= submission->now)
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("deadline of a task is in the past: %s",
						   timestamptz_to_str(submission->deadline)));
	}
	require(fcinfo, attributes, "attributes");
	submission->attributes = PG_GETARG_JSONB_P(attributes);
	if (!JB_ROOT_IS_OBJECT(submission->attributes))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("attributes of a task must be a JSON object"));

	read_after(submission, fcinfo, after);
	check_after(submission);
	submission->held = submission->nafter > 0 || submission->run_at > submission->now;
	require(fcinfo, queue, "queue");
	submission->queue = dbos_queue_resolve(text_to_cstring(PG_GETARG_TEXT_PP(queue)));
	dbos_container_hold(submission->container);
	submission->sequence = dbos_relation_oid("task_id");
}

/* ---- rows ---- */

void
dbos_submission_open(DbosSubmission *submission, int rows)
{
	submission->relation = table_open(dbos_relation_oid("task"), RowExclusiveLock);
	if (RelationGetDescr(submission->relation)->natts != TASK_COLUMNS)
		elog(ERROR, "dbos.task has %d columns, not %d",
			 RelationGetDescr(submission->relation)->natts, TASK_COLUMNS);
	submission->estate = CreateExecutorState();
	submission->target = makeNode(ResultRelInfo);
	InitResultRelInfo(submission->target, submission->relation, 0, NULL, 0);
	ExecOpenIndices(submission->target, false);
	submission->space = Min(rows, ROWS_AT_ONCE);
	submission->nslots = 0;
	submission->slots = palloc(sizeof(TupleTableSlot *) * submission->space);
	for (int i = 0; i < submission->space; i++)
		submission->slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(submission->relation),
														&TTSOpsVirtual);
}

/* Writes what was made: a page and a record of WAL have room for more than one row. */
void
dbos_submission_flush(DbosSubmission *submission)
{
	if (submission->nslots == 1)
		table_tuple_insert(submission->relation, submission->slots[0], GetCurrentCommandId(true), 0, NULL);
	else if (submission->nslots > 1)
		table_multi_insert(submission->relation, submission->slots, submission->nslots,
						   GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < submission->nslots; i++)
	{
		dbos_insert_index_tuples(submission->target, submission->slots[i], submission->estate);
		ResetPerTupleExprContext(submission->estate);
		ExecClearTuple(submission->slots[i]);
	}
	submission->nslots = 0;
}

void
dbos_submission_close(DbosSubmission *submission)
{
	for (int i = 0; i < submission->space; i++)
		ExecDropSingleTupleTableSlot(submission->slots[i]);
	ExecCloseIndices(submission->target);
	FreeExecutorState(submission->estate);
	table_close(submission->relation, NoLock);
}

static void
set_value(TupleTableSlot *slot, enum TaskColumn column, Datum value)
{
	slot->tts_values[column] = value;
	slot->tts_isnull[column] = false;
}

/* At commit: the task is ready. */
static void
submission_push(const DbosSubmission *submission, int64 id, const char *function)
{
	DbosReadyTask task = {
		.id = id,
		.priority = submission->priority,
		.submitted_at = submission->now,
		.run_at = submission->run_at,
		.deadline = submission->deadline,
	};
	DbosTicket	ticket;

	dbos_policy_ticket(&submission->queue.policy, &task, dbos_function_hash(function, strlen(function)),
					   submission->partition, &ticket);
	dbos_pending_push(&ticket, submission->session_role, &submission->queue);
}

/*
 * Makes one row, to be written with those before it, and says at commit that it is
 * there.  What it is made of is the caller's until the flush.
 */
void
dbos_submission_insert(DbosSubmission *submission, int64 id, char kind, const char *function, Jsonb *args)
{
	TupleTableSlot *slot = submission->slots[submission->nslots++];

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * TASK_COLUMNS);
	set_value(slot, TASK_SHARD, Int16GetDatum(DBOS_SHARD(id)));
	set_value(slot, TASK_ID, Int64GetDatum(id));
	set_value(slot, TASK_QUEUE_ID, Int32GetDatum(submission->queue.queue_id));
	set_value(slot, TASK_SESSION_ROLE, ObjectIdGetDatum(submission->session_role));
	set_value(slot, TASK_ROLE, ObjectIdGetDatum(submission->role));
	set_value(slot, TASK_CONTAINER_ID, Int32GetDatum(submission->container));
	set_value(slot, TASK_PRIORITY, Int32GetDatum(submission->priority));
	set_value(slot, TASK_HELD, BoolGetDatum(submission->held || submission->gated));
	set_value(slot, TASK_UNMET, Int32GetDatum(submission->nafter + (submission->gated ? 1 : 0)));
	if (submission->run_at != 0)
		set_value(slot, TASK_RUN_AT, TimestampTzGetDatum(submission->run_at));
	set_value(slot, TASK_SUBMITTED_AT, TimestampTzGetDatum(submission->now));
	set_value(slot, TASK_ATTEMPT, Int32GetDatum(0));
	set_value(slot, TASK_MAX_ATTEMPTS, Int32GetDatum(submission->max_attempts));
	set_value(slot, TASK_CRASHES, Int32GetDatum(0));
	set_value(slot, TASK_RETRY_DELAY, IntervalPGetDatum(submission->retry_delay));
	set_value(slot, TASK_RETRY_BACKOFF, Float4GetDatum(submission->retry_backoff));
	if (submission->timeout != NULL)
		set_value(slot, TASK_TIMEOUT, IntervalPGetDatum(submission->timeout));
	if (submission->deadline != 0)
		set_value(slot, TASK_DEADLINE, TimestampTzGetDatum(submission->deadline));
	set_value(slot, TASK_KIND, CharGetDatum(kind));
	set_value(slot, TASK_FUNCTION, CStringGetTextDatum(function));
	set_value(slot, TASK_ARGS, JsonbPGetDatum(args));
	if (submission->parent != 0)
		set_value(slot, TASK_PARENT_ID, Int64GetDatum(submission->parent));
	if (submission->idempotency_key != NULL)
		set_value(slot, TASK_IDEMPOTENCY_KEY, PointerGetDatum(submission->idempotency_key));
	if (submission->partition_key != NULL)
		set_value(slot, TASK_PARTITION_KEY, PointerGetDatum(submission->partition_key));
	set_value(slot, TASK_ATTRIBUTES, JsonbPGetDatum(submission->attributes));
	ExecStoreVirtualTuple(slot);
	if (!submission->held && !submission->gated)
		submission_push(submission, id, function);
	if (submission->nafter > 0)
		dbos_pending_event('c', id);
	if (submission->run_at > submission->now)
		dbos_pending_due(submission->run_at);
	if (submission->deadline != 0)
		dbos_pending_due(submission->deadline);
}

/* Every one of ids waits for each of `after`. */
void
dbos_submission_depend(DbosSubmission *submission, const int64 *ids, int nids)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.task_dependency (task_id, depends_on)"
		" SELECT t.id, a.id FROM pg_catalog.unnest($1) t(id), pg_catalog.unnest($2) a(id)",
		.nargs = 2,
		.argtypes = {INT8ARRAYOID, INT8ARRAYOID},
	};
	Datum		values[2];
	DbosOwnerScope scope;

	if (submission->nafter == 0)
		return;
	values[0] = PointerGetDatum(id_array(ids, nids));
	values[1] = PointerGetDatum(id_array(submission->after, submission->nafter));
	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
	dbos_owner_end(&scope);
}

/* FNV-1a: the shard is stored, so it must come out the same on every server. */
static int16
key_shard(const text *key)
{
	const unsigned char *at = (const unsigned char *) VARDATA_ANY(key);
	uint32		hash = 2166136261u;

	for (int i = 0; i < VARSIZE_ANY_EXHDR(key); i++)
		hash = (hash ^ at[i]) * 16777619u;
	return DBOS_SHARD(hash ^ (hash >> 16));
}

/*
 * Takes the submission's idempotency key for id; true when it is another task's,
 * whose id is then in *existing.  Waits for a transaction that has taken it and
 * has not ended; raises 40001 when an older snapshot cannot see who has it.
 */
bool
dbos_submission_known_key(DbosSubmission *submission, int64 id, int64 *existing)
{
	static DbosPlan take = {
		.sql = "INSERT INTO dbos.task_key (shard, queue_id, role, key, task_id, created_at)"
		" VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (shard, queue_id, role, key) DO NOTHING",
		.nargs = 6,
		.argtypes = {INT2OID, INT4OID, REGROLEOID, TEXTOID, INT8OID, TIMESTAMPTZOID},
	};
	static DbosPlan find = {
		.sql = "SELECT task_id FROM dbos.task_key WHERE shard OPERATOR(pg_catalog.=) $1"
		" AND queue_id OPERATOR(pg_catalog.=) $2"
		" AND role OPERATOR(pg_catalog.=) $3::pg_catalog.oid"
		" AND key OPERATOR(pg_catalog.=) $4",
		.nargs = 4,
		.argtypes = {INT2OID, INT4OID, REGROLEOID, TEXTOID},
	};
	Datum		values[6];
	DbosOwnerScope scope;
	bool		known = false;

	values[0] = Int16GetDatum(key_shard(submission->idempotency_key));
	values[1] = Int32GetDatum(submission->queue.queue_id);
	values[2] = ObjectIdGetDatum(submission->role);
	values[3] = PointerGetDatum(submission->idempotency_key);
	values[4] = Int64GetDatum(id);
	values[5] = TimestampTzGetDatum(submission->now);
	dbos_owner_begin(&scope);
	/* Again when the row that was in the way has gone since, by its retention. */
	while (!known && dbos_plan_execute(&take, values, NULL, false, 0) == 0)
	{
		CHECK_FOR_INTERRUPTS();
		known = dbos_plan_execute(&find, values, NULL, false, 1) > 0;
		if (known)
		{
			bool		isnull;

			*existing = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
													SPI_tuptable->tupdesc, 1, &isnull));
		}
	}
	dbos_owner_end(&scope);
	return known;
}

int64
dbos_submission_one(DbosSubmission *submission, char kind, const char *function, Jsonb *args)
{
	int64		id = nextval_internal(submission->sequence, false);
	int64		existing;

	if (submission->idempotency_key != NULL && dbos_submission_known_key(submission, id, &existing))
		return existing;
	dbos_submission_open(submission, 1);
	dbos_submission_insert(submission, id, kind, function, args);
	dbos_submission_flush(submission);
	dbos_submission_close(submission);
	dbos_submission_depend(submission, &id, 1);
	dbos_warn_without_workers(submission->now);
	return id;
}
