/*
 * alert.c
 *	  What is wrong, for dbos.health(), and told when it begins and ends.
 *
 * What is wrong is what the view dbos.trouble finds at the moment.  dbos.health() reads it
 * when somebody asks; the scheduler reads it every dbos.alert_after, compares it
 * with the open rows of dbos.alert, and tells each difference on the channel dbos_alerts
 * with the commit that writes it down.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "alert.h"
#include "task.h"

#define CHANNEL "dbos_alerts"
/* The payload of a notification must be shorter than this. */
#define MAX_PAYLOAD 7999

/* Objects of an older version do not have it. */
static bool
view_is_there(void)
{
	return OidIsValid(get_relname_relid("trouble", dbos_schema_oid(false)));
}

void
dbos_trouble_report(DbosReport *rows)
{
	static DbosPlan plan = {
		.sql = "SELECT c.component, t.detail, t.hint, t.others FROM pg_catalog.unnest(ARRAY['task queues', 'task snapshots',"
		" 'task bloat', 'task failures', 'schedules']) WITH ORDINALITY c(component, place)"
		" LEFT JOIN (SELECT DISTINCT ON (component) component, detail, hint,"
		"  pg_catalog.count(*) OVER (PARTITION BY component) OPERATOR(pg_catalog.-) 1 AS others"
		"  FROM dbos.trouble ORDER BY component, since) t ON t.component OPERATOR(pg_catalog.=) c.component"
		" WHERE dbos.in_container(0) ORDER BY c.place",
	};
	bool		may_see = dbos_is_monitor(GetUserId());
	MemoryContext caller = CurrentMemoryContext;
	DbosOwnerScope scope;
	uint64		count;

	if (!view_is_there())
		return;
	dbos_owner_begin(&scope);
	count = dbos_plan_execute(&plan, NULL, NULL, true, 0);
	for (uint64 i = 0; i < count; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *component = SPI_getvalue(row, desc, 1);
		char	   *detail = SPI_getvalue(row, desc, 2);
		char	   *hint = SPI_getvalue(row, desc, 3);
		char	   *others = SPI_getvalue(row, desc, 4);
		bool		ok = detail == NULL;
		MemoryContext old = MemoryContextSwitchTo(caller);

		if (!ok && strcmp(others, "0") != 0)
			detail = psprintf("%s (and %s more)", detail, others);
		if (!ok && !may_see)
		{
			detail = NULL;
			hint = "A member of dbos_monitor sees what it is.";
		}
		dbos_health_row(rows, component, ok, detail, hint);
		MemoryContextSwitchTo(old);
	}
	dbos_owner_end(&scope);
}

void
dbos_alerts_watch(void *unused)
{
	static DbosPlan plan = {
		.sql = "WITH t AS MATERIALIZED (SELECT DISTINCT ON (component, subject) * FROM dbos.trouble ORDER BY component, subject),"
		" raised AS (INSERT INTO dbos.alert AS a (component, subject, raised_at, detail, hint)"
		"  SELECT t.component, t.subject, $1, t.detail, t.hint FROM t WHERE NOT EXISTS (SELECT FROM dbos.alert o WHERE o.cleared_at IS NULL"
		"   AND o.component OPERATOR(pg_catalog.=) t.component AND o.subject OPERATOR(pg_catalog.=) t.subject)"
		"  ON CONFLICT (component, subject) WHERE cleared_at IS NULL DO NOTHING RETURNING a.*),"
		" cleared AS (UPDATE dbos.alert a SET cleared_at = $1 WHERE a.cleared_at IS NULL"
		"  AND NOT EXISTS (SELECT FROM t WHERE t.component OPERATOR(pg_catalog.=) a.component AND t.subject OPERATOR(pg_catalog.=) a.subject)"
		"  RETURNING a.*)"
		" SELECT pg_catalog.json_build_object('alert', id, 'component', component, 'subject', subject, 'raised_at', raised_at,"
		"  'cleared_at', cleared_at, 'detail', detail, 'hint', hint)::pg_catalog.text,"
		"  pg_catalog.json_build_object('alert', id, 'component', component)::pg_catalog.text"
		" FROM (SELECT * FROM raised UNION ALL SELECT * FROM cleared) a ORDER BY id",
		.nargs = 1,
		.argtypes = {TIMESTAMPTZOID},
	};
	Datum		now = TimestampTzGetDatum(dbos_now());
	DbosOwnerScope scope;
	uint64		count;

	if (!view_is_there())
		return;
	dbos_owner_begin(&scope);
	count = dbos_plan_execute(&plan, &now, NULL, false, 0);
	for (uint64 i = 0; i < count; i++)
	{
		char	   *payload = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);

		if (strlen(payload) > MAX_PAYLOAD)
			payload = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);
		Async_Notify(CHANNEL, payload);
	}
	dbos_owner_end(&scope);
}

TimestampTz
dbos_alerts_due(TimestampTz watched_at)
{
	return dbos_alert_after == 0 ? 0 : TimestampTzPlusMilliseconds(watched_at, dbos_alert_after * INT64CONST(1000));
}

void
dbos_alerts_forget(TimestampTz before)
{
	static DbosPlan plan = {
		.sql = "DELETE FROM dbos.alert WHERE cleared_at OPERATOR(pg_catalog.<) $1",
		.nargs = 1,
		.argtypes = {TIMESTAMPTZOID},
	};
	Datum		value = TimestampTzGetDatum(before);

	(void) dbos_plan_execute(&plan, &value, NULL, false, 0);
}
