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
 * away without having taken anything wakes the next one.
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

#include "message.h"

#define PARTITIONS	8
#define SLOTS_PRELOADED 64		/* of each partition */
#define SLOTS_WITHOUT_PRELOAD 2

typedef struct MailboxSlot
{
	Oid			database;
	Oid			relation;		/* InvalidOid: free */
	int			first_waiter;	/* proc numbers: the one that waits longest */
	int			last_waiter;
	int			work;			/* for the background: DBOS_WORK_... */
	uint64		used;			/* by the partition's clock */
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
	int			nwaiters;
	Partition	partitions[PARTITIONS];
	/* followed by slots and waiters */
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
	Waiter	   *waiters = (Waiter *) slot_at(PARTITIONS, 0);

	return &waiters[proc_number];
}

static void
shared_init(void *memory, bool preloaded)
{
	MessageShared *made = memory;

	made->nslots = slots_of_partition(preloaded);
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
make_slot(Oid relation, int *number)
{
	int			partition = partition_of(relation);
	MailboxSlot *oldest = NULL;

	for (int i = 0; i < shared->nslots; i++)
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
	bool		made = find_slot(mailbox->relation, &mailbox->slot) != NULL ||
		make_slot(mailbox->relation, &mailbox->slot) != NULL;

	LWLockRelease(lock);
	if (!made)
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

/* ---- waiters ---- */

static void
list_remove(MailboxSlot *slot, int proc_number)
{
	Waiter	   *waiter = waiter_at(proc_number);

	if (waiter->previous == DBOS_NOBODY_WAITS)
		slot->first_waiter = waiter->next;
	else
		waiter_at(waiter->previous)->next = waiter->next;
	if (waiter->next == DBOS_NOBODY_WAITS)
		slot->last_waiter = waiter->previous;
	else
		waiter_at(waiter->next)->previous = waiter->previous;
}

/*
 * The one that waits longest is to look, and nobody else; to be given to
 * release_and_wake(), since a latch is set by a system call.
 */
static int
choose_waiter(MailboxSlot *slot)
{
	int			first = slot->first_waiter;

	if (first != DBOS_NOBODY_WAITS)
	{
		list_remove(slot, first);
		waiter_at(first)->woken = true;
	}
	return first;
}

static void
release_and_wake(LWLock *lock, int proc_number)
{
	LWLockRelease(lock);
	if (proc_number != DBOS_NOBODY_WAITS)
		dbos_wake_now(proc_number, 0);
}

/* False where there is no shared memory for it: the caller looks now and then. */
bool
dbos_waiter_enter(DbosMailbox *mailbox)
{
	int			self = dbos_my_proc_number();
	Waiter	   *waiter;
	MailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attach() || (mailbox->slot < 0 && !open_slot(mailbox)))
		return false;
	waiter = waiter_at(self);
	lock = lock_of(mailbox->relation);
	slot = find_slot(mailbox->relation, &mailbox->slot);
	if (slot != NULL)
	{
		waiter->database = MyDatabaseId;
		waiter->relation = mailbox->relation;
		waiter->woken = false;
		waiter->next = DBOS_NOBODY_WAITS;
		waiter->previous = slot->last_waiter;
		if (slot->last_waiter == DBOS_NOBODY_WAITS)
			slot->first_waiter = self;
		else
			waiter_at(slot->last_waiter)->next = self;
		slot->last_waiter = self;
		waits_for = mailbox->relation;
	}
	LWLockRelease(lock);
	if (slot == NULL)
		mailbox->slot = -1;
	return slot != NULL;
}

/* satisfied: it has taken what it was woken for. */
void
dbos_waiter_leave(bool satisfied)
{
	int			self = dbos_my_proc_number();
	int			number = -1;
	int			next = DBOS_NOBODY_WAITS;
	Waiter	   *waiter;
	MailboxSlot *slot;
	LWLock	   *lock;

	if (waits_for == InvalidOid)
		return;
	waiter = waiter_at(self);
	lock = lock_of(waits_for);
	slot = find_slot(waits_for, &number);
	if (slot != NULL && !waiter->woken)
		list_remove(slot, self);
	else if (slot != NULL && !satisfied && slot->ready.count > 0)
		next = choose_waiter(slot);
	waiter->relation = InvalidOid;
	waits_for = InvalidOid;
	release_and_wake(lock, next);
}

/* ---- ids ---- */

/*
 * Takes up to `most` ids among which there may be messages; *empty when there are none.
 * False where nothing is known: the caller looks through the table.
 */
bool
dbos_mailbox_take(DbosMailbox *mailbox, int64 most, DbosIdRange *taken, bool *empty)
{
	if (!dbos_shared_attach())
		return false;
	for (int tries = 0; tries < 2; tries++)
	{
		LWLock	   *lock = lock_of(mailbox->relation);
		MailboxSlot *slot = find_slot(mailbox->relation, &mailbox->slot);
		int			next = DBOS_NOBODY_WAITS;

		if (slot != NULL)
		{
			*empty = !dbos_ready_take(&slot->ready, most, taken);
			/* Who waits while there is more was not woken for it. */
			if (!*empty && slot->ready.count > 0)
				next = choose_waiter(slot);
		}
		release_and_wake(lock, next);
		if (slot != NULL)
			return true;
		if (!open_slot(mailbox))
			return false;
	}
	return false;
}

/* There may be messages among these ids.  Neither allocates nor raises. */
void
dbos_mailbox_give(Oid relation, DbosIdRange range)
{
	int			number = -1;
	int			next = DBOS_NOBODY_WAITS;
	MailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attached() || shared == NULL || range.lo > range.hi)
		return;
	lock = lock_of(relation);
	slot = find_slot(relation, &number);
	if (slot != NULL)
	{
		dbos_ready_add(&slot->ready, range);
		next = choose_waiter(slot);
	}
	release_and_wake(lock, next);
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

/* Takes the work of some mailbox of this database; false when there is none. */
bool
dbos_mailbox_next_work(Oid *relation, int *work)
{
	if (!dbos_shared_attach())
		return false;
	for (int p = 0; p < PARTITIONS; p++)
	{
		bool		found = false;

		LWLockAcquire(&shared->partitions[p].lock, LW_EXCLUSIVE);
		for (int i = 0; i < shared->nslots && !found; i++)
		{
			MailboxSlot *slot = slot_at(p, i);

			if (slot->relation == InvalidOid || slot->database != MyDatabaseId || slot->work == 0)
				continue;
			*relation = slot->relation;
			*work = slot->work;
			slot->work = 0;
			found = true;
		}
		LWLockRelease(&shared->partitions[p].lock);
		if (found)
			return true;
	}
	return false;
}
