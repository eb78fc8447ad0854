/*
 * compact.c
 *	  Tables of content are given back what overwriting has left: dead rows are vacuumed, and what lies behind free pages is moved into them.
 *
 * A process of its own does it (bgworkers/upkeep.c), since a vacuum may take long and others wait for the
 * process that does the duties. The duty looks at counters only, when some session says that its transactions have
 * emptied pages, and starts that process when a tenth of a table is dead. Autovacuum would come too, later.
 *
 * A vacuum shortens a table by the free pages at its end.  So when a good part of a table is free, and nobody has written to
 * it for a while, rows from its end are moved into free pages in front: each is deleted and inserted again, a
 * few hundred in a transaction, until somebody writes.  It waits for nobody: a row that somebody has stays.
 * Who comes to change a row that was moved finds it where it is now (chunk.c), or begins again (view.c).
 *
 * To the rest of the server the process is as one of autovacuum: who needs the database or a table for itself
 * may cancel it, and does.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "storage/bufmgr.h"
#include "storage/freespace.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "reuse.h"

/* Of a table with fewer pages nothing is moved, and with fewer dead rows nothing is vacuumed. */
#define MIN_PAGES 128
#define MIN_DEAD 500
/* It is vacuumed when so many of a hundred rows are dead, and made shorter when so many pages are free. */
#define DEAD_PERCENT 10
#define FREE_PERCENT 10
/* A page counts as free when the map says that a full chunk fits, or half a page where rows are small. */
#define SAMPLE 2000
#define ROWS_AT_ONCE 256
/* The duty looks no more often than that; when nothing came of it the pauses become longer. */
#define LOOK_MS 5000
#define LONGEST_PAUSE_MS 600000
/* Nobody must have written for so long, and it is waited for that no longer than so long. */
#define QUIET_MS 2000
#define QUIET_STEP_MS 100
#define QUIET_WAIT_MS 20000
/* A session says that it has emptied pages when there are so many, or after that time. */
#define WANT_PAGES 256
#define WANT_MS 5000
/* Of our advisory lock; no SQL function can ask for it, and the task room's are smaller. */
#define LOCK_KIND 1000

typedef struct Kept
{
	DbosTableName name;
	const char *relation;
	Size		room;			/* free bytes that make a page worth filling */
	bool		moves;
} Kept;

static const Kept kept[] = {
	{TABLE_CHUNK, "chunk", 8128, true},
	{TABLE_CHUNK_TAIL, "chunk_tail", BLCKSZ / 2, true},
	{TABLE_INODE, "inode", BLCKSZ / 2, true},
	{TABLE_EXTENT, "extent", BLCKSZ / 2, false},
	{TABLE_ENTRY, "directory_entry", BLCKSZ / 2, false},
	{TABLE_FREED, "freed_extent", BLCKSZ / 2, false},
};

/* ---- what there is to do ---- */

static int64
counter(PGFunction function, Oid relation)
{
	return DatumGetInt64(DirectFunctionCall1(function, ObjectIdGetDatum(relation)));
}

static bool
wants_vacuum(Oid relation)
{
	int64		dead = counter(pg_stat_get_dead_tuples, relation);

	return dead >= MIN_DEAD && dead * 100 >= (dead + counter(pg_stat_get_live_tuples, relation)) * DEAD_PERCENT;
}

/* Whether many pages are free, as the map of free space has it. */
static bool
has_room(const Kept *table, Relation relation)
{
	BlockNumber blocks = RelationGetNumberOfBlocks(relation);
	BlockNumber step = Max(blocks / SAMPLE, 1);
	uint32		looked = 0;
	uint32		empty = 0;

	if (blocks < MIN_PAGES)
		return false;
	for (BlockNumber block = 0; block < blocks; block += step)
	{
		empty += GetRecordedFreeSpace(relation, block) >= table->room;
		looked++;
	}
	return empty * 100 >= looked * FREE_PERCENT;
}

static bool
wants_moves(const Kept *table)
{
	Relation	relation;
	bool		wants;

	if (!table->moves)
		return false;
	relation = table_open(dbos_relation_oid(table->relation), AccessShareLock);
	wants = has_room(table, relation);
	table_close(relation, AccessShareLock);
	return wants;
}

/* ---- moving ---- */

