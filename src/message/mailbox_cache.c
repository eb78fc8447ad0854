/*
 * mailbox_cache.c
 *	  What this backend knows of mailboxes.
 *
 * A mailbox is a partitioned table of its owner with a row in dbos.mailbox.  What is
 * known of one is kept until the relcache says that its table or one of its segments
 * has changed; whoever changes the row tells that too.
 *
 * An entry stays where it is for the life of the session, so a pointer to it stays good;
 * its contents may be read anew by any call here.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "dbos/container.h"

#include "topic.h"

/* Which mailbox a table belongs to: its own, or that it is a segment of. */
typedef struct Member
{
	Oid			relation;		/* key */
	DbosMailbox *mailbox;
} Member;

static HTAB *mailboxes = NULL;
static HTAB *members = NULL;

/* The columns that the code here writes and reads by their place. */
static const struct
{
	const char *name;
	Oid			type;
	bool		not_null;
}			columns[MESSAGE_COLUMNS] = {
	[MESSAGE_ID] = {"id", INT8OID, true},
	[MESSAGE_SENT_AT] = {"sent_at", TIMESTAMPTZOID, true},
	[MESSAGE_VISIBLE_AT] = {"visible_at", TIMESTAMPTZOID},
	[MESSAGE_TASK_ID] = {"task_id", INT8OID},
	[MESSAGE_SENDER] = {"sender", REGROLEOID, true},
	[MESSAGE_SEGMENT] = {"segment", INT4OID, true},
	[MESSAGE_CONTAINER_ID] = {"container_id", INT4OID, true},
	[MESSAGE_DELIVERIES] = {"deliveries", INT4OID, true},
	[MESSAGE_PARTITION_KEY] = {"partition_key", TEXTOID},
	[MESSAGE_HEADERS] = {"headers", JSONBOID, true},
	[MESSAGE_BODY] = {"body", JSONBOID},
};

/* ---- forgetting ---- */

static void
forget_relation(Datum arg, Oid relation)
{
	HASH_SEQ_STATUS status;
	DbosMailbox *mailbox;

	if (relation != InvalidOid)
	{
		Member	   *member = hash_search(members, &relation, HASH_FIND, NULL);

		if (member != NULL)
			member->mailbox->valid = false;
		return;
	}
	hash_seq_init(&status, mailboxes);
	while ((mailbox = hash_seq_search(&status)) != NULL)
		mailbox->valid = false;
}

