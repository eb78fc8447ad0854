/*
 * name_functions.c
 *	  SQL functions that make, rename and remove files, and tell what is where.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "names.h"

PG_FUNCTION_INFO_V1(dbos_mkdir_sql);
PG_FUNCTION_INFO_V1(dbos_rmdir_sql);
PG_FUNCTION_INFO_V1(dbos_unlink_sql);
PG_FUNCTION_INFO_V1(dbos_rename_sql);
PG_FUNCTION_INFO_V1(dbos_link_sql);
PG_FUNCTION_INFO_V1(dbos_symlink_sql);
PG_FUNCTION_INFO_V1(dbos_read_link);
PG_FUNCTION_INFO_V1(dbos_stat);
PG_FUNCTION_INFO_V1(dbos_ls);

const char *
dbos_kind_name(int32 mode)
{
	switch (mode & S_IFMT)
	{
		case S_IFDIR:
			return "directory";
		case S_IFLNK:
			return "symlink";
		default:
			return "file";
	}
}

/* ---- making ---- */

/* Without an error when it is there already and may be.  storage: of what is made in it; 0: as in the directory that it is in. */
static void
make_directory(text *given, bool may_exist, char storage)
{
	Snapshot	snapshot = dbos_root_make(dbos_view_begin());

	for (;;)
	{
		DbosPath	path;

		dbos_path_find(given, may_exist ? FOLLOW_LAST : FOLLOW_NOT_LAST, snapshot, &path);
		if (path.found && (!may_exist || !S_ISDIR(path.inode.mode)))
			dbos_file_exists(given);
		if (path.found && storage != 0 && path.inode.storage != storage)
			ereport(ERROR,
					errcode(ERRCODE_DUPLICATE_FILE),
					errmsg("directory \"%s\" already exists, with another storage class", text_to_cstring(given)));
		/* It inherits from that one. */
		if (storage != 0)
			path.directory.storage = storage;
		if (path.found || dbos_node_make(&path, DIRECTORY_MODE, NULL, &snapshot))
			break;
		snapshot = dbos_view_renew();
	}
	dbos_view_end();
	dbos_changed();
}

static char
storage_code(text *name)
{
	const char *given = text_to_cstring(name);

	if (strcmp(given, "chunk") == 0)
		return STORAGE_CHUNK;
	if (strcmp(given, "large_object") == 0)
		return STORAGE_LARGE_OBJECT;
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("unknown storage class \"%s\"", given),
			errhint("The storage class of a directory is \"chunk\" or \"large_object\"."));
}

/* dbos.mkdir(path text, parents boolean, storage text) */
Datum
dbos_mkdir_sql(PG_FUNCTION_ARGS)
{
	text	   *given;
	bool		parents;
	char		storage;
	const char *bytes;
	int			length;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	given = PG_GETARG_TEXT_PP(0);
	parents = PG_GETARG_BOOL(1);
	storage = PG_ARGISNULL(2) ? 0 : storage_code(PG_GETARG_TEXT_PP(2));
	bytes = VARDATA_ANY(given);
	length = VARSIZE_ANY_EXHDR(given);
	PreventCommandIfReadOnly("dbos.mkdir()");
	for (int i = 1; parents && i < length; i++)
		if (bytes[i] == '/' && bytes[i - 1] != '/')
			make_directory(cstring_to_text_with_len(bytes, i), true, 0);
	make_directory(given, parents, storage);
	PG_RETURN_VOID();
}

/* dbos.symlink(target text, path text) */
Datum
dbos_symlink_sql(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("dbos.symlink()");
	dbos_file_symlink(dbos_path_bytes(PG_GETARG_TEXT_PP(0)), DBOS_PATH(PG_GETARG_TEXT_PP(1)), NULL);
	PG_RETURN_VOID();
}

