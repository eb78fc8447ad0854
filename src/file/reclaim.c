/*
 * reclaim.c
 *	  Versions that no snapshot shows any more, and chunks that no file has any more, are deleted.
 *
 * A version has ended in epoch died, and is garbage when no snapshot has an epoch in [born, died).  None ever will:
 * a new snapshot is of the last epoch (epoch.c).  Ended versions have an index by died and born, so
 * that those of one died that are garbage lie side by side: they are born after the newest snapshot
 * before it.  What snapshots still show is not looked at, however much it is.
 *
 * A snapshot counts as long as its drop is not committed, and as soon as it has a row, committed or not.  The last epoch is
 * read before the snapshots are: whoever takes one after that shows nothing that has ended up to then.
 *
 * When an extent lets go of chunks that others may have, it says so in dbos.freed_extent; and so does an ended version of
 * an extent that is deleted here.  Of those chunks that no row of dbos.extent names the rows are deleted.  A row that
 * is inserted or deleted by a transaction that runs counts as one that names them.  The note is deleted in any
 * case: whoever names the chunks still is going to delete them itself, or to make such a note, when it lets go of
 * them.  Nobody can come to name them after that look, since chunks are shared by somebody whose file, or
 * whose snapshot, names them, and who keeps that from being changed.
 *
 * One at a time does this, and a transaction does a bounded part of it: what it has not done is found by the
 * next one, also after a crash.  It holds no epoch: neither does it wait for snapshots, nor they for it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lock.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "file.h"
#include "names.h"
#include "reclaim.h"

PG_FUNCTION_INFO_V1(dbos_reclaim_files);

/* In one transaction: the process that does it in the background has more to do. */
#define VERSIONS_AT_ONCE 2000
#define NOTES_AT_ONCE 32
#define CHUNKS_OF_NOTES 1024
/* The background looks no more often than that, */
#define LOOK_MS 1000
/* so long after it has deleted chunks, for the pages that they had, */
#define LOOK_FOR_PAGES_MS 5000
/* and that often where snapshots have been taken: a prepared transaction tells nobody when it is committed. */
#define LOOK_AGAIN_MS 60000

typedef struct Reclaimed
{
	int64		versions;
	int64		chunks;
	bool		more;			/* the limit was reached */
} Reclaimed;

/* ---- versions ---- */

static const DbosTableName versioned[] = {TABLE_EXTENT, TABLE_INODE, TABLE_ENTRY, TABLE_XATTR};

/* Epochs of snapshots, also of those that are being taken or dropped, from the newest to the oldest. */
static List *
snapshot_epochs(void)
{
	DbosTable	table;
	DbosTableScan scan;
	SnapshotData dirty;
	List	   *epochs = NIL;
	Datum		key = Int32GetDatum(0);

	InitDirtySnapshot(dirty);
	dbos_table_open(&table, TABLE_SNAPSHOT, AccessShareLock);
	dbos_scan_begin(&scan, &table, 0, &dirty, &key, 1, true);
	while (dbos_scan_next(&scan))
		epochs = lcons_int(DatumGetInt32(dbos_column(&table, SNAPSHOT_EPOCH)), epochs);
	dbos_scan_end(&scan);
	dbos_table_close(&table);
	return epochs;
}

/* The newest snapshot that is older than that; 0: there is none. */
static int32
newest_before(List *epochs, int32 died)
{
	ListCell   *cell;

	foreach(cell, epochs)
		if (lfirst_int(cell) < died)
			return lfirst_int(cell);
	return 0;
}

/* The first epoch from that one on in which versions have ended. */
static bool
next_died(DbosTable *table, Snapshot snapshot, int32 from, int32 *died)
{
	Datum		key = Int32GetDatum(from);

	if (!dbos_table_find_from(table, dbos_table_ended_index(table), snapshot, &key, 1))
		return false;
	*died = dbos_table_died(table);
	return true;
}

/* Those that have ended in that epoch and were born after the other. */
static void
delete_versions(DbosTable *table, DbosTableName name, Snapshot snapshot, int32 died, int32 born_after, int64 limit, Reclaimed *sum)
{
	Datum		key[2] = {Int32GetDatum(died), Int32GetDatum(born_after + 1)};
	DbosTableScan scan;

	dbos_scan_begin(&scan, table, dbos_table_ended_index(table), snapshot, key, 2, true);
	while (dbos_scan_next(&scan))
	{
		ItemPointerData tid = table->slot->tts_tid;

		CHECK_FOR_INTERRUPTS();
		if (sum->versions >= limit)
		{
			sum->more = true;
			break;
		}
		if (!dbos_table_delete(table, &tid, snapshot))
			continue;
		sum->versions++;
		if (name == TABLE_EXTENT)
			dbos_extent_note_freed(DatumGetInt64(dbos_column(table, EXTENT_CHUNK)), DatumGetInt32(dbos_column(table, EXTENT_COUNT)));
	}
	dbos_scan_end(&scan);
}

