/* SPDX-License-Identifier: MIT */
/*
 * plugin - what Mosquitto calls: entry points and the callback table
 *
 * A guest in the broker's only thread: nothing here blocks, nothing is fatal,
 * and every doubt denies.  Return codes are chosen by what 2.0.11 does with
 * them: BASIC_AUTH answers SUCCESS or AUTH, ACL checks SUCCESS or ACL_DENIED
 * (any other code punishes the publisher), the rest SUCCESS; never DEFER.
 */
#include "acl.h"
#include "token.h"

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct plugin {
    mosquitto_plugin_id_t *id; /* the broker's */
    struct options *options;
    struct keys *keys;
};

static enum refusal admit(struct plugin *pl, struct mosquitto_evt_basic_auth *ev)
{
    struct token tok;
    struct principal p;
    char id[PRINCIPAL_ID_MAX + 1], given[PRINCIPAL_ID_MAX + 1];

    if (!ev->password || !*ev->password)
        return REFUSAL_NO_TOKEN;
    enum refusal why = token_verify(pl->keys, ev->password, strlen(ev->password),
                                    (size_t)pl->options->max_token_bytes, time(NULL), &tok);
    if (why)
        return why;
    if (!principal_parse(tok.name, &p))
        return REFUSAL_INTERNAL;
    memcpy(id, p.id, p.id_len);
    id[p.id_len] = '\0';
    if (ev->username && *ev->username && strcmp(ev->username, id) != 0 &&
        (!principal_encode(ev->username, given, sizeof(given)) || strcmp(given, id) != 0))
        return REFUSAL_USERNAME;
    if (!principal_owns_client_id(&p, mosquitto_client_id(ev->client)))
        return REFUSAL_CLIENT_ID;
    if (mosquitto_set_username(ev->client, tok.name) != MOSQ_ERR_SUCCESS)
        return REFUSAL_INTERNAL;
    return REFUSAL_NONE;
}

static int on_basic_auth(int event, void *data, void *userdata)
{
    struct mosquitto_evt_basic_auth *ev = data;
    struct principal p;
    (void)event;

    /* SIGHUP asks again for sessions that we admitted; a client cannot send byte 0x01. */
    if (ev->username && *ev->username == '\x01')
        return principal_parse(ev->username, &p) ? MOSQ_ERR_SUCCESS : MOSQ_ERR_AUTH;
    enum refusal why = admit(userdata, ev);
    if (!why)
        return MOSQ_ERR_SUCCESS;
    mosquitto_log_printf(MOSQ_LOG_NOTICE, "tocsin: refused (%s): %s", refusal_name(why),
                         refusal_text(why));
    return MOSQ_ERR_AUTH;
}

static int on_acl_check(int event, void *data, void *userdata)
{
    const struct mosquitto_evt_acl_check *ev = data;
    struct principal p;
    bool may = false;
    (void)event, (void)userdata;

    if (ev->topic && principal_parse(mosquitto_client_username(ev->client), &p)) {
        if (ev->access == MOSQ_ACL_READ)
            may = acl_may_read(&p, ev->topic);
        else if (ev->access == MOSQ_ACL_WRITE)
            may = acl_may_write(&p, ev->topic, ev->qos, ev->retain);
        else if (ev->access == MOSQ_ACL_SUBSCRIBE)
            may = acl_may_subscribe(&p, ev->topic);
        else if (ev->access == MOSQ_ACL_UNSUBSCRIBE)
            may = true; /* its own subscriptions only */
    }
    return may ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED;
}

int mosquitto_plugin_version(int supported_version_count, const int *supported_versions)
{
    for (int i = 0; i < supported_version_count; i++)
        if (supported_versions[i] == MOSQ_PLUGIN_VERSION)
            return MOSQ_PLUGIN_VERSION;
    return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **userdata,
                          struct mosquitto_opt *opts, int opt_count)
{
    char err[FILE_ERROR_SIZE] = "out of memory";
    struct plugin *pl = calloc(1, sizeof(*pl));

    *userdata = pl;
    if (!pl || !(pl->options = options_new()))
        goto fail;
    pl->id = identifier;
    for (int i = 0; i < opt_count; i++)
        if (options_set(pl->options, opts[i].key, opts[i].value, err) != 0)
            goto fail;
    if (options_finish(pl->options, err) != 0 || !(pl->keys = keys_load(pl->options, err)))
        goto fail;
    if (mosquitto_callback_register(identifier, MOSQ_EVT_BASIC_AUTH, on_basic_auth, NULL, pl) ||
        mosquitto_callback_register(identifier, MOSQ_EVT_ACL_CHECK, on_acl_check, NULL, pl))
        goto fail;
    return MOSQ_ERR_SUCCESS;
fail:
    mosquitto_log_printf(MOSQ_LOG_ERR, "tocsin: not starting: %s", err);
    mosquitto_plugin_cleanup(pl, NULL, 0);
    *userdata = NULL;
    return MOSQ_ERR_INVAL;
}

int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *opts, int opt_count)
{
    struct plugin *pl = userdata;
    (void)opts, (void)opt_count;

    if (!pl)
        return MOSQ_ERR_SUCCESS;
    if (pl->id) {
        mosquitto_callback_unregister(pl->id, MOSQ_EVT_ACL_CHECK, on_acl_check, NULL);
        mosquitto_callback_unregister(pl->id, MOSQ_EVT_BASIC_AUTH, on_basic_auth, NULL);
    }
    keys_free(pl->keys);
    options_free(pl->options);
    free(pl);
    return MOSQ_ERR_SUCCESS;
}
