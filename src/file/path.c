/*
 * path.c
 *	  From a path to the inode: component by component, each with its rights.
 *
 * Every directory on the way must be one and allow to be searched.  Symbolic links are
 * followed, forty at most, as Linux has it.  A path begins at the root of the
 * session's container: there is no current directory.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "dbos/container.h"
#include "file.h"

#define LINKS_MAX 40
#define ROOT_MODE (S_IFDIR | S_ISVTX | 0775)

/* ---- the root ---- */

/* Root of the session's container; a container that has no files yet has one that is in no table. */
void
dbos_root_read(Snapshot snapshot, int32 at_epoch, DbosInode *root)
{
	int32		container = dbos_context_container();
	int64		number = DBOS_ROOT_INODE;

	if (container != DBOS_ROOT_CONTAINER)
	{
		DbosTable	table;
		Datum		key = Int32GetDatum(container);

		dbos_table_open(&table, TABLE_FILE_SYSTEM, AccessShareLock);
		number = dbos_table_find(&table, 0, snapshot, &key, 1) ? DatumGetInt64(dbos_column(&table, 1)) : 0;
		dbos_table_close(&table);
	}
	if (number != 0 && dbos_inode_read(number, snapshot, at_epoch, root))
		return;
	memset(root, 0, sizeof(DbosInode));
	root->file_system = container;
	root->mode = ROOT_MODE;
	root->owner = dbos_owner_oid();
	root->group = dbos_role_oid("dbos_user", false);
	root->links = 2;
	root->storage = STORAGE_CHUNK;
}

/* Until nobody is about to make or remove the root of that container. */
static void
await_root(int32 container)
{
	Datum		key = Int32GetDatum(container);
	DbosTable	table;
	TransactionId other;

	dbos_table_open(&table, TABLE_FILE_SYSTEM, AccessShareLock);
	do
	{
		SnapshotData dirty;

		InitDirtySnapshot(dirty);
		other = InvalidTransactionId;
		if (dbos_table_find(&table, 0, &dirty, &key, 1))
			other = TransactionIdIsValid(dirty.xmin) ? dirty.xmin : dirty.xmax;
		if (TransactionIdIsValid(other))
			XactLockTableWait(other, NULL, NULL, XLTW_None);
	} while (TransactionIdIsValid(other));
	dbos_table_close(&table);
}

/*
 * The root of the root container comes with the extension, unless that was made by a restore whose dump had no
 * files.  Of two who make it at once the second waits, and finds it.
 */
static Snapshot
require_first_root(Snapshot snapshot)
{
	static bool known = false;
	DbosInode	root;
	DbosTable	table;

	if (known)
		return snapshot;
	dbos_root_read(snapshot, FOREVER, &root);
	if (root.number == 0)
	{
		dbos_table_open(&table, TABLE_INODE, ShareUpdateExclusiveLock);
		dbos_table_close(&table);
		snapshot = dbos_view_renew();
		dbos_root_read(snapshot, FOREVER, &root);
	}
	if (root.number == 0)
	{
		root.number = DBOS_ROOT_INODE;
		root.created = root.modified = root.changed = root.accessed = dbos_file_now();
		dbos_inode_insert(&root);
		dbos_changed();
		return dbos_view_renew();
	}
	/* If it is not this transaction's own, which may roll back. */
	known = !TransactionIdIsValid(GetTopTransactionIdIfAny());
	return snapshot;
}

/*
 * Before something is made: a container's first file brings its root.  Of two who make
 * it at once the second waits, and finds it.
 */
