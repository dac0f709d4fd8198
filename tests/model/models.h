/* SPDX-License-Identifier: MIT */
/*
 * models - what the models share: how they are asked for, wrong ways to build them, and moves
 *
 * Every move that a model makes is asked of delivery_can_move(), the bridge's own table; the
 * statements that make them are held against the SQL itself (statements.h).
 */
#ifndef TOCSIN_TESTS_MODEL_MODELS_H
#define TOCSIN_TESTS_MODEL_MODELS_H
#include "core/delivery.h"
#include "explore.h"

/* The moves that were made, by the state they begin in. */
struct moves {
    uint16_t made[DELIVERY_STATE_COUNT];
};

/* A way to build it wrongly, and the rule that must find it out. */
struct mutation {
    const char *name, *what, *rule;
};

struct options {
    unsigned faults;   /* how many a run may have */
    unsigned mutation; /* its place in the model's list and 1; 0: built rightly */
    struct moves *moves;
};

struct entry {
    struct model model;
    const struct mutation *mutations; /* ends with a NULL name */
    const char *about;
};

extern const struct entry model_lease, model_life, model_ingest, model_telling;

/* Notes a move; breaks the rules if no arrow joins its ends. */
void moves_make(struct sink *sink, const struct options *options, unsigned from, unsigned to);

#endif
