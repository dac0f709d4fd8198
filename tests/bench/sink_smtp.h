/* SPDX-License-Identifier: MIT */
/*
 * sink_smtp - mail submission, as far as a client that sends mail needs it
 *
 * EHLO (PIPELINING, SIZE, 8BITMIME, SMTPUTF8), MAIL, RCPT, DATA, RSET, NOOP, QUIT; no TLS and no
 * AUTH.  The reply to a mail's last line waits as an HTTP answer does; every other reply is
 * immediate.  A mail is counted by its recipient.
 */
#ifndef TOCSIN_BENCH_SINK_SMTP_H
#define TOCSIN_BENCH_SINK_SMTP_H

#include "sink_loop.h"

/* Serve on that port (0 picks one and stores it); -1 with errno. */
int sink_smtp_open(struct sink *sink, uint16_t *port);

#endif
