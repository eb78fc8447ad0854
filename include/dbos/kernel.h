/*
 * kernel.h
 *	  The ground floor: what every room of dbos stands on.
 *
 * Settings, the shared memory area, the acting context, wake-ups at commit,
 * catalog OIDs, kept plans that run as dbos_owner, a clock that tests can
 * drive, and stop points.  Nothing here knows of tasks, files or messages.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_KERNEL_H
#define DBOS_KERNEL_H

#include "postgres.h"

#include "dbos/compat/compat.h"
#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/guc.h"

/* The version of the library; the SQL side's stands in pg_extension. */
#ifndef DBOS_VERSION
#error "DBOS_VERSION comes from dbos.control by the Makefile"
#endif

/* SQLSTATE class DB: errors that a client branches on. */
#define ERRCODE_DBOS_TASK_NOT_FINISHED	MAKE_SQLSTATE('D', 'B', '0', '0', '1')
#define ERRCODE_DBOS_TASK_CRASHED		MAKE_SQLSTATE('D', 'B', '0', '0', '2')
#define ERRCODE_DBOS_TASK_CANCELLED		MAKE_SQLSTATE('D', 'B', '0', '0', '3')
#define ERRCODE_DBOS_DEPENDENCY_FAILED	MAKE_SQLSTATE('D', 'B', '0', '0', '4')
#define ERRCODE_DBOS_WAIT_TIMEOUT		MAKE_SQLSTATE('D', 'B', '0', '0', '5')
#define ERRCODE_DBOS_DEADLINE			MAKE_SQLSTATE('D', 'B', '0', '0', '6')
#define ERRCODE_DBOS_VERSION_MISMATCH	MAKE_SQLSTATE('D', 'B', '0', '0', '7')
#define ERRCODE_DBOS_PAUSED_COPY		MAKE_SQLSTATE('D', 'B', '0', '0', '8')
#define ERRCODE_DBOS_NOT_A_DIRECTORY	MAKE_SQLSTATE('D', 'B', '0', '0', '9')
#define ERRCODE_DBOS_IS_A_DIRECTORY		MAKE_SQLSTATE('D', 'B', '0', '1', '0')
#define ERRCODE_DBOS_NOT_EMPTY			MAKE_SQLSTATE('D', 'B', '0', '1', '1')
#define ERRCODE_DBOS_TOO_MANY_LINKS		MAKE_SQLSTATE('D', 'B', '0', '1', '2')

/* ---- settings.c: every setting of dbos, each with the reason why it exists ---- */

extern int	dbos_max_workers;
extern int	dbos_alert_after;
extern int	dbos_task_crash_limit;
extern int	dbos_task_history_days;
extern int	dbos_task_history_megabytes;
extern int	dbos_task_queue_entries;
extern int	dbos_task_wait_timeout;
extern double dbos_task_decision_sampling;
extern bool dbos_file_access_times;
extern bool dbos_shared_memory;
extern int	dbos_segment_pages;
extern void dbos_settings_define(void);

/* ---- shared_memory.c: one area, a slot per room ---- */

/*
 * A room registers its slot from _PG_init.  size() is asked once, with true
 * when the library is preloaded (the size is then reserved at server start) and
 * false when the slot must fit into the slack of a running server.  init() runs
 * once, under AddinShmemInitLock, on zeroed memory.
 */
typedef struct DbosSharedSlot
{
	const char *room;
	Size		(*size) (bool preloaded);
	void		(*init) (void *slot, bool preloaded);
	void	  **slot;			/* set to the slot's address on attach */
} DbosSharedSlot;

extern void dbos_shared_register(const DbosSharedSlot *slot);
extern void dbos_shared_install_hooks(void);
extern bool dbos_shared_attach(void);
extern bool dbos_shared_attached(void);
extern bool dbos_preloaded(void);
extern const char *dbos_shared_reason(void);

/* A lock of ours inside shared memory: one tranche, named "dbos". */
extern void dbos_lwlock_initialize(LWLock *lock);

/* ---- acting_context.c: done by whom, as part of what ---- */

typedef struct DbosActingContext
{
	Oid			session_role;
	Oid			role;
	int64		task;			/* 0: no task */
	int32		container;		/* 0: the root container */
	char		purpose[NAMEDATALEN];	/* empty: none stated */
} DbosActingContext;

extern DbosActingContext dbos_acting_context(void);
extern int64 dbos_context_task(void);
extern int32 dbos_context_container(void);

/* Session-level, undone when the (sub)transaction that set it rolls back. */
extern void dbos_context_set_container(int32 container);

/* Around one task in an executor; end is called also after an error. */
extern void dbos_context_begin_task(int64 task, int32 container);
extern void dbos_context_end_task(void);
extern void dbos_context_install(void);

/* ---- wake_up.c: set latches of exactly the waiting backends at commit ---- */

/*
 * At commit of the current top-level transaction set the latch of a backend.
 * Dropped when the subtransaction that asked for it rolls back.
 */
