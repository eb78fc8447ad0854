/*
 * interfaces.c
 *	  dbos.host_interfaces: network interfaces, their addresses and counters, from /proc/net/dev and /sys/class/net.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/socket.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "host.h"

PG_FUNCTION_INFO_V1(dbos_host_list_interfaces);

#define MAX_ADDRESSES 256

typedef struct Address
{
	char		interface[IF_NAMESIZE];
	char		text[INET6_ADDRSTRLEN];
} Address;

/* The addresses of all interfaces; nothing raises between getifaddrs and freeifaddrs. */
static int
read_addresses(Address *addresses)
{
	struct ifaddrs *list;
	int			count = 0;

	if (getifaddrs(&list) != 0)
		return 0;
	for (const struct ifaddrs *one = list; one != NULL && count < MAX_ADDRESSES; one = one->ifa_next)
	{
		const void *address;

		if (one->ifa_addr == NULL)
			continue;
		if (one->ifa_addr->sa_family == AF_INET)
			address = &((const struct sockaddr_in *) one->ifa_addr)->sin_addr;
		else if (one->ifa_addr->sa_family == AF_INET6)
			address = &((const struct sockaddr_in6 *) one->ifa_addr)->sin6_addr;
		else
			continue;
		strlcpy(addresses[count].interface, one->ifa_name, IF_NAMESIZE);
		if (inet_ntop(one->ifa_addr->sa_family, address, addresses[count].text, INET6_ADDRSTRLEN) != NULL)
			count++;
	}
	freeifaddrs(list);
	return count;
}

/* One word of /sys about an interface, without its line's end; -1 when there is none. */
static ssize_t
read_word(const char *interface, const char *what, char *buffer, size_t size)
{
	char		path[MAXPGPATH];
	ssize_t		length;

	snprintf(path, sizeof(path), "/sys/class/net/%s/%s", interface, what);
	length = dbos_host_read(AT_FDCWD, path, buffer, size);
	if (length > 0 && buffer[length - 1] == '\n')
		buffer[--length] = '\0';
	return length;
}

static Datum
number_of(const char *interface, const char *what, int base, bool *null)
{
	char		buffer[64];

	*null = read_word(interface, what, buffer, sizeof(buffer)) <= 0;
	return Int32GetDatum(*null ? 0 : (int32) strtol(buffer, NULL, base));
}

/* (interface, mac, type, ...) of each interface; none in a container. */
Datum
dbos_host_list_interfaces(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Address    *addresses;
	int			naddresses;
	char	   *text;
	char	   *at;
	char	   *line;

	InitMaterializedSRF(fcinfo, 0);
	if (!dbos_host_in_root() || (text = dbos_host_read_all("/proc/net/dev")) == NULL)
		return (Datum) 0;
	addresses = palloc(MAX_ADDRESSES * sizeof(Address));
	naddresses = read_addresses(addresses);
	at = text;
	while ((line = dbos_host_next_line(&at)) != NULL)
	{
		char	   *colon = strrchr(line, ':');
		char	   *name = line;
		char		mac[64];
		int64		count[16] = {0};
		Datum		own[MAX_ADDRESSES];
		int			nown = 0;
		Datum		values[16];
		bool		nulls[16] = {false};

		if (colon == NULL)
			continue;			/* headings */
		*colon = '\0';
		while (*name == ' ')
			name++;
		if (strchr(name, '/') != NULL)
			continue;
		line = colon + 1;
		for (int i = 0; i < lengthof(count); i++)
			count[i] = strtoll(line, &line, 10);
		for (int i = 0; i < naddresses; i++)
			if (strcmp(addresses[i].interface, name) == 0)
				own[nown++] = CStringGetTextDatum(addresses[i].text);

		values[0] = dbos_host_text(name, strlen(name));
		nulls[1] = read_word(name, "address", mac, sizeof(mac)) <= 0;
		if (!nulls[1])
			values[1] = dbos_host_text(mac, strlen(mac));
		values[2] = number_of(name, "type", 10, &nulls[2]);
		values[3] = number_of(name, "mtu", 10, &nulls[3]);
		values[4] = number_of(name, "flags", 16, &nulls[4]);
		values[5] = number_of(name, "speed", 10, &nulls[5]);
		values[6] = PointerGetDatum(construct_array(own, nown, TEXTOID, -1, false, TYPALIGN_INT));
		values[7] = Int64GetDatum(count[1]);	/* packets in */
		values[8] = Int64GetDatum(count[9]);	/* packets out */
		values[9] = Int64GetDatum(count[0]);	/* bytes in */
		values[10] = Int64GetDatum(count[8]);	/* bytes out */
		values[11] = Int64GetDatum(count[2]);	/* errors in */
		values[12] = Int64GetDatum(count[10]);	/* errors out */
		values[13] = Int64GetDatum(count[3]);	/* dropped in */
		values[14] = Int64GetDatum(count[11]);	/* dropped out */
		values[15] = Int64GetDatum(count[13]);	/* collisions */
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
