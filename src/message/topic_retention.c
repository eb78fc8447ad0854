/*
 * topic_retention.c
 *	  Messages of a topic go, a segment at a time, the oldest first.
 *
 * A segment goes when its newest message
 *
 *	- has been passed by all subscriptions, where the topic has no retention;
 *	- is older than the retention, where it has one, whoever has read it;
 *	- belongs to what is above max_bytes, whoever has read it, unless there is none newer: what one
 *	  transaction publishes fills one segment, of any size, and would go before anybody could read it.
 *
 * A topic without retention that nobody has subscribed to keeps the current segment and the one before
 * it.  The current segment never goes; where there is a retention it ends its turn when
 * it is an eighth of that old, so that messages last no longer than nine eighths of it.
 *
 * What a subscription had not read yet of a segment that goes is counted as lost to it.
 *
 * In the background's process, one transaction for each topic.  A segment is truncated under
 * ACCESS EXCLUSIVE, which is tried and not waited for, when it is as it was looked at.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "topic.h"

#define TURNS_IN_RETENTION 8

/* A segment that is not current and has messages. */
typedef struct Full
{
	DbosSegment segment;
	int64		newest;
	TimestampTz newest_at;
	int64		bytes;
} Full;

typedef struct Rules
{
	bool		by_age;
	TimestampTz drop_before;	/* by age: what was sent before it goes */
	TimestampTz turn_before;	/* by age: a current segment that was begun before ends its turn */
	int64		max_bytes;		/* 0: no limit */
	bool		subscribed;
	int64		slowest;		/* what all subscriptions have passed */
} Rules;

/* ---- what is so ---- */

static TimestampTz
ago(Interval *interval, int divisor)
{
	Datum		now = TimestampTzGetDatum(dbos_now());
	TimestampTz then = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval, now, IntervalPGetDatum(interval)));

	return DatumGetTimestampTz(now) - (DatumGetTimestampTz(now) - then) / divisor;
}

static void
read_settings(const DbosMailbox *topic, Rules *rules)
{
	static DbosPlan plan = {
		.sql = "SELECT retention, max_bytes FROM dbos.topic WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
		.nargs = 1,
		.argtypes = {REGCLASSOID},
	};
	Datum		value = ObjectIdGetDatum(topic->relation);
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	if (dbos_plan_execute(&plan, &value, NULL, true, 1) > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		retention = SPI_getbinval(row, desc, 1, &isnull);

		rules->by_age = !isnull;
		if (rules->by_age)
		{
			rules->drop_before = ago(DatumGetIntervalP(retention), 1);
			rules->turn_before = ago(DatumGetIntervalP(retention), TURNS_IN_RETENTION);
		}
		rules->max_bytes = DatumGetInt64(SPI_getbinval(row, desc, 2, &isnull));
		if (isnull)
			rules->max_bytes = 0;
	}
	dbos_owner_end(&scope);
}

static void
read_slowest(const DbosMailbox *topic, Rules *rules)
{
	DbosSubscription subscription = {0};

	rules->slowest = PG_INT64_MAX;
	while (dbos_subscription_after(subscription.id, topic->relation, false, &subscription))
	{
		rules->subscribed = true;
		rules->slowest = Min(rules->slowest, dbos_position_read(subscription.id, subscription.start));
	}
}

static int
compare_newest(const void *a, const void *b)
{
	int64		left = ((const Full *) a)->newest;
	int64		right = ((const Full *) b)->newest;

	return left < right ? -1 : left > right;
}

