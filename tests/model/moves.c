/* SPDX-License-Identifier: MIT */
#include "models.h"

void moves_make(struct sink *sink, const struct options *options, unsigned from, unsigned to)
{
    if (!delivery_can_move((enum delivery_state)from, (enum delivery_state)to))
        sink_break(sink, "no arrow joins the states");
    else
        options->moves->made[from] = (uint16_t)(options->moves->made[from] | 1U << to);
}
