/*
 * open_file_functions.c
 *	  SQL functions of files that are open, and of locks in them.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xlog.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "dbos/container.h"
#include "lock.h"
#include "names.h"

PG_FUNCTION_INFO_V1(dbos_open_file_sql);
PG_FUNCTION_INFO_V1(dbos_close_file_sql);
PG_FUNCTION_INFO_V1(dbos_read_open_file_sql);
PG_FUNCTION_INFO_V1(dbos_write_open_file_sql);
PG_FUNCTION_INFO_V1(dbos_truncate_open_file_sql);
PG_FUNCTION_INFO_V1(dbos_stat_open_file_sql);
PG_FUNCTION_INFO_V1(dbos_list_open_files_sql);
PG_FUNCTION_INFO_V1(dbos_lock_file_sql);
PG_FUNCTION_INFO_V1(dbos_unlock_file_sql);
PG_FUNCTION_INFO_V1(dbos_lock_conflict_sql);
PG_FUNCTION_INFO_V1(dbos_list_file_locks_sql);

#define VALUE_MAX (MaxAllocSize - VARHDRSZ)

/* ---- opening ---- */

/* As fopen(3) has them. */
static const struct
{
	const char *name;
	int			flags;
}			modes[] = {
	{"r", DBOS_OPEN_READ},
	{"r+", DBOS_OPEN_READ | DBOS_OPEN_WRITE},
	{"w", DBOS_OPEN_WRITE | DBOS_OPEN_CREATE | DBOS_OPEN_TRUNCATE},
	{"w+", DBOS_OPEN_READ | DBOS_OPEN_WRITE | DBOS_OPEN_CREATE | DBOS_OPEN_TRUNCATE},
	{"a", DBOS_OPEN_WRITE | DBOS_OPEN_CREATE | DBOS_OPEN_APPEND},
	{"a+", DBOS_OPEN_READ | DBOS_OPEN_WRITE | DBOS_OPEN_CREATE | DBOS_OPEN_APPEND},
	{"wx", DBOS_OPEN_WRITE | DBOS_OPEN_CREATE | DBOS_OPEN_EXCLUSIVE},
	{"w+x", DBOS_OPEN_READ | DBOS_OPEN_WRITE | DBOS_OPEN_CREATE | DBOS_OPEN_EXCLUSIVE},
};

static int
flags_of(const char *mode)
{
	for (int i = 0; i < lengthof(modes); i++)
		if (strcmp(modes[i].name, mode) == 0)
			return modes[i].flags;
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("invalid mode to open a file: \"%s\"", mode),
			errhint("A mode is r, r+, w, w+, a, a+, wx or w+x, as of fopen(3)."));
}

/* What the file is open for: what was done when it was opened is over. */
static const char *
use_of(int flags)
{
	bool		reads = (flags & DBOS_OPEN_READ) != 0;

	if (flags & DBOS_OPEN_APPEND)
		return reads ? "a+" : "a";
	return (flags & DBOS_OPEN_WRITE) == 0 ? "r" : reads ? "r+" : "w";
}

/* dbos.open_file(path text, mode text) → handle */
Datum
dbos_open_file_sql(PG_FUNCTION_ARGS)
{
	int			flags = flags_of(text_to_cstring(PG_GETARG_TEXT_PP(1)));

	PreventCommandIfReadOnly("dbos.open_file()");
	PG_RETURN_INT64(dbos_file_open(DBOS_PATH(PG_GETARG_TEXT_PP(0)), flags, FILE_MODE & 07777));
}

/* dbos.close_file(handle bigint) */
Datum
dbos_close_file_sql(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("dbos.close_file()");
	dbos_file_close(PG_GETARG_INT64(0));
	PG_RETURN_VOID();
}

/* ---- content ---- */

