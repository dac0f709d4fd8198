/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include <stdbool.h>
#include <time.h>

static int64_t read_us(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now); /* cannot fail for these clocks and a valid pointer */
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_boot_us(void)
{
    return read_us(CLOCK_BOOTTIME);
}

int64_t clock_boot_ms(void)
{
    return clock_boot_us() / 1000;
}

int64_t clock_machine_us(void)
{
    return read_us(CLOCK_REALTIME);
}

/* Wall minus boot.  A clock is one for the whole process by its nature, as those it reads are. */
static struct {
    int64_t us;
    bool is_known;
} offset;

int64_t clock_wall_us(void)
{
    int64_t boot_us = clock_boot_us();

    if (!offset.is_known) {
        offset.us = clock_machine_us() - boot_us;
        offset.is_known = true;
    }
    return boot_us + offset.us;
}

int64_t clock_wall_ms(void)
{
    return clock_wall_us() / 1000;
}

void clock_steer(int64_t wall_us, int64_t asked_boot_us, int64_t answered_boot_us)
{
    int64_t least = wall_us - answered_boot_us, most = wall_us - asked_boot_us;

    if (!offset.is_known || offset.us < least)
        offset.us = least;
    else if (offset.us > most)
        offset.us = most;
    offset.is_known = true;
}
