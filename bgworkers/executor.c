/*
 * executor.c
 *	  The process that runs the tasks of one login role in one database.
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

extern PGDLLEXPORT void dbos_executor_main(Datum arg);

void
dbos_executor_main(Datum arg)
{
	DbosWorkerAddress address;

	memcpy(&address, MyBgworkerEntry->bgw_extra, sizeof(address));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, StatementCancelHandler);
	BackgroundWorkerUnblockSignals();

	/* Logs in as the submitter: LOGIN and CONNECT are checked here as for a client. */
	BackgroundWorkerInitializeConnectionByOid(address.database, address.session_role, 0);
	dbos_executor_begin(&address);
	while (dbos_executor_round())
		;
	/* Started on demand and by nobody else: the postmaster shall forget it. */
	proc_exit(0);
}
