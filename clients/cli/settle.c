/* SPDX-License-Identifier: MIT */
#include "exact.h"
#include "send.h"

#include "ids.h"
#include "receipt.h"
#include "say.h"

#include <stdlib.h>
#include <string.h>

#define ASKING_MAX      16
#define ASK_SOON_MS     100   /* after a final receipt: others tend to come with it */
#define ASK_AGAIN_MS    1000  /* between looks, doubling ... */
#define ASK_CAP_MS      30000 /* ... up to this */
#define ANSWER_MS       10000 /* a status call not answered by then is made again */
#define EMPTY_LOOKS     2     /* a request to nobody: believe it at the second look */
#define SENT_GRACE_MS   10000 /* receipts "all": `delivered` may follow `sent` for so long */
#define RATE_BACKOFF_MS 1000
#define RATE_CAP_MS     60000

static void entry_done(struct send *s, struct entry *entry)
{
    if (entry->ended_badly)
        s->worst = exit_worse(s->worst, CLI_UNDELIVERED);
    if (entry->is_asking)
        s->asking--;
    if (entry->ended_badly)
        s->ended_badly++;
    s->progress_ms = now_ms();
    outbox_remove(s->outbox, entry);
}

static void accepted(struct send *s, struct entry *entry)
{
    s->accepted++;
    s->progress_ms = now_ms();
    if (entry->spooled)
        spool_done(s->spool, entry->spooled);
    entry->spooled = NULL;
    if (!s->is_final) {
        entry_done(s, entry);
        return;
    }
    entry->tries = 0;
    entry->due_ms =
        s->progress_ms + (entry->req.receipts == RECEIPTS_NONE ? ASK_AGAIN_MS : ASK_CAP_MS);
    outbox_move(s->outbox, entry, ENTRY_ACCEPTED);
}

static void show_rejected(struct send *s, const struct entry *entry, const json_t *receipt)
{
    receipt_show(receipt, s->cli->is_json);
    if (entry->line && !s->cli->is_json)
        say_error("line %lu: rejected", entry->line);
}

static void rejected(struct send *s, struct entry *entry, const json_t *receipt)
{
    const char *reason = json_string_value(json_object_get(receipt, "reason"));

    s->progress_ms = now_ms();
    if (entry->spooled && reason && strcmp(reason, "rate_limited") == 0) {
        /* Nothing is wrong with the request: it stays in the spool and goes out later. */
        entry->due_ms = s->progress_ms + backoff_ms(entry->tries - 1, RATE_BACKOFF_MS, RATE_CAP_MS);
        outbox_move(s->outbox, entry, ENTRY_PUBLISHED);
        return;
    }
    show_rejected(s, entry, receipt);
    s->rejected++;
    s->worst = exit_worse(s->worst, CLI_REJECTED);
    if (entry->spooled)
        spool_reject(s->spool, entry->spooled, entry->spool_index, entry->req.json, entry->req.len);
    entry_done(s, entry);
}

void settle_too_large(struct send *s, struct entry *entry)
{
    json_t *receipt =
        json_pack("{s:s, s:s, s:s, s:s}", "id", entry->req.id, "status", "rejected", "reason",
                  "too_large", "detail", "the broker takes no message of this size");

    rejected(s, entry, receipt);
    json_decref(receipt);
}

/* A receipt about a delivery of an accepted request, --wait final only. */
static void progressed(struct send *s, struct entry *entry, const json_t *receipt)
{
    const char *status = json_string_value(json_object_get(receipt, "status"));
    enum receipt_kind kind = receipt_kind(status);
    bool is_end = kind == RECEIPT_GOOD || kind == RECEIPT_BAD ||
                  (kind == RECEIPT_SENT && entry->req.receipts == RECEIPTS_FINAL);

    if (!entry_see(entry, receipt_hash(receipt)))
        return;
    receipt_show(receipt, s->cli->is_json);
    s->progress_ms = now_ms();
    if (kind == RECEIPT_SENT && !is_end) {
        entry->sent_ms = s->progress_ms;
        entry->due_ms = entry->is_asking ? entry->due_ms : s->progress_ms + SENT_GRACE_MS;
    }
    if (!is_end)
        return;
    entry_see(entry, receipt_place(receipt, status));
    entry->ended++;
    if (kind == RECEIPT_BAD) {
        entry->ended_badly = true;
        if (!entry->req.is_first)
            s->worst = exit_worse(s->worst, CLI_UNDELIVERED);
    }
    if (entry->req.is_single)
        entry_done(s, entry);
    else if (!entry->is_asking)
        entry->due_ms = s->progress_ms + ASK_SOON_MS;
}

