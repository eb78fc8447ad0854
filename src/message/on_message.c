/*
 * on_message.c
 *	  dbos.on_message(): a task for each message of a mailbox.
 *
 * Whoever says which function is to run becomes the role that it runs as; that role must
 * have the right to receive.  The process of the database takes messages away in
 * that role's name, a batch at a time, and submits a task for each in the same
 * transaction: the message is gone and the task is there, or neither.
 *
 * No user's code runs there.  A mailbox on which something else than ours hangs (triggers,
 * rules, row-level security) is refused, since its rows would have to be deleted by SQL.
 *
 * What keeps every message from becoming a task (the function is gone, the role may not
 * log in) leaves the messages alone, and is looked at again after a pause that doubles.  What is
 * wrong with one message puts that one back as a failed delivery (consume.c).  Both are
 * written down beside the function, where dbos.mailbox_functions and dbos.health() show it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "dbos/container.h"
#include "dbos/task.h"

#include "consume.h"

PG_FUNCTION_INFO_V1(dbos_on_message);

/* Messages of a batch: fewer when they are large. */
#define LEAST_AT_ONCE	16
#define MOST_AT_ONCE	512
#define BATCH_BYTES		(8 * 1024 * 1024)
/* After a failure that concerns all messages, and at most. */
#define AGAIN_MS		1000
#define MOST_AGAIN_MS	60000

/* A row of dbos.mailbox_function. */
typedef struct MailboxFunction
{
	DbosTaskTemplate template;
	bool		failed;			/* an error is written down */
	int32		failures;		/* that concerned all, in a row */
	TimestampTz again_at;		/* 0: at once */
} MailboxFunction;

static int	at_once = LEAST_AT_ONCE;

/* ---- the row ---- */

static void
write_row(Oid relation, const DbosTaskTemplate *template)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.mailbox_function (relation, session_role, role, container_id, function, queue_id, priority,"
		" max_attempts, retry_delay, timeout) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
		" ON CONFLICT (relation) DO UPDATE SET session_role = EXCLUDED.session_role, role = EXCLUDED.role,"
		" container_id = EXCLUDED.container_id, function = EXCLUDED.function, queue_id = EXCLUDED.queue_id,"
		" priority = EXCLUDED.priority, max_attempts = EXCLUDED.max_attempts, retry_delay = EXCLUDED.retry_delay,"
		" timeout = EXCLUDED.timeout, error = NULL, failed_at = NULL, failures = 0, again_at = NULL",
		.nargs = 10,
		.argtypes = {REGCLASSOID, REGROLEOID, REGROLEOID, INT4OID, TEXTOID, INT4OID, INT4OID, INT4OID, INTERVALOID,
		INTERVALOID},
	};
	Datum		values[10] = {ObjectIdGetDatum(relation), ObjectIdGetDatum(template->session_role),
		ObjectIdGetDatum(template->role), Int32GetDatum(template->container), CStringGetTextDatum(template->function),
		Int32GetDatum(template->queue_id), Int32GetDatum(template->priority), Int32GetDatum(template->max_attempts),
	IntervalPGetDatum(&template->retry_delay), IntervalPGetDatum(&template->timeout)};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
	dbos_owner_end(&scope);
}

static void
forget_row(Oid relation)
{
	static DbosPlan plan = {
		.sql = "DELETE FROM dbos.mailbox_function WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
		.nargs = 1,
		.argtypes = {REGCLASSOID},
	};
	Datum		value = ObjectIdGetDatum(relation);
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, &value, NULL, false, 0);
	dbos_owner_end(&scope);
}

