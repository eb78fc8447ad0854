/*
 * argument_map.c
 *	  How the values of one jsonb document become the arguments of a function.
 *
 * The conversion is PostgreSQL's own jsonb_to_record(), at submit (to refuse
 * what would fail later) and at run (inside the statement built here), so that
 * both say the same of every type.  The statement names every object with its
 * schema: it means the same under every search_path.
 *
 * Runs as the invoking user: input functions and domain checks are user code.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "argument_map.h"

/* How much of a text that quotes a user's words is shown. */
#define READABLE_BYTES 600

/* One value that is converted: a record of one column, by jsonb_to_record(). */
typedef struct Conversion
{
	const char *parameter;		/* as people read it: "x" or number 2 */
	const char *key;			/* of the object */
	Oid			type;
	const char *type_name;
	FmgrInfo	function;
	ReturnSetInfo result;
} Conversion;

struct DbosConverter
{
	bool		positional;
	bool		lasting;		/* the conversions may be kept between calls */
	int			count;
	Conversion *conversions;
	const char *signature;
	const char *function;
};

static char
json_type_of(const JsonbContainer *container, JEntry entry, const char *data, int at)
{
	if (JBE_ISSTRING(entry))
		return DBOS_JSON_STRING;
	if (JBE_ISNUMERIC(entry))
		return DBOS_JSON_NUMBER;
	if (JBE_ISBOOL(entry))
		return DBOS_JSON_BOOLEAN;
	if (JBE_ISNULL(entry))
		return DBOS_JSON_NULL;
	data += INTALIGN(getJsonbOffset(container, at));
	return JsonContainerIsArray((const JsonbContainer *) data) ? DBOS_JSON_ARRAY : DBOS_JSON_OBJECT;
}

/*
 * dbos_shape_read reads the top level of args; raises 22023 when that is neither
 * an object nor an array.  Reads the stored form itself: this is done at every
 * submit.
 */
void
dbos_shape_read(Jsonb *args, DbosShape *shape)
{
	const JsonbContainer *root = &args->root;
	int			count = JsonContainerSize(root);
	int			nkeys;
	const char *data;

	if (JsonContainerIsScalar(root))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("the arguments of a task must be a JSON object or array"),
				errhint("Name the function's parameters, '{\"x\": 1}', or give the values in their order, '[1]'."));
	shape->is_array = JsonContainerIsArray(root);
	shape->count = count;
	shape->keys_length = 0;
	shape->complete = count <= DBOS_SHAPE_MAX;
	if (!shape->complete)
		return;
	nkeys = shape->is_array ? 0 : count;
	data = (const char *) &root->children[nkeys + count];
	for (int i = 0; i < nkeys; i++)
	{
		int			length = getJsonbLength(root, i);

		if (shape->keys_length + length + 1 > DBOS_SHAPE_BYTES)
		{
			shape->complete = false;
			return;
		}
		memcpy(shape->keys + shape->keys_length, data + getJsonbOffset(root, i), length);
		shape->keys_length += length;
		shape->keys[shape->keys_length++] = '\0';
	}
	for (int i = 0; i < count; i++)
		shape->types[i] = json_type_of(root, root->children[nkeys + i], data, nkeys + i);
	shape->types[count] = '\0';
}

/* dbos_shape_key returns the key of the value at this place, inside the shape. */
const char *
dbos_shape_key(const DbosShape *shape, int at)
{
	const char *key = shape->keys;

	while (at-- > 0)
		key += strlen(key) + 1;
	return key;
}

const char *
dbos_json_type_name(char type)
{
	switch (type)
	{
		case DBOS_JSON_STRING:
			return "string";
		case DBOS_JSON_NUMBER:
			return "number";
		case DBOS_JSON_BOOLEAN:
			return "boolean";
		case DBOS_JSON_ARRAY:
			return "array";
		case DBOS_JSON_OBJECT:
			return "object";
		default:
			return "null";
	}
}

