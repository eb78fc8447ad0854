/*
 * ready.c
 *	  Where messages may be: receivers take it from the slot, senders give it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "slot.h"

/* Rows that somebody had locked are looked at again after this, and twice this, ... */
#define DOUBT_MS		20
#define MOST_DOUBT_MS	2000

/* Whatever is due by the clock may be looked at: what was doubtful; and any id, up to the last. */
static void
look_at_clock(DbosMailboxSlot *slot, int64 last)
{
	bool		doubts = slot->doubt.lo <= slot->doubt.hi;
	TimestampTz now;

	/* Most mailboxes have nothing to look at the clock for: then only who finds nothing does. */
	if (!doubts && dbos_slot_has_messages(slot))
		return;
	now = dbos_now();
	if (doubts && slot->doubt_at <= now)
	{
		if (slot->ordered)
		{
			DbosLaneSet all;

			memset(&all, 0xff, sizeof(all));
			dbos_lanes_add(dbos_slot_lanes(slot), &all, slot->doubt.lo);
		}
		else
			dbos_ready_add(&slot->ready, slot->doubt);
		slot->doubt.lo = 0;
		slot->doubt.hi = -1;
	}
	if (dbos_slot_has_messages(slot) || TimestampTzPlusMilliseconds(slot->swept_at, DBOS_SWEEP_MS) > now || last == 0)
		return;
	if (slot->ordered)
		dbos_lanes_all(dbos_slot_lanes(slot));
	else
		dbos_ready_add(&slot->ready, (DbosIdRange) {.lo = 1, .hi = last, .segment = DBOS_ANY_SEGMENT});
	slot->swept_at = now;
}

static bool
sweep_is_due(const DbosMailboxSlot *slot)
{
	return !dbos_slot_has_messages(slot) && TimestampTzPlusMilliseconds(slot->swept_at, DBOS_SWEEP_MS) <= dbos_now();
}

/* From the ready set, or from the lanes: false when there is nothing. */
static bool
take_from(DbosMailboxSlot *slot, int64 most, DbosIdRange *ids)
{
	if (!slot->ordered)
		return dbos_ready_take(&slot->ready, most, ids);
	ids->segment = dbos_lanes_take(dbos_slot_lanes(slot), &ids->lo);
	return ids->segment != DBOS_NO_LANE;
}

/*
 * Takes what to look at next: rows of the aside segment that are due, or up to `most` ids;
 * of an ordered mailbox a lane, in the place of the segment, and where to begin in it.
 * What is taken, nobody else looks at until it is given back.
 */
DbosTaken
dbos_mailbox_take(DbosMailbox *mailbox, int64 most, DbosIdRange *ids, TimestampTz *aside_floor)
{
	int64		last = 0;

	if (!dbos_shared_attach())
		return DBOS_TAKEN_UNKNOWN;
	for (int tries = 0; tries < 3; tries++)
	{
		LWLock	   *lock = dbos_slot_lock(mailbox->relation);
		DbosMailboxSlot *slot = dbos_slot_find(mailbox->relation, &mailbox->slot);
		DbosTaken	taken = DBOS_TAKEN_NOTHING;
		DbosWakes		wakes = DBOS_NO_WAKES;
		bool		sweep = false;

		if (slot == NULL)
		{
			LWLockRelease(lock);
			if (!dbos_slot_open(mailbox))
				return DBOS_TAKEN_UNKNOWN;
			continue;
		}
		look_at_clock(slot, last);
		if (slot->aside_at != DT_NOEND && slot->aside_at <= dbos_now())
		{
			*aside_floor = slot->aside_floor;
			slot->aside_at = slot->aside_floor = DT_NOEND;
			taken = DBOS_TAKEN_ASIDE;
		}
		else if (take_from(slot, most, ids))
		{
			taken = DBOS_TAKEN_IDS;
			/* Who waits while there is more was not woken for it. */
			if (dbos_slot_has_messages(slot))
				dbos_slot_choose_waiter(slot, &wakes);
		}
		else
			sweep = last == 0 && sweep_is_due(slot);
		dbos_slot_release(lock, wakes);
		if (!sweep)
			return taken;
		last = Max(dbos_mailbox_last_id(mailbox), 1);
	}
	return DBOS_TAKEN_NOTHING;
}

/* There may be messages among these ids.  Neither allocates nor raises. */
void
dbos_mailbox_give(Oid relation, DbosIdRange range)
{
	int			number = -1;
	bool		tell = false;
	DbosWakes		wakes = DBOS_NO_WAKES;
	DbosMailboxSlot *slot;
	LWLock	   *lock;

	if (!DBOS_HAVE_SLOTS() || range.lo > range.hi)
		return;
	lock = dbos_slot_lock(relation);
	slot = dbos_slot_find(relation, &number);
	if (slot != NULL)
	{
		if (!slot->ordered)
			dbos_ready_add(&slot->ready, range);
		dbos_slot_choose_waiter(slot, &wakes);
		/* Any segment: nobody knows whether there are messages. */
		if (range.segment != DBOS_ANY_SEGMENT)
			slot->highest = Max(slot->highest, range.hi);
		tell = dbos_slot_messages_come(slot);
	}
	dbos_slot_release(lock, wakes);
	if (tell)
		dbos_duty_want();
}

