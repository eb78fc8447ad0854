/*
 * topic_deliver.c
 *	  Messages of a topic are sent into the mailboxes, and become the tasks, of those who subscribed so.
 *
 * In the process that a database has for such things.  Messages, or tasks, and the new position
 * commit together: each message is delivered once.  A subscription is delivered by the
 * rights of the role that subscribed, which are looked at each time; no code of users runs here,
 * so the tables must be ones on which nothing but ours hangs.
 *
 * A subscription that cannot be delivered says why in dbos.subscriptions, and is tried again
 * after a while that doubles; it keeps its position, and does not hold the others up.
 *
 * A message that the function's parameters do not take becomes a task that fails, as others do.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "document.h"
#include "topic.h"

/* What one transaction delivers at most. */
#define MESSAGES_AT_ONCE 2000
#define BYTES_AT_ONCE	(4 * 1024 * 1024)
/* So many are looked at, of those that the filter does not let through. */
#define ROWS_AT_ONCE	50000
#define MAX_PARTITION_KEY 1024

/* All subscriptions are looked at this often. */
#define LOOK_MS			60000
#define LOOK_WITHOUT_SHARED_MEMORY_MS 200
/* A publisher that holds messages back tells when it ends, unless it does not know of the subscription. */
#define HELD_BACK_MS	1000
#define COMPACT_AGAIN_MS 5000
#define RETRY_MS		1000
#define MOST_RETRY_MS	60000

typedef struct Message
{
	int64		id;
	TimestampTz sent_at;
	Oid			sender;
	int32		container;
	int64		task;			/* 0: none */
	text	   *partition_key;	/* NULL: none */
	Jsonb	   *headers;
	Jsonb	   *body;			/* NULL: none */
} Message;

typedef struct Delivery
{
	DbosSubscription subscription;
	DbosMailbox *topic;
	char	   *topic_name;
	Message    *messages;
	int			count;
	int64		position;		/* after them, and after those that were left out */
	bool		more;			/* there are more messages by now */
	bool		held_back;		/* there are some that are not decided yet */
} Delivery;

/* Of a subscription that could not be delivered. */
typedef struct Failure
{
	int32		subscription;	/* key */
	int			count;
	TimestampTz again_at;
} Failure;

static HTAB *failures = NULL;

/* ---- reading ---- */

static struct varlena *
column_copy(TupleTableSlot *slot, enum MessageColumn column, Size *bytes)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, column + 1, &isnull);
	struct varlena *copy;

	if (isnull)
		return NULL;
	copy = PG_DETOAST_DATUM_COPY(value);
	*bytes += VARSIZE(copy);
	return copy;
}

static void
copy_message(Message *message, TupleTableSlot *slot, Size *bytes)
{
	bool		isnull;

	message->id = dbos_slot_int64(slot, MESSAGE_ID);
	message->sent_at = dbos_slot_int64(slot, MESSAGE_SENT_AT);
	message->sender = DatumGetObjectId(slot_getattr(slot, MESSAGE_SENDER + 1, &isnull));
	message->container = DatumGetInt32(slot_getattr(slot, MESSAGE_CONTAINER_ID + 1, &isnull));
	message->task = DatumGetInt64(slot_getattr(slot, MESSAGE_TASK_ID + 1, &isnull));
	if (isnull)
		message->task = 0;
	message->partition_key = (text *) column_copy(slot, MESSAGE_PARTITION_KEY, bytes);
	message->headers = (Jsonb *) column_copy(slot, MESSAGE_HEADERS, bytes);
	message->body = (Jsonb *) column_copy(slot, MESSAGE_BODY, bytes);
}

