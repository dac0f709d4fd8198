/* SPDX-License-Identifier: MIT */
/*
 * model [NAME] [--faults N] [--mutation WHAT] [--most MILLIONS]: explores one model
 *
 * Without a name: lists the models and the wrong ways to build each; `statements` holds the moves
 * of the SQL against the table of legal ones.  Prints what was explored,
 * the moves that were made and, where a rule is broken, the way there.
 * Exits 0 when all rules hold, 1 when one is broken, 2 when it was asked wrongly or is too large.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "models.h"
#include "statements.h"

#define MILLION 1000000U

static const struct entry *const entries[] = {&model_lease, &model_ingest, &model_life,
                                              &model_telling};
enum { ENTRIES = sizeof entries / sizeof entries[0] };

static int list(void)
{
    for (unsigned i = 0; i < ENTRIES; i++) {
        printf("model %s: %s\n", entries[i]->model.name, entries[i]->about);
        for (const struct mutation *mutation = entries[i]->mutations; mutation->name; mutation++)
            printf("mutation %s %s: %s; %s\n", entries[i]->model.name, mutation->name,
                   mutation->what, mutation->rule);
    }
    return 0;
}

static void show_moves(const struct moves *moves)
{
    for (unsigned from = 0; from < DELIVERY_STATE_COUNT; from++)
        for (unsigned to = 0; to < DELIVERY_STATE_COUNT; to++)
            if (moves->made[from] >> to & 1)
                printf("move %s %s\n", delivery_state_name((enum delivery_state)from),
                       delivery_state_name((enum delivery_state)to));
}

static int run(const struct entry *entry, const struct options *options, size_t most)
{
    struct model model = entry->model;
    struct timespec from, to;
    struct found found;
    int status = 0;

    model.options = options;
    clock_gettime(CLOCK_MONOTONIC, &from);
    explore(&model, most, &found);
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("explored %s: %zu states, %zu steps, %zu unfinished, %.1f s\n", model.name, found.states,
           found.edges, found.open,
           (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
    show_moves(options->moves);
    if (found.rule) {
        printf("broken: %s\n", found.rule);
        for (size_t i = 0; i < found.trace_length; i++)
            printf("    %s\n", found.trace[i]);
        status = strcmp(found.rule, RULE_TOO_LARGE) == 0 ? 2 : 1;
    }
    explore_free(&found);
    return status;
}

static unsigned find_mutation(const struct entry *entry, const char *name)
{
    for (unsigned i = 0; entry->mutations[i].name; i++)
        if (strcmp(entry->mutations[i].name, name) == 0)
            return i + 1;
    return 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: model [NAME] [--faults N] [--mutation WHAT] [--most MILLIONS]\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct moves moves = {0};
    struct options options = {.faults = 1, .moves = &moves};
    const struct entry *entry = NULL;
    size_t most = 100UL * MILLION;

    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    if (argc < 2)
        return list();
    if (strcmp(argv[1], "statements") == 0)
        return statements_check();
    for (unsigned i = 0; i < ENTRIES; i++)
        if (strcmp(entries[i]->model.name, argv[1]) == 0)
            entry = entries[i];
    if (!entry || argc % 2)
        return usage();
    for (int i = 2; i < argc; i += 2) {
        if (strcmp(argv[i], "--faults") == 0)
            options.faults = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--most") == 0)
            most = strtoul(argv[i + 1], NULL, 10) * MILLION;
        else if (strcmp(argv[i], "--mutation") != 0 ||
                 !(options.mutation = find_mutation(entry, argv[i + 1])))
            return usage();
    }
    return run(entry, &options, most);
}
