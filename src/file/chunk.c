/*
 * chunk.c
 *	  Rows of dbos.chunk and dbos.chunk_tail: pieces of content, each with its checksum.
 *
 * A chunk is 8,192 bytes of a file, so that what is written in pages of 4,096 bytes touches
 * one.  A row of a table cannot be as long as its page: the last 112 bytes of a full chunk stand in
 * dbos.chunk_tail, some fifty of them to a page, and what comes first fills a page of
 * dbos.chunk to the last bytes.  A chunk that lz4 makes smaller has no tail, and shares its page.
 *
 * Compression is tried on a chunk; where that did not pay, the next fifteen are not tried.
 * The checksum is CRC-32C of the content as it is read.  Ids are never used twice;
 * those of chunks that are written together are one after the other.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <lz4.h>

#include "commands/sequence.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "file.h"

/*
 * Of a chunk that is not compressed.  A page that was emptied keeps some line pointers of dead rows (reuse.c):
 * the free-space map, which counts in units of 32 bytes, finds it for a row of that length with up to nine of them.
 */
#define MAIN_BYTES 8080
#define TAIL_BYTES (CHUNK_BYTES - MAIN_BYTES)
#define ROWS_AT_ONCE 32
#define NOT_TRIED 15

#define FORMAT_RAW 'r'
#define FORMAT_LZ4 'l'

enum ChunkColumn
{
	CHUNK_ID, CHUNK_LENGTH, CHUNK_CHECKSUM, CHUNK_FORMAT, CHUNK_DATA,
	CHUNK_COLUMNS
};

enum TailColumn
{
	TAIL_ID, TAIL_DATA,
	TAIL_COLUMNS
};

/* ---- ids ---- */

/* A backend takes as many as an extent may have, and uses them one after the other. */
int64
dbos_chunk_allocate(int wanted, int *got)
{
	static int64 next = 0;
	static int64 end = 0;
	static Oid	taken_from = InvalidOid;
	Oid			sequence = dbos_relation_oid("chunk_block");
	int64		first;

	if (next == end || taken_from != sequence)
	{
		next = nextval_internal(sequence, false) * CHUNKS_AT_ONCE;
		end = next + CHUNKS_AT_ONCE;
		taken_from = sequence;
	}
	first = next;
	*got = (int) Min(wanted, end - next);
	next += *got;
	return first;
}

/* ---- writing ---- */

static bytea *
bytes_of(const char *content, int length)
{
	bytea	   *bytes = palloc(VARHDRSZ + length);

	SET_VARSIZE(bytes, VARHDRSZ + length);
	memcpy(VARDATA(bytes), content, length);
	return bytes;
}

/* NULL: it does not pay. */
static bytea *
compressed(const char *content, int length)
{
	int			space = length - length / 8;
	bytea	   *bytes;
	int			size;

	if (length < 64)
		return NULL;
	bytes = palloc(VARHDRSZ + space);
	size = LZ4_compress_default(content, VARDATA(bytes), length, Min(space, MAIN_BYTES));
	if (size > 0)
	{
		SET_VARSIZE(bytes, VARHDRSZ + size);
		return bytes;
	}
	pfree(bytes);
	return NULL;
}

/* Values of the row; returns whether there is a tail beside it.  *skip counts chunks that are not tried. */
static bool
form(int64 chunk, const char *content, int length, int *skip, Datum *values)
{
	bytea	   *data = NULL;

	values[CHUNK_ID] = Int64GetDatum(chunk);
	values[CHUNK_LENGTH] = Int32GetDatum(length);
	values[CHUNK_CHECKSUM] = Int32GetDatum((int32) dbos_checksum(0, content, length));
	if (*skip > 0)
		(*skip)--;
	else if ((data = compressed(content, length)) == NULL)
		*skip = NOT_TRIED;
	values[CHUNK_FORMAT] = CharGetDatum(data != NULL ? FORMAT_LZ4 : FORMAT_RAW);
	values[CHUNK_DATA] = PointerGetDatum(data != NULL ? data : bytes_of(content, Min(length, MAIN_BYTES)));
	return data == NULL && length > MAIN_BYTES;
}

static TupleTableSlot **
make_slots(DbosTable *table, int count)
{
	TupleTableSlot **slots = palloc(sizeof(TupleTableSlot *) * count);

	for (int i = 0; i < count; i++)
		slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(table->heap), &TTSOpsVirtual);
	return slots;
}

