/*
 * queues.c
 *	  Queues: the names under which tasks wait, and their limits.
 *
 * A name means the queue of the session's container, or else of the nearest
 * container around it; the root has "default".  A session keeps what it found,
 * until the relcache entry of dbos.queue is invalidated, which every change here
 * asks for.
 *
 * Locks: who puts a task into a queue holds the object lock (dbos.queue, id) in
 * AccessShareLock until its transaction ends; a drop takes it in
 * AccessExclusiveLock before it looks for tasks, and sends its invalidation
 * before it releases it.  So no task is left in a queue that is gone, and a drop
 * that has to wait stops the submits of that queue alone.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "dbos/container.h"

#include "task.h"

PG_FUNCTION_INFO_V1(dbos_create_queue);
PG_FUNCTION_INFO_V1(dbos_alter_queue);
PG_FUNCTION_INFO_V1(dbos_pause_queue);
PG_FUNCTION_INFO_V1(dbos_resume_queue);
PG_FUNCTION_INFO_V1(dbos_drop_queue);

/* A session that names more queues than this begins its cache anew. */
#define CACHE_ENTRIES	1024
/* Tasks counted for the detail of a refused drop. */
#define COUNTED_TASKS	10000
#define DEFAULT_QUEUE	"default"
/* Bounds of a period in which starts are counted. */
#define MIN_RATE_US		10000
#define MAX_RATE_DAYS	366
/* Of queue_update(). */
#define UPDATE_ARGUMENTS 8

typedef struct CacheKey
{
	int32		container;		/* that the session is in */
	char		name[NAMEDATALEN];
} CacheKey;

typedef struct CachedQueue
{
	CacheKey	key;			/* first, zero-padded */
	DbosQueueFacts facts;
} CachedQueue;

/* What queue_facts_read() reads, of dbos.queue q with dbos.policy p. */
#define FACT_COLUMNS \
	"q.id, q.concurrency, q.partition_concurrency, q.rate_limit, q.partition_rate_limit," \
	" pg_catalog.int8(EXTRACT(epoch FROM q.rate_period) OPERATOR(pg_catalog.*) 1000000), q.paused, p.order_by"
#define FACT_COUNT 8
#define WITH_POLICY " JOIN dbos.policy p ON p.name OPERATOR(pg_catalog.=) q.policy"

/* A row of dbos.queue. */
typedef struct QueueRow
{
	DbosQueueFacts facts;
	int32		container;
	Oid			owner;
} QueueRow;

static HTAB *cache = NULL;
static Oid	cached_relation = InvalidOid;
static bool callback_registered = false;
/* Counts invalidations: what was read before one must not be kept after it. */
static uint64 generation = 0;

static bool queue_cached(const CacheKey *key, DbosQueueFacts *facts);
static void queue_facts_read(HeapTuple row, TupleDesc desc, DbosQueueFacts *facts);
static bool queue_find(const char *name, QueueRow *row);
pg_noreturn static void queue_unknown(const char *name);
static void queue_hold(int32 queue_id, LOCKMODE mode);
static void queue_changed(const DbosQueueFacts *facts);
static char *queue_argument(FunctionCallInfo fcinfo, const char *command);
static QueueRow queue_of_caller(const char *name);
static void queue_update(FunctionCallInfo fcinfo, const char *command, const char *nulls, Datum *values);

/*
 * The queue of this name as the current container sees it, held until the
 * transaction ends.  Raises 42704 when there is none.
 */
