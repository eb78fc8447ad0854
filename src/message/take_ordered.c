/*
 * take_ordered.c
 *	  Messages of an ordered mailbox are taken: first in, first out for each partition key.
 *
 * Keys are put into lanes by a hash (lanes.h).  A lane is in the hands of one transaction at a
 * time, by a lock of the server that lasts until its end: what keeps the order does not
 * depend on shared memory, which only says where to look.  A transaction that has taken a lane
 * may take more of it; whoever else wants messages gets those of other lanes.
 *
 * The order of a lane is that of the ids.  A message that stands aside because its lease has
 * not ended, or because its failed delivery is still to be counted, keeps those behind it back; one
 * that was sent to be visible later does not.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"

#include "message.h"

/* Kind of an advisory lock that no SQL function can ask for. */
#define LANE_LOCK_KIND 0xdb04

/* As the expression of the segments' index (ddl.c) says. */
int
dbos_message_lane(const text *partition_key)
{
	Datum		key = partition_key != NULL ? PointerGetDatum(partition_key) : CStringGetTextDatum("");
	Datum		hash = DirectFunctionCall2Coll(hashtextextended, C_COLLATION_OID, key, Int64GetDatum(0));

	return (int) (DatumGetInt64(hash) & (DBOS_LANES - 1));
}

/* Until the end of the (sub)transaction; false: another one has it. */
static bool
lock_lane(const DbosMailbox *mailbox, int lane)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, mailbox->relation, lane, LANE_LOCK_KIND);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

static void
unlock_lane(const DbosMailbox *mailbox, int lane)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, mailbox->relation, lane, LANE_LOCK_KIND);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

/* What was seen of a lane. */
typedef struct LaneLook
{
	int			lane;
	int64		floor;			/* looked from here on; then where the next look is to begin */
	bool		more;			/* it may have more that could be taken now */
	bool		blocked;		/* its first message keeps the others back */
} LaneLook;

/*
 * Whether the row in the aside segment is for later: 's' skip it, 'b' it keeps back those behind it,
 * 't' it may be taken.
 */
static char
state_aside(TupleTableSlot *slot, TimestampTz now)
{
	bool		isnull;

	if (dbos_slot_int64(slot, MESSAGE_VISIBLE_AT) <= now)
		return 't';
	return DatumGetInt32(slot_getattr(slot, MESSAGE_DELIVERIES + 1, &isnull)) > 0 ? 'b' : 's';
}

/* Takes what is wanted of a lane, in the order of its ids. */
static void
take_lane(DbosTaking *taking, LaneLook *look)
{
	DbosMailbox *mailbox = taking->mailbox;
	DbosSegmentScan *scans = palloc(sizeof(DbosSegmentScan) * Max(mailbox->nsegments, 1));
	TimestampTz now = dbos_now();
	DbosSegmentScan *next;
	int			nscans = 0;
	int64		first_left = 0; /* id of the first one that stays; 0: none does */

	PushActiveSnapshot(GetLatestSnapshot());
	for (int i = 0; i < mailbox->nsegments; i++)
		dbos_lane_scan_begin(&scans[nscans++], &mailbox->segments[i], GetActiveSnapshot(), look->lane, look->floor);
	while (!look->blocked && (next = dbos_segment_scan_lowest(scans, nscans)) != NULL)
	{
		int64		id = dbos_slot_int64(next->slot, MESSAGE_ID);
		char		state = next->segment == DBOS_ASIDE_SEGMENT ? state_aside(next->slot, now) : 't';

		CHECK_FOR_INTERRUPTS();
		if (state == 't' && taking->got == taking->wanted)
		{
			look->more = true;
			state = 'b';
		}
		if (state == 't')
			switch (dbos_take_row(taking, next))
			{
				case DBOS_ROW_TAKEN:
					/* What is leased stands aside, and keeps those behind it back. */
					if (taking->lease_until != 0 && first_left == 0)
						first_left = id;
					break;
				case DBOS_ROW_NOT_THERE:
					break;
				case DBOS_ROW_HELD:
				case DBOS_ROW_UNCOUNTED:
					state = 'b';
					break;
			}
		if (state != 't' && first_left == 0)
			first_left = id;
		if (state == 'b')
			look->blocked = true;
		else
			dbos_segment_scan_next(next);
		if (first_left == 0)
			look->floor = id + 1;
	}
	if (first_left != 0)
		look->floor = first_left;
	for (int i = 0; i < nscans; i++)
		dbos_segment_scan_end(&scans[i]);
	PopActiveSnapshot();
	pfree(scans);
}

/* A lane that shared memory gave us, or of which we have taken before. */
static void
look_into_lane(DbosTaking *taking, int lane, int64 floor)
{
	DbosMailbox *mailbox = taking->mailbox;
	LaneLook	look = {.lane = lane, .floor = floor};
	DbosIdRange nothing = {.lo = PG_INT64_MAX, .hi = -1};

	taking->locked = nothing;
	if (lock_lane(mailbox, lane))
	{
		take_lane(taking, &look);
		dbos_pending_lane(mailbox->relation, lane, floor, look.floor, look.more);
	}
	else
	{
		/* Somebody has it whom shared memory does not know: we look again in a while. */
		taking->locked = (DbosIdRange) {.lo = floor, .hi = floor};
		dbos_pending_lane(mailbox->relation, lane, floor, floor, false);
	}
	if (taking->locked.lo <= taking->locked.hi)
		dbos_mailbox_doubt(mailbox, taking->locked);
}

/* Without knowing where messages may be: lane after lane, from one that differs from process to process on. */
static void
look_into_all(DbosTaking *taking)
{
	static int	begin = -1;

	if (begin < 0)
		begin = MyProcPid % DBOS_LANES;
	for (int i = 0; i < DBOS_LANES && taking->got < taking->wanted; i++)
	{
		LaneLook	look = {.lane = (begin + i) % DBOS_LANES, .floor = 1};
		int			before = taking->got;

		CHECK_FOR_INTERRUPTS();
		if (!lock_lane(taking->mailbox, look.lane))
			continue;
		take_lane(taking, &look);
		if (taking->got > before)
			continue;
		/* What we have taken nothing of, others may. */
		unlock_lane(taking->mailbox, look.lane);
	}
	begin = (begin + 1) % DBOS_LANES;
}

/* Looks once for messages, and takes at most as many as are wanted. */
void
dbos_take_ordered(DbosTaking *taking)
{
	DbosMailbox *mailbox = taking->mailbox;
	int			lane;
	int64		floor;

	if (!taking->sees_all)
	{
		look_into_all(taking);
		return;
	}
	/* First of the lanes that this transaction has already. */
	for (int i = 0; taking->got < taking->wanted && dbos_pending_own_lane(mailbox->relation, i, &lane, &floor); i++)
		look_into_lane(taking, lane, floor);
	while (taking->got < taking->wanted)
	{
		DbosIdRange taken;
		TimestampTz aside_floor;

		switch (dbos_mailbox_take(mailbox, 1, &taken, &aside_floor))
		{
			case DBOS_TAKEN_NOTHING:
				return;
			case DBOS_TAKEN_UNKNOWN:
				look_into_all(taking);
				return;
			case DBOS_TAKEN_ASIDE:
				dbos_pending_aside_claimed(mailbox->relation, aside_floor);
				dbos_aside_make_ready(taking, aside_floor);
				break;
			case DBOS_TAKEN_IDS:
				/* From here on an error gives it back. */
				dbos_pending_lane(mailbox->relation, taken.segment, taken.lo, taken.lo, true);
				look_into_lane(taking, taken.segment, taken.lo);
				break;
		}
	}
}
