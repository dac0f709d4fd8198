/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "channels/encode.h"
#include "channels/tracker.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PUBLIC "https://news.example"

static char one_file[] = "/tmp/tocsin-key-XXXXXX", two_file[] = "/tmp/tocsin-key-XXXXXX",
            short_file[] = "/tmp/tocsin-key-XXXXXX";

static void write_key(char *path, const char *text)
{
    int fd = mkstemp(path);

    assert_true(fd >= 0 && fchmod(fd, 0600) == 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static int make_files(void **state)
{
    (void)state;
    write_key(one_file, "a first secret of some length\n");
    write_key(two_file, "a second secret of some length\n");
    write_key(short_file, "too short\n");
    return 0;
}

static int drop_files(void **state)
{
    (void)state;
    unlink(one_file);
    unlink(two_file);
    unlink(short_file);
    return 0;
}

static struct tracker *open_tracker(const char *key, const char *former)
{
    struct tracker_config config = {PUBLIC "/", key, former};
    struct tracker *tracker = tracker_new();
    char why[256];

    assert_int_equal(tracker_load(tracker, &config, why, sizeof why), 0);
    return tracker;
}

static struct job job_of(unsigned tracking)
{
    return (struct job){.delivery = UINT64_C(0x0123456789abcdef),
                        .type = "news.weekly",
                        .target = "Some.One@example.org",
                        .tracking = tracking};
}

/* What stands behind the prefix in the first attribute that has it; the caller's arena. */
static const char *path_in(struct arena *arena, const char *html, const char *kind)
{
    const char *at = strstr(html, kind);

    assert_non_null(at);
    at += strlen(PUBLIC TRACKER_PATH);
    return arena_copy(arena, at, strcspn(at, "\""));
}

static void links_and_an_image_lead_back(void **state)
{
    static const char html[] = "<body><a href=\"https://shop.example/?a=1&amp;b=2\">x</a></body>";
    struct tracker *tracker = open_tracker(one_file, NULL);
    struct arena *arena = arena_new(0);
    struct job job = job_of(JOB_TRACK_OPENS | JOB_TRACK_CLICKS);
    const char *made = tracker_html(tracker, arena, &job, html);
    struct tracker_link link;

    (void)state;
    assert_null(strstr(made, "example.org"));
    assert_int_equal(tracker_read(tracker, arena, path_in(arena, made, PUBLIC "/t/c/"), &link), 0);
    assert_int_equal(link.kind, TRACKER_CLICK);
    assert_string_equal(link.url, "https://shop.example/?a=1&b=2");
    assert_true(link.delivery == job.delivery);
    assert_int_equal(tracker_read(tracker, arena, path_in(arena, made, PUBLIC "/t/o/"), &link), 0);
    assert_int_equal(link.kind, TRACKER_OPEN);
    assert_true(link.delivery == job.delivery);
    assert_non_null(strstr(made, "></body>"));
    /* What is signed already is not signed again. */
    job.tracking = JOB_TRACK_CLICKS;
    assert_string_equal(tracker_html(tracker, arena, &job, made), made);
    arena_free(arena);
    tracker_free(tracker);
}

static void only_what_is_wanted_is_put_in(void **state)
{
    static const char html[] = "<a href=\"https://x.example\">x</a>";
    struct tracker *tracker = open_tracker(one_file, NULL), *none = tracker_new();
    struct arena *arena = arena_new(0);
    struct job job = job_of(0);

    (void)state;
    assert_ptr_equal(tracker_html(tracker, arena, &job, html), html);
    assert_null(tracker_unsubscribe_url(tracker, arena, &job));
    job.tracking = JOB_TRACK_OPENS;
    assert_null(strstr(tracker_html(tracker, arena, &job, html), "/t/c/"));
    assert_null(tracker_unsubscribe_url(tracker, arena, &job));
    assert_ptr_equal(tracker_html(none, arena, &job, html), html);
    assert_ptr_equal(tracker_html(NULL, arena, &job, html), html);
    assert_null(tracker_html(tracker, arena, &job, NULL));
    arena_free(arena);
    tracker_free(tracker);
    tracker_free(none);
}

static void what_is_no_web_address_is_left_alone(void **state)
{
    static const char *const urls[] = {
        "mailto:a@b.example", "tel:+4917",        "#top",       "/relative",     "page.html",
        "javascript:alert()", "data:text/html,x", "https:/x",   "https://",      "https:///x",
        "https://?x",         "//x.example",      "ftp://x.y",  "https://a b/c", "https://a\tb/",
        "{{link}}",           "https://@x/",      "http:\\\\x", "https://x\\y"};
    struct tracker *tracker = open_tracker(one_file, NULL);
    struct arena *arena = arena_new(0);
    struct job job = job_of(JOB_TRACK_CLICKS);

    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        const char *html = arena_printf(arena, "<a href=\"%s\">x</a>", urls[i]);

        assert_string_equal(tracker_html(tracker, arena, &job, html), html);
    }
    arena_free(arena);
    tracker_free(tracker);
}

static void a_link_that_was_tampered_with_leads_nowhere(void **state)
{
    struct tracker *tracker = open_tracker(one_file, NULL);
    struct arena *arena = arena_new(0);
    struct job job = job_of(JOB_TRACK_OPENS | JOB_TRACK_CLICKS | JOB_TRACK_UNSUBSCRIBE);
    const char *html = tracker_html(tracker, arena, &job, "<a href=\"https://a.example/b\">x</a>");
    const char *paths[] = {path_in(arena, html, PUBLIC "/t/c/"),
                           path_in(arena, html, PUBLIC "/t/o/"),
                           strstr(tracker_unsubscribe_url(tracker, arena, &job), "/t/u/") + 3};
    struct tracker_link link;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        size_t length = strlen(paths[i]);

        assert_int_equal(tracker_read(tracker, arena, paths[i], &link), 0);
        for (size_t at = 0; at < length; at++) {
            char *bent = arena_strdup(arena, paths[i]);

            bent[at] = bent[at] == 'A' ? 'B' : 'A';
            assert_int_equal(tracker_read(tracker, arena, bent, &link), ERR_REFUSED);
            bent[at] = '\0';
            assert_int_equal(tracker_read(tracker, arena, bent, &link), ERR_REFUSED);
        }
    }
    /* The proof of an image is none for a link. */
    assert_int_equal(
        tracker_read(tracker, arena,
                     arena_printf(arena, "c%s/aHR0cHM6Ly9hLmV4YW1wbGUvYg", paths[1] + 1), &link),
        ERR_REFUSED);
    arena_free(arena);
    tracker_free(tracker);
}

