/*
 * segment_known.c
 *	  Whether everybody who is about to INSERT into a mailbox knows a segment of it.
 *
 * The executor looks at the partitions of a table once, when a statement begins, and asks for the
 * segment of a row, the column's default, later.  If that default named a segment that was
 * attached in between, the row would be refused.  So a new segment is made in one
 * transaction and becomes current in another one, when all are over that had the mailbox
 * locked for INSERT in between.  Who locks it later learns of the segment by the lock.
 *
 * That is how CREATE INDEX CONCURRENTLY waits for those who do not know its index, but nobody
 * waits here: the background looks again.  dbos.send() and dbos.receive() take a weaker
 * lock and find segments by themselves, so that long transactions with them delay nothing.
 *
 * What was found is kept by the process; its successor asks anew.  Segments that were made with
 * their mailbox are known to all who know that.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "message.h"

typedef struct Known
{
	Oid			mailbox;		/* key */
	int32		up_to;			/* the highest segment that is known to everybody */
	int32		asked;			/* the one that is too when those are over: */
	int			nothers;
	VirtualTransactionId *others;
} Known;

static HTAB *mailboxes = NULL;

static Known *
known_of(Oid mailbox)
{
	Known	   *known;
	bool		found;

	if (mailboxes == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(Known), .hcxt = TopMemoryContext};

		mailboxes = hash_create("dbos known segments", 32, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	known = hash_search(mailboxes, &mailbox, HASH_ENTER, &found);
	if (!found)
		*known = (Known) {.mailbox = mailbox, .up_to = DBOS_FIRST_SEGMENTS, .asked = DBOS_FIRST_SEGMENTS};
	return known;
}

/* Who has it locked for INSERT now. */
static void
ask(Known *known, int32 number)
{
	VirtualTransactionId *holders;
	VirtualTransactionId *others;
	LOCKTAG		tag;
	int			count;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, known->mailbox);
	holders = GetLockConflicts(&tag, ShareLock, &count);
	others = MemoryContextAlloc(TopMemoryContext, sizeof(VirtualTransactionId) * Max(count, 1));
	memcpy(others, holders, sizeof(VirtualTransactionId) * count);
	pfree(holders);
	if (known->others != NULL)
		pfree(known->others);
	known->others = others;
	known->nothers = count;
	known->asked = number;
}

/* Not to be asked by the transaction that makes the segment. */
bool
dbos_segment_known(const DbosMailbox *mailbox, int32 number)
{
	Known	   *known = known_of(mailbox->relation);
	int32		highest = mailbox->segments[mailbox->nsegments - 1].number;

	/* The number of one that its owner has dropped is given out again. */
	known->up_to = Min(known->up_to, highest);
	known->asked = Min(known->asked, highest);
	if (number <= known->up_to)
		return true;
	if (number > known->asked)
		ask(known, highest);
	while (known->nothers > 0 && VirtualXactLock(known->others[known->nothers - 1], false))
		known->nothers--;
	if (known->nothers > 0)
		return false;
	known->up_to = known->asked;
	return true;
}
