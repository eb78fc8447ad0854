/*
 * lock_deadlock.c
 *	  Whether those who wait for locks of files wait for each other.
 *
 * Who waits for somebody to give up a lock of a file that he has committed waits for no lock that PostgreSQL's
 * search for deadlocks knows.  So he says whom he waits for, by a lock that is in nobody's way and whose name
 * is the other's process: all can read it in the table of locks, also without shared memory of ours.  After
 * each deadlock_timeout he goes from that process along what it waits for, such a lock or any other,
 * and fails if he comes to himself.  Each circle that has a wait of this kind is found by one of those who
 * wait so; they look one at a time, so that in general one of them fails.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "lock.h"

/* Process 0 is nobody's: that lock is held by who looks. */
static void
wait_tag(LOCKTAG *tag, int process)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, dbos_relation_oid("open_file"), (Oid) process, 0);
}

/* From here to dbos_lock_wait_end(), or to the end of the transaction, all know. */
void
dbos_lock_wait_begin(int process)
{
	LOCKTAG		tag;

	wait_tag(&tag, process);
	(void) LockAcquire(&tag, ShareLock, false, false);
}

void
dbos_lock_wait_end(int process)
{
	LOCKTAG		tag;

	wait_tag(&tag, process);
	LockRelease(&tag, ShareLock, false);
}

/* Those for whose locks of PostgreSQL it waits. */
static List *
blocking_processes(int process)
{
	ArrayType  *array = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(process)));
	Datum	   *values;
	int			count;
	List	   *processes = NIL;

	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT, &values, NULL, &count);
	while (count-- > 0)
		processes = lappend_int(processes, DatumGetInt32(values[count]));
	return processes;
}

/* And for whose locks of files. */
static List *
file_lock_holders(int process, const LockData *locks)
{
	LOCKTAG		like;
	List	   *processes = NIL;

	wait_tag(&like, 0);
	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];
		const LOCKTAG *tag = &lock->locktag;

		if (lock->pid == process && tag->locktag_type == LOCKTAG_OBJECT &&
			tag->locktag_field1 == like.locktag_field1 && tag->locktag_field2 == like.locktag_field2 &&
			tag->locktag_field3 != 0)
			processes = lappend_int(processes, (int) tag->locktag_field3);
	}
	return processes;
}

/* Whether a process waits, perhaps for others in between, for this one. */
static bool
waits_for_us(int process, const LockData *locks)
{
	List	   *processes = list_make1_int(process);

	/* It grows meanwhile. */
	for (int i = 0; i < list_length(processes); i++)
	{
		int			next = list_nth_int(processes, i);

		CHECK_FOR_INTERRUPTS();
		if (next == MyProcPid)
			return true;
		processes = list_concat_unique_int(processes, file_lock_holders(next, locks));
		processes = list_concat_unique_int(processes, blocking_processes(next));
	}
	return false;
}

/* Fails if that process, for whose lock we wait, waits for us; false: somebody else is looking. */
bool
dbos_lock_check_deadlock(int process, int64 inode)
{
	MemoryContext context;
	MemoryContext before;
	LOCKTAG		looking;

	/* Who waited here would be found to wait for who looks, which he does not: he looks another time. */
	wait_tag(&looking, 0);
	if (LockAcquire(&looking, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	context = AllocSetContextCreate(CurrentMemoryContext, "dbos deadlock of file locks", ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(context);
	if (waits_for_us(process, GetLockStatusData()))
		ereport(ERROR,
				errcode(ERRCODE_T_R_DEADLOCK_DETECTED),
				errmsg("deadlock detected"),
				errdetail("Process %d waits for a lock of inode " INT64_FORMAT " that process %d has, which waits for process %d.",
						  MyProcPid, inode, process, MyProcPid));
	LockRelease(&looking, ExclusiveLock, false);
	MemoryContextSwitchTo(before);
	MemoryContextDelete(context);
	return true;
}