static void
reclaim_versions(Snapshot snapshot, int64 limit, Reclaimed *sum)
{
	int32		last = dbos_epoch_last();
	List	   *epochs = snapshot_epochs();

	for (int i = 0; i < lengthof(versioned) && !sum->more; i++)
	{
		DbosTable	table;
		int32		died;

		dbos_table_open(&table, versioned[i], RowExclusiveLock);
		for (int32 from = 0; !sum->more && next_died(&table, snapshot, from, &died) && died <= last; from = died + 1)
			delete_versions(&table, versioned[i], snapshot, died, newest_before(epochs, died), limit, sum);
		dbos_table_close(&table);
	}
}

/* ---- chunks ---- */

typedef struct Note
{
	ItemPointerData tid;
	int64		chunk;
	int			count;
} Note;

static int
read_notes(Snapshot snapshot, Note *notes, int limit)
{
	DbosTable	table;
	TableScanDesc scan;
	int			count = 0;

	dbos_table_open(&table, TABLE_FREED, AccessShareLock);
	scan = table_beginscan(table.heap, snapshot, 0, NULL);
	while (count < limit && table_scan_getnextslot(scan, ForwardScanDirection, table.slot))
		notes[count++] = (Note) {table.slot->tts_tid, DatumGetInt64(dbos_column(&table, 0)), DatumGetInt32(dbos_column(&table, 1))};
	table_endscan(scan);
	dbos_table_close(&table);
	return count;
}

static void
note_used(DbosTable *table, Snapshot snapshot, int64 first, int count, bool *used, int *nused)
{
	Datum		key = Int64GetDatum(first - (CHUNKS_AT_ONCE - 1));
	DbosTableScan scan;

	dbos_scan_begin(&scan, table, 1, snapshot, &key, 1, true);
	while (*nused < count && dbos_scan_next(&scan))
	{
		int64		begin = DatumGetInt64(dbos_column(table, EXTENT_CHUNK)) - first;
		int64		end = Min(begin + DatumGetInt32(dbos_column(table, EXTENT_COUNT)), count);

		CHECK_FOR_INTERRUPTS();
		if (begin >= count)
			break;
		for (int64 i = Max(begin, 0); i < end; i++)
		{
			*nused += !used[i];
			used[i] = true;
		}
	}
	dbos_scan_end(&scan);
}

/*
 * Which of the chunks some extent names; returns how many.  Looked for twice: a row that somebody changes, or puts
 * others in the place of, and commits while the first scan goes on is missed by that (table.c), and found with the
 * latest snapshot.
 */
static int
find_used(int64 first, int count, bool *used)
{
	DbosTable	table;
	SnapshotData dirty;
	int			nused = 0;

	memset(used, false, count);
	InitDirtySnapshot(dirty);
	dbos_table_open(&table, TABLE_EXTENT, AccessShareLock);
	note_used(&table, &dirty, first, count, used, &nused);
	PushActiveSnapshot(GetLatestSnapshot());
	note_used(&table, GetActiveSnapshot(), first, count, used, &nused);
	PopActiveSnapshot();
	dbos_table_close(&table);
	return nused;
}

static void
delete_unused(int64 first, int count, Snapshot snapshot, Reclaimed *sum)
{
	bool		used[CHUNKS_AT_ONCE];

	if (find_used(first, count, used) == count)
		return;
	for (int begin = 0; begin < count;)
	{
		int			end = begin;

		while (end < count && !used[end])
			end++;
		if (end > begin)
			sum->chunks += dbos_chunks_delete(first + begin, end - begin, snapshot);
		begin = end + 1;
	}
}

