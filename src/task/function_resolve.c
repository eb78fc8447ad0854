/*
 * function_resolve.c
 *	  Which function a name and a document of arguments mean.
 *
 * At submit a name is looked up as the server looks up a call: by search_path,
 * never in pg_temp.  Among overloads the keys (or the count) decide, then the
 * JSON types, then whether the values convert; what is still open after that is
 * an error that lists the candidates.  At run the stored identity names exactly
 * one function.  Everything here runs as the invoking user and on the slow path:
 * function_call.c keeps what comes out.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "argument_map.h"

/* Candidates listed in an error. */
#define LISTED_CANDIDATES 8
/* How far from what was typed a suggested name may be. */
#define NEAREST_DISTANCE 3

typedef struct Candidate
{
	DbosSignature *signature;
	DbosMapping mapping;
	int			distance;		/* of the JSON types from the parameters' */
} Candidate;

typedef struct Candidates
{
	int			count;
	Candidate  *items;
} Candidates;

/* Why a function cannot be a task's. */
typedef struct Refusal
{
	int			sqlerrcode;
	const char *message;		/* NULL: it can */
	const char *hint;
} Refusal;

static bool
privilege_held(PGFunction check, Oid role, Oid object, const char *privilege)
{
	LOCAL_FCINFO(fcinfo, 3);
	Datum		held;

	InitFunctionCallInfoData(*fcinfo, NULL, 3, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = ObjectIdGetDatum(role);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = ObjectIdGetDatum(object);
	fcinfo->args[1].isnull = false;
	fcinfo->args[2].value = CStringGetTextDatum(privilege);
	fcinfo->args[2].isnull = false;
	held = check(fcinfo);
	return !fcinfo->isnull && DatumGetBool(held);
}

static bool
type_is_temporary(Oid type)
{
	HeapTuple	tuple;
	bool		temporary;
	Oid			element = get_element_type(type);

	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(OidIsValid(element) ? element : type));
	if (!HeapTupleIsValid(tuple))
		return false;
	temporary = isAnyTempNamespace(((Form_pg_type) GETSTRUCT(tuple))->typnamespace);
	ReleaseSysCache(tuple);
	return temporary;
}

static Refusal
refusal(const char *message, const char *hint)
{
	return (Refusal) {ERRCODE_FEATURE_NOT_SUPPORTED, message, hint};
}

static Refusal
signature_result_refusal(const DbosSignature *signature)
{
	if (signature->result == TRIGGEROID || signature->result == EVENT_TRIGGEROID)
		return refusal("%s is a trigger function and cannot run as a task", NULL);
	if (get_typtype(signature->result) == TYPTYPE_PSEUDO &&
		signature->result != VOIDOID && signature->result != RECORDOID)
		return refusal("%s returns a pseudo-type and cannot run as a task",
					   "Write a function that calls it with types of its own.");
	if (signature->result == RECORDOID && signature->returns_set && !signature->has_output_columns)
		return refusal("%s returns records without column names and cannot run as a task",
					   "Declare its columns with RETURNS TABLE or OUT parameters.");
	if (type_is_temporary(signature->result))
		return refusal("%s uses a temporary type and cannot run as a task", NULL);
	return refusal(NULL, NULL);
}

/* Why no session of another process could call this function with a document. */
static Refusal
signature_refusal(const DbosSignature *signature)
{
	if (signature->prokind == PROKIND_PROCEDURE)
		return refusal("%s is a procedure and cannot run as a function task",
					   "Use dbos.submit_sql('CALL ...').");
	if (signature->prokind == PROKIND_AGGREGATE)
		return refusal("%s is an aggregate function and cannot run as a task",
					   "Use dbos.submit_sql('SELECT ...').");
	if (signature->prokind == PROKIND_WINDOW)
		return refusal("%s is a window function and cannot run as a task",
					   "Use dbos.submit_sql('SELECT ...').");
	if (isAnyTempNamespace(signature->schema))
		return refusal("%s is a temporary function and cannot run as a task",
					   "A task runs in another session; create the function in a schema that lasts.");
	for (int i = 0; i < signature->nparameters; i++)
	{
		Oid			type = signature->parameters[i].type;

		if (get_typtype(type) == TYPTYPE_PSEUDO)
			return refusal("%s has a parameter of a pseudo-type and cannot run as a task",
						   "Write a function that calls it with types of its own.");
		if (type_is_temporary(type))
			return refusal("%s uses a temporary type and cannot run as a task", NULL);
	}
	return signature_result_refusal(signature);
}

