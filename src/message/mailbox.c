/*
 * mailbox.c
 *	  Mailboxes are made and dropped.
 *
 * A mailbox is a partitioned table that its owner makes, with the owner's rights and
 * in a schema of the owner's choice; GRANT, row-level security, \dp, ALTER OWNER and
 * pg_dump know it as any table.  Its partitions, the segments, lie in the schema
 * dbos_message, out of sight.  A row of dbos.mailbox says what a table cannot.
 *
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
PG_FUNCTION_INFO_V1(dbos_alter_mailbox);
PG_FUNCTION_INFO_V1(dbos_drop_mailbox);
PG_FUNCTION_INFO_V1(dbos_pause_mailbox);
PG_FUNCTION_INFO_V1(dbos_resume_mailbox);
PG_FUNCTION_INFO_V1(dbos_purge_mailbox);

/* ---- the tables ---- */

/* Makes table, sequence, trigger and segments as the current role; returns the table. */
static Oid
create_tables(const char *schema, const char *name, int first_segment, const DbosMailboxOptions *options)
{
	char	   *table = quote_qualified_identifier(schema, name);
	char	   *literal = quote_literal_cstr(table);
	char	   *sequence = quote_qualified_identifier(schema,
													  ChooseRelationName(name, "id", "seq", get_namespace_oid(schema, false), false));
	DbosDdlScope	scope;
	Oid			relation;

	dbos_ddl_begin(&scope, GetUserId());
	dbos_ddl("CREATE TABLE %s (id bigint NOT NULL, sent_at timestamptz NOT NULL, visible_at timestamptz, task_id bigint,"
		" sender regrole NOT NULL, segment integer NOT NULL, container_id integer NOT NULL,"
		" deliveries integer NOT NULL DEFAULT 0, partition_key text, headers jsonb NOT NULL DEFAULT '{}', body jsonb)"
		" PARTITION BY LIST ((CASE WHEN visible_at IS NULL THEN segment ELSE %d END))",
		table, DBOS_ASIDE_SEGMENT);
	dbos_ddl("CREATE SEQUENCE %s OWNED BY %s.id", sequence, table);
	dbos_ddl("ALTER TABLE %s ALTER id SET DEFAULT dbos.message_id(%s::pg_catalog.regclass),"
		" ALTER segment SET DEFAULT dbos.message_segment(%s::pg_catalog.regclass)", table, literal, literal);
	dbos_ddl("CREATE TRIGGER dbos_message BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION dbos.message_sent()", table);
	relation = get_relname_relid(name, get_namespace_oid(schema, false));
	for (int32 number = first_segment; number <= DBOS_FIRST_SEGMENTS; number++)
		dbos_segment_create(relation, number, options);
	dbos_ddl_end(&scope);
	return relation;
}

/* ---- the row ---- */

static void
insert_row(Oid relation, char kind, const DbosMailboxOptions *options)
{
	static DbosPlan plan = {
		.sql = "INSERT INTO dbos.mailbox (relation, kind, container_id, ordered, unlogged, current_segment) VALUES ($1, $2, $3, $4, $5, 1)",
		.nargs = 5,
		.argtypes = {REGCLASSOID, CHAROID, INT4OID, BOOLOID, BOOLOID},
	};
	/* Of a table that was dropped as any table is, whose number is used again. */
	static DbosPlan forget = {
		.sql = "DELETE FROM dbos.mailbox WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
		.nargs = 1,
		.argtypes = {REGCLASSOID},
	};
	Datum		values[5] = {ObjectIdGetDatum(relation), CharGetDatum(kind), Int32GetDatum(dbos_context_container()),
	BoolGetDatum(options->ordered), BoolGetDatum(options->unlogged)};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&forget, values, NULL, false, 0);
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
	dbos_owner_end(&scope);
}

/* ---- what mailboxes and topics have in common ---- */

/* Makes a mailbox or topic of that name, of the current role and in its container; returns the table. */
Oid
dbos_mailbox_make(const text *name, char kind, const DbosMailboxOptions *options)
{
	RangeVar   *var;
	Oid			schema;
	Oid			relation;

	dbos_require_same_version();
	var = makeRangeVarFromNameList(textToQualifiedNameList(unconstify(text *, name)));
	schema = RangeVarGetAndCheckCreationNamespace(var, NoLock, NULL);
	if (isTempNamespace(schema))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				errmsg("a mailbox or topic cannot be a temporary table"),
				errdetail("Other sessions could not see it."));
	dbos_container_hold(dbos_context_container());
	relation = create_tables(get_namespace_name(schema), var->relname,
							 kind == DBOS_KIND_TOPIC ? DBOS_ASIDE_SEGMENT + 1 : DBOS_ASIDE_SEGMENT, options);
	insert_row(relation, kind, options);
	CacheInvalidateRelcacheByRelid(relation);
	return relation;
}

