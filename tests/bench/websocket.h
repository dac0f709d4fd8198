/* SPDX-License-Identifier: MIT */
/*
 * websocket - what lies between MQTT and TCP for a browser's client (RFC 6455)
 *
 * The client's side, as far as a load needs it: binary messages of any fragmentation are one
 * stream of bytes.  What we send is masked with the mask 0, which changes nothing.
 *
 * Ownership:  borrows the socket.
 * Errors:     -1, and errno says why where it can.
 */
#ifndef BENCH_WEBSOCKET_H
#define BENCH_WEBSOCKET_H

#include <stddef.h>
#include <stdint.h>

#define WEBSOCKET_HEADER_MAX 14

struct websocket {
    uint8_t header[WEBSOCKET_HEADER_MAX]; /* of a frame, as far as it has come */
    size_t header_len;
    uint64_t left; /* bytes of the frame's payload still to come */
    int opcode;
};

/* Asks for the upgrade, on a blocking socket; where is host:port. */
int websocket_ask(int fd, const char *where);
/* The length of the answer's head; 0 when it is not whole yet, -1 when it is not a yes. */
int64_t websocket_answer(const uint8_t *bytes, size_t n);
/* Writes the header of a frame of n bytes; returns its length. */
size_t websocket_put_header(uint8_t header[WEBSOCKET_HEADER_MAX], size_t n);
/*
 * Moves the payload among n bytes to their beginning; returns how many there are, -1 when the
 * other side has closed or breaks the rules.
 */
int64_t websocket_unwrap(struct websocket *w, uint8_t *bytes, size_t n);

#endif
