/*
 * quota.c
 *	  A transaction that would have a directory or a role have more than it may does not commit.
 *
 * A quota is a row of dbos.file_quota with its limits and with what is used of it: by a directory, all that is in
 * it and below; by a role, the files that it owns.  A transaction that has changed files adds what it has
 * changed to the rows of the quotas concerned, just before it commits, and holds them locked until it has.
 * So two that fit alone do not both commit when they do not fit together.  Rows are locked
 * in the order of their keys.  Operations look beforehand, to fail early where they can; what
 * they look at is a hint.
 *
 * Which quotas those are is decided in that moment, from where the directories lie then.  It stays true until the
 * commit by the lock of the table: who commits changes of files holds it in RowShareLock; who
 * makes or lifts a quota, or has moved a directory into another one while there are quotas of directories, in
 * ExclusiveLock, which waits for those who are committing.  Where there is no quota, that lock (of the kind that
 * needs no shared memory) and a look at a cached list are all that is paid.
 *
 * What a transaction adds is found in quota_sum.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "quota.h"

/* ---- the list of quotas ---- */

static DbosQuota *quotas = NULL;
static int	nquotas = 0;
static int	ndirectory_quotas = 0;	/* they come after those of roles */
static bool loaded = false;
static uint64 invalidations = 0;
static Oid	loaded_from = InvalidOid;

/* Directories that this transaction has moved or removed, also in a subtransaction that was rolled back. */
static List *moved = NIL;
static List *removed = NIL;

/* What operations have added to each quota, and what was used of it when they began; they may be too high. */
typedef struct Hint
{
	bool		known;
	DbosQuotaUse base;
	DbosQuotaUse added;
} Hint;

static Hint *hints = NULL;		/* as many as there are quotas, in TopTransactionContext */

/* Most operations follow another one in the same directory: the quotas that it is under. */
static int64 last_directory = 0;
static List *last_above = NIL;	/* in TopTransactionContext */

static void
forget(Datum arg, Oid relation)
{
	if (relation != InvalidOid && relation != loaded_from)
		return;
	loaded = false;
	invalidations++;
}

static int
compare(const void *left, const void *right)
{
	const DbosQuota *a = left;
	const DbosQuota *b = right;

	if (a->directory != b->directory)
		return a->directory < b->directory ? -1 : 1;
	return a->role < b->role ? -1 : a->role > b->role;
}

static int64
limit_of(DbosTable *table, int column)
{
	bool		isnull;
	Datum		value = slot_getattr(table->slot, column + 1, &isnull);

	return isnull ? NO_LIMIT : DatumGetInt64(value);
}

static void
load(void)
{
	DbosTable	table;
	TableScanDesc scan;
	uint64		before = invalidations;
	int			space = 16;
	int			count = 0;
	DbosQuota  *found = palloc(sizeof(DbosQuota) * space);
	DbosQuota  *kept;

	dbos_table_open(&table, TABLE_QUOTA, AccessShareLock);
	loaded_from = RelationGetRelid(table.heap);
	PushActiveSnapshot(GetLatestSnapshot());
	scan = table_beginscan(table.heap, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, table.slot))
	{
		if (count == space)
			found = repalloc(found, sizeof(DbosQuota) * (space *= 2));
		found[count].directory = DatumGetInt64(dbos_column(&table, QUOTA_DIRECTORY));
		found[count].role = DatumGetObjectId(dbos_column(&table, QUOTA_ROLE));
		found[count].max_bytes = limit_of(&table, QUOTA_MAX_BYTES);
		found[count].max_files = limit_of(&table, QUOTA_MAX_FILES);
		count++;
	}
	table_endscan(scan);
	PopActiveSnapshot();
	dbos_table_close(&table);
	qsort(found, count, sizeof(DbosQuota), compare);
	kept = MemoryContextAlloc(TopMemoryContext, sizeof(DbosQuota) * Max(count, 1));
	memcpy(kept, found, sizeof(DbosQuota) * count);
	pfree(found);
	if (quotas != NULL)
		pfree(quotas);
	quotas = kept;
	nquotas = count;
	ndirectory_quotas = 0;
	for (int i = 0; i < count; i++)
		ndirectory_quotas += quotas[i].directory != 0;
	hints = NULL;
	last_directory = 0;
	/* One that was made or lifted meanwhile is not missed. */
	loaded = invalidations == before;
}

/* Directories that this transaction has moved. */
List *
dbos_quota_moves(void)
{
	return moved;
}

/* All quotas, those of roles first; the list lives until it is asked for again. */
int
dbos_quotas(const DbosQuota **all)
{
	if (!loaded)
		load();
	*all = quotas;
	return nquotas;
}

/* Its number in the list; -1: there is none. */
int
dbos_quota_find(int64 directory, Oid role)
{
	DbosQuota	key = {.directory = directory, .role = role};
	DbosQuota  *found = nquotas == 0 ? NULL : bsearch(&key, quotas, nquotas, sizeof(DbosQuota), compare);

	return found == NULL ? -1 : found - quotas;
}

