/*
 * map.c
 *	  dbos.map(): a task for each row of a query, and one that waits for all of them.
 *
 * The one that waits, the parent, is a row of dbos.task that is held back; those that
 * it waits for are in dbos.task_map.  Dependencies tell when to look: without a bound
 * on what runs at once there is one, on the last task that has not ended, since by its
 * end most others have ended too; so a map of n tasks costs a few looks and n glances.
 * With a bound, tasks beyond it are held back, and each that was let go has one.
 *
 * Whatever happens to a look, the next one does its work: it changes nothing but by
 * what the tables say, in one transaction with the parent's row locked.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "map.h"
#include "submission.h"

PG_FUNCTION_INFO_V1(dbos_map);

/* Rows of the query that are read, and tasks that are written, together. */
#define ROWS_AT_ONCE 1000

/* A row of dbos.task_map. */
typedef struct Map
{
	int64		parent;
	int64	   *children;
	int			count;
	int32		concurrency;	/* 0: no bound */
	int32		place;
} Map;

/* Tasks that are being submitted. */
typedef struct Making
{
	DbosSubmission submission;
	const char *name;
	char	   *function;		/* identity of the first one's */
	int64	   *children;
	int			count;
	int			space;
	int32		concurrency;
} Making;

/* ---- making ---- */

/* Reads the options as dbos.submit() does, which has three that a map has not. */
static void
read_options(DbosSubmission *submission, FunctionCallInfo fcinfo)
{
	LOCAL_FCINFO(call, 15);
	/* Of each option of dbos.submit(), from the third argument on, the one of dbos.map(); 0: none. */
	static const int from[] = {2, 3, 0, 0, 0, 4, 5, 6, 7, 8, 9, 10, 11};

	InitFunctionCallInfoData(*call, fcinfo->flinfo, 15, InvalidOid, NULL, NULL);
	for (int i = 0; i < lengthof(from); i++)
	{
		call->args[2 + i].isnull = from[i] == 0 || PG_ARGISNULL(from[i]);
		call->args[2 + i].value = from[i] == 0 ? (Datum) 0 : PG_GETARG_DATUM(from[i]);
	}
	dbos_submission_read(submission, call, 2, DBOS_WITH_KEY);
}

static int32
read_concurrency(FunctionCallInfo fcinfo, int at)
{
	if (PG_ARGISNULL(at))
		return 0;
	if (PG_GETARG_INT32(at) < 1)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("concurrency of a map must be at least 1: %d", PG_GETARG_INT32(at)),
				errhint("NULL stands for no limit."));
	return PG_GETARG_INT32(at);
}

/* A cursor over the query, which is the caller's and runs as such. */
static Portal
open_query(const char *query, bool *is_document)
{
	SPIPlanPtr	plan = SPI_prepare(query, 0, NULL);
	TupleDesc	desc;

	if (plan == NULL)
		elog(ERROR, "could not prepare the query of a map: %s", SPI_result_code_string(SPI_result));
	if (!SPI_is_cursor_plan(plan))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_CURSOR_DEFINITION),
				errmsg("the query of a map must be a single one that returns rows"),
				errhint("Each row becomes the arguments of a task, as in 'SELECT id FROM orders'."));
	desc = ((CachedPlanSource *) linitial(SPI_plan_get_plan_sources(plan)))->resultDesc;
	*is_document = desc->natts == 1 && TupleDescAttr(desc, 0)->atttypid == JSONBOID;
	return SPI_cursor_open(NULL, plan, NULL, NULL, false);
}

/* A row as the arguments of a task. */
static Jsonb *
row_arguments(HeapTuple row, TupleDesc desc, bool is_document)
{
	Datum		value;
	bool		null;
	text	   *json;

	if (!is_document)
	{
		json = DatumGetTextPP(DirectFunctionCall1(row_to_json, heap_copy_tuple_as_datum(row, desc)));
		return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(json))));
	}
	value = SPI_getbinval(row, desc, 1, &null);
	if (null)
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("the arguments of a task must not be null"),
				errdetail("A row of the map's query is."));
	return DatumGetJsonbPCopy(value);
}

