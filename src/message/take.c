/*
 * take.c
 *	  Messages are taken out of their segments: what receive and lease have in common.
 *
 * A range of ids is taken from shared memory, so that no two look at the same
 * rows; the rows are read by the index of their segment, with the newest snapshot whatever
 * the isolation level; and they are deleted without waiting: who has locked a
 * row keeps it, and it is looked at again a little later.
 *
 * As far as nothing but ours hangs on the table, its rows are deleted as the executor would. Where
 * row-level security applies to who receives, or somebody has put triggers or rules on the
 * mailbox, each is deleted by a DELETE of the current role's; such a role sees other
 * rows than the rest, so it looks through the table for itself.
 *
 * A row that was deleted before, by a transaction that was rolled back or did not live
 * to its end, still says so: its xmax is that transaction.  By this a failed delivery is known,
 * without anybody having written it down (delivery.c).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "message.h"

#define MAX_MESSAGES	1000000
/* So many ids are looked through at once, by who finds no message among them. */
#define MOST_IDS		(INT64CONST(1) << 40)

/* ---- one row ---- */

/* Whether a delete of the row was rolled back since it was written, or lost in a crash. */
bool
dbos_delivery_failed(TupleTableSlot *slot)
{
	HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, NULL);
	HeapTupleHeader header = tuple->t_data;

	return TransactionIdIsValid(HeapTupleHeaderGetRawXmax(header)) &&
		!(header->t_infomask & HEAP_XMAX_IS_MULTI) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
		ItemPointerEquals(&header->t_ctid, &tuple->t_self) &&
		!TransactionIdIsInProgress(HeapTupleHeaderGetRawXmax(header));
}

/* By a DELETE of the current role's, with all that the table's owner has put on it; false: not for this role. */
static bool
delete_by_sql(Relation segment, ItemPointer tid)
{
	Oid			types[2] = {OIDOID, TIDOID};
	Datum		values[2] = {ObjectIdGetDatum(RelationGetRelid(segment)), PointerGetDatum(tid)};
	DbosMailbox *mailbox = dbos_mailbox_of(RelationGetRelid(segment));
	char	   *command = psprintf("DELETE FROM %s WHERE tableoid OPERATOR(pg_catalog.=) $1 AND ctid OPERATOR(pg_catalog.=) $2",
								   dbos_qualified_name(mailbox->relation));
	bool		deleted;
	int			result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	/* A rule of the owner's may have made it something else. */
	result = SPI_execute_with_args(command, 2, types, values, NULL, false, 0);
	if (result < 0)
		elog(ERROR, "could not execute \"%s\"", command);
	deleted = result == SPI_OK_DELETE && SPI_processed > 0;
	SPI_finish();
	return deleted;
}

/* Deletes the row in the slot, without waiting for anybody. */
DbosRowDeleted
dbos_row_delete(Relation segment, TupleTableSlot *slot, bool directly)
{
	TM_FailureData failure;
	TM_Result	result;

	if (directly)
	{
		result = table_tuple_delete(segment, &slot->tts_tid, GetCurrentCommandId(true), InvalidSnapshot,
									InvalidSnapshot, false, &failure, false);
		if (result == TM_Ok)
			pgstat_count_heap_delete(segment);
	}
	else
	{
		ItemPointerData tid = slot->tts_tid;
		TupleTableSlot *locked = table_slot_create(segment, NULL);

		result = table_tuple_lock(segment, &tid, GetActiveSnapshot(), locked, GetCurrentCommandId(true),
								  LockTupleExclusive, LockWaitSkip, 0, &failure);
		ExecDropSingleTupleTableSlot(locked);
		if (result == TM_Ok && !delete_by_sql(segment, &tid))
			return DBOS_ROW_GONE;
	}
	switch (result)
	{
		case TM_Ok:
			return DBOS_ROW_DELETED;
		case TM_BeingModified:
		case TM_WouldBlock:
		case TM_Updated:
			return DBOS_ROW_LOCKED;
		default:
			return DBOS_ROW_GONE;
	}
}

static Datum
detached(TupleTableSlot *slot, enum MessageColumn column, bool *isnull)
{
	Datum		value = slot_getattr(slot, column + 1, isnull);

	/* What lies in the toast table goes with the row. */
	if (!*isnull && VARATT_IS_EXTERNAL(DatumGetPointer(value)))
		value = PointerGetDatum(PG_DETOAST_DATUM(value));
	return value;
}

