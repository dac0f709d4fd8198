/* SPDX-License-Identifier: MIT */
#include "ids.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static int64_t clock_ms(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t now_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

int64_t wall_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

void random_bytes(void *to, size_t len)
{
    char *p = to;

    while (len > 0) {
        ssize_t got = getrandom(p, len, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            perror("tocsin: getrandom");
            _Exit(1);
        }
        p += got;
        len -= (size_t)got;
    }
}

uint32_t random_below(uint32_t bound)
{
    uint64_t r;

    /* 64 random bits against a 32-bit bound: the bias is below 2^-32. */
    random_bytes(&r, sizeof(r));
    return (uint32_t)(r % bound);
}

void uuid7(char out[UUID_TEXT])
{
    uint8_t b[16];
    uint64_t ms = (uint64_t)wall_ms();
    char *p = out;

    random_bytes(b, sizeof(b));
    for (int i = 0; i < 6; i++)
        b[i] = (uint8_t)(ms >> (40 - 8 * i));
    b[6] = (uint8_t)(0x70 | (b[6] & 0x0f));
    b[8] = (uint8_t)(0x80 | (b[8] & 0x3f));
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        snprintf(p, 3, "%02x", b[i]);
        p += 2;
    }
}

int64_t backoff_ms(unsigned n, int64_t base_ms, int64_t cap_ms)
{
    int64_t full = n < 20 ? base_ms << n : cap_ms;

    if (full > cap_ms)
        full = cap_ms;
    return full / 2 + random_below((uint32_t)(full / 2 + 1));
}

int parse_duration(const char *text, int64_t *out_ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return -1;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (errno || n > 1000000000)
        return -1;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) == 0) {
            *out_ms = n * units[i].ms;
            return 0;
        }
    }
    return -1;
}
