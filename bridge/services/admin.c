/* SPDX-License-Identifier: MIT */
#include "services/admin.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/timefmt.h"
#include "core/delivery.h"
#include "core/id.h"
#include "core/report.h"
#include "core/request.h"
#include "core/rpc.h"
#include "store/questions.h"

#include <stdlib.h>
#include <string.h>

/* Calls under way at once; past it the caller is told to try again. */
#define CALLS_MAX 200
#define LIST_MAX  500
/* An answer is one MQTT message: closed when it has passed this. */
#define ANSWER_BYTES 200000

struct admin {
    struct loop *loop;
    struct admin_config config;
    struct store *store;
    const struct fence *fence;
    struct admin_ops ops;
    struct mqtt *lane;
    bool is_up;
    size_t calls;
    struct metric *received, *failed;
};

/* One call under way; owns its arena, which holds all its texts. */
struct ask {
    struct admin *admin;
    struct arena *arena;
    struct rpc_call call;
    const char *id, *method, *topic;
    struct buf out;
    /* request.status */
    uint64_t notification, delivery;
    bool is_in_history;
    struct status_row last;
    unsigned rows;
    /* dlq.list */
    uint64_t next;
    int64_t limit;
};

struct admin *admin_new(struct loop *loop, const struct admin_config *config, struct store *store,
                        const struct fence *fence, struct metrics *metrics,
                        const struct admin_ops *ops)
{
    struct admin *admin = xcalloc(1, sizeof(*admin));

    admin->loop = loop;
    admin->config = *config;
    admin->store = store;
    admin->fence = fence;
    admin->ops = *ops;
    admin->received =
        metrics_get(metrics, METRIC_COUNTER, "tocsin_rpc_total", "Calls received.", NULL);
    admin->failed = metrics_get(metrics, METRIC_COUNTER, "tocsin_rpc_failed_total",
                                "Calls answered with an error.", NULL);
    return admin;
}

void admin_free(struct admin *admin)
{
    admin_close(admin);
    free(admin);
}

/* ---- one call ---- */

static void answer(struct ask *ask)
{
    struct admin *admin = ask->admin;

    if (ask->call.error->code) {
        buf_clear(&ask->out);
        rpc_write_error(&ask->call, &ask->out);
        metric_add(admin->failed, 1);
    }
    admin->ops.publish(admin->ops.ctx, ask->topic, buf_text(&ask->out), ask->out.length);
    admin->calls--;
    buf_fini(&ask->out);
    arena_free(ask->arena);
}

static void fail(struct ask *ask, int err)
{
    if (err == ERR_NOT_FOUND)
        rpc_fail(&ask->call, RPC_NOT_FOUND, "there is no request of this id", "id");
    else
        rpc_fail(&ask->call, RPC_UNAVAILABLE, "the database is away; try again", NULL);
    answer(ask);
}

static void add_time(struct buf *out, const char *name, int64_t ms)
{
    char text[TIMEFMT_BYTES];

    buf_printf(out, ",\"%s\":\"%s\"", name, timefmt_wall(ms, text));
}

static void add_recipient(struct buf *out, int kind, const char *recipient, bool is_masked)
{
    char masked[64];

    if (kind == RECIPIENT_USER) {
        buf_add_member(out, "user", recipient);
    } else if (kind == RECIPIENT_ROLE) {
        buf_add_member(out, "role", recipient);
    } else if (is_masked && recipient) {
        log_mask(recipient, masked, sizeof(masked));
        buf_add_member(out, "target", masked);
    } else {
        buf_add_member(out, "target", recipient);
    }
}

/* ---- request.status ---- */

static void on_status_head(void *ctx, const struct status_head *head)
{
    struct ask *ask = ctx;
    char id[ID_TEXT_BYTES];

    ask->notification = head->notification;
    rpc_begin_result(&ask->call, &ask->out);
    buf_add_text(&ask->out, "{\"id\":");
    buf_add_json(&ask->out, ask->id);
    buf_printf(&ask->out, ",\"notification\":\"%s\"", id_format(head->notification, id));
    buf_add_member(&ask->out, "type", head->type);
    add_time(&ask->out, "accepted_at", head->accepted_ms);
    buf_add_text(&ask->out, ",\"deliveries\":[");
}

