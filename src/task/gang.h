/*
 * gang.h
 *	  Tasks that start together or not at all.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_GANG_H
#define DBOS_TASK_GANG_H

#include "postgres.h"

#include "task.h"

/* What dbos.task.kind says of a member of a gang. */
#define DBOS_KIND_GANG 'g'

/* ---- submit ---- */

/* Raises 53400 when so many can never run at once in that queue. */
extern void dbos_gang_check(const DbosQueueFacts *queue, bool partitioned, int members);

/* Writes down who belongs together. */
extern void dbos_gang_write(const int64 *members, int count);

/* Forgets gangs whose tasks have ended.  Inside an owner scope. */
extern void dbos_gangs_forget(void);

/* ---- start ---- */

/*
 * The claimed task of this worker is a member: waits until as many workers have claimed one as
 * are left, and true for all of them; or false after a while for all, none of which has begun.
 */
extern bool dbos_gang_start(int64 task);

/* The slot will be another task's, or nobody's; its owner calls it before that, with the lock held. */
extern void dbos_gang_leave(DbosWorker *worker);

/* The same without shared memory. */
extern void dbos_gang_ended_by_locks(void);

/* Whether workers of this login wait for others of their gang; the lock is held. */
extern bool dbos_gang_waits(Oid database, Oid session_role);

#endif							/* DBOS_TASK_GANG_H */
