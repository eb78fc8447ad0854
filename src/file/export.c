/*
 * export.c
 *	  Files and trees of ours are written to the host, and are on its disk when the function returns.
 *
 * A file is written under another name beside its place, and renamed when it is complete and on disk.
 * A tree goes into a directory that is not there or is empty: nothing of the host's is replaced. What is written
 * is large is on its way to the disk while the next files are written, and in the end the file system is asked for all of it at
 * once, by syncfs(2): an fsync of each file, as pg_basebackup does, took ten times as long with small ones.
 * Linux 5.8 and later tells by that of errors since the directory was opened. When something fails, what was written
 * until then stays.
 *
 * All is made relative to a directory that is open, and none that is found instead is followed: who can write
 * there meanwhile cannot have us write elsewhere. Set-id bits are left out: what is written belongs to the
 * user of the operating system that runs the server, as whom nobody else is to run programs.
 *
 * The tree is one snapshot's. What the role may not read is an error.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "outside.h"

PG_FUNCTION_INFO_V1(dbos_export_file);
PG_FUNCTION_INFO_V1(dbos_export_tree);

#define PERMISSIONS 01777

/* A file that has more than one name, and where the first of them is. */
typedef struct Written
{
	int64		inode;
	uint32		status;
	char	   *path;			/* relative to the directory that is exported to */
} Written;

#define SH_PREFIX written
#define SH_ELEMENT_TYPE Written
#define SH_KEY_TYPE int64
#define SH_KEY inode
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) &(key), sizeof(int64))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* ---- on both sides ---- */

/* Mode and times of the open file or directory. */
static void
set_attributes(DbosOutside *outside, const char *name, int descriptor, const DbosInode *inode)
{
	struct timespec times[2] = {dbos_outside_time(inode->accessed), dbos_outside_time(inode->modified)};

	if (fchmod(descriptor, inode->mode & PERMISSIONS) != 0 || futimens(descriptor, times) != 0)
		dbos_outside_failed(outside, name, "set mode and times of");
}

static void
sync_file(DbosOutside *outside, const char *name, int descriptor)
{
	if (enableFsync && pg_fsync(descriptor) != 0)
		dbos_outside_failed(outside, name, "fsync");
}