static void
refuse(const DbosSignature *signature, const Refusal *why)
{
	ereport(ERROR,
			errcode(why->sqlerrcode),
			errmsg(why->message, dbos_signature_text(signature)),
			why->hint ? errhint("%s", why->hint) : 0);
}

/* As the server does for a call: USAGE of the schema, EXECUTE of the function. */
static void
require_privileges(const DbosSignature *signature, Oid role)
{
	if (!privilege_held(has_schema_privilege_id_id, role, signature->schema, "USAGE"))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_SCHEMA, signature->schema_name);
	if (!privilege_held(has_function_privilege_id_id, role, signature->function, "EXECUTE"))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, signature->name);
}

/* A note for a hint: other functions, at most a screenful. */
static char *
candidates_text(const Candidates *candidates)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < candidates->count && i < LISTED_CANDIDATES; i++)
		appendStringInfo(&text, "%s%s", i > 0 ? "\n" : "",
						 dbos_signature_text(candidates->items[i].signature));
	if (candidates->count > LISTED_CANDIDATES)
		appendStringInfo(&text, "\nand %d more", candidates->count - LISTED_CANDIDATES);
	return text.data;
}

static bool
name_is_exact(const char *name)
{
	bool		quoted = false;

	for (; *name != '\0'; name++)
	{
		if (*name == '"')
			quoted = !quoted;
		else if (*name == '(' && !quoted)
			return true;
	}
	return false;
}

/* How near a function is to what was typed; smaller is nearer, negative not at all. */
static int
nearness(Form_pg_proc form, const char *name, Oid schema, const Oid *path, int npath)
{
	int			distance;
	bool		in_path = false;

	if (form->pronamespace == PG_CATALOG_NAMESPACE && schema != PG_CATALOG_NAMESPACE)
		return -1;
	if (form->prokind != PROKIND_FUNCTION || isAnyTempNamespace(form->pronamespace))
		return -1;
	distance = varstr_levenshtein_less_equal(name, strlen(name),
											 NameStr(form->proname), strlen(NameStr(form->proname)),
											 1, 1, 1, NEAREST_DISTANCE, true);
	if (distance > NEAREST_DISTANCE || distance * 2 > (int) strlen(name))
		return -1;
	for (int i = 0; i < npath; i++)
		in_path |= path[i] == form->pronamespace;
	/* The same name elsewhere is likelier than another name here. */
	return distance * 4 + (form->pronamespace == schema || (!OidIsValid(schema) && in_path) ? 0 : 1);
}

