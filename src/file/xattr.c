/*
 * xattr.c
 *	  Extended attributes: names with values that belong to a file or directory.
 *
 * A row of dbos.xattr is valid in epochs as the row of the inode is (epoch.c).  Who changes an attribute
 * changes the row of its inode first, which says when that was: so of two at the same time one
 * waits, and what the other has left is in the snapshot with which it goes on.
 *
 * That an inode may have attributes stands in its mode, so that who removes files, or asks
 * for an attribute that none has, does not look for rows.
 *
 * Names begin with "user.", which who may write to the file sets and who may read it reads; or with
 * "trusted.", "security." or "system.", which dbos_admin sets, and of which "trusted." is for its eyes alone.
 * A copy of a file has none of them, as with cp(1): it is another's file.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/detoast.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "file.h"

PG_FUNCTION_INFO_V1(dbos_set_xattr_sql);
PG_FUNCTION_INFO_V1(dbos_get_xattr_sql);
PG_FUNCTION_INFO_V1(dbos_list_xattr_sql);
PG_FUNCTION_INFO_V1(dbos_remove_xattr_sql);

#define XATTR_NAME_MAX 255
#define XATTR_VALUE_MAX 65536

enum XattrColumn
{
	XATTR_INODE, XATTR_DIED, XATTR_BORN, XATTR_NAME, XATTR_VALUE,
	XATTR_COLUMNS
};

/* ---- rows ---- */

static Datum
name_datum(DbosName name)
{
	return PointerGetDatum(cstring_to_text_with_len(name.bytes, name.length));
}

/* Puts the row, as it is in that epoch or, with FOREVER, now, into the slot. */
static bool
find(DbosTable *table, int64 inode, DbosName name, Snapshot snapshot, int32 at_epoch)
{
	Datum		key[3] = {Int64GetDatum(inode), name_datum(name), Int32GetDatum(at_epoch)};

	if (at_epoch == FOREVER)
		return dbos_table_find(table, 0, snapshot, key, 3);
	key[2] = Int32GetDatum(at_epoch + 1);
	return dbos_table_find_from(table, 0, snapshot, key, 3) && DatumGetInt32(dbos_column(table, XATTR_BORN)) <= at_epoch;
}

static void
insert(DbosTable *table, int64 inode, DbosName name, bytea *value)
{
	Datum		values[XATTR_COLUMNS] = {
		Int64GetDatum(inode), Int32GetDatum(FOREVER), Int32GetDatum(dbos_epoch()), name_datum(name), PointerGetDatum(value)
	};
	bool		nulls[XATTR_COLUMNS] = {0};

	(void) dbos_table_insert(table, values, nulls, UNIQUE_RAISE);
}

static pg_noreturn void
changed_without_lock(void)
{
	elog(ERROR, "extended attribute was changed by who has not changed its inode");
}

/* The row in the slot is changed, and what is not NULL in values becomes its columns. */
static void
change_row(DbosTable *table, const int32 *died, bytea *value, Snapshot snapshot)
{
	ItemPointerData tid = table->slot->tts_tid;
	Datum		values[XATTR_COLUMNS];
	bool		nulls[XATTR_COLUMNS] = {0};

	slot_getallattrs(table->slot);
	memcpy(values, table->slot->tts_values, sizeof(values));
	if (died != NULL)
		values[XATTR_DIED] = Int32GetDatum(*died);
	if (value != NULL)
		values[XATTR_VALUE] = PointerGetDatum(value);
	if (!dbos_table_update(table, &tid, values, nulls, snapshot, died != NULL ? UPDATE_KEY : UPDATE))
		changed_without_lock();
}

/* The row in the slot goes, or is ended for the snapshots that show it. */
static void
end_row(DbosTable *table, Snapshot snapshot)
{
	int32		epoch = dbos_epoch();
	ItemPointerData tid = table->slot->tts_tid;

	if (dbos_seen_by_snapshot(DatumGetInt32(dbos_column(table, XATTR_BORN)), epoch))
		change_row(table, &epoch, NULL, snapshot);
	else if (!dbos_table_delete(table, &tid, snapshot))
		changed_without_lock();
}

/* The value of an attribute in that epoch, or NULL; FOREVER: as it is now.  In the caller's context. */
bytea *
dbos_xattr_read(const DbosInode *inode, DbosName name, Snapshot snapshot, int32 at_epoch)
{
	DbosTable	table;
	bytea	   *value = NULL;

	if ((inode->mode & INODE_HAS_XATTRS) == 0)
		return NULL;
	dbos_table_open(&table, TABLE_XATTR, AccessShareLock);
	if (find(&table, inode->number, name, snapshot, at_epoch))
		value = DatumGetByteaPCopy(dbos_column(&table, XATTR_VALUE));
	dbos_table_close(&table);
	return value;
}

