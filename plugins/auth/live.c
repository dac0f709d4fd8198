/* SPDX-License-Identifier: MIT */
#include "live.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ADDRESSES_MAX = 65536, SUBJECT_KEY_MAX = 16 + PRINCIPAL_ID_MAX, SPENT_LOOKED_AT = 64 };

static void list_init(struct list *list)
{
    list->next = list->prev = list;
}

static bool list_is_empty(const struct list *list)
{
    return list->next == list;
}

static void list_append(struct list *list, struct list *node)
{
    node->next = list;
    node->prev = list->prev;
    list->prev->next = node;
    list->prev = node;
}

/* Also fine for a node that is in no list. */
static void list_remove(struct list *node)
{
    node->next->prev = node->prev;
    node->prev->next = node->next;
    list_init(node);
}

/* The heap: the soonest end on top; every connection knows its place. */

static void heap_put(struct live *live, size_t at, struct connection *conn)
{
    live->heap[at] = conn;
    conn->heap_at = at;
}

static void heap_sift(struct live *live, size_t at)
{
    struct connection *conn = live->heap[at];

    while (at > 0 && live->heap[(at - 1) / 2]->ends_s > conn->ends_s) {
        heap_put(live, at, live->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < live->heap_count &&
            live->heap[child + 1]->ends_s < live->heap[child]->ends_s)
            child++;
        if (child >= live->heap_count || live->heap[child]->ends_s >= conn->ends_s)
            break;
        heap_put(live, at, live->heap[child]);
        at = child;
    }
    heap_put(live, at, conn);
}

static void heap_remove(struct live *live, struct connection *conn)
{
    size_t at = conn->heap_at;

    if (at == SIZE_MAX)
        return;
    conn->heap_at = SIZE_MAX;
    struct connection *last = live->heap[--live->heap_count];
    if (last != conn) {
        heap_put(live, at, last);
        heap_sift(live, at);
    }
}

/* There is always room: live_add() makes it for every connection. */
static void heap_add(struct live *live, struct connection *conn)
{
    heap_put(live, live->heap_count++, conn);
    heap_sift(live, conn->heap_at);
}

static int heap_reserve(struct live *live)
{
    if (live->connections.count < live->heap_room)
        return 0;
    size_t room = live->heap_room ? live->heap_room * 2 : 64;
    struct connection **heap = realloc(live->heap, room * sizeof(struct connection *));
    if (!heap)
        return -1;
    live->heap = heap;
    live->heap_room = room;
    return 0;
}

int live_init(struct live *live, const struct limits_config *limits)
{
    memset(live, 0, sizeof(*live));
    live->limits = limits;
    list_init(&live->all);
    list_init(&live->dirty);
    list_init(&live->idle_subjects);
    list_init(&live->idle_addresses);
    list_init(&live->spent);
    return map_init(&live->connections) || map_init(&live->ids) || map_init(&live->subjects) ||
                   map_init(&live->addresses)
               ? -1
               : 0;
}

void live_fini(struct live *live)
{
    struct map_node *node;

    while ((node = map_pop(&live->connections))) {
        struct connection *conn = MAP_OWNER(node, struct connection, node);
        free(conn->jti);
        free(conn);
    }
    while ((node = map_pop(&live->subjects))) {
        struct subject *subj = MAP_OWNER(node, struct subject, node);
        free(subj->roles);
        free(subj);
    }
    while ((node = map_pop(&live->addresses)))
        free(MAP_OWNER(node, struct address, node));
    map_fini(&live->connections);
    map_fini(&live->ids);
    map_fini(&live->subjects);
    map_fini(&live->addresses);
    free(live->heap);
    live->heap = NULL;
}

/* An IPv6 customer has a /64 at least: its first half stands for all of it. */
static size_t address_key(const char *text, char *out, size_t size)
{
    struct in6_addr six;

    if (inet_pton(AF_INET6, text, &six) == 1 && !IN6_IS_ADDR_V4MAPPED(&six)) {
        memset(six.s6_addr + 8, 0, 8);
        if (inet_ntop(AF_INET6, &six, out, (socklen_t)size))
            return strlen(out);
    }
    snprintf(out, size, "%s", text);
    return strlen(out);
}

static void address_free(struct live *live, struct address *addr)
{
    list_remove(&addr->idle);
    map_remove(&live->addresses, &addr->node);
    free(addr);
}

