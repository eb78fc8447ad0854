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

extern void dbos_file_register(void);

#endif							/* DBOS_FILE_H */
