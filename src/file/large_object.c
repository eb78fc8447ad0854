/*
 * large_object.c
 *	  Large objects that are content of files: who may use them, how one is adopted, and that nobody else removes it.
 *
 * An object that was made with its file, in a directory of that storage class, is owned by the
 * file's owner.  Others but superusers use it by the file, as its mode says, on the rights that the owner has
 * on the object: when the object is given to another role, or another has its oid, the
 * file gives access to nothing that its owner could not have.  lo_* functions ask for the
 * object's own privileges, as ever.  The last name that is unlinked removes it.
 *
 * An adopted object goes on being its owner's.  Its ACL decides for each user, through the file just as
 * without it, and the mode of the file only narrows that.  Unlinking the last name gives it back
 * and removes nothing: a name is removed by who may write its directory, and a large object by
 * who owns it; and lo_* clients have not asked for a file.
 *
 * No object belongs to two files (inode_large_object_idx), and none that belongs to one can be dropped: DROP OWNED
 * and lo_unlink() call a hook under an exclusive lock on the object, and who adopts holds a lock
 * that conflicts with it until the file is committed.  A session that has not loaded the library has no
 * hook; what it removes is missed by who reads the file (storage_large_object.c).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_largeobject.h"
#include "catalog/pg_largeobject_metadata.h"
#include "commands/alter.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/value.h"
#include "storage/large_object.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "names.h"
#include "visible.h"

PG_FUNCTION_INFO_V1(dbos_adopt_large_object);
PG_FUNCTION_INFO_V1(dbos_large_object_size);

static object_access_hook_type next_hook = NULL;

/* ---- what the catalog says ---- */

/* As of now; InvalidOid: there is no such object. */
Oid
dbos_large_object_owner(Oid object)
{
	Relation	metadata = table_open(LargeObjectMetadataRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			owner = InvalidOid;

	ScanKeyInit(&key, Anum_pg_largeobject_metadata_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object));
	scan = systable_beginscan(metadata, LargeObjectMetadataOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_largeobject_metadata) GETSTRUCT(tuple))->lomowner;
	systable_endscan(scan);
	table_close(metadata, AccessShareLock);
	return owner;
}

/*
 * What the object allows; the mode of the file is asked beside it.  An object that is missing keeps nobody
 * away: there is nothing to read.
 */
bool
dbos_large_object_allows(const DbosInode *inode, int want)
{
	Oid			role = inode->storage == STORAGE_ADOPTED ? GetUserId() : inode->owner;

	if (lo_compat_privileges || superuser() || !OidIsValid(dbos_large_object_owner(inode->large_object)))
		return true;
	if ((want & MAY_READ) != 0 && pg_largeobject_aclcheck_snapshot(inode->large_object, role, ACL_SELECT, NULL) != ACLCHECK_OK)
		return false;
	return (want & MAY_WRITE) == 0 || pg_largeobject_aclcheck_snapshot(inode->large_object, role, ACL_UPDATE, NULL) == ACLCHECK_OK;
}

/* ---- of a file's own ---- */

/* A new one, empty, of the current user. */
Oid
dbos_large_object_make(void)
{
	return inv_create(InvalidOid);
}

/* The file, which was that role's, has become its new owner's, and so does an object that was made with it. */
void
dbos_large_object_hand_over(const DbosInode *inode, Oid from)
{
	AlterOwnerStmt *statement;
	RoleSpec   *role;
	Oid			user;
	int			context;

	if (inode->storage != STORAGE_LARGE_OBJECT || !S_ISREG(inode->mode) ||
		dbos_large_object_owner(inode->large_object) != from)
		return;
	role = makeNode(RoleSpec);
	role->roletype = ROLESPEC_CSTRING;
	role->rolename = GetUserNameFromId(inode->owner, false);
	statement = makeNode(AlterOwnerStmt);
	statement->objectType = OBJECT_LARGEOBJECT;
	statement->object = (Node *) makeFloat(psprintf("%u", inode->large_object));
	statement->newowner = role;
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	(void) ExecAlterOwnerStmt(statement);
	SetUserIdAndSecContext(user, context);
}

/* ---- whose it is ---- */

