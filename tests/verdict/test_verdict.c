/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/report.h"
#include "core/throttle.h"
#include "verdict.h"

static const int HTTP_STATUSES[] = {200, 201, 202, 204, 301, 307, 400, 401, 402, 403, 404, 405, 408,
                                    409, 410, 413, 415, 422, 429, 451, 500, 501, 502, 503, 505};
static const int REPLIES[] = {421, 450, 451, 452, 454, 499, 500, 530, 535, 550, 551, 552, 553, 554};
static unsigned long answers;

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static bool takes_out(const struct outcome *outcome)
{
    return outcome->kind == OUTCOME_DEAD_TARGET || reason_is_suppression(outcome->reason);
}

static struct outcome judge(const struct made *made)
{
    const char *body = write_answer(made);
    struct http_response response = {.is_sent = true,
                                     .is_fully_sent = true,
                                     .status = made->status,
                                     .stage = made->stage,
                                     .version = 1,
                                     .body = body,
                                     .body_bytes = strlen(body),
                                     .retry_after_ms = -1};

    answers++;
    return provider_answer(made->provider, &response);
}

static void say(const struct made *made, const struct outcome *outcome, const char *what)
{
    fail_msg("%s: %s: stage %d, %d, code '%s', next '%s', shape %d, text '%s': %s/%s", what,
             made->provider->name, made->stage, made->status, made->code,
             made->next_code ? made->next_code : "-", made->shape, made->text,
             outcome_name(outcome->kind), reason_name(outcome->reason));
}

/* A number of our own: the same answers in every run. */
static uint64_t draw(uint64_t *state, uint64_t below)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (*state >> 33) % below;
}

/* The n-th of the provider's codes; "" after the last. */
static const char *code_of(const struct provider *provider, size_t n)
{
    static char code[64];
    const char *at = provider->codes;

    while (n-- && *at) {
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    (void)snprintf(code, sizeof code, "%.*s", (int)strcspn(at, " "), at);
    return code;
}

static size_t codes_of(const struct provider *provider)
{
    size_t count = provider->codes[0] != '\0';

    for (const char *at = provider->codes; *at; at++)
        count += *at == ' ';
    return count;
}

/* ---- 1: an address is taken out of use by a proof, and by nothing else ---- */

/* Whole, and with a status that the provider gives such an answer. */
static bool is_usual(const struct made *made)
{
    static const int usual[] = {400, 404, 410, 422, 550};

    for (size_t i = 0; i < COUNT(usual); i++)
        if (made->status == usual[i])
            return made->shape == MADE_PLAIN;
    return false;
}

static void check_proof(const struct made *made)
{
    struct outcome outcome = judge(made);

    if (takes_out(&outcome) && !proves(made))
        say(made, &outcome, "no proof, and the address is out of use");
    if (!takes_out(&outcome) && is_usual(made) && proves(made))
        say(made, &outcome, "a proof, and the address stays in use");
    if (reason_is_suppression(outcome.reason) && outcome.kind != OUTCOME_DEAD_TARGET)
        say(made, &outcome, "suppresses without a dead target");
}

static void check_http(const struct provider *provider)
{
    static const char *const parameters[] = {"recipients", "originator", ""};
    size_t codes = codes_of(provider);
    uint64_t state = 7;

    for (size_t s = 0; s < COUNT(HTTP_STATUSES); s++)
        for (size_t c = 0; c <= codes; c++)
            for (int shape = 0; shape < MADE_SHAPES; shape++)
                for (int n = 0; n < 2; n++) {
                    char code[64];
                    struct made made = {.provider = provider,
                                        .status = HTTP_STATUSES[s],
                                        .code = code,
                                        .parameter = parameters[draw(&state, 3)],
                                        .text = TEXTS[draw(&state, TEXT_COUNT)],
                                        .shape = (enum made_shape)shape};

                    (void)snprintf(code, sizeof code, "%s", code_of(provider, c));
                    check_proof(&made);
                }
}

static void check_smtp(const struct provider *provider)
{
    size_t codes = codes_of(provider);
    uint64_t state = 9;

    for (int stage = HTTP_STAGE_OPEN; stage <= HTTP_STAGE_TEXT; stage++)
        for (size_t s = 0; s < COUNT(REPLIES); s++)
            for (size_t c = 0; c <= codes; c++)
                for (int n = 0; n < 4; n++) {
                    char code[64], next[64];
                    struct made made = {.provider = provider,
                                        .stage = (enum http_stage)stage,
                                        .status = REPLIES[s],
                                        .code = code,
                                        .parameter = "",
                                        .text = TEXTS[draw(&state, TEXT_COUNT)],
                                        .lines = 1 + (int)draw(&state, 3)};

                    (void)snprintf(code, sizeof code, "%s", code_of(provider, c));
                    (void)snprintf(next, sizeof next, "%s",
                                   code_of(provider, draw(&state, codes + 1)));
                    made.next_code = draw(&state, 2) ? next : NULL;
                    check_proof(&made);
                }
}

static void only_a_proof_takes_an_address_out_of_use(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < PROVIDER_COUNT; i++) {
        if (strcmp(PROVIDERS[i].name, "smtp") == 0)
            check_smtp(&PROVIDERS[i]);
        else
            check_http(&PROVIDERS[i]);
    }
}

