/* SPDX-License-Identifier: MIT */
/*
 * dispatch_probe - whose fault a refusal is, and which message tells whether a destination works
 *
 * A message that a destination refuses for its settings, and refuses again although it takes
 * others, is at fault itself.  A refusal counts when others were taken since the one before and
 * nobody else was refused since; REFUSED_ALONE of them are wanted, since the first message to meet
 * an outage looks the same.  They are kept in memory: after a restart they are counted anew.
 *
 * After the breaker has been open, one message is tried.  The oldest would often be the one that
 * opened it, so that a few bad messages could keep the breaker open for good.  A probe is drawn
 * among the next in the queue, from those that have not been deferred and that differ in address
 * and content from the messages that accuse the destination.  Only when there is no such message
 * is any other one tried.
 */
#include "base/alloc.h"
#include "base/log.h"
#include "core/address.h"
#include "services/dispatch_internal.h"

#include <string.h>

/* So many are looked at, so that a long queue costs no more than a short one. */
#define PROBE_LOOKS 64
/* So often a message must have been refused while others were taken. */
#define REFUSED_ALONE 2

static uint64_t hash_of(const void *bytes, size_t length)
{
    const unsigned char *at = bytes;
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ at[i]) * UINT64_C(1099511628211);
    return hash ? hash : 1;
}

/* Of the key: two spellings of one mailbox are one address. */
static uint64_t hash_of_address(const struct task *task)
{
    size_t length = strlen(task->recipient);
    char key[320]; /* more than an email address has */

    if (task->channel != CHANNEL_EMAIL || length >= sizeof(key))
        return hash_of(task->recipient, length);
    memcpy(key, task->recipient, length + 1);
    address_fold(task->channel, key);
    return hash_of(key, length);
}

static struct witness witness_of(const struct task *task)
{
    return (struct witness){
        .address = hash_of_address(task),
        .content = hash_of(task->note->content, task->note->content_bytes),
    };
}

/* Good outcomes accuse nobody: their content is not read. */
struct witness dispatch_witness(const struct task *task, const struct outcome *outcome)
{
    if (outcome->kind == OUTCOME_DELIVERED || outcome->kind == OUTCOME_ACCEPTED)
        return (struct witness){0};
    return witness_of(task);
}

static struct refusal *find_refusal(struct destination *destination, uint64_t delivery)
{
    for (unsigned i = 0; destination->refusals && i < DISPATCH_REFUSALS; i++)
        if (destination->refusals[i].delivery == delivery)
            return &destination->refusals[i];
    return NULL;
}

static void add_refusal(struct destination *destination, uint64_t delivery, int64_t now_ms)
{
    unsigned at = destination->next_refusal++ % DISPATCH_REFUSALS;

    if (!destination->refusals)
        destination->refusals = xcalloc(DISPATCH_REFUSALS, sizeof(*destination->refusals));
    destination->refusals[at] = (struct refusal){.delivery = delivery, .at_ms = now_ms};
}

static bool is_at_fault(struct destination *destination, const struct task *task, int64_t now_ms)
{
    struct refusal *refusal = find_refusal(destination, task->id);
    struct witness witness = witness_of(task);

    if (!refusal) {
        add_refusal(destination, task->id, now_ms);
        return false;
    }
    if (throttle_is_own_fault(&destination->throttle, refusal->at_ms, &witness))
        refusal->alone++;
    refusal->at_ms = now_ms;
    return refusal->alone >= REFUSED_ALONE;
}

struct outcome dispatch_blame(struct destination *destination, const struct task *task,
                              const struct outcome *outcome, int64_t now_ms)
{
    struct outcome blamed = *outcome;

    if (outcome->kind != OUTCOME_AUTH_CONFIG_ERROR || outcome->is_before_message ||
        !is_at_fault(destination, task, now_ms))
        return blamed;
    blamed.kind = OUTCOME_PERMANENT;
    log_info("delivery.own_fault", LOG_ID("delivery", task->id),
             LOG_STR("destination", destination->config.name), LOG_STR("code", outcome->code),
             LOG_STR("why", "refused again and again while others were taken"));
    return blamed;
}

void dispatch_note_breaker(const struct destination *destination, enum breaker before,
                           const struct outcome *outcome)
{
    if (before != destination->throttle.breaker)
        log_warn("destination.breaker", LOG_STR("destination", destination->config.name),
                 LOG_STR("now", breaker_name(destination->throttle.breaker)),
                 LOG_STR("reason", reason_name(outcome->reason)),
                 LOG_STR("detail", outcome->detail));
}

static struct task *pop(struct destination *destination)
{
    return CONTAINER_OF(active_pop(destination->queue), struct task, entry);
}

static bool is_fit(const struct destination *destination, const struct task *task)
{
    struct witness witness = witness_of(task);

    return task->deferrals == 0 && throttle_is_impartial(&destination->throttle, &witness);
}

struct task *dispatch_next(struct dispatch *dispatch, struct destination *destination)
{
    size_t count = active_count(destination->queue), looks = 0, chosen = 0, fit = 0;
    struct task *seen[PROBE_LOOKS] = {NULL};

    if (destination->throttle.breaker != BREAKER_HALF_OPEN || count <= 1)
        return pop(destination);
    while (looks < count && looks < PROBE_LOOKS)
        seen[looks++] = pop(destination);
    /* Bad messages come in rows: the draw keeps a row from being probed one by one. */
    for (size_t i = 0; i < looks; i++)
        if (is_fit(destination, seen[i]) && rng_below(&dispatch->rng, ++fit) == 0)
            chosen = i;
    for (size_t i = looks; i-- > 0;)
        if (i != chosen)
            dispatch_requeue(destination, seen[i]);
    return seen[chosen];
}
