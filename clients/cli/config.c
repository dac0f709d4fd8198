/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "say.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOKEN_MAX_BYTES 65535 /* what an MQTT password can hold */

const struct opt config_options[] = {
    {"url", OPT_STRING, "URL", "the broker: mqtt://, mqtts://, ws:// or wss://host[:port]", NULL},
    {"stack", OPT_STRING, "DIR", "take the URL from DIR/stack.json", NULL},
    {"ws", OPT_FLAG, NULL, "with --stack: connect over WebSocket", NULL},
    {"token-file", OPT_STRING, "FILE", "the JWT to log in with", NULL},
    {"kind", OPT_STRING, "KIND", "what the token is of, where it does not say so",
     "user|service|admin"},
    {"as", OPT_STRING, "ID", "whose token it is, where the claim sub does not say so", NULL},
    {"ca-file", OPT_STRING, "FILE", "trust only the authorities in this PEM file", NULL},
    {"connect-timeout", OPT_DURATION, "TIME", "give up the first connection after (10s)", NULL},
    {"keepalive", OPT_DURATION, "TIME", "how soon a dead connection is noticed (30s)", NULL},
    {NULL, OPT_FLAG, NULL, NULL, NULL}};

/* New: the file's content without trailing white space, or NULL after saying why. */
static char *read_token_file(const char *path)
{
    char *text = xcalloc(1, TOKEN_MAX_BYTES + 2);
    FILE *f = fopen(path, "re");
    size_t len = 0;

    if (f)
        len = fread(text, 1, TOKEN_MAX_BYTES + 1, f);
    if (!f || ferror(f))
        say_error("%s: %s", path, strerror(errno));
    else if (len > TOKEN_MAX_BYTES)
        say_error("%s: too long for a token", path);
    else
        goto read;
    if (f)
        fclose(f);
    free_secret(text);
    return NULL;
read:
    fclose(f);
    while (len > 0 && strchr(" \t\r\n", text[len - 1]))
        text[--len] = '\0';
    if (len == 0) {
        say_error("%s: empty", path);
        free_secret(text);
        return NULL;
    }
    return text;
}

static int load_token(struct config *conf, const json_t *args)
{
    const char *path = arg_str(args, "token-file");
    const char *inline_token = getenv("TOCSIN_TOKEN");

    if (!path)
        path = getenv("TOCSIN_TOKEN_FILE");
    if (path && *path) {
        conf->token_file = xstrdup(path);
        conf->token = read_token_file(path);
        return conf->token ? 0 : -1;
    }
    if (inline_token && *inline_token) {
        conf->token = xstrdup(inline_token);
        return 0;
    }
    say_error("no token: give --token-file, or set TOCSIN_TOKEN_FILE or TOCSIN_TOKEN");
    return -1;
}

/* New, or NULL after saying why. */
static char *url_from_stack(const char *dir, bool want_ws)
{
    char *path = xasprintf("%s/stack.json", dir);
    char *url = NULL;
    json_error_t where;
    json_t *stack = json_load_file(path, 0, &where);
    const char *key = want_ws ? "ws" : "mqtt";
    const char *found = json_string_value(json_object_get(stack, key));

    if (!stack)
        say_error("%s: %s", path, where.text);
    else if (!found)
        say_error("%s: has no '%s'", path, key);
    else
        url = xstrdup(found);
    json_decref(stack);
    free(path);
    return url;
}

static char *find_url(const json_t *args)
{
    const char *url = arg_str(args, "url");
    const char *dir = arg_str(args, "stack");

    if (!url && !dir)
        url = getenv("TOCSIN_URL");
    if (url && *url)
        return xstrdup(url);
    if (!dir)
        dir = getenv("TOCSIN_STACK");
    if (dir && *dir)
        return url_from_stack(dir, arg_flag(args, "ws"));
    say_error("no broker: give --url or --stack, or set TOCSIN_URL or TOCSIN_STACK");
    return NULL;
}

