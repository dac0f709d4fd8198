/* SPDX-License-Identifier: MIT */
/*
 * email_call - from an email attempt's content to a mail that is ready to be sent
 *
 * Attachments given by URL are fetched first (public addresses only, at most
 * EMAIL_ATTACHED_MAX bytes in all), then the adapter's send function runs once.  What cannot be
 * fetched ends the attempt: gone is PERMANENT, unreachable is a retry.  Each may take half of
 * the time that is left, so that the mail itself still has some.  At most EMAIL_CARRIERS_MAX
 * such mails are under way for a destination, which bounds the memory: more is ERR_FULL.
 */
#ifndef TOCSIN_CHANNELS_EMAIL_CALL_H
#define TOCSIN_CHANNELS_EMAIL_CALL_H
#include "channels/email.h"

#define EMAIL_ATTACHED_MAX (10 * 1024 * 1024)
#define EMAIL_CARRIERS_MAX 4

/* Builds and sends with call_send() or its like, and returns its result. */
typedef int email_send_fn(struct call *call, const struct email *email);

/* Takes the call; returns what an adapter's send() should. */
NODISCARD int email_call(struct call *call, struct email_rules *rules, email_send_fn *send_email);

#endif
