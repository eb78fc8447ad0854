/*
 * task.h
 *	  What the files of the task room share.
 *
 * Everything in shared memory here is a hint that a scheduler rebuilds from
 * dbos.task; one LWLock guards all of it (DbosTaskShared.lock), held for a few
 * dozen instructions at a time and never across an error, a palloc or SQL.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_INTERNAL_H
#define DBOS_TASK_INTERNAL_H

#include "postgres.h"

#include "port/atomics.h"
#include "fmgr.h"
#include "postmaster/bgworker.h"
#include "utils/jsonb.h"

#include "dbos/kernel.h"
#include "dbos/task.h"

#include "run_queue.h"

/* Small enough, together, for the slack of a server that did not preload us. */
#define DBOS_MAX_DATABASES	64
#define DBOS_MAX_EVENTS		512
#define DBOS_NOTE_LENGTH	120
#define DBOS_FORECASTS		1024

/* The shard of an id: its low bits. */
#define DBOS_SHARD_BITS		4
#define DBOS_SHARD(id)		((int16) ((id) & ((1 << DBOS_SHARD_BITS) - 1)))

typedef enum DbosDatabaseState
{
	DBOS_DATABASE_UNKNOWN = 0,	/* next: probing */
	DBOS_DATABASE_ACTIVE,		/* extension there, identity right: tasks run */
	DBOS_DATABASE_ABSENT,		/* no extension; next: unknown, when a backend says so */
	DBOS_DATABASE_PAUSED,		/* a copy, stopped or another version; next: unknown by dbos.start() */
	DBOS_DATABASE_BLOCKED		/* a DROP, RENAME or TEMPLATE goes on; next: unknown at its end */
} DbosDatabaseState;

typedef struct DbosEvent
{
	Oid			database;
	char		kind;			/* 'f' a task finished, 'c' check a task's dependencies, 'x' one that nobody runs was cancelled */
	int64		task;
} DbosEvent;

typedef struct DbosDatabase
{
	Oid			database;
	DbosDatabaseState state;
	uint32		said;			/* how often somebody has said what it is, who is no scheduler */
	int			scheduler;		/* worker slot, or DBOS_NOBODY */
	int			blocker_pid;	/* the backend whose statement blocks workers */
	bool		work;			/* the scheduler is wanted */
	bool		check_all;		/* the ring ran over: look at every dependency */
	bool		lanes_missing;	/* a push found no lane: look for lanes in the table */
	bool		opened;			/* its lanes were looked for since the server started */
	bool		blocked_tasks;	/* some task waits for others */
	TimestampTz next_due;		/* when the scheduler is next wanted by the clock; 0: never */
	TimestampTz watched_at;		/* when it was last looked for troubles (alert.c) */
	TimestampTz probe_after;	/* not before this time, after a failed start */
} DbosDatabase;

typedef enum DbosWorkerState
{
	DBOS_WORKER_FREE = 0,		/* next: starting */
	DBOS_WORKER_STARTING,		/* next: idle, or free when the start failed */
	DBOS_WORKER_IDLE,			/* next: running, free */
	DBOS_WORKER_RUNNING,		/* next: idle, waiting, free */
	DBOS_WORKER_WAITING			/* inside dbos.wait(), its place given up; next: running, free */
} DbosWorkerState;

/* Sums of a worker at some time. */
typedef struct DbosLoad
{
	TimestampTz at;
	int64		busy_us;		/* with tasks in hand */
	int64		tasks;
} DbosLoad;

typedef struct DbosWorker
{
	DbosWorkerState state;
	uint32		generation;
	bool		is_scheduler;
	bool		woken;			/* its latch is set for a push already */
	bool		leave;			/* asked to end after the task it runs */
	bool		cancel;			/* asked to cancel the task it runs */
	Oid			database;
	Oid			session_role;
	int			pid;
	int			proc_number;
	int32		queue_slot;		/* of the running task, or DBOS_NOBODY */
	int32		queue_id;		/* of the task; while it waits, 0 if it had no place in the queue */
	uint64		partition;		/* of the task, or of the first of those in hand */
	int32		priority;
	int64		task;			/* running; 0: none */
	int64		gang;			/* that the running task is a member of (gang.c); 0: none */
	bool		gang_waits;		/* the worker waits for the others of it */
	int64		copy_of;		/* runs a second time here; task is 0 then (speculation.c) */
	bool		copyable;		/* the running task may be copied */
	bool		copied;			/* it is, or was */
	bool		gives_way;		/* its copy is ready, and was first */
	TimestampTz copy_look_at;	/* when to look whether it is to be copied */
	int64		tasks_done;
	DbosLoad	load;			/* up to its last hand's end, and earlier: worker_load.c */
	DbosLoad	load_mark;
	DbosLoad	load_before;
	TimestampTz since;			/* of the state */
	TimestampTz serving_since;	/* first claim after the start */
	TimestampTz started_at;		/* of the running task */
	float4		progress;		/* -1: none told */
	char		note[DBOS_NOTE_LENGTH];
} DbosWorker;

