/*
 * view_functions.c
 *	  What the columns of dbos.files are made of.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "visible.h"

PG_FUNCTION_INFO_V1(dbos_file_time);
PG_FUNCTION_INFO_V1(dbos_directory_links);
PG_FUNCTION_INFO_V1(dbos_directory_modified);
PG_FUNCTION_INFO_V1(dbos_directory_changed);

/* dbos.file_time(nanoseconds bigint) → timestamptz */
Datum
dbos_file_time(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(dbos_file_timestamp(PG_GETARG_INT64(0)));
}

/* ---- of directories, which have these in the counters; NULL for who may not see them ---- */

static bool
read_directory(FunctionCallInfo fcinfo, DbosInode *directory)
{
	int64		number = PG_GETARG_INT64(0);
	Snapshot	snapshot = GetActiveSnapshot();

	if (!dbos_inode_shown(number, snapshot) || !dbos_inode_read(number, snapshot, FOREVER, directory) || !S_ISDIR(directory->mode))
		return false;
	dbos_directory_complete(directory, snapshot);
	return true;
}

/* dbos.directory_links(inode bigint) → integer */
Datum
dbos_directory_links(PG_FUNCTION_ARGS)
{
	DbosInode	directory;

	if (!read_directory(fcinfo, &directory))
		PG_RETURN_NULL();
	PG_RETURN_INT32(directory.links);
}

/* dbos.directory_modified(inode bigint) → timestamptz */
Datum
dbos_directory_modified(PG_FUNCTION_ARGS)
{
	DbosInode	directory;

	if (!read_directory(fcinfo, &directory))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(dbos_file_timestamp(directory.modified));
}

/* dbos.directory_changed(inode bigint) → timestamptz */
Datum
dbos_directory_changed(PG_FUNCTION_ARGS)
{
	DbosInode	directory;

	if (!read_directory(fcinfo, &directory))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(dbos_file_timestamp(directory.changed));
}
