/* SPDX-License-Identifier: MIT */
/*
 * watch - a user's inbox, live, as an app on a phone would see it
 *
 * A notification is shown, stdout flushed, and only then acknowledged with
 * `ack`, which is what makes its delivery `delivered`. Killed in between, we
 * get it again. A repeat (same id) is acknowledged again, since the first
 * acknowledgement may be what got lost, but not shown again.
 */
#include "exact.h"
#include "ids.h"
#include "loop.h"
#include "say.h"

#include <stdlib.h>
#include <string.h>

#define SEEN_MAX 1024 /* ids remembered to recognise repeats */
#define ACK_MAX  200  /* ids in one acknowledgement */

const struct opt watch_options[] = {
    {"no-ack", OPT_FLAG, NULL, "look without acknowledging", NULL},
    {"count", OPT_INT, "N", "stop after so many notifications", NULL},
    {"timeout", OPT_DURATION, "TIME", "stop after so long; status 5 if --count was not reached",
     NULL},
    {"session", OPT_STRING, "NAME", "have the broker keep messages between runs, for a day", NULL},
    {NULL, OPT_FLAG, NULL, NULL, NULL}};

struct watch {
    struct cli *cli;
    struct loop loop;
    struct link *link;
    char *down, *ack_topic; /* down: "notify/v1/users/alice/down/" */
    char *seen[SEEN_MAX];
    size_t seen_at;
    json_t *acks; /* ids shown and not yet acknowledged */
    json_int_t last_seq;
    int64_t left, end_ms;
};

/* True the first time an id is met (of the last SEEN_MAX). */
static bool is_new(struct watch *w, const char *id)
{
    for (size_t i = 0; i < SEEN_MAX && w->seen[i]; i++)
        if (strcmp(w->seen[i], id) == 0)
            return false;
    free(w->seen[w->seen_at]);
    w->seen[w->seen_at] = xstrdup(id);
    w->seen_at = (w->seen_at + 1) % SEEN_MAX;
    return true;
}

static void show_json(const char *kind, const json_t *payload)
{
    json_t *line = json_pack("{s:s, s:O}", "topic", kind, "payload", payload);

    say_json(line);
    json_decref(line);
}

/* Line by line, each indented: a line's end is the only control character that does something. */
static void show_text(const json_t *n, const char *key)
{
    const char *text = json_string_value(json_object_get(n, key));

    while (text && *text) {
        size_t len = strcspn(text, "\n");
        size_t shown = len && text[len] == '\n' && text[len - 1] == '\r' ? len - 1 : len;
        char *line = xasprintf("%.*s", (int)shown, text), *clean = clean_text(line);

        say("    %s\n", clean);
        free(clean);
        free(line);
        text += len;
        text += *text == '\n';
    }
}

static void show_notification(const json_t *n, const char *from)
{
    char *id = clean_field(n, "id"), *type = clean_field(n, "type");
    char *priority = clean_field(n, "priority"), *created = clean_field(n, "created_at");
    const json_t *data = json_object_get(n, "data");

    say("%s  %s  %s%s%s", *created ? created : "-", id, type, *from ? "  to " : "", from);
    if (*priority && strcmp(priority, "normal") != 0)
        say("  %s", priority);
    if (json_is_true(json_object_get(n, "replay")))
        say("  (replayed)");
    say("\n");
    show_text(n, "title");
    show_text(n, "body");
    if (json_object_size(data)) {
        char *text = exact_dump(data, JSON_COMPACT);
        char *clean = clean_text(text);
        say("    %s\n", clean);
        free(clean);
        free(text);
    }
    free(id);
    free(type);
    free(priority);
    free(created);
}

static void check_gap(struct watch *w, const json_t *n)
{
    json_int_t seq = json_integer_value(json_object_get(n, "seq"));

    if (seq <= w->last_seq)
        return;
    long long missing = w->last_seq ? (long long)(seq - w->last_seq) - 1 : 0;
    if (missing > 0 && !w->cli->is_quiet)
        say_error("%lld not seen here, from number %lld on", missing, (long long)w->last_seq + 1);
    w->last_seq = seq;
}

/* `from` is "" for the user's own inbox, else "everybody" or a role. */
static void on_notification(struct watch *w, const json_t *n, const char *from)
{
    const char *id = json_string_value(json_object_get(n, "id"));

    if (!id || w->left == 0)
        return;
    if (!*from && !arg_flag(w->cli->args, "no-ack"))
        json_array_append(w->acks, json_object_get(n, "id"));
    if (!is_new(w, id))
        return;
    if (w->cli->is_json)
        show_json(*from ? from : "inbox", n);
    else
        show_notification(n, from);
    if (!*from)
        check_gap(w, n);
    if (w->left > 0)
        w->left--;
}

static void on_badge(struct watch *w, const json_t *badge)
{
    if (w->cli->is_json)
        show_json("badge", badge);
    else
        say("badge: %lld unread, %lld unseen\n",
            (long long)json_integer_value(json_object_get(badge, "unread")),
            (long long)json_integer_value(json_object_get(badge, "unseen")));
}

static void on_changed(struct watch *w, const json_t *changed)
{
    char *state = clean_field(changed, "state");
    json_t *id;
    size_t i;

    if (w->cli->is_json)
        show_json("changed", changed);
    json_array_foreach(json_object_get(changed, "ids"), i, id)
    {
        char *text = clean_text(json_string_value(id));
        if (!w->cli->is_json)
            say("%s is %s now\n", text, state);
        free(text);
    }
    free(state);
}

