/*
 * document.c
 *	  JSON documents of ours: what is said of a message, and headers that we add.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "document.h"

JsonbParseState *
dbos_document_begin(void)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	return state;
}

Jsonb *
dbos_document_end(JsonbParseState *state)
{
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
put_member(JsonbParseState **state, const char *name, JsonbValue *value)
{
	JsonbValue	key = {.type = jbvString};

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	(void) pushJsonbValue(state, WJB_KEY, &key);
	(void) pushJsonbValue(state, WJB_VALUE, value);
}

void
dbos_document_number(JsonbParseState **state, const char *name, int64 number)
{
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric = int64_to_numeric(number);
	put_member(state, name, &value);
}

void
dbos_document_text(JsonbParseState **state, const char *name, char *text)
{
	JsonbValue	value = {.type = text == NULL ? jbvNull : jbvString};

	if (text != NULL)
	{
		value.val.string.val = text;
		value.val.string.len = strlen(text);
	}
	put_member(state, name, &value);
}

void
dbos_document_put(JsonbParseState **state, const char *name, Jsonb *document)
{
	JsonbValue	value = {.type = jbvBinary};

	value.val.binary.data = &document->root;
	value.val.binary.len = VARSIZE(document) - VARHDRSZ;
	put_member(state, name, &value);
}

Jsonb *
dbos_empty_document(void)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
}
