/*
 * file.h
 *	  What the files of the file room share; what others may call is in include/dbos/file.h.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef FILE_H
#define FILE_H

#include "postgres.h"

#include <sys/stat.h>

#include "access/genam.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "fmgr.h"

#include "dbos/file.h"
#include "dbos/kernel.h"

/* ---- table.c: our tables, by heap and index, without the executor ---- */

typedef enum DbosTableName
{
	TABLE_FILE_SYSTEM,
	TABLE_INODE,
	TABLE_ENTRY,
	TABLE_EXTENT,
	TABLE_CHUNK,
	TABLE_CHUNK_TAIL,
	TABLE_XATTR,
	TABLE_SNAPSHOT,
	TABLE_CHANGE,
	TABLE_USAGE,
	TABLE_QUOTA,
	TABLE_FREED,
	TABLE_OPEN_FILE,
	TABLE_UNLINKED,
	TABLE_LOCK
} DbosTableName;

typedef struct DbosTableShape DbosTableShape;

typedef struct DbosTable
{
	const DbosTableShape *shape;
	Relation	heap;
	TupleTableSlot *slot;		/* the row that was found last */
	ItemPointerData at;			/* where the row is that was inserted or updated last */
	bool		alone;			/* whether it is the only one with its key */
} DbosTable;

typedef struct DbosTableScan
{
	DbosTable  *table;
	Relation	index;
	IndexScanDesc scan;
	ScanKeyData keys[3];
} DbosTableScan;

typedef enum DbosUnique
{
	UNIQUE_RAISE,				/* somebody else's row with that key is an error */
	UNIQUE_TELL					/* it is told, and our row is gone again */
} DbosUnique;

extern void dbos_table_open(DbosTable *table, DbosTableName name, LOCKMODE lock);
extern void dbos_table_close(DbosTable *table);

/* Rows whose first columns in that index are these; of the last of them those that are at least that. */
extern void dbos_scan_begin(DbosTableScan *scan, DbosTable *table, int index, Snapshot snapshot,
							const Datum *key, int nkeys, bool last_at_least);
extern bool dbos_scan_next(DbosTableScan *scan);
extern TransactionId dbos_scan_ender(DbosTableScan *scan);
extern bool dbos_scan_previous(DbosTableScan *scan);
extern void dbos_scan_end(DbosTableScan *scan);
extern bool dbos_table_find(DbosTable *table, int index, Snapshot snapshot, const Datum *key, int nkeys);
extern bool dbos_table_find_from(DbosTable *table, int index, Snapshot snapshot, const Datum *key, int nkeys);

extern bool dbos_table_insert(DbosTable *table, const Datum *values, const bool *nulls, DbosUnique unique);
extern void dbos_table_make_room(DbosTable *table, Size bytes, int rows);	/* extend.c */
extern void dbos_table_insert_many(DbosTable *table, TupleTableSlot **slots, int count);
extern void dbos_table_insert_rows(DbosTable *table, const Datum *values, const bool *nulls, int count);

typedef enum DbosUpdate
{
	UPDATE,						/* no column of a unique key changes */
	UPDATE_KEY,					/* one does; somebody else's row with the new key is an error */
	UPDATE_KEY_TELL,			/* one does; somebody else's row with the new key is told in alone */
	UPDATE_BACK,				/* to the key that it had before the last update */
	UPDATE_IF_FREE				/* as the first, unless somebody else has the row locked */
} DbosUpdate;

/* False: somebody else has changed or deleted the row, or has it locked. */
extern bool dbos_table_update(DbosTable *table, ItemPointer tid, const Datum *values, const bool *nulls,
							  Snapshot snapshot, DbosUpdate how);
