/* SPDX-License-Identifier: MIT */
#include "services/requests_desk.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "core/delivery.h"
#include "core/id.h"
#include "core/report.h"
#include "core/request.h"
#include "store/questions.h"

#include <stdlib.h>
#include <string.h>

struct requests_desk {
    struct store *store;
};

/* A call's own. */
struct question {
    struct requests_desk *desk;
    const char *id;
    uint64_t notification, after;
    int64_t limit, shown; /* deliveries */
    bool is_cut;          /* there are more than are shown */
    uint64_t last_shown;
    /* The delivery that is being written; 0: none. */
    uint64_t delivery;
    size_t begins; /* where in the answer */
    struct status_row last;
    unsigned rows;
};

/* ---- request.status ---- */

static void on_status_head(void *ctx, const struct status_head *head)
{
    struct ask *ask = ctx;
    struct question *question = ask->own;
    char id[ID_TEXT_BYTES];

    question->notification = head->notification;
    ask_begin(ask);
    buf_add_text(&ask->out, "{\"id\":");
    buf_add_json(&ask->out, question->id);
    buf_printf(&ask->out, ",\"notification\":\"%s\"", id_format(head->notification, id));
    buf_add_member(&ask->out, "type", head->type);
    ask_add_time(ask, "accepted_at", head->accepted_ms);
    buf_printf(&ask->out, ",\"total\":%d", head->deliveries);
    if (head->is_expanding)
        buf_add_text(&ask->out, ",\"is_expanding\":true");
    buf_add_text(&ask->out, ",\"deliveries\":[");
}

