/* SPDX-License-Identifier: MIT */
#include "services/in_app.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/panic.h"
#include "base/timefmt.h"
#include "core/id.h"
#include "core/inbox.h"
#include "core/request.h"
#include "core/topic.h"
#include "io/digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_MATCHING_SUBSCRIBERS 0x10 /* MQTT5 3.4.2.1 */

struct wait {
    struct list_node node; /* in waits, by deadline: all wait equally long */
    struct in_app *in_app;
    uint64_t delivery;
    int64_t deadline_ms;
    adapter_outcome_fn *on_outcome;
    void *ctx;
    bool is_published; /* its PUBACK came, or the outbox has let go of it */
    bool is_over;      /* ended before its PUBACK: the outbox still knows it */
    bool is_shared;    /* broadcast or role */
    bool is_away;      /* its user was not connected when it was published */
};

struct in_app {
    struct loop *loop;
    struct in_app_config config;
    struct in_app_ops ops;
    struct list waits;
    struct idmap by_delivery;
    struct loop_timer timer;
    struct buf payload;
    struct arena *scratch;
};

struct in_app *in_app_open(struct loop *loop, const struct in_app_config *config,
                           const struct in_app_ops *ops)
{
    struct in_app *in_app = xcalloc(1, sizeof(*in_app));

    in_app->loop = loop;
    in_app->config = *config;
    in_app->ops = *ops;
    in_app->scratch = arena_new(0);
    list_init(&in_app->waits);
    return in_app;
}

void in_app_close(struct in_app *in_app)
{
    ASSERT(in_app->waits.count == 0);
    loop_timer_stop(&in_app->timer);
    idmap_fini(&in_app->by_delivery);
    buf_fini(&in_app->payload);
    arena_free(in_app->scratch);
    free(in_app);
}

/* Ends the wait and tells; the struct lives on while the outbox knows it. */
static void end(struct wait *wait, const struct outcome *outcome)
{
    struct in_app *in_app = wait->in_app;
    adapter_outcome_fn *on_outcome = wait->on_outcome;
    void *ctx = wait->ctx;

    list_remove(&in_app->waits, &wait->node);
    idmap_remove(&in_app->by_delivery, wait->delivery);
    if (wait->is_published)
        free(wait);
    else
        wait->is_over = true;
    on_outcome(ctx, outcome);
}

static void fail(struct wait *wait, enum reason reason, const char *detail)
{
    struct outcome outcome;

    outcome_set(&outcome, OUTCOME_RETRY, reason, detail);
    outcome.is_connection = reason == REASON_CONNECTION_LOST;
    end(wait, &outcome);
}

static void arm(struct in_app *in_app);

static void on_timer(void *ctx)
{
    struct in_app *in_app = ctx;
    int64_t now_ms = loop_now_ms(in_app->loop);
    struct list_node *node;

    while ((node = list_first(&in_app->waits))) {
        struct wait *wait = CONTAINER_OF(node, struct wait, node);

        if (wait->deadline_ms > now_ms)
            break;
        fail(wait, REASON_ACK_TIMEOUT, "the user's client did not acknowledge in time");
    }
    arm(in_app);
}

static void arm(struct in_app *in_app)
{
    struct list_node *node = list_first(&in_app->waits);
    int64_t after_ms;

    if (!node || loop_timer_is_armed(&in_app->timer))
        return;
    after_ms = CONTAINER_OF(node, struct wait, node)->deadline_ms - loop_now_ms(in_app->loop);
    loop_timer_start(in_app->loop, &in_app->timer, after_ms > 0 ? after_ms : 0, on_timer, in_app);
}

static void on_published(void *ctx, int err, uint8_t reason)
{
    struct wait *wait = ctx;
    struct outcome outcome;

    wait->is_published = true;
    if (wait->is_over) {
        free(wait);
        return;
    }
    if (err) {
        fail(wait, REASON_CONNECTION_LOST, "the connection to the broker was lost");
    } else if (reason == NO_MATCHING_SUBSCRIBERS && !wait->is_shared) {
        outcome_set(&outcome, OUTCOME_RETRY, REASON_USER_OFFLINE,
                    "the user has no connection and no session");
        outcome.status = reason;
        end(wait, &outcome);
    } else if (reason >= 0x80) {
        outcome_set(&outcome, OUTCOME_PERMANENT, REASON_PROVIDER_REJECTED,
                    "the broker refused the message");
        outcome.status = reason;
        end(wait, &outcome);
    } else if (wait->is_shared) {
        outcome_set(&outcome, OUTCOME_ACCEPTED, REASON_NONE, "");
        end(wait, &outcome);
    } else if (wait->is_away) {
        fail(wait, REASON_USER_OFFLINE, "the user is away; the broker keeps it for a session");
    }
}

/*
 * What two copies of one urgent notification have in common when they have no id in common: shown
 * while the database was away, and stored later by a bridge that does not know of it.  A digest,
 * so that no service can make another's look like a repeat.
 */
static void add_key(struct buf *buf, const struct job *job, struct arena *scratch)
{
    unsigned char digest[DIGEST_BYTES];
    size_t service_bytes = strlen(job->service), id_bytes = strlen(job->request);
    char *text = arena_alloc(scratch, service_bytes + 1 + id_bytes);

    memcpy(text, job->service, service_bytes + 1);
    memcpy(text + service_bytes + 1, job->request, id_bytes);
    digest_sha256(text, service_bytes + 1 + id_bytes, digest);
    buf_add_text(buf, ",\"key\":\"");
    for (unsigned i = 0; i < 8; i++)
        buf_printf(buf, "%02x", digest[i]);
    buf_add_char(buf, '"');
}

