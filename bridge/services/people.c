/* SPDX-License-Identifier: MIT */
#include "services/people.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/timefmt.h"
#include "core/id.h"
#include "core/rpc.h"
#include "core/syntax.h"
#include "store/people.h"
#include "store/questions.h"

#include <stdlib.h>
#include <string.h>

/* Calls under way at once; past it the caller is told to try again. */
#define CALLS_MAX 200
#define LIST_MAX  500
/* An answer is one MQTT message: closed when it has passed this. */
#define ANSWER_BYTES 200000
/* Channels on which a call can name targets. */
#define LISTS_MAX 5

struct people {
    struct store *store;
    struct people_ops ops;
    size_t calls;
    struct metric *received, *failed;
};

/* One call under way; owns its arena, which holds all its texts. */
struct ask {
    struct people *people;
    struct arena *arena;
    struct rpc_call call;
    const char *method, *topic;
    const char *admin;  /* who asks, if an admin does */
    const char *source; /* "service/shop" */
    const char *user;   /* whose targets, percent-encoded */
    const char *result; /* format of the answer to a change: one number */
    struct buf out;
    struct target targets[LISTS_MAX * PEOPLE_TARGETS_MAX];
    size_t count;
    unsigned replaced;
    /* lists */
    size_t rows;
    int64_t limit;
    uint64_t next;
};

struct people *people_new(struct store *store, struct metrics *metrics,
                          const struct people_ops *ops)
{
    struct people *people = xcalloc(1, sizeof(*people));

    people->store = store;
    people->ops = *ops;
    people->received =
        metrics_get(metrics, METRIC_COUNTER, "tocsin_rpc_total", "Calls received.", NULL);
    people->failed = metrics_get(metrics, METRIC_COUNTER, "tocsin_rpc_failed_total",
                                 "Calls answered with an error.", NULL);
    return people;
}

void people_free(struct people *people)
{
    free(people);
}

/* ---- one call ---- */

static void answer(struct ask *ask)
{
    struct people *people = ask->people;

    if (ask->call.error->code) {
        buf_clear(&ask->out);
        rpc_write_error(&ask->call, &ask->out);
        metric_add(people->failed, 1);
    }
    people->ops.publish(people->ops.ctx, ask->topic, buf_text(&ask->out), ask->out.length);
    people->calls--;
    buf_fini(&ask->out);
    arena_free(ask->arena);
}

static void fail(struct ask *ask)
{
    (void)rpc_fail(&ask->call, RPC_UNAVAILABLE, "the database is away; try again", NULL);
    answer(ask);
}

static void add_time(struct buf *out, const char *name, int64_t ms)
{
    char text[TIMEFMT_BYTES];

    buf_printf(out, ",\"%s\":\"%s\"", name, timefmt_wall(ms, text));
}

static void add_address(const struct ask *ask, struct buf *out, const char *address)
{
    char masked[64];

    if (ask->admin) {
        buf_add_member(out, "target", address);
        return;
    }
    log_mask(address, masked, sizeof(masked));
    buf_add_member(out, "target", masked);
}

/* A change is committed: told to the audit when an admin made it, and to the caller. */
static void on_changed(void *ctx, int err, int64_t count)
{
    struct ask *ask = ctx;
    struct buf params = {0};
    char *result;

    if (err) {
        fail(ask);
        return;
    }
    result = arena_printf(ask->arena, "{\"%s\":%lld}", ask->result, (long long)count);
    if (ask->admin) {
        if (ask->call.params)
            json_write(ask->call.params, &params);
        if (store_audit(ask->people->store, ask->admin, ask->method, buf_text(&params), result))
            log_warn("people.unaudited", LOG_STR("method", ask->method));
        buf_fini(&params);
    }
    rpc_begin_result(&ask->call, &ask->out);
    buf_add_text(&ask->out, result);
    rpc_end_result(&ask->out);
    answer(ask);
}

