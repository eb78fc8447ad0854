/*
 * waiters.c
 *	  Who waits for messages, and whose latch is set.
 *
 * No wake-up is lost: a waiter enters the list before it looks, and a sender
 * adds its ids before it looks at the list.  A waiter that was woken and goes
 * away without having taken anything wakes the next one.  The first of the list keeps the
 * clock for all: who comes to be the first is nudged, to look when it is to look.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "slot.h"

static Oid	waits_for = InvalidOid;

void
dbos_slot_release(LWLock *lock, DbosWakes wakes)
{
	LWLockRelease(lock);
	if (wakes.woken != DBOS_NOBODY_WAITS)
		dbos_wake_now(wakes.woken, 0);
	if (wakes.nudged != DBOS_NOBODY_WAITS)
		dbos_wake_now(wakes.nudged, 0);
}

/* When the first of those who wait looks without being woken. */
static TimestampTz
next_look(const DbosMailboxSlot *slot)
{
	TimestampTz next = TimestampTzPlusMilliseconds(slot->swept_at, DBOS_SWEEP_MS);

	next = Min(next, slot->aside_at);
	if (slot->doubt.lo <= slot->doubt.hi)
		next = Min(next, slot->doubt_at);
	return next;
}

static bool
has_timer(const DbosMailboxSlot *slot)
{
	return slot->aside_at != DT_NOEND || slot->doubt.lo <= slot->doubt.hi;
}

static void
list_append(DbosMailboxSlot *slot, int proc_number)
{
	DbosWaiting	   *waiter = dbos_waiter_at(proc_number);

	waiter->database = MyDatabaseId;
	waiter->relation = slot->relation;
	waiter->woken = false;
	waiter->next = DBOS_NOBODY_WAITS;
	waiter->previous = slot->last_waiter;
	if (slot->last_waiter == DBOS_NOBODY_WAITS)
		slot->first_waiter = proc_number;
	else
		dbos_waiter_at(slot->last_waiter)->next = proc_number;
	slot->last_waiter = proc_number;
}

static void
list_remove(DbosMailboxSlot *slot, int proc_number, DbosWakes *wakes)
{
	DbosWaiting	   *waiter = dbos_waiter_at(proc_number);

	if (waiter->previous == DBOS_NOBODY_WAITS)
	{
		slot->first_waiter = waiter->next;
		if (has_timer(slot))
			wakes->nudged = waiter->next;
	}
	else
		dbos_waiter_at(waiter->previous)->next = waiter->next;
	if (waiter->next == DBOS_NOBODY_WAITS)
		slot->last_waiter = waiter->previous;
	else
		dbos_waiter_at(waiter->next)->previous = waiter->previous;
}

/*
 * The one that came last is to look, and nobody else: its process is the one that
 * the CPU's caches still know, however many wait.
 */
void
dbos_slot_choose_waiter(DbosMailboxSlot *slot, DbosWakes *wakes)
{
	int			last = slot->last_waiter;

	if (last == DBOS_NOBODY_WAITS)
		return;
	list_remove(slot, last, wakes);
	dbos_waiter_at(last)->woken = true;
	wakes->woken = last;
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
	DbosMailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attach())
		return false;
	dbos_mailbox_open_slot(mailbox);
	lock = dbos_slot_lock(mailbox->relation);
	slot = dbos_slot_find(mailbox->relation, &mailbox->slot);
	if (slot != NULL)
	{
		if (waits_for != mailbox->relation || dbos_waiter_at(self)->woken)
			list_append(slot, self);
		waits_for = mailbox->relation;
		*look_at = slot->first_waiter == self ? next_look(slot)
			: TimestampTzPlusMilliseconds(dbos_now(), DBOS_SWEEP_MS);
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
	DbosWakes		wakes = DBOS_NO_WAKES;
	DbosWaiting	   *waiter;
	DbosMailboxSlot *slot;
	LWLock	   *lock;

	if (waits_for == InvalidOid)
		return;
	waiter = dbos_waiter_at(self);
	lock = dbos_slot_lock(waits_for);
	slot = dbos_slot_find(waits_for, &number);
	if (slot != NULL && !waiter->woken)
		list_remove(slot, self, &wakes);
	/* It may have been woken, and have entered the list again, without having looked: then nobody else was. */
	if (slot != NULL && !satisfied && dbos_slot_has_messages(slot))
		dbos_slot_choose_waiter(slot, &wakes);
	waiter->relation = InvalidOid;
	waits_for = InvalidOid;
	dbos_slot_release(lock, wakes);
}

/* How many wait for messages of the mailbox. */
int
dbos_waiter_count(DbosMailbox *mailbox)
{
	int			count = 0;
	DbosMailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attach())
		return 0;
	lock = dbos_slot_lock(mailbox->relation);
	slot = dbos_slot_find(mailbox->relation, &mailbox->slot);
	for (int i = slot == NULL ? DBOS_NOBODY_WAITS : slot->first_waiter; i != DBOS_NOBODY_WAITS; i = dbos_waiter_at(i)->next)
		count++;
	LWLockRelease(lock);
	return count;
}
