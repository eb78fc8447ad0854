/*
 * worker_pool.c
 *	  Worker processes: who is there, who is started, who leaves.
 *
 * The launcher decides, from the tracks and the worker table, which (database,
 * login role) needs a process, within dbos.max_workers and always leaving two
 * worker slots of the server to others.  A role that waits while all places are
 * taken gets that of the longest idle worker of another, or, when none is idle,
 * of the one that served longest.
 *
 * A process that ends while it runs a task leaves the task in the crash list;
 * one that is killed by a signal takes shared memory with it, and a small file
 * that each executor maps tells afterwards which task ran.  An innocent process
 * that the postmaster stops then wipes its own note in its SIGQUIT handler.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "replication/logicallauncher.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/pidfile.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "tables_only.h"
#include "gang.h"
#include "speculation.h"
#include "task.h"

/* Kept out of base backups and cleared by nobody but us. */
#define NOTE_FILE "pg_stat_tmp/dbos_running"
/* While all places are taken, the launcher looks for who waits this often, unasked. */
#define LAUNCHER_REST_MS 5
/* A role must have been served this long before another takes its place. */
#define SERVICE_SLICE_MS 50
/* A start that nobody finished is given up after this. */
#define START_PATIENCE_MS 10000
/* After a start that failed for no lasting reason. */
#define START_RETRY_MS 1000

typedef struct TaskNote
{
	int64		task;			/* 0: none */
	Oid			database;
	int			pid;
	TimestampTz started;		/* the server that wrote it */
} TaskNote;

int			dbos_my_worker = DBOS_NOBODY;

static TaskNote *notes = NULL;
static volatile TaskNote *my_note = NULL;
static BackgroundWorkerHandle **handles = NULL; /* of the launcher, by worker slot */

/* ---- notes of what runs ---- */

static void
notes_map(void)
{
	Size		size = mul_size(max_worker_processes, sizeof(TaskNote));
	int			file;

	if (notes != NULL)
		return;
	file = OpenTransientFile(NOTE_FILE, O_RDWR | O_CREAT | PG_BINARY);
	if (file < 0)
		return;					/* costs a count of crashes, never a task */
	if (ftruncate(file, size) == 0)
	{
		void	   *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

		if (map != MAP_FAILED)
			notes = map;
	}
	CloseTransientFile(file);
}

/* Notes the task that this process begins, or 0. */
void
dbos_worker_note(int64 task)
{
	if (my_note == NULL)
		return;
	my_note->database = MyDatabaseId;
	my_note->pid = MyProcPid;
	my_note->started = PgStartTime;
	my_note->task = task;
}

/* Whether the note of a process, or of its predecessor with this number, has not been taken. */
bool
dbos_worker_note_is_open(int number)
{
	notes_map();
	return notes != NULL && notes[number].task != 0;
}

/*
 * Whether another process noted that it began this task of our database.  Such a
 * task is left alone: either it runs, or its process has ended and the crash
 * shall be counted before the task is run again.
 */
bool
dbos_worker_note_names(int64 task)
{
	notes_map();
	for (int i = 0; notes != NULL && i < max_worker_processes; i++)
		if (notes[i].task == task && notes[i].database == MyDatabaseId && &notes[i] != my_note)
			return true;
	return false;
}

/* Finds the notes of processes that ended while they ran a task of this database. */
int
dbos_worker_notes_of_dead(DbosDeadNote *found, int limit)
{
	int			count = 0;

	notes_map();
	for (int i = 0; notes != NULL && i < max_worker_processes && count < limit; i++)
	{
		if (notes[i].task == 0 || notes[i].database != MyDatabaseId ||
			(notes[i].started == PgStartTime && BackendPidGetProc(notes[i].pid) != NULL))
			continue;
		found[count].number = i;
		found[count++].task = notes[i].task;
	}
	return count;
}

/* What one of them said is counted; the task is free for others. */
void
dbos_worker_note_taken(const DbosDeadNote *note)
{
	notes[note->number].task = 0;
}

/* After a restart: what ran in a process that was killed goes to the crash list. */
void
dbos_worker_note_read(void)
{
	notes_map();
	if (notes == NULL)
		return;
	DBOS_TASK_LOCK();
	for (int i = 0; i < max_worker_processes; i++)
	{
		DbosTaskShared *shared = dbos_task_shared;

		if (notes[i].task != 0 && shared->ncrashes < DBOS_MAX_CRASHES)
		{
			shared->crashes[shared->ncrashes].database = notes[i].database;
			shared->crashes[shared->ncrashes].task = notes[i].task;
			shared->ncrashes++;
		}
		notes[i].task = 0;
	}
	DBOS_TASK_UNLOCK();
}