extern bool dbos_table_delete(DbosTable *table, ItemPointer tid, Snapshot snapshot);
extern bool dbos_table_lock(DbosTable *table, ItemPointer tid, Snapshot snapshot);
extern bool dbos_table_hold(DbosTable *table, ItemPointer tid, Snapshot snapshot);
extern int	dbos_table_ended_index(const DbosTable *table);
extern int32 dbos_table_died(DbosTable *table);
extern Datum dbos_column(DbosTable *table, int column);	/* of the slot; not for nulls */

/* ---- view.c: the snapshot by which an operation reads ---- */

/*
 * A function that writes sees all that its transaction has done, and, unless the
 * isolation level says otherwise, all that has been committed by now.  A function that
 * only reads sees what its statement sees.
 */
extern Snapshot dbos_view_begin(void);
extern Snapshot dbos_view_renew(void);
extern void dbos_view_end(void);
extern void dbos_changed(void); /* what was written is seen from here on */

/* After a row was found changed by somebody else. */
extern void dbos_conflict(void);

/* ---- epoch.c: from which snapshot on a row is valid ---- */

#define FOREVER PG_INT32_MAX

typedef enum DbosWhichSnapshot
{
	ANY_SNAPSHOT,				/* also one that is being taken, or dropped */
	BEING_TAKEN		/* by somebody else */
} DbosWhichSnapshot;

typedef enum SnapshotColumn
{
	SNAPSHOT_NAME, SNAPSHOT_EPOCH, SNAPSHOT_ROOT, SNAPSHOT_CONTAINER, SNAPSHOT_OWNER, SNAPSHOT_CREATED_AT, SNAPSHOT_PATH
} SnapshotColumn;

extern int32 dbos_epoch(void);
extern int32 dbos_epoch_last(void);
extern bool dbos_epoch_is_last(void);
extern bool dbos_snapshot_between(int32 born, int32 died, DbosWhichSnapshot which);
extern bool dbos_seen_by_snapshot(int32 born, int32 died);
extern void dbos_epoch_end(int32 epoch);
extern void dbos_epoch_wait(int32 epoch);
extern pg_noreturn void dbos_epoch_passed(void);

/* ---- inode.c ---- */

typedef enum InodeColumn
{
	INODE_NUMBER, INODE_DIED, INODE_BORN, INODE_FILE_SYSTEM, INODE_MODE, INODE_OWNER, INODE_GROUP, INODE_LINKS,
	INODE_SIZE, INODE_CREATED, INODE_MODIFIED, INODE_CHANGED, INODE_ACCESSED, INODE_STORAGE,
	INODE_SIZE_CLASS, INODE_LARGE_OBJECT, INODE_CHECKSUM, INODE_CONTENT,
	INODE_COLUMNS
} InodeColumn;

/* The root of the root container, made by the install script. */
#define DBOS_ROOT_INODE 1

#define STORAGE_INLINE 'i'
#define STORAGE_CHUNK 'c'
#define STORAGE_LARGE_OBJECT 'l'	/* made with the file */
#define STORAGE_ADOPTED 'a'		/* a large object too, that was there before */

/* As long as a row with that much takes half a page or less, or has one to itself. */
#define INLINE_MAX 4096

/* Files of that size and more are in an index, by the class of their size. */
#define SIZE_CLASS_BITS 20
#define SIZE_CLASS_UNKNOWN 127	/* it may have any size */

extern int16 dbos_size_class(int64 size);

/* In the mode beside what stat(2) has there: the inode may have extended attributes. */
#define INODE_HAS_XATTRS 0x10000

extern bool dbos_inode_read(int64 number, Snapshot snapshot, int32 at_epoch, DbosInode *inode);
extern void dbos_inode_fill(DbosTable *table, DbosInode *inode);
extern int64 dbos_inode_number(void);
extern void dbos_inode_insert(DbosInode *inode);
extern void dbos_inodes_insert(DbosInode *inodes, int count);
extern bool dbos_inode_update(DbosInode *inode, Snapshot snapshot);
extern bool dbos_inode_delete(DbosInode *inode, Snapshot snapshot);
extern bool dbos_inode_touch(DbosInode *inode, Snapshot snapshot);
extern bool dbos_inode_lock(DbosInode *inode, Snapshot snapshot);
extern bool dbos_inode_hold(DbosInode *inode, Snapshot snapshot);
extern bool dbos_inode_remains(int64 number);
extern int64 dbos_file_now(void);
extern TimestampTz dbos_file_timestamp(int64 nanoseconds);
extern int64 dbos_file_nanoseconds(TimestampTz at);
extern void dbos_directory_complete(DbosInode *directory, Snapshot snapshot);

