/* SPDX-License-Identifier: MIT */
#include "io/http_server_listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"

static int split_listen(const char *listen_on, char *host, size_t host_bytes, const char **port)
{
    const char *colon = strrchr(listen_on, ':');
    size_t length;

    if (!colon || colon[1] == '\0')
        return ERR_INVALID;
    *port = colon + 1;
    length = (size_t)(colon - listen_on);
    if (length >= 2 && listen_on[0] == '[' && listen_on[length - 1] == ']') {
        listen_on++;
        length -= 2;
    }
    if (length >= host_bytes)
        return ERR_INVALID;
    memcpy(host, listen_on, length);
    host[length] = '\0';
    return 0;
}

static int open_socket(const struct addrinfo *address)
{
    int is_on = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &is_on, sizeof is_on);
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, SOMAXCONN) != 0) {
        int error = errno;

        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

uint16_t http_server_listen_port(int fd)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    socklen_t length = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        return 0;
    memcpy(&in, &address, sizeof in);
    memcpy(&in6, &address, sizeof in6);
    return ntohs(address.ss_family == AF_INET6 ? in6.sin6_port : in.sin_port);
}

int http_server_listen(const char *where, char *why, size_t why_bytes)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    const char *port;
    char host[256];
    int rc, fd = -1;

    if (split_listen(where, host, sizeof host, &port) != 0) {
        snprintf(why, why_bytes, "\"%s\" is not an address and a port", where);
        return -1;
    }
    rc = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
    if (rc != 0) {
        snprintf(why, why_bytes, "\"%s\": %s", where, gai_strerror(rc));
        return -1;
    }
    for (const struct addrinfo *at = found; at && fd < 0; at = at->ai_next)
        fd = open_socket(at);
    if (fd < 0)
        snprintf(why, why_bytes, "cannot listen on \"%s\": %s", where, strerror(errno));
    freeaddrinfo(found);
    return fd;
}
