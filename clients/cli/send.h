/* SPDX-License-Identifier: MIT */
/*
 * send - the state of one `tocsin send`, shared by its two halves
 *
 * send.c takes requests in, publishes them, and decides when it is over;
 * settle.c takes receipts in and decides when a request is.
 *
 * The chain that makes it lossless: a request is on disk (with --spool)
 * before it is published; it is published again after each reconnect and
 * whenever `accepted` is overdue; it leaves the disk only on `accepted`.
 * Repeats are harmless because the bridge takes an id once.
 */
#ifndef CLI_SEND_H
#define CLI_SEND_H
#include "loop.h"
#include "outbox.h"
#include "source.h"
#include "spool.h"

/* Where a request came from. */
struct place {
    unsigned long line;        /* of the input; 0 when it has none */
    struct spool_batch *batch; /* NULL: not in the spool */
    unsigned index;
};

struct send {
    struct cli *cli; /* borrowed */
    struct loop loop;
    struct link *link;
    struct outbox *outbox;
    struct source *source; /* NULL once it has ended */
    struct spool *spool;   /* NULL without --spool */

    char *request_topic, *receipt_topic, *status_topic, *reply_topic;
    bool is_final; /* --wait final */
    size_t batch;
    int64_t timeout_ms;  /* 0: none */
    int64_t again_ms;    /* the first wait before publishing again */
    int64_t progress_ms; /* when something last got on */
    uint64_t next_tag;
    size_t asking; /* status calls under way */

    struct request parked; /* read, but its id is under way already; id NULL when none */
    struct place parked_place;

    bool wants_input; /* the source has nothing complete */
    bool was_up, warned_quota, warned_status;
    enum cli_exit worst;
    size_t accepted, rejected, bad_lines, ended_badly;
};

/* A message on one of our topics. */
void settle_message(struct send *s, const struct link_message *msg);
/* --wait final: asks for the status of what is due. Returns ms until the next is, -1 for none. */
int64_t settle_ask(struct send *s, int64_t now);
/* Publishes again only what has been waiting too long. Same return. */
/* The broker takes no message of this size: the request ends as rejected, also in the spool. */
void settle_too_large(struct send *s, struct entry *entry);
int64_t send_again(struct send *s, int64_t now);
/* After a reconnect receipts may have been missed: asks soon about everything accepted. */
void settle_reconnected(struct send *s);
#endif
