/* SPDX-License-Identifier: MIT */
/*
 * people - by rpc: how users are reached, and addresses that nothing is sent to
 *
 *   services, admins   user.upsert  user.get  user.delete
 *                      suppression.add  suppression.remove  suppression.list
 *   users              device.register  device.unregister
 *
 * Who asks is taken from the topic.  Services need to be named (requests.people), see addresses
 * masked, and remove only what they have suppressed themselves; admins see addresses whole.  What
 * either changes is written to the audit table.
 */
#ifndef TOCSIN_SERVICES_PEOPLE_H
#define TOCSIN_SERVICES_PEOPLE_H
#include "services/asks.h"

struct people;

struct people *people_new(struct asks *asks, struct store *store);
void people_free(struct people *people);

#endif
