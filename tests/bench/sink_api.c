/* SPDX-License-Identifier: MIT */
#include "sink_api.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PATH "" /* as a kind's key: the path names the target */

/* One kind of API: how its path looks, what it answers, where a request names its target. */
struct sink_kind {
    const char *name;
    const char *prefix;
    const char *part; /* must also occur in the path, or NULL */
    const char *key;  /* what stands before the target in the body, or NULL for the
                         whole body */
    int status;
    const char *header; /* an extra one, or NULL */
    const char *value;  /* its value, with one %032llx */
    const char *body;   /* with one %032llx, or NULL */
};

static const struct sink_kind KINDS[] = {
    {"twilio", "/2010-04-01/", "/Messages.json", "To=", 201, NULL, NULL,
     "{\"sid\":\"SM%032llx\",\"status\":\"queued\",\"num_segments\":\"1\",\"error_code\":null,"
     "\"error_message\":null,\"api_version\":\"2010-04-01\"}"},
    {"fcm", "/v1/projects/", "messages:send", "\"token\":\"", 200, NULL, NULL,
     "{\"name\":\"projects/sink/messages/0:%032llx\"}"},
    {"token", "/token", NULL, NULL, 200, NULL, NULL,
     "{\"access_token\":\"ya29.%032llx\",\"expires_in\":3599,\"token_type\":\"Bearer\"}"},
    {"sendgrid", "/v3/mail/send", NULL, "\"email\":\"", 202, "x-message-id", "%032llx", NULL},
    {"mailgun", "/v3/", "/messages", NULL, 200, NULL, NULL,
     "{\"id\":\"<%032llx@sink>\",\"message\":\"Queued. Thank you.\"}"},
    {"apns", "/3/device/", NULL, PATH, 200, "apns-id", "%032llx", NULL},
    {"postmark", "/email", NULL, "\"To\":\"", 200, NULL, NULL,
     "{\"MessageID\":\"%032llx\",\"ErrorCode\":0,\"Message\":\"OK\"}"},
    {"ses", "/v2/email/", NULL, "\"ToAddresses\":[\"", 200, NULL, NULL,
     "{\"MessageId\":\"%032llx\"}"},
    {"vonage", "/v1/messages", NULL, "\"to\":\"", 202, NULL, NULL,
     "{\"message_uuid\":\"%032llx\"}"},
    {"bird", "/v1/sms/messages", NULL, "\"to\":\"", 202, NULL, NULL,
     "{\"id\":\"%032llx\",\"status\":\"accepted\"}"},
    {"messagebird", "/messages", NULL, "\"recipients\":[", 201, NULL, NULL,
     "{\"id\":\"%032llx\",\"recipients\":{\"items\":[]}}"},
    {"whatsapp", "/v2", "/messages", "\"to\":\"", 200, NULL, NULL,
     "{\"messaging_product\":\"whatsapp\",\"messages\":[{\"id\":\"wamid.%032llx\"}]}"},
    {"slack", "/services/", NULL, NULL, 200, NULL, NULL, "ok"},
    {"webpush", "/push/", NULL, PATH, 201, "location", "/message/%032llx", NULL},
    {"teams", "/powerautomate/", NULL, NULL, 202, NULL, NULL, NULL},
    {"smtp", "/_smtp", NULL, NULL, 250, NULL, NULL, "%032llx"},
    {"webhook", "/", NULL, NULL, 204, NULL, NULL, NULL},
};
_Static_assert(sizeof(KINDS) / sizeof(KINDS[0]) == SINK_KINDS, "one tally for each kind");

static bool starts_with(const char *text, size_t len, const char *prefix)
{
    size_t n = strlen(prefix);

    return len >= n && memcmp(text, prefix, n) == 0;
}

const struct sink_kind *sink_api_kind(const char *path, size_t len)
{
    for (size_t i = 0; i + 1 < SINK_KINDS; i++)
        if (starts_with(path, len, KINDS[i].prefix) &&
            (KINDS[i].part == NULL ||
             memmem(path, len, KINDS[i].part, strlen(KINDS[i].part)) != NULL))
            return &KINDS[i];
    return &KINDS[SINK_KINDS - 1];
}

/* The target that a body names, up to the character that ends it; NULL when it
 * names none. */
