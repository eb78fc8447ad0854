/*
 * entry.c
 *	  Rows of dbos.directory_entry: a name in a directory, and which inode it is of.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "file.h"

static bytea *
name_datum(DbosName name)
{
	bytea	   *datum = palloc(VARHDRSZ + name.length);

	SET_VARSIZE(datum, VARHDRSZ + name.length);
	memcpy(VARDATA(datum), name.bytes, name.length);
	return datum;
}

/* name points into the slot's row. */
void
dbos_entry_fill(DbosTable *table, DbosEntry *entry)
{
	bytea	   *name;

	slot_getallattrs(table->slot);
	entry->parent = DatumGetInt64(table->slot->tts_values[ENTRY_PARENT]);
	entry->child = DatumGetInt64(table->slot->tts_values[ENTRY_CHILD]);
	entry->died = DatumGetInt32(table->slot->tts_values[ENTRY_DIED]);
	entry->born = DatumGetInt32(table->slot->tts_values[ENTRY_BORN]);
	entry->kind = DatumGetInt32(table->slot->tts_values[ENTRY_KIND]);
	name = DatumGetByteaPP(table->slot->tts_values[ENTRY_NAME]);
	entry->name.bytes = VARDATA_ANY(name);
	entry->name.length = VARSIZE_ANY_EXHDR(name);
	entry->tid = table->slot->tts_tid;
}

static void
form(const DbosEntry *entry, Datum *values, bool *nulls)
{
	memset(nulls, false, sizeof(bool) * ENTRY_COLUMNS);
	values[ENTRY_PARENT] = Int64GetDatum(entry->parent);
	values[ENTRY_CHILD] = Int64GetDatum(entry->child);
	values[ENTRY_DIED] = Int32GetDatum(entry->died);
	values[ENTRY_BORN] = Int32GetDatum(entry->born);
	values[ENTRY_KIND] = Int32GetDatum(entry->kind);
	values[ENTRY_NAME] = PointerGetDatum(name_datum(entry->name));
}

/* ---- one name ---- */

/* As it is in that epoch; FOREVER: as it is now.  The name is the one that was asked for. */
bool
dbos_entry_find(int64 parent, DbosName name, Snapshot snapshot, int32 at_epoch, DbosEntry *entry)
{
	Datum		key[3] = {Int64GetDatum(parent), PointerGetDatum(name_datum(name)), Int32GetDatum(at_epoch)};
	DbosTable	table;
	bool		found;

	dbos_table_open(&table, TABLE_ENTRY, AccessShareLock);
	if (at_epoch == FOREVER)
		found = dbos_table_find(&table, 0, snapshot, key, 3);
	else
	{
		key[2] = Int32GetDatum(at_epoch + 1);
		found = dbos_table_find_from(&table, 0, snapshot, key, 3) && DatumGetInt32(dbos_column(&table, ENTRY_BORN)) <= at_epoch;
	}
	if (found)
	{
		dbos_entry_fill(&table, entry);
		entry->name = name;
	}
	dbos_table_close(&table);
	return found;
}

/*
 * Nobody who writes in a later epoch may have had that name: both would be in the snapshot.  Asked once the
 * name is in the index: who makes it after that waits for us.
 */
static void
check_epoch(int64 parent, DbosName name)
{
	Datum		key[3] = {Int64GetDatum(parent), PointerGetDatum(name_datum(name)), Int32GetDatum(dbos_epoch() + 1)};
	DbosTable	table;
	SnapshotData dirty;
	bool		passed;

	if (dbos_epoch_is_last())
		return;
	InitDirtySnapshot(dirty);
	dbos_table_open(&table, TABLE_ENTRY, AccessShareLock);
	passed = dbos_table_find_from(&table, 0, &dirty, key, 3) && DatumGetInt32(dbos_column(&table, ENTRY_DIED)) != FOREVER;
	dbos_table_close(&table);
	if (passed)
		dbos_epoch_passed();
}

/* False: the name is there, or somebody is about to make it. */
bool
dbos_entry_insert(DbosEntry *entry)
{
	DbosTable	table;
	Datum		values[ENTRY_COLUMNS];
	bool		nulls[ENTRY_COLUMNS];
	bool		done;

	entry->died = FOREVER;
	entry->born = dbos_epoch();
	form(entry, values, nulls);
	dbos_table_open(&table, TABLE_ENTRY, RowExclusiveLock);
	done = dbos_table_insert(&table, values, nulls, UNIQUE_TELL);
	entry->tid = table.at;
	dbos_table_close(&table);
	if (done)
		check_epoch(entry->parent, entry->name);
	return done;
}

/*
 * Many, in directories that this transaction has made and nobody else sees; the rows are in the current
 * memory context afterwards.
 */
