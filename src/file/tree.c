/*
 * tree.c
 *	  dbos.tree(): all that is below a path.
 *
 * As find(1) has it: the path itself is the first row; a directory that may not be read and searched is a row and what is in it
 * is left out; symbolic links are not followed, but that which the path itself is.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "names.h"
#include "walk.h"

PG_FUNCTION_INFO_V1(dbos_tree);

#define TREE_COLUMNS (2 + LS_COLUMNS)

static void
put(ReturnSetInfo *result, text *path, int depth, const DbosEntry *entry, DbosInode *inode, Snapshot snapshot)
{
	Datum		values[TREE_COLUMNS];
	bool		nulls[TREE_COLUMNS] = {0};

	values[0] = PointerGetDatum(path);
	values[1] = Int32GetDatum(depth);
	dbos_listing_values(entry, inode, snapshot, values + 2, nulls + 2);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static bool
may_list(const DbosInode *inode)
{
	return S_ISDIR(inode->mode) && dbos_file_allows(inode, MAY_READ | MAY_EXECUTE);
}

/* Without the slashes at its end. */
static int
length_of(text *given)
{
	int			length = VARSIZE_ANY_EXHDR(given);

	while (length > 0 && VARDATA_ANY(given)[length - 1] == '/')
		length--;
	return length;
}

static void
put_first(ReturnSetInfo *result, DbosPath *path, int length, Snapshot snapshot)
{
	text	   *shown = length == 0 ? cstring_to_text("/") : cstring_to_text_with_len(VARDATA_ANY(path->given), length);
	DbosName	bytes = dbos_path_bytes(shown);
	int			start = bytes.length;
	DbosEntry	entry = {.child = path->inode.number, .kind = (path->inode.mode & S_IFMT) >> 12};

	while (start > 0 && bytes.bytes[start - 1] != '/')
		start--;
	entry.name = length == 0 ? bytes : (DbosName) {bytes.bytes + start, bytes.length - start};
	put(result, shown, 0, &entry, &path->inode, snapshot);
}

/* dbos.tree(path text) → what is at that path, and below it */
Datum
dbos_tree(PG_FUNCTION_ARGS)
{
	text	   *given = PG_GETARG_TEXT_PP(0);
	Snapshot	snapshot = GetActiveSnapshot();
	ReturnSetInfo *result;
	int			length = length_of(given);
	DbosPath	path;
	DbosWalk	walk;

	InitMaterializedSRF(fcinfo, 0);
	result = (ReturnSetInfo *) fcinfo->resultinfo;
	dbos_path_require(given, FOLLOW_LAST, snapshot, &path);
	put_first(result, &path, length, snapshot);
	if (!may_list(&path.inode))
		return (Datum) 0;
	dbos_walk_begin(&walk, VARDATA_ANY(given), length, snapshot);
	(void) dbos_walk_enter(&walk, path.inode.number);
	while (dbos_walk_next(&walk))
	{
		MemoryContext old;
		bool		enter;

		if (!dbos_walk_read(&walk))
			continue;
		enter = may_list(&walk.inode);
		old = MemoryContextSwitchTo(walk.row);
		put(result, cstring_to_text_with_len(walk.path.data, walk.path.len), walk.depth, &walk.entry, &walk.inode, snapshot);
		MemoryContextSwitchTo(old);
		if (enter)
			(void) dbos_walk_enter(&walk, walk.entry.child);
	}
	dbos_walk_end(&walk);
	return (Datum) 0;
}
