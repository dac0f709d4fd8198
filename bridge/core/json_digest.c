/* SPDX-License-Identifier: MIT */
#include "core/json_digest.h"

#include <endian.h>
#include <string.h>

/* Odd, with about half of their bits set and no pattern: any such numbers would do. */
#define FACTOR_A UINT64_C(0x9e3779b97f4a7c15)
#define FACTOR_B UINT64_C(0xd1b54a32d192ed03)
#define FACTOR_C UINT64_C(0xaef17502108ef2d9)

/* Below this every integral double is one of our integers. */
#define INTEGER_LIMIT 9223372036854775808.0 /* 2^63 */

uint64_t json_digest_mix(uint64_t a, uint64_t b)
{
    uint64_t x = a * FACTOR_A ^ (b + FACTOR_C);

    x ^= x >> 32;
    x *= FACTOR_B;
    x ^= x >> 29;
    x *= FACTOR_C;
    return x ^ x >> 32;
}

uint64_t json_digest_text(const char *text, size_t length)
{
    uint64_t x = (uint64_t)length * FACTOR_C, word = 0;
    size_t left = length;

    for (; left >= 8; text += 8, left -= 8) {
        memcpy(&word, text, 8);
        x = (x ^ le64toh(word)) * FACTOR_A;
        x ^= x >> 29;
    }
    if (left > 0) {
        word = 0;
        memcpy(&word, text, left);
        x = (x ^ le64toh(word)) * FACTOR_B;
    }
    return json_digest_mix(x, JSON_DIGEST_STRING);
}

uint64_t json_digest_integer(int64_t value)
{
    return json_digest_mix((uint64_t)value, JSON_DIGEST_INTEGER);
}

uint64_t json_digest_real(double value)
{
    uint64_t bits = 0;

    if (value >= -INTEGER_LIMIT && value < INTEGER_LIMIT && value == (double)(int64_t)value)
        return json_digest_integer((int64_t)value);
    memcpy(&bits, &value, sizeof bits);
    return json_digest_mix(bits, JSON_DIGEST_REAL);
}
