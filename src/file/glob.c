/*
 * glob.c
 *	  dbos.glob(): the paths that a pattern of the shell matches.
 *
 * As glob(7) has it, and globstar of shells: * is any bytes, ? one character, [...] one of some; none of
 * them matches a slash, or a dot at the beginning of a name.  ** as a component is any number
 * of directories, none of them hidden or a symbolic link; as the last one it is all that is below.
 *
 * The pattern is a list of components.  The walk through the tree has for each directory the set of those that
 * may come next there, and goes down where that set is not empty: only where the pattern can match, and so
 * that each path is told once.  Where all that may come next is literal, the directory is not listed, and need not be
 * readable.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <ctype.h>

#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "names.h"
#include "walk.h"

PG_FUNCTION_INFO_V1(dbos_glob);

#define GLOB_COLUMNS (1 + LS_COLUMNS)
#define COMPONENTS_MAX 4096
#define LINKS_MAX 40

/* ---- a component ---- */

typedef enum ComponentKind
{
	LITERAL,
	WILD,
	DEEP						/* ** */
} ComponentKind;

typedef struct Component
{
	ComponentKind kind;
	const char *pattern;		/* as it was given */
	const char *end;
	DbosName	literal;		/* all of it, or what it begins with up to the first wildcard */
} Component;

/* Bytes of the character here; of what is none in the server's encoding, one. */
static int
character_length(const char *at, const char *end)
{
	int			length = IS_HIGHBIT_SET(*at) ? pg_encoding_mblen(GetDatabaseEncoding(), at) : 1;

	return length > end - at || pg_encoding_verifymbstr(GetDatabaseEncoding(), at, length) != length ? 1 : length;
}

/* The literal character here, and what comes after it: itself, after a backslash, or a byte as name.c writes it. */
static const char *
literal_at(const char *at, const char *end, const char **bytes, int *length, char *room)
{
	if (dbos_name_escape_at(at, end, (unsigned char *) room))
	{
		*bytes = room;
		*length = 1;
		return at + DBOS_NAME_ESCAPE_LENGTH;
	}
	if (*at == '\\' && at + 1 < end)
		at++;
	*bytes = at;
	*length = character_length(at, end);
	return at + *length;
}

static bool
in_class(const char *name, int length, unsigned char byte)
{
	static const struct
	{
		const char *name;
		int			(*has) (int);
	}			classes[] = {
		{"alnum", isalnum}, {"alpha", isalpha}, {"blank", isblank}, {"cntrl", iscntrl}, {"digit", isdigit}, {"graph", isgraph},
		{"lower", islower}, {"print", isprint}, {"punct", ispunct}, {"space", isspace}, {"upper", isupper}, {"xdigit", isxdigit}
	};

	for (int i = 0; i < lengthof(classes); i++)
		if (strlen(classes[i].name) == length && memcmp(classes[i].name, name, length) == 0)
			return !IS_HIGHBIT_SET(byte) && classes[i].has(byte) != 0;
	return false;
}

static int
compare(const char *a, int a_length, const char *b, int b_length)
{
	int			result = memcmp(a, b, Min(a_length, b_length));

	return result != 0 ? result : a_length - b_length;
}

/* The end of [:alpha:] and its like, which begins here; NULL: none does. */
static const char *
class_end(const char *at, const char *end)
{
	if (end - at < 4 || at[0] != '[' || at[1] != ':')
		return NULL;
	for (at += 2; at + 1 < end; at++)
		if (at[0] == ':' && at[1] == ']')
			return at + 2;
	return NULL;
}

/*
 * What comes after the bracket expression that begins here, and whether the character is in it.  NULL:
 * it has no end, and is no such thing.  Ranges are of code points, as far as the encoding sorts its bytes so.
 */
static const char *
bracket(const char *at, const char *end, const char *character, int length, bool *matches)
{
	bool		negated;
	bool		found = false;
	bool		first = true;

	at++;
	negated = at < end && (*at == '!' || *at == '^');
	if (negated)
		at++;
	for (; at < end && (first || *at != ']'); first = false)
	{
		const char *after = class_end(at, end);
		const char *low;
		const char *high;
		int			low_length;
		int			high_length;
		char		room[2];

		if (after != NULL)
		{
			found |= length == 1 && in_class(at + 2, after - at - 4, *character);
			at = after;
			continue;
		}
		at = literal_at(at, end, &low, &low_length, &room[0]);
		high = low;
		high_length = low_length;
		if (end - at >= 2 && at[0] == '-' && at[1] != ']')
			at = literal_at(at + 1, end, &high, &high_length, &room[1]);
		found |= compare(low, low_length, character, length) <= 0 && compare(character, length, high, high_length) <= 0;
	}
	if (at >= end)
		return NULL;
	*matches = found != negated;
	return at + 1;
}