extern void dbos_wake_at_commit(int proc_number);
extern void dbos_wake_now(int proc_number, int pid);
extern void dbos_wake_install(void);

/* ---- idle.c: waits inside the server that are no waits for locks ---- */
extern void dbos_idle_set_hooks(void (*begin) (void), void (*end) (void));
extern void dbos_idle_begin(void);
extern void dbos_idle_end(void);

/* ---- owner.c: our own tables, as dbos_owner, by kept plans ---- */

/*
 * Between begin and end the current user is dbos_owner, in a security-restricted
 * operation with a pinned search_path; on error the transaction's abort restores
 * it.  SPI is connected inside.  user is who called.
 */
typedef struct DbosOwnerScope
{
	Oid			user;
	int			security_context;
	int			guc_nest_level;
} DbosOwnerScope;

extern void dbos_owner_begin(DbosOwnerScope *scope);
extern void dbos_owner_end(DbosOwnerScope *scope);

#define DBOS_PLAN_MAX_ARGS 24

/* A fixed statement over our own tables; prepared at first use, kept for the session. */
typedef struct DbosPlan
{
	const char *sql;
	int			nargs;
	Oid			argtypes[DBOS_PLAN_MAX_ARGS];
	SPIPlanPtr	plan;
} DbosPlan;

/* SPI_execute_plan of a kept plan; raises an error on any failure; returns the row count. */
extern uint64 dbos_plan_execute(DbosPlan *plan, Datum *values, const char *nulls,
								bool read_only, long limit);

/* ---- catalog.c: OIDs of our own objects, cached, invalidated ---- */

extern Oid	dbos_schema_oid(bool missing_ok);
extern Oid	dbos_owner_oid(void);
extern Oid	dbos_relation_oid(const char *name);	/* of schema dbos; kept in a small cache */
extern Oid	dbos_role_oid(const char *name, bool missing_ok);
extern bool dbos_is_admin(Oid role);	/* member of dbos_admin, or superuser */
extern bool dbos_is_monitor(Oid role);	/* member of dbos_monitor or dbos_admin, or superuser */
extern bool dbos_extension_present(void);
extern void dbos_require_same_version(void);
extern char *dbos_sql_version(bool missing_ok);

/* ---- clock.c ---- */

/* The wall clock, unless a test drives it. */
extern TimestampTz dbos_now(void);

/* ---- stop_point.c: named points where a test can hold a process ---- */

#ifdef DBOS_TESTING
extern int	dbos_clock_offset;
extern void dbos_stop_point(const char *name);
#else
#define dbos_stop_point(name) ((void) 0)
#endif

/* ---- identity.c: the database that a set of tables belongs to ---- */

extern bool dbos_identity_matches(void);
extern void dbos_identity_take(void);
extern void dbos_identity_forget(void);

/* ---- duty.c: what rooms do in the background, once for a database ---- */

typedef struct DbosDutyResult
{
	bool		more;			/* again, in the next transaction */
	TimestampTz due;			/* when it is next wanted by the clock; 0: never */
} DbosDutyResult;

/* run is called in a transaction of its own, as the bootstrap superuser; what it raises is logged. */
typedef struct DbosDuty
{
	const char *what;
	void		(*run) (DbosDutyResult *result);
} DbosDuty;

extern void dbos_duty_register(const DbosDuty *duty);
extern const DbosDuty *dbos_duty_at(int number);	/* NULL: there are no more */
extern void dbos_duty_set_wanter(void (*want) (void));
extern void dbos_duty_want(void);

/* ---- traffic.c: what this process has read from files and written to them, also what was rolled back ---- */

typedef struct DbosFileTraffic
{
	int64		bytes_read;
	int64		bytes_written;
} DbosFileTraffic;

extern DbosFileTraffic dbos_file_traffic;

/* ---- system_functions.c: what dbos says of itself ---- */

/*
 * Rooms add rows to dbos.health() and dbos.capabilities: a report function is
 * called for each query of them, in the asking session and with its rights, and
 * must not raise for what it reports on.  detail, hint, reason and remedy may be NULL.
 */
typedef struct DbosReport DbosReport;

extern void dbos_health_register(void (*report) (DbosReport *rows));
extern void dbos_health_row(DbosReport *rows, const char *component, bool ok,
							const char *detail, const char *hint);
extern void dbos_capability_register(void (*report) (DbosReport *rows));
extern void dbos_capability_row(DbosReport *rows, const char *capability, bool available,
								const char *reason, const char *remedy);

/* Called in the transaction of CREATE EXTENSION, except in a restore; the floor above has one. */
extern void dbos_created_register(void (*callback) (void));

/* To be called when DROP EXTENSION dbos has succeeded: names what it leaves. */
extern void dbos_extension_dropped_notice(void);

/* ---- register functions of the upper floors, called by dbos.c ---- */

extern void dbos_kernel_register(void);

#endif							/* DBOS_KERNEL_H */
