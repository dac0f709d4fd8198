/* SPDX-License-Identifier: MIT */
/*
 * channel_fake - the engine and the loop as an adapter's test sees them
 *
 * The test program defines http_send() and its like itself, so that io's are not linked: what
 * an adapter wants sent is kept for the test to look at, the test gives the answer, and timers
 * run when the test says so.  Include from exactly one file per program, after cmocka.
 */
#ifndef TESTS_UNIT_CHANNEL_FAKE_H
#define TESTS_UNIT_CHANNEL_FAKE_H
#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "channels/adapters.h"
#include "io/http_client.h"
#include "io/loop.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define FAKE              static __attribute__((unused))
#define FAKE_REQUESTS_MAX 64

struct fake_request {
    bool is_open, is_mail;
    char *method, *url, *body, *user, *password;
    size_t body_bytes;
    char *names[32], *values[32];
    unsigned header_count;
    struct http_request shape; /* its pointers are dead: numbers and flags only */
    char *host, *from, *recipient;
    struct http_mail mail;
    http_response_fn *on_response;
    void *ctx;
};

static struct fake_request fake_requests[FAKE_REQUESTS_MAX];
static unsigned fake_request_count;
static int fake_send_error;
static int64_t fake_wall = 1700000000000;
static struct {
    struct loop_timer *timer;
    void (*on_due)(void *ctx);
    void *ctx;
} fake_timers[FAKE_REQUESTS_MAX];
static const struct http_header *fake_answer_headers;
static enum http_stage fake_answer_stage; /* of the next answers to a mail */

static struct outcome fake_outcome;
static unsigned fake_outcome_count;

FAKE int64_t fake_wall_ms(void)
{
    return fake_wall;
}

FAKE char *fake_copy(const char *text)
{
    return text ? xstrdup(text) : NULL;
}

FAKE struct fake_request *fake_keep(http_response_fn *on_response, void *ctx)
{
    struct fake_request *kept = &fake_requests[fake_request_count++];

    assert_true(fake_request_count < FAKE_REQUESTS_MAX);
    kept->is_open = true;
    kept->on_response = on_response;
    kept->ctx = ctx;
    return kept;
}

int http_send(struct http_client *client, const struct http_request *request,
              http_response_fn *on_response, void *ctx)
{
    struct fake_request *kept;

    (void)client;
    if (fake_send_error)
        return fake_send_error;
    if (strncmp(request->url, "http", 4) != 0)
        return ERR_INVALID;
    kept = fake_keep(on_response, ctx);
    kept->shape = *request;
    kept->method = fake_copy(request->method);
    kept->url = fake_copy(request->url);
    kept->user = fake_copy(request->basic_user);
    if (request->basic_password)
        kept->password = fake_copy(request->basic_password->bytes);
    kept->body = xcalloc(1, request->body_bytes + 1);
    if (request->body_bytes)
        memcpy(kept->body, request->body, request->body_bytes);
    kept->body_bytes = request->body_bytes;
    kept->header_count = request->header_count;
    for (unsigned i = 0; i < request->header_count; i++) {
        kept->names[i] = fake_copy(request->headers[i].name);
        kept->values[i] = fake_copy(request->headers[i].value);
    }
    return 0;
}

int http_send_mail(struct http_client *client, const struct http_mail *mail,
                   http_response_fn *on_response, void *ctx)
{
    struct fake_request *kept;

    (void)client;
    if (fake_send_error)
        return fake_send_error;
    kept = fake_keep(on_response, ctx);
    kept->is_mail = true;
    kept->mail = *mail;
    kept->host = fake_copy(mail->host);
    kept->user = fake_copy(mail->username);
    kept->from = fake_copy(mail->from);
    kept->recipient = fake_copy(mail->recipients[0]);
    assert_null(mail->recipients[1]);
    if (mail->password)
        kept->password = fake_copy(mail->password->bytes);
    kept->body = xstrndup(mail->message, mail->message_bytes);
    kept->body_bytes = mail->message_bytes;
    return 0;
}

const char *http_response_header(const struct http_response *response, const char *name)
{
    const struct http_header *header = response->internal;

    for (; header && header->name; header++) {
        if (strcasecmp(header->name, name) == 0)
            return header->value;
    }
    return NULL;
}

void loop_timer_start(struct loop *loop, struct loop_timer *timer, int64_t after_ms,
                      void (*on_due)(void *ctx), void *ctx)
{
    (void)loop, (void)after_ms;
    for (unsigned i = 0; i < FAKE_REQUESTS_MAX; i++) {
        if (!fake_timers[i].timer) {
            fake_timers[i].timer = timer;
            fake_timers[i].on_due = on_due;
            fake_timers[i].ctx = ctx;
            timer->handle = &fake_timers[i];
            return;
        }
    }
    fail_msg("too many timers");
}

