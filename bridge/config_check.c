/* SPDX-License-Identifier: MIT */
#include "config_check.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/secret.h"
#include "core/alert.h"
#include "core/syntax.h"
#include "io/mqtt.h"
#include "io/pg.h"
#include "io/token_expiry.h"
#include "services/jwks.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DESTINATIONS_MAX 63
#define MORE_BYTES       40 /* of the last line, when not all fit */

/* ---- the list ---- */

void config_faults_init(struct config_faults *faults, const char *file, char *text, size_t bytes)
{
    *faults = (struct config_faults){.file = file, .text = text, .bytes = bytes};
    text[0] = '\0';
}

void config_fault(struct config_faults *faults, unsigned line, const char *key, const char *format,
                  ...)
{
    char what[400], fault[1200];
    va_list args;
    int length;

    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    if (line)
        length = snprintf(fault, sizeof(fault), "%s%s:%u: %s: %s", faults->used ? "\n" : "",
                          faults->file, line, key, what);
    else
        length = snprintf(fault, sizeof(fault), "%s%s: %s: %s", faults->used ? "\n" : "",
                          faults->file, key, what);
    if (length >= (int)sizeof(fault))
        length = (int)sizeof(fault) - 1;
    faults->count++;
    if (faults->dropped ||
        (faults->count > 1 && faults->used + (size_t)length + MORE_BYTES >= faults->bytes)) {
        faults->dropped++;
        snprintf(faults->text + faults->used, faults->bytes - faults->used, "\nand %u more",
                 faults->dropped);
        return;
    }
    snprintf(faults->text + faults->used, faults->bytes - faults->used, "%s", fault);
    faults->used += strlen(faults->text + faults->used);
}

void config_faults_each(const char *text, void (*visit)(void *ctx, const char *line), void *ctx)
{
    while (*text) {
        size_t length = strcspn(text, "\n");
        char *line = xstrndup(text, length);

        visit(ctx, line);
        free(line);
        text += length;
        text += *text == '\n';
    }
}

/* Two letters that stand next to each other have changed places, and nothing else. */
static bool is_swapped(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a && a[1] && a[1] == b[0] && b[1] == a[0] && strcmp(a + 2, b + 2) == 0;
}

/* Edits between two words, up to 3: a row of the usual table. */
static size_t distance(const char *a, const char *b)
{
    size_t row[64], length = strlen(b), best = 0;

    if (length + 1 > sizeof(row) / sizeof(row[0]) || strlen(a) > 60)
        return 99;
    if (is_swapped(a, b))
        return 1;
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t before = row[0];

        row[0] = i;
        for (size_t j = 1; j <= length; j++) {
            size_t above = row[j], changed = before + (a[i - 1] != b[j - 1]);

            best = above + 1 < row[j - 1] + 1 ? above + 1 : row[j - 1] + 1;
            row[j] = changed < best ? changed : best;
            before = above;
        }
    }
    return row[length];
}

const char *config_nearest(const char *typed, const char *const *names, size_t count)
{
    size_t least = strlen(typed) > 4 ? 3 : 2;
    const char *nearest = NULL;

    for (size_t i = 0; i < count; i++) {
        size_t found = distance(typed, names[i]);

        if (found < least) {
            least = found;
            nearest = names[i];
        }
    }
    return nearest;
}

/* ---- words of a list ---- */

/* Calls visit for each word, separated by spaces. */
struct look {
    struct config *config;
    struct config_faults *faults;
    unsigned line;
    const char *key;
};

static void each_word(struct look *look, const char *words,
                      void (*visit)(struct look *look, const char *word))
{
    while (words && *words) {
        size_t length = strcspn(words, " ");
        char *word = xstrndup(words, length);

        if (length)
            visit(look, word);
        free(word);
        words += length;
        words += strspn(words, " ");
    }
}

static unsigned line_of(struct config *config, const char *section, const char *name,
                        const char *key)
{
    const struct config_entry *entry = config_tree_get(&config->tree, section, name, key);

    return entry ? entry->line : 0;
}

static bool has_channel(const struct config *config, enum channel channel)
{
    if (channel == CHANNEL_IN_APP)
        return true;
    for (size_t i = 0; i < config->destination_count; i++)
        if (config->destinations[i].adapter && config->destinations[i].adapter->channel == channel)
            return true;
    return false;
}

/* ---- addresses ---- */

static bool is_listen(const char *text)
{
    const char *colon = strrchr(text, ':');
    size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;

    if (digits < 1 || digits > 5 || colon[1 + digits] || strtol(colon + 1, NULL, 10) > 65535)
        return false;
    if (text[0] == '[')
        return colon > text + 2 && colon[-1] == ']';
    return !memchr(text, ':', (size_t)(colon - text));
}

static void check_listen(struct config *config, struct config_faults *faults, const char *name,
                         const char *value)
{
    char key[64];

    snprintf(key, sizeof(key), "http.%s", name);
    if (value && !is_listen(value))
        config_fault(faults, line_of(config, "http", name, NULL), key,
                     "give an address and a port, as 127.0.0.1:8080, [::1]:8080 or :8080");
}

