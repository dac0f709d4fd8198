/* SPDX-License-Identifier: MIT */
/*
 * config - how to reach the broker, and as whom
 *
 *   url     --url, else TOCSIN_URL, else `mqtt` (with --ws: `ws`) of
 *           stack.json in --stack or TOCSIN_STACK
 *   token   --token-file, else TOCSIN_TOKEN_FILE, else TOCSIN_TOKEN.
 *           Never an option's value: everybody on the machine can read those.
 *   kind    --kind, else TOCSIN_KIND, else by the token (principal.h)
 *   id      --id is the request's; so --as, else TOCSIN_ID, else by the token
 *
 * A token file is read again before every connect, so that whatever renews
 * tokens only has to replace the file.
 */
#ifndef CLI_CONFIG_H
#define CLI_CONFIG_H
#include "options.h"
#include "principal.h"

#include <stdint.h>

struct config {
    char *url;        /* scheme://host[:port][/path] */
    bool is_tls;      /* the scheme is mqtts or wss */
    bool is_ws;       /* the scheme is ws or wss */
    char *ca_file;    /* or NULL: the system's authorities */
    char *token_file; /* or NULL: the token came by environment */
    char *token;      /* secret */
    char *kind, *id;  /* or NULL: as the token says */
    unsigned kinds;   /* of principals that the command works for */
    struct principal principal;
    int64_t connect_timeout_ms; /* for the first connection */
    int64_t keepalive_s;
};

extern const struct opt config_options[];

/* 0, or -1 after saying what is wrong. `kinds` is the set of principal kinds that will do. */
int config_load(struct config *conf, const json_t *args, unsigned kinds) NODISCARD;
/* Reads the token file again; keeps the old token, and returns -1, when that fails. */
int config_reload_token(struct config *conf) NODISCARD;
void config_fini(struct config *conf);
#endif