void loop_timer_stop(struct loop_timer *timer)
{
    for (unsigned i = 0; i < FAKE_REQUESTS_MAX; i++) {
        if (fake_timers[i].timer == timer)
            fake_timers[i].timer = NULL;
    }
    timer->handle = NULL;
}

/* Runs every timer that is armed now. */
FAKE void fake_run_timers(void)
{
    for (unsigned i = 0; i < FAKE_REQUESTS_MAX; i++) {
        if (fake_timers[i].timer) {
            fake_timers[i].timer = NULL;
            fake_timers[i].on_due(fake_timers[i].ctx);
        }
    }
}

FAKE void fake_on_outcome(void *ctx, const struct outcome *outcome)
{
    (void)ctx;
    fake_outcome = *outcome;
    fake_outcome_count++;
}

FAKE void fake_forget(void)
{
    for (unsigned i = 0; i < fake_request_count; i++) {
        struct fake_request *kept = &fake_requests[i];

        free(kept->method);
        free(kept->url);
        free(kept->body);
        free(kept->user);
        free(kept->password);
        free(kept->host);
        free(kept->from);
        free(kept->recipient);
        for (unsigned k = 0; k < kept->header_count; k++) {
            free(kept->names[k]);
            free(kept->values[k]);
        }
    }
    memset(fake_requests, 0, sizeof fake_requests);
    fake_request_count = 0;
    fake_outcome_count = 0;
    memset(&fake_outcome, 0xEE, sizeof fake_outcome);
    fake_send_error = 0;
}

FAKE struct fake_request *fake_last(void)
{
    assert_true(fake_request_count > 0);
    return &fake_requests[fake_request_count - 1];
}

FAKE const char *fake_header(const struct fake_request *kept, const char *name)
{
    for (unsigned i = 0; i < kept->header_count; i++) {
        if (strcasecmp(kept->names[i], name) == 0)
            return kept->values[i];
    }
    return NULL;
}

FAKE void fake_respond(struct fake_request *kept, const struct http_response *response)
{
    assert_true(kept->is_open);
    kept->is_open = false;
    kept->on_response(kept->ctx, response);
}

/* An answer with a status to the newest request; headers may be NULL. */
FAKE void fake_answer(int status, const char *body, int64_t retry_after_ms)
{
    struct http_response response = {.is_sent = true,
                                     .is_fully_sent = true,
                                     .status = status,
                                     .version = 1,
                                     .stage = fake_answer_stage,
                                     .body = body,
                                     .body_bytes = strlen(body),
                                     .retry_after_ms = retry_after_ms,
                                     .internal = fake_answer_headers};

    fake_respond(fake_last(), &response);
}

FAKE void fake_failure(enum http_fail fail, bool is_sent, bool is_fully_sent)
{
    struct http_response response = {.fail = fail,
                                     .is_sent = is_sent,
                                     .is_fully_sent = is_fully_sent,
                                     .body = "",
                                     .retry_after_ms = -1};

    fake_respond(fake_last(), &response);
}

/* Settings: key, value, key, value, ..., NULL. */
FAKE const char *fake_setting(void *ctx, const char *key)
{
    const char *const *pairs = ctx;

    for (; *pairs; pairs += 2) {
        if (strcmp(pairs[0], key) == 0)
            return pairs[1];
    }
    return NULL;
}

static char fake_why[512];

FAKE int fake_open(const struct adapter *adapter, const char *const *pairs, void **state)
{
    struct adapter_env env = {.wall_ms = fake_wall_ms};
    struct adapter_settings settings = {"test", fake_setting, (void *)(uintptr_t)pairs};

    fake_why[0] = '\0';
    *state = NULL;
    return adapter->open(&env, &settings, state, fake_why, sizeof fake_why);
}

#define FAKE_FILES_MAX 32
static char fake_paths[FAKE_FILES_MAX][64];
static unsigned fake_paths_used;

FAKE void fake_files_remove(void)
{
    while (fake_paths_used)
        (void)unlink(fake_paths[--fake_paths_used]);
}