/* Submits a task for each row that was fetched; those beyond the bound are held back. */
static void
make_children(Making *making, SPITupleTable *rows, uint64 count, bool is_document)
{
	MemoryContext caller = CurrentMemoryContext;

	if (making->count + count > making->space)
	{
		making->space = Max(2 * making->space, making->count + (int) count);
		making->children = repalloc_huge(making->children, sizeof(int64) * making->space);
	}
	dbos_submission_open(&making->submission, count);
	for (uint64 i = 0; i < count; i++)
	{
		Jsonb	   *args = row_arguments(rows->vals[i], rows->tupdesc, is_document);
		const DbosFunctionCall *call = dbos_submit_resolve(making->name, args, making->submission.role);
		int64		id = nextval_internal(making->submission.sequence, false);

		CHECK_FOR_INTERRUPTS();
		if (making->function == NULL)
			making->function = MemoryContextStrdup(GetMemoryChunkContext(making->children), call->identity);
		making->submission.gated = making->concurrency > 0 && making->count >= making->concurrency;
		dbos_submission_insert(&making->submission, id, 'f', call->identity, args);
		if (making->submission.nslots == making->submission.space)
			dbos_submission_flush(&making->submission);
		making->children[making->count++] = id;
	}
	dbos_submission_flush(&making->submission);
	dbos_submission_close(&making->submission);
	MemoryContextSwitchTo(caller);
}

static void
run_query(Making *making, const char *query)
{
	MemoryContext round = AllocSetContextCreate(CurrentMemoryContext, "dbos map", ALLOCSET_DEFAULT_SIZES);
	Portal		portal;
	bool		is_document;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	portal = open_query(query, &is_document);
	for (;;)
	{
		SPITupleTable *rows;
		MemoryContext old;

		SPI_cursor_fetch(portal, true, ROWS_AT_ONCE);
		rows = SPI_tuptable;
		if (SPI_processed == 0)
			break;
		BlessTupleDesc(rows->tupdesc);
		old = MemoryContextSwitchTo(round);
		make_children(making, rows, SPI_processed, is_document);
		MemoryContextSwitchTo(old);
		MemoryContextReset(round);
		SPI_freetuptable(rows);
	}
	SPI_cursor_close(portal);
	SPI_finish();
}

static Datum
id_array(const int64 *ids, int count)
{
	Datum	   *values = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		values[i] = Int64GetDatum(ids[i]);
	return PointerGetDatum(construct_array(values, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* No task: a dependency on it has ended, and so the parent is looked at, whoever forgets that it should be. */
static const int64 nobody = 0;

/* The parent has a dependency on each of these, and always on one.  Inside an owner scope. */
static void
watch(int64 parent, const int64 *children, int count)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.task_dependency (task_id, depends_on)"
		" SELECT $1, c.id FROM pg_catalog.unnest($2) c(id) ON CONFLICT DO NOTHING",
		.nargs = 2,
		.argtypes = {INT8OID, INT8ARRAYOID},
	};
	Datum		values[2] = {Int64GetDatum(parent), id_array(children, count)};

	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
}

static void
write_map(int64 parent, const Making *making)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.task_map (parent_id, children, concurrency, place) VALUES ($1, $2, $3, $4)",
		.nargs = 4,
		.argtypes = {INT8OID, INT8ARRAYOID, INT4OID, INT4OID},
	};
	int			place = making->concurrency == 0 ? making->count : Min(making->count, making->concurrency);
	Datum		values[4] = {Int64GetDatum(parent), id_array(making->children, making->count),
	Int32GetDatum(making->concurrency), Int32GetDatum(place)};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, making->concurrency == 0 ? "  n " : NULL, false, 0);
	if (making->concurrency > 0)
		watch(parent, making->children, place);
	else if (making->count > 0)
		watch(parent, &making->children[making->count - 1], 1);
	else
		watch(parent, &nobody, 1);
	dbos_owner_end(&scope);
}

/* The row of the parent, with the query as its arguments. */
static void
make_parent(Making *making, int64 parent, const char *query)
{
	StringInfoData json;
	DbosSubmission *submission = &making->submission;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"query\": ");
	escape_json(&json, query);
	appendStringInfoChar(&json, '}');
	submission->gated = true;
	submission->parent = dbos_context_task();
	dbos_submission_open(submission, 1);
	dbos_submission_insert(submission, parent, DBOS_KIND_MAP, making->function != NULL ? making->function : making->name,
						   DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data))));
	dbos_submission_flush(submission);
	dbos_submission_close(submission);
	dbos_pending_event('c', parent);
}

