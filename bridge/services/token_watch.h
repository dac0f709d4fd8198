/* SPDX-License-Identifier: MIT */
/*
 * token_watch - says well before the bridge's own token expires that it does
 *
 * Reads mqtt.token_file once a minute.  tocsin_token_expires_seconds is how long the token in the
 * file is still good, negative once it has expired.  The log warns (token.expiring) when less than
 * a fifth of its lifetime is left, seven days at most, and says token.expired when it has; each
 * once a day at most, and token.renewed when the file holds a better one.
 */
#ifndef TOCSIN_SERVICES_TOKEN_WATCH_H
#define TOCSIN_SERVICES_TOKEN_WATCH_H
#include "base/metrics.h"
#include "io/loop.h"

struct token_watch;

/* file is borrowed. */
struct token_watch *token_watch_new(struct loop *loop, const char *file, struct metrics *metrics);
void token_watch_free(struct token_watch *watch);
/* How long before its end the log begins to warn, of a token that lasts lifetime_s; 0: unknown. */
int64_t token_watch_ahead_s(int64_t lifetime_s);

#endif
