/*
 * shared.c
 *	  What shared memory knows of mailboxes: where messages are, and who waits for them.
 *
 * All of it are hints.  A mailbox that has no slot is found out about from its
 * table: a new slot says that any id may have a message, and slots are taken
 * from mailboxes that nobody has used for long.
 *
 * Slots are in partitions by a hash of (database, relation); one LWLock guards
 * the slots of a partition, and the waiters of their mailboxes.  Under it: no
 * error, no allocation, no SQL.
 *
 * No wake-up is lost: a waiter enters the list before it looks, and a sender
 * adds its ids before it looks at the list.  A waiter that was woken and goes
 * away without having taken anything wakes the next one.  The first of the list keeps the
 * clock for all: who comes to be the first is nudged, to look when it is to look.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/twophase.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "postmaster/autovacuum.h"
#include "replication/walsender.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#include "message.h"

#define PARTITIONS	8
#define SLOTS_PRELOADED 64		/* of each partition */
#define SLOTS_WITHOUT_PRELOAD 2
/* So many of them may be of ordered mailboxes. */
#define LANES_PRELOADED 64
#define LANES_WITHOUT_PRELOAD 1

/* Rows that somebody had locked are looked at again after this, and twice this, ... */
#define DOUBT_MS		20
#define MOST_DOUBT_MS	2000
/* Rows that came without being told of are found by a look at all, this often. */
#define SWEEP_MS		60000

typedef struct MailboxSlot
{
	Oid			database;
	Oid			relation;		/* InvalidOid: free */
	int			first_waiter;	/* proc numbers: the one that waits longest */
	int			last_waiter;
	int			work;			/* for the background: DBOS_WORK_... */
	int			standing;		/* that it does whenever messages come */
	TimestampTz again_at;		/* when it does so by the clock; DT_NOEND: never */
	bool		looked;			/* it has done so since the slot is there */
	int64		highest;		/* id that was committed since then; 0: none was */
	DbosIdRange failed;			/* ids whose deliveries are to be counted; lo > hi: none */
	TimestampTz swept_at;		/* when any id was last said to have a message */
	TimestampTz aside_at;		/* when to look into the aside segment; DT_NOEND: never */
	TimestampTz aside_floor;	/* and from which visible_at on */
	DbosIdRange doubt;			/* ids of rows that somebody had locked; lo > hi: none */
	TimestampTz doubt_at;		/* when they are looked at again */
	int			doubt_ms;		/* how long that was put off */
	uint64		used;			/* by the partition's clock */
	bool		ordered;		/* its lanes say where messages are, else the ready set */
	DbosReadySet ready;
} MailboxSlot;

typedef struct Partition
{
	LWLock		lock;
	uint64		clock;			/* one more with each use of a slot */
} Partition;

typedef struct Waiter
{
	Oid			database;
	Oid			relation;		/* InvalidOid: waits for nothing */
	int			next;
	int			previous;
	bool		woken;			/* not in the list any more */
} Waiter;

typedef struct MessageShared
{
	int			nslots;			/* of each partition */
	int			nlanes;			/* sets of lanes of each partition: of its first slots */
	int			nwaiters;
	Partition	partitions[PARTITIONS];
	/* followed by slots, lanes and waiters */
} MessageShared;

static MessageShared *shared = NULL;
static Oid	waits_for = InvalidOid;

/* ---- layout ---- */

static int
slots_of_partition(bool preloaded)
{
	return preloaded ? SLOTS_PRELOADED : SLOTS_WITHOUT_PRELOAD;
}

static int
lanes_of_partition(bool preloaded)
{
	return preloaded ? LANES_PRELOADED : LANES_WITHOUT_PRELOAD;
}

static int
waiter_count(void)
{
	/* MaxBackends is not known yet when preloaded libraries ask for memory on every version. */
	if (MaxBackends == 0)
		return MaxConnections + autovacuum_max_workers + 1 + max_worker_processes + max_wal_senders +
			NUM_AUXILIARY_PROCS + max_prepared_xacts;
	return MaxBackends + NUM_AUXILIARY_PROCS + max_prepared_xacts;
}

static Size
shared_size(bool preloaded)
{
	Size		size = MAXALIGN(sizeof(MessageShared));

	size = add_size(size, mul_size(PARTITIONS * slots_of_partition(preloaded), MAXALIGN(sizeof(MailboxSlot))));
	size = add_size(size, mul_size(PARTITIONS * lanes_of_partition(preloaded), MAXALIGN(sizeof(DbosLanes))));
	return add_size(size, mul_size(waiter_count(), sizeof(Waiter)));
}

