/*
 * usage.c
 *	  What is in a directory, and whose: counters that nobody waits for.
 *
 * A file that is made, grown or removed changes what its directory has, and when that
 * was changed.  Were that a row, all who work in one directory would wait for each other.
 * So each transaction adds a row of differences for each directory and owner that it
 * has touched, once, before it commits; the sum of the rows is the truth, to
 * each snapshot the one that fits to it.  The background adds up what has gathered
 * (usage_fold.c): nobody's result changes by that.
 *
 * Until its commit a transaction has its differences in memory, a list for each
 * subtransaction; the functions that tell sums add them.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "file.h"
#include "usage.h"

typedef struct ChangeKey
{
	int64		directory;
	int64		owner;			/* an Oid, without padding */
} ChangeKey;

typedef struct Change
{
	ChangeKey	key;
	uint32		status;
	DbosUsage	usage;
} Change;

#define SH_PREFIX changes
#define SH_ELEMENT_TYPE Change
#define SH_KEY_TYPE ChangeKey
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) &(key), sizeof(ChangeKey))
#define SH_EQUAL(tb, a, b) ((a).directory == (b).directory && (a).owner == (b).owner)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Changes of a (sub)transaction that has made some. */
typedef struct Level
{
	struct Level *outer;
	int			nesting;
	changes_hash *changes;
} Level;

static Level *innermost = NULL;
static int	written = 0;		/* rows of the transaction that is about to commit */

void
dbos_usage_sum(DbosUsage *to, const DbosUsage *change)
{
	to->names += change->names;
	to->directories += change->directories;
	to->bytes += change->bytes;
	to->files += change->files;
	to->file_bytes += change->file_bytes;
	to->modified = Max(to->modified, change->modified);
}

static void
add_to_level(Level *level, const DbosUsage *change)
{
	ChangeKey	key = {change->directory, change->owner};
	bool		found;
	Change	   *entry = changes_insert(level->changes, key, &found);

	if (found)
		dbos_usage_sum(&entry->usage, change);
	else
		entry->usage = *change;
}

static Level *
level_at(int nesting)
{
	Level	   *level = innermost;

	if (level != NULL && level->nesting == nesting)
		return level;
	level = MemoryContextAlloc(TopTransactionContext, sizeof(Level));
	level->outer = innermost;
	level->nesting = nesting;
	level->changes = changes_create(TopTransactionContext, 16, NULL);
	innermost = level;
	return level;
}

/* The differences of this transaction; modified: when the directory was, or 0 when it was not. */
void
dbos_usage_add(const DbosUsage *change)
{
	add_to_level(level_at(GetCurrentTransactionNestLevel()), change);
	dbos_quota_note(change);
}

/* Calls back for each difference that is not in the table yet. */
void
dbos_usage_pending(void (*each) (void *arg, const DbosUsage *change), void *arg)
{
	for (Level *level = innermost; level != NULL; level = level->outer)
	{
		changes_iterator iterator;
		Change	   *change;

		changes_start_iterate(level->changes, &iterator);
		while ((change = changes_iterate(level->changes, &iterator)) != NULL)
			each(arg, &change->usage);
	}
}

/* ---- at the end ---- */

/* As in the row, of either table. */
void
dbos_usage_values(const DbosUsage *usage, Datum *values)
{
	values[USAGE_DIRECTORY] = Int64GetDatum(usage->directory);
	values[USAGE_OWNER] = ObjectIdGetDatum(usage->owner);
	values[USAGE_NAMES] = Int64GetDatum(usage->names);
	values[USAGE_DIRECTORIES] = Int64GetDatum(usage->directories);
	values[USAGE_BYTES] = Int64GetDatum(usage->bytes);
	values[USAGE_FILES] = Int64GetDatum(usage->files);
	values[USAGE_FILE_BYTES] = Int64GetDatum(usage->file_bytes);
	values[USAGE_MODIFIED] = Int64GetDatum(usage->modified);
}

static void
write_changes(void)
{
	DbosTable	table;
	changes_iterator iterator;
	Change	   *change;
	int			rows = 0;

	/* A transaction may write files and drop the extension. */
	if (!OidIsValid(dbos_schema_oid(true)))
		return;
	dbos_quota_settle();
	dbos_table_open(&table, TABLE_CHANGE, RowExclusiveLock);
	changes_start_iterate(innermost->changes, &iterator);
	while ((change = changes_iterate(innermost->changes, &iterator)) != NULL)
	{
		static const bool nulls[USAGE_COLUMNS] = {false};
		Datum		values[USAGE_COLUMNS];

		dbos_usage_values(&change->usage, values);
		(void) dbos_table_insert(&table, values, nulls, UNIQUE_RAISE);
		rows++;
	}
	dbos_table_close(&table);
	written = rows;
}

static void
at_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (innermost != NULL)
				write_changes();
			innermost = NULL;
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			if (written > 0)
				dbos_fold_want(written);
			innermost = NULL;
			written = 0;
			break;
		case XACT_EVENT_ABORT:
			innermost = NULL;
			written = 0;
			break;
		default:
			break;
	}
}

/* What a subtransaction did is its parent's when it ends well, and nobody's else. */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int			nesting = GetCurrentTransactionNestLevel();
	Level	   *ended = innermost;

	if (ended == NULL || ended->nesting < nesting)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		innermost = ended->outer;
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		changes_iterator iterator;
		Change	   *change;
		Level	   *outer;

		innermost = ended->outer;
		outer = level_at(nesting - 1);
		changes_start_iterate(ended->changes, &iterator);
		while ((change = changes_iterate(ended->changes, &iterator)) != NULL)
			add_to_level(outer, &change->usage);
	}
}

