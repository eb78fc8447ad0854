/*
 * function_profile.c
 *	  How often each function ran as a task, failed, and how long it took.
 *
 * An executor counts for itself, by function, role, container and size of the arguments, and adds
 * what it has counted to the day's rows of dbos.function_profile now and then: when it has been
 * idle for a moment, and every few seconds when it is not.  One that is killed takes the last
 * few seconds' counts with it; dbos.tasks has every task.
 *
 * A row at a time is locked, each in a transaction of its own that nobody waits to be flushed.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "function_profile.h"
#include "policy.h"
#include "quantile_sketch.h"
#include "session.h"
#include "task.h"

/* Written when nothing has happened for so long, or this long after the first. */
#define IDLE_MS		300
#define BUSY_MS		5000
/* An executor that knows more functions than this writes at once. */
#define MAX_KEPT	256

typedef struct ProfileKey
{
	uint64		function;		/* hash of its identity */
	Oid			role;
	int32		container;
	int32		size_class;		/* binary logarithm of the arguments' bytes */
	int32		unused;
} ProfileKey;

struct DbosProfile
{
	ProfileKey	key;
	char	   *function;		/* what the table says */
	int64		failed;
	int64		count;
	uint32		counts[DBOS_SKETCH_BUCKETS];
};

static HTAB *profiles = NULL;
static MemoryContext profile_context = NULL;
static TimestampTz first_at = 0;	/* of what is kept; 0: nothing is */
static TimestampTz last_at = 0;

/* ---- counting ---- */

