/*
 * message.c
 *	  The message room registers itself.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "message.h"

void
dbos_message_register(void)
{
	dbos_message_shared_register();
	dbos_message_pending_install();
	dbos_message_duty_register();
}
