/*
 * company.c
 *	  What a member of a batch may do while the others' work is not committed.
 *
 * Members of a batch share a transaction, and must not notice it.  Settings are
 * undone after each, deferred triggers fire at the end of each, sequences forget
 * what the session had of them.  What only the end of a transaction clears
 * (locks of the user's own making, open cursors, temporary tables, everything that
 * a utility command does), what the server would fold into one (NOTIFY), and what
 * a rollback does not undo (effects outside of the database) ends the batch after
 * the first member; one that others wait for is stopped before it does it, the
 * batch is rolled back, and it runs again, alone.
 *
 * It is seen by the server's hooks for utility commands, for functions that are
 * about to be executed, and for the start and end of queries.  While others wait
 * for a member's end, with work that is not committed or for their turn, it is
 * stopped likewise when it waits for a lock longer than WAIT_MS or runs longer than
 * RUN_MS: so company makes no deadlock, and no long wait.  The stop is a cancel,
 * which EXCEPTION WHEN OTHERS does not catch; and whoever catches it all the same is
 * rolled back at its end.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "commands/proclang.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "company.h"
#include "task.h"

#define WAIT_MS 5				/* for a lock; looked at as often */
#define RUN_MS 25				/* in all */

/* What has been said of the member that runs. */
static bool inside = false;		/* a member's function runs */
static bool awaited = false;	/* others wait for its end: for their commit, or for their turn */
static TimestampTz entered_at = 0;
static bool vouched = false;	/* what nobody sees may be repeated */
static bool over = false;		/* nothing may follow it */
static bool unfit = false;		/* it should run alone, and so all of its function */
static volatile sig_atomic_t stopped = false;	/* for the others' sake */
static int	guc_level = 0;
static int	queries = 0;		/* begun and not ended: of a cursor that was left open, or of an error that was caught */

static TimeoutId wait_timeout;
static bool timer_armed = false;

static ProcessUtility_hook_type next_utility_hook = NULL;
static object_access_hook_type next_access_hook = NULL;
static ExecutorStart_hook_type next_start_hook = NULL;
static ExecutorEnd_hook_type next_end_hook = NULL;

/* Functions of the server that wait, act at once on what no rollback undoes, or leave what only a commit clears. */
static const Oid apart[] = {
	F_PG_NOTIFY,
	F_PG_SLEEP, F_PG_SLEEP_FOR, F_PG_SLEEP_UNTIL,
	F_PG_ADVISORY_LOCK_INT8, F_PG_ADVISORY_LOCK_INT4_INT4,
	F_PG_ADVISORY_LOCK_SHARED_INT8, F_PG_ADVISORY_LOCK_SHARED_INT4_INT4,
	F_PG_ADVISORY_XACT_LOCK_INT8, F_PG_ADVISORY_XACT_LOCK_INT4_INT4,
	F_PG_ADVISORY_XACT_LOCK_SHARED_INT8, F_PG_ADVISORY_XACT_LOCK_SHARED_INT4_INT4,
	F_PG_TRY_ADVISORY_LOCK_INT8, F_PG_TRY_ADVISORY_LOCK_INT4_INT4,
	F_PG_TRY_ADVISORY_LOCK_SHARED_INT8, F_PG_TRY_ADVISORY_LOCK_SHARED_INT4_INT4,
	F_PG_TRY_ADVISORY_XACT_LOCK_INT8, F_PG_TRY_ADVISORY_XACT_LOCK_INT4_INT4,
	F_PG_TRY_ADVISORY_XACT_LOCK_SHARED_INT8, F_PG_TRY_ADVISORY_XACT_LOCK_SHARED_INT4_INT4,
	F_PG_ADVISORY_UNLOCK_ALL,
	F_LO_OPEN, F_LO_IMPORT_TEXT, F_LO_IMPORT_TEXT_OID, F_LO_EXPORT,
	F_PG_TERMINATE_BACKEND, F_PG_CANCEL_BACKEND, F_PG_RELOAD_CONF, F_PG_ROTATE_LOGFILE,
	F_PG_SWITCH_WAL, F_PG_CREATE_RESTORE_POINT, F_PG_PROMOTE, F_PG_EXPORT_SNAPSHOT,
	F_PG_CREATE_PHYSICAL_REPLICATION_SLOT, F_PG_CREATE_LOGICAL_REPLICATION_SLOT,
	F_PG_COPY_PHYSICAL_REPLICATION_SLOT_NAME_NAME_BOOL, F_PG_COPY_PHYSICAL_REPLICATION_SLOT_NAME_NAME,
	F_PG_COPY_LOGICAL_REPLICATION_SLOT_NAME_NAME_BOOL_NAME, F_PG_COPY_LOGICAL_REPLICATION_SLOT_NAME_NAME_BOOL,
	F_PG_COPY_LOGICAL_REPLICATION_SLOT_NAME_NAME, F_PG_DROP_REPLICATION_SLOT, F_PG_REPLICATION_SLOT_ADVANCE,
	F_PG_LOGICAL_SLOT_GET_CHANGES, F_PG_LOGICAL_SLOT_GET_BINARY_CHANGES,
	F_PG_REPLICATION_ORIGIN_SESSION_SETUP, F_PG_REPLICATION_ORIGIN_SESSION_RESET,
	F_PG_REPLICATION_ORIGIN_XACT_SETUP, F_PG_REPLICATION_ORIGIN_XACT_RESET, F_PG_REPLICATION_ORIGIN_ADVANCE,
	F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_TEXT_BOOL, F_PG_LOGICAL_EMIT_MESSAGE_BOOL_TEXT_BYTEA_BOOL,
	F_PG_CURRENT_XACT_ID, F_TXID_CURRENT,
	F_PG_CURRENT_XACT_ID_IF_ASSIGNED, F_TXID_CURRENT_IF_ASSIGNED,
};

