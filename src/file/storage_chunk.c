/*
 * storage_chunk.c
 *	  Content in chunks, as extents say.
 *
 * A chunk that the file alone has is overwritten; one that a snapshot or a copy shows too is left as
 * it is, and the file gets a new one in its place.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "miscadmin.h"

#include "file.h"

#define CHUNK_OF(at) ((at) / CHUNK_BYTES)
#define CHUNKS_OF(size) (((size) + CHUNK_BYTES - 1) / CHUNK_BYTES)

/* ---- reading ---- */

static void
chunk_read(const DbosInode *inode, int64 start, char *to, int64 length, Snapshot snapshot, int32 at_epoch)
{
	DbosExtentScan scan;
	DbosExtent	extent;
	int64		filled = start;	/* up to there, when they come in their order */

	if (length <= 0)
		return;
	if (at_epoch != FOREVER)
		memset(to, 0, length);
	dbos_extent_scan_begin(&scan, inode->number, CHUNK_OF(start), CHUNKS_OF(start + length), snapshot, at_epoch);
	while (dbos_extent_scan_next(&scan, &extent))
	{
		int64		begin = Max(extent.start * CHUNK_BYTES, start);
		int64		end = Min((extent.start + extent.count) * CHUNK_BYTES, start + length);
		int64		first = CHUNK_OF(begin);

		if (at_epoch == FOREVER && begin > filled)
			memset(to + (filled - start), 0, begin - filled);
		dbos_chunks_read(extent.chunk + (first - extent.start), (int) (CHUNKS_OF(end) - first), begin - first * CHUNK_BYTES,
						 to + (begin - start), end - begin, snapshot);
		filled = end;
	}
	dbos_extent_scan_end(&scan);
	if (at_epoch == FOREVER && filled < start + length)
		memset(to + (filled - start), 0, start + length - filled);
}

/* ---- writing ---- */

typedef struct Writing
{
	DbosInode  *inode;
	int64		old_size;
	int64		start;			/* of what is written */
	int64		end;
	const char *from;
	Snapshot	snapshot;
	bool		last_known;		/* the extent that was made or extended last */
	DbosExtent	last;
} Writing;

/* What is to be in that chunk, of which old_length bytes are in the buffer; returns how many there are. */
static int
merge(const Writing *writing, int64 number, char *buffer, int old_length)
{
	int64		base = number * CHUNK_BYTES;
	int64		begin = Max(writing->start, base) - base;
	int64		end = Min(writing->end, base + CHUNK_BYTES) - base;

	if (begin > old_length)
		memset(buffer + old_length, 0, begin - old_length);
	memcpy(buffer + begin, writing->from + (base + begin - writing->start), end - begin);
	return (int) Max(end, old_length);
}

static bool
covers(const Writing *writing, int64 number)
{
	return writing->start <= number * CHUNK_BYTES &&
		writing->end >= Min((number + 1) * CHUNK_BYTES, writing->inode->size);
}

/* New chunks of the file from that number on; they continue the extent before them where they can. */
static void
append_chunks(Writing *writing, int64 number, const char *content, int64 length)
{
	while (length > 0)
	{
		int			got;
		int64		first = dbos_chunk_allocate((int) Min(CHUNKS_OF(length), CHUNKS_AT_ONCE), &got);
		int64		bytes = Min(length, (int64) got * CHUNK_BYTES);
		DbosExtent *last = &writing->last;

		dbos_chunks_insert(first, content, bytes);
		if (writing->last_known && last->start + last->count == number && last->chunk + last->count == first &&
			last->written == dbos_epoch() && !last->shared && last->count + got <= CHUNKS_AT_ONCE)
		{
			last->count += got;
			dbos_extent_update(last, writing->snapshot);
			/* Where the row is now is not known. */
			writing->last_known = false;
		}
		else
		{
			*last = (DbosExtent) {
				.inode = writing->inode->number, .died = FOREVER, .born = dbos_epoch(), .start = number,
				.chunk = first, .count = got, .written = dbos_epoch()
			};
			dbos_extent_insert(last);
			writing->last_known = false;
		}
		number += got;
		content += bytes;
		length -= bytes;
	}
}