/* The function nearest to a name that means none, as text to type, or NULL. */
static char *
nearest_function(const char *schema_name, const char *name, Oid role)
{
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			path[16];
	int			npath = fetch_search_path_array(path, lengthof(path));
	Oid			schema = schema_name ? get_namespace_oid(schema_name, true) : InvalidOid;
	int			best = INT_MAX;
	char	   *found = NULL;

	if (strlen(name) >= NAMEDATALEN)
		return NULL;
	rel = table_open(ProcedureRelationId, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
		int			distance = nearness(form, name, schema, path, Min(npath, lengthof(path)));
		char	   *namespace;

		CHECK_FOR_INTERRUPTS();
		if (distance < 0 || distance >= best)
			continue;
		if (!privilege_held(has_schema_privilege_id_id, role, form->pronamespace, "USAGE") ||
			!privilege_held(has_function_privilege_id_id, role, form->oid, "EXECUTE"))
			continue;
		namespace = get_namespace_name(form->pronamespace);
		if (namespace == NULL)
			continue;
		best = distance;
		found = pstrdup(quote_qualified_identifier(namespace, NameStr(form->proname)));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

static void
raise_undefined(List *names, Oid role)
{
	char	   *schema_name;
	char	   *function_name;
	char	   *nearest;

	DeconstructQualifiedName(names, &schema_name, &function_name);
	nearest = nearest_function(schema_name, function_name, role);
	ereport(ERROR,
			errcode(ERRCODE_UNDEFINED_FUNCTION),
			errmsg("function %s does not exist", NameListToString(names)),
			nearest ? errhint("Did you mean %s?", nearest) :
			errhint("Create it with CREATE FUNCTION, or name its schema."));
}

static Candidates
candidates_make(int room)
{
	return (Candidates) {0, palloc0(sizeof(Candidate) * Max(room, 1))};
}

static void
candidates_add(Candidates *candidates, DbosSignature *signature)
{
	candidates->items[candidates->count++].signature = signature;
}

/*
 * The functions of this name that can run as tasks.  Raises when there are none:
 * 42883 when the name is unknown, else the reason why the first one cannot.
 */
static Candidates
candidates_named(List *names, Oid role)
{
	FuncCandidateList found = FuncnameGetCandidates(names, -1, NIL, false, false, false, false);
	FuncCandidateList item;
	Candidates	candidates;
	DbosSignature *refused = NULL;
	Refusal		why = {0};
	int			room = 0;

	for (item = found; item != NULL; item = item->next)
		room++;
	candidates = candidates_make(room);
	for (item = found; item != NULL; item = item->next)
	{
		DbosSignature *signature = OidIsValid(item->oid) ? dbos_signature_load(item->oid) : NULL;
		Refusal		reason;

		if (signature == NULL)
			continue;
		reason = signature_refusal(signature);
		if (reason.message == NULL)
			candidates_add(&candidates, signature);
		else
		{
			refused = signature;
			why = reason;
		}
	}
	if (candidates.count == 0 && refused != NULL)
		refuse(refused, &why);
	if (candidates.count == 0)
		raise_undefined(names, role);
	return candidates;
}

/* The one function of a name with argument types; raises the server's errors. */
static Candidates
candidates_exact(const char *name)
{
	Oid			function = DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(name)));
	DbosSignature *signature = dbos_signature_load(function);
	Candidates	candidates = candidates_make(1);
	Refusal		why;

	if (signature == NULL)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("function \"%s\" does not exist", name));
	why = signature_refusal(signature);
	if (why.message != NULL)
		refuse(signature, &why);
	candidates_add(&candidates, signature);
	return candidates;
}

static void
raise_surplus(const DbosSignature *signature, const DbosShape *shape, int at)
{
	char	   *text = dbos_signature_text(signature);

	if (at < 0 || shape->is_array)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("too many arguments for %s: %d given",
					   quote_qualified_identifier(signature->schema_name, signature->name),
					   shape->count),
				errdetail("The function has %d parameters.", signature->nparameters),
				errhint("The function is %s.", text));
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("function %s has no parameter \"%s\"",
				   quote_qualified_identifier(signature->schema_name, signature->name),
				   dbos_shape_key(shape, at)),
			errdetail("The value given is a JSON %s.", dbos_json_type_name(shape->types[at])),
			errhint("The function is %s.", text));
}

/* Raises why the document does not fit the only function that it could be for. */
static void
raise_misfit(const DbosSignature *signature, const DbosShape *shape, const DbosMapping *mapping)
{
	const DbosParameter *parameter;
	char	   *text = dbos_signature_text(signature);
	char	   *called;

	if (mapping->fit == DBOS_FIT_SURPLUS)
		raise_surplus(signature, shape, mapping->at);
	parameter = &signature->parameters[mapping->at];
	called = parameter->name ? psprintf("\"%s\"", parameter->name) : psprintf("%d", mapping->at + 1);
	if (mapping->fit == DBOS_FIT_UNNAMED)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("parameter %s of %s has no name", called, text),
				errdetail("A JSON object can give values only to named parameters."),
				errhint("Give the values in their order, '[1, 2]'."));
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("argument %s of %s is missing", called,
				   quote_qualified_identifier(signature->schema_name, signature->name)),
			errdetail("Parameter %s is of type %s and has no default.", called,
					  format_type_be(parameter->type)),
			errhint("The function is %s.", text));
}

/* How far a JSON type is from a parameter's type: 0 its own kind, then by how much must be guessed. */
static int
type_distance(Oid type, char json_type)
{
	Oid			base = getBaseType(type);
	char		category;
	bool		preferred;
	char		own;

	if (json_type == DBOS_JSON_NULL)
		return 0;
	if (base == JSONBOID || base == JSONOID)
		return 1;
	get_type_category_preferred(base, &category, &preferred);
	switch (json_type)
	{
		case DBOS_JSON_NUMBER:
			own = TYPCATEGORY_NUMERIC;
			break;
		case DBOS_JSON_STRING:
			own = TYPCATEGORY_STRING;
			break;
		case DBOS_JSON_BOOLEAN:
			own = TYPCATEGORY_BOOLEAN;
			break;
		case DBOS_JSON_ARRAY:
			own = TYPCATEGORY_ARRAY;
			break;
		default:
			own = TYPCATEGORY_COMPOSITE;
			break;
	}
	if (category == own)
		return 0;
	return category == TYPCATEGORY_STRING ? 2 : 3;
}