struct address *live_address(struct live *live, const char *text, int64_t now_ms)
{
    char key[64];
    size_t len = address_key(text, key, sizeof(key));
    struct map_node *node = map_find(&live->addresses, key, len);

    if (node)
        return MAP_OWNER(node, struct address, node);
    if (live->addresses.count >= ADDRESSES_MAX && !list_is_empty(&live->idle_addresses))
        address_free(live, MAP_OWNER(live->idle_addresses.next, struct address, idle));
    struct address *addr = calloc(1, sizeof(*addr) + len + 1);
    if (!addr)
        return NULL;
    memcpy(addr->key, key, len + 1);
    list_init(&addr->idle);
    bucket_init(&addr->connect, live->limits->connect_burst, now_ms);
    bucket_init(&addr->failure, live->limits->failure_burst, now_ms);
    if (map_add(&live->addresses, &addr->node, addr->key, len) != 0) {
        free(addr);
        return NULL;
    }
    addr->idle_since_ms = now_ms;
    list_append(&live->idle_addresses, &addr->idle);
    return addr;
}

static size_t subject_key(const struct principal *p, char *out)
{
    int len = snprintf(out, SUBJECT_KEY_MAX, "%s/%.*s", principal_kind_name(p->kind),
                       (int)p->id_len, p->id);
    return (size_t)len;
}

struct subject *live_subject(struct live *live, const struct principal *p)
{
    char key[SUBJECT_KEY_MAX];
    struct map_node *node = map_find(&live->subjects, key, subject_key(p, key));
    return node ? MAP_OWNER(node, struct subject, node) : NULL;
}

static struct subject *subject_make(struct live *live, const struct principal *p, int64_t now_ms)
{
    char key[SUBJECT_KEY_MAX];
    size_t len = subject_key(p, key);
    struct subject *subj = calloc(1, sizeof(*subj) + len + 1);

    if (!subj)
        return NULL;
    memcpy(subj->key, key, len + 1);
    subj->kind = p->kind;
    list_init(&subj->idle);
    list_init(&subj->dirty);
    bucket_init(&subj->publish, live->limits->publish_burst[p->kind], now_ms);
    bucket_init(&subj->bytes, live->limits->byte_burst[p->kind], now_ms);
    bucket_init(&subj->answers, LIVE_ANSWERS_BURST, now_ms);
    bucket_init(&subj->unread, LIVE_UNREAD_BURST, now_ms);
    if (map_add(&live->subjects, &subj->node, subj->key, len) != 0) {
        free(subj);
        return NULL;
    }
    return subj;
}

struct connection *live_find(struct live *live, const void *handle)
{
    struct map_node *node = map_find(&live->connections, &handle, sizeof(handle));
    return node ? MAP_OWNER(node, struct connection, node) : NULL;
}

static void mark_dirty(struct live *live, struct subject *subj)
{
    if (subj->kind == PRINCIPAL_USER && list_is_empty(&subj->dirty))
        list_append(&live->dirty, &subj->dirty);
}

/* Into no list of idle ones. */
static void remember(struct live *live, struct subject *subj)
{
    list_remove(&subj->idle);
    live->spent_count -= subj->is_forgotten;
    subj->is_forgotten = false;
}

static void forget(struct live *live, struct subject *subj)
{
    list_remove(&subj->idle);
    list_append(&live->spent, &subj->idle);
    live->spent_count += !subj->is_forgotten;
    subj->is_forgotten = true;
}

void live_set_roles(struct live *live, struct subject *subj, const struct principal *p)
{
    size_t len = subj->roles ? strlen(subj->roles) : 0;

    if (len == p->roles_len && (len == 0 || memcmp(subj->roles, p->roles, len) == 0))
        return;
    free(subj->roles);
    subj->roles = p->roles_len ? strndup(p->roles, p->roles_len) : NULL;
    mark_dirty(live, subj);
}

struct subject *live_remember(struct live *live, const struct principal *p, int64_t now_ms)
{
    struct subject *subj = live_subject(live, p);

    if (subj && !subj->is_forgotten)
        return subj;
    if (!subj && !(subj = subject_make(live, p, now_ms)))
        return NULL;
    remember(live, subj);
    subj->idle_since_ms = now_ms;
    list_append(&live->idle_subjects, &subj->idle);
    mark_dirty(live, subj);
    return subj;
}

struct subject *live_budget(struct live *live, const struct principal *p, int64_t now_ms)
{
    struct subject *subj = live_subject(live, p);

