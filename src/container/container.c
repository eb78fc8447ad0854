/*
 * container.c
 *	  Containers: made, entered, dropped, and asked who is inside whom.
 *
 * A container is a row of dbos.container with a parent; 0 is the root and has no
 * row.  A session goes inwards only: from the container that it is in to one
 * inside it, when its current role is a member of the role that made that one.
 *
 * A row's id and parent never change and ids are not used twice, so what the
 * cache here holds stays true for as long as the table lives; that a container
 * is missing is never cached.  The cache goes with the table's relcache entry
 * (DROP EXTENSION, CREATE EXTENSION).
 *
 * Locks: who puts anything into a container holds its row FOR KEY SHARE
 * (dbos_container_hold); a drop holds it FOR UPDATE and then asks every room.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "dbos/container.h"
#include "dbos/kernel.h"

PG_FUNCTION_INFO_V1(dbos_create_container);
PG_FUNCTION_INFO_V1(dbos_enter_container);
PG_FUNCTION_INFO_V1(dbos_drop_container);
PG_FUNCTION_INFO_V1(dbos_current_container);
PG_FUNCTION_INFO_V1(dbos_container_path);
PG_FUNCTION_INFO_V1(dbos_in_container);
PG_FUNCTION_INFO_V1(dbos_container_contains_sql);

#define MAX_CONTAINER_USERS 16
/* A tree deeper than this is refused, so that every walk ends soon. */
#define MAX_CONTAINER_DEPTH 32

typedef struct CachedContainer
{
	int32		id;				/* key */
	int32		parent;
	char		name[NAMEDATALEN];
} CachedContainer;

typedef struct ContainerUser
{
	const char *room;
	bool		(*uses) (int32 container);
} ContainerUser;

static HTAB *cache = NULL;
static Oid	cached_relation = InvalidOid;
static bool callback_registered = false;
static ContainerUser users[MAX_CONTAINER_USERS];
static int	nusers = 0;

/* ---- the tree ---- */

static void
container_forget(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	CachedContainer *entry;

	if (cache == NULL || (relid != InvalidOid && relid != cached_relation))
		return;
	hash_seq_init(&status, cache);
	while ((entry = hash_seq_search(&status)) != NULL)
		(void) hash_search(cache, &entry->id, HASH_REMOVE, NULL);
	cached_relation = InvalidOid;
}

static void
container_cache_prepare(void)
{
	if (cache == NULL)
	{
		HASHCTL		control = {
			.keysize = sizeof(int32),
			.entrysize = sizeof(CachedContainer),
			.hcxt = TopMemoryContext,
		};

		cache = hash_create("dbos containers", 64, &control,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	if (!callback_registered)
	{
		CacheRegisterRelcacheCallback(container_forget, (Datum) 0);
		callback_registered = true;
	}
}

/*
 * Name and parent of a container; false when the statement's snapshot has none.
 * They are copied out, since an invalidation may empty the cache at any time.
 */
static bool
container_lookup(int32 id, CachedContainer *found)
{
	static DbosPlan plan = {
		.sql = "SELECT parent_id, name FROM dbos.container WHERE container_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT4OID},
	};
	Datum		value = Int32GetDatum(id);
	DbosOwnerScope scope;
	CachedContainer *entry;
	bool		there;

	container_cache_prepare();
	entry = hash_search(cache, &id, HASH_FIND, NULL);
	if (entry != NULL)
	{
		*found = *entry;
		return true;
	}

	memset(found, 0, sizeof(*found));
	found->id = id;
	dbos_owner_begin(&scope);
	there = dbos_plan_execute(&plan, &value, NULL, true, 1) > 0;
	if (there)
	{
		bool		isnull;
		HeapTuple	tuple = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *name = TextDatumGetCString(SPI_getbinval(tuple, desc, 2, &isnull));

		found->parent = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull));
		strlcpy(found->name, name, NAMEDATALEN);
	}
	dbos_owner_end(&scope);
	if (!there)
		return false;

	cached_relation = dbos_relation_oid("container");
	entry = hash_search(cache, &id, HASH_ENTER, NULL);
	*entry = *found;
	return true;
}

