/*
 * outside_content.c
 *	  Content goes from a file of the host into one of ours, and back, in pieces.
 *
 * Whatever its size a file needs memory for one piece. Holes are found by asking the host, and stay holes;
 * what the host calls data is taken as data, to the bounds of chunks.
 *
 * A file that grows while it is read is taken as long as it was in the beginning: it may be one of
 * this server's own, which grows by being read.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <unistd.h>

#include "miscadmin.h"
#include "pgstat.h"

#include "outside.h"

/* Of what the host says of itself, as in /proc, the size is not known beforehand. */
#define SIZE_UNKNOWN 0

/* ---- from the host ---- */

/* Fewer bytes only at the end of the file. */
static int64
read_bytes(DbosOutside *outside, const char *name, int64 start, int64 length)
{
	int64		done = 0;

	while (done < length)
	{
		ssize_t		bytes;

		pgstat_report_wait_start(WAIT_EVENT_COPY_FILE_READ);
		bytes = pread(outside->file, outside->buffer + done, length - done, start + done);
		pgstat_report_wait_end();
		CHECK_FOR_INTERRUPTS();
		if (bytes < 0 && errno == EINTR)
			continue;
		if (bytes < 0)
			dbos_outside_failed(outside, name, "read file");
		if (bytes == 0)
			break;
		done += bytes;
	}
	return done;
}

/* The next run of data at or after *start, within the size; false: there is only a hole. */
static bool
next_data(DbosOutside *outside, int64 size, int64 *start, int64 *end)
{
	off_t		data = lseek(outside->file, *start, SEEK_DATA);
	off_t		hole;

	if (data < 0 && errno == ENXIO)
		return false;
	if (data < 0)
		data = *start;			/* the file system does not know */
	hole = lseek(outside->file, data, SEEK_HOLE);
	*start = Max(*start, data - data % CHUNK_BYTES);
	*end = hole < 0 ? size : Min(size, hole + (CHUNK_BYTES - hole % CHUNK_BYTES) % CHUNK_BYTES);
	return *start < size;
}

static void
write_piece(DbosInode *inode, int64 start, const char *bytes, int64 length, Snapshot *snapshot)
{
	int64		old_size = inode->size;

	if (start != old_size || dbos_is_large_object(inode))
		inode->checksum_known = false;
	if (inode->checksum_known)
		inode->checksum = dbos_checksum(inode->checksum, bytes, length);
	inode->size = start + length;
	dbos_storage_of(inode)->write(inode, old_size, start, bytes, length, *snapshot);
	dbos_file_traffic.bytes_written += length;
	/* The next piece continues the extent of this one. */
	dbos_changed();
	*snapshot = dbos_view_renew();
}

/* Data from start to end; false: the file ends before that. */
static bool
take_run(DbosOutside *outside, const char *name, DbosInode *inode, int64 start, int64 end, Snapshot *snapshot)
{
	while (start < end)
	{
		int64		wanted = Min(end - start, OUTSIDE_PIECE - start % OUTSIDE_PIECE);
		int64		got = read_bytes(outside, name, start, wanted);

		if (got > 0)
			write_piece(inode, start, outside->buffer, got, snapshot);
		outside->bytes += got;
		dbos_outside_tell(outside);
		if (got < wanted)
			return false;
		start += got;
	}
	return true;
}

/* The rest of a file whose first piece is stored. */
static void
take_rest(DbosOutside *outside, const char *name, const struct stat *status, DbosInode *inode, Snapshot *snapshot)
{
	bool		may_have_holes = (int64) status->st_blocks * 512 < status->st_size;
	int64		size = status->st_size == SIZE_UNKNOWN ? PG_INT64_MAX : status->st_size;
	int64		start = inode->size;
	int64		end = size;

	if (!may_have_holes)
	{
		(void) take_run(outside, name, inode, start, size, snapshot);
		return;
	}
	while (next_data(outside, size, &start, &end))
	{
		if (!take_run(outside, name, inode, start, end, snapshot))
			return;
		start = end;
	}
	if (inode->size < size)
	{
		int64		old_size = inode->size;

		inode->checksum_known = false;
		inode->size = size;
		dbos_storage_of(inode)->truncate(inode, old_size, size, *snapshot);
	}
}

