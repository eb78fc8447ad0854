/*
 * worker_failure.c
 *	  What becomes of tasks whose worker crashed, or is refused the login: duties of a scheduler.
 *
 * Both are only noted where they are seen, a crash by who exits (worker_slot.c) or in a file
 * (worker_note.c), a refusal by the launcher (worker_pool.c), since neither of them can
 * write to the database.  A crash is charged to the task that ran (settle.c); one that
 * cannot be counted now, since another has the row, is counted later.  The waiting tasks of
 * a role that cannot log in fail with the reason that login itself gives; if none is found,
 * the reason has passed or may pass, and the login is tried again.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/syscache.h"

#include "scheduler.h"
#include "task.h"

/* A login that was refused for a reason that may pass is tried again after this. */
#define REFUSAL_RETRY_MS 1000

/* ---- crashes ---- */

typedef struct CrashCount
{
	int64		task;
	bool		counted;
} CrashCount;

static void
count_crash(void *argument)
{
	CrashCount *crash = argument;

	dbos_stop_point("crash counted");
	crash->counted = dbos_task_crash_counted(crash->task);
}

/* False when it could not be counted now, and is to be counted later. */
static bool
crash_counted(int64 task)
{
	CrashCount	crash = {.task = task};

	dbos_do_duty("count a crash", count_crash, &crash);
	if (!crash.counted)
		dbos_look_again();
	return crash.counted;
}

/* Puts a crash among those that are to be counted; beyond their limit it is not.  The lock is held. */
void
dbos_crash_keep(Oid database, int64 task)
{
	DbosTaskShared *shared = dbos_task_shared;

	if (shared->ncrashes == DBOS_MAX_CRASHES)
		return;
	shared->crashes[shared->ncrashes].database = database;
	shared->crashes[shared->ncrashes++].task = task;
}

/* Taken out of shared memory, and not counted yet. */
static int64 crashes[DBOS_MAX_CRASHES];
static int	ncrashes = 0;

/* Counts those of this database that shared memory has; true when there were any. */
bool
dbos_handle_crashes(void)
{
	DbosTaskShared *shared = dbos_task_shared;
	int			kept = 0;
	bool		any;

	DBOS_TASK_LOCK();
	for (int i = 0; i < shared->ncrashes; i++)
	{
		if (shared->crashes[i].database == MyDatabaseId)
			crashes[ncrashes++] = shared->crashes[i].task;
		else
			shared->crashes[kept++] = shared->crashes[i];
	}
	shared->ncrashes = kept;
	DBOS_TASK_UNLOCK();
	any = ncrashes > 0;
	while (ncrashes > 0)
	{
		bool		counted = crash_counted(crashes[ncrashes - 1]);

		DBOS_TASK_LOCK();
		ncrashes--;
		if (!counted)
			dbos_crash_keep(MyDatabaseId, crashes[ncrashes]);
		DBOS_TASK_UNLOCK();
	}
	return any;
}

/* The process ends: others count them.  The lock is held. */
void
dbos_crashes_hand_over(void)
{
	while (ncrashes > 0)
		dbos_crash_keep(MyDatabaseId, crashes[--ncrashes]);
}

/* As dbos_handle_crashes, where there is no shared memory: from the notes of processes that are gone. */
bool
dbos_handle_noted_crashes(void)
{
	DbosDeadNote dead[DBOS_MAX_CRASHES];
	int			count = dbos_worker_notes_of_dead(dead, lengthof(dead));

	for (int i = 0; i < count; i++)
	{
		/* Only then: an idle executor that is quicker would run the task uncounted. */
		if (crash_counted(dead[i].task))
			dbos_worker_note_taken(&dead[i]);
	}
	return count > 0;
}

/* ---- refused logins ---- */

typedef struct RefusedLogin
{
	Oid			session_role;
	bool		passing;		/* the reason may pass by itself */
	bool		more;
} RefusedLogin;

