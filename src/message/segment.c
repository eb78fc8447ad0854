/*
 * segment.c
 *	  Rows in the segments of a mailbox: written at the end, read in the order of ids.
 *
 * A segment is a partition of the mailbox.  New rows go to the current one; those
 * that are consumed stay where they are, dead, until nothing in their segment lives
 * and it is truncated as a whole (rotation.c).  So nothing waits for vacuum, and
 * nobody who reads from an id on meets the dead rows before it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "message.h"

#define ROWS_AT_ONCE 500

/* ---- writing ---- */

void
dbos_segment_write_begin(DbosSegmentWriter *writer, DbosSegment *segment, int rows)
{
	writer->relation = dbos_segment_open(segment, RowExclusiveLock);
	writer->last = 0;
	writer->estate = CreateExecutorState();
	writer->target = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->target, writer->relation, 0, NULL, 0);
	ExecOpenIndices(writer->target, false);
	writer->space = Min(rows, ROWS_AT_ONCE);
	writer->nslots = 0;
	writer->slots = palloc(sizeof(TupleTableSlot *) * writer->space);
	for (int i = 0; i < writer->space; i++)
		writer->slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(writer->relation), &TTSOpsVirtual);
}

/* A page and a record of WAL have room for more than one row. */
static void
write_rows(DbosSegmentWriter *writer)
{
	CommandId	command = GetCurrentCommandId(true);

	if (writer->nslots == 1)
		table_tuple_insert(writer->relation, writer->slots[0], command, 0, NULL);
	else if (writer->nslots > 1)
		table_multi_insert(writer->relation, writer->slots, writer->nslots, command, 0, NULL);
	if (writer->nslots > 0)
		writer->last = ItemPointerGetBlockNumber(&writer->slots[writer->nslots - 1]->tts_tid);
	for (int i = 0; i < writer->nslots; i++)
	{
		dbos_insert_index_tuples(writer->target, writer->slots[i], writer->estate);
		ResetPerTupleExprContext(writer->estate);
		ExecClearTuple(writer->slots[i]);
	}
	writer->nslots = 0;
}

/* An empty row to be filled, all nulls; what it points to must live until it is written. */
TupleTableSlot *
dbos_segment_write_next(DbosSegmentWriter *writer)
{
	TupleTableSlot *slot;

	if (writer->nslots == writer->space)
	{
		CHECK_FOR_INTERRUPTS();
		write_rows(writer);
	}
	slot = writer->slots[writer->nslots++];
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * MESSAGE_COLUMNS);
	ExecStoreVirtualTuple(slot);
	return slot;
}

void
dbos_segment_write_end(DbosSegmentWriter *writer)
{
	write_rows(writer);
	for (int i = 0; i < writer->space; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	ExecCloseIndices(writer->target);
	FreeExecutorState(writer->estate);
	table_close(writer->relation, NoLock);
}

/* ---- reading ---- */

static void
scan_begin(DbosSegmentScan *scan, DbosSegment *segment, LOCKMODE lock)
{
	scan->lock = lock;
	scan->relation = dbos_segment_open(segment, lock);
	scan->segment = segment->number;
	scan->slot = table_slot_create(scan->relation, NULL);
}

void
dbos_segment_scan_begin(DbosSegmentScan *scan, DbosSegment *segment,
						Snapshot snapshot, int64 lo, int64 hi, LOCKMODE lock)
{
	ScanKeyData keys[2];

	scan_begin(scan, segment, lock);
	scan->index = index_open(segment->id_index, AccessShareLock);
	ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(lo));
	ScanKeyInit(&keys[1], 1, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(hi));
	scan->scan = dbos_index_beginscan(scan->relation, scan->index, snapshot, 2);
	index_rescan(scan->scan, keys, 2, NULL, 0);
	dbos_segment_scan_next(scan);
}

void
dbos_aside_scan_begin(DbosSegmentScan *scan, DbosSegment *segment, Snapshot snapshot,
					  TimestampTz floor, TimestampTz end)
{
	ScanKeyData keys[2];

	scan_begin(scan, segment, RowExclusiveLock);
	if (!OidIsValid(segment->visible_index))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("segment \"%s\" has no index on visible_at", RelationGetRelationName(scan->relation)),
				errhint("CREATE INDEX ON %s (visible_at);", dbos_qualified_name(segment->relation)));
	scan->index = index_open(segment->visible_index, AccessShareLock);
	ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_TIMESTAMPTZ_GE, TimestampTzGetDatum(floor));
	ScanKeyInit(&keys[1], 1, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE, TimestampTzGetDatum(end));
	scan->scan = dbos_index_beginscan(scan->relation, scan->index, snapshot, 2);
	index_rescan(scan->scan, keys, 2, NULL, 0);
	dbos_segment_scan_next(scan);
}

/* Rows of one lane of an ordered mailbox, from that id on. */
void
dbos_lane_scan_begin(DbosSegmentScan *scan, DbosSegment *segment, Snapshot snapshot, int lane, int64 lo)
{
	ScanKeyData keys[2];

	scan_begin(scan, segment, RowExclusiveLock);
	if (!OidIsValid(segment->lane_index))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("segment \"%s\" has no index on lane and id", RelationGetRelationName(scan->relation)),
				errhint("CREATE INDEX ON %s (%s, id);", dbos_qualified_name(segment->relation), DBOS_LANE_EXPRESSION));
	scan->index = index_open(segment->lane_index, AccessShareLock);
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(lane));
	ScanKeyInit(&keys[1], 2, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(lo));
	scan->scan = dbos_index_beginscan(scan->relation, scan->index, snapshot, 2);
	index_rescan(scan->scan, keys, 2, NULL, 0);
	dbos_segment_scan_next(scan);
}

/* Which of the scans has the lowest id; NULL when none has a row. */
DbosSegmentScan *
dbos_segment_scan_lowest(DbosSegmentScan *scans, int count)
{
	DbosSegmentScan *best = NULL;
	int64		best_id = 0;

	for (int i = 0; i < count; i++)
	{
		int64		id;

		if (!scans[i].more)
			continue;
		id = dbos_slot_int64(scans[i].slot, MESSAGE_ID);
		if (best == NULL || id < best_id)
		{
			best = &scans[i];
			best_id = id;
		}
	}
	return best;
}

void
dbos_segment_scan_next(DbosSegmentScan *scan)
{
	scan->more = index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot);
}

void
dbos_segment_scan_end(DbosSegmentScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	index_close(scan->index, AccessShareLock);
	/* Who has written keeps the lock until the end of the transaction. */
	table_close(scan->relation, scan->lock == AccessShareLock ? AccessShareLock : NoLock);
}

int64
dbos_slot_int64(TupleTableSlot *slot, enum MessageColumn column)
{
	bool		isnull;

	return DatumGetInt64(slot_getattr(slot, column + 1, &isnull));
}