static void check_url_word(struct look *look, const char *word)
{
    if (!syntax_is_url(word))
        config_fault(look->faults, look->line, look->key,
                     "\"%s\" is not an http:// or https:// URL", word);
}

static void check_addresses(struct config *config, struct config_faults *faults)
{
    struct look jwks = {config, faults, line_of(config, "jwks", "url", NULL), "jwks.url"};
    const char *url = config->http.public_url;
    char why[200] = "";

    if (config->mqtt.url && !mqtt_url_is_valid(config->mqtt.url))
        config_fault(faults, line_of(config, "mqtt", "url", NULL), "mqtt.url",
                     "give mqtt://host:port, mqtts://host:port or unix:/path");
    if (config->postgres.url && pg_conninfo_check(config->postgres.url, why, sizeof(why)))
        config_fault(faults, line_of(config, "postgres", "url", NULL), "postgres.url", "%s", why);
    check_listen(config, faults, "listen", config->http.listen);
    check_listen(config, faults, "health_listen", config->http.health_listen);
    if (config->http.health_listen && strcmp(config->http.health_listen, config->http.listen) == 0)
        config_fault(faults, line_of(config, "http", "health_listen", NULL), "http.health_listen",
                     "must differ from http.listen; leave it out for one listener");
    if (url && (!syntax_is_url(url) || strpbrk(url, "?#")))
        config_fault(faults, line_of(config, "http", "public_url", NULL), "http.public_url",
                     "give https://host, with a path at most");
    each_word(&jwks, config->jwks.url, check_url_word);
}

/* ---- names ---- */

static void check_channel_word(struct look *look, const char *word)
{
    enum channel channel;

    if (channel_parse(word, &channel))
        config_fault(
            look->faults, look->line, look->key,
            "there is no channel \"%s\"; there are in_app, push, sms, email, chat and webhook",
            word);
    else if (!has_channel(look->config, channel))
        config_fault(look->faults, look->line, look->key,
                     "no destination serves the channel \"%s\"", word);
}

static void check_type(struct config *config, const struct config_type *type,
                       struct config_faults *faults)
{
    char key[160], channels[180];
    struct look look = {config, faults, line_of(config, "types", type->name, "channels"), channels};

    snprintf(key, sizeof(key), "types.%s", type->name);
    snprintf(channels, sizeof(channels), "%s.channels", key);
    if (!syntax_is_type(type->name))
        config_fault(
            faults, look.line, key,
            "no request can have this type: lower-case letters, digits and _ between dots");
    each_word(&look, type->channels, check_channel_word);
    if (type->escalate_after_ms >= 0 && type->offline && strcmp(type->offline, "next_channel") != 0)
        config_fault(faults, line_of(config, "types", type->name, "escalate_after"), key,
                     "escalate_after needs offline: next_channel");
    if (type->tracking && type->tracking[0] && !has_channel(config, CHANNEL_EMAIL))
        config_fault(faults, line_of(config, "types", type->name, "tracking"), key,
                     "tracking needs a destination for email");
}

/* "order.*" or a whole type. */
static void check_pattern_word(struct look *look, const char *word)
{
    size_t length = strlen(word);
    char *type = xstrdup(word);

    if (length > 1 && strcmp(type + length - 2, ".*") == 0)
        type[length - 2] = '\0';
    else if (length && type[length - 1] == '*')
        type[length - 1] = '\0';
    if (type[0] ? !syntax_is_type(type) : strcmp(word, "*") != 0)
        config_fault(look->faults, look->line, look->key,
                     "\"%s\" matches no type; give types, or their beginning and a *, as order.*",
                     word);
    free(type);
}

static void check_prefix_word(struct look *look, const char *word)
{
    size_t digits = word[0] == '+' ? strspn(word + 1, "0123456789") : 0;

    if (digits < 1 || digits > 15 || word[1] == '0' || word[1 + digits])
        config_fault(look->faults, look->line, look->key,
                     "\"%s\" is the beginning of no number; give + and digits, as +49", word);
}

