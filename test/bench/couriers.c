/*
 * couriers.c
 *		Sends and receives messages through any system that SQL drives, a thread
 *		and a connection for each sender and receiver, and times it.
 *
 * couriers pump SECONDS SENDERS RECEIVERS SEND... -- TAKE...
 *		Senders and receivers at once.  Prints what was sent and received per
 *		second, and in all.  The first WARM_UP seconds do not count.
 * couriers move SECONDS SENDERS RECEIVERS COUNT SEND... -- TAKE...
 *		The same until COUNT were received, or SECONDS have passed; from the
 *		begin to the last message.
 * couriers deliver COUNT RECEIVERS SEND... -- TAKE...
 *		One message at a time to receivers that all wait.  Prints p50 and p99
 *		in ms, from the return of the last statement of SEND (its COMMIT) and
 *		from before that was sent, to the moment when the message is in a
 *		receiver's hands; then how often the receivers' backends, all together,
 *		were put to sleep per message: a herd shows there.  Below zero: the
 *		receiver had it before the sender read the answer.
 * couriers pingpong COUNT PING... -- PONG...
 *		One side runs PING, the other PONG for ever.  Prints p50 and p99 in ms of
 *		PING, to the moment when its message is here, else to its end.
 * couriers echo COUNT
 *		The same for a byte over a socket pair: the floor.
 *
 * SEND, TAKE, PING and PONG are statements that run in turn, prepared; outside
 * BEGIN and COMMIT each is a transaction.  An answer of two columns or more
 * holds messages; LISTEN waits for a notification, which is one.  $1 is the
 * message's number in SEND of deliver; elsewhere, as an array, the first column
 * of the latest answer to a statement without $1; where that had no row, or
 * NULL, statements with $1 are left out.  A receiver that got nothing looks
 * again after a millisecond.
 *
 * The connections come from libpq's environment.  All times are of one clock.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define WARM_UP 0.2				/* seconds */
#define LOST 20					/* seconds after which a message is lost */

typedef struct Steps
{
	int			count;
	char	  **sql;
} Steps;

/* What one turn of the statements came to; times in microseconds. */
typedef struct Round
{
	long		changed;		/* most rows that a statement gave or changed */
	long		messages;
	long		number;			/* of a notification, its payload */
	double		before_last;
	double		at_hand;		/* the message was here; 0: none */
	double		over;
} Round;

typedef struct Courier
{
	PGconn	   *conn;
	const Steps *steps;
	pthread_t	thread;
	char	   *ids;			/* $1; NULL: nothing to name */
} Courier;

static _Atomic long sent;
static _Atomic long received;
static _Atomic double last_received;	/* when */
static long limit;				/* 0: none */
static _Atomic bool stopping;
static pthread_barrier_t begin;

/* deliver: the message that is under way */
static pthread_mutex_t arrival = PTHREAD_MUTEX_INITIALIZER;
static long under_way;
static double arrived_at;		/* 0: not yet */
static sem_t arrived;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/* Ends the program; a thread alone where the end is what it was told. */
static void
failed(Courier *courier, const char *doing)
{
	if (stopping)
		pthread_exit(NULL);
	fprintf(stderr, "%s: %s", doing, PQerrorMessage(courier->conn));
	exit(1);
}

static bool
names_ids(const Steps *steps, int i)
{
	return i < steps->count && strstr(steps->sql[i], "$1") != NULL;
}

static bool
listens(const char *sql)
{
	return strncmp(sql, "LISTEN ", 7) == 0;
}

/* Errors are told by failed(); that a session was ended is not one. */
static void
keep_quiet(void *argument, const char *message)
{
	(void) argument;
	(void) message;
}

/* Connects and prepares every statement, so that no round does. */
static void
engage(Courier *courier, const Steps *steps)
{
	courier->steps = steps;
	courier->ids = NULL;
	courier->conn = PQconnectdb("");
	if (PQstatus(courier->conn) != CONNECTION_OK)
		failed(courier, "could not connect");
	PQsetNoticeProcessor(courier->conn, keep_quiet, NULL);
	for (int i = 0; i < steps->count; i++)
	{
		char		name[16];
		PGresult   *result;

		snprintf(name, sizeof(name), "s%d", i);
		if (listens(steps->sql[i]))
			result = PQexec(courier->conn, steps->sql[i]);
		else
			result = PQprepare(courier->conn, name, steps->sql[i], 0, NULL);
		if (PQresultStatus(result) != PGRES_COMMAND_OK)
			failed(courier, steps->sql[i]);
		PQclear(result);
	}
}

