/*
 * policy.c
 *	  Policies: the text that names the keys, and the rank of a task by them.
 *
 * A rank is fixed when the task becomes ready, so a heap never has to be sorted anew
 * because time passes.  Ageing fits that: if waiting for A seconds makes up for one
 * unit of a key, the order of value - waited / A is at any time that of
 * value * A + submitted_at.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "policy.h"
#include "run_queue.h"

/* Ranks stay this far from the ends of an int64, so that none overflows. */
#define RANK_LIMIT		4e18
#define MAX_AGEING		1e9
#define MAX_LIBRARIES	32
/* Where a task has no deadline, or nothing like it. */
#define NEVER			RANK_LIMIT

static const struct
{
	const char *name;
	DbosPolicyKey key;
}			key_names[] = {
	{"priority", DBOS_KEY_PRIORITY},
	{"submitted_at", DBOS_KEY_SUBMITTED_AT},
	{"run_at", DBOS_KEY_RUN_AT},
	{"deadline", DBOS_KEY_DEADLINE},
	{"expected_runtime", DBOS_KEY_EXPECTED_RUNTIME},
	{"attempt", DBOS_KEY_ATTEMPT},
	{"partition_share", DBOS_KEY_PARTITION_SHARE},
};

static struct
{
	char		name[NAMEDATALEN];
	DbosPolicyRank rank;
}			libraries[MAX_LIBRARIES];
static int	nlibraries = 0;

/* ---- hashes ---- */

uint64
dbos_partition_hash(const char *key, int length)
{
	return DatumGetUInt64(hash_any_extended((const unsigned char *) key, length, 0)) | 1;
}

uint64
dbos_function_hash(const char *identity, int length)
{
	return DatumGetUInt64(hash_any_extended((const unsigned char *) identity, length, MyDatabaseId));
}

/* ---- libraries ---- */

static DbosPolicyRank
library_rank(const char *name)
{
	for (int i = 0; i < nlibraries; i++)
		if (strcmp(libraries[i].name, name) == 0)
			return libraries[i].rank;
	return NULL;
}

void
dbos_register_policy(const char *name, DbosPolicyRank rank)
{
	Size		length = strlen(name);

	if (length == 0 || length >= NAMEDATALEN ||
		strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != length)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_NAME),
				errmsg("invalid name of a policy: \"%s\"", name));
	if (library_rank(name) != NULL)
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("policy \"%s\" is registered already", name));
	if (nlibraries == MAX_LIBRARIES)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("libraries register more than %d policies", MAX_LIBRARIES));
	strlcpy(libraries[nlibraries].name, name, NAMEDATALEN);
	libraries[nlibraries++].rank = rank;
}

/* ---- the text ---- */

/* The next word, in lower case; empty at the end of the item, which a comma ends. */
static char *
next_word(const char **at)
{
	const char *start;
	char	   *word;

	while (isspace((unsigned char) **at))
		(*at)++;
	start = *at;
	while (**at != '\0' && **at != ',' && !isspace((unsigned char) **at))
		(*at)++;
	word = pnstrdup(start, *at - start);
	for (char *c = word; *c; c++)
		*c = pg_ascii_tolower((unsigned char) *c);
	return word;
}

static bool
parse_ageing(const char **at, double *ageing, char **error)
{
	char	   *number = next_word(at);
	char	   *end;

	*ageing = strtod(number, &end);
	if (*number == '\0' || *end != '\0' || number[strspn(number, "0123456789.")] != '\0')
		*error = psprintf("\"%s\" is no number of seconds.", number);
	else if (!(*ageing > 0 && *ageing <= MAX_AGEING))
		*error = psprintf("Ageing must be more than 0 and at most %.0f seconds.", MAX_AGEING);
	return *error == NULL;
}

/* One key with its direction and its ageing. */
static bool
parse_item(const char **at, DbosPolicy *policy, int *nkeys, char **error)
{
	char	   *word = next_word(at);
	DbosPolicyKey key = DBOS_KEY_NONE;
	bool		plain = true;

	for (int i = 0; i < lengthof(key_names); i++)
		if (strcmp(word, key_names[i].name) == 0)
			key = key_names[i].key;
	if (key == DBOS_KEY_NONE)
	{
		*error = *word == '\0' ? pstrdup("A key is missing.") : psprintf("\"%s\" is no key.", word);
		return false;
	}
	for (int i = 0; i < *nkeys; i++)
		if (policy->keys[i].key == key)
			*error = psprintf("\"%s\" stands there twice.", word);
	if (key == DBOS_KEY_PARTITION_SHARE)
	{
		if (policy->share_at >= 0)
			*error = psprintf("\"%s\" stands there twice.", word);
		policy->share_at = *nkeys;
	}
	else if (*nkeys == DBOS_RANKS)
		*error = psprintf("There are more than %d keys beside \"partition_share\".", DBOS_RANKS);
	else
		policy->keys[(*nkeys)++].key = key;
	while (*error == NULL && *(word = next_word(at)) != '\0')
	{
		plain = false;
		if (key == DBOS_KEY_PARTITION_SHARE)
			break;
		if (strcmp(word, "desc") == 0)
			policy->keys[*nkeys - 1].descending = true;
		else if (strcmp(word, "ageing") == 0)
			(void) parse_ageing(at, &policy->keys[*nkeys - 1].ageing, error);
		else if (strcmp(word, "asc") != 0)
			*error = psprintf("\"%s\" is neither \"asc\", \"desc\" nor \"ageing\".", word);
	}
	if (*error == NULL && !plain && key == DBOS_KEY_PARTITION_SHARE)
		*error = pstrdup("\"partition_share\" has neither direction nor ageing.");
	return *error == NULL;
}

