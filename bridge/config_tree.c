/* SPDX-License-Identifier: MIT */
#include "config_tree.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "config_check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define MISSING_BYTES 128 /* of a variable's name */

struct reader {
    struct config_tree *tree;
    yaml_document_t *document;
    struct config_faults *faults;
};

/* Reading goes on, so that all faults are found. */
static void fault(struct reader *reader, unsigned line, const char *what, const char *name)
{
    config_fault(reader->faults, line, name ? name : "YAML", "%s", what);
}

/* ${NAME} and ${NAME:-default}; the result is the caller's, NULL when a variable is unset. */
static char *substitute(const char *text, char missing[MISSING_BYTES])
{
    struct buf out = {0};

    while (*text) {
        const char *end = strncmp(text, "${", 2) == 0 ? strchr(text, '}') : NULL;
        const char *otherwise, *value;
        char name[MISSING_BYTES];
        size_t length;

        if (!end) {
            buf_add_char(&out, *text++);
            continue;
        }
        length = (size_t)(end - text) - 2;
        snprintf(name, sizeof(name), "%.*s", (int)length, text + 2);
        otherwise = strstr(name, ":-");
        if (otherwise)
            *strstr(name, ":-") = '\0';
        value = getenv(name);
        if (!value && !otherwise) {
            snprintf(missing, MISSING_BYTES, "%s", name);
            buf_fini(&out);
            return NULL;
        }
        buf_add_text(&out, value ? value : otherwise + 2);
        text = end + 1;
    }
    buf_add_text(&out, "");
    return out.data ? out.data : xstrdup("");
}

static void add(struct reader *reader, const char *const path[3], const char *text, unsigned line,
                bool is_broken)
{
    struct config_tree *tree = reader->tree;
    struct config_entry *entry;
    char missing[MISSING_BYTES];
    char *value = is_broken ? NULL : substitute(text, missing);

    if (!value && !is_broken)
        fault(reader, line, "this environment variable is not set", missing);
    for (size_t i = 0; i < tree->count; i++) {
        bool is_same = true;

        for (int d = 0; d < 3; d++)
            is_same = is_same && (path[d] == NULL) == (tree->entries[i].path[d] == NULL) &&
                      (!path[d] || strcmp(path[d], tree->entries[i].path[d]) == 0);
        if (is_same) {
            free(value);
            fault(reader, line, "this key is given twice",
                  path[2]   ? path[2]
                  : path[1] ? path[1]
                            : path[0]);
            return;
        }
    }
    if (tree->count == tree->capacity) {
        tree->capacity = tree->capacity ? tree->capacity * 2 : 64;
        tree->entries = xrealloc(tree->entries, tree->capacity * sizeof(*tree->entries));
    }
    entry = &tree->entries[tree->count++];
    memset(entry, 0, sizeof(*entry));
    for (int d = 0; d < 3 && path[d]; d++)
        entry->path[d] = xstrdup(path[d]);
    entry->is_broken = !value;
    entry->value = value ? value : xstrdup("");
    entry->line = line;
}

static void add_list(struct reader *reader, const char *const path[3], yaml_node_t *node,
                     unsigned line)
{
    struct buf joined = {0};
    bool is_broken = false;

    for (yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++) {
        yaml_node_t *value = yaml_document_get_node(reader->document, *item);

        if (value->type != YAML_SCALAR_NODE && !is_broken)
            fault(reader, line, "a list may hold plain values only", path[1]);
        if (value->type != YAML_SCALAR_NODE)
            is_broken = true;
        else
            buf_printf(&joined, "%s%s", joined.length ? " " : "",
                       (const char *)value->data.scalar.value);
    }
    add(reader, path, buf_text(&joined), line, is_broken);
    buf_fini(&joined);
}

static void walk(struct reader *reader, yaml_node_t *node, const char *path[3], int depth)
{
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        yaml_node_t *key = yaml_document_get_node(reader->document, pair->key);
        yaml_node_t *value = yaml_document_get_node(reader->document, pair->value);
        unsigned line = (unsigned)key->start_mark.line + 1;

        if (key->type != YAML_SCALAR_NODE) {
            fault(reader, line, "a key must be plain text", NULL);
            continue;
        }
        path[depth] = (const char *)key->data.scalar.value;
        if (value->type == YAML_MAPPING_NODE && depth == 2)
            fault(reader, line, "nothing is nested this deep", path[depth]);
        else if (value->type == YAML_MAPPING_NODE)
            walk(reader, value, path, depth + 1);
        else if (value->type == YAML_SEQUENCE_NODE)
            add_list(reader, path, value, line);
        else
            add(reader, path, (const char *)value->data.scalar.value, line, false);
        path[depth] = NULL;
    }
}

static int parse(struct reader *reader, FILE *in)
{
    const char *path[3] = {NULL, NULL, NULL};
    yaml_parser_t parser;
    yaml_document_t document;
    yaml_node_t *root;
    int err = 0;

    if (!yaml_parser_initialize(&parser))
        return ERR_IO;
    yaml_parser_set_input_file(&parser, in);
    if (!yaml_parser_load(&parser, &document)) {
        config_fault(reader->faults, (unsigned)parser.problem_mark.line + 1, "YAML", "%s%s%s",
                     parser.problem ? parser.problem : "this is not YAML",
                     parser.context ? ": " : "", parser.context ? parser.context : "");
        yaml_parser_delete(&parser);
        return ERR_INVALID;
    }
    reader->document = &document;
    root = yaml_document_get_root_node(&document);
    if (root && root->type == YAML_MAPPING_NODE)
        walk(reader, root, path, 0);
    if (root && root->type != YAML_MAPPING_NODE) {
        fault(reader, 1, "the file must be a mapping of sections", NULL);
        err = ERR_INVALID;
    }
    reader->document = NULL;
    yaml_document_delete(&document);
    yaml_parser_delete(&parser);
    return err;
}

int config_tree_read(struct config_tree *tree, const char *file, struct config_faults *faults)
{
    struct reader reader = {tree, NULL, faults};
    FILE *in = fopen(file, "r");
    int err;

    memset(tree, 0, sizeof(*tree));
    tree->file = xstrdup(file);
    if (!in) {
        config_fault(faults, 0, "cannot be read", "%s; give the file with --config",
                     strerror(errno));
        config_tree_free(tree);
        return ERR_IO;
    }
    err = parse(&reader, in);
    fclose(in);
    if (err)
        config_tree_free(tree);
    return err;
}

void config_tree_free(struct config_tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        for (int d = 0; d < 3; d++)
            free(tree->entries[i].path[d]);
        free(tree->entries[i].value);
    }
    free(tree->entries);
    free(tree->file);
    memset(tree, 0, sizeof(*tree));
}

static bool is_same(const char *a, const char *b)
{
    return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

struct config_entry *config_tree_get(struct config_tree *tree, const char *section,
                                     const char *name, const char *key)
{
    for (size_t i = 0; i < tree->count; i++) {
        struct config_entry *entry = &tree->entries[i];

        if (is_same(entry->path[0], section) && is_same(entry->path[1], name) &&
            is_same(entry->path[2], key)) {
            entry->is_used = true;
            return entry;
        }
    }
    return NULL;
}
