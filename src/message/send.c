/*
 * send.c
 *	  A message is a row: sent by dbos.send(), or by INSERT, COPY or a trigger on the mailbox.
 *
 * dbos.send() writes the row into the current segment itself, which is what the
 * executor's INSERT would do, as long as nothing but ours hangs on the table;
 * where something does (row-level security, somebody's triggers, more columns), it
 * is an INSERT.  Either way the row is the sender's, in the sender's transaction.
 *
 * A row that comes by an INSERT meets the row trigger message_sent(): it says who sent
 * it, and keeps everybody but the mailbox's owner from saying otherwise.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "document.h"
#include "topic.h"

PG_FUNCTION_INFO_V1(dbos_send);
PG_FUNCTION_INFO_V1(dbos_send_many);
PG_FUNCTION_INFO_V1(dbos_publish);
PG_FUNCTION_INFO_V1(dbos_publish_many);
PG_FUNCTION_INFO_V1(dbos_message_id);
PG_FUNCTION_INFO_V1(dbos_message_segment);
PG_FUNCTION_INFO_V1(dbos_message_sent);

#define MAX_KEY_BYTES 1024

/* What all messages of one send have in common. */
typedef struct Sending
{
	DbosMailbox *mailbox;
	TimestampTz now;
	TimestampTz run_at;			/* not visible before; 0: at once */
	text	   *partition_key;	/* NULL: none */
	Jsonb	   *headers;
	int64		id;				/* of the one message; 0: not taken yet */
} Sending;

/*
 * The ids that this backend took last for rows that come by INSERT, until they have come: nobody but the owner
 * may write one with another.  More than one, since what is sent on the way, by a trigger say, takes ids too.
 */
#define TAKEN_IDS 64
typedef struct TakenId
{
	Oid			relation;
	int64		id;
} TakenId;

static TakenId taken_ids[TAKEN_IDS];
static int	next_taken = 0;

static int64
take_id(DbosMailbox *mailbox)
{
	return mailbox->kind == DBOS_KIND_TOPIC ? dbos_topic_take_id(mailbox) : nextval_internal(mailbox->sequence, false);
}

/* The trigger shall let a message with this id pass. */
static int64
expect_id(const DbosMailbox *mailbox, int64 id)
{
	taken_ids[next_taken] = (TakenId) {.relation = mailbox->relation, .id = id};
	next_taken = (next_taken + 1) % TAKEN_IDS;
	return id;
}

/* Whether this backend has taken the id for a message that has not come yet; it has come then. */
static bool
use_id(const DbosMailbox *mailbox, int64 id)
{
	for (int i = 0; i < TAKEN_IDS; i++)
	{
		if (taken_ids[i].relation != mailbox->relation || taken_ids[i].id != id)
			continue;
		taken_ids[i].relation = InvalidOid;
		return true;
	}
	return false;
}

/* ---- rows that we write ---- */

static void
fill_row(TupleTableSlot *slot, const Sending *sending, int64 id, Datum body, bool null)
{
	int64		task = dbos_context_task();

	dbos_slot_set(slot, MESSAGE_ID, Int64GetDatum(id));
	dbos_slot_set(slot, MESSAGE_SENT_AT, TimestampTzGetDatum(sending->now));
	if (task != 0)
		dbos_slot_set(slot, MESSAGE_TASK_ID, Int64GetDatum(task));
	if (sending->run_at != 0)
		dbos_slot_set(slot, MESSAGE_VISIBLE_AT, TimestampTzGetDatum(sending->run_at));
	dbos_slot_set(slot, MESSAGE_SENDER, ObjectIdGetDatum(GetUserId()));
	dbos_slot_set(slot, MESSAGE_SEGMENT, Int32GetDatum(sending->mailbox->current_segment));
	dbos_slot_set(slot, MESSAGE_CONTAINER_ID, Int32GetDatum(dbos_context_container()));
	dbos_slot_set(slot, MESSAGE_DELIVERIES, Int32GetDatum(0));
	if (sending->partition_key != NULL)
		dbos_slot_set(slot, MESSAGE_PARTITION_KEY, PointerGetDatum(sending->partition_key));
	dbos_slot_set(slot, MESSAGE_HEADERS, JsonbPGetDatum(sending->headers));
	if (!null)
		dbos_slot_set(slot, MESSAGE_BODY, body);
}

