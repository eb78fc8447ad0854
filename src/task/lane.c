/*
 * lane.c
 *	  Lanes of waiting tasks, their heaps, and the tracks that they are on.
 *
 * Every function here is called with DbosTaskShared.lock held exclusively, in any
 * process, also from commit and abort callbacks: nothing allocates, raises or
 * waits.  An entry may be stale or there twice: who pops it looks at the row.  What
 * must not happen is that a ready row is known to nobody, so each place that gives an
 * entry up says in the lane (spilled, complete) that the table knows more than the
 * heap.
 *
 * All lanes share one pool of entries.  The last eighth of it is left to lanes that
 * hold little, so that a flood in one lane does not keep the others in the table.
 *
 * A lane of a partition is there as long as it has tasks, or its rows may be in the
 * table alone.  That of the tasks without a partition stays until its place is needed.
 *
 * The share of partitions is start-time fair queueing (Goyal, Vin and Cheng, 1996):
 * a lane's turn is the virtual time at which its next task would begin if
 * partitions ran side by side, and its track's clock that of the last choice.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <limits.h>

#include "common/hashfn.h"
#include "utils/timestamp.h"

#include "task.h"

/* A spilled lane with fewer entries than this is read from the table again. */
#define LOW_WATER 256
/* The part of the pool that is left to lanes below the low water mark. */
#define RESERVE_DIVISOR 8
/* How deep the search for an entry that gives way goes. */
#define MAX_EVICT_DEPTH 64

static const DbosTaskKey key_infinite = {INT_MAX, PG_INT64_MAX};
static const DbosTaskKey key_none = {INT_MIN, 0};

/* ---- order ---- */

static int
compare_ranks(const int64 *a, const int64 *b, int from, int to)
{
	for (int i = from; i < to; i++)
		if (a[i] != b[i])
			return a[i] < b[i] ? -1 : 1;
	return 0;
}

static bool
entry_before(const DbosRunEntry *a, const DbosRunEntry *b)
{
	int			order = compare_ranks(a->rank, b->rank, 0, DBOS_RANKS);

	if (order != 0)
		return order < 0;
	return a->priority != b->priority ? a->priority < b->priority : a->id < b->id;
}

bool
dbos_ticket_before(const DbosTicket *a, const DbosTicket *b)
{
	int			order = compare_ranks(a->rank, b->rank, 0, DBOS_RANKS);

	return order != 0 ? order < 0 : dbos_task_key_compare(a->key, b->key) < 0;
}

#define HEAP_PREFIX entries
#define HEAP_LINK(i) (dbos_run_entries()[i].link)
#define HEAP_BEFORE(a, b) entry_before(&dbos_run_entries()[a], &dbos_run_entries()[b])
#include "pairing_heap.h"

/* Whose first task is next.  Both lanes are of one track and have tasks. */
static bool
lane_before(const DbosLane *a, const DbosLane *b)
{
	const DbosRunEntry *first = &dbos_run_entries()[a->root];
	const DbosRunEntry *second = &dbos_run_entries()[b->root];
	int			share = dbos_task_shared->tracks[a->track].share_at;
	int			order = compare_ranks(first->rank, second->rank, 0, Max(share, 0));

	if (order == 0 && share >= 0 && a->turn != b->turn)
		order = a->turn < b->turn ? -1 : 1;
	return order != 0 ? order < 0 : entry_before(first, second);
}

#define HEAP_PREFIX lanes
#define HEAP_LINK(i) (dbos_lane_at(i)->link)
#define HEAP_BEFORE(a, b) lane_before(dbos_lane_at(a), dbos_lane_at(b))
#include "pairing_heap.h"

/* ---- the pool of entries ---- */

/* Free entries. */
int
dbos_lane_room(void)
{
	return dbos_task_shared->nentries - dbos_task_shared->entries_used;
}

static int
low_water(void)
{
	return Min(LOW_WATER, dbos_task_shared->nentries / 8);
}

static bool
lane_has_room(const DbosLane *lane)
{
	int			room = dbos_lane_room();

	return room > 0 &&
		(lane->count < low_water() || room > dbos_task_shared->nentries / RESERVE_DIVISOR);
}

