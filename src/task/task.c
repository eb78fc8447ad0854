/*
 * task.c
 *	  The task room registers itself, and steps aside for statements that need
 *	  a database for themselves.
 *
 * DROP, RENAME and TEMPLATE of a database, and DROP EXTENSION, find its workers
 * gone: the utility hook marks the database blocked, waits until they have left,
 * and lifts the mark at the end of the statement, also after an error.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "tcop/utility.h"
#include "utils/timestamp.h"

#include "dbos/container.h"

#include "alert.h"
#include "tables_only.h"
#include "task.h"

/* Workers end the task that they run first; who cannot wait that long cancels the statement. */
#define LOOK_AGAIN_MS 20

static ProcessUtility_hook_type prev_process_utility = NULL;
static Oid	blocked_database = InvalidOid;
static int	stop_level = 0;		/* nest level of the transaction that stopped the workers; 0: none */

/* Number of processes of ours in a database; all are told to leave. */
static int
tell_to_leave(Oid database, bool hard)
{
	int			there = 0;

	DBOS_TASK_LOCK();
	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		DbosWorker *worker = dbos_worker_slot(i);

		if (worker->state == DBOS_WORKER_FREE || worker->database != database || i == dbos_my_worker)
			continue;
		there++;
		worker->leave = true;
		if (worker->state != DBOS_WORKER_STARTING)
			dbos_wake_now(worker->proc_number, worker->pid);
		if (hard && worker->pid != 0)
			kill(worker->pid, SIGTERM);
	}
	DBOS_TASK_UNLOCK();
	return there;
}

static void
set_database_state(Oid database, DbosDatabaseState state)
{
	DbosDatabase *entry;

	DBOS_TASK_LOCK();
	entry = dbos_database_find(database, true);
	if (entry != NULL)
	{
		entry->state = state;
		entry->said++;
		entry->blocker_pid = state == DBOS_DATABASE_BLOCKED ? MyProcPid : 0;
		entry->probe_after = 0;
	}
	dbos_wake_launcher();
	DBOS_TASK_UNLOCK();
}

