/*
 * queue_start.c
 *	  Rates: how many tasks of a queue, or of a partition of it, have started when.
 *
 * The rows of dbos.queue_start say it, and not shared memory, so that a rate holds over
 * crashes and on a promoted standby.  An executor takes as many starts as it has
 * tasks in hand in a short transaction of its own, before it runs them; that
 * commit need not be flushed, since a task's own commit follows it in the WAL, and
 * what was not committed has not happened.  It locks the queue's row, then the
 * partition's: who comes second waits for that transaction, and nothing is retried.
 *
 * A row holds groups (time, count), the latest last.  A start counts for a whole
 * period after the time of its group, which is never before it: who is granted
 * starts may begin until then.  When a row has too many groups the two that are
 * nearest to each other become one with the later time, so that fewer may start,
 * and never more, in any period.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#include "task.h"

#define MAX_GROUPS		48
/* How long who is granted starts may take to begin: a part of the period, between bounds. */
#define SLACK_DIVISOR	50
#define MIN_SLACK_US	2000
#define MAX_SLACK_US	20000
/* As long as half of the limit is left nobody misses it: enough for a large hand on a busy machine. */
#define AMPLE_SLACK_DIVISOR	4
#define MAX_AMPLE_SLACK_US	1000000

typedef struct StartGroup
{
	TimestampTz at;
	int64		count;
} StartGroup;

/* A row of dbos.queue_start; one more group than is kept. */
typedef struct Row
{
	int			count;
	StartGroup		groups[MAX_GROUPS + 1];
} Row;

/* ---- rows ---- */

/* Locks the row, made if it is not there, and reads it; without what is older than a period. */
static void
read_row(int32 queue_id, uint64 partition, TimestampTz since, Row *row)
{
	static DbosPlan make = {
		.sql = "INSERT INTO dbos.queue_start (queue_id, partition) VALUES ($1, $2) ON CONFLICT DO NOTHING",
		.nargs = 2,
		.argtypes = {INT4OID, INT8OID},
	};
	static DbosPlan lock = {
		.sql = "SELECT started_before, starts FROM dbos.queue_start"
		" WHERE queue_id OPERATOR(pg_catalog.=) $1 AND partition OPERATOR(pg_catalog.=) $2 FOR UPDATE",
		.nargs = 2,
		.argtypes = {INT4OID, INT8OID},
	};
	Datum		values[2] = {Int32GetDatum(queue_id), Int64GetDatum((int64) partition)};
	Datum	   *times;
	Datum	   *counts;
	int			ntimes;
	int			ncounts;
	bool		null;

	while (dbos_plan_execute(&lock, values, NULL, false, 1) == 0)
		(void) dbos_plan_execute(&make, values, NULL, false, 0);
	deconstruct_array(DatumGetArrayTypeP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null)),
					  TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &times, NULL, &ntimes);
	deconstruct_array(DatumGetArrayTypeP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null)),
					  INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &counts, NULL, &ncounts);
	row->count = 0;
	for (int i = 0; i < Min(Min(ntimes, ncounts), MAX_GROUPS); i++)
	{
		if (DatumGetTimestampTz(times[i]) <= since)
			continue;
		row->groups[row->count].at = DatumGetTimestampTz(times[i]);
		row->groups[row->count++].count = DatumGetInt64(counts[i]);
	}
}