/* ---- 2: wording, and what else does not matter ---- */

static void wording_says_nothing_of_an_address(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < PROVIDER_COUNT; i++) {
        const struct provider *provider = &PROVIDERS[i];

        for (size_t c = 0; c <= codes_of(provider); c++) {
            char code[64];
            struct made made = {.provider = provider,
                                .stage = HTTP_STAGE_RCPT,
                                .status = strcmp(provider->name, "smtp") == 0 ? 550 : 400,
                                .code = code,
                                .parameter = "recipients",
                                .text = "x",
                                .lines = 1};
            struct outcome plain;

            (void)snprintf(code, sizeof code, "%s", code_of(provider, c));
            plain = judge(&made);
            for (size_t t = 0; t < TEXT_COUNT; t++) {
                struct outcome other;

                made.text = TEXTS[t];
                made.shape = t % 2 && strcmp(provider->name, "smtp") != 0 ? MADE_MORE : MADE_PLAIN;
                other = judge(&made);
                if (takes_out(&other) != takes_out(&plain))
                    say(&made, &other, "the wording changes what is said of the address");
            }
        }
    }
}

static void another_line_or_an_earlier_command_never_says_more(void **unused)
{
    const struct provider *smtp = provider_find("smtp");
    size_t codes = codes_of(smtp);

    (void)unused;
    for (size_t c = 0; c <= codes; c++)
        for (size_t n = 0; n <= codes; n++) {
            char code[64], next[64];
            struct made one = {.provider = smtp,
                               .stage = HTTP_STAGE_RCPT,
                               .status = 550,
                               .code = code,
                               .parameter = "",
                               .text = "x",
                               .lines = 1};
            struct made two = one, early = one;
            struct outcome first, second, before;

            (void)snprintf(code, sizeof code, "%s", code_of(smtp, c));
            (void)snprintf(next, sizeof next, "%s", code_of(smtp, n));
            two.lines = 2;
            two.next_code = next;
            early.stage = HTTP_STAGE_MAIL;
            first = judge(&one);
            second = judge(&two);
            before = judge(&early);
            if (takes_out(&second) && !takes_out(&first))
                say(&two, &second, "a second line makes it worse");
            if (takes_out(&before))
                say(&early, &before, "a mailbox is dead before it was named");
        }
}

/* ---- 3: two witnesses ---- */

static bool is_accounts_own_rate(const struct outcome *outcome)
{
    return outcome->reason == REASON_RATE_LIMITED && !outcome->is_unsure &&
           (outcome->kind == OUTCOME_THROTTLE || outcome->kind == OUTCOME_RETRY_AFTER);
}

static void repeat(const struct made *made)
{
    static const struct throttle_config config = {
        .max_window = 10, .max_strikes = 10, .shut_min_ms = 1000, .shut_max_ms = 60000};
    struct outcome outcome = judge(made);
    struct throttle throttle;

    throttle_init(&throttle, &config);
    for (int i = 0; i < 50; i++) {
        if (!throttle_take(&throttle, i))
            break;
        throttle_give(&throttle, &outcome, &(struct witness){1, 1}, i);
    }
    if (throttle_room(&throttle, 50) < 5 && !is_accounts_own_rate(&outcome))
        say(made, &outcome, "one message stops the others");
    if (throttle.breaker != BREAKER_CLOSED)
        say(made, &outcome, "one message opens the breaker");
}

