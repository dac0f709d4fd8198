/* SPDX-License-Identifier: MIT */
#include "plugin.h"

#include "acl.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    FLUSH_MAX = 1000,                        /* users per TICK */
    PAYLOAD_SIZE = PRINCIPAL_NAME_SIZE + 256 /* a name's roles, each in quotes */
};

/* ,"roles":["a","b"]}: an encoded role has nothing that JSON would escape. */
static int add_roles(char *payload, int len, const char *roles)
{
    const char *between = ",\"roles\":[";

    for (const char *at = roles; at && *at;) {
        int bytes = (int)strcspn(at, ",");

        len +=
            snprintf(payload + len, (size_t)(PAYLOAD_SIZE - len), "%s\"%.*s\"", between, bytes, at);
        between = ",";
        at += bytes + (at[bytes] == ',');
    }
    return len + snprintf(payload + len, (size_t)(PAYLOAD_SIZE - len), "%s}", roles ? "]" : "");
}

static void publish(const struct subject *subj, bool is_gone)
{
    char topic[sizeof(ACL_PRESENCE_PREFIX) + PRINCIPAL_ID_MAX], payload[PAYLOAD_SIZE] = "";
    time_t now = time(NULL);
    struct tm utc;
    int len = 0;

    snprintf(topic, sizeof(topic), ACL_PRESENCE_PREFIX "%s", strchr(subj->key, '/') + 1);
    if (!is_gone && gmtime_r(&now, &utc))
        len = snprintf(payload, sizeof(payload),
                       "{\"connections\":%u,\"at\":\"%04d-%02d-%02dT%02d:%02d:%02dZ\"",
                       subj->connections, utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                       utc.tm_hour, utc.tm_min, utc.tm_sec);
    if (len > 0)
        len = add_roles(payload, len, subj->roles);
    (void)mosquitto_broker_publish_copy(NULL, topic, len, payload, 1, true, NULL);
}

/*
 * Only from TICK: a takeover adds the new connection before the old one is
 * gone, and that must look like one connection, not like two.
 */
void presence_flush(struct plugin *pl)
{
    struct subject *subj;

    for (int i = 0; i < FLUSH_MAX && (subj = live_next_dirty(&pl->live)); i++)
        publish(subj, false);
}

void presence_forget(void *ctx, struct subject *subj)
{
    (void)ctx;
    if (subj->kind == PRINCIPAL_USER)
        publish(subj, true);
}

/*
 * Retained messages outlive the broker, our table does not.  A plugin cannot
 * list what is retained, but it is asked before anyone sees it: a user that we
 * do not know is not here, so the message is withheld, and the truth (none
 * connected) is published in its place.
 */
bool presence_is_stale(struct plugin *pl, const struct mosquitto_evt_acl_check *ev)
{
    static const size_t prefix = sizeof(ACL_PRESENCE_PREFIX) - 1;
    struct principal p = {.kind = PRINCIPAL_USER};

    if (ev->payloadlen == 0 || strncmp(ev->topic, ACL_PRESENCE_PREFIX, prefix) != 0)
        return false;
    p.id = ev->topic + prefix;
    p.id_len = strlen(p.id);
    if (p.id_len > PRINCIPAL_ID_MAX)
        return false;
    const struct subject *subj = live_subject(&pl->live, &p);
    if (subj && !subj->is_forgotten)
        return false;
    (void)live_remember(&pl->live, &p, pl->now_ms);
    return true;
}
