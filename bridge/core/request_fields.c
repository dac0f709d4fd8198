/* SPDX-License-Identifier: MIT */
/* What is to be told, how and when: the other members of a request. */
#include "core/request_draft.h"

#include <math.h>

#include "core/syntax.h"

#include <string.h>

#define SECOND_MS      INT64_C(1000)
#define HOUR_MS        (3600 * SECOND_MS)
#define DAY_MS         (24 * HOUR_MS)
#define TITLE_MAX      1000
#define BODY_MAX       32768
#define NAME_MAX       128
#define SKIP_MAX       366
#define OCCURRENCE_MAX 100000

static struct request *request_of(struct fields *fields)
{
    struct request_draft *draft = fields->out;

    return draft->request;
}

static void keep(struct fields *fields, enum kept which, const struct json *value)
{
    struct request_draft *draft = fields->out;

    draft->kept[which] = value;
}

static bool decode_id(struct fields *fields, const struct json *value)
{
    static const char *const detail = "id is text of 1 to 128 bytes";

    if (value->kind == JSON_KIND_STRING && value->length > REQUEST_ID_MAX)
        return fields_reject(fields, REJECT_TOO_LARGE, value, detail);
    return fields_text(fields, value, 1, REQUEST_ID_MAX, NULL, detail, NULL);
}

static bool decode_type(struct fields *fields, const struct json *value)
{
    keep(fields, KEPT_TYPE, value);
    return fields_text(
        fields, value, 1, NAME_MAX, syntax_is_type,
        "type is dotted words of a-z, 0-9 and _, at most 128 characters: order.ready",
        &request_of(fields)->type);
}

static bool decode_channels(struct fields *fields, const struct json *value)
{
    static const char *const detail =
        "channels lists, each at most once, in_app, push, sms, email, chat, webhook";
    struct request *request = request_of(fields);

    if (value->kind != JSON_KIND_ARRAY || value->count == 0)
        return fields_reject(fields, REJECT_BAD_VALUE, value, detail);
    for (const struct json *at = value->first; at; at = at->next) {
        enum channel channel;

        if (at->kind != JSON_KIND_STRING || channel_parse(at->text, &channel) != 0 ||
            (request->channels & 1U << channel))
            return fields_reject(fields, REJECT_BAD_VALUE, at, detail);
        request->channels |= 1U << channel;
        request->channel_order[request->channel_count++] = channel;
    }
    return true;
}

static bool decode_mode(struct fields *fields, const struct json *value)
{
    static const char *const names[] = {"all", "first", NULL};
    size_t place = 0;

    if (!fields_choice(fields, value, names, "a route is all or first", &place))
        return false;
    request_of(fields)->is_route_first = place == 1;
    return true;
}

static bool decode_escalate_after(struct fields *fields, const struct json *value)
{
    return fields_duration(fields, value, SECOND_MS, 7 * DAY_MS,
                           "escalate_after is a duration of 1s to 7d",
                           &request_of(fields)->escalate_after_ms);
}

static bool decode_route(struct fields *fields, const struct json *value)
{
    static const struct field table[] = {
        {"mode", decode_mode, true},
        {"escalate_after", decode_escalate_after, false},
    };
    struct request *request = request_of(fields);

    request->has_route = true;
    if (value->kind == JSON_KIND_STRING)
        return decode_mode(fields, value);
    if (!fields_decode(fields, value, table, sizeof table / sizeof *table,
                       "route is \"all\", \"first\", or an object with mode and escalate_after"))
        return false;
    if (request->escalate_after_ms >= 0 && !request->is_route_first)
        return fields_reject(fields, REJECT_BAD_VALUE, json_member(value, "escalate_after"),
                             "only the mode first escalates");
    return true;
}

static bool decode_priority(struct fields *fields, const struct json *value)
{
    keep(fields, KEPT_PRIORITY, value);
    if (value->kind != JSON_KIND_STRING ||
        priority_parse(value->text, &request_of(fields)->priority) != 0)
        return fields_reject(fields, REJECT_BAD_VALUE, value,
                             "priority is urgent, high, normal or low");
    return true;
}

static bool decode_title(struct fields *fields, const struct json *value)
{
    keep(fields, KEPT_TITLE, value);
    return fields_text(fields, value, 0, TITLE_MAX, NULL,
                       "title is text of at most 1,000 characters", NULL);
}

