/* SPDX-License-Identifier: MIT */
/* The outbox with a played broker: what it never takes must not stop what is behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "services/outbox.h"

/* ---- the played broker ---- */

static struct {
    struct mqtt_handlers handlers;
    void *ctx;
    bool is_up;
    size_t room, packet_max;
    int last_mid, next_ack;
    struct buf taken; /* payloads in order, each on a line */
    void (*timer_fn)(void *ctx);
    void *timer_ctx;
    int64_t timer_ms, now_ms;
} played;

struct mqtt *mqtt_open(struct loop *loop, const struct mqtt_config *config,
                       const struct mqtt_handlers *handlers, void *ctx)
{
    (void)loop, (void)config;
    played.handlers = *handlers;
    played.ctx = ctx;
    return (struct mqtt *)&played;
}

void mqtt_close(struct mqtt *mqtt)
{
    (void)mqtt;
}

bool mqtt_is_up(const struct mqtt *mqtt)
{
    (void)mqtt;
    return played.is_up;
}

size_t mqtt_packet_max(const struct mqtt *mqtt)
{
    (void)mqtt;
    return played.packet_max;
}

size_t mqtt_payload_max(const struct mqtt *mqtt, const char *topic)
{
    (void)topic;
    return mqtt_packet_max(mqtt);
}

int mqtt_publish(struct mqtt *mqtt, const char *topic, const void *payload, size_t payload_bytes,
                 int qos, bool retain, int *mid)
{
    (void)mqtt, (void)qos, (void)retain;
    if (!played.is_up)
        return ERR_CLOSED;
    if (played.room == 0)
        return ERR_FULL;
    if (payload_bytes > played.packet_max)
        return ERR_TOO_LARGE;
    if (topic[0] == '\0')
        return ERR_INVALID;
    played.room--;
    *mid = ++played.last_mid;
    buf_add(&played.taken, payload, payload_bytes);
    buf_add_char(&played.taken, '\n');
    return 0;
}

int mqtt_publish_expiring(struct mqtt *mqtt, const char *topic, const void *payload,
                          size_t payload_bytes, uint32_t expiry_s, int *mid)
{
    (void)expiry_s;
    return mqtt_publish(mqtt, topic, payload, payload_bytes, 1, false, mid);
}

int mqtt_publish_reply(struct mqtt *mqtt, const char *topic, const void *payload,
                       size_t payload_bytes, const void *correlation, size_t correlation_bytes,
                       int *mid)
{
    (void)correlation;
    if (payload_bytes + correlation_bytes > played.packet_max)
        return ERR_TOO_LARGE;
    return mqtt_publish(mqtt, topic, payload, payload_bytes, 1, false, mid);
}

/* The outbox's one timer. */
void loop_timer_start(struct loop *loop, struct loop_timer *timer, int64_t after_ms,
                      void (*fn)(void *ctx), void *ctx)
{
    (void)loop, (void)timer;
    played.timer_fn = fn;
    played.timer_ctx = ctx;
    played.timer_ms = after_ms;
}

void loop_timer_stop(struct loop_timer *timer)
{
    (void)timer;
    played.timer_fn = NULL;
}

int64_t loop_now_ms(const struct loop *loop)
{
    (void)loop;
    return played.now_ms;
}

/* The time until the timer passes. */
static void wait_for_timer(void)
{
    void (*fn)(void *ctx) = played.timer_fn;

    assert_non_null(fn);
    played.timer_fn = NULL;
    played.now_ms += played.timer_ms;
    fn(played.timer_ctx);
}

static void go_up(void)
{
    played.is_up = true;
    played.room = 10;
    played.next_ack = played.last_mid + 1;
    played.handlers.on_up(played.ctx, false);
}

static void go_down(void)
{
    played.is_up = false;
    played.handlers.on_down(played.ctx, "played");
}

static void acknowledge_one(void)
{
    played.room++;
    played.handlers.on_puback(played.ctx, played.next_ack++, 0);
}

/* Acknowledges all that is under way, and what comes from that. */
static void acknowledge(uint8_t reason)
{
    while (played.next_ack <= played.last_mid) {
        played.room++;
        played.handlers.on_puback(played.ctx, played.next_ack++, reason);
    }
}

static void on_change(void *ctx)
{
    (void)ctx;
}

static struct outbox *open_outbox(struct metrics *metrics)
{
    static const struct outbox_config config = {.bytes_max = 1000000};

    memset(&played, 0, sizeof(played));
    played.packet_max = SIZE_MAX;
    return outbox_open(NULL, &config, metrics, on_change, NULL);
}

