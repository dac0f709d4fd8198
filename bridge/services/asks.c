/* SPDX-License-Identifier: MIT */
#include "services/asks.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/panic.h"
#include "base/timefmt.h"
#include "core/id.h"
#include "core/request.h"
#include "services/asks_queue.h"
#include "store/audit.h"

#include <stdlib.h>
#include <string.h>

/* Of an answer beside its list: topic, Correlation Data of 1 KiB, and what ends it. */
#define BESIDE_LIST 2048

struct table {
    const struct method *methods;
    size_t count;
    void *service;
};

struct asks {
    struct loop *loop;
    struct store *store;
    struct asks_ops ops;
    struct table tables[ASKS_TABLES];
    size_t table_count;
    struct asks_queue *queue;
    struct loop_deferred go_on;
    struct metric *received, *failed, *busy, *waiting, *running;
    struct queue_metrics queue_metrics;
};

static void run_next(void *ctx);

struct asks *asks_new(struct loop *loop, struct store *store, struct metrics *metrics,
                      const struct asks_ops *ops)
{
    struct asks *asks = xcalloc(1, sizeof(*asks));

    asks->loop = loop;
    asks->store = store;
    asks->queue = asks_queue_new();
    asks->go_on = (struct loop_deferred){.run = run_next, .ctx = asks};
    asks->ops = *ops;
    asks->received =
        metrics_get(metrics, METRIC_COUNTER, "tocsin_rpc_total", "Calls received.", NULL);
    asks->failed = metrics_get(metrics, METRIC_COUNTER, "tocsin_rpc_failed_total",
                               "Calls answered with an error.", NULL);
    asks->busy = metrics_get(metrics, METRIC_COUNTER, "tocsin_rpc_busy_total",
                             "Calls answered with busy: too many are under way.", NULL);
    asks->queue_metrics = metrics_get_queue(metrics, "queue=\"rpc\"");
    asks->waiting = metrics_get(metrics, METRIC_GAUGE, "tocsin_rpc_waiting",
                                "Calls that wait for their turn.", NULL);
    asks->running =
        metrics_get(metrics, METRIC_GAUGE, "tocsin_rpc_running", "Calls under way.", NULL);
    return asks;
}

static void ask_free(struct ask *ask)
{
    buf_fini(&ask->out);
    arena_free(ask->arena);
}

void asks_free(struct asks *asks)
{
    struct asks_place *place;

    loop_defer_cancel(asks->loop, &asks->go_on);
    while ((place = asks_queue_drop(asks->queue)))
        ask_free(CONTAINER_OF(place, struct ask, place));
    asks_queue_free(asks->queue);
    free(asks);
}

void asks_add(struct asks *asks, const struct method *methods, size_t count, void *service)
{
    ASSERT(asks->table_count < ASKS_TABLES);
    asks->tables[asks->table_count++] = (struct table){methods, count, service};
}

/* ---- answers ---- */

void ask_answer(struct ask *ask)
{
    struct asks *asks = ask->asks;

    if (ask->rpc.error->code) {
        buf_clear(&ask->out);
        rpc_write_error(&ask->rpc, &ask->out);
        metric_add(asks->failed, 1);
    }
    ask->reply.payload = buf_text(&ask->out);
    ask->reply.payload_bytes = ask->out.length;
    asks->ops.reply(asks->ops.ctx, &ask->reply);
    if (ask->place.caller) {
        asks_queue_end(asks->queue, &ask->place);
        metric_add(asks->queue_metrics.taken, 1);
        loop_defer(asks->loop, &asks->go_on);
    }
    ask_free(ask);
}

void ask_fail(struct ask *ask, int err)
{
    if (err == ERR_NOT_FOUND)
        (void)rpc_fail(&ask->rpc, RPC_NOT_FOUND, "there is none of this id", "id");
    else if (err == ERR_DATA)
        (void)rpc_fail(&ask->rpc, "bad_value", "the database cannot store this", NULL);
    else if ((err == ERR_FULL || err == ERR_CLOSED) && store_is_up(ask->asks->store))
        (void)rpc_fail(&ask->rpc, RPC_BUSY, "the bridge has too much under way; try again", NULL);
    else
        (void)rpc_fail(&ask->rpc, RPC_UNAVAILABLE, "the database is away; try again", NULL);
    ask_answer(ask);
}

void ask_begin(struct ask *ask)
{
    rpc_begin_result(&ask->rpc, &ask->out);
}

void ask_end(struct ask *ask)
{
    rpc_end_result(&ask->out);
    ask_answer(ask);
}

