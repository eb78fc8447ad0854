/*
 * visible.h
 *	  What of the file tree is shown to whom by queries; see visible.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef VISIBLE_H
#define VISIBLE_H

#include "file.h"

/* What may be done with a directory by the current user, in the session's container. */
typedef struct DbosShown
{
	bool		found;			/* its name is shown: a listing from the root comes upon it */
	bool		listed;			/* the names in it are shown */
	bool		searched;		/* and what they are names of */
} DbosShown;

extern void dbos_directory_shown(int64 directory, Snapshot snapshot, DbosShown *shown);
extern bool dbos_inode_shown(int64 number, Snapshot snapshot);
extern bool dbos_directory_path(int64 directory, Snapshot snapshot, const char **path, int *length);
extern void dbos_visible_install(void);

#endif							/* VISIBLE_H */
