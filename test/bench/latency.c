/*
 * latency.c
 *		Submits one task at a time on an idle system and says when it started,
 *		when it had finished and when its waiter was told.
 *
 * Usage: latency COUNT FUNCTION.  The connection comes from libpq's environment.
 * One line per task, in microseconds: from the submit's sending to its commit
 * being known here; from that to the start, to finished_at of the task, and to
 * the return of dbos.await(); and from finished_at to that return.  Client and server share one
 * clock.  finished_at is taken before the commit of the task is flushed, so
 * the last number holds one flush as well: it is an upper bound of the wake-up.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

static PGconn *conn;

static long long
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

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
		long long	sent = now_us();
		PGresult   *submitted = ask("SELECT dbos.submit($1)", function);
		long long	committed = now_us();
		const char *id = PQgetvalue(submitted, 0, 0);
		PGresult   *awaited = ask("CALL dbos.await($1::bigint, NULL, NULL)", id);
		long long	returned = now_us();
		PGresult   *times = ask("SELECT (extract(epoch FROM started_at) * 1000000)::bigint,"
								" (extract(epoch FROM finished_at) * 1000000)::bigint"
								" FROM dbos.tasks WHERE id = $1", id);
		long long	started = atoll(PQgetvalue(times, 0, 0));
		long long	finished = atoll(PQgetvalue(times, 0, 1));

		printf("%lld %lld %lld %lld %lld\n", committed - sent, started - committed,
			   finished - committed, returned - committed, returned - finished);
		PQclear(times);
		PQclear(awaited);
		PQclear(submitted);
		usleep(5000);
	}
	PQfinish(conn);
	return 0;
}
