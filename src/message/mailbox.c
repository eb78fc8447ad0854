/*
 * mailbox.c
 *	  Mailboxes are made and dropped.
 *
 * A mailbox is a partitioned table that its owner makes, with the owner's rights and
 * in a schema of the owner's choice; GRANT, row-level security, \dp, ALTER OWNER and
 * pg_dump know it as any table.  Its partitions, the segments, lie in the schema
 * dbos_message, out of sight.  A row of dbos.mailbox says what a table cannot.
 *
 * DDL on it runs as its owner, in a security-restricted operation: what the owner has
 * attached to the table (index expressions, say) is never run by somebody else.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "dbos/container.h"

#include "message.h"

PG_FUNCTION_INFO_V1(dbos_create_mailbox);
PG_FUNCTION_INFO_V1(dbos_drop_mailbox);

#define SEGMENT_SCHEMA "dbos_message"
/* One is filled while the one before it comes to its end. */
#define FIRST_SEGMENTS 2

/* ---- DDL ---- */

typedef struct DdlScope
{
	Oid			user;
	int			security_context;
	int			guc_nest_level;
} DdlScope;

/* On error the abort of the (sub)transaction restores user and settings. */
static void
ddl_begin(DdlScope *scope, Oid owner)
{
	GetUserIdAndSecContext(&scope->user, &scope->security_context);
	SetUserIdAndSecContext(owner, scope->security_context | SECURITY_RESTRICTED_OPERATION);
	scope->guc_nest_level = NewGUCNestLevel();
	RestrictSearchPath();
	/* Indexes of the partitions are told of otherwise. */
	(void) set_config_option("client_min_messages", "warning", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

static void
ddl_end(DdlScope *scope)
{
	SPI_finish();
	AtEOXact_GUC(false, scope->guc_nest_level);
	SetUserIdAndSecContext(scope->user, scope->security_context);
}

static void
ddl(const char *format, ...) pg_attribute_printf(1, 2);

static void
ddl(const char *format, ...)
{
	StringInfoData command;
	int			rc;

	initStringInfo(&command);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&command, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&command, needed);
	}
	rc = SPI_execute(command.data, false, 0);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", command.data, SPI_result_code_string(rc));
	pfree(command.data);
}

static char *
qualified_name(Oid relation)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation));
}

/*
 * Attached, not made as a partition: that would wait for everybody who uses the mailbox.
 * Nothing of it is vacuumed but against wraparound: it is truncated when it is empty.
 */
static void
create_segment(Oid mailbox, int32 number)
{
	char	   *parent = qualified_name(mailbox);
	Oid			schema = get_namespace_oid(SEGMENT_SCHEMA, false);
	char	   *name = ChooseRelationName(get_rel_name(mailbox), NULL, psprintf("%d", number), schema, false);
	char	   *segment = quote_qualified_identifier(SEGMENT_SCHEMA, name);
	bool		aside = number == DBOS_ASIDE_SEGMENT;

	ddl("CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS) WITH (%s)", segment, parent,
		aside ? "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000"
		: "autovacuum_enabled = off, toast.autovacuum_enabled = off");
	ddl("CREATE INDEX ON %s (id)", segment);
	if (aside)
		ddl("CREATE INDEX ON %s (visible_at)", segment);
	ddl("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES IN (%d)", parent, segment, number);
}

void
dbos_segment_create(Oid mailbox, Oid owner, int32 number)
{
	DdlScope	scope;

	ddl_begin(&scope, owner);
	create_segment(mailbox, number);
	ddl_end(&scope);
}

