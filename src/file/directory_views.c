/*
 * directory_views.c
 *	  What directories have, from the counters: dbos.directories, dbos.du() and dbos.largest_directories().
 *
 * Of each directory the counters say what is in it itself (usage.c): so what lies below one is the sum over
 * the directories below it, of which there are few beside the files in them, and which have an index of
 * their own.  A sum that each change brought up to the root would make every writer wait there.
 *
 * A directory is counted for who may read and search it, and reach it so from where the question begins: nobody is
 * told by a sum what no listing would tell.  What is in another is unknown: null for the directory itself, and
 * not part of what is above it.
 *
 * A file is in each directory that has a name of it, with all its bytes.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "names.h"
#include "usage.h"
#include "walk.h"

PG_FUNCTION_INFO_V1(dbos_directory_tree);
PG_FUNCTION_INFO_V1(dbos_du);
PG_FUNCTION_INFO_V1(dbos_largest_directories);

/* ---- counters of many directories ---- */

typedef struct Pending
{
	int64		directory;
	char		status;
	DbosUsage	usage;
} Pending;

#define SH_PREFIX pendings
#define SH_ELEMENT_TYPE Pending
#define SH_KEY_TYPE int64
#define SH_KEY directory
#define SH_HASH_KEY(tb, key) murmurhash32((uint32) (key) ^ (uint32) ((uint64) (key) >> 32))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct Counters
{
	Snapshot	snapshot;
	DbosTable	sums;
	DbosTable	changes;
	pendings_hash *pending;		/* what this transaction has in memory */
} Counters;

static void
keep_pending(void *arg, const DbosUsage *change)
{
	bool		found;
	Pending    *entry = pendings_insert(((Counters *) arg)->pending, change->directory, &found);

	if (!found)
		memset(&entry->usage, 0, sizeof(DbosUsage));
	dbos_usage_sum(&entry->usage, change);
}

static void
counters_begin(Counters *counters, Snapshot snapshot)
{
	counters->snapshot = snapshot;
	dbos_table_open(&counters->sums, TABLE_USAGE, AccessShareLock);
	dbos_table_open(&counters->changes, TABLE_CHANGE, AccessShareLock);
	counters->pending = pendings_create(CurrentMemoryContext, 64, NULL);
	dbos_usage_pending(keep_pending, counters);
}

static void
counters_end(Counters *counters)
{
	pendings_destroy(counters->pending);
	dbos_table_close(&counters->changes);
	dbos_table_close(&counters->sums);
}

static void
add_rows(DbosTable *table, int64 directory, Snapshot snapshot, DbosUsage *sum)
{
	Datum		key = Int64GetDatum(directory);
	DbosTableScan scan;

	dbos_scan_begin(&scan, table, 0, snapshot, &key, 1, false);
	while (dbos_scan_next(&scan))
	{
		DbosUsage	row;

		dbos_usage_fill(table, &row);
		dbos_usage_sum(sum, &row);
	}
	dbos_scan_end(&scan);
}

static void
counters_of(Counters *counters, int64 directory, DbosUsage *sum)
{
	Pending    *pending = pendings_lookup(counters->pending, directory);

	memset(sum, 0, sizeof(DbosUsage));
	add_rows(&counters->sums, directory, counters->snapshot, sum);
	add_rows(&counters->changes, directory, counters->snapshot, sum);
	if (pending != NULL)
		dbos_usage_sum(sum, &pending->usage);
}

/* ---- directories below a path ---- */

typedef struct Directory
{
	int			parent;			/* its place in the list; -1: it is the first */
	text	   *path;
	DbosInode	inode;
	bool		counted;
	DbosUsage	own;
	int64		total_bytes;
	int64		total_files;
	int64		total_directories;
} Directory;

/* Each after the one that it is in, and by name. */
typedef struct Directories
{
	Directory  *list;
	int			count;
	int			room;
} Directories;

