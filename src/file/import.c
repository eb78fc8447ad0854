/*
 * import.c
 *	  A file, directory or symbolic link of the host becomes one of ours, with its mode and times.
 *
 * What is imported belongs to the role that imports it, as what tar extracts belongs to who extracts.
 * In a directory that was there before, a name may be taken. What is there and looks the same, by kind, size
 * and time of modification, is the same and is left alone: an import that is done again does
 * only what is missing. Anything else is an error, or is replaced when that is wanted.
 *
 * A name is entered before the content is read: that somebody else enters it too is known before there
 * is anything to undo.
 *
 * Names of the same file of the host become names of the same file here. How many there are is known in
 * the end; then the links are counted, with one change of the row.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "import.h"
#include "names.h"

typedef struct Linked
{
	DbosLinkKey key;
	uint32		status;
	DbosInode	inode;			/* without its content */
	bool		made;			/* by this import: nobody else sees it */
	bool		locked;
	int			added;			/* names beyond those that its row knows of */
} Linked;

#define SH_PREFIX dboslinks
#define SH_ELEMENT_TYPE Linked
#define SH_KEY_TYPE DbosLinkKey
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) &(key), sizeof(DbosLinkKey))
#define SH_EQUAL(tb, a, b) ((a).device == (b).device && (a).inode == (b).inode)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* What is imported. */
typedef struct Source
{
	const char *name;
	struct stat status;
	char		target[PATH_MAX];	/* of a symbolic link */
} Source;

/* ---- begin and end ---- */

/* Ended by dbos_import_end(), and in any case by dbos_import_stop(). */
DbosImport *
dbos_import_begin(text *host_path, bool replace)
{
	DbosImport *import = palloc0(sizeof(DbosImport));
	const char *path;

	dbos_outside_demand_read();
	path = dbos_outside_path(host_path);
	import->replace = replace;
	import->keeps_set_id = dbos_file_superuser();
	import->links = dboslinks_create(CurrentMemoryContext, 64, NULL);
	import->bulk = dbos_bulk_begin();
	import->scratch = AllocSetContextCreate(CurrentMemoryContext, "dbos import", ALLOCSET_DEFAULT_SIZES);
	import->snapshot = dbos_root_make(dbos_view_begin());
	/* Last: what is reserved by it is given back by dbos_import_stop(). */
	import->outside = dbos_outside_begin("importing");
	appendStringInfoString(&import->outside->path, path);
	return import;
}

static void
renew(DbosImport *import)
{
	import->snapshot = dbos_view_renew();
}

/* Somebody else was quicker. */
static void
look_again(DbosImport *import)
{
	dbos_conflict();
	renew(import);
}

static void
count_links(DbosImport *import, const Linked *linked)
{
	DbosInode	inode;

	renew(import);
	for (;;)
	{
		if (!dbos_inode_read(linked->inode.number, import->snapshot, FOREVER, &inode))
			elog(ERROR, "inode " INT64_FORMAT " is missing", linked->inode.number);
		inode.links += linked->added;
		inode.changed = dbos_file_now();
		if (dbos_inode_update(&inode, import->snapshot))
			break;
		look_again(import);
	}
}

