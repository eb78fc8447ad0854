/*
 * names.c
 *	  Files are made, named, renamed and removed.
 *
 * Each operation finds its paths by a snapshot of its own and changes rows that it has read. When
 * one turns out to be changed by somebody else it begins again: until its first change
 * nothing has happened, and after that nothing that it still needs can go away without an error.
 *
 * Nobody locks a directory.  A name is one row, and unique; who removes a directory deletes
 * its inode first and then looks whether there is a name in it, also one that is not committed; who makes
 * a name looks afterwards whether the directory is still there.  Only moves of a directory from
 * one to another go one after the other, so that no directory comes to lie inside itself.
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
#include "open_file.h"

/* ---- new names ---- */

/* So often in a row must names have been new. */
#define NAMES_NEW 4

/*
 * Whether a name that is to be made is likely new, as those were that this session has made last.  Then it is not
 * looked for: the index tells whether it is there when the row has been put in, which costs a dead row if it is.
 * Above READ COMMITTED it is always looked for: what the snapshot shows counts, also if somebody has
 * removed it since then.
 */
bool
dbos_name_likely_new(const DbosNewNames *names)
{
	return names->in_a_row >= NAMES_NEW && !IsolationUsesXactSnapshot();
}

void
dbos_name_was_new(DbosNewNames *names, bool new)
{
	names->in_a_row = new ? Min(names->in_a_row + 1, NAMES_NEW) : 0;
}

/* ---- usage ---- */

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
static void
charge_inode(int64 directory, const DbosInode *inode, int sign)
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

/* ---- making ---- */

/* What a new inode in that directory is like. */
void
dbos_node_begin(DbosInode *inode, const DbosInode *directory, int32 mode)
{
	memset(inode, 0, sizeof(DbosInode));
	inode->number = dbos_inode_number();
	inode->file_system = directory->file_system;
	inode->mode = mode;
	inode->owner = GetUserId();
	inode->group = inode->owner;
	inode->links = 1;
	inode->storage = S_ISLNK(mode) ? STORAGE_CHUNK : directory->storage;
	/* A directory with the set-group-id bit gives its group to what is made in it. */
	if (directory->mode & S_ISGID)
	{
		inode->group = directory->group;
		if (S_ISDIR(mode))
			inode->mode |= S_ISGID;
	}
	inode->created = inode->modified = inode->changed = inode->accessed = dbos_file_now();
}

/* In a snapshot that does not have what was done to the directory, or the directory itself, the name would be lost. */
static void
check_directory_epoch(const DbosPath *path)
{
	if (path->directory.born > dbos_epoch())
		dbos_epoch_passed();
}

/* Until who has the name, or is about to make it, has committed or rolled back. */
static void
await_name(const DbosPath *path)
{
	dbos_changed();
	if (dbos_entry_await(path->directory.number, path->name))
		dbos_conflict();
}

/* A name for the inode; false: it is there, or somebody else has made it and has committed or rolled back by now. */
static bool
enter(DbosPath *path, const DbosInode *inode)
{
	path->entry = (DbosEntry) {
		.parent = path->directory.number, .child = inode->number, .kind = (inode->mode & S_IFMT) >> 12, .name = path->name
	};
	check_directory_epoch(path);
	if (dbos_entry_insert(&path->entry))
		return true;
	if (path->unknown)
		dbos_changed();
	else
		await_name(path);
	return false;
}

static void
check_directory_remains(DbosPath *path)
{
	/* Who has made a name in it asks. */
	if (dbos_directory_remains(path->directory.number))
		return;
	dbos_conflict();
	dbos_no_such_file(path->given);
}

/*
 * Makes what the path, which was not found, names.  False: it is there, or somebody else has made it meanwhile; find it
 * again.
 */
