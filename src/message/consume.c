/*
 * consume.c
 *	  Messages that are taken for a function: by a loop in a session, or as tasks.
 *
 * A message that the function fails on is not given up, and does not stand in the way of
 * the others: in the very transaction that has taken it, it is put back with one
 * delivery more, out of sight for a while that doubles each time.  So it is counted
 * exactly, and what max_deliveries says of dead letters applies.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "consume.h"
#include "document.h"

/* After the first failure, and at most. */
#define AGAIN_MS		1000
#define MOST_AGAIN_MS	60000

/* A column's value in the current context, whole. */
static struct varlena *
column_copy(TupleTableSlot *slot, enum MessageColumn column)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, column + 1, &isnull);

	return isnull ? NULL : PG_DETOAST_DATUM_COPY(value);
}

/* ---- what is said of a message ---- */

static Oid
sender_of(TupleTableSlot *slot)
{
	bool		isnull;

	return DatumGetObjectId(slot_getattr(slot, MESSAGE_SENDER + 1, &isnull));
}

static Jsonb *
describe(const DbosConsuming *consuming, TupleTableSlot *slot, const DbosConsumed *message)
{
	JsonbParseState *state = dbos_document_begin();
	char		sent_at[MAXDATELEN + 1];
	bool		isnull;
	Datum		task = slot_getattr(slot, MESSAGE_TASK_ID + 1, &isnull);

	(void) JsonEncodeDateTime(sent_at, Int64GetDatum(dbos_slot_int64(slot, MESSAGE_SENT_AT)), TIMESTAMPTZOID, NULL);
	dbos_document_number(&state, "id", message->id);
	dbos_document_text(&state, "mailbox", consuming->name);
	dbos_document_text(&state, "sender", GetUserNameFromId(sender_of(slot), true));
	dbos_document_text(&state, "sent_at", sent_at);
	dbos_document_text(&state, "partition_key", message->partition_key == NULL ? NULL : text_to_cstring(message->partition_key));
	dbos_document_number(&state, "deliveries", message->deliveries);
	dbos_document_put(&state, "headers", (Jsonb *) column_copy(slot, MESSAGE_HEADERS));
	if (!isnull)
		dbos_document_number(&state, "task", DatumGetInt64(task));
	return dbos_document_end(state);
}

/* ---- taking ---- */

/* Notes what dbos_take() has just taken. */
static void
note_message(DbosTaking *taking, TupleTableSlot *slot, int32 deliveries)
{
	DbosConsuming *consuming = (DbosConsuming *) taking;
	DbosConsumed *message = palloc(sizeof(DbosConsumed));

	message->id = dbos_slot_int64(slot, MESSAGE_ID);
	message->deliveries = deliveries;
	message->body = (Jsonb *) column_copy(slot, MESSAGE_BODY);
	if (message->body == NULL)
		message->body = dbos_empty_document();
	message->partition_key = (text *) column_copy(slot, MESSAGE_PARTITION_KEY);
	message->description = describe(consuming, slot, message);
	message->row = dbos_row_copy(slot);
	consuming->messages = lappend(consuming->messages, message);
}

void
dbos_consume_begin(DbosConsuming *consuming, DbosMailbox *mailbox, int wanted)
{
	dbos_mailbox_check_right(mailbox, ACL_DELETE);
	dbos_take_open(&consuming->taking, mailbox, wanted);
	consuming->taking.deliver = note_message;
	consuming->name = dbos_qualified_name(mailbox->relation);
	consuming->messages = NIL;
}

void
dbos_consume(DbosConsuming *consuming)
{
	dbos_take(&consuming->taking);
	dbos_take_end(&consuming->taking);
}

/* ---- putting back ---- */

TimestampTz
dbos_consume_again_at(const DbosMailbox *mailbox, const DbosConsumed *message)
{
	int			doublings = Min(message->deliveries - 1, 16);
	int64		delay = Min((int64) AGAIN_MS << doublings, MOST_AGAIN_MS);

	/* The next look makes it a dead letter. */
	if (mailbox->max_deliveries > 0 && message->deliveries >= mailbox->max_deliveries)
		delay = 0;
	return TimestampTzPlusMilliseconds(dbos_now(), delay);
}

void
dbos_consume_put_back(const DbosConsuming *consuming, const DbosConsumed *message, TimestampTz visible_at)
{
	DbosMailbox *mailbox = consuming->taking.mailbox;
	DbosSegmentWriter writer;

	dbos_segment_write_begin(&writer, dbos_mailbox_segment(mailbox, DBOS_ASIDE_SEGMENT), 1);
	dbos_aside_put(&writer, message->row, visible_at, message->deliveries);
	dbos_segment_write_end(&writer);
	dbos_pending_aside(mailbox->relation, visible_at);
}