Snapshot
dbos_root_make(Snapshot snapshot)
{
	DbosInode	root;
	DbosTable	table;
	Datum		values[2];
	bool		nulls[2] = {false, false};
	bool		done;

	if (dbos_context_container() == DBOS_ROOT_CONTAINER)
		return require_first_root(snapshot);
	dbos_root_read(snapshot, FOREVER, &root);
	if (root.number != 0)
		return snapshot;
	dbos_container_hold(root.file_system);
	root.number = dbos_inode_number();
	root.created = root.modified = root.changed = root.accessed = dbos_file_now();
	values[0] = Int32GetDatum(root.file_system);
	values[1] = Int64GetDatum(root.number);
	dbos_table_open(&table, TABLE_FILE_SYSTEM, RowExclusiveLock);
	done = dbos_table_insert(&table, values, nulls, UNIQUE_TELL);
	dbos_table_close(&table);
	if (done)
		dbos_inode_insert(&root);
	else
	{
		await_root(root.file_system);
		dbos_conflict();
	}
	dbos_changed();
	snapshot = dbos_view_renew();
	return done ? snapshot : dbos_root_make(snapshot);
}

/* ---- the way ---- */

static void
check_name(DbosName name, text *path)
{
	if (name.length > DBOS_NAME_MAX)
		ereport(ERROR,
				errcode(ERRCODE_NAME_TOO_LONG),
				errmsg("a name in path \"%.100s...\" is longer than %d bytes", text_to_cstring(path), DBOS_NAME_MAX));
}

static bool
is_dots(DbosName name, int dots)
{
	return name.length == dots && memcmp(name.bytes, "..", dots) == 0;
}

/* The directory that this one is in; that of the root is the root. */
static void
go_up(Snapshot snapshot, int32 at_epoch, DbosInode *directory)
{
	DbosEntryScan scan;
	DbosEntry	entry;
	bool		found;

	dbos_parents_scan_begin(&scan, directory->number, snapshot, at_epoch);
	found = dbos_entry_scan_next(&scan, &entry);
	dbos_entry_scan_end(&scan);
	if (found)
		(void) dbos_inode_read(entry.parent, snapshot, at_epoch, directory);
}

/* Takes the first component off; false when there is none. */
static bool
next_component(const char **at, DbosName *name)
{
	while (**at == '/')
		(*at)++;
	name->bytes = *at;
	while (**at != '/' && **at != '\0')
		(*at)++;
	name->length = *at - name->bytes;
	return name->length > 0;
}

static bool
more_components(const char *at)
{
	while (*at == '/')
		at++;
	return *at != '\0';
}

static const char *
expand(const DbosInode *link, const char *rest)
{
	StringInfoData path;

	initStringInfo(&path);
	appendBinaryStringInfo(&path, link->content, link->content_length);
	appendStringInfoString(&path, rest);
	return path.data;
}

/* What of the last component is looked at. */
typedef enum Look
{
	LOOK_INODE,
	LOOK_AND_TELL,				/* the same; also a directory on the way that is not there is told, and no error */
	LOOK_NAME,					/* the inode of a name has no more than its number and its kind */
	LOOK_DIRECTORY				/* not even whether it is there */
} Look;

/* Where the walk is; reached: it came to the last component, in that directory. */
typedef struct Walk
{
	text	   *given;
	const char *at;
	const DbosInode *root;
	DbosInode	current;
	Snapshot	snapshot;
	int32		at_epoch;
	DbosFollow	follow;
	Look		look;
	bool		reached;
	DbosInode	reached_in;
} Walk;

