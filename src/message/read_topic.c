/*
 * read_topic.c
 *	  A subscription is read: messages after its position, which moves when the transaction commits.
 *
 * One transaction at a time reads by a subscription: another one waits for its end, as for a
 * row's lock.  So each message is read once by those who commit, in the order of ids.
 *
 * What may be read is what is decided (topic_shared.c), seen by the newest snapshot whatever the
 * isolation level.  As far as nothing but ours hangs on the table, rows are read by the index of their
 * segments; where row-level security applies to the reader, or the table was altered, by
 * a SELECT of the reader's.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "dbos/container.h"

#include "topic.h"

PG_FUNCTION_INFO_V1(dbos_read_topic);

#define MAX_MESSAGES	1000000
#define LOOK_AGAIN_MS	60000
#define POLL_WITHOUT_SHARED_MEMORY_MS 20

/* The columns of what dbos.read_topic() returns. */
enum ReadColumn
{
	READ_ID,
	READ_SENDER,
	READ_SENT_AT,
	READ_PARTITION_KEY,
	READ_HEADERS,
	READ_BODY,
	READ_COLUMNS
};

typedef struct Reading
{
	DbosMailbox *topic;
	DbosSubscription subscription;
	int64		position;
	int			wanted;
	int			got;
	bool		left_segment;	/* has read over the end of one, which may go now */
	Tuplestorestate *store;
	TupleDesc	desc;
} Reading;

/* ---- one look ---- */

static Datum
detached(TupleTableSlot *slot, enum MessageColumn column, bool *isnull)
{
	Datum		value = slot_getattr(slot, column + 1, isnull);

	/* Its toast table may be emptied before the caller looks at it. */
	if (!*isnull && VARATT_IS_EXTERNAL(DatumGetPointer(value)))
		value = PointerGetDatum(PG_DETOAST_DATUM(value));
	return value;
}

static void
return_row(Reading *reading, TupleTableSlot *slot)
{
	Datum		values[READ_COLUMNS];
	bool		nulls[READ_COLUMNS];

	values[READ_ID] = slot_getattr(slot, MESSAGE_ID + 1, &nulls[READ_ID]);
	values[READ_SENDER] = slot_getattr(slot, MESSAGE_SENDER + 1, &nulls[READ_SENDER]);
	values[READ_SENT_AT] = slot_getattr(slot, MESSAGE_SENT_AT + 1, &nulls[READ_SENT_AT]);
	values[READ_PARTITION_KEY] = detached(slot, MESSAGE_PARTITION_KEY, &nulls[READ_PARTITION_KEY]);
	values[READ_HEADERS] = detached(slot, MESSAGE_HEADERS, &nulls[READ_HEADERS]);
	values[READ_BODY] = detached(slot, MESSAGE_BODY, &nulls[READ_BODY]);
	tuplestore_putvalues(reading->store, reading->desc, values, nulls);
	reading->got++;
}

static void
look_directly(Reading *reading, int64 hi)
{
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "dbos message", ALLOCSET_DEFAULT_SIZES);
	DbosTopicScan scan;
	int32		segment;

	dbos_topic_scan_begin(&scan, reading->topic, reading->position + 1, hi);
	segment = scan.at != NULL ? scan.at->segment : 0;
	while (scan.at != NULL && reading->got < reading->wanted)
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		reading->position = scan.id;
		reading->left_segment |= scan.at->segment != segment;
		/* The scan itself keeps what it allocates. */
		old = MemoryContextSwitchTo(row_context);
		if (dbos_topic_scan_passes(&scan, reading->subscription.filter))
			return_row(reading, scan.at->slot);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_context);
		dbos_topic_scan_next(&scan);
	}
	dbos_topic_scan_end(&scan);
	MemoryContextDelete(row_context);
}

/* As the reader, by its own rights; the filter is applied by us, so that it moves the position too. */
static void
look_by_sql(Reading *reading, int64 hi)
{
	Oid			types[5] = {INT8OID, INT8OID, INT8OID, JSONBOID, BOOLOID};
	Jsonb	   *filter = reading->subscription.filter;
	Datum		values[5] = {Int64GetDatum(reading->position), Int64GetDatum(hi),
	Int64GetDatum(reading->wanted - reading->got), PointerGetDatum(filter), BoolGetDatum(filter == NULL)};
	char		nulls[] = {' ', ' ', ' ', filter == NULL ? 'n' : ' ', ' ', '\0'};
	char	   *command = psprintf("SELECT id, sender, sent_at, partition_key, headers, body FROM %s"
								   " WHERE id OPERATOR(pg_catalog.>) $1 AND id OPERATOR(pg_catalog.<=) $2"
								   " AND ($5 OR body OPERATOR(pg_catalog.@>) $4) ORDER BY id LIMIT $3",
								   dbos_qualified_name(reading->topic->relation));
	uint64		count;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute_with_args(command, lengthof(types), types, values, nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\"", command);
	count = SPI_processed;
	for (uint64 i = 0; i < count; i++)
	{
		Datum		row[READ_COLUMNS];
		bool		row_nulls[READ_COLUMNS];

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row, row_nulls);
		tuplestore_putvalues(reading->store, reading->desc, row, row_nulls);
		reading->position = DatumGetInt64(row[READ_ID]);
	}
	SPI_finish();
	/* What the reader may not see, or the filter does not let through, is read too. */
	if (count < reading->wanted - reading->got)
		reading->position = Max(reading->position, Min(hi, dbos_topic_newest(reading->topic, GetActiveSnapshot())));
	reading->got += count;
}

