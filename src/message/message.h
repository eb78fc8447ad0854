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
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "dbos/kernel.h"
#include "dbos/message.h"

#include "lanes.h"
#include "ready_set.h"

#define DBOS_KIND_MAILBOX 'm'
#define DBOS_KIND_TOPIC 't'

#define DBOS_NOBODY_WAITS	(-1)
/* Rows with a visible_at are in this segment, which has an index on it; the others are numbered from 1. */
#define DBOS_ASIDE_SEGMENT	0
/* Made with the mailbox, so that one is filled while the one before it comes to its end: up to this number. */
#define DBOS_FIRST_SEGMENTS	2

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
	Oid			lane_index;		/* on (lane, id), of an ordered mailbox */
} DbosSegment;

/* What is said when it is made, and does not change. */
typedef struct DbosMailboxOptions
{
	bool		ordered;		/* first in, first out for each partition key */
	bool		unlogged;		/* its segments are: a crash empties it */
} DbosMailboxOptions;

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
	DbosMailboxOptions options;
	int32		max_deliveries;	/* 0: no limit */
	Oid			dead_letter;	/* mailbox for what was delivered so often */
	int			standing;		/* what the background does whenever messages come: DBOS_WORK_... */
	char		channel[NAMEDATALEN];	/* on which it tells; empty: on none */
	int32		current_segment;	/* where new messages go */
	BlockNumber limit;			/* of a topic: pages of a segment; 0: as many as usual */
	bool		subscribed;		/* of a topic: it has subscriptions */
	bool		pushes;			/* of a topic: some of them are delivered by the background */
	BlockNumber told_page;		/* of which this backend has told the background that it is beyond the limit; 0: none */
	int			slot;			/* where it was last found in shared memory, or -1 */
	int			nsegments;
	DbosSegment *segments;		/* ascending by number */
} DbosMailbox;

/* The mailbox of that name, its table locked in that mode; raises when there is none. */
extern DbosMailbox *dbos_mailbox_resolve(const text *name, char kind, LOCKMODE lock);
/* Of a mailbox's table or one of its segments; NULL when it is neither.  The caller has it locked. */
extern DbosMailbox *dbos_mailbox_of(Oid relation);
extern DbosSegment *dbos_mailbox_segment(const DbosMailbox *mailbox, int32 number);
/* Whether the columns that we read and write by their place are there: owners may alter and attach tables. */
extern bool dbos_message_is_segment(Relation relation);
/* Raises when they are not. */
extern void dbos_message_check_columns(Relation relation);
/* Locks and opens it, and knows its indexes then. */
extern Relation dbos_segment_open(DbosSegment *segment, LOCKMODE lock);
extern char *dbos_mailbox_name(const DbosMailbox *mailbox);
/* The highest id that was taken, also by transactions that have not ended. */
extern int64 dbos_mailbox_last_id(const DbosMailbox *mailbox);
extern void dbos_mailbox_check_right(const DbosMailbox *mailbox, AclMode right);
extern void dbos_mailbox_check_owner(const DbosMailbox *mailbox);
extern void dbos_mailbox_check_container(const DbosMailbox *mailbox, AclMode right);

/* Raises where row-level security applies to the current role, for what minds none. */
extern void dbos_mailbox_refuse_policies(const DbosMailbox *mailbox, const char *what);

/* ---- mailbox.c ---- */

extern Oid	dbos_mailbox_make(const text *name, char kind, const DbosMailboxOptions *options);
extern void dbos_mailbox_drop(const DbosMailbox *mailbox);

/* ---- shared.c: hints, by mailbox ---- */

extern void dbos_message_shared_register(void);
extern void dbos_mailbox_open_slot(DbosMailbox *mailbox);
extern void dbos_mailbox_expect(DbosMailbox *mailbox);
typedef enum DbosTaken
{
	DBOS_TAKEN_UNKNOWN,			/* no shared memory, or no room in it for one more mailbox: look everywhere */
	DBOS_TAKEN_NOTHING,
	DBOS_TAKEN_IDS,
	DBOS_TAKEN_ASIDE			/* what is due in the aside segment */
} DbosTaken;

extern DbosTaken dbos_mailbox_take(DbosMailbox *mailbox, int64 most, DbosIdRange *ids, TimestampTz *aside_floor);
extern void dbos_mailbox_give(Oid relation, DbosIdRange range);
extern void dbos_mailbox_give_lanes(Oid relation, const DbosLaneSet *lanes, int64 floor, int64 highest);
extern void dbos_mailbox_release_lane(Oid relation, int lane, int64 floor, bool more);
extern void dbos_mailbox_give_aside(Oid relation, TimestampTz at, TimestampTz floor);
extern void dbos_mailbox_doubt(DbosMailbox *mailbox, DbosIdRange range);

