/*
 * name.c
 *	  Names are bytes; as text they are shown and given where they can be.
 *
 * A name that is valid in the server's encoding is its own text.  A byte that is not
 * is written as a backslash and three octal digits, from \200 to \377; in the text of a path
 * that means that byte.  So that each name has one text, a backslash that would
 * begin such a thing by chance is written as \134.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "file.h"

/* Whether an escape begins here: \134, or \200 to \377. */
bool
dbos_name_escape_at(const char *at, const char *end, unsigned char *byte)
{
	int			value = 0;

	if (end - at < DBOS_NAME_ESCAPE_LENGTH || at[0] != '\\')
		return false;
	for (int i = 1; i < DBOS_NAME_ESCAPE_LENGTH; i++)
	{
		if (at[i] < '0' || at[i] > '7')
			return false;
		value = value * 8 + (at[i] - '0');
	}
	if (value != '\\' && (value < 0200 || value > 0377))
		return false;
	*byte = (unsigned char) value;
	return true;
}

text *
dbos_name_text(DbosName name)
{
	const char *at = name.bytes;
	const char *end = at + name.length;
	text	   *result = palloc(VARHDRSZ + (Size) name.length * DBOS_NAME_ESCAPE_LENGTH + 1);
	char	   *to = VARDATA(result);

	while (at < end)
	{
		unsigned char ignored;
		int			length = IS_HIGHBIT_SET(*at) ? pg_encoding_mblen(GetDatabaseEncoding(), at) : 1;

		if (dbos_name_escape_at(at, end, &ignored) || length > end - at ||
			(IS_HIGHBIT_SET(*at) && pg_encoding_verifymbstr(GetDatabaseEncoding(), at, length) != length))
		{
			to += sprintf(to, "\\%03o", (unsigned char) *at);
			at++;
			continue;
		}
		memcpy(to, at, length);
		to += length;
		at += length;
	}
	SET_VARSIZE(result, to - (char *) result);
	return result;
}

/* The bytes of a path, in memory of the caller's context. */
DbosName
dbos_path_bytes(text *path)
{
	const char *at = VARDATA_ANY(path);
	const char *end = at + VARSIZE_ANY_EXHDR(path);
	char	   *bytes = palloc(end - at + 1);
	DbosName	result = {bytes, 0};

	while (at < end)
	{
		unsigned char byte;

		if (dbos_name_escape_at(at, end, &byte))
		{
			bytes[result.length++] = (char) byte;
			at += DBOS_NAME_ESCAPE_LENGTH;
		}
		else
			bytes[result.length++] = *at++;
	}
	bytes[result.length] = '\0';
	return result;
}
