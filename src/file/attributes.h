/*
 * attributes.h
 *	  Mode, owner, group and times of files are changed.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef ATTRIBUTES_H
#define ATTRIBUTES_H

#include "file.h"

#define PERMISSION_BITS 07777

extern void dbos_mode_check(int32 mode);
extern int32 dbos_mode_parse(const char *given, int32 mode);

#endif							/* ATTRIBUTES_H */