/* What the background has to do for a mailbox. */
#define DBOS_WORK_ROTATE	1
#define DBOS_WORK_COUNT		2	/* deliveries that failed */
#define DBOS_WORK_FORGET	4	/* idempotency keys of long ago */
#define DBOS_WORK_TASKS		8	/* submit tasks for messages: on_message.c */
#define DBOS_WORK_TELL		16	/* NOTIFY who listens: notify.c */
#define DBOS_WORK_DUE		32	/* the time has come that somebody named */
#define DBOS_WORK_ALL		(DBOS_WORK_ROTATE | DBOS_WORK_COUNT | DBOS_WORK_FORGET | DBOS_WORK_TASKS)
extern void dbos_mailbox_want(Oid relation, int work);
extern void dbos_mailbox_want_at(Oid relation, TimestampTz at);
extern void dbos_mailbox_keep_work(Oid relation, int work, DbosIdRange failed);
extern bool dbos_mailbox_look(DbosMailbox *mailbox, int64 *highest, bool *first);
extern bool dbos_mailbox_next_work(Oid *relation, int *work, DbosIdRange *failed, TimestampTz *due);
/* The delivery of some of these ids has failed: counted before they are delivered again. */
extern void dbos_mailbox_failed(Oid relation, DbosIdRange range);

/* Waiting for messages: between enter and leave this backend's latch is set for the mailbox's. */
extern bool dbos_waiter_enter(DbosMailbox *mailbox, TimestampTz *look_at);
extern void dbos_waiter_leave(bool satisfied);
extern int	dbos_waiter_count(DbosMailbox *mailbox);

/* ---- pending.c: what a transaction tells shared memory at its end ---- */

extern void dbos_message_pending_install(void);
/* At commit these ids have messages. */
extern void dbos_pending_sent(Oid relation, int32 segment, int64 lo, int64 hi);
/* At commit this message is there, whatever the mailbox is. */
extern void dbos_pending_message(const DbosMailbox *mailbox, int32 segment, int64 id, const text *partition_key);
extern void dbos_pending_everything(const DbosMailbox *mailbox);
/* The transaction has taken of a lane: looked from id lo on, and left those from id hi on, of which more may be ready. */
extern void dbos_pending_lane(Oid relation, int lane, int64 lo, int64 hi, bool more);
/* The lanes that it has, of which more may be ready: number `at` and where to look; false: there are no more. */
extern bool dbos_pending_own_lane(Oid relation, int at, int *lane, int64 *floor);
/* At commit the background has to do that. */
extern void dbos_pending_work(DbosMailbox *mailbox, int work);
/* At abort it has still to. */
extern void dbos_pending_undone(Oid relation, int work, DbosIdRange failed);
/* At abort these ids may have messages again. */
extern void dbos_pending_claimed(Oid relation, DbosIdRange range);
/* The same, where failed deliveries are counted. */
extern void dbos_pending_claimed_counted(Oid relation, DbosIdRange range);
/* At commit a row of the aside segment has this visible_at. */
extern void dbos_pending_aside(Oid relation, TimestampTz visible_at);
/* At abort the aside segment is to be looked into from there on. */
extern void dbos_pending_aside_claimed(Oid relation, TimestampTz floor);

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

/* A column of a row that dbos_segment_write_next() has given. */
static inline void
dbos_slot_set(TupleTableSlot *slot, enum MessageColumn column, Datum value)
{
	slot->tts_values[column] = value;
	slot->tts_isnull[column] = false;
}

/* Rows of the aside segment that become visible from floor to end, by that time. */
extern void dbos_lane_scan_begin(DbosSegmentScan *scan, DbosSegment *segment, Snapshot snapshot, int lane, int64 lo);
extern DbosSegmentScan *dbos_segment_scan_lowest(DbosSegmentScan *scans, int count);
extern void dbos_aside_scan_begin(DbosSegmentScan *scan, DbosSegment *segment, Snapshot snapshot,
								  TimestampTz floor, TimestampTz end);

/* ---- take.c: messages are taken out of their segments ---- */

#define DBOS_MESSAGE_RESULT_COLUMNS 7
/* Rows of the aside segment that somebody had locked are looked at again after this. */
#define DBOS_LOCKED_ASIDE_MS 50

typedef struct DbosTaking
{
	DbosMailbox *mailbox;
	bool		sees_all;		/* no row-level security applies */
	bool		directly;		/* rows are deleted without an SQL statement */
	bool		everywhere;		/* looks without having taken a range: each row that it takes is told */
	int			wanted;
	int			got;
	Tuplestorestate *store;
	TupleDesc	desc;
	/* NULL: what is taken goes into the store */
	void		(*deliver) (struct DbosTaking *taking, TupleTableSlot *slot, int32 deliveries);
	TimestampTz lease_until;	/* 0: what is taken is gone */
	DbosSegmentWriter *writer;	/* of what is put aside; NULL: nothing was */
	int64		last;			/* id of the last one that was taken */
	DbosIdRange locked;			/* ids that somebody else has locked */
} DbosTaking;