/* dbos.read_open_file(handle bigint, start bigint, length bigint) → bytea; NULL length: up to the end */
Datum
dbos_read_open_file_sql(PG_FUNCTION_ARGS)
{
	int64		handle;
	int64		start = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	int64		length = PG_ARGISNULL(2) ? PG_INT64_MAX : PG_GETARG_INT64(2);
	DbosInode	inode;
	bytea	   *result;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	handle = PG_GETARG_INT64(0);
	if (start < 0 || length < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("start and length must not be negative"));
	dbos_file_stat_open(handle, &inode);
	length = Min(length, Max(inode.size - start, 0));
	if (length > VALUE_MAX)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("cannot read " INT64_FORMAT " bytes of a file at once", length),
				errhint("Read it in parts, by start and length."));
	result = palloc(VARHDRSZ + length);
	length = dbos_file_read_open(handle, start, VARDATA(result), length);
	SET_VARSIZE(result, VARHDRSZ + length);
	PG_RETURN_BYTEA_P(result);
}

/* dbos.write_open_file(handle bigint, start bigint, data bytea) → size afterwards */
Datum
dbos_write_open_file_sql(PG_FUNCTION_ARGS)
{
	bytea	   *data = PG_GETARG_BYTEA_PP(2);

	PreventCommandIfReadOnly("dbos.write_open_file()");
	PG_RETURN_INT64(dbos_file_write_open(PG_GETARG_INT64(0), PG_GETARG_INT64(1), VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data)));
}

/* dbos.truncate_open_file(handle bigint, size bigint) */
Datum
dbos_truncate_open_file_sql(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("dbos.truncate_open_file()");
	dbos_file_truncate(&(DbosPlace) {.handle = PG_GETARG_INT64(0)}, PG_GETARG_INT64(1));
	PG_RETURN_VOID();
}

/* dbos.stat_open_file(handle bigint) → as dbos.stat() */
Datum
dbos_stat_open_file_sql(PG_FUNCTION_ARGS)
{
	DbosInode	inode;
	Datum		values[STAT_COLUMNS];
	bool		nulls[STAT_COLUMNS] = {0};

	dbos_file_stat_open(PG_GETARG_INT64(0), &inode);
	dbos_stat_values(&inode, values, nulls);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(dbos_result_descriptor(fcinfo), values, nulls)));
}

/* ---- what is open, and locked ---- */

/* Handles of those whose role one has, and all of them for who watches the system; those in the container. */
static bool
may_see(const DbosOpenFile *file)
{
	Oid			user = GetUserId();

	return dbos_container_contains(dbos_context_container(), file->container) &&
		(has_privs_of_role(user, file->role) || dbos_is_monitor(user));
}

static Datum
path_datum(int64 inode, bool *isnull)
{
	text	   *path = dbos_path_of(inode, GetActiveSnapshot());

	*isnull = path == NULL;
	return PointerGetDatum(path);
}

static bool
list_file(void *arg, const DbosOpenFile *file)
{
	ReturnSetInfo *result = arg;
	Datum		values[9];
	bool		nulls[9] = {0};
	DbosInode	inode;

	if (!may_see(file) || !dbos_inode_read(file->inode, GetActiveSnapshot(), FOREVER, &inode))
		return true;
	values[0] = Int64GetDatum(file->handle);
	values[1] = path_datum(file->inode, &nulls[1]);
	values[2] = Int64GetDatum(file->inode);
	values[3] = CStringGetTextDatum(use_of(file->flags));
	values[4] = BoolGetDatum(inode.links == 0);
	values[5] = Int64GetDatum(dbos_inode_size(&inode, GetActiveSnapshot()));
	values[6] = ObjectIdGetDatum(file->role);
	values[7] = Int32GetDatum(file->process);
	values[8] = TimestampTzGetDatum(file->opened);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return true;
}

/* dbos.list_open_files() → rows of dbos.open_files; none on a standby, where no file can be opened */
Datum
dbos_list_open_files_sql(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	if (!RecoveryInProgress())
		dbos_open_file_visit(0, GetActiveSnapshot(), list_file, fcinfo->resultinfo);
	return (Datum) 0;
}

