/*
 * lease.c
 *	  Messages for clients that cannot hold a transaction while they work.
 *
 * A leased message is put aside until its lease ends: its row moves to the segment that
 * has an index on visible_at, with one delivery more.  Who acknowledges it deletes it there; when
 * nobody does, it becomes visible, which needs nobody to see to it.
 *
 * An acknowledgement that comes after the lease has ended takes the message away all the
 * same, unless it was delivered to somebody else and is gone: as with SQS, who works
 * longer than the lease extends it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "message.h"

PG_FUNCTION_INFO_V1(dbos_lease);
PG_FUNCTION_INFO_V1(dbos_acknowledge);
PG_FUNCTION_INFO_V1(dbos_release);
PG_FUNCTION_INFO_V1(dbos_extend_lease);

/* ---- rows that are put aside ---- */

/* Writes the row anew into the aside segment, to become visible at that time. */
void
dbos_aside_put(DbosSegmentWriter *writer, HeapTuple row, TimestampTz visible_at, int32 deliveries)
{
	TupleTableSlot *slot = dbos_segment_write_next(writer);

	heap_deform_tuple(row, slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);
	slot->tts_values[MESSAGE_VISIBLE_AT] = TimestampTzGetDatum(visible_at);
	slot->tts_isnull[MESSAGE_VISIBLE_AT] = false;
	slot->tts_values[MESSAGE_DELIVERIES] = Int32GetDatum(deliveries);
}

static int32
deliveries_of(HeapTuple row, TupleDesc desc)
{
	bool		isnull;

	return DatumGetInt32(heap_getattr(row, MESSAGE_DELIVERIES + 1, desc, &isnull));
}

/* Puts aside what dbos_take() has taken. */
void
dbos_lease_put(DbosTaking *taking, HeapTuple row)
{
	DbosMailbox *mailbox = taking->mailbox;

	if (taking->writer == NULL)
	{
		taking->writer = palloc(sizeof(DbosSegmentWriter));
		dbos_segment_write_begin(taking->writer, dbos_mailbox_segment(mailbox, DBOS_ASIDE_SEGMENT), taking->wanted);
	}
	dbos_aside_put(taking->writer, row, taking->lease_until,
				   deliveries_of(row, RelationGetDescr(taking->writer->relation)) + 1);
	dbos_pending_aside(mailbox->relation, taking->lease_until);
}

static TimestampTz
end_of_lease(Interval *visibility)
{
	int64		ms = dbos_milliseconds(visibility, "visibility");

	if (ms == 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("visibility must be at least a millisecond"),
				errhint("It is how long nobody else sees the message."));
	return TimestampTzPlusMilliseconds(dbos_now(), ms);
}

/* dbos.lease(mailbox text, max_messages int, visibility interval) → messages */
Datum
dbos_lease(PG_FUNCTION_ARGS)
{
	DbosTaking	taking;

	InitMaterializedSRF(fcinfo, 0);
	PreventCommandIfReadOnly("dbos.lease()");
	if (PG_ARGISNULL(2))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("visibility must not be null"));
	dbos_take_begin(&taking, fcinfo);
	taking.lease_until = end_of_lease(PG_GETARG_INTERVAL_P(2));
	dbos_take(&taking);
	dbos_take_end(&taking);
	return (Datum) 0;
}

/* ---- what becomes of leased messages ---- */

typedef struct LeaseChange
{
	DbosMailbox *mailbox;
	bool		directly;
	TimestampTz visible_at;		/* of the row anew; 0: it goes */
	int			changed;
} LeaseChange;

/* A message that was put aside goes: should that be undone, it is still there; else those behind it may follow. */
static void
tell_acknowledged(const DbosMailbox *mailbox, TupleTableSlot *slot)
{
	bool		isnull;
	Datum		key = slot_getattr(slot, MESSAGE_PARTITION_KEY + 1, &isnull);

	dbos_pending_aside_claimed(mailbox->relation, dbos_slot_int64(slot, MESSAGE_VISIBLE_AT));
	if (mailbox->options.ordered)
		dbos_pending_message(mailbox, DBOS_ASIDE_SEGMENT, dbos_slot_int64(slot, MESSAGE_ID), isnull ? NULL : DatumGetTextPP(key));
}

/* One message, by its id; nothing when it is not leased, or somebody else has its row. */
static void
change_lease(LeaseChange *change, int64 id, DbosSegmentWriter *writer)
{
	DbosSegmentScan scan;

	dbos_segment_scan_begin(&scan, dbos_mailbox_segment(change->mailbox, DBOS_ASIDE_SEGMENT),
							GetActiveSnapshot(), id, id, RowExclusiveLock);
	for (; scan.more; dbos_segment_scan_next(&scan))
	{
		HeapTuple	row = writer != NULL ? dbos_row_copy(scan.slot) : NULL;

		if (dbos_row_delete(scan.relation, scan.slot, change->directly) != DBOS_ROW_DELETED)
			continue;
		if (row != NULL)
		{
			dbos_aside_put(writer, row, change->visible_at, deliveries_of(row, RelationGetDescr(scan.relation)));
			dbos_pending_aside(change->mailbox->relation, change->visible_at);
		}
		else
			tell_acknowledged(change->mailbox, scan.slot);
		change->changed++;
		break;
	}
	dbos_segment_scan_end(&scan);
}

/* The messages of the second argument; how many there were. */
static int
change_leases(FunctionCallInfo fcinfo, const char *command, TimestampTz visible_at)
{
	LeaseChange change = {.visible_at = visible_at};
	DbosSegmentWriter writer;
	Datum	   *ids;
	bool	   *nulls;
	int			count;

	PreventCommandIfReadOnly(command);
	change.mailbox = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(0), DBOS_KIND_MAILBOX, RowShareLock);
	dbos_mailbox_check_right(change.mailbox, ACL_DELETE);
	change.directly = change.mailbox->plain &&
		check_enable_rls(change.mailbox->relation, InvalidOid, true) != RLS_ENABLED;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &ids, &nulls, &count);
	if (count == 0)
		return 0;
	if (visible_at != 0)
		dbos_segment_write_begin(&writer, dbos_mailbox_segment(change.mailbox, DBOS_ASIDE_SEGMENT), count);
	PushActiveSnapshot(GetLatestSnapshot());
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!nulls[i])
			change_lease(&change, DatumGetInt64(ids[i]), visible_at != 0 ? &writer : NULL);
	}
	PopActiveSnapshot();
	if (visible_at != 0)
		dbos_segment_write_end(&writer);
	return change.changed;
}

/* dbos.acknowledge(mailbox text, ids bigint[]) → how many of them were there to be taken away */
Datum
dbos_acknowledge(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(change_leases(fcinfo, "dbos.acknowledge()", 0));
}

/* dbos.release(mailbox text, ids bigint[]) → how many are visible again */
Datum
dbos_release(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(change_leases(fcinfo, "dbos.release()", dbos_now()));
}

/* dbos.extend_lease(mailbox text, ids bigint[], visibility interval) → how many stay leased that long from now */
Datum
dbos_extend_lease(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(change_leases(fcinfo, "dbos.extend_lease()", end_of_lease(PG_GETARG_INTERVAL_P(2))));
}