bool
dbos_quota_of_directories(void)
{
	return ndirectory_quotas > 0;
}

/* Until the end of the transaction nobody else commits changes of files. */
void
dbos_quotas_lock(void)
{
	LockRelationOid(dbos_relation_oid("file_quota"), ExclusiveLock);
}

/* ---- limits ---- */

static char *
name_of(const DbosQuota *quota)
{
	text	   *path;

	if (quota->directory == 0)
	{
		char	   *role = GetUserNameFromId(quota->role, true);

		return psprintf("role \"%s\"", role != NULL ? role : psprintf("%u", quota->role));
	}
	path = dbos_path_of(quota->directory, GetActiveSnapshot());
	return path != NULL ? psprintf("directory \"%s\"", text_to_cstring(path)) : psprintf("the directory with inode " INT64_FORMAT, quota->directory);
}

static pg_noreturn void
exceeded(const DbosQuota *quota, const char *what, int64 limit, int64 used, int64 added)
{
	ereport(ERROR,
			errcode(ERRCODE_DISK_FULL),
			errmsg("quota of %s exceeded", name_of(quota)),
			errdetail("It may have " INT64_FORMAT " %s, has " INT64_FORMAT ", and would have " INT64_FORMAT ".",
					  limit, what, used, used + added),
			errhint("dbos.file_quotas shows what is used of it."));
}

/* A transaction that adds nothing may commit, also where more is used than is allowed. */
static bool
fits(const DbosQuota *quota, const DbosQuotaUse *used, const DbosQuotaUse *added)
{
	return (added->bytes <= 0 || used->bytes + added->bytes <= quota->max_bytes) &&
		(added->files <= 0 || used->files + added->files <= quota->max_files);
}

static void
check(const DbosQuota *quota, const DbosQuotaUse *used, const DbosQuotaUse *added)
{
	if (fits(quota, used, added))
		return;
	if (added->bytes > 0 && used->bytes + added->bytes > quota->max_bytes)
		exceeded(quota, "bytes", quota->max_bytes, used->bytes, added->bytes);
	exceeded(quota, "files and directories", quota->max_files, used->files, added->files);
}

/* The row of the quota is in the slot; false: it was lifted. */
static bool
read_use(DbosTable *table, const DbosQuota *quota, Snapshot snapshot, DbosQuotaUse *use)
{
	Datum		key[2] = {Int64GetDatum(quota->directory), ObjectIdGetDatum(quota->role)};

	if (!dbos_table_find(table, 0, snapshot, key, 2))
		return false;
	use->bytes = DatumGetInt64(dbos_column(table, QUOTA_BYTES));
	use->files = DatumGetInt64(dbos_column(table, QUOTA_FILES));
	return true;
}

/* ---- before a commit ---- */

static void
settle(DbosTable *table, const DbosQuota *quota, const DbosQuotaUse *added)
{
	bool		done = false;

	while (!done)
	{
		DbosQuotaUse used;
		Datum		values[QUOTA_COLUMNS];
		bool		nulls[QUOTA_COLUMNS];
		ItemPointerData tid;

		CHECK_FOR_INTERRUPTS();
		PushActiveSnapshot(GetLatestSnapshot());
		if (!read_use(table, quota, GetActiveSnapshot(), &used))
		{
			PopActiveSnapshot();
			return;
		}
		check(quota, &used, added);
		slot_getallattrs(table->slot);
		memcpy(values, table->slot->tts_values, sizeof(values));
		memcpy(nulls, table->slot->tts_isnull, sizeof(nulls));
		tid = table->slot->tts_tid;
		values[QUOTA_BYTES] = Int64GetDatum(used.bytes + added->bytes);
		values[QUOTA_FILES] = Int64GetDatum(used.files + added->files);
		/* Waits for who has it; then what that one added counts. */
		done = dbos_table_update(table, &tid, values, nulls, GetActiveSnapshot(), UPDATE);
		PopActiveSnapshot();
	}
}

/* The directory of the quota is gone. */
static void
lift(DbosTable *table, const DbosQuota *quota)
{
	DbosQuotaUse used;

	PushActiveSnapshot(GetLatestSnapshot());
	if (read_use(table, quota, GetActiveSnapshot(), &used))
	{
		ItemPointerData tid = table->slot->tts_tid;

		(void) dbos_table_delete(table, &tid, GetActiveSnapshot());
		CacheInvalidateRelcache(table->heap);
	}
	PopActiveSnapshot();
}

/* By the number of a quota whether its directory is gone. */
static bool *
find_gone(void)
{
	bool	   *gone = palloc0(sizeof(bool) * nquotas);
	ListCell   *cell;

	PushActiveSnapshot(GetLatestSnapshot());
	foreach(cell, removed)
	{
		int64		directory = *(int64 *) lfirst(cell);
		int			number = dbos_quota_find(directory, InvalidOid);

		if (number >= 0)
			gone[number] = !dbos_directory_is_there(directory, GetActiveSnapshot());
	}
	PopActiveSnapshot();
	return gone;
}

