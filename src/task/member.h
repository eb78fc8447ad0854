/*
 * member.h
 *	  One task in a transaction that it may share with others.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_MEMBER_H
#define DBOS_TASK_MEMBER_H

#include "postgres.h"

#include <sys/resource.h>

#include "executor/instrument.h"

#include "function_call.h"
#include "task.h"
#include "task_row.h"

/* Other tasks that could have been chosen, as recorded in a sampled decision. */
#define DBOS_MAX_ALTERNATIVES 8

typedef struct DbosSample
{
	bool		taken;
	int			count;
	int64		alternatives[DBOS_MAX_ALTERNATIVES];
} DbosSample;

/* A task whose row this transaction has locked. */
typedef struct DbosMember
{
	int64		id;
	Oid			role;
	int32		queue_id;
	int32		container;
	char		kind;			/* 'f', 's' */
	char	   *function;
	Jsonb	   *args;
	int64		timeout_ms;		/* 0: none */
	TimestampTz deadline;		/* 0: none */
	TimestampTz submitted_at;
	bool		cancelled;
	bool		busy;			/* not claimed: another transaction has its row */
	bool		gang;			/* it started with others, and nobody runs it in their place */
	bool		copy;			/* somebody else runs it too: its row is locked at the end (speculation.c) */
	int32		attempts_before;	/* of a copy: what its row said when it began */
	int32		crashes_before;
	bool		ready;			/* not claimed: neither is there, nor its login's, when false */
	DbosTaskRow row;
	Oid			function_oid;	/* once it was resolved */
	const DbosFunctionCall *call;
	DbosAttempt attempt;
	struct rusage usage_before;
	BufferUsage buffers_before;
	DbosFileTraffic traffic_before;
} DbosMember;

/* What became of an attempt that failed, until it is written down. */
typedef struct DbosFailure
{
	Jsonb	   *error;
	bool		interrupted;	/* by a cancel: of the task, if one is written down for it */
	bool		at_deadline;
	DbosAttempt attempt;
} DbosFailure;

extern void dbos_member_install(void);

/* Begins an attempt, which follows another one's end at once or not; then locks the row and reads the task: false when it cannot be had. */
extern void dbos_member_start(DbosMember *member, int64 id, bool follows);
extern bool dbos_member_claim(DbosMember *member);

/* It has waited for the others of its gang since, and is run like any function from now on. */
extern void dbos_member_starts_now(DbosMember *member);

/* The same as a claim, without the lock, of a task that another worker runs. */
extern bool dbos_member_copy(DbosMember *member);

/*
 * What is wrong with the task before it runs: NULL, or the error it ends with.  The
 * first of a transaction also asks whether its login still may log in.
 */
extern Jsonb *dbos_member_obstacle(const DbosMember *member, bool first, const char **state);

/* Finds its function; raises what has become of it since the submit. */
extern void dbos_member_resolve(DbosMember *member);

/*
 * Runs it, and moves its row to the history.  The role is set, the context and the
 * stop are not.  SQL text that commits by itself ends the transaction and begins
 * another; it comes alone.
 */
extern void dbos_member_run(DbosMember *member, bool others_wait, const DbosSample *sample);
extern void dbos_member_end(DbosMember *member, const char *state, Jsonb *result, Jsonb *error);
extern bool dbos_member_commits_itself(const DbosMember *member);

/* After an error, with the transaction aborted: what to write down; allocated in the current context. */
extern DbosFailure *dbos_member_failure(DbosMember *member, ErrorData *error);
extern void dbos_member_write_failure(int64 id, DbosFailure *failure);

/* No task runs: its time is up for nobody. */
extern void dbos_member_disarm(void);

#endif							/* DBOS_TASK_MEMBER_H */
