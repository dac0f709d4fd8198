/* SPDX-License-Identifier: MIT */
#include "nearest.h"

#include <string.h>

#define LONGEST 32

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Three rows of the usual table: the one before, and the one before that for swapped letters. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][LONGEST + 1], la = strlen(a), lb = strlen(b);

    if (la > LONGEST || lb > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= lb; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t *now = rows[i % 3], *before = rows[(i - 1) % 3], *earlier = rows[(i + 1) % 3];

        now[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            now[j] =
                least(least(before[j] + 1, now[j - 1] + 1), before[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], earlier[j - 2] + 1);
        }
    }
    return rows[la % 3][lb];
}

void nearest_begin(struct nearest *n, const char *typed)
{
    *n = (struct nearest){.typed = typed, .distance = strlen(typed) > 3 ? 3 : 2};
}

void nearest_try(struct nearest *n, const char *word)
{
    size_t found = distance(n->typed, word);

    if (found < n->distance && found > 0) {
        n->distance = found;
        n->word = word;
    }
}
