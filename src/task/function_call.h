/*
 * function_call.h
 *	  A task's function: found by name at submit, by identity at run, and called
 *	  with the values of one jsonb document.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_FUNCTION_CALL_H
#define DBOS_FUNCTION_CALL_H

#include "postgres.h"

#include "executor/spi.h"
#include "utils/jsonb.h"

typedef enum DbosCallKind
{
	DBOS_CALL_FUNCTION,
	DBOS_CALL_PROCEDURE
} DbosCallKind;

/*
 * Lives until the end of the top-level transaction in which it was returned, or
 * in CurrentMemoryContext when the session's cache is full: use it in the
 * transaction that asked for it, and do not free it.
 */
typedef struct DbosFunctionCall
{
	Oid			function;
	DbosCallKind kind;
	const char *identity;		/* schema.name(argtypes), fully qualified and quoted; stored with the task */
	const char *display;		/* schema.name, what people read */
	const char *sql;			/* calls it and returns one jsonb column; $1 is the document if takes_args */
	bool		takes_args;
	bool		positional;		/* the document is an array, $1 an object keyed by ordinal */
} DbosFunctionCall;

/*
 * At submit: name as a user typed it ('f', 's.f', 's.f(int, text)').  Finds the
 * one function that the arguments fit, checks that role may execute it, and
 * converts every argument with its type's input function, as the current user.
 * Raises 42883, 42725, 42501, 22023, 0A000, or what an input function raises.
 */
extern const DbosFunctionCall *dbos_function_call_resolve(const char *name, Jsonb *args, Oid role);

/*
 * At run: the function of exactly this identity, for a document of this shape.
 * Raises 42883 when it is gone, 42501 when role may not execute it any more, and
 * what resolve raises when it changed so that the document no longer fits.
 */
extern const DbosFunctionCall *dbos_function_call_recheck(const char *identity, Jsonb *args, Oid role);

/*
 * The value of $1 of call->sql for these arguments; NULL when it takes none.
 * args itself, or built in CurrentMemoryContext.
 */
extern Jsonb *dbos_function_call_arguments(const DbosFunctionCall *call, Jsonb *args);

/*
 * The statement prepared as the current user, kept for the session and for this
 * user alone.  Between SPI_connect and SPI_finish.  Valid as long as the call.
 */
extern SPIPlanPtr dbos_function_call_plan(const DbosFunctionCall *call);

/*
 * Calls it in the current transaction, as the current user; its value, in the current
 * context, or NULL.  *rows, unless NULL: how many it returned.
 */
extern Jsonb *dbos_function_call_execute(const DbosFunctionCall *call, Jsonb *args, int64 *rows);

#endif							/* DBOS_FUNCTION_CALL_H */