/* dbos.map(function, query, options..., concurrency): the id of the task that waits for the others. */
Datum
dbos_map(PG_FUNCTION_ARGS)
{
	Making		making = {0};
	text	   *key;
	char	   *query;
	int64		parent;
	int64		existing;

	dbos_submit_allowed("dbos.map()");
	making.name = dbos_submit_name(fcinfo);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("the query of a map must not be null"));
	query = text_to_cstring(PG_GETARG_TEXT_PP(1));
	read_options(&making.submission, fcinfo);
	making.concurrency = read_concurrency(fcinfo, 12);
	parent = nextval_internal(making.submission.sequence, false);
	if (making.submission.idempotency_key != NULL &&
		dbos_submission_known_key(&making.submission, parent, &existing))
		PG_RETURN_INT64(existing);

	/* The key is the parent's alone. */
	key = making.submission.idempotency_key;
	making.submission.idempotency_key = NULL;
	making.submission.parent = parent;
	making.space = ROWS_AT_ONCE;
	making.children = palloc(sizeof(int64) * making.space);
	run_query(&making, query);
	making.submission.idempotency_key = key;
	make_parent(&making, parent, query);
	write_map(parent, &making);
	dbos_warn_without_workers(making.submission.now);
	PG_RETURN_INT64(parent);
}

/* ---- looking ---- */

/* Reads and locks the map of a parent, in the current context; false when there is none.  Inside an owner scope. */
static bool
read_map(int64 parent, Map *map)
{
	static DbosPlan plan = {
		.sql = "SELECT children, concurrency, place FROM dbos.task_map"
		" WHERE parent_id OPERATOR(pg_catalog.=) $1 FOR UPDATE",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	Datum		value = Int64GetDatum(parent);
	Datum	   *ids;
	bool		null;
	HeapTuple	row;
	TupleDesc	desc;

	if (dbos_plan_execute(&plan, &value, NULL, false, 1) == 0)
		return false;
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	map->parent = parent;
	deconstruct_array(DatumGetArrayTypeP(SPI_getbinval(row, desc, 1, &null)), INT8OID, sizeof(int64),
					  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &ids, NULL, &map->count);
	/* An array of int64 as it stands. */
	map->children = (int64 *) ids;
	value = SPI_getbinval(row, desc, 2, &null);
	map->concurrency = null ? 0 : DatumGetInt32(value);
	map->place = DatumGetInt32(SPI_getbinval(row, desc, 3, &null));
	return true;
}

static void
write_place(const Map *map)
{
	static DbosPlan plan = {
		.sql = "UPDATE dbos.task_map SET place = $2 WHERE parent_id OPERATOR(pg_catalog.=) $1",
		.nargs = 2,
		.argtypes = {INT8OID, INT4OID},
	};
	Datum		values[2] = {Int64GetDatum(map->parent), Int32GetDatum(map->place)};

	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
}

/* The place of the last one of the first `count` that has not ended, looked for from the end on; 0: all have. */
static int
last_live(const Map *map, int count)
{
	static DbosPlan plan = {
		.sql = "SELECT pg_catalog.max(c.place) FROM dbos.task_map m"
		" CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(m.children[$2:$3])) WITH ORDINALITY c(id, place)"
		" JOIN dbos.task t ON t.id OPERATOR(pg_catalog.=) c.id"
		" AND t.shard OPERATOR(pg_catalog.=) (c.id OPERATOR(pg_catalog.&) 15)::pg_catalog.int2"
		" WHERE m.parent_id OPERATOR(pg_catalog.=) $1",
		.nargs = 3,
		.argtypes = {INT8OID, INT4OID, INT4OID},
	};

	while (count > 0)
	{
		int			first = Max(count - ROWS_AT_ONCE, 0);
		Datum		values[3] = {Int64GetDatum(map->parent), Int32GetDatum(first + 1), Int32GetDatum(count)};
		Datum		place;
		bool		null;

		(void) dbos_plan_execute(&plan, values, NULL, false, 0);
		place = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
		if (!null)
			return first + (int) DatumGetInt64(place);
		count = first;
	}
	return 0;
}

/* Forgets the dependencies on tasks that have ended; returns how many are left. */
static int
forget_ended(int64 parent)
{
	static DbosPlan forget = {
		.sql = "DELETE FROM dbos.task_dependency d WHERE d.task_id OPERATOR(pg_catalog.=) $1"
		" AND NOT EXISTS (SELECT FROM dbos.task w"
		" WHERE w.shard OPERATOR(pg_catalog.=) (d.depends_on OPERATOR(pg_catalog.&) 15)::pg_catalog.int2"
		" AND w.id OPERATOR(pg_catalog.=) d.depends_on)",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	static DbosPlan count = {
		.sql = "SELECT 1 FROM dbos.task_dependency d WHERE d.task_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	Datum		value = Int64GetDatum(parent);

	(void) dbos_plan_execute(&forget, &value, NULL, false, 0);
	return (int) dbos_plan_execute(&count, &value, NULL, false, 0);
}

/* Without a bound: the last task that has not ended is watched; false when all have. */
static bool
watch_last(Map *map)
{
	if (forget_ended(map->parent) > 0)
		return true;
	map->place = last_live(map, map->place);
	write_place(map);
	if (map->place == 0)
		return false;
	watch(map->parent, &map->children[map->place - 1], 1);
	return true;
}

/* Lets a task go that was held back; false when it has ended, as by a cancel, or was not held. */
static bool
let_go(int64 task)
{
	static DbosPlan plan = {
		.sql = "UPDATE dbos.task t SET unmet = 0, held = false"
		" WHERE t.shard OPERATOR(pg_catalog.=) $1 AND t.id OPERATOR(pg_catalog.=) $2 AND t.held"
		" RETURNING t.queue_id, t.session_role::pg_catalog.oid, " DBOS_READY_COLUMNS,
		.nargs = 2,
		.argtypes = {INT2OID, INT8OID},
	};
	Datum		values[2] = {Int16GetDatum(DBOS_SHARD(task)), Int64GetDatum(task)};
	DbosQueueFacts facts;
	DbosTicket	ticket;
	bool		null;

	if (dbos_plan_execute(&plan, values, NULL, false, 0) == 0)
		return false;
	facts = dbos_queue_by_id(DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null)));
	dbos_ready_read(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &facts.policy, &ticket);
	dbos_pending_push(&ticket, DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null)),
					  &facts);
	return true;
}