static void
write_row(int32 queue_id, uint64 partition, const Row *row)
{
	static DbosPlan plan = {
		.sql = "UPDATE dbos.queue_start SET started_before = $3, starts = $4"
		" WHERE queue_id OPERATOR(pg_catalog.=) $1 AND partition OPERATOR(pg_catalog.=) $2",
		.nargs = 4,
		.argtypes = {INT4OID, INT8OID, TIMESTAMPTZARRAYOID, INT8ARRAYOID},
	};
	Datum		times[MAX_GROUPS];
	Datum		counts[MAX_GROUPS];
	Datum		values[4] = {Int32GetDatum(queue_id), Int64GetDatum((int64) partition)};

	Assert(row->count <= MAX_GROUPS);
	for (int i = 0; i < row->count; i++)
	{
		times[i] = TimestampTzGetDatum(row->groups[i].at);
		counts[i] = Int64GetDatum(row->groups[i].count);
	}
	values[2] = PointerGetDatum(construct_array(times, row->count, TIMESTAMPTZOID, sizeof(TimestampTz),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[3] = PointerGetDatum(construct_array(counts, row->count, INT8OID, sizeof(int64),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
}

static int64
starts_in(const Row *row)
{
	int64		sum = 0;

	for (int i = 0; i < row->count; i++)
		sum += row->groups[i].count;
	return sum;
}

/* Two groups that are nearest to each other become one with the later time. */
static void
merge_groups(Row *row)
{
	int			nearest = 0;

	for (int i = 1; i + 1 < row->count; i++)
		if (row->groups[i + 1].at - row->groups[i].at <
			row->groups[nearest + 1].at - row->groups[nearest].at)
			nearest = i;
	row->groups[nearest + 1].count += row->groups[nearest].count;
	memmove(&row->groups[nearest], &row->groups[nearest + 1],
			sizeof(StartGroup) * (row->count - nearest - 1));
	row->count--;
}

/* Adds a group in the order of time: a clock may have been set back. */
static void
add_group(Row *row, TimestampTz at, int64 count)
{
	int			place = row->count;

	while (place > 0 && row->groups[place - 1].at > at)
		place--;
	memmove(&row->groups[place + 1], &row->groups[place], sizeof(StartGroup) * (row->count - place));
	row->groups[place].at = at;
	row->groups[place].count = count;
	row->count++;
	if (row->count > MAX_GROUPS)
		merge_groups(row);
}

/* When one more may start, of a row that is at its limit. */
static TimestampTz
next_start(const Row *row, int64 limit, int64 period)
{
	int64		left = starts_in(row);

	for (int i = 0; i < row->count; i++)
	{
		left -= row->groups[i].count;
		if (left < limit)
			return row->groups[i].at + period;
	}
	return PG_INT64_MAX;		/* the limit is 0 */
}

/* ---- starts ---- */

/* Bounds what is granted by one limit. */
static void
apply_limit(DbosStarts *starts, const Row *row, uint64 partition, int32 limit, int64 period)
{
	int64		left = limit - starts_in(row);

	if (left >= starts->granted)
		return;
	starts->granted = Max(left, 0);
	starts->rests = partition;
	starts->until = 0;
	/* Nothing is left of it when these have started. */
	if (left <= 0)
		starts->until = next_start(row, limit, period);
}

/* How long after now they may begin. */
static int64
slack_of(const DbosStarts *starts, const Row *row, int32 limit, int64 period)
{
	if (starts_in(row) + starts->granted <= limit / 2)
		return Min(period / AMPLE_SLACK_DIVISOR, MAX_AMPLE_SLACK_US);
	return Min(Max(period / SLACK_DIVISOR, MIN_SLACK_US), MAX_SLACK_US);
}

/*
 * Takes up to `wanted` starts of a queue and, if its partitions have a rate, of the
 * partition.  Inside an owner scope; nothing is granted of a queue that is gone.
 */
void
dbos_starts_reserve(int32 queue_id, uint64 partition, int wanted, DbosStarts *starts)
{
	DbosQueueFacts facts;
	Row			row[2];
	bool		by_partition;
	TimestampTz now;
	int64		slack = PG_INT64_MAX;

	memset(starts, 0, sizeof(*starts));
	starts->queue_id = queue_id;
	starts->granted = wanted;
	if (!dbos_queue_by_id_if_any(queue_id, &facts))
		starts->granted = 0;
	by_partition = facts.partition_rate_limit >= 0 && partition != 0;
	if (starts->granted == 0 || (facts.rate_limit < 0 && !by_partition))
		return;
	starts->partition = by_partition ? partition : 0;
	if (facts.rate_limit >= 0)
		read_row(queue_id, 0, GetCurrentTimestamp() - facts.rate_period, &row[0]);
	if (by_partition)
		read_row(queue_id, partition, GetCurrentTimestamp() - facts.rate_period, &row[1]);
	/* By the clock as it is under the locks. */
	now = GetCurrentTimestamp();
	if (facts.rate_limit >= 0)
		apply_limit(starts, &row[0], 0, facts.rate_limit, facts.rate_period);
	if (by_partition)
		apply_limit(starts, &row[1], partition, facts.partition_rate_limit, facts.rate_period);
	if (starts->granted == 0)
		return;
	if (facts.rate_limit >= 0)
		slack = slack_of(starts, &row[0], facts.rate_limit, facts.rate_period);
	if (by_partition)
		slack = Min(slack, slack_of(starts, &row[1], facts.partition_rate_limit, facts.rate_period));
	starts->before = now + slack;
	if (facts.rate_limit >= 0)
	{
		add_group(&row[0], starts->before, starts->granted);
		write_row(queue_id, 0, &row[0]);
	}
	if (by_partition)
	{
		add_group(&row[1], starts->before, starts->granted);
		write_row(queue_id, partition, &row[1]);
	}
}

/* Later groups than its own are others', once its own has been left out for its age. */
static void
return_to_row(int32 queue_id, uint64 partition, TimestampTz before, int64 period, int unused)
{
	Row			row;

	read_row(queue_id, partition, PG_INT64_MIN, &row);
	if (before <= GetCurrentTimestamp() - period)
		return;
	/* Of its own group, or of one that it became part of, whose time is later. */
	for (int i = 0; i < row.count && unused > 0; i++)
	{
		int64		taken = row.groups[i].at < before ? 0 : Min(unused, row.groups[i].count);

		row.groups[i].count -= taken;
		unused -= taken;
	}
	write_row(queue_id, partition, &row);
}

/* Gives starts back that were not used.  Inside an owner scope. */
void
dbos_starts_return(const DbosStarts *starts, int unused)
{
	DbosQueueFacts facts;

	if (unused <= 0 || !dbos_queue_by_id_if_any(starts->queue_id, &facts))
		return;
	if (facts.rate_limit >= 0)
		return_to_row(starts->queue_id, 0, starts->before, facts.rate_period, unused);
	if (facts.partition_rate_limit >= 0 && starts->partition != 0)
		return_to_row(starts->queue_id, starts->partition, starts->before, facts.rate_period, unused);
}

/* Rows of partitions that have not started anything for long are of no use. */
void
dbos_starts_forget(void *unused)
{
	static DbosPlan plan = {
		.sql = "DELETE FROM dbos.queue_start s USING dbos.queue q WHERE q.id OPERATOR(pg_catalog.=) s.queue_id"
		" AND NOT EXISTS (SELECT FROM pg_catalog.unnest(s.started_before) b(at)"
		" WHERE b.at OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) q.rate_period))",
	};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, NULL, NULL, false, 0);
	dbos_owner_end(&scope);
}
