/* SPDX-License-Identifier: MIT */
#include "table.h"

#include "say.h"

#include <stdlib.h>
#include <string.h>

static size_t width(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80; /* characters, not bytes */
    return n;
}

void table_init(struct table *t, size_t columns, const char *const *headings)
{
    *t = (struct table){.columns = columns};
    for (size_t i = 0; i < columns; i++)
        table_add(t, headings[i]);
}

void table_add(struct table *t, const char *text)
{
    t->cell = xrealloc(t->cell, (t->cells + 1) * sizeof(*t->cell));
    t->cell[t->cells++] = clean_text(text && *text ? text : "-");
}

void table_print(struct table *t)
{
    size_t widest[TABLE_COLUMNS_MAX] = {0};

    for (size_t i = 0; i < t->cells; i++) {
        size_t w = width(t->cell[i]);
        if (w > widest[i % t->columns])
            widest[i % t->columns] = w;
    }
    for (size_t i = 0; i < t->cells; i++) {
        bool is_last = (i + 1) % t->columns == 0;
        size_t pad = is_last ? 0 : widest[i % t->columns] - width(t->cell[i]) + 2;

        say("%s%*s%s", t->cell[i], (int)pad, "", is_last ? "\n" : "");
        free(t->cell[i]);
    }
    free(t->cell);
    *t = (struct table){0};
}
