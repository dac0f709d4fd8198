/* SPDX-License-Identifier: MIT */
#include "services/outbox.h"

#include "base/alloc.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "core/shrink.h"

#include <stdlib.h>
#include <string.h>

/* PUBACK reason "packet too large". */
#define PACKET_TOO_LARGE 0x95
/*
 * A message that was the oldest under way each time when the connection was lost goes alone after
 * so many times, and is given up when that ended the connection as often again.  A broker that
 * closes the connection at a message would else get it for ever.
 */
#define LOSSES_ALONE 4
#define LOSSES_MAX   8
/* The largest message: a page of dead letters in a reply (docs/operations.md). */
#define NEEDED_BYTES 200000

struct message {
    struct list_node node; /* kept: in waiting or under_way; watched: in watched */
    int mid;               /* 0 while not with the library */
    outbox_result_fn *on_result;
    void *ctx;
    bool is_retained;
    unsigned losses;  /* connections lost while it was the oldest under way */
    uint64_t seq;     /* kept: grows in the order in which they came */
    int64_t since_ms; /* nothing that it says was settled before; boot clock */
    size_t bytes;
    char *payload;     /* behind the topic */
    char *correlation; /* behind the payload; NULL when there is none */
    size_t correlation_bytes;
    char topic[];
};

struct outbox {
    struct loop *loop;
    struct mqtt *mqtt;
    struct list waiting;   /* kept, to be handed to the library */
    struct list under_way; /* kept, handed over, in order */
    struct list watched;
    struct idmap by_mid;
    size_t bytes, bytes_max;
    uint64_t last_seq;
    int64_t since_ms; /* of what is kept now */
    void (*on_change)(void *ctx);
    void *ctx;
    struct metric *published, *failed, *queue_bytes;
    struct queue_metrics queue;
};

static struct message *message_new(const char *topic, const void *payload, size_t bytes,
                                   const void *correlation, size_t correlation_bytes)
{
    size_t length = strlen(topic);
    struct message *message = xcalloc(1, sizeof(*message) + length + 1 + bytes + correlation_bytes);

    memcpy(message->topic, topic, length + 1);
    message->payload = message->topic + length + 1;
    if (bytes)
        memcpy(message->payload, payload, bytes);
    message->bytes = bytes + correlation_bytes;
    if (correlation_bytes) {
        message->correlation = message->payload + bytes;
        memcpy(message->correlation, correlation, correlation_bytes);
        message->correlation_bytes = correlation_bytes;
    }
    return message;
}

static void message_free(struct outbox *outbox, struct message *message)
{
    if (!message->on_result) {
        outbox->bytes -= message->bytes;
        metric_set(outbox->queue_bytes, (double)outbox->bytes);
        metric_set(outbox->queue.depth, (double)outbox_waiting(outbox));
        metric_add(outbox->queue.taken, 1);
    }
    free(message);
}

static size_t payload_bytes(const struct message *message)
{
    return message->bytes - message->correlation_bytes;
}

/* What the broker takes as its payload: its Correlation Data needs room as well. */
static size_t payload_max(const struct outbox *outbox, const struct message *message)
{
    enum { PROPERTY_BYTES = 8 };
    size_t limit = mqtt_payload_max(outbox->mqtt, message->topic);
    size_t taken = message->correlation ? message->correlation_bytes + PROPERTY_BYTES : 0;

    if (limit == SIZE_MAX)
        return limit;
    return limit > taken ? limit - taken : 0;
}

/* What goes in place of a message that was too large, in its place in the order. */
struct replacing {
    struct outbox *outbox;
    const struct message *message;
    struct list_node *behind;
};

static void add_replacement(void *ctx, const char *payload, size_t bytes)
{
    struct replacing *replacing = ctx;
    struct outbox *outbox = replacing->outbox;
    struct message *message =
        message_new(replacing->message->topic, payload, bytes, replacing->message->correlation,
                    replacing->message->correlation_bytes);

    message->is_retained = replacing->message->is_retained;
    message->seq = replacing->message->seq;
    message->since_ms = replacing->message->since_ms;
    outbox->bytes += message->bytes;
    list_insert_after(&outbox->waiting, replacing->behind, &message->node);
    replacing->behind = &message->node;
}

/*
 * The broker will never take this message, which is in no list any more.  It must not stand before
 * the others: what can be said of it in fewer bytes goes in its place, and it ends here.
 */
static void refuse(struct outbox *outbox, struct message *message, int err, size_t limit)
{
    struct replacing replacing = {outbox, message, &outbox->waiting.head};
    size_t instead = 0;

    if (err == ERR_TOO_LARGE)
        instead = shrink_message(message->topic, message->payload, payload_bytes(message), limit,
                                 add_replacement, &replacing);
    metric_add(outbox->failed, 1);
    log_error("outbox.refused", LOG_STR("topic", message->topic), LOG_STR("err", err_name(err)),
              LOG_INT("bytes", message->bytes),
              LOG_INT("payload_max", limit == SIZE_MAX ? 0 : limit),
              LOG_INT("sent_instead", instead));
    message_free(outbox, message);
}

