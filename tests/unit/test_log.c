/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include "base/alloc.h"
#include "base/log_limit.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* Standard error goes into a descriptor of ours for a while. */
struct capture {
    int saved, reader, writer;
    char text[1 << 17];
};

static void capture_start(struct capture *capture)
{
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    assert_int_not_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), -1);
    capture->reader = fds[0];
    capture->writer = fds[1];
    capture->saved = dup(STDERR_FILENO);
    dup2(capture->writer, STDERR_FILENO);
}

static const char *capture_read(struct capture *capture)
{
    size_t length = 0;
    ssize_t got;

    while ((got = read(capture->reader, capture->text + length,
                       sizeof capture->text - 1 - length)) > 0)
        length += (size_t)got;
    capture->text[length] = '\0';
    return capture->text;
}

static void capture_stop(struct capture *capture)
{
    dup2(capture->saved, STDERR_FILENO);
    close(capture->saved);
    close(capture->reader);
    close(capture->writer);
}

static void addresses_are_masked(void **state)
{
    static const struct {
        const char *input, *want;
    } cases[] = {
        {"+4917612345621", "+4917*****21"},
        {"4917612345621", "4917*****21"},
        {"+1 (415) 555-0100", "+1415*****00"},
        {"5550100", "55*****00"},
        {"112", "*****"},
        {"anna@example.org", "a***@example.org"},
        {"a@example.org", "***@example.org"},
        {"an\"na@b@example.org", "a***@example.org"},
        {"anna@ex\nample", "a***@ex?ample"},
        {"https://hooks.example.org/T0/B0/secret", "https://hooks.example.org/..."},
        {"https://user:pw@hooks.example.org:8443?key=1", "https://hooks.example.org:8443/..."},
        {"https://hooks.example.org", "https://hooks.example.org"},
        {"mailto:anna@example.org", "m***@example.org"},
        {"", ""},
    };
    char out[64];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        log_mask(cases[i].input, out, sizeof out);
        assert_string_equal(out, cases[i].want);
    }
    log_mask("fGb3:APA91bH_device_token", out, sizeof out);
    assert_int_equal(strlen(out), strlen("tok:9f3c..."));
    assert_memory_equal(out, "tok:", 4);
    assert_null(strstr(out, "fGb3"));
    log_mask("+4917612345621", out, 6);
    assert_string_equal(out, "+4917");
    log_mask("anna@example.org", out, 1);
    assert_string_equal(out, "");
}

static void text_lines_quote_what_needs_it(void **state)
{
    struct capture *capture = xmalloc(sizeof *capture);

    (void)state;
    capture_start(capture);
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("unit.test", LOG_STR("a", "bare"), LOG_STR("b", "two words"), LOG_STR("c", ""),
             LOG_STR("d", "x=\"\\"), LOG_STR("e", "line\nfeed\x1b[31m"), LOG_INT("f", -5),
             LOG_U64("g", UINT64_MAX), LOG_ID("h", 0xabc), LOG_MS("i", 12),
             LOG_ADDR("j", "anna@example.org"), LOG_STR("k", NULL), LOG_STR("l", "\xc2\x9b\xff"));
    log_debug("unit.hidden", LOG_INT("n", 1));
    assert_non_null(strstr(
        capture_read(capture),
        "Z info unit.test a=bare b=\"two words\" c=\"\" d=\"x=\\\"\\\\\" "
        "e=\"line\\u000afeed\\u001b[31m\" f=-5 g=18446744073709551615 h=0000000000000abc i=12ms "
        "j=a***@example.org k=\"\" l=\"\\u009b\xef\xbf\xbd\"\n"));
    assert_null(strstr(capture->text, "unit.hidden"));
    capture_stop(capture);
    free(capture);
}

