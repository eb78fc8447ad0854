/*
 * path_functions.c
 *	  Where the names lie whose paths, as dbos.files shows them, are equal to a text or begin with it.
 *
 * For the planner (plan.c), which compares the paths of what is found here with the text itself: so what
 * is told may be too much, never too little.  A path is that of a listing: no symbolic link is
 * followed, and only directories count that such a listing comes upon (visible.c).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "plan.h"
#include "visible.h"

PG_FUNCTION_INFO_V1(dbos_path_directory);
PG_FUNCTION_INFO_V1(dbos_path_inode);
PG_FUNCTION_INFO_V1(dbos_path_name);
PG_FUNCTION_INFO_V1(dbos_path_directory_array);
PG_FUNCTION_INFO_V1(dbos_path_name_array);
PG_FUNCTION_INFO_V1(dbos_path_directories);

/* ---- one path ---- */

/* Bytes of a path before the last slash; -1: there is none. */
static int
last_slash(const char *bytes, int length)
{
	while (--length >= 0 && bytes[length] != '/')
		;
	return length;
}

/* The directory with that path, which has no slash at its end; 0: none is found.  The root is empty. */
static int64
find_directory(const char *bytes, int length, Snapshot snapshot)
{
	const char *end = bytes + length;
	DbosInode	root;
	DbosShown	shown;
	int64		directory;

	dbos_root_read(snapshot, FOREVER, &root);
	directory = root.number;
	while (bytes < end && directory != 0)
	{
		const char *next;
		DbosEntry	entry;

		CHECK_FOR_INTERRUPTS();
		if (*bytes++ != '/')
			return 0;
		next = memchr(bytes, '/', end - bytes);
		if (next == NULL)
			next = end;
		if (next - bytes > DBOS_NAME_MAX ||
			!dbos_entry_find(directory, (DbosName) {bytes, next - bytes}, snapshot, FOREVER, &entry) || entry.kind != S_IFDIR >> 12)
			return 0;
		directory = entry.child;
		bytes = next;
	}
	if (directory == 0)
		return 0;
	dbos_directory_shown(directory, snapshot, &shown);
	return shown.found ? directory : 0;
}

static int64
directory_of(text *path, Snapshot snapshot)
{
	DbosName	bytes = dbos_path_bytes(path);
	int			slash = last_slash(bytes.bytes, bytes.length);

	return slash < 0 ? 0 : find_directory(bytes.bytes, slash, snapshot);
}

static bytea *
name_of(text *path)
{
	DbosName	bytes = dbos_path_bytes(path);
	int			start = last_slash(bytes.bytes, bytes.length) + 1;
	bytea	   *name = palloc(VARHDRSZ + bytes.length - start);

	SET_VARSIZE(name, VARHDRSZ + bytes.length - start);
	memcpy(VARDATA(name), bytes.bytes + start, bytes.length - start);
	return name;
}