static bool
writes_directly(const DbosMailbox *mailbox)
{
	return mailbox->plain && check_enable_rls(mailbox->relation, InvalidOid, true) != RLS_ENABLED;
}

/* Who listens to a topic is told at commit, and at abort too: then readers go on to what was published later. */
static void
topic_published(const DbosMailbox *topic, int32 segment, int64 lo, int64 hi)
{
	if (topic->standing == 0)
		return;
	dbos_pending_sent(topic->relation, segment, lo, hi);
	dbos_pending_claimed(topic->relation, (DbosIdRange) {.lo = lo, .hi = hi, .segment = DBOS_ANY_SEGMENT});
}

/* Writes one row for each body; ids[i] is that of bodies[i]. */
static void
write_rows(const Sending *sending, const Datum *bodies, const bool *nulls, int count, int64 *ids)
{
	DbosMailbox *mailbox = sending->mailbox;
	int32		segment = sending->run_at != 0 ? DBOS_ASIDE_SEGMENT : mailbox->current_segment;
	DbosSegmentWriter writer;

	dbos_segment_write_begin(&writer, dbos_mailbox_segment(mailbox, segment), count);
	for (int i = 0; i < count; i++)
	{
		ids[i] = sending->id != 0 ? sending->id : take_id(mailbox);
		fill_row(dbos_segment_write_next(&writer), sending, ids[i], bodies[i], nulls[i]);
	}
	dbos_segment_write_end(&writer);
	if (count == 0)
		return;
	if (segment == DBOS_ASIDE_SEGMENT)
	{
		dbos_pending_aside(mailbox->relation, sending->run_at);
		return;
	}
	if (mailbox->options.ordered)
	{
		/* They have one key, and come in their order. */
		dbos_pending_message(mailbox, segment, ids[0], sending->partition_key);
		dbos_pending_message(mailbox, segment, ids[count - 1], sending->partition_key);
	}
	else if (mailbox->kind == DBOS_KIND_MAILBOX)
		dbos_pending_sent(mailbox->relation, segment, ids[0], ids[count - 1]);
	else
		topic_published(mailbox, segment, ids[0], ids[count - 1]);
	dbos_mailbox_wrote(mailbox, writer.last);
}

/* The same by INSERT, with everything that the sender's rights and the table's owner say. */
static void
insert_rows(const Sending *sending, const Datum *bodies, const bool *nulls, int count, int64 *ids)
{
	Oid			types[5] = {TEXTOID, JSONBOID, JSONBOID, TIMESTAMPTZOID, INT8OID};
	Oid			relation = sending->mailbox->relation;
	char	   *command = psprintf("INSERT INTO %s (partition_key, headers, body, visible_at, id) VALUES ($1, $2, $3, $4, $5)",
								   dbos_qualified_name(relation));
	SPIPlanPtr	plan;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	plan = SPI_prepare(command, lengthof(types), types);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", command, SPI_result_code_string(SPI_result));
	for (int i = 0; i < count; i++)
	{
		char		is_null[5] = {sending->partition_key == NULL ? 'n' : ' ', ' ', nulls[i] ? 'n' : ' ',
		sending->run_at == 0 ? 'n' : ' ', ' '};
		Datum		values[5] = {PointerGetDatum(sending->partition_key), JsonbPGetDatum(sending->headers), bodies[i],
		TimestampTzGetDatum(sending->run_at)};

		ids[i] = expect_id(sending->mailbox, sending->id != 0 ? sending->id : take_id(sending->mailbox));
		values[4] = Int64GetDatum(ids[i]);
		if (SPI_execute_plan(plan, values, is_null, false, 0) < 0)
			elog(ERROR, "could not execute \"%s\"", command);
		/* A trigger or rule of the owner's has kept it away. */
		if (SPI_processed == 0)
			ids[i] = 0;
	}
	SPI_finish();
}

static void
send_all(const Sending *sending, const Datum *bodies, const bool *nulls, int count, int64 *ids)
{
	if (writes_directly(sending->mailbox))
		write_rows(sending, bodies, nulls, count, ids);
	else
		insert_rows(sending, bodies, nulls, count, ids);
}

/* ---- SQL functions ---- */

