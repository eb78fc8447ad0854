/*
 * register.c
 *	  The host room says whether there is a host to be seen.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <unistd.h>

#include "host.h"

static void
report_capabilities(DbosReport *rows)
{
	bool		own = access("/proc/self/stat", R_OK) == 0;
	bool		others = own && access("/proc/1/stat", R_OK) == 0;

	dbos_capability_row(rows, "host", own,
						own ? NULL : "The server cannot read /proc.",
						own ? NULL : "Mount /proc where the server runs.");
	dbos_capability_row(rows, "processes of the host", others,
						others ? NULL : "/proc shows the server's own processes alone.",
						others ? NULL : "Mount /proc without hidepid, or put the server's user into its gid.");
}

void
dbos_host_register(void)
{
	dbos_capability_register(report_capabilities);
}
