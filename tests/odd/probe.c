/* SPDX-License-Identifier: MIT */
/*
 * probe - the readers and writers of foreign shapes, one input a line, for tests/odd/test_*.py
 *
 * Each line of standard input is a JSON object with `op`; one line of JSON answers it.
 *
 *   keyword   text64                              -> {"keyword": "STOP" | "START" | ""}
 *   address   channel, text                       -> {"key", "strict": null or text}
 *   decode    text                                -> {"reason", "content", "to"} of one request
 *   send      adapter, settings, target, content  -> {"requests": [{url, body64, headers}],
 *                                                     "outcome", "detail"}
 *   callback  adapter, settings, headers, method, url, query, body64, now
 *                                                 -> {"verdict", "events", "unread", "word"}
 *
 * Nothing is sent: what an adapter would send is kept here, as in tests/unit/channel_fake.h.
 * A request for a token is answered with one.
 */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "channels/adapters.h"
#include "channels/callback.h"
#include "channels/encode.h"
#include "core/address.h"
#include "core/keyword.h"
#include "core/request.h"
#include "io/http_client.h"
#include "io/loop.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NOW_MS INT64_C(1700000000000)

/* ---- the engine and the loop as an adapter sees them ---- */

struct waiting {
    http_response_fn *on_response;
    void *ctx;
    bool is_token;
};

static json_t *requests;
static struct waiting waiting;
static struct {
    struct loop_timer *timer;
    void (*on_due)(void *ctx);
    void *ctx;
} timers[8];
static char *outcome_text;
static const char *outcome_kind;

static int64_t wall_ms(void)
{
    return NOW_MS;
}

static void add_bytes(json_t *object, const char *name, const void *bytes, size_t length)
{
    struct buf text = {0};

    encode_base64(&text, bytes, length);
    json_object_set_new(object, name, json_string(buf_text(&text)));
    buf_fini(&text);
}

int http_send(struct http_client *client, const struct http_request *request,
              http_response_fn *on_response, void *ctx)
{
    json_t *kept = json_object(), *headers = json_object();

    (void)client;
    for (unsigned i = 0; i < request->header_count; i++)
        json_object_set_new(headers, request->headers[i].name,
                            json_string(request->headers[i].value));
    json_object_set_new(kept, "url", json_string(request->url));
    json_object_set_new(kept, "headers", headers);
    add_bytes(kept, "body64", request->body, request->body_bytes);
    json_array_append_new(requests, kept);
    waiting = (struct waiting){on_response, ctx, strstr(request->url, "/token") != NULL};
    return 0;
}

int http_send_mail(struct http_client *client, const struct http_mail *mail,
                   http_response_fn *on_response, void *ctx)
{
    json_t *kept =
        json_pack("{s:s, s:s, s:s}", "url", "smtp", "from", mail->from, "to", mail->recipients[0]);

    (void)client;
    add_bytes(kept, "body64", mail->message, mail->message_bytes);
    json_array_append_new(requests, kept);
    waiting = (struct waiting){on_response, ctx, false};
    return 0;
}

const char *http_response_header(const struct http_response *response, const char *name)
{
    (void)response, (void)name;
    return NULL;
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, int64_t after_ms,
                      void (*on_due)(void *ctx), void *ctx)
{
    (void)loop, (void)after_ms;
    for (unsigned i = 0; i < sizeof timers / sizeof timers[0]; i++) {
        if (timers[i].timer)
            continue;
        timers[i].timer = timer;
        timers[i].on_due = on_due;
        timers[i].ctx = ctx;
        timer->handle = &timers[i];
        return;
    }
    abort();
}

void loop_timer_stop(struct loop_timer *timer)
{
    for (unsigned i = 0; i < sizeof timers / sizeof timers[0]; i++)
        if (timers[i].timer == timer)
            timers[i].timer = NULL;
    timer->handle = NULL;
}

