/*
 * kernel.c
 *	  Registration of the ground floor.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "dbos/kernel.h"

void
dbos_kernel_register(void)
{
	dbos_settings_define();
	dbos_context_install();
	dbos_wake_install();
}
