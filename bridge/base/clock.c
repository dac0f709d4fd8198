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
    bool is_heard;               /* the database's: between these two */
    int64_t least_us, most_us;   /* as all answers since it was last set allow */
    int64_t before_us, after_us; /* the same, of before it was set */
    int64_t stepped_us;          /* when that was noticed (boot); 0: never */
} offset;

/* What a clock may lose on ours between two answers. */
#define UNSURE_US 50000
/* For how long a clock's former time counts after it was set. */
#define STEP_US 60000000

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

static bool is_stepping(int64_t boot_us)
{
    return offset.stepped_us && boot_us - offset.stepped_us < STEP_US;
}

int64_t clock_wall_least_us(int64_t boot_us)
{
    int64_t us = offset.is_heard ? offset.least_us : clock_wall_us() - clock_boot_us();

    if (is_stepping(clock_boot_us()) && offset.before_us < us)
        us = offset.before_us;
    return boot_us + us - UNSURE_US;
}

int64_t clock_wall_most_us(int64_t boot_us)
{
    int64_t us = offset.is_heard ? offset.most_us : clock_wall_us() - clock_boot_us();

    if (is_stepping(clock_boot_us()) && offset.after_us > us)
        us = offset.after_us;
    return boot_us + us + UNSURE_US;
}

/* Both clocks lose a little on each other: only more than that is a step. */
static void note_step(int64_t least_us, int64_t most_us, int64_t now_us)
{
    bool is_again = is_stepping(now_us);

    if (least_us - UNSURE_US <= offset.most_us && offset.least_us <= most_us + UNSURE_US)
        return;
    if (!is_again || offset.least_us < offset.before_us)
        offset.before_us = offset.least_us;
    if (!is_again || offset.most_us > offset.after_us)
        offset.after_us = offset.most_us;
    offset.stepped_us = now_us;
}

static void narrow(int64_t least_us, int64_t most_us, int64_t now_us)
{
    bool is_allowed = least_us <= offset.most_us && offset.least_us <= most_us;

    if (offset.is_heard && !is_allowed)
        note_step(least_us, most_us, now_us);
    if (!offset.is_heard || !is_allowed || least_us > offset.least_us)
        offset.least_us = least_us;
    if (!offset.is_heard || !is_allowed || most_us < offset.most_us)
        offset.most_us = most_us;
    offset.is_heard = true;
}

void clock_steer(int64_t wall_us, int64_t asked_boot_us, int64_t answered_boot_us)
{
    int64_t least = wall_us - answered_boot_us, most = wall_us - asked_boot_us;

    if (!offset.is_known || offset.us < least)
        offset.us = least;
    else if (offset.us > most)
        offset.us = most;
    offset.is_known = true;
    narrow(least, most, answered_boot_us);
}
