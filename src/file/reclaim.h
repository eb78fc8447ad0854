/*
 * reclaim.h
 *	  What no snapshot and no file needs is deleted.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef RECLAIM_H
#define RECLAIM_H

extern void dbos_reclaim_want(void);	/* from the commit of this transaction on there may be something */
extern void dbos_reclaim_duty_register(void);

#endif							/* RECLAIM_H */
