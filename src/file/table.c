/*
 * table.c
 *	  Rows of our tables, found by index and written to heap and indexes, without the executor.
 *
 * The tables are private to the extension: they have no triggers, no defaults that matter here
 * and just the indexes that are named below, all of plain columns; of some rows only where it
 * says so.  So an operation on a file, which touches three or four rows, need not plan or
 * start anything.
 *
 * What is written passes the table access method and the index access method as any row does:
 * it is in the write-ahead log, decoded, and checked for serializable transactions.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "nodes/makefuncs.h"
#include "storage/bufmgr.h"
#include "storage/procarray.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "file.h"

#define MAX_COLUMNS 20
#define MAX_KEY 3

typedef struct IndexShape
{
	const char *name;
	bool		unique;
	int			nkeys;
	AttrNumber	keys[MAX_KEY];
	bool		(*has) (const Datum *values);	/* the predicate of a partial index, whose columns are never null; NULL: all rows */
} IndexShape;

struct DbosTableShape
{
	const char *name;
	int			nindexes;
	IndexShape	indexes[4];
};

/* WHERE size_class > 0 */
static bool
is_large(const Datum *values)
{
	return DatumGetInt16(values[INODE_SIZE_CLASS]) > 0;
}

/* WHERE large_object IS NOT NULL */
static bool
has_large_object(const Datum *values)
{
	return OidIsValid(DatumGetObjectId(values[INODE_LARGE_OBJECT]));
}

/* WHERE kind = 4 */
static bool
is_directory(const Datum *values)
{
	return DatumGetInt32(values[ENTRY_KIND]) == S_IFDIR >> 12;
}

/* WHERE died <> FOREVER, of tables that have that column second, or third */
static bool
has_ended(const Datum *values)
{
	return DatumGetInt32(values[1]) != FOREVER;
}

static bool
entry_has_ended(const Datum *values)
{
	return DatumGetInt32(values[ENTRY_DIED]) != FOREVER;
}

static const DbosTableShape shapes[] = {
	[TABLE_FILE_SYSTEM] = {"file_system", 1, {{"file_system_pkey", true, 1, {1}}}},
	[TABLE_INODE] = {"inode", 4, {
		{"inode_pkey", true, 2, {1, 2}},
		{"inode_size_class_idx", false, 1, {INODE_SIZE_CLASS + 1}, is_large},
		{"inode_ended_idx", false, 2, {2, 3}, has_ended},
		{"inode_large_object_idx", true, 2, {INODE_LARGE_OBJECT + 1, INODE_DIED + 1}, has_large_object}
	}},
	[TABLE_ENTRY] = {"directory_entry", 4, {
		{"directory_entry_pkey", true, 3, {1, 6, 3}},
		{"directory_entry_child_idx", false, 1, {2}},
		{"directory_entry_directory_idx", false, 2, {1, 6}, is_directory},
		{"directory_entry_ended_idx", false, 2, {3, 4}, entry_has_ended}
	}},
	[TABLE_EXTENT] = {"extent", 3, {
		{"extent_pkey", true, 3, {1, 2, 4}},
		{"extent_chunk_idx", false, 1, {5}},
		{"extent_ended_idx", false, 2, {2, 3}, has_ended}
	}},
	[TABLE_CHUNK] = {"chunk", 1, {{"chunk_pkey", true, 1, {1}}}},
	[TABLE_CHUNK_TAIL] = {"chunk_tail", 1, {{"chunk_tail_pkey", true, 1, {1}}}},
	[TABLE_XATTR] = {"xattr", 2, {{"xattr_pkey", true, 3, {1, 4, 2}}, {"xattr_ended_idx", false, 2, {2, 3}, has_ended}}},
	[TABLE_SNAPSHOT] = {"snapshot", 1, {{"snapshot_epoch_idx", false, 1, {2}}}},
	[TABLE_CHANGE] = {"directory_change", 1, {{"directory_change_idx", false, 1, {1}}}},
	[TABLE_USAGE] = {"directory_usage", 1, {{"directory_usage_pkey", true, 2, {1, 2}}}},
	[TABLE_QUOTA] = {"file_quota", 1, {{"file_quota_pkey", true, 2, {1, 2}}}},
	[TABLE_FREED] = {"freed_extent", 0, {}},
	[TABLE_OPEN_FILE] = {"open_file", 2, {{"open_file_pkey", true, 1, {1}}, {"open_file_inode_idx", false, 1, {2}}}},
	[TABLE_UNLINKED] = {"unlinked_file", 1, {{"unlinked_file_pkey", true, 1, {1}}}},
	[TABLE_LOCK] = {"file_lock", 1, {{"file_lock_inode_idx", false, 1, {1}}}},
};

