/*
 * ddl.c
 *	  Tables of mailboxes are made and truncated, as their owners.
 *
 * DDL on a mailbox runs as its owner, in a security-restricted operation: what the owner has
 * attached to the table (index expressions, say) is never run by somebody else.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "message.h"

#define SEGMENT_SCHEMA "dbos_message"

/* On error the abort of the (sub)transaction restores user and settings. */
void
dbos_ddl_begin(DbosDdlScope *scope, Oid owner)
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

void
dbos_ddl_end(DbosDdlScope *scope)
{
	SPI_finish();
	AtEOXact_GUC(false, scope->guc_nest_level);
	SetUserIdAndSecContext(scope->user, scope->security_context);
}

/* One statement; what is put into it must be quoted. */
void
dbos_ddl(const char *format, ...)
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

/* As SQL text, quoted. */
char *
dbos_qualified_name(Oid relation)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation));
}

/*
 * Attached, not made as a partition: that would wait for everybody who uses the mailbox.
 * Nothing of it is vacuumed but against wraparound: it is truncated when it is empty.
 */
void
dbos_segment_create(Oid mailbox, int32 number, const DbosMailboxOptions *options)
{
	char	   *parent = dbos_qualified_name(mailbox);
	Oid			schema = get_namespace_oid(SEGMENT_SCHEMA, false);
	char	   *name = ChooseRelationName(get_rel_name(mailbox), NULL, psprintf("%d", number), schema, false);
	char	   *segment = quote_qualified_identifier(SEGMENT_SCHEMA, name);
	bool		aside = number == DBOS_ASIDE_SEGMENT;

	dbos_ddl("CREATE %s TABLE %s (LIKE %s INCLUDING DEFAULTS) WITH (%s)", options->unlogged ? "UNLOGGED" : "", segment, parent,
		aside ? "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000"
		: "autovacuum_enabled = off, toast.autovacuum_enabled = off");
	dbos_ddl("CREATE INDEX ON %s (id)", segment);
	if (aside)
		dbos_ddl("CREATE INDEX ON %s (visible_at)", segment);
	if (options->ordered)
		dbos_ddl("CREATE INDEX ON %s (" DBOS_LANE_EXPRESSION ", id)", segment);
	dbos_ddl("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES IN (%d)", parent, segment, number);
}

/* Empties a segment that has no row that anybody may still receive; the caller has it locked for that. */
void
dbos_segment_truncate(Oid segment)
{
	dbos_ddl("TRUNCATE ONLY %s", dbos_qualified_name(segment));
}
