/*
 * lanes.c
 *	  Which keys of an ordered mailbox may have messages, and which are in somebody's hands.
 *
 * Lanes take turns, so that none with many messages keeps others waiting.  A lane
 * becomes ready when a message for it is committed, also while it is held.
 *
 * Pure: callers hold the lock of the mailbox.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "lanes.h"

void
dbos_lanes_all(DbosLanes *lanes)
{
	memset(&lanes->ready, 0xff, sizeof(lanes->ready));
	for (int i = 0; i < DBOS_LANES; i++)
		lanes->floor[i] = 1;
}

void
dbos_lanes_add(DbosLanes *lanes, const DbosLaneSet *added, int64 floor)
{
	for (int i = 0; i < DBOS_LANES; i++)
	{
		/* Mostly a transaction sends to few lanes. */
		if (added->words[i / 64] == 0)
		{
			i += 63;
			continue;
		}
		if (!dbos_lane_is(added, i))
			continue;
		dbos_lane_set(&lanes->ready, i, true);
		lanes->floor[i] = Min(lanes->floor[i], floor);
	}
}

bool
dbos_lanes_some(const DbosLanes *lanes)
{
	for (int i = 0; i < DBOS_LANES / 64; i++)
		if ((lanes->ready.words[i] & ~lanes->held.words[i]) != 0)
			return true;
	return false;
}

int
dbos_lanes_take(DbosLanes *lanes, int64 *floor)
{
	if (!dbos_lanes_some(lanes))
		return DBOS_NO_LANE;
	for (int i = 0; i < DBOS_LANES; i++)
	{
		int			lane = (lanes->next + i) % DBOS_LANES;

		if (!dbos_lane_is(&lanes->ready, lane) || dbos_lane_is(&lanes->held, lane))
			continue;
		dbos_lane_set(&lanes->ready, lane, false);
		dbos_lane_set(&lanes->held, lane, true);
		lanes->next = (lane + 1) % DBOS_LANES;
		*floor = lanes->floor[lane];
		/* What is committed from now on says so again. */
		lanes->floor[lane] = PG_INT64_MAX;
		return lane;
	}
	return DBOS_NO_LANE;
}

void
dbos_lanes_release(DbosLanes *lanes, int lane, int64 floor, bool more)
{
	dbos_lane_set(&lanes->held, lane, false);
	lanes->floor[lane] = Min(lanes->floor[lane], floor);
	if (more)
		dbos_lane_set(&lanes->ready, lane, true);
}
