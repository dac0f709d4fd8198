/* SPDX-License-Identifier: MIT */
#include "explore.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/panic.h"

#define NONE        UINT32_MAX
#define FIRST_SLOTS (1U << 16)

struct edge {
    uint32_t to;
    uint8_t label;
};

struct edges {
    struct edge *all;
    size_t count, capacity;
};

/* All states by number, in the order in which they were found. */
struct graph {
    const struct model *model;
    size_t packed_bytes;
    uint8_t *states;
    uint32_t *parents;
    size_t count, capacity;
    uint32_t *slots; /* of a hash table with open addressing */
    size_t slot_count;
    bool is_whole; /* nothing new may be found any more */
};

struct sink {
    struct graph *graph;
    struct edges *edges;
    uint32_t from;
    const char *rule;
    uint8_t broken; /* the label of the last step before the rule broke is not known */
};

/* ---- states ---- */

static void pack(const struct graph *graph, const uint8_t *state, uint8_t *packed)
{
    size_t bytes = graph->model->state_bytes;
    uint8_t all = 0;

    for (size_t i = 0; i + 1 < bytes; i += 2) {
        packed[i / 2] = (uint8_t)(state[i] | state[i + 1] << 4);
        all |= (uint8_t)(state[i] | state[i + 1]);
    }
    if (bytes % 2)
        packed[bytes / 2] = state[bytes - 1];
    ASSERT(all < 16 && state[bytes - 1] < 16);
}

static void unpack(const struct graph *graph, uint32_t at, uint8_t *state)
{
    const uint8_t *packed = graph->states + at * graph->packed_bytes;

    for (size_t i = 0; i < graph->model->state_bytes / 2; i++) {
        state[2 * i] = packed[i] & 15;
        state[2 * i + 1] = packed[i] >> 4;
    }
    if (graph->model->state_bytes % 2)
        state[graph->model->state_bytes - 1] = packed[graph->packed_bytes - 1];
}

static uint64_t hash(const uint8_t *bytes, size_t count)
{
    uint64_t value = UINT64_C(0x9e3779b97f4a7c15);

    for (size_t i = 0; i < count; i += 8) {
        uint64_t word = 0;

        memcpy(&word, bytes + i, count - i < 8 ? count - i : 8);
        value = (value ^ word) * UINT64_C(0xff51afd7ed558ccd);
        value ^= value >> 32;
    }
    return value;
}

static uint32_t *slot_of(const struct graph *graph, const uint8_t *packed)
{
    size_t at = (size_t)hash(packed, graph->packed_bytes) & (graph->slot_count - 1);

    while (graph->slots[at] != NONE &&
           memcmp(graph->states + graph->slots[at] * graph->packed_bytes, packed,
                  graph->packed_bytes) != 0)
        at = (at + 1) & (graph->slot_count - 1);
    return &graph->slots[at];
}

static void grow_slots(struct graph *graph)
{
    free(graph->slots);
    graph->slot_count = graph->slot_count ? graph->slot_count * 2 : FIRST_SLOTS;
    graph->slots = xmalloc(graph->slot_count * sizeof(*graph->slots));
    memset(graph->slots, 0xff, graph->slot_count * sizeof(*graph->slots));
    for (uint32_t i = 0; i < graph->count; i++)
        *slot_of(graph, graph->states + i * graph->packed_bytes) = i;
}

/* The number of a state, which is new if it was not known. */
static uint32_t number_of(struct graph *graph, const uint8_t *state, uint32_t parent)
{
    uint8_t packed[STATE_BYTES_MAX];
    uint32_t *slot;

    pack(graph, state, packed);
    slot = slot_of(graph, packed);
    if (*slot != NONE)
        return *slot;
    ASSERT(!graph->is_whole);
    if (graph->count == graph->capacity) {
        graph->capacity = graph->capacity ? graph->capacity + graph->capacity / 2 : FIRST_SLOTS;
        graph->states = xrealloc(graph->states, graph->capacity * graph->packed_bytes);
        graph->parents = xrealloc(graph->parents, graph->capacity * sizeof(*graph->parents));
    }
    memcpy(graph->states + graph->count * graph->packed_bytes, packed, graph->packed_bytes);
    graph->parents[graph->count] = parent;
    *slot = (uint32_t)graph->count++;
    if (graph->count * 4 > graph->slot_count * 3)
        grow_slots(graph);
    return (uint32_t)graph->count - 1;
}

