/*
 * schedule.h
 *	  Schedules: what is known of one, and when one fires.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_SCHEDULE_H
#define DBOS_TASK_SCHEDULE_H

#include "postgres.h"

#include "cron.h"
#include "submission.h"

/* A row of dbos.schedule, in the context that was current when it was read. */
typedef struct DbosSchedule
{
	int64		id;
	char	   *name;
	char	   *cron_text;
	char	   *zone_name;
	DbosCron	cron;			/* once they are parsed */
	pg_tz	   *zone;
	char		kind;			/* of its tasks */
	char	   *function;
	Jsonb	   *args;
	char	   *overlap;
	bool		catch_up;
	TimestampTz next_at;		/* 0: never */
	int64		last_task;		/* 0: none */
	DbosSubmission submission;	/* but for its queue's facts */
	int32		queue_id;
} DbosSchedule;

/* The columns that dbos_schedule_read() reads, of dbos.schedule s. */
#define DBOS_SCHEDULE_COLUMNS \
	"s.id, s.name, s.container_id, s.session_role::pg_catalog.oid, s.role::pg_catalog.oid, s.cron, s.timezone," \
	" s.kind, s.function, s.args, s.queue_id, s.priority, s.partition_key, s.max_attempts, s.retry_delay," \
	" s.retry_backoff, s.timeout, s.attributes, s.overlap, s.catch_up, s.next_at, s.last_task"

/*
 * Whether nobody needs the row of dbos.schedule_run r any more.  That of a queued task
 * says, until it has ended, that it waits for an end and not for a success.
 */
#define DBOS_SCHEDULE_RUN_OVER \
	"(r.outcome OPERATOR(pg_catalog.<>) 'queued' OR NOT EXISTS (SELECT FROM dbos.task t" \
	" WHERE t.shard OPERATOR(pg_catalog.=) pg_catalog.int2(r.task_id OPERATOR(pg_catalog.&) 15)" \
	" AND t.id OPERATOR(pg_catalog.=) r.task_id))"

extern void dbos_schedule_read(HeapTuple row, TupleDesc desc, DbosSchedule *schedule);

/* Raises what is wrong with its times, as a time zone that the server does not know any more. */
extern void dbos_schedule_parse(DbosSchedule *schedule);

/* The first time after this one; 0: there is none. */
extern TimestampTz dbos_schedule_next(const DbosSchedule *schedule, TimestampTz after);

/*
 * Submits its task, after another one has ended, however it ends, or at once (0).  As
 * whoever made the schedule; what that role may do is looked at when the task runs.
 * Inside an owner scope.  Raises when the queue or the container is gone.
 */
extern int64 dbos_schedule_submit(DbosSchedule *schedule, int64 after);

/* ---- schedule_fire.c: duties of the scheduler ---- */

/* Fires one schedule that is due; *argument, a bool, says that there may be more. */
extern void dbos_schedule_fire(void *argument);

/* When the next one is due; 0: none is.  Inside an owner scope. */
extern TimestampTz dbos_schedules_due(void);

/* Whether a task waits for the end of another, and not for its success.  Inside an owner scope. */
extern bool dbos_schedule_queued(int64 task);

/* Forgets the history of runs before this time.  Inside an owner scope. */
extern void dbos_schedule_runs_forget(TimestampTz before);

#endif							/* DBOS_TASK_SCHEDULE_H */