/* Whether somebody else's transaction has written to the table, or is about to. */
static bool
is_written(Oid relation)
{
	LOCKTAG		tag;
	int			holders;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relation);
	(void) GetLockConflicts(&tag, ShareLock, &holders);
	return holders > 0;
}

typedef struct Moving
{
	const Kept *kept;
	DbosTable	table;
	BlockNumber source;			/* the next page that is emptied, from the end */
	BlockNumber target;			/* the page that is filled, from the start */
	int			moved;
} Moving;

/* The next page with room for so much in front of those that are emptied becomes the one that is filled. */
static bool
find_target(Moving *moving, Size length)
{
	Relation	relation = moving->table.heap;

	for (; moving->target < moving->source; moving->target++)
	{
		CHECK_FOR_INTERRUPTS();
		if (GetRecordedFreeSpace(relation, moving->target) < Min(moving->kept->room, length))
			continue;
		if (dbos_page_room(relation, moving->target) >= length)
		{
			RelationSetTargetBlock(relation, moving->target);
			return true;
		}
	}
	return false;
}

static bool
delete_if_free(DbosTable *table, ItemPointer tid, Snapshot snapshot)
{
	TM_FailureData failure;

	return table_tuple_delete(table->heap, tid, GetCurrentCommandId(true), snapshot, InvalidSnapshot, false, &failure, false) == TM_Ok;
}

/* Moves the row; false: there is no room in front. */
static bool
move_row(Moving *moving, HeapTuple row, Snapshot snapshot)
{
	TupleDesc	descriptor = RelationGetDescr(moving->table.heap);
	Datum	   *values = palloc(sizeof(Datum) * descriptor->natts);
	bool	   *nulls = palloc(sizeof(bool) * descriptor->natts);

	if (!find_target(moving, MAXALIGN(row->t_len)))
		return false;
	if (!delete_if_free(&moving->table, &row->t_self, snapshot))
		return true;
	heap_deform_tuple(row, descriptor, values, nulls);
	(void) dbos_table_insert(&moving->table, values, nulls, UNIQUE_RAISE);
	moving->moved++;
	/* Another page than the one in front of it: the map was wrong. */
	return ItemPointerGetBlockNumber(&moving->table.at) < moving->source;
}

static List *
rows_of_page(DbosTable *table, BlockNumber block, Snapshot snapshot)
{
	ItemPointerData first;
	ItemPointerData last;
	TableScanDesc scan;
	List	   *rows = NIL;

	ItemPointerSet(&first, block, FirstOffsetNumber);
	ItemPointerSet(&last, block, MaxOffsetNumber);
	scan = table_beginscan_tidrange(table->heap, snapshot, &first, &last);
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, table->slot))
		rows = lappend(rows, ExecCopySlotHeapTuple(table->slot));
	table_endscan(scan);
	return rows;
}

/* A transaction's worth; false: there is no more to be moved, or somebody writes. */
static bool
move_some(Moving *moving)
{
	Oid			relation = dbos_relation_oid(moving->kept->relation);
	bool		more = true;
	Snapshot	snapshot;

	if (is_written(relation))
		return false;
	dbos_table_open(&moving->table, moving->kept->name, RowExclusiveLock);
	PushActiveSnapshot(GetLatestSnapshot());
	snapshot = GetActiveSnapshot();
	moving->moved = 0;
	while (more && moving->moved < ROWS_AT_ONCE && moving->source > moving->target)
	{
		ListCell   *cell;

		foreach(cell, rows_of_page(&moving->table, moving->source - 1, snapshot))
		{
			CHECK_FOR_INTERRUPTS();
			if (!(more = move_row(moving, lfirst(cell), snapshot)))
				break;
		}
		if (more)
			moving->source--;
	}
	PopActiveSnapshot();
	dbos_table_close(&moving->table);
	if (moving->moved > 0)
		dbos_stop_point(psprintf("rows of %s moved", moving->kept->relation));
	return more && moving->source > moving->target;
}

/* ---- the process ---- */

static void
begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
}

static bool
in_transaction(bool (*look) (const Kept *table), const Kept *table)
{
	bool		result;

	begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	result = look(table);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return result;
}

static bool
look_for_dead(const Kept *table)
{
	return wants_vacuum(dbos_relation_oid(table->relation));
}