/* Reads it, and keeps it from being changed until we commit; false when there is none. */
static bool
read_row(Oid relation, MailboxFunction *row)
{
	static DbosPlan plan = {
		.sql = "SELECT session_role::pg_catalog.oid, role::pg_catalog.oid, container_id, function, queue_id, priority,"
		" max_attempts, retry_delay, timeout, error IS NOT NULL, failures, again_at FROM dbos.mailbox_function"
		" WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid FOR NO KEY UPDATE",
		.nargs = 1,
		.argtypes = {REGCLASSOID},
	};
	MemoryContext caller = CurrentMemoryContext;
	Datum		value = ObjectIdGetDatum(relation);
	DbosOwnerScope scope;
	bool		found;

	memset(row, 0, sizeof(*row));
	dbos_owner_begin(&scope);
	found = dbos_plan_execute(&plan, &value, NULL, false, 1) > 0;
	if (found)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		row->template.session_role = DatumGetObjectId(SPI_getbinval(tuple, desc, 1, &isnull));
		row->template.role = DatumGetObjectId(SPI_getbinval(tuple, desc, 2, &isnull));
		row->template.container = DatumGetInt32(SPI_getbinval(tuple, desc, 3, &isnull));
		row->template.function = MemoryContextStrdup(caller, SPI_getvalue(tuple, desc, 4));
		row->template.queue_id = DatumGetInt32(SPI_getbinval(tuple, desc, 5, &isnull));
		row->template.priority = DatumGetInt32(SPI_getbinval(tuple, desc, 6, &isnull));
		row->template.max_attempts = DatumGetInt32(SPI_getbinval(tuple, desc, 7, &isnull));
		row->template.retry_delay = *DatumGetIntervalP(SPI_getbinval(tuple, desc, 8, &isnull));
		row->template.timeout = *DatumGetIntervalP(SPI_getbinval(tuple, desc, 9, &isnull));
		row->failed = DatumGetBool(SPI_getbinval(tuple, desc, 10, &isnull));
		row->failures = DatumGetInt32(SPI_getbinval(tuple, desc, 11, &isnull));
		value = SPI_getbinval(tuple, desc, 12, &isnull);
		row->again_at = isnull ? 0 : DatumGetTimestampTz(value);
	}
	dbos_owner_end(&scope);
	return found;
}

/* How the last batch went: error NULL: well; again_at 0: at once. */
static void
write_outcome(Oid relation, const ErrorData *error, int32 failures, TimestampTz again_at)
{
	static DbosPlan plan = {
		.sql = "UPDATE dbos.mailbox_function SET error = $2, failed_at = $3, failures = $4, again_at = $5"
		" WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
		.nargs = 5,
		.argtypes = {REGCLASSOID, JSONBOID, TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID},
	};
	Datum		values[5] = {ObjectIdGetDatum(relation), error == NULL ? (Datum) 0 : JsonbPGetDatum(dbos_error_json(error)),
	TimestampTzGetDatum(dbos_now()), Int32GetDatum(failures), TimestampTzGetDatum(again_at)};
	char		nulls[5] = {' ', error == NULL ? 'n' : ' ', error == NULL ? 'n' : ' ', ' ', again_at == 0 ? 'n' : ' '};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, nulls, false, 0);
	dbos_owner_end(&scope);
}

/* ---- in the name of the role ---- */

typedef struct RoleScope
{
	Oid			user;
	int			security_context;
	int32		container;
} RoleScope;

static void
role_begin(RoleScope *scope, const DbosTaskTemplate *template)
{
	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	scope->container = dbos_context_container();
	SetUserIdAndSecContext(template->role,
						   scope->security_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	dbos_context_set_container(template->container);
}

static void
role_end(const RoleScope *scope)
{
	dbos_context_set_container(scope->container);
	SetUserIdAndSecContext(scope->user, scope->security_context);
}

/* Raises when rows of the mailbox cannot be deleted without SQL, by the current role. */
static void
require_plain(const DbosTaking *taking)
{
	if (!taking->directly)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("messages of mailbox \"%s\" cannot become tasks", dbos_mailbox_name(taking->mailbox)),
				errdetail("It has triggers, rules, checks or columns of its own, or row-level security, which only a session of the role may run."),
				errhint("Use CALL dbos.receive_loop(...)."));
}

/* ---- a batch ---- */

