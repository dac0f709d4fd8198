/* SPDX-License-Identifier: MIT */
/*
 * The users lane in a played world: events, inbox, people, requests and their rpc as they are, with
 * the store, from a program of operations.  Three bytes are one operation.
 *
 * What must hold: no panic; when the world is kind again the lane is read on; every rpc request has
 * one answer; nothing leaks.
 */
#include <stdint.h>
#include <stdio.h>

#include "../sim/play.h"
#include "base/log.h"
#include "services/asks.h"
#include "services/audit.h"
#include "services/events.h"
#include "services/inbox.h"
#include "services/people.h"
#include "services/requests_desk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COUNT(array)   (sizeof(array) / sizeof((array)[0]))
#define ROUNDS_OF_REST 60

struct world {
    struct metrics *metrics;
    struct store *store;
    struct asks *asks;
    struct inbox *inbox;
    struct people *people;
    struct requests_desk *requests;
    struct events *events;
    struct fence fence;
    size_t asked, answered;
    uint8_t draw;
};

/* ---- what the services ask of others ---- */

static bool acked(void *ctx, uint64_t delivery)
{
    struct world *world = ctx;

    return (delivery + world->draw) % 2 == 0;
}

static void on_user(void *ctx, const char *user)
{
    (void)ctx;
    ASSERT(user != NULL);
}

static void on_delivery(void *ctx, uint64_t delivery)
{
    (void)ctx, (void)delivery;
}

static void receipt(void *ctx, const char *service, const struct receipt *receipt)
{
    struct buf out = {0};

    (void)ctx, (void)service;
    receipt_write(receipt, &out);
    buf_fini(&out);
}

static void on_rpc(void *ctx, const struct topic_up *from, const struct mqtt_message *message)
{
    struct world *world = ctx;

    world->asked++;
    asks_receive(world->asks, from, message);
}

static void refuse(void *ctx, const struct topic_up *from, const struct mqtt_message *message,
                   const struct rejection *rejection)
{
    (void)ctx, (void)from, (void)message;
    ASSERT(!rejection || rejection->detail);
}

static void mark(void *ctx, const char *user, const struct ack *ack)
{
    inbox_add(((struct world *)ctx)->inbox, user, ack);
}

static bool is_named(void *ctx, const char *service)
{
    (void)ctx, (void)service;
    return true;
}

static bool has_marks(void *ctx)
{
    return inbox_has_events(((struct world *)ctx)->inbox);
}

static int commit(void *ctx, store_done_fn *on_done, void *done_ctx)
{
    return inbox_commit(((struct world *)ctx)->inbox, on_done, done_ctx);
}

