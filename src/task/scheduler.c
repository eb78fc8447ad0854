/*
 * scheduler.c
 *	  What becomes ready when, in one database: the duties of its scheduler.
 *
 * The scheduler alone moves tasks into the ready order when time or other tasks
 * make them ready, counts crashes, fails what is overdue or can never be run,
 * refills the shared run queue from the table, and drops old history.  It acts
 * with a fresh snapshot after the commit of whoever told it, so that neither of
 * two transactions that do not see each other can leave a task waiting for ever.
 *
 * Each duty is a transaction of its own; one that fails is logged and does not
 * take its neighbours along.  All of it may be done twice without harm.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "alert.h"
#include "map.h"
#include "schedule.h"
#include "scheduler.h"
#include "tables_only.h"
#include "task.h"

/* What other rooms have to do takes this long at most, each, before tasks are looked after again. */
#define DUTY_SHARE_MS 100
/* A time that has come, whatever the clock says. */
#define AT_ONCE 1
/* A scheduler without work stays this long, since work often follows work. */
#define LINGER_MS 2000
/* Without shared memory: it looks this often, leaves after this without work, and after this in any case. */
#define TABLES_LOOK_MS 20
#define TABLES_LINGER_MS 300
#define TABLES_SLICE_MS 2000
#define CANCEL_REPEAT_MS 500
/* Old history is looked for this often. */
#define RETENTION_INTERVAL_MS (10 * 60 * 1000)
/* What could not be done is tried again after this. */
#define LOOK_AGAIN_MS 1000
/* So are lanes for which there was no room. */
#define LANES_AGAIN_MS 100
/* Nobody's lock may keep the scheduler of all from its other duties for longer. */
#define LOCK_TIMEOUT "1s"
/* A login that was refused for a reason that may pass is tried again after this. */
#define REFUSAL_RETRY_MS 1000

MemoryContext dbos_round_context = NULL;
static TimestampTz begun = 0;
static TimestampTz last_work = 0;
static TimestampTz last_retention = 0;
/* When what failed, or was locked, is tried again; 0: nothing was. */
static TimestampTz look_again_at = 0;
static DbosWorkerAddress self;

static DbosDatabase *
my_database(void)
{
	return dbos_database_find(MyDatabaseId, true);
}

/* Dependent tasks that could not be looked at now are looked at with the others, a little later. */
static void
check_all_again(void)
{
	look_again_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOOK_AGAIN_MS);
	if (dbos_task_shared == NULL)
		return;
	DBOS_TASK_LOCK();
	my_database()->check_all = true;
	DBOS_TASK_UNLOCK();
}

/* What failed is looked at again, but not at full speed. */
static void
look_again_later(void)
{
	check_all_again();
	if (dbos_task_shared == NULL)
	{
		pg_usleep(100000L);
		return;
	}
	DBOS_TASK_LOCK();
	my_database()->opened = false;
	DBOS_TASK_UNLOCK();
}

/* Runs a duty in a transaction of its own; its error is logged and it is tried again later. */
void
dbos_do_duty(const char *what, void (*duty) (void *), void *argument)
{
	MemoryContext old = MemoryContextSwitchTo(dbos_round_context);

	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		pgstat_report_activity(STATE_RUNNING, what);
		duty(argument);
		if (ActiveSnapshotSet())
			PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(dbos_round_context);
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		look_again_later();
	}
	PG_END_TRY();
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(old);
}