/* {"id":..,"seq":..,<the content's own members>,"created_at":..} */
static int build(struct in_app *in_app, const struct job *job)
{
    struct buf *buf = &in_app->payload;
    char text[TIMEFMT_BYTES];
    char id[ID_TEXT_BYTES];
    int err;

    buf_clear(buf);
    buf_add_text(buf, "{\"id\":\"");
    buf_add_text(buf, id_format(job->delivery, id));
    buf_add_char(buf, '"');
    if (job->seq) {
        buf_add_text(buf, ",\"seq\":");
        buf_add_i64(buf, job->seq);
    }
    buf_add_text(buf, ",\"created_at\":\"");
    buf_add_text(buf, timefmt_wall(job->created_ms, text));
    buf_add_char(buf, '"');
    if (job->expires_ms) {
        buf_add_text(buf, ",\"expires_at\":\"");
        buf_add_text(buf, timefmt_wall(job->expires_ms, text));
        buf_add_char(buf, '"');
    }
    if (job->priority == PRIORITY_URGENT && job->target_kind == TARGET_USER)
        add_key(buf, job, in_app->scratch);
    if (job->is_replay)
        buf_add_text(buf, ",\"replay\":true");
    err = inbox_write_members(job->content, job->content_bytes, in_app->scratch, buf);
    arena_reset(in_app->scratch);
    if (err)
        return err;
    buf_add_char(buf, '}');
    return buf->length > REQUEST_INBOX_MAX ? ERR_TOO_LARGE : 0;
}

static void write_topic(const struct job *job, char topic[TOPIC_BYTES_MAX])
{
    if (job->target_kind == TARGET_USER)
        topic_down(TOPIC_USER, job->target, "inbox", topic);
    else if (job->target_kind == TARGET_BROADCAST)
        snprintf(topic, TOPIC_BYTES_MAX, "notify/v1/broadcast/inbox");
    else
        snprintf(topic, TOPIC_BYTES_MAX, "notify/v1/roles/%s/inbox", job->target);
}

/*
 * For how long the broker may keep it, for a session whose client is away: what has expired is
 * shown to nobody.  Rounded up, so that nothing ends before its time.  0: as long as it likes.
 */
static uint32_t expiry_s(const struct job *job)
{
    int64_t left_s = (job->expires_ms - clock_wall_ms() + 999) / 1000;

    if (job->expires_ms <= 0 || left_s > UINT32_MAX)
        return 0;
    return left_s < 1 ? 1 : (uint32_t)left_s;
}

int in_app_send(void *state, const struct job *job, adapter_outcome_fn *on_outcome, void *ctx)
{
    struct in_app *in_app = state;
    char topic[TOPIC_BYTES_MAX];
    struct wait *wait;
    int err = build(in_app, job);

    if (err)
        return err;
    write_topic(job, topic);
    wait = xcalloc(1, sizeof(*wait));
    err = in_app->ops.watch(in_app->ops.ctx, topic, buf_text(&in_app->payload),
                            in_app->payload.length, expiry_s(job), on_published, wait);
    if (err) {
        free(wait);
        return err;
    }
    wait->in_app = in_app;
    wait->delivery = job->delivery;
    wait->deadline_ms = loop_now_ms(in_app->loop) + in_app->config.ack_timeout_ms;
    wait->on_outcome = on_outcome;
    wait->ctx = ctx;
    wait->is_shared = job->target_kind != TARGET_USER;
    wait->is_away = !wait->is_shared && in_app->ops.is_away(in_app->ops.ctx, job->target);
    list_push_back(&in_app->waits, &wait->node);
    idmap_set(&in_app->by_delivery, job->delivery, wait);
    arm(in_app);
    if (!wait->is_shared && job->attempt <= 1)
        in_app->ops.shown(in_app->ops.ctx, job->target);
    return 0;
}

static void on_shown(void *ctx, int err, uint8_t reason)
{
    (void)ctx, (void)err, (void)reason;
}

void in_app_show(struct in_app *in_app, const struct job *job)
{
    char topic[TOPIC_BYTES_MAX];

    if (build(in_app, job))
        return;
    write_topic(job, topic);
    if (in_app->ops.watch(in_app->ops.ctx, topic, buf_text(&in_app->payload),
                          in_app->payload.length, expiry_s(job), on_shown, in_app))
        log_debug("in_app.unshown", LOG_ID("delivery", job->delivery));
}

bool in_app_acked(struct in_app *in_app, uint64_t delivery)
{
    struct wait *wait = idmap_get(&in_app->by_delivery, delivery);
    struct outcome outcome;

    if (!wait)
        return false;
    outcome_set(&outcome, OUTCOME_DELIVERED, REASON_NONE, "");
    end(wait, &outcome);
    return true;
}

size_t in_app_waiting(const struct in_app *in_app)
{
    return in_app->waits.count;
}

void in_app_abandon(struct in_app *in_app)
{
    struct list_node *node;

    while ((node = list_first(&in_app->waits)))
        fail(CONTAINER_OF(node, struct wait, node), REASON_CONNECTION_LOST,
             "the bridge is shutting down");
}
