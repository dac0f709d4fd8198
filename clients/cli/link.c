/* SPDX-License-Identifier: MIT */
#include "link.h"

#include "exits.h"
#include "ids.h"
#include "paho.h"
#include "say.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_BASE_MS 250
#define BACKOFF_CAP_MS  15000
#define STABLE_MS       5000 /* a connection that lasted this long resets the backoff */
#define REFUSALS_MAX    3    /* on reconnect, with a token file that may yet be renewed */
#define GOODBYE_MS      1500
#define SUBACK_MS       15000 /* a broker that answers pings but no SUBSCRIBE is left again */

/* MQTT 5 reason codes that mean something here; paho.h does not show the library's. */
enum reason {
    REASON_ERROR = 0x80, /* from here on: refused */
    REASON_SERVER_UNAVAILABLE = 0x88,
    REASON_SERVER_BUSY = 0x89,
    REASON_SERVER_SHUTTING_DOWN = 0x8b,
    REASON_SESSION_TAKEN_OVER = 0x8e,
    REASON_QUOTA_EXCEEDED = 0x97,
    REASON_CONNECTION_RATE_EXCEEDED = 0x9f
};

struct subscription {
    char *filter;
    bool is_optional, is_confirmed;
};

enum link_state { LINK_WAITING, LINK_CONNECTING, LINK_SUBSCRIBING, LINK_UP, LINK_OVER };

struct link {
    struct config *conf; /* borrowed; outlives us */
    struct link_handlers handlers;
    struct paho *paho;
    bool is_durable;
    enum link_state state;
    unsigned attempts, refusals;
    bool was_tried, was_up, is_gone, is_patient;
    int64_t opened_ms, up_ms, next_try_ms, subscribed_ms;
    int last_code;
    struct subscription subs[LINK_MAX_SUBSCRIPTIONS];
    size_t sub_count, confirmed;
};

static void fail(struct link *link, int status)
{
    link->state = LINK_OVER;
    link->handlers.on_failed(link->handlers.ctx, status);
}

static void wait_before_retry(struct link *link)
{
    link->state = LINK_WAITING;
    link->next_try_ms = now_ms() + backoff_ms(link->attempts++, BACKOFF_BASE_MS, BACKOFF_CAP_MS);
}

static void start_connect(struct link *link)
{
    if (link->was_tried && config_reload_token(link->conf))
        say_error("logging in with the token as it was");
    link->was_tried = true;
    link->state = LINK_CONNECTING;
    int rc = paho_connect(link->paho, link->conf, link->is_durable);
    if (rc) {
        link->last_code = rc;
        wait_before_retry(link);
    }
}

static void start_subscribe(struct link *link)
{
    link->state = LINK_SUBSCRIBING;
    link->subscribed_ms = now_ms();
    link->confirmed = 0;
    for (size_t i = 0; i < link->sub_count; i++) {
        link->subs[i].is_confirmed = false;
        if (paho_subscribe(link->paho, link->subs[i].filter, i))
            return; /* the connection is going; its loss will be reported */
    }
}

static void went_down(struct link *link, const char *why)
{
    bool was_up = link->state == LINK_UP;

    if (was_up && now_ms() - link->up_ms >= STABLE_MS)
        link->attempts = 0;
    if (was_up)
        say_error("connection lost (%s), reconnecting", why);
    wait_before_retry(link);
    if (was_up)
        link->handlers.on_down(link->handlers.ctx);
}

static void came_up(struct link *link)
{
    bool again = link->was_up;

    link->state = LINK_UP;
    link->up_ms = now_ms();
    link->was_up = true;
    link->refusals = 0;
    if (again)
        say_error("connected again");
    link->handlers.on_up(link->handlers.ctx, again);
}

/* Not worth repeating with the same login: everything but a busy or restarting broker. */
static bool is_final_refusal(int code)
{
    return code != REASON_SERVER_UNAVAILABLE && code != REASON_SERVER_BUSY &&
           code != REASON_SERVER_SHUTTING_DOWN && code != REASON_QUOTA_EXCEEDED &&
           code != REASON_CONNECTION_RATE_EXCEEDED;
}

