/*
 * content_functions.c
 *	  SQL functions that read and write the content of files.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "names.h"
#include "usage.h"

PG_FUNCTION_INFO_V1(dbos_write_file);
PG_FUNCTION_INFO_V1(dbos_write_at);
PG_FUNCTION_INFO_V1(dbos_truncate_file);
PG_FUNCTION_INFO_V1(dbos_read_file);
PG_FUNCTION_INFO_V1(dbos_read_text);
PG_FUNCTION_INFO_V1(dbos_copy_file);

/* The most that a value can have. */
#define VALUE_MAX (MaxAllocSize - VARHDRSZ)

/* ---- writing ---- */

static void
require_file(const DbosPath *path)
{
	if (S_ISDIR(path->inode.mode))
		dbos_is_a_directory(path->given);
	if (!S_ISREG(path->inode.mode))
		dbos_not_a_file(path->given);
}

static DbosNewNames written;

/* likely_new: it is not looked for where the index can tell.  Who may not make files there may write one that is there. */
static void
find_written(text *given, bool likely_new, Snapshot snapshot, DbosPath *path)
{
	if (likely_new)
	{
		dbos_path_find_directory(given, snapshot, path);
		if (path->unknown && dbos_directory_allows_change(&path->directory, NULL))
			return;
	}
	dbos_path_find(given, FOLLOW_LAST, snapshot, path);
}

static bool
write_once(text *given, const DbosContent *content, bool create, bool likely_new, DbosInode *inode, Snapshot *snapshot)
{
	DbosPath	path;
	int64		old_size;

	find_written(given, likely_new, *snapshot, &path);
	if (create && !path.unknown)
		dbos_name_was_new(&written, !path.found);
	if (!path.found)
	{
		bool		made;

		if (!create)
			dbos_no_such_file(given);
		made = dbos_node_make(&path, FILE_MODE, content, snapshot);
		*inode = path.inode;
		return made;
	}
	require_file(&path);
	dbos_file_demand(&path.inode, MAY_WRITE, given);
	old_size = path.inode.size;
	if (!dbos_content_write(&path.inode, content, snapshot))
	{
		dbos_conflict();
		return false;
	}
	dbos_usage_charge(&path.inode, path.inode.size - old_size);
	*inode = path.inode;
	return true;
}

/* Writes to the file, which is made where that is allowed and it is missing; inode: as it is afterwards. */
static void
write_content(text *given, const DbosContent *content, bool create, DbosInode *inode)
{
	Snapshot	snapshot = dbos_view_begin();
	bool		likely_new = create && dbos_name_likely_new(&written);

	if (create)
		snapshot = dbos_root_make(snapshot);
	while (!write_once(given, content, create, likely_new, inode, &snapshot))
	{
		snapshot = dbos_view_renew();
		likely_new = false;
	}
	dbos_view_end();
	dbos_changed();
}

/* dbos.write_file(path text, data bytea, append boolean) → size afterwards; and write_text(), for text */
Datum
dbos_write_file(PG_FUNCTION_ARGS)
{
	struct varlena *data = PG_GETARG_VARLENA_PP(1);
	DbosContent content = {
		.how = PG_GETARG_BOOL(2) ? WRITE_APPEND : WRITE_REPLACE, .bytes = VARDATA_ANY(data), .length = VARSIZE_ANY_EXHDR(data)
	};
	DbosInode	inode;

	PreventCommandIfReadOnly("dbos.write_file()");
	write_content(PG_GETARG_TEXT_PP(0), &content, true, &inode);
	PG_RETURN_INT64(inode.size);
}

/* dbos.write_at(path text, start bigint, data bytea) → size afterwards */
Datum
dbos_write_at(PG_FUNCTION_ARGS)
{
	bytea	   *data = PG_GETARG_BYTEA_PP(2);
	DbosContent content = {
		.how = WRITE_AT, .start = PG_GETARG_INT64(1), .bytes = VARDATA_ANY(data), .length = VARSIZE_ANY_EXHDR(data)
	};
	DbosInode	inode;

	PreventCommandIfReadOnly("dbos.write_at()");
	write_content(PG_GETARG_TEXT_PP(0), &content, false, &inode);
	PG_RETURN_INT64(inode.size);
}

/* dbos.truncate_file(path text, size bigint) */
Datum
dbos_truncate_file(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("dbos.truncate_file()");
	dbos_file_truncate(DBOS_PATH(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT64(1));
	PG_RETURN_VOID();
}

/* ---- reading ---- */

/* What of [start, start + length) is in the file in that epoch; the arguments are of the SQL function, NULL length: up to its end. */
struct varlena *
dbos_content_value(const DbosPath *path, NullableDatum start_argument, NullableDatum length_argument, Snapshot snapshot, int32 at_epoch)
{
	int64		start = start_argument.isnull ? 0 : DatumGetInt64(start_argument.value);
	int64		length = length_argument.isnull ? PG_INT64_MAX : DatumGetInt64(length_argument.value);
	int64		size;
	struct varlena *result;

	if (start < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("start must not be negative"));
	if (length < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("length must not be negative"));
	require_file(path);
	dbos_file_demand(&path->inode, MAY_READ, path->given);
	size = at_epoch == FOREVER ? dbos_inode_size(&path->inode, snapshot) : path->inode.size;
	length = Min(length, Max(size - start, 0));
	if (length > VALUE_MAX)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("cannot read " INT64_FORMAT " bytes of file \"%s\" at once", length, text_to_cstring(path->given)),
				errhint("Read it in parts, by start and length."));
	result = palloc(VARHDRSZ + length);
	SET_VARSIZE(result, VARHDRSZ + length);
	dbos_content_read(&path->inode, start, VARDATA(result), length, snapshot, at_epoch);
	if (at_epoch == FOREVER)
		dbos_file_accessed(&path->inode);
	return result;
}

