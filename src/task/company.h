/*
 * company.h
 *	  What a member of a batch may do while the others' work is not committed.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_COMPANY_H
#define DBOS_TASK_COMPANY_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* From the start of the process. */
extern void dbos_company_install(void);

/*
 * Before a member's function runs; others_wait: for its end, to commit or for their
 * turn; vouched_for: dbos.alter_function() says that it may be repeated.
 */
extern void dbos_company_enter(bool others_wait, bool vouched_for, TimestampTz now);

/*
 * After it, and after it has failed, with its transaction aborted.  Before the
 * end that succeeds come its deferred triggers, which still are its own.
 */
extern void dbos_company_leave(void);
extern void dbos_company_abandon(void);

/* Before the process waits: no timer wakes it for nothing. */
extern void dbos_company_rest(void);

/* Of the member that left last: nothing may follow it in its transaction. */
extern bool dbos_company_over(void);

/*
 * Of the member that left, or was abandoned: it was stopped for the others' sake, and
 * should run again, alone; its function should run alone from now on.
 */
extern bool dbos_company_stopped(void);
extern bool dbos_company_unfit(void);

#endif							/* DBOS_TASK_COMPANY_H */
