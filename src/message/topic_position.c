/*
 * topic_position.c
 *	  How far subscriptions have come.
 *
 * A row that is updated at each read is found ever more slowly while somebody holds
 * a snapshot open: the dead versions before it cannot go.  So a position is
 * inserted, never updated, and the highest one of a subscription counts: it is the first
 * that an index on (subscription, position) gives, backward.
 *
 * The rows lie in two tables; the one that is written to has fewer than LIMIT_PAGES, or is
 * the second.  The other one comes to rest when those who wrote to it have ended.  Then
 * the background copies the newest positions, and, when every snapshot sees the copies,
 * empties it: nobody, pg_dump with its old snapshot included, finds a position missing.
 * Readers look into both tables, so it does not matter who writes to which.
 *
 * Who reads locks both tables first and takes the snapshot then, and unlocks them at
 * once: a table is emptied under ACCESS EXCLUSIVE, which is tried and not waited for.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "topic.h"

#define TABLES		2
#define LIMIT_PAGES	64
/* A table that is larger is emptied even if old snapshots do not see the copies: they see older positions then. */
#define PATIENCE_PAGES 8192

enum PositionColumn
{
	POSITION_SUBSCRIPTION,
	POSITION_POSITION,
	POSITION_COLUMNS
};

static const char *const names[TABLES] = {"subscription_position_0", "subscription_position_1"};

static Relation
open_table(int number, LOCKMODE lock)
{
	return table_open(dbos_relation_oid(names[number]), lock);
}

static Relation
open_index(Relation table)
{
	List	   *indexes = RelationGetIndexList(table);
	Relation	index = index_open(linitial_oid(indexes), AccessShareLock);

	list_free(indexes);
	return index;
}

/* ---- reading ---- */

/* The highest position of the subscription in one table, or start. */
static int64
highest(Relation table, Snapshot snapshot, int32 subscription, int64 start)
{
	Relation	index = open_index(table);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	IndexScanDesc scan = dbos_index_beginscan(table, index, snapshot, 1);
	ScanKeyData key;
	bool		isnull;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(subscription));
	index_rescan(scan, &key, 1, NULL, 0);
	if (index_getnext_slot(scan, BackwardScanDirection, slot))
		start = Max(start, DatumGetInt64(slot_getattr(slot, POSITION_POSITION + 1, &isnull)));
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	return start;
}

/* Newest snapshot, whatever the isolation level: as the messages themselves. */
int64
dbos_position_read(int32 subscription, int64 start)
{
	Relation	tables[TABLES];

	for (int i = 0; i < TABLES; i++)
		tables[i] = open_table(i, AccessShareLock);
	PushActiveSnapshot(GetLatestSnapshot());
	for (int i = 0; i < TABLES; i++)
		start = highest(tables[i], GetActiveSnapshot(), subscription, start);
	PopActiveSnapshot();
	for (int i = 0; i < TABLES; i++)
		table_close(tables[i], AccessShareLock);
	return start;
}

/* ---- writing ---- */

static void
insert_position(Relation table, int32 subscription, int64 position)
{
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *target = makeNode(ResultRelInfo);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(table), &TTSOpsVirtual);

	InitResultRelInfo(target, table, 0, NULL, 0);
	ExecOpenIndices(target, false);
	slot->tts_values[POSITION_SUBSCRIPTION] = Int32GetDatum(subscription);
	slot->tts_values[POSITION_POSITION] = Int64GetDatum(position);
	memset(slot->tts_isnull, false, sizeof(bool) * POSITION_COLUMNS);
	ExecStoreVirtualTuple(slot);
	table_tuple_insert(table, slot, GetCurrentCommandId(true), 0, NULL);
	dbos_insert_index_tuples(target, slot, estate);
	ExecDropSingleTupleTableSlot(slot);
	ExecCloseIndices(target);
	FreeExecutorState(estate);
	/* A second read of this transaction goes on from there. */
	CommandCounterIncrement();
}

/* The one that new positions go to. */
static int
written_table(BlockNumber pages_of_first)
{
	return pages_of_first < LIMIT_PAGES ? 0 : 1;
}

void
dbos_position_write(int32 subscription, int64 position)
{
	Relation	table = open_table(0, RowExclusiveLock);

	if (written_table(RelationGetNumberOfBlocks(table)) == 1)
	{
		table_close(table, RowExclusiveLock);
		table = open_table(1, RowExclusiveLock);
	}
	insert_position(table, subscription, position);
	table_close(table, NoLock);
}

/* ---- emptying ---- */

/* Copies what is newest of each subscription from a table that rests to the other; true when there was something. */
static bool
copy_newest(Relation from, Relation to, bool look_only)
{
	DbosSubscription subscription;
	bool		copied = false;
	int32		id = 0;

	while (dbos_subscription_after(id, InvalidOid, false, &subscription))
	{
		Snapshot	snapshot;
		int64		there;
		int64		newest;

		id = subscription.id;
		PushActiveSnapshot(GetLatestSnapshot());
		snapshot = GetActiveSnapshot();
		there = highest(to, snapshot, id, subscription.start);
		newest = highest(from, snapshot, id, subscription.start);
		PopActiveSnapshot();
		if (newest <= there)
			continue;
		copied = true;
		if (look_only)
			break;
		insert_position(to, id, newest);
	}
	return copied;
}

static bool
seen_by_all(TransactionId xid, Relation table)
{
	return TransactionIdIsValid(xid) &&
		TransactionIdPrecedes(xid, GetOldestNonRemovableTransactionId(table));
}

/* Copies what is only in this table, or else empties it; true when it still has to be emptied. */
static bool
compact_table(int number)
{
	static TransactionId copied_by[TABLES];	/* invalid: nothing was copied by this process */
	Oid			relation = dbos_relation_oid(names[number]);
	Relation	table = open_table(number, AccessShareLock);
	Relation	other = open_table(1 - number, RowExclusiveLock);
	BlockNumber pages = RelationGetNumberOfBlocks(table);
	bool		left = true;
	DbosDdlScope scope;

	if (copy_newest(table, other, false) || !TransactionIdIsValid(copied_by[number]))
		copied_by[number] = GetTopTransactionId();
	else if ((seen_by_all(copied_by[number], table) || pages >= PATIENCE_PAGES) &&
			 ConditionalLockRelationOid(relation, AccessExclusiveLock))
	{
		/* Who has written to it since the copy has ended by now. */
		if (copy_newest(table, other, true))
			UnlockRelationOid(relation, AccessExclusiveLock);
		else
		{
			table_close(table, AccessShareLock);
			table_close(other, NoLock);
			dbos_ddl_begin(&scope, dbos_owner_oid());
			dbos_segment_truncate(relation);
			dbos_ddl_end(&scope);
			copied_by[number] = InvalidTransactionId;
			return false;
		}
	}
	table_close(table, AccessShareLock);
	table_close(other, NoLock);
	return left;
}

bool
dbos_positions_compact(void)
{
	BlockNumber pages[TABLES];
	int			resting;

	for (int i = 0; i < TABLES; i++)
	{
		Relation	table = open_table(i, AccessShareLock);

		pages[i] = RelationGetNumberOfBlocks(table);
		table_close(table, AccessShareLock);
	}
	resting = 1 - written_table(pages[0]);
	return pages[resting] > 0 && compact_table(resting);
}
