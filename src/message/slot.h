/*
 * slot.h
 *	  What shared memory has of a mailbox, for the files that read and change it.
 *
 * Slots are in partitions by a hash of (database, relation); one LWLock guards
 * the slots of a partition, and the waiters of their mailboxes.  Under it: no
 * error, no allocation, no SQL.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_MESSAGE_SLOT_H
#define DBOS_MESSAGE_SLOT_H

#include "postgres.h"

#include "message.h"

#define DBOS_SLOT_PARTITIONS 8
/* Rows that came without being told of are found by a look at all, this often. */
#define DBOS_SWEEP_MS	60000

typedef struct DbosMailboxSlot
{
	Oid			database;
	Oid			relation;		/* InvalidOid: free */
	int			first_waiter;	/* proc numbers: the one that waits longest, and keeps the clock */
	int			last_waiter;	/* the next one to be woken */
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
} DbosMailboxSlot;

typedef struct Partition
{
	LWLock		lock;
	uint64		clock;			/* one more with each use of a slot */
} Partition;

typedef struct DbosWaiting
{
	Oid			database;
	Oid			relation;		/* InvalidOid: waits for nothing */
	int			next;
	int			previous;
	bool		woken;			/* not in the list any more */
} DbosWaiting;

typedef struct DbosMessageShared
{
	int			nslots;			/* of each partition */
	int			nlanes;			/* sets of lanes of each partition: of its first slots */
	int			nwaiters;
	Partition	partitions[DBOS_SLOT_PARTITIONS];
	/* followed by slots, lanes and waiters */
} DbosMessageShared;

extern DbosMessageShared *dbos_message_shared;

/* At the end of a transaction it is too late to attach to it. */
#define DBOS_HAVE_SLOTS() (dbos_shared_attached() && dbos_message_shared != NULL)

/* ---- slot.c ---- */
extern DbosMailboxSlot *dbos_slot_at(int partition, int number);
extern DbosWaiting *dbos_waiter_at(int proc_number);
extern DbosLanes *dbos_slot_lanes(const DbosMailboxSlot *slot);
extern bool dbos_slot_has_messages(const DbosMailboxSlot *slot);
/* Acquires the lock of the mailbox's partition. */
extern LWLock *dbos_slot_lock(Oid relation);
/* The lock of its partition is held; number is where it was last seen, or -1. */
extern DbosMailboxSlot *dbos_slot_find(Oid relation, int *number);
/* False when there is no room for it. */
extern bool dbos_slot_open(DbosMailbox *mailbox);

/* ---- waiters.c ---- */
/* Whose latches are to be set when the lock is released: setting one is a system call. */
typedef struct DbosWakes
{
	int			woken;			/* is not in the list any more */
	int			nudged;			/* is the first now, or has to look earlier */
} DbosWakes;

#define DBOS_NO_WAKES {DBOS_NOBODY_WAITS, DBOS_NOBODY_WAITS}

extern void dbos_slot_release(LWLock *lock, DbosWakes wakes);
/* Somebody who waits is to look, and nobody else; to be given to dbos_slot_release(). */
extern void dbos_slot_choose_waiter(DbosMailboxSlot *slot, DbosWakes *wakes);

/* ---- work.c: with the lock held; true when the background is to be told after its release ---- */
extern bool dbos_slot_messages_come(DbosMailboxSlot *slot);
extern bool dbos_slot_messages_come_at(DbosMailboxSlot *slot, TimestampTz at);

#endif							/* DBOS_MESSAGE_SLOT_H */