/* The ids in the first column of the rows that the last statement returned, in the round's context. */
static int64 *
ids_returned(uint64 count)
{
	int64	   *ids = MemoryContextAlloc(dbos_round_context, Max(count, 1) * sizeof(int64));

	for (uint64 i = 0; i < count; i++)
	{
		bool		null;

		ids[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
	}
	return ids;
}

/* ---- what time makes ready, or ends ---- */

/* The rows of the last statement: queue, login role, DBOS_READY_COLUMNS. */
static void
push_returned(uint64 count)
{
	SPITupleTable *rows = SPI_tuptable;

	for (uint64 i = 0; i < count; i++)
	{
		bool		null;
		DbosQueueFacts facts;
		DbosTicket	ticket;

		facts = dbos_queue_by_id(DatumGetInt32(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &null)));
		dbos_ready_read(rows->vals[i], rows->tupdesc, 3, &facts.policy, &ticket);
		dbos_pending_push(&ticket, DatumGetObjectId(SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &null)),
						  &facts);
	}
}

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
	push_returned(count);
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
	ids = ids_returned(count);
	dbos_owner_end(&scope);
	for (uint64 i = 0; i < count; i++)
		(void) dbos_task_settle(ids[i], DBOS_FAILED, NULL,
								dbos_error_make(ERRCODE_DBOS_DEADLINE,
												"task was not started before its deadline", NULL, NULL),
								NULL);
	*more = count == DBOS_CHUNK;
}

/* When the clock makes the next task ready or ends it. */
static void
find_next_due(void *argument)
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
	Datum		value = TimestampTzGetDatum(now);
	DbosOwnerScope scope;
	bool		null;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, &value, NULL, false, 1);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
	/* The driven clock of a test may run apart from the wall clock by which we sleep. */
	*due = null ? 0 : GetCurrentTimestamp() + Max(DatumGetTimestampTz(value) - now, 0);
	scheduled = dbos_schedules_due();
	/* One that is due has been fired, unless somebody has its row. */
	if (scheduled != 0)
		scheduled = GetCurrentTimestamp() + (scheduled > now ? scheduled - now : LOOK_AGAIN_MS * INT64CONST(1000));
	if (scheduled != 0 && (*due == 0 || scheduled < *due))
		*due = scheduled;
	dbos_owner_end(&scope);
}

/* ---- dependencies ---- */

/* Ends of the dependencies of one task, and what follows for it. */
static void
check_dependencies(void *argument)
{
	static DbosPlan lock = {
		.sql = "SELECT t.unmet, t.kind FROM dbos.task t WHERE t.shard OPERATOR(pg_catalog.=) $1"
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
			check_all_again();
		dbos_owner_end(&scope);
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
			push_returned(1);
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

	dbos_owner_begin(&scope);
	list->count = dbos_plan_execute(list->after == 0 ? &of_all : &of_one, &value, NULL, false, 0);
	list->tasks = ids_returned(list->count);
	dbos_owner_end(&scope);
}

static void
check_dependents_of(int64 ended)
{
	TaskList	list = {.after = ended};

	dbos_do_duty("find dependent tasks", find_dependents, &list);
	for (uint64 i = 0; i < list.count; i++)
		dbos_do_duty("check dependencies", check_dependencies, &list.tasks[i]);
}

/* Takes the events of this database out of the ring and acts on each. */
static bool
handle_events(void)
{
	DbosTaskShared *shared = dbos_task_shared;
	DbosEvent  *events = MemoryContextAlloc(dbos_round_context, sizeof(shared->events));
	int			count = 0;
	int			kept = 0;
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
	all = my_database()->check_all;
	my_database()->check_all = false;
	DBOS_TASK_UNLOCK();
	if (all)
		check_dependents_of(0);
	else
		for (int i = 0; i < count; i++)
		{
			if (events[i].kind == 'c')
				dbos_do_duty("check dependencies", check_dependencies, &events[i].task);
			else
				check_dependents_of(events[i].task);
		}
	return all || count > 0;
}

/* ---- crashes and refused logins ---- */

typedef struct CrashCount
{
	int64		task;
	bool		counted;
} CrashCount;

static void
count_crash(void *argument)
{
	CrashCount *crash = argument;

	crash->counted = dbos_task_crash_counted(crash->task);
}

/* False when it could not be counted now, and is to be counted later. */
static bool
crash_counted(int64 task)
{
	CrashCount	crash = {.task = task};

	dbos_do_duty("count a crash", count_crash, &crash);
	if (!crash.counted)
		look_again_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOOK_AGAIN_MS);
	return crash.counted;
}

