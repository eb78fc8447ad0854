/*
 * testing.c
 *	  The C interface of files for tests: functions that a test makes from the library, in test builds only.
 *
 * What SQL has no function for, since its users give paths and a mount has numbers, is called by these.  Their first four
 * arguments are a place: path, handle, number, name; where there are two, the second has number and name.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#ifdef DBOS_TESTING

#include "funcapi.h"
#include "utils/builtins.h"

#include "names.h"

PG_FUNCTION_INFO_V1(dbos_test_find);
PG_FUNCTION_INFO_V1(dbos_test_allows);
PG_FUNCTION_INFO_V1(dbos_test_read_link);
PG_FUNCTION_INFO_V1(dbos_test_scan);
PG_FUNCTION_INFO_V1(dbos_test_make);
PG_FUNCTION_INFO_V1(dbos_test_symlink);
PG_FUNCTION_INFO_V1(dbos_test_link);
PG_FUNCTION_INFO_V1(dbos_test_unlink);
PG_FUNCTION_INFO_V1(dbos_test_rmdir);
PG_FUNCTION_INFO_V1(dbos_test_rename);
PG_FUNCTION_INFO_V1(dbos_test_open);
PG_FUNCTION_INFO_V1(dbos_test_truncate);
PG_FUNCTION_INFO_V1(dbos_test_part);
PG_FUNCTION_INFO_V1(dbos_test_punch_hole);
PG_FUNCTION_INFO_V1(dbos_test_file_system_use);
PG_FUNCTION_INFO_V1(dbos_test_chmod);
PG_FUNCTION_INFO_V1(dbos_test_chown);
PG_FUNCTION_INFO_V1(dbos_test_set_times);
PG_FUNCTION_INFO_V1(dbos_test_set_xattr);
PG_FUNCTION_INFO_V1(dbos_test_get_xattr);
PG_FUNCTION_INFO_V1(dbos_test_remove_xattr);
PG_FUNCTION_INFO_V1(dbos_test_list_xattrs);

static DbosName
name_argument(FunctionCallInfo fcinfo, int argument)
{
	bytea	   *name = PG_GETARG_BYTEA_PP(argument);

	return (DbosName) {VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)};
}

static DbosPlace
place_argument(FunctionCallInfo fcinfo)
{
	return (DbosPlace) {
		.path = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0), .handle = PG_GETARG_INT64(1),
		.number = PG_GETARG_INT64(2), .name = name_argument(fcinfo, 3)
	};
}

static DbosPlace
second_place(FunctionCallInfo fcinfo)
{
	return (DbosPlace) {.number = PG_GETARG_INT64(4), .name = name_argument(fcinfo, 5)};
}

static bytea *
name_value(DbosName name)
{
	return (bytea *) cstring_to_text_with_len(name.bytes, name.length);
}

/* ---- looking ---- */

/* (place, follow boolean) → number, kind, mode, links, size, or NULL */
Datum
dbos_test_find(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);
	DbosInode	inode;
	Datum		values[5];
	bool		nulls[5] = {0};

	place.follow = PG_GETARG_BOOL(4) ? FOLLOW_LAST : FOLLOW_NOT_LAST;
	if (!dbos_file_find(&place, &inode))
		PG_RETURN_NULL();
	values[0] = Int64GetDatum(inode.number);
	values[1] = CStringGetTextDatum(dbos_kind_name(inode.mode));
	values[2] = CStringGetTextDatum(psprintf("%04o", (unsigned) inode.mode & 07777));
	values[3] = Int32GetDatum(inode.links);
	values[4] = Int64GetDatum(inode.size);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(dbos_result_descriptor(fcinfo), values, nulls)));
}

/* (place, want integer) → boolean, or NULL */
Datum
dbos_test_allows(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);
	DbosInode	inode;

	if (!dbos_file_find(&place, &inode))
		PG_RETURN_NULL();
	PG_RETURN_BOOL(dbos_file_allows(&inode, PG_GETARG_INT32(4)));
}

/* (place) → bytea */
Datum
dbos_test_read_link(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);

	PG_RETURN_BYTEA_P(name_value(dbos_file_read_link(&place)));
}

/* (place, after bytea, most integer) → rows of name, number, kind */
Datum
dbos_test_scan(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);
	ReturnSetInfo *result;
	DbosDirectoryScan *scan;
	DbosDirectoryName name;

	InitMaterializedSRF(fcinfo, 0);
	result = (ReturnSetInfo *) fcinfo->resultinfo;
	scan = dbos_directory_scan_begin(&place, name_argument(fcinfo, 4));
	for (int i = 0; i < PG_GETARG_INT32(5) && dbos_directory_scan_next(scan, &name); i++)
	{
		Datum		values[3] = {PointerGetDatum(name_value(name.name)), Int64GetDatum(name.number), CStringGetTextDatum(dbos_kind_name(name.kind))};
		bool		nulls[3] = {0};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	dbos_directory_scan_end(scan);
	return (Datum) 0;
}

/* ---- names ---- */

/* (place, mode integer) → number of the inode */
Datum
dbos_test_make(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);
	DbosInode	made;

	dbos_file_make(&place, PG_GETARG_INT32(4), &made);
	PG_RETURN_INT64(made.number);
}

