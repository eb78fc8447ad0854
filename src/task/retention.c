/*
 * retention.c
 *	  How long what is over is kept: partitions of the history and rows beside it.
 *
 * Whole days are dropped, by age (dbos.task_history_days) and by size
 * (dbos.task_history_size); idempotency keys, earlier attempts and recorded
 * decisions go with the days.  A lock that is not to be had within a second is
 * waited for next time: nobody shall queue behind a retention.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "function_profile.h"
#include "alert.h"
#include "gang.h"
#include "map.h"
#include "schedule.h"
#include "scheduler.h"
#include "task.h"

/* Rows that one statement deletes. */
#define CHUNK "10000"

/* The first partition to go, if one must; its name is ours: letters and digits. */
static char *
partition_to_drop(TimestampTz now)
{
	static DbosPlan plan = {
		.sql = "WITH part AS (SELECT c.relname,"
		" pg_catalog.to_date(pg_catalog.right(c.relname, 8), 'YYYYMMDD') AS day,"
		" pg_catalog.sum(pg_catalog.pg_total_relation_size(c.oid)) OVER (ORDER BY c.relname DESC) AS size_to_here,"
		" pg_catalog.row_number() OVER (ORDER BY c.relname DESC) AS newest"
		" FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid"
		" WHERE i.inhparent OPERATOR(pg_catalog.=) 'dbos.task_history'::pg_catalog.regclass"
		" AND c.relname OPERATOR(pg_catalog.~) '^task_history_[0-9]{8}$')"
		" SELECT relname FROM part WHERE newest OPERATOR(pg_catalog.>) 2"
		" AND (day OPERATOR(pg_catalog.<) (($1 AT TIME ZONE 'UTC')::pg_catalog.date OPERATOR(pg_catalog.-) $2)"
		" OR size_to_here OPERATOR(pg_catalog.>) $3) ORDER BY relname LIMIT 1",
		.nargs = 3,
		.argtypes = {TIMESTAMPTZOID, INT4OID, NUMERICOID},
	};
	Datum		values[3];

	values[0] = TimestampTzGetDatum(now);
	values[1] = Int32GetDatum(dbos_task_history_days);
	values[2] = DirectFunctionCall1(int8_numeric, Int64GetDatum((int64) dbos_task_history_megabytes * 1024 * 1024));
	if (dbos_plan_execute(&plan, values, NULL, false, 1) == 0)
		return NULL;
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

static void
delete_older(DbosPlan *plan, TimestampTz limit)
{
	Datum		value = TimestampTzGetDatum(limit);

	(void) dbos_plan_execute(plan, &value, NULL, false, 0);
}

void
dbos_history_retain(void *unused)
{
	static DbosPlan keys = {
		.sql = "DELETE FROM dbos.task_key k WHERE k.ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
		"SELECT o.ctid FROM dbos.task_key o WHERE o.created_at OPERATOR(pg_catalog.<) $1"
		" AND NOT EXISTS (SELECT FROM dbos.task t WHERE t.id OPERATOR(pg_catalog.=) o.task_id"
		" AND t.shard OPERATOR(pg_catalog.=) (o.task_id OPERATOR(pg_catalog.&) 15)::pg_catalog.int2) LIMIT " CHUNK "))",
		.nargs = 1,
		.argtypes = {TIMESTAMPTZOID},
	};
	static DbosPlan attempts = {
		.sql = "DELETE FROM dbos.task_attempt a WHERE a.ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
		"SELECT o.ctid FROM dbos.task_attempt o WHERE o.finished_at OPERATOR(pg_catalog.<) $1 LIMIT " CHUNK "))",
		.nargs = 1,
		.argtypes = {TIMESTAMPTZOID},
	};
	static DbosPlan decisions = {
		.sql = "DELETE FROM dbos.decision d WHERE d.ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
		"SELECT o.ctid FROM dbos.decision o WHERE o.decided_at OPERATOR(pg_catalog.<) $1 LIMIT " CHUNK "))",
		.nargs = 1,
		.argtypes = {TIMESTAMPTZOID},
	};
	/* A cancel that was committed when its task had just ended is nobody's. */
	static DbosPlan cancellations = {
		.sql = "DELETE FROM dbos.task_cancellation c WHERE NOT EXISTS (SELECT FROM dbos.task t"
		" WHERE t.shard OPERATOR(pg_catalog.=) (c.task_id OPERATOR(pg_catalog.&) 15)::pg_catalog.int2"
		" AND t.id OPERATOR(pg_catalog.=) c.task_id)",
	};
	TimestampTz now = dbos_now();
	TimestampTz limit = now - (int64) dbos_task_history_days * USECS_PER_DAY;
	DbosOwnerScope scope;
	char	   *partition;

	dbos_owner_begin(&scope);
	(void) set_config_option("lock_timeout", "1s", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) dbos_history_partition(now);
	(void) dbos_history_partition(now + USECS_PER_DAY);
	while ((partition = partition_to_drop(now)) != NULL)
	{
		char	   *command = psprintf("DROP TABLE dbos.%s", quote_identifier(partition));

		if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "could not drop partition \"%s\"", partition);
	}
	delete_older(&keys, limit);
	delete_older(&attempts, limit);
	delete_older(&decisions, limit);
	(void) dbos_plan_execute(&cancellations, NULL, NULL, false, 0);
	dbos_maps_forget();
	dbos_gangs_forget();
	dbos_profiles_forget(limit);
	dbos_schedule_runs_forget(limit);
	dbos_alerts_forget(limit);
	dbos_owner_end(&scope);
}
