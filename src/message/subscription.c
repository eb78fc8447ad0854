/*
 * subscription.c
 *	  Subscriptions to topics: who reads one, from where, and what is done with the messages.
 *
 * A subscription is a row of dbos.subscription and a position (topic_position.c).  Its
 * owner is the role that subscribed, whose members read by it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "dbos/container.h"

#include "topic.h"

PG_FUNCTION_INFO_V1(dbos_subscribe);
PG_FUNCTION_INFO_V1(dbos_unsubscribe);

/* The last message of a segment is older than its others by no more than this. */
#define OUT_OF_ORDER_US (60 * USECS_PER_SEC)

#define SUBSCRIPTION_COLUMNS \
	"id, relation, kind, name, role, container_id, start_position, filter, target," \
	" error IS NOT NULL," \
	" function, session_role, queue_id, priority, max_attempts, retry_delay, timeout"

/* ---- rows ---- */

/* The columns from function on; NULL unless its messages become tasks. */
static void
read_task(DbosSubscription *subscription, HeapTuple row, TupleDesc desc, int column)
{
	DbosTaskTemplate *task = &subscription->task;
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	memset(task, 0, sizeof(*task));
	if (isnull)
		return;
	task->function = TextDatumGetCString(value);
	task->role = subscription->role;
	task->container = subscription->container;
	task->session_role = DatumGetObjectId(SPI_getbinval(row, desc, column + 1, &isnull));
	task->queue_id = DatumGetInt32(SPI_getbinval(row, desc, column + 2, &isnull));
	task->priority = DatumGetInt32(SPI_getbinval(row, desc, column + 3, &isnull));
	task->max_attempts = DatumGetInt32(SPI_getbinval(row, desc, column + 4, &isnull));
	task->retry_delay = *DatumGetIntervalP(SPI_getbinval(row, desc, column + 5, &isnull));
	value = SPI_getbinval(row, desc, column + 6, &isnull);
	if (!isnull)
		task->timeout = *DatumGetIntervalP(value);
}

/* Copies the row that a statement over SUBSCRIPTION_COLUMNS has returned into a memory context. */
static void
read_row(DbosSubscription *subscription, MemoryContext context)
{
	HeapTuple	row = SPI_tuptable->vals[0];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	MemoryContext old = MemoryContextSwitchTo(context);
	Datum		value;
	bool		isnull;

	subscription->id = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
	subscription->topic = DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull));
	subscription->kind = DatumGetChar(SPI_getbinval(row, desc, 3, &isnull));
	subscription->name = TextDatumGetCString(SPI_getbinval(row, desc, 4, &isnull));
	subscription->role = DatumGetObjectId(SPI_getbinval(row, desc, 5, &isnull));
	subscription->container = DatumGetInt32(SPI_getbinval(row, desc, 6, &isnull));
	subscription->start = DatumGetInt64(SPI_getbinval(row, desc, 7, &isnull));
	value = SPI_getbinval(row, desc, 8, &isnull);
	subscription->filter = isnull ? NULL : DatumGetJsonbPCopy(value);
	value = SPI_getbinval(row, desc, 9, &isnull);
	subscription->target = isnull ? InvalidOid : DatumGetObjectId(value);
	subscription->failed = DatumGetBool(SPI_getbinval(row, desc, 10, &isnull));
	read_task(subscription, row, desc, 11);
	MemoryContextSwitchTo(old);
}

bool
dbos_subscription_find(Oid topic, const text *name, DbosSubscription *found)
{
	static DbosPlan plan = {
		.sql = "SELECT " SUBSCRIPTION_COLUMNS " FROM dbos.subscription"
		" WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid AND name OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {REGCLASSOID, TEXTOID},
	};
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[2] = {ObjectIdGetDatum(topic), PointerGetDatum(name)};
	DbosOwnerScope scope;
	bool		is_there;

	dbos_owner_begin(&scope);
	PushActiveSnapshot(GetLatestSnapshot());
	is_there = dbos_plan_execute(&plan, values, NULL, true, 1) > 0;
	if (is_there)
		read_row(found, caller);
	PopActiveSnapshot();
	dbos_owner_end(&scope);
	return is_there;
}

