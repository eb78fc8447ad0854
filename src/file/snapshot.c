/*
 * snapshot.c
 *	  Snapshots of directories and files: taken, read, dropped.
 *
 * A snapshot is a row of dbos.snapshot, with the epoch that it ended (epoch.c).  The row is there before the epoch ends,
 * so that whoever writes in the next one finds it, committed or not.  Two that are taken at once may
 * end the same epoch: both show the same.
 *
 * Paths in a snapshot are those of its time, from the root on.  Who may read it is said by the modes and owners
 * of that time, for the directories on the way too: who could have made a copy then can still read it. Which
 * roles somebody is a member of is asked now.  Whoever takes a snapshot must be able to read what it is of; it belongs
 * to his role, whose members drop it.
 *
 * What is shown is committed when the snapshot is, and is read by the snapshot of the statement as anything is.  Only the
 * transaction that took it may read by an older one, in REPEATABLE READ, which knows nothing of those that it
 * has waited for: so it reads what it took by the latest.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "dbos/container.h"
#include "names.h"
#include "reclaim.h"

PG_FUNCTION_INFO_V1(dbos_snapshot_sql);
PG_FUNCTION_INFO_V1(dbos_drop_snapshot);
PG_FUNCTION_INFO_V1(dbos_read_snapshot);
PG_FUNCTION_INFO_V1(dbos_snapshot_stat);
PG_FUNCTION_INFO_V1(dbos_snapshot_ls);
PG_FUNCTION_INFO_V1(dbos_snapshot_read_link);
PG_FUNCTION_INFO_V1(dbos_snapshot_visible);
PG_FUNCTION_INFO_V1(dbos_restore_file);

#define NAME_LENGTH_MAX 255

typedef struct FileSnapshot
{
	text	   *name;
	int32		epoch;
	int64		root;
	Oid			owner;
	text	   *path;
	bool		ours;			/* taken by this transaction */
} FileSnapshot;

static pg_noreturn void
no_such_snapshot(text *name)
{
	ereport(ERROR,
			errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("snapshot \"%s\" does not exist", text_to_cstring(name)),
			errhint("SELECT name, path FROM dbos.snapshots lists those that there are."));
}

/* ---- rows ---- */

typedef enum Use
{
	USE_SEEN,					/* as the statement sees it */
	USE_LAST,					/* as it is now */
	USE_TO_END					/* the same, and it is not dropped before the end of the transaction */
} Use;

/* Memory of the caller's context; raises when there is none of that name in the session's container. */
static void
find_snapshot(text *name, Use use, FileSnapshot *found)
{
	static DbosPlan plan = {
		.sql = "SELECT epoch, root, owner, path, xmin FROM dbos.snapshot"
		" WHERE container_id OPERATOR(pg_catalog.=) $1 AND name OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTOID},
	};
	static DbosPlan locking = {
		.sql = "SELECT epoch, root, owner, path, xmin FROM dbos.snapshot"
		" WHERE container_id OPERATOR(pg_catalog.=) $1 AND name OPERATOR(pg_catalog.=) $2 FOR KEY SHARE",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTOID},
	};
	Datum		values[2] = {Int32GetDatum(dbos_context_container()), PointerGetDatum(name)};
	MemoryContext caller = CurrentMemoryContext;
	DbosOwnerScope scope;
	bool		there;

	found->name = name;
	dbos_owner_begin(&scope);
	there = dbos_plan_execute(use == USE_TO_END ? &locking : &plan, values, NULL, use == USE_SEEN, 1) > 0;
	if (there)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		TupleDesc	descriptor = SPI_tuptable->tupdesc;
		MemoryContext old = MemoryContextSwitchTo(caller);
		bool		isnull;

		found->epoch = DatumGetInt32(SPI_getbinval(tuple, descriptor, 1, &isnull));
		found->root = DatumGetInt64(SPI_getbinval(tuple, descriptor, 2, &isnull));
		found->owner = DatumGetObjectId(SPI_getbinval(tuple, descriptor, 3, &isnull));
		found->path = DatumGetTextPCopy(SPI_getbinval(tuple, descriptor, 4, &isnull));
		found->ours = TransactionIdIsCurrentTransactionId(DatumGetTransactionId(SPI_getbinval(tuple, descriptor, 5, &isnull)));
		MemoryContextSwitchTo(old);
	}
	dbos_owner_end(&scope);
	if (!there)
		no_such_snapshot(name);
}

