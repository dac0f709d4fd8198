/* SPDX-License-Identifier: MIT */
#include "fleet.h"

#include "token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RAMP         50 /* connections under way at once */
#define RAMP_WAIT_NS ((int64_t)15 * 1000000000)
#define TURN_NS      ((int64_t)100 * 1000000)

void fleet_id(const struct load_options *o, const char *kind, unsigned n, char out[FLEET_ID_MAX])
{
    snprintf(out, FLEET_ID_MAX, "%.24s-%c%05u", o->prefix, kind[0], n);
}

static int open_member(struct fleet_member *m, struct engine *e, const struct load_options *o,
                       const struct fleet_config *conf, const struct token_secret *secret)
{
    char client_id[64], filter[96], token[TOKEN_MAX];

    fleet_id(o, conf->kind, m->number, m->id);
    snprintf(client_id, sizeof(client_id), "%s/%s", conf->kind, m->id);
    snprintf(filter, sizeof(filter), "notify/v1/%ss/%s/down/#", conf->kind, m->id);
    int n = snprintf(m->topic, sizeof(m->topic), "notify/v1/%ss/%s/%s", conf->kind, m->id,
                     conf->topic_leaf ? conf->topic_leaf : "");
    m->topic_len = (size_t)n;
    m->owner = conf->owner;
    if (secret && token_mint(secret, conf->kind, m->id, token))
        return engine_fail(e, client_id, "cannot sign its token");
    bool is_user = strcmp(conf->kind, "user") == 0;
    struct client_config client = {.url = is_user && o->user_url ? o->user_url : o->url,
                                   .level = conf->level,
                                   .client_id = client_id,
                                   .user = secret ? m->id : NULL,
                                   .password = secret ? token : NULL,
                                   .filter = conf->subscribes ? filter : NULL,
                                   .events = conf->events,
                                   .owner = m};
    return client_open(&m->client, e, &client);
}

static int await_up(const struct fleet *f, unsigned from, unsigned to, struct engine *e)
{
    int64_t deadline = clock_ns() + RAMP_WAIT_NS;

    for (unsigned i = from; i < to; i++) {
        while (!client_is_up(&f->members[i].client)) {
            if (engine_turn(e, TURN_NS))
                return -1;
            if (clock_ns() > deadline)
                return engine_fail(e, f->members[i].id, "no answer to CONNECT or SUBSCRIBE");
        }
    }
    return 0;
}

int fleet_open(struct fleet *f, struct engine *e, const struct load_options *o,
               const struct fleet_config *conf)
{
    struct token_secret secret;

    *f = (struct fleet){.members = calloc(conf->count, sizeof(*f->members))};
    if (!f->members)
        return engine_fail(e, conf->kind, "out of memory");
    if (o->secret_file && token_secret_load(&secret, o->secret_file))
        return engine_fail(e, conf->kind, "no secret");
    while (f->count < conf->count) {
        unsigned from = f->count;

        for (; f->count < conf->count && f->count < from + RAMP; f->count++) {
            f->members[f->count].number = f->count;
            if (open_member(&f->members[f->count], e, o, conf, o->secret_file ? &secret : NULL))
                return -1;
        }
        if (await_up(f, from, f->count, e))
            return -1;
    }
    return 0;
}

void fleet_close(struct fleet *f)
{
    for (unsigned i = 0; i < f->count; i++) {
        client_close(&f->members[i].client);
        wire_buf_fini(&f->members[i].pending);
    }
    free(f->members);
    *f = (struct fleet){0};
}

void fleet_ping(struct fleet *f)
{
    for (unsigned i = 0; i < f->count; i++)
        client_ping(&f->members[i].client);
}
