/*
 * task.h
 *	  What the task room shows to dbos.c and to the worker processes.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_H
#define DBOS_TASK_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/jsonb.h"

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

/* ---- tasks that other rooms submit, in the name of whoever asked for them ---- */

/* What the tasks have in common that come of a mailbox, say: that room keeps it, in a row of its own. */
typedef struct DbosTaskTemplate
{
	Oid			session_role;
	Oid			role;
	int32		container;
	int32		queue_id;
	int32		priority;
	int32		max_attempts;
	Interval	retry_delay;
	Interval	timeout;		/* zero: none */
	char	   *function;		/* its identity, which a dump can keep */
} DbosTaskTemplate;

/* One such task. */
typedef struct DbosTaskDocument
{
	Jsonb	   *args;
	text	   *partition_key;	/* NULL: none */
	Jsonb	   *attributes;		/* an object */
	int64		id;				/* set by the submit */
} DbosTaskDocument;

/*
 * In the session of whoever says what is to run, who becomes the role that it runs as.
 * Raises what a submit by that command raises, and when name does not mean one function.
 * fcinfo: queue text, priority int, max_attempts int, retry_delay interval, timeout interval stand in it
 * from argument `at` on; NULL: all have their defaults.
 */
extern void dbos_task_template_make(DbosTaskTemplate *template, const char *command, const char *name,
									FunctionCallInfo fcinfo, int at);

/*
 * What would be wrong with the task, in the current context, or NULL; to be asked before
 * each submit, and first without a document: what is wrong with all of them.  Raises
 * nothing of that kind, and runs no user's code.
 */
extern ErrorData *dbos_task_obstacle(const DbosTaskTemplate *template, const DbosTaskDocument *document);

/* Submits a task for each document, in the current transaction; raises when the queue or the container is gone. */
extern void dbos_task_template_submit(const DbosTaskTemplate *template, DbosTaskDocument *documents, int count);

/*
 * A room that keeps templates says who submits to a queue, as in "mailbox orders", or NULL: a
 * queue in use is not dropped.  user() runs inside an owner scope, in the session of the drop, with
 * the queue locked and the newest snapshot active (use read-only plans).
 */
extern void dbos_queue_register_user(char *(*user) (int32 queue_id));

/* An error as dbos.tasks shows it. */
extern Jsonb *dbos_error_json(const ErrorData *error);

/*
 * How far the task is that this session runs, seen at once: from 0 to 1, or -1 for a note alone.  False, and
 * nothing is told, when the session runs none.
 */
extern bool dbos_task_tell(float4 fraction, const char *note);

/* ---- calls in this session, as a task would make them ---- */

/* Raises when there is no function of that name that the current role may call. */
extern void dbos_call_check(const char *name);

/* Calls the function that name and args mean, as the current role; its value, or NULL.  There must be an active snapshot. */
extern Jsonb *dbos_call(const char *name, Jsonb *args);

#endif							/* DBOS_TASK_H */
