/* SPDX-License-Identifier: MIT */
#include "ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ledger_init(struct ledger *l, bool expects_inbox)
{
    memset(l, 0, sizeof(*l));
    l->expects_inbox = expects_inbox;
    l->from_ns = l->to_ns = INT64_MAX;
}

void ledger_fini(struct ledger *l)
{
    free(l->entries);
    l->entries = NULL;
}

uint32_t ledger_send(struct ledger *l, int64_t due_ns)
{
    if (l->count == l->cap) {
        uint32_t cap = l->cap ? l->cap * 2 : 65536;
        struct ledger_entry *grown = realloc(l->entries, cap * sizeof(*grown));

        if (!grown) {
            fputs("load: out of memory\n", stderr);
            abort();
        }
        l->entries = grown;
        l->cap = cap;
    }
    l->entries[l->count] = (struct ledger_entry){.sent_ns = due_ns};
    l->open++;
    return l->count++;
}

static struct ledger_entry *find(struct ledger *l, uint32_t n)
{
    if (n < l->count)
        return &l->entries[n];
    l->strangers++;
    return NULL;
}

static void measure(const struct ledger *l, struct histogram *h, const struct ledger_entry *e,
                    int64_t now_ns)
{
    if (e->sent_ns >= l->from_ns && e->sent_ns < l->to_ns)
        histogram_add(h, now_ns - e->sent_ns);
}

void ledger_accepted(struct ledger *l, uint32_t n, int64_t now_ns)
{
    struct ledger_entry *e = find(l, n);

    if (!e)
        return;
    if (e->accepted) {
        l->again++;
        return;
    }
    e->accepted = 1;
    l->accepted++;
    measure(l, &l->to_accepted, e, now_ns);
}

void ledger_arrived(struct ledger *l, uint32_t n, int64_t now_ns)
{
    struct ledger_entry *e = find(l, n);

    if (!e)
        return;
    if (e->arrived) {
        l->duplicates++;
        return;
    }
    e->arrived = 1;
    l->arrived++;
    measure(l, &l->to_inbox, e, now_ns);
}

bool ledger_final(struct ledger *l, uint32_t n, enum ledger_final f, int64_t now_ns)
{
    struct ledger_entry *e = find(l, n);

    if (!e)
        return false;
    if (e->final) {
        l->again++;
        return false;
    }
    e->final = 1;
    l->finals[f]++;
    l->open--;
    l->last_final_ns = now_ns;
    if (f != LEDGER_SETTLED)
        return true;
    measure(l, &l->to_settled, e, now_ns);
    if (now_ns >= l->from_ns && now_ns < l->to_ns)
        l->settled_inside++;
    return true;
}

uint64_t ledger_close(struct ledger *l)
{
    l->unarrived = 0;
    for (uint32_t i = 0; l->expects_inbox && i < l->count; i++)
        if (l->entries[i].final && !l->entries[i].arrived)
            l->unarrived++;
    return l->open;
}
