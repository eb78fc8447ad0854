/*
 * memory.c
 *	  dbos.host_memory: one row, from /proc/meminfo.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "host.h"

PG_FUNCTION_INFO_V1(dbos_host_list_memory);

/* In the order of the view's columns. */
static const char *const labels[] = {
	"MemTotal:", "MemFree:", "MemAvailable:", "Buffers:", "Cached:", "SwapCached:", "Active:", "Inactive:",
	"SwapTotal:", "SwapFree:"
};

/* (memory_total, memory_free, ...) in bytes. */
Datum
dbos_host_list_memory(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[lengthof(labels)];
	bool		nulls[lengthof(labels)];
	char	   *text;
	char	   *at;
	char	   *line;

	InitMaterializedSRF(fcinfo, 0);
	text = dbos_host_read_all("/proc/meminfo");
	if (text == NULL)
		return (Datum) 0;
	memset(nulls, true, sizeof(nulls));
	at = text;
	while ((line = dbos_host_next_line(&at)) != NULL)
		for (int i = 0; i < lengthof(labels); i++)
			if (strncmp(line, labels[i], strlen(labels[i])) == 0)
			{
				values[i] = Int64GetDatum(strtoll(line + strlen(labels[i]), NULL, 10) * 1024);
				nulls[i] = false;
			}
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return (Datum) 0;
}
