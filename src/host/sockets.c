/*
 * sockets.c
 *	  dbos.host_sockets: open sockets and who has them.
 *
 * /proc/net tells each socket's addresses by inode, /proc/PID/fd the inodes of
 * each process.  A socket whose process cannot be looked into is a row without
 * a pid.  Who is no monitor sees the sockets of the session's own process.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "host.h"

PG_FUNCTION_INFO_V1(dbos_host_list_sockets);

typedef struct Socket
{
	int64		inode;			/* first: the key */
	int			family;
	int			protocol;		/* of the IP header; 0 for UNIX */
	int			state;			/* of TCP; 0: none */
	bool		shown;
	int			local_port;
	int			remote_port;
	char		local[INET6_ADDRSTRLEN];
	char		remote[INET6_ADDRSTRLEN];
	char	   *path;
} Socket;

/* As in the kernel's include/net/tcp_states.h. */
static const char *const tcp_states[] = {
	NULL, "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE",
	"CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV"
};

/* ADDRESS:PORT in hexadecimal, words of the address in the machine's byte order. */
static bool
parse_address(const char *text, int family, char *address, int *port)
{
	uint32		words[4] = {0};
	int			nwords = family == AF_INET ? 1 : 4;
	const char *colon = strchr(text, ':');

	if (colon == NULL || colon - text != nwords * 8)
		return false;
	for (int i = 0; i < nwords; i++)
	{
		char		word[9];

		memcpy(word, text + i * 8, 8);
		word[8] = '\0';
		words[i] = (uint32) strtoul(word, NULL, 16);
	}
	*port = (int) strtoul(colon + 1, NULL, 16);
	return inet_ntop(family, words, address, INET6_ADDRSTRLEN) != NULL;
}

static void
read_internet(HTAB *sockets, const char *path, int family, int protocol)
{
	char	   *text = dbos_host_read_all(path);
	char	   *at = text;
	char	   *line;

	if (text == NULL)
		return;
	(void) dbos_host_next_line(&at);	/* headings */
	while ((line = dbos_host_next_line(&at)) != NULL)
	{
		char	   *fields[10];
		int			count = 0;
		int64		inode;
		Socket	   *found;
		Socket		one = {0};

		CHECK_FOR_INTERRUPTS();
		while (count < lengthof(fields) && (fields[count] = dbos_host_next_field(&line)) != NULL)
			count++;
		if (count < lengthof(fields) ||
			!parse_address(fields[1], family, one.local, &one.local_port) ||
			!parse_address(fields[2], family, one.remote, &one.remote_port))
			continue;
		/* A socket that waits for its last packets has no owner and no inode. */
		inode = strtoll(fields[9], NULL, 10);
		if (inode == 0)
			continue;
		found = hash_search(sockets, &inode, HASH_ENTER, NULL);
		*found = one;
		found->inode = inode;
		found->family = family;
		found->protocol = protocol;
		found->state = protocol == IPPROTO_TCP ? (int) strtoul(fields[3], NULL, 16) : 0;
	}
	pfree(text);
}

/*
 * The kernel writes a name as it is, so one with a line's end in it makes a line
 * of its own that may claim any inode.  Such a line tells nothing of an IP socket,
 * and takes no more than the path from a UNIX socket: two lines claim it then, and
 * nobody can say which of them is true.  To be called after read_internet().
 */
static void
read_unix(HTAB *sockets)
{
	char	   *text = dbos_host_read_all("/proc/net/unix");
	char	   *at = text;
	char	   *line;

	if (text == NULL)
		return;
	(void) dbos_host_next_line(&at);
	while ((line = dbos_host_next_line(&at)) != NULL)
	{
		char	   *field = NULL;
		int64		inode = 0;
		bool		claimed;
		Socket	   *found;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < 7 && (field = dbos_host_next_field(&line)) != NULL; i++)
			;
		if (field == NULL || (inode = strtoll(field, NULL, 10)) == 0)
			continue;
		found = hash_search(sockets, &inode, HASH_ENTER, &claimed);
		if (claimed)
		{
			found->path = NULL;
			continue;
		}
		memset(found, 0, sizeof(*found));
		found->inode = inode;
		found->family = AF_UNIX;
		/* The rest of the line, blanks and all. */
		while (*line == ' ')
			line++;
		found->path = *line == '\0' ? NULL : pstrdup(line);
	}
	pfree(text);
}