/* The columns kind, start and length of a lock; length is NULL when it has no end. */
static void
lock_values(const DbosFileLock *lock, Datum *values, bool *nulls)
{
	values[0] = CStringGetTextDatum(lock->exclusive ? "exclusive" : "shared");
	values[1] = Int64GetDatum(lock->start);
	nulls[2] = lock->finish == PG_INT64_MAX;
	values[2] = Int64GetDatum(lock->finish - lock->start);
}

static bool
list_lock(void *arg, const DbosFileLock *lock, const DbosOpenFile *file)
{
	ReturnSetInfo *result = arg;
	Datum		values[9];
	bool		nulls[9] = {0};

	if (!may_see(file))
		return true;
	values[0] = path_datum(lock->inode, &nulls[0]);
	values[1] = Int64GetDatum(lock->inode);
	values[2] = Int64GetDatum(lock->handle);
	nulls[3] = lock->owner == 0;
	values[3] = Int64GetDatum(lock->owner);
	lock_values(lock, &values[4], &nulls[4]);
	values[7] = ObjectIdGetDatum(file->role);
	values[8] = Int32GetDatum(file->process);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return true;
}

/* dbos.list_file_locks() → rows of dbos.file_locks */
Datum
dbos_list_file_locks_sql(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	if (!RecoveryInProgress())
		dbos_locks_visit(list_lock, fcinfo->resultinfo);
	return (Datum) 0;
}

/* ---- locks ---- */

/* Of the arguments handle, exclusive, start, length, wait, owner those that may be NULL. */
static int64
number_or(FunctionCallInfo fcinfo, int argument, int64 otherwise)
{
	return PG_ARGISNULL(argument) ? otherwise : PG_GETARG_INT64(argument);
}

/* NULL is without end; 0 would be to the others. */
static int64
length_argument(FunctionCallInfo fcinfo, int argument)
{
	if (!PG_ARGISNULL(argument) && PG_GETARG_INT64(argument) <= 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("length of a lock must be positive"),
				errhint("NULL reaches to the end of the file, wherever that will be."));
	return number_or(fcinfo, argument, 0);
}

/* dbos.lock_file(handle bigint, exclusive boolean, start bigint, length bigint, wait boolean, owner bigint) → whether it is locked */
Datum
dbos_lock_file_sql(PG_FUNCTION_ARGS)
{
	bool		exclusive = PG_ARGISNULL(1) || PG_GETARG_BOOL(1);
	bool		wait = PG_ARGISNULL(4) || PG_GETARG_BOOL(4);

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PreventCommandIfReadOnly("dbos.lock_file()");
	PG_RETURN_BOOL(dbos_file_lock(PG_GETARG_INT64(0), number_or(fcinfo, 5, 0), exclusive, number_or(fcinfo, 2, 0),
								  length_argument(fcinfo, 3), wait));
}

/* dbos.unlock_file(handle bigint, start bigint, length bigint, owner bigint) */
Datum
dbos_unlock_file_sql(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PreventCommandIfReadOnly("dbos.unlock_file()");
	dbos_file_unlock(PG_GETARG_INT64(0), number_or(fcinfo, 3, 0), number_or(fcinfo, 1, 0), length_argument(fcinfo, 2));
	PG_RETURN_VOID();
}

/* dbos.lock_conflict(handle bigint, exclusive boolean, start bigint, length bigint, owner bigint) → the lock that is in the way, or NULLs */
Datum
dbos_lock_conflict_sql(PG_FUNCTION_ARGS)
{
	bool		exclusive = PG_ARGISNULL(1) || PG_GETARG_BOOL(1);
	DbosFileLock conflict;
	DbosOpenFile holder;
	Datum		values[4];
	bool		nulls[4] = {0};

	if (PG_ARGISNULL(0) ||
		!dbos_file_lock_conflict(PG_GETARG_INT64(0), number_or(fcinfo, 4, 0), exclusive, number_or(fcinfo, 2, 0),
								 length_argument(fcinfo, 3), &conflict, &holder))
		PG_RETURN_NULL();
	lock_values(&conflict, values, nulls);
	values[3] = Int32GetDatum(holder.process);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(dbos_result_descriptor(fcinfo), values, nulls)));
}