static void
prepare_cache(void)
{
	HASHCTL		control = {.keysize = sizeof(Oid), .hcxt = TopMemoryContext};

	if (members != NULL)
		return;
	if (mailboxes == NULL)
	{
		control.entrysize = sizeof(DbosMailbox);
		mailboxes = hash_create("dbos mailboxes", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	control.entrysize = sizeof(Member);
	members = hash_create("dbos mailboxes by table", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
}

/* ---- reading ---- */

static bool
has_our_columns(TupleDesc desc)
{
	if (desc->natts < MESSAGE_COLUMNS)
		return false;
	for (int i = 0; i < MESSAGE_COLUMNS; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (column->attisdropped || column->atttypid != columns[i].type || (columns[i].not_null && !column->attnotnull) ||
			strcmp(NameStr(column->attname), columns[i].name) != 0)
			return false;
	}
	return true;
}

bool
dbos_message_is_segment(Relation relation)
{
	return relation->rd_rel->relkind == RELKIND_RELATION && relation->rd_rel->relam == HEAP_TABLE_AM_OID &&
		has_our_columns(RelationGetDescr(relation));
}

void
dbos_message_check_columns(Relation relation)
{
	if (dbos_message_is_segment(relation))
		return;
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("table \"%s\" is no segment of a mailbox or topic", RelationGetRelationName(relation)),
			errdetail("Its columns are not those that dbos has made, in their order, with their types and NOT NULL; others may follow them."));
}

/* Our row trigger and no other, no rules, no checks, and the columns as we made them. */
static bool
is_plain(Relation relation)
{
	TupleDesc	desc = RelationGetDescr(relation);

	if (desc->natts != MESSAGE_COLUMNS || relation->rd_rules != NULL ||
		(desc->constr != NULL && (desc->constr->num_check > 0 || desc->constr->has_generated_stored)))
		return false;
	for (int i = 0; i < MESSAGE_COLUMNS; i++)
		if (TupleDescAttr(desc, i)->attnotnull != columns[i].not_null)
			return false;
	return has_our_columns(desc) && relation->trigdesc != NULL && relation->trigdesc->numtriggers == 1 &&
		strcmp(relation->trigdesc->triggers[0].tgname, "dbos_message") == 0;
}

/* What the segment's indexes are good for. */
static void
read_indexes(DbosSegment *segment, Relation relation)
{
	List	   *indexes = RelationGetIndexList(relation);
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;
		int			first = form->indkey.values[0];
		/* Ascending in its first column. */
		bool		usable = form->indisvalid && index->rd_rel->relam == BTREE_AM_OID &&
			index->rd_indoption[0] == 0 && RelationGetIndexPredicate(index) == NIL;

		if (usable && form->indnkeyatts == 1 && first == MESSAGE_ID + 1)
			segment->id_index = RelationGetRelid(index);
		else if (usable && form->indnkeyatts == 1 && first == MESSAGE_VISIBLE_AT + 1)
			segment->visible_index = RelationGetRelid(index);
		/* An expression and the id: ours was made first. */
		else if (usable && form->indnkeyatts == 2 && first == 0 && form->indkey.values[1] == MESSAGE_ID + 1 &&
				 !OidIsValid(segment->lane_index) && index->rd_indoption[1] == 0 &&
				 TupleDescAttr(RelationGetDescr(index), 0)->atttypid == INT8OID)
			segment->lane_index = RelationGetRelid(index);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
}

/* The segments, ascending; the number of each is the one value that its bound lists. */
static void
read_segments(DbosMailbox *mailbox, Relation relation)
{
	PartitionDesc parts = RelationGetPartitionDesc(relation, false);
	MemoryContext old;

	if (mailbox->segments != NULL)
		pfree(mailbox->segments);
	mailbox->segments = NULL;
	mailbox->nsegments = 0;
	if (parts->nparts == 0)
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	mailbox->segments = palloc(sizeof(DbosSegment) * parts->nparts);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < parts->boundinfo->ndatums; i++)
	{
		int32		number = DatumGetInt32(parts->boundinfo->datums[i][0]);
		int			at = parts->boundinfo->indexes[i];

		if (mailbox->nsegments == parts->nparts || at < 0)
			break;
		mailbox->segments[mailbox->nsegments++] = (DbosSegment) {.number = number, .relation = parts->oids[at]};
	}
}

/* What the background does whenever messages come. */
static void
read_standing(DbosMailbox *mailbox, HeapTuple row, TupleDesc desc)
{
	char	   *channel = SPI_getvalue(row, desc, 9);
	bool		isnull;

	strlcpy(mailbox->channel, channel == NULL ? "" : channel, NAMEDATALEN);
	mailbox->standing = channel == NULL ? 0 : DBOS_WORK_TELL;
	if (DatumGetBool(SPI_getbinval(row, desc, 10, &isnull)))
		mailbox->standing |= DBOS_WORK_TASKS;
}

/* What dbos.mailbox says; false when it has no such row. */
static bool
read_row(DbosMailbox *mailbox)
{
	static DbosPlan plan = {
		.sql = "SELECT container_id, paused, current_segment, kind, max_deliveries, dead_letter, ordered, unlogged, channel,"
		" EXISTS (SELECT FROM dbos.mailbox_function f WHERE f.relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid)"
		" FROM dbos.mailbox WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
		.nargs = 1,
		.argtypes = {REGCLASSOID},
	};
	Datum		value = ObjectIdGetDatum(mailbox->relation);
	DbosOwnerScope scope;
	bool		found;

	dbos_owner_begin(&scope);
	PushActiveSnapshot(GetLatestSnapshot());
	found = dbos_plan_execute(&plan, &value, NULL, true, 1) > 0;
	if (found)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		mailbox->container = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
		mailbox->paused = DatumGetBool(SPI_getbinval(row, desc, 2, &isnull));
		mailbox->current_segment = DatumGetInt32(SPI_getbinval(row, desc, 3, &isnull));
		mailbox->kind = DatumGetChar(SPI_getbinval(row, desc, 4, &isnull));
		mailbox->max_deliveries = DatumGetInt32(SPI_getbinval(row, desc, 5, &isnull));
		if (isnull)
			mailbox->max_deliveries = 0;
		mailbox->dead_letter = DatumGetObjectId(SPI_getbinval(row, desc, 6, &isnull));
		mailbox->options.ordered = DatumGetBool(SPI_getbinval(row, desc, 7, &isnull));
		mailbox->options.unlogged = DatumGetBool(SPI_getbinval(row, desc, 8, &isnull));
		read_standing(mailbox, row, desc);
	}
	PopActiveSnapshot();
	dbos_owner_end(&scope);
	return found;
}

