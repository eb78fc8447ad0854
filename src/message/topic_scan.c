/*
 * topic_scan.c
 *	  The messages of a topic in the order of their ids, from all of its segments.
 *
 * Segments are filled one after the other, but a publisher who knows the current one of a moment ago
 * writes to that: so each of them is asked, by its index, and the lowest id is next.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "topic.h"

/* Which segment has the message that comes next. */
static void
choose(DbosTopicScan *scan)
{
	int64		best = 0;

	scan->at = NULL;
	for (int i = 0; i < scan->nsegments; i++)
	{
		int64		id;

		if (!scan->segments[i].more)
			continue;
		id = dbos_slot_int64(scan->segments[i].slot, MESSAGE_ID);
		if (scan->at == NULL || id < best)
		{
			scan->at = &scan->segments[i];
			best = id;
		}
	}
}

static bool
is_empty(const DbosSegment *segment)
{
	Relation	relation = table_open(segment->relation, AccessShareLock);
	bool		empty = RelationGetNumberOfBlocks(relation) == 0;

	table_close(relation, AccessShareLock);
	return empty;
}

/* Messages with ids from lo to hi. */
void
dbos_topic_scan_begin(DbosTopicScan *scan, const DbosMailbox *topic, Snapshot snapshot, int64 lo, int64 hi)
{
	int			count = topic->nsegments;
	DbosSegment *segments = palloc(sizeof(DbosSegment) * Max(count, 1));

	/* What is known of the topic may be read anew while the segments are opened. */
	memcpy(segments, topic->segments, sizeof(DbosSegment) * count);
	scan->segments = palloc(sizeof(DbosSegmentScan) * Max(count, 1));
	scan->nsegments = 0;
	for (int i = 0; i < count; i++)
	{
		DbosSegmentScan *opened = &scan->segments[scan->nsegments];

		if (is_empty(&segments[i]))
			continue;
		dbos_segment_scan_begin(opened, &segments[i], snapshot, lo, hi, AccessShareLock);
		if (opened->more)
			scan->nsegments++;
		else
			dbos_segment_scan_end(opened);
	}
	pfree(segments);
	choose(scan);
}

void
dbos_topic_scan_next(DbosTopicScan *scan)
{
	dbos_segment_scan_next(scan->at);
	/* Mostly one segment has what there is to read. */
	if (scan->nsegments > 1)
		choose(scan);
	else if (!scan->at->more)
		scan->at = NULL;
}

void
dbos_topic_scan_end(DbosTopicScan *scan)
{
	for (int i = 0; i < scan->nsegments; i++)
		dbos_segment_scan_end(&scan->segments[i]);
	pfree(scan->segments);
}

bool
dbos_topic_scan_passes(const DbosTopicScan *scan, const Jsonb *filter)
{
	bool		isnull;
	Datum		body;

	if (filter == NULL)
		return true;
	body = slot_getattr(scan->at->slot, MESSAGE_BODY + 1, &isnull);
	return !isnull && DatumGetBool(DirectFunctionCall2(jsonb_contains, body, JsonbPGetDatum(filter)));
}

int64
dbos_topic_newest(const DbosMailbox *topic, Snapshot snapshot)
{
	int64		newest = 0;

	for (int i = 0; i < topic->nsegments; i++)
	{
		DbosSegment segment = topic->segments[i];
		int64		id;
		TimestampTz ignored;

		if (dbos_segment_edge(&segment, BackwardScanDirection, snapshot, &id, &ignored))
			newest = Max(newest, id);
	}
	return newest;
}

bool
dbos_segment_edge(DbosSegment *segment, ScanDirection direction, Snapshot snapshot, int64 *id, TimestampTz *sent_at)
{
	Relation	relation = dbos_segment_open(segment, AccessShareLock);
	Relation	index = index_open(segment->id_index, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	SnapshotData dirty;
	IndexScanDesc scan;
	bool		found;

	InitDirtySnapshot(dirty);
	scan = dbos_index_beginscan(relation, index, snapshot != NULL ? snapshot : &dirty, 0);
	index_rescan(scan, NULL, 0, NULL, 0);
	found = index_getnext_slot(scan, direction, slot);
	if (found)
	{
		*id = dbos_slot_int64(slot, MESSAGE_ID);
		*sent_at = (TimestampTz) dbos_slot_int64(slot, MESSAGE_SENT_AT);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(relation, AccessShareLock);
	return found;
}
