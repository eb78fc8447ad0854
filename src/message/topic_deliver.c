/*
 * topic_deliver.c
 *	  Messages of a topic are delivered for subscriptions that nobody reads.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#include "postgres.h"

#include "topic.h"

static void
topic_duty(DbosDutyResult *result)
{
}

static const DbosDuty duty = {
	.what = "topics",
	.run = topic_duty,
};

void
dbos_topic_duty_register(void)
{
	dbos_duty_register(&duty);
}
