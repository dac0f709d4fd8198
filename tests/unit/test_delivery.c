/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/delivery.h"

#define NOW INT64_C(1795132800000)

static const struct retry_policy steady = {
    .attempts = 3, .base_ms = 2000, .max_ms = 8000, .factor = 2.0, .is_jittered = false};

static int state_by_name(const char *name)
{
    for (int i = 0; i < DELIVERY_STATE_COUNT; i++)
        if (strcmp(delivery_state_name((enum delivery_state)i), name) == 0)
            return i;
    return -1;
}

/* Reads the rows "| from | to | why |" between the two headings. */
static void the_table_of_moves_is_the_one_in_the_document(void **state)
{
    bool documented[DELIVERY_STATE_COUNT][DELIVERY_STATE_COUNT] = {{false}};
    FILE *file = fopen(TOCSIN_SOURCE_DIR "/docs/lifecycle.md", "r");
    char line[512], from[32], to[32];
    bool is_table = false;
    int rows = 0;

    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "## ", 3) == 0)
            is_table = strcmp(line, "## Legal moves\n") == 0;
        if (!is_table || sscanf(line, "| %31s | %31s |", from, to) != 2 || state_by_name(from) < 0)
            continue;
        assert_true(state_by_name(to) >= 0);
        documented[state_by_name(from)][state_by_name(to)] = true;
        rows++;
    }
    fclose(file);
    assert_true(rows > 10);
    for (int i = 0; i < DELIVERY_STATE_COUNT; i++)
        for (int j = 0; j < DELIVERY_STATE_COUNT; j++)
            if (documented[i][j] !=
                delivery_can_move((enum delivery_state)i, (enum delivery_state)j))
                fail_msg("%s -> %s: code and docs/lifecycle.md differ",
                         delivery_state_name((enum delivery_state)i),
                         delivery_state_name((enum delivery_state)j));
}

static void only_the_dead_leave_a_final_state(void **state)
{
    (void)state;
    for (int i = 0; i < DELIVERY_STATE_COUNT; i++)
        for (int j = 0; j < DELIVERY_STATE_COUNT; j++)
            if (delivery_is_final((enum delivery_state)i) && i != DELIVERY_DEAD)
                assert_false(delivery_can_move((enum delivery_state)i, (enum delivery_state)j));
    assert_false(delivery_is_final(DELIVERY_SENT));
    assert_true(delivery_is_final(DELIVERY_DEAD));
}

