/* SPDX-License-Identifier: MIT */
#include "base/random.h"

#include <errno.h>
#include <sys/random.h>

#include "base/log.h"

/* SplitMix64 spreads a poor seed (1, 2, 3) over the whole state. */
static uint64_t split_mix(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void rng_init(struct rng *rng, uint64_t seed)
{
    rng->state[0] = split_mix(&seed);
    rng->state[1] = split_mix(&seed);
}

static uint64_t rotate(uint64_t value, int bits)
{
    return (value << bits) | (value >> (64 - bits));
}

/* xoroshiro128++ */
uint64_t rng_next(struct rng *rng)
{
    uint64_t a = rng->state[0];
    uint64_t b = rng->state[1];
    uint64_t result = rotate(a + b, 17) + a;

    b ^= a;
    rng->state[0] = rotate(a, 49) ^ b ^ (b << 21);
    rng->state[1] = rotate(b, 28);
    return result;
}

uint64_t rng_below(struct rng *rng, uint64_t bound)
{
    uint64_t reject, value;

    if (bound == 0)
        return 0;
    reject = (0 - bound) % bound; /* 2^64 mod bound: the part that would favour small results */
    do
        value = rng_next(rng);
    while (value < reject);
    return value % bound;
}

void random_bytes(void *out, size_t length)
{
    unsigned char *at = out;

    while (length) {
        ssize_t got = getrandom(at, length, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            fatal("random.unavailable", "getrandom() failed");
        at += got;
        length -= (size_t)got;
    }
}