/* It is a level of URLs and a word of commands. */
static bool is_name(const char *name)
{
    return name[0] && strlen(name) <= 64 &&
           name[strspn(
               name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] == '\0';
}

static void check_destination(struct config *config, struct config_destination *destination,
                              struct config_faults *faults)
{
    const char *name = destination->name;
    char key[200];
    struct look look = {config, faults, line_of(config, "destinations", name, "types"), key};

    snprintf(key, sizeof(key), "destinations.%s", name);
    if (!is_name(name))
        config_fault(faults, destination->line, key,
                     "a name has letters, digits, dots, dashes and underscores, 64 at most");
    if (strcmp(name, "in_app") == 0)
        config_fault(faults, destination->line, key, "this name is taken by the channel in_app");
    if (!destination->adapter)
        return;
    snprintf(key, sizeof(key), "destinations.%s.types", name);
    each_word(&look, destination->types, check_pattern_word);
    look.line = line_of(config, "destinations", name, "prefixes");
    snprintf(key, sizeof(key), "destinations.%s.prefixes", name);
    each_word(&look, destination->prefixes, check_prefix_word);
    if (destination->prefixes && destination->adapter->channel != CHANNEL_SMS &&
        destination->adapter->channel != CHANNEL_CHAT)
        config_fault(faults, look.line, key, "only channels that address phone numbers have any");
}

static void check_allowed(struct config *config, struct config_faults *faults, const char *name,
                          const char *words)
{
    char key[64];

    snprintf(key, sizeof(key), "requests.%s", name);
    if (strchr(words, ' ') &&
        (strchr(words, '*') || strncmp(words, "- ", 2) == 0 || strstr(words, " -")))
        config_fault(faults, line_of(config, "requests", name, NULL), key,
                     "* (all) and - (none) stand alone; else give services, without wildcards");
}

static void check_recipient(struct look *look, const char *word)
{
    static const struct {
        const char *prefix;
        enum channel channel;
    } kinds[] = {{"email:", CHANNEL_EMAIL}, {"phone:", CHANNEL_SMS}, {"url:", CHANNEL_WEBHOOK}};

    if (!alert_is_recipient(word, strlen(word))) {
        config_fault(look->faults, look->line, look->key,
                     "give user:ID, role:NAME, email:ADDRESS, phone:+NUMBER or url:URL");
        return;
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strncmp(word, kinds[i].prefix, strlen(kinds[i].prefix)) == 0 &&
            !has_channel(look->config, kinds[i].channel) &&
            !(kinds[i].channel == CHANNEL_SMS && has_channel(look->config, CHANNEL_CHAT)))
            config_fault(look->faults, look->line, look->key,
                         "no destination serves what %s needs (%s)", kinds[i].prefix,
                         channel_name(kinds[i].channel));
}

void config_check_values(struct config *config, struct config_faults *faults)
{
    struct look alerts = {config, faults, line_of(config, "alerts", "to", NULL), "alerts.to"};

    check_addresses(config, faults);
    for (size_t i = 0; i < config->type_count; i++)
        check_type(config, &config->types[i], faults);
    for (size_t i = 0; i < config->destination_count; i++)
        check_destination(config, &config->destinations[i], faults);
    if (config->destination_count > DESTINATIONS_MAX)
        config_fault(faults, 0, "destinations", "there may be %d at most", DESTINATIONS_MAX);
    check_allowed(config, faults, "broadcast", config->requests.broadcast);
    check_allowed(config, faults, "roles", config->requests.roles);
    each_word(&alerts, config->alerts.to, check_recipient);
    if (config->jwks.ca_file && !config->jwks.url)
        config_fault(faults, line_of(config, "jwks", "ca_file", NULL), "jwks.ca_file",
                     "is of no use without jwks.url");
}

/* ---- files ---- */

static void check_readable(struct config *config, struct config_faults *faults, const char *section,
                           const char *name, const char *file)
{
    char key[64];

    snprintf(key, sizeof(key), "%s.%s", section, name);
    if (file && access(file, R_OK))
        config_fault(faults, line_of(config, section, name, NULL), key, "%s: %s", file,
                     strerror(errno));
}

static void check_secret(struct config *config, struct config_faults *faults, const char *section,
                         const char *name, const char *file)
{
    struct secret secret = {0};
    char key[64], why[400];

    snprintf(key, sizeof(key), "%s.%s", section, name);
    if (file && secret_read_file(&secret, file, why, sizeof(why)))
        config_fault(faults, line_of(config, section, name, NULL), key, "%s", why);
    secret_fini(&secret);
}

/* The bridge itself makes it, so only its folder has to be there. */
static void check_jwks_word(struct look *look, const char *word)
{
    const char *slash = strrchr(word, '/');
    char *folder =
        slash ? xstrndup(word, slash == word ? 1 : (size_t)(slash - word)) : xstrdup(".");

    if (access(folder, W_OK | X_OK))
        config_fault(look->faults, look->line, look->key, "cannot write into the folder %s: %s",
                     folder, strerror(errno));
    free(folder);
}

static void check_token(struct config *config, struct config_faults *faults)
{
    int64_t now_s = clock_wall_ms() / 1000;
    const char *file = config->mqtt.token_file;
    struct token_times times;

    check_secret(config, faults, "mqtt", "token_file", file);
    if (file && token_times_read_file(file, &times) == 0 && times.expires_s <= now_s)
        config_fault(faults, line_of(config, "mqtt", "token_file", NULL), "mqtt.token_file",
                     "the token in %s expired %lld s ago", file,
                     (long long)(now_s - times.expires_s));
}

void config_check_files(struct config *config, struct config_faults *faults)
{
    struct look jwks = {config, faults, line_of(config, "jwks", "file", NULL), "jwks.file"};

    check_token(config, faults);
    check_readable(config, faults, "mqtt", "ca_file", config->mqtt.ca_file);
    check_secret(config, faults, "postgres", "password_file", config->postgres.password_file);
    check_readable(config, faults, "jwks", "ca_file", config->jwks.ca_file);
    if (config->jwks.url && jwks_count(config->jwks.url) == 1)
        check_jwks_word(&jwks, config->jwks.file); /* which may have blanks */
    else
        each_word(&jwks, config->jwks.file, check_jwks_word);
}
