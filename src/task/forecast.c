/*
 * forecast.c
 *	  What a task is expected to take, from what others of its function took.
 *
 * Expectations are powers of two in microseconds, from FLOOR on, so that tasks of one
 * quick function keep the order in which they were submitted; and one is changed only
 * when the mean has left it by a good deal.  The table in shared memory holds one
 * word for a function, hash and exponent, read and written without a lock: a hint
 * that a crash forgets and the next tasks teach again.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <math.h>

#include "policy.h"
#include "task.h"

/* Expected of a function that nothing is known of, and the least that is told apart: 1.024 ms. */
#define FLOOR_EXPONENT	10
#define CEILING_EXPONENT 30
#define EXPONENT_MASK	UINT64CONST(0xff)
/* Words looked at for a function before one is given up for it. */
#define PROBES			4
/* Means that this process keeps. */
#define OWN_MEANS		256
#define MEAN_WEIGHT		0.2
/* How far, in powers of two, the mean is from the expectation before that follows. */
#define PATIENCE		0.75

typedef struct OwnMean
{
	uint64		function;
	double		exponent;		/* the binary logarithm of the mean, in microseconds */
	int			told;			/* what shared memory was told; 0: nothing */
} OwnMean;

static OwnMean own[OWN_MEANS];

static pg_atomic_uint64 *
word_of(uint64 function, int probe)
{
	return &dbos_task_shared->forecasts[(function >> 8) % (DBOS_FORECASTS - PROBES) + probe];
}

static int
shared_exponent(uint64 function)
{
	if (dbos_task_shared == NULL)
		return 0;
	for (int i = 0; i < PROBES; i++)
	{
		uint64		word = pg_atomic_read_u64(word_of(function, i));

		if (((word ^ function) & ~EXPONENT_MASK) == 0 && (word & EXPONENT_MASK) != 0)
			return word & EXPONENT_MASK;
	}
	return 0;
}

int32
dbos_forecast(uint64 function)
{
	const OwnMean *mean = &own[function % OWN_MEANS];
	int			exponent = shared_exponent(function);

	if (exponent == 0 && mean->function == function)
		exponent = mean->told;
	return 1 << Min(Max(exponent, FLOOR_EXPONENT), CEILING_EXPONENT);
}

static void
tell(uint64 function, int exponent)
{
	pg_atomic_uint64 *at = NULL;

	if (dbos_task_shared == NULL)
		return;
	for (int i = 0; i < PROBES; i++)
	{
		uint64		word = pg_atomic_read_u64(word_of(function, i));

		if (((word ^ function) & ~EXPONENT_MASK) == 0 || (word == 0 && at == NULL))
			at = word_of(function, i);
	}
	/* All are others': one of them gives way. */
	if (at == NULL)
		at = word_of(function, function % PROBES);
	pg_atomic_write_u64(at, (function & ~EXPONENT_MASK) | exponent);
}

void
dbos_forecast_observe(uint64 function, int64 microseconds)
{
	OwnMean    *mean = &own[function % OWN_MEANS];
	double		exponent = log2(Max(microseconds, 1));

	if (mean->function != function)
	{
		mean->function = function;
		mean->told = shared_exponent(function);
		mean->exponent = mean->told != 0 ? mean->told : exponent;
	}
	mean->exponent += (exponent - mean->exponent) * MEAN_WEIGHT;
	exponent = Min(Max(mean->exponent, FLOOR_EXPONENT), CEILING_EXPONENT);
	if (mean->told != 0 && fabs(exponent - mean->told) < PATIENCE)
		return;
	mean->told = (int) rint(exponent);
	tell(function, mean->told);
}
