/* SPDX-License-Identifier: MIT */
/*
 * chat_url - chat rooms that are reached by a secret URL (Slack, Teams)
 *
 * The target is the URL itself; one that is not (a room's name, a user) goes to the
 * destination's own webhook_url_file, if it has one.
 */
#ifndef TOCSIN_CHANNELS_CHAT_URL_H
#define TOCSIN_CHANNELS_CHAT_URL_H
#include "channels/call.h"

struct chat_url {
    struct endpoint endpoint;
    struct secret url; /* the destination's own room; may be unset */
};

#define CHAT_URL_KEYS                                                \
    {"webhook_url_file", ADAPTER_FILE, false, NULL,                  \
     "the room's secret URL, for targets without one"},              \
        {"allow_private", ADAPTER_BOOL, false, "false",              \
         "also post to loopback, private and link-local addresses"}, \
        CA_FILE_KEY

/* The open, close and first half of send of such an adapter. */
int chat_url_open(const struct adapter_env *env, const struct adapter_settings *from,
                  const struct adapter_key *keys, void **state, char *why, size_t why_bytes);
void chat_url_close(void *state);
/* As call_new(), with the URL to post to. */
struct call *chat_url_call(struct chat_url *chat, const struct job *job,
                           adapter_outcome_fn *on_outcome, void *ctx, const char **url);

#endif
