/*
 * wake_up.c
 *		How long after a commit the other side knows: a submit's worker, and a
 *		task's waiter.
 *
 * Usage: wake_up COUNT FUNCTION.  The connection comes from libpq's environment;
 * the server has track_commit_timestamp on.  One line per task, in microseconds:
 * from the submit's commit to the task's start, from there to the task's commit,
 * from the task's commit to the return of dbos.await() here, and from the submit's
 * commit to that return.  A commit's time is taken by the server before its WAL is flushed: with
 * fsync on the numbers hold a flush, with fsync off they are the wake-up alone.
 * Client and server share one clock.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

static PGconn *conn;

/* Runs a statement with one parameter; ends the program where it fails. */
static PGresult *
ask(const char *statement, const char *parameter)
{
	PGresult   *result = PQexecParams(conn, statement, 1, NULL, &parameter, NULL, NULL, 0);

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		fprintf(stderr, "%s", PQerrorMessage(conn));
		exit(1);
	}
	return result;
}

int
main(int argc, char **argv)
{
	int			count = argc > 1 ? atoi(argv[1]) : 100;
	const char *function = argc > 2 ? argv[2] : "pg_catalog.pg_backend_pid";

	conn = PQconnectdb("");
	if (PQstatus(conn) != CONNECTION_OK)
	{
		fprintf(stderr, "%s", PQerrorMessage(conn));
		return 1;
	}
	for (int i = 0; i < count; i++)
	{
		PGresult   *submitted = ask("SELECT dbos.submit($1), pg_current_xact_id()::xid", function);
		PGresult   *awaited = ask("CALL dbos.await($1::bigint, NULL, NULL)", PQgetvalue(submitted, 0, 0));
		struct timespec t;
		long long	returned;
		char		asked[500];
		PGresult   *times;

		clock_gettime(CLOCK_REALTIME, &t);
		returned = t.tv_sec * 1000000LL + t.tv_nsec / 1000;
		snprintf(asked, sizeof(asked),
				 "SELECT (extract(epoch FROM pg_xact_commit_timestamp('%s'::xid)) * 1000000)::bigint,"
				 " (extract(epoch FROM started_at) * 1000000)::bigint,"
				 " (extract(epoch FROM pg_xact_commit_timestamp(xid::xid)) * 1000000)::bigint"
				 " FROM dbos.task_history WHERE id = $1", PQgetvalue(submitted, 0, 1));
		times = ask(asked, PQgetvalue(submitted, 0, 0));
		{
			long long	submit = atoll(PQgetvalue(times, 0, 0));
			long long	start = atoll(PQgetvalue(times, 0, 1));
			long long	commit = atoll(PQgetvalue(times, 0, 2));

			printf("%lld %lld %lld %lld\n", start - submit, commit - start, returned - commit, returned - submit);
		}
		PQclear(times);
		PQclear(awaited);
		PQclear(submitted);
		usleep(5000);
	}
	PQfinish(conn);
	return 0;
}