/* ---- accessed.c ---- */

extern void dbos_file_accessed(const DbosInode *inode);
extern void dbos_accessed_install(void);

/* ---- xattr.c ---- */

extern bytea *dbos_xattr_read(const DbosInode *inode, DbosName name, Snapshot snapshot, int32 at_epoch);
extern void dbos_xattrs_drop(const DbosInode *inode, Snapshot snapshot);

/* ---- entry.c ---- */

typedef enum EntryColumn
{
	ENTRY_PARENT, ENTRY_CHILD, ENTRY_DIED, ENTRY_BORN, ENTRY_KIND, ENTRY_NAME,
	ENTRY_COLUMNS
} EntryColumn;

typedef struct DbosEntry
{
	int64		parent;
	int64		child;
	int32		died;
	int32		born;
	int32		kind;			/* S_IFMT of the child's mode, shifted by 12 */
	DbosName	name;
	ItemPointerData tid;
} DbosEntry;

typedef struct DbosEntryScan
{
	DbosTable	table;
	DbosTableScan scan;
	int32		at_epoch;
} DbosEntryScan;

extern void dbos_entry_fill(DbosTable *table, DbosEntry *entry);
extern bool dbos_entry_find(int64 parent, DbosName name, Snapshot snapshot, int32 at_epoch, DbosEntry *entry);
extern bool dbos_entry_insert(DbosEntry *entry);
extern void dbos_entries_insert(DbosEntry *entries, int count);

typedef enum DbosMove
{
	MOVE_DONE,
	MOVE_CHANGED,				/* the entry was changed since it was read */
	MOVE_TAKEN					/* somebody else has the new name, or is about to make it; nothing is done */
} DbosMove;

extern DbosMove dbos_entry_move(DbosEntry *entry, int64 parent, DbosName name, Snapshot snapshot);
extern bool dbos_entry_delete(DbosEntry *entry, Snapshot snapshot);
extern bool dbos_entry_await(int64 parent, DbosName name);
extern bool dbos_directory_used(int64 directory);
extern void dbos_entry_scan_begin(DbosEntryScan *scan, int64 parent, Snapshot snapshot, int32 at_epoch);
extern void dbos_directories_scan_begin(DbosEntryScan *scan, int64 parent, Snapshot snapshot, int32 at_epoch);
extern void dbos_entry_scan_begin_from(DbosEntryScan *scan, int64 parent, DbosName name, Snapshot snapshot, int32 at_epoch);
extern void dbos_parents_scan_begin(DbosEntryScan *scan, int64 child, Snapshot snapshot, int32 at_epoch);
extern bool dbos_entry_scan_next(DbosEntryScan *scan, DbosEntry *entry);
extern void dbos_entry_scan_end(DbosEntryScan *scan);
extern text *dbos_entry_first_name(int64 child, Snapshot snapshot, int32 at_epoch, int64 *parent);

/* ---- usage.c: what is in a directory, of whom, by differences that commits add ---- */

typedef struct DbosUsage
{
	int64		directory;
	Oid			owner;
	int64		names;			/* in the directory, but for those of directories */
	int64		directories;	/* in the directory */
	int64		bytes;			/* of what the names are of */
	int64		files;			/* of the owner, each once however many names it has; no directories */
	int64		file_bytes;		/* of those */
	int64		modified;		/* when the directory was, in nanoseconds; 0: it was not */
} DbosUsage;

