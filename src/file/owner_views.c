/*
 * owner_views.c
 *	  What all files have together, from the counters: dbos.file_owners and dbos.df().
 *
 * Each file is counted once, however many names it has, in the directory that it was made in; so just the sums
 * over all directories say something: of the whole database in the root container, in another one of
 * what lies in it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <sys/statvfs.h>

#include "common/hashfn.h"
#include "common/relpath.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/freespace.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "dbos/container.h"
#include "names.h"
#include "quota.h"

PG_FUNCTION_INFO_V1(dbos_count_file_owners);
PG_FUNCTION_INFO_V1(dbos_df);

/* ---- sums ---- */

/* Whether a directory's file system is of the session's container, or of one inside it. */
typedef struct Place
{
	int64		directory;
	char		status;
	bool		inside;
} Place;

#define SH_PREFIX places
#define SH_ELEMENT_TYPE Place
#define SH_KEY_TYPE int64
#define SH_KEY directory
#define SH_HASH_KEY(tb, key) murmurhash32((uint32) (key) ^ (uint32) ((uint64) (key) >> 32))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct Share
{
	Oid			owner;
	char		status;
	DbosUsage	usage;
} Share;

#define SH_PREFIX shares
#define SH_ELEMENT_TYPE Share
#define SH_KEY_TYPE Oid
#define SH_KEY owner
#define SH_HASH_KEY(tb, key) murmurhash32(key)
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct Owners
{
	Snapshot	snapshot;
	int32		container;
	DbosTable	inodes;
	places_hash *places;
	shares_hash *shares;
} Owners;

/* A directory that is gone has counters that add up to nothing (usage.c). */
static bool
is_inside(Owners *owners, int64 directory)
{
	bool		found;
	Place	   *place = places_insert(owners->places, directory, &found);

	if (!found)
	{
		Datum		key[2] = {Int64GetDatum(directory), Int32GetDatum(FOREVER)};

		place->inside = dbos_table_find(&owners->inodes, 0, owners->snapshot, key, 2) &&
			dbos_container_contains(owners->container, DatumGetInt32(dbos_column(&owners->inodes, INODE_FILE_SYSTEM)));
	}
	return place->inside;
}

static void
add_share(void *arg, const DbosUsage *row)
{
	Owners	   *owners = arg;
	Share	   *share;
	bool		found;

	if (owners->container != DBOS_ROOT_CONTAINER && !is_inside(owners, row->directory))
		return;
	share = shares_insert(owners->shares, row->owner, &found);
	if (!found)
		memset(&share->usage, 0, sizeof(DbosUsage));
	dbos_usage_sum(&share->usage, row);
}

static void
add_table(Owners *owners, DbosTableName name)
{
	DbosTable	table;
	TableScanDesc scan;

	dbos_table_open(&table, name, AccessShareLock);
	scan = table_beginscan(table.heap, owners->snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, table.slot))
	{
		DbosUsage	row;

		CHECK_FOR_INTERRUPTS();
		dbos_usage_fill(&table, &row);
		add_share(owners, &row);
	}
	table_endscan(scan);
	dbos_table_close(&table);
}

static void
count_owners(Owners *owners, Snapshot snapshot)
{
	owners->snapshot = snapshot;
	owners->container = dbos_context_container();
	owners->places = places_create(CurrentMemoryContext, 64, NULL);
	owners->shares = shares_create(CurrentMemoryContext, 64, NULL);
	dbos_table_open(&owners->inodes, TABLE_INODE, AccessShareLock);
	add_table(owners, TABLE_USAGE);
	add_table(owners, TABLE_CHANGE);
	dbos_usage_pending(add_share, owners);
	dbos_table_close(&owners->inodes);
}