/* The full segments, oldest first; *bytes is what all segments have, *newer whether the current one has messages. */
static Full *
read_full(DbosMailbox *topic, int *count, int64 *bytes, bool *newer)
{
	Full	   *full = palloc(sizeof(Full) * Max(topic->nsegments, 1));

	*count = 0;
	*bytes = 0;
	*newer = false;
	for (int i = 0; i < topic->nsegments; i++)
	{
		Full	   *next = &full[*count];

		next->segment = topic->segments[i];
		next->bytes = DatumGetInt64(DirectFunctionCall1(pg_total_relation_size, ObjectIdGetDatum(next->segment.relation)));
		*bytes += next->bytes;
		if (!dbos_segment_edge(&next->segment, BackwardScanDirection, NULL, &next->newest, &next->newest_at))
			continue;
		if (next->segment.number == topic->current_segment)
			*newer = true;
		else
			(*count)++;
	}
	qsort(full, *count, sizeof(Full), compare_newest);
	return full;
}

/* ---- what is done ---- */

/* last: it is the one that was full last; newer: there are newer messages than its. */
static bool
is_to_go(const Full *full, const Rules *rules, bool last, bool newer, int64 bytes)
{
	if (rules->max_bytes > 0 && bytes > rules->max_bytes && newer)
		return true;
	if (rules->by_age)
		return full->newest_at < rules->drop_before;
	return rules->subscribed ? full->newest <= rules->slowest : !last;
}

static int64
count_after(DbosSegment *segment, int64 position)
{
	DbosSegmentScan scan;
	int64		count = 0;

	PushActiveSnapshot(GetLatestSnapshot());
	dbos_segment_scan_begin(&scan, segment, GetActiveSnapshot(), position + 1, PG_INT64_MAX, AccessShareLock);
	for (; scan.more; dbos_segment_scan_next(&scan))
		count++;
	dbos_segment_scan_end(&scan);
	PopActiveSnapshot();
	return count;
}

static void
count_lost(const DbosMailbox *topic, Full *full)
{
	DbosSubscription subscription = {0};

	while (dbos_subscription_after(subscription.id, topic->relation, false, &subscription))
	{
		int64		position = dbos_position_read(subscription.id, subscription.start);
		int64		lost = position < full->newest ? count_after(&full->segment, position) : 0;

		if (lost > 0)
			dbos_subscription_add_lost(subscription.id, lost);
	}
}

/* False when somebody uses the segment. */
static bool
drop_full(const DbosMailbox *topic, Full *full)
{
	int64		newest;
	TimestampTz newest_at;
	DbosDdlScope scope;

	if (!ConditionalLockRelationOid(full->segment.relation, AccessExclusiveLock))
		return false;
	if (!dbos_segment_edge(&full->segment, BackwardScanDirection, NULL, &newest, &newest_at) || newest != full->newest)
	{
		UnlockRelationOid(full->segment.relation, AccessExclusiveLock);
		return false;
	}
	count_lost(topic, full);
	dbos_ddl_begin(&scope, topic->owner);
	dbos_segment_truncate(full->segment.relation);
	dbos_ddl_end(&scope);
	return true;
}

/* Whether the current segment has been current for long enough. */
static bool
turn_is_over(DbosMailbox *topic, const Rules *rules)
{
	/* A copy: what is known of the topic may be read anew while the segment is opened. */
	DbosSegment current = *dbos_mailbox_segment(topic, topic->current_segment);
	int64		id;
	TimestampTz begun;

	return rules->by_age &&
		dbos_segment_edge(&current, ForwardScanDirection, NULL, &id, &begun) &&
		begun < rules->turn_before;
}

bool
dbos_topic_retain(DbosMailbox *topic)
{
	Rules		rules = {0};
	Full	   *full;
	int			count;
	int64		bytes;
	bool		newer;
	bool		left = false;

	read_settings(topic, &rules);
	read_slowest(topic, &rules);
	full = read_full(topic, &count, &bytes, &newer);
	for (int i = 0; i < count; i++)
	{
		bool		last = i == count - 1;

		if (!is_to_go(&full[i], &rules, last, newer || !last, bytes))
			break;
		if (!drop_full(topic, &full[i]))
		{
			left = true;
			break;
		}
		bytes -= full[i].bytes;
	}
	left |= dbos_mailbox_advance(topic, turn_is_over(topic, &rules));
	return left;
}
