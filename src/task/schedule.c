/*
 * schedule.c
 *	  Schedules as their users see them: when one would fire.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "cron.h"

#define MAX_PREVIEW		100000

PG_FUNCTION_INFO_V1(dbos_schedule_preview);

/* The next times at which a schedule fires, soonest first. */
Datum
dbos_schedule_preview(PG_FUNCTION_ARGS)
{
	DbosCron	cron;
	pg_tz	   *zone;
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(2);
	int32		count = PG_GETARG_INT32(3);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	dbos_cron_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), &cron);
	zone = dbos_cron_zone(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (count < 0 || count > MAX_PREVIEW)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("count of a preview must be between 0 and %d: %d", MAX_PREVIEW, count));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (int i = 0; i < count && dbos_cron_next(&cron, zone, at, &at); i++)
	{
		Datum		value = TimestampTzGetDatum(at);
		bool		isnull = false;

		CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}
