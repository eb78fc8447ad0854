/*
 * pairing_heap.h
 *	  A pairing heap of indices into an array, to be included with its parameters.
 *
 * After Fredman, Sedgewick, Sleator and Tarjan, 1986.  The server's own one links
 * by pointers and keeps a pointer to its comparison, which is not the same address
 * in every process that uses our shared memory.
 *
 * Parameters, undefined again at the end:
 *	  HEAP_PREFIX		names: PREFIX_meld, PREFIX_pop, PREFIX_cut
 *	  HEAP_LINK(i)		the DbosHeapLink of element i, an lvalue
 *	  HEAP_BEFORE(a, b)	whether element a comes before element b
 *
 * A root has neither sibling nor previous.  An empty heap is DBOS_NOBODY.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#define HEAP_NAME_(prefix, name) CppConcat(prefix, name)
#define HEAP_NAME(name) HEAP_NAME_(HEAP_PREFIX, name)

/* One heap of two, either of which may be empty; the later root becomes the first child of the earlier. */
static inline int32
HEAP_NAME(_meld) (int32 a, int32 b)
{
	int32		child;

	if (a == DBOS_NOBODY || b == DBOS_NOBODY)
		return a == DBOS_NOBODY ? b : a;
	if (HEAP_BEFORE(b, a))
	{
		int32		swap = a;

		a = b;
		b = swap;
	}
	child = HEAP_LINK(a).child;
	HEAP_LINK(b).sibling = child;
	HEAP_LINK(b).previous = a;
	if (child != DBOS_NOBODY)
		HEAP_LINK(child).previous = b;
	HEAP_LINK(a).child = b;
	HEAP_LINK(a).sibling = DBOS_NOBODY;
	HEAP_LINK(a).previous = DBOS_NOBODY;
	return a;
}

/*
 * What is left without the root: its children are melded in pairs, and the pairs
 * one after the other from the last to the first; by loops, since a heap can be
 * as wide as the array.
 */
static inline int32
HEAP_NAME(_pop) (int32 root)
{
	int32		child = HEAP_LINK(root).child;
	int32		pairs = DBOS_NOBODY;	/* melded, the last one first */
	int32		rest = DBOS_NOBODY;

	while (child != DBOS_NOBODY)
	{
		int32		pair = child;
		int32		second = HEAP_LINK(child).sibling;

		child = second == DBOS_NOBODY ? DBOS_NOBODY : HEAP_LINK(second).sibling;
		HEAP_LINK(pair).sibling = HEAP_LINK(pair).previous = DBOS_NOBODY;
		if (second != DBOS_NOBODY)
		{
			HEAP_LINK(second).sibling = HEAP_LINK(second).previous = DBOS_NOBODY;
			pair = HEAP_NAME(_meld) (pair, second);
		}
		HEAP_LINK(pair).sibling = pairs;
		pairs = pair;
	}
	while (pairs != DBOS_NOBODY)
	{
		int32		next = HEAP_LINK(pairs).sibling;

		HEAP_LINK(pairs).sibling = DBOS_NOBODY;
		rest = HEAP_NAME(_meld) (rest, pairs);
		pairs = next;
	}
	HEAP_LINK(root).child = DBOS_NOBODY;
	return rest;
}

/* Takes an element that is not the root out of its heap, with what is below it. */
static inline void
HEAP_NAME(_cut) (int32 element)
{
	int32		previous = HEAP_LINK(element).previous;
	int32		sibling = HEAP_LINK(element).sibling;

	if (HEAP_LINK(previous).child == element)
		HEAP_LINK(previous).child = sibling;
	else
		HEAP_LINK(previous).sibling = sibling;
	if (sibling != DBOS_NOBODY)
		HEAP_LINK(sibling).previous = previous;
	HEAP_LINK(element).sibling = HEAP_LINK(element).previous = DBOS_NOBODY;
}

#undef HEAP_NAME_
#undef HEAP_NAME
#undef HEAP_PREFIX
#undef HEAP_LINK
#undef HEAP_BEFORE
