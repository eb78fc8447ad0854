# Random ids added to and taken from the set of those that may have a message: none is ever missing, and the set stays sorted, disjoint and bounded.
# SPDX-License-Identifier: PostgreSQL
#
# ready_set.c is pure: it is compiled by itself, with a program that does the same to a table of bits.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{DBOS_TORTURE} ? 20_000 : 2_000;
my $seed = $ENV{DBOS_SEED} || time;
note("seed $seed, for DBOS_SEED");
my $folder = PostgreSQL::Test::Utils::tempdir;
my $source = "$ENV{DBOS_SOURCE}/../src/src/message";
my $config = $ENV{DBOS_PG_CONFIG} || 'pg_config';
chomp(my $headers = `$config --includedir-server`);

append_to_file("$folder/oracle.c", <<'C');
#include "postgres.h"

#include <stdlib.h>

#include "ready_set.h"

/* PostgreSQL has one of its own, in a library that we do without. */
#undef printf

#define IDS 2000
#define SEGMENTS 4

static int	needed[IDS];		/* 0: need not be named; else its segment, + 1 */
static DbosReadySet set;
static long step;

static void
fail(const char *what, int64 id)
{
	printf("step %ld: %s at id %ld\n", step, what, (long) id);
	for (int i = 0; i < set.count; i++)
		printf("  %ld..%ld in %d\n", (long) set.ranges[i].lo, (long) set.ranges[i].hi, set.ranges[i].segment);
	exit(1);
}

static void
check(void)
{
	int			at = 0;

	if (set.count < 0 || set.count > DBOS_READY_RANGES)
		fail("not bounded", set.count);
	for (int i = 0; i < set.count; i++)
	{
		if (set.ranges[i].lo > set.ranges[i].hi)
			fail("an empty range", set.ranges[i].lo);
		if (i > 0 && set.ranges[i - 1].hi >= set.ranges[i].lo)
			fail("not sorted, or not disjoint", set.ranges[i].lo);
		if (set.ranges[i].segment < DBOS_ANY_SEGMENT || set.ranges[i].segment >= SEGMENTS)
			fail("an unknown segment", set.ranges[i].lo);
	}
	for (int64 id = 0; id < IDS; id++)
	{
		if (needed[id] == 0)
			continue;
		while (at < set.count && set.ranges[at].hi < id)
			at++;
		if (at == set.count || set.ranges[at].lo > id)
			fail("missing", id);
		if (set.ranges[at].segment != DBOS_ANY_SEGMENT && set.ranges[at].segment != needed[id] - 1)
			fail("named in another segment", id);
	}
}

static void
add(void)
{
	DbosIdRange range;
	int			kind = random() % 100;

	range.lo = random() % IDS;
	range.hi = range.lo + (kind < 60 ? 0 : kind < 95 ? random() % 20 : random() % IDS);
	range.hi = Min(range.hi, IDS - 1);
	/* An id has the segment that it has: mostly ids that are near each other the same. */
	range.segment = range.lo * SEGMENTS / IDS;
	if (range.hi * SEGMENTS / IDS != range.segment || kind == 99)
		range.segment = DBOS_ANY_SEGMENT;
	for (int64 id = range.lo; id <= range.hi; id++)
		if (range.segment != DBOS_ANY_SEGMENT || random() % 2)
			needed[id] = id * SEGMENTS / IDS + 1;
	dbos_ready_add(&set, range);
}

/* Takes some; a receiver that is rolled back adds them again. */
static void
take(void)
{
	static const int64 sizes[] = {1, 1, 2, 10, 1000, INT64CONST(1) << 40};
	int64		most = sizes[random() % lengthof(sizes)];
	int64		first = set.count > 0 ? set.ranges[0].lo : -1;
	DbosIdRange taken;
	bool		back = random() % 3 == 0;

	if (!dbos_ready_take(&set, most, &taken))
	{
		if (first >= 0)
			fail("nothing taken of a set that is not empty", first);
		return;
	}
	if (taken.lo != first)
		fail("not the lowest was taken", taken.lo);
	if (taken.lo > taken.hi || taken.hi - taken.lo >= most)
		fail("more was taken than was asked for", taken.hi);
	for (int64 id = taken.lo; id <= taken.hi && id < IDS; id++)
	{
		if (needed[id] != 0 && taken.segment != DBOS_ANY_SEGMENT && taken.segment != needed[id] - 1)
			fail("taken in another segment", id);
		if (!back)
			needed[id] = 0;
	}
	if (back)
		dbos_ready_add(&set, taken);
}

int
main(int argc, char **argv)
{
	long		rounds = atol(argv[1]);

	srandom(atol(argv[2]));
	for (long round = 0; round < rounds; round++)
	{
		int			adds = random() % 100;

		memset(needed, 0, sizeof(needed));
		memset(&set, 0, sizeof(set));
		for (int i = 0; i < 300; i++, step++)
		{
			if (random() % 100 < adds)
				add();
			else
				take();
			check();
		}
	}
	/* The ends of the numbers there are. */
	memset(&set, 0, sizeof(set));
	memset(needed, 0, sizeof(needed));
	for (int i = 0; i < 3 * DBOS_READY_RANGES; i++)
		dbos_ready_add(&set, (DbosIdRange) {.lo = PG_INT64_MAX - 2 * i, .hi = PG_INT64_MAX - 2 * i, .segment = i % 3});
	dbos_ready_add(&set, (DbosIdRange) {.lo = 1, .hi = PG_INT64_MAX, .segment = DBOS_ANY_SEGMENT});
	if (set.count != 1 || set.ranges[0].lo != 1 || set.ranges[0].hi != PG_INT64_MAX)
		fail("all is not all", set.count);
	printf("%ld steps\n", step);
	return 0;
}
C

ok(-f "$source/ready_set.c", 'there is what is to be tested') or BAIL_OUT("no $source/ready_set.c");
my $built = system('gcc', '-O1', '-g', '-std=gnu11', '-fsanitize=undefined', '-fno-sanitize-recover=all', '-I', $headers, '-I', $source,
	'-o', "$folder/oracle", "$folder/oracle.c", "$source/ready_set.c");
$built = system('gcc', '-O1', '-std=gnu11', '-I', $headers, '-I', $source, '-o', "$folder/oracle", "$folder/oracle.c", "$source/ready_set.c") if $built != 0;
is($built, 0, 'it compiles by itself');
my $said = `$folder/oracle $rounds $seed`;
is($?, 0, 'the set names what it must') or diag($said);
note($said);
done_testing();
