/*
 * duty.c
 *	  What rooms do in the background, in the one process that a database has for it.
 *
 * A room registers a duty; the process (the task room's scheduler) runs each in
 * transactions of its own when it is wanted, or when the time has come that the duty
 * named.  What is to be done is known by the room alone: a duty that is run for
 * nothing looks and says so.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "dbos/kernel.h"

#define MAX_DUTIES 8

static const DbosDuty *duties[MAX_DUTIES];
static int	nduties = 0;
static void (*wanter) (void) = NULL;

void
dbos_duty_register(const DbosDuty *duty)
{
	if (nduties >= MAX_DUTIES)
		elog(ERROR, "too many duties");
	duties[nduties++] = duty;
}

const DbosDuty *
dbos_duty_at(int number)
{
	return number < nduties ? duties[number] : NULL;
}

void
dbos_duty_set_wanter(void (*want) (void))
{
	wanter = want;
}

/* Has the duties of this database run soon.  Neither allocates nor raises: for the end of a transaction. */
void
dbos_duty_want(void)
{
	if (wanter != NULL)
		wanter();
}