/* Ours that wait, or stop those who run tasks. */
static const char *const apart_of_ours[] = {"wait", "start", "stop"};

typedef enum Judgement
{
	HARMLESS,
	UNSEEN,						/* apart, unless dbos.alter_function() vouches for who calls it */
	APART
} Judgement;

/* What is known of functions that are not the server's own. */
typedef struct Verdict
{
	Oid			function;
	Judgement	judgement;
	uint64		generation;		/* an older one says nothing */
} Verdict;

static HTAB *verdicts = NULL;
static uint64 generation = 1;

/* ---- what is seen ---- */

/* The member does what no company bears. */
static void
stand_apart(void)
{
	unfit = true;
	over = true;
	if (!awaited)
		return;
	stopped = true;
	ereport(ERROR,
			errcode(ERRCODE_QUERY_CANCELED),
			errmsg("task is to run alone"),
			errdetail("It did what other tasks of its transaction would notice."));
}

static bool
is_apart_by_name(const char *name)
{
	for (int i = 0; i < lengthof(apart_of_ours); i++)
		if (strcmp(name, apart_of_ours[i]) == 0)
			return true;
	return false;
}

/* In languages other than SQL and PL/pgSQL nobody sees what is done; C of ours is known. */
static Judgement
judge(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	Judgement	result;

	if (!HeapTupleIsValid(tuple))
		return HARMLESS;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->prolang == SQLlanguageId || form->prolang == INTERNALlanguageId ||
		form->prolang == get_language_oid("plpgsql", true))
		result = HARMLESS;
	else if (form->pronamespace != dbos_schema_oid(true))
		result = UNSEEN;
	else
		result = is_apart_by_name(NameStr(form->proname)) ? APART : HARMLESS;
	ReleaseSysCache(tuple);
	return result;
}

/* Some function was made, changed or dropped. */
static void
function_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	generation++;
}

static Judgement
judgement_of(Oid function)
{
	Verdict    *verdict;
	uint64		before = generation;

	if (function < FirstGenbkiObjectId)
	{
		for (int i = 0; i < lengthof(apart); i++)
			if (apart[i] == function)
				return APART;
		return HARMLESS;
	}
	verdict = hash_search(verdicts, &function, HASH_FIND, NULL);
	if (verdict != NULL && verdict->generation == generation)
		return verdict->judgement;
	if (verdict == NULL)
		verdict = hash_search(verdicts, &function, HASH_ENTER, NULL);
	verdict->judgement = judge(function);
	/* What changed while it was looked at is looked at again. */
	verdict->generation = before;
	return verdict->judgement;
}