/* Drops it with its messages; the rights are those of DROP TABLE. */
void
dbos_mailbox_drop(const DbosMailbox *mailbox)
{
	static DbosPlan plan = {
		.sql = "DELETE FROM dbos.mailbox WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
		.nargs = 1,
		.argtypes = {REGCLASSOID},
	};
	Datum		value = ObjectIdGetDatum(mailbox->relation);
	DbosOwnerScope scope;

	dbos_mailbox_check_container(mailbox, ACL_DELETE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	dbos_ddl("DROP TABLE %s", dbos_qualified_name(mailbox->relation));
	SPI_finish();
	/* A loop that waits has no lock on it, and shall learn of it. */
	dbos_pending_sent(mailbox->relation, DBOS_ANY_SEGMENT, 1, PG_INT64_MAX);
	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, &value, NULL, false, 0);
	dbos_owner_end(&scope);
}

/* ---- options ---- */

/* The mailbox that takes what was delivered too often; the caller must own it. */
static Oid
dead_letter_of(const text *name, Oid relation)
{
	DbosMailbox *dead = dbos_mailbox_resolve(name, DBOS_KIND_MAILBOX, AccessShareLock);

	if (dead->relation == relation)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("a mailbox cannot be its own dead-letter mailbox"));
	dbos_mailbox_check_owner(dead);
	return dead->relation;
}

static void
write_deliveries(Oid relation, int32 max_deliveries, Oid dead_letter)
{
	static DbosPlan plan = {
		.sql = "UPDATE dbos.mailbox SET max_deliveries = $2, dead_letter = $3 WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
		.nargs = 3,
		.argtypes = {REGCLASSOID, INT4OID, REGCLASSOID},
	};
	Datum		values[3] = {ObjectIdGetDatum(relation), Int32GetDatum(max_deliveries), ObjectIdGetDatum(dead_letter)};
	char		nulls[3] = {' ', max_deliveries == 0 ? 'n' : ' ', OidIsValid(dead_letter) ? ' ' : 'n'};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, nulls, false, 0);
	dbos_owner_end(&scope);
	CacheInvalidateRelcacheByRelid(relation);
}

/* max_deliveries and dead_letter, arguments that stand beside each other; dead is the mailbox's dead-letter mailbox so far. */
static void
set_deliveries(Oid relation, Oid dead, FunctionCallInfo fcinfo, int at)
{
	int32		most = PG_ARGISNULL(at) ? 0 : PG_GETARG_INT32(at);

	if (!PG_ARGISNULL(at + 1))
		dead = dead_letter_of(PG_GETARG_TEXT_PP(at + 1), relation);
	if (PG_ARGISNULL(at) ? !PG_ARGISNULL(at + 1) : !OidIsValid(dead))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("max_deliveries and dead_letter of a mailbox belong together"),
				errdetail("What was delivered so often without success goes to the dead-letter mailbox."),
				errhint("Make that mailbox first, and give both."));
	if (!PG_ARGISNULL(at) && most < 1)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("max_deliveries must be at least 1: %d", most));
	write_deliveries(relation, most, most > 0 ? dead : InvalidOid);
}

static void
set_idempotency_window(Oid relation, Interval *window)
{
	static DbosPlan plan = {
		.sql = "UPDATE dbos.mailbox SET idempotency_window = $2 WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
		.nargs = 2,
		.argtypes = {REGCLASSOID, INTERVALOID},
	};
	Datum		values[2] = {ObjectIdGetDatum(relation), IntervalPGetDatum(window)};
	DbosOwnerScope scope;

	(void) dbos_milliseconds(window, "idempotency_window");
	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
	dbos_owner_end(&scope);
}

static void
set_paused(FunctionCallInfo fcinfo, bool paused)
{
	static DbosPlan plan = {
		.sql = "UPDATE dbos.mailbox SET paused = $2 WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid",
		.nargs = 2,
		.argtypes = {REGCLASSOID, BOOLOID},
	};
	DbosMailbox *mailbox = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(0), DBOS_KIND_MAILBOX, AccessShareLock);
	Datum		values[2] = {ObjectIdGetDatum(mailbox->relation), BoolGetDatum(paused)};
	DbosOwnerScope scope;

	dbos_mailbox_check_owner(mailbox);
	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
	dbos_owner_end(&scope);
	CacheInvalidateRelcacheByRelid(mailbox->relation);
	if (!paused)
		dbos_pending_everything(mailbox);
}

