/* SPDX-License-Identifier: MIT */
/*
 * people - by rpc: how users are reached, and addresses that nothing is sent to
 *
 *   services, admins   user.upsert  user.get  user.delete
 *                      suppression.add  suppression.remove  suppression.list
 *   users              device.register  device.unregister
 *
 * Who asks is taken from the topic.  Services see addresses masked, admins see them whole; what an
 * admin changes is written to the audit table.
 */
#ifndef TOCSIN_SERVICES_PEOPLE_H
#define TOCSIN_SERVICES_PEOPLE_H
#include "base/metrics.h"
#include "core/topic.h"
#include "io/mqtt.h"
#include "store/store.h"

struct people;

struct people_ops {
    void (*publish)(void *ctx, const char *topic, const void *payload, size_t bytes);
    void *ctx;
};

struct people *people_new(struct store *store, struct metrics *metrics,
                          const struct people_ops *ops);
void people_free(struct people *people);
/* Answers a call of ours; false when it is none, and nothing happened. */
bool people_rpc(struct people *people, const struct topic_up *from,
                const struct mqtt_message *message);

#endif
