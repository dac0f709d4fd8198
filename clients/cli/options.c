/* SPDX-License-Identifier: MIT */
#include "options.h"

#include "exact.h"
#include "ids.h"
#include "nearest.h"
#include "say.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct opt *find(const struct opt *const *tables, const char *name, size_t len)
{
    for (; *tables; tables++)
        for (const struct opt *o = *tables; o->name; o++)
            if (strlen(o->name) == len && strncmp(o->name, name, len) == 0)
                return o;
    return NULL;
}

static bool is_choice(const char *choices, const char *value)
{
    size_t len = strlen(value);

    for (const char *p = choices; len && p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (strncmp(p, value, len) == 0 && (p[len] == '|' || p[len] == '\0'))
            return true;
    return false;
}

static json_t *parse_int(const char *text)
{
    char *end;

    errno = 0;
    long long n = strtoll(text, &end, 10);
    return errno || *end || end == text || n < 0 ? NULL : json_integer(n);
}

static json_t *parse_list(json_t *list, const char *text, bool split)
{
    json_t *grown = list ? json_incref(list) : json_array();

    for (const char *p = text; p;) {
        const char *comma = split ? strchr(p, ',') : NULL;
        json_t *item = comma ? json_stringn(p, (size_t)(comma - p)) : json_string(p);

        if (!item || json_array_append_new(grown, item)) {
            json_decref(grown);
            return NULL;
        }
        p = comma ? comma + 1 : NULL;
    }
    return grown;
}

/* New; NULL when `text` is no value of the option's type. `old` is what was given before. */
static json_t *parse_value(const struct opt *o, const char *text, json_t *old)
{
    int64_t ms;

    if (o->choices && o->type == OPT_STRING && !is_choice(o->choices, text))
        return NULL;
    switch (o->type) {
    case OPT_FLAG:
        return json_true();
    case OPT_STRING:
        return json_string(text);
    case OPT_LIST:
        return parse_list(old, text, true);
    case OPT_REPEAT:
        return parse_list(old, text, false);
    case OPT_INT:
        return parse_int(text);
    case OPT_DURATION:
        return parse_duration(text, &ms) ? NULL : json_integer(ms);
    case OPT_JSON:
        return exact_load(text, strlen(text), JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    }
    return NULL;
}

static int complain(const struct opt *o, const char *text)
{
    static const char *const wanted[] = {[OPT_FLAG] = "",
                                         [OPT_STRING] = "UTF-8 text",
                                         [OPT_LIST] = "UTF-8 text",
                                         [OPT_REPEAT] = "UTF-8 text",
                                         [OPT_INT] = "a whole number",
                                         [OPT_DURATION] = "a duration such as 30s, 5m, 2h or 7d",
                                         [OPT_JSON] = "a JSON value"};
    char *clean = clean_text(text), meant[64] = "";
    struct nearest near;

    nearest_begin(&near, text);
    for (const char *p = o->choices; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL) {
        char word[40];

        snprintf(word, sizeof(word), "%.*s", (int)strcspn(p, "|"), p);
        nearest_try(&near, word);
        if (near.word == word) {
            snprintf(meant, sizeof(meant), "; is %s meant?", word);
            near.word = NULL;
        }
    }
    say_error("--%s: '%s' is not %s%s%s", o->name, clean, o->choices ? "one of " : wanted[o->type],
              o->choices ? o->choices : "", meant);
    free(clean);
    return -1;
}

static int unknown(const struct opt *const *tables, const char *typed)
{
    char *clean = clean_text(typed);
    char *name = xasprintf("%.*s", (int)strcspn(clean, "="), clean);
    struct nearest near;

    nearest_begin(&near, name + 2);
    for (; *tables; tables++)
        for (const struct opt *o = *tables; o->name; o++)
            if (o->help)
                nearest_try(&near, o->name);
    if (near.word)
        say_error("unknown option %s; is --%s meant?", clean, near.word);
    else
        say_error("unknown option %s", clean);
    free(name);
    free(clean);
    return -1;
}

/* One option at argv[*at]; moves *at past its value. */
static int parse_one(const struct opt *const *tables, int argc, char **argv, int *at, json_t *args)
{
    const char *name = argv[*at] + 2;
    const char *equals = strchr(name, '=');
    const struct opt *o = find(tables, name, equals ? (size_t)(equals - name) : strlen(name));
    const char *text = equals ? equals + 1 : NULL;

    if (!o)
        return unknown(tables, argv[*at]);
    if (o->type == OPT_FLAG && equals) {
        say_error("--%s takes no value", o->name);
        return -1;
    }
    if (o->type != OPT_FLAG && !text) {
        if (*at + 1 >= argc) {
            say_error("--%s needs a value (%s)", o->name, o->value);
            return -1;
        }
        text = argv[++*at];
    }
    json_t *value = parse_value(o, text, json_object_get(args, o->name));
    if (!value)
        return complain(o, text);
    json_object_set_new(args, o->name, value);
    return 0;
}

json_t *options_parse(const struct opt *const *tables, int argc, char **argv, json_t **positional)
{
    json_t *args = json_object();
    bool only_words = false;

    *positional = json_array();
    for (int i = 1; i < argc; i++) {
        json_t *word = NULL;

        if (!only_words && strcmp(argv[i], "--") == 0) {
            only_words = true;
            continue;
        }
        if (!only_words && strncmp(argv[i], "--", 2) == 0) {
            if (parse_one(tables, argc, argv, &i, args))
                goto fail;
            continue;
        }
        if (!only_words && argv[i][0] == '-' && argv[i][1] != '\0') {
            say_error("unknown option %.2s (options are long: --name)", argv[i]);
            goto fail;
        }
        word = json_string(argv[i]);
        if (!word) {
            say_error("an argument is not UTF-8");
            goto fail;
        }
        json_array_append_new(*positional, word);
    }
    return args;
fail:
    json_decref(args);
    json_decref(*positional);
    *positional = NULL;
    return NULL;
}

void options_help(const struct opt *const *tables)
{
    for (; *tables; tables++) {
        for (const struct opt *o = *tables; o->name; o++) {
            char left[64];

            if (!o->help)
                continue; /* not served by this version */
            snprintf(left, sizeof(left), "--%s%s%s", o->name, o->value ? " " : "",
                     o->value ? o->value : "");
            say("  %-26s %s", left, o->help);
            if (o->choices)
                say(" [%s]", o->choices);
            say("\n");
        }
    }
}

const char *arg_str(const json_t *args, const char *name)
{
    return json_string_value(json_object_get(args, name));
}

bool arg_flag(const json_t *args, const char *name)
{
    return json_is_true(json_object_get(args, name));
}

int64_t arg_int(const json_t *args, const char *name, int64_t otherwise)
{
    const json_t *value = json_object_get(args, name);

    return json_is_integer(value) ? (int64_t)json_integer_value(value) : otherwise;
}