/* What of the pattern, and of the name, comes after one character; false: it does not match. */
static bool
match_one(const char **pattern, const char *end, const char **at, const char *name_end)
{
	int			length = character_length(*at, name_end);
	const char *bytes;
	char		room;

	if (**pattern == '?')
	{
		(*pattern)++;
		*at += length;
		return true;
	}
	if (**pattern == '[')
	{
		bool		matches;
		const char *after = bracket(*pattern, end, *at, length, &matches);

		if (after != NULL)
		{
			*pattern = after;
			*at += length;
			return matches;
		}
	}
	*pattern = literal_at(*pattern, end, &bytes, &length, &room);
	if (length > name_end - *at || memcmp(*at, bytes, length) != 0)
		return false;
	*at += length;
	return true;
}

/* The last * takes one character more whenever what comes after it does not match. */
static bool
matches_wild(const Component *component, DbosName name)
{
	const char *pattern = component->pattern;
	const char *at = name.bytes;
	const char *end = name.bytes + name.length;
	const char *star = NULL;
	const char *star_at = NULL;

	if (*at == '.' && (component->literal.length == 0 || component->literal.bytes[0] != '.'))
		return false;
	for (;;)
	{
		if (pattern < component->end && *pattern == '*')
		{
			star = ++pattern;
			star_at = at;
			continue;
		}
		if (pattern == component->end && at == end)
			return true;
		if (pattern < component->end && at < end && match_one(&pattern, component->end, &at, end))
			continue;
		if (star == NULL || star_at == end)
			return false;
		star_at += character_length(star_at, end);
		pattern = star;
		at = star_at;
	}
}

static bool
matches(const Component *component, DbosName name)
{
	if (component->kind == LITERAL)
		return name.length == component->literal.length && memcmp(name.bytes, component->literal.bytes, name.length) == 0;
	return component->kind == WILD && matches_wild(component, name);
}

/* ---- a pattern ---- */

typedef struct Glob
{
	Component  *components;
	int			ncomponents;
	bool		must_be_directory;	/* it ends in a slash */
	Bitmapset **next;			/* of each directory that the walk is in: the components that may come next */
	int			room;
	ReturnSetInfo *result;
	DbosWalk	walk;			/* last: it ends in a key of any length */
} Glob;

static bool
begins_wildcard(const char *at, const char *end)
{
	bool		ignored;

	return *at == '*' || *at == '?' || (*at == '[' && bracket(at, end, "", 0, &ignored) != NULL);
}

static void
parse_component(Component *component, const char *at, const char *end)
{
	char	   *literal = palloc(end - at + 1);

	component->pattern = at;
	component->end = end;
	component->literal = (DbosName) {literal, 0};
	if (end - at == 2 && at[0] == '*' && at[1] == '*')
	{
		component->kind = DEEP;
		return;
	}
	while (at < end && !begins_wildcard(at, end))
	{
		const char *bytes;
		int			length;
		char		room;

		at = literal_at(at, end, &bytes, &length, &room);
		memcpy(literal + component->literal.length, bytes, length);
		component->literal.length += length;
	}
	component->kind = at == end ? LITERAL : WILD;
}

static void
parse(Glob *glob, text *given)
{
	const char *at = VARDATA_ANY(given);
	const char *end = at + VARSIZE_ANY_EXHDR(given);
	int			room = 16;

	if (at == end || *at != '/')
		ereport(ERROR,
				errcode(ERRCODE_INVALID_NAME),
				errmsg("pattern \"%s\" does not begin with a slash", text_to_cstring(given)),
				errhint("There is no current directory: a path begins at the root."));
	glob->must_be_directory = end[-1] == '/';
	glob->components = palloc(room * sizeof(Component));
	while (at < end)
	{
		const char *start = ++at;

		while (at < end && *at != '/')
			at++;
		if (at == start || (at - start == 1 && *start == '.'))
			continue;
		if (at - start == 2 && start[0] == '.' && start[1] == '.')
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("pattern \"%s\" goes up a directory", text_to_cstring(given)),
					errhint("Give the path without \"..\"."));
		if (glob->ncomponents == COMPONENTS_MAX)
			ereport(ERROR,
					errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					errmsg("pattern has more than %d components", COMPONENTS_MAX));
		if (glob->ncomponents + 2 > room)
			glob->components = repalloc(glob->components, (room *= 2) * sizeof(Component));
		parse_component(&glob->components[glob->ncomponents++], start, at);
	}
	/* At the end: whatever is there. */
	if (glob->ncomponents > 0 && glob->components[glob->ncomponents - 1].kind == DEEP)
	{
		static const char any[] = "*";

		parse_component(&glob->components[glob->ncomponents++], any, any + 1);
	}
}

