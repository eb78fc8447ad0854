/*
 * task_row.c
 *	  The two steps that every task takes, without the executor: its row is
 *	  locked when it starts, and moves to the history when it ends.
 *
 * What these statements would say is fixed, and starting the executor for them
 * costs more than all that they do.  The meaning is that of SELECT ... FOR UPDATE,
 * and of DELETE ... RETURNING feeding an INSERT; no code of a user can run in
 * them, since our indexes are on plain columns and the one trigger of our tables is
 * for statements that others write.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#include "task_row.h"

/* The columns of dbos.task_history, in the order of sql/task.sql. */
enum HistoryColumn
{
	HISTORY_ID,
	HISTORY_STATE,
	HISTORY_QUEUE_ID,
	HISTORY_SESSION_ROLE,
	HISTORY_ROLE,
	HISTORY_CONTAINER_ID,
	HISTORY_PRIORITY,
	HISTORY_RUN_AT,
	HISTORY_SUBMITTED_AT,
	HISTORY_STARTED_AT,
	HISTORY_FINISHED_AT,
	HISTORY_ATTEMPT,
	HISTORY_MAX_ATTEMPTS,
	HISTORY_CRASHES,
	HISTORY_TIMEOUT,
	HISTORY_DEADLINE,
	HISTORY_KIND,
	HISTORY_FUNCTION,
	HISTORY_ARGS,
	HISTORY_PARENT_ID,
	HISTORY_IDEMPOTENCY_KEY,
	HISTORY_PARTITION_KEY,
	HISTORY_ATTRIBUTES,
	HISTORY_RETRY_DELAY,
	HISTORY_RETRY_BACKOFF,
	HISTORY_WORKER_PID,
	HISTORY_RESULT,
	HISTORY_ERROR,
	HISTORY_CPU_SECONDS,
	HISTORY_ROWS,
	HISTORY_BUFFERS_HIT,
	HISTORY_BUFFERS_READ,
	HISTORY_MEMORY_BYTES,
	HISTORY_XID,
	HISTORY_FILE_BYTES_READ,
	HISTORY_FILE_BYTES_WRITTEN,
	HISTORY_COLUMNS
};

/* What a task keeps when it ends. */
static const struct
{
	enum HistoryColumn to;
	enum TaskColumn from;
}			kept[] = {
	{HISTORY_ID, TASK_ID},
	{HISTORY_QUEUE_ID, TASK_QUEUE_ID},
	{HISTORY_SESSION_ROLE, TASK_SESSION_ROLE},
	{HISTORY_ROLE, TASK_ROLE},
	{HISTORY_CONTAINER_ID, TASK_CONTAINER_ID},
	{HISTORY_PRIORITY, TASK_PRIORITY},
	{HISTORY_RUN_AT, TASK_RUN_AT},
	{HISTORY_SUBMITTED_AT, TASK_SUBMITTED_AT},
	{HISTORY_MAX_ATTEMPTS, TASK_MAX_ATTEMPTS},
	{HISTORY_CRASHES, TASK_CRASHES},
	{HISTORY_TIMEOUT, TASK_TIMEOUT},
	{HISTORY_DEADLINE, TASK_DEADLINE},
	{HISTORY_KIND, TASK_KIND},
	{HISTORY_FUNCTION, TASK_FUNCTION},
	{HISTORY_ARGS, TASK_ARGS},
	{HISTORY_PARENT_ID, TASK_PARENT_ID},
	{HISTORY_IDEMPOTENCY_KEY, TASK_IDEMPOTENCY_KEY},
	{HISTORY_PARTITION_KEY, TASK_PARTITION_KEY},
	{HISTORY_ATTRIBUTES, TASK_ATTRIBUTES},
	{HISTORY_RETRY_DELAY, TASK_RETRY_DELAY},
	{HISTORY_RETRY_BACKOFF, TASK_RETRY_BACKOFF},
};

/* Where ended tasks of this moment go. */
typedef struct Destination
{
	Relation	partition;
	EState	   *estate;
	ResultRelInfo *target;
	TupleTableSlot *slot;
} Destination;

