/* SPDX-License-Identifier: MIT */
#include "sessions.h"

#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 5000 }; /* of the first level above "at once" */

/* A principal with at least one session left behind. */
struct owner {
    struct map_node node;
    unsigned count;
    char key[];
};

struct session {
    struct map_node node;
    struct session *next, *prev;
    struct session_line *line;
    struct owner *owner;
    unsigned level;
    int64_t due_ms; /* when it is asked about or, when restored, forgotten */
    char client_id[];
};

int sessions_init(struct sessions *s)
{
    memset(s, 0, sizeof(*s));
    return map_init(&s->ids) || map_init(&s->owners) ? -1 : 0;
}

void sessions_fini(struct sessions *s)
{
    struct map_node *node;

    while ((node = map_pop(&s->ids)))
        free(MAP_OWNER(node, struct session, node));
    while ((node = map_pop(&s->owners)))
        free(MAP_OWNER(node, struct owner, node));
    map_fini(&s->ids);
    map_fini(&s->owners);
}

static void line_append(struct session_line *line, struct session *session)
{
    session->line = line;
    session->next = NULL;
    session->prev = line->last;
    if (line->last)
        line->last->next = session;
    else
        line->first = session;
    line->last = session;
}

static void line_remove(struct session *session)
{
    struct session_line *line = session->line;

    if (session->prev)
        session->prev->next = session->next;
    else
        line->first = session->next;
    if (session->next)
        session->next->prev = session->prev;
    else
        line->last = session->prev;
}

static struct session *find(const struct sessions *s, const char *client_id)
{
    struct map_node *node = map_find(&s->ids, client_id, strlen(client_id));
    return node ? MAP_OWNER(node, struct session, node) : NULL;
}

/* The principal's entry, made if need be; NULL when out of memory. */
static struct owner *owner_of(struct sessions *s, const char *subject)
{
    size_t len = strlen(subject);
    struct map_node *node = map_find(&s->owners, subject, len);

    if (node)
        return MAP_OWNER(node, struct owner, node);
    struct owner *owner = calloc(1, sizeof(*owner) + len + 1);
    if (!owner)
        return NULL;
    memcpy(owner->key, subject, len + 1);
    if (map_add(&s->owners, &owner->node, owner->key, len) == 0)
        return owner;
    free(owner);
    return NULL;
}

static void owner_release(struct sessions *s, struct owner *owner)
{
    if (owner->count > 0)
        return;
    map_remove(&s->owners, &owner->node);
    free(owner);
}

static void add(struct sessions *s, struct session_line *line, const char *subject,
                const char *client_id, int64_t due_ms)
{
    size_t len = strlen(client_id);
    struct owner *owner;
    struct session *session;

    sessions_remove(s, client_id);
    owner = owner_of(s, subject);
    if (!owner)
        return;
    session = calloc(1, sizeof(*session) + len + 1);
    if (session) {
        memcpy(session->client_id, client_id, len + 1);
        session->owner = owner;
        session->due_ms = due_ms;
        if (map_add(&s->ids, &session->node, session->client_id, len) == 0) {
            owner->count++;
            line_append(line, session);
            return;
        }
    }
    free(session);
    owner_release(s, owner);
}

void sessions_add(struct sessions *s, const char *subject, const char *client_id, int64_t now_ms)
{
    add(s, &s->levels[0], subject, client_id, now_ms);
}

void sessions_add_restored(struct sessions *s, const char *subject, const char *client_id,
                           int64_t until_ms)
{
    add(s, &s->restored, subject, client_id, until_ms);
}

static void drop(struct sessions *s, struct session *session)
{
    struct owner *owner = session->owner;

    line_remove(session);
    map_remove(&s->ids, &session->node);
    free(session);
    owner->count--;
    owner_release(s, owner);
}

void sessions_remove(struct sessions *s, const char *client_id)
{
    struct session *session = find(s, client_id);

    if (session)
        drop(s, session);
}

bool sessions_has(const struct sessions *s, const char *client_id)
{
    return find(s, client_id) != NULL;
}

unsigned sessions_count(const struct sessions *s, const char *subject)
{
    struct map_node *node = map_find(&s->owners, subject, strlen(subject));
    return node ? MAP_OWNER(node, struct owner, node)->count : 0;
}

const char *sessions_due(struct sessions *s, int64_t now_ms)
{
    for (int i = 0; i < SESSIONS_LEVELS; i++) {
        const struct session *first = s->levels[i].first;
        if (first && first->due_ms <= now_ms)
            return first->client_id;
    }
    return NULL;
}

void sessions_stays(struct sessions *s, const char *client_id, int64_t now_ms)
{
    struct session *session = find(s, client_id);

    if (!session)
        return;
    line_remove(session);
    if (session->level + 1 < SESSIONS_LEVELS)
        session->level++;
    session->due_ms = now_ms + ((int64_t)WAIT_MS << (session->level - 1));
    line_append(&s->levels[session->level], session);
}

void sessions_expire(struct sessions *s, int64_t now_ms)
{
    while (s->restored.first && s->restored.first->due_ms <= now_ms)
        drop(s, s->restored.first);
}
