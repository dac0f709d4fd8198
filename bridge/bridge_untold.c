/* SPDX-License-Identifier: MIT */
/*
 * bridge_untold - how far services have been told what we settled, and how the rest is told
 *
 * What a statement ends is told when it is answered: into the outbox by the end of that turn, and
 * to the broker from there.  So all that was settled before the oldest statement under way, the
 * oldest batch of acknowledgements at hand, and the oldest doubt, is said; and told, if the outbox
 * has nothing from before.
 */
#include "bridge.h"

#include "base/log.h"

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t bridge_said_ms(const struct bridge *bridge)
{
    int64_t doubt_ms = untold_doubt_ms(bridge->untold);
    int64_t busy_ms = earlier(store_oldest_end_ms(bridge->store), events_since_ms(bridge->events));

    return earlier(loop_now_ms(bridge->loop), earlier(doubt_ms, busy_ms));
}

int64_t bridge_told_ms(void *ctx)
{
    struct bridge *bridge = ctx;

    return earlier(bridge_said_ms(bridge), outbox_since_ms(bridge->outbox));
}

/* As of the last turn: what was lost since is not counted as under way any more. */
void bridge_doubt(void *ctx)
{
    struct bridge *bridge = ctx;

    untold_doubt(bridge->untold, bridge->said_ms);
}

/* What may not have been told is told again: receivers drop repeats. */
static void tell(void *ctx, const struct ending *ending)
{
    struct bridge *bridge = ctx;
    char masked[64] = "";
    struct receipt receipt = {
        .id = ending->request,
        .notification = ending->notification,
        .status = delivery_state_name((enum delivery_state)ending->state),
        .channel = channel_name(ending->channel),
        .provider = ending->channel == CHANNEL_IN_APP ? NULL : ending->provider,
        .provider_id = ending->provider_id,
        .reason = ending->reason ? reason_name((enum reason)ending->reason) : NULL,
        .detail = ending->detail,
        .attempt = ending->number,
        .segments = ending->segments,
        .user = ending->recipient_kind == RECIPIENT_USER ? ending->recipient : ending->user,
        .at_ms = ending->at_us / 1000,
    };

    if (ending->state == DELIVERY_DEAD)
        desk_tell(bridge->desk, ending->delivery);
    if (ending->recipient_kind >= RECIPIENT_EMAIL) {
        log_mask(ending->recipient, masked, sizeof(masked));
        receipt.target = masked;
    }
    if (ending->receipts != RECEIPTS_NONE)
        receipts_add(bridge->receipts, ending->service, &receipt);
}

/* A page of endings has room: as many dead letters are remembered, and receipts are small. */
static bool is_full(void *ctx)
{
    struct bridge *bridge = ctx;

    return outbox_is_full(bridge->outbox) || desk_telling(bridge->desk) > 0;
}

static bool is_said(void *ctx)
{
    struct bridge *bridge = ctx;

    return desk_telling(bridge->desk) == 0;
}

struct untold_ops bridge_untold_ops(struct bridge *bridge)
{
    return (struct untold_ops){
        tell, is_full, is_said, bridge_receipts_mark, bridge_receipts_are_past, bridge};
}
