/* SPDX-License-Identifier: MIT */
/*
 * dispatch_choose - which of a channel's destinations takes a delivery, and who steps in
 *
 * The destinations of a channel are an order: the first that fits (type, country prefix) and is
 * not away takes it; those with a weight share by it.  A destination is away while its breaker is
 * open, it has asked for a pause worth going round, or an admin has stopped it.  What waits for one
 * that is away goes to the next that is not, in memory and from the database, and new deliveries
 * come back to it when it has healed.  What the one that is away may have had, and would know
 * again, waits for it.
 */
#include "services/dispatch_internal.h"

#include <string.h>

/* A pause shorter than this is waited for. */
#define PAUSE_WORTH_MS 2000
/* Deliveries moved from one destination in one turn. */
#define RESCUE_BUDGET 256

bool destination_is_shut(struct dispatch *dispatch, struct destination *destination)
{
    /* Asking for room is what lets an open breaker half open in time. */
    return destination->is_held ||
           (!throttle_room(&destination->throttle, loop_now_ms(dispatch->loop)) &&
            destination->throttle.breaker == BREAKER_OPEN);
}

bool dispatch_is_held(const struct dispatch *dispatch, enum channel channel)
{
    bool is_held = false;

    for (size_t i = 0; i < dispatch->destination_count; i++) {
        const struct destination *destination = dispatch->destinations[i];

        if (destination->config.channel != channel)
            continue;
        if (!destination->is_held)
            return false;
        is_held = true;
    }
    return is_held;
}

bool destination_is_away(struct dispatch *dispatch, struct destination *destination)
{
    return destination_is_shut(dispatch, destination) ||
           destination->throttle.paused_until_ms > loop_now_ms(dispatch->loop) + PAUSE_WORTH_MS;
}

/* Whether one of the words (separated by spaces) is a prefix of text; "order.*" ends in one. */
static bool has_prefix(const char *words, const char *text)
{
    while (*words) {
        size_t length = strcspn(words, " ");

        if (length && words[length - 1] == '*' && strncmp(words, text, length - 1) == 0)
            return true;
        if (length && strncmp(words, text, length) == 0 && (text[0] == '+' || text[length] == '\0'))
            return true;
        words += length;
        words += strspn(words, " ");
    }
    return false;
}

static bool fits(const struct destination *destination, const struct choice *choice)
{
    const struct destination_config *config = &destination->config;

    if (config->channel != choice->channel)
        return false;
    if (choice->adapter && strcmp(config->adapter_name, choice->adapter) != 0)
        return false;
    if (config->types && !has_prefix(config->types, choice->type))
        return false;
    return !config->prefixes || choice->recipient_kind != RECIPIENT_PHONE ||
           has_prefix(config->prefixes, choice->recipient);
}

/* By weight among those that have one; the draw is made over what is there. */
static struct destination *draw(struct dispatch *dispatch, const struct choice *choice)
{
    struct destination *picked = NULL;
    uint64_t total = 0;

    for (size_t i = 0; i < dispatch->destination_count; i++) {
        struct destination *candidate = dispatch->destinations[i];

        if (!candidate->config.weight || !fits(candidate, choice) ||
            destination_is_away(dispatch, candidate))
            continue;
        total += candidate->config.weight;
        if (rng_below(&dispatch->rng, total) < candidate->config.weight)
            picked = candidate;
    }
    return picked;
}

struct destination *dispatch_pick(struct dispatch *dispatch, const struct choice *choice)
{
    struct destination *away = NULL;

    for (size_t i = 0; i < dispatch->destination_count; i++) {
        struct destination *candidate = dispatch->destinations[i];

        if (!fits(candidate, choice))
            continue;
        if (destination_is_away(dispatch, candidate)) {
            if (!away)
                away = candidate;
            continue;
        }
        return candidate->config.weight ? draw(dispatch, choice) : candidate;
    }
    return away;
}

int dispatch_choose(struct dispatch *dispatch, const struct choice *choice, int32_t *id)
{
    struct destination *destination = dispatch_pick(dispatch, choice);

    if (!destination)
        return ERR_NOT_FOUND;
    *id = destination->id;
    return 0;
}

/*
 * A device's token and a room's address are good with one provider alone: there another of its
 * adapter may step in, no other.
 */
static const char *own_adapter(const struct destination *destination)
{
    enum channel channel = destination->config.channel;

    return channel == CHANNEL_PUSH || channel == CHANNEL_CHAT ? destination->config.adapter_name
                                                              : NULL;
}

struct destination *dispatch_stand_in(struct dispatch *dispatch, struct destination *away)
{
    for (size_t i = 0; i < dispatch->destination_count; i++) {
        struct destination *candidate = dispatch->destinations[i];

        if (candidate != away && candidate->config.channel == away->config.channel &&
            (!own_adapter(away) ||
             strcmp(candidate->config.adapter_name, own_adapter(away)) == 0) &&
            candidate->held < candidate->cap && !destination_is_away(dispatch, candidate))
            return candidate;
    }
    return NULL;
}

struct destination *dispatch_pick_for(struct dispatch *dispatch, const struct task *task,
                                      const struct destination *from)
{
    struct choice choice = {task->channel, task->recipient_kind, task->recipient, task->note->type,
                            own_adapter(from)};

    return task->desk & TASK_PINNED ? NULL : dispatch_pick(dispatch, &choice);
}

void dispatch_rescue(struct dispatch *dispatch, struct destination *away)
{
    size_t budget = active_count(away->queue);

    if (!budget || !destination_is_away(dispatch, away) || !dispatch_stand_in(dispatch, away))
        return;
    if (budget > RESCUE_BUDGET)
        budget = RESCUE_BUDGET;
    while (budget--) {
        struct task *task = CONTAINER_OF(active_pop(away->queue), struct task, entry);
        struct destination *next = NULL;

        if (task->pinned_until_ms <= dispatch_wall_ms(dispatch))
            next = dispatch_pick_for(dispatch, task, away);
        if (!next || next->held >= next->cap)
            next = away;
        if (next != away) {
            away->held--;
            next->held++;
            task->destination = next;
        }
        dispatch_queue(next, task);
    }
}
