/*
 * import_batch.c
 *	  A tree of the host is imported by many tasks, a batch of files each.
 *
 * For that it is planned: all directories are made, and what is in them is divided into batches, documents
 * with the names of some thousand files, or of fewer that are large. The batches need nothing of each other:
 * names of the same file are in one. A batch that is done again finds its files there and does nothing.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <fcntl.h>

#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "import.h"

PG_FUNCTION_INFO_V1(dbos_import_plan);
PG_FUNCTION_INFO_V1(dbos_import_batch);

#define BATCH_FILES 2000
#define BATCH_BYTES (64 * 1024 * 1024)

/* ---- the plan ---- */

/* A name of a file of the host that has more of them. */
typedef struct LinkName
{
	struct LinkName *next;
	bool		made;			/* its directory, by this import */
	text	   *directory;
	text	   *name;
} LinkName;

typedef struct LinkGroup
{
	DbosLinkKey key;
	uint32		status;
	int64		bytes;
	LinkName   *names;
} LinkGroup;

#define SH_PREFIX groups
#define SH_ELEMENT_TYPE LinkGroup
#define SH_KEY_TYPE DbosLinkKey
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) &(key), sizeof(DbosLinkKey))
#define SH_EQUAL(tb, a, b) ((a).device == (b).device && (a).inode == (b).inode)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct Planning
{
	DbosImportTree tree;			/* first: directories are made as for an import */
	ReturnSetInfo *result;
	text	   *host_path;
	MemoryContext lasting;
	MemoryContext batch;
	JsonbParseState *state;		/* NULL: no batch is begun */
	text	   *directory;		/* of the names that come, relative; NULL: no list of them is begun */
	int			files;
	int64		bytes;
	groups_hash *groups;
} Planning;

static text *
copy_of(text *value)
{
	return cstring_to_text_with_len(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

static void
push_text(JsonbParseState **state, JsonbIteratorToken token, text *value)
{
	JsonbValue	string = {.type = jbvString};

	string.val.string.val = VARDATA_ANY(value);
	string.val.string.len = VARSIZE_ANY_EXHDR(value);
	(void) pushJsonbValue(state, token, &string);
}

static void
push_bool(JsonbParseState **state, JsonbIteratorToken token, bool value)
{
	JsonbValue	boolean = {.type = jbvBool};

	boolean.val.boolean = value;
	(void) pushJsonbValue(state, token, &boolean);
}

static void
begin_batch(Planning *plan)
{
	(void) pushJsonbValue(&plan->state, WJB_BEGIN_OBJECT, NULL);
	push_text(&plan->state, WJB_KEY, cstring_to_text("host_path"));
	push_text(&plan->state, WJB_VALUE, plan->host_path);
	push_text(&plan->state, WJB_KEY, cstring_to_text("path"));
	push_text(&plan->state, WJB_VALUE, plan->tree.given);
	push_text(&plan->state, WJB_KEY, cstring_to_text("replace"));
	push_bool(&plan->state, WJB_VALUE, plan->tree.import->replace);
	push_text(&plan->state, WJB_KEY, cstring_to_text("files"));
	(void) pushJsonbValue(&plan->state, WJB_BEGIN_ARRAY, NULL);
}

static void
end_list(Planning *plan)
{
	if (plan->directory != NULL)
		(void) pushJsonbValue(&plan->state, WJB_END_ARRAY, NULL);
	plan->directory = NULL;
}

/* The batch is a row of the result. */
static void
end_batch(Planning *plan)
{
	MemoryContext outer;
	Datum		value;
	bool		null = false;

	if (plan->state == NULL)
		return;
	outer = MemoryContextSwitchTo(plan->batch);
	end_list(plan);
	(void) pushJsonbValue(&plan->state, WJB_END_ARRAY, NULL);
	value = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&plan->state, WJB_END_OBJECT, NULL)));
	tuplestore_putvalues(plan->result->setResult, plan->result->setDesc, &value, &null);
	MemoryContextSwitchTo(outer);
	MemoryContextReset(plan->batch);
	plan->state = NULL;
	plan->files = 0;
	plan->bytes = 0;
}

static void
add_name(Planning *plan, text *directory, bool made, text *name)
{
	MemoryContext outer = MemoryContextSwitchTo(plan->batch);

	if (plan->state == NULL)
		begin_batch(plan);
	if (plan->directory == NULL || VARSIZE(plan->directory) != VARSIZE(directory) ||
		memcmp(VARDATA(plan->directory), VARDATA(directory), VARSIZE(directory) - VARHDRSZ) != 0)
	{
		end_list(plan);
		plan->directory = copy_of(directory);
		(void) pushJsonbValue(&plan->state, WJB_BEGIN_ARRAY, NULL);
		push_text(&plan->state, WJB_ELEM, plan->directory);
		push_bool(&plan->state, WJB_ELEM, made);
	}
	push_text(&plan->state, WJB_ELEM, copy_of(name));
	plan->files++;
	MemoryContextSwitchTo(outer);
}

