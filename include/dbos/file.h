/*
 * file.h
 *	  Files: inodes, names and content, as a server of a mount and the SQL functions use them.
 *
 * A caller is in a transaction and acts as its current user, in the container of its session; each function
 * checks the rights of that user and no more.  What only reads sees what the active snapshot shows; what writes
 * sees all that is committed and all that this transaction has done, and waits for others who change
 * the same row.  So who reads after a write of his own transaction pushes a new snapshot before.
 *
 * What cannot be done is raised, with the code that stands for it: ENOENT 58P01, EEXIST 58P02, EACCES and EPERM 42501,
 * ENOTDIR DB009, EISDIR DB010, ENOTEMPTY DB011, ELOOP DB012, ENAMETOOLONG 42622, EINVAL 22023, 42602 and 42809, EBADF 42704 and 55000,
 * EFBIG 54000, ENOSPC and EDQUOT 53100, EROFS 25006, EOPNOTSUPP 0A000, EIO 58030 and XX001.  After any of them the transaction, or a
 * subtransaction around the call, has to be rolled back; after 40001 and 40P01 the same may be tried again.
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

/* ---- What a function is about ---- */

/* Of a path that ends in a symbolic link. */
typedef enum DbosFollow
{
	FOLLOW_LAST,				/* what that leads to */
	FOLLOW_NOT_LAST				/* the link itself */
} DbosFollow;

/*
 * A file, or a name that is there or is to be: by a path, by the number of an inode, by a name in the directory of that
 * number, or by a handle.  Of a path every directory on the way is checked.  A number stands for a look-up that was allowed
 * before: only the directory of a name is checked, that it may be searched.  So no SQL function takes numbers from
 * its caller.  Inodes of other containers than the session's are not there.  Names are never followed.
 */
typedef struct DbosPlace
{
	text	   *path;			/* as SQL has it, escaped (docs/files.md); NULL: it is said by what follows */
	DbosFollow	follow;			/* of the path; what makes, links, renames and removes names never follows */
	int64		handle;			/* of an open file; 0: none */
	int64		number;			/* 0: the root of the session's container */
	DbosName	name;			/* in that directory, "." and ".." too; of no length: what has the number */
} DbosPlace;

#define DBOS_PATH(given) (&(DbosPlace) {.path = (given)})

/* ---- Looking ---- */

/*
 * The inode, with the size, times and link count of now, and content in the caller's memory context.  False: it is not
 * there, nor, maybe, the directories on its way.
 */
extern bool dbos_file_find(const DbosPlace *place, DbosInode *inode);

/* What access(2) asks, of all of these at once; attributes beside the mode count too. */
#define MAY_READ 4
#define MAY_WRITE 2
#define MAY_EXECUTE 1			/* of a directory: reach what is in it */

extern bool dbos_file_allows(const DbosInode *inode, int want);

/* Target of a symbolic link, in the caller's context; its bytes are followed by a zero. */
extern DbosName dbos_file_read_link(const DbosPlace *place);

/* ---- Directories ---- */

/* A name that a scan has come to. */
typedef struct DbosDirectoryName
{
	DbosName	name;			/* its bytes live until the next */
	int64		number;			/* of its inode */
	int32		kind;			/* S_IFDIR and so on */
} DbosDirectoryName;

typedef struct DbosDirectoryScan DbosDirectoryScan;

/*
 * The names of a directory that may be read, in the order of their bytes, without dots; those after a name, which need not be there any
 * more, and with an empty one all: so who has read a part goes on where that has ended.  As the active snapshot
 * shows them, which has to remain until the end of the scan.  An error ends a scan, too.
 */
extern DbosDirectoryScan *dbos_directory_scan_begin(const DbosPlace *place, DbosName after);
extern bool dbos_directory_scan_next(DbosDirectoryScan *scan, DbosDirectoryName *name);
extern void dbos_directory_scan_end(DbosDirectoryScan *scan);

/*
 * ---- Names are made, changed and removed ----
 *
 * Each is a whole operation.  A directory in which names change has to be writable and searchable; one with the sticky bit
 * lets names go with whom the file or the directory belongs to.
 */

/*
 * Makes a regular file or a directory, as mode says: S_IFREG or S_IFDIR and bits of permission, from which nothing is
 * withheld.  58P02 when there is something.  made: NULL, or where the inode is put.
 */
extern void dbos_file_make(const DbosPlace *place, int32 mode, DbosInode *made);

/* A symbolic link to from 1 to 4,095 bytes, which are a path or are not. */
extern void dbos_file_symlink(DbosName target, const DbosPlace *place, DbosInode *made);

/* Another name of a file, not of a directory. */
extern void dbos_file_link(const DbosPlace *place, const DbosPlace *new_place);

/* With the last name goes what has it, unless it is open: then when it is closed. */
extern void dbos_file_unlink(const DbosPlace *place);

