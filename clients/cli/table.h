/* SPDX-License-Identifier: MIT */
/*
 * table - columns that line up
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
};

/* The first row is the heading. */
void table_init(struct table *t, size_t columns, const char *const *headings);
/* The next cell; NULL or "" is shown as '-'. */
void table_add(struct table *t, const char *text);
/* Prints to stdout and frees. */
void table_print(struct table *t);
#endif
