/*
 * compat.h
 *	  The only place that knows PG_VERSION_NUM.
 *
 * Code is written to the newest API; older servers get a typed shim here, with
 * a note that says when it can go.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_COMPAT_H
#define DBOS_COMPAT_H

#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#include "common/relpath.h"
#include "executor/executor.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/pquery.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "dbos needs PostgreSQL 15 or later"
#endif

/* PostgreSQL 17 renamed the wait class's base constant; goes with 16. */
#ifndef PG_WAIT_EXTENSION
#define PG_WAIT_EXTENSION 0x07000000U
#endif

/* PostgreSQL 18 made pg_attribute_noreturn() a word in front of the declaration.  Goes with 17. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn __attribute__((noreturn))
#endif

#if PG_VERSION_NUM < 170000
/* GetNamedDSMSegment() is new in 17; before, memory comes from the main segment's slack. */
#define DBOS_HAVE_DSM_REGISTRY 0

/* PostgreSQL 17 counts backends by ProcNumber; before, by pgprocno.  Goes with 16. */
static inline int
dbos_my_proc_number(void)
{
	return MyProc->pgprocno;
}
#else
#define DBOS_HAVE_DSM_REGISTRY 1

static inline int
dbos_my_proc_number(void)
{
	return MyProcNumber;
}
#endif

#if PG_VERSION_NUM < 170000
/* RestrictSearchPath() is new in 17.  Goes with 16. */
static inline void
RestrictSearchPath(void)
{
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}
#endif

#if PG_VERSION_NUM < 170000
/* PostgreSQL 17 added the parameter "flush", and so a word to the names.  Goes with 16. */
#define F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_TEXT_BOOL F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_TEXT
#define F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_BYTEA_BOOL F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_BYTEA
#endif

/*
 * A process of ours has no client who waits: what the server or a role says of the
 * length of transactions would end it, and count as a crash of the task that it
 * runs.  statement_timeout is not armed in background workers; PostgreSQL 17's
 * transaction_timeout is.  What a task sets itself still holds.  Goes with 16.
 */
static inline void
dbos_no_transaction_timeout(void)
{
#if PG_VERSION_NUM >= 170000
	SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
#endif
}

/* PostgreSQL 16 added onlySummarizing.  Goes with 15. */
static inline void
dbos_insert_index_tuples(ResultRelInfo *info, TupleTableSlot *slot, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	(void) ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL, false);
#else
	(void) ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL);
#endif
}

/* PostgreSQL 16 made one object_aclcheck() of many.  Goes with 15. */
static inline AclResult
dbos_database_acl_check(Oid database, Oid role, AclMode mode)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(DatabaseRelationId, database, role, mode);
#else
	return pg_database_aclcheck(database, role, mode);
#endif
}

static inline bool
dbos_database_owned(Oid database, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, database, role);
#else
	return pg_database_ownercheck(database, role);
#endif
}

static inline bool
dbos_function_owned(Oid function, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(ProcedureRelationId, function, role);
#else
	return pg_proc_ownercheck(function, role);
#endif
}

static inline bool
dbos_relation_owned(Oid relation, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(RelationRelationId, relation, role);
#else
	return pg_class_ownercheck(relation, role);
#endif
}

/* PostgreSQL 18 dropped run_once.  Goes with 17. */
static inline bool
dbos_portal_run(Portal portal, DestReceiver *receiver, QueryCompletion *completion)
{
#if PG_VERSION_NUM >= 180000
	return PortalRun(portal, FETCH_ALL, true, receiver, receiver, completion);
#else
	return PortalRun(portal, FETCH_ALL, true, true, receiver, receiver, completion);
#endif
}

/* PostgreSQL 16 lets a membership be granted WITH SET FALSE.  Goes with 15. */
static inline bool
dbos_may_set_role(Oid member, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return member_can_set_role(member, role);
#else
	return is_member_of_role(member, role);
#endif
}

/* PostgreSQL 18 counts what a scan does.  Goes with 17. */
static inline IndexScanDesc
dbos_index_beginscan(Relation heap, Relation index, Snapshot snapshot, int keys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, keys, 0);
#else
	return index_beginscan(heap, index, snapshot, keys, 0);
#endif
}

/* PostgreSQL 17 asks whether a stronger lock counts too.  Goes with 16. */
static inline bool
dbos_lock_held_by_me(const LOCKTAG *tag, LOCKMODE mode)
{
#if PG_VERSION_NUM >= 170000
	return LockHeldByMe(tag, mode, false);
#else
	return LockHeldByMe(tag, mode);
#endif
}