static void refused(struct link *link, int code)
{
    int64_t exp = link->conf->principal.expires_at;
    /* MQTT 3.1.1's codes, which an older broker answers with, are 1 to 5. */
    static const char *const old[] = {"",
                                      "unacceptable protocol version (MQTT 5 is needed)",
                                      "client id rejected",
                                      "server unavailable",
                                      "bad user name or password",
                                      "not authorized"};
    const char *reason = code > 0 && code < 6 ? old[code] : link_reason(code);

    if (exp && exp * 1000 < wall_ms())
        say_error("the broker refused the login: %s (the token expired %lld s ago)", reason,
                  (long long)(wall_ms() / 1000 - exp));
    else
        say_error("the broker refused the login: %s (as %s/%s; --kind and --as say otherwise)",
                  reason, link->conf->principal.kind_name, link->conf->principal.id);
    if (link->was_up && link->conf->token_file && ++link->refusals < REFUSALS_MAX) {
        wait_before_retry(link);
        return;
    }
    fail(link, CLI_REFUSED);
}

static void on_unconnected(struct link *link, const struct paho_event *ev)
{
    char tls_error[PAHO_TLS_ERROR];

    paho_tls_error(link->paho, tls_error);
    link->last_code = ev->code;
    if (ev->is_connack && is_final_refusal(ev->code)) {
        refused(link, ev->code);
    } else if (strstr(tls_error, "certificate verify failed")) {
        say_error("the broker's certificate is not trusted (see --ca-file)");
        fail(link, CLI_REFUSED);
    } else {
        wait_before_retry(link);
    }
}

static void on_subscribed(struct link *link, const struct paho_event *ev)
{
    struct subscription *sub = &link->subs[ev->tag];

    if (ev->code < 0 || sub->is_confirmed)
        return; /* the connection is going */
    if (ev->code >= REASON_ERROR) {
        say_error("the broker refused the subscription to %s: %s", sub->filter,
                  link_reason(ev->code));
        if (!sub->is_optional) {
            fail(link, CLI_REFUSED);
            return;
        }
    }
    sub->is_confirmed = true;
    if (++link->confirmed == link->sub_count)
        came_up(link);
}

static void on_kicked(struct link *link, const struct paho_event *ev)
{
    if (ev->code == REASON_SESSION_TAKEN_OVER) {
        say_error("another client took this session over");
        fail(link, CLI_REFUSED);
        return;
    }
    went_down(link, link_reason(ev->code));
}

static void handle(struct link *link, const struct paho_event *ev)
{
    bool is_connected = link->state == LINK_UP || link->state == LINK_SUBSCRIBING;

    if (ev->kind == PAHO_CONNECTED && link->state == LINK_CONNECTING) {
        if (link->sub_count)
            start_subscribe(link);
        else
            came_up(link);
    } else if (ev->kind == PAHO_UNCONNECTED && link->state == LINK_CONNECTING) {
        on_unconnected(link, ev);
    } else if (ev->kind == PAHO_LOST && is_connected) {
        went_down(link, "no reason given");
    } else if (ev->kind == PAHO_KICKED && is_connected) {
        on_kicked(link, ev);
    } else if (ev->kind == PAHO_SUBSCRIBED && link->state == LINK_SUBSCRIBING) {
        on_subscribed(link, ev);
    } else if (ev->kind == PAHO_PUBLISHED) {
        link->handlers.on_published(link->handlers.ctx, ev->tag, ev->code);
    } else if (ev->kind == PAHO_MESSAGE) {
        struct link_message msg = {ev->topic, ev->payload, ev->len, ev->is_retained};
        link->handlers.on_message(link->handlers.ctx, &msg);
    }
}

void link_dispatch(struct link *link)
{
    for (struct paho_event *ev = paho_take(link->paho), *next; ev; ev = next) {
        next = ev->next;
        if (link->state != LINK_OVER)
            handle(link, ev);
        else if (ev->kind == PAHO_GONE)
            link->is_gone = true;
        paho_event_free(ev);
    }
}

