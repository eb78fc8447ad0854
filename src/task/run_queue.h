/*
 * run_queue.h
 *	  Which waiting task runs next: what the run queue in shared memory is made of.
 *
 * The waiting tasks of one login role in one queue and partition are a lane, a heap in
 * the order of the queue's policy.  The lanes of a login role in a queue are a track: a
 * heap again, by whose turn it is.  All of it is a hint, guarded by
 * DbosTaskShared.lock; see run_queue.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_RUN_QUEUE_H
#define DBOS_TASK_RUN_QUEUE_H

#include "postgres.h"

#include "policy.h"

struct DbosWorker;

#define DBOS_MAX_TRACKS		256
#define DBOS_MAX_QUEUES		128
#define DBOS_NOBODY			(-1)
/* Where the default policy has the share of partitions: after the priority. */
#define DBOS_DEFAULT_SHARE_AT 1

/* The order of the table's index, in which windows of it are read. */
typedef struct DbosTaskKey
{
	int32		priority;
	int64		id;
} DbosTaskKey;

static inline int
dbos_task_key_compare(DbosTaskKey a, DbosTaskKey b)
{
	if (a.priority != b.priority)
		return a.priority < b.priority ? -1 : 1;
	return a.id < b.id ? -1 : (a.id > b.id ? 1 : 0);
}

/* A task that is ready, as the run queue knows it. */
typedef struct DbosTicket
{
	DbosTaskKey key;
	int64		rank[DBOS_RANKS];	/* by the policy; lower first, then by key */
	uint64		partition;		/* dbos_partition_hash() of its partition key; 0: none */
	int32		cost;			/* microseconds that it is expected to take */
} DbosTicket;

typedef struct DbosHeapLink
{
	int32		child;
	int32		sibling;		/* next child of the same parent; next free element */
	int32		previous;		/* the parent of a first child, else the sibling before */
} DbosHeapLink;

/* A ticket in the pool; its partition is its lane's. */
typedef struct DbosRunEntry
{
	int32		priority;
	int32		cost;
	int64		id;
	int64		rank[DBOS_RANKS];
	DbosHeapLink link;
} DbosRunEntry;

/*
 * The waiting tasks of one login role in one partition of a queue.  Every ready row of
 * the table with a key up to `complete` is in the heap, running, or done; rows
 * beyond it may be in the table alone (the lane is then spilled).
 */
typedef struct DbosLane
{
	int32		track;			/* DBOS_NOBODY: the lane is free */
	int32		next;			/* of the same bucket; next free lane */
	uint64		partition;
	int32		root;			/* of the heap; DBOS_NOBODY when empty */
	int32		count;
	bool		spilled;
	bool		refilling;		/* a scheduler reads the table for this lane */
	bool		missed;			/* a push beyond `complete` was dropped meanwhile */
	bool		listed;			/* in its track's heap: it has tasks and does not rest */
	DbosHeapLink link;
	DbosTaskKey complete;
	int64		turn;			/* virtual time of its next task, beside its track's clock */
	TimestampTz rests_until;	/* the partition's limit is reached; 0: it is not */
} DbosLane;

typedef struct DbosTrack
{
	Oid			database;		/* InvalidOid: the track is free */
	Oid			session_role;
	int32		queue_id;
	int32		lanes;			/* that there are */
	int32		count;			/* tasks in them */
	int32		refills;		/* lanes that a scheduler reads the table for */
	int32		root;			/* of the heap of listed lanes */
	int8		share_at;		/* of the queue's policy */
	int64		clock;			/* virtual time of the partitions: when the last choice's turn was */
	int64		turn;			/* virtual time of its next task, beside the login's other tracks */
} DbosTrack;

/* What is said of a queue in its row. */
typedef struct DbosQueueFacts
{
	int32		queue_id;
	int32		concurrency;	/* -1: no limit; so all of these */
	int32		partition_concurrency;
	int32		rate_limit;		/* starts in any rate_period */
	int32		partition_rate_limit;
	int64		rate_period;	/* microseconds */
	bool		paused;
	bool		policy_changed; /* what was ranked before was so by another */
	DbosPolicy	policy;
} DbosQueueFacts;

/* Of a queue that is known, or about which nothing can be said now. */
#define DBOS_NO_FACTS(id) \
	{.queue_id = (id), .concurrency = -1, .partition_concurrency = -1, .rate_limit = -1, \
	 .partition_rate_limit = -1, .policy = {.share_at = DBOS_DEFAULT_SHARE_AT}}

