/*
 * lock.c
 *	  Advisory locks of parts of files: many who share a byte, or one who has it alone.
 *
 * A lock is a row of dbos.file_lock and belongs to a handle (open_file.c): it is gone with that, and with the
 * session that has opened it.  Locks take part in transactions: one that was taken keeps others off at once, and is
 * gone again when the transaction rolls back; one that was given up keeps them off until the commit.
 *
 * Who takes a lock looks, under a heavyweight lock of the inode, through the rows of all others, committed or not, and
 * leaves his own before he lets go of that: of two the second sees the first, whatever their snapshots.  Who
 * has to wait for a transaction waits as for any; who has to wait for somebody to unlock looks again every now
 * and then.  Deadlocks are found in both cases (lock_deadlock.c).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "common/int.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "lock.h"

#define LOOK_FIRST_MS 1
#define LOOK_MS 100

enum LockColumn
{
	LOCK_INODE, LOCK_HANDLE, LOCK_OWNER, LOCK_EXCLUSIVE, LOCK_START, LOCK_FINISH,
	LOCK_COLUMNS
};

/* What is wanted. */
typedef struct Wanted
{
	DbosOpenFile file;
	int64		owner;
	bool		exclusive;
	int64		start;
	int64		finish;
} Wanted;

/* ---- rows ---- */

static void
fill(DbosTable *table, DbosFileLock *lock)
{
	Datum	   *values;

	slot_getallattrs(table->slot);
	values = table->slot->tts_values;
	lock->inode = DatumGetInt64(values[LOCK_INODE]);
	lock->handle = DatumGetInt64(values[LOCK_HANDLE]);
	lock->owner = DatumGetInt64(values[LOCK_OWNER]);
	lock->exclusive = DatumGetBool(values[LOCK_EXCLUSIVE]);
	lock->start = DatumGetInt64(values[LOCK_START]);
	lock->finish = DatumGetInt64(values[LOCK_FINISH]);
	lock->tid = table->slot->tts_tid;
}

static void
insert(DbosTable *table, const Wanted *wanted, bool exclusive, int64 start, int64 finish)
{
	Datum		values[LOCK_COLUMNS] = {
		Int64GetDatum(wanted->file.inode), Int64GetDatum(wanted->file.handle), Int64GetDatum(wanted->owner),
		BoolGetDatum(exclusive), Int64GetDatum(start), Int64GetDatum(finish)
	};
	bool		nulls[LOCK_COLUMNS] = {0};

	if (start < finish)
		(void) dbos_table_insert(table, values, nulls, UNIQUE_RAISE);
}

/* Of a lock whose handle is still there, and its session. */
static bool
is_held(const DbosFileLock *lock, DbosOpenFile *file)
{
	SnapshotData dirty;

	InitDirtySnapshot(dirty);
	return dbos_open_file_find(lock->handle, &dirty, file) && dbos_session_is_there(file->process, file->started);
}

/* The handle is closed by this transaction. */
void
dbos_locks_drop(int64 inode, int64 handle, Snapshot snapshot)
{
	DbosTable	table;
	DbosTableScan scan;
	Datum		key = Int64GetDatum(inode);

	dbos_table_open(&table, TABLE_LOCK, RowExclusiveLock);
	if (RelationGetNumberOfBlocks(table.heap) > 0)
	{
		dbos_scan_begin(&scan, &table, 0, snapshot, &key, 1, false);
		while (dbos_scan_next(&scan))
		{
			ItemPointerData tid = table.slot->tts_tid;

			/* One that somebody else is giving up is given up. */
			if (DatumGetInt64(dbos_column(&table, LOCK_HANDLE)) == handle)
				(void) dbos_table_delete(&table, &tid, snapshot);
		}
		dbos_scan_end(&scan);
	}
	dbos_table_close(&table);
}

/* Deletes the rows whose handles are gone: who took a lock may have done so while somebody else closed the handle. */
void
dbos_locks_sweep(Snapshot snapshot)
{
	DbosTable	table;
	TableScanDesc scan;
	SnapshotData dirty;

	InitDirtySnapshot(dirty);
	dbos_table_open(&table, TABLE_LOCK, RowExclusiveLock);
	scan = table_beginscan(table.heap, snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, table.slot))
	{
		ItemPointerData tid = table.slot->tts_tid;
		DbosOpenFile file;

		CHECK_FOR_INTERRUPTS();
		if (!dbos_open_file_find(DatumGetInt64(dbos_column(&table, LOCK_HANDLE)), &dirty, &file))
			(void) dbos_table_delete(&table, &tid, snapshot);
	}
	table_endscan(scan);
	dbos_table_close(&table);
}