bool
dbos_node_make(DbosPath *path, int32 mode, const DbosContent *content, Snapshot *snapshot)
{
	DbosInode  *inode = &path->inode;
	DbosInode	empty;

	if (path->name.length == 0)
		dbos_file_exists(path->given);
	if (path->must_be_directory && !S_ISDIR(mode))
		dbos_no_such_file(path->given);
	dbos_directory_demand_change(&path->directory, NULL, path->given);
	dbos_node_begin(inode, &path->directory, mode);
	if (content != NULL)
		dbos_content_begin(inode, content);
	empty = *inode;
	if (!enter(path, inode))
		return false;
	if (content != NULL)
		(void) dbos_content_written(content, S_ISREG(mode) && !OidIsValid(content->adopted));
	if (empty.storage == STORAGE_LARGE_OBJECT && S_ISREG(mode))
		empty.large_object = inode->large_object = dbos_large_object_make();
	dbos_inode_insert(&empty);
	inode->born = empty.born;
	inode->died = empty.died;
	if (content != NULL && inode->storage != STORAGE_INLINE && inode->storage != STORAGE_ADOPTED)
		dbos_storage_of(inode)->write(inode, 0, 0, content->bytes, content->length, *snapshot);
	check_directory_remains(path);
	dbos_usage_charge_name(path->directory.number, inode, 1);
	charge_inode(path->directory.number, inode, 1);
	path->found = true;
	dbos_changed();
	return true;
}

/* Where another name is to be. */
static void
check_new(const DbosPath *to)
{
	if (to->found || to->name.length == 0)
		dbos_file_exists(to->given);
	if (to->must_be_directory)
		dbos_no_such_file(to->given);
	dbos_directory_demand_change(&to->directory, NULL, to->given);
}

/* Another name of a file. */
static bool
link_once(const DbosPlace *place, const DbosPlace *new_place, Snapshot *snapshot)
{
	DbosPath	from;
	DbosPath	to;

	dbos_place_require(place, FOLLOW_NOT_LAST, *snapshot, &from);
	dbos_place_find(new_place, FOLLOW_NOT_LAST, *snapshot, &to);
	if (S_ISDIR(from.inode.mode))
		ereport(ERROR,
				errcode(ERRCODE_DBOS_IS_A_DIRECTORY),
				errmsg("cannot make another name of directory \"%s\"", text_to_cstring(from.given)),
				errhint("Use dbos.symlink()."));
	/* One that has no name any more, and is open, goes when it is closed. */
	if (from.inode.links == 0)
		dbos_no_such_file(from.given);
	check_new(&to);
	from.inode.links++;
	from.inode.changed = dbos_file_now();
	if (!dbos_inode_update(&from.inode, *snapshot))
	{
		dbos_conflict();
		return false;
	}
	while (!enter(&to, &from.inode))
	{
		*snapshot = dbos_view_renew();
		dbos_place_find(new_place, FOLLOW_NOT_LAST, *snapshot, &to);
		check_new(&to);
	}
	check_directory_remains(&to);
	dbos_usage_charge_name(to.directory.number, &from.inode, 1);
	return true;
}

void
dbos_file_link(const DbosPlace *place, const DbosPlace *new_place)
{
	Snapshot	snapshot = dbos_view_begin();

	while (!link_once(place, new_place, &snapshot))
		snapshot = dbos_view_renew();
	dbos_view_end();
	dbos_changed();
}

/* ---- removing ---- */

/* One name of the inode was removed; with the last one it goes, and its content, unless it is open. */
void
dbos_name_drop(int64 directory, int64 number, Snapshot *snapshot)
{
	DbosInode	inode;
	bool		last;

	for (;;)
	{
		if (!dbos_inode_read(number, *snapshot, FOREVER, &inode))
			elog(ERROR, "inode " INT64_FORMAT " is missing", number);
		last = inode.links <= 1;
		if (last)
		{
			if (dbos_inode_delete(&inode, *snapshot))
				break;
		}
		else
		{
			inode.links--;
			inode.changed = dbos_file_now();
			if (dbos_inode_update(&inode, *snapshot))
				break;
		}
		dbos_conflict();
		*snapshot = dbos_view_renew();
	}
	dbos_usage_charge_name(directory, &inode, -1);
	if (!last)
		return;
	/* Looked for when nobody can open it any more. */
	if (S_ISREG(inode.mode) && dbos_inode_is_open(number))
		dbos_inode_keep_open(&inode);
	else
		dbos_node_free(directory, &inode, snapshot);
}

