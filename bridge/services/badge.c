/* SPDX-License-Identifier: MIT */
#include "services/badge.h"

#include "base/alloc.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "core/topic.h"
#include "store/inbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One user that was touched, or whose badge was published less than a second ago. */
struct entry {
    struct list_node node;  /* in one of the three lists */
    int64_t due_ms;         /* cooling: until then */
    int64_t unread, unseen; /* as published */
    bool is_dirty;
    bool is_check; /* asked once more, to see whether what we published is still so */
    char user[];
};

struct badge {
    struct loop *loop;
    struct store *store;
    struct badge_ops ops;
    struct strmap by_user;
    struct list dirty;   /* to be read, the longest waiting first */
    struct list asking;  /* being read */
    struct list cooling; /* published; all pause equally long */
    struct loop_timer timer;
    struct metric *dropped;
};

struct badge *badge_new(struct loop *loop, struct store *store, struct metrics *metrics,
                        const struct badge_ops *ops)
{
    struct badge *badge = xcalloc(1, sizeof(*badge));

    badge->loop = loop;
    badge->store = store;
    badge->ops = *ops;
    list_init(&badge->dirty);
    list_init(&badge->asking);
    list_init(&badge->cooling);
    badge->dropped = metrics_get(metrics, METRIC_COUNTER, "tocsin_badges_dropped_total",
                                 "Badges not brought up to date, since too many wait.", NULL);
    return badge;
}

static void free_all(struct list *list)
{
    struct list_node *node;

    while ((node = list_pop_front(list)))
        free(CONTAINER_OF(node, struct entry, node));
}

void badge_free(struct badge *badge)
{
    loop_timer_stop(&badge->timer);
    free_all(&badge->dirty);
    free_all(&badge->asking);
    free_all(&badge->cooling);
    strmap_fini(&badge->by_user);
    free(badge);
}

/* ---- reading and publishing ---- */

static void on_row(void *ctx, const char *user, int64_t unread, int64_t unseen)
{
    struct badge *badge = ctx;
    struct entry *entry = strmap_get(&badge->by_user, user);
    char topic[TOPIC_BYTES_MAX], payload[80];
    int length = snprintf(payload, sizeof(payload), "{\"unread\":%lld,\"unseen\":%lld}",
                          (long long)unread, (long long)unseen);

    if (!entry || (entry->is_check && entry->unread == unread && entry->unseen == unseen))
        return;
    entry->is_check = false;
    entry->unread = unread;
    entry->unseen = unseen;
    badge->ops.publish(badge->ops.ctx, topic_down(TOPIC_USER, user, "badge", topic), payload,
                       (size_t)length);
}

static void on_read(void *ctx, int err)
{
    struct badge *badge = ctx;
    int64_t now_ms = loop_now_ms(badge->loop);
    struct list_node *node;

    if (err)
        log_warn("badge.unread", LOG_STR("err", err_name(err)),
                 LOG_INT("users", badge->asking.count));
    while ((node = list_pop_front(&badge->asking))) {
        struct entry *entry = CONTAINER_OF(node, struct entry, node);

        entry->is_dirty = entry->is_dirty || err;
        entry->due_ms = now_ms + BADGE_PAUSE_MS;
        list_push_back(&badge->cooling, node);
    }
}

/* Those whose pause is over wait again, or are forgotten. */
static void wake_cooled(struct badge *badge)
{
    int64_t now_ms = loop_now_ms(badge->loop);
    struct list_node *node;

    while ((node = list_first(&badge->cooling))) {
        struct entry *entry = CONTAINER_OF(node, struct entry, node);

        if (entry->due_ms > now_ms)
            return;
        list_remove(&badge->cooling, node);
        if (entry->is_dirty || !entry->is_check) {
            entry->is_check = !entry->is_dirty;
            list_push_back(&badge->dirty, node);
        } else {
            strmap_remove(&badge->by_user, entry->user);
            free(entry);
        }
    }
}

static void ask(struct badge *badge)
{
    struct inbox_badge_call call = {on_row, on_read, badge};
    const char *users[BADGE_BATCH];
    struct list_node *node;
    size_t count = 0;

    if (badge->asking.count || !store_is_up(badge->store) || badge->ops.is_full(badge->ops.ctx))
        return;
    while (count < BADGE_BATCH && (node = list_pop_front(&badge->dirty))) {
        struct entry *entry = CONTAINER_OF(node, struct entry, node);

        entry->is_dirty = false;
        list_push_back(&badge->asking, node);
        users[count++] = entry->user;
    }
    if (count && store_inbox_badges(badge->store, users, count, &call))
        on_read(badge, ERR_CLOSED);
}

static void on_tick(void *ctx)
{
    struct badge *badge = ctx;

    wake_cooled(badge);
    ask(badge);
    if (badge->by_user.count)
        loop_timer_start(badge->loop, &badge->timer, BADGE_TICK_MS, on_tick, badge);
}

void badge_touch(struct badge *badge, const char *user)
{
    struct entry *entry = strmap_get(&badge->by_user, user);
    size_t bytes = strlen(user) + 1;

    if (entry) {
        entry->is_dirty = true;
        return;
    }
    if (badge->by_user.count >= BADGE_USERS_MAX) {
        metric_add(badge->dropped, 1);
        return;
    }
    entry = xcalloc(1, sizeof(*entry) + bytes);
    memcpy(entry->user, user, bytes);
    entry->is_dirty = true;
    strmap_set(&badge->by_user, entry->user, entry);
    list_push_back(&badge->dirty, &entry->node);
    if (!loop_timer_is_armed(&badge->timer))
        loop_timer_start(badge->loop, &badge->timer, BADGE_TICK_MS, on_tick, badge);
}
