/*
 * file.h
 *	  Files: inodes, names and content, as a server of a mount and the SQL functions use them.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_FILE_H
#define DBOS_FILE_H

#include "postgres.h"

#include "storage/itemptr.h"
#include "utils/snapshot.h"

/* Names of at most that many bytes. */
#define DBOS_NAME_MAX 255

/* Bytes that are no text: anything but zero bytes and slashes. */
typedef struct DbosName
{
	const char *bytes;
	int			length;
} DbosName;

/* A file, directory or symbolic link, as it is in its row. */
typedef struct DbosInode
{
	int64		number;
	int32		died;			/* from that epoch on the row is no more valid */
	int32		born;			/* from that one on it is */
	int32		file_system;
	int32		mode;			/* as of stat(2) */
	Oid			owner;
	Oid			group;
	int32		links;
	int64		size;
	int64		created;		/* nanoseconds since 1970, as the three below */
	int64		modified;
	int64		changed;
	int64		accessed;
	char		storage;		/* of a directory: of what is created in it */
	Oid			large_object;
	bool		checksum_known;
	uint32		checksum;		/* CRC-32C of the content */
	const char *content;		/* what is stored in the row: content, or target of a symbolic link */
	int			content_length;
	ItemPointerData tid;
} DbosInode;

/*
 * ---- Attributes: rights are checked, and what is denied raises 42501 ----
 *
 * Paths are followed through symbolic links.  In chown InvalidOid, and in set_times NULL, leaves what is.
 */
extern void dbos_file_chmod(text *path, int32 mode);
extern void dbos_file_chown(text *path, Oid owner, Oid group);
extern void dbos_file_set_times(text *path, const int64 *accessed, const int64 *modified);

/* ---- Extended attributes ---- */

typedef enum DbosXattrFlags
{
	DBOS_XATTR_SET,				/* whether it is there or not */
	DBOS_XATTR_CREATE,			/* it must not be there */
	DBOS_XATTR_REPLACE			/* it must */
} DbosXattrFlags;

extern void dbos_file_set_xattr(text *path, text *name, bytea *value, DbosXattrFlags flags);
extern bytea *dbos_file_get_xattr(text *path, text *name);
extern void dbos_file_remove_xattr(text *path, text *name);

/*
 * ---- Open files ----
 *
 * Rights are checked when a file is opened.  A handle is used by the role that has opened it, and those who have
 * its privileges; any other is told that it is not open.  It is closed when the session that opened it ends.
 */
#define DBOS_OPEN_READ		0x01
#define DBOS_OPEN_WRITE		0x02
#define DBOS_OPEN_APPEND	0x04	/* what is written goes to the end, wherever that is */
#define DBOS_OPEN_CREATE	0x08	/* when there is none */
#define DBOS_OPEN_EXCLUSIVE	0x10	/* there must be none */
#define DBOS_OPEN_TRUNCATE	0x20

extern int64 dbos_file_open(text *path, int flags);
extern void dbos_file_close(int64 handle);
extern int64 dbos_file_read_open(int64 handle, int64 start, char *to, int64 length);
extern int64 dbos_file_write_open(int64 handle, int64 start, const char *from, int64 length);
extern void dbos_file_truncate_open(int64 handle, int64 size);
extern void dbos_file_stat_open(int64 handle, DbosInode *inode);

/*
 * ---- Advisory locks of parts of files ----
 *
 * A lock belongs to a handle, or, with another owner than 0, to that owner in the session that opened the
 * handle, whichever of its handles names it: so a mount gives each process of its own its locks.  length 0 reaches
 * beyond any end.  A new lock takes the place of what the same owner had there.
 */
extern bool dbos_file_lock(int64 handle, int64 owner, bool exclusive, int64 start, int64 length, bool wait);
extern void dbos_file_unlock(int64 handle, int64 owner, int64 start, int64 length);

extern void dbos_file_register(void);

/* For the process of bgworkers/upkeep.c: makes tables of files small again, where moves says so also by moving rows. */
extern void dbos_upkeep(bool moves);

#endif							/* DBOS_FILE_H */
