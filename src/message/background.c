/*
 * background.c
 *	  What is done for mailboxes in the background, in the process that a database has for it.
 *
 * Shared memory says which mailboxes want something done.  Now and then, and where
 * there is no shared memory often, all of them are looked at.  Each mailbox is
 * a transaction.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "topic.h"

/* All mailboxes are looked at this often. */
#define LOOK_AT_ALL_MS	60000
#define LOOK_WITHOUT_SHARED_MEMORY_MS 1000
/* One with segments to be emptied is. */
#define EMPTY_AGAIN_MS	500

/* What is left of mailboxes that were dropped as any table is. */
static void
forget_dropped(void)
{
	static DbosPlan plan = {
		.sql = "DELETE FROM dbos.mailbox m WHERE NOT EXISTS"
		" (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) m.relation)",
	};
	static DbosPlan keys = {
		.sql = "DELETE FROM dbos.message_key k WHERE NOT EXISTS"
		" (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) k.relation)",
	};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, NULL, NULL, false, 0);
	(void) dbos_plan_execute(&keys, NULL, NULL, false, 0);
	dbos_owner_end(&scope);
}

/* The relation after this one, in the order of their numbers; InvalidOid: there is none. */
static Oid
mailbox_after(Oid relation)
{
	static DbosPlan plan = {
		.sql = "SELECT relation FROM dbos.mailbox WHERE relation OPERATOR(pg_catalog.>) $1::pg_catalog.oid"
		" ORDER BY relation LIMIT 1",
		.nargs = 1,
		.argtypes = {REGCLASSOID},
	};
	Datum		value = ObjectIdGetDatum(relation);
	Oid			found = InvalidOid;
	DbosOwnerScope scope;
	bool		isnull;

	dbos_owner_begin(&scope);
	if (dbos_plan_execute(&plan, &value, NULL, true, 1) > 0)
		found = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	dbos_owner_end(&scope);
	return found;
}

typedef enum DbosLook
{
	DBOS_LOOK_LATER,
	DBOS_LOOK_SOON,
	DBOS_LOOK_NOW				/* there is more of the same */
} DbosLook;

/* What is to be done, in the order of who waits for it. */
static DbosLook
work_for(Oid relation, int work, DbosIdRange failed)
{
	DbosMailbox *mailbox;

	/* What is taken from shared memory is not forgotten when we fail. */
	dbos_pending_undone(relation, work, failed);
	/* Who drops or alters it goes first. */
	if (!ConditionalLockRelationOid(relation, work & DBOS_WORK_TASKS ? RowExclusiveLock : AccessShareLock))
	{
		dbos_mailbox_want_at(relation, TimestampTzPlusMilliseconds(dbos_now(), EMPTY_AGAIN_MS));
		return DBOS_LOOK_SOON;
	}
	mailbox = dbos_mailbox_of(relation);
	if (mailbox == NULL || mailbox->relation != relation)
		return DBOS_LOOK_LATER;
	dbos_mailbox_tell(mailbox, work);
	if (mailbox->kind == DBOS_KIND_TOPIC)
		return dbos_topic_retain(mailbox) ? DBOS_LOOK_SOON : DBOS_LOOK_LATER;
	if ((work & DBOS_WORK_TASKS) && (mailbox->standing & DBOS_WORK_TASKS) && dbos_mailbox_make_tasks(mailbox))
	{
		dbos_mailbox_keep_work(relation, work & ~DBOS_WORK_TELL, failed);
		return DBOS_LOOK_NOW;
	}
	if (work & DBOS_WORK_COUNT)
		dbos_deliveries_count(mailbox, failed);
	if (work & DBOS_WORK_FORGET)
		dbos_message_keys_forget(mailbox);
	return dbos_mailbox_rotate(mailbox) ? DBOS_LOOK_SOON : DBOS_LOOK_LATER;
}

/* A time of the clock that tests drive, by the process's own. */
static TimestampTz
by_own_clock(TimestampTz at)
{
	return at == DT_NOEND ? DT_NOEND : at + (GetCurrentTimestamp() - dbos_now());
}

/*
 * One unit of work in the transaction that we are in.  What this process has still
 * to look at is kept here: it goes with the process, and its successor looks at all.
 */
static void
message_duty(DbosDutyResult *result)
{
	static TimestampTz all_at = 0;	/* when all are looked at next */
	static Oid	at = InvalidOid;	/* the last one of that look */
	static bool looking = false;
	static bool again = false;	/* one of them wants to be looked at soon */
	static bool asked = false;	/* the last unit was one that somebody asked for */
	bool		in_turn;
	TimestampTz now = GetCurrentTimestamp();
	DbosIdRange failed = {.lo = 0, .hi = -1};
	TimestampTz due;
	Oid			relation;
	int			work;

	/* Objects of an older version do not have it. */
	if (!OidIsValid(get_relname_relid("mailbox", dbos_schema_oid(false))))
		return;
	/* However much is asked for, the look at all goes on beside it. */
	in_turn = asked && (looking || now >= all_at);
	asked = !in_turn && dbos_mailbox_next_work(&relation, &work, &failed, &due);
	if (asked)
	{
		again |= work_for(relation, work, failed) == DBOS_LOOK_SOON;
		if (again)
			all_at = Min(all_at, TimestampTzPlusMilliseconds(now, EMPTY_AGAIN_MS));
		result->more = true;
		return;
	}
	if (!looking && now >= all_at)
	{
		looking = true;
		again = false;
		at = InvalidOid;
		forget_dropped();
	}
	if (looking)
	{
		Oid			next = mailbox_after(at);
		DbosLook	look = OidIsValid(next) ? work_for(next, DBOS_WORK_ALL, failed) : DBOS_LOOK_LATER;

		again |= look == DBOS_LOOK_SOON;
		looking = OidIsValid(next);
		if (look != DBOS_LOOK_NOW)
			at = next;
		if (!looking)
			all_at = TimestampTzPlusMilliseconds(now, again ? EMPTY_AGAIN_MS : dbos_shared_attached() ? LOOK_AT_ALL_MS
												 : LOOK_WITHOUT_SHARED_MEMORY_MS);
		result->more = looking || in_turn;
	}
	if (!result->more && OidIsValid(mailbox_after(InvalidOid)))
		result->due = Min(all_at, by_own_clock(due));
}

static const DbosDuty duty = {
	.what = "mailboxes",
	.run = message_duty,
};

void
dbos_message_duty_register(void)
{
	dbos_duty_register(&duty);
}