/* Puts a crash back among those that are to be counted. */
static void
keep_crash(int64 task)
{
	DbosTaskShared *shared = dbos_task_shared;

	DBOS_TASK_LOCK();
	if (shared->ncrashes < DBOS_MAX_CRASHES)
	{
		shared->crashes[shared->ncrashes].database = MyDatabaseId;
		shared->crashes[shared->ncrashes++].task = task;
	}
	DBOS_TASK_UNLOCK();
}

static bool
handle_crashes(void)
{
	DbosTaskShared *shared = dbos_task_shared;
	int64		tasks[DBOS_MAX_CRASHES];
	int			count = 0;
	int			kept = 0;

	DBOS_TASK_LOCK();
	for (int i = 0; i < shared->ncrashes; i++)
	{
		if (shared->crashes[i].database == MyDatabaseId)
			tasks[count++] = shared->crashes[i].task;
		else
			shared->crashes[kept++] = shared->crashes[i];
	}
	shared->ncrashes = kept;
	DBOS_TASK_UNLOCK();
	for (int i = 0; i < count; i++)
		if (!crash_counted(tasks[i]))
			keep_crash(tasks[i]);
	return count > 0;
}

typedef struct RefusedLogin
{
	Oid			session_role;
	bool		passing;		/* the reason may pass by itself */
	bool		more;
} RefusedLogin;

/* Why a role cannot log in, as login itself decides; NULL when it can. */
Jsonb *
dbos_login_obstacle(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		can_login;
	bool		super;

	if (!HeapTupleIsValid(tuple))
		return dbos_error_make(ERRCODE_UNDEFINED_OBJECT, "role that submitted the task does not exist any more",
							   NULL, NULL);
	can_login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	super = ((Form_pg_authid) GETSTRUCT(tuple))->rolsuper;
	ReleaseSysCache(tuple);
	if (!can_login)
		return dbos_error_make(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
							   psprintf("role \"%s\" is not permitted to log in", GetUserNameFromId(role, true)),
							   NULL, "Give it LOGIN, then retry the task.");
	if (!super && dbos_database_acl_check(MyDatabaseId, role, ACL_CONNECT) != ACLCHECK_OK)
		return dbos_error_make(ERRCODE_INSUFFICIENT_PRIVILEGE,
							   psprintf("permission denied for database \"%s\"", get_database_name(MyDatabaseId)),
							   "User does not have CONNECT privilege.",
							   "Grant it, then retry the task.");
	return NULL;
}

/* The waiting tasks of a role that cannot log in fail with the server's own reason. */
static void
fail_refused(void *argument)
{
	static DbosPlan plan = {
		.sql = "SELECT id FROM dbos.task WHERE session_role OPERATOR(pg_catalog.=) $1 AND NOT held"
		" LIMIT 1000 FOR UPDATE SKIP LOCKED",
		.nargs = 1,
		.argtypes = {OIDOID},
	};
	RefusedLogin *refused = argument;
	Jsonb	   *obstacle = dbos_login_obstacle(refused->session_role);
	Datum		value = ObjectIdGetDatum(refused->session_role);
	DbosOwnerScope scope;
	uint64		count;
	int64	   *ids;

	refused->more = false;
	refused->passing = obstacle == NULL;
	if (obstacle == NULL)
		return;
	dbos_owner_begin(&scope);
	count = dbos_plan_execute(&plan, &value, NULL, false, 0);
	ids = ids_returned(count);
	dbos_owner_end(&scope);
	for (uint64 i = 0; i < count; i++)
		(void) dbos_task_settle(ids[i], DBOS_FAILED, NULL, obstacle, NULL);
	refused->more = count == DBOS_CHUNK;
}

