/*
 * scheduler.h
 *	  The policy as a query, and the care for history.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_SCHEDULER_H
#define DBOS_SCHEDULER_H

#include "postgres.h"

/*
 * The choice of the next tasks of one login role in one queue: fifo within
 * priority, from the last key that the run queue has.  $1 queue, $2 login role,
 * $3 and $4 that key, $5 rows.
 */
#define DBOS_POLICY_QUERY \
	"SELECT priority, id FROM dbos.task" \
	" WHERE queue_id OPERATOR(pg_catalog.=) $1 AND session_role OPERATOR(pg_catalog.=) $2 AND NOT held" \
	" AND ROW(priority, id) OPERATOR(pg_catalog.>) ROW($3, $4)" \
	" ORDER BY priority, id LIMIT $5"

/* ---- retention.c ---- */

/* Makes the partitions that are needed next and drops what is too old or too much. */
extern void dbos_history_retain(void *unused);

#endif							/* DBOS_SCHEDULER_H */
