/*
 * ready_set.c
 *	  The ids of a mailbox among which there may be messages to deliver.
 *
 * Senders add what they sent when they have committed, receivers take from the
 * low end and add back what they did not deliver.  Ranges that touch or overlap
 * become one.  When there is no room, the two neighbours with the smallest gap
 * become one: ids between them are looked at once more than needed.
 *
 * A range says in which segment its rows are, so that a receiver looks into one
 * index; ranges of two segments that must become one say "any".
 *
 * Pure: callers hold the lock of the mailbox.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "ready_set.h"

static void
remove_at(DbosReadySet *set, int at, int count)
{
	memmove(&set->ranges[at], &set->ranges[at + count],
			sizeof(DbosIdRange) * (set->count - at - count));
	set->count -= count;
}

/* The second becomes part of the first. */
static void
absorb(DbosIdRange *first, const DbosIdRange *second)
{
	first->lo = Min(first->lo, second->lo);
	first->hi = Max(first->hi, second->hi);
	if (first->segment != second->segment)
		first->segment = DBOS_ANY_SEGMENT;
}

static void
make_room(DbosReadySet *set)
{
	int			nearest = 0;

	for (int i = 1; i + 1 < set->count; i++)
		if (set->ranges[i + 1].lo - set->ranges[i].hi <
			set->ranges[nearest + 1].lo - set->ranges[nearest].hi)
			nearest = i;
	absorb(&set->ranges[nearest], &set->ranges[nearest + 1]);
	remove_at(set, nearest + 1, 1);
}

/* Whether two ranges overlap, or touch and are of one segment. */
static bool
joins(const DbosIdRange *low, const DbosIdRange *high)
{
	if (low->hi >= high->lo)
		return true;
	return low->hi + 1 == high->lo && low->segment == high->segment;
}

void
dbos_ready_add(DbosReadySet *set, DbosIdRange range)
{
	int			at = set->count;
	int			end;

	/* Mostly the newest ids are added: from the high end. */
	while (at > 0 && set->ranges[at - 1].lo > range.lo)
		at--;
	if (at > 0 && joins(&set->ranges[at - 1], &range))
	{
		at--;
		absorb(&range, &set->ranges[at]);
	}
	end = at;
	while (end < set->count && (set->ranges[end].lo <= range.lo || joins(&range, &set->ranges[end])))
		absorb(&range, &set->ranges[end++]);
	if (end > at)
	{
		set->ranges[at] = range;
		remove_at(set, at + 1, end - at - 1);
		return;
	}
	if (set->count == DBOS_READY_RANGES)
	{
		make_room(set);
		dbos_ready_add(set, range);
		return;
	}
	memmove(&set->ranges[at + 1], &set->ranges[at], sizeof(DbosIdRange) * (set->count - at));
	set->ranges[at] = range;
	set->count++;
}

bool
dbos_ready_take(DbosReadySet *set, int64 most, DbosIdRange *taken)
{
	DbosIdRange *first = &set->ranges[0];

	if (set->count == 0)
		return false;
	*taken = *first;
	if (first->hi - first->lo >= most)
	{
		taken->hi = first->lo + most - 1;
		first->lo += most;
	}
	else
		remove_at(set, 0, 1);
	return true;
}
