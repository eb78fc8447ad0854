/*
 * notify.c
 *	  NOTIFY, the door for clients outside: LISTEN "dbos.orders" is told that messages came.
 *
 * A transaction that notifies takes a lock at its commit that the whole server has
 * one of.  So a sender notifies nobody: its commit says in shared memory that messages have come,
 * and the process of the database sends one notification for all that came
 * since its last.  The payload is the highest id that was committed; it is a hint to look,
 * as every notification is: what comes late, with a lower id, is told by the same number again.
 *
 * What was committed and not told before a crash is told when the mailbox is first looked at
 * afterwards.  Where there is no shared memory, mailboxes are looked at every second: one is told of
 * when ids were taken since the last look, or somebody was about to send then.
 *
 * The channel is "dbos." and the name by which the mailbox was created.  Anybody may listen:
 * NOTIFY knows no rights.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "message.h"

#define PREFIX "dbos."

/* What this process has told, of mailboxes that shared memory does not know. */
typedef struct Told
{
	Oid			relation;		/* key */
	int64		last_id;		/* that was taken when it last looked */
	bool		busy;			/* somebody was about to send then */
} Told;

static HTAB *told = NULL;

/* ---- the channel ---- */

char *
dbos_channel_name(const text *name, char kind)
{
	RangeVar   *var = makeRangeVarFromNameList(textToQualifiedNameList(unconstify(text *, name)));
	char	   *channel = var->schemaname == NULL ? psprintf(PREFIX "%s", var->relname)
		: psprintf(PREFIX "%s.%s", var->schemaname, var->relname);

	if (strlen(channel) >= NAMEDATALEN)
		ereport(ERROR,
				errcode(ERRCODE_NAME_TOO_LONG),
				errmsg("the channel \"%s\" is too long", channel),
				errdetail("The name of a channel has at most %d bytes, of which \"" PREFIX "\" takes %d.",
						  NAMEDATALEN - 1, (int) strlen(PREFIX)),
				errhint("Give the %s a shorter name, or do not qualify it by its schema.",
						kind == DBOS_KIND_TOPIC ? "topic" : "mailbox"));
	return channel;
}

/* The caller may alter it. */
void
dbos_mailbox_set_channel(Oid relation, const char *channel)
{
	static DbosPlan plan = {
		.sql = "UPDATE dbos.mailbox SET channel = $2 WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
		.nargs = 2,
		.argtypes = {REGCLASSOID, TEXTOID},
	};
	Datum		values[2] = {ObjectIdGetDatum(relation), channel == NULL ? (Datum) 0 : CStringGetTextDatum(channel)};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, channel == NULL ? " n" : NULL, false, 0);
	dbos_owner_end(&scope);
	CacheInvalidateRelcacheByRelid(relation);
}

/* ---- what is there ---- */

/* The highest id of a segment's rows that may be received now; 0: there is none. */
static int64
highest_of(DbosSegment *segment, TimestampTz now)
{
	Relation	relation = dbos_segment_open(segment, AccessShareLock);
	Relation	index = index_open(segment->id_index, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	IndexScanDesc scan = dbos_index_beginscan(relation, index, GetActiveSnapshot(), 0);
	int64		highest = 0;

	index_rescan(scan, NULL, 0, NULL, 0);
	while (highest == 0 && index_getnext_slot(scan, BackwardScanDirection, slot))
	{
		bool		isnull;
		Datum		visible_at = slot_getattr(slot, MESSAGE_VISIBLE_AT + 1, &isnull);

		CHECK_FOR_INTERRUPTS();
		if (isnull || DatumGetTimestampTz(visible_at) <= now)
			highest = dbos_slot_int64(slot, MESSAGE_ID);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(relation, AccessShareLock);
	return highest;
}

static int64
highest_there(DbosMailbox *mailbox)
{
	TimestampTz now = dbos_now();
	int64		highest = 0;

	PushActiveSnapshot(GetLatestSnapshot());
	for (int i = 0; i < mailbox->nsegments; i++)
		highest = Max(highest, highest_of(&mailbox->segments[i], now));
	PopActiveSnapshot();
	return highest;
}

/* When the next message becomes visible, if one is delayed; DT_NOEND: none is. */
static TimestampTz
next_visible(DbosMailbox *mailbox)
{
	TimestampTz next = DT_NOEND;
	DbosSegmentScan scan;

	if (mailbox->kind != DBOS_KIND_MAILBOX)
		return DT_NOEND;
	PushActiveSnapshot(GetLatestSnapshot());
	dbos_aside_scan_begin(&scan, dbos_mailbox_segment(mailbox, DBOS_ASIDE_SEGMENT), GetActiveSnapshot(),
						  dbos_now() + 1, DT_NOEND);
	if (scan.more)
		next = dbos_slot_int64(scan.slot, MESSAGE_VISIBLE_AT);
	dbos_segment_scan_end(&scan);
	PopActiveSnapshot();
	return next;
}

/* ---- telling ---- */

static void
notify(const DbosMailbox *mailbox, int64 highest)
{
	char		payload[32];

	if (highest <= 0)
		return;
	snprintf(payload, sizeof(payload), INT64_FORMAT, highest);
	Async_Notify(mailbox->channel, payload);
}

static bool
somebody_sends(Oid relation)
{
	LOCKTAG		tag;
	int			count;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relation);
	(void) GetLockConflicts(&tag, ShareLock, &count);
	return count > 0;
}

/* Without shared memory. */
static void
tell_by_looking(DbosMailbox *mailbox)
{
	Told	   *entry;
	bool		known;
	bool		news;
	int64		last_id = dbos_mailbox_last_id(mailbox);
	bool		busy = somebody_sends(mailbox->relation);

	if (told == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(Told), .hcxt = TopMemoryContext};

		told = hash_create("dbos mailboxes that were told of", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(told, &mailbox->relation, HASH_ENTER, &known);
	/* Delayed messages come without anybody who sends. */
	news = !known || entry->busy || entry->last_id != last_id || next_visible(mailbox) != DT_NOEND;
	entry->last_id = last_id;
	entry->busy = busy;
	if (news)
		notify(mailbox, highest_there(mailbox));
}

/* Of a mailbox that the background looks at; with the commit of the transaction that we are in. */
void
dbos_mailbox_tell(DbosMailbox *mailbox, int work)
{
	int64		highest;
	bool		first;

	if (mailbox->standing & DBOS_WORK_TELL)
		dbos_stop_point("message tell");
	if (!dbos_mailbox_look(mailbox, &highest, &first))
	{
		if (mailbox->standing & DBOS_WORK_TELL)
			tell_by_looking(mailbox);
		return;
	}
	if (!(mailbox->standing & DBOS_WORK_TELL))
		return;
	if (first || ((work & DBOS_WORK_TELL) && ((work & DBOS_WORK_DUE) || highest == 0)))
	{
		highest = Max(highest, highest_there(mailbox));
		dbos_mailbox_want_at(mailbox->relation, next_visible(mailbox));
	}
	if (first || (work & DBOS_WORK_TELL))
		notify(mailbox, highest);
}
