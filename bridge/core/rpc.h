/* SPDX-License-Identifier: MIT */
/*
 * rpc - calls as they come in on up/rpc/{method}, and their answers on down/reply
 *
 *   {rpc, params?} -> {rpc, result} | {rpc, error: {code, message, field?}}
 *
 * Used like this; every accessor returns false when something is wrong, and has then written the
 * error, so that a method reads its parameters in one condition:
 *
 *   struct rpc_call call;
 *   if (rpc_read(&call, payload, bytes, arena) != 0 ||
 *       !rpc_id(&call, "delivery", RPC_REQUIRED, &id) ||
 *       !rpc_int(&call, "limit", RPC_OPTIONAL, 1, 100, &limit) ||
 *       !rpc_object(&call, "filter", RPC_OPTIONAL, &filter) ||
 *       !rpc_text(&filter, "type", RPC_OPTIONAL, 128, &type) ||
 *       !rpc_done(&filter) || !rpc_done(&call)) {
 *       rpc_write_error(&call, out);
 *       return;
 *   }
 *   ...
 *   rpc_begin_result(&call, out);
 *   buf_printf(out, "{\"retried\":%zu}", n);
 *   rpc_end_result(out);
 *
 * A parameter that is absent leaves *out as it is: set the default before.  An accessor of an
 * object that is absent finds nothing in it.  rpc_done() refuses parameters that nobody asked
 * for: a typo must not silently change what is done.
 *
 * Purity:    no I/O, no clock.
 * Ownership: what is read lives in the arena given to rpc_read().  A call points into itself:
 *            it is handed on by pointer, never copied.
 */
#ifndef TOCSIN_CORE_RPC_H
#define TOCSIN_CORE_RPC_H
#include "base/arena.h"
#include "base/buf.h"
#include "core/fields.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RPC_ID_MAX     128
#define RPC_DEPTH_MAX  16
#define RPC_PARAMS_MAX 64

/* Codes besides the names of enum reject (topics.md section 6). */
#define RPC_NOT_FOUND      "not_found"
#define RPC_NOT_ALLOWED    "not_allowed"
#define RPC_UNKNOWN_METHOD "unknown_method"
#define RPC_CONFLICT       "conflict"
#define RPC_UNAVAILABLE    "unavailable" /* try again later */
#define RPC_BUSY           "busy"        /* so many of one's own are under way: wait for answers */
#define RPC_TOO_LARGE      "too_large"   /* the answer, for the broker */
#define RPC_INTERNAL       "internal"

enum rpc_need { RPC_OPTIONAL, RPC_REQUIRED };

struct rpc_error {
    const char *code; /* NULL while nothing is wrong */
    const char *message;
    const char *field; /* JSON pointer from the payload's root; NULL when it is no field */
};

struct rpc_call {
    const char *rpc; /* the caller's correlation id; NULL when it could not be read */
    struct rpc_error *error;
    /* From here on the module's own. */
    struct rpc_error own_error;
    const struct json *root, *params; /* params NULL when there are none */
    struct arena *arena;
    uint64_t asked; /* bit per member of params */
};

/*
 * Reads the envelope.  On ERR_INVALID the error is written and can be answered at once (with no
 * rpc when it could not be read).
 */
NODISCARD int rpc_read(struct rpc_call *call, const char *payload, size_t bytes,
                       struct arena *arena);

bool rpc_has(const struct rpc_call *call, const char *name);
/* Text of 1 to max characters. */
bool rpc_text(struct rpc_call *call, const char *name, enum rpc_need need, size_t max,
              const char **out);
/* The id of a principal or the name of a role, as a token has it; out is its encoded form. */
bool rpc_principal(struct rpc_call *call, const char *name, enum rpc_need need, const char **out);
bool rpc_int(struct rpc_call *call, const char *name, enum rpc_need need, int64_t min, int64_t max,
             int64_t *out);
bool rpc_bool(struct rpc_call *call, const char *name, enum rpc_need need, bool *out);
/*
 * RFC 3339 to wall milliseconds; never 0, which callers take for no time at all: the first moment
 * of 1970 becomes the millisecond before.
 */
bool rpc_time(struct rpc_call *call, const char *name, enum rpc_need need, int64_t *out);
bool rpc_duration(struct rpc_call *call, const char *name, enum rpc_need need, int64_t min_ms,
                  int64_t max_ms, int64_t *out);
/* One id of ours, 16 hex digits. */
bool rpc_id(struct rpc_call *call, const char *name, enum rpc_need need, uint64_t *out);
/* 1 to max of them. */
bool rpc_ids(struct rpc_call *call, const char *name, enum rpc_need need, size_t max,
             uint64_t **out, size_t *count);
/* 1 to max texts of 1 to max_length characters each. */
bool rpc_texts(struct rpc_call *call, const char *name, enum rpc_need need, size_t max,
               size_t max_length, const char ***out, size_t *count);
/* One of names (ended by NULL); out is its place. */
bool rpc_choice(struct rpc_call *call, const char *name, enum rpc_need need,
                const char *const *names, size_t *out);
/* Any value as it is; borrowed from the arena. */
bool rpc_json(struct rpc_call *call, const char *name, enum rpc_need need, const struct json **out);
/*
 * An object with parameters of its own.  inner is always filled: it shares the error of call,
 * and is empty when the object is absent.
 */
bool rpc_object(struct rpc_call *call, const char *name, enum rpc_need need,
                struct rpc_call *inner);
/*
 * 0 to max objects with parameters of their own, as rpc_object(); rpc_done() is called for each.
 */
bool rpc_objects(struct rpc_call *call, const char *name, enum rpc_need need, size_t max,
                 struct rpc_call **inner, size_t *count);
/* True when nothing was wrong so far and every parameter given was asked for. */
bool rpc_done(struct rpc_call *call);

/* Sets the error; returns false.  name is a parameter or NULL; code and message are borrowed. */
bool rpc_fail(struct rpc_call *call, const char *code, const char *message, const char *name);

/* Each appends to out; between begin and end the caller appends one JSON value. */
void rpc_begin_result(const struct rpc_call *call, struct buf *out);
void rpc_end_result(struct buf *out);
/* The error that was set; RPC_INTERNAL when none was. */
void rpc_write_error(const struct rpc_call *call, struct buf *out);

#endif