/* The row as a tuple that needs nothing of its table, in the current memory context. */
HeapTuple
dbos_row_copy(TupleTableSlot *slot)
{
	HeapTuple	tuple = ExecCopySlotHeapTuple(slot);

	return HeapTupleHasExternal(tuple) ? toast_flatten_tuple(tuple, slot->tts_tupleDescriptor) : tuple;
}

/* What the receiver gets; deliveries counts this one. */
static void
return_row(DbosTaking *taking, TupleTableSlot *slot, int32 deliveries)
{
	Datum		values[DBOS_MESSAGE_RESULT_COLUMNS];
	bool		nulls[DBOS_MESSAGE_RESULT_COLUMNS];

	values[0] = slot_getattr(slot, MESSAGE_ID + 1, &nulls[0]);
	values[1] = slot_getattr(slot, MESSAGE_SENDER + 1, &nulls[1]);
	values[2] = slot_getattr(slot, MESSAGE_SENT_AT + 1, &nulls[2]);
	values[3] = detached(slot, MESSAGE_PARTITION_KEY, &nulls[3]);
	values[4] = Int32GetDatum(deliveries);
	nulls[4] = false;
	values[5] = detached(slot, MESSAGE_HEADERS, &nulls[5]);
	values[6] = detached(slot, MESSAGE_BODY, &nulls[6]);
	tuplestore_putvalues(taking->store, taking->desc, values, nulls);
}

/* Takes the row in the slot, unless somebody else has it. */
DbosRowTaken
dbos_take_row(DbosTaking *taking, DbosSegmentScan *scan)
{
	TupleTableSlot *slot = scan->slot;
	DbosMailbox *mailbox = taking->mailbox;
	int64		id = dbos_slot_int64(slot, MESSAGE_ID);
	DbosIdRange range = {.lo = id, .hi = id, .segment = scan->segment};
	bool		failed = dbos_delivery_failed(slot);
	bool		isnull;
	int32		counted = DatumGetInt32(slot_getattr(slot, MESSAGE_DELIVERIES + 1, &isnull));

	/* What a transaction has sent itself, it receives after its commit. */
	if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(ExecFetchSlotHeapTuple(slot, false, NULL)->t_data)))
		return DBOS_ROW_NOT_THERE;
	if (mailbox->max_deliveries > 0 && failed)
	{
		/* Counted by the background before it is delivered again: a count of ours would go with our abort. */
		dbos_mailbox_failed(mailbox->relation, range);
		return DBOS_ROW_UNCOUNTED;
	}
	if (mailbox->max_deliveries > 0 && counted >= mailbox->max_deliveries)
	{
		dbos_dead_letter_move(mailbox, scan->relation, slot);
		return DBOS_ROW_NOT_THERE;
	}
	switch (dbos_row_delete(scan->relation, slot, taking->directly))
	{
		case DBOS_ROW_LOCKED:
			taking->locked = dbos_range_cover(taking->locked, range);
			return DBOS_ROW_HELD;
		case DBOS_ROW_GONE:
			return DBOS_ROW_NOT_THERE;
		case DBOS_ROW_DELETED:
			break;
	}
	/* Of a range of ids it was said before they were looked at. */
	if (mailbox->max_deliveries > 0 && (mailbox->options.ordered || scan->segment == DBOS_ASIDE_SEGMENT))
		dbos_pending_claimed_counted(mailbox->relation, range);
	else if (taking->everywhere && !mailbox->options.ordered)
	{
		if (scan->segment == DBOS_ASIDE_SEGMENT)
			dbos_pending_aside_claimed(mailbox->relation, dbos_slot_int64(slot, MESSAGE_VISIBLE_AT));
		else
			dbos_pending_claimed(mailbox->relation, range);
	}
	if (taking->deliver != NULL)
		taking->deliver(taking, slot, counted + (failed ? 2 : 1));
	else
		return_row(taking, slot, counted + (failed ? 2 : 1));
	if (taking->lease_until != 0)
		dbos_lease_put(taking, dbos_row_copy(slot));
	taking->last = id;
	taking->got++;
	return DBOS_ROW_TAKEN;
}

/* ---- many rows ---- */

static bool
may_hold(const DbosSegment *segment, const DbosIdRange *range)
{
	return range->segment == DBOS_ANY_SEGMENT ? segment->number != DBOS_ASIDE_SEGMENT
		: segment->number == range->segment;
}

