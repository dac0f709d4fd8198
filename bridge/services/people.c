/* SPDX-License-Identifier: MIT */
#include "services/people.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/timefmt.h"
#include "core/address.h"
#include "core/id.h"
#include "core/rpc.h"
#include "core/syntax.h"
#include "store/people.h"
#include "store/questions.h"

#include <stdlib.h>
#include <string.h>

/* Channels on which a call can name targets. */
#define LISTS_MAX 5

struct people {
    struct store *store;
};

/* A call's own. */
struct want {
    struct people *people;
    struct ask *ask;
    const char *source;              /* "service/shop" */
    const char *user;                /* whose targets, percent-encoded */
    const char *raw;                 /* the same as it was given; NULL: of who asks */
    const char *result;              /* what a change counts */
    void (*then)(struct want *want); /* goes on when the user's targets were looked at */
    struct buf seen, kept; /* JSON: what was there, and what of it stays; with it what is given */
    struct target targets[LISTS_MAX * PEOPLE_TARGETS_MAX];
    size_t count;
    unsigned replaced;
    size_t kept_count; /* of those given, as many are there and in use */
    bool is_changed;   /* one goes, or comes into use again */
    /* lists */
    size_t rows;
    int64_t limit;
    uint64_t next;
};

static struct want *begin(struct ask *ask)
{
    struct want *want = ask->own;

    want->people = ask->service;
    want->ask = ask;
    want->source = arena_printf(ask->arena, "%s/%s", ask->admin ? "admin" : "service", ask->from);
    want->user = ask->from;
    want->is_changed = true;
    return want;
}

/* What is shown of a target: a mailbox as it is sent to, and of a device its token. */
static const char *shown(const struct target *target)
{
    return target->channel == CHANNEL_EMAIL ? target->address : target->token;
}

/* ---- what was before and after, for the audit ---- */

static void add_seen(struct buf *out, const struct target *target, bool is_active)
{
    char masked[64];

    log_mask(shown(target), masked, sizeof(masked));
    buf_printf(out, "%s{\"channel\":\"%s\",\"active\":%s", out->length > 1 ? "," : "",
               channel_name(target->channel), is_active ? "true" : "false");
    buf_add_member(out, "target", masked);
    buf_add_char(out, '}');
}

static bool is_given(const struct want *want, const struct target *target)
{
    for (size_t i = 0; i < want->count; i++)
        if (want->targets[i].channel == target->channel &&
            strcmp(want->targets[i].token, target->token) == 0)
            return strcmp(want->targets[i].address, target->address) == 0;
    return false;
}

static void on_seen(void *ctx, const struct target *target)
{
    struct want *want = ctx;

    if (is_given(want, target) && target->is_active)
        want->kept_count++;
    else if (want->replaced & 1u << target->channel)
        want->is_changed = true;
    add_seen(&want->seen, target, target->is_active);
    if (!(want->replaced & 1u << target->channel))
        add_seen(&want->kept, target, target->is_active);
}

static bool is_given_before(const struct want *want, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (want->targets[i].channel == want->targets[at].channel &&
            strcmp(want->targets[i].token, want->targets[at].token) == 0)
            return true;
    return false;
}

static const char *take_list(struct want *want, struct buf *list)
{
    const char *text;

    buf_add_char(list, ']');
    text = arena_strdup(want->ask->arena, buf_text(list));
    buf_fini(list);
    *list = (struct buf){0};
    return text;
}

static void on_all_seen(void *ctx, int err)
{
    struct want *want = ctx;
    const char *before, *after;
    size_t given = 0;

    for (size_t i = 0; i < want->count; i++)
        if (!is_given_before(want, i)) {
            add_seen(&want->kept, &want->targets[i], true);
            given++;
        }
    want->is_changed = want->is_changed || err || given != want->kept_count;
    before = take_list(want, &want->seen);
    after = take_list(want, &want->kept);
    if (err) { /* the change matters more */
        log_warn("people.unseen", LOG_STR("err", err_name(err)));
    } else {
        want->ask->before = before;
        want->ask->after = after;
    }
    want->then(want);
}

/* Looks at the user's targets and goes on. */
static void look_then(struct want *want, void (*then)(struct want *want))
{
    struct targets_call rows = {on_seen, on_all_seen, want};

    want->then = then;
    want->is_changed = false;
    buf_add_char(&want->seen, '[');
    buf_add_char(&want->kept, '[');
    if (store_targets(want->people->store, want->user, &rows)) {
        buf_fini(&want->seen);
        buf_fini(&want->kept);
        want->is_changed = true;
        then(want);
    }
}

static void on_changed(void *ctx, int err, int64_t count)
{
    struct want *want = ctx;

    if (err)
        ask_fail(want->ask, err);
    else
        ask_changed(want->ask, want->result, count);
}

