/*
 * scheduler.c
 *	  The process that decides, for one database, what is ready to run.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"

#include "dbos/task.h"

extern PGDLLEXPORT void dbos_scheduler_main(Datum arg);

void
dbos_scheduler_main(Datum arg)
{
	DbosWorkerAddress address;

	memcpy(&address, MyBgworkerEntry->bgw_extra, sizeof(address));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	/* As the bootstrap superuser, who runs no statement of a user here. */
	BackgroundWorkerInitializeConnectionByOid(address.database, InvalidOid, 0);
	if (dbos_scheduler_begin(&address))
		while (dbos_scheduler_round())
			;
	/* Started on demand and by nobody else: the postmaster shall forget it. */
	proc_exit(0);
}
