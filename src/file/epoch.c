/*
 * epoch.c
 *	  From which snapshot on a row is valid: the versions of inodes, names and extents.
 *
 * A row is valid in epochs [born, died); a snapshot with epoch E shows the rows with
 * born <= E < died, and what nobody has ended has died = FOREVER.  Taking a snapshot ends
 * the epoch: who changes a row that was born in an earlier one leaves a copy of it
 * if some snapshot shows it.
 *
 * The epoch is the last value of a sequence, so that the new one is there for everybody at once and not
 * only when the snapshot commits; a snapshot that is rolled back has cost a few copies.
 * Its row in dbos.snapshot is there before the epoch ends (snapshot.c), and who writes looks for such rows
 * also by those that are not committed: so nobody who writes in a later epoch overwrites what it shows.
 *
 * A transaction that writes files stays in one epoch, which it holds by a shared lock to its end, prepared or
 * not; the snapshot waits until those who wrote in its epoch, or in an earlier one, have ended.  Those of
 * earlier ones too: the snapshot that ended theirs may have been rolled back, or still wait for them.  So when a
 * snapshot is committed, so is all that it shows.  Nobody waits for the snapshot: who comes
 * after it writes in the next epoch.
 *
 * A transaction of an earlier epoch that comes to change what one of a later has changed already
 * cannot: half of its changes would be in the snapshot, or a name of the one in a directory of the other.
 * It fails with 40001.  What it merely has read of a later one, as READ COMMITTED lets it, is its
 * own affair; in REPEATABLE READ it cannot have.
 *
 * A transaction that takes a snapshot goes on in the next epoch.  What it wrote before is in its own snapshot, and
 * what it writes then is not; in somebody else's, which waits for it, is all or nothing, so when there
 * is one that would part the two, it fails with 40001.
 *
 * A version that was ended in an epoch and that no snapshot shows will never be shown by one: a new
 * snapshot is of the last epoch.  That is what reclaim.c relies on.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lock.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "file.h"

static int32 current = 0;		/* epoch of this transaction; 0: it has not written files, or not since its own snapshot */
static int32 first = 0;			/* the first epoch in which it has written */
static bool callback_registered = false;

static void
forget_at_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		current = first = 0;
}

/* The epoch in which who begins to write now does so. */
int32
dbos_epoch_last(void)
{
	Relation	sequence = relation_open(dbos_relation_oid("file_epoch"), AccessShareLock);
	Buffer		buffer = ReadBuffer(sequence, 0);
	Page		page;
	HeapTupleHeader tuple;
	int64		value;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	tuple = (HeapTupleHeader) PageGetItem(page, PageGetItemId(page, FirstOffsetNumber));
	value = ((Form_pg_sequence_data) ((char *) tuple + tuple->t_hoff))->last_value;
	UnlockReleaseBuffer(buffer);
	relation_close(sequence, NoLock);
	return (int32) value;
}

/* ---- who writes in an epoch ---- */

static void
epoch_tag(LOCKTAG *tag, int32 epoch)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, dbos_relation_oid("file_epoch"), (Oid) epoch, 0);
}

/*
 * Holds the epoch until the end of the transaction, if it is still the last one: whoever ended it in between does not
 * know of us.  Without waiting: who waits for those in it has ended it.
 */
static bool
hold(int32 epoch)
{
	ResourceOwner owner = CurrentResourceOwner;
	LOCKTAG		tag;
	bool		held;

	epoch_tag(&tag, epoch);
	/* What is written in a subtransaction that goes on after a savepoint is in the epoch too. */
	CurrentResourceOwner = TopTransactionResourceOwner;
	held = LockAcquire(&tag, RowExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
	if (held && dbos_epoch_last() != epoch)
	{
		LockRelease(&tag, RowExclusiveLock, false);
		held = false;
	}
	CurrentResourceOwner = owner;
	return held;
}

/* The epoch in which this transaction writes. */
int32
dbos_epoch(void)
{
	int32		epoch;

	if (current != 0)
		return current;
	if (!callback_registered)
	{
		RegisterXactCallback(forget_at_end, NULL);
		callback_registered = true;
	}
	while (!hold(epoch = dbos_epoch_last()))
		CHECK_FOR_INTERRUPTS();
	if (first == 0)
		first = epoch;
	else if (dbos_snapshot_between(first, epoch, BEING_TAKEN))
		dbos_epoch_passed();
	return current = epoch;
}

/* Whether nobody writes in a later epoch than this transaction. */
bool
dbos_epoch_is_last(void)
{
	return dbos_epoch_last() == dbos_epoch();
}

/* ---- a snapshot ---- */

/* Ends that epoch, if nobody has; this transaction goes on in the next. */
void
dbos_epoch_end(int32 epoch)
{
	while (dbos_epoch_last() <= epoch)
		(void) nextval_internal(dbos_relation_oid("file_epoch"), false);
	current = 0;
}

/* Until nobody but this transaction writes in that epoch or an earlier one; it has ended. */
void
dbos_epoch_wait(int32 epoch)
{
	LockData   *locks = GetLockStatusData();
	Oid			sequence = dbos_relation_oid("file_epoch");
	List	   *held = NIL;
	ListCell   *cell;

	for (int i = 0; i < locks->nelements; i++)
	{
		const LOCKTAG *tag = &locks->locks[i].locktag;

		if (tag->locktag_type == LOCKTAG_OBJECT && tag->locktag_field1 == MyDatabaseId && tag->locktag_field2 == sequence &&
			(int32) tag->locktag_field3 <= epoch)
			held = list_append_unique_int(held, (int32) tag->locktag_field3);
	}
	foreach(cell, held)
	{
		LOCKTAG		tag;

		epoch_tag(&tag, lfirst_int(cell));
		(void) LockAcquire(&tag, ShareLock, false, false);
		LockRelease(&tag, ShareLock, false);
	}
}

/* Whether there is a snapshot of an epoch in [born, died). */
bool
dbos_snapshot_between(int32 born, int32 died, DbosWhichSnapshot which)
{
	DbosTable	table;
	DbosTableScan scan;
	SnapshotData dirty;
	bool		found = false;
	Datum		key = Int32GetDatum(born);

	if (born >= died)
		return false;
	InitDirtySnapshot(dirty);
	dbos_table_open(&table, TABLE_SNAPSHOT, AccessShareLock);
	dbos_scan_begin(&scan, &table, 0, &dirty, &key, 1, true);
	while (!found && dbos_scan_next(&scan) && DatumGetInt32(dbos_column(&table, SNAPSHOT_EPOCH)) < died)
		found = which == ANY_SNAPSHOT || TransactionIdIsValid(dirty.xmin);
	dbos_scan_end(&scan);
	dbos_table_close(&table);
	return found;
}

/* Whether a snapshot shows rows that are valid from the one epoch to before the other; for who writes. */
bool
dbos_seen_by_snapshot(int32 born, int32 died)
{
	return born != dbos_epoch() && dbos_snapshot_between(born, died, ANY_SNAPSHOT);
}

void
dbos_epoch_passed(void)
{
	ereport(ERROR,
			errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			errmsg("could not serialize access to a file because a snapshot was taken after this transaction began to write"),
			errhint("The transaction might succeed if retried."));
}