/* With a bound: as many are let go as have ended; false when all have. */
static bool
let_go_more(Map *map)
{
	int			going = forget_ended(map->parent);
	int			before = map->place;

	while (going < map->concurrency && map->place < map->count)
	{
		int64		child = map->children[map->place++];

		if (!let_go(child))
			continue;
		watch(map->parent, &child, 1);
		going++;
	}
	if (map->place != before)
		write_place(map);
	return going > 0;
}

/* ---- the end ---- */

/*
 * What has become of the tasks of a map.  Those that ended are in the partitions of the
 * history since its submit; one that was retried meanwhile is not among them.
 */
static DbosPlan outcome_plan = {
	.sql = "SELECT pg_catalog.count(*) FILTER (WHERE h.state OPERATOR(pg_catalog.=) 'succeeded'),"
	" pg_catalog.jsonb_agg(h.result ORDER BY c.place),"
	" pg_catalog.min(c.place) FILTER (WHERE h.state OPERATOR(pg_catalog.<>) 'succeeded' OR h.state IS NULL),"
	" pg_catalog.count(h.state)"
	" FROM dbos.task_map m CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(m.children)) WITH ORDINALITY c(id, place)"
	" LEFT JOIN LATERAL (SELECT h.state, h.result FROM dbos.task_history h WHERE h.id OPERATOR(pg_catalog.=) c.id"
	"  AND h.finished_at OPERATOR(pg_catalog.>=) $2) h ON true"
	" WHERE m.parent_id OPERATOR(pg_catalog.=) $1",
	.nargs = 2,
	.argtypes = {INT8OID, TIMESTAMPTZOID},
};

static TimestampTz
submitted_at(int64 task)
{
	static DbosPlan plan = {
		.sql = "SELECT t.submitted_at FROM dbos.task t WHERE t.shard OPERATOR(pg_catalog.=) $1 AND t.id OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT2OID, INT8OID},
	};
	Datum		values[2] = {Int16GetDatum(DBOS_SHARD(task)), Int64GetDatum(task)};
	bool		null;

	if (dbos_plan_execute(&plan, values, NULL, true, 1) == 0)
		elog(ERROR, "task " INT64_FORMAT " has no row", task);
	return DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
}

