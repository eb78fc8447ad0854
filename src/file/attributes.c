/*
 * attributes.c
 *	  Mode, owner, group and times of files and directories.
 *
 * Who owns a file, which a member of the owning role does, changes its mode and times, and gives it
 * to a group that he is in.  To another owner he may give it when he could act as that
 * one, as PostgreSQL asks of who alters the owner of a table: who gave files to just anybody would
 * use up the quota of others.  dbos_admin and superusers may do all of it.
 *
 * A change of attributes is a change of the row of the inode, as a write of the file is: one of
 * two at the same time waits and then begins again with what the other has left.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "attributes.h"
#include "names.h"
#include "usage.h"

PG_FUNCTION_INFO_V1(dbos_chmod_sql);
PG_FUNCTION_INFO_V1(dbos_chmod_text_sql);
PG_FUNCTION_INFO_V1(dbos_chown_sql);
PG_FUNCTION_INFO_V1(dbos_touch_sql);
PG_FUNCTION_INFO_V1(dbos_set_times_sql);
PG_FUNCTION_INFO_V1(dbos_file_times_sql);

static pg_noreturn void
must_be_owner(text *path)
{
	ereport(ERROR,
			errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("must be owner of file \"%s\"", text_to_cstring(path)));
}

/* Checks the rights, and changes the inode of the path in memory. */
typedef void (*Change) (DbosPath *path, void *arg);

static bool
change_once(const DbosPlace *place, Change change, void *arg, Snapshot *snapshot)
{
	DbosPath	path;
	Oid			owner;

	dbos_place_require(place, place->follow, *snapshot, &path);
	/* The root of a container that has no files yet. */
	if (path.inode.number == 0)
	{
		*snapshot = dbos_root_make(*snapshot);
		return false;
	}
	owner = path.inode.owner;
	change(&path, arg);
	path.inode.changed = dbos_file_now();
	if (!dbos_inode_update(&path.inode, *snapshot))
	{
		dbos_conflict();
		return false;
	}
	if (path.inode.owner != owner)
	{
		dbos_usage_hand_over(&path.inode, owner);
		dbos_large_object_hand_over(&path.inode, owner);
	}
	return true;
}

static void
change_attributes(const DbosPlace *place, Change change, void *arg)
{
	Snapshot	snapshot = dbos_view_begin();

	while (!change_once(place, change, arg, &snapshot))
		snapshot = dbos_view_renew();
	dbos_view_end();
	dbos_changed();
}

/* ---- mode ---- */

typedef struct NewMode
{
	int32		bits;
	const char *text;			/* instead of the bits */
} NewMode;

static void
change_mode(DbosPath *path, void *arg)
{
	NewMode    *mode = arg;
	DbosInode  *inode = &path->inode;

	if (!dbos_file_owned(inode))
		must_be_owner(path->given);
	inode->mode = mode->text != NULL ? dbos_mode_parse(mode->text, inode->mode) : (inode->mode & ~PERMISSION_BITS) | mode->bits;
	/* Nobody runs programs as a group that he is not in. */
	if ((inode->mode & S_ISGID) != 0 && !has_privs_of_role(GetUserId(), inode->group) && !dbos_file_superuser())
		inode->mode &= ~S_ISGID;
}

void
dbos_mode_check(int32 mode)
{
	if (mode < 0 || mode > PERMISSION_BITS)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid mode %d", mode),
				errhint("A number is taken as it is: 420 is what '0644' is as text."));
}

void
dbos_file_chmod(const DbosPlace *place, int32 mode)
{
	NewMode		new_mode = {.bits = mode};

	dbos_mode_check(mode);
	change_attributes(place, change_mode, &new_mode);
}

