/*
 * names.h
 *	  Files are made, named, renamed and removed: each function that takes a text is a whole operation.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef NAMES_H
#define NAMES_H

#include "file.h"

/* What SQL makes is like; who makes files by the C interface says it. */
#define UMASK 0022
#define FILE_MODE (S_IFREG | (0666 & ~UMASK))
#define DIRECTORY_MODE (S_IFDIR | (0777 & ~UMASK))
#define SYMLINK_MODE (S_IFLNK | 0777)

/* How many names in a row that were to be made were new. */
typedef struct DbosNewNames
{
	int			in_a_row;
} DbosNewNames;

extern bool dbos_name_likely_new(const DbosNewNames *names);
extern void dbos_name_was_new(DbosNewNames *names, bool new);
extern void dbos_node_begin(DbosInode *inode, const DbosInode *directory, int32 mode);
extern bool dbos_node_make(DbosPath *path, int32 mode, const DbosContent *content, Snapshot *snapshot);
extern bool dbos_node_unlink(DbosPath *path, Snapshot *snapshot);
extern bool dbos_node_rmdir(DbosPath *path, Snapshot *snapshot);
extern void dbos_directory_demand_removal(const DbosPath *path);
extern void dbos_directory_demand_epoch(const DbosPath *path);
extern void dbos_directory_demand_remains(DbosPath *path);
extern void dbos_directory_drop(DbosPath *path, Snapshot *snapshot);
extern void dbos_name_await(const DbosPath *path);
extern void dbos_name_drop(int64 directory, int64 number, Snapshot *snapshot);
extern void dbos_node_free(int64 directory, DbosInode *inode, Snapshot *snapshot);
extern void dbos_remove(text *given, bool recursive);
extern const char *dbos_kind_name(int32 mode);

/* ---- what SQL functions of the tree of now and of snapshots return ---- */

#define STAT_COLUMNS 13
#define LS_COLUMNS 8

extern void dbos_stat_values(const DbosInode *inode, Datum *values, bool *nulls);
extern void dbos_ls_values(DbosName name, const DbosInode *inode, Datum *values);
extern void dbos_listing_values(const DbosEntry *entry, DbosInode *inode, Snapshot snapshot, Datum *values, bool *nulls);
extern TupleDesc dbos_result_descriptor(FunctionCallInfo fcinfo);
extern struct varlena *dbos_content_value(const DbosPath *path, NullableDatum start_argument, NullableDatum length_argument,
										  Snapshot snapshot, int32 at_epoch);
extern bool dbos_copy_to(DbosPath *from, text *new_given, Snapshot *snapshot, int32 at_epoch);

#endif							/* NAMES_H */
