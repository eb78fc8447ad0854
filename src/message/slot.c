/*
 * slot.c
 *	  A slot of shared memory for each mailbox that is in use.
 *
 * All in it are hints.  A mailbox that has no slot is found out about from its
 * table: a new slot says that any id may have a message, and slots are taken
 * from mailboxes that nobody has used for long.
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

#include "slot.h"

#define SLOTS_PRELOADED 64		/* of each partition */
#define SLOTS_WITHOUT_PRELOAD 2
/* So many of them may be of ordered mailboxes. */
#define LANES_PRELOADED 64
#define LANES_WITHOUT_PRELOAD 1

DbosMessageShared *dbos_message_shared = NULL;

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
	Size		size = MAXALIGN(sizeof(DbosMessageShared));

	size = add_size(size, mul_size(DBOS_SLOT_PARTITIONS * slots_of_partition(preloaded), MAXALIGN(sizeof(DbosMailboxSlot))));
	size = add_size(size, mul_size(DBOS_SLOT_PARTITIONS * lanes_of_partition(preloaded), MAXALIGN(sizeof(DbosLanes))));
	return add_size(size, mul_size(waiter_count(), sizeof(DbosWaiting)));
}

DbosMailboxSlot *
dbos_slot_at(int partition, int number)
{
	DbosMailboxSlot *slots = (DbosMailboxSlot *) ((char *) dbos_message_shared + MAXALIGN(sizeof(DbosMessageShared)));

	return &slots[partition * dbos_message_shared->nslots + number];
}

DbosWaiting *
dbos_waiter_at(int proc_number)
{
	DbosLanes  *lanes = (DbosLanes *) dbos_slot_at(DBOS_SLOT_PARTITIONS, 0);
	DbosWaiting	   *waiters = (DbosWaiting *) &lanes[DBOS_SLOT_PARTITIONS * dbos_message_shared->nlanes];

	return &waiters[proc_number];
}

/* The lanes of an ordered mailbox's slot. */
DbosLanes *
dbos_slot_lanes(const DbosMailboxSlot *slot)
{
	DbosLanes  *lanes = (DbosLanes *) dbos_slot_at(DBOS_SLOT_PARTITIONS, 0);
	int			at = slot - dbos_slot_at(0, 0);

	return &lanes[at / dbos_message_shared->nslots * dbos_message_shared->nlanes + at % dbos_message_shared->nslots];
}

bool
dbos_slot_has_messages(const DbosMailboxSlot *slot)
{
	return slot->ordered ? dbos_lanes_some(dbos_slot_lanes(slot)) : slot->ready.count > 0;
}

static void
shared_init(void *memory, bool preloaded)
{
	DbosMessageShared *made = memory;

	made->nslots = slots_of_partition(preloaded);
	made->nlanes = lanes_of_partition(preloaded);
	made->nwaiters = waiter_count();
	for (int i = 0; i < DBOS_SLOT_PARTITIONS; i++)
		dbos_lwlock_initialize(&made->partitions[i].lock);
}

static const DbosSharedSlot message_slot = {
	.room = "message",
	.size = shared_size,
	.init = shared_init,
	.slot = (void **) &dbos_message_shared,
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
	return hash_combine(murmurhash32(relation), murmurhash32(MyDatabaseId)) % DBOS_SLOT_PARTITIONS;
}

LWLock *
dbos_slot_lock(Oid relation)
{
	LWLock	   *lock = &dbos_message_shared->partitions[partition_of(relation)].lock;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	return lock;
}

/* The lock of its partition is held; number is where it was last seen, or -1. */
DbosMailboxSlot *
dbos_slot_find(Oid relation, int *number)
{
	int			partition = partition_of(relation);
	DbosMailboxSlot *slot;

	for (int i = *number >= 0 ? -1 : 0; i < dbos_message_shared->nslots; i++)
	{
		slot = dbos_slot_at(partition, i < 0 ? *number : i);
		if (slot->relation == relation && slot->database == MyDatabaseId)
		{
			slot->used = ++dbos_message_shared->partitions[partition].clock;
			if (i >= 0)
				*number = i;
			return slot;
		}
	}
	return NULL;
}

/* A slot for a mailbox that has none: free, or of the one that was not used for longest and has no waiters. */
static DbosMailboxSlot *
make_slot(Oid relation, bool ordered, int *number)
{
	int			partition = partition_of(relation);
	DbosMailboxSlot *oldest = NULL;

	for (int i = 0; i < (ordered ? dbos_message_shared->nlanes : dbos_message_shared->nslots); i++)
	{
		DbosMailboxSlot *slot = dbos_slot_at(partition, i);

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
	oldest->used = ++dbos_message_shared->partitions[partition].clock;
	oldest->aside_at = oldest->aside_floor = DT_NOBEGIN;
	oldest->again_at = DT_NOEND;
	oldest->doubt.hi = oldest->failed.hi = -1;
	oldest->swept_at = dbos_now();
	oldest->ordered = ordered;
	if (ordered)
	{
		memset(dbos_slot_lanes(oldest), 0, sizeof(DbosLanes));
		dbos_lanes_all(dbos_slot_lanes(oldest));
	}
	return oldest;
}

/*
 * Makes a slot of which any id up to the last may have a message.  Its last id is read
 * when the slot is there: who takes a later one finds the slot at its commit.
 */
bool
dbos_slot_open(DbosMailbox *mailbox)
{
	DbosIdRange all = {.lo = 1, .segment = DBOS_ANY_SEGMENT};
	LWLock	   *lock = dbos_slot_lock(mailbox->relation);
	DbosMailboxSlot *slot = dbos_slot_find(mailbox->relation, &mailbox->slot);

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
	DbosMailboxSlot *slot;
	LWLock	   *lock;

	if (!dbos_shared_attach())
		return;
	lock = dbos_slot_lock(mailbox->relation);
	slot = dbos_slot_find(mailbox->relation, &mailbox->slot);
	LWLockRelease(lock);
	if (slot == NULL)
		(void) dbos_slot_open(mailbox);
}

/* Somebody is about to send: where the background is to be told of messages, it is by what stands in the slot. */
void
dbos_mailbox_expect(DbosMailbox *mailbox)
{
	if (mailbox->standing != 0)
		dbos_mailbox_open_slot(mailbox);
}