typedef enum DbosRowDeleted
{
	DBOS_ROW_DELETED,
	DBOS_ROW_LOCKED,			/* somebody else has it, for now */
	DBOS_ROW_GONE				/* it is not there any more, or not for this role */
} DbosRowDeleted;

extern void dbos_take_begin(DbosTaking *taking, FunctionCallInfo fcinfo);
extern void dbos_take_open(DbosTaking *taking, DbosMailbox *mailbox, int wanted);
extern void dbos_take(DbosTaking *taking);
extern void dbos_take_wait(DbosTaking *taking, TimestampTz end);	/* receive.c */
extern void dbos_take_end(DbosTaking *taking);
typedef enum DbosRowTaken
{
	DBOS_ROW_TAKEN,
	DBOS_ROW_HELD,				/* somebody else has it, for now */
	DBOS_ROW_UNCOUNTED,			/* its last delivery failed, which is counted first */
	DBOS_ROW_NOT_THERE			/* any more, or not for this role */
} DbosRowTaken;

extern DbosRowTaken dbos_take_row(DbosTaking *taking, DbosSegmentScan *scan);
extern void dbos_aside_make_ready(DbosTaking *taking, TimestampTz floor);
extern DbosRowDeleted dbos_row_delete(Relation segment, TupleTableSlot *slot, bool directly);
extern HeapTuple dbos_row_copy(TupleTableSlot *slot);
extern bool dbos_delivery_failed(TupleTableSlot *slot);
extern int64 dbos_milliseconds(Interval *interval, const char *name);

/* ---- take_ordered.c ---- */
/* The lane of a key, as SQL; dbos_message_lane() says the same. */
#define DBOS_LANE_EXPRESSION \
	"(pg_catalog.hashtextextended(coalesce(partition_key, '') COLLATE pg_catalog.\"C\", 0) OPERATOR(pg_catalog.&) 255)"
extern int	dbos_message_lane(const text *partition_key);
extern void dbos_take_ordered(DbosTaking *taking);

/* ---- lease.c ---- */
extern void dbos_lease_put(DbosTaking *taking, HeapTuple row);
extern void dbos_aside_put(DbosSegmentWriter *writer, HeapTuple row, TimestampTz visible_at, int32 deliveries);

/* ---- delivery.c: deliveries that failed, and dead letters ---- */
extern void dbos_dead_letter_move(DbosMailbox *mailbox, Relation segment, TupleTableSlot *slot);
extern void dbos_deliveries_count(DbosMailbox *mailbox, DbosIdRange range);

/* ---- message_key.c: idempotency ---- */
extern bool dbos_message_key_take(const DbosMailbox *mailbox, text *key, int64 id, int64 *existing);
extern void dbos_message_keys_forget(const DbosMailbox *mailbox);

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
extern void dbos_segment_create(Oid mailbox, int32 number, const DbosMailboxOptions *options);
extern void dbos_segment_truncate(Oid segment);

/* ---- background.c ---- */

extern void dbos_message_duty_register(void);

/* ---- on_message.c: a task for each message ---- */

extern void dbos_on_message_register(void);
/* Submits what is there, in the transaction that we are in; true: there may be more. */
extern bool dbos_mailbox_make_tasks(DbosMailbox *mailbox);

/* ---- notify.c: NOTIFY for who listens outside ---- */

/* The channel of a mailbox or topic that is made by this name; raises when it has none. */
extern char *dbos_channel_name(const text *name, char kind);
extern void dbos_mailbox_set_channel(Oid relation, const char *channel);	/* NULL: none */
extern void dbos_mailbox_tell(DbosMailbox *mailbox, int work);

/* ---- rotation.c ---- */

/* True when new messages go to another segment now, or shall soon. */
extern bool dbos_mailbox_advance(DbosMailbox *mailbox, bool at_once);
/* True while there are segments to be emptied. */
extern bool dbos_mailbox_rotate(DbosMailbox *mailbox);
/* Pages after which new messages go to another segment. */
extern BlockNumber dbos_segment_limit(const DbosMailbox *mailbox);
extern void dbos_mailbox_wrote(DbosMailbox *mailbox, BlockNumber page);
extern BlockNumber dbos_segment_pages_of(DbosSegment *segment);

/* ---- segment_known.c ---- */

/* Whether new rows may go to that segment: the statements that run know it. */
extern bool dbos_segment_known(const DbosMailbox *mailbox, int32 number);

/* ---- mailbox_state.c ---- */
extern void dbos_mailbox_state_register(void);

#endif							/* DBOS_MESSAGE_INTERNAL_H */
