/*
 * topic_shared.c
 *	  Who publishes to a topic at this moment, and who waits for its messages.
 *
 * Ids are given out before their transactions commit, and those commit in any order:
 * who has read 5 must be sure that a 4 will not come.  So a publisher announces
 * itself before it takes an id: "what I take is not lower than this".  A reader asks
 * in this order: the last id R that was given out, who has announced itself, and
 * then for a snapshot; it reads what is at most R and lower than every announcement.
 *
 * That skips nothing.  Let x be such an id.  It was given out before R was read, and its
 * publisher had announced itself before that, by something not above x.  The reader did not
 * meet that announcement, so it had been withdrawn, which is done after the
 * transaction's rows have become visible: the snapshot, which is taken later, has them.
 *
 * A transaction that has not published to the topic holds nobody back, however
 * long it lasts.  One that has, does until its end, also if it rolled back to
 * a savepoint before the publishing: that an id is never used is known at the end alone.
 *
 * Rejected: to read only below the xmin of a snapshot (any long transaction of the database
 * stops all readers), and to number at commit (a lock held while WAL is flushed).
 *
 * Without shared memory publishers go one after the other: each holds a lock
 * on the topic to its end, from before its first id.  What is visible then has no gap
 * below it.
 *
 * One LWLock guards all of it: the lists, and the fields of who is in one, except `low`,
 * which its publisher raises without the lock.  Under it: no error, no allocation, no SQL.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "postmaster/autovacuum.h"
#include "replication/walsender.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/memutils.h"

#include "topic.h"

#define BUCKETS		64
#define NOBODY		(-1)
/* Topics to which a backend publishes in one transaction, on the average of all that do. */
#define TOPICS_PRELOADED 8
#define TOPICS_WITHOUT_PRELOAD 1
#define WAKES_AT_ONCE 32
#define WANTED_DATABASES 64
#define INITIAL_CAPACITY 8

/* A transaction that has published to a topic. */
typedef struct Publisher
{
	Oid			database;
	Oid			topic;
	int			next;			/* in its bucket, or in the free list */
	int			previous;
	pg_atomic_uint64 low;		/* its ids are not lower */
} Publisher;

/* By proc number. */
typedef struct Waiter
{
	Oid			database;
	Oid			topic;			/* InvalidOid: waits for nothing */
	int32		subscription;
	int			next;
	int			previous;
	bool		woken;			/* and has not looked since */
} Waiter;

typedef struct TopicShared
{
	LWLock		lock;
	int			npublishers;
	int			first_free;
	int			publishers[BUCKETS];
	int			waiters[BUCKETS];
	uint64		wanted;			/* a bit for each database, by its number: there are messages to be delivered */
	/* followed by publishers and waiters */
} TopicShared;

/* What this transaction has announced; one for each topic. */
typedef struct Announcement
{
	Oid			topic;
	int			publisher;		/* NOBODY: there is no shared memory */
	int64		low;
	int64		high;			/* the highest id that was taken; 0: none yet */
	bool		pushes;			/* the background delivers the topic's messages */
} Announcement;

static TopicShared *shared = NULL;
static Announcement *announced = NULL;	/* in TopMemoryContext */
static int	nannounced = 0;
static int	capacity = 0;
static bool wants_delivery = false;
static Oid	passed = InvalidOid;	/* a topic of which a segment was read to its end */
static Oid	waits_for = InvalidOid;

/* ---- layout ---- */

static int
proc_count(void)
{
	/* MaxBackends is not known yet when preloaded libraries ask for memory on every version. */
	if (MaxBackends == 0)
		return MaxConnections + autovacuum_max_workers + 1 + max_worker_processes + max_wal_senders +
			NUM_AUXILIARY_PROCS + max_prepared_xacts;
	return MaxBackends + NUM_AUXILIARY_PROCS + max_prepared_xacts;
}

static int
publisher_count(bool preloaded)
{
	return proc_count() * (preloaded ? TOPICS_PRELOADED : TOPICS_WITHOUT_PRELOAD);
}

