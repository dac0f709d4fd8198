/* SPDX-License-Identifier: MIT */
#include "core/slots.h"

#define AHEAD_US 250000 /* taken from the others at most this far ahead */
#define LATE_US  20000  /* a moment is good for so long, and half its distance to the next */

int64_t rate_spacing_us(const struct rate_config *config)
{
    const struct {
        uint32_t rate;
        int64_t period_us;
    } limits[] = {{config->per_second, 1000000},
                  {config->per_minute, 60000000},
                  {config->per_hour, 3600000000},
                  {config->per_day, 86400000000}};
    int64_t spacing_us = 0;

    for (int i = 0; i < 4; i++) {
        int64_t each_us = 0;

        /* Rounded up: a rate is not exceeded by a rounding. */
        if (limits[i].rate)
            each_us = (limits[i].period_us + limits[i].rate - 1) / limits[i].rate;
        if (each_us > spacing_us)
            spacing_us = each_us;
    }
    return spacing_us;
}

/* Drops what was not used in time; the gift in use is never an empty one before a full one. */
static void drop_late(struct slots *slots, int64_t now_us)
{
    int64_t late_us = slots->spacing_us < LATE_US ? LATE_US : slots->spacing_us / 2;

    for (;;) {
        if (!slots->gift[0].left && slots->gift[1].left) {
            slots->gift[0] = slots->gift[1];
            slots->gift[1].left = 0;
        }
        if (!slots->gift[0].left || slots->gift[0].next_us + late_us >= now_us)
            return;
        slots_use(slots);
    }
}

unsigned slots_wanted(struct slots *slots, unsigned waiting, int64_t now_us)
{
    unsigned ahead, left;

    if (!slots->spacing_us)
        return 0;
    drop_late(slots, now_us);
    ahead = slots->spacing_us < AHEAD_US ? (unsigned)(AHEAD_US / slots->spacing_us) : 1;
    left = slots->gift[0].left;
    if (slots->gift[1].left || left * 2 > ahead || left >= waiting)
        return 0;
    waiting -= left;
    return waiting < ahead ? waiting : ahead;
}

void slots_give(struct slots *slots, unsigned count, int64_t first_us)
{
    int place = slots->gift[0].left ? 1 : 0;

    slots->gift[place].next_us = first_us;
    slots->gift[place].left = count;
}

bool slots_ready(struct slots *slots, int64_t now_us, int64_t *wait_us)
{
    *wait_us = 0;
    if (!slots->spacing_us)
        return true;
    drop_late(slots, now_us);
    if (!slots->gift[0].left) {
        *wait_us = -1;
        return false;
    }
    *wait_us = slots->gift[0].next_us - now_us;
    return *wait_us <= 0;
}

void slots_use(struct slots *slots)
{
    if (!slots->spacing_us)
        return;
    slots->gift[0].left--;
    slots->gift[0].next_us += slots->spacing_us;
}
