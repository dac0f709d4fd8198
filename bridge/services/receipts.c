/* SPDX-License-Identifier: MIT */
#include "services/receipts.h"

#include "base/alloc.h"
#include "base/list.h"
#include "base/map.h"
#include "core/topic.h"

#include <stdlib.h>

/* A message is closed when it has passed this; one receipt more than fills 64 KiB never. */
#define MESSAGE_BYTES 32768
/* Services that were silent are forgotten when more than this many are known. */
#define SERVICES_MAX 1024

struct service {
    struct list_node node; /* in pending, while it has something */
    struct buf buf;        /* "[{..},{..}": opened, not closed */
    unsigned count;
    char topic[TOPIC_BYTES_MAX];
};

struct receipts {
    struct strmap services;
    struct list pending;
    void (*publish)(void *ctx, const char *topic, const void *payload, size_t bytes);
    void *ctx;
};

struct receipts *receipts_new(void (*publish)(void *ctx, const char *topic, const void *payload,
                                              size_t bytes),
                              void *ctx)
{
    struct receipts *receipts = xcalloc(1, sizeof(*receipts));

    list_init(&receipts->pending);
    receipts->publish = publish;
    receipts->ctx = ctx;
    return receipts;
}

static void free_service(void *ctx, const char *key, void *value)
{
    struct service *service = value;

    (void)ctx, (void)key;
    buf_fini(&service->buf);
    free(service);
}

static void forget_all(struct receipts *receipts)
{
    strmap_each(&receipts->services, free_service, NULL);
    strmap_fini(&receipts->services);
    receipts->services = (struct strmap){0};
}

void receipts_free(struct receipts *receipts)
{
    forget_all(receipts);
    free(receipts);
}

static void send(struct receipts *receipts, struct service *service)
{
    const char *payload;
    size_t bytes;

    if (service->count > 1)
        buf_add_char(&service->buf, ']');
    payload = buf_text(&service->buf);
    bytes = service->buf.length;
    /* One receipt goes as an object: without the bracket it was opened with. */
    if (service->count == 1)
        receipts->publish(receipts->ctx, service->topic, payload + 1, bytes - 1);
    else
        receipts->publish(receipts->ctx, service->topic, payload, bytes);
    buf_clear(&service->buf);
    service->count = 0;
}

static struct service *find(struct receipts *receipts, const char *id)
{
    struct service *service = strmap_get(&receipts->services, id);

    if (service)
        return service;
    if (receipts->services.count >= SERVICES_MAX) {
        receipts_flush(receipts);
        forget_all(receipts);
    }
    service = xcalloc(1, sizeof(*service));
    topic_down(TOPIC_SERVICE, id, "receipt", service->topic);
    strmap_set(&receipts->services, id, service);
    return service;
}

void receipts_add(struct receipts *receipts, const char *id, const struct receipt *receipt)
{
    struct service *service = find(receipts, id);

    if (service->count == 0)
        list_push_back(&receipts->pending, &service->node);
    buf_add_char(&service->buf, service->count == 0 ? '[' : ',');
    receipt_write(receipt, &service->buf);
    service->count++;
    if (service->buf.length >= MESSAGE_BYTES) {
        list_remove(&receipts->pending, &service->node);
        send(receipts, service);
    }
}

void receipts_flush(struct receipts *receipts)
{
    struct list_node *node;

    while ((node = list_pop_front(&receipts->pending)))
        send(receipts, CONTAINER_OF(node, struct service, node));
}