/* Takes what is wanted of the messages with these ids, in order. */
static void
take_ids(DbosTaking *taking, const DbosIdRange *range)
{
	DbosMailbox *mailbox = taking->mailbox;
	DbosSegmentScan *scans = palloc(sizeof(DbosSegmentScan) * Max(mailbox->nsegments, 1));
	DbosSegmentScan *next;
	int			nscans = 0;

	taking->locked = (DbosIdRange) {.lo = PG_INT64_MAX, .hi = -1};
	PushActiveSnapshot(GetLatestSnapshot());
	for (int i = 0; i < mailbox->nsegments; i++)
		if (may_hold(&mailbox->segments[i], range))
			dbos_segment_scan_begin(&scans[nscans++], &mailbox->segments[i], GetActiveSnapshot(),
									range->lo, range->hi, RowExclusiveLock);
	while (taking->got < taking->wanted && (next = dbos_segment_scan_lowest(scans, nscans)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		(void) dbos_take_row(taking, next);
		dbos_segment_scan_next(next);
	}
	for (int i = 0; i < nscans; i++)
		dbos_segment_scan_end(&scans[i]);
	PopActiveSnapshot();
	pfree(scans);
	dbos_mailbox_doubt(mailbox, taking->locked);
	/* A segment that we do not know yet. */
	if (nscans == 0)
		dbos_mailbox_doubt(mailbox, *range);
}

/* When the first row of the aside segment becomes visible after that time; DT_NOEND: there is none. */
static TimestampTz
next_visible(DbosSegment *aside, TimestampTz after)
{
	DbosSegmentScan scan;
	TimestampTz next = DT_NOEND;

	dbos_aside_scan_begin(&scan, aside, GetActiveSnapshot(), after + 1, DT_NOEND);
	if (scan.more)
		next = dbos_slot_int64(scan.slot, MESSAGE_VISIBLE_AT);
	dbos_segment_scan_end(&scan);
	return next;
}

/* Takes what is wanted of the messages that have become visible from floor on, in order. */
static void
take_aside(DbosTaking *taking, TimestampTz floor)
{
	DbosMailbox *mailbox = taking->mailbox;
	DbosSegment *aside = dbos_mailbox_segment(mailbox, DBOS_ASIDE_SEGMENT);
	TimestampTz now = dbos_now();
	TimestampTz locked = DT_NOEND;
	TimestampTz next;
	DbosSegmentScan scan;

	PushActiveSnapshot(GetLatestSnapshot());
	dbos_aside_scan_begin(&scan, aside, GetActiveSnapshot(), floor, now);
	while (taking->got < taking->wanted && scan.more)
	{
		TimestampTz visible_at = dbos_slot_int64(scan.slot, MESSAGE_VISIBLE_AT);

		CHECK_FOR_INTERRUPTS();
		taking->locked = (DbosIdRange) {.lo = PG_INT64_MAX, .hi = -1};
		(void) dbos_take_row(taking, &scan);
		if (taking->locked.hi >= 0)
			locked = Min(locked, visible_at);
		dbos_segment_scan_next(&scan);
	}
	next = scan.more ? dbos_slot_int64(scan.slot, MESSAGE_VISIBLE_AT) : next_visible(aside, now);
	dbos_segment_scan_end(&scan);
	PopActiveSnapshot();
	if (next != DT_NOEND)
		dbos_mailbox_give_aside(mailbox->relation, next, next);
	if (locked != DT_NOEND)
		dbos_mailbox_give_aside(mailbox->relation, now + DBOS_LOCKED_ASIDE_MS * 1000L, locked);
}

/* The lanes of the messages that have become visible from floor on may have messages again. */
void
dbos_aside_make_ready(DbosTaking *taking, TimestampTz floor)
{
	DbosMailbox *mailbox = taking->mailbox;
	DbosSegment *aside = dbos_mailbox_segment(mailbox, DBOS_ASIDE_SEGMENT);
	TimestampTz now = dbos_now();
	DbosLaneSet lanes = {{0}};
	int64		lowest = PG_INT64_MAX;
	TimestampTz next;
	DbosSegmentScan scan;

	PushActiveSnapshot(GetLatestSnapshot());
	dbos_aside_scan_begin(&scan, aside, GetActiveSnapshot(), floor, now);
	for (; scan.more; dbos_segment_scan_next(&scan))
	{
		bool		isnull;
		Datum		key = slot_getattr(scan.slot, MESSAGE_PARTITION_KEY + 1, &isnull);

		CHECK_FOR_INTERRUPTS();
		dbos_lane_set(&lanes, dbos_message_lane(isnull ? NULL : DatumGetTextPP(key)), true);
		lowest = Min(lowest, dbos_slot_int64(scan.slot, MESSAGE_ID));
	}
	dbos_segment_scan_end(&scan);
	next = next_visible(aside, now);
	PopActiveSnapshot();
	if (lowest != PG_INT64_MAX)
		dbos_mailbox_give_lanes(mailbox->relation, &lanes, lowest, 0);
	if (next != DT_NOEND)
		dbos_mailbox_give_aside(mailbox->relation, next, next);
}

/* Without knowing where they may be. */
static void
look_everywhere(DbosTaking *taking)
{
	DbosIdRange all = {.lo = 1, .hi = PG_INT64_MAX, .segment = DBOS_ANY_SEGMENT};

	taking->everywhere = true;
	take_aside(taking, DT_NOBEGIN);
	if (taking->got < taking->wanted)
		take_ids(taking, &all);
	taking->everywhere = false;
}

/*
 * Looks once for messages, and takes at most as many as are wanted.  Whatever
 * fails on the way, what was taken from shared memory is given back at the abort.
 */
void
dbos_take(DbosTaking *taking)
{
	DbosMailbox *mailbox = taking->mailbox;
	int64		width = taking->wanted;

	/* Segments may have been added, and the mailbox paused, since we began to wait. */
	AcceptInvalidationMessages();
	if (!mailbox->valid && dbos_mailbox_of(mailbox->relation) == NULL)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("mailbox \"%s\" is not there any more", dbos_mailbox_name(mailbox)));
	if (mailbox->paused)
		return;
	if (mailbox->options.ordered)
	{
		dbos_take_ordered(taking);
		return;
	}
	if (!taking->sees_all)
	{
		look_everywhere(taking);
		return;
	}
	while (taking->got < taking->wanted)
	{
		int			before = taking->got;
		DbosIdRange range;
		TimestampTz floor;

		switch (dbos_mailbox_take(mailbox, width, &range, &floor))
		{
			case DBOS_TAKEN_NOTHING:
				return;
			case DBOS_TAKEN_UNKNOWN:
				look_everywhere(taking);
				return;
			case DBOS_TAKEN_ASIDE:
				dbos_pending_aside_claimed(mailbox->relation, floor);
				take_aside(taking, floor);
				break;
			case DBOS_TAKEN_IDS:
				if (mailbox->max_deliveries > 0)
					dbos_pending_claimed_counted(mailbox->relation, range);
				else
					dbos_pending_claimed(mailbox->relation, range);
				take_ids(taking, &range);
				if (taking->got == taking->wanted)
				{
					range.lo = taking->last + 1;
					dbos_mailbox_give(mailbox->relation, range);
				}
				/* Many ids without a message: in longer steps. */
				width = taking->got == before ? Min(width * 2, MOST_IDS) : taking->wanted;
				break;
		}
	}
}

