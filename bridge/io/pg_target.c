/* SPDX-License-Identifier: MIT */
#include "io/pg_private.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/secret.h"

#define ADDRESSES_MAX 64 /* over all hosts */

/* The conninfo's own values and, behind them, those of the environment. */
struct options {
    PQconninfoOption *given, *defaults;
};

static const char *find(const PQconninfoOption *options, const char *keyword)
{
    for (; options && options->keyword; options++)
        if (strcmp(options->keyword, keyword) == 0 && options->val && options->val[0])
            return options->val;
    return NULL;
}

static const char *option(const struct options *options, const char *keyword)
{
    const char *value = find(options->given, keyword);

    return value ? value : find(options->defaults, keyword);
}

/* The index-th part of a comma-separated list; the last part serves for those beyond it. */
static char *part(struct arena *arena, const char *list, size_t index, bool repeats)
{
    const char *at = list;

    for (; index; index--) {
        const char *comma = strchr(at, ',');

        if (!comma)
            return repeats && !strchr(list, ',') ? arena_strdup(arena, list)
                                                 : arena_strdup(arena, "");
        at = comma + 1;
    }
    return arena_copy(arena, at, strcspn(at, ","));
}

static size_t part_count(const char *list)
{
    size_t count = 1;

    for (; *list; list++)
        count += *list == ',';
    return count;
}

struct addresses {
    const char *host[ADDRESSES_MAX], *address[ADDRESSES_MAX], *port[ADDRESSES_MAX];
    size_t count;
};

static void addresses_add(struct addresses *list, const char *host, const char *address,
                          const char *port)
{
    if (list->count == ADDRESSES_MAX)
        return;
    list->host[list->count] = host;
    list->address[list->count] = address;
    list->port[list->count++] = port;
}

/* Adds every address of a host; 0 or the resolver's code. */
static int resolve(struct arena *arena, struct addresses *list, const char *host, const char *port)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host, NULL, &hints, &found);

    if (rc != 0)
        return rc;
    for (const struct addrinfo *at = found; at; at = at->ai_next) {
        char text[INET6_ADDRSTRLEN + 32]; /* a link-local address names its interface */

        if (getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) ==
            0)
            addresses_add(list, host, arena_strdup(arena, text), port);
    }
    freeaddrinfo(found);
    return 0;
}

/* One host that does not resolve is left out; it is an error when none is left. */
static int resolve_all(struct arena *arena, struct addresses *list, const struct options *options,
                       char *why, size_t why_bytes)
{
    const char *hosts = option(options, "host");
    const char *ports = option(options, "port");

    for (size_t i = 0, count = part_count(hosts); i < count; i++) {
        const char *host = part(arena, hosts, i, false);
        const char *port = ports ? part(arena, ports, i, true) : "";
        int rc;

        if (host[0] == '\0' || host[0] == '/' || host[0] == '@') {
            addresses_add(list, host, "", port); /* a Unix socket: nothing to resolve */
            continue;
        }
        rc = resolve(arena, list, host, port);
        if (rc != 0)
            snprintf(why, why_bytes, "cannot resolve %s: %s", host, gai_strerror(rc));
    }
    return list->count ? 0 : ERR_IO;
}

static void set(struct pg_target *target, size_t *count, const char *keyword, const char *value)
{
    for (size_t i = 0; i < *count; i++) {
        if (strcmp(target->keywords[i], keyword) == 0) {
            target->values[i] = value;
            return;
        }
    }
    target->keywords[*count] = keyword;
    target->values[(*count)++] = value;
}

static void set_default(struct pg_target *target, size_t *count, const struct options *options,
                        const char *keyword, const char *value)
{
    if (!option(options, keyword))
        set(target, count, keyword, value);
}

static const char *join(struct arena *arena, const char *const *parts, size_t count, size_t first)
{
    struct buf list = {0};
    const char *joined;

    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_add_char(&list, ',');
        buf_add_text(&list, parts[(first + i) % count]);
    }
    joined = arena_strdup(arena, buf_text(&list));
    buf_fini(&list);
    return joined;
}