/* False: there is one of that name. */
static bool
insert_row(text *name, int32 epoch, int64 root, text *path)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.snapshot (name, epoch, root, container_id, owner, created_at, path)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (container_id, name) DO NOTHING",
		.nargs = 7,
		.argtypes = {TEXTOID, INT4OID, INT8OID, INT4OID, REGROLEOID, TIMESTAMPTZOID, TEXTOID},
	};
	Datum		values[7] = {
		PointerGetDatum(name), Int32GetDatum(epoch), Int64GetDatum(root), Int32GetDatum(dbos_context_container()),
		ObjectIdGetDatum(GetUserId()), TimestampTzGetDatum(dbos_now()), PointerGetDatum(path)
	};
	DbosOwnerScope scope;
	bool		done;

	dbos_owner_begin(&scope);
	done = dbos_plan_execute(&plan, values, NULL, false, 0) > 0;
	dbos_owner_end(&scope);
	return done;
}

static void
update_row(text *name, int32 epoch, int64 root, text *path)
{
	static DbosPlan plan = {
		.sql = "UPDATE dbos.snapshot SET epoch = $3, root = $4, path = $5"
		" WHERE container_id OPERATOR(pg_catalog.=) $1 AND name OPERATOR(pg_catalog.=) $2",
		.nargs = 5,
		.argtypes = {INT4OID, TEXTOID, INT4OID, INT8OID, TEXTOID},
	};
	Datum		values[5] = {
		Int32GetDatum(dbos_context_container()), PointerGetDatum(name), Int32GetDatum(epoch), Int64GetDatum(root), PointerGetDatum(path)
	};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
	dbos_owner_end(&scope);
}

/* ---- taking one ---- */

static void
check_name(text *name)
{
	int			length = VARSIZE_ANY_EXHDR(name);

	if (length == 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_NAME),
				errmsg("name of a snapshot must not be empty"));
	if (length > NAME_LENGTH_MAX)
		ereport(ERROR,
				errcode(ERRCODE_NAME_TOO_LONG),
				errmsg("name of a snapshot is longer than %d bytes", NAME_LENGTH_MAX));
}

/* Its real path: without symbolic links and dots, and by the name by which it was found. */
static text *
real_path(const DbosPath *path, Snapshot view, int32 epoch)
{
	text	   *directory;
	text	   *name;
	StringInfoData result;

	if (S_ISDIR(path->inode.mode))
		directory = dbos_path_at(path->inode.number, view, epoch);
	else
		directory = dbos_path_at(path->directory.number, view, epoch);
	if (directory == NULL)
		dbos_no_such_file(path->given);
	if (S_ISDIR(path->inode.mode))
		return directory;
	name = dbos_name_text(path->name);
	initStringInfo(&result);
	appendBinaryStringInfo(&result, VARDATA(directory), VARSIZE(directory) - VARHDRSZ);
	if (result.len > 1)
		appendStringInfoChar(&result, '/');
	appendBinaryStringInfo(&result, VARDATA(name), VARSIZE(name) - VARHDRSZ);
	return cstring_to_text_with_len(result.data, result.len);
}

/* What is at that path in that epoch, if it may be read. */
static void
find_readable(text *given, Snapshot view, int32 epoch, DbosPath *path)
{
	DbosInode	top;

	dbos_root_read(view, epoch, &top);
	dbos_path_find_from(given, FOLLOW_LAST, view, epoch, &top, path);
	if (!path->found)
		dbos_no_such_file(given);
	dbos_file_demand(&path->inode, MAY_READ, given);
	if (!S_ISDIR(path->inode.mode) && !S_ISREG(path->inode.mode))
		dbos_not_a_file(given);
}

