/* SPDX-License-Identifier: MIT */
/*
 * requests - storing what lanes brought: one statement per batch, born leased
 *
 * A batch is filled row by row, sent once, and may be sent again as it is: the same request key
 * has one effect.  Rows whose key was seen before are not stored; the answer does not name them,
 * and store_key_lookup() tells what they were.
 */
#ifndef TOCSIN_STORE_REQUESTS_H
#define TOCSIN_STORE_REQUESTS_H
#include "core/channel.h"
#include "io/pg.h"
#include "store/store.h"

/* What one id is known by.  `other`: what it may have been stored under some days ago. */
struct request_key {
    int32_t day; /* days since 1970; 0 for ids without a date */
    unsigned char key[16];
    bool has_other;
    int32_t other_day;
    unsigned char other_key[16];
};

struct notification_row {
    uint64_t id;
    struct request_key key;
    uint64_t digest;
    const char *service, *request, *type;
    enum priority priority;
    int receipts, deliveries;
    int64_t created_ms, expires_ms;   /* wall; expires 0 = never */
    const char *collapse_key, *retry; /* NULL when absent */
    const void *content;
    size_t content_bytes;
};

struct delivery_row {
    uint64_t id, notification;
    int64_t due_ms; /* wall; 0 = now; or DELIVERY_ROW_NEVER */
    int32_t destination;
    enum channel channel;
    enum priority priority;
    int state; /* DELIVERY_READY or DELIVERY_LEASED, or DELIVERY_HELD: a step that waits */
    int recipient_kind;
    const char *recipient;
    const char *user; /* whose address that is; NULL when the request named it itself */
    uint64_t head;    /* 0: it goes by itself */
};

/* Due when something else says so. */
#define DELIVERY_ROW_NEVER (-1)

enum {
    INGEST_NOTIFICATION_COLUMNS = 14,
    INGEST_DELIVERY_COLUMNS = 11,
    INGEST_DEFERRED_COLUMNS = 2
};
struct ingest_rows {
    struct pg_array notification[INGEST_NOTIFICATION_COLUMNS];
    struct pg_array delivery[INGEST_DELIVERY_COLUMNS];
    struct pg_array other[2];                          /* days and keys; null where there is none */
    struct pg_array deferred[INGEST_DEFERRED_COLUMNS]; /* for store_defer() alone */
    size_t bytes;                                      /* of content, for the caller's bound */
    bool has_more; /* some replace others, expire, are told to many, or have another key */
};
void ingest_rows_init(struct ingest_rows *rows);
void ingest_rows_clear(struct ingest_rows *rows);
void ingest_rows_fini(struct ingest_rows *rows);
void ingest_rows_add(struct ingest_rows *rows, const struct notification_row *row);
void ingest_rows_add_delivery(struct ingest_rows *rows, const struct delivery_row *row);
/* After the ingest_rows_add() of a request whose deliveries are made later. */
void ingest_rows_add_deferred(struct ingest_rows *rows, uint64_t next_id, const void *request,
                              size_t request_bytes);

struct ingest_answer {
    void (*on_notification)(void *ctx, uint64_t id);
    /* seq is the user's inbox number, 0 for other channels; is_leased: it is ours to send. */
    void (*on_delivery)(void *ctx, uint64_t id, int64_t seq, bool is_leased);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
/* answer is copied. */
NODISCARD int store_ingest(struct store *store, int64_t epoch, const struct ingest_rows *rows,
                           const struct ingest_answer *answer);

/* The key of a service's request id: see request_key in schemas/sql. */
void request_key_make(const char *service, const char *id, int64_t now_wall_ms,
                      struct request_key *key);

struct key_lookup {
    void (*on_row)(void *ctx, size_t index, uint64_t notification, uint64_t digest);
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
/* Which notifications these keys belong to; also waits for a synchronous standby. */
NODISCARD int store_key_lookup(struct store *store, const struct request_key *keys, size_t count,
                               const struct key_lookup *lookup);

/* Keeps a payload that could not be stored, for people.  on_done may be NULL. */
NODISCARD int store_reject(struct store *store, const char *topic, const char *why,
                           const void *payload, size_t payload_bytes, store_done_fn *on_done,
                           void *ctx);

#endif
