/*
 * inode.c
 *	  Rows of dbos.inode: read, made, changed and ended, each version where a snapshot may want it.
 *
 * Who changes a row has read it before, by tid; when somebody else has changed it since then,
 * the change is refused and the caller reads it again (view.c).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "commands/sequence.h"
#include "common/int.h"
#include "port/pg_bitutils.h"
#include "storage/lmgr.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "file.h"

/* Between the epoch of PostgreSQL and that of Unix. */
#define UNIX_MICROSECONDS ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

int64
dbos_file_now(void)
{
	return (dbos_now() + UNIX_MICROSECONDS) * 1000;
}

TimestampTz
dbos_file_timestamp(int64 nanoseconds)
{
	/* Towards the past, also before 1970. */
	int64		microseconds = nanoseconds / 1000 - (nanoseconds % 1000 < 0);

	return microseconds - UNIX_MICROSECONDS;
}

/* The same the other way; nanoseconds reach from 1677 to 2262. */
int64
dbos_file_nanoseconds(TimestampTz at)
{
	int64		microseconds;
	int64		nanoseconds;

	if (TIMESTAMP_NOT_FINITE(at) || pg_add_s64_overflow(at, UNIX_MICROSECONDS, &microseconds) ||
		pg_mul_s64_overflow(microseconds, 1000, &nanoseconds))
		ereport(ERROR,
				errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				errmsg("time of a file out of range"),
				errdetail("Files have times from 1678 to 2261."));
	return nanoseconds;
}

/* ---- reading ---- */

/* From the row in the slot; content points into it, and lives as long as that. */
void
dbos_inode_fill(DbosTable *table, DbosInode *inode)
{
	Datum	   *values;
	bool	   *nulls;

	slot_getallattrs(table->slot);
	values = table->slot->tts_values;
	nulls = table->slot->tts_isnull;
	inode->number = DatumGetInt64(values[INODE_NUMBER]);
	inode->died = DatumGetInt32(values[INODE_DIED]);
	inode->born = DatumGetInt32(values[INODE_BORN]);
	inode->file_system = DatumGetInt32(values[INODE_FILE_SYSTEM]);
	inode->mode = DatumGetInt32(values[INODE_MODE]);
	inode->owner = DatumGetObjectId(values[INODE_OWNER]);
	inode->group = DatumGetObjectId(values[INODE_GROUP]);
	inode->links = DatumGetInt32(values[INODE_LINKS]);
	inode->size = DatumGetInt64(values[INODE_SIZE]);
	inode->created = DatumGetInt64(values[INODE_CREATED]);
	inode->modified = DatumGetInt64(values[INODE_MODIFIED]);
	inode->changed = DatumGetInt64(values[INODE_CHANGED]);
	inode->accessed = DatumGetInt64(values[INODE_ACCESSED]);
	inode->storage = DatumGetChar(values[INODE_STORAGE]);
	inode->large_object = nulls[INODE_LARGE_OBJECT] ? InvalidOid : DatumGetObjectId(values[INODE_LARGE_OBJECT]);
	inode->checksum_known = !nulls[INODE_CHECKSUM];
	inode->checksum = nulls[INODE_CHECKSUM] ? 0 : (uint32) DatumGetInt32(values[INODE_CHECKSUM]);
	inode->content = NULL;
	inode->content_length = 0;
	if (!nulls[INODE_CONTENT])
	{
		bytea	   *content = DatumGetByteaPP(values[INODE_CONTENT]);

		inode->content = VARDATA_ANY(content);
		inode->content_length = VARSIZE_ANY_EXHDR(content);
	}
	inode->tid = table->slot->tts_tid;
}

static bool
find(DbosTable *table, int64 number, Snapshot snapshot, int32 at_epoch)
{
	Datum		key[2] = {Int64GetDatum(number), Int32GetDatum(at_epoch)};

	if (at_epoch == FOREVER)
		return dbos_table_find(table, 0, snapshot, key, 2);
	key[1] = Int32GetDatum(at_epoch + 1);
	return dbos_table_find_from(table, 0, snapshot, key, 2) && DatumGetInt32(dbos_column(table, INODE_BORN)) <= at_epoch;
}

/* The row as it is in that epoch; FOREVER: as it is now.  content is a copy in the caller's context. */
bool
dbos_inode_read(int64 number, Snapshot snapshot, int32 at_epoch, DbosInode *inode)
{
	DbosTable	table;
	bool		found;

	dbos_table_open(&table, TABLE_INODE, AccessShareLock);
	found = find(&table, number, snapshot, at_epoch);
	if (found)
	{
		dbos_inode_fill(&table, inode);
		if (inode->content != NULL)
		{
			char	   *copy = palloc(inode->content_length + 1);

			memcpy(copy, inode->content, inode->content_length);
			copy[inode->content_length] = '\0';
			inode->content = copy;
		}
	}
	dbos_table_close(&table);
	return found;
}