/* Of a transaction that has changed files, before its differences are written. */
void
dbos_quota_settle(void)
{
	Oid			relation = dbos_relation_oid("file_quota");
	DbosQuotaUse *added;
	bool	   *gone;
	DbosTable	table;

	LockRelationOid(relation, RowShareLock);
	if (!loaded)
		load();
	if (nquotas == 0)
		return;
	if (moved != NIL && ndirectory_quotas > 0)
	{
		/* One at a time moves directories: nobody else who asks for more holds less. */
		UnlockRelationOid(relation, RowShareLock);
		LockRelationOid(relation, ExclusiveLock);
		if (!loaded)
			load();
	}
	added = palloc(sizeof(DbosQuotaUse) * nquotas);
	dbos_quota_added(added, nquotas, moved);
	gone = find_gone();
	dbos_table_open(&table, TABLE_QUOTA, RowExclusiveLock);
	for (int i = 0; i < nquotas; i++)
	{
		if (gone[i])
			lift(&table, &quotas[i]);
		else if (added[i].bytes != 0 || added[i].files != 0)
			settle(&table, &quotas[i], &added[i]);
	}
	dbos_table_close(&table);
}

/* ---- in an operation ---- */

/* What the hints say is looked at thoroughly. */
static void
check_all(void)
{
	DbosQuotaUse *added = palloc(sizeof(DbosQuotaUse) * nquotas);
	DbosTable	table;

	dbos_quota_added(added, nquotas, moved);
	dbos_table_open(&table, TABLE_QUOTA, AccessShareLock);
	PushActiveSnapshot(GetLatestSnapshot());
	for (int i = 0; i < nquotas; i++)
	{
		hints[i].added = added[i];
		if (added[i].bytes <= 0 && added[i].files <= 0)
			continue;
		hints[i].known = read_use(&table, &quotas[i], GetActiveSnapshot(), &hints[i].base);
		if (hints[i].known)
			check(&quotas[i], &hints[i].base, &added[i]);
	}
	PopActiveSnapshot();
	dbos_table_close(&table);
	pfree(added);
}

/* Whether, as far as we know, it fits when that is added. */
static bool
may_add(int number, int64 bytes, int64 files)
{
	Hint	   *hint = &hints[number];

	hint->added.bytes += bytes;
	hint->added.files += files;
	if (!hint->known)
	{
		DbosTable	table;

		dbos_table_open(&table, TABLE_QUOTA, AccessShareLock);
		PushActiveSnapshot(GetLatestSnapshot());
		hint->known = read_use(&table, &quotas[number], GetActiveSnapshot(), &hint->base);
		PopActiveSnapshot();
		dbos_table_close(&table);
	}
	return !hint->known || fits(&quotas[number], &hint->base, &hint->added);
}

static bool
may_add_below(int64 directory, int64 bytes, int64 files)
{
	bool		fit = true;
	ListCell   *cell;

	if (last_directory != directory || moved != NIL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
		bool		there;

		last_directory = 0;
		PushActiveSnapshot(GetLatestSnapshot());
		last_above = dbos_quotas_above(directory, GetActiveSnapshot(), &there);
		PopActiveSnapshot();
		MemoryContextSwitchTo(old);
		last_directory = directory;
	}
	foreach(cell, last_above)
		fit &= may_add(lfirst_int(cell), bytes, files);
	return fit;
}

/* After a difference was noted: an error when it is plain by now that it will not fit. */
void
dbos_quota_note(const DbosUsage *change)
{
	int			number;
	bool		fit = true;

	if (!loaded)
		load();
	if (nquotas == 0)
		return;
	if (hints == NULL)
		hints = MemoryContextAllocZero(TopTransactionContext, sizeof(Hint) * nquotas);
	number = dbos_quota_find(0, change->owner);
	if (number >= 0 && (change->file_bytes != 0 || change->files != 0 || change->directories != 0))
		fit &= may_add(number, change->file_bytes, change->files + change->directories);
	if (ndirectory_quotas > 0 && (change->bytes != 0 || change->names != 0 || change->directories != 0))
		fit &= may_add_below(change->directory, change->bytes, change->names + change->directories);
	if (!fit)
		check_all();
}

static List *
note_directory(List *list, int64 directory)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	int64	   *number = palloc(sizeof(int64));

	*number = directory;
	list = lappend(list, number);
	MemoryContextSwitchTo(old);
	return list;
}

void
dbos_quota_removed(int64 directory)
{
	removed = note_directory(removed, directory);
}

/* A directory was moved into another one, with all that is below. */
void
dbos_quota_moved(int64 directory)
{
	moved = note_directory(moved, directory);
	if (!loaded)
		load();
	if (ndirectory_quotas == 0)
		return;
	if (hints == NULL)
		hints = MemoryContextAllocZero(TopTransactionContext, sizeof(Hint) * nquotas);
	check_all();
}

static void
at_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		moved = NIL;
		removed = NIL;
		hints = NULL;
		last_directory = 0;
	}
}

void
dbos_quota_install(void)
{
	CacheRegisterRelcacheCallback(forget, (Datum) 0);
	RegisterXactCallback(at_end, NULL);
}
