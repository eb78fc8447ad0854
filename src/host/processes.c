/*
 * processes.c
 *	  dbos.host_processes: the processes of the machine, from /proc.
 *
 * What is in /proc/PID/stat is read for every process at once.  What costs
 * another system call, or belongs to the process's user, is a function of (pid,
 * start) in the view, which a query that does not name the column does not call;
 * start tells a process from a later one of the same pid.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"

#include "host.h"

PG_FUNCTION_INFO_V1(dbos_host_list_processes);
PG_FUNCTION_INFO_V1(dbos_host_process_link);
PG_FUNCTION_INFO_V1(dbos_host_process_cmdline);
PG_FUNCTION_INFO_V1(dbos_host_process_id);
PG_FUNCTION_INFO_V1(dbos_host_process_io);

/* What was read of a process serves the other columns of its row for this long. */
#define RECENT_NS 1000000

/* Clock ticks of the kernel, as milliseconds. */
int64
dbos_host_milliseconds(int64 ticks)
{
	static long per_second = 0;

	if (per_second == 0)
		per_second = sysconf(_SC_CLK_TCK);
	return ticks * 1000 / Max(per_second, 1);
}

/* Seconds since 1970 at which a process started. */
int64
dbos_host_start_time(int64 start_ticks)
{
	static int64 boot = 0;

	if (boot == 0)
	{
		char	   *text = dbos_host_read_all("/proc/stat");
		char	   *line = text ? strstr(text, "\nbtime ") : NULL;

		if (line != NULL)
			boot = strtoll(line + strlen("\nbtime "), NULL, 10);
		if (text != NULL)
			pfree(text);
	}
	return boot + dbos_host_milliseconds(start_ticks) / 1000;
}

/*
 * Takes a line of stat apart, in place.  The name stands in parentheses and may
 * hold any byte, parentheses too: it ends at the last one.
 */
bool
dbos_host_parse_stat(char *line, ssize_t length, DbosProcessStat *stat)
{
	char	   *name = memchr(line, '(', length);
	char	   *end = NULL;
	char	   *at;
	int64		value[40] = {0};
	int			count = 0;

	for (char *p = line + length - 1; p > line && end == NULL; p--)
		if (*p == ')')
			end = p;
	if (name == NULL || end == NULL || end < name || end + 3 >= line + length)
		return false;
	*end = '\0';
	stat->name = name + 1;
	stat->state = end[2];
	at = end + 3;
	/* value[0] is the fourth field of proc(5), the parent. */
	while (count < lengthof(value))
	{
		char	   *next;

		value[count] = strtoll(at, &next, 10);
		if (next == at)
			break;
		count++;
		at = next;
	}
	if (count < 21)
		return false;
	stat->parent = (int32) value[0];
	stat->group = (int32) value[1];
	stat->user_ticks = value[10];
	stat->system_ticks = value[11];
	stat->nice = (int32) value[15];
	stat->threads = (int32) value[16];
	stat->start_ticks = value[18];
	stat->total_bytes = value[19];
	stat->resident_bytes = value[20] * sysconf(_SC_PAGESIZE);
	stat->processor = count > 35 ? (int32) value[35] : -1;
	return true;
}

static void
put_process(ReturnSetInfo *result, int pid, bool readable, const DbosProcessStat *stat)
{
	Datum		values[13];
	bool		nulls[13];

	memset(nulls, !readable, sizeof(nulls));
	values[0] = Int32GetDatum(pid);
	nulls[0] = false;
	if (readable)
	{
		values[1] = dbos_host_text(stat->name, strlen(stat->name));
		values[2] = dbos_host_text(&stat->state, 1);
		values[3] = Int64GetDatum(stat->resident_bytes);
		values[4] = Int64GetDatum(stat->total_bytes);
		values[5] = Int64GetDatum(dbos_host_milliseconds(stat->user_ticks));
		values[6] = Int64GetDatum(dbos_host_milliseconds(stat->system_ticks));
		values[7] = Int64GetDatum(dbos_host_start_time(stat->start_ticks));
		values[8] = Int64GetDatum(stat->start_ticks);
		values[9] = Int32GetDatum(stat->parent);
		values[10] = Int32GetDatum(stat->group);
		values[11] = Int32GetDatum(stat->threads);
		values[12] = Int32GetDatum(stat->nice);
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* (pid, name, state, resident_size, ...) of every process, or in a container of the session's own. */
Datum
dbos_host_list_processes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char		buffer[DBOS_HOST_BUFFER];
	DIR		   *proc;
	int		   *pids;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	pids = dbos_host_numbers_in("/proc", &proc, &count);
	if (pids == NULL)
		return (Datum) 0;
	if (!dbos_host_in_root())
	{
		pids[0] = MyProcPid;
		count = 1;
	}
	for (int i = 0; i < count; i++)
	{
		char		path[64];
		DbosProcessStat stat;
		ssize_t		length;

		CHECK_FOR_INTERRUPTS();
		/* From the open folder: a third of the time is the way to the file. */
		snprintf(path, sizeof(path), "%d/stat", pids[i]);
		length = dbos_host_read(dirfd(proc), path, buffer, sizeof(buffer));
		/* One that has ended meanwhile is no process any more. */
		if (length < 0 && (errno == ENOENT || errno == ESRCH))
			continue;
		put_process(result, pids[i], length > 0 && dbos_host_parse_stat(buffer, length, &stat), &stat);
	}
	FreeDir(proc);
	return (Datum) 0;
}

/* ---- one process ---- */

/* Something that was read a moment ago, for another column of the same row. */
typedef struct Recent
{
	int			pid;			/* 0: nothing */
	int64		start;
	struct timespec at;
} Recent;

static bool
is_recent(const Recent *recent, int pid)
{
	struct timespec now;

	if (recent->pid != pid)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - recent->at.tv_sec) * INT64CONST(1000000000) + now.tv_nsec - recent->at.tv_nsec < RECENT_NS;
}

