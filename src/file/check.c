/*
 * check.c
 *	  What dbos.check_files() cannot do in SQL: content is read and compared with its checksums, and what
 *	  is complained of is called by a name.
 *
 * All content that files have now is read once, in the order of the inodes; of what only snapshots show
 * the chunks that have gone from the files.  Nothing of it is kept in memory but the extents of one file.
 *
 * Whatever is found wrong, the check goes on: so nothing here believes that a way upwards ends.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "dbos/container.h"
#include "usage.h"

PG_FUNCTION_INFO_V1(dbos_check_begin);
PG_FUNCTION_INFO_V1(dbos_check_name);
PG_FUNCTION_INFO_V1(dbos_check_content);
PG_FUNCTION_INFO_V1(dbos_check_chunks);

/* ---- before ---- */

static void
refuse(void *arg, const DbosUsage *change)
{
	ereport(ERROR,
			errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			errmsg("dbos.check_files() cannot run in a transaction that has changed files"),
			errdetail("What it has changed is counted when it commits."));
}

/* dbos.check_begin(): raises when files cannot be checked here */
Datum
dbos_check_begin(PG_FUNCTION_ARGS)
{
	if (dbos_context_container() != 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("files are checked in the root container"),
				errdetail("The check is of all files of the database."));
	dbos_usage_pending(refuse, NULL);
	PG_RETURN_VOID();
}

/* ---- names ---- */

static text *
name_of(int64 number, Snapshot snapshot)
{
	text	   *path = dbos_whole_path(number, snapshot);

	if (path == NULL)
		return cstring_to_text(psprintf("inode " INT64_FORMAT, number));
	return cstring_to_text(psprintf("inode " INT64_FORMAT ", %s", number, text_to_cstring(path)));
}

/* dbos.check_name(inode bigint) → how it is called in a complaint */
Datum
dbos_check_name(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(name_of(PG_GETARG_INT64(0), GetActiveSnapshot()));
}

/* ---- content ---- */

typedef struct Check
{
	ReturnSetInfo *result;
	Snapshot	snapshot;
	int64		inode;
	int64		problems;		/* of that */
} Check;

/* As what is called back for the inode that is looked at. */
static void
complain(void *arg, const char *problem)
{
	Check	   *check = arg;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	values[0] = PointerGetDatum(name_of(check->inode, check->snapshot));
	values[1] = PointerGetDatum(cstring_to_text(problem));
	tuplestore_putvalues(check->result->setResult, check->result->setDesc, values, nulls);
	check->problems++;
}

static bool
is_known(char storage)
{
	return storage == STORAGE_INLINE || storage == STORAGE_CHUNK || storage == STORAGE_LARGE_OBJECT || storage == STORAGE_ADOPTED;
}

static void
check_inode(Check *check, const DbosInode *inode, bool read_chunks)
{
	uint32		checksum;

	/* What has another storage class, or is of no kind, is told elsewhere. */
	if (inode->died != FOREVER || (!S_ISREG(inode->mode) && !S_ISLNK(inode->mode)) || !is_known(inode->storage))
		return;
	if (inode->storage == STORAGE_CHUNK && !read_chunks)
		return;
	check->inode = inode->number;
	check->problems = 0;
	checksum = dbos_storage_of(inode)->scrub(inode, check->snapshot, complain, check);
	if (check->problems == 0 && inode->checksum_known && checksum != inode->checksum)
		complain(check, psprintf("content has checksum %08x, which is to be %08x", checksum, inode->checksum));
}

/* dbos.check_content(read_chunks boolean) → what is wrong with the content that files have now */
Datum
dbos_check_content(PG_FUNCTION_ARGS)
{
	bool		read_chunks = PG_GETARG_BOOL(0);
	Check		check = {.snapshot = GetActiveSnapshot()};
	MemoryContext round;
	MemoryContext outer;
	DbosTable	table;
	TableScanDesc scan;

	InitMaterializedSRF(fcinfo, 0);
	check.result = (ReturnSetInfo *) fcinfo->resultinfo;
	round = AllocSetContextCreate(CurrentMemoryContext, "dbos check", ALLOCSET_DEFAULT_SIZES);
	dbos_table_open(&table, TABLE_INODE, AccessShareLock);
	scan = table_beginscan(table.heap, check.snapshot, 0, NULL);
	outer = MemoryContextSwitchTo(round);
	while (table_scan_getnextslot(scan, ForwardScanDirection, table.slot))
	{
		DbosInode	inode;

		CHECK_FOR_INTERRUPTS();
		dbos_inode_fill(&table, &inode);
		check_inode(&check, &inode, read_chunks);
		MemoryContextReset(round);
	}
	MemoryContextSwitchTo(outer);
	table_endscan(scan);
	dbos_table_close(&table);
	MemoryContextDelete(round);
	return (Datum) 0;
}

/* ---- chunks ---- */

typedef struct Chunks
{
	ReturnSetInfo *result;
	int64		first;
} Chunks;

static void
check_chunk(void *arg, int number, const char *content, int length, const char *problem)
{
	Chunks	   *chunks = arg;
	bool		null = false;
	Datum		value;

	if (problem == NULL)
		return;
	value = PointerGetDatum(cstring_to_text(psprintf("chunk " INT64_FORMAT " %s", chunks->first + number, problem)));
	tuplestore_putvalues(chunks->result->setResult, chunks->result->setDesc, &value, &null);
}

/* dbos.check_chunks(chunk bigint, count integer) → what is wrong with these chunks */
Datum
dbos_check_chunks(PG_FUNCTION_ARGS)
{
	Chunks		chunks = {.first = PG_GETARG_INT64(0)};

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	chunks.result = (ReturnSetInfo *) fcinfo->resultinfo;
	dbos_chunks_visit(chunks.first, PG_GETARG_INT32(1), GetActiveSnapshot(), NULL, 0, check_chunk, &chunks);
	return (Datum) 0;
}
