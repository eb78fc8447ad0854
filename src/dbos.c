/*
 * dbos.c
 *	  _PG_init, and nothing else: it asks each room to register itself.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "dbos/file.h"
#include "dbos/host.h"
#include "dbos/kernel.h"
#include "dbos/message.h"
#include "dbos/task.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	dbos_kernel_register();
	dbos_host_register();
	dbos_task_register();
	dbos_message_register();
	dbos_file_register();
	if (process_shared_preload_libraries_in_progress)
		dbos_shared_install_hooks();
}
