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
 * A transaction that writes files stays in one epoch, which it holds by a shared lock; the snapshot waits
 * until those who wrote in its epoch have ended.  Nobody waits for the snapshot:
 * who comes after it writes in the next epoch.
 *
 * A transaction of an earlier epoch that comes to change what one of a later has changed already
 * cannot: half of its changes would be in the snapshot.  It fails with 40001.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "file.h"

static int32 current = 0;		/* epoch of this transaction; 0: it has not written files */
static bool callback_registered = false;

static void
forget_at_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		current = 0;
}

static int32
last_value(void)
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

static void
epoch_tag(LOCKTAG *tag, int32 epoch)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, dbos_relation_oid("file_epoch"), (Oid) epoch, 0);
}

/* The epoch in which this transaction writes. */
int32
dbos_epoch(void)
{
	ResourceOwner owner = CurrentResourceOwner;

	if (current != 0)
		return current;
	if (!callback_registered)
	{
		RegisterXactCallback(forget_at_end, NULL);
		callback_registered = true;
	}
	for (;;)
	{
		LOCKTAG		tag;
		int32		epoch = last_value();

		epoch_tag(&tag, epoch);
		/* What is written in a subtransaction that goes on after a savepoint is in the epoch too. */
		CurrentResourceOwner = TopTransactionResourceOwner;
		(void) LockAcquire(&tag, RowExclusiveLock, false, false);
		CurrentResourceOwner = owner;
		/* Whoever took a snapshot in between does not know of us. */
		if (last_value() == epoch)
			return current = epoch;
		CurrentResourceOwner = TopTransactionResourceOwner;
		LockRelease(&tag, RowExclusiveLock, false);
		CurrentResourceOwner = owner;
	}
}

/* Whether nobody writes in a later epoch than this transaction. */
bool
dbos_epoch_is_last(void)
{
	return last_value() == dbos_epoch();
}

/* Ends the epoch; returns the one that ended.  This transaction goes on in the next. */
int32
dbos_epoch_next(void)
{
	int32		ended = last_value();

	while (nextval_internal(dbos_relation_oid("file_epoch"), false) <= ended)
		;
	current = 0;
	return ended;
}

/* Until nobody but this transaction writes in that epoch. */
void
dbos_epoch_wait(int32 epoch)
{
	LOCKTAG		tag;

	epoch_tag(&tag, epoch);
	WaitForLockers(tag, ShareLock, false);
}

/* Whether a snapshot shows rows that are valid from the one epoch to before the other. */
bool
dbos_seen_by_snapshot(int32 born, int32 died)
{
	DbosTable	table;
	DbosTableScan scan;
	SnapshotData dirty;
	bool		seen = false;
	Datum		key = Int32GetDatum(born);

	if (born >= died || born == dbos_epoch())
		return false;
	/* One that is being taken counts, and so does one that is being dropped. */
	InitDirtySnapshot(dirty);
	dbos_table_open(&table, TABLE_SNAPSHOT, AccessShareLock);
	dbos_scan_begin(&scan, &table, 0, &dirty, &key, 1, true);
	if (dbos_scan_next(&scan))
		seen = DatumGetInt32(dbos_column(&table, 1)) < died;
	dbos_scan_end(&scan);
	dbos_table_close(&table);
	return seen;
}

void
dbos_epoch_passed(void)
{
	ereport(ERROR,
			errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			errmsg("could not serialize access to a file because a snapshot was taken after this transaction began to write"),
			errhint("The transaction might succeed if retried."));
}
