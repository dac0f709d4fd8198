/* SPDX-License-Identifier: MIT */
#include "plugin.h"

#include "acl.h"

#include <stdio.h>
#include <string.h>

enum { NOTICE_EVERY_MS = 1000 };

/* MQTT 3.1.1 has no way to say "too much": tell the client where answers go, now and then. */
static void tell_limited(struct plugin *pl, struct connection *conn, const struct principal *p,
                         const char *what)
{
    char topic[ACL_TOPIC_MAX], payload[128];

    if (pl->now_ms - conn->noticed_ms < NOTICE_EVERY_MS)
        return;
    conn->noticed_ms = pl->now_ms;
    snprintf(topic, sizeof(topic), "notify/v1/%ss/%.*s/down/reply", principal_kind_name(p->kind),
             (int)p->id_len, p->id);
    int len = snprintf(payload, sizeof(payload),
                       "{\"error\":{\"code\":\"rate_limited\",\"message\":\"%s\"}}", what);
    (void)mosquitto_broker_publish_copy(conn->client_id, topic, len, payload, 0, false, NULL);
}

/* The limits on one message; a will comes after its connection is gone and has none. */
static bool within_limits(struct plugin *pl, const struct mosquitto_evt_acl_check *ev,
                          const struct principal *p)
{
    const struct limits_config *lim = &pl->options->limits;
    enum principal_kind kind = p->kind;
    const char *what = NULL;

    if (kind == PRINCIPAL_BRIDGE)
        return true;
    if (lim->payload_max && ev->payloadlen > lim->payload_max) {
        pl->counters.now[COUNTER_LIMITED_PAYLOAD]++;
        return false;
    }
    if (*ev->topic == '$' || (!lim->publish_rate[kind] && !lim->byte_rate[kind]))
        return true; /* a refresh has a budget of its own */
    struct connection *conn = live_find(&pl->live, ev->client);
    if (!conn)
        return true;
    int64_t now_ms = plugin_now_ms(pl);
    if (!bucket_take(&conn->subject->publish, lim->publish_rate[kind], lim->publish_burst[kind], 1,
                     now_ms)) {
        pl->counters.now[COUNTER_LIMITED_PUBLISH_RATE]++;
        what = "publish_rate";
    } else if (!bucket_take(&conn->subject->bytes, lim->byte_rate[kind], lim->byte_burst[kind],
                            ev->payloadlen, now_ms)) {
        pl->counters.now[COUNTER_LIMITED_PUBLISH_BYTES]++;
        what = "byte_rate";
    }
    if (what)
        tell_limited(pl, conn, p, what);
    return !what;
}

/*
 * While a client is kicked the broker asks for what it has already: to say no
 * then would take the subscriptions of its durable session away.
 */
static bool may_add_subscription(struct plugin *pl, const struct mosquitto_evt_acl_check *ev,
                                 const struct principal *p)
{
    const struct limits_config *lim = &pl->options->limits;
    struct connection *conn = pl->is_kicking ? NULL : live_find(&pl->live, ev->client);
    int64_t have, max = lim->subscriptions_per_client;

    if (!conn)
        return true;
    if (!bucket_take(&conn->subscribe, lim->subscribe_rate, lim->subscribe_burst, 1,
                     plugin_now_ms(pl))) {
        pl->counters.now[COUNTER_LIMITED_SUBSCRIBE_RATE]++;
        return false;
    }
    if (p->kind == PRINCIPAL_USER && lim->user_subscriptions) {
        int64_t users = lim->user_subscriptions + principal_role_count(p);
        max = max && max < users ? max : users;
    }
    have = mosquitto_client_sub_count(ev->client);
    if (max && have >= max) {
        pl->counters.now[COUNTER_LIMITED_SUBSCRIPTIONS]++;
        return false;
    }
    return true;
}

/* An answer to a call: down/reply, or the two levels of a Response Topic. */
static bool is_answer(const struct principal *p, const char *topic)
{
    const char *leaf = strstr(topic, "/down/");

    return p->kind == PRINCIPAL_USER && leaf &&
           (strcmp(leaf + 6, "reply") == 0 || strchr(leaf + 6, '/'));
}

/*
 * A user decides how many answers of 64 KiB there are, and the broker keeps each for every session
 * that was left behind: of these only so many bytes.  A connection that is up gets all; what is in
 * the inbox is not counted, since others send it.
 */
static bool may_wait(struct plugin *pl, const struct mosquitto_evt_acl_check *ev,
                     const struct principal *p)
{
    struct subject *subj;

    if (!is_answer(p, ev->topic) || live_find(&pl->live, ev->client) ||
        !(subj = live_subject(&pl->live, p)))
        return true;
    if (bucket_take(&subj->answers, LIVE_ANSWERS_RATE, LIVE_ANSWERS_BURST, ev->payloadlen,
                    plugin_now_ms(pl)))
        return true;
    pl->counters.now[COUNTER_LIMITED_ANSWERS]++;
    return false;
}

static bool may_write(struct plugin *pl, const struct mosquitto_evt_acl_check *ev,
                      const struct principal *p)
{
    if (acl_may_write(p, ev->topic, ev->qos, ev->retain))
        return within_limits(pl, ev, p);
    pl->counters.now[COUNTER_DENIED_PUBLISH]++;
    return false;
}

static bool may_subscribe(struct plugin *pl, const struct mosquitto_evt_acl_check *ev,
                          const struct principal *p)
{
    if (acl_may_subscribe(p, ev->topic))
        return p->kind == PRINCIPAL_BRIDGE || may_add_subscription(pl, ev, p);
    pl->counters.now[COUNTER_DENIED_SUBSCRIBE]++;
    return false;
}

int access_check(struct plugin *pl, const struct mosquitto_evt_acl_check *ev)
{
    struct principal p;
    bool may = false;

    if (!ev->topic || !plugin_principal(pl, ev->client, &p))
        return MOSQ_ERR_ACL_DENIED;
    if (ev->access == MOSQ_ACL_READ)
        may = acl_may_read(&p, ev->topic) && !presence_is_stale(pl, ev) && may_wait(pl, ev, &p);
    else if (ev->access == MOSQ_ACL_WRITE)
        may = may_write(pl, ev, &p);
    else if (ev->access == MOSQ_ACL_SUBSCRIBE)
        may = may_subscribe(pl, ev, &p);
    else if (ev->access == MOSQ_ACL_UNSUBSCRIBE)
        may = true; /* of its own subscriptions only */
    return may ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED;
}
