/*
 * storage.c
 *	  Where the content of a file is: in its row, in chunks, or in a large object.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "file.h"

static const DbosStorage *const classes[] = {
	&dbos_storage_inline, &dbos_storage_chunk, &dbos_storage_large_object, &dbos_storage_adopted
};

const DbosStorage *
dbos_storage_of(const DbosInode *inode)
{
	for (int i = 0; i < lengthof(classes); i++)
		if (classes[i]->code == inode->storage)
			return classes[i];
	ereport(ERROR,
			errcode(ERRCODE_DATA_CORRUPTED),
			errmsg("inode " INT64_FORMAT " has an unknown storage class \"%c\"", inode->number, inode->storage));
}