static void
drop_slots(TupleTableSlot **slots, int count)
{
	for (int i = 0; i < count; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
}

static void
store(TupleTableSlot *slot, const Datum *values, int columns)
{
	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, sizeof(Datum) * columns);
	memset(slot->tts_isnull, false, sizeof(bool) * columns);
	ExecStoreVirtualTuple(slot);
}

/* Chunks with ids from first on, as many as the content fills; the last may be short. */
void
dbos_chunks_insert(int64 first, const char *content, int64 length)
{
	int			count = (int) ((length + CHUNK_BYTES - 1) / CHUNK_BYTES);
	int			space = Min(count, ROWS_AT_ONCE);
	int			skip = 0;
	DbosTable	chunk;
	DbosTable	tail;
	TupleTableSlot **chunks;
	TupleTableSlot **tails;
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext round = AllocSetContextCreate(outer, "dbos chunks", ALLOCSET_DEFAULT_SIZES);

	dbos_table_open(&chunk, TABLE_CHUNK, RowExclusiveLock);
	dbos_table_open(&tail, TABLE_CHUNK_TAIL, RowExclusiveLock);
	chunks = make_slots(&chunk, space);
	tails = make_slots(&tail, space);
	for (int done = 0; done < count;)
	{
		int			rows = Min(count - done, space);
		int			ntails = 0;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(round);
		for (int i = 0; i < rows; i++)
		{
			int64		id = first + done + i;
			const char *piece = content + (int64) (done + i) * CHUNK_BYTES;
			int			bytes = (int) Min(CHUNK_BYTES, length - (int64) (done + i) * CHUNK_BYTES);
			Datum		values[CHUNK_COLUMNS];

			if (form(id, piece, bytes, &skip, values))
			{
				Datum		rest[TAIL_COLUMNS] = {Int64GetDatum(id), PointerGetDatum(bytes_of(piece + MAIN_BYTES, bytes - MAIN_BYTES))};

				store(tails[ntails++], rest, TAIL_COLUMNS);
			}
			store(chunks[i], values, CHUNK_COLUMNS);
		}
		dbos_pages_reclaim(chunk.heap, rows);
		dbos_table_make_room(&chunk, Min(length - (int64) done * CHUNK_BYTES, MAIN_BYTES), rows);
		dbos_table_insert_many(&chunk, chunks, rows);
		if (ntails > 0)
			dbos_table_insert_many(&tail, tails, ntails);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(round);
		done += rows;
	}
	drop_slots(chunks, space);
	drop_slots(tails, space);
	dbos_table_close(&chunk);
	dbos_table_close(&tail);
	MemoryContextDelete(round);
}

static pg_noreturn void
missing(int64 chunk)
{
	ereport(ERROR,
			errcode(ERRCODE_DATA_CORRUPTED),
			errmsg("chunk " INT64_FORMAT " of a file is missing", chunk),
			errhint("dbos.check_files() says which file it is of."));
}

static void
require(DbosTable *table, int64 chunk, Snapshot snapshot)
{
	Datum		key = Int64GetDatum(chunk);

	if (!dbos_table_find(table, 0, snapshot, &key, 1))
		missing(chunk);
}

/*
 * Replaces the row in the slot, or deletes it when there are no values.  Who does so has the file locked, so a row that
 * has changed was moved by the background (compact.c): it is found where it is now.  False: it is gone.
 */
static bool
replace_row(DbosTable *table, int64 id, const Datum *values, Snapshot snapshot)
{
	static const bool nulls[CHUNK_COLUMNS] = {false};
	Datum		key = Int64GetDatum(id);

	for (;;)
	{
		ItemPointerData tid = table->slot->tts_tid;
		bool		found;

		if (values != NULL ? dbos_table_update(table, &tid, values, nulls, snapshot, UPDATE) : dbos_table_delete(table, &tid, snapshot))
		{
			/* Tails share their pages. */
			if (RelationGetRelid(table->heap) == dbos_relation_oid("chunk"))
				dbos_page_emptied(table->heap, ItemPointerGetBlockNumber(&tid));
			return true;
		}
		CHECK_FOR_INTERRUPTS();
		PushActiveSnapshot(GetLatestSnapshot());
		found = dbos_table_find(table, 0, GetActiveSnapshot(), &key, 1);
		PopActiveSnapshot();
		if (!found)
			return false;
	}
}

