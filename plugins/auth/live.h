/* SPDX-License-Identifier: MIT */
/*
 * live - the connections that are up, whose they are and where they come from
 *
 * Three tables: connections by the broker's handle, principals by
 * "{kind}/{id}", addresses by their text (IPv6: by /64).  A principal or an
 * address without connections is kept for a while, so that reconnecting does
 * not refill its buckets and its presence can be taken back.
 *
 * Not here: what is allowed.  Access never depends on this table, because the
 * broker also asks for sessions that are not in it.
 *
 * Purity:    no I/O, no clock, no broker symbols.
 * Ownership: the table owns everything it hands out; a connection lives until
 *            live_remove().
 */
#ifndef TOCSIN_AUTH_LIVE_H
#define TOCSIN_AUTH_LIVE_H

#include "bucket.h"
#include "map.h"
#include "token.h"

/*
 * Answers to a user's own calls, in bytes and bytes a second: what may wait for its sessions that
 * nobody is connected to, and what its connections may be sent, since the broker does not say
 * what a client has acknowledged.
 */
enum {
    LIVE_ANSWERS_BURST = 1 << 20,
    LIVE_ANSWERS_RATE = 64,
    LIVE_UNREAD_BURST = 4 << 20,
    LIVE_UNREAD_RATE = 128 << 10
};

struct list {
    struct list *next, *prev;
};

struct subject {
    struct map_node node;
    struct list idle;  /* while connections is 0: in live.idle_subjects, then in live.spent */
    struct list dirty; /* in live.dirty while its presence is to be published */
    int64_t idle_since_ms;
    struct bucket publish, bytes;
    struct bucket answers; /* bytes of answers that wait for sessions left behind */
    struct bucket unread;  /* bytes of answers that its connections were sent */
    bool is_forgotten;     /* has no presence; only its budgets are kept, until they are full */
    unsigned connections;
    enum principal_kind kind;
    char *roles; /* owned; encoded, joined by ','; NULL: none */
    char key[];  /* "user/alice" */
};

struct address {
    struct map_node node;
    struct list idle;
    int64_t idle_since_ms;
    struct bucket connect, failure;
    unsigned connections;
    char key[];
};

struct connection {
    struct map_node node;             /* by handle */
    struct map_node by_id;            /* in live.ids unless there is a newer one */
    struct connection *newer, *older; /* of the same client id, during a takeover */
    const void *handle;
    struct list all;
    struct subject *subject;
    struct address *address; /* NULL when addresses are not limited */
    size_t heap_at;          /* SIZE_MAX: not in the heap */
    int64_t ends_s, issued_s;
    uint64_t key_print;
    struct bucket subscribe, control;
    int64_t noticed_ms; /* when it was last told that it is over a limit */
    bool is_marked;     /* an admin wants it gone; the reaper will see to it */
    bool is_doomed;     /* kicked; it may take a while to go */
    char *jti;          /* owned; NULL when it has none */
    char client_id[];
};

struct live {
    struct map connections, ids, subjects, addresses;
    struct list all, dirty, idle_subjects, idle_addresses;
    struct list spent; /* forgotten principals whose budgets are not full yet */
    size_t spent_count;
    struct connection **heap; /* by ends_s */
    size_t heap_count, heap_room;
    const struct limits_config *limits; /* borrowed */
};

NODISCARD int live_init(struct live *live, const struct limits_config *limits);
void live_fini(struct live *live);

/* The address' entry, made if need be; NULL when out of memory.  Evicts the longest idle one
 * when there are too many. */
struct address *live_address(struct live *live, const char *text, int64_t now_ms);
struct subject *live_subject(struct live *live, const struct principal *p);
/* The principal's entry, made (idle, its presence to be published) if need be; NULL when out of
 * memory. */
struct subject *live_remember(struct live *live, const struct principal *p, int64_t now_ms);
/* The same without any presence: a client without a connection has budgets too. */
struct subject *live_budget(struct live *live, const struct principal *p, int64_t now_ms);
struct connection *live_find_id(struct live *live, const char *client_id);
struct connection *live_find(struct live *live, const void *handle);

/*
 * Adds a connection for a verified token; replaces what the handle stood for.
 * An older connection with this client id is about to be taken over: until
 * then it is left alone, since a kick by client id would hit the new one.
 */
NODISCARD enum refusal live_add(struct live *live, const void *handle, const char *client_id,
                                const struct principal *p, const struct token *tok,
                                struct address *from, int64_t now_ms);
/* The roles of the principal's newest token; a user's presence tells them.  None when out of
 * memory. */
void live_set_roles(struct live *live, struct subject *subj, const struct principal *p);
/* Another token for the same connection. */
NODISCARD enum refusal live_refresh(struct live *live, struct connection *conn,
                                    const struct token *tok);
void live_remove(struct live *live, struct connection *conn, int64_t now_ms);

/* Has the reaper kick, with the next TICK, a principal's connections or the one with a client id;
 * how many. */
unsigned live_mark(struct live *live, const char *subject, const char *client_id);
/* The connection that ends first, if it has ended by now_s; NULL when none has. */
struct connection *live_expired(struct live *live, int64_t now_s);
/* May it be kicked by its client id: not kicked yet, and the newest one with that id. */
bool live_is_kickable(const struct connection *conn);
/* It will be kicked: never expires, is not kickable again. */
void live_doom(struct live *live, struct connection *conn);

/*
 * Forgets principals that are idle since before_ms: calls `gone` for each.  Its budgets are kept
 * until they are full: to leave and to come back must not renew them.
 */
void live_forget(struct live *live, int64_t now_ms, int64_t before_ms,
                 void (*gone)(void *ctx, struct subject *), void *ctx);
/* Takes one principal off the dirty list; NULL when there is none. */
struct subject *live_next_dirty(struct live *live);

#endif
