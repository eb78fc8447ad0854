/*
 * visible.c
 *	  Which directory entries and inodes a query shows, to whom, and with what path.
 *
 * The policies of row-level security on dbos.inode and dbos.directory_entry call what is here for
 * each row, and so does dbos.files, which superusers read too, whom no policy holds. The rule is
 * that a query shows what a listing of the whole tree from the root of the session's container,
 * done by the same role, would come upon:
 *
 * - A directory is found when it is the root, or the one that it is in is found and allows to be
 *   searched, and to be read unless the directory is one's own: of a directory that may be searched and not
 *   read, its names are known to whom they were told, and to who made them.
 * - A name is shown when its directory is found and may be read.
 * - An inode is shown when one of its names is, in a directory that may be searched too; and the root is.
 *   dbos.files has just such names.
 *
 * Who knows a path may do with it what its directories allow (dbos.stat(), dbos.ls(), dbos.tree()), found or not.
 *
 * Decisions and paths are kept for each directory, as long as the snapshot, the user and the container are
 * the same, nothing is rolled back, and no membership changes.  So each costs once a walk to the next directory
 * that is known, and for each name in it a look into a hash table.  Inodes are asked for by an index; when a
 * query has asked for so many that to read all names is less work, these are read, once, and what they
 * show is kept as a bit for each inode.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "dbos/container.h"
#include "visible.h"

PG_FUNCTION_INFO_V1(dbos_entry_visible);
PG_FUNCTION_INFO_V1(dbos_directory_listed);
PG_FUNCTION_INFO_V1(dbos_inode_visible);
PG_FUNCTION_INFO_V1(dbos_entry_path);
PG_FUNCTION_INFO_V1(dbos_directory_path_sql);
PG_FUNCTION_INFO_V1(dbos_entry_name);

/* Rows that are read one after the other in the time of one that is found by index, at the least. */
#define ROWS_FOR_A_LOOKUP 16
/* Bits for that many bytes, at the most. */
#define BITS_MAX (128 * 1024 * 1024)

typedef struct Directory
{
	int64		number;
	char		status;
	int64		parent;
	bool		found;
	int			may;			/* MAY_READ, MAY_EXECUTE */
	char	   *name;			/* as text; of the root NULL */
	int			name_length;
	char	   *path;			/* NULL: nobody has asked for it */
	int			path_length;
} Directory;

#define SH_PREFIX directories
#define SH_ELEMENT_TYPE Directory
#define SH_KEY_TYPE int64
#define SH_KEY number
#define SH_HASH_KEY(tb, key) murmurhash32((uint32) (key) ^ (uint32) ((uint64) (key) >> 32))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* For what the decisions hold.  Of two snapshots with one xmax, equal numbers of running transactions are equal sets. */
typedef struct View
{
	TransactionId xmin;
	TransactionId xmax;
	uint32		running;
	int32		running_subtransactions;
	bool		overflowed;
	CommandId	command;
	Oid			user;
	int32		container;
} View;

static MemoryContext context = NULL;	/* of all that is kept; NULL: nothing is */
static View view;
static directories_hash *directories;
static int64 root_number;
static int64 lookups;			/* of inodes */
static bool bits_tried;
static uint8 *bits;				/* NULL: each inode is asked for */
static Size bits_length;

static void
forget(void)
{
	if (context != NULL)
		MemoryContextDelete(context);
	context = NULL;
}

static void
at_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		forget();
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget();
}

static bool
same_view(const View *one, const View *other)
{
	return one->xmin == other->xmin && one->xmax == other->xmax && one->running == other->running &&
		one->running_subtransactions == other->running_subtransactions && one->overflowed == other->overflowed &&
		one->command == other->command && one->user == other->user && one->container == other->container;
}

/* May come while something is looked up here: what is there is used no more, and freed with the next look. */
static bool stale = false;

static void
membership_changed(Datum arg, int cache, uint32 hash)
{
	stale = true;
}