bool
dbos_subscription_after(int32 id, Oid topic, bool pushed, DbosSubscription *found)
{
	static DbosPlan plan = {
		.sql = "SELECT " SUBSCRIPTION_COLUMNS " FROM dbos.subscription WHERE id OPERATOR(pg_catalog.>) $1"
		" AND ($2::pg_catalog.oid OPERATOR(pg_catalog.=) 0 OR relation OPERATOR(pg_catalog.=) $2::pg_catalog.oid)"
		" AND (NOT $3 OR kind OPERATOR(pg_catalog.<>) 'c') ORDER BY id LIMIT 1",
		.nargs = 3,
		.argtypes = {INT4OID, REGCLASSOID, BOOLOID},
	};
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[3] = {Int32GetDatum(id), ObjectIdGetDatum(topic), BoolGetDatum(pushed)};
	DbosOwnerScope scope;
	bool		is_there;

	dbos_owner_begin(&scope);
	PushActiveSnapshot(GetLatestSnapshot());
	is_there = dbos_plan_execute(&plan, values, NULL, true, 1) > 0;
	if (is_there)
		read_row(found, caller);
	PopActiveSnapshot();
	dbos_owner_end(&scope);
	return is_there;
}

bool
dbos_subscription_lock(int32 id, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, dbos_relation_oid("subscription"), id, 0);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
dbos_subscription_add_lost(int32 id, int64 lost)
{
	static DbosPlan plan = {
		.sql = "UPDATE dbos.subscription SET lost = lost OPERATOR(pg_catalog.+) $2 WHERE id OPERATOR(pg_catalog.=) $1",
		.nargs = 2,
		.argtypes = {INT4OID, INT8OID},
	};
	Datum		values[2] = {Int32GetDatum(id), Int64GetDatum(lost)};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
	dbos_owner_end(&scope);
}

void
dbos_subscription_note_error(int32 id, const char *error)
{
	static DbosPlan plan = {
		.sql = "UPDATE dbos.subscription SET error = $2 WHERE id OPERATOR(pg_catalog.=) $1 AND error IS DISTINCT FROM $2",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTOID},
	};
	Datum		values[2] = {Int32GetDatum(id), error != NULL ? CStringGetTextDatum(error) : (Datum) 0};
	char		nulls[] = {' ', error == NULL ? 'n' : ' ', '\0'};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, nulls, false, 0);
	dbos_owner_end(&scope);
}

void
dbos_topics_forget_dropped(void)
{
	static DbosPlan subscriptions = {
		.sql = "DELETE FROM dbos.subscription s WHERE NOT EXISTS"
		" (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) s.relation)",
	};
	static DbosPlan topics = {
		.sql = "DELETE FROM dbos.topic t WHERE NOT EXISTS"
		" (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) t.relation)",
	};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&subscriptions, NULL, NULL, false, 0);
	(void) dbos_plan_execute(&topics, NULL, NULL, false, 0);
	dbos_owner_end(&scope);
}

static bool
uses_container(int32 container)
{
	static DbosPlan plan = {
		.sql = "SELECT FROM dbos.subscription WHERE container_id OPERATOR(pg_catalog.=) $1 LIMIT 1",
		.nargs = 1,
		.argtypes = {INT4OID},
	};

	return dbos_container_found(&plan, container);
}