/* dbos.path_directory(path text) → inode of the directory that has the name at its end, or NULL */
Datum
dbos_path_directory(PG_FUNCTION_ARGS)
{
	int64		directory = directory_of(PG_GETARG_TEXT_PP(0), GetActiveSnapshot());

	if (directory == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(directory);
}

/* dbos.path_inode(path text) → inode of the directory with that path, or NULL */
Datum
dbos_path_inode(PG_FUNCTION_ARGS)
{
	DbosName	bytes = dbos_path_bytes(PG_GETARG_TEXT_PP(0));
	bool		is_root = bytes.length == 1 && bytes.bytes[0] == '/';
	int64		directory = bytes.length == 0 ? 0 : find_directory(bytes.bytes, is_root ? 0 : bytes.length, GetActiveSnapshot());

	if (directory == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(directory);
}

/* dbos.path_name(path text) → the name at its end */
Datum
dbos_path_name(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(name_of(PG_GETARG_TEXT_PP(0)));
}

/* ---- an array of paths ---- */

static int
array_of(ArrayType *array, Datum **paths, bool **nulls)
{
	int			count;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, paths, nulls, &count);
	return count;
}

/* dbos.path_directory(paths text[]) → bigint[] */
Datum
dbos_path_directory_array(PG_FUNCTION_ARGS)
{
	Datum	   *paths;
	bool	   *nulls;
	int			count = array_of(PG_GETARG_ARRAYTYPE_P(0), &paths, &nulls);
	Datum	   *found = palloc(Max(count, 1) * sizeof(Datum));
	int			nfound = 0;

	for (int i = 0; i < count; i++)
	{
		int64		directory = nulls[i] ? 0 : directory_of(DatumGetTextPP(paths[i]), GetActiveSnapshot());

		if (directory != 0)
			found[nfound++] = Int64GetDatum(directory);
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(found, nfound, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* dbos.path_name(paths text[]) → bytea[] */
Datum
dbos_path_name_array(PG_FUNCTION_ARGS)
{
	Datum	   *paths;
	bool	   *nulls;
	int			count = array_of(PG_GETARG_ARRAYTYPE_P(0), &paths, &nulls);
	Datum	   *names = palloc(Max(count, 1) * sizeof(Datum));
	int			nnames = 0;

	for (int i = 0; i < count; i++)
		if (!nulls[i])
			names[nnames++] = PointerGetDatum(name_of(DatumGetTextPP(paths[i])));
	PG_RETURN_ARRAYTYPE_P(construct_array(names, nnames, BYTEAOID, -1, false, TYPALIGN_INT));
}

/* ---- all below a prefix ---- */

typedef struct Found
{
	int64	   *directories;
	int			count;
	int			room;
} Found;

static void
append(Found *found, int64 directory)
{
	if (found->count == found->room)
	{
		found->room = Max(64, found->room * 2);
		if (found->directories == NULL)
			found->directories = palloc(found->room * sizeof(int64));
		else
			found->directories = repalloc_huge(found->directories, found->room * sizeof(int64));
	}
	found->directories[found->count++] = directory;
}

static bool
begins_with(DbosName name, const char *prefix, int length)
{
	text	   *shown;
	bool		begins;

	if (length == 0)
		return true;
	shown = dbos_name_text(name);
	begins = VARSIZE(shown) - VARHDRSZ >= length && memcmp(VARDATA(shown), prefix, length) == 0;
	pfree(shown);
	return begins;
}

/* Adds the directories in that one whose names begin so, if they are shown. */
static void
append_below(Found *found, DbosTable *entries, int64 directory, const char *prefix, int length, Snapshot snapshot)
{
	Datum		key = Int64GetDatum(directory);
	DbosTableScan scan;
	DbosShown	shown;

	dbos_directory_shown(directory, snapshot, &shown);
	if (!shown.found)
		return;
	dbos_scan_begin(&scan, entries, 2, snapshot, &key, 1, false);
	while (dbos_scan_next(&scan))
	{
		bytea	   *name = DatumGetByteaPP(dbos_column(entries, ENTRY_NAME));

		CHECK_FOR_INTERRUPTS();
		if (DatumGetInt32(dbos_column(entries, ENTRY_DIED)) == FOREVER &&
			begins_with((DbosName) {VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)}, prefix, length))
		{
			int64		child = DatumGetInt64(dbos_column(entries, ENTRY_CHILD));
			DbosShown	below = {.found = true};

			/* One's own is found where nothing is listed. */
			if (!shown.listed)
				dbos_directory_shown(child, snapshot, &below);
			if (below.found)
				append(found, child);
		}
	}
	dbos_scan_end(&scan);
}

/* Directories with names whose paths may begin so; ends early when there are more than that. */
static void
find_below(text *prefix, Snapshot snapshot, int max, Found *found)
{
	const char *bytes = VARDATA_ANY(prefix);
	int			length = VARSIZE_ANY_EXHDR(prefix);
	int			slash = last_slash(bytes, length);
	DbosName	path;
	DbosTable	entries;
	int64		directory;

	memset(found, 0, sizeof(Found));
	if (slash < 0)
		return;
	path = dbos_path_bytes(cstring_to_text_with_len(bytes, slash));
	directory = find_directory(path.bytes, path.length, snapshot);
	if (directory == 0)
		return;
	append(found, directory);
	dbos_table_open(&entries, TABLE_ENTRY, AccessShareLock);
	append_below(found, &entries, directory, bytes + slash + 1, length - slash - 1, snapshot);
	for (int next = 1; next < found->count && found->count <= max; next++)
		append_below(found, &entries, found->directories[next], NULL, 0, snapshot);
	dbos_table_close(&entries);
}

/* dbos.path_directories(prefix text) → inodes of all directories that have names whose paths may begin so */
Datum
dbos_path_directories(PG_FUNCTION_ARGS)
{
	Found		found;
	Datum	   *values;

	find_below(PG_GETARG_TEXT_PP(0), GetActiveSnapshot(), PG_INT32_MAX, &found);
	values = MemoryContextAllocHuge(CurrentMemoryContext, Max(found.count, 1) * sizeof(Datum));
	for (int i = 0; i < found.count; i++)
		values[i] = Int64GetDatum(found.directories[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(values, found.count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* How many names there are below a prefix; false: it is not said, since they are in more directories. */
bool
dbos_path_estimate(text *prefix, Snapshot snapshot, int directories_max, double *names)
{
	Found		found;

	find_below(prefix, snapshot, directories_max, &found);
	if (found.count > directories_max)
		return false;
	*names = 0;
	for (int i = 0; i < found.count; i++)
	{
		DbosUsage	usage;

		dbos_usage_of(found.directories[i], snapshot, &usage);
		*names += usage.names + usage.directories;
	}
	return true;
}