bool
dbos_container_contains(int32 outer, int32 inner)
{
	CachedContainer container;

	if (outer == DBOS_ROOT_CONTAINER || outer == inner)
		return true;
	for (int depth = 0; depth <= MAX_CONTAINER_DEPTH; depth++)
	{
		if (inner == DBOS_ROOT_CONTAINER || !container_lookup(inner, &container))
			return false;
		inner = container.parent;
		if (inner == outer)
			return true;
	}
	return false;
}

/* The path of a container from the root, "/a/b", palloc'd; NULL when it is gone. */
static char *
container_path(int32 id)
{
	char	   *path = pstrdup("");
	CachedContainer container;

	if (id == DBOS_ROOT_CONTAINER)
		return pstrdup("/");
	for (int depth = 0; id != DBOS_ROOT_CONTAINER && depth <= MAX_CONTAINER_DEPTH; depth++)
	{
		if (!container_lookup(id, &container))
			return NULL;
		path = psprintf("/%s%s", container.name, path);
		id = container.parent;
	}
	return path;
}

static int
container_depth(int32 id)
{
	int			depth = 0;
	CachedContainer container;

	while (id != DBOS_ROOT_CONTAINER && container_lookup(id, &container))
	{
		id = container.parent;
		depth++;
	}
	return depth;
}

/* ---- names ---- */

/* The child of that name, with its owner; false when there is none. */
static bool
container_child(int32 parent, const char *name, int32 *id, Oid *owner)
{
	static DbosPlan plan = {
		.sql = "SELECT container_id, owner FROM dbos.container"
		" WHERE parent_id OPERATOR(pg_catalog.=) $1 AND name OPERATOR(pg_catalog.=) $2",
		.nargs = 2,
		.argtypes = {INT4OID, TEXTOID},
	};
	Datum		values[2] = {Int32GetDatum(parent), CStringGetTextDatum(name)};
	DbosOwnerScope scope;
	bool		found;

	dbos_owner_begin(&scope);
	/* Not read-only: it must see what this very statement's caller has just made. */
	found = dbos_plan_execute(&plan, values, NULL, false, 1) > 0;
	if (found)
	{
		bool		isnull;

		*id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		*owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	}
	dbos_owner_end(&scope);
	return found;
}

static void
container_missing(const char *path)
{
	ereport(ERROR,
			errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("container \"%s\" does not exist", path),
			errdetail("Names are looked up inside the container that the session is in."),
			errhint("SELECT path FROM dbos.containers lists them; SELECT dbos.create_container(%s) makes one.",
					quote_literal_cstr(path)));
}

/*
 * Finds a container by its path: from the current container, or from the root
 * when it begins with a slash.  What is not inside the current container does not
 * exist for its sessions.  Raises when there is none.
 */
static int32
container_resolve(const char *path, Oid *owner)
{
	int32		here = dbos_context_container();
	int32		id = path[0] == '/' ? DBOS_ROOT_CONTAINER : here;
	char	   *rest = pstrdup(path[0] == '/' ? path + 1 : path);
	char	   *name;
	int			depth = 0;

	*owner = InvalidOid;
	while ((name = strsep(&rest, "/")) != NULL)
	{
		if (++depth > MAX_CONTAINER_DEPTH || name[0] == '\0' ||
			!container_child(id, name, &id, owner))
			container_missing(path);
	}
	if (id == here || !dbos_container_contains(here, id))
		container_missing(path);
	return id;
}

