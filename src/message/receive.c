/*
 * receive.c
 *	  Messages are taken: their rows are deleted in the receiver's transaction.
 *
 * What the receiver does with a message, the replies that it sends and the taking
 * itself commit together or not at all.  The right to receive is DELETE on the mailbox.
 *
 * A receiver takes a range of ids from shared memory, so that no two look at the same
 * rows, reads the rows by the index of their segment, newest snapshot whatever the
 * isolation level, and deletes them without waiting: who has locked a row keeps it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "message.h"

PG_FUNCTION_INFO_V1(dbos_receive);

#define MAX_MESSAGES	1000000
#define POLL_WITHOUT_SHARED_MEMORY_MS 20

/* The columns of what dbos.receive() returns. */
#define RESULT_COLUMNS 7

typedef struct Receiving
{
	DbosMailbox *mailbox;
	int			wanted;
	int			got;
	Tuplestorestate *store;
	TupleDesc	desc;
	int64		last;			/* id of the last message that was taken */
} Receiving;

/* ---- one look ---- */

static Datum
detached(TupleTableSlot *slot, enum MessageColumn column, bool *isnull)
{
	Datum		value = slot_getattr(slot, column + 1, isnull);

	/* What lies in the toast table goes with the row. */
	if (!*isnull && VARATT_IS_EXTENDED(DatumGetPointer(value)) && VARATT_IS_EXTERNAL(DatumGetPointer(value)))
		value = PointerGetDatum(PG_DETOAST_DATUM(value));
	return value;
}

/* Takes the row in the slot; false when somebody else has it, or had it. */
static bool
take_row(Receiving *receiving, DbosSegmentScan *scan)
{
	TupleTableSlot *slot = scan->slot;
	Datum		values[RESULT_COLUMNS];
	bool		nulls[RESULT_COLUMNS];
	TM_FailureData failure;

	values[0] = slot_getattr(slot, MESSAGE_ID + 1, &nulls[0]);
	values[1] = slot_getattr(slot, MESSAGE_SENDER + 1, &nulls[1]);
	values[2] = slot_getattr(slot, MESSAGE_SENT_AT + 1, &nulls[2]);
	values[3] = detached(slot, MESSAGE_PARTITION_KEY, &nulls[3]);
	values[4] = Int32GetDatum(DatumGetInt32(slot_getattr(slot, MESSAGE_DELIVERIES + 1, &nulls[4])) + 1);
	values[5] = detached(slot, MESSAGE_HEADERS, &nulls[5]);
	values[6] = detached(slot, MESSAGE_BODY, &nulls[6]);
	if (table_tuple_delete(scan->relation, &slot->tts_tid, GetCurrentCommandId(true), InvalidSnapshot,
						   InvalidSnapshot, false, &failure, false) != TM_Ok)
		return false;
	pgstat_count_heap_delete(scan->relation);
	tuplestore_putvalues(receiving->store, receiving->desc, values, nulls);
	receiving->last = DatumGetInt64(values[0]);
	receiving->got++;
	return true;
}

/* Which of the scans has the lowest id; NULL when none has a row. */
static DbosSegmentScan *
lowest(DbosSegmentScan *scans, int count)
{
	DbosSegmentScan *best = NULL;
	int64		best_id = 0;

	for (int i = 0; i < count; i++)
	{
		int64		id;

		if (!scans[i].more)
			continue;
		id = dbos_slot_int64(scans[i].slot, MESSAGE_ID);
		if (best == NULL || id < best_id)
		{
			best = &scans[i];
			best_id = id;
		}
	}
	return best;
}

