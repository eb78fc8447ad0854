/*
 * worker_pool.c
 *	  The pool of worker processes: who is started, and who makes place for another.
 *
 * The launcher decides, from the tracks and the worker table, which (database,
 * login role) needs a process, within dbos.max_workers and always leaving two
 * worker slots of the server to others.  A role that waits while all places are
 * taken gets that of the longest idle worker of another, or, when none is idle,
 * of the one that served longest.
 *
 * It reserves the slot, which the process takes (worker_slot.c).  A process that ended
 * before that could not log in, say; its login is not tried again until a scheduler has
 * looked for the reason (worker_failure.c).  Without shared memory the launcher goes
 * by other means: tables_only_pool.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "replication/logicallauncher.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "tables_only.h"
#include "gang.h"
#include "speculation.h"
#include "task.h"

/* While all places are taken, the launcher looks for who waits this often, unasked. */
#define LAUNCHER_REST_MS 5
/* A role must have been served this long before another takes its place. */
#define SERVICE_SLICE_MS 50
/* A start that nobody finished is given up after this. */
#define START_PATIENCE_MS 10000
/* After a start that failed for no lasting reason. */
#define START_RETRY_MS 1000

static BackgroundWorkerHandle **handles = NULL; /* of the launcher, by worker slot */

/* ---- how many there may be ---- */

/* Processes that we may have at all, waiting or not. */
int
dbos_worker_process_limit(void)
{
	/* One slot is the launcher's, two are left to others, one is the server's own launcher's. */
	return Max(max_worker_processes - 3 - (max_logical_replication_workers > 0 ? 1 : 0), 1);
}

/* Places for workers that run tasks or schedule, when none waits inside a task. */
static int
worker_places(void)
{
	int			places = dbos_worker_process_limit();

	if (dbos_max_workers >= 0)
		places = Min(places, dbos_max_workers + 1);
	return Max(places, 1);
}

/* ---- who is started, and who makes place ---- */

/* Has the postmaster start a process; false when no slot of the server is free. */
bool
dbos_worker_start(const DbosWorkerAddress *address, bool is_scheduler, BackgroundWorkerHandle **handle)
{
	BackgroundWorker process;

	memset(&process, 0, sizeof(process));
	process.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	process.bgw_start_time = BgWorkerStart_RecoveryFinished;
	process.bgw_restart_time = BGW_NEVER_RESTART;
	process.bgw_notify_pid = MyProcPid;
	strlcpy(process.bgw_library_name, "dbos", BGW_MAXLEN);
	strlcpy(process.bgw_function_name, is_scheduler ? "dbos_scheduler_main" : "dbos_executor_main",
			BGW_MAXLEN);
	strlcpy(process.bgw_type, is_scheduler ? "dbos scheduler" : "dbos executor", BGW_MAXLEN);
	strlcpy(process.bgw_name, process.bgw_type, BGW_MAXLEN);
	StaticAssertStmt(sizeof(*address) <= BGW_EXTRALEN, "address fits");
	memcpy(process.bgw_extra, address, sizeof(*address));
	return RegisterDynamicBackgroundWorker(&process, handle);
}

static bool
start_process(int slot, Oid database, Oid session_role, bool is_scheduler)
{
	DbosWorkerAddress address;

	memset(&address, 0, sizeof(address));
	address.database = database;
	address.session_role = session_role;
	address.slot = slot;
	address.generation = dbos_worker_slot(slot)->generation;
	if (handles[slot] != NULL)
		pfree(handles[slot]);
	handles[slot] = NULL;
	return dbos_worker_start(&address, is_scheduler, &handles[slot]);
}

/* Reserves a worker slot; the lock is held.  DBOS_NOBODY when all places are taken. */
static int
reserve_slot(Oid database, Oid session_role, bool is_scheduler)
{
	int			taken = 0;
	int			executors = 0;
	int			processes = 0;
	int			unused = DBOS_NOBODY;

	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		DbosWorker *worker = dbos_worker_slot(i);

		if (worker->state == DBOS_WORKER_FREE)
		{
			if (unused == DBOS_NOBODY)
				unused = i;
		}
		else
		{
			processes++;
			if (worker->state != DBOS_WORKER_WAITING)
			{
				taken++;
				if (!worker->is_scheduler)
					executors++;
			}
		}
	}
	/* A place that no scheduler needs at the moment is not one more for executors. */
	if (unused == DBOS_NOBODY || taken >= worker_places() ||
		processes >= dbos_worker_process_limit() ||
		(!is_scheduler && dbos_max_workers >= 0 && executors >= dbos_max_workers))
		return DBOS_NOBODY;
	else
	{
		DbosWorker *worker = dbos_worker_slot(unused);
		uint32		generation = worker->generation + 1;

		memset(worker, 0, sizeof(*worker));
		worker->generation = generation;
		worker->state = DBOS_WORKER_STARTING;
		worker->is_scheduler = is_scheduler;
		worker->database = database;
		worker->session_role = session_role;
		worker->proc_number = DBOS_NOBODY;
		worker->queue_slot = DBOS_NOBODY;
		worker->progress = -1;
		worker->since = GetCurrentTimestamp();
		return unused;
	}
}