/*
 * What a batch keeps open from its first member's end to its own: opening costs
 * more than the row.  Nothing else happens between then and there but queries
 * and changes of rows, since whoever would do more runs alone (company.c).
 */
typedef struct KeptOpen
{
	Relation	task;
	Relation	pkey;
	IndexScanDesc scan;
	Snapshot	snapshot;		/* as of the batch's second member */
	Destination to;
	TimestampTz until;			/* the end of that partition's day */
} KeptOpen;

static KeptOpen kept_open;		/* task is NULL when nothing is */

static bool
fetch_by(IndexScanDesc scan, int64 task, TupleTableSlot *slot)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(DBOS_SHARD(task)));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(task));
	index_rescan(scan, keys, 2, NULL, 0);
	return index_getnext_slot(scan, ForwardScanDirection, slot);
}

/* Fetches the version of a task's row that the snapshot sees. */
static bool
fetch_task(Relation relation, int64 task, Snapshot snapshot, TupleTableSlot *slot)
{
	Relation	index = index_open(dbos_relation_oid("task_pkey"), AccessShareLock);
	IndexScanDesc scan = dbos_index_beginscan(relation, index, snapshot, 2);
	bool		found = fetch_by(scan, task, slot);

	index_endscan(scan);
	index_close(index, NoLock);
	return found;
}

/* Locks the row that was fetched, or its latest version; false when it is gone, or another's and not waited for. */
static bool
lock_row(Relation relation, Snapshot snapshot, LockWaitPolicy wait, TupleTableSlot *slot, bool *busy)
{
	TM_FailureData failure;
	uint8		flags = TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS;
	ItemPointerData at = slot->tts_tid;

	if (!IsolationUsesXactSnapshot())
		flags |= TUPLE_LOCK_FLAG_FIND_LAST_VERSION;
	switch (table_tuple_lock(relation, &at, snapshot, slot, GetCurrentCommandId(false),
							 LockTupleExclusive, wait, flags, &failure))
	{
		case TM_Ok:
			return true;
		case TM_Updated:
		case TM_Deleted:
			if (IsolationUsesXactSnapshot())
				ereport(ERROR,
						errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("could not serialize access due to concurrent update"));
			return false;
		case TM_WouldBlock:
			*busy = true;
			return false;
		case TM_SelfModified:
		case TM_Invisible:
		case TM_BeingModified:
			return false;
	}
	return false;
}

/* Fetches and locks by what is open; false also when nothing was found. */
static bool
fetch_and_lock(int64 task, LockWaitPolicy wait, DbosTaskRow *row)
{
	bool		locked;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (row->relation == kept_open.task)
	{
		/* A scan may allocate what it keeps for its next use, as for dead entries that it meets. */
		MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

		locked = fetch_by(kept_open.scan, task, row->slot);
		MemoryContextSwitchTo(old);
	}
	else
		locked = fetch_task(row->relation, task, GetActiveSnapshot(), row->slot);
	locked = locked && lock_row(row->relation, GetActiveSnapshot(), wait, row->slot, &row->busy);
	PopActiveSnapshot();
	return locked;
}

static void
open_row(DbosTaskRow *row)
{
	row->busy = false;
	row->relation = kept_open.task;
	if (row->relation == NULL)
		row->relation = table_open(dbos_relation_oid("task"), RowExclusiveLock);
	if (RelationGetDescr(row->relation)->natts != TASK_COLUMNS)
		elog(ERROR, "dbos.task has %d columns, not %d",
			 RelationGetDescr(row->relation)->natts, TASK_COLUMNS);
	row->slot = table_slot_create(row->relation, NULL);
}

/* What was fetched is ours, without a buffer; false, and closed, when nothing was. */
static bool
keep_row(DbosTaskRow *row, bool fetched)
{
	if (!fetched)
	{
		dbos_task_row_close(row);
		return false;
	}
	ExecMaterializeSlot(row->slot);
	slot_getallattrs(row->slot);
	return true;
}

/*
 * Locks the row of a task; false when there is none, or, with LockWaitSkip, when
 * another transaction has it.  The caller closes it; its lock stays.  It holds no
 * buffer: user code may run as long as it likes before the row is moved.
 */
