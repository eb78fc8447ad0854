/*
 * open_file.c
 *	  Files that are open: read and written by a handle, whatever becomes of their names.
 *
 * A handle is a row of dbos.open_file.  It is there from the commit of who opens the file, until who closes it has
 * committed, or its session is gone (open_file_sweep.c).  Rights are checked when the file is opened; after that
 * the handle is for the role that has opened it, in whichever session that acts: a mount has several.
 *
 * A file whose last name goes while it is open stays, with link_count 0, and is noted in
 * dbos.unlinked_file; the last who closes it frees it.  So that of an unlink and an open at the same time one sees the
 * other, who opens or closes a file that has a name keeps the row of its inode from being
 * deleted until he has committed (a lock that no writer of the file minds); who unlinks has deleted that row when he
 * looks for handles, and puts it back if there is one.  Who closes a file without a name locks the row as a writer
 * does: of the last two the second frees it.
 *
 * dbos.open_file is not logged: after a crash no session is there that would have a handle.
 * dbos.unlinked_file is, so that what was open then is found and freed.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "attributes.h"
#include "lock.h"
#include "names.h"
#include "open_file.h"
#include "usage.h"

enum OpenFileColumn
{
	OPEN_HANDLE, OPEN_INODE, OPEN_FLAGS, OPEN_ROLE, OPEN_CONTAINER, OPEN_PROCESS, OPEN_STARTED, OPEN_OPENED,
	OPEN_COLUMNS
};

/* ---- rows ---- */

static void
fill(DbosTable *table, DbosOpenFile *file)
{
	Datum	   *values;

	slot_getallattrs(table->slot);
	values = table->slot->tts_values;
	file->handle = DatumGetInt64(values[OPEN_HANDLE]);
	file->inode = DatumGetInt64(values[OPEN_INODE]);
	file->flags = DatumGetInt32(values[OPEN_FLAGS]);
	file->role = DatumGetObjectId(values[OPEN_ROLE]);
	file->container = DatumGetInt32(values[OPEN_CONTAINER]);
	file->process = DatumGetInt32(values[OPEN_PROCESS]);
	file->started = DatumGetTimestampTz(values[OPEN_STARTED]);
	file->opened = DatumGetTimestampTz(values[OPEN_OPENED]);
	file->tid = table->slot->tts_tid;
}

/* A new handle of this session. */
static int64
insert(int64 inode, int flags)
{
	int64		handle = nextval_internal(dbos_relation_oid("file_handle"), false);
	DbosTable	table;
	Datum		values[OPEN_COLUMNS] = {
		Int64GetDatum(handle), Int64GetDatum(inode), Int32GetDatum(flags), ObjectIdGetDatum(GetUserId()),
		Int32GetDatum(dbos_context_container()), Int32GetDatum(MyProcPid), TimestampTzGetDatum(MyStartTimestamp),
		TimestampTzGetDatum(dbos_now())
	};
	bool		nulls[OPEN_COLUMNS] = {0};

	dbos_table_open(&table, TABLE_OPEN_FILE, RowExclusiveLock);
	(void) dbos_table_insert(&table, values, nulls, UNIQUE_RAISE);
	dbos_table_close(&table);
	dbos_open_file_noted();
	return handle;
}

/* False: somebody else has closed it. */
static bool
delete(const DbosOpenFile *file, Snapshot snapshot)
{
	ItemPointerData tid = file->tid;
	DbosTable	table;
	bool		done;

	dbos_table_open(&table, TABLE_OPEN_FILE, RowExclusiveLock);
	done = dbos_table_delete(&table, &tid, snapshot);
	dbos_table_close(&table);
	return done;
}

bool
dbos_open_file_find(int64 handle, Snapshot snapshot, DbosOpenFile *file)
{
	DbosTable	table;
	Datum		key = Int64GetDatum(handle);
	bool		found;

	dbos_table_open(&table, TABLE_OPEN_FILE, AccessShareLock);
	found = dbos_table_find(&table, 0, snapshot, &key, 1);
	if (found)
		fill(&table, file);
	dbos_table_close(&table);
	return found;
}

