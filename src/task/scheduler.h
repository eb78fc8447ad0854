/*
 * scheduler.h
 *	  What the duties of a scheduler share.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_SCHEDULER_H
#define DBOS_SCHEDULER_H

#include "postgres.h"

#include "policy.h"

/* Rows that one statement of a duty takes at once. */
#define DBOS_CHUNK 1000

/* ---- scheduler.c ---- */

/* What could not be done is tried again after this. */
#define DBOS_LOOK_AGAIN_MS 1000

/* Reset at the begin of each round. */
extern MemoryContext dbos_round_context;

/* Runs a duty in a transaction of its own; its error is logged, and it is tried again later. */
extern void dbos_do_duty(const char *what, void (*duty) (void *), void *argument);

/* There will be a round after DBOS_LOOK_AGAIN_MS. */
extern void dbos_look_again(void);

/* What the last statement returned: ids, in the round's context; and tasks that are ready, for the run queue. */
extern int64 *dbos_ids_returned(uint64 count);
extern void dbos_push_returned(uint64 count);

/* ---- due.c: what the clock makes ready, or ends ---- */

/* Does it; true when a full chunk of tasks was released, or a schedule fired. */
extern bool dbos_handle_clock(void);

/* A duty: when it does so next, or 0, into a TimestampTz. */
extern void dbos_find_next_due(void *due);

/* ---- dependency.c: what the end of a task means for those that wait for it ---- */

/* Acts on what this database's transactions told at their commits; true when there was something. */
extern bool dbos_handle_events(void);

/* Looks at the tasks that wait for one that ended; for 0, for any that ended. */
extern void dbos_check_dependents_of(int64 ended);

/* They are all looked at again, a little later. */
extern void dbos_check_all_again(void);

/* ---- cancel.c: written cancels ---- */

/* Ends the task, if there is one and nobody has its row. */
extern void dbos_end_cancelled(int64 task);

/* The next dbos_handle_cancels() goes over all. */
extern void dbos_look_at_cancels(void);

/* Goes over all that are left, now and then; when it does so next, or 0 when none is. */
extern TimestampTz dbos_handle_cancels(void);

/* ---- refill.c: from the table into the run queue ---- */

/*
 * The window of tasks of one login role in one queue and partition from which the next
 * is chosen, beginning after the last key that the run queue has.  $1 queue, $2 login
 * role, $3 and $4 that key, $5 rows, $6 hash of the partition.
 */
#define DBOS_WINDOW_START \
	"SELECT " DBOS_READY_COLUMNS " FROM dbos.task t" \
	" WHERE t.queue_id OPERATOR(pg_catalog.=) $1 AND t.session_role OPERATOR(pg_catalog.=) $2 AND NOT t.held" \
	" AND ROW(t.priority, t.id) OPERATOR(pg_catalog.>) ROW($3, $4)"
#define DBOS_WINDOW_END " ORDER BY t.priority, t.id LIMIT $5"
#define DBOS_PARTITION_HASH \
	"(pg_catalog.hashtextextended(t.partition_key COLLATE pg_catalog.\"C\", 0) OPERATOR(pg_catalog.|) 1)"
#define DBOS_WINDOW_WITHOUT_PARTITION \
	DBOS_WINDOW_START " AND t.partition_key IS NULL" DBOS_WINDOW_END
#define DBOS_WINDOW_OF_PARTITION \
	DBOS_WINDOW_START " AND t.partition_key IS NOT NULL AND " DBOS_PARTITION_HASH " OPERATOR(pg_catalog.=) $6" DBOS_WINDOW_END

/* Finds who has ready tasks at all. */
extern void dbos_find_lanes(void *unused);

/* Reads what lanes that come to their end have in the table; true when there were any. */
extern bool dbos_refill_lanes(void);

/* ---- retention.c ---- */

/* Makes the partitions that are needed next and drops what is too old or too much. */
extern void dbos_history_retain(void *unused);

#endif							/* DBOS_SCHEDULER_H */