/* Attempts come first, in order, and then what is true of the delivery now: gather, then close. */
static void close_delivery(struct ask *ask)
{
    const struct status_row *last = &ask->last;
    int state = last->state < 0 ? DELIVERY_READY : last->state;
    int reason = last->reason;

    if (!ask->delivery)
        return;
    if (state == DELIVERY_SENT && report_is_known(last->report)) {
        state = (int)report_delivery_state((enum report)last->report);
        reason = last->report_reason;
    }
    buf_add_text(&ask->out, "]");
    buf_printf(&ask->out, ",\"state\":\"%s\",\"attempts\":%d",
               delivery_state_name((enum delivery_state)state), last->number);
    if (last->kind == STATUS_LIVE)
        add_time(&ask->out, "due_at", last->at_ms);
    buf_add_member(&ask->out, "reason", reason_name((enum reason)reason));
    if (report_is_known(last->report) && last->report > REPORT_SENT)
        buf_add_member(&ask->out, "report", report_name((enum report)last->report));
    buf_add_member(&ask->out, "detail", last->detail);
    buf_add_member(&ask->out, "provider",
                   last->channel == CHANNEL_IN_APP ? NULL : last->destination);
    buf_add_member(&ask->out, "provider_id", last->provider_id);
    if (last->segments)
        buf_printf(&ask->out, ",\"segments\":%d", last->segments);
    buf_add_char(&ask->out, '}');
}

static void open_delivery(struct ask *ask, const struct status_row *row)
{
    char id[ID_TEXT_BYTES];

    close_delivery(ask);
    buf_printf(&ask->out, "%s{\"delivery\":\"%s\",\"channel\":\"%s\"", ask->delivery ? "," : "",
               id_format(row->delivery, id), channel_name((enum channel)row->channel));
    add_recipient(&ask->out, row->recipient_kind, row->recipient, true);
    buf_add_text(&ask->out, ",\"history\":[");
    ask->delivery = row->delivery;
    ask->rows = 0;
    memset(&ask->last, 0, sizeof(ask->last));
}

/* The last word on a delivery: the row that ends it, else that it lives or is dead. */
static void note_last(struct ask *ask, const struct status_row *row)
{
    struct status_row last = *row;

    if (row->kind == STATUS_LIVE && ask->last.kind == STATUS_ATTEMPT && ask->rows) {
        last.detail = ask->last.detail;
        last.provider_id = ask->last.provider_id;
    }
    last.destination = row->destination ? arena_strdup(ask->arena, row->destination) : NULL;
    last.detail = last.detail ? arena_strdup(ask->arena, last.detail) : NULL;
    last.provider_id = last.provider_id ? arena_strdup(ask->arena, last.provider_id) : NULL;
    if (ask->last.kind == STATUS_LIVE && ask->rows && row->kind == STATUS_ATTEMPT)
        return;
    ask->last = last;
}

static void on_status_row(void *ctx, const struct status_row *row)
{
    struct ask *ask = ctx;
    unsigned before;

    if (ask->out.length > ANSWER_BYTES)
        return;
    if (row->delivery != ask->delivery)
        open_delivery(ask, row);
    before = ask->rows;
    note_last(ask, row);
    if (row->kind != STATUS_ATTEMPT) {
        if (row->kind == STATUS_LIVE)
            ask->rows |= 1u << 31;
        return;
    }
    buf_printf(&ask->out, "%s{\"attempt\":%d,\"outcome\":\"%s\"", before & 0xffff ? "," : "",
               row->number, outcome_name((enum outcome_kind)row->outcome));
    add_time(&ask->out, "at", row->at_ms);
    buf_add_member(&ask->out, "reason", reason_name((enum reason)row->reason));
    buf_add_member(&ask->out, "code", row->code);
    buf_add_member(&ask->out, "detail", row->detail);
    buf_add_member(&ask->out, "provider", row->channel == CHANNEL_IN_APP ? NULL : row->destination);
    buf_add_member(&ask->out, "provider_id", row->provider_id);
    buf_add_char(&ask->out, '}');
    ask->rows++;
}