/* Calls back for the handles from that one on, in their order, until that returns false. */
void
dbos_open_file_visit(int64 from, Snapshot snapshot, bool (*each) (void *arg, const DbosOpenFile *file), void *arg)
{
	DbosTable	table;
	DbosTableScan scan;
	Datum		key = Int64GetDatum(from);
	DbosOpenFile file;

	dbos_table_open(&table, TABLE_OPEN_FILE, AccessShareLock);
	if (RelationGetNumberOfBlocks(table.heap) > 0)
	{
		dbos_scan_begin(&scan, &table, 0, snapshot, &key, 1, true);
		while (dbos_scan_next(&scan))
		{
			CHECK_FOR_INTERRUPTS();
			fill(&table, &file);
			if (!each(arg, &file))
				break;
		}
		dbos_scan_end(&scan);
	}
	dbos_table_close(&table);
}

/*
 * Whether there is a handle of the inode, or somebody closes one who has not committed.  For who has deleted the
 * row of the inode, or has it locked: then nobody is about to open it.
 */
bool
dbos_inode_is_open(int64 inode)
{
	DbosTable	table;
	SnapshotData dirty;
	Datum		key = Int64GetDatum(inode);
	bool		found;

	InitDirtySnapshot(dirty);
	dbos_table_open(&table, TABLE_OPEN_FILE, AccessShareLock);
	/* Where nothing is ever open nobody pays for it. */
	found = RelationGetNumberOfBlocks(table.heap) > 0 && dbos_table_find(&table, 1, &dirty, &key, 1);
	dbos_table_close(&table);
	return found;
}

/* ---- files without a name ---- */

/* The inode, which this transaction has deleted since its last name went, stays for who has it open. */
void
dbos_inode_keep_open(DbosInode *inode)
{
	DbosTable	table;
	Datum		value = Int64GetDatum(inode->number);
	bool		null = false;

	inode->links = 0;
	inode->changed = dbos_file_now();
	dbos_inode_insert(inode);
	dbos_table_open(&table, TABLE_UNLINKED, RowExclusiveLock);
	(void) dbos_table_insert(&table, &value, &null, UNIQUE_RAISE);
	dbos_table_close(&table);
}

/* The inode has neither a name nor a handle, and this transaction has its row locked. */
static void
free_unlinked(DbosInode *inode, Snapshot *snapshot)
{
	DbosTable	table;
	Datum		key = Int64GetDatum(inode->number);

	if (!dbos_inode_delete(inode, *snapshot))
		elog(ERROR, "inode " INT64_FORMAT " was changed while it was locked", inode->number);
	dbos_table_open(&table, TABLE_UNLINKED, RowExclusiveLock);
	if (dbos_table_find(&table, 0, *snapshot, &key, 1))
	{
		ItemPointerData tid = table.slot->tts_tid;

		(void) dbos_table_delete(&table, &tid, *snapshot);
	}
	dbos_table_close(&table);
	dbos_node_free(DBOS_ROOT_INODE, inode, snapshot);
}

/* False: the row was changed; look again. */
static bool
free_once(int64 number, Snapshot *snapshot)
{
	DbosInode	inode;

	if (!dbos_inode_read(number, *snapshot, FOREVER, &inode) || inode.links > 0)
		return true;
	if (!dbos_inode_lock(&inode, *snapshot))
	{
		dbos_conflict();
		return false;
	}
	if (!dbos_inode_is_open(number))
		free_unlinked(&inode, snapshot);
	return true;
}

/* Frees the inode when it has no name and nobody has it open. */
void
dbos_unlinked_free(int64 inode)
{
	Snapshot	snapshot = dbos_view_begin();

	while (!free_once(inode, &snapshot))
		snapshot = dbos_view_renew();
	dbos_view_end();
	dbos_changed();
}

/* ---- opening ---- */

