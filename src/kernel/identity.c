/*
 * identity.c
 *	  A database acts only where it was told to.
 *
 * The one-row table dbos.identity, which no dump carries, names the server and
 * the database that its tasks belong to.  A restore has no row, a template copy
 * or a clone by pg_upgrade another one: there workers stay off until
 * dbos.start() takes the database over.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "dbos/kernel.h"

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
		.sql = "SELECT 1 FROM dbos.identity WHERE system_identifier OPERATOR(pg_catalog.=) $1"
		" AND database OPERATOR(pg_catalog.=) $2",
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

void
dbos_identity_take(void)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.identity (only_row, system_identifier, database) VALUES (true, $1, $2)"
		" ON CONFLICT (only_row) DO UPDATE SET system_identifier = excluded.system_identifier,"
		" database = excluded.database",
		.nargs = 2,
		.argtypes = {TEXTOID, OIDOID},
	};
	Datum		values[2] = {identity_system(), ObjectIdGetDatum(MyDatabaseId)};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
	dbos_owner_end(&scope);
}