void
dbos_table_open(DbosTable *table, DbosTableName name, LOCKMODE lock)
{
	table->shape = &shapes[name];
	table->heap = table_open(dbos_relation_oid(table->shape->name), lock);
	table->slot = table_slot_create(table->heap, NULL);
}

/* The lock stays until the end of the transaction: the next operation has it already. */
void
dbos_table_close(DbosTable *table)
{
	ExecDropSingleTupleTableSlot(table->slot);
	table_close(table->heap, NoLock);
}

static Relation
index_of(const DbosTable *table, int index)
{
	return index_open(dbos_relation_oid(table->shape->indexes[index].name), AccessShareLock);
}

/* ---- reading ---- */

static RegProcedure
comparison(Oid type, StrategyNumber strategy)
{
	bool		equal = strategy == BTEqualStrategyNumber;

	switch (type)
	{
		case INT8OID:
			return equal ? F_INT8EQ : F_INT8GE;
		case INT4OID:
			return equal ? F_INT4EQ : F_INT4GE;
		case BYTEAOID:
			return equal ? F_BYTEAEQ : F_BYTEAGE;
		default:
			return equal ? F_OIDEQ : F_OIDGE;
	}
}

void
dbos_scan_begin(DbosTableScan *scan, DbosTable *table, int index, Snapshot snapshot,
				const Datum *key, int nkeys, bool last_at_least)
{
	const IndexShape *shape = &table->shape->indexes[index];

	scan->table = table;
	scan->index = index_of(table, index);
	for (int i = 0; i < nkeys; i++)
	{
		StrategyNumber strategy = last_at_least && i == nkeys - 1 ? BTGreaterEqualStrategyNumber : BTEqualStrategyNumber;
		Oid			type = TupleDescAttr(RelationGetDescr(table->heap), shape->keys[i] - 1)->atttypid;

		ScanKeyInit(&scan->keys[i], i + 1, strategy, comparison(type, strategy), key[i]);
	}
	scan->scan = dbos_index_beginscan(table->heap, scan->index, snapshot, nkeys);
	index_rescan(scan->scan, scan->keys, nkeys, NULL, 0);
}

/*
 * Whether the row's own maker has removed it again, in the same (sub)transaction: whatever becomes of that, the row
 * will not be there.  To wait for its maker may be to wait for who waits for us.  A row that he has changed is not
 * removed, and may be the only version of it that a scan comes upon.
 */
static bool
taken_back(TupleTableSlot *slot)
{
	HeapTupleHeader row = ExecFetchSlotHeapTuple(slot, false, NULL)->t_data;
	Buffer		buffer = ((BufferHeapTupleTableSlot *) slot)->buffer;
	bool		result;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	result = (row->t_infomask & (HEAP_XMAX_INVALID | HEAP_XMAX_IS_MULTI)) == 0 && !HEAP_XMAX_IS_LOCKED_ONLY(row->t_infomask) &&
		HeapTupleHeaderGetRawXmax(row) == HeapTupleHeaderGetRawXmin(row) && ItemPointerEquals(&row->t_ctid, &slot->tts_tid);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return result;
}

/*
 * Who has removed or changed the row that a scan with a dirty snapshot has found, and may commit that or has just done
 * so.  The snapshot tells it only of rows that are committed: one may be made in a subtransaction and removed in another.
 */
TransactionId
dbos_scan_ender(DbosTableScan *scan)
{
	TupleTableSlot *slot = scan->table->slot;
	HeapTupleHeader row = ExecFetchSlotHeapTuple(slot, false, NULL)->t_data;
	Buffer		buffer = ((BufferHeapTupleTableSlot *) slot)->buffer;
	TransactionId ender = InvalidTransactionId;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	if ((row->t_infomask & HEAP_XMAX_INVALID) == 0 && !HEAP_XMAX_IS_LOCKED_ONLY(row->t_infomask))
		ender = HeapTupleHeaderGetUpdateXid(row);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	/* Who has rolled back to a savepoint may not have been marked; who has just committed is not to be missed. */
	if (TransactionIdIsValid(ender) && (TransactionIdIsInProgress(ender) || TransactionIdDidCommit(ender)))
		return ender;
	return InvalidTransactionId;
}

/*
 * With a dirty snapshot those that may come to be are found too.  But one that is changed and committed while the scan goes
 * on may be missed: its old version is dead by then, and the new one was put into a page of the index that had been
 * read.  Who must not miss it looks once more, with the latest snapshot.
 */
bool
dbos_scan_next(DbosTableScan *scan)
{
	TupleTableSlot *slot = scan->table->slot;

	while (index_getnext_slot(scan->scan, ForwardScanDirection, slot))
		if (scan->scan->xs_snapshot->snapshot_type != SNAPSHOT_DIRTY || !taken_back(slot))
			return true;
	return false;
}