/* A waiting role wants a place: the longest idle worker leaves, or the longest serving one. */
static void
make_place(Oid database, Oid session_role)
{
	DbosWorker *idle = NULL;
	DbosWorker *serving = NULL;
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		DbosWorker *worker = dbos_worker_slot(i);

		if (worker->leave)
			return;				/* one place at a time is on its way */
		if (worker->is_scheduler && worker->state == DBOS_WORKER_IDLE &&
			worker->database != database &&
			(idle == NULL || worker->since < idle->since))
			idle = worker;
		if (worker->is_scheduler ||
			(worker->database == database && worker->session_role == session_role))
			continue;
		if (worker->state == DBOS_WORKER_IDLE && (idle == NULL || worker->since < idle->since))
			idle = worker;
		if (worker->state == DBOS_WORKER_RUNNING && worker->serving_since != 0 &&
			TimestampDifferenceExceeds(worker->serving_since, now, SERVICE_SLICE_MS) &&
			(serving == NULL || worker->serving_since < serving->serving_since))
			serving = worker;
	}
	if (idle == NULL)
		idle = serving;
	if (idle != NULL)
	{
		idle->leave = true;
		dbos_wake_now(idle->proc_number, idle->pid);
	}
}

/* Whether a worker of this login is about to take what waits. */
static bool
worker_comes(Oid database, Oid session_role)
{
	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		DbosWorker *worker = dbos_worker_slot(i);

		if (!worker->is_scheduler && worker->database == database &&
			worker->session_role == session_role && !worker->leave &&
			(worker->state == DBOS_WORKER_STARTING || worker->state == DBOS_WORKER_IDLE))
			return true;
	}
	return false;
}

/* Whether the login has a worker that will come to what waits, sooner or later. */
static bool
worker_is_busy(Oid database, Oid session_role)
{
	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		DbosWorker *worker = dbos_worker_slot(i);

		if (!worker->is_scheduler && worker->database == database &&
			worker->session_role == session_role && !worker->leave &&
			worker->state == DBOS_WORKER_RUNNING)
			return true;
	}
	return false;
}

/* A process that ended before it attached could not log in, or found no database. */
static void
reap_failed_starts(TimestampTz now)
{
	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		DbosWorker *worker = dbos_worker_slot(i);
		pid_t		pid;
		bool		gone;

		if (worker->state != DBOS_WORKER_STARTING)
			continue;
		gone = handles[i] != NULL ? GetBackgroundWorkerPid(handles[i], &pid) == BGWH_STOPPED
			: TimestampDifferenceExceeds(worker->since, now, START_PATIENCE_MS);
		if (!gone)
			continue;
		DBOS_TASK_LOCK();
		if (worker->state == DBOS_WORKER_STARTING)
		{
			DbosDatabase *database = dbos_database_find(worker->database, false);

			worker->state = DBOS_WORKER_FREE;
			if (database != NULL && worker->is_scheduler)
			{
				database->scheduler = DBOS_NOBODY;
				database->probe_after = TimestampTzPlusMilliseconds(now, START_RETRY_MS);
			}
			else if (database != NULL && dbos_task_shared->nrefusals < DBOS_MAX_REFUSALS)
			{
				DbosRefusal *refusal = &dbos_task_shared->refusals[dbos_task_shared->nrefusals++];

				refusal->database = worker->database;
				refusal->session_role = worker->session_role;
				dbos_scheduler_want(database);
			}
		}
		DBOS_TASK_UNLOCK();
	}
}

static bool
login_refused(Oid database, Oid session_role)
{
	for (int i = 0; i < dbos_task_shared->nrefusals; i++)
		if (dbos_task_shared->refusals[i].database == database &&
			dbos_task_shared->refusals[i].session_role == session_role)
			return true;
	return false;
}

