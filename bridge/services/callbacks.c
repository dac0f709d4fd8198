/* SPDX-License-Identifier: MIT */
#include "services/callbacks.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "core/request.h"
#include "services/callbacks_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Requests that wait for a commit or a certificate, and their bytes.  Fewer than the connections
 * there may be (HEALTH_CONNECTIONS), so that a slow database leaves room for probes.
 */
#define POSTS_MAX      192
#define POST_BYTES_MAX (16u << 20)
/* Events in one statement at most: a request's are never parted, so that it can be more. */
#define KEEP_BITE 1000
/* How often what came before its message was recorded is looked at, and the old is forgotten. */
#define FOLD_MS     500
#define PURGE_FOLDS 120

static struct endpoint *find(const struct callbacks *callbacks, const char *name)
{
    for (size_t i = 0; i < callbacks->count; i++)
        if (strcmp(callbacks->endpoints[i]->name, name) == 0)
            return callbacks->endpoints[i];
    return NULL;
}

/* ---- one request ---- */

static void answer(struct http_exchange *exchange, int status, const char *text)
{
    http_answer(exchange, status, "text/plain; charset=utf-8", text, strlen(text));
}

void post_end(struct post *post, int status, const char *text)
{
    struct callbacks *callbacks = post->endpoint->callbacks;

    answer(post->exchange, status, text);
    callbacks->posts--;
    callbacks->post_bytes -= post->request.body_bytes;
    arena_free(post->result.arena);
    free(post);
}

static const char *header(void *ctx, const char *name)
{
    struct post *post = ctx;

    return http_request_header(post->exchange, name);
}

static void on_heard(void *ctx, int err)
{
    struct post *post = ctx;
    bool is_stop = post->result.word.keyword == KEYWORD_STOP;

    if (err)
        log_warn("callbacks.unheard", LOG_STR("err", err_name(err)));
    else
        log_info("callbacks.heard", LOG_STR("destination", post->endpoint->name),
                 LOG_STR("what", is_stop ? "STOP" : "START"),
                 LOG_ADDR("from", post->result.word.address));
    post_end(post, err ? 503 : 200, "");
}

/* STOP or START: a commit of its own, since these are few. */
static void hear(struct post *post)
{
    struct callbacks *callbacks = post->endpoint->callbacks;
    struct heard heard = {
        .destination = callbacks->ops.destination_id(callbacks->ops.ctx, post->endpoint->name),
        .is_stop = post->result.word.keyword == KEYWORD_STOP,
        .address = post->result.word.address,
        .key = post->result.word.key,
        .at_ms = post->result.word.at_ms,
    };

    if (!heard.destination || store_heard(callbacks->store, &heard, on_heard, post))
        post_end(post, 503, "");
}

/* What was not understood is kept beside the events, and somebody should look at it. */
static void note_unread(const struct post *post)
{
    metric_add(post->endpoint->unread, (double)post->result.unread_count);
    log_warn("callback.unread", LOG_STR("destination", post->endpoint->name),
             LOG_INT("parts", (int64_t)post->result.unread_count),
             LOG_INT("events", (int64_t)post->result.count),
             LOG_STR("look", "SELECT * FROM callback_event WHERE is_unread"));
}

/* What was proved is kept; the answer waits for it. */
static void take(struct post *post)
{
    struct callbacks *callbacks = post->endpoint->callbacks;

    metric_add(post->endpoint->good, 1);
    if (post->result.confirm)
        callbacks_confirm(post->endpoint, post->result.confirm);
    if (post->result.word.keyword) {
        hear(post);
        return;
    }
    if (post->result.unread_count)
        note_unread(post);
    if (!post->result.count && !post->result.unread_count) {
        post_end(post, 200, post->result.reply ? post->result.reply : "");
        return;
    }
    list_push_back(&callbacks->waiting, &post->node);
    loop_defer(callbacks->loop, &callbacks->flush);
}

void post_read(struct post *post)
{
    struct endpoint *endpoint = post->endpoint;
    enum callback_verdict verdict;

    if (!endpoint->account.reader) { /* it was taken away while a certificate was fetched */
        post_end(post, 404, "");
        return;
    }
    post->request.certificate = endpoint->certificate;
    post->request.certificate_url = endpoint->certificate_url;
    verdict = endpoint->account.reader->read(&endpoint->account, &post->request, &post->result);
    if (verdict == CALLBACK_GOOD) {
        take(post);
    } else if (verdict == CALLBACK_FETCH) {
        callbacks_fetch(post);
    } else {
        metric_add(verdict == CALLBACK_REFUSED ? endpoint->refused : endpoint->malformed, 1);
        log_warn("callback.refused", LOG_STR("destination", endpoint->name),
                 LOG_STR("why", post->result.why ? post->result.why : "not understood"));
        post_end(post, verdict == CALLBACK_REFUSED ? 401 : 400, "");
    }
}

