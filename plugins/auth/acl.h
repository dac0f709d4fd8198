/* SPDX-License-Identifier: MIT */
/*
 * acl - who may read, write and subscribe to what
 *
 * The access rule of docs (topics, section 1) as one table.  A topic is
 * compared level by level, byte for byte; a filter is granted only if every
 * topic it could match lies inside what the principal may read, and if it is
 * no deeper than what is published there.
 *
 * Purity: a function of the principal and the topic alone, because the broker
 *         also asks for sessions that are offline, half torn down or restored
 *         from disk.  No clock, no allocation, no logging, no broker symbols.
 */
#ifndef TOCSIN_AUTH_ACL_H
#define TOCSIN_AUTH_ACL_H

#include "principal.h"

#include <stdbool.h>

enum {
    ACL_TOPIC_MAX = 512, /* bytes of a topic or filter; longer ones are denied */
    ACL_LEVELS_MAX = 16
};

#define ACL_CONTROL_TOPIC   "$CONTROL/tocsin/v1"
#define ACL_PRESENCE_PREFIX "notify/v1/presence/"

bool acl_may_read(const struct principal *p, const char *topic);
bool acl_may_write(const struct principal *p, const char *topic, int qos, bool retain);
bool acl_may_subscribe(const struct principal *p, const char *filter);

#endif