/* The inode is deleted; what it had goes too.  directory: the one of its last name. */
void
dbos_node_free(int64 directory, DbosInode *inode, Snapshot *snapshot)
{
	charge_inode(directory, inode, -1);
	dbos_xattrs_drop(inode, *snapshot);
	if (inode->storage != STORAGE_INLINE && S_ISREG(inode->mode))
	{
		dbos_changed();
		*snapshot = dbos_view_renew();
		dbos_storage_of(inode)->free(inode, *snapshot);
	}
}

/* Removes a directory, whose name is removed and which must be empty. */
static void
drop_directory(DbosPath *path, Snapshot *snapshot)
{
	while (!dbos_inode_delete(&path->inode, *snapshot))
	{
		dbos_conflict();
		*snapshot = dbos_view_renew();
		if (!dbos_inode_read(path->inode.number, *snapshot, FOREVER, &path->inode))
			dbos_no_such_file(path->given);
	}
	dbos_xattrs_drop(&path->inode, *snapshot);
	dbos_changed();
	if (dbos_directory_used(path->inode.number))
		dbos_not_empty(path->given);
	dbos_usage_charge_name(path->directory.number, &path->inode, -1);
	dbos_usage_inherit(path->inode.number, path->directory.number);
}

/* Removes a name that was found; false: somebody else has done so; find it again. */
bool
dbos_node_unlink(DbosPath *path, Snapshot *snapshot)
{
	if (S_ISDIR(path->inode.mode))
		dbos_is_a_directory(path->given);
	dbos_directory_demand_change(&path->directory, &path->inode, path->given);
	if (!dbos_entry_delete(&path->entry, *snapshot))
	{
		dbos_conflict();
		return false;
	}
	dbos_name_drop(path->directory.number, path->inode.number, snapshot);
	return true;
}

static bool
unlink_once(const DbosPlace *place, Snapshot *snapshot)
{
	DbosPath	path;

	dbos_place_require(place, FOLLOW_NOT_LAST, *snapshot, &path);
	/* An inode by its number, or an open file: which of its names is not said. */
	if (path.name.length == 0 && !S_ISDIR(path.inode.mode))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("cannot remove \"%s\" without its name", text_to_cstring(path.given)));
	return dbos_node_unlink(&path, snapshot);
}

void
dbos_file_unlink(const DbosPlace *place)
{
	Snapshot	snapshot = dbos_view_begin();

	while (!unlink_once(place, &snapshot))
		snapshot = dbos_view_renew();
	dbos_view_end();
	dbos_changed();
}

/* A directory that was found may be removed by its name. */
void
dbos_directory_demand_removal(const DbosPath *path)
{
	if (path->name.length == 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("cannot remove directory \"%s\"", text_to_cstring(path->given)),
				errdetail("Neither the root nor what a dot names can be removed."));
	dbos_directory_demand_change(&path->directory, &path->inode, path->given);
}

/* Removes an empty directory that was found; false: somebody else has changed it; find it again. */
bool
dbos_node_rmdir(DbosPath *path, Snapshot *snapshot)
{
	if (!S_ISDIR(path->inode.mode))
		dbos_not_a_directory(path->given);
	dbos_directory_demand_removal(path);
	/* Told before anything is done, where it can be. */
	if (dbos_directory_used(path->inode.number))
		dbos_not_empty(path->given);
	if (!dbos_entry_delete(&path->entry, *snapshot))
	{
		dbos_conflict();
		return false;
	}
	drop_directory(path, snapshot);
	return true;
}

static bool
rmdir_once(const DbosPlace *place, Snapshot *snapshot)
{
	DbosPath	path;

	dbos_place_require(place, FOLLOW_NOT_LAST, *snapshot, &path);
	return dbos_node_rmdir(&path, snapshot);
}

void
dbos_file_rmdir(const DbosPlace *place)
{
	Snapshot	snapshot = dbos_view_begin();

	while (!rmdir_once(place, &snapshot))
		snapshot = dbos_view_renew();
	dbos_view_end();
	dbos_changed();
}

/* ---- renaming ---- */

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
		drop_directory(to, snapshot);
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
	check_directory_epoch(&to);
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
				await_name(&to);
			return false;
	}
	dbos_changed();
	if (moves)
		check_directory_remains(&to);
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
