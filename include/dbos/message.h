/*
 * message.h
 *	  Mailboxes and topics.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef DBOS_MESSAGE_H
#define DBOS_MESSAGE_H

extern void dbos_message_register(void);

#endif							/* DBOS_MESSAGE_H */
