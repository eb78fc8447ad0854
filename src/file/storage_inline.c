/*
 * storage_inline.c
 *	  Content in the row of the inode: of small files.
 *
 * What is written is in memory until the caller stores the row.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "file.h"

static void
inline_read(const DbosInode *inode, int64 start, char *to, int64 length, Snapshot snapshot, int32 at_epoch)
{
	int64		there = Max(Min(inode->content_length - start, length), 0);

	if (there > 0)
		memcpy(to, inode->content + start, there);
	if (there < length)
		memset(to + there, 0, length - there);
}

static void
inline_resize(DbosInode *inode)
{
	char	   *content = palloc0(inode->size + 1);

	if (inode->content != NULL)
		memcpy(content, inode->content, Min(inode->content_length, inode->size));
	inode->content = content;
	inode->content_length = (int) inode->size;
}

static void
inline_write(DbosInode *inode, int64 old_size, int64 start, const char *from, int64 length, Snapshot snapshot)
{
	inline_resize(inode);
	memcpy(unconstify(char *, inode->content) + start, from, length);
}

static void
inline_truncate(DbosInode *inode, int64 old_size, int64 size, Snapshot snapshot)
{
	inline_resize(inode);
}

static bool
inline_data(const DbosInode *inode, int64 from, int64 *start, int64 *end, Snapshot snapshot)
{
	*start = from;
	*end = inode->content_length;
	return *start < *end;
}

static void
inline_punch(DbosInode *inode, int64 start, int64 end, Snapshot *snapshot)
{
	inline_resize(inode);
	memset(unconstify(char *, inode->content) + start, 0, end - start);
}

/* The copy has it from the inode that it was copied from. */
static void
inline_share(DbosInode *from, DbosInode *to, Snapshot snapshot, int32 at_epoch)
{
}

static void
inline_free(DbosInode *inode, Snapshot snapshot)
{
	inode->content = NULL;
	inode->content_length = 0;
}

static uint32
inline_scrub(const DbosInode *inode, Snapshot snapshot, void (*report) (void *arg, const char *problem), void *arg)
{
	if (inode->content_length != inode->size)
		report(arg, psprintf("has %d bytes of content and size " INT64_FORMAT, inode->content_length, inode->size));
	return dbos_checksum(0, inode->content, inode->content_length);
}

const DbosStorage dbos_storage_inline = {
	.code = STORAGE_INLINE,
	.name = "inline",
	.read = inline_read,
	.write = inline_write,
	.truncate = inline_truncate,
	.data = inline_data,
	.punch = inline_punch,
	.share = inline_share,
	.free = inline_free,
	.scrub = inline_scrub,
};