static void
entry_free(int32 entry)
{
	dbos_run_entries()[entry].link.sibling = dbos_task_shared->free_entry;
	dbos_task_shared->free_entry = entry;
	dbos_task_shared->entries_used--;
}

/* The caller has seen that there is a free entry. */
static int32
entry_take(const DbosTicket *ticket)
{
	int32		number = dbos_task_shared->free_entry;
	DbosRunEntry *entry = &dbos_run_entries()[number];

	Assert(number != DBOS_NOBODY);
	dbos_task_shared->free_entry = entry->link.sibling;
	dbos_task_shared->entries_used++;
	entry->priority = ticket->key.priority;
	entry->cost = ticket->cost;
	entry->id = ticket->key.id;
	memcpy(entry->rank, ticket->rank, sizeof(entry->rank));
	entry->link.child = entry->link.sibling = entry->link.previous = DBOS_NOBODY;
	return number;
}

static void
read_entry(int32 number, uint64 partition, DbosTicket *ticket)
{
	const DbosRunEntry *entry = &dbos_run_entries()[number];

	ticket->key.priority = entry->priority;
	ticket->key.id = entry->id;
	memcpy(ticket->rank, entry->rank, sizeof(ticket->rank));
	ticket->partition = partition;
	ticket->cost = entry->cost;
}

/* ---- tracks ---- */

DbosTrack *
dbos_track_find(Oid database, Oid session_role, int32 queue_id)
{
	for (int i = 0; i < dbos_task_shared->ntracks; i++)
	{
		DbosTrack  *track = &dbos_task_shared->tracks[i];

		if (track->queue_id == queue_id && track->session_role == session_role &&
			track->database == database)
			return track;
	}
	return NULL;
}

/* Whether a task of the track could start now, as far as its queue is concerned. */
bool
dbos_track_runnable(const DbosTrack *track)
{
	const DbosQueueSlot *slot;

	if (track->database == InvalidOid || track->root == DBOS_NOBODY)
		return false;
	slot = dbos_queue_slot_find(track->database, track->queue_id);
	return slot == NULL || dbos_queue_slot_open(slot);
}

/* A track that nobody uses, or one whose lane is empty and knows that the table has no more. */
static DbosTrack *
track_claim(void)
{
	DbosTaskShared *shared = dbos_task_shared;

	for (int i = 0; i < shared->ntracks; i++)
		if (shared->tracks[i].database == InvalidOid)
			return &shared->tracks[i];
	if (shared->ntracks < DBOS_MAX_TRACKS)
		return &shared->tracks[shared->ntracks++];
	for (int i = 0; i < shared->nlanes; i++)
	{
		DbosLane   *lane = dbos_lane_at(i);
		DbosTrack  *track;

		if (lane->track == DBOS_NOBODY || lane->count > 0 || lane->spilled || lane->refilling)
			continue;
		track = &shared->tracks[lane->track];
		if (track->lanes > 1)
			continue;
		dbos_lane_free(lane);
		return track;
	}
	return NULL;
}

static DbosTrack *
track_begin(Oid database, Oid session_role, int32 queue_id)
{
	DbosTrack  *track = track_claim();
	const DbosQueueSlot *slot = dbos_queue_slot_find(database, queue_id);

	if (track == NULL)
		return NULL;
	memset(track, 0, sizeof(*track));
	track->share_at = slot == NULL ? DBOS_DEFAULT_SHARE_AT : slot->share_at;
	track->database = database;
	track->session_role = session_role;
	track->queue_id = queue_id;
	track->root = DBOS_NOBODY;
	return track;
}

/* A track that had nothing begins where the login's others are: it has saved up no turns. */
static void
track_catch_up(DbosTrack *track)
{
	int64		least = PG_INT64_MAX;

	for (int i = 0; i < dbos_task_shared->ntracks; i++)
	{
		const DbosTrack *other = &dbos_task_shared->tracks[i];

		if (other != track && other->database == track->database &&
			other->session_role == track->session_role && other->root != DBOS_NOBODY)
			least = Min(least, other->turn);
	}
	if (least != PG_INT64_MAX)
		track->turn = Max(track->turn, least);
}