static int
candidate_distance(const Candidate *candidate, const DbosShape *shape)
{
	int			distance = 0;

	/* A function with parameters of these names is nearer than one that takes any document. */
	if (candidate->signature->takes_document)
		return INT_MAX;
	for (int i = 0; i < candidate->signature->nparameters; i++)
		if (candidate->mapping.value[i] >= 0)
			distance += type_distance(candidate->signature->parameters[i].type,
									  shape->types[candidate->mapping.value[i]]);
	return distance;
}

/* Keeps the candidates that the keys or the count fit; none is an error. */
static void
keep_fitting(const char *name, Candidates *candidates, const DbosShape *shape)
{
	int			kept = 0;

	for (int i = 0; i < candidates->count; i++)
		dbos_mapping_make(candidates->items[i].signature, shape, &candidates->items[i].mapping);
	if (candidates->count == 1 && candidates->items[0].mapping.fit != DBOS_FIT_GOOD)
		raise_misfit(candidates->items[0].signature, shape, &candidates->items[0].mapping);
	for (int i = 0; i < candidates->count; i++)
		if (candidates->items[i].mapping.fit == DBOS_FIT_GOOD)
			kept++;
	if (kept == 0)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("no function %s fits the arguments", name),
				errdetail("Candidates:\n%s", candidates_text(candidates)),
				errhint("Give a value for every parameter without a default, and no other."));
	kept = 0;
	for (int i = 0; i < candidates->count; i++)
		if (candidates->items[i].mapping.fit == DBOS_FIT_GOOD)
			candidates->items[kept++] = candidates->items[i];
	candidates->count = kept;
}

static void
keep_nearest(Candidates *candidates, const DbosShape *shape)
{
	int			nearest = INT_MAX;
	int			kept = 0;

	for (int i = 0; i < candidates->count; i++)
	{
		candidates->items[i].distance = candidate_distance(&candidates->items[i], shape);
		nearest = Min(nearest, candidates->items[i].distance);
	}
	for (int i = 0; i < candidates->count; i++)
		if (candidates->items[i].distance == nearest)
			candidates->items[kept++] = candidates->items[i];
	candidates->count = kept;
}

/* Whether the values convert to this candidate's types, tried in a subtransaction. */
static bool
candidate_converts(const Candidate *candidate, const DbosShape *shape, Jsonb *args)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool converts = true;
	DbosConverter *converter = dbos_converter_make(candidate->signature, shape,
												   &candidate->mapping, caller);

	if (converter == NULL)
		return true;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		dbos_converter_run(converter, args);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		int			category = ERRCODE_TO_CATEGORY(geterrcode());

		if (category != ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION) &&
			category != ERRCODE_TO_CATEGORY(ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION) &&
			category != ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR))
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		converts = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return converts;
}

static void
raise_ambiguous(const char *name, const Candidates *candidates)
{
	ereport(ERROR,
			errcode(ERRCODE_AMBIGUOUS_FUNCTION),
			errmsg("function %s is not unique for these arguments", name),
			errdetail("Candidates:\n%s", candidates_text(candidates)),
			errhint("Write schema.name(argument types), for example '%s'.",
					format_procedure_qualified(candidates->items[0].signature->function)));
}

/* Keeps the one candidate that the values convert to; otherwise raises. */
static void
keep_convertible(const char *name, Candidates *candidates, const DbosShape *shape, Jsonb *args)
{
	Candidates	fitting = candidates_make(candidates->count);

	for (int i = 0; i < candidates->count; i++)
		if (candidate_converts(&candidates->items[i], shape, args))
			fitting.items[fitting.count++] = candidates->items[i];
	if (fitting.count == 0)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("no function %s fits the values of the arguments", name),
				errdetail("Candidates:\n%s", candidates_text(candidates)),
				errhint("Write schema.name(argument types) to see what is wrong with the values."));
	if (fitting.count > 1)
		raise_ambiguous(name, &fitting);
	*candidates = fitting;
}

/*
 * Raises unless the server's parser takes the call that we shall write for this
 * very function: where values are left to defaults, overloads can be too alike.
 */
