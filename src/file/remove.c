/*
 * remove.c
 *	  A file, an empty directory, or a directory with all that is in it is removed.
 *
 * A tree is removed from above: the name of a directory goes first, then each name in it, and when there is no
 * more its inode.  So nobody moves away what is half removed, and it does not matter in which order
 * directories go: they wait in a list, and however deep the tree is nothing nests.  For others all of
 * it is gone at the commit.
 *
 * Meanwhile others may make, rename and remove names in it.  A name that was found and is another's by now
 * is looked for again; for who has made one and has not committed is waited, before the inode of the directory is
 * deleted.  A name that comes in just at that moment fails the removal, as rmdir(2) would.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "names.h"
#include "usage.h"

PG_FUNCTION_INFO_V1(dbos_remove_sql);

/* Names that are read at once. */
#define NAMES_AT_ONCE 1000

/* A directory whose name is gone. */
typedef struct Doomed
{
	struct Doomed *parent;		/* NULL: the one that was asked for */
	int64		number;
	int64		parent_number;
	DbosName	name;
} Doomed;

typedef struct Removal
{
	text	   *given;
	Snapshot	snapshot;
	MemoryContext lasting;		/* what is known of directories */
	MemoryContext names;		/* those that were read */
	MemoryContext step;			/* one name */
	List	   *waiting;		/* directories that are to be emptied */
	List	   *gone;			/* and those that are gone */
} Removal;

/* ---- paths, for errors ---- */

static text *
path_of(const Removal *removal, const Doomed *directory, DbosName name)
{
	List	   *names = NIL;
	ListCell   *cell;
	StringInfoData path;

	if (name.length > 0)
		names = list_make1(dbos_name_text(name));
	for (; directory->parent != NULL; directory = directory->parent)
		names = lcons(dbos_name_text(directory->name), names);
	initStringInfo(&path);
	appendBinaryStringInfo(&path, VARDATA_ANY(removal->given), VARSIZE_ANY_EXHDR(removal->given));
	foreach(cell, names)
	{
		text	   *part = lfirst(cell);

		appendStringInfoChar(&path, '/');
		appendBinaryStringInfo(&path, VARDATA(part), VARSIZE(part) - VARHDRSZ);
	}
	return cstring_to_text_with_len(path.data, path.len);
}

/* ---- one name ---- */

static void
doom(Removal *removal, Doomed *parent, int64 parent_number, const DbosEntry *entry)
{
	MemoryContext old = MemoryContextSwitchTo(removal->lasting);
	Doomed	   *directory = palloc(sizeof(Doomed));
	char	   *bytes = palloc(entry->name.length + 1);

	memcpy(bytes, entry->name.bytes, entry->name.length);
	*directory = (Doomed) {parent, entry->child, parent_number, {bytes, entry->name.length}};
	removal->waiting = lappend(removal->waiting, directory);
	MemoryContextSwitchTo(old);
}

/* What was done is seen from here on. */
static void
renew(Removal *removal)
{
	dbos_changed();
	removal->snapshot = dbos_view_renew();
}

/* False: it was found, and is another's by now or is gone. */
static bool
remove_name(Removal *removal, Doomed *directory, const DbosInode *inode, DbosEntry *entry)
{
	DbosInode	child;

	/* The names were read some time ago. */
	if (!dbos_inode_read(entry->child, removal->snapshot, FOREVER, &child))
	{
		dbos_conflict();
		return false;
	}
	if (!dbos_directory_allows_change(inode, &child))
		dbos_file_denied(path_of(removal, directory, entry->name));
	if (!dbos_entry_delete(entry, removal->snapshot))
	{
		dbos_conflict();
		return false;
	}
	if (S_ISDIR(child.mode))
		doom(removal, directory, directory->number, entry);
	else
		dbos_name_drop(directory->number, entry->child, &removal->snapshot);
	return true;
}

/* ---- one directory ---- */