bool
dbos_scan_previous(DbosTableScan *scan)
{
	return index_getnext_slot(scan->scan, BackwardScanDirection, scan->table->slot);
}

void
dbos_scan_end(DbosTableScan *scan)
{
	index_endscan(scan->scan);
	index_close(scan->index, NoLock);
}

static bool
find(DbosTable *table, int index, Snapshot snapshot, const Datum *key, int nkeys, bool from)
{
	DbosTableScan scan;
	bool		found;

	dbos_scan_begin(&scan, table, index, snapshot, key, nkeys, from);
	found = dbos_scan_next(&scan);
	dbos_scan_end(&scan);
	return found;
}

/* The first row with that key is put into the slot. */
bool
dbos_table_find(DbosTable *table, int index, Snapshot snapshot, const Datum *key, int nkeys)
{
	return find(table, index, snapshot, key, nkeys, false);
}

/* The same, and the last column of the key may be greater than asked for. */
bool
dbos_table_find_from(DbosTable *table, int index, Snapshot snapshot, const Datum *key, int nkeys)
{
	return find(table, index, snapshot, key, nkeys, true);
}

/* The number of its index of versions that have ended, by died and born. */
int
dbos_table_ended_index(const DbosTable *table)
{
	int			index = 0;

	while (table->shape->indexes[index].has != has_ended && table->shape->indexes[index].has != entry_has_ended)
		index++;
	return index;
}

/* When the row in the slot has ended. */
int32
dbos_table_died(DbosTable *table)
{
	return DatumGetInt32(dbos_column(table, table->shape->indexes[dbos_table_ended_index(table)].keys[0] - 1));
}

Datum
dbos_column(DbosTable *table, int column)
{
	bool		isnull;

	return slot_getattr(table->slot, column + 1, &isnull);
}

/* ---- writing ---- */

static bool
is_found(DbosTable *table, int index, ItemPointer tid, const Datum *key, Snapshot snapshot)
{
	DbosTableScan scan;
	bool		found = false;

	dbos_scan_begin(&scan, table, index, snapshot, key, table->shape->indexes[index].nkeys, false);
	while (!found && dbos_scan_next(&scan))
		found = !ItemPointerEquals(&table->slot->tts_tid, tid);
	dbos_scan_end(&scan);
	return found;
}

/* Whether a row with the same key, but for the one at tid, is there or may come to be. */
static bool
taken(DbosTable *table, int index, ItemPointer tid, const Datum *key)
{
	SnapshotData dirty;
	bool		found;

	InitDirtySnapshot(dirty);
	if (is_found(table, index, tid, key, &dirty))
		return true;
	PushActiveSnapshot(GetLatestSnapshot());
	found = is_found(table, index, tid, key, GetActiveSnapshot());
	PopActiveSnapshot();
	return found;
}

/*
 * False when UNIQUE_TELL and a row with that key is there already or may come to be.  Of
 * two that insert the same key at once just the second to reach the index is told.
 */
static bool
insert_index_entries(DbosTable *table, ItemPointer tid, const Datum *values, const bool *nulls,
					 DbosUnique unique, bool same_keys)
{
	static IndexInfo *info = NULL;	/* of which a btree reads nothing */
	bool		alone = true;

	if (info == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		info = makeNode(IndexInfo);
		MemoryContextSwitchTo(old);
	}
	for (int i = 0; i < table->shape->nindexes; i++)
	{
		const IndexShape *shape = &table->shape->indexes[i];
		Relation	index;
		Datum		key[MAX_KEY];
		bool		isnull[MAX_KEY];
		IndexUniqueCheck check = !shape->unique || same_keys ? UNIQUE_CHECK_NO
			: unique == UNIQUE_TELL ? UNIQUE_CHECK_PARTIAL : UNIQUE_CHECK_YES;

		if (shape->has != NULL && !shape->has(values))
			continue;
		index = index_open(dbos_relation_oid(shape->name), RowExclusiveLock);
		for (int k = 0; k < shape->nkeys; k++)
		{
			key[k] = values[shape->keys[k] - 1];
			isnull[k] = nulls[shape->keys[k] - 1];
		}
		if (!index_insert(index, key, isnull, tid, table->heap, check, same_keys, info) && check == UNIQUE_CHECK_PARTIAL)
			alone = !taken(table, i, tid, key);
		index_close(index, NoLock);
		if (!alone)
			break;
	}
	return alone;
}

