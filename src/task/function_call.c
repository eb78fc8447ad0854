/*
 * function_call.c
 *	  The functions of a session's tasks, resolved once and kept.
 *
 * Submit and run must not read the catalog for every task, so what
 * function_resolve.c finds is kept under what was asked (name, shape of the
 * document, role, search_path), until a catalog invalidation.  No entry is freed
 * before the transaction that could hold a pointer to it has ended, and no more
 * than CACHE_ENTRIES are kept: when a transaction fills the cache, further calls
 * are made in CurrentMemoryContext.
 *
 * What is cached gives nobody a right: an entry is of one role, and the server
 * checks EXECUTE again when the statement runs.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "argument_map.h"
#include "function_call.h"

#define CACHE_ENTRIES	512
#define CACHE_BUCKETS	512
/* A longer search_path is not kept. */
#define PATH_LENGTH		16
/* Nor what was asked for by a longer name. */
#define NAME_LENGTH		1024

typedef enum CallUse
{
	CALL_BY_NAME,
	CALL_BY_IDENTITY
} CallUse;

/* What was asked for. */
typedef struct CallKey
{
	CallUse		use;
	DbosChosenBy chosen_by;
	Oid			role;
	const char *name;
	const DbosShape *shape;		/* NULL when chosen by name alone */
	int			npath;
	Oid			path[PATH_LENGTH];
} CallKey;

typedef struct CallEntry
{
	DbosFunctionCall call;		/* first: a call's address is its entry's */
	struct CallEntry *next;		/* of the bucket, or of the buried */
	MemoryContext context;		/* NULL: not kept, lives with its caller */
	bool		stale;
	bool		converting;		/* its converter is at work, or broke */
	CallUse		use;
	DbosChosenBy chosen_by;
	uint32		hash;
	Oid			role;
	int			npath;
	Oid			path[PATH_LENGTH];
	char	   *name;
	bool		is_array;
	int			keys_length;
	char	   *keys;
	char	   *types;
	int			ntypes;
	uint32	   *type_hashes;	/* of the types whose change makes it stale */
	DbosConverter *converter;
	SPIPlanPtr	plan;
	Oid			plan_user;
} CallEntry;

static MemoryContext cache_context = NULL;
static CallEntry *buckets[CACHE_BUCKETS];
static CallEntry *buried = NULL;
static int	entries = 0;		/* in buckets and buried */
static bool some_stale = false;
static bool transaction_ended = false;
static uint64 invalidations = 0;
static int	conversions = 0;	/* at work, or broken by an error since the last tidying */

/* Any change that can make a name mean something else. */
static void
forget_all(Datum arg, int cacheid, uint32 hashvalue)
{
	invalidations++;
	some_stale = true;
	for (int i = 0; i < CACHE_BUCKETS; i++)
		for (CallEntry *entry = buckets[i]; entry != NULL; entry = entry->next)
			entry->stale = true;
}

/* Every CREATE TEMP TABLE makes types: only those of an entry's parameters matter. */
static void
forget_type(Datum arg, int cacheid, uint32 hashvalue)
{
	if (hashvalue == 0)
	{
		forget_all(arg, cacheid, hashvalue);
		return;
	}
	invalidations++;
	for (int i = 0; i < CACHE_BUCKETS; i++)
		for (CallEntry *entry = buckets[i]; entry != NULL; entry = entry->next)
			for (int t = 0; t < entry->ntypes; t++)
				if (entry->type_hashes[t] == hashvalue)
				{
					entry->stale = true;
					some_stale = true;
				}
}

static void
note_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		transaction_ended = true;
}

static void
cache_create(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "dbos function calls",
												  ALLOCSET_DEFAULT_SIZES);

	CacheRegisterSyscacheCallback(TYPEOID, forget_type, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, forget_all, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_all, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, forget_all, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget_all, (Datum) 0);
	CacheRegisterSyscacheCallback(DATABASEOID, forget_all, (Datum) 0);
	RegisterXactCallback(note_transaction_end, NULL);
	cache_context = context;
}

