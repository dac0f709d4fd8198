/* SPDX-License-Identifier: MIT */
#include "core/id.h"

#include "base/panic.h"

#define NODE_SHIFT    12
#define MS_SHIFT      22
#define SEQUENCE_MASK ((UINT64_C(1) << NODE_SHIFT) - 1)
#define PER_MS        (SEQUENCE_MASK + 1)
#define HOUR_MS       3600000
#define MS_MAX        ((INT64_C(1) << 41) - 1) /* the id stays positive as a bigint: year 2039 */

void id_source_init(struct id_source *source, unsigned node)
{
    ASSERT(node <= ID_NODE_MAX);
    source->last = 0;
    source->node = node;
}

static uint64_t id_make(int64_t wall_ms, unsigned node, uint64_t sequence)
{
    return (uint64_t)wall_ms << MS_SHIFT | (uint64_t)node << NODE_SHIFT | sequence;
}

/*
 * A run of up to 4,096 never crosses a millisecond, so that its ids differ by 1; a longer one
 * takes whole milliseconds from a fresh one on.
 */
uint64_t id_take(struct id_source *source, int64_t wall_ms, size_t count)
{
    int64_t last_ms = id_wall_ms(source->last);
    uint64_t sequence = 0, last = count - 1;

    ASSERT(count > 0 && count <= ID_RUN_MAX);
    if (wall_ms < 0)
        return 0;
    if (wall_ms <= last_ms) {
        wall_ms = last_ms;
        sequence = (source->last & SEQUENCE_MASK) + 1;
        if (sequence + count > PER_MS) {
            wall_ms++;
            sequence = 0;
        }
    }
    if (wall_ms < 0 || wall_ms > MS_MAX - (int64_t)(last / PER_MS))
        return 0;
    source->last =
        id_make(wall_ms + (int64_t)(last / PER_MS), source->node, sequence + last % PER_MS);
    return id_make(wall_ms, source->node, sequence);
}

bool id_can_take(int64_t wall_ms)
{
    return wall_ms >= 0 && wall_ms <= MS_MAX - HOUR_MS;
}

void id_start_after(struct id_source *source, int64_t wall_ms)
{
    if (wall_ms >= 0 && wall_ms < MS_MAX && wall_ms > id_wall_ms(source->last))
        source->last = id_make(wall_ms, source->node, SEQUENCE_MASK);
}

uint64_t id_next(uint64_t id)
{
    if ((id & SEQUENCE_MASK) < SEQUENCE_MASK)
        return id + 1;
    return (id & ~SEQUENCE_MASK) + (UINT64_C(1) << MS_SHIFT);
}

int64_t id_wall_ms(uint64_t id)
{
    return (int64_t)(id >> MS_SHIFT);
}

uint64_t id_first_of(int64_t wall_ms)
{
    return wall_ms <= 0 ? 0 : (uint64_t)wall_ms << MS_SHIFT;
}

char *id_format(uint64_t id, char out[ID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = ID_TEXT_BYTES - 2; i >= 0; i--, id >>= 4)
        out[i] = digits[id & 15];
    out[ID_TEXT_BYTES - 1] = '\0';
    return out;
}

int id_parse(const char *text, uint64_t *id)
{
    uint64_t value = 0;
    int i;

    for (i = 0; i < ID_TEXT_BYTES - 1; i++) {
        char c = text[i];

        if (c >= '0' && c <= '9')
            value = value << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | (uint64_t)(c - 'a' + 10);
        else
            return ERR_INVALID;
    }
    if (text[i] != '\0')
        return ERR_INVALID;
    *id = value;
    return 0;
}