/* ---- lanes ---- */

static int32
lane_number(const DbosLane *lane)
{
	return lane - dbos_lane_at(0);
}

static int32 *
bucket_of(int32 track, uint64 partition)
{
	return &dbos_lane_buckets()[hash_combine64(partition, track) % dbos_task_shared->nlanes];
}

/* Enters the lane into its track's heap, if it has tasks and may run them. */
static void
lane_list(DbosLane *lane)
{
	DbosTrack  *track = &dbos_task_shared->tracks[lane->track];
	bool		first = track->root == DBOS_NOBODY;

	if (lane->listed || lane->count == 0 || lane->rests_until != 0)
		return;
	lane->listed = true;
	lane->turn = Max(lane->turn, track->clock);
	lane->link.child = lane->link.sibling = lane->link.previous = DBOS_NOBODY;
	track->root = lanes_meld(track->root, lane_number(lane));
	if (first)
		track_catch_up(track);
}

static void
lane_unlist(DbosLane *lane)
{
	DbosTrack  *track = &dbos_task_shared->tracks[lane->track];
	int32		number = lane_number(lane);

	if (!lane->listed)
		return;
	lane->listed = false;
	if (track->root == number)
		track->root = lanes_pop(number);
	else
	{
		lanes_cut(number);
		track->root = lanes_meld(track->root, lanes_pop(number));
	}
}

/* A free lane, or that of tasks without a partition which has nothing and knows that the table has no more. */
static DbosLane *
lane_claim(void)
{
	DbosTaskShared *shared = dbos_task_shared;
	DbosLane   *lane;

	for (int i = 0; i < shared->nlanes && shared->free_lane == DBOS_NOBODY; i++)
	{
		lane = dbos_lane_at(i);
		if (lane->count == 0 && !lane->spilled && !lane->refilling)
			dbos_lane_free(lane);
	}
	if (shared->free_lane == DBOS_NOBODY)
		return NULL;
	lane = dbos_lane_at(shared->free_lane);
	shared->free_lane = lane->next;
	return lane;
}

/* A new lane knows all ready rows only if somebody has looked for all lanes of the database before. */
static DbosLane *
lane_begin(DbosTrack *track, uint64 partition)
{
	const DbosDatabase *database = dbos_database_find(track->database, false);
	DbosLane   *lane = lane_claim();
	int32	   *bucket;

	if (lane == NULL)
		return NULL;
	memset(lane, 0, sizeof(*lane));
	lane->track = track - dbos_task_shared->tracks;
	lane->partition = partition;
	lane->root = DBOS_NOBODY;
	lane->spilled = database == NULL || !database->opened || database->lanes_missing;
	lane->complete = lane->spilled ? key_none : key_infinite;
	bucket = bucket_of(lane->track, partition);
	lane->next = *bucket;
	*bucket = lane_number(lane);
	track->lanes++;
	return lane;
}

/*
 * The lane of a login role in a partition of a queue; NULL when there is none, or,
 * with create, when the tables of tracks or lanes are full.
 */
DbosLane *
dbos_lane_find(Oid database, Oid session_role, int32 queue_id, uint64 partition, bool create)
{
	DbosTrack  *track = dbos_track_find(database, session_role, queue_id);
	DbosLane   *lane;

	if (track == NULL && create)
		track = track_begin(database, session_role, queue_id);
	if (track == NULL)
		return NULL;
	for (int32 i = *bucket_of(track - dbos_task_shared->tracks, partition); i != DBOS_NOBODY; i = lane->next)
	{
		lane = dbos_lane_at(i);
		if (lane->partition == partition && lane->track == track - dbos_task_shared->tracks)
			return lane;
	}
	if (!create)
		return NULL;
	lane = lane_begin(track, partition);
	if (track->lanes == 0)
		track->database = InvalidOid;
	return lane;
}

