/*
 * clock.c
 *	  The time by which dbos decides, which a test can drive.
 *
 * Test builds read an offset from the setting dbos.clock_offset; others have no
 * such setting.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "dbos/kernel.h"

TimestampTz
dbos_now(void)
{
#ifdef DBOS_TESTING
	return GetCurrentTimestamp() + (int64) dbos_clock_offset * USECS_PER_SEC;
#else
	return GetCurrentTimestamp();
#endif
}
