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

#define DBOS_KIND_MAILBOX 'm'
#define DBOS_KIND_TOPIC 't'

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
	Oid			id_index;		/* on (id); InvalidOid: not looked for yet */
	Oid			visible_index;	/* on (visible_at), of the aside segment */
} DbosSegment;

/* A mailbox or a topic: they have the same tables. */
typedef struct DbosMailbox
{
	Oid			relation;		/* key */
	bool		valid;
	char		kind;			/* as in dbos.mailbox: DBOS_KIND_... */
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
extern DbosMailbox *dbos_mailbox_resolve(const text *name, char kind, LOCKMODE lock);
/* Of a mailbox's table or one of its segments; NULL when it is neither.  The caller has it locked. */
extern DbosMailbox *dbos_mailbox_of(Oid relation);
extern DbosSegment *dbos_mailbox_segment(const DbosMailbox *mailbox, int32 number);
/* Locks and opens it, and knows its indexes then. */
extern Relation dbos_segment_open(DbosSegment *segment, LOCKMODE lock);
extern char *dbos_mailbox_name(const DbosMailbox *mailbox);
/* The highest id that was taken, also by transactions that have not ended. */
extern int64 dbos_mailbox_last_id(const DbosMailbox *mailbox);
extern void dbos_mailbox_check_right(const DbosMailbox *mailbox, AclMode right);
extern void dbos_mailbox_check_container(const DbosMailbox *mailbox, AclMode right);

/* ---- mailbox.c ---- */

extern Oid	dbos_mailbox_make(const text *name, char kind);
extern void dbos_mailbox_drop(const DbosMailbox *mailbox);

/* ---- shared.c: hints, by mailbox ---- */

extern void dbos_message_shared_register(void);
extern void dbos_mailbox_open_slot(DbosMailbox *mailbox);
/* False where there is no shared memory, or no room in it for one more mailbox. */
extern bool dbos_mailbox_take(DbosMailbox *mailbox, int64 most, DbosIdRange *taken, bool *empty);
extern void dbos_mailbox_give(Oid relation, DbosIdRange range);

/* What the background has to do for a mailbox. */
#define DBOS_WORK_ROTATE	1
extern void dbos_mailbox_want(Oid relation, int work);
extern bool dbos_mailbox_next_work(Oid *relation, int *work);

/* Waiting for messages: between enter and leave this backend's latch is set for the mailbox's. */
extern bool dbos_waiter_enter(DbosMailbox *mailbox);
extern void dbos_waiter_leave(bool satisfied);

/* ---- pending.c: what a transaction tells shared memory at its end ---- */

extern void dbos_message_pending_install(void);
/* At commit these ids have messages. */
extern void dbos_pending_sent(Oid relation, int32 segment, int64 lo, int64 hi);
/* At commit the segment that is written to is full. */
extern void dbos_pending_full(DbosMailbox *mailbox);
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
	BlockNumber last;			/* page of the row that was written last */
} DbosSegmentWriter;

extern void dbos_segment_write_begin(DbosSegmentWriter *writer, DbosSegment *segment, int rows);
extern TupleTableSlot *dbos_segment_write_next(DbosSegmentWriter *writer);
extern void dbos_segment_write_end(DbosSegmentWriter *writer);

/* Rows of one segment in the order of their ids. */
typedef struct DbosSegmentScan
{
	int32		segment;
	Relation	relation;
	Relation	index;
	struct IndexScanDescData *scan;
	TupleTableSlot *slot;
	LOCKMODE	lock;
	bool		more;			/* slot has a row */
} DbosSegmentScan;

extern void dbos_segment_scan_begin(DbosSegmentScan *scan, DbosSegment *segment,
									Snapshot snapshot, int64 lo, int64 hi, LOCKMODE lock);
extern void dbos_segment_scan_next(DbosSegmentScan *scan);
extern void dbos_segment_scan_end(DbosSegmentScan *scan);
extern int64 dbos_slot_int64(TupleTableSlot *slot, enum MessageColumn column);

/* ---- ddl.c: tables are made and truncated, between begin and end as their owner ---- */

typedef struct DbosDdlScope
{
	Oid			user;
	int			security_context;
	int			guc_nest_level;
} DbosDdlScope;

extern void dbos_ddl_begin(DbosDdlScope *scope, Oid owner);
extern void dbos_ddl_end(DbosDdlScope *scope);
extern void dbos_ddl(const char *format, ...) pg_attribute_printf(1, 2);
extern char *dbos_qualified_name(Oid relation);
extern void dbos_segment_create(Oid mailbox, int32 number);
extern void dbos_segment_truncate(Oid segment);

/* ---- background.c ---- */

extern void dbos_message_duty_register(void);

/* ---- rotation.c ---- */

/* True while there are segments to be emptied. */
extern bool dbos_mailbox_rotate(DbosMailbox *mailbox);
/* Pages after which new messages go to another segment. */
extern BlockNumber dbos_segment_limit(const DbosMailbox *mailbox);

#endif							/* DBOS_MESSAGE_INTERNAL_H */
