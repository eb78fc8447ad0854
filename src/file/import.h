/*
 * import.h
 *	  Files of the host become ours: one, those of a tree, those of a batch.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef IMPORT_H
#define IMPORT_H

#include "bulk.h"
#include "outside.h"

/* A file of the host with more than one name, by device and inode. */
typedef struct DbosLinkKey
{
	uint64		device;
	uint64		inode;
} DbosLinkKey;

struct dboslinks_hash;

typedef struct DbosImport
{
	DbosOutside *outside;
	DbosBulk   *bulk;
	Snapshot	snapshot;
	bool		replace;		/* what is there and differs is replaced */
	bool		keeps_set_id;
	int64		skipped;		/* sockets, devices and pipes */
	struct dboslinks_hash *links;
	MemoryContext scratch;
	DbosBulkDirectory root;
} DbosImport;

/* An import of a tree: what its visitor is given. */
typedef struct DbosImportTree
{
	DbosImport *import;
	text	   *given;			/* the path of ours */
} DbosImportTree;

extern DbosImport *dbos_import_begin(text *host_path, bool replace);
extern void dbos_import_end(DbosImport *import);
extern void dbos_import_stop(DbosImport *import);
extern void dbos_import_root(DbosImport *import, text *path, const struct stat *status);
extern DbosBulkDirectory *dbos_import_directory(DbosImport *import, DbosBulkDirectory *outer, const char *name, const struct stat *status);
extern void dbos_import_node(DbosImport *import, DbosBulkDirectory *directory, const char *name, mode_t type);
extern void *dbos_import_enter(void *arg, void *outer, const char *name, const struct stat *status);
extern void dbos_import_leave(void *arg, void *level);
extern text *dbos_import_path(const DbosBulkDirectory *directory, DbosName name);

#endif							/* IMPORT_H */