DbosQueueFacts
dbos_queue_resolve(const char *name)
{
	DbosQueueFacts facts;
	CacheKey	key;

	if (strlen(name) >= NAMEDATALEN)
		queue_unknown(name);
	memset(&key, 0, sizeof(key));
	key.container = dbos_context_container();
	strlcpy(key.name, name, NAMEDATALEN);
	for (;;)
	{
		uint64		before;
		QueueRow	row;

		if (!queue_cached(&key, &facts))
		{
			if (!queue_find(name, &row))
				queue_unknown(name);
			facts = row.facts;
		}

		/* The lock takes in what others changed: if anything, look again. */
		before = generation;
		queue_hold(facts.queue_id, AccessShareLock);
		if (generation == before)
			return facts;
		if (queue_find(name, &row) && row.facts.queue_id == facts.queue_id)
			return row.facts;
		UnlockDatabaseObject(dbos_relation_oid("queue"), (Oid) facts.queue_id, 0, AccessShareLock);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * The queue of this id, held until the transaction ends, for who puts a task
 * back into it.  Inside an owner scope; the caller's SPI result stays as it is.
 * Raises 42704 when it is gone.
 */
bool
dbos_queue_by_id_if_any(int32 queue_id, DbosQueueFacts *facts)
{
	static DbosPlan plan = {
		.sql = "SELECT " FACT_COLUMNS " FROM dbos.queue q" WITH_POLICY
		" WHERE q.id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT4OID},
	};
	Datum		value = Int32GetDatum(queue_id);
	DbosQueueFacts unknown = DBOS_NO_FACTS(queue_id);
	bool		found;

	memset(facts, 0, sizeof(*facts));
	*facts = unknown;
	queue_hold(queue_id, AccessShareLock);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	PushActiveSnapshot(GetLatestSnapshot());
	found = dbos_plan_execute(&plan, &value, NULL, true, 1) == 1;
	if (found)
		queue_facts_read(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, facts);
	PopActiveSnapshot();
	SPI_finish();
	return found;
}

/* The same where the queue must be there: 42704 when it was dropped. */
DbosQueueFacts
dbos_queue_by_id(int32 queue_id)
{
	DbosQueueFacts facts;

	if (!dbos_queue_by_id_if_any(queue_id, &facts))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("the task's queue was dropped"));
	return facts;
}

/* ---- making and changing ---- */

/*
 * The options of create and alter, from the second argument on: concurrency,
 * partition_concurrency, rate_limit, partition_rate_limit, rate_period, policy.
 */
enum
{
	OPTION_CONCURRENCY = 1,
	OPTION_PARTITION_CONCURRENCY,
	OPTION_RATE_LIMIT,
	OPTION_PARTITION_RATE_LIMIT,
	OPTION_RATE_PERIOD,
	OPTION_POLICY,
	OPTION_END
};

static const char *const option_names[] = {"name", "concurrency", "partition_concurrency", "rate_limit",
"partition_rate_limit", "rate_period", "policy"};

/* A limit, which must not be negative; with `keep`, -1 leaves it as it is. */
static void
check_limit(FunctionCallInfo fcinfo, int option, bool keep)
{
	int32		value = PG_ARGISNULL(option) ? 0 : PG_GETARG_INT32(option);

	if (value < (keep ? -1 : 0))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s of a queue must not be negative: %d", option_names[option], value),
				errhint("NULL stands for no limit."));
}

static void
check_rate_period(FunctionCallInfo fcinfo)
{
	Interval   *period;
	Interval	most = {.day = MAX_RATE_DAYS};
	Interval	least = {.time = MIN_RATE_US};

	if (PG_ARGISNULL(OPTION_RATE_PERIOD))
		return;
	period = PG_GETARG_INTERVAL_P(OPTION_RATE_PERIOD);
	if (DatumGetInt32(DirectFunctionCall2(interval_cmp, IntervalPGetDatum(period), IntervalPGetDatum(&least))) < 0 ||
		DatumGetInt32(DirectFunctionCall2(interval_cmp, IntervalPGetDatum(period), IntervalPGetDatum(&most))) > 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("rate_period of a queue must be from 10 milliseconds to %d days", MAX_RATE_DAYS));
}

static void
check_policy(FunctionCallInfo fcinfo)
{
	char	   *name;

	if (PG_ARGISNULL(OPTION_POLICY))
		return;
	name = text_to_cstring(PG_GETARG_TEXT_PP(OPTION_POLICY));
	if (!dbos_policy_exists(name))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("policy \"%s\" does not exist", name),
				errhint("SELECT name, order_by FROM dbos.policies;"));
}