static MailboxSlot *
slot_at(int partition, int number)
{
	MailboxSlot *slots = (MailboxSlot *) ((char *) shared + MAXALIGN(sizeof(MessageShared)));

	return &slots[partition * shared->nslots + number];
}

static Waiter *
waiter_at(int proc_number)
{
	DbosLanes  *lanes = (DbosLanes *) slot_at(PARTITIONS, 0);
	Waiter	   *waiters = (Waiter *) &lanes[PARTITIONS * shared->nlanes];

	return &waiters[proc_number];
}

/* The lanes of an ordered mailbox's slot. */
static DbosLanes *
lanes_of(const MailboxSlot *slot)
{
	DbosLanes  *lanes = (DbosLanes *) slot_at(PARTITIONS, 0);
	int			at = slot - slot_at(0, 0);

	return &lanes[at / shared->nslots * shared->nlanes + at % shared->nslots];
}

static bool
has_messages(const MailboxSlot *slot)
{
	return slot->ordered ? dbos_lanes_some(lanes_of(slot)) : slot->ready.count > 0;
}

static void
shared_init(void *memory, bool preloaded)
{
	MessageShared *made = memory;

	made->nslots = slots_of_partition(preloaded);
	made->nlanes = lanes_of_partition(preloaded);
	made->nwaiters = waiter_count();
	for (int i = 0; i < PARTITIONS; i++)
		dbos_lwlock_initialize(&made->partitions[i].lock);
}

static const DbosSharedSlot message_slot = {
	.room = "message",
	.size = shared_size,
	.init = shared_init,
	.slot = (void **) &shared,
};

void
dbos_message_shared_register(void)
{
	dbos_shared_register(&message_slot);
}

/* ---- slots ---- */

static int
partition_of(Oid relation)
{
	return hash_combine(murmurhash32(relation), murmurhash32(MyDatabaseId)) % PARTITIONS;
}

static LWLock *
lock_of(Oid relation)
{
	LWLock	   *lock = &shared->partitions[partition_of(relation)].lock;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	return lock;
}

/* The lock of its partition is held; number is where it was last seen, or -1. */
static MailboxSlot *
find_slot(Oid relation, int *number)
{
	int			partition = partition_of(relation);
	MailboxSlot *slot;

	for (int i = *number >= 0 ? -1 : 0; i < shared->nslots; i++)
	{
		slot = slot_at(partition, i < 0 ? *number : i);
		if (slot->relation == relation && slot->database == MyDatabaseId)
		{
			slot->used = ++shared->partitions[partition].clock;
			if (i >= 0)
				*number = i;
			return slot;
		}
	}
	return NULL;
}

/* A slot for a mailbox that has none: free, or of the one that was not used for longest and has no waiters. */
static MailboxSlot *
make_slot(Oid relation, bool ordered, int *number)
{
	int			partition = partition_of(relation);
	MailboxSlot *oldest = NULL;

	for (int i = 0; i < (ordered ? shared->nlanes : shared->nslots); i++)
	{
		MailboxSlot *slot = slot_at(partition, i);

		if (slot->relation != InvalidOid && slot->first_waiter != DBOS_NOBODY_WAITS)
			continue;
		if (oldest == NULL || slot->relation == InvalidOid ||
			(oldest->relation != InvalidOid && slot->used < oldest->used))
		{
			oldest = slot;
			*number = i;
		}
	}
	if (oldest == NULL)
		return NULL;
	memset(oldest, 0, sizeof(*oldest));
	oldest->database = MyDatabaseId;
	oldest->relation = relation;
	oldest->first_waiter = oldest->last_waiter = DBOS_NOBODY_WAITS;
	oldest->used = ++shared->partitions[partition].clock;
	oldest->aside_at = oldest->aside_floor = DT_NOBEGIN;
	oldest->again_at = DT_NOEND;
	oldest->doubt.hi = oldest->failed.hi = -1;
	oldest->swept_at = dbos_now();
	oldest->ordered = ordered;
	if (ordered)
	{
		memset(lanes_of(oldest), 0, sizeof(DbosLanes));
		dbos_lanes_all(lanes_of(oldest));
	}
	return oldest;
}

/*
 * Makes a slot of which any id up to the last may have a message.  Its last id is read
 * when the slot is there: who takes a later one finds the slot at its commit.
 */