static bool decode_body(struct fields *fields, const struct json *value)
{
    keep(fields, KEPT_BODY, value);
    return fields_text(fields, value, 0, BODY_MAX, NULL,
                       "body is text of at most 32,768 characters", NULL);
}

static bool decode_template(struct fields *fields, const struct json *value)
{
    keep(fields, KEPT_TEMPLATE, value);
    return fields_text(fields, value, 1, NAME_MAX, syntax_is_template,
                       "template is a name: dotted words of letters, digits, _ and -, at most "
                       "128 characters",
                       &request_of(fields)->template_name);
}

static bool decode_locale(struct fields *fields, const struct json *value)
{
    keep(fields, KEPT_LOCALE, value);
    return fields_text(fields, value, 2, 64, syntax_is_locale,
                       "locale is a BCP 47 tag such as de or pt-BR", &request_of(fields)->locale);
}

static bool decode_data(struct fields *fields, const struct json *value)
{
    keep(fields, KEPT_DATA, value);
    return value->kind == JSON_KIND_OBJECT ||
           fields_reject(fields, REJECT_BAD_VALUE, value, "data is an object");
}

#define OVERRIDES_MAX 12

/*
 * What content.{channel} may have.  Besides title and body, which every channel has, what its
 * adapters read (channels/content.h).
 */
static const char *const overrides[CHANNEL_COUNT][OVERRIDES_MAX] = {
    [CHANNEL_IN_APP] = {"title", "body"},
    [CHANNEL_PUSH] = {"title", "body", "image", "sound", "badge", "url", "channel_id", "ttl",
                      "data"},
    [CHANNEL_SMS] = {"title", "body", "text", "from"},
    [CHANNEL_EMAIL] = {"title", "body", "subject", "text", "html", "from", "reply_to",
                       "list_unsubscribe", "headers", "attachments"},
    [CHANNEL_CHAT] = {"title", "body", "text", "blocks", "card", "template"},
    [CHANNEL_WEBHOOK] = {"title", "body"},
};
/* An object under the name of an adapter is for that adapter. */
static const char *const adapters[] = {"apns",     "bird",     "fcm",    "mailgun", "messagebird",
                                       "postmark", "sendgrid", "ses",    "slack",   "smtp",
                                       "teams",    "twilio",   "vonage", "webpush", "whatsapp"};

static bool is_of_adapter(const struct json *member)
{
    for (size_t i = 0; i < sizeof adapters / sizeof *adapters; i++)
        if (strcmp(member->key, adapters[i]) == 0)
            return true;
    return false;
}

static bool check_name(struct fields *fields, const struct json *member, enum channel channel)
{
    const char *const *names = overrides[channel];
    const char *meant = NULL;

    for (size_t i = 0; i < OVERRIDES_MAX && names[i]; i++) {
        if (strcmp(member->key, names[i]) == 0)
            return true;
        if (!meant && fields_is_slip(member->key, names[i]))
            meant = names[i];
    }
    if (is_of_adapter(member))
        return member->kind == JSON_KIND_OBJECT ||
               fields_reject(fields, REJECT_BAD_VALUE, member, "this is an object for the adapter");
    return fields_reject(
        fields, REJECT_UNKNOWN_FIELD, member,
        meant ? arena_printf(fields->arena, "there is no such field; is \"%s\" meant?", meant)
              : arena_printf(fields->arena, "content.%s has no such field", channel_name(channel)));
}

static bool check_override(struct fields *fields, const struct json *override, enum channel channel)
{
    static const char *const texts[] = {"title", "body", "subject", "text", "html"};

    for (const struct json *at = override->first; at; at = at->next) {
        if (!check_name(fields, at, channel))
            return false;
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            if (strcmp(at->key, texts[i]) == 0 && at->kind != JSON_KIND_STRING)
                return fields_reject(fields, REJECT_BAD_VALUE, at, "this is text");
    }
    return true;
}

static bool decode_content(struct fields *fields, const struct json *value)
{
    static const char *const detail =
        "content has an object for in_app, push, sms, email, chat or webhook";
    enum channel channel;

    keep(fields, KEPT_CONTENT, value);
    if (value->kind != JSON_KIND_OBJECT)
        return fields_reject(fields, REJECT_BAD_VALUE, value, detail);
    for (const struct json *at = value->first; at; at = at->next) {
        if (channel_parse(at->key, &channel) != 0)
            return fields_reject(fields, REJECT_UNKNOWN_FIELD, at, detail);
        if (at->kind != JSON_KIND_OBJECT)
            return fields_reject(fields, REJECT_BAD_VALUE, at, detail);
        if (!check_override(fields, at, channel))
            return false;
    }
    return true;
}

