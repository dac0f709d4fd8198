/* SPDX-License-Identifier: MIT */
/*
 * config_tree - a YAML file as a flat list of keys, each with its line
 *
 * Mappings up to three levels, scalars and lists of scalars; a list becomes one value joined by
 * spaces.  ${NAME} and ${NAME:-default} in a value come from the environment.  Not here: which
 * keys there are (config.c).
 */
#ifndef TOCSIN_CONFIG_TREE_H
#define TOCSIN_CONFIG_TREE_H
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>

struct config_entry {
    char *path[3]; /* section, name, key; those that do not exist are NULL */
    char *value;
    unsigned line;
    bool is_used;
    bool is_broken; /* its value could not be made out, and that has been said */
};

struct config_tree {
    char *file;
    struct config_entry *entries;
    size_t count, capacity;
};

/* why gets "FILE:LINE: what is wrong". */
struct config_faults;
NODISCARD int config_tree_read(struct config_tree *tree, const char *file,
                               struct config_faults *faults);
void config_tree_free(struct config_tree *tree);
/* The entry at a path, marked as used; NULL when absent.  name or key may be NULL. */
struct config_entry *config_tree_get(struct config_tree *tree, const char *section,
                                     const char *name, const char *key);

#endif
