/* SPDX-License-Identifier: MIT */
#include "io/mqtt_private.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <mqtt_protocol.h>

#include "base/log.h"
#include "base/secret.h"
#include "io/token_expiry.h"

#define PROBE_MS 3000

struct place {
    const char *host; /* or the path of a Unix socket, with port 0 */
    int port;
    bool is_tls;
};

static const char *copy(struct arena *arena, const char *text)
{
    return text ? arena_strdup(arena, text) : NULL;
}

struct mqtt_dial *mqtt_dial_new(struct mqtt *mqtt, const struct mqtt_config *config,
                                unsigned attempt)
{
    struct arena *arena = arena_new(0);
    struct mqtt_dial *dial = arena_zalloc(arena, sizeof *dial);

    dial->mqtt = mqtt;
    dial->arena = arena;
    dial->attempt = attempt;
    dial->config = *config;
    dial->config.filters = NULL; /* not needed here */
    dial->config.url = copy(arena, config->url);
    dial->config.client_id = copy(arena, config->client_id);
    dial->config.username = copy(arena, config->username);
    dial->config.token_file = copy(arena, config->token_file);
    dial->config.ca_file = copy(arena, config->ca_file);
    return dial;
}

void mqtt_dial_free(struct mqtt_dial *dial)
{
    if (dial->mosq)
        mosquitto_destroy(dial->mosq);
    arena_free(dial->arena);
}

static int parse_port(const char *text, int fallback)
{
    char *end;
    long port;

    if (text[0] == '\0')
        return fallback;
    port = strtol(text + 1, &end, 10);
    return text[0] == ':' && end != text + 1 && (*end == '\0' || strcmp(end, "/") == 0) &&
                   port > 0 && port < 65536
               ? (int)port
               : -1;
}

/* mqtt://host:port, mqtts://host:port with [v6] allowed, or unix:/path. */
static int parse_url(struct arena *arena, const char *url, struct place *place)
{
    const char *at, *end;

    if (strncmp(url, "unix:/", 6) == 0) {
        *place = (struct place){.host = arena_strdup(arena, url + 5)};
        return 0;
    }
    place->is_tls = strncmp(url, "mqtts://", 8) == 0;
    if (!place->is_tls && strncmp(url, "mqtt://", 7) != 0)
        return ERR_INVALID;
    at = url + (place->is_tls ? 8 : 7);
    if (at[0] == '[') {
        at++;
        end = strchr(at, ']');
        if (!end)
            return ERR_INVALID;
        place->port = parse_port(end + 1, place->is_tls ? 8883 : 1883);
    } else {
        end = at + strcspn(at, ":/");
        place->port = parse_port(*end == ':' ? end : "", place->is_tls ? 8883 : 1883);
        if (*end == '/' && end[1] != '\0')
            return ERR_INVALID;
    }
    if (end == at || place->port < 0)
        return ERR_INVALID;
    place->host = arena_copy(arena, at, (size_t)(end - at));
    return 0;
}

bool mqtt_url_is_valid(const char *url)
{
    struct arena *arena = arena_new(0);
    struct place place = {0};
    int err = parse_url(arena, url, &place);

    arena_free(arena);
    return err == 0;
}

static int set_token(struct mqtt_dial *dial, struct mosquitto *mosq)
{
    struct secret token = {0};
    struct token_times times;
    int err = 0, rc;

    if (dial->config.token_file) {
        err = secret_read_file(&token, dial->config.token_file, dial->why, sizeof dial->why);
        if (err)
            return err;
        if (token_times_read(token.bytes, token.length, &times) == 0)
            dial->token_expires_s = times.expires_s;
    }
    rc = mosquitto_username_pw_set(mosq, dial->config.username, token.bytes);
    secret_fini(&token);
    if (rc != MOSQ_ERR_SUCCESS) {
        snprintf(dial->why, sizeof dial->why, "user name or token: %s", mosquitto_strerror(rc));
        err = ERR_INVALID;
    }
    return err;
}

/*
 * Only mosquitto_connect_bind_v5() takes CONNECT properties, and it blocks until TCP is
 * connected; mosquitto_connect_bind_async() does not block, and uses the properties left by an
 * earlier call.  So first one with an empty Unix socket path, which the library keeps the
 * properties of and refuses without a system call.
 */
