/*
 * extend.c
 *	  Tables of content grow by several pages at once.
 *
 * A row with content takes a page or half of one.  Page by page the system call that makes a table longer costs as much as
 * all the rest of making a small file.  So who is about to put in such rows, and is told by the
 * free-space map that there is no room, makes the table longer by some pages that the map then has for all: more
 * each time, up to a bound, which is what may lie empty at the end of a table.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "storage/bufpage.h"
#include "storage/freespace.h"
#include "utils/rel.h"

#include "file.h"

/* Smaller rows share pages. */
#define ROW_THAT_COUNTS 2048
#define PAGES_MAX 32

static bool
has_room(Relation heap, Size bytes)
{
	BlockNumber block = GetPageWithFreeSpace(heap, bytes);

	/* Of the page that was filled last the map is told when the next row finds no room there. */
	return block != InvalidBlockNumber && block != RelationGetTargetBlock(heap);
}

/* So many rows with so many bytes of content each are about to be put in. */
void
dbos_table_make_room(DbosTable *table, Size bytes, int rows)
{
	static int	pages = 1;
	Relation	heap = table->heap;
	BlockNumber first;
	int			made;

	if (bytes < ROW_THAT_COUNTS || has_room(heap, bytes))
		return;
	pages = Min(pages * 2, PAGES_MAX);
	made = dbos_extend_relation(heap, Max(pages, rows), &first);
	for (int i = 0; i < made; i++)
		RecordPageWithFreeSpace(heap, first + i, BLCKSZ - SizeOfPageHeaderData);
	if (made > 0)
		FreeSpaceMapVacuumRange(heap, first, first + made);
}
