/*
 * view.c
 *	  The snapshot by which an operation on files reads.
 *
 * A function that changes files must see what the same statement has changed before it
 * (SELECT write_file(...) FROM ... makes a directory and fills it), so each operation
 * takes a snapshot of its own, as a statement of a VOLATILE function does.
 *
 * When a row turns out to be changed by somebody else, the operation looks again with a new
 * snapshot; in REPEATABLE READ and above there is none, and it fails with 40001.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "file.h"

Snapshot
dbos_view_begin(void)
{
	PushCopiedSnapshot(GetTransactionSnapshot());
	UpdateActiveSnapshotCommandId();
	return GetActiveSnapshot();
}

void
dbos_view_end(void)
{
	PopActiveSnapshot();
}

Snapshot
dbos_view_renew(void)
{
	PopActiveSnapshot();
	CHECK_FOR_INTERRUPTS();
	return dbos_view_begin();
}

void
dbos_changed(void)
{
	CommandCounterIncrement();
}

void
dbos_conflict(void)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg("could not serialize access due to concurrent change of a file"));
}