static void forget(void *ctx)
{
    inbox_forget(((struct world *)ctx)->inbox);
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static void reply(void *ctx, const struct reply *reply)
{
    struct world *world = ctx;

    ASSERT(reply->topic && reply->payload_bytes > 0);
    world->answered++;
}

static void publish(void *ctx, const char *topic, const void *payload, size_t bytes)
{
    (void)ctx, (void)topic, (void)payload, (void)bytes;
}

static const char *roles(void *ctx, const char *user)
{
    struct world *world = ctx;

    (void)user;
    return world->draw % 2 ? "staff,ops" : "";
}

static size_t recall(void *ctx, uint64_t id, enum reason reason)
{
    (void)ctx;
    (void)id;
    (void)reason;
    return 0;
}

static bool is_full(void *ctx)
{
    return ((struct world *)ctx)->draw % 7 == 0;
}

static void store_up(void *ctx)
{
    (void)ctx;
}

static void store_down(void *ctx, const char *why)
{
    (void)ctx, (void)why;
}

/* ---- the world ---- */

static void world_open(struct world *world)
{
    static const struct store_config store_config = {.conninfo = "", .deadline_ms = 5000};
    static const struct store_handlers store_handlers = {store_up, store_down};
    static const struct events_config events_config = {0};
    struct asks_ops asks_ops = {.reply = reply, .is_named = is_named, .ctx = world};
    struct inbox_ops inbox_ops = {.publish = publish,
                                  .receipt = receipt,
                                  .touch = on_user,
                                  .roles = roles,
                                  .gone = on_delivery,
                                  .recall = recall,
                                  .is_full = is_full,
                                  .ctx = world};
    struct events_ops events_ops = {.acked = acked,
                                    .is_plain = acked,
                                    .heard = on_user,
                                    .receipt = receipt,
                                    .rpc = on_rpc,
                                    .refuse = refuse,
                                    .mark = mark,
                                    .has_marks = has_marks,
                                    .commit = commit,
                                    .forget = forget,
                                    .doubt = nothing,
                                    .ctx = world};

    memset(&play, 0, sizeof(play));
    play.now_ms = 1000;
    list_init(&play.deferred);
    world->fence.epoch = 7;
    world->metrics = metrics_new();
    world->store = store_open(NULL, &store_config, &store_handlers, world);
    world->asks = asks_new(NULL, world->store, world->metrics, &asks_ops);
    audit_open(world->asks, world->store);
    world->people = people_new(world->asks, world->store);
    world->requests = requests_desk_new(world->asks, world->store);
    world->inbox =
        inbox_new(NULL, world->asks, world->store, &world->fence, world->metrics, &inbox_ops);
    world->events =
        events_new(NULL, &events_config, world->store, &world->fence, world->metrics, &events_ops);
    play_database_up();
    events_open(world->events);
    play_lane_up();
}

static void world_close(struct world *world)
{
    events_close(world->events);
    inbox_stop_sweeps(world->inbox);
    store_close(world->store);
    play_turn();
    events_free(world->events);
    inbox_free(world->inbox);
    requests_desk_free(world->requests);
    people_free(world->people);
    asks_free(world->asks);
    metrics_free(world->metrics);
    play_forget_unacked();
    ASSERT(play.timer_count == 0);
}

/* ---- the operations ---- */

static const char *const users[] = {"bob", "eve", "%C3%BC"};
static const char *const ids[] = {"0000000000000000", "0000000000000001", "7fffffffffffffff",
                                  "ffffffffffffffff", "0000019d2f3a4b5d", "0000000000000004",
                                  "0000000000000002", "nonsense"};
static const char *const kinds[] = {"ack",   "read", "unread", "archive", "delete",
                                    "click", "seen", "junk",   "ack",     "read"};

/* Bytes that are no JSON, NUL among them: none of them may be taken for more than it is. */
static void send_bytes(const char *topic, uint8_t a, uint8_t b)
{
    char payload[256];

    memset(payload, a, sizeof(payload));
    payload[0] = (char)b;
    play_bytes(topic, payload, (size_t)b);
}

static void send_event(uint8_t a, uint8_t b)
{
    char topic[128], payload[256];

    snprintf(topic, sizeof(topic), "notify/v1/users/%s/up/%s", users[a % COUNT(users)],
             kinds[b % COUNT(kinds)]);
    if ((a & 0xf0) == 0x70) {
        send_bytes(topic, a & 0x0f, b);
        return;
    }
    if (a & 0x80)
        snprintf(payload, sizeof(payload), "{\"all\":true%s}",
                 b & 0x80 ? ",\"before\":\"2026-11-20T12:00:00Z\"" : "");
    else
        snprintf(payload, sizeof(payload), "{\"ids\":[\"%s\",\"%s\"]%s}", ids[(a / 3) % COUNT(ids)],
                 ids[(b / 10) % COUNT(ids)],
                 b % COUNT(kinds) == 5 ? ",\"url\":\"https://example.org/\"" : "");
    play_message(topic, payload);
}

static void send_rpc(uint8_t a, uint8_t b)
{
    static const struct {
        const char *kind, *method;
    } methods[] = {{"users", "history"},
                   {"users", "badge"},
                   {"users", "device.register"},
                   {"users", "device.unregister"},
                   {"services", "request.status"},
                   {"services", "request.cancel"},
                   {"services", "request.retract"},
                   {"services", "user.get"},
                   {"services", "user.upsert"},
                   {"services", "user.delete"},
                   {"services", "suppression.add"},
                   {"services", "suppression.remove"},
                   {"services", "suppression.list"},
                   {"admins", "audit.list"},
                   {"admins", "user.get"},
                   {"users", "junk"}};
    static const char *const params[] = {
        "{}",
        "{\"limit\":100}",
        "{\"since_seq\":0,\"limit\":1}",
        "{\"since_seq\":9223372036854775807}",
        "{\"id\":\"a-1\"}",
        "{\"id\":\"\"}",
        "{\"user\":\"bob\"}",
        "{\"user\":\"bob\",\"emails\":[\"a@b.example\"],\"phones\":[\"+15551234567\"]}",
        "{\"user\":\"bob\",\"emails\":[]}",
        "{\"channel\":\"email\",\"address\":\"a@b.example\",\"reason\":\"opted_out\"}",
        "{\"channel\":\"sms\",\"address\":\"+15551234567\"}",
        "{\"platform\":\"fcm\",\"token\":\"t\"}",
        "{\"token\":\"t\"}",
        "{\"before\":\"0000000000000000\"}",
        "null",
        "[",
    };
    char topic[160], payload[512];

    snprintf(topic, sizeof(topic), "notify/v1/%s/%s/up/rpc/%s", methods[a % COUNT(methods)].kind,
             users[(a >> 4) % COUNT(users)], methods[a % COUNT(methods)].method);
    if (b >= 0xf0) {
        send_bytes(topic, a & 0x0f, (uint8_t)(b << 4 | b));
        return;
    }
    snprintf(payload, sizeof(payload), "{\"rpc\":\"%u\",\"params\":%s}", b,
             params[b % COUNT(params)]);
    play_message(topic, payload);
}

static void disturb(uint8_t a, uint8_t b)
{
    switch (a % 4) {
    case 0:
        play.is_full = b % 2;
        break;
    case 1:
        play_database_down(b % 2 ? ERR_DOUBT : ERR_CLOSED);
        break;
    case 2:
        play_database_up();
        break;
    default:
        mqtt_discard(NULL, "played");
    }
}

static void operate(struct world *world, const uint8_t *op)
{
    static const int errs[] = {ERR_DOUBT, ERR_CLOSED, ERR_DATA, ERR_AGAIN, ERR_REFUSED};

    switch (op[0] % 10) {
    case 0:
    case 1:
    case 2:
        send_event(op[1], op[2]);
        break;
    case 3:
        send_rpc(op[1], op[2]);
        break;
    case 4:
        play_batch();
        break;
    case 5:
        (void)play_answer(0, 0, 0);
        break;
    case 6:
        (void)play_answer(0, op[1] % 4, op[2]);
        break;
    case 7:
        (void)play_answer(errs[op[1] % COUNT(errs)], 0, 0);
        break;
    case 8:
        play_time((int64_t)op[1] * op[2]);
        break;
    default:
        world->draw = op[2];
        disturb(op[1], op[2]);
    }
    play_turn();
    if (op[0] & 0x80)
        play_lane_up();
}

/* The world is kind: the lane must be read on, and every request have its answer. */
static void rest(struct world *world)
{
    play.is_full = false;
    world->draw = 1;
    play_database_up();
    for (int i = 0; i < ROUNDS_OF_REST; i++) {
        play_lane_up();
        play_batch();
        while (play_answer(0, 0, 0))
            play_turn();
        play_turn();
        play_time(1000);
    }
    if (play.is_held || !play.is_lane_up)
        panic("the lane stands although nothing is wrong any more");
    if (world->asked != world->answered)
        panic("an rpc request has no answer, or two");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world world = {0};

    log_set_level(LOG_LEVEL_ERROR);
    world_open(&world);
    for (size_t at = 0; at + 3 <= size && at < 3 * 200; at += 3)
        operate(&world, data + at);
    rest(&world);
    world_close(&world);
    return 0;
}