/* As fail_refused, for up to DBOS_CHUNK tasks, in the caller's transaction. */
void
dbos_fail_login(Oid role)
{
	RefusedLogin refused = {.session_role = role};

	fail_refused(&refused);
}

/* Fails, or gives another try to, the tasks of logins that were refused. */
static bool
handle_refusals(void)
{
	DbosTaskShared *shared = dbos_task_shared;
	Oid			roles[DBOS_MAX_REFUSALS];
	int			count = 0;
	int			kept = 0;
	bool		passing = false;

	DBOS_TASK_LOCK();
	for (int i = 0; i < shared->nrefusals; i++)
		if (shared->refusals[i].database == MyDatabaseId)
			roles[count++] = shared->refusals[i].session_role;
	DBOS_TASK_UNLOCK();
	if (count == 0)
		return false;
	for (int i = 0; i < count; i++)
	{
		RefusedLogin refused = {.session_role = roles[i]};

		do
			dbos_do_duty("fail tasks whose role cannot log in", fail_refused, &refused);
		while (refused.more);
		passing |= refused.passing;
		if (!refused.passing)
		{
			DBOS_TASK_LOCK();
			dbos_run_queue_forget_login(MyDatabaseId, roles[i]);
			DBOS_TASK_UNLOCK();
		}
	}
	if (passing)
	{
		/* As "too many connections for role": not worth a start in every moment. */
		(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, REFUSAL_RETRY_MS, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
	DBOS_TASK_LOCK();
	for (int i = 0; i < shared->nrefusals; i++)
		if (shared->refusals[i].database != MyDatabaseId)
			shared->refusals[kept++] = shared->refusals[i];
	shared->nrefusals = kept;
	dbos_wake_launcher();
	DBOS_TASK_UNLOCK();
	return true;
}

/* ---- begin and round ---- */

static bool
database_state(DbosDatabaseState *state)
{
	bool		active = false;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!dbos_extension_present())
		*state = DBOS_DATABASE_ABSENT;
	else
	{
		const char *version = dbos_sql_version(true);

		if (version == NULL || strcmp(version, DBOS_VERSION) != 0 || !dbos_identity_matches())
			*state = DBOS_DATABASE_PAUSED;
		else
		{
			*state = DBOS_DATABASE_ACTIVE;
			active = true;
		}
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	return active;
}

/* The start of the next day in UTC, by which the history is cut. */
static TimestampTz
next_midnight(TimestampTz now)
{
	return (now / USECS_PER_DAY + 1) * USECS_PER_DAY;
}

/* True when this database's tasks are to be run, and by this process. */
bool
dbos_scheduler_begin(const DbosWorkerAddress *address)
{
	DbosDatabaseState state;
	DbosDatabase *database;
	bool		active;

	self = *address;
	dbos_round_context = AllocSetContextCreate(TopMemoryContext, "dbos scheduler round",
										  ALLOCSET_DEFAULT_SIZES);
	SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
	dbos_no_transaction_timeout();
	if (!dbos_worker_attach(address))
		return false;
	active = database_state(&state);
	/* Partitions are there before anybody ends a task: nobody else's long transaction makes them. */
	if (active)
	{
		dbos_do_duty("prepare and drop history", dbos_history_retain, NULL);
		last_retention = GetCurrentTimestamp();
	}
	last_work = begun = GetCurrentTimestamp();
	if (dbos_task_shared == NULL)
		return active;
	DBOS_TASK_LOCK();
	database = my_database();
	if (database->state == DBOS_DATABASE_BLOCKED)
		active = false;
	else
		database->state = state;
	if (active)
	{
		database->work = true;
		if (!database->opened)
			database->check_all = true;
	}
	else
		database->work = false;
	DBOS_TASK_UNLOCK();
	return active;
}

/* What the clock has made ready or ended; true when there was something. */
static bool
handle_clock(void)
{
	bool		did = false;
	bool		more;

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

static void
retain_history(TimestampTz now)
{
	if (!TimestampDifferenceExceeds(last_retention, now, RETENTION_INTERVAL_MS))
		return;
	last_retention = now;
	dbos_do_duty("prepare and drop history", dbos_history_retain, NULL);
	dbos_do_duty("forget old starts", dbos_starts_forget, NULL);
}

/* ---- the duties of other rooms ---- */

typedef struct DutyRun
{
	const DbosDuty *duty;
	DbosDutyResult result;
} DutyRun;

static void
run_duty(void *argument)
{
	DutyRun    *run = argument;

	run->duty->run(&run->result);
}

/*
 * Runs each until it has nothing more to do, or has had its share of this round; when
 * one is next wanted by the clock, or 0.
 */
static TimestampTz
run_duties(void)
{
	TimestampTz due = 0;
	TimestampTz since;

	for (int i = 0; dbos_duty_at(i) != NULL; i++)
	{
		DutyRun		run = {.duty = dbos_duty_at(i)};

		since = GetCurrentTimestamp();
		do
		{
			memset(&run.result, 0, sizeof(run.result));
			dbos_do_duty(run.duty->what, run_duty, &run);
			CHECK_FOR_INTERRUPTS();
		} while (run.result.more && !TimestampDifferenceExceeds(since, GetCurrentTimestamp(), DUTY_SHARE_MS));
		if (run.result.more)
			run.result.due = AT_ONCE;
		if (run.result.due != 0 && (due == 0 || due > run.result.due))
			due = run.result.due;
	}
	return due;
}

/* ---- the round without shared memory: it looks instead of being told ---- */

static void
find_cancellations(void *argument)
{
	static DbosPlan plan = {
		.sql = "SELECT task_id FROM dbos.task_cancellation ORDER BY task_id LIMIT 1000",
	};
	TaskList   *list = argument;
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	list->count = dbos_plan_execute(&plan, NULL, NULL, true, 0);
	list->tasks = ids_returned(list->count);
	dbos_owner_end(&scope);
}

/* Looks for troubles now and then; when it does so next, or 0. */
static TimestampTz
watch(TimestampTz now, TimestampTz *watched_at)
{
	TimestampTz due = dbos_alerts_due(*watched_at);

	if (due == 0 || due > now)
		return due;
	dbos_do_duty("look for troubles", dbos_alerts_watch, NULL);
	*watched_at = now;
	return dbos_alerts_due(now);
}

/* Interrupts the tasks that were told to stop, again now and then. */
static void
deliver_cancellations(void)
{
	static TimestampTz last = 0;
	TaskList	list = {0};
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(last, now, CANCEL_REPEAT_MS))
		return;
	dbos_do_duty("find cancellations", find_cancellations, &list);
	if (list.count > 0)
		last = now;
	for (uint64 i = 0; i < list.count; i++)
		dbos_tables_cancel(list.tasks[i]);
}

static void
start_executors(void *argument)
{
	*(bool *) argument = dbos_tables_start_executors();
}

static bool
round_by_tables(void)
{
	static TimestampTz watched_at = 0;
	DbosDeadNote dead[DBOS_MAX_CRASHES];
	int			count;
	bool		work = false;
	TimestampTz now;

	/* Everybody's turn comes: the launcher goes round the databases. */
	if (dbos_tables_told_to_leave() ||
		TimestampDifferenceExceeds(begun, GetCurrentTimestamp(), TABLES_SLICE_MS) ||
		TimestampDifferenceExceeds(last_work, GetCurrentTimestamp(), TABLES_LINGER_MS))
		return false;
	count = dbos_worker_notes_of_dead(dead, lengthof(dead));
	for (int i = 0; i < count; i++)
	{
		/* Only then: an idle executor that is quicker would run the task uncounted. */
		if (crash_counted(dead[i].task))
			dbos_worker_note_taken(&dead[i]);
	}
	check_dependents_of(0);
	work |= handle_clock();
	deliver_cancellations();
	dbos_do_duty("start executors", start_executors, &work);
	(void) run_duties();
	now = GetCurrentTimestamp();
	retain_history(now);
	(void) watch(now, &watched_at);
	if (work || count > 0)
		last_work = now;
	pgstat_report_stat(false);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 TABLES_LOOK_MS, PG_WAIT_EXTENSION);
	return true;
}

static bool
lanes_are_missing(void)
{
	bool		missing;

	DBOS_TASK_LOCK();
	missing = my_database()->lanes_missing;
	DBOS_TASK_UNLOCK();
	return missing;
}

/* Does what there is to do; waits a little when there is nothing; false: leave. */
bool
dbos_scheduler_round(void)
{
	static bool first = true;
	DbosWorker *worker = dbos_worker_slot(dbos_my_worker);
	DbosDatabase *database;
	TimestampTz due = 0;
	TimestampTz rest_ends;
	TimestampTz watch_due;
	TimestampTz duty_due;
	TimestampTz now;
	bool		did = false;
	bool		more;
	bool		find;
	bool		leave;
	long		patience;

	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	MemoryContextReset(dbos_round_context);
	if (dbos_task_shared == NULL)
		return round_by_tables();

	DBOS_TASK_LOCK();
	database = my_database();
	/* Who is to make place for another looks once all the same, or nobody knew when to look next. */
	leave = (worker->leave && !first) || database->state != DBOS_DATABASE_ACTIVE;
	find = !database->opened || database->lanes_missing;
	/* What has come since then is for his successor. */
	if (!leave)
		database->work = false;
	DBOS_TASK_UNLOCK();
	if (leave)
		return false;
	first = false;

	if (find)
		dbos_do_duty("find lanes", dbos_find_lanes, NULL);
	did |= handle_crashes();
	did |= handle_refusals();
	did |= handle_events();
	did |= handle_clock();
	did |= dbos_refill_lanes();
	now = GetCurrentTimestamp();
	retain_history(now);
	dbos_do_duty("find next due", find_next_due, &due);
	DBOS_TASK_LOCK();
	rest_ends = dbos_run_queue_end_rests(MyDatabaseId, now);
	DBOS_TASK_UNLOCK();
	if (rest_ends != 0 && (due == 0 || due > rest_ends))
		due = rest_ends;
	watch_due = watch(now, &my_database()->watched_at);
	if (watch_due != 0 && (due == 0 || due > watch_due))
		due = watch_due;
	duty_due = run_duties();
	if (duty_due != 0 && (due == 0 || due > duty_due))
		due = duty_due;
	/* Once a day in any case, for the next day's partition. */
	if (due == 0 || due > next_midnight(now))
		due = next_midnight(now);
	/* As lanes come to their end there is room for others. */
	if (lanes_are_missing() && (look_again_at == 0 || look_again_at > now))
		look_again_at = TimestampTzPlusMilliseconds(now, LANES_AGAIN_MS);
	if (look_again_at != 0 && due > look_again_at)
		due = look_again_at;
	if (look_again_at <= now)
		look_again_at = 0;

	if (did)
		last_work = now;
	patience = LINGER_MS - TimestampDifferenceMilliseconds(last_work, now);
	if (due != 0)
		patience = Min(patience, TimestampDifferenceMilliseconds(now, due) + 1);
	DBOS_TASK_LOCK();
	database = my_database();
	database->next_due = due;
	/* What came meanwhile has set work again; else, after a while, the launcher keeps the clock. */
	leave = (patience <= 0 || worker->leave) && !database->work && (due == 0 || due > now);
	if (leave)
		database->scheduler = DBOS_NOBODY;
	more = database->work || worker->leave;
	DBOS_TASK_UNLOCK();
	if (leave)
		return false;
	if (!more)
	{
		int			event = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
									  Max(patience, 1), PG_WAIT_EXTENSION);

		if (event & WL_LATCH_SET)
			last_work = GetCurrentTimestamp();
	}
	return true;
}
