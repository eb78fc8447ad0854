/*
 * quantile_sketch.h
 *	  Quantiles of positive numbers to one per cent, from counts in buckets that grow by a
 *	  constant factor: DDSketch (Masson, Rim and Lee, 2019).  Two sketches are merged by adding
 *	  their counts.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_TASK_QUANTILE_SKETCH_H
#define DBOS_TASK_QUANTILE_SKETCH_H

#include "postgres.h"

/* Relative error 0.01: a bucket's bounds are this far apart.  The view function_stats has the same number. */
#define DBOS_SKETCH_GROWTH (1.01 / 0.99)
/* Numbers up to 10^12, eleven days in microseconds; larger ones count as that. */
#define DBOS_SKETCH_BUCKETS 1400

/* The bucket of a number: its values are up to GROWTH to the power of it; 0 for one and less. */
extern int	dbos_sketch_bucket(double value);

#endif							/* DBOS_TASK_QUANTILE_SKETCH_H */
