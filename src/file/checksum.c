/*
 * checksum.c
 *	  CRC-32C of content, by a library that keeps all of a CPU's CRC units busy.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include <isa-l/crc.h>

#include "file.h"

/* The most that the library takes at once. */
#define PIECE (1 << 30)

/* Of what has that checksum so far (nothing: 0) followed by these bytes. */
uint32
dbos_checksum(uint32 checksum, const char *bytes, int64 length)
{
	uint32		crc = ~checksum;

	while (length > 0)
	{
		int			piece = (int) Min(length, PIECE);

		crc = crc32_iscsi((unsigned char *) unconstify(char *, bytes), piece, crc);
		bytes += piece;
		length -= piece;
	}
	return ~crc;
}
