/*
 * quantile_sketch.c
 *	  The buckets of a sketch; quantiles are read from tables by SQL (sql/task_profile.sql).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <math.h>

#include "quantile_sketch.h"

int
dbos_sketch_bucket(double value)
{
	static double scale = 0;

	if (scale == 0)
		scale = 1 / log(DBOS_SKETCH_GROWTH);
	if (!(value > 1))
		return 0;
	return (int) Min(ceil(log(value) * scale), DBOS_SKETCH_BUCKETS - 1);
}
