/* SPDX-License-Identifier: MIT */
/*
 * explore - every state that a small model can reach, and what must hold there
 *
 * A model is a start and a function that gives all steps out of a state.  Two kinds of property
 * are checked.  Safety: no reachable step is broken.  Liveness, under weak fairness and without
 * further faults: every run ends.  A run is fair when no label stays possible for ever without
 * being taken; so a run without an end exists exactly when some strongly connected set of
 * unfinished states is fair, that is, when each label possible in all of its states is taken
 * inside it.
 *
 * A state is an array of bytes below 16: two of them are kept in one, so that twenty million fit
 * into a gigabyte.  Labels below FAIR_LABELS are the model's own doing and subject to fairness;
 * those from there on are faults, which nobody owes.
 *
 * Ownership: struct found is the caller's; explore_free() releases what it holds.
 */
#ifndef TOCSIN_TESTS_MODEL_EXPLORE_H
#define TOCSIN_TESTS_MODEL_EXPLORE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FAIR_LABELS = 64, LABEL_BYTES = 100, STATE_BYTES_MAX = 128 };

struct sink;

struct model {
    const char *name;
    size_t state_bytes;
    const void *options;                                         /* the model's own */
    void (*start)(const struct model *model, struct sink *sink); /* by sink_add(), label 0 */
    void (*steps)(const struct model *model, const void *state, struct sink *sink);
    bool (*is_over)(const struct model *model, const void *state);
    void (*label)(unsigned label, char text[LABEL_BYTES]);
    void (*show)(const void *state); /* to stdout; may be NULL */
};

/* One step out of the state in hand. */
void sink_add(struct sink *sink, unsigned label, const void *state);
/* The step in hand breaks a rule, which is a constant sentence. */
void sink_break(struct sink *sink, const char *rule);

struct found {
    const char *rule; /* NULL: all holds */
    size_t states, edges, open;
    unsigned depth; /* the longest of the shortest ways */
    char **trace;   /* how a state that breaks the rule is reached */
    size_t trace_length;
};

/* states_max: RULE_TOO_LARGE beyond. */
#define RULE_TOO_LARGE "there are too many states"
void explore(const struct model *model, size_t states_max, struct found *found);
void explore_free(struct found *found);

#endif