extern void dbos_usage_add(const DbosUsage *change);
extern void dbos_usage_of(int64 directory, Snapshot snapshot, DbosUsage *sum);
extern void dbos_usage_inherit(int64 directory, int64 parent);
extern void dbos_usage_inherit_all(int64 *directories, int count, int64 heir);
extern void dbos_usage_install(void);

/* ---- quota.c: how much a directory or a role may have ---- */

extern void dbos_quota_note(const DbosUsage *change);
extern void dbos_quota_moved(int64 directory);
extern void dbos_quota_removed(int64 directory);
extern void dbos_quota_settle(void);
extern void dbos_quota_install(void);

/* ---- storage.c: where content is ---- */

/*
 * One of the ways to keep content.  A file that is written to has its row locked by the
 * writer, and the inode here is what the row will be: size and storage are set by who calls.
 */
typedef struct DbosStorage
{
	char		code;
	const char *name;
	/* All of [start, start + length) lies within the size. */
	void		(*read) (const DbosInode *inode, int64 start, char *to, int64 length, Snapshot snapshot, int32 at_epoch);
	/* old_size: the size before; what lies between it and start reads as zeros. */
	void		(*write) (DbosInode *inode, int64 old_size, int64 start, const char *from, int64 length, Snapshot snapshot);
	void		(*truncate) (DbosInode *inode, int64 old_size, int64 size, Snapshot snapshot);
	/* The first bytes [start, end) that are stored at from or after it, maybe beyond the size; false: there are none. */
	bool		(*data) (const DbosInode *inode, int64 from, int64 *start, int64 *end, Snapshot snapshot);
	/* [start, end), within the size, reads as zeros, and takes no space where that can be.  NULL: it cannot. */
	void		(*punch) (DbosInode *inode, int64 start, int64 end, Snapshot *snapshot);
	/*
	 * The content that the one has in that epoch becomes that of the other too; the row of the one, if it is
	 * there still, is locked.  NULL: the bytes have to be copied.
	 */
	void		(*share) (DbosInode *from, DbosInode *to, Snapshot snapshot, int32 at_epoch);
	void		(*free) (DbosInode *inode, Snapshot snapshot);
	/* Reports what is wrong with the content itself; returns its CRC-32C, if that of the inode is known. */
	uint32		(*scrub) (const DbosInode *inode, Snapshot snapshot, void (*report) (void *arg, const char *problem), void *arg);
} DbosStorage;

extern const DbosStorage dbos_storage_inline;
extern const DbosStorage dbos_storage_chunk;
extern const DbosStorage dbos_storage_large_object;
extern const DbosStorage dbos_storage_adopted;
extern const DbosStorage *dbos_storage_of(const DbosInode *inode);

/* What tells or needs the size of a file asks for it here; snapshot: NULL: as it is now. */
extern int64 dbos_inode_size(const DbosInode *inode, Snapshot snapshot);
extern void dbos_large_object_storage_install(void);

/* ---- large_object.c: large objects as content ---- */

static inline bool
dbos_is_large_object(const DbosInode *inode)
{
	return inode->storage == STORAGE_ADOPTED || (inode->storage == STORAGE_LARGE_OBJECT && S_ISREG(inode->mode));
}

extern Oid	dbos_large_object_owner(Oid object);
extern bool dbos_large_object_allows(const DbosInode *inode, int want);
extern Oid	dbos_large_object_make(void);
extern void dbos_large_object_hand_over(const DbosInode *inode, Oid from);
extern void dbos_large_object_install(void);

/* ---- checksum.c ---- */

extern uint32 dbos_checksum(uint32 checksum, const char *bytes, int64 length);

/* ---- reuse.c ---- */

extern void dbos_page_emptied(Relation relation, BlockNumber block);
extern bool dbos_pages_left(void);
extern void dbos_pages_reclaim(Relation relation, int wanted);

