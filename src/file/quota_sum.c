/*
 * quota_sum.c
 *	  What is used of a quota, and what a transaction adds to each.
 *
 * The sum to add is, for a directory that stays where it is, the difference in this transaction.  One that
 * has come to lie below other directories, or is gone, takes what it had before away from the quotas it was
 * under, and brings what it has now to those it is under.  What was before is what a snapshot shows that
 * leaves out all that this transaction has done.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "quota.h"

/* ---- where directories lie ---- */

/* What has been committed by now, without what this transaction has done; to be popped. */
static Snapshot
before_this_transaction(void)
{
	PushCopiedSnapshot(GetLatestSnapshot());
	GetActiveSnapshot()->curcid = FirstCommandId;
	return GetActiveSnapshot();
}

/* The directory that it lies in; 0: in none. */
static int64
parent_of(int64 directory, Snapshot snapshot)
{
	DbosEntryScan scan;
	DbosEntry	entry;
	int64		parent = 0;

	dbos_parents_scan_begin(&scan, directory, snapshot, FOREVER);
	if (dbos_entry_scan_next(&scan, &entry))
		parent = entry.parent;
	dbos_entry_scan_end(&scan);
	return parent;
}

bool
dbos_directory_is_there(int64 directory, Snapshot snapshot)
{
	DbosInode	inode;

	return dbos_inode_read(directory, snapshot, FOREVER, &inode);
}

/* Numbers of the quotas of the directory and of those above it; *there: whether it is. */
List *
dbos_quotas_above(int64 directory, Snapshot snapshot, bool *there)
{
	List	   *above = NIL;
	int64		parent = parent_of(directory, snapshot);

	*there = parent != 0 || dbos_directory_is_there(directory, snapshot);
	while (*there && directory != 0)
	{
		int			number = dbos_quota_find(directory, InvalidOid);

		CHECK_FOR_INTERRUPTS();
		if (number >= 0)
			above = lappend_int(above, number);
		directory = parent;
		if (directory != 0)
			parent = parent_of(directory, snapshot);
	}
	return above;
}

/* ---- sums ---- */

static void
add_row(void *arg, const DbosUsage *row)
{
	DbosQuotaUse *use = arg;

	use->bytes += row->bytes;
	use->files += row->names + row->directories;
}

/* Calls back for each directory below that one, and for it. */
static void
visit_below(int64 directory, Snapshot snapshot, void (*each) (void *arg, int64 directory), void *arg)
{
	List	   *queue = list_make1(palloc(sizeof(int64)));

	*(int64 *) linitial(queue) = directory;
	while (queue != NIL)
	{
		int64	   *at = llast(queue);
		int64		number = *at;
		DbosEntryScan scan;
		DbosEntry	entry;

		queue = list_delete_last(queue);
		pfree(at);
		each(arg, number);
		dbos_directories_scan_begin(&scan, number, snapshot, FOREVER);
		while (dbos_entry_scan_next(&scan, &entry))
		{
			CHECK_FOR_INTERRUPTS();
			at = palloc(sizeof(int64));
			*at = entry.child;
			queue = lappend(queue, at);
		}
		dbos_entry_scan_end(&scan);
	}
}

typedef struct Counting
{
	Snapshot	snapshot;
	DbosQuotaUse *use;
} Counting;

static void
count_directory(void *arg, int64 directory)
{
	Counting   *counting = arg;

	dbos_usage_rows(directory, counting->snapshot, add_row, counting->use);
}

static void
count_owned(DbosTableName name, Oid role, Snapshot snapshot, DbosQuotaUse *use)
{
	DbosTable	table;
	TableScanDesc scan;

	dbos_table_open(&table, name, AccessShareLock);
	scan = table_beginscan(table.heap, snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, table.slot))
	{
		DbosUsage	row;

		CHECK_FOR_INTERRUPTS();
		dbos_usage_fill(&table, &row);
		if (row.owner != role)
			continue;
		use->bytes += row.file_bytes;
		use->files += row.files + row.directories;
	}
	table_endscan(scan);
	dbos_table_close(&table);
}