static char *
queue_user(int32 queue_id)
{
	static DbosPlan plan = {
		.sql = "SELECT pg_catalog.format('subscription %s of topic %s', name, relation) FROM dbos.subscription"
		" WHERE queue_id OPERATOR(pg_catalog.=) $1 LIMIT 1",
		.nargs = 1,
		.argtypes = {INT4OID},
	};
	Datum		value = Int32GetDatum(queue_id);

	if (dbos_plan_execute(&plan, &value, NULL, true, 1) == 0)
		return NULL;
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

void
dbos_subscription_register(void)
{
	dbos_queue_register_user(queue_user);
	dbos_container_register_user("subscription", uses_container);
}

/* ---- where a subscription starts ---- */

/*
 * Before everything that commits from now on: a message of a transaction that goes on is not missed,
 * and what has committed while that one was going on may be there too.
 */
static int64
position_now(const DbosMailbox *topic)
{
	int64		position = dbos_topic_horizon(topic);

	if (position != PG_INT64_MAX)
		return position - 1;
	/* Without shared memory what is visible has no gap below it. */
	PushActiveSnapshot(GetLatestSnapshot());
	position = dbos_topic_newest(topic, GetActiveSnapshot());
	PopActiveSnapshot();
	return position;
}

/* Before the first message of a segment that was sent at the time or later; PG_INT64_MAX: it has none. */
static int64
position_in_segment(DbosSegment *segment, TimestampTz since, Snapshot snapshot)
{
	int64		position = PG_INT64_MAX;
	int64		id;
	TimestampTz newest;
	DbosSegmentScan scan;

	if (!dbos_segment_edge(segment, BackwardScanDirection, snapshot, &id, &newest) || newest < since - OUT_OF_ORDER_US)
		return position;
	dbos_segment_scan_begin(&scan, segment, snapshot, PG_INT64_MIN, PG_INT64_MAX, AccessShareLock);
	while (scan.more && position == PG_INT64_MAX)
	{
		CHECK_FOR_INTERRUPTS();
		if ((TimestampTz) dbos_slot_int64(scan.slot, MESSAGE_SENT_AT) >= since)
			position = dbos_slot_int64(scan.slot, MESSAGE_ID) - 1;
		dbos_segment_scan_next(&scan);
	}
	dbos_segment_scan_end(&scan);
	return position;
}

static int64
position_at(const DbosMailbox *topic, TimestampTz since)
{
	int64		position = position_now(topic);

	PushActiveSnapshot(GetLatestSnapshot());
	for (int i = 0; i < topic->nsegments; i++)
	{
		DbosSegment segment = topic->segments[i];

		position = Min(position, position_in_segment(&segment, since, GetActiveSnapshot()));
	}
	PopActiveSnapshot();
	return position;
}

static int64
start_position(const DbosMailbox *topic, const char *start_at)
{
	if (pg_strcasecmp(start_at, "beginning") == 0)
		return 0;
	if (pg_strcasecmp(start_at, "now") == 0)
		return position_now(topic);
	return position_at(topic, DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(start_at),
																	  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1))));
}

/* ---- SQL functions ---- */

static void
refuse_null(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name));
}

/* Writes the row; its id comes from a sequence. */
static void
insert_subscription(const DbosSubscription *subscription, const DbosMailbox *topic)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.subscription"
		" (relation, name, kind, role, container_id, start_position, filter, target, created_at,"
		" function, session_role, queue_id, priority, max_attempts, retry_delay, timeout)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) ON CONFLICT DO NOTHING",
		.nargs = 16,
		.argtypes = {REGCLASSOID, TEXTOID, CHAROID, REGROLEOID, INT4OID, INT8OID, JSONBOID, REGCLASSOID, TIMESTAMPTZOID,
		TEXTOID, REGROLEOID, INT4OID, INT4OID, INT4OID, INTERVALOID, INTERVALOID},
	};
	const DbosTaskTemplate *task = &subscription->task;
	bool		has_timeout = task->timeout.time != 0 || task->timeout.day != 0 || task->timeout.month != 0;
	Datum		values[16] = {ObjectIdGetDatum(subscription->topic), CStringGetTextDatum(subscription->name),
		CharGetDatum(subscription->kind), ObjectIdGetDatum(subscription->role), Int32GetDatum(subscription->container),
		Int64GetDatum(subscription->start), PointerGetDatum(subscription->filter), ObjectIdGetDatum(subscription->target),
		TimestampTzGetDatum(dbos_now()), task->function != NULL ? CStringGetTextDatum(task->function) : (Datum) 0,
		ObjectIdGetDatum(task->session_role), Int32GetDatum(task->queue_id), Int32GetDatum(task->priority),
		Int32GetDatum(task->max_attempts), IntervalPGetDatum(&task->retry_delay), IntervalPGetDatum(&task->timeout)};
	char		nulls[16 + 1];
	DbosOwnerScope scope;
	bool		made;

	memset(nulls, ' ', 16);
	nulls[16] = '\0';
	if (subscription->filter == NULL)
		nulls[6] = 'n';
	if (!OidIsValid(subscription->target))
		nulls[7] = 'n';
	if (task->function == NULL)
		memset(&nulls[9], 'n', 7);
	if (!has_timeout)
		nulls[15] = 'n';
	dbos_owner_begin(&scope);
	made = dbos_plan_execute(&plan, values, nulls, false, 0) > 0;
	dbos_owner_end(&scope);
	if (!made)
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("topic \"%s\" already has a subscription \"%s\"", dbos_mailbox_name(topic), subscription->name),
				errhint("Choose another name, or forget that one: SELECT dbos.unsubscribe(%s, %s);",
						quote_literal_cstr(dbos_mailbox_name(topic)), quote_literal_cstr(subscription->name)));
}

