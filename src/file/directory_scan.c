/*
 * directory_scan.c
 *	  The names of a directory one after the other, for who serves a mount.
 *
 * A mount is asked for a directory in parts, each from where the last one ended.  That is said by the last name: names come and go
 * in between, and a number of how many there were would then mean another one.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "file.h"

struct DbosDirectoryScan
{
	DbosEntryScan entries;
	DbosName	after;
};

DbosDirectoryScan *
dbos_directory_scan_begin(const DbosPlace *place, DbosName after)
{
	DbosDirectoryScan *scan = palloc(sizeof(DbosDirectoryScan));
	Snapshot	snapshot = GetActiveSnapshot();
	DbosPath	path;

	dbos_place_require(place, place->follow, snapshot, &path);
	if (!S_ISDIR(path.inode.mode))
		dbos_not_a_directory(path.given);
	dbos_file_demand(&path.inode, MAY_READ, path.given);
	scan->after = (DbosName) {pnstrdup(after.bytes, after.length), after.length};
	if (after.length == 0)
		dbos_entry_scan_begin(&scan->entries, path.inode.number, snapshot, FOREVER);
	else
		dbos_entry_scan_begin_from(&scan->entries, path.inode.number, scan->after, snapshot, FOREVER);
	return scan;
}

bool
dbos_directory_scan_next(DbosDirectoryScan *scan, DbosDirectoryName *name)
{
	DbosEntry	entry;

	CHECK_FOR_INTERRUPTS();
	do
	{
		if (!dbos_entry_scan_next(&scan->entries, &entry))
			return false;
	} while (entry.name.length == scan->after.length && memcmp(entry.name.bytes, scan->after.bytes, entry.name.length) == 0);
	*name = (DbosDirectoryName) {entry.name, entry.child, entry.kind << 12};
	return true;
}

void
dbos_directory_scan_end(DbosDirectoryScan *scan)
{
	dbos_entry_scan_end(&scan->entries);
	pfree(unconstify(char *, scan->after.bytes));
	pfree(scan);
}