static void
walk(Walk *walk, DbosPath *path)
{
	text	   *given = walk->given;
	int			links = 0;

	memset(path, 0, sizeof(DbosPath));
	path->given = given;
	for (;;)
	{
		DbosName	name;
		bool		last;

		if (!next_component(&walk->at, &name))
		{
			/* Also where a symbolic link leads to the root: the name of the link is not that. */
			path->name.length = 0;
			path->found = true;
			path->inode = walk->current;
			path->must_be_directory = true;
			return;
		}
		check_name(name, given);
		if (!S_ISDIR(walk->current.mode))
			dbos_not_a_directory(given);
		dbos_file_demand(&walk->current, MAY_EXECUTE, given);
		last = !more_components(walk->at);
		if (last && !walk->reached)
		{
			walk->reached = true;
			walk->reached_in = walk->current;
		}
		path->directory = walk->current;
		path->name = name;
		path->must_be_directory = *walk->at == '/';
		if (is_dots(name, 1) || is_dots(name, 2))
		{
			path->name.length = 0;
			if (name.length == 2 && walk->current.number != walk->root->number)
				go_up(walk->snapshot, walk->at_epoch, &walk->current);
			continue;
		}
		if (last && walk->look == LOOK_DIRECTORY && !path->must_be_directory)
		{
			path->unknown = true;
			return;
		}
		if (!dbos_entry_find(walk->current.number, name, walk->snapshot, walk->at_epoch, &path->entry))
		{
			if (!last && walk->look != LOOK_AND_TELL)
				dbos_no_such_file(given);
			return;
		}
		if (last && walk->look == LOOK_NAME && !path->must_be_directory)
		{
			path->inode.number = path->entry.child;
			path->inode.mode = path->entry.kind << 12;
			path->found = true;
			return;
		}
		if (!dbos_inode_read(path->entry.child, walk->snapshot, walk->at_epoch, &path->inode))
		{
			if (!last && walk->look != LOOK_AND_TELL)
				dbos_no_such_file(given);
			return;
		}
		if (S_ISLNK(path->inode.mode) && (!last || walk->follow == FOLLOW_LAST || path->must_be_directory))
		{
			if (++links > LINKS_MAX)
				dbos_too_many_links(given);
			walk->at = expand(&path->inode, walk->at);
			walk->current = *walk->at == '/' ? *walk->root : path->directory;
			continue;
		}
		if (last)
		{
			if (path->must_be_directory && !S_ISDIR(path->inode.mode))
				dbos_not_a_directory(given);
			path->found = true;
			return;
		}
		walk->current = path->inode;
	}
}

static const char *
checked_bytes(text *given)
{
	const char *bytes = dbos_path_bytes(given).bytes;

	if (*bytes != '/')
		ereport(ERROR,
				errcode(ERRCODE_INVALID_NAME),
				errmsg("path \"%s\" does not begin with a slash", text_to_cstring(given)),
				errhint("There is no current directory: a path begins at the root."));
	return bytes;
}

/* The path in a given epoch, from a given directory; FOREVER: as it is now. */
void
dbos_path_find_from(text *given, DbosFollow follow, Snapshot snapshot, int32 at_epoch, const DbosInode *root, DbosPath *path)
{
	Walk		state = {
		.given = given, .at = checked_bytes(given), .root = root, .current = *root, .snapshot = snapshot,
		.at_epoch = at_epoch, .follow = follow
	};

	walk(&state, path);
}

/* How much of a path is that of the directory of its last component; 0: there is none, or that is dots. */
static int
directory_length(const char *bytes)
{
	int			end = strlen(bytes);
	int			start;

	while (end > 0 && bytes[end - 1] == '/')
		end--;
	start = end;
	while (start > 0 && bytes[start - 1] != '/')
		start--;
	if (start == end || is_dots((DbosName) {bytes + start, end - start}, 1) || is_dots((DbosName) {bytes + start, end - start}, 2))
		return 0;
	return start;
}

static void
find(text *given, DbosFollow follow, Look look, Snapshot snapshot, DbosPath *path)
{
	const char *bytes = checked_bytes(given);
	int			length = directory_length(bytes);
	DbosInode	root;
	Walk		state = {
		.given = given, .at = bytes, .root = &root, .snapshot = snapshot, .at_epoch = FOREVER, .follow = follow, .look = look
	};
	bool		known = dbos_directory_recall(bytes, length, snapshot, &state.current);

	if (!dbos_directory_recall("/", 1, snapshot, &root))
	{
		dbos_root_read(snapshot, FOREVER, &root);
		dbos_directory_remember("/", 1, snapshot, &root);
	}
	if (known)
		state.at = bytes + length;
	else
		state.current = root;
	walk(&state, path);
	if (state.reached && !known)
		dbos_directory_remember(bytes, length, snapshot, &state.reached_in);
}

