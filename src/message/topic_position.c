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
#include "access/htup_details.h"
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

/* The highest position of the subscription in one table, or start; *writer, if wanted, is the transaction it is from. */
static int64
highest(Relation table, Snapshot snapshot, int32 subscription, int64 start, TransactionId *writer)
{
	Relation	index = open_index(table);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	IndexScanDesc scan = dbos_index_beginscan(table, index, snapshot, 1);
	ScanKeyData key;
	bool		isnull;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(subscription));
	index_rescan(scan, &key, 1, NULL, 0);
	if (index_getnext_slot(scan, BackwardScanDirection, slot))
	{
		start = Max(start, DatumGetInt64(slot_getattr(slot, POSITION_POSITION + 1, &isnull)));
		if (writer != NULL)
			*writer = HeapTupleHeaderGetXmin(ExecFetchSlotHeapTuple(slot, false, NULL)->t_data);
	}
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
		start = highest(tables[i], GetActiveSnapshot(), subscription, start, NULL);
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
		static BlockNumber told_at = 0;
		BlockNumber pages;

		table_close(table, RowExclusiveLock);
		table = open_table(1, RowExclusiveLock);
		/* The first one has come to its limit: told once for each page that this one grows. */
		pages = RelationGetNumberOfBlocks(table);
		if (pages != told_at)
			dbos_topic_want_delivery();
		told_at = pages;
	}
	insert_position(table, subscription, position);
	table_close(table, NoLock);
}

/* ---- emptying ---- */

/* What becomes of a table that rests; the next one is reached by looking again later. */
typedef enum Resting
{
	RESTING_NEEDED,				/* it had positions that the other did not have: they have been copied */
	RESTING_COPIED,				/* the other has them all, but there are snapshots that do not see that */
	RESTING_FREE
} Resting;

/* Copies what is newest of each subscription from a table that rests to the other. */
static Resting
copy_newest(Relation from, Relation to)
{
	TransactionId seen_by_all = GetOldestNonRemovableTransactionId(to);
	DbosSubscription subscription = {0};
	Resting		resting = RESTING_FREE;

	while (dbos_subscription_after(subscription.id, InvalidOid, false, &subscription))
	{
		TransactionId writer = FrozenTransactionId;
		int64		there;
		int64		newest;

		PushActiveSnapshot(GetLatestSnapshot());
		there = highest(to, GetActiveSnapshot(), subscription.id, subscription.start, &writer);
		newest = highest(from, GetActiveSnapshot(), subscription.id, subscription.start, NULL);
		PopActiveSnapshot();
		if (newest > there)
		{
			insert_position(to, subscription.id, newest);
			resting = RESTING_NEEDED;
		}
		else if (newest > subscription.start && resting == RESTING_FREE && !TransactionIdPrecedes(writer, seen_by_all))
			resting = RESTING_COPIED;
	}
	return resting;
}

/* True when it still has to be emptied. */
static bool
compact_table(int number)
{
	Oid			relation = dbos_relation_oid(names[number]);
	Relation	table = open_table(number, AccessShareLock);
	Relation	other = open_table(1 - number, RowExclusiveLock);
	bool		patient = RelationGetNumberOfBlocks(table) < PATIENCE_PAGES;
	Resting		resting = copy_newest(table, other);
	bool		empty = false;
	DbosDdlScope scope;

	if ((resting == RESTING_FREE || (resting == RESTING_COPIED && !patient)) &&
		ConditionalLockRelationOid(relation, AccessExclusiveLock))
	{
		/* Who has written to it meanwhile has ended by now. */
		resting = copy_newest(table, other);
		empty = resting == RESTING_FREE || (resting == RESTING_COPIED && !patient);
	}
	table_close(table, AccessShareLock);
	table_close(other, NoLock);
	if (empty)
	{
		dbos_ddl_begin(&scope, dbos_owner_oid());
		dbos_segment_truncate(relation);
		dbos_ddl_end(&scope);
	}
	return !empty;
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
