/*
 * template.c
 *	  Tasks that other rooms submit, in the name of whoever asked for them; and calls
 *	  that are made as a task would make them.
 *
 * A template is made in the session of whoever says what is to run, with the checks of a
 * submit; the room keeps it in a row of its own.  Its tasks are submitted later, by the process
 * that a database has for such things.  No user's code runs there: whether the values
 * convert is found out when the task runs, as its role.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/regproc.h"
#include "utils/resowner.h"

#include "dbos/container.h"

#include "argument_map.h"
#include "submission.h"

#define DEFAULT_QUEUE	"default"

/* ---- making one ---- */

static NullableDatum
given(Datum value)
{
	return (NullableDatum) {.value = value, .isnull = false};
}

/* Reads and checks the options as a submit does. */
static void
read_options(DbosSubmission *submission, FunctionCallInfo fcinfo, int at)
{
	/* The options of dbos.submit(), in their order. */
	enum
	{
		QUEUE, PRIORITY, RUN_AT, DELAY, AFTER, KEY, PARTITION_KEY, MAX_ATTEMPTS, RETRY_DELAY, RETRY_BACKOFF,
		TIMEOUT, DEADLINE, ATTRIBUTES, OPTIONS
	};
	static const int from[] = {QUEUE, PRIORITY, MAX_ATTEMPTS, RETRY_DELAY, TIMEOUT};
	Interval	second = {.time = USECS_PER_SEC};
	FmgrInfo	unused = {0};

	LOCAL_FCINFO(call, OPTIONS);

	InitFunctionCallInfoData(*call, &unused, OPTIONS, InvalidOid, NULL, NULL);
	for (int i = 0; i < OPTIONS; i++)
		call->args[i] = (NullableDatum) {.isnull = true};
	call->args[QUEUE] = given(CStringGetTextDatum(DEFAULT_QUEUE));
	call->args[PRIORITY] = given(Int32GetDatum(0));
	call->args[MAX_ATTEMPTS] = given(Int32GetDatum(1));
	call->args[RETRY_DELAY] = given(IntervalPGetDatum(&second));
	call->args[RETRY_BACKOFF] = given(Float4GetDatum(2));
	call->args[ATTRIBUTES] = given(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	for (int i = 0; fcinfo != NULL && i < lengthof(from); i++)
		call->args[from[i]] = fcinfo->args[at + i];
	dbos_submission_read(submission, call, 0, DBOS_WITH_KEY);
}

/* The identity of the one function of that name. */
static char *
one_function(const char *name)
{
	DbosSignature *signature = dbos_function_named(name, GetUserId());

	if (signature == NULL)
		ereport(ERROR,
				errcode(ERRCODE_AMBIGUOUS_FUNCTION),
				errmsg("function %s is not unique", name),
				errdetail("There is more than one function of that name."),
				errhint("Write schema.name(argument types)."));
	return format_procedure_qualified(signature->function);
}

void
dbos_task_template_make(DbosTaskTemplate *template, const char *command, const char *name,
						FunctionCallInfo fcinfo, int at)
{
	DbosSubmission submission;

	dbos_submit_allowed(command);
	read_options(&submission, fcinfo, at);
	memset(template, 0, sizeof(*template));
	template->session_role = submission.session_role;
	template->role = submission.role;
	template->container = submission.container;
	template->queue_id = submission.queue.queue_id;
	template->priority = submission.priority;
	template->max_attempts = submission.max_attempts;
	template->retry_delay = *submission.retry_delay;
	if (submission.timeout != NULL)
		template->timeout = *submission.timeout;
	template->function = one_function(name);
	dbos_warn_without_workers(submission.now);
}

/* ---- its tasks ---- */

/* Raises what would keep every task of it from running. */
static void
check_template(const DbosTaskTemplate *template)
{
	DbosOwnerScope scope;

	dbos_submit_check_roles(template->session_role, template->role);
	dbos_container_hold(template->container);
	(void) dbos_function_named(template->function, template->role);
	dbos_owner_begin(&scope);
	(void) dbos_queue_by_id(template->queue_id);
	dbos_owner_end(&scope);
}

ErrorData *
dbos_task_obstacle(const DbosTaskTemplate *template, const DbosTaskDocument *document)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile obstacle = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		if (document == NULL)
			check_template(template);
		else
		{
			dbos_submit_check_key(document->partition_key, "partition_key");
			(void) dbos_function_call_recheck(template->function, document->args, template->role);
		}
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		obstacle = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return obstacle;
}

/* What its tasks have in common, as a submit has it. */
static void
begin_submission(const DbosTaskTemplate *template, DbosSubmission *submission)
{
	DbosOwnerScope scope;

	memset(submission, 0, sizeof(*submission));
	submission->session_role = template->session_role;
	submission->role = template->role;
	submission->container = template->container;
	submission->now = dbos_now();
	submission->priority = template->priority;
	submission->max_attempts = template->max_attempts;
	submission->retry_delay = unconstify(Interval *, &template->retry_delay);
	submission->retry_backoff = 2;
	if (template->timeout.time != 0 || template->timeout.day != 0 || template->timeout.month != 0)
		submission->timeout = unconstify(Interval *, &template->timeout);
	submission->sequence = dbos_relation_oid("task_id");
	dbos_container_hold(submission->container);
	dbos_owner_begin(&scope);
	submission->queue = dbos_queue_by_id(template->queue_id);
	dbos_owner_end(&scope);
}

void
dbos_task_template_submit(const DbosTaskTemplate *template, DbosTaskDocument *documents, int count)
{
	DbosSubmission submission;

	if (count == 0)
		return;
	begin_submission(template, &submission);
	dbos_submission_open(&submission, count);
	for (int i = 0; i < count; i++)
	{
		DbosTaskDocument *document = &documents[i];
		text	   *key = document->partition_key;

		submission.partition_key = key;
		submission.partition = key == NULL ? 0 : dbos_partition_hash(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
		submission.attributes = document->attributes;
		document->id = nextval_internal(submission.sequence, false);
		dbos_submission_insert(&submission, document->id, 'f', template->function, document->args);
		if (submission.nslots == submission.space)
			dbos_submission_flush(&submission);
	}
	dbos_submission_flush(&submission);
	dbos_submission_close(&submission);
}

/* ---- calls in this session ---- */

void
dbos_call_check(const char *name)
{
	(void) dbos_function_named(name, GetUserId());
}

Jsonb *
dbos_call(const char *name, Jsonb *args)
{
	const DbosFunctionCall *call = dbos_submit_resolve(name, args, GetUserId());

	return dbos_function_call_execute(call, args, NULL);
}
