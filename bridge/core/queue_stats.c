/* SPDX-License-Identifier: MIT */
#include "core/queue_stats.h"

#include "base/timefmt.h"

static void add_flow(struct queue_flow *sum, const struct queue_flow *more)
{
    sum->completed += more->completed;
    sum->failed += more->failed;
    sum->other += more->other;
    sum->retried += more->retried;
    sum->attempts += more->attempts;
    sum->tries += more->tries;
}

static void add_line(struct queue_line *sum, const struct queue_line *more)
{
    sum->counts.waiting += more->counts.waiting;
    sum->counts.active += more->counts.active;
    sum->counts.scheduled += more->counts.scheduled;
    sum->counts.stalled += more->counts.stalled;
    sum->counts.dead += more->counts.dead;
    if (more->counts.oldest_ms &&
        (!sum->counts.oldest_ms || more->counts.oldest_ms < sum->counts.oldest_ms))
        sum->counts.oldest_ms = more->counts.oldest_ms;
    add_flow(&sum->hour, &more->hour);
    add_flow(&sum->recent, &more->recent);
    sum->ended_minute += more->ended_minute;
    sum->open_breakers += more->open_breakers;
    sum->is_paused = sum->is_paused && more->is_paused;
}

struct queue_line queue_stats_sum(const struct queue_line *lines, size_t count)
{
    struct queue_line sum = {.is_paused = count > 0};

    for (size_t i = 0; i < count; i++)
        add_line(&sum, &lines[i]);
    if (count) {
        sum.id = lines[0].id;
        sum.name = lines[0].name;
        sum.channel = lines[0].channel;
    }
    return sum;
}

/* A share of nothing is not known. */
static void add_share(struct buf *out, const char *name, int64_t part, int64_t whole)
{
    if (whole > 0)
        buf_printf(out, ",\"%s\":%.4f", name, (double)part / (double)whole);
    else
        buf_printf(out, ",\"%s\":null", name);
}

static void add_numbers(const struct queue_line *line, int64_t now_ms, struct buf *out)
{
    const struct queue_counts *counts = &line->counts;
    const struct queue_flow *hour = &line->hour;
    int64_t ended = hour->completed + hour->failed;

    buf_printf(out,
               "\"waiting\":%lld,\"active\":%lld,\"scheduled\":%lld,\"completed\":%lld,"
               "\"failed\":%lld,\"stalled\":%lld,\"dead\":%lld,\"per_minute\":%lld",
               (long long)counts->waiting, (long long)counts->active, (long long)counts->scheduled,
               (long long)hour->completed, (long long)hour->failed, (long long)counts->stalled,
               (long long)counts->dead, (long long)line->ended_minute);
    add_share(out, "success_rate", hour->completed, ended);
    add_share(out, "retry_rate", hour->retried, hour->attempts);
    add_share(out, "dead_rate", hour->failed, ended + hour->other);
    add_share(out, "average_attempts", hour->tries, ended);
    if (counts->oldest_ms)
        buf_printf(out, ",\"oldest_waiting_s\":%.1f",
                   now_ms > counts->oldest_ms ? (double)(now_ms - counts->oldest_ms) / 1000 : 0.0);
    else
        buf_add_text(out, ",\"oldest_waiting_s\":null");
    buf_printf(out, ",\"paused\":%s", line->is_paused ? "true" : "false");
}

static void add_channels(const struct queue_line *lines, size_t count, int64_t now_ms,
                         struct buf *out)
{
    for (size_t from = 0, to; from < count; from = to) {
        struct queue_line sum;

        for (to = from; to < count && lines[to].channel == lines[from].channel; to++)
            ;
        sum = queue_stats_sum(lines + from, to - from);
        buf_printf(out, "%s{\"channel\":\"%s\",", from ? "," : "", channel_name(sum.channel));
        add_numbers(&sum, now_ms, out);
        buf_add_char(out, '}');
    }
}

void queue_stats_write(const struct queue_line *lines, size_t count,
                       const struct queue_moment *moment, struct buf *out)
{
    struct queue_line sum = queue_stats_sum(lines, count);
    char now[TIMEFMT_BYTES], counted[TIMEFMT_BYTES];

    buf_printf(out, "{\"at\":\"%s\",\"counted_at\":\"%s\",\"window_s\":3600,\"bridges\":%d,",
               timefmt_wall(moment->now_ms, now), timefmt_wall(moment->counted_ms, counted),
               moment->bridges);
    buf_add_text(out, "\"total\":{");
    add_numbers(&sum, moment->now_ms, out);
    buf_add_text(out, "},\"channels\":[");
    add_channels(lines, count, moment->now_ms, out);
    buf_add_text(out, "],\"providers\":[");
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "%s{\"channel\":\"%s\",\"provider\":", i ? "," : "",
                   channel_name(lines[i].channel));
        buf_add_json(out, lines[i].name);
        buf_add_char(out, ',');
        add_numbers(&lines[i], moment->now_ms, out);
        buf_printf(out, ",\"open_breakers\":%d}", lines[i].open_breakers);
    }
    buf_add_text(out, "]}");
}