bool
dbos_task_row_lock(int64 task, LockWaitPolicy wait, DbosTaskRow *row)
{
	open_row(row);
	return keep_row(row, fetch_and_lock(task, wait, row));
}

bool
dbos_task_row_read(int64 task, DbosTaskRow *row)
{
	bool		found;

	open_row(row);
	PushActiveSnapshot(GetTransactionSnapshot());
	found = fetch_task(row->relation, task, GetActiveSnapshot(), row->slot);
	found = keep_row(row, found);
	PopActiveSnapshot();
	return found;
}

void
dbos_task_row_close(DbosTaskRow *row)
{
	ExecDropSingleTupleTableSlot(row->slot);
	if (row->relation != kept_open.task)
		table_close(row->relation, NoLock);
}

static void
put(TupleTableSlot *slot, enum HistoryColumn column, Datum value)
{
	slot->tts_values[column] = value;
	slot->tts_isnull[column] = false;
}

static void
destination_open(Destination *to, TimestampTz now)
{
	to->partition = table_open(dbos_history_partition(now), RowExclusiveLock);
	if (RelationGetDescr(to->partition)->natts != HISTORY_COLUMNS)
		elog(ERROR, "%s has %d columns, not %d", RelationGetRelationName(to->partition),
			 RelationGetDescr(to->partition)->natts, HISTORY_COLUMNS);
	to->estate = CreateExecutorState();
	to->target = makeNode(ResultRelInfo);
	InitResultRelInfo(to->target, to->partition, 0, NULL, 0);
	ExecOpenIndices(to->target, false);
	to->slot = MakeSingleTupleTableSlot(RelationGetDescr(to->partition), &TTSOpsVirtual);
}

static void
destination_close(Destination *to)
{
	ExecDropSingleTupleTableSlot(to->slot);
	ExecCloseIndices(to->target);
	FreeExecutorState(to->estate);
	table_close(to->partition, NoLock);
}

/* Makes the history's row of a task's row. */
static void
fill_history(TupleTableSlot *slot, const DbosTaskRow *row, const char *state, Jsonb *result, Jsonb *error,
			 const DbosAttempt *attempt, TimestampTz now)
{
	int32		attempts = DatumGetInt32(row->slot->tts_values[TASK_ATTEMPT]);

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * HISTORY_COLUMNS);
	for (int i = 0; i < lengthof(kept); i++)
	{
		slot->tts_values[kept[i].to] = row->slot->tts_values[kept[i].from];
		slot->tts_isnull[kept[i].to] = row->slot->tts_isnull[kept[i].from];
	}
	put(slot, HISTORY_STATE, CStringGetTextDatum(state));
	put(slot, HISTORY_FINISHED_AT, TimestampTzGetDatum(now));
	put(slot, HISTORY_ATTEMPT, Int32GetDatum(attempts + (attempt != NULL ? 1 : 0)));
	put(slot, HISTORY_XID, FullTransactionIdGetDatum(GetTopFullTransactionId()));
	if (result != NULL)
		put(slot, HISTORY_RESULT, JsonbPGetDatum(result));
	if (error != NULL)
		put(slot, HISTORY_ERROR, JsonbPGetDatum(error));
	if (attempt != NULL)
	{
		put(slot, HISTORY_STARTED_AT, TimestampTzGetDatum(attempt->started_at));
		put(slot, HISTORY_WORKER_PID, Int32GetDatum(attempt->pid));
		put(slot, HISTORY_CPU_SECONDS, Float4GetDatum((float4) attempt->cpu_seconds));
		put(slot, HISTORY_ROWS, Int64GetDatum(attempt->rows));
		put(slot, HISTORY_BUFFERS_HIT, Int64GetDatum(attempt->buffers_hit));
		put(slot, HISTORY_BUFFERS_READ, Int64GetDatum(attempt->buffers_read));
		put(slot, HISTORY_MEMORY_BYTES, Int64GetDatum(attempt->memory_bytes));
		put(slot, HISTORY_FILE_BYTES_READ, Int64GetDatum(attempt->file_bytes_read));
		put(slot, HISTORY_FILE_BYTES_WRITTEN, Int64GetDatum(attempt->file_bytes_written));
	}
	ExecStoreVirtualTuple(slot);
}