static int set_addresses(struct pg_target *target, size_t *count, const struct options *options,
                         size_t first, char *why, size_t why_bytes)
{
    struct arena *arena = target->arena;
    struct addresses list = {.count = 0};
    int err;

    /* Addresses given as such, or libpq's default socket: nothing to do. */
    if (option(options, "hostaddr") || !option(options, "host"))
        return 0;
    err = resolve_all(arena, &list, options, why, why_bytes);
    if (err)
        return err;
    set(target, count, "host", join(arena, list.host, list.count, first));
    set(target, count, "hostaddr", join(arena, list.address, list.count, first));
    set(target, count, "port", join(arena, list.port, list.count, first));
    target->address_count = list.count;
    target->addresses = arena_alloc(arena, list.count * sizeof *target->addresses);
    target->ports = arena_alloc(arena, list.count * sizeof *target->ports);
    for (size_t i = 0; i < list.count; i++) {
        target->addresses[i] = list.address[i][0] ? list.address[i] : list.host[i];
        target->ports[i] = list.port[i];
    }
    return 0;
}

static int set_password(struct pg_target *target, size_t *count, const char *path, char *why,
                        size_t why_bytes)
{
    struct secret password = {0};
    int err = secret_read_file(&password, path, why, why_bytes);

    if (!err)
        set(target, count, "password", arena_copy(target->arena, password.bytes, password.length));
    secret_fini(&password);
    return err;
}

static int fill(struct pg_target *target, const struct pg_source *source,
                const struct options *options, char *why, size_t why_bytes)
{
    const char *application = option(options, "application_name");
    size_t count = 0, room = 16;
    int err;

    for (const PQconninfoOption *at = options->given; at->keyword; at++)
        room++;
    target->keywords = arena_zalloc(target->arena, room * sizeof *target->keywords);
    target->values = arena_zalloc(target->arena, room * sizeof *target->values);
    for (const PQconninfoOption *at = options->given; at->keyword; at++)
        if (at->val && at->val[0])
            set(target, &count, at->keyword, arena_strdup(target->arena, at->val));
    set(target, &count, "application_name",
        arena_printf(target->arena, "%s/%s", application ? application : "tocsind", source->name));
    set(target, &count, "client_encoding", "UTF8");
    /* Kerberos would talk to its servers in the middle of PQconnectPoll(). */
    set_default(target, &count, options, "gssencmode", "disable");
    set_default(target, &count, options, "keepalives_idle", "30");
    set_default(target, &count, options, "connect_timeout", "10"); /* for pg_script alone */
    if (source->password_file) {
        err = set_password(target, &count, source->password_file, why, why_bytes);
        if (err)
            return err;
    }
    err = set_addresses(target, &count, options, source->first, why, why_bytes);
    ASSERT(count < room);
    return err;
}

int pg_target_make(struct pg_target *target, const struct pg_source *source, char *why,
                   size_t why_bytes)
{
    struct options options = {.defaults = PQconndefaults()};
    char *complaint = NULL;
    int err;

    memset(target, 0, sizeof *target);
    target->arena = arena_new(4096);
    options.given = PQconninfoParse(source->conninfo, &complaint);
    if (options.given) {
        err = fill(target, source, &options, why, why_bytes);
    } else {
        /* The complaint may quote the string, and that may hold a password. */
        snprintf(why, why_bytes, "the Postgres connection string is not understood");
        err = ERR_INVALID;
    }
    PQfreemem(complaint);
    PQconninfoFree(options.given);
    PQconninfoFree(options.defaults);
    return err;
}

int pg_conninfo_check(const char *conninfo, char *why, size_t why_bytes)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    bool is_good = options != NULL;

    PQconninfoFree(options);
    if (is_good)
        return 0;
    snprintf(why, why_bytes,
             "the Postgres connection string is not understood; give "
             "postgresql://host/database or keywords, as \"host=db dbname=tocsin\"");
    return ERR_INVALID;
}

void pg_target_fini(struct pg_target *target)
{
    for (size_t i = 0; target->keywords && target->keywords[i]; i++)
        if (strcmp(target->keywords[i], "password") == 0)
            explicit_bzero((char *)(uintptr_t)target->values[i], strlen(target->values[i]));
    arena_free(target->arena);
    memset(target, 0, sizeof *target);
}