static void
demand_access(const DbosInode *inode, int flags, text *path)
{
	int			want = 0;

	if (flags & DBOS_OPEN_READ)
		want |= MAY_READ;
	if (flags & DBOS_OPEN_WRITE)
		want |= MAY_WRITE;
	if (S_ISDIR(inode->mode))
		dbos_is_a_directory(path);
	if (!S_ISREG(inode->mode))
		dbos_not_a_file(path);
	dbos_file_demand(inode, want, path);
}

/* The inode stays there until the handle is; false: it was changed since it was read. */
static bool
keep_or_empty(DbosInode *inode, int flags, Snapshot *snapshot)
{
	int64		size = inode->size;

	/* Without a name it may be freed just now by who closes it last. */
	if ((flags & DBOS_OPEN_TRUNCATE) == 0)
		return inode->links > 0 ? dbos_inode_hold(inode, *snapshot) : dbos_inode_lock(inode, *snapshot);
	if (!dbos_content_truncate(inode, 0, snapshot))
		return false;
	dbos_usage_charge(inode, -size);
	return true;
}

/* False: look again. */
static bool
open_once(const DbosPlace *place, int flags, int32 mode, Snapshot *snapshot, int64 *handle)
{
	DbosContent nothing = {.how = WRITE_REPLACE, .bytes = ""};
	DbosPath	path;

	dbos_place_find(place, place->follow, *snapshot, &path);
	if (!path.found)
	{
		if ((flags & DBOS_OPEN_CREATE) == 0)
			dbos_no_such_file(path.given);
		/* Who makes it may use it so, whatever its mode. */
		if (!dbos_node_make(&path, S_IFREG | mode, &nothing, snapshot))
			return false;
	}
	else
	{
		if (flags & DBOS_OPEN_EXCLUSIVE)
			dbos_file_exists(path.given);
		demand_access(&path.inode, flags, path.given);
		if (!keep_or_empty(&path.inode, flags, snapshot))
		{
			dbos_conflict();
			return false;
		}
	}
	*handle = insert(path.inode.number, flags);
	return true;
}

/* mode: of a file that is made. */
int64
dbos_file_open(const DbosPlace *place, int flags, int32 mode)
{
	Snapshot	snapshot = dbos_view_begin();
	int64		handle;

	dbos_mode_check(mode);
	if (flags & DBOS_OPEN_CREATE)
		snapshot = dbos_root_make(snapshot);
	while (!open_once(place, flags, mode, &snapshot, &handle))
		snapshot = dbos_view_renew();
	dbos_view_end();
	dbos_changed();
	return handle;
}

/* ---- handles ---- */

static pg_noreturn void
not_open(int64 handle)
{
	ereport(ERROR,
			errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("file handle " INT64_FORMAT " is not open", handle));
}

/* A handle that the current role may use; raises when there is none. */
void
dbos_open_file_require(int64 handle, Snapshot snapshot, DbosOpenFile *file)
{
	Oid			user = GetUserId();

	if (!dbos_open_file_find(handle, snapshot, file) || file->container != dbos_context_container() ||
		!(user == file->role || has_privs_of_role(user, file->role) || dbos_file_superuser()))
		not_open(handle);
}

static void
demand_flag(const DbosOpenFile *file, int flag)
{
	if ((file->flags & flag) == 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("file handle " INT64_FORMAT " is not open for %s", file->handle, flag == DBOS_OPEN_READ ? "reading" : "writing"));
}

void
dbos_place_demand(const DbosPlace *place, const DbosPath *path, int flag, Snapshot snapshot)
{
	DbosOpenFile file;

	if (place->path != NULL || place->handle == 0)
	{
		demand_access(&path->inode, flag, path->given);
		return;
	}
	dbos_open_file_require(place->handle, snapshot, &file);
	demand_flag(&file, flag);
}

static void
read_inode(const DbosOpenFile *file, Snapshot snapshot, DbosInode *inode)
{
	if (!dbos_inode_read(file->inode, snapshot, FOREVER, inode))
		elog(ERROR, "inode " INT64_FORMAT " of an open file is missing", file->inode);
}

