/*
 * mailbox_state.c
 *	  What a mailbox has in it: for dbos.mailboxes, and for the room's part of dbos.health().
 *
 * Counted by a look at the rows, so it costs what a count costs; who may use the
 * mailbox, or watches the system, may ask, since nothing of what a message says is shown.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "dbos/container.h"

#include "message.h"

PG_FUNCTION_INFO_V1(dbos_mailbox_state);

/* A segment that has grown to so many times its limit could not be followed by another one. */
#define GROWN_TOO_FAR 4

typedef struct State
{
	int64		depth;
	int64		delayed;		/* of these, sent to be visible later */
	int64		in_flight;		/* of these, leased */
	TimestampTz oldest;			/* sent_at; 0: none */
} State;

static void
count_segment(Oid oid, bool aside, TimestampTz now, State *state)
{
	Relation	segment = table_open(oid, AccessShareLock);
	TupleTableSlot *slot;
	TableScanDesc scan;
	bool		isnull;

	/* One mailbox that its owner has spoilt shall not hide the others. */
	if (!dbos_message_is_segment(segment))
	{
		table_close(segment, AccessShareLock);
		return;
	}
	slot = table_slot_create(segment, NULL);
	scan = table_beginscan(segment, GetActiveSnapshot(), 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		TimestampTz sent_at = dbos_slot_int64(slot, MESSAGE_SENT_AT);

		CHECK_FOR_INTERRUPTS();
		state->depth++;
		if (state->oldest == 0 || sent_at < state->oldest)
			state->oldest = sent_at;
		if (!aside || dbos_slot_int64(slot, MESSAGE_VISIBLE_AT) <= now)
			continue;
		if (DatumGetInt32(slot_getattr(slot, MESSAGE_DELIVERIES + 1, &isnull)) > 0)
			state->in_flight++;
		else
			state->delayed++;
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(segment, AccessShareLock);
}

/* dbos.mailbox_state(mailbox regclass) → (depth, delayed, in_flight, oldest, receivers); NULL: not the caller's to know */
Datum
dbos_mailbox_state(PG_FUNCTION_ARGS)
{
	Oid			relation = PG_GETARG_OID(0);
	State		state = {0};
	DbosMailbox *mailbox;
	TupleDesc	desc;
	Datum		values[5];
	bool		nulls[5] = {false};
	int			count;
	DbosSegment *segments;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!dbos_is_monitor(GetUserId()) &&
		pg_class_aclmask(relation, GetUserId(), ACL_SELECT | ACL_INSERT | ACL_DELETE, ACLMASK_ANY) == 0)
		PG_RETURN_NULL();
	LockRelationOid(relation, AccessShareLock);
	mailbox = get_rel_relkind(relation) == RELKIND_PARTITIONED_TABLE ? dbos_mailbox_of(relation) : NULL;
	if (mailbox == NULL || !dbos_container_contains(dbos_context_container(), mailbox->container))
		PG_RETURN_NULL();
	count = mailbox->nsegments;
	segments = palloc(sizeof(DbosSegment) * Max(count, 1));
	memcpy(segments, mailbox->segments, sizeof(DbosSegment) * count);
	for (int i = 0; i < count; i++)
		count_segment(segments[i].relation, segments[i].number == DBOS_ASIDE_SEGMENT, dbos_now(), &state);
	values[0] = Int64GetDatum(state.depth);
	values[1] = Int64GetDatum(state.delayed);
	values[2] = Int64GetDatum(state.in_flight);
	values[3] = TimestampTzGetDatum(state.oldest);
	nulls[3] = state.oldest == 0;
	values[4] = Int32GetDatum(dbos_waiter_count(mailbox));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* ---- health ---- */

/* Whether new messages go to a segment that was filled beyond its limit, or that is not there: nobody could make the next one. */
static bool
has_outgrown(const DbosMailbox *mailbox)
{
	for (int i = 0; i < mailbox->nsegments; i++)
		if (mailbox->segments[i].number == mailbox->current_segment)
			return dbos_segment_pages_of(&mailbox->segments[i]) / GROWN_TOO_FAR > dbos_segment_limit(mailbox);
	return true;
}

static bool
is_in_trouble(Oid relation)
{
	DbosMailbox *mailbox = NULL;
	bool		trouble;

	if (!ConditionalLockRelationOid(relation, AccessShareLock))
		return false;
	if (get_rel_relkind(relation) == RELKIND_PARTITIONED_TABLE)
		mailbox = dbos_mailbox_of(relation);
	trouble = mailbox != NULL && has_outgrown(mailbox);
	UnlockRelationOid(relation, AccessShareLock);
	return trouble;
}

static void
report_segments(DbosReport *rows)
{
	static DbosPlan plan = {
		.sql = "SELECT relation FROM dbos.mailbox",
	};
	MemoryContext caller = CurrentMemoryContext;
	DbosOwnerScope scope;
	char	   *name = NULL;
	uint64		count;

	dbos_owner_begin(&scope);
	count = dbos_plan_execute(&plan, NULL, NULL, true, 0);
	for (uint64 i = 0; i < count && name == NULL; i++)
	{
		SPITupleTable *found = SPI_tuptable;
		bool		isnull;
		Oid			relation = DatumGetObjectId(SPI_getbinval(found->vals[i], found->tupdesc, 1, &isnull));

		if (is_in_trouble(relation))
			name = MemoryContextStrdup(caller, dbos_qualified_name(relation));
		SPI_tuptable = found;
	}
	dbos_owner_end(&scope);
	dbos_health_row(rows, "mailbox segments", name == NULL,
					name == NULL ? NULL : psprintf("%s has outgrown its segment, and has got no other.", name),
					name == NULL ? NULL : "Its owner needs CREATE on the schema dbos_message, and a process to do it: SELECT dbos.start(); then look into the server's log.");
}

static void
report_dead_letters(DbosReport *rows)
{
	static DbosPlan plan = {
		.sql = "SELECT m.relation::pg_catalog.text FROM dbos.mailbox m WHERE m.dead_letter IS NOT NULL AND NOT EXISTS"
		" (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) m.dead_letter) LIMIT 1",
	};
	MemoryContext caller = CurrentMemoryContext;
	DbosOwnerScope scope;
	char	   *name = NULL;

	dbos_owner_begin(&scope);
	if (dbos_plan_execute(&plan, NULL, NULL, true, 1) > 0)
		name = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	dbos_owner_end(&scope);
	dbos_health_row(rows, "mailbox dead letters", name == NULL,
					name == NULL ? NULL : psprintf("The dead-letter mailbox of %s was dropped: what was delivered too often stays, undelivered.", name),
					name == NULL ? NULL : "SELECT dbos.alter_mailbox('...', dead_letter => '...');");
}

static void
report_health(DbosReport *rows)
{
	/* Objects of an older version do not have it. */
	if (!OidIsValid(get_relname_relid("mailbox", dbos_schema_oid(false))))
		return;
	report_segments(rows);
	report_dead_letters(rows);
}

/* Whether a container has mailboxes or topics. */
static bool
uses_container(int32 container)
{
	static DbosPlan plan = {
		.sql = "SELECT 1 FROM dbos.mailbox m JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) m.relation"
		" WHERE m.container_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT4OID},
	};

	return OidIsValid(get_relname_relid("mailbox", dbos_schema_oid(false))) && dbos_container_found(&plan, container);
}

void
dbos_mailbox_state_register(void)
{
	dbos_health_register(report_health);
	dbos_container_register_user("message", uses_container);
}
