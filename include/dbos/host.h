/*
 * host.h
 *	  The machine below the server, as tables.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_HOST_H
#define DBOS_HOST_H

extern void dbos_host_register(void);

#endif							/* DBOS_HOST_H */