/*
 * Whether the inode is there and nobody has deleted it or is about to commit that.  For who has put
 * a name into a directory: who removes that looks for names only after it has deleted the inode,
 * and is told of names that are not committed yet; so of the two one sees the other.
 */
bool
dbos_inode_remains(int64 number)
{
	DbosTable	table;
	bool		remains = false;

	dbos_table_open(&table, TABLE_INODE, AccessShareLock);
	for (;;)
	{
		Datum		key[2] = {Int64GetDatum(number), Int32GetDatum(FOREVER)};
		SnapshotData dirty;
		DbosTableScan scan;
		TransactionId deleter = InvalidTransactionId;

		InitDirtySnapshot(dirty);
		dbos_scan_begin(&scan, &table, 0, &dirty, key, 2, false);
		while (!remains && dbos_scan_next(&scan))
		{
			TransactionId ender = dbos_scan_ender(&scan);

			if (TransactionIdIsValid(ender))
				deleter = ender;
			else
				remains = true;
		}
		dbos_scan_end(&scan);
		if (!remains && !TransactionIdIsValid(deleter))
		{
			/* Unless it was changed meanwhile, and missed. */
			PushActiveSnapshot(GetLatestSnapshot());
			remains = dbos_table_find(&table, 0, GetActiveSnapshot(), key, 2);
			PopActiveSnapshot();
			break;
		}
		if (remains)
			break;
		XactLockTableWait(deleter, NULL, NULL, XLTW_None);
	}
	dbos_table_close(&table);
	return remains;
}

/* ---- writing ---- */

/*
 * The number of bits of a size of 1 MB or more, and 0 of a smaller one.  What looks for large files looks for
 * classes, by an index: were that on the size itself, who appends to a file would change an
 * index each time, and not just when the file has become twice as large.
 */
int16
dbos_size_class(int64 size)
{
	return size < INT64CONST(1) << SIZE_CLASS_BITS ? 0 : pg_leftmost_one_pos64((uint64) size) + 1;
}

/* A large object may grow without our knowing. */
static int16
size_class_of(const DbosInode *inode)
{
	if (dbos_is_large_object(inode))
		return SIZE_CLASS_UNKNOWN;
	return dbos_size_class(inode->size);
}

static void
form(const DbosInode *inode, Datum *values, bool *nulls)
{
	memset(nulls, false, sizeof(bool) * INODE_COLUMNS);
	values[INODE_NUMBER] = Int64GetDatum(inode->number);
	values[INODE_DIED] = Int32GetDatum(inode->died);
	values[INODE_BORN] = Int32GetDatum(inode->born);
	values[INODE_FILE_SYSTEM] = Int32GetDatum(inode->file_system);
	values[INODE_MODE] = Int32GetDatum(inode->mode);
	values[INODE_OWNER] = ObjectIdGetDatum(inode->owner);
	values[INODE_GROUP] = ObjectIdGetDatum(inode->group);
	values[INODE_LINKS] = Int32GetDatum(inode->links);
	values[INODE_SIZE] = Int64GetDatum(inode->size);
	values[INODE_CREATED] = Int64GetDatum(inode->created);
	values[INODE_MODIFIED] = Int64GetDatum(inode->modified);
	values[INODE_CHANGED] = Int64GetDatum(inode->changed);
	values[INODE_ACCESSED] = Int64GetDatum(inode->accessed);
	values[INODE_STORAGE] = CharGetDatum(inode->storage);
	values[INODE_SIZE_CLASS] = Int16GetDatum(size_class_of(inode));
	values[INODE_LARGE_OBJECT] = ObjectIdGetDatum(inode->large_object);
	nulls[INODE_LARGE_OBJECT] = !OidIsValid(inode->large_object);
	values[INODE_CHECKSUM] = Int32GetDatum((int32) inode->checksum);
	nulls[INODE_CHECKSUM] = !inode->checksum_known;
	nulls[INODE_CONTENT] = inode->content == NULL;
	if (inode->content == NULL)
		values[INODE_CONTENT] = (Datum) 0;
	else
	{
		bytea	   *content = palloc(VARHDRSZ + inode->content_length);

		SET_VARSIZE(content, VARHDRSZ + inode->content_length);
		memcpy(VARDATA(content), inode->content, inode->content_length);
		values[INODE_CONTENT] = PointerGetDatum(content);
	}
}

int64
dbos_inode_number(void)
{
	return nextval_internal(dbos_relation_oid("inode_number"), false);
}