/* Finds one process to start and reserves its slot; the lock is held. */
static int
choose_start(TimestampTz now, Oid *database, Oid *session_role, bool *is_scheduler)
{
	for (int i = 0; i < DBOS_MAX_DATABASES; i++)
	{
		DbosDatabase *entry = &dbos_task_shared->databases[i];
		int			slot;

		if (entry->database == InvalidOid || entry->scheduler != DBOS_NOBODY ||
			entry->probe_after > now)
			continue;
		if (entry->state == DBOS_DATABASE_BLOCKED &&
			BackendPidGetProc(entry->blocker_pid) == NULL)
			entry->state = DBOS_DATABASE_UNKNOWN;
		if (!(entry->state == DBOS_DATABASE_UNKNOWN ||
			  (entry->state == DBOS_DATABASE_ACTIVE &&
			   (entry->work || (entry->next_due != 0 && entry->next_due <= now)))))
			continue;
		slot = reserve_slot(entry->database, InvalidOid, true);
		if (slot == DBOS_NOBODY)
		{
			make_place(entry->database, InvalidOid);
			break;
		}
		entry->scheduler = slot;
		*database = entry->database;
		*session_role = InvalidOid;
		*is_scheduler = true;
		return slot;
	}
	for (int i = 0; i < dbos_task_shared->ntracks; i++)
	{
		const DbosTrack *track = &dbos_task_shared->tracks[i];
		DbosDatabase *entry;
		int			slot;

		if (!dbos_track_runnable(track) || worker_comes(track->database, track->session_role) ||
			login_refused(track->database, track->session_role))
			continue;
		entry = dbos_database_find(track->database, false);
		if (entry == NULL || entry->state != DBOS_DATABASE_ACTIVE)
			continue;
		/* A gang starts with all that it needs, or not at all. */
		if (worker_is_busy(track->database, track->session_role) && !dbos_cpu_has_room(now) &&
			!dbos_gang_waits(track->database, track->session_role))
			continue;
		slot = reserve_slot(track->database, track->session_role, false);
		if (slot == DBOS_NOBODY)
		{
			make_place(track->database, track->session_role);
			continue;
		}
		*database = track->database;
		*session_role = track->session_role;
		*is_scheduler = false;
		return slot;
	}
	*is_scheduler = false;
	if (dbos_copy_wants_worker(now, worker_comes, database, session_role) &&
		!login_refused(*database, *session_role) && dbos_cpu_has_room(now))
		return reserve_slot(*database, *session_role, false);
	return DBOS_NOBODY;
}

/* ---- the databases ---- */

/* Every database that could have the extension, palloc'd; schedulers find out which do. */
Oid *
dbos_connectable_databases(int *count)
{
	MemoryContext caller = CurrentMemoryContext;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;
	int			space = 16;
	Oid		   *found = palloc(space * sizeof(Oid));

	*count = 0;
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (!form->datallowconn || form->datistemplate)
			continue;
		if (*count == space)
			found = repalloc(found, (space *= 2) * sizeof(Oid));
		found[(*count)++] = form->oid;
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	return found;
}

static void
find_databases(void)
{
	int			count;
	Oid		   *found = dbos_connectable_databases(&count);

	DBOS_TASK_LOCK();
	for (int i = 0; i < count; i++)
		(void) dbos_database_find(found[i], true);
	DBOS_TASK_UNLOCK();
	pfree(found);
}

/* Forgets databases that were dropped. */
static void
forget_dropped_databases(void)
{
	for (int i = 0; i < DBOS_MAX_DATABASES; i++)
	{
		DbosDatabase *entry = &dbos_task_shared->databases[i];
		Oid			oid = entry->database;
		bool		there;

		if (oid == InvalidOid || entry->probe_after == 0)
			continue;
		StartTransactionCommand();
		there = SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(oid));
		CommitTransactionCommand();
		if (there)
			continue;
		DBOS_TASK_LOCK();
		dbos_run_queue_forget(oid);
		if (entry->database == oid)
			memset(entry, 0, sizeof(*entry));
		DBOS_TASK_UNLOCK();
	}
}

/* ---- the launcher itself ---- */

static void
launcher_exit(int code, Datum arg)
{
	DBOS_TASK_LOCK();
	if (dbos_task_shared->launcher_pid == MyProcPid)
	{
		dbos_task_shared->launcher_pid = 0;
		dbos_task_shared->launcher_proc = DBOS_NOBODY;
	}
	DBOS_TASK_UNLOCK();
}

void
dbos_launcher_begin(void)
{
	bool		first;

	dbos_no_transaction_timeout();
	if (DBOS_TABLES_ONLY())
	{
		dbos_tables_launcher_begin();
		return;
	}
	handles = MemoryContextAllocZero(TopMemoryContext,
									 max_worker_processes * sizeof(BackgroundWorkerHandle *));
	DBOS_TASK_LOCK();
	first = dbos_task_shared->launcher_pid == 0;
	if (first)
	{
		dbos_task_shared->launcher_pid = MyProcPid;
		dbos_task_shared->launcher_proc = dbos_my_proc_number();
	}
	DBOS_TASK_UNLOCK();
	if (!first)
		proc_exit(0);			/* there is one already */
	on_shmem_exit(launcher_exit, (Datum) 0);
	if (!dbos_task_shared->notes_read)
	{
		dbos_worker_note_read();
		dbos_task_shared->notes_read = true;
	}
	find_databases();
}

