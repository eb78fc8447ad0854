/*
 * stop_point.c
 *	  Named points where a test can hold a process, in test builds only.
 *
 * A test arms a point by taking the advisory lock
 *	  pg_advisory_lock(hashtext('dbos stop point'), hashtext(name))
 * A process that reaches the point waits for that lock in share mode, visible in
 * pg_stat_activity and pg_locks, and goes on when the test unlocks.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lock.h"

#include "dbos/kernel.h"

#ifdef DBOS_TESTING

static uint32
stop_point_hash(const char *text)
{
	return DatumGetUInt32(hash_any((const unsigned char *) text, strlen(text)));
}

void
dbos_stop_point(const char *name)
{
	LOCKTAG		tag;

	if (!OidIsValid(MyDatabaseId))
		return;
	/* The fields that pg_advisory_lock(int4, int4) uses: both keys, and 2 for "two keys". */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, stop_point_hash("dbos stop point"),
						 stop_point_hash(name), 2);
	(void) LockAcquire(&tag, ShareLock, true, false);
	LockRelease(&tag, ShareLock, true);
}

#endif