static void
require_callable(const DbosSignature *signature, const DbosMapping *mapping)
{
	List	   *names = list_make2(makeString(pstrdup(signature->schema_name)),
								   makeString(pstrdup(signature->name)));
	List	   *argument_names = NIL;
	Oid			types[FUNC_MAX_ARGS];
	int			n = 0;
	bool		gap = false;
	bool		variadic = false;
	Oid			found = InvalidOid;
	Oid			result;
	bool		returns_set;
	int			nvariadic;
	Oid			variadic_type;
	Oid		   *actual_types;
	FuncDetailCode code;

	for (int i = 0; i < signature->nparameters; i++)
	{
		const DbosParameter *parameter = &signature->parameters[i];

		if (mapping->value[i] < 0 && !signature->takes_document)
		{
			gap = true;
			continue;
		}
		types[n++] = parameter->type;
		variadic |= parameter->variadic;
		if (gap)
			argument_names = lappend(argument_names, pstrdup(parameter->name));
	}
	code = func_get_detail(names, NIL, argument_names, n, types, !variadic, true, false,
						   &found, &result, &returns_set, &nvariadic, &variadic_type,
						   &actual_types, NULL);
	/* Named values, which those behind a gap need, do not mix with every VARIADIC. */
	if (code == FUNCDETAIL_NOTFOUND)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("function %s cannot be called with these arguments alone",
					   quote_qualified_identifier(signature->schema_name, signature->name)),
				errhint("Give a value for every parameter of %s, defaults included.",
						dbos_signature_text(signature)));
	if (code != FUNCDETAIL_NORMAL || found != signature->function || nvariadic > 0)
		ereport(ERROR,
				errcode(ERRCODE_AMBIGUOUS_FUNCTION),
				errmsg("function %s is not unique for these arguments",
					   quote_qualified_identifier(signature->schema_name, signature->name)),
				errdetail("Another function of this name takes the same arguments."),
				errhint("Give a value for every parameter of %s, defaults included.",
						dbos_signature_text(signature)));
}

static Candidates
candidates_of(const char *name, Oid role)
{
	if (name_is_exact(name))
		return candidates_exact(name);
	return candidates_named(textToQualifiedNameList(cstring_to_text(name)), role);
}

DbosSignature *
dbos_function_named(const char *name, Oid role)
{
	Candidates	candidates = candidates_of(name, role);

	if (candidates.count > 1)
		return NULL;
	require_privileges(candidates.items[0].signature, role);
	return candidates.items[0].signature;
}

/*
 * dbos_function_choose returns the function that name and args mean, and how its
 * parameters are filled, in CurrentMemoryContext.
 */
DbosSignature *
dbos_function_choose(const char *name, Jsonb *args, const DbosShape *shape, Oid role,
					 DbosMapping *mapping, DbosChosenBy *chosen_by)
{
	Candidates	candidates = candidates_of(name, role);
	int			named = candidates.count;
	DbosSignature *signature;

	keep_fitting(name, &candidates, shape);
	*chosen_by = DBOS_CHOSEN_BY_KEYS;
	if (named == 1 && candidates.items[0].signature->takes_document)
		*chosen_by = DBOS_CHOSEN_BY_NAME;
	if (candidates.count > 1)
	{
		*chosen_by = DBOS_CHOSEN_BY_TYPES;
		keep_nearest(&candidates, shape);
	}
	if (candidates.count > 1)
	{
		*chosen_by = DBOS_CHOSEN_BY_VALUES;
		keep_convertible(name, &candidates, shape, args);
	}
	signature = candidates.items[0].signature;
	*mapping = candidates.items[0].mapping;
	require_privileges(signature, role);
	require_callable(signature, mapping);
	return signature;
}

/* dbos_function_identified does the same for a stored identity, whatever the values. */
DbosSignature *
dbos_function_identified(const char *identity, const DbosShape *shape, Oid role,
						 DbosMapping *mapping, DbosChosenBy *chosen_by)
{
	Candidates	candidates = candidates_exact(identity);
	DbosSignature *signature = candidates.items[0].signature;

	keep_fitting(identity, &candidates, shape);
	*chosen_by = signature->takes_document ? DBOS_CHOSEN_BY_NAME : DBOS_CHOSEN_BY_KEYS;
	*mapping = candidates.items[0].mapping;
	require_privileges(signature, role);
	require_callable(signature, mapping);
	return signature;
}
