/* SPDX-License-Identifier: MIT */
#include "websocket/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static int find_path(const char *text, struct sockaddr_storage *out, socklen_t *length, char *why,
                     size_t why_bytes)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(text) >= sizeof(address.sun_path)) {
        snprintf(why, why_bytes, "\"%s\" is longer than a Unix socket's path may be (%zu)", text,
                 sizeof(address.sun_path) - 1);
        return ERR_INVALID;
    }
    memcpy(address.sun_path, text, strlen(text) + 1);
    memcpy(out, &address, sizeof(address));
    *length = sizeof(address);
    return 0;
}

int address_find(const char *text, struct sockaddr_storage *out, socklen_t *length, char *why,
                 size_t why_bytes)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    const char *colon = strrchr(text, ':');
    struct addrinfo *found = NULL;
    char host[256] = "";
    size_t bytes = colon ? (size_t)(colon - text) : 0;
    int rc;

    memset(out, 0, sizeof(*out));
    if (text[0] == '/')
        return find_path(text, out, length, why, why_bytes);
    if (bytes >= 2 && text[0] == '[' && text[bytes - 1] == ']') {
        text++;
        bytes -= 2;
    }
    if (!colon || !colon[1] || !bytes || bytes >= sizeof(host)) {
        snprintf(why, why_bytes, "\"%s\" is not an address with a port, as 127.0.0.1:9001", text);
        return ERR_INVALID;
    }
    memcpy(host, text, bytes);
    rc = getaddrinfo(host, colon + 1, &hints, &found);
    if (rc) {
        snprintf(why, why_bytes, "\"%s\", port %s: %s", host, colon + 1, gai_strerror(rc));
        return ERR_INVALID;
    }
    memcpy(out, found->ai_addr, found->ai_addrlen);
    *length = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

uint16_t address_port(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)address)->sin_port);
    if (address->sa_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
    return 0;
}

/* The address alone; an IPv4 one that came through an IPv6 socket is one all the same. */
static void host_text(const struct sockaddr *address, char out[INET6_ADDRSTRLEN])
{
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;

    snprintf(out, INET6_ADDRSTRLEN, "unix");
    if (address->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, out, INET6_ADDRSTRLEN);
    else if (address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
        inet_ntop(AF_INET, six->sin6_addr.s6_addr + 12, out, INET6_ADDRSTRLEN);
    else if (address->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &six->sin6_addr, out, INET6_ADDRSTRLEN);
}

void address_text(const struct sockaddr *address, char out[ADDRESS_TEXT])
{
    char host[INET6_ADDRSTRLEN];

    host_text(address, host);
    snprintf(out, ADDRESS_TEXT, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
             (unsigned)address_port(address));
}

void address_holder(const struct sockaddr *address, char out[ADDRESS_TEXT])
{
    struct sockaddr_in6 half;
    char host[INET6_ADDRSTRLEN];

    if (address->sa_family == AF_INET6) {
        memcpy(&half, address, sizeof(half));
        if (!IN6_IS_ADDR_V4MAPPED(&half.sin6_addr))
            memset(half.sin6_addr.s6_addr + 8, 0, 8);
        address = (const struct sockaddr *)&half;
    }
    host_text(address, host);
    snprintf(out, ADDRESS_TEXT, "%s", host);
}
