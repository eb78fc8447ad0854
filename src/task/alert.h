/*
 * alert.h
 *	  What is wrong, for dbos.health(), and told when it begins and ends.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_ALERT_H
#define DBOS_TASK_ALERT_H

#include "postgres.h"

#include "dbos/kernel.h"

/* The rows of dbos.health() that come of the view dbos.trouble. */
extern void dbos_trouble_report(DbosReport *rows);

/* A duty: raises alerts of what has begun, clears those of what has ended, and tells who listens. */
extern void dbos_alerts_watch(void *unused);

/* When the next watch is due, after one at this time; 0: never. */
extern TimestampTz dbos_alerts_due(TimestampTz watched_at);

/* Forgets alerts that were cleared before this time.  Inside an owner scope. */
extern void dbos_alerts_forget(TimestampTz before);

#endif							/* DBOS_TASK_ALERT_H */
