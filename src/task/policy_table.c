/*
 * policy_table.c
 *	  Policies as rows: made, changed and dropped by dbos_admin, while tasks wait.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "task.h"

PG_FUNCTION_INFO_V1(dbos_create_policy);
PG_FUNCTION_INFO_V1(dbos_alter_policy);
PG_FUNCTION_INFO_V1(dbos_drop_policy);

bool
dbos_policy_exists(const char *name)
{
	static DbosPlan plan = {
		.sql = "SELECT FROM dbos.policy WHERE name OPERATOR(pg_catalog.=) $1 FOR KEY SHARE",
		.nargs = 1,
		.argtypes = {TEXTOID},
	};
	Datum		value = CStringGetTextDatum(name);
	DbosOwnerScope scope;
	bool		found;

	dbos_owner_begin(&scope);
	found = dbos_plan_execute(&plan, &value, NULL, false, 1) > 0;
	dbos_owner_end(&scope);
	return found;
}

/* The name in the first argument, after what all commands here refuse. */
static char *
policy_argument(FunctionCallInfo fcinfo, const char *command, const char *function)
{
	PreventCommandDuringRecovery(command);
	PreventCommandIfReadOnly(command);
	dbos_require_same_version();
	if (!dbos_is_admin(GetUserId()))
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied for function %s", function),
				errhint("Members of dbos_admin may call it."));
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("name of a policy must not be null"));
	return text_to_cstring(PG_GETARG_TEXT_PP(0));
}

static char *
order_argument(FunctionCallInfo fcinfo)
{
	char	   *order_by;
	char	   *problem;
	DbosPolicy	policy;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("order of a policy must not be null"));
	order_by = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (strlen(order_by) > DBOS_POLICY_LENGTH)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("order of a policy must be at most %d bytes", DBOS_POLICY_LENGTH));
	if (!dbos_policy_parse(order_by, &policy, &problem))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid order of a policy: \"%s\"", order_by),
				errdetail("%s", problem),
				errhint("Keys are priority, submitted_at, run_at, deadline, expected_runtime, attempt and partition_share, as in 'priority, partition_share, expected_runtime ageing 10'."));
	return order_by;
}

/* What comes with the extension is the same everywhere, and in no dump. */
static void
refuse_built_in(const char *name)
{
	static DbosPlan plan = {
		.sql = "SELECT FROM dbos.policy WHERE name OPERATOR(pg_catalog.=) $1 AND built_in",
		.nargs = 1,
		.argtypes = {TEXTOID},
	};
	Datum		value = CStringGetTextDatum(name);

	if (dbos_plan_execute(&plan, &value, NULL, false, 1) > 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("policy \"%s\" is built in", name),
				errhint("Make another one with dbos.create_policy(), and give it to a queue with dbos.alter_queue()."));
}

static void
policy_unknown(const char *name)
{
	ereport(ERROR,
			errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("policy \"%s\" does not exist", name),
			errhint("SELECT dbos.create_policy(%s, 'priority, submitted_at') makes it.", quote_literal_cstr(name)));
}

/* dbos.create_policy(name, order_by): void.  Raises on a bad text or a taken name. */
Datum
dbos_create_policy(PG_FUNCTION_ARGS)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.policy (name, order_by) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
		.nargs = 2,
		.argtypes = {TEXTOID, TEXTOID},
	};
	char	   *name = policy_argument(fcinfo, "dbos.create_policy()", "create_policy");
	Datum		values[2] = {CStringGetTextDatum(name), CStringGetTextDatum(order_argument(fcinfo))};
	DbosOwnerScope scope;
	bool		made;

	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_NAME),
				errmsg("invalid name of a policy: \"%s\"", name),
				errdetail("A name has 1 to %d bytes.", NAMEDATALEN - 1));
	dbos_owner_begin(&scope);
	made = dbos_plan_execute(&plan, values, NULL, false, 0) > 0;
	dbos_owner_end(&scope);
	if (!made)
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("policy \"%s\" already exists", name),
				errhint("Use dbos.alter_policy() to change it."));
	PG_RETURN_VOID();
}

/* dbos.alter_policy(name, order_by): void.  Its queues are ordered by it from the commit on. */
Datum
dbos_alter_policy(PG_FUNCTION_ARGS)
{
	static DbosPlan plan = {
		.sql = "UPDATE dbos.policy SET order_by = $2 WHERE name OPERATOR(pg_catalog.=) $1",
		.nargs = 2,
		.argtypes = {TEXTOID, TEXTOID},
	};
	char	   *name = policy_argument(fcinfo, "dbos.alter_policy()", "alter_policy");
	Datum		values[2] = {CStringGetTextDatum(name), CStringGetTextDatum(order_argument(fcinfo))};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	refuse_built_in(name);
	if (dbos_plan_execute(&plan, values, NULL, false, 0) == 0)
		policy_unknown(name);
	dbos_queues_of_policy_changed(name);
	dbos_owner_end(&scope);
	PG_RETURN_VOID();
}

/* dbos.drop_policy(name): void.  Raises 2BP01 while a queue has it. */
Datum
dbos_drop_policy(PG_FUNCTION_ARGS)
{
	/* Who makes a queue of it, and has not committed that, is waited for. */
	static DbosPlan lock = {
		.sql = "SELECT FROM dbos.policy WHERE name OPERATOR(pg_catalog.=) $1 FOR UPDATE",
		.nargs = 1,
		.argtypes = {TEXTOID},
	};
	static DbosPlan used = {
		.sql = "SELECT name FROM dbos.queue WHERE policy OPERATOR(pg_catalog.=) $1 ORDER BY name LIMIT 1",
		.nargs = 1,
		.argtypes = {TEXTOID},
	};
	static DbosPlan plan = {
		.sql = "DELETE FROM dbos.policy WHERE name OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID},
	};
	char	   *name = policy_argument(fcinfo, "dbos.drop_policy()", "drop_policy");
	Datum		value = CStringGetTextDatum(name);
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	refuse_built_in(name);
	(void) dbos_plan_execute(&lock, &value, NULL, false, 0);
	if (dbos_plan_execute(&used, &value, NULL, false, 1) > 0)
		ereport(ERROR,
				errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				errmsg("cannot drop policy \"%s\"", name),
				errdetail("It is that of queue \"%s\".", SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)),
				errhint("Give the queue another one with dbos.alter_queue()."));
	if (dbos_plan_execute(&plan, &value, NULL, false, 0) == 0)
		policy_unknown(name);
	dbos_owner_end(&scope);
	PG_RETURN_VOID();
}
