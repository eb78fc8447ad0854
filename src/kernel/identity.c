/*
 * identity.c
 *	  A database acts only where it was told to.
 *
 * The table dbos.identity names the server and the database that the tasks
 * belong to.  Dumps carry it: where a dump is restored, its row stands beside (or
 * instead of) that of the new database, and a template copy or a clone by
 * pg_upgrade has the old row alone.  Tasks run only where every row is the
 * database's own, and there is one; dbos.start() takes the database over.
 *
 * CREATE EXTENSION takes the identity, except in a restore (system_functions.c),
 * so that tasks that a parallel restore brings before this table do not run.
 * A dump restored over the very database that it was made from acts at once.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "dbos/kernel.h"

static DbosPlan forget = {
	.sql = "DELETE FROM dbos.identity",
};

static Datum
identity_system(void)
{
	char		text[32];

	snprintf(text, sizeof(text), UINT64_FORMAT, GetSystemIdentifier());
	return CStringGetTextDatum(text);
}

/* Whether this database is the one that its tables belong to; needs a snapshot. */
bool
dbos_identity_matches(void)
{
	static DbosPlan plan = {
		.sql = "SELECT 1 FROM dbos.identity HAVING pg_catalog.bool_and(system_identifier OPERATOR(pg_catalog.=) $1"
		" AND database OPERATOR(pg_catalog.=) $2)",
		.nargs = 2,
		.argtypes = {TEXTOID, OIDOID},
	};
	Datum		values[2] = {identity_system(), ObjectIdGetDatum(MyDatabaseId)};
	DbosOwnerScope scope;
	bool		matches;

	dbos_owner_begin(&scope);
	matches = dbos_plan_execute(&plan, values, NULL, true, 1) > 0;
	dbos_owner_end(&scope);
	return matches;
}

/* Makes this database not act, until dbos_identity_take(). */
void
dbos_identity_forget(void)
{
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&forget, NULL, NULL, false, 0);
	dbos_owner_end(&scope);
}

/* Makes this database the one that its tables belong to, whoever they came from. */
void
dbos_identity_take(void)
{
	static DbosPlan take = {
		.sql = "INSERT INTO dbos.identity (system_identifier, database) VALUES ($1, $2)",
		.nargs = 2,
		.argtypes = {TEXTOID, OIDOID},
	};
	Datum		values[2] = {identity_system(), ObjectIdGetDatum(MyDatabaseId)};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&forget, NULL, NULL, false, 0);
	(void) dbos_plan_execute(&take, values, NULL, false, 0);
	dbos_owner_end(&scope);
}