static void on_status_done(void *ctx, int err)
{
    struct ask *ask = ctx;

    if (err) {
        fail(ask, err);
        return;
    }
    close_delivery(ask);
    buf_add_text(&ask->out, "]}");
    rpc_end_result(&ask->out);
    answer(ask);
}

static void on_cancelled(void *ctx, int err, int64_t count)
{
    struct ask *ask = ctx;

    if (err) {
        fail(ask, err);
        return;
    }
    buf_clear(&ask->out);
    rpc_begin_result(&ask->call, &ask->out);
    buf_printf(&ask->out, "{\"cancelled\":%lld}", (long long)count);
    rpc_end_result(&ask->out);
    answer(ask);
}

static void on_head_done(void *ctx, int err)
{
    struct ask *ask = ctx;
    struct admin *admin = ask->admin;
    struct status_call call = {NULL, on_status_row, on_status_done, ask};

    if (!err && strcmp(ask->method, "request.cancel") == 0)
        err = store_cancel(admin->store, admin->fence->epoch, ask->notification, on_cancelled, ask);
    else if (!err)
        err = store_status(admin->store, ask->notification, &call);
    if (err)
        fail(ask, err);
}

static void request_method(struct ask *ask, const struct topic_up *from)
{
    struct status_call call = {on_status_head, NULL, on_head_done, ask};
    struct request_key key;

    if (!rpc_text(&ask->call, "id", RPC_REQUIRED, REQUEST_ID_MAX, &ask->id) ||
        !rpc_done(&ask->call)) {
        answer(ask);
        return;
    }
    if (strlen(ask->id) > REQUEST_ID_MAX) {
        fail(ask, ERR_NOT_FOUND);
        return;
    }
    request_key_make(from->id, ask->id, clock_wall_ms(), &key);
    if (store_status_head(ask->admin->store, &key, &call))
        fail(ask, ERR_CLOSED);
}

/* ---- dlq ---- */

static const char *const channel_names[] = {"in_app", "push",    "sms", "email",
                                            "chat",   "webhook", NULL};

static bool read_filter(struct ask *ask, struct rpc_call *call, struct dead_filter *filter)
{
    size_t channel = 0;
    const char *reason = NULL;
    enum reason number;

    if (rpc_has(call, "channel")) {
        if (!rpc_choice(call, "channel", RPC_OPTIONAL, channel_names, &channel))
            return false;
        filter->channel = (int)channel;
    }
    if (!rpc_text(call, "reason", RPC_OPTIONAL, 64, &reason) ||
        !rpc_text(call, "type", RPC_OPTIONAL, 128, &filter->type) ||
        !rpc_text(call, "service", RPC_OPTIONAL, 128, &filter->service) ||
        !rpc_text(call, "user", RPC_OPTIONAL, 128, &filter->user) ||
        !rpc_time(call, "since", RPC_OPTIONAL, &filter->since_ms) ||
        !rpc_time(call, "until", RPC_OPTIONAL, &filter->until_ms))
        return false;
    if (reason && reason_parse(reason, &number))
        return rpc_fail(call, "bad_value", "there is no such reason", "reason");
    (void)ask;
    filter->reason = reason ? (int)number : 0;
    return true;
}