static void
put_socket(ReturnSetInfo *result, int pid, int fd, const Socket *one)
{
	Datum		values[11];
	bool		nulls[11] = {false};
	bool		internet = one->family != AF_UNIX;

	values[0] = Int32GetDatum(pid);
	values[1] = Int32GetDatum(fd);
	nulls[0] = nulls[1] = pid == 0;
	values[2] = Int64GetDatum(one->inode);
	values[3] = Int32GetDatum(one->family);
	values[4] = Int32GetDatum(one->protocol);
	nulls[5] = nulls[6] = nulls[7] = nulls[8] = !internet;
	if (internet)
	{
		values[5] = CStringGetTextDatum(one->local);
		values[6] = CStringGetTextDatum(one->remote);
		values[7] = Int32GetDatum(one->local_port);
		values[8] = Int32GetDatum(one->remote_port);
	}
	nulls[9] = one->path == NULL;
	if (one->path != NULL)
		values[9] = dbos_host_text(one->path, strlen(one->path));
	nulls[10] = one->state <= 0 || one->state >= lengthof(tcp_states);
	if (!nulls[10])
		values[10] = CStringGetTextDatum(tcp_states[one->state]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
put_sockets_of(ReturnSetInfo *result, HTAB *sockets, int pid)
{
	char		path[64];
	DIR		   *stream;
	int		   *fds;
	int			count;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	fds = dbos_host_numbers_in(path, &stream, &count);
	if (fds == NULL)
		return;
	FreeDir(stream);
	for (int i = 0; i < count; i++)
	{
		char		target[64];
		int64		inode;
		Socket	   *found;

		CHECK_FOR_INTERRUPTS();
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fds[i]);
		if (dbos_host_read_link(path, target, sizeof(target)) < 0 || strncmp(target, "socket:[", 8) != 0)
			continue;
		inode = strtoll(target + 8, NULL, 10);
		found = hash_search(sockets, &inode, HASH_FIND, NULL);
		if (found == NULL)
			continue;			/* of another network namespace, or of another family */
		found->shown = true;
		put_socket(result, pid, fds[i], found);
	}
	pfree(fds);
}

/* (pid, fd, socket, family, ...) of the sockets that the caller may see. */
Datum
dbos_host_list_sockets(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	HASHCTL		control = {.keysize = sizeof(int64),.entrysize = sizeof(Socket),.hcxt = CurrentMemoryContext};
	HTAB	   *sockets;
	HASH_SEQ_STATUS scan;
	Socket	   *one;
	DIR		   *proc;
	int		   *pids;
	int			count;

	InitMaterializedSRF(fcinfo, 0);
	sockets = hash_create("sockets of the host", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	read_internet(sockets, "/proc/net/tcp", AF_INET, IPPROTO_TCP);
	read_internet(sockets, "/proc/net/tcp6", AF_INET6, IPPROTO_TCP);
	read_internet(sockets, "/proc/net/udp", AF_INET, IPPROTO_UDP);
	read_internet(sockets, "/proc/net/udp6", AF_INET6, IPPROTO_UDP);
	read_unix(sockets);
	if (!dbos_host_sees_others() || !dbos_host_in_root())
	{
		put_sockets_of(result, sockets, MyProcPid);
		return (Datum) 0;
	}
	pids = dbos_host_numbers_in("/proc", &proc, &count);
	if (pids == NULL)
		return (Datum) 0;
	FreeDir(proc);
	for (int i = 0; i < count; i++)
		put_sockets_of(result, sockets, pids[i]);
	hash_seq_init(&scan, sockets);
	while ((one = hash_seq_search(&scan)) != NULL)
		if (!one->shown)
			put_socket(result, 0, 0, one);
	return (Datum) 0;
}
