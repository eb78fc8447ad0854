/*
 * work.c
 *	  What the background has to do for mailboxes.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "slot.h"

/* Messages have come, or come again: true when the background is to be told. */
bool
dbos_slot_messages_come(DbosMailboxSlot *slot)
{
	bool		fresh = (slot->work & slot->standing) != slot->standing;

	slot->work |= slot->standing;
	return fresh;
}

/* The same by the clock. */
bool
dbos_slot_messages_come_at(DbosMailboxSlot *slot, TimestampTz at)
{
	if (slot->standing == 0 || at >= slot->again_at)
		return false;
	slot->again_at = at;
	return true;
}

/* Has the background do something for a mailbox.  Neither allocates nor raises. */
void
dbos_mailbox_want(Oid relation, int work)
{
	int			number = -1;
	bool		fresh = false;
	DbosMailboxSlot *slot;
	LWLock	   *lock;

	if (!DBOS_HAVE_SLOTS())
		return;
	lock = dbos_slot_lock(relation);
	slot = dbos_slot_find(relation, &number);
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
	DbosMailboxSlot *slot;
	LWLock	   *lock;

	if (!DBOS_HAVE_SLOTS())
		return;
	lock = dbos_slot_lock(relation);
	slot = dbos_slot_find(relation, &number);
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
	DbosMailboxSlot *slot;
	LWLock	   *lock;

	if (!DBOS_HAVE_SLOTS())
		return;
	lock = dbos_slot_lock(relation);
	slot = dbos_slot_find(relation, &number);
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
	DbosMailboxSlot *slot;
	LWLock	   *lock;

	if (!DBOS_HAVE_SLOTS())
		return;
	lock = dbos_slot_lock(relation);
	slot = dbos_slot_find(relation, &number);
	if (slot != NULL)
		tell = dbos_slot_messages_come_at(slot, at);
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
	DbosMailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attach())
		return false;
	if (mailbox->standing != 0)
		dbos_mailbox_open_slot(mailbox);
	lock = dbos_slot_lock(mailbox->relation);
	slot = dbos_slot_find(mailbox->relation, &mailbox->slot);
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
take_work(DbosMailboxSlot *slot, TimestampTz now, Oid *relation, int *work, DbosIdRange *failed, TimestampTz *due)
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
	static int	turns[DBOS_SLOT_PARTITIONS];
	TimestampTz now = dbos_now();

	*due = DT_NOEND;
	if (!dbos_shared_attach())
		return false;
	for (int tries = 0; tries < DBOS_SLOT_PARTITIONS; tries++)
	{
		int			p = (turn + tries) % DBOS_SLOT_PARTITIONS;
		bool		found = false;

		LWLockAcquire(&dbos_message_shared->partitions[p].lock, LW_EXCLUSIVE);
		for (int i = 0; i < dbos_message_shared->nslots && !found; i++)
		{
			int			number = (turns[p] + i) % dbos_message_shared->nslots;

			found = take_work(dbos_slot_at(p, number), now, relation, work, failed, due);
			if (found)
				turns[p] = number + 1;
		}
		LWLockRelease(&dbos_message_shared->partitions[p].lock);
		if (found)
		{
			turn = p + 1;
			return true;
		}
	}
	return false;
}