static void one_message_changes_nothing_for_the_others(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < PROVIDER_COUNT; i++) {
        const struct provider *provider = &PROVIDERS[i];
        bool is_mail = strcmp(provider->name, "smtp") == 0;

        for (size_t s = 0; s < (is_mail ? COUNT(REPLIES) : COUNT(HTTP_STATUSES)); s++)
            for (size_t c = 0; c <= codes_of(provider); c++) {
                char code[64];
                struct made made = {.provider = provider,
                                    .stage = is_mail ? HTTP_STAGE_RCPT : HTTP_STAGE_NONE,
                                    .status = is_mail ? REPLIES[s] : HTTP_STATUSES[s],
                                    .code = code,
                                    .parameter = "recipients",
                                    .text = "x",
                                    .lines = 1};

                (void)snprintf(code, sizeof code, "%s", code_of(provider, c));
                repeat(&made);
            }
    }
}

/* ---- 4: a success is recognised ---- */

static bool is_success(const struct outcome *outcome)
{
    return outcome->kind == OUTCOME_ACCEPTED || outcome->kind == OUTCOME_DELIVERED;
}

static struct outcome answer_with(const struct provider *provider, int status, const char *body,
                                  bool has_header, enum http_fail fail)
{
    struct http_header headers[2] = {{provider->good_header, provider->good_header_value}, {0}};
    struct http_response response = {.fail = fail,
                                     .is_sent = true,
                                     .is_fully_sent = true,
                                     .status = status,
                                     .stage = HTTP_STAGE_TEXT,
                                     .body = body,
                                     .body_bytes = strlen(body),
                                     .retry_after_ms = -1,
                                     .internal =
                                         has_header && provider->good_header ? headers : NULL};

    answers++;
    return provider_answer(provider, &response);
}

static void check_mutations(const struct provider *provider)
{
    static const char *const bodies[] = {
        "<html><body>Sign in to the network</body></html>",
        "{}",
        "[]",
        "null",
        "true",
        "\"ok\"",
        "{\"status\":\"error\",\"message\":\"failed\"}",
        "{\"error\":{\"code\":500}}",
        "0",
        "{\"id\":null,\"sid\":null,\"name\":null,\"MessageId\":null,\"message_uuid\":null}",
        "{\"id\":7,\"sid\":7,\"name\":7,\"MessageId\":7,\"message_uuid\":7,\"ErrorCode\":0,"
        "\"MessageID\":7,\"messages\":[{\"id\":7}]}",
        "{\"id\":\"\",\"sid\":\"\",\"name\":\"\",\"MessageId\":\"\",\"message_uuid\":\"\"}",
        "{\"messages\":[]}",
        "{\"MessageID\":\"p-1\"}",
        "{\"ErrorCode\":406,\"MessageID\":\"p-1\"}",
        "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error "
        "404",
        "ok, but not yet",
        "1 ",
        ""};
    static const int statuses[] = {200, 201, 202, 203, 206};
    char half[256];

    for (size_t s = 0; s < COUNT(statuses); s++)
        for (size_t b = 0; b < COUNT(bodies); b++) {
            struct outcome outcome =
                answer_with(provider, statuses[s], bodies[b], false, HTTP_FAIL_NONE);

            if (is_success(&outcome) && !(provider->good[0] == '\0' && bodies[b][0] == '\0'))
                fail_msg("%s: %d with '%s' is no success", provider->name, statuses[s], bodies[b]);
        }
    (void)snprintf(half, sizeof half, "%.*s", (int)(strlen(provider->good) / 2), provider->good);
    if (half[0]) {
        struct outcome outcome =
            answer_with(provider, provider->good_status, half, true, HTTP_FAIL_RESET);

        assert_false(is_success(&outcome));
    }
}

static void a_success_is_recognised_by_its_form(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < PROVIDER_COUNT; i++) {
        const struct provider *provider = &PROVIDERS[i];
        struct outcome good =
            answer_with(provider, provider->good_status, provider->good, true, HTTP_FAIL_NONE);

        if (!is_success(&good))
            fail_msg("%s: its success is %s", provider->name, outcome_name(good.kind));
        if (!provider->is_any_good && strcmp(provider->name, "smtp") != 0)
            check_mutations(provider);
    }
}