/* (place, target bytea) → number of the inode */
Datum
dbos_test_symlink(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);
	DbosInode	made;

	dbos_file_symlink(name_argument(fcinfo, 4), &place, &made);
	PG_RETURN_INT64(made.number);
}

/* (place, number, name) */
Datum
dbos_test_link(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);
	DbosPlace	new_place = second_place(fcinfo);

	dbos_file_link(&place, &new_place);
	PG_RETURN_VOID();
}

/* (place) */
Datum
dbos_test_unlink(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);

	dbos_file_unlink(&place);
	PG_RETURN_VOID();
}

/* (place) */
Datum
dbos_test_rmdir(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);

	dbos_file_rmdir(&place);
	PG_RETURN_VOID();
}

/* (place, number, name, flags integer) */
Datum
dbos_test_rename(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);
	DbosPlace	new_place = second_place(fcinfo);

	dbos_file_rename(&place, &new_place, PG_GETARG_INT32(6));
	PG_RETURN_VOID();
}

/* (place, flags integer, mode integer) → handle */
Datum
dbos_test_open(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);

	PG_RETURN_INT64(dbos_file_open(&place, PG_GETARG_INT32(4), PG_GETARG_INT32(5)));
}

/* (place, size bigint) */
Datum
dbos_test_truncate(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);

	dbos_file_truncate(&place, PG_GETARG_INT64(4));
	PG_RETURN_VOID();
}

/* (place, from bigint) → start, length, hole, or NULL */
Datum
dbos_test_part(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);
	DbosFilePart part;
	Datum		values[3];
	bool		nulls[3] = {0};

	if (!dbos_file_part(&place, PG_GETARG_INT64(4), &part))
		PG_RETURN_NULL();
	values[0] = Int64GetDatum(part.start);
	values[1] = Int64GetDatum(part.length);
	values[2] = BoolGetDatum(part.hole);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(dbos_result_descriptor(fcinfo), values, nulls)));
}

/* (place, start bigint, length bigint) */
Datum
dbos_test_punch_hole(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);

	dbos_file_punch_hole(&place, PG_GETARG_INT64(4), PG_GETARG_INT64(5));
	PG_RETURN_VOID();
}

/* () → files, directories, bytes, max_files, max_bytes, available_bytes */
Datum
dbos_test_file_system_use(PG_FUNCTION_ARGS)
{
	DbosFileSystemUse use;
	Datum		values[6];
	bool		nulls[6] = {0};

	dbos_file_system_use(&use);
	values[0] = Int64GetDatum(use.files);
	values[1] = Int64GetDatum(use.directories);
	values[2] = Int64GetDatum(use.bytes);
	values[3] = Int64GetDatum(use.max_files);
	values[4] = Int64GetDatum(use.max_bytes);
	values[5] = Int64GetDatum(use.available_bytes);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(dbos_result_descriptor(fcinfo), values, nulls)));
}

/* ---- attributes ---- */

/* (place, mode integer) */
Datum
dbos_test_chmod(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);

	dbos_file_chmod(&place, PG_GETARG_INT32(4));
	PG_RETURN_VOID();
}

/* (place, owner oid, group oid) */
Datum
dbos_test_chown(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);

	dbos_file_chown(&place, PG_GETARG_OID(4), PG_GETARG_OID(5));
	PG_RETURN_VOID();
}

/* (place, accessed bigint, modified bigint); with neither to now */
Datum
dbos_test_set_times(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);
	int64		accessed = PG_ARGISNULL(4) ? 0 : PG_GETARG_INT64(4);
	int64		modified = PG_ARGISNULL(5) ? 0 : PG_GETARG_INT64(5);

	if (PG_ARGISNULL(4) && PG_ARGISNULL(5))
		dbos_file_set_times_now(&place);
	else
		dbos_file_set_times(&place, PG_ARGISNULL(4) ? NULL : &accessed, PG_ARGISNULL(5) ? NULL : &modified);
	PG_RETURN_VOID();
}

/* (place, name text, value bytea, flags integer) */
Datum
dbos_test_set_xattr(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);

	dbos_file_set_xattr(&place, PG_GETARG_TEXT_PP(4), PG_GETARG_BYTEA_PP(5), PG_GETARG_INT32(6));
	PG_RETURN_VOID();
}

/* (place, name text) → bytea */
Datum
dbos_test_get_xattr(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);
	bytea	   *value = dbos_file_get_xattr(&place, PG_GETARG_TEXT_PP(4));

	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_BYTEA_P(value);
}

/* (place, name text) */
Datum
dbos_test_remove_xattr(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);

	dbos_file_remove_xattr(&place, PG_GETARG_TEXT_PP(4));
	PG_RETURN_VOID();
}

static void
put_attribute(void *arg, DbosName name, int size)
{
	ReturnSetInfo *result = arg;
	Datum		values[2] = {PointerGetDatum(name_value(name)), Int32GetDatum(size)};
	bool		nulls[2] = {0};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* (place) → rows of name, size */
Datum
dbos_test_list_xattrs(PG_FUNCTION_ARGS)
{
	DbosPlace	place = place_argument(fcinfo);

	InitMaterializedSRF(fcinfo, 0);
	dbos_file_list_xattrs(&place, put_attribute, fcinfo->resultinfo);
	return (Datum) 0;
}

#endif