static bool
look_for_writers(const Kept *table)
{
	return is_written(dbos_relation_oid(table->relation));
}

static void
vacuum(const Kept *table)
{
	pgstat_report_activity(STATE_RUNNING, "vacuum files");
	begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	dbos_vacuum(table->relation, true);
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
}

static bool
is_quiet(const Kept *table)
{
	int			quiet = 0;

	for (int waited = 0; waited < QUIET_WAIT_MS && quiet < QUIET_MS; waited += QUIET_STEP_MS)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, QUIET_STEP_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		quiet = in_transaction(look_for_writers, table) ? 0 : quiet + QUIET_STEP_MS;
	}
	return quiet >= QUIET_MS;
}

static void
move(const Kept *table)
{
	Moving		moving = {.kept = table};
	bool		more = true;
	Relation	relation;

	pgstat_report_activity(STATE_RUNNING, "move rows of files into free pages");
	begin();
	relation = table_open(dbos_relation_oid(table->relation), AccessShareLock);
	moving.source = RelationGetNumberOfBlocks(relation);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	while (more)
	{
		begin();
		more = move_some(&moving);
		CommitTransactionCommand();
		CHECK_FOR_INTERRUPTS();
	}
}

static void
look_like_autovacuum(void)
{
	LWLockAcquire(ProcArrayLock, LW_EXCLUSIVE);
	MyProc->statusFlags |= PROC_IS_AUTOVACUUM;
	ProcGlobal->statusFlags[MyProc->pgxactoff] = MyProc->statusFlags;
	LWLockRelease(ProcArrayLock);
}

/* One of these is in a database at a time.  An advisory lock goes with the process, one of another sort would stay. */
static bool
be_the_one(void)
{
	LOCKTAG		tag;
	bool		alone;

	begin();
	alone = dbos_extension_present();
	if (alone)
	{
		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, dbos_relation_oid("chunk"), 0, LOCK_KIND);
		alone = LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
	}
	CommitTransactionCommand();
	return alone;
}

/* What is to be done now, and where moves says so, also that; for bgworkers/upkeep.c. */
void
dbos_upkeep(bool moves)
{
	look_like_autovacuum();
	if (!be_the_one())
		return;
	for (int i = 0; i < lengthof(kept); i++)
		if (in_transaction(look_for_dead, &kept[i]))
			vacuum(&kept[i]);
	for (int i = 0; moves && i < lengthof(kept); i++)
		if (in_transaction(wants_moves, &kept[i]) && is_quiet(&kept[i]))
		{
			move(&kept[i]);
			vacuum(&kept[i]);
		}
	pgstat_report_stat(true);
}

/* ---- the duty ---- */

/* How often sessions, of any database, have said that they have emptied pages. */
typedef struct Shared
{
	pg_atomic_uint64 wants;
} Shared;

static Shared *shared = NULL;

static Size
shared_size(bool preloaded)
{
	return sizeof(Shared);
}

static void
shared_init(void *slot, bool preloaded)
{
	pg_atomic_init_u64(&((Shared *) slot)->wants, 0);
}

static uint64
wants_now(void)
{
	return dbos_shared_attach() ? pg_atomic_read_u64(&shared->wants) : 0;
}

/* One of the two things to do: when it is done next, and how long that is put off when it does not help. */
typedef struct Effort
{
	TimestampTz next;
	int			pause;
	int64		burden;			/* when it was done last; 0: it is not due to be done again */
} Effort;

static int64
dead_rows(void)
{
	int64		dead = 0;

	for (int i = 0; i < lengthof(kept); i++)
		if (wants_vacuum(dbos_relation_oid(kept[i].relation)))
			dead += counter(pg_stat_get_dead_tuples, dbos_relation_oid(kept[i].relation));
	return dead;
}

static int64
pages_to_be_shortened(void)
{
	int64		pages = 0;

	for (int i = 0; i < lengthof(kept); i++)
		if (wants_moves(&kept[i]))
		{
			Relation	relation = table_open(dbos_relation_oid(kept[i].relation), AccessShareLock);

			pages += RelationGetNumberOfBlocks(relation);
			table_close(relation, AccessShareLock);
		}
	return pages;
}

/*
 * Whether it is to be done now.  Where somebody may see the old rows, or goes on to write, it did not
 * help the last time, and has time.
 */
