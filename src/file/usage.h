/*
 * usage.h
 *	  Columns of dbos.directory_change and dbos.directory_usage, and what is not in them yet.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef USAGE_H
#define USAGE_H

#include "file.h"

enum UsageColumn
{
	USAGE_DIRECTORY, USAGE_OWNER, USAGE_NAMES, USAGE_DIRECTORIES, USAGE_BYTES, USAGE_FILES, USAGE_FILE_BYTES, USAGE_MODIFIED,
	USAGE_COLUMNS
};

extern void dbos_usage_sum(DbosUsage *to, const DbosUsage *change);
extern void dbos_usage_values(const DbosUsage *usage, Datum *values);
extern void dbos_usage_fill(DbosTable *table, DbosUsage *usage);
extern void dbos_usage_rows(int64 directory, Snapshot snapshot, void (*each) (void *arg, const DbosUsage *row), void *arg);
extern void dbos_usage_pending(void (*each) (void *arg, const DbosUsage *change), void *arg);

/* ---- usage_charge.c ---- */

extern void dbos_usage_charge_name(int64 directory, const DbosInode *inode, int sign);
extern void dbos_usage_charge_inode(int64 directory, const DbosInode *inode, int sign);
extern void dbos_usage_charge(const DbosInode *inode, int64 bytes);
extern void dbos_usage_hand_over(const DbosInode *inode, Oid from);

/* ---- usage_fold.c ---- */

extern int	dbos_usage_fold(int limit, bool wait);
extern void dbos_fold_want(int rows);
extern void dbos_fold_duty_register(void);

#endif							/* USAGE_H */