static bool
open_slot(DbosMailbox *mailbox)
{
	DbosIdRange all = {.lo = 1, .segment = DBOS_ANY_SEGMENT};
	LWLock	   *lock = lock_of(mailbox->relation);
	MailboxSlot *slot = find_slot(mailbox->relation, &mailbox->slot);

	if (slot == NULL)
		slot = make_slot(mailbox->relation, mailbox->options.ordered, &mailbox->slot);
	if (slot != NULL)
		slot->standing = mailbox->standing;
	LWLockRelease(lock);
	if (slot == NULL)
		return false;
	all.hi = dbos_mailbox_last_id(mailbox);
	dbos_mailbox_give(mailbox->relation, all);
	return true;
}

/* Sees to it that the mailbox has a slot, where there is room: before the end of a transaction says something of it. */
void
dbos_mailbox_open_slot(DbosMailbox *mailbox)
{
	MailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attach())
		return;
	lock = lock_of(mailbox->relation);
	slot = find_slot(mailbox->relation, &mailbox->slot);
	LWLockRelease(lock);
	if (slot == NULL)
		(void) open_slot(mailbox);
}

/* Somebody is about to send: where the background is to be told of messages, it is by what stands in the slot. */
void
dbos_mailbox_expect(DbosMailbox *mailbox)
{
	if (mailbox->standing != 0)
		dbos_mailbox_open_slot(mailbox);
}

/* ---- waiters ---- */

/* Whose latches are to be set when the lock is released: setting one is a system call. */
typedef struct Wakes
{
	int			woken;			/* is not in the list any more */
	int			nudged;			/* is the first now, or has to look earlier */
} Wakes;

#define NO_WAKES {DBOS_NOBODY_WAITS, DBOS_NOBODY_WAITS}

static void
release_and_wake(LWLock *lock, Wakes wakes)
{
	LWLockRelease(lock);
	if (wakes.woken != DBOS_NOBODY_WAITS)
		dbos_wake_now(wakes.woken, 0);
	if (wakes.nudged != DBOS_NOBODY_WAITS)
		dbos_wake_now(wakes.nudged, 0);
}

/* When the first of those who wait looks without being woken. */
static TimestampTz
next_look(const MailboxSlot *slot)
{
	TimestampTz next = TimestampTzPlusMilliseconds(slot->swept_at, SWEEP_MS);

	next = Min(next, slot->aside_at);
	if (slot->doubt.lo <= slot->doubt.hi)
		next = Min(next, slot->doubt_at);
	return next;
}

static bool
has_timer(const MailboxSlot *slot)
{
	return slot->aside_at != DT_NOEND || slot->doubt.lo <= slot->doubt.hi;
}

static void
list_append(MailboxSlot *slot, int proc_number)
{
	Waiter	   *waiter = waiter_at(proc_number);

	waiter->database = MyDatabaseId;
	waiter->relation = slot->relation;
	waiter->woken = false;
	waiter->next = DBOS_NOBODY_WAITS;
	waiter->previous = slot->last_waiter;
	if (slot->last_waiter == DBOS_NOBODY_WAITS)
		slot->first_waiter = proc_number;
	else
		waiter_at(slot->last_waiter)->next = proc_number;
	slot->last_waiter = proc_number;
}

static void
list_remove(MailboxSlot *slot, int proc_number, Wakes *wakes)
{
	Waiter	   *waiter = waiter_at(proc_number);

	if (waiter->previous == DBOS_NOBODY_WAITS)
	{
		slot->first_waiter = waiter->next;
		if (has_timer(slot))
			wakes->nudged = waiter->next;
	}
	else
		waiter_at(waiter->previous)->next = waiter->next;
	if (waiter->next == DBOS_NOBODY_WAITS)
		slot->last_waiter = waiter->previous;
	else
		waiter_at(waiter->next)->previous = waiter->previous;
}

/* The one that waits longest is to look, and nobody else. */
static void
choose_waiter(MailboxSlot *slot, Wakes *wakes)
{
	int			first = slot->first_waiter;

	if (first == DBOS_NOBODY_WAITS)
		return;
	list_remove(slot, first, wakes);
	waiter_at(first)->woken = true;
	wakes->woken = first;
}

/*
 * Enters this backend in the list, unless it is there and was not woken: called after the
 * latch was reset and before the look.  *look_at is when to look without being woken.
 * False where there is no shared memory for it: the caller looks now and then.
 */
