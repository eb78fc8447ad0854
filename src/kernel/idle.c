/*
 * idle.c
 *	  A wait inside the server that is no wait for a lock.
 *
 * Whoever waits so inside a task keeps a worker from others, perhaps from those who
 * would end the wait.  The task room lends the worker's place to them meanwhile.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "dbos/kernel.h"

static void (*begin_hook) (void) = NULL;
static void (*end_hook) (void) = NULL;

void
dbos_idle_set_hooks(void (*begin) (void), void (*end) (void))
{
	begin_hook = begin;
	end_hook = end;
}

/* The wait begins; dbos_idle_end() follows, also after an error and when the process exits. */
void
dbos_idle_begin(void)
{
	if (begin_hook != NULL)
		begin_hook();
}

/* Nothing happens when no wait has begun. */
void
dbos_idle_end(void)
{
	if (end_hook != NULL)
		end_hook();
}