/* Takes stale entries out of reach; they are freed in a later transaction. */
static void
bury_stale(void)
{
	some_stale = false;
	for (int i = 0; i < CACHE_BUCKETS; i++)
	{
		CallEntry **link = &buckets[i];

		while (*link != NULL)
		{
			CallEntry  *entry = *link;

			if (!entry->stale)
			{
				link = &entry->next;
				continue;
			}
			*link = entry->next;
			entry->next = buried;
			buried = entry;
		}
	}
}

static void
free_buried(void)
{
	while (buried != NULL)
	{
		CallEntry  *entry = buried;

		buried = entry->next;
		entries--;
		if (entry->plan != NULL)
			(void) SPI_freeplan(entry->plan);
		MemoryContextDelete(entry->context);
	}
}

/* No conversion outlives its transaction: what is still marked was left by an error. */
static void
forget_broken(void)
{
	conversions = 0;
	some_stale = true;
	for (int i = 0; i < CACHE_BUCKETS; i++)
		for (CallEntry *entry = buckets[i]; entry != NULL; entry = entry->next)
			entry->stale |= entry->converting;
}

/* Makes room when a transaction begins: nobody holds a call of an earlier one. */
static void
cache_tidy(void)
{
	if (transaction_ended)
	{
		transaction_ended = false;
		if (entries >= CACHE_ENTRIES)
			forget_all((Datum) 0, 0, 0);
		if (conversions > 0)
			forget_broken();
		if (some_stale)
			bury_stale();
		free_buried();
	}
	else if (some_stale)
		bury_stale();
}

static uint32
key_hash(const CallKey *key)
{
	uint32		hash = hash_bytes((const unsigned char *) key->name, strlen(key->name));

	hash = hash_combine(hash, murmurhash32(key->role ^ ((uint32) key->use << 30) ^
										   ((uint32) key->chosen_by << 28)));
	for (int i = 0; i < key->npath; i++)
		hash = hash_combine(hash, murmurhash32(key->path[i]));
	if (key->shape == NULL)
		return hash;
	hash = hash_combine(hash, murmurhash32(key->shape->count * 2 + key->shape->is_array));
	if (key->shape->keys_length > 0)
		hash = hash_combine(hash, hash_bytes((const unsigned char *) key->shape->keys,
											 key->shape->keys_length));
	if (key->chosen_by == DBOS_CHOSEN_BY_TYPES)
		hash = hash_combine(hash, hash_bytes((const unsigned char *) key->shape->types,
											 key->shape->count));
	return hash;
}

static bool
shape_matches(const CallEntry *entry, const CallKey *key)
{
	const DbosShape *shape = key->shape;

	if (key->chosen_by == DBOS_CHOSEN_BY_NAME)
		return true;
	if (entry->is_array != shape->is_array || entry->keys_length != shape->keys_length ||
		memcmp(entry->keys, shape->keys, shape->keys_length) != 0 ||
		strlen(entry->types) != shape->count)
		return false;
	return key->chosen_by == DBOS_CHOSEN_BY_KEYS || strcmp(entry->types, shape->types) == 0;
}

static CallEntry *
cache_find(const CallKey *key, uint32 hash)
{
	for (CallEntry *entry = buckets[hash % CACHE_BUCKETS]; entry != NULL; entry = entry->next)
		if (entry->hash == hash && !entry->stale && !entry->converting &&
			entry->use == key->use && entry->chosen_by == key->chosen_by &&
			entry->role == key->role && entry->npath == key->npath &&
			memcmp(entry->path, key->path, sizeof(Oid) * key->npath) == 0 &&
			strcmp(entry->name, key->name) == 0 && shape_matches(entry, key))
			return entry;
	return NULL;
}

/* Looks for what a document of this shape was resolved to before. */
static CallEntry *
cache_lookup(CallKey *key, const DbosShape *shape)
{
	CallEntry  *entry;

	key->shape = NULL;
	key->chosen_by = DBOS_CHOSEN_BY_NAME;
	entry = cache_find(key, key_hash(key));
	if (entry != NULL || !shape->complete)
		return entry;
	key->shape = shape;
	key->chosen_by = DBOS_CHOSEN_BY_KEYS;
	entry = cache_find(key, key_hash(key));
	if (entry != NULL)
		return entry;
	key->chosen_by = DBOS_CHOSEN_BY_TYPES;
	return cache_find(key, key_hash(key));
}

