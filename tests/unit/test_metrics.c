/* SPDX-License-Identifier: MIT */
#include "base/metrics.h"

#include "base/secret.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static void families_are_written_in_order(void **state)
{
    struct metrics *metrics = metrics_new();
    struct metric *sms =
        metrics_get(metrics, METRIC_COUNTER, "x_total", "Back\\slash.", "channel=\"sms\"");
    struct metric *push =
        metrics_get(metrics, METRIC_COUNTER, "x_total", "Back\\slash.", "channel=\"push\"");
    struct metric *depth = metrics_get(metrics, METRIC_GAUGE, "depth", "How deep.", NULL);
    struct buf out = {0};

    (void)state;
    assert_ptr_equal(
        sms, metrics_get(metrics, METRIC_COUNTER, "x_total", "Back\\slash.", "channel=\"sms\""));
    metric_add(sms, 1);
    metric_add(sms, 2);
    metric_set(depth, -1.5);
    metric_add(push, 1e12);
    metrics_write(metrics, &out);
    assert_string_equal(buf_text(&out), "# HELP x_total Back\\\\slash.\n"
                                        "# TYPE x_total counter\n"
                                        "x_total{channel=\"sms\"} 3\n"
                                        "x_total{channel=\"push\"} 1000000000000\n"
                                        "# HELP depth How deep.\n"
                                        "# TYPE depth gauge\n"
                                        "depth -1.5\n");
    buf_fini(&out);
    metrics_free(metrics);
    metrics_free(NULL);
}

static void histograms_are_cumulative(void **state)
{
    struct metrics *metrics = metrics_new();
    struct metric *took =
        metrics_get(metrics, METRIC_HISTOGRAM, "took_seconds", "Time.", "a=\"b\"");
    struct buf out = {0};

    (void)state;
    metric_observe(took, 0.0005); /* bounds are inclusive */
    metric_observe(took, 0.0006);
    metric_observe(took, 7);
    metric_observe(took, 1e6);
    metrics_write(metrics, &out);
    assert_non_null(strstr(buf_text(&out), "took_seconds_bucket{a=\"b\",le=\"0.0005\"} 1\n"
                                           "took_seconds_bucket{a=\"b\",le=\"0.001\"} 2\n"));
    assert_non_null(strstr(buf_text(&out), "{a=\"b\",le=\"5\"} 2\n"));
    assert_non_null(strstr(buf_text(&out), "{a=\"b\",le=\"10\"} 3\n"));
    assert_non_null(strstr(buf_text(&out), "{a=\"b\",le=\"300\"} 3\n"));
    assert_non_null(strstr(buf_text(&out), "took_seconds_bucket{a=\"b\",le=\"+Inf\"} 4\n"
                                           "took_seconds_sum{a=\"b\"} 1000007.0011\n"
                                           "took_seconds_count{a=\"b\"} 4\n"));
    buf_fini(&out);
    metrics_free(metrics);
}

struct file {
    char path[64];
};

static void file_make(struct file *file, const char *bytes, size_t length, mode_t mode)
{
    int fd;

    strcpy(file->path, "/tmp/tocsin-secret-XXXXXX");
    fd = mkstemp(file->path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), (ssize_t)length);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void secret_files_are_read_or_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
        mode_t mode;
        int want_err;
        const char *want; /* the secret, or a part of the reason */
    } cases[] = {
        {"hush", 4, 0600, 0, "hush"},
        {"hush\n", 5, 0400, 0, "hush"},
        {"hush\n\n", 6, 0600, 0, "hush\n"},
        {"hush", 4, 0640, ERR_REFUSED, "chmod 600"},
        {"hush", 4, 0604, ERR_REFUSED, "chmod 600"},
        {"", 0, 0600, ERR_INVALID, "empty"},
        {"\n", 1, 0600, ERR_INVALID, "empty"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct secret secret = {0};
        struct file file;
        char why[256] = "";
        int err;

        file_make(&file, cases[i].bytes, cases[i].length, cases[i].mode);
        err = secret_read_file(&secret, file.path, why, sizeof why);
        unlink(file.path);
        assert_int_equal(err, cases[i].want_err);
        if (err)
            assert_non_null(strstr(why, cases[i].want));
        else
            assert_string_equal(secret.bytes, cases[i].want);
        secret_fini(&secret);
        assert_null(secret.bytes);
    }
}

static void secret_limits_hold(void **state)
{
    char *large = calloc(1, 64 * 1024 + 1);
    struct secret secret = {0};
    struct file file;
    char why[256];

    (void)state;
    assert_non_null(large);
    memset(large, 'k', 64 * 1024 + 1);
    file_make(&file, large, 64 * 1024 + 1, 0600);
    assert_int_equal(secret_read_file(&secret, file.path, why, sizeof why), ERR_TOO_LARGE);
    unlink(file.path);
    file_make(&file, large, 64 * 1024, 0600);
    assert_int_equal(secret_read_file(&secret, file.path, why, sizeof why), 0);
    assert_int_equal(secret.length, 64 * 1024);
    unlink(file.path);
    assert_int_equal(secret_read_file(&secret, file.path, why, sizeof why), ERR_NOT_FOUND);
    assert_int_equal(secret.length, 64 * 1024); /* a failed read leaves the former one */
    assert_int_equal(secret_read_file(&secret, "/tmp", why, sizeof why), ERR_IO);
    secret_set(&secret, "", 0);
    assert_string_equal(secret.bytes, "");
    secret_fini(&secret);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_are_written_in_order),
        cmocka_unit_test(histograms_are_cumulative),
        cmocka_unit_test(secret_files_are_read_or_refused),
        cmocka_unit_test(secret_limits_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
