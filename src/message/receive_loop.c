/*
 * receive_loop.c
 *	  CALL dbos.receive_loop(): a session that calls a function for each message.
 *
 * For each message one transaction: the message is taken, the function is called with the
 * body as its arguments, and all of it commits.  Between two of them there is no
 * snapshot and no lock on the mailbox: a loop that waits for days holds back nobody's
 * vacuum, and the mailbox is looked up by its name again in each round.
 *
 * The function runs in a subtransaction.  When it fails, that alone is rolled back; the
 * message is put back for later (consume.c) in the commit that follows, a warning says
 * why, and the loop goes on with the next one.  A cancel ends the loop.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "dbos/task.h"

#include "consume.h"

PG_FUNCTION_INFO_V1(dbos_receive_loop);
PG_FUNCTION_INFO_V1(dbos_current_message);

/* Where nobody wakes us the mailbox is looked at this often. */
#define POLL_MS 20
/* After a commit that failed, and at most. */
#define AGAIN_MS		1000
#define MOST_AGAIN_MS	60000

typedef struct ReceiveLoop
{
	text	   *mailbox;
	char	   *function;
	int64		most;			/* messages, or PG_INT64_MAX */
	int64		idle_ms;		/* without a message; -1: for ever */
	int64		delivered;
	int64		received;		/* those on which the function succeeded */
	long		pause_ms;		/* after commits that failed */
	MemoryContext round;		/* of one message */
	DbosConsuming consuming;
} ReceiveLoop;

/* Of the message that this session's loop calls the function for. */
static Jsonb *current_message = NULL;

/* ---- waiting ---- */

/* Also when the process ends. */
static void
leave_at_error(int code, Datum arg)
{
	dbos_waiter_leave(false);
}

/* Looks once for a message, in the transaction that we are in; waits: entering the list of those who wait before. */
static bool
take_one(ReceiveLoop *loop, bool waits, TimestampTz *look_at)
{
	DbosMailbox *mailbox;

	MemoryContextReset(loop->round);
	MemoryContextSwitchTo(loop->round);
	PreventCommandIfReadOnly("dbos.receive_loop()");
	mailbox = dbos_mailbox_resolve(loop->mailbox, DBOS_KIND_MAILBOX, RowShareLock);
	dbos_consume_begin(&loop->consuming, mailbox, 1);
	*look_at = 0;
	if (waits && loop->consuming.taking.sees_all)
		(void) dbos_waiter_enter(mailbox, look_at);
	dbos_consume(&loop->consuming);
	return loop->consuming.messages != NIL;
}

/* Ends the transaction, and with it snapshot and locks. */
static void
end_transaction(ReceiveLoop *loop)
{
	SPI_commit();
	MemoryContextSwitchTo(loop->round);
	InvalidateCatalogSnapshotConditionally();
}

