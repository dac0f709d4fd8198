/* SPDX-License-Identifier: MIT */
/*
 * fence - until when this bridge may act under its epoch
 *
 * send_until_ms is taken from the boot clock before the heartbeat that set it was sent, plus
 * the lease, less a margin: no send starts after it, whatever the database thinks.  epoch is 0
 * while the bridge has none.
 */
#ifndef TOCSIN_CORE_FENCE_H
#define TOCSIN_CORE_FENCE_H
#include <stdbool.h>
#include <stdint.h>

struct fence {
    int64_t epoch;
    int64_t send_until_ms; /* boot clock */
    unsigned node;
    int64_t ids_after_ms; /* wall: up to here rows of this node may exist already */
};

static inline bool fence_may_send(const struct fence *fence, int64_t now_boot_ms)
{
    return fence->epoch && now_boot_ms < fence->send_until_ms;
}

#endif
