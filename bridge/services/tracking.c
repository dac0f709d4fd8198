/* SPDX-License-Identifier: MIT */
#include "services/tracking.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "core/address.h"
#include "store/callbacks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Opens and clicks that wait for a commit; past it they are counted as lost and no more. */
#define SEEN_MAX 10000
/* Of one statement. */
#define KEEP_BITE 1000
/* How long to wait after a statement that failed. */
#define AGAIN_MS 1000
/* Unsubscriptions that wait for their commit. */
#define LEAVING_MAX 32 /* with POSTS_MAX of callbacks, fewer than HEALTH_CONNECTIONS */

enum count {
    COUNT_OPEN,
    COUNT_CLICK,
    COUNT_UNSUBSCRIBE,
    COUNT_AHEAD,
    COUNT_REFUSED,
    COUNT_LOST,
    COUNTS
};

/* An open or a click. */
struct seen {
    struct list_node node;
    enum report report;
    int64_t at_ms;
    char delivery[24], key[64];
    size_t url_bytes;
    char url[];
};

struct tracking {
    struct loop *loop;
    const struct tracker *tracker;
    struct store *store;
    struct tracking_ops ops;
    struct list waiting, keeping;
    bool is_keeping;
    size_t bite; /* of one statement: fewer than KEEP_BITE while one of them is refused */
    unsigned leaving;
    struct loop_deferred flush;
    struct loop_timer again;
    struct metric *counts[COUNTS];
};

/* One unsubscription under way. */
struct leaving {
    struct tracking *tracking;
    struct http_exchange *exchange;
};

/* ---- answers ---- */

static const unsigned char IMAGE[] = {
    'G', 'I', 'F', '8', '9', 'a',  1, 0, 1, 0, 0x80, 0, 0, 0, 0, 0, 0, 0,    0, 0x21, 0xf9, 4,
    1,   0,   0,   0,   0,   0x2c, 0, 0, 0, 0, 1,    0, 1, 0, 0, 2, 2, 0x44, 1, 0,    0x3b};

#define PAGE_HEAD                                                                       \
    "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"                   \
    "<meta name=\"viewport\" content=\"width=device-width\"><title>Unsubscribe</title>" \
    "</head><body><main>"
#define PAGE_END "</main></body></html>\n"

static const char ASK_PAGE[] =
    PAGE_HEAD "<h1>Unsubscribe</h1><p>Do you want no more messages of this kind?</p>"
              "<form method=\"post\"><input type=\"hidden\" name=\"List-Unsubscribe\" "
              "value=\"One-Click\"><button type=\"submit\">Unsubscribe</button></form>" PAGE_END;
static const char DONE_PAGE[] =
    PAGE_HEAD "<h1>Unsubscribed</h1><p>You will get no more messages of this kind.</p>" PAGE_END;
static const char LATER_PAGE[] =
    PAGE_HEAD "<h1>Not yet</h1><p>This did not work. Please try again in a minute.</p>" PAGE_END;

static void answer(struct http_exchange *exchange, int status, const char *type, const void *body,
                   size_t bytes)
{
    http_answer_header(exchange, "Cache-Control", "no-store");
    http_answer_header(exchange, "Referrer-Policy", "no-referrer");
    http_answer_header(exchange, "X-Robots-Tag", "noindex, nofollow");
    http_answer(exchange, status, type, body, bytes);
}

static void answer_page(struct http_exchange *exchange, int status, const char *page)
{
    http_answer_header(exchange, "Content-Security-Policy",
                       "default-src 'none'; form-action 'self'; frame-ancestors 'none'");
    http_answer_header(exchange, "X-Content-Type-Options", "nosniff");
    answer(exchange, status, "text/html; charset=utf-8", page, strlen(page));
}