/* Attempts come first, in order, and then what is true of the delivery now: gather, then close. */
static void close_delivery(struct ask *ask)
{
    struct question *question = ask->own;
    const struct status_row *last = &question->last;
    int state = last->state < 0 ? DELIVERY_READY : last->state;
    int reason = last->reason;

    if (state == DELIVERY_SENT && report_is_known(last->report)) {
        state = (int)report_delivery_state((enum report)last->report);
        reason = last->report_reason;
    }
    buf_add_text(&ask->out, "]");
    buf_printf(&ask->out, ",\"state\":\"%s\",\"attempts\":%d",
               delivery_state_name((enum delivery_state)state), last->number);
    if (last->kind == STATUS_LIVE && last->at_ms)
        ask_add_time(ask, "due_at", last->at_ms);
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

/* An answer has whole deliveries only: one that is too many is taken out again. */
static void end_delivery(struct ask *ask)
{
    struct question *question = ask->own;

    if (!question->delivery)
        return;
    close_delivery(ask);
    question->is_cut = !ask_keep_entry(ask, question->begins, question->shown == 0);
    if (!question->is_cut) {
        question->last_shown = question->delivery;
        question->shown++;
    }
    question->delivery = 0;
}

static void open_delivery(struct ask *ask, const struct status_row *row)
{
    struct question *question = ask->own;
    char id[ID_TEXT_BYTES];

    question->begins = ask->out.length;
    buf_printf(&ask->out, "%s{\"delivery\":\"%s\",\"channel\":\"%s\"", question->shown ? "," : "",
               id_format(row->delivery, id), channel_name((enum channel)row->channel));
    ask_add_recipient(ask, row->recipient_kind, row->recipient, row->user);
    buf_add_text(&ask->out, ",\"history\":[");
    question->delivery = row->delivery;
    question->rows = 0;
    memset(&question->last, 0, sizeof(question->last));
}

/* The last word on a delivery: the row that ends it, else that it lives or is dead. */
static void note_last(struct ask *ask, const struct status_row *row)
{
    struct question *question = ask->own;
    struct status_row last = *row;

    if (row->kind == STATUS_LIVE && question->last.kind == STATUS_ATTEMPT && question->rows) {
        last.detail = question->last.detail;
        last.provider_id = question->last.provider_id;
    }
    last.destination = row->destination ? arena_strdup(ask->arena, row->destination) : NULL;
    last.detail = last.detail ? arena_strdup(ask->arena, last.detail) : NULL;
    last.provider_id = last.provider_id ? arena_strdup(ask->arena, last.provider_id) : NULL;
    if (question->last.kind == STATUS_LIVE && question->rows && row->kind == STATUS_ATTEMPT)
        return;
    question->last = last;
}

static void on_status_row(void *ctx, const struct status_row *row)
{
    struct ask *ask = ctx;
    struct question *question = ask->own;
    unsigned before;

    if (row->delivery != question->delivery) {
        end_delivery(ask);
        /* One more was asked for than is shown: whether there are more. */
        question->is_cut = question->is_cut || question->shown == question->limit;
        if (!question->is_cut)
            open_delivery(ask, row);
    }
    if (question->is_cut)
        return;
    before = question->rows;
    note_last(ask, row);
    if (row->kind != STATUS_ATTEMPT) {
        if (row->kind == STATUS_LIVE)
            question->rows |= 1u << 31;
        return;
    }
    buf_printf(&ask->out, "%s{\"attempt\":%d,\"outcome\":\"%s\"", before & 0xffff ? "," : "",
               row->number, outcome_name((enum outcome_kind)row->outcome));
    ask_add_time(ask, "at", row->at_ms);
    buf_add_member(&ask->out, "reason", reason_name((enum reason)row->reason));
    buf_add_member(&ask->out, "code", row->code);
    buf_add_member(&ask->out, "detail", row->detail);
    buf_add_member(&ask->out, "provider", row->channel == CHANNEL_IN_APP ? NULL : row->destination);
    buf_add_member(&ask->out, "provider_id", row->provider_id);
    buf_add_char(&ask->out, '}');
    question->rows++;
}

static void on_status_done(void *ctx, int err)
{
    struct ask *ask = ctx;
    const struct question *question = ask->own;

    if (err) {
        ask_fail(ask, err);
        return;
    }
    end_delivery(ask);
    ask_end_page(ask, question->is_cut ? question->last_shown : 0);
}

static void on_status_key(void *ctx, int err)
{
    struct ask *ask = ctx;
    struct question *question = ask->own;
    struct status_call status = {NULL, on_status_row, on_status_done, ask};

    if (!err)
        err = store_status(question->desk->store, question->notification, question->after,
                           (int)question->limit + 1, &status);
    if (err)
        ask_fail(ask, err);
}

static void request_status(struct ask *ask)
{
    struct status_call found = {on_status_head, NULL, on_status_key, ask};
    struct question *question = ask->own;
    struct request_key key;

    question->desk = ask->service;
    question->limit = ASK_LIST_MAX;
    if (!rpc_text(&ask->rpc, "id", RPC_REQUIRED, REQUEST_ID_MAX, &question->id) ||
        !rpc_int(&ask->rpc, "limit", RPC_OPTIONAL, 1, ASK_LIST_MAX, &question->limit) ||
        !rpc_id(&ask->rpc, "after", RPC_OPTIONAL, &question->after) || !rpc_done(&ask->rpc)) {
        ask_answer(ask);
        return;
    }
    if (strlen(question->id) > REQUEST_ID_MAX) {
        ask_fail(ask, ERR_NOT_FOUND);
        return;
    }
    request_key_make(ask->from, question->id, clock_wall_ms(), &key);
    if (store_status_head(question->desk->store, &key, &found))
        ask_fail(ask, ERR_CLOSED);
}

static const struct method methods[] = {
    {"request.status", ASK_SERVICES, sizeof(struct question), request_status},
};

struct requests_desk *requests_desk_new(struct asks *asks, struct store *store)
{
    struct requests_desk *desk = xcalloc(1, sizeof(*desk));

    desk->store = store;
    asks_add(asks, methods, sizeof(methods) / sizeof(methods[0]), desk);
    return desk;
}

void requests_desk_free(struct requests_desk *desk)
{
    free(desk);
}