/* A row with the last epoch, which is ended then. */
static int32
end_epoch(text *name)
{
	text	   *nowhere = cstring_to_text("");
	int32		epoch = dbos_epoch_last();

	if (!insert_row(name, epoch, 0, nowhere))
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("snapshot \"%s\" already exists", text_to_cstring(name)));
	dbos_stop_point(psprintf("snapshot row of %s", text_to_cstring(name)));
	/* Who ended that epoch before the row was there did not know of it, nor do those who write since then. */
	while (dbos_epoch_last() != epoch)
	{
		epoch = dbos_epoch_last();
		update_row(name, epoch, 0, nowhere);
	}
	dbos_epoch_end(epoch);
	return epoch;
}

/* dbos.snapshot(path text, name text) → its epoch */
Datum
dbos_snapshot_sql(PG_FUNCTION_ARGS)
{
	text	   *given = PG_GETARG_TEXT_PP(0);
	text	   *name = PG_GETARG_TEXT_PP(1);
	DbosPath	path;
	int32		epoch;

	PreventCommandIfReadOnly("dbos.snapshot()");
	check_name(name);
	dbos_container_hold(dbos_context_container());
	/* Whoever may not, or errs, ends no epoch. */
	find_readable(given, dbos_root_make(dbos_view_begin()), FOREVER, &path);
	dbos_view_end();

	epoch = end_epoch(name);
	dbos_epoch_wait(epoch);
	/* While we waited it may have been moved, or closed. */
	PushActiveSnapshot(GetLatestSnapshot());
	find_readable(given, GetActiveSnapshot(), epoch, &path);
	update_row(name, epoch, path.inode.number, real_path(&path, GetActiveSnapshot(), epoch));
	PopActiveSnapshot();
	dbos_changed();
	PG_RETURN_INT64(epoch);
}

/* dbos.drop_snapshot(name text) */
Datum
dbos_drop_snapshot(PG_FUNCTION_ARGS)
{
	static DbosPlan plan = {
		.sql = "DELETE FROM dbos.snapshot WHERE container_id OPERATOR(pg_catalog.=) $1 AND name OPERATOR(pg_catalog.=) $2"
		" AND epoch OPERATOR(pg_catalog.=) $3",
		.nargs = 3,
		.argtypes = {INT4OID, TEXTOID, INT4OID},
	};
	text	   *name = PG_GETARG_TEXT_PP(0);
	Datum		values[3] = {Int32GetDatum(dbos_context_container()), PointerGetDatum(name)};
	FileSnapshot snapshot;
	DbosOwnerScope scope;
	bool		done;

	PreventCommandIfReadOnly("dbos.drop_snapshot()");
	find_snapshot(name, USE_LAST, &snapshot);
	if (!has_privs_of_role(GetUserId(), snapshot.owner) && !dbos_file_superuser())
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("must be owner of snapshot \"%s\"", text_to_cstring(name)));
	values[2] = Int32GetDatum(snapshot.epoch);
	dbos_owner_begin(&scope);
	done = dbos_plan_execute(&plan, values, NULL, false, 0) > 0;
	dbos_owner_end(&scope);
	if (!done)
		no_such_snapshot(name);
	dbos_reclaim_want();
	PG_RETURN_VOID();
}

/* ---- reading ---- */

/* Until dbos_view_end(). */
static Snapshot
begin_reading(const FileSnapshot *snapshot)
{
	PushActiveSnapshot(snapshot->ours ? GetLatestSnapshot() : GetActiveSnapshot());
	return GetActiveSnapshot();
}