/* dbos.chmod(path text, mode integer) */
Datum
dbos_chmod_sql(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("dbos.chmod()");
	dbos_file_chmod(DBOS_PATH(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT32(1));
	PG_RETURN_VOID();
}

/* dbos.chmod(path text, mode text) */
Datum
dbos_chmod_text_sql(PG_FUNCTION_ARGS)
{
	NewMode		mode = {.text = text_to_cstring(PG_GETARG_TEXT_PP(1))};

	PreventCommandIfReadOnly("dbos.chmod()");
	change_attributes(DBOS_PATH(PG_GETARG_TEXT_PP(0)), change_mode, &mode);
	PG_RETURN_VOID();
}

/* ---- owner and group ---- */

typedef struct NewOwner
{
	Oid			owner;
	Oid			group;
} NewOwner;

static void
demand_role(Oid role, bool allowed)
{
	if (!allowed)
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("must be member of role \"%s\"", GetUserNameFromId(role, false)));
}

static void
change_owner(DbosPath *path, void *arg)
{
	NewOwner   *new = arg;
	DbosInode  *inode = &path->inode;
	Oid			user = GetUserId();
	bool		superuser = dbos_file_superuser();

	if (!dbos_file_owned(inode))
		must_be_owner(path->given);
	if (OidIsValid(new->owner) && new->owner != inode->owner)
	{
		demand_role(new->owner, superuser || dbos_may_set_role(user, new->owner));
		inode->owner = new->owner;
	}
	if (OidIsValid(new->group) && new->group != inode->group)
	{
		demand_role(new->group, superuser || has_privs_of_role(user, new->group));
		inode->group = new->group;
	}
	/* What ran as the one is not to run as the other without his doing. */
	if (!S_ISDIR(inode->mode))
		inode->mode &= ~(S_ISUID | S_ISGID);
}

static void
check_role(Oid role)
{
	if (OidIsValid(role) && !SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("role with OID %u does not exist", role));
}

void
dbos_file_chown(const DbosPlace *place, Oid owner, Oid group)
{
	NewOwner	new = {owner, group};

	check_role(owner);
	check_role(group);
	change_attributes(place, change_owner, &new);
}

/* dbos.chown(path text, owner regrole, "group" regrole) */
Datum
dbos_chown_sql(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PreventCommandIfReadOnly("dbos.chown()");
	dbos_file_chown(DBOS_PATH(PG_GETARG_TEXT_PP(0)), PG_ARGISNULL(1) ? InvalidOid : PG_GETARG_OID(1),
					PG_ARGISNULL(2) ? InvalidOid : PG_GETARG_OID(2));
	PG_RETURN_VOID();
}

/* ---- times ---- */

/*
 * When names come into a directory and go, its row does not change; its usage says when the last did.
 * Whoever sets the time of a directory means that this is no more to be seen: so the row then has as its
 * content since when what the usage says counts again.
 */
static void
count_names_from(DbosInode *directory, int64 since)
{
	uint64	   *content = palloc(sizeof(uint64));

	*content = pg_hton64((uint64) since);
	directory->content = (const char *) content;
	directory->content_length = sizeof(uint64);
}

static int64
names_count_from(const DbosInode *directory)
{
	uint64		since;

	if (directory->content == NULL || directory->content_length != sizeof(since))
		return directory->modified;
	memcpy(&since, directory->content, sizeof(since));
	return (int64) pg_ntoh64(since);
}

/* What is known of a directory beside its row: the times of its names, and how many directories are in it. */
void
dbos_directory_complete(DbosInode *directory, Snapshot snapshot)
{
	DbosUsage	usage;

	dbos_usage_of(directory->number, snapshot, &usage);
	directory->links = 2 + (int32) usage.directories;
	/* 0: no name has come or gone, also where the directory is of before 1970. */
	if (usage.modified != 0 && usage.modified > names_count_from(directory))
		directory->modified = usage.modified;
	directory->changed = Max(directory->changed, usage.modified);
}

typedef struct NewTimes
{
	bool		now;			/* as of the moment, which who may write to the file may say too */
	bool		set_accessed;
	bool		set_modified;
	int64		accessed;
	int64		modified;
} NewTimes;