static bool is_over(const struct graph *graph, uint32_t at)
{
    uint8_t state[STATE_BYTES_MAX];

    unpack(graph, at, state);
    return graph->model->is_over(graph->model, state);
}

/* ---- steps ---- */

void sink_add(struct sink *sink, unsigned label, const void *state)
{
    struct edges *edges = sink->edges;

    ASSERT(label < UINT8_MAX);
    if (sink->rule)
        return;
    if (edges->count == edges->capacity) {
        edges->capacity = edges->capacity ? edges->capacity * 2 : 64;
        edges->all = xrealloc(edges->all, edges->capacity * sizeof(*edges->all));
    }
    edges->all[edges->count++] =
        (struct edge){number_of(sink->graph, state, sink->from), (uint8_t)label};
}

void sink_break(struct sink *sink, const char *rule)
{
    if (!sink->rule)
        sink->rule = rule;
}

/* Adds the steps out of a state to edges; returns the rule that one of them breaks, or NULL. */
static const char *expand(struct graph *graph, uint32_t at, struct edges *edges)
{
    uint8_t state[STATE_BYTES_MAX];
    struct sink sink = {.graph = graph, .edges = edges, .from = at};

    unpack(graph, at, state);
    graph->model->steps(graph->model, state, &sink);
    return sink.rule;
}

/* ---- what is told of a counterexample ---- */

static void tell(struct found *found, const char *text)
{
    found->trace = xrealloc(found->trace, (found->trace_length + 1) * sizeof(*found->trace));
    found->trace[found->trace_length++] = xstrdup(text);
}

/* The labels that lead to a state, the shortest way; and the state itself on stdout. */
static void trace(struct graph *graph, uint32_t at, struct found *found)
{
    uint32_t *way = NULL;
    size_t length = 0;
    uint8_t state[STATE_BYTES_MAX];

    for (uint32_t i = at; i != NONE; i = graph->parents[i]) {
        way = xrealloc(way, (length + 1) * sizeof(*way));
        way[length++] = i;
    }
    for (size_t i = length - 1; i > 0; i--) {
        struct edges edges = {0};
        char text[LABEL_BYTES] = "?";

        (void)expand(graph, way[i], &edges);
        for (size_t j = 0; j < edges.count; j++) {
            if (edges.all[j].to != way[i - 1])
                continue;
            graph->model->label(edges.all[j].label, text);
            break;
        }
        free(edges.all);
        tell(found, text);
    }
    free(way);
    unpack(graph, at, state);
    if (graph->model->show)
        graph->model->show(state);
}

static void tell_labels(const struct graph *graph, uint64_t labels, struct found *found)
{
    tell(found, "then for ever:");
    for (unsigned i = 0; i < FAIR_LABELS; i++) {
        char text[LABEL_BYTES];

        if (!(labels >> i & 1))
            continue;
        graph->model->label(i, text);
        tell(found, text);
    }
}

/* ---- every fair run ends ---- */

/* Tarjan's strongly connected components, without recursion. */
struct frame {
    uint32_t at;
    size_t first, next; /* of its edges, on the stack of edges */
};

struct tarjan {
    struct graph *graph;
    struct found *found;
    uint32_t *index, *low; /* index 0: not seen; low NONE: its component is done */
    uint32_t *stack;
    size_t stack_count;
    struct frame *frames;
    size_t frame_count, frame_capacity;
    struct edges edges;
    uint32_t seen;
};

/* Steps without faults, out of a state that is not over. */
static void enter(struct tarjan *t, uint32_t at)
{
    size_t first = t->edges.count, kept = first;

    (void)expand(t->graph, at, &t->edges);
    for (size_t i = first; i < t->edges.count; i++)
        if (t->edges.all[i].label < FAIR_LABELS)
            t->edges.all[kept++] = t->edges.all[i];
    t->edges.count = kept;
    if (t->frame_count == t->frame_capacity) {
        t->frame_capacity = t->frame_capacity ? t->frame_capacity * 2 : 1024;
        t->frames = xrealloc(t->frames, t->frame_capacity * sizeof(*t->frames));
    }
    t->frames[t->frame_count++] = (struct frame){at, first, first};
    t->index[at] = t->low[at] = ++t->seen;
    t->stack[t->stack_count++] = at;
}

