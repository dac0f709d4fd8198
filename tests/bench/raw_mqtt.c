/* SPDX-License-Identifier: MIT */
#include "raw.h"

#include "client.h"
#include "fleet.h"
#include "histogram.h"
#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WAIT_NS  ((int64_t)50 * 1000000)
#define DRAIN_NS ((int64_t)5 * 1000000000)

struct raw {
    const struct load_options *o;
    struct engine engine;
    struct fleet users, publishers;
    uint64_t sent, arrived, inside;
    int64_t from_ns, to_ns;
    struct histogram latency;
    unsigned next_user;
};

static void on_arrival(struct client *c, const struct wire_publish *m)
{
    struct fleet_member *user = c->owner;
    struct raw *r = user->owner;
    int64_t sent_ns, now_ns = r->engine.now_ns;

    if (m->payload_len < sizeof(sent_ns))
        return;
    memcpy(&sent_ns, m->payload, sizeof(sent_ns));
    r->arrived++;
    if (now_ns < r->from_ns || now_ns >= r->to_ns)
        return;
    r->inside++;
    histogram_add(&r->latency, now_ns - sent_ns);
}

static void on_nothing(struct client *c, const struct wire_publish *m)
{
    (void)c;
    (void)m;
}

static const struct client_events user_events = {.on_message = on_arrival};
static const struct client_events publisher_events = {.on_message = on_nothing};

static void publish_one(struct raw *r, struct fleet_member *from)
{
    static const char filler[64] = "the body of a raw message, as long as that of a notification  ";
    char topic[128];
    int64_t now_ns = r->engine.now_ns;
    size_t len = r->o->body_bytes < sizeof(now_ns) ? sizeof(now_ns) : r->o->body_bytes;
    struct fleet_member *to = &r->users.members[r->next_user];

    r->next_user = (r->next_user + 1) % r->users.count;
    int n = snprintf(topic, sizeof(topic), "notify/v1/users/%s/down/inbox", to->id);
    uint8_t *p = client_publish(&from->client, 1, topic, (size_t)n, len);
    memcpy(p, &now_ns, sizeof(now_ns));
    for (size_t at = sizeof(now_ns); at < len; at += sizeof(filler))
        memcpy(p + at, filler, len - at < sizeof(filler) ? len - at : sizeof(filler));
    r->sent++;
}

static void fill(struct raw *r)
{
    for (unsigned i = 0; i < r->publishers.count; i++) {
        struct fleet_member *from = &r->publishers.members[i];

        while (r->sent - r->arrived < r->o->window && client_may_publish(&from->client))
            publish_one(r, from);
    }
}

static int run(struct raw *r)
{
    int64_t now_ns = clock_ns();

    r->from_ns = now_ns + (int64_t)(r->o->warmup_s * 1e9);
    r->to_ns = r->from_ns + (int64_t)(r->o->seconds * 1e9);
    while ((now_ns = clock_ns()) < r->to_ns) {
        r->engine.now_ns = now_ns;
        fill(r);
        if (engine_turn(&r->engine, WAIT_NS))
            return -1;
    }
    while (r->arrived < r->sent && clock_ns() < r->to_ns + DRAIN_NS)
        if (engine_turn(&r->engine, WAIT_NS))
            return -1;
    return 0;
}

static int open_fleets(struct raw *r)
{
    struct fleet_config users = {.kind = "user",
                                 .count = r->o->users,
                                 .level = r->o->user_level,
                                 .subscribes = true,
                                 .events = &user_events,
                                 .owner = r};
    struct fleet_config publishers = {.kind = "bridge",
                                      .count = r->o->services,
                                      .level = 5,
                                      .events = &publisher_events,
                                      .owner = r};

    if (fleet_open(&r->users, &r->engine, r->o, &users))
        return -1;
    return fleet_open(&r->publishers, &r->engine, r->o, &publishers);
}

enum load_result raw_mqtt_run(const struct load_options *o)
{
    struct raw r = {.o = o};
    int err = engine_init(&r.engine);

    r.engine.gather_ns = (int64_t)o->gather_us * 1000;

    if (!err)
        err = open_fleets(&r);
    if (!err)
        err = run(&r);
    printf(
        "{\"mode\":\"raw-mqtt\",\"users\":%u,\"publishers\":%u,\"body_bytes\":%u,\"sent\":%" PRIu64
        ",\"arrived\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"messages_per_s\":%.1f,\"p50\":%.3f,"
        "\"p99\":%.3f,\"cpu_s\":%.3f,\"fault\":\"%s\"}\n",
        o->users, o->services, o->body_bytes, r.sent, r.arrived, r.sent - r.arrived,
        (double)r.inside / o->seconds, histogram_quantile_ms(&r.latency, 0.5),
        histogram_quantile_ms(&r.latency, 0.99), report_cpu_s(), r.engine.fault);
    fleet_close(&r.publishers);
    fleet_close(&r.users);
    engine_fini(&r.engine);
    if (err)
        return LOAD_BROKEN;
    return r.arrived == r.sent ? LOAD_OK : LOAD_LOST;
}
