/* SPDX-License-Identifier: MIT */
/*
 * seal - a principal's name where the broker takes no byte 0x01
 *
 * Mosquitto validates a plugin's user names like a client's since some 2.0.x,
 * so the mark that no client can send is no longer possible there.  Then the
 * name ends in a MAC under a key that this process made up for itself:
 *
 *     '=' kind ':' id ':' role ',' role ... ':' 32 hex digits
 *
 * By itself it lets nobody in: admission.c accepts it only while the broker
 * re-checks its sessions after SIGHUP, and there for sessions of this process.
 */
#ifndef TOCSIN_AUTH_SEAL_H
#define TOCSIN_AUTH_SEAL_H

#include "principal.h"

enum { SEAL_KEY_SIZE = 32, SEAL_HEX = 32, SEAL_NAME_SIZE = PRINCIPAL_NAME_SIZE + SEAL_HEX + 1 };

/* A random key; 0, or -1 when there is no randomness. */
NODISCARD int seal_init(unsigned char key[SEAL_KEY_SIZE]);
/* Seals a name that begins with byte 0x01; 0 or -1. */
NODISCARD int seal_name(const unsigned char key[SEAL_KEY_SIZE], const char *name,
                        char out[SEAL_NAME_SIZE]);
/* Did this process seal it? */
bool seal_holds(const unsigned char key[SEAL_KEY_SIZE], const char *sealed);

#endif
