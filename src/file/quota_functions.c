/*
 * quota_functions.c
 *	  SQL functions that make and lift quotas, and tell what is used of them.
 *
 * Only an administrator makes quotas, also for a directory that somebody else owns: what bounds somebody is not
 * theirs to lift.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "dbos/container.h"
#include "quota.h"

PG_FUNCTION_INFO_V1(dbos_set_quota);
PG_FUNCTION_INFO_V1(dbos_set_role_quota);
PG_FUNCTION_INFO_V1(dbos_file_quota_use);

/* ---- setting ---- */

static int64
limit_argument(FunctionCallInfo fcinfo, int number)
{
	int64		limit;

	if (PG_ARGISNULL(number))
		return NO_LIMIT;
	limit = PG_GETARG_INT64(number);
	if (limit < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("a quota must not be negative"));
	return limit;
}

static void
demand_admin(void)
{
	if (!dbos_file_superuser())
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied to set quotas"),
				errhint("Only members of dbos_admin may."));
}

static void
store_limit(Datum *values, bool *nulls, int column, int64 limit)
{
	nulls[column] = limit == NO_LIMIT;
	values[column] = Int64GetDatum(limit);
}

/* With the lock of all quotas. */
static void
set_limits(const DbosQuota *quota)
{
	bool		lifted = quota->max_bytes == NO_LIMIT && quota->max_files == NO_LIMIT;
	Datum		key[2] = {Int64GetDatum(quota->directory), ObjectIdGetDatum(quota->role)};
	Datum		values[QUOTA_COLUMNS];
	bool		nulls[QUOTA_COLUMNS] = {false};
	DbosTable	table;
	bool		done = true;

	dbos_table_open(&table, TABLE_QUOTA, RowExclusiveLock);
	PushActiveSnapshot(GetLatestSnapshot());
	if (dbos_table_find(&table, 0, GetActiveSnapshot(), key, 2))
	{
		ItemPointerData tid = table.slot->tts_tid;

		slot_getallattrs(table.slot);
		memcpy(values, table.slot->tts_values, sizeof(values));
		store_limit(values, nulls, QUOTA_MAX_BYTES, quota->max_bytes);
		store_limit(values, nulls, QUOTA_MAX_FILES, quota->max_files);
		if (lifted)
			done = dbos_table_delete(&table, &tid, GetActiveSnapshot());
		else
			done = dbos_table_update(&table, &tid, values, nulls, GetActiveSnapshot(), UPDATE);
	}
	else if (!lifted)
	{
		DbosQuotaUse use;

		dbos_quota_count(quota, &use);
		values[QUOTA_DIRECTORY] = key[0];
		values[QUOTA_ROLE] = key[1];
		store_limit(values, nulls, QUOTA_MAX_BYTES, quota->max_bytes);
		store_limit(values, nulls, QUOTA_MAX_FILES, quota->max_files);
		values[QUOTA_BYTES] = Int64GetDatum(use.bytes);
		values[QUOTA_FILES] = Int64GetDatum(use.files);
		(void) dbos_table_insert(&table, values, nulls, UNIQUE_RAISE);
	}
	PopActiveSnapshot();
	if (!done)
		elog(ERROR, "quota was changed by who has not locked it");
	CacheInvalidateRelcache(table.heap);
	dbos_table_close(&table);
	dbos_changed();
}

static bool
directory_is_there(int64 directory)
{
	DbosInode	inode;
	bool		there;

	PushActiveSnapshot(GetLatestSnapshot());
	there = dbos_inode_read(directory, GetActiveSnapshot(), FOREVER, &inode);
	PopActiveSnapshot();
	return there;
}

/* dbos.set_quota(path text, bytes bigint, files bigint) */
Datum
dbos_set_quota(PG_FUNCTION_ARGS)
{
	DbosQuota	quota = {.max_bytes = limit_argument(fcinfo, 1), .max_files = limit_argument(fcinfo, 2)};
	text	   *given;
	DbosPath	path;
	Snapshot	snapshot;

	PreventCommandIfReadOnly("dbos.set_quota()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("path must not be null"));
	demand_admin();
	given = PG_GETARG_TEXT_PP(0);
	/* First, so that what is found is what is there until we commit. */
	dbos_quotas_lock();
	snapshot = dbos_root_make(dbos_view_begin());
	dbos_path_require(given, FOLLOW_LAST, snapshot, &path);
	if (!S_ISDIR(path.inode.mode))
		dbos_not_a_directory(given);
	if (!directory_is_there(path.inode.number))
		dbos_no_such_file(given);
	dbos_view_end();
	quota.directory = path.inode.number;
	set_limits(&quota);
	PG_RETURN_VOID();
}

/* dbos.set_role_quota(role regrole, bytes bigint, files bigint) */
Datum
dbos_set_role_quota(PG_FUNCTION_ARGS)
{
	DbosQuota	quota = {.max_bytes = limit_argument(fcinfo, 1), .max_files = limit_argument(fcinfo, 2)};

	PreventCommandIfReadOnly("dbos.set_role_quota()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("role must not be null"));
	demand_admin();
	quota.role = PG_GETARG_OID(0);
	if (dbos_context_container() != DBOS_ROOT_CONTAINER)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("quotas of roles cannot be set in a container"),
				errdetail("A role has files in all containers."),
				errhint("Set the quota of the container's root: SELECT dbos.set_quota('/', ...)."));
	/* One that was dropped may have left a quota. */
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(quota.role)) &&
		(quota.max_bytes != NO_LIMIT || quota.max_files != NO_LIMIT))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("role with OID %u does not exist", quota.role));
	dbos_quotas_lock();
	set_limits(&quota);
	PG_RETURN_VOID();
}

