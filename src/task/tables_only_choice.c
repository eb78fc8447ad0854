/*
 * tables_only_choice.c
 *	  Which task an executor without shared memory of ours runs next.
 *
 * A query reads the first tasks of each queue and of some partitions; the policy orders
 * them here, with the turns that this process has given to queues and partitions.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/hsearch.h"

#include "scheduler.h"
#include "tables_only.h"
#include "task.h"

/* Tasks looked at in each queue, and in a partition of it: more than can run, so one that can is among them. */
#define WINDOW "64"
#define PARTITION_WINDOW "16"
/* Tasks passed by, and queues and partitions found full, that are remembered. */
#define REMEMBERED 64
/* Turns that are remembered. */
#define MAX_TURNS 1024

/* Of a queue (partition 0) or of a partition in it. */
typedef struct TurnKey
{
	int32		queue_id;
	uint64		partition;
} TurnKey;

typedef struct Turn
{
	TurnKey		key;			/* first, zero-padded */
	int64		turn;			/* virtual time */
} Turn;

typedef struct Candidate
{
	DbosTicket	ticket;
	int			facts;			/* number of its queue's */
	int64		queue_turn;
	int64		partition_turn;
} Candidate;

static HTAB *turns = NULL;
static int64 clock_now = 0;		/* the turn of the last choice */
static int64 passed_by[REMEMBERED];
static int	npassed_by = 0;

/* ---- tasks that cannot be had at the moment ---- */

void
dbos_tables_pass_by(int64 task)
{
	if (npassed_by < REMEMBERED)
		passed_by[npassed_by++] = task;
}

void
dbos_tables_forgive(void)
{
	npassed_by = 0;
}

static bool
is_passed_by(int64 task)
{
	for (int i = 0; i < npassed_by; i++)
		if (passed_by[i] == task)
			return true;
	return false;
}

/* ---- turns ---- */

static Turn *
turn_of(int32 queue_id, uint64 partition, bool create)
{
	TurnKey		key;
	Turn	   *turn;
	bool		found;

	if (turns == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(TurnKey),.entrysize = sizeof(Turn)};

		turns = hash_create("dbos turns", 64, &control, HASH_ELEM | HASH_BLOBS);
	}
	memset(&key, 0, sizeof(key));
	key.queue_id = queue_id;
	key.partition = partition;
	if (!create)
		return hash_search(turns, &key, HASH_FIND, NULL);
	if (hash_get_num_entries(turns) >= MAX_TURNS)
	{
		hash_destroy(turns);
		turns = NULL;
		return turn_of(queue_id, partition, true);
	}
	turn = hash_search(turns, &key, HASH_ENTER, &found);
	if (!found)
		turn->turn = clock_now;
	return turn;
}

static int64
read_turn(int32 queue_id, uint64 partition)
{
	const Turn *turn = turn_of(queue_id, partition, false);

	return turn == NULL ? 0 : turn->turn;
}

static void
charge_turns(const Candidate *chosen, int32 queue_id)
{
	if (chosen->ticket.partition != 0)
		turn_of(queue_id, chosen->ticket.partition, true)->turn += chosen->ticket.cost;
	turn_of(queue_id, 0, true)->turn += chosen->ticket.cost;
	clock_now = Max(clock_now, chosen->queue_turn);
}

/* ---- candidates ---- */

static int
compare_ranks(const Candidate *a, const Candidate *b, int from, int to)
{
	for (int i = from; i < to; i++)
		if (a->ticket.rank[i] != b->ticket.rank[i])
			return a->ticket.rank[i] < b->ticket.rank[i] ? -1 : 1;
	return 0;
}

static int
compare_candidates(const void *left, const void *right, void *argument)
{
	const Candidate *a = left;
	const Candidate *b = right;
	const DbosQueueFacts *facts = argument;
	int			share;
	int			order;

	if (a->queue_turn != b->queue_turn)
		return a->queue_turn < b->queue_turn ? -1 : 1;
	if (a->facts != b->facts)
		return dbos_task_key_compare(a->ticket.key, b->ticket.key);
	share = facts[a->facts].policy.share_at;
	order = compare_ranks(a, b, 0, Max(share, 0));
	if (order == 0 && share >= 0 && a->partition_turn != b->partition_turn)
		order = a->partition_turn < b->partition_turn ? -1 : 1;
	if (order == 0)
		order = compare_ranks(a, b, 0, DBOS_RANKS);
	return order != 0 ? order : dbos_task_key_compare(a->ticket.key, b->ticket.key);
}

