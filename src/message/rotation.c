/*
 * rotation.c
 *	  Segments are filled, one after the other, and emptied as a whole.
 *
 * When the current segment has grown to its limit, new messages go to one that is
 * empty; if there is none, one is made ahead, since it must be known to all senders first
 * (segment_known.c).  A segment that is not current and has no row that
 * lives, or may come to live, is truncated: that needs no vacuum and minds no
 * snapshot.  An older snapshot sees the mailbox without the rows, as after any TRUNCATE.
 *
 * A sender who knows the current segment of a moment ago writes into one that is not
 * current any more: which does no harm, since a segment is truncated only when it is found empty
 * under the lock that keeps everybody out.  The lock is tried, and not waited for.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "message.h"

/* After so many segments the next ones are twice as large. */
#define SEGMENTS_OF_A_SIZE 8
#define MAX_DOUBLINGS 5

/* What this process has seen of a segment: it looks for living rows from there. */
typedef struct Floor
{
	Oid			segment;		/* key */
	Oid			file;			/* its relfilenode then */
	int64		id;
} Floor;

static HTAB *floors = NULL;

/* A backlog of any length is held by tens of segments. */
BlockNumber
dbos_segment_limit(const DbosMailbox *mailbox)
{
	BlockNumber pages = (BlockNumber) dbos_segment_pages << Min(mailbox->nsegments / SEGMENTS_OF_A_SIZE, MAX_DOUBLINGS);

	return mailbox->limit != 0 ? Min(pages, mailbox->limit) : pages;
}

/* A row was written there, into the current segment.  Told once for a page: the background comes back by itself. */
void
dbos_mailbox_wrote(DbosMailbox *mailbox, BlockNumber page)
{
	if (page == InvalidBlockNumber || page < dbos_segment_limit(mailbox) || page == mailbox->told_page)
		return;
	mailbox->told_page = page;
	dbos_pending_work(mailbox, DBOS_WORK_ROTATE);
}

/* ---- looking ---- */