static void
entry_note_types(CallEntry *entry, const DbosSignature *signature, MemoryContext context)
{
	entry->ntypes = signature->nparameters + 1;
	entry->type_hashes = MemoryContextAlloc(context, sizeof(uint32) * entry->ntypes);
	for (int i = 0; i < signature->nparameters; i++)
		entry->type_hashes[i] = GetSysCacheHashValue1(TYPEOID,
													  ObjectIdGetDatum(signature->parameters[i].type));
	entry->type_hashes[signature->nparameters] =
		GetSysCacheHashValue1(TYPEOID, ObjectIdGetDatum(signature->result));
}

static void
entry_note_shape(CallEntry *entry, const DbosShape *shape, MemoryContext context)
{
	entry->is_array = shape->is_array;
	if (!shape->complete)
		return;
	entry->keys_length = shape->keys_length;
	entry->keys = MemoryContextAlloc(context, shape->keys_length + 1);
	memcpy(entry->keys, shape->keys, shape->keys_length);
	entry->types = MemoryContextStrdup(context, shape->types);
}

/* Makes an entry in context, and what it takes to make it in CurrentMemoryContext. */
static CallEntry *
entry_make(const CallKey *key, const DbosShape *shape, const DbosSignature *signature,
		   const DbosMapping *mapping, MemoryContext context)
{
	CallEntry  *entry = MemoryContextAllocZero(context, sizeof(CallEntry));
	DbosFunctionCall *call = &entry->call;

	entry->use = key->use;
	entry->role = key->role;
	entry->npath = key->npath;
	memcpy(entry->path, key->path, sizeof(Oid) * key->npath);
	entry->name = MemoryContextStrdup(context, key->name);
	entry_note_shape(entry, shape, context);
	call->function = signature->function;
	call->kind = DBOS_CALL_FUNCTION;
	call->identity = MemoryContextStrdup(context, format_procedure_qualified(signature->function));
	call->display = MemoryContextStrdup(context,
										quote_qualified_identifier(signature->schema_name,
																   signature->name));
	call->sql = MemoryContextStrdup(context,
									dbos_signature_statement(signature, shape, mapping,
															 &call->takes_args));
	call->positional = shape->is_array && !signature->takes_document;
	if (key->use == CALL_BY_NAME)
		entry->converter = dbos_converter_make(signature, shape, mapping, context);
	entry_note_types(entry, signature, context);
	return entry;
}

static void
cache_insert(CallEntry *entry, CallKey *key, const DbosShape *shape, DbosChosenBy chosen_by,
			 MemoryContext context)
{
	key->chosen_by = chosen_by;
	key->shape = chosen_by == DBOS_CHOSEN_BY_NAME ? NULL : shape;
	entry->chosen_by = chosen_by;
	entry->hash = key_hash(key);
	entry->context = context;
	MemoryContextSetParent(context, cache_context);
	entry->next = buckets[entry->hash % CACHE_BUCKETS];
	buckets[entry->hash % CACHE_BUCKETS] = entry;
	entries++;
}

/* Resolves a key that the cache does not have, and keeps the result if it may. */
static CallEntry *
entry_resolve(CallKey *key, Jsonb *args, const DbosShape *shape, bool may_keep)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "dbos function resolution",
											   ALLOCSET_DEFAULT_SIZES);
	uint64		invalidations_before = invalidations;
	MemoryContext context = NULL;
	DbosChosenBy chosen_by;
	DbosMapping mapping;
	DbosSignature *signature;
	CallEntry  *entry;

	MemoryContextSwitchTo(work);
	if (key->use == CALL_BY_NAME)
		signature = dbos_function_choose(key->name, args, shape, key->role, &mapping, &chosen_by);
	else
		signature = dbos_function_identified(key->name, shape, key->role, &mapping, &chosen_by);
	/* Resolving may run user code, which may resolve: look at the room again. */
	if (may_keep && chosen_by != DBOS_CHOSEN_BY_VALUES && entries < CACHE_ENTRIES &&
		(shape->complete || chosen_by == DBOS_CHOSEN_BY_NAME))
		context = AllocSetContextCreate(caller, "dbos function call", ALLOCSET_SMALL_SIZES);
	entry = entry_make(key, shape, signature, &mapping, context ? context : caller);
	if (context != NULL && invalidations == invalidations_before)
		cache_insert(entry, key, shape, chosen_by, context);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return entry;
}