static bool decode_at(struct fields *fields, const struct json *value)
{
    struct request_draft *draft = fields->out;

    draft->at = value;
    return fields_time(fields, value, "at is an RFC 3339 time with an offset",
                       &draft->request->deliver_at_ms);
}

static bool decode_expires_at(struct fields *fields, const struct json *value)
{
    struct request_draft *draft = fields->out;

    draft->expires_at = value;
    return fields_time(fields, value, "expires_at is an RFC 3339 time with an offset",
                       &draft->request->expires_at_ms);
}

static bool decode_ttl(struct fields *fields, const struct json *value)
{
    struct request_draft *draft = fields->out;

    draft->ttl = value;
    return fields_duration(fields, value, SECOND_MS, 366 * DAY_MS,
                           "ttl is a duration of 1s to 366d: \"30s\", \"2h\" or \"PT2H\"",
                           &draft->ttl_ms);
}

static bool decode_cron(struct fields *fields, const struct json *value)
{
    return fields_text(fields, value, 1, NAME_MAX, syntax_is_cron,
                       "cron is five fields with one space between: minute hour day month weekday",
                       NULL);
}

static bool decode_timezone(struct fields *fields, const struct json *value)
{
    return fields_text(fields, value, 1, 64, syntax_is_timezone,
                       "timezone is an IANA name such as Europe/Berlin", NULL);
}

static bool decode_until(struct fields *fields, const struct json *value)
{
    int64_t until_ms;

    return fields_time(fields, value, "until is an RFC 3339 time with an offset", &until_ms);
}

static bool decode_max_occurrences(struct fields *fields, const struct json *value)
{
    int64_t count;

    return fields_integer(fields, value, 1, OCCURRENCE_MAX,
                          "max_occurrences is an integer from 1 to 100,000", &count);
}

static bool decode_skip(struct fields *fields, const struct json *value)
{
    static const char *const detail = "skip lists at most 366 dates: 2026-12-25";

    if (value->kind != JSON_KIND_ARRAY)
        return fields_reject(fields, REJECT_BAD_VALUE, value, detail);
    if (value->count > SKIP_MAX)
        return fields_reject(fields, REJECT_TOO_LARGE, value, detail);
    for (const struct json *at = value->first; at; at = at->next)
        if (at->kind != JSON_KIND_STRING || !syntax_is_date(at->text))
            return fields_reject(fields, REJECT_BAD_VALUE, at, detail);
    return true;
}

static bool decode_schedule(struct fields *fields, const struct json *value)
{
    static const struct field table[] = {
        {"cron", decode_cron, true},    {"timezone", decode_timezone, false},
        {"until", decode_until, false}, {"max_occurrences", decode_max_occurrences, false},
        {"skip", decode_skip, false},
    };

    keep(fields, KEPT_SCHEDULE, value);
    request_of(fields)->has_schedule = true;
    return fields_decode(
        fields, value, table, sizeof table / sizeof *table,
        "schedule is an object with cron, timezone, until, max_occurrences and skip");
}

static bool decode_collapse_key(struct fields *fields, const struct json *value)
{
    return fields_text(fields, value, 1, NAME_MAX, NULL,
                       "collapse_key is text of 1 to 128 characters",
                       &request_of(fields)->collapse_key);
}

static bool decode_group_key(struct fields *fields, const struct json *value)
{
    return fields_text(fields, value, 1, NAME_MAX, NULL, "key is text of 1 to 128 characters",
                       NULL);
}

static bool decode_group_window(struct fields *fields, const struct json *value)
{
    int64_t window_ms;

    return fields_duration(fields, value, SECOND_MS, 7 * DAY_MS, "window is a duration of 1s to 7d",
                           &window_ms);
}

static bool decode_group_max(struct fields *fields, const struct json *value)
{
    int64_t max;

    return fields_integer(fields, value, 1, 1000, "max is an integer from 1 to 1,000", &max);
}

