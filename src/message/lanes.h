/*
 * lanes.h
 *	  Which keys of an ordered mailbox may have messages, and which are in somebody's hands.
 *
 * Keys are put into lanes by a hash: those of one lane wait for each other, as those of one
 * key must.  A lane that is said to be ready may be empty, and never the reverse.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_LANES_H
#define DBOS_LANES_H

#include "postgres.h"

/* A power of two: the segments' indexes are made with it. */
#define DBOS_LANES		256
#define DBOS_NO_LANE	(-1)

typedef struct DbosLaneSet
{
	uint64		words[DBOS_LANES / 64];
} DbosLaneSet;

typedef struct DbosLanes
{
	DbosLaneSet ready;			/* may have messages */
	DbosLaneSet held;			/* a transaction that has not ended has taken of it */
	int64		floor[DBOS_LANES];	/* its first message has this id, or a higher one */
	int			next;			/* whose turn it is */
} DbosLanes;

static inline bool
dbos_lane_is(const DbosLaneSet *set, int lane)
{
	return (set->words[lane / 64] >> (lane % 64)) & 1;
}

static inline void
dbos_lane_set(DbosLaneSet *set, int lane, bool is)
{
	uint64		bit = UINT64CONST(1) << (lane % 64);

	set->words[lane / 64] = is ? set->words[lane / 64] | bit : set->words[lane / 64] & ~bit;
}

/* Neither allocates nor raises, any of them. */

/* Every lane may have messages from any id on. */
extern void dbos_lanes_all(DbosLanes *lanes);
/* These may, from this id on. */
extern void dbos_lanes_add(DbosLanes *lanes, const DbosLaneSet *added, int64 floor);
/* Takes the next lane that may have messages, in turn; DBOS_NO_LANE: there is none. */
extern int	dbos_lanes_take(DbosLanes *lanes, int64 *floor);
/* Its holder has done: the first message that may be left has this id. */
extern void dbos_lanes_release(DbosLanes *lanes, int lane, int64 floor, bool more);
extern bool dbos_lanes_some(const DbosLanes *lanes);

#endif							/* DBOS_LANES_H */
