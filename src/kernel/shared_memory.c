/*
 * shared_memory.c
 *	  One shared memory area with a slot per room, with and without preload.
 *
 * With shared_preload_libraries the area is reserved at server start.  Without,
 * each slot is taken from the slack that the server keeps in its main segment
 * (as pg_prewarm does); when there is none, dbos runs on tables alone and
 * capabilities says so.  What lies here is hints: a room must be able to
 * rebuild all of it from its tables.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#include "dbos/kernel.h"

#define DBOS_MAX_ROOMS 16

typedef struct DbosSharedHeader
{
	int			tranche;
	bool		preloaded;
	uint32		layout;			/* a library of another build must not attach */
} DbosSharedHeader;

/* Changes with every change to a shared structure, so that a new library never reads an old area. */
#define DBOS_SHARED_LAYOUT 1

static const DbosSharedSlot *rooms[DBOS_MAX_ROOMS];
static int	nrooms = 0;
static DbosSharedHeader *header = NULL;
static bool preloaded = false;
static bool attach_failed = false;
static const char *reason = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;
static shmem_request_hook_type prev_shmem_request = NULL;

void
dbos_shared_register(const DbosSharedSlot *slot)
{
	if (nrooms >= DBOS_MAX_ROOMS)
		elog(ERROR, "too many rooms in dbos shared memory");
	rooms[nrooms++] = slot;
}

/* Allocates or finds every slot; the caller holds AddinShmemInitLock. */
static void
shared_attach_slots(bool at_start)
{
	bool		found;

	header = ShmemInitStruct("dbos", sizeof(DbosSharedHeader), &found);
	if (!found)
	{
		header->tranche = LWLockNewTrancheId();
		header->preloaded = at_start;
		header->layout = DBOS_SHARED_LAYOUT;
	}
	else if (header->layout != DBOS_SHARED_LAYOUT)
	{
		header = NULL;
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("shared memory of dbos was made by another version of the library"),
				errhint("Restart the server."));
	}
	LWLockRegisterTranche(header->tranche, "dbos");

	for (int i = 0; i < nrooms; i++)
	{
		Size		size = rooms[i]->size(header->preloaded);
		char		name[NAMEDATALEN];
		void	   *slot;

		snprintf(name, sizeof(name), "dbos %s", rooms[i]->room);
		slot = ShmemInitStruct(name, size, &found);
		if (!found)
		{
			memset(slot, 0, size);
			rooms[i]->init(slot, header->preloaded);
		}
		*rooms[i]->slot = slot;
	}
}

static void
shared_request(void)
{
	Size		total = MAXALIGN(sizeof(DbosSharedHeader));

	if (prev_shmem_request)
		prev_shmem_request();
	for (int i = 0; i < nrooms; i++)
		total = add_size(total, CACHELINEALIGN(rooms[i]->size(true)));
	RequestAddinShmemSpace(total);
}

static void
shared_startup(void)
{
	if (prev_shmem_startup)
		prev_shmem_startup();
	/* After a crash of any process the postmaster comes here again, with new memory. */
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared_attach_slots(true);
	LWLockRelease(AddinShmemInitLock);
}

/* Called from _PG_init while the postmaster loads shared_preload_libraries. */
void
dbos_shared_install_hooks(void)
{
	preloaded = true;
	if (!dbos_shared_memory)
	{
		reason = "dbos.shared_memory is off";
		attach_failed = true;
		return;
	}
	prev_shmem_request = shmem_request_hook;
	shmem_request_hook = shared_request;
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = shared_startup;
}

/*
 * Attaches to the area if it can be had; true when it is there.  Never raises:
 * without it everything works on tables, and dbos.capabilities gives the reason.
 */
bool
dbos_shared_attach(void)
{
	MemoryContext context = CurrentMemoryContext;

	if (header != NULL)
		return true;
	if (attach_failed || !IsUnderPostmaster || MyProc == NULL)
		return false;
	if (!dbos_shared_memory)
	{
		reason = "dbos.shared_memory is off";
		attach_failed = true;
		return false;
	}

	/* No error leaves this lock held: release is by us in both branches. */
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	PG_TRY();
	{
		shared_attach_slots(false);
		LWLockRelease(AddinShmemInitLock);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (LWLockHeldByMe(AddinShmemInitLock))
			LWLockRelease(AddinShmemInitLock);
		reason = MemoryContextStrdup(TopMemoryContext, error->message);
		FreeErrorData(error);
		header = NULL;
		attach_failed = true;
		for (int i = 0; i < nrooms; i++)
			*rooms[i]->slot = NULL;
	}
	PG_END_TRY();
	return header != NULL;
}

bool
dbos_shared_attached(void)
{
	return header != NULL;
}

bool
dbos_preloaded(void)
{
	return preloaded;
}

/* Why there is no shared memory; NULL when there is. */
const char *
dbos_shared_reason(void)
{
	return header ? NULL : reason;
}

void
dbos_lwlock_initialize(LWLock *lock)
{
	LWLockInitialize(lock, header->tranche);
}