static void
read_sending(FunctionCallInfo fcinfo, char kind, const char *command, Sending *sending)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", kind == DBOS_KIND_TOPIC ? "topic" : "mailbox"));
	PreventCommandIfReadOnly(command);
	sending->mailbox = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(0), kind, RowShareLock);
	dbos_mailbox_check_right(sending->mailbox, ACL_INSERT);
	dbos_mailbox_expect(sending->mailbox);
	sending->now = dbos_now();
	sending->partition_key = NULL;
	sending->run_at = 0;
	sending->id = 0;
}

static Jsonb *
read_headers(FunctionCallInfo fcinfo, int at)
{
	Jsonb	   *headers = PG_ARGISNULL(at) ? dbos_empty_document() : PG_GETARG_JSONB_P(at);

	if (!JB_ROOT_IS_OBJECT(headers))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("headers of a message must be a JSON object"));
	return headers;
}

/* run_at and delay, of which one may be given; 0: neither, or it is past. */
static TimestampTz
read_run_at(FunctionCallInfo fcinfo, int delay, int run_at, TimestampTz now)
{
	TimestampTz at;

	if (!PG_ARGISNULL(delay) && !PG_ARGISNULL(run_at))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("run_at and delay of a message cannot be given together"),
				errhint("Give the time as run_at, or how long from now as delay."));
	if (!PG_ARGISNULL(delay))
		at = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now),
													 PG_GETARG_DATUM(delay)));
	else if (!PG_ARGISNULL(run_at))
		at = PG_GETARG_TIMESTAMPTZ(run_at);
	else
		return 0;
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("run_at of a message must be finite"));
	return at > now ? at : 0;
}

static text *
read_key(FunctionCallInfo fcinfo, int at, const char *name)
{
	text	   *key;

	if (PG_ARGISNULL(at))
		return NULL;
	key = PG_GETARG_TEXT_PP(at);
	if (VARSIZE_ANY_EXHDR(key) > MAX_KEY_BYTES)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s of a message must be at most %d bytes", name, MAX_KEY_BYTES),
				errdetail("It has %zu bytes.", (size_t) VARSIZE_ANY_EXHDR(key)),
				errhint("Use a hash of it, as md5() makes."));
	return key;
}

/*
 * dbos.send(mailbox text, body jsonb, partition_key text, delay interval, run_at timestamptz,
 * headers jsonb, idempotency_key text) → id
 */
Datum
dbos_send(PG_FUNCTION_ARGS)
{
	Sending		sending;
	Datum		body = PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1);
	bool		null = PG_ARGISNULL(1);
	text	   *key;
	int64		id;

	read_sending(fcinfo, DBOS_KIND_MAILBOX, "dbos.send()", &sending);
	sending.partition_key = read_key(fcinfo, 2, "partition_key");
	sending.run_at = read_run_at(fcinfo, 3, 4, sending.now);
	sending.headers = read_headers(fcinfo, 5);
	key = read_key(fcinfo, 6, "idempotency_key");
	if (key != NULL)
	{
		sending.id = take_id(sending.mailbox);
		if (!dbos_message_key_take(sending.mailbox, key, sending.id, &id))
			PG_RETURN_INT64(id);
	}
	send_all(&sending, &body, &null, 1, &id);
	/* A trigger or rule of the owner's has kept it away. */
	if (id == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(id);
}

/* One message for each of the bodies in argument 1; ids, in order. */
static Datum
send_many(FunctionCallInfo fcinfo, char kind, const char *command)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Sending		sending;
	Datum	   *bodies;
	bool	   *nulls;
	int			count;
	int64	   *ids;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	read_sending(fcinfo, kind, command, &sending);
	sending.headers = dbos_empty_document();
	if (PG_ARGISNULL(1))
		return (Datum) 0;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), JSONBOID, -1, false, TYPALIGN_INT, &bodies, &nulls, &count);
	ids = palloc_extended(sizeof(int64) * Max(count, 1), MCXT_ALLOC_HUGE);
	send_all(&sending, bodies, nulls, count, ids);
	for (int i = 0; i < count; i++)
	{
		Datum		value = Int64GetDatum(ids[i]);
		bool		null = ids[i] == 0;

		tuplestore_putvalues(result->setResult, result->setDesc, &value, &null);
	}
	return (Datum) 0;
}