static void on_shared(struct watch *w, const char *topic, const json_t *payload)
{
    static const char broadcast[] = "notify/v1/broadcast/inbox", role[] = "notify/v1/roles/";
    const char *end = strrchr(topic, '/');

    if (strcmp(topic, broadcast) == 0)
        on_notification(w, payload, "everybody");
    else if (strncmp(topic, role, strlen(role)) == 0 && strcmp(end, "/inbox") == 0) {
        char *name =
            xasprintf("role %.*s", (int)(end - topic - (long)strlen(role)), topic + strlen(role));
        char *clean = clean_text(name);
        on_notification(w, payload, clean);
        free(clean);
        free(name);
    }
}

static void on_message(void *ctx, const struct link_message *msg)
{
    struct watch *w = ctx;
    size_t own = strlen(w->down);
    const char *what = strncmp(msg->topic, w->down, own) == 0 ? msg->topic + own : NULL;
    json_t *payload = exact_load(msg->payload, msg->len, 0, NULL);

    if (!json_is_object(payload)) {
        if (msg->len)
            say_error("a message that is no JSON object was ignored");
    } else if (!what)
        on_shared(w, msg->topic, payload);
    else if (strcmp(what, "inbox") == 0)
        on_notification(w, payload, "");
    else if (strcmp(what, "badge") == 0)
        on_badge(w, payload);
    else if (strcmp(what, "changed") == 0)
        on_changed(w, payload);
    json_decref(payload);
}

/* Acknowledges what has been shown; only once stdout really has it. */
static void send_acks(struct watch *w)
{
    while (json_array_size(w->acks) && link_is_up(w->link) && say_flush() == CLI_OK) {
        json_t *ids = json_array();

        while (json_array_size(w->acks) && json_array_size(ids) < ACK_MAX) {
            json_array_append(ids, json_array_get(w->acks, 0));
            json_array_remove(w->acks, 0);
        }
        json_t *ack = json_pack("{s:o}", "ids", ids);
        char *text = exact_dump(ack, JSON_COMPACT);
        if (link_publish(w->link, w->ack_topic, text, strlen(text), 1))
            json_array_extend(w->acks, ids);
        free(text);
        json_decref(ack);
    }
}

static int64_t on_tick(void *ctx)
{
    struct watch *w = ctx;

    send_acks(w);
    if (w->left == 0) {
        loop_stop(&w->loop, CLI_OK); /* closing the link waits for the acknowledgements */
        return -1;
    }
    int64_t left = w->end_ms - now_ms();
    if (w->end_ms == 0 || left > 0)
        return w->end_ms ? left : -1;
    loop_stop(&w->loop, w->left > 0 ? CLI_TIMEOUT : CLI_OK);
    return -1;
}

static void on_up(void *ctx, bool again)
{
    struct watch *w = ctx;

    if (!again && !w->cli->is_quiet)
        say_error("watching the inbox of %s", w->cli->conf.principal.id);
}

static void on_down(void *ctx)
{
    struct watch *w = ctx;

    /* What is not acknowledged comes again. */
    json_array_clear(w->acks);
}

static void on_published(void *ctx, uint64_t tag, int code)
{
    struct watch *w = ctx;

    (void)tag;
    if (code < 0x80)
        return;
    say_error("the broker refused an acknowledgement: %s", link_reason(code));
    loop_stop(&w->loop, CLI_REFUSED);
}

static void on_failed(void *ctx, int status)
{
    struct watch *w = ctx;

    loop_stop(&w->loop, (enum cli_exit)status);
}

static void subscribe(struct watch *w)
{
    const struct principal *p = &w->cli->conf.principal;
    char *own = xasprintf("%s#", w->down);

    link_subscribe(w->link, own, false);
    link_subscribe(w->link, "notify/v1/broadcast/inbox", true);
    for (size_t i = 0; i < p->role_count; i++) {
        char *filter = xasprintf("notify/v1/roles/%s/inbox", p->roles[i]);
        link_subscribe(w->link, filter, true);
        free(filter);
    }
    free(own);
}

enum cli_exit cmd_watch(struct cli *cli)
{
    int64_t timeout_ms = arg_int(cli->args, "timeout", 0);
    struct watch w = {.cli = cli,
                      .left = arg_int(cli->args, "count", -1),
                      .end_ms = timeout_ms ? now_ms() + timeout_ms : 0};
    struct link_handlers handlers = {&w, on_up, on_down, on_message, on_published, on_failed};
    enum cli_exit status = CLI_ERROR;

    w.link = link_open(&cli->conf, arg_str(cli->args, "session"), &handlers);
    if (!w.link)
        return status;
    w.acks = json_array();
    w.down = principal_topic(&cli->conf.principal, "down/");
    w.ack_topic = principal_topic(&cli->conf.principal, "up/ack");
    subscribe(&w);
    w.loop = (struct loop){.cli = cli, .link = w.link, .hooks = {&w, on_tick, NULL, NULL}};
    status = loop_run(&w.loop);
    link_close(w.link);
    for (size_t i = 0; i < SEEN_MAX; i++)
        free(w.seen[i]);
    json_decref(w.acks);
    free(w.down);
    free(w.ack_topic);
    return status;
}