/* Adapts the size of batches to that of messages. */
static void
learn_size(const List *messages)
{
	Size		bytes = 0;
	ListCell   *cell;

	foreach(cell, messages)
		bytes += ((DbosConsumed *) lfirst(cell))->row->t_len;
	if (bytes > BATCH_BYTES)
		at_once = Max(at_once / 2, LEAST_AT_ONCE);
	else if (list_length(messages) == at_once && bytes < BATCH_BYTES / 4)
		at_once = Min(at_once * 2, MOST_AT_ONCE);
}

/* The attributes of the task: '{"message": ...}'. */
static Jsonb *
attributes_of(const DbosConsumed *message)
{
	JsonbParseState *state = NULL;
	JsonbValue	key = {.type = jbvString};
	JsonbValue	value = {.type = jbvBinary};

	key.val.string.val = "message";
	key.val.string.len = strlen("message");
	value.val.binary.data = &message->description->root;
	value.val.binary.len = VARSIZE(message->description) - VARHDRSZ;
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	(void) pushJsonbValue(&state, WJB_KEY, &key);
	(void) pushJsonbValue(&state, WJB_VALUE, &value);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Takes a batch and submits it; the error of a message that was put back, if one was. */
static ErrorData *
submit_batch(DbosMailbox *mailbox, const MailboxFunction *row, int *got)
{
	DbosConsuming consuming;
	RoleScope	scope;
	DbosTaskDocument *documents;
	ListCell   *cell;
	int			count = 0;
	ErrorData  *first = NULL;

	role_begin(&scope, &row->template);
	dbos_consume_begin(&consuming, mailbox, at_once);
	require_plain(&consuming.taking);
	dbos_consume(&consuming);
	role_end(&scope);
	*got = list_length(consuming.messages);
	learn_size(consuming.messages);
	documents = palloc0(sizeof(DbosTaskDocument) * Max(*got, 1));
	foreach(cell, consuming.messages)
	{
		DbosConsumed *message = lfirst(cell);
		DbosTaskDocument *document = &documents[count];
		ErrorData  *error;

		document->args = message->body;
		document->partition_key = message->partition_key;
		document->attributes = attributes_of(message);
		error = dbos_task_obstacle(&row->template, document);
		if (error == NULL)
			count++;
		else
			dbos_consume_put_back(&consuming, message, dbos_consume_again_at(mailbox, message));
		if (first == NULL && error != NULL)
		{
			first = error;
			first->context = psprintf("message " INT64_FORMAT, message->id);
		}
	}
	dbos_task_template_submit(&row->template, documents, count);
	return first;
}

/* The same in a subtransaction: *all is what went wrong with all of it, or NULL. */
static ErrorData *
try_batch(DbosMailbox *mailbox, const MailboxFunction *row, int *got, ErrorData **all)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile first = NULL;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		first = submit_batch(mailbox, row, got);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	*all = error;
	return first;
}

/* Something keeps all messages from becoming tasks: written down, and tried again later. */
static void
pause_mailbox(const DbosMailbox *mailbox, const MailboxFunction *row, const ErrorData *error)
{
	int64		ms = Min((int64) AGAIN_MS << Min(row->failures, 16), MOST_AGAIN_MS);
	TimestampTz again_at = TimestampTzPlusMilliseconds(dbos_now(), ms);

	write_outcome(mailbox->relation, error, row->failures + 1, again_at);
	dbos_mailbox_want_at(mailbox->relation, again_at);
	if (row->failures == 0)
		ereport(WARNING,
				errcode(error->sqlerrcode),
				errmsg("messages of mailbox \"%s\" do not become tasks: %s", dbos_mailbox_name(mailbox), error->message));
}

bool
dbos_mailbox_make_tasks(DbosMailbox *mailbox)
{
	MailboxFunction row;
	ErrorData  *obstacle;
	ErrorData  *first = NULL;
	int			wanted = at_once;
	int			got = 0;

	if (mailbox->paused || !read_row(mailbox->relation, &row))
		return false;
	if (row.again_at > dbos_now())
	{
		dbos_mailbox_want_at(mailbox->relation, row.again_at);
		return false;
	}
	obstacle = dbos_task_obstacle(&row.template, NULL);
	if (obstacle == NULL)
		first = try_batch(mailbox, &row, &got, &obstacle);
	if (obstacle != NULL)
	{
		pause_mailbox(mailbox, &row, obstacle);
		return false;
	}
	if (first != NULL || row.failed)
		write_outcome(mailbox->relation, first, 0, 0);
	return got == wanted;
}