/* dbos.link(path text, new_path text) */
Datum
dbos_link_sql(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("dbos.link()");
	dbos_file_link(DBOS_PATH(PG_GETARG_TEXT_PP(0)), DBOS_PATH(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_VOID();
}

/* dbos.rename(path text, new_path text) */
Datum
dbos_rename_sql(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("dbos.rename()");
	dbos_file_rename(DBOS_PATH(PG_GETARG_TEXT_PP(0)), DBOS_PATH(PG_GETARG_TEXT_PP(1)), 0);
	PG_RETURN_VOID();
}

/* dbos.unlink(path text) */
Datum
dbos_unlink_sql(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("dbos.unlink()");
	dbos_file_unlink(DBOS_PATH(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/* dbos.rmdir(path text) */
Datum
dbos_rmdir_sql(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("dbos.rmdir()");
	dbos_file_rmdir(DBOS_PATH(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/* ---- telling ---- */

/* dbos.read_link(path text) → text */
Datum
dbos_read_link(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(dbos_name_text(dbos_file_read_link(DBOS_PATH(PG_GETARG_TEXT_PP(0)))));
}

static const char *
storage_name(const DbosInode *inode)
{
	return S_ISREG(inode->mode) ? dbos_storage_of(inode)->name : S_ISDIR(inode->mode) && inode->storage == STORAGE_LARGE_OBJECT ? "large_object" : NULL;
}

/* Of the row that the function returns; made once for all rows of a query. */
TupleDesc
dbos_result_descriptor(FunctionCallInfo fcinfo)
{
	if (fcinfo->flinfo->fn_extra == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
		TupleDesc	descriptor;

		if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		fcinfo->flinfo->fn_extra = BlessTupleDesc(descriptor);
		MemoryContextSwitchTo(old);
	}
	return fcinfo->flinfo->fn_extra;
}

/* A row of dbos.stat(); nulls is false everywhere. */
void
dbos_stat_values(const DbosInode *inode, Datum *values, bool *nulls)
{
	const char *storage = storage_name(inode);

	values[0] = Int64GetDatum(inode->number);
	values[1] = CStringGetTextDatum(dbos_kind_name(inode->mode));
	values[2] = Int32GetDatum(inode->mode & 07777);
	values[3] = ObjectIdGetDatum(inode->owner);
	values[4] = ObjectIdGetDatum(inode->group);
	values[5] = Int64GetDatum(inode->size);
	values[6] = Int32GetDatum(inode->links);
	values[7] = TimestampTzGetDatum(dbos_file_timestamp(inode->created));
	values[8] = TimestampTzGetDatum(dbos_file_timestamp(inode->modified));
	values[9] = TimestampTzGetDatum(dbos_file_timestamp(inode->changed));
	values[10] = TimestampTzGetDatum(dbos_file_timestamp(inode->accessed));
	nulls[11] = storage == NULL;
	values[11] = storage == NULL ? (Datum) 0 : CStringGetTextDatum(storage);
	nulls[12] = !inode->checksum_known || !S_ISREG(inode->mode);
	values[12] = nulls[12] ? (Datum) 0 : CStringGetTextDatum(psprintf("%08x", inode->checksum));
}

/* dbos.stat(path text) → what is known of it; of a symbolic link what is known of that */
Datum
dbos_stat(PG_FUNCTION_ARGS)
{
	DbosPath	path;
	Datum		values[STAT_COLUMNS];
	bool		nulls[STAT_COLUMNS] = {0};

	dbos_path_require(PG_GETARG_TEXT_PP(0), FOLLOW_NOT_LAST, GetActiveSnapshot(), &path);
	if (S_ISDIR(path.inode.mode))
		dbos_directory_complete(&path.inode, GetActiveSnapshot());
	path.inode.size = dbos_inode_size(&path.inode, GetActiveSnapshot());
	dbos_stat_values(&path.inode, values, nulls);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(dbos_result_descriptor(fcinfo), values, nulls)));
}

/* A row of dbos.ls(). */
void
dbos_ls_values(DbosName name, const DbosInode *inode, Datum *values)
{
	values[0] = PointerGetDatum(dbos_name_text(name));
	values[1] = CStringGetTextDatum(dbos_kind_name(inode->mode));
	values[2] = Int32GetDatum(inode->mode & 07777);
	values[3] = ObjectIdGetDatum(inode->owner);
	values[4] = ObjectIdGetDatum(inode->group);
	values[5] = Int64GetDatum(inode->size);
	values[6] = TimestampTzGetDatum(dbos_file_timestamp(inode->modified));
	values[7] = Int64GetDatum(inode->number);
}

/*
 * Of a name and its inode: name, kind, mode, owner, group, size, modified_at, inode.  inode is NULL where
 * its directory may not be searched: then only what the name itself says is told.
 */
void
dbos_listing_values(const DbosEntry *entry, DbosInode *inode, Snapshot snapshot, Datum *values, bool *nulls)
{
	DbosInode	unknown = {.number = entry->child, .mode = entry->kind << 12};

	memset(nulls, inode == NULL, sizeof(bool) * LS_COLUMNS);
	nulls[0] = nulls[1] = nulls[7] = false;
	if (inode != NULL)
	{
		if (S_ISDIR(inode->mode))
			dbos_directory_complete(inode, snapshot);
		inode->size = dbos_inode_size(inode, snapshot);
	}
	dbos_ls_values(entry->name, inode == NULL ? &unknown : inode, values);
}

/* dbos.ls(path text) → names in a directory, or the file itself */
Datum
dbos_ls(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result;
	Snapshot	snapshot = GetActiveSnapshot();
	text	   *given = PG_GETARG_TEXT_PP(0);
	DbosEntryScan scan;
	DbosEntry	entry;
	DbosPath	path;
	MemoryContext row;
	MemoryContext old;
	bool		searched;

	InitMaterializedSRF(fcinfo, 0);
	result = (ReturnSetInfo *) fcinfo->resultinfo;
	dbos_path_require(given, FOLLOW_LAST, snapshot, &path);
	if (!S_ISDIR(path.inode.mode))
		dbos_not_a_directory(given);
	dbos_file_demand(&path.inode, MAY_READ, given);
	searched = dbos_file_allows(&path.inode, MAY_EXECUTE);
	dbos_entry_scan_begin(&scan, path.inode.number, snapshot, FOREVER);
	row = AllocSetContextCreate(CurrentMemoryContext, "dbos ls", ALLOCSET_DEFAULT_SIZES);
	while (dbos_entry_scan_next(&scan, &entry))
	{
		DbosInode	inode;
		Datum		values[LS_COLUMNS];
		bool		nulls[LS_COLUMNS];

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(row);
		old = MemoryContextSwitchTo(row);
		if (dbos_inode_read(entry.child, snapshot, FOREVER, &inode))
		{
			dbos_listing_values(&entry, searched ? &inode : NULL, snapshot, values, nulls);
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		}
		MemoryContextSwitchTo(old);
	}
	dbos_entry_scan_end(&scan);
	return (Datum) 0;
}
