/*
 * extent.c
 *	  Rows of dbos.extent: which chunks a file has, and in which epochs.
 *
 * An extent is a run of chunks of a file whose ids are one after the other, CHUNKS_AT_ONCE at
 * most, so that who looks for those of a place in the file, or for those that
 * name a chunk, knows where they may begin.  What no extent covers is a hole.
 *
 * A chunk is private to its file as long as no snapshot and no copy shows it: then it is
 * overwritten and deleted.  Otherwise it stays as it is; when an extent lets go of it, it is noted in
 * dbos.freed_extent, and the background deletes it once no row names it (reclaim.c).
 *
 * Who changes the extents of a file has its row of dbos.inode locked.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "utils/snapmgr.h"

#include "file.h"
#include "reclaim.h"

static void
fill(DbosTable *table, DbosExtent *extent)
{
	Datum	   *values;

	slot_getallattrs(table->slot);
	values = table->slot->tts_values;
	extent->inode = DatumGetInt64(values[EXTENT_INODE]);
	extent->died = DatumGetInt32(values[EXTENT_DIED]);
	extent->born = DatumGetInt32(values[EXTENT_BORN]);
	extent->start = DatumGetInt64(values[EXTENT_START]);
	extent->chunk = DatumGetInt64(values[EXTENT_CHUNK]);
	extent->count = DatumGetInt32(values[EXTENT_COUNT]);
	extent->written = DatumGetInt32(values[EXTENT_WRITTEN]);
	extent->shared = DatumGetBool(values[EXTENT_SHARED]);
	extent->tid = table->slot->tts_tid;
}

static void
form(const DbosExtent *extent, Datum *values, bool *nulls)
{
	memset(nulls, false, sizeof(bool) * EXTENT_COLUMNS);
	values[EXTENT_INODE] = Int64GetDatum(extent->inode);
	values[EXTENT_DIED] = Int32GetDatum(extent->died);
	values[EXTENT_BORN] = Int32GetDatum(extent->born);
	values[EXTENT_START] = Int64GetDatum(extent->start);
	values[EXTENT_CHUNK] = Int64GetDatum(extent->chunk);
	values[EXTENT_COUNT] = Int32GetDatum(extent->count);
	values[EXTENT_WRITTEN] = Int32GetDatum(extent->written);
	values[EXTENT_SHARED] = BoolGetDatum(extent->shared);
}

/* ---- reading ---- */

/* Those that have chunks in [start, end); now in their order, in an epoch in any. */
void
dbos_extent_scan_begin(DbosExtentScan *scan, int64 inode, int64 start, int64 end, Snapshot snapshot, int32 at_epoch)
{
	bool		live = at_epoch == FOREVER;
	Datum		key[3] = {Int64GetDatum(inode), Int32GetDatum(live ? FOREVER : at_epoch + 1), Int64GetDatum(start - (CHUNKS_AT_ONCE - 1))};

	scan->at_epoch = at_epoch;
	scan->start = start;
	scan->end = end;
	dbos_table_open(&scan->table, TABLE_EXTENT, AccessShareLock);
	dbos_scan_begin(&scan->scan, &scan->table, 0, snapshot, key, live ? 3 : 2, true);
}

bool
dbos_extent_scan_next(DbosExtentScan *scan, DbosExtent *extent)
{
	bool		live = scan->at_epoch == FOREVER;

	while (dbos_scan_next(&scan->scan))
	{
		fill(&scan->table, extent);
		if (live && extent->start >= scan->end)
			return false;
		if (extent->start < scan->end && extent->start + extent->count > scan->start && (live || extent->born <= scan->at_epoch))
			return true;
	}
	return false;
}

void
dbos_extent_scan_end(DbosExtentScan *scan)
{
	dbos_scan_end(&scan->scan);
	dbos_table_close(&scan->table);
}

/* ---- writing ---- */

void
dbos_extent_insert(const DbosExtent *extent)
{
	DbosTable	table;
	Datum		values[EXTENT_COLUMNS];
	bool		nulls[EXTENT_COLUMNS];

	form(extent, values, nulls);
	dbos_table_open(&table, TABLE_EXTENT, RowExclusiveLock);
	(void) dbos_table_insert(&table, values, nulls, UNIQUE_RAISE);
	dbos_table_close(&table);
}

static void
update(const DbosExtent *extent, Snapshot snapshot, DbosUpdate how)
{
	DbosTable	table;
	Datum		values[EXTENT_COLUMNS];
	bool		nulls[EXTENT_COLUMNS];
	ItemPointerData tid = extent->tid;

	form(extent, values, nulls);
	dbos_table_open(&table, TABLE_EXTENT, RowExclusiveLock);
	if (!dbos_table_update(&table, &tid, values, nulls, snapshot, how))
		elog(ERROR, "extent of inode " INT64_FORMAT " was changed by who has not locked the inode", extent->inode);
	dbos_table_close(&table);
}

/* Its count, or that it is shared: what it shows to a snapshot stays the same. */
void
dbos_extent_update(DbosExtent *extent, Snapshot snapshot)
{
	update(extent, snapshot, UPDATE);
}

bool
dbos_extent_private(const DbosExtent *extent)
{
	return !extent->shared && !dbos_seen_by_snapshot(extent->written, FOREVER);
}

/* Nobody knows whether others have these chunks too. */
void
dbos_extent_note_freed(int64 chunk, int count)
{
	DbosTable	table;
	Datum		values[2] = {Int64GetDatum(chunk), Int32GetDatum(count)};
	bool		nulls[2] = {false, false};

	dbos_table_open(&table, TABLE_FREED, RowExclusiveLock);
	(void) dbos_table_insert(&table, values, nulls, UNIQUE_RAISE);
	dbos_table_close(&table);
	dbos_reclaim_want();
}

static void
insert_part(const DbosExtent *extent, int64 start, int64 end)
{
	DbosExtent	part = *extent;

	if (start >= end)
		return;
	part.born = dbos_epoch();
	part.start = start;
	part.chunk = extent->chunk + (start - extent->start);
	part.count = (int) (end - start);
	dbos_extent_insert(&part);
}

/* The file has the chunks in [start, end) no more; those before and after it has. */
void
dbos_extent_cut(DbosExtent *extent, int64 start, int64 end, Snapshot snapshot)
{
	int64		from = Max(start, extent->start);
	int64		to = Min(end, extent->start + extent->count);
	int64		chunk = extent->chunk + (from - extent->start);

	if (dbos_seen_by_snapshot(extent->born, dbos_epoch()))
	{
		DbosExtent	ended = *extent;

		ended.died = dbos_epoch();
		update(&ended, snapshot, UPDATE_KEY);
	}
	else
	{
		DbosTable	table;

		dbos_table_open(&table, TABLE_EXTENT, RowExclusiveLock);
		(void) dbos_table_delete(&table, &extent->tid, snapshot);
		dbos_table_close(&table);
		if (dbos_extent_private(extent))
			(void) dbos_chunks_delete(chunk, (int) (to - from), snapshot);
		else
			dbos_extent_note_freed(chunk, (int) (to - from));
	}
	insert_part(extent, extent->start, from);
	insert_part(extent, to, extent->start + extent->count);
}