static void
append(Directories *directories, Counters *counters, int parent, text *path, const DbosInode *inode)
{
	Directory  *directory;

	if (directories->count == directories->room)
	{
		directories->room *= 2;
		directories->list = repalloc_huge(directories->list, directories->room * sizeof(Directory));
	}
	directory = &directories->list[directories->count++];
	memset(directory, 0, sizeof(Directory));
	directory->parent = parent;
	directory->path = path;
	directory->inode = *inode;
	directory->counted = dbos_file_allows(inode, MAY_READ | MAY_EXECUTE);
	if (!directory->counted)
		return;
	counters_of(counters, inode->number, &directory->own);
	directory->total_bytes = directory->own.bytes;
	directory->total_files = directory->own.names;
	directory->total_directories = directory->own.directories;
}

static void
append_below(Directories *directories, Counters *counters, const char *path, int path_length)
{
	int			room = 16;
	int		   *places = palloc0(room * sizeof(int));	/* of the directories that the walk is in */
	DbosWalk	walk;

	dbos_walk_begin(&walk, path, path_length, counters->snapshot);
	walk.only_directories = true;
	(void) dbos_walk_enter(&walk, directories->list[0].inode.number);
	while (dbos_walk_next(&walk))
	{
		int			place = directories->count;

		if (!dbos_walk_read(&walk))
			continue;
		append(directories, counters, places[walk.depth - 1], cstring_to_text_with_len(walk.path.data, walk.path.len), &walk.inode);
		if (!directories->list[place].counted)
			continue;
		if (walk.depth == room)
			places = repalloc_huge(places, (Size) (room *= 2) * sizeof(int));
		places[walk.depth] = place;
		(void) dbos_walk_enter(&walk, walk.entry.child);
	}
	dbos_walk_end(&walk);
	pfree(places);
}

/* What is in a directory is in all those above it. */
static void
add_up(Directories *directories)
{
	for (int i = directories->count - 1; i > 0; i--)
	{
		Directory  *directory = &directories->list[i];
		Directory  *parent = &directories->list[directory->parent];

		parent->total_bytes += directory->total_bytes;
		parent->total_files += directory->total_files;
		parent->total_directories += directory->total_directories;
	}
}

/* path: found, and a directory. */
static void
find_directories(DbosPath *path, Snapshot snapshot, Directories *directories)
{
	int			length = VARSIZE_ANY_EXHDR(path->given);
	const char *bytes = VARDATA_ANY(path->given);
	Counters	counters;

	while (length > 0 && bytes[length - 1] == '/')
		length--;
	directories->room = 64;
	directories->list = palloc(directories->room * sizeof(Directory));
	directories->count = 0;
	counters_begin(&counters, snapshot);
	append(directories, &counters, -1, length == 0 ? cstring_to_text("/") : cstring_to_text_with_len(bytes, length), &path->inode);
	if (directories->list[0].counted)
		append_below(directories, &counters, bytes, length);
	add_up(directories);
	counters_end(&counters);
}

static void
find_from_root(Snapshot snapshot, Directories *directories)
{
	DbosPath	path = {.given = cstring_to_text("/")};

	dbos_root_read(snapshot, FOREVER, &path.inode);
	find_directories(&path, snapshot, directories);
}