/* The messages that come next. */
static void
read_messages(Delivery *delivery)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "dbos message", ALLOCSET_DEFAULT_SIZES);
	int64		horizon = dbos_topic_horizon(delivery->topic);
	Size		bytes = 0;
	int			rows = 0;
	DbosTopicScan scan;

	delivery->held_back = horizon != PG_INT64_MAX && horizon <= dbos_mailbox_last_id(delivery->topic);
	delivery->messages = palloc(sizeof(Message) * MESSAGES_AT_ONCE);
	PushActiveSnapshot(GetLatestSnapshot());
	dbos_topic_scan_begin(&scan, delivery->topic, delivery->position + 1, horizon - 1);
	while (scan.at != NULL && delivery->count < MESSAGES_AT_ONCE && bytes < BYTES_AT_ONCE && rows < ROWS_AT_ONCE)
	{
		MemoryContext old = MemoryContextSwitchTo(scratch);
		bool		passes = dbos_topic_scan_passes(&scan, delivery->subscription.filter);

		MemoryContextSwitchTo(old);
		MemoryContextReset(scratch);
		CHECK_FOR_INTERRUPTS();
		rows++;
		delivery->position = scan.id;
		if (passes)
			copy_message(&delivery->messages[delivery->count++], scan.at->slot, &bytes);
		dbos_topic_scan_next(&scan);
	}
	delivery->more = scan.at != NULL;
	dbos_topic_scan_end(&scan);
	PopActiveSnapshot();
	MemoryContextDelete(scratch);
}

/* ---- documents ---- */

/* The publisher's headers, and where in which topic the message was. */
static Datum
headers_with_origin(const Delivery *delivery, const Message *message)
{
	JsonbParseState *state = dbos_document_begin();
	Jsonb	   *origin;

	dbos_document_text(&state, "topic", delivery->topic_name);
	dbos_document_number(&state, "topic_id", message->id);
	origin = dbos_document_end(state);
	return DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(message->headers), JsonbPGetDatum(origin));
}

/* What dbos.current_message() says in the task. */
static Jsonb *
task_attributes(const Delivery *delivery, const Message *message)
{
	JsonbParseState *state = dbos_document_begin();
	char		sent_at[MAXDATELEN + 1];
	Jsonb	   *described;

	(void) JsonEncodeDateTime(sent_at, TimestampTzGetDatum(message->sent_at), TIMESTAMPTZOID, NULL);
	dbos_document_number(&state, "id", message->id);
	dbos_document_text(&state, "topic", delivery->topic_name);
	dbos_document_text(&state, "subscription", delivery->subscription.name);
	dbos_document_text(&state, "sender", GetUserNameFromId(message->sender, true));
	dbos_document_text(&state, "sent_at", sent_at);
	dbos_document_text(&state, "partition_key", message->partition_key == NULL ? NULL : text_to_cstring(message->partition_key));
	dbos_document_put(&state, "headers", message->headers);
	if (message->task != 0)
		dbos_document_number(&state, "task", message->task);
	described = dbos_document_end(state);

	state = dbos_document_begin();
	dbos_document_put(&state, "message", described);
	return dbos_document_end(state);
}

/* ---- into a mailbox ---- */

static int64
write_message(DbosSegmentWriter *writer, DbosMailbox *mailbox, int32 segment, const Delivery *delivery, const Message *message)
{
	int64		id = nextval_internal(mailbox->sequence, false);
	Datum		headers = headers_with_origin(delivery, message);
	TupleTableSlot *slot = dbos_segment_write_next(writer);

	dbos_slot_set(slot, MESSAGE_ID, Int64GetDatum(id));
	dbos_slot_set(slot, MESSAGE_SENT_AT, TimestampTzGetDatum(message->sent_at));
	if (message->task != 0)
		dbos_slot_set(slot, MESSAGE_TASK_ID, Int64GetDatum(message->task));
	dbos_slot_set(slot, MESSAGE_SENDER, ObjectIdGetDatum(message->sender));
	dbos_slot_set(slot, MESSAGE_SEGMENT, Int32GetDatum(segment));
	dbos_slot_set(slot, MESSAGE_CONTAINER_ID, Int32GetDatum(message->container));
	dbos_slot_set(slot, MESSAGE_DELIVERIES, Int32GetDatum(0));
	if (message->partition_key != NULL)
		dbos_slot_set(slot, MESSAGE_PARTITION_KEY, PointerGetDatum(message->partition_key));
	dbos_slot_set(slot, MESSAGE_HEADERS, headers);
	if (message->body != NULL)
		dbos_slot_set(slot, MESSAGE_BODY, JsonbPGetDatum(message->body));
	return id;
}