#define RATE_HOLDS(limit, partition) \
	"(" limit " IS NOT NULL AND (SELECT COALESCE(pg_catalog.sum(b.count), 0) FROM dbos.queue_start s," \
	" ROWS FROM (pg_catalog.unnest(s.started_before), pg_catalog.unnest(s.starts)) b(at, count)" \
	" WHERE s.queue_id OPERATOR(pg_catalog.=) q.id AND s.partition OPERATOR(pg_catalog.=) " partition \
	" AND b.at OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) q.rate_period))" \
	" OPERATOR(pg_catalog.>=) " limit ")"

#define TASKS_OF_LOGIN \
	" FROM dbos.task t WHERE NOT t.held AND t.queue_id OPERATOR(pg_catalog.=) q.id" \
	" AND t.session_role OPERATOR(pg_catalog.=) $1"

/* Partitions after `start`, as far as `more`, by skipping from one to the next in the index. */
#define PARTITIONS(start, more) \
	"(WITH RECURSIVE parts(partition) AS (" \
	" (SELECT " DBOS_PARTITION_HASH TASKS_OF_LOGIN " AND t.partition_key IS NOT NULL" \
	"  AND " DBOS_PARTITION_HASH " OPERATOR(pg_catalog.>) " start more " ORDER BY " DBOS_PARTITION_HASH " LIMIT 1)" \
	" UNION ALL SELECT n.partition FROM parts l, LATERAL" \
	" (SELECT " DBOS_PARTITION_HASH " AS partition" TASKS_OF_LOGIN " AND t.partition_key IS NOT NULL" \
	"  AND " DBOS_PARTITION_HASH " OPERATOR(pg_catalog.>) l.partition" more " ORDER BY " DBOS_PARTITION_HASH " LIMIT 1) n)" \
	" SELECT partition FROM parts LIMIT " WINDOW ")"

/* From one after $2 on, and then from the first: so all have their turn where there are too many to look at. */
#define PARTITIONS_OF_LOGIN \
	PARTITIONS("$2", "") " UNION ALL " \
	PARTITIONS("(-9223372036854775808)", " AND " DBOS_PARTITION_HASH " OPERATOR(pg_catalog.<=) $2")

static uint64
read_candidates(Oid session_role, int64 after)
{
	static DbosPlan plan = {
		.sql = "SELECT q.id, x.* FROM dbos.queue q CROSS JOIN LATERAL ("
		"(SELECT " DBOS_READY_COLUMNS TASKS_OF_LOGIN " AND t.partition_key IS NULL"
		" ORDER BY t.priority, t.id LIMIT " WINDOW ")"
		" UNION ALL"
		" SELECT y.* FROM (" PARTITIONS_OF_LOGIN ") p CROSS JOIN LATERAL"
		" (SELECT " DBOS_READY_COLUMNS TASKS_OF_LOGIN " AND t.partition_key IS NOT NULL"
		"  AND " DBOS_PARTITION_HASH " OPERATOR(pg_catalog.=) p.partition"
		"  ORDER BY t.priority, t.id LIMIT " PARTITION_WINDOW ") y"
		" WHERE NOT " RATE_HOLDS("q.partition_rate_limit", "p.partition")
		") x WHERE NOT q.paused AND q.concurrency IS DISTINCT FROM 0"
		" AND NOT " RATE_HOLDS("q.rate_limit", "0") " ORDER BY q.id",
		.nargs = 2,
		.argtypes = {OIDOID, INT8OID},
	};
	Datum		values[2] = {ObjectIdGetDatum(session_role), Int64GetDatum(after)};

	return dbos_plan_execute(&plan, values, NULL, true, 0);
}

