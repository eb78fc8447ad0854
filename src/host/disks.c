/*
 * disks.c
 *	  dbos.host_disks: block devices and what went through them, from /proc/diskstats and /sys/block.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "miscadmin.h"
#include "utils/builtins.h"

#include "host.h"

PG_FUNCTION_INFO_V1(dbos_host_list_disks);

/* The kernel counts in these, whatever the device does. */
#define SECTOR 512

/* One word of /sys about a device, as a number; false when there is none. */
static bool
read_number(const char *device, const char *what, int64 *number)
{
	char		path[MAXPGPATH];
	char		buffer[64];

	snprintf(path, sizeof(path), "/sys/class/block/%s/%s", device, what);
	if (dbos_host_read(AT_FDCWD, path, buffer, sizeof(buffer)) <= 0)
		return false;
	*number = strtoll(buffer, NULL, 10);
	return true;
}

/* (name, model, size, ...) of each block device and partition. */
Datum
dbos_host_list_disks(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *text;
	char	   *at;
	char	   *line;

	InitMaterializedSRF(fcinfo, 0);
	text = dbos_host_read_all("/proc/diskstats");
	if (text == NULL)
		return (Datum) 0;
	at = text;
	while ((line = dbos_host_next_line(&at)) != NULL)
	{
		char	   *name;
		char		path[MAXPGPATH];
		char		model[256];
		ssize_t		length;
		int64		count[11] = {0};
		int64		size;
		int64		block;
		Datum		values[12];
		bool		nulls[12] = {false};

		CHECK_FOR_INTERRUPTS();
		(void) dbos_host_next_field(&line);		/* major */
		(void) dbos_host_next_field(&line);		/* minor */
		name = dbos_host_next_field(&line);
		if (name == NULL || strchr(name, '/') != NULL)
			continue;
		for (int i = 0; i < lengthof(count); i++)
			count[i] = strtoll(line, &line, 10);
		snprintf(path, sizeof(path), "/sys/class/block/%s/device/model", name);
		length = dbos_host_read(AT_FDCWD, path, model, sizeof(model));
		while (length > 0 && (model[length - 1] == '\n' || model[length - 1] == ' '))
			length--;
		values[0] = dbos_host_text(name, strlen(name));
		nulls[1] = length <= 0;
		if (!nulls[1])
			values[1] = dbos_host_text(model, length);
		nulls[2] = !read_number(name, "size", &size);
		values[2] = Int64GetDatum(nulls[2] ? 0 : size * SECTOR);
		nulls[3] = !read_number(name, "queue/logical_block_size", &block);
		values[3] = Int64GetDatum(nulls[3] ? 0 : block);
		values[4] = Int64GetDatum(count[0]);
		values[5] = Int64GetDatum(count[2] * SECTOR);
		values[6] = Int64GetDatum(count[3]);
		values[7] = Int64GetDatum(count[4]);
		values[8] = Int64GetDatum(count[6] * SECTOR);
		values[9] = Int64GetDatum(count[7]);
		values[10] = Int64GetDatum(count[8]);
		values[11] = Int64GetDatum(count[9]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
