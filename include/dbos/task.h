/*
 * task.h
 *	  What the task room shows to dbos.c and to the worker processes.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_H
#define DBOS_TASK_H

#include "postgres.h"

#include "dbos/kernel.h"

/* Which database and login a worker process is for; travels in bgw_extra. */
typedef struct DbosWorkerAddress
{
	Oid			database;
	Oid			session_role;	/* InvalidOid for a scheduler */
	int			slot;			/* of the worker table */
	uint32		generation;		/* of that slot, so that a late start does not take a successor's */
} DbosWorkerAddress;

extern void dbos_task_register(void);

/* Duties of the launcher process. */
extern void dbos_launcher_begin(void);
extern long dbos_launcher_round(void);	/* starts what is wanted; ms until the next look */

/* Duties of a database's scheduler. */
extern bool dbos_scheduler_begin(const DbosWorkerAddress *address);
extern bool dbos_scheduler_round(void);	/* false: nothing left to do, leave */

/* Duties of an executor. */
extern void dbos_executor_begin(const DbosWorkerAddress *address);
extern bool dbos_executor_round(void);	/* false: leave */

#endif							/* DBOS_TASK_H */