/* ---- chunk.c: pieces of content, each with its checksum ---- */

#define CHUNK_BYTES 8192		/* of content */
#define CHUNKS_AT_ONCE 1024		/* the most that an extent has */

extern int64 dbos_chunk_allocate(int wanted, int *got);
extern void dbos_chunks_insert(int64 first, const char *content, int64 length);
extern void dbos_chunk_update(int64 chunk, const char *content, int length, Snapshot snapshot);
extern int	dbos_chunks_delete(int64 first, int count, Snapshot snapshot);
extern void dbos_chunks_read(int64 first, int count, int64 skip, char *to, int64 length, Snapshot snapshot);
extern void dbos_chunks_visit(int64 first, int count, Snapshot snapshot, char *to, int64 limit,
							  void (*each) (void *arg, int number, const char *content, int length, const char *problem), void *arg);

/* ---- extent.c: which chunks a file has ---- */

typedef enum ExtentColumn
{
	EXTENT_INODE, EXTENT_DIED, EXTENT_BORN, EXTENT_START, EXTENT_CHUNK, EXTENT_COUNT, EXTENT_WRITTEN, EXTENT_SHARED,
	EXTENT_COLUMNS
} ExtentColumn;

typedef struct DbosExtent
{
	int64		inode;
	int32		died;
	int32		born;
	int64		start;			/* number of the first chunk within the file */
	int64		chunk;			/* its id; those after it are the next */
	int32		count;
	int32		written;		/* epoch in which the chunks were */
	bool		shared;			/* with a copy: the chunks do not change any more */
	ItemPointerData tid;
} DbosExtent;

typedef struct DbosExtentScan
{
	DbosTable	table;
	DbosTableScan scan;
	int32		at_epoch;
	int64		start;
	int64		end;
	bool		live;
} DbosExtentScan;

extern void dbos_extent_scan_begin(DbosExtentScan *scan, int64 inode, int64 start, int64 end, Snapshot snapshot, int32 at_epoch);
extern bool dbos_extent_scan_next(DbosExtentScan *scan, DbosExtent *extent);
extern void dbos_extent_scan_end(DbosExtentScan *scan);
extern void dbos_extent_insert(const DbosExtent *extent);
extern void dbos_extent_update(DbosExtent *extent, Snapshot snapshot);
extern bool dbos_extent_private(const DbosExtent *extent);
extern void dbos_extent_note_freed(int64 chunk, int count);
extern void dbos_extent_cut(DbosExtent *extent, int64 start, int64 end, Snapshot snapshot);

/* ---- name.c: names are bytes; text where it can be ---- */

#define DBOS_NAME_ESCAPE_LENGTH 4

extern bool dbos_name_escape_at(const char *at, const char *end, unsigned char *byte);
extern text *dbos_name_text(DbosName name);
extern DbosName dbos_path_bytes(text *path);

/* ---- path.c ---- */

typedef struct DbosPath
{
	text	   *given;
	DbosInode	directory;		/* the one that the last component is in */
	DbosName	name;			/* the last component; empty: the path is the root, or ends in a dot */
	bool		must_be_directory;	/* the path ends in a slash */
	bool		unknown;		/* whether it is there was not asked: found is false */
	bool		found;
	DbosEntry	entry;
	DbosInode	inode;
} DbosPath;

extern void dbos_path_find(text *given, DbosFollow follow, Snapshot snapshot, DbosPath *path);
extern bool dbos_path_look(text *given, DbosFollow follow, Snapshot snapshot, DbosPath *path);
extern void dbos_path_find_name(text *given, Snapshot snapshot, DbosPath *path);
extern void dbos_path_find_directory(text *given, Snapshot snapshot, DbosPath *path);
extern void dbos_path_require(text *given, DbosFollow follow, Snapshot snapshot, DbosPath *path);
extern void dbos_path_find_from(text *given, DbosFollow follow, Snapshot snapshot, int32 at_epoch, const DbosInode *root, DbosPath *path);
extern Snapshot dbos_root_make(Snapshot snapshot);
extern void dbos_root_read(Snapshot snapshot, int32 at_epoch, DbosInode *root);
extern text *dbos_path_at(int64 inode, Snapshot snapshot, int32 at_epoch);
extern text *dbos_path_of(int64 inode, Snapshot snapshot);
extern text *dbos_whole_path(int64 inode, Snapshot snapshot);