static void begin(struct endpoint *endpoint, struct http_exchange *exchange,
                  const struct http_server_request *request)
{
    struct callbacks *callbacks = endpoint->callbacks;
    struct post *post = xcalloc(1, sizeof(*post));
    struct arena *arena = arena_new(0);

    callbacks->posts++;
    callbacks->post_bytes += request->body_bytes;
    post->endpoint = endpoint;
    post->exchange = exchange;
    post->result.arena = arena;
    post->request = (struct callback_request){
        .method = arena_strdup(arena, request->method),
        .query = arena_strdup(arena, request->query),
        .url = arena_printf(arena, "%s%s%s%s", callbacks->public_url, request->path,
                            request->query[0] ? "?" : "", request->query),
        .header = header,
        .ctx = post,
        .body = request->body_bytes ? arena_copy(arena, request->body, request->body_bytes) : "",
        .body_bytes = request->body_bytes,
        .now_ms = clock_wall_ms(),
    };
    post_read(post);
}

bool callbacks_has(const struct callbacks *callbacks, const char *path)
{
    const struct endpoint *endpoint = find(callbacks, path + strlen(CALLBACKS_PATH));

    return endpoint && endpoint->account.reader;
}

void callbacks_request(struct callbacks *callbacks, struct http_exchange *exchange,
                       const struct http_server_request *request)
{
    struct endpoint *endpoint = find(callbacks, request->path + strlen(CALLBACKS_PATH));
    bool is_get = strcmp(request->method, "GET") == 0;

    if (!endpoint || !endpoint->account.reader)
        answer(exchange, 404, "no callbacks are configured for a destination of this name\n");
    else if (strcmp(request->method, "POST") != 0 &&
             !(is_get && endpoint->account.reader->takes_get))
        answer(exchange, 405, "");
    else if (callbacks->is_stopped || callbacks->posts >= POSTS_MAX ||
             callbacks->post_bytes + request->body_bytes > POST_BYTES_MAX)
        answer(exchange, 503, "");
    else
        begin(endpoint, exchange, request);
}

/* ---- keeping ---- */

/* One of these calls can never be stored: each by itself, and only that one is refused. */
static void keep_again(struct callbacks *callbacks)
{
    struct list_node *node;

    while ((node = callbacks->keeping.head.prev) != &callbacks->keeping.head) {
        list_remove(&callbacks->keeping, node);
        list_push_front(&callbacks->waiting, node);
    }
    loop_defer(callbacks->loop, &callbacks->flush);
}

static void on_kept(void *ctx, int err, int64_t count)
{
    struct callbacks *callbacks = ctx;
    struct list_node *node;

    callbacks->is_keeping = false;
    callbacks->is_careful =
        err_is_refusal(err) || (callbacks->is_careful && callbacks->waiting.count);
    if (err)
        log_warn("callbacks.unkept", LOG_STR("err", err_name(err)));
    if (err_is_refusal(err) && callbacks->keeping.count > 1) {
        keep_again(callbacks);
        return;
    } else
        metric_add(callbacks->events, (double)count);
    while ((node = list_pop_front(&callbacks->keeping))) {
        struct post *post = CONTAINER_OF(node, struct post, node);

        post_end(post, err == ERR_DATA ? 400 : err ? 503 : 200, "");
    }
    if (callbacks->waiting.count)
        loop_defer(callbacks->loop, &callbacks->flush);
    if (!err && count)
        callbacks_fold(callbacks);
}

/* All that the provider sent: the body, or the query of a GET. */
static const char *all_of(const struct post *post, size_t *bytes)
{
    const char *query = post->request.query;

    *bytes = post->request.body_bytes ? post->request.body_bytes : strlen(query);
    return post->request.body_bytes ? post->request.body : query;
}

static void add_unread_rows(struct callback_row *rows, const struct post *post, int32_t destination)
{
    size_t all_bytes;
    const char *all = all_of(post, &all_bytes);

    for (size_t i = 0; i < post->result.unread_count; i++) {
        const struct callback_unread *unread = &post->result.unread[i];
        const char *raw = unread->raw ? unread->raw : all;

        rows[i] = (struct callback_row){
            .destination = destination,
            .is_unread = true,
            .key =
                unread->key ? unread->key : callback_unread_key(post->result.arena, all, all_bytes),
            .provider_id = "",
            .name = "unread",
            .raw = raw,
            .raw_bytes = unread->raw ? strlen(raw) : all_bytes,
        };
    }
}