/* Names from that one on, in their order. */
static List *
read_names(Removal *removal, Doomed *directory, DbosName from)
{
	MemoryContext old = MemoryContextSwitchTo(removal->names);
	DbosEntryScan scan;
	DbosEntry	entry;
	List	   *names = NIL;

	dbos_entry_scan_begin_from(&scan, directory->number, from, removal->snapshot, FOREVER);
	while (list_length(names) < NAMES_AT_ONCE && dbos_entry_scan_next(&scan, &entry))
	{
		DbosEntry  *copy = palloc(sizeof(DbosEntry) + entry.name.length);

		*copy = entry;
		copy->name.bytes = memcpy((char *) copy + sizeof(DbosEntry), entry.name.bytes, entry.name.length);
		names = lappend(names, copy);
	}
	dbos_entry_scan_end(&scan);
	MemoryContextSwitchTo(old);
	return names;
}

/* All names that the snapshot shows; false: some turned out to be others' by now. */
static bool
remove_names(Removal *removal, Doomed *directory, const DbosInode *inode)
{
	char		last[DBOS_NAME_MAX];
	DbosName	from = {last, 0};
	bool		all = true;
	List	   *names;

	while ((names = read_names(removal, directory, from)) != NIL)
	{
		DbosEntry  *end = llast(names);
		ListCell   *cell;
		MemoryContext old = MemoryContextSwitchTo(removal->step);

		foreach(cell, names)
		{
			CHECK_FOR_INTERRUPTS();
			all = remove_name(removal, directory, inode, lfirst(cell)) && all;
			renew(removal);
			MemoryContextReset(removal->step);
		}
		MemoryContextSwitchTo(old);
		memcpy(last, end->name.bytes, end->name.length);
		from.length = end->name.length;
		/* What is others' is found again, and must not be for ever. */
		if (!all)
			break;
		MemoryContextReset(removal->names);
	}
	MemoryContextReset(removal->names);
	return all;
}

/* Somebody has made a name there: until he has ended. */
static void
await_name(Removal *removal, Doomed *directory)
{
	DbosEntryScan scan;
	DbosEntry	entry;
	SnapshotData dirty;
	char		bytes[DBOS_NAME_MAX];
	DbosName	name = {bytes, 0};

	InitDirtySnapshot(dirty);
	dbos_entry_scan_begin(&scan, directory->number, &dirty, FOREVER);
	if (dbos_entry_scan_next(&scan, &entry))
	{
		memcpy(bytes, entry.name.bytes, entry.name.length);
		name.length = entry.name.length;
	}
	dbos_entry_scan_end(&scan);
	if (name.length > 0)
		dbos_entry_await(directory->number, name);
	dbos_conflict();
}

static void
read_directory(Removal *removal, Doomed *directory, DbosInode *inode)
{
	if (!dbos_inode_read(directory->number, removal->snapshot, FOREVER, inode))
		elog(ERROR, "inode " INT64_FORMAT " is missing", directory->number);
}

/* When it has no names any more. */
static void
drop_inode(Removal *removal, Doomed *directory, DbosInode *inode)
{
	DbosName	none = {NULL, 0};

	while (!dbos_inode_delete(inode, removal->snapshot))
	{
		dbos_conflict();
		renew(removal);
		read_directory(removal, directory, inode);
	}
	dbos_xattrs_drop(inode, removal->snapshot);
	renew(removal);
	if (dbos_directory_used(directory->number))
		dbos_not_empty(path_of(removal, directory, none));
	dbos_usage_charge_name(directory->parent_number, inode, -1);
}