/* ---- begin and end ---- */

/* From a mailbox that is locked, for a role whose rights were checked. */
void
dbos_take_open(DbosTaking *taking, DbosMailbox *mailbox, int wanted)
{
	memset(taking, 0, sizeof(*taking));
	taking->mailbox = mailbox;
	taking->wanted = wanted;
	taking->sees_all = check_enable_rls(mailbox->relation, InvalidOid, true) != RLS_ENABLED;
	taking->directly = mailbox->plain && taking->sees_all;
}

/* Reads what receive and lease have in common: mailbox and max_messages; rights are checked. */
void
dbos_take_begin(DbosTaking *taking, FunctionCallInfo fcinfo)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DbosMailbox *mailbox;
	int			wanted;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("%s must not be null", PG_ARGISNULL(0) ? "mailbox" : "max_messages"));
	wanted = PG_GETARG_INT32(1);
	if (wanted < 1 || wanted > MAX_MESSAGES)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("max_messages must be between 1 and %d: %d", MAX_MESSAGES, wanted));
	mailbox = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(0), DBOS_KIND_MAILBOX, RowShareLock);
	dbos_mailbox_check_right(mailbox, ACL_DELETE);
	dbos_take_open(taking, mailbox, wanted);
	taking->store = result->setResult;
	taking->desc = result->setDesc;
}

/*
 * Writes what was put aside.  Where failed deliveries are counted, the marks that a crash
 * leaves must be on disk before the receiver does anything that may crash.
 */
void
dbos_take_end(DbosTaking *taking)
{
	if (taking->mailbox->max_deliveries > 0 && taking->got > 0 && taking->lease_until == 0)
		XLogFlush(XactLastRecEnd);

	if (taking->writer != NULL)
		dbos_segment_write_end(taking->writer);
	taking->writer = NULL;
}