void
dbos_visible_install(void)
{
	RegisterXactCallback(at_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

static void
ensure_view(Snapshot snapshot)
{
	static bool registered = false;
	View		now;
	DbosInode	root;

	memset(&now, 0, sizeof(View));
	now.xmin = snapshot->xmin;
	now.xmax = snapshot->xmax;
	now.running = snapshot->xcnt;
	now.running_subtransactions = snapshot->subxcnt;
	now.overflowed = snapshot->suboverflowed;
	now.command = snapshot->curcid;
	now.user = GetUserId();
	now.container = dbos_context_container();
	if (context != NULL && !stale && same_view(&now, &view))
		return;
	if (!registered)
	{
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, membership_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, membership_changed, (Datum) 0);
		registered = true;
	}
	forget();
	stale = false;
	dbos_root_read(snapshot, FOREVER, &root);
	context = AllocSetContextCreate(TopMemoryContext, "dbos directories", ALLOCSET_DEFAULT_SIZES);
	directories = directories_create(context, 256, NULL);
	view = now;
	root_number = root.number;
	lookups = 0;
	bits_tried = false;
	bits = NULL;
	bits_length = 0;
}

/* ---- directories ---- */

/* A directory on the way up, whose decision waits for that of the one above it. */
typedef struct Step
{
	int64		number;
	bool		own;
} Step;

/* The one name of a directory; false: it has none that is valid. */
static bool
read_name(Directory *directory, Snapshot snapshot)
{
	DbosEntryScan scan;
	DbosEntry	entry;
	bool		found;

	dbos_parents_scan_begin(&scan, directory->number, snapshot, FOREVER);
	found = dbos_entry_scan_next(&scan, &entry);
	if (found)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		text	   *name = dbos_name_text(entry.name);

		directory->parent = entry.parent;
		directory->name = VARDATA(name);
		directory->name_length = VARSIZE(name) - VARHDRSZ;
		MemoryContextSwitchTo(old);
	}
	dbos_entry_scan_end(&scan);
	return found;
}

/*
 * Puts the directory into the table, with all but whether it is found.  False: there is nothing above that
 * could be asked: it is the root, or no directory, or lies in no root's tree.
 */
static bool
read_directory(int64 number, Snapshot snapshot, Step *step)
{
	Directory	read = {.number = number};
	Directory  *directory;
	DbosInode	inode;
	bool		exists = number != 0 && dbos_inode_read(number, snapshot, FOREVER, &inode) && S_ISDIR(inode.mode);
	bool		above = false;
	bool		known;

	step->number = number;
	step->own = exists && dbos_file_owned(&inode);
	if (exists)
	{
		read.may = (dbos_file_allows(&inode, MAY_READ) ? MAY_READ : 0) | (dbos_file_allows(&inode, MAY_EXECUTE) ? MAY_EXECUTE : 0);
		read.found = number == root_number;
		above = !read.found && read_name(&read, snapshot);
	}
	directory = directories_insert(directories, number, &known);
	read.status = directory->status;
	*directory = read;
	return above;
}

/* What is known of a directory, also that there is none; valid until the next is looked at. */
static Directory *
look(int64 number, Snapshot snapshot)
{
	Directory  *directory = directories_lookup(directories, number);
	Step	   *steps;
	int			nsteps = 0;
	int			room = 16;
	int64		above = number;

	if (directory != NULL)
		return directory;
	steps = palloc(room * sizeof(Step));
	/* Upwards as far as nothing is known; what is in the table and not decided yet would be a loop, and is not found. */
	while (directories_lookup(directories, above) == NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (nsteps == room)
			steps = repalloc(steps, (room *= 2) * sizeof(Step));
		if (!read_directory(above, snapshot, &steps[nsteps++]))
			break;
		above = directories_lookup(directories, above)->parent;
	}
	for (int i = nsteps - 1; i >= 0; i--)
	{
		Directory  *parent;

		directory = directories_lookup(directories, steps[i].number);
		if (directory->parent == 0)
			continue;
		parent = directories_lookup(directories, directory->parent);
		directory->found = parent->found && (parent->may & MAY_EXECUTE) != 0 && ((parent->may & MAY_READ) != 0 || steps[i].own);
	}
	pfree(steps);
	return directories_lookup(directories, number);
}

