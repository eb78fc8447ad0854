/*
 * ready_set.h
 *	  The ids of a mailbox among which there may be messages to deliver.
 *
 * A set of id ranges, bounded in size: it may name more ids than have a message,
 * never fewer.  What is there is decided by the table.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_READY_SET_H
#define DBOS_READY_SET_H

#include "postgres.h"

#define DBOS_READY_RANGES	48
/* Rows of the range may be in any segment. */
#define DBOS_ANY_SEGMENT	(-1)

typedef struct DbosIdRange
{
	int64		lo;
	int64		hi;				/* inclusive */
	int32		segment;
} DbosIdRange;

/* Ascending, disjoint, at most DBOS_READY_RANGES. */
typedef struct DbosReadySet
{
	int			count;
	DbosIdRange ranges[DBOS_READY_RANGES];
} DbosReadySet;

/* Neither allocates nor raises. */
extern void dbos_ready_add(DbosReadySet *set, DbosIdRange range);

/* Takes the lowest ids, at most `most`, that lie in one range; false when the set is empty. */
extern bool dbos_ready_take(DbosReadySet *set, int64 most, DbosIdRange *taken);

/* The range from the lowest to the highest id of two; one with lo > hi is empty. */
static inline DbosIdRange
dbos_range_cover(DbosIdRange a, DbosIdRange b)
{
	DbosIdRange both = {
		.lo = Min(a.lo, b.lo),
		.hi = Max(a.hi, b.hi),
		.segment = a.segment == b.segment || a.lo > a.hi ? b.segment : DBOS_ANY_SEGMENT,
	};

	return a.lo > a.hi ? b : both;
}

#endif							/* DBOS_READY_SET_H */
