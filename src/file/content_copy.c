/*
 * content_copy.c
 *	  Content is copied byte by byte, where the two storage classes cannot share it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "file.h"

#define COPY_PIECE (1024 * 1024)

static bool
is_zeros(const char *bytes, int64 length)
{
	return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

/* Of the row that this transaction has changed before. */
static void
read_again(DbosInode *inode, Snapshot *snapshot)
{
	dbos_changed();
	*snapshot = dbos_view_renew();
	if (!dbos_inode_read(inode->number, *snapshot, FOREVER, inode))
		elog(ERROR, "inode " INT64_FORMAT " is missing", inode->number);
}

/*
 * Byte by byte, for storage classes that cannot share: all of the one as the snapshot has it in that epoch, into the
 * other, which is empty and whose row this transaction has changed.  Holes stay holes, where they are large.
 */
void
dbos_content_copy(const DbosInode *from, int32 at_epoch, DbosInode *to, Snapshot *snapshot)
{
	Snapshot	source = RegisterSnapshot(*snapshot);
	int64		size = at_epoch == FOREVER ? dbos_inode_size(from, source) : from->size;
	char	   *piece = palloc(Min(size, COPY_PIECE) + 1);
	bool		done = true;

	/* What cannot be read at all is told, also when it is empty. */
	dbos_content_read(from, 0, piece, 0, source, at_epoch);
	for (int64 at = 0; at < size && done; at += COPY_PIECE)
	{
		DbosContent content = {.how = WRITE_AT, .start = at, .bytes = piece, .length = Min(size - at, COPY_PIECE)};

		CHECK_FOR_INTERRUPTS();
		dbos_content_read(from, at, piece, content.length, source, at_epoch);
		if (is_zeros(piece, content.length))
			continue;
		read_again(to, snapshot);
		done = dbos_content_write(to, &content, snapshot);
	}
	/* It ends in a hole, or is one. */
	read_again(to, snapshot);
	if (done && dbos_inode_size(to, NULL) < size)
		done = dbos_content_truncate(to, size, snapshot);
	if (!done)
		elog(ERROR, "copy of a file was changed by somebody else");
	pfree(piece);
	UnregisterSnapshot(source);
}