void
dbos_check_deliverable(const DbosMailbox *mailbox)
{
	if (!mailbox->plain)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot deliver messages in the background with the table \"%s\"", dbos_mailbox_name(mailbox)),
				errdetail("It has triggers, rules, checks or columns that are not from dbos."),
				errhint("Read the topic by dbos.read_topic()."));
	if (check_enable_rls(mailbox->relation, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("cannot deliver messages in the background with the table \"%s\"", dbos_mailbox_name(mailbox)),
				errdetail("Row-level security applies to role \"%s\".", GetUserNameFromId(GetUserId(), false)),
				errhint("Read the topic by dbos.read_topic()."));
}

/* dbos.subscribe(topic text, name text, mailbox text, function text, filter jsonb, start_at text, options of the tasks) */
Datum
dbos_subscribe(PG_FUNCTION_ARGS)
{
	DbosSubscription subscription = {.kind = DBOS_SUBSCRIPTION_CURSOR};
	DbosMailbox *topic;
	text	   *name;

	refuse_null(fcinfo, 0, "topic");
	refuse_null(fcinfo, 1, "name");
	refuse_null(fcinfo, 5, "start_at");
	PreventCommandIfReadOnly("dbos.subscribe()");
	name = PG_GETARG_TEXT_PP(1);
	if (VARSIZE_ANY_EXHDR(name) == 0 || VARSIZE_ANY_EXHDR(name) >= NAMEDATALEN)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("name of a subscription must have 1 to %d bytes", NAMEDATALEN - 1));
	if (!PG_ARGISNULL(2) && !PG_ARGISNULL(3))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("mailbox and function of a subscription cannot be given together"));
	topic = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(0), DBOS_KIND_TOPIC, AccessShareLock);
	dbos_mailbox_check_right(topic, ACL_SELECT);
	dbos_container_hold(dbos_context_container());
	subscription.topic = topic->relation;
	subscription.name = text_to_cstring(name);
	subscription.role = GetUserId();
	subscription.container = dbos_context_container();
	subscription.filter = PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4);
	if (!PG_ARGISNULL(2))
	{
		DbosMailbox *target = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(2), DBOS_KIND_MAILBOX, RowExclusiveLock);

		dbos_mailbox_check_right(target, ACL_INSERT);
		dbos_check_deliverable(target);
		subscription.kind = DBOS_SUBSCRIPTION_MAILBOX;
		subscription.target = target->relation;
	}
	if (!PG_ARGISNULL(3))
	{
		subscription.kind = DBOS_SUBSCRIPTION_FUNCTION;
		dbos_task_template_make(&subscription.task, "dbos.subscribe()", text_to_cstring(PG_GETARG_TEXT_PP(3)), fcinfo, 6);
	}
	if (subscription.kind != DBOS_SUBSCRIPTION_CURSOR)
		dbos_check_deliverable(topic);
	subscription.start = start_position(topic, text_to_cstring(PG_GETARG_TEXT_PP(5)));
	insert_subscription(&subscription, topic);
	/* Whoever publishes from now on tells the background. */
	CacheInvalidateRelcacheByRelid(topic->relation);
	dbos_topic_want_delivery();
	PG_RETURN_VOID();
}

/* dbos.unsubscribe(topic text, name text) → whether there was one */
Datum
dbos_unsubscribe(PG_FUNCTION_ARGS)
{
	static DbosPlan plan = {
		.sql = "DELETE FROM dbos.subscription WHERE id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT4OID},
	};
	DbosMailbox *topic;
	DbosSubscription subscription;
	DbosOwnerScope scope;
	Datum		value;
	bool		deleted;

	PreventCommandIfReadOnly("dbos.unsubscribe()");
	topic = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(0), DBOS_KIND_TOPIC, AccessShareLock);
	if (!dbos_subscription_find(topic->relation, PG_GETARG_TEXT_PP(1), &subscription) ||
		!dbos_container_contains(dbos_context_container(), subscription.container))
		PG_RETURN_BOOL(false);
	if (!has_privs_of_role(GetUserId(), subscription.role) && !dbos_is_admin(GetUserId()) &&
		!dbos_relation_owned(topic->relation, GetUserId()))
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied for subscription \"%s\"", text_to_cstring(PG_GETARG_TEXT_PP(1))),
				errdetail("It belongs to role \"%s\".", GetUserNameFromId(subscription.role, false)));
	value = Int32GetDatum(subscription.id);
	dbos_owner_begin(&scope);
	deleted = dbos_plan_execute(&plan, &value, NULL, false, 0) > 0;
	dbos_owner_end(&scope);
	CacheInvalidateRelcacheByRelid(topic->relation);
	PG_RETURN_BOOL(deleted);
}
