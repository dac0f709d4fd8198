/* SPDX-License-Identifier: MIT */
#include "traffic.h"

#include "client.h"
#include "fleet.h"
#include "json_scan.h"
#include "ledger.h"
#include "report.h"
#include "request.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS       ((int64_t)1000000000)
#define LONGEST_WAIT_NS (SECOND_NS / 10)
#define PING_NS         (30 * SECOND_NS)
#define FLOOD_WINDOW    500 /* publishes unacknowledged per service */
#define PENDING_FULL    4096

struct traffic {
    const struct load_options *o;
    struct engine engine;
    struct ledger ledger;
    struct request_template request;
    struct fleet users, services;
    struct report_extra extra;
    int64_t start_ns, stop_ns, next_ping_ns, next_progress_ns;
    uint64_t random;
    unsigned next_service;
    bool is_over; /* nothing more is to be sent */
    bool told_measuring;
};

static uint64_t next_random(struct traffic *t)
{
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return t->random;
}

static uint64_t unix_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Users ---------------------------------------------------------------- */

static void ack_pending(struct fleet_member *user)
{
    static const char head[] = "{\"ids\":[", tail[] = "]}";
    struct traffic *t = user->owner;
    size_t len = user->pending.len;

    if (!len || !client_may_publish(&user->client))
        return;
    len--; /* the comma behind the last id */
    uint8_t *p = client_publish(&user->client, t->o->ack_qos, user->topic, user->topic_len,
                                sizeof(head) - 1 + len + sizeof(tail) - 1);
    memcpy(p, head, sizeof(head) - 1);
    memcpy(p + sizeof(head) - 1, user->pending.data, len);
    memcpy(p + sizeof(head) - 1 + len, tail, sizeof(tail) - 1);
    user->pending.len = 0;
    t->extra.acks++;
}

static void on_inbox(struct client *c, const struct wire_publish *m)
{
    struct fleet_member *user = c->owner;
    struct traffic *t = user->owner;
    struct json_scan s = json_scan_over(m->payload, m->payload_len);
    struct json_slice key, value, id = {0};
    bool found = false;
    uint32_t n = 0;

    if (m->topic_len < 6 || memcmp(m->topic + m->topic_len - 6, "/inbox", 6) != 0)
        return;
    if (!json_scan_enter(&s, '{'))
        return;
    while (json_scan_member(&s, &key, &value)) {
        if (json_slice_is(key, "id"))
            id = value;
        if (!json_slice_is(key, "data"))
            continue;
        struct json_scan data = json_scan_over(value.at, value.len);
        if (json_scan_enter(&data, '{'))
            while (json_scan_member(&data, &key, &value))
                if (json_slice_is(key, "n") && json_slice_text(value, &value))
                    found = request_of_data(&t->request, value, &n);
    }
    if (!found || !id.len) {
        t->ledger.strangers++;
    } else {
        ledger_arrived(&t->ledger, n, t->engine.now_ns);
    }
    if (!id.len)
        return;
    uint8_t *p = wire_buf_room(&user->pending, id.len + 1);
    memcpy(p, id.at, id.len);
    p[id.len] = ',';
    user->pending.len += id.len + 1;
    if (user->pending.len > PENDING_FULL)
        ack_pending(user);
}

static void on_user_drained(struct client *c)
{
    ack_pending(c->owner);
}

/* Services ------------------------------------------------------------- */

static bool is_listed(struct json_slice word, const char *list)
{
    for (const char *at = list; *at;) {
        size_t n = strcspn(at, ",");

        if (n && n == word.len && memcmp(at, word.at, n) == 0)
            return true;
        at += n + (at[n] == ',');
    }
    return false;
}

static void on_final(struct fleet_member *service, uint32_t n, struct json_slice status,
                     struct json_slice reason)
{
    struct traffic *t = service->owner;
    struct ledger *l = &t->ledger;
    enum ledger_final f = LEDGER_OTHER;

    if (is_listed(status, t->o->settled))
        f = LEDGER_SETTLED;
    else if (json_slice_is(status, "dead"))
        f = LEDGER_DEAD;
    else if (json_slice_is(status, "rejected"))
        f = LEDGER_REJECTED;
    else if (!is_listed(status, "suppressed,expired,cancelled"))
        return; /* on the way: sent, retrying, read ... */
    if (!ledger_final(l, n, f, t->engine.now_ns))
        return;
    service->unsettled--;
    if (f != LEDGER_SETTLED && !l->first_reason[0])
        snprintf(l->first_reason, sizeof(l->first_reason), "%.*s %.*s", (int)status.len, status.at,
                 (int)(reason.len < 60 ? reason.len : 60), reason.len ? reason.at : "");
}