static int check_url(struct config *conf)
{
    static const struct {
        const char *scheme;
        bool is_tls, is_ws;
    } schemes[] = {{"mqtt://", false, false}, {"mqtts://", true, false}, {"ws://", false, true},
                   {"wss://", true, true},    {"tcp://", false, false},  {"ssl://", true, false}};

    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t len = strlen(schemes[i].scheme);

        if (strncmp(conf->url, schemes[i].scheme, len) != 0)
            continue;
        if (conf->url[len] == '\0' || strchr(conf->url, '@'))
            break; /* credentials belong into the token, not into a URL */
        conf->is_tls = schemes[i].is_tls;
        conf->is_ws = schemes[i].is_ws;
        return 0;
    }
    say_error("the URL must be mqtt://, mqtts://, ws:// or wss://host[:port], without credentials");
    return -1;
}

static int check_ca_file(struct config *conf, const char *ca_file)
{
    if (!ca_file)
        return 0;
    conf->ca_file = xstrdup(ca_file);
    if (access(ca_file, R_OK) == 0)
        return 0;
    say_error("%s: %s", ca_file, strerror(errno));
    return -1;
}

/* Borrowed; NULL when neither is given. */
static const char *option_or_env(const json_t *args, const char *option, const char *variable)
{
    const char *value = arg_str(args, option);

    if (!value)
        value = getenv(variable);
    return value && *value ? value : NULL;
}

static int read_principal(const struct config *conf, struct principal *out)
{
    struct principal_hint hint = {conf->kind, conf->id, conf->kinds};
    const char *error;

    if (principal_from_token(out, conf->token, &hint, &error) == 0)
        return 0;
    say_error("%s", error);
    return -1;
}

int config_load(struct config *conf, const json_t *args, unsigned kinds)
{
    const char *kind = option_or_env(args, "kind", "TOCSIN_KIND");
    const char *id = option_or_env(args, "as", "TOCSIN_ID");

    *conf = (struct config){
        .kinds = kinds,
        .kind = kind ? xstrdup(kind) : NULL,
        .id = id ? xstrdup(id) : NULL,
        .connect_timeout_ms = arg_int(args, "connect-timeout", 10000),
        .keepalive_s = arg_int(args, "keepalive", 30000) / 1000,
    };
    if (conf->keepalive_s < 1 || conf->keepalive_s > 65535) {
        say_error("--keepalive is 1s to 65535s");
        return -1;
    }
    conf->url = find_url(args);
    if (!conf->url || check_url(conf) || check_ca_file(conf, arg_str(args, "ca-file")) ||
        load_token(conf, args))
        return -1;
    if (read_principal(conf, &conf->principal))
        return -1;
    if (!(conf->principal.kind & kinds)) {
        say_error(
            "this needs the token of %s; the token given is of kind '%s' (--kind says otherwise)",
            kinds_text(kinds), conf->principal.kind_name);
        return -1;
    }
    return 0;
}

int config_reload_token(struct config *conf)
{
    struct principal_hint hint = {conf->kind, conf->id, conf->kinds};
    struct principal now;
    const char *error;

    if (!conf->token_file)
        return 0;
    char *token = read_token_file(conf->token_file);
    if (!token)
        return -1;
    /* The topics are built on who we are: a token of somebody else will not do. */
    if (principal_from_token(&now, token, &hint, &error) || now.kind != conf->principal.kind ||
        strcmp(now.id, conf->principal.id) != 0) {
        say_error("%s: now holds no token, or another principal's; keeping the old one",
                  conf->token_file);
        principal_fini(&now);
        free_secret(token);
        return -1;
    }
    conf->principal.expires_at = now.expires_at;
    principal_fini(&now);
    free_secret(conf->token);
    conf->token = token;
    return 0;
}

void config_fini(struct config *conf)
{
    free(conf->url);
    free(conf->ca_file);
    free(conf->token_file);
    free_secret(conf->token);
    free(conf->kind);
    free(conf->id);
    principal_fini(&conf->principal);
}
