/*
 * open_file.h
 *	  Files that are open, and those of them that have no name any more.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef OPEN_FILE_H
#define OPEN_FILE_H

#include "file.h"

/* A row of dbos.open_file. */
typedef struct DbosOpenFile
{
	int64		handle;
	int64		inode;
	int			flags;			/* DBOS_OPEN_... */
	Oid			role;
	int32		container;
	int			process;		/* of the session */
	TimestampTz started;		/* when that was */
	TimestampTz opened;
	ItemPointerData tid;
} DbosOpenFile;

extern bool dbos_inode_is_open(int64 inode);
extern void dbos_inode_keep_open(DbosInode *inode);
extern void dbos_unlinked_free(int64 inode);
extern void dbos_open_file_require(int64 handle, Snapshot snapshot, DbosOpenFile *file);
extern bool dbos_open_file_find(int64 handle, Snapshot snapshot, DbosOpenFile *file);
extern void dbos_open_file_visit(int64 from, Snapshot snapshot, bool (*each) (void *arg, const DbosOpenFile *file), void *arg);
extern bool dbos_open_file_end(const DbosOpenFile *file, Snapshot *snapshot);

/* ---- open_file_sweep.c ---- */

extern bool dbos_session_is_there(int process, TimestampTz started);
extern void dbos_open_file_noted(void);
extern void dbos_open_file_sweep_register(void);

#endif							/* OPEN_FILE_H */