/* dbos.send_many(mailbox text, bodies jsonb[]) → ids, in order */
Datum
dbos_send_many(PG_FUNCTION_ARGS)
{
	return send_many(fcinfo, DBOS_KIND_MAILBOX, "dbos.send_many()");
}

/* dbos.publish(topic text, body jsonb, partition_key text, headers jsonb) → id */
Datum
dbos_publish(PG_FUNCTION_ARGS)
{
	Sending		sending;
	Datum		body = PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1);
	bool		null = PG_ARGISNULL(1);
	int64		id;

	read_sending(fcinfo, DBOS_KIND_TOPIC, "dbos.publish()", &sending);
	sending.partition_key = read_key(fcinfo, 2, "partition_key");
	sending.headers = read_headers(fcinfo, 3);
	send_all(&sending, &body, &null, 1, &id);
	PG_RETURN_INT64(id);
}

/* dbos.publish_many(topic text, bodies jsonb[]) → ids, in order */
Datum
dbos_publish_many(PG_FUNCTION_ARGS)
{
	return send_many(fcinfo, DBOS_KIND_TOPIC, "dbos.publish_many()");
}

/* ---- defaults and trigger of the table ---- */

/* The mailbox of a default's argument: the defaults are for everybody who may insert. */
static DbosMailbox *
mailbox_of_default(Oid relation)
{
	DbosMailbox *mailbox = get_rel_relkind(relation) == RELKIND_PARTITIONED_TABLE ? dbos_mailbox_of(relation) : NULL;

	if (mailbox == NULL)
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("relation \"%s\" is not a mailbox", get_rel_name(relation) ? get_rel_name(relation) : "?"));
	if (pg_class_aclcheck(relation, GetUserId(), ACL_INSERT) != ACLCHECK_OK &&
		pg_attribute_aclcheck_all(relation, GetUserId(), ACL_INSERT, ACLMASK_ANY) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(relation));
	return mailbox;
}

/* dbos.message_id(mailbox regclass): the default of a message's id */
Datum
dbos_message_id(PG_FUNCTION_ARGS)
{
	DbosMailbox *mailbox;

	dbos_stop_point("message defaults");
	mailbox = mailbox_of_default(PG_GETARG_OID(0));
	PG_RETURN_INT64(expect_id(mailbox, take_id(mailbox)));
}

/* dbos.message_segment(mailbox regclass): the default of a message's segment */
Datum
dbos_message_segment(PG_FUNCTION_ARGS)
{
	DbosMailbox *mailbox = mailbox_of_default(PG_GETARG_OID(0));

	PG_RETURN_INT32(mailbox->current_segment);
}

static void
refuse_claim(const char *column)
{
	ereport(ERROR,
			errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("%s of a message is not the sender's to choose", column),
			errhint("Leave the column out: it is filled in."));
}

/* Who sends says nothing of these columns, or what is so. */
static void
check_claim(HeapTuple row, TupleDesc desc, enum MessageColumn column, int64 truth, const char *name)
{
	bool		isnull;
	Datum		value = heap_getattr(row, column + 1, desc, &isnull);
	int64		claim;

	if (isnull)
		return;
	claim = column == MESSAGE_TASK_ID ? DatumGetInt64(value) : DatumGetInt32(value);
	if (claim != truth)
		refuse_claim(name);
}

/* The same of all columns; the mailbox's owner may say anything, as who restores its messages does. */
static void
check_claims(const DbosMailbox *mailbox, HeapTuple row, TupleDesc desc, int64 id)
{
	bool		isnull;

	check_claim(row, desc, MESSAGE_SENDER, GetUserId(), "sender");
	check_claim(row, desc, MESSAGE_CONTAINER_ID, dbos_context_container(), "container_id");
	check_claim(row, desc, MESSAGE_TASK_ID, dbos_context_task(), "task_id");
	check_claim(row, desc, MESSAGE_DELIVERIES, 0, "deliveries");
	(void) heap_getattr(row, MESSAGE_SENT_AT + 1, desc, &isnull);
	if (!isnull)
		refuse_claim("sent_at");
	if (!use_id(mailbox, id))
		refuse_claim("id");
}

/*
 * A reader of a topic is past an id that another transaction took: only who restores the
 * messages of a topic that nobody has subscribed to brings ids along.
 */