/* Frees the entries of a lane in any order. */
static void
lane_clear(DbosLane *lane)
{
	DbosRunEntry *entries = dbos_run_entries();
	int32		todo = lane->root;

	lane_unlist(lane);
	/* The list of what is to be freed grows by the children of its head. */
	while (todo != DBOS_NOBODY)
	{
		int32		entry = todo;
		int32		child = entries[entry].link.child;

		todo = entries[entry].link.sibling;
		while (child != DBOS_NOBODY)
		{
			int32		next = entries[child].link.sibling;

			entries[child].link.sibling = todo;
			todo = child;
			child = next;
		}
		entry_free(entry);
	}
	dbos_task_shared->tracks[lane->track].count -= lane->count;
	lane->root = DBOS_NOBODY;
	lane->count = 0;
}

/* The lane's place is another's, and so is its track's when it was the last on it. */
void
dbos_lane_free(DbosLane *lane)
{
	DbosTrack  *track = &dbos_task_shared->tracks[lane->track];
	int32	   *at;

	lane_clear(lane);
	if (lane->rests_until != 0)
		dbos_task_shared->nresting--;
	at = bucket_of(lane->track, lane->partition);
	while (*at != lane_number(lane))
		at = &dbos_lane_at(*at)->next;
	*at = lane->next;
	if (--track->lanes == 0)
		memset(track, 0, sizeof(*track));
	memset(lane, 0, sizeof(*lane));
	lane->track = DBOS_NOBODY;
	lane->next = dbos_task_shared->free_lane;
	dbos_task_shared->free_lane = lane_number(lane);
}

/* A partition's lane that is of no use any more goes. */
void
dbos_lane_tidy(DbosLane *lane)
{
	if (lane->count == 0 && lane->partition != 0 && !lane->spilled && !lane->refilling &&
		lane->rests_until == 0)
		dbos_lane_free(lane);
}

/* What the lane knew is forgotten: the table is read again, by the policy that is then there. */
void
dbos_lane_forget(DbosLane *lane)
{
	lane_clear(lane);
	lane->spilled = true;
	lane->complete = key_none;
	lane->missed = lane->refilling;
}

/* ---- tickets in and out ---- */

static void
lane_insert(DbosLane *lane, const DbosTicket *ticket)
{
	int32		entry = entry_take(ticket);
	DbosTrack  *track = &dbos_task_shared->tracks[lane->track];
	int32		number = lane_number(lane);

	lane->root = entries_meld(lane->root, entry);
	lane->count++;
	track->count++;
	if (!lane->listed)
		lane_list(lane);
	else if (lane->root == entry && track->root != number)
	{
		/* Its turn may have come nearer. */
		lanes_cut(number);
		track->root = lanes_meld(track->root, number);
	}
}

/*
 * Adds a row that a scheduler read to the lane that it refills; false when the
 * lane gets no entry, and the window that was read ends before this key.
 */
bool
dbos_lane_add(DbosLane *lane, const DbosTicket *ticket)
{
	if (!lane_has_room(lane))
		return false;
	lane_insert(lane, ticket);
	return true;
}

/*
 * A better task comes and the lane gets no entry: a later one of the lane gives way
 * and is read from the table in its turn.  Without this an urgent task would wait
 * until all that is in the heap has run.  Tasks that came in order are direct children
 * of the root, latest first, so the first leaf found is nearly always a late one.
 */
static bool
lane_evict(DbosLane *lane, const DbosTicket *ticket)
{
	DbosRunEntry *entries = dbos_run_entries();
	int32		leaf = lane->root;
	DbosTicket	evicted;

	if (leaf == DBOS_NOBODY || entries[leaf].link.child == DBOS_NOBODY)
		return false;
	for (int depth = 0; entries[leaf].link.child != DBOS_NOBODY; depth++)
	{
		if (depth == MAX_EVICT_DEPTH)
			return false;
		leaf = entries[leaf].link.child;
	}
	read_entry(leaf, 0, &evicted);
	if (!dbos_ticket_before(ticket, &evicted))
		return false;
	dbos_lane_spill(lane, evicted.key);
	entries_cut(leaf);
	entry_free(leaf);
	lane->count--;
	dbos_task_shared->tracks[lane->track].count--;
	return true;
}

