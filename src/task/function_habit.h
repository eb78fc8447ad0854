/*
 * function_habit.h
 *	  What this executor has seen of the functions that it ran: fit for company?
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_FUNCTION_HABIT_H
#define DBOS_TASK_FUNCTION_HABIT_H

#include "postgres.h"

/* From the start of the process. */
extern void dbos_habit_install(void);

/* Whether tasks of this function, by OID and by identity, may share a transaction.  Reads the catalog the first time. */
extern bool dbos_habit_bears_company(Oid function, const char *identity);

/* The same without a look: false when nothing is known. */
extern bool dbos_habit_known_to_bear_company(Oid function);

/* Whether dbos.alter_function() says that its effects may be repeated. */
extern bool dbos_habit_vouched_for(Oid function);

/* Whether it says that the function may run twice where one run counts; of one that was asked for its company. */
extern bool dbos_habit_idempotent(Oid function);

/* What has just happened: nothing is remembered of a function that was changed meanwhile. */
extern void dbos_habit_ran(Oid function, int64 us);
extern void dbos_habit_failed(Oid function);
extern void dbos_habit_unfit(Oid function);
extern void dbos_habit_ended_company(Oid function);

/* The table of dbos.alter_function() has changed, in this transaction. */
extern void dbos_function_options_changed(void);

#endif							/* DBOS_TASK_FUNCTION_HABIT_H */
