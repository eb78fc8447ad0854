/*
 * walk.c
 *	  Through a tree of files, depth first, names in the order of their bytes.
 *
 * Who walks is told of one name after the other, and says after each whether it goes down there: so
 * it decides what may be read.  Symbolic links are names as others.
 *
 * One index scan is open at a time.  Where the walk comes back up to a directory it goes on after the name that
 * it left by: so it holds no more for a thousand levels than for one, and of a large directory never
 * more than a name.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "walk.h"

/* path: of the directory that is entered first, as text, without a slash at its end. */
void
dbos_walk_begin(DbosWalk *walk, const char *path, int path_length, Snapshot snapshot)
{
	memset(walk, 0, sizeof(DbosWalk));
	walk->snapshot = snapshot;
	dbos_table_open(&walk->entries, TABLE_ENTRY, AccessShareLock);
	dbos_table_open(&walk->inodes, TABLE_INODE, AccessShareLock);
	walk->row = AllocSetContextCreate(CurrentMemoryContext, "dbos walk", ALLOCSET_DEFAULT_SIZES);
	walk->room = 16;
	walk->levels = palloc(walk->room * sizeof(DbosWalkLevel));
	initStringInfo(&walk->path);
	appendBinaryStringInfo(&walk->path, path, path_length);
}

static void
stop_scan(DbosWalk *walk)
{
	if (walk->scanning)
		dbos_scan_end(&walk->scan);
	walk->scanning = false;
}

/*
 * Goes down into a directory, whose path is that of the name that was read last.  All of it is listed, unless
 * the caller says something else in what is returned, which is there until the next directory is entered.
 */
DbosWalkLevel *
dbos_walk_enter(DbosWalk *walk, int64 directory)
{
	DbosWalkLevel *level;

	stop_scan(walk);
	if (walk->depth == walk->room)
		walk->levels = repalloc_huge(walk->levels, (Size) (walk->room *= 2) * sizeof(DbosWalkLevel));
	level = &walk->levels[walk->depth++];
	memset(level, 0, offsetof(DbosWalkLevel, last));
	memset(&level->prefix, 0, sizeof(DbosWalkLevel) - offsetof(DbosWalkLevel, prefix));
	level->directory = directory;
	level->path_length = walk->path.len;
	return level;
}

void
dbos_walk_end(DbosWalk *walk)
{
	stop_scan(walk);
	dbos_table_close(&walk->inodes);
	dbos_table_close(&walk->entries);
	MemoryContextDelete(walk->row);
	pfree(walk->levels);
	pfree(walk->path.data);
}

/* ---- the next name ---- */

/* The names from the last one on, which is among them, or from the prefix. */
static void
begin_scan(DbosWalk *walk, DbosWalkLevel *level)
{
	Datum		key[2] = {Int64GetDatum(level->directory), PointerGetDatum(&walk->key.datum)};
	DbosName	from = level->begun ? (DbosName) {level->last, level->last_length} : level->prefix;

	/* The scan refers to it as long as it goes on. */
	SET_VARSIZE(&walk->key.datum, VARHDRSZ + from.length);
	if (from.length > 0)
		memcpy(VARDATA(&walk->key.datum), from.bytes, from.length);
	dbos_scan_begin(&walk->scan, &walk->entries, walk->only_directories ? 2 : 0, walk->snapshot, key, from.length > 0 ? 2 : 1, from.length > 0);
	walk->scanning = true;
}

static bool
begins_with(DbosName name, DbosName prefix)
{
	return name.length >= prefix.length && (prefix.length == 0 || memcmp(name.bytes, prefix.bytes, prefix.length) == 0);
}

static bool
is_last(const DbosWalkLevel *level, DbosName name)
{
	return level->begun && name.length == level->last_length && memcmp(name.bytes, level->last, name.length) == 0;
}

static bool
next_listed(DbosWalk *walk, DbosWalkLevel *level)
{
	if (!walk->scanning)
		begin_scan(walk, level);
	while (dbos_scan_next(&walk->scan))
	{
		dbos_entry_fill(&walk->entries, &walk->entry);
		if (!begins_with(walk->entry.name, level->prefix))
			return false;
		if (walk->entry.died != FOREVER || is_last(level, walk->entry.name))
			continue;
		level->begun = true;
		level->last_length = walk->entry.name.length;
		memcpy(level->last, walk->entry.name.bytes, walk->entry.name.length);
		return true;
	}
	return false;
}

static bool
next_named(DbosWalk *walk, DbosWalkLevel *level)
{
	MemoryContext old = MemoryContextSwitchTo(walk->row);
	bool		found = false;

	while (!found && level->next_name < level->nnames)
		found = dbos_entry_find(level->directory, level->names[level->next_name++], walk->snapshot, FOREVER, &walk->entry);
	MemoryContextSwitchTo(old);
	return found;
}

/* The next name, in walk->entry; it lives until this is called again.  False: there is no more. */
bool
dbos_walk_next(DbosWalk *walk)
{
	MemoryContextReset(walk->row);
	while (walk->depth > 0)
	{
		DbosWalkLevel *level = &walk->levels[walk->depth - 1];

		CHECK_FOR_INTERRUPTS();
		if (level->names == NULL ? next_listed(walk, level) : next_named(walk, level))
			return true;
		stop_scan(walk);
		walk->depth--;
	}
	return false;
}

/*
 * What the name that was found is of, in walk->inode, and its path, in walk->path; who need not know saves most of
 * the work.  False: it is not there.
 */
bool
dbos_walk_read(DbosWalk *walk)
{
	MemoryContext old = MemoryContextSwitchTo(walk->row);
	Datum		key[2] = {Int64GetDatum(walk->entry.child), Int32GetDatum(FOREVER)};
	bool		found = dbos_table_find(&walk->inodes, 0, walk->snapshot, key, 2);

	if (found)
	{
		text	   *name = dbos_name_text(walk->entry.name);

		dbos_inode_fill(&walk->inodes, &walk->inode);
		walk->path.len = walk->levels[walk->depth - 1].path_length;
		appendStringInfoChar(&walk->path, '/');
		appendBinaryStringInfo(&walk->path, VARDATA(name), VARSIZE(name) - VARHDRSZ);
	}
	MemoryContextSwitchTo(old);
	return found;
}
