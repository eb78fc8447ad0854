/*
 * function_profile.h
 *	  How often each function ran as a task, failed, and how long it took.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_FUNCTION_PROFILE_H
#define DBOS_TASK_FUNCTION_PROFILE_H

#include "postgres.h"

#include "member.h"

typedef struct DbosProfile DbosProfile;

/* Of the member's function, role, container and size of arguments; valid until it is written. */
extern DbosProfile *dbos_profile_of(const DbosMember *member);

/* An attempt of it has ended, and that is committed. */
extern void dbos_profile_count(DbosProfile *profile, TimestampTz started_at, TimestampTz finished_at, bool failed);

/* In how many ms what was observed should be written, 0: now; -1: there is nothing. */
extern long dbos_profile_due(TimestampTz now, bool idle);

/* Writes it into the table, in transactions of its own, and forgets it. */
extern void dbos_profile_write(void);

/* Forgets profiles of before this time.  Inside an owner scope. */
extern void dbos_profiles_forget(TimestampTz before);

#endif							/* DBOS_TASK_FUNCTION_PROFILE_H */
