/*
 * content.c
 *	  Content of a file is read, written and cut; its row says its size, its time and its checksum.
 *
 * The row is changed first, which locks it: who writes the same file waits, and then finds the
 * newest of it.  Small content is in the row itself.  What is written elsewhere is written after
 * that, with a snapshot in which nobody else's change of this file is missing.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "file.h"

/* Files may be longer than the disk, but not by overflow. */
#define SIZE_MAX_BYTES (INT64CONST(1) << 60)

void
dbos_content_check_size(int64 size)
{
	if (size < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("size of a file must not be negative"));
	if (size > SIZE_MAX_BYTES)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("a file cannot be larger than " INT64_FORMAT " bytes", SIZE_MAX_BYTES));
}

/* length bytes from start on, all of them within the size. */
void
dbos_content_read(const DbosInode *inode, int64 start, char *to, int64 length, Snapshot snapshot, int32 at_epoch)
{
	/* Of a large object also that it is missing is told. */
	if (length > 0 || dbos_is_large_object(inode))
		dbos_storage_of(inode)->read(inode, start, to, length, snapshot, at_epoch);
	dbos_file_traffic.bytes_read += length;
}

/* Whether it was done, and if so, counted. */
bool
dbos_content_written(const DbosContent *content, bool done)
{
	if (done)
		dbos_file_traffic.bytes_written += content->length;
	return done;
}

/* A program that runs as another is not changed by who is not that one. */
static void
clear_set_id(DbosInode *inode)
{
	if ((inode->mode & (S_ISUID | S_ISGID)) != 0 && !dbos_file_owned(inode))
		inode->mode &= ~(S_ISUID | S_ISGID);
}

/* What the row is to be when the content is written, for a storage that is not the row too. */
static void
plan(DbosInode *inode, const DbosContent *content, int64 *start)
{
	int64		now = dbos_file_now();

	*start = content->how == WRITE_APPEND ? inode->size : content->how == WRITE_REPLACE ? 0 : content->start;
	dbos_content_check_size(*start);
	dbos_content_check_size(*start + content->length);
	if (content->how == WRITE_REPLACE)
	{
		inode->checksum = 0;
		inode->checksum_known = true;
	}
	if (*start != inode->size && content->how != WRITE_REPLACE)
		inode->checksum_known = false;
	/* Others write to a large object, too. */
	if (dbos_is_large_object(inode))
		inode->checksum_known = false;
	if (inode->checksum_known)
		inode->checksum = dbos_checksum(inode->checksum, content->bytes, content->length);
	/* Nothing, written beyond the end, adds nothing. */
	if (content->how == WRITE_REPLACE || (content->length > 0 && *start + content->length > inode->size))
		inode->size = *start + content->length;
	inode->modified = inode->changed = now;
	clear_set_id(inode);
}

/*
 * A file that is not there yet: its row may be inserted afterwards, and content that is not in it is to be written then.
 * Once it is made, dbos_content_written() is to be told.
 */
void
dbos_content_begin(DbosInode *inode, const DbosContent *content)
{
	int64		start;

	inode->size = 0;
	inode->checksum = 0;
	inode->checksum_known = true;
	if (OidIsValid(content->adopted))
	{
		inode->storage = STORAGE_ADOPTED;
		inode->large_object = content->adopted;
		inode->size = content->length;
		inode->checksum_known = false;
		return;
	}
	plan(inode, content, &start);
	if (inode->size <= INLINE_MAX && !dbos_is_large_object(inode))
	{
		inode->storage = STORAGE_INLINE;
		dbos_storage_inline.write(inode, 0, start, content->bytes, content->length, NULL);
	}
}

/* Of what was in the row the chunks are the place now. */
static void
move_out(DbosInode *inode, const char *bytes, int64 length, Snapshot *snapshot)
{
	dbos_storage_of(inode)->write(inode, 0, 0, bytes, length, *snapshot);
	dbos_changed();
	*snapshot = dbos_view_renew();
}

