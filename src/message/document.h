/*
 * document.h
 *	  JSON documents of ours: what is said of a message, and headers that we add.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_MESSAGE_DOCUMENT_H
#define DBOS_MESSAGE_DOCUMENT_H

#include "postgres.h"

#include "utils/jsonb.h"

extern JsonbParseState *dbos_document_begin(void);
extern Jsonb *dbos_document_end(JsonbParseState *state);

/* Members of the object that has begun; a NULL text is a null. */
extern void dbos_document_number(JsonbParseState **state, const char *name, int64 number);
extern void dbos_document_text(JsonbParseState **state, const char *name, char *text);
extern void dbos_document_put(JsonbParseState **state, const char *name, Jsonb *document);

extern Jsonb *dbos_empty_document(void);

#endif							/* DBOS_MESSAGE_DOCUMENT_H */