/* A service that says again what is so already, as at each login, leaves no row. */
static const struct audited *audited(struct want *want)
{
    return want->ask->admin || want->is_changed ? ask_audited(want->ask, want->result) : NULL;
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

static bool read_list(struct want *want, const struct address_list *list)
{
    const struct json *value = NULL;
    const char **texts = NULL;
    size_t count = 0;

    if (!rpc_json(&want->ask->rpc, list->name, RPC_OPTIONAL, &value))
        return false;
    if (!value)
        return true;
    want->replaced |= 1u << list->channel;
    if (value->kind == JSON_KIND_ARRAY && value->count == 0)
        return true;
    if (!rpc_texts(&want->ask->rpc, list->name, RPC_OPTIONAL, PEOPLE_TARGETS_MAX,
                   PEOPLE_ADDRESS_MAX, &texts, &count))
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *text = list->check(texts[i])
                               ? address_wire_strict(list->channel, texts[i], want->ask->arena)
                               : NULL;

        if (!text)
            return rpc_fail(&want->ask->rpc, "bad_value", list->what, list->name);
        want->targets[want->count++] = (struct target){
            .channel = list->channel,
            .kind = syntax_is_phone(text) ? RECIPIENT_PHONE : list->kind,
            .platform = "",
            .token = address_key(list->channel, text, want->ask->arena),
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
static bool read_subscription(struct want *want, struct rpc_call *device, struct target *target)
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
        want->ask->arena, "{\"endpoint\":\"%s\",\"keys\":{\"p256dh\":\"%s\",\"auth\":\"%s\"}}",
        target->token, p256dh, auth);
    return true;
}

/* {platform, token, keys?} */
static bool read_device(struct want *want, struct rpc_call *device)
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
    target.token = address_key(CHANNEL_PUSH, target.token, want->ask->arena);
    target.address = target.token;
    if (strcmp(target.platform, "webpush") == 0 && !read_subscription(want, device, &target))
        return false;
    if (!rpc_done(device))
        return false;
    want->targets[want->count++] = target;
    return true;
}

static bool read_user(struct want *want)
{
    return rpc_text(&want->ask->rpc, "user", RPC_REQUIRED, TOPIC_ID_MAX, &want->raw) &&
           rpc_principal(&want->ask->rpc, "user", RPC_REQUIRED, &want->user);
}

static void put_targets(struct want *want)
{
    if (store_targets_put(want->people->store, want->user, want->targets, want->count,
                          want->replaced, audited(want), on_changed, want))
        ask_fail(want->ask, ERR_CLOSED);
}

static void user_upsert(struct ask *ask)
{
    struct want *want = begin(ask);
    struct rpc_call *devices = NULL;
    size_t count = 0;
    bool is_good = read_user(want);

    for (size_t i = 0; is_good && i < sizeof(lists) / sizeof(lists[0]); i++)
        is_good = read_list(want, &lists[i]);
    is_good = is_good && rpc_objects(&want->ask->rpc, "devices", RPC_OPTIONAL, PEOPLE_TARGETS_MAX,
                                     &devices, &count);
    if (devices)
        want->replaced |= 1u << CHANNEL_PUSH;
    for (size_t i = 0; is_good && i < count; i++)
        is_good = read_device(want, &devices[i]);
    if (!is_good || !rpc_done(&want->ask->rpc)) {
        ask_answer(want->ask);
        return;
    }
    want->result = "targets";
    look_then(want, put_targets);
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
    struct want *want = ctx;
    struct buf *out = &want->ask->out;

    buf_printf(out, "%s{\"channel\":\"%s\",\"kind\":\"%s\",\"active\":%s", want->rows++ ? "," : "",
               channel_name(target->channel), kind_name(target->kind),
               target->is_active ? "true" : "false");
    buf_add_member(out, "platform", target->platform);
    ask_add_target(want->ask, shown(target));
    buf_add_member(out, "reason", reason_name(target->reason));
    ask_add_time(want->ask, "created_at", target->created_ms);
    ask_add_time(want->ask, "changed_at", target->changed_ms);
    ask_add_time(want->ask, "last_seen", target->last_seen_ms);
    buf_add_char(out, '}');
}

static void on_listed(void *ctx, int err)
{
    struct want *want = ctx;

    if (err)
        ask_fail(want->ask, err);
    else
        ask_end_page(want->ask, want->next);
}

static void user_get(struct ask *ask)
{
    struct want *want = begin(ask);
    struct targets_call rows = {on_target, on_listed, want};

    if (!read_user(want) || !rpc_done(&want->ask->rpc)) {
        ask_answer(want->ask);
        return;
    }
    ask_begin(want->ask);
    buf_add_text(&want->ask->out, "{\"user\":");
    buf_add_json(&want->ask->out, want->raw);
    buf_add_text(&want->ask->out, ",\"targets\":[");
    if (store_targets(want->people->store, want->user, &rows))
        ask_fail(want->ask, ERR_CLOSED);
}

