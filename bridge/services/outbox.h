/* SPDX-License-Identifier: MIT */
/*
 * outbox - everything the bridge publishes, kept until the broker has it
 *
 * Two kinds of message.  *Kept* ones (receipts, dead letters, replies) are sent again after a
 * lost connection until their PUBACK comes: the receiver drops repeats.  *Watched* ones (in-app
 * notifications) call back once with the PUBACK's reason, or with ERR_CLOSED when the connection
 * went first: their delivery decides what then.
 *
 * A message that the broker will never take (too large, an impossible topic, one at which it closes
 * good connections again and again) ends here: counted (tocsin_publish_refused_total) and logged,
 * and what core/shrink.h makes of it goes instead.  So the oldest never stops those behind it.
 * A broker that crashes or restarts however often ends no message.
 *
 * Bounded: kept messages by bytes; past the bound outbox_is_full() is true and the dispatcher
 * starts nothing that would settle, so the backlog stays in the database.
 * Not here: what the messages say, and the lanes, which have connections of their own.
 */
#ifndef TOCSIN_SERVICES_OUTBOX_H
#define TOCSIN_SERVICES_OUTBOX_H
#include "base/metrics.h"
#include "io/mqtt.h"

struct outbox;

struct outbox_config {
    struct mqtt_config mqtt; /* a publisher */
    size_t bytes_max;
};

/* reason: the MQTT 5 reason code of the PUBACK; err is 0 or ERR_CLOSED. */
typedef void outbox_result_fn(void *ctx, int err, uint8_t reason);

struct outbox *outbox_open(struct loop *loop, const struct outbox_config *config,
                           struct metrics *metrics, void (*on_change)(void *ctx), void *ctx);
/* Ends now; watched messages get ERR_CLOSED before return. */
void outbox_close(struct outbox *outbox);
bool outbox_is_up(const struct outbox *outbox);
bool outbox_is_full(const struct outbox *outbox);
/* As mqtt_packet_max(). */
size_t outbox_packet_max(const struct outbox *outbox);
/* Kept messages without their PUBACK, and for how long the oldest has been kept; 0: there is none.
 */
size_t outbox_waiting(const struct outbox *outbox);
int64_t outbox_oldest_age_ms(const struct outbox *outbox);
/*
 * What is kept from now on speaks of nothing that was settled before that moment (boot clock);
 * moments only grow.
 */
void outbox_set_since(struct outbox *outbox, int64_t since_ms);
/* That moment of the oldest of them; INT64_MAX when there is none. */
int64_t outbox_since_ms(const struct outbox *outbox);

/* Payload is copied.  Never fails: the bound is the caller's to respect. */
void outbox_keep(struct outbox *outbox, const char *topic, const void *payload, size_t bytes,
                 bool is_retained);
/* An answer, with MQTT 5 Correlation Data; correlation is copied, NULL for none. */
void outbox_keep_reply(struct outbox *outbox, const char *topic, const void *payload, size_t bytes,
                       const void *correlation, size_t correlation_bytes);
/* A place in the order of kept messages, and whether the broker has all up to there. */
uint64_t outbox_mark(const struct outbox *outbox);
bool outbox_is_past(struct outbox *outbox, uint64_t mark);
/*
 * ERR_FULL or ERR_CLOSED and no callback, or 0 and one.  The broker drops the message when expiry_s
 * seconds have passed; 0: never.
 */
NODISCARD int outbox_watch(struct outbox *outbox, const char *topic, const void *payload,
                           size_t bytes, uint32_t expiry_s, outbox_result_fn *on_result, void *ctx);

#endif
