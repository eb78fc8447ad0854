/*
 * policy_example.c
 *	  A policy in C: tasks with a deadline by the time at which they must begin, the others behind.
 *
 * "Least slack": a task must begin at its deadline minus what it is expected to take.
 * A task that has waited for long is treated as if it had a deadline, PATIENCE after
 * its submit, so that it is not passed by for ever.
 *
 *	  shared_preload_libraries = 'dbos, policy_example'
 *	  SELECT dbos.create_policy('slack', 'library least_slack');
 *	  SELECT dbos.create_queue('urgent', policy => 'slack');
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/timestamp.h"

#include "dbos/policy.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

#define PATIENCE (10 * 60 * USECS_PER_SEC)

/* The rank of a task: the lowest runs first. */
static int64
least_slack(const DbosReadyTask *task)
{
	TimestampTz due = task->submitted_at + PATIENCE;

	if (task->deadline != 0 && task->deadline < due)
		due = task->deadline;
	return due - task->expected_us;
}

void
_PG_init(void)
{
	/* Not linked against dbos, so that the order in shared_preload_libraries does not matter. */
	void		(*register_policy) (const char *, DbosPolicyRank) =
		(void (*) (const char *, DbosPolicyRank))
		load_external_function("dbos", "dbos_register_policy", true, NULL);

	register_policy("least_slack", least_slack);
}
