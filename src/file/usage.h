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

extern void dbos_usage_pending(void (*each) (void *arg, const DbosUsage *change), void *arg);

#endif							/* USAGE_H */