/* Waits until no process of ours is in the database; running tasks come to their end first, or, hard, are ended. */
void
dbos_workers_expel(Oid database, DbosDatabaseState state, bool hard)
{
	if (DBOS_TABLES_ONLY())
	{
		dbos_tables_expel(database, hard);
		return;
	}
	set_database_state(database, state);
	while (tell_to_leave(database, hard) > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LOOK_AGAIN_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * dbos.stop(): the workers leave at once, and the database is not the tasks' own
 * any more, so that they stay away after a restart too.  Undone by rollback.
 */
void
dbos_workers_stop(void)
{
	dbos_identity_forget();
	dbos_workers_expel(MyDatabaseId, DBOS_DATABASE_PAUSED, false);
	stop_level = GetCurrentTransactionNestLevel();
}

/* The stop is undone: somebody looks whose database this is. */
static void
undo_stop(void)
{
	stop_level = 0;
	if (dbos_task_shared != NULL)
		set_database_state(MyDatabaseId, DBOS_DATABASE_UNKNOWN);
}

static void
unblock(int code, Datum arg)
{
	if (blocked_database == InvalidOid)
		return;
	if (dbos_task_shared == NULL)
		dbos_tables_unblock(blocked_database);
	else
		set_database_state(blocked_database, DBOS_DATABASE_UNKNOWN);
	blocked_database = InvalidOid;
}

/* The database that a statement needs for itself, or InvalidOid. */
static Oid
database_to_block(Node *statement)
{
	const char *name = NULL;

	if (IsA(statement, DropdbStmt))
		name = ((DropdbStmt *) statement)->dbname;
	else if (IsA(statement, RenameStmt) &&
			 ((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
		name = ((RenameStmt *) statement)->subname;
	else if (IsA(statement, CreatedbStmt))
	{
		ListCell   *cell;

		foreach(cell, ((CreatedbStmt *) statement)->options)
		{
			DefElem    *option = lfirst(cell);

			if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
				name = defGetString(option);
		}
	}
	return name == NULL ? InvalidOid : get_database_oid(name, true);
}

/* DROP DATABASE ... WITH (FORCE) waits for no task. */
static bool
drops_by_force(Node *statement)
{
	ListCell   *cell;

	if (!IsA(statement, DropdbStmt))
		return false;
	foreach(cell, ((DropdbStmt *) statement)->options)
		if (strcmp(lfirst_node(DefElem, cell)->defname, "force") == 0)
			return true;
	return false;
}

static bool
drops_dbos(Node *statement)
{
	ListCell   *cell;

	if (!IsA(statement, DropStmt) || ((DropStmt *) statement)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, ((DropStmt *) statement)->objects)
		if (strcmp(strVal(lfirst(cell)), "dbos") == 0)
			return true;
	return false;
}

static void
task_process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					 ProcessUtilityContext context, ParamListInfo params,
					 QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	Oid volatile database = InvalidOid;
	bool volatile drop = false;
	bool		force = false;

	/* Who has no right to the statement must not stop workers by trying it. */
	if (IsTransactionState() && pstmt->utilityStmt != NULL && dbos_preloaded())
	{
		database = database_to_block(pstmt->utilityStmt);
		if (database != InvalidOid && !dbos_database_owned(database, GetUserId()))
			database = InvalidOid;
		force = drops_by_force(pstmt->utilityStmt);
	}
	if (IsTransactionState() && pstmt->utilityStmt != NULL && drops_dbos(pstmt->utilityStmt) &&
		dbos_extension_present() && superuser())
		drop = true;

	if (drop)
		database = MyDatabaseId;
	if (database != InvalidOid)
	{
		blocked_database = database;
		dbos_workers_expel(database, DBOS_DATABASE_BLOCKED, force);
	}
	PG_TRY();
	{
		if (prev_process_utility)
			prev_process_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		else
			standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		if (drop)
			dbos_extension_dropped_notice();
	}
	PG_FINALLY();
	{
		/* Of a dropped extension the workers stay away until the commit, or come back at abort. */
		if (database != InvalidOid && !drop)
			unblock(0, 0);
	}
	PG_END_TRY();
}

static void
task_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
					  SubTransactionId parentSubid, void *arg)
{
	if (stop_level < GetCurrentTransactionNestLevel())
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		undo_stop();
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		stop_level--;
}

static void
task_xact_callback(XactEvent event, void *arg)
{
	if (stop_level != 0 && (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT))
	{
		if (dbos_task_shared == NULL)
			dbos_tables_unblock(MyDatabaseId);
		if (event == XACT_EVENT_ABORT)
			undo_stop();
		stop_level = 0;
	}
	if (blocked_database != InvalidOid && (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT))
	{
		if (blocked_database == MyDatabaseId && event == XACT_EVENT_COMMIT && dbos_task_shared != NULL)
		{
			DBOS_TASK_LOCK();
			dbos_run_queue_forget(MyDatabaseId);
			DBOS_TASK_UNLOCK();
		}
		unblock(0, 0);
	}
}

/* ---- what the room says of itself ---- */

/* A process gives its slot back under the lock, which is held. */
static int
count_lost_workers(void)
{
	int			lost = 0;

	for (int i = 0; i < dbos_task_shared->nworkers; i++)
	{
		const DbosWorker *worker = dbos_worker_slot(i);

		if (worker->state != DBOS_WORKER_FREE && worker->pid != 0 && BackendPidGetProc(worker->pid) == NULL)
			lost++;
	}
	return lost;
}

static void
report_health(DbosReport *rows)
{
	bool		no_slot;
	bool		launcher = dbos_launcher_runs();
	int			crashes = 0;
	int			lost = 0;

	if (dbos_task_shared == NULL)
		no_slot = dbos_tables_slots_in_use();
	else
	{
		DBOS_TASK_LOCK();
		no_slot = dbos_task_shared->no_slot;
		crashes = dbos_task_shared->ncrashes;
		lost = count_lost_workers();
		DBOS_TASK_UNLOCK();
	}
	dbos_health_row(rows, "task launcher", launcher,
					launcher ? NULL : "The launcher is not running: tasks wait.",
					launcher ? NULL : "SELECT dbos.start();");
	dbos_health_row(rows, "task worker slots", !no_slot,
					no_slot ? "The last start of a worker found all of max_worker_processes in use." : NULL,
					no_slot ? "Raise max_worker_processes and restart the server." : NULL);
	dbos_health_row(rows, "task workers", lost == 0,
					lost == 0 ? NULL : psprintf("%d workers have a slot and no process.", lost),
					lost == 0 ? NULL : "SELECT dbos.stop(); SELECT dbos.start(); and look into the server's log.");
	dbos_health_row(rows, "task crashes", crashes == 0,
					crashes == 0 ? NULL : "Crashed tasks wait for a scheduler to count them.", NULL);
	dbos_trouble_report(rows);
}

static void
report_capabilities(DbosReport *rows)
{
	bool		can = dbos_workers_can_run();

	dbos_capability_row(rows, "tasks run", can,
						can ? NULL : "No launcher runs, or this database is paused.",
						can ? NULL : "SELECT dbos.start();");
}

/* Whether a container has queues, schedules, or tasks that have not ended. */
static bool
uses_container(int32 container)
{
	static DbosPlan plan = {
		.sql = "SELECT 1 WHERE EXISTS (SELECT FROM dbos.queue WHERE container_id OPERATOR(pg_catalog.=) $1)"
		" OR EXISTS (SELECT FROM dbos.task WHERE container_id OPERATOR(pg_catalog.=) $1)"
		" OR EXISTS (SELECT FROM dbos.schedule WHERE container_id OPERATOR(pg_catalog.=) $1)",
		.nargs = 1,
		.argtypes = {INT4OID},
	};

	return dbos_container_found(&plan, container);
}

/*
 * The first partitions of the history are there before anybody can end a task:
 * whoever made one in a long transaction would keep all others waiting.  Made
 * after the extension's script, as it were: they are no members of the
 * extension, so that a dump carries them.
 */
static void
task_created(void)
{
	creating_extension = false;
	PG_TRY();
	{
		(void) dbos_history_partition(dbos_now());
		(void) dbos_history_partition(dbos_now() + USECS_PER_DAY);
	}
	PG_FINALLY();
	{
		creating_extension = true;
	}
	PG_END_TRY();
	dbos_pending_want_scheduler();
}

void
dbos_task_register(void)
{
	dbos_created_register(task_created);
	dbos_container_register_user("task", uses_container);
	dbos_task_shared_register();
	dbos_pending_install();
	dbos_wait_install();
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = task_process_utility;
	RegisterXactCallback(task_xact_callback, NULL);
	RegisterSubXactCallback(task_subxact_callback, NULL);
	dbos_health_register(report_health);
	dbos_capability_register(report_capabilities);
	if (process_shared_preload_libraries_in_progress)
		(void) dbos_launcher_start(false);
}