/* Until a message is taken, or that time; one look after each wake-up. */
static bool
wait_in_list(ReceiveLoop *loop, TimestampTz end)
{
	for (;;)
	{
		TimestampTz look_at;
		TimestampTz now;
		long		patience;

		ResetLatch(MyLatch);
		if (take_one(loop, true, &look_at))
			return true;
		end_transaction(loop);
		now = dbos_now();
		if (now >= end)
			return false;
		patience = look_at == 0 ? POLL_MS : TimestampDifferenceMilliseconds(now, look_at) + 1;
		patience = Min(patience, TimestampDifferenceMilliseconds(now, end) + 1);
		dbos_stop_point("message loop sleep");
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, patience, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Takes the next message; false when there was none for too long. */
static bool
next_message(ReceiveLoop *loop)
{
	TimestampTz end = loop->idle_ms < 0 ? DT_NOEND : TimestampTzPlusMilliseconds(dbos_now(), loop->idle_ms);
	TimestampTz unused;
	volatile bool got = false;

	if (take_one(loop, false, &unused))
		return true;
	PG_ENSURE_ERROR_CLEANUP(leave_at_error, (Datum) 0);
	{
		got = wait_in_list(loop, end);
	}
	PG_END_ENSURE_ERROR_CLEANUP(leave_at_error, (Datum) 0);
	dbos_waiter_leave(got);
	return got;
}

/* ---- the function ---- */

/* Calls it, with what it has deferred, in a subtransaction; NULL, or its error. */
static ErrorData *
call_function(ReceiveLoop *loop, DbosConsumed *message)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	current_message = message->description;
	PG_TRY();
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		(void) dbos_call(loop->function, message->body);
		/* What only the commit would refuse is refused while this message can still be told from others. */
		AfterTriggerFireDeferred();
		PopActiveSnapshot();
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
	current_message = NULL;
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	if (error != NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	return error;
}

/* Says what went wrong with a message, as a warning: the loop goes on. */
static void
warn(const ReceiveLoop *loop, int64 message, const ErrorData *error, const char *what_now)
{
	ereport(WARNING,
			errcode(error->sqlerrcode),
			errmsg("message " INT64_FORMAT " of mailbox \"%s\" failed: %s", message, text_to_cstring(loop->mailbox), error->message),
			errdetail("%s%s%s", what_now, error->detail != NULL ? "\n" : "", error->detail != NULL ? error->detail : ""),
			error->hint != NULL ? errhint("%s", error->hint) : 0,
			error->context != NULL ? errcontext("%s", error->context) : 0);
}

static void
put_back(ReceiveLoop *loop, DbosConsumed *message, const ErrorData *error)
{
	const DbosMailbox *mailbox = loop->consuming.taking.mailbox;
	TimestampTz again_at = dbos_consume_again_at(mailbox, message);
	int64		delay = TimestampDifferenceMilliseconds(dbos_now(), again_at);

	dbos_consume_put_back(&loop->consuming, message, again_at);
	if (mailbox->max_deliveries > 0 && message->deliveries >= mailbox->max_deliveries)
		warn(loop, message->id, error, psprintf("It was delivered %d times, and goes to the dead letters.", message->deliveries));
	else
		warn(loop, message->id, error, psprintf("It is delivered again in " INT64_FORMAT " s.", (delay + 500) / 1000));
}

/* ---- the transaction of a message ---- */

/* Interrupted by a cancel. */
static void
take_a_break(long ms)
{
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
	long		left;

	while ((left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end)) > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* False when the transaction did not commit: the message is where it was, and a pause has passed. */
static bool
commit(ReceiveLoop *loop, int64 message)
{
	MemoryContext caller = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		SPI_commit();
	}
	PG_CATCH();
	{
		/* SPI has begun another transaction. */
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	if (error == NULL)
	{
		loop->pause_ms = 0;
		return true;
	}
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	loop->pause_ms = loop->pause_ms == 0 ? AGAIN_MS : Min(loop->pause_ms * 2, MOST_AGAIN_MS);
	warn(loop, message, error, psprintf("Its transaction could not commit; the loop goes on in %ld s.", loop->pause_ms / 1000));
	InvalidateCatalogSnapshotConditionally();
	take_a_break(loop->pause_ms);
	return false;
}

/* What keeps the session from calling the function for any message; or NULL. */
static ErrorData *
obstacle(const ReceiveLoop *loop)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		dbos_call_check(loop->function);
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
	return error;
}

/* The function is gone, or the right to call it: no message is to blame, and the loop has come to its end. */
pg_noreturn static void
give_up(ReceiveLoop *loop, DbosConsumed *message, ErrorData *error)
{
	message->deliveries--;
	dbos_consume_put_back(&loop->consuming, message, dbos_now());
	SPI_commit();
	ReThrowError(error);
}

/* What was taken is worked through, and committed. */
static void
deliver(ReceiveLoop *loop)
{
	DbosConsumed *message = linitial(loop->consuming.messages);
	ErrorData  *error = call_function(loop, message);
	ErrorData  *gone = error != NULL ? obstacle(loop) : NULL;

	if (gone != NULL)
		give_up(loop, message, gone);
	if (error != NULL)
		put_back(loop, message, error);
	dbos_stop_point("message loop commit");
	if (!commit(loop, message->id))
		return;
	loop->delivered++;
	if (error == NULL)
		loop->received++;
}

/* ---- SQL functions ---- */

static void
read_arguments(FunctionCallInfo fcinfo, ReceiveLoop *loop)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("%s must not be null", PG_ARGISNULL(0) ? "mailbox" : "function"));
	loop->mailbox = PG_GETARG_TEXT_P_COPY(0);
	loop->function = text_to_cstring(PG_GETARG_TEXT_PP(1));
	loop->most = PG_ARGISNULL(2) ? PG_INT64_MAX : PG_GETARG_INT64(2);
	if (loop->most < 1)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("max_messages must be at least 1: " INT64_FORMAT, loop->most),
				errhint("NULL stands for no limit."));
	loop->idle_ms = PG_ARGISNULL(3) ? -1 : dbos_milliseconds(PG_GETARG_INTERVAL_P(3), "idle_timeout");
}

/* dbos.receive_loop(mailbox text, function text, max_messages bigint, idle_timeout interval, INOUT received bigint) */
Datum
dbos_receive_loop(PG_FUNCTION_ARGS)
{
	bool		atomic = !(fcinfo->context && IsA(fcinfo->context, CallContext) &&
						   !castNode(CallContext, fcinfo->context)->atomic);
	MemoryContext caller = CurrentMemoryContext;
	ReceiveLoop loop = {0};
	TupleDesc	desc;
	Datum		value;
	bool		isnull = false;

	if (atomic)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				errmsg("dbos.receive_loop() cannot be called in a transaction block"),
				errhint("Use SELECT ... FROM dbos.receive(...) there."));
	read_arguments(fcinfo, &loop);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	dbos_call_check(loop.function);
	loop.round = AllocSetContextCreate(caller, "dbos receive loop", ALLOCSET_DEFAULT_SIZES);
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	end_transaction(&loop);
	while (loop.delivered < loop.most && next_message(&loop))
	{
		deliver(&loop);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(caller);
	SPI_finish();
	value = Int64GetDatum(loop.received);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, &value, &isnull)));
}

/* What came with the task: of a task that was made for a message. */
static Jsonb *
message_of_task(int64 task)
{
	static DbosPlan plan = {
		.sql = "SELECT attributes OPERATOR(pg_catalog.->) 'message' FROM dbos.task"
		" WHERE shard OPERATOR(pg_catalog.=) pg_catalog.int2($1 OPERATOR(pg_catalog.&) 15) AND id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT8OID},
	};
	MemoryContext caller = CurrentMemoryContext;
	Datum		value = Int64GetDatum(task);
	Jsonb	   *found = NULL;
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	if (dbos_plan_execute(&plan, &value, NULL, true, 1) > 0)
	{
		bool		isnull;
		Datum		message = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContext old = MemoryContextSwitchTo(caller);

		if (!isnull)
			found = DatumGetJsonbPCopy(message);
		MemoryContextSwitchTo(old);
	}
	dbos_owner_end(&scope);
	return found;
}

/* dbos.current_message() → what is known of the message that a function is called for, but for its body */
Datum
dbos_current_message(PG_FUNCTION_ARGS)
{
	Jsonb	   *message = current_message;

	if (message == NULL && dbos_context_task() != 0)
		message = message_of_task(dbos_context_task());
	if (message == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(message);
}
