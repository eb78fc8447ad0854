/*
 * delivery.c
 *	  Deliveries that failed are counted, and what failed too often becomes a dead letter.
 *
 * A receive that is rolled back, or does not live to its end, leaves the rows that it had
 * deleted with its transaction's number as xmax: that is how a failed delivery is known, also after a
 * crash (take.c).  In a mailbox with max_deliveries such a row is not delivered again
 * before the background has counted: it writes the row anew, with one delivery more, in
 * a transaction that nobody's failure undoes.  The new row stands in the aside segment, and
 * is visible at once.
 *
 * What has been delivered max_deliveries times goes to the dead-letter mailbox, with a new id
 * and with a header that says where it came from.  This is the mailbox's own doing, by its owner's
 * will: it asks for nobody's right to send.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "document.h"
#include "message.h"

PG_FUNCTION_INFO_V1(dbos_requeue);

/* The header of a dead letter: an object with these members. */
#define HEADER "dead_letter"
/* Without knowing which deliveries failed, so many of the oldest messages are looked at. */
#define LOOK_AT_OLDEST 1000

/* ---- rows that move from one mailbox to another ---- */

/* Between begin and end the current user is the mailbox's owner: what hangs on its indexes runs with no more rights. */
typedef struct MoveScope
{
	Oid			user;
	int			security_context;
	DbosSegmentWriter writer;
	DbosMailbox *target;
	int32		segment;
} MoveScope;

static void
move_begin(MoveScope *move, DbosMailbox *target, int32 segment, int rows)
{
	GetUserIdAndSecContext(&move->user, &move->security_context);
	SetUserIdAndSecContext(target->owner, move->security_context | SECURITY_RESTRICTED_OPERATION);
	move->target = target;
	move->segment = segment;
	dbos_mailbox_expect(target);
	dbos_segment_write_begin(&move->writer, dbos_mailbox_segment(target, segment), rows);
}

static void
move_end(MoveScope *move)
{
	dbos_segment_write_end(&move->writer);
	SetUserIdAndSecContext(move->user, move->security_context);
}

/* Writes the row as a new message of the target. */
static void
move_row(MoveScope *move, HeapTuple row, Datum headers)
{
	TupleTableSlot *slot = dbos_segment_write_next(&move->writer);
	int64		id = nextval_internal(move->target->sequence, false);

	heap_deform_tuple(row, slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);
	slot->tts_values[MESSAGE_ID] = Int64GetDatum(id);
	slot->tts_values[MESSAGE_SEGMENT] = Int32GetDatum(move->segment);
	slot->tts_values[MESSAGE_DELIVERIES] = Int32GetDatum(0);
	slot->tts_values[MESSAGE_HEADERS] = headers;
	slot->tts_isnull[MESSAGE_HEADERS] = false;
	slot->tts_isnull[MESSAGE_VISIBLE_AT] = true;
	dbos_pending_message(move->target, move->segment, id,
						 slot->tts_isnull[MESSAGE_PARTITION_KEY] ? NULL : DatumGetTextPP(slot->tts_values[MESSAGE_PARTITION_KEY]));
}

/* ---- dead letters ---- */

/* The headers of a message that becomes a dead letter. */
static Datum
dead_headers(const DbosMailbox *mailbox, Datum headers, int64 id, int32 deliveries)
{
	JsonbParseState *state = dbos_document_begin();
	Jsonb	   *origin;

	dbos_document_text(&state, "mailbox", dbos_qualified_name(mailbox->relation));
	dbos_document_number(&state, "id", id);
	dbos_document_number(&state, "deliveries", deliveries);
	origin = dbos_document_end(state);
	state = dbos_document_begin();
	dbos_document_put(&state, HEADER, origin);
	return DirectFunctionCall2(jsonb_concat, headers, JsonbPGetDatum(dbos_document_end(state)));
}

/* Locked; NULL when it was dropped: then what was delivered too often stays, undelivered, and dbos.health() says so. */
static DbosMailbox *
dead_letter_mailbox(const DbosMailbox *mailbox)
{
	LockRelationOid(mailbox->dead_letter, RowExclusiveLock);
	if (get_rel_relkind(mailbox->dead_letter) != RELKIND_PARTITIONED_TABLE)
		return NULL;
	return dbos_mailbox_of(mailbox->dead_letter);
}

