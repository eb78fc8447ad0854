/*
 * storage_large_object.c
 *	  Content in a large object, which clients of lo_* functions read and write beside us.
 *
 * There are two classes of it.  An own one was made with the file and goes with it; an adopted
 * one was there before, and its file only shows it (large_object.c).  The bytes are in
 * pg_largeobject, and nothing of them is kept in snapshots of directories.
 *
 * The size in the inode's row is what it was when dbos wrote last, and what usage has counted; who tells
 * or needs the size asks the object, by dbos_inode_size().  Writing and cutting act on the object
 * as it is now, like lo_put() does, and reading on what the statement sees, like lo_get().
 * The lock on the inode's row keeps writers of files apart.  A lo_* client does not know of it: who of
 * the two comes second to a page fails with PostgreSQL's own "tuple concurrently updated".
 *
 * The functions of the backend below check no rights and read through relations that they
 * leave open until somebody closes them at the end of the transaction; that is us, for the SQL functions'
 * own note that they need that is not in our reach.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_largeobject.h"
#include "libpq/libpq-fs.h"
#include "miscadmin.h"
#include "storage/large_object.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "file.h"

/* Between looks whether the statement was cancelled. */
#define PIECE (1024 * 1024)

static bool opened = false;		/* in this transaction */

static void
close_at_end(XactEvent event, void *arg)
{
	if (!opened)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			close_lo_relation(true);
			opened = false;
			break;
		case XACT_EVENT_ABORT:
			close_lo_relation(false);
			opened = false;
			break;
		default:
			break;
	}
}

void
dbos_large_object_storage_install(void)
{
	RegisterXactCallback(close_at_end, NULL);
}

/* snapshot: NULL: as it is now. */
static LargeObjectDesc
object_at(const DbosInode *inode, int64 start, Snapshot snapshot)
{
	opened = true;
	return (LargeObjectDesc) {
		.id = inode->large_object, .snapshot = snapshot, .subid = InvalidSubTransactionId,
		.offset = start, .flags = IFS_RDLOCK | IFS_WRLOCK
	};
}

static void
demand_object(const DbosInode *inode)
{
	if (!OidIsValid(dbos_large_object_owner(inode->large_object)))
		ereport(ERROR,
				errcode(ERRCODE_IO_ERROR),
				errmsg("content of inode " INT64_FORMAT " is missing: large object %u does not exist", inode->number, inode->large_object),
				errdetail("It was removed by a session that had not loaded the library of dbos."),
				errhint("Such a removal is refused when shared_preload_libraries has dbos. The file itself can be unlinked."));
}

/*
 * The size of a file as the snapshot has it, or with NULL as it is now.  That of a large object which
 * is missing is what it was when it was seen last: who reads it is told.
 */
int64
dbos_inode_size(const DbosInode *inode, Snapshot snapshot)
{
	LargeObjectDesc object;

	if (!dbos_is_large_object(inode) || !OidIsValid(dbos_large_object_owner(inode->large_object)))
		return inode->size;
	object = object_at(inode, 0, snapshot);
	return inv_seek(&object, 0, SEEK_END);
}

static void
object_read(const DbosInode *inode, int64 start, char *to, int64 length, Snapshot snapshot, int32 at_epoch)
{
	LargeObjectDesc object;

	if (at_epoch != FOREVER)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot read inode " INT64_FORMAT " in a snapshot: its content is large object %u", inode->number, inode->large_object),
				errdetail("A large object has no other bytes than those of now."));
	demand_object(inode);
	object = object_at(inode, start, snapshot);
	while (length > 0)
	{
		int			wanted = (int) Min(length, PIECE);
		int			got = inv_read(&object, to, wanted);

		CHECK_FOR_INTERRUPTS();
		to += got;
		length -= got;
		if (got == wanted)
			continue;
		/* It was cut since its size was asked. */
		memset(to, 0, length);
		break;
	}
}