/* ---- where symbolic links lead ---- */

static bool
go_up(DbosInode *directory, const DbosInode *root, Snapshot snapshot)
{
	DbosEntryScan scan;
	DbosEntry	entry;
	bool		found;

	if (directory->number == root->number)
		return true;
	dbos_parents_scan_begin(&scan, directory->number, snapshot, FOREVER);
	found = dbos_entry_scan_next(&scan, &entry);
	dbos_entry_scan_end(&scan);
	return found && dbos_inode_read(entry.parent, snapshot, FOREVER, directory);
}

/* From that directory; false where a path would raise an error. */
static bool
follow(int64 from, DbosName target, Snapshot snapshot, DbosInode *current)
{
	const char *at = pnstrdup(target.bytes, target.length);
	DbosInode	root;
	int			links = 0;

	dbos_root_read(snapshot, FOREVER, &root);
	if (*at == '/')
		*current = root;
	else if (!dbos_inode_read(from, snapshot, FOREVER, current))
		return false;
	for (;;)
	{
		const char *start;
		DbosEntry	entry;
		DbosInode	inode;

		CHECK_FOR_INTERRUPTS();
		while (*at == '/')
			at++;
		if (*at == '\0')
			return true;
		start = at;
		while (*at != '/' && *at != '\0')
			at++;
		if (!S_ISDIR(current->mode) || !dbos_file_allows(current, MAY_EXECUTE) || at - start > DBOS_NAME_MAX)
			return false;
		if (at - start == 1 && start[0] == '.')
			continue;
		if (at - start == 2 && start[0] == '.' && start[1] == '.')
		{
			if (!go_up(current, &root, snapshot))
				return false;
			continue;
		}
		if (!dbos_entry_find(current->number, (DbosName) {start, at - start}, snapshot, FOREVER, &entry) ||
			!dbos_inode_read(entry.child, snapshot, FOREVER, &inode))
			return false;
		if (!S_ISLNK(inode.mode))
			*current = inode;
		else if (++links > LINKS_MAX)
			return false;
		else
		{
			at = psprintf("%.*s%s", inode.content_length, inode.content, at);
			if (*at == '/')
				*current = root;
		}
	}
}

/* ---- the walk ---- */

/* Beyond ** may be what comes after it. */
static Bitmapset *
with_none_of_deep(const Glob *glob, Bitmapset *next)
{
	for (int i = -1; (i = bms_next_member(next, i)) >= 0;)
		if (i < glob->ncomponents && glob->components[i].kind == DEEP)
			next = bms_add_member(next, i + 1);
	return next;
}

/* What may come after that name; ncomponents is the end of the pattern. */
static Bitmapset *
after_name(const Glob *glob, const Bitmapset *next, DbosName name, bool is_directory)
{
	Bitmapset  *after = NULL;

	for (int i = -1; (i = bms_next_member(next, i)) >= 0;)
	{
		const Component *component = &glob->components[i];

		if (component->kind == DEEP && is_directory && name.bytes[0] != '.')
			after = bms_add_member(after, i);
		else if (matches(component, name))
			after = bms_add_member(after, i + 1);
	}
	return after;
}

static int
compare_names(const void *a, const void *b)
{
	const DbosName *x = a;
	const DbosName *y = b;

	return compare(x->bytes, x->length, y->bytes, y->length);
}

/* The literal names among what may come next, without doubles; returns how many. */
static int
literal_names(const Glob *glob, const Bitmapset *next, DbosName **names)
{
	int			count = 0;
	int			distinct = 0;

	*names = palloc(Max(1, bms_num_members(next)) * sizeof(DbosName));
	for (int i = -1; (i = bms_next_member(next, i)) >= 0;)
		if (glob->components[i].kind == LITERAL && glob->components[i].literal.length <= DBOS_NAME_MAX)
			(*names)[count++] = glob->components[i].literal;
	qsort(*names, count, sizeof(DbosName), compare_names);
	for (int i = 0; i < count; i++)
		if (i == 0 || compare_names(&(*names)[i - 1], &(*names)[i]) != 0)
			(*names)[distinct++] = (*names)[i];
	return distinct;
}

