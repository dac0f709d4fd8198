/* SPDX-License-Identifier: MIT */
/*
 * address - where to listen and to connect, and who that was
 *
 * Names are resolved at start only; address_find() waits for that.
 */
#ifndef TOCSIN_WEBSOCKET_ADDRESS_H
#define TOCSIN_WEBSOCKET_ADDRESS_H
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDRESS_TEXT 64

/* "127.0.0.1:9001", "[::1]:9001" or the path of a Unix socket; why gets a sentence. */
NODISCARD int address_find(const char *text, struct sockaddr_storage *out, socklen_t *length,
                           char *why, size_t why_bytes);
/* 0 for a Unix socket. */
uint16_t address_port(const struct sockaddr *address);
/* With its port. */
void address_text(const struct sockaddr *address, char out[ADDRESS_TEXT]);
/* Whom to count as one: an IPv4 address, the first half of an IPv6 one. */
void address_holder(const struct sockaddr *address, char out[ADDRESS_TEXT]);

#endif
