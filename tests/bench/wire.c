/* SPDX-License-Identifier: MIT */
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROP_RECEIVE_MAXIMUM 0x21

void wire_buf_fini(struct wire_buf *buf)
{
    free(buf->data);
    *buf = (struct wire_buf){0};
}

uint8_t *wire_buf_room(struct wire_buf *buf, size_t n)
{
    if (buf->sent == buf->len)
        buf->sent = buf->len = 0;
    if (buf->cap - buf->len < n) {
        size_t cap = buf->cap ? buf->cap : 512;

        while (cap - buf->len < n)
            cap *= 2;
        uint8_t *data = realloc(buf->data, cap);
        if (!data) {
            fputs("load: out of memory\n", stderr);
            abort();
        }
        buf->data = data;
        buf->cap = cap;
    }
    return buf->data + buf->len;
}

static uint8_t *put_u16(uint8_t *p, size_t v)
{
    *p++ = (uint8_t)(v >> 8 & 0xff);
    *p++ = (uint8_t)(v & 0xff);
    return p;
}

static uint8_t *put_text(uint8_t *p, const char *s, size_t n)
{
    p = put_u16(p, n);
    memcpy(p, s, n);
    return p + n;
}

static uint8_t *put_length(uint8_t *p, size_t n)
{
    do {
        *p++ = (uint8_t)((n & 0x7f) | (n > 0x7f ? 0x80 : 0));
        n >>= 7;
    } while (n);
    return p;
}

/* Writes the fixed header; five bytes at the most. */
static uint8_t *begin(struct wire_buf *buf, uint8_t first, size_t body)
{
    uint8_t *p = wire_buf_room(buf, body + 5);

    *p++ = first;
    return put_length(p, body);
}

static void end(struct wire_buf *buf, const uint8_t *p)
{
    buf->len = (size_t)(p - buf->data);
}

void wire_put_connect(struct wire_buf *buf, int level, const struct wire_connect *c)
{
    size_t id = strlen(c->client_id), user = c->user ? strlen(c->user) : 0;
    size_t pass = c->password ? strlen(c->password) : 0;
    size_t body = 10 + (level == 5 ? 1u : 0u) + 2 + id;
    uint8_t flags = 0x02; /* clean start: a bench user keeps nothing */

    if (c->user) {
        body += 2 + user;
        flags |= 0x80;
    }
    if (c->password) {
        body += 2 + pass;
        flags |= 0x40;
    }
    uint8_t *p = begin(buf, 0x10, body);
    p = put_text(p, "MQTT", 4);
    *p++ = (uint8_t)level;
    *p++ = flags;
    p = put_u16(p, c->keepalive_s);
    if (level == 5)
        *p++ = 0;
    p = put_text(p, c->client_id, id);
    if (c->user)
        p = put_text(p, c->user, user);
    if (c->password)
        p = put_text(p, c->password, pass);
    end(buf, p);
}

void wire_put_subscribe(struct wire_buf *buf, int level, uint16_t packet_id, const char *filter)
{
    size_t n = strlen(filter);
    uint8_t *p = begin(buf, 0x82, 2 + (level == 5 ? 1u : 0u) + 2 + n + 1);

    p = put_u16(p, packet_id);
    if (level == 5)
        *p++ = 0;
    p = put_text(p, filter, n);
    *p++ = 1; /* at most QoS 1 */
    end(buf, p);
}

void wire_put_puback(struct wire_buf *buf, uint16_t packet_id)
{
    end(buf, put_u16(begin(buf, 0x40, 2), packet_id));
}

void wire_put_ping(struct wire_buf *buf)
{
    end(buf, begin(buf, 0xc0, 0));
}

void wire_put_disconnect(struct wire_buf *buf)
{
    end(buf, begin(buf, 0xe0, 0));
}

uint8_t *wire_put_publish(struct wire_buf *buf, int level, uint16_t packet_id, const char *topic,
                          size_t topic_len, size_t payload_len)
{
    size_t body = 2 + topic_len + (packet_id ? 2u : 0u) + (level == 5 ? 1u : 0u) + payload_len;
    uint8_t *p = begin(buf, packet_id ? 0x32 : 0x30, body);

    p = put_text(p, topic, topic_len);
    if (packet_id)
        p = put_u16(p, packet_id);
    if (level == 5)
        *p++ = 0;
    end(buf, p + payload_len);
    return p;
}