/* Fills the input parameters from all of the function's. */
static void
signature_parameters(DbosSignature *signature, HeapTuple tuple, int ndefaults)
{
	Oid		   *types;
	char	  **names;
	char	   *modes;
	int			total = get_func_arg_info(tuple, &types, &names, &modes);
	int			n = 0;

	signature->parameters = palloc0(sizeof(DbosParameter) * Max(total, 1));
	for (int i = 0; i < total; i++)
	{
		char		mode = modes ? modes[i] : PROARGMODE_IN;
		DbosParameter *parameter = &signature->parameters[n];

		if (mode == PROARGMODE_OUT || mode == PROARGMODE_TABLE || mode == PROARGMODE_INOUT)
			signature->has_output_columns = true;
		if (mode == PROARGMODE_OUT || mode == PROARGMODE_TABLE)
			continue;
		parameter->name = names && names[i] && names[i][0] != '\0' ? names[i] : NULL;
		parameter->type = types[i];
		parameter->variadic = mode == PROARGMODE_VARIADIC;
		n++;
	}
	signature->nparameters = n;
	/* Only the last parameters can have defaults. */
	for (int i = Max(n - ndefaults, 0); i < n; i++)
		signature->parameters[i].has_default = true;
	signature->takes_document = n == 1 && !signature->parameters[0].variadic &&
		(signature->parameters[0].type == JSONBOID || signature->parameters[0].type == JSONOID);
}

/* dbos_signature_load reads a function from the catalog into CurrentMemoryContext. */
DbosSignature *
dbos_signature_load(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	DbosSignature *signature;
	Form_pg_proc form;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	signature = palloc0(sizeof(DbosSignature));
	signature->function = function;
	signature->schema = form->pronamespace;
	signature->schema_name = get_namespace_name(form->pronamespace);
	signature->name = pstrdup(NameStr(form->proname));
	signature->prokind = form->prokind;
	signature->result = form->prorettype;
	signature->returns_set = form->proretset;
	signature_parameters(signature, tuple, form->pronargdefaults);
	ReleaseSysCache(tuple);
	return signature->schema_name == NULL ? NULL : signature;
}

/* Cuts a text that is for reading, at a character's border. */
static char *
text_clip(char *text)
{
	int			length = strlen(text);

	if (length <= READABLE_BYTES)
		return text;
	return psprintf("%.*s...", pg_mbcliplen(text, length, READABLE_BYTES), text);
}

/*
 * dbos_signature_text returns schema.name(parameters) with names, types and
 * defaults, for reading: the parameters are cut when they are many.
 */
char *
dbos_signature_text(const DbosSignature *signature)
{
	LOCAL_FCINFO(fcinfo, 1);
	Datum		arguments;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = ObjectIdGetDatum(signature->function);
	fcinfo->args[0].isnull = false;
	arguments = pg_get_function_arguments(fcinfo);
	return psprintf("%s(%s)",
					quote_qualified_identifier(signature->schema_name, signature->name),
					fcinfo->isnull ? "" : text_clip(TextDatumGetCString(arguments)));
}

/* The value of the document that is named so, or -1. */
static int
shape_find(const DbosShape *shape, const char *name)
{
	const char *key = shape->keys;

	for (int i = 0; i < shape->count; i++, key += strlen(key) + 1)
		if (strcmp(key, name) == 0)
			return i;
	return -1;
}

static void
mapping_fail(DbosMapping *mapping, DbosFit fit, int at)
{
	mapping->fit = fit;
	mapping->at = at;
}

/* Which value of an object has no parameter of its name, or -1. */
static int
mapping_surplus(const DbosShape *shape, const bool *used)
{
	for (int i = 0; i < shape->count; i++)
		if (!used[i])
			return i;
	return -1;
}

/*
 * dbos_mapping_make lays the document over the parameters and says in
 * mapping->fit whether it fits.  A shape that is not complete has more values
 * than any function has parameters: it fits only one that takes documents.
 */