/*
 * Which segment is current is read from the row, and may be seen before we are told of the
 * segment: until then messages go to the last one that we know, which does no harm.
 */
static void
settle_current_segment(DbosMailbox *mailbox)
{
	int32		last = mailbox->current_segment;

	for (int i = 0; i < mailbox->nsegments; i++)
	{
		if (mailbox->segments[i].number == mailbox->current_segment)
			return;
		if (mailbox->segments[i].number != DBOS_ASIDE_SEGMENT)
			last = mailbox->segments[i].number;
	}
	mailbox->current_segment = last;
}

/* Of the ids. */
static Oid
owned_sequence(Oid relation)
{
	ListCell   *cell;

	/* A column that somebody has added may have one too. */
	foreach(cell, getOwnedSequences(relation))
	{
		Oid			table;
		int32		column;

		if (sequenceIsOwned(lfirst_oid(cell), DEPENDENCY_AUTO, &table, &column) && column == MESSAGE_ID + 1)
			return lfirst_oid(cell);
	}
	return InvalidOid;
}

static void
remember_members(DbosMailbox *mailbox)
{
	for (int i = -1; i < mailbox->nsegments; i++)
	{
		Oid			relation = i < 0 ? mailbox->relation : mailbox->segments[i].relation;
		Member	   *member = hash_search(members, &relation, HASH_ENTER, NULL);

		member->mailbox = mailbox;
	}
}

/* Reads a partitioned table; false when it is no mailbox. */
static bool
read_mailbox(DbosMailbox *mailbox)
{
	/* It may have been dropped, where only its number was kept. */
	Relation	relation = try_relation_open(mailbox->relation, AccessShareLock);
	bool		found = false;

	if (relation == NULL)
	{
		mailbox->valid = false;
		return false;
	}

	/* What is told while we read is not lost: it comes with one of the locks taken below, or later. */
	mailbox->valid = true;
	remember_members(mailbox);
	if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE && read_row(mailbox))
	{
		if (mailbox->kind == DBOS_KIND_TOPIC)
			dbos_topic_read_facts(mailbox);
		mailbox->owner = relation->rd_rel->relowner;
		mailbox->sequence = owned_sequence(mailbox->relation);
		mailbox->plain = is_plain(relation);
		read_segments(mailbox, relation);
		settle_current_segment(mailbox);
		remember_members(mailbox);
		found = true;
	}
	table_close(relation, AccessShareLock);
	if (!found)
		mailbox->valid = false;
	return found;
}

/* ---- what the rest of the room asks ---- */

DbosMailbox *
dbos_mailbox_of(Oid relation)
{
	Member	   *member;
	DbosMailbox *mailbox;
	bool		known;
	Oid			root = relation;

	prepare_cache();
	member = hash_search(members, &relation, HASH_FIND, NULL);
	if (member != NULL && member->mailbox->valid)
		return member->mailbox;
	if (get_rel_relispartition(relation))
		root = get_partition_parent(relation, true);
	mailbox = hash_search(mailboxes, &root, HASH_ENTER, &known);
	if (!known)
	{
		memset(mailbox, 0, sizeof(*mailbox));
		mailbox->relation = root;
		mailbox->slot = -1;
	}
	/* Read again when something was told while we read. */
	for (int tries = 0; !mailbox->valid && tries < 8; tries++)
		if (!read_mailbox(mailbox))
			return NULL;
	return mailbox;
}