/* The same for a task that was pushed; false when it stays in the table alone. */
bool
dbos_lane_add_or_evict(DbosLane *lane, const DbosTicket *ticket)
{
	if (!lane_has_room(lane) && !lane_evict(lane, ticket))
		return false;
	lane_insert(lane, ticket);
	return true;
}

/* The first task of the lane; false when there is none. */
bool
dbos_lane_first(const DbosLane *lane, DbosTicket *ticket)
{
	if (lane->count == 0)
		return false;
	read_entry(lane->root, lane->partition, ticket);
	return true;
}

/* Takes the first task of a lane that is listed and whose turn it is. */
void
dbos_lane_pop(DbosLane *lane, DbosTicket *ticket)
{
	DbosTrack  *track = &dbos_task_shared->tracks[lane->track];
	int32		entry = lane->root;

	read_entry(entry, lane->partition, ticket);
	lane_unlist(lane);
	lane->root = entries_pop(entry);
	entry_free(entry);
	lane->count--;
	track->count--;
	track->clock = Max(track->clock, lane->turn);
	lane->turn += ticket->cost;
	track->turn += ticket->cost;
	lane_list(lane);
}

/* The row of this key is in the table alone from now on. */
void
dbos_lane_spill(DbosLane *lane, DbosTaskKey key)
{
	key.id--;
	lane->spilled = true;
	if (dbos_task_key_compare(key, lane->complete) < 0)
		lane->complete = key;
	/* The scheduler's read may have begun before the row was there. */
	if (lane->refilling)
		lane->missed = true;
}

/* The ids of up to `limit` tasks, the first one first, the others as they lie. */
int
dbos_lane_peek(const DbosLane *lane, int64 *tasks, int limit)
{
	const DbosRunEntry *entries = dbos_run_entries();
	int			count = 0;
	int32		entry;

	if (lane->count == 0 || limit == 0)
		return 0;
	tasks[count++] = entries[lane->root].id;
	for (entry = entries[lane->root].link.child; entry != DBOS_NOBODY && count < limit;
		 entry = entries[entry].link.sibling)
		tasks[count++] = entries[entry].id;
	return count;
}

/* ---- refill ---- */

/* Whether a scheduler should read rows of the lane from the table. */
bool
dbos_lane_wants_refill(const DbosLane *lane)
{
	return lane->track != DBOS_NOBODY && lane->spilled && !lane->refilling &&
		lane->count < low_water();
}

/*
 * How many rows a refill of the lane should read: as many as it would keep.  In
 * a nearly full pool that is what lifts it to the low water mark, and no window.
 */
int
dbos_lane_refill_rows(const DbosLane *lane, int window)
{
	int			spare = dbos_lane_room() - dbos_task_shared->nentries / RESERVE_DIVISOR;

	return Max(Min(window, Max(spare, low_water() - lane->count)), 1);
}

/* Pushes beyond what the lane knows are taken, or noted as missed, until the end. */
void
dbos_lane_refill_begin(DbosLane *lane)
{
	lane->refilling = true;
	lane->missed = false;
	dbos_task_shared->tracks[lane->track].refills++;
}

void
dbos_lane_refill_end(DbosLane *lane)
{
	lane->refilling = false;
	dbos_task_shared->tracks[lane->track].refills--;
}

/* The table has no more of it. */
void
dbos_lane_knows_all(DbosLane *lane)
{
	lane->spilled = false;
	lane->complete = key_infinite;
}

/* ---- rests ---- */

/* The limit of the partition keeps the lane until this time, or, PG_INT64_MAX, until another task of it ends. */
void
dbos_lane_rest(DbosLane *lane, TimestampTz until)
{
	lane_unlist(lane);
	if (lane->rests_until == 0)
		dbos_task_shared->nresting++;
	lane->rests_until = until;
}

void
dbos_lane_end_rest(DbosLane *lane)
{
	if (lane->rests_until == 0)
		return;
	dbos_task_shared->nresting--;
	lane->rests_until = 0;
	lane_list(lane);
	dbos_lane_tidy(lane);
}