void
dbos_mapping_make(const DbosSignature *signature, const DbosShape *shape, DbosMapping *mapping)
{
	bool		used[DBOS_SHAPE_MAX] = {false};
	int			surplus;

	mapping_fail(mapping, DBOS_FIT_GOOD, -1);
	for (int i = 0; i < FUNC_MAX_ARGS; i++)
		mapping->value[i] = -1;
	if (signature->takes_document)
		return;
	if (!shape->complete)
	{
		mapping_fail(mapping, DBOS_FIT_SURPLUS, -1);
		return;
	}
	for (int i = 0; i < signature->nparameters; i++)
	{
		const DbosParameter *parameter = &signature->parameters[i];
		int			at = -1;

		if (shape->is_array)
			at = i < shape->count ? i : -1;
		else if (parameter->name != NULL)
			at = shape_find(shape, parameter->name);
		/* Two input parameters never share a name. */
		if (at >= 0)
			used[at] = true;
		else if (!parameter->has_default && mapping->fit == DBOS_FIT_GOOD)
			mapping_fail(mapping,
						 !shape->is_array && parameter->name == NULL ? DBOS_FIT_UNNAMED : DBOS_FIT_MISSING,
						 i);
		mapping->value[i] = at;
	}
	/* A misspelt name is both; the word that was written tells more. */
	surplus = mapping_surplus(shape, used);
	if (surplus >= 0 && mapping->fit != DBOS_FIT_UNNAMED)
		mapping_fail(mapping, DBOS_FIT_SURPLUS, surplus);
}

static const char *
parameter_key(const DbosSignature *signature, const DbosShape *shape, int i)
{
	return shape->is_array ? psprintf("%d", i + 1) : signature->parameters[i].name;
}

