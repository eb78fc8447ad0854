/*
 * pending.c
 *	  What a transaction tells of messages at its end.
 *
 * What was sent is there for receivers once the transaction has committed; what was
 * received is there again if it, or the subtransaction that received it, aborts.
 * SQL functions and triggers append to a list, which may fail; the callbacks
 * only read it: they neither allocate nor raise.
 *
 * Ids of one mailbox, segment and subtransaction become one range: it may name
 * ids of others, at which receivers look once more than needed.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "message.h"

#define INITIAL_CAPACITY 8

typedef enum PendingKind
{
	PENDING_SENT,				/* told at commit */
	PENDING_SENT_LANES,			/* told at commit; range.lo is the lowest id */
	PENDING_LANE,				/* range.segment is a lane that is held: given back at commit and at abort */
	PENDING_CLAIMED,			/* told at abort */
	PENDING_COUNTED,			/* told at abort: claimed, and failed then */
	PENDING_WORK,				/* told at commit; range.segment is the work */
	PENDING_UNDONE,				/* told at abort; the same, and the ids of deliveries to be counted */
	PENDING_ASIDE,				/* told at commit; range.lo is a time */
	PENDING_ASIDE_CLAIMED		/* told at abort; range.lo is a time */
} PendingKind;

typedef struct Pending
{
	PendingKind kind;
	int			nest_level;
	Oid			relation;
	DbosIdRange range;
	DbosLaneSet *lanes;			/* of what was sent to an ordered mailbox */
	bool		more;			/* in a lane that is held */
} Pending;

static Pending *list = NULL;	/* in TopTransactionContext */
static int	nlist = 0;
static int	capacity = 0;

/* ---- appending: may raise out of memory ---- */

/* The entry for this, new or one of this level with its range grown. */
static Pending *
append(PendingKind kind, Oid relation, DbosIdRange range)
{
	int			level = GetCurrentTransactionNestLevel();
	Pending    *pending;

	/* Levels never decrease along the list: those of this level are at its end. */
	for (int i = nlist - 1; i >= 0 && list[i].nest_level == level; i--)
	{
		pending = &list[i];
		if (pending->kind == kind && pending->relation == relation &&
			pending->range.segment == range.segment)
		{
			pending->range.lo = Min(pending->range.lo, range.lo);
			pending->range.hi = Max(pending->range.hi, range.hi);
			return pending;
		}
	}
	/* At the end of the transaction it is too late to look for it. */
	(void) dbos_shared_attach();
	if (list == NULL)
	{
		list = MemoryContextAlloc(TopTransactionContext, INITIAL_CAPACITY * sizeof(Pending));
		capacity = INITIAL_CAPACITY;
		nlist = 0;
	}
	else if (nlist == capacity)
	{
		list = repalloc_huge(list, (Size) 2 * capacity * sizeof(Pending));
		capacity *= 2;
	}
	pending = &list[nlist++];
	pending->kind = kind;
	pending->nest_level = level;
	pending->relation = relation;
	pending->range = range;
	pending->lanes = NULL;
	pending->more = false;
	return pending;
}

void
dbos_pending_sent(Oid relation, int32 segment, int64 lo, int64 hi)
{
	DbosIdRange range = {.lo = lo, .hi = hi, .segment = segment};

	(void) append(PENDING_SENT, relation, range);
}

void
dbos_pending_message(const DbosMailbox *mailbox, int32 segment, int64 id, const text *partition_key)
{
	Pending    *pending;

	if (!mailbox->options.ordered)
	{
		dbos_pending_sent(mailbox->relation, segment, id, id);
		return;
	}
	pending = append(PENDING_SENT_LANES, mailbox->relation, (DbosIdRange) {.lo = id, .hi = id});
	if (pending->lanes == NULL)
		pending->lanes = MemoryContextAllocZero(TopTransactionContext, sizeof(DbosLaneSet));
	dbos_lane_set(pending->lanes, dbos_message_lane(partition_key), true);
}

/* At commit any message of the mailbox may be delivered: what was passed over is looked at again. */
void
dbos_pending_everything(const DbosMailbox *mailbox)
{
	int64		last = dbos_mailbox_last_id(mailbox);

	if (last == 0)
		return;
	dbos_pending_aside(mailbox->relation, DT_NOBEGIN);
	if (mailbox->options.ordered)
	{
		Pending    *pending = append(PENDING_SENT_LANES, mailbox->relation, (DbosIdRange) {.lo = 1, .hi = 1});

		if (pending->lanes == NULL)
			pending->lanes = MemoryContextAlloc(TopTransactionContext, sizeof(DbosLaneSet));
		memset(pending->lanes, 0xff, sizeof(DbosLaneSet));
	}
	else
		dbos_pending_sent(mailbox->relation, DBOS_ANY_SEGMENT, 1, last);
}

void
dbos_pending_lane(Oid relation, int lane, int64 lo, int64 hi, bool more)
{
	Pending    *pending = append(PENDING_LANE, relation, (DbosIdRange) {.lo = lo, .hi = hi, .segment = lane});

	/* The last look says what is left. */
	pending->range.hi = hi;
	pending->more = more;
}