/* ---- telling ---- */

static bool
may_see_directory(int64 directory, Snapshot snapshot, bool all, Datum *path, int32 *container)
{
	DbosInode	inode;
	text	   *found;

	if (!dbos_inode_read(directory, snapshot, FOREVER, &inode) ||
		!dbos_container_contains(dbos_context_container(), inode.file_system))
		return false;
	found = all ? dbos_whole_path(directory, snapshot) : dbos_path_of(directory, snapshot);
	*path = PointerGetDatum(found);
	*container = inode.file_system;
	return found != NULL;
}

static void
put_quota(ReturnSetInfo *result, DbosTable *table, const DbosQuotaUse *added)
{
	enum
	{
		PATH, ROLE, CONTAINER, BYTES, MAX_BYTES, FILES, MAX_FILES, COLUMNS
	};
	Datum		values[COLUMNS] = {0};
	bool		nulls[COLUMNS] = {false};
	int64		directory = DatumGetInt64(dbos_column(table, QUOTA_DIRECTORY));
	Oid			role = DatumGetObjectId(dbos_column(table, QUOTA_ROLE));
	bool		all = dbos_is_monitor(GetUserId());
	int32		container;

	if (directory != 0)
	{
		if (!may_see_directory(directory, GetActiveSnapshot(), all, &values[PATH], &container))
			return;
		nulls[ROLE] = true;
		values[CONTAINER] = Int32GetDatum(container);
	}
	else
	{
		if (!has_privs_of_role(GetUserId(), role) && !(all && dbos_context_container() == DBOS_ROOT_CONTAINER))
			return;
		nulls[PATH] = nulls[CONTAINER] = true;
		values[ROLE] = ObjectIdGetDatum(role);
	}
	values[BYTES] = Int64GetDatum(DatumGetInt64(dbos_column(table, QUOTA_BYTES)) + added->bytes);
	values[FILES] = Int64GetDatum(DatumGetInt64(dbos_column(table, QUOTA_FILES)) + added->files);
	values[MAX_BYTES] = slot_getattr(table->slot, QUOTA_MAX_BYTES + 1, &nulls[MAX_BYTES]);
	values[MAX_FILES] = slot_getattr(table->slot, QUOTA_MAX_FILES + 1, &nulls[MAX_FILES]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static const DbosQuotaUse *
added_to(DbosTable *table, const DbosQuota *all, const DbosQuotaUse *added, int count)
{
	static const DbosQuotaUse nothing = {0};
	int64		directory = DatumGetInt64(dbos_column(table, QUOTA_DIRECTORY));
	Oid			role = DatumGetObjectId(dbos_column(table, QUOTA_ROLE));

	for (int i = 0; i < count; i++)
		if (all[i].directory == directory && all[i].role == role)
			return &added[i];
	return &nothing;
}

/* dbos.file_quota_use() → each quota that the caller may see, with what is used of it, this transaction included */
Datum
dbos_file_quota_use(PG_FUNCTION_ARGS)
{
	const DbosQuota *all;
	int			count = dbos_quotas(&all);
	DbosQuotaUse *added = palloc(sizeof(DbosQuotaUse) * Max(count, 1));
	DbosTable	table;
	TableScanDesc scan;

	InitMaterializedSRF(fcinfo, 0);
	dbos_quota_added(added, count, dbos_quota_moves());
	dbos_table_open(&table, TABLE_QUOTA, AccessShareLock);
	scan = table_beginscan(table.heap, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, table.slot))
	{
		CHECK_FOR_INTERRUPTS();
		put_quota((ReturnSetInfo *) fcinfo->resultinfo, &table, added_to(&table, all, added, count));
	}
	table_endscan(scan);
	dbos_table_close(&table);
	return (Datum) 0;
}