/* Whether the object is content of a file, by what is committed and what this transaction did; path: where that can be told. */
static bool
belongs_to_file(Oid object, DbosInode *inode, char **path)
{
	DbosTable	table;
	Datum		key[2] = {ObjectIdGetDatum(object), Int32GetDatum(FOREVER)};
	bool		found;

	PushActiveSnapshot(GetLatestSnapshot());
	dbos_table_open(&table, TABLE_INODE, AccessShareLock);
	found = dbos_table_find(&table, 3, GetActiveSnapshot(), key, 2);
	if (found)
		dbos_inode_fill(&table, inode);
	dbos_table_close(&table);
	*path = NULL;
	if (found)
	{
		text	   *known = dbos_path_of(inode->number, GetActiveSnapshot());

		inode->content = NULL;
		if (known != NULL)
			*path = text_to_cstring(known);
	}
	PopActiveSnapshot();
	return found;
}

static void
refuse_drop(ObjectAccessType access, Oid class_id, Oid object, int sub_id, void *arg)
{
	DbosInode	inode;
	char	   *path;

	if (next_hook != NULL)
		next_hook(access, class_id, object, sub_id, arg);
	if (access != OAT_DROP || class_id != LargeObjectRelationId)
		return;
	/* Not in this database, or of a version that had no files. */
	if (!dbos_extension_present() || !OidIsValid(get_relname_relid("inode_large_object_idx", dbos_schema_oid(false))))
		return;
	if (!belongs_to_file(object, &inode, &path))
		return;
	ereport(ERROR,
			errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			errmsg("cannot drop large object %u because it is the content of a file", object),
			path != NULL ? errdetail("The file is \"%s\".", path) : 0,
			inode.storage == STORAGE_ADOPTED ? errhint("Unlink the file first, which gives the large object back.")
			: errhint("Unlink the file, which drops the large object too."));
}

void
dbos_large_object_install(void)
{
	next_hook = object_access_hook;
	object_access_hook = refuse_drop;
	dbos_large_object_storage_install();
}

/* ---- adopting ---- */

static void
check_adoptable(Oid object)
{
	DbosInode	inode;
	char	   *path;
	Oid			owner = dbos_large_object_owner(object);

	if (!OidIsValid(owner))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("large object %u does not exist", object));
	if (!lo_compat_privileges && !has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("must be owner of large object %u", object));
	if (belongs_to_file(object, &inode, &path))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("large object %u is the content of a file already", object),
				path != NULL ? errdetail("The file is \"%s\".", path) : 0,
				errhint("dbos.link() gives a file one more name."));
}

/* dbos.adopt_large_object(large_object oid, path text) */
Datum
dbos_adopt_large_object(PG_FUNCTION_ARGS)
{
	text	   *given = PG_GETARG_TEXT_PP(1);
	DbosInode	adopted = {.storage = STORAGE_ADOPTED, .large_object = PG_GETARG_OID(0)};
	DbosContent content = {.how = WRITE_REPLACE, .adopted = adopted.large_object};
	Snapshot	snapshot;

	PreventCommandIfReadOnly("dbos.adopt_large_object()");
	/* Who may not have it does not keep its owner from using it. */
	check_adoptable(adopted.large_object);
	LockDatabaseObject(LargeObjectRelationId, adopted.large_object, 0, ShareUpdateExclusiveLock);
	check_adoptable(adopted.large_object);
	content.length = dbos_inode_size(&adopted, NULL);
	snapshot = dbos_root_make(dbos_view_begin());
	for (;;)
	{
		DbosPath	path;

		dbos_path_find(given, FOLLOW_NOT_LAST, snapshot, &path);
		if (path.found)
			dbos_file_exists(given);
		if (dbos_node_make(&path, FILE_MODE, &content, &snapshot))
			break;
		snapshot = dbos_view_renew();
	}
	dbos_view_end();
	dbos_changed();
	PG_RETURN_VOID();
}

/* ---- telling ---- */

/* dbos.large_object_size(inode bigint): for dbos.files; not of what that does not show. */
Datum
dbos_large_object_size(PG_FUNCTION_ARGS)
{
	int64		number = PG_GETARG_INT64(0);
	Snapshot	snapshot = GetActiveSnapshot();
	DbosInode	inode;

	if (!dbos_inode_shown(number, snapshot) || !dbos_inode_read(number, snapshot, FOREVER, &inode) || !dbos_is_large_object(&inode))
		PG_RETURN_NULL();
	PG_RETURN_INT64(dbos_inode_size(&inode, snapshot));
}
