/*
 * reuse.c
 *	  Pages of chunks that were overwritten or deleted are used again without waiting for a vacuum.
 *
 * A chunk fills a page, so each overwrite leaves a dead page.  The free-space map hears of it from vacuum alone,
 * which comes late: a file that is written over ten times would take eleven times its size.  So a session
 * remembers which pages its transactions have emptied.  Before it writes chunks it
 * looks at as many of them as it needs: where the transaction has committed and no
 * snapshot can see the old row any more, the page is pruned and the map is told.  What comes next goes there, whoever writes it.
 *
 * The dead row leaves its line pointer until a vacuum has cleaned the index, so a page can be used so a few times, as
 * many as it has room for line pointers beside a full chunk (chunk.c).
 *
 * What is remembered is a hint.  Sessions that end take theirs along, and a page that is
 * forgotten is found by vacuum.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "storage/bufmgr.h"
#include "storage/freespace.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "reuse.h"

/* Of 2 GB of content. */
#define MAX_EMPTIED (256 * 1024)
/* Looked at beyond those that are needed, since some turn out to be in use. */
#define MORE 8

typedef struct Emptied
{
	BlockNumber block;
	TransactionId by;
} Emptied;

/* A queue in a ring, in the order of transactions. */
static Emptied *ring = NULL;
static uint32 space = 0;
static uint32 first = 0;
static uint32 count = 0;
static Oid	of_relation = InvalidOid;
static int	emptied = 0;		/* by the current transaction */

static Emptied *
at(uint32 number)
{
	return &ring[(first + number) % space];
}

static void
grow(void)
{
	uint32		wanted = space == 0 ? 256 : space * 2;
	Emptied    *larger = MemoryContextAllocExtended(TopMemoryContext, sizeof(Emptied) * wanted, MCXT_ALLOC_NO_OOM);

	if (larger == NULL)
		return;
	for (uint32 i = 0; i < count; i++)
		larger[i] = *at(i);
	if (ring != NULL)
		pfree(ring);
	ring = larger;
	space = wanted;
	first = 0;
}

/* This transaction has overwritten or deleted what fills that page. */
void
dbos_page_emptied(Relation relation, BlockNumber block)
{
	/* At the end of the transaction the background is told. */
	if (emptied++ == 0)
		(void) dbos_shared_attach();
	if (of_relation != RelationGetRelid(relation))
	{
		of_relation = RelationGetRelid(relation);
		count = 0;
	}
	if (count > 0 && at(count - 1)->block == block)
		return;
	if (count == space && space < MAX_EMPTIED)
		grow();
	if (count == space)
		return;
	at(count)->block = block;
	at(count)->by = GetTopTransactionId();
	count++;
}

/* Whether this session remembers some. */
bool
dbos_pages_left(void)
{
	return count > 0;
}

/* Free bytes of the page when what nobody can see any more is gone from it. */
Size
dbos_page_room(Relation relation, BlockNumber block)
{
	Buffer		buffer = ReadBuffer(relation, block);
	Size		available;

	heap_page_prune_opt(relation, buffer);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	available = PageGetHeapFreeSpace(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	return available;
}

/* Before so many chunks are written: tells the free-space map of as many pages, if there are. */
void
dbos_pages_reclaim(Relation relation, int wanted)
{
	BlockNumber blocks;
	BlockNumber lowest = InvalidBlockNumber;
	BlockNumber highest = 0;
	int			looks = wanted + MORE;

	if (count == 0 || of_relation != RelationGetRelid(relation))
		return;
	blocks = RelationGetNumberOfBlocks(relation);
	while (count > 0 && wanted > 0 && looks-- > 0)
	{
		Emptied		next = *at(0);
		Size		available;

		if (TransactionIdIsCurrentTransactionId(next.by) ||
			(!TransactionIdDidAbort(next.by) && !GlobalVisCheckRemovableXid(relation, next.by)))
			break;
		first = (first + 1) % space;
		count--;
		/* The table may have become shorter, or another file. */
		if (next.block >= blocks || TransactionIdDidAbort(next.by))
			continue;
		available = dbos_page_room(relation, next.block);
		if (available < BLCKSZ / 2)
			continue;
		RecordPageWithFreeSpace(relation, next.block, available);
		lowest = Min(lowest, next.block);
		highest = Max(highest, next.block);
		wanted--;
	}
	/* Its upper levels too: a search begins there. */
	if (lowest != InvalidBlockNumber)
		FreeSpaceMapVacuumRange(relation, lowest, highest + 1);
}

static void
at_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && emptied > 0)
		dbos_upkeep_want(emptied);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		emptied = 0;
}

void
dbos_reuse_install(void)
{
	RegisterXactCallback(at_end, NULL);
}
