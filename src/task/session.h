/*
 * session.h
 *	  The session of an executor: its transactions, its role, and what is left in it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_SESSION_H
#define DBOS_TASK_SESSION_H

#include "postgres.h"

/* A plain transaction, whatever ALTER ROLE and ALTER DATABASE say, with an active snapshot. */
extern void dbos_session_begin(void);
extern void dbos_session_commit(void);
extern void dbos_session_commit_unflushed(void);

/*
 * Sets the role of a task, after the server's own checks; local: until the
 * transaction's end.  Raises 42704 when the role is gone, 42501 when the session's
 * user may not become it any more.
 */
extern void dbos_session_assume_role(Oid role, bool local);

/* After a task, outside of a transaction: the next one finds a session as after login. */
extern void dbos_session_clean(void);

#endif							/* DBOS_TASK_SESSION_H */