static void
check_size(int64 size)
{
	if (size > MAX_LARGE_OBJECT_SIZE)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("a file that is a large object cannot be larger than " INT64_FORMAT " bytes", MAX_LARGE_OBJECT_SIZE));
}

static void
object_truncate(DbosInode *inode, int64 old_size, int64 size, Snapshot snapshot)
{
	LargeObjectDesc object = object_at(inode, 0, NULL);

	check_size(size);
	demand_object(inode);
	/* What is added has no pages but the last, which says where it ends. */
	if (size != old_size)
		inv_truncate(&object, size);
}

/* What lies between the old end and start has no pages, which reads as zeros. */
static void
object_write(DbosInode *inode, int64 old_size, int64 start, const char *from, int64 length, Snapshot snapshot)
{
	LargeObjectDesc object = object_at(inode, start, NULL);

	check_size(start + length);
	demand_object(inode);
	while (length > 0)
	{
		int			piece = (int) Min(length, PIECE);

		CHECK_FOR_INTERRUPTS();
		(void) inv_write(&object, from, piece);
		from += piece;
		length -= piece;
	}
}

/* Pages that are not there read as zeros. */
static bool
object_data(const DbosInode *inode, int64 from, int64 *start, int64 *end, Snapshot snapshot)
{
	Relation	heap = table_open(LargeObjectRelationId, AccessShareLock);
	Relation	index = index_open(LargeObjectLOidPNIndexId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	demand_object(inode);
	ScanKeyInit(&keys[0], Anum_pg_largeobject_loid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(inode->large_object));
	ScanKeyInit(&keys[1], Anum_pg_largeobject_pageno, BTGreaterEqualStrategyNumber, F_INT4GE,
				Int32GetDatum((int32) Min(from / LOBLKSIZE, PG_INT32_MAX)));
	scan = systable_beginscan_ordered(heap, index, snapshot, lengthof(keys), keys);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		int64		at = (int64) ((Form_pg_largeobject) GETSTRUCT(tuple))->pageno * LOBLKSIZE;

		CHECK_FOR_INTERRUPTS();
		if (found && at > *end)
			break;
		if (!found)
			*start = Max(at, from);
		*end = at + LOBLKSIZE;
		found = true;
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(heap, AccessShareLock);
	return found;
}

/*
 * As lo_unlink() by the file's owner, who is that of the object: one whose owner has become
 * somebody else is left to him.  By then the file has no row, so the hook lets it go.
 */
static void
object_free(DbosInode *inode, Snapshot snapshot)
{
	Oid			user;
	int			context;

	if (dbos_large_object_owner(inode->large_object) != inode->owner)
		return;
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(inode->owner, context | SECURITY_LOCAL_USERID_CHANGE);
	(void) OidFunctionCall1(F_LO_UNLINK, ObjectIdGetDatum(inode->large_object));
	SetUserIdAndSecContext(user, context);
}

/* An adopted object is given back. */
static void
adopted_free(DbosInode *inode, Snapshot snapshot)
{
}

/* There is no checksum of what others write, too. */
static uint32
object_scrub(const DbosInode *inode, Snapshot snapshot, void (*report) (void *arg, const char *problem), void *arg)
{
	if (!OidIsValid(inode->large_object))
		report(arg, "has no large object");
	else if (!OidIsValid(dbos_large_object_owner(inode->large_object)))
		report(arg, psprintf("has lost its content: large object %u was removed by a session that had not loaded the library of dbos", inode->large_object));
	return 0;
}

const DbosStorage dbos_storage_large_object = {
	.code = STORAGE_LARGE_OBJECT,
	.name = "large_object",
	.read = object_read,
	.write = object_write,
	.truncate = object_truncate,
	.data = object_data,
	.free = object_free,
	.scrub = object_scrub,
};

const DbosStorage dbos_storage_adopted = {
	.code = STORAGE_ADOPTED,
	.name = "large_object",
	.read = object_read,
	.write = object_write,
	.truncate = object_truncate,
	.data = object_data,
	.free = adopted_free,
	.scrub = object_scrub,
};
