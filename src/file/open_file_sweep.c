/*
 * open_file_sweep.c
 *	  Handles of sessions that are gone are closed, and files freed that nobody has open any more.
 *
 * A session is known by its process and when that started: a process that has the number of another is no
 * heir.  A session tells when it ends, and while files are open the background looks now and then.  After
 * a crash or a restore there are no handles; dbos.unlinked_file says which files had some.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/ipc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "lock.h"

PG_FUNCTION_INFO_V1(dbos_sweep_open_files_sql);

/* As long as files are open it is looked so often. */
#define LOOK_MS 10000
/* Handles in a transaction. */
#define AT_ONCE 100

/* ---- sessions ---- */

bool
dbos_session_is_there(int process, TimestampTz started)
{
	int			count;

	if (process == MyProcPid && started == MyStartTimestamp)
		return true;
	/* Of this moment, not of when this transaction looked first. */
	pgstat_clear_backend_activity_snapshot();
	count = pgstat_fetch_stat_numbackends();
	for (int i = 1; i <= count; i++)
	{
		PgBackendStatus *status = &dbos_backend_status(i)->backendStatus;

		if (status->st_procpid == process && status->st_proc_start_timestamp == started)
			return true;
	}
	return false;
}

static void
want_sweep(int code, Datum arg)
{
	dbos_duty_want();
}

/* This session has opened a file. */
void
dbos_open_file_noted(void)
{
	static bool registered = false;

	if (registered)
		return;
	on_shmem_exit(want_sweep, (Datum) 0);
	registered = true;
}

/* ---- handles ---- */

typedef struct Lost
{
	bool		any;			/* there are handles, lost or not */
	int			count;
	int64		handles[AT_ONCE];
} Lost;

static bool
note_lost(void *arg, const DbosOpenFile *file)
{
	Lost	   *lost = arg;

	lost->any = true;
	if (!dbos_session_is_there(file->process, file->started))
		lost->handles[lost->count++] = file->handle;
	return lost->count < AT_ONCE;
}

static bool
end_once(int64 handle, Snapshot *snapshot)
{
	DbosOpenFile file;

	return !dbos_open_file_find(handle, *snapshot, &file) || dbos_open_file_end(&file, snapshot);
}

static void
end_lost(int64 handle)
{
	Snapshot	snapshot = dbos_view_begin();

	while (!end_once(handle, &snapshot))
		snapshot = dbos_view_renew();
	dbos_view_end();
	dbos_changed();
}

/*
 * Closes some lost handles, those after *at; how many.  *at is the last one that was tried, so that one that
 * cannot be closed keeps nobody else's.  *any: there are handles.
 */
static int
end_some(int64 *at, bool *any)
{
	Lost		lost = {0};

	dbos_open_file_visit(*at + 1, dbos_view_begin(), note_lost, &lost);
	dbos_view_end();
	for (int i = 0; i < lost.count; i++)
	{
		*at = lost.handles[i];
		end_lost(lost.handles[i]);
	}
	*any = lost.any;
	return lost.count;
}

/* ---- files without a name and without a handle ---- */

/* The first one after that; 0: there are no more. */
static int64
unlinked_after(int64 number)
{
	DbosTable	table;
	Datum		key = Int64GetDatum(number + 1);
	Snapshot	snapshot = dbos_view_begin();
	int64		found = 0;

	dbos_table_open(&table, TABLE_UNLINKED, AccessShareLock);
	if (RelationGetNumberOfBlocks(table.heap) > 0 && dbos_table_find_from(&table, 0, snapshot, &key, 1))
		found = DatumGetInt64(dbos_column(&table, 0));
	dbos_table_close(&table);
	dbos_view_end();
	return found;
}

/* Frees some of those after *at that nobody has open; whether there are more. */
static bool
free_some(int64 *at)
{
	for (int i = 0; i < AT_ONCE; i++)
	{
		int64		next = unlinked_after(*at);

		if (next == 0)
			return false;
		*at = next;
		dbos_unlinked_free(next);
	}
	return true;
}

/* ---- the background, and by hand ---- */

static void
sweep_locks(void)
{
	dbos_locks_sweep(dbos_view_begin());
	dbos_view_end();
	dbos_changed();
}

static void
sweep_duty(DbosDutyResult *result)
{
	static int64 handle = 0;	/* how far it has come */
	static int64 inode = 0;
	static bool open = false;	/* on the way handles were found */
	bool		any;

	/* Objects of an older version do not have it. */
	if (!OidIsValid(get_relname_relid("unlinked_file", dbos_schema_oid(false))))
		return;
	result->more = end_some(&handle, &any) > 0;
	open |= any;
	if (result->more || (result->more = free_some(&inode)))
		return;
	if (open)
	{
		sweep_locks();
		result->due = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LOOK_MS);
	}
	handle = 0;
	inode = 0;
	open = false;
}

static const DbosDuty duty = {
	.what = "open files",
	.run = sweep_duty,
};

void
dbos_open_file_sweep_register(void)
{
	dbos_duty_register(&duty);
}

/* dbos.sweep_open_files() → how many handles of sessions that are gone were closed */
Datum
dbos_sweep_open_files_sql(PG_FUNCTION_ARGS)
{
	int64		handle = 0;
	int64		inode = 0;
	int64		sum = 0;
	int			count;
	bool		any;

	PreventCommandIfReadOnly("dbos.sweep_open_files()");
	while ((count = end_some(&handle, &any)) > 0)
		sum += count;
	while (free_some(&inode))
		CHECK_FOR_INTERRUPTS();
	sweep_locks();
	PG_RETURN_INT64(sum);
}