/* Nothing is in the file any more.  A large object stays: others know it by its oid. */
static void
empty(DbosInode *inode, Snapshot snapshot)
{
	if (dbos_is_large_object(inode))
		dbos_storage_of(inode)->truncate(inode, inode->size, 0, snapshot);
	else
		dbos_storage_of(inode)->free(inode, snapshot);
}

/* False: the row was changed since it was read; nothing is done. */
bool
dbos_content_write(DbosInode *inode, const DbosContent *content, Snapshot *snapshot)
{
	DbosInode	old;
	bool		was_inline = inode->storage == STORAGE_INLINE;
	int64		start;

	inode->size = dbos_inode_size(inode, NULL);
	old = *inode;
	plan(inode, content, &start);
	if (was_inline && inode->size <= INLINE_MAX)
	{
		if (content->how == WRITE_REPLACE)
			inode->content = NULL;
		dbos_storage_inline.write(inode, old.size, start, content->bytes, content->length, *snapshot);
		return dbos_content_written(content, dbos_inode_update(inode, *snapshot));
	}
	if (was_inline)
	{
		inode->storage = STORAGE_CHUNK;
		inode->content = NULL;
	}
	if (!dbos_inode_update(inode, *snapshot))
		return false;
	dbos_changed();
	*snapshot = dbos_view_renew();
	if (content->how == WRITE_REPLACE)
	{
		empty(&old, *snapshot);
		dbos_changed();
		*snapshot = dbos_view_renew();
		old.size = 0;
	}
	else if (was_inline && old.size > 0)
		move_out(inode, old.content, old.size, snapshot);
	dbos_storage_of(inode)->write(inode, old.size, start, content->bytes, content->length, *snapshot);
	return dbos_content_written(content, true);
}

/* The same for a new size; what is added reads as zeros. */
bool
dbos_content_truncate(DbosInode *inode, int64 size, Snapshot *snapshot)
{
	DbosInode	old;

	dbos_content_check_size(size);
	inode->size = dbos_inode_size(inode, NULL);
	old = *inode;
	inode->size = size;
	inode->modified = inode->changed = dbos_file_now();
	clear_set_id(inode);
	if (size != old.size)
		inode->checksum_known = false;
	if (size == 0)
	{
		inode->checksum_known = true;
		inode->checksum = 0;
	}
	if (dbos_is_large_object(inode))
		inode->checksum_known = false;
	if (old.storage == STORAGE_INLINE && size <= INLINE_MAX)
	{
		dbos_storage_inline.truncate(inode, old.size, size, *snapshot);
		return dbos_inode_update(inode, *snapshot);
	}
	if (old.storage == STORAGE_INLINE)
	{
		inode->storage = STORAGE_CHUNK;
		inode->content = NULL;
	}
	if (!dbos_inode_update(inode, *snapshot))
		return false;
	dbos_changed();
	*snapshot = dbos_view_renew();
	if (old.storage == STORAGE_INLINE)
		move_out(inode, old.content, old.size, snapshot);
	else
		dbos_storage_of(inode)->truncate(inode, old.size, size, *snapshot);
	return true;
}

/* The same for bytes [start, end) within the size, which read as zeros afterwards.  The storage can do it. */
bool
dbos_content_punch(DbosInode *inode, int64 start, int64 end, Snapshot *snapshot)
{
	bool		in_row = inode->storage == STORAGE_INLINE;

	inode->modified = inode->changed = dbos_file_now();
	clear_set_id(inode);
	inode->checksum_known = false;
	if (in_row)
		dbos_storage_inline.punch(inode, start, end, snapshot);
	if (!dbos_inode_update(inode, *snapshot))
		return false;
	if (in_row)
		return true;
	dbos_changed();
	*snapshot = dbos_view_renew();
	dbos_storage_of(inode)->punch(inode, start, end, snapshot);
	return true;
}