static DbosMailbox *
open_target(const DbosSubscription *subscription)
{
	DbosMailbox *mailbox = NULL;

	LockRelationOid(subscription->target, RowExclusiveLock);
	if (get_rel_relkind(subscription->target) == RELKIND_PARTITIONED_TABLE)
		mailbox = dbos_mailbox_of(subscription->target);
	if (mailbox == NULL || mailbox->kind != DBOS_KIND_MAILBOX)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("mailbox of subscription \"%s\" does not exist any more", subscription->name));
	dbos_mailbox_check_right(mailbox, ACL_INSERT);
	dbos_check_deliverable(mailbox);
	dbos_mailbox_expect(mailbox);
	return mailbox;
}

static void
send_messages(const Delivery *delivery)
{
	DbosMailbox *mailbox = open_target(&delivery->subscription);
	int32		segment = mailbox->current_segment;
	DbosSegmentWriter writer;

	dbos_segment_write_begin(&writer, dbos_mailbox_segment(mailbox, segment), delivery->count);
	for (int i = 0; i < delivery->count; i++)
	{
		const Message *message = &delivery->messages[i];
		int64		id = write_message(&writer, mailbox, segment, delivery, message);

		dbos_pending_message(mailbox, segment, id, message->partition_key);
	}
	dbos_segment_write_end(&writer);
	dbos_mailbox_wrote(mailbox, writer.last);
}

/* ---- as tasks ---- */

static void
submit_tasks(const Delivery *delivery)
{
	DbosTaskDocument *documents = palloc0(sizeof(DbosTaskDocument) * delivery->count);
	Jsonb	   *nothing = dbos_empty_document();

	for (int i = 0; i < delivery->count; i++)
	{
		Message    *message = &delivery->messages[i];

		documents[i].args = message->body != NULL ? message->body : nothing;
		/* One that no submit would take came by an INSERT. */
		if (message->partition_key != NULL && VARSIZE_ANY_EXHDR(message->partition_key) <= MAX_PARTITION_KEY)
			documents[i].partition_key = message->partition_key;
		documents[i].attributes = task_attributes(delivery, message);
	}
	dbos_task_template_submit(&delivery->subscription.task, documents, delivery->count);
}

/* ---- one delivery ---- */

/* Reads and sends as the role that subscribed, in its container. */
static void
deliver_as_role(Delivery *delivery)
{
	Oid			role = delivery->subscription.role;
	int32		container = dbos_context_container();
	Oid			user;
	int			security_context;

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("role of subscription \"%s\" does not exist any more", delivery->subscription.name));
	GetUserIdAndSecContext(&user, &security_context);
	SetUserIdAndSecContext(role, security_context | SECURITY_RESTRICTED_OPERATION);
	dbos_context_set_container(delivery->subscription.container);
	dbos_mailbox_check_right(delivery->topic, ACL_SELECT);
	dbos_check_deliverable(delivery->topic);
	read_messages(delivery);
	if (delivery->count > 0 && delivery->subscription.kind == DBOS_SUBSCRIPTION_MAILBOX)
		send_messages(delivery);
	dbos_context_set_container(container);
	SetUserIdAndSecContext(user, security_context);
}

static void
deliver(Delivery *delivery)
{
	DbosSubscription *subscription = &delivery->subscription;
	int64		start = dbos_position_read(subscription->id, subscription->start);

	delivery->position = start;
	delivery->topic_name = dbos_qualified_name(delivery->topic->relation);
	deliver_as_role(delivery);
	if (delivery->count > 0 && subscription->kind == DBOS_SUBSCRIPTION_FUNCTION)
		submit_tasks(delivery);
	if (delivery->position > start)
		dbos_position_write(subscription->id, delivery->position);
}

/* In a subtransaction; NULL, or what went wrong. */
static char *
try_to_deliver(Delivery *delivery)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		deliver(delivery);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *data;

		MemoryContextSwitchTo(caller);
		data = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		/* The process is told to leave. */
		if (data->sqlerrcode == ERRCODE_QUERY_CANCELED || data->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
			ReThrowError(data);
		error = data->message;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return error;
}

/* ---- what is tried again ---- */

