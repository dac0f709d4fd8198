/* SPDX-License-Identifier: MIT */
/*
 * questions - what people and services ask about deliveries
 */
#ifndef TOCSIN_STORE_QUESTIONS_H
#define TOCSIN_STORE_QUESTIONS_H
#include "store/requests.h"
#include "store/store.h"

/* One line of the answer to "what became of it": a delivery that is not over, a try, or a death. */
enum status_kind { STATUS_LIVE, STATUS_ATTEMPT, STATUS_DEAD };
struct status_row { /* strings borrowed; NULL where there is none */
    enum status_kind kind;
    uint64_t delivery;
    int channel, recipient_kind, state /* -1: not the end */, number, outcome, reason, segments;
    int64_t at_ms;             /* of the try or death; when due, for a live one */
    int report, report_reason; /* what the provider said later (core/report.h); 0: nothing */
    const char *recipient, *destination, *code, *provider_id, *detail;
    const char *user; /* whose address it is, or NULL */
};
struct status_head {
    uint64_t notification;
    int64_t accepted_ms;
    int deliveries; /* made so far */
    const char *type;
    bool is_expanding; /* not all of its deliveries are made yet */
};
struct status_call {
    void (*on_head)(void *ctx, const struct status_head *head);
    void (*on_row)(void *ctx, const struct status_row *row); /* by delivery, then time */
    void (*on_done)(void *ctx, int err);
    void *ctx;
};
/* Calls on_head once, or only on_done with ERR_NOT_FOUND. */
NODISCARD int store_status_head(struct store *store, const struct request_key *key,
                                const struct status_call *call);
/* The rows of up to limit deliveries whose ids are above `after`; 0: from the first on. */
NODISCARD int store_status(struct store *store, uint64_t notification, uint64_t after, int limit,
                           const struct status_call *call);

#endif
