/*
 * scheduler.c
 *	  When the scheduler of one database acts, on what in which order, and when it leaves.
 *
 * The scheduler alone moves tasks into the ready order when time (due.c) or other
 * tasks (dependency.c) make them ready, counts crashes and fails what can never be run
 * (worker_failure.c), ends what was cancelled while somebody had it locked (cancel.c), refills the shared run queue from the table (refill.c), and drops
 * old history (retention.c); other rooms' duties have a share of each round.  It acts
 * with a fresh snapshot after the commit of whoever told it, so that neither of
 * two transactions that do not see each other can leave a task waiting for ever.
 *
 * Each duty is a transaction of its own; one that fails is logged and does not
 * take its neighbours along.  All of it may be done twice without harm.
 *
 * Where there is no shared memory a round does the same by looking, since nobody tells
 * it; it also interrupts the tasks that were cancelled, and starts executors.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "alert.h"
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
/* Old history is looked for this often. */
#define RETENTION_INTERVAL_MS (10 * 60 * 1000)
/* Lanes for which there was no room are looked for again after this. */
#define LANES_AGAIN_MS 100
/* Nobody's lock may keep the scheduler of all from its other duties for longer. */
#define LOCK_TIMEOUT "1s"

MemoryContext dbos_round_context = NULL;
static TimestampTz begun = 0;
static TimestampTz last_work = 0;
static TimestampTz last_retention = 0;
/* When what failed, or was locked, is tried again; 0: nothing was. */
static TimestampTz look_again_at = 0;
/* What this process was told is not all done. */
static bool in_round = false;

static DbosDatabase *
my_database(void)
{
	return dbos_database_find(MyDatabaseId, true);
}

/* What could not be done is tried again, a little later. */
void
dbos_look_again(void)
{
	look_again_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), DBOS_LOOK_AGAIN_MS);
}

/* What failed is looked at again, but not at full speed. */
static void
look_again_later(void)
{
	dbos_check_all_again();
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

/* ---- what duties share about their rows ---- */

/* The ids in the first column of the rows that the last statement returned, in the round's context. */
int64 *
dbos_ids_returned(uint64 count)
{
	int64	   *ids = MemoryContextAlloc(dbos_round_context, Max(count, 1) * sizeof(int64));

	for (uint64 i = 0; i < count; i++)
	{
		bool		null;

		ids[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
	}
	return ids;
}

/* Tells the run queue of ready tasks, the rows of the last statement: queue, login role, DBOS_READY_COLUMNS. */
void
dbos_push_returned(uint64 count)
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
	dbos_stop_point("database looked at");
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
	uint32		said = 0;
	bool		active;

	dbos_round_context = AllocSetContextCreate(TopMemoryContext, "dbos scheduler round",
										  ALLOCSET_DEFAULT_SIZES);
	SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
	dbos_no_transaction_timeout();
	if (!dbos_worker_attach(address))
		return false;
	if (dbos_task_shared != NULL)
	{
		DBOS_TASK_LOCK();
		said = my_database()->said;
		DBOS_TASK_UNLOCK();
	}
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
	/* What was said meanwhile, or is not committed yet, is newer than what we saw: whoever comes next looks anew. */
	if (database->said != said || (database->state != DBOS_DATABASE_UNKNOWN && database->state != DBOS_DATABASE_ACTIVE))
		active = false;
	else
	{
		database->state = state;
		database->work = active;
	}
	if (active && !database->opened)
		database->check_all = true;
	DBOS_TASK_UNLOCK();
	return active;
}

/* A scheduler that ends in the middle of a round was told what nobody else knows: the next one looks at all.  The lock is held. */
void
dbos_scheduler_hand_over(DbosDatabase *database)
{
	if (!in_round)
		return;
	dbos_crashes_hand_over();
	database->check_all = true;
	dbos_scheduler_want(database);
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
start_executors(void *argument)
{
	*(bool *) argument |= dbos_tables_start_executors();
}

static bool
round_by_tables(void)
{
	static TimestampTz watched_at = 0;
	bool		crashed;
	bool		work = false;
	TimestampTz now;

	/* Everybody's turn comes: the launcher goes round the databases. */
	if (dbos_tables_told_to_leave() ||
		TimestampDifferenceExceeds(begun, GetCurrentTimestamp(), TABLES_SLICE_MS) ||
		TimestampDifferenceExceeds(last_work, GetCurrentTimestamp(), TABLES_LINGER_MS))
		return false;
	crashed = dbos_handle_noted_crashes();
	dbos_check_dependents_of(0);
	work |= dbos_handle_clock();
	dbos_look_at_cancels();
	(void) dbos_handle_cancels();
	dbos_do_duty("start executors", start_executors, &work);
	(void) run_duties();
	now = GetCurrentTimestamp();
	retain_history(now);
	(void) watch(now, &watched_at);
	if (work || crashed)
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
	TimestampTz cancels_due;
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
	in_round = true;

	if (find)
		dbos_do_duty("find lanes", dbos_find_lanes, NULL);
	did |= dbos_handle_crashes();
	did |= dbos_handle_refusals();
	did |= dbos_handle_events();
	did |= dbos_handle_clock();
	did |= dbos_refill_lanes();
	now = GetCurrentTimestamp();
	retain_history(now);
	dbos_do_duty("find next due", dbos_find_next_due, &due);
	DBOS_TASK_LOCK();
	rest_ends = dbos_run_queue_end_rests(MyDatabaseId, now);
	DBOS_TASK_UNLOCK();
	if (rest_ends != 0 && (due == 0 || due > rest_ends))
		due = rest_ends;
	cancels_due = dbos_handle_cancels();
	if (cancels_due != 0 && (due == 0 || due > cancels_due))
		due = cancels_due;
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
	in_round = false;
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
