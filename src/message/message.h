/*
 * message.h
 *	  What the files of the message room share.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_MESSAGE_INTERNAL_H
#define DBOS_MESSAGE_INTERNAL_H

#include "postgres.h"

#include "fmgr.h"
#include "nodes/execnodes.h"
#include "utils/jsonb.h"
#include "utils/rel.h"

#include "dbos/kernel.h"
#include "dbos/message.h"

#include "ready_set.h"

#define DBOS_NOBODY_WAITS	(-1)
/* Rows with a visible_at are in this segment, which has an index on it; the others are numbered from 1. */
#define DBOS_ASIDE_SEGMENT	0

/* The columns of a mailbox that nobody has altered, in order. */
enum MessageColumn
{
	MESSAGE_ID,
	MESSAGE_SENT_AT,
	MESSAGE_VISIBLE_AT,
	MESSAGE_TASK_ID,
	MESSAGE_SENDER,
	MESSAGE_SEGMENT,
	MESSAGE_CONTAINER_ID,
	MESSAGE_DELIVERIES,
	MESSAGE_PARTITION_KEY,
	MESSAGE_HEADERS,
	MESSAGE_BODY,
	MESSAGE_COLUMNS
};

/* ---- mailbox_cache.c: what this backend knows of mailboxes ---- */

typedef struct DbosSegment
{
	int32		number;
	Oid			relation;
	Oid			id_index;		/* on (id) */
	Oid			visible_index;	/* on (visible_at), of the aside segment */
} DbosSegment;

typedef struct DbosMailbox
{
	Oid			relation;		/* key */
	bool		valid;
	bool		plain;			/* the columns are ours, and nobody else's triggers or rules look on */
	Oid			owner;
	Oid			sequence;		/* of the ids */
	int32		container;
	bool		paused;
	int32		current_segment;	/* where new messages go */
	int			slot;			/* where it was last found in shared memory, or -1 */
	int			nsegments;
	DbosSegment *segments;		/* ascending by number */
} DbosMailbox;

/* The mailbox of that name, its table locked in that mode; raises when there is none. */
extern DbosMailbox *dbos_mailbox_resolve(const text *name, LOCKMODE lock);
/* Of a mailbox's table or one of its segments; NULL when it is neither.  The caller has it locked. */
extern DbosMailbox *dbos_mailbox_of(Oid relation);
extern const DbosSegment *dbos_mailbox_segment(const DbosMailbox *mailbox, int32 number);
extern char *dbos_mailbox_name(const DbosMailbox *mailbox);
/* The highest id that was taken, also by transactions that have not ended. */
extern int64 dbos_mailbox_last_id(const DbosMailbox *mailbox);
extern void dbos_mailbox_check_right(const DbosMailbox *mailbox, AclMode right);
extern void dbos_mailbox_check_container(const DbosMailbox *mailbox, AclMode right);

/* ---- shared.c: hints, by mailbox ---- */

extern void dbos_message_shared_register(void);
/* False where there is no shared memory, or no room in it for one more mailbox. */
extern bool dbos_mailbox_take(DbosMailbox *mailbox, int64 most, DbosIdRange *taken, bool *empty);
extern void dbos_mailbox_give(Oid relation, DbosIdRange range);

/* Waiting for messages: between enter and leave this backend's latch is set for the mailbox's. */
extern bool dbos_waiter_enter(DbosMailbox *mailbox);
extern void dbos_waiter_leave(bool satisfied);

/* ---- pending.c: what a transaction tells shared memory at its end ---- */

extern void dbos_message_pending_install(void);
/* At commit these ids have messages. */
extern void dbos_pending_sent(Oid relation, int32 segment, int64 lo, int64 hi);
/* At abort these ids may have messages again. */
extern void dbos_pending_claimed(Oid relation, DbosIdRange range);

/* ---- segment.c: rows in segments ---- */

/* Rows are made one by one and written together. */
typedef struct DbosSegmentWriter
{
	Relation	relation;
	EState	   *estate;
	ResultRelInfo *target;
	TupleTableSlot **slots;
	int			nslots;
	int			space;
} DbosSegmentWriter;

extern void dbos_segment_write_begin(DbosSegmentWriter *writer, const DbosSegment *segment, int rows);
extern TupleTableSlot *dbos_segment_write_next(DbosSegmentWriter *writer);
extern void dbos_segment_write_end(DbosSegmentWriter *writer);

/* Rows of one segment in the order of their ids. */
typedef struct DbosSegmentScan
{
	const DbosSegment *segment;
	Relation	relation;
	Relation	index;
	struct IndexScanDescData *scan;
	TupleTableSlot *slot;
	bool		more;			/* slot has a row */
} DbosSegmentScan;

extern void dbos_segment_scan_begin(DbosSegmentScan *scan, const DbosSegment *segment,
									Snapshot snapshot, int64 lo, int64 hi);
extern void dbos_segment_scan_next(DbosSegmentScan *scan);
extern void dbos_segment_scan_end(DbosSegmentScan *scan);
extern int64 dbos_slot_int64(TupleTableSlot *slot, enum MessageColumn column);

/* Makes a segment of that number; as the mailbox's owner. */
extern void dbos_segment_create(Oid mailbox, Oid owner, int32 number);

#endif							/* DBOS_MESSAGE_INTERNAL_H */