/* Calls back for each lock of all files that is held, until that returns false. */
void
dbos_locks_visit(DbosLockCallback each, void *arg)
{
	DbosTable	table;
	TableScanDesc scan;
	DbosFileLock lock;
	DbosOpenFile file;

	dbos_table_open(&table, TABLE_LOCK, AccessShareLock);
	scan = table_beginscan(table.heap, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, table.slot))
	{
		CHECK_FOR_INTERRUPTS();
		fill(&table, &lock);
		if (is_held(&lock, &file) && !each(arg, &lock, &file))
			break;
	}
	table_endscan(scan);
	dbos_table_close(&table);
}

/* ---- one inode, looked at by one at a time ---- */

static void
inode_tag(LOCKTAG *tag, int64 inode)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, dbos_relation_oid("file_lock"), (Oid) inode, (uint16) (inode >> 32));
}

static void
begin_look(int64 inode)
{
	LOCKTAG		tag;

	inode_tag(&tag, inode);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

static void
end_look(int64 inode)
{
	LOCKTAG		tag;

	inode_tag(&tag, inode);
	LockRelease(&tag, ExclusiveLock, false);
}

static bool
same_session(const DbosOpenFile *one, const DbosOpenFile *other)
{
	return one->process == other->process && one->started == other->started;
}

static bool
is_ours(const Wanted *wanted, const DbosFileLock *lock, const DbosOpenFile *file)
{
	return lock->owner == wanted->owner &&
		(lock->owner == 0 ? lock->handle == wanted->file.handle : same_session(file, &wanted->file));
}

static bool
overlaps(const Wanted *wanted, const DbosFileLock *lock)
{
	return lock->start < wanted->finish && wanted->start < lock->finish;
}

/* Another's lock that is in the way; transaction: of who has it and has not committed that, or that he gave it up. */
static bool
find_conflict(const Wanted *wanted, DbosFileLock *lock, DbosOpenFile *holder, TransactionId *transaction)
{
	DbosTable	table;
	DbosTableScan scan;
	SnapshotData dirty;
	Datum		key = Int64GetDatum(wanted->file.inode);
	bool		found = false;

	InitDirtySnapshot(dirty);
	dbos_table_open(&table, TABLE_LOCK, AccessShareLock);
	dbos_scan_begin(&scan, &table, 0, &dirty, &key, 1, false);
	while (!found && dbos_scan_next(&scan))
	{
		*transaction = TransactionIdIsValid(dirty.xmin) ? dirty.xmin : dirty.xmax;
		fill(&table, lock);
		found = overlaps(wanted, lock) && (wanted->exclusive || lock->exclusive) && is_held(lock, holder) &&
			!is_ours(wanted, lock, holder);
	}
	dbos_scan_end(&scan);
	dbos_table_close(&table);
	return found;
}

static List *
own_locks(DbosTable *table, const Wanted *wanted)
{
	DbosTableScan scan;
	SnapshotData dirty;
	Datum		key = Int64GetDatum(wanted->file.inode);
	List	   *locks = NIL;

	InitDirtySnapshot(dirty);
	dbos_scan_begin(&scan, table, 0, &dirty, &key, 1, false);
	while (dbos_scan_next(&scan))
	{
		DbosFileLock lock;
		DbosOpenFile file;

		fill(table, &lock);
		if (overlaps(wanted, &lock) && is_held(&lock, &file) && is_ours(wanted, &lock, &file))
		{
			DbosFileLock *copy = palloc(sizeof(DbosFileLock));

			*copy = lock;
			locks = lappend(locks, copy);
		}
	}
	dbos_scan_end(&scan);
	return locks;
}

/* What of our locks lies in that part goes; what lies before and after it stays. */
static void
clear_own(DbosTable *table, const Wanted *wanted, Snapshot snapshot)
{
	ListCell   *cell;

	foreach(cell, own_locks(table, wanted))
	{
		DbosFileLock *lock = lfirst(cell);

		/* Another session that acts for the same owner may be giving it up. */
		if (!dbos_table_delete(table, &lock->tid, snapshot))
			continue;
		insert(table, wanted, lock->exclusive, lock->start, Min(wanted->start, lock->finish));
		insert(table, wanted, lock->exclusive, Max(wanted->finish, lock->start), lock->finish);
	}
}

/* ---- waiting ---- */

static void
pause_until_look(long milliseconds)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, milliseconds, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static void
stop_waiting(int code, Datum arg)
{
	dbos_idle_end();
}

/* How long it has been waited for, and when it is looked again. */
typedef struct Waiting
{
	TimestampTz since;
	TimestampTz checked;		/* when a deadlock was last looked for */
	long		milliseconds;
} Waiting;

/* Until it is worth another look whether the holder of a lock has given it up. */
static void
pause_for(const DbosFileLock *lock, const DbosOpenFile *holder, Waiting *waiting)
{
	dbos_lock_wait_begin(holder->process);
	if (TimestampDifferenceExceeds(waiting->checked, GetCurrentTimestamp(), DeadlockTimeout) &&
		dbos_lock_check_deadlock(holder->process, lock->inode))
		waiting->checked = GetCurrentTimestamp();
	PG_ENSURE_ERROR_CLEANUP(stop_waiting, (Datum) 0);
	{
		dbos_idle_begin();
		pause_until_look(waiting->milliseconds);
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_waiting, (Datum) 0);
	dbos_idle_end();
	dbos_lock_wait_end(holder->process);
	waiting->milliseconds = Min(waiting->milliseconds * 2, LOOK_MS);
}

static void
check_timeout(const Waiting *waiting)
{
	if (LockTimeout > 0 && TimestampDifferenceExceeds(waiting->since, GetCurrentTimestamp(), LockTimeout))
		ereport(ERROR,
				errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				errmsg("canceling statement due to lock timeout"));
}

/* ---- whole operations ---- */

static void
begin_wanted(Wanted *wanted, int64 handle, int64 owner, bool exclusive, int64 start, int64 length)
{
	memset(wanted, 0, sizeof(Wanted));
	wanted->file.handle = handle;
	wanted->owner = owner;
	wanted->exclusive = exclusive;
	wanted->start = start;
	if (start < 0 || length < 0 || pg_add_s64_overflow(start, length, &wanted->finish))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid part of a file: " INT64_FORMAT " bytes from " INT64_FORMAT " on", length, start));
	if (length == 0)
		wanted->finish = PG_INT64_MAX;
}

/* As of fcntl(2): who reads may share, who writes may have it alone. */
static void
demand_mode(const Wanted *wanted)
{
	if ((wanted->file.flags & (wanted->exclusive ? DBOS_OPEN_WRITE : DBOS_OPEN_READ)) == 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("file handle " INT64_FORMAT " is not open for %s", wanted->file.handle,
					   wanted->exclusive ? "writing" : "reading"),
				errhint("A lock that is shared needs a handle for reading, and an exclusive one a handle for writing."));
}

/* False: somebody else has that lock there, by that transaction if it is valid. */
static bool
lock_once(Wanted *wanted, DbosFileLock *conflict, DbosOpenFile *holder, TransactionId *transaction)
{
	Snapshot	snapshot = dbos_view_begin();
	bool		got;

	dbos_open_file_require(wanted->file.handle, snapshot, &wanted->file);
	demand_mode(wanted);
	begin_look(wanted->file.inode);
	got = !find_conflict(wanted, conflict, holder, transaction);
	if (got)
	{
		DbosTable	table;

		dbos_table_open(&table, TABLE_LOCK, RowExclusiveLock);
		clear_own(&table, wanted, snapshot);
		insert(&table, wanted, wanted->exclusive, wanted->start, wanted->finish);
		dbos_table_close(&table);
		dbos_changed();
	}
	end_look(wanted->file.inode);
	dbos_view_end();
	return got;
}

bool
dbos_file_lock(int64 handle, int64 owner, bool exclusive, int64 start, int64 length, bool wait)
{
	Waiting		waiting = {.milliseconds = LOOK_FIRST_MS};
	TransactionId transaction;
	DbosFileLock conflict;
	DbosOpenFile holder;
	Wanted		wanted;

	waiting.since = waiting.checked = GetCurrentTimestamp();
	begin_wanted(&wanted, handle, owner, exclusive, start, length);
	while (!lock_once(&wanted, &conflict, &holder, &transaction))
	{
		if (!wait)
			return false;
		if (TransactionIdIsValid(transaction))
			XactLockTableWait(transaction, NULL, NULL, XLTW_None);
		else
			pause_for(&conflict, &holder, &waiting);
		check_timeout(&waiting);
	}
	return true;
}

void
dbos_file_unlock(int64 handle, int64 owner, int64 start, int64 length)
{
	Snapshot	snapshot = dbos_view_begin();
	DbosTable	table;
	Wanted		wanted;

	begin_wanted(&wanted, handle, owner, false, start, length);
	dbos_open_file_require(handle, snapshot, &wanted.file);
	begin_look(wanted.file.inode);
	dbos_table_open(&table, TABLE_LOCK, RowExclusiveLock);
	clear_own(&table, &wanted, snapshot);
	dbos_table_close(&table);
	dbos_changed();
	end_look(wanted.file.inode);
	dbos_view_end();
}

/* Whether somebody else's lock is in the way of such a one, and which. */
bool
dbos_file_lock_conflict(int64 handle, int64 owner, bool exclusive, int64 start, int64 length,
						DbosFileLock *conflict, DbosOpenFile *holder)
{
	TransactionId transaction;
	Wanted		wanted;

	begin_wanted(&wanted, handle, owner, exclusive, start, length);
	dbos_open_file_require(handle, GetActiveSnapshot(), &wanted.file);
	return find_conflict(&wanted, conflict, holder, &transaction);
}