/* The error of a map of which not all have succeeded. */
static Jsonb *
failure_of(const Map *map, int64 succeeded, int64 first_place)
{
	static DbosPlan plan = {
		.sql = "SELECT h.state, h.error OPERATOR(pg_catalog.->>) 'message' FROM dbos.task_history h WHERE h.id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	int64		first = map->children[first_place - 1];
	Datum		value = Int64GetDatum(first);
	char	   *detail;

	if (dbos_plan_execute(&plan, &value, NULL, true, 1) == 0)
		detail = psprintf("The first is task " INT64_FORMAT ", which is not known any more.", first);
	else
		detail = psprintf("The first is task " INT64_FORMAT ", %s: %s", first,
						  SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
						  SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
	return dbos_error_make(ERRCODE_DBOS_DEPENDENCY_FAILED,
						   psprintf(INT64_FORMAT " of %d tasks of the map did not succeed", map->count - succeeded, map->count),
						   detail, "dbos.retry() of the map tries those again.");
}

/* Gathers the results, or the error; neither, when a task has not ended because it was retried. */
static void
gather(const Map *map, Jsonb **result, Jsonb **error)
{
	Datum		values[2] = {Int64GetDatum(map->parent), TimestampTzGetDatum(submitted_at(map->parent))};
	HeapTuple	row;
	TupleDesc	desc;
	int64		succeeded;
	int64		first_place;
	bool		null;
	Datum		results;

	(void) dbos_plan_execute(&outcome_plan, values, NULL, false, 0);
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	succeeded = DatumGetInt64(SPI_getbinval(row, desc, 1, &null));
	if (DatumGetInt64(SPI_getbinval(row, desc, 4, &null)) < map->count && last_live(map, map->count) > 0)
		return;
	if (succeeded < map->count)
	{
		first_place = DatumGetInt64(SPI_getbinval(row, desc, 3, &null));
		*error = failure_of(map, succeeded, first_place);
		return;
	}
	results = SPI_getbinval(row, desc, 2, &null);
	*result = null ? DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("[]"))) : DatumGetJsonbPCopy(results);
}

/* The same, when it fails too, as with results that are too large together. */
static void
gather_safely(const Map *map, Jsonb **result, Jsonb **error)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		gather(map, result, error);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *data;

		MemoryContextSwitchTo(caller);
		data = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		*result = NULL;
		*error = dbos_error_json(data);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
}

void
dbos_map_check(int64 parent)
{
	DbosOwnerScope scope;
	Map			map;
	Jsonb	   *result = NULL;
	Jsonb	   *error = NULL;
	bool		known;
	bool		waits = false;
	MemoryContext caller = CurrentMemoryContext;

	dbos_owner_begin(&scope);
	known = read_map(parent, &map);
	if (known)
		waits = map.concurrency > 0 ? let_go_more(&map) : watch_last(&map);
	if (known && !waits)
	{
		gather_safely(&map, &result, &error);
		waits = result == NULL && error == NULL;
		if (waits)
			watch(parent, &map.children[Max(last_live(&map, map.count), 1) - 1], 1);
	}
	if (!known)
		error = dbos_error_make(ERRCODE_DBOS_DEPENDENCY_FAILED, "tasks of the map are not known any more", NULL, NULL);
	if (result != NULL || error != NULL)
	{
		MemoryContextSwitchTo(caller);
		result = result == NULL ? NULL : DatumGetJsonbPCopy(JsonbPGetDatum(result));
		error = error == NULL ? NULL : DatumGetJsonbPCopy(JsonbPGetDatum(error));
	}
	dbos_owner_end(&scope);
	if (!waits)
		(void) dbos_task_settle(parent, error == NULL ? DBOS_SUCCEEDED : DBOS_FAILED, result, error, NULL);
}

/* ---- cancel and retry ---- */

