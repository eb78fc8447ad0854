/*
 * usage_charge.c
 *	  What a name, an inode and a change of its size or owner are to the counters of directories and owners.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/snapmgr.h"

#include "usage.h"

/* That the directory has a name of the inode more, or less. */
void
dbos_usage_charge_name(int64 directory, const DbosInode *inode, int sign)
{
	bool		is_directory = S_ISDIR(inode->mode);
	DbosUsage	usage = {
		.directory = directory, .owner = inode->owner, .names = is_directory ? 0 : sign, .directories = is_directory ? sign : 0,
		.bytes = is_directory ? 0 : sign * inode->size, .modified = dbos_file_now()
	};

	dbos_usage_add(&usage);
}

/* That the inode itself has come to be or is gone; the directory is the one of its first or last name. */
void
dbos_usage_charge_inode(int64 directory, const DbosInode *inode, int sign)
{
	DbosUsage	usage = {.directory = directory, .owner = inode->owner, .files = sign, .file_bytes = sign * inode->size};

	if (!S_ISDIR(inode->mode))
		dbos_usage_add(&usage);
}

/*
 * A transaction with one snapshot shows a file where it was when that was taken.  Moved since then it would grow
 * in one directory and be counted in another; link count and so number of names are those of its row, which did not change.
 */
static void
check_not_moved(const DbosInode *inode)
{
	DbosEntryScan scan;
	DbosEntryScan scan_now;
	DbosEntry	entry;
	DbosEntry	entry_now;

	dbos_parents_scan_begin(&scan, inode->number, dbos_view_begin(), FOREVER);
	PushActiveSnapshot(GetLatestSnapshot());
	dbos_parents_scan_begin(&scan_now, inode->number, GetActiveSnapshot(), FOREVER);
	while (dbos_entry_scan_next(&scan, &entry) && dbos_entry_scan_next(&scan_now, &entry_now))
		if (entry.parent != entry_now.parent)
			dbos_conflict();
	dbos_entry_scan_end(&scan_now);
	PopActiveSnapshot();
	dbos_entry_scan_end(&scan);
	dbos_view_end();
}

/*
 * That the file, whose row this transaction has locked, has grown by that many bytes: in each directory
 * that has a name of it.  Who renames a file into another directory locks its row, so the newest
 * snapshot knows where it is.
 */
void
dbos_usage_charge(const DbosInode *inode, int64 bytes)
{
	DbosEntryScan scan;
	DbosEntry	entry;
	int64		file_bytes = bytes;

	if (bytes == 0)
		return;
	if (IsolationUsesXactSnapshot())
		check_not_moved(inode);
	PushActiveSnapshot(GetLatestSnapshot());
	dbos_parents_scan_begin(&scan, inode->number, GetActiveSnapshot(), FOREVER);
	while (dbos_entry_scan_next(&scan, &entry))
	{
		DbosUsage	usage = {.directory = entry.parent, .owner = inode->owner, .bytes = bytes, .file_bytes = file_bytes};

		dbos_usage_add(&usage);
		file_bytes = 0;
	}
	dbos_entry_scan_end(&scan);
	PopActiveSnapshot();
	/* Without a name it is its owner's all the same. */
	if (file_bytes != 0)
	{
		DbosUsage	usage = {.directory = DBOS_ROOT_INODE, .owner = inode->owner, .file_bytes = file_bytes};

		dbos_usage_add(&usage);
	}
}

static void
charge_owner(int64 directory, const DbosInode *inode, Oid owner, int sign, bool first)
{
	bool		is_directory = S_ISDIR(inode->mode);
	DbosUsage	usage = {
		.directory = directory, .owner = owner, .names = is_directory ? 0 : sign, .directories = is_directory ? sign : 0,
		.bytes = is_directory ? 0 : sign * inode->size, .files = first && !is_directory ? sign : 0,
		.file_bytes = first && !is_directory ? sign * inode->size : 0
	};

	dbos_usage_add(&usage);
}

/* That the file or directory, whose row this transaction has changed, is the owner's now and was another's. */
void
dbos_usage_hand_over(const DbosInode *inode, Oid from)
{
	DbosEntryScan scan;
	DbosEntry	entry;
	bool		first = true;

	PushActiveSnapshot(GetLatestSnapshot());
	dbos_parents_scan_begin(&scan, inode->number, GetActiveSnapshot(), FOREVER);
	while (dbos_entry_scan_next(&scan, &entry))
	{
		charge_owner(entry.parent, inode, from, -1, first);
		charge_owner(entry.parent, inode, inode->owner, 1, first);
		first = false;
	}
	dbos_entry_scan_end(&scan);
	PopActiveSnapshot();
}
