/*
 * errors.c
 *	  What cannot be done to a file, said as stat(2) and its like would, each with a code of its own.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "file.h"

void
dbos_no_such_file(text *path)
{
	ereport(ERROR,
			errcode(ERRCODE_UNDEFINED_FILE),
			errmsg("no such file or directory: \"%s\"", text_to_cstring(path)));
}

void
dbos_file_exists(text *path)
{
	ereport(ERROR,
			errcode(ERRCODE_DUPLICATE_FILE),
			errmsg("file \"%s\" already exists", text_to_cstring(path)));
}

void
dbos_not_a_directory(text *path)
{
	ereport(ERROR,
			errcode(ERRCODE_DBOS_NOT_A_DIRECTORY),
			errmsg("not a directory: \"%s\"", text_to_cstring(path)));
}

void
dbos_is_a_directory(text *path)
{
	ereport(ERROR,
			errcode(ERRCODE_DBOS_IS_A_DIRECTORY),
			errmsg("\"%s\" is a directory", text_to_cstring(path)));
}

void
dbos_not_empty(text *path)
{
	ereport(ERROR,
			errcode(ERRCODE_DBOS_NOT_EMPTY),
			errmsg("directory \"%s\" is not empty", text_to_cstring(path)),
			errhint("dbos.remove(path, recursive => true) removes what is in it too."));
}

void
dbos_too_many_links(text *path)
{
	ereport(ERROR,
			errcode(ERRCODE_DBOS_TOO_MANY_LINKS),
			errmsg("too many symbolic links in \"%s\"", text_to_cstring(path)));
}

void
dbos_file_denied(text *path)
{
	ereport(ERROR,
			errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("permission denied for file \"%s\"", text_to_cstring(path)));
}

void
dbos_not_a_file(text *path)
{
	ereport(ERROR,
			errcode(ERRCODE_WRONG_OBJECT_TYPE),
			errmsg("\"%s\" is not a regular file", text_to_cstring(path)));
}
