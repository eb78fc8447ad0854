/*
 * explain_policy.c
 *	  What a policy does, for people.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <limits.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "scheduler.h"
#include "task.h"

PG_FUNCTION_INFO_V1(dbos_explain_policy);

static void
put_line(ReturnSetInfo *result, const char *text)
{
	Datum		line = CStringGetTextDatum(text);
	bool		null = false;

	tuplestore_putvalues(result->setResult, result->setDesc, &line, &null);
}

/* The policy of a queue: its name and text. */
static void
put_policy(ReturnSetInfo *result, int32 queue_id)
{
	static DbosPlan plan = {
		.sql = "SELECT p.name, p.order_by FROM dbos.queue q JOIN dbos.policy p ON p.name OPERATOR(pg_catalog.=) q.policy"
		" WHERE q.id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT4OID},
	};
	Datum		value = Int32GetDatum(queue_id);

	if (dbos_plan_execute(&plan, &value, NULL, true, 1) == 1)
		put_line(result, psprintf("Policy %s: ORDER BY %s, priority, id",
								  SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
								  SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2)));
}

/* A query that reads tasks in windows, and its plan. */
static void
put_query(ReturnSetInfo *result, const char *query, int nargs, Datum *values)
{
	Oid			types[6] = {INT4OID, OIDOID, INT4OID, INT8OID, INT4OID, INT8OID};

	put_line(result, query);
	if (SPI_execute_with_args(psprintf("EXPLAIN %s", query), nargs, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not explain the policy");
	for (uint64 i = 0; i < SPI_processed; i++)
		put_line(result, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
}

/* dbos.explain_policy(queue): the order, and the queries that read what it orders, with their plans. */
Datum
dbos_explain_policy(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DbosQueueFacts facts = dbos_queue_resolve(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	Datum		values[6] = {Int32GetDatum(facts.queue_id), ObjectIdGetDatum(GetSessionUserId()),
		Int32GetDatum(INT_MIN), Int64GetDatum(0), Int32GetDatum(1), Int64GetDatum(1)};
	DbosOwnerScope scope;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	dbos_owner_begin(&scope);
	put_policy(result, facts.queue_id);
	put_query(result, DBOS_WINDOW_WITHOUT_PARTITION, 5, values);
	put_query(result, DBOS_WINDOW_OF_PARTITION, 6, values);
	dbos_owner_end(&scope);
	return (Datum) 0;
}