static void
reclaim_chunks(Snapshot snapshot, Reclaimed *sum)
{
	Note		notes[NOTES_AT_ONCE];
	int			count = read_notes(snapshot, notes, NOTES_AT_ONCE);
	int64		looked_at = 0;
	int			done;

	for (done = 0; done < count && looked_at < CHUNKS_OF_NOTES; done++)
	{
		Note	   *note = &notes[done];
		DbosTable	table;

		for (int at = 0; at < note->count; at += CHUNKS_AT_ONCE)
			delete_unused(note->chunk + at, Min(note->count - at, CHUNKS_AT_ONCE), snapshot, sum);
		looked_at += note->count;
		dbos_table_open(&table, TABLE_FREED, RowExclusiveLock);
		(void) dbos_table_delete(&table, &note->tid, snapshot);
		dbos_table_close(&table);
		/* Chunks may be noted twice. */
		dbos_changed();
		snapshot = dbos_view_renew();
	}
	sum->more |= done < count || count == NOTES_AT_ONCE;
}

/* ---- a round ---- */

/* Held to the end of the transaction. */
static bool
lock_reclaim(bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, dbos_relation_oid("freed_extent"), 0, 1);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

static void
reclaim_round(Reclaimed *sum)
{
	Snapshot	snapshot = dbos_view_begin();
	int64		limit = sum->versions + VERSIONS_AT_ONCE;

	sum->more = false;
	reclaim_versions(snapshot, limit, sum);
	dbos_changed();
	snapshot = dbos_view_renew();
	reclaim_chunks(snapshot, sum);
	dbos_view_end();
	dbos_changed();
}

/* dbos.reclaim_files(OUT versions bigint, OUT chunks bigint): all that there is */
Datum
dbos_reclaim_files(PG_FUNCTION_ARGS)
{
	Reclaimed	sum = {0};
	Datum		values[2];
	bool		nulls[2] = {false, false};

	PreventCommandIfReadOnly("dbos.reclaim_files()");
	if (!dbos_file_superuser())
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied to reclaim files"),
				errhint("The background does it by itself."));
	(void) lock_reclaim(true);
	do
	{
		CHECK_FOR_INTERRUPTS();
		reclaim_round(&sum);
	} while (sum.more);
	values[0] = Int64GetDatum(sum.versions);
	values[1] = Int64GetDatum(sum.chunks);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(dbos_result_descriptor(fcinfo), values, nulls)));
}

/* ---- in the background ---- */

static bool wanted = false;

static void
tell_at_end(XactEvent event, void *arg)
{
	if (wanted && (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE))
		dbos_duty_want();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT)
		wanted = false;
}

void
dbos_reclaim_want(void)
{
	wanted = true;
}

/* Whether there may come to be something without anybody telling. */
static bool
look_again(void)
{
	DbosTable	table;
	bool		notes;

	dbos_table_open(&table, TABLE_FREED, AccessShareLock);
	notes = RelationGetNumberOfBlocks(table.heap) > 0;
	dbos_table_close(&table);
	return notes || dbos_epoch_last() > 1;
}

/* Pages whose chunks earlier rounds have deleted: who writes chunks finds them, also before a vacuum. */
static void
offer_pages(void)
{
	DbosTable	table;

	dbos_table_open(&table, TABLE_CHUNK, AccessShareLock);
	dbos_pages_reclaim(table.heap, CHUNKS_OF_NOTES);
	dbos_table_close(&table);
}

static void
reclaim_duty(DbosDutyResult *result)
{
	static TimestampTz look_at = 0;
	TimestampTz now = GetCurrentTimestamp();
	Reclaimed	sum = {0};

	if (now < look_at)
	{
		result->due = look_at;
		return;
	}
	/* Objects of an older version do not have it. */
	if (!OidIsValid(get_relname_relid("freed_extent", dbos_schema_oid(false))))
		return;
	look_at = TimestampTzPlusMilliseconds(now, LOOK_MS);
	if (!lock_reclaim(false))
	{
		result->due = look_at;
		return;
	}
	offer_pages();
	reclaim_round(&sum);
	/* Not told to ourselves: the round has dealt with what it noted, or there is more. */
	wanted = false;
	if (sum.more || sum.versions > 0)
	{
		look_at = 0;
		result->more = true;
	}
	else if (dbos_pages_left())
		result->due = TimestampTzPlusMilliseconds(now, LOOK_FOR_PAGES_MS);
	else if (look_again())
		result->due = TimestampTzPlusMilliseconds(now, LOOK_AGAIN_MS);
}

static const DbosDuty duty = {
	.what = "files",
	.run = reclaim_duty,
};

void
dbos_reclaim_duty_register(void)
{
	dbos_duty_register(&duty);
	RegisterXactCallback(tell_at_end, NULL);
}