/* Whether it must go with no other under way: it may be what ends the connection. */
static bool must_go_alone(const struct outbox *outbox, const struct message *message)
{
    struct list_node *first = list_first((struct list *)(uintptr_t)&outbox->under_way);

    if (!first)
        return false;
    return message->losses >= LOSSES_ALONE ||
           CONTAINER_OF(first, struct message, node)->losses >= LOSSES_ALONE;
}

static int publish(struct outbox *outbox, struct message *message)
{
    if (message->correlation)
        return mqtt_publish_reply(outbox->mqtt, message->topic, message->payload,
                                  payload_bytes(message), message->correlation,
                                  message->correlation_bytes, &message->mid);
    return mqtt_publish(outbox->mqtt, message->topic, message->payload, payload_bytes(message), 1,
                        message->is_retained, &message->mid);
}

/* Hands kept messages to the library while it has room. */
static void pump(struct outbox *outbox)
{
    struct list_node *node;

    while ((node = list_first(&outbox->waiting)) && mqtt_is_up(outbox->mqtt)) {
        struct message *message = CONTAINER_OF(node, struct message, node);
        int err;

        if (must_go_alone(outbox, message))
            return;
        err = publish(outbox, message);
        if (err == ERR_FULL || err == ERR_CLOSED)
            return;
        list_remove(&outbox->waiting, node);
        if (err) {
            refuse(outbox, message, err, payload_max(outbox, message));
            continue;
        }
        list_push_back(&outbox->under_way, node);
        idmap_set(&outbox->by_mid, (uint64_t)message->mid, message);
        metric_add(outbox->published, 1);
    }
}

static void on_up(void *ctx, bool session_present)
{
    struct outbox *outbox = ctx;

    (void)session_present;
    log_info("outbox.up", LOG_INT("waiting", outbox->waiting.count));
    if (mqtt_packet_max(outbox->mqtt) < NEEDED_BYTES)
        log_warn("outbox.packet_limit", LOG_INT("packet_max", mqtt_packet_max(outbox->mqtt)),
                 LOG_INT("needed", NEEDED_BYTES),
                 LOG_STR("why", "the broker takes smaller messages than the bridge may send: raise"
                                " its max_packet_size; until then dead letters lose their content"
                                " and large replies become the error too_large"));
    pump(outbox);
    outbox->on_change(outbox->ctx);
}

/* The oldest without its PUBACK may be what ended the connection. */
static void count_loss(struct outbox *outbox)
{
    struct list_node *first = list_first(&outbox->under_way);
    struct message *message = first ? CONTAINER_OF(first, struct message, node) : NULL;

    if (!message || ++message->losses < LOSSES_MAX)
        return;
    list_remove(&outbox->under_way, first);
    idmap_remove(&outbox->by_mid, (uint64_t)message->mid);
    refuse(outbox, message, ERR_REFUSED, SIZE_MAX);
}

/* What had no PUBACK is waiting again, before what came later; watched ones are told. */
static void on_down(void *ctx, const char *why)
{
    struct outbox *outbox = ctx;
    struct list_node *node;

    log_warn("outbox.down", LOG_STR("why", why), LOG_INT("under_way", outbox->under_way.count),
             LOG_INT("watched", outbox->watched.count));
    count_loss(outbox);
    while ((node = outbox->under_way.head.prev) != &outbox->under_way.head) {
        struct message *message = CONTAINER_OF(node, struct message, node);

        list_remove(&outbox->under_way, node);
        idmap_remove(&outbox->by_mid, (uint64_t)message->mid);
        message->mid = 0;
        list_push_front(&outbox->waiting, node);
    }
    /* As many as there are now: a callback may well watch another. */
    for (size_t left = outbox->watched.count; left > 0; left--) {
        struct message *message =
            CONTAINER_OF(list_pop_front(&outbox->watched), struct message, node);

        idmap_remove(&outbox->by_mid, (uint64_t)message->mid);
        message->on_result(message->ctx, ERR_CLOSED, 0);
        message_free(outbox, message);
    }
    outbox->on_change(outbox->ctx);
}

static void on_puback(void *ctx, int mid, uint8_t reason)
{
    struct outbox *outbox = ctx;
    struct message *message = idmap_remove(&outbox->by_mid, (uint64_t)mid);

    if (!message)
        return;
    if (message->on_result) {
        list_remove(&outbox->watched, &message->node);
        message->on_result(message->ctx, 0, reason);
    } else {
        list_remove(&outbox->under_way, &message->node);
    }
    if (reason == PACKET_TOO_LARGE && !message->on_result) {
        refuse(outbox, message, ERR_TOO_LARGE, message->bytes / 2);
    } else {
        if (reason >= 0x80 && !message->on_result) {
            metric_add(outbox->failed, 1);
            log_error("outbox.refused", LOG_STR("topic", message->topic),
                      LOG_INT("reason", reason));
        }
        message_free(outbox, message);
    }
    pump(outbox);
}