static void
change_times(DbosPath *path, void *arg)
{
	NewTimes   *times = arg;
	DbosInode  *inode = &path->inode;
	int64		now = dbos_file_now();

	if (!dbos_file_owned(inode))
	{
		if (!times->now)
			must_be_owner(path->given);
		dbos_file_demand(inode, MAY_WRITE, path->given);
	}
	if (times->set_accessed)
		inode->accessed = times->now ? now : times->accessed;
	if (times->set_modified)
	{
		inode->modified = times->now ? now : times->modified;
		if (S_ISDIR(inode->mode))
			count_names_from(inode, now);
	}
}

void
dbos_file_set_times(const DbosPlace *place, const int64 *accessed, const int64 *modified)
{
	NewTimes	times = {.set_accessed = accessed != NULL, .set_modified = modified != NULL};

	if (accessed != NULL)
		times.accessed = *accessed;
	if (modified != NULL)
		times.modified = *modified;
	change_attributes(place, change_times, &times);
}

/* To now, which who may write to the file may do too. */
void
dbos_file_set_times_now(const DbosPlace *place)
{
	NewTimes	times = {.now = true, .set_accessed = true, .set_modified = true};

	change_attributes(place, change_times, &times);
}

/* dbos.set_times(path text, accessed bigint, modified bigint) */
Datum
dbos_set_times_sql(PG_FUNCTION_ARGS)
{
	int64		accessed = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	int64		modified = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PreventCommandIfReadOnly("dbos.set_times()");
	dbos_file_set_times(DBOS_PATH(PG_GETARG_TEXT_PP(0)), PG_ARGISNULL(1) ? NULL : &accessed, PG_ARGISNULL(2) ? NULL : &modified);
	PG_RETURN_VOID();
}

/* False: the file was not there, or came meanwhile; look again. */
static bool
make_missing(text *given, Snapshot *snapshot, bool *made)
{
	DbosPath	path;
	DbosContent nothing = {.how = WRITE_REPLACE, .bytes = ""};

	*made = false;
	dbos_path_find(given, FOLLOW_LAST, *snapshot, &path);
	if (path.found)
		return true;
	*made = dbos_node_make(&path, FILE_MODE, &nothing, snapshot);
	return *made;
}

/* dbos.touch(path text, at timestamptz) */
Datum
dbos_touch_sql(PG_FUNCTION_ARGS)
{
	text	   *given;
	NewTimes	times = {.now = PG_ARGISNULL(1), .set_accessed = true, .set_modified = true};
	Snapshot	snapshot;
	bool		made;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PreventCommandIfReadOnly("dbos.touch()");
	given = PG_GETARG_TEXT_PP(0);
	if (!times.now)
		times.accessed = times.modified = dbos_file_nanoseconds(PG_GETARG_TIMESTAMPTZ(1));
	snapshot = dbos_root_make(dbos_view_begin());
	while (!make_missing(given, &snapshot, &made))
		snapshot = dbos_view_renew();
	dbos_view_end();
	if (!times.now)
		dbos_file_set_times(DBOS_PATH(given), &times.accessed, &times.modified);
	else if (!made)
		dbos_file_set_times_now(DBOS_PATH(given));
	PG_RETURN_VOID();
}

/* dbos.file_times(path text) → created, modified, changed, accessed, in nanoseconds since 1970 */
Datum
dbos_file_times_sql(PG_FUNCTION_ARGS)
{
	DbosPath	path;
	DbosInode  *inode = &path.inode;
	TupleDesc	descriptor;
	Datum		values[4];
	bool		nulls[4] = {0};

	dbos_path_require(PG_GETARG_TEXT_PP(0), FOLLOW_NOT_LAST, GetActiveSnapshot(), &path);
	if (S_ISDIR(inode->mode))
		dbos_directory_complete(inode, GetActiveSnapshot());
	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int64GetDatum(inode->created);
	values[1] = Int64GetDatum(inode->modified);
	values[2] = Int64GetDatum(inode->changed);
	values[3] = Int64GetDatum(inode->accessed);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(descriptor, values, nulls)));
}