/* Replaces the content of a chunk that nobody else has. */
void
dbos_chunk_update(int64 id, const char *content, int length, Snapshot snapshot)
{
	static const bool nulls[TAIL_COLUMNS] = {false};
	static int	skip = 0;
	DbosTable	chunk;
	DbosTable	tail;
	Datum		values[CHUNK_COLUMNS];
	bool		had_tail;
	bool		has_tail;

	dbos_table_open(&chunk, TABLE_CHUNK, RowExclusiveLock);
	require(&chunk, id, snapshot);
	had_tail = DatumGetChar(dbos_column(&chunk, CHUNK_FORMAT)) == FORMAT_RAW && DatumGetInt32(dbos_column(&chunk, CHUNK_LENGTH)) > MAIN_BYTES;
	has_tail = form(id, content, length, &skip, values);
	dbos_pages_reclaim(chunk.heap, 1);
	if (!replace_row(&chunk, id, values, snapshot))
		missing(id);
	if (had_tail || has_tail)
	{
		Datum		rest[TAIL_COLUMNS] = {Int64GetDatum(id)};

		dbos_table_open(&tail, TABLE_CHUNK_TAIL, RowExclusiveLock);
		if (had_tail)
			require(&tail, id, snapshot);
		if (has_tail)
			rest[TAIL_DATA] = PointerGetDatum(bytes_of(content + MAIN_BYTES, length - MAIN_BYTES));
		if (had_tail && has_tail)
		{
			bytea	   *old = DatumGetByteaPP(dbos_column(&tail, TAIL_DATA));

			/* Most writes to a chunk are before its last bytes. */
			if (VARSIZE_ANY_EXHDR(old) != length - MAIN_BYTES || memcmp(VARDATA_ANY(old), content + MAIN_BYTES, length - MAIN_BYTES) != 0)
				(void) replace_row(&tail, id, rest, snapshot);
		}
		else if (has_tail)
			(void) dbos_table_insert(&tail, rest, nulls, UNIQUE_RAISE);
		else
			(void) replace_row(&tail, id, NULL, snapshot);
		dbos_table_close(&tail);
	}
	dbos_table_close(&chunk);
}

static int
delete_rows(DbosTableName name, int64 first, int count, Snapshot snapshot)
{
	DbosTable	table;
	DbosTableScan scan;
	Datum		key = Int64GetDatum(first);
	int			deleted = 0;

	dbos_table_open(&table, name, RowExclusiveLock);
	dbos_scan_begin(&scan, &table, 0, snapshot, &key, 1, true);
	while (dbos_scan_next(&scan))
	{
		int64		id = DatumGetInt64(dbos_column(&table, 0));

		if (id >= first + count)
			break;
		deleted += replace_row(&table, id, NULL, snapshot);
	}
	dbos_scan_end(&scan);
	dbos_table_close(&table);
	return deleted;
}

/* Returns how many there were. */
int
dbos_chunks_delete(int64 first, int count, Snapshot snapshot)
{
	(void) delete_rows(TABLE_CHUNK_TAIL, first, count, snapshot);
	return delete_rows(TABLE_CHUNK, first, count, snapshot);
}

/* ---- reading ---- */

/* Goes on to the tail of that chunk; false: it has none. */
static bool
find_tail(DbosTable *tail, DbosTableScan *tails, int64 id)
{
	/* Where one was missing the scan stands at that of a later chunk. */
	while (TTS_EMPTY(tail->slot) || DatumGetInt64(dbos_column(tail, TAIL_ID)) < id)
		if (!dbos_scan_next(tails))
			return false;
	return DatumGetInt64(dbos_column(tail, TAIL_ID)) == id;
}

