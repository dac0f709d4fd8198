/* SPDX-License-Identifier: MIT */
/*
 * receipt - reading and showing what the bridge says became of a request
 *
 * Purity:    receipt_show() prints; the rest computes.
 * Ownership: everything is borrowed.
 */
#ifndef CLI_RECEIPT_H
#define CLI_RECEIPT_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum receipt_kind {
    RECEIPT_ACCEPTED,
    RECEIPT_REJECTED,
    RECEIPT_PASSING, /* retrying, and whatever a later version adds */
    RECEIPT_SENT,    /* final where the channel reports no more: with receipts "final" it is */
    RECEIPT_GOOD,    /* delivered, read, clicked */
    RECEIPT_BAD      /* dead, suppressed, expired, cancelled */
};

enum receipt_kind receipt_kind(const char *status);
/* The same receipt sent twice has the same hash. */
uint64_t receipt_hash(const json_t *receipt);
/* Of the channel and the recipient alone, and a status: to match receipts with a status answer. */
uint64_t receipt_place(const json_t *receipt, const char *status);
/* One line: readable, or the receipt itself as JSON. */
void receipt_show(const json_t *receipt, bool is_json);
/*
 * Runs `each` for the receipt, or for every receipt of the array, in `payload`.
 * -1 when it is neither.
 */
int receipt_each(const char *payload, size_t len, void (*each)(void *ctx, const json_t *receipt),
                 void *ctx);
#endif
