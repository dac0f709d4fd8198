/* SPDX-License-Identifier: MIT */
#include "services/token_watch.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/token_expiry.h"

#include <stdlib.h>

#define LOOK_MS 60000
#define DAY_S   86400
#define WEEK_S  (7 * DAY_S)

struct token_watch {
    struct loop *loop;
    const char *file;
    struct metric *left;
    struct loop_timer timer;
    int64_t said_s; /* wall clock of the last line; 0: none */
    bool is_expired;
};

int64_t token_watch_ahead_s(int64_t lifetime_s)
{
    int64_t ahead_s = lifetime_s > 0 ? lifetime_s / 5 : WEEK_S;

    return ahead_s < WEEK_S ? ahead_s : WEEK_S;
}

static void judge(struct token_watch *watch, const struct token_times *times, int64_t now_s)
{
    int64_t left_s = times->expires_s - now_s;
    int64_t ahead_s = token_watch_ahead_s(times->issued_s ? times->expires_s - times->issued_s : 0);
    bool is_expired = left_s <= 0;

    metric_set(watch->left, (double)left_s);
    if (left_s > ahead_s) {
        if (watch->said_s)
            log_info("token.renewed", LOG_STR("file", watch->file),
                     LOG_MS("expires_in", left_s * 1000));
        watch->said_s = 0;
        watch->is_expired = false;
        return;
    }
    if (watch->said_s && now_s - watch->said_s < DAY_S && is_expired == watch->is_expired)
        return;
    watch->said_s = now_s;
    watch->is_expired = is_expired;
    if (is_expired)
        log_error("token.expired", LOG_STR("file", watch->file),
                  LOG_STR("why", "the bridge's token has expired: the broker refuses it; put a new "
                                 "one into the file, which is read again at each connect"),
                  LOG_MS("since", -left_s * 1000));
    else
        log_warn("token.expiring", LOG_STR("file", watch->file),
                 LOG_STR("why", "put a new token into the file before this one has expired"),
                 LOG_MS("expires_in", left_s * 1000));
}

static void look(void *ctx)
{
    struct token_watch *watch = ctx;
    struct token_times times;

    /* A file that cannot be read is what the connection says (mqtt.lost). */
    if (token_times_read_file(watch->file, &times) == 0)
        judge(watch, &times, clock_wall_ms() / 1000);
    loop_timer_start(watch->loop, &watch->timer, LOOK_MS, look, watch);
}

struct token_watch *token_watch_new(struct loop *loop, const char *file, struct metrics *metrics)
{
    struct token_watch *watch = xcalloc(1, sizeof(*watch));

    watch->loop = loop;
    watch->file = file;
    watch->left = metrics_get(metrics, METRIC_GAUGE, "tocsin_token_expires_seconds",
                              "How long the bridge's token is still good.", NULL);
    look(watch);
    return watch;
}

void token_watch_free(struct token_watch *watch)
{
    if (!watch)
        return;
    loop_timer_stop(&watch->timer);
    free(watch);
}