static void on_put(void *ctx, int err)
{
    struct ask *ask = ctx;

    on_changed(ask, err, (int64_t)ask->count);
}

/* ---- targets ---- */

static bool is_phone_or_url(const char *text)
{
    return syntax_is_phone(text) || syntax_is_url(text);
}

/* What a user's list on one channel is called, and what may be in it. */
static const struct address_list {
    const char *name;
    enum channel channel;
    enum recipient_kind kind;
    bool (*check)(const char *text);
    const char *what;
} lists[] = {
    {"emails", CHANNEL_EMAIL, RECIPIENT_EMAIL, syntax_is_email, "these are email addresses"},
    {"phones", CHANNEL_SMS, RECIPIENT_PHONE, syntax_is_phone, "these are E.164 numbers"},
    {"webhooks", CHANNEL_WEBHOOK, RECIPIENT_URL, syntax_is_url, "these are http or https URLs"},
    {"chats", CHANNEL_CHAT, RECIPIENT_URL, is_phone_or_url,
     "these are webhook URLs or E.164 numbers"},
};

/* Mail systems that tell case apart in addresses are extinct; what is stored is comparable. */
static const char *lowered(struct arena *arena, const char *text)
{
    char *copy = arena_strdup(arena, text);

    for (char *at = copy; *at; at++)
        if (*at >= 'A' && *at <= 'Z')
            *at += 'a' - 'A';
    return copy;
}

static bool read_list(struct ask *ask, const struct address_list *list)
{
    const struct json *value = NULL;
    const char **texts = NULL;
    size_t count = 0;

    if (!rpc_json(&ask->call, list->name, RPC_OPTIONAL, &value))
        return false;
    if (!value)
        return true;
    ask->replaced |= 1u << list->channel;
    if (value->kind == JSON_KIND_ARRAY && value->count == 0)
        return true;
    if (!rpc_texts(&ask->call, list->name, RPC_OPTIONAL, PEOPLE_TARGETS_MAX, PEOPLE_ADDRESS_MAX,
                   &texts, &count))
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *text = texts[i];

        if (!list->check(text))
            return rpc_fail(&ask->call, "bad_value", list->what, list->name);
        if (list->channel == CHANNEL_EMAIL)
            text = lowered(ask->arena, text);
        ask->targets[ask->count++] = (struct target){
            .channel = list->channel,
            .kind = syntax_is_phone(text) ? RECIPIENT_PHONE : list->kind,
            .platform = "",
            .token = text,
            .address = text,
        };
    }
    return true;
}

static bool is_key(const char *text)
{
    size_t length =
        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=");

    return length >= 16 && length <= 128 && text[length] == '\0';
}

/* The subscription as the adapter wants it: one JSON object. */
static bool read_subscription(struct ask *ask, struct rpc_call *device, struct target *target)
{
    const char *p256dh = NULL, *auth = NULL;
    struct rpc_call keys;

    if (!syntax_is_url(target->token) || strncmp(target->token, "https://", 8) != 0)
        return rpc_fail(device, "bad_value", "a Web Push token is the endpoint's https URL",
                        "token");
    if (!rpc_object(device, "keys", RPC_REQUIRED, &keys) ||
        !rpc_text(&keys, "p256dh", RPC_REQUIRED, 128, &p256dh) ||
        !rpc_text(&keys, "auth", RPC_REQUIRED, 128, &auth) || !rpc_done(&keys))
        return false;
    if (!is_key(p256dh) || !is_key(auth))
        return rpc_fail(device, "bad_value", "p256dh and auth are base64url", "keys");
    target->address = arena_printf(
        ask->arena, "{\"endpoint\":\"%s\",\"keys\":{\"p256dh\":\"%s\",\"auth\":\"%s\"}}",
        target->token, p256dh, auth);
    return true;
}

