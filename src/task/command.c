/*
 * command.c
 *	  SQL text as a task.
 *
 * Text that may run in a transaction block does so, in the task's own.  One
 * statement alone that may not (VACUUM, a procedure that commits) is run as a
 * client's statement is, in transactions that it begins and ends.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "tcop/cmdtag.h"
#include "tcop/dest.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

#include "task.h"

/* DETACH PARTITION CONCURRENTLY: its two steps are two transactions. */
static bool
detaches_concurrently(AlterTableStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->cmds)
	{
		AlterTableCmd *step = lfirst_node(AlterTableCmd, cell);

		if (step->subtype == AT_DetachPartition && castNode(PartitionCmd, step->def)->concurrent)
			return true;
	}
	return false;
}

/* Whether a statement must not, or may not want to, run in a transaction block. */
static bool
wants_no_block(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_VacuumStmt:
			return ((VacuumStmt *) statement)->is_vacuumcmd;
		case T_CallStmt:
		case T_DoStmt:
		case T_CreatedbStmt:
		case T_DropdbStmt:
		case T_AlterDatabaseStmt:
		case T_AlterSystemStmt:
		case T_CreateTableSpaceStmt:
		case T_DropTableSpaceStmt:
			return true;
			/* Of a partitioned table these commit between partitions; of another they gain nothing by a block. */
		case T_ClusterStmt:
		case T_ReindexStmt:
			return true;
		case T_AlterTableStmt:
			return detaches_concurrently((AlterTableStmt *) statement);
		case T_IndexStmt:
			return ((IndexStmt *) statement)->concurrent;
		case T_DropStmt:
			return ((DropStmt *) statement)->concurrent;
		default:
			return false;
	}
}

bool
dbos_command_is_transactional(const char *command)
{
	List	   *statements = pg_parse_query(command);
	ListCell   *cell;

	foreach(cell, statements)
	{
		Node	   *statement = lfirst_node(RawStmt, cell)->stmt;

		if (IsA(statement, TransactionStmt))
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("a task cannot begin or end transactions by SQL text"),
					errhint("Put the statements into a procedure and submit its CALL."));
		if (IsA(statement, CopyStmt) && ((CopyStmt *) statement)->filename == NULL)
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("a task has no client to COPY from or to"),
					errhint("Use a file or a program on the server, or INSERT."));
	}
	return !(list_length(statements) == 1 &&
			 wants_no_block(linitial_node(RawStmt, statements)->stmt));
}

/* The text of a top-level member of a document, palloc'd; NULL when there is none. */
char *
dbos_json_text_member(Jsonb *json, const char *name)
{
	JsonbValue	key;
	JsonbValue *value;

	if (!JB_ROOT_IS_OBJECT(json))
		return NULL;
	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	value = findJsonbValueFromContainer(&json->root, JB_FOBJECT, &key);
	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* {"command": tag, "rows": n} */
static Jsonb *
command_result(const char *tag, int64 rows)
{
	JsonbParseState *state = NULL;
	JsonbValue	item;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	item.type = jbvString;
	item.val.string.val = "command";
	item.val.string.len = strlen("command");
	pushJsonbValue(&state, WJB_KEY, &item);
	item.val.string.val = pstrdup(tag);
	item.val.string.len = strlen(tag);
	pushJsonbValue(&state, WJB_VALUE, &item);
	item.val.string.val = "rows";
	item.val.string.len = strlen("rows");
	pushJsonbValue(&state, WJB_KEY, &item);
	item.type = jbvNumeric;
	item.val.numeric = DatumGetNumeric(DirectFunctionCall1(int8_numeric, Int64GetDatum(rows)));
	pushJsonbValue(&state, WJB_VALUE, &item);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Every statement of the text in the current transaction. */
static Jsonb *
execute_in_block(const char *command, int64 *rows)
{
	List	   *statements = pg_parse_query(command);
	SPIExecuteOptions options = {0};
	const char *tag = "";
	int			rc;

	if (statements != NIL)
		tag = GetCommandTagName(CreateCommandTag(llast_node(RawStmt, statements)->stmt));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	/* The rows are counted, not kept: nobody reads them, and they may not fit. */
	options.dest = None_Receiver;
	rc = SPI_execute_extended(command, &options);
	if (rc < 0)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("could not execute the SQL text of the task: %s", SPI_result_code_string(rc)));
	*rows = SPI_processed;
	SPI_finish();
	return command_result(tag, *rows);
}

/* One statement as a client's, in transactions of its own. */
static Jsonb *
execute_alone(const char *command, int64 *rows)
{
	MemoryContext caller = CurrentMemoryContext;
	RawStmt    *statement;
	CommandTag	tag;
	QueryCompletion completion;
	Portal		portal;
	List	   *plans;
	bool		snapshot;

	StartTransactionCommand();
	MemoryContextSwitchTo(caller);
	statement = linitial_node(RawStmt, pg_parse_query(command));
	tag = CreateCommandTag(statement->stmt);
	snapshot = analyze_requires_snapshot(statement);
	if (snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	plans = pg_plan_queries(pg_analyze_and_rewrite_fixedparams(statement, command, NULL, 0, NULL),
							command, CURSOR_OPT_PARALLEL_OK, NULL);
	if (snapshot)
		PopActiveSnapshot();
	portal = CreatePortal("", true, true);
	portal->visible = false;
	PortalDefineQuery(portal, NULL, command, tag, plans, NULL);
	PortalStart(portal, NULL, 0, InvalidSnapshot);
	InitializeQueryCompletion(&completion);
	(void) dbos_portal_run(portal, None_Receiver, &completion);
	PortalDrop(portal, false);
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
	*rows = completion.commandTag == CMDTAG_UNKNOWN ? 0 : completion.nprocessed;
	return command_result(GetCommandTagName(tag), *rows);
}

/*
 * Runs the text; the result is allocated in the current memory context.  With
 * own_transactions there must be no transaction, and there is none afterwards.
 */
Jsonb *
dbos_command_execute(const char *command, bool own_transactions, int64 *rows)
{
	return own_transactions ? execute_alone(command, rows) : execute_in_block(command, rows);
}
