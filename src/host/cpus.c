/*
 * cpus.c
 *	  dbos.host_cpus: the logical CPUs and where their time went, from /proc/stat and /proc/cpuinfo.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "host.h"

PG_FUNCTION_INFO_V1(dbos_host_list_cpus);

/* user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice */
#define TIMES 10

/* The value after "label : " in the paragraph of one processor; NULL when it says nothing of it. */
static char *
described(char *cpuinfo, int core, const char *label)
{
	char		heading[64];
	char	   *at = cpuinfo;
	char	   *line;
	bool		here = false;
	char	   *copy;

	if (cpuinfo == NULL)
		return NULL;
	snprintf(heading, sizeof(heading), "%d", core);
	copy = at = pstrdup(cpuinfo);
	while ((line = dbos_host_next_line(&at)) != NULL)
	{
		char	   *value = strstr(line, ": ");

		if (value == NULL)
			continue;
		if (strncmp(line, "processor", 9) == 0)
			here = strcmp(value + 2, heading) == 0;
		else if (here && strncmp(line, label, strlen(label)) == 0)
			return value + 2;
	}
	pfree(copy);
	return NULL;
}

/* (core, model, mhz, user, ...) of each CPU; times in milliseconds since boot. */
Datum
dbos_host_list_cpus(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *text;
	char	   *cpuinfo;
	char	   *at;
	char	   *line;

	InitMaterializedSRF(fcinfo, 0);
	text = dbos_host_read_all("/proc/stat");
	if (text == NULL)
		return (Datum) 0;
	cpuinfo = dbos_host_read_all("/proc/cpuinfo");
	at = text;
	while ((line = dbos_host_next_line(&at)) != NULL)
	{
		char	   *number = line + strlen("cpu");
		char	   *next;
		char	   *model;
		char	   *mhz;
		int			core;
		Datum		values[3 + TIMES];
		bool		nulls[3 + TIMES] = {false};

		if (strncmp(line, "cpu", 3) != 0 || *number < '0' || *number > '9')
			continue;
		CHECK_FOR_INTERRUPTS();
		core = (int) strtol(number, &next, 10);
		model = described(cpuinfo, core, "model name");
		mhz = described(cpuinfo, core, "cpu MHz");
		values[0] = Int32GetDatum(core);
		nulls[1] = model == NULL;
		if (model != NULL)
			values[1] = dbos_host_text(model, strlen(model));
		nulls[2] = mhz == NULL;
		if (mhz != NULL)
			values[2] = Float4GetDatum((float4) strtod(mhz, NULL));
		for (int i = 0; i < TIMES; i++)
		{
			char	   *before = next;

			values[3 + i] = Int64GetDatum(dbos_host_milliseconds(strtoll(before, &next, 10)));
			nulls[3 + i] = next == before;
		}
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
