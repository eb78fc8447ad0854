/*
 * walk.h
 *	  Through a tree of files, depth first; see walk.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef WALK_H
#define WALK_H

#include "lib/stringinfo.h"

#include "file.h"

/* A directory that the walk is in. */
typedef struct DbosWalkLevel
{
	int64		directory;
	int			path_length;	/* of its path; 0: the root */
	bool		begun;
	int			last_length;	/* of the name that was found last */
	char		last[DBOS_NAME_MAX];
	/* What is looked at; set by who enters the directory. */
	DbosName	prefix;			/* names that begin so */
	DbosName   *names;			/* if not NULL, these names, in the order of their bytes, and the directory is not listed */
	int			nnames;
	int			next_name;
} DbosWalkLevel;

typedef struct DbosWalk
{
	Snapshot	snapshot;
	bool		only_directories;	/* by an index that has just those; to be set before the first is entered */
	DbosTable	entries;
	DbosTable	inodes;
	DbosTableScan scan;			/* of the innermost directory */
	bool		scanning;
	DbosWalkLevel *levels;
	int			depth;			/* of the directory whose name was found last; it is the innermost: levels[depth - 1] */
	int			room;
	MemoryContext row;			/* reset with each name */
	/* What was found last, and what was read of it. */
	DbosEntry	entry;
	DbosInode	inode;
	StringInfoData path;
	union
	{
		bytea		datum;
		char		bytes[VARHDRSZ + DBOS_NAME_MAX];
	}			key;
} DbosWalk;

extern void dbos_walk_begin(DbosWalk *walk, const char *path, int path_length, Snapshot snapshot);
extern bool dbos_walk_next(DbosWalk *walk);
extern bool dbos_walk_read(DbosWalk *walk);
extern DbosWalkLevel *dbos_walk_enter(DbosWalk *walk, int64 directory);
extern void dbos_walk_end(DbosWalk *walk);

#endif							/* WALK_H */
