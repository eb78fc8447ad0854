/*
 * directory_cache.c
 *	  The directories that paths led to last, for as long as nothing can have changed.
 *
 * Most operations come in runs in one directory, and most of what they cost is the way to it. What a
 * snapshot shows depends on which transactions it counts as ended, and on what its own transaction has
 * done. A file that is made, written or removed changes no directory in this sense: neither where a path leads nor
 * who may search it; nor does a new directory, since what is kept are paths that led somewhere.
 * So a directory that was found by one snapshot (S1) is where the path leads by another (S2), as long as this session
 * has moved, removed or changed no directory in between, and one of these holds:
 *
 * - Both count the same transactions. Of two snapshots with one xmax the one can only count as running
 *   some of those that the other does, so equal numbers are equal sets.
 *
 * - No transaction that has changed directories became visible after S1 and up to S2, and S2 is not the
 *   older of them. Shared memory has a generation, and the number of transactions that are about to
 *   commit such changes. A transaction adds itself to the number before its changes can be seen, and after
 *   that adds one to the generation and takes itself off the number. S1 is remembered with a
 *   generation that was read before a snapshot that equals S1 was taken, and S2 is used when
 *   the number is 0 and the generation the same: what S2 sees and S1 did not has begun after that
 *   reading, and would be one of the two.
 *
 * The second needs shared memory, a server that is not in recovery, and no prepared transactions,
 * whose commits nobody here sees.
 *
 * Who has made a name in a directory asks whether that is still there (dbos_inode_remains()): it is, if nobody has deleted
 * a directory since it was asked last.  Who deletes one says so before he looks for names in it, and who makes a name
 * looks whether somebody did after the name is there: so of the two one sees the other.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "file.h"

#define ENTRIES 4
#define PATH_LENGTH 512

/* Two snapshots with the same view count the same transactions as ended. */
typedef struct View
{
	TransactionId xmax;
	uint32		running;
	int32		running_subtransactions;	/* during recovery all that run */
	bool		overflowed;
} View;

/* For whom, and in which tables: another extension of that name has others. */
typedef struct Viewer
{
	Oid			user;
	int32		container;
	Oid			table;
} Viewer;

typedef struct Entry
{
	View		view;
	Viewer		viewer;
	bool		has_generation;
	uint64		generation;
	int			length;			/* of the path; 0: nothing is kept */
	char		path[PATH_LENGTH];
	DbosInode	directory;
	char		content[sizeof(int64)];	/* as attributes.c has it */
} Entry;

typedef struct Shared
{
	pg_atomic_uint64 generation;
	pg_atomic_uint32 committing;
	pg_atomic_uint64 deletions; /* of directories, whether they are committed or not */
} Shared;

/* A directory that was there when so many had been deleted. */
typedef struct Remaining
{
	Oid			table;
	int64		number;
	uint64		deletions;
} Remaining;

static Entry entries[ENTRIES];
static int	next = 0;
static bool changing = false;	/* this transaction has changed directories */
static bool announced = false;	/* and is among those that are committing */
static Shared *shared = NULL;

static void
forget(void)
{
	for (int i = 0; i < ENTRIES; i++)
		entries[i].length = 0;
}

/* ---- shared memory ---- */

static Size
shared_size(bool preloaded)
{
	return sizeof(Shared);
}

static void
shared_init(void *slot, bool preloaded)
{
	Shared	   *area = slot;

	pg_atomic_init_u64(&area->generation, 0);
	pg_atomic_init_u32(&area->committing, 0);
	pg_atomic_init_u64(&area->deletions, 0);
}

static bool
generation_now(uint64 *generation)
{
	if (max_prepared_xacts > 0 || RecoveryInProgress() || !dbos_shared_attach())
		return false;
	pg_memory_barrier();
	if (pg_atomic_read_u32(&shared->committing) > 0)
		return false;
	pg_read_barrier();
	*generation = pg_atomic_read_u64(&shared->generation);
	pg_memory_barrier();
	return true;
}

static void
announce(void)
{
	if (dbos_shared_attach())
	{
		pg_atomic_fetch_add_u32(&shared->committing, 1);
		announced = true;
	}
}

static void
done(void)
{
	if (announced)
	{
		pg_atomic_fetch_add_u64(&shared->generation, 1);
		pg_atomic_fetch_sub_u32(&shared->committing, 1);
	}
	announced = false;
}

/* ---- deletions ---- */

/* To be called after the row of a directory was deleted and before names are looked for in it. */
void
dbos_directory_deleted(void)
{
	if (dbos_shared_attach())
		pg_atomic_fetch_add_u64(&shared->deletions, 1);
}

