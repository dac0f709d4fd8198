/* SPDX-License-Identifier: MIT */
/*
 * log - sends nothing, and says so loudly: for working without credentials
 *
 * An adapter has one channel, hence one variant per channel: log_sms, log_push, ...  Each
 * delivery is a warning in the log and ends as accepted.  Content is checked as for a real
 * provider, so that what the log takes is not refused later for being malformed.
 */
#include "base/alloc.h"
#include "base/log.h"
#include "channels/adapters.h"
#include "channels/call.h"
#include "core/id.h"
#include <stdio.h>
#include <stdlib.h>

static const struct adapter_key KEYS[] = {{0}};

static void log_close(void *state)
{
    endpoint_fini(state);
    free(state);
}

static int log_open(const struct adapter_env *env, const struct adapter_settings *from,
                    void **state, char *why, size_t why_bytes)
{
    struct endpoint *endpoint = xcalloc(1, sizeof *endpoint);
    struct settings settings;

    settings_begin(&settings, KEYS, from, why, why_bytes);
    endpoint_init(endpoint, env, &settings);
    log_warn("destination.sends_nothing", LOG_STR("destination", endpoint->name),
             LOG_STR("why", "its adapter only logs: nobody will get what is sent here"));
    *state = endpoint;
    return 0;
}

static int log_send(struct endpoint *endpoint, enum channel channel, const struct job *job,
                    adapter_outcome_fn *on_outcome, void *ctx)
{
    struct call *call = call_new(endpoint, channel, job, on_outcome, ctx);
    char id[ID_TEXT_BYTES];

    if (!call)
        return 0;
    log_warn("delivery.not_sent", LOG_ID("delivery", job->delivery),
             LOG_STR("destination", endpoint->name), LOG_STR("channel", channel_name(channel)),
             LOG_STR("type", job->type), LOG_ADDR("to", job->target));
    call_refuse(call, OUTCOME_ACCEPTED, REASON_NONE, "logged, not sent");
    (void)snprintf(call->refusal->provider_id, sizeof call->refusal->provider_id, "log-%s",
                   id_format(job->delivery, id));
    return 0;
}

#define LOG_ADAPTER(variable, suffix, medium)                                                    \
    static int send_##suffix(void *state, const struct job *job, adapter_outcome_fn *on_outcome, \
                             void *ctx)                                                          \
    {                                                                                            \
        return log_send(state, medium, job, on_outcome, ctx);                                    \
    }                                                                                            \
    const struct adapter variable = {.name = "log_" #suffix,                                     \
                                     .channel = (medium),                                        \
                                     .keys = KEYS,                                               \
                                     .is_idempotent = true,                                      \
                                     .open = log_open,                                           \
                                     .close = log_close,                                         \
                                     .send = send_##suffix}

LOG_ADAPTER(adapter_log_push, push, CHANNEL_PUSH);
LOG_ADAPTER(adapter_log_sms, sms, CHANNEL_SMS);
LOG_ADAPTER(adapter_log_email, email, CHANNEL_EMAIL);
LOG_ADAPTER(adapter_log_chat, chat, CHANNEL_CHAT);
LOG_ADAPTER(adapter_log_webhook, webhook, CHANNEL_WEBHOOK);
