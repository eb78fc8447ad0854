/*
 * directory_cache.c
 *	  The directories that paths led to last, for as long as nothing can have changed.
 *
 * Most operations come in runs in one directory, and most of what they cost is the way to it. What a
 * snapshot shows depends on which transactions it counts as ended, and on what its own transaction has
 * done. So a directory that was found by one snapshot is where the path leads by another
 * that counts the same ones, as long as this session has moved, removed or changed no directory in between; and
 * while its transaction has, nothing is kept.
 *
 * Of two snapshots with the same xmax the one can only count as running some of those that the other
 * does: so equal numbers are equal sets.
 *
 * A file that is made, written or removed changes no directory in this sense: neither where a path leads nor
 * who may search it. Nor does a new directory: what is kept are paths that led somewhere.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"

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
	Oid			user;
	int32		container;
} View;

typedef struct Entry
{
	View		view;
	int			length;			/* of the path; 0: nothing is kept */
	char		path[PATH_LENGTH];
	DbosInode	directory;
	char		content[sizeof(int64)];	/* as attributes.c has it */
} Entry;

static Entry entries[ENTRIES];
static int	next = 0;
static bool changing = false;	/* this transaction has changed directories */

static void
forget(void)
{
	for (int i = 0; i < ENTRIES; i++)
		entries[i].length = 0;
}

static void
at_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		if (changing || event == XACT_EVENT_ABORT)
			forget();
		changing = false;
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
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
	RegisterXactCallback(at_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

static bool
view_of(Snapshot snapshot, View *view)
{
	if (snapshot->snapshot_type != SNAPSHOT_MVCC || changing)
		return false;
	memset(view, 0, sizeof(View));
	view->xmax = snapshot->xmax;
	view->running = snapshot->xcnt;
	view->running_subtransactions = snapshot->subxcnt;
	view->overflowed = snapshot->suboverflowed;
	view->user = GetUserId();
	view->container = dbos_context_container();
	return true;
}

/* The directory that this path, without a slash at its end, led to. */
bool
dbos_directory_recall(const char *path, int length, Snapshot snapshot, DbosInode *directory)
{
	View		view;

	if (length <= 0 || length > PATH_LENGTH || !view_of(snapshot, &view))
		return false;
	for (int i = 0; i < ENTRIES; i++)
		if (entries[i].length == length && memcmp(entries[i].path, path, length) == 0 &&
			memcmp(&entries[i].view, &view, sizeof(View)) == 0)
		{
			*directory = entries[i].directory;
			return true;
		}
	return false;
}

void
dbos_directory_remember(const char *path, int length, Snapshot snapshot, const DbosInode *directory)
{
	Entry	   *entry = &entries[next];
	View		view;

	if (length <= 0 || length > PATH_LENGTH || directory->number == 0 || !view_of(snapshot, &view))
		return;
	for (int i = 0; i < ENTRIES; i++)
		if (entries[i].length == length && memcmp(entries[i].path, path, length) == 0)
			entry = &entries[i];
	if (entry == &entries[next])
		next = (next + 1) % ENTRIES;
	entry->view = view;
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