static void
bury(const DbosMailbox *mailbox, DbosMailbox *dead, HeapTuple row, TupleDesc desc, int32 deliveries)
{
	MoveScope	move;
	bool		isnull;

	move_begin(&move, dead, dead->current_segment, 1);
	move_row(&move, row, dead_headers(mailbox, heap_getattr(row, MESSAGE_HEADERS + 1, desc, &isnull),
									  DatumGetInt64(heap_getattr(row, MESSAGE_ID + 1, desc, &isnull)), deliveries));
	move_end(&move);
}

/* The row in the slot was delivered as often as it may be; nothing happens while somebody else has it. */
void
dbos_dead_letter_move(DbosMailbox *mailbox, Relation segment, TupleTableSlot *slot)
{
	DbosMailbox *dead = dead_letter_mailbox(mailbox);
	HeapTuple	row = dbos_row_copy(slot);
	bool		isnull;
	int32		deliveries = DatumGetInt32(slot_getattr(slot, MESSAGE_DELIVERIES + 1, &isnull));

	if (dead != NULL && dbos_row_delete(segment, slot, true) == DBOS_ROW_DELETED)
		bury(mailbox, dead, row, RelationGetDescr(segment), deliveries);
}

/* ---- counting ---- */

/* The failed delivery of the row in the slot is counted. */
static void
count_row(DbosMailbox *mailbox, DbosSegmentScan *scan, MoveScope *aside, TimestampTz now)
{
	HeapTuple	row = dbos_row_copy(scan->slot);
	bool		isnull;
	int32		deliveries = DatumGetInt32(slot_getattr(scan->slot, MESSAGE_DELIVERIES + 1, &isnull)) + 1;
	DbosMailbox *dead = deliveries >= mailbox->max_deliveries ? dead_letter_mailbox(mailbox) : NULL;

	if (dbos_row_delete(scan->relation, scan->slot, true) != DBOS_ROW_DELETED)
		return;
	if (dead != NULL)
		bury(mailbox, dead, row, RelationGetDescr(scan->relation), deliveries);
	else
	{
		dbos_aside_put(&aside->writer, row, now, deliveries);
		dbos_pending_aside(mailbox->relation, now);
	}
}

static void
count_in_segment(DbosMailbox *mailbox, int32 number, const DbosIdRange *range, MoveScope *aside, int most)
{
	DbosSegmentScan scan;
	TimestampTz now = dbos_now();

	dbos_segment_scan_begin(&scan, dbos_mailbox_segment(mailbox, number), GetActiveSnapshot(),
							range->lo, range->hi, RowExclusiveLock);
	for (int i = 0; i < most && scan.more; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (dbos_delivery_failed(scan.slot))
			count_row(mailbox, &scan, aside, now);
		dbos_segment_scan_next(&scan);
	}
	dbos_segment_scan_end(&scan);
}

/*
 * Counts the failed deliveries of messages with these ids, and lets them be delivered
 * again.  An empty range stands for the oldest messages.  In the background.
 */
void
dbos_deliveries_count(DbosMailbox *mailbox, DbosIdRange range)
{
	bool		oldest = range.lo > range.hi;
	DbosIdRange all = {.lo = 1, .hi = PG_INT64_MAX, .segment = DBOS_ANY_SEGMENT};
	int			count = mailbox->nsegments;
	int32	   *numbers = palloc(sizeof(int32) * Max(count, 1));
	MoveScope	aside;

	if (mailbox->max_deliveries == 0)
		return;
	if (oldest)
		range = all;
	for (int i = 0; i < count; i++)
		numbers[i] = mailbox->segments[i].number;
	PushActiveSnapshot(GetLatestSnapshot());
	move_begin(&aside, mailbox, DBOS_ASIDE_SEGMENT, LOOK_AT_OLDEST);
	for (int i = 0; i < count; i++)
		if (range.segment == DBOS_ANY_SEGMENT || range.segment == numbers[i])
			count_in_segment(mailbox, numbers[i], &range, &aside, oldest ? LOOK_AT_OLDEST : INT_MAX);
	move_end(&aside);
	PopActiveSnapshot();
	/* Those of them that were not delivered; what stands aside is there again by its time. */
	if (!oldest && !mailbox->options.ordered && range.segment != DBOS_ASIDE_SEGMENT)
		dbos_pending_sent(mailbox->relation, range.segment, range.lo, range.hi);
	pfree(numbers);
}