/* Raises unless the current role may act in the container that owner made. */
static void
container_require_member(const char *path, Oid owner)
{
	Oid			user = GetUserId();

	if (is_member_of_role(user, owner) || dbos_is_admin(user))
		return;
	ereport(ERROR,
			errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("permission denied for container \"%s\"", path),
			errdetail("It needs membership in role \"%s\", which made it.",
					  GetUserNameFromId(owner, true) ? GetUserNameFromId(owner, true) : "(dropped)"));
}

static void
container_check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) >= NAMEDATALEN || strchr(name, '/') != NULL ||
		strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_NAME),
				errmsg("invalid name of a container: \"%s\"", name),
				errdetail("A name has 1 to %d bytes and no slash.", NAMEDATALEN - 1),
				errhint("The container that it is made in is the second argument: dbos.create_container('name', parent => 'a/b')."));
	for (const char *at = name; *at; at++)
		if ((unsigned char) *at < ' ' || *at == 0x7f)
			ereport(ERROR,
					errcode(ERRCODE_INVALID_NAME),
					errmsg("name of a container holds a control character"));
}

/* ---- use ---- */

void
dbos_container_register_user(const char *room, bool (*uses) (int32 container))
{
	if (nusers >= MAX_CONTAINER_USERS)
		elog(ERROR, "too many rooms use containers");
	users[nusers].room = room;
	users[nusers].uses = uses;
	nusers++;
}

bool
dbos_container_found(DbosPlan *plan, int32 container)
{
	Datum		value = Int32GetDatum(container);
	DbosOwnerScope scope;
	bool		found;

	dbos_owner_begin(&scope);
	found = dbos_plan_execute(plan, &value, NULL, true, 1) > 0;
	dbos_owner_end(&scope);
	return found;
}

void
dbos_container_hold(int32 container)
{
	static DbosPlan plan = {
		.sql = "SELECT 1 FROM dbos.container WHERE container_id OPERATOR(pg_catalog.=) $1 FOR KEY SHARE",
		.nargs = 1,
		.argtypes = {INT4OID},
	};
	Datum		value = Int32GetDatum(container);
	DbosOwnerScope scope;
	bool		there;

	if (container == DBOS_ROOT_CONTAINER)
		return;
	dbos_owner_begin(&scope);
	there = dbos_plan_execute(&plan, &value, NULL, false, 1) > 0;
	dbos_owner_end(&scope);
	if (!there)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("the container of this session was dropped"),
				errhint("Connect again, or enter another container in a new session."));
}

/* dbos.create_container(name, parent): void.  Raises on a bad or taken name, or without rights in parent. */
Datum
dbos_create_container(PG_FUNCTION_ARGS)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.container (parent_id, name, owner) VALUES ($1, $2, $3)"
		" ON CONFLICT (parent_id, name) DO NOTHING",
		.nargs = 3,
		.argtypes = {INT4OID, TEXTOID, REGROLEOID},
	};
	char	   *name;
	int32		parent = dbos_context_container();
	Datum		values[3];
	DbosOwnerScope scope;
	bool		made;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("name of a container must not be null"));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	container_check_name(name);
	dbos_require_same_version();
	if (!PG_ARGISNULL(1))
	{
		char	   *path = text_to_cstring(PG_GETARG_TEXT_PP(1));
		Oid			owner;

		/* The container that the session is in may be named as every view shows it. */
		if (strcmp(path, container_path(parent) ? container_path(parent) : "") != 0)
		{
			parent = container_resolve(path, &owner);
			container_require_member(path, owner);
		}
	}
	dbos_container_hold(parent);
	if (container_depth(parent) >= MAX_CONTAINER_DEPTH)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("containers are nested too deep"),
				errdetail("At most %d levels are allowed.", MAX_CONTAINER_DEPTH));

	values[0] = Int32GetDatum(parent);
	values[1] = CStringGetTextDatum(name);
	values[2] = ObjectIdGetDatum(GetUserId());
	dbos_owner_begin(&scope);
	made = dbos_plan_execute(&plan, values, NULL, false, 0) > 0;
	dbos_owner_end(&scope);
	if (!made)
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("container \"%s\" already exists", name));
	PG_RETURN_VOID();
}