static void
check_options(FunctionCallInfo fcinfo, bool keep)
{
	for (int option = OPTION_CONCURRENCY; option <= OPTION_PARTITION_RATE_LIMIT; option++)
		check_limit(fcinfo, option, keep);
	check_rate_period(fcinfo);
	check_policy(fcinfo);
}

static void
check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_NAME),
				errmsg("invalid name of a queue: \"%s\"", name),
				errdetail("A name has 1 to %d bytes.", NAMEDATALEN - 1));
	for (const char *at = name; *at; at++)
		if ((unsigned char) *at < ' ' || *at == 0x7f)
			ereport(ERROR,
					errcode(ERRCODE_INVALID_NAME),
					errmsg("name of a queue holds a control character"));
}

/* dbos.create_queue(name, options...): void.  Raises on a bad or taken name. */
Datum
dbos_create_queue(PG_FUNCTION_ARGS)
{
	static DbosPlan plan = {
		.sql = "WITH q AS (INSERT INTO dbos.queue (name, container_id, owner, concurrency, partition_concurrency,"
		" rate_limit, partition_rate_limit, rate_period, policy)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, COALESCE($8, '1 second'), COALESCE($9, 'fair'))"
		" ON CONFLICT (container_id, name) DO NOTHING RETURNING *)"
		" SELECT " FACT_COLUMNS " FROM q" WITH_POLICY,
		.nargs = 9,
		.argtypes = {TEXTOID, INT4OID, REGROLEOID, INT4OID, INT4OID, INT4OID, INT4OID, INTERVALOID, TEXTOID},
	};
	char	   *name = queue_argument(fcinfo, "dbos.create_queue()");
	Datum		values[9] = {CStringGetTextDatum(name), Int32GetDatum(dbos_context_container()),
	ObjectIdGetDatum(GetUserId())};
	char		nulls[10] = "         ";
	DbosQueueFacts facts;
	DbosOwnerScope scope;
	bool		made;

	check_name(name);
	check_options(fcinfo, false);
	dbos_container_hold(dbos_context_container());
	for (int option = OPTION_CONCURRENCY; option < OPTION_END; option++)
	{
		values[2 + option] = PG_ARGISNULL(option) ? (Datum) 0 : PG_GETARG_DATUM(option);
		nulls[2 + option] = PG_ARGISNULL(option) ? 'n' : ' ';
	}
	dbos_owner_begin(&scope);
	made = dbos_plan_execute(&plan, values, nulls, false, 0) > 0;
	if (made)
		queue_facts_read(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, &facts);
	dbos_owner_end(&scope);
	if (!made)
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("queue \"%s\" already exists", name),
				errhint("Use dbos.alter_queue() to change its limits."));
	queue_changed(&facts);
	PG_RETURN_VOID();
}

/* dbos.alter_queue(name, options...): void; a limit of NULL is lifted, one of -1 stays, as do the others when NULL. */
Datum
dbos_alter_queue(PG_FUNCTION_ARGS)
{
	Datum		values[UPDATE_ARGUMENTS] = {0};
	char		nulls[UPDATE_ARGUMENTS + 1];

	memset(nulls, 'n', UPDATE_ARGUMENTS);
	nulls[0] = ' ';
	nulls[UPDATE_ARGUMENTS] = '\0';
	check_options(fcinfo, true);
	for (int option = OPTION_CONCURRENCY; option < OPTION_END; option++)
	{
		if (PG_ARGISNULL(option))
			continue;
		values[option] = PG_GETARG_DATUM(option);
		nulls[option] = ' ';
	}
	queue_update(fcinfo, "dbos.alter_queue()", nulls, values);
	PG_RETURN_VOID();
}

static void
set_paused(FunctionCallInfo fcinfo, const char *command, bool paused)
{
	Datum		values[UPDATE_ARGUMENTS] = {0};

	for (int option = OPTION_CONCURRENCY; option <= OPTION_PARTITION_RATE_LIMIT; option++)
		values[option] = Int32GetDatum(-1);
	values[UPDATE_ARGUMENTS - 1] = BoolGetDatum(paused);
	queue_update(fcinfo, command, "     nn ", values);
}

