/* SPDX-License-Identifier: MIT */
/*
 * sms_call - the start of every SMS attempt: number, text, segments
 *
 * The text is content.sms.text, else the body, else the title.  A number that is not E.164 is a
 * dead target; a text of more than max_segments parts is refused before it costs money.  With
 * transliterate, typographic characters become their GSM-7 likenesses; a text that needs UCS-2
 * all the same keeps its own.
 */
#ifndef TOCSIN_CHANNELS_SMS_CALL_H
#define TOCSIN_CHANNELS_SMS_CALL_H
#include "channels/call.h"

struct sms_rules {
    int max_segments; /* 0: no limit */
    bool is_transliterated;
};

struct sms_text {
    const char *text; /* lives as long as the call's arena */
    bool is_ucs2;
};

#define SMS_KEYS                                                                    \
    {"max_segments", ADAPTER_NUMBER, false, "10",                                   \
     "refuse texts of more parts than this; 0 is no limit"},                        \
    {                                                                               \
        "transliterate", ADAPTER_BOOL, false, "false",                              \
            "write typographic quotes, dashes and the like in GSM-7, to save parts" \
    }

void sms_rules_init(struct sms_rules *rules, struct settings *settings);
/* As call_new(). */
struct call *sms_call_new(struct endpoint *endpoint, const struct sms_rules *rules,
                          const struct job *job, adapter_outcome_fn *on_outcome, void *ctx,
                          struct sms_text *text);
/*
 * For how many seconds a provider may try to deliver: validity_s as configured (0: not), or what is
 * left until the notification expires, whichever is less, but no less than least_s.  0: nothing
 * needs to be said; so it is from most_s on, the provider's own longest or default time.
 */
int64_t sms_validity_s(const struct call *call, int64_t validity_s, int64_t least_s,
                       int64_t most_s);
/* E.164: a plus and 7 to 15 digits, the first not 0. */
bool sms_number_is_valid(const char *number);
/* The text in GSM-7 where a likeness is known; exposed for its tests. */
void sms_transliterate(struct buf *out, const char *text);

#endif