static int begin(struct mqtt_dial *dial, const char *host, int port, bool is_blocking)
{
    mosquitto_property *properties = NULL;
    int keepalive = dial->config.keepalive_s;
    int rc = mosquitto_property_add_int32(&properties, MQTT_PROP_SESSION_EXPIRY_INTERVAL,
                                          dial->config.session_expiry_s);

    if (rc == MOSQ_ERR_SUCCESS)
        rc = mosquitto_connect_bind_v5(dial->mosq, is_blocking ? host : "", is_blocking ? port : 0,
                                       keepalive, NULL, properties);
    mosquitto_property_free_all(&properties);
    if (!is_blocking && rc == MOSQ_ERR_INVAL)
        rc = mosquitto_connect_bind_async(dial->mosq, host, port, keepalive, NULL);
    if (rc <= 0) /* MOSQ_ERR_CONN_PENDING is negative */
        return 0;
    if (rc == MOSQ_ERR_ERRNO) {
        char text[80];

        snprintf(dial->why, sizeof dial->why, "%s", strerror_r(errno, text, sizeof text));
    } else {
        snprintf(dial->why, sizeof dial->why, "%s", mosquitto_strerror(rc));
    }
    return ERR_IO;
}

static struct mosquitto *make(struct mqtt_dial *dial, const struct place *place)
{
    struct mosquitto *mosq = mosquitto_new(dial->config.client_id, dial->config.clean_start, NULL);
    int receive_maximum = dial->config.receive_maximum ? dial->config.receive_maximum : 65535;

    if (!mosq)
        fatal("memory.exhausted", "mosquitto_new() returned nothing");
    mosquitto_int_option(mosq, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    mosquitto_int_option(mosq, MOSQ_OPT_RECEIVE_MAXIMUM, receive_maximum);
    mosquitto_int_option(mosq, MOSQ_OPT_SEND_MAXIMUM, 65535); /* the broker lowers it */
    mosquitto_int_option(mosq, MOSQ_OPT_TCP_NODELAY, place->port != 0);
    mosquitto_threaded_set(mosq, true); /* queue, do not write: see mqtt.h */
    if (place->is_tls) {
        if (dial->config.ca_file)
            mosquitto_tls_set(mosq, dial->config.ca_file, NULL, NULL, NULL, NULL);
        else
            mosquitto_int_option(mosq, MOSQ_OPT_TLS_USE_OS_CERTS, 1);
    }
    return mosq;
}

static struct addrinfo *resolve(struct mqtt_dial *dial, const struct place *place)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char port[8];
    int rc;

    snprintf(port, sizeof port, "%d", place->port);
    rc = getaddrinfo(place->host, port, &hints, &found);
    if (rc != 0) {
        snprintf(dial->why, sizeof dial->why, "cannot resolve %.80s: %s", place->host,
                 gai_strerror(rc));
        return NULL;
    }
    return found;
}

/* Over TCP: one address after the other, attempt by attempt, and without waiting here. */
static int connect_plain(struct mqtt_dial *dial, const struct place *place)
{
    struct addrinfo *found = resolve(dial, place);
    const struct addrinfo *at = found;
    unsigned count = 0;
    char host[NI_MAXHOST];
    int err = ERR_IO;

    if (!found)
        return ERR_IO;
    for (; at; at = at->ai_next)
        count++;
    at = found;
    for (unsigned skip = dial->attempt % count; skip; skip--)
        at = at->ai_next;
    if (getnameinfo(at->ai_addr, at->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST) == 0)
        err = begin(dial, host, place->port, false);
    freeaddrinfo(found);
    return err;
}

static bool is_reachable(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    socklen_t length = sizeof(int);
    int error = 0;
    bool answer = false;

    if (fd < 0)
        return false;
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        answer = true;
    else if (errno == EINPROGRESS && poll(&ready, 1, PROBE_MS) == 1)
        answer = getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0;
    close(fd);
    return answer;
}

/*
 * With TLS the library must be given the name, which it checks against the certificate; so it
 * resolves and connects by itself, and blocks this pool thread.  The probe keeps that short
 * when the host is silent.
 */
static int connect_tls(struct mqtt_dial *dial, const struct place *place)
{
    struct addrinfo *found = resolve(dial, place);
    const struct addrinfo *at = found;

    if (!found)
        return ERR_IO;
    while (at && !is_reachable(at))
        at = at->ai_next;
    freeaddrinfo(found);
    if (!at) {
        snprintf(dial->why, sizeof dial->why, "no connection to %.80s", place->host);
        return ERR_IO;
    }
    return begin(dial, place->host, place->port, true);
}

void mqtt_dial_run(void *ctx)
{
    struct mqtt_dial *dial = ctx;
    struct place place = {0};

    dial->err = parse_url(dial->arena, dial->config.url, &place);
    if (dial->err) {
        snprintf(dial->why, sizeof dial->why, "the broker's URL is not understood");
        return;
    }
    dial->mosq = make(dial, &place);
    dial->is_tcp = place.port != 0;
    dial->is_tls = place.is_tls;
    dial->err = set_token(dial, dial->mosq);
    if (dial->err)
        return;
    if (place.is_tls)
        dial->err = connect_tls(dial, &place);
    else if (place.port)
        dial->err = connect_plain(dial, &place);
    else
        dial->err = begin(dial, place.host, 0, false);
}
