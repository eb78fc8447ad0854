/*
 * lock.h
 *	  Advisory locks of parts of files.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef LOCK_H
#define LOCK_H

#include "open_file.h"

/* A row of dbos.file_lock. */
typedef struct DbosFileLock
{
	int64		inode;
	int64		handle;
	int64		owner;			/* 0: the handle itself */
	bool		exclusive;
	int64		start;
	int64		finish;			/* the first byte that it does not have; PG_INT64_MAX: it has all */
	ItemPointerData tid;
} DbosFileLock;

/* Whose lock it is; file is that of the handle. */
typedef bool (*DbosLockCallback) (void *arg, const DbosFileLock *lock, const DbosOpenFile *file);

extern void dbos_locks_drop(int64 inode, int64 handle, Snapshot snapshot);
extern void dbos_locks_sweep(Snapshot snapshot);
extern void dbos_locks_visit(DbosLockCallback each, void *arg);
extern void dbos_lock_wait_begin(int process);
extern void dbos_lock_wait_end(int process);
extern bool dbos_lock_check_deadlock(int process, int64 inode);
extern bool dbos_file_lock_conflict(int64 handle, int64 owner, bool exclusive, int64 start, int64 length,
									DbosFileLock *conflict, DbosOpenFile *holder);

#endif							/* LOCK_H */
