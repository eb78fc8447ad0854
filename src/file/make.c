/*
 * make.c
 *	  Files, directories and symbolic links are made: whole operations, as mknod(2), mkdir(2) and symlink(2) are.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "attributes.h"
#include "names.h"

/* False: somebody else has made it, or is about to; look again. */
static bool
make_once(const DbosPlace *place, int32 mode, const DbosContent *content, Snapshot *snapshot, DbosInode *made)
{
	DbosPath	path;

	dbos_place_find(place, FOLLOW_NOT_LAST, *snapshot, &path);
	if (path.found)
		dbos_file_exists(path.given);
	if (!dbos_node_make(&path, mode, content, snapshot))
		return false;
	if (made != NULL)
		*made = path.inode;
	return true;
}

static void
make(const DbosPlace *place, int32 mode, const DbosContent *content, DbosInode *made)
{
	Snapshot	snapshot = dbos_root_make(dbos_view_begin());

	while (!make_once(place, mode, content, &snapshot, made))
		snapshot = dbos_view_renew();
	dbos_view_end();
	dbos_changed();
}

void
dbos_file_make(const DbosPlace *place, int32 mode, DbosInode *made)
{
	DbosContent nothing = {.how = WRITE_REPLACE, .bytes = ""};

	dbos_mode_check(mode & ~S_IFMT);
	if (!S_ISREG(mode) && !S_ISDIR(mode))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("cannot make a file of kind %o", (unsigned) (mode & S_IFMT)),
				errdetail("There are regular files, directories and symbolic links."));
	make(place, mode, S_ISREG(mode) ? &nothing : NULL, made);
	/* Its own dot and its name. */
	if (made != NULL && S_ISDIR(mode))
		made->links = 2;
}

void
dbos_file_symlink(DbosName target, const DbosPlace *place, DbosInode *made)
{
	DbosContent content = {.how = WRITE_REPLACE, .bytes = target.bytes, .length = target.length};

	if (target.length == 0 || target.length >= INLINE_MAX)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("target of a symbolic link must have from 1 to %d bytes", INLINE_MAX - 1));
	make(place, SYMLINK_MODE, &content, made);
}