static void add_rows(struct callback_row *rows, const struct post *post, int32_t destination)
{
    size_t all_bytes;
    const char *all = all_of(post, &all_bytes);

    add_unread_rows(rows + post->result.count, post, destination);
    for (size_t i = 0; i < post->result.count; i++) {
        const struct callback_event *event = &post->result.events[i];

        rows[i] = (struct callback_row){
            .destination = destination,
            .report = event->report,
            .reason = event->reason,
            .at_ms = event->at_ms,
            .key = event->key,
            .provider_id = event->provider_id,
            .name = event->name,
            .code = event->code,
            .delivery = event->delivery,
            .raw = event->raw ? event->raw : all,
            .raw_bytes = event->raw ? strlen(event->raw) : all_bytes,
        };
    }
}

static size_t rows_of(const struct post *post)
{
    return post->result.count + post->result.unread_count;
}

/* Everything that waits, in one statement; the next gathers until it is answered. */
static void flush(void *ctx)
{
    struct callbacks *callbacks = ctx;
    struct callback_row *rows = NULL;
    struct list_node *node;
    size_t count = 0;

    if (callbacks->is_keeping)
        return;
    while (count < KEEP_BITE && (node = list_pop_front(&callbacks->waiting))) {
        struct post *post = CONTAINER_OF(node, struct post, node);
        int32_t id = callbacks->ops.destination_id(callbacks->ops.ctx, post->endpoint->name);

        if (!id) {
            post_end(post, 503, "");
            continue;
        }
        rows = xrealloc(rows, (count + rows_of(post)) * sizeof(*rows));
        add_rows(rows + count, post, id);
        count += rows_of(post);
        list_push_back(&callbacks->keeping, &post->node);
        if (callbacks->is_careful && count)
            break;
    }
    if (!count)
        return;
    callbacks->is_keeping = true;
    if (store_callbacks_keep(callbacks->store, rows, count, on_kept, callbacks))
        on_kept(callbacks, ERR_CLOSED, 0);
    free(rows);
}

/* ---- folding ---- */

static void on_fold_done(void *ctx, int err, bool is_more)
{
    struct callbacks *callbacks = ctx;
    bool is_wanted = callbacks->wants_fold || is_more;

    callbacks->is_folding = false;
    callbacks->is_in_doubt = callbacks->is_in_doubt || err == ERR_DOUBT;
    if (err)
        log_warn("callbacks.unfolded", LOG_STR("err", err_name(err)));
    else if (is_wanted)
        callbacks_fold(callbacks);
}

void callbacks_fold(struct callbacks *callbacks)
{
    struct fold_call call = {callbacks_tell, callbacks_tell_off, on_fold_done, callbacks};
    int64_t epoch = callbacks->fence->epoch;

    callbacks->wants_fold = callbacks->is_folding;
    if (callbacks->is_folding || callbacks->is_stopped || !epoch || !store_is_up(callbacks->store))
        return;
    if (callbacks->has_tracking)
        store_callbacks_adopt(callbacks->store);
    callbacks->is_folding = store_callbacks_fold(callbacks->store, epoch, &call) == 0;
}

void callbacks_track(struct callbacks *callbacks, bool has_tracking)
{
    callbacks->has_tracking = has_tracking;
}

void callbacks_poke(struct callbacks *callbacks)
{
    callbacks_fold(callbacks);
}

static void on_purged(void *ctx, int err, int64_t count)
{
    struct callbacks *callbacks = ctx;

    callbacks->is_purging = !err && count >= CALLBACKS_PURGE_BITE;
    if (err)
        log_warn("callbacks.unpurged", LOG_STR("err", err_name(err)));
    else if (count)
        log_debug("callbacks.purged", LOG_INT("rows", count));
}

static void on_timer(void *ctx)
{
    struct callbacks *callbacks = ctx;

    loop_timer_start(callbacks->loop, &callbacks->timer, FOLD_MS, on_timer, callbacks);
    if ((!callbacks->count && !callbacks->has_tracking) || !store_is_up(callbacks->store))
        return;
    callbacks_tell_turn(callbacks);
    if (callbacks->is_stopped)
        return;
    callbacks_fold(callbacks);
    if ((callbacks->tick++ % PURGE_FOLDS == PURGE_FOLDS / 2 || callbacks->is_purging) &&
        store_callbacks_purge(callbacks->store, callbacks->sent_days, callbacks->event_days,
                              on_purged, callbacks))
        log_debug("callbacks.purge_unsent", LOG_INT("tick", callbacks->tick));
}

