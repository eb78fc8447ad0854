/*
 * settings.c
 *	  Every setting of dbos, in one list.
 *
 * A setting is added only with the reason why the system cannot find the value
 * by itself; the reason is the comment above it.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"

#include "dbos/kernel.h"

int			dbos_max_workers = -1;
int			dbos_task_crash_limit = 5;
int			dbos_alert_after = 60;
int			dbos_task_history_days = 30;
int			dbos_task_history_megabytes = 10240;
int			dbos_task_queue_entries = 65536;
int			dbos_task_wait_timeout = 60000;
double		dbos_task_decision_sampling = 0.01;
bool		dbos_file_access_times = true;
bool		dbos_shared_memory = true;
#ifdef DBOS_TESTING
int			dbos_clock_offset = 0;
#endif
int			dbos_segment_pages = 4096;

void
dbos_settings_define(void)
{
	/* Without preload the server lets nobody define what only its start may set. */
	GucContext	at_start = process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP;

	/* Only the administrator knows how much of the machine is for others. */
	DefineCustomIntVariable("dbos.max_workers",
							"Most worker processes that run tasks at once, over all databases.",
							"-1 takes what max_worker_processes has left, less two slots for others.",
							&dbos_max_workers, -1, -1, 1024,
							PGC_SIGHUP, 0, NULL, NULL, NULL);

	/* A policy: how often may a task take a process down before it is given up. */
	DefineCustomIntVariable("dbos.task_crash_limit",
							"Crashes of the worker after which a task fails.",
							"The greater of this and the task's max_attempts applies.",
							&dbos_task_crash_limit, 5, 1, INT_MAX,
							PGC_SIGHUP, 0, NULL, NULL, NULL);

	/* What is long, who waits for it decides. */
	DefineCustomIntVariable("dbos.alert_after",
							"How long ready tasks of a queue wait, with none of it running, before that is a trouble.",
							"Open transactions may last five times as long, dead rows ten times. It is also how often is looked for"
							" what dbos.alerts shall tell; 0 looks never.",
							&dbos_alert_after, 60, 0, INT_MAX / 10,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);

	/* How long the past must be kept is law or custom, not a measurement. */
	DefineCustomIntVariable("dbos.task_history_days",
							"Days for which finished tasks are kept.",
							NULL,
							&dbos_task_history_days, 30, 1, 36500,
							PGC_SIGHUP, 0, NULL, NULL, NULL);

	/* What the disk is for, only its owner knows. */
	DefineCustomIntVariable("dbos.task_history_size",
							"Size beyond which the oldest finished tasks are dropped.",
							"The newest partition is always kept.",
							&dbos_task_history_megabytes, 10240, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);

	/* Shared memory is sized before the first task is seen. */
	DefineCustomIntVariable("dbos.task_queue_entries",
							"Tasks that the shared run queue can hold; beyond it the table is read in windows.",
							"Each entry takes 24 bytes of shared memory.",
							&dbos_task_queue_entries, 65536, 256, 16 * 1024 * 1024,
							at_start, 0, NULL, NULL, NULL);

	/* A SELECT that waits holds back vacuum: how long that is borne is a decision. */
	DefineCustomIntVariable("dbos.wait_timeout",
							"How long a function that waits does so when it is given no time-out.",
							NULL,
							&dbos_task_wait_timeout, 60000, 1, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);

	/* How much of the record is wanted for learning is the user's trade of space. */
	DefineCustomRealVariable("dbos.task_decision_sampling",
							 "Share of scheduling choices that are recorded in dbos.decisions.",
							 NULL,
							 &dbos_task_decision_sampling, 0.01, 0.0, 1.0,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);

	/* Whether it is worth a write, who reads knows: a backup that reads all makes nothing hot by that. */
	DefineCustomBoolVariable("dbos.file_access_times",
							 "Whether it is noted when files were read, where none was since they were written or for a day.",
							 NULL,
							 &dbos_file_access_times, true,
							 PGC_USERSET, 0, NULL, NULL, NULL);

	/* For tests: proves that shared memory holds hints and tables the truth. */
	DefineCustomBoolVariable("dbos.shared_memory",
							 "Whether shared memory is used; off is for tests.",
							 NULL,
							 &dbos_shared_memory, true,
							 at_start, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);

#ifdef DBOS_TESTING
	/* Lets a test move the clock of every process by a reload. */
	DefineCustomIntVariable("dbos.clock_offset",
							"Seconds added to the clock, in test builds.",
							NULL,
							&dbos_clock_offset, 0, INT_MIN, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S | GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	/* Lets a test fill segments with few messages. */
	DefineCustomIntVariable("dbos.segment_pages",
							"Pages of a segment of a mailbox, in test builds.",
							NULL,
							&dbos_segment_pages, 4096, 1, INT_MAX / 1024,
							PGC_SIGHUP, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
#endif

	MarkGUCPrefixReserved("dbos");
}