/* Takes what is wanted of the messages with these ids, in order. */
static void
take_range(Receiving *receiving, const DbosIdRange *range, Snapshot snapshot)
{
	DbosMailbox *mailbox = receiving->mailbox;
	DbosSegmentScan *scans = palloc(sizeof(DbosSegmentScan) * mailbox->nsegments);
	DbosSegmentScan *next;
	int			nscans = 0;

	for (int i = 0; i < mailbox->nsegments; i++)
		if (range->segment == DBOS_ANY_SEGMENT ? mailbox->segments[i].number != DBOS_ASIDE_SEGMENT
			: mailbox->segments[i].number == range->segment)
			dbos_segment_scan_begin(&scans[nscans++], &mailbox->segments[i], snapshot, range->lo, range->hi, RowExclusiveLock);
	while (receiving->got < receiving->wanted && (next = lowest(scans, nscans)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		(void) take_row(receiving, next);
		dbos_segment_scan_next(next);
	}
	for (int i = 0; i < nscans; i++)
		dbos_segment_scan_end(&scans[i]);
	pfree(scans);
}

/* Looks once for messages, and takes at most as many as are wanted. */
static void
look(Receiving *receiving)
{
	int64		width = receiving->wanted;
	DbosIdRange range;
	bool		empty;

	while (receiving->got < receiving->wanted)
	{
		bool		known = dbos_mailbox_take(receiving->mailbox, width, &range, &empty);
		int			before = receiving->got;

		if (known && empty)
			return;
		if (!known)
		{
			range.lo = 1;
			range.hi = PG_INT64_MAX;
			range.segment = DBOS_ANY_SEGMENT;
		}
		/* From here on an error gives them back. */
		dbos_pending_claimed(receiving->mailbox->relation, range);
		PushActiveSnapshot(GetLatestSnapshot());
		take_range(receiving, &range, GetActiveSnapshot());
		PopActiveSnapshot();
		if (!known)
			return;
		if (receiving->got == receiving->wanted)
		{
			range.lo = receiving->last + 1;
			dbos_mailbox_give(receiving->mailbox->relation, range);
			return;
		}
		/* Many ids without a message: in longer steps. */
		width = receiving->got == before ? Max(width, width * 2) : receiving->wanted;
	}
}

/* ---- waiting ---- */

static void
leave_at_error(int code, Datum arg)
{
	dbos_waiter_leave(false);
}

/* Until a message has come, or the time; a look after each wake-up. */
static void
wait_for_messages(Receiving *receiving, TimestampTz end)
{
	for (;;)
	{
		bool		told = dbos_waiter_enter(receiving->mailbox);
		long		patience = told ? 60000 : POLL_WITHOUT_SHARED_MEMORY_MS;
		TimestampTz now;

		look(receiving);
		now = GetCurrentTimestamp();
		if (receiving->got == 0 && now < end)
		{
			patience = Min(patience, TimestampDifferenceMilliseconds(now, end) + 1);
			InvalidateCatalogSnapshotConditionally();
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, patience, PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
			look(receiving);
		}
		dbos_waiter_leave(receiving->got > 0);
		if (receiving->got > 0 || now >= end)
			return;
	}
}

/* ---- SQL functions ---- */

/* Milliseconds of an interval that must not be negative. */
static int64
milliseconds(Interval *interval)
{
	int64		us = interval->time +
		((int64) interval->day + (int64) interval->month * DAYS_PER_MONTH) * USECS_PER_DAY;

	if (us < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("timeout must not be negative"));
	return us / 1000;
}

/* dbos.receive(mailbox text, max_messages int, timeout interval) → messages */
Datum
dbos_receive(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Receiving	receiving = {0};
	int64		timeout;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("%s must not be null", PG_ARGISNULL(0) ? "mailbox" : "max_messages"));
	timeout = PG_ARGISNULL(2) ? dbos_task_wait_timeout : milliseconds(PG_GETARG_INTERVAL_P(2));
	PreventCommandIfReadOnly("dbos.receive()");
	receiving.wanted = PG_GETARG_INT32(1);
	if (receiving.wanted < 1 || receiving.wanted > MAX_MESSAGES)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("max_messages must be between 1 and %d: %d", MAX_MESSAGES, receiving.wanted));
	receiving.mailbox = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(0), DBOS_KIND_MAILBOX, RowExclusiveLock);
	dbos_mailbox_check_right(receiving.mailbox, ACL_DELETE);
	receiving.store = result->setResult;
	receiving.desc = result->setDesc;
	look(&receiving);
	if (receiving.got == 0 && timeout > 0)
	{
		PG_ENSURE_ERROR_CLEANUP(leave_at_error, (Datum) 0);
		{
			wait_for_messages(&receiving, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout));
		}
		PG_END_ENSURE_ERROR_CLEANUP(leave_at_error, (Datum) 0);
	}
	return (Datum) 0;
}