static Size
shared_size(bool preloaded)
{
	Size		size = MAXALIGN(sizeof(TopicShared));

	size = add_size(size, mul_size(publisher_count(preloaded), sizeof(Publisher)));
	return add_size(size, mul_size(proc_count(), sizeof(Waiter)));
}

static Publisher *
publisher_at(int number)
{
	return (Publisher *) ((char *) shared + MAXALIGN(sizeof(TopicShared))) + number;
}

static Waiter *
waiter_at(int proc_number)
{
	return (Waiter *) publisher_at(shared->npublishers) + proc_number;
}

static void
shared_init(void *memory, bool preloaded)
{
	TopicShared *made = memory;

	dbos_lwlock_initialize(&made->lock);
	made->npublishers = publisher_count(preloaded);
	for (int i = 0; i < BUCKETS; i++)
		made->publishers[i] = made->waiters[i] = NOBODY;
	shared = made;
	for (int i = 0; i < made->npublishers; i++)
	{
		pg_atomic_init_u64(&publisher_at(i)->low, 0);
		publisher_at(i)->next = i + 1 < made->npublishers ? i + 1 : NOBODY;
	}
	made->first_free = made->npublishers > 0 ? 0 : NOBODY;
}

static const DbosSharedSlot topic_slot = {
	.room = "topic",
	.size = shared_size,
	.init = shared_init,
	.slot = (void **) &shared,
};

static int
bucket_of(Oid topic)
{
	return hash_combine(murmurhash32(topic), murmurhash32(MyDatabaseId)) % BUCKETS;
}

/* ---- publishers ---- */

/* A place among the topic's publishers; NOBODY when all are taken. */
static int
enter(Oid topic, int64 low)
{
	int		   *head = &shared->publishers[bucket_of(topic)];
	int			number;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	number = shared->first_free;
	if (number != NOBODY)
	{
		Publisher  *publisher = publisher_at(number);

		shared->first_free = publisher->next;
		publisher->database = MyDatabaseId;
		publisher->topic = topic;
		pg_atomic_write_u64(&publisher->low, low);
		publisher->previous = NOBODY;
		publisher->next = *head;
		if (*head != NOBODY)
			publisher_at(*head)->previous = number;
		*head = number;
	}
	LWLockRelease(&shared->lock);
	return number;
}

/* The lock is held. */
static void
remove_publisher(int number)
{
	Publisher  *publisher = publisher_at(number);

	if (publisher->previous == NOBODY)
		shared->publishers[bucket_of(publisher->topic)] = publisher->next;
	else
		publisher_at(publisher->previous)->next = publisher->next;
	if (publisher->next != NOBODY)
		publisher_at(publisher->next)->previous = publisher->previous;
	publisher->topic = InvalidOid;
	publisher->next = shared->first_free;
	shared->first_free = number;
}

/* Marks those who wait for the topic, at most WAKES_AT_ONCE; to be woken when the lock, which is held, is released. */
static int
choose_waiters(Oid topic, int *chosen)
{
	int			count = 0;

	for (int i = shared->waiters[bucket_of(topic)]; i != NOBODY && count < WAKES_AT_ONCE; i = waiter_at(i)->next)
	{
		Waiter	   *waiter = waiter_at(i);

		if (waiter->topic != topic || waiter->database != MyDatabaseId || waiter->woken)
			continue;
		waiter->woken = true;
		chosen[count++] = i;
	}
	return count;
}

/* A latch is set by a system call: not under the lock. */
static void
leave(const Announcement *announcement)
{
	int			chosen[WAKES_AT_ONCE];
	int			count;
	bool		removed = false;

	do
	{
		LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
		if (!removed)
			remove_publisher(announcement->publisher);
		removed = true;
		count = choose_waiters(announcement->topic, chosen);
		LWLockRelease(&shared->lock);
		for (int i = 0; i < count; i++)
			dbos_wake_now(chosen[i], 0);
	} while (count == WAKES_AT_ONCE);
}

static Announcement *
find_announcement(Oid topic)
{
	for (int i = 0; i < nannounced; i++)
		if (announced[i].topic == topic)
			return &announced[i];
	return NULL;
}

