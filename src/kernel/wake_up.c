/*
 * wake_up.c
 *	  Wake exactly the backend that waits, at commit, by its latch.
 *
 * NOTIFY takes a server-wide lock at commit; a latch does not.  A waker names a
 * backend by its proc number; the latch is set from the commit callback, when
 * the transaction's rows are visible already.  A wake-up is a hint: who is
 * woken looks again, so one that reaches a successor of the backend meant does
 * no harm.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "storage/proc.h"
#include "utils/memutils.h"

#include "dbos/kernel.h"

/* Distinct backends woken by one transaction; more than this wake at once, early but harmless. */
#define DBOS_MAX_WAKES 64

typedef struct Wake
{
	int			proc_number;
	int			nest_level;
} Wake;

static Wake wakes[DBOS_MAX_WAKES];
static int	nwakes = 0;

void
dbos_wake_now(int proc_number, int pid)
{
	PGPROC	   *proc;

	if (proc_number < 0 || (uint32) proc_number >= ProcGlobal->allProcCount)
		return;
	proc = &ProcGlobal->allProcs[proc_number];
	if (pid != 0 && proc->pid != pid)
		return;
	SetLatch(&proc->procLatch);
}

void
dbos_wake_at_commit(int proc_number)
{
	for (int i = 0; i < nwakes; i++)
		if (wakes[i].proc_number == proc_number)
			return;
	if (nwakes == DBOS_MAX_WAKES)
	{
		dbos_wake_now(proc_number, 0);
		return;
	}
	wakes[nwakes].proc_number = proc_number;
	wakes[nwakes].nest_level = GetCurrentTransactionNestLevel();
	nwakes++;
}

static void
wake_xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT)
	{
		for (int i = 0; i < nwakes; i++)
			dbos_wake_now(wakes[i].proc_number, 0);
		nwakes = 0;
	}
	else if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		nwakes = 0;
}

static void
wake_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
					  SubTransactionId parentSubid, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();
	int			kept = 0;

	if (nwakes == 0)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = 0; i < nwakes; i++)
			if (wakes[i].nest_level >= level)
				wakes[i].nest_level = level - 1;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		for (int i = 0; i < nwakes; i++)
			if (wakes[i].nest_level < level)
				wakes[kept++] = wakes[i];
		nwakes = kept;
	}
}

void
dbos_wake_install(void)
{
	RegisterXactCallback(wake_xact_callback, NULL);
	RegisterSubXactCallback(wake_subxact_callback, NULL);
}