static void leave(struct link *link)
{
    say_error("the broker does not answer the subscription, connecting again");
    if (paho_disconnect(link->paho) == 0)
        wait_before_retry(link);
}

static void give_up(struct link *link)
{
    const char *hint = link->last_code < 0 && link->conf->is_tls
                           ? " (or its certificate is for another host)"
                           : "";

    say_error("cannot reach the broker at %s: %s%s", link->conf->url,
              link->last_code ? link_reason(link->last_code) : "no answer", hint);
    fail(link, CLI_TIMEOUT);
}

int64_t link_tick(struct link *link)
{
    int64_t now = now_ms();
    int64_t give_up_ms = link->opened_ms + link->conf->connect_timeout_ms;
    bool is_limited = !link->was_up && !link->is_patient;

    if (link->state == LINK_OVER || link->state == LINK_UP)
        return -1;
    if (is_limited && now >= give_up_ms) {
        give_up(link);
        return -1;
    }
    if (link->state == LINK_WAITING && now >= link->next_try_ms)
        start_connect(link);
    if (link->state == LINK_SUBSCRIBING && now - link->subscribed_ms >= SUBACK_MS)
        leave(link);
    int64_t due = link->state == LINK_WAITING ? link->next_try_ms - now : SUBACK_MS;
    if (is_limited && give_up_ms - now < due)
        due = give_up_ms - now;
    return due < 0 ? 0 : due;
}

int link_publish(struct link *link, const char *topic, const void *payload, size_t len,
                 uint64_t tag)
{
    if (link->state != LINK_UP)
        return -1;
    return paho_publish(link->paho, topic, payload, len, tag) ? -1 : 0;
}

struct link *link_open(struct config *conf, const char *session,
                       const struct link_handlers *handlers)
{
    struct link *link = xcalloc(1, sizeof(*link));
    unsigned char bytes[6];
    char suffix[2 * sizeof(bytes) + 1];

    random_bytes(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(suffix + 2 * i, 3, "%02x", bytes[i]);
    link->conf = conf;
    link->handlers = *handlers;
    link->is_durable = session != NULL;
    link->opened_ms = link->next_try_ms = now_ms();
    char *client_id = principal_client_id(&conf->principal, session ? session : suffix);
    link->paho = paho_new(conf->url, client_id);
    free(client_id);
    if (link->paho)
        return link;
    free(link);
    return NULL;
}

void link_subscribe(struct link *link, const char *filter, bool is_optional)
{
    if (link->sub_count == LINK_MAX_SUBSCRIPTIONS) {
        say_error("too many subscriptions; not subscribing to %s", filter);
        return;
    }
    link->subs[link->sub_count++] =
        (struct subscription){.filter = xstrdup(filter), .is_optional = is_optional};
}

void link_be_patient(struct link *link, bool is_patient)
{
    link->is_patient = is_patient;
}

int link_fd(const struct link *link)
{
    return paho_fd(link->paho);
}

bool link_is_up(const struct link *link)
{
    return link->state == LINK_UP;
}

const char *link_reason(int code)
{
    return paho_reason(code);
}

static void wait_for_event(struct link *link, int64_t until_ms)
{
    struct pollfd pfd = {.fd = link_fd(link), .events = POLLIN};
    int64_t left = until_ms - now_ms();

    poll(&pfd, 1, left > 0 ? (int)left : 0);
    link_dispatch(link);
}

/* What was published last, an acknowledgement say, should reach the broker still. */
static void say_goodbye(struct link *link)
{
    int64_t until = now_ms() + GOODBYE_MS;

    link->state = LINK_OVER;
    while (paho_is_connected(link->paho) && paho_has_open(link->paho) && now_ms() < until)
        wait_for_event(link, until);
    if (!paho_is_connected(link->paho) || paho_disconnect(link->paho))
        return;
    while (!link->is_gone && now_ms() < until)
        wait_for_event(link, until);
}

void link_close(struct link *link)
{
    if (!link)
        return;
    say_goodbye(link);
    paho_free(link->paho);
    for (size_t i = 0; i < link->sub_count; i++)
        free(link->subs[i].filter);
    free(link);
}
