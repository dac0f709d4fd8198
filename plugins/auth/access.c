/* SPDX-License-Identifier: MIT */
#include "plugin.h"

#include "acl.h"

#include <mqtt_protocol.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NOTICE_EVERY_MS = 1000,
    ANSWER_OVERHEAD = 1024 /* of an answer, for its topic and the call's Correlation Data */
};

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

/* Takes from the principal's budgets; NULL, or the one that is used up. */
static const char *take_bytes(struct plugin *pl, struct subject *subj, int64_t messages,
                              int64_t bytes)
{
    const struct limits_config *lim = &pl->options->limits;
    enum principal_kind kind = subj->kind;
    int64_t now_ms = plugin_now_ms(pl);

    if (!bucket_take(&subj->publish, lim->publish_rate[kind], lim->publish_burst[kind], messages,
                     now_ms)) {
        pl->counters.now[COUNTER_LIMITED_PUBLISH_RATE]++;
        return "publish_rate";
    }
    if (!bucket_take(&subj->bytes, lim->byte_rate[kind], lim->byte_burst[kind], bytes, now_ms)) {
        pl->counters.now[COUNTER_LIMITED_PUBLISH_BYTES]++;
        return "byte_rate";
    }
    return NULL;
}

/*
 * What a message weighs before its properties are known.  Those of a will are never shown to a
 * plugin: a will of MQTT 5 counts as the largest message that there may be.
 */
static int64_t weight_of(const struct plugin *pl, const struct mosquitto_evt_acl_check *ev,
                         enum principal_kind kind, bool is_will)
{
    const struct limits_config *lim = &pl->options->limits;
    int64_t bytes = (int64_t)ev->payloadlen + (int64_t)strlen(ev->topic);

    if (is_will && mosquitto_client_protocol_version(ev->client) == 5 && bytes < lim->payload_max)
        bytes = lim->payload_max < lim->byte_burst[kind] ? lim->payload_max : lim->byte_burst[kind];
    return bytes;
}

/* The limits on one message.  A will comes after its connection has ended: its principal pays. */
static bool within_limits(struct plugin *pl, const struct mosquitto_evt_acl_check *ev,
                          const struct principal *p)
{
    const struct limits_config *lim = &pl->options->limits;

    if (p->kind == PRINCIPAL_BRIDGE)
        return true;
    if (lim->payload_max && ev->payloadlen > lim->payload_max) {
        pl->counters.now[COUNTER_LIMITED_PAYLOAD]++;
        return false;
    }
    if (*ev->topic == '$')
        return true; /* a refresh has a budget of its own */
    struct connection *conn = live_find(&pl->live, ev->client);
    struct subject *subj = conn ? conn->subject : live_budget(&pl->live, p, pl->now_ms);
    if (!subj)
        return false;
    const char *what = take_bytes(pl, subj, 1, weight_of(pl, ev, p->kind, !conn));
    if (what && conn)
        tell_limited(pl, conn, p, what);
    return !what;
}

/* The bytes of one property, as the packet has them or a few less. */
static int64_t property_bytes(const mosquitto_property *property)
{
    int id = mosquitto_property_identifier(property);
    char *name = NULL, *text = NULL;
    void *data = NULL;
    uint16_t len = 0;

    if (id == MQTT_PROP_USER_PROPERTY)
        (void)mosquitto_property_read_string_pair(property, id, &name, &text, false);
    else if (id == MQTT_PROP_CONTENT_TYPE || id == MQTT_PROP_RESPONSE_TOPIC)
        (void)mosquitto_property_read_string(property, id, &text, false);
    else if (id == MQTT_PROP_CORRELATION_DATA)
        (void)mosquitto_property_read_binary(property, id, &data, &len, false);
    int64_t bytes =
        5 + len + (int64_t)(name ? strlen(name) : 0) + (int64_t)(text ? strlen(text) : 0);
    free(name);
    free(text);
    free(data);
    return bytes;
}

int access_message(struct plugin *pl, const struct mosquitto_evt_message *ev)
{
    const struct limits_config *lim = &pl->options->limits;
    struct connection *conn = ev->properties ? live_find(&pl->live, ev->client) : NULL;
    struct principal p;
    int64_t bytes = 0;

    if (!conn || conn->subject->kind == PRINCIPAL_BRIDGE || !plugin_principal(pl, ev->client, &p))
        return MOSQ_ERR_SUCCESS;
    for (const mosquitto_property *at = ev->properties; at; at = mosquitto_property_next(at))
        bytes += property_bytes(at);
    if (lim->payload_max && bytes + ev->payloadlen > lim->payload_max) {
        pl->counters.now[COUNTER_LIMITED_PAYLOAD]++;
        return MOSQ_ERR_ACL_DENIED;
    }
    const char *what = take_bytes(pl, conn->subject, 0, bytes);
    if (what)
        tell_limited(pl, conn, &p, what);
    return what ? MOSQ_ERR_ACL_DENIED : MOSQ_ERR_SUCCESS;
}

