/*
 * rename.c
 *	  A name becomes another one, in one step, and replaces what had that.
 *
 * Moves of a directory from one to another go one after the other, so that no directory comes to lie inside
 * itself.  Else renaming locks no more than making and removing names does (names.c).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "names.h"
#include "usage.h"

static DbosNewNames renamed_to;

/* Held to the end of the transaction by who moves a directory into another. */
static void
lock_tree(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, dbos_relation_oid("directory_entry"), 0, 1);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Whether the directory is the other, or lies in it. */
static bool
lies_in(int64 directory, int64 other, Snapshot snapshot)
{
	bool		found = false;

	while (!found)
	{
		DbosEntryScan scan;
		DbosEntry	entry;
		bool		more;

		if (directory == other)
		{
			found = true;
			break;
		}
		dbos_parents_scan_begin(&scan, directory, snapshot, FOREVER);
		more = dbos_entry_scan_next(&scan, &entry);
		dbos_entry_scan_end(&scan);
		if (!more)
			break;
		directory = entry.parent;
		CHECK_FOR_INTERRUPTS();
	}
	return found;
}

/*
 * The same by what is committed now, for who has locked the tree.  In a transaction with one snapshot that must show no
 * ring either, where it shows a directory in the one that it has left since then.
 */
static bool
lies_in_now(int64 directory, int64 other, Snapshot snapshot)
{
	bool		lies;

	PushActiveSnapshot(GetLatestSnapshot());
	lies = lies_in(directory, other, GetActiveSnapshot());
	PopActiveSnapshot();
	if (IsolationUsesXactSnapshot() && lies_in(directory, other, snapshot) != lies)
		dbos_conflict();
	return lies;
}

static void
check_rename(const DbosPath *from, const DbosPath *to, Snapshot snapshot)
{
	if (from->name.length == 0 || to->name.length == 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("cannot rename \"%s\" to \"%s\"", text_to_cstring(from->given), text_to_cstring(to->given)),
				errdetail("Neither the root nor what a dot names can be renamed or replaced."));
	dbos_directory_demand_change(&from->directory, &from->inode, from->given);
	dbos_directory_demand_change(&to->directory, to->found ? &to->inode : NULL, to->given);
	if (to->must_be_directory && !S_ISDIR(from->inode.mode))
		dbos_not_a_directory(to->given);
	if (S_ISDIR(from->inode.mode) && from->directory.number != to->directory.number)
	{
		/* What .. is in it changes. */
		dbos_file_demand(&from->inode, MAY_WRITE, from->given);
		if (lies_in_now(to->directory.number, from->inode.number, snapshot))
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("cannot move directory \"%s\" into itself", text_to_cstring(from->given)));
	}
	if (!to->found)
		return;
	if (S_ISDIR(to->inode.mode) && !S_ISDIR(from->inode.mode))
		dbos_is_a_directory(to->given);
	if (!S_ISDIR(to->inode.mode) && S_ISDIR(from->inode.mode))
		dbos_not_a_directory(to->given);
	if (S_ISDIR(to->inode.mode) && dbos_directory_used(to->inode.number))
		dbos_not_empty(to->given);
}

/* The name that is replaced. */
static bool
drop_replaced(DbosPath *to, Snapshot *snapshot)
{
	if (!dbos_entry_delete(&to->entry, *snapshot))
		return false;
	if (!S_ISDIR(to->inode.mode))
		dbos_name_drop(to->directory.number, to->inode.number, snapshot);
	else
		dbos_directory_drop(to, snapshot);
	dbos_changed();
	*snapshot = dbos_view_renew();
	return true;
}

/* What of the inode that is renamed is looked at: most of what is renamed where it is needs no more than its name. */
static void
complete_inode(DbosPath *from, bool moves, Snapshot snapshot)
{
	if (from->name.length > 0 && !moves && !S_ISDIR(from->inode.mode) && (from->directory.mode & S_ISVTX) == 0)
		return;
	if (from->name.length > 0 && !dbos_inode_read(from->entry.child, snapshot, FOREVER, &from->inode))
		dbos_no_such_file(from->given);
}

