/*
 * proc_file.c
 *	  Reading the kernel's files, and making text of what is in them.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"

#include "host.h"

/* The tables of sockets and mounts of a big machine; what is beyond is cut. */
#define READ_ALL_LIMIT (64 * 1024 * 1024)

bool
dbos_host_sees_others(void)
{
	return dbos_is_monitor(GetUserId());
}

bool
dbos_host_in_root(void)
{
	return dbos_context_container() == 0;
}

/*
 * Reads a file, NUL-terminated, as far as it fits; -1 when it cannot be read.
 * folder is a descriptor, or AT_FDCWD for an absolute path.  Raises nothing.
 */
ssize_t
dbos_host_read(int folder, const char *path, char *buffer, size_t size)
{
	int			file = openat(folder, path, O_RDONLY | O_CLOEXEC);
	ssize_t		length = 0;

	if (file < 0)
		return -1;
	for (;;)
	{
		ssize_t		n = read(file, buffer + length, size - 1 - length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && length == 0)
			length = -1;
		if (n <= 0)
			break;
		length += n;
		if (length == size - 1)
			break;
		/* These files answer in full at once unless they are long. */
		if (size <= DBOS_HOST_BUFFER)
			break;
	}
	close(file);
	if (length >= 0)
		buffer[length] = '\0';
	return length;
}

/* The whole of a file, palloc'd and NUL-terminated; NULL when it cannot be read. */
char *
dbos_host_read_all(const char *path)
{
	size_t		size = 64 * 1024;

	for (;;)
	{
		char	   *buffer = palloc_extended(size, MCXT_ALLOC_HUGE);
		ssize_t		length = dbos_host_read(AT_FDCWD, path, buffer, size);

		CHECK_FOR_INTERRUPTS();
		if (length >= 0 && (length < size - 1 || size >= READ_ALL_LIMIT))
			return buffer;
		pfree(buffer);
		if (length < 0)
			return NULL;
		size *= 4;
	}
}

ssize_t
dbos_host_read_link(const char *path, char *buffer, size_t size)
{
	ssize_t		length = readlink(path, buffer, size - 1);

	if (length >= 0)
		buffer[length] = '\0';
	return length;
}

/*
 * A text of bytes that anybody may have chosen: what is no character of the
 * database's encoding, or no printable one, is shown as \xHH.
 */
Datum
dbos_host_text(const char *bytes, size_t length)
{
	char	   *text = palloc(length * 4 + 1);
	size_t		at = 0;
	char	   *out = text;
	Datum		result;

	while (at < length)
	{
		unsigned char c = (unsigned char) bytes[at];
		int			n = IS_HIGHBIT_SET(c) ?
			pg_encoding_verifymbchar(GetDatabaseEncoding(), bytes + at, length - at) : 1;

		if (n < 1 || c < ' ' || c == 0x7f)
		{
			out += sprintf(out, "\\x%02x", c);
			at++;
			continue;
		}
		memcpy(out, bytes + at, n);
		out += n;
		at += n;
	}
	result = PointerGetDatum(cstring_to_text_with_len(text, out - text));
	pfree(text);
	return result;
}

/* The next word, NUL-terminated in place; NULL at the end. */
char *
dbos_host_next_field(char **at)
{
	char	   *start = *at;
	char	   *end;

	while (*start == ' ' || *start == '\t' || *start == '\n')
		start++;
	if (*start == '\0')
		return NULL;
	end = start;
	while (*end != '\0' && *end != ' ' && *end != '\t' && *end != '\n')
		end++;
	*at = *end == '\0' ? end : end + 1;
	*end = '\0';
	return start;
}

/* The next line, NUL-terminated in place; NULL at the end. */
char *
dbos_host_next_line(char **at)
{
	char	   *start = *at;
	char	   *end;

	if (*start == '\0')
		return NULL;
	end = strchr(start, '\n');
	if (end == NULL)
		*at = start + strlen(start);
	else
	{
		*end = '\0';
		*at = end + 1;
	}
	return start;
}

static int
compare_numbers(const void *a, const void *b)
{
	return (*(const int *) a > *(const int *) b) - (*(const int *) a < *(const int *) b);
}

/*
 * The entries of a folder whose names are numbers, sorted, palloc'd; NULL when
 * it cannot be read.  The folder stays open for *stream, until FreeDir() or the
 * end of the transaction.
 */
int *
dbos_host_numbers_in(const char *path, DIR **stream, int *count)
{
	int			space = 512;
	int		   *numbers;
	struct dirent *entry;

	*count = 0;
	*stream = AllocateDir(path);
	if (*stream == NULL)
		return NULL;
	numbers = palloc(space * sizeof(int));
	while ((entry = ReadDirExtended(*stream, path, DEBUG5)) != NULL)
	{
		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		if (*count == space)
			numbers = repalloc(numbers, (space *= 2) * sizeof(int));
		numbers[(*count)++] = atoi(entry->d_name);
	}
	qsort(numbers, *count, sizeof(int), compare_numbers);
	return numbers;
}