static bool decode_group(struct fields *fields, const struct json *value)
{
    static const struct field table[] = {
        {"key", decode_group_key, true},
        {"window", decode_group_window, false},
        {"max", decode_group_max, false},
    };

    keep(fields, KEPT_GROUP, value);
    request_of(fields)->has_group = true;
    return fields_decode(fields, value, table, sizeof table / sizeof *table,
                         "group is an object with key, window and max");
}

static bool decode_attempts(struct fields *fields, const struct json *value)
{
    int64_t attempts = 0;

    if (!fields_integer(fields, value, 1, 50, "attempts is an integer from 1 to 50", &attempts))
        return false;
    request_of(fields)->retry.attempts = (int)attempts;
    return true;
}

static bool decode_base(struct fields *fields, const struct json *value)
{
    return fields_duration(fields, value, 100, HOUR_MS, "base is a duration of 100ms to 1h",
                           &request_of(fields)->retry.base_ms);
}

static bool decode_max(struct fields *fields, const struct json *value)
{
    return fields_duration(fields, value, 100, 7 * DAY_MS, "max is a duration of 100ms to 7d",
                           &request_of(fields)->retry.max_ms);
}

static bool decode_factor(struct fields *fields, const struct json *value)
{
    double factor = value->kind == JSON_KIND_INTEGER ? (double)value->value.integer
                    : value->kind == JSON_KIND_REAL  ? value->value.real
                                                     : NAN;

    if (!(factor >= 1 && factor <= 10))
        return fields_reject(fields, REJECT_BAD_VALUE, value, "factor is a number from 1 to 10");
    request_of(fields)->retry.factor = factor;
    return true;
}

static bool decode_jitter(struct fields *fields, const struct json *value)
{
    bool is_jittered = false;

    if (!fields_boolean(fields, value, "jitter is true or false", &is_jittered))
        return false;
    request_of(fields)->retry.jitter = is_jittered;
    return true;
}

static bool decode_retry(struct fields *fields, const struct json *value)
{
    static const struct field table[] = {
        {"attempts", decode_attempts, false}, {"base", decode_base, false},
        {"factor", decode_factor, false},     {"max", decode_max, false},
        {"jitter", decode_jitter, false},
    };
    const struct retry_override *retry = &request_of(fields)->retry;

    if (!fields_decode(fields, value, table, sizeof table / sizeof *table,
                       "retry is an object with attempts, base, factor, max and jitter"))
        return false;
    if (retry->base_ms >= 0 && retry->max_ms >= 0 && retry->max_ms < retry->base_ms)
        return fields_reject(fields, REJECT_BAD_VALUE, json_member(value, "max"),
                             "max is not shorter than base");
    return true;
}

static bool decode_campaign(struct fields *fields, const struct json *value)
{
    keep(fields, KEPT_CAMPAIGN, value);
    return fields_text(fields, value, 1, NAME_MAX, NULL, "campaign is text of 1 to 128 characters",
                       &request_of(fields)->campaign);
}

static bool decode_receipts(struct fields *fields, const struct json *value)
{
    static const char *const names[] = {
        [RECEIPTS_FINAL] = "final", [RECEIPTS_ALL] = "all", [RECEIPTS_NONE] = "none", NULL};
    size_t place = 0;

    if (!fields_choice(fields, value, names, "receipts is final, all or none", &place))
        return false;
    request_of(fields)->receipts = (enum receipts_wanted)place;
    return true;
}

bool request_decode_fields(struct fields *fields, const struct json *item)
{
    static const struct field table[] = {
        {"id", decode_id, true},
        {"type", decode_type, true},
        {"to", request_decode_to, true},
        {"title", decode_title, false},
        {"body", decode_body, false},
        {"data", decode_data, false},
        {"channels", decode_channels, false},
        {"priority", decode_priority, false},
        {"receipts", decode_receipts, false},
        {"ttl", decode_ttl, false},
        {"expires_at", decode_expires_at, false},
        {"collapse_key", decode_collapse_key, false},
        {"template", decode_template, false},
        {"locale", decode_locale, false},
        {"content", decode_content, false},
        {"route", decode_route, false},
        {"at", decode_at, false},
        {"schedule", decode_schedule, false},
        {"group", decode_group, false},
        {"retry", decode_retry, false},
        {"campaign", decode_campaign, false},
    };

    return fields_decode(fields, item, table, sizeof table / sizeof *table,
                         "a request is an object");
}
