/*
 * topic.c
 *	  Topics are made, altered and dropped, and what is to be seen of them.
 *
 * A topic is a table of its owner as a mailbox is (mailbox.c), without the segment of what is put aside.
 * Nobody takes rows out of it: subscriptions read on from where they are, each by its own
 * position, and segments go as a whole (topic_retention.c).  INSERT is the right to publish,
 * SELECT the right to read.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "dbos/container.h"

#include "topic.h"

PG_FUNCTION_INFO_V1(dbos_create_topic);
PG_FUNCTION_INFO_V1(dbos_alter_topic);
PG_FUNCTION_INFO_V1(dbos_drop_topic);
PG_FUNCTION_INFO_V1(dbos_topic_state);
PG_FUNCTION_INFO_V1(dbos_subscription_state);

/* So many segments make up the size that a topic may have: it is kept to that within one of them. */
#define SEGMENTS_IN_MAX_BYTES 16
#define LEAST_MAX_BYTES (SEGMENTS_IN_MAX_BYTES * BLCKSZ)

/* ---- what is known of one ---- */

void
dbos_topic_read_facts(DbosMailbox *topic)
{
	static DbosPlan plan = {
		.sql = "SELECT t.max_bytes,"
		" EXISTS (SELECT FROM dbos.subscription s WHERE s.relation OPERATOR(pg_catalog.=) t.relation),"
		" EXISTS (SELECT FROM dbos.subscription s WHERE s.relation OPERATOR(pg_catalog.=) t.relation"
		" AND s.kind OPERATOR(pg_catalog.<>) 'c')"
		" FROM dbos.topic t WHERE t.relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
		.nargs = 1,
		.argtypes = {REGCLASSOID},
	};
	Datum		value = ObjectIdGetDatum(topic->relation);
	DbosOwnerScope scope;

	topic->limit = 0;
	topic->subscribed = topic->pushes = false;
	dbos_owner_begin(&scope);
	PushActiveSnapshot(GetLatestSnapshot());
	if (dbos_plan_execute(&plan, &value, NULL, true, 1) > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		int64		max_bytes = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));

		if (!isnull)
			topic->limit = (BlockNumber) Min(max_bytes / SEGMENTS_IN_MAX_BYTES / BLCKSZ, MaxBlockNumber);
		topic->subscribed = DatumGetBool(SPI_getbinval(row, desc, 2, &isnull));
		topic->pushes = DatumGetBool(SPI_getbinval(row, desc, 3, &isnull));
	}
	PopActiveSnapshot();
	dbos_owner_end(&scope);
}

/* ---- SQL functions ---- */

/* retention and max_bytes, arguments 1 and 2; their row replaces one that the topic, or a dropped table of its number, had. */
static void
write_settings(FunctionCallInfo fcinfo, Oid topic)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.topic (relation, retention, max_bytes) VALUES ($1, $2, $3)"
		" ON CONFLICT (relation) DO UPDATE SET retention = EXCLUDED.retention, max_bytes = EXCLUDED.max_bytes",
		.nargs = 3,
		.argtypes = {REGCLASSOID, INTERVALOID, INT8OID},
	};
	Datum		values[3] = {ObjectIdGetDatum(topic), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};
	char		nulls[] = {' ', PG_ARGISNULL(1) ? 'n' : ' ', PG_ARGISNULL(2) ? 'n' : ' ', '\0'};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, nulls, false, 0);
	dbos_owner_end(&scope);
	CacheInvalidateRelcacheByRelid(topic);
}

static void
check_settings(FunctionCallInfo fcinfo)
{
	if (!PG_ARGISNULL(1) && dbos_milliseconds(PG_GETARG_INTERVAL_P(1), "retention") == 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("retention of a topic must be positive"),
				errhint("Leave it out to keep messages until all subscriptions have read them."));
	if (!PG_ARGISNULL(2) && PG_GETARG_INT64(2) < LEAST_MAX_BYTES)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("max_bytes of a topic must be at least %d: " INT64_FORMAT, LEAST_MAX_BYTES, PG_GETARG_INT64(2)));
}

/* Subscriptions of a dropped table whose number is used again, or of the topic that is dropped. */
static void
forget_subscriptions(Oid topic)
{
	static DbosPlan plan = {
		.sql = "DELETE FROM dbos.subscription WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
		.nargs = 1,
		.argtypes = {REGCLASSOID},
	};
	Datum		value = ObjectIdGetDatum(topic);
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, &value, NULL, false, 0);
	dbos_owner_end(&scope);
}

/* dbos.create_topic(relation text, retention interval, max_bytes bigint, notify boolean) */
Datum
dbos_create_topic(PG_FUNCTION_ARGS)
{
	Oid			topic;

	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("relation must not be null"));
	PreventCommandIfReadOnly("dbos.create_topic()");
	check_settings(fcinfo);
	topic = dbos_mailbox_make(PG_GETARG_TEXT_PP(0), DBOS_KIND_TOPIC, &(DbosMailboxOptions) {0});
	forget_subscriptions(topic);
	write_settings(fcinfo, topic);
	if (!PG_ARGISNULL(3) && PG_GETARG_BOOL(3))
		dbos_mailbox_set_channel(topic, dbos_channel_name(PG_GETARG_TEXT_PP(0), DBOS_KIND_TOPIC));
	PG_RETURN_VOID();
}