/* The inode is deleted by this transaction, and its attributes with it. */
void
dbos_xattrs_drop(const DbosInode *inode, Snapshot snapshot)
{
	DbosTable	table;
	DbosTableScan scan;
	Datum		key = Int64GetDatum(inode->number);

	if ((inode->mode & INODE_HAS_XATTRS) == 0)
		return;
	dbos_table_open(&table, TABLE_XATTR, RowExclusiveLock);
	dbos_scan_begin(&scan, &table, 0, snapshot, &key, 1, false);
	while (dbos_scan_next(&scan))
		if (DatumGetInt32(dbos_column(&table, XATTR_DIED)) == FOREVER)
			end_row(&table, snapshot);
	dbos_scan_end(&scan);
	dbos_table_close(&table);
}

/* ---- names and rights ---- */

typedef enum Space
{
	SPACE_USER,
	SPACE_TRUSTED,
	SPACE_SECURITY,
	SPACE_SYSTEM
} Space;

static const char *const spaces[] = {
	[SPACE_USER] = "user.", [SPACE_TRUSTED] = "trusted.", [SPACE_SECURITY] = "security.", [SPACE_SYSTEM] = "system."
};

/* Of a name that is one of an attribute. */
static Space
space_of(DbosName name)
{
	for (int i = 0; i < lengthof(spaces); i++)
	{
		int			length = strlen(spaces[i]);

		if (name.length > length && memcmp(name.bytes, spaces[i], length) == 0)
			return i;
	}
	ereport(ERROR,
			errcode(ERRCODE_INVALID_NAME),
			errmsg("invalid name of an extended attribute: \"%s\"", text_to_cstring(dbos_name_text(name))),
			errhint("Begin it with \"user.\"; what begins with \"trusted.\", \"security.\" or \"system.\" is for administrators."));
}

static DbosName
name_of(text *given)
{
	DbosName	name = dbos_path_bytes(given);

	if (name.length > XATTR_NAME_MAX)
		ereport(ERROR,
				errcode(ERRCODE_NAME_TOO_LONG),
				errmsg("name of an extended attribute is longer than %d bytes", XATTR_NAME_MAX));
	(void) space_of(name);
	return name;
}

static void
demand_change(const DbosPath *path, DbosName name)
{
	const DbosInode *inode = &path->inode;

	if (space_of(name) != SPACE_USER)
	{
		if (!dbos_file_superuser())
			ereport(ERROR,
					errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("must be member of role \"%s\" to change extended attribute \"%s\"", "dbos_admin",
						   text_to_cstring(dbos_name_text(name))));
		return;
	}
	dbos_file_demand(inode, MAY_WRITE, path->given);
	/* Where everybody may put files the directory itself is its owner's. */
	if (S_ISDIR(inode->mode) && (inode->mode & S_ISVTX) != 0 && !dbos_file_owned(inode))
		dbos_file_denied(path->given);
}

/* Who may not know of an attribute is told that there is none. */
static bool
may_know(DbosName name)
{
	return space_of(name) != SPACE_TRUSTED || dbos_file_superuser();
}

/* ---- whole operations ---- */

typedef struct XattrChange
{
	DbosName	name;
	bytea	   *value;			/* NULL: it is removed */
	DbosXattrFlags flags;
} XattrChange;

static void
check_presence(const DbosPath *path, const XattrChange *change, bool present)
{
	if (present && change->flags == DBOS_XATTR_CREATE)
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("file \"%s\" already has extended attribute \"%s\"", text_to_cstring(path->given),
					   text_to_cstring(dbos_name_text(change->name))));
	if (!present && (change->value == NULL || change->flags == DBOS_XATTR_REPLACE))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("file \"%s\" has no extended attribute \"%s\"", text_to_cstring(path->given),
					   text_to_cstring(dbos_name_text(change->name))));
}

/* The inode is changed, so nobody else changes its attributes. */
static void
change_attribute(const DbosPath *path, const XattrChange *change, Snapshot snapshot)
{
	DbosTable	table;
	bool		present;

	dbos_table_open(&table, TABLE_XATTR, RowExclusiveLock);
	present = find(&table, path->inode.number, change->name, snapshot, FOREVER);
	check_presence(path, change, present);
	if (!present)
		insert(&table, path->inode.number, change->name, change->value);
	else if (change->value == NULL)
		end_row(&table, snapshot);
	else if (!dbos_seen_by_snapshot(DatumGetInt32(dbos_column(&table, XATTR_BORN)), dbos_epoch()))
		change_row(&table, NULL, change->value, snapshot);
	else
	{
		end_row(&table, snapshot);
		insert(&table, path->inode.number, change->name, change->value);
	}
	dbos_table_close(&table);
}

