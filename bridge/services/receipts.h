/* SPDX-License-Identifier: MIT */
/*
 * receipts - tells services what became of their requests
 *
 * Receipts of one service gather over a turn of the loop and leave as one message: an object
 * when there is one, an array when there are several (topics.md, services/{s}/down/receipt).
 * They are added only after the commit they speak of.
 */
#ifndef TOCSIN_SERVICES_RECEIPTS_H
#define TOCSIN_SERVICES_RECEIPTS_H
#include "core/receipt.h"
#include <stddef.h>

struct receipts;

/* publish is called with each complete message; its payload is copied by the callee. */
struct receipts *receipts_new(void (*publish)(void *ctx, const char *topic, const void *payload,
                                              size_t bytes),
                              void *ctx);
void receipts_free(struct receipts *receipts);
/* service is the encoded id of the topic. */
void receipts_add(struct receipts *receipts, const char *service, const struct receipt *receipt);
/* Publishes what was gathered. */
void receipts_flush(struct receipts *receipts);

#endif
