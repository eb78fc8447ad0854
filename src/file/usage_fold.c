/*
 * usage_fold.c
 *	  Differences that transactions have left are added up: dbos.directory_change into dbos.directory_usage.
 *
 * A round is one transaction: it takes some rows of differences, adds them to the sums of their directories and
 * owners, and deletes them.  So every snapshot sees the same totals before and after.  Who writes files only
 * adds rows of differences, and nobody else writes the sums: nobody waits, but for another one who
 * folds.  Sums of a directory that is gone are deleted when its last difference is folded, which
 * its removal has left (dbos_usage_inherit).
 *
 * The background does it (duty.c) when somebody has told that rows have gathered, and once more
 * after it has found some; while nothing happens it is not called.  The dead rows of the differences it has
 * vacuumed itself: at thousands of commits a second they would be hundreds of megabytes before
 * autovacuum looks at them.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "reuse.h"
#include "usage.h"

PG_FUNCTION_INFO_V1(dbos_fold_usage);

/* Rows in a transaction. */
#define ROWS_AT_ONCE 10000
/* The background looks no more often than that, and once more that long after it has found some. */
#define LOOK_MS 1000
#define LOOK_AGAIN_MS 5000
/* A session tells when it has left so many, or after that time. */
#define WANT_ROWS 200
#define WANT_MS 5000
/* Dead rows are vacuumed when there are so many, and no more often than that. */
#define VACUUM_ROWS 20000
#define VACUUM_MS 5000
/* All pages are looked at after that many times the time it took. */
#define WHOLE_SHARE 20

typedef struct SumKey
{
	int64		directory;
	int64		owner;			/* an Oid, without padding */
} SumKey;

typedef struct Sum
{
	SumKey		key;
	uint32		status;
	DbosUsage	usage;
} Sum;

#define SH_PREFIX sums
#define SH_ELEMENT_TYPE Sum
#define SH_KEY_TYPE SumKey
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) &(key), sizeof(SumKey))
#define SH_EQUAL(tb, a, b) ((a).directory == (b).directory && (a).owner == (b).owner)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* ---- a round ---- */

/* One folds at a time; the lock is held to the end of the transaction. */
static bool
lock_fold(bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, dbos_relation_oid("directory_usage"), 0, 1);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

typedef struct Harvest
{
	sums_hash  *sums;
	ItemPointerData *rows;
	int			count;
} Harvest;

/* Up to limit rows from that block on; *from: the block of the first. */
static void
gather(DbosTable *change, BlockNumber *from, int limit, Snapshot snapshot, Harvest *harvest)
{
	ItemPointerData first;
	ItemPointerData last;
	TableScanDesc scan;

	ItemPointerSet(&first, *from, FirstOffsetNumber);
	ItemPointerSet(&last, MaxBlockNumber, MaxOffsetNumber);
	scan = table_beginscan_tidrange(change->heap, snapshot, &first, &last);
	while (harvest->count < limit && table_scan_getnextslot_tidrange(scan, ForwardScanDirection, change->slot))
	{
		DbosUsage	row;
		SumKey		key;
		Sum		   *sum;
		bool		found;

		dbos_usage_fill(change, &row);
		key.directory = row.directory;
		key.owner = row.owner;
		sum = sums_insert(harvest->sums, key, &found);
		if (found)
			dbos_usage_sum(&sum->usage, &row);
		else
			sum->usage = row;
		if (harvest->count == 0)
			*from = ItemPointerGetBlockNumber(&change->slot->tts_tid);
		harvest->rows[harvest->count++] = change->slot->tts_tid;
		CHECK_FOR_INTERRUPTS();
	}
	table_endscan(scan);
}

static bool
directory_is_there(int64 directory, Snapshot snapshot)
{
	DbosTable	table;
	Datum		key[2] = {Int64GetDatum(directory), Int32GetDatum(FOREVER)};
	bool		there;

	dbos_table_open(&table, TABLE_INODE, AccessShareLock);
	there = dbos_table_find(&table, 0, snapshot, key, 2);
	dbos_table_close(&table);
	return there;
}

static void
changed_meanwhile(void)
{
	dbos_conflict();
	elog(ERROR, "usage of directories was changed by who has not locked it");
}

static void
add_to_usage(DbosTable *usage, const DbosUsage *change, Snapshot snapshot)
{
	static const bool nulls[USAGE_COLUMNS] = {false};
	Datum		key[2] = {Int64GetDatum(change->directory), ObjectIdGetDatum(change->owner)};
	Datum		values[USAGE_COLUMNS];
	DbosUsage	sum;
	ItemPointerData tid;

	if (!dbos_table_find(usage, 0, snapshot, key, 2))
	{
		dbos_usage_values(change, values);
		if (!dbos_table_insert(usage, values, nulls, UNIQUE_TELL))
			changed_meanwhile();
		return;
	}
	dbos_usage_fill(usage, &sum);
	tid = usage->slot->tts_tid;
	dbos_usage_sum(&sum, change);
	dbos_usage_values(&sum, values);
	if (!dbos_table_update(usage, &tid, values, nulls, snapshot, UPDATE))
		changed_meanwhile();
}

static void
forget_directory(DbosTable *usage, int64 directory, Snapshot snapshot)
{
	DbosTableScan scan;
	Datum		key = Int64GetDatum(directory);
	List	   *rows = NIL;
	ListCell   *cell;

	dbos_scan_begin(&scan, usage, 0, snapshot, &key, 1, false);
	while (dbos_scan_next(&scan))
	{
		ItemPointer tid = palloc(sizeof(ItemPointerData));

		*tid = usage->slot->tts_tid;
		rows = lappend(rows, tid);
	}
	dbos_scan_end(&scan);
	foreach(cell, rows)
		if (!dbos_table_delete(usage, lfirst(cell), snapshot))
		changed_meanwhile();
}

