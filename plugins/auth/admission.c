/* SPDX-License-Identifier: MIT */
#include "plugin.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LOG_RATE = 1, LOG_BURST = 5, LOG_ID_MAX = 80 };

enum refusal admission_verify(struct plugin *pl, const char *token, struct token *tok,
                              struct principal *p)
{
    char subject[16 + PRINCIPAL_ID_MAX];
    enum refusal why = cache_verify(&pl->cache, pl->keys, token, strlen(token),
                                    (size_t)pl->options->max_token_bytes, (int64_t)time(NULL), tok);
    if (why)
        return why;
    if (!principal_parse(tok->name, p))
        return REFUSAL_INTERNAL;
    snprintf(subject, sizeof(subject), "%s/%.*s", principal_kind_name(p->kind), (int)p->id_len,
             p->id);
    return revocations_match(&pl->revocations, subject, tok->jti, tok->issued_s) ? REFUSAL_REVOKED
                                                                                 : REFUSAL_NONE;
}

/* The user name is empty, the id as it stands in topics, or the id as it stands in the token. */
static bool username_fits(const char *username, const struct principal *p)
{
    char given[PRINCIPAL_ID_MAX + 1];

    if (!username || !*username)
        return true;
    if (strlen(username) == p->id_len && memcmp(username, p->id, p->id_len) == 0)
        return true;
    size_t len = principal_encode(username, given, sizeof(given));
    return len == p->id_len && memcmp(given, p->id, len) == 0;
}

/* NULL when addresses are not limited, or there is none: a Unix socket's is its path. */
static struct address *address_of(struct plugin *pl, struct mosquitto *client)
{
    const struct limits_config *lim = &pl->options->limits;
    const char *text = mosquitto_client_address(client);

    if (!text || !*text || *text == '/' ||
        (!lim->connections_per_address && !lim->connect_rate && !lim->failure_rate))
        return NULL;
    return live_address(&pl->live, text, pl->now_ms);
}

static enum refusal check_address(struct plugin *pl, struct address *addr)
{
    const struct limits_config *lim = &pl->options->limits;

    if (!addr)
        return REFUSAL_NONE;
    if (!bucket_has(&addr->failure, lim->failure_rate, lim->failure_burst, pl->now_ms))
        return REFUSAL_FAILURE_RATE;
    if (!bucket_take(&addr->connect, lim->connect_rate, lim->connect_burst, 1, pl->now_ms))
        return REFUSAL_CONNECT_RATE;
    return REFUSAL_NONE;
}

static enum refusal check_counts(struct plugin *pl, const struct principal *p,
                                 const struct address *addr, const char *client_id)
{
    const struct limits_config *lim = &pl->options->limits;
    const struct subject *subj = live_subject(&pl->live, p);

    if (p->kind == PRINCIPAL_BRIDGE || live_find_id(&pl->live, client_id))
        return REFUSAL_NONE; /* a takeover adds nothing */
    if (subj && lim->connections_per_principal &&
        subj->connections >= lim->connections_per_principal)
        return REFUSAL_PRINCIPAL_CONNECTIONS;
    if (addr && lim->connections_per_address && addr->connections >= lim->connections_per_address)
        return REFUSAL_ADDRESS_CONNECTIONS;
    return REFUSAL_NONE;
}

int admission_set_name(struct plugin *pl, struct mosquitto *client, const char *name)
{
    char sealed[SEAL_NAME_SIZE];
    int rc = MOSQ_ERR_MALFORMED_UTF8;

    if (!pl->refuses_mark && seal_name(pl->seal_key, name, PRINCIPAL_MARK, sealed) == 0)
        rc = mosquitto_set_username(client, sealed);
    if (rc == MOSQ_ERR_MALFORMED_UTF8 &&
        seal_name(pl->seal_key, name, PRINCIPAL_SEALED, sealed) == 0) {
        pl->refuses_mark = true;
        rc = mosquitto_set_username(client, sealed);
    }
    return rc == MOSQ_ERR_SUCCESS ? 0 : -1;
}

/*
 * After SIGHUP the broker asks again, synchronously, for every session it has,
 * with the name that we gave it.  Whether they may stay is the reaper's
 * business: a refusal here would drop clients without a reason code and, for
 * offline sessions, corrupt the broker's memory.  To say yes gives nothing
 * away: what a session may do is a matter of its name's seal.
 */
static bool is_recheck(struct plugin *pl, const struct mosquitto_evt_basic_auth *ev)
{
    bool is_restored = mosquitto_client_protocol_version(ev->client) == 0;
    struct principal p;

    if (!pl->is_rechecking)
        return false;
    bool is_ours = seal_open(pl->seal_key, ev->username, &p);
    if (is_ours && is_restored)
        left_restored(pl, &p, mosquitto_client_id(ev->client));
    return is_ours || is_restored || live_find(&pl->live, ev->client);
}

static enum refusal admit(struct plugin *pl, struct mosquitto_evt_basic_auth *ev,
                          struct address *addr, struct token *tok, struct principal *p)
{
    const char *client_id = mosquitto_client_id(ev->client);