static void json_lines_are_json(void **state)
{
    struct capture *capture = xmalloc(sizeof *capture);

    (void)state;
    capture_start(capture);
    log_init(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    log_debug("unit.test", LOG_STR("a", "bare"), LOG_ID("id", 1), LOG_MS("took", 3),
              LOG_INT("n", 7));
    assert_non_null(strstr(capture_read(capture),
                           "Z\",\"level\":\"debug\",\"event\":\"unit.test\",\"a\":\"bare\","
                           "\"id\":\"0000000000000001\",\"took_ms\":3,\"n\":7}\n"));
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    capture_stop(capture);
    free(capture);
}

static void long_values_and_lines_are_cut(void **state)
{
    struct capture *capture = xmalloc(sizeof *capture);
    char value[1000];
    struct log_field fields[40];
    const char *text;

    (void)state;
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    capture_start(capture);
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("unit.test", LOG_STR("v", value));
    text = capture_read(capture);
    assert_non_null(strstr(text, "xxx...\"\n"));
    assert_in_range(strlen(text), 256, 320);
    for (size_t i = 0; i < 40; i++)
        fields[i] = LOG_STR("v", value);
    log_write(LOG_LEVEL_INFO, "unit.test", fields, 40);
    text = capture_read(capture);
    assert_in_range(strlen(text), 3000, 4096);
    assert_non_null(strstr(text, "...\" cut=true\n"));
    capture_stop(capture);
    free(capture);
}

/* Should a write block, the alarm ends the program. */
static void full_pipe_drops_and_counts(void **state)
{
    struct capture *capture = xmalloc(sizeof *capture);
    uint64_t before = log_dropped();
    char want[64];

    (void)state;
    capture_start(capture);
    log_init(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT); /* debug lines have no limit */
    alarm(10);
    for (int i = 0; i < 5000; i++)
        log_debug("unit.test", LOG_STR("filler", "0123456789012345678901234567890123456789"));
    alarm(0);
    assert_true(log_dropped() - before > 1000);
    snprintf(want, sizeof want, "log.dropped count=%llu\n",
             (unsigned long long)(log_dropped() - before));
    capture_read(capture);
    log_info("unit.after", LOG_INT("n", 1));
    capture_read(capture);
    assert_non_null(strstr(capture->text, want));
    assert_non_null(strstr(capture->text, "unit.after n=1\n"));
    capture_stop(capture);
    free(capture);
}

static void full_socket_and_closed_pipe_drop(void **state)
{
    struct capture *capture = xmalloc(sizeof *capture);
    uint64_t before = log_dropped();
    int fds[2];

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    capture_start(capture);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    dup2(fds[0], STDERR_FILENO);
    log_init(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT); /* debug lines have no limit */
    alarm(10);
    for (int i = 0; i < 20000; i++)
        log_debug("unit.test", LOG_STR("filler", "0123456789012345678901234567890123456789"));
    alarm(0);
    assert_true(log_dropped() > before);
    close(fds[0]);
    close(fds[1]);
    before = log_dropped();
    assert_int_equal(pipe(fds), 0);
    close(fds[0]);
    dup2(fds[1], STDERR_FILENO);
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("unit.test", LOG_INT("n", 1));
    assert_int_equal(log_dropped(), before + 1);
    close(fds[1]);
    capture_stop(capture);
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    free(capture);
}

/* The bound is on lines, whatever they say: here every line names another topic. */
static void one_event_cannot_flood_the_log(void **state)
{
    struct capture *capture = xmalloc(sizeof *capture);
    unsigned lines = 0;

    (void)state;
    capture_start(capture);
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    for (int i = 0; i < 3000; i++) {
        char topic[32];

        snprintf(topic, sizeof topic, "up/junk%d", i);
        log_warn("unit.flood", LOG_STR("topic", topic));
    }
    log_warn("unit.other", LOG_INT("n", 1));
    capture_read(capture);
    for (const char *at = capture->text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_in_range(lines, LOG_LIMIT_LINES + 1, 4 * LOG_LIMIT_LINES); /* a slow second or two */
    assert_non_null(strstr(capture->text, "unit.other n=1\n"));
    capture_stop(capture);
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    free(capture);
}

static int exit_of(void (*doomed)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
        doomed();
        _exit(99);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void do_panic(void)
{
    signal(SIGABRT, SIG_DFL);
    ASSERT(1 + 1 == 3);
}

static void do_fatal(void)
{
    fatal("unit.fatal", "on purpose");
}

static void panic_aborts_and_fatal_exits(void **state)
{
    int status = exit_of(do_panic);

    (void)state;
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    status = exit_of(do_fatal);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
}

static void do_abort(void)
{
    signal(SIGABRT, SIG_DFL);
    log_crashes();
    abort();
}

static void do_crash(void)
{
    signal(SIGSEGV, SIG_DFL);
    log_crashes();
    raise(SIGSEGV);
}

static void do_panic_with_handler(void)
{
    signal(SIGABRT, SIG_DFL);
    log_crashes();
    ASSERT(1 + 1 == 3);
}

static void on_own_signal(int signo)
{
    (void)signo;
    _exit(3);
}

static void do_abort_with_handler_of_another(void)
{
    signal(SIGABRT, on_own_signal);
    log_crashes();
    abort();
}

/* Waits for the end of doomed() in a process of its own; its log is in the capture. */
static int last_words_of(struct capture *capture, void (*doomed)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        dup2(capture->writer, STDERR_FILENO);
        doomed();
        _exit(99);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    capture_read(capture);
    return status;
}

static void no_end_is_silent(void **state)
{
    struct capture *capture = calloc(1, sizeof *capture);
    int status;

    (void)state;
    capture_start(capture);
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    status = last_words_of(capture, do_abort);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(capture->text, "\"level\":\"error\",\"event\":\"process.crashed\","
                                          "\"signal\":\"SIGABRT\",\"why\":\"a library called"));
    assert_ptr_equal(strchr(capture->text, '\n'), strrchr(capture->text, '\n'));
    status = last_words_of(capture, do_crash);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    assert_non_null(strstr(capture->text, "\"signal\":\"SIGSEGV\""));
    status = last_words_of(capture, do_panic_with_handler);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(capture->text, "panic.raised"));
    assert_null(strstr(capture->text, "process.crashed"));
    status = last_words_of(capture, do_abort_with_handler_of_another);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    capture_stop(capture);
    log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    free(capture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_masked),
        cmocka_unit_test(text_lines_quote_what_needs_it),
        cmocka_unit_test(json_lines_are_json),
        cmocka_unit_test(long_values_and_lines_are_cut),
        cmocka_unit_test(full_pipe_drops_and_counts),
        cmocka_unit_test(full_socket_and_closed_pipe_drop),
        cmocka_unit_test(one_event_cannot_flood_the_log),
        cmocka_unit_test(panic_aborts_and_fatal_exits),
        cmocka_unit_test(no_end_is_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