bool
dbos_pending_own_lane(Oid relation, int at, int *lane, int64 *floor)
{
	for (int i = 0; i < nlist; i++)
	{
		const Pending *pending = &list[i];

		if (pending->kind != PENDING_LANE || pending->relation != relation || !pending->more || at-- > 0)
			continue;
		*lane = pending->range.segment;
		*floor = pending->range.hi;
		return true;
	}
	return false;
}

void
dbos_pending_work(DbosMailbox *mailbox, int work)
{
	dbos_mailbox_open_slot(mailbox);
	(void) append(PENDING_WORK, mailbox->relation, (DbosIdRange) {.segment = work});
}

void
dbos_pending_undone(Oid relation, int work, DbosIdRange failed)
{
	(void) append(PENDING_UNDONE, relation, (DbosIdRange) {.lo = failed.lo, .hi = failed.hi, .segment = work});
}

void
dbos_pending_claimed(Oid relation, DbosIdRange range)
{
	(void) append(PENDING_CLAIMED, relation, range);
}

void
dbos_pending_claimed_counted(Oid relation, DbosIdRange range)
{
	(void) append(PENDING_COUNTED, relation, range);
}

void
dbos_pending_aside(Oid relation, TimestampTz visible_at)
{
	(void) append(PENDING_ASIDE, relation, (DbosIdRange) {.lo = visible_at, .hi = visible_at});
}

void
dbos_pending_aside_claimed(Oid relation, TimestampTz floor)
{
	(void) append(PENDING_ASIDE_CLAIMED, relation, (DbosIdRange) {.lo = floor, .hi = floor});
}

/* ---- the end of a transaction ---- */

static void
tell(const Pending *pending, bool committed)
{
	switch (pending->kind)
	{
		case PENDING_SENT_LANES:
			if (pending->lanes != NULL)
				dbos_mailbox_give_lanes(pending->relation, pending->lanes, pending->range.lo, pending->range.hi);
			break;
		case PENDING_LANE:
			if (committed)
				dbos_mailbox_release_lane(pending->relation, pending->range.segment, pending->range.hi, pending->more);
			else
				dbos_mailbox_release_lane(pending->relation, pending->range.segment, pending->range.lo, true);
			break;
		case PENDING_SENT:
		case PENDING_CLAIMED:
			dbos_mailbox_give(pending->relation, pending->range);
			break;
		case PENDING_COUNTED:
			dbos_mailbox_failed(pending->relation, pending->range);
			break;
		case PENDING_WORK:
			dbos_mailbox_want(pending->relation, pending->range.segment);
			break;
		case PENDING_UNDONE:
			dbos_mailbox_keep_work(pending->relation, pending->range.segment,
								   (DbosIdRange) {.lo = pending->range.lo, .hi = pending->range.hi, .segment = DBOS_ANY_SEGMENT});
			break;
		case PENDING_ASIDE:
		case PENDING_ASIDE_CLAIMED:
			dbos_mailbox_give_aside(pending->relation, pending->range.lo, pending->range.lo);
			break;
	}
}

/* What a subtransaction that aborts had of a lane of an outer one stays that one's. */
static bool
keep_outer_lane(int at, bool committed)
{
	if (committed)
		return false;
	for (int i = 0; i < at; i++)
	{
		Pending    *outer = &list[i];

		if (outer->kind != PENDING_LANE || outer->relation != list[at].relation ||
			outer->range.segment != list[at].range.segment || outer->nest_level >= list[at].nest_level)
			continue;
		outer->range.hi = Min(outer->range.hi, list[at].range.lo);
		outer->more = true;
		return true;
	}
	return false;
}

static void
tell_from(int from, bool committed)
{
	for (int i = from; i < nlist; i++)
	{
		bool		at_abort = list[i].kind == PENDING_CLAIMED || list[i].kind == PENDING_COUNTED ||
			list[i].kind == PENDING_ASIDE_CLAIMED || list[i].kind == PENDING_UNDONE;

		if (list[i].kind == PENDING_LANE ? !keep_outer_lane(i, committed) : at_abort != committed)
			tell(&list[i], committed);
	}
}

/* Its memory goes with the transaction. */
static void
forget_list(void)
{
	list = NULL;
	nlist = capacity = 0;
}

static void
pending_xact_callback(XactEvent event, void *arg)
{
	if (list == NULL)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (nlist > 0)
				ereport(ERROR,
						errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot PREPARE a transaction that has sent or received messages"),
						errhint("Use COMMIT, or send and receive in a transaction of their own."));
			break;
		case XACT_EVENT_COMMIT:
			tell_from(0, true);
			forget_list();
			break;
		case XACT_EVENT_ABORT:
			tell_from(0, false);
			forget_list();
			break;
		case XACT_EVENT_PREPARE:
			/* Everything was dropped by subtransactions. */
			forget_list();
			break;
		default:
			break;
	}
}

static void
pending_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
						 SubTransactionId parentSubid, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();
	int			first = nlist;

	if (nlist == 0 || (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB))
		return;
	while (first > 0 && list[first - 1].nest_level >= level)
		first--;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		tell_from(first, false);
		nlist = first;
		return;
	}
	for (int i = first; i < nlist; i++)
		list[i].nest_level = level - 1;
}

void
dbos_message_pending_install(void)
{
	RegisterXactCallback(pending_xact_callback, NULL);
	RegisterSubXactCallback(pending_subxact_callback, NULL);
}