/* A symbolic link, or two dots, may lead out of it. */
static bool
lies_in(const FileSnapshot *snapshot, const DbosPath *path, Snapshot view)
{
	int64		number = path->inode.number;

	if (number != snapshot->root && !S_ISDIR(path->inode.mode))
		number = path->directory.number;
	while (number != snapshot->root)
	{
		DbosEntryScan scan;
		DbosEntry	entry;
		bool		found;

		CHECK_FOR_INTERRUPTS();
		dbos_parents_scan_begin(&scan, number, view, snapshot->epoch);
		found = dbos_entry_scan_next(&scan, &entry);
		dbos_entry_scan_end(&scan);
		if (!found)
			return false;
		number = entry.parent;
	}
	return true;
}

static void
find_in_snapshot(const FileSnapshot *snapshot, text *given, DbosFollow follow, Snapshot view, DbosPath *path)
{
	DbosInode	top;

	dbos_root_read(view, snapshot->epoch, &top);
	dbos_path_find_from(given, follow, view, snapshot->epoch, &top, path);
	if (!path->found)
		dbos_no_such_file(given);
	if (!lies_in(snapshot, path, view))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FILE),
				errmsg("\"%s\" does not lie in snapshot \"%s\"", text_to_cstring(given), text_to_cstring(snapshot->name)),
				errdetail("The snapshot is of \"%s\".", text_to_cstring(snapshot->path)));
}

/* dbos.read_snapshot(name text, path text, start bigint, length bigint) → bytea */
Datum
dbos_read_snapshot(PG_FUNCTION_ARGS)
{
	FileSnapshot snapshot;
	DbosPath	path;
	Snapshot	view;
	struct varlena *result;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	find_snapshot(PG_GETARG_TEXT_PP(0), USE_SEEN, &snapshot);
	view = begin_reading(&snapshot);
	find_in_snapshot(&snapshot, PG_GETARG_TEXT_PP(1), FOLLOW_LAST, view, &path);
	result = dbos_content_value(&path, fcinfo->args[2], fcinfo->args[3], view, snapshot.epoch);
	dbos_view_end();
	PG_RETURN_POINTER(result);
}

/* Of a directory: its own link, its name, and what is above each directory in it. */
static int32
count_links(int64 directory, Snapshot view, int32 epoch)
{
	DbosEntryScan scan;
	DbosEntry	entry;
	int32		links = 2;

	dbos_entry_scan_begin(&scan, directory, view, epoch);
	while (dbos_entry_scan_next(&scan, &entry))
	{
		CHECK_FOR_INTERRUPTS();
		if (entry.kind == S_IFDIR >> 12)
			links++;
	}
	dbos_entry_scan_end(&scan);
	return links;
}

/* dbos.snapshot_stat(name text, path text) → as dbos.stat() */
Datum
dbos_snapshot_stat(PG_FUNCTION_ARGS)
{
	FileSnapshot snapshot;
	DbosPath	path;
	Snapshot	view;
	Datum		values[STAT_COLUMNS];
	bool		nulls[STAT_COLUMNS] = {0};

	find_snapshot(PG_GETARG_TEXT_PP(0), USE_SEEN, &snapshot);
	view = begin_reading(&snapshot);
	find_in_snapshot(&snapshot, PG_GETARG_TEXT_PP(1), FOLLOW_NOT_LAST, view, &path);
	if (S_ISDIR(path.inode.mode))
		path.inode.links = count_links(path.inode.number, view, snapshot.epoch);
	dbos_stat_values(&path.inode, values, nulls);
	dbos_view_end();
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(dbos_result_descriptor(fcinfo), values, nulls)));
}

