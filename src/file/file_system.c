/*
 * file_system.c
 *	  Each container has a root directory of its own, from its first file on (path.c).
 *
 * A container with files is not dropped; with one that has none its root goes.  Who
 * makes a name in the root at the same time looks afterwards whether the root is still there, and who
 * removes that looks for names afterwards, as with any directory (names.c): one of the two fails.
 * A session that stays in a container that was dropped finds an empty root and cannot make
 * another one, since the container is no more there to be held.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "dbos/container.h"
#include "file.h"

static bool
has_snapshots(int32 container)
{
	DbosTable	table;
	TableScanDesc scan;
	bool		found = false;

	/* There are few of them, and no index by container. */
	dbos_table_open(&table, TABLE_SNAPSHOT, AccessShareLock);
	scan = table_beginscan(table.heap, GetActiveSnapshot(), 0, NULL);
	while (!found && table_scan_getnextslot(scan, ForwardScanDirection, table.slot))
		found = DatumGetInt32(dbos_column(&table, 3)) == container;
	table_endscan(scan);
	dbos_table_close(&table);
	return found;
}

/* Removes the root when it is empty; false: it is not.  What it counts of inodes goes with it: it is nothing. */
static bool
remove_root(DbosTable *table, DbosInode *root)
{
	ItemPointerData tid = table->slot->tts_tid;

	if (dbos_directory_used(root->number))
		return false;
	if (!dbos_inode_delete(root, GetActiveSnapshot()) || !dbos_table_delete(table, &tid, GetActiveSnapshot()))
		return false;			/* somebody has just changed it */
	dbos_changed();
	if (dbos_directory_used(root->number))
		return false;
	dbos_usage_inherit(root->number, root->number);
	return true;
}

/* Whether files are in the container.  With the container's row locked: nobody makes it a root. */
static bool
uses_container(int32 container)
{
	DbosTable	table;
	DbosInode	root;
	Datum		key = Int32GetDatum(container);
	bool		used;

	/* Objects of an older version do not have it. */
	if (!OidIsValid(get_relname_relid("file_system", dbos_schema_oid(false))))
		return false;
	if (has_snapshots(container))
		return true;
	dbos_table_open(&table, TABLE_FILE_SYSTEM, RowExclusiveLock);
	used = dbos_table_find(&table, 0, GetActiveSnapshot(), &key, 1) &&
		dbos_inode_read(DatumGetInt64(dbos_column(&table, 1)), GetActiveSnapshot(), FOREVER, &root) &&
		!remove_root(&table, &root);
	dbos_table_close(&table);
	return used;
}

void
dbos_file_system_register(void)
{
	dbos_container_register_user("file", uses_container);
}
