/*
 * outside.c
 *	  Files of the host that the server runs on: opened, walked and named in errors.
 *
 * A path may be longer than the kernel takes, and deeper than files may be open: a walk holds the
 * one directory that it is in, goes down by a name and up by two dots, and asks whether it has come
 * to where it came from.  Names of the directories that are still to be entered are all that it
 * keeps.
 *
 * Descriptors are not the transaction's: who begins ends, also after an error.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "dbos/task.h"
#include "outside.h"

#define DESCRIPTORS 4			/* that are open at once, the stream's included */
#define TELL_EVERY USECS_PER_SEC

/* A directory on the way to where the walk is. */
typedef struct Level
{
	struct Level *outer;
	void	   *visitors;
	DbosOutsidePlace place;
	StringInfoData names;		/* of directories to be entered, each with its zero byte */
} Level;

/* ---- who may ---- */

static void
demand(Oid role, const char *name, const char *what)
{
	if (!has_privs_of_role(GetUserId(), role))
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied to %s files of the server's host", what),
				errdetail("Only roles with privileges of the role \"%s\" may %s files of the host.", name, what));
}

void
dbos_outside_demand_read(void)
{
	demand(ROLE_PG_READ_SERVER_FILES, "pg_read_server_files", "read");
}

void
dbos_outside_demand_write(void)
{
	demand(ROLE_PG_WRITE_SERVER_FILES, "pg_write_server_files", "write");
}

/* ---- names ---- */

/* Its bytes; as in paths of ours, those that are no text may be given as \200 to \377. */
const char *
dbos_outside_path(text *given)
{
	DbosName	path = dbos_path_bytes(given);

	if (path.length == 0 || path.bytes[0] != '/')
		ereport(ERROR,
				errcode(ERRCODE_INVALID_NAME),
				errmsg("path \"%s\" of the host does not begin with a slash", text_to_cstring(given)));
	return path.bytes;
}

/* As text, of what is looked at: of the directory, or of what has that name in it. */
char *
dbos_outside_name(const DbosOutside *outside, const char *name)
{
	StringInfoData path;

	initStringInfo(&path);
	appendBinaryStringInfo(&path, outside->path.data, outside->path.len);
	if (name != NULL)
	{
		if (path.len > 0 && path.data[path.len - 1] != '/')
			appendStringInfoChar(&path, '/');
		appendStringInfoString(&path, name);
	}
	return text_to_cstring(dbos_name_text((DbosName) {path.data, path.len}));
}

/* what: as in "could not WHAT file".  errno says why. */
void
dbos_outside_failed(const DbosOutside *outside, const char *name, const char *what)
{
	ereport(ERROR,
			errcode_for_file_access(),
			errmsg("could not %s \"%s\" of the host: %m", what, dbos_outside_name(outside, name)));
}

/* ---- descriptors ---- */

/* doing: as in "importing". */
DbosOutside *
dbos_outside_begin(const char *doing)
{
	DbosOutside *outside = palloc0(sizeof(DbosOutside));

	outside->doing = doing;
	outside->buffer = palloc(OUTSIDE_PIECE);
	outside->told = GetCurrentTimestamp();
	initStringInfo(&outside->path);
	outside->root = outside->directory = outside->file = -1;
	for (int i = 0; i < DESCRIPTORS; i++)
		ReserveExternalFD();
	return outside;
}

static void
close_descriptor(int *descriptor)
{
	if (*descriptor >= 0)
		close(*descriptor);
	*descriptor = -1;
}

void
dbos_outside_close_file(DbosOutside *outside)
{
	close_descriptor(&outside->file);
}

static void
close_stream(DbosOutside *outside)
{
	if (outside->stream != NULL)
		closedir(outside->stream);
	outside->stream = NULL;
}

/* Also after an error. */
void
dbos_outside_end(DbosOutside *outside)
{
	close_stream(outside);
	close_descriptor(&outside->file);
	close_descriptor(&outside->directory);
	close_descriptor(&outside->root);
	for (int i = 0; i < DESCRIPTORS; i++)
		ReleaseExternalFD();
	if (outside->shown)
		pgstat_report_activity(STATE_RUNNING, debug_query_string);
}

/*
 * How far it is: a task's progress, else what pg_stat_activity shows of the session.  Called for each file and
 * each piece.
 */