size_t ask_answer_max(const struct ask *ask)
{
    const struct asks_ops *ops = &ask->asks->ops;
    size_t packet = ops->packet_max ? ops->packet_max(ops->ctx) : SIZE_MAX;

    if (packet == SIZE_MAX)
        return packet;
    return packet > BESIDE_LIST ? packet - BESIDE_LIST : 0;
}

bool ask_keep_entry(struct ask *ask, size_t before, bool is_first)
{
    size_t most = ask_answer_max(ask);

    if (is_first || ask->out.length <= (most < ASK_ANSWER_BYTES ? most : ASK_ANSWER_BYTES))
        return true;
    ask->out.length = before;
    ask->out.data[before] = '\0';
    return false;
}

void ask_end_page(struct ask *ask, uint64_t next)
{
    char id[ID_TEXT_BYTES];

    buf_add_char(&ask->out, ']');
    if (next)
        buf_add_member(&ask->out, "next", id_format(next, id));
    buf_add_char(&ask->out, '}');
    ask_end(ask);
}

static void add_masked(const struct json *value, struct buf *out)
{
    char masked[64];

    if (value->kind == JSON_KIND_STRING) {
        log_mask(value->text, masked, sizeof(masked));
        buf_add_json(out, masked);
    } else {
        buf_printf(out, "%u", value->count);
    }
}