/* Whether a component can be kept to for ever by a fair run. */
static bool is_fair(struct tarjan *t, const uint32_t *members, size_t count, uint64_t *inside)
{
    uint64_t always = UINT64_MAX;
    bool has_steps = false;

    *inside = 0;
    for (size_t i = 0; i < count; i++) {
        struct edges edges = {0};
        uint64_t possible = 0;

        (void)expand(t->graph, members[i], &edges);
        for (size_t j = 0; j < edges.count; j++) {
            uint32_t to = edges.all[j].to;

            if (edges.all[j].label >= FAIR_LABELS)
                continue;
            has_steps = true;
            possible |= UINT64_C(1) << edges.all[j].label;
            /* Those of the component are still on the stack. */
            if (t->index[to] && t->low[to] != NONE && t->low[to] >= t->index[members[0]])
                *inside |= UINT64_C(1) << edges.all[j].label;
        }
        always &= possible;
        free(edges.all);
    }
    if (count == 1 && !*inside && has_steps)
        return false; /* it moves on */
    return (always & ~*inside) == 0;
}

/* The component whose first state is at: the top of the stack. */
static bool leave(struct tarjan *t, uint32_t at)
{
    size_t first = t->stack_count;
    uint64_t inside;
    uint32_t least = at;

    while (t->stack[--first] != at)
        ;
    for (size_t i = first; i < t->stack_count; i++) {
        t->low[t->stack[i]] = t->index[at];
        least = t->stack[i] < least ? t->stack[i] : least;
    }
    if (is_fair(t, t->stack + first, t->stack_count - first, &inside)) {
        t->found->rule = "a fair run never ends";
        trace(t->graph, least, t->found);
        tell_labels(t->graph, inside, t->found);
        return false;
    }
    for (size_t i = first; i < t->stack_count; i++)
        t->low[t->stack[i]] = NONE;
    t->stack_count = first;
    return true;
}

static bool walk(struct tarjan *t, uint32_t root)
{
    enter(t, root);
    while (t->frame_count) {
        struct frame *frame = &t->frames[t->frame_count - 1];
        uint32_t at = frame->at;

        if (frame->next < t->edges.count) {
            uint32_t to = t->edges.all[frame->next++].to;

            if (t->index[to]) {
                if (t->low[to] != NONE && t->index[to] < t->low[at])
                    t->low[at] = t->index[to];
            } else if (!is_over(t->graph, to)) {
                enter(t, to);
            }
            continue;
        }
        t->edges.count = frame->first;
        t->frame_count--;
        if (t->low[at] == t->index[at]) {
            if (!leave(t, at))
                return false;
            continue;
        }
        frame = &t->frames[t->frame_count - 1];
        if (t->low[at] < t->low[frame->at])
            t->low[frame->at] = t->low[at];
    }
    return true;
}

static void check_runs_end(struct graph *graph, struct found *found)
{
    struct tarjan t = {.graph = graph, .found = found};

    t.index = xcalloc(graph->count, sizeof(*t.index));
    t.low = xcalloc(graph->count, sizeof(*t.low));
    t.stack = xmalloc(graph->count * sizeof(*t.stack));
    for (uint32_t at = 0; at < graph->count; at++) {
        if (is_over(graph, at))
            continue;
        found->open++;
        if (!t.index[at] && !walk(&t, at))
            break;
    }
    free(t.index);
    free(t.low);
    free(t.stack);
    free(t.frames);
    free(t.edges.all);
}

/* ---- all of it ---- */

static void reach(struct graph *graph, size_t states_max, struct found *found)
{
    struct edges edges = {0};
    struct sink first = {.graph = graph, .edges = &edges, .from = NONE};

    graph->model->start(graph->model, &first);
    for (uint32_t at = 0; at < graph->count && !found->rule; at++) {
        edges.count = 0;
        found->rule = expand(graph, at, &edges);
        found->edges += edges.count;
        if (found->rule)
            trace(graph, at, found);
        else if (graph->count > states_max)
            found->rule = RULE_TOO_LARGE;
    }
    free(edges.all);
}

void explore(const struct model *model, size_t states_max, struct found *found)
{
    struct graph graph = {.model = model, .packed_bytes = (model->state_bytes + 1) / 2};

    ASSERT(model->state_bytes <= STATE_BYTES_MAX && states_max < NONE);
    *found = (struct found){0};
    grow_slots(&graph);
    reach(&graph, states_max, found);
    found->states = graph.count;
    graph.is_whole = !found->rule;
    if (!found->rule)
        check_runs_end(&graph, found);
    free(graph.states);
    free(graph.parents);
    free(graph.slots);
}

void explore_free(struct found *found)
{
    for (size_t i = 0; i < found->trace_length; i++)
        free(found->trace[i]);
    free(found->trace);
    *found = (struct found){0};
}