/* A variable byte integer: bytes used, 0 when cut short, WIRE_BAD. */
static int get_length(const uint8_t *p, size_t n, size_t *out)
{
    size_t value = 0;

    for (int i = 0; i < 4; i++) {
        if ((size_t)i >= n)
            return 0;
        value |= (size_t)(p[i] & 0x7f) << (7 * i);
        if (!(p[i] & 0x80)) {
            *out = value;
            return i + 1;
        }
    }
    return WIRE_BAD;
}

int64_t wire_next(const uint8_t *bytes, size_t n, struct wire_packet *out)
{
    size_t len = 0;

    if (n < 2)
        return 0;
    int used = get_length(bytes + 1, n - 1, &len);
    if (used <= 0)
        return used;
    size_t head = 1 + (size_t)used;
    if (n - head < len)
        return 0;
    *out = (struct wire_packet){
        .type = bytes[0] >> 4, .flags = bytes[0] & 0x0f, .body = bytes + head, .len = len};
    return (int64_t)(head + len);
}

static size_t get_u16(const uint8_t *p)
{
    return (size_t)p[0] << 8 | p[1];
}

/* Bytes of one property's value by its identifier (MQTT5 2.2.2.2), or
 * WIRE_BAD; a CONNACK has no others. */
static int property_size(uint8_t id, const uint8_t *p, size_t n)
{
    switch (id) {
    case 0x24: /* maximum QoS */
    case 0x25: /* retain available */
    case 0x28: /* wildcards available */
    case 0x29: /* subscription ids available */
    case 0x2a: /* shared subscriptions available */
        return 1;
    case PROP_RECEIVE_MAXIMUM:
    case 0x22: /* topic alias maximum */
    case 0x13: /* server keep alive */
        return 2;
    case 0x11: /* session expiry */
    case 0x27: /* maximum packet size */
        return 4;
    case 0x12: /* assigned client id */
    case 0x1a: /* response information */
    case 0x1c: /* server reference */
    case 0x1f: /* reason string */
    case 0x15: /* authentication method */
        return n < 2 ? WIRE_BAD : (int)(2 + get_u16(p));
    default:
        return WIRE_BAD;
    }
}

int wire_parse_connack(const struct wire_packet *p, int level, struct wire_connack *out)
{
    size_t props = 0, at = 2;

    if (p->len < 2)
        return WIRE_BAD;
    *out = (struct wire_connack){.reason = p->body[1], .receive_maximum = 65535};
    if (level != 5 || p->len == 2)
        return 0;
    int used = get_length(p->body + at, p->len - at, &props);
    if (used <= 0 || props > p->len - at - (size_t)used)
        return WIRE_BAD;
    at += (size_t)used;
    size_t stop = at + props;
    while (at < stop) {
        uint8_t id = p->body[at++];
        int size = property_size(id, p->body + at, stop - at);

        if (size < 0 || (size_t)size > stop - at)
            return id == 0x26 ? 0 : WIRE_BAD; /* user properties come last here */
        if (id == PROP_RECEIVE_MAXIMUM)
            out->receive_maximum = (uint16_t)get_u16(p->body + at);
        at += (size_t)size;
    }
    return 0;
}

/* Past the properties that level 5 has at `at`; WIRE_BAD when they are cut short. */
static int skip_properties(const struct wire_packet *p, int level, size_t *at)
{
    size_t props = 0;

    if (level != 5)
        return 0;
    int used = get_length(p->body + *at, p->len - *at, &props);
    if (used <= 0)
        return WIRE_BAD;
    *at += (size_t)used + props;
    return 0;
}

int wire_parse_publish(const struct wire_packet *p, int level, struct wire_publish *out)
{
    size_t at = 0;

    if (p->len < 2)
        return WIRE_BAD;
    out->topic_len = get_u16(p->body);
    out->topic = (const char *)p->body + 2;
    out->qos = p->flags >> 1 & 3;
    out->packet_id = 0;
    at = 2 + out->topic_len;
    if (out->qos) {
        if (at + 2 > p->len)
            return WIRE_BAD;
        out->packet_id = (uint16_t)get_u16(p->body + at);
        at += 2;
    }
    if (at > p->len || skip_properties(p, level, &at) || at > p->len)
        return WIRE_BAD;
    out->payload = (const char *)p->body + at;
    out->payload_len = p->len - at;
    return 0;
}

int wire_parse_puback(const struct wire_packet *p, uint8_t *reason)
{
    if (p->len < 2)
        return WIRE_BAD;
    *reason = p->len > 2 ? p->body[2] : 0;
    return (int)get_u16(p->body);
}

int wire_parse_suback(const struct wire_packet *p, int level)
{
    size_t at = 2;

    if (p->len < 3 || skip_properties(p, level, &at))
        return WIRE_BAD;
    return at < p->len ? p->body[at] : WIRE_BAD;
}
