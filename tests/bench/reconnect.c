/* SPDX-License-Identifier: MIT */
#include "reconnect.h"

#include "client.h"
#include "fleet.h"
#include "json_scan.h"
#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS ((int64_t)1000000000)
#define WAIT_NS   (SECOND_NS / 20)
#define PING_NS   (30 * SECOND_NS)

struct storm {
    const struct load_options *o;
    struct engine engine;
    struct fleet users;
    uint64_t *seen; /* ids, open addressing; a power of two of them, 0 is free */
    size_t mask;
    uint64_t messages, distinct, replays;
    int64_t last_ns; /* when the last new one came */
};

/* false: it came before. */
static bool is_new(struct storm *s, uint64_t id)
{
    size_t at = (size_t)(id * 0x9e3779b97f4a7c15ULL >> 20) & s->mask;

    for (; s->seen[at]; at = (at + 1) & s->mask)
        if (s->seen[at] == id)
            return false;
    s->seen[at] = id;
    return true;
}

static void ack_pending(struct fleet_member *user)
{
    static const char head[] = "{\"ids\":[", tail[] = "]}";
    size_t len = user->pending.len;

    if (!len || !client_may_publish(&user->client))
        return;
    len--; /* the comma behind the last id */
    uint8_t *p = client_publish(&user->client, 1, user->topic, user->topic_len,
                                sizeof(head) - 1 + len + sizeof(tail) - 1);
    memcpy(p, head, sizeof(head) - 1);
    memcpy(p + sizeof(head) - 1, user->pending.data, len);
    memcpy(p + sizeof(head) - 1 + len, tail, sizeof(tail) - 1);
    user->pending.len = 0;
}

static void on_inbox(struct client *c, const struct wire_publish *m)
{
    struct fleet_member *user = c->owner;
    struct storm *s = user->owner;
    struct json_scan scan = json_scan_over(m->payload, m->payload_len);
    struct json_slice key, value, id = {0}, text;
    bool is_replay = false;

    if (m->topic_len < 6 || memcmp(m->topic + m->topic_len - 6, "/inbox", 6) != 0 ||
        !json_scan_enter(&scan, '{'))
        return;
    while (json_scan_member(&scan, &key, &value)) {
        if (json_slice_is(key, "id"))
            id = value;
        else if (json_slice_is(key, "replay"))
            is_replay = true;
    }
    if (!id.len || !json_slice_text(id, &text))
        return;
    s->messages++;
    s->replays += is_replay;
    if (is_new(s, strtoull(text.at, NULL, 16)) && ++s->distinct)
        s->last_ns = s->engine.now_ns;
    uint8_t *p = wire_buf_room(&user->pending, id.len + 1);
    memcpy(p, id.at, id.len);
    p[id.len] = ',';
    user->pending.len += id.len + 1;
}

static void on_drained(struct client *c)
{
    ack_pending(c->owner);
}

/* Until all of it is there, or nothing new has come for drain_s. */
static int wait_for_all(struct storm *s)
{
    int64_t ping_ns = clock_ns() + PING_NS, moved_ns = clock_ns();
    uint64_t before = 0;

    while (s->distinct < s->o->count) {
        int64_t now_ns = clock_ns();

        if (s->distinct != before) {
            before = s->distinct;
            moved_ns = now_ns;
        }
        if (now_ns - moved_ns > (int64_t)(s->o->drain_s * 1e9))
            return 0;
        if (now_ns > ping_ns) {
            fleet_ping(&s->users);
            ping_ns = now_ns + PING_NS;
        }
        if (engine_turn(&s->engine, WAIT_NS))
            return -1;
    }
    /* What comes twice comes soon. */
    for (int64_t end_ns = clock_ns() + 2 * SECOND_NS; clock_ns() < end_ns;)
        if (engine_turn(&s->engine, WAIT_NS))
            return -1;
    return 0;
}

enum load_result reconnect_run(const struct load_options *o)
{
    static const struct client_events events = {.on_message = on_inbox, .on_drained = on_drained};
    struct storm s = {.o = o, .mask = 1023};
    struct fleet_config users = {.kind = "user",
                                 .topic_leaf = "up/ack",
                                 .count = o->users,
                                 .level = o->user_level,
                                 .subscribes = true,
                                 .events = &events,
                                 .owner = &s};
    int err = engine_init(&s.engine);

    while (s.mask < 4 * (size_t)o->count)
        s.mask = s.mask * 2 + 1;
    s.seen = calloc(s.mask + 1, sizeof(*s.seen));
    if (!s.seen)
        return LOAD_BROKEN;
    int64_t start_ns = clock_ns();
    if (!err)
        err = fleet_open(&s.users, &s.engine, o, &users);
    int64_t open_ns = clock_ns();
    if (!err)
        err = wait_for_all(&s);
    printf("{\"mode\":\"reconnect\",\"users\":%u,\"expected\":%u,\"distinct\":%" PRIu64
           ",\"repeats\":%" PRIu64 ",\"replays\":%" PRIu64
           ",\"connected_s\":%.2f,\"delivered_s\":%.2f,\"cpu_s\":%.3f,\"fault\":\"%s\"}\n",
           o->users, o->count, s.distinct, s.messages - s.distinct, s.replays,
           (double)(open_ns - start_ns) / 1e9, (double)(s.last_ns - start_ns) / 1e9, report_cpu_s(),
           s.engine.fault);
    fleet_close(&s.users);
    engine_fini(&s.engine);
    free(s.seen);
    if (err)
        return LOAD_BROKEN;
    return s.distinct == o->count ? LOAD_OK : LOAD_LOST;
}
