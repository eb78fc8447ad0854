/*
 * quota.h
 *	  How much directories and roles may have.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef QUOTA_H
#define QUOTA_H

#include "usage.h"

#define NO_LIMIT PG_INT64_MAX

/* Of a directory, with all that is below it, or of a role: the other is 0. */
typedef struct DbosQuota
{
	int64		directory;
	Oid			role;
	int64		max_bytes;		/* NO_LIMIT: none */
	int64		max_files;
} DbosQuota;

/* What a transaction adds to a quota, and what it has, as its row says. */
typedef struct DbosQuotaUse
{
	int64		bytes;
	int64		files;			/* and directories */
} DbosQuotaUse;

enum QuotaColumn
{
	QUOTA_DIRECTORY, QUOTA_ROLE, QUOTA_MAX_BYTES, QUOTA_MAX_FILES, QUOTA_BYTES, QUOTA_FILES,
	QUOTA_COLUMNS
};

/* ---- quota.c ---- */

extern int	dbos_quotas(const DbosQuota **all);
extern int	dbos_quota_find(int64 directory, Oid role);
extern bool dbos_quota_of_directories(void);
extern List *dbos_quota_moves(void);
extern void dbos_quotas_lock(void);

/* ---- quota_sum.c ---- */

extern bool dbos_directory_is_there(int64 directory, Snapshot snapshot);
extern List *dbos_quotas_above(int64 directory, Snapshot snapshot, bool *there);
extern void dbos_quota_count(const DbosQuota *quota, DbosQuotaUse *use);
extern void dbos_quota_added(DbosQuotaUse *added, int count, List *moved);

#endif							/* QUOTA_H */