/* The audit is kept for ever: an address in it is masked, and of what may be long only its size. */
static bool is_personal(const char *name)
{
    static const char *const names[] = {"address", "token",   "email", "phone",
                                        "emails",  "phones",  "chats", "webhooks",
                                        "url",     "devices", "keys",  "content"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static void add_param(const struct json *value, struct buf *out)
{
    if (!is_personal(value->key)) {
        json_write(value, out);
    } else if (value->kind == JSON_KIND_ARRAY && value->first &&
               value->first->kind == JSON_KIND_STRING) {
        buf_add_char(out, '[');
        for (const struct json *at = value->first; at; at = at->next) {
            add_masked(at, out);
            if (at->next)
                buf_add_char(out, ',');
        }
        buf_add_char(out, ']');
    } else {
        add_masked(value, out);
    }
}

const char *ask_params(struct ask *ask)
{
    struct buf out = {0};
    const char *text;

    buf_add_char(&out, '{');
    for (const struct json *at = ask->rpc.params ? ask->rpc.params->first : NULL; at;
         at = at->next) {
        buf_add_json(&out, at->key);
        buf_add_char(&out, ':');
        add_param(at, &out);
        if (at->next)
            buf_add_char(&out, ',');
    }
    buf_add_char(&out, '}');
    text = arena_strdup(ask->arena, buf_text(&out));
    buf_fini(&out);
    return text;
}

const struct audited *ask_audited(struct ask *ask, const char *counted)
{
    struct audited *audited;

    if (ask->kind == TOPIC_USER)
        return NULL;
    audited = arena_zalloc(ask->arena, sizeof(*audited));
    *audited = (struct audited){
        .author = ask->admin ? ask->admin : arena_printf(ask->arena, "service/%s", ask->from),
        .action = ask->method->name,
        .call = ask->rpc.rpc,
        .params = ask_params(ask),
        .before = ask->before,
        .after = ask->after,
        .counted = counted};
    return audited;
}

void ask_changed(struct ask *ask, const char *name, int64_t count)
{
    const char *result = arena_printf(ask->arena, "{\"%s\":%lld}", name, (long long)count);

    buf_clear(&ask->out);
    ask_begin(ask);
    buf_add_text(&ask->out, result);
    ask_end(ask);
}

void ask_add_time(struct ask *ask, const char *name, int64_t wall_ms)
{
    char text[TIMEFMT_BYTES];

    buf_printf(&ask->out, ",\"%s\":\"%s\"", name, timefmt_wall(wall_ms, text));
}

void ask_add_target(struct ask *ask, const char *address)
{
    char masked[64];

    if (ask->admin || !address) {
        buf_add_member(&ask->out, "target", address);
        return;
    }
    log_mask(address, masked, sizeof(masked));
    buf_add_member(&ask->out, "target", masked);
}

void ask_add_recipient(struct ask *ask, int kind, const char *recipient, const char *user)
{
    topic_add_id(&ask->out, "user", user);
    if (kind == RECIPIENT_USER)
        topic_add_id(&ask->out, "user", recipient);
    else if (kind == RECIPIENT_ROLE)
        topic_add_id(&ask->out, "role", recipient);
    else
        ask_add_target(ask, recipient);
}

/* ---- the door ---- */

static void refuse_busy(struct ask *ask, bool is_own)
{
    static const char *const names[] = {
        [TOPIC_SERVICE] = "too many requests of services are under way; try again",
        [TOPIC_USER] = "too many requests of users are under way; try again",
        [TOPIC_ADMIN] = "too many requests of admins are under way; try again",
    };

    metric_add(ask->asks->busy, 1);
    (void)rpc_fail(&ask->rpc, RPC_BUSY,
                   is_own ? "too many of your own requests are under way; wait for their answers"
                          : names[ask->kind],
                   NULL);
    ask_answer(ask);
}

/* What waited while the database went away is answered now, and not when it is back. */
static void run_next(void *ctx)
{
    struct asks *asks = ctx;
    struct asks_place *place;

    while ((place = asks_queue_next(asks->queue))) {
        struct ask *ask = CONTAINER_OF(place, struct ask, place);

        if (store_is_up(asks->store))
            ask->method->run(ask);
        else
            ask_fail(ask, ERR_CLOSED);
    }
    metric_set(asks->waiting, (double)asks_queue_waiting(asks->queue));
    metric_set(asks->running, (double)asks_queue_running(asks->queue));
    metric_set(asks->queue_metrics.depth,
               (double)(asks_queue_waiting(asks->queue) + asks_queue_running(asks->queue)));
}

static const struct method *find(const struct asks *asks, const struct topic_up *from,
                                 void **service)
{
    const char *name = from->event + strlen("rpc/");

    for (size_t i = 0; i < asks->table_count; i++) {
        const struct table *table = &asks->tables[i];

        for (size_t m = 0; m < table->count; m++) {
            const struct method *method = &table->methods[m];

            if ((method->kinds & (1u << from->kind)) && strcmp(method->name, name) == 0) {
                *service = table->service;
                return method;
            }
        }
    }
    return NULL;
}

/* Names a method of this kind of caller that differs by a letter, if there is one. */
static const char *no_such_method(const struct asks *asks, const struct topic_up *from,
                                  struct arena *arena)
{
    static const char none[] = "there is no such method for you";
    const char *name = from->event + strlen("rpc/");

    for (size_t i = 0; i < asks->table_count; i++)
        for (size_t m = 0; m < asks->tables[i].count; m++) {
            const struct method *method = &asks->tables[i].methods[m];

            if ((method->kinds & (1u << from->kind)) && fields_is_slip(name, method->name))
                return arena_printf(arena, "%s; is \"%s\" meant?", none, method->name);
        }
    return none;
}

static bool is_allowed(const struct asks *asks, const struct method *method,
                       const struct topic_up *from)
{
    return from->kind != TOPIC_SERVICE ||
           (method->kinds & ASK_NAMED_SERVICES) != ASK_NAMED_SERVICES ||
           asks->ops.is_named(asks->ops.ctx, from->id);
}

void asks_receive(struct asks *asks, const struct topic_up *from,
                  const struct mqtt_message *message)
{
    bool is_own = false;
    void *service = NULL;
    const struct method *method = find(asks, from, &service);
    struct arena *arena = arena_new(2048);
    struct ask *ask = arena_zalloc(arena, sizeof(*ask));
    /* Read values point into the payload, and outlive the message. */
    const char *payload = arena_copy(arena, message->payload, message->payload_bytes);

    metric_add(asks->received, 1);
    ask->asks = asks;
    ask->arena = arena;
    ask->method = method;
    ask->service = service;
    ask->own = method && method->own_bytes ? arena_zalloc(arena, method->own_bytes) : NULL;
    ask->kind = from->kind;
    ask->from = arena_strdup(arena, from->id);
    ask->admin = from->kind == TOPIC_ADMIN ? ask->from : NULL;
    reply_address(&ask->reply, from, message, arena);
    if (rpc_read(&ask->rpc, payload, message->payload_bytes, arena)) {
        ask_answer(ask);
    } else if (message->correlation_bytes > REPLY_CORRELATION_MAX) {
        (void)rpc_fail(&ask->rpc, "too_large", "Correlation Data has at most 1,024 bytes", NULL);
        ask_answer(ask);
    } else if (!method) {
        (void)rpc_fail(&ask->rpc, RPC_UNKNOWN_METHOD, no_such_method(asks, from, arena), NULL);
        ask_answer(ask);
    } else if (!is_allowed(asks, method, from)) {
        (void)rpc_fail(&ask->rpc, RPC_NOT_ALLOWED,
                       "this service is not among those that may (requests.people)", NULL);
        ask_answer(ask);
    } else if (!store_is_up(asks->store)) {
        ask_fail(ask, ERR_CLOSED);
    } else if (asks_queue_add(asks->queue, from->kind, from->id, message->payload_bytes,
                              &ask->place, &is_own)) {
        refuse_busy(ask, is_own);
    } else {
        run_next(asks);
    }
}