static void run_timers(void)
{
    for (unsigned i = 0; i < sizeof timers / sizeof timers[0]; i++) {
        if (!timers[i].timer)
            continue;
        timers[i].timer = NULL;
        timers[i].on_due(timers[i].ctx);
    }
}

static void on_outcome(void *ctx, const struct outcome *outcome)
{
    (void)ctx;
    outcome_kind = outcome_name(outcome->kind);
    free(outcome_text);
    outcome_text = xstrdup(outcome->detail);
}

static void answer(int status, const char *body)
{
    struct http_response response = {.is_sent = true,
                                     .is_fully_sent = true,
                                     .status = status,
                                     .version = 2,
                                     .body = body,
                                     .body_bytes = strlen(body),
                                     .retry_after_ms = -1};
    struct waiting to = waiting;

    waiting = (struct waiting){0};
    to.on_response(to.ctx, &response);
}

/* ---- operations ---- */

static const char *text_of(const json_t *in, const char *name, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(in, name));

    return text ? text : otherwise;
}

static struct buf bytes_of(const json_t *in, const char *name)
{
    const char *text = text_of(in, name, "");
    struct buf out = {0};

    if (decode_base64(&out, text, strlen(text)))
        abort();
    return out;
}

static const char *setting(void *ctx, const char *key)
{
    return json_string_value(json_object_get(ctx, key));
}

static json_t *op_keyword(const json_t *in)
{
    static const char *const names[] = {"", "STOP", "START"};
    struct buf text = bytes_of(in, "text64");
    enum keyword keyword = keyword_parse(buf_text(&text), text.length);

    buf_fini(&text);
    return json_pack("{s:s}", "keyword", names[keyword]);
}

static json_t *op_address(const json_t *in)
{
    struct arena *arena = arena_new(0);
    const char *text = text_of(in, "text", "");
    enum channel channel = CHANNEL_EMAIL;
    json_t *out;

    if (channel_parse(text_of(in, "channel", "email"), &channel))
        abort();
    out = json_pack("{s:s, s:s?, s:s, s:s?}", "key", address_key(channel, text, arena), "strict",
                    address_key_strict(channel, text, arena), "wire",
                    address_wire(channel, text, arena), "strict_wire",
                    address_wire_strict(channel, text, arena));
    arena_free(arena);
    return out;
}

static json_t *op_decode(const json_t *in)
{
    struct arena *arena = arena_new(0);
    const char *text = text_of(in, "text", "");
    struct request_batch batch;
    const struct request_item *item;
    json_t *out = json_object();

    request_decode(text, strlen(text), 0, arena, &batch);
    item = &batch.items[0];
    json_object_set_new(out, "reason", json_string(reject_name(item->rejection.reason)));
    if (!item->rejection.reason) {
        json_object_set_new(out, "content",
                            json_stringn(item->request.content, item->request.content_bytes));
        json_object_set_new(out, "to", json_string(item->request.recipients[0]));
    }
    arena_free(arena);
    return out;
}

static json_t *op_send(const json_t *in)
{
    const struct adapter *adapter = adapter_find(text_of(in, "adapter", ""));
    struct adapter_settings settings = {"odd", setting, json_object_get(in, "settings")};
    struct adapter_env env = {.wall_ms = wall_ms};
    const char *content = text_of(in, "content", "{}");
    struct job job = {.delivery = UINT64_C(0x0123456789abcdef),
                      .notification = UINT64_C(0x0123456789abcd00),
                      .attempt = 1,
                      .service = "shop",
                      .request = "r1",
                      .type = "order.ready",
                      .priority = PRIORITY_NORMAL,
                      .target = text_of(in, "target", ""),
                      .content = content,
                      .content_bytes = strlen(content),
                      .created_ms = NOW_MS};
    void *state = NULL;
    char why[512] = "";

    requests = json_array();
    outcome_kind = NULL;
    if (!adapter || adapter->open(&env, &settings, &state, why, sizeof why))
        return json_pack("{s:s, s:o}", "error", why, "requests", requests);
    if (adapter->send(state, &job, on_outcome, NULL))
        outcome_kind = "unsent";
    run_timers();
    while (waiting.on_response)
        if (waiting.is_token)
            answer(200, "{\"access_token\":\"t\",\"expires_in\":3600}");
        else
            answer(503, "");
    run_timers();
    adapter->close(state);
    return json_pack("{s:o, s:s?, s:s?}", "requests", requests, "outcome", outcome_kind, "detail",
                     outcome_text);
}

