/*
 * hole.c
 *	  Holes of files: where they are, and how they are made.
 *
 * What was never written, between what was, is not stored (storage.c).  Who copies a file elsewhere asks where data
 * is, so that holes remain holes; who has no more use for a part in the middle of a file gives its space back.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "file.h"

PG_FUNCTION_INFO_V1(dbos_file_map);
PG_FUNCTION_INFO_V1(dbos_punch_hole);

/* ---- where ---- */

/* The part of a file of that size from there on; false: it ends before. */
static bool
find_part(const DbosInode *inode, int64 size, int64 from, Snapshot snapshot, DbosFilePart *part)
{
	int64		start;
	int64		end;
	bool		found;

	if (from >= size)
		return false;
	found = dbos_storage_of(inode)->data(inode, from, &start, &end, snapshot);
	part->start = from;
	part->hole = !found || start > from;
	part->length = Min(!found ? size : start > from ? start : end, size) - from;
	return true;
}

static void
find_readable(const DbosPlace *place, Snapshot snapshot, DbosPath *path)
{
	dbos_place_require(place, place->follow, snapshot, path);
	if (place->path != NULL || place->handle == 0)
		dbos_place_demand(place, path, DBOS_OPEN_READ, snapshot);
}

bool
dbos_file_part(const DbosPlace *place, int64 from, DbosFilePart *part)
{
	Snapshot	snapshot = GetActiveSnapshot();
	DbosPath	path;

	if (from < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("start must not be negative"));
	find_readable(place, snapshot, &path);
	return find_part(&path.inode, dbos_inode_size(&path.inode, snapshot), from, snapshot, part);
}

/* dbos.file_map(path text) → start, length, kind: 'data' or 'hole' */
Datum
dbos_file_map(PG_FUNCTION_ARGS)
{
	Snapshot	snapshot = GetActiveSnapshot();
	ReturnSetInfo *result;
	DbosFilePart part;
	DbosPath	path;
	int64		size;

	InitMaterializedSRF(fcinfo, 0);
	result = (ReturnSetInfo *) fcinfo->resultinfo;
	find_readable(DBOS_PATH(PG_GETARG_TEXT_PP(0)), snapshot, &path);
	size = dbos_inode_size(&path.inode, snapshot);
	for (int64 from = 0; find_part(&path.inode, size, from, snapshot, &part); from += part.length)
	{
		Datum		values[3] = {Int64GetDatum(part.start), Int64GetDatum(part.length), CStringGetTextDatum(part.hole ? "hole" : "data")};
		bool		nulls[3] = {false};

		CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ---- how ---- */

/* False: the file was changed meanwhile; look again. */
static bool
punch_once(const DbosPlace *place, int64 start, int64 length, Snapshot *snapshot)
{
	DbosPath	path;
	DbosInode  *inode = &path.inode;

	dbos_place_require(place, place->follow, *snapshot, &path);
	dbos_place_demand(place, &path, DBOS_OPEN_WRITE, *snapshot);
	if (dbos_storage_of(inode)->punch == NULL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot punch a hole into \"%s\"", text_to_cstring(path.given)),
				errdetail("Its content is a large object."));
	if (start >= inode->size)
		return true;
	if (dbos_content_punch(inode, start, start + Min(length, inode->size - start), snapshot))
		return true;
	dbos_conflict();
	return false;
}

void
dbos_file_punch_hole(const DbosPlace *place, int64 start, int64 length)
{
	Snapshot	snapshot;

	if (start < 0 || length <= 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("start of a hole must not be negative, and its length must be positive"));
	snapshot = dbos_view_begin();
	while (!punch_once(place, start, length, &snapshot))
		snapshot = dbos_view_renew();
	dbos_view_end();
	dbos_changed();
}

/* dbos.punch_hole(path text, start bigint, length bigint) */
Datum
dbos_punch_hole(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("dbos.punch_hole()");
	dbos_file_punch_hole(DBOS_PATH(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT64(1), PG_GETARG_INT64(2));
	PG_RETURN_VOID();
}
