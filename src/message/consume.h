/*
 * consume.h
 *	  Messages that are taken for a function: by a loop in a session, or as tasks.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_CONSUME_H
#define DBOS_CONSUME_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "message.h"

/* A message that was taken in this transaction. */
typedef struct DbosConsumed
{
	int64		id;
	int32		deliveries;		/* this one counted */
	Jsonb	   *body;			/* '{}' when there is none */
	text	   *partition_key;	/* NULL: none */
	Jsonb	   *description;	/* all but the body, as dbos.current_message() shows it */
	HeapTuple	row;
} DbosConsumed;

/* What is being taken, and the list of what was, in the context that was current then. */
typedef struct DbosConsuming
{
	DbosTaking	taking;			/* first: dbos_take() hands it back */
	char	   *name;			/* of the mailbox, qualified */
	List	   *messages;		/* of DbosConsumed */
} DbosConsuming;

/* Checks the current role's rights; then takes what is there, up to so many. */
extern void dbos_consume_begin(DbosConsuming *consuming, DbosMailbox *mailbox, int wanted);
extern void dbos_consume(DbosConsuming *consuming);

/* When a message whose delivery has just failed is delivered again: later each time. */
extern TimestampTz dbos_consume_again_at(const DbosMailbox *mailbox, const DbosConsumed *message);

/* In the transaction that has taken it: it stays in the mailbox, with that delivery counted, out of sight until then. */
extern void dbos_consume_put_back(const DbosConsuming *consuming, const DbosConsumed *message, TimestampTz visible_at);

#endif							/* DBOS_CONSUME_H */
