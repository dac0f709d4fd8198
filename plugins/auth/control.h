/* SPDX-License-Identifier: MIT */
/*
 * control - what clients ask of the plugin on $CONTROL/tocsin/v1
 *
 *     {"rpc": "1", "method": "refresh", "params": {"token": "..."}}
 *     {"rpc": "2", "method": "disconnect", "params": {"kind": "user", "id": "alice"}}
 *     {"rpc": "3", "method": "disconnect", "params": {"client": "user/alice/phone"}}
 *     {"rpc": "4", "method": "revoke", "params": {"jti": "..."}}
 *     {"rpc": "5", "method": "revoke", "params": {"kind": "user", "id": "alice", "until": 0}}
 *     {"rpc": "6", "method": "revoke", "params": {"until": 1790000000}}
 *
 * A payload that is a bare token is a refresh whose rpc is "refresh".  Answers
 * are {"rpc": ..., "result": {...}} or {"rpc": ..., "error": {"code", "message"}};
 * rpc is absent where none could be read.
 *
 * Purity:    no I/O, no broker symbols.
 * Ownership: struct control_request owns its strings: control_fini() wipes them.
 */
#ifndef TOCSIN_AUTH_CONTROL_H
#define TOCSIN_AUTH_CONTROL_H

#include "principal.h"

#include <jansson.h>
#include <stdint.h>

enum { CONTROL_RPC_MAX = 128 };

enum control_method { CONTROL_BAD, CONTROL_REFRESH, CONTROL_DISCONNECT, CONTROL_REVOKE };

struct control_request {
    enum control_method method;
    const char *problem; /* a sentence when CONTROL_BAD; constant */
    char rpc[CONTROL_RPC_MAX + 1];
    char *token;                         /* refresh; owned, wiped */
    char *client;                        /* disconnect: a client id; owned */
    char *jti;                           /* revoke; owned */
    char subject[16 + PRINCIPAL_ID_MAX]; /* "user/alice", or "" */
    int64_t until_s;                     /* revoke: -1 when not given */
};

/* Always fills in *out; what is wrong is in out->problem. */
void control_parse(const void *payload, size_t len, struct control_request *out);
void control_fini(struct control_request *req);

#endif
