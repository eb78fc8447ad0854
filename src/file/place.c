/*
 * place.c
 *	  What an operation is about: by a path, by numbers of inodes, or by the handle of an open file.
 *
 * All of them lead to the same as a path does, so that the operations need not know.  A number stands for a
 * look-up that was allowed: who serves a mount has come to it by names, each of which was asked for in a directory
 * that may be searched.  An inode of another container is not there, whatever its number.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "dbos/container.h"
#include "file.h"
#include "open_file.h"

/* ---- numbers ---- */

/* How messages call it. */
static text *
describe(const DbosPlace *place)
{
	char	   *inode = psprintf("inode " INT64_FORMAT, place->number);

	if (place->handle != 0)
		return cstring_to_text(psprintf("file handle " INT64_FORMAT, place->handle));
	return cstring_to_text(place->name.length == 0 ? inode : psprintf("%s/%s", inode, text_to_cstring(dbos_name_text(place->name))));
}

static void
check_name(DbosName name)
{
	if (name.length > DBOS_NAME_MAX)
		ereport(ERROR,
				errcode(ERRCODE_NAME_TOO_LONG),
				errmsg("name \"%.100s...\" is longer than %d bytes", text_to_cstring(dbos_name_text(name)), DBOS_NAME_MAX));
	if (memchr(name.bytes, '/', name.length) != NULL || memchr(name.bytes, '\0', name.length) != NULL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_NAME),
				errmsg("a name has neither slashes nor zero bytes in it"));
}

static bool
read_number(int64 number, Snapshot snapshot, DbosInode *inode)
{
	if (number != 0)
		return dbos_inode_read(number, snapshot, FOREVER, inode) && inode->file_system == dbos_context_container();
	dbos_root_read(snapshot, FOREVER, inode);
	return true;
}

/* Of "..": that of the root is the root. */
static bool
find_parent(const DbosInode *directory, Snapshot snapshot, DbosInode *parent)
{
	DbosEntryScan scan;
	DbosEntry	entry;
	bool		found;

	dbos_parents_scan_begin(&scan, directory->number, snapshot, FOREVER);
	found = dbos_entry_scan_next(&scan, &entry);
	dbos_entry_scan_end(&scan);
	*parent = *directory;
	return !found || dbos_inode_read(entry.parent, snapshot, FOREVER, parent);
}

static void
find_name(const DbosPlace *place, Snapshot snapshot, DbosPath *path)
{
	DbosName	name = place->name;

	check_name(name);
	if (!S_ISDIR(path->directory.mode))
		dbos_not_a_directory(path->given);
	dbos_file_demand(&path->directory, MAY_EXECUTE, path->given);
	if (memcmp(name.bytes, "..", Min(name.length, 2)) == 0 && name.length <= 2)
	{
		path->inode = path->directory;
		path->found = name.length == 1 || find_parent(&path->directory, snapshot, &path->inode);
		return;
	}
	path->name = name;
	path->found = dbos_entry_find(path->directory.number, name, snapshot, FOREVER, &path->entry) &&
		dbos_inode_read(path->entry.child, snapshot, FOREVER, &path->inode);
}

/* ---- all of them ---- */

/* False: not even the directory of the name is there, if one was given. */
static bool
find_by_number(const DbosPlace *place, Snapshot snapshot, DbosPath *path)
{
	memset(path, 0, sizeof(DbosPath));
	path->given = describe(place);
	if (place->handle != 0)
	{
		DbosOpenFile file;

		dbos_open_file_require(place->handle, snapshot, &file);
		path->found = dbos_inode_read(file.inode, snapshot, FOREVER, &path->inode);
		return path->found;
	}
	if (place->name.length == 0)
	{
		path->found = read_number(place->number, snapshot, &path->inode);
		return path->found;
	}
	if (!read_number(place->number, snapshot, &path->directory))
		return false;
	find_name(place, snapshot, path);
	return true;
}

/* As dbos_path_find() does: what is not found may be made, if it has a name. */
void
dbos_place_find(const DbosPlace *place, DbosFollow follow, Snapshot snapshot, DbosPath *path)
{
	if (place->path != NULL)
		dbos_path_find(place->path, follow, snapshot, path);
	else if (!find_by_number(place, snapshot, path))
		dbos_no_such_file(path->given);
}

void
dbos_place_require(const DbosPlace *place, DbosFollow follow, Snapshot snapshot, DbosPath *path)
{
	dbos_place_find(place, follow, snapshot, path);
	if (!path->found)
		dbos_no_such_file(path->given);
}

bool
dbos_file_find(const DbosPlace *place, DbosInode *inode)
{
	Snapshot	snapshot = GetActiveSnapshot();
	DbosPath	path;

	if (place->path != NULL)
		(void) dbos_path_look(place->path, place->follow, snapshot, &path);
	else
		(void) find_by_number(place, snapshot, &path);
	if (!path.found)
		return false;
	*inode = path.inode;
	if (S_ISDIR(inode->mode))
		dbos_directory_complete(inode, snapshot);
	inode->size = dbos_inode_size(inode, snapshot);
	return true;
}

/* A copy in the caller's context; the path is of a symbolic link. */
DbosName
dbos_link_target(const DbosPath *path)
{
	if (!S_ISLNK(path->inode.mode))
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("\"%s\" is not a symbolic link", text_to_cstring(path->given)));
	return (DbosName) {pnstrdup(path->inode.content, path->inode.content_length), path->inode.content_length};
}

DbosName
dbos_file_read_link(const DbosPlace *place)
{
	DbosPath	path;

	dbos_place_require(place, FOLLOW_NOT_LAST, GetActiveSnapshot(), &path);
	return dbos_link_target(&path);
}
