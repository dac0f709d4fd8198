/* SPDX-License-Identifier: MIT */
#include "table.h"

#include "say.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SHORTEST 10 /* of a column that is shortened */

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

/* 0: no limit. */
static size_t screen_width(void)
{
    const char *columns = getenv("COLUMNS");
    struct winsize size;

    if (columns && strtol(columns, NULL, 10) > 0)
        return (size_t)strtol(columns, NULL, 10);
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && isatty(STDOUT_FILENO))
        return size.ws_col;
    return 0;
}

static size_t total_width(const struct table *t, const size_t *widest)
{
    size_t total = 0;

    for (size_t i = 0; i < t->columns; i++)
        total += widest[i] ? widest[i] + 2 : 0;
    return total ? total - 2 : 0;
}

/* Shortens, then leaves out, until the table fits; a width of 0 is a column left out. */
static void fit(const struct table *t, size_t *widest, size_t limit)
{
    if (!limit || !t->ranks)
        return;
    for (size_t i = 0; i < t->columns; i++)
        while (t->ranks[i] == '~' && widest[i] > SHORTEST && total_width(t, widest) > limit)
            widest[i]--;
    for (int rank = '0'; rank < '9'; rank++)
        for (size_t i = t->columns; i-- > 0;)
            if (t->ranks[i] == rank && total_width(t, widest) > limit)
                widest[i] = 0;
}

static void print_cell(const char *text, size_t room, bool is_last)
{
    size_t length = width(text);

    if (length > room) {
        size_t shown = 0, bytes = 0;

        while (text[bytes] && shown + 1 < room) {
            bytes++;
            while (((unsigned char)text[bytes] & 0xc0) == 0x80)
                bytes++;
            shown++;
        }
        say("%.*s\xe2\x80\xa6", (int)bytes, text);
        length = room;
    } else {
        say("%s", text);
    }
    say("%*s%s", is_last ? 0 : (int)(room - length) + 2, "", is_last ? "\n" : "");
}

/* Which columns are left out, in lines that fit as well. */
static void say_dropped(const struct table *t, const size_t *widest, size_t limit)
{
    static const char begin[] = "not shown, --json has all:";
    size_t at = sizeof(begin) - 1;

    say("%s", begin);
    for (size_t i = 0; i < t->columns; i++) {
        if (widest[i])
            continue;
        if (at + width(t->cell[i]) + 1 > limit) {
            say("\n ");
            at = 1;
        }
        say(" %s", t->cell[i]);
        at += width(t->cell[i]) + 1;
    }
    say("\n");
}

void table_print(struct table *t)
{
    size_t widest[TABLE_COLUMNS_MAX] = {0}, last = 0, dropped = 0;
    size_t limit = screen_width();

    for (size_t i = 0; i < t->cells; i++) {
        size_t w = width(t->cell[i]);
        if (w > widest[i % t->columns])
            widest[i % t->columns] = w;
    }
    fit(t, widest, limit);
    for (size_t i = 0; i < t->columns; i++) {
        last = widest[i] ? i : last;
        dropped += widest[i] == 0;
    }
    for (size_t i = 0; i < t->cells; i++) {
        if (widest[i % t->columns])
            print_cell(t->cell[i], widest[i % t->columns], i % t->columns == last);
    }
    if (dropped)
        say_dropped(t, widest, limit);
    for (size_t i = 0; i < t->cells; i++)
        free(t->cell[i]);
    free(t->cell);
    *t = (struct table){0};
}
