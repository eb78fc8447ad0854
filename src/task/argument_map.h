/*
 * argument_map.h
 *	  What the files that find and call a task's function share: the function as
 *	  the catalog describes it, the shape of a document of arguments, and how the
 *	  one is laid over the other.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_ARGUMENT_MAP_H
#define DBOS_ARGUMENT_MAP_H

#include "postgres.h"

#include "utils/jsonb.h"

/* What is in a value of the document, one letter each. */
#define DBOS_JSON_NULL		'z'
#define DBOS_JSON_STRING	's'
#define DBOS_JSON_NUMBER	'n'
#define DBOS_JSON_BOOLEAN	'b'
#define DBOS_JSON_ARRAY		'a'
#define DBOS_JSON_OBJECT	'o'

/* More top-level keys than this fit no function but one that takes a document. */
#define DBOS_SHAPE_MAX		FUNC_MAX_ARGS
#define DBOS_SHAPE_BYTES	2048

/*
 * The top level of a document without its values.  keys holds each key with a
 * zero byte behind it, in the document's order; types one letter per value.
 */
typedef struct DbosShape
{
	bool		is_array;
	bool		complete;		/* false: too large, keys and types are not filled */
	int			count;
	int			keys_length;
	char		keys[DBOS_SHAPE_BYTES];
	char		types[DBOS_SHAPE_MAX + 1];
} DbosShape;

typedef struct DbosParameter
{
	const char *name;			/* NULL: has none */
	Oid			type;
	bool		has_default;
	bool		variadic;
} DbosParameter;

/* A function as the catalog describes it, input parameters only. */
typedef struct DbosSignature
{
	Oid			function;
	Oid			schema;
	const char *schema_name;
	const char *name;
	char		prokind;
	Oid			result;
	bool		returns_set;
	bool		has_output_columns;
	bool		takes_document; /* its only parameter is jsonb or json */
	int			nparameters;
	DbosParameter *parameters;
} DbosSignature;

typedef enum DbosFit
{
	DBOS_FIT_GOOD,
	DBOS_FIT_MISSING,			/* parameter `at` has neither value nor default */
	DBOS_FIT_UNNAMED,			/* parameter `at` has no name, the document is an object */
	DBOS_FIT_SURPLUS			/* the document's value `at` has no parameter */
} DbosFit;

/* Which value of the document goes to which parameter. */
typedef struct DbosMapping
{
	DbosFit		fit;
	int			at;
	int			value[FUNC_MAX_ARGS];	/* index into the document; -1: left to its default */
} DbosMapping;

/* Converts the values of documents of one shape, to see that it works. */
typedef struct DbosConverter DbosConverter;

extern void dbos_shape_read(Jsonb *args, DbosShape *shape);
extern const char *dbos_shape_key(const DbosShape *shape, int at);
extern const char *dbos_json_type_name(char type);

/* NULL when there is no such function (any more). */
extern DbosSignature *dbos_signature_load(Oid function);
extern char *dbos_signature_text(const DbosSignature *signature);
extern char *dbos_signature_statement(const DbosSignature *signature, const DbosShape *shape,
									  const DbosMapping *mapping, bool *takes_args);

extern void dbos_mapping_make(const DbosSignature *signature, const DbosShape *shape,
							  DbosMapping *mapping);

extern DbosConverter *dbos_converter_make(const DbosSignature *signature, const DbosShape *shape,
										  const DbosMapping *mapping, MemoryContext context);
extern void dbos_converter_run(DbosConverter *converter, Jsonb *args);
extern Jsonb *dbos_positional_object(Jsonb *args);

/* ---- function_resolve.c ---- */

/* How far the choice of a function depends on the document. */
typedef enum DbosChosenBy
{
	DBOS_CHOSEN_BY_NAME,		/* every document */
	DBOS_CHOSEN_BY_KEYS,		/* documents with these keys */
	DBOS_CHOSEN_BY_TYPES,		/* ... and these JSON types */
	DBOS_CHOSEN_BY_VALUES		/* this document alone */
} DbosChosenBy;

extern DbosSignature *dbos_function_choose(const char *name, Jsonb *args, const DbosShape *shape,
										   Oid role, DbosMapping *mapping, DbosChosenBy *chosen_by);
/*
 * Whatever the document: the one function of a name, or NULL when it has several.
 * Raises when it has none that can be called as a task, or role may not.
 */
extern DbosSignature *dbos_function_named(const char *name, Oid role);
extern DbosSignature *dbos_function_identified(const char *identity, const DbosShape *shape,
											   Oid role, DbosMapping *mapping,
											   DbosChosenBy *chosen_by);

#endif							/* DBOS_ARGUMENT_MAP_H */
