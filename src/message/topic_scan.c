/*
 * topic_scan.c
 *	  The messages of a topic in the order of their ids, from all of its segments.
 *
 * Segments are filled one after the other, but a publisher who knows the current one of a moment ago
 * writes to that: so each of them may have the lowest id, and is asked by its index.
 *
 * A backlog has many segments that come later.  Of a segment this process knows
 * the lowest id, and opens it when the scan has come there: rows that are written from now on have
 * ids from the horizon on, so the lowest one of those before it is that of the segment until it is emptied.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "executor/executor.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "topic.h"

typedef struct KnownLow
{
	Oid			segment;		/* key */
	Oid			file;			/* its relfilenode then */
	int64		low;
} KnownLow;

static HTAB *lows = NULL;

/* ---- the lowest id of a segment ---- */

static KnownLow *
known_low(Oid segment)
{
	KnownLow   *known;
	bool		found;

	if (lows == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(KnownLow), .hcxt = TopMemoryContext};

		lows = hash_create("dbos lowest ids of segments", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	known = hash_search(lows, &segment, HASH_ENTER, &found);
	if (!found)
		known->file = InvalidOid;
	return known;
}

/* False when it has nothing up to hi, which is below the horizon. */
static bool
lowest_id(DbosSegment *segment, int64 hi, int64 *low)
{
	Relation	relation = table_open(segment->relation, AccessShareLock);
	Oid			file = relation->rd_rel->relfilenode;
	bool		empty = RelationGetNumberOfBlocks(relation) == 0;
	KnownLow   *known = known_low(segment->relation);
	TimestampTz ignored;

	table_close(relation, AccessShareLock);
	if (empty)
		return false;
	if (known->file != file)
	{
		if (!dbos_segment_edge(segment, ForwardScanDirection, NULL, low, &ignored) || *low > hi)
			return false;
		/* On a standby nobody says what is decided. */
		known->file = RecoveryInProgress() ? InvalidOid : file;
		known->low = *low;
	}
	*low = known->low;
	return *low <= hi;
}

/* ---- the scan ---- */

/* Opens the segment that begins next. */
static void
open_next(DbosTopicScan *scan)
{
	DbosTopicLater *later = &scan->later[--scan->nlater];
	DbosSegmentScan *opened = &scan->segments[scan->nsegments];

	dbos_segment_scan_begin(opened, &later->segment, scan->snapshot, scan->lo, scan->hi, AccessShareLock);
	if (opened->more)
		scan->nsegments++;
	else
		dbos_segment_scan_end(opened);
}

/* Which segment has the message that comes next. */
static void
choose(DbosTopicScan *scan)
{
	for (;;)
	{
		scan->at = NULL;
		for (int i = 0; i < scan->nsegments; i++)
		{
			int64		id = dbos_slot_int64(scan->segments[i].slot, MESSAGE_ID);

			if (scan->at == NULL || id < scan->id)
			{
				scan->at = &scan->segments[i];
				scan->id = id;
			}
		}
		if (scan->nlater == 0 || (scan->at != NULL && scan->id < scan->later[scan->nlater - 1].low))
			return;
		open_next(scan);
	}
}

static int
compare_later(const void *a, const void *b)
{
	int64		left = ((const DbosTopicLater *) a)->low;
	int64		right = ((const DbosTopicLater *) b)->low;

	return left > right ? -1 : left < right;
}

/* Messages with ids from lo to hi, which is below the horizon; the snapshot is the active one. */
void
dbos_topic_scan_begin(DbosTopicScan *scan, const DbosMailbox *topic, int64 lo, int64 hi)
{
	int			count = topic->nsegments;

	scan->snapshot = GetActiveSnapshot();
	scan->lo = lo;
	scan->hi = hi;
	scan->nsegments = 0;
	scan->segments = palloc(sizeof(DbosSegmentScan) * Max(count, 1));
	scan->nlater = 0;
	scan->later = palloc(sizeof(DbosTopicLater) * Max(count, 1));
	/* Copies: what is known of the topic may be read anew while the segments are opened. */
	for (int i = 0; i < count; i++)
		scan->later[i].segment = topic->segments[i];
	for (int i = 0; i < count; i++)
	{
		DbosSegment segment = scan->later[i].segment;
		int64		low;

		if (lowest_id(&segment, hi, &low))
			scan->later[scan->nlater++] = (DbosTopicLater) {.segment = segment, .low = low};
	}
	qsort(scan->later, scan->nlater, sizeof(DbosTopicLater), compare_later);
	choose(scan);
}

void
dbos_topic_scan_next(DbosTopicScan *scan)
{
	int			number = scan->at - scan->segments;

	dbos_segment_scan_next(scan->at);
	if (!scan->at->more)
	{
		dbos_segment_scan_end(scan->at);
		scan->segments[number] = scan->segments[--scan->nsegments];
		choose(scan);
		return;
	}
	scan->id = dbos_slot_int64(scan->at->slot, MESSAGE_ID);
	/* Mostly it goes on in one segment. */
	if (scan->nsegments > 1 || (scan->nlater > 0 && scan->id >= scan->later[scan->nlater - 1].low))
		choose(scan);
}

void
dbos_topic_scan_end(DbosTopicScan *scan)
{
	for (int i = 0; i < scan->nsegments; i++)
		dbos_segment_scan_end(&scan->segments[i]);
	pfree(scan->segments);
	pfree(scan->later);
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