/* ---- life ---- */

struct callbacks *callbacks_new(struct loop *loop, const struct callbacks_config *config,
                                struct store *store, const struct fence *fence,
                                struct http_client *http, struct metrics *metrics,
                                const struct callbacks_ops *ops)
{
    static const enum report reports[] = {REPORT_SENT,      REPORT_FAILED,    REPORT_DELIVERED,
                                          REPORT_READ,      REPORT_CLICKED,   REPORT_BOUNCED,
                                          REPORT_OPTED_OUT, REPORT_COMPLAINED};
    struct callbacks *callbacks = xcalloc(1, sizeof(*callbacks));
    size_t length = strlen(config->public_url);

    callbacks->loop = loop;
    callbacks->store = store;
    callbacks->fence = fence;
    callbacks->http = http;
    callbacks->metrics = metrics;
    callbacks->ops = *ops;
    callbacks->sent_days = config->sent_days;
    callbacks->event_days = config->event_days;
    callbacks->public_url = xstrdup(config->public_url);
    if (length && callbacks->public_url[length - 1] == '/')
        callbacks->public_url[length - 1] = '\0';
    list_init(&callbacks->waiting);
    list_init(&callbacks->keeping);
    callbacks->flush = (struct loop_deferred){.run = flush, .ctx = callbacks};
    callbacks->events = metrics_get(metrics, METRIC_COUNTER, "tocsin_callback_events_total",
                                    "Events of providers that were new.", NULL);
    for (size_t i = 0; i < sizeof(reports) / sizeof(reports[0]); i++) {
        char labels[64];

        snprintf(labels, sizeof(labels), "report=\"%s\"", report_name(reports[i]));
        callbacks->moves[reports[i] / 5] =
            metrics_get(metrics, METRIC_COUNTER, "tocsin_callback_moves_total",
                        "Messages of which a provider said something new.", labels);
    }
    loop_timer_start(loop, &callbacks->timer, FOLD_MS, on_timer, callbacks);
    return callbacks;
}

static struct metric *result_metric(struct callbacks *callbacks, const char *name,
                                    const char *result)
{
    char labels[256];

    snprintf(labels, sizeof(labels), "destination=\"%s\",result=\"%s\"", name, result);
    return metrics_get(callbacks->metrics, METRIC_COUNTER, "tocsin_callbacks_total",
                       "Callbacks of providers, by what was thought of them.", labels);
}

void callbacks_set(struct callbacks *callbacks, const char *name,
                   const struct callback_account *account)
{
    struct endpoint *endpoint = find(callbacks, name);

    if (endpoint) {
        callback_close(&endpoint->account);
        endpoint->account = *account;
        return;
    }
    if (!account->reader)
        return;
    ASSERT(callbacks->count < CALLBACK_ENDPOINTS_MAX);
    endpoint = xcalloc(1, sizeof(*endpoint));
    endpoint->callbacks = callbacks;
    endpoint->name = xstrdup(name);
    endpoint->account = *account;
    list_init(&endpoint->waiting);
    endpoint->good = result_metric(callbacks, name, "good");
    endpoint->refused = result_metric(callbacks, name, "refused");
    endpoint->unread = result_metric(callbacks, name, "unread");
    endpoint->malformed = result_metric(callbacks, name, "malformed");
    callbacks->endpoints[callbacks->count++] = endpoint;
}

void callbacks_stop(struct callbacks *callbacks)
{
    callbacks->is_stopped = true;
}

void callbacks_free(struct callbacks *callbacks)
{
    struct list_node *node;

    callbacks->is_stopped = true;
    loop_timer_stop(&callbacks->timer);
    loop_defer_cancel(callbacks->loop, &callbacks->flush);
    while ((node = list_pop_front(&callbacks->waiting)))
        post_end(CONTAINER_OF(node, struct post, node), 503, "");
    for (size_t i = 0; i < callbacks->count; i++) {
        struct endpoint *endpoint = callbacks->endpoints[i];

        callback_close(&endpoint->account);
        free(endpoint->certificate_url);
        free(endpoint->fetching_url);
        free(endpoint->certificate);
        free(endpoint->name);
        free(endpoint);
    }
    free(callbacks->public_url);
    free(callbacks->fresh);
    free(callbacks->handed);
    free(callbacks);
}
