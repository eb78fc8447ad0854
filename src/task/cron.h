/*
 * cron.h
 *	  When a schedule fires: its text read, and the next time found.  No SQL, no
 *	  shared memory, no clock: what is asked is given.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_CRON_H
#define DBOS_TASK_CRON_H

#include "datatype/timestamp.h"
#include "pgtime.h"

/* Sets of values as bits: bit n stands for the value n. */
typedef struct DbosCron
{
	int64		every;			/* seconds between two firings; 0: by the fields below */
	uint64		seconds;
	uint64		minutes;
	uint64		hours;
	uint64		days;			/* of the month, from 1 */
	uint64		months;			/* from 1 */
	uint64		weekdays;		/* Sunday is 0 */
	bool		last_day;		/* the last day of the month too */
	bool		any_day;		/* the day of the month is not restricted */
	bool		any_weekday;
	bool		fixed_times;	/* the hour is restricted: once for each time on the wall clock */
} DbosCron;

extern void dbos_cron_parse(const char *text, DbosCron *cron);
extern pg_tz *dbos_cron_zone(const char *name);
extern bool dbos_cron_next(const DbosCron *cron, pg_tz *zone, TimestampTz after, TimestampTz *next);

#endif							/* DBOS_TASK_CRON_H */