/* Chunks [first, end) of the file that it does not have, or no more. */
static void
write_new(Writing *writing, int64 first, int64 end)
{
	char		buffer[CHUNK_BYTES];

	if (first >= end)
		return;
	if (writing->start > first * CHUNK_BYTES)
	{
		append_chunks(writing, first, buffer, merge(writing, first, buffer, 0));
		first++;
	}
	if (first < end)
		append_chunks(writing, first, writing->from + (first * CHUNK_BYTES - writing->start),
					  Min(end * CHUNK_BYTES, writing->end) - first * CHUNK_BYTES);
}

static int
read_chunk(const DbosExtent *extent, int64 number, int64 size, char *buffer, Snapshot snapshot)
{
	int			length = (int) Min(CHUNK_BYTES, Max(size - number * CHUNK_BYTES, 0));

	if (length > 0)
		dbos_chunks_read(extent->chunk + (number - extent->start), 1, 0, buffer, length, snapshot);
	return length;
}

/* Chunks that only this file has. */
static void
overwrite(Writing *writing, const DbosExtent *extent, int64 first, int64 end)
{
	char		buffer[CHUNK_BYTES];

	for (int64 number = first; number < end; number++)
	{
		int			length = 0;

		CHECK_FOR_INTERRUPTS();
		if (!covers(writing, number))
			length = read_chunk(extent, number, writing->old_size, buffer, writing->snapshot);
		length = merge(writing, number, buffer, length);
		dbos_chunk_update(extent->chunk + (number - extent->start), buffer, length, writing->snapshot);
	}
}

/* Chunks that others have too: new ones take their places. */
static void
replace(Writing *writing, DbosExtent *extent, int64 first, int64 end)
{
	int64		bytes = (end - first) * CHUNK_BYTES;
	char	   *content = palloc_extended(bytes, MCXT_ALLOC_HUGE);
	int64		length = 0;

	for (int64 number = first; number < end; number++)
	{
		char	   *at = content + (number - first) * CHUNK_BYTES;
		int			there = 0;

		CHECK_FOR_INTERRUPTS();
		if (!covers(writing, number))
			there = read_chunk(extent, number, writing->old_size, at, writing->snapshot);
		there = merge(writing, number, at, there);
		length = (number - first) * CHUNK_BYTES + there;
	}
	dbos_extent_cut(extent, first, end, writing->snapshot);
	writing->last_known = false;
	append_chunks(writing, first, content, length);
	pfree(content);
}

static List *
extents_in(int64 inode, int64 start, int64 end, Snapshot snapshot, int32 at_epoch)
{
	DbosExtentScan scan;
	DbosExtent	extent;
	List	   *extents = NIL;

	dbos_extent_scan_begin(&scan, inode, start, end, snapshot, at_epoch);
	while (dbos_extent_scan_next(&scan, &extent))
	{
		DbosExtent *copy = palloc(sizeof(DbosExtent));

		*copy = extent;
		extents = lappend(extents, copy);
	}
	dbos_extent_scan_end(&scan);
	return extents;
}

static void
chunk_write(DbosInode *inode, int64 old_size, int64 start, const char *from, int64 length, Snapshot snapshot)
{
	Writing		writing = {
		.inode = inode, .old_size = old_size, .start = start, .end = start + length, .from = from, .snapshot = snapshot
	};
	int64		first = CHUNK_OF(start);
	int64		end = CHUNKS_OF(start + length);
	int64		done = first;
	List	   *extents;
	ListCell   *cell;

	if (length <= 0)
		return;
	/* With the one before, which may be continued. */
	extents = extents_in(inode->number, first - 1, end, snapshot, FOREVER);
	foreach(cell, extents)
	{
		DbosExtent *extent = lfirst(cell);
		int64		from_number = Max(extent->start, first);
		int64		to_number = Min(extent->start + extent->count, end);

		write_new(&writing, done, Min(from_number, end));
		done = Max(done, to_number);
		writing.last = *extent;
		writing.last_known = true;
		if (from_number >= to_number)
			continue;
		if (dbos_extent_private(extent))
			overwrite(&writing, extent, from_number, to_number);
		else
			replace(&writing, extent, from_number, to_number);
	}
	write_new(&writing, done, end);
}

