/*
 * host.h
 *	  What the files of the host room share.
 *
 * The kernel's files are read by plain system calls into buffers of the
 * caller's, and nothing between the open and the close can raise an error;
 * folders are opened by AllocateDir().  So no descriptor is ever left open.  What
 * cannot be read is NULL.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_HOST_INTERNAL_H
#define DBOS_HOST_INTERNAL_H

#include "postgres.h"

#include <dirent.h>

#include "fmgr.h"
#include "funcapi.h"

#include "dbos/host.h"
#include "dbos/kernel.h"

/* A file of /proc about one process or thread fits into this; longer ones are cut. */
#define DBOS_HOST_BUFFER 4096

/* ---- proc_file.c ---- */
extern ssize_t dbos_host_read(int folder, const char *path, char *buffer, size_t size);
extern char *dbos_host_read_all(const char *path);
extern ssize_t dbos_host_read_link(const char *path, char *buffer, size_t size);
extern Datum dbos_host_text(const char *bytes, size_t length);
extern char *dbos_host_next_field(char **at);
extern char *dbos_host_next_line(char **at);
extern int *dbos_host_numbers_in(const char *path, DIR **stream, int *count);

/* Whether the caller may see what belongs to other users of the machine. */
extern bool dbos_host_sees_others(void);

/* Whether the session is in the root container, where the machine as a whole is seen. */
extern bool dbos_host_in_root(void);

/* ---- processes.c ---- */

/* One line of /proc/PID/stat or /proc/PID/task/TID/stat. */
typedef struct DbosProcessStat
{
	char	   *name;			/* in the line that was parsed, NUL-terminated */
	char		state;
	int32		parent;
	int32		group;
	int64		user_ticks;
	int64		system_ticks;
	int32		nice;
	int32		threads;
	int64		start_ticks;	/* since boot */
	int64		total_bytes;
	int64		resident_bytes;
	int32		processor;
} DbosProcessStat;

extern bool dbos_host_parse_stat(char *line, ssize_t length, DbosProcessStat *stat);
extern int64 dbos_host_milliseconds(int64 ticks);
extern int64 dbos_host_start_time(int64 start_ticks);

#endif							/* DBOS_HOST_INTERNAL_H */