/* Starts what is wanted; returns for how many ms there is nothing more to do. */
long
dbos_launcher_round(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long		patience = 10000;

	if (dbos_task_shared == NULL)
		return dbos_tables_launcher_round();
	reap_failed_starts(now);
	forget_dropped_databases();
	for (;;)
	{
		Oid			database = InvalidOid;
		Oid			session_role = InvalidOid;
		bool		is_scheduler = false;
		int			slot;

		DBOS_TASK_LOCK();
		slot = choose_start(now, &database, &session_role, &is_scheduler);
		DBOS_TASK_UNLOCK();
		if (slot == DBOS_NOBODY)
			break;
		dbos_task_shared->no_slot = false;
		if (!start_process(slot, database, session_role, is_scheduler))
		{
			/* max_worker_processes are in use: health() says so; look again soon. */
			DBOS_TASK_LOCK();
			dbos_worker_slot(slot)->state = DBOS_WORKER_FREE;
			if (is_scheduler)
			{
				DbosDatabase *entry = dbos_database_find(database, false);

				if (entry != NULL)
					entry->scheduler = DBOS_NOBODY;
			}
			dbos_task_shared->no_slot = true;
			DBOS_TASK_UNLOCK();
			return 100;
		}
	}

	DBOS_TASK_LOCK();
	for (int i = 0; i < DBOS_MAX_DATABASES; i++)
	{
		DbosDatabase *entry = &dbos_task_shared->databases[i];

		if (entry->database == InvalidOid || entry->scheduler != DBOS_NOBODY)
			continue;
		if (entry->state == DBOS_DATABASE_BLOCKED)
			patience = Min(patience, 200);
		if (entry->state == DBOS_DATABASE_ACTIVE && entry->next_due != 0)
			patience = Min(patience, TimestampDifferenceMilliseconds(now, entry->next_due) + 1);
		if (entry->probe_after > now)
			patience = Min(patience, TimestampDifferenceMilliseconds(now, entry->probe_after) + 1);
	}
	/* Somebody waits for a place, which pushes need not tell over and over. */
	dbos_task_shared->launcher_rest = 0;
	for (int i = 0; i < dbos_task_shared->ntracks; i++)
	{
		const DbosTrack *track = &dbos_task_shared->tracks[i];

		if (dbos_track_runnable(track) && !worker_comes(track->database, track->session_role) &&
			!login_refused(track->database, track->session_role))
		{
			patience = Min(patience, LAUNCHER_REST_MS);
			dbos_task_shared->launcher_rest = TimestampTzPlusMilliseconds(now, LAUNCHER_REST_MS);
		}
	}
	for (int i = 0; i < dbos_task_shared->nworkers; i++)
		if (dbos_worker_slot(i)->state == DBOS_WORKER_STARTING)
			patience = Min(patience, 1000);
	DBOS_TASK_UNLOCK();
	return Max(patience, 1);
}

/* Registers the launcher of a server that did not preload the library. */
bool
dbos_launcher_start(bool wait)
{
	BackgroundWorker process;
	BackgroundWorkerHandle *handle;
	pid_t		pid;

	memset(&process, 0, sizeof(process));
	process.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	process.bgw_start_time = BgWorkerStart_RecoveryFinished;
	process.bgw_restart_time = 1;
	strlcpy(process.bgw_library_name, "dbos", BGW_MAXLEN);
	strlcpy(process.bgw_function_name, "dbos_launcher_main", BGW_MAXLEN);
	strlcpy(process.bgw_name, "dbos launcher", BGW_MAXLEN);
	strlcpy(process.bgw_type, "dbos launcher", BGW_MAXLEN);
	if (!wait)
	{
		RegisterBackgroundWorker(&process);
		return true;
	}
	process.bgw_notify_pid = MyProcPid;
	if (!RegisterDynamicBackgroundWorker(&process, &handle))
		return false;
	return WaitForBackgroundWorkerStartup(handle, &pid) == BGWH_STARTED;
}

/* Whether tasks of this database are run by somebody, as far as a hint can tell. */
bool
dbos_workers_can_run(void)
{
	DbosDatabase *database;
	bool		can;

	if (DBOS_TABLES_ONLY())
		return dbos_max_workers != 0 && dbos_launcher_runs() && dbos_identity_matches();
	DBOS_TASK_LOCK();
	database = dbos_database_find(MyDatabaseId, false);
	can = dbos_task_shared->launcher_pid != 0 &&
		(database == NULL || (database->state != DBOS_DATABASE_PAUSED));
	DBOS_TASK_UNLOCK();
	return can;
}

/* Whether there is a launcher; as far as it matters, since a standby has none. */
bool
dbos_launcher_runs(void)
{
	if (DBOS_TABLES_ONLY())
		return dbos_only_taken(DBOS_ONLY_LAUNCHER, 0, 0);
	return dbos_task_shared->launcher_pid != 0;
}