static void on_receipt(struct fleet_member *service, struct json_slice object)
{
    struct traffic *t = service->owner;
    struct json_scan s = json_scan_over(object.at, object.len);
    struct json_slice key, value, id = {0}, status = {0}, reason = {0};
    uint32_t n = 0;

    if (!json_scan_enter(&s, '{'))
        return;
    while (json_scan_member(&s, &key, &value)) {
        if (json_slice_is(key, "id"))
            (void)json_slice_text(value, &id);
        else if (json_slice_is(key, "status"))
            (void)json_slice_text(value, &status);
        else if (json_slice_is(key, "reason"))
            (void)json_slice_text(value, &reason);
    }
    if (!request_of_id(&t->request, id, &n)) {
        t->ledger.strangers++;
        return;
    }
    if (json_slice_is(status, "accepted"))
        ledger_accepted(&t->ledger, n, t->engine.now_ns);
    else
        on_final(service, n, status, reason);
}

static void on_service_message(struct client *c, const struct wire_publish *m)
{
    struct fleet_member *service = c->owner;
    struct traffic *t = service->owner;
    struct json_scan s = json_scan_over(m->payload, m->payload_len);
    struct json_slice object;

    if (m->topic_len < 8 || memcmp(m->topic + m->topic_len - 8, "/receipt", 8) != 0)
        return;
    t->extra.receipt_messages++;
    if (!json_scan_enter(&s, '[')) {
        on_receipt(service, (struct json_slice){.at = m->payload, .len = m->payload_len});
        return;
    }
    while (json_scan_element(&s, &object))
        on_receipt(service, object);
}

static void on_service_puback(struct client *c, uint8_t reason)
{
    struct fleet_member *service = c->owner;
    struct traffic *t = service->owner;

    if (reason >= 0x80)
        t->extra.refused++;
}

static const struct client_events user_events = {.on_message = on_inbox,
                                                 .on_drained = on_user_drained};
static const struct client_events service_events = {.on_message = on_service_message,
                                                    .on_puback = on_service_puback};

/* Pacing --------------------------------------------------------------- */

/* Publishes `batch` requests as one message; the i-th was due at due_ns(i). */
static void publish(struct traffic *t, struct fleet_member *service, unsigned batch,
                    int64_t first_due_ns, int64_t interval_ns)
{
    size_t len = batch * t->request.len + (batch > 1 ? batch + 1 : 0);
    char *p = (char *)client_publish(&service->client, 1, service->topic, service->topic_len, len);
    uint64_t ms = unix_ms() + (uint64_t)t->o->ahead_s * 1000;

    for (unsigned i = 0; i < batch; i++) {
        uint32_t n = ledger_send(&t->ledger, first_due_ns + (int64_t)i * interval_ns);

        if (batch > 1)
            *p++ = i ? ',' : '[';
        request_write(&t->request, p, n, (unsigned)(next_random(t) % t->o->users), ms);
        p += t->request.len;
    }
    if (batch > 1)
        *p = ']';
    service->unsettled += batch;
}

static struct fleet_member *next_service(struct traffic *t)
{
    t->next_service = (t->next_service + 1) % t->services.count;
    return &t->services.members[t->next_service];
}

/* How many requests the next publish may carry; 0 when all have been sent. */
static unsigned next_batch(const struct traffic *t)
{
    uint32_t left = t->o->count ? t->o->count - t->ledger.count : t->o->batch;

    return left < t->o->batch ? left : t->o->batch;
}

static void fill_windows(struct traffic *t)
{
    unsigned share = t->o->window / t->o->services, batch;

    if (share < t->o->batch)
        share = t->o->batch;
    for (unsigned i = 0; i < t->services.count; i++) {
        struct fleet_member *s = &t->services.members[i];

        while ((batch = next_batch(t)) && s->unsettled + batch <= share &&
               client_may_publish(&s->client))
            publish(t, s, batch, t->engine.now_ns, 0);
    }
    t->is_over = !next_batch(t);
}

/* Sends what is due; returns when the next is. */
static int64_t keep_rate(struct traffic *t, int64_t now_ns)
{
    int64_t interval = (int64_t)((double)SECOND_NS / t->o->rate);
    unsigned batch;

    while ((batch = next_batch(t))) {
        int64_t due = t->start_ns + (int64_t)((double)t->ledger.count / t->o->rate * 1e9);
        int64_t ready = due + (int64_t)(batch - 1) * interval;

        if (ready > now_ns)
            return ready;
        struct fleet_member *s = next_service(t);
        if (!client_may_publish(&s->client))
            return now_ns + SECOND_NS / 1000;
        publish(t, s, batch, due, interval);
    }
    t->is_over = true;
    return now_ns;
}

static void flood(struct traffic *t)
{
    bool all_acked = true;
    unsigned batch;

    for (unsigned i = 0; i < t->services.count; i++) {
        struct fleet_member *s = &t->services.members[i];

        while ((batch = next_batch(t)) && s->client.unacked < FLOOD_WINDOW &&
               client_may_publish(&s->client))
            publish(t, s, batch, t->engine.now_ns, 0);
        all_acked = all_acked && !s->client.unacked;
    }
    t->is_over = !next_batch(t) && all_acked;
}

static void tell(const struct traffic *t, const char *event, int64_t now_ns)
{
    const struct ledger *l = &t->ledger;

    if (!t->o->progress)
        return;
    fprintf(stderr,
            "{\"event\":\"%s\",\"t\":%.3f,\"sent\":%u,\"accepted\":%" PRIu64 ",\"arrived\":%" PRIu64
            ",\"settled\":%" PRIu64 ",\"cpu_s\":%.3f}\n",
            event, (double)(now_ns - t->start_ns) / 1e9, l->count, l->accepted, l->arrived,
            l->finals[LEDGER_SETTLED], report_cpu_s());
}