bool
dbos_waiter_enter(DbosMailbox *mailbox, TimestampTz *look_at)
{
	int			self = dbos_my_proc_number();
	MailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attach())
		return false;
	dbos_mailbox_open_slot(mailbox);
	lock = lock_of(mailbox->relation);
	slot = find_slot(mailbox->relation, &mailbox->slot);
	if (slot != NULL)
	{
		if (waits_for != mailbox->relation || waiter_at(self)->woken)
			list_append(slot, self);
		waits_for = mailbox->relation;
		*look_at = slot->first_waiter == self ? next_look(slot)
			: TimestampTzPlusMilliseconds(dbos_now(), SWEEP_MS);
	}
	LWLockRelease(lock);
	return slot != NULL;
}

/* satisfied: it has taken what it was woken for. */
void
dbos_waiter_leave(bool satisfied)
{
	int			self = dbos_my_proc_number();
	int			number = -1;
	Wakes		wakes = NO_WAKES;
	Waiter	   *waiter;
	MailboxSlot *slot;
	LWLock	   *lock;

	if (waits_for == InvalidOid)
		return;
	waiter = waiter_at(self);
	lock = lock_of(waits_for);
	slot = find_slot(waits_for, &number);
	if (slot != NULL && !waiter->woken)
		list_remove(slot, self, &wakes);
	else if (slot != NULL && !satisfied && has_messages(slot))
		choose_waiter(slot, &wakes);
	waiter->relation = InvalidOid;
	waits_for = InvalidOid;
	release_and_wake(lock, wakes);
}

/* How many wait for messages of the mailbox. */
int
dbos_waiter_count(DbosMailbox *mailbox)
{
	int			count = 0;
	MailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attach())
		return 0;
	lock = lock_of(mailbox->relation);
	slot = find_slot(mailbox->relation, &mailbox->slot);
	for (int i = slot == NULL ? DBOS_NOBODY_WAITS : slot->first_waiter; i != DBOS_NOBODY_WAITS; i = waiter_at(i)->next)
		count++;
	LWLockRelease(lock);
	return count;
}

/* ---- where messages are ---- */

/* Whatever is due by the clock may be looked at: what was doubtful; and any id, up to the last. */
static void
look_at_clock(MailboxSlot *slot, int64 last)
{
	bool		doubts = slot->doubt.lo <= slot->doubt.hi;
	TimestampTz now;

	/* Most mailboxes have nothing to look at the clock for: then only who finds nothing does. */
	if (!doubts && has_messages(slot))
		return;
	now = dbos_now();
	if (doubts && slot->doubt_at <= now)
	{
		if (slot->ordered)
		{
			DbosLaneSet all;

			memset(&all, 0xff, sizeof(all));
			dbos_lanes_add(lanes_of(slot), &all, slot->doubt.lo);
		}
		else
			dbos_ready_add(&slot->ready, slot->doubt);
		slot->doubt.lo = 0;
		slot->doubt.hi = -1;
	}
	if (has_messages(slot) || TimestampTzPlusMilliseconds(slot->swept_at, SWEEP_MS) > now || last == 0)
		return;
	if (slot->ordered)
		dbos_lanes_all(lanes_of(slot));
	else
		dbos_ready_add(&slot->ready, (DbosIdRange) {.lo = 1, .hi = last, .segment = DBOS_ANY_SEGMENT});
	slot->swept_at = now;
}

static bool
sweep_is_due(const MailboxSlot *slot)
{
	return !has_messages(slot) && TimestampTzPlusMilliseconds(slot->swept_at, SWEEP_MS) <= dbos_now();
}

/* From the ready set, or from the lanes: false when there is nothing. */
static bool
take_from(MailboxSlot *slot, int64 most, DbosIdRange *ids)
{
	if (!slot->ordered)
		return dbos_ready_take(&slot->ready, most, ids);
	ids->segment = dbos_lanes_take(lanes_of(slot), &ids->lo);
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
		LWLock	   *lock = lock_of(mailbox->relation);
		MailboxSlot *slot = find_slot(mailbox->relation, &mailbox->slot);
		DbosTaken	taken = DBOS_TAKEN_NOTHING;
		Wakes		wakes = NO_WAKES;
		bool		sweep = false;

		if (slot == NULL)
		{
			LWLockRelease(lock);
			if (!open_slot(mailbox))
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
			if (has_messages(slot))
				choose_waiter(slot, &wakes);
		}
		else
			sweep = last == 0 && sweep_is_due(slot);
		release_and_wake(lock, wakes);
		if (!sweep)
			return taken;
		last = Max(dbos_mailbox_last_id(mailbox), 1);
	}
	return DBOS_TAKEN_NOTHING;
}

