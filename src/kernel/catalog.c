/*
 * catalog.c
 *	  OIDs of our own objects, cached and invalidated, and who is who.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "dbos/kernel.h"

#define DBOS_RELATION_CACHE 64

typedef struct CachedRelation
{
	const char *name;			/* a literal of the caller's: compared by address first */
	Oid			oid;
} CachedRelation;

static CachedRelation relations[DBOS_RELATION_CACHE];
static int	nrelations = 0;
static Oid	owner_oid = InvalidOid;
static Oid	schema_oid = InvalidOid;
static bool version_checked = false;
static bool callbacks_registered = false;

static void
catalog_forget_syscache(Datum arg, int cacheid, uint32 hashvalue)
{
	owner_oid = InvalidOid;
	schema_oid = InvalidOid;
	version_checked = false;
	nrelations = 0;
}

static void
catalog_forget_relation(Datum arg, Oid relid)
{
	if (relid == InvalidOid)
	{
		nrelations = 0;
		return;
	}
	for (int i = 0; i < nrelations; i++)
		if (relations[i].oid == relid)
		{
			nrelations = 0;
			return;
		}
}

static void
catalog_register_callbacks(void)
{
	if (callbacks_registered)
		return;
	CacheRegisterSyscacheCallback(AUTHOID, catalog_forget_syscache, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, catalog_forget_syscache, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, catalog_forget_syscache, (Datum) 0);
	CacheRegisterRelcacheCallback(catalog_forget_relation, (Datum) 0);
	callbacks_registered = true;
}

Oid
dbos_schema_oid(bool missing_ok)
{
	catalog_register_callbacks();
	if (!OidIsValid(schema_oid))
		schema_oid = get_namespace_oid("dbos", true);
	if (!OidIsValid(schema_oid) && !missing_ok)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("extension \"dbos\" is not installed in this database"),
				errhint("Use CREATE EXTENSION dbos."));
	return schema_oid;
}

Oid
dbos_owner_oid(void)
{
	catalog_register_callbacks();
	if (!OidIsValid(owner_oid))
		owner_oid = get_role_oid("dbos_owner", false);
	return owner_oid;
}

Oid
dbos_role_oid(const char *name, bool missing_ok)
{
	return get_role_oid(name, missing_ok);
}

/* The relation of schema dbos with this name, which must be a string literal. */
Oid
dbos_relation_oid(const char *name)
{
	Oid			oid;

	for (int i = 0; i < nrelations; i++)
		if (relations[i].name == name || strcmp(relations[i].name, name) == 0)
			return relations[i].oid;
	oid = get_relname_relid(name, dbos_schema_oid(false));
	if (!OidIsValid(oid))
		elog(ERROR, "relation \"dbos.%s\" is missing", name);
	if (nrelations < DBOS_RELATION_CACHE)
	{
		relations[nrelations].name = name;
		relations[nrelations].oid = oid;
		nrelations++;
	}
	return oid;
}

static bool
member_of(Oid role, const char *name)
{
	Oid			group = get_role_oid(name, true);

	return OidIsValid(group) && has_privs_of_role(role, group);
}

bool
dbos_is_admin(Oid role)
{
	return superuser_arg(role) || member_of(role, "dbos_admin");
}

bool
dbos_is_monitor(Oid role)
{
	return dbos_is_admin(role) || member_of(role, "dbos_monitor");
}

/*
 * Whether this database has the extension: nobody but a superuser can make a
 * schema that dbos_owner owns, so its schema tells.
 */
bool
dbos_extension_present(void)
{
	HeapTuple	tuple;
	bool		present;
	Oid			owner = get_role_oid("dbos_owner", true);

	if (!OidIsValid(owner) || !OidIsValid(dbos_schema_oid(true)))
		return false;
	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema_oid));
	if (!HeapTupleIsValid(tuple))
		return false;
	present = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner == owner;
	ReleaseSysCache(tuple);
	return present;
}

/* The version of the installed SQL objects, palloc'd; NULL when missing_ok and there are none. */
char *
dbos_sql_version(bool missing_ok)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("dbos"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_pg_extension_extversion,
										 RelationGetDescr(rel), &isnull);

		version = TextDatumGetCString(value);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (version == NULL && !missing_ok)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("extension \"dbos\" is not installed in this database"),
				errhint("Use CREATE EXTENSION dbos."));
	return version;
}

/* Raises when library and SQL objects are of different versions. */
void
dbos_require_same_version(void)
{
	char	   *version;

	if (version_checked)
		return;
	catalog_register_callbacks();
	version = dbos_sql_version(false);
	if (strcmp(version, DBOS_VERSION) != 0)
		ereport(ERROR,
				errcode(ERRCODE_DBOS_VERSION_MISMATCH),
				errmsg("the dbos library is version %s, its objects in this database are version %s",
					   DBOS_VERSION, version),
				errhint("Use ALTER EXTENSION dbos UPDATE."));
	pfree(version);
	version_checked = true;
}
