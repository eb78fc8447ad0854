/*
 * session.c
 *	  The session of an executor: its transactions, its role, and what is left in it.
 *
 * The process is logged in as the session role of its tasks.  The role of a task
 * is set as a local setting; what a task may leave in the session is cleared
 * before the next one, between members of a batch by company.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/async.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

#include "session.h"
#include "tables_only.h"
#include "task.h"

void
dbos_session_begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	XactDeferrable = false;
	/* As a client's statement has one around the functions that it calls. */
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
dbos_session_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* Commits bookkeeping that a crash may forget if nothing followed it. */
void
dbos_session_commit_unflushed(void)
{
	int			before = synchronous_commit;

	synchronous_commit = SYNCHRONOUS_COMMIT_OFF;
	dbos_session_commit();
	synchronous_commit = before;
}

void
dbos_session_assume_role(Oid role, bool local)
{
	/* The task's rights are its submitter's as they are now. */
	char	   *name = GetUserNameFromId(role, true);

	if (name == NULL)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("role of the task does not exist any more"));
	if (!dbos_may_set_role(GetSessionUserId(), role))
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied to set role \"%s\"", name),
				errdetail("The role that submitted the task is no member of the role that it was to run as any more."));
	/* Not the session's role as it is: ALTER ROLE ... SET role may have set another one. */
	if (role != GetUserId())
		(void) set_config_option("role", role == GetSessionUserId() ? "none" : name,
								 superuser() ? PGC_SUSET : PGC_USERSET, PGC_S_SESSION,
								 local ? GUC_ACTION_LOCAL : GUC_ACTION_SET, true, 0, false);
}

/* What DISCARD ALL would do, but keeping plans. */
void
dbos_session_clean(void)
{
	dbos_session_begin();
	PortalHashTableDeleteAll();
	SetPGVariable("session_authorization", NIL, false);
	(void) set_config_option("role", "none", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
	ResetAllOptions();
	DropAllPreparedStatements();
	Async_UnlistenAll();
	LockReleaseAll(USER_LOCKMETHOD, true);
	if (dbos_task_shared == NULL)
		dbos_tables_hold();
	ResetTempTableNamespace();
	ResetSequenceCaches();
	dbos_session_commit();
}
