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

static void
add(DbosUsage *to, const DbosUsage *change)
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
		add(&entry->usage, change);
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

static void
write_changes(void)
{
	DbosTable	table;
	changes_iterator iterator;
	Change	   *change;

	/* A transaction may write files and drop the extension. */
	if (!OidIsValid(dbos_schema_oid(true)))
		return;
	dbos_table_open(&table, TABLE_CHANGE, RowExclusiveLock);
	changes_start_iterate(innermost->changes, &iterator);
	while ((change = changes_iterate(innermost->changes, &iterator)) != NULL)
	{
		DbosUsage  *usage = &change->usage;
		bool		nulls[USAGE_COLUMNS] = {0};
		Datum		values[USAGE_COLUMNS] = {
			Int64GetDatum(usage->directory), ObjectIdGetDatum(usage->owner),
			Int64GetDatum(usage->names), Int64GetDatum(usage->directories), Int64GetDatum(usage->bytes),
			Int64GetDatum(usage->files), Int64GetDatum(usage->file_bytes), Int64GetDatum(usage->modified)
		};

		(void) dbos_table_insert(&table, values, nulls, UNIQUE_RAISE);
	}
	dbos_table_close(&table);
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
		case XACT_EVENT_ABORT:
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			innermost = NULL;
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
		add(sum->usage, change);
}

static void
add_rows(int64 directory, DbosTableName name, Snapshot snapshot, DbosUsage *sum)
{
	DbosTable	table;
	DbosTableScan scan;
	Datum		key = Int64GetDatum(directory);

	dbos_table_open(&table, name, AccessShareLock);
	dbos_scan_begin(&scan, &table, 0, snapshot, &key, 1, false);
	while (dbos_scan_next(&scan))
	{
		DbosUsage	row = {
			.names = DatumGetInt64(dbos_column(&table, USAGE_NAMES)),
			.directories = DatumGetInt64(dbos_column(&table, USAGE_DIRECTORIES)),
			.bytes = DatumGetInt64(dbos_column(&table, USAGE_BYTES)),
			.files = DatumGetInt64(dbos_column(&table, USAGE_FILES)),
			.file_bytes = DatumGetInt64(dbos_column(&table, USAGE_FILE_BYTES)),
			.modified = DatumGetInt64(dbos_column(&table, USAGE_MODIFIED))
		};

		add(sum, &row);
	}
	dbos_scan_end(&scan);
	dbos_table_close(&table);
}

/* Of one directory, all owners together; directory and owner are not set. */
void
dbos_usage_of(int64 directory, Snapshot snapshot, DbosUsage *sum)
{
	Sum			arg = {directory, sum};

	memset(sum, 0, sizeof(DbosUsage));
	add_rows(directory, TABLE_USAGE, snapshot, sum);
	add_rows(directory, TABLE_CHANGE, snapshot, sum);
	dbos_usage_pending(add_pending, &arg);
}
