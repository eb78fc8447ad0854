/*
 * acting_context.c
 *	  Every action is done by somebody, as part of something.
 *
 * The context (session role, role, task, container, purpose) lives in C and
 * cannot be reached by SET.  An executor sets task and container around each
 * task; dbos.enter_container() moves a session inwards.  What is entered in a
 * transaction that rolls back is left again; what is entered in a task ends
 * with the task.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "dbos/kernel.h"

/* What to return to when the subtransaction of this nesting level rolls back. */
typedef struct ContextUndo
{
	int			nest_level;
	int32		container;
	struct ContextUndo *outer;
} ContextUndo;

static int64 current_task = 0;
static int32 current_container = 0;
static int32 container_outside_task = 0;
static ContextUndo *undo = NULL;	/* in TopTransactionContext */

DbosActingContext
dbos_acting_context(void)
{
	DbosActingContext context;

	memset(&context, 0, sizeof(context));
	context.session_role = GetSessionUserId();
	context.role = GetUserId();
	context.task = current_task;
	context.container = current_container;
	return context;
}

int64
dbos_context_task(void)
{
	return current_task;
}

int32
dbos_context_container(void)
{
	return current_container;
}

void
dbos_context_set_container(int32 container)
{
	int			level = GetCurrentTransactionNestLevel();

	if (undo == NULL || undo->nest_level < level)
	{
		ContextUndo *entry = MemoryContextAlloc(TopTransactionContext, sizeof(ContextUndo));

		entry->nest_level = level;
		entry->container = current_container;
		entry->outer = undo;
		undo = entry;
	}
	current_container = container;
}

void
dbos_context_begin_task(int64 task, int32 container)
{
	Assert(current_task == 0);
	container_outside_task = current_container;
	current_task = task;
	current_container = container;
}

void
dbos_context_end_task(void)
{
	if (current_task == 0)
		return;
	current_task = 0;
	current_container = container_outside_task;
	undo = NULL;
}

static void
context_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
			while (undo != NULL)
			{
				current_container = undo->container;
				undo = undo->outer;
			}
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PREPARE:
			undo = NULL;
			break;
		default:
			break;
	}
}

static void
context_subxact_callback(SubXactEvent event, SubTransactionId mySubid,
						 SubTransactionId parentSubid, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (undo == NULL || undo->nest_level < level)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		current_container = undo->container;
		undo = undo->outer;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		/* The parent takes over, unless it has an older value of its own to return to. */
		if (undo->outer != NULL && undo->outer->nest_level == level - 1)
			undo = undo->outer;
		else
			undo->nest_level = level - 1;
	}
}

void
dbos_context_install(void)
{
	RegisterXactCallback(context_xact_callback, NULL);
	RegisterSubXactCallback(context_subxact_callback, NULL);
}
