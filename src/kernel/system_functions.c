/*
 * system_functions.c
 *	  What dbos says of itself: version, health, capabilities, the notices of
 *	  CREATE and DROP EXTENSION.
 *
 * Rooms report on themselves through the two registries here; the kernel's own
 * rows come first.  dbos.help() is SQL over the comments (sql/kernel.sql).
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"


#include "commands/extension.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "replication/logicallauncher.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rls.h"
#include "utils/tuplestore.h"
#include "utils/varlena.h"

#include "dbos/kernel.h"

PG_FUNCTION_INFO_V1(dbos_version);
PG_FUNCTION_INFO_V1(dbos_current_task);
PG_FUNCTION_INFO_V1(dbos_health);
PG_FUNCTION_INFO_V1(dbos_list_capabilities);
PG_FUNCTION_INFO_V1(dbos_name_distance);
PG_FUNCTION_INFO_V1(dbos_extension_created);

#define MAX_REPORTS 16

typedef void (*ReportFunction) (DbosReport *rows);

struct DbosReport
{
	ReturnSetInfo *result;
};

static ReportFunction health_reports[MAX_REPORTS];
static int	nhealth_reports = 0;
static ReportFunction capability_reports[MAX_REPORTS];
static int	ncapability_reports = 0;
static void (*created_callback) (void) = NULL;

/* ---- the registries ---- */

void
dbos_created_register(void (*callback) (void))
{
	created_callback = callback;
}

void
dbos_health_register(void (*report) (DbosReport *rows))
{
	if (nhealth_reports >= MAX_REPORTS)
		elog(ERROR, "too many health reports");
	health_reports[nhealth_reports++] = report;
}

void
dbos_capability_register(void (*report) (DbosReport *rows))
{
	if (ncapability_reports >= MAX_REPORTS)
		elog(ERROR, "too many capability reports");
	capability_reports[ncapability_reports++] = report;
}

static void
report_row(DbosReport *rows, const char *name, bool yes, const char *why, const char *remedy)
{
	Datum		values[4] = {CStringGetTextDatum(name), BoolGetDatum(yes), 0, 0};
	bool		nulls[4] = {false, false, why == NULL, remedy == NULL};

	if (why != NULL)
		values[2] = CStringGetTextDatum(why);
	if (remedy != NULL)
		values[3] = CStringGetTextDatum(remedy);
	tuplestore_putvalues(rows->result->setResult, rows->result->setDesc, values, nulls);
}

void
dbos_health_row(DbosReport *rows, const char *component, bool ok,
				const char *detail, const char *hint)
{
	report_row(rows, component, ok, detail, hint);
}

void
dbos_capability_row(DbosReport *rows, const char *capability, bool available,
					const char *reason, const char *remedy)
{
	report_row(rows, capability, available, reason, remedy);
}

/* ---- the kernel's own rows ---- */

/* Worker places when nobody else takes any: the launcher's is not counted. */
static int
worker_places(void)
{
	int			places = max_worker_processes - 3 - (max_logical_replication_workers > 0 ? 1 : 0);

	if (dbos_max_workers >= 0)
		places = Min(places, dbos_max_workers);
	return Max(places, 0);
}

static void
kernel_health(DbosReport *rows)
{
	char	   *version = dbos_sql_version(true);
	bool		same = version != NULL && strcmp(version, DBOS_VERSION) == 0;
	bool		matches = dbos_identity_matches();
	bool		shared = dbos_shared_attach();

	dbos_health_row(rows, "version", same,
					same ? "library and objects are version " DBOS_VERSION
					: psprintf("The library is version %s, the objects in this database are version %s.",
							   DBOS_VERSION, version ? version : "unknown"),
					same ? NULL : "ALTER EXTENSION dbos UPDATE;");
	dbos_health_row(rows, "identity", matches,
					matches ? "the tasks belong to this database"
					: "Tasks of this database do not run until dbos.start(): it was stopped, or is a copy.",
					matches ? NULL : "SELECT dbos.start();");
	dbos_health_row(rows, "shared memory", shared,
					shared ? "attached" : dbos_shared_reason(),
					shared ? NULL : "Set shared_preload_libraries = 'dbos' and restart the server.");
	dbos_health_row(rows, "worker slots", worker_places() > 0,
					psprintf("max_worker_processes = %d leaves %d for tasks", max_worker_processes, worker_places()),
					worker_places() > 0 ? NULL : "Raise max_worker_processes, or dbos.max_workers, and restart the server.");
}

