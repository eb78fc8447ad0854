/*
 * worker_note.c
 *	  Which task each process runs, noted where the note outlives the process and shared memory.
 *
 * A process that is killed by a signal takes shared memory with it, and a small file
 * that each executor maps tells afterwards which task ran: the launcher reads it after
 * the restart.  An innocent process that the postmaster stops then wipes its own note in
 * its SIGQUIT handler.  Where there is no shared memory the notes are the list of crashes:
 * a scheduler looks for those whose process is gone, and until it has taken one, nobody
 * gets the number of that process, nor its task.
 *
 * No lock guards a note: its process writes it, and others only clear it when that process
 * is gone.  Where the file cannot be had, a crash may go uncounted; no task is lost by that.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/fd.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"

#include "task.h"

/* Kept out of base backups and cleared by nobody but us. */
#define NOTE_FILE "pg_stat_tmp/dbos_running"

typedef struct TaskNote
{
	int64		task;			/* 0: none */
	Oid			database;
	int			pid;
	TimestampTz started;		/* the server that wrote it */
} TaskNote;

static TaskNote *notes = NULL;
static volatile TaskNote *my_note = NULL;

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

/* ---- of this process ---- */

/* Notes the task that this process begins, or 0. */
void
dbos_worker_note(int64 task)
{
	if (my_note == NULL)
		return;
	my_note->database = MyDatabaseId;
	my_note->pid = MyProcPid;
	my_note->started = PgStartTime;
	/* Who sees the task sees whose it is. */
	pg_write_barrier();
	my_note->task = task;
}

/* No task of this process is to be charged for its end; async-signal-safe. */
void
dbos_worker_note_wipe(void)
{
	if (my_note != NULL)
		my_note->task = 0;
}

/* SIGQUIT: the postmaster stops everybody because of somebody else. */
static void
worker_quit(SIGNAL_ARGS)
{
	dbos_worker_note_wipe();
	_exit(2);
}

/* The process has this number from now on; or DBOS_NOBODY, and what it does is not noted. */
void
dbos_worker_note_attach(int number)
{
	notes_map();
	if (notes != NULL && number != DBOS_NOBODY)
		my_note = &notes[number];
	pqsignal(SIGQUIT, worker_quit);
}

/* ---- of others ---- */

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
		int64		task = notes[i].task;

		pg_read_barrier();
		if (task == 0 || notes[i].database != MyDatabaseId ||
			(notes[i].started == PgStartTime && BackendPidGetProc(notes[i].pid) != NULL))
			continue;
		found[count].number = i;
		found[count++].task = task;
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
		if (notes[i].task != 0)
			dbos_crash_keep(notes[i].database, notes[i].task);
		notes[i].task = 0;
	}
	DBOS_TASK_UNLOCK();
}