    if (!subj && (subj = subject_make(live, p, now_ms)))
        forget(live, subj);
    return subj;
}

struct connection *live_find_id(struct live *live, const char *client_id)
{
    struct map_node *node = map_find(&live->ids, client_id, strlen(client_id));
    return node ? MAP_OWNER(node, struct connection, by_id) : NULL;
}

/* Makes it the newest of its client id; an older one steps back.  Cannot fail if it was there. */
static int claim_id(struct live *live, struct connection *conn)
{
    size_t len = strlen(conn->client_id);
    struct map_node *node = map_find(&live->ids, conn->client_id, len);

    if (node) {
        struct connection *old = MAP_OWNER(node, struct connection, by_id);
        map_remove(&live->ids, node);
        conn->older = old;
        old->newer = conn;
    }
    return map_add(&live->ids, &conn->by_id, conn->client_id, len);
}

/* Leaves the line of those with its client id; the one before it comes forward again. */
static void release_id(struct live *live, struct connection *conn)
{
    struct connection *older = conn->older, *newer = conn->newer;

    if (older)
        older->newer = newer;
    if (newer) {
        newer->older = older;
        return;
    }
    map_remove(&live->ids, &conn->by_id);
    if (older &&
        map_add(&live->ids, &older->by_id, older->client_id, strlen(older->client_id)) == 0 &&
        !older->is_doomed && older->heap_at == SIZE_MAX)
        heap_add(live, older);
}

enum refusal live_refresh(struct live *live, struct connection *conn, const struct token *tok)
{
    char *jti = *tok->jti ? strdup(tok->jti) : NULL;

    if (*tok->jti && !jti)
        return REFUSAL_INTERNAL;
    free(conn->jti);
    conn->jti = jti;
    conn->issued_s = tok->issued_s;
    conn->key_print = tok->key_print;
    conn->ends_s = tok->ends_s;
    if (conn->heap_at != SIZE_MAX)
        heap_sift(live, conn->heap_at);
    return REFUSAL_NONE;
}

static void attach(struct live *live, struct connection *conn, struct subject *subj,
                   struct address *from)
{
    conn->subject = subj;
    conn->address = from;
    remember(live, subj);
    subj->connections++;
    mark_dirty(live, subj);
    if (from) {
        list_remove(&from->idle);
        from->connections++;
    }
    list_append(&live->all, &conn->all);
    heap_add(live, conn);
}

enum refusal live_add(struct live *live, const void *handle, const char *client_id,
                      const struct principal *p, const struct token *tok, struct address *from,
                      int64_t now_ms)
{
    struct connection *conn = live_find(live, handle);
    struct subject *subj;

    if (conn)
        live_remove(live, conn, now_ms);
    subj = live_budget(live, p, now_ms);
    conn = calloc(1, sizeof(*conn) + strlen(client_id) + 1);
    if (!subj || !conn || heap_reserve(live) != 0)
        goto fail;
    memcpy(conn->client_id, client_id, strlen(client_id) + 1);
    conn->handle = handle;
    conn->heap_at = SIZE_MAX;
    bucket_init(&conn->subscribe, live->limits->subscribe_burst, now_ms);
    bucket_init(&conn->control, live->limits->control_burst, now_ms);
    if (live_refresh(live, conn, tok) != REFUSAL_NONE ||
        map_add(&live->connections, &conn->node, &conn->handle, sizeof(conn->handle)) != 0)
        goto fail;
    if (claim_id(live, conn) != 0) {
        map_remove(&live->connections, &conn->node);
        if (conn->older)
            conn->older->newer = NULL;
        goto fail;
    }
    attach(live, conn, subj, from);
    live_set_roles(live, subj, p);
    return REFUSAL_NONE;
fail:
    if (conn)
        free(conn->jti);
    free(conn);
    return REFUSAL_INTERNAL;
}

/* What its connections were sent and may not have acknowledged may wait from now on. */
static void leave_unread(struct subject *subj, int64_t now_ms)
{
    (void)bucket_has(&subj->answers, LIVE_ANSWERS_RATE, LIVE_ANSWERS_BURST, now_ms);
    (void)bucket_has(&subj->unread, LIVE_UNREAD_RATE, LIVE_UNREAD_BURST, now_ms);
    subj->answers.level_milli -= (int64_t)LIVE_UNREAD_BURST * 1000 - subj->unread.level_milli;
    if (subj->answers.level_milli < 0)
        subj->answers.level_milli = 0;
}