/* dbos.pause_queue(name): void.  Running tasks go on. */
Datum
dbos_pause_queue(PG_FUNCTION_ARGS)
{
	set_paused(fcinfo, "dbos.pause_queue()", true);
	PG_RETURN_VOID();
}

/* dbos.resume_queue(name): void. */
Datum
dbos_resume_queue(PG_FUNCTION_ARGS)
{
	set_paused(fcinfo, "dbos.resume_queue()", false);
	PG_RETURN_VOID();
}

/* ---- who else submits to a queue ---- */

#define MAX_USERS 8

static char *(*users[MAX_USERS]) (int32 queue_id);
static int	nusers = 0;

void
dbos_queue_register_user(char *(*user) (int32 queue_id))
{
	if (nusers >= MAX_USERS)
		elog(ERROR, "too many users of queues");
	users[nusers++] = user;
}

/* Raises when something of another room's submits to it; inside an owner scope. */
static void
refuse_used(const char *name, int32 queue_id)
{
	for (int i = 0; i < nusers; i++)
	{
		char	   *user;

		PushActiveSnapshot(GetLatestSnapshot());
		user = users[i] (queue_id);
		PopActiveSnapshot();
		if (user != NULL)
			ereport(ERROR,
					errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("cannot drop queue \"%s\"", name),
					errdetail("Tasks for %s are submitted to it.", user));
	}
}

/* dbos.drop_queue(name): void.  Raises 55006 while tasks wait or run in it. */
Datum
dbos_drop_queue(PG_FUNCTION_ARGS)
{
	static DbosPlan tasks = {
		.sql = "SELECT pg_catalog.count(*) FROM (SELECT FROM dbos.task"
		" WHERE queue_id OPERATOR(pg_catalog.=) $1 LIMIT $2) t",
		.nargs = 2,
		.argtypes = {INT4OID, INT8OID},
	};
	static DbosPlan keys = {
		.sql = "DELETE FROM dbos.task_key WHERE queue_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT4OID},
	};
	static DbosPlan schedules = {
		.sql = "SELECT name FROM dbos.schedule WHERE queue_id OPERATOR(pg_catalog.=) $1 ORDER BY name LIMIT 1",
		.nargs = 1,
		.argtypes = {INT4OID},
	};
	static DbosPlan starts = {
		.sql = "DELETE FROM dbos.queue_start WHERE queue_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT4OID},
	};
	static DbosPlan drop = {
		.sql = "DELETE FROM dbos.queue WHERE id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT4OID},
	};
	char	   *name = queue_argument(fcinfo, "dbos.drop_queue()");
	QueueRow	row = queue_of_caller(name);
	Datum		values[2] = {Int32GetDatum(row.facts.queue_id), Int64GetDatum(COUNTED_TASKS + 1)};
	DbosQueueFacts gone = DBOS_NO_FACTS(row.facts.queue_id);
	DbosOwnerScope scope;
	bool		isnull;
	int64		count;

	if (row.container == DBOS_ROOT_CONTAINER && strcmp(name, DEFAULT_QUEUE) == 0)
		ereport(ERROR,
				errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				errmsg("cannot drop queue \"%s\"", name),
				errdetail("Tasks that name no queue wait in it."));
	queue_hold(row.facts.queue_id, AccessExclusiveLock);

	dbos_owner_begin(&scope);
	/* Tasks that came in before the lock was had are seen also by an older snapshot's owner. */
	PushActiveSnapshot(GetLatestSnapshot());
	(void) dbos_plan_execute(&tasks, values, NULL, true, 1);
	PopActiveSnapshot();
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (count > 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("cannot drop queue \"%s\"", name),
				count > COUNTED_TASKS ? errdetail("More than %d tasks wait or run in it.", COUNTED_TASKS)
				: errdetail_plural("%d task waits or runs in it.", "%d tasks wait or run in it.",
								   (unsigned long) count, (int) count),
				errhint("Wait for them, or cancel them with dbos.cancel()."));
	if (dbos_plan_execute(&schedules, values, NULL, false, 1) > 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("cannot drop queue \"%s\"", name),
				errdetail("Schedule \"%s\" submits to it.", SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)),
				errhint("Drop it with dbos.unschedule()."));
	refuse_used(name, row.facts.queue_id);
	(void) dbos_plan_execute(&keys, values, NULL, false, 0);
	(void) dbos_plan_execute(&starts, values, NULL, false, 0);
	if (dbos_plan_execute(&drop, values, NULL, false, 0) == 0)
		queue_unknown(name);	/* a twin dropped it meanwhile */
	dbos_owner_end(&scope);
	queue_changed(&gone);
	PG_RETURN_VOID();
}

