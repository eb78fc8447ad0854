/*
 * upkeep.c
 *	  The process that makes tables of files small again, in one database; it ends when that is done.
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

#include "dbos/file.h"

extern PGDLLEXPORT void dbos_upkeep_main(Datum arg);

void
dbos_upkeep_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, die);
	BackgroundWorkerUnblockSignals();

	/* As the bootstrap superuser, who runs no statement of a user here. */
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	dbos_upkeep(MyBgworkerEntry->bgw_extra[0] != 0);
	/* Started on demand and by nobody else: the postmaster shall forget it. */
	proc_exit(0);
}
