/*
 * plan.h
 *	  What the planner asks of paths, and the paths that it gets; see plan.c and path_functions.c.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PLAN_H
#define PLAN_H

#include "file.h"

extern bool dbos_path_estimate(text *prefix, Snapshot snapshot, int directories_max, double *names);
extern void dbos_plan_install(void);

#endif							/* PLAN_H */
