/* SPDX-License-Identifier: MIT */
/*
 * seal - the proof that a stored name is ours
 *
 * The broker keeps a session's user name, and access is a function of it.
 * But a user name can also come from elsewhere: from a client certificate or
 * a pre-shared key's identity (`use_identity_as_username`), with any byte in
 * it, or from another plugin.  So the name that is stored ends in a MAC, and
 * a name without a right one is nobody's:
 *
 *     mark kind ':' id ':' role ',' role ... ':' 32 hex digits
 *
 * The mark is byte 0x01, which no client can send as a user name.  Brokers
 * since some 2.0.x validate a plugin's names like a client's: there it is '='.
 *
 * The key must outlive a restart, since sessions do: it is derived from a
 * secret that stays the same.  The MAC is SipHash-2-4 with 128 bits, because
 * it is checked for every message and every reader.
 */
#ifndef TOCSIN_AUTH_SEAL_H
#define TOCSIN_AUTH_SEAL_H

#include "principal.h"

enum { SEAL_KEY_SIZE = 16, SEAL_HEX = 32, SEAL_NAME_SIZE = PRINCIPAL_NAME_SIZE + SEAL_HEX + 1 };

/* A random key, good for this process only; 0, or -1 when there is no randomness. */
NODISCARD int seal_init(unsigned char key[SEAL_KEY_SIZE]);
/* The key that belongs to a secret; 0 or -1. */
NODISCARD int seal_derive(unsigned char key[SEAL_KEY_SIZE], const void *secret, size_t len);
/* Seals a name that begins with byte 0x01, under that mark or another; 0 or -1. */
NODISCARD int seal_name(const unsigned char key[SEAL_KEY_SIZE], const char *name, char mark,
                        char out[SEAL_NAME_SIZE]);
/* Was it sealed with this key?  NULL was not. */
bool seal_holds(const unsigned char key[SEAL_KEY_SIZE], const char *sealed);
/* The principal that the name stands for, if its seal holds.  Then *out borrows from it. */
bool seal_open(const unsigned char key[SEAL_KEY_SIZE], const char *sealed, struct principal *out);

#endif