/* Waits for a notification; its payload may be the number of the message. */
static void
await_notification(Courier *courier, Round *round)
{
	PGnotify   *notification;

	while ((notification = PQnotifies(courier->conn)) == NULL)
	{
		struct pollfd wait = {PQsocket(courier->conn), POLLIN, 0};

		if (poll(&wait, 1, 100) < 0 || PQconsumeInput(courier->conn) == 0)
			failed(courier, "LISTEN");
		if (stopping)
			pthread_exit(NULL);
	}
	round->at_hand = now();
	round->number = atol(notification->extra);
	round->messages++;
	PQfreemem(notification);
}

/* The first column of an answer as an array. */
static void
remember_ids(Courier *courier, const PGresult *result)
{
	int			rows = PQntuples(result);
	char	   *end;

	free(courier->ids);
	courier->ids = NULL;
	if (rows == 0 || PQgetisnull(result, 0, 0))
		return;
	end = courier->ids = malloc(24L * rows + 3);
	for (int i = 0; i < rows; i++)
		end += sprintf(end, "%c%.20s", i == 0 ? '{' : ',', PQgetvalue(result, i, 0));
	strcpy(end, "}");
}

/* Runs a prepared statement and counts what it gave. */
static void
run_step(Courier *courier, int i, const char *parameter, Round *round)
{
	const Steps *steps = courier->steps;
	bool		named = names_ids(steps, i);
	char		name[16];
	PGresult   *result;
	long		rows;

	snprintf(name, sizeof(name), "s%d", i);
	result = PQexecPrepared(courier->conn, name, named ? 1 : 0, &parameter, NULL, NULL, 0);
	if (PQresultStatus(result) == PGRES_TUPLES_OK)
	{
		rows = PQntuples(result);
		if (PQnfields(result) > 1 && rows > 0)
		{
			round->at_hand = now();
			round->messages += rows;
		}
		if (!named && names_ids(steps, i + 1))
			remember_ids(courier, result);
	}
	else if (PQresultStatus(result) == PGRES_COMMAND_OK)
		rows = atol(PQcmdTuples(result));
	else
	{
		failed(courier, steps->sql[i]);
		return;
	}
	if (rows > round->changed)
		round->changed = rows;
	PQclear(result);
}

/* Runs all statements of a courier once; number, where given, is $1. */
static Round
play(Courier *courier, const char *number)
{
	const Steps *steps = courier->steps;
	Round		round = {0};

	for (int i = 0; i < steps->count; i++)
	{
		const char *parameter = number != NULL ? number : courier->ids;

		if (i == steps->count - 1)
			round.before_last = now();
		if (listens(steps->sql[i]))
			await_notification(courier, &round);
		else if (!names_ids(steps, i) || parameter != NULL)
			run_step(courier, i, parameter, &round);
	}
	round.over = now();
	return round;
}

static int
ascending(const void *a, const void *b)
{
	double		x = *(const double *) a,
				y = *(const double *) b;

	return (x > y) - (x < y);
}

/* Prints p50 and p99 in ms. */
static void
tell(const char *name, double *times, int count)
{
	qsort(times, count, sizeof(double), ascending);
	printf("%s %.4f %.4f\n", name, times[(count - 1) / 2] / 1e3, times[(int) (count * 0.99 + 0.5) - 1] / 1e3);
}

static void *
send_on(void *argument)
{
	Courier    *courier = argument;

	pthread_barrier_wait(&begin);
	while (!stopping && (limit == 0 || sent < limit))
		sent += play(courier, NULL).changed;
	return NULL;
}

static void *
take_on(void *argument)
{
	Courier    *courier = argument;

	pthread_barrier_wait(&begin);
	while (!stopping && (limit == 0 || received < limit))
	{
		Round		round = play(courier, NULL);

		if (round.messages > 0)
		{
			last_received = round.over;
			received += round.messages;
		}
		else
			usleep(1000);
	}
	return NULL;
}

/* Connects so many couriers and starts a thread for each; stacks are small, for there may be a thousand. */
static Courier *
start(int count, const Steps *steps, void *(*work) (void *))
{
	Courier    *couriers = calloc(count + 1, sizeof(Courier));
	pthread_attr_t small;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 256 * 1024);
	for (int i = 0; i < count; i++)
		engage(&couriers[i], steps);
	for (int i = 0; i < count; i++)
	{
		if (pthread_create(&couriers[i].thread, &small, work, &couriers[i]) != 0)
		{
			fprintf(stderr, "could not start a thread\n");
			exit(1);
		}
	}
	return couriers;
}

