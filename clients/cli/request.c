/* SPDX-License-Identifier: MIT */
#include "request.h"

#include "exact.h"
#include "ids.h"
#include "say.h"

#include <stdlib.h>
#include <string.h>

const struct opt request_options[] = {
    {"id", OPT_STRING, "ID", "idempotency key (default: a new UUID)", NULL},
    {"type", OPT_STRING, "TYPE", "what happened, dotted: order.ready", NULL},
    {"to-user", OPT_LIST, "USER,..", "one user, or several", NULL},
    {"to-role", OPT_STRING, "ROLE", "everybody with this role", NULL},
    {"to-topic", OPT_STRING, "NAME", NULL, NULL},
    {"to-broadcast", OPT_FLAG, NULL, "everybody", NULL},
    {"to-email", OPT_STRING, "ADDRESS", "a mailbox", NULL},
    {"to-phone", OPT_STRING, "NUMBER", "a telephone, as +15550100", NULL},
    {"to-push-token", OPT_STRING, "TOKEN", "one device", NULL},
    {"to-url", OPT_STRING, "URL", "a webhook", NULL},
    {"channels", OPT_LIST, "CHANNEL,..", "in_app push sms email chat webhook", NULL},
    {"route", OPT_STRING, "ROUTE", "every channel, or one after the other until one works",
     "all|first"},
    {"priority", OPT_STRING, "PRIORITY", "how soon it must go out", "urgent|high|normal|low"},
    {"title", OPT_STRING, "TEXT", "title", NULL},
    {"body", OPT_STRING, "TEXT", "body", NULL},
    {"template", OPT_STRING, "NAME", NULL, NULL},
    {"locale", OPT_STRING, "TAG", "language wanted, as en-GB", NULL},
    {"data", OPT_JSON, "JSON", "object for the clients", NULL},
    {"content", OPT_JSON, "JSON", "per-channel overrides", NULL},
    {"at", OPT_STRING, "TIME", "deliver then, as 2026-01-31T12:00:00Z", NULL},
    {"schedule", OPT_JSON, "JSON", NULL, NULL},
    {"expires-at", OPT_STRING, "TIME", "drop it after this time", NULL},
    {"ttl", OPT_STRING, "TIME", "drop it after so long", NULL},
    {"collapse-key", OPT_STRING, "KEY", "replaces an undelivered one with the same key", NULL},
    {"group", OPT_JSON, "JSON", NULL, NULL},
    {"retry", OPT_JSON, "JSON", "retry policy where it differs from the type's", NULL},
    {"campaign", OPT_STRING, "NAME", "for statistics", NULL},
    {"receipts", OPT_STRING, "WHICH", "which receipts to send", "final|all|none"},
    {NULL, OPT_FLAG, NULL, NULL, NULL}};

/* Options whose field is their name with '-' as '_'. */
static const char *const plain[] = {
    "id",       "type",   "channels", "route",    "priority",   "title",        "body",
    "template", "locale", "data",     "content",  "at",         "schedule",     "ttl",
    "group",    "retry",  "campaign", "receipts", "expires-at", "collapse-key", NULL};
/* Options that say whom, and the field of `to` each becomes. */
static const struct {
    const char *option, *field;
} targets[] = {{"to-role", "role"},   {"to-topic", "topic"}, {"to-broadcast", "broadcast"},
               {"to-email", "email"}, {"to-phone", "phone"}, {"to-push-token", "push_token"},
               {"to-url", "url"}};
#define TARGETS (sizeof(targets) / sizeof(targets[0]))

bool request_is_in_options(const json_t *args)
{
    for (const struct opt *o = request_options; o->name; o++)
        if (json_object_get(args, o->name))
            return true;
    return false;
}

