/* SPDX-License-Identifier: MIT */
/*
 * handshake - may this HTTP request become a WebSocket that carries MQTT? (RFC 6455 section 4.2)
 *
 * Purity:    no I/O, no clock, nothing allocated but the answer's text.
 * Ownership: borrows what it is shown.
 * Errors:    none: a request that may not is answered with an HTTP status and a sentence.
 */
#ifndef TOCSIN_WEBSOCKET_HANDSHAKE_H
#define TOCSIN_WEBSOCKET_HANDSHAKE_H
#include "base/buf.h"
#include <stddef.h>

#define HANDSHAKE_HEAD_MAX  8192 /* bytes of a request's head, with its empty line */
#define HANDSHAKE_KEY_CHARS 24   /* base64 of 16 bytes */

struct handshake_rules {
    const char *const *paths; /* of requests, without their query; none: all, as Mosquitto has it */
    size_t path_count;
    const char *const *origins; /* which pages may connect; none: all */
    size_t origin_count;
};

struct handshake {
    int status;      /* 101: granted */
    const char *why; /* for the client that was refused */
    char accept[29]; /* Sec-WebSocket-Accept; only when granted */
    /* The first of the offered ones that is served: "mqtt" or, for MQTT 3.1, "mqttv3.1"; static. */
    const char *subprotocol;
};

/*
 * The length of the head, with its empty line and with empty lines before it (RFC 9112 2.2); 0
 * while it is not whole.  A bare LF ends a line, so that such a head is judged, and refused, at
 * once. The first looked_at bytes were shown before.
 */
size_t handshake_head(const char *bytes, size_t length, size_t looked_at);
/* Judges one whole head. */
void handshake_judge(const struct handshake_rules *rules, const char *head, size_t length,
                     struct handshake *out);
/* A refusal that is not the request's fault, or that needs no look at it; why is borrowed. */
struct handshake handshake_refusal(int status, const char *why);
/* Appends the whole answer; unless granted, the connection ends after it. */
void handshake_answer(const struct handshake *handshake, struct buf *out);

#endif
