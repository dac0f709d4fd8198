/* SPDX-License-Identifier: MIT */
/*
 * frame - WebSocket frames as a stream of bytes, as a server sees them (RFC 6455 section 5)
 *
 * MQTT does not care where frames begin (MQTT5 6): what the client sends is unmasked where it lies
 * and handed on as it comes, so that a frame of any length needs no memory but that of its header.
 *
 * Purity:    no I/O, nothing allocated.
 * Ownership: the caller owns the struct (zero-initialised is the beginning) and the bytes.
 * Errors:    what breaks the rules is FRAME_BROKEN with the code to close with.  After FRAME_CLOSE
 *            and FRAME_BROKEN there is nothing more to read.
 */
#ifndef TOCSIN_WEBSOCKET_FRAME_H
#define TOCSIN_WEBSOCKET_FRAME_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER_MAX  10  /* of ours, which are not masked */
#define FRAME_CONTROL_MAX 125 /* RFC 6455 5.5 */

enum frame_opcode {
    FRAME_OP_CONTINUATION = 0,
    FRAME_OP_TEXT = 1,
    FRAME_OP_BINARY = 2,
    FRAME_OP_CLOSE = 8,
    FRAME_OP_PING = 9,
    FRAME_OP_PONG = 10
};

/* RFC 6455 7.4.1 */
enum frame_code {
    FRAME_CODE_NONE = 0, /* a close frame without one (1005 to those who read it) */
    FRAME_CODE_NORMAL = 1000,
    FRAME_CODE_GOING_AWAY = 1001,
    FRAME_CODE_PROTOCOL = 1002,
    FRAME_CODE_UNSUPPORTED = 1003,
    FRAME_CODE_INTERNAL = 1011
};

enum frame_event { FRAME_MORE, FRAME_PING, FRAME_CLOSE, FRAME_BROKEN };

struct frame_reader {
    uint64_t left;      /* of the frame's payload, still to come */
    uint8_t header[14]; /* as far as it has come */
    uint8_t header_length;
    uint8_t mask[4];
    uint8_t mask_at; /* which of it is next */
    uint8_t opcode;  /* of the frame whose payload is coming */
    bool is_payload; /* the header was whole */
    bool is_message; /* a message was begun, and its last frame has not ended it */
    uint8_t control_length;
    uint8_t control[FRAME_CONTROL_MAX]; /* of a ping, a pong or a close */
    uint16_t code;                      /* what to close with; FRAME_CODE_NONE is none */
};

/* Bytes from the client; the payload among them gathers at their beginning. */
struct frame_input {
    uint8_t *bytes;
    size_t length;
    size_t at;      /* how many were read */
    size_t payload; /* how many of the first bytes are payload by now */
};

/*
 * Reads on until all is read (FRAME_MORE) or something asks for an answer: FRAME_PING with what is
 * to be sent back in control, FRAME_CLOSE and FRAME_BROKEN with the code to answer.
 */
enum frame_event frame_read(struct frame_reader *reader, struct frame_input *input);
/* Writes the header of a frame that is whole; returns its length. */
size_t frame_header(uint8_t header[FRAME_HEADER_MAX], enum frame_opcode opcode, size_t length);
/* Writes a whole close frame; returns its length. */
size_t frame_close(uint8_t frame[4], unsigned code);

#endif
