/* SPDX-License-Identifier: MIT */
/*
 * random - two kinds of chance
 *
 * struct rng is fast, seedable and repeatable (jitter, sampling): not for secrets.
 * random_bytes is the kernel's (keys, nonces).
 */
#ifndef TOCSIN_BASE_RANDOM_H
#define TOCSIN_BASE_RANDOM_H
#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t state[2];
};

void rng_init(struct rng *rng, uint64_t seed);
uint64_t rng_next(struct rng *rng);
/* Uniform in [0, bound); 0 when bound is 0. */
uint64_t rng_below(struct rng *rng, uint64_t bound);
void random_bytes(void *out, size_t length);

#endif