static bool
change_once(const DbosPlace *place, const XattrChange *change, Snapshot *snapshot)
{
	DbosPath	path;

	dbos_place_require(place, place->follow, *snapshot, &path);
	demand_change(&path, change->name);
	/* The root of a container that has no files yet. */
	if (path.inode.number == 0)
	{
		*snapshot = dbos_root_make(*snapshot);
		return false;
	}
	path.inode.mode |= INODE_HAS_XATTRS;
	path.inode.changed = dbos_file_now();
	if (!dbos_inode_update(&path.inode, *snapshot))
	{
		dbos_conflict();
		return false;
	}
	change_attribute(&path, change, *snapshot);
	return true;
}

static void
change_xattr(const DbosPlace *place, const XattrChange *change)
{
	Snapshot	snapshot = dbos_view_begin();

	while (!change_once(place, change, &snapshot))
		snapshot = dbos_view_renew();
	dbos_view_end();
	dbos_changed();
}

void
dbos_file_set_xattr(const DbosPlace *place, text *name, bytea *value, DbosXattrFlags flags)
{
	XattrChange change = {name_of(name), value, flags};

	if (VARSIZE_ANY_EXHDR(value) > XATTR_VALUE_MAX)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("value of an extended attribute is longer than %d bytes", XATTR_VALUE_MAX));
	change_xattr(place, &change);
}

void
dbos_file_remove_xattr(const DbosPlace *place, text *name)
{
	XattrChange change = {.name = name_of(name)};

	change_xattr(place, &change);
}

/* NULL: there is none of that name. */
bytea *
dbos_file_get_xattr(const DbosPlace *place, text *name)
{
	DbosName	bytes = name_of(name);
	Snapshot	snapshot = GetActiveSnapshot();
	DbosPath	found;

	dbos_place_require(place, place->follow, snapshot, &found);
	if (space_of(bytes) == SPACE_USER)
		dbos_file_demand(&found.inode, MAY_READ, found.given);
	return may_know(bytes) ? dbos_xattr_read(&found.inode, bytes, snapshot, FOREVER) : NULL;
}

/* Calls back for each that the user may know of, in the order of their names, with the bytes that its value has. */
void
dbos_file_list_xattrs(const DbosPlace *place, void (*each) (void *arg, DbosName name, int size), void *arg)
{
	Snapshot	snapshot = GetActiveSnapshot();
	DbosPath	path;
	DbosTable	table;
	DbosTableScan scan;
	Datum		key;

	dbos_place_require(place, place->follow, snapshot, &path);
	if ((path.inode.mode & INODE_HAS_XATTRS) == 0)
		return;
	key = Int64GetDatum(path.inode.number);
	dbos_table_open(&table, TABLE_XATTR, AccessShareLock);
	dbos_scan_begin(&scan, &table, 0, snapshot, &key, 1, false);
	while (dbos_scan_next(&scan))
	{
		bytea	   *bytes = DatumGetByteaPP(dbos_column(&table, XATTR_NAME));
		DbosName	name = {VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)};

		CHECK_FOR_INTERRUPTS();
		if (DatumGetInt32(dbos_column(&table, XATTR_DIED)) == FOREVER && may_know(name))
			each(arg, name, (int) (toast_raw_datum_size(dbos_column(&table, XATTR_VALUE)) - VARHDRSZ));
	}
	dbos_scan_end(&scan);
	dbos_table_close(&table);
}

/* ---- SQL ---- */

/* dbos.set_xattr(path text, name text, value bytea) */
Datum
dbos_set_xattr_sql(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("dbos.set_xattr()");
	dbos_file_set_xattr(DBOS_PATH(PG_GETARG_TEXT_PP(0)), PG_GETARG_TEXT_PP(1), PG_GETARG_BYTEA_PP(2), DBOS_XATTR_SET);
	PG_RETURN_VOID();
}

/* dbos.remove_xattr(path text, name text) */
Datum
dbos_remove_xattr_sql(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("dbos.remove_xattr()");
	dbos_file_remove_xattr(DBOS_PATH(PG_GETARG_TEXT_PP(0)), PG_GETARG_TEXT_PP(1));
	PG_RETURN_VOID();
}

/* dbos.get_xattr(path text, name text) → bytea, NULL when there is none */
Datum
dbos_get_xattr_sql(PG_FUNCTION_ARGS)
{
	bytea	   *value = dbos_file_get_xattr(DBOS_PATH(PG_GETARG_TEXT_PP(0)), PG_GETARG_TEXT_PP(1));

	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_BYTEA_P(value);
}

static void
list_attribute(void *arg, DbosName name, int size)
{
	ReturnSetInfo *result = arg;
	Datum		values[2] = {PointerGetDatum(dbos_name_text(name)), Int32GetDatum(size)};
	bool		nulls[2] = {0};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* dbos.list_xattr(path text) → names and sizes of the values */
Datum
dbos_list_xattr_sql(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	dbos_file_list_xattrs(DBOS_PATH(PG_GETARG_TEXT_PP(0)), list_attribute, fcinfo->resultinfo);
	return (Datum) 0;
}
