/*
 * refill.c
 *	  From the table into the run queue: duties of a scheduler.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "scheduler.h"
#include "task.h"

/* Rows that a refill reads at most, and of those so many that are added while the lock is held once. */
#define WINDOW 8192
#define ADDED_AT_ONCE 512

typedef struct FoundLane
{
	Oid			session_role;
	int32		queue_id;
	uint64		partition;
} FoundLane;

/* ---- who has ready tasks ---- */

/*
 * Every (queue, login role, partition) with ready rows, by skipping from one to the next
 * in the two indexes, however many rows each has.
 */
#define FIRST_OF(columns, expressions, condition) \
	"(SELECT " expressions " FROM dbos.task t WHERE NOT t.held AND " condition \
	" ORDER BY " columns " LIMIT 1)"

#define PLAIN "t.queue_id, t.session_role"
#define PLAIN_CONDITION "t.partition_key IS NULL"
#define PARTS "t.queue_id, t.session_role, " DBOS_PARTITION_HASH
#define PARTS_CONDITION "t.partition_key IS NOT NULL"

static DbosPlan find_plan = {
	.sql = "WITH RECURSIVE plain(queue_id, session_role) AS ("
	FIRST_OF(PLAIN, PLAIN, PLAIN_CONDITION)
	" UNION ALL SELECT n.queue_id, n.session_role FROM plain l, LATERAL "
	FIRST_OF(PLAIN, PLAIN, PLAIN_CONDITION
			 " AND ROW(t.queue_id, t.session_role::pg_catalog.oid)"
			 " OPERATOR(pg_catalog.>) ROW(l.queue_id, l.session_role::pg_catalog.oid)") " n),"
	" parts(queue_id, session_role, partition) AS ("
	FIRST_OF(PARTS, PARTS, PARTS_CONDITION)
	" UNION ALL SELECT n.queue_id, n.session_role, n.partition FROM parts l, LATERAL "
	FIRST_OF(PARTS, PARTS " AS partition", PARTS_CONDITION
			 " AND ROW(t.queue_id, t.session_role::pg_catalog.oid, " DBOS_PARTITION_HASH ")"
			 " OPERATOR(pg_catalog.>) ROW(l.queue_id, l.session_role::pg_catalog.oid, l.partition)") " n)"
	" SELECT session_role::pg_catalog.oid, queue_id, 0::pg_catalog.int8 FROM plain"
	" UNION ALL SELECT session_role::pg_catalog.oid, queue_id, partition FROM parts",
};

static uint64
read_lanes(FoundLane **found, DbosQueueFacts **facts)
{
	uint64		count = dbos_plan_execute(&find_plan, NULL, NULL, false, 0);

	*found = MemoryContextAllocHuge(dbos_round_context, Max(count, 1) * sizeof(FoundLane));
	*facts = MemoryContextAllocHuge(dbos_round_context, Max(count, 1) * sizeof(DbosQueueFacts));
	for (uint64 i = 0; i < count; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		FoundLane  *lane = &(*found)[i];
		bool		null;

		lane->session_role = DatumGetObjectId(SPI_getbinval(row, desc, 1, &null));
		lane->queue_id = DatumGetInt32(SPI_getbinval(row, desc, 2, &null));
		lane->partition = (uint64) DatumGetInt64(SPI_getbinval(row, desc, 3, &null));
	}
	for (uint64 i = 0; i < count; i++)
	{
		/* In order of the queue: mostly it is the one before. */
		if (i > 0 && (*found)[i].queue_id == (*found)[i - 1].queue_id)
			(*facts)[i] = (*facts)[i - 1];
		else
			(void) dbos_queue_by_id_if_any((*found)[i].queue_id, &(*facts)[i]);
	}
	return count;
}

/* Makes the lane known; false when there is no room for it.  The lock is held. */
static bool
make_lane(const FoundLane *found, const DbosQueueFacts *facts)
{
	DbosLane   *lane;

	(void) dbos_run_queue_know(MyDatabaseId, facts);
	/* One that is there says itself what of it is known. */
	lane = dbos_lane_find(MyDatabaseId, found->session_role, found->queue_id, found->partition, true);
	return lane != NULL;
}

void
dbos_find_lanes(void *unused)
{
	static DbosPlan dependent = {
		.sql = "SELECT 1 FROM dbos.task_dependency LIMIT 1",
	};
	DbosOwnerScope scope;
	FoundLane  *found;
	DbosQueueFacts *facts;
	uint64		count;
	bool		blocked;
	DbosDatabase *database;

	DBOS_TASK_LOCK();
	database = dbos_database_find(MyDatabaseId, true);
	database->opened = false;
	database->lanes_missing = false;
	DBOS_TASK_UNLOCK();

	dbos_owner_begin(&scope);
	count = read_lanes(&found, &facts);
	blocked = dbos_plan_execute(&dependent, NULL, NULL, false, 1) > 0;
	dbos_owner_end(&scope);

	DBOS_TASK_LOCK();
	database = dbos_database_find(MyDatabaseId, true);
	for (uint64 i = 0; i < count; i++)
	{
		/* Nothing moves them: the next round looks for those that did not fit. */
		if (!make_lane(&found[i], &facts[i]))
		{
			database->lanes_missing = true;
			break;
		}
		if (i % ADDED_AT_ONCE == ADDED_AT_ONCE - 1)
		{
			DBOS_TASK_UNLOCK();
			DBOS_TASK_LOCK();
		}
	}
	if (blocked)
		database->blocked_tasks = true;
	/* A lane that a push makes from now on holds all that there is of it. */
	if (!database->lanes_missing)
		database->opened = true;
	DBOS_TASK_UNLOCK();
}

/* ---- refill ---- */