static void
check_topic_id(const DbosMailbox *topic, int64 id)
{
	if (dbos_topic_took(topic, id) ||
		(!topic->subscribed && dbos_relation_owned(topic->relation, GetUserId())))
		return;
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("id " INT64_FORMAT " was not given out by topic \"%s\" in this transaction", id, dbos_mailbox_name(topic)),
			errdetail("A subscription that has read further would never see the message."),
			errhint("Leave the column out: it is filled in."));
}

/* dbos.message_sent(): the row trigger of a mailbox, before INSERT */
Datum
dbos_message_sent(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	static int	columns[] = {MESSAGE_SENT_AT + 1, MESSAGE_SENDER + 1, MESSAGE_CONTAINER_ID + 1, MESSAGE_TASK_ID + 1};
	Datum		values[lengthof(columns)];
	bool		nulls[lengthof(columns)] = {false};
	DbosMailbox *mailbox;
	HeapTuple	row;
	TupleDesc	desc;
	int64		id;
	int32		segment;
	Datum		visible_at;
	bool		isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		ereport(ERROR,
				errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("dbos.message_sent() is only for the trigger of a mailbox"));
	mailbox = dbos_mailbox_of(RelationGetRelid(trigger->tg_relation));
	if (mailbox == NULL)
		return PointerGetDatum(trigger->tg_trigtuple);
	row = trigger->tg_trigtuple;
	desc = RelationGetDescr(trigger->tg_relation);
	dbos_message_check_columns(trigger->tg_relation);
	id = DatumGetInt64(heap_getattr(row, MESSAGE_ID + 1, desc, &isnull));
	if (isnull || id < 1)
		ereport(ERROR,
				errcode(ERRCODE_CHECK_VIOLATION),
				errmsg("id of a message must be at least 1"),
				errhint("Leave the column out: it is filled in."));
	segment = DatumGetInt32(heap_getattr(row, MESSAGE_SEGMENT + 1, desc, &isnull));
	if (!isnull && segment <= DBOS_ASIDE_SEGMENT)
		ereport(ERROR,
				errcode(ERRCODE_CHECK_VIOLATION),
				errmsg("segment of a message must be at least %d", DBOS_ASIDE_SEGMENT + 1),
				errhint("Leave the column out: it is filled in."));
	if (!dbos_relation_owned(mailbox->relation, GetUserId()))
		check_claims(mailbox, row, desc, id);
	dbos_mailbox_check_container(mailbox, ACL_INSERT);
	dbos_mailbox_expect(mailbox);
	values[0] = heap_getattr(row, MESSAGE_SENT_AT + 1, desc, &isnull);
	if (isnull)
		values[0] = TimestampTzGetDatum(dbos_now());
	values[1] = heap_getattr(row, MESSAGE_SENDER + 1, desc, &isnull);
	if (isnull)
		values[1] = ObjectIdGetDatum(GetUserId());
	values[2] = heap_getattr(row, MESSAGE_CONTAINER_ID + 1, desc, &isnull);
	if (isnull)
		values[2] = Int32GetDatum(dbos_context_container());
	values[3] = heap_getattr(row, MESSAGE_TASK_ID + 1, desc, &isnull);
	if (isnull)
	{
		values[3] = Int64GetDatum(dbos_context_task());
		nulls[3] = dbos_context_task() == 0;
	}
	visible_at = heap_getattr(row, MESSAGE_VISIBLE_AT + 1, desc, &isnull);
	if (mailbox->kind == DBOS_KIND_TOPIC)
	{
		check_topic_id(mailbox, id);
		topic_published(mailbox, segment, id, id);
	}
	else if (!isnull)
		dbos_pending_aside(mailbox->relation, DatumGetTimestampTz(visible_at));
	else
	{
		Datum		key = heap_getattr(row, MESSAGE_PARTITION_KEY + 1, desc, &isnull);

		dbos_pending_message(mailbox, segment, id, isnull ? NULL : DatumGetTextPP(key));
	}
	/* The page that this backend writes to, if it has one. */
	dbos_mailbox_wrote(mailbox, RelationGetTargetBlock(trigger->tg_relation));
	return PointerGetDatum(heap_modify_tuple_by_cols(row, desc, lengthof(columns), columns, values, nulls));
}