/* False: its inode was changed since it was read; look again. */
bool
dbos_open_file_end(const DbosOpenFile *file, Snapshot *snapshot)
{
	DbosInode	inode;

	read_inode(file, *snapshot, &inode);
	if (inode.links > 0 ? !dbos_inode_hold(&inode, *snapshot) : !dbos_inode_lock(&inode, *snapshot))
	{
		dbos_conflict();
		return false;
	}
	if (!delete(file, *snapshot))
		not_open(file->handle);
	dbos_locks_drop(file->inode, file->handle, *snapshot);
	if (inode.links > 0)
		return true;
	dbos_changed();
	*snapshot = dbos_view_renew();
	if (!dbos_inode_is_open(inode.number))
		free_unlinked(&inode, snapshot);
	return true;
}

void
dbos_file_close(int64 handle)
{
	Snapshot	snapshot = dbos_view_begin();
	DbosOpenFile file;

	for (;;)
	{
		dbos_open_file_require(handle, snapshot, &file);
		if (dbos_open_file_end(&file, &snapshot))
			break;
		snapshot = dbos_view_renew();
	}
	dbos_view_end();
	dbos_changed();
}

/* How many of the bytes there are; to has room for length. */
int64
dbos_file_read_open(int64 handle, int64 start, char *to, int64 length)
{
	Snapshot	snapshot = GetActiveSnapshot();
	DbosOpenFile file;
	DbosInode	inode;

	dbos_open_file_require(handle, snapshot, &file);
	demand_flag(&file, DBOS_OPEN_READ);
	read_inode(&file, snapshot, &inode);
	length = Min(length, Max(dbos_inode_size(&inode, snapshot) - start, 0));
	dbos_content_read(&inode, start, to, length, snapshot, FOREVER);
	dbos_file_accessed(&inode);
	return length;
}

static bool
write_once(int64 handle, const DbosContent *content, Snapshot *snapshot, int64 *size)
{
	DbosContent written = *content;
	DbosOpenFile file;
	DbosInode	inode;
	int64		old_size;

	dbos_open_file_require(handle, *snapshot, &file);
	demand_flag(&file, DBOS_OPEN_WRITE);
	read_inode(&file, *snapshot, &inode);
	if (file.flags & DBOS_OPEN_APPEND)
		written.how = WRITE_APPEND;
	old_size = inode.size;
	if (!dbos_content_write(&inode, &written, snapshot))
	{
		dbos_conflict();
		return false;
	}
	dbos_usage_charge(&inode, inode.size - old_size);
	*size = inode.size;
	return true;
}

/* Returns the size afterwards. */
int64
dbos_file_write_open(int64 handle, int64 start, const char *from, int64 length)
{
	DbosContent content = {.how = WRITE_AT, .start = start, .bytes = from, .length = length};
	Snapshot	snapshot = dbos_view_begin();
	int64		size;

	while (!write_once(handle, &content, &snapshot, &size))
		snapshot = dbos_view_renew();
	dbos_view_end();
	dbos_changed();
	return size;
}

static bool
truncate_once(const DbosPlace *place, int64 size, Snapshot *snapshot)
{
	DbosPath	path;
	int64		old_size;

	dbos_place_require(place, place->follow, *snapshot, &path);
	dbos_place_demand(place, &path, DBOS_OPEN_WRITE, *snapshot);
	old_size = path.inode.size;
	if (!dbos_content_truncate(&path.inode, size, snapshot))
	{
		dbos_conflict();
		return false;
	}
	dbos_usage_charge(&path.inode, size - old_size);
	return true;
}

void
dbos_file_truncate(const DbosPlace *place, int64 size)
{
	Snapshot	snapshot = dbos_view_begin();

	while (!truncate_once(place, size, &snapshot))
		snapshot = dbos_view_renew();
	dbos_view_end();
	dbos_changed();
}

/* Its inode, with the size of now, and content in the caller's context. */
void
dbos_file_stat_open(int64 handle, DbosInode *inode)
{
	DbosOpenFile file;

	dbos_open_file_require(handle, GetActiveSnapshot(), &file);
	read_inode(&file, GetActiveSnapshot(), inode);
	inode->size = dbos_inode_size(inode, GetActiveSnapshot());
}
