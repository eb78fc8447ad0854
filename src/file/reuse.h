/*
 * reuse.h
 *	  Pages that became free, and what makes tables small again.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef REUSE_H
#define REUSE_H

#include "file.h"

/* ---- reuse.c ---- */

extern Size dbos_page_room(Relation relation, BlockNumber block);
extern void dbos_reuse_install(void);

/* ---- vacuum.c ---- */

extern void dbos_vacuum(const char *relation, bool truncate);

/* ---- compact.c ---- */

extern void dbos_upkeep_want(int pages);
extern void dbos_upkeep_duty_register(void);

#endif							/* REUSE_H */