static void an_illegal_move_panics(void **state)
{
    enum delivery_state at = DELIVERY_LEASED;
    int status = 0;
    pid_t child;

    (void)state;
    delivery_set_state(&at, DELIVERY_SENT);
    assert_int_equal(at, DELIVERY_SENT);
    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        delivery_set_state(&at, DELIVERY_CANCELLED);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

struct judged {
    const char *name;
    enum outcome_kind kind;
    enum reason reason;
    int64_t retry_after_ms;
    bool is_connection, is_target_only;
    int attempts;
    int64_t expires_in_ms; /* 0: never */
    enum delivery_state state;
    int64_t delay_ms;
    bool costs_attempt;
};

static const struct judged judged[] = {
    {"delivered", OUTCOME_DELIVERED, 0, -1, false, false, 1, 0, DELIVERY_DELIVERED, 0, true},
    {"accepted", OUTCOME_ACCEPTED, 0, -1, false, false, 1, 0, DELIVERY_SENT, 0, true},
    {"first retry", OUTCOME_RETRY, REASON_NETWORK_TIMEOUT, -1, false, false, 1, 0, DELIVERY_READY,
     2000, true},
    {"second retry", OUTCOME_RETRY, REASON_NETWORK_TIMEOUT, -1, false, false, 2, 0, DELIVERY_READY,
     4000, true},
    {"last attempt", OUTCOME_RETRY, REASON_NETWORK_TIMEOUT, -1, false, false, 3, 0, DELIVERY_DEAD,
     0, true},
    {"beyond the last", OUTCOME_RETRY, REASON_NETWORK_TIMEOUT, -1, false, false, 9, 0,
     DELIVERY_DEAD, 0, true},
    {"unknown is tried again", OUTCOME_UNKNOWN, REASON_OUTCOME_UNKNOWN, -1, false, false, 1, 0,
     DELIVERY_READY, 2000, true},
    {"unknown at the end", OUTCOME_UNKNOWN, REASON_OUTCOME_UNKNOWN, -1, false, false, 3, 0,
     DELIVERY_DEAD, 0, true},
    {"a floor comes on top of the backoff", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE, 10000,
     false, false, 1, 0, DELIVERY_READY, 12000, true},
    {"a floor of the second retry", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE, 900000, false,
     false, 2, 0, DELIVERY_READY, 904000, true},
    {"a floor is an hour at most", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE, 86400000, false,
     false, 1, 0, DELIVERY_READY, 3602000, true},
    {"a floor of a connection that never came about", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE,
     10000, true, false, 1, 0, DELIVERY_READY, 12000, false},
    {"a floor does not outlive the attempts", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE, 10000,
     false, false, 3, 0, DELIVERY_DEAD, 0, true},
    {"expires before the floor", OUTCOME_RETRY, REASON_PROVIDER_UNAVAILABLE, 10000, false, false, 1,
     11000, DELIVERY_EXPIRED, 0, true},
    {"retry after", OUTCOME_RETRY_AFTER, REASON_PROVIDER_UNAVAILABLE, 7000, false, false, 1, 0,
     DELIVERY_READY, 7000, true},
    {"retry after too soon", OUTCOME_RETRY_AFTER, REASON_PROVIDER_UNAVAILABLE, 0, false, false, 1,
     0, DELIVERY_READY, 1000, true},
    {"retry after too late", OUTCOME_RETRY_AFTER, REASON_PROVIDER_UNAVAILABLE, 86400000, false,
     false, 1, 0, DELIVERY_READY, 3600000, true},
    {"retry after without a time", OUTCOME_RETRY_AFTER, REASON_PROVIDER_UNAVAILABLE, -1, false,
     false, 2, 0, DELIVERY_READY, 4000, true},
    {"retry after at the end", OUTCOME_RETRY_AFTER, REASON_PROVIDER_UNAVAILABLE, 7000, false, false,
     3, 0, DELIVERY_DEAD, 0, true},
    {"throttled costs nothing", OUTCOME_THROTTLE, REASON_RATE_LIMITED, 5000, false, false, 3, 0,
     DELIVERY_READY, 5000, false},
    {"a rate limit that names its end costs nothing", OUTCOME_RETRY_AFTER, REASON_RATE_LIMITED,
     5000, false, false, 3, 0, DELIVERY_READY, 5000, false},
    {"throttled without a time", OUTCOME_THROTTLE, REASON_RATE_LIMITED, -1, false, false, 1, 0,
     DELIVERY_READY, 2000, false},
    {"no connection costs nothing", OUTCOME_RETRY, REASON_CONNECTION_LOST, -1, true, false, 3, 0,
     DELIVERY_READY, 8000, false},
    {"misconfigured is kept", OUTCOME_AUTH_CONFIG_ERROR, REASON_PROVIDER_AUTH, -1, false, false, 3,
     0, DELIVERY_READY, 8000, false},
    {"permanent", OUTCOME_PERMANENT, REASON_CONTENT_INVALID, -1, false, false, 1, 0, DELIVERY_DEAD,
     0, true},
    {"dead target", OUTCOME_DEAD_TARGET, REASON_TARGET_INVALID, -1, false, false, 1, 0,
     DELIVERY_DEAD, 0, true},
    {"opted out", OUTCOME_DEAD_TARGET, REASON_OPTED_OUT, -1, false, false, 1, 0,
     DELIVERY_SUPPRESSED, 0, true},
    {"expired", OUTCOME_EXPIRED, 0, -1, false, false, 0, 1, DELIVERY_EXPIRED, 0, false},
    {"cancelled", OUTCOME_CANCELLED, 0, -1, false, false, 0, 0, DELIVERY_CANCELLED, 0, false},
    {"suppressed", OUTCOME_SUPPRESSED, REASON_OPTED_OUT, -1, false, false, 0, 0,
     DELIVERY_SUPPRESSED, 0, false},
    {"expires before the retry", OUTCOME_RETRY, REASON_NETWORK_TIMEOUT, -1, false, false, 1, 1999,
     DELIVERY_EXPIRED, 0, true},
    {"expires with the retry", OUTCOME_RETRY, REASON_NETWORK_TIMEOUT, -1, false, false, 1, 2000,
     DELIVERY_EXPIRED, 0, true},
    {"expires after the retry", OUTCOME_RETRY, REASON_NETWORK_TIMEOUT, -1, false, false, 1, 2001,
     DELIVERY_READY, 2000, true},
    {"expires before the throttle ends", OUTCOME_THROTTLE, REASON_RATE_LIMITED, 60000, false, false,
     1, 30000, DELIVERY_EXPIRED, 0, false},
    {"out of attempts is dead, not expired", OUTCOME_RETRY, REASON_NETWORK_TIMEOUT, -1, false,
     false, 3, 1, DELIVERY_DEAD, 0, true},
    {"nobody at the target", OUTCOME_RETRY, REASON_CONNECTION_LOST, -1, true, true, 2, 0,
     DELIVERY_READY, 4000, true},
    {"nobody at the target to the end", OUTCOME_RETRY, REASON_CONNECTION_LOST, -1, true, true, 3, 0,
     DELIVERY_DEAD, 0, true},
};

static void every_outcome_has_its_verdict(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof judged / sizeof *judged; i++) {
        const struct judged *c = &judged[i];
        struct outcome outcome;
        struct verdict verdict;

        outcome_set(&outcome, c->kind, c->reason, "");
        outcome.retry_after_ms = c->retry_after_ms;
        outcome.is_connection = c->is_connection;
        outcome.is_target_only = c->is_target_only;
        verdict = delivery_judge(&outcome, &steady, (struct tries){c->attempts, c->attempts, 0},
                                 NOW, c->expires_in_ms ? NOW + c->expires_in_ms : 0, 12345);
        if (verdict.state != c->state || verdict.delay_ms != c->delay_ms ||
            verdict.costs_attempt != c->costs_attempt)
            fail_msg("%s: %s after %lld ms, costs %d", c->name, delivery_state_name(verdict.state),
                     (long long)verdict.delay_ms, verdict.costs_attempt);
        assert_true(delivery_can_move(DELIVERY_LEASED, verdict.state));
    }
}