static void on_dead_row(void *ctx, const struct dead_row *row)
{
    static const char *const statuses[] = {"pending_review", "retrying", "resolved", "ignored"};
    struct ask *ask = ctx;
    char id[ID_TEXT_BYTES];

    ask->rows++;
    if (ask->rows > (unsigned)ask->limit || ask->out.length > ANSWER_BYTES)
        return;
    ask->next = row->delivery;
    buf_printf(&ask->out, "%s{\"delivery\":\"%s\"", ask->delivery ? "," : "",
               id_format(row->delivery, id));
    ask->delivery = row->delivery;
    buf_printf(&ask->out, ",\"notification\":\"%s\"", id_format(row->notification, id));
    buf_add_member(&ask->out, "service", row->service);
    buf_add_member(&ask->out, "request", row->request);
    buf_add_member(&ask->out, "type", row->type);
    buf_add_member(&ask->out, "channel", channel_name((enum channel)row->channel));
    buf_add_member(&ask->out, "destination", row->destination);
    add_recipient(&ask->out, row->recipient_kind, row->recipient, false);
    buf_add_member(&ask->out, "reason", reason_name((enum reason)row->reason));
    buf_add_member(&ask->out, "code", row->code);
    buf_add_member(&ask->out, "detail", row->detail);
    buf_printf(&ask->out, ",\"attempts\":%d,\"status\":\"%s\"", row->attempts,
               statuses[row->status & 3]);
    add_time(&ask->out, "died_at", row->died_ms);
    buf_add_char(&ask->out, '}');
}

static void on_dead_done(void *ctx, int err)
{
    struct ask *ask = ctx;
    char id[ID_TEXT_BYTES];

    if (err) {
        fail(ask, err);
        return;
    }
    buf_add_char(&ask->out, ']');
    if (ask->rows > (unsigned)ask->limit || ask->out.length > ANSWER_BYTES)
        buf_printf(&ask->out, ",\"next\":\"%s\"", id_format(ask->next, id));
    buf_add_char(&ask->out, '}');
    rpc_end_result(&ask->out);
    answer(ask);
}

static void dlq_list(struct ask *ask)
{
    struct dead_filter filter = {.channel = -1};
    struct dead_call call = {on_dead_row, on_dead_done, ask};
    uint64_t after = 0;

    ask->limit = 50;
    if (!read_filter(ask, &ask->call, &filter) ||
        !rpc_int(&ask->call, "limit", RPC_OPTIONAL, 1, LIST_MAX, &ask->limit) ||
        !rpc_id(&ask->call, "after", RPC_OPTIONAL, &after) || !rpc_done(&ask->call)) {
        answer(ask);
        return;
    }
    rpc_begin_result(&ask->call, &ask->out);
    buf_add_text(&ask->out, "{\"entries\":[");
    if (store_dlq_list(ask->admin->store, &filter, after, (int)ask->limit + 1, &call))
        fail(ask, ERR_CLOSED);
}

static void on_retried(void *ctx, int err, int64_t count)
{
    struct ask *ask = ctx;
    struct buf result = {0};

    if (err) {
        fail(ask, err);
        return;
    }
    buf_printf(&result, "{\"retried\":%lld}", (long long)count);
    if (store_audit(ask->admin->store, ask->id, ask->method,
                    ask->out.length ? buf_text(&ask->out) : "", buf_text(&result)))
        log_warn("admin.unaudited", LOG_STR("method", ask->method));
    buf_clear(&ask->out);
    rpc_begin_result(&ask->call, &ask->out);
    buf_add(&ask->out, result.data, result.length);
    rpc_end_result(&ask->out);
    buf_fini(&result);
    ask->admin->ops.poke(ask->admin->ops.ctx);
    answer(ask);
}

static void dlq_retry(struct ask *ask)
{
    struct dead_filter filter = {.channel = -1};
    struct rpc_call inner;
    uint64_t *ids = NULL;
    size_t count = 0;

    if (rpc_has(&ask->call, "ids") == rpc_has(&ask->call, "filter"))
        rpc_fail(&ask->call, "bad_value", "give either ids or a filter", "ids");
    else if (rpc_ids(&ask->call, "ids", RPC_OPTIONAL, LIST_MAX, &ids, &count) &&
             rpc_object(&ask->call, "filter", RPC_OPTIONAL, &inner) &&
             read_filter(ask, &inner, &filter) && rpc_done(&inner))
        rpc_done(&ask->call);
    if (ask->call.error->code) {
        answer(ask);
        return;
    }
    filter.ids = ids;
    filter.id_count = count;
    if (ask->call.params)
        json_write(ask->call.params, &ask->out);
    if (store_dlq_retry(ask->admin->store, &filter, ask->id, on_retried, ask))
        fail(ask, ERR_CLOSED);
}

