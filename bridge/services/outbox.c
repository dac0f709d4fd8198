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
 * A broker that closes the connection at a message must not get it for ever, and one that merely
 * crashes again and again must cost no message.  What was the oldest under way at so many losses is
 * suspected: it waits aside and holds up no other.  It goes alone, on a connection that has stood
 * for a while, and is given up when the connection was lost over it so many times, each time after
 * the broker had acknowledged others on the same connection.  The while doubles with each try, so
 * that no rhythm in which a broker crashes meets all of them.
 */
#define LOSSES_MAX    4
#define PROOFS_MAX    4
#define STOOD_MS      2000
#define DOUBLINGS_MAX 5
/* For what is under way to end before the suspect goes, and for the suspect's PUBACK. */
#define ALONE_MS 5000
/* The largest message: a page of dead letters in a reply (docs/operations.md). */
#define NEEDED_BYTES 200000

struct message {
    struct list_node node; /* kept: in waiting or under_way; watched: in watched */
    int mid;               /* 0 while not with the library */
    outbox_result_fn *on_result;
    void *ctx;
    bool is_retained;
    unsigned losses;  /* connections lost while it was the oldest under way */
    unsigned tries;   /* how often it went alone */
    unsigned proofs;  /* connections that were lost over it and had been good */
    int64_t kept_ms;  /* boot clock */
    uint64_t seq;     /* kept: grows in the order in which they came */
    int64_t since_ms; /* nothing that it says was settled before; boot clock */
    size_t bytes;
    char *payload;     /* behind the topic */
    char *correlation; /* behind the payload; NULL when there is none */
    size_t correlation_bytes;
    char topic[];
};

/* What is being done about the first suspect. */
enum trial {
    TRIAL_NONE,  /* the others go; the timer runs when there is a suspect */
    TRIAL_DRAIN, /* no other goes, until nothing is under way */
    TRIAL_ALONE, /* it is under way, and nothing else is */
};

