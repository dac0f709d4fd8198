/* SPDX-License-Identifier: MIT */
/*
 * left - sessions that stay behind, and how the broker is asked about them
 *
 * Whether a session still exists is learnt from a kick with the will, which
 * does nothing to a client that is offline and answers NOT_FOUND for one that
 * the broker has forgotten.  Only from TICK, and only for ids that were
 * connected to this process: a session restored from disk is in a state in
 * which the broker would put it on its list of expiring sessions twice.
 *
 * Restored sessions are found by the broker's own re-check: on SIGHUP it asks
 * for every session that it has.  So one is raised after a start with a
 * database, and the count outlives a restart.
 */
#include "plugin.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { ASK_MAX = 50, SUBJECT_MAX = 16 + PRINCIPAL_ID_MAX };

static void subject_of(const struct principal *p, char out[SUBJECT_MAX])
{
    snprintf(out, SUBJECT_MAX, "%s/%.*s", principal_kind_name(p->kind), (int)p->id_len, p->id);
}

enum refusal left_check(struct plugin *pl, const struct principal *p, const char *client_id)
{
    int64_t max = pl->options->limits.sessions_per_principal;
    char subject[SUBJECT_MAX];

    if (p->kind == PRINCIPAL_BRIDGE || max == 0 || sessions_has(&pl->sessions, client_id) ||
        live_find_id(&pl->live, client_id))
        return REFUSAL_NONE; /* it adds none */
    subject_of(p, subject);
    return sessions_count(&pl->sessions, subject) >= max ? REFUSAL_PRINCIPAL_SESSIONS
                                                         : REFUSAL_NONE;
}

void left_connected(struct plugin *pl, const char *client_id)
{
    sessions_remove(&pl->sessions, client_id);
}

void left_disconnected(struct plugin *pl, const char *subject, const char *client_id)
{
    if (live_find_id(&pl->live, client_id))
        return;
    sessions_add(&pl->sessions, subject, client_id, pl->now_ms);
    if (!sessions_has(&pl->sessions, client_id))
        filters_forget(&pl->filters, client_id); /* out of memory */
}

void left_restored(struct plugin *pl, const struct principal *p, const char *client_id)
{
    int64_t expiration_ms = pl->facts.expiration_ms;
    char subject[SUBJECT_MAX];

    if (p->kind == PRINCIPAL_BRIDGE || !client_id || sessions_has(&pl->sessions, client_id))
        return;
    subject_of(p, subject);
    sessions_add_restored(&pl->sessions, subject, client_id,
                          expiration_ms ? pl->now_ms + expiration_ms : INT64_MAX);
}

/* Only if the configuration can be read by the user that the broker runs as now: otherwise a
 * reload would lose it. */
static void ask_for_restored(struct plugin *pl)
{
    struct broker_facts now;
    char err[FILE_ERROR_SIZE];

    pl->has_asked = true;
    if (pl->facts.has_database && guard_check(&now, err) == 0 && now.is_known)
        (void)kill(getpid(), SIGHUP);
}

void left_run(struct plugin *pl)
{
    const char *client_id;

    if (!pl->has_asked)
        ask_for_restored(pl);
    pl->is_kicking = true; /* the broker asks SUBSCRIBE for what exists */
    for (int i = 0; i < ASK_MAX && (client_id = sessions_due(&pl->sessions, pl->now_ms)); i++) {
        if (live_find_id(&pl->live, client_id)) {
            sessions_remove(&pl->sessions, client_id);
        } else if (mosquitto_kick_client_by_clientid(client_id, true) == MOSQ_ERR_NOT_FOUND) {
            filters_forget(&pl->filters, client_id);
            sessions_remove(&pl->sessions, client_id); /* client_id is its own */
        } else {
            sessions_stays(&pl->sessions, client_id, pl->now_ms);
        }
    }
    pl->is_kicking = false;
}