/* ---- place.c: by path, number and name, or handle ---- */

extern void dbos_place_find(const DbosPlace *place, DbosFollow follow, Snapshot snapshot, DbosPath *path);
extern void dbos_place_require(const DbosPlace *place, DbosFollow follow, Snapshot snapshot, DbosPath *path);
extern DbosName dbos_link_target(const DbosPath *path);

/* open_file.c: that content may be read or written: by a handle as it was opened, else by the rights of now */
extern void dbos_place_demand(const DbosPlace *place, const DbosPath *path, int flag, Snapshot snapshot);

/* ---- file_system.c: the roots of containers ---- */

extern void dbos_file_system_register(void);

/* ---- directory_cache.c ---- */

extern void dbos_directories_changed(void);
extern bool dbos_directory_recall(const char *path, int length, Snapshot snapshot, DbosInode *directory);
extern void dbos_directory_remember(const char *path, int length, Snapshot snapshot, const DbosInode *directory);
extern void dbos_directory_deleted(void);
extern bool dbos_directory_remains(int64 number);
extern void dbos_directory_cache_install(void);

/* ---- access.c ---- */

extern bool dbos_file_superuser(void);
extern bool dbos_file_owned(const DbosInode *inode);
extern void dbos_file_demand(const DbosInode *inode, int want, text *path);
extern bool dbos_directory_allows_change(const DbosInode *directory, const DbosInode *child);
extern void dbos_directory_demand_change(const DbosInode *directory, const DbosInode *child, text *path);

/* ---- errors.c ---- */

extern pg_noreturn void dbos_no_such_file(text *path);
extern pg_noreturn void dbos_file_exists(text *path);
extern pg_noreturn void dbos_not_a_directory(text *path);
extern pg_noreturn void dbos_is_a_directory(text *path);
extern pg_noreturn void dbos_not_empty(text *path);
extern pg_noreturn void dbos_too_many_links(text *path);
extern pg_noreturn void dbos_file_denied(text *path);
extern pg_noreturn void dbos_not_a_file(text *path);

/* ---- content.c: what is in a file ---- */

/* How content is written. */
typedef enum DbosWrite
{
	WRITE_AT,					/* at a place; what lies before it and was not there is a hole */
	WRITE_APPEND,
	WRITE_REPLACE				/* nothing else is in the file afterwards */
} DbosWrite;

typedef struct DbosContent
{
	DbosWrite	how;
	int64		start;			/* with WRITE_AT */
	const char *bytes;
	int64		length;
	Oid			adopted;		/* of a new file: this large object is the content, and nothing is written */
} DbosContent;

extern void dbos_content_read(const DbosInode *inode, int64 start, char *to, int64 length, Snapshot snapshot, int32 at_epoch);
extern bool dbos_content_written(const DbosContent *content, bool done);
extern void dbos_content_begin(DbosInode *inode, const DbosContent *content);
extern bool dbos_content_write(DbosInode *inode, const DbosContent *content, Snapshot *snapshot);
extern bool dbos_content_truncate(DbosInode *inode, int64 size, Snapshot *snapshot);
extern bool dbos_content_punch(DbosInode *inode, int64 start, int64 end, Snapshot *snapshot);
extern void dbos_content_check_size(int64 size);

/* ---- content_copy.c ---- */

extern void dbos_content_copy(const DbosInode *from, int32 at_epoch, DbosInode *to, Snapshot *snapshot);

#endif							/* FILE_H */