static bool
allows(const Directory *directory, int want)
{
	return directory->found && (directory->may & want) == want;
}

/* Whether what is in a directory is shown to the current user. */
void
dbos_directory_shown(int64 directory, Snapshot snapshot, DbosShown *shown)
{
	Directory  *known;

	ensure_view(snapshot);
	known = look(directory, snapshot);
	shown->found = known->found;
	shown->listed = allows(known, MAY_READ);
	shown->searched = allows(known, MAY_READ | MAY_EXECUTE);
}

/* Of a directory that is found; that of the root is empty. */
static void
make_path(Directory *directory)
{
	int64		number = directory->number;
	Size		length = 0;
	char	   *at;

	for (Directory *each = directory; each->name != NULL; each = directories_lookup(directories, each->parent))
		length += each->name_length + 1;
	/* As long as a value may be. */
	if (length >= MaxAllocSize - VARHDRSZ - (Size) DBOS_NAME_MAX * 4)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("path of a directory is too long"));
	at = (char *) MemoryContextAlloc(context, length + 1) + length;
	*at = '\0';
	for (Directory *each = directory; each->name != NULL; each = directories_lookup(directories, each->parent))
	{
		at -= each->name_length;
		memcpy(at, each->name, each->name_length);
		*--at = '/';
	}
	directory = directories_lookup(directories, number);
	directory->path = at;
	directory->path_length = length;
}

/*
 * Path of a directory that is found, without a slash at its end: that of the root is empty.  False: it is not
 * found.  The path lives until something else is asked here.
 */
bool
dbos_directory_path(int64 number, Snapshot snapshot, const char **path, int *length)
{
	Directory  *directory;

	ensure_view(snapshot);
	directory = look(number, snapshot);
	if (!directory->found)
		return false;
	if (directory->path == NULL)
		make_path(directory);
	*path = directory->path;
	*length = directory->path_length;
	return true;
}

/* ---- inodes ---- */

static void
set_bit(int64 number)
{
	Size		byte = (Size) (number / 8);

	if (byte >= bits_length)
	{
		Size		length = Max(byte + 1, Min(bits_length * 2, BITS_MAX));

		if (bits == NULL)
			bits = MemoryContextAllocHuge(context, length);
		else
			bits = repalloc_huge(bits, length);
		memset(bits + bits_length, 0, length - bits_length);
		bits_length = length;
	}
	bits[byte] |= 1 << (number % 8);
}

/* Reads all names, and notes which inodes they show; false: there is no room for these notes. */
static bool
note_all(DbosTable *entries, Snapshot snapshot)
{
	TableScanDesc scan = table_beginscan(entries->heap, snapshot, 0, NULL);
	bool		room = true;

	while (room && table_scan_getnextslot(scan, ForwardScanDirection, entries->slot))
	{
		int64		child = DatumGetInt64(dbos_column(entries, ENTRY_CHILD));

		CHECK_FOR_INTERRUPTS();
		if (DatumGetInt32(dbos_column(entries, ENTRY_DIED)) != FOREVER ||
			!allows(look(DatumGetInt64(dbos_column(entries, ENTRY_PARENT)), snapshot), MAY_READ | MAY_EXECUTE))
			continue;
		room = child / 8 < BITS_MAX;
		if (room)
			set_bit(child);
	}
	table_endscan(scan);
	return room;
}

static bool
look_up(int64 number, DbosTable *entries, Snapshot snapshot)
{
	DbosTableScan scan;
	Datum		key = Int64GetDatum(number);
	bool		shown = false;

	dbos_scan_begin(&scan, entries, 1, snapshot, &key, 1, false);
	while (!shown && dbos_scan_next(&scan))
		shown = DatumGetInt32(dbos_column(entries, ENTRY_DIED)) == FOREVER &&
			allows(look(DatumGetInt64(dbos_column(entries, ENTRY_PARENT)), snapshot), MAY_READ | MAY_EXECUTE);
	dbos_scan_end(&scan);
	return shown;
}

