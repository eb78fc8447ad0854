/*
 * bulk.c
 *	  Files made by thousands: rows that are written many at a time.
 *
 * Who makes a tree of files has each of them in memory before it has a row. A row that is
 * written together with those that share its page costs a record of the log to all of them.
 *
 * In a directory that this transaction has made nobody else makes a name, so that names too can
 * be written together and without a look whether they are there. In any other directory a name is
 * written at once, as names.c does, and its inode with the others: nobody sees the one
 * before the other.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "bulk.h"

DbosBulk *
dbos_bulk_begin(void)
{
	DbosBulk   *bulk = palloc(sizeof(DbosBulk));

	bulk->rows = AllocSetContextCreate(CurrentMemoryContext, "dbos bulk", ALLOCSET_DEFAULT_SIZES);
	bulk->bytes = 0;
	bulk->ninodes = bulk->nentries = 0;
	return bulk;
}

/* What was written is seen from here on. */
void
dbos_bulk_flush(DbosBulk *bulk)
{
	MemoryContext outer = MemoryContextSwitchTo(bulk->rows);

	if (bulk->ninodes > 0)
		dbos_inodes_insert(bulk->inodes, bulk->ninodes);
	if (bulk->nentries > 0)
		dbos_entries_insert(bulk->entries, bulk->nentries);
	MemoryContextSwitchTo(outer);
	MemoryContextReset(bulk->rows);
	bulk->bytes = 0;
	bulk->ninodes = bulk->nentries = 0;
	dbos_changed();
}

static const char *
keep(DbosBulk *bulk, const char *bytes, int length)
{
	char	   *copy = MemoryContextAlloc(bulk->rows, length + 1);

	memcpy(copy, bytes, length);
	bulk->bytes += length;
	return copy;
}

/* What the directory has more: a name of that inode, and is_new: the inode too. */
void
dbos_bulk_charge(const DbosBulkDirectory *directory, const DbosInode *inode, bool is_new)
{
	bool		is_directory = S_ISDIR(inode->mode);
	int64		size = is_directory ? 0 : inode->size;
	DbosUsage	usage = {
		.directory = directory->inode.number, .owner = inode->owner, .bytes = size,
		.modified = directory->keeps_time ? 0 : dbos_file_now()
	};

	*(is_directory ? &usage.directories : &usage.names) = 1;
	if (is_new && !is_directory)
	{
		usage.files = 1;
		usage.file_bytes = size;
	}
	dbos_usage_add(&usage);
}

/*
 * A name for the inode, of which number and mode are looked at.  False: somebody else has made it,
 * and has committed or rolled back by now.
 */
bool
dbos_bulk_enter(DbosBulk *bulk, DbosBulkDirectory *directory, DbosName name, const DbosInode *inode)
{
	DbosEntry	entry = {
		.parent = directory->inode.number, .child = inode->number, .kind = (inode->mode & S_IFMT) >> 12, .name = name
	};

	if (directory->hidden)
	{
		if (bulk->nentries == BULK_ROWS)
			dbos_bulk_flush(bulk);
		entry.name.bytes = keep(bulk, name.bytes, name.length);
		bulk->entries[bulk->nentries++] = entry;
		return true;
	}
	/* In a snapshot that does not have the directory the name would be lost. */
	if (directory->inode.born > dbos_epoch())
		dbos_epoch_passed();
	directory->used = true;
	if (dbos_entry_insert(&entry))
		return true;
	dbos_changed();
	if (dbos_entry_await(directory->inode.number, name))
		dbos_conflict();
	return false;
}

/* The inode of which a name was entered. */
void
dbos_bulk_inode(DbosBulk *bulk, const DbosInode *inode)
{
	DbosInode  *row;

	if (bulk->ninodes == BULK_ROWS || bulk->bytes > BULK_BYTES)
		dbos_bulk_flush(bulk);
	row = &bulk->inodes[bulk->ninodes++];
	*row = *inode;
	if (inode->content != NULL)
		row->content = keep(bulk, inode->content, inode->content_length);
}

/* To be called when nothing more is made in that directory. */
void
dbos_bulk_leave(const DbosBulkDirectory *directory)
{
	if (!directory->used || dbos_directory_remains(directory->inode.number))
		return;
	dbos_conflict();
	dbos_no_such_file(directory->path);
}
