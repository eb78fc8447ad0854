/*
 * import_functions.c
 *	  SQL functions that import a file of the host, or a tree of them in one transaction.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "miscadmin.h"
#include "utils/builtins.h"

#include "import.h"
#include "names.h"
#include "usage.h"

PG_FUNCTION_INFO_V1(dbos_import_file);
PG_FUNCTION_INFO_V1(dbos_import_tree);

/* ---- one file ---- */

static void
open_file(DbosOutside *outside)
{
	outside->file = dbos_outside_open_at(AT_FDCWD, outside->path.data, O_RDONLY | O_NONBLOCK);
	if (outside->file < 0)
		dbos_outside_failed(outside, NULL, "open file");
}

/* A file that is not there yet; false: somebody else has made it meanwhile. */
static bool
make_file(DbosImport *import, DbosPath *path, const struct stat *status, DbosInode *inode)
{
	DbosBulkDirectory directory = {.inode = path->directory, .path = path->given};
	mode_t		dropped = import->keeps_set_id ? 0 : S_ISUID | S_ISGID;

	if (path->name.length == 0)
		dbos_is_a_directory(path->given);
	if (path->must_be_directory)
		dbos_no_such_file(path->given);
	dbos_directory_demand_change(&path->directory, NULL, path->given);
	dbos_node_begin(inode, &path->directory, status->st_mode & (S_IFMT | 07777) & ~dropped);
	if (!dbos_bulk_enter(import->bulk, &directory, path->name, inode))
		return false;
	if (dbos_is_large_object(inode))
		inode->large_object = dbos_large_object_make();
	dbos_outside_take(import->outside, NULL, status, inode, &import->snapshot);
	inode->modified = dbos_outside_nanoseconds(&status->st_mtim);
	inode->accessed = dbos_outside_nanoseconds(&status->st_atim);
	dbos_bulk_inode(import->bulk, inode);
	dbos_bulk_charge(&directory, inode, true);
	dbos_bulk_leave(&directory);
	return true;
}

/* One that is there gets other content, as by dbos.write_file(); false: somebody else changes it. */
static bool
replace_content(DbosImport *import, DbosPath *path, const struct stat *status, DbosInode *inode)
{
	int64		old_size = path->inode.size;

	if (S_ISDIR(path->inode.mode))
		dbos_is_a_directory(path->given);
	if (!S_ISREG(path->inode.mode))
		dbos_not_a_file(path->given);
	dbos_file_demand(&path->inode, MAY_WRITE, path->given);
	if (!dbos_content_truncate(&path->inode, 0, &import->snapshot))
	{
		dbos_conflict();
		return false;
	}
	dbos_changed();
	import->snapshot = dbos_view_renew();
	if (!dbos_inode_read(path->inode.number, import->snapshot, FOREVER, inode))
		dbos_no_such_file(path->given);
	if (inode->storage == STORAGE_INLINE)
		inode->storage = STORAGE_CHUNK;
	inode->content = NULL;
	inode->content_length = 0;
	dbos_outside_take(import->outside, NULL, status, inode, &import->snapshot);
	inode->modified = dbos_outside_nanoseconds(&status->st_mtim);
	inode->changed = dbos_file_now();
	if (!dbos_inode_update(inode, import->snapshot))
		elog(ERROR, "inode " INT64_FORMAT " was changed by who has not locked it", inode->number);
	dbos_usage_charge(inode, inode->size - old_size);
	return true;
}

static void
import_file(DbosImport *import, text *given, DbosInode *inode)
{
	struct stat status;
	bool		done;

	open_file(import->outside);
	if (fstat(import->outside->file, &status) != 0)
		dbos_outside_failed(import->outside, NULL, "look at file");
	if (!S_ISREG(status.st_mode))
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("\"%s\" of the host is not a regular file", dbos_outside_name(import->outside, NULL)),
				S_ISDIR(status.st_mode) ? errhint("dbos.import_tree() imports a directory.") : 0);
	do
	{
		DbosPath	path;

		dbos_path_find(given, FOLLOW_LAST, import->snapshot, &path);
		done = path.found ? replace_content(import, &path, &status, inode) : make_file(import, &path, &status, inode);
		if (!done)
			import->snapshot = dbos_view_renew();
	} while (!done);
	dbos_import_end(import);
}

/* dbos.import_file(host_path text, path text) → bytes */
Datum
dbos_import_file(PG_FUNCTION_ARGS)
{
	DbosImport *import;
	DbosInode	inode;

	PreventCommandIfReadOnly("dbos.import_file()");
	import = dbos_import_begin(PG_GETARG_TEXT_PP(0), false);
	PG_TRY();
	{
		import_file(import, PG_GETARG_TEXT_PP(1), &inode);
	}
	PG_FINALLY();
	{
		dbos_import_stop(import);
	}
	PG_END_TRY();
	PG_RETURN_INT64(inode.size);
}

/* ---- a tree ---- */

void *
dbos_import_enter(void *arg, void *outer, const char *name, const struct stat *status)
{
	DbosImportTree *tree = arg;

	if (outer != NULL)
		return dbos_import_directory(tree->import, outer, name, status);
	dbos_import_root(tree->import, tree->given, status);
	return &tree->import->root;
}

void
dbos_import_leave(void *arg, void *level)
{
	DbosImportTree *tree = arg;
	DbosBulkDirectory *directory = level;

	dbos_bulk_leave(directory);
	if (directory == &tree->import->root)
		return;
	if (directory->path != NULL)
		pfree(directory->path);
	pfree(directory);
}

static void
visit_file(void *arg, void *level, const char *name, mode_t type)
{
	DbosImportTree *tree = arg;

	dbos_import_node(tree->import, level, name, type);
}

static const DbosOutsideVisitor importing = {.enter = dbos_import_enter, .visit = visit_file, .leave = dbos_import_leave};

/* dbos.import_tree(host_path text, path text, replace boolean) → files */
Datum
dbos_import_tree(PG_FUNCTION_ARGS)
{
	DbosImportTree tree = {.given = PG_GETARG_TEXT_PP(1)};

	PreventCommandIfReadOnly("dbos.import_tree()");
	tree.import = dbos_import_begin(PG_GETARG_TEXT_PP(0), PG_GETARG_BOOL(2));
	PG_TRY();
	{
		dbos_outside_open_directory(tree.import->outside, dbos_outside_path(PG_GETARG_TEXT_PP(0)));
		dbos_outside_walk(tree.import->outside, &importing, &tree);
		dbos_import_end(tree.import);
	}
	PG_FINALLY();
	{
		dbos_import_stop(tree.import);
	}
	PG_END_TRY();
	PG_RETURN_INT64(tree.import->outside->files);
}