static void chores(struct traffic *t, int64_t now_ns)
{
    if (now_ns >= t->next_ping_ns) {
        fleet_ping(&t->users);
        fleet_ping(&t->services);
        t->next_ping_ns = now_ns + PING_NS;
    }
    if (!t->told_measuring && now_ns >= t->ledger.from_ns) {
        t->told_measuring = true;
        tell(t, "measuring", now_ns);
    }
    if (now_ns >= t->next_progress_ns) {
        tell(t, "progress", now_ns);
        t->next_progress_ns = now_ns + SECOND_NS;
    }
}

static int send_phase(struct traffic *t)
{
    for (;;) {
        int64_t now = clock_ns(), next = now + LONGEST_WAIT_NS;

        if (now >= t->stop_ns || t->is_over) {
            tell(t, "sent", now);
            return 0;
        }
        t->engine.now_ns = now;
        if (t->o->flood) {
            flood(t);
        } else if (t->o->rate > 0) {
            int64_t due = keep_rate(t, now);
            next = due < next ? due : next;
        } else {
            fill_windows(t);
        }
        chores(t, now);
        if (engine_turn(&t->engine, next - clock_ns()))
            return -1;
    }
}

/* Waits until all is settled, or nothing has moved for drain_s. */
static int drain_phase(struct traffic *t)
{
    int64_t moved_ns = clock_ns();
    uint64_t seen = 0;

    while (t->ledger.open) {
        struct ledger *l = &t->ledger;
        uint64_t now_seen = l->accepted + l->arrived + l->count - l->open;
        int64_t now = clock_ns();

        if (now_seen != seen) {
            seen = now_seen;
            moved_ns = now;
        }
        if (now - moved_ns > (int64_t)(t->o->drain_s * 1e9))
            return 0;
        chores(t, now);
        if (engine_turn(&t->engine, LONGEST_WAIT_NS))
            return -1;
    }
    return 0;
}

static int open_fleets(struct traffic *t)
{
    const struct load_options *o = t->o;
    struct fleet_config users = {.kind = "user",
                                 .topic_leaf = "up/ack",
                                 .count = t->ledger.expects_inbox ? o->users : 0,
                                 .level = o->user_level,
                                 .subscribes = true,
                                 .events = &user_events,
                                 .owner = t};
    struct fleet_config services = {.kind = "service",
                                    .topic_leaf = "up/request",
                                    .count = o->services,
                                    .level = 5,
                                    .subscribes = true,
                                    .events = &service_events,
                                    .owner = t};

    if (users.count && fleet_open(&t->users, &t->engine, o, &users))
        return -1;
    return fleet_open(&t->services, &t->engine, o, &services);
}

static void set_times(struct traffic *t)
{
    struct ledger *l = &t->ledger;

    t->start_ns = clock_ns();
    t->next_ping_ns = t->start_ns + PING_NS;
    t->next_progress_ns = t->start_ns + SECOND_NS;
    l->from_ns = t->start_ns;
    t->stop_ns = l->to_ns = INT64_MAX;
    if (t->o->count)
        return;
    l->from_ns += (int64_t)(t->o->warmup_s * 1e9);
    t->stop_ns = l->to_ns = l->from_ns + (int64_t)(t->o->seconds * 1e9);
}

static enum load_result conclude(struct traffic *t, int err)
{
    struct ledger *l = &t->ledger;
    uint64_t lost = ledger_close(l);
    int64_t to = t->o->count ? l->last_final_ns : l->to_ns;

    t->extra.measured_s = to > l->from_ns ? (double)(to - l->from_ns) / 1e9 : 0;
    t->extra.recvs = t->engine.recvs;
    t->extra.sends = t->engine.sends;
    t->extra.fault = t->engine.fault;
    report_ledger(stdout, t->o, l, &t->extra);
    if (err)
        return LOAD_BROKEN;
    return lost || l->unarrived || l->finals[LEDGER_SETTLED] != l->count ? LOAD_LOST : LOAD_OK;
}

enum load_result traffic_run(const struct load_options *o)
{
    struct traffic t = {.o = o, .random = 0x9e3779b97f4a7c15};
    uint32_t run = (uint32_t)(unix_ms() ^ ((uint64_t)getpid() << 10));
    int err = engine_init(&t.engine);

    t.engine.gather_ns = (int64_t)o->gather_us * 1000;
    ledger_init(&t.ledger, strcmp(o->channel, "in_app") == 0);
    if (!err)
        err = request_init(&t.request, o, run);
    if (!err)
        err = open_fleets(&t);
    set_times(&t);
    if (!err)
        err = send_phase(&t);
    if (!err)
        err = drain_phase(&t);
    enum load_result result = conclude(&t, err);
    fleet_close(&t.services);
    fleet_close(&t.users);
    request_fini(&t.request);
    ledger_fini(&t.ledger);
    engine_fini(&t.engine);
    return result;
}