static bool
all_literal(const Glob *glob, const Bitmapset *next)
{
	for (int i = -1; (i = bms_next_member(next, i)) >= 0;)
		if (glob->components[i].kind != LITERAL)
			return false;
	return true;
}

/* Goes into the directory, if anything may come there; the set is ours from here on. */
static void
enter(Glob *glob, const DbosInode *directory, Bitmapset *next)
{
	DbosWalkLevel *level;
	bool		listed;

	if (bms_is_empty(next) || !S_ISDIR(directory->mode) || !dbos_file_allows(directory, MAY_EXECUTE))
	{
		bms_free(next);
		return;
	}
	next = with_none_of_deep(glob, next);
	listed = !all_literal(glob, next) && dbos_file_allows(directory, MAY_READ);
	level = dbos_walk_enter(&glob->walk, directory->number);
	if (glob->walk.depth > glob->room)
	{
		int			room = Max(16, glob->room * 2);

		glob->next = glob->next == NULL ? palloc(room * sizeof(Bitmapset *)) : repalloc_huge(glob->next, (Size) room * sizeof(Bitmapset *));
		memset(glob->next + glob->room, 0, (room - glob->room) * sizeof(Bitmapset *));
		glob->room = room;
	}
	bms_free(glob->next[glob->walk.depth - 1]);
	glob->next[glob->walk.depth - 1] = next;
	if (!listed)
		level->nnames = literal_names(glob, next, &level->names);
	else if (bms_membership(next) == BMS_SINGLETON)
		level->prefix = glob->components[bms_singleton_member(next)].literal;
}

static void
put(Glob *glob, text *path, const DbosEntry *entry, DbosInode *inode)
{
	Datum		values[GLOB_COLUMNS];
	bool		nulls[GLOB_COLUMNS] = {0};

	values[0] = PointerGetDatum(path);
	dbos_listing_values(entry, inode, glob->walk.snapshot, values + 1, nulls + 1);
	tuplestore_putvalues(glob->result->setResult, glob->result->setDesc, values, nulls);
}

/* What a symbolic link leads to, or itself; the name was read. */
static DbosInode
target_of(DbosWalk *walk)
{
	DbosName	target = {walk->inode.content, walk->inode.content_length};
	DbosInode	found;

	if (S_ISLNK(walk->inode.mode) && follow(walk->levels[walk->depth - 1].directory, target, walk->snapshot, &found))
		return found;
	return walk->inode;
}

/* The name that the walk has found. */
static void
look_at(Glob *glob)
{
	DbosWalk   *walk = &glob->walk;
	Bitmapset  *after = after_name(glob, glob->next[walk->depth - 1], walk->entry.name, walk->entry.kind == S_IFDIR >> 12);
	bool		matched = bms_is_member(glob->ncomponents, after);
	bool		goes_on = walk->entry.kind != S_IFREG >> 12 && bms_num_members(after) > (matched ? 1 : 0);
	MemoryContext old = MemoryContextSwitchTo(walk->row);
	DbosInode	target = {.number = 0};

	if ((matched || goes_on) && dbos_walk_read(walk))
	{
		target = goes_on || glob->must_be_directory ? target_of(walk) : walk->inode;
		if (matched && (!glob->must_be_directory || S_ISDIR(target.mode)))
			put(glob, cstring_to_text_with_len(walk->path.data, walk->path.len), &walk->entry, &walk->inode);
	}
	MemoryContextSwitchTo(old);
	if (goes_on)
		enter(glob, &target, bms_del_member(after, glob->ncomponents));
	else
		bms_free(after);
}

/* dbos.glob(pattern text) → paths that match it, and what they name */
Datum
dbos_glob(PG_FUNCTION_ARGS)
{
	Snapshot	snapshot = GetActiveSnapshot();
	Glob		glob = {.must_be_directory = false};
	DbosInode	root;

	InitMaterializedSRF(fcinfo, 0);
	glob.result = (ReturnSetInfo *) fcinfo->resultinfo;
	parse(&glob, PG_GETARG_TEXT_PP(0));
	dbos_root_read(snapshot, FOREVER, &root);
	dbos_walk_begin(&glob.walk, "", 0, snapshot);
	if (glob.ncomponents == 0)
	{
		DbosEntry	entry = {.child = root.number, .kind = S_IFDIR >> 12, .name = {"/", 1}};

		put(&glob, cstring_to_text("/"), &entry, &root);
	}
	else
		enter(&glob, &root, bms_make_singleton(0));
	while (dbos_walk_next(&glob.walk))
		look_at(&glob);
	dbos_walk_end(&glob.walk);
	return (Datum) 0;
}
