/* SPDX-License-Identifier: MIT */
#include "channels/callback.h"
#include "base/alloc.h"
#include "channels/callback_tools.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct callback_reader *const READERS[] = {
    &callback_twilio,  &callback_bird, &callback_messagebird, &callback_vonage,  &callback_sendgrid,
    &callback_mailgun, &callback_ses,  &callback_postmark,    &callback_whatsapp};

const struct callback_reader *callback_find(const char *adapter)
{
    for (size_t i = 0; i < sizeof READERS / sizeof READERS[0]; i++) {
        if (strcmp(READERS[i]->adapter, adapter) == 0)
            return READERS[i];
    }
    return NULL;
}

static const char *text(const struct adapter_settings *settings, const char *key)
{
    const char *value = settings->get(settings->ctx, key);

    return value && *value ? value : NULL;
}

static char *copy(const struct adapter_settings *settings, const char *key)
{
    const char *value = text(settings, key);

    return value ? xstrdup(value) : NULL;
}

static int read_secret(struct secret *secret, const struct adapter_settings *settings,
                       const char *key, char *why, size_t why_bytes)
{
    const char *path = text(settings, key);
    char problem[256] = "";
    int err;

    if (!path)
        return 0;
    err = secret_read_file(secret, path, problem, sizeof problem);
    if (!err && !secret->length)
        err = ERR_INVALID;
    if (err)
        (void)snprintf(why, why_bytes, "destination %s: %s: %s", settings->name, key,
                       problem[0] ? problem : "the file is empty");
    return err;
}

/* Twilio signs with the account's token, which is also what we authenticate with. */
static const char *secret_key(const struct callback_reader *reader,
                              const struct adapter_settings *settings)
{
    if (reader == &callback_twilio && !text(settings, CALLBACK_SECRET_KEY) &&
        !text(settings, "api_key_sid"))
        return "auth_token_file";
    return CALLBACK_SECRET_KEY;
}

bool callback_is_configured(const char *adapter, const struct adapter_settings *settings)
{
    const struct callback_reader *reader = callback_find(adapter);

    return reader && text(settings, reader->is_known_by_topic ? "callback_topic_arn"
                                                              : secret_key(reader, settings));
}

int callback_open(struct callback_account *account, const char *adapter,
                  const struct adapter_settings *settings, char *why, size_t why_bytes)
{
    const struct callback_reader *reader = callback_find(adapter);
    int err;

    memset(account, 0, sizeof *account);
    if (!reader)
        return 0;
    account->user = copy(settings, "callback_user");
    if (!account->user)
        account->user = xstrdup("tocsin");
    account->api_key = copy(settings, "api_key");
    account->topic = copy(settings, "callback_topic_arn");
    account->sns_url = copy(settings, "callback_sns_url");
    account->ca_file = copy(settings, "ca_file");
    err = read_secret(&account->secret, settings, secret_key(reader, settings), why, why_bytes);
    if (!err)
        err = read_secret(&account->verify_token, settings, "callback_verify_file", why, why_bytes);
    if (err)
        callback_close(account);
    else if (reader->is_known_by_topic ? account->topic != NULL : account->secret.length > 0)
        account->reader = reader;
    return err;
}

void callback_close(struct callback_account *account)
{
    secret_fini(&account->secret);
    secret_fini(&account->verify_token);
    free(account->user);
    free(account->api_key);
    free(account->topic);
    free(account->sns_url);
    free(account->ca_file);
    memset(account, 0, sizeof *account);
}