/*
 * Where there is no shared memory: publishers of the topic go one after the other.
 * The lock of a subtransaction goes with it, so it is asked for at each id; true when it was not held.
 */
static bool
wait_for_turn(const DbosMailbox *topic)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, dbos_relation_oid("topic"), topic->relation, 0);
	return LockAcquire(&tag, ExclusiveLock, false, false) == LOCKACQUIRE_OK;
}

static Announcement *
new_announcement(const DbosMailbox *topic)
{
	Announcement *announcement;

	if (nannounced == capacity)
	{
		int			wanted = Max(INITIAL_CAPACITY, capacity * 2);

		announced = announced == NULL ? MemoryContextAlloc(TopMemoryContext, wanted * sizeof(Announcement))
			: repalloc(announced, wanted * sizeof(Announcement));
		capacity = wanted;
	}
	announcement = &announced[nannounced];
	announcement->topic = topic->relation;
	announcement->publisher = NOBODY;
	announcement->low = PG_INT64_MAX;
	announcement->high = 0;
	announcement->pushes = topic->pushes;
	return announcement;
}

static Announcement *
announce(const DbosMailbox *topic)
{
	Announcement *announcement = find_announcement(topic->relation);
	bool		known = announcement != NULL;

	if (!known)
		announcement = new_announcement(topic);
	if (!dbos_shared_attach())
	{
		if (wait_for_turn(topic))
			announcement->low = dbos_mailbox_last_id(topic) + 1;
	}
	else if (!known)
	{
		announcement->low = dbos_mailbox_last_id(topic) + 1;
		announcement->publisher = enter(topic->relation, announcement->low);
		if (announcement->publisher == NOBODY)
			ereport(ERROR,
					errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					errmsg("too many topics are being published to at this moment"),
					errdetail("There is room for %d, counted for each transaction.", shared->npublishers),
					errhint("Try again, or publish to fewer topics in one transaction."));
	}
	nannounced += !known;
	return announcement;
}

/* Ids that the session had in advance, by a CACHE that somebody gave the sequence, are from before the announcement. */
int64
dbos_topic_take_id(DbosMailbox *topic)
{
	Announcement *announcement = announce(topic);
	int64		id = nextval_internal(topic->sequence, false);

	while (id < announcement->low)
	{
		CHECK_FOR_INTERRUPTS();
		id = nextval_internal(topic->sequence, false);
	}
	if (announcement->high == 0 && id > announcement->low)
	{
		announcement->low = id;
		if (announcement->publisher != NOBODY)
			pg_atomic_write_u64(&publisher_at(announcement->publisher)->low, id);
	}
	announcement->high = Max(announcement->high, id);
	return id;
}

bool
dbos_topic_took(const DbosMailbox *topic, int64 id)
{
	Announcement *announcement = find_announcement(topic->relation);

	return announcement != NULL && id >= announcement->low && id <= announcement->high;
}

int64
dbos_topic_horizon(const DbosMailbox *topic)
{
	int64		horizon;

	if (!dbos_shared_attach())
	{
		/* What this transaction has published itself is read when it has committed, here too. */
		const Announcement *mine = find_announcement(topic->relation);

		return mine != NULL ? mine->low : PG_INT64_MAX;
	}
	horizon = dbos_mailbox_last_id(topic) + 1;
	LWLockAcquire(&shared->lock, LW_SHARED);
	for (int i = shared->publishers[bucket_of(topic->relation)]; i != NOBODY; i = publisher_at(i)->next)
	{
		Publisher  *publisher = publisher_at(i);

		if (publisher->topic == topic->relation && publisher->database == MyDatabaseId)
			horizon = Min(horizon, (int64) pg_atomic_read_u64(&publisher->low));
	}
	LWLockRelease(&shared->lock);
	return horizon;
}

/* ---- the end of a transaction: neither allocates nor raises ---- */

static uint64
database_bit(void)
{
	return UINT64CONST(1) << (MyDatabaseId % WANTED_DATABASES);
}

/* A database that shares its bit with this one looks once in vain, or a minute later. */
static void
want_delivery(void)
{
	if (!dbos_shared_attached() || shared == NULL)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	shared->wanted |= database_bit();
	LWLockRelease(&shared->lock);
	dbos_duty_want();
}

