/* SPDX-License-Identifier: MIT */
#include "channels/sms_call.h"
#include "core/sms.h"
#include <string.h>

static const struct {
    const char *from, *to;
} LIKENESSES[] = {
    {"\xe2\x80\x98", "'"},
    {"\xe2\x80\x99", "'"},
    {"\xe2\x80\x9a", "'"},
    {"\xe2\x80\x9c", "\""},
    {"\xe2\x80\x9d", "\""},
    {"\xe2\x80\x9e", "\""},
    {"\xc2\xab", "\""},
    {"\xc2\xbb", "\""},
    {"\xe2\x80\xb9", "'"},
    {"\xe2\x80\xba", "'"},
    {"\xe2\x80\x90", "-"},
    {"\xe2\x80\x91", "-"},
    {"\xe2\x80\x92", "-"},
    {"\xe2\x80\x93", "-"},
    {"\xe2\x80\x94", "-"},
    {"\xe2\x88\x92", "-"},
    {"\xe2\x80\xa6", "..."},
    {"\xe2\x80\xa2", "-"},
    {"\xc2\xa0", " "},
    {"\xe2\x80\xaf", " "},
    {"\xe2\x80\x89", " "},
    {"\xe2\x80\x8b", ""},
    {"\xef\xbb\xbf", ""},
    {"\t", " "},
    {"`", "'"},
    {"\xc2\xb4", "'"},
    {"\xc3\xa7", "\xc3\x87"},
    {"\xc3\x81", "A"},
    {"\xc3\xa1", "a"},
    {"\xc3\xad", "i"},
    {"\xc3\xb3", "o"},
    {"\xc3\xba", "u"},
    {"\xc3\xa2", "a"},
    {"\xc3\xaa", "e"},
    {"\xc3\xab", "e"},
    {"\xc3\xae", "i"},
    {"\xc3\xaf", "i"},
    {"\xc3\xb4", "o"},
    {"\xc3\xbb", "u"},
};

/* A number with or without +, a short code, or a name; "whatsapp:+..." and the like are theirs. */
static bool is_sender(const char *from)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const char *digits = from[0] == '+' ? from + 1 : from;
    size_t count = strspn(digits, "0123456789");

    if (digits[count] == '\0')
        return digits[0] != '0' && count <= 15 && count >= (from[0] == '+' ? 7 : 3);
    return strchr(from, ':') || (strlen(from) <= 11 && strpbrk(from, letters));
}

void sms_rules_init(struct sms_rules *rules, struct settings *settings)
{
    int64_t most = settings_number(settings, "max_segments", 0);
    const char *from = settings_text(settings, "from");

    if (from && !is_sender(from))
        settings_fail(settings,
                      "from must be a number in E.164 (+4915112345678), a short code, or a "
                      "name of at most 11 characters with a letter");

    if (most < 0 || most > 255)
        settings_fail(settings, "max_segments must be between 0 and 255");
    rules->max_segments = (int)most;
    rules->is_transliterated = settings_bool(settings, "transliterate");
}

bool sms_number_is_valid(const char *number)
{
    size_t digits = number[0] == '+' ? strspn(number + 1, "0123456789") : 0;

    return digits >= 7 && digits <= 15 && number[1] != '0' && number[1 + digits] == '\0';
}

void sms_transliterate(struct buf *out, const char *text)
{
    while (*text) {
        size_t i = 0, count = sizeof LIKENESSES / sizeof LIKENESSES[0];

        while (i < count && strncmp(text, LIKENESSES[i].from, strlen(LIKENESSES[i].from)) != 0)
            i++;
        if (i < count) {
            buf_add_text(out, LIKENESSES[i].to);
            text += strlen(LIKENESSES[i].from);
        } else {
            buf_add_char(out, *text++);
        }
    }
}

/* Worth it only when the whole text becomes GSM-7. */
static const char *shorter(struct arena *arena, const char *text)
{
    struct buf out = {0};
    const char *result = text;

    if (!sms_first_beyond_gsm(text, strlen(text)))
        return text;
    sms_transliterate(&out, text);
    if (out.length && !sms_first_beyond_gsm(out.data, out.length))
        result = arena_copy(arena, out.data, out.length);
    buf_fini(&out);
    return result;
}

struct call *sms_call_new(struct endpoint *endpoint, const struct sms_rules *rules,
                          const struct job *job, adapter_outcome_fn *on_outcome, void *ctx,
                          struct sms_text *text)
{
    struct call *call = call_new(endpoint, CHANNEL_SMS, job, on_outcome, ctx);
    struct sms_size size;
    const char *body;

    if (!call)
        return NULL;
    body = call->content.body ? call->content.body : call->content.title;
    if (!sms_number_is_valid(job->target)) {
        call_refuse_target(call, "not an E.164 number");
        return NULL;
    }
    if (!body || !*body) {
        call_refuse(call, OUTCOME_PERMANENT, REASON_CONTENT_INVALID,
                    "an SMS needs a body or content.sms.text");
        return NULL;
    }
    text->text = rules->is_transliterated ? shorter(call->arena, body) : body;
    size = sms_measure(text->text, strlen(text->text));
    text->is_ucs2 = size.is_ucs2;
    call->segments = size.segments;
    if (rules->max_segments && size.segments > rules->max_segments) {
        call_refuse(call, OUTCOME_PERMANENT, REASON_PAYLOAD_TOO_LARGE,
                    "the SMS has more parts than max_segments");
        return NULL;
    }
    return call;
}

int64_t sms_validity_s(const struct call *call, int64_t validity_s, int64_t least_s, int64_t most_s)
{
    int64_t left_s = (call->job->expires_ms - call->endpoint->env.wall_ms()) / 1000;

    if (call->job->expires_ms <= 0 || (validity_s && validity_s < left_s))
        return validity_s;
    if (left_s >= most_s)
        return 0;
    return left_s < least_s ? least_s : left_s;
}