/* The content of the row that the scan stands at; what is wrong with it, or NULL. */
static const char *
decode(DbosTable *chunk, DbosTable *tail, DbosTableScan *tails, int64 id, char *to, int *length)
{
	bytea	   *data = DatumGetByteaPP(dbos_column(chunk, CHUNK_DATA));
	int			size = VARSIZE_ANY_EXHDR(data);

	*length = DatumGetInt32(dbos_column(chunk, CHUNK_LENGTH));
	if (*length < 0 || *length > CHUNK_BYTES)
		return "has no valid length";
	if (DatumGetChar(dbos_column(chunk, CHUNK_FORMAT)) == FORMAT_LZ4)
	{
		if (LZ4_decompress_safe(VARDATA_ANY(data), to, size, *length) != *length)
			return "cannot be decompressed";
	}
	else
	{
		if (size != Min(*length, MAIN_BYTES))
			return "has no valid length";
		memcpy(to, VARDATA_ANY(data), size);
		if (*length > MAIN_BYTES)
		{
			bytea	   *rest;

			if (!find_tail(tail, tails, id))
				return "lacks its last bytes";
			rest = DatumGetByteaPP(dbos_column(tail, TAIL_DATA));
			if (VARSIZE_ANY_EXHDR(rest) != *length - MAIN_BYTES)
				return "lacks its last bytes";
			memcpy(to + MAIN_BYTES, VARDATA_ANY(rest), *length - MAIN_BYTES);
		}
	}
	if (dbos_checksum(0, to, *length) != (uint32) DatumGetInt32(dbos_column(chunk, CHUNK_CHECKSUM)))
		return "does not match its checksum";
	return NULL;
}

/*
 * Calls back for each of the chunks with its content, or with what is wrong with it; the content
 * may lie at to + i * CHUNK_BYTES, when to is given and that is below limit.
 */
void
dbos_chunks_visit(int64 first, int count, Snapshot snapshot, char *to, int64 limit,
				  void (*each) (void *arg, int number, const char *content, int length, const char *problem), void *arg)
{
	DbosTable	chunk;
	DbosTable	tail;
	DbosTableScan chunks;
	DbosTableScan tails;
	Datum		key = Int64GetDatum(first);
	char	   *buffer = palloc(CHUNK_BYTES);
	int			expected = 0;

	dbos_table_open(&chunk, TABLE_CHUNK, AccessShareLock);
	dbos_table_open(&tail, TABLE_CHUNK_TAIL, AccessShareLock);
	dbos_scan_begin(&chunks, &chunk, 0, snapshot, &key, 1, true);
	dbos_scan_begin(&tails, &tail, 0, snapshot, &key, 1, true);
	while (expected < count && dbos_scan_next(&chunks))
	{
		int64		id = DatumGetInt64(dbos_column(&chunk, CHUNK_ID));
		int			number = (int) Min(id - first, count);
		int			length = 0;
		const char *problem;
		char	   *target;

		for (; expected < number; expected++)
			each(arg, expected, NULL, 0, "is missing");
		if (number >= count)
			break;
		target = to != NULL && (int64) (number + 1) * CHUNK_BYTES <= limit ? to + (int64) number * CHUNK_BYTES : buffer;
		problem = decode(&chunk, &tail, &tails, id, target, &length);
		each(arg, number, target, length, problem);
		expected++;
		CHECK_FOR_INTERRUPTS();
	}
	for (; expected < count; expected++)
		each(arg, expected, NULL, 0, "is missing");
	dbos_scan_end(&chunks);
	dbos_scan_end(&tails);
	dbos_table_close(&chunk);
	dbos_table_close(&tail);
	pfree(buffer);
}

typedef struct Reading
{
	int64		first;			/* id of the chunk that number 0 is */
	int64		skip;
	char	   *to;
	int64		length;
} Reading;

/* What of the chunk lies within [skip, skip + length); bytes that it does not have are zero. */
static void
copy_part(void *arg, int number, const char *content, int length, const char *problem)
{
	Reading    *reading = arg;
	int64		at = (int64) number * CHUNK_BYTES - reading->skip;	/* of the chunk, in the result */
	int64		from = Max(-at, 0);
	int64		end = Min(CHUNK_BYTES, reading->length - at);
	int64		there = Min(end, length);

	if (problem != NULL)
		ereport(ERROR,
				errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("chunk " INT64_FORMAT " of a file %s", reading->first + number, problem),
				errhint("dbos.check_files() says which file it is of."));
	if (from >= end)
		return;
	if (there > from && reading->to + at + from != content + from)
		memcpy(reading->to + at + from, content + from, there - from);
	if (there < end)
		memset(reading->to + at + Max(from, there), 0, end - Max(from, there));
}

/* length bytes of the chunks, from skip on. */
void
dbos_chunks_read(int64 first, int count, int64 skip, char *to, int64 length, Snapshot snapshot)
{
	Reading		reading = {first, skip, to, length};

	/* Whole chunks are decoded where they belong. */
	dbos_chunks_visit(first, count, snapshot, skip == 0 ? to : NULL, length, copy_part, &reading);
}
