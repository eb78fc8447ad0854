/*
 * topic.h
 *	  What the files about topics share.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TOPIC_H
#define DBOS_TOPIC_H

#include "postgres.h"

#include "access/sdir.h"
#include "storage/lock.h"

#include "dbos/task.h"

#include "message.h"

/* ---- topic_shared.c: who publishes, and who waits ---- */

extern void dbos_topic_shared_register(void);
/* The next id of the topic, after this transaction has announced itself to the topic's readers. */
extern int64 dbos_topic_take_id(DbosMailbox *topic);
/* Whether the current transaction has announced itself and may have taken this id. */
extern bool dbos_topic_took(const DbosMailbox *topic, int64 id);
/* What has a lower id than this is decided; to be asked before the snapshot is taken. */
extern int64 dbos_topic_horizon(const DbosMailbox *topic);
/* Waiting: between enter and leave this backend's latch is set when something of the topic is decided. */
extern bool dbos_topic_waiter_enter(Oid topic, int32 subscription);
extern void dbos_topic_waiter_leave(void);
/* At commit the background looks whether a segment of the topic can go. */
extern void dbos_topic_segment_passed(DbosMailbox *topic);
/* At commit the background delivers the messages of topics, for who has just asked for them. */
extern void dbos_topic_want_delivery(void);
/* Whether it was wanted in this database since this was asked last; always where there is no shared memory. */
extern bool dbos_topic_delivery_wanted(void);
extern int	dbos_topic_waiter_pid(Oid topic, int32 subscription);

/* ---- topic_position.c: how far subscriptions have come ---- */

/* The last id that the subscription is done with; start when it has read nothing yet. */
extern int64 dbos_position_read(int32 subscription, int64 start);
extern void dbos_position_write(int32 subscription, int64 position);
/* Empties what is not needed any more of the tables; true when that wants to be tried again soon. */
extern bool dbos_positions_compact(void);

/* ---- subscription.c ---- */

#define DBOS_SUBSCRIPTION_CURSOR	'c'
#define DBOS_SUBSCRIPTION_MAILBOX	'm'
#define DBOS_SUBSCRIPTION_FUNCTION	'f'

typedef struct DbosSubscription
{
	int32		id;
	Oid			topic;
	char		kind;
	char	   *name;
	Oid			role;
	int32		container;
	int64		start;
	Jsonb	   *filter;			/* NULL: everything */
	Oid			target;			/* a mailbox */
	bool		failed;			/* it could not be delivered when that was tried last */
	DbosTaskTemplate task;		/* what the tasks have in common; task.function is NULL where there are none */
} DbosSubscription;

/* False when the topic has none of that name; allocated in the current context. */
extern bool dbos_subscription_find(Oid topic, const text *name, DbosSubscription *found);
/* The first one of that topic with a higher id, or, with pushed, that the background delivers, of any topic. */
extern bool dbos_subscription_after(int32 id, Oid topic, bool pushed, DbosSubscription *found);
/* One transaction at a time moves a subscription; false: wait is false, and somebody has it. */
extern bool dbos_subscription_lock(int32 id, bool wait);
extern void dbos_subscription_add_lost(int32 id, int64 lost);
/* What keeps it from being delivered; NULL: nothing. */
extern void dbos_subscription_note_error(int32 id, const char *error);
extern void dbos_subscription_register(void);
/* Raises where others than dbos act on the rows of a mailbox or topic, or policies apply to the current role. */
extern void dbos_check_deliverable(const DbosMailbox *mailbox);
/* Of topics that were dropped as any table is. */
extern void dbos_topics_forget_dropped(void);

/* ---- topic.c ---- */

/* What of a topic its table does not say; for the cache of mailboxes. */
extern void dbos_topic_read_facts(DbosMailbox *topic);

/* ---- topic_scan.c: the messages of a topic in order ---- */

/* A segment that the scan has not come to yet. */
typedef struct DbosTopicLater
{
	DbosSegment segment;
	int64		low;			/* its ids are not lower */
} DbosTopicLater;

typedef struct DbosTopicScan
{
	Snapshot	snapshot;
	int64		lo;
	int64		hi;
	int			nsegments;		/* that are open, and have more */
	DbosSegmentScan *segments;
	int			nlater;
	DbosTopicLater *later;		/* descending by low: the last one is next */
	DbosSegmentScan *at;		/* the message that comes next; NULL: no more */
	int64		id;				/* its id */
} DbosTopicScan;

extern void dbos_topic_scan_begin(DbosTopicScan *scan, const DbosMailbox *topic, int64 lo, int64 hi);
extern void dbos_topic_scan_next(DbosTopicScan *scan);
extern void dbos_topic_scan_end(DbosTopicScan *scan);
/* Whether the message that comes next contains the filter. */
extern bool dbos_topic_scan_passes(const DbosTopicScan *scan, const Jsonb *filter);
/* The highest id that the snapshot sees; 0: none. */
extern int64 dbos_topic_newest(const DbosMailbox *topic, Snapshot snapshot);
/* The oldest (forward) or newest (backward) message of a segment, NULL: also of those that may yet commit; false: there is none. */
extern bool dbos_segment_edge(DbosSegment *segment, ScanDirection direction, Snapshot snapshot, int64 *id, TimestampTz *sent_at);

/* ---- topic_retention.c ---- */

/* True when something is to be dropped, and could not be now. */
extern bool dbos_topic_retain(DbosMailbox *topic);

/* ---- topic_deliver.c ---- */

extern void dbos_topic_duty_register(void);

#endif							/* DBOS_TOPIC_H */