void
dbos_outside_tell(DbosOutside *outside)
{
	TimestampTz now = GetCurrentTimestamp();
	char	   *note;

	CHECK_FOR_INTERRUPTS();
	if (now - outside->told < TELL_EVERY)
		return;
	outside->told = now;
	note = psprintf("%s " INT64_FORMAT " files, " INT64_FORMAT " MB, now in %s", outside->doing, outside->files,
					outside->bytes / (1024 * 1024), dbos_outside_name(outside, NULL));
	if (!dbos_task_tell(outside->files_wanted > 0 ? Min((float4) outside->files / outside->files_wanted, 1) : -1, note))
	{
		pgstat_report_activity(STATE_RUNNING, note);
		outside->shown = true;
	}
	pfree(note);
}

/*
 * As openat(2), for paths of any length; those that are too long are gone along in parts.  -1 with
 * errno when that cannot be.
 */
int
dbos_outside_open_at(int directory, const char *path, int flags)
{
	int			at = directory;
	int			result;

	while (strlen(path) >= PATH_MAX)
	{
		char		part[PATH_MAX];
		const char *end = path + PATH_MAX - 1;
		int			next;

		while (end > path && *end != '/')
			end--;
		if (end == path)
		{
			errno = ENAMETOOLONG;
			next = -1;
		}
		else
		{
			memcpy(part, path, end - path);
			part[end - path] = '\0';
			next = openat(at, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		}
		if (at != directory)
		{
			int			problem = errno;

			close(at);
			errno = problem;
		}
		if (next < 0)
			return -1;
		at = next;
		while (*end == '/')
			end++;
		path = end;
	}
	result = openat(at, *path == '\0' ? "." : path, flags | O_CLOEXEC, 0600);
	if (at != directory)
	{
		int			problem = errno;

		close(at);
		errno = problem;
	}
	return result;
}

/* The directory that is looked at from now on. */
void
dbos_outside_open_directory(DbosOutside *outside, const char *path)
{
	int			opened;

	resetStringInfo(&outside->path);
	appendStringInfoString(&outside->path, path);
	while (outside->path.len > 1 && outside->path.data[outside->path.len - 1] == '/')
		outside->path.data[--outside->path.len] = '\0';
	outside->root_length = outside->path.len;
	opened = dbos_outside_open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
	if (opened < 0)
		dbos_outside_failed(outside, NULL, "open directory");
	close_descriptor(&outside->directory);
	outside->directory = opened;
}

/* Links are made from there. */
void
dbos_outside_keep_root(DbosOutside *outside)
{
	outside->root = fcntl(outside->directory, F_DUPFD_CLOEXEC, 0);
	if (outside->root < 0)
		dbos_outside_failed(outside, NULL, "open directory");
}

/* ---- times ---- */

/* Since 1970; times that far away that they do not fit are the last that do. */
int64
dbos_outside_nanoseconds(const struct timespec *time)
{
	const int64 limit = PG_INT64_MAX / INT64CONST(1000000000) - 1;

	return Min(Max((int64) time->tv_sec, -limit), limit) * INT64CONST(1000000000) + time->tv_nsec;
}

struct timespec
dbos_outside_time(int64 nanoseconds)
{
	int64		seconds = nanoseconds / INT64CONST(1000000000);
	int64		rest = nanoseconds % INT64CONST(1000000000);

	if (rest < 0)
	{
		seconds--;
		rest += INT64CONST(1000000000);
	}
	return (struct timespec) {.tv_sec = seconds, .tv_nsec = rest};
}

/* ---- the walk ---- */

static mode_t
type_of(DbosOutside *outside, const struct dirent *entry)
{
	struct stat status;

	if (entry->d_type != DT_UNKNOWN)
		return DTTOIF(entry->d_type);
	if (fstatat(outside->directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0)
		return status.st_mode & S_IFMT;
	if (errno != ENOENT)
		dbos_outside_failed(outside, entry->d_name, "look at file");
	return 0;
}

/* Visits what is in the directory that is open, and notes the directories in it. */
static void
visit_all(DbosOutside *outside, Level *level, const DbosOutsideVisitor *visitor, void *arg, MemoryContext round)
{
	int			copy = fcntl(outside->directory, F_DUPFD_CLOEXEC, 0);
	struct dirent *entry;

	outside->stream = copy < 0 ? NULL : fdopendir(copy);
	if (outside->stream == NULL)
	{
		close_descriptor(&copy);
		dbos_outside_failed(outside, NULL, "read directory");
	}
	while (errno = 0, (entry = readdir(outside->stream)) != NULL)
	{
		const char *name = entry->d_name;
		mode_t		type;

		CHECK_FOR_INTERRUPTS();
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		type = type_of(outside, entry);
		if (type == S_IFDIR)
			appendBinaryStringInfo(&level->names, name, strlen(name) + 1);
		else if (type != 0)
		{
			MemoryContext outer = MemoryContextSwitchTo(round);

			visitor->visit(arg, level->visitors, name, type);
			MemoryContextSwitchTo(outer);
			MemoryContextReset(round);
		}
	}
	if (errno != 0)
		dbos_outside_failed(outside, NULL, "read directory");
	close_stream(outside);
}

static Level *
enter(DbosOutside *outside, Level *outer, const char *name, const DbosOutsideVisitor *visitor, void *arg, MemoryContext round)
{
	Level	   *level = palloc0(sizeof(Level));
	struct stat status;

	level->outer = outer;
	level->place = dbos_outside_place(outside, &status);
	initStringInfo(&level->names);
	level->visitors = visitor->enter(arg, outer == NULL ? NULL : outer->visitors, name, &status);
	visit_all(outside, level, visitor, arg, round);
	return level;
}

/* The directory that is open, and its status. */
DbosOutsidePlace
dbos_outside_place(const DbosOutside *outside, struct stat *status)
{
	if (fstat(outside->directory, status) != 0)
		dbos_outside_failed(outside, NULL, "look at directory");
	return (DbosOutsidePlace) {.device = status->st_dev, .inode = status->st_ino, .path_length = outside->path.len};
}

/* False: it is gone, or no directory any more. */
bool
dbos_outside_go_down(DbosOutside *outside, const char *name)
{
	int			opened = openat(outside->directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (opened < 0 && errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
		dbos_outside_failed(outside, name, "open directory");
	if (opened < 0)
		return false;
	close_descriptor(&outside->directory);
	outside->directory = opened;
	if (outside->path.data[outside->path.len - 1] != '/')
		appendStringInfoChar(&outside->path, '/');
	appendStringInfoString(&outside->path, name);
	return true;
}

/* To the directory that the open one was found in. */
void
dbos_outside_go_up(DbosOutside *outside, const DbosOutsidePlace *to)
{
	int			opened = openat(outside->directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DbosOutsidePlace place;
	struct stat status;

	if (opened < 0)
		dbos_outside_failed(outside, "..", "open directory");
	close_descriptor(&outside->directory);
	outside->directory = opened;
	place = dbos_outside_place(outside, &status);
	if (place.device != to->device || place.inode != to->inode)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("directory \"%s\" of the host was moved meanwhile", dbos_outside_name(outside, NULL)));
	outside->path.len = to->path_length;
	outside->path.data[outside->path.len] = '\0';
}

static void
free_level(Level *level)
{
	pfree(level->names.data);
	pfree(level);
}

/* All below the directory that is open, each directory before what is in it. */
void
dbos_outside_walk(DbosOutside *outside, const DbosOutsideVisitor *visitor, void *arg)
{
	MemoryContext round = AllocSetContextCreate(CurrentMemoryContext, "dbos outside", ALLOCSET_DEFAULT_SIZES);
	Level	   *level = enter(outside, NULL, NULL, visitor, arg, round);

	while (level != NULL)
	{
		Level	   *outer = level->outer;

		if (level->names.len > 0)
		{
			const char *name;

			/* The last one: the list gets shorter by that. */
			level->names.len--;
			while (level->names.len > 0 && level->names.data[level->names.len - 1] != '\0')
				level->names.len--;
			name = level->names.data + level->names.len;
			if (dbos_outside_go_down(outside, name))
				level = enter(outside, level, name, visitor, arg, round);
			continue;
		}
		visitor->leave(arg, level->visitors);
		if (outer != NULL)
			dbos_outside_go_up(outside, &outer->place);
		free_level(level);
		level = outer;
	}
	MemoryContextDelete(round);
}