static bool
reads_directly(const DbosMailbox *topic)
{
	return topic->plain && check_enable_rls(topic->relation, InvalidOid, true) != RLS_ENABLED;
}

/* Looks once for messages, and returns at most as many as are wanted. */
static void
look(Reading *reading)
{
	/* Before the snapshot is taken. */
	int64		horizon = dbos_topic_horizon(reading->topic);

	if (reading->position + 1 >= horizon)
		return;
	PushActiveSnapshot(GetLatestSnapshot());
	if (reads_directly(reading->topic))
		look_directly(reading, horizon - 1);
	else
		look_by_sql(reading, horizon - 1);
	PopActiveSnapshot();
}

/* ---- waiting ---- */

static void
leave_at_error(int code, Datum arg)
{
	dbos_topic_waiter_leave();
}

/* Until a message has come, or the time; a look after each wake-up. */
static void
wait_for_messages(Reading *reading, TimestampTz end)
{
	for (;;)
	{
		bool		told = dbos_topic_waiter_enter(reading->topic->relation, reading->subscription.id);
		long		patience = told ? LOOK_AGAIN_MS : POLL_WITHOUT_SHARED_MEMORY_MS;
		TimestampTz now;

		ResetLatch(MyLatch);
		/* What happens to the topic meanwhile is to be known. */
		AcceptInvalidationMessages();
		reading->topic = dbos_mailbox_of(reading->topic->relation);
		look(reading);
		now = GetCurrentTimestamp();
		if (reading->got > 0 || now >= end)
			return;
		patience = Min(patience, TimestampDifferenceMilliseconds(now, end) + 1);
		InvalidateCatalogSnapshotConditionally();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, patience, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
}

/* ---- SQL functions ---- */

static void
find_subscription(Reading *reading, const text *name)
{
	DbosSubscription *subscription = &reading->subscription;

	if (!dbos_subscription_find(reading->topic->relation, name, subscription) ||
		!dbos_container_contains(dbos_context_container(), subscription->container))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("topic \"%s\" has no subscription \"%s\"", dbos_mailbox_name(reading->topic), text_to_cstring(name)),
				errhint("SELECT dbos.subscribe(%s, %s);", quote_literal_cstr(dbos_mailbox_name(reading->topic)),
						quote_literal_cstr(text_to_cstring(name))));
	if (!has_privs_of_role(GetUserId(), subscription->role))
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied for subscription \"%s\"", text_to_cstring(name)),
				errdetail("It belongs to role \"%s\".", GetUserNameFromId(subscription->role, false)));
	if (subscription->kind != DBOS_SUBSCRIPTION_CURSOR)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot read subscription \"%s\"", text_to_cstring(name)),
				subscription->kind == DBOS_SUBSCRIPTION_MAILBOX ? errdetail("Its messages are sent into a mailbox.")
				: errdetail("Its messages become tasks."));
}

/* dbos.read_topic(topic text, subscription text, max_messages int, timeout interval) → messages */
Datum
dbos_read_topic(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"topic", "subscription", "max_messages"};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Reading		reading = {0};
	int64		timeout;
	int64		start;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < lengthof(names); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", names[i]));
	timeout = PG_ARGISNULL(3) ? dbos_task_wait_timeout : dbos_milliseconds(PG_GETARG_INTERVAL_P(3), "timeout");
	PreventCommandIfReadOnly("dbos.read_topic()");
	reading.wanted = PG_GETARG_INT32(2);
	if (reading.wanted < 1 || reading.wanted > MAX_MESSAGES)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("max_messages must be between 1 and %d: %d", MAX_MESSAGES, reading.wanted));
	reading.topic = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(0), DBOS_KIND_TOPIC, AccessShareLock);
	dbos_mailbox_check_right(reading.topic, ACL_SELECT);
	find_subscription(&reading, PG_GETARG_TEXT_PP(1));
	(void) dbos_subscription_lock(reading.subscription.id, true);
	reading.store = result->setResult;
	reading.desc = result->setDesc;
	start = reading.position = dbos_position_read(reading.subscription.id, reading.subscription.start);
	look(&reading);
	if (reading.got == 0 && timeout > 0)
	{
		PG_ENSURE_ERROR_CLEANUP(leave_at_error, (Datum) 0);
		{
			wait_for_messages(&reading, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout));
		}
		PG_END_ENSURE_ERROR_CLEANUP(leave_at_error, (Datum) 0);
		dbos_topic_waiter_leave();
	}
	if (reading.position > start)
		dbos_position_write(reading.subscription.id, reading.position);
	if (reading.left_segment)
		dbos_topic_segment_passed(reading.topic);
	return (Datum) 0;
}