bool
dbos_table_insert(DbosTable *table, const Datum *values, const bool *nulls, DbosUnique unique)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(table->heap), &TTSOpsVirtual);
	int			columns = slot->tts_tupleDescriptor->natts;
	ItemPointerData tid;
	bool		alone;

	memcpy(slot->tts_values, values, sizeof(Datum) * columns);
	memcpy(slot->tts_isnull, nulls, sizeof(bool) * columns);
	ExecStoreVirtualTuple(slot);
	table_tuple_insert(table->heap, slot, GetCurrentCommandId(true), 0, NULL);
	table->at = tid = slot->tts_tid;
	alone = insert_index_entries(table, &tid, values, nulls, unique, false);
	ExecDropSingleTupleTableSlot(slot);
	if (!alone)
	{
		TM_FailureData failure;

		/* A row of this command cannot be deleted by it. */
		CommandCounterIncrement();
		if (table_tuple_delete(table->heap, &tid, GetCurrentCommandId(true), InvalidSnapshot, InvalidSnapshot,
							   true, &failure, false) != TM_Ok)
			elog(ERROR, "row of table \"%s\" changed while it was inserted", table->shape->name);
	}
	return alone;
}

/* Virtual slots; a page and a record of the log have room for more than one row. */
void
dbos_table_insert_many(DbosTable *table, TupleTableSlot **slots, int count)
{
	table_multi_insert(table->heap, slots, count, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < count; i++)
		(void) insert_index_entries(table, &slots[i]->tts_tid, slots[i]->tts_values, slots[i]->tts_isnull, UNIQUE_RAISE, false);
}

/* The same; the columns of the rows one after the other. */
void
dbos_table_insert_rows(DbosTable *table, const Datum *values, const bool *nulls, int count)
{
	int			columns = RelationGetDescr(table->heap)->natts;
	TupleTableSlot **slots = palloc(sizeof(TupleTableSlot *) * count);

	for (int i = 0; i < count; i++)
	{
		slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(table->heap), &TTSOpsVirtual);
		memcpy(slots[i]->tts_values, values + i * columns, sizeof(Datum) * columns);
		memcpy(slots[i]->tts_isnull, nulls + i * columns, sizeof(bool) * columns);
		ExecStoreVirtualTuple(slots[i]);
	}
	dbos_table_insert_many(table, slots, count);
	for (int i = 0; i < count; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	pfree(slots);
}

static bool
result_is_ok(DbosTable *table, TM_Result result)
{
	switch (result)
	{
		case TM_Ok:
			return true;
		case TM_SelfModified:
			elog(ERROR, "row of table \"%s\" was changed twice by one step of an operation", table->shape->name);
			return false;		/* not reached */
		default:
			return false;
	}
}

bool
dbos_table_update(DbosTable *table, ItemPointer tid, const Datum *values, const bool *nulls, Snapshot snapshot, DbosUpdate how)
{
	bool		changes_key = how == UPDATE_KEY || how == UPDATE_KEY_TELL;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(table->heap), &TTSOpsVirtual);
	int			columns = slot->tts_tupleDescriptor->natts;
	TM_Result	result;
	bool		moved;

	memcpy(slot->tts_values, values, sizeof(Datum) * columns);
	memcpy(slot->tts_isnull, nulls, sizeof(bool) * columns);
	ExecStoreVirtualTuple(slot);
	result = dbos_tuple_update(table->heap, tid, slot, GetCurrentCommandId(true), snapshot, how != UPDATE_IF_FREE, &moved);
	table->at = slot->tts_tid;
	table->alone = result != TM_Ok || !moved ||
		insert_index_entries(table, &table->at, values, nulls, how == UPDATE_KEY_TELL ? UNIQUE_TELL : UNIQUE_RAISE, !changes_key);
	ExecDropSingleTupleTableSlot(slot);
	return result_is_ok(table, result);
}

bool
dbos_table_delete(DbosTable *table, ItemPointer tid, Snapshot snapshot)
{
	TM_FailureData failure;

	return result_is_ok(table, table_tuple_delete(table->heap, tid, GetCurrentCommandId(true), snapshot, InvalidSnapshot,
												  true, &failure, false));
}

/* The row is not changed, and is in the slot afterwards. */
bool
dbos_table_lock(DbosTable *table, ItemPointer tid, Snapshot snapshot)
{
	TM_FailureData failure;

	return result_is_ok(table, table_tuple_lock(table->heap, tid, snapshot, table->slot, GetCurrentCommandId(false),
												LockTupleNoKeyExclusive, LockWaitBlock, 0, &failure));
}

/* The row is kept from being deleted until the end of the transaction, and its key from being changed; the rest of it is not. */
bool
dbos_table_hold(DbosTable *table, ItemPointer tid, Snapshot snapshot)
{
	TM_FailureData failure;

	return result_is_ok(table, table_tuple_lock(table->heap, tid, snapshot, table->slot, GetCurrentCommandId(false),
												LockTupleKeyShare, LockWaitBlock, TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS, &failure));
}