static int refused(struct metrics *metrics)
{
    static const char name[] = "\ntocsin_publish_refused_total ";
    struct buf text = {0};
    const char *line;
    int count;

    metrics_write(metrics, &text);
    line = strstr(buf_text(&text), name);
    assert_non_null(line);
    count = atoi(line + strlen(name));
    buf_fini(&text);
    return count;
}

static void keep(struct outbox *outbox, const char *topic, const char *payload)
{
    outbox_keep(outbox, topic, payload, strlen(payload), false);
}

static void close_outbox(struct outbox *outbox, struct metrics *metrics)
{
    outbox_close(outbox);
    metrics_free(metrics);
    buf_fini(&played.taken);
}

/* ---- the tests ---- */

static void assert_poison_is_passed(const char *topic, const char *poison, int position)
{
    struct metrics *metrics = metrics_new();
    struct outbox *outbox = open_outbox(metrics);
    char payload[16];

    played.packet_max = 30;
    for (int i = 0; i < 99; i++) {
        if (i == position)
            keep(outbox, topic, poison);
        snprintf(payload, sizeof(payload), "{\"good\":%d}", i);
        keep(outbox, "t", payload);
    }
    go_up();
    acknowledge(0);
    assert_int_equal(outbox_waiting(outbox), 0);
    assert_int_equal(played.last_mid, 99);
    assert_int_equal(refused(metrics), 1);
    assert_true(outbox_is_past(outbox, outbox_mark(outbox)));
    assert_true(outbox_since_ms(outbox) == INT64_MAX);
    close_outbox(outbox, metrics);
}

static void a_message_that_the_broker_never_takes_stops_no_other(void **state)
{
    static const int positions[] = {0, 1, 50, 98};

    (void)state;
    for (size_t i = 0; i < sizeof(positions) / sizeof(positions[0]); i++) {
        assert_poison_is_passed("t", "{\"large\":\"0123456789012345678901234567890123456789\"}",
                                positions[i]);
        assert_poison_is_passed("", "{}", positions[i]);
    }
}

static void what_can_be_said_in_fewer_bytes_goes_instead_and_in_its_place(void **state)
{
    struct metrics *metrics = metrics_new();
    struct outbox *outbox = open_outbox(metrics);

    (void)state;
    played.packet_max = 30;
    keep(outbox, "t", "first");
    keep(outbox, "notify/v1/dlq/sms/internal", "{\"delivery\":\"1\",\"content\":\"0123456789\"}");
    keep(outbox, "notify/v1/services/s/down/receipt",
         "[{\"id\":1},{\"id\":2},{\"id\":3},{\"id\":4}]");
    keep(outbox, "t", "last");
    go_up();
    acknowledge(0);
    assert_string_equal(buf_text(&played.taken),
                        "first\n{\"delivery\":\"1\"}\n[{\"id\":1},{\"id\":2},{\"id\":3}]\n"
                        "[{\"id\":4}]\nlast\n");
    assert_int_equal(outbox_waiting(outbox), 0);
    close_outbox(outbox, metrics);
}

static void a_puback_that_says_too_large_is_answered_with_a_smaller_message(void **state)
{
    struct metrics *metrics = metrics_new();
    struct outbox *outbox = open_outbox(metrics);

    (void)state;
    keep(outbox, "notify/v1/dlq/sms/internal", "{\"delivery\":\"1\",\"content\":\"0123456789\"}");
    go_up();
    played.room++;
    played.handlers.on_puback(played.ctx, played.next_ack++, 0x95);
    acknowledge(0);
    assert_string_equal(buf_text(&played.taken), "{\"delivery\":\"1\",\"content\":\"0123456789\"}\n"
                                                 "{\"delivery\":\"1\"}\n");
    assert_int_equal(outbox_waiting(outbox), 0);
    close_outbox(outbox, metrics);
}

static bool has_taken(const char *text)
{
    return strstr(buf_text(&played.taken), text) != NULL;
}

/* Both wait, and the connection is lost until the first of them is suspected. */
static void suspect(struct outbox *outbox)
{
    keep(outbox, "t", "poison");
    keep(outbox, "t", "good");
    for (int i = 0; i < 4; i++) {
        buf_clear(&played.taken);
        go_up();
        assert_string_equal(buf_text(&played.taken), "poison\ngood\n");
        go_down();
    }
    buf_clear(&played.taken);
}

