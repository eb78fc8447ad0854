/*
 * outside.h
 *	  Files of the host that the server runs on: opened, walked and named in errors.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef OUTSIDE_H
#define OUTSIDE_H

#include "file.h"

#include <dirent.h>

#include "lib/stringinfo.h"

/* As much of a file is read or written at once. */
#define OUTSIDE_PIECE (1024 * 1024)

/* What is looked at.  It is in the heap, so that an error finds what is to be closed. */
typedef struct DbosOutside
{
	StringInfoData path;		/* of the directory, in bytes; for errors */
	int			root_length;	/* of the path of the directory that the walk began in */
	int			root;			/* that directory, if it is kept open; -1: none is, so below */
	int			directory;
	int			file;
	DIR		   *stream;
	char	   *buffer;			/* of OUTSIDE_PIECE */
	/* How far it is, told once in a while. */
	const char *doing;
	int64		files;
	int64		bytes;
	int64		files_wanted;	/* 0: not known */
	TimestampTz told;
	bool		shown;			/* where the session's command stood */
} DbosOutside;

/* A directory that is come back to. */
typedef struct DbosOutsidePlace
{
	dev_t		device;
	ino_t		inode;
	int			path_length;
} DbosOutsidePlace;

/* What is done with the directories and the rest of a walk; arg is the caller's. */
typedef struct DbosOutsideVisitor
{
	/* The directory is open; name is NULL for the first.  What the calls for what is in it are given. */
	void	   *(*enter) (void *arg, void *outer, const char *name, const struct stat *status);
	/* Anything else; type is S_IFREG and so on; memory of the call is freed after it. */
	void		(*visit) (void *arg, void *directory, const char *name, mode_t type);
	/* All that is in the directory was visited; it is open again. */
	void		(*leave) (void *arg, void *directory);
} DbosOutsideVisitor;

extern void dbos_outside_demand_read(void);
extern void dbos_outside_demand_write(void);
extern const char *dbos_outside_path(text *given);
extern DbosOutside *dbos_outside_begin(const char *doing);
extern void dbos_outside_tell(DbosOutside *outside);
extern void dbos_outside_end(DbosOutside *outside);
extern char *dbos_outside_name(const DbosOutside *outside, const char *name);
extern pg_noreturn void dbos_outside_failed(const DbosOutside *outside, const char *name, const char *what);
extern int	dbos_outside_open_at(int directory, const char *path, int flags);
extern void dbos_outside_open_directory(DbosOutside *outside, const char *path);
extern void dbos_outside_close_file(DbosOutside *outside);
extern void dbos_outside_keep_root(DbosOutside *outside);
extern DbosOutsidePlace dbos_outside_place(const DbosOutside *outside, struct stat *status);
extern bool dbos_outside_go_down(DbosOutside *outside, const char *name);
extern void dbos_outside_go_up(DbosOutside *outside, const DbosOutsidePlace *to);
extern void dbos_outside_walk(DbosOutside *outside, const DbosOutsideVisitor *visitor, void *arg);

extern int64 dbos_outside_nanoseconds(const struct timespec *time);
extern struct timespec dbos_outside_time(int64 nanoseconds);

/* ---- outside_content.c ---- */

extern void dbos_outside_take(DbosOutside *outside, const char *name, const struct stat *status, DbosInode *inode, Snapshot *snapshot);
extern void dbos_outside_give(DbosOutside *outside, const char *name, const DbosInode *inode, Snapshot snapshot);

#endif							/* OUTSIDE_H */