/* dbos.alter_topic(topic text, retention interval, max_bytes bigint): both are as said now */
Datum
dbos_alter_topic(PG_FUNCTION_ARGS)
{
	DbosMailbox *topic;

	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("topic must not be null"));
	PreventCommandIfReadOnly("dbos.alter_topic()");
	check_settings(fcinfo);
	topic = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(0), DBOS_KIND_TOPIC, AccessShareLock);
	dbos_mailbox_check_owner(topic);
	write_settings(fcinfo, topic->relation);
	/* What it says holds at once. */
	dbos_topic_segment_passed(topic);
	PG_RETURN_VOID();
}

/* dbos.drop_topic(topic text) */
Datum
dbos_drop_topic(PG_FUNCTION_ARGS)
{
	DbosMailbox *topic;
	Oid			relation;

	PreventCommandIfReadOnly("dbos.drop_topic()");
	topic = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(0), DBOS_KIND_TOPIC, AccessExclusiveLock);
	relation = topic->relation;
	dbos_mailbox_drop(topic);
	forget_subscriptions(relation);
	PG_RETURN_VOID();
}

/* ---- for the views ---- */

/* The oldest and the newest message that can be seen; false when there is none. */
static bool
topic_edges(const DbosMailbox *topic, int64 *oldest, TimestampTz *oldest_at, int64 *newest)
{
	bool		any = false;

	PushActiveSnapshot(GetLatestSnapshot());
	for (int i = 0; i < topic->nsegments; i++)
	{
		DbosSegment segment = topic->segments[i];
		int64		id;
		TimestampTz sent_at;

		if (!dbos_segment_edge(&segment, ForwardScanDirection, GetActiveSnapshot(), &id, &sent_at))
			continue;
		if (!any)
			*newest = id;
		if (!any || id < *oldest)
		{
			*oldest = id;
			*oldest_at = sent_at;
		}
		any = true;
		if (dbos_segment_edge(&segment, BackwardScanDirection, GetActiveSnapshot(), &id, &sent_at))
			*newest = Max(*newest, id);
	}
	PopActiveSnapshot();
	return any;
}

/* The topic of a row in a view, locked; NULL when it is gone or the session may not look at it. */
static DbosMailbox *
visible_topic(Oid relation)
{
	DbosMailbox *topic;

	if (!OidIsValid(relation) || !ConditionalLockRelationOid(relation, AccessShareLock))
		return NULL;
	if (get_rel_relkind(relation) != RELKIND_PARTITIONED_TABLE)
		return NULL;
	topic = dbos_mailbox_of(relation);
	if (topic == NULL || topic->kind != DBOS_KIND_TOPIC)
		return NULL;
	if (pg_class_aclcheck(relation, GetUserId(), ACL_SELECT) != ACLCHECK_OK && !dbos_is_monitor(GetUserId()))
		return NULL;
	return topic;
}

/* dbos.topic_state(topic regclass) → oldest_id, oldest_at, newest_id, bytes */
Datum
dbos_topic_state(PG_FUNCTION_ARGS)
{
	DbosMailbox *topic = visible_topic(PG_GETARG_OID(0));
	TupleDesc	desc;
	Datum		values[4] = {0};
	bool		nulls[4] = {true, true, true, true};
	int64		oldest;
	TimestampTz oldest_at;
	int64		newest;
	int64		bytes = 0;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (topic == NULL)
		PG_RETURN_NULL();
	if (topic_edges(topic, &oldest, &oldest_at, &newest))
	{
		values[0] = Int64GetDatum(oldest);
		values[1] = TimestampTzGetDatum(oldest_at);
		values[2] = Int64GetDatum(newest);
		nulls[0] = nulls[1] = nulls[2] = false;
	}
	for (int i = 0; i < topic->nsegments; i++)
		bytes += DatumGetInt64(DirectFunctionCall1(pg_total_relation_size, ObjectIdGetDatum(topic->segments[i].relation)));
	values[3] = Int64GetDatum(bytes);
	nulls[3] = false;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* dbos.subscription_state(id integer, topic regclass, start_position bigint) → last_id, lag, lag_time, reader_pid */
Datum
dbos_subscription_state(PG_FUNCTION_ARGS)
{
	int32		id = PG_GETARG_INT32(0);
	DbosMailbox *topic = visible_topic(PG_GETARG_OID(1));
	int64		position;
	int64		horizon;
	TupleDesc	desc;
	Datum		values[4] = {0};
	bool		nulls[4] = {false, false, true, true};
	int64		oldest;
	int64		newest;
	TimestampTz sent_at;
	DbosTopicScan scan;
	int			pid;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (topic == NULL)
		PG_RETURN_NULL();
	horizon = dbos_topic_horizon(topic);
	position = dbos_position_read(id, PG_GETARG_INT64(2));
	values[0] = Int64GetDatum(position);
	values[1] = Int64GetDatum(0);
	if (topic_edges(topic, &oldest, &sent_at, &newest) && Min(newest, horizon - 1) > position)
	{
		PushActiveSnapshot(GetLatestSnapshot());
		dbos_topic_scan_begin(&scan, topic, position + 1, Min(newest, horizon - 1));
		if (scan.at != NULL)
		{
			sent_at = (TimestampTz) dbos_slot_int64(scan.at->slot, MESSAGE_SENT_AT);
			values[1] = Int64GetDatum(newest - scan.id + 1);
			values[2] = DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(Max(dbos_now(), sent_at)), TimestampTzGetDatum(sent_at));
			nulls[2] = false;
		}
		dbos_topic_scan_end(&scan);
		PopActiveSnapshot();
	}
	pid = dbos_topic_waiter_pid(topic->relation, id);
	values[3] = Int32GetDatum(pid);
	nulls[3] = pid == 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
