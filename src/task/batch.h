/*
 * batch.h
 *	  Tasks that an executor has taken, and how many share a transaction.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_BATCH_H
#define DBOS_TASK_BATCH_H

#include "postgres.h"

#include "function_profile.h"
#include "member.h"
#include "task.h"

/* No batch has more members. */
#define DBOS_MAX_HAND 512

typedef enum DbosTurnState
{
	DBOS_TURN_WAITS = 0,		/* next: done, busy, gone, failed, waits again after a rollback */
	DBOS_TURN_DONE,				/* in the open transaction; next: waits when that rolls back */
	DBOS_TURN_FAILED,			/* the attempt is to be written down; next: done */
	DBOS_TURN_BUSY,				/* another transaction has its row */
	DBOS_TURN_GONE				/* nothing to be had */
} DbosTurnState;

typedef struct DbosTurn
{
	DbosTicket	ticket;
	DbosTurnState state;
	bool		alone;			/* it failed in company, or is not fit for it */
	bool		began;
	bool		copy;			/* another worker runs it: speculation.c */
	bool		slow;			/* nobody in hand shall wait for it */
	bool		wanted;			/* somebody dropped an entry of it because we had it */
	DbosFailure *failure;
	DbosProfile *profile;		/* of a turn that ran */
	TimestampTz started_at;
	TimestampTz finished_at;
	bool		urgent;			/* the failure is committed before anybody else runs */
} DbosTurn;

/* What an executor took from the run queue in one go, all of one queue, in order. */
typedef struct DbosHand
{
	int			count;
	int			next;			/* those before it are committed, or given up */
	TimestampTz start_before;	/* it was counted for what starts until then; 0: nobody counts */
	bool		late;			/* that time has come */
	int			suspects;		/* so many of the next ones made a commit fail */
	bool		replays;		/* something was rolled back: what follows stays in hand */
	DbosTurn	turns[DBOS_MAX_HAND];
} DbosHand;

/* Runs one transaction of it; false when what is left in hand should go back. */
extern bool dbos_batch_run(DbosHand *hand, MemoryContext context, const DbosSample *sample);

/* How many tasks the next hand should have. */
extern int	dbos_batch_size(void);

/* execute.c: the turn that begins, as others are shown it. */
extern void dbos_turn_begins(DbosHand *hand, int turn);
extern void dbos_turn_runs_alone(int turn); /* the hand ends with it */

#endif							/* DBOS_TASK_BATCH_H */