static const char *target(const struct sink_kind *kind, const char *body, size_t body_len,
                          size_t *len)
{
    const char *at =
        kind->key && *kind->key ? memmem(body, body_len, kind->key, strlen(kind->key)) : NULL;

    if (at == NULL)
        return NULL;
    at += strlen(kind->key);
    for (*len = 0; at + *len < body + body_len; ++*len)
        if (at[*len] == '&' || at[*len] == '"' || at[*len] == ']')
            break;
    return at;
}

void sink_api_count(struct sink_api *api, const struct sink_kind *kind, const char *path,
                    size_t path_len, const char *key, size_t key_len, const char *body,
                    size_t body_len)
{
    struct sink_tally *tally = &api->tallies[kind - KINDS];

    tally->requests++;
    if (key == NULL)
        key = target(kind, body, body_len, &key_len);
    if (key == NULL && kind->key != NULL && *kind->key == '\0') {
        key = path;
        key_len = path_len;
    }
    if (key != NULL && !sink_keys_add(&tally->keys, key, key_len))
        tally->repeats++;
    sink_keys_add(&tally->bodies, body, body_len);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the formats are those of KINDS above */
void sink_api_reply(struct sink_api *api, const struct sink_kind *kind, struct sink_reply *reply)
{
    unsigned long long serial = ++api->serial;

    reply->status = kind->status;
    reply->header = kind->header;
    reply->value[0] = reply->body[0] = '\0';
    if (kind->header != NULL)
        snprintf(reply->value, sizeof(reply->value), kind->value, serial);
    if (kind->body != NULL)
        snprintf(reply->body, sizeof(reply->body), kind->body, serial);
}
#pragma GCC diagnostic pop

size_t sink_api_answer(struct sink_api *api, const struct sink_kind *kind,
                       char text[SINK_ANSWER_MAX])
{
    struct sink_reply reply;
    char header[SINK_PART_MAX + 32] = "";
    int n;

    sink_api_reply(api, kind, &reply);
    if (reply.header != NULL)
        snprintf(header, sizeof(header), "%s: %s\r\n", reply.header, reply.value);
    if (reply.status == 204)
        n = snprintf(text, SINK_ANSWER_MAX, "HTTP/1.1 204 No Content\r\n%s\r\n", header);
    else
        n = snprintf(text, SINK_ANSWER_MAX,
                     "HTTP/1.1 %d OK\r\n%scontent-type: application/json\r\n"
                     "content-length: %zu\r\n\r\n%s",
                     reply.status, header, strlen(reply.body), reply.body);
    return n > 0 ? (size_t)n : 0;
}

static size_t append(char *text, size_t at, size_t size, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static size_t append(char *text, size_t at, size_t size, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text + at, size - at, format, args);
    va_end(args);
    return n > 0 && at + (size_t)n < size ? at + (size_t)n : size - 1;
}

size_t sink_api_stats(const struct sink_api *api, char *text, size_t size)
{
    uint64_t distinct = 0, bodies = 0, repeats = 0;
    const char *comma = "";
    size_t at = 0;

    for (size_t i = 0; i < SINK_KINDS; i++) {
        distinct += api->tallies[i].keys.count;
        bodies += api->tallies[i].bodies.count;
        repeats += api->tallies[i].repeats;
    }
    at = append(
        text, at, size, "\"distinct\":%llu,\"repeats\":%llu,\"distinct_bodies\":%llu,\"kinds\":{",
        (unsigned long long)distinct, (unsigned long long)repeats, (unsigned long long)bodies);
    for (size_t i = 0; i < SINK_KINDS; i++) {
        const struct sink_tally *tally = &api->tallies[i];

        if (tally->requests == 0)
            continue;
        at = append(text, at, size,
                    "%s\"%s\":{\"requests\":%llu,\"distinct\":%zu,\"repeats\":%llu,"
                    "\"distinct_bodies\":%zu}",
                    comma, KINDS[i].name, (unsigned long long)tally->requests, tally->keys.count,
                    (unsigned long long)tally->repeats, tally->bodies.count);
        comma = ",";
    }
    return append(text, at, size, "}");
}

void sink_api_reset(struct sink_api *api)
{
    for (size_t i = 0; i < SINK_KINDS; i++) {
        sink_keys_clear(&api->tallies[i].keys);
        sink_keys_clear(&api->tallies[i].bodies);
        api->tallies[i] = (struct sink_tally){0};
    }
}
