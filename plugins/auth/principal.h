/* SPDX-License-Identifier: MIT */
/*
 * principal - who a connection is, as one string
 *
 * The broker keeps one string per session that survives restarts: its user
 * name.  So that is where the principal lives, in a form no client can send
 * (MQTT forbids byte 0x01 in a user name):
 *
 *     0x01 kind ':' id ':' role ',' role ...        kind is one of u s a b
 *
 * What the broker stores is sealed (seal.h): by itself such a name proves
 * nothing.
 *
 * Id and roles are percent-encoded into one topic level each, so neither ':'
 * nor ',' nor '/' can occur inside them, and the mapping is injective: no two
 * subjects share a topic.
 *
 * Purity:    no I/O, no allocation, no broker symbols.
 * Ownership: struct principal borrows from the string it was read from.
 */
#ifndef TOCSIN_AUTH_PRINCIPAL_H
#define TOCSIN_AUTH_PRINCIPAL_H

#include "refusal.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    PRINCIPAL_ID_MAX = 128,     /* bytes of an encoded id */
    PRINCIPAL_ROLE_MAX = 64,    /* bytes of an encoded role */
    PRINCIPAL_ROLES_MAX = 32,   /* roles of one principal */
    PRINCIPAL_SUFFIX_MAX = 128, /* bytes of a client id after "{kind}/{id}/" */
    PRINCIPAL_NAME_SIZE = 1280  /* the whole string with its terminator */
};

#define PRINCIPAL_MARK   '\x01'
#define PRINCIPAL_SEALED '='

enum principal_kind {
    PRINCIPAL_USER,
    PRINCIPAL_SERVICE,
    PRINCIPAL_ADMIN,
    PRINCIPAL_BRIDGE,
    PRINCIPAL_KINDS
};

struct principal {
    enum principal_kind kind;
    const char *id; /* encoded; id_len bytes, not terminated */
    size_t id_len;
    const char *roles; /* encoded, joined by ','; roles_len bytes, not terminated */
    size_t roles_len;
};

/* Is this the form above, or a sealed one?  Says nothing about whose it is: seal_open() does.  Then
 * *out borrows from `name`. */
bool principal_parse(const char *name, struct principal *out);
/* Writes the form above without roles.  REFUSAL_SUBJECT when the id does not fit. */
NODISCARD enum refusal principal_begin(char name[PRINCIPAL_NAME_SIZE], enum principal_kind kind,
                                       const char *prefix, const char *id);
/* Appends one role; one that is there already is not repeated.  REFUSAL_ROLES when full. */
NODISCARD enum refusal principal_add_role(char name[PRINCIPAL_NAME_SIZE], const char *role);

/* Percent-encodes into one topic level; the length, or 0 when empty or longer than size - 1. */
size_t principal_encode(const char *raw, char *out, size_t size);
unsigned principal_role_count(const struct principal *p);
/* Same kind and same id; roles do not matter. */
bool principal_same(const struct principal *a, const struct principal *b);
/* May this principal use this client id: "{kind}/{id}" or "{kind}/{id}/..." */
bool principal_owns_client_id(const struct principal *p, const char *client_id);
/* "user", "service", "admin", "bridge" and back; false when it is none of them. */
const char *principal_kind_name(enum principal_kind kind);
bool principal_kind_parse(const char *name, enum principal_kind *out);

#endif