static bool
same_name(const DbosPath *one, const DbosPath *other)
{
	return one->directory.number == other->directory.number && one->name.length == other->name.length &&
		memcmp(one->name.bytes, other->name.bytes, one->name.length) == 0;
}

/* The new name; likely_new: it is not looked for where the index can tell. */
static void
find_new_name(const DbosPlace *place, const DbosPath *from, bool likely_new, Snapshot snapshot, DbosPath *to)
{
	if (likely_new && place->path != NULL)
	{
		dbos_path_find_directory(place->path, snapshot, to);
		if (to->unknown && !same_name(from, to))
			return;
	}
	dbos_place_find(place, FOLLOW_NOT_LAST, snapshot, to);
}

static void
charge_rename(const DbosPath *from, const DbosPath *to)
{
	if (from->directory.number != to->directory.number)
	{
		dbos_usage_charge_name(from->directory.number, &from->inode, -1);
		dbos_usage_charge_name(to->directory.number, &from->inode, 1);
	}
	else
	{
		/* It has what it had; but it was changed. */
		DbosUsage	usage = {.directory = to->directory.number, .owner = to->directory.owner, .modified = dbos_file_now()};

		dbos_usage_add(&usage);
	}
}

static bool
rename_once(const DbosPlace *place, const DbosPlace *new_place, int flags, bool likely_new, Snapshot *snapshot)
{
	DbosPath	from;
	DbosPath	to;
	bool		moves;

	if (place->path != NULL)
		dbos_path_find_name(place->path, *snapshot, &from);
	else
		dbos_place_find(place, FOLLOW_NOT_LAST, *snapshot, &from);
	if (!from.found)
		dbos_no_such_file(from.given);
	find_new_name(new_place, &from, likely_new, *snapshot, &to);
	moves = from.directory.number != to.directory.number;
	complete_inode(&from, moves, *snapshot);
	if (S_ISDIR(from.inode.mode) && moves && from.name.length > 0)
	{
		lock_tree();
		*snapshot = dbos_view_renew();
		dbos_place_require(place, FOLLOW_NOT_LAST, *snapshot, &from);
		dbos_place_find(new_place, FOLLOW_NOT_LAST, *snapshot, &to);
		moves = from.directory.number != to.directory.number;
	}
	if (to.found && (flags & DBOS_RENAME_NO_REPLACE) != 0)
		dbos_file_exists(to.given);
	if (!to.unknown)
		dbos_name_was_new(&renamed_to, !to.found);
	/* Two names of one file stay as they are, and so does a directory. */
	if (to.found && to.inode.number == from.inode.number && from.name.length > 0 && to.name.length > 0)
		return true;
	check_rename(&from, &to, *snapshot);
	dbos_directory_demand_epoch(&to);
	/*
	 * Size and owner of what goes to another directory are those of now: its row is locked, so that who
	 * writes it, or gives it away, finds where it is.
	 */
	if ((moves && !dbos_inode_lock(&from.inode, *snapshot)) || (to.found && !drop_replaced(&to, snapshot)))
	{
		dbos_conflict();
		return false;
	}
	switch (dbos_entry_move(&from.entry, to.directory.number, to.name, *snapshot))
	{
		case MOVE_DONE:
			break;
		case MOVE_CHANGED:
			dbos_conflict();
			return false;
		case MOVE_TAKEN:
			if (to.unknown)
				dbos_changed();
			else
				dbos_name_await(&to);
			return false;
	}
	dbos_changed();
	if (moves)
		dbos_directory_demand_remains(&to);
	charge_rename(&from, &to);
	if (moves && S_ISDIR(from.inode.mode))
		dbos_quota_moved(from.inode.number);
	return true;
}

void
dbos_file_rename(const DbosPlace *place, const DbosPlace *new_place, int flags)
{
	Snapshot	snapshot = dbos_view_begin();
	bool		likely_new = dbos_name_likely_new(&renamed_to);

	while (!rename_once(place, new_place, flags, likely_new, &snapshot))
	{
		snapshot = dbos_view_renew();
		likely_new = false;
	}
	dbos_view_end();
	dbos_changed();
}
