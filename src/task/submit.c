/*
 * submit.c
 *	  dbos.submit() and its sisters: what a task runs.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "commands/sequence.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "gang.h"
#include "submission.h"

PG_FUNCTION_INFO_V1(dbos_submit);
PG_FUNCTION_INFO_V1(dbos_submit_many);
PG_FUNCTION_INFO_V1(dbos_submit_gang);
PG_FUNCTION_INFO_V1(dbos_submit_sql);
PG_FUNCTION_INFO_V1(dbos_guard_task);

/* dbos.submit(function, args, options...): the task's id. */
Datum
dbos_submit(PG_FUNCTION_ARGS)
{
	DbosSubmission	submission;
	const DbosFunctionCall *call;
	const char *name;
	Jsonb	   *args;

	dbos_submit_allowed("dbos.submit()");
	name = dbos_submit_name(fcinfo);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("the arguments of a task must not be null"),
				errhint("Leave them out, or give '{}', for a function without arguments."));
	args = PG_GETARG_JSONB_P(1);
	dbos_submission_read(&submission, fcinfo, 2, DBOS_WITH_KEY);
	call = dbos_submit_resolve(name, args, submission.role);
	PG_RETURN_INT64(dbos_submission_one(&submission, 'f', call->identity, args));
}

/* dbos.submit_sql(command, options...): the task's id. */
Datum
dbos_submit_sql(PG_FUNCTION_ARGS)
{
	DbosSubmission	submission;
	char	   *command;
	Jsonb	   *args;

	dbos_submit_allowed("dbos.submit_sql()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("the command of a task must not be null"));
	command = text_to_cstring(PG_GETARG_TEXT_PP(0));
	dbos_submit_check_command(command);
	dbos_submission_read(&submission, fcinfo, 1, DBOS_WITH_KEY);
	args = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	PG_RETURN_INT64(dbos_submission_one(&submission, 's', command, args));
}

/* A task for each document of the second argument; the tasks' ids, in their order. */
static void
submit_documents(FunctionCallInfo fcinfo, const char *command, char kind)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DbosSubmission	submission;
	const char *name;
	ArrayType  *documents;
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	int64	   *ids;
	MemoryContext round;
	MemoryContext caller;

	dbos_submit_allowed(command);
	name = dbos_submit_name(fcinfo);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("the arguments of the tasks must not be null"),
				errhint("Give an array with one document for each task."));
	documents = PG_GETARG_ARRAYTYPE_P(1);
	if (ARR_NDIM(documents) > 1)
		ereport(ERROR,
				errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("the arguments of the tasks must be a one-dimensional array"),
				errhint("An element is the document of one task."));
	deconstruct_array(documents, JSONBOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
		if (nulls[i])
			ereport(ERROR,
					errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("the arguments of a task must not be null"),
					errdetail("Element %d of the array is null.", i + 1));
	dbos_submission_read(&submission, fcinfo, 2, DBOS_WITHOUT_KEY);
	if (kind == DBOS_KIND_GANG)
		dbos_gang_check(&submission.queue, submission.partition_key != NULL, count);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (count == 0)
		return;

	ids = palloc(sizeof(int64) * count);
	caller = CurrentMemoryContext;
	round = AllocSetContextCreate(caller, "dbos submit", ALLOCSET_DEFAULT_SIZES);
	dbos_submission_open(&submission, count);
	for (int i = 0; i < count; i++)
	{
		Datum		value;
		bool		isnull = false;
		Jsonb	   *args;
		const DbosFunctionCall *call;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(round);
		args = DatumGetJsonbP(elements[i]);
		call = dbos_submit_resolve(name, args, submission.role);
		ids[i] = nextval_internal(submission.sequence, false);
		dbos_submission_insert(&submission, ids[i], kind, call->identity, args);
		MemoryContextSwitchTo(caller);
		if (submission.nslots == submission.space || i == count - 1)
		{
			dbos_submission_flush(&submission);
			MemoryContextReset(round);
		}
		value = Int64GetDatum(ids[i]);
		tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
	}
	dbos_submission_close(&submission);
	if (kind == DBOS_KIND_GANG)
		dbos_gang_write(ids, count);
	dbos_submission_depend(&submission, ids, count);
	dbos_warn_without_workers(submission.now);
	MemoryContextDelete(round);
}

/* dbos.submit_many(function, args[], options...). */
Datum
dbos_submit_many(PG_FUNCTION_ARGS)
{
	submit_documents(fcinfo, "dbos.submit_many()", 'f');
	return (Datum) 0;
}

/* dbos.submit_gang(function, args[], options...). */
Datum
dbos_submit_gang(PG_FUNCTION_ARGS)
{
	submit_documents(fcinfo, "dbos.submit_gang()", DBOS_KIND_GANG);
	return (Datum) 0;
}

/*
 * Trigger on dbos.task for statements; our own writing of rows passes it by or
 * is done as dbos_owner.  Raises 42501 for everybody else but a superuser.
 */
Datum
dbos_guard_task(PG_FUNCTION_ARGS)
{
	if (GetUserId() != dbos_owner_oid() && !superuser())
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied for table task"),
				errdetail("Its rows say as whom a task runs."),
				errhint("Use dbos.submit()."));
	return PointerGetDatum(NULL);
}

/* ---- the task's function or command ---- */

char *
dbos_submit_name(FunctionCallInfo fcinfo)
{
	char	   *name;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("the function of a task must not be null"));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (name[strspn(name, " \t\n\r\f\v")] == '\0')
		ereport(ERROR,
				errcode(ERRCODE_INVALID_NAME),
				errmsg("the function of a task must not be empty"),
				errhint("Give its name, as in dbos.submit('schema.name')."));
	return name;
}

const DbosFunctionCall *
dbos_submit_resolve(const char *name, Jsonb *args, Oid role)
{
	const DbosFunctionCall *call = dbos_function_call_resolve(name, args, role);

	if (call->kind == DBOS_CALL_PROCEDURE)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("%s is a procedure", call->display),
				errhint("Use dbos.submit_sql('CALL %s(...)').", call->display));
	return call;
}

/* The position of a syntax error is one in the command, not in the submitting statement. */
static void
command_error_position(void *arg)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery((const char *) arg);
	}
}

/* Raises a syntax error now; what the command needs is looked up when it runs. */
void
dbos_submit_check_command(const char *command)
{
	ErrorContextCallback position = {
		.callback = command_error_position,
		.arg = unconstify(char *, command),
		.previous = error_context_stack,
	};
	List	   *statements;

	error_context_stack = &position;
	statements = raw_parser(command, RAW_PARSE_DEFAULT);
	error_context_stack = position.previous;
	if (statements == NIL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("the command of a task must not be empty"));
	/* For what it refuses: how it will run is decided when it runs. */
	(void) dbos_command_is_transactional(command);
}
