/*
 * tables_only_locks.c
 *	  Locks of the server in the place of our shared memory.
 *
 * They are session-level advisory locks of kinds that no SQL function can ask
 * for.  Unlike locks of other sorts they survive the abort of a transaction, and
 * they go with the process.  A task that lets go of all advisory locks of its
 * session lets go of these too: the row lock still keeps it from running twice,
 * and they are taken again at its end.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"

#include "tables_only.h"

static LOCKTAG
tag_of(DbosOnlyOne kind, uint32 high, uint32 low)
{
	LOCKTAG		tag;
	bool		cluster = kind != DBOS_ONLY_TASK && kind != DBOS_ONLY_QUEUE_PLACE &&
		kind != DBOS_ONLY_PARTITION_PLACE && kind < DBOS_ONLY_GANG_DOOR;

	SET_LOCKTAG_ADVISORY(tag, cluster ? InvalidOid : MyDatabaseId, high, low, (uint16) kind);
	return tag;
}

/* True when it is ours now, or was already; it is released once. */
bool
dbos_only_try(DbosOnlyOne kind, uint32 high, uint32 low)
{
	LOCKTAG		tag = tag_of(kind, high, low);

	return dbos_lock_held_by_me(&tag, ExclusiveLock) ||
		LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

void
dbos_only_wait(DbosOnlyOne kind, uint32 high, uint32 low)
{
	LOCKTAG		tag = tag_of(kind, high, low);

	(void) LockAcquire(&tag, ExclusiveLock, true, false);
}

/* Nothing happens, and nothing is said, when it is not ours any more. */
void
dbos_only_release(DbosOnlyOne kind, uint32 high, uint32 low)
{
	LOCKTAG		tag = tag_of(kind, high, low);

	if (dbos_lock_held_by_me(&tag, ExclusiveLock))
		(void) LockRelease(&tag, ExclusiveLock, true);
}

/* Whether another process has it. */
bool
dbos_only_taken(DbosOnlyOne kind, uint32 high, uint32 low)
{
	LOCKTAG		tag = tag_of(kind, high, low);

	if (LockAcquire(&tag, ShareLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	(void) LockRelease(&tag, ShareLock, true);
	return false;
}

/*
 * The same without touching it, so nobody's try fails because of the look.  Locks of who is
 * between two transactions are not seen: for hints.
 */
bool
dbos_only_seen(DbosOnlyOne kind, uint32 high, uint32 low)
{
	LOCKTAG		tag = tag_of(kind, high, low);
	int			holders;

	pfree(GetLockConflicts(&tag, ShareLock, &holders));
	return holders > 0;
}