/* ---- the cache ---- */

static void
cache_clear(void)
{
	HASH_SEQ_STATUS status;
	CachedQueue *entry;

	hash_seq_init(&status, cache);
	while ((entry = hash_seq_search(&status)) != NULL)
		(void) hash_search(cache, &entry->key, HASH_REMOVE, NULL);
}

static void
cache_forget(Datum arg, Oid relid)
{
	if (cache == NULL || (relid != InvalidOid && relid != cached_relation))
		return;
	generation++;
	cache_clear();
}

static void
cache_prepare(void)
{
	if (cache == NULL)
	{
		HASHCTL		control = {
			.keysize = sizeof(CacheKey),
			.entrysize = sizeof(CachedQueue),
			.hcxt = TopMemoryContext,
		};

		cache = hash_create("dbos queues", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	if (!callback_registered)
	{
		CacheRegisterRelcacheCallback(cache_forget, (Datum) 0);
		callback_registered = true;
	}
}

static bool
queue_cached(const CacheKey *key, DbosQueueFacts *facts)
{
	CachedQueue *entry;

	if (cache == NULL)
		return false;
	entry = hash_search(cache, key, HASH_FIND, NULL);
	if (entry != NULL)
		*facts = entry->facts;
	return entry != NULL;
}

/* Keeps what was read, unless an invalidation came in since `before`. */
static void
cache_keep(const char *name, const QueueRow *row, uint64 before)
{
	CacheKey	key;
	CachedQueue *entry;

	if (generation != before)
		return;
	if (hash_get_num_entries(cache) >= CACHE_ENTRIES)
		cache_clear();
	memset(&key, 0, sizeof(key));
	key.container = dbos_context_container();
	strlcpy(key.name, name, NAMEDATALEN);
	entry = hash_search(cache, &key, HASH_ENTER, NULL);
	entry->facts = row->facts;
}

/* ---- rows ---- */

static int32
limit_or_none(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? -1 : DatumGetInt32(value);
}

/* Reads FACT_COLUMNS, the first of the row's. */
static void
queue_facts_read(HeapTuple row, TupleDesc desc, DbosQueueFacts *facts)
{
	bool		isnull;
	char	   *problem;

	memset(facts, 0, sizeof(*facts));
	facts->queue_id = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
	facts->concurrency = limit_or_none(row, desc, 2);
	facts->partition_concurrency = limit_or_none(row, desc, 3);
	facts->rate_limit = limit_or_none(row, desc, 4);
	facts->partition_rate_limit = limit_or_none(row, desc, 5);
	facts->rate_period = DatumGetInt64(SPI_getbinval(row, desc, 6, &isnull));
	facts->paused = DatumGetBool(SPI_getbinval(row, desc, 7, &isnull));
	/* A library's policy which this process does not have: its own order is that of submit. */
	if (!dbos_policy_parse(SPI_getvalue(row, desc, 8), &facts->policy, &problem))
	{
		memset(&facts->policy, 0, sizeof(facts->policy));
		facts->policy.share_at = -1;
	}
}

/* Tells the run queue, at commit, that the queues of a policy are ordered by another text.  Inside an owner scope. */
void
dbos_queues_of_policy_changed(const char *policy)
{
	static DbosPlan plan = {
		.sql = "SELECT " FACT_COLUMNS " FROM dbos.queue q" WITH_POLICY " WHERE q.policy OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID},
	};
	Datum		value = CStringGetTextDatum(policy);
	uint64		count = dbos_plan_execute(&plan, &value, NULL, false, 0);
	SPITupleTable *rows = SPI_tuptable;

	for (uint64 i = 0; i < count; i++)
	{
		DbosQueueFacts facts;

		queue_facts_read(rows->vals[i], rows->tupdesc, &facts);
		facts.policy_changed = true;
		queue_changed(&facts);
	}
}

/*
 * Reads the queue that a name means here, by the latest snapshot: an older one
 * would put into the cache what others have changed long ago.
 */
static bool
queue_find(const char *name, QueueRow *row)
{
	static DbosPlan plan = {
		.sql = "WITH RECURSIVE around(id, distance) AS ("
		" SELECT $2, 0"
		" UNION ALL"
		" SELECT c.parent_id, a.distance OPERATOR(pg_catalog.+) 1 FROM around a"
		" JOIN dbos.container c ON c.container_id OPERATOR(pg_catalog.=) a.id)"
		" SELECT " FACT_COLUMNS ", q.container_id, q.owner FROM around a"
		" JOIN dbos.queue q ON q.container_id OPERATOR(pg_catalog.=) a.id"
		" AND q.name OPERATOR(pg_catalog.=) $1" WITH_POLICY
		" ORDER BY a.distance LIMIT 1",
		.nargs = 2,
		.argtypes = {TEXTOID, INT4OID},
	};
	Datum		values[2] = {CStringGetTextDatum(name), Int32GetDatum(dbos_context_container())};
	DbosOwnerScope scope;
	uint64		before;
	bool		found;

	cache_prepare();
	cached_relation = dbos_relation_oid("queue");
	before = generation;
	dbos_owner_begin(&scope);
	PushActiveSnapshot(GetLatestSnapshot());
	found = dbos_plan_execute(&plan, values, NULL, true, 1) > 0;
	PopActiveSnapshot();
	if (found)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		queue_facts_read(tuple, desc, &row->facts);
		row->container = DatumGetInt32(SPI_getbinval(tuple, desc, FACT_COUNT + 1, &isnull));
		row->owner = DatumGetObjectId(SPI_getbinval(tuple, desc, FACT_COUNT + 2, &isnull));
	}
	dbos_owner_end(&scope);
	if (found)
		cache_keep(name, row, before);
	return found;
}

/* The known name that is nearest to a mistyped one, palloc'd; NULL when none is near. */
static char *
queue_nearest(const char *name)
{
	static DbosPlan plan = {
		.sql = "WITH RECURSIVE around(id) AS ("
		" SELECT $2"
		" UNION ALL"
		" SELECT c.parent_id FROM around a"
		" JOIN dbos.container c ON c.container_id OPERATOR(pg_catalog.=) a.id)"
		" SELECT n.name FROM"
		" (SELECT q.name, dbos.name_distance(q.name, $1) AS distance FROM around a"
		"  JOIN dbos.queue q ON q.container_id OPERATOR(pg_catalog.=) a.id) n"
		" WHERE n.distance OPERATOR(pg_catalog.<=) $3"
		" ORDER BY n.distance, n.name LIMIT 1",
		.nargs = 3,
		.argtypes = {TEXTOID, INT4OID, INT4OID},
	};
	Datum		values[3] = {CStringGetTextDatum(name), Int32GetDatum(dbos_context_container()),
		Int32GetDatum(1 + (int32) (strlen(name) / 4))};
	MemoryContext caller = CurrentMemoryContext;
	DbosOwnerScope scope;
	char	   *nearest = NULL;

	if (strlen(name) >= NAMEDATALEN)
		return NULL;
	dbos_owner_begin(&scope);
	PushActiveSnapshot(GetLatestSnapshot());
	if (dbos_plan_execute(&plan, values, NULL, true, 1) > 0)
		nearest = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0],
														  SPI_tuptable->tupdesc, 1));
	PopActiveSnapshot();
	dbos_owner_end(&scope);
	return nearest;
}