/* {platform, token, keys?} */
static bool read_device(struct ask *ask, struct rpc_call *device)
{
    static const char *const platforms[] = {"fcm", "apns", "webpush", NULL};
    struct target target = {.channel = CHANNEL_PUSH, .kind = RECIPIENT_PUSH_TOKEN};
    size_t platform = 0;

    if (!rpc_choice(device, "platform", RPC_REQUIRED, platforms, &platform) ||
        !rpc_text(device, "token", RPC_REQUIRED, PEOPLE_TOKEN_MAX, &target.token))
        return false;
    if (!syntax_is_push_token(target.token))
        return rpc_fail(device, "bad_value", "a token is printable ASCII without spaces", "token");
    target.platform = platforms[platform];
    target.address = target.token;
    if (strcmp(target.platform, "webpush") == 0 && !read_subscription(ask, device, &target))
        return false;
    if (!rpc_done(device))
        return false;
    ask->targets[ask->count++] = target;
    return true;
}

static bool read_user(struct ask *ask)
{
    const char *raw = NULL;
    char id[TOPIC_ID_MAX + 1];

    if (!rpc_text(&ask->call, "user", RPC_REQUIRED, TOPIC_ID_MAX, &raw))
        return false;
    if (topic_encode_id(raw, id))
        return rpc_fail(&ask->call, "bad_value", "an id has at most 128 bytes when percent-encoded",
                        "user");
    ask->user = arena_strdup(ask->arena, id);
    return true;
}

static void user_upsert(struct ask *ask)
{
    struct rpc_call *devices = NULL;
    size_t count = 0;
    bool is_good = read_user(ask);

    for (size_t i = 0; is_good && i < sizeof(lists) / sizeof(lists[0]); i++)
        is_good = read_list(ask, &lists[i]);
    is_good = is_good && rpc_objects(&ask->call, "devices", RPC_OPTIONAL, PEOPLE_TARGETS_MAX,
                                     &devices, &count);
    if (devices)
        ask->replaced |= 1u << CHANNEL_PUSH;
    for (size_t i = 0; is_good && i < count; i++)
        is_good = read_device(ask, &devices[i]);
    if (!is_good || !rpc_done(&ask->call)) {
        answer(ask);
        return;
    }
    ask->result = "targets";
    if (store_targets_put(ask->people->store, ask->user, ask->targets, ask->count, ask->replaced,
                          on_put, ask))
        fail(ask);
}

static const char *kind_name(enum recipient_kind kind)
{
    switch (kind) {
    case RECIPIENT_EMAIL:
        return "email";
    case RECIPIENT_PHONE:
        return "phone";
    case RECIPIENT_PUSH_TOKEN:
        return "push_token";
    default:
        return "url";
    }
}

static void on_target(void *ctx, const struct target *target)
{
    struct ask *ask = ctx;
    struct buf *out = &ask->out;

    buf_printf(out, "%s{\"channel\":\"%s\",\"kind\":\"%s\",\"active\":%s", ask->rows++ ? "," : "",
               channel_name(target->channel), kind_name(target->kind),
               target->is_active ? "true" : "false");
    buf_add_member(out, "platform", target->platform);
    add_address(ask, out, target->token);
    buf_add_member(out, "reason", reason_name(target->reason));
    add_time(out, "created_at", target->created_ms);
    add_time(out, "changed_at", target->changed_ms);
    add_time(out, "last_seen", target->last_seen_ms);
    buf_add_char(out, '}');
}

static void on_listed(void *ctx, int err)
{
    struct ask *ask = ctx;
    char id[ID_TEXT_BYTES];

    if (err) {
        fail(ask);
        return;
    }
    buf_add_char(&ask->out, ']');
    if (ask->next)
        buf_printf(&ask->out, ",\"next\":\"%s\"", id_format(ask->next, id));
    buf_add_char(&ask->out, '}');
    rpc_end_result(&ask->out);
    answer(ask);
}