static void
watch_access(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	if (next_access_hook)
		next_access_hook(access, classId, objectId, subId, arg);
	if (inside && access == OAT_FUNCTION_EXECUTE)
	{
		Judgement	judgement = judgement_of(objectId);

		if (judgement == APART || (judgement == UNSEEN && !vouched))
			stand_apart();
	}
}

/* Commands that leave nothing behind, or what settings undo. */
static bool
is_harmless(Node *command)
{
	switch (nodeTag(command))
	{
		case T_VariableSetStmt:
			return ((VariableSetStmt *) command)->kind != VAR_SET_MULTI;
		case T_VariableShowStmt:
		case T_DoStmt:
		case T_CallStmt:
		case T_ExplainStmt:
			return true;
		default:
			return false;
	}
}

static void
watch_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	if (inside && !is_harmless(pstmt->utilityStmt))
		stand_apart();
	if (next_utility_hook)
		next_utility_hook(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

static void
watch_start(QueryDesc *query, int eflags)
{
	if (inside)
	{
		ListCell   *cell;

		foreach(cell, query->plannedstmt->rtable)
			if (lfirst_node(RangeTblEntry, cell)->relkind == RELKIND_FOREIGN_TABLE)
				stand_apart();
		queries++;
	}
	if (next_start_hook)
		next_start_hook(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

static void
watch_end(QueryDesc *query)
{
	if (inside)
		queries--;
	if (next_end_hook)
		next_end_hook(query);
	else
		standard_ExecutorEnd(query);
}

/* ---- waiting ---- */

/* Whether the process has waited for a lock for so long. */
static bool
waits(TimestampTz now)
{
	uint64		since;

	if (MyProc->waitLock == NULL)
		return false;
	since = pg_atomic_read_u64(&MyProc->waitStart);
	return since != 0 && TimestampDifferenceExceeds((TimestampTz) since, now, WAIT_MS);
}

/* In a signal handler. */
static void
look_at_member(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!inside || !awaited ||
		!(waits(now) || TimestampDifferenceExceeds(entered_at, now, RUN_MS)))
		return;
	stopped = true;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/* ---- members ---- */

void
dbos_company_install(void)
{
	HASHCTL		control = {.keysize = sizeof(Oid),.entrysize = sizeof(Verdict)};

	verdicts = hash_create("dbos functions that run alone", 64, &control, HASH_ELEM | HASH_BLOBS);
	CacheRegisterSyscacheCallback(PROCOID, function_changed, (Datum) 0);
	wait_timeout = RegisterTimeout(USER_TIMEOUT, look_at_member);
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
	next_access_hook = object_access_hook;
	object_access_hook = watch_access;
	next_start_hook = ExecutorStart_hook;
	ExecutorStart_hook = watch_start;
	next_end_hook = ExecutorEnd_hook;
	ExecutorEnd_hook = watch_end;
}

void
dbos_company_enter(bool others_wait, bool vouched_for, TimestampTz now)
{
	vouched = vouched_for;
	entered_at = now;
	over = false;
	unfit = false;
	stopped = false;
	awaited = others_wait;
	queries = 0;
	guc_level = NewGUCNestLevel();
	if (awaited && !timer_armed)
	{
		enable_timeout_every(wait_timeout, TimestampTzPlusMilliseconds(now, WAIT_MS), WAIT_MS);
		timer_armed = true;
	}
	inside = true;
}

void
dbos_company_leave(void)
{
	AfterTriggerFireDeferred();
	inside = false;
	AtEOXact_GUC(false, guc_level);
	ResetSequenceCaches();
	if (queries != 0)
		over = true;
	/* It was stopped, and went on. */
	if (stopped)
		ereport(ERROR,
				errcode(ERRCODE_QUERY_CANCELED),
				errmsg("task is to run alone"));
}

void
dbos_company_abandon(void)
{
	inside = false;
}

/* Nothing runs any more, for a while. */
void
dbos_company_rest(void)
{
	if (timer_armed)
		disable_timeout(wait_timeout, false);
	timer_armed = false;
}

bool
dbos_company_over(void)
{
	return over;
}

bool
dbos_company_stopped(void)
{
	return stopped;
}

bool
dbos_company_unfit(void)
{
	return unfit;
}
