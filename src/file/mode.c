/*
 * mode.c
 *	  Modes of files as chmod(1) takes them: octal, or clauses like "u+x,go-w".
 *
 * A clause is for whom (u, g, o, a), what is done (+, -, =) and which permissions (r, w, x,
 * X: x of directories and of what somebody executes already, s, t), or whose are copied (u, g, o).  Without "for
 * whom" it is for all, and what the mask of new files withholds stays as it is.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "attributes.h"
#include "names.h"

static pg_noreturn void
invalid_mode(const char *given)
{
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("invalid mode \"%s\"", given),
			errhint("A mode is octal, as '0644', or says what changes, as 'u+x,go-w'."));
}

/* The bits that a class has, at the place of those of others. */
static int32
bits_of(int32 mode, char class)
{
	return class == 'u' ? mode >> 6 & 07 : class == 'g' ? mode >> 3 & 07 : mode & 07;
}

/* Which of the bits of a mode one of r, w, x, X, s, t, u, g, o is about, for everybody; -1: it is none of these. */
static int32
bits_meant(char permission, int32 mode)
{
	switch (permission)
	{
		case 'r':
			return 0444;
		case 'w':
			return 0222;
		case 'x':
			return 0111;
		case 'X':
			return S_ISDIR(mode) || (mode & 0111) != 0 ? 0111 : 0;
		case 's':
			return S_ISUID | S_ISGID;
		case 't':
			return S_ISVTX;
		case 'u':
		case 'g':
		case 'o':
			return bits_of(mode, permission) * 0111;
		default:
			return -1;
	}
}

/* All bits of those classes; the sticky bit is everybody's. */
static int32
bits_of_class(char class)
{
	switch (class)
	{
		case 'u':
			return 0700 | S_ISUID;
		case 'g':
			return 0070 | S_ISGID;
		case 'o':
			return 0007;
		default:
			return PERMISSION_BITS;
	}
}

/* whom: the bits of those named; 0: nobody is. */
static int32
apply(int32 mode, char action, int32 whom, int32 bits)
{
	bool		named = whom != 0;

	/* The sticky bit is nobody's: who names it means it. */
	whom = named ? whom | (bits & S_ISVTX) : PERMISSION_BITS & ~UMASK;
	bits &= whom;
	switch (action)
	{
		case '+':
			return mode | bits;
		case '-':
			return mode & ~bits;
		default:
			if (!named)
				whom = PERMISSION_BITS;
			/* The set-id bits and the sticky bit of a directory stay unless they are named. */
			if (S_ISDIR(mode))
				whom &= ~(S_ISUID | S_ISGID | S_ISVTX) | bits;
			return (mode & ~whom) | bits;
	}
}

/* One clause; returns what follows it. */
static const char *
apply_clause(const char *at, const char *given, int32 *mode)
{
	int32		whom = 0;

	while (*at == 'u' || *at == 'g' || *at == 'o' || *at == 'a')
		whom |= bits_of_class(*at++);
	if (*at != '+' && *at != '-' && *at != '=')
		invalid_mode(given);
	while (*at == '+' || *at == '-' || *at == '=')
	{
		char		action = *at++;
		int32		bits = 0;

		for (; *at != '\0' && *at != ',' && *at != '+' && *at != '-' && *at != '='; at++)
		{
			int32		meant = bits_meant(*at, *mode);

			if (meant < 0)
				invalid_mode(given);
			bits |= meant;
		}
		*mode = apply(*mode, action, whom, bits);
	}
	return at;
}

static bool
parse_octal(const char *given, int32 *bits)
{
	const char *at = given;

	*bits = 0;
	for (; *at >= '0' && *at <= '7' && *bits <= PERMISSION_BITS; at++)
		*bits = *bits * 8 + (*at - '0');
	return at != given && *at == '\0' && *bits <= PERMISSION_BITS;
}

/* What the mode becomes by what is given; its kind stays. */
int32
dbos_mode_parse(const char *given, int32 mode)
{
	const char *at = given;
	int32		bits;

	if (parse_octal(given, &bits))
		return (mode & ~PERMISSION_BITS) | bits;
	for (;;)
	{
		at = apply_clause(at, given, &mode);
		if (*at == '\0')
			return mode;
		at++;
	}
}