static void a_good_reply_to_anything_but_the_text_is_no_success(void **unused)
{
    const struct provider *smtp = provider_find("smtp");

    (void)unused;
    for (int stage = HTTP_STAGE_NONE; stage < HTTP_STAGE_TEXT; stage++) {
        struct http_response response = {.status = 250,
                                         .stage = (enum http_stage)stage,
                                         .body = "250 ok",
                                         .body_bytes = 6,
                                         .retry_after_ms = -1};
        struct outcome outcome = provider_answer(smtp, &response);

        assert_false(is_success(&outcome));
    }
}

/* ---- 5: the order of reports does not matter ---- */

static void reports_fold_to_the_same_state_in_every_order(void **unused)
{
    static const enum report reports[] = {REPORT_SENT,      REPORT_FAILED,    REPORT_DELIVERED,
                                          REPORT_READ,      REPORT_CLICKED,   REPORT_BOUNCED,
                                          REPORT_OPTED_OUT, REPORT_COMPLAINED};
    uint64_t state = 11;

    (void)unused;
    for (int round = 0; round < 2000; round++) {
        enum report heard[6], last = REPORT_SENT, again = REPORT_SENT;

        for (size_t i = 0; i < COUNT(heard); i++)
            heard[i] = reports[draw(&state, COUNT(reports))];
        for (size_t i = 0; i < COUNT(heard); i++)
            if (report_moves(last, heard[i]))
                last = heard[i];
        for (size_t i = 0; i < 3 * COUNT(heard); i++) { /* backwards, and each three times */
            enum report next = heard[COUNT(heard) - 1 - i % COUNT(heard)];

            if (report_moves(again, next))
                again = next;
        }
        assert_int_equal(last, again);
    }
}

/* ---- single cases ---- */

static enum http_stage stage_by_name(const char *name)
{
    static const char *const names[] = {"-", "open", "mail", "rcpt", "data", "text"};

    for (size_t i = 0; i < COUNT(names); i++)
        if (strcmp(names[i], name) == 0)
            return (enum http_stage)i;
    fail_msg("no stage %s", name);
    return HTTP_STAGE_NONE;
}

/* In a reply "|" stands between two lines. */
static void the_cases_of_the_table_end_as_it_says(void **unused)
{
    FILE *file = fopen(TOCSIN_VERDICT_DIR "/outcomes.txt", "r");
    char line[1024], name[32], stage[16], kind[32], reason[32];
    int status, at, cases = 0;

    (void)unused;
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        const struct provider *provider;
        struct outcome outcome;

        if (line[0] == '#' ||
            sscanf(line, "%31s %15s %d %31s %31s %n", name, stage, &status, kind, reason, &at) != 5)
            continue;
        line[strcspn(line, "\n")] = '\0';
        for (char *bar = line + at; (bar = strchr(bar, '|'));)
            *bar = '\n';
        provider = provider_find(name);
        assert_non_null(provider);

        struct http_response response = {.is_sent = true,
                                         .is_fully_sent = true,
                                         .status = status,
                                         .stage = stage_by_name(stage),
                                         .body = line + at,
                                         .body_bytes = strlen(line + at),
                                         .retry_after_ms = -1};

        outcome = provider_answer(provider, &response);
        if (strcmp(outcome_name(outcome.kind), kind) != 0 ||
            strcmp(outcome.reason ? reason_name(outcome.reason) : "-", reason) != 0)
            fail_msg("%s %s %d %s: %s/%s", name, stage, status, line + at,
                     outcome_name(outcome.kind), reason_name(outcome.reason));
        cases++;
    }
    fclose(file);
    assert_true(cases > 30);
}

static int open_all(void **state)
{
    (void)state;
    providers_open();
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    providers_close();
    printf("%lu answers\n", answers);
    return answers > 40000 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cases_of_the_table_end_as_it_says),
        cmocka_unit_test(only_a_proof_takes_an_address_out_of_use),
        cmocka_unit_test(wording_says_nothing_of_an_address),
        cmocka_unit_test(another_line_or_an_earlier_command_never_says_more),
        cmocka_unit_test(one_message_changes_nothing_for_the_others),
        cmocka_unit_test(a_success_is_recognised_by_its_form),
        cmocka_unit_test(a_good_reply_to_anything_but_the_text_is_no_success),
        cmocka_unit_test(reports_fold_to_the_same_state_in_every_order),
    };

    return cmocka_run_group_tests(tests, open_all, close_all);
}
