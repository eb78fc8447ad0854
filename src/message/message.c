/*
 * message.c
 *	  The message room registers itself.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "topic.h"

void
dbos_message_register(void)
{
	dbos_message_shared_register();
	dbos_message_pending_install();
	dbos_message_duty_register();
	dbos_mailbox_state_register();
	dbos_topic_shared_register();
	dbos_topic_duty_register();
	dbos_subscription_register();
	dbos_on_message_register();
}