/* Deletes the row where it was locked, or where this transaction itself has moved it since. */
static void
delete_locked(DbosTaskRow *row)
{
	TM_FailureData failure;
	TM_Result	result = table_tuple_delete(row->relation, &row->slot->tts_tid, GetCurrentCommandId(true),
											GetActiveSnapshot(), InvalidSnapshot, true, &failure, false);

	/* Its own function may have changed it, as a superuser can. */
	if (result == TM_SelfModified || result == TM_Updated)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("row of the task was changed while it ran"));
	if (result != TM_Ok)
		elog(ERROR, "could not delete the locked row of a task");
}

/*
 * Moves a locked row to the history's partition of this moment.  What is stored
 * out of line is copied by the insert, which therefore comes before the delete.
 */
void
dbos_task_row_move(DbosTaskRow *row, const char *state, Jsonb *result, Jsonb *error,
				   const DbosAttempt *attempt, TimestampTz now)
{
	bool		keep = kept_open.task != NULL && now < kept_open.until;
	Destination to;

	if (keep)
		to = kept_open.to;
	else
		destination_open(&to, now);
	fill_history(to.slot, row, state, result, error, attempt, now);
	table_tuple_insert(to.partition, to.slot, GetCurrentCommandId(true), 0, NULL);
	dbos_insert_index_tuples(to.target, to.slot, to.estate);
	delete_locked(row);
	if (!keep)
		destination_close(&to);
	CommandCounterIncrement();
}

/* Opens, until the end of this transaction, what the rows of a batch go through. */
void
dbos_task_rows_keep_open(void)
{
	MemoryContext old;
	TimestampTz now = GetCurrentTimestamp();

	if (kept_open.task != NULL)
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	destination_open(&kept_open.to, now);
	kept_open.until = (now / USECS_PER_DAY + 1) * USECS_PER_DAY;
	kept_open.pkey = index_open(dbos_relation_oid("task_pkey"), AccessShareLock);
	kept_open.snapshot = RegisterSnapshot(GetLatestSnapshot());
	kept_open.task = table_open(dbos_relation_oid("task"), RowExclusiveLock);
	kept_open.scan = dbos_index_beginscan(kept_open.task, kept_open.pkey, kept_open.snapshot, 2);
	MemoryContextSwitchTo(old);
}

/* Before the commit. */
void
dbos_task_rows_close(void)
{
	if (kept_open.task == NULL)
		return;
	index_endscan(kept_open.scan);
	UnregisterSnapshot(kept_open.snapshot);
	index_close(kept_open.pkey, NoLock);
	table_close(kept_open.task, NoLock);
	destination_close(&kept_open.to);
	kept_open.task = NULL;
}

/* After an abort, which has closed all of it. */
void
dbos_task_rows_forget(void)
{
	kept_open.task = NULL;
}

/* The table of cancellations was empty when as many had been told. */
static bool cancellations_empty = false;
static uint64 cancellations_told = 0;

/* Whether it is known without a look that nobody has told any task to stop. */
static bool
no_cancellations(void)
{
	uint64		told;

	if (dbos_task_shared == NULL)
		return false;
	told = pg_atomic_read_u64(&dbos_task_shared->cancels);
	if (cancellations_empty && cancellations_told == told)
		return true;
	cancellations_empty = false;
	cancellations_told = told;
	return false;
}

