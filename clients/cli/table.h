/* SPDX-License-Identifier: MIT */
/*
 * table - columns that line up, and fit into the terminal
 *
 * Ownership: cells are copied; the struct is the caller's until table_print().
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H
#include <stddef.h>

#define TABLE_COLUMNS_MAX 16

struct table {
    size_t columns, cells;
    char **cell; /* row by row, cleaned for a terminal */
    /*
     * One character a column, for a terminal that is too narrow: '0' to '8' is left out, the lowest
     * first; '9' stays whole, and '~' stays and is shortened. NULL: every column stays whole.
     */
    const char *ranks;
};

/* The first row is the heading. */
void table_init(struct table *t, size_t columns, const char *const *headings);
/* The next cell; NULL or "" is shown as '-'. */
void table_add(struct table *t, const char *text);
/*
 * Prints to stdout and frees. On a terminal, and where COLUMNS is set, no line is wider than it is
 * if the ranks allow it; a line below says what was left out.
 */
void table_print(struct table *t);
#endif