void
dbos_usage_install(void)
{
	RegisterXactCallback(at_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

/* ---- sums ---- */

typedef struct Sum
{
	int64		directory;
	DbosUsage  *usage;
} Sum;

static void
add_pending(void *arg, const DbosUsage *change)
{
	Sum		   *sum = arg;

	if (change->directory == sum->directory)
		dbos_usage_sum(sum->usage, change);
}

/* From the row in the slot. */
void
dbos_usage_fill(DbosTable *table, DbosUsage *usage)
{
	Datum	   *values;

	slot_getallattrs(table->slot);
	values = table->slot->tts_values;
	usage->directory = DatumGetInt64(values[USAGE_DIRECTORY]);
	usage->owner = DatumGetObjectId(values[USAGE_OWNER]);
	usage->names = DatumGetInt64(values[USAGE_NAMES]);
	usage->directories = DatumGetInt64(values[USAGE_DIRECTORIES]);
	usage->bytes = DatumGetInt64(values[USAGE_BYTES]);
	usage->files = DatumGetInt64(values[USAGE_FILES]);
	usage->file_bytes = DatumGetInt64(values[USAGE_FILE_BYTES]);
	usage->modified = DatumGetInt64(values[USAGE_MODIFIED]);
}

static void
visit_rows(int64 directory, DbosTableName name, Snapshot snapshot, void (*each) (void *arg, const DbosUsage *row), void *arg)
{
	DbosTable	table;
	DbosTableScan scan;
	Datum		key = Int64GetDatum(directory);

	dbos_table_open(&table, name, AccessShareLock);
	dbos_scan_begin(&scan, &table, 0, snapshot, &key, 1, false);
	while (dbos_scan_next(&scan))
	{
		DbosUsage	row;

		dbos_usage_fill(&table, &row);
		each(arg, &row);
	}
	dbos_scan_end(&scan);
	dbos_table_close(&table);
}

/* Calls back for each row of either table, whose sum is what the directory has; not for what is pending. */
void
dbos_usage_rows(int64 directory, Snapshot snapshot, void (*each) (void *arg, const DbosUsage *row), void *arg)
{
	visit_rows(directory, TABLE_USAGE, snapshot, each, arg);
	visit_rows(directory, TABLE_CHANGE, snapshot, each, arg);
}

/* Of one directory, all owners together; directory and owner are not set. */
void
dbos_usage_of(int64 directory, Snapshot snapshot, DbosUsage *sum)
{
	Sum			arg;

	memset(sum, 0, sizeof(DbosUsage));
	arg = (Sum) {directory, sum};
	dbos_usage_rows(directory, snapshot, add_pending, &arg);
	dbos_usage_pending(add_pending, &arg);
}

/* ---- a directory that is removed ---- */

typedef struct Inheritance
{
	const int64 *directories;	/* in the order of their numbers */
	int			count;
	List	   *shares;			/* of these and their owners; of one there may be more than one */
} Inheritance;

static int
compare_numbers(const void *left, const void *right)
{
	int64		a = *(const int64 *) left;
	int64		b = *(const int64 *) right;

	return a < b ? -1 : a > b;
}

static void
add_share(void *arg, const DbosUsage *change)
{
	Inheritance *inheritance = arg;
	DbosUsage  *share;

	if (bsearch(&change->directory, inheritance->directories, inheritance->count, sizeof(int64), compare_numbers) == NULL)
		return;
	share = palloc(sizeof(DbosUsage));
	*share = *change;
	inheritance->shares = lappend(inheritance->shares, share);
}

/*
 * An inode is counted where it was made, and less where it is removed: what a directory counts of those that were
 * renamed in between is another's when it goes, so that the sums of the owners stay right.  Nobody
 * else changes what directories have once they are empty and their inodes are deleted by us.
 */
void
dbos_usage_inherit_all(int64 *directories, int count, int64 heir)
{
	Inheritance inheritance = {directories, count};
	ListCell   *cell;

	qsort(directories, count, sizeof(int64), compare_numbers);
	dbos_usage_pending(add_share, &inheritance);
	PushActiveSnapshot(GetLatestSnapshot());
	for (int i = 0; i < count; i++)
		dbos_usage_rows(directories[i], GetActiveSnapshot(), add_share, &inheritance);
	PopActiveSnapshot();
	foreach(cell, inheritance.shares)
	{
		DbosUsage  *share = lfirst(cell);
		DbosUsage	gain = {.directory = heir, .owner = share->owner, .files = share->files, .file_bytes = share->file_bytes};
		/* A row of its own in any case, by which the background finds that the directory is gone. */
		DbosUsage	loss = {.directory = share->directory, .owner = share->owner, .files = -share->files, .file_bytes = -share->file_bytes};

		/* In that order: no quota sees it twice. */
		dbos_usage_add(&loss);
		if (share->files != 0 || share->file_bytes != 0)
			dbos_usage_add(&gain);
	}
	list_free_deep(inheritance.shares);
	for (int i = 0; i < count; i++)
		dbos_quota_removed(directories[i]);
}

void
dbos_usage_inherit(int64 directory, int64 parent)
{
	dbos_usage_inherit_all(&directory, 1, parent);
}