/* Whether a running task was told to stop. */
bool
dbos_task_row_cancelled(int64 task)
{
	Relation	relation;
	Relation	index;
	TupleTableSlot *slot;
	IndexScanDesc scan;
	ScanKeyData key;
	bool		found;

	if (no_cancellations())
		return false;
	relation = table_open(dbos_relation_oid("task_cancellation"), AccessShareLock);
	/* One that was emptied is cut by the next vacuum. */
	cancellations_empty = RelationGetNumberOfBlocks(relation) == 0;
	if (cancellations_empty)
	{
		table_close(relation, AccessShareLock);
		return false;
	}
	index = index_open(dbos_relation_oid("task_cancellation_pkey"), AccessShareLock);
	slot = table_slot_create(relation, NULL);
	PushActiveSnapshot(GetTransactionSnapshot());
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(task));
	scan = dbos_index_beginscan(relation, index, GetActiveSnapshot(), 1);
	index_rescan(scan, &key, 1, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, slot);
	index_endscan(scan);
	PopActiveSnapshot();
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(relation, NoLock);
	return found;
}

/* ---- a look ---- */

static Jsonb *
jsonb_or_null(TupleTableSlot *slot, enum HistoryColumn column)
{
	return slot->tts_isnull[column] ? NULL : DatumGetJsonbPCopy(slot->tts_values[column]);
}

static bool
glance_at_live(int64 task, Snapshot snapshot, DbosTaskGlance *glance)
{
	Relation	relation = table_open(dbos_relation_oid("task"), AccessShareLock);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	bool		found = fetch_task(relation, task, snapshot, slot);

	if (found)
	{
		bool		null;

		slot_getallattrs(slot);
		glance->role = DatumGetObjectId(slot->tts_values[TASK_ROLE]);
		glance->container = DatumGetInt32(slot->tts_values[TASK_CONTAINER_ID]);
		glance->xmin = DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &null));
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, AccessShareLock);
	return found;
}

/* The index of a partition on the id; InvalidOid when somebody has dropped it. */
static Oid
index_on_id(Relation partition)
{
	List	   *indexes = RelationGetIndexList(partition);
	Oid			found = InvalidOid;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index->rd_index->indisvalid && index->rd_index->indkey.values[0] == HISTORY_ID + 1 &&
			RelationGetIndexPredicate(index) == NIL)
			found = lfirst_oid(cell);
		index_close(index, NoLock);
		if (OidIsValid(found))
			break;
	}
	list_free(indexes);
	return found;
}

static bool
glance_at_partition(Oid oid, int64 task, Snapshot snapshot, DbosTaskGlance *glance)
{
	Relation	partition = table_open(oid, AccessShareLock);
	Oid			index_oid = index_on_id(partition);
	bool		found = false;

	if (OidIsValid(index_oid) && RelationGetDescr(partition)->natts == HISTORY_COLUMNS)
	{
		Relation	index = index_open(index_oid, AccessShareLock);
		TupleTableSlot *slot = table_slot_create(partition, NULL);
		IndexScanDesc scan = dbos_index_beginscan(partition, index, snapshot, 1);
		ScanKeyData key;

		ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(task));
		index_rescan(scan, &key, 1, NULL, 0);
		found = index_getnext_slot(scan, ForwardScanDirection, slot);
		if (found)
		{
			slot_getallattrs(slot);
			glance->ended = true;
			glance->role = DatumGetObjectId(slot->tts_values[HISTORY_ROLE]);
			glance->container = DatumGetInt32(slot->tts_values[HISTORY_CONTAINER_ID]);
			glance->state = TextDatumGetCString(slot->tts_values[HISTORY_STATE]);
			glance->result = jsonb_or_null(slot, HISTORY_RESULT);
			glance->error = jsonb_or_null(slot, HISTORY_ERROR);
		}
		index_endscan(scan);
		ExecDropSingleTupleTableSlot(slot);
		index_close(index, NoLock);
	}
	table_close(partition, NoLock);
	return found;
}

/*
 * What a snapshot sees of a task that waits, runs, or has ended today, the
 * results allocated in the current memory context: what a waiter that was just
 * woken finds.  False when it is older, or not there.
 */
bool
dbos_task_row_glance(int64 task, Snapshot snapshot, DbosTaskGlance *glance)
{
	Oid			partition;

	memset(glance, 0, sizeof(*glance));
	if (glance_at_live(task, snapshot, glance))
		return true;
	partition = dbos_history_partition_if_any(GetCurrentTimestamp());
	return OidIsValid(partition) && glance_at_partition(partition, task, snapshot, glance);
}