/* A task whose worker ended while it ran: counted by a scheduler, then ready again. */
typedef struct DbosCrash
{
	Oid			database;
	int64		task;
} DbosCrash;

/* The same without shared memory: where the process had noted what it ran. */
typedef struct DbosDeadNote
{
	int			number;
	int64		task;
} DbosDeadNote;

/* A worker that could not log in: its role's tasks are failed with this by the scheduler. */
typedef struct DbosRefusal
{
	Oid			database;
	Oid			session_role;
} DbosRefusal;

#define DBOS_MAX_CRASHES	64
#define DBOS_MAX_REFUSALS	64

typedef struct DbosWaiter
{
	Oid			database;
	int64		task;			/* 0: waits for nothing */
} DbosWaiter;

typedef struct DbosTaskShared
{
	LWLock		lock;
	int			launcher_pid;
	int			launcher_proc;
	TimestampTz launcher_rest;	/* it found no place for who waits: pushes do not wake it before */
	int			nworkers;		/* length of the worker table */
	int			nentries;
	int			nwaiters;		/* length of the waiter table, by proc number */
	int			waiting;		/* how many of them wait */
	int32		free_entry;
	int32		entries_used;
	int			ntracks;		/* tracks up to this one may be in use; so of queues */
	int			nqueues;
	int			nlanes;			/* length of the table of lanes, and of its buckets */
	int			nresting;		/* lanes that a limit keeps */
	int32		free_lane;
	int			ncrashes;
	int			nrefusals;
	int			nevents;
	pg_atomic_uint64 cancels;	/* of running tasks, told since the start */
	bool		notes_read;		/* the crash notes of before the start were taken */
	bool		no_slot;		/* the last start found max_worker_processes in use */
	DbosCrash	crashes[DBOS_MAX_CRASHES];
	DbosRefusal refusals[DBOS_MAX_REFUSALS];
	DbosEvent	events[DBOS_MAX_EVENTS];
	DbosDatabase databases[DBOS_MAX_DATABASES];
	DbosQueueSlot queues[DBOS_MAX_QUEUES];
	DbosTrack	tracks[DBOS_MAX_TRACKS];
	pg_atomic_uint64 forecasts[DBOS_FORECASTS];
	/* followed by workers, waiters, lanes, their buckets, and entries */
} DbosTaskShared;

extern DbosTaskShared *dbos_task_shared;

#define DBOS_TASK_LOCK()	LWLockAcquire(&dbos_task_shared->lock, LW_EXCLUSIVE)
#define DBOS_TASK_UNLOCK()	LWLockRelease(&dbos_task_shared->lock)

/* Without shared memory of ours everything is done by tables and locks: tables_only.h. */
#define DBOS_TABLES_ONLY()	(!dbos_shared_attach() || dbos_task_shared == NULL)

/* ---- shared.c ---- */
extern void dbos_task_shared_register(void);
extern DbosWorker *dbos_worker_slot(int slot);
extern DbosWaiter *dbos_waiter_slot(int proc_number);
extern DbosRunEntry *dbos_run_entries(void);
extern int32 *dbos_lane_buckets(void);
extern DbosDatabase *dbos_database_find(Oid database, bool create);	/* lock held */
extern void dbos_scheduler_want(DbosDatabase *database);	/* lock held */
extern void dbos_database_event(DbosDatabase *database, char kind, int64 task); /* lock held */
extern void dbos_database_due(DbosDatabase *database, TimestampTz at);	/* lock held */
extern void dbos_wake_launcher(void);

/* ---- pending.c: what a transaction tells shared memory at its end ---- */
extern void dbos_pending_push(const DbosTicket *ticket, Oid session_role, const DbosQueueFacts *queue);
extern void dbos_pending_touch(const DbosTicket *ticket, Oid session_role, const DbosQueueFacts *queue);
extern void dbos_pending_due(TimestampTz at);
extern void dbos_pending_event(char kind, int64 task);
extern void dbos_pending_cancel(int64 task);
extern void dbos_pending_queue(const DbosQueueFacts *queue);
extern void dbos_pending_want_scheduler(void);
extern void dbos_pending_install(void);

/* ---- queues.c ---- */
extern DbosQueueFacts dbos_queue_resolve(const char *name);
extern bool dbos_queue_by_id_if_any(int32 queue_id, DbosQueueFacts *facts);	/* inside an owner scope */
extern DbosQueueFacts dbos_queue_by_id(int32 queue_id);	/* inside an owner scope */
extern void dbos_queues_of_policy_changed(const char *policy);

/* ---- policy_table.c ---- */
extern bool dbos_policy_exists(const char *name);

/* ---- queue_start.c: rates; in a transaction ---- */
typedef struct DbosStarts
{
	int32		queue_id;
	uint64		partition;
	int			granted;		/* so many may start */
	TimestampTz before;			/* until then */
	uint64		rests;			/* partition that is at its limit, 0: the queue */
	TimestampTz until;			/* when that lets the next one start; 0: it does now */
} DbosStarts;

extern void dbos_starts_reserve(int32 queue_id, uint64 partition, int wanted, DbosStarts *starts);
extern void dbos_starts_return(const DbosStarts *starts, int unused);
extern void dbos_starts_forget(void *unused);