struct outbox *outbox_open(struct loop *loop, const struct outbox_config *config,
                           struct metrics *metrics, void (*on_change)(void *ctx), void *ctx)
{
    static const struct mqtt_handlers handlers = {
        .on_up = on_up, .on_down = on_down, .on_puback = on_puback};
    struct outbox *outbox = xcalloc(1, sizeof(*outbox));

    list_init(&outbox->waiting);
    list_init(&outbox->under_way);
    list_init(&outbox->watched);
    outbox->loop = loop;
    outbox->bytes_max = config->bytes_max;
    outbox->on_change = on_change;
    outbox->ctx = ctx;
    outbox->published = metrics_get(metrics, METRIC_COUNTER, "tocsin_published_total",
                                    "MQTT messages handed to the broker connection.", NULL);
    outbox->failed =
        metrics_get(metrics, METRIC_COUNTER, "tocsin_publish_refused_total",
                    "MQTT messages that the broker refused; see the log for the reason.", NULL);
    outbox->queue_bytes = metrics_get(metrics, METRIC_GAUGE, "tocsin_outbox_bytes",
                                      "Receipts and other messages without their PUBACK.", NULL);
    outbox->queue = metrics_get_queue(metrics, "queue=\"outbox\"");
    outbox->mqtt = mqtt_open(loop, &config->mqtt, &handlers, outbox);
    return outbox;
}

static void free_all(struct outbox *outbox, struct list *list)
{
    struct list_node *node;

    while ((node = list_pop_front(list)))
        message_free(outbox, CONTAINER_OF(node, struct message, node));
}

void outbox_close(struct outbox *outbox)
{
    struct list_node *node;

    mqtt_close(outbox->mqtt);
    while ((node = list_pop_front(&outbox->watched))) {
        struct message *message = CONTAINER_OF(node, struct message, node);

        message->on_result(message->ctx, ERR_CLOSED, 0);
        message_free(outbox, message);
    }
    free_all(outbox, &outbox->waiting);
    free_all(outbox, &outbox->under_way);
    idmap_fini(&outbox->by_mid);
    free(outbox);
}

bool outbox_is_up(const struct outbox *outbox)
{
    return mqtt_is_up(outbox->mqtt);
}

bool outbox_is_full(const struct outbox *outbox)
{
    return outbox->bytes >= outbox->bytes_max;
}

size_t outbox_waiting(const struct outbox *outbox)
{
    return outbox->waiting.count + outbox->under_way.count;
}

void outbox_set_since(struct outbox *outbox, int64_t since_ms)
{
    outbox->since_ms = since_ms;
}

int64_t outbox_since_ms(const struct outbox *outbox)
{
    /* Both are in order, and what is under way came before what waits. */
    const struct list *list = outbox->under_way.count ? &outbox->under_way : &outbox->waiting;

    if (!list->count)
        return INT64_MAX;
    return CONTAINER_OF(list->head.next, struct message, node)->since_ms;
}

uint64_t outbox_mark(const struct outbox *outbox)
{
    return outbox->last_seq;
}

static bool is_past(struct list *list, uint64_t mark)
{
    struct list_node *first = list_first(list);

    return !first || CONTAINER_OF(first, struct message, node)->seq > mark;
}

bool outbox_is_past(struct outbox *outbox, uint64_t mark)
{
    /* Both are in order: what lost its connection goes back to the front. */
    return is_past(&outbox->under_way, mark) && is_past(&outbox->waiting, mark);
}

static void keep(struct outbox *outbox, struct message *message)
{
    message->seq = ++outbox->last_seq;
    message->since_ms = outbox->since_ms;
    outbox->bytes += message->bytes;
    metric_set(outbox->queue_bytes, (double)outbox->bytes);
    list_push_back(&outbox->waiting, &message->node);
    metric_set(outbox->queue.depth, (double)outbox_waiting(outbox));
    pump(outbox);
}

void outbox_keep(struct outbox *outbox, const char *topic, const void *payload, size_t bytes,
                 bool is_retained)
{
    struct message *message = message_new(topic, payload, bytes, NULL, 0);

    message->is_retained = is_retained;
    keep(outbox, message);
}

void outbox_keep_reply(struct outbox *outbox, const char *topic, const void *payload, size_t bytes,
                       const void *correlation, size_t correlation_bytes)
{
    keep(outbox, message_new(topic, payload, bytes, correlation, correlation_bytes));
}

int outbox_watch(struct outbox *outbox, const char *topic, const void *payload, size_t bytes,
                 outbox_result_fn *on_result, void *ctx)
{
    struct message *message;
    int mid = 0;
    int err;

    /* Kept ones go first: they are what somebody waits for to be told. */
    if (outbox->waiting.count)
        return ERR_FULL;
    err = mqtt_publish(outbox->mqtt, topic, payload, bytes, 1, false, &mid);
    if (err)
        return err;
    message = message_new("", NULL, 0, NULL, 0);
    message->mid = mid;
    message->on_result = on_result;
    message->ctx = ctx;
    list_push_back(&outbox->watched, &message->node);
    idmap_set(&outbox->by_mid, (uint64_t)mid, message);
    metric_add(outbox->published, 1);
    return 0;
}
