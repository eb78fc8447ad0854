/*
 * function_habit.c
 *	  What this executor has seen of the functions that it ran: fit for company?
 *
 * A batch that is rolled back repeats what its members did.  So by default only
 * functions in SQL and PL/pgSQL share a transaction, once CLEAN_RUNS runs of this
 * process have ended well and shown nothing that company.c looks for; a
 * function that runs long, fails often, or often gets in the others' way runs
 * alone.  dbos.alter_function() decides otherwise: never, or at once.
 *
 * A process learns for itself: it costs a few runs, and nothing needs to be kept,
 * told, or forgotten in common.  A function that is replaced is a new one.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/proclang.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/syscache.h"

#include "function_habit.h"
#include "task.h"

/* Successes before a function has company. */
#define CLEAN_RUNS 5
/* A function that takes longer than this keeps nobody waiting: two of it fill a batch. */
#define LONG_RUN_US 2500
/* Shares above which it runs alone; each run counts for the given part. */
#define OFTEN_FAILING 0.10
#define FAILING_WEIGHT (1.0 / 64)
#define OFTEN_IN_THE_WAY 0.05
#define IN_THE_WAY_WEIGHT (1.0 / 32)
#define RUN_TIME_WEIGHT (1.0 / 8)

typedef struct Habit
{
	Oid			function;
	uint64		generation;		/* of what it says; an older one says nothing */
	bool		batched;		/* by its language, or as dbos.alter_function() says */
	bool		vouched_for;	/* it says so */
	bool		idempotent;		/* dbos.alter_function() says so */
	bool		unfit;			/* was seen to do what company does not bear */
	int			clean_runs;		/* successes in a row, up to a limit */
	double		run_us;			/* running mean of a run's time */
	double		failing;		/* share of the last runs that failed */
	double		in_the_way;		/* share of the last runs in company that ended it */
} Habit;

static HTAB *habits = NULL;
static uint64 generation = 1;
static Oid	options_relation = InvalidOid;

/* Some function was made, changed or dropped. */
static void
function_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	generation++;
}

static void
relation_changed(Datum arg, Oid relation)
{
	if (relation == InvalidOid || relation == options_relation)
		generation++;
}

void
dbos_habit_install(void)
{
	HASHCTL		control = {.keysize = sizeof(Oid),.entrysize = sizeof(Habit)};

	habits = hash_create("dbos function habits", 64, &control, HASH_ELEM | HASH_BLOBS);
	CacheRegisterSyscacheCallback(PROCOID, function_changed, (Datum) 0);
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

static bool
language_is_seen_through(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			language;

	if (!HeapTupleIsValid(tuple))
		return false;
	language = ((Form_pg_proc) GETSTRUCT(tuple))->prolang;
	ReleaseSysCache(tuple);
	return language == SQLlanguageId || language == get_language_oid("plpgsql", true);
}

/* What dbos.alter_function() said, if anything. */
static bool
option_of(const char *identity, bool *batch, bool *idempotent)
{
	static DbosPlan plan = {
		.sql = "SELECT batch, idempotent FROM dbos.function_option WHERE function OPERATOR(pg_catalog.=) $1",
		.nargs = 1,
		.argtypes = {TEXTOID},
	};
	Datum		value = CStringGetTextDatum(identity);
	DbosOwnerScope scope;
	bool		null = true;

	dbos_owner_begin(&scope);
	*idempotent = false;
	if (dbos_plan_execute(&plan, &value, NULL, true, 1) > 0)
	{
		Datum		said = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null);

		*idempotent = !null && DatumGetBool(said);
		said = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
		if (!null)
			*batch = DatumGetBool(said);
	}
	dbos_owner_end(&scope);
	return !null;
}

/* NULL when nothing is known of it as it is now. */
static Habit *
habit_find(Oid function)
{
	Habit	   *habit = hash_search(habits, &function, HASH_FIND, NULL);

	return habit != NULL && habit->generation == generation ? habit : NULL;
}

static Habit *
habit_of(Oid function, const char *identity)
{
	Habit	   *habit = habit_find(function);
	uint64		before = generation;
	bool		batched;
	bool		told;
	bool		idempotent;

	if (habit != NULL)
		return habit;
	options_relation = dbos_relation_oid("function_option");
	batched = language_is_seen_through(function);
	told = option_of(identity, &batched, &idempotent);
	habit = hash_search(habits, &function, HASH_ENTER, NULL);
	memset(habit, 0, sizeof(*habit));
	habit->function = function;
	/* What changed while it was looked at is looked at again. */
	habit->generation = before;
	habit->batched = batched;
	habit->vouched_for = told && batched;
	habit->idempotent = idempotent;
	if (habit->vouched_for)
		habit->clean_runs = CLEAN_RUNS;
	return habit;
}

static bool
bears_company(const Habit *habit)
{
	return habit->batched && !habit->unfit && habit->clean_runs >= CLEAN_RUNS &&
		habit->run_us < LONG_RUN_US && habit->failing < OFTEN_FAILING &&
		habit->in_the_way < OFTEN_IN_THE_WAY;
}

bool
dbos_habit_bears_company(Oid function, const char *identity)
{
	return bears_company(habit_of(function, identity));
}

bool
dbos_habit_known_to_bear_company(Oid function)
{
	const Habit *habit = habit_find(function);

	return habit != NULL && bears_company(habit);
}

bool
dbos_habit_idempotent(Oid function)
{
	const Habit *habit = habit_find(function);

	return habit != NULL && habit->idempotent;
}

bool
dbos_habit_vouched_for(Oid function)
{
	const Habit *habit = habit_find(function);

	return habit != NULL && habit->vouched_for;
}

void
dbos_habit_ran(Oid function, int64 us)
{
	Habit	   *habit = habit_find(function);

	if (habit == NULL)
		return;
	if (habit->run_us == 0)
		habit->run_us = us;
	if (habit->clean_runs < CLEAN_RUNS)
		habit->clean_runs++;
	habit->run_us += (us - habit->run_us) * RUN_TIME_WEIGHT;
	habit->failing -= habit->failing * FAILING_WEIGHT;
	habit->in_the_way -= habit->in_the_way * IN_THE_WAY_WEIGHT;
}

void
dbos_habit_failed(Oid function)
{
	Habit	   *habit = habit_find(function);

	if (habit == NULL)
		return;
	habit->failing += (1 - habit->failing) * FAILING_WEIGHT;
	/* New ones are proved by successes; others have been. */
	if (habit->clean_runs < CLEAN_RUNS)
		habit->clean_runs = 0;
}

void
dbos_habit_unfit(Oid function)
{
	Habit	   *habit = habit_find(function);

	/* What it does now and then is not held against who is vouched for. */
	if (habit != NULL)
		habit->unfit = !habit->vouched_for;
}

void
dbos_habit_ended_company(Oid function)
{
	Habit	   *habit = habit_find(function);

	if (habit != NULL)
		habit->in_the_way += (1 - habit->in_the_way) * IN_THE_WAY_WEIGHT;
}

void
dbos_function_options_changed(void)
{
	CacheInvalidateRelcacheByRelid(dbos_relation_oid("function_option"));
}
