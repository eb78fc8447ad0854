/*
 * tables_only_pool.c
 *	  Who is started, and who leaves, when there is no shared memory to tell it.
 *
 * The launcher goes round the databases and starts the scheduler of each for a
 * while; a scheduler finds in the tables which logins have something to run and
 * starts executors for them, as long as places are left.  Both look instead of
 * being told, so this is slower by their pauses, and nothing else.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "tables_only.h"

/* Between two rounds of the launcher over all databases. */
#define ROUND_PAUSE_MS 50
/* A database whose scheduler left at once is without tasks of ours: it is looked at less often. */
#define SHORT_VISIT_MS 100
#define ABSENT_PAUSE_MS 500
/* A blocking statement looks this often whether the last worker has left. */
#define LOOK_AGAIN_MS 20
/* An executor has taken its place after this, as a rule. */
#define START_MS 100
#define MAX_STARTS 64
/* Logins that one look starts executors for. */
#define MAX_LOGINS 256

/* ---- the launcher ---- */

typedef struct Visit
{
	BackgroundWorkerHandle *handle;
	Oid			database;
	TimestampTz since;
} Visit;

typedef struct Absence
{
	Oid			database;
	TimestampTz until;
} Absence;

static Visit *visits = NULL;
static int	nvisits;
static Oid *databases = NULL;
static int	ndatabases = 0;
static int	next_database = 0;
static Absence absences[DBOS_MAX_DATABASES];

void
dbos_tables_launcher_begin(void)
{
	if (!dbos_only_try(DBOS_ONLY_LAUNCHER, 0, 0))
		proc_exit(0);			/* there is one already */
	nvisits = max_worker_processes;
	visits = MemoryContextAllocZero(TopMemoryContext, nvisits * sizeof(Visit));
}

static Absence *
absence_of(Oid database)
{
	return &absences[database % DBOS_MAX_DATABASES];
}

/* Forgets visits that ended, and which databases they found nothing in. */
static int
end_visits(TimestampTz now)
{
	int			running = 0;

	for (int i = 0; i < nvisits; i++)
	{
		pid_t		pid;

		if (visits[i].handle == NULL)
			continue;
		if (GetBackgroundWorkerPid(visits[i].handle, &pid) != BGWH_STOPPED)
		{
			running++;
			continue;
		}
		pfree(visits[i].handle);
		visits[i].handle = NULL;
		if (!TimestampDifferenceExceeds(visits[i].since, now, SHORT_VISIT_MS))
		{
			absence_of(visits[i].database)->database = visits[i].database;
			absence_of(visits[i].database)->until = TimestampTzPlusMilliseconds(now, ABSENT_PAUSE_MS);
		}
	}
	return running;
}

static bool
is_visited(Oid database)
{
	for (int i = 0; i < nvisits; i++)
		if (visits[i].handle != NULL && visits[i].database == database)
			return true;
	return false;
}

static bool
visit(Oid database, TimestampTz now)
{
	DbosWorkerAddress address = {.database = database};

	for (int i = 0; i < nvisits; i++)
	{
		if (visits[i].handle != NULL)
			continue;
		visits[i].database = database;
		visits[i].since = now;
		return dbos_worker_start(&address, true, &visits[i].handle);
	}
	return false;
}

/* Starts the schedulers whose turn it is; returns for how many ms there is nothing more to do. */
long
dbos_tables_launcher_round(void)
{
	TimestampTz now = GetCurrentTimestamp();
	int			running = end_visits(now);

	if (next_database >= ndatabases)
	{
		if (databases != NULL)
			pfree(databases);
		databases = dbos_connectable_databases(&ndatabases);
		next_database = 0;
		if (ndatabases == 0)
			return 1000;
	}
	while (running < dbos_tables_scheduler_places() && next_database < ndatabases)
	{
		Oid			database = databases[next_database++];
		const Absence *absence = absence_of(database);

		if (is_visited(database) || (absence->database == database && absence->until > now) ||
			dbos_only_taken(DBOS_ONLY_BLOCKER, database, 0))
			continue;
		if (!visit(database, now))
			return 100;			/* max_worker_processes are in use */
		running++;
	}
	/* Told at once when a scheduler leaves; the rest is a matter of time. */
	return ROUND_PAUSE_MS;
}

/* ---- a scheduler's executors ---- */

typedef struct Start
{
	BackgroundWorkerHandle *handle;
	TimestampTz at;
} Start;

static Oid	last_login = InvalidOid;
static Start starts[MAX_STARTS];