/* ---- back from the dead ---- */

/* Whether the headers say that the message is a dead letter of that mailbox; then without saying so. */
static bool
came_from(Datum headers, const char *mailbox, Datum *without)
{
	Datum		path[2] = {CStringGetTextDatum(HEADER), CStringGetTextDatum("mailbox")};
	FmgrInfo	flinfo;
	LOCAL_FCINFO(fcinfo, 2);
	Datum		name;

	fmgr_info(F_JSONB_EXTRACT_PATH_TEXT, &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = headers;
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = PointerGetDatum(construct_array(path, 2, TEXTOID, -1, false, TYPALIGN_INT));
	fcinfo->args[1].isnull = false;
	name = FunctionCallInvoke(fcinfo);
	if (fcinfo->isnull || strcmp(TextDatumGetCString(name), mailbox) != 0)
		return false;
	*without = DirectFunctionCall2(jsonb_delete, headers, path[0]);
	return true;
}

/* Moves those of one segment that came from the mailbox; how many they were. */
static int64
requeue_segment(DbosMailbox *dead, int32 number, MoveScope *move, const char *name)
{
	DbosSegmentScan scan;
	int64		moved = 0;

	dbos_segment_scan_begin(&scan, dbos_mailbox_segment(dead, number), GetActiveSnapshot(), 1, PG_INT64_MAX, RowExclusiveLock);
	for (; scan.more; dbos_segment_scan_next(&scan))
	{
		HeapTuple	row = dbos_row_copy(scan.slot);
		int64		id = dbos_slot_int64(scan.slot, MESSAGE_ID);
		bool		isnull;
		Datum		headers;

		CHECK_FOR_INTERRUPTS();
		if (!came_from(heap_getattr(row, MESSAGE_HEADERS + 1, RelationGetDescr(scan.relation), &isnull), name, &headers) ||
			dbos_row_delete(scan.relation, scan.slot, true) != DBOS_ROW_DELETED)
			continue;
		if (number == DBOS_ASIDE_SEGMENT)
			dbos_pending_aside_claimed(dead->relation, dbos_slot_int64(scan.slot, MESSAGE_VISIBLE_AT));
		else
			dbos_pending_claimed(dead->relation, (DbosIdRange) {.lo = id, .hi = id, .segment = number});
		move_row(move, row, headers);
		moved++;
	}
	dbos_segment_scan_end(&scan);
	return moved;
}

/* dbos.requeue(dead_letter text, mailbox text) → how many messages went back to where they came from */
Datum
dbos_requeue(PG_FUNCTION_ARGS)
{
	DbosMailbox *dead;
	DbosMailbox *mailbox;
	MoveScope	move;
	char	   *name;
	int64		moved = 0;
	int32	   *numbers;
	int			count;

	PreventCommandIfReadOnly("dbos.requeue()");
	dead = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(0), DBOS_KIND_MAILBOX, RowExclusiveLock);
	mailbox = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(1), DBOS_KIND_MAILBOX, RowExclusiveLock);
	dbos_mailbox_check_right(dead, ACL_DELETE);
	dbos_mailbox_check_right(mailbox, ACL_INSERT);
	dbos_mailbox_refuse_policies(dead, "requeue from");
	dbos_mailbox_refuse_policies(mailbox, "requeue to");
	name = dbos_qualified_name(mailbox->relation);
	count = dead->nsegments;
	numbers = palloc(sizeof(int32) * Max(count, 1));
	for (int i = 0; i < count; i++)
		numbers[i] = dead->segments[i].number;
	PushActiveSnapshot(GetLatestSnapshot());
	move_begin(&move, mailbox, mailbox->current_segment, LOOK_AT_OLDEST);
	for (int i = 0; i < count; i++)
		moved += requeue_segment(dead, numbers[i], &move, name);
	move_end(&move);
	PopActiveSnapshot();
	PG_RETURN_INT64(moved);
}