bool
dbos_policy_parse(const char *order_by, DbosPolicy *policy, char **error)
{
	const char *at = order_by;
	int			nkeys = 0;

	memset(policy, 0, sizeof(*policy));
	policy->share_at = -1;
	*error = NULL;
	if (strlen(order_by) > DBOS_POLICY_LENGTH)
	{
		*error = psprintf("It has more than %d bytes.", DBOS_POLICY_LENGTH);
		return false;
	}
	if (strcmp(next_word(&at), "library") == 0)
	{
		char	   *name = next_word(&at);

		policy->rank = library_rank(name);
		if (policy->rank == NULL)
			*error = psprintf("No library has registered \"%s\" in this process.", name);
		else if (*next_word(&at) != '\0' || *at != '\0')
			*error = pstrdup("Nothing may follow the name of a library's policy.");
		return *error == NULL;
	}
	for (at = order_by;; at++)
	{
		if (!parse_item(&at, policy, &nkeys, error))
			return false;
		if (*at == '\0')
			return true;
	}
}

/* ---- ranks ---- */

/* A key's value in its unit: levels, attempts or seconds. */
static double
key_value(DbosPolicyKey key, const DbosReadyTask *task)
{
	switch (key)
	{
		case DBOS_KEY_PRIORITY:
			return task->priority;
		case DBOS_KEY_ATTEMPT:
			return task->attempt;
		case DBOS_KEY_EXPECTED_RUNTIME:
			return task->expected_us / (double) USECS_PER_SEC;
		default:
			return 0;
	}
}

/* A key that is a time is kept to the microsecond, which no double does. */
static int64
time_rank(DbosPolicyKey key, const DbosReadyTask *task)
{
	if (key == DBOS_KEY_DEADLINE)
		return task->deadline != 0 ? task->deadline : (int64) NEVER;
	if (key == DBOS_KEY_RUN_AT && task->run_at != 0)
		return task->run_at;
	return task->submitted_at;
}

static int64
rank_of(const DbosPolicy *policy, int at, const DbosReadyTask *task)
{
	DbosPolicyKey key = policy->keys[at].key;
	double		sign = policy->keys[at].descending ? -1 : 1;
	double		ageing = policy->keys[at].ageing;
	double		rank;

	if (key == DBOS_KEY_NONE)
		return 0;
	if (key == DBOS_KEY_SUBMITTED_AT || key == DBOS_KEY_RUN_AT || key == DBOS_KEY_DEADLINE)
	{
		if (ageing == 0)
			return sign < 0 ? -time_rank(key, task) : time_rank(key, task);
		rank = sign * time_rank(key, task) * ageing + task->submitted_at;
	}
	else if (ageing == 0)
		rank = sign * key_value(key, task) * (key == DBOS_KEY_EXPECTED_RUNTIME ? USECS_PER_SEC : 1);
	else
	{
		rank = sign * key_value(key, task) * ageing * USECS_PER_SEC;
		/* The difference of two submits counts to the microsecond. */
		if (fabs(rank) < RANK_LIMIT / 2)
			return (int64) rank + task->submitted_at;
	}
	return (int64) Max(Min(rank, RANK_LIMIT), -RANK_LIMIT);
}

void
dbos_policy_ticket(const DbosPolicy *policy, const DbosReadyTask *task, uint64 function,
				   uint64 partition, DbosTicket *ticket)
{
	DbosReadyTask known = *task;

	known.expected_us = dbos_forecast(function);
	ticket->key.priority = task->priority;
	ticket->key.id = task->id;
	ticket->partition = partition;
	ticket->cost = known.expected_us;
	for (int i = 0; i < DBOS_RANKS; i++)
		ticket->rank[i] = policy->rank == NULL ? rank_of(policy, i, &known) : 0;
	if (policy->rank != NULL)
		ticket->rank[0] = policy->rank(&known);
}

void
dbos_ready_read(HeapTuple row, TupleDesc desc, int first, const DbosPolicy *policy, DbosTicket *ticket)
{
	DbosReadyTask task = {0};
	bool		null;
	Datum		value;
	text	   *function;
	uint64		partition = 0;

	task.priority = DatumGetInt32(SPI_getbinval(row, desc, first, &null));
	task.id = DatumGetInt64(SPI_getbinval(row, desc, first + 1, &null));
	value = SPI_getbinval(row, desc, first + 2, &null);
	if (!null)
	{
		text	   *key = DatumGetTextPP(value);

		partition = dbos_partition_hash(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key));
	}
	function = DatumGetTextPP(SPI_getbinval(row, desc, first + 3, &null));
	task.submitted_at = DatumGetTimestampTz(SPI_getbinval(row, desc, first + 4, &null));
	value = SPI_getbinval(row, desc, first + 5, &null);
	task.run_at = null ? 0 : DatumGetTimestampTz(value);
	value = SPI_getbinval(row, desc, first + 6, &null);
	task.deadline = null ? 0 : DatumGetTimestampTz(value);
	task.attempt = DatumGetInt32(SPI_getbinval(row, desc, first + 7, &null));
	dbos_policy_ticket(policy, &task,
					   dbos_function_hash(VARDATA_ANY(function), VARSIZE_ANY_EXHDR(function)),
					   partition, ticket);
}