/* The name of a known mailbox that is nearest to a mistyped one, as the session may type it; or NULL. */
static char *
nearest_name(const text *name, char kind)
{
	static DbosPlan plan = {
		.sql = "SELECT c.relname FROM dbos.mailbox m JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) m.relation"
		" WHERE pg_catalog.has_table_privilege($2, c.oid, 'SELECT, INSERT, DELETE') AND dbos.in_container(m.container_id)"
		" AND m.kind OPERATOR(pg_catalog.=) $3 AND dbos.name_distance(c.relname, $1) OPERATOR(pg_catalog.<=) 3"
		" ORDER BY dbos.name_distance(c.relname, $1) USING OPERATOR(pg_catalog.<), c.relname USING OPERATOR(pg_catalog.<) LIMIT 1",
		.nargs = 3,
		.argtypes = {TEXTOID, OIDOID, CHAROID},
	};
	MemoryContext caller = CurrentMemoryContext;
	Datum		values[3] = {PointerGetDatum(name), ObjectIdGetDatum(GetUserId()), CharGetDatum(kind)};
	DbosOwnerScope scope;
	char	   *found = NULL;

	dbos_owner_begin(&scope);
	if (dbos_plan_execute(&plan, values, NULL, true, 1) > 0)
		found = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	dbos_owner_end(&scope);
	return found;
}

static const char *
kind_name(char kind)
{
	return kind == DBOS_KIND_TOPIC ? "topic" : "mailbox";
}

static void
no_mailbox(const text *name, char kind)
{
	char	   *typed = text_to_cstring(name);
	char	   *nearest = nearest_name(name, kind);

	ereport(ERROR,
			errcode(ERRCODE_UNDEFINED_TABLE),
			errmsg("%s \"%s\" does not exist", kind_name(kind), typed),
			nearest != NULL ? errhint("Perhaps you meant \"%s\".", nearest)
			: errhint("SELECT dbos.create_%s(%s);", kind_name(kind), quote_literal_cstr(typed)));
}

DbosMailbox *
dbos_mailbox_resolve(const text *name, char kind, LOCKMODE lock)
{
	RangeVar   *var = makeRangeVarFromNameList(textToQualifiedNameList(unconstify(text *, name)));
	Oid			relation = RangeVarGetRelid(var, lock, true);
	DbosMailbox *mailbox = NULL;

	dbos_require_same_version();
	if (OidIsValid(relation) && get_rel_relkind(relation) == RELKIND_PARTITIONED_TABLE)
		mailbox = dbos_mailbox_of(relation);
	if (!OidIsValid(relation))
		no_mailbox(name, kind);
	if (mailbox == NULL || mailbox->relation != relation || mailbox->kind != kind)
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("relation \"%s\" is not a %s", text_to_cstring(name), kind_name(kind)),
				kind == DBOS_KIND_TOPIC ? errhint("dbos.topics lists them; dbos.create_topic() makes one.")
				: errhint("dbos.mailboxes lists them; dbos.create_mailbox() makes one."));
	return mailbox;
}

DbosSegment *
dbos_mailbox_segment(const DbosMailbox *mailbox, int32 number)
{
	for (int i = 0; i < mailbox->nsegments; i++)
		if (mailbox->segments[i].number == number)
			return &mailbox->segments[i];
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("mailbox \"%s\" has no segment %d", dbos_mailbox_name(mailbox), number),
			errdetail("Each segment of a mailbox is a partition of it, which somebody has detached or dropped."));
}

Relation
dbos_segment_open(DbosSegment *segment, LOCKMODE lock)
{
	Relation	relation = table_open(segment->relation, lock);

	dbos_message_check_columns(relation);
	if (!OidIsValid(segment->id_index))
		read_indexes(segment, relation);
	if (!OidIsValid(segment->id_index))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("segment \"%s\" has no index on id", RelationGetRelationName(relation)),
				errhint("CREATE INDEX ON %s (id);", dbos_qualified_name(segment->relation)));
	return relation;
}