static bool
is_due(Effort *effort, int64 burden, TimestampTz now)
{
	if (burden == 0)
		effort->next = 0;
	else if (effort->next == 0 || now >= effort->next)
	{
		bool		helped = effort->next == 0 || burden < effort->burden / 10 * 9;

		effort->pause = helped ? LOOK_MS : Min(effort->pause * 2, LONGEST_PAUSE_MS);
		effort->next = TimestampTzPlusMilliseconds(now, effort->pause);
		effort->burden = burden;
		return true;
	}
	return false;
}

static BackgroundWorkerHandle *
start_process(bool moves)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	BackgroundWorkerHandle *handle = NULL;
	BackgroundWorker process;

	memset(&process, 0, sizeof(process));
	process.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	process.bgw_start_time = BgWorkerStart_RecoveryFinished;
	process.bgw_restart_time = BGW_NEVER_RESTART;
	process.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
	process.bgw_extra[0] = moves;
	process.bgw_notify_pid = MyProcPid;
	strlcpy(process.bgw_library_name, "dbos", BGW_MAXLEN);
	strlcpy(process.bgw_function_name, "dbos_upkeep_main", BGW_MAXLEN);
	strlcpy(process.bgw_type, "dbos upkeep", BGW_MAXLEN);
	strlcpy(process.bgw_name, process.bgw_type, BGW_MAXLEN);
	if (!RegisterDynamicBackgroundWorker(&process, &handle))
		handle = NULL;
	MemoryContextSwitchTo(old);
	return handle;
}

/* Whether the process that was started last still runs. */
static bool
runs(BackgroundWorkerHandle **handle)
{
	pid_t		pid;

	if (*handle == NULL)
		return false;
	if (GetBackgroundWorkerPid(*handle, &pid) != BGWH_STOPPED)
		return true;
	pfree(*handle);
	*handle = NULL;
	return false;
}

static void
upkeep_duty(DbosDutyResult *result)
{
	static TimestampTz next = 0;
	static Effort vacuums = {0};
	static Effort moves = {0};
	static BackgroundWorkerHandle *handle = NULL;
	static bool nothing = false;	/* was there to do, and nobody had said more than so often that there is */
	static uint64 wants = 0;
	TimestampTz now = GetCurrentTimestamp();

	/* Objects of an older version do not have it. */
	if (!OidIsValid(get_relname_relid("chunk", dbos_schema_oid(false))))
		return;
	if (now >= next)
	{
		uint64		wanted = wants_now();
		bool		running = runs(&handle);
		int64		dead = dead_rows();
		int64		pages = pages_to_be_shortened();

		next = TimestampTzPlusMilliseconds(now, LOOK_MS);
		if (!running)
		{
			bool		vacuum_due = is_due(&vacuums, dead, now);
			bool		moves_due = is_due(&moves, pages, now);

			if (vacuum_due || moves_due)
				/* After a vacuum there may be free pages that are not known yet. */
				handle = start_process(moves_due || moves.next == 0);
		}
		nothing = !running && handle == NULL && dead == 0 && pages == 0;
		wants = wanted;
		if (nothing)
			return;
	}
	/* An idle database needs no process for this. */
	if (!nothing || !dbos_shared_attach() || wants_now() != wants)
		result->due = next;
}

/* At the end of a transaction that has emptied so many pages; neither allocates nor raises. */
void
dbos_upkeep_want(int pages)
{
	static int64 gathered = 0;
	static TimestampTz wanted_at = 0;
	TimestampTz now = GetCurrentTransactionStopTimestamp();

	gathered += pages;
	if (gathered < WANT_PAGES && now < wanted_at + WANT_MS * INT64CONST(1000))
		return;
	gathered = 0;
	wanted_at = now;
	if (shared != NULL)
		pg_atomic_fetch_add_u64(&shared->wants, 1);
	dbos_duty_want();
}

static const DbosDuty duty = {
	.what = "upkeep of files",
	.run = upkeep_duty,
};

void
dbos_upkeep_duty_register(void)
{
	static const DbosSharedSlot slot = {
		.room = "upkeep of files", .size = shared_size, .init = shared_init, .slot = (void **) &shared
	};

	dbos_shared_register(&slot);
	dbos_duty_register(&duty);
}
