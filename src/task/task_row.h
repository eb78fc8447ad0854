/*
 * task_row.h
 *	  Rows of dbos.task and dbos.task_history by direct access.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_ROW_H
#define DBOS_TASK_ROW_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "nodes/lockoptions.h"
#include "utils/rel.h"

#include "task.h"

/* The columns of dbos.task, in the order of sql/task.sql. */
enum TaskColumn
{
	TASK_SHARD,
	TASK_ID,
	TASK_QUEUE_ID,
	TASK_SESSION_ROLE,
	TASK_ROLE,
	TASK_CONTAINER_ID,
	TASK_PRIORITY,
	TASK_HELD,
	TASK_UNMET,
	TASK_RUN_AT,
	TASK_SUBMITTED_AT,
	TASK_ATTEMPT,
	TASK_MAX_ATTEMPTS,
	TASK_CRASHES,
	TASK_RETRY_DELAY,
	TASK_RETRY_BACKOFF,
	TASK_TIMEOUT,
	TASK_DEADLINE,
	TASK_KIND,
	TASK_FUNCTION,
	TASK_ARGS,
	TASK_PARENT_ID,
	TASK_IDEMPOTENCY_KEY,
	TASK_PARTITION_KEY,
	TASK_ATTRIBUTES,
	TASK_COLUMNS
};

/* A row of dbos.task that this transaction has locked. */
typedef struct DbosTaskRow
{
	Relation	relation;
	TupleTableSlot *slot;		/* the latest version, all columns */
	bool		busy;			/* not locked because another transaction has it */
} DbosTaskRow;

extern bool dbos_task_row_lock(int64 task, LockWaitPolicy wait, DbosTaskRow *row);
extern bool dbos_task_row_read(int64 task, DbosTaskRow *row);	/* not locked */
extern void dbos_task_row_move(DbosTaskRow *row, const char *state, Jsonb *result, Jsonb *error,
							   const DbosAttempt *attempt, TimestampTz now);
extern void dbos_task_row_close(DbosTaskRow *row);
extern bool dbos_task_row_cancelled(int64 task);

/* settle.c: as dbos_task_settle, of a row that is locked. */
extern void dbos_task_settle_row(DbosTaskRow *row, int64 task, const char *state, Jsonb *result,
								 Jsonb *error, const DbosAttempt *attempt);

/* For the rows of a batch: open from its first member's end until before its commit, or its abort. */
extern void dbos_task_rows_keep_open(void);
extern void dbos_task_rows_close(void);
extern void dbos_task_rows_forget(void);

/* What a waiter wants to know of a task. */
typedef struct DbosTaskGlance
{
	Oid			role;
	int32		container;
	TransactionId xmin;			/* of a task that has not ended */
	bool		ended;
	char	   *state;			/* and these of one that has; results may be NULL */
	Jsonb	   *result;
	Jsonb	   *error;
} DbosTaskGlance;

extern bool dbos_task_row_glance(int64 task, Snapshot snapshot, DbosTaskGlance *glance);

#endif							/* DBOS_TASK_ROW_H */