/* Like format_type_be_qualified(), but bpchar and bit keep their length open. */
static char *
type_qualified(Oid type)
{
	return format_type_extended(type, -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

/* The call itself, f(...), and behind it in `source` the FROM clause it needs. */
static void
statement_call(const DbosSignature *signature, const DbosShape *shape,
			   const DbosMapping *mapping, StringInfo call, StringInfo source)
{
	bool		gap = false;
	int			n = 0;

	appendStringInfo(call, "%s(",
					 quote_qualified_identifier(signature->schema_name, signature->name));
	if (signature->takes_document)
		appendStringInfoString(call, signature->parameters[0].type == JSONBOID ?
							   "$1" : "$1::pg_catalog.json");
	for (int i = 0; i < signature->nparameters && !signature->takes_document; i++)
	{
		const DbosParameter *parameter = &signature->parameters[i];
		const char *key;

		if (mapping->value[i] < 0)
		{
			gap = true;
			continue;
		}
		key = quote_identifier(parameter_key(signature, shape, i));
		if (n++ > 0)
		{
			appendStringInfoString(call, ", ");
			appendStringInfoString(source, ", ");
		}
		else
			appendStringInfoString(source, " FROM pg_catalog.jsonb_to_record($1) AS r(");
		if (parameter->variadic)
			appendStringInfoString(call, "VARIADIC ");
		/* Behind a parameter that is left to its default, values need names. */
		if (gap)
			appendStringInfo(call, "%s => ", quote_identifier(parameter->name));
		appendStringInfo(call, "r.%s", key);
		appendStringInfo(source, "%s %s", key, type_qualified(parameter->type));
	}
	if (n > 0)
		appendStringInfoChar(source, ')');
	appendStringInfoChar(call, ')');
}

/*
 * dbos_signature_statement builds the statement that calls the function with the
 * values of a document of this shape and returns one jsonb column: NULL for
 * void, an array for a set, else the value.
 */
char *
dbos_signature_statement(const DbosSignature *signature, const DbosShape *shape,
						 const DbosMapping *mapping, bool *takes_args)
{
	StringInfoData call;
	StringInfoData source;
	StringInfoData sql;

	initStringInfo(&call);
	initStringInfo(&source);
	initStringInfo(&sql);
	statement_call(signature, shape, mapping, &call, &source);
	*takes_args = signature->takes_document || source.len > 0;
	/* The planner drops neither the condition of a CASE nor a set from a target list. */
	if (signature->returns_set && signature->result == VOIDOID)
		appendStringInfo(&sql,
						 "SELECT CASE WHEN pg_catalog.count(*) IS NULL THEN NULL::pg_catalog.jsonb END"
						 " FROM (SELECT %s AS v%s) AS c",
						 call.data, source.data);
	else if (signature->returns_set)
		appendStringInfo(&sql,
						 "SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(c.v)), '[]'::pg_catalog.jsonb)"
						 " FROM (SELECT %s AS v%s) AS c",
						 call.data, source.data);
	else if (signature->result == VOIDOID)
		appendStringInfo(&sql, "SELECT CASE WHEN %s IS NULL THEN NULL::pg_catalog.jsonb END%s",
						 call.data, source.data);
	else
		appendStringInfo(&sql, "SELECT pg_catalog.to_jsonb(%s)%s", call.data, source.data);
	return sql.data;
}

/*
 * Whether conversions to this type may be kept: jsonb_to_record() keeps the
 * columns of a composite type as it first saw them, and ALTER TABLE changes them.
 */
static bool
type_is_scalar(Oid type)
{
	Oid			base = getBaseType(type);
	Oid			element = get_base_element_type(base);

	if (OidIsValid(element))
		base = getBaseType(element);
	/* An array of a domain over an array. */
	if (OidIsValid(get_element_type(base)))
		return false;
	return get_typtype(base) != TYPTYPE_COMPOSITE;
}

static void
conversion_prepare(Conversion *conversion, MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	TupleDesc	columns = CreateTemplateTupleDesc(1);

	fmgr_info_cxt(F_JSONB_TO_RECORD, &conversion->function, context);
	TupleDescInitEntry(columns, 1, conversion->key, conversion->type, -1, 0);
	memset(&conversion->result, 0, sizeof(conversion->result));
	conversion->result.type = T_ReturnSetInfo;
	conversion->result.allowedModes = SFRM_ValuePerCall;
	conversion->result.returnMode = SFRM_ValuePerCall;
	conversion->result.expectedDesc = BlessTupleDesc(columns);
	MemoryContextSwitchTo(caller);
}

/* No value of the document can fail to become one of these. */
static bool
always_converts(Oid type)
{
	return type == JSONBOID || type == JSONOID || type == TEXTOID;
}

/*
 * dbos_converter_make returns what converts the values of documents of this
 * shape, in context; NULL when none of them can fail.  What it takes to make it
 * stays in CurrentMemoryContext.
 */
DbosConverter *
dbos_converter_make(const DbosSignature *signature, const DbosShape *shape,
					const DbosMapping *mapping, MemoryContext context)
{
	DbosConverter *converter = MemoryContextAllocZero(context, sizeof(DbosConverter));

	converter->positional = shape->is_array;
	converter->lasting = true;
	converter->conversions = MemoryContextAllocZero(context, sizeof(Conversion) *
													Max(signature->nparameters, 1));
	for (int i = 0; i < signature->nparameters && !signature->takes_document; i++)
	{
		const DbosParameter *parameter = &signature->parameters[i];
		Conversion *conversion = &converter->conversions[converter->count];

		if (mapping->value[i] < 0 || always_converts(parameter->type))
			continue;
		converter->count++;
		conversion->key = MemoryContextStrdup(context, parameter_key(signature, shape, i));
		conversion->parameter =
			MemoryContextStrdup(context, parameter->name ? psprintf("\"%s\"", parameter->name) :
								psprintf("%d", i + 1));
		conversion->type = parameter->type;
		conversion->type_name = MemoryContextStrdup(context, format_type_be(parameter->type));
		converter->lasting &= type_is_scalar(parameter->type);
	}
	if (converter->count == 0)
		return NULL;
	converter->signature = MemoryContextStrdup(context, dbos_signature_text(signature));
	converter->function =
		MemoryContextStrdup(context, quote_qualified_identifier(signature->schema_name,
																signature->name));
	if (converter->lasting)
		for (int i = 0; i < converter->count; i++)
			conversion_prepare(&converter->conversions[i], context);
	return converter;
}

static void
convert_one(Conversion *conversion, Jsonb *object)
{
	LOCAL_FCINFO(fcinfo, 1);

	InitFunctionCallInfoData(*fcinfo, &conversion->function, 1, InvalidOid, NULL,
							 (Node *) &conversion->result);
	fcinfo->args[0].value = JsonbPGetDatum(object);
	fcinfo->args[0].isnull = false;
	(void) FunctionCallInvoke(fcinfo);
}

/* Whether an error is about the value, rather than about the server or the session. */
static bool
error_is_of_value(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION):
		case ERRCODE_TO_CATEGORY(ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION):
		case ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR):
			return true;
		default:
			return false;
	}
}

