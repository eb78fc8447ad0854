/*
 * container.h
 *	  Containers: a tree of names that limits what a session sees.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_CONTAINER_H
#define DBOS_CONTAINER_H

#include "postgres.h"

#include "dbos/kernel.h"

#define DBOS_ROOT_CONTAINER 0

/* Whether outer is inner or one of its ancestors; the root contains all. */
extern bool dbos_container_contains(int32 outer, int32 inner);

/*
 * Keeps a container from being dropped until the end of the transaction; raises
 * when it is gone.  For who writes a row with its id.  The root needs none.
 */
extern void dbos_container_hold(int32 container);

/*
 * A room whose rows carry container ids says whether it has rows of one; a
 * container in use is not dropped.  uses() runs in the session of the drop, with
 * the container's row locked and the newest snapshot active (use read-only
 * plans), and may raise.
 */
extern void dbos_container_register_user(const char *room, bool (*uses) (int32 container));

/* For such a function: whether the query, whose argument is a container, finds a row of whomever. */
extern bool dbos_container_found(DbosPlan *plan, int32 container);

#endif							/* DBOS_CONTAINER_H */
