/*
 * launcher.c
 *	  The one process that starts schedulers and executors where they are wanted.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"

#include "dbos/task.h"

extern PGDLLEXPORT void dbos_launcher_main(Datum arg);

void
dbos_launcher_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	/* No database: shared catalogs are all that it reads. */
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	dbos_launcher_begin();
	for (;;)
	{
		long		patience = dbos_launcher_round();

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 patience, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}