static void
insert(const DbosInode *inode)
{
	DbosTable	table;
	Datum		values[INODE_COLUMNS];
	bool		nulls[INODE_COLUMNS];

	form(inode, values, nulls);
	dbos_table_open(&table, TABLE_INODE, RowExclusiveLock);
	dbos_table_make_room(&table, inode->content_length, 1);
	(void) dbos_table_insert(&table, values, nulls, UNIQUE_RAISE);
	dbos_table_close(&table);
}

/* With a number of its own; valid from now on. */
void
dbos_inode_insert(DbosInode *inode)
{
	inode->died = FOREVER;
	inode->born = dbos_epoch();
	insert(inode);
}

/* The same for many, whose rows are in the current memory context afterwards. */
void
dbos_inodes_insert(DbosInode *inodes, int count)
{
	DbosTable	table;
	Datum	   *values = palloc(sizeof(Datum) * INODE_COLUMNS * count);
	bool	   *nulls = palloc(sizeof(bool) * INODE_COLUMNS * count);

	for (int i = 0; i < count; i++)
	{
		inodes[i].died = FOREVER;
		inodes[i].born = dbos_epoch();
		form(&inodes[i], values + i * INODE_COLUMNS, nulls + i * INODE_COLUMNS);
	}
	dbos_table_open(&table, TABLE_INODE, RowExclusiveLock);
	dbos_table_insert_rows(&table, values, nulls, count);
	dbos_table_close(&table);
}

/* The row as it was, for the snapshots that show it. */
static void
keep(const DbosInode *inode, Snapshot snapshot)
{
	DbosInode	old;

	if (!dbos_inode_read(inode->number, snapshot, FOREVER, &old))
		elog(ERROR, "inode " INT64_FORMAT " is missing", inode->number);
	old.died = dbos_epoch();
	insert(&old);
}

static bool
update(const DbosInode *inode, Snapshot snapshot, DbosUpdate how)
{
	DbosTable	table;
	Datum		values[INODE_COLUMNS];
	bool		nulls[INODE_COLUMNS];
	ItemPointerData tid = inode->tid;
	bool		done;

	form(inode, values, nulls);
	dbos_table_open(&table, TABLE_INODE, RowExclusiveLock);
	done = dbos_table_update(&table, &tid, values, nulls, snapshot, how);
	dbos_table_close(&table);
	return done;
}

/* False: the row was changed since it was read. */
bool
dbos_inode_update(DbosInode *inode, Snapshot snapshot)
{
	int32		epoch = dbos_epoch();
	bool		wanted;

	if (inode->born > epoch)
		dbos_epoch_passed();
	if (S_ISDIR(inode->mode))
		dbos_directories_changed();
	wanted = dbos_seen_by_snapshot(inode->born, epoch);
	if (wanted)
		inode->born = epoch;
	if (!update(inode, snapshot, UPDATE))
		return false;
	if (wanted)
		keep(inode, snapshot);
	return true;
}

/* The same; a row that a snapshot shows is ended and stays. */
bool
dbos_inode_delete(DbosInode *inode, Snapshot snapshot)
{
	int32		epoch = dbos_epoch();
	DbosTable	table;
	bool		done;

	if (inode->born > epoch)
		dbos_epoch_passed();
	if (S_ISDIR(inode->mode))
		dbos_directories_changed();
	if (dbos_seen_by_snapshot(inode->born, epoch))
	{
		DbosInode	ended = *inode;

		ended.died = epoch;
		done = update(&ended, snapshot, UPDATE_KEY);
	}
	else
	{
		dbos_table_open(&table, TABLE_INODE, RowExclusiveLock);
		done = dbos_table_delete(&table, &inode->tid, snapshot);
		dbos_table_close(&table);
	}
	if (done && S_ISDIR(inode->mode))
		dbos_directory_deleted();
	return done;
}

/* Until the end of the transaction nobody else changes it; false as for a change. */
bool
dbos_inode_lock(DbosInode *inode, Snapshot snapshot)
{
	DbosTable	table;
	bool		done;

	dbos_table_open(&table, TABLE_INODE, RowExclusiveLock);
	done = dbos_table_lock(&table, &inode->tid, snapshot);
	dbos_table_close(&table);
	return done;
}

/* Until the end of the transaction nobody deletes it, whatever else he does with it; false as for a change. */
bool
dbos_inode_hold(DbosInode *inode, Snapshot snapshot)
{
	DbosTable	table;
	bool		done;

	dbos_table_open(&table, TABLE_INODE, RowExclusiveLock);
	done = dbos_table_hold(&table, &inode->tid, snapshot);
	dbos_table_close(&table);
	return done;
}

/* That it was read, if nobody has the row: for that nobody is made to wait, or to fail. */
bool
dbos_inode_touch(DbosInode *inode, Snapshot snapshot)
{
	return update(inode, snapshot, UPDATE_IF_FREE);
}