/* ---- health ---- */

static void
report(DbosReport *rows)
{
	static DbosPlan plan = {
		.sql = "SELECT pg_catalog.format('messages of \"%s\" do not become tasks: %s',"
		" f.relation, f.error OPERATOR(pg_catalog.->>) 'message'),"
		" pg_catalog.count(*) OVER () OPERATOR(pg_catalog.-) 1 FROM dbos.mailbox_function f"
		" WHERE f.error IS NOT NULL AND dbos.in_container(f.container_id) ORDER BY f.failed_at LIMIT 1",
	};
	MemoryContext caller = CurrentMemoryContext;
	char	   *detail = NULL;
	bool		may_see = dbos_is_monitor(GetUserId());
	DbosOwnerScope scope;

	if (!OidIsValid(get_relname_relid("mailbox_function", dbos_schema_oid(false))))
		return;
	dbos_owner_begin(&scope);
	if (dbos_plan_execute(&plan, NULL, NULL, true, 1) > 0)
	{
		char	   *text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		char	   *others = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
		MemoryContext old = MemoryContextSwitchTo(caller);

		detail = strcmp(others, "0") == 0 ? pstrdup(text) : psprintf("%s (and %s more)", text, others);
		MemoryContextSwitchTo(old);
	}
	dbos_owner_end(&scope);
	if (detail == NULL)
		dbos_health_row(rows, "mailbox functions", true, NULL, NULL);
	else
		dbos_health_row(rows, "mailbox functions", false, may_see ? detail : NULL,
						may_see ? "SELECT mailbox, function, error FROM dbos.mailbox_functions WHERE error IS NOT NULL;"
						: "A member of dbos_monitor sees what it is.");
}

/* ---- what a row of ours holds ---- */

static bool
uses_container(int32 container)
{
	static DbosPlan plan = {
		.sql = "SELECT FROM dbos.mailbox_function WHERE container_id OPERATOR(pg_catalog.=) $1 LIMIT 1",
		.nargs = 1,
		.argtypes = {INT4OID},
	};

	return dbos_container_found(&plan, container);
}

static char *
queue_user(int32 queue_id)
{
	static DbosPlan plan = {
		.sql = "SELECT pg_catalog.format('messages of mailbox %s', relation) FROM dbos.mailbox_function"
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
dbos_on_message_register(void)
{
	dbos_health_register(report);
	dbos_container_register_user("mailbox function", uses_container);
	dbos_queue_register_user(queue_user);
}

/* ---- SQL function ---- */

/* dbos.on_message(mailbox text, function text, queue text, priority int, max_attempts int, retry_delay interval, timeout interval) */
Datum
dbos_on_message(PG_FUNCTION_ARGS)
{
	DbosMailbox *mailbox;
	DbosTaking	taking;
	DbosTaskTemplate template;

	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("mailbox must not be null"));
	PreventCommandIfReadOnly("dbos.on_message()");
	mailbox = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(0), DBOS_KIND_MAILBOX, RowExclusiveLock);
	dbos_mailbox_check_right(mailbox, ACL_DELETE);
	if (PG_ARGISNULL(1))
		forget_row(mailbox->relation);
	else
	{
		dbos_task_template_make(&template, "dbos.on_message()", text_to_cstring(PG_GETARG_TEXT_PP(1)), fcinfo, 2);
		dbos_take_open(&taking, mailbox, 1);
		require_plain(&taking);
		write_row(mailbox->relation, &template);
	}
	CacheInvalidateRelcacheByRelid(mailbox->relation);
	dbos_pending_work(mailbox, DBOS_WORK_TASKS);
	PG_RETURN_VOID();
}