static void
chunk_truncate(DbosInode *inode, int64 old_size, int64 size, Snapshot snapshot)
{
	int64		kept = CHUNKS_OF(size);
	List	   *extents;
	ListCell   *cell;

	/* What is added at the end is a hole. */
	if (size >= old_size)
		return;
	extents = extents_in(inode->number, CHUNK_OF(size), CHUNKS_OF(old_size), snapshot, FOREVER);
	foreach(cell, extents)
	{
		DbosExtent *extent = lfirst(cell);
		int64		last = CHUNK_OF(size);

		if (size % CHUNK_BYTES != 0 && extent->start <= last && last < extent->start + extent->count)
		{
			char		buffer[CHUNK_BYTES];
			int			length = read_chunk(extent, last, size, buffer, snapshot);

			if (dbos_extent_private(extent))
				dbos_chunk_update(extent->chunk + (last - extent->start), buffer, length, snapshot);
			else
			{
				Writing		writing = {.inode = inode, .snapshot = snapshot};

				dbos_extent_cut(extent, last, PG_INT64_MAX, snapshot);
				append_chunks(&writing, last, buffer, length);
				continue;
			}
		}
		if (extent->start + extent->count > kept)
			dbos_extent_cut(extent, kept, PG_INT64_MAX, snapshot);
	}
}

/* ---- holes ---- */

static bool
chunk_data(const DbosInode *inode, int64 from, int64 *start, int64 *end, Snapshot snapshot)
{
	DbosExtentScan scan;
	DbosExtent	extent;
	bool		found = false;

	dbos_extent_scan_begin(&scan, inode->number, CHUNK_OF(from), PG_INT64_MAX, snapshot, FOREVER);
	while (dbos_extent_scan_next(&scan, &extent))
	{
		CHECK_FOR_INTERRUPTS();
		if (found && extent.start * CHUNK_BYTES > *end)
			break;
		if (!found)
			*start = Max(extent.start * CHUNK_BYTES, from);
		*end = (extent.start + extent.count) * CHUNK_BYTES;
		found = true;
	}
	dbos_extent_scan_end(&scan);
	return found;
}

/* Zeros in a part of one chunk, unless it is in a hole. */
static void
punch_part(DbosInode *inode, int64 start, int64 end, Snapshot *snapshot)
{
	static const char zeros[CHUNK_BYTES] = {0};

	if (start >= end || extents_in(inode->number, CHUNK_OF(start), CHUNK_OF(start) + 1, *snapshot, FOREVER) == NIL)
		return;
	chunk_write(inode, inode->size, start, zeros, end - start, *snapshot);
	/* The extents may be others now. */
	dbos_changed();
	*snapshot = dbos_view_renew();
}

static void
chunk_punch(DbosInode *inode, int64 start, int64 end, Snapshot *snapshot)
{
	int64		first = CHUNKS_OF(start);
	/* Nothing comes after the end of the file. */
	int64		last = end == inode->size ? CHUNKS_OF(end) : CHUNK_OF(end);
	ListCell   *cell;

	punch_part(inode, start, Min(first * CHUNK_BYTES, end), snapshot);
	if (last >= first)
		punch_part(inode, last * CHUNK_BYTES, end, snapshot);
	if (last <= first)
		return;
	foreach(cell, extents_in(inode->number, first, last, *snapshot, FOREVER))
	{
		CHECK_FOR_INTERRUPTS();
		dbos_extent_cut(lfirst(cell), first, last, *snapshot);
	}
}

static void
chunk_free(DbosInode *inode, Snapshot snapshot)
{
	ListCell   *cell;

	foreach(cell, extents_in(inode->number, 0, PG_INT64_MAX, snapshot, FOREVER))
	{
		CHECK_FOR_INTERRUPTS();
		dbos_extent_cut(lfirst(cell), 0, PG_INT64_MAX, snapshot);
	}
}

/*
 * From now on those who write to the file leave its chunks as they are.  Its row is changed by that, so that who
 * writes to it by an older snapshot is refused.
 */
