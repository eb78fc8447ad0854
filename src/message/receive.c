/*
 * receive.c
 *	  dbos.receive(): messages are taken away, and waited for.
 *
 * What the receiver does with a message, the replies that it sends and the taking
 * itself commit together or not at all.  The right to receive is DELETE on the mailbox.
 *
 * Who finds nothing waits for the latch that a sender's commit sets, for one who waits and
 * for nobody else.  Where there is no shared memory, and for roles that row-level security
 * shows other rows than the rest, the table is looked at fifty times a second.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xlog.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "message.h"

PG_FUNCTION_INFO_V1(dbos_receive);

#define POLL_MS 20
/* Who resumes a paused mailbox wakes who waits; this is for who has missed it. */
#define PAUSED_MS 60000

/* ---- waiting ---- */

/* Also when the process ends. */
static void
leave_at_error(int code, Datum arg)
{
	dbos_waiter_leave(false);
	dbos_idle_end();
}

static void
wait_in_list(DbosTaking *taking, TimestampTz end)
{
	for (;;)
	{
		TimestampTz look_at = 0;
		TimestampTz now;
		long		patience = POLL_MS;

		ResetLatch(MyLatch);
		if (taking->sees_all && dbos_waiter_enter(taking->mailbox, &look_at))
			patience = -1;
		dbos_stop_point("message wait look");
		dbos_take(taking);
		now = dbos_now();
		if (taking->got > 0 || now >= end)
			return;
		if (patience < 0)
			patience = taking->mailbox->paused ? PAUSED_MS : TimestampDifferenceMilliseconds(now, look_at) + 1;
		patience = Min(patience, TimestampDifferenceMilliseconds(now, end) + 1);
		/* Nothing of ours shall hold back vacuum; a SELECT's own snapshot still does. */
		InvalidateCatalogSnapshotConditionally();
		dbos_stop_point("message wait sleep");
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, patience, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Until a message was taken, or until that time. */
void
dbos_take_wait(DbosTaking *taking, TimestampTz end)
{
	PG_ENSURE_ERROR_CLEANUP(leave_at_error, (Datum) 0);
	{
		dbos_idle_begin();
		wait_in_list(taking, end);
	}
	PG_END_ENSURE_ERROR_CLEANUP(leave_at_error, (Datum) 0);
	dbos_waiter_leave(taking->got > 0);
	dbos_idle_end();
}

/* Milliseconds of an interval that must not be negative; more than a century is a century. */
int64
dbos_milliseconds(Interval *interval, const char *name)
{
	double		days = interval->day + (double) interval->month * DAYS_PER_MONTH;
	double		ms = interval->time / 1000.0 + days * (USECS_PER_DAY / 1000.0);

	if (ms < 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s must not be negative", name));
	return (int64) Min(ms, 36525.0 * (USECS_PER_DAY / 1000.0));
}

/* ---- SQL functions ---- */

/* dbos.receive(mailbox text, max_messages int, timeout interval) → messages */
Datum
dbos_receive(PG_FUNCTION_ARGS)
{
	DbosTaking	taking;
	int64		timeout;

	InitMaterializedSRF(fcinfo, 0);
	PreventCommandIfReadOnly("dbos.receive()");
	timeout = PG_ARGISNULL(2) ? dbos_task_wait_timeout : dbos_milliseconds(PG_GETARG_INTERVAL_P(2), "timeout");
	dbos_take_begin(&taking, fcinfo);
	dbos_take(&taking);
	if (taking.got == 0 && timeout > 0)
		dbos_take_wait(&taking, TimestampTzPlusMilliseconds(dbos_now(), timeout));
	dbos_take_end(&taking);
	return (Datum) 0;
}
