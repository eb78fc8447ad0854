/*
 * message_key.c
 *	  Idempotency keys: of two sends with the same key within the window one is a message.
 *
 * A key belongs to (mailbox, sender), so that no role can learn or take another's.  It
 * is taken before the message is written, by a row that the primary key guards: a second send
 * waits for a first that is uncommitted, and takes its place when that aborts.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "message.h"

/*
 * Takes the key for a message with that id, which the caller writes next; or false when it is
 * that of another message of the window, whose id is then in *existing.
 */
bool
dbos_message_key_take(const DbosMailbox *mailbox, text *key, int64 id, int64 *existing)
{
	static DbosPlan take = {
		.sql = "INSERT INTO dbos.message_key AS k (relation, sender, key, message_id, created_at) VALUES ($1, $2, $3, $4, $5)"
		" ON CONFLICT (relation, sender, key) DO UPDATE SET message_id = EXCLUDED.message_id, created_at = EXCLUDED.created_at"
		" WHERE k.created_at OPERATOR(pg_catalog.<) (EXCLUDED.created_at OPERATOR(pg_catalog.-)"
		" (SELECT m.idempotency_window FROM dbos.mailbox m WHERE m.relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid))",
		.nargs = 5,
		.argtypes = {REGCLASSOID, REGROLEOID, TEXTOID, INT8OID, TIMESTAMPTZOID},
	};
	static DbosPlan find = {
		.sql = "SELECT message_id FROM dbos.message_key WHERE relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid"
		" AND sender OPERATOR(pg_catalog.=) $2::pg_catalog.oid AND key OPERATOR(pg_catalog.=) $3",
		.nargs = 3,
		.argtypes = {REGCLASSOID, REGROLEOID, TEXTOID},
	};
	Datum		values[5] = {ObjectIdGetDatum(mailbox->relation), ObjectIdGetDatum(GetUserId()), PointerGetDatum(key),
	Int64GetDatum(id), TimestampTzGetDatum(dbos_now())};
	DbosOwnerScope scope;
	bool		known = false;

	dbos_owner_begin(&scope);
	/* Again when the row that was in the way has gone since, by its age. */
	while (!known && dbos_plan_execute(&take, values, NULL, false, 0) == 0)
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		known = dbos_plan_execute(&find, values, NULL, false, 1) > 0;
		if (known)
			*existing = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	}
	dbos_owner_end(&scope);
	return !known;
}

/* Forgets the keys of a mailbox that are older than its window; in the background. */
void
dbos_message_keys_forget(const DbosMailbox *mailbox)
{
	static DbosPlan plan = {
		.sql = "DELETE FROM dbos.message_key k USING dbos.mailbox m WHERE m.relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid"
		" AND k.relation OPERATOR(pg_catalog.=) $1::pg_catalog.oid"
		" AND k.created_at OPERATOR(pg_catalog.<) ($2 OPERATOR(pg_catalog.-) m.idempotency_window)",
		.nargs = 2,
		.argtypes = {REGCLASSOID, TIMESTAMPTZOID},
	};
	Datum		values[2] = {ObjectIdGetDatum(mailbox->relation), TimestampTzGetDatum(dbos_now())};
	DbosOwnerScope scope;

	dbos_owner_begin(&scope);
	(void) dbos_plan_execute(&plan, values, NULL, false, 0);
	dbos_owner_end(&scope);
}
