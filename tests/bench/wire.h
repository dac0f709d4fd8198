/* SPDX-License-Identifier: MIT */
/*
 * wire - MQTT packets as bytes
 *
 * Encodes and decodes the packets that a load generator needs, for protocol
 * levels 4 (3.1.1) and 5.  It knows nothing of sockets or of sessions.
 *
 * Purity:     no I/O, no clock.
 * Ownership:  a struct wire_buf owns its bytes; decoded packets point into
 *             the caller's bytes and live as long as those.
 * Errors:     decoding answers WIRE_BAD for what no broker should send.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_BAD (-1)

enum wire_type {
    WIRE_CONNACK = 2,
    WIRE_PUBLISH = 3,
    WIRE_PUBACK = 4,
    WIRE_SUBACK = 9,
    WIRE_PINGRESP = 13,
    WIRE_DISCONNECT = 14
};

/* Bytes on their way out; data[sent..len) is what the peer has not got. */
struct wire_buf {
    uint8_t *data;
    size_t len, sent, cap;
};

struct wire_packet {
    uint8_t type;  /* enum wire_type, or another that we ignore */
    uint8_t flags; /* low four bits of the first byte */
    const uint8_t *body;
    size_t len;
};

struct wire_connack {
    uint8_t reason;
    uint16_t receive_maximum; /* 65535 where the broker names none */
};

struct wire_publish {
    const char *topic, *payload; /* not terminated */
    size_t topic_len, payload_len;
    uint16_t packet_id; /* 0 at QoS 0 */
    uint8_t qos;
};

struct wire_connect {
    const char *client_id, *user, *password;
    uint16_t keepalive_s;
};

void wire_buf_fini(struct wire_buf *buf);
/* Room for n more bytes at data + len; the caller advances len. */
uint8_t *wire_buf_room(struct wire_buf *buf, size_t n);

void wire_put_connect(struct wire_buf *buf, int level, const struct wire_connect *c);
void wire_put_subscribe(struct wire_buf *buf, int level, uint16_t packet_id, const char *filter);
void wire_put_puback(struct wire_buf *buf, uint16_t packet_id);
void wire_put_ping(struct wire_buf *buf);
void wire_put_disconnect(struct wire_buf *buf);
/* QoS is 1 with a packet id and 0 with packet_id 0.  Returns where the
 * payload_len bytes of the payload go, for the caller to fill. */
uint8_t *wire_put_publish(struct wire_buf *buf, int level, uint16_t packet_id, const char *topic,
                          size_t topic_len, size_t payload_len);

/* The first packet of bytes[0..n): its whole length, 0 when more bytes are
 * needed, WIRE_BAD when this is not MQTT. */
int64_t wire_next(const uint8_t *bytes, size_t n, struct wire_packet *out);
int wire_parse_connack(const struct wire_packet *p, int level, struct wire_connack *out);
int wire_parse_publish(const struct wire_packet *p, int level, struct wire_publish *out);
/* The packet id, or WIRE_BAD; *reason is 0 where the packet has none. */
int wire_parse_puback(const struct wire_packet *p, uint8_t *reason);
/* The one reason code of a SUBACK for one filter, or WIRE_BAD. */
int wire_parse_suback(const struct wire_packet *p, int level);

#endif