static void
mark_shared(DbosInode *inode, Snapshot snapshot)
{
	bool		marked = false;
	ListCell   *cell;

	foreach(cell, extents_in(inode->number, 0, PG_INT64_MAX, snapshot, FOREVER))
	{
		DbosExtent *extent = lfirst(cell);

		if (extent->shared)
			continue;
		extent->shared = true;
		dbos_extent_update(extent, snapshot);
		marked = true;
	}
	if (marked && !dbos_inode_update(inode, snapshot))
		elog(ERROR, "inode " INT64_FORMAT " is not locked", inode->number);
}

static void
chunk_share(DbosInode *from, DbosInode *to, Snapshot snapshot, int32 at_epoch)
{
	DbosInode	live;
	ListCell   *cell;

	/*
	 * What the one had in an epoch it may have still.  It has no more of it when the other is the same file,
	 * which was emptied for this.
	 */
	if (from->number != to->number && dbos_inode_read(from->number, snapshot, FOREVER, &live))
		mark_shared(&live, snapshot);
	foreach(cell, extents_in(from->number, 0, PG_INT64_MAX, snapshot, at_epoch))
	{
		DbosExtent *extent = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		extent->inode = to->number;
		extent->born = dbos_epoch();
		extent->died = FOREVER;
		extent->shared = true;
		dbos_extent_insert(extent);
	}
}

/* ---- checking ---- */

typedef struct Scrubbing
{
	void		(*report) (void *arg, const char *problem);
	void	   *arg;
	const DbosInode *inode;
	int64		chunk;			/* the first of the extent */
	int64		start;			/* its number within the file */
	int64		position;		/* bytes before it are in the checksum */
	uint32		checksum;
} Scrubbing;

/* Zeros, up to there. */
static void
sum_hole(Scrubbing *scrubbing, int64 end)
{
	static const char zeros[CHUNK_BYTES] = {0};

	while (scrubbing->inode->checksum_known && scrubbing->position < end)
	{
		int64		length = Min(end - scrubbing->position, CHUNK_BYTES);

		CHECK_FOR_INTERRUPTS();
		scrubbing->checksum = dbos_checksum(scrubbing->checksum, zeros, length);
		scrubbing->position += length;
	}
}

static void
sum_chunk(Scrubbing *scrubbing, int64 number, const char *content, int length)
{
	int64		at = number * CHUNK_BYTES;

	if (!scrubbing->inode->checksum_known || at < scrubbing->position)
		return;
	sum_hole(scrubbing, Min(at, scrubbing->inode->size));
	length = (int) Max(Min(length, scrubbing->inode->size - at), 0);
	scrubbing->checksum = dbos_checksum(scrubbing->checksum, content, length);
	scrubbing->position += length;
	/* What a chunk lacks at its end reads as zeros. */
	sum_hole(scrubbing, Min(at + CHUNK_BYTES, scrubbing->inode->size));
}

static void
scrub_chunk(void *arg, int number, const char *content, int length, const char *problem)
{
	Scrubbing  *scrubbing = arg;

	if (problem != NULL)
		scrubbing->report(scrubbing->arg, psprintf("chunk " INT64_FORMAT " %s", scrubbing->chunk + number, problem));
	else
		sum_chunk(scrubbing, scrubbing->start + number, content, length);
}

static uint32
chunk_scrub(const DbosInode *inode, Snapshot snapshot, void (*report) (void *arg, const char *problem), void *arg)
{
	Scrubbing	scrubbing = {.report = report, .arg = arg, .inode = inode};
	ListCell   *cell;

	/* That they do not overlap and lie within the size is looked at by dbos.check_files() itself. */
	foreach(cell, extents_in(inode->number, 0, PG_INT64_MAX, snapshot, FOREVER))
	{
		DbosExtent *extent = lfirst(cell);

		scrubbing.chunk = extent->chunk;
		scrubbing.start = extent->start;
		dbos_chunks_visit(extent->chunk, extent->count, snapshot, NULL, 0, scrub_chunk, &scrubbing);
	}
	sum_hole(&scrubbing, inode->size);
	return scrubbing.checksum;
}

const DbosStorage dbos_storage_chunk = {
	.code = STORAGE_CHUNK,
	.name = "chunk",
	.read = chunk_read,
	.write = chunk_write,
	.truncate = chunk_truncate,
	.data = chunk_data,
	.punch = chunk_punch,
	.share = chunk_share,
	.free = chunk_free,
	.scrub = chunk_scrub,
};