/* ---- SQL functions ---- */

/*
 * dbos.create_mailbox(relation text, notify boolean, max_deliveries int, dead_letter text, ordered boolean,
 * unlogged boolean, idempotency_window interval)
 */
Datum
dbos_create_mailbox(PG_FUNCTION_ARGS)
{
	DbosMailboxOptions options = {
		.ordered = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4),
		.unlogged = !PG_ARGISNULL(5) && PG_GETARG_BOOL(5),
	};
	Oid			relation;

	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("relation must not be null"));
	PreventCommandIfReadOnly("dbos.create_mailbox()");
	relation = dbos_mailbox_make(PG_GETARG_TEXT_PP(0), DBOS_KIND_MAILBOX, &options);
	if (!PG_ARGISNULL(1) && PG_GETARG_BOOL(1))
		dbos_mailbox_set_channel(relation, dbos_channel_name(PG_GETARG_TEXT_PP(0), DBOS_KIND_MAILBOX));
	if (!PG_ARGISNULL(2) || !PG_ARGISNULL(3))
		set_deliveries(relation, InvalidOid, fcinfo, 2);
	if (!PG_ARGISNULL(6))
		set_idempotency_window(relation, PG_GETARG_INTERVAL_P(6));
	PG_RETURN_VOID();
}

/*
 * dbos.alter_mailbox(mailbox text, max_deliveries int, dead_letter text, notify boolean, idempotency_window interval):
 * what is left out stays, a max_deliveries of NULL is lifted
 */
Datum
dbos_alter_mailbox(PG_FUNCTION_ARGS)
{
	DbosMailbox *mailbox;
	bool		same = !PG_ARGISNULL(1) && PG_GETARG_INT32(1) == -1;

	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("mailbox must not be null"));
	PreventCommandIfReadOnly("dbos.alter_mailbox()");
	mailbox = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(0), DBOS_KIND_MAILBOX, AccessShareLock);
	dbos_mailbox_check_owner(mailbox);
	if (same && !PG_ARGISNULL(2))
	{
		if (mailbox->max_deliveries == 0)
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("max_deliveries and dead_letter of a mailbox belong together"),
					errhint("Give max_deliveries too."));
		write_deliveries(mailbox->relation, mailbox->max_deliveries,
						 dead_letter_of(PG_GETARG_TEXT_PP(2), mailbox->relation));
	}
	else if (!same)
		set_deliveries(mailbox->relation, mailbox->dead_letter, fcinfo, 1);
	/* What was delivered too often may go, or be delivered, now. */
	dbos_pending_everything(mailbox);
	if (!PG_ARGISNULL(3))
		dbos_mailbox_set_channel(mailbox->relation,
								 PG_GETARG_BOOL(3) ? dbos_channel_name(PG_GETARG_TEXT_PP(0), DBOS_KIND_MAILBOX) : NULL);
	if (!PG_ARGISNULL(4))
		set_idempotency_window(mailbox->relation, PG_GETARG_INTERVAL_P(4));
	PG_RETURN_VOID();
}

/* dbos.drop_mailbox(mailbox text) */
Datum
dbos_drop_mailbox(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("dbos.drop_mailbox()");
	dbos_mailbox_drop(dbos_mailbox_resolve(PG_GETARG_TEXT_PP(0), DBOS_KIND_MAILBOX, AccessExclusiveLock));
	PG_RETURN_VOID();
}

/* dbos.pause_mailbox(mailbox text) */
Datum
dbos_pause_mailbox(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("dbos.pause_mailbox()");
	set_paused(fcinfo, true);
	PG_RETURN_VOID();
}

/* dbos.resume_mailbox(mailbox text) */
Datum
dbos_resume_mailbox(PG_FUNCTION_ARGS)
{
	PreventCommandIfReadOnly("dbos.resume_mailbox()");
	set_paused(fcinfo, false);
	PG_RETURN_VOID();
}

/* dbos.purge_mailbox(mailbox text) → how many messages are gone when the transaction commits */
Datum
dbos_purge_mailbox(PG_FUNCTION_ARGS)
{
	DbosMailbox *mailbox;
	int64		purged;

	PreventCommandIfReadOnly("dbos.purge_mailbox()");
	mailbox = dbos_mailbox_resolve(PG_GETARG_TEXT_PP(0), DBOS_KIND_MAILBOX, RowExclusiveLock);
	dbos_mailbox_check_right(mailbox, ACL_DELETE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	dbos_ddl("DELETE FROM %s", dbos_qualified_name(mailbox->relation));
	purged = SPI_processed;
	SPI_finish();
	PG_RETURN_INT64(purged);
}