/* Ends couriers that may wait for long: the server ends their sessions. */
static void
dismiss(Courier *couriers, int count)
{
	PGconn	   *by = PQconnectdb("");

	stopping = true;
	for (int i = 0; i < count; i++)
	{
		char		sql[64];

		snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%d)", PQbackendPID(couriers[i].conn));
		PQclear(PQexec(by, sql));
	}
	PQfinish(by);
	for (int i = 0; i < count; i++)
		pthread_join(couriers[i].thread, NULL);
}

/* Rates of senders and receivers together; with a limit, the time of the last message ends it. */
static int
pump(double seconds, int senders, int receivers, const Steps *send, const Steps *take)
{
	Courier    *sending,
			   *taking;
	double		begun,
				ended,
				last;
	long		sent_before,
				received_before,
				sent_in,
				received_in;

	pthread_barrier_init(&begin, NULL, senders + receivers + 1);
	sending = start(senders, send, send_on);
	taking = start(receivers, take, take_on);
	pthread_barrier_wait(&begin);
	if (limit == 0)
		usleep(WARM_UP * 1e6);
	sent_before = limit == 0 ? sent : 0;
	received_before = limit == 0 ? received : 0;
	begun = now();
	do
		usleep(2000);
	while (now() - begun < seconds * 1e6 && (limit == 0 || received < limit));
	sent_in = sent - sent_before;
	received_in = received - received_before;
	last = last_received;
	ended = limit > 0 && last > begun ? last : now();
	stopping = true;
	for (int i = 0; i < senders; i++)
		pthread_join(sending[i].thread, NULL);
	dismiss(taking, receivers);
	printf("%.0f %.0f %ld %ld\n", sent_in / (ended - begun) * 1e6, received_in / (ended - begun) * 1e6, sent_in, received_in);
	return 0;
}

/* Receives for ever; the first to have the message that is under way says so. */
static void *
take_one_at_a_time(void *argument)
{
	Courier    *courier = argument;

	pthread_barrier_wait(&begin);
	while (!stopping)
	{
		Round		round = play(courier, NULL);
		bool		first;

		if (round.messages == 0)
			continue;
		pthread_mutex_lock(&arrival);
		/* Of those that a notification wakes, late ones may still tell of the message before. */
		first = arrived_at == 0 && (round.number == 0 || round.number == under_way);
		if (first)
			arrived_at = round.at_hand;
		pthread_mutex_unlock(&arrival);
		if (first)
			sem_post(&arrived);
	}
	return NULL;
}

/* How often the kernel put these backends to sleep so far; -1 where /proc does not say. */
static long
sleeps_of(Courier *couriers, int count)
{
	long		sum = 0;

	for (int i = 0; i < count; i++)
	{
		char		line[256];
		FILE	   *status;

		snprintf(line, sizeof(line), "/proc/%d/status", PQbackendPID(couriers[i].conn));
		if ((status = fopen(line, "r")) == NULL)
			return -1;
		while (fgets(line, sizeof(line), status) != NULL)
		{
			if (strncmp(line, "voluntary_ctxt_switches:", 24) == 0)
				sum += atol(line + 24);
		}
		fclose(status);
	}
	return sum;
}

/* Sends one message and waits until a receiver has it. */
static void
deliver_one(Courier *sender, long number, double *after, double *before)
{
	char		text[24];
	struct timespec patience;
	Round		round;

	pthread_mutex_lock(&arrival);
	under_way = number;
	arrived_at = 0;
	pthread_mutex_unlock(&arrival);
	snprintf(text, sizeof(text), "%ld", number);
	round = play(sender, text);
	clock_gettime(CLOCK_REALTIME, &patience);
	patience.tv_sec += LOST;
	if (sem_timedwait(&arrived, &patience) != 0)
	{
		fprintf(stderr, "message %ld did not arrive within %d s\n", number, LOST);
		exit(1);
	}
	*after = arrived_at - round.over;
	*before = arrived_at - round.before_last;
}