/* Whether it is there, and if not, where it would be; the way to it must be there. */
void
dbos_path_find(text *given, DbosFollow follow, Snapshot snapshot, DbosPath *path)
{
	find(given, follow, LOOK_INODE, snapshot, path);
}

/* Whether it is there; if not, nothing else is said. */
bool
dbos_path_look(text *given, DbosFollow follow, Snapshot snapshot, DbosPath *path)
{
	find(given, follow, LOOK_AND_TELL, snapshot, path);
	return path->found;
}

/* The same, for who needs no more of the inode than its number and kind; a symbolic link at the end is not followed. */
void
dbos_path_find_name(text *given, Snapshot snapshot, DbosPath *path)
{
	find(given, FOLLOW_NOT_LAST, LOOK_NAME, snapshot, path);
}

/* The same, for who is told by the index if the name is there: it is not looked for. */
void
dbos_path_find_directory(text *given, Snapshot snapshot, DbosPath *path)
{
	find(given, FOLLOW_NOT_LAST, LOOK_DIRECTORY, snapshot, path);
}

void
dbos_path_require(text *given, DbosFollow follow, Snapshot snapshot, DbosPath *path)
{
	dbos_path_find(given, follow, snapshot, path);
	if (!path->found)
		dbos_no_such_file(given);
}

/* ---- and back ---- */

/* A path is told with so many names in it at most: in damaged tables directories may lie in each other. */
#define LEVELS_MAX 10000

/* The path whose last name comes first. */
static text *
path_by(const List *names)
{
	StringInfoData path;

	initStringInfo(&path);
	for (int i = list_length(names) - 1; i >= 0; i--)
	{
		text	   *name = list_nth(names, i);

		appendStringInfoChar(&path, '/');
		appendBinaryStringInfo(&path, VARDATA(name), VARSIZE(name) - VARHDRSZ);
	}
	if (names == NIL)
		appendStringInfoChar(&path, '/');
	return cstring_to_text_with_len(path.data, path.len);
}

/*
 * A path of the inode in that epoch, by the first of its names; NULL when it has none, or one of the directories on the way may
 * not be searched, or does not lie in the session's container.
 */
text *
dbos_path_at(int64 number, Snapshot snapshot, int32 at_epoch)
{
	DbosInode	root;
	List	   *names = NIL;

	dbos_root_read(snapshot, at_epoch, &root);
	while (number != root.number)
	{
		DbosInode	directory;
		text	   *name;

		CHECK_FOR_INTERRUPTS();
		name = dbos_entry_first_name(number, snapshot, at_epoch, &number);
		if (name == NULL || !dbos_inode_read(number, snapshot, at_epoch, &directory) || !dbos_file_allows(&directory, MAY_EXECUTE))
			return NULL;
		names = lappend(names, name);
	}
	return path_by(names);
}

/* From the root of its container, by the first of its names, whatever the rights: for who may see all.  NULL: it has none. */
text *
dbos_whole_path(int64 number, Snapshot snapshot)
{
	List	   *names = NIL;
	DbosInode	top;
	text	   *name;

	while (list_length(names) <= LEVELS_MAX && (name = dbos_entry_first_name(number, snapshot, FOREVER, &number)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		names = lappend(names, name);
	}
	if (list_length(names) > LEVELS_MAX || !dbos_inode_read(number, snapshot, FOREVER, &top) || !S_ISDIR(top.mode))
		return NULL;
	return path_by(names);
}

/* dbos_path_at() for now. */
text *
dbos_path_of(int64 number, Snapshot snapshot)
{
	return dbos_path_at(number, snapshot, FOREVER);
}