/* How many subscriptions a connection may have; 0: any number. */
static int64_t most_subscriptions(const struct plugin *pl, const struct principal *p)
{
    const struct limits_config *lim = &pl->options->limits;
    int64_t max = lim->subscriptions_per_client;

    if (p->kind == PRINCIPAL_USER && lim->user_subscriptions) {
        int64_t users = lim->user_subscriptions + principal_role_count(p);
        max = max && max < users ? max : users;
    }
    return max;
}

/*
 * A filter that the session has already adds nothing, whatever its options.  Which ones it has is
 * known of sessions that began in this process.  One that was restored from disk may repeat what
 * it had, so its places may double.
 */
static bool takes_place(struct plugin *pl, const struct mosquitto_evt_acl_check *ev, int64_t max)
{
    const char *client_id = mosquitto_client_id(ev->client);
    size_t places = (size_t)mosquitto_client_sub_count(ev->client);

    if (places < filters_count(&pl->filters, client_id))
        filters_forget(&pl->filters, client_id); /* the session began anew */
    if (filters_has(&pl->filters, client_id, ev->topic))
        return true;
    if (filters_count(&pl->filters, client_id) >= (size_t)max || places >= 2 * (size_t)max)
        return false;
    return filters_add(&pl->filters, client_id, ev->topic) == 0;
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
    int64_t max = most_subscriptions(pl, p);

    if (!conn)
        return true;
    if (!bucket_take(&conn->subscribe, lim->subscribe_rate, lim->subscribe_burst, 1,
                     plugin_now_ms(pl))) {
        pl->counters.now[COUNTER_LIMITED_SUBSCRIBE_RATE]++;
        return false;
    }
    if (max && !takes_place(pl, ev, max)) {
        pl->counters.now[COUNTER_LIMITED_SUBSCRIPTIONS]++;
        return false;
    }
    return true;
}

/* An answer to a call: down/reply, or whatever Response Topic a call may name below down/; what
 * others cause has a topic of its own. */
static bool is_answer(const struct principal *p, const char *topic)
{
    static const char *const others[] = {"inbox", "badge", "changed"};
    const char *leaf = p->kind == PRINCIPAL_USER ? strstr(topic, "/down/") : NULL;

    for (size_t i = 0; leaf && i < sizeof(others) / sizeof(others[0]); i++)
        if (strcmp(leaf + 6, others[i]) == 0)
            return false;
    return leaf != NULL;
}

/*
 * A user decides how many answers of 64 KiB there are, and the broker keeps each for every session
 * that was left behind, and for every connection that does not acknowledge: of these only so many
 * bytes.  What is in the inbox is not counted, since others send it.  What waits already when a
 * client comes back was counted before, and QoS 0 does not wait.
 */
static bool may_wait(struct plugin *pl, const struct mosquitto_evt_acl_check *ev,
                     const struct principal *p)
{
    if (ev->qos == 0 || !is_answer(p, ev->topic) || pl->connecting == ev->client)
        return true;
    struct connection *conn = live_find(&pl->live, ev->client);
    struct subject *subj = conn ? conn->subject : live_budget(&pl->live, p, pl->now_ms);
    int64_t bytes = (int64_t)ev->payloadlen + ANSWER_OVERHEAD, now_ms = plugin_now_ms(pl);
    if (subj &&
        (conn ? bucket_take(&subj->unread, LIVE_UNREAD_RATE, LIVE_UNREAD_BURST, bytes, now_ms)
              : bucket_take(&subj->answers, LIVE_ANSWERS_RATE, LIVE_ANSWERS_BURST, bytes, now_ms)))
        return true;
    pl->counters.now[COUNTER_LIMITED_ANSWERS]++;
    if (conn)
        tell_limited(pl, conn, p, "answers");
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
    if (pl->is_kicking) /* then the broker takes it away */
        filters_remove(&pl->filters, mosquitto_client_id(ev->client), ev->topic);
    pl->counters.now[COUNTER_DENIED_SUBSCRIBE]++;
    return false;
}

/* Of its own subscriptions only, so always. */
static bool may_unsubscribe(struct plugin *pl, const struct mosquitto_evt_acl_check *ev)
{
    filters_remove(&pl->filters, mosquitto_client_id(ev->client), ev->topic);
    return true;
}

int access_check(struct plugin *pl, const struct mosquitto_evt_acl_check *ev)
{
    struct principal p;
    bool may = false;

    if (ev->access != MOSQ_ACL_READ)
        pl->connecting = NULL; /* it is the next packet already */
    if (!ev->topic || !plugin_principal(pl, ev->client, &p))
        return MOSQ_ERR_ACL_DENIED;
    if (ev->access == MOSQ_ACL_READ)
        may = acl_may_read(&p, ev->topic) && !presence_is_stale(pl, ev) && may_wait(pl, ev, &p);
    else if (ev->access == MOSQ_ACL_WRITE)
        may = may_write(pl, ev, &p);
    else if (ev->access == MOSQ_ACL_SUBSCRIBE)
        may = may_subscribe(pl, ev, &p);
    else if (ev->access == MOSQ_ACL_UNSUBSCRIBE)
        may = may_unsubscribe(pl, ev);
    return may ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED;
}