/* dbos.enter_container(name): void.  Undone when the transaction rolls back; there is no way out again. */
Datum
dbos_enter_container(PG_FUNCTION_ARGS)
{
	char	   *path = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			owner;
	int32		id;

	dbos_require_same_version();
	id = container_resolve(path, &owner);
	container_require_member(path, owner);
	dbos_container_hold(id);
	dbos_context_set_container(id);
	PG_RETURN_VOID();
}

/* dbos.drop_container(name): void.  Raises when something is inside. */
Datum
dbos_drop_container(PG_FUNCTION_ARGS)
{
	static DbosPlan lock = {
		.sql = "SELECT 1 FROM dbos.container WHERE container_id OPERATOR(pg_catalog.=) $1 FOR UPDATE",
		.nargs = 1,
		.argtypes = {INT4OID},
	};
	static DbosPlan children = {
		.sql = "SELECT 1 FROM dbos.container WHERE parent_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT4OID},
	};
	static DbosPlan drop = {
		.sql = "DELETE FROM dbos.container WHERE container_id OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {INT4OID},
	};
	char	   *path = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			owner;
	int32		id;
	Datum		value;
	DbosOwnerScope scope;
	bool		parent;

	dbos_require_same_version();
	id = container_resolve(path, &owner);
	container_require_member(path, owner);
	value = Int32GetDatum(id);

	dbos_owner_begin(&scope);
	if (dbos_plan_execute(&lock, &value, NULL, false, 1) == 0)
		container_missing(path);	/* a twin dropped it meanwhile */
	dbos_owner_end(&scope);

	/*
	 * What was put in before the lock was had must be seen, also by a transaction
	 * whose own snapshot is older: read-only plans run under this one.
	 */
	PushActiveSnapshot(GetLatestSnapshot());
	dbos_owner_begin(&scope);
	parent = dbos_plan_execute(&children, &value, NULL, true, 1) > 0;
	dbos_owner_end(&scope);
	if (parent)
		ereport(ERROR,
				errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				errmsg("cannot drop container \"%s\"", path),
				errdetail("Other containers are inside it."),
				errhint("Drop those first."));
	for (int i = 0; i < nusers; i++)
		if (users[i].uses(id))
			ereport(ERROR,
					errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					errmsg("cannot drop container \"%s\"", path),
					errdetail("It still holds objects of the room \"%s\".", users[i].room));
	PopActiveSnapshot();

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&drop, &value, NULL, false, 0);
	dbos_owner_end(&scope);
	PG_RETURN_VOID();
}

/* dbos.current_container(): the path from the root, "/" for the root; NULL when it was dropped. */
Datum
dbos_current_container(PG_FUNCTION_ARGS)
{
	char	   *path = container_path(dbos_context_container());

	if (path == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(path));
}

/* dbos.container_path(container_id): as views show it; NULL for one that the session does not see. */
Datum
dbos_container_path(PG_FUNCTION_ARGS)
{
	int32		id = PG_GETARG_INT32(0);
	char	   *path = NULL;

	if (dbos_container_contains(dbos_context_container(), id))
		path = container_path(id);
	if (path == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(path));
}

/* dbos.in_container(container_id): whether a row of that container is the session's to see. */
Datum
dbos_in_container(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(dbos_container_contains(dbos_context_container(), PG_GETARG_INT32(0)));
}

Datum
dbos_container_contains_sql(PG_FUNCTION_ARGS)
{
	int32		outer = PG_GETARG_INT32(0);

	/* Nothing is told of the tree outside of the current container. */
	PG_RETURN_BOOL(outer == DBOS_ROOT_CONTAINER ||
				   (dbos_container_contains(dbos_context_container(), outer) &&
					dbos_container_contains(outer, PG_GETARG_INT32(1))));
}
