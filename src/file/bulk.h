/*
 * bulk.h
 *	  Files made by thousands: rows that are written many at a time.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef BULK_H
#define BULK_H

#include "file.h"

#define BULK_ROWS 256
#define BULK_BYTES (256 * 1024)

/* A directory of ours in which files are made. */
typedef struct DbosBulkDirectory
{
	DbosInode	inode;
	text	   *path;			/* for errors */
	bool		hidden;			/* this transaction has made it: nobody else sees it */
	bool		keeps_time;		/* what is made in it does not change when it was modified */
	bool		used;			/* something was made in it that others may have made too */
} DbosBulkDirectory;

typedef struct DbosBulk
{
	MemoryContext rows;			/* of those that are not written yet */
	Size		bytes;
	int			ninodes;
	int			nentries;
	DbosInode	inodes[BULK_ROWS];
	DbosEntry	entries[BULK_ROWS];
} DbosBulk;

extern DbosBulk *dbos_bulk_begin(void);
extern bool dbos_bulk_enter(DbosBulk *bulk, DbosBulkDirectory *directory, DbosName name, const DbosInode *inode);
extern void dbos_bulk_inode(DbosBulk *bulk, const DbosInode *inode);
extern void dbos_bulk_charge(const DbosBulkDirectory *directory, const DbosInode *inode, bool is_new);
extern void dbos_bulk_leave(const DbosBulkDirectory *directory);
extern void dbos_bulk_flush(DbosBulk *bulk);

#endif							/* BULK_H */
