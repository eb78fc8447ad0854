/*
 * mounts.c
 *	  dbos.host_mounts: mounted file systems, from /proc/self/mounts.
 *
 * A file system that is served by somebody else (NFS, FUSE) may not answer for
 * minutes when asked for its size, so only local kinds are asked.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <sys/statvfs.h>

#include "miscadmin.h"
#include "utils/builtins.h"

#include "host.h"

PG_FUNCTION_INFO_V1(dbos_host_list_mounts);

static const char *const local_types[] = {
	"btrfs", "devtmpfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660", "jfs", "ntfs3",
	"overlay", "ramfs", "squashfs", "tmpfs", "vfat", "xfs", "zfs"
};

static bool
is_local(const char *type)
{
	for (int i = 0; i < lengthof(local_types); i++)
		if (strcmp(type, local_types[i]) == 0)
			return true;
	return false;
}

/* The kernel writes blanks and the like as \ooo; in place. */
static char *
unescape(char *text)
{
	char	   *out = text;

	for (const char *in = text; *in != '\0';)
	{
		if (in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && in[2] >= '0' && in[2] <= '7' &&
			in[3] >= '0' && in[3] <= '7')
		{
			*out++ = (char) (((in[1] - '0') << 6) | ((in[2] - '0') << 3) | (in[3] - '0'));
			in += 4;
		}
		else
			*out++ = *in++;
	}
	*out = '\0';
	return text;
}

/* (device, path, type, ...) of each mount; none in a container. */
Datum
dbos_host_list_mounts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *text;
	char	   *at;
	char	   *line;

	InitMaterializedSRF(fcinfo, 0);
	if (!dbos_host_in_root() || (text = dbos_host_read_all("/proc/self/mounts")) == NULL)
		return (Datum) 0;
	at = text;
	while ((line = dbos_host_next_line(&at)) != NULL)
	{
		char	   *device = dbos_host_next_field(&line);
		char	   *path = device ? dbos_host_next_field(&line) : NULL;
		char	   *type = path ? dbos_host_next_field(&line) : NULL;
		char	   *flags = type ? dbos_host_next_field(&line) : NULL;
		struct statvfs size;
		Datum		values[10];
		bool		nulls[10] = {false};

		if (flags == NULL)
			continue;
		CHECK_FOR_INTERRUPTS();
		device = unescape(device);
		path = unescape(path);
		values[0] = dbos_host_text(device, strlen(device));
		values[1] = dbos_host_text(path, strlen(path));
		values[2] = dbos_host_text(type, strlen(type));
		values[3] = dbos_host_text(flags, strlen(flags));
		if (is_local(type) && statvfs(path, &size) == 0)
		{
			values[4] = Int64GetDatum(size.f_frsize);
			values[5] = Int64GetDatum(size.f_blocks);
			values[6] = Int64GetDatum(size.f_bfree);
			values[7] = Int64GetDatum(size.f_bavail);
			values[8] = Int64GetDatum(size.f_files);
			values[9] = Int64GetDatum(size.f_ffree);
		}
		else
			memset(&nulls[4], true, 6);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