static void answer_text(struct http_exchange *exchange, int status, const char *text)
{
    answer(exchange, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* ---- opens and clicks ---- */

static void on_kept(void *ctx, int err, int64_t count)
{
    struct tracking *tracking = ctx;
    size_t rows = tracking->keeping.count;
    bool is_refused = err == ERR_DATA && rows == 1; /* alone: it can never be stored */
    struct list_node *node;

    tracking->is_keeping = false;
    if (err_is_refusal(err))
        tracking->bite = rows > 1 ? rows / 2 : 1;
    else if (!err)
        tracking->bite = tracking->bite * 2 < KEEP_BITE ? tracking->bite * 2 : KEEP_BITE;
    while ((node = tracking->keeping.head.prev) != &tracking->keeping.head) {
        list_remove(&tracking->keeping, node);
        if (err && !is_refused) {
            /* Repeats are dropped by their key; one that was refused alone goes behind the others.
             */
            if (rows == 1 && err_is_refusal(err))
                list_push_back(&tracking->waiting, node);
            else
                list_push_front(&tracking->waiting, node);
        } else {
            metric_add(tracking->counts[COUNT_LOST], err != 0);
            free(CONTAINER_OF(node, struct seen, node));
        }
    }
    if (err)
        log_warn("tracking.unkept", LOG_STR("err", err_name(err)));
    if ((!err || is_refused || (rows > 1 && err_is_refusal(err))) && tracking->waiting.count)
        loop_defer(tracking->loop, &tracking->flush);
    if (!err && count)
        tracking->ops.kept(tracking->ops.ctx);
}

static void flush(void *ctx);

static void on_again(void *ctx)
{
    struct tracking *tracking = ctx;

    loop_defer(tracking->loop, &tracking->flush);
}

static void send(struct tracking *tracking)
{
    struct callback_row *rows = xmalloc(tracking->bite * sizeof(*rows));
    struct list_node *node;
    size_t count = 0;

    while (count < tracking->bite && (node = list_pop_front(&tracking->waiting))) {
        const struct seen *seen = CONTAINER_OF(node, struct seen, node);

        list_push_back(&tracking->keeping, node);
        rows[count++] = (struct callback_row){
            .destination = STORE_OURSELVES,
            .report = seen->report,
            .at_ms = seen->at_ms,
            .key = seen->key,
            .provider_id = seen->delivery,
            .name = report_name(seen->report),
            .raw = seen->url,
            .raw_bytes = seen->url_bytes,
        };
    }
    tracking->is_keeping = true;
    if (store_callbacks_keep(tracking->store, rows, count, on_kept, tracking))
        on_kept(tracking, ERR_CLOSED, 0);
    free(rows);
}

static void flush(void *ctx)
{
    struct tracking *tracking = ctx;

    if (!tracking->is_keeping && tracking->waiting.count && store_is_up(tracking->store))
        send(tracking);
    /* What came meanwhile, or could not be kept, is looked at again. */
    if (tracking->waiting.count || tracking->is_keeping)
        loop_timer_start(tracking->loop, &tracking->again, AGAIN_MS, on_again, tracking);
}

static bool is_ahead(struct http_exchange *exchange, const struct http_server_request *request)
{
    static const char *const names[] = {"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"};

    if (strcmp(request->method, "HEAD") == 0)
        return true;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = http_request_header(exchange, names[i]);

        if (value && (strcasestr(value, "prefetch") || strcasestr(value, "preview")))
            return true;
    }
    return false;
}

static uint64_t hash(const char *text)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a: links of one mail, kept apart */

    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
    return hash;
}

static void see(struct tracking *tracking, const struct tracker_link *link, enum report report)
{
    const char *url = link->url ? link->url : "";
    size_t bytes = strlen(url);
    struct seen *seen;

    metric_add(tracking->counts[report == REPORT_READ ? COUNT_OPEN : COUNT_CLICK], 1);
    if (tracking->waiting.count >= SEEN_MAX) {
        metric_add(tracking->counts[COUNT_LOST], 1);
        return;
    }
    seen = xcalloc(1, sizeof(*seen) + bytes + 1);
    seen->report = report;
    seen->at_ms = clock_wall_ms();
    seen->url_bytes = bytes;
    memcpy(seen->url, url, bytes + 1);
    snprintf(seen->delivery, sizeof(seen->delivery), "%lld", (long long)link->delivery);
    snprintf(seen->key, sizeof(seen->key), "%s %s %016llx", report_name(report), seen->delivery,
             (unsigned long long)(bytes ? hash(url) : 0));
    list_push_back(&tracking->waiting, &seen->node);
    loop_defer(tracking->loop, &tracking->flush);
}

static void on_open(struct tracking *tracking, struct http_exchange *exchange,
                    const struct http_server_request *request, const struct tracker_link *link)
{
    if (is_ahead(exchange, request))
        metric_add(tracking->counts[COUNT_AHEAD], 1);
    else
        see(tracking, link, REPORT_READ);
    answer(exchange, 200, "image/gif", IMAGE, sizeof(IMAGE));
}

static void on_click(struct tracking *tracking, struct http_exchange *exchange,
                     const struct http_server_request *request, const struct tracker_link *link)
{
    if (is_ahead(exchange, request))
        metric_add(tracking->counts[COUNT_AHEAD], 1);
    else
        see(tracking, link, REPORT_CLICKED);
    http_answer_header(exchange, "Location", link->url);
    answer_text(exchange, 302, "");
}