static void drop_targets(struct want *want)
{
    if (store_targets_drop(want->people->store, want->user, -1, NULL, audited(want), on_changed,
                           want))
        ask_fail(want->ask, ERR_CLOSED);
}

static void user_delete(struct ask *ask)
{
    struct want *want = begin(ask);
    if (!read_user(want) || !rpc_done(&want->ask->rpc)) {
        ask_answer(want->ask);
        return;
    }
    want->result = "deleted";
    want->replaced = ~0u; /* nothing stays */
    look_then(want, drop_targets);
}

static void device_register(struct ask *ask)
{
    struct want *want = begin(ask);
    if (!read_device(want, &want->ask->rpc)) {
        ask_answer(want->ask);
        return;
    }
    want->result = "registered";
    if (store_targets_put(want->people->store, want->user, want->targets, want->count, 0,
                          audited(want), on_changed, want))
        ask_fail(want->ask, ERR_CLOSED);
}

static void device_unregister(struct ask *ask)
{
    struct want *want = begin(ask);
    const char *token = NULL;

    if (!rpc_text(&want->ask->rpc, "token", RPC_REQUIRED, PEOPLE_TOKEN_MAX, &token) ||
        !rpc_done(&want->ask->rpc)) {
        ask_answer(want->ask);
        return;
    }
    want->result = "unregistered";
    token = address_key(CHANNEL_PUSH, token, want->ask->arena);
    if (store_targets_drop(want->people->store, want->user, CHANNEL_PUSH, token, audited(want),
                           on_changed, want))
        ask_fail(want->ask, ERR_CLOSED);
}

/* ---- suppression ---- */

static const char *const channels[] = {"push", "sms", "email", "chat", "webhook", NULL};

/* The place in channels[] is the channel's number less one: in-app has no addresses. */
static bool read_channel(struct want *want, enum rpc_need need, int *channel)
{
    size_t index = 0;

    if (!rpc_choice(&want->ask->rpc, "channel", need, channels, &index))
        return false;
    if (rpc_has(&want->ask->rpc, "channel"))
        *channel = (int)index + 1;
    return true;
}

static bool read_suppression(struct want *want, struct suppression *suppression)
{
    int channel = 0;
    bool is_good;

    if (!read_channel(want, RPC_REQUIRED, &channel) ||
        !rpc_text(&want->ask->rpc, "address", RPC_REQUIRED, PEOPLE_ADDRESS_MAX,
                  &suppression->address) ||
        !rpc_text(&want->ask->rpc, "type", RPC_OPTIONAL, 128, &suppression->scope))
        return false;
    suppression->channel = (enum channel)channel;
    is_good = channel == CHANNEL_EMAIL ? syntax_is_email(suppression->address)
              : channel == CHANNEL_SMS ? syntax_is_phone(suppression->address)
                                       : syntax_is_push_token(suppression->address);
    if (is_good)
        suppression->address =
            address_key_strict(suppression->channel, suppression->address, want->ask->arena);
    if (!is_good || !suppression->address)
        return rpc_fail(&want->ask->rpc, "bad_value", "this is no address of the channel",
                        "address");
    if (suppression->scope && !syntax_is_type(suppression->scope))
        return rpc_fail(&want->ask->rpc, "bad_value", "this is a notification's type", "type");
    return true;
}

static void suppression_add(struct ask *ask)
{
    struct want *want = begin(ask);
    static const char *const names[] = {"opted_out", "bounced", "complained", NULL};
    struct suppression suppression = {.source = want->source};
    size_t index = 0;

    if (!read_suppression(want, &suppression) ||
        !rpc_choice(&want->ask->rpc, "reason", RPC_OPTIONAL, names, &index) ||
        !rpc_done(&want->ask->rpc)) {
        ask_answer(want->ask);
        return;
    }
    suppression.reason = (enum reason)(REASON_OPTED_OUT + index);
    want->result = "added";
    if (store_suppress(want->people->store, &suppression, audited(want), on_changed, want))
        ask_fail(want->ask, ERR_CLOSED);
}

static void on_removed(void *ctx, int err, int64_t count)
{
    struct want *want = ctx;

    if (!err && count < 0) {
        (void)rpc_fail(&want->ask->rpc, RPC_NOT_ALLOWED,
                       "its recipient, a provider, an admin or another service has said so; an "
                       "admin can remove it",
                       "address");
        ask_answer(want->ask);
        return;
    }
    on_changed(want, err, count);
}