/* A new file in the directory that is open; it stays open. */
static void
make_file(DbosOutside *outside, const char *name, const DbosInode *inode, Snapshot snapshot)
{
	outside->file = openat(outside->directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (outside->file < 0)
		dbos_outside_failed(outside, name, "create file");
	dbos_outside_give(outside, name, inode, snapshot);
	set_attributes(outside, name, outside->file, inode);
}

/* ---- one file ---- */

static void
export_file(DbosOutside *outside, const DbosInode *inode, const char *name)
{
	char		temporary[NAME_MAX];

	snprintf(temporary, sizeof(temporary), ".dbos-export.%d.%lld", MyProcPid, (long long) GetCurrentTimestamp());
	PG_TRY();
	{
		make_file(outside, temporary, inode, GetActiveSnapshot());
		sync_file(outside, temporary, outside->file);
		if (renameat(outside->directory, temporary, outside->directory, name) != 0)
			dbos_outside_failed(outside, name, "create file");
	}
	PG_CATCH();
	{
		if (outside->file >= 0)
			(void) unlinkat(outside->directory, temporary, 0);
		PG_RE_THROW();
	}
	PG_END_TRY();
	sync_file(outside, NULL, outside->directory);
}

/* Opens the directory of a path, and returns what follows. */
static const char *
open_parent(DbosOutside *outside, const char *path)
{
	char	   *parent = pstrdup(path);
	char	   *slash = strrchr(parent, '/');

	*slash = '\0';
	dbos_outside_open_directory(outside, slash == parent ? "/" : parent);
	return slash + 1;
}

/* dbos.export_file(path text, host_path text) → bytes */
Datum
dbos_export_file(PG_FUNCTION_ARGS)
{
	text	   *given = PG_GETARG_TEXT_PP(0);
	const char *host_path;
	DbosOutside *outside;
	DbosPath	path;

	dbos_outside_demand_write();
	host_path = dbos_outside_path(PG_GETARG_TEXT_PP(1));
	dbos_path_require(given, FOLLOW_LAST, GetActiveSnapshot(), &path);
	if (S_ISDIR(path.inode.mode))
		dbos_is_a_directory(given);
	if (!S_ISREG(path.inode.mode))
		dbos_not_a_file(given);
	dbos_file_demand(&path.inode, MAY_READ, given);
	outside = dbos_outside_begin("exporting");
	PG_TRY();
	{
		const char *name = open_parent(outside, host_path);

		if (*name == '\0')
			ereport(ERROR,
					errcode(ERRCODE_INVALID_NAME),
					errmsg("path \"%s\" of the host ends in a slash", text_to_cstring(PG_GETARG_TEXT_PP(1))));
		export_file(outside, &path.inode, name);
	}
	PG_FINALLY();
	{
		dbos_outside_end(outside);
	}
	PG_END_TRY();
	PG_RETURN_INT64(outside->bytes);
}

/* ---- a tree ---- */

/* A directory on the way to where the export is. */
typedef struct Level
{
	struct Level *outer;
	DbosInode	inode;
	DbosOutsidePlace place;
	int			our_length;		/* of our path with it */
	StringInfoData names;		/* of directories still to be exported: bytes, a zero byte, their number, the inode */
} Level;

typedef struct Export
{
	DbosOutside *outside;
	Snapshot	snapshot;
	MemoryContext round;		/* of one file, or one step */
	StringInfoData path;		/* of ours, as text; for errors */
	written_hash *written;
} Export;

static text *
path_of(const Export *export, DbosName name)
{
	text	   *last = dbos_name_text(name);
	bool		slash = export->path.len > 0 && export->path.data[export->path.len - 1] == '/';

	return cstring_to_text(psprintf("%s%s%.*s", export->path.data, slash ? "" : "/", (int) VARSIZE_ANY_EXHDR(last), VARDATA_ANY(last)));
}

static void
read_inode(const Export *export, int64 number, DbosName name, DbosInode *inode)
{
	if (!dbos_inode_read(number, export->snapshot, FOREVER, inode))
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("inode " INT64_FORMAT " of \"%s\" is missing", number, text_to_cstring(path_of(export, name))),
				errhint("dbos.check_files() says what else is."));
}

/* Where it lies in the directory that is exported to. */
static char *
relative_path(const DbosOutside *outside, const char *name)
{
	const char *path = outside->path.data + outside->root_length;

	while (*path == '/')
		path++;
	return *path == '\0' ? pstrdup(name) : psprintf("%s/%s", path, name);
}

/* Another name of a file that was written; the path to the first may be too long for the kernel. */
static void
link_file(Export *export, const Written *first, const char *name)
{
	DbosOutside *outside = export->outside;
	const char *slash = strrchr(first->path, '/');

	if (slash == NULL)
		outside->file = dbos_outside_open_at(outside->root, ".", O_RDONLY | O_DIRECTORY);
	else
		outside->file = dbos_outside_open_at(outside->root, pnstrdup(first->path, slash - first->path), O_RDONLY | O_DIRECTORY);
	if (outside->file < 0 || linkat(outside->file, slash == NULL ? first->path : slash + 1, outside->directory, name, 0) != 0)
		dbos_outside_failed(outside, name, "create link");
	dbos_outside_close_file(outside);
}

/* Whether it is another name of what was written already. */
static bool
is_linked(Export *export, const DbosInode *inode, DbosName name)
{
	Written    *written;
	bool		found;

	if (inode->links <= 1)
		return false;
	written = written_insert(export->written, inode->number, &found);
	if (found)
		link_file(export, written, name.bytes);
	else
		written->path = MemoryContextStrdup(export->written->ctx, relative_path(export->outside, name.bytes));
	return found;
}

static void
export_regular(Export *export, const DbosInode *inode, DbosName name)
{
	DbosOutside *outside = export->outside;

	dbos_file_demand(inode, MAY_READ, path_of(export, name));
	make_file(outside, name.bytes, inode, export->snapshot);
	if (enableFsync && inode->size >= OUTSIDE_PIECE)
		pg_flush_data(outside->file, 0, 0);
	dbos_outside_close_file(outside);
}