static Floor *
floor_of(Relation relation)
{
	Oid			oid = RelationGetRelid(relation);
	Floor	   *floor;
	bool		known;

	if (floors == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(Floor), .hcxt = TopMemoryContext};

		floors = hash_create("dbos segment floors", 32, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	floor = hash_search(floors, &oid, HASH_ENTER, &known);
	if (!known || floor->file != relation->rd_rel->relfilenode)
	{
		floor->file = relation->rd_rel->relfilenode;
		floor->id = PG_INT64_MIN;
	}
	return floor;
}

/* Whether it has a row from that id on that is not dead to everybody; *found is the id of the first. */
static bool
has_rows(DbosSegment *segment, int64 from, int64 *found)
{
	SnapshotData dirty;
	DbosSegmentScan scan;
	bool		has;

	InitDirtySnapshot(dirty);
	dbos_segment_scan_begin(&scan, segment, &dirty, from, PG_INT64_MAX, AccessShareLock);
	has = scan.more;
	if (has)
		*found = dbos_slot_int64(scan.slot, MESSAGE_ID);
	dbos_segment_scan_end(&scan);
	return has;
}

BlockNumber
dbos_segment_pages_of(DbosSegment *segment)
{
	Relation	relation = table_open(segment->relation, AccessShareLock);
	BlockNumber pages = RelationGetNumberOfBlocks(relation);

	table_close(relation, AccessShareLock);
	return pages;
}

/* ---- emptying ---- */

/* True when it is not empty, and stays so. */
static bool
keep_segment(const DbosMailbox *mailbox, DbosSegment *segment)
{
	Relation	relation;
	Floor	   *floor;
	int64		ignored;
	DbosDdlScope scope;

	if (!ConditionalLockRelationOid(segment->relation, AccessShareLock))
		return true;
	relation = table_open(segment->relation, NoLock);
	if (RelationGetNumberOfBlocks(relation) == 0)
	{
		table_close(relation, AccessShareLock);
		return false;
	}
	floor = floor_of(relation);
	table_close(relation, NoLock);
	if (has_rows(segment, floor->id, &floor->id))
	{
		UnlockRelationOid(segment->relation, AccessShareLock);
		return true;
	}
	floor->id = PG_INT64_MIN;
	UnlockRelationOid(segment->relation, AccessShareLock);
	if (!ConditionalLockRelationOid(segment->relation, AccessExclusiveLock))
		return true;
	if (has_rows(segment, PG_INT64_MIN, &ignored))
	{
		UnlockRelationOid(segment->relation, AccessExclusiveLock);
		return true;
	}
	dbos_ddl_begin(&scope, mailbox->owner);
	dbos_segment_truncate(segment->relation);
	dbos_stop_point("segment truncated");
	dbos_ddl_end(&scope);
	return false;
}

/* ---- filling ---- */

static void
make_current(const DbosMailbox *mailbox, int32 number)
{
	static DbosPlan plan = {
		.sql = "UPDATE dbos.mailbox SET current_segment = $2 WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
		.nargs = 2,
		.argtypes = {REGCLASSOID, INT4OID},
	};
	Datum		values[2] = {ObjectIdGetDatum(mailbox->relation), Int32GetDatum(number)};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
	dbos_owner_end(&scope);
	CacheInvalidateRelcacheByRelid(mailbox->relation);
}

/* An empty segment that is not current: one that everybody knows, if there is one; NULL: there is none. */
static DbosSegment *
spare_segment(DbosMailbox *mailbox, bool *known)
{
	int32		current = mailbox->current_segment;
	int32		found = DBOS_ASIDE_SEGMENT;

	*known = false;
	for (int i = 0; i < mailbox->nsegments && !*known; i++)
	{
		DbosSegment segment = mailbox->segments[i];

		if (segment.number == DBOS_ASIDE_SEGMENT || segment.number == current || dbos_segment_pages_of(&segment) > 0)
			continue;
		found = segment.number;
		*known = dbos_segment_known(mailbox, found);
	}
	return found == DBOS_ASIDE_SEGMENT ? NULL : dbos_mailbox_segment(mailbox, found);
}

static void
make_segment(const DbosMailbox *mailbox)
{
	DbosDdlScope scope;
	int32		highest = mailbox->segments[mailbox->nsegments - 1].number;

	dbos_ddl_begin(&scope, mailbox->owner);
	dbos_segment_create(mailbox->relation, highest + 1, &mailbox->options);
	dbos_ddl_end(&scope);
}

/* at_once: also when it is not full. */
bool
dbos_mailbox_advance(DbosMailbox *mailbox, bool at_once)
{
	BlockNumber pages = dbos_segment_pages_of(dbos_mailbox_segment(mailbox, mailbox->current_segment));
	BlockNumber limit = dbos_segment_limit(mailbox);
	bool		full = pages > 0 && (pages >= limit || at_once);
	bool		known;
	DbosSegment *spare;

	/* Asked before it is needed: who comes later need not be waited for. */
	(void) dbos_segment_known(mailbox, mailbox->segments[mailbox->nsegments - 1].number);
	/* One is made ahead. */
	if (!full && pages < limit / 2)
		return false;
	spare = spare_segment(mailbox, &known);
	if (spare == NULL)
	{
		make_segment(mailbox);
		/* It can become current in the next transaction at the earliest. */
		dbos_mailbox_want(mailbox->relation, DBOS_WORK_ROTATE);
		return true;
	}
	if (!full)
		return false;
	if (known)
		make_current(mailbox, spare->number);
	return true;
}

/*
 * ALTER TABLE ... OWNER TO leaves partitions where they were: they follow here, so that
 * who had the mailbox before reads no more of it, and the new owner's segments can be emptied.
 * False when somebody is at it.
 */
static bool
adopt_segment(const DbosMailbox *mailbox, const DbosSegment *segment)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(segment->relation));
	bool		follows;

	if (!HeapTupleIsValid(tuple))
		return true;
	follows = ((Form_pg_class) GETSTRUCT(tuple))->relowner == mailbox->owner;
	ReleaseSysCache(tuple);
	if (follows)
		return true;
	if (!ConditionalLockRelationOid(segment->relation, AccessExclusiveLock))
		return false;
	/* "Recursing": the mailbox's owner was allowed to become it. */
	ATExecChangeOwner(segment->relation, mailbox->owner, true, AccessExclusiveLock);
	return true;
}

bool
dbos_mailbox_rotate(DbosMailbox *mailbox)
{
	bool		left = false;
	int			count = mailbox->nsegments;
	DbosSegment *segments = palloc(sizeof(DbosSegment) * Max(count, 1));

	/* What is known of the mailbox may be read anew while one is truncated. */
	memcpy(segments, mailbox->segments, sizeof(DbosSegment) * count);
	for (int i = 0; i < count; i++)
		left |= !adopt_segment(mailbox, &segments[i]);
	for (int i = 0; i < count; i++)
		if (segments[i].number != DBOS_ASIDE_SEGMENT && segments[i].number != mailbox->current_segment)
			left |= keep_segment(mailbox, &segments[i]);
	left |= dbos_mailbox_advance(mailbox, false);
	return left;
}