/* Each directory once, in the order of their numbers: the next ones are looked up where the last were. */
static int
compare_sums(const void *left, const void *right)
{
	const Sum  *a = *(Sum *const *) left;
	const Sum  *b = *(Sum *const *) right;

	if (a->key.directory != b->key.directory)
		return a->key.directory < b->key.directory ? -1 : 1;
	return a->key.owner < b->key.owner ? -1 : a->key.owner > b->key.owner;
}

static void
apply(Harvest *harvest, Snapshot snapshot)
{
	Sum		  **sorted = palloc(sizeof(Sum *) * harvest->sums->members);
	int			count = 0;
	sums_iterator iterator;
	Sum		   *sum;
	DbosTable	usage;
	int64		directory = 0;
	bool		there = false;

	sums_start_iterate(harvest->sums, &iterator);
	while ((sum = sums_iterate(harvest->sums, &iterator)) != NULL)
		sorted[count++] = sum;
	qsort(sorted, count, sizeof(Sum *), compare_sums);
	dbos_table_open(&usage, TABLE_USAGE, RowExclusiveLock);
	for (int i = 0; i < count; i++)
	{
		sum = sorted[i];
		CHECK_FOR_INTERRUPTS();
		if (i == 0 || sum->key.directory != directory)
		{
			directory = sum->key.directory;
			there = directory_is_there(directory, snapshot);
			if (!there)
				forget_directory(&usage, directory, snapshot);
		}
		if (there)
			add_to_usage(&usage, &sum->usage, snapshot);
	}
	dbos_table_close(&usage);
}

static int
fold_from(BlockNumber *from, int limit, bool wait)
{
	Harvest		harvest = {0};
	DbosTable	change;
	Snapshot	snapshot;
	MemoryContext old;
	MemoryContext round;

	if (!lock_fold(wait))
		return 0;
	round = AllocSetContextCreate(CurrentMemoryContext, "dbos usage", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(round);
	/* What was folded while we waited is seen; where the transaction has one snapshot, that stays the one. */
	PushCopiedSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() : GetLatestSnapshot());
	UpdateActiveSnapshotCommandId();
	snapshot = GetActiveSnapshot();
	harvest.sums = sums_create(round, 256, NULL);
	harvest.rows = palloc(sizeof(ItemPointerData) * limit);
	dbos_table_open(&change, TABLE_CHANGE, RowExclusiveLock);
	gather(&change, from, limit, snapshot, &harvest);
	apply(&harvest, snapshot);
	for (int i = 0; i < harvest.count; i++)
		if (!dbos_table_delete(&change, &harvest.rows[i], snapshot))
			changed_meanwhile();
	dbos_table_close(&change);
	PopActiveSnapshot();
	CommandCounterIncrement();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(round);
	return harvest.count;
}

/* dbos.fold_usage() → how many rows were folded: all that are committed */
Datum
dbos_fold_usage(PG_FUNCTION_ARGS)
{
	int64		total = 0;
	int			count;

	PreventCommandIfReadOnly("dbos.fold_usage()");
	do
	{
		BlockNumber from = 0;

		count = fold_from(&from, ROWS_AT_ONCE, true);
		total += count;
	} while (count == ROWS_AT_ONCE);
	PG_RETURN_INT64(total);
}

/* ---- the background ---- */

/* Where the background begins to look, so that it does not read dead rows over and over that cannot be removed yet. */
static BlockNumber look_from = 0;
static TimestampTz whole_at = 0;
static int64 dead = 0;
static TimestampTz vacuumed_at = 0;

static int
fold_round(TimestampTz now)
{
	bool		whole = now >= whole_at;
	int			count;

	if (whole)
		look_from = 0;
	count = fold_from(&look_from, ROWS_AT_ONCE, false);
	if (whole)
		whole_at = now + WHOLE_SHARE * (GetCurrentTimestamp() - now);
	dead += count;
	return count;
}

static void
fold_duty(DbosDutyResult *result)
{
	static TimestampTz looked_at = 0;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = TimestampTzPlusMilliseconds(looked_at, LOOK_MS);
	int			count;

	/* Objects of an older version do not have it. */
	if (!OidIsValid(get_relname_relid("directory_change", dbos_schema_oid(false))))
		return;
	if (now < next)
	{
		result->due = next;
		return;
	}
	count = fold_round(now);
	result->more = count == ROWS_AT_ONCE;
	if (result->more)
		return;
	looked_at = now;
	if (count > 0)
		result->due = TimestampTzPlusMilliseconds(now, LOOK_AGAIN_MS);
	if (dead >= VACUUM_ROWS && now >= TimestampTzPlusMilliseconds(vacuumed_at, VACUUM_MS))
	{
		dead = 0;
		vacuumed_at = now;
		whole_at = 0;
		/* Who waits for the end of the table would keep all else waiting. */
		dbos_vacuum("directory_change", false);
	}
}

/* At the end of a transaction that has left so many rows; neither allocates nor raises. */
void
dbos_fold_want(int rows)
{
	static int64 gathered = 0;
	static TimestampTz wanted_at = 0;
	TimestampTz now = GetCurrentTransactionStopTimestamp();

	gathered += rows;
	if (gathered < WANT_ROWS && now < wanted_at + WANT_MS * INT64CONST(1000))
		return;
	gathered = 0;
	wanted_at = now;
	dbos_duty_want();
}

static const DbosDuty duty = {
	.what = "usage of directories",
	.run = fold_duty,
};

void
dbos_fold_duty_register(void)
{
	dbos_duty_register(&duty);
}