static void
export_symlink(Export *export, const DbosInode *inode, DbosName name)
{
	struct timespec times[2] = {dbos_outside_time(inode->accessed), dbos_outside_time(inode->modified)};
	DbosOutside *outside = export->outside;

	if (symlinkat(pnstrdup(inode->content, inode->content_length), outside->directory, name.bytes) != 0 ||
		utimensat(outside->directory, name.bytes, times, AT_SYMLINK_NOFOLLOW) != 0)
		dbos_outside_failed(outside, name.bytes, "create symbolic link");
}

static void
note_directory(Level *level, const DbosEntry *entry)
{
	appendBinaryStringInfo(&level->names, entry->name.bytes, entry->name.length);
	appendStringInfoChar(&level->names, '\0');
	appendBinaryStringInfo(&level->names, (const char *) &entry->name.length, sizeof(int));
	appendBinaryStringInfo(&level->names, (const char *) &entry->child, sizeof(int64));
}

/* Takes the last one off the list; its name is where it was. */
static int64
next_directory(Level *level, DbosName *name)
{
	StringInfo	names = &level->names;
	int64		number;

	names->len -= sizeof(int64);
	memcpy(&number, names->data + names->len, sizeof(int64));
	names->len -= sizeof(int);
	memcpy(&name->length, names->data + names->len, sizeof(int));
	names->len -= name->length + 1;
	name->bytes = names->data + names->len;
	return number;
}

/* What is in the directory, which is open on the host; directories are noted. */
static void
export_names(Export *export, Level *level)
{
	DbosEntryScan scan;
	DbosEntry	entry;

	dbos_entry_scan_begin(&scan, level->inode.number, export->snapshot, FOREVER);
	while (dbos_entry_scan_next(&scan, &entry))
	{
		MemoryContext outer;
		DbosInode	inode;
		DbosName	name;

		dbos_outside_tell(export->outside);
		if (entry.kind == S_IFDIR >> 12)
		{
			note_directory(level, &entry);
			continue;
		}
		outer = MemoryContextSwitchTo(export->round);
		name = (DbosName) {pnstrdup(entry.name.bytes, entry.name.length), entry.name.length};
		read_inode(export, entry.child, name, &inode);
		if (!is_linked(export, &inode, name))
			(S_ISLNK(inode.mode) ? export_symlink : export_regular) (export, &inode, name);
		export->outside->files++;
		MemoryContextSwitchTo(outer);
		MemoryContextReset(export->round);
	}
	dbos_entry_scan_end(&scan);
}

static Level *
enter(Export *export, Level *outer, const DbosInode *inode)
{
	Level	   *level = palloc0(sizeof(Level));
	struct stat status;

	level->outer = outer;
	level->inode = *inode;
	level->place = dbos_outside_place(export->outside, &status);
	level->our_length = export->path.len;
	initStringInfo(&level->names);
	if (!dbos_file_allows(inode, MAY_READ | MAY_EXECUTE))
		dbos_file_denied(cstring_to_text_with_len(export->path.data, export->path.len));
	dbos_directory_complete(&level->inode, export->snapshot);
	level->inode.content = NULL;
	export_names(export, level);
	return level;
}

static void
make_directory(DbosOutside *outside, const char *name)
{
	if (mkdirat(outside->directory, name, S_IRWXU) != 0)
		dbos_outside_failed(outside, name, "create directory");
	if (!dbos_outside_go_down(outside, name))
		dbos_outside_failed(outside, name, "open directory");
}

static Level *
go_down(Export *export, Level *level)
{
	MemoryContext outer = MemoryContextSwitchTo(export->round);
	DbosInode	inode;
	DbosName	name;
	int64		number = next_directory(level, &name);
	text	   *path = path_of(export, name);
	Level	   *inner;

	read_inode(export, number, name, &inode);
	make_directory(export->outside, name.bytes);
	MemoryContextSwitchTo(outer);
	resetStringInfo(&export->path);
	appendBinaryStringInfo(&export->path, VARDATA_ANY(path), VARSIZE_ANY_EXHDR(path));
	inner = enter(export, level, &inode);
	MemoryContextReset(export->round);
	return inner;
}

