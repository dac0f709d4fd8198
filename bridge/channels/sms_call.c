/* SPDX-License-Identifier: MIT */
#include "channels/sms_call.h"
#include <string.h>

void sms_rules_init(struct sms_rules *rules, struct settings *settings)
{
    int64_t most = settings_number(settings, "max_segments", 0);

    if (most < 0 || most > 255)
        settings_fail(settings, "max_segments must be between 0 and 255");
    rules->max_segments = (int)most;
    rules->is_transliterated = settings_bool(settings, "transliterate");
}

static bool is_e164(const char *number)
{
    size_t digits = number[0] == '+' ? strspn(number + 1, "0123456789") : 0;

    return digits >= 7 && digits <= 15 && number[1] != '0' && number[1 + digits] == '\0';
}

struct call *sms_call_new(const struct endpoint *endpoint, const struct sms_rules *rules,
                          const struct job *job, adapter_outcome_fn *on_outcome, void *ctx,
                          const char **text)
{
    struct call *call = call_new(endpoint, CHANNEL_SMS, job, on_outcome, ctx);

    if (!call)
        return NULL;
    *text = call->content.body ? call->content.body : call->content.title;
    if (!is_e164(job->target)) {
        call_refuse(call, OUTCOME_DEAD_TARGET, REASON_TARGET_INVALID, "not an E.164 number");
        return NULL;
    }
    if (!*text || !**text) {
        call_refuse(call, OUTCOME_PERMANENT, REASON_CONTENT_INVALID,
                    "an SMS needs a body or content.sms.text");
        return NULL;
    }
    (void)rules;
    return call;
}