static void a_message_at_which_the_broker_closes_goes_alone_and_then_not_at_all(void **state)
{
    struct metrics *metrics = metrics_new();
    struct outbox *outbox = open_outbox(metrics);
    uint64_t mark;

    (void)state;
    suspect(outbox);
    mark = outbox_mark(outbox);
    played.now_ms = 7000;
    assert_int_equal(outbox_oldest_age_ms(outbox), 7000);
    for (int i = 0; i < 4; i++) {
        go_up();
        assert_false(has_taken("poison"));
        acknowledge(0);
        assert_int_equal(outbox_waiting(outbox), 1); /* the good one went first */
        buf_clear(&played.taken);
        keep(outbox, "t", "next");
        assert_int_equal(played.timer_ms, 2000 << i);
        wait_for_timer();
        assert_false(has_taken("poison")); /* another is under way */
        acknowledge_one();
        assert_true(has_taken("poison"));
        keep(outbox, "t", "later");
        assert_false(has_taken("later")); /* it is alone */
        assert_false(outbox_is_past(outbox, mark));
        buf_clear(&played.taken);
        go_down();
    }
    assert_int_equal(refused(metrics), 1);
    go_up();
    acknowledge(0);
    assert_int_equal(outbox_waiting(outbox), 0);
    assert_true(outbox_is_past(outbox, mark));
    assert_null(played.timer_fn);
    close_outbox(outbox, metrics);
}

static void a_broker_that_crashes_again_and_again_costs_no_message(void **state)
{
    struct metrics *metrics = metrics_new();
    struct outbox *outbox = open_outbox(metrics);

    (void)state;
    suspect(outbox);
    for (int i = 0; i < 50; i++) { /* soon, with and without having acknowledged another */
        go_up();
        if (i % 2)
            acknowledge(0);
        go_down();
    }
    for (int i = 0; i < 50; i++) { /* later, having acknowledged nothing */
        go_up();
        if (played.timer_fn)
            wait_for_timer();
        go_down();
    }
    assert_int_equal(refused(metrics), 0);
    buf_clear(&played.taken);
    go_up();
    acknowledge(0);
    wait_for_timer();
    acknowledge(0);
    assert_true(has_taken("poison"));
    assert_int_equal(outbox_waiting(outbox), 0);
    assert_int_equal(outbox_oldest_age_ms(outbox), 0);
    assert_int_equal(refused(metrics), 0);
    close_outbox(outbox, metrics);
}

static void a_suspect_without_its_puback_holds_up_the_others_for_a_while_only(void **state)
{
    struct metrics *metrics = metrics_new();
    struct outbox *outbox = open_outbox(metrics);

    (void)state;
    suspect(outbox);
    go_up();
    wait_for_timer(); /* "good" has no PUBACK: nothing else goes */
    keep(outbox, "t", "one");
    assert_false(has_taken("one"));
    assert_int_equal(outbox_watch(outbox, "t", "w", 1, 0, NULL, NULL), ERR_FULL);
    wait_for_timer();
    assert_true(has_taken("one"));
    acknowledge(0);
    wait_for_timer();
    assert_true(has_taken("poison")); /* alone, and it gets no PUBACK either */
    keep(outbox, "t", "two");
    assert_false(has_taken("two"));
    wait_for_timer();
    assert_true(has_taken("two"));
    acknowledge(0);
    assert_int_equal(outbox_waiting(outbox), 0);
    assert_int_equal(refused(metrics), 0);
    close_outbox(outbox, metrics);
}

static void a_connection_that_is_lost_for_other_reasons_costs_no_message(void **state)
{
    struct metrics *metrics = metrics_new();
    struct outbox *outbox = open_outbox(metrics);

    (void)state;
    for (int i = 0; i < 50; i++) {
        keep(outbox, "t", "one");
        go_up();
        go_down();
        go_up();
        acknowledge(0);
        go_down();
    }
    assert_int_equal(outbox_waiting(outbox), 0);
    assert_int_equal(refused(metrics), 0);
    close_outbox(outbox, metrics);
}

static void a_watched_message_that_is_too_large_is_told_at_once(void **state)
{
    struct metrics *metrics = metrics_new();
    struct outbox *outbox = open_outbox(metrics);

    (void)state;
    played.packet_max = 4;
    go_up();
    assert_int_equal(outbox_watch(outbox, "t", "12345", 5, 0, NULL, NULL), ERR_TOO_LARGE);
    close_outbox(outbox, metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_that_the_broker_never_takes_stops_no_other),
        cmocka_unit_test(what_can_be_said_in_fewer_bytes_goes_instead_and_in_its_place),
        cmocka_unit_test(a_puback_that_says_too_large_is_answered_with_a_smaller_message),
        cmocka_unit_test(a_message_at_which_the_broker_closes_goes_alone_and_then_not_at_all),
        cmocka_unit_test(a_broker_that_crashes_again_and_again_costs_no_message),
        cmocka_unit_test(a_suspect_without_its_puback_holds_up_the_others_for_a_while_only),
        cmocka_unit_test(a_connection_that_is_lost_for_other_reasons_costs_no_message),
        cmocka_unit_test(a_watched_message_that_is_too_large_is_told_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
