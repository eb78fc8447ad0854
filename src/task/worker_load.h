/*
 * worker_load.h
 *	  How busy each worker was during the last minute.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_WORKER_LOAD_H
#define DBOS_TASK_WORKER_LOAD_H

#include "postgres.h"

#include "task.h"

extern void dbos_worker_load_add(DbosWorker *worker, int tasks, TimestampTz now);

#endif							/* DBOS_TASK_WORKER_LOAD_H */