/* A private file with this text; the path is good until the program ends. */
FAKE const char *fake_file(const char *text)
{
    char *path = fake_paths[fake_paths_used];
    int fd;

    assert_true(fake_paths_used < FAKE_FILES_MAX);
    if (fake_paths_used++ == 0)
        assert_int_equal(atexit(fake_files_remove), 0);
    (void)snprintf(path, sizeof fake_paths[0], "/tmp/tocsin-channel-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, 0600), 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

#define FAKE_DELIVERY 0x0123456789abcdefU

FAKE struct job fake_job(const char *target, const char *content)
{
    return (struct job){.delivery = FAKE_DELIVERY,
                        .notification = 0x0123456789abcd00U,
                        .attempt = 1,
                        .service = "shop",
                        .request = "r1",
                        .type = "order.ready",
                        .priority = PRIORITY_NORMAL,
                        .target = target,
                        .content = content,
                        .content_bytes = strlen(content),
                        .created_ms = 1700000000000};
}

FAKE int fake_send(const struct adapter *adapter, void *state, const struct job *job)
{
    return adapter->send(state, job, fake_on_outcome, NULL);
}

struct fake_case {
    int status;
    const char *body;
    int64_t retry_after_ms; /* -1: none */
    enum outcome_kind kind;
    enum reason reason;
};

/* Sends the job once per case and checks the class that each answer ends in. */
FAKE void fake_check_cases(const struct adapter *adapter, void *state, const struct job *job,
                           const struct fake_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fake_forget();
        assert_int_equal(fake_send(adapter, state, job), 0);
        fake_answer(cases[i].status, cases[i].body, cases[i].retry_after_ms);
        if (fake_outcome_count != 1 || fake_outcome.kind != cases[i].kind ||
            fake_outcome.reason != cases[i].reason || fake_outcome.status != cases[i].status)
            fail_msg("case %zu (%d %s): got %s/%s, status %d", i, cases[i].status, cases[i].body,
                     outcome_name(fake_outcome.kind), reason_name(fake_outcome.reason),
                     fake_outcome.status);
    }
    fake_forget();
}

/* What is the same for every adapter on HTTP: failures below the status line. */
FAKE void fake_check_failures(const struct adapter *adapter, void *state, const struct job *job)
{
    static const struct {
        enum http_fail fail;
        bool is_sent, is_fully_sent;
        enum outcome_kind kind;
        bool is_connection;
    } cases[] = {
        {HTTP_FAIL_RESOLVE, false, false, OUTCOME_RETRY, true},
        {HTTP_FAIL_CONNECT, false, false, OUTCOME_RETRY, true},
        {HTTP_FAIL_TLS, false, false, OUTCOME_RETRY, true},
        {HTTP_FAIL_FORBIDDEN, false, false, OUTCOME_PERMANENT, false},
        {HTTP_FAIL_TIMEOUT, false, false, OUTCOME_RETRY, true},
        {HTTP_FAIL_TIMEOUT, true, false, OUTCOME_RETRY, false},
        {HTTP_FAIL_TIMEOUT, true, true, OUTCOME_UNKNOWN, false},
        {HTTP_FAIL_RESET, false, false, OUTCOME_RETRY, true},
        {HTTP_FAIL_RESET, true, true, OUTCOME_UNKNOWN, false},
        {HTTP_FAIL_GARBAGE, true, true, OUTCOME_UNKNOWN, false},
        {HTTP_FAIL_TOO_LARGE, true, true, OUTCOME_UNKNOWN, false},
        {HTTP_FAIL_CLOSED, false, false, OUTCOME_RETRY, true},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_forget();
        assert_int_equal(fake_send(adapter, state, job), 0);
        fake_failure(cases[i].fail, cases[i].is_sent, cases[i].is_fully_sent);
        if (fake_outcome_count != 1 || fake_outcome.kind != cases[i].kind ||
            fake_outcome.is_connection != cases[i].is_connection)
            fail_msg("failure %u: got %s, is_connection %d", i, outcome_name(fake_outcome.kind),
                     fake_outcome.is_connection);
    }
    fake_forget();
    /* No room below: send() says so, and nobody is called. */
    fake_send_error = ERR_FULL;
    assert_int_equal(fake_send(adapter, state, job), ERR_FULL);
    fake_run_timers();
    assert_int_equal(fake_outcome_count, 0);
    fake_send_error = 0;
}

/* A job that the adapter must end by itself, without a request. */
FAKE void fake_check_refused(const struct adapter *adapter, void *state, const struct job *job,
                             enum outcome_kind kind, enum reason reason)
{
    fake_forget();
    assert_int_equal(fake_send(adapter, state, job), 0);
    assert_int_equal(fake_outcome_count, 0); /* never before send() has returned */
    fake_run_timers();
    assert_int_equal(fake_request_count, 0);
    assert_int_equal(fake_outcome_count, 1);
    assert_string_equal(outcome_name(fake_outcome.kind), outcome_name(kind));
    assert_string_equal(reason_name(fake_outcome.reason), reason_name(reason));
}

#endif