/* dbos.count_file_owners() → files and bytes of each role; to who is no monitor, of their own roles */
Datum
dbos_count_file_owners(PG_FUNCTION_ARGS)
{
	bool		sees_all = dbos_is_monitor(GetUserId());
	ReturnSetInfo *result;
	Owners		owners;
	shares_iterator iterator;
	Share	   *share;

	InitMaterializedSRF(fcinfo, 0);
	result = (ReturnSetInfo *) fcinfo->resultinfo;
	count_owners(&owners, GetActiveSnapshot());
	shares_start_iterate(owners.shares, &iterator);
	while ((share = shares_iterate(owners.shares, &iterator)) != NULL)
	{
		bool		nulls[3] = {false};
		Datum		values[3] = {ObjectIdGetDatum(share->owner), Int64GetDatum(share->usage.files), Int64GetDatum(share->usage.file_bytes)};

		if (share->usage.files != 0 && (sees_all || has_privs_of_role(GetUserId(), share->owner)))
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ---- the tables ---- */

/* Pages whose free space is asked for; of a larger table every so many-th. */
#define PAGES_ASKED 65536

static double
reusable_bytes(Relation heap)
{
	BlockNumber pages = RelationGetNumberOfBlocks(heap);
	BlockNumber step = pages / PAGES_ASKED + 1;
	double		bytes = 0;

	for (BlockNumber page = 0; page < pages; page += step)
	{
		CHECK_FOR_INTERRUPTS();
		bytes += GetRecordedFreeSpace(heap, page);
		if (page > MaxBlockNumber - step)
			break;
	}
	return bytes * step;
}

/* Where chunks are stored; -1: not known. */
static int64
available_bytes(Relation chunks)
{
	Oid			tablespace = OidIsValid(chunks->rd_rel->reltablespace) ? chunks->rd_rel->reltablespace : MyDatabaseTableSpace;
	char	   *path = GetDatabasePath(MyDatabaseId, tablespace);
	struct statvfs state;

	if (statvfs(path, &state) != 0)
		return -1;
	return (int64) (Min((double) state.f_bavail * (double) state.f_frsize, (double) PG_INT64_MAX / 2));
}

/* Of the whole file system, and how much it may be. */
void
dbos_file_system_use(DbosFileSystemUse *use)
{
	Snapshot	snapshot = GetActiveSnapshot();
	DbosUsage	all = {.directory = 0};
	const DbosQuota *quotas;
	DbosInode	root;
	Owners		owners;
	shares_iterator iterator;
	Share	   *share;
	int			quota;

	count_owners(&owners, snapshot);
	shares_start_iterate(owners.shares, &iterator);
	while ((share = shares_iterate(owners.shares, &iterator)) != NULL)
		dbos_usage_sum(&all, &share->usage);
	*use = (DbosFileSystemUse) {
		.files = all.files, .directories = all.directories, .bytes = all.file_bytes,
		.max_files = -1, .max_bytes = -1, .available_bytes = -1
	};
	dbos_root_read(snapshot, FOREVER, &root);
	(void) dbos_quotas(&quotas);
	quota = root.number == 0 ? -1 : dbos_quota_find(root.number, InvalidOid);
	if (quota >= 0 && quotas[quota].max_files != NO_LIMIT)
		use->max_files = quotas[quota].max_files;
	if (quota >= 0 && quotas[quota].max_bytes != NO_LIMIT)
		use->max_bytes = quotas[quota].max_bytes;
	if (dbos_is_monitor(GetUserId()))
	{
		DbosTable	chunks;

		dbos_table_open(&chunks, TABLE_CHUNK, AccessShareLock);
		use->available_bytes = available_bytes(chunks.heap);
		dbos_table_close(&chunks);
	}
}

/* dbos.df() → files, directories, bytes, table_bytes, index_bytes, reusable_bytes, available_bytes */
Datum
dbos_df(PG_FUNCTION_ARGS)
{
	static const DbosTableName tables[] = {
		TABLE_FILE_SYSTEM, TABLE_INODE, TABLE_ENTRY, TABLE_EXTENT, TABLE_CHUNK, TABLE_CHUNK_TAIL, TABLE_XATTR, TABLE_SNAPSHOT,
		TABLE_CHANGE, TABLE_USAGE, TABLE_FREED
	};
	bool		nulls[7] = {false};
	Datum		values[7];
	DbosFileSystemUse use;
	int64		table_bytes = 0;
	int64		index_bytes = 0;
	double		reusable = 0;

	dbos_file_system_use(&use);
	for (int i = 0; i < lengthof(tables); i++)
	{
		DbosTable	table;

		dbos_table_open(&table, tables[i], AccessShareLock);
		table_bytes += DatumGetInt64(OidFunctionCall1(F_PG_TABLE_SIZE, ObjectIdGetDatum(RelationGetRelid(table.heap))));
		index_bytes += DatumGetInt64(OidFunctionCall1(F_PG_INDEXES_SIZE, ObjectIdGetDatum(RelationGetRelid(table.heap))));
		reusable += reusable_bytes(table.heap);
		dbos_table_close(&table);
	}
	values[0] = Int64GetDatum(use.files);
	values[1] = Int64GetDatum(use.directories);
	values[2] = Int64GetDatum(use.bytes);
	values[3] = Int64GetDatum(table_bytes);
	values[4] = Int64GetDatum(index_bytes);
	values[5] = Int64GetDatum((int64) Min(reusable, (double) table_bytes));
	values[6] = Int64GetDatum(use.available_bytes);
	nulls[6] = use.available_bytes < 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(dbos_result_descriptor(fcinfo), values, nulls)));
}