/* New, or NULL unless exactly one recipient was named. */
static json_t *recipient(const json_t *args)
{
    json_t *to = json_object();
    json_t *users = json_object_get(args, "to-user");

    if (json_array_size(users) == 1)
        json_object_set(to, "user", json_array_get(users, 0));
    else if (users)
        json_object_set(to, "users", users);
    for (size_t i = 0; i < TARGETS; i++) {
        json_t *value = json_object_get(args, targets[i].option);
        if (value)
            json_object_set(to, targets[i].field, value);
    }
    if (json_object_size(to) == 1)
        return to;
    say_error(json_object_size(to) ? "say whom to notify once only"
                                   : "say whom to notify: --to-user, --to-email, ...");
    json_decref(to);
    return NULL;
}

json_t *request_from_options(const json_t *args)
{
    json_t *request = json_object();
    json_t *to;

    if (!arg_str(args, "type")) {
        say_error("--type is required");
        goto fail;
    }
    to = recipient(args);
    if (!to)
        goto fail;
    json_object_set_new(request, "to", to);
    for (const char *const *name = plain; *name; name++) {
        json_t *value = json_object_get(args, *name);
        char field[32];

        if (!value)
            continue;
        snprintf(field, sizeof(field), "%s", *name);
        for (char *dash = field; (dash = strchr(dash, '-'));)
            *dash = '_';
        json_object_set(request, field, value);
    }
    return request;
fail:
    json_decref(request);
    return NULL;
}

/*
 * One delivery for sure: one address, or one user on one named channel where
 * a user has one inbox or one mailbox. Push may reach several devices, and
 * without `channels` the type's policy decides.
 */
static bool is_single(const json_t *object)
{
    const json_t *to = json_object_get(object, "to");
    const json_t *channels = json_object_get(object, "channels");
    const char *channel = json_string_value(json_array_get(channels, 0));

    if (json_array_size(channels) > 1 || json_object_get(object, "schedule"))
        return false;
    if (json_object_get(to, "email") || json_object_get(to, "phone") ||
        json_object_get(to, "push_token") || json_object_get(to, "url"))
        return true;
    return json_object_get(to, "user") && channel &&
           (strcmp(channel, "in_app") == 0 || strcmp(channel, "email") == 0);
}

static enum receipt_mode receipt_mode(const json_t *object)
{
    const char *mode = json_string_value(json_object_get(object, "receipts"));

    if (mode && strcmp(mode, "all") == 0)
        return RECEIPTS_ALL;
    return mode && strcmp(mode, "none") == 0 ? RECEIPTS_NONE : RECEIPTS_FINAL;
}

/* "first", or {"mode": "first"}. */
static bool is_first(const json_t *object)
{
    const json_t *route = json_object_get(object, "route");
    const char *mode = json_is_object(route) ? json_string_value(json_object_get(route, "mode"))
                                             : json_string_value(route);

    return mode && strcmp(mode, "first") == 0;
}

int request_init(struct request *out, json_t *object, char **error)
{
    json_t *id = json_object_get(object, "id");
    char uuid[UUID_TEXT];

    *out = (struct request){0};
    if (!id) {
        uuid7(uuid);
        id = json_string(uuid);
        json_object_set_new(object, "id", id);
    }
    if (!json_is_string(id) || json_string_length(id) < 1 ||
        json_string_length(id) > REQUEST_ID_MAX) {
        *error = xasprintf("'id' must be a string of 1 to %d bytes", REQUEST_ID_MAX);
        return -1;
    }
    char *json = exact_dump(object, JSON_COMPACT);
    size_t len = json ? strlen(json) : 0;
    if (!json || len > REQUEST_BYTES_MAX) {
        *error = xasprintf("%zu bytes long; at most %d fit", len, REQUEST_BYTES_MAX);
        free(json);
        return -1;
    }
    *out = (struct request){.id = xstrdup(json_string_value(id)),
                            .json = json,
                            .len = len,
                            .receipts = receipt_mode(object),
                            .is_first = is_first(object),
                            .is_single = is_single(object)};
    return 0;
}

void request_fini(struct request *req)
{
    free(req->id);
    free(req->json);
    *req = (struct request){0};
}