static void
add_bytes(Planning *plan, int64 bytes)
{
	plan->bytes += bytes;
	if (plan->files >= BATCH_FILES || plan->bytes >= BATCH_BYTES)
		end_batch(plan);
}

/* Relative to the tree's root. */
static text *
relative_directory(const DbosOutside *outside)
{
	const char *path = outside->path.data + Min(outside->root_length, outside->path.len);

	while (*path == '/')
		path++;
	return dbos_name_text((DbosName) {path, strlen(path)});
}

/* All names of one file are in one batch: they are kept until the end. */
static void
add_to_group(Planning *plan, const struct stat *status, text *directory, bool made, text *name)
{
	DbosLinkKey key = {status->st_dev, status->st_ino};
	MemoryContext outer = MemoryContextSwitchTo(plan->lasting);
	bool		found;
	LinkGroup  *group = groups_insert(plan->groups, key, &found);
	LinkName   *more = palloc(sizeof(LinkName));

	if (!found)
		group->names = NULL;
	more->next = group->names;
	more->made = made;
	more->directory = copy_of(directory);
	more->name = copy_of(name);
	group->names = more;
	group->bytes = status->st_size;
	MemoryContextSwitchTo(outer);
}

static void
plan_file(void *arg, void *level, const char *name, mode_t type)
{
	Planning   *plan = arg;
	DbosOutside *outside = plan->tree.import->outside;
	DbosBulkDirectory *directory = level;
	struct stat status;
	text	   *our_name = dbos_name_text((DbosName) {name, strlen(name)});

	dbos_outside_tell(outside);
	if (type != S_IFREG && type != S_IFLNK)
	{
		plan->tree.import->skipped++;
		return;
	}
	if (fstatat(outside->directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
	{
		if (errno == ENOENT)
			return;
		dbos_outside_failed(outside, name, "look at file");
	}
	outside->files++;
	if (status.st_nlink > 1)
	{
		add_to_group(plan, &status, relative_directory(outside), directory->hidden, our_name);
		return;
	}
	add_name(plan, relative_directory(outside), directory->hidden, our_name);
	add_bytes(plan, status.st_size);
}

static void
add_groups(Planning *plan)
{
	groups_iterator iterator;
	LinkGroup  *group;

	groups_start_iterate(plan->groups, &iterator);
	while ((group = groups_iterate(plan->groups, &iterator)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		for (LinkName *name = group->names; name != NULL; name = name->next)
			add_name(plan, name->directory, name->made, name->name);
		add_bytes(plan, group->bytes);
	}
}

static const DbosOutsideVisitor planning = {.enter = dbos_import_enter, .visit = plan_file, .leave = dbos_import_leave};

/* dbos.import_plan(host_path text, path text, replace boolean) → arguments of dbos.import_batch() */
Datum
dbos_import_plan(PG_FUNCTION_ARGS)
{
	Planning	plan = {.host_path = PG_GETARG_TEXT_PP(0), .tree.given = PG_GETARG_TEXT_PP(1)};
	DbosImport *import;

	PreventCommandIfReadOnly("dbos.import_plan()");
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	plan.result = (ReturnSetInfo *) fcinfo->resultinfo;
	plan.lasting = CurrentMemoryContext;
	plan.batch = AllocSetContextCreate(CurrentMemoryContext, "dbos import batch", ALLOCSET_DEFAULT_SIZES);
	plan.groups = groups_create(CurrentMemoryContext, 64, NULL);
	import = plan.tree.import = dbos_import_begin(plan.host_path, PG_GETARG_BOOL(2));
	import->outside->doing = "planning";
	PG_TRY();
	{
		dbos_outside_open_directory(import->outside, dbos_outside_path(plan.host_path));
		dbos_outside_walk(import->outside, &planning, &plan);
		add_groups(&plan);
		end_batch(&plan);
		dbos_import_end(import);
	}
	PG_FINALLY();
	{
		dbos_import_stop(import);
	}
	PG_END_TRY();
	return (Datum) 0;
}

/* ---- a batch ---- */

static pg_noreturn void
malformed(void)
{
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("files of a batch must be lists, each of a directory, a boolean and names"),
			errhint("dbos.import_plan() makes them."));
}

static text *
string_of(const JsonbValue *value)
{
	if (value->type != jbvString)
		malformed();
	return cstring_to_text_with_len(value->val.string.val, value->val.string.len);
}

/* What is added to a path that may end in a slash. */
static text *
join(text *path, text *rest)
{
	int			length = VARSIZE_ANY_EXHDR(path);

	while (length > 0 && VARDATA_ANY(path)[length - 1] == '/')
		length--;
	return cstring_to_text(psprintf("%.*s/%s", length, VARDATA_ANY(path), text_to_cstring(rest)));
}

/* A list of the batch: its directory, on both sides, is where the names that follow are. */
static void
begin_list(DbosImport *import, text *host_path, text *path, text *relative, bool made, DbosBulkDirectory *directory)
{
	DbosPath	found;

	memset(directory, 0, sizeof(DbosBulkDirectory));
	directory->path = join(path, relative);
	dbos_outside_open_directory(import->outside, dbos_outside_path(join(host_path, relative)));
	dbos_path_require(directory->path, FOLLOW_LAST, import->snapshot, &found);
	if (!S_ISDIR(found.inode.mode))
		dbos_not_a_directory(directory->path);
	dbos_file_demand(&found.inode, MAY_EXECUTE, directory->path);
	directory->inode = found.inode;
	if (made && dbos_file_owned(&found.inode))
	{
		directory->keeps_time = true;
		directory->inode.mode |= S_IRWXU;
	}
}

static void
import_name(DbosImport *import, DbosBulkDirectory *directory, text *given)
{
	DbosName	name = dbos_path_bytes(given);
	struct stat status;

	if (name.length == 0 || name.length > DBOS_NAME_MAX || memchr(name.bytes, '/', name.length) != NULL ||
		strcmp(name.bytes, ".") == 0 || strcmp(name.bytes, "..") == 0)
		malformed();
	if (fstatat(import->outside->directory, name.bytes, &status, AT_SYMLINK_NOFOLLOW) == 0)
		dbos_import_node(import, directory, name.bytes, status.st_mode & S_IFMT);
	else if (errno != ENOENT)
		dbos_outside_failed(import->outside, name.bytes, "look at file");
}

static void
import_batch(DbosImport *import, text *host_path, text *path, Jsonb *files)
{
	JsonbIterator *iterator = JsonbIteratorInit(&files->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	DbosBulkDirectory directory;
	int			place = -1;		/* in a list; -1: in none */
	text	   *relative = NULL;
	MemoryContext round = AllocSetContextCreate(CurrentMemoryContext, "dbos import list", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = CurrentMemoryContext;

	if (!JB_ROOT_IS_ARRAY(files) || JB_ROOT_IS_SCALAR(files) || JsonbIteratorNext(&iterator, &value, false) != WJB_BEGIN_ARRAY)
		malformed();
	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		if (token == WJB_BEGIN_ARRAY && place < 0)
		{
			MemoryContextReset(round);
			place = 0;
		}
		else if (token == WJB_ELEM && place >= 0)
		{
			MemoryContextSwitchTo(round);
			if (place == 0)
				relative = string_of(&value);
			else if (place == 1 && value.type != jbvBool)
				malformed();
			else if (place == 1)
				begin_list(import, host_path, path, relative, value.val.boolean, &directory);
			else
				import_name(import, &directory, string_of(&value));
			MemoryContextSwitchTo(outer);
			place++;
		}
		else if (token == WJB_END_ARRAY && place >= 2)
		{
			dbos_bulk_leave(&directory);
			place = -1;
		}
		else if (token != WJB_END_ARRAY || place >= 0)
			malformed();
	}
}

static int64
count_names(Jsonb *files)
{
	JsonbIterator *iterator = JsonbIteratorInit(&files->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	int64		names = 0;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
		names += token == WJB_ELEM;
	return names;
}

/* dbos.import_batch(host_path text, path text, files jsonb, replace boolean) → files */
Datum
dbos_import_batch(PG_FUNCTION_ARGS)
{
	text	   *host_path = PG_GETARG_TEXT_PP(0);
	Jsonb	   *files = PG_GETARG_JSONB_P(2);
	int64		names = count_names(files);
	DbosImport *import;

	PreventCommandIfReadOnly("dbos.import_batch()");
	import = dbos_import_begin(host_path, PG_GETARG_BOOL(3));
	import->outside->files_wanted = names;
	PG_TRY();
	{
		import_batch(import, host_path, PG_GETARG_TEXT_PP(1), files);
		dbos_import_end(import);
	}
	PG_FINALLY();
	{
		dbos_import_stop(import);
	}
	PG_END_TRY();
	PG_RETURN_INT64(import->outside->files);
}