static void the_way_out_carries_what_it_needs_and_shows_nothing(void **state)
{
    struct tracker *tracker = open_tracker(one_file, NULL);
    struct arena *arena = arena_new(0);
    struct job job = job_of(JOB_TRACK_UNSUBSCRIBE);
    const char *url = tracker_unsubscribe_url(tracker, arena, &job);
    struct buf plain = {0};
    struct tracker_link link;

    (void)state;
    assert_int_equal(strncmp(url, PUBLIC "/t/u/", 25), 0);
    assert_int_equal(decode_base64(&plain, url + 25, strlen(url + 25)), 0);
    assert_null(memmem(plain.data, plain.length, "example", 7));
    assert_null(memmem(plain.data, plain.length, "news", 4));
    assert_int_equal(tracker_read(tracker, arena, url + 23, &link), 0);
    assert_int_equal(link.kind, TRACKER_UNSUBSCRIBE);
    assert_string_equal(link.address, "Some.One@example.org");
    assert_string_equal(link.type, "news.weekly");
    assert_int_equal(link.channel, CHANNEL_EMAIL);
    assert_true(link.delivery == job.delivery);
    assert_string_equal(tracker_html(tracker, arena, &job, "<a href='tocsin:unsubscribe'>out</a>"),
                        arena_printf(arena, "<a href=\"%s\">out</a>", url));
    buf_fini(&plain);
    arena_free(arena);
    tracker_free(tracker);
}