static void
kernel_capabilities(DbosReport *rows)
{
	bool		preloaded = dbos_preloaded();
	bool		shared = dbos_shared_attach();

	dbos_capability_row(rows, "preload", preloaded,
						preloaded ? NULL : "The library is not in shared_preload_libraries.",
						preloaded ? NULL : "Set shared_preload_libraries = 'dbos' and restart the server; until then SELECT dbos.start() starts the workers.");
	dbos_capability_row(rows, "shared memory", shared,
						shared ? NULL : dbos_shared_reason(),
						shared ? NULL : "Set shared_preload_libraries = 'dbos' and restart the server; until then everything is read from tables.");
	dbos_capability_row(rows, "workers", worker_places() > 0,
						worker_places() > 0 ? NULL : psprintf("max_worker_processes is %d.", max_worker_processes),
						worker_places() > 0 ? NULL : "Raise max_worker_processes to 8 or more and restart the server.");
}

/* ---- SQL functions ---- */

Datum
dbos_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(DBOS_VERSION));
}

Datum
dbos_current_task(PG_FUNCTION_ARGS)
{
	int64		task = dbos_context_task();

	if (task == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(task);
}

Datum
dbos_health(PG_FUNCTION_ARGS)
{
	DbosReport	rows = {(ReturnSetInfo *) fcinfo->resultinfo};

	InitMaterializedSRF(fcinfo, 0);
	kernel_health(&rows);
	for (int i = 0; i < nhealth_reports; i++)
		health_reports[i] (&rows);
	return (Datum) 0;
}

Datum
dbos_list_capabilities(PG_FUNCTION_ARGS)
{
	DbosReport	rows = {(ReturnSetInfo *) fcinfo->resultinfo};

	InitMaterializedSRF(fcinfo, 0);
	kernel_capabilities(&rows);
	for (int i = 0; i < ncapability_reports; i++)
		capability_reports[i] (&rows);
	return (Datum) 0;
}

/* dbos.name_distance(name, other): edits between two names; both at most 255 bytes. */
Datum
dbos_name_distance(PG_FUNCTION_ARGS)
{
	text	   *a = PG_GETARG_TEXT_PP(0);
	text	   *b = PG_GETARG_TEXT_PP(1);
	int			la = VARSIZE_ANY_EXHDR(a);
	int			lb = VARSIZE_ANY_EXHDR(b);
	int			distance;

	/* Beyond what the server's function takes, nothing is a name of ours. */
	if (la > 255 || lb > 255)
		PG_RETURN_INT32(Max(la, lb));
	distance = varstr_levenshtein(VARDATA_ANY(a), la, VARDATA_ANY(b), lb, 1, 1, 1, true);
	PG_RETURN_INT32(distance);
}

/* ---- CREATE and DROP EXTENSION ---- */

/*
 * While an extension script runs the server raises client_min_messages to
 * WARNING.  Restored at the script's end with its other settings; a role, database
 * or configuration that wants no notices is heeded.
 */
static void
let_notices_through(void)
{
	const char *wanted = GetConfigOptionResetString("client_min_messages");

	if (strcmp(wanted, "warning") != 0 && strcmp(wanted, "error") != 0)
		(void) set_config_option("client_min_messages", wanted, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * dbos.extension_created(): the last statement of the script.  A restore is told
 * by row_security, which every script of pg_dump and every pg_restore turns off
 * first and hardly anybody else does: the tasks that it will bring must not
 * run, so the database is not taken over.  Whoever has it off for reasons of his own reads
 * in the notice what to type.
 */
Datum
dbos_extension_created(PG_FUNCTION_ARGS)
{
	bool		restore = !row_security;
	bool		preloaded = dbos_preloaded();
	bool		shared = dbos_shared_attach();

	if (!creating_extension)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("dbos.extension_created() is only for the script of the extension"));
	if (!restore)
	{
		dbos_identity_take();
		if (created_callback != NULL)
			created_callback();
	}
	let_notices_through();
	ereport(NOTICE,
			restore ? errmsg("dbos %s is installed and paused: its tasks do not run until dbos.start()", DBOS_VERSION)
			: errmsg("dbos %s is installed, %s shared_preload_libraries", DBOS_VERSION,
					 preloaded ? "with" : "without"),
			errdetail("Up to %d workers run tasks at once, started %s.%s", worker_places(),
					  preloaded && !restore ? "on demand" : "by dbos.start()",
					  shared ? (preloaded ? " Nothing is off." : " Off: start with the server; the run queue in shared memory is small.")
					  : " Off: shared memory; tables are looked at instead."),
			errhint(preloaded && !restore ? "SELECT * FROM dbos.help();"
					: "SELECT dbos.start(); and then SELECT * FROM dbos.help();"));
	PG_RETURN_VOID();
}

void
dbos_extension_dropped_notice(void)
{
	ereport(NOTICE,
			errmsg("the roles dbos_owner, dbos_user, dbos_monitor and dbos_admin remain"),
			errdetail("Roles are of the whole server; other databases may use them."),
			errhint("When none does: DROP ROLE dbos_owner, dbos_user, dbos_monitor, dbos_admin;"));
}