static void
queue_unknown(const char *name)
{
	char	   *nearest = queue_nearest(name);

	ereport(ERROR,
			errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("queue \"%s\" does not exist", name),
			nearest ? errhint("Perhaps you meant \"%s\"; SELECT dbos.create_queue(%s) makes a new one.",
							  nearest, quote_literal_cstr(name))
			: errhint("SELECT dbos.create_queue(%s) makes it.", quote_literal_cstr(name)));
}

static void
queue_hold(int32 queue_id, LOCKMODE mode)
{
	LockDatabaseObject(dbos_relation_oid("queue"), (Oid) queue_id, 0, mode);
}

/*
 * Tells every session, and at commit the run queue.  The command counter makes
 * the invalidation one that an abort repeats, so that nothing read from here on
 * outlives a rollback in this session's cache.
 */
static void
queue_changed(const DbosQueueFacts *facts)
{
	CacheInvalidateRelcacheByRelid(dbos_relation_oid("queue"));
	CommandCounterIncrement();
	dbos_pending_queue(facts);
}

/* ---- arguments and rights ---- */

/* The first argument of each function here, a queue's name, after what all of them refuse. */
static char *
queue_argument(FunctionCallInfo fcinfo, const char *command)
{
	PreventCommandDuringRecovery(command);
	PreventCommandIfReadOnly(command);
	dbos_require_same_version();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("name of a queue must not be null"));
	return text_to_cstring(PG_GETARG_TEXT_PP(0));
}

