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

/* What /proc/cpuinfo says of one processor; NULL where it says nothing. */
typedef struct Description
{
	char	   *model;
	char	   *mhz;
} Description;

/* More processors than the kernel can have. */
#define MAX_CORES 65536

/*
 * Takes cpuinfo apart, in place: a paragraph for each processor, in lines of
 * "label : value".  The result has *count entries, one for each number of a
 * processor.  Once for all of them: the file is half a megabyte on big machines.
 */
static Description *
describe(char *cpuinfo, int *count)
{
	Description *described = palloc(sizeof(Description));
	char	   *line;
	int			core = -1;

	*count = 0;
	while (cpuinfo != NULL && (line = dbos_host_next_line(&cpuinfo)) != NULL)
	{
		char	   *value = strstr(line, ": ");

		if (value == NULL)
			continue;
		value += 2;
		if (strncmp(line, "processor", 9) == 0)
		{
			core = atoi(value);
			if (core < 0 || core >= MAX_CORES)
				core = -1;
			else if (core >= *count)
			{
				described = repalloc(described, (core + 1) * sizeof(Description));
				memset(described + *count, 0, (core + 1 - *count) * sizeof(Description));
				*count = core + 1;
			}
		}
		else if (core >= 0 && strncmp(line, "model name", 10) == 0)
			described[core].model = value;
		else if (core >= 0 && strncmp(line, "cpu MHz", 7) == 0)
			described[core].mhz = value;
	}
	return described;
}

/* (core, model, mhz, user, ...) of each CPU; times in milliseconds since boot. */
Datum
dbos_host_list_cpus(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *text;
	Description *described;
	int			ndescribed;
	char	   *at;
	char	   *line;

	InitMaterializedSRF(fcinfo, 0);
	text = dbos_host_read_all("/proc/stat");
	if (text == NULL)
		return (Datum) 0;
	described = describe(dbos_host_read_all("/proc/cpuinfo"), &ndescribed);
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
		model = core < ndescribed ? described[core].model : NULL;
		mhz = core < ndescribed ? described[core].mhz : NULL;
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