/*
 * Converts the values.  An error leaves `converting` set, since it may leave the
 * converter half way: nobody finds the entry after that.
 */
static void
entry_convert(CallEntry *entry, Jsonb *args)
{
	entry->converting = true;
	conversions++;
	dbos_converter_run(entry->converter, args);
	conversions--;
	entry->converting = false;
}

static const DbosFunctionCall *
call_get(CallUse use, const char *name, Jsonb *args, Oid role)
{
	DbosShape	shape;
	CallKey		key;
	CallEntry  *entry = NULL;
	bool		may_keep;

	if (cache_context == NULL)
		cache_create();
	cache_tidy();
	dbos_shape_read(args, &shape);
	key.use = use;
	key.role = role;
	key.name = name;
	key.npath = use == CALL_BY_NAME ? fetch_search_path_array(key.path, PATH_LENGTH) : 0;
	may_keep = key.npath <= PATH_LENGTH && strlen(name) <= NAME_LENGTH;
	if (may_keep)
		entry = cache_lookup(&key, &shape);
	else
		key.npath = 0;
	if (entry == NULL)
		entry = entry_resolve(&key, args, &shape, may_keep);
	if (entry->converter != NULL)
		entry_convert(entry, args);
	return &entry->call;
}

const DbosFunctionCall *
dbos_function_call_resolve(const char *name, Jsonb *args, Oid role)
{
	return call_get(CALL_BY_NAME, name, args, role);
}

const DbosFunctionCall *
dbos_function_call_recheck(const char *identity, Jsonb *args, Oid role)
{
	return call_get(CALL_BY_IDENTITY, identity, args, role);
}

Jsonb *
dbos_function_call_arguments(const DbosFunctionCall *call, Jsonb *args)
{
	if (!call->takes_args)
		return NULL;
	return call->positional ? dbos_positional_object(args) : args;
}

SPIPlanPtr
dbos_function_call_plan(const DbosFunctionCall *call)
{
	CallEntry  *entry = (CallEntry *) call;
	Oid			type = JSONBOID;
	SPIPlanPtr	plan;

	if (entry->plan != NULL && entry->plan_user == GetUserId())
		return entry->plan;
	/* The values never make a better plan of a function call. */
	plan = SPI_prepare_cursor(call->sql, call->takes_args ? 1 : 0, &type, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL)
		elog(ERROR, "could not prepare the call of a task's function: %s",
			 SPI_result_code_string(SPI_result));
	/* A plan is never replaced: the one that is there may be running. */
	if (entry->context == NULL || entry->plan != NULL)
		return plan;
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "could not keep the plan of a task's function");
	entry->plan = plan;
	entry->plan_user = GetUserId();
	return plan;
}

Jsonb *
dbos_function_call_execute(const DbosFunctionCall *call, Jsonb *args, int64 *rows)
{
	MemoryContext caller = CurrentMemoryContext;
	Jsonb	   *result = NULL;
	Datum		value = PointerGetDatum(NULL);
	bool		null;
	SPIPlanPtr	plan;
	int			rc;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	plan = dbos_function_call_plan(call);
	if (call->takes_args)
		value = PointerGetDatum(dbos_function_call_arguments(call, args));
	rc = SPI_execute_plan(plan, &value, value == 0 ? "n" : NULL, false, 0);
	if (rc < 0)
		elog(ERROR, "could not execute task: %s", SPI_result_code_string(rc));
	if (rows != NULL)
		*rows = SPI_processed;
	if (rc == SPI_OK_SELECT && SPI_processed > 0 && SPI_tuptable->tupdesc->natts > 0)
	{
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
		if (!null)
		{
			MemoryContext old = MemoryContextSwitchTo(caller);

			result = DatumGetJsonbPCopy(value);
			MemoryContextSwitchTo(old);
		}
	}
	SPI_finish();
	return result;
}