    if (!pl->has_ticked)
        return REFUSAL_NO_TICK;
    enum refusal why = check_address(pl, addr);
    if (why)
        return why;
    if (!ev->password || !*ev->password)
        return REFUSAL_NO_TOKEN;
    why = admission_verify(pl, ev->password, tok, p);
    if (why)
        return why;
    if (!username_fits(ev->username, p))
        return REFUSAL_USERNAME;
    if (!principal_owns_client_id(p, client_id))
        return REFUSAL_CLIENT_ID;
    why = check_counts(pl, p, addr, client_id);
    if (!why)
        why = left_check(pl, p, client_id);
    if (why)
        return why;
    why = live_add(&pl->live, ev->client, client_id, p, tok, addr, pl->now_ms);
    if (why)
        return why;
    if (admission_set_name(pl, ev->client, tok->name) == 0) {
        pl->connecting = ev->client;
        left_connected(pl, client_id);
        return REFUSAL_NONE; /* ev->username dangles from here on */
    }
    live_remove(&pl->live, live_find(&pl->live, ev->client), pl->now_ms);
    return REFUSAL_INTERNAL;
}

bool plugin_principal(const struct plugin *pl, const struct mosquitto *client,
                      struct principal *out)
{
    return seal_open(pl->seal_key, mosquitto_client_username(client), out);
}

/* A client id as it may stand in a log: printable, short, and certainly no token. */
static void tame_id(const char *id, char out[LOG_ID_MAX + 1])
{
    size_t len = 0;

    if (!id || strstr(id, "eyJ"))
        id = "?";
    for (; *id && len < LOG_ID_MAX; id++)
        out[len++] = *id >= 0x20 && *id <= 0x7e && *id != '"' ? *id : '?';
    out[len] = '\0';
}

/* Once per cause and second; what is left out is counted and told with the next line. */
static void log_refusal(struct plugin *pl, enum refusal why, struct mosquitto *client,
                        const struct principal *p)
{
    char id[LOG_ID_MAX + 1], hint[64 + PRINCIPAL_ID_MAX] = "", more[48] = "";
    const char *address = mosquitto_client_address(client);

    if (!bucket_take(&pl->log_buckets[why], LOG_RATE, LOG_BURST, 1, pl->now_ms)) {
        pl->log_suppressed[why]++;
        return;
    }
    tame_id(mosquitto_client_id(client), id);
    if (why == REFUSAL_CLIENT_ID)
        snprintf(hint, sizeof(hint), " (here: %s/%.*s)", principal_kind_name(p->kind),
                 (int)p->id_len, p->id);
    if (pl->log_suppressed[why])
        snprintf(more, sizeof(more), " [%llu more since]",
                 (unsigned long long)pl->log_suppressed[why]);
    pl->log_suppressed[why] = 0;
    mosquitto_log_printf(MOSQ_LOG_NOTICE, "tocsin: refused \"%s\" from %s: %s: %s%s%s", id,
                         address ? address : "?", refusal_name(why), refusal_text(why), hint, more);
}

void admission_note_roles(struct plugin *pl, const struct token *tok, const struct principal *p)
{
    if (tok->roles_left_out == 0)
        return;
    pl->counters.now[COUNTER_LIMITED_ROLES] += tok->roles_left_out;
    if (bucket_take(&pl->log_buckets[REFUSAL_NONE], LOG_RATE, LOG_BURST, 1, pl->now_ms))
        mosquitto_log_printf(MOSQ_LOG_NOTICE,
                             "tocsin: %s/%.*s: %u roles are left out: at most %d of %d bytes each, "
                             "%d together (roles_prefix narrows them)",
                             principal_kind_name(p->kind), (int)p->id_len, p->id,
                             tok->roles_left_out, PRINCIPAL_ROLES_MAX, PRINCIPAL_ROLE_MAX,
                             PRINCIPAL_NAME_SIZE - PRINCIPAL_ID_MAX);
}

int admission_check(struct plugin *pl, struct mosquitto_evt_basic_auth *ev)
{
    struct principal p = {.id = ""}; /* stays so when there is no good token */
    struct token tok;

    if (is_recheck(pl, ev))
        return MOSQ_ERR_SUCCESS;
    plugin_now_ms(pl);
    struct address *addr = address_of(pl, ev->client);
    enum refusal why = admit(pl, ev, addr, &tok, &p);
    if (!why) {
        pl->counters.now[COUNTER_ACCEPTED_USER + p.kind]++;
        admission_note_roles(pl, &tok, &p);
        return MOSQ_ERR_SUCCESS;
    }
    pl->counters.now[COUNTER_REFUSED_FIRST + why]++;
    if (addr && why != REFUSAL_FAILURE_RATE && why != REFUSAL_CONNECT_RATE)
        (void)bucket_take(&addr->failure, pl->options->limits.failure_rate,
                          pl->options->limits.failure_burst, 1, pl->now_ms);
    log_refusal(pl, why, ev->client, &p);
    return MOSQ_ERR_AUTH;
}