/* A directory without a name in it. */
extern void dbos_file_rmdir(const DbosPlace *place);

/* As rename(2): a file takes the place of a file, a directory that of an empty one.  flags: below, or 0. */
#define DBOS_RENAME_NO_REPLACE 0x01 /* 58P02 when the new name is there */

extern void dbos_file_rename(const DbosPlace *place, const DbosPlace *new_place, int flags);

/* ---- Attributes ---- */

/* The twelve bits of permission; the owner says. */
extern void dbos_file_chmod(const DbosPlace *place, int32 mode);

/* InvalidOid leaves what is.  The owner gives to whom he may act as, and to groups that he is in. */
extern void dbos_file_chown(const DbosPlace *place, Oid owner, Oid group);

/* In nanoseconds since 1970; NULL leaves what is.  The owner says. */
extern void dbos_file_set_times(const DbosPlace *place, const int64 *accessed, const int64 *modified);

/* Both to the time of now: who may write to the file may do this too. */
extern void dbos_file_set_times_now(const DbosPlace *place);

/* ---- Extended attributes ---- */

typedef enum DbosXattrFlags
{
	DBOS_XATTR_SET,				/* whether it is there or not */
	DBOS_XATTR_CREATE,			/* it must not be there */
	DBOS_XATTR_REPLACE			/* it must */
} DbosXattrFlags;

/* 42710 and 42704 where it is there, and is not, against the flags. */
extern void dbos_file_set_xattr(const DbosPlace *place, text *name, bytea *value, DbosXattrFlags flags);

/* In the caller's context; NULL: there is none. */
extern bytea *dbos_file_get_xattr(const DbosPlace *place, text *name);
extern void dbos_file_remove_xattr(const DbosPlace *place, text *name);

/* Calls back for each, in the order of their names, with the bytes of its value. */
extern void dbos_file_list_xattrs(const DbosPlace *place, void (*each) (void *arg, DbosName name, int size), void *arg);

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

/* Returns the handle.  mode: the bits of permission of a file that is made. */
extern int64 dbos_file_open(const DbosPlace *place, int flags, int32 mode);
extern void dbos_file_close(int64 handle);

/* Returns how many bytes there were from start on; to has room for length. */
extern int64 dbos_file_read_open(int64 handle, int64 start, char *to, int64 length);

/* Returns the size afterwards. */
extern int64 dbos_file_write_open(int64 handle, int64 start, const char *from, int64 length);

/* What dbos_file_find() finds, or 42704 when the handle is not open. */
extern void dbos_file_stat_open(int64 handle, DbosInode *inode);

/*
 * ---- Size and holes: by a handle that is open for it, or by a place of which the user has the right ----
 */

/* What is added reads as zeros, and takes no space. */
extern void dbos_file_truncate(const DbosPlace *place, int64 size);

/* Bytes that are stored, or, in a hole, are not and read as zeros. */
typedef struct DbosFilePart
{
	int64		start;
	int64		length;
	bool		hole;
} DbosFilePart;

/*
 * The part from that byte on, up to where the other kind begins, or the file ends: what lseek(2) asks by SEEK_DATA and
 * SEEK_HOLE.  False: the file ends before.  Files of up to 4,096 bytes have no holes, others in steps of 8,192, large objects of
 * 2,048 bytes.  Any handle is good enough for this.
 */
extern bool dbos_file_part(const DbosPlace *place, int64 from, DbosFilePart *part);

/* These bytes, if there are any, read as zeros; the size stays.  0A000 for large objects. */
extern void dbos_file_punch_hole(const DbosPlace *place, int64 start, int64 length);

/*
 * ---- Advisory locks of parts of files ----
 *
 * A lock belongs to a handle, or, with another owner than 0, to that owner in the session that opened the
 * handle, whichever of its handles names it: so a mount gives each process of its own its locks.  length 0 reaches
 * beyond any end.  A new lock takes the place of what the same owner had there.
 */
extern bool dbos_file_lock(int64 handle, int64 owner, bool exclusive, int64 start, int64 length, bool wait);
extern void dbos_file_unlock(int64 handle, int64 owner, int64 start, int64 length);

/* ---- The file system: what statvfs(3) asks ---- */

/* Of the session's container and those inside it; -1: no limit, or, as for all but monitors, not told. */
typedef struct DbosFileSystemUse
{
	int64		files;			/* each once however many names it has */
	int64		directories;
	int64		bytes;			/* of the files, by their sizes */
	int64		max_files;		/* files and directories, by the quota of the root */
	int64		max_bytes;
	int64		available_bytes;	/* on the disk */
} DbosFileSystemUse;

extern void dbos_file_system_use(DbosFileSystemUse *use);

extern void dbos_file_register(void);

/* For the process of bgworkers/upkeep.c: makes tables of files small again, where moves says so also by moving rows. */
extern void dbos_upkeep(bool moves);

#endif							/* DBOS_FILE_H */