/* Nothing more is written into the directory, which is open: its mode and times stay. */
static Level *
leave(Export *export, Level *level)
{
	DbosOutside *outside = export->outside;
	Level	   *outer = level->outer;

	set_attributes(outside, NULL, outside->directory, &level->inode);
	if (outer != NULL)
	{
		dbos_outside_go_up(outside, &outer->place);
		export->path.len = outer->our_length;
		export->path.data[export->path.len] = '\0';
	}
	pfree(level->names.data);
	pfree(level);
	return outer;
}

static bool
is_empty(DbosOutside *outside)
{
	int			copy = fcntl(outside->directory, F_DUPFD_CLOEXEC, 0);
	struct dirent *entry;
	bool		empty = true;

	outside->stream = copy < 0 ? NULL : fdopendir(copy);
	if (outside->stream == NULL)
	{
		if (copy >= 0)
			close(copy);
		dbos_outside_failed(outside, NULL, "read directory");
	}
	while (empty && (entry = readdir(outside->stream)) != NULL)
		empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	closedir(outside->stream);
	outside->stream = NULL;
	return empty;
}

/* The directory that is exported to: there and empty, or made. */
static void
open_root(DbosOutside *outside, const char *host_path)
{
	char	   *path = pstrdup(host_path);
	int			length = strlen(path);
	int			opened;

	while (length > 1 && path[length - 1] == '/')
		path[--length] = '\0';
	opened = dbos_outside_open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
	if (opened >= 0)
	{
		close(opened);
		dbos_outside_open_directory(outside, path);
		if (!is_empty(outside))
			ereport(ERROR,
					errcode(ERRCODE_DUPLICATE_FILE),
					errmsg("directory \"%s\" of the host is not empty", dbos_outside_name(outside, NULL)),
					errhint("A tree is exported to a directory that is empty or does not exist."));
	}
	else
		make_directory(outside, open_parent(outside, path));
	outside->root_length = outside->path.len;
	dbos_outside_keep_root(outside);
}

static void
export_tree(Export *export, text *given, const char *host_path)
{
	DbosPath	path;
	Level	   *level;

	dbos_path_require(given, FOLLOW_LAST, export->snapshot, &path);
	if (!S_ISDIR(path.inode.mode))
		dbos_not_a_directory(given);
	if (!dbos_file_allows(&path.inode, MAY_READ | MAY_EXECUTE))
		dbos_file_denied(given);
	open_root(export->outside, host_path);
	appendBinaryStringInfo(&export->path, VARDATA_ANY(given), VARSIZE_ANY_EXHDR(given));
	level = enter(export, NULL, &path.inode);
	while (level != NULL)
		level = level->names.len > 0 ? go_down(export, level) : leave(export, level);
	if (enableFsync && syncfs(export->outside->root) != 0)
		dbos_outside_failed(export->outside, NULL, "synchronize the file system of");
}

/* dbos.export_tree(path text, host_path text) → files */
Datum
dbos_export_tree(PG_FUNCTION_ARGS)
{
	Export	   *export = palloc0(sizeof(Export));
	const char *host_path;

	dbos_outside_demand_write();
	host_path = dbos_outside_path(PG_GETARG_TEXT_PP(1));
	export->snapshot = GetActiveSnapshot();
	export->round = AllocSetContextCreate(CurrentMemoryContext, "dbos export", ALLOCSET_DEFAULT_SIZES);
	export->written = written_create(CurrentMemoryContext, 64, NULL);
	initStringInfo(&export->path);
	export->outside = dbos_outside_begin("exporting");
	PG_TRY();
	{
		export_tree(export, PG_GETARG_TEXT_PP(0), host_path);
	}
	PG_FINALLY();
	{
		dbos_outside_end(export->outside);
	}
	PG_END_TRY();
	PG_RETURN_INT64(export->outside->files);
}