/* Messages have come, or come again: true when the background is to be told. */
static bool
messages_come(MailboxSlot *slot)
{
	bool		fresh = (slot->work & slot->standing) != slot->standing;

	slot->work |= slot->standing;
	return fresh;
}

/* The same by the clock. */
static bool
messages_come_at(MailboxSlot *slot, TimestampTz at)
{
	if (slot->standing == 0 || at >= slot->again_at)
		return false;
	slot->again_at = at;
	return true;
}

/* There may be messages among these ids.  Neither allocates nor raises. */
void
dbos_mailbox_give(Oid relation, DbosIdRange range)
{
	int			number = -1;
	bool		tell = false;
	Wakes		wakes = NO_WAKES;
	MailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attached() || shared == NULL || range.lo > range.hi)
		return;
	lock = lock_of(relation);
	slot = find_slot(relation, &number);
	if (slot != NULL)
	{
		if (!slot->ordered)
			dbos_ready_add(&slot->ready, range);
		choose_waiter(slot, &wakes);
		/* Any segment: nobody knows whether there are messages. */
		if (range.segment != DBOS_ANY_SEGMENT)
			slot->highest = Max(slot->highest, range.hi);
		tell = messages_come(slot);
	}
	release_and_wake(lock, wakes);
	if (tell)
		dbos_duty_want();
}

/* There may be messages in these lanes of an ordered mailbox, from that id on.  Neither allocates nor raises. */
void
dbos_mailbox_give_lanes(Oid relation, const DbosLaneSet *lanes, int64 floor, int64 highest)
{
	int			number = -1;
	bool		tell = false;
	Wakes		wakes = NO_WAKES;
	MailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attached() || shared == NULL)
		return;
	lock = lock_of(relation);
	slot = find_slot(relation, &number);
	if (slot != NULL && slot->ordered)
	{
		dbos_lanes_add(lanes_of(slot), lanes, floor);
		if (dbos_lanes_some(lanes_of(slot)))
			choose_waiter(slot, &wakes);
		slot->highest = Max(slot->highest, highest);
		tell = messages_come(slot);
	}
	release_and_wake(lock, wakes);
	if (tell)
		dbos_duty_want();
}

/* A lane that was taken is free again; more: it may have messages.  Neither allocates nor raises. */
void
dbos_mailbox_release_lane(Oid relation, int lane, int64 floor, bool more)
{
	int			number = -1;
	bool		tell = false;
	Wakes		wakes = NO_WAKES;
	MailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attached() || shared == NULL)
		return;
	lock = lock_of(relation);
	slot = find_slot(relation, &number);
	if (slot != NULL && slot->ordered)
	{
		dbos_lanes_release(lanes_of(slot), lane, floor, more);
		if (dbos_lanes_some(lanes_of(slot)))
			choose_waiter(slot, &wakes);
		tell = more && messages_come(slot);
	}
	release_and_wake(lock, wakes);
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
	Wakes		wakes = NO_WAKES;
	MailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attached() || shared == NULL)
		return;
	lock = lock_of(relation);
	slot = find_slot(relation, &number);
	if (slot != NULL)
	{
		tell = messages_come_at(slot, at);
		slot->aside_floor = Min(slot->aside_floor, floor);
		if (at < slot->aside_at)
		{
			slot->aside_at = at;
			wakes.nudged = slot->first_waiter;
		}
	}
	release_and_wake(lock, wakes);
	if (tell)
		dbos_duty_want();
}

/* Somebody who may not tell us has locked rows with these ids: they are looked at again in a while. */
void
dbos_mailbox_doubt(DbosMailbox *mailbox, DbosIdRange range)
{
	bool		tell = false;
	Wakes		wakes = NO_WAKES;
	MailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attached() || shared == NULL || range.lo > range.hi)
		return;
	lock = lock_of(mailbox->relation);
	slot = find_slot(mailbox->relation, &mailbox->slot);
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
		tell = messages_come_at(slot, slot->doubt_at);
	}
	release_and_wake(lock, wakes);
	if (tell)
		dbos_duty_want();
}

/* ---- work for the background ---- */