static void
remember(Recent *recent, int pid, int64 start)
{
	recent->pid = pid;
	recent->start = start;
	clock_gettime(CLOCK_MONOTONIC, &recent->at);
}

/* Whether this is in the caller's view, and still the process that started then. */
static bool
is_process(int pid, int64 start)
{
	static Recent checked;
	char		path[64];
	char		buffer[DBOS_HOST_BUFFER];
	DbosProcessStat stat;
	ssize_t		length;

	if (!dbos_host_in_root() && pid != MyProcPid)
		return false;
	if (is_recent(&checked, pid))
		return checked.start == start;
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	length = dbos_host_read(AT_FDCWD, path, buffer, sizeof(buffer));
	if (length <= 0 || !dbos_host_parse_stat(buffer, length, &stat))
		return false;
	remember(&checked, pid, stat.start_ticks);
	return stat.start_ticks == start;
}

/* Whether the caller may know what belongs to the process's user. */
static bool
may_look_into(int pid, int64 start)
{
	return dbos_host_sees_others() && is_process(pid, start);
}

/* Where exe, cwd or root of a process points to. */
Datum
dbos_host_process_link(PG_FUNCTION_ARGS)
{
	int			pid = PG_GETARG_INT32(0);
	char	   *link = text_to_cstring(PG_GETARG_TEXT_PP(2));
	char		path[64];
	char		target[MAXPGPATH];
	ssize_t		length;

	if (strcmp(link, "exe") != 0 && strcmp(link, "cwd") != 0 && strcmp(link, "root") != 0)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("a process has no link \"%s\"", link),
				errhint("It has exe, cwd and root."));
	if (!may_look_into(pid, PG_GETARG_INT64(1)))
		PG_RETURN_NULL();
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, link);
	length = dbos_host_read_link(path, target, sizeof(target));
	if (length < 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(dbos_host_text(target, length));
}

/* The arguments of a process, with blanks between. */
Datum
dbos_host_process_cmdline(PG_FUNCTION_ARGS)
{
	int			pid = PG_GETARG_INT32(0);
	char		path[64];
	char		buffer[DBOS_HOST_BUFFER];
	ssize_t		length;

	if (!may_look_into(pid, PG_GETARG_INT64(1)))
		PG_RETURN_NULL();
	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	length = dbos_host_read(AT_FDCWD, path, buffer, sizeof(buffer));
	if (length < 0)
		PG_RETURN_NULL();
	while (length > 0 && buffer[length - 1] == '\0')
		length--;
	for (ssize_t i = 0; i < length; i++)
		if (buffer[i] == '\0')
			buffer[i] = ' ';
	PG_RETURN_DATUM(dbos_host_text(buffer, length));
}

/* A file of /proc/PID that several columns of a row are taken from. */
typedef struct RecentFile
{
	const char *name;
	Recent		inside;
	char		buffer[DBOS_HOST_BUFFER];
} RecentFile;

/* What stands in it after a label; NULL when it cannot be read. */
static char *
read_recent(RecentFile *file, int pid, int64 start, const char *label)
{
	char		path[64];
	char	   *at;

	if (!is_recent(&file->inside, pid) || file->inside.start != start)
	{
		file->inside.pid = 0;
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, file->name);
		if (dbos_host_read(AT_FDCWD, path, file->buffer, sizeof(file->buffer)) <= 0)
			return NULL;
		remember(&file->inside, pid, start);
	}
	at = strstr(file->buffer, label);
	return at == NULL ? NULL : at + strlen(label);
}

/* A user or group id of a process; which is 0 real, 1 effective, 2 saved. */
Datum
dbos_host_process_id(PG_FUNCTION_ARGS)
{
	int			pid = PG_GETARG_INT32(0);
	int64		start = PG_GETARG_INT64(1);
	bool		user = PG_GETARG_BOOL(2);
	int			which = PG_GETARG_INT32(3);
	static RecentFile status = {.name = "status"};
	char	   *at;
	int64		id = -1;

	if (which < 0 || which > 2)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("a process has no id number %d", which),
				errhint("0 is the real, 1 the effective, 2 the saved one."));
	if (!is_process(pid, start))
		PG_RETURN_NULL();
	at = read_recent(&status, pid, start, user ? "\nUid:" : "\nGid:");
	if (at == NULL)
		PG_RETURN_NULL();
	for (int i = 0; i <= which; i++)
		id = strtoll(at, &at, 10);
	PG_RETURN_INT64(id);
}

/* Bytes that a process had from disk, or gave to it. */
Datum
dbos_host_process_io(PG_FUNCTION_ARGS)
{
	int			pid = PG_GETARG_INT32(0);
	int64		start = PG_GETARG_INT64(1);
	bool		written = PG_GETARG_BOOL(2);
	static RecentFile io = {.name = "io"};
	char	   *at;

	if (!may_look_into(pid, start))
		PG_RETURN_NULL();
	at = read_recent(&io, pid, start, written ? "\nwrite_bytes: " : "\nread_bytes: ");
	if (at == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT64(strtoll(at, NULL, 10));
}
