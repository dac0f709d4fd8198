/* SPDX-License-Identifier: MIT */
#include "channels/chat_url.h"
#include "base/alloc.h"
#include <stdlib.h>
#include <string.h>

void chat_url_close(void *state)
{
    struct chat_url *chat = state;

    secret_fini(&chat->url);
    endpoint_fini(&chat->endpoint);
    free(chat);
}

static bool is_url(const char *text)
{
    return strncmp(text, "https://", 8) == 0 || strncmp(text, "http://", 7) == 0;
}

int chat_url_open(const struct adapter_env *env, const struct adapter_settings *from,
                  const struct adapter_key *keys, void **state, char *why, size_t why_bytes)
{
    struct chat_url *chat = xcalloc(1, sizeof *chat);
    struct settings settings;

    settings_begin(&settings, keys, from, why, why_bytes);
    endpoint_init(&chat->endpoint, env, &settings);
    chat->endpoint.is_public_only = !settings_bool(&settings, "allow_private");
    chat->endpoint.is_target_only = true;
    settings_bearer(&settings, "webhook_url_file", "", &chat->url);
    if (chat->url.bytes && !is_url(chat->url.bytes))
        settings_fail(&settings, "webhook_url_file must hold an https:// URL");
    if (settings.err)
        chat_url_close(chat);
    else
        *state = chat;
    return settings.err;
}

struct call *chat_url_call(struct chat_url *chat, const struct job *job,
                           adapter_outcome_fn *on_outcome, void *ctx, const char **url)
{
    struct call *call = call_new(&chat->endpoint, CHANNEL_CHAT, job, on_outcome, ctx);

    if (!call)
        return NULL;
    *url = is_url(job->target) ? job->target : chat->url.bytes;
    call->is_shared_target = *url == chat->url.bytes;
    if (*url)
        return call;
    call->is_shared_target = false;
    call_refuse_target(call, "not a URL, and the destination has no webhook_url_file");
    return NULL;
}
