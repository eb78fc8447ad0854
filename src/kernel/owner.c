/*
 * owner.c
 *	  Bookkeeping on our own tables, as dbos_owner.
 *
 * A user's session changes our tables only through C that is here: the current
 * user becomes dbos_owner in a security-restricted operation, search_path is
 * pinned, row-level security does not apply to the owner (no forced policies), and
 * only kept plans with parameters run.  On error
 * the abort of the (sub)transaction restores user and settings, as it does for
 * a SECURITY DEFINER function.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"

#include "dbos/kernel.h"

/*
 * Our tables change their size by orders of magnitude while a plan is kept, and
 * statistics tell of any moment but now: a plan made while a queue was empty must
 * be right for millions of rows.  So every statement is written for one index,
 * planned once, and never compiled.
 */
static void
pin_planner(void)
{
	static const char *const pins[][2] = {
		{"enable_seqscan", "off"},
		{"plan_cache_mode", "force_generic_plan"},
		{"jit", "off"},
	};

	for (int i = 0; i < lengthof(pins); i++)
		(void) set_config_option(pins[i][0], pins[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

void
dbos_owner_begin(DbosOwnerScope *scope)
{
	Oid			owner = dbos_owner_oid();

	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	SetUserIdAndSecContext(owner,
						   scope->security_context |
						   SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION |
						   SECURITY_NOFORCE_RLS);
	scope->guc_nest_level = NewGUCNestLevel();
	RestrictSearchPath();
	pin_planner();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

void
dbos_owner_end(DbosOwnerScope *scope)
{
	SPI_finish();
	AtEOXact_GUC(false, scope->guc_nest_level);
	SetUserIdAndSecContext(scope->user, scope->security_context);
}

uint64
dbos_plan_execute(DbosPlan *plan, Datum *values, const char *nulls,
				  bool read_only, long limit)
{
	int			rc;

	if (plan->plan == NULL)
	{
		SPIPlanPtr	prepared = SPI_prepare(plan->sql, plan->nargs, plan->argtypes);

		if (prepared == NULL)
			elog(ERROR, "could not prepare \"%s\": %s", plan->sql,
				 SPI_result_code_string(SPI_result));
		if (SPI_keepplan(prepared) != 0)
			elog(ERROR, "could not keep plan of \"%s\"", plan->sql);
		plan->plan = prepared;
	}
	rc = SPI_execute_plan(plan->plan, values, nulls, read_only, limit);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", plan->sql, SPI_result_code_string(rc));
	return SPI_processed;
}