void
dbos_entries_insert(DbosEntry *entries, int count)
{
	DbosTable	table;
	Datum	   *values = palloc(sizeof(Datum) * ENTRY_COLUMNS * count);
	bool	   *nulls = palloc(sizeof(bool) * ENTRY_COLUMNS * count);

	for (int i = 0; i < count; i++)
	{
		entries[i].died = FOREVER;
		entries[i].born = dbos_epoch();
		form(&entries[i], values + i * ENTRY_COLUMNS, nulls + i * ENTRY_COLUMNS);
	}
	dbos_table_open(&table, TABLE_ENTRY, RowExclusiveLock);
	dbos_table_insert_rows(&table, values, nulls, count);
	dbos_table_close(&table);
}

/* Until nobody is about to make or remove that name; returns whether it is there then. */
bool
dbos_entry_await(int64 parent, DbosName name)
{
	Datum		key[3] = {Int64GetDatum(parent), PointerGetDatum(name_datum(name)), Int32GetDatum(FOREVER)};
	DbosTable	table;
	TransactionId other;
	bool		there;

	dbos_table_open(&table, TABLE_ENTRY, AccessShareLock);
	do
	{
		SnapshotData dirty;
		DbosTableScan scan;

		other = InvalidTransactionId;
		there = false;
		InitDirtySnapshot(dirty);
		dbos_scan_begin(&scan, &table, 0, &dirty, key, 3, false);
		while (!TransactionIdIsValid(other) && dbos_scan_next(&scan))
		{
			there = true;
			other = TransactionIdIsValid(dirty.xmin) ? dirty.xmin : dirty.xmax;
		}
		dbos_scan_end(&scan);
		if (TransactionIdIsValid(other))
			XactLockTableWait(other, NULL, NULL, XLTW_None);
	} while (TransactionIdIsValid(other));
	dbos_table_close(&table);
	return there;
}

static bool
update(DbosTable *table, const DbosEntry *entry, ItemPointer tid, Snapshot snapshot, DbosUpdate how)
{
	Datum		values[ENTRY_COLUMNS];
	bool		nulls[ENTRY_COLUMNS];

	form(entry, values, nulls);
	return dbos_table_update(table, tid, values, nulls, snapshot, how);
}

/* Before a row is changed. */
static void
check_change(const DbosEntry *entry)
{
	if (entry->born > dbos_epoch())
		dbos_epoch_passed();
	/* A path may have led over it. */
	if (entry->kind != S_IFREG >> 12)
		dbos_directories_changed();
}

/* False: the name was removed or moved since it was read. */
bool
dbos_entry_delete(DbosEntry *entry, Snapshot snapshot)
{
	DbosTable	table;
	bool		done;

	check_change(entry);
	dbos_table_open(&table, TABLE_ENTRY, RowExclusiveLock);
	if (dbos_seen_by_snapshot(entry->born, dbos_epoch()))
	{
		DbosEntry	ended = *entry;

		ended.died = dbos_epoch();
		done = update(&table, &ended, &entry->tid, snapshot, UPDATE_KEY);
	}
	else
		done = dbos_table_delete(&table, &entry->tid, snapshot);
	dbos_table_close(&table);
	return done;
}

/* A snapshot shows the old name, which stays. */
static DbosMove
move_leaving_one(DbosEntry *entry, DbosEntry *moved, Snapshot snapshot)
{
	DbosTable	table;

	if (!dbos_entry_insert(moved))
		return MOVE_TAKEN;
	if (dbos_entry_delete(entry, snapshot))
		return MOVE_DONE;
	dbos_changed();
	dbos_table_open(&table, TABLE_ENTRY, RowExclusiveLock);
	(void) dbos_table_delete(&table, &moved->tid, snapshot);
	dbos_table_close(&table);
	/* Who looks again must not find it. */
	dbos_changed();
	return MOVE_CHANGED;
}

DbosMove
dbos_entry_move(DbosEntry *entry, int64 parent, DbosName name, Snapshot snapshot)
{
	DbosEntry	moved = *entry;
	DbosTable	table;
	DbosMove	result = MOVE_DONE;

	check_change(entry);
	moved.parent = parent;
	moved.name = name;
	if (dbos_seen_by_snapshot(entry->born, dbos_epoch()))
		return move_leaving_one(entry, &moved, snapshot);
	dbos_table_open(&table, TABLE_ENTRY, RowExclusiveLock);
	if (!update(&table, &moved, &entry->tid, snapshot, UPDATE_KEY_TELL))
		result = MOVE_CHANGED;
	else if (!table.alone)
	{
		ItemPointerData at = table.at;

		/* A row of this command cannot be updated by it. */
		dbos_changed();
		(void) update(&table, entry, &at, snapshot, UPDATE_BACK);
		result = MOVE_TAKEN;
	}
	dbos_table_close(&table);
	if (result == MOVE_DONE)
		check_epoch(parent, name);
	return result;
}