/* ---- unsubscription ---- */

static void on_left(void *ctx, int err)
{
    struct leaving *leaving = ctx;
    struct tracking *tracking = leaving->tracking;
    struct http_exchange *exchange = leaving->exchange;

    free(leaving);
    tracking->leaving--;
    if (err) {
        log_warn("tracking.unsubscribe", LOG_STR("err", err_name(err)));
        answer_page(exchange, 503, LATER_PAGE);
        return;
    }
    metric_add(tracking->counts[COUNT_UNSUBSCRIBE], 1);
    answer_page(exchange, 200, DONE_PAGE);
    tracking->ops.kept(tracking->ops.ctx);
}

/* The one pair of RFC 8058, as a form or in a part of multipart/form-data. */
static bool is_one_click(const struct http_server_request *request)
{
    const char *body = request->body;

    return request->body_bytes && memmem(body, request->body_bytes, "List-Unsubscribe", 16) &&
           memmem(body, request->body_bytes, "One-Click", 9);
}

static void leave(struct tracking *tracking, struct http_exchange *exchange,
                  const struct http_server_request *request, const struct tracker_link *link,
                  struct arena *arena)
{
    struct unsubscription what = {link->delivery, link->channel,
                                  address_key(link->channel, link->address, arena), link->type};
    struct leaving *leaving;

    if (!is_one_click(request)) {
        answer_text(exchange, 400, "the body must say List-Unsubscribe=One-Click\n");
        return;
    }
    if (tracking->leaving >= LEAVING_MAX || !store_is_up(tracking->store)) {
        answer_page(exchange, 503, LATER_PAGE);
        return;
    }
    leaving = xmalloc(sizeof(*leaving));
    *leaving = (struct leaving){tracking, exchange};
    tracking->leaving++;
    if (store_unsubscribe(tracking->store, &what, on_left, leaving))
        on_left(leaving, ERR_CLOSED);
}

/* ---- the door ---- */

void tracking_request(struct tracking *tracking, struct http_exchange *exchange,
                      const struct http_server_request *request)
{
    bool is_post = strcmp(request->method, "POST") == 0;
    bool is_get = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
    struct arena *arena = arena_new(0);
    struct tracker_link link;

    if (tracker_read(tracking->tracker, arena, request->path + strlen(TRACKER_PATH), &link)) {
        metric_add(tracking->counts[COUNT_REFUSED], 1);
        answer_text(exchange, 404, "this link is not known here\n");
    } else if (!is_get && !(is_post && link.kind == TRACKER_UNSUBSCRIBE)) {
        answer_text(exchange, 405, "");
    } else if (link.kind == TRACKER_OPEN) {
        on_open(tracking, exchange, request, &link);
    } else if (link.kind == TRACKER_CLICK) {
        on_click(tracking, exchange, request, &link);
    } else if (is_post) {
        leave(tracking, exchange, request, &link, arena);
    } else {
        answer_page(exchange, 200, ASK_PAGE);
    }
    arena_free(arena);
}

struct tracking *tracking_new(struct loop *loop, const struct tracker *tracker, struct store *store,
                              struct metrics *metrics, const struct tracking_ops *ops)
{
    static const char *const names[COUNTS] = {"open",  "click",   "unsubscribe",
                                              "ahead", "refused", "lost"};
    struct tracking *tracking = xcalloc(1, sizeof(*tracking));

    tracking->loop = loop;
    tracking->tracker = tracker;
    tracking->store = store;
    tracking->ops = *ops;
    tracking->bite = KEEP_BITE;
    list_init(&tracking->waiting);
    list_init(&tracking->keeping);
    tracking->flush = (struct loop_deferred){.run = flush, .ctx = tracking};
    for (int i = 0; i < COUNTS; i++) {
        char labels[64];

        snprintf(labels, sizeof(labels), "what=\"%s\"", names[i]);
        tracking->counts[i] = metrics_get(metrics, METRIC_COUNTER, "tocsin_tracking_total",
                                          "What readers of mails did, by their links.", labels);
    }
    return tracking;
}

void tracking_free(struct tracking *tracking)
{
    struct list_node *node;

    loop_timer_stop(&tracking->again);
    loop_defer_cancel(tracking->loop, &tracking->flush);
    while ((node = list_pop_front(&tracking->waiting)))
        free(CONTAINER_OF(node, struct seen, node));
    while ((node = list_pop_front(&tracking->keeping)))
        free(CONTAINER_OF(node, struct seen, node));
    free(tracking);
}
