/*
 * traffic.c
 *	  How many bytes of files this process has read and written.
 *
 * The file room counts, and the task room takes the difference over an attempt, as it does with the
 * server's own counters of buffers.  What is rolled back was read and written too.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "dbos/kernel.h"

DbosFileTraffic dbos_file_traffic = {0};
