/*
 * submission.h
 *	  A submit: its options, checked, and the rows that it writes.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_SUBMISSION_H
#define DBOS_TASK_SUBMISSION_H

#include "postgres.h"

#include "fmgr.h"
#include "nodes/execnodes.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "function_call.h"
#include "task.h"

/* One submit: its options, checked, and what it writes to. */
typedef struct DbosSubmission
{
	Oid			session_role;
	Oid			role;
	int32		container;
	TimestampTz now;
	DbosQueueFacts queue;
	int32		priority;
	TimestampTz run_at;			/* 0: none given */
	bool		held;
	int			nafter;
	int64	   *after;			/* ascending, each once */
	text	   *idempotency_key;	/* NULL: none */
	text	   *partition_key;	/* NULL: none */
	uint64		partition;		/* its hash */
	int32		max_attempts;
	Interval   *retry_delay;
	float4		retry_backoff;
	Interval   *timeout;		/* NULL: none */
	TimestampTz deadline;		/* 0: none */
	Jsonb	   *attributes;
	int64		parent;			/* 0: none */
	bool		gated;			/* held, by who will let it go himself */

	Oid			sequence;
	Relation	relation;
	EState	   *estate;
	ResultRelInfo *target;
	TupleTableSlot **slots;		/* rows that are made and not yet written */
	int			nslots;			/* so many of them */
	int			space;			/* how many are written at once */
} DbosSubmission;

typedef enum DbosKeyUse
{
	DBOS_WITHOUT_KEY,
	DBOS_WITH_KEY
} DbosKeyUse;

/* Raises what keeps this session, as its current role, from submitting by that command. */
extern void dbos_submit_allowed(const char *command);

/* Raises what would keep a worker from running tasks of that login as that role. */
extern void dbos_submit_check_roles(Oid session_role, Oid role);

/* Raises when a key is too long; NULL is none. */
extern void dbos_submit_check_key(const text *key, const char *option);

/* Once in a session that submits where nobody runs tasks. */
extern void dbos_warn_without_workers(TimestampTz now);

/* Reads and checks the options, which stand from argument `at` on in the order of dbos.submit(). */
extern void dbos_submission_read(DbosSubmission *submission, FunctionCallInfo fcinfo, int at, DbosKeyUse use);

/* Rows are made one by one and written together: at the latest when `space` of them are. */
extern void dbos_submission_open(DbosSubmission *submission, int rows);
extern void dbos_submission_insert(DbosSubmission *submission, int64 id, char kind,
								   const char *function, Jsonb *args);
extern void dbos_submission_flush(DbosSubmission *submission);
extern void dbos_submission_close(DbosSubmission *submission);
extern void dbos_submission_depend(DbosSubmission *submission, const int64 *ids, int nids);
extern bool dbos_submission_known_key(DbosSubmission *submission, int64 id, int64 *existing);

/* One row with all that belongs to it: its id, or that of the task that has its key. */
extern int64 dbos_submission_one(DbosSubmission *submission, char kind, const char *function, Jsonb *args);

/* ---- submit.c ---- */

/* The name in the first argument, and the function that it means with these arguments. */
extern char *dbos_submit_name(FunctionCallInfo fcinfo);
extern const DbosFunctionCall *dbos_submit_resolve(const char *name, Jsonb *args, Oid role);

/* Raises what can be known to be wrong with SQL text. */
extern void dbos_submit_check_command(const char *command);

#endif							/* DBOS_TASK_SUBMISSION_H */