static void on_receipt(void *ctx, const json_t *receipt)
{
    struct send *s = ctx;
    const char *id = json_string_value(json_object_get(receipt, "id"));
    const char *status = json_string_value(json_object_get(receipt, "status"));
    struct entry *entry = id && status ? outbox_find(s->outbox, id) : NULL;

    if (!entry)
        return; /* another run's, a repeat, or of a request that is finished */
    enum receipt_kind kind = receipt_kind(status);
    if (kind == RECEIPT_REJECTED) {
        if (entry->state != ENTRY_ACCEPTED)
            rejected(s, entry, receipt);
        return;
    }
    if (entry->state != ENTRY_ACCEPTED) {
        bool is_over = !s->is_final;

        /* Any other receipt says that it was accepted, if that one came late or was lost. */
        if (kind == RECEIPT_ACCEPTED || is_over)
            receipt_show(receipt, s->cli->is_json);
        accepted(s, entry);
        if (is_over)
            return;
    }
    if (kind != RECEIPT_ACCEPTED)
        progressed(s, entry, receipt);
}

/* ---- request.status: how a request with several deliveries is known to be over ---- */

static bool is_over(const struct entry *entry, const json_t *delivery)
{
    const char *state = json_string_value(json_object_get(delivery, "state"));
    enum receipt_kind kind = state ? receipt_kind(state) : RECEIPT_PASSING;

    if (kind == RECEIPT_SENT) {
        uint64_t place = receipt_place(delivery, "sent");

        if (entry->req.receipts == RECEIPTS_NONE)
            return true; /* nobody will tell us more */
        if (entry->sent_ms && now_ms() - entry->sent_ms >= SENT_GRACE_MS)
            return true;
        return entry_has_seen(entry, place); /* its receipt called that final */
    }
    return kind == RECEIPT_GOOD || kind == RECEIPT_BAD;
}

/* Shows an end whose receipt did not reach us. */
static void show_missed(struct send *s, struct entry *entry, const json_t *delivery)
{
    static const char *const fields[] = {"channel", "user",   "target",
                                         "reason",  "detail", "provider"};
    const char *state = json_string_value(json_object_get(delivery, "state"));

    if (entry->sent_ms && receipt_kind(state) == RECEIPT_SENT)
        return; /* its receipt was shown */
    if (!entry_see(entry, receipt_place(delivery, state)))
        return;
    json_t *receipt = json_pack("{s:s, s:s}", "id", entry->req.id, "status", state);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        json_t *value = json_object_get(delivery, fields[i]);
        if (value)
            json_object_set(receipt, fields[i], value);
    }
    json_object_set_new(receipt, "from", json_string("status"));
    receipt_show(receipt, s->cli->is_json);
    json_decref(receipt);
}

/* With `route first` a request has failed for those whom no channel reached. */
static void note_reached(struct entry *entry, const json_t *deliveries)
{
    json_t *delivery;
    size_t i;

    if (!entry->reached)
        entry->reached = json_object();
    json_array_foreach(deliveries, i, delivery)
    {
        const char *state = json_string_value(json_object_get(delivery, "state"));
        const char *user = json_string_value(json_object_get(delivery, "user"));
        const char *target = json_string_value(json_object_get(delivery, "target"));
        char *who = xasprintf("%s %s", user ? "user" : "target",
                              user     ? user
                              : target ? target
                                       : "");
        bool is_bad = state && receipt_kind(state) == RECEIPT_BAD;

        if (!is_bad || !json_object_get(entry->reached, who))
            json_object_set_new(entry->reached, who, json_boolean(!is_bad));
        free(who);
    }
}

static bool has_unreached(const struct entry *entry)
{
    const char *who;
    json_t *is_reached;

    json_object_foreach(entry->reached, who, is_reached)
    {
        if (!json_is_true(is_reached))
            return true;
    }
    return false;
}

/* How many of a page's deliveries are over; shows those whose receipts did not come. */
static size_t count_over(struct send *s, struct entry *entry, const json_t *deliveries)
{
    json_t *delivery;
    size_t i, over = 0;

    json_array_foreach(deliveries, i, delivery)
    {
        const char *state = json_string_value(json_object_get(delivery, "state"));

        if (!is_over(entry, delivery))
            continue;
        over++;
        show_missed(s, entry, delivery);
        if (receipt_kind(state) == RECEIPT_BAD)
            entry->ended_badly = true;
    }
    return over;
}

static void look_again(struct entry *entry)
{
    entry->due_ms = now_ms() + backoff_ms(entry->tries - 1, ASK_AGAIN_MS, ASK_CAP_MS);
}

/*
 * An answer is one page of the deliveries.  A page whose deliveries have all ended is not asked for
 * again: the next look begins behind it.  The request has ended with the last delivery of the last
 * page, when no more are being made.
 */
