/* SPDX-License-Identifier: MIT */
/*
 * sip - the rounds of SipHash (Aumasson and Bernstein, 2012), for the keyed hash of a map and for
 * the MAC of stored names
 */
#ifndef TOCSIN_AUTH_SIP_H
#define TOCSIN_AUTH_SIP_H

#include <stdint.h>

static inline uint64_t sip_rotate(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static inline void sip_rounds(uint64_t v[4], int count)
{
    while (count-- > 0) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = sip_rotate(v[1], 13) ^ v[0];
        v[3] = sip_rotate(v[3], 16) ^ v[2];
        v[0] = sip_rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = sip_rotate(v[1], 17) ^ v[2];
        v[3] = sip_rotate(v[3], 21) ^ v[0];
        v[2] = sip_rotate(v[2], 32);
    }
}

#endif