/*
 * The content of the open file, of which this is the status, becomes that of an inode that has none and whose
 * row is not written yet, or is locked by this transaction.  Small content is in the inode afterwards.
 */
void
dbos_outside_take(DbosOutside *outside, const char *name, const struct stat *status, DbosInode *inode, Snapshot *snapshot)
{
	int64		wanted = status->st_size == SIZE_UNKNOWN ? OUTSIDE_PIECE : Min(status->st_size, OUTSIDE_PIECE);
	bool		may_have_holes = (int64) status->st_blocks * 512 < status->st_size;
	DbosContent content = {.how = WRITE_REPLACE, .bytes = outside->buffer};

	dbos_content_check_size(status->st_size);
	inode->size = 0;
	inode->checksum = 0;
	inode->checksum_known = !dbos_is_large_object(inode);
	if (inode->storage == STORAGE_CHUNK && status->st_size <= OUTSIDE_PIECE && (!may_have_holes || status->st_size <= INLINE_MAX))
	{
		content.length = read_bytes(outside, name, 0, wanted);
		outside->bytes += content.length;
		dbos_content_begin(inode, &content);
		(void) dbos_content_written(&content, true);
		if (inode->storage != STORAGE_INLINE)
			dbos_storage_of(inode)->write(inode, 0, 0, content.bytes, content.length, *snapshot);
		if (status->st_size != SIZE_UNKNOWN || content.length < wanted)
			return;
		dbos_changed();
		*snapshot = dbos_view_renew();
	}
	take_rest(outside, name, status, inode, snapshot);
}

/* ---- to the host ---- */

static void
write_bytes(DbosOutside *outside, const char *name, int64 start, int64 length)
{
	int64		done = 0;

	while (done < length)
	{
		ssize_t		bytes;

		errno = 0;
		pgstat_report_wait_start(WAIT_EVENT_COPY_FILE_WRITE);
		bytes = pwrite(outside->file, outside->buffer + done, length - done, start + done);
		pgstat_report_wait_end();
		CHECK_FOR_INTERRUPTS();
		if (bytes < 0 && errno == EINTR)
			continue;
		if (bytes == 0)
			errno = ENOSPC;
		if (bytes <= 0)
			dbos_outside_failed(outside, name, "write file");
		done += bytes;
	}
}

static void
give_run(DbosOutside *outside, const char *name, const DbosInode *inode, int64 start, int64 end, Snapshot snapshot)
{
	while (start < end)
	{
		int64		length = Min(end - start, OUTSIDE_PIECE - start % OUTSIDE_PIECE);

		dbos_content_read(inode, start, outside->buffer, length, snapshot, FOREVER);
		write_bytes(outside, name, start, length);
		outside->bytes += length;
		dbos_outside_tell(outside);
		start += length;
	}
}

/* Only what is in chunks is written. */
static void
give_chunks(DbosOutside *outside, const char *name, const DbosInode *inode, Snapshot snapshot)
{
	DbosExtentScan scan;
	DbosExtent	extent;
	MemoryContext round = AllocSetContextCreate(CurrentMemoryContext, "dbos outside", ALLOCSET_DEFAULT_SIZES);

	dbos_extent_scan_begin(&scan, inode->number, 0, PG_INT64_MAX, snapshot, FOREVER);
	while (dbos_extent_scan_next(&scan, &extent))
	{
		int64		start = extent.start * CHUNK_BYTES;
		MemoryContext outer = MemoryContextSwitchTo(round);

		give_run(outside, name, inode, start, Min(start + (int64) extent.count * CHUNK_BYTES, inode->size), snapshot);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(round);
	}
	dbos_extent_scan_end(&scan);
	MemoryContextDelete(round);
}

/* The content of the inode is written to the open file, which is empty. */
void
dbos_outside_give(DbosOutside *outside, const char *name, const DbosInode *inode, Snapshot snapshot)
{
	if (inode->storage == STORAGE_CHUNK)
	{
		give_chunks(outside, name, inode, snapshot);
		if (ftruncate(outside->file, inode->size) != 0)
			dbos_outside_failed(outside, name, "write file");
	}
	else
		give_run(outside, name, inode, 0, dbos_inode_size(inode, snapshot), snapshot);
	dbos_file_accessed(inode);
}
