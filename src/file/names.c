/*
 * names.c
 *	  Files are made, named and removed; rename.c renames them.
 *
 * Each operation finds its paths by a snapshot of its own and changes rows that it has read. When
 * one turns out to be changed by somebody else it begins again: until its first change
 * nothing has happened, and after that nothing that it still needs can go away without an error.
 *
 * Nobody locks a directory.  A name is one row, and unique; who removes a directory deletes
 * its inode first and then looks whether there is a name in it, also one that is not committed; who makes
 * a name looks afterwards whether the directory is still there.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "names.h"
#include "open_file.h"
#include "usage.h"

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
void
dbos_directory_demand_epoch(const DbosPath *path)
{
	if (path->directory.born > dbos_epoch())
		dbos_epoch_passed();
}

/* Until who has the name, or is about to make it, has committed or rolled back. */
void
dbos_name_await(const DbosPath *path)
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
	dbos_directory_demand_epoch(path);
	if (dbos_entry_insert(&path->entry))
		return true;
	if (path->unknown)
		dbos_changed();
	else
		dbos_name_await(path);
	return false;
}

void
dbos_directory_demand_remains(DbosPath *path)
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
	dbos_directory_demand_remains(path);
	dbos_usage_charge_name(path->directory.number, inode, 1);
	dbos_usage_charge_inode(path->directory.number, inode, 1);
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
	dbos_directory_demand_remains(&to);
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
	dbos_usage_charge_inode(directory, inode, -1);
	dbos_xattrs_drop(inode, *snapshot);
	if (inode->storage != STORAGE_INLINE && S_ISREG(inode->mode))
	{
		dbos_changed();
		*snapshot = dbos_view_renew();
		dbos_storage_of(inode)->free(inode, *snapshot);
	}
}

/* Removes a directory, whose name is removed and which must be empty. */
void
dbos_directory_drop(DbosPath *path, Snapshot *snapshot)
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
	dbos_directory_drop(path, snapshot);
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