struct outbox {
    struct loop *loop;
    struct mqtt *mqtt;
    struct list waiting;   /* kept, to be handed to the library */
    struct list under_way; /* kept, handed over, in order */
    struct list watched;
    struct list suspects; /* kept, not handed over, in no order */
    enum trial trial;
    struct loop_timer trial_timer;
    bool has_acked; /* the broker, on this connection */
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
    message->kept_ms = replacing->message->kept_ms;
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

static int publish(struct outbox *outbox, struct message *message)
{
    if (message->correlation)
        return mqtt_publish_reply(outbox->mqtt, message->topic, message->payload,
                                  payload_bytes(message), message->correlation,
                                  message->correlation_bytes, &message->mid);
    return mqtt_publish(outbox->mqtt, message->topic, message->payload, payload_bytes(message), 1,
                        message->is_retained, &message->mid);
}

/* Hands over one message, which leaves its list; false when there is no room now. */
static bool hand_over(struct outbox *outbox, struct list *from)
{
    struct list_node *node = list_first(from);
    struct message *message = CONTAINER_OF(node, struct message, node);
    int err = publish(outbox, message);

    if (err == ERR_FULL || err == ERR_CLOSED)
        return false;
    list_remove(from, node);
    if (err) {
        refuse(outbox, message, err, payload_max(outbox, message));
        return true;
    }
    list_push_back(&outbox->under_way, node);
    idmap_set(&outbox->by_mid, (uint64_t)message->mid, message);
    metric_add(outbox->published, 1);
    return true;
}

static void on_trial_timer(void *ctx);

/* Until the first suspect may go. */
static void await_trial(struct outbox *outbox)
{
    struct list_node *first = list_first(&outbox->suspects);
    unsigned tries;

    outbox->trial = TRIAL_NONE;
    loop_timer_stop(&outbox->trial_timer);
    if (!first)
        return;
    tries = CONTAINER_OF(first, struct message, node)->tries;
    loop_timer_start(outbox->loop, &outbox->trial_timer,
                     STOOD_MS << (tries < DOUBLINGS_MAX ? tries : DOUBLINGS_MAX), on_trial_timer,
                     outbox);
}

/* Nothing is under way: the first suspect goes. */
static void try_suspect(struct outbox *outbox)
{
    struct message *message = CONTAINER_OF(list_first(&outbox->suspects), struct message, node);

    message->tries++;
    hand_over(outbox, &outbox->suspects);
    if (!outbox->under_way.count) {
        await_trial(outbox);
        return;
    }
    outbox->trial = TRIAL_ALONE;
    loop_timer_start(outbox->loop, &outbox->trial_timer, ALONE_MS, on_trial_timer, outbox);
}

/* Hands kept messages to the library while it has room. */
static void pump(struct outbox *outbox)
{
    if (outbox->trial == TRIAL_DRAIN && !outbox->under_way.count && !outbox->watched.count &&
        mqtt_is_up(outbox->mqtt))
        try_suspect(outbox);
    while (outbox->trial == TRIAL_NONE && outbox->waiting.count && mqtt_is_up(outbox->mqtt))
        if (!hand_over(outbox, &outbox->waiting))
            return;
}

/* A trial that does not get on ends, so that the others do: it is tried again later. */
static void on_trial_timer(void *ctx)
{
    struct outbox *outbox = ctx;

    if (outbox->trial == TRIAL_NONE && outbox->suspects.count) {
        outbox->trial = TRIAL_DRAIN;
        loop_timer_start(outbox->loop, &outbox->trial_timer, ALONE_MS, on_trial_timer, outbox);
    } else {
        await_trial(outbox);
    }
    pump(outbox);
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
    outbox->has_acked = false;
    await_trial(outbox);
    pump(outbox);
    outbox->on_change(outbox->ctx);
}

/* The oldest without its PUBACK may be what ended the connection. */
static void count_loss(struct outbox *outbox)
{
    struct list_node *first = list_first(&outbox->under_way);
    struct message *message = first ? CONTAINER_OF(first, struct message, node) : NULL;

    if (!message)
        return;
    if (++message->losses == LOSSES_MAX)
        log_warn("outbox.suspected", LOG_STR("topic", message->topic),
                 LOG_INT("bytes", message->bytes),
                 LOG_STR("why", "the connection was lost over it again and again; it waits aside"
                                " and is sent alone"));
    if (outbox->trial != TRIAL_ALONE || !outbox->has_acked || ++message->proofs < PROOFS_MAX)
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
    outbox->trial = TRIAL_NONE;
    loop_timer_stop(&outbox->trial_timer);
    while ((node = outbox->under_way.head.prev) != &outbox->under_way.head) {
        struct message *message = CONTAINER_OF(node, struct message, node);

        list_remove(&outbox->under_way, node);
        idmap_remove(&outbox->by_mid, (uint64_t)message->mid);
        message->mid = 0;
        if (message->losses >= LOSSES_MAX)
            list_push_back(&outbox->suspects, node);
        else
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
    outbox->has_acked = true;
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
    if (outbox->trial == TRIAL_ALONE && !outbox->under_way.count)
        await_trial(outbox);
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
    list_init(&outbox->suspects);
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
    loop_timer_stop(&outbox->trial_timer);
    while ((node = list_pop_front(&outbox->watched))) {
        struct message *message = CONTAINER_OF(node, struct message, node);

        message->on_result(message->ctx, ERR_CLOSED, 0);
        message_free(outbox, message);
    }
    free_all(outbox, &outbox->waiting);
    free_all(outbox, &outbox->under_way);
    free_all(outbox, &outbox->suspects);
    idmap_fini(&outbox->by_mid);
    free(outbox);
}

bool outbox_is_up(const struct outbox *outbox)
{
    return mqtt_is_up(outbox->mqtt);
}

size_t outbox_packet_max(const struct outbox *outbox)
{
    return mqtt_packet_max(outbox->mqtt);
}

bool outbox_is_full(const struct outbox *outbox)
{
    return outbox->bytes >= outbox->bytes_max;
}

size_t outbox_waiting(const struct outbox *outbox)
{
    return outbox->waiting.count + outbox->under_way.count + outbox->suspects.count;
}

void outbox_set_since(struct outbox *outbox, int64_t since_ms)
{
    outbox->since_ms = since_ms;
}

/* The oldest kept message; NULL when there is none. */
static const struct message *oldest(const struct outbox *outbox)
{
    /* Both are in order, and what is under way came before what waits. */
    const struct list *list = outbox->under_way.count ? &outbox->under_way : &outbox->waiting;
    const struct list_node *node = list->head.next;
    const struct message *oldest = list->count ? CONTAINER_OF(node, struct message, node) : NULL;

    for (node = outbox->suspects.head.next; node != &outbox->suspects.head; node = node->next) {
        const struct message *message = CONTAINER_OF(node, struct message, node);

        if (!oldest || message->seq < oldest->seq)
            oldest = message;
    }
    return oldest;
}

int64_t outbox_since_ms(const struct outbox *outbox)
{
    const struct message *message = oldest(outbox);

    return message ? message->since_ms : INT64_MAX;
}

int64_t outbox_oldest_age_ms(const struct outbox *outbox)
{
    const struct message *message = oldest(outbox);

    return message ? loop_now_ms(outbox->loop) - message->kept_ms : 0;
}

uint64_t outbox_mark(const struct outbox *outbox)
{
    return outbox->last_seq;
}

bool outbox_is_past(struct outbox *outbox, uint64_t mark)
{
    const struct message *message = oldest(outbox);

    return !message || message->seq > mark;
}

static void keep(struct outbox *outbox, struct message *message)
{
    message->seq = ++outbox->last_seq;
    message->since_ms = outbox->since_ms;
    message->kept_ms = loop_now_ms(outbox->loop);
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
                 uint32_t expiry_s, outbox_result_fn *on_result, void *ctx)
{
    struct message *message;
    int mid = 0;
    int err;

    /* Kept ones go first: they are what somebody waits for to be told. */
    if (outbox->waiting.count || outbox->trial != TRIAL_NONE)
        return ERR_FULL;
    err = mqtt_publish_expiring(outbox->mqtt, topic, payload, bytes, expiry_s, &mid);
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
