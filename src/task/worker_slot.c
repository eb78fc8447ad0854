/*
 * worker_slot.c
 *	  A worker process takes its slot of the worker table, and leaves it at its exit.
 *
 * The launcher reserves a slot and starts a process for it (worker_pool.c).  The process
 * takes the slot only if it is still meant: one that comes too late, when its start was
 * given up, finds the slot free or of another generation, and leaves.  Without shared
 * memory there is no table, and a lock gives the process its number (tables_only.c).
 *
 * A process that ends while it runs a task leaves the task in the crash list, unless the
 * server is being stopped, for which no task is to be charged.  One that is killed by a
 * signal does not come here: worker_note.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "utils/pidfile.h"
#include "utils/timestamp.h"

#include "tables_only.h"
#include "gang.h"
#include "speculation.h"
#include "task.h"

int			dbos_my_worker = DBOS_NOBODY;

/* Whether the postmaster is shutting down, as it says in a line of its lock file. */
static bool
server_stops(void)
{
	/* Two of the other lines are paths. */
	char		text[4 * MAXPGPATH];
	char	   *line = text;
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
	for (int number = 1; line != NULL && number < LOCK_FILE_LINE_PM_STATUS; number++)
	{
		line = strchr(line, '\n');
		if (line != NULL)
			line++;
	}
	return line != NULL && strncmp(line, PM_STATUS_STOPPING, strlen(PM_STATUS_STOPPING)) == 0;
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
		if (worker->task == 0 || stops)
			dbos_worker_note_wipe();
		return;
	}
	DBOS_TASK_LOCK();
	database = dbos_database_find(worker->database, false);
	if (worker->task != 0)
	{
		if (worker->state == DBOS_WORKER_RUNNING)
			dbos_run_queue_done(worker);
		if (!stops)
			dbos_crash_keep(worker->database, worker->task);
		if (!stops && database != NULL)
			dbos_scheduler_want(database);
	}
	if (worker->is_scheduler && database != NULL && database->scheduler == dbos_my_worker)
	{
		database->scheduler = DBOS_NOBODY;
		if (!stops)
			dbos_scheduler_hand_over(database);
	}
	dbos_copies_forget(worker);
	dbos_gang_leave(worker);
	worker->task = 0;
	worker->copy_of = 0;
	worker->pid = 0;
	worker->proc_number = DBOS_NOBODY;
	worker->state = DBOS_WORKER_FREE;
	dbos_wake_launcher();
	DBOS_TASK_UNLOCK();
	dbos_worker_note_wipe();
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
		dbos_worker_note_attach(address->session_role != InvalidOid ? dbos_my_worker : DBOS_NOBODY);
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
	dbos_worker_note_attach(address->slot);
	return true;
}

/* The task that this process runs, or 0. */
int64
dbos_worker_task(void)
{
	return dbos_my_worker == DBOS_NOBODY ? 0 : dbos_worker_slot(dbos_my_worker)->task;
}

/* Whether a process runs a task of our database, or has ended with it and that is not counted yet. */
bool
dbos_task_has_worker(int64 task)
{
	bool		has;

	if (dbos_task_shared == NULL)
		return dbos_worker_note_names(task);
	DBOS_TASK_LOCK();
	has = dbos_run_queue_runner(MyDatabaseId, task) != NULL;
	DBOS_TASK_UNLOCK();
	return has;
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
