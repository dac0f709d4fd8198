/* SPDX-License-Identifier: MIT */
#include "channels/settings.h"
#include "base/alloc.h"
#include "base/buf.h"
#include "base/timefmt.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void settings_fail(struct settings *settings, const char *format, ...)
{
    char text[400];
    va_list args;
    size_t used = settings->err ? strlen(settings->why) : 0;

    settings->err = ERR_INVALID;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(settings->why + used, settings->why_bytes - used, "%sdestination %s: %s",
             used ? "\n" : "", settings->from->name, text);
}

static const struct adapter_key *find_key(const struct settings *settings, const char *name)
{
    for (const struct adapter_key *key = settings->keys; key->name; key++) {
        if (strcmp(key->name, name) == 0)
            return key;
    }
    return NULL;
}

const char *settings_text(const struct settings *settings, const char *key)
{
    const struct adapter_key *row = find_key(settings, key);
    const char *value = settings->from->get(settings->from->ctx, key);

    if (value && *value)
        return value;
    return row ? row->fallback : NULL;
}

char *settings_copy(const struct settings *settings, const char *key)
{
    const char *text = settings_text(settings, key);

    return text ? xstrdup(text) : NULL;
}

bool settings_has(const struct settings *settings, const char *key)
{
    return settings_text(settings, key) != NULL;
}

static bool parse_bool(const char *text, bool *value)
{
    static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no", "off"};

    for (unsigned i = 0; i < 3; i++) {
        if (strcmp(text, yes[i]) == 0)
            return *value = true, true;
        if (strcmp(text, no[i]) == 0)
            return *value = false, true;
    }
    return false;
}

static bool parse_number(const char *text, int64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0';
}

static bool is_url(const char *text)
{
    const char *host = strstr(text, "://");

    if (!host || (strncmp(text, "http://", 7) != 0 && strncmp(text, "https://", 8) != 0))
        return false;
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p <= 0x20 || *p == 0x7F)
            return false;
    }
    return host[3] != '\0' && host[3] != '/';
}

static void check_key(struct settings *settings, const struct adapter_key *key)
{
    const char *value = settings_text(settings, key->name);
    int64_t number;
    bool flag;

    if (!value) {
        if (key->is_required)
            settings_fail(settings, "%s is missing (%s)", key->name, key->help);
        return;
    }
    if (key->kind == ADAPTER_URL && !is_url(value))
        settings_fail(settings, "%s must be an http:// or https:// URL", key->name);
    else if (key->kind == ADAPTER_NUMBER && !parse_number(value, &number))
        settings_fail(settings, "%s must be a whole number", key->name);
    else if (key->kind == ADAPTER_BOOL && !parse_bool(value, &flag))
        settings_fail(settings, "%s must be true or false", key->name);
    else if (key->kind == ADAPTER_DURATION && timefmt_parse_duration(value, &number) != 0)
        settings_fail(settings, "%s must be a duration such as 30s or 5m", key->name);
}

void settings_begin(struct settings *settings, const struct adapter_key *keys,
                    const struct adapter_settings *from, char *why, size_t why_bytes)
{
    *settings =
        (struct settings){.from = from, .keys = keys, .why = why, .why_bytes = why_bytes, .err = 0};
    for (const struct adapter_key *key = keys; key->name; key++)
        check_key(settings, key);
}

int64_t settings_ms(const struct settings *settings, const char *key, int64_t otherwise_ms)
{
    const char *text = settings_text(settings, key);
    int64_t value;

    return text && timefmt_parse_duration(text, &value) == 0 ? value : otherwise_ms;
}

int64_t settings_number(const struct settings *settings, const char *key, int64_t otherwise)
{
    const char *text = settings_text(settings, key);
    int64_t value;

    return text && parse_number(text, &value) ? value : otherwise;
}

bool settings_bool(const struct settings *settings, const char *key)
{
    const char *text = settings_text(settings, key);
    bool value = false;

    return text && parse_bool(text, &value) && value;
}

void settings_secret(struct settings *settings, const char *key, struct secret *secret)
{
    const char *path = settings_text(settings, key);
    char why[256] = "";

    if (!path)
        return;
    if (secret_read_file(secret, path, why, sizeof why) != 0)
        settings_fail(settings, "%s: %s", key, why);
    else if (secret->length == 0)
        settings_fail(settings, "%s: %s is empty", key, path);
}

void settings_bearer(struct settings *settings, const char *key, const char *prefix,
                     struct secret *secret)
{
    struct secret text = {0};
    struct buf joined = {0};

    settings_secret(settings, key, &text);
    if (!text.bytes)
        return;
    if (strpbrk(text.bytes, "\r\n") || strlen(text.bytes) != text.length)
        settings_fail(settings, "%s must hold one line", key);
    buf_reserve(&joined, strlen(prefix) + text.length + 1);
    buf_add_text(&joined, prefix);
    buf_add(&joined, text.bytes, text.length);
    secret_set(secret, joined.data, joined.length);
    explicit_bzero(joined.data, joined.length);
    buf_fini(&joined);
    secret_fini(&text);
}
