/*
 * cppcheck.h
 *	  What cppcheck, which reads no header of the server, has to know of it:
 *	  an error does not come back.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#define ERROR 21
#define ereport(level, ...) do { if ((level) >= 21) exit(1); } while (0)
#define elog(level, ...) do { if ((level) >= 21) exit(1); } while (0)
#define foreach(cell, list) for ((cell) = first_of(list); (cell) != 0; (cell) = next_of(list, cell))