static Failure *
failure_of(int32 subscription, HASHACTION action)
{
	if (failures == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(int32), .entrysize = sizeof(Failure), .hcxt = TopMemoryContext};

		failures = hash_create("dbos failed subscriptions", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	return hash_search(failures, &subscription, action, NULL);
}

static TimestampTz
note_failure(int32 subscription, const char *error)
{
	Failure    *failure = failure_of(subscription, HASH_FIND);

	if (failure == NULL)
	{
		failure = failure_of(subscription, HASH_ENTER);
		failure->count = 0;
	}
	failure->count++;
	failure->again_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													Min((int64) RETRY_MS << Min(failure->count - 1, 16), MOST_RETRY_MS));
	dbos_subscription_note_error(subscription, error);
	return failure->again_at;
}

static void
note_success(const DbosSubscription *subscription)
{
	(void) failure_of(subscription->id, HASH_REMOVE);
	/* Perhaps of a process that had this task before. */
	if (subscription->failed)
		dbos_subscription_note_error(subscription->id, NULL);
}

/* ---- the duty ---- */

/* Delivers what one subscription has now; when it is to be looked at again, or 0. */
static TimestampTz
deliver_next(const DbosSubscription *subscription)
{
	TimestampTz now = GetCurrentTimestamp();
	Failure    *failure = failure_of(subscription->id, HASH_FIND);
	Delivery	delivery = {.subscription = *subscription};
	char	   *error;

	if (failure != NULL && failure->again_at > now)
		return failure->again_at;
	/* Who drops or alters the topic goes first. */
	if (!ConditionalLockRelationOid(subscription->topic, AccessShareLock) ||
		!dbos_subscription_lock(subscription->id, false))
		return TimestampTzPlusMilliseconds(now, RETRY_MS);
	if (get_rel_relkind(subscription->topic) != RELKIND_PARTITIONED_TABLE)
		return 0;
	delivery.topic = dbos_mailbox_of(subscription->topic);
	if (delivery.topic == NULL || delivery.topic->kind != DBOS_KIND_TOPIC)
		return 0;
	error = try_to_deliver(&delivery);
	if (error != NULL)
		return note_failure(subscription->id, error);
	note_success(subscription);
	if (delivery.more)
		return now;
	return delivery.held_back ? TimestampTzPlusMilliseconds(now, HELD_BACK_MS) : 0;
}

static void
sooner(TimestampTz *due, TimestampTz at)
{
	if (at != 0 && (*due == 0 || at < *due))
		*due = at;
}

/*
 * One subscription in the transaction that we are in.  Where this process stands is kept here:
 * it goes with the process, and its successor looks at all.
 */
static void
topic_duty(DbosDutyResult *result)
{
	static TimestampTz due = 0; /* when all are looked at next */
	static bool looking = false;
	static int32 at = 0;		/* the last one of that look */
	static bool any = false;	/* there are subscriptions at all */
	TimestampTz now = GetCurrentTimestamp();
	DbosSubscription subscription;

	/* Objects of an older version do not have it. */
	if (!OidIsValid(get_relname_relid("topic", dbos_schema_oid(false))))
		return;
	if (!looking && !dbos_topic_delivery_wanted() && now < due)
	{
		result->due = any ? due : 0;
		return;
	}
	if (!looking)
	{
		looking = result->more = true;
		at = 0;
		any = dbos_subscription_after(0, InvalidOid, false, &subscription);
		due = TimestampTzPlusMilliseconds(now, dbos_shared_attached() ? LOOK_MS : LOOK_WITHOUT_SHARED_MEMORY_MS);
		dbos_topics_forget_dropped();
		if (any && dbos_positions_compact())
			sooner(&due, TimestampTzPlusMilliseconds(now, COMPACT_AGAIN_MS));
		return;
	}
	looking = result->more = dbos_subscription_after(at, InvalidOid, true, &subscription);
	if (looking)
	{
		at = subscription.id;
		sooner(&due, deliver_next(&subscription));
	}
	else if (any)
	{
		/* One that has more by now has its next turn when all others had theirs. */
		result->more = due <= now;
		result->due = due;
	}
}

static const DbosDuty duty = {
	.what = "topics",
	.run = topic_duty,
};

void
dbos_topic_duty_register(void)
{
	dbos_duty_register(&duty);
}