/* ---- worker_slot.c: a worker process takes its slot, and leaves it ---- */
extern int	dbos_my_worker;		/* DBOS_NOBODY in other processes */
extern int64 dbos_worker_task(void);
extern bool dbos_task_has_worker(int64 task);
extern bool dbos_worker_attach(const DbosWorkerAddress *address);
extern DbosWorker *dbos_workers_copy(int *count);

/* ---- worker_note.c: which task each of them runs, noted where it outlives shared memory ---- */
extern void dbos_worker_note_attach(int number);	/* DBOS_NOBODY: notes nothing */
extern void dbos_worker_note(int64 task);
extern void dbos_worker_note_wipe(void);
extern void dbos_worker_note_read(void);
extern bool dbos_worker_note_is_open(int number);
extern bool dbos_worker_note_names(int64 task);
extern int	dbos_worker_notes_of_dead(DbosDeadNote *found, int limit);
extern void dbos_worker_note_taken(const DbosDeadNote *note);

/* ---- worker_pool.c: who is started, and who makes place ---- */
extern bool dbos_workers_can_run(void);
extern int	dbos_worker_process_limit(void);
extern bool dbos_launcher_start(bool wait);
extern bool dbos_launcher_runs(void);
extern bool dbos_worker_start(const DbosWorkerAddress *address, bool is_scheduler,
							  BackgroundWorkerHandle **handle);
extern Oid *dbos_connectable_databases(int *count);

/* ---- cpu_guard.c: in the launcher, with the lock held ---- */
extern bool dbos_cpu_has_room(TimestampTz now);

/* ---- scheduler.c ---- */

/* At the exit of a process, with the lock held: what a scheduler was told and has not done is its successor's. */
extern void dbos_scheduler_hand_over(DbosDatabase *database);

/* ---- worker_failure.c: tasks whose worker crashed, or is refused the login ---- */
extern Jsonb *dbos_login_obstacle(Oid role);
extern void dbos_fail_login(Oid role);
extern void dbos_crash_keep(Oid database, int64 task);
extern void dbos_crashes_hand_over(void);	/* lock held */
extern bool dbos_handle_crashes(void);	/* in the scheduler, as those below; true: there were any */
extern bool dbos_handle_noted_crashes(void);
extern bool dbos_handle_refusals(void);

/* ---- settle.c: how a task's row changes when an attempt ends ---- */
typedef struct DbosAttempt
{
	int64		task;
	TimestampTz started_at;
	TimestampTz finished_at;
	int			pid;
	double		cpu_seconds;
	int64		rows;
	int64		buffers_hit;
	int64		buffers_read;
	int64		memory_bytes;
	int64		file_bytes_read;
	int64		file_bytes_written;
} DbosAttempt;

/* The final states of a task. */
#define DBOS_SUCCEEDED	"succeeded"
#define DBOS_FAILED		"failed"
#define DBOS_CANCELLED	"cancelled"

extern Oid	dbos_history_partition(TimestampTz at);	/* made if it is not there */
extern Oid	dbos_history_partition_if_any(TimestampTz at);

/* Moves the row to the history; false when it is not there (any more). */
extern bool dbos_task_settle(int64 task, const char *state, Jsonb *result, Jsonb *error,
							 const DbosAttempt *attempt);
/* An attempt failed: retries later or settles; true when it will be tried again. */
extern bool dbos_task_attempt_failed(int64 task, Jsonb *error, const DbosAttempt *attempt);
extern bool dbos_task_crash_counted(int64 task);	/* false: its row is another's, later */
extern Jsonb *dbos_error_make(int sqlerrcode, const char *message, const char *detail, const char *hint);

/* ---- command.c: SQL text as a task ---- */
extern bool dbos_command_is_transactional(const char *command);
extern char *dbos_json_text_member(Jsonb *json, const char *name);
extern Jsonb *dbos_command_execute(const char *command, bool own_transactions, int64 *rows);

/* ---- task.c ---- */
extern void dbos_workers_expel(Oid database, DbosDatabaseState state, bool hard);
extern void dbos_workers_stop(void);

/* ---- wait.c ---- */
extern void dbos_wait_install(void);

/* ---- manage.c ---- */

/* What a caller may know of a task; raises 42704 for one that is not there or not the caller's. */
typedef struct DbosTaskView
{
	bool		ended;
	char	   *state;			/* of an ended task */
	Jsonb	   *result;			/* or NULL */
	Jsonb	   *error;			/* or NULL */
	bool		mine_uncommitted;	/* submitted by this very transaction */
} DbosTaskView;

extern void dbos_task_look(int64 task, DbosTaskView *view);
extern PGDLLEXPORT Datum dbos_retry(PG_FUNCTION_ARGS);

/* ---- cancel.c ---- */

extern PGDLLEXPORT Datum dbos_cancel(PG_FUNCTION_ARGS);
/* Ends a task whose row this transaction has locked; false when it is not there. */
extern bool dbos_cancel_locked(int64 task);

#endif							/* DBOS_TASK_INTERNAL_H */