static void look_at(struct send *s, struct entry *entry, const json_t *result)
{
    json_t *deliveries = json_object_get(result, "deliveries");
    const char *next = json_string_value(json_object_get(result, "next"));
    size_t count = json_array_size(deliveries);

    if (count_over(s, entry, deliveries) < count) {
        look_again(entry);
        return;
    }
    if (entry->req.is_first)
        note_reached(entry, deliveries);
    if (next && count) {
        free(entry->after);
        entry->after = xstrdup(next);
        entry->passed += count;
        entry->tries = 0;
        entry->due_ms = now_ms();
    } else if (json_is_true(json_object_get(result, "is_expanding")) ||
               (entry->passed + count == 0 && ++entry->empty_looks < EMPTY_LOOKS)) {
        look_again(entry);
    } else {
        if (entry->req.is_first)
            entry->ended_badly = has_unreached(entry);
        entry_done(s, entry);
    }
}

static struct entry *find_asking(struct send *s, uint64_t tag)
{
    struct entry *entry = outbox_first(s->outbox, ENTRY_ACCEPTED);

    while (entry && !(entry->is_asking && entry->tag == tag))
        entry = outbox_next(s->outbox, entry);
    return entry;
}

static void not_told(struct send *s, struct entry *entry, const json_t *error)
{
    if (!s->warned_status) {
        char *message = clean_field(error, "message");
        say_error("cannot ask for the status (%s): taking the first final receipt of each "
                  "request as its end",
                  message);
        free(message);
    }
    s->warned_status = true;
    if (entry->ended)
        entry_done(s, entry);
    else
        entry->due_ms = now_ms() + ASK_CAP_MS;
}

static void on_reply(struct send *s, const struct link_message *msg)
{
    json_t *reply = exact_load(msg->payload, msg->len, 0, NULL);
    const char *rpc = json_string_value(json_object_get(reply, "rpc"));
    json_t *result = json_object_get(reply, "result");
    unsigned long long tag;
    struct entry *entry = NULL;

    if (rpc && sscanf(rpc, "cli-status-%llu", &tag) == 1)
        entry = find_asking(s, tag);
    if (entry) {
        entry->is_asking = false;
        s->asking--;
        if (json_is_array(json_object_get(result, "deliveries")))
            look_at(s, entry, result);
        else
            not_told(s, entry, json_object_get(reply, "error"));
    }
    json_decref(reply);
}

static void ask(struct send *s, struct entry *entry, int64_t now)
{
    char rpc[48];

    entry->tag = s->next_tag++;
    snprintf(rpc, sizeof(rpc), "cli-status-%llu", (unsigned long long)entry->tag);
    json_t *call = json_pack("{s:s, s:{s:s}}", "rpc", rpc, "params", "id", entry->req.id);
    if (entry->after)
        json_object_set_new(json_object_get(call, "params"), "after", json_string(entry->after));
    char *text = exact_dump(call, JSON_COMPACT);
    if (link_publish(s->link, s->status_topic, text, strlen(text), 0) == 0) {
        entry->is_asking = true;
        entry->tries++;
        entry->due_ms = now + ANSWER_MS;
        s->asking++;
    }
    free(text);
    json_decref(call);
}

int64_t settle_ask(struct send *s, int64_t now)
{
    int64_t soonest = -1;

    if (!link_is_up(s->link))
        return -1;
    for (struct entry *entry = outbox_first(s->outbox, ENTRY_ACCEPTED); entry;
         entry = outbox_next(s->outbox, entry)) {
        if (entry->due_ms <= now && entry->is_asking) {
            entry->is_asking = false; /* no answer came; ask again */
            s->asking--;
        }
        if (entry->due_ms <= now && s->asking < ASKING_MAX)
            ask(s, entry, now);
        int64_t wait = entry->due_ms > now ? entry->due_ms - now : ASK_SOON_MS;
        if (soonest < 0 || wait < soonest)
            soonest = wait;
    }
    return soonest;
}

void settle_reconnected(struct send *s)
{
    int64_t now = now_ms();

    s->asking = 0;
    for (struct entry *entry = outbox_first(s->outbox, ENTRY_ACCEPTED); entry;
         entry = outbox_next(s->outbox, entry)) {
        entry->is_asking = false;
        entry->due_ms = now + random_below(ASK_AGAIN_MS);
    }
}

void settle_message(struct send *s, const struct link_message *msg)
{
    if (strcmp(msg->topic, s->receipt_topic) == 0) {
        if (receipt_each(msg->payload, msg->len, on_receipt, s))
            say_error("a receipt that is not JSON was ignored");
    } else if (strcmp(msg->topic, s->reply_topic) == 0) {
        on_reply(s, msg);
    }
}
