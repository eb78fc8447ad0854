/*
 * policy.h
 *	  For libraries that bring a policy of their own: how a queue's tasks are ordered.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_POLICY_H
#define DBOS_POLICY_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* A task that has become ready. */
typedef struct DbosReadyTask
{
	int64		id;
	int32		priority;		/* lower first, as nice(1) */
	int32		attempt;		/* that failed before */
	TimestampTz submitted_at;
	TimestampTz run_at;			/* 0: none was given */
	TimestampTz deadline;		/* 0: none */
	int32		expected_us;	/* what its function's tasks took, rounded to a power of two */
} DbosReadyTask;

/*
 * The rank of a task: the lowest runs first; of equal ones the one with the lower
 * priority number, then the one submitted first.  Called once when the task becomes
 * ready, in the process that made it so.  It must not raise, allocate or use the
 * database, and gives the same answer whenever it is asked.
 */
typedef int64 (*DbosPolicyRank) (const DbosReadyTask *task);

/*
 * Makes `order_by = 'library NAME'` a policy, in this process: call it in
 * _PG_init() of a library that stands in shared_preload_libraries after dbos, so that it
 * is there in every process.  Raises an error when the name is taken or is not made of
 * lower case letters, digits and _, 1 to 63 of them.
 */
extern PGDLLEXPORT void dbos_register_policy(const char *name, DbosPolicyRank rank);

#endif							/* DBOS_POLICY_H */