/* SIGQUIT: the postmaster stops everybody because of somebody else. */
static void
worker_quit(SIGNAL_ARGS)
{
	if (my_note != NULL)
		my_note->task = 0;
	_exit(2);
}

/* ---- attachment of a process to its slot ---- */

/* Whether the postmaster is shutting down, as it says in its lock file. */
static bool
server_stops(void)
{
	char		text[1024];
	int			file = open("postmaster.pid", O_RDONLY | PG_BINARY);
	ssize_t		length;

	if (!PostmasterIsAlive())
		return true;
	if (file < 0)
		return true;
	length = read(file, text, sizeof(text) - 1);
	close(file);
	if (length <= 0)
		return true;
	text[length] = '\0';
	return strstr(text, PM_STATUS_STOPPING) != NULL;
}

/* Runs after the process's transaction was aborted and its locks are gone. */
static void
worker_exit(int code, Datum arg)
{
	DbosWorker *worker = dbos_worker_slot(dbos_my_worker);
	bool		stops = server_stops();
	DbosDatabase *database;

	if (dbos_task_shared == NULL)
	{
		/* A scheduler takes the note of a task that was not given back. */
		if (my_note != NULL && (worker->task == 0 || stops))
			my_note->task = 0;
		return;
	}
	DBOS_TASK_LOCK();
	database = dbos_database_find(worker->database, false);
	if (worker->task != 0)
	{
		DbosTaskShared *shared = dbos_task_shared;

		if (worker->state == DBOS_WORKER_RUNNING)
			dbos_run_queue_done(worker);
		if (!stops && shared->ncrashes < DBOS_MAX_CRASHES)
		{
			shared->crashes[shared->ncrashes].database = worker->database;
			shared->crashes[shared->ncrashes].task = worker->task;
			shared->ncrashes++;
		}
		if (!stops && database != NULL)
			dbos_scheduler_want(database);
	}
	if (worker->is_scheduler && database != NULL && database->scheduler == dbos_my_worker)
		database->scheduler = DBOS_NOBODY;
	dbos_copies_forget(worker);
	dbos_gang_leave(worker);
	worker->task = 0;
	worker->copy_of = 0;
	worker->pid = 0;
	worker->proc_number = DBOS_NOBODY;
	worker->state = DBOS_WORKER_FREE;
	dbos_wake_launcher();
	DBOS_TASK_UNLOCK();
	if (my_note != NULL)
		my_note->task = 0;
}

/* Takes the slot that the launcher prepared; false when it was given up meanwhile. */
bool
dbos_worker_attach(const DbosWorkerAddress *address)
{
	DbosWorker *worker;
	bool		mine;

	if (DBOS_TABLES_ONLY())
	{
		if (!dbos_tables_attach(address, address->session_role == InvalidOid))
			return false;
		on_shmem_exit(worker_exit, (Datum) 0);
		notes_map();
		if (notes != NULL && address->session_role != InvalidOid)
			my_note = &notes[dbos_my_worker];
		pqsignal(SIGQUIT, worker_quit);
		return true;
	}
	worker = dbos_worker_slot(address->slot);
	DBOS_TASK_LOCK();
	mine = worker->state == DBOS_WORKER_STARTING && worker->generation == address->generation;
	if (mine)
	{
		worker->state = DBOS_WORKER_IDLE;
		worker->pid = MyProcPid;
		worker->proc_number = dbos_my_proc_number();
		worker->since = GetCurrentTimestamp();
		worker->task = 0;
		worker->woken = false;
	}
	DBOS_TASK_UNLOCK();
	if (!mine)
		return false;
	dbos_my_worker = address->slot;
	on_shmem_exit(worker_exit, (Datum) 0);
	notes_map();
	if (notes != NULL)
		my_note = &notes[address->slot];
	pqsignal(SIGQUIT, worker_quit);
	return true;
}

int64
dbos_worker_task(void)
{
	return dbos_my_worker == DBOS_NOBODY ? 0 : dbos_worker_slot(dbos_my_worker)->task;
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

/* A consistent copy of the worker table, palloc'd, free slots among it. */
DbosWorker *
dbos_workers_copy(int *count)
{
	DbosWorker *copy;

	if (DBOS_TABLES_ONLY())
		return dbos_tables_workers(count);
	copy = palloc(sizeof(DbosWorker) * dbos_task_shared->nworkers);
	DBOS_TASK_LOCK();
	*count = dbos_task_shared->nworkers;
	memcpy(copy, dbos_worker_slot(0), sizeof(DbosWorker) * *count);
	DBOS_TASK_UNLOCK();
	return copy;
}

/* ---- the launcher ---- */

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