/* As dbos_inode_remains(), of a directory in which this transaction has made a name. */
bool
dbos_directory_remains(int64 number)
{
	static Remaining last;
	Remaining	now = {.table = dbos_relation_oid("inode"), .number = number};

	/* Who deletes must have it too, and all have it that the postmaster has loaded. */
	if (!dbos_preloaded() || !dbos_shared_attach())
		return dbos_inode_remains(number);
	pg_memory_barrier();
	now.deletions = pg_atomic_read_u64(&shared->deletions);
	pg_memory_barrier();
	if (last.table == now.table && last.number == number && last.deletions == now.deletions)
		return true;
	if (!dbos_inode_remains(number))
		return false;
	last = now;
	return true;
}

/* ---- ends of transactions ---- */

static void
at_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (changing && !announced)
				announce();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			done();
			if (changing || event == XACT_EVENT_ABORT)
				forget();
			changing = false;
			break;
		default:
			break;
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget();
}

/* Who is a member of which role decides who may search a directory. */
static void
at_role_change(Datum arg, int cacheid, uint32 hashvalue)
{
	forget();
}

/* Where paths lead, or who may search the way, is changed by this transaction. */
void
dbos_directories_changed(void)
{
	changing = true;
	forget();
}

void
dbos_directory_cache_install(void)
{
	static const DbosSharedSlot slot = {
		.room = "file", .size = shared_size, .init = shared_init, .slot = (void **) &shared
	};

	dbos_shared_register(&slot);
	RegisterXactCallback(at_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, at_role_change, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, at_role_change, (Datum) 0);
}

/* ---- the cache ---- */

static View
view_of(Snapshot snapshot)
{
	return (View) {
		.xmax = snapshot->xmax, .running = snapshot->xcnt, .running_subtransactions = snapshot->subxcnt,
		.overflowed = snapshot->suboverflowed
	};
}

static bool
same_view(const View *one, const View *other)
{
	return one->xmax == other->xmax && one->running == other->running &&
		one->running_subtransactions == other->running_subtransactions && one->overflowed == other->overflowed;
}

/* Not taken before it. */
static bool
as_young(const View *view, const View *other)
{
	return TransactionIdFollows(view->xmax, other->xmax) || (view->xmax == other->xmax && view->running <= other->running);
}

static Viewer
viewer_now(void)
{
	return (Viewer) {GetUserId(), dbos_context_container(), dbos_relation_oid("inode")};
}

static bool
same_viewer(const Viewer *one, const Viewer *other)
{
	return one->user == other->user && one->container == other->container && one->table == other->table;
}

static bool
usable(const Entry *entry, Snapshot snapshot)
{
	View		view = view_of(snapshot);
	uint64		generation;

	if (same_view(&entry->view, &view))
		return true;
	return entry->has_generation && as_young(&view, &entry->view) && generation_now(&generation) && generation == entry->generation;
}

/* The directory that this path, without its last component, led to. */
bool
dbos_directory_recall(const char *path, int length, Snapshot snapshot, DbosInode *directory)
{
	Viewer		viewer = viewer_now();

	if (changing || snapshot->snapshot_type != SNAPSHOT_MVCC || length <= 0)
		return false;
	for (int i = 0; i < ENTRIES; i++)
	{
		Entry	   *entry = &entries[i];

		if (entry->length == length && memcmp(entry->path, path, length) == 0 &&
			same_viewer(&entry->viewer, &viewer) && usable(entry, snapshot))
		{
			*directory = entry->directory;
			return true;
		}
	}
	return false;
}

void
dbos_directory_remember(const char *path, int length, Snapshot snapshot, const DbosInode *directory)
{
	Entry	   *entry = NULL;
	View		newest;

	if (changing || snapshot->snapshot_type != SNAPSHOT_MVCC || length <= 0 || length > PATH_LENGTH || directory->number == 0)
		return;
	for (int i = 0; i < ENTRIES && entry == NULL; i++)
		if (entries[i].length == length && memcmp(entries[i].path, path, length) == 0)
			entry = &entries[i];
	if (entry == NULL)
	{
		entry = &entries[next];
		next = (next + 1) % ENTRIES;
	}
	entry->view = view_of(snapshot);
	entry->viewer = viewer_now();
	entry->has_generation = generation_now(&entry->generation);
	if (entry->has_generation)
	{
		newest = view_of(GetLatestSnapshot());
		entry->has_generation = same_view(&newest, &entry->view);
	}
	entry->length = length;
	memcpy(entry->path, path, length);
	entry->directory = *directory;
	entry->directory.content = NULL;
	entry->directory.content_length = 0;
	if (directory->content != NULL && directory->content_length == sizeof(entry->content))
	{
		memcpy(entry->content, directory->content, sizeof(entry->content));
		entry->directory.content = entry->content;
		entry->directory.content_length = sizeof(entry->content);
	}
}