/* ---- the door ---- */

static void dispatch_method(struct ask *ask, const struct topic_up *from)
{
    bool is_service = from->kind == TOPIC_SERVICE, is_admin = from->kind == TOPIC_ADMIN;

    if (is_service && (strcmp(ask->method, "request.status") == 0 ||
                       strcmp(ask->method, "request.cancel") == 0)) {
        request_method(ask, from);
    } else if (is_admin && strcmp(ask->method, "dlq.list") == 0) {
        dlq_list(ask);
    } else if (is_admin && strcmp(ask->method, "dlq.retry") == 0) {
        ask->id = arena_strdup(ask->arena, from->id);
        dlq_retry(ask);
    } else {
        rpc_fail(&ask->call, RPC_UNKNOWN_METHOD, "there is no such method for you", NULL);
        answer(ask);
    }
}

void admin_rpc(struct admin *admin, const struct topic_up *from, const struct mqtt_message *message)
{
    struct arena *arena;
    struct ask *ask;
    char topic[TOPIC_BYTES_MAX];
    const char *payload;

    if (admin->ops.elsewhere(admin->ops.ctx, from, message))
        return;
    arena = arena_new(2048);
    ask = arena_zalloc(arena, sizeof(*ask));
    payload = arena_strndup(arena, message->payload, message->payload_bytes);
    metric_add(admin->received, 1);
    ask->admin = admin;
    ask->arena = arena;
    ask->method = arena_strdup(arena, from->event + strlen("rpc/"));
    ask->topic = arena_strdup(arena, topic_down(from->kind, from->id, "reply", topic));
    admin->calls++;
    if (rpc_read(&ask->call, payload, message->payload_bytes, arena)) {
        answer(ask);
    } else if (admin->calls > CALLS_MAX || !store_is_up(admin->store)) {
        rpc_fail(&ask->call, RPC_UNAVAILABLE, "too many calls, or the database is away", NULL);
        answer(ask);
    } else {
        dispatch_method(ask, from);
    }
}

/* ---- the lane ---- */

static void on_message(void *ctx, const struct mqtt_message *message)
{
    struct admin *admin = ctx;
    struct topic_up up;

    if (topic_parse_up(message->topic, &up) || strncmp(up.event, "rpc/", 4) != 0)
        log_warn("admin.event", LOG_STR("topic", message->topic));
    else
        admin_rpc(admin, &up, message);
}

/* A call is not a promise: a caller that gets no answer asks again. */
static void on_batch(void *ctx, size_t count)
{
    struct admin *admin = ctx;

    (void)count;
    mqtt_release(admin->lane);
}

static void on_up(void *ctx, bool session_present)
{
    struct admin *admin = ctx;

    (void)session_present;
    admin->is_up = true;
    log_info("admin.up", LOG_INT("session_present", session_present));
}

static void on_down(void *ctx, const char *why)
{
    struct admin *admin = ctx;

    admin->is_up = false;
    log_warn("admin.down", LOG_STR("why", why));
}

void admin_open(struct admin *admin)
{
    static const struct mqtt_handlers handlers = {
        .on_up = on_up, .on_down = on_down, .on_message = on_message, .on_batch = on_batch};

    if (!admin->lane)
        admin->lane = mqtt_open(admin->loop, &admin->config.lane, &handlers, admin);
}

void admin_close(struct admin *admin)
{
    struct mqtt *lane = admin->lane;

    if (!lane)
        return;
    admin->lane = NULL;
    admin->is_up = false;
    mqtt_close(lane);
}

bool admin_is_open(const struct admin *admin)
{
    return admin->lane != NULL;
}

bool admin_is_ready(const struct admin *admin)
{
    return admin->is_up;
}