/* There may be messages in these lanes of an ordered mailbox, from that id on.  Neither allocates nor raises. */
void
dbos_mailbox_give_lanes(Oid relation, const DbosLaneSet *lanes, int64 floor, int64 highest)
{
	int			number = -1;
	bool		tell = false;
	DbosWakes		wakes = DBOS_NO_WAKES;
	DbosMailboxSlot *slot;
	LWLock	   *lock;

	if (!DBOS_HAVE_SLOTS())
		return;
	lock = dbos_slot_lock(relation);
	slot = dbos_slot_find(relation, &number);
	if (slot != NULL && slot->ordered)
	{
		dbos_lanes_add(dbos_slot_lanes(slot), lanes, floor);
		if (dbos_lanes_some(dbos_slot_lanes(slot)))
			dbos_slot_choose_waiter(slot, &wakes);
		slot->highest = Max(slot->highest, highest);
		tell = dbos_slot_messages_come(slot);
	}
	dbos_slot_release(lock, wakes);
	if (tell)
		dbos_duty_want();
}

/* A lane that was taken is free again; more: it may have messages.  Neither allocates nor raises. */
void
dbos_mailbox_release_lane(Oid relation, int lane, int64 floor, bool more)
{
	int			number = -1;
	bool		tell = false;
	DbosWakes		wakes = DBOS_NO_WAKES;
	DbosMailboxSlot *slot;
	LWLock	   *lock;

	if (!DBOS_HAVE_SLOTS())
		return;
	lock = dbos_slot_lock(relation);
	slot = dbos_slot_find(relation, &number);
	if (slot != NULL && slot->ordered)
	{
		dbos_lanes_release(dbos_slot_lanes(slot), lane, floor, more);
		if (dbos_lanes_some(dbos_slot_lanes(slot)))
			dbos_slot_choose_waiter(slot, &wakes);
		tell = more && dbos_slot_messages_come(slot);
	}
	dbos_slot_release(lock, wakes);
	if (tell)
		dbos_duty_want();
}

/*
 * The aside segment is to be looked into at that time, from that visible_at on.
 * Neither allocates nor raises.
 */
void
dbos_mailbox_give_aside(Oid relation, TimestampTz at, TimestampTz floor)
{
	int			number = -1;
	bool		tell = false;
	DbosWakes		wakes = DBOS_NO_WAKES;
	DbosMailboxSlot *slot;
	LWLock	   *lock;

	if (!DBOS_HAVE_SLOTS())
		return;
	lock = dbos_slot_lock(relation);
	slot = dbos_slot_find(relation, &number);
	if (slot != NULL)
	{
		tell = dbos_slot_messages_come_at(slot, at);
		slot->aside_floor = Min(slot->aside_floor, floor);
		if (at < slot->aside_at)
		{
			slot->aside_at = at;
			wakes.nudged = slot->first_waiter;
		}
	}
	dbos_slot_release(lock, wakes);
	if (tell)
		dbos_duty_want();
}

/* Somebody who may not tell us has locked rows with these ids: they are looked at again in a while. */
void
dbos_mailbox_doubt(DbosMailbox *mailbox, DbosIdRange range)
{
	bool		tell = false;
	DbosWakes		wakes = DBOS_NO_WAKES;
	DbosMailboxSlot *slot;
	LWLock	   *lock;

	if (!DBOS_HAVE_SLOTS() || range.lo > range.hi)
		return;
	lock = dbos_slot_lock(mailbox->relation);
	slot = dbos_slot_find(mailbox->relation, &mailbox->slot);
	if (slot != NULL)
	{
		TimestampTz now = dbos_now();

		if (slot->doubt.lo > slot->doubt.hi)
		{
			bool		again = TimestampTzPlusMilliseconds(slot->doubt_at, DOUBT_MS) > now;

			slot->doubt = range;
			slot->doubt_ms = again ? Min(slot->doubt_ms * 2, MOST_DOUBT_MS) : DOUBT_MS;
		}
		else
		{
			slot->doubt.lo = Min(slot->doubt.lo, range.lo);
			slot->doubt.hi = Max(slot->doubt.hi, range.hi);
			slot->doubt_ms = DOUBT_MS;
		}
		slot->doubt.segment = DBOS_ANY_SEGMENT;
		slot->doubt_at = TimestampTzPlusMilliseconds(now, slot->doubt_ms);
		wakes.nudged = slot->first_waiter;
		tell = dbos_slot_messages_come_at(slot, slot->doubt_at);
	}
	dbos_slot_release(lock, wakes);
	if (tell)
		dbos_duty_want();
}