static void the_former_key_still_verifies_and_makes_nothing(void **state)
{
    struct tracker *before = open_tracker(one_file, NULL), *now = open_tracker(two_file, one_file),
                   *later = open_tracker(two_file, NULL);
    struct arena *arena = arena_new(0);
    struct job job = job_of(JOB_TRACK_CLICKS | JOB_TRACK_UNSUBSCRIBE);
    const char *html = "<a href=\"https://a.example/b\">x</a>";
    const char *old = path_in(arena, tracker_html(before, arena, &job, html), PUBLIC "/t/c/");
    const char *new = path_in(arena, tracker_html(now, arena, &job, html), PUBLIC "/t/c/");
    const char *out = tracker_unsubscribe_url(before, arena, &job) + 23;
    struct tracker_link link;

    (void)state;
    assert_int_equal(tracker_read(now, arena, old, &link), 0);
    assert_int_equal(tracker_read(now, arena, new, &link), 0);
    assert_int_equal(tracker_read(now, arena, out, &link), 0);
    assert_int_equal(tracker_read(later, arena, new, &link), 0);
    assert_int_equal(tracker_read(later, arena, old, &link), ERR_REFUSED);
    assert_int_equal(tracker_read(later, arena, out, &link), ERR_REFUSED);
    arena_free(arena);
    tracker_free(before);
    tracker_free(now);
    tracker_free(later);
}

static void a_key_that_is_no_key_is_named_and_changes_nothing(void **state)
{
    struct tracker *tracker = open_tracker(one_file, NULL);
    struct tracker_config config = {PUBLIC, one_file, short_file};
    struct arena *arena = arena_new(0);
    struct job job = job_of(JOB_TRACK_UNSUBSCRIBE);
    const char *before = tracker_unsubscribe_url(tracker, arena, &job);
    char why[256] = "";

    (void)state;
    assert_int_equal(tracker_load(tracker, &config, why, sizeof why), ERR_INVALID);
    assert_non_null(strstr(why, short_file));
    assert_string_equal(tracker_unsubscribe_url(tracker, arena, &job), before);
    arena_free(arena);
    tracker_free(tracker);
}

static void letters_beyond_ascii_are_fit_for_a_header(void **state)
{
    struct tracker *tracker = open_tracker(one_file, NULL);
    struct arena *arena = arena_new(0);
    struct job job = job_of(JOB_TRACK_CLICKS);
    const char *html =
        tracker_html(tracker, arena, &job, "<a href=\"https://x.example/caf\xc3\xa9\">x</a>");
    struct tracker_link link;

    (void)state;
    assert_int_equal(tracker_read(tracker, arena, path_in(arena, html, PUBLIC "/t/c/"), &link), 0);
    assert_string_equal(link.url, "https://x.example/caf%C3%A9");
    arena_free(arena);
    tracker_free(tracker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_and_an_image_lead_back),
        cmocka_unit_test(only_what_is_wanted_is_put_in),
        cmocka_unit_test(what_is_no_web_address_is_left_alone),
        cmocka_unit_test(a_link_that_was_tampered_with_leads_nowhere),
        cmocka_unit_test(the_way_out_carries_what_it_needs_and_shows_nothing),
        cmocka_unit_test(the_former_key_still_verifies_and_makes_nothing),
        cmocka_unit_test(a_key_that_is_no_key_is_named_and_changes_nothing),
        cmocka_unit_test(letters_beyond_ascii_are_fit_for_a_header),
    };

    return cmocka_run_group_tests(tests, make_files, drop_files);
}
