/* SPDX-License-Identifier: MIT */
/*
 * paho - the MQTT library, fenced in
 *
 * The only file that knows MQTTAsync. The library calls back on threads of
 * its own; those callbacks only copy what they are given into a queue and
 * ring an eventfd. Everything else here is for one thread, the caller's,
 * which takes the queue: so no other module needs a lock. What to make of the
 * events, and when to connect again, is link's.
 *
 * The library acknowledges a QoS 1 message before we see it and has no way to
 * push back, so the queue has a soft bound: above it each message waits a
 * moment on the library's thread, which slows the broker down.
 *
 * Ownership: a struct paho is the caller's to paho_free(), an event to
 *            paho_event_free().
 */
#ifndef CLI_PAHO_H
#define CLI_PAHO_H
#include "config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAHO_TLS_ERROR 160

enum paho_kind {
    PAHO_CONNECTED,
    PAHO_UNCONNECTED, /* code: the broker's reason if is_connack, else an errno, or below 0 */
    PAHO_LOST,
    PAHO_KICKED,     /* code: the reason in the broker's DISCONNECT */
    PAHO_SUBSCRIBED, /* tag; code: an MQTT reason code, or below 0 */
    PAHO_PUBLISHED,  /* tag; code: 0, an MQTT reason code from 0x80 on, or below 0 */
    PAHO_MESSAGE,    /* topic, payload, len, is_retained */
    PAHO_GONE        /* our own disconnect is done */
};

struct paho_event {
    struct paho_event *next;
    enum paho_kind kind;
    int code;
    bool is_connack, is_retained;
    uint64_t tag;
    char *topic, *payload; /* payload: followed by a NUL that len does not count */
    size_t len;
    struct paho_op *op; /* private */
};

struct paho;

/* New, or NULL after saying why. */
struct paho *paho_new(const char *url, const char *client_id) NODISCARD;
/* To poll: readable when paho_take() has something. */
int paho_fd(const struct paho *paho);
/* Starts to connect, by MQTT 5; a durable session is kept by the broker for a day. 0 or below. */
int paho_connect(struct paho *paho, const struct config *conf, bool is_durable) NODISCARD;
/* Starts a subscription, or a publication, with QoS 1. 0, or below and no event will follow. */
int paho_subscribe(struct paho *paho, const char *filter, uint64_t tag) NODISCARD;
int paho_publish(struct paho *paho, const char *topic, const void *payload, size_t len,
                 uint64_t tag) NODISCARD;
/* Starts to disconnect; PAHO_GONE follows if this returns 0. */
int paho_disconnect(struct paho *paho) NODISCARD;
bool paho_is_connected(const struct paho *paho);
/* Subscriptions and publications that no event has come for. */
bool paho_has_open(const struct paho *paho);
/* Everything that happened, oldest first; answers to an older connection are left out. */
struct paho_event *paho_take(struct paho *paho);
void paho_event_free(struct paho_event *event);
/* Copies what OpenSSL last complained of, and forgets it. "" for nothing. */
void paho_tls_error(struct paho *paho, char out[PAHO_TLS_ERROR]);
/* "not authorized": for an event's code. Static. */
const char *paho_reason(int code);
/* Ends the library's threads. NULL is fine. */
void paho_free(struct paho *paho);
#endif