/* PostgreSQL 16 renamed it.  Goes with 15. */
static inline LocalPgBackendStatus *
dbos_backend_status(int number)
{
#if PG_VERSION_NUM >= 160000
	return pgstat_get_local_beentry_by_index(number);
#else
	return pgstat_fetch_stat_local_beentry(number);
#endif
}

/* PostgreSQL 16 says which indexes an update concerns.  Goes with 15. */
static inline TM_Result
dbos_tuple_update(Relation relation, ItemPointer tid, TupleTableSlot *slot, CommandId command,
				  Snapshot snapshot, bool wait, bool *moved)
{
	TM_FailureData failure;
	LockTupleMode mode;
	TM_Result	result;
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes update;

	result = table_tuple_update(relation, tid, slot, command, snapshot, InvalidSnapshot, wait, &failure, &mode, &update);
	*moved = result == TM_Ok && update == TU_All;
#else
	result = table_tuple_update(relation, tid, slot, command, snapshot, InvalidSnapshot, wait, &failure, &mode, moved);
#endif
	return result;
}

/* Whether a btree has the operator by that strategy; PostgreSQL 18 says it for all kinds of index.  Goes with 17. */
static inline bool
dbos_operator_means(Oid operator, StrategyNumber strategy)
{
	ListCell   *cell;

#if PG_VERSION_NUM >= 180000
	foreach(cell, get_op_index_interpretation(operator))
	{
		/* Those of btrees have the numbers of the strategies. */
		if ((StrategyNumber) ((OpIndexInterpretation *) lfirst(cell))->cmptype == strategy)
			return true;
	}
#else
	foreach(cell, get_op_btree_interpretation(operator))
	{
		if (((OpBtreeInterpretation *) lfirst(cell))->strategy == strategy)
			return true;
	}
#endif
	return false;
}

/*
 * Makes a table longer by so many empty pages or fewer; returns how many.  Goes with 15, which makes one at a time:
 * there the zeros are written into the last file of the table, where the server would write them, and on a
 * full disk nothing is left of them.  They are in the buffer pool before others can see that they are there, and until
 * they are in the file: nobody needs to read them, and nobody's rows are taken for zeros.
 */
#define DBOS_EXTEND_MAX 64

static inline int
dbos_extend_relation(Relation heap, int pages, BlockNumber *first)
{
	Buffer		buffers[DBOS_EXTEND_MAX];
#if PG_VERSION_NUM >= 160000
	uint32		made;

	*first = ExtendBufferedRelBy(BMR_REL(heap), MAIN_FORKNUM, NULL, 0, Min(pages, DBOS_EXTEND_MAX), buffers, &made);
	for (uint32 i = 0; i < made; i++)
		ReleaseBuffer(buffers[i]);
	return (int) made;
#else
	static char zeros[DBOS_EXTEND_MAX * BLCKSZ];
	off_t		offset;
	File		file;
	int			made = 0;

	LockRelationForExtension(heap, ExclusiveLock);
	*first = RelationGetNumberOfBlocks(heap);
	offset = (off_t) (*first % RELSEG_SIZE) * BLCKSZ;
	pages = Min(pages, Min(DBOS_EXTEND_MAX, NBuffers / 64));
	pages = Min(pages, (int) (RELSEG_SIZE - *first % RELSEG_SIZE));
	/* A new file is the server's to make. */
	if (offset > 0 && pages > 0)
	{
		char	   *path = relpathperm(heap->rd_node, MAIN_FORKNUM);

		if (*first / RELSEG_SIZE > 0)
			path = psprintf("%s.%u", path, *first / RELSEG_SIZE);
		for (int i = 0; i < pages; i++)
		{
			buffers[i] = ReadBufferExtended(heap, MAIN_FORKNUM, *first + i, RBM_ZERO_AND_LOCK, NULL);
			LockBuffer(buffers[i], BUFFER_LOCK_UNLOCK);
		}
		file = PathNameOpenFile(path, O_RDWR | PG_BINARY);
		if (file >= 0)
		{
			if (FileWrite(file, zeros, pages * BLCKSZ, offset, WAIT_EVENT_DATA_FILE_EXTEND) == pages * BLCKSZ)
				made = pages;
			else
				(void) FileTruncate(file, offset, WAIT_EVENT_DATA_FILE_TRUNCATE);
			FileClose(file);
		}
		for (int i = 0; i < pages; i++)
			ReleaseBuffer(buffers[i]);
	}
	UnlockRelationForExtension(heap, ExclusiveLock);
	return made;
#endif
}

#endif							/* DBOS_COMPAT_H */
