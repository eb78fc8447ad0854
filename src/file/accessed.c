/*
 * accessed.c
 *	  When files were read last, noted as relatime has it: now and then, and at nobody's cost.
 *
 * A read is worth a note when none was noted since the file was last written or changed, or for a day.
 * It is kept in memory until the transaction commits, and then written to the row of the inode if that can be
 * done at once: when somebody else has the row, or the table, or the disk is full, it is left out.  So a reader never waits for
 * a writer and never fails because of one.  That somebody's row has another version then is all that a writer
 * sees of it: in REPEATABLE READ he may have to repeat his transaction, once in a day.
 *
 * Nothing is noted in read-only transactions, on standbys and in parallel workers, nor in serializable
 * transactions, in which a write could make others fail.  A prepared transaction writes nothing, since it
 * would keep the row locked.  A rollback to a savepoint does not undo that something was read.
 * What snapshots show has no note of later reads, and a note makes no version for them.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "common/hashfn.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "file.h"

#define DAY (INT64CONST(86400) * 1000000000)
/* Who reads more files than that in a transaction leaves no note of the others: his commit is to end soon. */
#define NOTES_MAX 10000

typedef struct Note
{
	int64		inode;
	int64		at;
	uint32		status;
} Note;

#define SH_PREFIX notes
#define SH_ELEMENT_TYPE Note
#define SH_KEY_TYPE int64
#define SH_KEY inode
#define SH_HASH_KEY(tb, key) murmurhash32((uint32) (key) ^ (uint32) ((uint64) (key) >> 32))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static notes_hash *notes = NULL;	/* of this transaction */

static bool
due(const DbosInode *inode, int64 now)
{
	return inode->accessed <= inode->modified || inode->accessed <= inode->changed || inode->accessed < now - DAY;
}

/* Content of the file was read by this transaction. */
void
dbos_file_accessed(const DbosInode *inode)
{
	int64		now;
	bool		found;
	Note	   *note;

	if (!dbos_file_access_times || XactReadOnly || IsolationIsSerializable() || IsParallelWorker() || RecoveryInProgress())
		return;
	now = dbos_file_now();
	if (!due(inode, now) || (notes != NULL && notes->members >= NOTES_MAX))
		return;
	if (notes == NULL)
		notes = notes_create(TopTransactionContext, 16, NULL);
	note = notes_insert(notes, inode->number, &found);
	note->at = now;
}

static int
compare_notes(const void *left, const void *right)
{
	const Note *a = left;
	const Note *b = right;

	return a->inode < b->inode ? -1 : a->inode > b->inode;
}

/* In the order of their numbers, as they often lie in the table. */
static Note *
sorted_notes(int *count)
{
	Note	   *sorted = palloc(sizeof(Note) * notes->members);
	notes_iterator iterator;
	Note	   *note;

	*count = 0;
	notes_start_iterate(notes, &iterator);
	while ((note = notes_iterate(notes, &iterator)) != NULL)
		sorted[(*count)++] = *note;
	qsort(sorted, *count, sizeof(Note), compare_notes);
	return sorted;
}

static void
write_note(const Note *note, Snapshot snapshot)
{
	DbosInode	inode;

	/* It may have been removed, or read by others meanwhile. */
	if (!dbos_inode_read(note->inode, snapshot, FOREVER, &inode) || !due(&inode, note->at))
		return;
	inode.accessed = note->at;
	(void) dbos_inode_touch(&inode, snapshot);
}

static void
write_notes(void)
{
	MemoryContext old;
	MemoryContext context;
	Note	   *sorted;
	int			count;

	if (!OidIsValid(dbos_schema_oid(true)) || !ConditionalLockRelationOid(dbos_relation_oid("inode"), RowExclusiveLock))
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "dbos accessed files", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	sorted = sorted_notes(&count);
	/* What this transaction has done itself is seen too, whatever its isolation level. */
	dbos_changed();
	PushActiveSnapshot(GetLatestSnapshot());
	context = AllocSetContextCreate(context, "dbos accessed file", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	for (int i = 0; i < count; i++)
	{
		write_note(&sorted[i], GetActiveSnapshot());
		MemoryContextReset(context);
	}
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(MemoryContextGetParent(context));
}

/* In a subtransaction: who reads a file on a full disk has read it. */
static void
write_notes_if_possible(void)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		write_notes();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		CurrentResourceOwner = owner;
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INSUFFICIENT_RESOURCES)
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

static void
at_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			/* It is read-only only from here on, perhaps. */
			if (notes != NULL && !XactReadOnly)
				write_notes_if_possible();
			notes = NULL;
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			notes = NULL;
			break;
		default:
			break;
	}
}

void
dbos_accessed_install(void)
{
	RegisterXactCallback(at_end, NULL);
}
