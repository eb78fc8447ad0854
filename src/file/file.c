/*
 * file.c
 *	  The file room registers.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "open_file.h"
#include "plan.h"
#include "reclaim.h"
#include "reuse.h"
#include "usage.h"
#include "visible.h"

void
dbos_file_register(void)
{
	dbos_usage_install();
	dbos_accessed_install();
	dbos_open_file_sweep_register();
	dbos_fold_duty_register();
	dbos_quota_install();
	dbos_reuse_install();
	dbos_upkeep_duty_register();
	dbos_file_system_register();
	dbos_reclaim_duty_register();
	dbos_directory_cache_install();
	dbos_large_object_install();
	dbos_visible_install();
	dbos_plan_install();
}