/* Makes table, sequence, trigger and segments as the current role; returns the table. */
static Oid
create_tables(const char *schema, const char *name)
{
	char	   *table = quote_qualified_identifier(schema, name);
	char	   *literal = quote_literal_cstr(table);
	char	   *sequence = quote_qualified_identifier(schema,
													  ChooseRelationName(name, "id", "seq", get_namespace_oid(schema, false), false));
	DdlScope	scope;
	Oid			relation;

	ddl_begin(&scope, GetUserId());
	ddl("CREATE TABLE %s (id bigint NOT NULL, sent_at timestamptz NOT NULL, visible_at timestamptz, task_id bigint,"
		" sender regrole NOT NULL, segment integer NOT NULL, container_id integer NOT NULL,"
		" deliveries integer NOT NULL DEFAULT 0, partition_key text, headers jsonb NOT NULL DEFAULT '{}', body jsonb)"
		" PARTITION BY LIST ((CASE WHEN visible_at IS NULL THEN segment ELSE %d END))",
		table, DBOS_ASIDE_SEGMENT);
	ddl("CREATE SEQUENCE %s OWNED BY %s.id", sequence, table);
	ddl("ALTER TABLE %s ALTER id SET DEFAULT dbos.message_id(%s::pg_catalog.regclass),"
		" ALTER segment SET DEFAULT dbos.message_segment(%s::pg_catalog.regclass)", table, literal, literal);
	ddl("CREATE TRIGGER dbos_message BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION dbos.message_sent()", table);
	relation = get_relname_relid(name, get_namespace_oid(schema, false));
	for (int32 number = DBOS_ASIDE_SEGMENT; number <= FIRST_SEGMENTS; number++)
		create_segment(relation, number);
	ddl_end(&scope);
	return relation;
}

/* ---- the row ---- */

static void
insert_row(Oid relation, int32 container)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.mailbox (relation, container_id, current_segment) VALUES ($1, $2, 1)",
		.nargs = 2,
		.argtypes = {REGCLASSOID, INT4OID},
	};
	/* Of a table that was dropped as any table is, whose number is used again. */
	static DbosPlan forget = {
		.sql = "DELETE FROM dbos.mailbox WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
		.nargs = 1,
		.argtypes = {REGCLASSOID},
	};
	Datum		values[2] = {ObjectIdGetDatum(relation), Int32GetDatum(container)};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&forget, values, NULL, false, 0);
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
	dbos_owner_end(&scope);
}

/* ---- SQL functions ---- */

/* dbos.create_mailbox(relation text) */
Datum
dbos_create_mailbox(PG_FUNCTION_ARGS)
{
	RangeVar   *var;
	Oid			schema;
	Oid			relation;

	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("relation must not be null"));
	dbos_require_same_version();
	PreventCommandIfReadOnly("dbos.create_mailbox()");
	var = makeRangeVarFromNameList(textToQualifiedNameList(PG_GETARG_TEXT_PP(0)));
	schema = RangeVarGetAndCheckCreationNamespace(var, NoLock, NULL);
	if (isTempNamespace(schema))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				errmsg("a mailbox cannot be a temporary table"),
				errdetail("Receivers in other sessions could not see it."));
	dbos_container_hold(dbos_context_container());
	relation = create_tables(get_namespace_name(schema), var->relname);
	insert_row(relation, dbos_context_container());
	CacheInvalidateRelcacheByRelid(relation);
	PG_RETURN_VOID();
}

/* dbos.drop_mailbox(mailbox text) */
Datum
dbos_drop_mailbox(PG_FUNCTION_ARGS)
{
	static DbosPlan plan = {
		.sql = "DELETE FROM dbos.mailbox WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
		.nargs = 1,
		.argtypes = {REGCLASSOID},
	};
	DbosMailbox *mailbox = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(0), AccessExclusiveLock);
	Datum		value = ObjectIdGetDatum(mailbox->relation);
	char	   *name = qualified_name(mailbox->relation);
	DbosOwnerScope scope;

	PreventCommandIfReadOnly("dbos.drop_mailbox()");
	dbos_mailbox_check_container(mailbox, ACL_DELETE);
	/* The rights are those of DROP TABLE. */
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	ddl("DROP TABLE %s", name);
	SPI_finish();
	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, &value, NULL, false, 0);
	dbos_owner_end(&scope);
	PG_RETURN_VOID();
}