/* What is used of it, without what this transaction has done; for a new quota, with the lock of all. */
void
dbos_quota_count(const DbosQuota *quota, DbosQuotaUse *use)
{
	Snapshot	snapshot = before_this_transaction();
	Counting	counting;

	memset(use, 0, sizeof(DbosQuotaUse));
	counting = (Counting) {snapshot, use};
	if (quota->directory != 0)
		visit_below(quota->directory, snapshot, count_directory, &counting);
	else
	{
		count_owned(TABLE_USAGE, quota->role, snapshot, use);
		count_owned(TABLE_CHANGE, quota->role, snapshot, use);
	}
	PopActiveSnapshot();
}

/* ---- what this transaction adds ---- */

typedef struct Place
{
	int64		directory;
	uint32		status;
	bool		moved;
	DbosQuotaUse change;
} Place;

#define SH_PREFIX places
#define SH_ELEMENT_TYPE Place
#define SH_KEY_TYPE int64
#define SH_KEY directory
#define SH_HASH_KEY(tb, key) murmurhash32((uint32) (key) ^ (uint32) ((key) >> 32))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct Adding
{
	places_hash *places;
	DbosQuotaUse *added;		/* to each quota */
	Snapshot	before;
	Snapshot	now;
} Adding;

static Place *
place_of(Adding *adding, int64 directory)
{
	bool		found;
	Place	   *place = places_insert(adding->places, directory, &found);

	if (!found)
	{
		place->moved = false;
		memset(&place->change, 0, sizeof(DbosQuotaUse));
	}
	return place;
}

static void
add_change(void *arg, const DbosUsage *change)
{
	Adding	   *adding = arg;
	int			number = dbos_quota_find(0, change->owner);

	if (number >= 0)
	{
		adding->added[number].bytes += change->file_bytes;
		adding->added[number].files += change->files + change->directories;
	}
	if (dbos_quota_of_directories())
		add_row(&place_of(adding, change->directory)->change, change);
}

static void
add_moved(void *arg, int64 directory)
{
	place_of(arg, directory)->moved = true;
}

static void
add_to(Adding *adding, List *numbers, const DbosQuotaUse *use, int sign)
{
	ListCell   *cell;

	foreach(cell, numbers)
	{
		adding->added[lfirst_int(cell)].bytes += sign * use->bytes;
		adding->added[lfirst_int(cell)].files += sign * use->files;
	}
}

static void
add_place(Adding *adding, const Place *place)
{
	DbosQuotaUse had = {0};
	DbosQuotaUse has = place->change;
	bool		there;
	List	   *above = dbos_quotas_above(place->directory, adding->now, &there);

	if (!place->moved && there)
	{
		add_to(adding, above, &has, 1);
		return;
	}
	dbos_usage_rows(place->directory, adding->before, add_row, &had);
	has.bytes += had.bytes;
	has.files += had.files;
	add_to(adding, above, &has, 1);
	add_to(adding, dbos_quotas_above(place->directory, adding->before, &there), &had, -1);
}

/* What this transaction adds to each quota. */
void
dbos_quota_added(DbosQuotaUse *added, int count, List *moved)
{
	Adding		adding = {.added = added};
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "dbos quota", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	places_iterator iterator;
	Place	   *place;
	ListCell   *cell;

	memset(added, 0, sizeof(DbosQuotaUse) * count);
	adding.before = before_this_transaction();
	PushCopiedSnapshot(adding.before);
	UpdateActiveSnapshotCommandId();
	adding.now = GetActiveSnapshot();
	adding.places = places_create(context, 64, NULL);
	dbos_usage_pending(add_change, &adding);
	if (dbos_quota_of_directories())
	{
		foreach(cell, moved)
			visit_below(*(int64 *) lfirst(cell), adding.before, add_moved, &adding);
	}
	places_start_iterate(adding.places, &iterator);
	while ((place = places_iterate(adding.places, &iterator)) != NULL)
		add_place(&adding, place);
	PopActiveSnapshot();
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