/* Executors that were started and may not have taken their place yet. */
static int
starts_on_their_way(TimestampTz now)
{
	int			count = 0;

	for (int i = 0; i < MAX_STARTS; i++)
	{
		pid_t		pid;

		if (starts[i].handle == NULL)
			continue;
		if (GetBackgroundWorkerPid(starts[i].handle, &pid) == BGWH_STOPPED ||
			TimestampDifferenceExceeds(starts[i].at, now, START_MS))
		{
			pfree(starts[i].handle);
			starts[i].handle = NULL;
		}
		else
			count++;
	}
	return count;
}

static bool
start_executor(Oid login, TimestampTz now)
{
	DbosWorkerAddress address = {.database = MyDatabaseId,.session_role = login};
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool		started = false;

	for (int i = 0; i < MAX_STARTS && !started; i++)
	{
		if (starts[i].handle != NULL)
			continue;
		starts[i].at = now;
		started = dbos_worker_start(&address, false, &starts[i].handle);
		if (!started)
			break;
	}
	MemoryContextSwitchTo(old);
	return started;
}

/* The logins with ready tasks of a queue q, by skipping from one to the next in one of two indexes. */
#define LOGINS_OF(condition) \
	"(WITH RECURSIVE login AS (" \
	" (SELECT t.session_role::pg_catalog.oid FROM dbos.task t WHERE NOT t.held AND " condition \
	" AND t.queue_id OPERATOR(pg_catalog.=) q.id ORDER BY t.session_role LIMIT 1)" \
	" UNION ALL SELECT n.session_role FROM login l, LATERAL" \
	" (SELECT t.session_role::pg_catalog.oid FROM dbos.task t WHERE NOT t.held AND " condition \
	" AND t.queue_id OPERATOR(pg_catalog.=) q.id" \
	" AND t.session_role::pg_catalog.oid OPERATOR(pg_catalog.>) l.session_role ORDER BY t.session_role LIMIT 1) n)" \
	" SELECT session_role FROM login)"

/* Every login with ready tasks, beginning after the one that was served last. */
static int
find_logins(Oid *logins)
{
	static DbosPlan plan = {
		.sql = "SELECT DISTINCT x.session_role FROM dbos.queue q CROSS JOIN LATERAL ("
		LOGINS_OF("t.partition_key IS NULL") " UNION ALL " LOGINS_OF("t.partition_key IS NOT NULL")
		") x WHERE NOT q.paused ORDER BY 1",
	};
	DbosOwnerScope scope;
	uint64		rows;
	int			count = 0;

	dbos_owner_begin(&scope);
	rows = dbos_plan_execute(&plan, NULL, NULL, true, 0);
	for (int round = 0; round < 2; round++)
		for (uint64 i = 0; i < rows && count < MAX_LOGINS; i++)
		{
			bool		null;
			Oid			login = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));

			if ((login > last_login) == (round == 0))
				logins[count++] = login;
		}
	dbos_owner_end(&scope);
	return count;
}

/* Starts an executor for each login with a task that could run now; in a transaction. */
bool
dbos_tables_start_executors(void)
{
	Oid			logins[MAX_LOGINS];
	int			count = find_logins(logins);
	TimestampTz now = GetCurrentTimestamp();
	int			unused = dbos_tables_free_places() - starts_on_their_way(now);
	bool		work = false;

	for (int i = 0; i < count; i++)
	{
		DbosTicket	ticket;
		int			none;

		if (!dbos_tables_pop(logins[i], &ticket, NULL, NULL, &none, 0))
			continue;
		dbos_stop_point("login looked at");
		work = true;
		if (dbos_login_obstacle(logins[i]) != NULL)
		{
			dbos_fail_login(logins[i]);
			continue;
		}
		if (unused <= 0 || !start_executor(logins[i], now))
			break;
		unused--;
		last_login = logins[i];
	}
	return work;
}

/* ---- statements that need the database for themselves ---- */

/* Processes of ours in a database; with hard they are told to end at once. */
static int
workers_in(Oid database, bool hard)
{
	int			count;
	int			there = 0;
	DbosWorker *workers = dbos_tables_workers(&count);

	for (int i = 0; i < count; i++)
	{
		if (workers[i].database != database || workers[i].pid == MyProcPid)
			continue;
		there++;
		if (hard)
			(void) kill(workers[i].pid, SIGTERM);
	}
	pfree(workers);
	return there;
}

/* Waits until no process of ours is in the database; they stay away until it is unblocked. */
void
dbos_tables_expel(Oid database, bool hard)
{
	(void) dbos_only_wait(DBOS_ONLY_BLOCKER, database, 0);
	while (workers_in(database, hard) > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOOK_AGAIN_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

void
dbos_tables_unblock(Oid database)
{
	dbos_only_release(DBOS_ONLY_BLOCKER, database, 0);
}