static DbosProfile *
profile_of(const char *function, char kind, Oid role, int32 container, int size_class)
{
	ProfileKey	key = {
		.function = kind == 's' ? 0 : dbos_function_hash(function, strlen(function)),
		.role = role,
		.container = container,
		.size_class = size_class,
	};
	DbosProfile *profile;
	bool		found;

	if (profiles == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(ProfileKey),.entrysize = sizeof(DbosProfile)};

		if (profile_context == NULL)
			profile_context = AllocSetContextCreate(TopMemoryContext, "dbos function profiles", ALLOCSET_DEFAULT_SIZES);
		control.hcxt = profile_context;
		profiles = hash_create("dbos function profiles", 32, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	profile = hash_search(profiles, &key, HASH_ENTER, &found);
	if (found)
		return profile;
	memset((char *) profile + sizeof(ProfileKey), 0, sizeof(DbosProfile) - sizeof(ProfileKey));
	/* SQL text is one function: there would be no end of them. */
	profile->function = MemoryContextStrdup(profile_context, kind == 's' ? "SQL" : function);
	return profile;
}

DbosProfile *
dbos_profile_of(const DbosMember *member)
{
	Size		args_bytes = member->args == NULL ? 0 : VARSIZE(member->args) - VARHDRSZ;

	return profile_of(member->function, member->kind, member->role, member->container,
					  (int) log2((double) Max(args_bytes, 1)));
}

void
dbos_profile_count(DbosProfile *profile, TimestampTz started_at, TimestampTz finished_at, bool failed)
{
	profile->count++;
	if (failed)
		profile->failed++;
	profile->counts[dbos_sketch_bucket(finished_at - started_at)]++;
	last_at = finished_at;
	if (first_at == 0)
		first_at = last_at;
}

/* ---- writing ---- */

static int
buckets_used(const DbosProfile *profile)
{
	int			used = 0;

	for (int i = 0; i < DBOS_SKETCH_BUCKETS; i++)
		if (profile->counts[i] > 0)
			used++;
	return used;
}

/* Adds the profile to its row of the day. */
static void
write_profile(const DbosProfile *profile)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.function_profile AS p (function, role, container_id, size_class, day, count, failed, buckets, counts)"
		" VALUES ($1, $2, $3, $4, (pg_catalog.now() AT TIME ZONE 'UTC')::pg_catalog.date, $5, $6, $7, $8)"
		" ON CONFLICT (function, role, container_id, size_class, day) DO UPDATE SET"
		" count = p.count OPERATOR(pg_catalog.+) EXCLUDED.count, failed = p.failed OPERATOR(pg_catalog.+) EXCLUDED.failed,"
		" (buckets, counts) = (SELECT pg_catalog.array_agg(b.bucket ORDER BY b.bucket), pg_catalog.array_agg(b.count ORDER BY b.bucket)"
		"  FROM (SELECT u.bucket, pg_catalog.sum(u.count)::pg_catalog.int8 AS count FROM ("
		"   SELECT * FROM ROWS FROM (pg_catalog.unnest(p.buckets), pg_catalog.unnest(p.counts)) o(bucket, count)"
		"   UNION ALL SELECT * FROM ROWS FROM (pg_catalog.unnest(EXCLUDED.buckets), pg_catalog.unnest(EXCLUDED.counts)) n(bucket, count)"
		"  ) u GROUP BY u.bucket) b)",
		.nargs = 8,
		.argtypes = {TEXTOID, REGROLEOID, INT4OID, INT4OID, INT8OID, INT8OID, INT4ARRAYOID, INT8ARRAYOID},
	};
	int			used = buckets_used(profile);
	Datum	   *buckets = palloc(sizeof(Datum) * used);
	Datum	   *counts = palloc(sizeof(Datum) * used);
	Datum		values[8] = {CStringGetTextDatum(profile->function), ObjectIdGetDatum(profile->key.role),
		Int32GetDatum(profile->key.container), Int32GetDatum(profile->key.size_class),
	Int64GetDatum(profile->count), Int64GetDatum(profile->failed)};
	int			at = 0;

	for (int i = 0; i < DBOS_SKETCH_BUCKETS; i++)
	{
		if (profile->counts[i] == 0)
			continue;
		buckets[at] = Int32GetDatum(i);
		counts[at++] = Int64GetDatum(profile->counts[i]);
	}
	values[6] = PointerGetDatum(construct_array(buckets, used, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	values[7] = PointerGetDatum(construct_array(counts, used, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
}

static void
write_all(void)
{
	int			count = hash_get_num_entries(profiles);
	DbosProfile **all = palloc(sizeof(DbosProfile *) * count);
	HASH_SEQ_STATUS status;

	/* A scan of a hash table does not live over a commit. */
	hash_seq_init(&status, profiles);
	for (int i = 0; i < count; i++)
		all[i] = hash_seq_search(&status);
	hash_seq_term(&status);
	for (int i = 0; i < count; i++)
	{
		DbosOwnerScope scope;

		if (all[i]->count == 0)
			continue;
		dbos_session_begin();
		dbos_owner_begin(&scope);
		write_profile(all[i]);
		dbos_owner_end(&scope);
		dbos_session_commit_unflushed();
	}
	pfree(all);
}

/* A failure to write must not stop the tasks: what was counted is forgotten, and that is told. */
static void
write_safely(void)
{
	MemoryContext caller = CurrentMemoryContext;

	PG_TRY();
	{
		write_all();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
}

long
dbos_profile_due(TimestampTz now, bool idle)
{
	long		patience;

	if (first_at == 0)
		return -1;
	if (hash_get_num_entries(profiles) >= MAX_KEPT)
		return 0;
	patience = BUSY_MS - TimestampDifferenceMilliseconds(first_at, now);
	if (idle)
		patience = Min(patience, IDLE_MS - TimestampDifferenceMilliseconds(last_at, now));
	return Max(patience, 0);
}

void
dbos_profile_write(void)
{
	if (first_at == 0)
		return;
	HOLD_CANCEL_INTERRUPTS();
	write_safely();
	QueryCancelPending = false;
	RESUME_CANCEL_INTERRUPTS();
	MemoryContextReset(profile_context);
	profiles = NULL;
	first_at = 0;
}

void
dbos_profiles_forget(TimestampTz before)
{
	static DbosPlan plan = {
		.sql = "DELETE FROM dbos.function_profile WHERE day OPERATOR(pg_catalog.<) ($1 AT TIME ZONE 'UTC')::pg_catalog.date",
		.nargs = 1,
		.argtypes = {TIMESTAMPTZOID},
	};
	Datum		value = TimestampTzGetDatum(before);

	(void) dbos_plan_execute(&plan, &value, NULL, false, 0);
}