static void user_get(struct ask *ask)
{
    struct targets_call call = {on_target, on_listed, ask};

    if (!read_user(ask) || !rpc_done(&ask->call)) {
        answer(ask);
        return;
    }
    rpc_begin_result(&ask->call, &ask->out);
    buf_add_text(&ask->out, "{\"user\":");
    buf_add_json(&ask->out, ask->user);
    buf_add_text(&ask->out, ",\"targets\":[");
    if (store_targets(ask->people->store, ask->user, &call))
        fail(ask);
}

static void user_delete(struct ask *ask)
{
    if (!read_user(ask) || !rpc_done(&ask->call)) {
        answer(ask);
        return;
    }
    ask->result = "deleted";
    if (store_targets_drop(ask->people->store, ask->user, -1, NULL, on_changed, ask))
        fail(ask);
}

static void device_register(struct ask *ask)
{
    if (!read_device(ask, &ask->call)) {
        answer(ask);
        return;
    }
    ask->result = "registered";
    if (store_targets_put(ask->people->store, ask->user, ask->targets, ask->count, 0, on_put, ask))
        fail(ask);
}

static void device_unregister(struct ask *ask)
{
    const char *token = NULL;

    if (!rpc_text(&ask->call, "token", RPC_REQUIRED, PEOPLE_TOKEN_MAX, &token) ||
        !rpc_done(&ask->call)) {
        answer(ask);
        return;
    }
    ask->result = "unregistered";
    if (store_targets_drop(ask->people->store, ask->user, CHANNEL_PUSH, token, on_changed, ask))
        fail(ask);
}

/* ---- suppression ---- */

static const char *const channels[] = {"push", "sms", "email", "chat", "webhook", NULL};

/* The place in channels[] is the channel's number less one: in-app has no addresses. */
static bool read_channel(struct ask *ask, enum rpc_need need, int *channel)
{
    size_t index = 0;

    if (!rpc_choice(&ask->call, "channel", need, channels, &index))
        return false;
    if (rpc_has(&ask->call, "channel"))
        *channel = (int)index + 1;
    return true;
}

static bool read_suppression(struct ask *ask, struct suppression *suppression)
{
    int channel = 0;
    bool is_good;

    if (!read_channel(ask, RPC_REQUIRED, &channel) ||
        !rpc_text(&ask->call, "address", RPC_REQUIRED, PEOPLE_ADDRESS_MAX, &suppression->address) ||
        !rpc_text(&ask->call, "type", RPC_OPTIONAL, 128, &suppression->scope))
        return false;
    suppression->channel = (enum channel)channel;
    is_good = channel == CHANNEL_EMAIL ? syntax_is_email(suppression->address)
              : channel == CHANNEL_SMS ? syntax_is_phone(suppression->address)
                                       : syntax_is_push_token(suppression->address);
    if (!is_good)
        return rpc_fail(&ask->call, "bad_value", "this is no address of the channel", "address");
    if (suppression->scope && !syntax_is_type(suppression->scope))
        return rpc_fail(&ask->call, "bad_value", "this is a notification's type", "type");
    return true;
}

static void suppression_add(struct ask *ask)
{
    static const char *const names[] = {"opted_out", "bounced", "complained", NULL};
    struct suppression suppression = {.source = ask->source};
    size_t index = 0;

    if (!read_suppression(ask, &suppression) ||
        !rpc_choice(&ask->call, "reason", RPC_OPTIONAL, names, &index) || !rpc_done(&ask->call)) {
        answer(ask);
        return;
    }
    suppression.reason = (enum reason)(REASON_OPTED_OUT + index);
    ask->result = "added";
    if (store_suppress(ask->people->store, &suppression, on_changed, ask))
        fail(ask);
}

static void suppression_remove(struct ask *ask)
{
    struct suppression suppression = {.scope = NULL};

    if (!read_suppression(ask, &suppression) || !rpc_done(&ask->call)) {
        answer(ask);
        return;
    }
    ask->result = "removed";
    if (store_unsuppress(ask->people->store, suppression.channel, suppression.address,
                         suppression.scope, on_changed, ask))
        fail(ask);
}