void live_remove(struct live *live, struct connection *conn, int64_t now_ms)
{
    struct subject *subj = conn->subject;
    struct address *addr = conn->address;

    heap_remove(live, conn);
    list_remove(&conn->all);
    map_remove(&live->connections, &conn->node);
    release_id(live, conn);
    mark_dirty(live, subj);
    if (--subj->connections == 0) {
        leave_unread(subj, now_ms);
        subj->idle_since_ms = now_ms;
        list_append(&live->idle_subjects, &subj->idle);
    }
    if (addr && --addr->connections == 0) {
        addr->idle_since_ms = now_ms;
        list_append(&live->idle_addresses, &addr->idle);
    }
    free(conn->jti);
    free(conn);
}

unsigned live_mark(struct live *live, const char *subject, const char *client_id)
{
    unsigned count = 0;

    for (struct list *at = live->all.next; at != &live->all; at = at->next) {
        struct connection *conn = MAP_OWNER(at, struct connection, all);
        bool is_meant = subject ? strcmp(conn->subject->key, subject) == 0
                                : strcmp(conn->client_id, client_id) == 0;
        if (is_meant && live_is_kickable(conn)) {
            conn->is_marked = true;
            count++;
        }
    }
    return count;
}

bool live_is_kickable(const struct connection *conn)
{
    return !conn->is_doomed && !conn->newer;
}

void live_doom(struct live *live, struct connection *conn)
{
    conn->is_doomed = true;
    heap_remove(live, conn);
}

struct connection *live_expired(struct live *live, int64_t now_s)
{
    while (live->heap_count && live->heap[0]->ends_s <= now_s) {
        if (live_is_kickable(live->heap[0]))
            return live->heap[0];
        heap_remove(live, live->heap[0]); /* comes back if its successor fails */
    }
    return NULL;
}

static bool has_full_budgets(const struct live *live, struct subject *subj, int64_t now_ms)
{
    const struct limits_config *lim = live->limits;
    enum principal_kind kind = subj->kind;

    return bucket_is_full(&subj->publish, lim->publish_rate[kind], lim->publish_burst[kind],
                          now_ms) &&
           bucket_is_full(&subj->bytes, lim->byte_rate[kind], lim->byte_burst[kind], now_ms) &&
           bucket_is_full(&subj->answers, LIVE_ANSWERS_RATE, LIVE_ANSWERS_BURST, now_ms) &&
           bucket_is_full(&subj->unread, LIVE_UNREAD_RATE, LIVE_UNREAD_BURST, now_ms);
}

static void subject_free(struct live *live, struct subject *subj)
{
    remember(live, subj);
    map_remove(&live->subjects, &subj->node);
    free(subj->roles);
    free(subj);
}

/* Looks at some each time, and at those that are not full again after all the others. */
static void free_full(struct live *live, int64_t now_ms)
{
    size_t count = live->spent_count < SPENT_LOOKED_AT ? live->spent_count : SPENT_LOOKED_AT;

    for (; count > 0; count--) {
        struct subject *subj = MAP_OWNER(live->spent.next, struct subject, idle);
        if (has_full_budgets(live, subj, now_ms))
            subject_free(live, subj);
        else
            forget(live, subj);
    }
}

void live_forget(struct live *live, int64_t now_ms, int64_t before_ms,
                 void (*gone)(void *ctx, struct subject *), void *ctx)
{
    while (!list_is_empty(&live->idle_subjects)) {
        struct subject *subj = MAP_OWNER(live->idle_subjects.next, struct subject, idle);
        if (subj->idle_since_ms > before_ms || !list_is_empty(&subj->dirty))
            break;
        gone(ctx, subj);
        if (has_full_budgets(live, subj, now_ms))
            subject_free(live, subj);
        else
            forget(live, subj);
    }
    free_full(live, now_ms);
    while (!list_is_empty(&live->idle_addresses)) {
        struct address *addr = MAP_OWNER(live->idle_addresses.next, struct address, idle);
        if (addr->idle_since_ms > before_ms)
            break;
        address_free(live, addr);
    }
}

struct subject *live_next_dirty(struct live *live)
{
    if (list_is_empty(&live->dirty))
        return NULL;
    struct subject *subj = MAP_OWNER(live->dirty.next, struct subject, dirty);
    list_remove(&subj->dirty);
    return subj;
}
