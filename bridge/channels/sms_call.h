/* SPDX-License-Identifier: MIT */
/*
 * sms_call - the start of every SMS attempt: number, text, segments
 *
 * The text is content.sms.text, else the body, else the title.  A number that is not E.164 is a
 * dead target; a text of more than max_segments parts is refused before it costs money.
 */
#ifndef TOCSIN_CHANNELS_SMS_CALL_H
#define TOCSIN_CHANNELS_SMS_CALL_H
#include "channels/call.h"

struct sms_rules {
    int max_segments; /* 0: no limit */
    bool is_transliterated;
};

#define SMS_KEYS                                                                    \
    {"max_segments", ADAPTER_NUMBER, false, "10",                                   \
     "refuse texts of more parts than this; 0 is no limit"},                        \
    {                                                                               \
        "transliterate", ADAPTER_BOOL, false, "false",                              \
            "write typographic quotes, dashes and the like in GSM-7, to save parts" \
    }

void sms_rules_init(struct sms_rules *rules, struct settings *settings);
/* As call_new(); the text lives as long as the call's arena. */
struct call *sms_call_new(const struct endpoint *endpoint, const struct sms_rules *rules,
                          const struct job *job, adapter_outcome_fn *on_outcome, void *ctx,
                          const char **text);

#endif