/* All is written. */
void
dbos_import_end(DbosImport *import)
{
	dboslinks_iterator iterator;
	Linked	   *linked;

	dbos_bulk_flush(import->bulk);
	dboslinks_start_iterate(import->links, &iterator);
	while ((linked = dboslinks_iterate(import->links, &iterator)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (linked->added > 0)
			count_links(import, linked);
	}
	dbos_view_end();
	dbos_changed();
	if (import->skipped > 0)
		ereport(NOTICE,
				errmsg_plural("%lld socket, device or pipe was skipped",
							  "%lld sockets, devices and pipes were skipped",
							  import->skipped, (long long) import->skipped));
}

/* Also after an error. */
void
dbos_import_stop(DbosImport *import)
{
	dbos_outside_end(import->outside);
}

/* ---- what is there ---- */

text *
dbos_import_path(const DbosBulkDirectory *directory, DbosName name)
{
	StringInfoData path;
	text	   *last = dbos_name_text(name);

	initStringInfo(&path);
	if (directory->path != NULL)
		appendBinaryStringInfo(&path, VARDATA_ANY(directory->path), VARSIZE_ANY_EXHDR(directory->path));
	if (path.len == 0 || path.data[path.len - 1] != '/')
		appendStringInfoChar(&path, '/');
	appendBinaryStringInfo(&path, VARDATA_ANY(last), VARSIZE_ANY_EXHDR(last));
	return cstring_to_text_with_len(path.data, path.len);
}

static bool
looks_same(const DbosInode *inode, const Source *source, Snapshot snapshot)
{
	if ((inode->mode & S_IFMT) != (source->status.st_mode & S_IFMT))
		return false;
	if (S_ISLNK(inode->mode))
		return inode->content_length == strlen(source->target) && memcmp(inode->content, source->target, inode->content_length) == 0;
	return dbos_inode_size(inode, snapshot) == source->status.st_size && inode->modified == dbos_outside_nanoseconds(&source->status.st_mtim);
}

/*
 * What of that name is there already: true: it is what it is to be; its inode is told.  Otherwise the name
 * is free afterwards.
 */
static bool
is_there(DbosImport *import, DbosBulkDirectory *directory, DbosName name, const Source *source, const Linked *linked, DbosInode *inode)
{
	DbosPath	path = {.directory = directory->inode, .name = name, .found = true};

	if (directory->hidden)
		return false;
	for (;;)
	{
		if (!dbos_entry_find(directory->inode.number, name, import->snapshot, FOREVER, &path.entry) ||
			!dbos_inode_read(path.entry.child, import->snapshot, FOREVER, &path.inode))
			return false;
		*inode = path.inode;
		if (linked != NULL ? inode->number == linked->inode.number : looks_same(inode, source, import->snapshot))
			return true;
		path.given = dbos_import_path(directory, name);
		if (S_ISDIR(inode->mode))
			dbos_is_a_directory(path.given);
		if (!import->replace)
			dbos_file_exists(path.given);
		if (dbos_node_unlink(&path, &import->snapshot))
			break;
		look_again(import);
	}
	dbos_changed();
	renew(import);
	return false;
}

/* ---- making ---- */

static void
begin_node(DbosImport *import, DbosBulkDirectory *directory, DbosInode *inode, const struct stat *status)
{
	mode_t		dropped = import->keeps_set_id ? 0 : S_ISUID | S_ISGID;

	dbos_node_begin(inode, &directory->inode, status->st_mode & (S_IFMT | 07777) & ~dropped);
	inode->modified = dbos_outside_nanoseconds(&status->st_mtim);
	inode->accessed = dbos_outside_nanoseconds(&status->st_atim);
}

static void
demand_change(DbosBulkDirectory *directory, DbosName name)
{
	if (!directory->hidden)
		dbos_directory_demand_change(&directory->inode, NULL, dbos_import_path(directory, name));
}

static Linked *
find_linked(DbosImport *import, const struct stat *status)
{
	DbosLinkKey key = {status->st_dev, status->st_ino};

	return status->st_nlink > 1 ? dboslinks_lookup(import->links, key) : NULL;
}

static void
remember(DbosImport *import, const struct stat *status, const DbosInode *inode, bool made)
{
	DbosLinkKey key = {status->st_dev, status->st_ino};
	bool		found;
	Linked	   *linked;

	if (status->st_nlink <= 1)
		return;
	linked = dboslinks_insert(import->links, key, &found);
	linked->inode = *inode;
	linked->inode.content = NULL;
	linked->made = made;
	linked->locked = false;
	linked->added = 0;
}

/* Of a file that others see too: whoever writes it from now on waits, and then finds its new name. */
static void
lock_linked(DbosImport *import, Linked *linked, text *path)
{
	renew(import);
	for (;;)
	{
		if (!dbos_inode_read(linked->inode.number, import->snapshot, FOREVER, &linked->inode))
			dbos_no_such_file(path);
		linked->inode.content = NULL;
		if (dbos_inode_lock(&linked->inode, import->snapshot))
			break;
		look_again(import);
	}
	linked->locked = true;
}

/* One more name of what was imported before. */
static void
make_link(DbosImport *import, DbosBulkDirectory *directory, DbosName name, const Source *source, Linked *linked)
{
	DbosInode	there;

	if (!linked->made && !linked->locked)
		lock_linked(import, linked, dbos_import_path(directory, name));
	do
	{
		if (is_there(import, directory, name, source, linked, &there))
			return;
		demand_change(directory, name);
		if (dbos_bulk_enter(import->bulk, directory, name, &linked->inode))
			break;
		renew(import);
	} while (true);
	dbos_bulk_charge(directory, &linked->inode, false);
	linked->added++;
	import->outside->files++;
}

static void
make_node(DbosImport *import, DbosBulkDirectory *directory, DbosName name, Source *source)
{
	DbosInode	inode;

	do
	{
		if (is_there(import, directory, name, source, NULL, &inode))
		{
			remember(import, &source->status, &inode, false);
			return;
		}
		demand_change(directory, name);
		begin_node(import, directory, &inode, &source->status);
		if (dbos_bulk_enter(import->bulk, directory, name, &inode))
			break;
		renew(import);
	} while (true);
	if (S_ISLNK(inode.mode))
	{
		DbosContent content = {.how = WRITE_REPLACE, .bytes = source->target, .length = strlen(source->target)};

		inode.mode |= 0777;
		dbos_content_begin(&inode, &content);
	}
	else
	{
		if (dbos_is_large_object(&inode))
			inode.large_object = dbos_large_object_make();
		dbos_outside_take(import->outside, source->name, &source->status, &inode, &import->snapshot);
	}
	inode.modified = dbos_outside_nanoseconds(&source->status.st_mtim);
	dbos_bulk_inode(import->bulk, &inode);
	dbos_bulk_charge(directory, &inode, true);
	remember(import, &source->status, &inode, true);
	import->outside->files++;
}

/* Opens what is imported, or reads where it leads; false: it is gone, or became something else. */
static bool
open_source(DbosImport *import, mode_t type, Source *source)
{
	DbosOutside *outside = import->outside;
	ssize_t		length;

	if (type == S_IFREG)
	{
		/* It may have become a pipe, on which nobody waits. */
		outside->file = openat(outside->directory, source->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (outside->file < 0 && (errno == ENOENT || errno == ELOOP))
			return false;
		if (outside->file < 0)
			dbos_outside_failed(outside, source->name, "open file");
		if (fstat(outside->file, &source->status) != 0)
			dbos_outside_failed(outside, source->name, "look at file");
		return S_ISREG(source->status.st_mode);
	}
	length = readlinkat(outside->directory, source->name, source->target, PATH_MAX - 1);
	if (length < 0 && (errno == ENOENT || errno == EINVAL))
		return false;
	if (length < 0)
		dbos_outside_failed(outside, source->name, "read symbolic link");
	source->target[length] = '\0';
	if (fstatat(outside->directory, source->name, &source->status, AT_SYMLINK_NOFOLLOW) != 0)
	{
		if (errno == ENOENT)
			return false;
		dbos_outside_failed(outside, source->name, "look at file");
	}
	return S_ISLNK(source->status.st_mode);
}

/* What has that name in the directory that is open; what is gone by now is passed over. */
void
dbos_import_node(DbosImport *import, DbosBulkDirectory *directory, const char *name, mode_t type)
{
	Source		source = {.name = name};
	DbosName	our_name = {name, strlen(name)};
	Linked	   *linked;

	dbos_outside_tell(import->outside);
	/* A test holds the import where a file has the name that it armed. */
	dbos_stop_point(name);
	if (type != S_IFREG && type != S_IFLNK)
	{
		import->skipped++;
		return;
	}
	if (open_source(import, type, &source))
	{
		linked = find_linked(import, &source.status);
		if (linked != NULL)
			make_link(import, directory, our_name, &source, linked);
		else
			make_node(import, directory, our_name, &source);
	}
	dbos_outside_close_file(import->outside);
}

/* ---- directories ---- */

/* One that is there, or is made; fresh: it was made. */
static void
settle_directory(DbosImport *import, DbosBulkDirectory *outer, DbosName name, const struct stat *status, DbosBulkDirectory *directory)
{
	DbosEntry	entry;

	directory->path = outer->hidden ? NULL : dbos_import_path(outer, name);
	for (;;)
	{
		if (!outer->hidden && dbos_entry_find(outer->inode.number, name, import->snapshot, FOREVER, &entry) &&
			dbos_inode_read(entry.child, import->snapshot, FOREVER, &directory->inode))
		{
			if (!S_ISDIR(directory->inode.mode))
				dbos_not_a_directory(directory->path);
			dbos_file_demand(&directory->inode, MAY_EXECUTE, directory->path);
			return;
		}
		demand_change(outer, name);
		begin_node(import, outer, &directory->inode, status);
		if (dbos_bulk_enter(import->bulk, outer, name, &directory->inode))
			break;
		renew(import);
	}
	dbos_bulk_inode(import->bulk, &directory->inode);
	dbos_bulk_charge(outer, &directory->inode, true);
	directory->hidden = directory->keeps_time = true;
	/* Who has made it fills it, whatever its mode says to others later. */
	directory->inode.mode |= S_IRWXU;
}

DbosBulkDirectory *
dbos_import_directory(DbosImport *import, DbosBulkDirectory *outer, const char *name, const struct stat *status)
{
	DbosBulkDirectory *directory = palloc0(sizeof(DbosBulkDirectory));
	MemoryContext lasting = MemoryContextSwitchTo(import->scratch);

	settle_directory(import, outer, (DbosName) {name, strlen(name)}, status, directory);
	MemoryContextSwitchTo(lasting);
	if (directory->path != NULL)
		directory->path = cstring_to_text_with_len(VARDATA_ANY(directory->path), VARSIZE_ANY_EXHDR(directory->path));
	directory->inode.content = NULL;
	MemoryContextReset(import->scratch);
	return directory;
}

/* The directory of ours that the one of the host becomes; made if it is not there. */
void
dbos_import_root(DbosImport *import, text *given, const struct stat *status)
{
	DbosBulkDirectory outer = {0};
	DbosPath	path;

	dbos_path_find(given, FOLLOW_LAST, import->snapshot, &path);
	import->root.path = given;
	if (path.found)
	{
		if (!S_ISDIR(path.inode.mode))
			dbos_not_a_directory(given);
		dbos_file_demand(&path.inode, MAY_EXECUTE, given);
		import->root.inode = path.inode;
		return;
	}
	outer.inode = path.directory;
	outer.path = dbos_path_of(path.directory.number, import->snapshot);
	settle_directory(import, &outer, path.name, status, &import->root);
	import->root.path = given;
	dbos_bulk_leave(&outer);
}