/* The tasks of a map that are in a state of the history, or with NULL not in it, in the current context. */
static int64 *
children_in(int64 parent, bool ended, int *count)
{
	static DbosPlan live = {
		.sql = "SELECT c.id FROM dbos.task_map m CROSS JOIN LATERAL pg_catalog.unnest(m.children) c(id)"
		" JOIN dbos.task t ON t.id OPERATOR(pg_catalog.=) c.id"
		" AND t.shard OPERATOR(pg_catalog.=) (c.id OPERATOR(pg_catalog.&) 15)::pg_catalog.int2"
		" WHERE m.parent_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	static DbosPlan failed = {
		.sql = "SELECT c.id FROM dbos.task_map m CROSS JOIN LATERAL pg_catalog.unnest(m.children) c(id)"
		" JOIN dbos.task_history h ON h.id OPERATOR(pg_catalog.=) c.id AND h.state OPERATOR(pg_catalog.<>) 'succeeded'"
		" WHERE m.parent_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	Datum		value = Int64GetDatum(parent);
	MemoryContext caller = CurrentMemoryContext;
	DbosOwnerScope scope;
	int64	   *ids;
	bool		null;

	dbos_owner_begin(&scope);
	*count = (int) dbos_plan_execute(ended ? &failed : &live, &value, NULL, false, 0);
	ids = MemoryContextAllocHuge(caller, sizeof(int64) * Max(*count, 1));
	for (int i = 0; i < *count; i++)
		ids[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
	dbos_owner_end(&scope);
	return ids;
}

void
dbos_map_cancel(int64 parent)
{
	int			count;
	int64	   *ids = children_in(parent, false, &count);

	for (int i = 0; i < count; i++)
		(void) DirectFunctionCall1(dbos_cancel, Int64GetDatum(ids[i]));
}

/* Tasks of a map with a bound that are ready again wait until they are let go.  Inside an owner scope. */
static void
hold_back(const int64 *ids, int count)
{
	static DbosPlan plan = {
		.sql = "UPDATE dbos.task t SET held = true, unmet = 1 FROM pg_catalog.unnest($1) c(id)"
		" WHERE t.id OPERATOR(pg_catalog.=) c.id AND t.shard OPERATOR(pg_catalog.=) (c.id OPERATOR(pg_catalog.&) 15)::pg_catalog.int2"
		" AND t.unmet OPERATOR(pg_catalog.=) 0",
		.nargs = 1,
		.argtypes = {INT8ARRAYOID},
	};
	Datum	   *values = palloc(sizeof(Datum) * Max(count, 1));
	Datum		array;

	for (int i = 0; i < count; i++)
		values[i] = Int64GetDatum(ids[i]);
	array = PointerGetDatum(construct_array(values, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	(void) dbos_plan_execute(&plan, &array, NULL, false, 0);
}

/* The parent is back among the tasks that wait, and so are those that did not succeed. */
void
dbos_map_retry(int64 parent)
{
	static DbosPlan hold = {
		.sql = "UPDATE dbos.task SET held = true, unmet = 1"
		" WHERE shard OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT2OID, INT8OID},
	};
	static DbosPlan place = {
		.sql = "UPDATE dbos.task_map SET place = CASE WHEN concurrency IS NULL THEN pg_catalog.cardinality(children) ELSE 0 END"
		" WHERE parent_id OPERATOR(pg_catalog.=) $1 RETURNING concurrency IS NOT NULL",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	Datum		values[2] = {Int16GetDatum(DBOS_SHARD(parent)), Int64GetDatum(parent)};
	DbosOwnerScope scope;
	bool		bounded = false;
	bool		null;
	int			count;
	int64	   *ids;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&hold, values, NULL, false, 0);
	if (dbos_plan_execute(&place, &values[1], NULL, false, 0) > 0)
		bounded = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	watch(parent, &nobody, 1);
	dbos_owner_end(&scope);
	ids = children_in(parent, true, &count);
	for (int i = 0; i < count; i++)
		(void) DirectFunctionCall1(dbos_retry, Int64GetDatum(ids[i]));
	if (bounded)
	{
		dbos_owner_begin(&scope);
		hold_back(ids, count);
		dbos_owner_end(&scope);
	}
	dbos_pending_event('c', parent);
}

void
dbos_maps_forget(void)
{
	static DbosPlan plan = {
		.sql = "DELETE FROM dbos.task_map m WHERE NOT EXISTS (SELECT FROM dbos.task t"
		" WHERE t.shard OPERATOR(pg_catalog.=) (m.parent_id OPERATOR(pg_catalog.&) 15)::pg_catalog.int2"
		" AND t.id OPERATOR(pg_catalog.=) m.parent_id)"
		" AND NOT EXISTS (SELECT FROM dbos.task_history h WHERE h.id OPERATOR(pg_catalog.=) m.parent_id)",
	};

	(void) dbos_plan_execute(&plan, NULL, NULL, false, 0);
}