/* dbos.read_file(path text, start bigint, length bigint) → bytea */
Datum
dbos_read_file(PG_FUNCTION_ARGS)
{
	DbosPath	path;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	dbos_path_require(PG_GETARG_TEXT_PP(0), FOLLOW_LAST, GetActiveSnapshot(), &path);
	PG_RETURN_POINTER(dbos_content_value(&path, fcinfo->args[1], fcinfo->args[2], GetActiveSnapshot(), FOREVER));
}

/* dbos.read_text(path text) → text */
Datum
dbos_read_text(PG_FUNCTION_ARGS)
{
	NullableDatum whole = {.isnull = true};
	DbosPath	path;
	text	   *result;

	dbos_path_require(PG_GETARG_TEXT_PP(0), FOLLOW_LAST, GetActiveSnapshot(), &path);
	result = dbos_content_value(&path, whole, whole, GetActiveSnapshot(), FOREVER);
	(void) pg_verifymbstr(VARDATA(result), VARSIZE(result) - VARHDRSZ, false);
	PG_RETURN_TEXT_P(result);
}

/* ---- copying ---- */

/*
 * Makes new_given a file with the content that the other has in that epoch.  Whoever could free or overwrite its chunks
 * meanwhile is kept from it.  False: begin again.
 */
bool
dbos_copy_to(DbosPath *from, text *new_given, Snapshot *snapshot, int32 at_epoch)
{
	DbosPath	to;
	DbosContent content = {.how = WRITE_REPLACE, .bytes = ""};
	int64		old_size;

	dbos_path_find(new_given, FOLLOW_LAST, *snapshot, &to);
	if (from->inode.storage == STORAGE_INLINE)
	{
		content.bytes = from->inode.content != NULL ? from->inode.content : "";
		content.length = from->inode.size;
	}
	if (!to.found)
	{
		if (!dbos_node_make(&to, FILE_MODE & (from->inode.mode | ~0777), &content, snapshot))
			return false;
		*snapshot = dbos_view_renew();
	}
	else
	{
		require_file(&to);
		if (to.inode.number == from->inode.number && at_epoch == FOREVER)
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("\"%s\" and \"%s\" are the same file", text_to_cstring(from->given), text_to_cstring(new_given)));
		dbos_file_demand(&to.inode, MAY_WRITE, new_given);
		old_size = to.inode.size;
		if (!dbos_content_write(&to.inode, &content, snapshot))
		{
			dbos_conflict();
			return false;
		}
		dbos_usage_charge(&to.inode, to.inode.size - old_size);
		dbos_changed();
		*snapshot = dbos_view_renew();
	}
	if (from->inode.storage == STORAGE_INLINE)
		return true;
	if (dbos_storage_of(&from->inode)->share == NULL || dbos_is_large_object(&to.inode))
	{
		dbos_content_copy(&from->inode, at_epoch, &to.inode, snapshot);
		dbos_usage_charge(&to.inode, to.inode.size);
		return true;
	}
	/* The copy, which is empty and ours, gets the content of the other. */
	if (!dbos_inode_read(to.inode.number, *snapshot, FOREVER, &to.inode))
		dbos_no_such_file(new_given);
	to.inode.storage = from->inode.storage;
	to.inode.content = NULL;
	to.inode.size = from->inode.size;
	to.inode.checksum = from->inode.checksum;
	to.inode.checksum_known = from->inode.checksum_known;
	if (!dbos_inode_update(&to.inode, *snapshot))
		elog(ERROR, "copy of a file was changed by somebody else");
	dbos_storage_of(&from->inode)->share(&from->inode, &to.inode, *snapshot, at_epoch);
	dbos_usage_charge(&to.inode, to.inode.size);
	return true;
}

static bool
copy_once(text *given, text *new_given, Snapshot *snapshot)
{
	DbosPath	from;

	dbos_path_require(given, FOLLOW_LAST, *snapshot, &from);
	require_file(&from);
	dbos_file_demand(&from.inode, MAY_READ, given);
	/* A snapshot would have the copy, and not what it is of. */
	if (from.inode.born > dbos_epoch())
		dbos_epoch_passed();
	/* Its chunks are not to be freed meanwhile, nor overwritten. */
	if (from.inode.storage != STORAGE_INLINE && !dbos_inode_lock(&from.inode, *snapshot))
	{
		dbos_conflict();
		return false;
	}
	return dbos_copy_to(&from, new_given, snapshot, FOREVER);
}

/* dbos.copy(path text, new_path text) */
Datum
dbos_copy_file(PG_FUNCTION_ARGS)
{
	Snapshot	snapshot;

	PreventCommandIfReadOnly("dbos.copy()");
	snapshot = dbos_view_begin();
	while (!copy_once(PG_GETARG_TEXT_PP(0), PG_GETARG_TEXT_PP(1), &snapshot))
		snapshot = dbos_view_renew();
	dbos_view_end();
	dbos_changed();
	PG_RETURN_VOID();
}