/* The candidates of a login in the order in which they are to be tried, palloc'd, with their queues. */
static Candidate *
find_candidates(Oid session_role, DbosQueueFacts **facts, int *count)
{
	uint64		rows = read_candidates(session_role, (int64) pg_prng_uint64(&pg_global_prng_state));
	SPITupleTable *table;
	Candidate  *found;
	int			nfacts = 0;

	table = SPI_tuptable;
	found = palloc(sizeof(Candidate) * Max(rows, 1));
	*facts = palloc(sizeof(DbosQueueFacts) * Max(rows, 1));
	*count = 0;
	for (uint64 i = 0; i < rows; i++)
	{
		Candidate  *candidate = &found[*count];
		bool		null;
		int32		queue_id = DatumGetInt32(SPI_getbinval(table->vals[i], table->tupdesc, 1, &null));

		if ((nfacts == 0 || (*facts)[nfacts - 1].queue_id != queue_id) &&
			!dbos_queue_by_id_if_any(queue_id, &(*facts)[nfacts++]))
			continue;
		candidate->facts = nfacts - 1;
		dbos_ready_read(table->vals[i], table->tupdesc, 2, &(*facts)[candidate->facts].policy, &candidate->ticket);
		candidate->queue_turn = read_turn(queue_id, 0);
		candidate->partition_turn = candidate->ticket.partition == 0 ? 0 : read_turn(queue_id, candidate->ticket.partition);
		if (!is_passed_by(candidate->ticket.key.id))
			(*count)++;
	}
	qsort_arg(found, *count, sizeof(Candidate), compare_candidates, *facts);
	return found;
}

/* ---- the choice ---- */

/* Queues and partitions that were found at their limits in this look. */
typedef struct Full
{
	int			count;
	TurnKey		keys[REMEMBERED];
} Full;

static bool
is_full(const Full *full, int32 queue_id, uint64 partition)
{
	for (int i = 0; i < full->count; i++)
		if (full->keys[i].queue_id == queue_id &&
			(full->keys[i].partition == 0 || full->keys[i].partition == partition))
			return true;
	return false;
}

static void
remember_full(Full *full, int32 queue_id, uint64 partition)
{
	if (full->count == REMEMBERED)
		return;
	full->keys[full->count].queue_id = queue_id;
	full->keys[full->count++].partition = partition;
}

/* Takes a candidate, and a start of its queue where those are counted; the scheduler only looks. */
static bool
take(const Candidate *candidate, const DbosQueueFacts *queue, DbosStarts *starts, Full *full)
{
	char		limit;
	bool		got = starts == NULL ?
		dbos_tables_could_take(&candidate->ticket, queue, &limit) :
		dbos_tables_take(&candidate->ticket, queue, &limit);

	if (!got)
	{
		if (limit != 0)
			remember_full(full, queue->queue_id, limit == 'p' ? candidate->ticket.partition : 0);
		return false;
	}
	if (starts == NULL || (queue->rate_limit < 0 && queue->partition_rate_limit < 0))
		return true;
	dbos_starts_reserve(queue->queue_id, candidate->ticket.partition, 1, starts);
	if (starts->granted == 1)
		return true;
	dbos_tables_put_back();
	remember_full(full, queue->queue_id, starts->rests);
	return false;
}

/*
 * Takes the first task in policy order that a login may run now and nobody
 * else does; without starts it is only looked for.  alternatives gets up to `limit` tasks
 * that could have been chosen.  Needs a transaction with a snapshot, to be committed before the
 * task runs.
 */
bool
dbos_tables_pop(Oid session_role, DbosTicket *ticket, DbosStarts *starts,
				int64 *alternatives, int *count, int limit)
{
	DbosOwnerScope scope;
	DbosQueueFacts *facts;
	Candidate  *candidates;
	int			ncandidates;
	Full		full = {0};
	bool		found = false;

	*count = 0;
	if (starts != NULL)
		memset(starts, 0, sizeof(*starts));
	dbos_owner_begin(&scope);
	candidates = find_candidates(session_role, &facts, &ncandidates);
	for (int i = 0; i < ncandidates && (!found || *count < limit); i++)
	{
		const Candidate *candidate = &candidates[i];
		const DbosQueueFacts *queue = &facts[candidate->facts];
		int64		id = candidate->ticket.key.id;

		if (is_full(&full, queue->queue_id, candidate->ticket.partition))
			continue;
		if (found)
		{
			if (!dbos_only_seen(DBOS_ONLY_TASK, (uint32) (id >> 32), (uint32) id))
				alternatives[(*count)++] = id;
			continue;
		}
		if (!take(candidate, queue, starts, &full))
			continue;
		found = true;
		*ticket = candidate->ticket;
		if (starts != NULL)
			charge_turns(candidate, queue->queue_id);
		if (*count < limit)
			alternatives[(*count)++] = id;
	}
	dbos_owner_end(&scope);
	return found;
}