/* Whether the current user may know of the inode what stat(2) tells. */
bool
dbos_inode_shown(int64 number, Snapshot snapshot)
{
	DbosTable	entries;
	bool		shown;

	ensure_view(snapshot);
	if (number == root_number)
		return number != 0;
	if (!bits_tried || bits == NULL)
	{
		dbos_table_open(&entries, TABLE_ENTRY, AccessShareLock);
		if (!bits_tried && ++lookups > 1000 && lookups * ROWS_FOR_A_LOOKUP > entries.heap->rd_rel->reltuples)
		{
			bits_tried = true;
			set_bit(0);
			if (!note_all(&entries, snapshot))
			{
				pfree(bits);
				bits = NULL;
			}
		}
		shown = bits == NULL && look_up(number, &entries, snapshot);
		dbos_table_close(&entries);
		if (bits == NULL)
			return shown;
	}
	return number >= 0 && number / 8 < bits_length && (bits[number / 8] & (1 << (number % 8))) != 0;
}

/* ---- what policies and views call ---- */

/* dbos.entry_visible(parent bigint) → boolean */
Datum
dbos_entry_visible(PG_FUNCTION_ARGS)
{
	DbosShown	shown;

	dbos_directory_shown(PG_GETARG_INT64(0), GetActiveSnapshot(), &shown);
	PG_RETURN_BOOL(shown.listed);
}

/* dbos.directory_listed(directory bigint) → boolean: the names in it with what they are names of, as dbos.files has them */
Datum
dbos_directory_listed(PG_FUNCTION_ARGS)
{
	DbosShown	shown;

	dbos_directory_shown(PG_GETARG_INT64(0), GetActiveSnapshot(), &shown);
	PG_RETURN_BOOL(shown.searched);
}

/* dbos.inode_visible(inode bigint) → boolean */
Datum
dbos_inode_visible(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(dbos_inode_shown(PG_GETARG_INT64(0), GetActiveSnapshot()));
}

/* The name is its own text. */
static bool
is_plain(const char *bytes, int length)
{
	for (int i = 0; i < length; i++)
		if (IS_HIGHBIT_SET(bytes[i]) || bytes[i] == '\\')
			return false;
	return true;
}

/* dbos.entry_path(parent bigint, name bytea) → text, or NULL when the directory is not found */
Datum
dbos_entry_path(PG_FUNCTION_ARGS)
{
	bytea	   *name = PG_GETARG_BYTEA_PP(1);
	const char *bytes = VARDATA_ANY(name);
	int			length = VARSIZE_ANY_EXHDR(name);
	const char *path;
	int			path_length;
	text	   *result;

	if (!dbos_directory_path(PG_GETARG_INT64(0), GetActiveSnapshot(), &path, &path_length))
		PG_RETURN_NULL();
	if (!is_plain(bytes, length))
	{
		text	   *shown = dbos_name_text((DbosName) {bytes, length});

		bytes = VARDATA(shown);
		length = VARSIZE(shown) - VARHDRSZ;
	}
	result = palloc(VARHDRSZ + path_length + 1 + length);
	SET_VARSIZE(result, VARHDRSZ + path_length + 1 + length);
	memcpy(VARDATA(result), path, path_length);
	VARDATA(result)[path_length] = '/';
	memcpy(VARDATA(result) + path_length + 1, bytes, length);
	PG_RETURN_TEXT_P(result);
}

/* dbos.directory_path(directory bigint) → text, or NULL when it is not found */
Datum
dbos_directory_path_sql(PG_FUNCTION_ARGS)
{
	const char *path;
	int			length;

	if (!dbos_directory_path(PG_GETARG_INT64(0), GetActiveSnapshot(), &path, &length))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(length == 0 ? cstring_to_text("/") : cstring_to_text_with_len(path, length));
}

/* dbos.entry_name(name bytea) → text */
Datum
dbos_entry_name(PG_FUNCTION_ARGS)
{
	bytea	   *name = PG_GETARG_BYTEA_PP(0);

	PG_RETURN_TEXT_P(dbos_name_text((DbosName) {VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)}));
}