static int
deliver(int count, int receivers, const Steps *send, const Steps *take)
{
	Courier		sender;
	Courier    *taking;
	double	   *after = calloc(count, sizeof(double)),
			   *before = calloc(count, sizeof(double));
	long		sleeps = 0;
	int			warm_up = receivers + 20;	/* each may have had one */
	/* Microseconds in which all receivers wait again; a notification wakes all of them. */
	int			pause = 2000 + (listens(take->sql[0]) ? 50 * receivers : 0);

	pthread_barrier_init(&begin, NULL, receivers + 1);
	sem_init(&arrived, 0, 0);
	engage(&sender, send);
	taking = start(receivers, take, take_one_at_a_time);
	pthread_barrier_wait(&begin);
	usleep(300000 + 1000 * receivers);
	for (int i = -warm_up; i < count; i++)
	{
		int			at = i < 0 ? 0 : i;

		if (i == 0)
		{
			usleep(200000);
			sleeps = sleeps_of(taking, receivers);
		}
		deliver_one(&sender, i + warm_up + 1, &after[at], &before[at]);
		usleep(i < 0 ? 200 : pause);
	}
	tell("commit_to_receive", after, count);
	tell("before_commit_to_receive", before, count);
	if (sleeps >= 0)
		printf("sleeps_per_message %.2f -\n", (sleeps_of(taking, receivers) - sleeps) / (double) count);
	dismiss(taking, receivers);
	return 0;
}

static void *
answer_for_ever(void *argument)
{
	pthread_barrier_wait(&begin);
	while (!stopping)
		play(argument, NULL);
	return NULL;
}

static int
pingpong(int count, const Steps *ping, const Steps *pong)
{
	Courier		player;
	Courier    *other;
	double	   *times = calloc(count, sizeof(double));

	pthread_barrier_init(&begin, NULL, (pong->count > 0) + 1);
	engage(&player, ping);
	other = start(pong->count > 0, pong, answer_for_ever);
	pthread_barrier_wait(&begin);
	usleep(200000);
	for (int i = -20; i < count; i++)
	{
		double		begun = now();
		Round		round = play(&player, NULL);

		if (i >= 0)
			times[i] = (round.at_hand > 0 ? round.at_hand : round.over) - begun;
	}
	tell("pingpong", times, count);
	dismiss(other, pong->count > 0);
	return 0;
}

static void *
echo_back(void *argument)
{
	int			socket = *(int *) argument;
	char		byte;

	while (read(socket, &byte, 1) == 1 && write(socket, &byte, 1) == 1)
		;
	return NULL;
}

static int
echo(int count)
{
	int			ends[2];
	pthread_t	other;
	double	   *times = calloc(count, sizeof(double));

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0 || pthread_create(&other, NULL, echo_back, &ends[1]) != 0)
		return 1;
	for (int i = 0; i < count; i++)
	{
		double		begun = now();
		char		byte = 0;

		if (write(ends[0], &byte, 1) != 1 || read(ends[0], &byte, 1) != 1)
			return 1;
		times[i] = now() - begun;
	}
	tell("echo", times, count);
	return 0;
}

/* Cuts the arguments from the first statement on into the two lists. */
static void
read_steps(int argc, char **argv, int first, Steps *a, Steps *b)
{
	int			cut = first;

	while (cut < argc && strcmp(argv[cut], "--") != 0)
		cut++;
	*a = (Steps) {cut - first, argv + first};
	*b = (Steps) {cut < argc ? argc - cut - 1 : 0, argv + cut + 1};
}

int
main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[1] : "";
	struct rlimit files;
	Steps		a,
				b;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
	{
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (strcmp(mode, "pump") == 0 && argc > 5)
	{
		read_steps(argc, argv, 5, &a, &b);
		return pump(atof(argv[2]), atoi(argv[3]), atoi(argv[4]), &a, &b);
	}
	if (strcmp(mode, "move") == 0 && argc > 6)
	{
		read_steps(argc, argv, 6, &a, &b);
		limit = atol(argv[5]);
		return pump(atof(argv[2]), atoi(argv[3]), atoi(argv[4]), &a, &b);
	}
	if (strcmp(mode, "deliver") == 0 && argc > 4)
	{
		read_steps(argc, argv, 4, &a, &b);
		return deliver(atoi(argv[2]), atoi(argv[3]), &a, &b);
	}
	if (strcmp(mode, "pingpong") == 0 && argc > 3)
	{
		read_steps(argc, argv, 3, &a, &b);
		return pingpong(atoi(argv[2]), &a, &b);
	}
	if (strcmp(mode, "echo") == 0)
		return echo(atoi(argv[2]));
	fprintf(stderr, "usage: couriers pump|move|deliver|pingpong|echo ...: see the head of couriers.c\n");
	return 2;
}
