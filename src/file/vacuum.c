/*
 * vacuum.c
 *	  VACUUM of one of our tables, in a process of ours.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "nodes/makefuncs.h"
#include "parser/parse_node.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/portal.h"

#include "reuse.h"

/* Said before, since a vacuum that is skipped is a warning. */
static bool
can_be_locked(const char *relation)
{
	Oid			oid = dbos_relation_oid(relation);

	if (!ConditionalLockRelationOid(oid, ShareUpdateExclusiveLock))
		return false;
	UnlockRelationOid(oid, ShareUpdateExclusiveLock);
	return true;
}

/*
 * Commits the transaction that it is called in, which holds nothing but a snapshot, and leaves another one in its
 * place.  Where somebody else vacuums the table or has it locked, nothing is done.  With truncate the end of the
 * table is given back, for which others may be waited for.
 */
void
dbos_vacuum(const char *relation, bool truncate)
{
	static MemoryContext context = NULL;	/* outlives the transactions of the vacuum */
	MemoryContext portal = PortalContext;
	VacuumStmt *statement;

	if (!can_be_locked(relation))
		return;
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "dbos vacuum", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(context);
	MemoryContextSwitchTo(context);
	statement = makeNode(VacuumStmt);
	statement->options = list_make3(makeDefElem("skip_locked", NULL, -1),
									makeDefElem("truncate", (Node *) makeString(truncate ? "true" : "false"), -1),
									makeDefElem("index_cleanup", (Node *) makeString("on"), -1));
	statement->rels = list_make1(makeVacuumRelation(makeRangeVar("dbos", pstrdup(relation), -1), InvalidOid, NIL));
	statement->is_vacuumcmd = true;
	PG_TRY();
	{
		PortalContext = context;
		ExecVacuum(make_parsestate(NULL), statement, true);
	}
	PG_FINALLY();
	{
		PortalContext = portal;
	}
	PG_END_TRY();
}