/* ---- all names of a directory, all names of an inode ---- */

void
dbos_entry_scan_begin(DbosEntryScan *scan, int64 parent, Snapshot snapshot, int32 at_epoch)
{
	Datum		key = Int64GetDatum(parent);

	scan->at_epoch = at_epoch;
	dbos_table_open(&scan->table, TABLE_ENTRY, AccessShareLock);
	dbos_scan_begin(&scan->scan, &scan->table, 0, snapshot, &key, 1, false);
}

/* Only those of directories. */
void
dbos_directories_scan_begin(DbosEntryScan *scan, int64 parent, Snapshot snapshot, int32 at_epoch)
{
	Datum		key = Int64GetDatum(parent);

	scan->at_epoch = at_epoch;
	dbos_table_open(&scan->table, TABLE_ENTRY, AccessShareLock);
	dbos_scan_begin(&scan->scan, &scan->table, 2, snapshot, &key, 1, false);
}

/* The same from that name on, which need not be there. */
void
dbos_entry_scan_begin_from(DbosEntryScan *scan, int64 parent, DbosName name, Snapshot snapshot, int32 at_epoch)
{
	Datum		key[2] = {Int64GetDatum(parent), PointerGetDatum(name_datum(name))};

	scan->at_epoch = at_epoch;
	dbos_table_open(&scan->table, TABLE_ENTRY, AccessShareLock);
	dbos_scan_begin(&scan->scan, &scan->table, 0, snapshot, key, 2, true);
}

void
dbos_parents_scan_begin(DbosEntryScan *scan, int64 child, Snapshot snapshot, int32 at_epoch)
{
	Datum		key = Int64GetDatum(child);

	scan->at_epoch = at_epoch;
	dbos_table_open(&scan->table, TABLE_ENTRY, AccessShareLock);
	dbos_scan_begin(&scan->scan, &scan->table, 1, snapshot, &key, 1, false);
}

/* In the order of the bytes of the names; the name lives until the next. */
bool
dbos_entry_scan_next(DbosEntryScan *scan, DbosEntry *entry)
{
	while (dbos_scan_next(&scan->scan))
	{
		dbos_entry_fill(&scan->table, entry);
		if (scan->at_epoch == FOREVER ? entry->died == FOREVER : entry->born <= scan->at_epoch && entry->died > scan->at_epoch)
			return true;
	}
	return false;
}

void
dbos_entry_scan_end(DbosEntryScan *scan)
{
	dbos_scan_end(&scan->scan);
	dbos_table_close(&scan->table);
}

/*
 * The first of its names, by the number of the directory and then by the bytes, so that an
 * inode that has many is always called by the same; NULL: it has none.
 */
text *
dbos_entry_first_name(int64 child, Snapshot snapshot, int32 at_epoch, int64 *parent)
{
	DbosEntryScan scan;
	DbosEntry	entry;
	bytea	   *first = NULL;
	DbosName	name;

	dbos_parents_scan_begin(&scan, child, snapshot, at_epoch);
	while (dbos_entry_scan_next(&scan, &entry))
	{
		bytea	   *next = name_datum(entry.name);

		if (first == NULL || entry.parent < *parent ||
			(entry.parent == *parent &&
			 DatumGetInt32(DirectFunctionCall2(byteacmp, PointerGetDatum(next), PointerGetDatum(first))) < 0))
		{
			*parent = entry.parent;
			first = next;
		}
		else
			pfree(next);
	}
	dbos_entry_scan_end(&scan);
	if (first == NULL)
		return NULL;
	name.bytes = VARDATA(first);
	name.length = VARSIZE(first) - VARHDRSZ;
	return dbos_name_text(name);
}

static bool
has_names(int64 directory, Snapshot snapshot)
{
	DbosEntryScan scan;
	DbosEntry	entry;
	bool		found;

	dbos_entry_scan_begin(&scan, directory, snapshot, FOREVER);
	found = dbos_entry_scan_next(&scan, &entry);
	dbos_entry_scan_end(&scan);
	return found;
}

/*
 * Whether there is a name in that directory, or somebody has made one who may commit.  For who has
 * deleted the directory; see dbos_inode_remains().  A name that is changed to another just now is there too.
 * Where the transaction has one snapshot, none may be left in that either.
 */
bool
dbos_directory_used(int64 directory)
{
	SnapshotData dirty;
	bool		used;

	InitDirtySnapshot(dirty);
	if (has_names(directory, &dirty))
		return true;
	PushActiveSnapshot(GetLatestSnapshot());
	used = has_names(directory, GetActiveSnapshot());
	PopActiveSnapshot();
	if (!used && IsolationUsesXactSnapshot())
	{
		if (has_names(directory, dbos_view_begin()))
			dbos_conflict();
		dbos_view_end();
	}
	return used;
}