char *
dbos_mailbox_name(const DbosMailbox *mailbox)
{
	char	   *name = get_rel_name(mailbox->relation);

	return name != NULL ? name : psprintf("%u", mailbox->relation);
}

int64
dbos_mailbox_last_id(const DbosMailbox *mailbox)
{
	Relation	sequence = relation_open(mailbox->sequence, AccessShareLock);
	Buffer		buffer = ReadBuffer(sequence, 0);
	HeapTupleData tuple;
	ItemId		item;
	Form_pg_sequence_data data;
	int64		last;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	item = PageGetItemId(BufferGetPage(buffer), FirstOffsetNumber);
	tuple.t_data = (HeapTupleHeader) PageGetItem(BufferGetPage(buffer), item);
	data = (Form_pg_sequence_data) GETSTRUCT(&tuple);
	/* Of a new one that is the first value, which was not taken yet. */
	last = data->is_called ? data->last_value : data->last_value - 1;
	UnlockReleaseBuffer(buffer);
	relation_close(sequence, AccessShareLock);
	return last;
}

/* ---- rights ---- */

/* Whether somebody else than the owner was granted the right, and the current role has it by that. */
static bool
was_granted(const DbosMailbox *mailbox, AclMode right)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(mailbox->relation));
	bool		granted = false;
	bool		isnull;
	Datum		value;

	if (!HeapTupleIsValid(tuple))
		return false;
	value = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relacl, &isnull);
	if (!isnull)
	{
		Acl		   *acl = DatumGetAclPCopy(value);
		AclItem    *items = ACL_DAT(acl);

		for (int i = 0; i < ACL_NUM(acl) && !granted; i++)
			granted = (ACLITEM_GET_PRIVS(items[i]) & right) != 0 && items[i].ai_grantee != mailbox->owner &&
				(items[i].ai_grantee == ACL_ID_PUBLIC || has_privs_of_role(GetUserId(), items[i].ai_grantee));
	}
	ReleaseSysCache(tuple);
	return granted;
}

/*
 * Messages cross from one container into another, that is not inside of it, only by
 * a grant: what owners may by themselves does not count there.
 */
void
dbos_mailbox_check_container(const DbosMailbox *mailbox, AclMode right)
{
	if (dbos_container_contains(dbos_context_container(), mailbox->container) ||
		superuser() || was_granted(mailbox, right))
		return;
	ereport(ERROR,
			errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("permission denied for %s \"%s\" from another container", kind_name(mailbox->kind), dbos_mailbox_name(mailbox)),
			errdetail("Across containers what a role was granted counts, and not that it owns the %s.", kind_name(mailbox->kind)),
			errhint("GRANT %s ON the %s TO the role.", right == ACL_INSERT ? "INSERT" : right == ACL_SELECT ? "SELECT" : "DELETE",
					kind_name(mailbox->kind)));
}

/* A right on a mailbox, of the current role in its container. */
void
dbos_mailbox_check_right(const DbosMailbox *mailbox, AclMode right)
{
	AclResult	result = pg_class_aclcheck(mailbox->relation, GetUserId(), right);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_TABLE, dbos_mailbox_name(mailbox));
	dbos_mailbox_check_container(mailbox, right);
}

void
dbos_mailbox_refuse_policies(const DbosMailbox *mailbox, const char *what)
{
	if (check_enable_rls(mailbox->relation, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("cannot %s mailbox \"%s\" as a role that is subject to its row-level security", what, dbos_mailbox_name(mailbox)));
}

void
dbos_mailbox_check_owner(const DbosMailbox *mailbox)
{
	if (!dbos_relation_owned(mailbox->relation, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, dbos_mailbox_name(mailbox));
	/* An owner in another container is nobody there. */
	if (!superuser() && !dbos_container_contains(dbos_context_container(), mailbox->container))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, dbos_mailbox_name(mailbox));
}
