/*
 * tables_only.h
 *	  The task room without shared memory of its own: locks, status and polling.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TABLES_ONLY_H
#define DBOS_TABLES_ONLY_H

#include "task.h"

/* ---- tables_only_locks.c: what one process must not do while another does it ---- */

typedef enum DbosOnlyOne
{
	DBOS_ONLY_LAUNCHER = 0xDB01,	/* (0, 0): one launcher */
	DBOS_ONLY_SCHEDULER,		/* (database, 0): one scheduler of it */
	DBOS_ONLY_PROCESS,			/* (n, 0): the n-th process of ours */
	DBOS_ONLY_PLACE,			/* (n, 0): the n-th place of an executor that does not wait */
	DBOS_ONLY_TASK,				/* id: who runs it */
	DBOS_ONLY_QUEUE_PLACE,		/* (queue, n): the n-th place of a queue with a limit */
	DBOS_ONLY_PARTITION_PLACE,	/* (hash, n): the n-th place of a partition with a limit */
	DBOS_ONLY_SIGNAL,			/* (pid, 0): who signals it, or goes on to its next task */
	DBOS_ONLY_BLOCKER,			/* (database, 0): whose statement keeps workers away */
	DBOS_ONLY_GANG_DOOR,		/* gang: who comes, goes or looks */
	DBOS_ONLY_GANG_MEMBER,		/* id: who waits for the others of its gang */
	DBOS_ONLY_GANG_STARTS,		/* gang: who tells the others to start */
	DBOS_ONLY_GANG_RUNS			/* id: who has started it */
} DbosOnlyOne;

extern bool dbos_only_try(DbosOnlyOne kind, uint32 high, uint32 low);
extern void dbos_only_wait(DbosOnlyOne kind, uint32 high, uint32 low);
extern void dbos_only_release(DbosOnlyOne kind, uint32 high, uint32 low);
extern bool dbos_only_taken(DbosOnlyOne kind, uint32 high, uint32 low);
extern bool dbos_only_seen(DbosOnlyOne kind, uint32 high, uint32 low);

/* ---- tables_only.c: an executor's place and status ---- */

extern DbosWorker *dbos_tables_self(void);
extern bool dbos_tables_attach(const DbosWorkerAddress *address, bool is_scheduler);
extern void dbos_tables_hold(void); /* again, after a task may have let go */
extern bool dbos_tables_told_to_leave(void);
extern bool dbos_tables_take(const DbosTicket *ticket, const DbosQueueFacts *queue, char *full);
extern bool dbos_tables_could_take(const DbosTicket *ticket, const DbosQueueFacts *queue, char *full);
extern void dbos_tables_put_back(void);
extern void dbos_tables_suspend(void);
extern void dbos_tables_resume(void);
extern void dbos_tables_publish(void);
extern DbosWorker *dbos_tables_workers(int *count);
extern int	dbos_tables_executor_places(void);
extern int	dbos_tables_scheduler_places(void);
extern int	dbos_tables_free_places(void);
extern bool dbos_tables_slots_in_use(void);
extern void dbos_tables_cancel(int64 task);

/* ---- tables_only_choice.c: which task is next ---- */

extern bool dbos_tables_pop(Oid session_role, DbosTicket *ticket, DbosStarts *starts,
							int64 *alternatives, int *count, int limit);
extern void dbos_tables_pass_by(int64 task);	/* it cannot be had at the moment */
extern void dbos_tables_forgive(void);	/* those passed by are looked at again */

/* ---- tables_only_pool.c: who is started when nobody tells ---- */

extern void dbos_tables_launcher_begin(void);
extern long dbos_tables_launcher_round(void);
extern bool dbos_tables_start_executors(void);	/* true: something can run */
extern void dbos_tables_expel(Oid database, bool hard);
extern void dbos_tables_unblock(Oid database);

#endif							/* DBOS_TABLES_ONLY_H */