static char
object_type_at(Jsonb *object, const char *key)
{
	JsonbValue	found;

	if (getKeyJsonValueFromContainer(&object->root, key, strlen(key), &found) == NULL)
		return DBOS_JSON_NULL;
	switch (found.type)
	{
		case jbvString:
			return DBOS_JSON_STRING;
		case jbvNumeric:
			return DBOS_JSON_NUMBER;
		case jbvBool:
			return DBOS_JSON_BOOLEAN;
		case jbvBinary:
			return JsonContainerIsArray(found.val.binary.data) ? DBOS_JSON_ARRAY : DBOS_JSON_OBJECT;
		default:
			return DBOS_JSON_NULL;
	}
}

/* Raises the error of an input function again, with the parameter's name and type. */
static void
conversion_rethrow(const DbosConverter *converter, const Conversion *conversion, Jsonb *object)
{
	ErrorData  *error = CopyErrorData();
	char	   *where;

	if (!error_is_of_value(error->sqlerrcode))
		PG_RE_THROW();
	FlushErrorState();
	where = psprintf("Parameter %s of %s is of type %s; the value given is a JSON %s.",
					 conversion->parameter, converter->function, conversion->type_name,
					 dbos_json_type_name(object_type_at(object, conversion->key)));
	/* Input functions quote the whole value, which may be megabytes. */
	error->message = psprintf("argument %s of %s: %s", conversion->parameter,
							  converter->function, text_clip(error->message));
	error->detail = error->detail ? psprintf("%s\n%s", where, error->detail) : where;
	if (error->hint == NULL)
		error->hint = psprintf("The function is %s.", converter->signature);
	ReThrowError(error);
}

/*
 * dbos_converter_run converts every value and forgets the results.  Raises what
 * the input functions raise, with the parameter named.  After an error the
 * converter must not be used again.
 */
void
dbos_converter_run(DbosConverter *converter, Jsonb *args)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "dbos argument conversion",
											   ALLOCSET_DEFAULT_SIZES);
	volatile int at = 0;
	Jsonb	   *volatile object = args;

	PG_TRY();
	{
		MemoryContextSwitchTo(work);
		if (converter->positional)
			object = dbos_positional_object(args);
		for (; at < converter->count; at++)
		{
			Conversion *conversion = &converter->conversions[at];

			CHECK_FOR_INTERRUPTS();
			if (!converter->lasting)
				conversion_prepare(conversion, work);
			convert_one(conversion, object);
		}
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		if (at >= converter->count)
			PG_RE_THROW();
		conversion_rethrow(converter, &converter->conversions[at], object);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
}

/* dbos_positional_object makes [a, b] into {"1": a, "2": b}. */
Jsonb *
dbos_positional_object(Jsonb *args)
{
	JsonbParseState *state = NULL;
	int			count = JsonContainerSize(&args->root);
	JsonbValue *object;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < count; i++)
	{
		JsonbValue	key;
		char	   *digits = psprintf("%d", i + 1);

		CHECK_FOR_INTERRUPTS();
		key.type = jbvString;
		key.val.string.val = digits;
		key.val.string.len = strlen(digits);
		(void) pushJsonbValue(&state, WJB_KEY, &key);
		(void) pushJsonbValue(&state, WJB_VALUE, getIthJsonbValueFromContainer(&args->root, i));
	}
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(object);
}