static void absent_users_are_waited_for_in_the_place_of_death(void **state)
{
    static const struct {
        enum delivery_state judged;
        enum reason reason;
        int64_t until_ms;
        enum delivery_state want;
        int64_t delay_ms;
    } cases[] = {
        {DELIVERY_DEAD, REASON_USER_OFFLINE, NOW + 5000, DELIVERY_HELD, 5000},
        {DELIVERY_DEAD, REASON_ACK_TIMEOUT, NOW + 1, DELIVERY_HELD, 1},
        {DELIVERY_DEAD, REASON_USER_OFFLINE, NOW, DELIVERY_EXPIRED, 0},
        {DELIVERY_DEAD, REASON_USER_OFFLINE, NOW - 1, DELIVERY_EXPIRED, 0},
        {DELIVERY_DEAD, REASON_PROVIDER_REJECTED, NOW + 5000, DELIVERY_DEAD, 0},
        {DELIVERY_DEAD, REASON_POISON, NOW + 5000, DELIVERY_DEAD, 0},
        {DELIVERY_READY, REASON_USER_OFFLINE, NOW + 5000, DELIVERY_READY, 0},
        {DELIVERY_EXPIRED, REASON_USER_OFFLINE, NOW + 5000, DELIVERY_EXPIRED, 0},
        {DELIVERY_DELIVERED, REASON_NONE, NOW + 5000, DELIVERY_DELIVERED, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct verdict before = {.state = cases[i].judged, .costs_attempt = true};
        struct verdict waits = delivery_wait(&before, cases[i].reason, NOW, cases[i].until_ms);

        assert_int_equal(waits.state, cases[i].want);
        assert_int_equal(waits.delay_ms, cases[i].delay_ms);
        assert_true(waits.costs_attempt);
    }
}

static void jitter_is_uniform_above_zero_and_never_longer_than_the_backoff(void **state)
{
    struct retry_policy policy = steady;
    struct outcome outcome;
    int64_t least = INT64_MAX, most = 0;

    (void)state;
    policy.is_jittered = true;
    outcome_set(&outcome, OUTCOME_RETRY, REASON_NETWORK_TIMEOUT, "");
    for (uint64_t random = 0; random < 4000; random++) {
        struct verdict verdict =
            delivery_judge(&outcome, &policy, (struct tries){2, 1, 0}, NOW, 0, random);

        least = verdict.delay_ms < least ? verdict.delay_ms : least;
        most = verdict.delay_ms > most ? verdict.delay_ms : most;
    }
    assert_int_equal(least, 1);
    assert_int_equal(most, 4000);
}

static void backoff_stops_growing_at_its_cap(void **state)
{
    static const struct retry_policy long_one = {
        .attempts = 1000000, .base_ms = 1, .max_ms = 60000, .factor = 10.0};
    static const struct retry_policy flat = {
        .attempts = 1000000, .base_ms = 500, .max_ms = 60000, .factor = 1.0};
    static const struct retry_policy no_wait = {.attempts = 2, .factor = 2.0};
    struct outcome outcome;

    (void)state;
    outcome_set(&outcome, OUTCOME_RETRY, REASON_NETWORK_TIMEOUT, "");
    assert_int_equal(
        delivery_judge(&outcome, &long_one, (struct tries){999999, 1, 0}, NOW, 0, 1).delay_ms,
        60000);
    assert_int_equal(
        delivery_judge(&outcome, &flat, (struct tries){999999, 1, 0}, NOW, 0, 1).delay_ms, 500);
    assert_int_equal(
        delivery_judge(&outcome, &no_wait, (struct tries){1, 1, 0}, NOW, 0, 1).delay_ms, 1);
}

/* The state after as many deferrals as there may be, when the notification is that old. */
static enum delivery_state after_deferrals(const struct outcome *outcome, int64_t age_ms)
{
    struct tries tries = {1, DELIVERY_DEFERRALS_MAX, age_ms};

    return delivery_judge(outcome, &steady, tries, NOW, 0, 1).state;
}

static void what_costs_no_attempt_waits_longer_and_ends(void **state)
{
    static const struct {
        enum outcome_kind kind;
        int64_t named_ms;
    } cases[] = {{OUTCOME_THROTTLE, -1}, {OUTCOME_THROTTLE, 1000}, {OUTCOME_RETRY_AFTER, 1000}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t before_ms = 0;
        struct outcome outcome;

        outcome_set(&outcome, cases[i].kind, REASON_RATE_LIMITED, "");
        outcome.retry_after_ms = cases[i].named_ms;
        for (int n = 1; n < DELIVERY_DEFERRALS_MAX; n++) {
            struct verdict verdict =
                delivery_judge(&outcome, &steady, (struct tries){1, n, 0}, NOW, 0, 1);

            assert_int_equal(verdict.state, DELIVERY_READY);
            assert_false(verdict.costs_attempt);
            assert_true(verdict.delay_ms >= before_ms);
            before_ms = verdict.delay_ms;
        }
        assert_int_equal(before_ms, steady.max_ms);
        assert_int_equal(after_deferrals(&outcome, DELIVERY_DEFERRALS_MS), DELIVERY_DEAD);
        assert_int_equal(after_deferrals(&outcome, DELIVERY_DEFERRALS_MS - 1), DELIVERY_READY);
    }
}

static void a_limit_of_a_targets_own_server_costs_attempts(void **state)
{
    struct outcome outcome;

    (void)state;
    outcome_set(&outcome, OUTCOME_THROTTLE, REASON_RATE_LIMITED, "");
    outcome.is_counted = outcome.is_target_only = true;
    assert_true(
        delivery_judge(&outcome, &steady, (struct tries){1, 1, 0}, NOW, 0, 1).costs_attempt);
    assert_int_equal(delivery_judge(&outcome, &steady, (struct tries){3, 1, 0}, NOW, 0, 1).state,
                     DELIVERY_DEAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_costs_no_attempt_waits_longer_and_ends),
        cmocka_unit_test(a_limit_of_a_targets_own_server_costs_attempts),
        cmocka_unit_test(the_table_of_moves_is_the_one_in_the_document),
        cmocka_unit_test(only_the_dead_leave_a_final_state),
        cmocka_unit_test(an_illegal_move_panics),
        cmocka_unit_test(every_outcome_has_its_verdict),
        cmocka_unit_test(absent_users_are_waited_for_in_the_place_of_death),
        cmocka_unit_test(jitter_is_uniform_above_zero_and_never_longer_than_the_backoff),
        cmocka_unit_test(backoff_stops_growing_at_its_cap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