/* Why a role cannot log in, as login itself decides; NULL when it can. */
Jsonb *
dbos_login_obstacle(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		can_login;
	bool		super;

	if (!HeapTupleIsValid(tuple))
		return dbos_error_make(ERRCODE_UNDEFINED_OBJECT, "role that submitted the task does not exist any more",
							   NULL, NULL);
	can_login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	super = ((Form_pg_authid) GETSTRUCT(tuple))->rolsuper;
	ReleaseSysCache(tuple);
	if (!can_login)
		return dbos_error_make(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
							   psprintf("role \"%s\" is not permitted to log in", GetUserNameFromId(role, true)),
							   NULL, "Give it LOGIN, then retry the task.");
	if (!super && dbos_database_acl_check(MyDatabaseId, role, ACL_CONNECT) != ACLCHECK_OK)
		return dbos_error_make(ERRCODE_INSUFFICIENT_PRIVILEGE,
							   psprintf("permission denied for database \"%s\"", get_database_name(MyDatabaseId)),
							   "User does not have CONNECT privilege.",
							   "Grant it, then retry the task.");
	return NULL;
}

/* The waiting tasks of a role that cannot log in fail with the server's own reason. */
static void
fail_refused(void *argument)
{
	static DbosPlan plan = {
		.sql = "SELECT id FROM dbos.task WHERE session_role OPERATOR(pg_catalog.=) $1 AND NOT held"
		" LIMIT 1000 FOR UPDATE SKIP LOCKED",
		.nargs = 1,
		.argtypes = {OIDOID},
	};
	RefusedLogin *refused = argument;
	Jsonb	   *obstacle = dbos_login_obstacle(refused->session_role);
	Datum		value = ObjectIdGetDatum(refused->session_role);
	DbosOwnerScope scope;
	uint64		count;
	int64	   *ids;

	refused->more = false;
	refused->passing = obstacle == NULL;
	if (obstacle == NULL)
		return;
	dbos_owner_begin(&scope);
	count = dbos_plan_execute(&plan, &value, NULL, false, 0);
	ids = dbos_ids_returned(count);
	dbos_owner_end(&scope);
	for (uint64 i = 0; i < count; i++)
		(void) dbos_task_settle(ids[i], DBOS_FAILED, NULL, obstacle, NULL);
	refused->more = count == DBOS_CHUNK;
}

/* As fail_refused, for up to DBOS_CHUNK tasks, in the caller's transaction. */
void
dbos_fail_login(Oid role)
{
	RefusedLogin refused = {.session_role = role};

	fail_refused(&refused);
}

/* Fails, or gives another try to, the tasks of logins that were refused. */
bool
dbos_handle_refusals(void)
{
	DbosTaskShared *shared = dbos_task_shared;
	Oid			roles[DBOS_MAX_REFUSALS];
	int			count = 0;
	int			kept = 0;
	bool		passing = false;

	DBOS_TASK_LOCK();
	for (int i = 0; i < shared->nrefusals; i++)
		if (shared->refusals[i].database == MyDatabaseId)
			roles[count++] = shared->refusals[i].session_role;
	DBOS_TASK_UNLOCK();
	if (count == 0)
		return false;
	for (int i = 0; i < count; i++)
	{
		RefusedLogin refused = {.session_role = roles[i]};

		do
			dbos_do_duty("fail tasks whose role cannot log in", fail_refused, &refused);
		while (refused.more);
		passing |= refused.passing;
		if (!refused.passing)
		{
			DBOS_TASK_LOCK();
			dbos_run_queue_forget_login(MyDatabaseId, roles[i]);
			DBOS_TASK_UNLOCK();
		}
	}
	if (passing)
	{
		/* As "too many connections for role": not worth a start in every moment. */
		(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, REFUSAL_RETRY_MS, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
	DBOS_TASK_LOCK();
	for (int i = 0; i < shared->nrefusals; i++)
		if (shared->refusals[i].database != MyDatabaseId)
			shared->refusals[kept++] = shared->refusals[i];
	shared->nrefusals = kept;
	dbos_wake_launcher();
	DBOS_TASK_UNLOCK();
	return true;
}