/* dbos.snapshot_ls(snapshot text, path text) → as dbos.ls(); NULL path: what the snapshot is of */
Datum
dbos_snapshot_ls(PG_FUNCTION_ARGS)
{
	FileSnapshot snapshot;
	DbosPath	path;
	Snapshot	view;
	ReturnSetInfo *result;
	DbosEntryScan scan;
	DbosEntry	entry;
	text	   *given;

	InitMaterializedSRF(fcinfo, 0);
	result = (ReturnSetInfo *) fcinfo->resultinfo;
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	find_snapshot(PG_GETARG_TEXT_PP(0), USE_SEEN, &snapshot);
	given = PG_ARGISNULL(1) ? snapshot.path : PG_GETARG_TEXT_PP(1);
	view = begin_reading(&snapshot);
	find_in_snapshot(&snapshot, given, FOLLOW_LAST, view, &path);
	if (!S_ISDIR(path.inode.mode))
		dbos_not_a_directory(given);
	dbos_file_demand(&path.inode, MAY_READ, given);
	dbos_entry_scan_begin(&scan, path.inode.number, view, snapshot.epoch);
	while (dbos_entry_scan_next(&scan, &entry))
	{
		DbosInode	inode;
		Datum		values[LS_COLUMNS];
		bool		nulls[LS_COLUMNS] = {0};

		CHECK_FOR_INTERRUPTS();
		if (!dbos_inode_read(entry.child, view, snapshot.epoch, &inode))
			continue;
		dbos_ls_values(entry.name, &inode, values);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	dbos_entry_scan_end(&scan);
	dbos_view_end();
	return (Datum) 0;
}

/* dbos.snapshot_read_link(name text, path text) → as dbos.read_link() */
Datum
dbos_snapshot_read_link(PG_FUNCTION_ARGS)
{
	FileSnapshot snapshot;
	DbosPath	path;

	find_snapshot(PG_GETARG_TEXT_PP(0), USE_SEEN, &snapshot);
	find_in_snapshot(&snapshot, PG_GETARG_TEXT_PP(1), FOLLOW_NOT_LAST, begin_reading(&snapshot), &path);
	dbos_view_end();
	PG_RETURN_TEXT_P(dbos_name_text(dbos_link_target(&path)));
}

/* dbos.snapshot_visible(container_id integer, epoch integer, root bigint, owner oid): for the view */
Datum
dbos_snapshot_visible(PG_FUNCTION_ARGS)
{
	int32		container = PG_GETARG_INT32(0);
	Oid			user = GetUserId();

	if (has_privs_of_role(user, PG_GETARG_OID(3)) || dbos_is_monitor(user))
		PG_RETURN_BOOL(true);
	if (container != dbos_context_container())
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(dbos_path_at(PG_GETARG_INT64(2), GetActiveSnapshot(), PG_GETARG_INT32(1)) != NULL);
}

/* ---- restoring ---- */

static bool
restore_once(text *name, text *given, text *new_given, Snapshot *view)
{
	FileSnapshot snapshot;
	DbosPath	from;
	DbosInode	live;

	find_snapshot(name, USE_TO_END, &snapshot);
	/* What it shows is not what the transaction sees. */
	if (snapshot.ours && IsolationUsesXactSnapshot())
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot restore from snapshot \"%s\" in the transaction that took it", text_to_cstring(name)),
				errdetail("In REPEATABLE READ and above it does not see all that is in the snapshot."));
	find_in_snapshot(&snapshot, given, FOLLOW_LAST, *view, &from);
	if (!S_ISREG(from.inode.mode))
		dbos_not_a_file(given);
	dbos_file_demand(&from.inode, MAY_READ, given);
	/* It may have the same chunks still. */
	if (dbos_inode_read(from.inode.number, *view, FOREVER, &live) && !dbos_inode_lock(&live, *view))
	{
		dbos_conflict();
		return false;
	}
	return dbos_copy_to(&from, new_given, view, snapshot.epoch);
}

/* dbos.restore_file(name text, path text, new_path text) */
Datum
dbos_restore_file(PG_FUNCTION_ARGS)
{
	Snapshot	view;

	PreventCommandIfReadOnly("dbos.restore_file()");
	view = dbos_root_make(dbos_view_begin());
	while (!restore_once(PG_GETARG_TEXT_PP(0), PG_GETARG_TEXT_PP(1), PG_GETARG_TEXT_PP(2), &view))
		view = dbos_view_renew();
	dbos_view_end();
	dbos_changed();
	PG_RETURN_VOID();
}