static void on_suppression(void *ctx, const struct suppression *row)
{
    struct ask *ask = ctx;
    struct buf *out = &ask->out;

    /* One more was asked for than is shown: whether there are more. */
    if ((int64_t)ask->rows++ >= ask->limit || out->length > ANSWER_BYTES) {
        ask->next = ask->next ? ask->next : row->id - 1;
        return;
    }
    buf_printf(out, "%s{\"channel\":\"%s\"", ask->rows > 1 ? "," : "", channel_name(row->channel));
    add_address(ask, out, row->address);
    buf_add_member(out, "type", row->scope);
    buf_add_member(out, "reason", reason_name(row->reason));
    buf_add_member(out, "source", row->source);
    add_time(out, "created_at", row->created_ms);
    buf_add_char(out, '}');
}

static void suppression_list(struct ask *ask)
{
    struct suppression_filter filter = {.channel = -1};
    struct suppression_call call = {on_suppression, on_listed, ask};

    ask->limit = 50;
    if (!read_channel(ask, RPC_OPTIONAL, &filter.channel) ||
        !rpc_text(&ask->call, "address", RPC_OPTIONAL, PEOPLE_ADDRESS_MAX, &filter.address) ||
        !rpc_int(&ask->call, "limit", RPC_OPTIONAL, 1, LIST_MAX, &ask->limit) ||
        !rpc_id(&ask->call, "after", RPC_OPTIONAL, &filter.after) || !rpc_done(&ask->call)) {
        answer(ask);
        return;
    }
    filter.limit = (int)ask->limit + 1;
    rpc_begin_result(&ask->call, &ask->out);
    buf_add_text(&ask->out, "{\"entries\":[");
    if (store_suppressions(ask->people->store, &filter, &call))
        fail(ask);
}

/* ---- the door ---- */

static const struct method {
    const char *name;
    bool is_users; /* else services' and admins' */
    void (*run)(struct ask *ask);
} methods[] = {
    {"user.upsert", false, user_upsert},
    {"user.get", false, user_get},
    {"user.delete", false, user_delete},
    {"suppression.add", false, suppression_add},
    {"suppression.remove", false, suppression_remove},
    {"suppression.list", false, suppression_list},
    {"device.register", true, device_register},
    {"device.unregister", true, device_unregister},
};

static const struct method *find_method(const struct topic_up *from)
{
    const char *name = from->event + strlen("rpc/");

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (methods[i].is_users == (from->kind == TOPIC_USER) && strcmp(methods[i].name, name) == 0)
            return &methods[i];
    return NULL;
}

bool people_rpc(struct people *people, const struct topic_up *from,
                const struct mqtt_message *message)
{
    const struct method *method = find_method(from);
    struct arena *arena;
    struct ask *ask;
    char topic[TOPIC_BYTES_MAX];
    bool is_admin = from->kind == TOPIC_ADMIN;

    if (!method)
        return false;
    metric_add(people->received, 1);
    arena = arena_new(8192);
    ask = arena_zalloc(arena, sizeof(*ask));
    ask->people = people;
    ask->arena = arena;
    ask->method = method->name;
    ask->topic = arena_strdup(arena, topic_down(from->kind, from->id, "reply", topic));
    ask->admin = is_admin ? arena_strdup(arena, from->id) : NULL;
    ask->source = arena_printf(arena, "%s/%s", is_admin ? "admin" : "service", from->id);
    ask->user = arena_strdup(arena, from->id);
    people->calls++;
    if (rpc_read(&ask->call, message->payload, message->payload_bytes, arena)) {
        answer(ask);
    } else if (people->calls > CALLS_MAX || !store_is_up(people->store)) {
        (void)rpc_fail(&ask->call, RPC_UNAVAILABLE, "too many calls, or the database is away",
                       NULL);
        answer(ask);
    } else {
        method->run(ask);
    }
    return true;
}
