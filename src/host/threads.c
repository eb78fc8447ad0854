/*
 * threads.c
 *	  dbos.host_threads: the threads of every process, from /proc/PID/task.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <fcntl.h>

#include "miscadmin.h"
#include "storage/fd.h"

#include "host.h"

PG_FUNCTION_INFO_V1(dbos_host_list_threads);

static void
put_threads(ReturnSetInfo *result, int pid)
{
	char		path[64];
	char		buffer[DBOS_HOST_BUFFER];
	DIR		   *stream;
	int		   *tids;
	int			count;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tids = dbos_host_numbers_in(path, &stream, &count);
	if (tids == NULL)
		return;
	FreeDir(stream);
	for (int i = 0; i < count; i++)
	{
		DbosProcessStat stat;
		Datum		values[9];
		bool		nulls[9] = {false};
		ssize_t		length;

		CHECK_FOR_INTERRUPTS();
		snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tids[i]);
		length = dbos_host_read(AT_FDCWD, path, buffer, sizeof(buffer));
		if (length <= 0 || !dbos_host_parse_stat(buffer, length, &stat))
			continue;
		values[0] = Int32GetDatum(pid);
		values[1] = Int32GetDatum(tids[i]);
		values[2] = dbos_host_text(stat.name, strlen(stat.name));
		values[3] = dbos_host_text(&stat.state, 1);
		values[4] = Int64GetDatum(dbos_host_milliseconds(stat.user_ticks));
		values[5] = Int64GetDatum(dbos_host_milliseconds(stat.system_ticks));
		values[6] = Int64GetDatum(dbos_host_start_time(stat.start_ticks));
		values[7] = Int32GetDatum(stat.nice);
		values[8] = Int32GetDatum(stat.processor);
		nulls[8] = stat.processor < 0;
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	pfree(tids);
}

/* (pid, tid, name, ...) of every thread, or in a container of the session's own process. */
Datum
dbos_host_list_threads(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DIR		   *proc;
	int		   *pids;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	if (!dbos_host_in_root())
	{
		put_threads(result, MyProcPid);
		return (Datum) 0;
	}
	pids = dbos_host_numbers_in("/proc", &proc, &count);
	if (pids == NULL)
		return (Datum) 0;
	FreeDir(proc);
	for (int i = 0; i < count; i++)
		put_threads(result, pids[i]);
	return (Datum) 0;
}
