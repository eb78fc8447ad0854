/*
 * mounts.c
 *	  dbos.host_mounts: mounted file systems, from /proc/self/mounts.
 *
 * A file system that is served by somebody else (NFS, FUSE) may not answer for
 * minutes when asked for its size, so only local kinds are asked, and of those
 * none whose path leads through one that may be silent.
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

/* Have no size, but nobody needs to be asked on the way through them. */
static const char *const kernel_types[] = {
	"bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "hugetlbfs", "mqueue", "nsfs", "proc",
	"pstore", "rootfs", "securityfs", "selinuxfs", "sysfs", "tracefs"
};

typedef struct Mount
{
	char	   *device;
	char	   *path;
	char	   *type;
	char	   *flags;
	bool		local;
	bool		may_be_silent;
} Mount;

static bool
is_one_of(const char *type, const char *const *types, int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(type, types[i]) == 0)
			return true;
	return false;
}

/*
 * Whether a path leads through a folder, or is it.  Not asked of the root: on a
 * machine whose root is silent nothing else runs either.
 */
static bool
leads_through(const char *path, const char *folder)
{
	size_t		length = strlen(folder);

	return length > 1 && strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* Whether statvfs() of the mount's path would answer, at once, for this mount and no other. */
static bool
can_be_asked(const Mount *mounts, int count, int which)
{
	if (!mounts[which].local)
		return false;
	for (int i = 0; i < count; i++)
	{
		if (mounts[i].may_be_silent && leads_through(mounts[which].path, mounts[i].path))
			return false;
		/* What is mounted later at the same place answers instead. */
		if (i > which && strcmp(mounts[i].path, mounts[which].path) == 0)
			return false;
	}
	return true;
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

/* Takes the kernel's table apart, in place, in the order of mounting. */
static Mount *
parse_mounts(char *text, int *count)
{
	int			space = 64;
	Mount	   *mounts = palloc(space * sizeof(Mount));
	char	   *line;

	*count = 0;
	while ((line = dbos_host_next_line(&text)) != NULL)
	{
		Mount		one = {0};

		one.device = dbos_host_next_field(&line);
		one.path = one.device ? dbos_host_next_field(&line) : NULL;
		one.type = one.path ? dbos_host_next_field(&line) : NULL;
		one.flags = one.type ? dbos_host_next_field(&line) : NULL;
		if (one.flags == NULL)
			continue;
		one.device = unescape(one.device);
		one.path = unescape(one.path);
		one.local = is_one_of(one.type, local_types, lengthof(local_types));
		one.may_be_silent = !one.local && !is_one_of(one.type, kernel_types, lengthof(kernel_types));
		if (*count == space)
			mounts = repalloc(mounts, (space *= 2) * sizeof(Mount));
		mounts[(*count)++] = one;
	}
	return mounts;
}

/* (device, path, type, ...) of each mount; none in a container. */
Datum
dbos_host_list_mounts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *text;
	Mount	   *mounts;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	if (!dbos_host_in_root() || (text = dbos_host_read_all("/proc/self/mounts")) == NULL)
		return (Datum) 0;
	mounts = parse_mounts(text, &count);
	for (int i = 0; i < count; i++)
	{
		const Mount *one = &mounts[i];
		struct statvfs size;
		Datum		values[10];
		bool		nulls[10] = {false};

		CHECK_FOR_INTERRUPTS();
		values[0] = dbos_host_text(one->device, strlen(one->device));
		values[1] = dbos_host_text(one->path, strlen(one->path));
		values[2] = dbos_host_text(one->type, strlen(one->type));
		values[3] = dbos_host_text(one->flags, strlen(one->flags));
		if (can_be_asked(mounts, count, i) && statvfs(one->path, &size) == 0)
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