static void suppression_remove(struct ask *ask)
{
    struct want *want = begin(ask);
    struct suppression suppression = {.scope = NULL};

    if (!read_suppression(want, &suppression) || !rpc_done(&want->ask->rpc)) {
        ask_answer(want->ask);
        return;
    }
    want->result = "removed";
    if (store_unsuppress(want->people->store, suppression.channel, suppression.address,
                         suppression.scope, ask->admin ? NULL : want->source, audited(want),
                         on_removed, want))
        ask_fail(want->ask, ERR_CLOSED);
}

/* "service/{id}", "admin/{id}", with the id as the token has it; or a word of ours. */
static void add_source(struct buf *out, const char *source, struct arena *arena)
{
    const char *slash = strchr(source, '/');
    char raw[TOPIC_ID_MAX + 1];

    if (!slash || topic_decode_id(slash + 1, raw)) {
        buf_add_member(out, "source", source);
        return;
    }
    buf_add_member(out, "source",
                   arena_printf(arena, "%.*s/%s", (int)(slash - source), source, raw));
}

static void on_suppression(void *ctx, const struct suppression *row)
{
    struct want *want = ctx;
    struct buf *out = &want->ask->out;
    size_t before = out->length;

    /* One more was asked for than is shown: whether there are more. */
    if (want->next)
        return;
    if ((int64_t)want->rows == want->limit) {
        want->next = row->id - 1;
        return;
    }
    buf_printf(out, "%s{\"channel\":\"%s\"", want->rows ? "," : "", channel_name(row->channel));
    ask_add_target(want->ask, row->address);
    buf_add_member(out, "type", row->scope);
    buf_add_member(out, "reason", reason_name(row->reason));
    add_source(out, row->source, want->ask->arena);
    ask_add_time(want->ask, "created_at", row->created_ms);
    buf_add_char(out, '}');
    if (ask_keep_entry(want->ask, before, want->rows == 0))
        want->rows++;
    else
        want->next = row->id - 1;
}

/* Without a channel what looks like a mailbox is one: no other address has an @ and no slash. */
static const char *key_of_any(const struct suppression_filter *filter, struct arena *arena)
{
    enum channel channel = filter->channel >= 0               ? (enum channel)filter->channel
                           : syntax_is_email(filter->address) ? CHANNEL_EMAIL
                                                              : CHANNEL_PUSH;

    return address_key(channel, filter->address, arena);
}

static void suppression_list(struct ask *ask)
{
    struct want *want = begin(ask);
    struct suppression_filter filter = {.channel = -1};
    struct suppression_call rows = {on_suppression, on_listed, want};

    want->limit = ASK_LIST_DEFAULT;
    if (!read_channel(want, RPC_OPTIONAL, &filter.channel) ||
        !rpc_text(&want->ask->rpc, "address", RPC_OPTIONAL, PEOPLE_ADDRESS_MAX, &filter.address) ||
        !rpc_int(&want->ask->rpc, "limit", RPC_OPTIONAL, 1, ASK_LIST_MAX, &want->limit) ||
        !rpc_id(&want->ask->rpc, "after", RPC_OPTIONAL, &filter.after) ||
        !rpc_done(&want->ask->rpc)) {
        ask_answer(want->ask);
        return;
    }
    filter.limit = (int)want->limit + 1;
    if (filter.address)
        filter.address = key_of_any(&filter, want->ask->arena);
    ask_begin(want->ask);
    buf_add_text(&want->ask->out, "{\"entries\":[");
    if (store_suppressions(want->people->store, &filter, &rows))
        ask_fail(want->ask, ERR_CLOSED);
}

/* ---- the table ---- */

static const struct method methods[] = {
    {"user.upsert", ASK_NAMED_SERVICES | ASK_ADMINS, sizeof(struct want), user_upsert},
    {"user.get", ASK_NAMED_SERVICES | ASK_ADMINS, sizeof(struct want), user_get},
    {"user.delete", ASK_NAMED_SERVICES | ASK_ADMINS, sizeof(struct want), user_delete},
    {"suppression.add", ASK_NAMED_SERVICES | ASK_ADMINS, sizeof(struct want), suppression_add},
    {"suppression.remove", ASK_NAMED_SERVICES | ASK_ADMINS, sizeof(struct want),
     suppression_remove},
    {"suppression.list", ASK_NAMED_SERVICES | ASK_ADMINS, sizeof(struct want), suppression_list},
    {"device.register", ASK_USERS, sizeof(struct want), device_register},
    {"device.unregister", ASK_USERS, sizeof(struct want), device_unregister},
};

struct people *people_new(struct asks *asks, struct store *store)
{
    struct people *people = xcalloc(1, sizeof(*people));

    people->store = store;
    asks_add(asks, methods, sizeof(methods) / sizeof(methods[0]), people);
    return people;
}

void people_free(struct people *people)
{
    free(people);
}