/* Has the background do something for a mailbox.  Neither allocates nor raises. */
void
dbos_mailbox_want(Oid relation, int work)
{
	int			number = -1;
	bool		fresh = false;
	MailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attached() || shared == NULL)
		return;
	lock = lock_of(relation);
	slot = find_slot(relation, &number);
	if (slot != NULL)
	{
		fresh = (slot->work & work) != work;
		slot->work |= work;
	}
	LWLockRelease(lock);
	if (fresh)
		dbos_duty_want();
}

/* Neither allocates nor raises. */
void
dbos_mailbox_failed(Oid relation, DbosIdRange range)
{
	int			number = -1;
	MailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attached() || shared == NULL)
		return;
	lock = lock_of(relation);
	slot = find_slot(relation, &number);
	if (slot != NULL)
		slot->failed = dbos_range_cover(slot->failed, range);
	LWLockRelease(lock);
	dbos_mailbox_want(relation, DBOS_WORK_COUNT);
}

/* Work that was taken and could not be done, with the ids to be counted: for the next look.  Neither allocates nor raises. */
void
dbos_mailbox_keep_work(Oid relation, int work, DbosIdRange failed)
{
	int			number = -1;
	MailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attached() || shared == NULL)
		return;
	lock = lock_of(relation);
	slot = find_slot(relation, &number);
	if (slot != NULL)
	{
		slot->work |= work;
		if (failed.lo <= failed.hi)
			slot->failed = dbos_range_cover(slot->failed, failed);
	}
	LWLockRelease(lock);
}

/* Has the background look for messages at that time. */
void
dbos_mailbox_want_at(Oid relation, TimestampTz at)
{
	int			number = -1;
	bool		tell = false;
	MailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attached() || shared == NULL)
		return;
	lock = lock_of(relation);
	slot = find_slot(relation, &number);
	if (slot != NULL)
		tell = messages_come_at(slot, at);
	LWLockRelease(lock);
	if (tell)
		dbos_duty_want();
}

/*
 * The background looks at a mailbox: what is wanted there from now on is what is known of
 * the mailbox.  *highest: the id that was committed last, 0 when none was; *first: it has not looked since
 * the slot is there.  False where there is no shared memory for it.
 */
bool
dbos_mailbox_look(DbosMailbox *mailbox, int64 *highest, bool *first)
{
	MailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attach())
		return false;
	if (mailbox->standing != 0)
		dbos_mailbox_open_slot(mailbox);
	lock = lock_of(mailbox->relation);
	slot = find_slot(mailbox->relation, &mailbox->slot);
	if (slot != NULL)
	{
		slot->standing = mailbox->standing;
		*highest = slot->highest;
		*first = !slot->looked;
		slot->looked = true;
	}
	LWLockRelease(lock);
	return slot != NULL;
}

/* Of one slot; the lock of its partition is held. */
static bool
take_work(MailboxSlot *slot, TimestampTz now, Oid *relation, int *work, DbosIdRange *failed, TimestampTz *due)
{
	if (slot->relation == InvalidOid || slot->database != MyDatabaseId)
		return false;
	if (slot->again_at <= now)
	{
		slot->work |= slot->standing | DBOS_WORK_DUE;
		slot->again_at = DT_NOEND;
	}
	*due = Min(*due, slot->again_at);
	if (slot->work == 0)
		return false;
	*relation = slot->relation;
	*work = slot->work;
	*failed = slot->failed;
	slot->work = 0;
	slot->failed.lo = 0;
	slot->failed.hi = -1;
	return true;
}

/*
 * Takes the work of some mailbox of this database; false when there is none, and
 * *due is then when there will be, as far as one can know.
 */
bool
dbos_mailbox_next_work(Oid *relation, int *work, DbosIdRange *failed, TimestampTz *due)
{
	static int	turn = 0;		/* of the partitions, and in each of the slots: no mailbox keeps the others waiting */
	static int	turns[PARTITIONS];
	TimestampTz now = dbos_now();

	*due = DT_NOEND;
	if (!dbos_shared_attach())
		return false;
	for (int tries = 0; tries < PARTITIONS; tries++)
	{
		int			p = (turn + tries) % PARTITIONS;
		bool		found = false;

		LWLockAcquire(&shared->partitions[p].lock, LW_EXCLUSIVE);
		for (int i = 0; i < shared->nslots && !found; i++)
		{
			int			number = (turns[p] + i) % shared->nslots;

			found = take_work(slot_at(p, number), now, relation, work, failed, due);
			if (found)
				turns[p] = number + 1;
		}
		LWLockRelease(&shared->partitions[p].lock);
		if (found)
		{
			turn = p + 1;
			return true;
		}
	}
	return false;
}
