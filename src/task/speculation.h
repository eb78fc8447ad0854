/*
 * speculation.h
 *	  Second runs of tasks that take far longer than others of their function.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_SPECULATION_H
#define DBOS_TASK_SPECULATION_H

#include "postgres.h"

#include "member.h"
#include "task.h"

/* ---- the original ---- */

/* The task that this worker runs may be run by another one too. */
extern void dbos_copies_allow(void);

/* The slot will be another task's, or nobody's: its owner calls it before that, with the lock held. */
extern void dbos_copies_forget(DbosWorker *worker);

/* Whether a copy of this task, which this worker runs, has told it to give way. */
extern bool dbos_copy_told_to_give_way(int64 task);

/* ---- the copy ---- */

/* Finds a straggler of this login and enters it as what this worker copies; outside of a transaction. */
extern bool dbos_copy_take(DbosTicket *ticket);

/* Whether something may have to be copied soon: an idle worker stays.  The lock is held. */
extern bool dbos_copy_may_come(Oid database, Oid session_role);

/* The copy's function has returned: locks the row, or raises that the original was first. */
extern void dbos_copy_overtake(DbosMember *member);

/* ---- the launcher ---- */

/* A login of which a task may have to be copied and nobody is idle; the lock is held. */
extern bool dbos_copy_wants_worker(TimestampTz now, bool (*worker_comes) (Oid, Oid), Oid *database, Oid *session_role);

#endif							/* DBOS_TASK_SPECULATION_H */