static const char *header(void *ctx, const char *name)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)ctx, key, value)
    {
        if (strcasecmp(key, name) == 0)
            return json_string_value(value);
    }
    return NULL;
}

static json_t *show(const struct callback_result *result, enum callback_verdict verdict)
{
    static const char *const names[] = {"good", "refused", "malformed", "fetch"};
    json_t *events = json_array(), *unread = json_array();

    for (size_t i = 0; i < result->count; i++) {
        const struct callback_event *event = &result->events[i];

        json_array_append_new(
            events, json_pack("{s:s, s:s, s:s, s:I, s:b}", "id", event->provider_id, "name",
                              event->name, "report", report_name(event->report), "at",
                              (json_int_t)event->at_ms, "delivery", event->delivery != 0));
    }
    for (size_t i = 0; i < result->unread_count; i++)
        json_array_append_new(unread, json_boolean(result->unread[i].raw == NULL));
    return json_pack("{s:s, s:o, s:o, s:i, s:s?}", "verdict", names[verdict], "events", events,
                     "unread", unread, "word", (int)result->word.keyword, "fetch", result->fetch);
}

static json_t *op_callback(const json_t *in)
{
    struct adapter_settings settings = {"odd", setting, json_object_get(in, "settings")};
    struct callback_account account;
    struct callback_result result = {.arena = arena_new(0)};
    struct buf body = bytes_of(in, "body64");
    struct callback_request request = {
        .method = text_of(in, "method", "POST"),
        .query = text_of(in, "query", ""),
        .url = text_of(in, "url", ""),
        .header = header,
        .ctx = json_object_get(in, "headers"),
        .body = buf_text(&body),
        .body_bytes = body.length,
        .now_ms = (int64_t)json_integer_value(json_object_get(in, "now")) * 1000,
        .certificate = text_of(in, "certificate", NULL),
        .certificate_url = text_of(in, "certificate_url", NULL)};
    enum callback_verdict verdict;
    char why[512] = "";
    json_t *out;

    if (callback_open(&account, text_of(in, "adapter", ""), &settings, why, sizeof why) ||
        !account.reader) {
        out = json_pack("{s:s}", "error", why);
    } else {
        verdict = account.reader->read(&account, &request, &result);
        out = show(&result, verdict);
    }
    callback_close(&account);
    arena_free(result.arena);
    buf_fini(&body);
    return out;
}

static json_t *run(const json_t *in)
{
    static const struct {
        const char *name;
        json_t *(*run)(const json_t *in);
    } ops[] = {{"keyword", op_keyword},
               {"address", op_address},
               {"decode", op_decode},
               {"send", op_send},
               {"callback", op_callback}};

    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (strcmp(ops[i].name, text_of(in, "op", "")) == 0)
            return ops[i].run(in);
    return json_pack("{s:s}", "error", "no such op");
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;

    while (getline(&line, &room, stdin) > 0) {
        json_t *in = json_loads(line, JSON_ALLOW_NUL, NULL), *out = in ? run(in) : NULL;
        char *text = out ? json_dumps(out, JSON_COMPACT) : NULL;

        puts(text ? text : "{\"error\":\"the line or the answer is no JSON\"}");
        (void)fflush(stdout);
        free(text);
        json_decref(out);
        json_decref(in);
    }
    free(line);
    free(outcome_text);
    return 0;
}
