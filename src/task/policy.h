/*
 * policy.h
 *	  In which order the ready tasks of a queue are chosen.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_POLICY_H
#define DBOS_TASK_POLICY_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "datatype/timestamp.h"

#include "dbos/policy.h"

/* A policy has so many keys at most, beside the share of partitions. */
#define DBOS_RANKS 2
/* Bytes of its text at most. */
#define DBOS_POLICY_LENGTH 1000

typedef enum DbosPolicyKey
{
	DBOS_KEY_NONE = 0,
	DBOS_KEY_PRIORITY,
	DBOS_KEY_SUBMITTED_AT,
	DBOS_KEY_RUN_AT,
	DBOS_KEY_DEADLINE,
	DBOS_KEY_EXPECTED_RUNTIME,
	DBOS_KEY_ATTEMPT,
	DBOS_KEY_PARTITION_SHARE
} DbosPolicyKey;

/* A row of dbos.policy, read. */
typedef struct DbosPolicy
{
	struct
	{
		DbosPolicyKey key;
		bool		descending;
		double		ageing;		/* seconds of waiting that make up for one unit; 0: it does not */
	}			keys[DBOS_RANKS];
	int			share_at;		/* partitions take turns after so many keys; -1: they do not */
	DbosPolicyRank rank;		/* a library's; NULL: by keys */
} DbosPolicy;

struct DbosTicket;

/*
 * Reads the text of a policy; false, with the reason as a palloc'd text in *error,
 * when it is none.  Raises nothing but out of memory.
 */
extern bool dbos_policy_parse(const char *order_by, DbosPolicy *policy, char **error);

/* The columns that dbos_ready_read() reads, of dbos.task under the name t. */
#define DBOS_READY_COLUMNS \
	"t.priority, t.id, t.partition_key, t.function, t.submitted_at, t.run_at, t.deadline, t.attempt"
#define DBOS_READY_NCOLUMNS 8
#define DBOS_READY_RUN_AT	5		/* its place, from 0 */

/* Reads these columns of a row, from column number `first` on, as a ticket of this policy. */
extern void dbos_ready_read(HeapTuple row, TupleDesc desc, int first, const DbosPolicy *policy,
							struct DbosTicket *ticket);
extern void dbos_policy_ticket(const DbosPolicy *policy, const DbosReadyTask *task, uint64 function,
							   uint64 partition, struct DbosTicket *ticket);

/* Never 0, as in the index dbos.task_partition. */
extern uint64 dbos_partition_hash(const char *key, int length);
extern uint64 dbos_function_hash(const char *identity, int length);

/* ---- forecast.c: what a task is expected to take, from what others of its function took ---- */

extern int32 dbos_forecast(uint64 function);	/* microseconds */
extern void dbos_forecast_observe(uint64 function, int64 microseconds);

#endif							/* DBOS_TASK_POLICY_H */