/*
 * The queue of that name, which the current role may change: as a member of its
 * owner or of dbos_admin, from the container that it is of.
 */
static QueueRow
queue_of_caller(const char *name)
{
	Oid			user = GetUserId();
	QueueRow	row;

	if (strlen(name) >= NAMEDATALEN || !queue_find(name, &row))
		queue_unknown(name);
	if (row.container != dbos_context_container())
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied for queue \"%s\"", name),
				errdetail("It is of a container around the current one."));
	if (!has_privs_of_role(user, row.owner) && !dbos_is_admin(user))
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied for queue \"%s\"", name),
				errhint("Its owner's members and those of dbos_admin may change it."));
	return row;
}

/* Values: id (set here), the options of alter in their order, paused.  A limit of -1, or another that is null, stays. */
static void
queue_update(FunctionCallInfo fcinfo, const char *command, const char *nulls, Datum *values)
{
	static DbosPlan plan = {
		.sql = "WITH q AS (UPDATE dbos.queue SET"
		" concurrency = CASE $2 WHEN -1 THEN concurrency ELSE $2 END,"
		" partition_concurrency = CASE $3 WHEN -1 THEN partition_concurrency ELSE $3 END,"
		" rate_limit = CASE $4 WHEN -1 THEN rate_limit ELSE $4 END,"
		" partition_rate_limit = CASE $5 WHEN -1 THEN partition_rate_limit ELSE $5 END,"
		" rate_period = COALESCE($6, rate_period), policy = COALESCE($7, policy), paused = COALESCE($8, paused)"
		" WHERE id OPERATOR(pg_catalog.=) $1 RETURNING *)"
		" SELECT " FACT_COLUMNS " FROM q" WITH_POLICY,
		.nargs = UPDATE_ARGUMENTS,
		.argtypes = {INT4OID, INT4OID, INT4OID, INT4OID, INT4OID, INTERVALOID, TEXTOID, BOOLOID},
	};
	char	   *name = queue_argument(fcinfo, command);
	QueueRow	row = queue_of_caller(name);
	DbosOwnerScope scope;

	values[0] = Int32GetDatum(row.facts.queue_id);
	dbos_owner_begin(&scope);
	if (dbos_plan_execute(&plan, values, nulls, false, 0) == 0)
		queue_unknown(name);	/* dropped meanwhile */
	/* Not what was asked for: the row may have been changed by another at the same time. */
	queue_facts_read(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, &row.facts);
	dbos_owner_end(&scope);
	row.facts.policy_changed = nulls[OPTION_POLICY] == ' ';
	queue_changed(&row.facts);
}
