/*
 * function_option.c
 *	  dbos.alter_function(): what its owner says of a function that runs as tasks.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

#include "function_habit.h"
#include "task.h"

PG_FUNCTION_INFO_V1(dbos_alter_function);

/* Raises 42883 or 42725. */
static Oid
function_named(const char *name)
{
	if (strchr(name, '(') != NULL)
		return DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(name)));
	return DatumGetObjectId(DirectFunctionCall1(regprocin, CStringGetDatum(name)));
}

/* What is not said stays as it was; when nothing is, all is forgotten. */
static void
write_options(const char *identity, FunctionCallInfo fcinfo)
{
	static DbosPlan keep = {
		.sql = "INSERT INTO dbos.function_option AS o (function, batch, idempotent) VALUES ($1, $2, $3)"
		" ON CONFLICT (function) DO UPDATE SET batch = COALESCE(EXCLUDED.batch, o.batch),"
		" idempotent = COALESCE(EXCLUDED.idempotent, o.idempotent)",
		.nargs = 3,
		.argtypes = {TEXTOID, BOOLOID, BOOLOID},
	};
	static DbosPlan forget = {
		.sql = "DELETE FROM dbos.function_option WHERE function OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID},
	};
	Datum		values[3] = {CStringGetTextDatum(identity), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};
	char		nulls[3] = {' ', PG_ARGISNULL(1) ? 'n' : ' ', PG_ARGISNULL(2) ? 'n' : ' '};
	bool		told = !PG_ARGISNULL(1) || !PG_ARGISNULL(2);
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(told ? &keep : &forget, values, told ? nulls : NULL, false, 0);
	dbos_owner_end(&scope);
	dbos_function_options_changed();
}

Datum
dbos_alter_function(PG_FUNCTION_ARGS)
{
	Oid			function;

	dbos_require_same_version();
	PreventCommandIfReadOnly("dbos.alter_function()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("function must not be null"));
	function = function_named(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (!OidIsValid(function))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("function \"%s\" does not exist", text_to_cstring(PG_GETARG_TEXT_PP(0))));
	if (!dbos_function_owned(function, GetUserId()) && !dbos_is_admin(GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_FUNCTION, get_func_name(function));
	write_options(format_procedure_qualified(function), fcinfo);
	PG_RETURN_VOID();
}