/* dbos.directory_tree(path text) → the directory and all below it, each with what it has */
Datum
dbos_directory_tree(PG_FUNCTION_ARGS)
{
	text	   *given = PG_GETARG_TEXT_PP(0);
	Snapshot	snapshot = GetActiveSnapshot();
	ReturnSetInfo *result;
	Directories directories;
	DbosPath	path;

	InitMaterializedSRF(fcinfo, 0);
	result = (ReturnSetInfo *) fcinfo->resultinfo;
	dbos_path_require(given, FOLLOW_LAST, snapshot, &path);
	if (!S_ISDIR(path.inode.mode))
		dbos_not_a_directory(given);
	find_directories(&path, snapshot, &directories);
	for (int i = 0; i < directories.count; i++)
	{
		Directory  *directory = &directories.list[i];
		bool		nulls[12] = {false};
		Datum		values[12];

		for (int column = 3; column < 9; column++)
			nulls[column] = !directory->counted;
		dbos_directory_complete(&directory->inode, snapshot);
		values[0] = PointerGetDatum(directory->path);
		values[1] = Int64GetDatum(directory->inode.number);
		values[2] = ObjectIdGetDatum(directory->inode.owner);
		values[3] = Int64GetDatum(directory->own.bytes);
		values[4] = Int64GetDatum(directory->total_bytes);
		values[5] = Int64GetDatum(directory->own.names);
		values[6] = Int64GetDatum(directory->own.directories);
		values[7] = Int64GetDatum(directory->total_files);
		values[8] = Int64GetDatum(directory->total_directories);
		values[9] = ObjectIdGetDatum(directory->inode.group);
		values[10] = Int32GetDatum(directory->inode.mode & 07777);
		values[11] = TimestampTzGetDatum(dbos_file_timestamp(directory->inode.modified));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* dbos.du(path text) → bytes, files and directories below it */
Datum
dbos_du(PG_FUNCTION_ARGS)
{
	Snapshot	snapshot = GetActiveSnapshot();
	bool		nulls[3] = {false};
	Datum		values[3];
	DbosPath	path;

	dbos_path_require(PG_GETARG_TEXT_PP(0), FOLLOW_LAST, snapshot, &path);
	if (S_ISDIR(path.inode.mode))
	{
		Directories directories;

		dbos_file_demand(&path.inode, MAY_READ | MAY_EXECUTE, path.given);
		find_directories(&path, snapshot, &directories);
		values[0] = Int64GetDatum(directories.list[0].total_bytes);
		values[1] = Int64GetDatum(directories.list[0].total_files);
		values[2] = Int64GetDatum(directories.list[0].total_directories);
	}
	else
	{
		values[0] = Int64GetDatum(path.inode.size);
		values[1] = Int64GetDatum(1);
		values[2] = Int64GetDatum(0);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(dbos_result_descriptor(fcinfo), values, nulls)));
}

/* Largest first, then in the order of their paths. */
static int
compare_totals(const void *a, const void *b)
{
	const Directory *x = *(Directory *const *) a;
	const Directory *y = *(Directory *const *) b;

	if (x->total_bytes != y->total_bytes)
		return x->total_bytes > y->total_bytes ? -1 : 1;
	return x < y ? -1 : x > y;
}

/* dbos.largest_directories(role_name text, n integer) → of the directories that the role owns those with the most bytes */
Datum
dbos_largest_directories(PG_FUNCTION_ARGS)
{
	Oid			role = get_role_oid(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	int			wanted = PG_GETARG_INT32(1);
	ReturnSetInfo *result;
	Directories directories;
	Directory **owned;
	int			count = 0;

	if (wanted < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("number of directories must not be negative"));
	InitMaterializedSRF(fcinfo, 0);
	result = (ReturnSetInfo *) fcinfo->resultinfo;
	find_from_root(GetActiveSnapshot(), &directories);
	owned = MemoryContextAllocHuge(CurrentMemoryContext, directories.count * sizeof(Directory *));
	for (int i = 0; i < directories.count; i++)
		if (directories.list[i].inode.owner == role && directories.list[i].counted)
			owned[count++] = &directories.list[i];
	qsort(owned, count, sizeof(Directory *), compare_totals);
	for (int i = 0; i < Min(count, wanted); i++)
	{
		bool		nulls[5] = {false};
		Datum		values[5] = {
			PointerGetDatum(owned[i]->path), Int64GetDatum(owned[i]->total_bytes), Int64GetDatum(owned[i]->own.bytes),
			Int64GetDatum(owned[i]->own.names), Int64GetDatum(owned[i]->total_files)
		};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
