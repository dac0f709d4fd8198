/* SPDX-License-Identifier: MIT */
#include "plugin.h"

#include "acl.h"
#include "control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Takes `result` or `error`, one of which is NULL; straight to the client that asked. */
static void reply(struct mosquitto *client, const char *rpc, json_t *result, json_t *error)
{
    char topic[ACL_TOPIC_MAX];
    struct principal p;
    json_t *root = json_object();

    if (*rpc)
        (void)json_object_set_new(root, "rpc", json_string(rpc));
    if (result)
        (void)json_object_set_new(root, "result", result);
    if (error)
        (void)json_object_set_new(root, "error", error);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    if (text && principal_parse(mosquitto_client_username(client), &p)) {
        snprintf(topic, sizeof(topic), "notify/v1/%ss/%.*s/down/reply", principal_kind_name(p.kind),
                 (int)p.id_len, p.id);
        (void)mosquitto_broker_publish_copy(mosquitto_client_id(client), topic, (int)strlen(text),
                                            text, 1, false, NULL);
    }
    free(text);
    json_decref(root);
}

static json_t *error_of(const char *code, const char *message)
{
    return json_pack("{s:s, s:s}", "code", code, "message", message);
}

static void refresh(struct plugin *pl, struct connection *conn, struct mosquitto *client,
                    const struct principal *p, const struct control_request *req)
{
    struct token tok;
    struct principal fresh;
    enum refusal why = admission_verify(pl, req->token, &tok, &fresh);

    if (!why && !principal_same(p, &fresh))
        why = REFUSAL_FOREIGN;
    if (!why)
        why = live_refresh(&pl->live, conn, &tok);
    /* Roles may have changed; the name decides about access from the next message on. */
    if (!why && admission_set_name(pl, client, tok.name) != 0)
        why = REFUSAL_INTERNAL;
    if (!why) {
        live_set_roles(&pl->live, conn->subject, &fresh);
        admission_note_roles(pl, &tok, &fresh);
    }
    pl->counters.now[why ? COUNTER_REFRESH_REFUSED : COUNTER_REFRESH_ACCEPTED]++;
    if (why)
        reply(client, req->rpc, NULL, error_of(refusal_name(why), refusal_text(why)));
    else
        reply(client, req->rpc, json_pack("{s:I}", "expires", (json_int_t)tok.expires_s), NULL);
}

static void disconnect(struct plugin *pl, struct mosquitto *client,
                       const struct control_request *req)
{
    unsigned count = live_mark(&pl->live, *req->subject ? req->subject : NULL, req->client);

    pl->sweep_is_due = true;
    reply(client, req->rpc, json_pack("{s:i}", "disconnected", (int)count), NULL);
}

/* It outlasts every look at the file, until the broker ends. */
static void keep_unstored(struct plugin *pl, const char *line, const char *why)
{
    char err[FILE_ERROR_SIZE];

    mosquitto_log_printf(MOSQ_LOG_ERR,
                         "tocsin: a revocation is in force but not stored, and ends with this "
                         "broker: %s",
                         why);
    if (revocations_add(&pl->unstored, line, err) != 0)
        mosquitto_log_printf(MOSQ_LOG_ERR, "tocsin: it ends when the file changes: out of memory");
}

static unsigned count_revoked(const struct plugin *pl)
{
    unsigned count = 0;

    for (struct list *at = pl->live.all.next; at != &pl->live.all; at = at->next) {
        const struct connection *conn = MAP_OWNER(at, struct connection, all);
        count += revocations_match(&pl->revocations, conn->subject->key, conn->jti, conn->issued_s);
    }
    return count;
}

static void revoke(struct plugin *pl, struct mosquitto *client, const struct control_request *req)
{
    char line[REVOCATION_LINE_MAX], err[FILE_ERROR_SIZE] = "";
    const char *path = pl->options->revocation_file;
    bool is_stored = false;

    if (req->jti)
        snprintf(line, sizeof(line), "jti %s", req->jti);
    else if (!*req->subject)
        snprintf(line, sizeof(line), "iat %lld", (long long)req->until_s);
    else if (req->until_s >= 0)
        snprintf(line, sizeof(line), "sub %s %lld", req->subject, (long long)req->until_s);
    else
        snprintf(line, sizeof(line), "sub %s", req->subject);
    if (revocations_add(&pl->revocations, line, err) != 0) {
        reply(client, req->rpc, NULL, error_of("internal", "the list is full"));
        return;
    }
    pl->sweep_is_due = true;
    if (path && revocations_append(path, line, err) == 0)
        is_stored = true;
    else if (path)
        keep_unstored(pl, line, err);
    mosquitto_log_printf(MOSQ_LOG_NOTICE, "tocsin: revoked by %s: ends %u of %zu connections",
                         mosquitto_client_id(client), count_revoked(pl),
                         pl->live.connections.count);
    reply(client, req->rpc, json_pack("{s:b, s:b}", "revoked", 1, "stored", is_stored), NULL);
}

static void run(struct plugin *pl, struct connection *conn, struct mosquitto *client,
                const struct principal *p, const struct control_request *req)
{
    bool may_rule = p->kind == PRINCIPAL_ADMIN || p->kind == PRINCIPAL_BRIDGE;

    if (req->method == CONTROL_BAD)
        reply(client, req->rpc, NULL, error_of("malformed", req->problem));
    else if (req->method == CONTROL_REFRESH)
        refresh(pl, conn, client, p, req);
    else if (!may_rule)
        reply(client, req->rpc, NULL, error_of("not_allowed", "only admins may do that"));
    else if (req->method == CONTROL_DISCONNECT)
        disconnect(pl, client, req);
    else
        revoke(pl, client, req);
}

void command_run(struct plugin *pl, const struct mosquitto_evt_control *ev)
{
    const struct limits_config *lim = &pl->options->limits;
    struct connection *conn = live_find(&pl->live, ev->client);
    struct control_request req;
    struct principal p;

    if (!conn || !plugin_principal(pl, ev->client, &p))
        return;
    if (!bucket_take(&conn->control, lim->control_rate, lim->control_burst, 1, plugin_now_ms(pl))) {
        pl->counters.now[COUNTER_LIMITED_CONTROL_RATE]++;
        return;
    }
    control_parse(ev->payload, ev->payloadlen, &req);
    run(pl, conn, ev->client, &p, &req);
    control_fini(&req);
}