typedef struct DbosQueueSlot
{
	Oid			database;
	int32		queue_id;
	int32		concurrency;
	int32		partition_concurrency;
	int32		running;
	int8		share_at;		/* of its policy */
	bool		rated;			/* starts are counted, for the queue or for partitions */
	bool		partition_rated;
	bool		paused;
	TimestampTz rests_until;	/* the limit of its rate is reached; 0: it is not */
} DbosQueueSlot;

/* What an executor is given. */
typedef struct DbosGrant
{
	int			count;			/* tickets, of one queue */
	int32		queue_id;
	bool		rated;			/* they are to be counted before they start */
	bool		left;			/* another worker of this login would find something too */
} DbosGrant;

/* ---- run_queue.c: all with the lock held ---- */
extern void dbos_run_queue_push(Oid database, Oid session_role, const DbosQueueFacts *queue,
								const DbosTicket *ticket);
extern void dbos_run_queue_pop(Oid database, Oid session_role, int limit, DbosTicket *tickets,
							   DbosGrant *grant);
extern int	dbos_run_queue_peek(Oid database, Oid session_role, int64 *tasks, int limit);
extern struct DbosWorker *dbos_run_queue_runner(Oid database, int64 task);
extern void dbos_run_queue_done(struct DbosWorker *worker);
extern int32 dbos_run_queue_suspend(struct DbosWorker *worker);
extern int32 dbos_run_queue_resume(Oid database, int32 queue_id);
extern void dbos_run_queue_rest(Oid database, Oid session_role, int32 queue_id, uint64 partition,
								TimestampTz until);
extern TimestampTz dbos_run_queue_end_rests(Oid database, TimestampTz now);
extern void dbos_run_queue_alter(Oid database, const DbosQueueFacts *queue);
extern void dbos_run_queue_forget(Oid database);
extern void dbos_run_queue_forget_login(Oid database, Oid session_role);
extern void dbos_run_queue_wake(Oid database, Oid session_role);

/* ---- lane.c: all with the lock held ---- */
extern bool dbos_ticket_before(const DbosTicket *a, const DbosTicket *b);
extern DbosTrack *dbos_track_find(Oid database, Oid session_role, int32 queue_id);
extern bool dbos_track_runnable(const DbosTrack *track);
extern DbosLane *dbos_lane_at(int32 lane);
extern DbosLane *dbos_lane_find(Oid database, Oid session_role, int32 queue_id, uint64 partition,
								bool create);
extern int	dbos_lane_room(void);
extern bool dbos_lane_wants_refill(const DbosLane *lane);
extern int	dbos_lane_refill_rows(const DbosLane *lane, int window);
extern void dbos_lane_refill_begin(DbosLane *lane);
extern void dbos_lane_refill_end(DbosLane *lane);
extern void dbos_lane_knows_all(DbosLane *lane);
extern bool dbos_lane_add(DbosLane *lane, const DbosTicket *ticket); /* false: no free entry */
extern bool dbos_lane_add_or_evict(DbosLane *lane, const DbosTicket *ticket);
extern bool dbos_lane_first(const DbosLane *lane, DbosTicket *ticket);
extern void dbos_lane_pop(DbosLane *lane, DbosTicket *ticket);
extern void dbos_lane_spill(DbosLane *lane, DbosTaskKey key);
extern void dbos_lane_forget(DbosLane *lane);	/* the table alone knows what there is */
extern void dbos_lane_free(DbosLane *lane);
extern void dbos_lane_tidy(DbosLane *lane);
extern void dbos_lane_rest(DbosLane *lane, TimestampTz until);
extern void dbos_lane_end_rest(DbosLane *lane);
extern int	dbos_lane_peek(const DbosLane *lane, int64 *tasks, int limit);

/* ---- queue_slot.c: all with the lock held ---- */
extern DbosQueueSlot *dbos_queue_slot_find(Oid database, int32 queue_id);
extern DbosQueueSlot *dbos_queue_slot_claim(Oid database, int32 queue_id);
extern void dbos_queue_slot_set(DbosQueueSlot *slot, const DbosQueueFacts *facts);
extern bool dbos_queue_slot_open(const DbosQueueSlot *slot);
extern bool dbos_run_queue_know(Oid database, const DbosQueueFacts *facts); /* before a refill */
extern int	dbos_run_queue_running(Oid database, int32 queue_id);
extern int	dbos_partition_running(Oid database, int32 queue_id, uint64 partition);
extern void dbos_queue_slots_forget(Oid database);

#endif							/* DBOS_TASK_RUN_QUEUE_H */
