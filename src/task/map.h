/*
 * map.h
 *	  A task for each row of a query, and one that waits for all of them.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_MAP_H
#define DBOS_TASK_MAP_H

#include "postgres.h"

/* The kind of the task that waits; the scheduler ends it, nobody runs it. */
#define DBOS_KIND_MAP 'm'

/* In the scheduler: a task that it waits for has ended, or may have. */
extern void dbos_map_check(int64 parent);

/* What is done to the one that waits is done to those that it waits for, as the current role. */
extern void dbos_map_cancel(int64 parent);
extern void dbos_map_retry(int64 parent);

/* Maps of which nothing is known any more are forgotten.  Inside an owner scope. */
extern void dbos_maps_forget(void);

#endif							/* DBOS_TASK_MAP_H */