bool
dbos_topic_delivery_wanted(void)
{
	bool		wanted;

	if (!dbos_shared_attach())
		return true;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	wanted = (shared->wanted & database_bit()) != 0;
	shared->wanted &= ~database_bit();
	LWLockRelease(&shared->lock);
	return wanted;
}

static void
topic_xact_callback(XactEvent event, void *arg)
{
	bool		pushes = wants_delivery && event == XACT_EVENT_COMMIT;

	if (nannounced == 0 && !wants_delivery && !OidIsValid(passed))
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (nannounced > 0)
				ereport(ERROR,
						errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot PREPARE a transaction that has published messages"),
						errdetail("Readers would be held back until it is committed, which may be never."),
						errhint("Use COMMIT, or publish in a transaction of its own."));
			break;
		case XACT_EVENT_PREPARE:
			wants_delivery = false;
			passed = InvalidOid;
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
			/* Also one that aborts may have held others back. */
			for (int i = 0; i < nannounced; i++)
			{
				if (announced[i].publisher != NOBODY)
					leave(&announced[i]);
				pushes |= announced[i].pushes;
			}
			if (OidIsValid(passed) && event == XACT_EVENT_COMMIT)
				dbos_mailbox_want(passed, DBOS_WORK_ROTATE);
			nannounced = 0;
			wants_delivery = false;
			passed = InvalidOid;
			if (pushes)
				want_delivery();
			break;
		default:
			break;
	}
}

void
dbos_topic_want_delivery(void)
{
	(void) dbos_shared_attach();
	wants_delivery = true;
}

void
dbos_topic_segment_passed(DbosMailbox *topic)
{
	dbos_mailbox_open_slot(topic);
	passed = topic->relation;
}

/* ---- waiters ---- */

/* False where there is no shared memory: the caller looks now and then. */
bool
dbos_topic_waiter_enter(Oid topic, int32 subscription)
{
	int			self = dbos_my_proc_number();
	int		   *head;
	Waiter	   *waiter;

	if (!dbos_shared_attach())
		return false;
	head = &shared->waiters[bucket_of(topic)];
	waiter = waiter_at(self);
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	waiter->woken = false;
	if (waits_for == InvalidOid)
	{
		waiter->database = MyDatabaseId;
		waiter->topic = topic;
		waiter->subscription = subscription;
		waiter->previous = NOBODY;
		waiter->next = *head;
		if (*head != NOBODY)
			waiter_at(*head)->previous = self;
		*head = self;
		waits_for = topic;
	}
	LWLockRelease(&shared->lock);
	return true;
}

void
dbos_topic_waiter_leave(void)
{
	Waiter	   *waiter;

	if (waits_for == InvalidOid)
		return;
	waiter = waiter_at(dbos_my_proc_number());
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	if (waiter->previous == NOBODY)
		shared->waiters[bucket_of(waits_for)] = waiter->next;
	else
		waiter_at(waiter->previous)->next = waiter->next;
	if (waiter->next != NOBODY)
		waiter_at(waiter->next)->previous = waiter->previous;
	waiter->topic = InvalidOid;
	LWLockRelease(&shared->lock);
	waits_for = InvalidOid;
}

/* The process that waits for messages of a subscription; 0: none that is known of. */
int
dbos_topic_waiter_pid(Oid topic, int32 subscription)
{
	int			pid = 0;

	if (!dbos_shared_attach())
		return 0;
	LWLockAcquire(&shared->lock, LW_SHARED);
	for (int i = shared->waiters[bucket_of(topic)]; i != NOBODY; i = waiter_at(i)->next)
		if (waiter_at(i)->topic == topic && waiter_at(i)->database == MyDatabaseId &&
			waiter_at(i)->subscription == subscription)
			pid = ProcGlobal->allProcs[i].pid;
	LWLockRelease(&shared->lock);
	return pid;
}

void
dbos_topic_shared_register(void)
{
	dbos_shared_register(&topic_slot);
	RegisterXactCallback(topic_xact_callback, NULL);
}