/* What was read of a lane. */
typedef struct Window
{
	DbosQueueFacts facts;
	DbosTicket *tickets;
	uint64		count;
	uint64		limit;
} Window;

static void
read_window(const FoundLane *which, DbosTaskKey from, Window *window)
{
	static DbosPlan without_partition = {
		.sql = DBOS_WINDOW_WITHOUT_PARTITION,
		.nargs = 5,
		.argtypes = {INT4OID, OIDOID, INT4OID, INT8OID, INT4OID},
	};
	static DbosPlan of_partition = {
		.sql = DBOS_WINDOW_OF_PARTITION,
		.nargs = 6,
		.argtypes = {INT4OID, OIDOID, INT4OID, INT8OID, INT4OID, INT8OID},
	};
	Datum		values[6] = {Int32GetDatum(which->queue_id), ObjectIdGetDatum(which->session_role),
		Int32GetDatum(from.priority), Int64GetDatum(from.id), Int32GetDatum((int32) window->limit),
	Int64GetDatum((int64) which->partition)};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	/* Of a dropped queue there are no rows, and the lane comes to its end. */
	(void) dbos_queue_by_id_if_any(which->queue_id, &window->facts);
	window->count = dbos_plan_execute(which->partition == 0 ? &without_partition : &of_partition,
									  values, NULL, false, 0);
	window->tickets = MemoryContextAlloc(dbos_round_context, Max(window->count, 1) * sizeof(DbosTicket));
	for (uint64 i = 0; i < window->count; i++)
		dbos_ready_read(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &window->facts.policy,
						&window->tickets[i]);
	dbos_owner_end(&scope);
}

static DbosLane *
refilling_lane(const FoundLane *which)
{
	DbosLane   *lane = dbos_lane_find(MyDatabaseId, which->session_role, which->queue_id, which->partition, false);

	return lane != NULL && lane->refilling ? lane : NULL;
}

/*
 * Adds what was read to the lane, a part at a time, since all that is pushed or taken
 * waits for the lock.  A lane that refills is not given to others, but goes with its
 * database.
 */
static void
add_window(const FoundLane *which, const Window *window)
{
	DbosLane   *lane;
	bool		fits;

	DBOS_TASK_LOCK();
	lane = refilling_lane(which);
	fits = dbos_run_queue_know(MyDatabaseId, &window->facts);
	for (uint64 i = 0; i < window->count && fits && lane != NULL; i++)
	{
		fits = dbos_lane_add(lane, &window->tickets[i]);
		if (fits && !lane->missed)
			lane->complete = window->tickets[i].key;
		if (i % ADDED_AT_ONCE == ADDED_AT_ONCE - 1)
		{
			dbos_run_queue_wake(MyDatabaseId, which->session_role);
			DBOS_TASK_UNLOCK();
			DBOS_TASK_LOCK();
			lane = refilling_lane(which);
		}
	}
	if (lane != NULL)
	{
		if (fits && !lane->missed && window->count < window->limit)
			dbos_lane_knows_all(lane);
		dbos_lane_refill_end(lane);
		dbos_run_queue_wake(MyDatabaseId, which->session_role);
		dbos_lane_tidy(lane);
	}
	DBOS_TASK_UNLOCK();
}

/*
 * Reads the next window of a lane in the order of the index, from the key up to which
 * it is complete: never from the start, where the dead rows of finished tasks lie.
 * The lane takes pushes beyond that key while it is read (refilling), so that a
 * commit after the snapshot is not lost.
 */
static void
refill_lane(void *argument)
{
	FoundLane  *which = argument;
	DbosLane   *lane;
	DbosTaskKey from;
	Window		window;

	DBOS_TASK_LOCK();
	lane = dbos_lane_find(MyDatabaseId, which->session_role, which->queue_id, which->partition, false);
	if (lane == NULL || !dbos_lane_wants_refill(lane))
	{
		DBOS_TASK_UNLOCK();
		return;
	}
	dbos_lane_refill_begin(lane);
	from = lane->complete;
	window.limit = dbos_lane_refill_rows(lane, WINDOW);
	DBOS_TASK_UNLOCK();
	dbos_stop_point("lane refilling");

	PG_TRY();
	{
		read_window(which, from, &window);
	}
	PG_CATCH();
	{
		DBOS_TASK_LOCK();
		lane = refilling_lane(which);
		if (lane != NULL)
			dbos_lane_refill_end(lane);
		DBOS_TASK_UNLOCK();
		PG_RE_THROW();
	}
	PG_END_TRY();
	add_window(which, &window);
}

/* The next lane of this database that wants rows; false when none does. */
static bool
lane_to_refill(FoundLane *which)
{
	static int	at = 0;			/* round and round, so that none waits for ever */
	bool		found = false;

	DBOS_TASK_LOCK();
	/* With no room left at all, others must run first; their ends wake us. */
	for (int i = 0; i < dbos_task_shared->nlanes && !found && dbos_lane_room() > 0; i++)
	{
		DbosLane   *lane = dbos_lane_at(at);
		const DbosTrack *track;

		at = (at + 1) % dbos_task_shared->nlanes;

		if (lane->track == DBOS_NOBODY || !dbos_lane_wants_refill(lane))
			continue;
		track = &dbos_task_shared->tracks[lane->track];
		if (track->database != MyDatabaseId)
			continue;
		which->session_role = track->session_role;
		which->queue_id = track->queue_id;
		which->partition = lane->partition;
		found = true;
	}
	DBOS_TASK_UNLOCK();
	return found;
}

bool
dbos_refill_lanes(void)
{
	FoundLane	which;
	bool		did = false;

	while (lane_to_refill(&which))
	{
		dbos_do_duty("refill the run queue", refill_lane, &which);
		did = true;
	}
	return did;
}