static void
remove_directory(Removal *removal, Doomed *directory)
{
	DbosName	none = {NULL, 0};
	DbosInode	inode;

	read_directory(removal, directory, &inode);
	while (dbos_directory_used(directory->number))
	{
		/* Who may not see what is in it does not remove that either. */
		if (!dbos_file_allows(&inode, MAY_READ | MAY_WRITE | MAY_EXECUTE))
			dbos_file_denied(path_of(removal, directory, none));
		if (remove_names(removal, directory, &inode) && dbos_directory_used(directory->number))
			await_name(removal, directory);
		renew(removal);
		read_directory(removal, directory, &inode);
	}
	drop_inode(removal, directory, &inode);
}

/* ---- the tree ---- */

static void
note_gone(Removal *removal, Doomed *directory)
{
	MemoryContext old = MemoryContextSwitchTo(removal->lasting);

	removal->gone = lappend(removal->gone, directory);
	MemoryContextSwitchTo(old);
}

static void
settle_usage(Removal *removal, int64 heir)
{
	int			count = list_length(removal->gone);
	int64	   *numbers = palloc_extended(sizeof(int64) * count, MCXT_ALLOC_HUGE);

	for (int i = 0; i < count; i++)
		numbers[i] = ((Doomed *) list_nth(removal->gone, i))->number;
	dbos_usage_inherit_all(numbers, count, heir);
	pfree(numbers);
}

/* False: the name is another's by now; find it again. */
static bool
remove_tree(DbosPath *path, Snapshot *snapshot)
{
	Removal		removal = {.given = path->given};
	MemoryContext old;

	dbos_directory_demand_removal(path);
	if (!dbos_entry_delete(&path->entry, *snapshot))
	{
		dbos_conflict();
		return false;
	}
	removal.lasting = AllocSetContextCreate(CurrentMemoryContext, "dbos removal", ALLOCSET_DEFAULT_SIZES);
	removal.names = AllocSetContextCreate(removal.lasting, "dbos removal names", ALLOCSET_DEFAULT_SIZES);
	removal.step = AllocSetContextCreate(removal.lasting, "dbos removal step", ALLOCSET_DEFAULT_SIZES);
	doom(&removal, NULL, path->directory.number, &path->entry);
	renew(&removal);
	old = MemoryContextSwitchTo(removal.step);
	while (removal.waiting != NIL)
	{
		Doomed	   *directory = llast(removal.waiting);

		removal.waiting = list_delete_last(removal.waiting);
		remove_directory(&removal, directory);
		note_gone(&removal, directory);
		MemoryContextReset(removal.step);
	}
	settle_usage(&removal, path->directory.number);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(removal.lasting);
	*snapshot = removal.snapshot;
	return true;
}

/* Without the slashes at its end, by which a symbolic link would be followed. */
static text *
without_slashes(text *given)
{
	const char *bytes = VARDATA_ANY(given);
	int			length = VARSIZE_ANY_EXHDR(given);

	while (length > 1 && bytes[length - 1] == '/')
		length--;
	return cstring_to_text_with_len(bytes, length);
}

static bool
remove_once(text *given, bool recursive, Snapshot *snapshot)
{
	text	   *name = without_slashes(given);
	DbosPath	path;

	dbos_path_require(name, FOLLOW_NOT_LAST, *snapshot, &path);
	if (!S_ISDIR(path.inode.mode))
	{
		if (VARSIZE_ANY_EXHDR(name) < VARSIZE_ANY_EXHDR(given))
			dbos_not_a_directory(given);
		return dbos_node_unlink(&path, snapshot);
	}
	return recursive ? remove_tree(&path, snapshot) : dbos_node_rmdir(&path, snapshot);
}

void
dbos_remove(text *given, bool recursive)
{
	Snapshot	snapshot = dbos_view_begin();

	while (!remove_once(given, recursive, &snapshot))
		snapshot = dbos_view_renew();
	dbos_view_end();
	dbos_changed();
}

/* dbos.remove(path text, recursive boolean) */
Datum
dbos_remove_sql(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("dbos.remove()");
	dbos_remove(PG_GETARG_TEXT_PP(0), PG_GETARG_BOOL(1));
	PG_RETURN_VOID();
}
